"""From WSGI to a route and back: the gate, the checks, the one shape of errors. Bottle does the routing.

The order is the law: who is it, is there such a route, may they, does it come from our own page, does it
fit the schema. Below ``/api/`` a stranger learns nothing before the first question is answered, not even
which paths exist.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import bottle

from appliance.identity.identity import TOKEN_PREFIX
from appliance.identity.principals import Principal, Session
from appliance.northbound import (
    api_access,
    api_authority,
    api_bootstrap,
    api_devices,
    api_events,
    api_files,
    api_log,
    api_models,
    api_permissions,
    api_status,
    api_strangers,
    api_tasks,
    api_templates,
    api_vault,
    downloads,
)
from appliance.northbound.body import check, json_bytes, parse_json
from appliance.northbound.errors import REASON, ApiError, as_api_error
from appliance.northbound.listener import CONNECTION
from appliance.northbound.pages import POLICY, Pages
from appliance.northbound.reach import Reach
from appliance.northbound.routes import API, Answer, Request, Room, Route, Routes, Upload
from appliance.northbound.schemas import COMPONENTS
from appliance.northbound.sessions import check_csrf, check_origin, session_id
from appliance.vault.errors import VaultError

log = logging.getLogger(__name__)

ALL_ROUTES: Final = Routes(
    route
    for module in (
        *(api_status, api_access, api_devices, api_tasks, api_templates, api_models, api_events),
        *(api_log, api_files, api_vault, api_permissions, api_strangers, api_bootstrap, api_authority),
    )
    for route in module.routes
)

# No Strict-Transport-Security: with a certificate that nobody signed, browsers would then let nobody in.
SHARED_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
API_HEADERS: Final = (
    *SHARED_HEADERS,
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
PAGE_HEADERS: Final = (
    *SHARED_HEADERS,
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    ("X-Frame-Options", "DENY"),
    ("Cache-Control", "no-cache"),
    ("Vary", "Accept-Encoding"),
)
_CALLER: Final = "homard.caller"
MAX_QUERY_CHARACTERS: Final = 4096

Caller = tuple[Principal | None, Session | None]


class Headers(Mapping[str, str]):
    """Request headers by their usual names, from the WSGI environment."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        key = name.upper().replace("-", "_")
        return str(self._environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"])

    def __iter__(self) -> Any:
        return (key[5:].replace("_", "-").title() for key in self._environ if key.startswith("HTTP_"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def build(room: Room, routes: Routes = ALL_ROUTES) -> bottle.Bottle:
    """The WSGI application."""
    app = bottle.Bottle()
    pages = Pages(room.web)
    public = {(route.method, API + route.path) for route in routes if route.scope == "public"}

    def gate() -> None:
        """Runs before routing, so that it also stands before what does not exist."""
        environ = bottle.request.environ
        path, method = environ["bottle.raw_path"], environ["REQUEST_METHOD"]
        if not _is_api(path):
            return
        try:
            caller = _caller(room, environ)
            if caller[0] is None and ("GET" if method == "HEAD" else method, path) not in public:
                raise ApiError(
                    "unauthenticated",
                    "log in first",
                    "POST /api/v1/session, or send an API token as Authorization: Bearer.",
                    (("WWW-Authenticate", "Bearer"),),
                )
        except Exception as error:  # noqa: BLE001 - the HTTP request ends here, with an answer
            raise _error_response(as_api_error(error)) from None
        environ[_CALLER] = caller

    def not_routed(error: bottle.HTTPError) -> bytes:
        """404 and 405 of the router, and anything Bottle itself trips over."""
        if error.status_code == 405:
            allowed = error.headers.get("Allow", "")
            code = ApiError("method_not_allowed", "this cannot be done here", f"Allowed: {allowed}")
        elif error.status_code == 404:
            here = _is_api(bottle.request.environ["bottle.raw_path"])
            step = "GET /api/v1/openapi.json lists what is here." if here else ""
            code = ApiError("not_found", "there is nothing at this address", step)
        elif error.status_code < 500:
            code = ApiError("invalid", "the request could not be understood")
        else:
            code = as_api_error(error.exception or error)
        bottle.response.status = f"{code.status} {REASON[code.status]}"
        bottle.response.content_type = "application/json"
        for name, value in API_HEADERS:
            bottle.response.set_header(name, value)
        return json_bytes(code.body)

    app.add_hook("before_request", gate)
    app.default_error_handler = not_routed
    for route in routes:
        path = API + route.path.replace("{", "<").replace("}", ">")
        app.route(path, route.method, _endpoint(room, route), name=route.name)

    def page(path: str = "/") -> bottle.HTTPResponse:
        environ = bottle.request.environ
        if environ["bottle.raw_path"].startswith(downloads.FILES):
            try:
                return downloads.find(room, environ)
            except Exception as error:  # noqa: BLE001 - the HTTP request ends here, with an answer
                return _error_response(as_api_error(error))
        return _page(pages, environ)

    app.route("/", "GET", page)
    app.route("/<path:re:(?!api(?:/|$)).+>", "GET", page)
    return app


def _is_api(path: str) -> bool:
    return path == "/api" or path.startswith("/api/")


def _endpoint(room: Room, route: Route) -> Callable[..., bottle.HTTPResponse]:
    def endpoint(**parameters: str) -> bottle.HTTPResponse:
        environ = bottle.request.environ
        try:
            return _response(route, _answer(room, route, environ, parameters), environ)
        except VaultError as error:
            return _error_response(as_api_error(error.told(_reach(room, environ).sees)))
        except Exception as error:  # noqa: BLE001 - the HTTP request ends here, with an answer
            return _error_response(as_api_error(error))

    return endpoint


def _answer(room: Room, route: Route, environ: dict[str, Any], parameters: Mapping[str, str]) -> Answer:
    principal, session = environ[_CALLER]
    method, headers = environ["REQUEST_METHOD"], Headers(environ)
    secure = environ["wsgi.url_scheme"] == "https"
    if route.scope != "public" and (principal is None or not principal.may(route.scope)):
        raise ApiError("forbidden", f"this needs the scope {route.scope}", "Ask somebody who has it.")
    check_origin(method, headers, secure)
    if route.scope != "public" and session is not None:
        check_csrf(method, headers, session)
    decoded = {name: _decoded(text) for name, text in parameters.items()}
    reach = _reach(room, environ)
    if route.scope != "public":
        _check_reach(route, reach, decoded)
    connection = environ.get(CONNECTION)
    return route.call(
        Request(
            room=room,
            principal=principal,
            session=session,
            address=environ["REMOTE_ADDR"],
            secure=secure,
            parameters=decoded,
            query=_query(route, environ.get("QUERY_STRING", "")),
            body=_body(room, route, environ, headers),
            headers=headers,
            gone=connection.gone if connection is not None else lambda: False,
            still_allowed=lambda: _still(room, environ, route),
            reach=reach,
        )
    )


def _reach(room: Room, environ: Mapping[str, Any]) -> Reach:
    return Reach(environ[_CALLER][0], room.trust.vault if room.trust is not None else None)


def _check_reach(route: Route, reach: Reach, parameters: Mapping[str, str]) -> None:
    """Raises ApiError for what the groups of the account's permissions do not hold."""
    if route.subject == "device":
        reach.require(parameters["endpoint_name"], route.scope)
    elif route.subject == "house" and route.scope != "read":
        reach.require_everywhere(route.scope)


def _caller(room: Room, environ: Mapping[str, Any]) -> Caller:
    """Who sent the request: a token goes before a cookie. An unknown token is nobody, cookie or not."""
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    if authorization:
        kind, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if kind.lower() != "bearer" or not secret.startswith(TOKEN_PREFIX) or len(secret) > 256:
            return None, None
        return room.identity.authenticate_token(secret), None
    found = session_id(environ.get("HTTP_COOKIE", ""), environ["wsgi.url_scheme"] == "https")
    session = room.identity.session(found) if found is not None else None
    return (session.principal, session) if session is not None else (None, None)


def _still(room: Room, environ: Mapping[str, Any], route: Route) -> bool:
    principal = _caller(room, environ)[0]
    return principal is not None and principal.may(route.scope)


def _decoded(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ApiError("invalid", "the address is not UTF-8") from None
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in decoded):
        raise ApiError("invalid", "the address has control characters")
    return decoded


def _query(route: Route, text: str) -> dict[str, Any]:
    known = {query.name: query for query in route.query}
    found = {query.name: query.default for query in route.query}
    if len(text) > MAX_QUERY_CHARACTERS:
        raise ApiError("invalid", "the part of the address after ? is too long")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise ApiError("invalid", "the part of the address after ? could not be understood") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise ApiError("invalid", "a parameter is there twice")
    for name, value in pairs:
        query = known.get(name)
        if query is None:
            meant = get_close_matches(name, list(known), n=1)
            hint = f"Did you mean {meant[0]}?" if meant else f"Known: {', '.join(known) or 'none'}."
            raise ApiError("invalid", f"unknown parameter {name[:64]!r}", hint)
        parsed = query.parse(value)
        check({name: parsed}, {"type": "object", "properties": {name: query.schema}}, COMPONENTS)
        found[name] = parsed
    for query in route.query:
        if query.required and query.name not in given:
            raise ApiError("invalid", f"the parameter {query.name} is missing", query.doc)
    return found


def _body(room: Room, route: Route, environ: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
    length = int(headers.get("Content-Length", "0") or 0)
    if route.body is None and route.upload is None:
        return None  # whatever was sent is not looked at
    settings = room.settings
    if route.streamed:
        return _upload(room, environ, headers, length)
    limit = settings.max_body_bytes
    if route.upload is not None:
        limit = route.upload_limit or settings.max_upload_bytes
    if length > limit:
        raise ApiError("too_large", f"the body is larger than {limit} bytes", "Send less.")
    if not length:
        if not route.body_required:
            return None
        raise ApiError("invalid", "the body is missing", "GET /api/v1/openapi.json describes it.")
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    taken = ("application/json",) if route.upload is None else (route.upload, *route.also_taken)
    if media_type not in taken:
        raise ApiError("unsupported_media_type", f"this takes {taken[0]}", f"Send Content-Type: {taken[0]}.")
    try:
        data = environ["wsgi.input"].read(length)
    except TimeoutError:
        raise ApiError("request_timeout", "the body did not arrive in time", "Try again.") from None
    except OSError:
        data = b""  # the client has gone; nobody will read the answer
    if len(data) != length:
        raise ApiError("invalid", "the body ended early")
    if route.upload is not None:
        return data
    assert route.body is not None
    value = parse_json(data, settings.max_json_depth)
    check(value, COMPONENTS[route.body], COMPONENTS)
    return value


def _upload(room: Room, environ: Mapping[str, Any], headers: Mapping[str, str], length: int) -> Upload:
    """A large body, taken piece by piece: each of them has the time that other bodies have as a whole."""
    connection = environ.get(CONNECTION)

    def read(count: int) -> bytes:
        if connection is not None:
            connection.allow(room.settings.body_timeout_s)
        try:
            return bytes(environ["wsgi.input"].read(count))
        except TimeoutError:
            raise ApiError("request_timeout", "the body did not arrive in time", "Try again.") from None
        except OSError:
            return b""  # the client has gone; nobody will read the answer

    return Upload(length, headers.get("Content-Type", "").partition(";")[0].strip().lower(), read)


def _response(route: Route, answer: Answer, environ: Mapping[str, Any]) -> bottle.HTTPResponse:
    headers = [*API_HEADERS, *answer.headers]
    body: Any = b""
    if answer.status != 204:
        headers.append(("Content-Type", answer.content_type))
    if isinstance(answer.body, dict):
        body = json_bytes(answer.body)
        headers.append(("Content-Length", str(len(body))))
    elif isinstance(answer.body, bytes):
        body = answer.body
        headers.append(("Content-Length", str(len(body))))
    elif answer.body is not None:
        body = answer.body
        headers.append(("X-Accel-Buffering", "no"))  # a proxy in front must not collect events
        connection = environ.get(CONNECTION)
        if connection is not None:
            connection.became_stream()
    return bottle.HTTPResponse(body, answer.status, headers)


def _error_response(error: ApiError) -> bottle.HTTPResponse:
    body = json_bytes(error.body)
    headers = [
        *API_HEADERS,
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        *error.headers,
    ]
    return bottle.HTTPResponse(body, f"{error.status} {REASON[error.status]}", headers)


def _page(pages: Pages, environ: Mapping[str, Any]) -> bottle.HTTPResponse:
    found = pages.find(environ["bottle.raw_path"])
    if found is None:
        return _error_response(ApiError("not_found", "there is nothing at this address"))
    headers = [*PAGE_HEADERS, ("ETag", found.etag)]
    if environ.get("HTTP_IF_NONE_MATCH", "") in (found.etag, f"W/{found.etag}"):
        return bottle.HTTPResponse(b"", 304, headers)
    content = found.content
    if found.compressed is not None and _takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
        content = found.compressed
        headers.append(("Content-Encoding", "gzip"))
    headers += [("Content-Type", found.content_type), ("Content-Length", str(len(content)))]
    return bottle.HTTPResponse(content, 200, headers)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names gzip with a weight above zero (RFC 9110 §12.5.3)."""
    for part in accepted.split(","):
        name, _, weight = part.replace(" ", "").lower().partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or weight == ""
    return False
