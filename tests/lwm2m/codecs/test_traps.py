"""What LwM2M servers most often get wrong with payloads, one test for each trap.

Number formats and widths (28), names (29) and times (40) are proved in the tests of their format
as well; here each trap stands once under its own name.
"""

from __future__ import annotations

import json

import cbor2
import pytest

from appliance.lwm2m.codecs import CodecError, decode, encode
from appliance.lwm2m.codecs.tlv import element
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, Value

FLOAT = Path(32800, 0, 3)


def test_trap_23_the_same_values_in_every_format(model) -> None:
    """No format is common to all devices: the server reads and writes each."""
    reports = [
        Report(Path(32800, 0, 0), "Grüße", None, True),
        Report(Path(32800, 0, 1), -5, None, True),
        Report(Path(32800, 0, 3), 21.5, None, True),
        Report(Path(32800, 0, 4), True, None, True),
        Report(Path(32800, 0, 5), b"\0\xff", None, True),
        Report(Path(32800, 0, 6), 1700000000, None, True),
        Report(Path(32800, 0, 7), ObjectLink(3, 0), None, True),
        Report(Path(32800, 0, 10, 0), "a", None, True),
        Report(Path(32800, 0, 10, 9), "b", None, True),
    ]
    for content_format in (110, 112, 11542, 11543, 11544):
        payload = encode(content_format, Path(32800, 0), reports, model)
        assert decode(content_format, payload, Path(32800, 0), model) == reports
    for content_format in (0, 60):
        for report in reports:
            payload = encode(content_format, report.path, [report], model)
            assert decode(content_format, payload, report.path, model) == [report]


def test_trap_23_formats_that_are_none_are_an_error(model) -> None:
    for content_format in (50, 41, 47, 65000, -1):
        with pytest.raises(CodecError):
            decode(content_format, b"1", FLOAT, model)
        with pytest.raises(CodecError):
            encode(content_format, FLOAT, [Report(FLOAT, 1.5, None, True)], model)


def test_trap_24_answers_without_a_content_format(model) -> None:
    report = [Report(FLOAT, 21.5, None, True)]
    for content_format in (0, 60, 110, 112, 11542, 11543):
        payload = encode(content_format, FLOAT, report, model)
        assert decode(None, payload, FLOAT, model) == report, content_format
    for content_format in (110, 112, 11542, 11543):
        for base in (Path(32800, 0), Path(32800)):
            payload = encode(content_format, base, report, model)
            assert decode(None, payload, base, model) == report, (content_format, base)
    payload = encode(11544, Path(32800), report, model)
    assert decode(None, payload, Path(32800), model) == report


def test_trap_24_without_a_content_format_text_stays_text(model) -> None:
    string, opaque = Path(32800, 0, 0), Path(32800, 0, 5)
    for text in ("Ab1", "A", "", "[1]", "{}", "1", "0a", "é", "[{", "\x01\x02"):
        assert decode(None, text.encode(), string, model) == [Report(string, text, None, True)]
    for raw in (b"", b"\x01", b"Ab1", b"[1]", b"\xff\xfe", b"\xc0"):
        assert decode(None, raw, opaque, model) == [Report(opaque, raw, None, True)]
    unknown = Path(4242, 0, 1)
    assert decode(None, b"abc", unknown, model) == [Report(unknown, "abc", None, False)]
    assert decode(None, b"\xff", unknown, model) == [Report(unknown, b"\xff", None, False)]


def test_trap_24_an_empty_answer_is_an_object_without_instances(model) -> None:
    for content_format in (None, 0, 42, 60, 110, 112, 11542, 11543, 11544):
        for base in (Path(3), Path(3, 0)):
            assert decode(content_format, b"", base, model) == []
    assert decode(None, b"", FLOAT, model) == []
    assert decode(11542, b"", Path(32800, 0, 10), model) == []


def test_trap_24_nonsense_without_a_content_format_is_an_error(model) -> None:
    for payload in (b"hello", b"\xff\xff", b"[", b"{", b"\x81", b"\xa1"):
        with pytest.raises(CodecError):
            decode(None, payload, Path(3, 0), model)


def test_trap_25_instance_wrapper_present_or_absent(model) -> None:
    resource = element(3, 0, b"A")
    wrapped = element(0, 0, resource)
    report = [Report(Path(32800, 0, 0), "A", None, True)]
    assert decode(11542, wrapped, Path(32800), model) == report
    for payload in (resource, wrapped):
        assert decode(11542, payload, Path(32800, 0), model) == report
        assert decode(11542, payload, Path(32800, 0, 0), model) == report


def test_trap_25_single_instance_object_without_wrapper(model) -> None:
    payload = element(3, 0, b"A")
    assert decode(11542, payload, Path(32801), model) == [Report(Path(32801, 0, 0), "A", None, True)]
    assert decode(11542, payload, Path(4242), model) == [Report(Path(4242, 0, 0), b"A", None, False)]
    with pytest.raises(CodecError):
        decode(11542, payload, Path(32800), model)  # which of its instances?


def test_trap_25_an_instance_is_written_unwrapped(model) -> None:
    assert (
        encode(11542, Path(32800, 5), [Report(Path(32800, 5, 0), "A", None, True)], model).hex() == "c10041"
    )


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_trap_26_multiple_resource_with_any_number_of_instances(model, count: int) -> None:
    path = Path(32800, 0, 10)
    instances = b"".join(element(1, number, b"x") for number in range(count))
    payload = element(2, 10, instances)
    reports = [Report(path.child(number), "x", None, True) for number in range(count)]
    for wrapped in (payload, element(0, 0, payload)):
        assert decode(11542, wrapped, Path(32800, 0), model) == reports
        assert decode(11542, wrapped, path, model) == reports
    assert encode(11542, path, reports, model) == payload
    assert decode(11542, instances, path, model) == reports  # without the resource around them


def test_trap_26_a_multiple_resource_as_one_value(model) -> None:
    payload = element(3, 10, b"x")
    assert decode(11542, payload, Path(32800, 0), model) == [Report(Path(32800, 0, 10), "x", None, True)]


def test_trap_26_one_resource_instance_in_every_wrapping(model) -> None:
    path = Path(32800, 0, 10, 7)
    bare = element(1, 7, b"x")
    for payload in (bare, element(2, 10, bare), element(0, 0, element(2, 10, bare)), element(3, 10, b"x")):
        assert decode(11542, payload, path, model) == [Report(path, "x", None, True)]
    assert encode(11542, path, [Report(path, "x", None, True)], model) == bare


def test_trap_27_single_values_and_instance_writes(model) -> None:
    """Opaque as base64 in text, links ``oid:iid``, booleans 0/1, whole times; instances never as text."""
    cases: list[tuple[int, Value, bytes]] = [
        (5, b"\xff", b"/w=="),
        (7, ObjectLink(3, 0), b"3:0"),
        (4, True, b"1"),
        (6, 1700000000, b"1700000000"),
    ]
    for resource, value, text in cases:
        path = Path(32800, 0, resource)
        assert encode(0, path, [Report(path, value, None, True)], model) == text
    for content_format in (0, 42, 60):
        with pytest.raises(CodecError):
            encode(content_format, Path(32800, 0), [Report(Path(32800, 0, 0), "A", None, True)], model)


def test_trap_28_cbor_half_floats_tagged_times_and_indefinite_lengths(model) -> None:
    half = bytes.fromhex("9fbf61 6e".replace(" ", "")) + b"\x6a/32800/0/3" + bytes.fromhex("6176f94d60ffff")
    assert decode(112, half, FLOAT, model) == [Report(FLOAT, 21.5, None, True)]
    time = Path(32800, 0, 6)
    for tagged in (cbor2.CBORTag(1, 1700000000), cbor2.CBORTag(0, "2023-11-14T22:13:20Z"), 1700000000):
        assert decode(60, cbor2.dumps(tagged), time, model) == [Report(time, 1700000000, None, True)]
        payload = cbor2.dumps([{0: "/32800/0/6", 2: tagged}])
        assert decode(112, payload, time, model) == [Report(time, 1700000000, None, True)]
    chunks = bytes.fromhex("5f4101420203ff")
    opaque = Path(32800, 0, 5)
    assert decode(60, chunks, opaque, model) == [Report(opaque, b"\1\2\3", None, True)]
    fraction = cbor2.dumps([{0: "/32800/0/3", 2: cbor2.CBORTag(4, [-1, 215])}])
    assert decode(112, fraction, FLOAT, model) == [Report(FLOAT, 21.5, None, True)]


def test_trap_29_base_name_slash_and_bare_paths(model) -> None:
    for record in ({"bn": "/", "n": "32800/0/3"}, {"bn": "/32800/0/3"}, {"n": "32800/0/3"}, {}):
        pack = [record | {"v": 21.5}]
        assert decode(110, json.dumps(pack).encode(), FLOAT, model) == [Report(FLOAT, 21.5, None, True)]


def test_trap_29_opaque_and_object_links(model) -> None:
    payload = cbor2.dumps([{-2: "/32800/0/", 0: "7", "vlo": "3:0"}, {0: "5", 8: b"\xff"}])
    assert [report.value for report in decode(112, payload, Path(32800, 0), model)] == [
        ObjectLink(3, 0),
        b"\xff",
    ]
    payload = b'[{"bn":"/32800/0/","n":"5","vd":"_w"},{"n":"5","vd":"_w=="},{"n":"5","vd":"/w=="}]'
    assert [report.value for report in decode(110, payload, Path(32800, 0), model)] == [b"\xff"] * 3


def test_trap_30_etch_forms_are_read_like_senml(model) -> None:
    report = [Report(FLOAT, 21.5, None, True)]
    assert decode(320, encode(110, FLOAT, report, model), FLOAT, model) == report
    assert decode(322, encode(112, FLOAT, report, model), FLOAT, model) == report


def test_trap_40_a_snapshot_of_an_instance_at_several_times(model) -> None:
    """Stored notifications: each value keeps its own time, in the order it was sent."""
    pack = [
        {"bn": "/32800/0/", "bt": 1700000000, "n": "3", "v": 1.5, "t": -60},
        {"n": "1", "v": 10, "t": -60},
        {"n": "3", "v": 2.5},
        {"n": "1", "v": 20},
    ]
    reports = decode(110, json.dumps(pack).encode(), Path(32800, 0), model)
    assert [(r.path[2], r.value, r.at) for r in reports] == [
        (3, 1.5, 1699999940.0),
        (1, 10, 1699999940.0),
        (3, 2.5, 1700000000.0),
        (1, 20, 1700000000.0),
    ]


def test_old_content_formats_of_early_devices(model) -> None:
    string = Path(32800, 0, 0)
    assert decode(1541, b"A", string, model)[0].value == "A"
    assert decode(1542, element(3, 0, b"A"), string, model)[0].value == "A"
    assert decode(1543, b'{"e":[{"n":"/32800/0/0","sv":"A"}]}', string, model)[0].value == "A"
    assert decode(1544, b"A", Path(32800, 0, 5), model)[0].value == b"A"


def test_leniency_the_null_link_in_hexadecimal(model) -> None:
    """C 1.2.1 §7.5.6 writes it so once; everywhere else it is 65535:65535."""
    link = Path(32800, 0, 7)
    for text in ("FFFF:FFFF", "ffff:ffff"):
        assert decode(0, text.encode(), link, model)[0].value == ObjectLink(65535, 65535)
        pack = json.dumps([{"n": str(link), "vlo": text}]).encode()
        assert decode(110, pack, link, model)[0].value == ObjectLink(65535, 65535)
    assert decode(0, b"FFFE:FFFF", link, model)[0].modelled is False
