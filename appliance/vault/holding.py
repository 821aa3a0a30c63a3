"""A device as the vault holds it: what is shown of it, what is not, and its row in a document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.vault.model import Credential, Device


@dataclass(frozen=True, slots=True)
class Kept:
    """What belongs to a credential and is not shown: sealed secrets, the mark of its key, its state before it
    was revoked by hand ("" when it was not)."""

    sealed: Mapping[str, str] = field(repr=False)
    mark: str
    before: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A device in the index, and where it stands."""

    device: Device
    kept: Mapping[str, Kept]
    shard: str = ""


def trust(held: Held) -> tuple[object, ...]:
    """What of a device decides who is let in."""
    device = held.device
    return device.nosec, device.blocked, device.credentials


def certificates_ended(old: Held, held: Held | None) -> list[Credential]:
    """The certificates of a device that opened before a change and do not any more."""
    living = set() if held is None else {c.id for c in held.device.credentials if c.state != "revoked"}
    return [
        one
        for one in old.device.credentials
        if one.mode == "x509" and one.state != "revoked" and one.id not in living
    ]


def certificate_sha256(one: Credential) -> str:
    """In hex; "" of what is no certificate."""
    return str(one.public.get("sha256") or one.public.get("pinned_sha256") or "")


def where(endpoint_name: str, credential_id: str, name: str) -> str:
    """Where a secret stands: it is sealed to this place."""
    return f"{endpoint_name}/{credential_id}/{name}"


# Rows of the documents


def row_of(held: Held) -> dict[str, Any]:
    """The device as JSON."""
    device = held.device
    return {
        "endpoint_name": device.endpoint_name,
        "label": device.label,
        "groups": list(device.groups),
        "tags": list(device.tags),
        "nosec": device.nosec,
        "blocked": device.blocked,
        "plan": device.plan,
        "made_at": device.made_at,
        "rebootstrap_asked": device.rebootstrap_asked,
        "credentials": [_credential_row(one, held.kept[one.id]) for one in device.credentials],
    }


def _credential_row(one: Credential, kept: Kept) -> dict[str, Any]:
    return {
        "id": one.id,
        "purpose": one.purpose,
        "mode": one.mode,
        "identity": one.identity,
        "public": dict(one.public),
        "sealed": dict(kept.sealed),
        "mark": kept.mark,
        "state": one.state,
        "before": kept.before,
        "made_at": one.made_at,
        "expires_at": one.expires_at,
        "changed_at": one.changed_at,
        "reason": one.reason,
    }


def held_of(row: Mapping[str, Any], shard: str) -> Held:
    """What `row_of` wrote. Raises LookupError, TypeError or ValueError when it is not that."""
    name = str(row["endpoint_name"])
    credentials, kept = [], {}
    for one in row["credentials"]:
        sealed = {str(secret): str(text) for secret, text in one["sealed"].items()}
        kept[str(one["id"])] = Kept(sealed, str(one["mark"]), str(one["before"]))
        credentials.append(
            Credential(
                str(one["id"]),
                name,
                str(one["purpose"]),
                str(one["mode"]),
                str(one["identity"]),
                dict(one["public"]),
                tuple(sorted(sealed)),
                str(one["state"]),
                float(one["made_at"]),
                None if one["expires_at"] is None else float(one["expires_at"]),
                float(one["changed_at"]),
                str(one["reason"]),
            )
        )
    asked = row["rebootstrap_asked"]
    device = Device(
        name,
        str(row["label"]),
        tuple(map(str, row["groups"])),
        tuple(map(str, row["tags"])),
        bool(row["nosec"]),
        bool(row["blocked"]),
        None if row["plan"] is None else str(row["plan"]),
        float(row["made_at"]),
        tuple(credentials),
        None if asked is None else float(asked),
    )
    return Held(device, kept, shard)


def row_bytes(held: Held) -> int:
    """About what a device takes in its file, where it stands three levels deep."""
    text = json.dumps(row_of(held), indent=1, ensure_ascii=False)
    return len(text.encode("utf-8", "surrogatepass")) + 3 * text.count("\n") + 16
