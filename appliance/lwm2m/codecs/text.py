"""Content format 0, plain text: one value as people would write it (LwM2M C §7.4.1, Appendix C).

Integers and floats are decimal, booleans ``0`` and ``1``, times whole seconds since 1970, opaque
values base64, object links ``oid:iid``. A text that is not what its type asks for is kept raw.
"""

from __future__ import annotations

import base64
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.codecs.fitting import (
    FIT,
    base64_bytes,
    carried,
    object_link,
    one_report,
    utf8,
)
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

# Lengths are bounded: Python converts long digit strings in quadratic time.
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}").fullmatch
_DECIMAL = re.compile(
    r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?"
).fullmatch
_PADDING = " \t\r\n\0"  # what C programs leave around a number


def _number(text: str) -> int | float | None:
    text = text.strip(_PADDING)
    if _WHOLE(text):
        return int(text)
    return float(text) if _DECIMAL(text) else None


def _integer(text: str) -> Value | None:
    if _WHOLE(text) and INTEGER_MIN <= (number := int(text)) <= INTEGER_MAX:
        return number
    loose = _number(text)
    return None if loose is None else FIT[ResourceType.INTEGER](loose)


def _unsigned(text: str) -> Value | None:
    if _WHOLE(text) and 0 <= (number := int(text)) <= UNSIGNED_MAX:
        return number
    loose = _number(text)
    return None if loose is None else FIT[ResourceType.UNSIGNED](loose)


def _float(text: str) -> Value | None:
    text = text.strip(_PADDING)
    return FIT[ResourceType.FLOAT](float(text)) if _DECIMAL(text) else None


def _time(text: str) -> Value | None:
    loose = _number(text)
    return None if loose is None else FIT[ResourceType.TIME](loose)


def _boolean(text: str) -> Value | None:
    match text.strip(_PADDING).lower():
        case "1" | "true":
            return True
        case "0" | "false":
            return False
    return None


def _opaque(text: str) -> Value | None:
    return base64_bytes(text)


def _objlnk(text: str) -> Value | None:
    return object_link(text.strip(_PADDING))


def _same(text: str) -> Value | None:
    return text


def _none(text: str) -> Value | None:
    return None


_READ: dict[ResourceType, Callable[[str], Value | None]] = {
    ResourceType.STRING: _same,
    ResourceType.INTEGER: _integer,
    ResourceType.UNSIGNED: _unsigned,
    ResourceType.FLOAT: _float,
    ResourceType.BOOLEAN: _boolean,
    ResourceType.OPAQUE: _opaque,
    ResourceType.TIME: _time,
    ResourceType.OBJLNK: _objlnk,
    ResourceType.CORELNK: _same,
    ResourceType.NONE: _none,
}


def decode(payload: bytes, base: Path, model: Model) -> list[Report]:
    """One report; raw and not modelled when the text does not fit its type.

    Raw is the text itself, or the payload as bytes when it is not UTF-8 or the resource is Opaque
    (devices do send opaque bytes labelled as text). Never raises.
    """
    definition = model.resource(base)
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return [Report(base, payload, None, False)]
    if definition is not None:
        kind = definition.type
        value = _READ[kind](text)
        if value is not None:
            return [Report(base, value, None, True)]
        if kind is ResourceType.OPAQUE:
            return [Report(base, payload, None, False)]
    return [Report(base, text, None, False)]


def encode(base: Path, reports: Sequence[Report], model: Model) -> bytes:
    """The text of the one report; raises ``CodecError``. ``at`` is not carried."""
    kind, value = carried(one_report(base, reports), model)
    if kind is ResourceType.TIME and isinstance(value, float):
        raise CodecError(f"{base}: plain text carries times in whole seconds.")
    return utf8(write(value))


def write(value: Value) -> str:
    """A value as text; floats without an exponent, which small devices cannot read."""
    match value:
        case bool():
            return "1" if value else "0"
        case int() | ObjectLink():
            return str(value)
        case float():
            return format(Decimal(repr(value)), "f")
        case str():
            return value
        case bytes():
            return base64.b64encode(value).decode()
    raise CodecError("The value has no form as text.")
