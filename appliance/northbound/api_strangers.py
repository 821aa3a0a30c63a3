"""Routes of the quarantine: who knocked and was not let in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.northbound.api_vault import device_shown, trust_of
from appliance.northbound.errors import ApiError
from appliance.northbound.routes import Answer, Request, Routes
from appliance.vault.model import Device

routes = Routes()


@routes.route(
    "GET",
    "/strangers",
    scope="read",
    summary="Who knocked and was not let in, newest first, and why",
    answer="Strangers",
    about="devices",
)
def list_strangers(request: Request) -> Answer:
    trust, sees = trust_of(request), request.reach.sees

    def is_shown(one: Mapping[str, Any]) -> bool:
        # A device that calls itself by another's name: what is said of it names both.
        owner = trust.vault.by_identity(one["identity"]) if one["identity"] else None
        return sees(one["endpoint_name"]) and (owner is None or sees(owner.endpoint_name))

    return Answer({"strangers": [one for one in trust.security.strangers() if is_shown(one)]})


@routes.route(
    "POST",
    "/strangers/{id}/accept",
    scope="admin",
    summary="Put a stranger into the vault with what it showed, under its name or the one given",
    body="Accept",
    body_required=False,
    answer="VaultDevice",
)
def accept_stranger(request: Request) -> Answer:
    trust, number, call = trust_of(request), _id(request), request.room.crossing.call
    name = (request.body or {}).get("endpoint_name")
    made: Device = call(trust.security.acceptance, number, name).carry_out(trust.vault, request.by)
    call(trust.security.accepted, number)
    return Answer(device_shown(trust, made))


@routes.route(
    "POST",
    "/strangers/{id}/ignore",
    scope="admin",
    summary="Do not count a stranger as waiting any more",
    answer="Stranger",
)
def ignore_stranger(request: Request) -> Answer:
    trust = trust_of(request)
    shown: dict[str, Any] = request.room.crossing.call(trust.security.ignore, _id(request))
    _note(request, "stranger ignored", shown)
    return Answer(shown)


@routes.route(
    "POST",
    "/strangers/{id}/block",
    scope="admin",
    summary="Never let a stranger in",
    answer="Stranger",
)
def block_stranger(request: Request) -> Answer:
    trust = trust_of(request)
    shown: dict[str, Any] = request.room.crossing.call(trust.security.block, _id(request))
    _note(request, "stranger blocked", shown)
    return Answer(shown)


@routes.route(
    "DELETE",
    "/strangers/{id}",
    scope="admin",
    summary="Forget a stranger; it comes back on the list when it knocks again",
    status=204,
)
def forget_stranger(request: Request) -> Answer:
    security, number = trust_of(request).security, _id(request)
    shown = next((one for one in security.strangers() if one["id"] == number), None)
    request.room.crossing.call(security.forget, number)
    if shown is not None:
        _note(request, f"stranger taken off the list, where it was {shown['state']}", shown)
    return Answer(status=204)


def _note(request: Request, what: str, shown: Mapping[str, Any]) -> None:
    """Whom a person lets knock in vain is a matter of trust: it stands in the audit log."""
    who = shown["identity"] or f"without security, at {shown['address']}"
    trust_of(request).vault.note(request.by, f"{what}: {who}", shown["endpoint_name"])


def _id(request: Request) -> int:
    text = request.parameters["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ApiError(
            "not_found", f"there is no stranger {text[:32]!r}", "GET /api/v1/strangers lists them."
        )
    return int(text)
