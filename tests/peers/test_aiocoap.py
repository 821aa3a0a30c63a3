"""aiocoap against our port, in the shape of `homard simulate`: every version and format it can be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers.strangers import Gateway, Simulation, fresh_name

TLV, SENML_JSON, SENML_CBOR = 11542, 110, 112


@pytest.fixture(
    scope="module",
    params=[("1.0", "auto"), ("1.1", "tlv"), ("1.1", "senml-json"), ("1.1", "senml-cbor")],
    ids="-".join,
)
def device(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[tuple[str, int]]:
    """Endpoint name of one simulated device, and the only format that it knows for several values."""
    version, spoken = request.param
    prefix = fresh_name("aiocoap") + "-"
    simulation = Simulation(
        "--server", gateway.uri, "--name-prefix", prefix, "--period", "1", "--lwm2m", version,
        "--format", spoken, "--seed", "2",
    )  # fmt: skip
    try:
        simulation.wait_until_registered()
        yield f"{prefix}0001", {"senml-json": SENML_JSON, "senml-cbor": SENML_CBOR}.get(spoken, TLV)
        simulation.stop()
    finally:
        simulation.kill()


def shown(outcome: dict[str, Any]) -> dict[str, Any]:
    assert outcome["ok"], outcome
    return {value["path"]: value["value"] for value in outcome["values"]}


def test_what_it_can_speak_is_found_without_being_told(gateway: Gateway, device: tuple[str, int]) -> None:
    name, number = device
    outcome = gateway.api.operate(name, "Read", "/3/0")
    assert outcome["content_format"] == number
    values = shown(outcome)
    assert values["/3/0/0"] == "Homard"
    assert (values["/3/0/6/0"], values["/3/0/6/1"]) == (1, 5)
    assert shown(gateway.api.operate(name, "Read", "/6/0"))["/6/0/4"] == "00000000"


def test_write_create_delete_and_execute(gateway: Gateway, device: tuple[str, int]) -> None:
    name, _ = device
    api = gateway.api
    assert api.operate(name, "Write", "/3/0/14", value="+05:30")["ok"]
    assert shown(api.operate(name, "Read", "/3/0/14")) == {"/3/0/14": "+05:30"}
    assert api.operate(name, "Write", "/3/0", values={"15": "Asia/Kolkata"}, mode="update")["ok"]
    assert shown(api.operate(name, "Read", "/3/0/15")) == {"/3/0/15": "Asia/Kolkata"}
    assert api.operate(name, "Create", "/3303", instance=5, values={"5750": "loft"})["code"] == "2.01"
    assert shown(api.operate(name, "Read", "/3303/5/5750")) == {"/3303/5/5750": "loft"}
    assert api.operate(name, "Delete", "/3303/5")["code"] == "2.02"
    assert api.operate(name, "Execute", "/3303/0/5605")["code"] == "2.04"


def test_its_sensors_report(gateway: Gateway, device: tuple[str, int]) -> None:
    name, _ = device
    wait_for_sensors(gateway, {name})


def test_sensors_report_over_a_bad_line(gateway: Gateway) -> None:
    prefix = fresh_name("lossy") + "-"
    simulation = Simulation(
        "--server", gateway.uri, "--name-prefix", prefix, "--count", "5", "--period", "1",
        "--loss", "15", "--seed", "3", "--ack-timeout", "0.5",
    )  # fmt: skip
    try:
        simulation.wait_until_registered()
        wait_for_sensors(gateway, {f"{prefix}{number:04d}" for number in range(1, 6)})
        simulation.stop()
    finally:
        simulation.kill()


def wait_for_sensors(gateway: Gateway, names: set[str]) -> None:
    """Until temperature and humidity of every device were notified."""
    wanted = {(name, path) for name in names for path in ("/3303/0/5700", "/3304/0/5700")}
    for event in gateway.api.events(gateway.api.head()):
        if event["kind"] == "value":
            wanted -= {
                (event["endpoint_name"], value["path"])
                for value in event["values"]
                if value["source"] == "notify"
            }
        if not wanted:
            return
    pytest.fail(f"no report of {wanted}")


def test_after_a_reboot_it_is_observed_again(gateway: Gateway, device: tuple[str, int]) -> None:
    name, _ = device
    api = gateway.api
    after = api.head()
    assert api.operate(name, "Execute", "/3/0/4")["code"] == "2.04"
    registered = api.until(
        lambda event: event["kind"] == "registered" and event["endpoint_name"] == name, after
    )
    api.until(
        lambda event: (
            event["kind"] == "value"
            and event["endpoint_name"] == name
            and any(
                value["path"] == "/3303/0/5700" and value["source"] == "notify" for value in event["values"]
            )
        ),
        registered["seq"],
    )
