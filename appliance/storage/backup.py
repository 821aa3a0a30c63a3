"""Backup and restore of a state folder: one ``.tar.gz`` with a manifest and SHA-256 of every file.

A backup may be made while the service runs: databases are copied by SQLite itself, documents are
replaced as whole files and so are always read whole. A restore looks at everything first, builds
the new folder beside the old one and exchanges the two in one step; the old state is kept beside
it. The file holds secrets and is for its owner only (mode 0600).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from appliance.storage.database import copy_database
from appliance.storage.database_file import check_soundness, schema_scripts, sync_folder
from appliance.storage.errors import BackupError, StorageError, StorageInUse

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
_CHUNK: Final = 1024 * 1024
# Locks, logs and temporary files belong to the running service, damaged files to nobody.
_LEFT_OUT: Final = ("-wal", "-shm", ".lock", ".clean", ".tmp")
_FILES: Final = ("files", "content")  # of the file store
_RENAME_EXCHANGE: Final = 2  # linux/fs.h
_AT_FDCWD: Final = -100


@dataclass(frozen=True, slots=True)
class BackedUpFile:
    """One file of a backup; ``name`` is relative to the state folder, with slashes."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. ``made_at`` is ISO 8601 in UTC, ``version`` that of the program."""

    made_at: str
    version: str
    files: tuple[BackedUpFile, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did; ``kept_as`` is the folder that holds the state from before, if there was one."""

    manifest: Manifest
    kept_as: Path | None


def make_backup(
    state_dir: Path, target: Path, version: str = "", *, files: bool = True
) -> tuple[Path, Manifest]:
    """Write a backup of the state folder; answers its path and manifest.

    ``target`` is the file, or a folder that gets a file named by the time. Without ``files`` the list of
    stored files is in it, but not their content. The service may run. Raises BackupError, and then no file
    is left.
    """
    state_dir, target = state_dir.resolve(), target.resolve()
    if not state_dir.is_dir():
        raise BackupError(f"there is no state folder {state_dir}: check --state")
    made_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if target.is_dir():
        target = target / f"homard-{made_at.replace(':', '').replace('-', '')}.tar.gz"
    if target.is_relative_to(state_dir):
        raise BackupError("a backup inside the state folder would be lost with it: choose another place")
    if target.exists():
        raise BackupError(f"{target} exists already: choose another name")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".homard-backup-") as staging:
            staged = _stage(state_dir, Path(staging) / "files", files)
            manifest = Manifest(made_at, version, tuple(staged))
            packed = Path(staging) / "packed"
            _pack(Path(staging) / "files", packed, manifest)
            packed.rename(target)
        sync_folder(target.parent)
    except (OSError, StorageError) as error:
        raise BackupError(f"the backup could not be made: {error}") from error
    return target, manifest


def restore_backup(file: Path, state_dir: Path, *, force: bool = False) -> Restored:
    """Replace the state folder by a backup.

    Everything is verified before the state folder is touched, and it changes in one step. Raises
    BackupError (also when the folder holds data and ``force`` is false) and StorageInUse (the service
    runs); nothing has changed then.
    """
    state_dir = state_dir.resolve()
    if _holds_data(state_dir) and not force:
        raise BackupError(
            f"{state_dir} holds data: add --force to replace it (what is there now is kept beside it)"
        )
    state_dir.parent.mkdir(parents=True, exist_ok=True)
    with _service_kept_out(state_dir):
        try:
            beside = Path(tempfile.mkdtemp(dir=state_dir.parent, prefix=f".{state_dir.name}.restore-"))
        except OSError as error:
            raise BackupError(f"cannot write beside {state_dir}: {error}; run it as root?") from error
        try:
            manifest = _unpack(file, beside)
            _check_databases(beside)
            _take_ownership(beside, state_dir)
            _sync_tree(beside)
            return Restored(manifest, _exchange(beside, state_dir))
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise BackupError(f"{file} could not be restored, nothing was changed: {error}") from error
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def read_manifest(file: Path) -> Manifest:
    """The manifest of a backup, without a look at the rest. Raises BackupError."""
    try:
        with tarfile.open(file, "r:gz") as archive:
            return _manifest(archive)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise BackupError(f"{file} is not a backup: {error}") from error


# --- making -------------------------------------------------------------------------------------


def _stage(state_dir: Path, staging: Path, files: bool) -> Iterator[BackedUpFile]:
    """Copy what belongs in a backup to a folder where nothing changes any more."""
    staging.mkdir(mode=0o700)
    for path in sorted(state_dir.rglob("*")):
        if path.is_symlink() or not path.is_file() or not _belongs(path.name):
            continue
        name = path.relative_to(state_dir)
        if not files and name.parts[: len(_FILES)] == _FILES:
            continue
        copy = staging / name
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            if path.suffix == ".sqlite":
                copy_database(path, copy)
            else:
                shutil.copyfile(path, copy)
        except FileNotFoundError:
            continue  # gone since it was listed
        digest, size = _digest(copy)
        yield BackedUpFile(name.as_posix(), size, digest)


def _belongs(name: str) -> bool:
    return not name.endswith(_LEFT_OUT) and ".damaged" not in name


def _pack(staging: Path, target: Path, manifest: Manifest) -> None:
    text = json.dumps(
        {
            "format": FORMAT,
            "made_at": manifest.made_at,
            "version": manifest.version,
            "files": [
                {"name": f.name, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in manifest.files
            ],
        },
        indent=1,
    ).encode()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        with tarfile.open(fileobj=out, mode="w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as archive:
            _add(archive, MANIFEST, len(text), io.BytesIO(text))
            for file in manifest.files:
                with (staging / file.name).open("rb") as content:
                    _add(archive, f"state/{file.name}", file.size_bytes, content)
        out.flush()
        os.fsync(out.fileno())


def _add(archive: tarfile.TarFile, name: str, size: int, content: BinaryIO | io.BytesIO) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    archive.addfile(member, content)


# --- restoring ----------------------------------------------------------------------------------


def _manifest(archive: tarfile.TarFile) -> Manifest:
    member = archive.next()
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > MAX_MANIFEST_BYTES:
        raise BackupError("this is not a backup of Homard Edge: it does not begin with a manifest")
    content = archive.extractfile(member)
    assert content is not None
    try:
        document: Any = json.load(content)
        if document["format"] != FORMAT:
            raise BackupError(f"the backup has format {document['format']}, made by a newer release")
        files = tuple(
            BackedUpFile(str(file["name"]), int(file["size_bytes"]), str(file["sha256"]))
            for file in document["files"]
        )
        manifest = Manifest(str(document["made_at"]), str(document["version"]), files)
    except (ValueError, TypeError, LookupError) as error:
        raise BackupError(f"the manifest of the backup cannot be read: {error}") from error
    for file in files:
        path = PurePosixPath(file.name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in file.name:
            raise BackupError(f"the backup names a file outside the state folder: {file.name!r}")
    return manifest


def _unpack(file: Path, folder: Path) -> Manifest:
    """Write the files of the backup to the folder, verifying each. Raises BackupError."""
    with tarfile.open(file, "r:gz") as archive:
        manifest = _manifest(archive)
        missing = {f"state/{f.name}": f for f in manifest.files}
        need = sum(f.size_bytes for f in manifest.files)
        free = shutil.disk_usage(folder).free
        if need > free:
            raise BackupError(f"the restore needs {need} bytes, the disk has {free}: make room first")
        while (member := archive.next()) is not None:
            expected = missing.pop(member.name, None)
            if expected is None or not member.isreg() or member.size != expected.size_bytes:
                raise BackupError(f"the backup holds something its manifest does not name: {member.name!r}")
            target = folder / expected.name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                shutil.copyfileobj(content, out, _CHUNK)
            if _digest(target)[0] != expected.sha256:
                raise BackupError(f"the backup is damaged: {expected.name} has another checksum")
        if missing:
            raise BackupError(f"the backup is incomplete: {sorted(missing)[0]} is missing")
    return manifest


def _check_databases(folder: Path) -> None:
    for path in folder.rglob("*.sqlite"):
        try:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                check_soundness(connection)
                (number,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise BackupError(f"{path.name} in the backup is damaged: {error}") from error
        if number > len(schema_scripts()):
            raise BackupError(f"the backup has schema {number}: install the release that made it, or newer")


def _holds_data(state_dir: Path) -> bool:
    return state_dir.is_dir() and any(not entry.name.endswith(".lock") for entry in state_dir.iterdir())


@contextlib.contextmanager
def _service_kept_out(state_dir: Path) -> Iterator[None]:
    """Hold the locks of the databases in the folder. Raises StorageInUse when the service runs."""
    with contextlib.ExitStack() as held:
        for path in state_dir.glob("*.sqlite.lock"):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            held.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageInUse(f"{state_dir} is in use: stop the service, then restore") from None
        yield


def _take_ownership(beside: Path, state_dir: Path) -> None:
    """Root restores for the service: the new folder belongs to whom the old one belongs."""
    try:
        state = state_dir.stat()
    except FileNotFoundError:
        return
    beside.chmod(state.st_mode & 0o777)
    if os.geteuid() == 0:
        for path in (beside, *beside.rglob("*")):
            os.chown(path, state.st_uid, state.st_gid)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as content:
                os.fsync(content.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def _exchange(beside: Path, state_dir: Path) -> Path | None:
    """Put the new folder in place of the old one in one step; answers where the old one is now.

    When it raises, ``beside`` is still the new folder: the caller may delete it.
    """
    if not state_dir.exists() or not any(state_dir.iterdir()):
        beside.rename(state_dir)  # rename(2) replaces an empty folder
        sync_folder(state_dir.parent)
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = state_dir.with_name(f"{state_dir.name}.before-restore-{stamp}")
    number = 1
    while kept.exists():
        number += 1
        kept = state_dir.with_name(f"{state_dir.name}.before-restore-{stamp}-{number}")
    if _exchange_names(beside, state_dir):
        try:
            beside.rename(kept)
        except OSError:
            kept = beside  # an ugly name, but the old state is safe
    else:
        state_dir.rename(kept)
        try:
            beside.rename(state_dir)
        except OSError:
            kept.rename(state_dir)
            raise
    sync_folder(state_dir.parent)
    return kept


def _exchange_names(one: Path, other: Path) -> bool:
    """renameat2(2) with RENAME_EXCHANGE; False where the file system or the C library lacks it."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if library.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
