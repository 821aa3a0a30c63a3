"""CBOR (RFC 8949): a small total reader and writer, and the single-value content format 60.

The reader accepts what devices send: any argument width, half floats, indefinite lengths, tagged
times, decimal fractions. Tags are resolved to plain Python values:

====================  ==========================================================
major type or tag     Python value
====================  ==========================================================
integer               int (bignums up to 8 bytes)
byte, text string     bytes, str
array, map            list, dict (keys: int, str, bytes, bool, float, tuple of ids)
false, true, null     False, True, None (undefined too)
half, single, double  float
tag 0, tag 1          seconds since 1970 as int or float (RFC 8949 §3.4.1, §3.4.2)
tag 4, tag 5          int when whole, else float
any other tag         the tagged value itself
====================  ==========================================================
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, NamedTuple

from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.codecs.fitting import carried, one_report, pack_single, report_of, utf8
from appliance.lwm2m.values import ObjectLink, Report, ResourceType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.lwm2m.definitions import Model
    from appliance.lwm2m.path import Path

MAX_DEPTH = 12  # LwM2M needs five; unknown fields of a record may nest a little
_MAX_EXPONENT = 400  # of a decimal fraction: beyond it a double is zero or infinite
_MAX_KEY_IDS = 5  # an array as a map key is a path (C 1.2.1 §7.5.4), perhaps with a gateway's prefix first

_UINT16 = Struct(">H").unpack_from
_UINT32 = Struct(">I").unpack_from
_UINT64 = Struct(">Q").unpack_from
_HALF = Struct(">e").unpack_from
_SINGLE_FROM = Struct(">f").unpack_from
_DOUBLE = Struct(">d")
_DOUBLE_FROM = _DOUBLE.unpack_from

_BREAK = 0xFF


def loads(data: bytes) -> object:
    """Read exactly one data item that fills ``data``; raises ``CodecError``.

    Time and memory are linear in ``len(data)``; nesting is bounded by ``MAX_DEPTH``.
    """
    try:
        value, end = _item(data, 0, 0)
    except (IndexError, struct_error):
        raise CodecError("The CBOR item is truncated.") from None
    except UnicodeDecodeError:
        raise CodecError("A CBOR text string is not UTF-8.") from None
    if end != len(data):
        raise CodecError(f"{len(data) - end} bytes follow the CBOR item.")
    return value


def _item(data: bytes, pos: int, depth: int) -> tuple[object, int]:
    """One item at ``pos`` -> (value, position after it). One function on purpose: this is the hot path."""
    head = data[pos]
    pos += 1
    if head < 0x18:
        return head, pos
    major = head >> 5
    info = head & 0x1F
    if major == 7:
        return _simple(data, pos, info)
    if info < 24:
        size = info
    elif info == 24:
        size = data[pos]
        pos += 1
    elif info == 25:
        size = _UINT16(data, pos)[0]
        pos += 2
    elif info == 26:
        size = _UINT32(data, pos)[0]
        pos += 4
    elif info == 27:
        size = _UINT64(data, pos)[0]
        pos += 8
    elif info == 31 and 2 <= major <= 5:
        if depth >= MAX_DEPTH:
            raise CodecError("The CBOR item is nested too deeply.")
        return _indefinite(data, pos, major, depth)
    else:
        raise CodecError("The CBOR item has a reserved length.")
    if major == 0:
        return size, pos
    if major == 1:
        return -1 - size, pos
    if major == 3 or major == 2:
        end = pos + size
        chunk = data[pos:end]
        if len(chunk) != size:
            raise CodecError("The CBOR item is truncated.")
        return (chunk.decode() if major == 3 else chunk), end
    depth += 1
    if depth > MAX_DEPTH:
        raise CodecError("The CBOR item is nested too deeply.")
    if major == 4:
        if size > len(data) - pos:
            raise CodecError("The CBOR item is truncated.")
        items: list[object] = []
        for _ in range(size):
            value, pos = _item(data, pos, depth)
            items.append(value)
        return items, pos
    if major == 5:
        if size > len(data) - pos:
            raise CodecError("The CBOR item is truncated.")
        pairs: dict[object, object] = {}
        for _ in range(size):
            key, pos = _item(data, pos, depth)
            if type(key) is not int and type(key) is not str:
                key = _key(key)
            pairs[key], pos = _item(data, pos, depth)
        if len(pairs) != size:
            raise _twice()
        return pairs, pos
    value, pos = _item(data, pos, depth)
    return _tagged(size, value), pos


def _simple(data: bytes, pos: int, info: int) -> tuple[object, int]:
    """Major type 7: floats, booleans, null (RFC 8949 §3.3)."""
    if info == 26:
        return _SINGLE_FROM(data, pos)[0], pos + 4
    if info == 27:
        return _DOUBLE_FROM(data, pos)[0], pos + 8
    if info == 25:
        return _HALF(data, pos)[0], pos + 2
    if info == 20:
        return False, pos
    if info == 21:
        return True, pos
    if info == 22 or info == 23:
        return None, pos
    raise CodecError("The CBOR item has a simple value without a meaning here.")


def _indefinite(data: bytes, pos: int, major: int, depth: int) -> tuple[object, int]:
    """Strings in chunks, arrays and maps up to their break (RFC 8949 §3.2)."""
    depth += 1
    if major == 4:
        items: list[object] = []
        while data[pos] != _BREAK:
            value, pos = _item(data, pos, depth)
            items.append(value)
        return items, pos + 1
    if major == 5:
        pairs: dict[object, object] = {}
        count = 0
        while data[pos] != _BREAK:
            key, pos = _item(data, pos, depth)
            if type(key) is not int and type(key) is not str:
                key = _key(key)
            pairs[key], pos = _item(data, pos, depth)
            count += 1
        if len(pairs) != count:
            raise _twice()
        return pairs, pos + 1
    chunks: list[bytes] = []
    while (head := data[pos]) != _BREAK:
        # Chunks are definite strings of the same major type; text chunks are whole UTF-8 each.
        if head >> 5 != major or head & 0x1F == 31:
            raise CodecError("A chunk of a CBOR string has another type than the string.")
        chunk, pos = _item(data, pos, depth)
        chunks.append(chunk if isinstance(chunk, bytes) else str(chunk).encode())
    joined = b"".join(chunks)
    return (joined.decode() if major == 3 else joined), pos + 1


def _twice() -> CodecError:
    # RFC 8949 §5.6: such a map is not valid, and to take one value would lose the other in silence.
    return CodecError("A CBOR map has the same key twice.")


def _key(key: object) -> object:
    """A map key as something hashable; arrays of ids become tuples (LwM2M CBOR uses them)."""
    if isinstance(key, list):
        path = key[1:] if key and type(key[0]) is str else key
        if 0 < len(key) <= _MAX_KEY_IDS and all(type(part) is int for part in path):
            return tuple(key)
    elif isinstance(key, (bytes, bool, float)):
        return key
    raise CodecError("A CBOR map has a key of a type that is not used here.")


def _tagged(tag: int, value: object) -> object:
    """The plain value of a tagged item."""
    if tag == 1:
        if type(value) is int or type(value) is float:
            return value
        raise CodecError("A CBOR time (tag 1) is not a number.")
    if tag == 0:
        return _rfc3339(value)
    if tag == 2 or tag == 3:
        if not isinstance(value, bytes) or len(value.lstrip(b"\0")) > 8:
            raise CodecError("A CBOR integer has more than 64 bits.")
        number = int.from_bytes(value, "big")
        return number if tag == 2 else -1 - number
    if tag == 4 or tag == 5:
        return _fraction(10 if tag == 4 else 2, value)
    return value


def _rfc3339(value: object) -> int | float:
    """Tag 0: an RFC 3339 text as seconds since 1970 (Zephyr sends times like this)."""
    if not isinstance(value, str) or not 10 <= len(value) <= 40:
        raise CodecError("A CBOR time (tag 0) is not an RFC 3339 text.")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = moment.timestamp()
    except (ValueError, OverflowError):
        raise CodecError("A CBOR time (tag 0) is not an RFC 3339 text.") from None
    return int(seconds) if seconds.is_integer() else seconds


def _fraction(radix: int, value: object) -> int | float:
    """Tags 4 and 5: [exponent, mantissa] (RFC 8949 §3.4.4)."""
    if not isinstance(value, list) or len(value) != 2:
        raise CodecError("A CBOR fraction is not a pair.")
    exponent, mantissa = value
    if type(exponent) is not int or type(mantissa) is not int:
        raise CodecError("A CBOR fraction is not a pair of integers.")
    limit = _MAX_EXPONENT if radix == 10 else 1100
    if abs(exponent) > limit:
        raise CodecError("A CBOR fraction has an exponent out of range.")
    if exponent >= 0:
        number = mantissa * radix**exponent
        if abs(number) < 1 << 64:
            return int(number)
        try:
            return float(number)
        except OverflowError:
            return math.copysign(math.inf, mantissa)
    scale: int = radix**-exponent
    if mantissa % scale == 0:
        return int(mantissa // scale)
    return float(mantissa / scale)


def dumps(value: object) -> bytes:
    """The shortest definite-length encoding; floats as single when that loses nothing, else double.

    Halves are not written: small devices often cannot read them. ``Seconds`` is tag 1.
    Takes what ``loads`` gives and raises ``CodecError`` for anything else.
    """
    out = bytearray()
    _write(out, value, 0)
    return bytes(out)


class Seconds(NamedTuple):
    """Marks a number for ``dumps`` as an epoch time: tag 1 (RFC 8949 §3.4.2)."""

    number: int | float


def _write_head(out: bytearray, major: int, size: int) -> None:
    if size < 24:
        out.append(major << 5 | size)
    elif size < 1 << 8:
        out += bytes((major << 5 | 24, size))
    elif size < 1 << 16:
        out.append(major << 5 | 25)
        out += size.to_bytes(2, "big")
    elif size < 1 << 32:
        out.append(major << 5 | 26)
        out += size.to_bytes(4, "big")
    elif size < 1 << 64:
        out.append(major << 5 | 27)
        out += size.to_bytes(8, "big")
    else:
        raise CodecError("An integer has more than 64 bits.")


def _write(out: bytearray, value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CodecError("The CBOR item is nested too deeply.")
    match value:
        case None:
            out.append(0xF6)
        case bool():
            out.append(0xF5 if value else 0xF4)
        case int():
            _write_head(out, 0, value) if value >= 0 else _write_head(out, 1, -1 - value)
        case Seconds(number):
            out.append(0xC1)
            _write(out, number, depth + 1)
        case float():
            _write_float(out, value)
        case str():
            data = utf8(value)
            _write_head(out, 3, len(data))
            out += data
        case bytes():
            _write_head(out, 2, len(value))
            out += value
        case list() | tuple():
            _write_head(out, 4, len(value))
            for item in value:
                _write(out, item, depth + 1)
        case dict():
            _write_head(out, 5, len(value))
            for key, item in value.items():
                _write(out, key, depth + 1)
                _write(out, item, depth + 1)
        case _:
            raise CodecError(f"CBOR has no encoding here for {type(value).__name__}.")


def _write_float(out: bytearray, value: float) -> None:
    short = pack_single(value)
    if short is not None:
        out.append(0xFA)
        out += short
    else:
        out.append(0xFB)
        out += _DOUBLE.pack(value)


def decode(payload: bytes, base: Path, model: Model) -> list[Report]:
    """Content format 60: one value of one resource or resource instance (LwM2M C §7.4.3)."""
    value = loads(payload)
    if isinstance(value, (bool, int, float, str, bytes)):
        return [report_of(base, value, None, model)]
    raise CodecError("The CBOR payload is not a single value.")


def encode(base: Path, reports: Sequence[Report], model: Model) -> bytes:
    """One value; object links as text ``oid:iid``, times as tag 1. ``at`` is not carried."""
    kind, value = carried(one_report(base, reports), model)
    if isinstance(value, ObjectLink):
        return dumps(str(value))
    if kind is ResourceType.TIME and isinstance(value, (int, float)):
        return dumps(Seconds(value))
    return dumps(value)
