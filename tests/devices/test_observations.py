"""What is wanted and what is active: over Register, Update, cancel, restart and a change of address."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.devices.observations import parse_observe_paths
from appliance.lwm2m.path import Path
from tests.devices.room import SENSOR, Device, Room, path_of, peer

OWN_SENSOR = b"""<LWM2M><Object ObjectType="MODefinition"><Name>Own</Name><Description1/>
<ObjectID>3210</ObjectID><ObjectURN>urn:oma:lwm2m:x:3210</ObjectURN><LWM2MVersion>1.0</LWM2MVersion>
<ObjectVersion>1.0</ObjectVersion><MultipleInstances>Multiple</MultipleInstances><Mandatory>Optional</Mandatory>
<Resources><Item ID="5700"><Name>Sensor Value</Name><Operations>R</Operations>
<MultipleInstances>Single</MultipleInstances><Mandatory>Mandatory</Mandatory><Type>Float</Type>
<RangeEnumeration/><Units/><Description/></Item></Resources><Description2/></Object></LWM2M>"""


def observing(room: Room, device: Device, links: bytes = b"</1/0>,</3303/0>") -> dict[str, bytes]:
    """Register, and accept every Observe; path -> token."""
    return accept_all(device, device.register(links)[1:])


def accept_all(device: Device, asked: list[Message]) -> dict[str, bytes]:
    tokens: dict[str, bytes] = {}
    while asked:
        request = asked.pop(0)
        assert request.code == codes.GET
        if request.opt.observe == 1:  # an end, not a beginning
            asked += device.answer(request, payload=b"1.5")
            continue
        assert request.opt.observe == 0
        tokens[path_of(request)] = request.token
        asked += device.answer(request, payload=b"1.5", observe=5)
    return tokens


def active(room: Room, name: str) -> list[str]:
    return sorted(room.registration(name).observations)


def origins(room: Room, name: str) -> dict[str, str]:
    wishes = room.observations.wanted(room.registration(name))
    return {key: wish.origin for key, wish in wishes.items()}


def stored(room: Room) -> int:
    return int(room.database.read("SELECT count(*) FROM observations", ())[0][0])


def test_every_register_establishes_them_and_an_update_does_not_6_4_6(room: Room) -> None:
    device = room.device("d")
    first = observing(room, device)
    assert list(first) == [SENSOR]
    assert len(device.update()) == 1
    second = observing(room, device)
    assert second[SENSOR] != first[SENSOR]
    assert stored(room) == 1
    assert device.notify(first[SENSOR], b"2.5", 6)[0].mtype is types.RST
    assert device.notify(second[SENSOR], b"2.5", 6)[0].mtype is types.ACK


def test_one_request_at_a_time(room: Room) -> None:
    device = room.device("d")
    asked = device.register(b"</3303/0>,</3303/1>,</3304/0>")[1:]
    assert [path_of(request) for request in asked] == [SENSOR]
    asked = device.answer(asked[0], payload=b"1", observe=1)
    assert [path_of(request) for request in asked] == ["/3303/1/5700"]


def test_a_new_instance_in_an_update_is_observed_and_a_removed_one_is_not(room: Room) -> None:
    device = room.device("d")
    tokens = observing(room, device, b"</3303/0>,</3303/1>")
    asked = device.update(links=b"</3303/1>,</3303/2>")[1:]
    assert list(accept_all(device, asked)) == ["/3303/2/5700"]
    assert active(room, "d") == ["/3303/1/5700", "/3303/2/5700"]
    assert stored(room) == 2
    assert device.notify(tokens[SENSOR], b"9", 9)[0].mtype is types.RST


def test_an_object_that_left_the_list_takes_its_object_observation_along(room: Room) -> None:
    device = room.device("d")
    observing(room, device, b"</1/0>,</3/0>")
    room.observations.want(room.registration("d"), Path(3))
    accept_all(device, device.update()[1:])
    assert active(room, "d") == ["/3"]
    device.update(links=b"</1/0>")
    assert active(room, "d") == []


def test_an_observation_of_an_object_stays_while_its_instances_change(room: Room) -> None:
    device = room.device("d")
    observing(room, device, b"</1/0>,</3/0>")
    room.observations.want(room.registration("d"), Path(3))
    tokens = accept_all(device, device.update()[1:])
    device.update(links=b"</1/0>,</3>")
    assert active(room, "d") == ["/3"]
    assert device.notify(tokens["/3"], b"x", 9)[0].mtype is types.ACK


def test_an_instance_that_comes_back_is_asked_again(room: Room) -> None:
    device = room.device("d")
    asked = device.register(b"</3303/0>,</3303/1>")[1:]
    asked = device.answer(asked[0], codes.NOT_FOUND)
    accept_all(device, asked)
    assert len(device.update()) == 1  # refused: not asked again at every Update
    device.update(links=b"</3303/1>")
    asked = device.update(links=b"</3303/0>,</3303/1>")[1:]
    assert list(accept_all(device, asked)) == [SENSOR]


def test_a_refusal_that_passes_is_asked_again_at_the_next_update(room: Room) -> None:
    device = room.device("d")
    for code in (codes.SERVICE_UNAVAILABLE, codes.INTERNAL_SERVER_ERROR):
        asked = device.register(b"</3303/0>,</3303/1>")[1:]
        asked = device.answer(asked[0], code)
        accept_all(device, asked)
        assert room.registration("d").refused
        assert list(accept_all(device, device.update()[1:])) == [SENSOR]


def test_a_cancel_while_the_observe_is_under_way_holds(room: Room) -> None:
    device = room.device("d")
    asked = device.register()[1:]
    room.run(room.devices.cancel_observation("d", SENSOR))
    device.answer(asked[0], payload=b"1.5", observe=5)
    assert active(room, "d") == []
    assert stored(room) == 0
    assert device.notify(asked[0].token, b"2.5", 6)[0].mtype is types.RST


def test_a_registration_replaced_before_its_commit_observes_nothing(room: Room) -> None:
    device = room.device("d")
    query = ("ep=d", "lt=60", "lwm2m=1.1", "b=U")
    device.said(codes.POST, ("rd",), query, b"</3303/0>")
    second = device.said(codes.POST, ("rd",), query, b"</3303/0>")
    left = device.settled(second)
    assert [message.code for message in left] == [codes.CREATED, codes.CREATED, codes.GET]
    assert list(accept_all(device, left[2:])) == [SENSOR]
    assert active(room, "d") == [SENSOR]


def test_an_observe_under_way_follows_a_device_to_its_new_address(room: Room) -> None:
    device = room.device("d")
    device.register()
    device.peer = peer(2000)
    left = device.update()
    assert [message.code for message in left] == [codes.CHANGED, codes.GET]
    tokens = accept_all(device, left[1:])
    assert active(room, "d") == [SENSOR]
    assert device.notify(tokens[SENSOR], b"2.5", 6)[0].mtype is types.ACK


def test_a_command_under_way_is_not_given_to_whoever_has_the_old_address(room: Room) -> None:
    device = room.device("d")
    device.register(b"</3/0>")
    task = room.loop.create_task(
        room.devices.operate("d", {"operation": "Execute", "path": "/3/0/4", "timeout_s": 30})
    )
    room.loop.call_soon(room.loop.stop)
    room.loop.run_forever()
    assert [message.code for message in room.settle()] == [codes.POST]
    device.peer = peer(2000)
    # An Execute may have been done already, so it is not sent twice; its end is said.
    assert [message.code for message in device.update()] == [codes.CHANGED]
    with pytest.raises(Exception, match="address"):
        room.run(task)


def test_an_object_among_the_settings_is_observed_where_the_device_has_it(
    make_room: Callable[..., Room],
) -> None:
    room = make_room(observe_sensors=False, observe_paths=("/3303", "/4/0/2", "/6/0"))
    assert list(observing(room, room.device("d"), b"</3303/0>,</3303/1>,</4/0>")) == ["/4/0/2", "/3303"]
    assert list(observing(room, room.device("e", 2000), b"</3/0>,</6/0>")) == ["/6/0"]


def test_the_root_and_what_is_no_path_are_refused_as_settings() -> None:
    assert parse_observe_paths(("/3/0/9", "/3303")) == []
    assert len(parse_observe_paths(("/", "3303/x", "/1/2/3/4/5"))) == 3


def test_a_model_that_comes_later_makes_a_sensor_observed(room: Room) -> None:
    device = room.device("d")
    assert device.register(b"</3210/0>")[1:] == []
    room.devices.add_model(OWN_SENSOR)
    asked = room.settle() or device.update()[1:]
    assert list(accept_all(device, asked)) == ["/3210/0/5700"]
    room.devices.remove_model(3210, "1.0")
    assert room.observations.wanted(room.registration("d")) == {}


def test_what_is_wanted_and_active_outlives_a_restart(room: Room) -> None:
    device = room.device("d")
    tokens = observing(room, device, b"</1/0>,</3/0>,</3303/0>")
    room.observations.want(room.registration("d"), Path(3, 0, 1))
    room.observations.unwant(room.registration("d"), Path.parse(SENSOR))
    room.restart()
    assert origins(room, "d") == {"/3/0/1": "asked"}
    assert active(room, "d") == [SENSOR]  # the device still reports; only a cancel ends that
    assert device.notify(tokens[SENSOR], b"2.5", 6)[0].mtype is types.ACK
    assert accept_all(device, device.update()[1:]).keys() == {"/3/0/1"}


def test_a_cancel_that_the_device_never_heard_is_not_undone_by_a_restart(room: Room) -> None:
    device = room.device("d")
    tokens = observing(room, device)
    work = room.loop.create_task(room.devices.cancel_observation("d", SENSOR))
    room.loop.call_soon(room.loop.stop)
    room.loop.run_forever()
    (cancel,) = room.settle()
    assert (cancel.opt.observe, cancel.token) == (1, tokens[SENSOR])
    room.server.forget(room.registration("d").client)
    with pytest.raises(Exception, match="cancelled"):
        room.run(work)
    room.restart()
    assert room.observations.wanted(room.registration("d")) == {}
    assert device.notify(tokens[SENSOR], b"2.5", 6)[0].mtype is types.RST
    assert device.update()[1:] == []


def test_a_damaged_row_loses_one_observation(room: Room) -> None:
    device = room.device("d")
    tokens = observing(room, device, b"</3303/0>,</3303/1>")
    room.database.write("UPDATE observations SET doc = '[' WHERE token = ?", (tokens[SENSOR],))
    room.database.write("INSERT INTO desired(endpoint_name, path, doc) VALUES ('d', 'nonsense', '{')", ())
    room.database.flush()
    room.restart()
    assert active(room, "d") == ["/3303/1/5700"]


def test_removing_a_device_ends_its_observations_and_its_wishes(room: Room) -> None:
    device = room.device("d")
    tokens = observing(room, device)
    room.observations.want(room.registration("d"), Path(3, 0, 1))
    room.run(room.devices.remove("d"))
    assert device.notify(tokens[SENSOR], b"2.5", 6)[0].mtype is types.RST
    assert device.post(device.location, ())[0].code == codes.NOT_FOUND
    assert [
        room.database.read(f"SELECT count(*) FROM {table}", ())[0][0]
        for table in ("registrations", "observations", "desired")
    ] == [0, 0, 0]
    room.restart()
    assert list(room.registry) == []
    assert list(observing(room, device)) == [SENSOR]


def test_an_observation_that_the_device_ends_is_shown_with_its_reason(room: Room) -> None:
    device = room.device("d")
    tokens = observing(room, device)
    message = Message(code=codes.NOT_FOUND, _mtype=types.CON, _token=tokens[SENSOR])
    device.send(message)
    assert room.settle()[0].mtype is types.ACK
    (row,) = room.devices.observations("d")["observations"]
    assert row["state"] == "refused"
    assert "Not Found" in row["reason"]
    assert stored(room) == 0


def test_several_thousand_instances_are_not_all_observed(room: Room) -> None:
    """Over NoSec a stranger may list what he likes; every entry of it would become a request."""
    device = room.device("liar")
    links = b",".join(b"</3303/%d>" % number for number in range(3000))
    device.register(links)
    assert len(room.observations.wanted(room.registration("liar"))) <= 500
