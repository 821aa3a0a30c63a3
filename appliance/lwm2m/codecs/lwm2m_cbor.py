"""Content format 11544, LwM2M CBOR of version 1.2 (C §7.4.7).

Nested maps from ids to values; a key is one id or an array of ids, and depths may be mixed::

    {3: {0: {0: "Homard", 7: {0: 3800, 1: 5000}}}}     {[3, 0]: {0: "Homard"}, [3, 0, 7, 0]: 3800}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.lwm2m.codecs import cbor
from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.codecs.fitting import MAX_REPORTS, carried, report_of, too_many
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, ResourceType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.lwm2m.definitions import Model


def decode(payload: bytes, base: Path, model: Model) -> list[Report]:
    """The reports of the maps; paths are absolute and lie in ``base``. Raises ``CodecError``."""
    document = cbor.loads(payload)
    if not isinstance(document, dict):
        raise CodecError("The LwM2M CBOR payload is not a map.")
    reports: list[Report] = []
    _walk(document, (), base, model, reports)
    return reports


def _walk(
    level: dict[object, object], above: tuple[int, ...], base: Path, model: Model, out: list[Report]
) -> None:
    for key, item in level.items():
        ids = above + (key if isinstance(key, tuple) else (key,))
        if len(ids) > 4 or not all(type(part) is int and 0 <= part <= 65535 for part in ids):
            raise CodecError("A key of the LwM2M CBOR payload is no id, or the path is too long.")
        if isinstance(item, dict):
            _walk(item, ids, base, model, out)
            continue
        if len(ids) < 3 or not isinstance(item, (bool, int, float, str, bytes)):
            raise CodecError("The LwM2M CBOR payload has a value that is no value of a resource.")
        path = Path(*ids)
        if not base.contains(path):
            raise CodecError(f"{path} in the LwM2M CBOR payload is not in {base}.")
        if len(out) >= MAX_REPORTS:
            raise too_many()
        out.append(report_of(path, item, None, model))


def encode(base: Path, reports: Sequence[Report], model: Model) -> bytes:
    """Nested maps with one id per key; times as tag 1. ``at`` is not carried. Raises ``CodecError``."""
    document: dict[int, object] = {}
    for report in reports:
        path = report.path
        if path.level < 3 or not base.contains(path):
            raise CodecError(f"{path} is not a resource in {base}.")
        kind, value = carried(report, model)
        ids = [part for part in (path.object_id, path.instance_id, path.resource_id) if part is not None]
        if path.resource_instance_id is not None:
            ids.append(path.resource_instance_id)
        level = document
        for part in ids[:-1]:
            inner = level.setdefault(part, {})
            if not isinstance(inner, dict):
                raise CodecError(f"{path} is given as one value and as instances.")
            level = inner
        if ids[-1] in level:
            raise CodecError(f"{path} is given more than once.")
        if isinstance(value, ObjectLink):
            level[ids[-1]] = str(value)
        elif kind is ResourceType.TIME and isinstance(value, (int, float)):
            level[ids[-1]] = cbor.Seconds(value)
        else:
            level[ids[-1]] = value
    return cbor.dumps(document)
