"""Routes of people and programs: setup, session, accounts, tokens."""

from __future__ import annotations

from datetime import UTC, datetime

from appliance.identity.identity import TOKEN_PREFIX
from appliance.identity.principals import Account, Session, Token
from appliance.northbound.errors import ApiError
from appliance.northbound.routes import Answer, Request, Routes
from appliance.northbound.sessions import cookie_of, ended_cookie
from appliance.vault.errors import VaultError

routes = Routes()


@routes.route(
    "GET", "/setup", scope="public", summary="Whether the first account has to be made", answer="SetupState"
)
def setup_state(request: Request) -> Answer:
    return Answer({"needed": request.room.identity.needs_setup})


@routes.route(
    "POST",
    "/setup",
    scope="public",
    summary="Make the first account with the code that was printed at start, and log in",
    body="Setup",
    answer="Session",
    status=201,
)
def setup(request: Request) -> Answer:
    body = request.body
    session = request.room.identity.setup(body["code"], body["name"], body["password"], request.address)
    _note(request, session.account, "first account made, with the setup code")
    return _logged_in(request, session, 201)


@routes.route(
    "POST", "/session", scope="public", summary="Log in; sets the cookie", body="Login", answer="Session"
)
def log_in(request: Request) -> Answer:
    session = request.room.identity.login(request.body["name"], request.body["password"], request.address)
    return _logged_in(request, session, 200)


@routes.route("GET", "/session", scope="read", summary="Who is logged in", answer="Session", about="self")
def who(request: Request) -> Answer:
    if request.session is not None:
        return Answer(_session(request.session))
    assert request.principal is not None  # the scope of this route
    return Answer(
        {
            "account": request.principal.name,
            "kind": "token",
            "scopes": list(request.principal.scopes),
            "csrf": None,
            "expires_at": None,
        }
    )


@routes.route("DELETE", "/session", scope="read", summary="Log out", status=204, about="self")
def log_out(request: Request) -> Answer:
    if request.session is not None:
        request.room.identity.logout(request.session.id)
    return Answer(status=204, headers=(("Set-Cookie", ended_cookie(request.secure)),))


@routes.route("GET", "/accounts", scope="admin", summary="All accounts", answer="Accounts")
def list_accounts(request: Request) -> Answer:
    return Answer({"accounts": [_account(one) for one in request.room.identity.list_accounts()]})


@routes.route(
    "PUT",
    "/accounts/{name}/password",
    scope="read",
    summary="A new password: one's own with the current one, another's as admin; it ends the sessions. "
    "The answer is the caller's session, a new one after the own password",
    body="NewPassword",
    answer="Session",
    about="self",
)
def set_password(request: Request) -> Answer:
    name, body, principal = request.parameters["name"], request.body, request.principal
    assert principal is not None  # the scope of this route
    identity = request.room.identity
    if principal.kind == "account" and principal.name.casefold() == name.casefold():
        if "current_password" not in body:
            raise ApiError("invalid", "the current password is missing", "Send it as current_password.")
        session = identity.change_password(
            principal.name, body["current_password"], body["password"], request.address
        )
        _note(request, request.by, "changed the own password")
        return _logged_in(request, session, 200)
    if not principal.may("admin"):
        raise ApiError("forbidden", "this needs the scope admin", "Ask somebody who has it.")
    request.reach.require_everywhere("admin")
    identity.set_password(name, body["password"])
    _note(request, request.by, f"password set of the account {name}")
    return who(request)


@routes.route(
    "GET", "/tokens", scope="admin", summary="All API tokens, without their secrets", answer="Tokens"
)
def list_tokens(request: Request) -> Answer:
    return Answer({"tokens": [_token(one) for one in request.room.identity.list_tokens()]})


@routes.route(
    "POST",
    "/tokens",
    scope="admin",
    summary="Make an API token; the answer is the only time its secret is shown",
    body="NewToken",
    answer="TokenSecret",
    status=201,
)
def create_token(request: Request) -> Answer:
    body = request.body
    secret = request.room.identity.create_token(body["name"], body["scopes"], body.get("lifetime_s"))
    number = secret.removeprefix(f"{TOKEN_PREFIX}_").partition("_")[0]
    try:
        _note(request, request.by, f"token made: {body['name']} ({number}, {', '.join(body['scopes'])})")
    except VaultError:
        request.room.identity.revoke_token(number)  # nobody would know of it
        raise
    return Answer({"id": number, "token": secret}, 201)


@routes.route("DELETE", "/tokens/{token_id}", scope="admin", summary="Revoke an API token", status=204)
def revoke_token(request: Request) -> Answer:
    request.room.identity.revoke_token(request.parameters["token_id"])
    _note(request, request.by, f"token revoked: {request.parameters['token_id']}")
    return Answer(status=204)


def _note(request: Request, by: str, what: str) -> None:
    """For the audit log, which the vault keeps. Raises VaultError."""
    if request.room.trust is not None:
        request.room.trust.vault.note(by, what)


def _logged_in(request: Request, session: Session, status: int) -> Answer:
    cookie = ("Set-Cookie", cookie_of(session, request.secure))
    return Answer(_session(session), status, (cookie,))


def _session(session: Session) -> dict[str, object]:
    return {
        "account": session.account,
        "kind": "account",
        "scopes": list(session.scopes),
        "csrf": session.csrf,
        "expires_at": _iso(session.expires_at),
    }


def _account(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "scopes": list(account.scopes),
        "created_at": _iso(account.created_at),
        "password_changed_at": _iso(account.password_changed_at),
    }


def _token(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": list(token.scopes),
        "created_at": _iso(token.created_at),
        "expires_at": None if token.expires_at is None else _iso(token.expires_at),
        "last_used_at": None if token.last_used_at is None else _iso(token.last_used_at),
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
