"""A device registers, updates, deregisters, expires: OMA Core 1.1.1 §6.2, driven one message at a time."""

from __future__ import annotations

import os
import time

import aiocoap
from aiocoap.numbers import codes, types

from tests.house import House, LockstepDevice


def row(house: House, name: str) -> dict[str, object]:
    status, device = house.api("GET", f"/devices/{name}")
    assert status == 200, device
    return device


def test_a_registered_device_is_on_the_page_with_what_it_said(house: House) -> None:
    with LockstepDevice(house, "meter-1") as device:
        answer = device.register("</>;ct=110,</1/0>,</3/0>,</5>", lifetime_s=120)
        assert answer.opt.location_path[0] == "rd"
        assert len(answer.opt.location_path) == 2
        assert not answer.opt.location_query
        seen = row(house, "meter-1")
    assert seen["state"] == "online"
    assert seen["lifetime_s"] == 120
    assert seen["security"] == "NoSec"
    assert seen["version"] == "1.1"
    assert {o["id"]: o["instances"] for o in seen["objects"]} == {1: [0], 3: [0], 5: []}  # type: ignore[union-attr,attr-defined]
    assert [event["kind"] for event in house.events("meter-1")][:1] == ["registered"]


def test_an_unsupported_version_gets_4_12_and_nothing_is_stored(house: House) -> None:
    with LockstepDevice(house, "future") as device:
        for version in ("0.9", "1.3", "2.0"):
            device.register(version=version, expect=codes.PRECONDITION_FAILED)
    assert house.api("GET", "/devices/future")[0] == 404


def test_a_register_without_a_name_gets_4_00(house: House) -> None:
    with LockstepDevice(house) as device:
        answer = device.request(codes.POST, ("rd",), ("lt=60", "lwm2m=1.1", "b=U"), b"</3/0>", 40)
    assert answer.code == codes.BAD_REQUEST


def test_update_at_an_unknown_location_gets_4_04(house: House) -> None:
    with LockstepDevice(house) as device:
        device.location = ("rd", "nobody")
        device.update(expect=codes.NOT_FOUND)
        assert device.request(codes.DELETE, ("rd", "nobody")).code == codes.NOT_FOUND


def test_update_changes_only_what_it_names(house: House) -> None:
    with LockstepDevice(house, "meter-2") as device:
        device.register("</1/0>,</3/0>", lifetime_s=300)
        device.update()
        assert row(house, "meter-2")["lifetime_s"] == 300
        device.update("lt=90")
        assert row(house, "meter-2")["lifetime_s"] == 90
        answer = device.request(codes.POST, device.location, (), b"</1/0>,</3/0>,</7/0>", 40)
        assert answer.code == codes.CHANGED
        assert [o["id"] for o in row(house, "meter-2")["objects"]] == [1, 3, 7]  # type: ignore[union-attr,attr-defined]


def test_deregister_ends_it_and_the_location_is_dead(house: House) -> None:
    with LockstepDevice(house, "meter-3") as device:
        device.register()
        assert device.request(codes.DELETE, device.location).code == codes.DELETED
        device.update(expect=codes.NOT_FOUND)
        assert row(house, "meter-3")["state"] == "deregistered"
    assert [event["kind"] for event in house.events("meter-3")] == ["registered", "deregistered"]


def test_a_second_register_replaces_the_first(house: House) -> None:
    with LockstepDevice(house, "meter-4") as device:
        device.register()
        first = device.location
        device.register()
        assert device.location != first
        current, device.location = device.location, first
        device.update(expect=codes.NOT_FOUND)
        device.location = current
        device.update()
    assert [event["kind"] for event in house.events("meter-4")] == [
        "registered",
        "deregistered",
        "registered",
        "updated",
    ]


def test_a_silent_device_expires(house: House) -> None:
    with LockstepDevice(house, "sprinter") as device:
        device.register(lifetime_s=1)
        deadline = time.monotonic() + 20
        while row(house, "sprinter")["state"] != "offline":
            assert time.monotonic() < deadline
        device.update(expect=codes.NOT_FOUND)
    assert house.events("sprinter")[-1]["kind"] == "expired"


def test_a_repeated_register_is_answered_from_memory_rfc7252_4_5(house: House) -> None:
    with LockstepDevice(house, "twice") as device:
        message = aiocoap.Message(code=codes.POST, payload=b"</3/0>", _mtype=types.CON, _mid=77, _token=b"t")
        message.opt.uri_path = ("rd",)
        message.opt.uri_query = ("ep=twice", "lt=60", "lwm2m=1.1", "b=U")
        message.opt.content_format = 40
        data = message.encode()
        device.send_raw(data)
        first = device.socket.recv(2048)
        device.send_raw(data)
        assert device.socket.recv(2048) == first
    assert [event["kind"] for event in house.events("twice")] == ["registered"]


def test_no_request_reaches_the_device_before_its_register_answer(house: House) -> None:
    with LockstepDevice(house, "sensor") as device:
        message = aiocoap.Message(
            code=codes.POST, payload=b"</3303/0>", _mtype=types.CON, _token=os.urandom(4)
        )
        message.opt.uri_path = ("rd",)
        message.opt.uri_query = ("ep=sensor", "lt=60", "lwm2m=1.1", "b=U")
        message.opt.content_format = 40
        device.send(message)
        first = device.receive()
        assert first.code == codes.CREATED
        device.take_observe("/3303/0/5700", b"21.5")


def test_an_alternate_path_prefixes_every_request(house: House) -> None:
    with LockstepDevice(house, "deep") as device:
        device.register('</lwm2m>;rt="oma.lwm2m",</lwm2m/1/0>,</lwm2m/3303/0>,</elsewhere/3/0>')
        device.take_observe("/lwm2m/3303/0/5700", b"1.5")
        assert [o["id"] for o in row(house, "deep")["objects"]] == [1, 3303]  # type: ignore[union-attr,attr-defined]


def test_registrations_outlive_a_kill(house: House) -> None:
    with LockstepDevice(house, "survivor") as device:
        device.register()
        house.kill()
        house.start()
        device.update("lt=77")
        assert row(house, "survivor")["lifetime_s"] == 77
