"""The sealing key: what makes a stolen data folder worthless.

Secrets stand in the data folder only sealed: AES-256-GCM under a key of 32 bytes that lies elsewhere, with a
random nonce, and bound to the place where the secret stands, so that a sealed secret cannot be moved to
another device. The key comes from the systemd credential, else from the file of the settings, else from the
file beside the data folder. Each unit makes its own.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.storage.database_file import sync_folder
from appliance.vault.errors import VaultError

CREDENTIAL: Final = "homard-vault-key"  # the name in the unit's LoadCredential=
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_TEXT: Final = "v1:"
_BINARY: Final = b"\x01"
_MARK_BYTES: Final = 16


class SealingKey:
    """A key of 32 bytes and what is done with it. Thread-safe; never shows the key in its repr."""

    __slots__ = ("_cipher", "_key", "origin")

    def __init__(self, key: bytes, origin: str = "") -> None:
        if len(key) != KEY_BYTES:
            raise VaultError(f"a sealing key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self._cipher = AESGCM(key)
        self.origin = origin

    def __repr__(self) -> str:
        return f"SealingKey(from {self.origin or 'memory'})"

    @classmethod
    def load(cls, state: Path, key_file: str = "", *, create: bool) -> SealingKey:
        """The key of the vault in ``state``; made when ``create`` is set and the vault is empty.

        Raises VaultError("unavailable") with the next step: no key for a vault that holds something, a file
        that others may read, that is no key, or that lies inside the data folder.
        """
        found = _from_credential()
        if found is not None:
            return found
        path = key_path(state, key_file)
        try:
            return cls(_read_key(path), str(path))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise VaultError(
                f"the sealing key {path} cannot be read: {error.strerror}", "unavailable"
            ) from error
        if _holds_secrets(state):
            raise VaultError(
                f"the sealing key {path} is missing, so nothing in the vault can be opened: put it back, or "
                "restore an encrypted backup, which brings it (homard restore FILE --force)",
                "unavailable",
            )
        if not create:
            raise VaultError(
                f"there is no sealing key {path} yet: `homard serve` or scripts/install makes it",
                "unavailable",
            )
        return cls._make(path)

    @classmethod
    def _make(cls, path: Path) -> SealingKey:
        key = os.urandom(KEY_BYTES)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_key(path, key)
        except FileExistsError:
            # Another process made it at this moment; a file holds the whole key as soon as it has its name.
            return cls(_read_key(path), str(path))
        except OSError as error:
            raise VaultError(
                f"the sealing key {path} cannot be made: {error.strerror}. Run scripts/install again, which "
                "makes it, or name a place in vault.key_file that the service may write to",
                "unavailable",
            ) from error
        return cls(key, str(path))

    def seal(self, plain: bytes, where: str) -> str:
        """Text for a document; ``where`` says where the secret stands, and it opens only there."""
        return _TEXT + base64.b64encode(self._sealed(plain, where)).decode("ascii")

    def open(self, sealed: str, where: str) -> bytes:
        """What was sealed. Raises VaultError("unavailable") when it was changed or sealed elsewhere."""
        if not sealed.startswith(_TEXT):
            raise _does_not_open(where)
        text = sealed[len(_TEXT) :]
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise _does_not_open(where) from None
        # The last digit has bits that decoding ignores: a secret has one text, and no other opens.
        if base64.b64encode(content).decode("ascii") != text:
            raise _does_not_open(where)
        return self._opened(content, where)

    def seal_bytes(self, plain: bytes, where: str) -> bytes:
        """As `seal`, for a row of a database: 29 bytes longer than what is sealed."""
        return _BINARY + self._sealed(plain, where)

    def open_bytes(self, sealed: bytes, where: str) -> bytes:
        """As `open`. Raises VaultError("unavailable")."""
        if sealed[:1] != _BINARY:
            raise _does_not_open(where)
        return self._opened(sealed[1:], where)

    def mark(self, kind: str, content: bytes) -> str:
        """A name for a secret by which two are compared, and which says nothing to who lacks the key."""
        keyed = hmac.HMAC(self._key, hashes.SHA256())
        keyed.update(b"homard mark\0" + kind.encode("ascii") + b"\0" + content)
        return keyed.finalize()[:_MARK_BYTES].hex()

    def export(self) -> bytes:
        """The key itself, for an encrypted backup and nothing else."""
        return self._key

    def _sealed(self, plain: bytes, where: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, where.encode("utf-8"))

    def _opened(self, content: bytes, where: str) -> bytes:
        if len(content) < _NONCE_BYTES + _TAG_BYTES:
            raise _does_not_open(where)
        try:
            return self._cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], where.encode("utf-8"))
        except InvalidTag:
            raise _does_not_open(where) from None


def key_path(state: Path, key_file: str = "") -> Path:
    """Where the key file lies. Raises VaultError when that is inside the data folder."""
    state = state.absolute()
    path = Path(key_file).absolute() if key_file else state.with_name(state.name + ".key")
    if path.resolve().is_relative_to(state.resolve()):
        raise VaultError(
            f"vault.key_file {path} lies inside the data folder, where it would be stolen and backed up "
            "with what it protects: choose a place outside",
            "unavailable",
        )
    return path


@contextlib.contextmanager
def key_in_place(key: bytes, state: Path, key_file: str = "") -> Iterator[Path]:
    """Put the key of a backup in its place when the block ends well; a different key there is kept aside.

    The file belongs to whom the data folder belongs. Raises VaultError, and then nothing has changed.
    """
    SealingKey(key)  # refuses what is none
    path = key_path(state, key_file)
    beside = path.with_name(f".{path.name}.restore-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_key(beside, key)
        if os.geteuid() == 0 and state.exists():
            owner = state.stat()
            os.chown(beside, owner.st_uid, owner.st_gid)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise VaultError(
            f"the sealing key {path} cannot be written: {error.strerror}; run it as root?", "unavailable"
        ) from error
    try:
        yield path
        if path.exists() and path.read_bytes() != beside.read_bytes():
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            aside = path.with_name(f"{path.name}.before-restore-{stamp}-{secrets.token_hex(2)}")
            try:
                aside.hardlink_to(path)  # so that there is a key in place at every moment
            except OSError:  # a stick without links
                path.rename(aside)
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _from_credential() -> SealingKey | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        return None
    path = Path(folder) / CREDENTIAL
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VaultError(
            f"the credential {CREDENTIAL} cannot be read: {error.strerror}", "unavailable"
        ) from error
    return SealingKey(_decoded(content, path), f"the credential {CREDENTIAL}")


def _read_key(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077:
            raise VaultError(
                f"the sealing key {path} has mode {mode:04o}, others may read it: chmod 600 {path}",
                "unavailable",
            )
        return _decoded(file.read(1024), path)


def _write_key(path: Path, key: bytes) -> None:
    """A new file, mode 0600, that has its name only when the whole key is on disk. Raises FileExistsError."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(key.hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)  # unlike rename(2) it never takes the place of another file
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _decoded(content: bytes, path: Path) -> bytes:
    """32 bytes as they are, or as hexadecimal text; white space does not count in text."""
    if len(content) == KEY_BYTES:
        return content
    try:
        key = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise VaultError(
            f"{path} is no sealing key, which is {KEY_BYTES} bytes or {2 * KEY_BYTES} hexadecimal digits: "
            "put the right file back, or restore an encrypted backup",
            "unavailable",
        )
    return key


def _holds_secrets(state: Path) -> bool:
    folder = state / "vault"
    return folder.is_dir() and any(path.suffix == ".json" for path in folder.iterdir())


def _does_not_open(where: str) -> VaultError:
    return VaultError(
        f"the sealed secret of {where} does not open: the sealing key is another unit's, or it was changed; "
        "if a restore was cut short, do it again with --force",
        "unavailable",
    )
