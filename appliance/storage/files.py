"""The file store: firmware and other files for devices, each kept once under the hash of its content.

The law of this file: a file is there whole or not at all. Its bytes are written beside, synced and renamed
before the document knows it, and the document forgets it before its bytes go. What a power cut leaves over,
bytes without a row, is taken away at the next start; a row without its bytes is shown as damaged.

    files/files.json        the document: name, size, type, time and link of each file, by SHA-256
    files/content/<sha256>  the bytes

The document's rows are few and kept in memory, so nobody waits for the disk to learn whether a link exists.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from tinydb import Query

from appliance.storage.database_file import sync_folder
from appliance.storage.documents import SafeTinyDB, open_documents
from appliance.storage.errors import StorageError

MAX_FILES: Final = 1000
MAX_NAME: Final = 128
MAX_TYPE: Final = 100
ETAG_BYTES: Final = 8  # what CoAP allows (RFC 7252 §5.10.6)
# 16 random bytes are 22 characters: who does not know a link cannot find it, and clients keep few characters.
_LINK_BYTES: Final = 16
_CHUNK: Final = 256 * 1024
_RESERVE_BYTES: Final = 16 * 1024 * 1024  # the database needs room too
_MAPPED: Final = 8
_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")
_NAMES: Final = ("name", "size_bytes", "type", "added_at", "link")

_Stored = Query()


class FileStoreError(StorageError):
    """A file was not taken or not found. ``kind`` is for programs, the rest for people."""

    def __init__(self, kind: str, message: str, next_step: str) -> None:
        super().__init__(f"{message}: {next_step}")
        self.kind, self.message, self.next_step = kind, message, next_step


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file. ``id`` is the SHA-256 of its content, ``added_at`` epoch seconds; ``damaged`` says why its
    content is not served, "" when all is well.
    """

    id: str
    name: str
    size_bytes: int
    type: str
    added_at: float
    link: str
    damaged: str = ""


class Content(NamedTuple):
    """A file's bytes, mapped and not read: a slice costs what it is long."""

    file: StoredFile
    data: memoryview
    etag: bytes


class FileStore:
    """The files below one folder. May be used from any thread; `content` and `by_link` do not wait."""

    def __init__(
        self, folder: Path, max_total_bytes: int, max_file_bytes: int, wall: Callable[[], float]
    ) -> None:
        self.max_file_bytes = max_file_bytes
        self._folder = folder
        self._content = folder / "content"
        self._max_total_bytes = max_total_bytes
        self._wall = wall
        self._documents: SafeTinyDB | None = None
        self._turn = threading.Lock()  # of what is in memory; never held over a sync
        self._writing = threading.Lock()
        self._files: dict[str, StoredFile] = {}
        self._links: dict[str, str] = {}
        self._promised = 0  # bytes of uploads under way
        self._mapped: OrderedDict[str, memoryview] = OrderedDict()

    # Life

    def open(self) -> None:
        """Read the document and take away what a power cut left over. Raises DocumentError, OSError."""
        self._content.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._documents = open_documents(self._folder, "files")
        self._load()
        if self._documents.notes:
            return  # an older version of the document serves: what it does not know is not therefore garbage
        for path in self._content.iterdir():
            if path.name not in self._files:
                path.unlink(missing_ok=True)

    def _load(self) -> None:
        assert self._documents is not None
        for row in self._documents.table("files").all():
            stored = StoredFile(str(row["id"]), *(row[name] for name in _NAMES))
            stored = replace(stored, damaged=self._look(stored))
            self._files[stored.id] = stored
            self._links[stored.link] = stored.id

    def _look(self, stored: StoredFile) -> str:
        """What is wrong with a file at first sight."""
        try:
            size = (self._content / stored.id).stat().st_size
        except OSError:
            return "its content is missing"
        return "" if size == stored.size_bytes else "its content has another size"

    def verify(self) -> list[str]:
        """Read every file and compare its hash; a sentence for each that is damaged. Takes its time."""
        for stored in self.all():
            if stored.damaged:
                continue
            try:
                whole = _digest(self._content / stored.id) == stored.id
            except OSError as error:
                self._mark(stored, f"its content cannot be read: {error.strerror or error}")
                continue
            if not whole:
                self._mark(stored, "its content is not what was stored")
        return self.problems()

    def problems(self) -> list[str]:
        """A sentence for each file that is known to be damaged."""
        with self._turn:
            damaged = [one for one in self._files.values() if one.damaged]
        return [
            f"the file {one.name} ({one.id[:12]}) is damaged, {one.damaged}: upload it again, or remove it"
            for one in damaged
        ]

    def _mark(self, stored: StoredFile, damaged: str) -> None:
        with self._turn:
            if self._files.get(stored.id) == stored:
                self._files[stored.id] = replace(stored, damaged=damaged)
                self._mapped.pop(stored.id, None)

    # Looking

    def all(self) -> list[StoredFile]:
        """Every file, the newest first."""
        with self._turn:
            return sorted(self._files.values(), key=lambda one: (-one.added_at, one.id))

    @property
    def total_bytes(self) -> int:
        """What all of them take."""
        with self._turn:
            return sum(one.size_bytes for one in self._files.values())

    @property
    def max_total_bytes(self) -> int:
        """What all of them may take."""
        return self._max_total_bytes

    def find(self, file_id: str) -> StoredFile:
        """One file by its id. Raises FileStoreError "not_found"."""
        with self._turn:
            stored = self._files.get(file_id)
        if stored is None:
            raise FileStoreError(
                "not_found", f"there is no file {file_id[:80]!r}", "GET /api/v1/files lists them."
            )
        return stored

    def content(self, file_id: str) -> Content:
        """A file's bytes by its id. Raises FileStoreError: "not_found", or "conflict" when it is damaged."""
        stored = self.find(file_id)
        if stored.damaged:
            raise FileStoreError(
                "conflict",
                f"the file {stored.name!r} is damaged, {stored.damaged}",
                "Upload it again, or remove it.",
            )
        return Content(stored, self._map(stored), bytes.fromhex(stored.id)[:ETAG_BYTES])

    def by_link(self, link: str) -> Content | None:
        """A file's bytes by its link; None when there is none, or it is damaged."""
        with self._turn:
            file_id = self._links.get(link)
        try:
            return self.content(file_id) if file_id is not None else None
        except FileStoreError:
            return None

    def _map(self, stored: StoredFile) -> memoryview:
        with self._turn:
            known = self._mapped.get(stored.id)
            if known is not None:
                self._mapped.move_to_end(stored.id)
                return known
        if not stored.size_bytes:
            return memoryview(b"")
        try:
            with (self._content / stored.id).open("rb") as file:
                # Pages are the operating system's; the map ends with the last view of it.
                data = memoryview(mmap.mmap(file.fileno(), stored.size_bytes, prot=mmap.PROT_READ))
        except (OSError, ValueError) as error:
            self._mark(stored, "its content is missing or too short")
            raise FileStoreError(
                "conflict", f"the file {stored.name!r} cannot be opened: {error}", "Upload it again."
            ) from error
        with self._turn:
            self._mapped[stored.id] = data
            while len(self._mapped) > _MAPPED:
                self._mapped.popitem(last=False)
        return data

    # Changing

    def add(self, read: Callable[[int], bytes], size_bytes: int, name: str, media_type: str) -> StoredFile:
        """Take in a file from ``read(count)``, which gives at most that many bytes and b"" at the end.

        The same content twice is one file, and keeps its link; the name given last counts. When this returns
        the file survives a power cut. Raises FileStoreError: "invalid" for a name or type that cannot be
        kept or a content that ends early, "too_large", "storage_full".
        """
        name, media_type = _checked(name, media_type)
        self._promise(size_bytes)
        temporary = self._content / f"{secrets.token_hex(8)}.tmp"
        try:
            file_id = _write(temporary, read, size_bytes)
            return self._take(temporary, file_id, size_bytes, name, media_type)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _full("the disk is full", "Make room on the disk.") from error
            raise
        finally:
            with self._turn:
                self._promised -= size_bytes
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _promise(self, size_bytes: int) -> None:
        """Room for an upload, before a byte of it is taken."""
        if size_bytes > self.max_file_bytes:
            raise FileStoreError(
                "too_large",
                f"the file is larger than {self.max_file_bytes} bytes",
                "storage.file_max_bytes in the configuration sets this bound.",
            )
        free = os.statvfs(self._content)
        with self._turn:
            taken = sum(one.size_bytes for one in self._files.values()) + self._promised
            if taken + size_bytes > self._max_total_bytes or len(self._files) >= MAX_FILES:
                raise _full("the file store is full", "Remove files, or raise storage.files_max_bytes.")
            if free.f_bavail * free.f_frsize < self._promised + size_bytes + _RESERVE_BYTES:
                raise _full("the disk is nearly full", "Make room on the disk.")
            self._promised += size_bytes

    def _take(self, temporary: Path, file_id: str, size_bytes: int, name: str, media_type: str) -> StoredFile:
        assert self._documents is not None
        with self._writing:
            with self._turn:
                known = self._files.get(file_id)
                self._mapped.pop(file_id, None)
            if known is None or known.damaged:
                temporary.rename(self._content / file_id)
                sync_folder(self._content)
            link = secrets.token_urlsafe(_LINK_BYTES) if known is None else known.link
            stored = StoredFile(file_id, name, size_bytes, media_type, self._wall(), link)
            row: dict[str, Any] = {"id": file_id, **{key: getattr(stored, key) for key in _NAMES}}
            self._documents.table("files").upsert(row, _Stored.id == file_id)
            with self._turn:
                self._files[file_id] = stored
                self._links[link] = file_id
        return stored

    def remove(self, file_id: str) -> None:
        """Take a file out; who is reading it reads on. Raises FileStoreError "not_found"."""
        assert self._documents is not None
        with self._writing:
            stored = self.find(file_id)
            self._documents.table("files").remove(_Stored.id == file_id)
            with self._turn:
                self._files.pop(file_id, None)
                self._links.pop(stored.link, None)
                self._mapped.pop(file_id, None)
            with contextlib.suppress(OSError):  # bytes without a row go at the next start
                (self._content / file_id).unlink(missing_ok=True)


def check_files(folder: Path) -> list[str]:
    """`homard check`: what is wrong with the files below a folder, a sentence each; changes nothing."""
    if not (folder / "files.json").exists():
        return []
    store = FileStore(folder, 0, 0, lambda: 0.0)
    try:
        store._documents = open_documents(folder, "files")
        store._load()
    except StorageError as error:
        return [str(error)]
    return store.verify()


def _checked(name: str, media_type: str) -> tuple[str, str]:
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable() or "/" in name or "\\" in name:
        raise FileStoreError(
            "invalid",
            "the name of the file cannot be kept",
            f"Give 1 to {MAX_NAME} printable characters without slashes.",
        )
    media_type = media_type.strip() or "application/octet-stream"
    if len(media_type) > MAX_TYPE or not _TYPE.fullmatch(media_type):
        raise FileStoreError("invalid", "that is no media type", "Such as application/octet-stream.")
    return name, media_type


def _write(path: Path, read: Callable[[int], bytes], size_bytes: int) -> str:
    """The bytes on disk, synced, and their hash. Raises FileStoreError "invalid" when they end early."""
    digest, left = hashlib.sha256(), size_bytes
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as out:
        while left:
            chunk = read(min(_CHUNK, left))
            if not chunk:
                raise FileStoreError("invalid", "the file ended early", "Send it again.")
            digest.update(chunk)
            view = memoryview(chunk)
            left -= len(view)
            while view:
                view = view[out.write(view) :]
        os.fsync(out.fileno())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _full(message: str, next_step: str) -> FileStoreError:
    return FileStoreError("storage_full", message, next_step)
