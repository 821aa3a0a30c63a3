"""Records against another implementation of them, and the replay window against a set (RFC 6347 §4.1.2)."""

from __future__ import annotations

import random

import pytest

from appliance.southbound.dtls.records import (
    SUITES,
    Seal,
    cipher_of,
    is_fresh,
    plain_record,
    taken,
)
from tests.southbound.dtls.client import ECDSA_CCM_8, PSK_CCM, PSK_GCM, Direction

KEY, NONCE = bytes(range(16)), b"nonc"


@pytest.mark.parametrize("suite", [ECDSA_CCM_8, PSK_CCM, PSK_GCM])
@pytest.mark.parametrize("cid", [b"", b"c", b"sixsix", b"thirty-two bytes, or even more.."])
def test_records_are_those_of_the_other_side(suite: int, cid: bytes) -> None:
    ours, theirs = Seal(cipher_of(SUITES[suite]), KEY, NONCE), Direction(suite, KEY, NONCE)
    for number in (0, 1, 65536, (1 << 48) - 1):
        for content in (b"", b"x", bytes(1200)):
            record = ours.seal(23, number, content + b"!", cid)
            assert record == theirs.seal(23, number, content + b"!", cid)
            assert theirs.open(record, len(cid)) == (23, content + b"!")
            head = 13 + len(cid)
            assert ours.open(record[:head], record[head:]) == (23, content + b"!")


def test_the_keyless_nonce_of_chacha20() -> None:
    # RFC 7905 §2: the number is XORed into the nonce and does not stand in the record.
    seal = Seal(cipher_of("TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"), bytes(32), bytes(range(12)))
    record = seal.seal(23, 7, b"hello")
    assert len(record) == 13 + 5 + 16
    assert seal.open(record[:13], record[13:]) == (23, b"hello")
    moved = record[:10] + b"\x08" + record[11:]
    assert seal.open(moved[:13], moved[13:]) is None


@pytest.mark.parametrize("cid", [b"", b"sixsix"])
def test_a_record_with_any_bit_turned_is_none(cid: bytes) -> None:
    seal = Seal(cipher_of(SUITES[PSK_CCM]), KEY, NONCE)
    record = seal.seal(23, 5, b"content", cid)
    head = 13 + len(cid)
    for at in range(3, len(record)):
        if at in (head - 2, head - 1):
            continue  # the length, which says where the record ends
        turned = bytearray(record)
        turned[at] ^= 1
        assert seal.open(bytes(turned[:head]), bytes(turned[head:])) is None
    for size in range(len(record) - head):
        assert seal.open(record[:head], record[head : head + size]) is None


def test_padding_inside_is_taken_off_and_nothing_but_padding_is_no_record() -> None:
    # RFC 9146 §4: content, type, zeros.
    theirs = Direction(PSK_CCM, KEY, NONCE)
    seal = Seal(cipher_of(SUITES[PSK_CCM]), KEY, NONCE)
    for plain, expected in ((b"ab\x17\0\0\0", (23, b"ab")), (b"\0\0\0", None), (b"", None)):
        full = b"\0\1" + bytes(5) + b"\x09"
        head = b"\x19\xfe\xfd" + full + b"sixsix"
        body = full + theirs.aead.encrypt(NONCE + full, plain, theirs.associated(head, len(plain), 6))
        assert seal.open(head + len(body).to_bytes(2, "big"), body) == expected


def test_an_unprotected_record() -> None:
    assert plain_record(20, 258, b"\1") == bytes.fromhex("14fefd000000000000010200 01 01")


def test_an_unknown_suite_is_an_error() -> None:
    with pytest.raises(ValueError, match="TLS_NULL"):
        cipher_of("TLS_NULL_WITH_NULL_NULL")


def test_the_replay_window_is_a_set_of_the_last_64() -> None:
    rng = random.Random(6347)
    for _ in range(300):
        newest, seen = rng.randrange(1000), 0
        known, highest = {newest}, newest
        for _ in range(300):
            number = max(0, highest + rng.choice((1, 1, 2, rng.randrange(-70, 70))))
            fresh = number not in known and highest - number < 64
            if number > highest or fresh:
                assert is_fresh(number, newest, seen) == fresh
            else:
                assert not is_fresh(number, newest, seen)
            if fresh:
                newest, seen = taken(number, newest, seen)
                known.add(number)
                highest = max(highest, number)
            assert newest == highest
            assert 0 <= seen < 1 << 63  # it fits into a signed column


def test_a_leap_forgets_the_window() -> None:
    assert taken(1 << 47, 5, 31) == (1 << 47, 0)
    assert not is_fresh(5, 1 << 47, 0)
