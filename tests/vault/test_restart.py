"""What changed about trust while the gateway was away counts as soon as it is back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.house import House, LockstepDevice
from tests.peers.trusted import eventually

NOBODY = 'coap.nosec="allowed"'


def state_of(house: House, name: str) -> tuple[str, str]:
    """Of a registration: whether it lives, and what is told about it last."""
    status, device = house.api("GET", f"/devices/{name}")
    assert status == 200
    return device["state"], str(device["warnings"])


@pytest.mark.parametrize(
    ("settings", "verb", "why"),
    [
        ((NOBODY,), "", "without security (NoSec), which is allowed only for devices"),
        ((), "revoke", "lockstep is blocked"),
    ],
    ids=["NoSec is not for everyone any more", "the device was revoked"],
)
def test_a_registration_of_before_ends_when_it_would_not_be_let_in_now(
    tmp_path: Path, settings: tuple[str, ...], verb: str, why: str
) -> None:
    house = House(tmp_path / "state")
    with house:
        if verb:
            house.homard("device", "add", "lockstep", "--security", "nosec", "--state", str(house.state))
        device = LockstepDevice(house)
        device.register()
        house.stop()
        if verb:
            house.homard("device", verb, "lockstep", "--state", str(house.state))
        house.settings = settings
        house.start()
        ended, told = eventually(lambda: state_of(house, "lockstep"), lambda seen: seen[0] != "online")
        assert why in told, json.dumps([ended, told])
