"""Payloads as a device writes and reads them: text, opaque, CBOR, TLV, the JSON of 1.0, SenML JSON and CBOR.

Written from OMA LwM2M Core 1.1 §7.4 and RFC 8428 without a look at the server's codecs.

A *view* is the content below a path: at an object ``{instance: {resource: node}}``, at an instance
``{resource: node}``, at a resource its node, at a resource instance its value.
*Leaves* are what a server wrote: pairs of path and node, in the order of the payload; an instance without
any resource is a pair of its path and {}. ``NEW`` stands for the instance id that a Create left to us.

Longer than 400 lines: seven formats, each there and back.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from appliance.simulator import cbor
from appliance.simulator.objects import Node, Value

Path = tuple[int, ...]
TypeOf = Callable[[int, int], str]  # (object id, resource id) -> type, "" when unknown
Leaf = tuple[Path, Node]

TEXT, LINK, OPAQUE, CBOR, SENML_JSON, SENML_CBOR, TLV, OLD_JSON = 0, 40, 42, 60, 110, 112, 11542, 11543
OLD_NUMBERS = {1541: TEXT, 1542: TLV}  # before the IANA registration, still sent by 1.0 servers
NEW = -1

NAMES = {"text": TEXT, "opaque": OPAQUE, "senml-json": SENML_JSON, "senml-cbor": SENML_CBOR, "tlv": TLV}

INSTANCE, RESOURCE_INSTANCE, MULTIPLE, SINGLE = 0b00, 0b01, 0b10, 0b11  # TLV identifier types, §7.4.3


class PayloadError(ValueError):
    """The payload does not say what its content format promises (4.00)."""


class FormatError(ValueError):
    """This content format cannot carry this path (4.06 for an answer, 4.15 for a request)."""


def encode(content_format: int, path: Path, view: Any, type_of: TypeOf) -> bytes:
    """A view as payload; raises FormatError."""
    match content_format:
        case 0 | 42:
            if len(path) < 3 or isinstance(view, dict):
                raise FormatError("one value only in this format")
            return _text(view) if content_format == TEXT else _opaque(view)
        case 60:
            if len(path) < 3 or isinstance(view, dict):
                raise FormatError("one value only in this format")
            return cbor.encode(view)
        case 11542:
            return _tlv(path, view, type_of)
        case 11543:
            return _old_json(path, view, type_of)
        case 110:
            records = [_json_record(record) for record in _senml(path, view, type_of)]
            return json.dumps(records, separators=(",", ":")).encode()
        case 112:
            return cbor.encode([_cbor_record(record) for record in _senml(path, view, type_of)])
    raise FormatError(f"content format {content_format} is not spoken here")


def decode(content_format: int, path: Path, payload: bytes, type_of: TypeOf) -> list[Leaf]:
    """What was written at ``path``; raises PayloadError or FormatError."""
    try:
        match content_format:
            case 0 | 42:
                if len(path) < 3:
                    raise FormatError("one value only in this format")
                kind = type_of(path[0], path[2])
                return [(path, payload if content_format == OPAQUE else _from_text(payload.decode(), kind))]
            case 60:
                if len(path) < 3:
                    raise FormatError("one value only in this format")
                return [(path, _from_cbor(cbor.decode(payload), type_of(path[0], path[2])))]
            case 11542:
                return _from_tlv(path, payload, type_of)
            case 11543:
                return _from_old_json(path, json.loads(payload), type_of)
            case 110:
                return _from_senml(json.loads(payload), type_of, _JSON_KEYS)
            case 112:
                return _from_senml(cbor.decode(payload), type_of, _CBOR_KEYS)
    except FormatError:
        raise
    except (ValueError, TypeError, KeyError, struct.error, RecursionError) as error:
        raise PayloadError(str(error)) from error
    raise FormatError(f"content format {content_format} is not spoken here")


def leaves(path: Path, view: Any) -> Iterator[tuple[Path, Value]]:
    """Every single value of a view with its full path."""
    if isinstance(view, dict):
        for key, below in view.items():
            yield from leaves((*path, key), below)
    else:
        yield path, view


# --- text and opaque ---------------------------------------------------------------------------------


def _text(value: Value) -> bytes:
    match value:
        case bool():
            return b"1" if value else b"0"
        case bytes():
            return base64.b64encode(value)
        case float():
            shown = repr(value)  # the shortest text that reads back as the same number
            return (shown if "e" not in shown else format(Decimal(shown), "f")).encode()
        case _:
            return str(value).encode()


def _from_text(text: str, kind: str) -> Value:
    match kind:
        case "integer" | "unsigned" | "time":
            return int(text)
        case "float":
            return float(text)
        case "boolean":
            if text not in ("0", "1"):
                raise PayloadError("a boolean is 0 or 1")
            return text == "1"
        case "opaque":
            return base64.b64decode(text, validate=True)
        case "objlnk":
            return _link_text(text)
        case _:
            return text


def _opaque(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise FormatError("not an opaque value")
    return value


def _link_text(text: str) -> str:
    object_id, _, instance_id = text.partition(":")
    return f"{int(object_id)}:{int(instance_id)}"


def _from_cbor(item: Any, kind: str) -> Value:
    """One value in CBOR (§7.4.6)."""
    match item:
        case bool():
            return _from_senml_value("vb", item, kind)
        case int() | float():
            return _from_senml_value("v", item, kind)
        case bytes():
            return item
        case str():
            return _link_text(item) if kind == "objlnk" else item
    raise PayloadError(f"{item!r} is no value")


# --- TLV, §7.4.3 -------------------------------------------------------------------------------------


def _tlv(path: Path, view: Any, type_of: TypeOf) -> bytes:
    match len(path):
        case 1:
            return b"".join(
                _entry(INSTANCE, instance, _tlv((*path, instance), below, type_of))
                for instance, below in view.items()
            )
        case 2:
            return b"".join(_tlv((*path, resource), node, type_of) for resource, node in view.items())
        case 3 if isinstance(view, dict):
            kind = type_of(path[0], path[2])
            inside = b"".join(_entry(RESOURCE_INSTANCE, key, _raw(item, kind)) for key, item in view.items())
            return _entry(MULTIPLE, path[2], inside)
        case 3:
            return _entry(SINGLE, path[2], _raw(view, type_of(path[0], path[2])))
        case 4:
            return _entry(RESOURCE_INSTANCE, path[3], _raw(view, type_of(path[0], path[2])))
    raise FormatError("TLV needs an object")


def _entry(entry_type: int, identifier: int, value: bytes) -> bytes:
    first = entry_type << 6 | (0x20 if identifier > 255 else 0)
    numbered = identifier.to_bytes(2 if identifier > 255 else 1, "big")
    if len(value) < 8:
        return bytes([first | len(value)]) + numbered + value
    width = 1 if len(value) < 1 << 8 else 2 if len(value) < 1 << 16 else 3
    return bytes([first | width << 3]) + numbered + len(value).to_bytes(width, "big") + value


def _raw(value: Value, kind: str) -> bytes:
    if kind == "objlnk":
        object_id, _, instance_id = str(value).partition(":")
        return struct.pack(">HH", int(object_id), int(instance_id))
    match value:
        case bool():
            return b"\1" if value else b"\0"
        case int() if kind == "unsigned":
            return value.to_bytes(next(n for n in (1, 2, 4, 8) if value < 1 << 8 * n), "big")
        case int():
            bits = value.bit_length() if value >= 0 else (value + 1).bit_length()
            return value.to_bytes(next(n for n in (1, 2, 4, 8) if bits < 8 * n), "big", signed=True)
        case float():
            short = struct.pack(">f", value) if abs(value) < 3e38 else b""
            exact = short and struct.unpack(">f", short)[0] == value
            return short if exact else struct.pack(">d", value)
        case bytes():
            return value
        case str():
            return value.encode()


def _from_raw(raw: bytes, kind: str) -> Value:
    match kind:
        case "integer" | "time":
            if len(raw) not in (1, 2, 4, 8):
                raise PayloadError("an integer has 1, 2, 4 or 8 bytes")
            return int.from_bytes(raw, "big", signed=True)
        case "unsigned":
            return int.from_bytes(raw, "big")
        case "float":
            number: float = struct.unpack(">f" if len(raw) == 4 else ">d", raw)[0]
            return number
        case "boolean":
            if raw not in (b"\0", b"\1"):
                raise PayloadError("a boolean is one byte, 0 or 1")
            return raw == b"\1"
        case "objlnk":
            object_id, instance_id = struct.unpack(">HH", raw)
            return f"{object_id}:{instance_id}"
        case "string" | "corelnk":
            return raw.decode()
        case _:
            return raw


def _entries(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        first = data[at]
        id_width = 2 if first & 0x20 else 1
        length_width = first >> 3 & 3
        value_at = at + 1 + id_width + length_width
        if value_at > len(data):
            raise PayloadError("TLV ends in a head")
        identifier = int.from_bytes(data[at + 1 : at + 1 + id_width], "big")
        length = int.from_bytes(data[at + 1 + id_width : value_at], "big") if length_width else first & 7
        if value_at + length > len(data):
            raise PayloadError("TLV ends in a value")
        yield first >> 6, identifier, data[value_at : value_at + length]
        at = value_at + length


def _from_tlv(path: Path, payload: bytes, type_of: TypeOf) -> list[Leaf]:
    found: list[Leaf] = []
    for entry_type, identifier, value in _entries(payload):
        if entry_type == INSTANCE:
            if len(path) > 1 and path[1] not in (identifier, NEW):
                raise PayloadError("the TLV names another instance than the path")
            below = _from_tlv((path[0], identifier), value, type_of)
            found += below or [((path[0], identifier), {})]
        elif entry_type == RESOURCE_INSTANCE:
            if len(path) < 3:
                raise PayloadError("a resource instance outside of its resource")
            found.append(((*path[:3], identifier), _from_raw(value, type_of(path[0], path[2]))))
        else:
            instance = path[1] if len(path) > 1 else NEW
            if len(path) > 2 and path[2] != identifier:
                raise PayloadError("the TLV names another resource than the path")
            kind = type_of(path[0], identifier)
            if entry_type == SINGLE:
                found.append(((path[0], instance, identifier), _from_raw(value, kind)))
            else:
                items = {key: _from_raw(item, kind) for _, key, item in _entries(value)}
                found.append(((path[0], instance, identifier), items))
    return found


# --- the JSON of LwM2M 1.0, OMA TS 1.0.2 §6.4.4 -------------------------------------------------------

_OLD_KEYS = {"v": "v", "vs": "sv", "vb": "bv", "vd": "sv", "vlo": "ov"}


def _old_json(path: Path, view: Any, type_of: TypeOf) -> bytes:
    entries: list[dict[str, Any]] = []
    for leaf_path, value in leaves(path, view):
        label = _label(type_of(leaf_path[0], leaf_path[2]), value)
        shown = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        entries.append({"n": "/".join(map(str, leaf_path[len(path) :])), _OLD_KEYS[label]: shown})
    base = "/" + "/".join(map(str, path)) + ("/" if isinstance(view, dict) else "")
    return json.dumps({"bn": base, "e": entries}, separators=(",", ":")).encode()


def _from_old_json(path: Path, document: Any, type_of: TypeOf) -> list[Leaf]:
    found: list[Leaf] = []
    base = document.get("bn", "/" + "/".join(map(str, path)))
    for entry in document["e"]:
        name = base + ("" if base.endswith("/") or not entry.get("n") else "/") + entry.get("n", "")
        leaf_path = tuple(int(part) for part in name.strip("/").split("/"))
        if not 3 <= len(leaf_path) <= 4:
            raise PayloadError("a name leads to a resource or a resource instance")
        label = next((label for label in ("v", "vs", "vb", "vlo") if _OLD_KEYS[label] in entry), None)
        if label is None:
            raise PayloadError("an entry without a value")
        kind = type_of(leaf_path[0], leaf_path[2])
        raw = entry[_OLD_KEYS[label]]
        value = base64.b64decode(raw) if kind == "opaque" else _from_senml_value(label, raw, kind)
        found.append((leaf_path, value))
    return found


# --- SenML, §7.4.4 and RFC 8428 ----------------------------------------------------------------------

_Record = tuple[str, str, str, Value]  # base name, name, type, value
_JSON_KEYS: dict[str, str | int] = {key: key for key in ("bn", "n", "v", "vs", "vb", "vd", "vlo")}
_CBOR_KEYS: dict[str, str | int] = {"bn": -2, "n": 0, "v": 2, "vs": 3, "vb": 4, "vd": 8, "vlo": "vlo"}


def _senml(path: Path, view: Any, type_of: TypeOf) -> Iterator[_Record]:
    base = "/" + "/".join(map(str, path))
    if isinstance(view, dict):
        base += "/"
    for index, (leaf_path, value) in enumerate(leaves(path, view)):
        name = "/".join(map(str, leaf_path[len(path) :]))
        yield base if index == 0 else "", name, type_of(leaf_path[0], leaf_path[2]), value


def _label(kind: str, value: Value) -> str:
    if kind == "objlnk":
        return "vlo"
    match value:
        case bool():
            return "vb"
        case int() | float():
            return "v"
        case bytes():
            return "vd"
        case str():
            return "vs"


def _json_record(record: _Record) -> dict[str, Any]:
    base, name, kind, value = record
    out: dict[str, Any] = {}
    if base:
        out["bn"] = base
    if name:
        out["n"] = name
    shown = base64.urlsafe_b64encode(value).rstrip(b"=").decode() if isinstance(value, bytes) else value
    out[_label(kind, value)] = shown
    return out


def _cbor_record(record: _Record) -> dict[str | int, Any]:
    base, name, kind, value = record
    out: dict[str | int, Any] = {}
    if base:
        out[_CBOR_KEYS["bn"]] = base
    if name:
        out[_CBOR_KEYS["n"]] = name
    out[_CBOR_KEYS[_label(kind, value)]] = value
    return out


def _from_senml(records: Any, type_of: TypeOf, keys: dict[str, str | int]) -> list[Leaf]:
    if not isinstance(records, list):
        raise PayloadError("SenML is an array of records")
    base = ""
    found: list[Leaf] = []
    for record in records:
        if not isinstance(record, dict):
            raise PayloadError("a SenML record is a map")
        base = record.get(keys["bn"], base)
        parts = (base + record.get(keys["n"], "")).strip("/").split("/")
        if not 3 <= len(parts) <= 4:
            raise PayloadError("a SenML name leads to a resource or a resource instance")
        path = tuple(int(part) for part in parts)
        label = next((label for label in ("v", "vs", "vb", "vd", "vlo") if keys[label] in record), None)
        if label is None:
            raise PayloadError("a SenML record without a value")
        found.append((path, _from_senml_value(label, record[keys[label]], type_of(path[0], path[2]))))
    return found


def _from_senml_value(label: str, raw: Any, kind: str) -> Value:
    match label, kind, raw:
        case "vd", _, str():
            try:
                return base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))
            except binascii.Error as error:
                raise PayloadError("vd is base64url") from error
        case "vd", _, bytes():
            return raw
        case "vlo", _, str():
            return _link_text(raw)
        case "vb", _, bool():
            return raw
        case "vs", _, str():
            return raw
        case "v", "float", int() | float() if not isinstance(raw, bool):
            return float(raw)
        case "v", _, int() if not isinstance(raw, bool):
            return raw
        case "v", _, float() if raw.is_integer():
            return int(raw)
    raise PayloadError(f"{raw!r} is no value for {label}")
