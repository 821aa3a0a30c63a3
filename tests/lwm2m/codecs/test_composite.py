"""Composite operations and Send: many paths in one payload (OMA Core 1.1.1 §6.3.8, §6.4.5; RFC 8790)."""

from __future__ import annotations

import contextlib
import json
import random

import cbor2
import pytest

from appliance.lwm2m.codecs import CodecError, decode, decode_composite, decode_send, encode, encode_paths
from appliance.lwm2m.definitions import Definitions, Model
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report

MODEL = Model.of(Definitions.registered(), {1: "1.1", 3: "1.1", 3303: "1.1", 16: "1.0"})
PATHS = (Path(3, 0), Path(1, 0, 1), Path(3, 0, 11, 0))


def report(path: str, value: object) -> Report:
    return Report(Path.parse(path), value, None, True)  # type: ignore[arg-type]


@pytest.mark.parametrize("content_format", [110, 320])
def test_paths_in_json(content_format: int) -> None:
    assert json.loads(encode_paths(content_format, PATHS)) == [
        {"n": "/3/0"}, {"n": "/1/0/1"}, {"n": "/3/0/11/0"},
    ]  # fmt: skip


@pytest.mark.parametrize("content_format", [112, 322])
def test_paths_in_cbor(content_format: int) -> None:
    assert cbor2.loads(encode_paths(content_format, PATHS)) == [
        {0: "/3/0"}, {0: "/1/0/1"}, {0: "/3/0/11/0"},
    ]  # fmt: skip


def test_the_root_and_an_alternate_path() -> None:
    assert json.loads(encode_paths(110, [Path()])) == [{"n": "/"}]
    assert json.loads(encode_paths(110, [Path(), Path(3)], "/lwm2m")) == [{"n": "/lwm2m"}, {"n": "/lwm2m/3"}]


def test_other_formats_name_no_paths() -> None:
    for content_format in (0, 40, 42, 60, 11542, 11543, 11544, 9999):
        with pytest.raises(CodecError):
            encode_paths(content_format, PATHS)


def test_what_is_missing_is_no_error_and_what_was_not_asked_for_is_left_out() -> None:
    payload = b'[{"n":"/3/0/0","vs":"Homard"},{"n":"/1/0/1","v":300},{"n":"/4/0/0","v":1}]'
    assert decode_composite(110, payload, PATHS, MODEL) == [
        report("/3/0/0", "Homard"), report("/1/0/1", 300),
    ]  # fmt: skip
    assert decode_composite(110, b"", PATHS, MODEL) == []
    assert decode_composite(110, b"[]", PATHS, MODEL) == []


def test_a_composite_answer_without_content_format() -> None:
    for payload in (b'[{"n":"/1/0/1","v":300}]', cbor2.dumps([{0: "/1/0/1", 2: 300}])):
        assert decode_composite(None, payload, PATHS, MODEL) == [report("/1/0/1", 300)]


def test_leniency_a_composite_answer_that_calls_itself_etch() -> None:
    for content_format, payload in (
        (320, b'[{"bn":"/1/0/"},{"n":"1","v":300}]'),
        (322, cbor2.dumps([{-2: "/1/0/"}, {0: "1", 2: 300}])),
        (None, cbor2.dumps({(1, 0, 1): 300})),
    ):
        assert decode_composite(content_format, payload, PATHS, MODEL) == [report("/1/0/1", 300)]


def test_a_composite_answer_in_lwm2m_cbor() -> None:
    payload = cbor2.dumps({3: {0: {0: "Homard"}}, 1: {0: {1: 300}}})
    assert decode_composite(11544, payload, PATHS, MODEL) == [
        report("/3/0/0", "Homard"), report("/1/0/1", 300),
    ]  # fmt: skip


def test_a_write_composite_of_the_interoperability_tests() -> None:
    """ETS 1.1-int-257: /1/0/2, /1/0/6 and /3/0/13 in one SenML CBOR pack."""
    values = [report("/1/0/2", 10), report("/1/0/6", True), report("/3/0/13", 1591178055)]
    for content_format in (112, 322):
        pack = cbor2.loads(encode(content_format, Path(), values, MODEL))
        assert [record[0] for record in pack] == ["1/0/2", "1/0/6", "3/0/13"]
        assert pack[0][-2] == "/" and pack[0][2] == 10 and pack[1][4] is True and pack[2][2] == 1591178055
    assert cbor2.loads(encode(11544, Path(), values[:2], MODEL)) == {1: {0: {2: 10, 6: True}}}


def test_a_write_composite_below_an_alternate_path() -> None:
    pack = json.loads(
        encode(110, Path(), [report("/1/0/2", 10), report("/3303/0/5701", "C")], MODEL, "/lwm2m")
    )
    assert pack[0]["bn"] + pack[0]["n"] == "/lwm2m/1/0/2"
    assert pack[1]["n"] == "3303/0/5701"


@pytest.mark.parametrize("content_format", [320, 322])
def test_trap_30_null_takes_a_resource_instance_away(content_format: int) -> None:
    """RFC 8790 §3.2: in a patch null is a value; only so can a Write-Composite remove something."""
    values, removed = [report("/16/0/0/3", "a")], [Path(16, 0, 0, 1), Path(16, 0, 0, 2)]
    payload = encode(content_format, Path(), values, MODEL, "/lwm2m", removed=removed)
    loads = json.loads if content_format == 320 else cbor2.loads
    base, name, text, number = ("bn", "n", "vs", "v") if content_format == 320 else (-2, 0, 3, 2)
    assert loads(payload) == [
        {base: "/lwm2m/", name: "16/0/0/3", text: "a"},
        {name: "16/0/0/1", number: None},
        {name: "16/0/0/2", number: None},
    ]
    assert decode(content_format, payload, Path(), MODEL, "/lwm2m") == values
    alone = loads(encode(content_format, Path(), [], MODEL, removed=removed[:1]))
    assert alone == [{base: "/", name: "16/0/0/1", number: None}]


def test_only_etch_removes_and_only_resource_instances() -> None:
    for content_format in (110, 112, 11542, 11544):
        with pytest.raises(CodecError, match="use 320 or 322"):
            encode(content_format, Path(), [], MODEL, removed=[Path(16, 0, 0, 1)])
    with pytest.raises(CodecError, match="use 320 or 322"):
        encode(322, Path(16), [], MODEL, removed=[Path(16, 0, 0, 1)])
    for path in (Path(16), Path(16, 0), Path(16, 0, 0)):
        with pytest.raises(CodecError, match="only resource instances"):
            encode(322, Path(), [], MODEL, removed=[path])


def test_trap_30_a_record_of_etch_has_a_value_and_plain_senml_has_no_null() -> None:
    without = [{"n": "/3/0/9"}]
    assert decode(110, json.dumps(without).encode(), Path(), MODEL) == []
    for pack in (without, [{"bn": "/3/0/"}, {"n": "9", "v": 80}], [{"n": "/3", "v": None}], [{"v": None}]):
        with pytest.raises(CodecError, match="SenML-ETCH"):
            decode(320, json.dumps(pack).encode(), Path(), MODEL)
    with pytest.raises(CodecError, match="not a number"):
        decode(110, b'[{"n":"/16/0/0/1","v":null}]', Path(), MODEL)
    with pytest.raises(CodecError, match="more than one value"):
        decode(320, b'[{"n":"/16/0/0/1","v":null,"vs":"x"}]', Path(), MODEL)


def test_leniency_etch_with_fields_that_are_not_known() -> None:
    """RFC 8790 §5: such a field is no error; one that must be understood still is."""
    assert decode(320, b'[{"n":"/1/0/1","v":300,"x":1}]', Path(), MODEL) == [report("/1/0/1", 300)]
    with pytest.raises(CodecError, match="must be understood"):
        decode(320, b'[{"n":"/1/0/1","v":300,"x_":1}]', Path(), MODEL)


def test_trap_40_times_in_a_composite_answer() -> None:
    records = [
        {"bn": "/", "bt": 1700000000, "n": "3/0/9", "v": 80},
        {"n": "3303/0/5700", "v": 20.5, "t": -60},
        {"n": "3303/0/5700", "v": 21},
    ]
    labels: dict[str, int] = {"bn": -2, "bt": -3, "n": 0, "v": 2, "t": 6}
    packed = [{labels[key]: value for key, value in record.items()} for record in records]
    for content_format, payload in ((110, json.dumps(records).encode()), (112, cbor2.dumps(packed))):
        found = decode_composite(content_format, payload, [Path(3, 0), Path(3303)], MODEL, now=1.7e9)
        assert [(str(one.path), one.value, one.at) for one in found] == [
            ("/3/0/9", 80, 1700000000.0),
            ("/3303/0/5700", 20.5, 1699999940.0),
            ("/3303/0/5700", 21.0, 1700000000.0),
        ]


# Send


def test_the_version_of_senml_counts_in_a_send_too() -> None:
    with pytest.raises(CodecError, match="version"):
        decode_send(110, b'[{"bver":99,"n":"/3/0/9","v":80}]', {}, MODEL)


def test_trap_51_a_name_with_two_slashes_in_a_send_of_a_gateway() -> None:
    """LwM2M Gateway 1.1 §10 itself writes "/d01/3/0/" and "/9"."""
    found = decode_send(110, b'[{"bn":"/d01/3/0/","n":"/9","v":80}]', {}, MODEL)
    assert found == {"d01": [report("/3/0/9", 80)]}


def test_a_send_with_times_keeps_every_value() -> None:
    payload = json.dumps(
        [
            {"bn": "/3303/0/", "bt": 1700000000, "n": "5700", "v": 20.5},
            {"n": "5700", "v": 21, "t": 60},
            {"n": "5701", "vs": "Cel"},
        ]
    ).encode()
    found = decode_send(110, payload, {}, MODEL, now=1700000100.0)
    assert found == {
        "": [
            Report(Path(3303, 0, 5700), 20.5, 1700000000.0, True),
            Report(Path(3303, 0, 5700), 21.0, 1700000060.0, True),
            Report(Path(3303, 0, 5701), "Cel", 1700000000.0, True),
        ]
    }


def test_a_send_of_a_gateway_is_parted_by_prefix() -> None:
    records = [
        {"bn": "/d01/3303/0/", "n": "5700", "v": 20.5},
        {"n": "5701", "vs": "Cel"},
        {"bn": "/", "n": "3/0/9", "v": 80},
        {"bn": "", "n": "/d02/3/0/0", "vs": "x"},
        {"bn": "/nobody/3/0/", "n": "0", "vs": "y"},
    ]
    found = decode_send(110, json.dumps(records).encode(), {"d01": MODEL}, MODEL)
    assert {prefix: [str(one.path) for one in reports] for prefix, reports in found.items()} == {
        "d01": ["/3303/0/5700", "/3303/0/5701"],
        "": ["/3/0/9"],
        "d02": ["/3/0/0"],
        "nobody": ["/3/0/0"],
    }


def test_a_send_below_an_alternate_path() -> None:
    records = [{-2: "/lwm2m/d01/3/0/", 0: "9", 2: 80}, {-2: "/lwm2m/3/0/", 0: "9", 2: 81}]
    found = decode_send(112, cbor2.dumps(records), {"d01": MODEL}, MODEL, "/lwm2m")
    assert found == {"d01": [report("/3/0/9", 80)], "": [report("/3/0/9", 81)]}


def test_a_send_in_lwm2m_cbor() -> None:
    assert decode_send(11544, cbor2.dumps({(3, 0): {9: 80}}), {}, MODEL) == {"": [report("/3/0/9", 80)]}


def test_object_links_and_large_integers_survive_every_composite_format() -> None:
    values = [report("/16/0/0/3", "a"), report("/1/0/10", ObjectLink(11, 0)), report("/7/0/2", (1 << 63) - 1)]
    model = Model.of(Definitions.registered(), {1: "1.1", 7: "1.0", 16: "1.0"})
    for content_format in (110, 112, 320, 322):
        payload = encode(content_format, Path(), values, model)
        assert decode_composite(content_format, payload, [Path()], model) == values


@pytest.mark.parametrize(
    ("content_format", "payload"),
    [(110, b""), (110, b"{}"), (110, b"[1]"), (110, b'[{"n":5,"v":1}]'), (110, b'[{"n":"/x","v":1}]'),
     (0, b"1"), (None, b"[]"), (11542, b"\xc1\x00\x01"), (112, b"\xff"), (110, b'[{"n":"/3/0/9"}')],
)  # fmt: skip
def test_a_send_that_is_none(content_format: int | None, payload: bytes) -> None:
    with pytest.raises(CodecError):
        decode_send(content_format, payload, {}, MODEL)


@pytest.mark.parametrize("content_format", [110, 112, 11544])
def test_any_bytes_give_reports_or_one_error(content_format: int) -> None:
    chance = random.Random(content_format)
    record = {"bn": "/d01/3303/0/", "n": "5700", "v": 20.5, "bt": 5}
    labels = {"bn": -2, "n": 0, "v": 2, "bt": -3}
    seeds = {
        110: [json.dumps([record, {"n": "5701", "vs": "x"}]).encode()],
        112: [cbor2.dumps([{labels[key]: value for key, value in record.items()}, {0: "5701", 3: "x"}])],
        11544: [
            cbor2.dumps({3: {0: {9: 80}}, (3, 0, 0): "x"}),
            cbor2.dumps({"d01": {3: {0: {9: 80}}}, ("d02", 3, 0, 0): "x", (3, 0): {4: None}}),
        ],
    }[content_format]
    good = 0
    for _ in range(100_000):
        payload = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(4)):
            place = chance.randrange(len(payload))
            match chance.randrange(3):
                case 0:
                    payload[place] = chance.randrange(256)
                case 1:
                    del payload[place]
                case _:
                    payload[place:place] = payload[: chance.randrange(8)]
        try:
            decode_send(content_format, bytes(payload), {"d01": MODEL}, MODEL, "/lwm2m")
            good += 1
        except CodecError:
            pass
        with contextlib.suppress(CodecError):
            decode_composite(content_format, bytes(payload), PATHS, MODEL)
    assert good > 100
