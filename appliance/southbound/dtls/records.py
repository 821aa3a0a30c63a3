"""Records of DTLS 1.2 after the handshake: sealed, opened, counted (RFC 6347 §4.1, RFC 9146 §4-5).

A record is ``type version(2) epoch(2) number(6) [CID] length(2) body``. All suites here are AEAD: CCM and GCM
carry 8 bytes of their nonce in the body (RFC 6655 §3, RFC 5288 §3), ChaCha20 computes it (RFC 7905 §2). There
is one epoch with keys: nobody renegotiates here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
TLS12_CID = 25  # RFC 9146 §4
HEADER_BYTES = 13
CID_BYTES = 6  # of the Connection IDs we choose
MAX_PLAIN_BYTES = 16384  # RFC 5246 §6.2.1
MAX_NUMBER = (1 << 48) - 1
WINDOW = 64  # RFC 6347 §4.1.2.6

_VERSION = b"\xfe\xfd"
_EPOCH_1 = 1 << 48
_DATA_HEAD = b"\x17\xfe\xfd"
_PLACEHOLDER = b"\xff" * 8 + b"\x19"  # RFC 9146 §5.3
_SEEN_MASK = (1 << (WINDOW - 1)) - 1


class _Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


class Cipher(NamedTuple):
    """An AEAD as DTLS uses it, in bytes. ``explicit`` is how much of the nonce stands in the record."""

    name: str
    key_bytes: int
    nonce_bytes: int  # the part that is no secret between records, from the key block
    explicit: int
    tag_bytes: int
    make: Callable[[bytes], _Aead]


_CIPHERS = (
    Cipher("AES_128_CCM_8", 16, 4, 8, 8, lambda key: AESCCM(key, 8)),
    Cipher("AES_128_CCM", 16, 4, 8, 16, AESCCM),
    Cipher("AES_128_GCM_SHA256", 16, 4, 8, 16, AESGCM),
    Cipher("CHACHA20_POLY1305_SHA256", 32, 12, 0, 16, ChaCha20Poly1305),
)


# Registered numbers and names of what the handshake may agree on.
SUITES = {
    0xC0A8: "TLS_PSK_WITH_AES_128_CCM_8",
    0xC0A4: "TLS_PSK_WITH_AES_128_CCM",
    0x00A8: "TLS_PSK_WITH_AES_128_GCM_SHA256",
    0xCCAB: "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256",
    0xCCAC: "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
    0xC0AE: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
    0xC0AC: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
    0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    0xCCA9: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}


@functools.cache
def cipher_of(suite: str) -> Cipher:
    """The cipher of a suite by its registered name, like TLS_PSK_WITH_AES_128_CCM_8; raises ValueError."""
    for cipher in _CIPHERS:
        if suite.endswith("_WITH_" + cipher.name):
            return cipher
    raise ValueError(f"{suite} is not a suite of this server")


class Seal:
    """One direction of a session: makes records, or opens them."""

    __slots__ = ("_aead", "_explicit", "_nonce", "_overhead")

    def __init__(self, cipher: Cipher, key: bytes, nonce: bytes) -> None:
        self._aead = cipher.make(key)
        self._nonce = nonce
        self._explicit = cipher.explicit
        self._overhead = cipher.explicit + cipher.tag_bytes

    def _nonce_of(self, number: bytes) -> bytes:
        if self._explicit:
            return self._nonce + number
        masked = int.from_bytes(self._nonce, "big") ^ int.from_bytes(number, "big")
        return masked.to_bytes(12, "big")

    def seal(self, kind: int, number: int, plain: bytes, cid: bytes = b"") -> bytes:
        """A whole record of epoch 1; with a CID its type is inside (RFC 9146 §4)."""
        full = (_EPOCH_1 | number).to_bytes(8, "big")
        head = _DATA_HEAD if kind == APPLICATION_DATA else bytes((kind, 0xFE, 0xFD))
        size = len(plain)
        if cid:
            plain += head[:1]
            size += 1
            associated = (
                _PLACEHOLDER + bytes((len(cid), TLS12_CID)) + _VERSION + full + cid + size.to_bytes(2, "big")
            )
            head, tail = b"\x19\xfe\xfd", cid
        else:
            associated = full + head + size.to_bytes(2, "big")
            tail = b""
        length = (size + self._overhead).to_bytes(2, "big")
        if self._explicit:
            return (
                head + full + tail + length + full
                + self._aead.encrypt(self._nonce + full, plain, associated)
            )  # fmt: skip
        return head + full + tail + length + self._aead.encrypt(self._nonce_of(full), plain, associated)

    def open(self, header: bytes, body: bytes) -> tuple[int, bytes] | None:
        """Type and content of a record of epoch 1; None when it is not what the other side sealed.

        ``header`` is all before the body: 13 bytes, or more with a CID.
        """
        size = len(body) - self._overhead
        if size < 0 or size > MAX_PLAIN_BYTES + 256:
            return None
        full = header[3:11]
        kind = header[0]
        if kind == TLS12_CID:
            cid = header[11:-2]
            associated = (
                _PLACEHOLDER + bytes((len(cid), TLS12_CID)) + _VERSION + full + cid + size.to_bytes(2, "big")
            )
        else:
            associated = full + header[:3] + size.to_bytes(2, "big")
        try:
            if self._explicit:
                plain = self._aead.decrypt(self._nonce + body[:8], body[8:], associated)
            else:
                plain = self._aead.decrypt(self._nonce_of(full), body, associated)
        except InvalidTag:
            return None
        if kind != TLS12_CID:
            return kind, plain
        plain = plain.rstrip(b"\0")  # padding, RFC 9146 §4
        return (plain[-1], plain[:-1]) if plain else None


def plain_record(kind: int, number: int, content: bytes) -> bytes:
    """A record of epoch 0, which nothing protects."""
    return bytes((kind, 0xFE, 0xFD)) + number.to_bytes(8, "big") + len(content).to_bytes(2, "big") + content


def is_fresh(number: int, newest: int, seen: int) -> bool:
    """Whether a record of that number was not taken yet (RFC 6347 §4.1.2.6).

    ``newest`` is the highest number taken, bit n of ``seen`` says whether ``newest - 1 - n`` was: 64 numbers
    in all, in integers that fit into a signed column of a database.
    """
    behind = newest - number
    if behind <= 0:
        return behind < 0
    return behind < WINDOW and not seen >> (behind - 1) & 1


def taken(number: int, newest: int, seen: int) -> tuple[int, int]:
    """``newest`` and ``seen`` after a fresh record of that number."""
    ahead = number - newest
    if ahead > 0:
        if ahead >= WINDOW:
            return number, 0
        return number, ((seen << 1 | 1) << (ahead - 1)) & _SEEN_MASK
    return newest, seen | 1 << (-ahead - 1)
