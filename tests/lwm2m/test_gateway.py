"""What a LwM2M Gateway says of the devices behind it (objects 25 and 26)."""

from __future__ import annotations

import random

from appliance.lwm2m.gateway import read_end_devices
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, Value


def reports(*values: tuple[str, Value]) -> list[Report]:
    return [Report(Path.parse(path), value, None, True) for path, value in values]


def test_an_end_device_of_version_2() -> None:
    devices, problems = read_end_devices(
        reports(("/25/0/0", "meter-7"), ("/25/0/1", "d01"), ("/25/0/3", "</3303/0>,</3303/1>,</3/0>"))
    )
    assert not problems and len(devices) == 1
    assert (devices[0].device_id, devices[0].prefix, devices[0].instance_id) == ("meter-7", "d01", 0)
    assert set(devices[0].objects.instances) == {Path(3303, 0), Path(3303, 1), Path(3, 0)}


def test_version_1_routes_by_object_26() -> None:
    devices, problems = read_end_devices(
        reports(
            ("/25/4/0", "meter-8"), ("/25/4/1", "/d02"), ("/25/4/2/0", ObjectLink(26, 3)),
            ("/26/3/0", 3303), ("/26/3/1", "</3303/0>"),
        )
    )  # fmt: skip
    assert not problems and devices[0].objects.instances == (Path(3303, 0),) and devices[0].prefix == "d02"


def test_version_1_without_mapping_means_the_object_itself() -> None:
    for order in (1, -1):
        routing = [("/26/3/0", 3303), ("/26/3/1", "")][::order]
        devices, problems = read_end_devices(
            reports(("/25/4/0", "meter-8"), ("/25/4/1", "d02"), ("/25/4/2", ObjectLink(26, 3)), *routing)
        )
        assert not problems and devices[0].objects.objects == {3303: None}


def test_version_3_and_what_is_still_to_come_is_let_pass() -> None:
    """3.0 adds the RSSI of the end device (/25/x/4)."""
    devices, problems = read_end_devices(
        reports(("/25/0/0", "a"), ("/25/0/1", "d01"), ("/25/0/3", "</3303/0>;ver=1.1"), ("/25/0/4", -70))
    )
    assert not problems and devices[0].objects.objects == {3303: "1.1"}


def test_an_end_device_may_have_nothing_yet() -> None:
    devices, problems = read_end_devices(reports(("/25/0/0", "a"), ("/25/0/1", "d01"), ("/25/0/3", "")))
    assert not problems and devices[0].objects.objects == {}


def test_a_crowd_is_read_in_linear_time() -> None:
    crowd: list[tuple[str, Value]] = []
    for number in range(6_500):
        crowd += [
            (f"/25/{number}/0", f"dev-{number}"), (f"/25/{number}/1", f"d{number}"),
            (f"/25/{number}/3", "</3303/0>"),
        ]  # fmt: skip
    devices, problems = read_end_devices(reports(*crowd))
    assert len(devices) == 6_500 and not problems
    assert len({id(device.objects) for device in devices}) == 1


def test_any_reports_give_devices_or_sentences() -> None:
    chance = random.Random(25)
    values: list[Value] = [
        "", "a", "d01", "d02", "/d01/", "1", "../x", "</3/0>", "</d01/3/0>", "<", "\0", "ä" * 200, 7,
        0.5, True, b"x", ObjectLink(26, 0), ObjectLink(65535, 65535),
    ]  # fmt: skip
    for _ in range(20_000):
        given = [
            Report(
                Path(chance.choice((25, 25, 26, 3)), chance.randrange(3), chance.randrange(5)),
                chance.choice(values), None, chance.random() < 0.5,
            )
            for _ in range(chance.randrange(12))
        ]  # fmt: skip
        devices, problems = read_end_devices(given)
        assert len({device.prefix for device in devices}) == len(devices)
        assert all(problem.endswith(".") for problem in problems)


def test_leniency_links_that_carry_the_prefix() -> None:
    devices, _ = read_end_devices(reports(("/25/0/0", "a"), ("/25/0/1", "d01"), ("/25/0/3", "</d01/3303/0>")))
    assert devices[0].objects.instances == (Path(3303, 0),)


def test_what_cannot_be_used_is_told_and_harms_no_other() -> None:
    devices, problems = read_end_devices(
        reports(
            ("/25/0/1", "d00"),
            ("/25/1/0", "one"), ("/25/1/1", "d01"), ("/25/1/3", "</3303/0>"),
            ("/25/2/0", "two"), ("/25/2/1", "d01"), ("/25/2/3", "</3303/0>"),
            ("/25/3/0", "one"), ("/25/3/1", "d03"), ("/25/3/3", "</3303/0>"),
            ("/25/4/0", "four"), ("/25/4/1", "3303"), ("/25/4/3", "</3303/0>"),
            ("/25/5/0", "five"), ("/25/5/1", "../x"), ("/25/5/3", "</3303/0>"),
            ("/25/6/0", "six"), ("/25/6/1", "d06"), ("/25/6/3", "nonsense"),
            ("/25/7/0", 7), ("/25/7/1", "d07"),
        )
    )  # fmt: skip
    assert [device.device_id for device in devices] == ["one"]
    assert len(problems) == 7


def test_nothing_is_nothing() -> None:
    assert read_end_devices([]) == ([], [])
    assert read_end_devices(reports(("/3/0/0", "x"), ("/25", "y"))) == ([], [])
