"""Leshan's client through what LwM2M 1.1 added: composites, Send, queue mode, and over TCP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers.strangers import Gateway, LeshanDevice, fresh_name
from tests.peers.test_leshan import TEST_VALUES, of, reports, shown

SENML_JSON, SENML_CBOR = 110, 112
FORMATS = pytest.mark.parametrize(
    "content_format", [SENML_JSON, SENML_CBOR], ids=["senml-json", "senml-cbor"]
)


def operate(gateway: Gateway, device: LeshanDevice, operation: str, **more: Any) -> dict[str, Any]:
    """An operation without one path; its outcome."""
    resource = f"/devices/{device.endpoint_name}/operations"
    status, outcome = gateway.api.ask("POST", resource, {"operation": operation, **more})
    assert status == 200, outcome
    return dict(outcome)


# --- composite --------------------------------------------------------------------------------------------


@FORMATS
def test_read_composite(gateway: Gateway, leshan_client: LeshanDevice, content_format: int) -> None:
    paths = ["/3/0/0", "/3/0/6", "/3303/1", "/3442/0/1110/0", "/3442/7/110", "/9999"]
    outcome = operate(gateway, leshan_client, "ReadComposite", paths=paths, content_format=content_format)
    assert (outcome["code"], outcome["content_format"]) == ("2.05", content_format)
    values = shown(outcome)
    assert (values["/3/0/0"], values["/3/0/6/1"], values["/3303/1/5700"]) == ("Eclipse", 5, -4.25)
    assert values["/3442/0/1110/0"] == "initial value"
    assert not [path for path in values if path.startswith(("/3442/7", "/9999"))]


@FORMATS
def test_write_composite(gateway: Gateway, leshan_client: LeshanDevice, content_format: int) -> None:
    before = {path: TEST_VALUES[path] for path in ("/3442/0/110", "/3442/0/120")}
    changed = {"/3442/0/110": "together", "/3442/0/120": 77}
    for values in (changed, before):
        more = {"values": values, "content_format": content_format}
        assert operate(gateway, leshan_client, "WriteComposite", **more)["code"] == "2.04"
        told = [leshan_client.expect("written") for _ in values]
        assert {line["path"]: line["value"] for line in told} == values


def test_observe_composite_until_it_is_cancelled(gateway: Gateway, leshan_client: LeshanDevice) -> None:
    api, name = gateway.api, leshan_client.endpoint_name
    observations = f"/devices/{name}/observations"
    paths = ["/3442/0/120", "/3442/0/130"]
    status, outcome = api.ask("POST", f"{observations}/composite", {"paths": paths})
    assert (status, outcome["code"]) == (200, "2.05")
    assert shown(outcome)["/3442/0/120"] == 1024
    after = api.head()
    leshan_client.say("set /3442/0/120 4712")
    api.until(reports(leshan_client, "/3442/0/120", 4712), after)
    (row,) = [row for row in api.get(observations)["observations"] if row["composite"]]
    assert row["state"] == "active"
    status, outcome = api.ask("DELETE", observations, None, path=row["path"])
    assert (status, outcome["ok"]) == (200, True)
    leshan_client.say("set /3442/0/120 1024")
    assert not [row for row in api.get(observations)["observations"] if row["composite"]]


# --- Send -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_format", [SENML_JSON, SENML_CBOR])
def test_send(gateway: Gateway, leshan_client: LeshanDevice, content_format: int) -> None:
    api, name = gateway.api, leshan_client.endpoint_name
    after = api.head()
    leshan_client.say(f"send {content_format} /3442/0/110,/4/0/2")
    assert leshan_client.expect("sent")["code"] == 204
    api.until(of(leshan_client, "send"), after)
    assert api.values(name, "/4/0/2") == {"/4/0/2": -71}
    assert api.values(name, "/3442/0/110") == {"/3442/0/110": "initial value"}


# --- queue mode -------------------------------------------------------------------------------------------


def test_what_is_asked_while_it_sleeps_is_done_when_it_wakes(gateway: Gateway) -> None:
    api = gateway.api
    sleeper = LeshanDevice(gateway.uri, fresh_name("sleeper"), queue=True)
    try:
        sleeper.expect("registered")
        name = sleeper.endpoint_name
        device = api.device(name)
        assert device is not None
        assert (device["queue_mode"], device["binding"]) == (True, "U")
        sleeper.expect("observed", path="/3303/0/5700")
        after = api.head()
        assert api.ask("PUT", f"/devices/{name}/awake", {"awake_s": 1})[0] == 200
        api.until(of(sleeper, "asleep"), after)
        body = {"operation": "Write", "path": "/3442/0/110", "value": "woken"}
        status, queued = api.ask("POST", f"/devices/{name}/operations", body)
        assert (status, queued["state"]) == (202, "waiting")
        sleeper.say("update")
        # The write may be there before the client has told of its own Update.
        assert sleeper.expect("written", path="/3442/0/110")["value"] == "woken"
        api.until(of(sleeper, "operation"), after)
        assert api.get(f"/tasks/{queued['task']}")["outcome"]["code"] == "2.04"
    finally:
        sleeper.end()


# --- over TCP ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stream_client(gateway: Gateway) -> Iterator[LeshanDevice]:
    """A Leshan client registered over TCP."""
    device = LeshanDevice(gateway.stream_uri, fresh_name("leshan-tcp"))
    try:
        device.expect("signal", code="7.01")
        device.expect("registered")
        yield device
    finally:
        device.end()


def test_tcp_registration_and_update(gateway: Gateway, stream_client: LeshanDevice) -> None:
    device = gateway.api.device(stream_client.endpoint_name)
    assert device is not None
    assert (device["state"], device["bearer"], device["binding"]) == ("online", "TCP", "T")
    after = gateway.api.head()
    stream_client.say("update")
    stream_client.expect("updated")
    gateway.api.until(of(stream_client, "updated"), after)


@FORMATS
def test_tcp_operations(gateway: Gateway, stream_client: LeshanDevice, content_format: int) -> None:
    name, api = stream_client.endpoint_name, gateway.api
    outcome = api.operate(name, "Read", "/3442/0", content_format=content_format)
    assert shown(outcome)["/3442/0/125"] == TEST_VALUES["/3442/0/125"]
    for value in ("over TCP", TEST_VALUES["/3442/0/110"]):
        more = {"value": value, "content_format": content_format}
        assert api.operate(name, "Write", "/3442/0/110", **more)["code"] == "2.04"
        stream_client.expect("written", path="/3442/0/110")
    assert api.operate(name, "Execute", "/3442/0/3", arguments="0='x'")["code"] == "2.04"
    stream_client.expect("executed", path="/3442/0/3")
    paths = ["/3/0/0", "/3303/0/5701"]
    outcome = operate(gateway, stream_client, "ReadComposite", paths=paths, content_format=content_format)
    assert shown(outcome) == {"/3/0/0": "Eclipse", "/3303/0/5701": "Cel"}


def test_tcp_notifications(gateway: Gateway, stream_client: LeshanDevice) -> None:
    for value in (18.5, 21.5):
        after = gateway.api.head()
        stream_client.say(f"set /3303/0/5700 {value}")
        gateway.api.until(reports(stream_client, "/3303/0/5700", value), after)


def test_tcp_send(gateway: Gateway, stream_client: LeshanDevice) -> None:
    stream_client.say("send 112 /3442/0/120,/3/0/9")
    assert stream_client.expect("sent")["code"] == 204
    assert gateway.api.values(stream_client.endpoint_name, "/3442/0/120") == {"/3442/0/120": 1024}


def test_tcp_deregistration(gateway: Gateway) -> None:
    leaver = LeshanDevice(gateway.stream_uri, fresh_name("leshan-tcp"))
    try:
        leaver.expect("registered")
        after = gateway.api.head()
        leaver.say("deregister")
        leaver.expect("deregistered")
        gateway.api.until(of(leaver, "deregistered"), after)
    finally:
        leaver.end()
