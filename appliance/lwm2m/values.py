"""Values of resources and their types (OMA Core 1.1.1 Appendix C), and their form in JSON.

In Python: str, int, int, float, bool, bytes, int or float (epoch seconds), ``ObjectLink``, str. In JSON: an
opaque value is hex, a time is ISO 8601 in UTC, an object link is ``"3:0"``, the others are themselves.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

from appliance.lwm2m.path import Path
from appliance.lwm2m.ranges import parse_range

INTEGER_MIN, INTEGER_MAX = -(1 << 63), (1 << 63) - 1  # C Appendix C, Integer: 8 bytes signed
UNSIGNED_MAX = (1 << 64) - 1  # C Appendix C, Unsigned Integer: 8 bytes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_LINK = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")


class ResourceType(StrEnum):
    """The data types of OMA Core Appendix C; ``NONE`` is a resource that is only executed."""

    STRING = "string"
    INTEGER = "integer"
    UNSIGNED = "unsigned"
    FLOAT = "float"
    BOOLEAN = "boolean"
    OPAQUE = "opaque"
    TIME = "time"
    OBJLNK = "objlnk"
    CORELNK = "corelnk"
    NONE = "none"


class ObjectLink(NamedTuple):
    """A reference to an object instance (Appendix C, Objlnk); 65535:65535 is the null link."""

    object_id: int
    instance_id: int

    def __str__(self) -> str:
        return f"{self.object_id}:{self.instance_id}"


Value = str | int | float | bool | bytes | ObjectLink


class Report(NamedTuple):
    """One value of one resource or resource instance.

    ``at`` is epoch seconds, None when the device gave no time. ``modelled`` is False when no definition
    is known for the path or the value does not fit it: then it is kept as its format typed it.
    """

    path: Path
    value: Value
    at: float | None
    modelled: bool


class ValueFormatError(ValueError):
    """A value that cannot be what its resource asks for; the message says what to write instead."""


class Typed(Protocol):
    """What `from_json` needs of a resource definition: its name, its type and the text of its range."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> ResourceType: ...
    @property
    def range(self) -> str: ...


def to_json(value: Value, kind: ResourceType) -> str | int | float | bool:
    """The JSON form of a value; raises ``ValueFormatError`` when it has none as that type."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, ObjectLink):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueFormatError("A number that is not finite has no JSON form; read the resource again.")
    if kind is ResourceType.TIME and not isinstance(value, bool | str):
        return _iso(value)
    return value


def from_json(given: object, definition: Typed) -> Value:
    """One value of the resource from its JSON form, checked against type and range.

    A multiple resource is given value by value. Raises ``ValueFormatError`` with a sentence that names the
    resource and the next step.
    """
    name = definition.name
    match definition.type:
        case ResourceType.STRING:
            value: Value = _string(given, name)
        case ResourceType.INTEGER:
            value = _whole(given, name, INTEGER_MIN, INTEGER_MAX)
        case ResourceType.UNSIGNED:
            value = _whole(given, name, 0, UNSIGNED_MAX)
        case ResourceType.FLOAT:
            value = _number(given, name)
        case ResourceType.BOOLEAN:
            if not isinstance(given, bool):
                raise ValueFormatError(f"{name} is a boolean: write true or false.")
            return given
        case ResourceType.OPAQUE:
            value = _opaque(given, name)
        case ResourceType.TIME:
            value = _time(given, name)
        case ResourceType.OBJLNK:
            return _object_link(given, name)
        case ResourceType.CORELNK:
            return _string(given, name)
        case ResourceType.NONE:
            raise ValueFormatError(f"{name} has no value: execute it instead of writing it.")
    complaint = parse_range(definition.range, _KINDS[definition.type]).complaint(value)
    if complaint:
        raise ValueFormatError(f"{name} {complaint}")
    return value


_KINDS = {
    ResourceType.STRING: "text",
    ResourceType.OPAQUE: "bytes",
    ResourceType.INTEGER: "number",
    ResourceType.UNSIGNED: "number",
    ResourceType.FLOAT: "number",
    ResourceType.TIME: "number",
}


def _iso(seconds: float) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise ValueFormatError("The time is outside the years 1 to 9999; show it as a number.") from None
    text = moment.isoformat(timespec="seconds" if moment.microsecond == 0 else "milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _string(given: object, name: str) -> str:
    if not isinstance(given, str):
        raise ValueFormatError(f'{name} is a text: write it in quotes, like "abc".')
    try:
        given.encode()
    except UnicodeEncodeError:
        raise ValueFormatError(f"{name} has a character that UTF-8 cannot carry: remove it.") from None
    return given


def _whole(given: object, name: str, low: int, high: int) -> int:
    # A browser rounds integers beyond 2^53, so their digits are accepted as text too.
    if isinstance(given, str):
        digits = _WHOLE.fullmatch(given.strip())
        given = int(digits[0]) if digits is not None else None
    elif isinstance(given, float) and given.is_integer() and abs(given) <= 1 << 53:
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int):
        raise ValueFormatError(f"{name} is a whole number: write it like 42.")
    if not low <= given <= high:
        raise ValueFormatError(f"{name} is a whole number from {low} to {high}: choose one of these.")
    return given


def _number(given: object, name: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueFormatError(f"{name} is a number: write it like 21.5.")
    try:
        value = float(given)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueFormatError(f"{name} is a finite number: choose one up to about 1.8e308.")
    return value


def _opaque(given: object, name: str) -> bytes:
    if isinstance(given, str):
        digits = given.translate(_SEPARATORS)
        if _HEX.fullmatch(digits):
            return bytes.fromhex(digits)
    raise ValueFormatError(f'{name} is bytes: write two hexadecimal digits for each, like "00ff2a".')


_SEPARATORS = {ord(one): None for one in " :-\t\n\r"}


def _time(given: object, name: str) -> int | float:
    problem = ValueFormatError(f'{name} is a time: write it in UTC like "2030-01-31T12:00:00Z".')
    if isinstance(given, bool):
        raise problem
    if isinstance(given, int | float):
        if not (INTEGER_MIN <= given <= INTEGER_MAX):  # false for a NaN too
            raise problem
        return given
    if not isinstance(given, str):
        raise problem
    try:
        moment = datetime.fromisoformat(given.strip())
    except ValueError:
        raise problem from None
    if moment.tzinfo is None:
        raise ValueFormatError(f"{name} is a time without a zone: add Z at the end for UTC.")
    elapsed = moment - _EPOCH
    seconds = elapsed.days * 86400 + elapsed.seconds
    return seconds + elapsed.microseconds / 1_000_000 if elapsed.microseconds else seconds


def _object_link(given: object, name: str) -> ObjectLink:
    match = _LINK.fullmatch(given.strip()) if isinstance(given, str) else None
    if match is not None:
        link = ObjectLink(int(match[1]), int(match[2]))
        if link.object_id <= 65535 and link.instance_id <= 65535:
            return link
    raise ValueFormatError(f'{name} is an object link: write object and instance like "3:0".')
