"""Content format 110, SenML JSON (RFC 8428 §5; LwM2M C §7.4.4)."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import TYPE_CHECKING

from appliance.lwm2m.codecs import senml
from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.codecs.fitting import base64_bytes, utf8
from appliance.lwm2m.path import Path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from appliance.lwm2m.definitions import Model
    from appliance.lwm2m.values import Report

_SPELLINGS: tuple[object, ...] = ("bn", "bt", "bv", "bver", "n", "t", "v", "vs", "vb", "vd", "vlo")


def _float(text: str) -> int | float:
    """A JSON number with a point or an exponent; whole ones beyond 2**53 keep every digit."""
    value = float(text)
    if 1 << 53 <= abs(value) < 1 << 65 and len(text) < 100:
        exact = Decimal(text)
        if exact == (whole := int(exact)):
            return whole
    return value


_JSON = json.JSONDecoder(parse_float=_float)


def loads(payload: bytes) -> object:
    """Any JSON text in UTF-8; raises ``CodecError``. Numbers that are whole are int, in every size.

    ``NaN`` and ``Infinity`` pass as floats. Time and memory are linear in the payload.
    """
    try:
        return _JSON.decode(payload.decode())
    except UnicodeDecodeError:
        raise CodecError("The JSON payload is not UTF-8.") from None
    except RecursionError:
        # The C scanner stops at the interpreter's limit; a pack nests twice.
        raise CodecError("The JSON payload is nested too deeply.") from None
    except ValueError:  # JSONDecodeError, and integers of more than 4300 digits
        raise CodecError("The payload is not JSON.") from None


def dumps(value: object) -> bytes:
    """Compact JSON in UTF-8; raises ``CodecError`` for what JSON or UTF-8 cannot carry."""
    try:
        return utf8(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except ValueError as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError("A number is not finite: JSON cannot carry it.") from None


def decode(
    payload: bytes, base: Path, model: Model, root: str = "", now: float | None = None
) -> list[Report]:
    """The reports of a pack about ``base``; raises ``CodecError``."""
    return senml.resolve(loads(payload), senml.LABELS, base, model, root, now, _data)


def decode_etch(
    payload: bytes, base: Path, model: Model, root: str = "", now: float | None = None
) -> list[Report]:
    """Content format 320, SenML-ETCH JSON (RFC 8790 §3.2): as `decode`, but each record has a value."""
    return senml.resolve(loads(payload), senml.LABELS, base, model, root, now, _data, patch=True)


def _data(item: object) -> bytes:
    """``vd`` is base64url without padding (RFC 8428 §4.3); standard and padded is taken too."""
    data = base64_bytes(item) if isinstance(item, str) else None
    if data is None:
        raise CodecError("A SenML data value (vd) is not base64.")
    return data


def encode(
    base: Path, reports: Sequence[Report], model: Model, root: str = "", removed: Sequence[Path] = ()
) -> bytes:
    """A pack for a Write of ``base``; ``root`` is the alternate path the names get."""
    return dumps(senml.records(base, reports, model, root, _SPELLINGS, _encode_data, removed))


def _encode_data(data: bytes) -> object:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encode_paths(paths: Sequence[Path], root: str = "") -> bytes:
    """The body of a Read- or Observe-Composite (C §6.3.8)."""
    return dumps(senml.path_records(paths, root, _SPELLINGS[senml.N_SPELLING]))


def decode_by_prefix(
    payload: bytes, models: Mapping[str, Model], model: Model, root: str, now: float | None
) -> dict[str, list[Report]]:
    """The reports of a pack by the prefix in front of their paths; raises ``CodecError``."""
    packs = senml.by_prefix(loads(payload), senml.LABELS, _SPELLINGS, root)
    return {
        prefix: senml.resolve(pack, senml.LABELS, Path(), models.get(prefix, model), "", now, _data)
        for prefix, pack in packs.items()
    }
