"""DTLS sessions on disk, so that a restart does not make a fleet shake hands again.

What is safe to restore, and why: a session is written, sealed, when its handshake is done. Its numbers are
written in a row of their own. The number up to which we may have sent is reserved in blocks and stored before
it is used, so no number is used twice for one key. The newest number taken, with the window below it, is
written before what the record carried is handed up: it is in the same or an earlier commit than whatever
the record caused, so a record that had an effect before the restart cannot have it again. Not restored are
handshakes under way and sessions whose credential the vault does not let in any more.

And when the disk is full: a mark that cannot be queued is an error for the caller, who then hands up nothing
and sends nothing. One that was queued and not committed is written again as soon as a commit succeeds; what
its record caused was in that commit too, or behind it, and is acknowledged to nobody before its own commit.
A session that could not be written goes on, and its device shakes hands again after a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

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
# Half of a session: its other half was not stored, or not forgotten.
_FORGET_HALVES = (
    "DELETE FROM dtls_mark WHERE id NOT IN (SELECT id FROM dtls_session)",
    "DELETE FROM dtls_session WHERE id NOT IN (SELECT id FROM dtls_mark)",
)
_SIGN = 1 << 63  # the window has 64 bits, and SQLite's integers have a sign
_RESTORED_AT_ONCE = 1000  # sessions whose new numbers wait for the disk together


class SessionStore:
    """The rows of `dtls_session` and `dtls_mark`."""

    def __init__(self, database: Database, key: SealingKey, dtls: DtlsServer) -> None:
        self._database = database
        self._key = key
        self._dtls = dtls
        self._behind: dict[int, DtlsSession] = {}  # whose marks were not committed
        dtls.marks = self.marked
        database.after_group(self._catch_up)

    def load(self, opens: Callable[[DtlsSession], bool], now: float) -> int:
        """Take sessions up again; gives how many. ``opens`` tells whether one is still let in.

        Their new numbers are on disk when this returns: it waits for that. Raises StorageError when the
        database cannot be read.
        """
        taken = 0
        rows = self._database.read(
            "SELECT s.id, s.sealed, m.newest, m.seen, m.sent_below FROM dtls_session s "
            "JOIN dtls_mark m ON m.id = s.id",
            (),
        )
        for count, (number, *stored) in enumerate(rows, 1):
            session = self._restored(number, stored, now)
            if session is not None and not opens(session):
                self._dtls.drop(session, "what it was opened with is not let in any more")
                session = None
            if session is None:
                self.ended(number)
            else:
                taken += 1
            if count % _RESTORED_AT_ONCE == 0:
                self._database.flush()
        for sql in _FORGET_HALVES:
            self._store(sql, ())
        self._database.flush()
        return taken

    def established(self, session: DtlsSession) -> None:
        """A handshake is done."""
        self.moved(session)
        try:
            self.marked(session)
        except StorageError as error:
            log.warning("the numbers of a DTLS session could not be stored: %s", error)

    def moved(self, session: DtlsSession) -> None:
        """Its device has another address: we may have to speak first after a restart."""
        sealed = self._key.seal_bytes(self._dtls.save(session), f"dtls_session/{session.id}")
        self._store(_SAVE, (session.id, sealed))

    def marked(self, session: DtlsSession) -> None:
        """Its numbers have moved. Raises StorageError when that is not even on its way to the disk."""
        mark = (session.id, session.newest, session.seen - _SIGN, session.sent_below)
        self._database.write(_MARK, mark, None, lambda _: self._lost(session))

    def ended(self, session_id: int) -> None:
        """It is over."""
        self._behind.pop(session_id, None)
        self._store(_FORGET, (session_id,))
        self._store(_FORGET_MARK, (session_id,))

    def _restored(self, number: int, stored: list[object], now: float) -> DtlsSession | None:
        """The session of a row, None when it cannot be."""
        sealed, newest, seen, sent_below = stored
        # SQLite keeps what it was given, whatever the type of the column: a damaged row may hold anything.
        if not (
            isinstance(sealed, bytes)
            and isinstance(newest, int)
            and isinstance(seen, int)
            and isinstance(sent_below, int)
        ):
            log.warning("a DTLS session is not taken up again: its row is damaged")
            return None
        try:
            saved = self._key.open_bytes(sealed, f"dtls_session/{number}")
        except VaultError as error:
            log.warning("a DTLS session is not taken up again: %s", error)
            return None
        return self._dtls.restore(saved, newest, seen + _SIGN, sent_below, now)

    def _lost(self, session: DtlsSession) -> None:
        if not session.closed:
            self._behind[session.id] = session

    def _catch_up(self, last_ticket: int, lost: Collection[int]) -> None:
        """The disk has taken a group: it may take the marks that it did not take before."""
        while self._behind and not lost:
            number, session = next(iter(self._behind.items()))
            try:
                self.marked(session)
            except StorageError:
                return  # at a later group
            del self._behind[number]

    def _store(self, sql: str, parameters: tuple[object, ...]) -> None:
        try:
            self._database.write(sql, parameters)
        except StorageError as error:
            # The session itself goes on; after a restart its device shakes hands again.
            log.warning("a DTLS session could not be stored: %s", error)
