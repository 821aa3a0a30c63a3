"""Information reporting: cases 301 to 313."""

from __future__ import annotations

from aiocoap.numbers import codes, types

from tests.conformance.client import Client, path_of, shown

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
