"""LwM2M CBOR, content format 11544, of LwM2M 1.2."""

from __future__ import annotations

import cbor2
import pytest

from appliance.lwm2m.codecs import CodecError, decode, encode
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report

NESTED = {3: {0: {0: "Homard", 7: {0: 3800, 1: 5000}, 9: 95}}}
SAME = [
    NESTED,
    {(3, 0): {0: "Homard", 7: {0: 3800, 1: 5000}, 9: 95}},
    {(3, 0, 0): "Homard", (3, 0, 7): {0: 3800, 1: 5000}, (3, 0, 9): 95},
    {(3,): {(0, 0): "Homard", (0, 7, 0): 3800, (0, 7, 1): 5000, (0, 9): 95}},
]
REPORTS = [
    Report(Path(3, 0, 0), "Homard", None, True),
    Report(Path(3, 0, 7, 0), 3800, None, True),
    Report(Path(3, 0, 7, 1), 5000, None, True),
    Report(Path(3, 0, 9), 95, None, True),
]


@pytest.mark.parametrize("document", SAME)
def test_trap_30_nested_and_array_keys_and_mixed_depths(model, document: dict[object, object]) -> None:
    for base in (Path(), Path(3), Path(3, 0)):
        assert decode(11544, cbor2.dumps(document), base, model) == REPORTS


def test_trap_30_indefinite_maps(model) -> None:
    assert decode(11544, bytes.fromhex("bf03bf00bf09185fffffff"), Path(3), model) == [
        Report(Path(3, 0, 9), 95, None, True)
    ]


def test_trap_30_the_largest_id_is_an_id(model) -> None:
    report = Report(Path(32800, 65535, 1), 5, None, True)
    payload = encode(11544, Path(32800), [report], model)
    assert cbor2.loads(payload) == {32800: {65535: {1: 5}}}
    assert decode(11544, payload, Path(32800), model) == [report]


def test_writes_nested_maps(model) -> None:
    assert cbor2.loads(encode(11544, Path(3, 0), REPORTS, model)) == NESTED
    typed = [
        Report(Path(32800, 0, 6), 1700000000, None, True),
        Report(Path(32800, 0, 7), ObjectLink(3, 0), None, True),
        Report(Path(32800, 0, 5), b"\1", None, True),
    ]
    payload = encode(11544, Path(32800, 0), typed, model)
    assert payload.hex() == "a1198020a100a306c11a6553f1000763333a30054101"
    assert decode(11544, payload, Path(32800, 0), model) == typed


@pytest.mark.parametrize(
    "document",
    [
        [],
        1,
        {3: 1},
        {3: {0: 1}},
        {"3": {0: {9: 1}}},
        {3: {0: {9: {0: {0: 1}}}}},
        {(3, 0, 9, 0): {1: 1}},
        {70000: {0: {9: 1}}},
        {-1: {0: {9: 1}}},
        {3: {0: {9: [1]}}},
        {3: {0: {9: None}}},
        {4: {0: {9: 1}}},
        {True: {0: {9: 1}}},
    ],
)
def test_malformed_documents_are_one_error(model, document: object) -> None:
    with pytest.raises(CodecError):
        decode(11544, cbor2.dumps(document), Path(3), model)


def test_what_cannot_be_written_is_one_error(model) -> None:
    one, inner = Report(Path(3, 0, 7), 1, None, True), Report(Path(3, 0, 7, 0), 1, None, True)
    for reports in ([one, one], [one, inner], [inner, one], [Report(Path(32800, 0, 1), 1, None, True)]):
        with pytest.raises(CodecError):
            encode(11544, Path(3, 0), reports, model)
