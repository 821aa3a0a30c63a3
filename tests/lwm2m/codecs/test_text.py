"""Plain text, opaque and link format for one value (LwM2M C §7.4.1, §7.4.2, Appendix C)."""

from __future__ import annotations

import pytest

from appliance.lwm2m.codecs import CodecError, decode, encode
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, Value

STRING, INTEGER, UNSIGNED, FLOAT, BOOLEAN, OPAQUE, TIME, OBJLNK, CORELNK, NONE = range(10)

READ = [
    (STRING, "", ""),
    (STRING, " Grüße\n", " Grüße\n"),
    (INTEGER, "-42", -42),
    (INTEGER, "+42", 42),
    (INTEGER, "9223372036854775807", 9223372036854775807),
    (INTEGER, "-9223372036854775808", -9223372036854775808),
    (INTEGER, " 42\r\n", 42),
    (INTEGER, "42\0", 42),
    (INTEGER, "21.0", 21),
    (UNSIGNED, "18446744073709551615", 18446744073709551615),
    (FLOAT, "21.5", 21.5),
    (FLOAT, "-.5", -0.5),
    (FLOAT, "7", 7.0),
    (FLOAT, "7.", 7.0),
    (FLOAT, "1.5E3", 1500.0),
    (BOOLEAN, "1", True),
    (BOOLEAN, "0", False),
    (BOOLEAN, "true", True),
    (BOOLEAN, "False", False),
    (OPAQUE, "", b""),
    (OPAQUE, "+/8=", b"\xfb\xff"),
    (OPAQUE, "-_8", b"\xfb\xff"),
    (TIME, "1367491215", 1367491215),
    (TIME, "-1", -1),
    (TIME, "1367491215.5", 1367491215.5),
    (OBJLNK, "3:0", ObjectLink(3, 0)),
    (OBJLNK, "65535:65535", ObjectLink(65535, 65535)),
    (CORELNK, "</3/0>;ver=1.1", "</3/0>;ver=1.1"),
]


@pytest.mark.parametrize(("resource", "text", "value"), READ)
def test_reads_every_type(model, resource: int, text: str, value: Value) -> None:
    for content_format in (0, 1541):
        (report,) = decode(content_format, text.encode(), Path(32800, 0, resource), model)
        assert report == Report(Path(32800, 0, resource), value, None, True)
        assert type(report.value) is type(value)


RAW = [
    (INTEGER, ""),
    (INTEGER, "21.5"),
    (INTEGER, "9223372036854775808"),
    (INTEGER, "1_000"),
    (INTEGER, "٣"),
    (INTEGER, "0x10"),
    (INTEGER, "9" * 100000),
    (UNSIGNED, "-1"),
    (FLOAT, "nan"),
    (FLOAT, "inf"),
    (FLOAT, "1e999"),
    (FLOAT, "."),
    (FLOAT, "21,5"),
    (FLOAT, "1" * 100000),
    (BOOLEAN, "2"),
    (BOOLEAN, ""),
    (TIME, "2013-05-02T10:40:15Z"),
    (OBJLNK, "3"),
    (OBJLNK, "65536:0"),
    (OBJLNK, "3:0:1"),
    (NONE, "x"),
]


@pytest.mark.parametrize(("resource", "text"), RAW, ids=[f"{r}-{t[:20]}" for r, t in RAW])
def test_a_text_that_does_not_fit_is_kept_raw(model, resource: int, text: str) -> None:
    path = Path(32800, 0, resource)
    assert decode(0, text.encode(), path, model) == [Report(path, text, None, False)]


def test_bytes_labelled_as_text_are_kept(model) -> None:
    for resource in range(10):
        path = Path(32800, 0, resource)
        assert decode(0, b"\xff\xfe", path, model) == [Report(path, b"\xff\xfe", None, False)]
    path = Path(32800, 0, OPAQUE)
    assert decode(0, b"not base64!", path, model) == [Report(path, b"not base64!", None, False)]


def test_unknown_resources_are_texts(model) -> None:
    for path in (Path(3, 0, 77), Path(4242, 0, 1), Path(4242, 0, 1, 5)):
        assert decode(0, b"21.5", path, model) == [Report(path, "21.5", None, False)]


def test_resource_instances(model) -> None:
    path = Path(32800, 0, 10 + FLOAT, 7)
    assert decode(0, b"21.5", path, model) == [Report(path, 21.5, None, True)]
    assert encode(0, path, [Report(path, 21.5, None, True)], model) == b"21.5"


def test_link_format_is_the_text_of_a_corelnk(model) -> None:
    path = Path(32800, 0, CORELNK)
    assert decode(40, b"</3/0>", path, model) == [Report(path, "</3/0>", None, True)]
    with pytest.raises(CodecError):
        decode(40, b"</3/0>", Path(32800, 0), model)


def test_one_value_has_no_place_above_a_resource(model) -> None:
    for content_format in (0, 42, 60):
        with pytest.raises(CodecError):
            decode(content_format, b"1", Path(32800, 0), model)


WRITTEN: list[tuple[int, Value, str]] = [
    (STRING, "Grüße", "Grüße"),
    (INTEGER, -42, "-42"),
    (INTEGER, 21.0, "21"),
    (UNSIGNED, 18446744073709551615, "18446744073709551615"),
    (FLOAT, 21.5, "21.5"),
    (FLOAT, 21, "21.0"),
    (FLOAT, 1e-7, "0.0000001"),
    (FLOAT, 1e22, "10000000000000000000000"),
    (BOOLEAN, True, "1"),
    (BOOLEAN, False, "0"),
    (OPAQUE, b"\xfb\xff", "+/8="),
    (TIME, 1367491215, "1367491215"),
    (OBJLNK, ObjectLink(3, 0), "3:0"),
    (CORELNK, "</3/0>", "</3/0>"),
]


@pytest.mark.parametrize(("resource", "value", "text"), WRITTEN)
def test_writes_every_type(model, resource: int, value: Value, text: str) -> None:
    path = Path(32800, 0, resource)
    assert encode(0, path, [Report(path, value, None, True)], model).decode() == text
    (again,) = decode(0, text.encode(), path, model)
    assert again.value == value and again.modelled


def test_unknown_resources_are_written_by_their_own_type(model) -> None:
    path = Path(4242, 0, 1)
    cases: list[tuple[Value, bytes]] = [(True, b"1"), (5, b"5"), (1.5, b"1.5"), ("x", b"x"), (b"x", b"eA==")]
    for value, text in cases:
        assert encode(0, path, [Report(path, value, None, False)], model) == text


def test_opaque_bytes(model) -> None:
    path = Path(32800, 0, OPAQUE)
    for content_format in (42, 1544):
        assert decode(content_format, b"\0\xff", path, model) == [Report(path, b"\0\xff", None, True)]
        assert encode(content_format, path, [Report(path, b"\0\xff", None, True)], model) == b"\0\xff"
    other = Path(32800, 0, STRING)
    assert decode(42, b"abc", other, model) == [Report(other, b"abc", None, False)]
    with pytest.raises(CodecError):
        encode(42, other, [Report(other, "abc", None, True)], model)


@pytest.mark.parametrize("content_format", [0, 42, 60])
def test_one_value_formats_write_exactly_the_base(model, content_format: int) -> None:
    path = Path(32800, 0, OPAQUE)
    report = Report(path, b"x", None, True)
    for base, reports in (
        (path, []),
        (path, [report, report]),
        (Path(32800, 0), [report]),
        (Path(3, 0, 9), [report]),
    ):
        with pytest.raises(CodecError):
            encode(content_format, base, reports, model)


def test_values_a_type_cannot_hold_are_not_written(model) -> None:
    cases: list[tuple[int, Value]] = [
        (INTEGER, 1 << 63),
        (UNSIGNED, -1),
        (INTEGER, "1"),
        (INTEGER, True),
        (FLOAT, float("nan")),
        (FLOAT, float("inf")),
        (BOOLEAN, 2),
        (OPAQUE, "x"),
        (TIME, 1.5),
        (TIME, "now"),
        (OBJLNK, 3),
        (STRING, "\ud800"),
        (NONE, ""),
    ]
    for resource, value in cases:
        path = Path(32800, 0, resource)
        with pytest.raises(CodecError):
            encode(0, path, [Report(path, value, None, True)], model)
