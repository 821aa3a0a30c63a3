"""100,000 random and mutated payloads into every decoder: reports or ``CodecError``, nothing else.

What comes out is bounded by what came in, and every report is one the rest of the house can take.
"""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.lwm2m.codecs import CodecError, cbor, decode, encode
from appliance.lwm2m.codecs.fitting import MAX_REPORTS
from appliance.lwm2m.codecs.tlv import element
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, ResourceType

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.lwm2m.definitions import Model

FORMATS = (None, 0, 40, 42, 60, 110, 112, 320, 322, 11542, 11543, 11544)
ROUNDS = 100_000
BASES = (
    Path(),
    Path(32800),
    Path(32800, 0),
    Path(32800, 0, 3),
    Path(32800, 0, 10),
    Path(32800, 0, 11, 1),
    Path(4242),
)
PYTHON_TYPES: dict[ResourceType, tuple[type, ...]] = {
    ResourceType.STRING: (str,),
    ResourceType.INTEGER: (int,),
    ResourceType.UNSIGNED: (int,),
    ResourceType.FLOAT: (float,),
    ResourceType.BOOLEAN: (bool,),
    ResourceType.OPAQUE: (bytes,),
    ResourceType.TIME: (int, float),
    ResourceType.OBJLNK: (ObjectLink,),
    ResourceType.CORELNK: (str,),
}


def seeds(content_format: int | None, model: Model) -> list[bytes]:
    """Good payloads of a format to start from."""
    instance = [
        Report(Path(32800, 0, 0), "Grüße", None, True),
        Report(Path(32800, 0, 1), -5, None, True),
        Report(Path(32800, 0, 3), 21.5, None, True),
        Report(Path(32800, 0, 4), True, None, True),
        Report(Path(32800, 0, 5), b"\0\xff", None, True),
        Report(Path(32800, 0, 6), 1700000000, None, True),
        Report(Path(32800, 0, 7), ObjectLink(3, 0), None, True),
        Report(Path(32800, 0, 11, 1), 7, 1700000000.0, True),
        Report(Path(32800, 0, 300), 1e300, None, True),
    ]
    found = [b"", b"\0" * 8]
    for number in (110, 112, 11542, 11543, 11544) if content_format is None else (content_format,):
        if number in (110, 112, 320, 322, 11542, 11543, 11544):
            for base in (Path(32800), Path(32800, 0)):
                found.append(encode(number, base, instance, model))
            found += [encode(number, report.path, [report], model) for report in instance]
    for report in instance:
        if content_format in (None, 0, 60):
            found.append(encode(content_format or 0, report.path, [report], model))
    if content_format in (None, 60, 112, 11544):
        found += [
            bytes.fromhex(text) for text in ("9fbf00612f02f94d60ffff", "c06a323031332d30332d3231", "c4822003")
        ]
    if content_format in (320, 322):
        found.append(encode(content_format, Path(), instance, model, removed=[Path(32800, 0, 11, 2)]))
    if content_format in (None, 60, 11544):
        found.append(cbor.dumps({"lwm2m": {32800: {0: {1: 5}}}, ("lwm2m", 32800, 0, 3): 1.5}))
    if content_format in (None, 110, 320):
        found.append(
            b'[{"bn":"/32800/0/","bt":1.7e9,"bv":3,"n":"3","v":1e400,"t":-5},{"n":"5","vd":"_w"},{}]'
        )
    return found


TOKENS = (
    b"\xff", b"\x00", b"\x80", b"\x9f", b"\xbf", b"\xf9", b"\xc0", b"\xc1", b"\x1b" + b"\xff" * 8
)  # fmt: skip
JSON_TOKENS = (
    b"[", b"]", b"{", b"}", b'"', b",", b":", b"0", b"-", b".", b"1e9", b"e", b"/", b"3", b"65536", b"_",
    b"=", b"null", b"true", b"NaN", b"\\ud800", b"9007199254740993",
    b'"n":', b'"v":1,', b'"t":-5,', b'"bt":1,',
    b'"bn":"/",',
)  # fmt: skip


def mutated(payload: bytes, pool: list[bytes], rng: random.Random) -> bytes:
    """One to three changes; a payload of printable characters mostly stays one, to get past the parser."""
    data = bytearray(payload)
    printable = payload[:1] in (b"[", b"{") and rng.randrange(8) > 0
    tokens = JSON_TOKENS if printable else TOKENS
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 | 5 | 6 if printable:
                data[at : at + 1] = rng.choice(tokens)
            case 0:
                data[at : at + 1] = bytes((rng.randrange(256),))
            case 1:
                del data[at : at + rng.randrange(1, 9)]
            case 2:
                data[at:at] = rng.choice(tokens)
            case 3:
                data[at:at] = data[at : at + rng.randrange(1, 30)]
            case 4:
                other = rng.choice(pool)
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case 5:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 6 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
    return bytes(data[:2000])


def check(reports: list[Report], payload: bytes, base: Path, model: Model) -> None:
    assert len(reports) <= max(1, len(payload))
    size = 0
    for path, value, at, modelled in reports:
        assert path.level >= 3 and base.contains(path)
        assert at is None or math.isfinite(at)
        if isinstance(value, str):
            size += len(value.encode())
        elif isinstance(value, bytes):
            size += len(value)
        elif isinstance(value, float):
            assert math.isfinite(value)
        elif type(value) is int:
            assert abs(value) < 1 << 64
        if modelled:
            definition = model.resource(path)
            assert definition is not None and type(value) in PYTHON_TYPES[definition.type]
    assert size <= len(payload) + 16 * len(reports)


@pytest.mark.parametrize("content_format", FORMATS)
def test_100_000_payloads(model: Model, content_format: int | None) -> None:
    rng = random.Random(f"codecs {content_format}")
    pool = seeds(content_format, model)
    bases = BASES[3:6] if content_format in (0, 40, 42, 60) else BASES
    good = 0
    for number in range(ROUNDS):
        if number % 8 == 0:
            payload = rng.randbytes(rng.randrange(40))
        else:
            payload = mutated(rng.choice(pool), pool, rng)
        base = bases[number % len(bases)]
        try:
            reports = decode(content_format, payload, base, model, "/lwm2m" if number & 1 else "", 1.7e9)
        except CodecError:
            continue
        good += 1
        check(reports, payload, base, model)
    assert good > ROUNDS // 50  # the mutations do reach behind the first check


@pytest.mark.parametrize("content_format", FORMATS)
@given(payload=st.binary(max_size=200), base=st.sampled_from(BASES))
@settings(max_examples=300)
def test_any_bytes(model: Model, content_format: int | None, payload: bytes, base: Path) -> None:
    try:
        reports = decode(content_format, payload, base, model)
    except CodecError:
        return
    check(reports, payload, base, model)


numbers = st.integers() | st.floats() | st.sampled_from([0, 1, -5, 1700000000, 1 << 53, 1 << 64, 1e300])
names = st.text(max_size=9) | st.sampled_from(
    ["", "/", "3", "/32800/0/3", "/32800/0/", "32800/0/", "/lwm2m/32800/0/11/1", "5700"]
)
scalars = numbers | names | st.booleans() | st.none() | st.binary(max_size=9)
fields: dict[str, st.SearchStrategy[object]] = {
    "bn": names,
    "bt": numbers,
    "bv": numbers,
    "bver": st.sampled_from([10, 5, 11, 10.0]),
    "bu": names,
    "n": names,
    "t": numbers,
    "v": numbers,
    "vs": names,
    "vb": st.booleans(),
    "vd": names,
    "vlo": st.sampled_from(["3:0", "", "65536:1"]),
    "x": scalars,
}
LABELS = {
    "bver": -1,
    "bn": -2,
    "bt": -3,
    "bu": -4,
    "bv": -5,
    "n": 0,
    "v": 2,
    "vs": 3,
    "vb": 4,
    "t": 6,
    "vd": 8,
}
record = st.fixed_dictionaries({}, optional=fields) | st.dictionaries(
    st.sampled_from(sorted(fields)), scalars
)


@given(pack=st.lists(record, max_size=5), base=st.sampled_from(BASES))
@settings(max_examples=1000)
def test_any_pack(model: Model, pack: list[dict[str, object]], base: Path) -> None:
    """Well-formed packs with odd fields get behind the parsers more often than mutated bytes."""
    numbered = [{LABELS.get(label, label): item for label, item in record.items()} for record in pack]
    payloads = [(112, cbor2.dumps(pack)), (112, cbor2.dumps(numbered))]
    payloads.append((110, json.dumps(pack, default=lambda data: data.hex()).encode()))
    for content_format, payload in payloads:
        try:
            reports = decode(content_format, payload, base, model, "/lwm2m")
        except CodecError:
            continue
        check(reports, payload, base, model)


def _json_records(count: int) -> bytes:
    return b"[" + b",".join([b'{"n":"/32800/0/3","v":1}'] * count) + b"]"


def _cbor_records(count: int) -> bytes:
    return b"\x9f" + b"\xa2\0\x6a/32800/0/3\2\1" * count + b"\xff"


def _entries(count: int) -> bytes:
    return b'{"bn":"/32800/0/3","e":[' + b",".join([b'{"v":1}'] * count) + b"]}"


def _ids(count: int) -> bytes:
    return cbor.dumps({32800: {0: {11: dict.fromkeys(range(count), 1)}}})


def _pairs(count: int) -> bytes:
    return element(2, 10, element(1, 0, b"") * 2) * (count // 2) + element(3, 5, b"") * (count % 2)


def _wrappers(count: int) -> bytes:
    return element(0, 0, element(3, 5, b"")) * count


@pytest.mark.parametrize(
    ("content_format", "payload_of", "base"),
    [
        (110, _json_records, Path()),
        (112, _cbor_records, Path()),
        (11543, _entries, Path()),
        (11544, _ids, Path()),
        (11542, lambda count: element(3, 5, b"") * count, Path(32800, 0)),
        (11542, lambda count: element(2, 10, element(1, 0, b"") * count), Path(32800, 0)),
        (11542, _pairs, Path(32800, 0)),
        (11542, _wrappers, Path(32800)),
    ],
)
def test_a_payload_gives_a_bounded_number_of_reports(
    model: Model, content_format: int, payload_of: Callable[[int], bytes], base: Path
) -> None:
    assert len(decode(content_format, payload_of(MAX_REPORTS), base, model)) == MAX_REPORTS
    with pytest.raises(CodecError, match="more than 20000"):
        decode(content_format, payload_of(MAX_REPORTS + 1), base, model)


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_cbor_reader_takes_any_bytes(data: bytes) -> None:
    try:
        cbor.loads(data)
    except CodecError:
        return
