"""RFC 7252 §3: the message format, in wire bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.coap import message as m
from appliance.coap import options as o
from appliance.coap.message import Message, MessageFormatError, decode, encode


def wire(text: str) -> bytes:
    return bytes.fromhex(text)


def refused(text: str) -> MessageFormatError:
    with pytest.raises(MessageFormatError) as raised:
        decode(wire(text))
    return raised.value


def test_3_header_and_token_of_a_confirmable_get() -> None:
    message = decode(wire("44 01 12 34 aabbccdd"))
    assert (message.type, message.code, message.mid) == (m.CON, m.GET, 0x1234)
    assert message.token == wire("aabbccdd")
    assert message.options == [] and message.payload == b"" and not message.special


def test_3_type_is_in_bits_2_and_3() -> None:
    assert [decode(wire(f"{first} 45 00 01")).type for first in ("40", "50", "60")] == [m.CON, m.NON, m.ACK]
    assert decode(wire("70 00 00 01")).type == m.RST


def test_3_unknown_version_is_silently_ignored() -> None:
    for text in ("00 01 00 01", "80 01 00 01", "c0 01 00 01"):
        assert not refused(text).reply_reset


@pytest.mark.parametrize("length", range(9, 16))
def test_3_token_lengths_9_to_15_are_format_errors(length: int) -> None:
    body = "01 77 88" + "00" * length
    error = refused(f"4{length:x} {body}")
    assert error.reply_reset and error.mid == 0x7788
    assert not refused(f"5{length:x} {body}").reply_reset  # NON
    assert not refused(f"6{length:x} {body}").reply_reset  # ACK


def test_3_shorter_than_a_header() -> None:
    for text in ("", "40", "4001", "400112"):
        error = refused(text)
        assert error.mid is None and not error.reply_reset


def test_3_token_cut_short() -> None:
    assert refused("44 01 00 01 aabbcc").reply_reset


def test_3_payload_marker_without_payload_is_a_format_error() -> None:
    assert refused("40 01 00 01 ff").reply_reset


def test_3_payload_follows_the_marker() -> None:
    assert decode(wire("60 45 00 01 ff 00ff")).payload == b"\x00\xff"


def test_3_reserved_code_classes() -> None:
    for code in ("20", "c0", "ff"):
        assert refused(f"40 {code} 00 01").reply_reset
        assert not refused(f"50 {code} 00 01").reply_reset
    assert decode(wire("40 60 00 01")).code == 0x60  # 3.00 is in the range of responses


def test_4_1_empty_message_has_no_token_and_no_bytes_behind() -> None:
    assert decode(wire("40 00 00 01")).code == m.EMPTY
    assert refused("41 00 00 01 aa").reply_reset
    assert refused("40 00 00 01 ff").reply_reset
    assert not refused("60 00 00 01 ff").reply_reset


def test_3_1_option_numbers_add_up() -> None:
    message = decode(wire("40 01 00 01 b2 7264 03 616263 11 28"))
    assert message.options == [(11, b"rd"), (11, b"abc"), (12, b"\x28")]


def test_3_1_extended_delta_and_length() -> None:
    # Uri-Query (15) as 13 + 2 with a length of 13 + 1; then option 15 + 269 + 1.
    message = decode(wire("40 01 00 01 dd 02 01" + "61" * 14 + "e0 0001"))
    assert message.options == [(15, b"a" * 14), (15 + 270, b"")]
    assert encode(message) == wire("40 01 00 01 dd 02 01" + "61" * 14 + "e0 0001")


def test_3_1_long_value_uses_the_two_byte_length() -> None:
    message = Message(m.CON, m.GET, 1, b"", [(35, b"x" * 300)])
    assert encode(message)[4:8] == wire("de 16 001f")
    assert decode(encode(message)) == message


@pytest.mark.parametrize("tail", ["f0", "f1 00", "0f", "d0", "e0 00", "0d", "0e 00", "02 61", "0d 00 61"])
def test_3_1_reserved_or_truncated_options_are_format_errors(tail: str) -> None:
    assert refused("40 01 00 01 " + tail).reply_reset
    assert not refused("50 01 00 01 " + tail).reply_reset


def test_3_1_option_number_beyond_16_bits_is_a_format_error() -> None:
    assert refused("40 01 00 01 e0 ffff").reply_reset
    assert decode(wire("40 01 00 01 e0 fef2")).options == [(65535, b"")]


def test_3_2_uint_has_no_leading_zeros() -> None:
    assert [o.encode_uint(n) for n in (0, 1, 255, 256, 11542)] == [b"", b"\1", b"\xff", b"\1\0", b"\x2d\x16"]
    assert o.decode_uint(b"\0\0\x28") == 40 and o.decode_uint(b"") == 0


def test_5_4_1_an_unknown_option_makes_the_message_special() -> None:
    assert not decode(wire("40 01 00 01 b2 7264")).special
    assert decode(wire("40 01 00 01 b2 7264 d0 ff")).special


def test_5_4_3_length_out_of_range_counts_as_unknown() -> None:
    message = decode(wire("40 01 00 01 c3 000028 53 000011"))  # Content-Format and Accept of 3 bytes
    assert message.special
    kept, refused_number = o.screen(message.options)
    assert kept == [] and refused_number == o.ACCEPT


def test_5_4_5_supernumerary_option_counts_as_unknown() -> None:
    message = decode(wire("40 01 00 01 d1 04 28 01 29"))  # Accept twice
    assert message.special
    assert o.screen(message.options) == ([(17, b"\x28")], 17)
    elective = decode(wire("40 01 00 01 c1 28 01 29"))  # Content-Format twice: the second is ignored
    assert elective.special and o.screen(elective.options) == ([(12, b"\x28")], None)


def test_3_2_text_that_is_not_utf8_counts_as_unknown() -> None:
    message = decode(wire("40 01 00 01 b2 fffe"))
    assert message.special and o.screen(message.options)[1] == o.URI_PATH
    fine = decode(wire("40 01 00 01 b2 c3a9"))
    assert fine.special and o.screen(fine.options) == ([(11, "é".encode())], None)


def test_5_10_paths_and_queries() -> None:
    options = [*o.path_options("/3303/0/5700"), *o.query_options(["pmin=10", "pmax=60"])]
    assert o.uri_path(options) == ["3303", "0", "5700"]
    assert o.uri_query(options) == ["pmin=10", "pmax=60"]
    assert o.path_options("/") == [] and o.path_options(["a", "", "b"])[1] == (11, b"")
    assert o.location_path(o.path_options(["rd", "7"], o.LOCATION_PATH)) == ["rd", "7"]


def test_encode_sorts_options_and_keeps_equal_numbers_in_order() -> None:
    shuffled = Message(m.CON, m.GET, 1, b"t", [(15, b"b"), (11, b"x"), (15, b"a"), (11, b"y")])
    assert decode(encode(shuffled)).options == [(11, b"x"), (11, b"y"), (15, b"b"), (15, b"a")]


def test_encode_refuses_what_the_wire_cannot_carry() -> None:
    for message in (
        Message(m.CON, m.GET, 65536),
        Message(m.CON, 256, 1),
        Message(m.CON, m.GET, 1, b"123456789"),
        Message(m.CON, m.GET, 1, b"", [(70000, b"")]),
    ):
        with pytest.raises(ValueError):
            encode(message)


def test_options_alone_survive_their_compact_form() -> None:
    options = [(11, b"3303"), (11, b"0"), (17, b"\x2d\x16")]
    assert m.decode_options(m.encode_options(options)) == options


def test_code_text() -> None:
    assert m.code_text(m.CONTENT) == "2.05 Content"
    assert m.code_text(0x9F) == "4.31 Client Error"
    assert m.code_text(m.POST) == "0.02 POST"


option_values = st.tuples(st.integers(0, 65535), st.binary(max_size=300))


@given(
    st.integers(0, 2),
    st.sampled_from([m.GET, m.POST, m.CONTENT, m.NOT_FOUND]),
    st.integers(0, 65535),
    st.binary(max_size=8),
    st.lists(option_values, max_size=8).map(lambda options: sorted(options, key=lambda option: option[0])),
    st.binary(max_size=64),
)
def test_what_is_encoded_is_decoded(
    kind: int, code: int, mid: int, token: bytes, options: list[o.Option], payload: bytes
) -> None:
    message = Message(kind, code, mid, token, options, payload)
    assert decode(encode(message)) == message


@given(st.binary(max_size=64))
def test_any_bytes_give_a_message_or_one_error(data: bytes) -> None:
    try:
        message = decode(data)
    except MessageFormatError:
        return
    assert decode(encode(message)) == message


def test_fuzz_decode_is_total() -> None:
    """10^5 random and mutated datagrams."""
    rng = random.Random(7252)
    seeds = [
        wire("44 02 12 34 aabbccdd b2 7264 11 28 39 6c 77 6d 32 6d 3d 31 2e 31 ff 3c 2f 33 3e"),
        wire("48 45 12 34 aabbccddaabbccdd 62 0001 62 2d16 ff c8"),
        wire("40 01 00 01 dd 02 01" + "61" * 14 + "e0 0001"),
        wire("60 00 00 01"),
    ]
    outcomes = [0, 0]
    for _ in range(100_000):
        if rng.random() < 0.3:
            data = rng.randbytes(rng.randrange(40))
        else:
            mutable = bytearray(rng.choice(seeds))
            for _ in range(rng.randrange(1, 4)):
                mutable[rng.randrange(len(mutable))] = rng.randrange(256)
            data = bytes(mutable[: rng.randrange(len(mutable)) + 1] if rng.random() < 0.3 else mutable)
        try:
            message = decode(data)
        except MessageFormatError:
            outcomes[1] += 1
        else:
            outcomes[0] += 1
            o.screen(message.options)
    assert min(outcomes) > 1000
