"""Templates: what is observed of many devices, with attributes, as composites, over Register and restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.devices.errors import DeviceError
from appliance.devices.templates import MAX_PATHS, MAX_TEMPLATES, Templates
from appliance.devices.wishes import MAX_ASKED
from appliance.lwm2m.path import Path
from appliance.southbound.tcp import TcpPeer
from tests.devices.room import SENSOR, Device, Room, path_of

TEMPERATURES: dict[str, Any] = {
    "name": "temperatures",
    "match": {"endpoint": None, "object": 3303},
    "paths": ["/3303/*/5700"],
    "attributes": {"pmin": 10, "pmax": 300},
}
OBSERVED = {"/3303/0/5700": "template:temperatures", "/3303/1/5700": "template:temperatures"}


def origins(room: Room, name: str) -> dict[str, str]:
    wishes = room.observations.wanted(room.registration(name))
    return {key: wish.origin for key, wish in wishes.items()}


def row(room: Room, name: str, key: str) -> dict[str, Any]:
    (found,) = [one for one in room.observations.rows(room.registration(name)) if one["path"] == key]
    return found


def register(device: Device, links: bytes, version: str = "1.1") -> list[Message]:
    query = (f"ep={device.name}", "lt=300", f"lwm2m={version}", "b=U")
    left = device.post(("rd",), query, links)
    assert left[0].code == codes.CREATED, left
    return left[1:]


def senml(device: Device, request: Message, values: dict[str, float], observe: int | None) -> list[Message]:
    """Answer a composite."""
    payload = json.dumps([{"n": name, "v": value} for name, value in values.items()]).encode()
    reply = Message(
        code=codes.CONTENT, payload=payload, _mtype=types.ACK, _mid=request.mid, _token=request.token
    )
    reply.opt.content_format = 110
    if observe is not None:
        reply.opt.observe = observe
    device.send(reply)
    return device.room.settle()


def step(room: Room) -> None:
    """Let the tasks run until they wait."""
    for _ in range(3):
        room.loop.call_soon(room.loop.stop)
        room.loop.run_forever()


def query_of(request: Message) -> set[str]:
    return set(request.opt.uri_query)


def test_attributes_are_written_before_the_observation_begins_and_again_after_every_register(
    room: Room,
) -> None:
    room.templates.put(None, TEMPERATURES)
    device = room.device("d")
    for _ in range(2):
        (write,) = register(device, b"</1/0>,</3303/0>")
        assert (write.code, path_of(write), query_of(write)) == (codes.PUT, SENSOR, {"pmin=10", "pmax=300"})
        (observe,) = device.answer(write, codes.CHANGED)
        assert (observe.code, path_of(observe), observe.opt.observe) == (codes.GET, SENSOR, 0)
        assert not observe.opt.uri_query
        assert device.answer(observe, payload=b"21.5", observe=1) == []
    found = row(room, "d", SENSOR)
    assert (found["state"], found["origin"], found["attributes"], found["reason"]) == (
        "active",
        "template:temperatures",
        {"pmin": 10, "pmax": 300},
        None,
    )


def test_attributes_go_with_the_observe_to_a_client_of_1_2(room: Room) -> None:
    room.templates.put(None, TEMPERATURES)
    device = room.device("d")
    (observe,) = register(device, b"</1/0>,</3303/0>", "1.2")
    assert (observe.code, observe.opt.observe) == (codes.GET, 0)
    assert query_of(observe) == {"pmin=10", "pmax=300"}
    assert device.answer(observe, payload=b"21.5", observe=1) == []
    assert row(room, "d", SENSOR)["state"] == "active"


def test_a_client_of_1_2_that_takes_no_attributes_with_an_observe_has_them_written(room: Room) -> None:
    room.templates.put(None, TEMPERATURES)
    device = room.device("d")
    (observe,) = register(device, b"</1/0>,</3303/0>", "1.2")
    (write,) = device.answer(observe, codes.BAD_REQUEST)
    assert (write.code, query_of(write)) == (codes.PUT, {"pmin=10", "pmax=300"})
    (observe,) = device.answer(write, codes.CHANGED)
    assert (observe.opt.observe, query_of(observe)) == (0, set())
    assert device.answer(observe, payload=b"21.5", observe=1) == []


def test_thresholds_do_not_go_with_a_composite_and_are_written_to_each_path(room: Room) -> None:
    both = {"name": "both", "paths": ["/3303/*/5700"], "composite": True, "attributes": {"gt": 30}}
    room.templates.put(None, both)
    device = room.device("d")
    (write,) = register(device, b"</>;ct=110,</3303/0>,</3303/1>", "1.2")
    assert (write.code, path_of(write), query_of(write)) == (codes.PUT, SENSOR, {"gt=30"})
    (write,) = device.answer(write, codes.CHANGED)
    assert path_of(write) == "/3303/1/5700"
    (observe,) = device.answer(write, codes.CHANGED)
    assert (observe.code, observe.opt.observe, query_of(observe)) == (codes.FETCH, 0, set())


def test_refused_attributes_are_said_and_the_observation_begins_all_the_same(room: Room) -> None:
    room.templates.put(None, TEMPERATURES)
    device = room.device("d")
    (write,) = register(device, b"</1/0>,</3303/0>")
    (observe,) = device.answer(write, codes.METHOD_NOT_ALLOWED)
    device.answer(observe, payload=b"21.5", observe=1)
    found = row(room, "d", SENSOR)
    assert found["state"] == "active"
    assert f"{SENSOR} did not take its attributes" in found["reason"]


def test_attributes_that_the_version_of_a_client_does_not_know_are_not_sent(room: Room) -> None:
    room.templates.put(None, {**TEMPERATURES, "attributes": {"epmin": 5}})
    device = room.device("d")
    (observe,) = register(device, b"</1/0>,</3303/0>", "1.0")
    assert (observe.code, observe.opt.observe) == (codes.GET, 0)
    device.answer(observe, payload=b"21.5", observe=1)
    assert "epmin" in row(room, "d", SENSOR)["reason"]


def test_a_template_fits_by_name_and_by_object(room: Room) -> None:
    room.templates.put(
        None,
        {**TEMPERATURES, "match": {"endpoint": "meter-*", "object": 3303}, "paths": ["/3303/*/5700", "/4"]},
    )
    for name, links in (("meter-1", b"</3303/0>,</3303/1>"), ("other", b"</3303/0>"), ("meter-2", b"</4/0>")):
        register(room.device(name, hash(name) % 1000 + 2000), links)
    assert origins(room, "meter-1") == OBSERVED
    assert origins(room, "other") == {SENSOR: "default"}
    assert origins(room, "meter-2") == {}


def test_asked_decides_over_a_template_and_that_over_a_default(make_room: Callable[..., Room]) -> None:
    room = make_room(observe_paths=("/3/0/9",))
    room.templates.put(None, {**TEMPERATURES, "match": {}, "paths": ["/3303/*/5700", "/3303/0"]})
    register(room.device("d"), b"</3/0>,</3303/0>")
    registration = room.registration("d")
    room.observations.want(registration, SENSOR)
    room.observations.unwant(registration, "/3303/0")
    assert origins(room, "d") == {"/3/0/9": "default", SENSOR: "asked"}
    room.observations.unwant(registration, SENSOR)
    assert origins(room, "d") == {"/3/0/9": "default"}


def test_a_new_template_is_followed_at_once_and_a_removed_one_is_cancelled(room: Room) -> None:
    device = room.device("d")
    register(device, b"</3/0>")
    made = room.devices.put_template(None, {"name": "battery", "paths": ["/3/*/9"]})
    (observe,) = room.settle()
    assert (path_of(observe), observe.opt.observe) == ("/3/0/9", 0)
    device.answer(observe, payload=b"90", observe=1)
    assert origins(room, "d") == {"/3/0/9": "template:battery"}
    room.devices.remove_template(made["id"])
    (cancel,) = room.settle()
    assert (path_of(cancel), cancel.opt.observe, cancel.token) == ("/3/0/9", 1, observe.token)
    device.answer(cancel, payload=b"90")
    assert room.registration("d").observations == {}
    assert room.devices.templates() == {"templates": []}


def test_changed_attributes_are_given_anew_and_dropped_ones_are_unset(room: Room) -> None:
    made = room.devices.put_template(None, TEMPERATURES)
    device = room.device("d")
    (write,) = register(device, b"</1/0>,</3303/0>")
    (observe,) = device.answer(write, codes.CHANGED)
    device.answer(observe, payload=b"21.5", observe=1)
    room.devices.put_template(made["id"], {**TEMPERATURES, "attributes": {"pmin": 60}})
    (cancel,) = room.settle()
    assert cancel.opt.observe == 1
    (write,) = device.answer(cancel, payload=b"21.5")
    assert query_of(write) == {"pmin=60", "pmax"}
    (observe,) = device.answer(write, codes.CHANGED)
    assert device.answer(observe, payload=b"21.5", observe=1) == []
    assert row(room, "d", SENSOR)["attributes"] == {"pmin": 60}


def test_several_paths_are_observed_as_one_where_the_device_can(room: Room) -> None:
    room.templates.put(None, {"name": "both", "paths": ["/3303/*/5700"], "composite": True})
    device = room.device("d")
    (observe,) = register(device, b"</>;ct=110,</3303/0>,</3303/1>")
    assert (observe.code, observe.opt.observe, observe.opt.uri_path) == (codes.FETCH, 0, ())
    assert [record["n"] for record in json.loads(observe.payload)] == ["/3303/0/5700", "/3303/1/5700"]
    key = "/3303/0/5700,/3303/1/5700"
    assert senml(device, observe, {"/3303/0/5700": 1.5, "/3303/1/5700": 2.5}, observe=1) == []
    found = row(room, "d", key)
    assert (found["state"], found["composite"], found["id"]) == ("active", True, key)
    assert room.translation.plain_value("d", Path(3303, 1, 5700)) == 2.5
    shown = room.devices.values("d", "/3303/1")["values"]
    assert shown[0]["observed"] is True
    # The same list again, and the same token, ends it (int-305), also after a restart.
    room.restart()
    assert row(room, "d", key)["state"] == "active"
    room.observations.unwant(room.registration("d"), key)
    room.observations.reconcile(room.registration("d"))
    (cancel,) = room.settle()
    assert (cancel.code, cancel.opt.observe, cancel.token) == (codes.FETCH, 1, observe.token)
    assert cancel.payload == observe.payload
    senml(device, cancel, {"/3303/0/5700": 1.5, "/3303/1/5700": 2.5}, observe=None)
    assert origins(room, "d") == {}


@pytest.mark.parametrize("code", [codes.NOT_FOUND, codes.METHOD_NOT_ALLOWED, codes.NOT_IMPLEMENTED])
def test_a_device_without_composites_gets_the_paths_one_by_one(room: Room, code: Any) -> None:
    room.templates.put(None, {"name": "temperatures", "paths": ["/3303/*/5700"], "composite": True})
    device = room.device("d")
    (observe,) = register(device, b"</>;ct=110,</3303/0>,</3303/1>")
    (first,) = device.answer(observe, code)
    (second,) = device.answer(first, payload=b"1.5", observe=1)
    assert device.answer(second, payload=b"2.5", observe=1) == []
    assert origins(room, "d") == OBSERVED
    room.restart()
    assert origins(room, "d") == OBSERVED
    assert device.update()[1:] == []


def test_an_asked_composite_that_fell_apart_is_shown_and_cancelled_as_one(room: Room) -> None:
    device = room.device("d")
    register(device, b"</>;ct=110,</3/0>,</4/0>")
    request = {"paths": ["/3/0/9", "/4/0/2"], "attributes": {}}
    work = room.loop.create_task(room.devices.observe_composite("d", request))
    step(room)
    (observe,) = room.settle()
    device.answer(observe, codes.METHOD_NOT_ALLOWED)
    outcome = room.run(work)
    assert outcome["ok"] is False
    assert "one by one" in outcome["words"]
    (first,) = room.settle()
    (second,) = device.answer(first, payload=b"80", observe=1)
    device.answer(second, payload=b"-70", observe=1)
    rows = room.devices.observations("d")["observations"]
    assert [(one["path"], one["id"], one["state"]) for one in rows] == [
        ("/3/0/9", "/3/0/9,/4/0/2", "active"),
        ("/4/0/2", "/3/0/9,/4/0/2", "active"),
    ]
    room.run(room.devices.cancel_observation("d", "/3/0/9,/4/0/2"))
    (cancel,) = room.settle()
    (cancel,) = device.answer(cancel, payload=b"80")
    device.answer(cancel, payload=b"-70")
    assert room.registration("d").observations == {}


def test_a_lost_connection_ends_what_was_observed_and_the_next_update_asks_again(room: Room) -> None:
    device = room.device("d")
    (observe,) = register(device, b"</3303/0>")
    device.answer(observe, payload=b"21.5", observe=1)
    room.uplink.disconnected(device.peer)
    assert room.registration("d").observations == {}
    assert room.registration("d").ended == ""
    (again,) = device.update()[1:]
    assert (path_of(again), again.opt.observe, again.token != observe.token) == (SENSOR, 0, True)


def test_what_was_observed_over_a_connection_ends_with_a_restart(room: Room) -> None:
    device = room.device("d")
    (observe,) = register(device, b"</3303/0>")
    device.answer(observe, payload=b"21.5", observe=1)
    registration = room.registration("d")
    room.registry.move(registration, TcpPeer(7, ("192.0.2.1", 5000)))
    assert room.registry.at_peer(TcpPeer(7, ("192.0.2.1", 5000))) == [registration]
    room.registry.save(registration)
    room.restart()
    assert room.registration("d").client.bearer == "TCP"
    assert room.registration("d").observations == {}
    assert origins(room, "d") == {SENSOR: "default"}


def test_what_follows_from_a_list_of_thousands_has_an_end(room: Room) -> None:
    room.templates.put(None, {**TEMPERATURES, "match": {}, "paths": ["/3303/*/5700", "/3303/*/5701"]})
    register(room.device("liar"), ",".join(f"</3303/{number}>" for number in range(4000)).encode())
    assert len(room.observations.wanted(room.registration("liar"))) == 500


def test_a_device_with_ever_new_objects_does_not_fill_the_memory(room: Room) -> None:
    room.templates.put(None, TEMPERATURES)
    device = room.device("d")
    asked = register(device, b"</3303/0>")
    for number in range(1, 20):
        while asked:
            request = asked.pop(0)
            asked += device.answer(request, codes.CHANGED if request.code == codes.PUT else codes.NOT_FOUND)
        asked = device.update(links=f"</3303/{number}>".encode())[1:]
    registration = room.registration("d")
    for noted in (registration.refused, registration.remarks, registration.attributed, registration.given):
        assert len(noted or {}) <= 1


def test_a_client_of_1_0_has_no_composites(room: Room) -> None:
    room.templates.put(None, {"name": "temperatures", "paths": ["/3303/*/5700"], "composite": True})
    (observe,) = register(room.device("d"), b"</3303/0>,</3303/1>", "1.0")
    assert (observe.code, path_of(observe)) == (codes.GET, SENSOR)
    assert origins(room, "d") == OBSERVED


def test_a_device_that_sleeps_is_not_asked_before_it_wakes(room: Room) -> None:
    device = room.device("d")
    awake = [True]
    register(device, b"</3/0>")
    room.observations.may_ask = lambda _: awake[0]
    awake[0] = False
    room.devices.put_template(None, {"name": "battery", "paths": ["/3/*/9"]})
    assert room.settle() == []
    found = row(room, "d", "/3/0/9")
    assert (found["state"], found["reason"]) == ("waiting", "Waits for the device, which sleeps.")
    awake[0] = True
    (observe,) = device.update()[1:]
    assert path_of(observe) == "/3/0/9"


def test_a_report_wakes_a_device_as_much_as_an_update(room: Room) -> None:
    device = room.device("d")
    left = device.post(("rd",), ("ep=d", "lt=86400", "lwm2m=1.1", "b=U", "Q"), b"</3/0>,</3303/0>")
    device.answer(left[1], payload=b"21.5", observe=1)
    room.now += 200
    room.devices.put_template(None, {"name": "battery", "paths": ["/3/*/9"]})
    assert room.settle() == []
    assert row(room, "d", "/3/0/9")["state"] == "waiting"
    receipt, observe = device.notify(left[1].token, b"22", 2)
    assert (receipt.mtype, path_of(observe)) == (types.ACK, "/3/0/9")


def test_templates_outlive_a_restart(room: Room) -> None:
    made = room.templates.put(None, {**TEMPERATURES, "enabled": False, "match": {"endpoint": "m?ter"}})
    room.restart()
    (found,) = room.templates.all()
    assert found.to_api() == made.to_api()
    assert found.to_api() == {
        "id": made.id,
        "name": "temperatures",
        "match": {"endpoint": "m?ter", "object": None},
        "paths": ["/3303/*/5700"],
        "attributes": {"pmin": 10, "pmax": 300},
        "composite": False,
        "enabled": False,
    }
    register(room.device("meter"), b"</3303/0>")
    assert origins(room, "meter") == {SENSOR: "default"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": "x" * 65}, "needs a name"),
        ({"paths": []}, "1 to"),
        ({"paths": ["/3303/0/*"]}, "every object instance only"),
        ({"paths": ["/*/0"]}, "every object instance only"),
        ({"paths": ["/3303/*/*"]}, "every object instance only"),
        ({"paths": ["/"]}, "everything at once"),
        ({"paths": ["/70000"]}, "no path"),
        ({"paths": ["/3"] * (MAX_PATHS + 1)}, "1 to"),
        ({"match": {"endpoint": "*" * 9}}, "pattern"),
        ({"match": {"object": 70000}}, "the object to match"),
        ({"attributes": {"pmin": 20, "pmax": 10}}, "pmax must not be less than pmin"),
        ({"attributes": {"often": 1}}, "no attribute"),
        ({"attributes": {"pmin": True}}, "must be a number"),
    ],
)
def test_what_cannot_be_a_template_is_refused_with_the_next_step(
    room: Room, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(DeviceError, match=words):
        room.templates.put(None, {**TEMPERATURES, **change})
    assert room.templates.all() == []


def test_names_are_unique_and_templates_are_counted(room: Room) -> None:
    room.templates.put(None, TEMPERATURES)
    with pytest.raises(DeviceError, match="named 'temperatures' already"):
        room.templates.put(None, TEMPERATURES)
    with pytest.raises(DeviceError, match="no template"):
        room.templates.remove("none")
    with pytest.raises(DeviceError, match="no template"):
        room.templates.put("none", TEMPERATURES)


def test_there_is_an_end_to_templates(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.devices.templates.MAX_TEMPLATES", 2)
    assert MAX_TEMPLATES == 100
    templates = Templates(room.state)
    for number in range(2):
        templates.put(None, {**TEMPERATURES, "name": str(number)})
    with pytest.raises(DeviceError, match="2 templates already"):
        templates.put(None, TEMPERATURES)


def test_there_is_an_end_to_what_is_asked_of_one_device(room: Room) -> None:
    register(room.device("d"), b"</3/0>")
    registration = room.registration("d")
    for number in range(MAX_ASKED):
        room.observations.want(registration, Path(3, 0, number))
    with pytest.raises(DeviceError, match="asked for already"):
        room.observations.want(registration, Path(4, 0, 1))
    room.observations.want(registration, Path(3, 0, 1), (("pmin", "5"),))
