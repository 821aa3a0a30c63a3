"""DTLS sessions on disk, so that a restart does not make a fleet shake hands again.

What is safe to restore, and why: a session is written, sealed, when its handshake is done. Its numbers are
written in a row of their own. The number up to which we may have sent is reserved in blocks and stored before
it is used, so no number is used twice for one key. The newest number taken, with the window below it, is
written before what the record carried is handed up: it is in the same or an earlier commit than whatever
the record caused, so a record that had an effect before the restart cannot have it again. Not restored are
handshakes under way and sessions whose identity the vault does not let in any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from appliance.southbound.dtls.server import DtlsServer
from appliance.southbound.dtls.session import DtlsSession
from appliance.storage.database import Database
from appliance.storage.errors import StorageError
from appliance.vault.errors import VaultError
from appliance.vault.sealing import SealingKey

log = logging.getLogger(__name__)

_SAVE = "INSERT OR REPLACE INTO dtls_session(id, sealed) VALUES (?,?)"
_MARK = "INSERT OR REPLACE INTO dtls_mark(id, newest, seen, sent_below) VALUES (?,?,?,?)"
_FORGET = "DELETE FROM dtls_session WHERE id = ?"
_FORGET_MARK = "DELETE FROM dtls_mark WHERE id = ?"
_SIGN = 1 << 63  # the window has 64 bits, and SQLite's integers have a sign


class SessionStore:
    """The rows of `dtls_session` and `dtls_mark`."""

    def __init__(self, database: Database, key: SealingKey, dtls: DtlsServer) -> None:
        self._database = database
        self._key = key
        self._dtls = dtls
        dtls.marks = self.marked

    def load(self, opens: Callable[[str], bool], now: float) -> int:
        """Take sessions up again; gives how many. ``opens`` tells whether an identity is still let in."""
        taken = 0
        rows = self._database.read(
            "SELECT s.id, s.sealed, m.newest, m.seen, m.sent_below FROM dtls_session s "
            "JOIN dtls_mark m ON m.id = s.id",
            (),
        )
        for number, sealed, newest, seen, sent_below in rows:
            session = None
            try:
                saved = self._key.open_bytes(sealed, f"dtls_session/{number}")
                session = self._dtls.restore(saved, newest, seen + _SIGN, sent_below, now)
            except VaultError as error:
                log.warning("a DTLS session is not taken up again: %s", error)
            if session is not None and not opens(session.identity):
                self._dtls.drop(session, "its identity is not let in any more")
                session = None
            if session is None:
                self.ended(number)
            else:
                self.marked(session)  # its numbers go on far above those of before
                taken += 1
        return taken

    def established(self, session: DtlsSession) -> None:
        """A handshake is done."""
        sealed = self._key.seal_bytes(self._dtls.save(session), f"dtls_session/{session.id}")
        self._store(_SAVE, (session.id, sealed))
        self.marked(session)

    def marked(self, session: DtlsSession) -> None:
        """Its numbers have moved."""
        mark = (session.id, session.newest, session.seen - _SIGN, session.sent_below)
        self._store(_MARK, mark)

    def ended(self, session_id: int) -> None:
        """It is over."""
        self._store(_FORGET, (session_id,))
        self._store(_FORGET_MARK, (session_id,))

    def _store(self, sql: str, parameters: tuple[object, ...]) -> None:
        try:
            self._database.write(sql, parameters)
        except StorageError as error:
            # The session itself goes on; after a restart its device shakes hands again.
            log.warning("a DTLS session could not be stored: %s", error)
