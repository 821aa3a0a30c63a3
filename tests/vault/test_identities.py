"""Identity strings: readable, and never the same for two identities."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from appliance.vault.identities import (
    identity_mode,
    oscore_identity,
    psk_identity,
    psk_identity_bytes,
    rpk_identity,
    x509_identity,
)


def test_printable_text_stands_as_it_is_everything_else_in_hexadecimal() -> None:
    assert psk_identity(b"meter-1") == "psk:meter-1"
    assert psk_identity("Zähler 7".encode()) == "psk:Zähler 7"
    assert psk_identity(b"\x00\x01\xff") == "psk:0x0001ff"
    assert psk_identity(b"a\nb") == "psk:0x610a62"
    assert psk_identity("a\u202eb".encode()) == "psk:0x61e280ae62", "no text that turns the line around"
    assert psk_identity(b"0x00") == "psk:0x30783030", "no text that reads like hexadecimal"
    assert psk_identity(b"") == "psk:0x"


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_an_identity_string_stands_for_one_identity(one: bytes, other: bytes) -> None:
    assert psk_identity_bytes(psk_identity(one)) == one
    assert (psk_identity(one) == psk_identity(other)) == (one == other)


def test_the_other_modes() -> None:
    assert rpk_identity(b"spki") == "rpk:" + hashlib.sha256(b"spki").hexdigest()
    assert x509_identity("meter-1") == "x509:meter-1"
    assert oscore_identity(b"\x01\xab") == "oscore:01ab"
    assert oscore_identity(b"\x01\xab", b"\x09") == "oscore:01ab/09"
    assert [identity_mode(i) for i in ("psk:a", "rpk:b", "x509:c", "oscore:d", "e")] == [
        "psk",
        "rpk",
        "x509",
        "oscore",
        "",
    ]
