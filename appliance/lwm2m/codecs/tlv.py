"""Content format 11542, TLV (LwM2M C §7.4.5 and Appendix C).

One element is a type byte, an identifier of 1 or 2 bytes, a length of 0 to 3 bytes and a value::

    bits 7-6  kind: 00 object instance, 01 resource instance, 10 multiple resource, 11 resource
    bit  5    identifier of 16 bits instead of 8
    bits 4-3  bytes of the length field; 0: the length is in bits 2-0

Devices disagree about the outermost wrapper, so the reader takes every form that leaves no doubt
which path is meant: instance wrappers present or absent, a multiple resource with 0, 1 or n
instances or a plain value in its place, and resource instances with or without their resource.
The writer follows the table: instances are wrapped only when a whole object is written.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import TYPE_CHECKING

from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.codecs.fitting import MAX_REPORTS, carried, pack_single, too_many, utf8
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, ResourceType, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appliance.lwm2m.definitions import Model

OBJECT_INSTANCE, RESOURCE_INSTANCE, MULTIPLE_RESOURCE, RESOURCE = 0, 1, 2, 3
MAX_LENGTH = (1 << 24) - 1  # three bytes of length
ANY_INSTANCE = 65535  # MAX_ID: the device chooses the instance id at Create

_KIND_WORDS = ("an object instance", "a resource instance", "a multiple resource", "a resource")
_SINGLE = Struct(">f").unpack
_DOUBLE = Struct(">d").unpack
_PACK_DOUBLE = Struct(">d").pack
_OBJLNK = Struct(">HH")

Element = tuple[int, int, int, int]  # kind, identifier, start and end of the value


def elements(data: bytes, pos: int, end: int) -> list[Element]:
    """The elements of ``data[pos:end]``, one level; raises ``CodecError`` when they do not fill it."""
    found: list[Element] = []
    while pos < end:
        head = data[pos]
        start = pos + 2 + (head >> 5 & 1) + (width := head >> 3 & 3)
        if start > end:
            raise CodecError("A TLV header is truncated.")
        identifier = data[pos + 1] << 8 | data[pos + 2] if head & 0x20 else data[pos + 1]
        if width == 0:
            length = head & 7
        elif width == 1:
            length = data[start - 1]
        else:
            length = int.from_bytes(data[start - width : start], "big")
        pos = start + length
        if pos > end:
            raise CodecError("A TLV value is longer than what holds it.")
        found.append((head >> 6, identifier, start, pos))
        if len(found) > MAX_REPORTS:
            raise too_many()
    return found


def decode(payload: bytes, base: Path, model: Model) -> list[Report]:
    """The reports of a Read, Observe or Notify on ``base`` (object level or deeper).

    An empty payload is an object without instances or a resource without any: no reports. Raises
    ``CodecError`` for broken elements and for elements that are not about ``base``.
    """
    reports: list[Report] = []
    level = base.level
    if level == 0:
        raise CodecError("TLV does not name objects: it cannot answer for the root path.")
    for kind, identifier, start, end in elements(payload, 0, len(payload)):
        if kind == OBJECT_INSTANCE:
            if level > 1 and identifier != base.instance_id:
                raise CodecError(f"The TLV holds object instance {identifier}, which {base} is not.")
            instance = base.child(identifier) if level == 1 else base
            for inner_kind, inner, inner_start, inner_end in elements(payload, start, end):
                if inner_kind < MULTIPLE_RESOURCE:
                    raise CodecError(f"An object instance in the TLV holds {_KIND_WORDS[inner_kind]}.")
                _resource(payload, inner_kind, inner, inner_start, inner_end, instance, model, reports)
        elif kind == RESOURCE_INSTANCE:
            if level < 3 or (level == 4 and identifier != base.resource_instance_id):
                raise CodecError(f"The TLV holds resource instance {identifier}, which is not in {base}.")
            path = base.child(identifier) if level == 3 else base
            reports.append(_report(path, payload[start:end], model))
        elif level == 1:
            definition = model.object(base.object_id or 0)
            if definition is not None and definition.multiple:
                raise CodecError(f"The TLV holds resources of {base} without saying of which instance.")
            # Devices leave out the wrapper of the only instance of a single-instance object.
            _resource(payload, kind, identifier, start, end, base.child(0), model, reports)
        else:
            _resource(payload, kind, identifier, start, end, base, model, reports)
    return reports


def _resource(
    data: bytes,
    kind: int,
    identifier: int,
    start: int,
    end: int,
    at: Path,
    model: Model,
    reports: list[Report],
) -> None:
    """One resource element; ``at`` is its instance, or the resource (instance) that was asked for."""
    if len(reports) >= MAX_REPORTS:
        raise too_many()
    path = at
    level = at.level
    if level == 2:
        path = at.child(identifier)
    elif identifier != at.resource_id:
        raise CodecError(f"The TLV holds resource {identifier}, which {at} is not.")
    if kind == RESOURCE:
        reports.append(_report(path, data[start:end], model))
        return
    instances = elements(data, start, end)
    if len(reports) + len(instances) > MAX_REPORTS:
        raise too_many()
    for inner_kind, inner, inner_start, inner_end in instances:
        if inner_kind != RESOURCE_INSTANCE:
            raise CodecError(f"A multiple resource in the TLV holds {_KIND_WORDS[inner_kind]}.")
        if level == 4:
            if inner != at.resource_instance_id:
                raise CodecError(f"The TLV holds resource instance {inner}, which {at} is not.")
            reports.append(_report(at, data[inner_start:inner_end], model))
        else:
            reports.append(_report(path.child(inner), data[inner_start:inner_end], model))


def _report(path: Path, raw: bytes, model: Model) -> Report:
    """The value of one element; raw bytes, not modelled, when there is no model or it does not fit."""
    definition = model.resource(path)
    if definition is not None:
        value = _READ[definition.type](raw)
        if value is not None:
            return Report(path, value, None, True)
    return Report(path, raw, None, False)


def _read_text(raw: bytes) -> Value | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _read_integer(raw: bytes) -> Value | None:
    return int.from_bytes(raw, "big", signed=True) if len(raw) in (1, 2, 4, 8) else None


def _read_unsigned(raw: bytes) -> Value | None:
    return int.from_bytes(raw, "big") if len(raw) in (1, 2, 4, 8) else None


def _read_float(raw: bytes) -> Value | None:
    if len(raw) == 8:
        value: float = _DOUBLE(raw)[0]
    elif len(raw) == 4:
        value = _SINGLE(raw)[0]
    else:
        return None
    return value if math.isfinite(value) else None


def _read_boolean(raw: bytes) -> Value | None:
    return None if raw not in (b"\0", b"\1") else raw == b"\1"


def _read_opaque(raw: bytes) -> Value | None:
    return raw


def _read_objlnk(raw: bytes) -> Value | None:
    return ObjectLink(*_OBJLNK.unpack(raw)) if len(raw) == 4 else None


def _read_none(raw: bytes) -> Value | None:
    return None


_READ: dict[ResourceType, Callable[[bytes], Value | None]] = {
    ResourceType.STRING: _read_text,
    ResourceType.INTEGER: _read_integer,
    ResourceType.UNSIGNED: _read_unsigned,
    ResourceType.FLOAT: _read_float,
    ResourceType.BOOLEAN: _read_boolean,
    ResourceType.OPAQUE: _read_opaque,
    ResourceType.TIME: _read_integer,
    ResourceType.OBJLNK: _read_objlnk,
    ResourceType.CORELNK: _read_text,
    ResourceType.NONE: _read_none,
}


def element(kind: int, identifier: int, value: bytes) -> bytes:
    """One element with the shortest header."""
    length = len(value)
    if length > MAX_LENGTH:
        raise CodecError("A value is longer than the 16 MiB TLV can carry.")
    head = kind << 6
    name = identifier.to_bytes(2 if identifier > 255 else 1, "big")
    if identifier > 255:
        head |= 0x20
    if length < 8:
        return bytes((head | length,)) + name + value
    width = (length.bit_length() + 7) // 8
    return bytes((head | width << 3,)) + name + length.to_bytes(width, "big") + value


def encode(base: Path, reports: Sequence[Report], model: Model) -> bytes:
    """The payload of a Write or Create on ``base`` (object level or deeper); ``at`` is not carried.

    An instance (``/o/i``) is written without its wrapper; an object (``/o``) wraps each instance,
    except ``ANY_INSTANCE``, whose id the device chooses. A resource instance is written bare. No
    reports for ``/o/i/r`` is a multiple resource without instances. Raises ``CodecError``.
    """
    level = base.level
    if level == 0:
        raise CodecError("TLV does not name objects: it cannot write the root path.")
    instances: dict[int, dict[int, list[Report]]] = {}
    for report in reports:
        path = report.path
        if path.level < 3 or not base.contains(path):
            raise CodecError(f"{path} is not a resource in {base}.")
        instances.setdefault(path.instance_id or 0, {}).setdefault(path.resource_id or 0, []).append(report)
    if level == 4:
        return b"".join(
            element(RESOURCE_INSTANCE, r.path.resource_instance_id or 0, _value(r, model)) for r in reports
        )
    if level == 3 and not reports:
        return element(MULTIPLE_RESOURCE, base.resource_id or 0, b"")
    out = bytearray()
    for instance_id, resources in instances.items():
        content = b"".join(_write_resource(rid, group, model) for rid, group in resources.items())
        if level == 1 and instance_id != ANY_INSTANCE:
            content = element(OBJECT_INSTANCE, instance_id, content)
        out += content
    return bytes(out)


def _write_resource(identifier: int, reports: list[Report], model: Model) -> bytes:
    first = reports[0]
    if first.path.level == 3:
        if len(reports) > 1:
            raise CodecError(f"{first.path} is given more than once.")
        return element(RESOURCE, identifier, _value(first, model))
    if any(report.path.level == 3 for report in reports):
        raise CodecError(f"{first.path.parent} is given as one value and as instances.")
    return element(
        MULTIPLE_RESOURCE,
        identifier,
        b"".join(
            element(RESOURCE_INSTANCE, r.path.resource_instance_id or 0, _value(r, model)) for r in reports
        ),
    )


def _value(report: Report, model: Model) -> bytes:
    """The bytes of a value by its type; integers in the shortest of 1, 2, 4, 8 bytes."""
    kind, value = carried(report, model)
    match value:
        case bool():
            return b"\1" if value else b"\0"
        case int():
            signed = kind is not ResourceType.UNSIGNED
            for width in (1, 2, 4):
                try:
                    return value.to_bytes(width, "big", signed=signed)
                except OverflowError:
                    continue
            return value.to_bytes(8, "big", signed=signed)
        case float():
            if kind is ResourceType.TIME:
                raise CodecError(f"{report.path}: TLV carries times in whole seconds.")
            return pack_single(value) or _PACK_DOUBLE(value)
        case str():
            return utf8(value)
        case bytes():
            return value
        case ObjectLink(object_id, instance_id):
            return _OBJLNK.pack(object_id, instance_id)
    raise CodecError(f"{report.path}: the value has no form in TLV.")
