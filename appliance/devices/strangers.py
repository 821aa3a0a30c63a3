"""Who knocked and was not let in: the quarantine list.

The law of this file: what strangers can make us remember is capped, and what they can make us write too. An
entry is made per name and identity, and the oldest that waits for a person goes first. Each is written once a
minute at most, and so many in a minute; what knocks beyond that is on the list, but not over a restart.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from appliance.devices.errors import DeviceError
from appliance.storage.database import Database
from appliance.storage.errors import StorageError

log = logging.getLogger(__name__)

MAX_STRANGERS: Final = 500
MAX_WRITES: Final = 60  # within the time below; a new name costs nothing over UDP
_WRITE_EVERY_S: Final = 60.0
_MAX_TEXT: Final = 300

State = Literal["waiting", "ignored", "blocked"]

_SAVE: Final = "INSERT OR REPLACE INTO stranger(id, state) VALUES (?,?)"
_FORGET: Final = "DELETE FROM stranger WHERE id = ?"


@dataclass(slots=True)
class Stranger:
    """One of them. Times are epoch seconds; ``material`` is what it showed of itself and is public: a raw
    public key (``spki_hex``) or a certificate (``certificate_pem``), by which it can be accepted. ``proved``:
    it has shown that the identity is its own; else anybody may have said so.
    """

    id: int
    endpoint_name: str
    identity: str
    address: str
    bearer: str
    first_seen_at: float
    last_seen_at: float
    reason: str
    count: int = 1
    state: State = "waiting"
    material: dict[str, str] = field(default_factory=dict)
    proved: bool = False
    written_at: float = 0.0  # 0: never

    @property
    def acceptable(self) -> bool:
        """Whether it can be let in with what is known of it; for a key (PSK) somebody must tell the key."""
        return bool(self.material) or (not self.identity and bool(self.endpoint_name))

    def to_api(self) -> dict[str, Any]:
        """The shape of the API."""
        return {
            "id": self.id,
            "endpoint_name": self.endpoint_name,
            "identity": self.identity or None,
            "address": self.address,
            "bearer": self.bearer,
            "first_seen_at": _iso(self.first_seen_at),
            "last_seen_at": _iso(self.last_seen_at),
            "count": self.count,
            "reason": self.reason,
            "state": self.state,
            "can_accept": self.acceptable,
        }


class Strangers:
    """The list. In memory, and every entry in a row of its own."""

    def __init__(self, database: Database, wall: Callable[[], float]) -> None:
        self._database = database
        self._wall = wall
        self._known: dict[tuple[str, str], Stranger] = {}  # the one seen longest ago first
        self._last_id = 0
        self._writes = 0  # since then, because of knocks
        self._writes_since = 0.0

    def __iter__(self) -> Iterator[Stranger]:
        return iter(list(self._known.values()))

    def load(self) -> None:
        """Take back what the database holds."""
        found: list[Stranger] = []
        for number, state in self._database.read("SELECT id, state FROM stranger ORDER BY id", ()):
            stored = json.loads(state)
            self._last_id = max(self._last_id, number)
            try:
                stranger = Stranger(number, **stored)
            except TypeError as error:
                log.warning("an entry of the quarantine list is not readable: %s", error)
                continue
            stranger.written_at = stranger.last_seen_at
            found.append(stranger)
        for stranger in sorted(found, key=lambda one: one.last_seen_at):
            self._known[stranger.endpoint_name, stranger.identity] = stranger

    def knock(
        self,
        endpoint_name: str,
        identity: str,
        address: str,
        bearer: str,
        reason: str,
        material: Mapping[str, str] | None = None,
        *,
        proved: bool = False,
    ) -> Stranger:
        """Somebody who is not let in: a new entry, or one more knock of a known one.

        What one without proof shows never stands for what one with proof has shown: it may be a forger.
        """
        now = self._wall()
        key = (endpoint_name[:_MAX_TEXT], identity[:_MAX_TEXT])
        nameless = self._known.get(("", key[1])) if all(key) else None
        if nameless is not None and nameless.state == "waiting" and nameless.proved == proved:
            # It showed who it is, and now says how it is called: one entry, by which it can be accepted.
            material = material or nameless.material
            self._drop(nameless)
        stranger = self._known.pop(key, None)
        if stranger is None:
            self._make_room()
            self._last_id += 1
            stranger = Stranger(self._last_id, *key, address, bearer, now, now, reason[:_MAX_TEXT])
        else:
            stranger.count += 1
        if proved and not stranger.proved:
            stranger.proved, stranger.material = True, {}
        stranger.last_seen_at = now
        if proved == stranger.proved:
            stranger.address, stranger.bearer, stranger.reason = address, bearer, reason[:_MAX_TEXT]
            if material:
                stranger.material = dict(material)
        self._known[key] = stranger
        if _is_due(stranger.written_at, now) and self._may_write(now):
            self._write(stranger)
        return stranger

    def blocked(self, endpoint_name: str, identity: str) -> bool:
        """Whether a person blocked this name or this identity."""
        return any(
            stranger.state == "blocked"
            for key in ((endpoint_name, identity), ("", identity), (endpoint_name, ""))
            if key != ("", "") and (stranger := self._known.get(key)) is not None
        )

    def named(self, endpoint_name: str) -> list[Stranger]:
        """Those who use this name."""
        return [one for one in self._known.values() if one.endpoint_name == endpoint_name]

    def get(self, stranger_id: int) -> Stranger:
        """Raises DeviceError("not_found")."""
        for stranger in self._known.values():
            if stranger.id == stranger_id:
                return stranger
        raise DeviceError("not_found", f"there is no stranger {stranger_id}", "It may have been removed.")

    def mark(self, stranger_id: int, state: State) -> Stranger:
        """Ignore, block, or let it wait again. Raises DeviceError, also to block who gave no name at all."""
        stranger = self.get(stranger_id)
        if state == "blocked" and not stranger.endpoint_name and not stranger.identity:
            raise DeviceError(
                "invalid",
                "it gave neither a name nor an identity by which it could be known again",
                "Ignore it, or find out who is at its address.",
            )
        stranger.state = state
        self._write(stranger)
        return stranger

    def remove(self, stranger_id: int) -> None:
        """Forget it; it appears again when it knocks again. Raises DeviceError("not_found")."""
        stranger = self.get(stranger_id)
        self._drop(stranger)

    def forget(self, endpoint_name: str, identity: str) -> None:
        """It was let in after all."""
        for key in ((endpoint_name, identity), ("", identity)) if identity else ((endpoint_name, ""),):
            stranger = self._known.get(key)
            if stranger is not None and stranger.state != "blocked":
                self._drop(stranger)

    def _make_room(self) -> None:
        if len(self._known) < MAX_STRANGERS:
            return
        # Mostly the first one: strangers by the thousand must not make us look at all of them each time.
        for state in ("waiting", "ignored", "blocked"):
            for stranger in self._known.values():
                if stranger.state == state:
                    self._drop(stranger)
                    return

    def _may_write(self, now: float) -> bool:
        if _is_due(self._writes_since, now):
            self._writes, self._writes_since = 0, now
        self._writes += 1
        return self._writes <= MAX_WRITES

    def _drop(self, stranger: Stranger) -> None:
        del self._known[stranger.endpoint_name, stranger.identity]
        if stranger.written_at:
            self._store(_FORGET, (stranger.id,))

    def _write(self, stranger: Stranger) -> None:
        stranger.written_at = self._wall()
        stored = {
            name: getattr(stranger, name)
            for name in Stranger.__dataclass_fields__
            if name not in ("id", "written_at")
        }
        self._store(_SAVE, (stranger.id, json.dumps(stored, separators=(",", ":"))))

    def _store(self, sql: str, parameters: tuple[Any, ...]) -> None:
        try:
            self._database.write(sql, parameters)
        except StorageError as error:
            # The list itself goes on in memory; a full disk is shown elsewhere.
            log.warning("the quarantine list could not be stored: %s", error)


def _is_due(last: float, now: float) -> bool:
    return now - last >= _WRITE_EVERY_S or now < last  # the clock may be set back


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
