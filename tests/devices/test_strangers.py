"""The quarantine list, and how identities failed: who is on it, whom a person can block, what is written."""

from __future__ import annotations

import pytest

from appliance.devices.errors import DeviceError
from appliance.devices.identity_use import IdentityUse
from appliance.devices.strangers import MAX_STRANGERS, MAX_WRITES, Strangers
from tests.devices.room import Room


def strangers(room: Room) -> Strangers:
    made = Strangers(room.database, room.wall)
    made.load()
    return made


def test_who_knocks_again_is_one_entry_and_a_restart_keeps_it(room: Room) -> None:
    listed = strangers(room)
    for port in (1, 2):
        last = listed.knock("meter", "psk:meter", f"192.0.2.7:{port}", "DTLS", "No.")
    (one,) = listed
    assert one is last
    assert (one.count, one.address) == (2, "192.0.2.7:2")
    listed.mark(one.id, "blocked")
    room.database.flush()
    (again,) = strangers(room)
    assert (again.id, again.endpoint_name, again.state, again.count) == (one.id, "meter", "blocked", 2)


def test_a_name_or_an_identity_is_blocked_and_nobody_else(room: Room) -> None:
    listed = strangers(room)
    listed.mark(listed.knock("meter", "", "192.0.2.7:1", "UDP", "No.").id, "blocked")
    listed.mark(listed.knock("", "psk:lamp", "192.0.2.7:1", "DTLS", "No.").id, "blocked")
    assert listed.blocked("meter", "") and listed.blocked("meter", "psk:other")
    assert listed.blocked("", "psk:lamp") and listed.blocked("lamp", "psk:lamp")
    assert not listed.blocked("lamp", "") and not listed.blocked("", "psk:other")


def test_who_gave_no_name_cannot_be_blocked_as_that_would_be_everybody(room: Room) -> None:
    listed = strangers(room)
    nobody = listed.knock("", "", "192.0.2.7:1", "DTLS", "It fell silent.")
    with pytest.raises(DeviceError, match="neither a name nor an identity"):
        listed.mark(nobody.id, "blocked")
    nobody.state = "blocked"  # as an earlier release may have stored it
    assert not listed.blocked("", "psk:meter") and not listed.blocked("meter", "")
    assert listed.mark(nobody.id, "ignored").state == "ignored"


def test_the_list_has_a_bound_and_who_is_blocked_stays(room: Room) -> None:
    listed = strangers(room)
    blocked = listed.knock("first", "", "192.0.2.7:1", "UDP", "No.")
    listed.mark(blocked.id, "blocked")
    for number in range(MAX_STRANGERS + 20):
        room.now += 1
        listed.knock(f"stranger-{number}", "", "192.0.2.7:1", "UDP", "No.")
    assert len(list(listed)) == MAX_STRANGERS
    assert listed.blocked("first", "") and listed.named("stranger-0") == []
    room.database.flush()
    assert {one.id for one in strangers(room)} == {one.id for one in listed}


def test_who_was_not_seen_for_longest_goes_also_after_a_restart(room: Room) -> None:
    listed = strangers(room)
    for name in ("first", "second"):
        room.now += 1
        listed.knock(name, "", "192.0.2.7:1", "UDP", "No.")
    room.now += 100
    listed.knock("first", "", "192.0.2.7:1", "UDP", "No.")
    room.database.flush()
    again = strangers(room)
    room.now += 100
    for number in range(MAX_STRANGERS - 1):
        again.knock(f"stranger-{number}", "", "192.0.2.7:1", "UDP", "No.")
    assert again.named("first") and not again.named("second")


def test_names_made_up_by_the_thousand_are_not_written_by_the_thousand(room: Room) -> None:
    listed = strangers(room)
    known = listed.knock("meter", "", "192.0.2.7:1", "UDP", "No.")
    room.database.flush()
    before = room.database.health.committed_rows
    for number in range(5000):
        listed.knock(f"made-up-{number}", "", "192.0.2.7:1", "UDP", "No.")
    room.database.flush()
    assert room.database.health.committed_rows - before <= 2 * MAX_WRITES
    room.now += 60
    listed.knock("meter", "", "192.0.2.7:1", "UDP", "No.")
    room.database.flush()
    (again,) = strangers(room).named("meter")
    assert again.last_seen_at > known.first_seen_at


def test_a_failure_is_written_at_once_and_changing_words_now_and_then(room: Room) -> None:
    uses = IdentityUse(room.database, room.wall)
    uses.failed("psk:meter", "first")
    room.database.flush()
    for number in range(1000):
        uses.failed("psk:meter", f"other {number}")
    room.database.flush()
    before = room.database.health.committed_rows
    stored = IdentityUse(room.database, room.wall)
    stored.load()
    assert (uses.get("psk:meter").text, stored.get("psk:meter").text) == ("other 999", "first")
    room.now += 5
    uses.failed("psk:meter", "last")
    room.database.flush()
    assert room.database.health.committed_rows == before + 1
    stored.load()
    assert stored.get("psk:meter").text == "last"
