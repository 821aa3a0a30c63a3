"""The bridge: reports become attributes with their times, and come back in LwM2M words."""

from __future__ import annotations

from appliance.devices.translation import attribute_name, attribute_path, iso
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, Value
from tests.devices.room import EPOCH, SENSOR, Room


def taken(room: Room, *reports: Report, source: str = "read") -> list[dict[str, object]]:
    """Report it for a device; its last values then."""
    if room.registry.named("d") is None:
        room.device("d").register(b"</3/0>,</4/0>,</3210/0>")
    registration = room.registration("d")
    room.translation.reports(registration, reports, source, None, None, None)
    room.database.flush()
    return room.translation.values(registration, Path())


def one(room: Room, path: str, value: Value, at: float | None = None) -> dict[str, object]:
    known = room.definitions.find(Path.parse(path)[0], None) is not None
    (shown,) = taken(room, Report(Path.parse(path), value, at, known))
    return shown


def test_names_and_paths_are_one_to_one() -> None:
    for text in ("/3", "/3303/0", SENSOR, "/6/0/1/65535"):
        path = Path.parse(text)
        assert attribute_path(attribute_name(path)) == path
        assert "/" not in attribute_name(path)


def test_a_time_outside_the_calendar_is_no_time() -> None:
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(1.8e9 + 0.25) == "2027-01-15T08:00:00.250Z"
    for odd in (None, 1e12, -1e12, 1e300, float("inf"), float("-inf"), float("nan"), 253_402_300_799.9999):
        assert iso(odd) is None


def test_a_lifetime_of_a_million_years_hides_nobody(room: Room) -> None:
    room.device("patient").register(lifetime_s=10**18 - 1)
    room.device("other", 2000).register()
    page = room.devices.list_devices()
    assert [row["endpoint_name"] for row in page["devices"]] == ["other", "patient"]
    assert page["devices"][1]["expires_at"] is None
    assert page["devices"][1]["state"] == "online"
    room.restart()
    assert room.devices.device("patient")["lifetime_s"] == 10**18 - 1


def test_values_are_shown_in_words_of_their_model(room: Room) -> None:
    shown = one(room, "/3/0/9", 77)
    assert (shown["value"], shown["text"], shown["type"], shown["name"]) == (
        77,
        "77",
        "integer",
        "Battery Level",
    )
    assert shown["at"] == iso(EPOCH + room.now)


def test_a_time_and_a_time_beyond_the_calendar(room: Room) -> None:
    assert one(room, "/3/0/13", 1_800_000_000)["value"] == "2027-01-15T08:00:00Z"
    assert one(room, "/3/0/13", 10**17)["value"] == 10**17


def test_what_json_cannot_say_is_said_as_text(room: Room) -> None:
    assert one(room, "/3210/0/1", float("nan"))["value"] == "nan"
    assert one(room, "/3210/0/1", float("-inf"))["value"] == "-inf"
    assert one(room, "/3210/0/1", b"\x00\xff")["value"] == "00ff"
    assert one(room, "/3210/0/1", ObjectLink(3, 0))["value"] == "3:0"


def test_without_a_model_it_is_kept_and_the_page_says_so(room: Room) -> None:
    shown = one(room, "/3210/0/1", b"\x01")
    assert (shown["modelled"], shown["type"], shown["value"]) == (False, "opaque", "01")
    assert "no object model" in str(shown["warning"])


def test_several_times_become_several_rows_oldest_first(room: Room) -> None:
    path = Path(3, 0, 9)
    reports = [Report(path, value, EPOCH + at, True) for value, at in ((3, 3.0), (1, 1.0), (2, 2.0))]
    assert [shown["value"] for shown in taken(room, *reports, source="notify")] == [3]
    rows = [room.devices.event(row) for row in room.journal("value")]
    assert [(row["values"][0]["value"], row["values"][0]["at"]) for row in rows] == [
        (1, iso(EPOCH + 1)),
        (2, iso(EPOCH + 2)),
        (3, iso(EPOCH + 3)),
    ]


def test_values_below_a_path(room: Room) -> None:
    taken(room, *(Report(Path.parse(path), 1, None, True) for path in ("/3/0/9", "/3/0/10", "/4/0/2")))
    registration = room.registration("d")

    def below(text: str) -> list[object]:
        return [shown["path"] for shown in room.translation.values(registration, Path.parse(text))]

    assert below("/") == ["/3/0/9", "/3/0/10", "/4/0/2"]
    assert below("/3") == ["/3/0/9", "/3/0/10"]
    assert below("/3/0/1") == []
    room.translation.forget_values(registration, Path(3, 0))
    assert below("/") == ["/4/0/2"]
    (row,) = room.journal("value")[-1:]
    assert room.devices.event(row)["gone"] == ["/3/0/9", "/3/0/10"]


def test_an_event_of_a_device_that_was_removed_can_still_be_shown(room: Room) -> None:
    taken(room, Report(Path(3, 0, 9), 77, None, True))
    room.run(room.devices.remove("d"))
    events = [room.devices.event(row) for row in room.journal()]
    assert [event["kind"] for event in events] == ["registered", "value", "removed"]
    assert events[1]["values"][0]["value"] == 77
