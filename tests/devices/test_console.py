"""What people and programs do with devices, and what they are told: every failure says the next step."""

from __future__ import annotations

from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes

from appliance.devices.console import DeviceError
from appliance.storage.errors import StorageFull
from tests.devices.room import SENSOR, Device, Room, path_of


def operated(room: Room, device: Device, code: Any, payload: bytes = b"", **request: Any) -> dict[str, Any]:
    """One operation, answered by the device with ``code``."""
    work = room.loop.create_task(room.devices.operate(device.name, request))
    asked = turned(room)
    assert len(asked) == 1, asked
    device.answer(asked[0], code, payload)
    result: dict[str, Any] = room.run(work)
    return result


def turned(room: Room) -> list[Message]:
    """One turn of the loop, and what left in it."""
    room.loop.call_soon(room.loop.stop)
    room.loop.run_forever()
    return room.settle()


def test_a_value_that_can_only_be_written_is_not_kept(room: Room) -> None:
    """A WLAN key belongs to the device, not into the journal (object 12, resource 18 is WPA Key Phrase)."""
    device = room.device("d")
    device.register(b"</12/0>")
    write_only = [
        resource
        for resource in room.devices.model(12)["resources"]
        if resource["operations"] == "W" and resource["type"] == "string"
    ]
    assert write_only
    path = f"/12/0/{write_only[0]['id']}"
    outcome = operated(room, device, codes.CHANGED, operation="Write", path=path, value="secret!")
    assert (outcome["ok"], outcome["values"]) == (True, [])
    assert room.devices.values("d")["values"] == []
    assert "secret!" not in str(room.journal())


def test_a_value_written_is_shown_as_written(room: Room) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    operated(room, device, codes.CHANGED, operation="Write", path="/3/0/14", value="+02:00")
    (value,) = room.devices.values("d")["values"]
    assert (value["value"], value["source"]) == ("+02:00", "write")


def test_what_was_refused_is_not_kept(room: Room) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    outcome = operated(
        room, device, codes.METHOD_NOT_ALLOWED, b"go away", operation="Write", path="/3/0/14", value="x"
    )
    assert (outcome["ok"], outcome["code"]) == (False, "4.05")
    assert "go away" in outcome["words"]
    assert room.devices.values("d")["values"] == []
    assert room.devices.device("d")["warnings"] == []


def test_done_at_the_device_and_not_stored_here_says_both(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    work = room.loop.create_task(
        room.devices.operate("d", {"operation": "Execute", "path": "/3/0/4", "arguments": ""})
    )
    (asked,) = turned(room)

    def refuse(*_: object) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(room.database, "write", refuse)
    device.answer(asked, codes.CHANGED)
    with pytest.raises(DeviceError, match=r"Execute /3/0/4: Changed.*could not store"):
        room.run(work)


def test_only_so_many_operations_wait_for_one_device(room: Room) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    works = [
        room.loop.create_task(room.devices.operate("d", {"operation": "Read", "path": "/3/0/0"}))
        for _ in range(272)
    ]
    (first,) = turned(room)  # NSTART: one on the wire
    for _ in range(4):
        turned(room)
    refused = [work for work in works if work.done()]
    assert len(refused) == 16
    for work in refused:
        error = work.exception()
        assert isinstance(error, DeviceError)
        assert error.kind == "busy"
    (second,) = device.answer(first, payload=b"x")
    assert second.token != first.token
    answer = device.settled(device.said(codes.DELETE, device.location))
    assert [message.code for message in answer] == [codes.DELETED]  # none of those in line leaves now
    for work in works:
        if work not in refused and work is not works[0]:
            with pytest.raises(DeviceError, match=r"not registered now|cancelled") as caught:
                room.run(work)
            assert caught.value.kind == "unreachable"
    assert room.run(works[0])["ok"]


def test_after_a_register_again_the_old_requests_are_over_and_new_ones_work(room: Room) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    work = room.loop.create_task(room.devices.operate("d", {"operation": "Read", "path": "/3/0/0"}))
    turned(room)
    device.register(b"</3/0>")
    with pytest.raises(DeviceError, match="cancelled"):
        room.run(work)
    assert operated(room, device, codes.CONTENT, b"abc", operation="Read", path="/3/0/0")["ok"]


def test_removed_while_an_answer_is_awaited(room: Room) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    work = room.loop.create_task(room.devices.operate("d", {"operation": "Read", "path": "/3/0/0"}))
    turned(room)
    room.run(room.devices.remove("d"))
    with pytest.raises(DeviceError, match="removed"):
        room.run(work)
    assert room.broker.entity("d") is None
    with pytest.raises(DeviceError) as caught:
        room.devices.device("d")
    assert caught.value.kind == "not_found"
    assert caught.value.next_step


def test_the_pages_of_the_fleet_go_on_where_they_ended(room: Room) -> None:
    for number in range(25):
        room.device(f"ünit/{number:02}", 1000 + number).register(b"</3/0>")
    names: list[str] = []
    after = ""
    while True:
        page = room.devices.list_devices(after=after, limit=10)
        names += [row["endpoint_name"] for row in page["devices"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert names == [f"ünit/{number:02}" for number in range(25)]
    assert len(room.devices.list_devices(search="ÜNIT/1")["devices"]) == 10
    assert room.devices.list_devices(state="offline")["devices"] == []


def test_an_own_model_is_stored_before_it_counts(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.devices.test_observations import OWN_SENSOR

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room.devices, "_store_model", full)
    with pytest.raises(DeviceError, match="could not store"):
        room.devices.add_model(OWN_SENSOR)
    with pytest.raises(DeviceError):
        room.devices.model(3210)


def test_the_observation_of_a_sensor_shows_in_its_values(room: Room) -> None:
    device = room.device("d")
    (request,) = device.register()[1:]
    assert path_of(request) == SENSOR
    device.answer(request, payload=b"1.5", observe=1)
    (value,) = room.devices.values("d")["values"]
    assert (value["observed"], value["value"], value["units"]) == (True, 1.5, "")
