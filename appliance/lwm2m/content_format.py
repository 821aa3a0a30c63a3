"""Content formats: their numbers, and which to try with which client (OMA Core 1.1.1 §7.4).

LwM2M 1.1 has no format that every client must know, so a choice is a list to go through: what the client
registered with ``ct``, what worked last, what belongs to its version (the traps say why in this order).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from appliance.lwm2m.operations import Create, Observe, Read, Write
from appliance.lwm2m.path import Path

TEXT = 0
LINK = 40
OPAQUE = 42
CBOR = 60
SENML_JSON = 110
SENML_CBOR = 112
SENML_ETCH_JSON = 320
SENML_ETCH_CBOR = 322
TLV = 11542
OMA_JSON = 11543
LWM2M_CBOR = 11544

# Numbers of the drafts before 1.0 that devices in the field still send.
_OLD = {1541: TEXT, 1542: TLV, 1543: OMA_JSON, 1544: OPAQUE}

_STRUCTURED = (SENML_CBOR, SENML_JSON, TLV, LWM2M_CBOR, OMA_JSON)
_BY_VERSION: dict[str, tuple[int, ...]] = {
    "1.0": (TLV, OMA_JSON),
    "1.1": (SENML_CBOR, SENML_JSON, TLV),
    "1.2": (SENML_CBOR, SENML_JSON, LWM2M_CBOR, TLV),
}


def canonical(number: int) -> int:
    """The number in use today: 1542 is TLV, 11542."""
    return _OLD.get(number, number)


_COMPOSITE = (SENML_CBOR, SENML_JSON)
_ETCH = {SENML_CBOR: SENML_ETCH_CBOR, SENML_JSON: SENML_ETCH_JSON}


def choose_composite(
    version: str,
    client_ct: tuple[int, ...],
    learned: int | None,
    *,
    writes: bool = False,
    removes: bool = False,
) -> list[tuple[int, int]]:
    """Content format of the body and Accept, to try in this order, for composite operations (§6.3.8).

    SenML both ways, as some clients read the body by Accept; from 1.2 on the ETCH form first where the client
    lists it, and last where it does not: 1.2.0 knew no other one. LwM2M CBOR names no paths, so it can be
    asked for with a body in SenML, or be the body of a Write-Composite (``writes``), for which Accept means
    nothing. What ``removes`` resource instances goes in ETCH only.
    """
    modern = version >= "1.2"
    listed = [one for one in _COMPOSITE if one in client_ct or (modern and _ETCH[one] in client_ct)]
    if modern and LWM2M_CBOR in client_ct:
        listed.append(LWM2M_CBOR)
    ranked: dict[int, None] = {}
    for number in (learned, *listed, *_COMPOSITE):
        if number in _COMPOSITE or (number == LWM2M_CBOR and LWM2M_CBOR in listed):
            assert number is not None
            ranked[number] = None
    chosen: list[tuple[int, int]] = []
    for number in ranked:
        body = number if number in _COMPOSITE or writes else _body_beside(client_ct)
        if modern and _ETCH.get(body) in client_ct:
            chosen.append((_ETCH[body], number))
        chosen.append((body, number))
    if modern or removes:
        chosen += [(_ETCH[number], number) for number in ranked if number in _COMPOSITE]
    if removes:
        chosen = [pair for pair in chosen if pair[0] in _ETCH.values()]
    return list(dict.fromkeys(chosen))


def _body_beside(client_ct: tuple[int, ...]) -> int:
    """The SenML in which to name paths for an answer in LwM2M CBOR."""
    json = SENML_JSON in client_ct or SENML_ETCH_JSON in client_ct
    return SENML_JSON if json and not {SENML_CBOR, SENML_ETCH_CBOR} & set(client_ct) else SENML_CBOR


def is_structured(number: int) -> bool:
    """Whether the format can carry several values, so that it serves objects and instances too."""
    return canonical(number) in _STRUCTURED


def choose(
    version: str,
    client_ct: tuple[int, ...],
    learned: int | None,
    path: Path,
    operation: Read | Observe | Write | Create,
) -> list[int | None]:
    """The formats to try in this order, one after the other on 4.06 and 4.15 (§7.4).

    ``client_ct`` is what the client registered, ``learned`` the structured format that worked last.
    None, the last for Read and Observe, means: without Accept, the client may choose.
    """
    structured = _structured(version, client_ct, learned)
    single = len(path) >= 3
    # CBOR for one value is something a client may have since 1.1.1: tried where it is listed (§7.4.3).
    cbor = (CBOR,) if CBOR in client_ct else ()
    candidates: Sequence[int | None]
    match operation:
        case Write(reports=reports) if single and len(reports) == 1 and reports[0].path == path:
            # The formats of one value need no support for structure at all (trap 27); a 1.0 client has TLV.
            plain = OPAQUE if isinstance(reports[0].value, bytes) else TEXT
            last = version == "1.0" and plain == TEXT
            candidates = [*structured, plain] if last else [plain, *cbor, *structured]
        case Create(reports=()):
            candidates = [TLV, *structured]  # only TLV has an agreed form of an instance without values
        case Write() | Create():
            candidates = [*structured]
        case _:
            candidates = (*structured, *((*cbor, TEXT, OPAQUE) if single else ()), None)
    return list(dict.fromkeys(candidates))


@lru_cache(maxsize=256)
def _structured(version: str, client_ct: tuple[int, ...], learned: int | None) -> tuple[int, ...]:
    """The formats that carry several values, best first, some twice; fleets share a few such lists."""
    listed = [number for number in map(canonical, client_ct) if number in _STRUCTURED]
    usual = _BY_VERSION.get(version, _BY_VERSION["1.1"])
    # What is listed goes in our order where we have one: the list itself has none (RFC 6690 §2, ct).
    ranked = [number for number in usual if number in listed] + listed
    if learned is not None and is_structured(learned):
        number = canonical(learned)
        if not listed or number in listed:
            ranked.insert(0, number)
    return (*ranked, *usual)


def empty_instance(number: int, instance: Path, root: str = "") -> bytes:
    """The payload of a Create that names its instance and gives no values.

    ``instance`` is at level 2; an unknown format gives the TLV form.
    """
    name = f"{root}{instance}/"
    number = canonical(number)
    if number in (SENML_JSON, OMA_JSON):
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return (f'[{{"bn":"{quoted}"}}]' if number == SENML_JSON else f'{{"bn":"{quoted}","e":[]}}').encode()
    if number == SENML_CBOR:
        text = name.encode()
        return b"\x81\xa1\x21" + _cbor_head(0x60, len(text)) + text  # [{-2: name}]
    if number == LWM2M_CBOR:
        return b"\xa1" + _cbor_head(0, instance[0]) + b"\xa1" + _cbor_head(0, instance[1]) + b"\xa0"
    if instance[1] < 256:
        return bytes((0x00, instance[1]))  # §7.4.3: object instance, identifier of 8 bits, no content
    return bytes((0x20, instance[1] >> 8, instance[1] & 0xFF))


def _cbor_head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major | number,))
    if number < 256:
        return bytes((major | 24, number))
    return bytes((major | 25, number >> 8 & 0xFF, number & 0xFF))
