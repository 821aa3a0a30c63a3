"""Between the wire and the model: does a value fit its resource, and what does a value need to leave.

Inwards nothing is refused: a value that does not fit its resource definition, or has none, is kept
as the format typed it, with ``modelled=False``. A float that is not finite has no place in the data
model; it is kept as the text ``NaN``, ``Infinity`` or ``-Infinity``, not modelled. Outwards
everything is checked: a device never gets a value that its resource cannot hold.
"""

from __future__ import annotations

import binascii
import math
import re
from struct import Struct
from typing import TYPE_CHECKING

from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.values import (
    INTEGER_MAX,
    INTEGER_MIN,
    UNSIGNED_MAX,
    ObjectLink,
    Report,
    ResourceType,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appliance.lwm2m.definitions import Model
    from appliance.lwm2m.path import Path

# Of one payload. A report takes 200 to 400 bytes of memory, its smallest element in TLV two on the wire:
# without a bound one body of 1 MiB would take 200 MB and the event loop for two seconds.
MAX_REPORTS = 20_000
_EXACT = 1 << 53  # whole floats up to here are exact integers

_SINGLE = Struct(">f")
_LINK = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")
_NULL_LINK = "FFFF:FFFF"  # how C 1.2.1 §7.5.6 spells 65535:65535 in one place


def object_link(text: str) -> ObjectLink | None:
    """``"3:0"`` as a link, None when it is none (C Appendix C, Objlnk)."""
    match = _LINK.fullmatch(text)
    if match is None:
        return ObjectLink(65535, 65535) if text.upper() == _NULL_LINK else None
    object_id, instance_id = int(match[1]), int(match[2])
    return ObjectLink(object_id, instance_id) if object_id <= 65535 and instance_id <= 65535 else None


def base64_bytes(text: str) -> bytes | None:
    """Base64 in either alphabet, padded or not (RFC 4648 §4, §5); None when it is none."""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError:  # binascii.Error, and characters beyond ASCII
        return None


def utf8(text: str) -> bytes:
    """UTF-8 of a text; a lone surrogate is a ``CodecError``."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise CodecError("A text has characters that UTF-8 cannot carry.") from None


def pack_single(value: float) -> bytes | None:
    """The 4-byte IEEE 754 form when it loses nothing, else None."""
    try:
        short = _SINGLE.pack(value)
    except OverflowError:
        return None
    return short if _SINGLE.unpack(short)[0] == value else None


def own_value(value: Value) -> Value:
    """A value without a fitting model: as it is, except numbers the data model has no place for."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and not -UNSIGNED_MAX <= value <= UNSIGNED_MAX:
        try:
            return float(value)
        except OverflowError:
            return "Infinity" if value > 0 else "-Infinity"
    return value


def _text(value: Value) -> Value | None:
    return value if isinstance(value, str) else None


def _integer(value: Value) -> Value | None:
    if type(value) is int:
        return value if INTEGER_MIN <= value <= INTEGER_MAX else None
    if type(value) is float and value.is_integer() and -_EXACT <= value <= _EXACT:
        return int(value)
    return None


def _unsigned(value: Value) -> Value | None:
    if type(value) is int:
        return value if 0 <= value <= UNSIGNED_MAX else None
    if type(value) is float and value.is_integer() and 0 <= value <= _EXACT:
        return int(value)
    return None


def _float(value: Value) -> Value | None:
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def _boolean(value: Value) -> Value | None:
    if type(value) is bool:
        return value
    if (type(value) is int or type(value) is float) and (value == 0 or value == 1):
        return value == 1
    return None


def _opaque(value: Value) -> Value | None:
    return value if isinstance(value, bytes) else None


def _time(value: Value) -> Value | None:
    whole = _integer(value)
    if whole is not None:
        return whole
    return value if type(value) is float and math.isfinite(value) else None


def _objlnk(value: Value) -> Value | None:
    if isinstance(value, ObjectLink):
        return value
    return object_link(value) if isinstance(value, str) else None


def _none(value: Value) -> Value | None:
    return None


FIT: dict[ResourceType, Callable[[Value], Value | None]] = {
    ResourceType.STRING: _text,
    ResourceType.INTEGER: _integer,
    ResourceType.UNSIGNED: _unsigned,
    ResourceType.FLOAT: _float,
    ResourceType.BOOLEAN: _boolean,
    ResourceType.OPAQUE: _opaque,
    ResourceType.TIME: _time,
    ResourceType.OBJLNK: _objlnk,
    ResourceType.CORELNK: _text,
    ResourceType.NONE: _none,
}


def report_of(path: Path, value: Value, at: float | None, model: Model) -> Report:
    """The report of a value that its format typed; conversions to the model's type lose nothing.

    An integer becomes the float its resource asks for (nearest double), a whole float an integer,
    0 and 1 a boolean, ``"3:0"`` an object link. Never raises.
    """
    definition = model.resource(path)
    if definition is not None:
        fitted = FIT[definition.type](value)
        if fitted is not None:
            return Report(path, fitted, at, True)
    return Report(path, own_value(value), at, False)


def too_many() -> CodecError:
    """The error of a payload with more than ``MAX_REPORTS``."""
    return CodecError(f"The payload holds more than {MAX_REPORTS} values.")


def one_report(base: Path, reports: Sequence[Report]) -> Report:
    """The only report of a single-value format; it must be about ``base`` itself."""
    if len(reports) != 1 or reports[0].path != base or base.level < 3:
        raise CodecError("This content format carries exactly one value of one resource.")
    return reports[0]


def carried(report: Report, model: Model) -> tuple[ResourceType, Value]:
    """Type and checked value of a report that is to be encoded; raises ``CodecError``.

    A report that is not modelled is typed by its own value.
    """
    value = report.value
    definition = model.resource(report.path) if report.modelled else None
    if definition is None:
        return _type_of(value), value
    kind = definition.type
    fitted = FIT[kind](value)
    if fitted is None:
        raise CodecError(f"{report.path} is of type {kind.value}, which this value is not.")
    return kind, fitted


def _type_of(value: Value) -> ResourceType:
    match value:
        case bool():
            return ResourceType.BOOLEAN
        case int():
            if INTEGER_MIN <= value <= INTEGER_MAX:
                return ResourceType.INTEGER
            if 0 <= value <= UNSIGNED_MAX:
                return ResourceType.UNSIGNED
        case float() if math.isfinite(value):
            return ResourceType.FLOAT
        case str():
            return ResourceType.STRING
        case bytes():
            return ResourceType.OPAQUE
        case ObjectLink():
            return ResourceType.OBJLNK
    raise CodecError("The value cannot be encoded: it is no finite number, text, bytes or object link.")
