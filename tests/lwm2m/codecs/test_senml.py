"""SenML records in JSON and CBOR (RFC 8428; LwM2M C §7.4.4). Each case runs in both formats."""

from __future__ import annotations

import json
from collections.abc import Callable

import cbor2
import pytest

from appliance.lwm2m.codecs import CodecError, decode, encode
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report

NUMBERS = {
    "bver": -1,
    "bn": -2,
    "bt": -3,
    "bu": -4,
    "bv": -5,
    "bs": -6,
    "n": 0,
    "u": 1,
    "v": 2,
    "vs": 3,
    "vb": 4,
    "s": 5,
    "t": 6,
    "ut": 7,
    "vd": 8,
}

Read = Callable[..., list[Report]]


@pytest.fixture(params=["json", "cbor", "cbor with text labels"])
def read(request, model) -> Read:
    def read(pack: object, base: str = "/", root: str = "", now: float | None = None) -> list[Report]:
        if request.param == "json":
            payload, number = json.dumps(pack).encode(), 110
        else:
            if request.param == "cbor" and isinstance(pack, list):
                pack = [
                    {NUMBERS.get(label, label): item for label, item in record.items()}
                    if isinstance(record, dict)
                    else record
                    for record in pack
                ]
            payload, number = cbor2.dumps(pack), 112
        return decode(number, payload, Path.parse(base), model, root, now)

    return read


def pairs(reports: list[Report]) -> list[tuple[str, object]]:
    return [(str(report.path), report.value) for report in reports]


def test_device_object_of_the_specification(read: Read) -> None:
    pack = [
        {"bn": "/3/0/", "n": "0", "vs": "Open Mobile Alliance"},
        {"n": "1", "vs": "Lightweight M2M Client"},
        {"n": "6/0", "v": 1},
        {"n": "6/1", "v": 5},
        {"n": "9", "v": 100},
        {"n": "13", "v": 1367491215},
        {"n": "16", "vs": "U"},
    ]
    for base in ("/3/0", "/3", "/"):
        assert pairs(read(pack, base)) == [
            ("/3/0/0", "Open Mobile Alliance"),
            ("/3/0/1", "Lightweight M2M Client"),
            ("/3/0/6/0", 1),
            ("/3/0/6/1", 5),
            ("/3/0/9", 100),
            ("/3/0/13", 1367491215),
            ("/3/0/16", "U"),
        ]


def test_base_name_is_sticky_and_replaced(read: Read) -> None:
    pack = [{"bn": "/3/0/", "n": "9", "v": 1}, {"n": "10", "v": 2}, {"bn": "/32800/1/", "n": "1", "v": 3},
            {"n": "2", "v": 4}]  # fmt: skip
    assert pairs(read(pack)) == [("/3/0/9", 1), ("/3/0/10", 2), ("/32800/1/1", 3), ("/32800/1/2", 4)]


def test_base_record_without_a_value(read: Read) -> None:
    assert pairs(read([{"bn": "/3/0/"}, {"n": "9", "v": 1}])) == [("/3/0/9", 1)]
    assert read([{"bn": "/3/0/"}]) == []
    assert read([]) == []


def test_base_time_is_sticky(read: Read) -> None:
    pack = [{"bn": "/32800/0/", "bt": 1700000000, "n": "3", "v": 1}, {"n": "3", "v": 2, "t": 10},
            {"n": "3", "v": 3, "t": -10.5}, {"bt": 1800000000, "n": "3", "v": 4}]  # fmt: skip
    assert [report.at for report in read(pack)] == [1700000000, 1700000010, 1699999989.5, 1800000000]


def test_base_value_is_sticky_and_adds_to_numbers_only(read: Read) -> None:
    pack = [
        {"bn": "/32800/0/", "bv": 20, "n": "1", "v": 1},
        {"n": "1", "v": -1},
        {"n": "0", "vs": "x"},
        {"n": "2"},
        {"bv": 0, "n": "1", "v": 7},
    ]
    assert pairs(read(pack)) == [
        ("/32800/0/1", 21), ("/32800/0/1", 19), ("/32800/0/0", "x"), ("/32800/0/2", 20), ("/32800/0/1", 7)
    ]  # fmt: skip


def test_units_and_sums_change_nothing(read: Read) -> None:
    pack = [
        {"bn": "/32800/0/", "bu": "Cel", "bs": 3, "bver": 10, "n": "3", "u": "K", "v": 1.5, "ut": 60, "s": 4},
        {"n": "3", "v": 2.5},
    ]
    assert pairs(read(pack)) == [("/32800/0/3", 1.5), ("/32800/0/3", 2.5)]


def test_unknown_fields_are_ignored_unless_they_must_be_understood(read: Read) -> None:
    assert pairs(read([{"n": "/3/0/9", "v": 1, "x": {"deep": [1]}}])) == [("/3/0/9", 1)]
    with pytest.raises(CodecError, match="understood"):
        read([{"n": "/3/0/9", "v": 1, "x_": 1}])
    with pytest.raises(CodecError, match="version"):
        read([{"bver": 11, "n": "/3/0/9", "v": 1}])


@pytest.mark.parametrize(
    ("base", "record"),
    [
        ("/3/0/9", {"n": "/3/0/9"}),
        ("/3/0/9", {"bn": "/3/0/9"}),
        ("/3/0/9", {"bn": "/3/0/", "n": "9"}),
        ("/3/0/9", {"bn": "/3/0", "n": "/9"}),
        ("/3/0/9", {}),
        ("/3/0/9", {"n": ""}),
        ("/3/0/9", {"bn": "/", "n": "3/0/9"}),
        ("/3/0/9", {"bn": "/", "n": "/3/0/9"}),
        ("/3/0/9", {"n": "3/0/9"}),
        ("/3/0/9", {"bn": "3/0/", "n": "9"}),
        ("/3/0", {"n": "9"}),
        ("/3", {"n": "0/9"}),
        ("/3/0", {"bn": "/3/0", "n": "9"}),
        ("/3", {"bn": "/3", "n": "0/9"}),
        ("/3/0", {"n": "/3/0/9/"}),
        ("/3/0", {"bn": "/3/0/9/"}),
        ("/", {"n": "3/0/9"}),
    ],
)
def test_trap_29_names(read: Read, base: str, record: dict[str, object]) -> None:
    assert pairs(read([record | {"v": 5}], base)) == [("/3/0/9", 5)]


def test_trap_29_ids_of_several_digits(read: Read) -> None:
    pack = [{"bn": "/32800/65534/", "n": "10/12345", "vs": "a"}]
    assert pairs(read(pack)) == [("/32800/65534/10/12345", "a")]


@pytest.mark.parametrize(
    "name",
    [
        "/3",
        "/3/0",
        "/3/0/9/0/1",
        "/3/0/x",
        "/3/0/-1",
        "/3/0/65536",
        "/3/0/09",
        "/4/0/9",
        "/3/0/９",
        "urn:x/3/0/9",
        "/3/0/9 ",
        "/" * 10,
        "9" * 300,
    ],
)
def test_names_that_are_no_resource_in_the_base(read: Read, name: str) -> None:
    with pytest.raises(CodecError):
        read([{"n": name, "v": 5}], "/3/0")


def test_alternate_path_is_taken_off_and_put_on(read: Read, model) -> None:
    for root in ("/lwm2m", "lwm2m", "/lwm2m/"):
        for record in (
            {"n": "/lwm2m/3/0/9"},
            {"bn": "/lwm2m/3/0/", "n": "9"},
            {"n": "/3/0/9"},
            {"bn": "/lwm2m", "n": "/3/0/9"},
            {"bn": "lwm2m/", "n": "3/0/9"},
        ):
            assert pairs(read([record | {"v": 5}], "/3/0", root)) == [("/3/0/9", 5)]
    report = Report(Path(3, 0, 9), 5, None, True)
    assert encode(110, Path(3, 0), [report], model, "/lwm2m") == b'[{"bn":"/lwm2m/3/0/","n":"9","v":5}]'
    assert decode(112, encode(112, Path(3, 0), [report], model, "lwm2m"), Path(3, 0), model, "/lwm2m") == [
        report
    ]
    with pytest.raises(CodecError):
        read([{"n": "/lwm2m/3/0/9", "v": 5}], "/3/0")


def test_a_prefix_with_a_digit_is_a_prefix(read: Read) -> None:
    assert pairs(read([{"n": "/d01/3/0/9", "v": 5}], "/3/0", "/d01")) == [("/3/0/9", 5)]


@pytest.mark.parametrize(
    "number", [(1 << 53) + 1, (1 << 63) - 1, -(1 << 63), 9007199254740993, 1234567890123456789]
)
def test_trap_28_integers_of_64_bits_lose_nothing(read: Read, number: int) -> None:
    assert read([{"n": "/32800/0/1", "v": number}]) == [Report(Path(32800, 0, 1), number, None, True)]
    assert pairs(read([{"n": "/32800/0/1", "bv": 1, "v": number - 1}])) == [("/32800/0/1", number)]


def test_trap_28_unsigned_and_beyond(read: Read) -> None:
    top = (1 << 64) - 1
    assert read([{"n": "/32800/0/2", "v": top}]) == [Report(Path(32800, 0, 2), top, None, True)]
    assert read([{"n": "/32800/0/1", "v": top}]) == [Report(Path(32800, 0, 1), top, None, False)]
    assert read([{"n": "/32800/0/2", "v": -1}]) == [Report(Path(32800, 0, 2), -1, None, False)]


def test_trap_28_json_integers_in_other_spellings(model) -> None:
    for text, value in (
        ("9007199254740993.0", 9007199254740993), ("9.007199254740993e15", 9007199254740993),
        ("1e3", 1000), ("18446744073709551615.0", (1 << 64) - 1), ("-0.0", 0),
    ):  # fmt: skip
        payload = f'[{{"n":"/32800/0/2","v":{text}}}]'.encode()
        (report,) = decode(110, payload, Path(), model)
        assert report.value == value and type(report.value) is int
    for text, kept in (
        ("1e400", "Infinity"),
        ("-1e400", "-Infinity"),
        ("NaN", "NaN"),
        ("1" * 400, "Infinity"),
    ):
        (report,) = decode(110, f'[{{"n":"/32800/0/3","v":{text}}}]'.encode(), Path(), model)
        assert (report.value, report.modelled) == (kept, False)
    with pytest.raises(CodecError):
        decode(110, b'[{"n":"/32800/0/3","v":' + b"1" * 5000 + b"}]", Path(), model)


def test_conversions_that_lose_nothing(read: Read) -> None:
    pack = [
        {"bn": "/32800/0/", "n": "1", "v": 21.0},
        {"n": "1", "v": 21.5},
        {"n": "3", "v": 21},
        {"n": "4", "v": 1},
        {"n": "4", "v": 2},
        {"n": "6", "v": 1.5},
        {"n": "7", "vs": "3:0"},
        {"n": "0", "v": 1},
        {"n": "5", "vs": "x"},
        {"n": "9", "vb": True},
        {"n": "77", "v": 1},
    ]
    assert [(r.value, type(r.value), r.modelled) for r in read(pack)] == [
        (21, int, True),
        (21.5, float, False),
        (21.0, float, True),
        (True, bool, True),
        (2, int, False),
        (1.5, float, True),
        (ObjectLink(3, 0), ObjectLink, True),
        (1, int, False),
        ("x", str, False),
        (True, bool, False),
        (1, int, False),
    ]


def test_object_links_are_text_under_a_text_label_in_cbor_too(read: Read, model) -> None:
    assert read([{"n": "/32800/0/7", "vlo": "66:1"}]) == [
        Report(Path(32800, 0, 7), ObjectLink(66, 1), None, True)
    ]
    payload = encode(
        112, Path(32800, 0, 7), [Report(Path(32800, 0, 7), ObjectLink(66, 1), None, True)], model
    )
    assert cbor2.loads(payload) == [{-2: "/32800/0/", 0: "7", "vlo": "66:1"}]
    for wrong in ("66", "66:65536", "a:b", "1:2:3", "", 5, None):
        with pytest.raises(CodecError):
            read([{"n": "/32800/0/7", "vlo": wrong}])


def test_opaque_values_in_json_are_base64_of_every_kind(model) -> None:
    for text in ("-_8", "-_8=", "+/8", "+/8="):
        payload = json.dumps([{"n": "/32800/0/5", "vd": text}]).encode()
        assert decode(110, payload, Path(), model)[0].value == b"\xfb\xff"
    for text in ("A", "A===A", "@@@@", "é"):
        with pytest.raises(CodecError):
            decode(110, json.dumps([{"n": "/32800/0/5", "vd": text}]).encode(), Path(), model)
    report = Report(Path(32800, 0, 5), b"\xfb\xff", None, True)
    assert encode(110, Path(32800, 0, 5), [report], model) == b'[{"bn":"/32800/0/","n":"5","vd":"-_8"}]'
    assert cbor2.loads(encode(112, Path(32800, 0, 5), [report], model)) == [
        {-2: "/32800/0/", 0: "5", 8: b"\xfb\xff"}
    ]


def test_trap_40_several_times_are_all_kept_in_order(read: Read) -> None:
    pack = [{"bn": "/32800/0/3", "bt": 1700000000, "v": 1.0, "t": -20}, {"v": 2.0, "t": -10}, {"v": 3.0},
            {"bn": "/32800/0/", "n": "1", "v": 4}]  # fmt: skip
    assert read(pack, "/32800/0") == [
        Report(Path(32800, 0, 3), 1.0, 1699999980.0, True),
        Report(Path(32800, 0, 3), 2.0, 1699999990.0, True),
        Report(Path(32800, 0, 3), 3.0, 1700000000.0, True),
        Report(Path(32800, 0, 1), 4, 1700000000.0, True),
    ]


def test_trap_40_mixed_timed_and_untimed_records(read: Read) -> None:
    pack = [{"n": "/32800/0/3", "v": 1.5, "t": 1700000000}, {"n": "/32800/0/3", "v": 2.5}]
    assert [report.at for report in read(pack)] == [1700000000.0, None]


def test_trap_40_small_times_are_relative_to_now(read: Read) -> None:
    pack = [{"n": "/32800/0/3", "v": 1.5, "t": -30}, {"n": "/32800/0/3", "v": 1.5, "t": (1 << 28) - 1},
            {"n": "/32800/0/3", "v": 1.5, "t": 1 << 28}, {"n": "/32800/0/3", "v": 1.5, "t": 0}]  # fmt: skip
    assert [r.at for r in read(pack)] == [-30.0, (1 << 28) - 1, 1 << 28, None]
    assert [r.at for r in read(pack, now=1700000000.0)] == [
        1699999970.0,
        1700000000 + (1 << 28) - 1,
        1 << 28,
        None,
    ]


def test_trap_40_base_time_and_time_are_added_before_they_are_judged(read: Read) -> None:
    assert [r.at for r in read([{"bn": "/32800/0/3", "bt": 268435455, "t": 1, "v": 1}])] == [268435456.0]


def test_times_beyond_the_calendar_are_refused(read: Read) -> None:
    for time in (1700000000000, 1e300, -1e300, 10**18):
        with pytest.raises(CodecError):
            read([{"n": "/32800/0/3", "v": 1.5, "t": time}])


@pytest.mark.parametrize(
    "pack",
    [
        {}, 1, "text", None, [1], [[]], [None],
        [{"n": 1, "v": 1}], [{"bn": None, "n": "/3/0/9", "v": 1}], [{"n": "/3/0/9", "v": "1"}],
        [{"n": "/3/0/9", "v": True}], [{"n": "/3/0/9", "v": None}], [{"n": "/3/0/9", "vb": 1}],
        [{"n": "/3/0/9", "vs": 1}], [{"n": "/3/0/9", "vd": 1}], [{"n": "/3/0/9", "v": 1, "vs": "x"}],
        [{"n": "/3/0/9", "v": 1, "t": "now"}], [{"bt": True, "n": "/3/0/9", "v": 1}],
        [{"bv": "1", "n": "/3/0/9", "v": 1}], [{"bver": "10", "n": "/3/0/9", "v": 1}],
    ],
)  # fmt: skip
def test_malformed_packs_are_one_error(read: Read, pack: object) -> None:
    with pytest.raises(CodecError):
        read(pack)


def test_long_base_name_does_not_multiply(model) -> None:
    """Work stays linear: a long base name under many records is refused, not copied for each."""
    pack = [{"bn": "/" * 100000, "n": "3/0/9", "v": 1}] + [{"n": "3/0/9", "v": 1}] * 10000
    with pytest.raises(CodecError, match="too long"):
        decode(110, json.dumps(pack).encode(), Path(), model)


def test_json_that_is_none(model) -> None:
    for payload in (
        b"",
        b"[",
        b"[{]",
        b"\xff\xfe[\0]\0",
        b"[" * 100000,
        b'{"a":' * 100000,
        b'[{"n":"/3/0/9","vs":"\\ud800"}]',
        b"\xef\xbb\xbf[]",
    ):
        with pytest.raises(CodecError):
            decode(110, payload, Path(3, 0, 9), model)


def test_surrogate_pairs_and_other_text(model) -> None:
    (report,) = decode(110, '[{"n":"/3/0/0","vs":"\\ud83d\\ude00 ü"}]'.encode(), Path(), model)
    assert report.value == "😀 ü"


@pytest.mark.parametrize(
    ("base", "paths", "written"),
    [
        ("/3/0/9", ["/3/0/9"], '[{"bn":"/3/0/","n":"9","v":5}]'),
        ("/3/0/6", ["/3/0/6/0", "/3/0/6/3"], '[{"bn":"/3/0/6/","n":"0","v":5},{"n":"3","v":5}]'),
        ("/3/0/6/3", ["/3/0/6/3"], '[{"bn":"/3/0/6/","n":"3","v":5}]'),
        ("/3/0", ["/3/0/9", "/3/0/6/1"], '[{"bn":"/3/0/","n":"9","v":5},{"n":"6/1","v":5}]'),
        ("/3", ["/3/0/9"], '[{"bn":"/3/","n":"0/9","v":5}]'),
        ("/", ["/3/0/9", "/32800/0/1"], '[{"bn":"/","n":"3/0/9","v":5},{"n":"32800/0/1","v":5}]'),
        ("/3/0/6", [], '[{"bn":"/3/0/6/"}]'),
        ("/3/0", [], '[{"bn":"/3/0/"}]'),
    ],
)  # fmt: skip
def test_writes_a_base_name_and_a_name_for_every_record(
    model, base: str, paths: list[str], written: str
) -> None:
    reports = [Report(Path.parse(path), 5, None, True) for path in paths]
    assert encode(110, Path.parse(base), reports, model).decode() == written
    assert decode(110, written.encode(), Path.parse(base), model) == reports
    assert decode(112, encode(112, Path.parse(base), reports, model), Path.parse(base), model) == reports


def test_times_are_written(model) -> None:
    report = Report(Path(3, 0, 9), 5, 1700000000.0, True)
    assert encode(110, Path(3, 0, 9), [report], model) == b'[{"bn":"/3/0/","n":"9","v":5,"t":1700000000}]'


def test_ets_257_write_composite(model) -> None:
    """Resources of two objects in one pack, the base name ``/``."""
    reports = [Report(Path(1, 0, 2), 101, None, False), Report(Path(3, 0, 13), 1577836800, None, True)]
    assert (
        encode(110, Path(), reports, model)
        == b'[{"bn":"/","n":"1/0/2","v":101},{"n":"3/0/13","v":1577836800}]'
    )


def test_what_cannot_be_written_is_one_error(model) -> None:
    for base, report in (
        (Path(3, 0), Report(Path(32800, 0, 1), 1, None, True)),
        (Path(3), Report(Path(3, 0), 1, None, False)),
        (Path(3, 0), Report(Path(3, 0, 9), "x", None, True)),
        (Path(3, 0), Report(Path(3, 0, 0), "\ud800", None, True)),
        (Path(3, 0), Report(Path(3, 0, 77), float("nan"), None, False)),
    ):
        for number in (110, 112, 11543):
            with pytest.raises(CodecError):
                encode(number, base, [report], model)
