"""The queue of tasks: kept before it is promised, one at a time, in order, and never done twice unasked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes

from appliance.devices.console import DeviceError
from appliance.storage.errors import StorageFull
from tests.devices.room import Device, Room, path_of

READ = {"operation": "Read", "path": "/3/0/0"}
REBOOT = {"operation": "Execute", "path": "/3/0/4"}


def write(value: str, path: str = "/3/0/14") -> dict[str, Any]:
    return {"operation": "Write", "path": path, "value": value}


def sleeper(room: Room, name: str = "d", links: bytes = b"</1/0>,</3/0>", port: int = 1000) -> Device:
    """A device in queue mode that has registered and gone to sleep."""
    device = room.device(name, port)
    register(device, links)
    rest(room)
    return device


def register(device: Device, links: bytes = b"</1/0>,</3/0>") -> list[Message]:
    return device.post(("rd",), (f"ep={device.name}", "lt=86400", "lwm2m=1.1", "b=U", "Q"), links)


def rest(room: Room, seconds: float = 100.0) -> None:
    """Time passes, and whatever is due then happens."""
    room.now += seconds
    room.server._on_timer()
    room.presence.fall_asleep()
    room.tasks.expire()
    room.settle()


def ask(room: Room, request: dict[str, Any], name: str = "d") -> dict[str, Any]:
    """Ask of a device that does not answer now: what is queued."""
    queued: dict[str, Any] = work(room, room.devices.operate(name, request, "ines"))
    return queued


def work(room: Room, coroutine: Any) -> Any:
    running = room.loop.create_task(coroutine)
    for _ in range(5):
        turn(room)
        if running.done():
            return running.result()
        room.settle()
    raise AssertionError("it waits for the device")


def turn(room: Room) -> None:
    """What the loop has to do now."""
    room.loop.call_soon(room.loop.stop)
    room.loop.run_forever()


def requests(left: list[Message]) -> list[Message]:
    return [message for message in left if message.code.is_request()]


def state(room: Room, task: int) -> str:
    return str(room.devices.task(task)["state"])


def test_what_is_asked_of_a_sleeper_is_kept_and_goes_when_it_wakes(room: Room) -> None:
    device = sleeper(room)
    assert room.devices.device("d")["state"] == "asleep"
    queued = ask(room, READ)
    assert (queued["state"], queued["words"].startswith("Queued. The device sleeps")) == ("waiting", True)
    assert queued["expected_at"] is not None
    row = room.devices.task(queued["task"])
    assert (row["origin"], row["attempts"], row["path"]) == ("ines", 0, "/3/0/0")
    assert room.devices.device("d")["tasks"] == {"open": 1, "waiting": 1}
    answer, request = device.update()
    assert (answer.code, path_of(request)) == (codes.CHANGED, "/3/0/0")  # in this order
    device.answer(request, payload=b"maker")
    row = room.devices.task(queued["task"])
    assert (row["state"], row["attempts"], row["outcome"]["values"][0]["value"]) == ("done", 1, "maker")
    assert room.devices.device("d")["tasks"] == {"open": 0, "waiting": 0}
    kinds = [event.kind for event in room.journal()]
    assert kinds == ["registered", "awake", "asleep", "task", "updated", "awake", "value", "operation"]


def test_one_at_a_time_in_the_order_of_priority_and_of_asking(room: Room) -> None:
    device = sleeper(room)
    asked = [("/3/0/0", 5), ("/3/0/1", 5), ("/3/0/2", 9), ("/3/0/3", 0), ("/3/0/9", 9)]
    for path, priority in asked:
        ask(room, {"operation": "Read", "path": path, "priority": priority})
    seen = []
    left = requests(device.update())
    while left:
        (request,) = left
        seen.append(path_of(request))
        left = requests(device.answer(request, payload=b"1"))
    assert seen == ["/3/0/2", "/3/0/9", "/3/0/0", "/3/0/1", "/3/0/3"]


def test_what_waits_survives_a_restart_and_a_new_registration(room: Room) -> None:
    device = sleeper(room)
    tasks = [ask(room, READ)["task"], ask(room, write("+01:00"))["task"]]
    told = len(room.journal("task"))
    room.restart()
    assert [state(room, task) for task in tasks] == ["waiting"] * 2
    rest(room, 1)
    assert len(room.journal("task")) == told  # nobody is told the same twice
    _, first = register(device)
    assert path_of(first) == "/3/0/0"
    (second,) = device.answer(first, payload=b"x")
    device.answer(second, codes.CHANGED)
    assert [state(room, task) for task in tasks] == ["done"] * 2


def test_what_the_device_has_lost_meanwhile_fails_with_a_reason(room: Room) -> None:
    device = sleeper(room, links=b"</3/0>,</3303/0>")
    lost = ask(room, {"operation": "Read", "path": "/3303/0/5700"})["task"]
    kept = ask(room, READ)["task"]
    _, request = register(device, b"</3/0>")
    assert path_of(request) == "/3/0/0"
    row = room.devices.task(lost)
    assert (row["state"], row["reason"]) == ("failed", "the device does not have object 3303 any more.")
    assert state(room, kept) == "sent"


def test_what_must_not_be_done_twice_is_on_disk_as_sent_before_it_leaves(room: Room) -> None:
    device = sleeper(room)
    reboot, read = ask(room, REBOOT)["task"], ask(room, READ)["task"]
    device.said(codes.POST, device.location)
    room.database.flush()  # the Update
    room.server._pump()
    assert requests([message for message, _ in room.sent]) == []
    assert room.database.read("SELECT state FROM tasks WHERE id=?", (reboot,)) == [("waiting",)]
    (request,) = requests(room.settle())
    assert path_of(request) == "/3/0/4"
    assert room.database.read("SELECT state FROM tasks WHERE id=?", (reboot,)) == [("sent",)]
    room.restart()
    row = room.devices.task(reboot)
    assert (row["state"], "The gateway stopped before" in row["reason"]) == ("unknown", True)
    (request,) = requests(device.update())
    assert path_of(request) == "/3/0/0"  # the reboot is not done again
    assert state(room, read) == "sent"


def test_what_may_be_repeated_is_repeated_after_a_restart(room: Room) -> None:
    device = sleeper(room)
    task = ask(room, write("+01:00"))["task"]
    (request,) = requests(device.update())
    room.restart()
    (again,) = requests(device.update())
    assert (path_of(again), again.payload) == (path_of(request), request.payload)
    device.answer(again, codes.CHANGED)
    assert state(room, task) == "done"


@pytest.mark.parametrize(
    ("on_lost", "then"), [("unknown", "unknown"), ("repeat", "waiting"), (None, "waiting")]
)
def test_a_write_that_nobody_answers(room: Room, on_lost: str | None, then: str) -> None:
    device = sleeper(room)
    request = write("+01:00") if on_lost is None else {**write("+01:00"), "on_lost": on_lost}
    task = ask(room, request)["task"]
    assert len(requests(device.update())) == 1
    for _ in range(5):
        rest(room, 50)
    row = room.devices.task(task)
    assert (row["state"], row["attempts"]) == (then, 1), row
    assert room.devices.device("d")["state"] == "asleep"
    assert len(requests(device.update())) == (then == "waiting")


def test_who_hung_up_is_asked_again_the_moment_he_is_heard(room: Room) -> None:
    device = sleeper(room)
    task = ask(room, READ)["task"]
    (request,) = requests(device.update())
    rest(room, 3)
    rest(room, 6)  # the next retransmission is far
    room.now += 3
    (again,) = requests(device.update())
    assert again.mid == request.mid
    device.answer(again, payload=b"x")
    row = room.devices.task(task)
    assert (row["state"], row["attempts"]) == ("done", 1)


def test_equal_writes_are_one_task_and_a_newer_value_overtakes(room: Room) -> None:
    device = sleeper(room)
    first = ask(room, write("+01:00"))["task"]
    assert ask(room, write("+01:00"))["task"] == first
    second = ask(room, write("+02:00"))["task"]
    row = room.devices.task(first)
    assert (row["state"], row["reason"]) == ("superseded", f"Task {second} writes the same path")
    ask(room, READ)
    third = ask(room, write("+03:00"))["task"]  # the Read before it may be there to see the old value
    assert [state(room, task) for task in (second, third)] == ["waiting"] * 2
    (request,) = requests(device.update())
    assert request.payload.endswith(b"+02:00")
    assert state(room, second) == "sent"
    room.loop.create_task(room.devices.operate("d", write("+04:00")))
    turn(room)
    assert state(room, third) == "waiting"  # the device listens: both go, one after the other


def test_two_writes_of_single_values_do_not_overtake_each_other(room: Room) -> None:
    sleeper(room)
    body = {"operation": "Write", "path": "/3/0", "mode": "update"}
    first = ask(room, {**body, "values": {"14": "+01:00"}})["task"]
    ask(room, {**body, "values": {"15": "Europe/Rome"}})
    assert state(room, first) == "waiting"


def test_what_waits_too_long_expires_with_a_reason(room: Room) -> None:
    device = sleeper(room)
    task = ask(room, {**READ, "ttl_s": 60})["task"]
    rest(room, 59)
    assert state(room, task) == "waiting"
    rest(room, 2)
    row = room.devices.task(task)
    assert (row["state"], row["reason"]) == ("expired", "It was not done in time. The device sleeps")
    assert requests(device.update()) == []


def test_a_task_can_be_cancelled_until_it_has_ended(room: Room) -> None:
    device = sleeper(room)
    first, second = ask(room, REBOOT)["task"], ask(room, READ)["task"]
    assert work(room, room.devices.cancel_task(second))["state"] == "cancelled"
    (request,) = requests(device.update())
    row = work(room, room.devices.cancel_task(first))
    assert (row["state"], "may have been carried out" in row["reason"]) == ("cancelled", True)
    device.answer(request, codes.CHANGED)
    assert state(room, first) == "cancelled"
    with pytest.raises(DeviceError) as caught:
        work(room, room.devices.cancel_task(first))
    assert caught.value.kind == "conflict"
    with pytest.raises(DeviceError) as caught:
        work(room, room.devices.cancel_task(4711))
    assert caught.value.kind == "not_found"


def test_the_same_once_more(room: Room) -> None:
    device = sleeper(room)
    task = ask(room, REBOOT)["task"]
    with pytest.raises(DeviceError, match="has not ended"):
        work(room, room.devices.retry_task(task, "ines"))
    (request,) = requests(device.update())
    device.answer(request, codes.INTERNAL_SERVER_ERROR)
    assert room.devices.task(task)["outcome"]["code"] == "5.00"
    again = work(room, room.devices.retry_task(task, "ines"))
    assert again["id"] != task
    assert again["request"] == {"operation": "Execute", "path": "/3/0/4"}


def test_a_device_that_does_not_sleep_answers_or_fails(room: Room) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    running = room.loop.create_task(room.devices.operate("d", READ))
    turn(room)
    room.settle()
    for _ in range(5):
        rest(room, 50)
    with pytest.raises(DeviceError) as caught:
        room.run(running)
    assert caught.value.kind == "unreachable"
    assert room.devices.tasks()["counts"] == {"failed": 1}


def test_with_a_time_to_live_it_is_tried_again_at_the_next_contact(room: Room) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    running = room.loop.create_task(room.devices.operate("d", {**READ, "ttl_s": 3600}))
    turn(room)
    room.settle()
    for _ in range(5):
        rest(room, 50)
    queued = room.run(running)
    assert queued["state"] == "waiting"
    for _ in range(5):
        rest(room, 5)
    assert room.devices.task(queued["task"])["attempts"] == 1  # not again and again into the void
    (request,) = requests(device.update())
    device.answer(request, payload=b"x")
    assert state(room, queued["task"]) == "done"


def test_who_is_not_there_is_waited_for_when_asked_to(room: Room) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    device.settled(device.said(codes.DELETE, device.location))
    with pytest.raises(DeviceError) as caught:
        ask(room, READ)
    assert caught.value.kind == "unreachable"
    queued = ask(room, {**READ, "ttl_s": 3600})
    assert "not registered" in queued["words"]
    _, request = device.register(b"</3/0>")
    device.answer(request, payload=b"x")
    assert state(room, queued["task"]) == "done"


def test_the_queue_is_bounded_per_device_and_in_all(make_room: Callable[..., Room]) -> None:
    room = make_room(max_tasks=5, max_tasks_per_device=3)
    for number in range(3):
        sleeper(room, f"d{number}", port=1000 + number)
    for path in ("/3/0/0", "/3/0/1", "/3/0/2"):
        ask(room, {"operation": "Read", "path": path}, "d0")
    with pytest.raises(DeviceError) as caught:
        ask(room, READ, "d0")
    assert (caught.value.kind, "wait for d0" in caught.value.message) == ("busy", True)
    ask(room, READ, "d1")
    ask(room, READ, "d2")
    with pytest.raises(DeviceError) as caught:
        ask(room, {"operation": "Read", "path": "/3/0/1"}, "d2")
    assert (caught.value.kind, "max_tasks" in caught.value.next_step) == ("busy", True)


def test_what_has_ended_is_a_short_history(make_room: Callable[..., Room]) -> None:
    room = make_room(kept_tasks=5)
    device = sleeper(room)
    device.update()
    for _ in range(150):
        running = room.loop.create_task(room.devices.operate("d", READ))
        turn(room)
        (request,) = requests(room.settle())
        device.answer(request, payload=b"x")
        room.run(running)
    page = room.devices.tasks(limit=1000)
    assert 5 <= len(page["tasks"]) <= 106
    assert page["tasks"][0]["id"] == 150
    assert page["counts"] == {"done": len(page["tasks"])}


def test_a_full_disk_takes_nothing_on(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper(room)

    def refuse(*_: object) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(room.database, "write", refuse)
    with pytest.raises(DeviceError, match="could not store"):
        work(room, room.devices.submit({"devices": ["d"], "operation": READ}))
    with pytest.raises(DeviceError, match="could not store"):
        ask(room, READ)
    assert room.tasks.counts() == {"open": 0, "waiting": 0}
    assert room.devices.tasks()["tasks"] == []


def test_the_same_once_more_is_refused_by_a_full_disk(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    device = sleeper(room)
    task = ask(room, REBOOT)["task"]
    (request,) = requests(device.update())
    device.answer(request, codes.CHANGED)

    def refuse(*_: object) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(room.database, "write", refuse)
    with pytest.raises(DeviceError, match="could not store"):
        work(room, room.devices.retry_task(task, "ines"))
    assert room.tasks.counts() == {"open": 0, "waiting": 0}


def test_a_batch_is_on_disk_when_it_is_accepted(room: Room) -> None:
    devices = [sleeper(room, f"d{number}", port=1000 + number) for number in range(3)]
    with pytest.raises(DeviceError, match="no device fits"):
        work(room, room.devices.submit({"search": "nobody", "operation": READ}))
    batch = work(
        room,
        room.devices.submit({"devices": ["d0", "d1", "d2", "who"], "operation": READ, "ttl_s": 60}, "ines"),
    )
    assert batch["tasks"] == 3
    assert [row["endpoint_name"] for row in batch["refused"]] == ["who"]
    assert room.database.read("SELECT count(*) FROM tasks WHERE batch=?", (batch["batch"],)) == [(3,)]
    (request,) = requests(devices[1].update())
    devices[1].answer(request, payload=b"x")
    page = room.devices.tasks(batch=batch["batch"])
    assert page["counts"] == {"waiting": 2, "done": 1}
    assert [row["endpoint_name"] for row in page["tasks"]] == ["d2", "d1", "d0"]
    only = room.devices.tasks(batch=batch["batch"], state="open", limit=1)
    assert (len(only["tasks"]), only["next"]) == (1, only["tasks"][0]["id"])


def test_secrets_are_shown_nowhere(room: Room) -> None:
    device = sleeper(room, links=b"</3/0>,</12/0>")
    (path,) = [
        f"/12/0/{resource['id']}"
        for resource in room.devices.model(12)["resources"]
        if resource["operations"] == "W" and resource["type"] == "string"
    ][:1]
    task = ask(room, write("secret!", path))["task"]
    assert room.devices.task(task)["request"]["value"] == "•••"
    (request,) = requests(device.update())
    assert b"secret!" in request.payload
    device.answer(request, codes.CHANGED)
    assert "secret!" not in str(room.devices.tasks()) + str(room.devices.timeline("d")) + str(room.journal())
    work(room, room.devices.remove("d"))
    assert "secret!" not in str(room.devices.tasks())


def test_other_means_to_wake_a_device_are_asked(room: Room) -> None:
    asked = []
    room.tasks.wakers.append(lambda registration: not asked.append(registration.endpoint_name))
    sleeper(room)
    ask(room, READ)
    assert asked == ["d"]


def test_a_row_that_cannot_be_read_is_left_out(room: Room) -> None:
    sleeper(room)
    kept = ask(room, READ)["task"]
    room.database.write(
        "INSERT INTO tasks(id, endpoint_name, state, request, about) VALUES (999,'d','waiting','{','[]')", ()
    )
    room.restart()
    assert [row["id"] for row in room.devices.tasks()["tasks"]] == [kept]


def test_the_time_line_says_it_in_words(room: Room) -> None:
    device = sleeper(room)
    ask(room, READ)
    (request,) = requests(device.update())
    device.answer(request, payload=b"maker")
    words = [event["words"] for event in room.devices.timeline("d")["events"]]
    assert words[-1].startswith("Registered")
    assert "Read /3/0/0 waiting: The device sleeps" in words
    assert {"Fell asleep", "Woke up"} <= set(words)
    page = room.devices.timeline("d", limit=2)
    before = room.devices.timeline("d", page["next"], limit=1)["events"]
    assert before[0]["seq"] < page["events"][-1]["seq"]
