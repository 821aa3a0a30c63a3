"""A wish to bootstrap again becomes Execute of /1/x/9, whether the device listens, sleeps or is away."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes

from appliance.devices.bootstrap_sessions import Session, Sessions
from appliance.devices.bootstrap_trigger import AT_ONCE, Rebootstraps
from tests.devices.room import Room, path_of

LINKS = b"</1/3>,</1/7>,</3/0>"


class Wishes:
    """What the vault says."""

    def __init__(self) -> None:
        self.asked: dict[str, float | None] = {}  # None: not asked, or withdrawn

    def device(self, endpoint_name: str) -> SimpleNamespace:
        asked_at = self.asked.get(endpoint_name)
        return SimpleNamespace(endpoint_name=endpoint_name, rebootstrap_asked=asked_at)

    def devices(self) -> list[SimpleNamespace]:
        return [self.device(name) for name in self.asked]


class Bench:
    """A devices room with the trigger in it, as composition puts it there."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.wishes = Wishes()
        self.under_way: set[str] = set()
        self.open()

    def open(self) -> None:
        room = self.room
        self.sessions = Sessions(room.database, room.wall)
        self.trigger = Rebootstraps(
            self.wishes,  # type: ignore[arg-type]
            room.registry,
            room.tasks,
            self.sessions,
            60.0,
            86400.0,
            lambda: room.now,
            lambda name: name in self.under_way,
        )
        room.uplink.registered = self.trigger.registered

    def ask(self, name: str = "d", at: float = 1.0) -> list[Message]:
        """Somebody asks; what leaves."""
        self.wishes.asked[name] = at
        self.trigger.check(self.wishes.devices())  # type: ignore[arg-type]
        return self.room.settle()

    def wait(self, seconds: float) -> list[Message]:
        """What leaves when so much time has gone by."""
        self.room.now += seconds
        self.trigger.tick()
        return self.room.settle()

    def done(self, name: str) -> None:
        """It was bootstrapped, in a session that began just now."""
        self.trigger.finished(name, self.room.wall())

    def failures(self) -> list[Session]:
        self.room.database.flush()
        return self.sessions.list()


@pytest.fixture
def bench(make_room: Callable[..., Room]) -> Bench:
    return Bench(make_room())


def triggers(sent: list[Message]) -> list[Message]:
    return [one for one in sent if one.code == codes.POST and path_of(one).endswith("/9")]


def test_a_device_that_listens_is_triggered_at_once_and_once(bench: Bench) -> None:
    device = bench.room.device("d")
    assert triggers(device.register(LINKS)) == []
    (request,) = triggers(bench.ask())
    assert path_of(request) == "/1/3/9"
    assert bench.ask() == []  # it is on its way
    device.answer(request, codes.CHANGED)
    (task,) = bench.room.tasks.find(endpoint_name="d")
    assert (task.state, task.origin) == ("done", "bootstrap")
    # Whatever else changes in the vault, it is not told a second time while it may still come.
    assert bench.ask() == bench.wait(30) == []
    bench.done("d")
    assert triggers(device.register(LINKS)) == []
    assert bench.wait(10_000) == []
    assert bench.failures() == []


def test_a_thousand_devices_are_told_a_few_at_a_time(bench: Bench) -> None:
    number = 3 * AT_ONCE + 1
    devices = [bench.room.device(f"d{index}", 1000 + index) for index in range(number)]
    for device in devices:
        device.register(LINKS)
        bench.wishes.asked[device.name] = 1.0
    told: list[str] = []
    sent = triggers(bench.ask("d0"))
    while sent:
        assert len(sent) <= AT_ONCE
        for request in sent:
            device = devices[len(told)]
            told.append(device.name)
            device.answer(request, codes.CHANGED)
        assert bench.wait(1) == []  # those that were told have their turn
        for name in told[-len(sent) :]:
            bench.done(name)
        sent = triggers(bench.wait(1))
    assert told == [device.name for device in devices]


def test_whoever_was_told_and_does_nothing_makes_room_for_others_and_is_told_again(bench: Bench) -> None:
    devices = [bench.room.device(f"d{index}", 1000 + index) for index in range(AT_ONCE + 1)]
    for device in devices:
        device.register(LINKS, lifetime_s=86400)
        bench.wishes.asked[device.name] = 1.0
    for device, request in zip(devices, triggers(bench.ask("d0")), strict=False):
        device.answer(request, codes.CHANGED)
    (late,) = triggers(bench.wait(61))
    devices[-1].answer(late, codes.CHANGED)
    bench.done(devices[-1].name)
    assert len(triggers(bench.wait(240))) == AT_ONCE


def test_a_device_that_comes_by_itself_is_not_told_any_more(bench: Bench) -> None:
    room = bench.room
    device = room.device("d")
    device.post(("rd",), ("ep=d", "lt=3000", "lwm2m=1.1", "b=U", "Q"), LINKS)
    room.now += 200
    room.presence.fall_asleep()
    bench.ask()
    room.restart()
    bench.open()
    bench.ask()
    bench.under_way.add("d")
    bench.done("d")
    bench.under_way.clear()
    assert triggers(device.update()) == []
    assert [task.state for task in room.tasks.find(endpoint_name="d")] == ["cancelled"]


def test_a_device_that_leaves_the_vault_is_not_told_any_more(bench: Bench) -> None:
    room = bench.room
    device = room.device("d")
    device.post(("rd",), ("ep=d", "lt=3000", "lwm2m=1.1", "b=U", "Q"), LINKS)
    room.now += 200
    room.presence.fall_asleep()
    bench.ask()
    bench.wishes.asked.clear()
    bench.trigger.check([])
    assert triggers(device.update()) == []
    assert [task.state for task in room.tasks.find(endpoint_name="d")] == ["cancelled"]


@pytest.mark.parametrize("restart", [False, True], ids=["while we run", "while we are away"])
def test_what_is_withdrawn_before_the_device_wakes_is_not_sent(bench: Bench, restart: bool) -> None:
    room = bench.room
    devices = [room.device("d"), room.device("e", 1001)]
    for device in devices:
        device.post(("rd",), (f"ep={device.name}", "lt=3000", "lwm2m=1.1", "b=U", "Q"), LINKS)
    room.now += 200
    room.presence.fall_asleep()
    assert bench.ask("d") == bench.ask("e") == []
    if restart:
        room.restart()
        bench.open()
    bench.wishes.asked["d"] = None
    bench.trigger.check(bench.wishes.devices())  # type: ignore[arg-type]
    assert triggers(devices[0].update()) == []
    assert len(triggers(devices[1].update())) == 1
    assert [task.state for task in room.tasks.find(endpoint_name="d")] == ["cancelled"]
    # What is asked for anew is told.
    assert len(triggers(bench.ask("d", 2.0))) == 1


def test_a_device_that_is_being_bootstrapped_is_not_told_to(bench: Bench) -> None:
    device = bench.room.device("d")
    bench.wishes.asked["d"] = 1.0
    bench.under_way.add("d")
    assert triggers(device.register(LINKS)) == []
    assert bench.wait(1) == []
    bench.under_way.clear()
    assert len(triggers(bench.wait(300))) == 1


def test_a_device_that_is_away_is_triggered_when_it_registers(bench: Bench) -> None:
    assert bench.ask() == []
    (request,) = triggers(bench.room.device("d").register(LINKS))
    assert path_of(request) == "/1/3/9"


def test_a_device_that_sleeps_is_triggered_when_it_wakes_up_also_after_a_restart(bench: Bench) -> None:
    room = bench.room
    device = room.device("d")
    query = ("ep=d", "lt=3000", "lwm2m=1.1", "b=U", "Q")
    device.post(("rd",), query, LINKS)
    room.now += 200
    room.presence.fall_asleep()
    assert triggers(bench.ask()) == []
    room.restart()
    bench.open()
    assert triggers(bench.ask()) == []
    (request,) = triggers(device.update())
    assert path_of(request) == "/1/3/9"
    device.answer(request, codes.CHANGED)
    assert [task.state for task in room.tasks.find(endpoint_name="d")] == ["done"]


@pytest.mark.parametrize("code", [codes.METHOD_NOT_ALLOWED, codes.NOT_FOUND])
def test_a_device_without_a_trigger_is_left_alone_and_a_person_told(bench: Bench, code: Any) -> None:
    device = bench.room.device("d")
    device.register(LINKS)
    (request,) = triggers(bench.ask())
    assert path_of(request) == "/1/3/9"
    device.answer(request, code)
    assert bench.failures() == []
    # The other account may be ours.
    (request,) = triggers(bench.wait(1))
    assert path_of(request) == "/1/7/9"
    device.answer(request, code)
    (failure,) = bench.failures()
    assert failure.state == "failed"
    assert failure.text.startswith("d cannot be told to bootstrap (4.0")
    assert "/1/7/9" in failure.text
    # It is not asked again for the same wish, but for the next one.
    assert triggers(device.register(LINKS)) == []
    assert len(triggers(bench.ask(at=2.0))) == 1


def test_a_device_that_takes_the_trigger_and_never_comes_is_not_asked_for_ever(bench: Bench) -> None:
    device = bench.room.device("d")
    bench.ask()
    seen = 0
    for _ in range(6):
        for request in triggers(device.register(LINKS)):
            seen += 1
            device.answer(request, codes.CHANGED)
    assert seen == 3
    (failure,) = bench.failures()
    assert failure.text.startswith("d took Execute /1/3/9 3 times and was not bootstrapped: ")
    bench.wishes.asked.clear()
    assert triggers(device.register(LINKS)) == []
    assert len(triggers(bench.ask(at=2.0))) == 1
