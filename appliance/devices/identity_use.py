"""When an identity was last used, and how its last attempt failed, in words.

Only identities that the vault knows are kept, so strangers cannot fill it. Use is written once an hour at
most, a failure once a minute, or after some seconds when its words change: a stranger can make it fail in
this way and that as often as he likes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from appliance.storage.database import Database
from appliance.storage.errors import StorageError

log = logging.getLogger(__name__)

_USE_EVERY_S: Final = 3600.0
_FAILURE_EVERY_S: Final = 60.0
_OTHER_FAILURE_EVERY_S: Final = 5.0
_SAVE: Final = "INSERT OR REPLACE INTO identity_use(identity, state) VALUES (?,?)"
_FORGET: Final = "DELETE FROM identity_use WHERE identity = ?"


@dataclass(slots=True)
class Use:
    """Epoch seconds, 0 for never; ``text`` is how the last failure is told to a person."""

    used_at: float = 0.0
    failed_at: float = 0.0
    text: str = ""
    stored_use: float = 0.0
    stored_failure: float = 0.0


class IdentityUse:
    """By identity string."""

    def __init__(self, database: Database, wall: Callable[[], float]) -> None:
        self._database = database
        self._wall = wall
        self._uses: dict[str, Use] = {}

    def load(self) -> None:
        """Take back what the database holds."""
        for identity, state in self._database.read("SELECT identity, state FROM identity_use", ()):
            used_at, failed_at, text = json.loads(state)
            self._uses[identity] = Use(used_at, failed_at, text, used_at, failed_at)

    def get(self, identity: str) -> Use:
        """What is known of it; a `Use` of zeros when nothing is."""
        return self._uses.get(identity) or Use()

    def used(self, identity: str) -> None:
        """It opened the door."""
        use = self._uses.setdefault(identity, Use())
        use.used_at = self._wall()
        if abs(use.used_at - use.stored_use) >= _USE_EVERY_S:
            self._write(identity, use)

    def failed(self, identity: str, text: str) -> None:
        """It did not."""
        use = self._uses.setdefault(identity, Use())
        every_s = _FAILURE_EVERY_S if text == use.text else _OTHER_FAILURE_EVERY_S
        use.failed_at, use.text = self._wall(), text
        if abs(use.failed_at - use.stored_failure) >= every_s:
            self._write(identity, use)

    def sweep(self, known: Callable[[str], bool]) -> None:
        """Forget the identities that the vault does not know any more: each bootstrap makes new ones."""
        for identity in [one for one in self._uses if not known(one)]:
            del self._uses[identity]
            self._store(_FORGET, (identity,))

    def _write(self, identity: str, use: Use) -> None:
        use.stored_use, use.stored_failure = use.used_at, use.failed_at
        self._store(_SAVE, (identity, json.dumps([use.used_at, use.failed_at, use.text])))

    def _store(self, sql: str, parameters: tuple[Any, ...]) -> None:
        try:
            self._database.write(sql, parameters)
        except StorageError as error:
            log.warning("the use of an identity could not be stored: %s", error)
