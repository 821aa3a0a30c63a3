"""Content format 11543, the JSON of LwM2M 1.0 (TS 1.0 §6.4.4).

::

    {"bn": "/3/0/", "bt": 1700000000, "e": [{"n": "9", "v": 95, "t": -5}, {"n": "0", "sv": "Homard"}]}

Values are ``v`` number, ``bv`` boolean, ``sv`` text and ``ov`` object link. Opaque values are
base64 in ``sv``, so only the model tells them from texts. Names and times as in SenML.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from appliance.lwm2m.codecs import senml
from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.codecs.fitting import (
    MAX_REPORTS,
    base64_bytes,
    carried,
    object_link,
    report_of,
    too_many,
    utf8,
)
from appliance.lwm2m.codecs.senml_json import dumps, loads
from appliance.lwm2m.values import ObjectLink, Report, ResourceType, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.lwm2m.definitions import Model
    from appliance.lwm2m.path import Path


def decode(
    payload: bytes, base: Path, model: Model, root: str = "", now: float | None = None
) -> list[Report]:
    """The reports of the entries; raises ``CodecError``."""
    document = loads(payload)
    if not isinstance(document, dict):
        raise CodecError("The JSON payload is not an object.")
    base_name = document.get("bn", "")
    entries = document.get("e", [])
    base_time = document.get("bt")
    if not isinstance(base_name, str) or not isinstance(entries, list):
        raise CodecError("The JSON payload has a base name or entries of the wrong type.")
    if len(entries) > MAX_REPORTS:
        raise too_many()
    root = senml.normal_root(root)
    reports: list[Report] = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise CodecError("An entry of the JSON payload is not an object.")
        name = entry.get("n", "")
        if not isinstance(name, str):
            raise CodecError("An entry of the JSON payload has a name that is not a text.")
        path = senml.locate(base_name, name, base, root)
        time = entry.get("t")
        at = None
        if time is not None or base_time is not None:
            at = senml.moment(_seconds(base_time), _seconds(time), now)
        value = _value(entry)
        definition = model.resource(path)
        if definition is not None and definition.type is ResourceType.OPAQUE and isinstance(value, str):
            data = base64_bytes(value)
            value = value if data is None else data
        reports.append(report_of(path, value, at, model))
    return reports


def _seconds(item: object) -> int | float:
    if item is None:
        return 0
    if (type(item) is int and abs(item) < 1 << 64) or (type(item) is float and math.isfinite(item)):
        return item
    raise CodecError("A time in the JSON payload is not a number.")


def _value(entry: dict[str, Any]) -> Value:
    """The one value of an entry; raises ``CodecError``."""
    found: list[Value] = []
    for label, item in entry.items():
        match label, item:
            case "v", bool():
                raise CodecError("A number (v) in the JSON payload is not a number.")
            case "v", int() | float():
                found.append(item)
            case "bv", bool():
                found.append(item)
            case "sv", str():
                utf8(item)  # JSON can spell characters that are none
                found.append(item)
            case "ov", str() if (link := object_link(item)) is not None:
                found.append(link)
            case (("v" | "bv" | "sv" | "ov"), _):
                raise CodecError(f"A value ({label}) in the JSON payload has the wrong type.")
    if len(found) != 1:
        raise CodecError("An entry of the JSON payload has not exactly one value.")
    return found[0]


def encode(base: Path, reports: Sequence[Report], model: Model) -> bytes:
    """The document for a Write of ``base``; raises ``CodecError``.

    LwM2M 1.0 has no alternate path in names, so none is written; ``decode`` takes one off.
    """
    base_name, names = senml.naming(base, reports, "")
    entries: list[dict[str, object]] = []
    for name, report in zip(names, reports, strict=True):
        entry: dict[str, object] = {"n": name}
        _kind, value = carried(report, model)
        match value:
            case bool():
                entry["bv"] = value
            case int() | float():
                entry["v"] = value
            case str():
                entry["sv"] = value
            case bytes():
                entry["sv"] = base64.b64encode(value).decode()
            case ObjectLink():
                entry["ov"] = str(value)
        if report.at is not None:
            entry["t"] = int(report.at) if float(report.at).is_integer() else report.at
        entries.append(entry)
    return dumps({"bn": base_name, "e": entries})
