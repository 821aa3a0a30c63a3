"""A device over TCP: observations live and die with their connection (RFC 8323 §3.4)."""

from __future__ import annotations

import pytest
from aiocoap.numbers import codes

from tests.house import House, LockstepDevice, LockstepStream

SENSOR = "/3303/0/5700"


def states(house: House) -> dict[str, str]:
    rows = house.api("GET", "/devices/streamer/observations")[1]["observations"]
    return {row["path"]: row["state"] for row in rows}


def observed(device: LockstepDevice) -> None:
    """Take the Observe, and see that a report after it arrives."""
    device.take_observe(SENSOR, b"20.5")
    head = device.house.head()
    device.notify(SENSOR, b"21.5", 2)
    if not isinstance(device, LockstepStream):
        device.receive()  # the acknowledgement
    device.house.until(
        lambda event: event["kind"] == "value" and event["values"][0]["value"] == 21.5, after=head
    )
    assert states(device.house) == {SENSOR: "active"}


def registered(house: House) -> LockstepStream:
    device = LockstepStream(house, "streamer")
    device.register("</1/0>,</3303/0>")
    observed(device)
    return device


def test_after_a_lost_connection_the_next_update_brings_the_observation_back(house: House) -> None:
    with registered(house) as device:
        device.move()
        device.update()
        observed(device)
        row = house.api("GET", "/devices/streamer")[1]
        assert (row["bearer"], row["state"]) == ("TCP", "online")


@pytest.mark.parametrize("bearer", [LockstepStream, LockstepDevice], ids=["tcp", "udp"])
def test_who_comes_another_way_is_observed_there_though_the_connection_stands(
    house: House, bearer: type[LockstepDevice]
) -> None:
    with registered(house) as device, bearer(house, "streamer") as other:
        other.location = device.location
        other.update()
        observed(other)
        assert house.api("GET", "/devices/streamer")[1]["bearer"] == (
            "TCP" if bearer is LockstepStream else "UDP"
        )
        device.close()
        other.update()
        assert states(house) == {SENSOR: "active"}


def test_a_request_without_a_connection_says_so(house: House) -> None:
    with registered(house) as device:
        device.request(codes.POST, device.location)
        device.close()
        body = {"operation": "Read", "path": "/3303/0/5700"}
        status, answer = house.api("POST", "/devices/streamer/operations", body)
        assert (status, answer["error"]["code"]) == (504, "unreachable")
        assert "connection" in answer["error"]["message"]
