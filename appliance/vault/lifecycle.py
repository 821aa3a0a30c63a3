"""The states of a device's credentials: made, used, on the way out, revoked, taken back.

Each function makes of a device as it is held the device as it shall be held; nothing is written here. Times
are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from appliance.vault.errors import Taken, VaultError
from appliance.vault.holding import Held
from appliance.vault.model import Credential

MAX_REPLACED: Final = 4  # revoked ones that a device's row remembers
# Certificates of somebody else's authority would open again when nobody knows that they were replaced.
MAX_REPLACED_CERTIFICATES: Final = 24
MAX_STAGED: Final = 3  # keys of one purpose not used yet; each bootstrap that fails leaves one
REPLACED: Final = "replaced by a newer key"
ASTRAY: Final = "not used yet, and the bootstrap key by which it may have been given is revoked"


def with_credentials(held: Held, credentials: Sequence[Credential]) -> Held:
    """The device with other credentials. One that was replaced loses its secrets for good, and only the last
    few of those are remembered.
    """
    replaced = [one for one in credentials if one.state == "revoked" and not held.kept[one.id].before]
    certificates = [one.id for one in replaced if one.mode == "x509"]
    others = [one.id for one in replaced if one.mode != "x509"]
    forgotten = {*certificates[:-MAX_REPLACED_CERTIFICATES], *others[:-MAX_REPLACED]}
    stripped = {one.id for one in replaced}
    staying, kept = [], {}
    for one in credentials:
        if one.id in forgotten:
            continue
        had = held.kept[one.id]
        if one.id in stripped and had.sealed:
            public = {name: value for name, value in one.public.items() if name != "certificate_pem"}
            one, had = replace(one, secrets=(), public=public), replace(had, sealed={})
        staying.append(one)
        kept[one.id] = had
    return replace(held, device=replace(held.device, credentials=tuple(staying)), kept=kept)


def outdated(held: Held, purpose: str, staged: bool, now: float, overlap_s: float) -> Held:
    """The credentials of a purpose on their way out, before a new one is put in.

    Staged: what is in use opens for ``overlap_s`` more. Else it opens no more.
    """
    waiting = [c for c in held.device.credentials if c.purpose == purpose and c.state == "staged"]
    too_many = {one.id for one in waiting[: max(0, len(waiting) - MAX_STAGED + 1)]}
    credentials = []
    for one in held.device.credentials:
        if one.purpose == purpose and one.state != "revoked":
            if not staged or one.id in too_many:
                one = _revoked(one, now, REPLACED)
            elif one.state == "active":
                end = now + overlap_s
                end = end if one.expires_at is None else min(end, one.expires_at)
                one = replace(one, state="retiring", expires_at=end, changed_at=now, reason="being replaced")
        credentials.append(one)
    if purpose == "bootstrap" and not staged:
        credentials = _without_astray(credentials, now)
    return with_credentials(held, credentials)


def come_into_use(held: Held, used: Credential, now: float) -> Held:
    """A staged credential was used: it is active, and those before it of its purpose are revoked."""
    credentials, before = [], True
    for one in held.device.credentials:
        if one.id == used.id:
            one, before = replace(one, state="active", changed_at=now, reason="used"), False
        elif before and one.purpose == used.purpose and one.state != "revoked":
            one = _revoked(one, now, REPLACED)
        credentials.append(one)
    return with_credentials(held, credentials)


def revoked_by_hand(held: Held, credential_id: str | None, now: float, reason: str) -> tuple[Held, list[str]]:
    """One credential, or with None all of them, revoked so that it can be taken back; and the identities."""
    credentials, kept, said, lost = [], dict(held.kept), [], False
    for one in held.device.credentials:
        if one.state != "revoked" and credential_id in (None, one.id):
            kept[one.id] = replace(kept[one.id], before=one.state)
            one = _revoked(one, now, reason)
            said.append(one.identity)
            lost = lost or one.purpose == "bootstrap"
        credentials.append(one)
    if lost:
        credentials = _without_astray(credentials, now)
    return with_credentials(replace(held, kept=kept), credentials), said


def reinstated(
    held: Held,
    credential_id: str | None,
    now: float,
    other_with: Callable[[str, str], Credential | None],
) -> tuple[Held, list[str]]:
    """What was revoked by hand is as it was before; and the identities of that.

    ``other_with`` gives another device's credential with an identity, see `Index.other_with`. Raises
    VaultError("conflict").
    """
    name = held.device.endpoint_name
    credentials, kept, said = [], dict(held.kept), []
    for one in held.device.credentials:
        before = kept[one.id].before
        if before and credential_id in (None, one.id):
            if "serial" in one.public:
                raise VaultError(
                    f"a revoked certificate is not taken back: give {name} a new one", "conflict"
                )
            other = other_with(one.identity, name)
            if other is not None:
                raise Taken(
                    f"the identity {one.identity} belongs to ",
                    other.endpoint_name,
                    " by now: give this device a new key",
                )
            kept[one.id] = replace(kept[one.id], before="")
            one = replace(one, state=before, changed_at=now, reason="reinstated")
            said.append(one.identity)
        credentials.append(one)
    return replace(held, device=replace(held.device, credentials=tuple(credentials)), kept=kept), said


def _revoked(one: Credential, now: float, reason: str) -> Credential:
    return replace(one, state="revoked", changed_at=now, reason=reason)


def _without_astray(credentials: Sequence[Credential], now: float) -> list[Credential]:
    """Server keys that nobody has used are worth nothing once a bootstrap key is lost: whoever has that may
    have been given them.
    """
    return [
        _revoked(one, now, ASTRAY) if one.purpose == "server" and one.state == "staged" else one
        for one in credentials
    ]
