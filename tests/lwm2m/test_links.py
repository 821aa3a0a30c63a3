"""Link format (RFC 6690), strict where it must be and patient where devices need it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.lwm2m.links import MAX_LINKS_BYTES, Link, LinkFormatError, format_links, parse_links


def test_rfc_6690_section_5_the_example() -> None:
    payload = b'</sensors>;ct=40;title="Sensor Index",</sensors/temp>;rt="temperature-c";if="sensor";hidden'
    assert parse_links(payload) == (
        Link("/sensors", (("ct", "40"), ("title", "Sensor Index"))),
        Link("/sensors/temp", (("rt", "temperature-c"), ("if", "sensor"), ("hidden", None))),
    )


def test_a_discover_answer() -> None:
    links = parse_links(b"</3/0>;pmin=10,</3/0/6>;dim=8,</3/0/9>;gt=50;lt=-42.2")
    assert links[2] == Link("/3/0/9", (("gt", "50"), ("lt", "-42.2")))
    assert links[1].get("dim") == "8"
    assert links[1].get("pmin") is None


def test_nothing_is_no_links() -> None:
    assert parse_links(b"") == ()


def test_separators_in_quotes_are_text() -> None:
    assert parse_links(rb'</a>;t="x,</b>;y=\"z\\",</c>') == (
        Link("/a", (("t", 'x,</b>;y="z\\'),)),
        Link("/c"),
    )


@pytest.mark.parametrize(
    "payload",
    [
        b"</1/0>, </3/0>",
        b" </1/0> ,\r\n</3/0> ",
        b"</1/0>,</3/0>,",
        b",</1/0>,,</3/0>",
        b"</1/0></3/0>",
        b"</1/0>;,</3/0>",
        b"</1/0>,</3/0>\0",
        b"</1/0>,</3/0>\n",
    ],
)
def test_blanks_and_commas_too_many_or_too_few_are_let_pass(payload: bytes) -> None:
    assert parse_links(payload) == (Link("/1/0"), Link("/3/0"))


@pytest.mark.parametrize("written", ['"110 112"', "110 112", ' "110 112" ', " 110 112 "])
def test_a_value_with_blanks_needs_no_quotes(written: str) -> None:
    assert parse_links(f"</>;ct ={written};rt=x".encode()) == (Link("/", (("ct", "110 112"), ("rt", "x"))),)


@pytest.mark.parametrize(
    "payload", [b"3/0", b"</3/0", b'</3/0>;a="b', b"</3/0>x", b"</3/0>,4", b"\xff", b"<<>>"]
)
def test_what_is_no_link_is_told(payload: bytes) -> None:
    with pytest.raises(LinkFormatError, match=r"^(there is no link|the list)"):
        parse_links(payload)


def test_a_list_has_a_largest_size() -> None:
    with pytest.raises(LinkFormatError):
        parse_links(b"</1>" * (MAX_LINKS_BYTES // 4 + 1))


@pytest.mark.parametrize("piece", [b" ", b",", b";", b"<", b'</1>;a="', b"\\", b'="', b"; ", b"</>"])
def test_no_payload_takes_more_than_linear_time(piece: bytes) -> None:
    # A pattern that backtracks would not come back from this within the timeout of the suite.
    payload = (b'</1>;a="' + piece * MAX_LINKS_BYTES)[:MAX_LINKS_BYTES]
    for start in (payload, payload[8:], b"</1>" + payload[12:]):
        try:
            parse_links(start)
        except LinkFormatError:
            continue


@pytest.mark.parametrize("value", [">", "<", ";", ",", " ", "", "a b", '"', "\\", "ä"])
def test_what_would_end_a_value_is_quoted(value: str) -> None:
    links = (Link("/a", (("t", value),)), Link("/b"))
    assert parse_links(format_links(links)) == links


_targets = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=10)
_names = st.text(st.sampled_from("abcdefghij0123456789-*"), min_size=1, max_size=5)
_values = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


@given(st.lists(st.builds(Link, _targets, st.lists(st.tuples(_names, _values), max_size=3).map(tuple))))
def test_links_survive_their_format(links: list[Link]) -> None:
    assert parse_links(format_links(links)) == tuple(links)
