"""What the vault knows, in dictionaries: looked at without a lock, changed one frozen value after another."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator

from appliance.vault.holding import Held, Kept, certificate_sha256, trust
from appliance.vault.model import Credential, Device


class Index:
    """Devices by name; credentials by identity, by id, by certificate and by the mark of their key.

    Who calls `put` holds the vault's lock; a look-up beside it sees the old value or the new one.
    """

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._identities: dict[str, tuple[Credential, ...]] = {}  # the one that counts first
        self._kept: dict[str, tuple[str, Kept]] = {}  # by credential id: endpoint name and what is kept
        self._certificates: dict[str, str] = {}  # SHA-256 to credential id
        self._marks: dict[str, dict[str, str]] = {}  # mark to credential id to endpoint name
        self._touched: set[str] = set()
        self._ends: list[tuple[float, str]] = []  # a heap: when a credential of which device expires
        self._known_ends: set[tuple[float, str]] = set()  # the same, so that none stands in it twice
        self._touching = threading.Lock()  # for these three alone, never held while anything is waited for

    # Looking

    def held(self, endpoint_name: str) -> Held | None:
        """A device with what is kept beside it."""
        return self._held.get(endpoint_name)

    def devices(self) -> list[Device]:
        """All devices, in no order."""
        return [held.device for held in list(self._held.values())]

    def identity_is_known(self, identity: str) -> bool:
        """Whether a credential in any state has this identity string."""
        return identity in self._identities

    def by_identity(self, identity: str, purpose: str | None = None) -> Credential | None:
        """See `Vault.by_identity`."""
        found = self._identities.get(identity)
        if not found:
            return None
        return next((one for one in found if one.purpose == purpose and one.state != "revoked"), found[0])

    def all_by_identity(self, identity: str) -> tuple[Credential, ...]:
        """All credentials of an identity string, the one that counts first."""
        return self._identities.get(identity, ())

    def by_certificate(self, sha256: str) -> Credential | None:
        """The credential of a certificate by its SHA-256 (hex), in any state."""
        number = self._certificates.get(sha256)
        found = self._kept.get(number) if number is not None else None
        held = self._held.get(found[0]) if found is not None else None
        if held is None:
            return None
        return next((one for one in held.device.credentials if one.id == number), None)

    def kept(self, credential_id: str) -> tuple[str, Kept] | None:
        """The endpoint name of a credential, and what is kept beside it."""
        return self._kept.get(credential_id)

    def all_kept(self) -> Iterator[tuple[str, str, Kept]]:
        """Of every credential: endpoint name, id, and what is kept beside it."""
        for number, (endpoint_name, kept) in list(self._kept.items()):
            yield endpoint_name, number, kept

    def other_with(self, identity: str, endpoint_name: str) -> Credential | None:
        """A credential with this identity, not revoked, of another device than this one."""
        return next(
            (
                one
                for one in self._identities.get(identity, ())
                if one.endpoint_name != endpoint_name and one.state != "revoked"
            ),
            None,
        )

    def with_mark(self, mark: str) -> dict[str, str]:
        """The credentials whose key has this mark: endpoint names by credential id."""
        return self._marks.get(mark, {})

    # Changing

    def put(self, name: str, held: Held | None) -> None:
        """Put a device in the dictionaries in place of what was there, or with None take it out."""
        old = self._held.get(name)
        gone = () if old is None else old.device.credentials
        fresh = () if held is None else held.device.credentials
        if held is not None:
            self._held[name] = held
            for one in fresh:
                kept = held.kept[one.id]
                self._kept[one.id] = (name, kept)
                self._marks.setdefault(kept.mark, {})[one.id] = name
                if one.mode == "x509":
                    self._certificates[certificate_sha256(one)] = one.id
        else:
            self._held.pop(name, None)
        staying = {one.id for one in fresh}
        for one in gone:
            if one.id not in staying:
                self._drop(one)
        for identity in {one.identity for one in (*gone, *fresh)}:
            others = [one for one in self._identities.get(identity, ()) if one.endpoint_name != name]
            own = [one for one in fresh if one.identity == identity]
            if others or own:
                self._identities[identity] = tuple(sorted((*others, *own), key=_weight, reverse=True))
            else:
                self._identities.pop(identity, None)
        # Only now: who is told looks at once, and must see what has changed.
        with self._touching:
            if old is None or held is None or trust(old) != trust(held):
                self._touched.add(name)
            for one in fresh:
                end = (one.expires_at or 0.0, name)
                if one.expires_at is not None and one.state != "revoked" and end not in self._known_ends:
                    self._known_ends.add(end)
                    heapq.heappush(self._ends, end)

    def take_touched(self, now: float) -> set[str]:
        """The endpoint names whose trust has changed since the last call; also those of which a credential
        has expired, at ``now`` or before.
        """
        with self._touching:
            touched, self._touched = self._touched, set()
            while self._ends and self._ends[0][0] <= now:
                end = heapq.heappop(self._ends)
                self._known_ends.discard(end)
                if end[1] in self._held:
                    touched.add(end[1])
        return touched

    def _drop(self, one: Credential) -> None:
        _, kept = self._kept.pop(one.id)
        owners = self._marks.get(kept.mark, {})
        owners.pop(one.id, None)
        if not owners:
            self._marks.pop(kept.mark, None)
        if self._certificates.get(certificate_sha256(one)) == one.id:
            del self._certificates[certificate_sha256(one)]


def _weight(one: Credential) -> tuple[int, float]:
    """Which of several credentials with one identity counts: one in use, and the newest."""
    return ("revoked", "retiring", "staged", "active").index(one.state), one.made_at
