"""Backup and restore of a state folder: one archive with a manifest and SHA-256 of every file.

An encrypted backup (see `appliance.storage.backup_cipher`) also carries the key that the vault's secrets are
sealed with, so that it is enough to bring a unit back on new hardware. A plain one is a ``.tar.gz`` without
that key: its sealed secrets open only on the unit that made it, everything else in it lies open.

A backup may be made while the service runs: databases are copied by SQLite itself, documents are
replaced as whole files and so are always read whole. A restore looks at everything first, builds
the new folder beside the old one and exchanges the two in one step; the old state is kept beside
it. The file is for its owner only (mode 0600).

Longer than 400 lines: making and restoring share the shape of the archive.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import gzip
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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Final

from appliance.storage.backup_cipher import Decrypting, Encrypting, is_encrypted
from appliance.storage.database import copy_database
from appliance.storage.database_file import check_soundness, schema_scripts, sync_folder
from appliance.storage.errors import BackupError, StorageError, StorageInUse

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SEALING_KEY: Final = "sealing.key"
MAX_SEALING_KEY_BYTES: Final = 1024
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
_CHUNK: Final = 1024 * 1024
# Locks, logs and temporary files belong to the running service, damaged files to nobody.
_LEFT_OUT: Final = ("-wal", "-shm", ".lock", ".clean", ".tmp", "serving.json")
_FILES: Final = ("files", "content")  # of the file store
_WORK: Final = ".homard-backup-"
_LEFT_S: Final = 60.0  # between the making of a folder and its lock there is a moment
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
    """What a backup holds. ``made_at`` is ISO 8601 in UTC, ``version`` that of the program; ``sealing_key``
    says whether the key of the vault is in it.
    """

    made_at: str
    version: str
    files: tuple[BackedUpFile, ...]
    sealing_key: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did; ``kept_as`` is the folder that holds the state from before, if there was one."""

    manifest: Manifest
    kept_as: Path | None


Quiet = Callable[[str], AbstractContextManager[object]]
Placing = Callable[[bytes], AbstractContextManager[object]]


def _as_it_is(name: str) -> AbstractContextManager[object]:
    return contextlib.nullcontext()


def make_backup(
    state_dir: Path,
    target: Path,
    version: str = "",
    *,
    files: bool = True,
    passphrase: str | None = None,
    sealing_key: bytes | None = None,
    quiet: Quiet = _as_it_is,
) -> tuple[Path, Manifest]:
    """Write a backup of the state folder; answers its path and manifest.

    ``target`` is the file, or a folder that gets a file named by the time. Without ``files`` the list of
    stored files is in it, but not their content. With a passphrase it is encrypted, and only then it may
    carry the ``sealing_key``. ``quiet`` gives for each entry of the state folder what keeps it still while
    it is copied. The service may run. Raises BackupError, and then no file is left.
    """
    state_dir, target = state_dir.resolve(), target.resolve()
    if not state_dir.is_dir():
        raise BackupError(f"there is no state folder {state_dir}: check --state")
    if sealing_key is not None and passphrase is None:
        raise BackupError("the sealing key leaves the unit only in an encrypted backup")
    made_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if target.is_dir():
        ending = "tar.gz" if passphrase is None else "backup"
        target = target / f"homard-{made_at.replace(':', '').replace('-', '')}.{ending}"
    if target.is_relative_to(state_dir):
        raise BackupError("a backup inside the state folder would be lost with it: choose another place")
    if target.exists():
        raise BackupError(f"{target} exists already: choose another name")
    try:
        with contextlib.ExitStack() as folders:
            beside = Path(folders.enter_context(_temporary(target.parent)))
            # What is to be encrypted is not laid open on a stick first, if the state's own disk takes it.
            plain = passphrase is None or not os.access(state_dir.parent, os.W_OK)
            staging = beside if plain else Path(folders.enter_context(_temporary(state_dir.parent)))
            staged = tuple(_stage(state_dir, staging / "files", files, quiet))
            manifest = Manifest(made_at, version, staged, sealing_key is not None)
            packed = beside / "packed"
            _write(staging / "files", packed, manifest, passphrase, sealing_key)
            packed.rename(target)
        sync_folder(target.parent)
    except (OSError, StorageError) as error:
        raise BackupError(f"the backup could not be made: {error}") from error
    return target, manifest


def restore_backup(
    file: Path,
    state_dir: Path,
    *,
    force: bool = False,
    passphrase: Callable[[], str] | None = None,
    placing: Placing | None = None,
) -> Restored:
    """Replace the state folder by a backup.

    Everything is verified before the state folder is touched, and it changes in one step. ``passphrase`` is
    asked for when the file is encrypted; ``placing`` is entered with the sealing key, if the backup has it,
    around that step. Raises BackupError (also when the folder holds data and ``force`` is false) and
    StorageInUse (the service runs); nothing has changed then.
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
            with _archive(file, passphrase) as archive:
                manifest, sealing_key = _unpack(archive, beside)
            _check_databases(beside)
            _take_ownership(beside, state_dir)
            _sync_tree(beside)
            if sealing_key is None or placing is None:
                return Restored(manifest, _exchange(beside, state_dir))
            with placing(sealing_key):
                kept = _exchange(beside, state_dir)
            return Restored(manifest, kept)
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise BackupError(f"{file} could not be restored, nothing was changed: {error}") from error
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def read_manifest(file: Path, passphrase: Callable[[], str] | None = None) -> Manifest:
    """The manifest of a backup, without a look at the rest. Raises BackupError."""
    try:
        with _archive(file, passphrase, whole=False) as archive:
            return _manifest(archive)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise BackupError(f"{file} is not a backup: {error}") from error


def restores_cut_short(state_dir: Path) -> list[str]:
    """A sentence for each folder that a restore left beside the state folder because it was killed."""
    return [
        f"{left} was left by a restore that was cut short; it may hold what was there before. Delete it when "
        f"{state_dir} is as it should be"
        for left in sorted(state_dir.parent.glob(f".{glob.escape(state_dir.name)}.restore-*"))
    ]


# --- making -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[str]:
    """A folder to work in, gone afterwards; those of backups that were killed go first."""
    for left in folder.glob(f"{_WORK}*"):
        with contextlib.suppress(OSError), _locked(left) as is_ours:
            found = left.lstat()
            if is_ours and found.st_uid == os.geteuid() and found.st_mtime < time.time() - _LEFT_S:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_WORK) as made, _locked(Path(made)):
        yield made


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder, if nobody else does; whether it is held."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_held = False
        else:
            is_held = True
        yield is_held
    finally:
        os.close(descriptor)


def _stage(state_dir: Path, staging: Path, files: bool, quiet: Quiet) -> Iterator[BackedUpFile]:
    """Copy what belongs in a backup to a folder where nothing changes any more."""
    staging.mkdir(mode=0o700)
    for top in sorted(state_dir.iterdir()):
        with quiet(top.name):
            found = (path for path in sorted((top, *top.rglob("*"))) if _belongs(path))
            copied = (_copied(path, path.relative_to(state_dir), staging, files) for path in found)
            yield from [one for one in copied if one is not None]


def _copied(path: Path, name: Path, staging: Path, files: bool) -> BackedUpFile | None:
    if not files and name.parts[: len(_FILES)] == _FILES:
        return None
    copy = staging / name
    copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if path.suffix == ".sqlite":
            copy_database(path, copy)
        else:
            shutil.copyfile(path, copy)
    except FileNotFoundError:
        return None  # gone since it was listed
    digest, size = _digest(copy)
    return BackedUpFile(name.as_posix(), size, digest)


def _belongs(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    return not path.name.endswith(_LEFT_OUT) and ".damaged" not in path.name


def _write(
    staging: Path, target: Path, manifest: Manifest, passphrase: str | None, sealing_key: bytes | None
) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        if passphrase is None:
            _pack(staging, out, manifest, None)
        else:
            sealed = Encrypting(out, passphrase)
            _pack(staging, sealed, manifest, sealing_key)
            sealed.finish()
        out.flush()
        os.fsync(out.fileno())


def _pack(staging: Path, out: IO[bytes] | Encrypting, manifest: Manifest, sealing_key: bytes | None) -> None:
    text = json.dumps(
        {
            "format": FORMAT,
            "made_at": manifest.made_at,
            "version": manifest.version,
            "sealing_key": manifest.sealing_key,
            "files": [
                {"name": f.name, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in manifest.files
            ],
        },
        indent=1,
    ).encode()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6, filename="") as packed,
        # As a stream: what is encrypted cannot be sought in.
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, MANIFEST, len(text), io.BytesIO(text))
        if sealing_key is not None:
            _add(archive, SEALING_KEY, len(sealing_key), io.BytesIO(sealing_key))
        for file in manifest.files:
            with (staging / file.name).open("rb") as content:
                _add(archive, f"state/{file.name}", file.size_bytes, content)


def _add(archive: tarfile.TarFile, name: str, size: int, content: BinaryIO | io.BytesIO) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    archive.addfile(member, content)


# --- restoring ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _archive(
    file: Path, passphrase: Callable[[], str] | None, *, whole: bool = True
) -> Iterator[tarfile.TarFile]:
    """The archive of a backup, to be read from front to back; ``whole``: its end is looked at too."""
    with file.open("rb") as raw:
        if not is_encrypted(raw):
            with tarfile.open(fileobj=raw, mode="r:gz") as archive:
                yield archive
            return
        if passphrase is None:
            raise BackupError(f"{file} is encrypted: a passphrase is needed")
        opened = Decrypting(raw, passphrase())
        with tarfile.open(fileobj=opened, mode="r|gz") as archive:
            yield archive
        if whole:
            opened.drain()


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
        manifest = Manifest(
            str(document["made_at"]), str(document["version"]), files, bool(document.get("sealing_key"))
        )
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise BackupError(f"the manifest of the backup cannot be read: {error}") from error
    for file in files:
        path = PurePosixPath(file.name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in file.name:
            raise BackupError(f"the backup names a file outside the state folder: {file.name!r}")
    return manifest


def _unpack(archive: tarfile.TarFile, folder: Path) -> tuple[Manifest, bytes | None]:
    """Write the files of the backup to the folder, verifying each; answers the sealing key too.

    Raises BackupError.
    """
    manifest = _manifest(archive)
    missing = {f"state/{f.name}": f for f in manifest.files}
    need = sum(f.size_bytes for f in manifest.files)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise BackupError(f"the restore needs {need} bytes, the disk has {free}: make room first")
    sealing_key = _sealing_key(archive) if manifest.sealing_key else None
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
    return manifest, sealing_key


def _sealing_key(archive: tarfile.TarFile) -> bytes:
    member = archive.next()
    if member is None or member.name != SEALING_KEY or not member.isreg():
        raise BackupError("the backup is incomplete: the sealing key is missing")
    content = archive.extractfile(member)
    if content is None or member.size > MAX_SEALING_KEY_BYTES:
        raise BackupError("the sealing key in the backup cannot be read")
    return content.read()


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
