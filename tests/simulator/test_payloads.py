"""Payloads of a simulated device: OMA LwM2M Core 1.1 §7.4."""

from __future__ import annotations

import contextlib
import json
from random import Random

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.simulator import cbor
from appliance.simulator.payloads import (
    NEW,
    OPAQUE,
    SENML_CBOR,
    SENML_JSON,
    TEXT,
    TLV,
    FormatError,
    PayloadError,
    decode,
    encode,
)

TYPES = {
    1: "string", 2: "integer", 3: "unsigned", 4: "float", 5: "boolean",
    6: "opaque", 7: "time", 8: "objlnk", 9: "integer", 300: "integer",
}  # fmt: skip


def type_of(_object_id: int, resource_id: int) -> str:
    return TYPES.get(resource_id, "")


def test_tlv_lengths_and_identifiers() -> None:
    """§7.4.3: 8 and 16 bit identifiers, lengths inside the type byte, in one byte and in two."""
    assert encode(TLV, (5, 0, 2), 1, type_of) == b"\xc1\x02\x01"
    assert encode(TLV, (5, 0, 300), 1, type_of) == b"\xe1\x01\x2c\x01"
    assert encode(TLV, (5, 0, 1), "x" * 8, type_of) == b"\xc8\x01\x08" + b"x" * 8
    assert encode(TLV, (5, 0, 1), "x" * 256, type_of) == b"\xd0\x01\x01\x00" + b"x" * 256


@pytest.mark.parametrize(
    ("value", "octets"),
    [(0, "00"), (127, "7f"), (128, "0080"), (-128, "80"), (-129, "ff7f"), (1 << 31, "0000000080000000")],
)
def test_tlv_integers_take_one_two_four_or_eight_bytes(value: int, octets: str) -> None:
    raw = bytes.fromhex(octets)
    head = b"\xc8\x02\x08" if len(raw) == 8 else bytes([0xC0 | len(raw), 2])
    assert encode(TLV, (5, 0, 2), value, type_of) == head + raw


def test_tlv_floats_are_short_only_when_nothing_is_lost() -> None:
    assert len(encode(TLV, (5, 0, 4), 0.5, type_of)) == 2 + 4
    assert len(encode(TLV, (5, 0, 4), 0.1, type_of)) == 3 + 8


def test_tlv_of_a_create_with_and_without_instance() -> None:
    named = bytes.fromhex("0307c10205")
    assert decode(TLV, (5,), named, type_of) == [((5, 7, 2), 5)]
    assert decode(TLV, (5,), named[2:], type_of) == [((5, NEW, 2), 5)]
    assert decode(TLV, (5,), b"\x00\x07", type_of) == [((5, 7), {})]


def test_senml_names_are_resolved_against_the_base_name_that_holds() -> None:
    """RFC 8428 §4.1: a base name holds until the next one."""
    pack = [{"bn": "/5/0/", "n": "2", "v": 1}, {"n": "9/3", "v": 2}, {"bn": "/5/0/1", "vs": "x"}]
    expected = [((5, 0, 2), 1), ((5, 0, 9, 3), 2), ((5, 0, 1), "x")]
    assert decode(SENML_JSON, (5, 0), json.dumps(pack).encode(), type_of) == expected
    labels = {"bn": -2, "n": 0, "v": 2, "vs": 3}
    packed = cbor2.dumps([{labels[key]: item for key, item in record.items()} for record in pack])
    assert decode(SENML_CBOR, (5, 0), packed, type_of) == expected


VALUES = st.fixed_dictionaries(
    {
        1: st.text(max_size=300),
        2: st.integers(-(1 << 63), (1 << 63) - 1),
        3: st.integers(0, (1 << 64) - 1),
        4: st.floats(allow_nan=False, allow_infinity=False),
        5: st.booleans(),
        6: st.binary(max_size=300),
        7: st.integers(0, 1 << 40),
        8: st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda ids: f"{ids[0]}:{ids[1]}"),
        9: st.dictionaries(st.integers(0, 65534), st.integers(-9, 9), min_size=1, max_size=5),
    }
)


@given(VALUES, st.sampled_from([TLV, SENML_JSON, SENML_CBOR]))
def test_an_instance_is_read_back_as_it_was_written(values: dict, content_format: int) -> None:
    payload = encode(content_format, (5, 0), values, type_of)
    merged: dict = {}
    for path, node in decode(content_format, (5, 0), payload, type_of):
        if len(path) == 4:
            merged.setdefault(path[2], {})[path[3]] = node
        else:
            merged[path[2]] = node
    assert merged == values


@given(VALUES)
def test_single_values_survive_text(values: dict) -> None:
    for resource in range(1, 9):
        payload = encode(TEXT, (5, 0, resource), values[resource], type_of)
        assert decode(TEXT, (5, 0, resource), payload, type_of) == [((5, 0, resource), values[resource])]


@given(VALUES)
def test_cbor_is_what_another_implementation_makes_of_it(values: dict) -> None:
    assert cbor2.loads(cbor.encode([values])) == [values]
    assert cbor.decode(cbor2.dumps([values])) == [values]


def test_cbor_of_other_kinds_is_read() -> None:
    """RFC 8949: half floats, tags and indefinite lengths, as a server may send them."""
    assert cbor.decode(bytes.fromhex("9ff93c00ff")) == [1.0]
    assert cbor.decode(bytes.fromhex("c11a514b67b0")) == 1363896240
    assert cbor.decode(bytes.fromhex("bf61616162ff")) == {"a": "b"}
    assert cbor.decode(bytes.fromhex("7f616161622040"[:10] + "ff")) == "ab"


def test_any_bytes_are_leaves_or_one_of_two_errors() -> None:
    random = Random(7)
    seeds = [
        encode(number, (5, 0), {1: "a", 2: 7, 9: {0: 1}}, type_of) for number in (TLV, SENML_JSON, SENML_CBOR)
    ]
    for _ in range(20_000):
        raw = bytearray(random.choice(seeds))
        for _ in range(random.randint(1, 4)):
            raw[random.randrange(len(raw))] = random.randrange(256)
        for number in (TEXT, OPAQUE, TLV, SENML_JSON, SENML_CBOR):
            for path in ((5,), (5, 0), (5, 0, 2)):
                with contextlib.suppress(PayloadError, FormatError):
                    decode(number, path, bytes(raw), type_of)
