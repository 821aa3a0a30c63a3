"""The COSE object of a protected message in its compressed form (RFC 8613 §5, §6): no keys, no state.

The law of this file: any bytes give a value or one `CoseError`.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_OPTION_BYTES = 255  # RFC 8613 §2
MAX_PARTIAL_IV_BYTES = 5
_KID, _CONTEXT = 0x08, 0x10


class CoseError(ValueError):
    """The bytes are no OSCORE option that we could follow. The text is for people."""


class Header(NamedTuple):
    """What the OSCORE option says (§6.1). None: it does not say; an empty ``kid`` is a kid."""

    partial_iv: bytes | None
    kid: bytes | None
    kid_context: bytes | None


def read_header(value: bytes) -> Header:
    """The option's value. Raises CoseError for reserved bits and lengths, and where it is cut short."""
    if not value:
        return Header(None, None, None)
    if len(value) > MAX_OPTION_BYTES:
        raise CoseError(f"the OSCORE option has more than {MAX_OPTION_BYTES} bytes")
    flags = value[0]
    if flags & 0xE0:
        raise CoseError("reserved bits in the OSCORE option")
    length = flags & 7
    if length > MAX_PARTIAL_IV_BYTES:
        raise CoseError("reserved length of the Partial IV")
    at = 1 + length
    if at > len(value):
        raise CoseError("Partial IV cut short")
    partial_iv = value[1:at] if length else None
    kid_context: bytes | None = None
    if flags & _CONTEXT:
        if at == len(value) or at + 1 + value[at] > len(value):
            raise CoseError("kid context cut short")
        end = at + 1 + value[at]
        kid_context = value[at + 1 : end]
        at = end
    if flags & _KID:
        return Header(partial_iv, value[at:], kid_context)
    if at < len(value):
        raise CoseError("bytes behind the OSCORE option's last field")
    return Header(partial_iv, None, kid_context)


def write_header(partial_iv: bytes | None, kid: bytes | None, kid_context: bytes | None) -> bytes:
    """The option's value; the empty string says nothing at all (§6.1)."""
    flags = 0
    rest = b""
    if partial_iv is not None:
        flags |= len(partial_iv)
        rest = partial_iv
    if kid_context is not None:
        flags |= _CONTEXT
        rest += bytes((len(kid_context),)) + kid_context
    if kid is not None:
        flags |= _KID
        rest += kid
    return bytes((flags,)) + rest if flags else b""


def partial_iv_of(number: int) -> bytes:
    """A sequence number in its shortest form; 0 is one byte (§5)."""
    return number.to_bytes(max(1, (number.bit_length() + 7) >> 3), "big")


def nonce(common_iv: bytes, sender: bytes, partial_iv: bytes) -> bytes:
    """The AEAD nonce, as long as the Common IV, from who counted and what (§5.2)."""
    length = len(common_iv)
    place = bytes((len(sender),)) + sender.rjust(length - 6, b"\0") + partial_iv.rjust(5, b"\0")
    return (int.from_bytes(place, "big") ^ int.from_bytes(common_iv, "big")).to_bytes(length, "big")


def additional_data(aead: int, kid: bytes, partial_iv: bytes) -> bytes:
    """What is authenticated beside the plaintext: the Enc_structure around the external_aad (§5.4).

    ``kid`` and ``partial_iv`` are those of the request, for its response too.
    """
    external = b"\x85\x01\x81" + _integer(aead) + _byte_string(kid) + _byte_string(partial_iv) + b"\x40"
    return b"\x83\x68Encrypt0\x40" + _byte_string(external)


def _integer(value: int) -> bytes:
    if value < 24:
        return bytes((value,))
    return bytes((0x18, value))


def _byte_string(value: bytes) -> bytes:
    length = len(value)
    if length < 24:
        return bytes((0x40 | length,)) + value
    return bytes((0x58, length)) + value
