"""Replays, restarts and power cuts: a number is used once, a request is taken once (RFC 8613 §7)."""

from __future__ import annotations

import dataclasses
import json

import pytest
from aiocoap.numbers import codes, types

from appliance.coap.endpoint import RequestReceived, ResponseReceived
from appliance.southbound.oscore.context import BLOCK, GENERATION
from appliance.southbound.oscore.cose import read_header
from tests.southbound.oscore.crossing import (
    HOME,
    MATERIAL,
    Device,
    Gateway,
    Shelf,
    answer_of,
    meet,
    plain,
    state_of,
)


def number_in(data: bytes) -> int:
    """The Partial IV of a message."""
    header = read_header(plain_option(data))
    assert header.partial_iv is not None
    return int.from_bytes(header.partial_iv, "big")


def plain_option(data: bytes) -> bytes:
    from aiocoap import Message

    option: bytes = Message.decode(data, None).opt.oscore
    return option


def test_the_first_contact_is_asked_for_an_echo() -> None:
    gateway, device = Gateway(), Device()
    request = device.request(codes.POST, "rd")
    challenge = answer_of(gateway, request)
    assert number_in(challenge) == 0  # of our own: the request may be one that was answered before
    assert answer_of(gateway, request) == challenge
    echo = device.understand(challenge).opt.echo
    (event,) = gateway.receive(device.request(codes.POST, "rd", echo=echo))
    assert isinstance(event, RequestReceived)


def test_a_wrong_echo_is_not_enough_for_a_context_that_was_used() -> None:
    shelf = Shelf()
    device = Device()
    meet(Gateway(shelf=shelf), device)
    gateway = Gateway(shelf=shelf, generation=1)
    for echo in (None, b"12345678", b""):
        challenge = device.understand(answer_of(gateway, device.request(codes.POST, "rd", echo=echo)))
        assert challenge.code == codes.UNAUTHORIZED
    meet(gateway, device)


def test_a_client_that_knows_no_echo_gets_in_with_its_second_request() -> None:
    """Where nothing was ever taken there is nothing to replay."""
    gateway, device = Gateway(), Device()
    first = device.request(codes.POST, "rd")
    answer_of(gateway, first)
    moved = bytearray(first)
    moved[2] ^= 1
    assert device.understand(answer_of(gateway, bytes(moved))).code == codes.UNAUTHORIZED
    (event,) = gateway.receive(device.request(codes.POST, "rd"))
    assert isinstance(event, RequestReceived)
    assert plain(answer_of(gateway, first, "elsewhere")).payload == b"Replay detected"


def test_a_replay_is_refused_and_told() -> None:
    gateway, device = Gateway(), Device()
    meet(gateway, device)
    request = device.request(codes.POST, "rd")
    assert len(gateway.receive(request)) == 1
    other_mid = bytearray(request)
    other_mid[2] ^= 1
    for data, peer in ((bytes(other_mid), HOME), (request, "attacker")):
        answer = plain(answer_of(gateway, data, peer))
        assert (answer.code, answer.payload) == (codes.UNAUTHORIZED, b"Replay detected")
        assert answer.opt.max_age == 0
    identity, address, sentence = gateway.failures[-1]
    assert (identity, address) == ("oscore:0a", HOME)  # and not once more for the other: see below
    assert "used before" in sentence


def test_requests_may_overtake_each_other_within_the_window() -> None:
    gateway, device = Gateway(), Device()
    meet(gateway, device)
    requests = [device.request(codes.POST, "rd") for _ in range(40)]
    assert len(gateway.receive(requests[5])) == 1
    assert len(gateway.receive(requests[0])) == 1
    assert len(gateway.receive(requests[39])) == 1
    assert gateway.receive(requests[1]) == []  # too old to be told from a replay


def test_nobody_knows_the_id() -> None:
    gateway = Gateway()
    stranger = Device(dataclasses.replace(MATERIAL, recipient_id=b"\xff", id_context=b"\1"))
    answer = plain(answer_of(gateway, stranger.request(codes.POST, "rd")))
    assert (answer.code, answer.payload) == (codes.UNAUTHORIZED, b"Security context not found")
    assert gateway.failures[0][0] == "kid ff/01"
    assert "Sender ID" in gateway.failures[0][2]
    assert gateway.oscore.table_sizes() == dict.fromkeys(gateway.oscore.table_sizes(), 0) | {"told": 1}


def test_another_key() -> None:
    gateway = Gateway()
    stranger = Device(dataclasses.replace(MATERIAL, master_secret=bytes(16)))
    answer = plain(answer_of(gateway, stranger.request(codes.POST, "rd")))
    assert (answer.code, answer.payload) == (codes.BAD_REQUEST, b"Decryption failed")
    assert gateway.failures[0][0] == "oscore:0a"
    assert "Master Secret" in gateway.failures[0][2]
    assert gateway.shelf.states == {}
    meet(gateway, Device())


def test_a_stranger_that_wants_no_answer_gets_none() -> None:
    gateway = Gateway()
    stranger = Device(dataclasses.replace(MATERIAL, master_secret=bytes(16)))
    assert gateway.receive(stranger.request(codes.POST, "rd", kind=types.NON)) == []
    assert gateway.take() == []


def test_failures_are_told_once_in_a_while() -> None:
    gateway = Gateway()
    stranger = Device(dataclasses.replace(MATERIAL, recipient_id=b"\xff"))
    for _ in range(20):
        answer_of(gateway, stranger.request(codes.POST, "rd"))
    assert len(gateway.failures) == 1
    gateway.now += 11
    answer_of(gateway, stranger.request(codes.POST, "rd"))
    assert len(gateway.failures) == 2


@pytest.mark.parametrize("option", ["e0", "07", "0501", "11", "110105", "09", "0114ff", ""])
def test_an_option_that_says_nothing_sound(option: str) -> None:
    gateway = Gateway()
    value = bytes.fromhex(option)
    data = bytes.fromhex("4402000174657374") + bytes((0x90 | len(value),)) + value + b"\xff" + bytes(20)
    answer = plain(answer_of(gateway, data))
    assert (answer.code, answer.payload) == (codes.BAD_OPTION, b"Failed to decode COSE")


def test_after_an_orderly_stop_nothing_is_skipped_and_nothing_asked() -> None:
    shelf, device = Shelf(), Device()
    gateway = Gateway(shelf=shelf)
    peer = meet(gateway, device)
    gateway.ask("3", peer)
    last = number_in(gateway.take_one())
    replayed = device.request(codes.POST, "rd")
    gateway.receive(replayed)
    gateway.live.save()
    after = Gateway(shelf=shelf)
    assert plain(answer_of(after, replayed)).payload == b"Replay detected"
    assert len(after.receive(device.request(codes.POST, "rd"))) == 1
    after.ask("3", peer)
    ask = [data for data, _ in after.take()][-1]
    assert number_in(ask) == last + 1


def test_no_number_twice_after_a_power_cut() -> None:
    shelf, device = Shelf(), Device()
    used: set[int] = set()
    peer = meet(Gateway(shelf=shelf), device)
    used.add(0)
    for _ in range(5):
        gateway = Gateway(shelf=shelf)
        for _ in range(BLOCK + 20):
            gateway.ask("3", peer)
            (sealed,) = [data for data, _ in gateway.take()]
            number = number_in(sealed)
            assert number not in used
            used.add(number)
            request, bound = device.asked(sealed)
            assert len(gateway.receive(device.answer(request, bound))) == 1
        # no save: the power is gone
    assert len(used) == 5 * (BLOCK + 20) + 1
    assert shelf.saves < 40


def test_no_number_is_used_before_it_is_on_disk() -> None:
    shelf, device = Shelf(), Device()
    gateway = Gateway(shelf=shelf)
    shelf.slow = True
    request = device.request(codes.POST, "rd")
    assert gateway.receive(request) == []
    assert gateway.take() == []  # the challenge needs a number
    shelf.commit()
    assert gateway.woken
    challenge = device.understand(gateway.take_one())
    echoed = device.request(codes.POST, "rd", echo=challenge.opt.echo)
    assert gateway.receive(echoed) == []  # its number is not on disk
    assert gateway.receive(echoed) == []
    shelf.commit()
    (event,) = gateway.late()
    assert isinstance(event, RequestReceived)
    assert gateway.receive(echoed) == []
    assert device.understand(gateway.answer(event)).code == codes.CHANGED


def test_a_request_is_not_taken_again_after_a_power_cut() -> None:
    shelf, device = Shelf(), Device()
    gateway = Gateway(shelf=shelf)
    meet(gateway, device)
    shelf.slow = True
    taken, lost = device.request(codes.POST, "rd"), device.request(codes.POST, "rd")
    gateway.receive(taken)
    shelf.commit()
    assert len(gateway.late()) == 1
    assert gateway.receive(lost) == []
    shelf.lose_power()
    shelf.slow = False
    after = Gateway(shelf=shelf)
    assert plain(answer_of(after, taken)).payload == b"Replay detected"
    assert len(after.receive(lost)) == 1  # nobody above had heard of it


def test_a_restored_database_starts_beyond_what_was_used() -> None:
    shelf, device = Shelf(), Device()
    peer = meet(Gateway(shelf=shelf), device)
    old = dict(shelf.states)
    gateway = Gateway(shelf=shelf)
    gateway.ask("3", peer)
    used = number_in(gateway.take_one())
    shelf.states = old
    restored = Gateway(shelf=shelf, generation=1)
    restored.ask("3", peer)
    assert number_in(restored.take_one()) == GENERATION > used
    meet(restored, device)  # with an Echo, as nobody knows what was taken meanwhile


def test_a_context_with_new_keys_begins_anew() -> None:
    shelf = Shelf()
    meet(Gateway(shelf=shelf), Device())
    material = dataclasses.replace(MATERIAL, master_secret=b"another secret!!")
    gateway, device = Gateway(material, shelf=shelf), Device(material)
    peer = meet(gateway, device)
    gateway.book.materials = [MATERIAL]
    gateway.ask("3", peer)
    assert gateway.take_one()  # of the keys there are now
    assert plain(answer_of(gateway, device.request(codes.POST, "rd"))).code == codes.BAD_REQUEST


@pytest.mark.parametrize("state", ["", "[]", "{}", "null", '{"print":"x"}', "{"])
def test_a_damaged_state_uses_no_number_again(state: str) -> None:
    shelf, device = Shelf(), Device()
    gateway = Gateway(shelf=shelf)
    peer = meet(gateway, device)
    shelf.states["oscore:0a"] = state
    after = Gateway(shelf=shelf)
    after.ask("3", peer)
    number = number_in(after.take_one())
    assert number >= GENERATION or state == '{"print":"x"}'  # that one is of other keys
    challenge = device.understand(answer_of(after, device.request(codes.POST, "rd")))
    assert challenge.opt.echo


def test_a_context_that_is_gone_is_not_spoken_to() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    gateway.book.materials.clear()
    gateway.ask("3", peer)
    assert gateway.take() == []
    assert "no OSCORE context" in gateway.failures[-1][2]
    assert plain(answer_of(gateway, device.request(codes.POST, "rd"))).code == codes.UNAUTHORIZED


def test_a_device_that_lost_its_window_asks_us_for_an_echo() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    reborn = Device(lost=True)
    gateway.ask("3/0/1", peer)
    sealed = gateway.take_one()
    assert gateway.receive(reborn.challenge(sealed)) == []  # not an answer: nobody above hears of it
    again = gateway.take_one()
    request, bound = reborn.asked(again)
    assert request.opt.uri_path == ("3", "0", "1")
    gateway.now += 3.5
    gateway.endpoint.handle_timer(gateway.now)
    assert gateway.take_one() == again  # retransmitted is what was said last
    (event,) = gateway.receive(reborn.answer(request, bound, payload=b"x"))
    assert isinstance(event, ResponseReceived)
    assert event.message.payload == b"x"


def test_a_device_that_never_is_content_with_an_echo_gets_one_only() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    gateway.ask("3/0/1", peer)
    request, bound = device.asked(gateway.take_one())
    challenge = device.answer(request, bound, codes.UNAUTHORIZED, echo=b"12345678")
    assert gateway.receive(challenge) == []
    request, bound = device.asked(gateway.take_one())
    (event,) = gateway.receive(device.answer(request, bound, codes.UNAUTHORIZED, echo=b"abcdefgh"))
    assert isinstance(event, ResponseReceived)
    assert event.message.code == 0x81


def test_what_is_kept_is_small_and_has_no_key() -> None:
    gateway = Gateway()
    meet(gateway, Device())
    state = state_of(gateway.shelf)
    assert MATERIAL.master_secret.hex() not in json.dumps(state)
    assert len(json.dumps(state)) < 250
