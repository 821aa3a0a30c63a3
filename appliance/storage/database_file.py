"""The database file before it serves: lock, soundness, schema, quarantine.

A clean stop leaves ``<file>.clean`` with the size and modification time of the file. A start that
finds the file exactly so trusts it; any other start checks every page first. An unsound file is
renamed aside, a new one is made, and every row that can still be read is copied over: a service
that starts with a note is worth more to its user than a service that refuses to start.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from appliance.storage.errors import SchemaTooNew, StorageError, StorageInUse
from appliance.storage.settings import StorageSettings

MAX_QUARANTINED_FILES = 3  # kept for inspection; older ones would only fill the card
BUSY_TIMEOUT_S = 5.0
JSON_COLUMNS = frozenset({"doc", "body", "request", "about", "outcome"})
JSON_STATES = frozenset(
    {"oscore_context", "oscore_observation", "bootstrap_session", "stranger", "identity_use"}
)
# A session of DTLS that goes on from older numbers would use a number twice for one key. So sessions leave
# neither with a backup nor with what is saved from a damaged file: the devices shake hands again.
OF_THE_MOMENT = ("dtls_session", "dtls_mark")

_UNSOUND = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Connection(sqlite3.Connection):
    """A connection that can be referred to weakly."""


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """The writer's connection, whether the last stop was clean, and notes for the person in charge."""

    connection: Connection
    was_clean: bool
    notes: tuple[str, ...]


def lock_file(path: Path) -> int:
    """Take the lock of a database file; the descriptor holds it. Raises StorageInUse."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StorageInUse(
            f"{path.parent} is in use by another process: stop it, or choose another --state folder"
        ) from None
    return descriptor


def open_file(path: Path, settings: StorageSettings) -> OpenedFile:
    """Open or create the file, check it if need be, bring its schema up to date.

    Raises SchemaTooNew for a file of a newer release, StorageError when the file cannot be opened
    for a reason that a new file would not cure (no space, no permission).
    """
    clean_mark = _clean_mark(path)
    was_clean = _looks_clean(path, clean_mark)
    clean_mark.unlink(missing_ok=True)
    try:
        return OpenedFile(_open_sound(path, settings, check=not was_clean), was_clean, ())
    except sqlite3.Error as error:
        if not is_unsound(error):
            raise StorageError(f"cannot open {path}: {error}; check space and permissions") from error
        aside = _quarantine(path)
        connection = _open_sound(path, settings, check=False)
        kept = _salvage(aside, connection)
        note = (
            f"the database was damaged ({error}) and was put aside as {aside.name}; "
            f"{kept} rows could be kept. Restore a backup if something is missing."
        )
        return OpenedFile(connection, False, (note,))


def is_unsound(error: sqlite3.Error) -> bool:
    """Whether the error says that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _UNSOUND


def mark_clean(path: Path) -> None:
    """Say how the file looked at a clean stop; it must be closed and checkpointed."""
    if path.with_name(path.name + "-wal").exists():
        return  # another reader still has the file open, the log was not taken over
    state = path.stat()
    mark = _clean_mark(path)
    mark.write_text(f"{state.st_size} {state.st_mtime_ns}\n", encoding="ascii")


def check_soundness(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError when a page of the file makes no sense."""
    row = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if row is None or row[0] != "ok":
        first = str(row[0]).splitlines()[-1] if row else "no answer"
        error = sqlite3.DatabaseError(first)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def check_database(path: Path) -> list[str]:
    """What is wrong with a database file, a sentence each; changes nothing and may run beside the service."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        try:
            rows = connection.execute("PRAGMA integrity_check(10)").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return [f"{path} cannot be read: {error}; start the service, which repairs it, or restore a backup"]
    return [f"{path}: {row[0]}" for row in rows if row[0] != "ok"]


def forget_the_moment(connection: sqlite3.Connection) -> None:
    """Empty the tables that must not go on from an older state (see `OF_THE_MOMENT`) in a copy of a database,
    and take its id away: a copy is another database.

    A database of an older schema has none. Raises sqlite3.Error.
    """
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
        if name in OF_THE_MOMENT:
            connection.execute(f"DELETE FROM {name}")
        elif name == "meta":
            connection.execute("DELETE FROM meta WHERE name = 'database_id'")


def schema_scripts() -> list[str]:
    """The numbered schema files in order; the first is number 1."""
    folder = resources.files("appliance.storage").joinpath("schema")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [folder.joinpath(name).read_text(encoding="utf-8") for name in names]


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the newest number, one transaction per step. Raises SchemaTooNew."""
    scripts = schema_scripts()
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    if number > len(scripts):
        raise SchemaTooNew(
            f"the database has schema {number}, this release knows {len(scripts)}: install the newer "
            "release again, or restore a backup made before the upgrade"
        )
    for step in range(number, len(scripts)):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{scripts[step]}\nPRAGMA user_version={step + 1};\nCOMMIT;"
        )


def sync_folder(folder: Path) -> None:
    """Make renames and new names in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clean_mark(path: Path) -> Path:
    return path.with_name(path.name + ".clean")


def _looks_clean(path: Path, mark: Path) -> bool:
    try:
        state = path.stat()
    except FileNotFoundError:
        return True  # nothing to check
    try:
        return mark.read_text(encoding="ascii") == f"{state.st_size} {state.st_mtime_ns}\n"
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _open_sound(path: Path, settings: StorageSettings, *, check: bool) -> Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, factory=Connection
    )
    try:
        if check:
            check_soundness(connection)
        connection.execute(f"PRAGMA page_size={settings.page_size_bytes}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if settings.sync == 'full' else 'NORMAL'}")
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA wal_autocheckpoint={max(1, settings.checkpoint_kb * 1024 // page_size)}")
        connection.execute(f"PRAGMA journal_size_limit={settings.checkpoint_kb * 2048}")
        connection.execute(f"PRAGMA max_page_count={settings.max_size_mb * 1024 * 1024 // page_size}")
        connection.execute("PRAGMA cache_size=-1024")
        migrate(connection)
        # Before rows of a damaged file are saved into it, so that it does not get the id of that one.
        connection.execute(
            "INSERT OR IGNORE INTO meta(name, value) VALUES ('database_id', ?)", (os.urandom(16).hex(),)
        )
    except BaseException:
        connection.close()
        raise
    sync_folder(path.parent)
    return connection


def _quarantine(path: Path) -> Path:
    """Rename the damaged file and its log aside; the log keeps belonging to it by its name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 0
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    path.rename(aside)
    log = path.with_name(path.name + "-wal")
    if log.exists():
        log.rename(aside.with_name(aside.name + "-wal"))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    sync_folder(path.parent)
    older = sorted(
        entry
        for entry in path.parent.glob(f"{path.name}.damaged-*")
        if not entry.name.endswith(("-wal", "-shm")) and entry != aside
    )
    for entry in older[: 1 - MAX_QUARANTINED_FILES]:
        for name in (entry.name, entry.name + "-wal", entry.name + "-shm"):
            entry.with_name(name).unlink(missing_ok=True)
    return aside


def _salvage(aside: Path, new: sqlite3.Connection) -> int:
    """Copy every row that can still be read and whose JSON is whole; answers how many."""
    kept = 0
    tables = [name for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    tables = [name for name in tables if name not in OF_THE_MOMENT]
    try:
        old = sqlite3.connect(aside, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    except sqlite3.Error:
        return 0
    old.text_factory = bytes  # damaged text is not always UTF-8
    # Where the schema itself is damaged, the tables that stand before the damage can be read nevertheless.
    old.execute("PRAGMA writable_schema=ON")
    new.execute("BEGIN IMMEDIATE")
    try:
        for table in tables:
            kept += _salvage_table(table, old, new)
    finally:
        new.execute("COMMIT")
        old.close()
    return kept


def _salvage_table(table: str, old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    columns = [(row[1], row[2]) for row in new.execute(f"PRAGMA table_info({table})")]
    names = ",".join(name for name, _ in columns)
    insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({','.join('?' * len(columns))})"
    try:
        # Without the indexes: they may be damaged while the table is whole.
        new.execute(f"SELECT rowid FROM {table} LIMIT 0")
        source = f"{table} NOT INDEXED ORDER BY rowid"
    except sqlite3.OperationalError:
        source = f"{table} ORDER BY 1"  # a table WITHOUT ROWID is its own index
    kept = 0
    # Both directions: the damage stands between two readable parts.
    for direction in ("ASC", "DESC"):
        for row in _readable_rows(old, f"SELECT {names} FROM {source} {direction}"):
            values = _whole_row(table, columns, row)
            if values is not None:
                with contextlib.suppress(sqlite3.Error):  # on a full disk what fits is kept
                    kept += new.execute(insert, values).rowcount
    return kept


def _readable_rows(old: sqlite3.Connection, select: str) -> Iterator[tuple[Any, ...]]:
    """The rows up to where reading fails."""
    read = 0
    try:
        for row in old.execute(select):
            read += 1
            yield row
    except sqlite3.Error:
        # A cursor reads a row ahead of the one it gives, and has taken the last good row down with it.
        with contextlib.suppress(sqlite3.Error):
            yield from old.execute(f"{select} LIMIT 1 OFFSET {read}").fetchall()


def _whole_row(table: str, columns: list[tuple[str, str]], row: tuple[Any, ...]) -> list[Any] | None:
    """The row with its text decoded, or None when a column is not what it was written as.

    ``columns`` are names and declared types.
    """
    values: list[Any] = []
    for (name, kind), value in zip(columns, row, strict=True):
        if isinstance(value, bytes) and kind != "BLOB":
            try:
                value = value.decode()
                if name in JSON_COLUMNS or (name == "state" and table in JSON_STATES):
                    json.loads(value)
            except ValueError:
                return None
        elif kind == "INTEGER" and value is not None and not isinstance(value, int):
            return None
        values.append(value)
    return values
