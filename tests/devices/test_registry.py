"""Who is registered and for how long: OMA Core 1.1.1 §6.2, over a clock that stands until it is moved."""

from __future__ import annotations

import json

import pytest
from aiocoap.numbers import codes

from appliance.devices.registry import Locations, _said_json, expiry
from appliance.devices.uplink import lists_secrets
from appliance.storage.errors import StorageFull
from tests.devices.room import Room


def expired(room: Room, at: float) -> list[str]:
    room.now = at
    return [registration.endpoint_name for registration in room.registry.expired(at)]


def test_expiry_adds_a_tenth_but_no_more_than_the_grace() -> None:
    assert expiry(300, 60, 1000) == 1330
    assert expiry(86_400, 60, 1000) == 87_460
    assert expiry(0, 60, 1000) == float("inf")


def test_a_location_is_given_once() -> None:
    locations = Locations()
    taken = {locations.take() for _ in range(1000)}
    assert len(taken) == 1000
    assert {len(location) for location in taken} == {12}


def test_an_update_moves_the_end_and_the_heap_keeps_one_entry(room: Room) -> None:
    device = room.device("d")
    device.register(lifetime_s=100)
    for _ in range(50):
        room.now += 50
        assert expired(room, room.now) == []
        device.update()
    assert len(room.registry._deadlines) == 1
    assert expired(room, room.now + 109) == []
    assert expired(room, room.now + 2) == ["d"]


def test_a_shorter_lifetime_ends_sooner_and_a_longer_later(room: Room) -> None:
    device = room.device("d")
    device.register(lifetime_s=1000)
    device.update("lt=10")
    start = room.now
    assert expired(room, start + 10.5) == []
    assert expired(room, start + 11.5) == ["d"]
    room.now = start
    device.register(lifetime_s=10)
    device.update("lt=1000")
    assert expired(room, start + 500) == []
    assert expired(room, start + 1061) == ["d"]


def test_lifetime_zero_never_ends_and_an_update_can_end_that(room: Room) -> None:
    device = room.device("d")
    device.register(lifetime_s=100)
    device.update("lt=0")
    assert expired(room, room.now + 1e9) == []
    assert room.registry.next_deadline() is None
    device.update("lt=100")
    assert expired(room, room.now + 111) == ["d"]


def test_the_deadline_of_a_replaced_registration_ends_nothing(room: Room) -> None:
    device = room.device("d")
    device.register(lifetime_s=10)
    device.register(lifetime_s=1000)
    assert expired(room, room.now + 500) == []


def test_a_device_that_registers_all_the_time_does_not_fill_the_heap(room: Room) -> None:
    device = room.device("crash-loop")
    for _ in range(1000):
        device.register(b"</3/0>", lifetime_s=10**17)
    assert len(room.registry._deadlines) < 200


def test_lifetimes_that_shrink_do_not_fill_the_heap(room: Room) -> None:
    device = room.device("d")
    device.register(lifetime_s=10**6)
    for lifetime_s in range(999_999, 999_000, -1):
        device.update(f"lt={lifetime_s}")
    assert len(room.registry._deadlines) < 200
    assert expired(room, room.now + 999_001 + 61) == ["d"]


def test_what_could_not_end_for_want_of_disk_ends_later(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        room.device(f"d{number}", 1000 + number).register(b"</3/0>", lifetime_s=10)
    room.now += 12

    def full(*_: object) -> int:
        raise StorageFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(room.database, "write", full)
        room.uplink.expire()
    room.now += 5
    room.uplink.expire()
    assert [registration.ended for registration in room.registry] == ["expired"] * 3
    assert len(room.journal("expired")) == 3


def test_the_heap_is_made_anew_and_every_device_ends_once(room: Room) -> None:
    """Many devices go at once, and one deadline has to be moved while they do."""
    for number in range(200):
        room.device(f"d{number}", 1000 + number).register(b"</3/0>", lifetime_s=10)
    for number in range(0, 200, 2):
        room.registry.remove(room.registration(f"d{number}"))
    room.now += 5
    late = room.registration("d1")
    room.registry.refresh(late, room.now)
    gone = expired(room, room.now + 10)
    assert len(gone) == len(set(gone)) == 99
    assert "d1" not in gone


def test_a_registration_outlives_a_restart_with_all_it_said(room: Room) -> None:
    device = room.device("ünï/cödé ☃", 1000)
    device.post(
        ("rd",),
        (f"ep={device.name}", "lt=77", "lwm2m=1.1", "b=UQ", "sms=+49123", "pid=x", "y"),
        b"</>;ct=110,</1/0>,</3303/0>",
    )
    room.settle()
    before = room.devices.device(device.name)
    room.restart()
    after = room.devices.device(device.name)
    changed = ("expires_at", "state", "awake_until", "expected_at")  # it counts as asleep until it is heard
    assert {**after, **dict.fromkeys(changed)} == {**before, **dict.fromkeys(changed)}
    assert device.update()[0].code == codes.CHANGED


def test_one_damaged_row_does_not_keep_the_others_out(room: Room) -> None:
    for number in range(3):
        room.device(f"d{number}", 1000 + number).register(b"</3/0>")
    rows = room.database.read("SELECT doc FROM registrations WHERE endpoint_name = 'd1'", ())
    assert json.loads(rows[0][0])["lifetime_s"] == 300
    room.database.write("UPDATE registrations SET doc = '{\"peer\":[' WHERE endpoint_name = 'd1'", ())
    room.database.write("UPDATE registrations SET doc = '{}' WHERE endpoint_name = 'd0'", ())
    room.database.flush()
    room.restart()
    assert [registration.endpoint_name for registration in room.registry] == ["d2"]


def test_long_object_lists_of_strangers_are_not_kept_beyond_their_registrations(room: Room) -> None:
    before = (_said_json.cache_info().currsize, lists_secrets.cache_info().currsize)
    for number in range(20):
        links = b",".join(b"</%d/%d>" % (20_000 + number, instance) for instance in range(1000))
        room.device("d").register(links)
    assert (_said_json.cache_info().currsize, lists_secrets.cache_info().currsize) == before
    room.restart()
    assert len(room.registration("d").client.objects.instances) == 1000


def test_a_dead_location_stays_dead_after_a_restart(room: Room) -> None:
    device = room.device("d")
    device.register()
    location = device.location
    assert device.settled(device.said(codes.DELETE, location))[0].code == codes.DELETED
    room.restart()
    assert device.post(location, ())[0].code == codes.NOT_FOUND
    assert room.registration("d").ended == "deregistered"
    assert room.registry.live == 0


def test_when_a_device_was_heard_last_is_known_after_a_restart_without_a_row_for_it(room: Room) -> None:
    device = room.device("d")
    device.register()
    room.now += 100
    device.update()
    heard = room.registration("d").seen_at
    assert heard == room.wall()
    room.now += 1000
    room.restart()
    assert room.registration("d").seen_at == heard
