"""What an operator reads of devices that cannot be bootstrapped, and how he moves many to new keys."""

from __future__ import annotations

import selectors
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from aiocoap.numbers import codes

from appliance.devices.bootstrap_tries import MAX_TRIES
from tests.conformance.bootstrapping import PATIENCE_S, Bootstrapping
from tests.conformance.unit import Unit, until

FLEET, SLEEPERS = 30, 5


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unit]:
    made = Unit(tmp_path_factory.mktemp("unit") / "state", "devices.awake_s=1.0")
    yield made
    assert made.stop() == 0


def contact(unit: Unit, name: str) -> dict[str, Any]:
    return dict(unit.device(name)["contact"])


def test_a_device_that_bootstraps_again_and_again_and_never_registers(unit: Unit) -> None:
    flashed = unit.add("loop", "psk", bootstrap=True)["bootstrap"]
    assert contact(unit, "loop")["text"] == "Nothing was heard from it yet."
    client, wire = Bootstrapping("loop"), unit.psk_of(flashed)
    for _ in range(MAX_TRIES):
        client.objects = {(0, 0): {(1,): b"\1"}, (3, 0): {}}
        client.bootstrap(wire)
        assert unit.session("loop")["state"] == "finished"
    assert (contact(unit, "loop")["state"], contact(unit, "loop")["text"]) == (
        "waiting",
        "Finished: the device has 1 server and took its new configuration. Next it registers here with it.",
    )
    for _ in range(2):
        client.bootstrap(wire, expect=codes.SERVICE_UNAVAILABLE)
    sentence = (
        f"loop asked to be bootstrapped {MAX_TRIES} times within an hour and never registered: it is told to "
        "wait. See why it cannot register with what it was given, and change its plan or key."
    )
    sessions = unit.ask("GET", "/bootstrap/sessions?endpoint_name=loop")["sessions"]
    assert [one["text"] for one in sessions].count(sentence) == 1
    assert len(sessions) == MAX_TRIES + 1
    told = contact(unit, "loop")
    assert (told["state"], told["text"]) == ("failed", sentence)
    # Ten tries have not left ten keys.
    assert [one["purpose"] for one in unit.device("loop")["credentials"]].count("server") == 1
    # It does what the sentence says: somebody looks after its plan, and now it finds its way.
    unit.ask("PATCH", "/vault/devices/loop", {"plan": unit.plans["objects"]})
    client.objects = {(0, 0): {(1,): b"\1"}, (3, 0): {}}
    client.bootstrap(wire)
    client.register(unit.given(client))
    assert contact(unit, "loop")["state"] == "registered"


def test_a_device_that_answers_finish_with_4_06(unit: Unit) -> None:
    flashed = unit.add("wrong", "psk", bootstrap=True)["bootstrap"]
    client, wire = Bootstrapping("wrong"), unit.psk_of(flashed)
    client.finishes = [codes.NOT_ACCEPTABLE]
    client.bootstrap(wire)
    client.serve(wire)  # the Discover that shows that nothing is missing
    sentence = (
        "The device finds its new configuration inconsistent (4.06 to Finish): compare the steps with what "
        "it needs, and correct the plan."
    )
    session = unit.session("wrong")
    assert (session["state"], session["text"]) == ("failed", sentence)
    (finish,) = [step for step in session["steps"] if step["what"] == "Finish"]
    assert (finish["code"], finish["ok"]) == ("4.06 Not Acceptable", False)
    told = contact(unit, "wrong")
    assert (told["state"], told["text"]) == ("failed", sentence)
    assert not unit.is_registered("wrong")
    # It asks again, and all is well.
    client.bootstrap(wire)
    client.register(unit.given(client))
    assert contact(unit, "wrong")["state"] == "registered"


def test_a_device_is_moved_to_another_server(unit: Unit, tmp_path_factory: pytest.TempPathFactory) -> None:
    flashed = unit.add("mover", "psk", bootstrap=True, plan="elsewhere")["bootstrap"]
    client = Bootstrapping("mover")
    client.refuses = lambda what: codes.CHANGED if what == "POST /1/0/9" else None
    client.bootstrap(unit.psk_of(flashed))
    wire = unit.given(client)
    client.register(wire)
    # A new key is made, the other server is told it, and the plan says where to go; the device goes on.
    made = unit.ask("POST", "/vault/devices/mover/rotate", {"purpose": "server", "how": "staged"})
    key = {name: made["provisioning"][name] for name in ("psk_identity", "psk_key_hex")}
    other = Unit(tmp_path_factory.mktemp("other") / "state")
    try:
        other.add("mover", "psk", **key)
        uri = f"coaps://192.0.2.9:{other.house.coaps_port}"
        server = {"uri": uri, "security": "psk", "key": "current"}
        unit.ask(
            "PUT", f"/bootstrap/plans/{unit.plans['elsewhere']}", {"name": "elsewhere", "servers": [server]}
        )
        assert unit.is_registered("mover")
        unit.ask("POST", "/vault/devices/mover/rebootstrap")
        client.serve(wire)
        client.bootstrap(unit.psk_of(flashed))
        assert client.value("/0/1/0") == uri.encode()
        client.register(other.given(client))
        assert contact(other, "mover")["text"] == f"Registered over DTLS, psk:{key['psk_identity']}."
        told = until(lambda: contact(unit, "mover"), lambda seen: seen["state"] == "waiting")
        assert told["text"].endswith("This gateway is not among them: it registers elsewhere.")
        steps = unit.session("mover")["steps"]
        (step,) = [one for one in steps if one["what"] == "Key"]
        assert step["text"] == f"A pre-shared key with the identity {key['psk_identity']} for {uri}."
    finally:
        assert other.stop() == 0


class Member:
    """A device of a fleet: told to bootstrap it does so, and registers with what it is given."""

    def __init__(self, unit: Unit, name: str, *, sleeps: bool) -> None:
        self.unit = unit
        self.flashed = unit.add(name, "psk", bootstrap=True, groups=["fleet"])["bootstrap"]
        self.client = Bootstrapping(name)
        self.client.refuses = self._told
        self.sleeps = sleeps
        self.told = 0
        self.come()

    def _told(self, what: str) -> Any:
        if what != "POST /1/0/9":
            return None
        self.told += 1
        return codes.CHANGED

    def come(self) -> None:
        """Bootstrap and register."""
        self.client.bootstrap(self.unit.psk_of(self.flashed))
        self.wire = self.unit.given(self.client)
        self.location = self.client.register(self.wire, queue_mode=self.sleeps)

    @property
    def identity(self) -> str:
        return "psk:" + self.client.value("/0/1/3").decode()

    def turn(self) -> None:
        """Something came."""
        self.client.serve(self.wire)
        self.come()

    def wake(self) -> None:
        """Say Update, and do what waits."""
        answer = self.client.ask(self.wire, codes.POST, "/".join(self.location))
        assert answer.code == codes.CHANGED
        self.turn()


def all_turn(members: list[Member], times: int) -> None:
    """Each does what it is told, in the order in which something comes, until it was told so often."""
    with selectors.DefaultSelector() as selector:
        for member in members:
            selector.register(member.wire.socket, selectors.EVENT_READ, member)
        while len(selector.get_map()):
            ready = selector.select(PATIENCE_S)
            assert ready, [member.client.name for member in members if member.told < times]
            for key, _ in ready:
                selector.unregister(key.fileobj)
                key.data.turn()


def sleeping(unit: Unit, members: list[Member]) -> None:
    """Once all of them sleep."""
    for member in members:
        row = partial(unit.ask, "GET", f"/devices/{member.client.name}")
        until(row, lambda seen: seen["state"] == "asleep")


def test_many_devices_are_moved_to_new_keys_and_another_plan(unit: Unit) -> None:
    awake = [Member(unit, f"fleet-{number}", sleeps=False) for number in range(FLEET - SLEEPERS)]
    asleep = [Member(unit, f"sleeper-{number}", sleeps=True) for number in range(SLEEPERS)]
    fleet = [*awake, *asleep]

    def by_api(plan: str) -> None:
        assert unit.ask("POST", "/vault/plan", {"group": "fleet", "plan": plan}) == {"changed": FLEET}
        assert unit.ask("POST", "/vault/rebootstrap", {"group": "fleet"}) == {"asked": FLEET}

    def by_command(plan: str) -> None:
        what = ("--group", "fleet", "--plan", plan, "--state", str(unit.house.state))
        assert str(FLEET) in unit.house.homard("device", "rebootstrap", *what)

    for times, (ask, lifetime_s) in enumerate(((by_api, 600), (by_command, 900)), 1):
        sleeping(unit, asleep)
        before = {member.client.name: member.identity for member in fleet}
        body = {"name": f"fleet {times}", "servers": [{"lifetime_s": lifetime_s}]}
        plan = unit.ask("POST", "/bootstrap/plans", body)["id"]
        ask(plan)
        all_turn(awake, times)
        assert [member.told for member in asleep] == [times - 1] * SLEEPERS
        for member in asleep:
            member.wake()
        for member in fleet:
            name = member.client.name
            device = until(partial(unit.device, name), lambda seen: seen["rebootstrap_asked_at"] is None)
            assert member.told == times
            states = {one["identity"]: one["state"] for one in device["credentials"]}
            assert (states[before[name]], states[member.identity]) == ("revoked", "active")
            assert device["contact"]["text"] == f"Registered over DTLS, {member.identity}."
            assert unit.ask("GET", f"/devices/{name}")["lifetime_s"] == lifetime_s
        sessions = unit.ask("GET", "/bootstrap/sessions?limit=500")["sessions"]
        states = [one["state"] for one in sessions if one["plan"] and one["plan"]["id"] == plan]
        assert states == ["finished"] * FLEET
