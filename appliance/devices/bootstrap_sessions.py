"""Bootstrap sessions, step by step, as a person may look at them later: never a key, only how long it was.

A short history, on disk: what was under way when we stopped is found as failed, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from appliance.storage.database import Database
from appliance.storage.errors import StorageFull
from appliance.storage.json_text import encode_json

log = logging.getLogger(__name__)

KEPT_SESSIONS: Final = 1000
_TRIM_EVERY: Final = 50

State = Literal["running", "finished", "failed"]

_SAVE = "INSERT OR REPLACE INTO bootstrap_session(id, endpoint_name, state) VALUES (?,?,?)"
_FORGET = "DELETE FROM bootstrap_session WHERE id <= ?"
_ROWS = (
    "SELECT id, endpoint_name, state FROM bootstrap_session WHERE (?='' OR endpoint_name=?) "
    "ORDER BY id DESC LIMIT ?"
)
_STOPPED = "The gateway stopped while this was under way; the device asks again by itself."


class Step(NamedTuple):
    """One step. ``code`` is the CoAP code in words, "" where there is none; ``ok`` False: it was refused."""

    at: float
    what: str
    path: str
    code: str
    text: str
    ok: bool


class Session:
    """One bootstrapping of one device. Times are seconds since 1970."""

    __slots__ = (
        *("address", "bearer", "ended_at", "endpoint_name", "id", "identity", "plan_id", "plan_name"),
        *("started_at", "state", "steps", "text"),
    )

    def __init__(
        self, session_id: int, endpoint_name: str, started_at: float, address: str, bearer: str, identity: str
    ) -> None:
        self.id = session_id
        self.endpoint_name = endpoint_name
        self.started_at = started_at
        self.address = address
        self.bearer = bearer
        self.identity = identity
        self.plan_id = ""
        self.plan_name = ""
        self.ended_at: float | None = None
        self.state: State = "running"
        self.text = "Under way."
        self.steps: list[Step] = []

    def to_json(self) -> str:
        """For the database."""
        return encode_json(
            {
                "started_at": round(self.started_at, 3),
                "ended_at": None if self.ended_at is None else round(self.ended_at, 3),
                "state": self.state,
                "text": self.text,
                "address": self.address,
                "bearer": self.bearer,
                "identity": self.identity,
                "plan_id": self.plan_id,
                "plan_name": self.plan_name,
                "steps": [[round(step.at, 3), *step[1:]] for step in self.steps],
            }
        )

    @classmethod
    def from_json(cls, session_id: int, endpoint_name: str, text: str) -> Session:
        """Takes back what `to_json` wrote; raises LookupError, TypeError or ValueError."""
        stored = json.loads(text)
        session = cls(
            session_id,
            endpoint_name,
            float(stored["started_at"]),
            stored["address"],
            stored["bearer"],
            stored["identity"],
        )
        session.ended_at, session.state, session.text = stored["ended_at"], stored["state"], stored["text"]
        session.plan_id, session.plan_name = stored["plan_id"], stored["plan_name"]
        session.steps = [Step(*step) for step in stored["steps"]]
        return session

    def to_api(self) -> dict[str, Any]:
        """The shape of the API."""
        return {
            "id": self.id,
            "endpoint_name": self.endpoint_name,
            "started_at": _iso(self.started_at),
            "ended_at": None if self.ended_at is None else _iso(self.ended_at),
            "state": self.state,
            "text": self.text,
            "address": self.address,
            "bearer": self.bearer,
            "identity": self.identity or None,
            "plan": {"id": self.plan_id, "name": self.plan_name} if self.plan_id else None,
            "steps": [
                {**step._asdict(), "at": _iso(step.at), "code": step.code or None} for step in self.steps
            ],
        }


class Sessions:
    """The history. Loop thread but for `ended`; `list` and `get` read the disk and what is not there yet."""

    def __init__(self, database: Database, wall: Callable[[], float]) -> None:
        self._database = database
        self._wall = wall
        self._next_id = 1
        self._recent: dict[int, Session] = {}  # under way, or not on disk as they are
        self._ended: dict[str, Session] = {}  # the last one of each device that has not registered since

    def load(self) -> int:
        """Mark what our end cut off; how many these were."""
        cut = 0
        newest: dict[str, Session] = {}
        for row in self._database.read(_ROWS, ("", "", KEPT_SESSIONS + _TRIM_EVERY)):
            self._next_id = max(self._next_id, row[0] + 1)
            session = _read(row)
            if session is not None and session.state == "running":
                self.end(session, "failed", _STOPPED)
                cut += 1
            if session is not None and session.address:
                newest.setdefault(session.endpoint_name, session)
        self._ended = dict(reversed(newest.items()))
        return cut

    def begin(self, endpoint_name: str, address: str, bearer: str, identity: str | None) -> Session:
        """A session that is under way from now on."""
        session = Session(self._next_id, endpoint_name, self._wall(), address, bearer, identity or "")
        self._next_id += 1
        self._recent[session.id] = session
        self._save(session)
        if session.id % _TRIM_EVERY == 0 and session.id > KEPT_SESSIONS:
            with contextlib.suppress(StorageFull):  # the next turn tries again
                self._database.write(_FORGET, (session.id - KEPT_SESSIONS,))
        return session

    def step(
        self, session: Session, what: str, path: str = "", code: str = "", text: str = "", *, ok: bool = True
    ) -> None:
        """One more step."""
        session.steps.append(Step(self._wall(), what, path, code, text, ok))
        self._save(session)

    def end(self, session: Session, state: State, text: str) -> None:
        """It is over."""
        session.ended_at, session.state, session.text = self._wall(), state, text
        self._recent[session.id] = session
        if session.address:  # else it never began: the device could not be told to
            self._ended.pop(session.endpoint_name, None)
            self._ended[session.endpoint_name] = session
            if len(self._ended) > KEPT_SESSIONS:
                del self._ended[next(iter(self._ended))]
        self._save(session, partial(self._settled, session.id))

    def settle(self, endpoint_name: str) -> None:
        """The device has registered: how its last session ended does not matter any more."""
        self._ended.pop(endpoint_name, None)

    def ended(self, endpoint_name: str) -> Session | None:
        """The last session of a device that has not registered since. Safe in any thread."""
        return self._ended.get(endpoint_name)

    def list(self, endpoint_name: str = "", limit: int = 50) -> list[Session]:
        """The newest first, of one device or of all. Raises StorageError."""
        rows = self._database.read(_ROWS, (endpoint_name, endpoint_name, limit))
        found = {session.id: session for session in map(_read, rows) if session is not None}
        found |= {
            session.id: session
            for session in self._recent.values()
            if endpoint_name in ("", session.endpoint_name)
        }
        return sorted(found.values(), key=lambda session: -session.id)[:limit]

    def get(self, session_id: int) -> Session | None:
        """One of them, None when it is not known (any more). Raises StorageError."""
        if session_id in self._recent:
            return self._recent[session_id]
        rows = self._database.read(
            "SELECT id, endpoint_name, state FROM bootstrap_session WHERE id=?", (session_id,)
        )
        return _read(rows[0]) if rows else None

    def _save(self, session: Session, done: Callable[[], None] | None = None) -> None:
        try:
            self._database.write(
                _SAVE,
                (session.id, session.endpoint_name, session.to_json()),
                done,
                partial(self._lost, session.id),
            )
        except StorageFull as error:
            self._lost(session.id, error)

    def _settled(self, session_id: int) -> None:
        session = self._recent.get(session_id)
        if session is not None and session.ended_at is not None:
            del self._recent[session_id]

    def _lost(self, session_id: int, error: Exception) -> None:
        """Only history: the device is bootstrapped all the same."""
        log.error("bootstrap session %d is not stored: %s", session_id, error)
        self._settled(session_id)


def _read(row: tuple[Any, ...]) -> Session | None:
    session_id, endpoint_name, text = row
    try:
        return Session.from_json(session_id, endpoint_name, text)
    except (ValueError, TypeError, LookupError) as error:
        log.error("bootstrap session %s of %s cannot be read: %s", session_id, endpoint_name, error)
        return None


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
