"""CoAP messages on the wire (RFC 7252 §3).

The law of this file: any bytes give a `Message` or one `MessageFormatError`, in time linear in their length.

`decode` and `encode_parts` are the hot path of the appliance: written for CPython, with local names, one pass
and no object that is not part of the result.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from appliance.coap.options import (
    ACCEPT,
    CONTENT_FORMAT,
    ETAG,
    LOCATION_PATH,
    LOCATION_QUERY,
    MAX_AGE,
    MAX_OPTION_NUMBER,
    OBSERVE,
    RULES,
    SIZE1,
    SIZE2,
    URI_HOST,
    URI_PATH,
    URI_PORT,
    URI_QUERY,
    Option,
)

CON = 0  # RFC 7252 §3, Type
NON = 1
ACK = 2
RST = 3

EMPTY = 0x00  # RFC 7252 §12.1: class << 5 | detail
GET = 0x01
POST = 0x02
PUT = 0x03
DELETE = 0x04
FETCH = 0x05  # RFC 8132
PATCH = 0x06
IPATCH = 0x07
CREATED = 0x41
DELETED = 0x42
VALID = 0x43
CHANGED = 0x44
CONTENT = 0x45
CONTINUE = 0x5F  # RFC 7959 §2.9.1
BAD_REQUEST = 0x80
UNAUTHORIZED = 0x81
BAD_OPTION = 0x82
FORBIDDEN = 0x83
NOT_FOUND = 0x84
METHOD_NOT_ALLOWED = 0x85
NOT_ACCEPTABLE = 0x86
REQUEST_ENTITY_INCOMPLETE = 0x88  # RFC 7959 §2.9.2
CONFLICT = 0x89  # RFC 8132 §4
PRECONDITION_FAILED = 0x8C
REQUEST_ENTITY_TOO_LARGE = 0x8D
UNSUPPORTED_CONTENT_FORMAT = 0x8F
UNPROCESSABLE_ENTITY = 0x96  # RFC 8132 §4
TOO_MANY_REQUESTS = 0x9D  # RFC 8516
INTERNAL_SERVER_ERROR = 0xA0
NOT_IMPLEMENTED = 0xA1
BAD_GATEWAY = 0xA2
SERVICE_UNAVAILABLE = 0xA3
GATEWAY_TIMEOUT = 0xA4
PROXYING_NOT_SUPPORTED = 0xA5

CODE_NAMES: dict[int, str] = {
    EMPTY: "Empty",
    GET: "GET",
    POST: "POST",
    PUT: "PUT",
    DELETE: "DELETE",
    FETCH: "FETCH",
    PATCH: "PATCH",
    IPATCH: "iPATCH",
    CREATED: "Created",
    DELETED: "Deleted",
    VALID: "Valid",
    CHANGED: "Changed",
    CONTENT: "Content",
    CONTINUE: "Continue",
    BAD_REQUEST: "Bad Request",
    UNAUTHORIZED: "Unauthorized",
    BAD_OPTION: "Bad Option",
    FORBIDDEN: "Forbidden",
    NOT_FOUND: "Not Found",
    METHOD_NOT_ALLOWED: "Method Not Allowed",
    NOT_ACCEPTABLE: "Not Acceptable",
    REQUEST_ENTITY_INCOMPLETE: "Request Entity Incomplete",
    CONFLICT: "Conflict",
    PRECONDITION_FAILED: "Precondition Failed",
    REQUEST_ENTITY_TOO_LARGE: "Request Entity Too Large",
    UNSUPPORTED_CONTENT_FORMAT: "Unsupported Content-Format",
    UNPROCESSABLE_ENTITY: "Unprocessable Entity",
    TOO_MANY_REQUESTS: "Too Many Requests",
    INTERNAL_SERVER_ERROR: "Internal Server Error",
    NOT_IMPLEMENTED: "Not Implemented",
    BAD_GATEWAY: "Bad Gateway",
    SERVICE_UNAVAILABLE: "Service Unavailable",
    GATEWAY_TIMEOUT: "Gateway Timeout",
    PROXYING_NOT_SUPPORTED: "Proxying Not Supported",
}

_CLASS_NAMES = {2: "Success", 3: "Response", 4: "Client Error", 5: "Server Error"}

_HEADER = struct.Struct("!BBH")
_pack_header = _HEADER.pack

# First byte -> (type, token length); absent: not version 1, or a token length that is reserved (RFC 7252 §3).
_FIRST = {0x40 | kind << 4 | length: (kind, length) for kind in range(4) for length in range(9)}
_RESERVED_CLASS = tuple(code >> 5 in (1, 6, 7) for code in range(256))  # RFC 7252 §3, §12.1

# Option numbers that need nothing beyond a length check: (shortest, longest, text). Whatever is not in here,
# out of range, repeated without right or not ASCII makes a message `special`: then it is looked at again.
_PLAIN = {
    number: (RULES[number].shortest, RULES[number].longest, RULES[number].text)
    for number in (
        URI_HOST,
        ETAG,
        OBSERVE,
        URI_PORT,
        LOCATION_PATH,
        URI_PATH,
        CONTENT_FORMAT,
        MAX_AGE,
        URI_QUERY,
        ACCEPT,
        LOCATION_QUERY,
        SIZE2,
        SIZE1,
    )
}
_ONCE = frozenset(number for number, rule in RULES.items() if not rule.repeatable)


class MessageFormatError(ValueError):
    """The bytes are not a CoAP message. ``reason`` is for people.

    ``mid`` is the Message ID when one could be read; ``reply_reset`` says whether RFC 7252 §4.2 wants a Reset
    (a Confirmable message) or silence (§4.3, and whatever has another version, §3).
    """

    def __init__(self, reason: str, mid: int | None, reply_reset: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mid = mid
        self.reply_reset = reply_reset


class Message:
    """One CoAP message. Options are ``(number, value)`` in ascending order of the number.

    ``special`` is set by `decode` when the options need the closer look of `options.screen`: an option that
    is unknown, malformed, repeated without right, about blocks, about proxies or a precondition.
    """

    __slots__ = ("code", "mid", "options", "payload", "special", "token", "type")

    def __init__(
        self,
        type: int,
        code: int,
        mid: int,
        token: bytes = b"",
        options: list[Option] | None = None,
        payload: bytes = b"",
        special: bool = False,
    ) -> None:
        self.type = type
        self.code = code
        self.mid = mid
        self.token = token
        self.options: list[Option] = [] if options is None else options
        self.payload = payload
        self.special = special

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (
            self.type == other.type
            and self.code == other.code
            and self.mid == other.mid
            and self.token == other.token
            and self.options == other.options
            and self.payload == other.payload
        )

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        return (
            f"<Message {('CON', 'NON', 'ACK', 'RST')[self.type & 3]} {code_text(self.code)} mid={self.mid} "
            f"token={self.token.hex()} options={self.options} payload={len(self.payload)} bytes>"
        )


def code_text(code: int) -> str:
    """``0x45`` -> ``"2.05 Content"``; codes without a name get that of their class (RFC 7252 §5.9)."""
    dotted = f"{code >> 5}.{code & 31:02d}"
    name = CODE_NAMES.get(code) or _CLASS_NAMES.get(code >> 5)
    return f"{dotted} {name}" if name else dotted


def decode(data: bytes) -> Message:
    """The message in a datagram. Raises MessageFormatError and nothing else, for any bytes.

    Longer than 60 lines because a call per option would cost as much as the option itself.
    """
    length = len(data)
    if length < 4:
        raise MessageFormatError("shorter than the 4 bytes of a header", None, False)
    code = data[1]
    mid = data[2] << 8 | data[3]
    first = _FIRST.get(data[0])
    if first is None:
        if data[0] >> 6 != 1:
            raise MessageFormatError("not CoAP version 1", None, False)
        raise MessageFormatError("reserved token length", mid, data[0] & 0x30 == 0)
    kind, position = first
    if code == 0:
        if position or length != 4:
            raise MessageFormatError("bytes behind an empty message", mid, kind == 0)
        return Message(kind, 0, mid)
    if _RESERVED_CLASS[code]:
        raise MessageFormatError("reserved code class", mid, kind == 0)
    position += 4
    if position > length:
        raise MessageFormatError("token cut short", mid, kind == 0)
    token = data[4:position]
    options: list[Option] = []
    payload = b""
    special = False
    number = 0
    try:
        while position < length:
            head = data[position]
            position += 1
            if head == 0xFF:
                if position == length:
                    raise MessageFormatError("payload marker without payload", mid, kind == 0)
                payload = data[position:]
                break
            delta = head >> 4
            size = head & 15
            if delta > 12:
                if delta == 13:
                    delta = data[position] + 13
                    position += 1
                elif delta == 14:
                    delta = (data[position] << 8 | data[position + 1]) + 269
                    position += 2
                else:
                    raise MessageFormatError("reserved option delta", mid, kind == 0)
            if size > 12:
                if size == 13:
                    size = data[position] + 13
                    position += 1
                elif size == 14:
                    size = (data[position] << 8 | data[position + 1]) + 269
                    position += 2
                else:
                    raise MessageFormatError("reserved option length", mid, kind == 0)
            end = position + size
            if end > length:
                raise MessageFormatError("option cut short", mid, kind == 0)
            value = data[position:end]
            position = end
            number += delta
            options.append((number, value))
            plain = _PLAIN.get(number)
            if plain is None:
                if number > MAX_OPTION_NUMBER:
                    raise MessageFormatError("option number out of range", mid, kind == 0)
                special = True
            elif (
                not plain[0] <= size <= plain[1]
                or (plain[2] and not value.isascii())
                or (delta == 0 and number in _ONCE)
            ):
                special = True
    except IndexError:
        raise MessageFormatError("option header cut short", mid, kind == 0) from None
    return Message(kind, code, mid, token, options, payload, special)


def encode(message: Message) -> bytes:
    """The bytes of a message. Raises ValueError when a field is out of the range of the wire."""
    return encode_parts(
        message.type, message.code, message.mid, message.token, message.options, message.payload
    )


def encode_parts(
    type: int,
    code: int,
    mid: int,
    token: bytes,
    options: Sequence[Option],
    payload: bytes | bytearray | memoryview,
) -> bytes:
    """`encode` without a Message around the fields. Options may come in any order."""
    try:
        if len(token) > 8:
            raise ValueError(f"token of {len(token)} bytes")
        head = _pack_header(0x40 | type << 4 | len(token), code, mid)
    except struct.error as error:
        raise ValueError(f"not a CoAP header: type {type}, code {code}, mid {mid}") from error
    if not options:
        if payload:
            return head + token + b"\xff" + payload
        return head + token
    out = bytearray(head)
    out += token
    number = 0
    for candidate, value in options:
        delta = candidate - number
        size = len(value)
        if size < 13 and 0 <= delta < 13:
            out.append(delta << 4 | size)
        elif delta < 0:
            # Rare: the caller gave the options in another order. Same numbers keep their order.
            return encode_parts(type, code, mid, token, sorted(options, key=_number_of), payload)
        else:
            _append_option_head(out, delta, size)
        out += value
        number = candidate
    if payload:
        out.append(0xFF)
        out += payload
    return bytes(out)


def encode_options(options: Iterable[Option]) -> bytes:
    """Options alone in their wire form, the compact way to remember them; see `decode_options`."""
    return encode_parts(CON, GET, 0, b"", sorted(options, key=_number_of), b"")[4:]


def decode_options(data: bytes) -> list[Option]:
    """What `encode_options` wrote. Raises MessageFormatError."""
    return decode(b"\x40\x01\0\0" + data).options


def _number_of(option: Option) -> int:
    return option[0]


def _append_option_head(out: bytearray, delta: int, size: int) -> None:
    """The first byte of an option with the extended delta and length behind it (RFC 7252 §3.1)."""
    if delta > MAX_OPTION_NUMBER or size > 65535 + 269:
        raise ValueError(f"option delta {delta} or length {size} is out of range")
    at = len(out)
    out.append(0)
    head = 0
    for shift, value in ((4, delta), (0, size)):
        if value < 13:
            head |= value << shift
        elif value < 269:
            head |= 13 << shift
            out.append(value - 13)
        else:
            head |= 14 << shift
            out += (value - 269).to_bytes(2, "big")
    out[at] = head
