"""Several paths in one message: composite operations and Send (OMA LwM2M Core 1.1 §6.3, §6.4).

SenML JSON and SenML CBOR carry them; SenML-ETCH (RFC 8790, 320 and 322) means the same towards us, a
null value takes a resource away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from appliance.simulator import cbor, payloads
from appliance.simulator.payloads import SENML_CBOR, SENML_JSON, FormatError, Leaf, Path, PayloadError, TypeOf

ETCH_JSON, ETCH_CBOR = 320, 322
PLAIN = {ETCH_JSON: SENML_JSON, ETCH_CBOR: SENML_CBOR, SENML_JSON: SENML_JSON, SENML_CBOR: SENML_CBOR}
_NAMES: dict[int, tuple[str | int, str | int]] = {SENML_JSON: ("bn", "n"), SENML_CBOR: (-2, 0)}
MAX_PATHS = 200


def plain(content_format: int | None) -> int:
    """The SenML a composite is spoken in; raises FormatError."""
    if content_format not in PLAIN:
        raise FormatError(f"content format {content_format} carries no composite")
    return PLAIN[content_format]


def decode_paths(content_format: int, payload: bytes) -> list[Path]:
    """The paths of a FETCH, () for the root. Raises PayloadError or FormatError."""
    base_key, name_key = _NAMES[plain(content_format)]
    base = ""
    paths: list[Path] = []
    for record in _records(content_format, payload):
        base = record.get(base_key, base)
        name = base + record.get(name_key, "")
        if not isinstance(name, str) or not name.startswith("/"):
            raise PayloadError("a name starts with /")
        parts = [part for part in name.split("/") if part]
        if len(parts) > 4 or not all(part.isascii() and part.isdigit() for part in parts):
            raise PayloadError(f"{name} is no path")
        paths.append(tuple(map(int, parts)))
    if not 0 < len(paths) <= MAX_PATHS:
        raise PayloadError("one path at least, and not without end")
    return paths


def encode(content_format: int, views: Iterable[tuple[Path, Any]], type_of: TypeOf) -> bytes:
    """The content of several paths as one pack."""
    number = plain(content_format)
    records: list[Any] = []
    for path, view in views:
        part = payloads.encode(number, path, view, type_of)
        records += json.loads(part) if number == SENML_JSON else cbor.decode(part)
    if number == SENML_JSON:
        return json.dumps(records, separators=(",", ":")).encode()
    return cbor.encode(records)


def decode(content_format: int, payload: bytes, type_of: TypeOf) -> list[Leaf]:
    """What a Write-Composite writes. Raises PayloadError or FormatError."""
    return payloads.decode(plain(content_format), (), payload, type_of)


def _records(content_format: int, payload: bytes) -> list[Any]:
    try:
        records = json.loads(payload) if plain(content_format) == SENML_JSON else cbor.decode(payload)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise PayloadError(str(error)) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise PayloadError("SenML is an array of maps")
    return records
