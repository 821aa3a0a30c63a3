"""Devices behind a LwM2M gateway: theirs are the names, the gateway's is the address (objects 25 and 26)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.lwm2m.path import Path
from tests.devices.room import Device, Room, path_of, peer

LINKS = b"</>;ct=110,</1/0>,</25>;ver=2.0,</25/0>"
PUMP = ("pump", "d01", "</3/0>,</3303/0>")
LAMP = ("lamp", "d02", "</3/0>,</3311/0>")


def content(
    device: Device, request: Message, records: list[dict[str, Any]], observe: int | None = None
) -> Any:
    reply = Message(
        code=codes.CONTENT,
        payload=json.dumps(records).encode(),
        _mtype=types.ACK,
        _mid=request.mid,
        _token=request.token,
    )
    reply.opt.content_format = 110
    if observe is not None:
        reply.opt.observe = observe
    device.send(reply)
    return device.room.settle()


def listing(*devices: tuple[str, str, str]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for number, (name, prefix, links) in enumerate(devices):
        base = f"/25/{number}"
        records += [
            {"n": f"{base}/0", "vs": name},
            {"n": f"{base}/1", "vs": prefix},
            {"n": f"{base}/3", "vs": links},
        ]
    return records


def registered(device: Device, links: bytes = LINKS) -> Message:
    """Register as a gateway; the Read of object 25 that follows."""
    (read,) = device.register(links)[1:]
    assert (read.code, path_of(read), read.opt.observe) == (codes.GET, "/25", None)
    return read


def behind(room: Room, name: str = "gw") -> dict[str, str]:
    found = room.registration(name).end_devices or {}
    return {prefix: one.endpoint_name for prefix, one in found.items()}


def test_what_a_gateway_lists_are_devices_of_their_own_observed_with_their_prefix(room: Room) -> None:
    device = room.device("gw")
    (observe,) = content(device, registered(device), listing(PUMP))
    assert (path_of(observe), observe.opt.observe) == ("/d01/3303/0/5700", 0)
    assert content(device, observe, [{"n": "/d01/3303/0/5700", "v": 4.5}], observe=1) == []
    assert behind(room) == {"/d01": "pump"}
    row = room.devices.device("pump")
    assert (row["gateway"], row["prefix"], row["state"]) == ("gw", "/d01", "online")
    assert room.devices.device("gw")["end_devices"] == ["pump"]
    assert room.translation.plain_value("pump", Path(3303, 0, 5700)) == 4.5
    assert room.translation.plain_value("gw", Path(3303, 0, 5700)) is None
    notified = Message(
        code=codes.CONTENT,
        payload=b'[{"n":"/d01/3303/0/5700","v":5.5}]',
        _mtype=types.CON,
        _token=observe.token,
    )
    notified.opt.observe = 2
    notified.opt.content_format = 110
    device.send(notified)
    (answer,) = room.settle()
    assert answer.mtype is types.ACK
    assert room.translation.plain_value("pump", Path(3303, 0, 5700)) == 5.5


def test_as_many_as_there_are_behind_one_gateway_are_observed_in_turn(room: Room) -> None:
    """They share one line, in which there is not room for all at a time."""
    device = room.device("gw")
    devices = [(f"n{number}", f"d{number}", "</3/0>,</3303/0>") for number in range(150)]
    waiting = content(device, registered(device), listing(*devices))
    while waiting:
        observe = waiting.pop(0)
        name = "/" + "/".join(observe.opt.uri_path)
        waiting += content(device, observe, [{"n": name, "v": 1.5}], observe=1)
    assert sum(len(one.observations) for one in room.registry) == 150


def test_a_send_of_a_gateway_is_told_apart_by_prefix(room: Room) -> None:
    device = room.device("gw")
    asked = content(device, registered(device), listing(PUMP, LAMP))
    for request in asked:
        device.answer(request, codes.METHOD_NOT_ALLOWED)
    for records, code in (
        ([{"n": "/d01/3303/0/5700", "v": 7}, {"n": "/d02/3311/0/5850", "vb": True}], codes.CHANGED),
        ([{"n": "/d03/3303/0/5700", "v": 8}], codes.NOT_FOUND),
        ([{"n": "/d02/3303/0/5700", "v": 9}], codes.NOT_FOUND),
    ):
        message = Message(
            code=codes.POST, payload=json.dumps(records).encode(), _mtype=types.CON, _token=b"s"
        )
        message.opt.uri_path = ("dp",)
        message.opt.content_format = 110
        device.send(message)
        (answer,) = [one for one in room.settle() if one.token == b"s"]
        assert answer.code == code, records
    assert room.translation.plain_value("pump", Path(3303, 0, 5700)) == 7
    assert room.translation.plain_value("lamp", Path(3311, 0, 5850)) is True
    assert room.translation.plain_value("lamp", Path(3303, 0, 5700)) is None


def test_an_operation_at_an_end_device_goes_through_its_gateway(room: Room) -> None:
    device = room.device("gw")
    for request in content(device, registered(device), listing(PUMP)):
        device.answer(request, codes.METHOD_NOT_ALLOWED)
    work = room.loop.create_task(room.devices.operate("pump", {"operation": "Read", "path": "/3/0/0"}))
    room.loop.call_soon(room.loop.stop)
    room.loop.run_forever()
    (read,) = room.settle()
    assert path_of(read) == "/d01/3/0/0"
    content(device, read, [{"n": "/d01/3/0/0", "vs": "ACME"}])
    outcome = room.run(work)
    assert (outcome["ok"], outcome["values"][0]["value"]) == (True, "ACME")


def test_they_end_with_their_gateway(room: Room) -> None:
    device = room.device("gw")
    content(device, registered(device), listing(PUMP))
    device.settled(device.said(codes.DELETE, device.location))
    assert room.registration("pump").ended == "deregistered"
    assert room.devices.device("pump")["state"] == "deregistered"
    assert room.devices.device("pump")["gateway"] == "gw"
    read = registered(device)
    content(device, read, listing(PUMP))
    assert room.registration("pump").ended == ""
    room.now += 400
    room.uplink.expire()
    assert room.registration("pump").ended == "expired"


def test_a_gateway_that_registers_again_keeps_its_devices_and_observes_them_anew(room: Room) -> None:
    device = room.device("gw")
    (observe,) = content(device, registered(device), listing(PUMP, LAMP))
    content(device, observe, [{"n": "/d01/3303/0/5700", "v": 4.5}], observe=1)
    pump = room.registration("pump")
    assert list(pump.observations) == ["/3303/0/5700"]
    device.peer = peer(4000)
    read = registered(device)
    assert pump.observations == {}
    (again,) = content(device, read, listing(PUMP))
    assert (path_of(again), again.token != observe.token) == ("/d01/3303/0/5700", True)
    assert room.registration("pump") is pump
    assert pump.client.peer == peer(4000)
    assert room.registration("lamp").ended == "deregistered"


def test_an_update_with_other_instances_of_object_25_reads_the_list_anew(room: Room) -> None:
    device = room.device("gw")
    (observe,) = content(device, registered(device), listing(PUMP))
    assert device.answer(observe, codes.METHOD_NOT_ALLOWED) == []
    assert device.update()[1:] == []
    (read,) = device.update(links=LINKS + b",</25/1>")[1:]
    assert path_of(read) == "/25"
    content(device, read, listing(PUMP, LAMP))
    assert behind(room) == {"/d01": "pump", "/d02": "lamp"}


def test_they_move_with_their_gateway(room: Room) -> None:
    device = room.device("gw")
    (observe,) = content(device, registered(device), listing(PUMP))
    content(device, observe, [{"n": "/d01/3303/0/5700", "v": 4.5}], observe=1)
    device.peer = peer(5000)
    device.update()
    assert room.registration("pump").client.peer == peer(5000)


def test_they_outlive_a_restart(room: Room) -> None:
    device = room.device("gw")
    (observe,) = content(device, registered(device), listing(PUMP))
    content(device, observe, [{"n": "/d01/3303/0/5700", "v": 4.5}], observe=1)
    room.restart()
    assert behind(room) == {"/d01": "pump"}
    pump = room.registration("pump")
    assert (pump.client.root, list(pump.observations)) == ("/d01", ["/3303/0/5700"])
    notified = Message(
        code=codes.CONTENT,
        payload=b'[{"n":"/d01/3303/0/5700","v":6.5}]',
        _mtype=types.CON,
        _token=observe.token,
    )
    notified.opt.observe = 3
    notified.opt.content_format = 110
    device.send(notified)
    assert [one.mtype for one in room.settle()] == [types.ACK]
    assert room.translation.plain_value("pump", Path(3303, 0, 5700)) == 6.5


def test_no_message_can_pretend_to_be_the_registration_of_an_end_device(room: Room) -> None:
    device = room.device("gw")
    content(device, registered(device), listing(PUMP))
    location = ("rd", room.registration("pump").id)
    assert device.post(location, ())[0].code == codes.NOT_FOUND
    assert device.settled(device.said(codes.DELETE, location))[0].code == codes.NOT_FOUND


def test_a_name_that_belongs_to_somebody_else_is_not_taken(room: Room) -> None:
    room.device("pump", 3000).register(b"</3/0>")
    device = room.device("gw")
    content(device, registered(device), listing(PUMP, ("gw", "d05", "</3/0>"), LAMP))
    assert behind(room) == {"/d02": "lamp"}
    assert room.registration("pump").gateway is None
    assert sum("that one stays" in warning for warning in room.registration("gw").warnings) == 2


def test_a_device_that_registers_itself_is_behind_its_gateway_no_more(room: Room) -> None:
    device = room.device("gw")
    content(device, registered(device), listing(PUMP))
    room.device("pump", 3000).register(b"</3/0>")
    assert behind(room) == {}
    assert room.registration("pump").gateway is None


def test_there_is_an_end_to_devices_behind_one_gateway(make_room: Callable[..., Room]) -> None:
    room = make_room(max_end_devices=2)
    device = room.device("gw")
    content(device, registered(device), listing(*((f"n{n}", f"p{n}", "</3/0>") for n in range(3))))
    assert len(behind(room)) == 2
    assert any("max_end_devices" in warning for warning in room.registration("gw").warnings)


def test_a_list_that_cannot_be_read_is_said_and_read_again_after_the_next_update(room: Room) -> None:
    device = room.device("gw")
    read = registered(device)
    device.answer(read, codes.INTERNAL_SERVER_ERROR)
    assert any("object 25 was not read" in warning for warning in room.registration("gw").warnings)
    (read,) = device.update()[1:]
    content(device, read, listing(PUMP))
    assert behind(room) == {"/d01": "pump"}


def test_a_removed_gateway_takes_its_devices_out_of_reach(room: Room) -> None:
    device = room.device("gw")
    content(device, registered(device), listing(PUMP, LAMP))
    room.run(room.devices.remove("lamp"))
    assert behind(room) == {"/d01": "pump"}
    room.run(room.devices.remove("gw"))
    assert room.registration("pump").ended == "deregistered"
