"""OMA JSON, content format 11543 (LwM2M TS 1.0 §6.4.4)."""

from __future__ import annotations

import json

import pytest

from appliance.lwm2m.codecs import CodecError, decode, encode
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report


def test_device_object_of_the_specification(model) -> None:
    payload = b"""{"bn":"/3/0/","e":[
        {"n":"0","sv":"Open Mobile Alliance"},{"n":"2","sv":"345000123"},{"n":"6/0","v":1},{"n":"6/1","v":5},
        {"n":"9","v":100},{"n":"13","v":1367491215}]}"""
    for content_format in (11543, 1543):
        reports = decode(content_format, payload, Path(3, 0), model)
        assert [(str(r.path), r.value, r.modelled) for r in reports] == [
            ("/3/0/0", "Open Mobile Alliance", True),
            ("/3/0/2", "345000123", True),
            ("/3/0/6/0", 1, True),
            ("/3/0/6/1", 5, True),
            ("/3/0/9", 100, True),
            ("/3/0/13", 1367491215, True),
        ]
    assert json.loads(encode(11543, Path(3, 0), reports, model)) == json.loads(payload)


@pytest.mark.parametrize(
    ("base", "document"),
    [
        ("/3/0/9", {"e": [{"v": 5}]}),
        ("/3/0/9", {"e": [{"n": "", "v": 5}]}),
        ("/3/0/9", {"bn": "/3/0/9", "e": [{"v": 5}]}),
        ("/3/0/9", {"bn": "/3/0/", "e": [{"n": "9", "v": 5}]}),
        ("/3/0/9", {"bn": "/", "e": [{"n": "3/0/9", "v": 5}]}),
        ("/3/0", {"bn": "/3/0", "e": [{"n": "9", "v": 5}]}),
        ("/3/0", {"e": [{"n": "9", "v": 5}]}),
        ("/3", {"e": [{"n": "0/9", "v": 5}]}),
        ("/3", {"bn": "/3/", "e": [{"n": "/3/0/9".removeprefix("/3/"), "v": 5}]}),
        ("/3/0", {"bn": "/lwm2m/3/0/", "e": [{"n": "9", "v": 5}]}),
    ],
)
def test_names(model, base: str, document: object) -> None:
    payload = json.dumps(document).encode()
    assert decode(11543, payload, Path.parse(base), model, "/lwm2m") == [Report(Path(3, 0, 9), 5, None, True)]


def test_every_kind_of_value(model) -> None:
    entries = [
        {"n": "0", "sv": "x"},
        {"n": "1", "v": (1 << 63) - 1},
        {"n": "3", "v": 1.5},
        {"n": "4", "bv": True},
        {"n": "5", "sv": "+/8="},
        {"n": "6", "v": 1367491215},
        {"n": "7", "ov": "3:0"},
        {"n": "77", "sv": "AAEC"},
    ]
    payload = json.dumps({"bn": "/32800/0/", "e": entries}).encode()
    reports = decode(11543, payload, Path(32800, 0), model)
    assert [(r.value, r.modelled) for r in reports] == [
        ("x", True),
        ((1 << 63) - 1, True),
        (1.5, True),
        (True, True),
        (b"\xfb\xff", True),
        (1367491215, True),
        (ObjectLink(3, 0), True),
        ("AAEC", False),
    ]
    assert json.loads(encode(11543, Path(32800, 0), reports, model))["e"] == entries


def test_opaque_text_that_is_no_base64_is_kept(model) -> None:
    (report,) = decode(11543, b'{"e":[{"n":"/32800/0/5","sv":"@"}]}', Path(), model)
    assert (report.value, report.modelled) == ("@", False)


def test_trap_40_base_time_and_times(model) -> None:
    document = {"bn": "/3/0/9", "bt": 1700000000, "e": [{"v": 1, "t": -20}, {"v": 2}, {"v": 3, "t": 0.5}]}
    reports = decode(11543, json.dumps(document).encode(), Path(3, 0), model)
    assert [(r.value, r.at) for r in reports] == [(1, 1699999980.0), (2, 1700000000.0), (3, 1700000000.5)]
    document = {"bn": "/3/0/9", "e": [{"v": 1, "t": -20}, {"v": 2}]}
    assert [r.at for r in decode(11543, json.dumps(document).encode(), Path(3), model)] == [-20.0, None]
    payload = json.dumps(document).encode()
    assert [r.at for r in decode(11543, payload, Path(3), model, "", 1e9)] == [999999980.0, None]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"e":{}}',
        b'{"e":[1]}',
        b'{"bn":1,"e":[]}',
        b'{"bt":"x","e":[{"n":"/3/0/9","v":1}]}',
        b'{"e":[{"n":"/3/0/9"}]}',
        b'{"e":[{"n":"/3/0/9","v":1,"sv":"x"}]}',
        b'{"e":[{"n":"/3/0/9","v":"1"}]}',
        b'{"e":[{"n":"/3/0/9","v":true}]}',
        b'{"e":[{"n":"/3/0/9","bv":1}]}',
        b'{"e":[{"n":"/3/0/9","ov":"x"}]}',
        b'{"e":[{"n":9,"v":1}]}',
        b'{"e":[{"n":"/4/0/9","v":1}]}',
        b'{"e":[{"n":"/3/0/0","sv":"\\udfff"}]}',
    ],
)
def test_malformed_documents_are_one_error(model, payload: bytes) -> None:
    with pytest.raises(CodecError):
        decode(11543, payload, Path(3, 0, 9), model)


def test_a_document_without_entries_has_no_reports(model) -> None:
    assert decode(11543, b'{"bn":"/3/0/"}', Path(3, 0), model) == []
