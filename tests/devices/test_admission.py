"""An endpoint name is a claim, an identity is a proof (OMA Core §8.1; traps 11, 20, 42)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.devices.admission import Refused
from appliance.lwm2m import registration
from appliance.southbound.server import Source
from appliance.vault.lifecycle import REPLACED
from tests.devices.room import SENSOR, Device, Room, peer


@pytest.fixture
def proved(room: Room) -> dict[Any, str]:
    """What the transport proves, by address; over anything else nothing."""
    identities: dict[Any, str] = {}
    room.server.bearer.identity = identities.get  # type: ignore[method-assign,assignment]
    return identities


def registers(device: Device, name: str | None = None) -> Message:
    """The answer to a Register under that name, its own by default."""
    query = ("lt=300", "lwm2m=1.1", "b=U") + (() if name == "" else (f"ep={name or device.name}",))
    request = device.said(codes.POST, ("rd",), query, b"</1/0>,</3303/0>")
    (answer,) = [one for one in device.settled(request) if one.mid == request.mid]
    return answer


def said(room: Room, device: Device, code: Any, path: Any, query: Any, payload: bytes) -> Message:
    request = device.said(code, path, query, payload)
    (answer,) = [one for one in device.settled(request) if one.mid == request.mid]
    return answer


def stranger_of(room: Room) -> dict[str, Any]:
    (stranger,) = room.strangers
    return stranger.to_api()


def test_an_identity_registers_under_the_name_it_was_given(room: Room, proved: dict[Any, str]) -> None:
    room.vault.add("meter-1", "psk:meter-1-key")
    device = room.device("meter-1")
    proved[device.peer] = "psk:meter-1-key"
    assert registers(device).code == codes.CREATED
    assert room.registration("meter-1").client.identity == "psk:meter-1-key"
    assert room.uses.get("psk:meter-1-key").used_at == room.wall()
    assert list(room.strangers) == []


def test_without_ep_the_identity_tells_who_it_is(room: Room, proved: dict[Any, str]) -> None:
    room.vault.add("meter-1", "psk:meter-1-key")
    device = room.device("meter-1")
    proved[device.peer] = "psk:meter-1-key"
    assert registers(device, "").code == codes.CREATED
    assert room.registry.named("meter-1") is not None


def test_another_name_is_4_00_and_one_sentence_for_the_operator(room: Room, proved: dict[Any, str]) -> None:
    room.vault.add("a", "psk:a")
    device = room.device("b")
    proved[device.peer] = "psk:a"
    answer = registers(device)
    assert answer.code == codes.BAD_REQUEST
    assert b'"a"' not in answer.payload, "a stranger need not learn whose key it is"
    sentence = (
        'The PSK identity a belongs to "a", but the device calls itself "b": '
        "set that endpoint name in the device, or give it a key of its own."
    )
    assert stranger_of(room)["reason"] == room.uses.get("psk:a").text == sentence
    assert room.registry.named("b") is None


def test_an_identity_that_nobody_has_waits_in_the_list(room: Room, proved: dict[Any, str]) -> None:
    device = room.device("new")
    proved[device.peer] = "x509:new"
    assert registers(device).code == codes.FORBIDDEN
    assert stranger_of(room)["state"] == "waiting"
    assert "no device has this identity" in stranger_of(room)["reason"]


@pytest.mark.parametrize(
    ("facts", "code", "words"),
    [
        ({"state": "revoked"}, codes.FORBIDDEN, "The PSK identity a was revoked; give a a new key."),
        (
            {"state": "revoked", "reason": REPLACED},
            codes.FORBIDDEN,
            "The PSK identity a was replaced by a newer one: put that into a, or give it another.",
        ),
        ({"expires_at": 1.0}, codes.FORBIDDEN, "The PSK identity a has expired; give a a new key."),
        ({"purpose": "bootstrap"}, codes.BAD_REQUEST, "for bootstrap only"),
    ],
)
def test_what_does_not_count_any_more_does_not_register(
    room: Room, proved: dict[Any, str], facts: dict[str, Any], code: Any, words: str
) -> None:
    room.vault.add("a", "psk:a", **facts)
    device = room.device("a")
    proved[device.peer] = "psk:a"
    assert registers(device).code == code
    assert words in room.uses.get("psk:a").text


def test_a_staged_key_is_promoted_when_it_is_used(room: Room, proved: dict[Any, str]) -> None:
    room.vault.add("a", "psk:a2", state="staged")
    device = room.device("a")
    proved[device.peer] = "psk:a2"
    registers(device)
    assert room.promoted == ["psk:a2"]


def test_who_has_a_key_does_not_come_without(room: Room) -> None:
    room.vault.add("meter-1", "psk:meter-1")
    assert registers(room.device("meter-1")).code == codes.FORBIDDEN
    assert "but it has a key" in stranger_of(room)["reason"]
    room.vault.add("meter-1", "psk:meter-1", nosec=True)
    assert registers(room.device("meter-1", 1001)).code == codes.CREATED


def test_without_security_only_who_is_allowed(room: Room) -> None:
    room.nosec["UDP"] = "allowed"
    room.vault.add("old", nosec=True)
    assert registers(room.device("old")).code == codes.CREATED
    assert registers(room.device("new", 1001)).code == codes.FORBIDDEN
    stranger = stranger_of(room)
    assert (stranger["endpoint_name"], stranger["can_accept"]) == ("new", True)


@pytest.mark.parametrize("state", ["active", "revoked"])
def test_who_has_a_bootstrap_key_is_not_given_others_without_it(room: Room, state: str) -> None:
    # Allowed to come without security: its keys would go to whoever says its name.
    room.vault.add("meter-1", "psk:bs:meter-1", nosec=True, purpose="bootstrap", state=state)
    nobody = Source(peer(1000), "UDP", None)
    with pytest.raises(Refused, match="but it has a bootstrap key"):
        room.admission.bootstrap("meter-1", nobody)
    assert room.admission.register("meter-1", nobody) == "meter-1"
    room.vault.add("meter-2", "psk:meter-2", nosec=True)
    assert room.admission.bootstrap("meter-2", nobody) == "meter-2"


def test_the_long_list_of_a_stranger_is_not_read(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(payload: bytes, *more: Any) -> Any:
        read.append(len(payload))
        return reads(payload, *more)

    reads = registration.read_object_list
    monkeypatch.setattr(registration, "read_object_list", counted)
    links = b"</1/0>," + b",".join(b"</3303/%d>" % number for number in range(500))
    room.nosec["UDP"] = "allowed"
    room.vault.add("known", nosec=True)
    stranger, known = room.device("new"), room.device("known", 1001)
    query = ("lt=300", "lwm2m=1.1", "b=U")
    assert said(room, stranger, codes.POST, ("rd",), (*query, "ep=new"), links).code == codes.FORBIDDEN
    assert [one.endpoint_name for one in room.strangers] == ["new"], "and it waits in the list all the same"
    assert said(room, stranger, codes.POST, ("rd", "nowhere"), (), links).code == codes.NOT_FOUND
    assert max(read, default=0) < 10
    assert said(room, known, codes.POST, ("rd",), (*query, "ep=known"), links).code == codes.CREATED
    location = ("rd", room.registration("known").id)
    assert len(room.registration("known").client.objects.instances) == 501
    assert said(room, known, codes.POST, location, (), links + b",</4/0>").code == codes.CHANGED
    assert len(room.registration("known").client.objects.instances) == 502
    assert read[-2:] == [len(links), len(links) + 7]


def test_who_is_blocked_is_refused_and_counted(room: Room) -> None:
    room.nosec["UDP"] = "allowed"
    registers(room.device("new"))
    (stranger,) = room.strangers
    room.strangers.mark(stranger.id, "blocked")
    room.nosec["UDP"] = "everyone"
    assert registers(room.device("new", 1001)).code == codes.FORBIDDEN
    assert (stranger_of(room)["count"], stranger_of(room)["state"]) == (2, "blocked")


def test_the_list_outlives_a_restart_and_is_bounded(room: Room) -> None:
    for number in range(600):
        room.strangers.knock(f"n{number}", "", "192.0.2.1:1", "UDP", "why")
        room.now += 2  # of those who come faster, not all are written
    assert len(list(room.strangers)) == 500
    room.restart()
    room.strangers.load()
    assert {one.endpoint_name for one in room.strangers} == {f"n{number}" for number in range(100, 600)}


def test_what_a_person_decided_is_kept_longer_than_who_waits(room: Room) -> None:
    blocked = room.strangers.knock("bad", "", "192.0.2.1:1", "UDP", "why")
    room.strangers.mark(blocked.id, "blocked")
    for number in range(600):
        room.now += 1
        room.strangers.knock(f"n{number}", "", "192.0.2.1:1", "UDP", "why")
    assert room.strangers.blocked("bad", "")


# After the registration


def test_update_and_deregister_need_the_same_device(room: Room, proved: dict[Any, str]) -> None:
    room.vault.add("a", "psk:a")
    room.vault.add("b", "psk:b")
    device = room.device("a")
    proved[device.peer] = "psk:a"
    registers(device)
    thief = room.device("b", 1001)
    proved[thief.peer] = "psk:b"
    for code in (codes.POST, codes.DELETE):
        request = thief.said(code, device.location)
        (answer,) = [one for one in room.settle() if one.mid == request.mid]
        assert answer.code == codes.BAD_REQUEST
    assert not room.registration("a").ended
    assert any("The PSK identity b" in warning for warning in room.registration("a").warnings)


def test_a_new_key_of_the_same_device_goes_on_with_its_registration(
    room: Room, proved: dict[Any, str]
) -> None:
    room.vault.add("a", "psk:a", "psk:a2")
    device = room.device("a")
    proved[device.peer] = "psk:a"
    registers(device)
    device.peer = peer(2000)
    proved[device.peer] = "psk:a2"
    device.update()
    assert room.registration("a").client.identity == "psk:a2"
    room.restart()
    assert room.registration("a").client.identity == "psk:a2"


def test_a_session_that_was_proved_is_not_continued_without_proof(room: Room, proved: dict[Any, str]) -> None:
    room.vault.add("a", "psk:a", nosec=True)
    device = room.device("a")
    proved[device.peer] = "psk:a"
    registers(device)
    proved.clear()
    request = device.said(codes.POST, device.location)
    (answer,) = [one for one in room.settle() if one.mid == request.mid]
    assert answer.code == codes.BAD_REQUEST


def test_a_notification_from_elsewhere_moves_the_device_when_its_identity_is_proved(
    room: Room, proved: dict[Any, str]
) -> None:
    room.vault.add("a", "psk:a")
    device = room.device("a")
    proved[device.peer] = "psk:a"
    (observe,) = [one for one in device.register() if one.opt.observe == 0]
    device.answer(observe, payload=b"1", observe=1)
    device.peer = peer(2000)
    proved[device.peer] = "psk:a"
    device.notify(observe.token, b"2", 2)
    assert room.registration("a").client.peer == device.peer
    assert [one.endpoint_name for one in room.registry.at_peer(device.peer)] == ["a"]
    assert room.registry.at_peer(peer(1000)) == []


def test_a_send_is_from_whose_identity_it_is(room: Room, proved: dict[Any, str]) -> None:
    room.vault.add("a", "psk:the key of a")
    device = room.device("a")
    proved[device.peer] = "psk:the key of a"
    registers(device)
    device.peer = peer(2000)
    message = Message(code=codes.POST, _mtype=types.CON, _token=b"s")
    message.payload = json.dumps([{"n": SENSOR, "v": 21.5}]).encode()
    message.opt.uri_path, message.opt.content_format = ("dp",), 110
    proved[device.peer] = "psk:somebody else"
    device.send(message)
    (answer,) = [one for one in room.settle() if one.token == b"s"]
    assert answer.code == codes.BAD_REQUEST
    message.mid = None
    proved[device.peer] = "psk:the key of a"
    device.send(message)
    (answer,) = [one for one in room.settle() if one.token == b"s"]
    assert answer.code == codes.CHANGED


def test_a_bootstrap_key_is_for_bootstrapping_only(room: Room, proved: dict[Any, str]) -> None:
    room.vault.add("a", "psk:bs:a", purpose="bootstrap")
    room.vault.add("a", "psk:a")
    device = room.device("a")
    proved[device.peer] = "psk:a"
    registers(device)
    device.peer = peer(2000)
    proved[device.peer] = "psk:bs:a"
    payload = json.dumps([{"n": SENSOR, "v": 21.5}]).encode()
    location = ("rd", room.registration("a").id)
    for code, path, content in (
        (codes.POST, ("dp",), payload),
        (codes.POST, location, b""),
        (codes.DELETE, location, b""),
    ):
        message = Message(code=code, _mtype=types.CON, _token=b"s", payload=content)
        message.opt.uri_path, message.opt.content_format = path, 110 if content else None
        device.send(message)
        (answer,) = [one for one in room.settle() if one.token == b"s"]
        assert answer.code == codes.BAD_REQUEST, path
    assert not room.registration("a").ended
    assert room.admission.owner(Source(peer(2000), "DTLS", "psk:bs:a")) == "a", "it may enrol (RFC 9148)"


def test_what_the_vault_takes_back_is_said_in_words(room: Room, proved: dict[Any, str]) -> None:
    room.vault.add("a", "psk:a")
    device = room.device("a")
    proved[device.peer] = "psk:a"
    registers(device)
    registration = room.registration("a")
    assert room.admission.still(registration) == ""
    room.vault.identities["psk:a"].state = "revoked"
    assert room.admission.still(registration) == "The PSK identity a was revoked; give a a new key."
    room.uplink.revoke(registration, "revoked")
    assert room.registration("a").ended == "refused"
    assert registers(device).code == codes.FORBIDDEN
