"""Profile ids of LwM2M 1.2: learned, told, merged, and never guessed (OMA Core 1.2.1 §6.2.1)."""

from __future__ import annotations

from typing import Any

import pytest
from aiocoap.numbers import codes

from appliance.devices.errors import DeviceError
from appliance.devices.profiles import Profiles
from tests.devices.room import Device, Room

LIST = "</1/0>,</3/0>"


def register(device: Device, *pids: str, links: str = "") -> Any:
    query = (f"ep={device.name}", "lt=300", "lwm2m=1.2", "b=U", *(f"pid={pid}" for pid in pids))
    return device.post(("rd",), query, links.encode())[0].code


def objects(room: Room, name: str) -> list[int]:
    return sorted(room.registration(name).client.objects.objects)


def test_an_unknown_profile_without_a_list_is_4_09_and_learned_from_the_list_that_follows(room: Room) -> None:
    device = room.device("d")
    assert register(device, "6:ab") == codes.CONFLICT
    assert room.registry.named("d") is None
    assert register(device, "6:ab", links=LIST) == codes.CREATED
    assert room.devices.profiles() == {
        "profiles": [{"pid": "6:ab", "links": LIST, "learned": True, "devices": 1}]
    }
    room.restart()
    assert register(room.device("e", 2000), "6:ab") == codes.CREATED
    assert objects(room, "e") == [1, 3]
    room.restart()
    assert objects(room, "e") == [1, 3]


def test_several_profiles_and_a_list_go_together(room: Room) -> None:
    device = room.device("d")
    room.devices.put_profile("6:a", "</1/0>,</3/0>")
    room.devices.put_profile("6:b", "</3303/0>;ver=1.1")
    assert register(device, "6:a", "6:b") == codes.CREATED
    assert objects(room, "d") == [1, 3, 3303]
    assert register(device, "6:a", "6:c") == codes.CONFLICT
    assert register(device, "6:a", links="</4/0>") == codes.CREATED
    assert objects(room, "d") == [1, 3, 4]
    assert register(device, "6:a", "6:c", links="</4/0>") == codes.CREATED
    assert [one["pid"] for one in room.devices.profiles()["profiles"]] == ["6:a", "6:b"]


def test_several_profiles_in_quotes_are_counted_each(room: Room) -> None:
    room.devices.put_profile("6:a", "</1/0>,</3/0>")
    room.devices.put_profile("6:b", "</3303/0>")
    assert register(room.device("d"), '"6:A,6:b"') == codes.CREATED
    assert objects(room, "d") == [1, 3, 3303]
    assert [one["devices"] for one in room.devices.profiles()["profiles"]] == [1, 1]


def test_an_update_may_name_another_profile(room: Room) -> None:
    room.devices.put_profile("6:AB", "</1/0>,</3/0>")
    room.devices.put_profile("6:b", "</1/0>,</3303/0>")
    device = room.device("d")
    assert register(device, "6:ab") == codes.CREATED
    left = device.post(device.location, ("pid=6:b",))
    assert [one.code for one in left] == [codes.CHANGED, codes.GET]
    assert objects(room, "d") == [1, 3303]
    assert device.post(device.location, ("pid=6:c",))[0].code == codes.CONFLICT
    assert objects(room, "d") == [1, 3303]
    room.restart()
    assert objects(room, "d") == [1, 3303]


def test_what_a_person_said_is_not_overwritten(room: Room) -> None:
    device = room.device("d")
    room.devices.put_profile("6:a", LIST)
    assert register(device, "6:a", links="</1/0>,</5/0>") == codes.CREATED
    assert room.devices.profiles()["profiles"][0]["links"] == LIST
    room.devices.remove_profile("6:a")
    assert register(device, "6:a") == codes.CONFLICT


@pytest.mark.parametrize(
    ("pid", "links", "words"),
    [
        ("", LIST, "1 to 80"),
        ("a b", LIST, "1 to 80"),
        ("6:a", "", "no object"),
        ("6:a", '"', "cannot be read"),
    ],
)
def test_what_is_no_profile_is_refused(room: Room, pid: str, links: str, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        room.devices.put_profile(pid, links)
    with pytest.raises(DeviceError, match="no profile"):
        room.devices.remove_profile(pid)


def test_there_is_an_end_to_profiles(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.devices.profiles.MAX_PROFILES", 1)
    profiles = Profiles(room.state)
    profiles.put("6:a", LIST)
    with pytest.raises(DeviceError, match="1 profiles already"):
        profiles.put("6:b", LIST)
    room.restart()
    device = room.device("d")
    assert register(device, "6:b", links=LIST) == codes.CREATED
    assert register(device, "6:b") == codes.CONFLICT
    assert len(room.devices.profiles()["profiles"]) == 1
