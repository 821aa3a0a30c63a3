"""When a device in queue mode listens, what is learned of it, and when it is expected."""

from __future__ import annotations

from typing import Any

import pytest
from aiocoap.numbers import codes

from appliance.devices.presence import Presence
from tests.devices.room import Device, Room
from tests.devices.test_tasks import READ, register, requests, rest, sleeper, turn


def shown(room: Room) -> dict[str, Any]:
    row = room.devices.device("d")
    return {name: row[name] for name in ("state", "awake_s")} | {
        "listens": row["awake_until"] is not None,
        "expected": row["expected_at"] is not None,
    }


def expected_in_s(room: Room) -> float | None:
    return room.presence.expected_in_s(room.registration("d"))


def test_who_is_not_in_queue_mode_always_listens(room: Room) -> None:
    room.device("d").register(b"</3/0>")
    room.now += 150
    room.presence.fall_asleep()
    assert shown(room) == {"state": "online", "awake_s": None, "listens": False, "expected": False}
    assert room.journal("asleep") == room.journal("awake") == []


def test_the_window_is_93_s_from_the_last_message_of_any_kind(room: Room) -> None:
    device = room.device("d")
    (observe,) = requests(register(device, b"</3303/0>"))
    device.answer(observe, payload=b"1", observe=1)
    for number in range(3):
        room.now += 92
        device.notify(observe.token, b"2", number + 2)
        assert shown(room)["state"] == "online"
    room.now += 92
    device.update()
    room.now += 92
    room.presence.fall_asleep()
    assert shown(room) == {"state": "online", "awake_s": 93.0, "listens": True, "expected": False}
    room.now += 2
    room.presence.fall_asleep()
    assert shown(room) == {"state": "asleep", "awake_s": 93.0, "listens": False, "expected": True}
    assert len(room.journal("awake")) == len(room.journal("asleep")) == 1
    device.update()
    assert shown(room)["state"] == "online"
    assert len(room.journal("awake")) == 2


def test_a_person_may_set_the_window_and_it_is_kept(room: Room) -> None:
    device = sleeper(room)
    room.devices.set_awake("d", 5)
    device.update()
    rest(room, 6)
    assert shown(room)["state"] == "asleep"
    room.restart()
    assert shown(room)["awake_s"] == 5.0
    device.update()
    room.devices.set_awake("d", 60)
    rest(room, 50)
    assert shown(room)["state"] == "online"
    room.devices.set_awake("d", 10)
    assert shown(room)["state"] == "asleep"
    room.devices.set_awake("d", None)
    assert shown(room)["awake_s"] == 93.0
    room.restart()
    assert shown(room)["awake_s"] == 93.0


def missed(room: Room, device: Device, silence_s: float) -> None:
    """A request that leaves so long after the last message, and is never answered."""
    room.now += silence_s
    room.loop.create_task(room.devices.operate("d", READ))
    turn(room)
    (task,) = room.devices.tasks(state="open")["tasks"]
    for _ in range(5):
        rest(room, 50)
    room.tasks.cancel(task["id"])
    room.settle()
    device.update()


def test_the_window_shrinks_when_late_requests_are_not_answered_and_grows_when_they_are(room: Room) -> None:
    device = room.device("d")
    register(device)
    missed(room, device, 40)
    assert shown(room)["awake_s"] == 93.0  # one may have been lost on the way
    missed(room, device, 40)
    assert shown(room)["awake_s"] == 40.0
    room.now += 30
    running = room.loop.create_task(room.devices.operate("d", READ))
    turn(room)
    (request,) = requests(room.settle())
    device.answer(request, codes.CONTENT, b"x")
    room.run(running)
    assert shown(room)["awake_s"] == pytest.approx(44.0)
    room.now += 1
    running = room.loop.create_task(room.devices.operate("d", READ))
    turn(room)
    (request,) = requests(room.settle())
    device.answer(request, codes.CONTENT, b"x")
    room.run(running)
    assert shown(room)["awake_s"] == pytest.approx(44.0)  # an early answer says nothing


def test_when_it_is_expected_is_learned_from_its_visits(room: Room) -> None:
    device = sleeper(room)
    assert expected_in_s(room) == pytest.approx(86400, abs=500)  # its lifetime is all that is known
    for _ in range(6):
        room.now += 3600 - 100
        device.update()
        rest(room, 100)
    assert expected_in_s(room) == pytest.approx(3500, abs=5)
    room.now += 5000
    assert expected_in_s(room) == 0.0  # any moment
    device.update()
    assert expected_in_s(room) is None


def test_after_a_restart_everybody_sleeps_until_he_is_heard(room: Room) -> None:
    device = room.device("d")
    register(device)
    assert shown(room)["state"] == "online"
    room.restart()
    assert shown(room)["state"] == "asleep"
    device.update()
    assert shown(room)["state"] == "online"


def test_a_removed_device_leaves_nothing_behind(room: Room) -> None:
    device = sleeper(room)
    room.devices.set_awake("d", 5)
    running = room.loop.create_task(room.devices.remove("d"))
    turn(room)
    room.settle()
    room.run(running)
    assert room.database.read("SELECT * FROM awake") == []
    register(device)
    assert shown(room)["awake_s"] == 93.0


def test_leaving_queue_mode_ends_the_sleep(room: Room) -> None:
    """The binding may change with an Update; a client of 1.0 says it with UQ and U."""
    device = room.device("d")
    device.post(("rd",), ("ep=d", "lt=300", "lwm2m=1.0", "b=UQ"), b"</3/0>")
    rest(room)
    assert shown(room)["state"] == "asleep"
    device.update("b=U")
    rest(room)
    assert shown(room)["state"] == "online"


def test_ten_thousand_sleepers_cost_nothing_while_they_sleep(room: Room) -> None:
    register(room.device("d"))
    known = room.registration("d")
    looks = 0

    def monotonic() -> float:
        nonlocal looks
        looks += 1
        return room.now

    presence = Presence(room.settings, room.database, monotonic)
    for number in range(10_000):
        known.client.endpoint_name = f"d{number}"
        presence.heard(known)
    rest(room)
    presence.fall_asleep()
    assert presence._deadlines == []
    looks = 0
    for _ in range(100):
        presence.fall_asleep()
    assert looks == 100  # one look at the clock each time, and nothing else
