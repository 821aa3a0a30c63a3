"""One SQLite file, one writer thread, group commit.

The law of this module: ``done`` of a row runs only after the commit that holds the row has reached
the disk, and the ``done`` callbacks run in the order of the writes. Whoever answers a device from
``done`` gives a receipt, not a promise.

Rows are gathered by the event loop and handed to the writer thread as one group. A group leaves
when ``grouping_window_ms`` have passed since the group before it, so an idle database commits a
row within milliseconds and a busy one commits once per window. While the writer is still busy the
next group grows; beyond ``max_queued_rows`` the write is refused.

Longer than 400 lines: the loop's half and the thread's half of one queue are read together or not understood.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import re
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from appliance.storage.database_file import (
    BUSY_TIMEOUT_S,
    Connection,
    forget_the_moment,
    is_unsound,
    lock_file,
    mark_clean,
    open_file,
    sync_folder,
)
from appliance.storage.errors import StorageError, StorageFull
from appliance.storage.settings import StorageSettings

log = logging.getLogger(__name__)

Parameters = Sequence[Any]
Done = Callable[[], None]
Failed = Callable[[StorageError], None]
GroupHook = Callable[[int, Collection[int]], None]

GATHER_S: Final = 0.002  # what arrives together is committed together, even when the database was idle
ROWS_PER_STATEMENT: Final = (64, 16, 4)  # rows put into one INSERT; see _insert_many

# What may fail for one row while the others are fine: a constraint, a type, an integer past 64 bits.
_ROW_ERRORS = (sqlite3.Error, OverflowError, TypeError, ValueError)
# What fails for the whole group, however it is cut.
_GROUP_CODES = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_NOMEM,
    }
)
_ONE_ROW_VALUES = re.compile(r"(INSERT.* VALUES )(\((?:\?, ?)*\?\))(.*)", re.DOTALL)
# A statement that touches this table and no other. Whatever else, it keeps its place among all statements.
_ONE_TABLE = re.compile(r"(?:INSERT(?: OR REPLACE)? INTO|DELETE FROM) (\w+)\b(?!.*\bSELECT\b)", re.DOTALL)


class _Write(NamedTuple):
    """One row on its way to the disk. (On the hot path plain tuples of this shape are made.)"""

    sql: str
    parameters: Parameters
    done: Done | None
    failed: Failed | None


class _Group(NamedTuple):
    first_ticket: int
    writes: list[_Write]


class _Outcome(NamedTuple):
    """What became of a group: the error of all of it, or of single rows by their index."""

    error: StorageError | None
    rows: dict[int, StorageError]


_COMMITTED: Final = _Outcome(None, {})


@dataclass(frozen=True, slots=True)
class StorageHealth:
    """How the database is. ``state`` is "ok", "failing" (commits fail; see ``error``) or "closed"."""

    state: str
    error: str | None
    notes: tuple[str, ...]
    queued_rows: int
    committed_rows: int
    committed_groups: int
    failed_rows: int
    file_bytes: int


class Database:
    """The database of a state folder.

    ``write`` and everything about groups belongs to the event loop's thread; ``read`` and ``backup``
    may be called from any thread. Past 400 lines because the way of a group is told in one place.
    """

    def __init__(self, path: Path, settings: StorageSettings) -> None:
        self.path = Path(path)
        self.settings = settings
        self.was_clean = False
        self.notes: tuple[str, ...] = ()
        self._window_s = settings.grouping_window_ms / 1000
        self._group_max_rows = settings.group_max_rows
        self._max_queued_rows = settings.max_queued_rows
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False
        self._lock_descriptor = -1
        self._writer: Connection
        self._thread: threading.Thread | None = None
        # The group that gathers, and how it leaves.
        self._pending: list[_Write] = []
        self._ticket = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False  # a timer runs, or the group leaves when the writer is free
        self._in_flight = False
        self._due = False
        self._handed_over = 0
        self._decided = 0
        self._last_group_at = float("-inf")
        self._hooks: list[GroupHook] = []
        # Between the loop and the writer thread.
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._finished: deque[tuple[_Group, _Outcome]] = deque()
        self._decided_signal = threading.Event()
        # Readers, one connection per thread.
        self._local = threading.local()
        self._readers: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._readers_lock = threading.Lock()
        # Health.
        self._error: str | None = None
        self._committed_rows = 0
        self._committed_groups = 0
        self._failed_rows = 0

    # --- start and stop ---------------------------------------------------------------------

    def open(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Open the file and start the writer thread.

        With ``loop``, groups leave by themselves; without, only :meth:`flush` commits (command line,
        tests). Raises StorageInUse, SchemaTooNew, StorageError.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_descriptor = lock_file(self.path)
        try:
            opened = open_file(self.path, self.settings)
        except BaseException:
            os.close(self._lock_descriptor)
            raise
        for note in opened.notes:
            log.error("%s", note)
        self._writer, self.was_clean, self.notes = opened.connection, opened.was_clean, opened.notes
        self._loop = loop
        self._open = True
        self._thread = threading.Thread(target=self._write_groups, name="storage-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, stop the writer, leave the mark of a clean stop. Idempotent."""
        if not self._open:
            return
        self.flush()
        self.flush()  # what the callbacks of the first have written
        self._open = False
        self._groups.put(None)
        assert self._thread is not None
        self._thread.join()
        with self._readers_lock:
            for reader in list(self._readers):
                reader.close()
        try:
            try:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._writer.close()
            mark_clean(self.path)
            sync_folder(self.path.parent)
        except (sqlite3.Error, OSError) as error:
            log.warning("the database was not closed cleanly and is checked at the next start: %s", error)
        os.close(self._lock_descriptor)

    # --- writing (loop thread) --------------------------------------------------------------

    def write(
        self, sql: str, parameters: Parameters, done: Done | None = None, failed: Failed | None = None
    ) -> int:
        """Queue one statement; answers its ticket, a number that grows by one per write.

        Statements are committed in the order they were queued. ``done`` runs on the loop thread after
        the commit has reached the disk; ``failed`` runs instead of it when the row could not be
        committed, and the row is then dropped. Within a group, statements on different tables may
        overtake each other (no trigger and no foreign key connects tables). Raises StorageFull, and
        then nothing was queued.
        """
        pending = self._pending
        if len(pending) >= self._max_queued_rows:
            raise StorageFull(
                f"{len(pending)} rows wait for the disk; the disk is too slow or failing "
                f"({self._error or 'no error yet'})"
            )
        pending.append((sql, parameters, done, failed))  # type: ignore[arg-type]
        if not self._waiting:
            self._wait_for_group()
        elif len(pending) == self._group_max_rows:
            self._group_complete()
        self._ticket += 1
        return self._ticket

    def after_group(self, hook: GroupHook) -> None:
        """Call ``hook(last_ticket, lost_tickets)`` on the loop thread when a group is decided.

        It runs before the ``done`` callbacks of that group.
        """
        self._hooks.append(hook)

    def hasten(self) -> None:
        """Let what gathers leave now, or when the writer is free, before its window ends: a person waits."""
        if self._pending:
            self._group_complete()

    def flush(self) -> None:
        """Commit everything queued and run its callbacks before returning. Blocks the loop thread."""
        if self._pending:
            self._hand_over()
        while self._in_flight_groups():
            self._decided_signal.wait()
            self._decided_signal.clear()
            self._finish_groups()

    # --- reading (any thread) ---------------------------------------------------------------

    def read(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """The rows of a query, as of the last commit. Raises StorageError."""
        try:
            return self._reader().execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"cannot read the database: {error}") from error

    def identity(self) -> str:
        """Which database this is: a new one, one from a backup and one that had to be repaired are others.
        Raises StorageError.
        """
        ((value,),) = self.read("SELECT value FROM meta WHERE name = 'database_id'")
        return str(value)

    def backup(self, target: Path) -> None:
        """Write a consistent copy to a new file while the database serves. Raises StorageError."""
        copy_database(self.path, target)

    @property
    def health(self) -> StorageHealth:
        """How the database is now."""
        state = "closed" if not self._open else "failing" if self._error else "ok"
        size = 0
        for name in (self.path.name, self.path.name + "-wal"):
            try:
                size += self.path.with_name(name).stat().st_size
            except OSError:
                continue
        return StorageHealth(
            state=state,
            error=self._error,
            notes=self.notes,
            queued_rows=len(self._pending),
            committed_rows=self._committed_rows,
            committed_groups=self._committed_groups,
            failed_rows=self._failed_rows,
            file_bytes=size,
        )

    # --- groups, loop thread ----------------------------------------------------------------

    def _wait_for_group(self) -> None:
        self._waiting = True
        loop = self._loop
        if loop is None:
            return
        rest = self._last_group_at + self._window_s - loop.time()
        self._timer = loop.call_later(max(rest, GATHER_S), self._group_complete)

    def _group_complete(self) -> None:
        """The window has ended or the group is full: it leaves now, or when the writer is free."""
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._in_flight:
            self._due = True
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, []
        self._waiting = self._due = False
        self._in_flight = True
        if self._loop is not None:
            self._last_group_at = self._loop.time()
        self._groups.put(_Group(self._ticket - len(pending) + 1, pending))
        self._handed_over += 1

    def _in_flight_groups(self) -> int:
        return self._handed_over - self._decided

    def _finish_groups(self) -> None:
        """Run the callbacks of the groups the writer has decided."""
        while self._finished:
            group, outcome = self._finished.popleft()
            self._decided += 1
            self._in_flight = self._in_flight_groups() > 0
            self._note_outcome(group, outcome)
            self._tell(group, outcome)
        if self._due and not self._in_flight and self._pending:
            self._hand_over()

    def _note_outcome(self, group: _Group, outcome: _Outcome) -> None:
        lost = len(group.writes) if outcome.error else len(outcome.rows)
        self._failed_rows += lost
        if outcome.error is not None:
            if self._error is None:
                log.error("rows cannot be committed, devices are not acknowledged: %s", outcome.error)
            self._error = str(outcome.error)
            return
        self._committed_groups += 1
        self._committed_rows += len(group.writes) - lost
        if self._error is not None:
            log.warning("rows are committed again")
            self._error = None

    def _tell(self, group: _Group, outcome: _Outcome) -> None:
        first, writes = group
        error, rows = outcome
        lost: Collection[int] = ()
        if error is not None:
            lost = range(first, first + len(writes))
        elif rows:
            lost = {first + index for index in rows}
        for hook in self._hooks:
            _call(hook, first + len(writes) - 1, lost)
        if error is None and not rows:
            for _, _, done, _ in writes:
                if done is not None:
                    try:
                        done()
                    except Exception:
                        # A done callback is where another room's work ends: its mistake must not
                        # keep the receipts of the other rows from leaving.
                        log.exception("a done callback failed")
            return
        for index, (_, _, done, failed) in enumerate(writes):
            reason = error or rows.get(index)
            if reason is None:
                if done is not None:
                    _call(done)
            elif failed is not None:
                _call(failed, reason)

    # --- the writer thread ------------------------------------------------------------------

    def _write_groups(self) -> None:
        while (group := self._groups.get()) is not None:
            outcome = self._commit(group.writes)
            self._finished.append((group, outcome))
            self._decided_signal.set()
            if self._loop is not None:
                try:
                    self._loop.call_soon_threadsafe(self._finish_groups)
                except RuntimeError:
                    log.debug("the loop is closed; flush() runs the callbacks")

    def _commit(self, writes: list[_Write]) -> _Outcome:
        writer = self._writer
        try:
            writer.execute("BEGIN IMMEDIATE")
            for sql, rows in _in_runs(writes):
                _insert_many(writer, sql, rows)
            writer.execute("COMMIT")
            return _COMMITTED
        except _ROW_ERRORS as error:
            self._roll_back()
            if _fails_whole_group(error):
                return _Outcome(self._words(error), {})
        return self._commit_one_by_one(writes)

    def _commit_one_by_one(self, writes: list[_Write]) -> _Outcome:
        """One row of the group is bad: find it, keep the others."""
        writer = self._writer
        bad: dict[int, StorageError] = {}
        try:
            writer.execute("BEGIN IMMEDIATE")
            for index, write in enumerate(writes):
                writer.execute("SAVEPOINT one")
                try:
                    writer.execute(write[0], write[1])
                except _ROW_ERRORS as error:
                    if _fails_whole_group(error):
                        raise
                    writer.execute("ROLLBACK TO one")
                    bad[index] = StorageError(f"the row cannot be stored: {error}")
                    log.error("a row cannot be stored (%s): %s", write[0], error)
                writer.execute("RELEASE one")
            writer.execute("COMMIT")
        except _ROW_ERRORS as error:
            self._roll_back()
            return _Outcome(self._words(error), {})
        return _Outcome(None, bad)

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            try:
                self._writer.execute("ROLLBACK")
            except sqlite3.Error as error:
                log.error("cannot roll back: %s", error)

    def _words(self, error: Exception) -> StorageError:
        if isinstance(error, sqlite3.Error) and is_unsound(error):
            return StorageError(f"the database is damaged ({error}); restart the service to repair it")
        return StorageError(f"cannot commit to {self.path.name}: {error}; check the free space of the disk")

    def _reader(self) -> Connection:
        reader: Connection | None = getattr(self._local, "connection", None)
        if reader is None:
            if not self._open:
                raise StorageError("the database is closed")
            reader = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                factory=Connection,
            )
            reader.execute("PRAGMA cache_size=-256")
            self._local.connection = reader
            with self._readers_lock:
                self._readers.add(reader)
        return reader


def copy_database(source: Path, target: Path) -> None:
    """Copy a database file that may be in use to a new file of its own, without what is of the moment.

    Raises StorageError.
    """
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        reading = sqlite3.connect(
            f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
        try:
            writing = sqlite3.connect(target, isolation_level=None)
            try:
                reading.backup(writing)
                # A copy stands alone: no log beside it.
                writing.execute("PRAGMA journal_mode=DELETE")
                forget_the_moment(writing)
            finally:
                writing.close()
        finally:
            reading.close()
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"cannot copy {source.name}: {error}") from error


_tables: dict[str, str | None] = {}


def _in_runs(writes: list[_Write]) -> list[tuple[str, list[Parameters]]]:
    """The group as runs of one statement each, because `_insert_many` is cheap for many rows only.

    A registration writes to two tables, so its rows alternate. Rows of one table keep their order; between
    tables it does not matter, as they are committed together.
    """
    runs: list[tuple[str, list[Parameters]]] = []
    last: dict[str, tuple[str, list[Parameters]]] = {}  # table -> the run that may still grow
    for sql, parameters, _, _ in writes:
        try:
            table = _tables[sql]
        except KeyError:
            match = _ONE_TABLE.match(sql)
            table = _tables[sql] = match[1] if match is not None else None
        if table is None:
            last.clear()
            runs.append((sql, [parameters]))
            continue
        run = last.get(table)
        if run is not None and run[0] == sql:
            run[1].append(parameters)
        else:
            run = last[table] = (sql, [parameters])
            runs.append(run)
    return runs


_expanded: dict[str, tuple[str, str, str] | None] = {}


def _insert_many(writer: sqlite3.Connection, sql: str, rows: list[Parameters]) -> None:
    """Run one statement for many rows.

    An INSERT of one row of question marks is widened to many rows per statement: the thread then
    gives up and fights for the interpreter lock once per 64 rows instead of once per row, which
    halves the time of a commit beside a busy loop and saves a quarter of its CPU.
    """
    if len(rows) < ROWS_PER_STATEMENT[-1]:
        for row in rows:
            writer.execute(sql, row)
        return
    if sql not in _expanded:
        match = _ONE_ROW_VALUES.fullmatch(sql)
        _expanded[sql] = (match[1], match[2], match[3]) if match else None
    parts = _expanded[sql]
    if parts is None:
        writer.executemany(sql, rows)
        return
    start, count = 0, len(rows)
    for width in ROWS_PER_STATEMENT:
        if count - start < width:
            continue
        wide = f"{parts[0]}{','.join([parts[1]] * width)}{parts[2]}"
        while count - start >= width:
            writer.execute(wide, tuple(chain.from_iterable(rows[start : start + width])))
            start += width
    for row in rows[start:]:
        writer.execute(sql, row)


def _fails_whole_group(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _GROUP_CODES


def _call(callback: Callable[..., None], *arguments: Any) -> None:
    try:
        callback(*arguments)
    except Exception:
        # The callback is where another room's work ends; see Database._tell.
        log.exception("a storage callback failed")
