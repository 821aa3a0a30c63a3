"""Sealed messages in and out, against aiocoap's cryptography (RFC 8613)."""

from __future__ import annotations

import dataclasses
import os

import pytest
from aiocoap.numbers import codes, types

from appliance.coap.endpoint import NotificationReceived, RequestFailed, RequestReceived, ResponseReceived
from appliance.coap.message import CON, decode, encode_parts
from appliance.coap.options import find
from appliance.southbound.oscore.keys import ContextMaterial, Keys, NoKeys
from appliance.southbound.oscore.layer import carries_oscore
from appliance.southbound.oscore.peer import OscorePeer
from tests.southbound.oscore.crossing import (
    HOME,
    MATERIAL,
    Device,
    Gateway,
    answer_of,
    meet,
    plain,
)

# RFC 8613 Appendix C.1.2: the server's side, whose client has the empty Sender ID.
VECTORS = ContextMaterial(
    "oscore:", bytes(range(1, 17)), bytes.fromhex("9e7ca92223786340"), sender_id=b"\1", recipient_id=b""
)


def test_the_vectors_of_the_specification() -> None:
    """Appendix C.4, C.7 and C.8."""
    gateway = Gateway(VECTORS)
    context = gateway.live.find(b"", None)
    assert context is not None
    context.window.initialize_empty()
    request = bytes.fromhex("44025d1f00003974396c6f63616c686f7374620914ff612f1092f1776f1c1668b3825e")
    (event,) = gateway.receive(request)
    assert isinstance(event, RequestReceived)
    assert (event.message.code, event.message.options) == (1, [(11, b"tv1")])
    assert gateway.answer(event, 0x45, b"Hello World!") == bytes.fromhex(
        "64445d1f0000397490ffdbaad1e9a7e7b2a813d3c31524378303cdafae119106"
    )
    known = gateway.oscore._requests[(event.peer, event.message.token)]
    assert known.nonce is None  # used up: another answer takes a number of its own
    gateway.oscore.send(
        bytes.fromhex("64455d1f00003974ff48656c6c6f20576f726c6421")[:-1] + b"?", event.peer, 0
    )
    assert gateway.oscore.take_datagrams()[0][0].startswith(bytes.fromhex("64445d1f00003974920100ff"))


def test_a_request_and_its_answer() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    assert (peer.identity, peer.below) == ("oscore:0a", HOME)
    (event,) = gateway.receive(device.request(codes.POST, "rd/5a", b"</3/0>", uri_query=("lt=60",)))
    assert isinstance(event, RequestReceived)
    assert event.peer == peer
    assert event.message.options == [(11, b"rd"), (11, b"5a"), (15, b"lt=60")]
    assert event.message.payload == b"</3/0>"
    answer = device.understand(gateway.answer(event, 0x44, b"thanks"))
    assert (answer.code, answer.payload, answer.mtype) == (codes.CHANGED, b"thanks", types.ACK)


def test_a_repeated_request_is_answered_in_the_same_bytes() -> None:
    gateway, device = Gateway(), Device()
    meet(gateway, device)
    request = device.request(codes.POST, "rd")
    (event,) = gateway.receive(request)
    assert gateway.receive(request) == []  # under way
    assert gateway.take() == []
    answer = gateway.answer(event)
    assert answer_of(gateway, request) == answer


def test_an_answer_of_its_own_is_acknowledged_and_repeated() -> None:
    gateway, device = Gateway(), Device()
    meet(gateway, device)
    (event,) = gateway.receive(device.request(codes.POST, "rd"))
    assert isinstance(event, RequestReceived)
    gateway.endpoint.acknowledge(event, gateway.now)
    assert gateway.take_one() == b"\x60\x00" + event.message.mid.to_bytes(2, "big")
    answer = gateway.answer(event)
    gateway.now += 3.5
    assert gateway.endpoint.handle_timer(gateway.now) == []
    assert gateway.take_one() == answer  # the same message: the same ciphertext
    assert device.understand(answer).mtype == types.CON
    gateway.receive(b"\x60\x00" + answer[2:4])
    gateway.now += 60
    gateway.endpoint.handle_timer(gateway.now)
    assert gateway.take() == []


def test_we_ask_and_the_device_answers() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    gateway.ask("3/0/1", peer)
    sealed = gateway.take_one()
    request, bound = device.asked(sealed)
    assert (request.code, request.opt.uri_path) == (codes.GET, ("3", "0", "1"))
    gateway.now += 3.5
    gateway.endpoint.handle_timer(gateway.now)
    assert gateway.take_one() == sealed
    (event,) = gateway.receive(device.answer(request, bound, payload=b"21.5", content_format=0))
    assert isinstance(event, ResponseReceived)
    assert (event.message.code, event.message.payload) == (0x45, b"21.5")
    assert gateway.oscore.table_sizes()["asked"] == 0


def test_an_answer_of_its_own_from_the_device_is_acknowledged_again() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    gateway.ask("3/0/1", peer)
    request, bound = device.asked(gateway.take_one())
    assert gateway.receive(b"\x60\x00" + request.mid.to_bytes(2, "big")) == []
    answer = device.answer(request, bound, payload=b"1", kind=types.CON)
    (event,) = gateway.receive(answer)
    assert isinstance(event, ResponseReceived)
    acknowledgement = gateway.take_one()
    assert gateway.receive(answer) == []
    assert gateway.take_one() == acknowledgement


def test_a_reset_ends_our_request() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    gateway.ask("3", peer)
    request, _ = device.asked(gateway.take_one())
    (event,) = gateway.receive(b"\x70\x00" + request.mid.to_bytes(2, "big"))
    assert isinstance(event, RequestFailed)
    assert event.reason == "reset"


def test_an_answer_to_something_else_counts_for_nothing() -> None:
    """A response is bound to its request: not even the device's own words fit another one."""
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    gateway.ask("3/0/1", peer)
    first, bound_first = device.asked(gateway.take_one())
    (_,) = gateway.receive(device.answer(first, bound_first, payload=b"1"))
    gateway.ask("3/0/2", peer)
    second, bound_second = device.asked(gateway.take_one())
    assert gateway.receive(device.answer(second, bound_first, payload=b"1")) == []
    assert "belong" in gateway.failures[-1][2]
    (event,) = gateway.receive(device.answer(second, bound_second, payload=b"2"))
    assert isinstance(event, ResponseReceived)


def test_a_request_is_not_answered_without_protection() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    gateway.ask("3/0/1", peer)
    request, bound = device.asked(gateway.take_one())
    for code in (0x45, 0x81):
        forged = bytes((0x60 | len(request.token), code)) + request.mid.to_bytes(2, "big") + request.token
        assert gateway.receive(forged + b"\xffno") == []
    assert gateway.failures[-1] == (
        "oscore:0a", HOME, "The device answered without protection: 4.01 Unauthorized (no).",
    )  # fmt: skip
    (event,) = gateway.receive(device.answer(request, bound))
    assert isinstance(event, ResponseReceived)


def observed(gateway: Gateway, device: Device, peer: OscorePeer):  # type: ignore[no-untyped-def]
    gateway.ask("3303/0/5700", peer, observe=True)
    request, bound = device.asked(gateway.take_one())
    assert request.opt.observe == 0
    (event,) = gateway.receive(device.answer(request, bound, payload=b"20", observe=0))
    assert isinstance(event, ResponseReceived)
    assert event.observing
    return request, bound


def test_notifications_come_in_their_order_and_once() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    request, bound = observed(gateway, device, peer)
    notifications = [
        device.answer(request, bound, payload=b"%d" % n, kind=types.CON, observe=n) for n in (1, 2, 3)
    ]
    (event,) = gateway.receive(notifications[1])
    assert isinstance(event, NotificationReceived)
    assert (event.message.payload, event.final) == (b"2", False)
    assert gateway.receive(notifications[1]) == []  # not yet on disk
    gateway.endpoint.accept_notification(event, gateway.now)
    acknowledgement = gateway.take_one()
    assert gateway.receive(notifications[1]) == []
    assert gateway.take_one() == acknowledgement
    assert gateway.receive(notifications[0]) == []  # overtaken
    assert len(gateway.take()) == 1
    (later,) = gateway.receive(notifications[2])
    assert isinstance(later, NotificationReceived)
    assert later.observe is not None and event.observe is not None
    assert later.observe > event.observe
    # Its Message ID and type are nobody's secret; its number is.
    replayed = bytearray(notifications[2])
    replayed[2] ^= 0x55
    assert gateway.receive(bytes(replayed)) == []


def test_a_notification_that_was_not_taken_comes_again() -> None:
    gateway, device = Gateway(), Device()
    request, bound = observed(gateway, device, meet(gateway, device))
    notification = device.answer(request, bound, payload=b"1", kind=types.CON, observe=1)
    (event,) = gateway.receive(notification)
    assert isinstance(event, NotificationReceived)
    gateway.endpoint.refuse_notification(event, gateway.now, reset=False)
    (again,) = gateway.receive(notification)
    assert isinstance(again, NotificationReceived)


def test_a_device_notifies_from_another_address() -> None:
    gateway, device = Gateway(), Device()
    request, bound = observed(gateway, device, meet(gateway, device))
    notification = device.answer(request, bound, payload=b"1", kind=types.CON, observe=1)
    (event,) = gateway.receive(notification, "elsewhere")
    assert isinstance(event, NotificationReceived)
    assert (event.peer.identity, event.peer.below) == ("oscore:0a", "elsewhere")
    gateway.endpoint.accept_notification(event, gateway.now)
    assert gateway.take()[0][1] == "elsewhere"


def test_an_observation_outlives_a_restart() -> None:
    gateway, device = Gateway(), Device()
    request, bound = observed(gateway, device, meet(gateway, device))
    old = device.answer(request, bound, payload=b"1", kind=types.CON, observe=1)
    assert len(gateway.receive(old)) == 1
    gateway.oscore.save()
    gateway.live.save()
    after = Gateway(shelf=gateway.shelf)
    after.endpoint.restore_observation(request.token, "k", options=((11, b"3303"),))
    assert after.receive(old) == []
    (event,) = after.receive(device.answer(request, bound, payload=b"2", kind=types.CON, observe=2))
    assert isinstance(event, NotificationReceived)
    assert event.peer == OscorePeer("oscore:0a", HOME, b"\x0a", None)
    after.oscore.forget_observation(request.token)
    assert after.shelf.tokens == {}


def test_the_end_of_an_observation() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    request, bound = observed(gateway, device, peer)
    assert list(gateway.shelf.tokens) == [request.token]
    gateway.ask("3303/0/5700", peer, observe_cancel=True, token=request.token)
    sealed = gateway.take_one()
    assert find(decode(sealed).options, 6) == b"\1"
    cancel, bound_cancel = device.asked(sealed)
    crossing = device.answer(request, bound, payload=b"1", kind=types.NON, observe=1)
    (event,) = gateway.receive(crossing)
    assert isinstance(event, NotificationReceived)
    (event,) = gateway.receive(device.answer(cancel, bound_cancel, payload=b"2"))
    assert isinstance(event, ResponseReceived)
    assert gateway.shelf.tokens == {}


def test_bodies_in_blocks_both_ways() -> None:
    gateway, device = Gateway(), Device()
    peer = meet(gateway, device)
    body = bytes(range(256)) * 10
    (half,) = [device.request(codes.POST, "rd", body[:1024], block1=(0, True, 6))]
    assert device.understand(answer_of(gateway, half)).code == codes.CONTINUE
    second = device.request(codes.POST, "rd", body[1024:2048], block1=(1, True, 6))
    assert device.understand(answer_of(gateway, second)).opt.block1.block_number == 1
    (event,) = gateway.receive(device.request(codes.POST, "rd", body[2048:], block1=(2, False, 6)))
    assert isinstance(event, RequestReceived)
    assert event.message.payload == body
    gateway.answer(event)
    gateway.ask("3", peer)
    for number, more in ((0, True), (1, True), (2, False)):
        request, bound = device.asked(gateway.take_one())
        part = body[number * 1024 : number * 1024 + 1024]
        events = gateway.receive(
            device.answer(request, bound, payload=part, block2=(number, more, 6), etag=b"e")
        )
    (answered,) = events
    assert isinstance(answered, ResponseReceived)
    assert answered.message.payload == body


@pytest.mark.parametrize("aead", [1, 3, 10, 11, 12, 24, 30, 31])
@pytest.mark.parametrize("hkdf", [-10, -11, 5])
def test_algorithms(aead: int, hkdf: int) -> None:
    material = dataclasses.replace(MATERIAL, aead=aead, hkdf=hkdf, id_context=b"ctx")
    if aead == 12:
        material = dataclasses.replace(material, sender_id=b"b", recipient_id=b"a")
    gateway, device = Gateway(material), Device(material)
    peer = meet(gateway, device)
    gateway.ask("3", peer)
    request, bound = device.asked(gateway.take_one())
    assert len(gateway.receive(device.answer(request, bound))) == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"aead": 99}, "AEAD"),
        ({"aead": -65531}, "AEAD"),
        ({"hkdf": 1}, "derivation"),
        ({"sender_id": b"12345678"}, "7 bytes"),
        ({"sender_id": b"\x0a"}, "the same"),
    ],
)
def test_material_of_no_use(change: dict[str, object], word: str) -> None:
    material = dataclasses.replace(MATERIAL, **change)  # type: ignore[arg-type]
    with pytest.raises(NoKeys, match=word):
        Keys(material, None)
    gateway = Gateway(material)
    assert plain(answer_of(gateway, Device().request(codes.POST, "rd"))).code == codes.UNAUTHORIZED
    assert word in gateway.failures[0][2]


def test_material_shows_no_secret() -> None:
    assert "secret" not in repr(MATERIAL)
    assert repr(bytes(range(16))) not in repr(MATERIAL)


def test_what_is_not_sealed_passes() -> None:
    gateway = Gateway()
    request = bytes.fromhex("4001000abb2f")
    assert gateway.oscore.receive(request, HOME, 0) == [(request, HOME)]
    for length in range(6):
        assert gateway.oscore.receive(request[:length], HOME, 0) == [(request[:length], HOME)]
    assert gateway.oscore.take_datagrams() == []


def test_the_option_is_found_behind_others() -> None:
    device = Device()
    assert carries_oscore(device.request(codes.GET, "3"))
    assert carries_oscore(device.request(codes.GET, "3", observe=0))
    message = bytes.fromhex("4402000074657374") + b"\x3d\x05" + b"h" * 18 + b"\x60\xff1"
    assert carries_oscore(message)
    assert not carries_oscore(message.replace(b"\x60\xff", b"\x80\xff"))


def test_an_option_longer_than_it_may_be_leaves_nothing_behind() -> None:
    gateway = Gateway()
    for length, code in ((255, codes.UNAUTHORIZED), (256, codes.BAD_OPTION), (5000, codes.BAD_OPTION)):
        kid = os.urandom(length - 2)
        message = encode_parts(CON, 2, length, b"t", ((9, b"\x09\x01" + kid),), b"sealed")
        assert gateway.receive(message) == []
        ((answer, _),) = gateway.oscore.take_datagrams()
        assert decode(answer).code == code
    assert [len(who) for who, _, _ in gateway.failures] == [len("kid ") + 2 * 253]


def test_a_stored_peer() -> None:
    class Place(str):
        def to_json(self) -> str:
            return '["place"]'

    import json

    for context in (None, b"\1\2"):
        peer = OscorePeer('oscore:0a/"', Place("there"), b"\x0a", context)
        assert str(peer) == "there"
        assert OscorePeer.from_json(json.loads(peer.to_json()), lambda _: Place("there")) == peer
    for wrong in ([], ["oscore"], ["oscore", 1, "", None, []], ["oscore", "i", "zz", None, []], ["x"] * 5):
        with pytest.raises(ValueError, match="stored OSCORE peer"):
            OscorePeer.from_json(wrong, lambda _: None)


def test_echo_is_no_option_of_the_application() -> None:
    gateway, device = Gateway(), Device()
    meet(gateway, device)
    (event,) = gateway.receive(device.request(codes.POST, "rd", echo=b"12345678"))
    assert isinstance(event, RequestReceived)
    assert find(event.message.options, 252) is None
