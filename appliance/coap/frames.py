"""Frames of CoAP over reliable transports (RFC 8323 §3.2): lengths instead of types and Message IDs."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.coap.message import encode_options
from appliance.coap.options import Option


class FrameError(ValueError):
    """Bytes that are no frame; the connection cannot go on. The text is the diagnosis of the Abort."""


def encode_frame(code: int, token: bytes, rest: bytes) -> bytes:
    """A frame (§3.2). ``rest`` are options and payload as they stand behind the token of a datagram."""
    length = len(rest)
    if length < 13:
        head = bytes((length << 4 | len(token), code))
    elif length < 269:
        head = bytes((0xD0 | len(token), length - 13, code))
    elif length < 65805:
        head = bytes((0xE0 | len(token),)) + (length - 269).to_bytes(2, "big") + bytes((code,))
    else:
        head = bytes((0xF0 | len(token),)) + (length - 65805).to_bytes(4, "big") + bytes((code,))
    return head + token + rest


def split_frame(data: bytes | bytearray, start: int, max_bytes: int) -> tuple[int, int, int, int] | None:
    """Where the frame at ``start`` has its code, its token, its options, and its end; None: not whole yet.

    Raises FrameError for a reserved token length, and for a frame of more than ``max_bytes``.
    """
    if len(data) <= start:
        return None
    first = data[start]
    nibble, token_length = first >> 4, first & 15
    if token_length > 8:
        raise FrameError("token of more than 8 bytes")
    extended = (0, 1, 2, 4)[max(0, nibble - 12)]
    if len(data) < start + 1 + extended:
        return None
    length = nibble
    if extended:
        length = int.from_bytes(data[start + 1 : start + 1 + extended], "big") + (13, 269, 65805)[nibble - 13]
    code = start + 1 + extended
    end = code + 1 + token_length + length
    if end - start > max_bytes:
        raise FrameError(f"message of {end - start} bytes, at most {max_bytes} are taken")
    if len(data) < end:
        return None
    return code, code + 1, code + 1 + token_length, end


def encode_signal(code: int, options: Sequence[Option], text: str = "") -> bytes:
    """A signaling message without token (§5); ``text`` is its diagnosis."""
    return encode_frame(code, b"", encode_options(options) + (b"\xff" + text.encode() if text else b""))
