"""LwM2M CBOR, content format 11544, of LwM2M 1.2."""

from __future__ import annotations

import cbor2
import pytest

from appliance.lwm2m.codecs import CodecError, decode, decode_send, encode
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
        {3: {0: None}},
        {3: {0: {9: 1}}, (3, 0, 9): 1},
        {"": {3: {0: {9: 1}}}},
        {3: {"d01": {0: {9: 1}}}},
        {"d01": {"d02": {3: {0: {9: 1}}}}},
        {("d01", "d02", 3, 0, 9): 1},
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


def test_trap_30_a_key_that_is_given_twice_is_an_error(model) -> None:
    """To take one of the two values would lose the other without a word."""
    for payload in ("a103a200011801", "a203a100a1000103a100a10902", "bf03a100a1090103a100a1090203ff"):
        with pytest.raises(CodecError):
            decode(11544, bytes.fromhex(payload), Path(), model)
    with pytest.raises(CodecError, match="same key twice"):
        decode(11544, bytes.fromhex("a203a100a1090103a100a10902"), Path(), model)
    with pytest.raises(CodecError, match="same key twice"):
        decode(11544, bytes.fromhex("bf03a100a1090103a100a10902ff"), Path(), model)


def test_leniency_an_executable_resource_has_null(model) -> None:
    assert decode(11544, cbor2.dumps({3: {0: {4: None, 9: 95}}}), Path(3, 0), model) == REPORTS[3:]


def test_an_object_without_instances_is_an_empty_map(model) -> None:
    for payload in ("bfff", "a0", "a103a0", "bf03bfffff"):
        assert decode(11544, bytes.fromhex(payload), Path(3), model) == []


def test_values_of_every_type_and_width(model) -> None:
    """C 1.2.1 Table C-2: times as numbers or tagged, floats of any width, object links as text."""
    moment = 1363896240
    for time in ("1a514b67b0", "c11a514b67b0", "c074323031332d30332d32315432303a30343a30305a"):
        payload = bytes.fromhex(f"a1198020a100a106{time}")
        assert decode(11544, payload, Path(32800), model)[0] == Report(Path(32800, 0, 6), moment, None, True)
    for number in ("f94d60", "fa41ac0000", "fb4035800000000000"):
        assert decode(11544, bytes.fromhex(f"a1198020a100a103{number}"), Path(32800), model)[0].value == 21.5
    given = {32800: {0: {1: -(1 << 63), 2: (1 << 64) - 1, 7: "65535:65535", 5: b"\xff", 8: "</3/0>"}}}
    found = {report.path[2]: report.value for report in decode(11544, cbor2.dumps(given), Path(), model)}
    assert found == {1: -(1 << 63), 2: (1 << 64) - 1, 7: ObjectLink(65535, 65535), 5: b"\xff", 8: "</3/0>"}
    assert decode(11544, cbor2.dumps({32800: {0: {6: -5}}}), Path(), model)[0].value == -5


# Devices behind a gateway (LwM2M Gateway 1.1 §9)

BEHIND = [
    {("d01", 3, 0): {0: "Homard", 7: {0: 3800, 1: 5000}, 9: 95}},
    {"d01": NESTED},
    {("d01",): {(3, 0): {0: "Homard", (7, 0): 3800, (7, 1): 5000, 9: 95}}},
    {("d01", 3, 0, 0): "Homard", ("d01", 3, 0, 7, 0): 3800, ("d01", 3, 0, 7, 1): 5000, ("d01", 3, 0, 9): 95},
]


@pytest.mark.parametrize("document", BEHIND)
def test_trap_51_a_prefix_stands_first_in_the_keys(model, document: dict[object, object]) -> None:
    payload = cbor2.dumps(document)
    for root in ("/d01", "/lwm2m/d01"):
        assert decode(11544, payload, Path(3, 0), model, root) == REPORTS
    assert decode_send(11544, payload, {"d01": model}, model) == {"d01": REPORTS}
    for root in ("", "/d02", "/d01/x"):
        with pytest.raises(CodecError, match="another device"):
            decode(11544, payload, Path(3, 0), model, root)


def test_trap_51_a_send_mixes_the_gateway_and_its_devices(model) -> None:
    payload = cbor2.dumps({("d01", 3, 0): {9: 95}, 3: {0: {9: 95}}, "d02": {3: {0: {9: 95}}}})
    assert decode_send(11544, payload, {}, model) == dict.fromkeys(("d01", "", "d02"), REPORTS[3:])


def test_leniency_a_gateway_that_leaves_the_prefix_out_of_an_answer(model) -> None:
    assert decode(11544, cbor2.dumps(NESTED), Path(3, 0), model, "/d01") == REPORTS


def test_trap_51_a_write_has_the_prefix_and_not_the_alternate_path(model) -> None:
    payload = encode(11544, Path(3, 0), REPORTS, model, "/lwm2m/d01", prefix="/d01")
    assert cbor2.loads(payload) == {"d01": NESTED}
    assert decode(11544, payload, Path(3, 0), model, "/lwm2m/d01") == REPORTS
    assert cbor2.loads(encode(11544, Path(3, 0), REPORTS, model, "/lwm2m")) == NESTED
