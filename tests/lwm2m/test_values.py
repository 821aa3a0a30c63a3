"""Values and their form in JSON (OMA Core 1.1.1 Appendix C)."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.lwm2m.definitions import ResourceDefinition
from appliance.lwm2m.values import ObjectLink, ResourceType, Value, ValueFormatError, from_json, to_json


def resource(kind: ResourceType, span: str = "") -> ResourceDefinition:
    return ResourceDefinition(1, "Test", "RW", False, False, kind, span, "")


T = ResourceType


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (T.STRING, "Köln", "Köln"),
        (T.INTEGER, -(1 << 63), -(1 << 63)),
        (T.UNSIGNED, (1 << 64) - 1, (1 << 64) - 1),
        (T.FLOAT, 21.5, 21.5),
        (T.BOOLEAN, True, True),
        (T.OPAQUE, b"\x00\xff", "00ff"),
        (T.OPAQUE, b"", ""),
        (T.TIME, 1700000000, "2023-11-14T22:13:20Z"),
        (T.TIME, 1700000000.5, "2023-11-14T22:13:20.500Z"),
        (T.TIME, -1, "1969-12-31T23:59:59Z"),
        (T.OBJLNK, ObjectLink(3, 0), "3:0"),
        (T.OBJLNK, ObjectLink(65535, 65535), "65535:65535"),
        (T.CORELNK, "</3303/0>", "</3303/0>"),
    ],
)
def test_a_value_goes_into_json_and_back(kind: ResourceType, value: Value, shown: object) -> None:
    assert to_json(value, kind) == shown
    again = from_json(json.loads(json.dumps(shown)), resource(kind))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    ("kind", "given_", "value"),
    [
        (T.INTEGER, "9223372036854775807", (1 << 63) - 1),  # a browser would round the number
        (T.INTEGER, 5.0, 5),
        (T.FLOAT, 5, 5.0),
        (T.OPAQUE, "00 FF:2a-01", b"\x00\xff\x2a\x01"),
        (T.TIME, 1700000000, 1700000000),
        (T.TIME, "2023-11-14T23:13:20+01:00", 1700000000),
        (T.TIME, "2023-11-14 22:13:20Z", 1700000000),
        (T.OBJLNK, " 3:0 ", ObjectLink(3, 0)),
    ],
)
def test_other_ways_to_write_the_same_value(kind: ResourceType, given_: object, value: Value) -> None:
    assert from_json(given_, resource(kind)) == value


@pytest.mark.parametrize(
    ("kind", "given_", "next_step"),
    [
        (T.STRING, 5, "in quotes"),
        (T.STRING, "\ud800", "remove it"),
        (T.INTEGER, "five", "like 42"),
        (T.INTEGER, 5.5, "like 42"),
        (T.INTEGER, True, "like 42"),
        (T.INTEGER, 1 << 63, "choose one of these"),
        (T.INTEGER, None, "like 42"),
        (T.UNSIGNED, -1, "from 0 to"),
        (T.FLOAT, "21.5", "like 21.5"),
        (T.FLOAT, math.nan, "finite"),
        (T.FLOAT, 10**400, "finite"),
        (T.BOOLEAN, 1, "true or false"),
        (T.OPAQUE, "0g", "hexadecimal"),
        (T.OPAQUE, "abc", "two hexadecimal digits"),
        (T.TIME, "yesterday", "2030-01-31T12:00:00Z"),
        (T.TIME, "2023-11-14T22:13:20", "add Z"),
        (T.TIME, math.nan, "2030-01-31T12:00:00Z"),
        (T.OBJLNK, "3:65536", "3:0"),
        (T.OBJLNK, [3, 0], "3:0"),
        (T.NONE, "", "execute it"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_the_next_step(
    kind: ResourceType, given_: object, next_step: str
) -> None:
    with pytest.raises(ValueFormatError, match=next_step) as caught:
        from_json(given_, resource(kind))
    assert str(caught.value).startswith("Test ")


@pytest.mark.parametrize(
    ("kind", "span", "right", "wrong"),
    [
        (T.INTEGER, "0..100", 100, 101),
        (T.INTEGER, "1..65534", 1, 0),
        (T.INTEGER, "0..247, 255", 255, 250),
        (T.INTEGER, "0: off; 1: on; 255: stuck", 255, 2),
        (T.FLOAT, "-1..1", -1, 1.01),
        (T.FLOAT, "0, 3.8..20.5", 0, 1),
        (T.STRING, "1..4", "ÄÄÄÄ", "12345"),
        (T.STRING, "0..4 bytes", "1234", "ÄÄÄ"),
        (T.STRING, "4", "123", "12345"),
        (T.STRING, "ON, OFF", "ON", "AUTO"),
        (T.OPAQUE, "16, 32, 48 bytes", "00" * 32, "00" * 31),
        (T.OPAQUE, "0..2", "0001", "000102"),
    ],
)
def test_ranges_are_held(kind: ResourceType, span: str, right: object, wrong: object) -> None:
    from_json(right, resource(kind, span))
    with pytest.raises(ValueFormatError, match=r"choose|change its length"):
        from_json(wrong, resource(kind, span))


def test_a_range_of_another_type_is_not_held_against_a_boolean() -> None:
    assert from_json(True, resource(T.BOOLEAN, "0..65535")) is True


@pytest.mark.parametrize("value", [1e300, 10**15, -(10**15), math.nan, math.inf])
def test_a_time_outside_the_calendar_has_no_json_form(value: float) -> None:
    with pytest.raises(ValueFormatError):
        to_json(value, T.TIME)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@given(_JSON, st.sampled_from(ResourceType), st.sampled_from(["", "0..9", "1..4 bytes", "ON, OFF", "8 bits"]))
def test_anything_is_a_value_or_one_error(anything: object, kind: ResourceType, span: str) -> None:
    try:
        value = from_json(anything, resource(kind, span))
    except ValueFormatError:
        return
    try:
        json.dumps(to_json(value, kind), allow_nan=False)
    except ValueFormatError:
        assert kind is T.TIME  # a number beyond the calendar
