"""Content format 11544, LwM2M CBOR of version 1.2 (C 1.2.1 §7.5.4).

Nested maps from ids to values; a key is one id or an array of ids, and depths may be mixed. The ids along
the way are the path, from the object on whatever was asked for, and without an alternate path::

    {3: {0: {0: "Homard", 7: {0: 3800, 1: 5000}}}}     {[3, 0]: {0: "Homard"}, [3, 0, 7, 0]: 3800}

What belongs to a device behind a gateway has that device's prefix, a text, first (LwM2M Gateway 1.1 §9)::

    {"d01": {3303: {0: {5700: 21.5}}}}                 {["d01", 3303, 0]: {5700: 21.5}}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.lwm2m.codecs import cbor
from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.codecs.fitting import MAX_REPORTS, carried, report_of, too_many
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, ResourceType, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from appliance.lwm2m.definitions import Model

# Prefix ("" for none), ids, value.
_Leaf = tuple[str, tuple[int, ...], Value]


def decode(
    payload: bytes, base: Path, model: Model, root: str = "", now: float | None = None
) -> list[Report]:
    """The reports of the maps; paths are absolute and lie in ``base``. Raises ``CodecError``.

    A prefix must be the last segment of ``root``, as it is for a device behind a gateway. The format has no
    times, so ``now`` changes nothing.
    """
    own = root.rpartition("/")[2]
    reports: list[Report] = []
    for prefix, ids, value in _leaves(payload):
        path = Path(*ids)
        if prefix and prefix != own:
            raise CodecError(f"The LwM2M CBOR payload speaks of another device, behind {prefix[:40]!r}.")
        if not base.contains(path):
            raise CodecError(f"{path} in the LwM2M CBOR payload is not in {base}.")
        reports.append(report_of(path, value, None, model))
    return reports


def decode_by_prefix(
    payload: bytes, models: Mapping[str, Model], model: Model, root: str, now: float | None
) -> dict[str, list[Report]]:
    """The reports of the maps by the prefix in front of their paths; raises ``CodecError``."""
    found: dict[str, list[Report]] = {}
    for prefix, ids, value in _leaves(payload):
        report = report_of(Path(*ids), value, None, models.get(prefix, model))
        found.setdefault(prefix, []).append(report)
    return found


def _leaves(payload: bytes) -> list[_Leaf]:
    document = cbor.loads(payload)
    if not isinstance(document, dict):
        raise CodecError("The LwM2M CBOR payload is not a map.")
    leaves: list[_Leaf] = []
    _walk(document, "", (), leaves)
    if len({leaf[:2] for leaf in leaves}) != len(leaves):
        # The same path in two spellings. The specification does not say which one counts.
        raise CodecError("The LwM2M CBOR payload gives one resource twice.")
    return leaves


def _walk(level: dict[object, object], prefix: str, above: tuple[int, ...], out: list[_Leaf]) -> None:
    for key, item in level.items():
        place = prefix
        rest = key if isinstance(key, tuple) else (key,)
        if type(rest[0]) is str:
            if above or prefix or not rest[0]:
                raise CodecError("A key of the LwM2M CBOR payload is a text in the middle of a path.")
            place, rest = rest[0], rest[1:]
        ids = above + rest
        if len(ids) > 4 or not all(type(part) is int and 0 <= part <= 65535 for part in ids):
            raise CodecError("A key of the LwM2M CBOR payload is no id, or the path is too long.")
        if isinstance(item, dict):
            _walk(item, place, ids, out)
            continue
        if len(ids) < 3 or not isinstance(item, (bool, int, float, str, bytes, type(None))):
            raise CodecError("The LwM2M CBOR payload has a value that is no value of a resource.")
        if item is None:
            continue  # what an executable resource has (Appendix C, none)
        if len(out) >= MAX_REPORTS:
            raise too_many()
        out.append((place, ids, item))


def encode(base: Path, reports: Sequence[Report], model: Model, prefix: str = "") -> bytes:
    """Nested maps with one id per key; times as tag 1. ``at`` is not carried. Raises ``CodecError``.

    ``prefix`` is that of a device behind a gateway, with or without slashes.
    """
    document: dict[int, object] = {}
    for report in reports:
        path = report.path
        if path.level < 3 or not base.contains(path):
            raise CodecError(f"{path} is not a resource in {base}.")
        kind, value = carried(report, model)
        level = document
        for part in path[:-1]:
            inner = level.setdefault(part, {})
            if not isinstance(inner, dict):
                raise CodecError(f"{path} is given as one value and as instances.")
            level = inner
        if path[-1] in level:
            raise CodecError(f"{path} is given more than once.")
        if isinstance(value, ObjectLink):
            level[path[-1]] = str(value)
        elif kind is ResourceType.TIME and isinstance(value, (int, float)):
            level[path[-1]] = cbor.Seconds(value)
        else:
            level[path[-1]] = value
    prefix = prefix.strip("/")
    return cbor.dumps({prefix: document} if prefix else document)
