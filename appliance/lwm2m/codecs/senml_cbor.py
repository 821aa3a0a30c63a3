"""Content format 112, SenML CBOR (RFC 8428 §6; LwM2M C §7.4.4).

Labels are the small integers of RFC 8428 Table 4, except LwM2M's ``vlo``, which is a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.lwm2m.codecs import cbor, senml
from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.path import Path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from appliance.lwm2m.definitions import Model
    from appliance.lwm2m.values import Report

# Devices that spell a label as text are understood as well.
_LABELS: dict[object, int] = senml.LABELS | {
    -1: senml.BVER, -2: senml.BN, -3: senml.BT, -4: senml.IGNORED, -5: senml.BV, -6: senml.IGNORED,
    0: senml.N, 1: senml.IGNORED, 2: senml.V, 3: senml.VS, 4: senml.VB, 5: senml.IGNORED, 6: senml.T,
    7: senml.IGNORED, 8: senml.VD,
}  # fmt: skip
_SPELLINGS: tuple[object, ...] = (-2, -3, -5, -1, 0, 6, 2, 3, 4, 8, "vlo")


def decode(
    payload: bytes, base: Path, model: Model, root: str = "", now: float | None = None
) -> list[Report]:
    """The reports of a pack about ``base``; raises ``CodecError``."""
    return senml.resolve(cbor.loads(payload), _LABELS, base, model, root, now, _data)


def decode_etch(
    payload: bytes, base: Path, model: Model, root: str = "", now: float | None = None
) -> list[Report]:
    """Content format 322, SenML-ETCH CBOR (RFC 8790 §3.2): as `decode`, but each record has a value."""
    return senml.resolve(cbor.loads(payload), _LABELS, base, model, root, now, _data, patch=True)


def _data(item: object) -> bytes:
    if not isinstance(item, bytes):
        raise CodecError("A SenML data value (vd) is not a byte string.")
    return item


def encode(
    base: Path, reports: Sequence[Report], model: Model, root: str = "", removed: Sequence[Path] = ()
) -> bytes:
    """A pack for a Write of ``base``; ``root`` is the alternate path the names get."""
    return cbor.dumps(senml.records(base, reports, model, root, _SPELLINGS, _encode_data, removed))


def _encode_data(data: bytes) -> object:
    return data


def encode_paths(paths: Sequence[Path], root: str = "") -> bytes:
    """The body of a Read- or Observe-Composite (C §6.3.8)."""
    return cbor.dumps(senml.path_records(paths, root, _SPELLINGS[senml.N_SPELLING]))


def decode_by_prefix(
    payload: bytes, models: Mapping[str, Model], model: Model, root: str, now: float | None
) -> dict[str, list[Report]]:
    """The reports of a pack by the prefix in front of their paths; raises ``CodecError``."""
    packs = senml.by_prefix(cbor.loads(payload), _LABELS, _SPELLINGS, root)
    return {
        prefix: senml.resolve(pack, _LABELS, Path(), models.get(prefix, model), "", now, _data)
        for prefix, pack in packs.items()
    }
