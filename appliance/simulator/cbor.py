"""Just enough CBOR (RFC 8949) for SenML, written apart from the server's own so that both can be wrong
only in different ways."""

from __future__ import annotations

import struct
from typing import Any

MAX_DEPTH = 16


class CborError(ValueError):
    """The bytes are not CBOR that this reader knows."""


def encode(item: Any) -> bytes:
    """Integers, floats, booleans, text, bytes, lists and dicts; floats always in 64 bits."""
    match item:
        case bool():
            return b"\xf5" if item else b"\xf4"
        case int():
            return _head(0, item) if item >= 0 else _head(1, -1 - item)
        case float():
            return b"\xfb" + struct.pack(">d", item)
        case bytes():
            return _head(2, len(item)) + item
        case str():
            raw = item.encode()
            return _head(3, len(raw)) + raw
        case list():
            return _head(4, len(item)) + b"".join(encode(part) for part in item)
        case dict():
            pairs = b"".join(encode(key) + encode(value) for key, value in item.items())
            return _head(5, len(item)) + pairs
    raise TypeError(f"no CBOR for {type(item).__name__}")


def decode(data: bytes) -> Any:
    """The one item that ``data`` holds; raises CborError."""
    try:
        item, end = _item(data, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise CborError(f"broken CBOR: {error}") from error
    if end != len(data):
        raise CborError("bytes follow the CBOR item")
    return item


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for info, width in ((24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q")):
        if number < 1 << 8 * struct.calcsize(width):
            return bytes([major << 5 | info]) + struct.pack(width, number)
    raise TypeError("integer does not fit in 64 bits")


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise CborError("nested too deep")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        return _simple(data, at, info)
    if info == 31:
        return _indefinite(data, at, major, depth)
    if info < 24:
        number = info
    elif info <= 27:
        width = 1 << (info - 24)
        number = int.from_bytes(_take(data, at, width), "big")
        at += width
    else:
        raise CborError("reserved additional information")
    match major:
        case 0:
            return number, at
        case 1:
            return -1 - number, at
        case 2:
            return _take(data, at, number), at + number
        case 3:
            return _take(data, at, number).decode(), at + number
        case 4:
            return _sequence(data, at, number, depth)
        case 5:
            flat, at = _sequence(data, at, 2 * number, depth)
            return dict(zip(flat[::2], flat[1::2], strict=True)), at
        case _:
            return _item(data, at, depth + 1)  # a tag: what it tags is enough here


def _sequence(data: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    if count > len(data):
        raise CborError("more items announced than bytes are there")
    items = []
    for _ in range(count):
        item, at = _item(data, at, depth + 1)
        items.append(item)
    return items, at


def _indefinite(data: bytes, at: int, major: int, depth: int) -> tuple[Any, int]:
    items = []
    while data[at] != 0xFF:
        item, at = _item(data, at, depth + 1)
        items.append(item)
    match major:
        case 2:
            return b"".join(items), at + 1
        case 3:
            return "".join(items), at + 1
        case 4:
            return items, at + 1
        case 5 if len(items) % 2 == 0:
            return dict(zip(items[::2], items[1::2], strict=True)), at + 1
    raise CborError("indefinite length where none is allowed")


def _simple(data: bytes, at: int, info: int) -> tuple[Any, int]:
    match info:
        case 20 | 21:
            return info == 21, at
        case 22 | 23:
            return None, at
        case 25:
            return struct.unpack(">e", _take(data, at, 2))[0], at + 2
        case 26:
            return struct.unpack(">f", _take(data, at, 4))[0], at + 4
        case 27:
            return struct.unpack(">d", _take(data, at, 8))[0], at + 8
    raise CborError("unknown simple value")


def _take(data: bytes, at: int, width: int) -> bytes:
    if at + width > len(data):
        raise CborError("ends too early")
    return data[at : at + width]
