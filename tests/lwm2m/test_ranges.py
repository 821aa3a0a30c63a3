"""Ranges as the registry writes them, in one spelling and as checks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.lwm2m.ranges import parse_range, tidy_range


@pytest.mark.parametrize(
    ("written", "tidy"),
    [
        ("", ""),
        ("0..100", "0..100"),
        ("0-255", "0..255"),
        ("1...15", "1..15"),
        ("[1:4]", "1..4"),
        ("-24..24", "-24..24"),
        ("-5-5", "-5..5"),
        ("0.000001..1.0", "0.000001..1.0"),
        ("0..64 Bytes", "0..64 bytes"),
        ("1 bytes", "1 bytes"),
        ("0 or 26 Bytes", "0, 26 bytes"),
        ("16-32-48 bytes", "16, 32, 48 bytes"),
        ("0..247,255", "0..247, 255"),
        ("0; 3.8..20.5", "0, 3.8..20.5"),
        ("ON;OFF", "ON, OFF"),
        ("8-Bits", "8 bits"),
        ("16-bit", "16 bits"),
        ("<7 to >12.5", "<7 to >12.5"),
        ("0: RELEASE\n\t\t\t1: CLICK\n\t\t\t255: STUCK", "0: RELEASE; 1: CLICK; 255: STUCK"),
        ("The possible values are those listed in the LwM2M Core Specification", ""),
    ],
)
def test_one_spelling(written: str, tidy: str) -> None:
    assert tidy_range(written) == tidy
    assert tidy_range(tidy) == tidy


@pytest.mark.parametrize("text", ["255", "8 bits", "2 instances", "<7 to >12.5", "1 bytes"])
def test_what_says_nothing_certain_about_a_number_allows_every_number(text: str) -> None:
    assert parse_range(text, "number").complaint(10**6) == ""


def test_the_ends_may_stand_in_either_order() -> None:
    assert parse_range("-30..-120", "number").complaint(-60) == ""
    assert parse_range("-30..-120", "number").complaint(-20)


@given(st.text(max_size=60), st.sampled_from(["number", "text", "bytes"]))
def test_any_text_is_a_range(text: str, kind: str) -> None:
    tidy = tidy_range(text)
    assert "\t" not in tidy
    assert "\n" not in tidy
    value = {"number": 7, "text": "abc", "bytes": b"abc"}[kind]
    assert isinstance(parse_range(text, kind).complaint(value), str)
