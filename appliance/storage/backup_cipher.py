"""An encrypted file under a passphrase, written and read as a stream.

The header is ``homard-backup`` and a version, the parameters of scrypt (RFC 7914), a salt, and an HMAC that
tells a wrong passphrase from a damaged file. The content follows in chunks of 256 KiB, each sealed with
AES-256-GCM (NIST SP 800-38D). The nonce is the number of the chunk and whether it is the last one, so that
chunks cannot be swapped, repeated or left out, and a file that was cut is not mistaken for a whole one. The
key is derived from a fresh salt and so never used for a second file.
"""

from __future__ import annotations

import hmac
import io
import os
import struct
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from appliance.storage.errors import BackupError

MAGIC: Final = b"homard-backup\x00\x01\n"
MIN_PASSPHRASE_CHARACTERS: Final = 12
SCRYPT_LOG2_N: Final = 16  # 64 MiB with r = 8: a board of 512 MiB can do it, and a guess costs as much
_SCRYPT_R: Final = 8
_MAX_SCRYPT_BYTES: Final = 512 << 20
_CHUNK: Final = 256 * 1024
_TAG: Final = 16
_SALT: Final = 16
_PARAMETERS: Final = struct.Struct(">BBBB")  # log2 N, r, p, reserved
_HEADER: Final = len(MAGIC) + _PARAMETERS.size + _SALT
_MAC: Final = 32
_MAX_CHUNKS: Final = 1 << 32


def is_encrypted(file: BinaryIO) -> bool:
    """Whether the file begins as one of ours; it stands at its beginning again then."""
    begin = file.read(len(MAGIC))
    file.seek(0)
    return begin == MAGIC


class Encrypting(io.RawIOBase):
    """A file to write into; `finish` makes it whole. What was not finished cannot be read back."""

    def __init__(self, out: BinaryIO, passphrase: str, *, log2_n: int = SCRYPT_LOG2_N) -> None:
        if len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
            raise BackupError(
                f"the passphrase must have at least {MIN_PASSPHRASE_CHARACTERS} characters: whoever has the "
                "file can try as many as he likes"
            )
        super().__init__()
        header = MAGIC + _PARAMETERS.pack(log2_n, _SCRYPT_R, 1, 0) + os.urandom(_SALT)
        self._cipher, mac = _derived(header, passphrase)
        self._out, self._number, self._waiting = out, 0, bytearray()
        out.write(header + mac)

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: object) -> int:
        """Take bytes; whole chunks are sealed and written as they fill."""
        view = memoryview(data)  # type: ignore[arg-type]
        self._waiting += view
        while len(self._waiting) > _CHUNK:  # the last chunk waits for `finish`, which marks it
            self._seal(bytes(self._waiting[:_CHUNK]), last=False)
            del self._waiting[:_CHUNK]
        return view.nbytes

    def finish(self) -> None:
        """Write the last chunk."""
        self._seal(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _seal(self, content: bytes, *, last: bool) -> None:
        if self._number >= _MAX_CHUNKS:
            raise BackupError("the backup is too large")
        self._out.write(self._cipher.encrypt(_nonce(self._number, last), content, None))
        self._number += 1


class Decrypting(io.RawIOBase):
    """The content of an encrypted file; every byte that it gives is authentic. Raises BackupError."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        super().__init__()
        header, mac = file.read(_HEADER), file.read(_MAC)
        if len(header) + len(mac) < _HEADER + _MAC or not header.startswith(MAGIC):
            raise BackupError("this is no encrypted backup, or only the beginning of one")
        self._cipher, expected = _derived(header, passphrase)
        if not hmac.compare_digest(mac, expected):
            raise BackupError(
                "the passphrase is not that of this backup, or the beginning of the file is damaged"
            )
        self._file, self._number, self._rest = file, 0, memoryview(b"")
        self._next = file.read(_CHUNK + _TAG)
        self._done = False

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: object) -> int:
        """As RawIOBase's."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._rest and not self._done:
            self._open()
        taken = min(len(view), len(self._rest))
        view[:taken], self._rest = self._rest[:taken], self._rest[taken:]
        return taken

    def drain(self) -> None:
        """Read to the end: only the last chunk says that nothing is missing."""
        while not self._done:
            self._open()

    def _open(self) -> None:
        sealed, self._next = self._next, self._file.read(_CHUNK + _TAG)
        last = not self._next
        try:
            self._rest = memoryview(self._cipher.decrypt(_nonce(self._number, last), sealed, None))
        except InvalidTag:
            raise BackupError("the backup is damaged or was cut short") from None
        self._number += 1
        self._done = last


def _derived(header: bytes, passphrase: str) -> tuple[AESGCM, bytes]:
    """The cipher, and the HMAC of the header, for a passphrase. Raises BackupError."""
    log2_n, r, p, _ = _PARAMETERS.unpack_from(header, len(MAGIC))
    if not 1 <= log2_n <= 24 or not r or not 1 <= p <= 16 or (128 * r << log2_n) > _MAX_SCRYPT_BYTES:
        raise BackupError("the header of the backup is damaged")
    salt = header[len(MAGIC) + _PARAMETERS.size :]
    key = Scrypt(salt=salt, length=64, n=1 << log2_n, r=r, p=p).derive(passphrase.encode("utf-8"))
    return AESGCM(key[:32]), hmac.digest(key[32:], header, "sha256")


def _nonce(number: int, last: bool) -> bytes:
    return struct.pack(">3xQB", number, last)
