"""A wish to bootstrap again becomes Execute of /1/x/9, whether the device listens, sleeps or is away."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes

from appliance.devices.bootstrap_sessions import Session, Sessions
from appliance.devices.bootstrap_trigger import Rebootstraps
from tests.devices.room import Room, path_of

LINKS = b"</1/3>,</1/7>,</3/0>"


class Wishes:
    """What the vault says."""

    def __init__(self) -> None:
        self.asked: dict[str, float] = {}

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
        )
        room.uplink.registered = self.trigger.registered

    def ask(self, name: str = "d", at: float = 1.0) -> list[Message]:
        """Somebody asks; what leaves."""
        self.wishes.asked[name] = at
        self.trigger.check(self.wishes.devices())  # type: ignore[arg-type]
        return self.room.settle()

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
    assert bench.failures() == []


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
    device.answer(request, code)
    (failure,) = bench.failures()
    assert failure.state == "failed"
    assert failure.text.startswith("d cannot be told to bootstrap (4.0")
    assert "/1/3/9" in failure.text
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
    bench.wishes.asked.clear()
    assert triggers(device.register(LINKS)) == []
    assert len(triggers(bench.ask())) == 1
