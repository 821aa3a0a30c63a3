"""From a device's operation to its receipt: an answer leaves after the commit of what it stands for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.devices.uplink import lists_secrets, read_receipt
from appliance.storage.errors import StorageError, StorageFull
from tests.devices.room import SENSOR, Device, Room, peer

REGISTER = ("ep=d", "lt=60", "lwm2m=1.1", "b=U")


class Disk:
    """Commits, or not."""

    def __init__(self, room: Room, patch: pytest.MonkeyPatch) -> None:
        self.full = False
        commit = room.database._commit

        def refusing(writes: list[object]) -> object:
            if self.full:
                from appliance.storage.database import _Outcome

                return _Outcome(StorageError("no space left on device"), {})
            return commit(writes)  # type: ignore[arg-type]

        patch.setattr(room.database, "_commit", refusing)


@pytest.fixture
def disk(room: Room, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(room, monkeypatch)


def observed(room: Room, device: Device) -> bytes:
    """Register and accept the Observe; its token."""
    (request,) = device.register()[1:]
    device.answer(request, payload=b"1.5", observe=5)
    return bytes(request.token)


def test_no_answer_before_the_commit(room: Room) -> None:
    device = room.device("d")
    device.said(codes.POST, ("rd",), REGISTER, b"</3303/0>")
    room.server._pump()
    assert room.sent == []
    assert [message.code for message in room.settle()] == [codes.CREATED, codes.GET]


def test_a_notification_is_acknowledged_after_its_commit(room: Room) -> None:
    device = room.device("d")
    token = observed(room, device)
    message = Message(code=codes.CONTENT, payload=b"2.5", _mtype=types.CON, _token=token)
    message.opt.observe = 6
    message.opt.content_format = 0
    device.send(message)
    device.send(message)  # again before the commit: absorbed
    room.server._pump()
    assert room.sent == []
    (ack,) = room.settle()
    assert (ack.mtype, ack.mid) == (types.ACK, message.mid)
    assert [row.receipt is not None for row in room.journal("value")] == [False, True]
    receipt = room.journal("value")[-1].receipt
    assert receipt is not None
    assert read_receipt(receipt) == (token, 6, message.mid)


def test_a_full_disk_is_5_03_and_silence_and_then_all_is_well(room: Room, disk: Disk) -> None:
    device = room.device("d")
    token = observed(room, device)
    disk.full = True
    assert device.notify(token, b"2.5", 6) == []
    assert device.post(device.location, ())[0].code == codes.SERVICE_UNAVAILABLE
    assert room.device("e", 2000).post(("rd",), ("ep=e", *REGISTER[1:]), b"</3/0>")[0].code == (
        codes.SERVICE_UNAVAILABLE
    )
    disk.full = False
    (ack,) = device.notify(token, b"2.5", 6)
    assert ack.mtype is types.ACK
    assert device.update()[0].code == codes.CHANGED
    assert [shown["value"] for shown in room.devices.values("d")["values"]] == [2.5]


def test_what_an_update_changed_on_a_full_disk_is_saved_with_the_next_one(room: Room, disk: Disk) -> None:
    device = room.device("d")
    token = observed(room, device)
    disk.full = True
    device.peer = peer(2000)
    assert device.post(device.location, ("lt=77",))[0].code == codes.SERVICE_UNAVAILABLE
    disk.full = False
    device.update()
    room.restart()
    assert room.devices.device("d")["lifetime_s"] == 77
    assert device.notify(token, b"2.5", 6)[0].mtype is types.ACK


def test_a_full_queue_to_the_disk_raises_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    device = room.device("d")
    token = observed(room, device)

    def full(*_: object) -> int:
        raise StorageFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(room.database, "write", full)
        assert device.notify(token, b"2.5", 6) == []
        for path, query in (
            (device.location, ()),
            (device.location, ("lt=5",)),
            (("rd",), REGISTER),
            (("rd",), ("ep=new", *REGISTER[1:])),
        ):
            links = b"</3/0>" if path == ("rd",) else b""
            assert device.post(path, query, links)[0].code == codes.SERVICE_UNAVAILABLE
        assert device.settled(device.said(codes.DELETE, device.location))[0].code == (
            codes.SERVICE_UNAVAILABLE
        )
    device.register()


def test_an_update_names_only_what_changes_6_2_2(room: Room) -> None:
    device = room.device("d")
    device.post(("rd",), (*REGISTER, "sms=123", "x=1", "y"), b"</3/0>")
    device.update("y=2", "z")
    row = room.devices.device("d")
    assert row["parameters"] == {"x": "1", "y": "2", "z": None}
    assert (row["lifetime_s"], row["binding"], row["sms_number"]) == (60, "U", "123")
    room.restart()
    assert room.devices.device("d")["parameters"] == {"x": "1", "y": "2", "z": None}


def test_no_more_devices_than_allowed_but_the_known_ones_always(make_room: Callable[..., Room]) -> None:
    room = make_room(max_devices=2)
    room.device("a").register()
    room.device("b", 2000).register()
    assert room.device("c", 3000).post(("rd",), ("ep=c", *REGISTER[1:]), b"</3/0>")[0].code == (
        codes.SERVICE_UNAVAILABLE
    )
    room.device("b", 2001).register()


def test_two_devices_that_swap_their_addresses(room: Room) -> None:
    one, two = room.device("one", 1000), room.device("two", 2000)
    tokens = {device.name: observed(room, device) for device in (one, two)}
    one.peer, two.peer = two.peer, one.peer
    assert one.notify(tokens["one"], b"6.6", 6) == []  # NoSec: refused, and said
    assert "from 192.0.2.1:2000" in room.devices.device("one")["warnings"][0]
    one.update()
    two.update()
    for device in (one, two):
        assert device.notify(tokens[device.name], b"7.5", 7)[0].mtype is types.ACK
    work = room.loop.create_task(room.devices.operate("one", {"operation": "Read", "path": SENSOR}))
    room.loop.call_soon(room.loop.stop)
    room.loop.run_forever()
    room.database.flush()
    room.server._pump()
    ((request, to),) = room.sent
    assert to == one.peer
    room.sent.clear()
    one.answer(request, payload=b"8.5")
    assert room.run(work)["values"][0]["value"] == 8.5


def test_one_name_from_two_addresses_belongs_to_who_came_last(room: Room) -> None:
    first, second = room.device("twin", 1000), room.device("twin", 2000)
    token = observed(room, first)
    second.register()
    assert first.notify(token, b"2.5", 6)[0].mtype is types.RST
    assert first.post(first.location, ())[0].code == codes.NOT_FOUND
    assert room.devices.device("twin")["address"] == "192.0.2.1:2000"


def test_devices_that_list_their_keys_are_shown_with_a_warning() -> None:
    assert lists_secrets(b"</0/0>,</1/0>", "")
    assert lists_secrets(b"</lwm2m/21>", "/lwm2m")
    assert not lists_secrets(b"</1/0>,</10/0>,</3/0>", "")


def test_the_words_of_a_refusal_are_no_lasting_warning(room: Room) -> None:
    device = room.device("d")
    (request,) = device.register()[1:]
    device.answer(request, codes.NOT_FOUND, b"no such thing here")
    assert room.devices.device("d")["warnings"] == []
