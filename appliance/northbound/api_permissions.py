"""Routes of permissions: which account may do what with which group of devices."""

from __future__ import annotations

from typing import Any

from appliance.northbound.api_vault import trust_of
from appliance.northbound.errors import ApiError
from appliance.northbound.routes import Answer, Request, Routes
from appliance.vault.model import Permissions

routes = Routes()


@routes.route(
    "GET",
    "/vault/permissions",
    scope="admin",
    summary="Accounts that are narrowed to groups of devices",
    answer="Permissions",
)
def list_permissions(request: Request) -> Answer:
    found = trust_of(request).vault.all_permissions()
    return Answer({"permissions": [_shown(account, one) for account, one in found.items()]})


@routes.route(
    "GET",
    "/vault/permissions/{account}",
    scope="admin",
    summary="What an account may do; groups null: with every device what its scopes allow",
    answer="Permission",
)
def get_permission(request: Request) -> Answer:
    account = request.parameters["account"]
    return Answer(_shown(account, trust_of(request).vault.permissions(account)))


@routes.route(
    "PUT",
    "/vault/permissions/{account}",
    scope="admin",
    summary="Narrow an account to groups of devices",
    body="SetPermission",
    answer="Permission",
)
def set_permission(request: Request) -> Answer:
    account, vault = request.parameters["account"], trust_of(request).vault
    principal, known = request.principal, request.room.identity.list_accounts()
    if not any(one.name.casefold() == account.casefold() for one in known):
        raise ApiError("not_found", f"there is no account {account!r}", "GET /api/v1/accounts lists them.")
    if (
        principal is not None
        and principal.kind == "account"
        and principal.name.casefold() == account.casefold()
    ):
        raise ApiError(
            "conflict", "you would narrow yourself and could not take it back", "Somebody else must do that."
        )
    vault.set_permissions(account, request.body["groups"], request.by)
    return Answer(_shown(account, vault.permissions(account)))


@routes.route(
    "DELETE",
    "/vault/permissions/{account}",
    scope="admin",
    summary="Let the scopes of an account hold for every device again",
    status=204,
)
def lift_permission(request: Request) -> Answer:
    trust_of(request).vault.set_permissions(request.parameters["account"], None, request.by)
    return Answer(status=204)


def _shown(account: str, permissions: Permissions | None) -> dict[str, Any]:
    return {"account": account, "groups": None if permissions is None else dict(permissions.groups)}
