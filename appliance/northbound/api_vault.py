"""Routes of the vault: devices with their keys, lists in and out, labels, the audit log.

They run in the thread of the request, as the vault waits for the disk; secrets leave here once, in the answer
to what made them. Longer than 400 lines, as a route is mostly what it says of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from appliance.northbound.api_devices import endpoint_name
from appliance.northbound.errors import ApiError
from appliance.northbound.neighbours import Refusal
from appliance.northbound.reach import unknown_device
from appliance.northbound.routes import Answer, Query, Request, Routes, Trust
from appliance.vault.importing import MAX_BYTES
from appliance.vault.model import Credential, Device, NewDevice
from appliance.vault.provisioning import (
    Gateway,
    certificate_from,
    hex_from,
    own_address,
    public_key_from,
    reachable_host,
)
from appliance.vault.register import Given, Shown

routes = Routes()

CSV: Final = "text/csv"
SVG: Final = "image/svg+xml"
_TEXT: Final = {"type": "string", "maxLength": 255}
_GROUP = Query("group", {"type": "string", "maxLength": 64}, "only devices in this group", "")


# Looking


@routes.route(
    "GET",
    "/vault/devices",
    scope="read",
    summary="Devices the vault knows, their keys without the secrets, and how far they have come",
    query=(
        _GROUP,
        Query("tag", {"type": "string", "maxLength": 64}, "only devices with this tag", ""),
        Query("q", {"type": "string", "maxLength": 200}, "part of name, label, tag or identity", ""),
        Query("after", _TEXT, "next of the page before", ""),
        Query("limit", {"type": "integer", "minimum": 1, "maximum": 20000}, "rows of a page", 20000),
    ),
    answer="VaultDevices",
    about="devices",
)
def list_vault_devices(request: Request) -> Answer:
    trust, query = trust_of(request), request.query
    found = [one for one in _seen(request) if _fits(one, query["tag"], query["q"])]
    page = [one for one in found if one.endpoint_name > query["after"]][: query["limit"] + 1]
    following = page[query["limit"] - 1].endpoint_name if len(page) > query["limit"] else None
    rows = [device_shown(trust, one) for one in page[: query["limit"]]]
    return Answer({"devices": rows, "next": following})


@routes.route(
    "GET",
    "/vault/devices/{endpoint_name}",
    scope="read",
    summary="One device and its keys, without the secrets",
    answer="VaultDevice",
)
def get_vault_device(request: Request) -> Answer:
    return Answer(device_shown(trust_of(request), _found(request)))


@routes.route(
    "GET",
    "/vault/groups",
    scope="read",
    summary="The groups that devices are in",
    answer="Groups",
    about="devices",
)
def list_groups(request: Request) -> Answer:
    groups = trust_of(request).vault.groups()
    return Answer({"groups": [one for one in groups if request.reach.shows_group(one)]})


@routes.route(
    "GET",
    "/vault/audit",
    scope="admin",
    summary="Who changed what in the vault, newest first, and whether the log is as it was written",
    query=(
        Query("before", {"type": "integer", "minimum": 1}, "entries before this number"),
        Query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "entries of a page", 100),
    ),
    answer="Audit",
)
def read_audit(request: Request) -> Answer:
    vault = trust_of(request).vault
    problems = vault.audit_problems()
    entries = vault.audit(request.query["before"], request.query["limit"])
    shown = [{**one._asdict(), "at": iso(one.at)} for one in entries]
    return Answer({"entries": shown, "sound": not problems, "problems": problems})


# One device


@routes.route(
    "POST",
    "/vault/devices",
    scope="admin",
    summary="Add a device; the answer has all that must be flashed, secrets this once",
    body="NewVaultDevice",
    answer="Provisioned",
    status=201,
    about="devices",
)
def add_vault_device(request: Request) -> Answer:
    trust, body = trust_of(request), request.body
    groups = tuple(body.get("groups", ()))
    refusal = request.reach.over_new(groups) or _not_yours(request, body["endpoint_name"])
    if refusal:
        raise ApiError("forbidden", refusal, "Ask somebody who may change permissions.")
    new = NewDevice(
        body["endpoint_name"],
        body.get("label", ""),
        groups,
        tuple(body.get("tags", ())),
        plan=_plan(request, body.get("plan")),
    )
    shown = trust.register.add(
        new,
        body.get("security", "psk"),
        _given(body),
        bootstrap=body.get("bootstrap", False),
        gateway=gateway_of(request),
        by=request.by,
    )
    return Answer(_provisioned(trust, shown), 201)


@routes.route(
    "PATCH",
    "/vault/devices/{endpoint_name}",
    scope="admin",
    summary="Change what is said of a device; what is left out stays",
    body="ChangedVaultDevice",
    answer="VaultDevice",
)
def change_vault_device(request: Request) -> Answer:
    trust, body, known = trust_of(request), dict(request.body), _found(request)
    if "groups" in body:
        moved = set(body["groups"]) ^ set(known.groups)
        if not request.reach.administers(moved):
            raise ApiError(
                "forbidden",
                "you may put devices only into groups, and take them only out of groups, that you administer",
                "Ask somebody who may change permissions.",
            )
    if "plan" in body:
        body["plan"] = _plan(request, body["plan"])
    return Answer(device_shown(trust, trust.vault.update(known.endpoint_name, request.by, **body)))


@routes.route(
    "DELETE",
    "/vault/devices/{endpoint_name}",
    scope="admin",
    summary="Forget a device and its keys; it is a stranger then",
    status=204,
)
def remove_vault_device(request: Request) -> Answer:
    trust_of(request).register.remove(_found(request).endpoint_name, request.by)
    return Answer(status=204)


@routes.route(
    "POST",
    "/vault/devices/{endpoint_name}/rotate",
    scope="admin",
    summary="A new key under a new identity; the answer has it, this once",
    body="Rotate",
    body_required=False,
    answer="Provisioned",
)
def rotate_vault_device(request: Request) -> Answer:
    trust, body = trust_of(request), request.body or {}
    shown = trust.register.rotate(
        _found(request).endpoint_name,
        body.get("purpose"),
        _given(body),
        staged=body.get("how", "staged") == "staged",
        gateway=gateway_of(request),
        by=request.by,
    )
    return Answer(_provisioned(trust, shown))


@routes.route(
    "POST",
    "/vault/devices/{endpoint_name}/revoke",
    scope="admin",
    summary="Let a device, or one key of it, in no more",
    body="Revoke",
    body_required=False,
    answer="VaultDevice",
)
def revoke_vault_device(request: Request) -> Answer:
    trust, body = trust_of(request), request.body or {}
    name = _found(request).endpoint_name
    done = trust.register.revoke(name, request.by, body.get("reason", ""), body.get("credential_id"))
    return Answer(device_shown(trust, done))


@routes.route(
    "POST",
    "/vault/devices/{endpoint_name}/reinstate",
    scope="admin",
    summary="Take back a revocation by hand",
    answer="VaultDevice",
)
def reinstate_vault_device(request: Request) -> Answer:
    trust = trust_of(request)
    done = trust.register.reinstate(_found(request).endpoint_name, request.by)
    return Answer(device_shown(trust, done))


@routes.route(
    "POST",
    "/vault/devices/{endpoint_name}/rebootstrap",
    scope="operate",
    summary="Have a device bootstrap again when it is next heard",
    answer="Asked",
)
def rebootstrap_vault_device(request: Request) -> Answer:
    trust_of(request).vault.ask_rebootstrap(_found(request).endpoint_name, request.by)
    return Answer({"asked": True})


@routes.route(
    "POST",
    "/vault/rebootstrap",
    scope="operate",
    summary="Have many devices bootstrap again: those named, or a group",
    body="Rebootstrap",
    answer="Asked",
    about="devices",
)
def rebootstrap_many(request: Request) -> Answer:
    return Answer({"asked": trust_of(request).vault.ask_rebootstrap(_names(request, "operate"), request.by)})


@routes.route(
    "POST",
    "/vault/rebootstrap/withdraw",
    scope="operate",
    summary="Have devices that were asked to bootstrap again, and not told yet, left alone",
    body="Rebootstrap",
    answer="Withdrawn",
    about="devices",
)
def withdraw_rebootstrap(request: Request) -> Answer:
    names = _names(request, "operate")
    return Answer({"withdrawn": trust_of(request).vault.withdraw_rebootstrap(names, request.by)})


@routes.route(
    "POST",
    "/vault/plan",
    scope="admin",
    summary="Give many devices a bootstrap plan, null for the default one: those named, or a group",
    body="GivenPlan",
    answer="Changed",
    about="devices",
)
def give_plan(request: Request) -> Answer:
    plan = _plan(request, request.body["plan"])
    names = _names(request, "admin")
    return Answer({"changed": trust_of(request).vault.give_plan(names, plan, request.by)})


def _names(request: Request, scope: str) -> list[str]:
    """The devices that a request for many is about. Raises ApiError, also when one named is out of reach."""
    vault, body = trust_of(request).vault, request.body
    if ("endpoint_names" in body) == ("group" in body):
        raise ApiError("invalid", "say which devices", 'Give one of "endpoint_names" and "group".')
    if "group" in body:
        names = [
            one.endpoint_name
            for one in vault.devices()
            if body["group"] in one.groups and request.reach.may(one.endpoint_name, scope)
        ]
        if not names:
            raise ApiError(
                "not_found",
                f"no device is in the group {body['group']!r}",
                "GET /api/v1/vault/groups lists them.",
            )
    else:
        names = list(dict.fromkeys(body["endpoint_names"]))
        for name in names:
            request.reach.require(name, scope)
    return names


def _not_yours(request: Request, name: str) -> str:
    """Why a device that came without being in the vault, and so is in no group, cannot be put into one by an
    account of that group; "" when it can.
    """
    if request.reach.everywhere("admin"):
        return ""
    try:
        request.room.crossing.call(request.room.devices.device, name)
    except Exception as error:
        if isinstance(error, Refusal) and error.kind == "not_found":
            return ""
        raise
    return f"a device {name} is here already, and in no group of yours"


# Lists


@routes.route(
    "POST",
    "/vault/import",
    scope="admin",
    summary="Add the devices of a list (CSV or JSON): all, or none when a row is wrong (422, same shape)",
    query=(
        Query("dry_run", {"type": "string", "enum": ["", "0", "1", "false", "true"]}, "only check it", ""),
    ),
    upload=CSV,
    also_taken=("application/json", "application/csv", "application/vnd.ms-excel"),
    upload_limit=MAX_BYTES,
    answer="ImportReport",
    also={422: "ImportReport"},
    about="devices",
)
def import_devices(request: Request) -> Answer:
    trust, reach = trust_of(request), request.reach
    plans = {str(plan["id"]) for plan in request.room.crossing.call(trust.bootstrap.plans)["plans"]}

    def may(new: NewDevice) -> str:
        if new.plan is not None and new.plan not in plans:
            return f"there is no bootstrap plan {new.plan!r}; GET /api/v1/bootstrap/plans lists them"
        return reach.over_new(new.groups) or _not_yours(request, new.endpoint_name)

    with request.room.transfers.one(request.address):
        report = trust.register.take_in(
            request.body,
            gateway_of(request),
            request.by,
            dry_run=request.query["dry_run"] in ("1", "true"),
            may=may,
            sees=reach.sees,
        )
    devices = [_provisioned(trust, one) for one in report.devices]
    body = {"added": report.added, "rows": report.rows, "devices": devices}
    return Answer(body, 200 if report.is_good else 422)


@routes.route(
    "GET",
    "/vault/export",
    scope="admin",
    summary="Devices as a list without secrets, to be imported again",
    query=(
        Query("format", {"type": "string", "enum": ["csv", "json"]}, "csv or json", "csv"),
        _GROUP,
    ),
    media_type=CSV,
    about="devices",
)
def export_devices(request: Request) -> Answer:
    trust, form = trust_of(request), request.query["format"]
    mine = [one for one in _seen(request) if request.reach.may(one.endpoint_name, "admin")]
    kind = "application/json" if form == "json" else f"{CSV}; charset=utf-8"
    return _file(trust.register.list_out(mine, form), f"homard-devices.{form}", kind)


# Paper


@routes.route(
    "GET",
    "/vault/devices/{endpoint_name}/label.svg",
    scope="read",
    summary="A label to print: name, address, identity and a QR code, never the key",
    media_type=SVG,
)
def get_label(request: Request) -> Answer:
    svg = trust_of(request).register.label(_found(request), gateway_of(request))
    return Answer(svg.encode("utf-8"), content_type=SVG)


@routes.route(
    "GET",
    "/vault/labels.svg",
    scope="read",
    summary="Sheets of labels (A4) of a group, or of all devices",
    query=(_GROUP,),
    media_type=SVG,
    about="devices",
)
def get_labels(request: Request) -> Answer:
    with request.room.transfers.one(request.address):
        svg = trust_of(request).register.sheet(_seen(request), gateway_of(request))
    return Answer(svg.encode("utf-8"), content_type=SVG)


# What they share


def trust_of(request: Request) -> Trust:
    """The vault and what belongs to it. Raises ApiError where there is none."""
    if request.room.trust is None:
        raise ApiError("not_found", "there is no vault here", "")
    return request.room.trust


def gateway_of(request: Request) -> Gateway:
    """This unit as devices reach it: by the address that a person reached it by, where that means something
    to a device.
    """
    authority = request.headers.get("Host", "")
    host = authority[: authority.rindex("]") + 1] if "]" in authority else authority.partition(":")[0]
    status: Mapping[str, Any] = request.room.crossing.call(request.room.status)
    return trust_of(request).register.gateway(
        reachable_host(host, own_address()), status.get("coap_port"), status.get("coaps_port")
    )


def iso(at: float) -> str:
    """Epoch seconds as the API writes them."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def device_shown(trust: Trust, device: Device) -> dict[str, Any]:
    """A device in the shape of the API; never a secret."""
    return {
        "endpoint_name": device.endpoint_name,
        "label": device.label,
        "groups": list(device.groups),
        "tags": list(device.tags),
        "nosec": device.nosec,
        "blocked": device.blocked,
        "plan": device.plan,
        "made_at": iso(device.made_at),
        "rebootstrap_asked_at": None if device.rebootstrap_asked is None else iso(device.rebootstrap_asked),
        "credentials": [_credential(trust, one) for one in device.credentials],
        "contact": trust.security.contact(device.endpoint_name),
    }


def _found(request: Request) -> Device:
    name = endpoint_name(request)
    device = trust_of(request).vault.device(name)
    if device is None:
        raise unknown_device(name)
    return device


def _seen(request: Request) -> list[Device]:
    """The devices that exist for the caller, of the group that was asked for."""
    group = request.query.get("group", "")
    return [
        one
        for one in trust_of(request).vault.devices()
        if (not group or group in one.groups) and request.reach.sees(one.endpoint_name)
    ]


def _fits(device: Device, tag: str, wanted: str) -> bool:
    if tag and tag not in device.tags:
        return False
    wanted = wanted.casefold()
    texts = (device.endpoint_name, device.label, *device.tags, *(one.identity for one in device.credentials))
    return not wanted or any(wanted in text.casefold() for text in texts)


def _plan(request: Request, plan_id: str | None) -> str | None:
    """The id of a plan that there is. Raises what the room of bootstrap raises for one that there is not."""
    if not plan_id:
        return None
    request.room.crossing.call(trust_of(request).bootstrap.plan, plan_id)
    return plan_id


def _given(body: Mapping[str, Any]) -> Given:
    """Material in a request. Raises VaultError."""
    if "psk_identity" in body and "psk_identity_hex" in body:
        raise ApiError("invalid", "give psk_identity or psk_identity_hex, not both", "")

    def parsed(name: str, parse: Callable[[str], bytes]) -> bytes | None:
        return parse(body[name]) if body.get(name) else None

    identity = parsed("psk_identity_hex", lambda text: hex_from(text, "PSK identity"))
    return Given(
        psk_identity=identity or parsed("psk_identity", lambda text: text.encode("utf-8", "surrogatepass")),
        psk_key=parsed("psk_key_hex", lambda text: hex_from(text, "PSK key")),
        public_key=parsed("public_key_pem", public_key_from),
        certificate=parsed("certificate_pem", certificate_from),
        request=parsed("csr_pem", lambda text: text.encode("utf-8", "replace")),
    )


def _provisioned(trust: Trust, shown: Shown) -> dict[str, Any]:
    return {**device_shown(trust, shown.device), "provisioning": shown.provisioning}


def _credential(trust: Trust, one: Credential) -> dict[str, Any]:
    times = {name: iso(one.public[name]) for name in ("not_before", "not_after") if name in one.public}
    return {
        "id": one.id,
        "purpose": one.purpose,
        "mode": one.mode,
        "identity": one.identity,
        "state": one.state,
        "made_at": iso(one.made_at),
        "changed_at": iso(one.changed_at),
        "expires_at": None if one.expires_at is None else iso(one.expires_at),
        "reason": one.reason,
        "public": {**one.public, **times},
        **trust.security.used(one.identity),
    }


def _file(content: bytes, name: str, content_type: str) -> Answer:
    headers = (("Content-Disposition", f'attachment; filename="{name}"'),)
    return Answer(content, headers=headers, content_type=content_type)
