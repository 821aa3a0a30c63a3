"""The vault's files: TinyDB documents in small shards, one lock over all, changes that are whole or are none.

``<state>/vault/devices-0001.json`` and so on hold the devices, a dozen each, so that one change rewrites one
small file; ``vault.json`` holds the permissions of accounts. Each file also carries the sealed head of the
audit log as of its last write, with the entries that belong to that write; the newest head counts.

A change of one file is atomic by its rename. A change of several is first written whole to ``redo``; from
that rename on it holds: whoever finds the file finishes the change. Then the entries are appended to the
audit log, whose time of change tells other processes to look again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from appliance.storage.database_file import sync_folder
from appliance.storage.documents import checked_body, open_documents, with_checksum
from appliance.storage.errors import DocumentError
from appliance.vault import audit
from appliance.vault.errors import VaultError
from appliance.vault.sealing import SealingKey

log = logging.getLogger(__name__)

FOLDER: Final = "vault"
GENERAL: Final = "vault"  # the document that is no shard
LOCK: Final = "vault.lock"
REDO: Final = "redo"
LOCK_TIMEOUT_S: Final = 10.0
_LOCK_RETRY_S: Final = 0.005
_SHARD: Final = re.compile(r"devices-(\d{4,})\.json")
_HEAD: Final = "audit-head"

Rows = list[dict[str, Any]]
Stamp = tuple[int, int, int] | None
Version = tuple[Stamp, Stamp]


class VaultLocked(VaultError):
    """Another thread or process writes to the vault for too long."""


@dataclass(slots=True)
class Contents:
    """What the files hold: rows by shard (only those that changed), and the general document's tables."""

    shards: dict[str, Rows] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    general: dict[str, Rows] | None = None


class Records:
    """The files of one vault folder. Writes and refreshes need the lock; one instance per process."""

    def __init__(self, folder: Path, key: SealingKey) -> None:
        self.folder = folder
        self._key = key
        self._turn = threading.RLock()
        self._depth = 0
        self._lock_descriptor = -1
        self._stamps: dict[str, Stamp] = {}
        self._sizes: dict[str, int] = {}
        self.head = audit.NO_HEAD
        self._pending: list[str] = []  # of the newest head
        self._behind = False  # the log lacks what is pending
        self.problems: list[str] = []

    # The lock

    @contextlib.contextmanager
    def exclusive(self, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Keep other threads and processes from writing. Raises VaultLocked after the timeout."""
        if not self._turn.acquire(timeout=timeout_s if timeout_s > 0 else 0.0):
            raise _locked()
        try:
            if self._depth == 0:
                self._lock_descriptor = self._flock(timeout_s)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    os.close(self._lock_descriptor)
        finally:
            self._turn.release()

    def _flock(self, timeout_s: float) -> int:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritten(error) from error
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise _locked() from None
                time.sleep(_LOCK_RETRY_S)

    # Reading

    def version(self) -> Version:
        """Another value after every change, whichever process made it."""
        return _stamp(self.folder / audit.FILE), _stamp(self.folder / REDO)

    def read_changed(self) -> Contents:
        """The shards that changed since the last reading. Raises VaultError when one cannot be read."""
        found = Contents()
        names = self._names()
        redo = self._redo()
        for name in sorted({*names, *(redo or ())}):
            stamp = _stamp(self.folder / f"{name}.json")
            if redo is None or name not in redo:
                if name in self._stamps and self._stamps[name] == stamp:
                    continue
                tables = self._tables(name)
            else:
                stamp, tables = None, redo[name]  # read-only: as it will be when the change is finished
            self._take_head(tables)
            self._stamps[name] = stamp
            if name == GENERAL:
                found.general = {
                    table: list(rows.values()) for table, rows in tables.items() if table != _HEAD
                }
            else:
                self._sizes[name] = _size(self.folder / f"{name}.json")
                found.shards[name] = list(tables.get("devices", {}).values())
        found.gone = {name for name in self._stamps if name not in names and not (redo and name in redo)}
        for name in found.gone:
            del self._stamps[name]
            self._sizes.pop(name, None)
        return found

    def recover(self) -> None:
        """Finish what another process, or we ourselves, began and could not finish. Needs the lock."""
        redo = self._redo()
        if redo is not None:
            self._apply(redo)
            self._append(self._pending, healing=True)
            (self.folder / REDO).unlink(missing_ok=True)
            log.warning("a change of the vault that was interrupted has been finished")
        elif self._pending:
            self._append(self._pending, healing=True)

    def pending(self) -> list[str]:
        """Lines of the audit log that are not in it yet, for a look without changing anything."""
        return list(self._pending)

    def size(self, name: str) -> int:
        """Bytes of a shard as of its last reading or writing."""
        return self._sizes.get(name, 0)

    def shards(self) -> list[str]:
        """The names of the shards known."""
        return [name for name in self._sizes if name != GENERAL]

    def new_shard(self) -> str:
        """A name for one more shard."""
        numbers = [int(name.partition("-")[2]) for name in self._sizes if name != GENERAL]
        return f"devices-{max(numbers, default=0) + 1:04d}"

    def _names(self) -> list[str]:
        try:
            entries = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        # A shard whose file is gone but whose previous version is there is read from that.
        files = {entry.removesuffix(".prev") for entry in entries}
        return [
            file.removesuffix(".json")
            for file in files
            if _SHARD.fullmatch(file) or file == f"{GENERAL}.json"
        ]

    def _tables(self, name: str) -> dict[str, dict[str, Any]]:
        try:
            documents = open_documents(self.folder, name)
            tables: dict[str, dict[str, Any]] = documents.storage.read() or {}
        except DocumentError as error:
            raise VaultError(f"{error}", "unavailable") from error
        except OSError as error:
            raise VaultError(
                f"the vault's {name}.json cannot be read: {error.strerror}", "unavailable"
            ) from error
        self.problems.extend(note for note in documents.notes if note not in self.problems)
        return tables

    def _take_head(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        for row in tables.get(_HEAD, {}).values():
            read = json.loads(self._key.open(str(row["sealed"]), f"{FOLDER}/{_HEAD}"))
            # Several files of one change have the same head, and only one of them carries the entries.
            if read["seq"] > self.head.seq or (read["seq"] == self.head.seq and read["lines"]):
                self.head = audit.Head(int(read["seq"]), str(read["sha256"]))
                self._pending = [str(line) for line in read["lines"]]

    def _redo(self) -> dict[str, dict[str, dict[str, Any]]] | None:
        try:
            content = (self.folder / REDO).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VaultError(f"the vault's {REDO} cannot be read: {error.strerror}", "unavailable") from error
        body = checked_body(content)
        if body is None:
            problem = "the vault's redo file is damaged; a change of several devices may be half done"
            if problem not in self.problems:
                self.problems.append(problem)
                log.error("%s", problem)
            return None
        files: dict[str, dict[str, dict[str, Any]]] = json.loads(body)
        self._take_head(files.pop(REDO))
        return files

    # Writing

    def commit(
        self,
        shards: Mapping[str, Rows],
        entries: Sequence[tuple[float, str, str, str]],
        general: Mapping[str, Rows] | None = None,
    ) -> None:
        """Write shards, the general document or both, and the audit entries: all of it or nothing.

        Needs the lock. Raises VaultError("unavailable"); then nothing has changed, or a change of several
        files is kept in ``redo`` and finished at the next look.
        """
        lines, head = audit.chain(self.head, entries)
        files: dict[str, dict[str, Rows]] = {name: {"devices": rows} for name, rows in shards.items()}
        if general is not None:
            files[GENERAL] = dict(general)
        sealed = self._key.seal(
            json.dumps({"seq": head.seq, "sha256": head.sha256, "lines": lines}).encode(), f"{FOLDER}/{_HEAD}"
        )
        # Of several files only the first carries the entries: they are many then, and redo keeps them too.
        lean = self._key.seal(
            json.dumps({"seq": head.seq, "sha256": head.sha256, "lines": []}).encode(), f"{FOLDER}/{_HEAD}"
        )
        content: dict[str, dict[str, dict[str, Any]]] = {}
        for name, tables in files.items():
            content[name] = {table: _numbered(rows) for table, rows in tables.items()}
            content[name][_HEAD] = _numbered([{"sealed": sealed if len(files) == 1 else lean}])
        try:
            if len(files) > 1:
                self._write_redo({REDO: {_HEAD: _numbered([{"sealed": sealed}])}, **content})
            self._apply(content)
        except (OSError, DocumentError) as error:
            self._stamps.clear()  # what of it is on disk is for the next look to find out
            raise _unwritten(error) from error
        self.head, self._pending = head, lines
        try:
            self._append(lines, healing=False)
            if len(files) > 1:
                (self.folder / REDO).unlink()
        except OSError as error:
            # The change itself is on disk; the log gets its lines as soon as there is room.
            log.error("the audit log could not be written, it will be tried again: %s", error)

    def behind(self) -> bool:
        """Whether the log lacks lines that a change has already written."""
        return self._behind

    def _write_redo(self, files: Mapping[str, Any]) -> None:
        body = json.dumps(files, ensure_ascii=False).encode("utf-8", "surrogatepass")
        temporary = self.folder / f"{REDO}.tmp"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(with_checksum(body))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.folder / REDO)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(self.folder)

    def _apply(self, files: Mapping[str, dict[str, dict[str, Any]]]) -> None:
        for name, tables in files.items():
            documents = open_documents(self.folder, name)
            documents.storage.write(tables)
            path = self.folder / f"{name}.json"
            self._stamps[name] = _stamp(path)
            if name != GENERAL:
                self._sizes[name] = _size(path)

    def _append(self, lines: Sequence[str], *, healing: bool) -> None:
        if not lines:
            return
        self._behind = True
        if not audit.append(self.folder / audit.FILE, lines, healing=healing):
            problem = "the end of the audit log is not as the vault wrote it; `homard check` says more"
            if problem not in self.problems:
                self.problems.append(problem)
                log.error("%s", problem)
        self._behind = False


def _numbered(rows: Rows) -> dict[str, dict[str, Any]]:
    return {str(number): row for number, row in enumerate(rows, start=1)}


def _stamp(path: Path) -> Stamp:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _locked() -> VaultLocked:
    return VaultLocked(
        "the vault is locked by another process: is a homard command waiting somewhere? Try again",
        "unavailable",
    )


def _unwritten(error: Exception) -> VaultError:
    return VaultError(f"the vault could not be written: {error}", "unavailable")
