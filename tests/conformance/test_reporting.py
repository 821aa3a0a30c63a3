"""Information reporting: cases 301 to 313."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiocoap.numbers import codes, types

from appliance.simulator.composite import decode_paths
from appliance.simulator.tree import slashed
from tests.conformance.client import Client, Observed, path_of, shown
from tests.house import House

VOLTAGE, CURRENT = "/3/0/7", "/3/0/8"


def latest(client: Client, path: str) -> dict[str, object]:
    """What the server last heard of a path."""
    values = client.house.api("GET", f"/devices/{client.name}/values?path={path}")[1]["values"]
    return {value["path"]: value["value"] for value in values}


def watched(client: Client) -> dict[str, str]:
    """The state of each observation."""
    rows = client.house.api("GET", f"/devices/{client.name}/observations")[1]["observations"]
    return {row["path"]: row["state"] for row in rows}


def observed(client: Client) -> dict[str, bytes]:
    """Observe voltage and current as in case 301: the token of each path."""
    tokens = {}
    for path, pmin, pmax in ((VOLTAGE, 5, 15), (CURRENT, 10, 20)):
        attributes = {"pmin": pmin, "pmax": pmax}
        assert client.operate("WriteAttributes", path, attributes=attributes)["code"] == "2.04"
        outcome = client.observe(path)
        assert (outcome["code"], client.heard[-1].opt.observe) == ("2.05", 0)
        tokens[path] = client.heard[-1].token
    return tokens


def test_int_301_observe_and_notify(client: Client) -> None:
    assert shown(client.operate("Read", "/3/0/6")) == {"/3/0/6/0": 1, "/3/0/6/1": 2}
    tokens = observed(client)
    for voltage in (3700, 3600):
        client.tree.set((3, 0, 7), {0: voltage, 1: 5000})
        assert client.report(client.observed[tokens[VOLTAGE]]).mtype is types.ACK
        assert client.report(client.observed[tokens[CURRENT]]).mtype is types.ACK
        assert latest(client, VOLTAGE) == {"/3/0/7/0": voltage, "/3/0/7/1": 5000}
    assert latest(client, CURRENT) == {"/3/0/8/0": 125, "/3/0/8/1": 900}


def test_int_303_cancel_with_observe_1(client: Client) -> None:
    tokens = observed(client)
    for path, token in tokens.items():
        entry = client.observed[token]
        status, outcome = client.ask("DELETE", f"observations?path={path}")
        assert (status, outcome["code"]) == (200, "2.05")
        request = client.heard[-1]
        assert (request.code, path_of(request), request.opt.observe) == (codes.GET, path, 1)
        assert request.token == token
        assert path not in watched(client)
        assert client.report(entry).mtype is types.RST
    assert client.observed == {}


def test_int_302_cancel_with_reset(house: House, client: Client) -> None:
    """The server forgets an observation without a request: the device hears of it when it notifies."""
    tokens = observed(client)
    for path, token in tokens.items():
        entry = client.observed[token]
        assert client.report(entry).mtype is types.ACK
        status, answer = house.api("DELETE", f"/devices/{client.name}/observations?path={path}&how=reset")
        assert (status, answer["ok"]) == (200, True)
        assert client.silence(0.1)
        assert path not in watched(client)
        assert client.report(entry).mtype is types.RST


# --- Observe-Composite ----------------------------------------------------------------------------------


def composite(client: Client, *paths: str, **attributes: int) -> tuple[Observed, dict[str, object]]:
    """Observe the paths as one: what the client keeps of it, and the first values."""
    body = {"paths": list(paths), "attributes": attributes} if attributes else {"paths": list(paths)}
    status, outcome = client.ask("POST", "observations/composite", body)
    request = client.heard[-1]
    assert (status, outcome["code"]) == (200, "2.05"), outcome
    assert (request.code, request.opt.observe, request.opt.uri_path) == (codes.FETCH, 0, ())
    assert {slashed(path) for path in decode_paths(request.opt.content_format, request.payload)} == set(paths)
    return client.observed[request.token], shown(outcome)


def composite_row(client: Client) -> dict[str, object]:
    """The row of the one composite observation."""
    rows = client.house.api("GET", f"/devices/{client.name}/observations")[1]["observations"]
    (row,) = [row for row in rows if row["composite"]]
    return dict(row)


def test_int_304_observe_composite(client: Client) -> None:
    assert client.operate("WriteAttributes", "/1/0/1", attributes={"pmin": 30, "pmax": 45})["ok"]
    entry, values = composite(client, "/1/0/1", "/3/0/11/0", "/3/0/16")
    assert values == {"/1/0/1": 86400, "/3/0/11/0": 0, "/3/0/16": "U"}
    client.tree.set((1, 0, 1), 86401)
    client.tree.set((3, 0, 11), {0: 2})
    assert client.report(entry).mtype is types.ACK
    assert latest(client, "/1/0/1") == {"/1/0/1": 86401}
    assert latest(client, "/3/0/11/0") == {"/3/0/11/0": 2}
    assert composite_row(client)["state"] == "active"


def test_int_305_cancel_observe_composite(client: Client) -> None:
    entry, _ = composite(client, "/1/0/1", "/3/0/11/0", "/3/0/16")
    first = client.heard[-1]
    status, outcome = client.ask("DELETE", f"observations?path={composite_row(client)['path']}")
    request = client.heard[-1]
    assert (status, outcome["code"]) == (200, "2.05")
    assert (request.code, request.opt.observe, request.token) == (codes.FETCH, 1, first.token)
    assert (request.payload, request.opt.content_format) == (first.payload, first.opt.content_format)
    assert request.opt.accept == first.opt.accept
    assert client.report(entry).mtype is types.RST


def test_int_308_a_composite_gains_an_instance(client: Client) -> None:
    client.tree.delete((16, 0))
    client.update_objects()
    for instance, texts in ((0, ("aa", "bb", "cc", "dd")), (1, ("11", "22", "33", "44"))):
        values = {"0": {str(number): text for number, text in enumerate(texts)}}
        assert client.operate("Create", "/16", instance=instance, values=values)["code"] == "2.01"
        client.update_objects()
        if instance == 0:
            assert client.operate("WriteAttributes", "/16/0", attributes={"pmin": 30, "pmax": 45})["ok"]
            entry, values = composite(client, "/16/0", "/16/1")
            assert {path.split("/")[2] for path in values} == {"0"}
    assert client.report(entry).mtype is types.ACK
    assert latest(client, "/16/1")["/16/1/0/3"] == "44"
    assert latest(client, "/16/0")["/16/0/0/0"] == "aa"


def test_int_309_a_composite_loses_an_instance(client: Client) -> None:
    values = {"0": {"0": "11", "1": "22"}}
    assert client.operate("Create", "/16", instance=1, values=values)["code"] == "2.01"
    client.update_objects()
    entry, first = composite(client, "/16/0", "/16/1")
    assert {path.split("/")[2] for path in first} == {"0", "1"}
    assert client.operate("Delete", "/16/1")["code"] == "2.02"
    client.update_objects()
    client.tree.set((16, 0, 0), {0: "changed"})
    assert client.report(entry).mtype is types.ACK
    assert latest(client, "/16/0")["/16/0/0/0"] == "changed"
    assert composite_row(client)["state"] == "active"


def test_int_310_attributes_change_under_a_composite(client: Client) -> None:
    entry, values = composite(client, "/1/0/3", "/3/0")
    assert values["/1/0/3"] == 10
    assert client.report(entry).mtype is types.ACK
    assert client.operate("WriteAttributes", "/3", attributes={"pmax": 5})["code"] == "2.04"
    for level in (80, 79):
        client.tree.set((3, 0, 9), level)
        assert client.report(entry).mtype is types.ACK
        assert latest(client, "/3/0/9") == {"/3/0/9": level}


# --- Send -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_format", [110, 112])
def test_int_306_send(client: Client, content_format: int) -> None:
    answer = client.send_values([(3, 0, 9), (4, 0, 2)], content_format)
    assert (answer.code, answer.payload) == (codes.CHANGED, b"")
    assert latest(client, "/3/0/9") == {"/3/0/9": 95}
    assert latest(client, "/4/0/2") == {"/4/0/2": -67}


def test_int_307_muted_send(client: Client) -> None:
    for muted in (True, False):
        assert client.operate("Write", "/1/0/23", value=muted)["code"] == "2.04"
        assert (path_of(client.heard[-1]), client.heard[-1].code) == ("/1/0/23", codes.PUT)
        assert client.tree.value((1, 0, 23), None) is muted  # type: ignore[arg-type]
    assert client.send_values([(3, 0, 9)]).code == codes.CHANGED


def test_int_311_send_of_several_objects(client: Client) -> None:
    assert client.send_values([(1, 0, 1), (3, 0, 11, 0)]).code == codes.CHANGED
    assert latest(client, "/1/0/1") == {"/1/0/1": 86400}
    assert latest(client, "/3/0/11/0") == {"/3/0/11/0": 0}
    kinds = [event["kind"] for event in client.house.events(client.name)]
    assert "send" in kinds


# --- parameters of Observe, since 1.2 -------------------------------------------------------------------


def test_12_int_312_observe_with_parameters(new_client: Callable[..., Client]) -> None:
    client = new_client("1.2")
    outcome = client.observe(VOLTAGE, pmin=5, pmax=15)
    (request,) = client.heard
    assert (request.code, request.opt.observe) == (codes.GET, 0)
    assert set(request.opt.uri_query) == {"pmin=5", "pmax=15"}
    assert shown(outcome) == {"/3/0/7/0": 3800, "/3/0/7/1": 5000}
    client.tree.set((3, 0, 7), {0: 3700, 1: 5000})
    assert client.report().mtype is types.ACK
    assert latest(client, VOLTAGE)["/3/0/7/0"] == 3700


def test_12_int_313_parameters_override_attributes(new_client: Callable[..., Client]) -> None:
    client = new_client("1.2")
    assert client.operate("WriteAttributes", VOLTAGE, attributes={"pmin": 5, "pmax": 60})["code"] == "2.04"
    outcome = client.observe(VOLTAGE, pmin=5, pmax=10)
    assert [set(request.opt.uri_query) for request in client.heard] == [{"pmin=5", "pmax=10"}]
    assert set(shown(outcome)) == {"/3/0/7/0", "/3/0/7/1"}
    links = client.operate("Discover", VOLTAGE)["links"]
    assert links[0]["attributes"]["pmax"] == "60"  # what was attached stays
    assert client.report().mtype is types.ACK
