"""Send: taken from whom, refused why, kept before it is answered (OMA Core §6.4.6)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.lwm2m.path import Path
from appliance.storage.errors import StorageFull
from tests.devices.room import EPOCH, SENSOR, Device, Room, peer


def sent(
    device: Device, records: list[dict[str, Any]], content_format: int | None = 110, settle: bool = True
) -> Message | None:
    """A Send, and what the server says to it."""
    message = Message(code=codes.POST, payload=json.dumps(records).encode(), _mtype=types.CON, _token=b"s")
    message.opt.uri_path = ("dp",)
    if content_format is not None:
        message.opt.content_format = content_format
    device.send(message)
    if not settle:
        return None
    (answer,) = [one for one in device.room.settle() if one.token == b"s"]
    return answer


@pytest.fixture
def device(room: Room) -> Device:
    device = room.device("d")
    device.register(b"</1/0>,</3303/0>,</3/0>")
    room.settle()
    return device


def test_values_are_on_disk_before_2_04(room: Room, device: Device) -> None:
    assert sent(device, [{"n": SENSOR, "v": 21.5}], settle=False) is None
    assert [one for one, _ in room.sent if one.token == b"s"] == []
    (answer,) = [one for one in room.settle() if one.token == b"s"]
    assert answer.code == codes.CHANGED
    (row,) = room.journal("send")
    event = room.devices.event(row)
    assert (event["kind"], event["values"][0]["value"], event["values"][0]["source"]) == (
        "send",
        21.5,
        "send",
    )


def test_time_stamped_values_keep_their_times_and_each_its_row(room: Room, device: Device) -> None:
    at = EPOCH + 900
    records = [{"bn": SENSOR, "bt": at, "v": 1}, {"v": 2, "t": 20}, {"v": 3, "t": 10}]
    answer = sent(device, records)
    assert answer is not None
    assert answer.code == codes.CHANGED
    rows = [room.devices.event(row)["values"] for row in room.journal("send")]
    assert [(row[0]["value"], row[0]["at"][-9:]) for row in rows] == [
        (1, "15:00.000Z"[-9:]),
        (3, "15:10.000Z"[-9:]),
        (2, "15:20.000Z"[-9:]),
    ]
    assert room.translation.plain_value("d", Path.parse(SENSOR)) == 2


@pytest.mark.parametrize("path", ["/3303/1/5700", "/3304/0/5700", "/0/0/0"])
def test_an_instance_that_is_not_registered_is_4_04_and_nothing_is_kept(
    room: Room, device: Device, path: str
) -> None:
    answer = sent(device, [{"n": SENSOR, "v": 1}, {"n": path, "v": 1}])
    assert answer is not None
    assert answer.code == codes.NOT_FOUND
    assert room.journal("send") == []
    assert any("A Send was refused" in warning for warning in room.registration("d").warnings)


def test_a_stranger_and_another_address_are_4_00(room: Room, device: Device) -> None:
    for stranger in (room.device("x", 9), device):
        stranger.peer = peer(4000)
        answer = sent(stranger, [{"n": SENSOR, "v": 1}])
        assert answer is not None
        assert answer.code == codes.BAD_REQUEST
    assert room.journal("send") == []


def test_after_an_update_from_there_the_new_address_may_send(room: Room, device: Device) -> None:
    device.peer = peer(4000)
    device.update()
    answer = sent(device, [{"n": SENSOR, "v": 1}])
    assert answer is not None
    assert answer.code == codes.CHANGED


def test_of_several_devices_at_one_address_none_can_be_told_to_be_the_sender(
    room: Room, device: Device
) -> None:
    other = room.device("e")
    other.peer = device.peer
    other._mid = 7000
    other.register(b"</3303/0>")
    answer = sent(device, [{"n": SENSOR, "v": 1}])
    assert answer is not None
    assert answer.code == codes.BAD_REQUEST
    other.settled(other.said(codes.DELETE, other.location))
    answer = sent(device, [{"n": SENSOR, "v": 1}])
    assert answer is not None
    assert answer.code == codes.CHANGED


def test_a_send_without_format_in_another_one_or_without_values_is_4_00(room: Room, device: Device) -> None:
    for content_format, records in ((None, [{"n": SENSOR, "v": 1}]), (0, [{"n": SENSOR, "v": 1}]), (110, [])):
        answer = sent(device, records, content_format)
        assert answer is not None
        assert answer.code == codes.BAD_REQUEST, (content_format, records)
    assert room.journal("send") == []


def test_a_full_disk_is_5_03(room: Room, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageFull("full")

    monkeypatch.setattr(room.broker, "accept", full)
    answer = sent(device, [{"n": SENSOR, "v": 1}])
    assert answer is not None
    assert answer.code == codes.SERVICE_UNAVAILABLE


def test_a_deregistered_device_and_one_from_before_a_restart(room: Room, device: Device) -> None:
    room.restart()
    answer = sent(device, [{"n": SENSOR, "v": 1}])
    assert answer is not None
    assert answer.code == codes.CHANGED
    device.settled(device.said(codes.DELETE, device.location))
    answer = sent(device, [{"n": SENSOR, "v": 1}])
    assert answer is not None
    assert answer.code == codes.BAD_REQUEST


def test_an_older_value_does_not_replace_a_newer_one(room: Room, device: Device) -> None:
    sent(device, [{"n": SENSOR, "v": 5}])
    sent(device, [{"n": SENSOR, "v": 4, "t": EPOCH - 3600}])
    assert len(room.journal("send")) == 2
    assert room.translation.plain_value("d", Path.parse(SENSOR)) == 5
    room.restart()
    assert room.translation.plain_value("d", Path.parse(SENSOR)) == 5
    # A clock that was wrong heals itself: what comes later replaces what lies in the future.
    sent(device, [{"n": SENSOR, "v": 6, "t": EPOCH + 1e6}])
    sent(device, [{"n": SENSOR, "v": 7}])
    assert room.translation.plain_value("d", Path.parse(SENSOR)) == 7
