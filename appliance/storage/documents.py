"""TinyDB documents that survive a power cut and a second writer.

TinyDB's own storage rewrites the file in place; a power cut then leaves neither the old nor the new
state. Here a write makes a temporary file, syncs it, keeps the current file as ``.prev``, renames
the new one over the current one and syncs the folder: at every instant a whole version is there.

A file is valid JSON whose first line carries the SHA-256 of what follows. A file that does not
match is put aside and the previous version serves, with a note. When both are unreadable nothing
is served: an empty document of accounts would open the setup to anybody.

Writers of several processes (the command line while the server runs) take turns by ``flock``, held
from the read to the write of an update; every read looks at the file again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tinydb import TinyDB
from tinydb.queries import QueryLike
from tinydb.storages import Storage
from tinydb.table import Table

from appliance.storage.database_file import sync_folder
from appliance.storage.errors import DocumentError

log = logging.getLogger(__name__)

LOCK_TIMEOUT_S: Final = 5.0
LOCK_RETRY_S: Final = 0.005
_HEAD: Final = b'{"sha256":"%s","tables":\n'
_HEAD_BYTES: Final = len(_HEAD % (b"0" * 64))
_TAIL: Final = b"\n}\n"

_Stamp = tuple[int, int, int]  # inode, size, mtime_ns: a rename always changes it
_Tables = dict[str, dict[str, Any]]


class SafeJSONStorage(Storage):
    """A TinyDB storage over one JSON file, mode 0600, with a previous version and a checksum."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        folder, name = self.path.parent, self.path.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._previous = folder / f"{name}.prev"
        self._temporary = folder / f"{name}.tmp"
        self._link = folder / f"{name}.prev.tmp"
        self._lock_path = folder / f"{name}.lock"
        self._turn = threading.RLock()
        self._depth = 0
        self._lock_descriptor = -1
        self._stamp: _Stamp | None = None
        self._body = b""

    def read(self) -> _Tables | None:
        """The tables as of the newest whole version, None when there never was one.

        Raises DocumentError when neither the file nor its previous version can be read.
        """
        with self._turn:
            body = self._load()
            if body is None:
                return None
            tables: _Tables = json.loads(body)
            return tables

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Put a new version in place; when this returns it survives a power cut.

        Raises OSError (no space, no permission) or TypeError (not JSON); the old version then stays.
        """
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
        body = text.encode("utf-8", "surrogatepass")
        with self.exclusive():
            self._write_temporary(body)
            self._keep_previous()
            self._temporary.rename(self.path)
            sync_folder(self.path.parent)
            self._stamp, self._body = _stamp(self.path), body

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other writers out, threads and processes; may be nested. Raises DocumentError."""
        with self._turn:
            if self._depth == 0:
                self._lock_descriptor = self._lock()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    os.close(self._lock_descriptor)

    def version(self) -> _Stamp | None:
        """Another value after every write, whichever process made it; costs one stat. None: no file."""
        return _stamp(self.path)

    def close(self) -> None:
        """Nothing is kept open between calls."""

    # --- reading ----------------------------------------------------------------------------

    def _load(self) -> bytes | None:
        """The body of the newest whole version, None when there is none."""
        stamp = _stamp(self.path)
        if stamp is not None and stamp == self._stamp:
            return self._body
        content = _content(self.path)
        body = None if content is None else checked_body(content)
        if body is not None:
            # The stamp from before the read: a rename in between is seen by the next read.
            self._stamp, self._body = stamp, body
            return body
        previous = _content(self._previous)
        if content is None and previous is None:
            # A second look: a first write by another process may have come between the two.
            content = _content(self.path)
            if content is None:
                return None
            body = checked_body(content)
        if body is None and previous is not None:
            body = checked_body(previous)
            if body is not None:
                state = "missing" if content is None else "damaged"
                self._note(f"{self.path.name} is {state}; its previous version is used")
        if body is None:
            raise DocumentError(
                f"{self.path.name} is damaged and has no readable previous version: "
                "restore a backup (homard restore), or remove it and its .prev to start with none"
            )
        self._stamp = None
        return body

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
            log.error("%s", note)

    # --- writing ----------------------------------------------------------------------------

    def _write_temporary(self, body: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(self._temporary, flags, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            left = memoryview(with_checksum(body))
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _keep_previous(self) -> None:
        """Make the current file the previous one, unless it is damaged: the previous one is then better."""
        content = _content(self.path)
        if content is None:
            return
        if checked_body(content) is None:
            self.path.rename(self.path.with_name(f"{self.path.name}.damaged"))
            return
        # A second name for the current file, so that the current name is never without a file.
        self._link.unlink(missing_ok=True)
        os.link(self.path, self._link)
        self._link.rename(self._previous)

    def _lock(self) -> int:
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise DocumentError(
                        f"{self.path.name} has been locked by another process for {LOCK_TIMEOUT_S:.0f} s: "
                        "is a homard command waiting somewhere?"
                    ) from None
                time.sleep(LOCK_RETRY_S)


class SafeTable(Table):
    """A table that holds no knowledge of its own about a file that others write too."""

    _storage: SafeJSONStorage

    def __init__(
        self, storage: SafeJSONStorage, name: str, cache_size: int = 0, persist_empty: bool = False
    ) -> None:
        super().__init__(storage, name, cache_size=cache_size, persist_empty=persist_empty)

    def insert(self, document: Mapping[str, Any]) -> int:
        """As TinyDB's; number and row are decided in one turn."""
        with self._storage.exclusive():
            self._next_id = None
            return super().insert(document)

    def insert_multiple(self, documents: Iterable[Mapping[str, Any]]) -> list[int]:
        """As TinyDB's; numbers and rows are decided in one turn."""
        with self._storage.exclusive():
            self._next_id = None
            return super().insert_multiple(documents)

    def upsert(self, document: Mapping[str, Any], cond: QueryLike | None = None) -> list[int]:
        """As TinyDB's; in one turn."""
        with self._storage.exclusive():
            self._next_id = None
            return super().upsert(document, cond)

    def _update_table(self, updater: Callable[[dict[int, Mapping[str, Any]]], None]) -> None:
        with self._storage.exclusive():
            super()._update_table(updater)


class SafeTinyDB(TinyDB):
    """TinyDB over :class:`SafeJSONStorage`."""

    table_class = SafeTable  # type: ignore[assignment]  # takes our storage only

    def drop_table(self, name: str) -> None:
        """As TinyDB's; in one turn."""
        with self.exclusive():
            super().drop_table(name)

    @property
    def notes(self) -> list[str]:
        """What went wrong with the file, for the person in charge."""
        storage: SafeJSONStorage = self.storage  # type: ignore[assignment]
        return storage.notes

    @property
    def version(self) -> tuple[int, int, int] | None:
        """Another value after every write, whichever process made it; costs one stat."""
        storage: SafeJSONStorage = self.storage  # type: ignore[assignment]
        return storage.version()

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Keep other writers out while something is read, decided and written."""
        storage: SafeJSONStorage = self.storage  # type: ignore[assignment]
        return storage.exclusive()


def open_documents(folder: Path, name: str) -> SafeTinyDB:
    """The documents ``<folder>/<name>.json``. Raises DocumentError when they cannot be read at all."""
    documents = SafeTinyDB(Path(folder) / f"{name}.json", storage=SafeJSONStorage)
    documents.tables()
    return documents


def with_checksum(body: bytes) -> bytes:
    """The content of a file for the JSON text of its tables."""
    return _HEAD % hashlib.sha256(body).hexdigest().encode("ascii") + body + _TAIL


def checked_body(content: bytes) -> bytes | None:
    """The JSON text of the tables, None when the content does not match its checksum."""
    body = content[_HEAD_BYTES : -len(_TAIL)]
    return body if content == with_checksum(body) else None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _stamp(path: Path) -> _Stamp | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
