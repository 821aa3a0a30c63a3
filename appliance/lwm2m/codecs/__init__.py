"""Payloads to reports and back (LwM2M C §7.4).

A decoder is total: any bytes give reports or a ``CodecError``, in time and memory linear in the
payload, and never more than ``fitting.MAX_REPORTS`` reports. What keeps to its format but not to the
model is kept raw, with ``modelled=False``.

======  ================  ==========================================================
number  module            carries
======  ================  ==========================================================
0       ``text``          one value, as people write it
40      ``text``          one CoreLnk value (link format answers for a resource)
42      ``opaque``        the bytes of one value
60      ``cbor``          one value
110     ``senml_json``    any reports, with times
112     ``senml_cbor``    any reports, with times
320/322 as 110/112        paths, reports and removals of composite operations (RFC 8790)
11542   ``tlv``           reports of one object, instance or resource
11543   ``oma_json``      reports of LwM2M 1.0, with times
11544   ``lwm2m_cbor``    reports of LwM2M 1.2
======  ================  ==========================================================

The numbers 1541 to 1544 of early devices mean text, TLV, JSON and opaque.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.lwm2m import content_format as formats
from appliance.lwm2m.codecs import cbor, lwm2m_cbor, oma_json, opaque, senml_cbor, senml_json, text, tlv
from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ResourceType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from appliance.lwm2m.definitions import Model
    from appliance.lwm2m.values import Report

__all__ = ["CodecError", "decode", "decode_composite", "decode_send", "encode", "encode_paths"]


_ONE_VALUE: dict[int, Callable[[bytes, Path, Model], list[Report]]] = {
    formats.TEXT: text.decode,
    formats.LINK: text.decode,
    formats.OPAQUE: opaque.decode,
    formats.CBOR: cbor.decode,
}
_UNNAMED: dict[int, Callable[[bytes, Path, Model], list[Report]]] = {
    formats.TLV: tlv.decode,
}
_NAMED: dict[int, Callable[[bytes, Path, Model, str, float | None], list[Report]]] = {
    formats.SENML_JSON: senml_json.decode,
    formats.SENML_ETCH_JSON: senml_json.decode_etch,
    formats.SENML_CBOR: senml_cbor.decode,
    formats.SENML_ETCH_CBOR: senml_cbor.decode_etch,
    formats.OMA_JSON: oma_json.decode,
    formats.LWM2M_CBOR: lwm2m_cbor.decode,
}
_ENCODE_UNNAMED: dict[int, Callable[[Path, Sequence[Report], Model], bytes]] = {
    formats.TEXT: text.encode,
    formats.OPAQUE: opaque.encode,
    formats.CBOR: cbor.encode,
    formats.TLV: tlv.encode,
    formats.OMA_JSON: oma_json.encode,
}
_PLAIN = {formats.SENML_ETCH_JSON: formats.SENML_JSON, formats.SENML_ETCH_CBOR: formats.SENML_CBOR}
_REMOVING = (formats.SENML_ETCH_JSON, formats.SENML_ETCH_CBOR)  # only there is null a value (C 1.2.1 §7.5.6)
_ENCODE_NAMED: dict[int, Callable[[Path, Sequence[Report], Model, str, Sequence[Path]], bytes]] = {
    formats.SENML_JSON: senml_json.encode,
    formats.SENML_ETCH_JSON: senml_json.encode,
    formats.SENML_CBOR: senml_cbor.encode,
    formats.SENML_ETCH_CBOR: senml_cbor.encode,
}
_ENCODE_PATHS: dict[int, Callable[[Sequence[Path], str], bytes]] = {
    formats.SENML_JSON: senml_json.encode_paths,
    formats.SENML_ETCH_JSON: senml_json.encode_paths,
    formats.SENML_CBOR: senml_cbor.encode_paths,
    formats.SENML_ETCH_CBOR: senml_cbor.encode_paths,
}
_BY_PREFIX: dict[
    int, Callable[[bytes, Mapping[str, Model], Model, str, float | None], dict[str, list[Report]]]
] = {
    formats.SENML_JSON: senml_json.decode_by_prefix,
    formats.SENML_CBOR: senml_cbor.decode_by_prefix,
    formats.LWM2M_CBOR: lwm2m_cbor.decode_by_prefix,
}


def decode(
    content_format: int | None,
    payload: bytes,
    base: Path,
    model: Model,
    root: str = "",
    now: float | None = None,
) -> list[Report]:
    """The reports of an answer or notification about ``base``; raises ``CodecError``.

    ``root`` is the alternate path of the device, ``""`` for none: names with and without it are
    understood. ``now`` (epoch seconds) resolves relative times; without it ``Report.at`` of a
    relative time is the offset in seconds itself, always below 2**28 and usually negative.
    ``content_format`` None: the format is guessed from the payload and the model.
    """
    if content_format is None:
        return _guess(payload, base, model, root, now)
    if not payload and base.level < 3:
        return []  # an object without instances, whatever the format
    one_value = _ONE_VALUE.get(content_format)
    if one_value is not None:
        if base.level < 3:
            raise CodecError(f"Content format {content_format} carries one value, and {base} is no resource.")
        return one_value(payload, base, model)
    named = _NAMED.get(content_format)
    if named is not None:
        return named(payload, base, model, root, now)
    unnamed = _UNNAMED.get(content_format)
    if unnamed is not None:
        return unnamed(payload, base, model)
    if formats.canonical(content_format) != content_format:
        return decode(formats.canonical(content_format), payload, base, model, root, now)
    raise CodecError(f"Content format {content_format} is none that LwM2M uses for values.")


def encode(
    content_format: int,
    base: Path,
    reports: Sequence[Report],
    model: Model,
    root: str = "",
    *,
    prefix: str = "",
    removed: Sequence[Path] = (),
) -> bytes:
    """The payload of a Write or Create on ``base`` with ``reports`` in it; raises ``CodecError``.

    ``root``, the alternate path with the prefix of a device behind a gateway, goes in front of SenML names
    (T 1.2.1 §6.4.1); LwM2M CBOR takes the ``prefix`` alone, the other formats have no place for either.
    ``removed``, resource instances that are to go, is for Write-Composite (``base`` the root) in SenML-ETCH.
    """
    if removed and (content_format not in _REMOVING or base.level):
        raise CodecError(
            f"Content format {content_format} cannot remove resource instances: use 320 or 322 on the root."
        )
    named = _ENCODE_NAMED.get(content_format)
    if named is not None:
        return named(base, reports, model, root, removed)
    if content_format == formats.LWM2M_CBOR:
        return lwm2m_cbor.encode(base, reports, model, prefix)
    unnamed = _ENCODE_UNNAMED.get(content_format)
    if unnamed is not None:
        return unnamed(base, reports, model)
    if formats.canonical(content_format) != content_format:
        return encode(formats.canonical(content_format), base, reports, model, root)
    raise CodecError(f"Content format {content_format} is none that values can be written in.")


def encode_paths(content_format: int, paths: Sequence[Path], root: str = "") -> bytes:
    """The body of a Read- or Observe-Composite that asks for ``paths``; raises ``CodecError``.

    ``root`` goes in front of every name, as in `encode`.
    """
    encode_names = _ENCODE_PATHS.get(content_format)
    if encode_names is None:
        raise CodecError(f"Content format {content_format} cannot name the paths of a composite operation.")
    return encode_names(paths, root)


def decode_composite(
    content_format: int | None,
    payload: bytes,
    paths: Sequence[Path],
    model: Model,
    root: str = "",
    now: float | None = None,
) -> list[Report]:
    """The reports of the answer to a composite operation; raises ``CodecError``.

    What is missing is no error (C §6.3.8: a client answers with what it has), and what was not asked for
    is left out. ETCH is for requests; an answer that says it is in ETCH is read as plain SenML.
    """
    if not payload:
        return []
    if content_format is None:
        kind = payload[0] & 0xE0  # of CBOR: 0xA0 is a map
        content_format = formats.LWM2M_CBOR if kind == 0xA0 else formats.SENML_CBOR
        content_format = formats.SENML_JSON if payload[:1] == b"[" else content_format
    content_format = _PLAIN.get(content_format, content_format)
    reports = decode(content_format, payload, Path(), model, root, now)
    return [report for report in reports if any(path.contains(report.path) for path in paths)]


def decode_send(
    content_format: int | None,
    payload: bytes,
    models: Mapping[str, Model],
    model: Model,
    root: str = "",
    now: float | None = None,
) -> dict[str, list[Report]]:
    """The reports of a Send (C §6.4.5) by prefix, "" for the client's own; raises ``CodecError``.

    ``models`` are those of the end devices behind a gateway by their prefixes; a prefix that is not there
    is kept too, read with ``model``, so that whoever knows the devices can say which one is not there.
    """
    if not payload:
        raise CodecError("The Send has no payload.")
    by_prefix = _BY_PREFIX.get(content_format) if content_format is not None else None
    if by_prefix is not None:
        return by_prefix(payload, models, model, root, now)
    raise CodecError(f"Content format {content_format} is none of a Send: use 110, 112 or 11544.")


def _guess(payload: bytes, base: Path, model: Model, root: str, now: float | None) -> list[Report]:
    """An answer without a content format: the first reading that leaves nothing over.

    Formats with structure are tried first, since a text hardly looks like one that is about
    exactly ``base``; then one value as the model asks for it; then plain text, then raw bytes.
    """
    level = base.level
    if not payload:
        definition = model.resource(base) if level >= 3 else None
        if definition is None or definition.type not in (
            ResourceType.STRING,
            ResourceType.CORELNK,
            ResourceType.OPAQUE,
        ):
            return []
    first = payload[:1]
    candidates: tuple[int, ...] = (formats.TLV,)
    if first == b"[":
        candidates = (formats.SENML_JSON,)
    elif first == b"{":
        candidates = (formats.OMA_JSON,)
    elif first and (0x80 <= first[0] <= 0x9F or first[0] == 0xD9):
        candidates = (formats.SENML_CBOR, formats.TLV)
    elif first and 0xA0 <= first[0] <= 0xBF:
        candidates = (formats.TLV, formats.LWM2M_CBOR)
    elif level >= 3 and first and 0x20 <= first[0] < 0x80:
        candidates = ()  # "Ab1" would be a bare resource instance element
    if payload:
        for candidate in candidates:
            try:
                reports = decode(candidate, payload, base, model, root, now)
            except CodecError:
                continue
            if reports or level < 3 or payload[0] >> 6 == tlv.MULTIPLE_RESOURCE:
                return reports
    if level < 3:
        raise CodecError(f"The payload for {base} has no content format and looks like none.")
    return _guess_one(payload, base, model)


def _guess_one(payload: bytes, base: Path, model: Model) -> list[Report]:
    definition = model.resource(base)
    if definition is not None and definition.type is ResourceType.OPAQUE:
        return opaque.decode(payload, base, model)
    as_text = text.decode(payload, base, model)
    if as_text[0].modelled:
        return as_text
    if definition is not None:
        try:
            as_cbor = cbor.decode(payload, base, model)
        except CodecError:
            return as_text
        if as_cbor[0].modelled:
            return as_cbor
    return as_text
