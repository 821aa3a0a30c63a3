"""Content format 42, opaque: the bytes of one resource as they are (LwM2M C §7.4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.codecs.fitting import carried, one_report, report_of
from appliance.lwm2m.values import ResourceType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.lwm2m.definitions import Model
    from appliance.lwm2m.path import Path
    from appliance.lwm2m.values import Report


def decode(payload: bytes, base: Path, model: Model) -> list[Report]:
    """One report with the payload; not modelled when the resource is not of type Opaque."""
    return [report_of(base, payload, None, model)]


def encode(base: Path, reports: Sequence[Report], model: Model) -> bytes:
    """The bytes of the one report; any other type than Opaque is a ``CodecError``."""
    kind, value = carried(one_report(base, reports), model)
    if kind is not ResourceType.OPAQUE or not isinstance(value, bytes):
        raise CodecError(f"{base} is of type {kind.value}: it cannot be written as opaque bytes.")
    return value
