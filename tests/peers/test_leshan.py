"""Leshan's Java client (Eclipse, over Californium) as a device of ours: it shares no code with us, and is
what many manufacturers test against.

Values are checked at both ends: what Leshan says it was told, and what our API says Leshan answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.peers.strangers import Gateway, LeshanDevice

TLV, SENML_JSON, SENML_CBOR = 11542, 110, 112
FORMATS = pytest.mark.parametrize(
    "content_format", [TLV, SENML_JSON, SENML_CBOR], ids=["tlv", "senml-json", "senml-cbor"]
)
TEST_VALUES = {
    "/3442/0/110": "initial value",
    "/3442/0/120": 1024,
    "/3442/0/125": 9223372036854775809,
    "/3442/0/130": 3.14159,
    "/3442/0/140": True,
    "/3442/0/150": "0123456789abcdef",
    "/3442/0/160": "2000-01-01T00:00:00Z",
    "/3442/0/170": "3:0",
    "/3442/0/1110/0": "initial value",
    "/3442/0/1120/0": 1024,
}


def shown(outcome: dict[str, Any]) -> dict[str, Any]:
    """The values of an outcome by path."""
    return {value["path"]: value["value"] for value in outcome["values"]}


def of(device: LeshanDevice, kind: str) -> Callable[[dict[str, Any]], bool]:
    """Wants events of one kind about one device."""
    return lambda event: event["kind"] == kind and event["endpoint_name"] == device.endpoint_name


def reports(device: LeshanDevice, path: str, value: Any) -> Callable[[dict[str, Any]], bool]:
    """Wants the event that carries this value."""
    return lambda event: (
        of(device, "value")(event)
        and any(item["path"] == path and item["value"] == value for item in event["values"])
    )


# --- registration interface -----------------------------------------------------------------------------


def test_it_registers_and_its_objects_are_known(gateway: Gateway, leshan_client: LeshanDevice) -> None:
    device = gateway.api.device(leshan_client.endpoint_name)
    assert device is not None
    assert (device["state"], device["version"], device["lifetime_s"]) == ("online", "1.1", 300)
    objects = {entry["id"]: entry for entry in device["objects"]}
    assert set(objects) >= {1, 3, 4, 6, 3303, 3442}
    assert objects[3303]["version"] == "1.1"
    assert set(objects[3303]["instances"]) >= {0, 1}
    assert SENML_CBOR in device["content_formats"]


def test_an_update_is_taken(gateway: Gateway, leshan_client: LeshanDevice) -> None:
    after = gateway.api.head()
    leshan_client.say("update")
    leshan_client.expect("updated")
    gateway.api.until(of(leshan_client, "updated"), after)


def test_it_deregisters(gateway: Gateway, new_leshan_client: Callable[[Gateway], LeshanDevice]) -> None:
    after = gateway.api.head()
    leaver = new_leshan_client(gateway)
    leaver.expect("registered")
    leaver.say("deregister")
    leaver.expect("deregistered")
    gateway.api.until(of(leaver, "deregistered"), after)
    device = gateway.api.device(leaver.endpoint_name)
    assert device is not None
    assert device["state"] == "deregistered"


# --- Read -------------------------------------------------------------------------------------------------


@FORMATS
def test_read_of_an_instance_gives_every_type(
    gateway: Gateway, leshan_client: LeshanDevice, content_format: int
) -> None:
    outcome = gateway.api.operate(
        leshan_client.endpoint_name, "Read", "/3442/0", content_format=content_format
    )
    assert (outcome["code"], outcome["content_format"]) == ("2.05", content_format)
    values = shown(outcome)
    assert values.pop("/3442/0/130") == pytest.approx(TEST_VALUES["/3442/0/130"])
    assert values == {path: value for path, value in TEST_VALUES.items() if path != "/3442/0/130"}
    assert all(value["modelled"] for value in outcome["values"])


@FORMATS
def test_read_of_an_object_gives_every_instance(
    gateway: Gateway, leshan_client: LeshanDevice, content_format: int
) -> None:
    outcome = gateway.api.operate(leshan_client.endpoint_name, "Read", "/3303", content_format=content_format)
    values = shown(outcome)
    assert values["/3303/1/5700"] == -4.25
    assert values["/3303/1/5701"] == "Cel"
    assert "/3303/0/5700" in values


@pytest.mark.parametrize("content_format", [None, 0, TLV, SENML_JSON, SENML_CBOR])
def test_read_of_a_resource(
    gateway: Gateway, leshan_client: LeshanDevice, content_format: int | None
) -> None:
    more = {} if content_format is None else {"content_format": content_format}
    outcome = gateway.api.operate(leshan_client.endpoint_name, "Read", "/3/0/0", **more)
    assert shown(outcome) == {"/3/0/0": "Eclipse"}


@FORMATS
def test_read_of_a_multiple_resource_and_of_one_of_its_instances(
    gateway: Gateway, leshan_client: LeshanDevice, content_format: int
) -> None:
    name = leshan_client.endpoint_name
    outcome = gateway.api.operate(name, "Read", "/3/0/6", content_format=content_format)
    assert shown(outcome) == {"/3/0/6/0": 1, "/3/0/6/1": 5}
    outcome = gateway.api.operate(name, "Read", "/3/0/6/1", content_format=content_format)
    assert shown(outcome) == {"/3/0/6/1": 5}


@pytest.mark.parametrize(
    ("operation", "path", "code"),
    [("Read", "/3303/99", "4.04"), ("Read", "/3442/0/3", "4.05"), ("Execute", "/3442/0/110", "4.05")],
)
def test_its_refusals_come_back_with_words(
    gateway: Gateway, leshan_client: LeshanDevice, operation: str, path: str, code: str
) -> None:
    outcome = gateway.api.operate(leshan_client.endpoint_name, operation, path)
    assert (outcome["code"], outcome["ok"]) == (code, False)
    assert outcome["words"]


# --- Write ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_format", [None, 0, TLV, SENML_JSON, SENML_CBOR])
@pytest.mark.parametrize(
    ("resource", "value", "heard"),
    [
        (110, "Grüße, été", "Grüße, été"),
        (120, -123456789012, -123456789012),
        (125, 9007199254740993, "9007199254740993"),
        (130, -0.1, -0.1),
        (140, False, False),
        (150, "00ff10", "00ff10"),
        (160, "2026-02-28T23:59:59Z", 1772323199),
    ],
    ids=["string", "integer", "unsigned", "float", "boolean", "opaque", "time"],
)
def test_write_of_a_resource_arrives_as_it_was_meant(
    gateway: Gateway,
    leshan_client: LeshanDevice,
    content_format: int | None,
    resource: int,
    value: Any,
    heard: Any,
) -> None:
    more = {} if content_format is None else {"content_format": content_format}
    path = f"/3442/0/{resource}"
    outcome = gateway.api.operate(leshan_client.endpoint_name, "Write", path, value=value, **more)
    assert outcome["code"] == "2.04"
    told = leshan_client.expect("written", path=path)["value"]
    assert told == pytest.approx(heard, abs=1e-6) if isinstance(heard, float) else str(told) == str(heard)
    restored = gateway.api.operate(leshan_client.endpoint_name, "Write", path, value=TEST_VALUES[path])
    assert restored["ok"]
    leshan_client.expect("written", path=path)


@pytest.mark.parametrize("content_format", [0, TLV, SENML_JSON, SENML_CBOR])
def test_write_of_an_object_link(gateway: Gateway, leshan_client: LeshanDevice, content_format: int) -> None:
    name = leshan_client.endpoint_name
    for link in ("3303:1", "3:0"):
        outcome = gateway.api.operate(name, "Write", "/3442/0/170", value=link, content_format=content_format)
        assert outcome["code"] == "2.04"
        leshan_client.expect("written", path="/3442/0/170")
        assert shown(gateway.api.operate(name, "Read", "/3442/0/170")) == {"/3442/0/170": link}


@FORMATS
def test_write_of_several_resources_of_an_instance(
    gateway: Gateway, leshan_client: LeshanDevice, content_format: int
) -> None:
    name = leshan_client.endpoint_name
    changed = {"110": "both", "120": 7}
    outcome = gateway.api.operate(
        name, "Write", "/3442/0", values=changed, mode="update", content_format=content_format
    )
    assert outcome["code"] == "2.04"
    told = {"/3442/0/110": "both", "/3442/0/120": 7}
    for _ in told:
        line = leshan_client.expect("written")
        assert told[line["path"]] == line["value"]
    before = {"110": TEST_VALUES["/3442/0/110"], "120": TEST_VALUES["/3442/0/120"]}
    assert gateway.api.operate(name, "Write", "/3442/0", values=before, mode="update")["ok"]
    for _ in before:
        leshan_client.expect("written")


@FORMATS
def test_write_replaces_a_multiple_resource(
    gateway: Gateway, leshan_client: LeshanDevice, content_format: int
) -> None:
    name = leshan_client.endpoint_name
    for values in ({"0": "zero", "300": "far"}, {"0": "initial value"}):
        outcome = gateway.api.operate(
            name, "Write", "/3442/0/1110", values=values, mode="replace", content_format=content_format
        )
        assert outcome["code"] == "2.04"
        expected = {f"/3442/0/1110/{key}": value for key, value in values.items()}
        assert shown(gateway.api.operate(name, "Read", "/3442/0/1110")) == expected


# --- Execute, Create, Delete, Discover, Write-Attributes --------------------------------------------------


def test_execute_with_arguments(gateway: Gateway, leshan_client: LeshanDevice) -> None:
    outcome = gateway.api.operate(
        leshan_client.endpoint_name, "Execute", "/3442/0/3", arguments="0='hello',1"
    )
    assert outcome["code"] == "2.04"
    assert leshan_client.expect("executed", path="/3442/0/3")["arguments"] == "0='hello',1"


@FORMATS
def test_create_with_an_id_then_delete(
    gateway: Gateway, leshan_client: LeshanDevice, content_format: int
) -> None:
    name, api = leshan_client.endpoint_name, gateway.api
    after = api.head()
    outcome = api.operate(
        name, "Create", "/3442", instance=9, values={"110": "made", "120": 3}, content_format=content_format
    )
    assert outcome["code"] == "2.01"
    leshan_client.expect("created", path="/3442/9")
    api.until(of(leshan_client, "updated"), after)
    assert shown(api.operate(name, "Read", "/3442/9/110")) == {"/3442/9/110": "made"}
    after = api.head()
    assert api.operate(name, "Delete", "/3442/9")["code"] == "2.02"
    leshan_client.expect("deleted", path="/3442/9")
    api.until(of(leshan_client, "updated"), after)
    device = api.device(name)
    assert device is not None
    assert [entry["instances"] for entry in device["objects"] if entry["id"] == 3442] == [[0]]
    assert api.operate(name, "Read", "/3442/9")["code"] == "4.04"


def test_create_without_an_id_tells_the_location(gateway: Gateway, leshan_client: LeshanDevice) -> None:
    name, api = leshan_client.endpoint_name, gateway.api
    outcome = api.operate(name, "Create", "/3303", instance=None, values={"5750": "attic"})
    assert outcome["code"] == "2.01"
    assert outcome["location"] == leshan_client.expect("created")["path"]
    assert api.operate(name, "Delete", outcome["location"])["ok"]


def test_discover_and_write_attributes(gateway: Gateway, leshan_client: LeshanDevice) -> None:
    name, api = leshan_client.endpoint_name, gateway.api
    attributes = {"pmin": 5, "pmax": 600, "gt": 30.5}
    outcome = api.operate(name, "WriteAttributes", "/3442/0/130", attributes=attributes)
    assert outcome["code"] == "2.04"
    outcome = api.operate(name, "Discover", "/3442/0")
    assert outcome["code"] == "2.05"
    links = {link["target"]: link["attributes"] for link in outcome["links"]}
    assert {"/3442/0", "/3442/0/3", "/3442/0/110"} <= set(links)
    unset = dict.fromkeys(attributes)
    assert api.operate(name, "WriteAttributes", "/3442/0/130", attributes=unset)["code"] == "2.04"


# --- Observe ----------------------------------------------------------------------------------------------


def test_sensor_values_are_observed_out_of_the_box(gateway: Gateway, leshan_client: LeshanDevice) -> None:
    api = gateway.api
    for value in (22.75, 23.5, 21.5):
        after = api.head()
        leshan_client.say(f"set /3303/0/5700 {value}")
        api.until(reports(leshan_client, "/3303/0/5700", value), after)
    assert api.values(leshan_client.endpoint_name, "/3303/0")["/3303/0/5700"] == 21.5


@pytest.mark.parametrize("path", ["/3442/0", "/3442/0/120"])
def test_what_is_asked_for_is_observed_until_it_is_cancelled(
    gateway: Gateway, leshan_client: LeshanDevice, path: str
) -> None:
    name, api = leshan_client.endpoint_name, gateway.api
    status, outcome = api.ask("PUT", f"/devices/{name}/observations", {"attributes": {}}, path=path)
    assert (status, outcome["ok"]) == (200, True)
    after = api.head()
    leshan_client.say("set /3442/0/120 4711")
    api.until(reports(leshan_client, "/3442/0/120", 4711), after)
    status, outcome = api.ask("DELETE", f"/devices/{name}/observations", path=path)
    assert (status, outcome["ok"]) == (200, True)
    observed = {entry["path"] for entry in api.get(f"/devices/{name}/observations")["observations"]}
    assert path not in observed
    leshan_client.say("set /3442/0/120 1024")
    leshan_client.say("get /3442/0/120")
    leshan_client.expect("value", value=1024)
    # A sensor value that comes later shows that nothing else is on its way.
    after_cancel = api.head()
    leshan_client.say("set /3303/1/5700 -4.5")
    api.until(reports(leshan_client, "/3303/1/5700", -4.5), after_cancel)
    seen = api.get("/events", after=after, endpoint_name=name, limit=1000)["events"]
    assert not any(reports(leshan_client, "/3442/0/120", 1024)(event) for event in seen)
    leshan_client.say("set /3303/1/5700 -4.25")
    api.until(reports(leshan_client, "/3303/1/5700", -4.25), after_cancel)


def test_it_goes_on_reporting_after_our_power_was_cut(
    own_gateway: Gateway, new_leshan_client: Callable[[Gateway], LeshanDevice]
) -> None:
    device = new_leshan_client(own_gateway)
    device.expect("registered")
    device.expect("observed", path="/3303/0/5700")
    after = own_gateway.api.head()
    device.say("set /3303/0/5700 30.25")
    own_gateway.api.until(reports(device, "/3303/0/5700", 30.25), after)
    own_gateway.kill()
    own_gateway.start()
    assert own_gateway.api.values(device.endpoint_name, "/3303/0")["/3303/0/5700"] == 30.25
    device.say("set /3303/0/5700 31.75")
    own_gateway.api.until(reports(device, "/3303/0/5700", 31.75), after)
    assert own_gateway.api.operate(device.endpoint_name, "Read", "/3/0/0")["ok"]
    events = own_gateway.api.get("/events", after=after, endpoint_name=device.endpoint_name, limit=1000)[
        "events"
    ]
    assert not [event for event in events if event["kind"] == "registered"]
