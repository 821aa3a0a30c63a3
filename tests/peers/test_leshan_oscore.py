"""Leshan's client under OSCORE: it registers, is read, observed and written, also after kill -9 of ours.

Over UDP only: Leshan has no OSCORE over TCP; that is tested with aiocoap in tests/southbound/oscore. The
client is that of 2.0.0-M15, as that of 2.0.0-M18 has the objects of OSCORE and does not speak it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.peers.strangers import HERE, Gateway, LineProcess, command, fresh_name, leshan_classpath
from tests.peers.test_leshan_bootstrap import session_of
from tests.peers.trusted import SECURE, added, added_by_command, contact, eventually, homard

TEMPERATURE = "/3303/0/5700"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("state"), **SECURE)
    yield running
    assert running.stop() == 0


class OscoreDevice(LineProcess):
    """peers.OscoreDevice: see there."""

    def __init__(self, uri: str, name: str, given: str) -> None:
        self.endpoint_name = name
        arguments = ["-cp", leshan_classpath(HERE / "leshan-oscore"), "peers.OscoreDevice", uri, name, given]
        super().__init__([command("java"), "-XX:TieredStopAtLevel=1", "-Xshare:auto", *arguments])


@pytest.fixture
def device() -> Iterator[Callable[..., OscoreDevice]]:
    """Makes clients for one test."""
    made: list[OscoreDevice] = []

    def make(uri: str, name: str, given: str) -> OscoreDevice:
        made.append(OscoreDevice(uri, name, given))
        return made[-1]

    yield make
    for one in made:
        one.end()


def word(provisioning: dict[str, Any], **other: str) -> str:
    """The context as peers.OscoreDevice reads it; ``other`` replaces what was given."""
    facts = {**provisioning["oscore"], **other}
    names = ("sender_id", "recipient_id", "master_secret", "master_salt")
    return ":".join(facts.get(name, "") for name in names)


def is_read(gateway: Gateway, name: str) -> bool:
    return bool(gateway.api.operate(name, "Read", "/3/0/0")["code"] == "2.05")


def reported(gateway: Gateway, leshan: OscoreDevice, value: float) -> None:
    """It says this value in a notification, and that is an event."""
    after = gateway.api.head()
    leshan.say(f"set {value}")
    gateway.api.until(
        lambda event: (
            event["kind"] == "value"
            and event["endpoint_name"] == leshan.endpoint_name
            and any(one["path"] == TEMPERATURE and one["value"] == value for one in event["values"])
        ),
        after,
    )


def test_it_registers_is_used_and_goes_on_after_a_kill_until_it_is_revoked(
    own_gateway: Gateway, device: Callable[..., OscoreDevice]
) -> None:
    gateway, name = own_gateway, fresh_name("leshan-oscore")
    provisioning = added_by_command(gateway, name, "oscore")
    leshan = device(gateway.uri, name, word(provisioning))
    leshan.expect("registered")
    leshan.expect("observed", path=TEMPERATURE)
    identity = f"oscore:{provisioning['oscore']['sender_id']}"
    row = gateway.api.device(name)
    assert row is not None
    assert (row["bearer"], row["security"]) == ("UDP", identity)
    assert contact(gateway, name, "registered") == f"Registered over UDP, {identity}."

    def used() -> None:
        assert is_read(gateway, name)
        assert gateway.api.operate(name, "Write", "/3/0/14", value="+02")["code"] == "2.04"
        leshan.expect("written", path="/3/0/14", value="+02")

    used()
    reported(gateway, leshan, 30.5)
    for end, value in ((gateway.kill, 31.5), (gateway.stop, 32.5)):
        end()
        gateway.start()
        used()  # with a number that Leshan did not see before, else it would say nothing
        reported(gateway, leshan, value)  # under the observation of before
        leshan.say("update")
        leshan.expect("updated")

    homard(gateway, "device", "revoke", name)
    assert "was revoked" in contact(gateway, name, "failed")
    row = gateway.api.device(name)
    assert row is not None and row["state"] == "offline"
    leshan.say("update")
    leshan.expect("failed", what="update", code="UNAUTHORIZED(401)")
    leshan.expect("failed", what="register", code="UNAUTHORIZED(401)")


def test_another_master_secret_is_refused_with_a_sentence_for_the_operator(
    gateway: Gateway, device: Callable[..., OscoreDevice]
) -> None:
    name = fresh_name("leshan-oscore")
    provisioning = added(gateway, name, "oscore")
    leshan = device(gateway.uri, name, word(provisioning, master_secret="00" * 16))
    assert "aster Secret" in contact(gateway, name, "failed")
    assert gateway.api.device(name) is None
    leshan.end()
    device(gateway.uri, name, word(provisioning)).expect("registered")
    contact(gateway, name, "registered")


def test_it_is_given_a_context_by_bootstrap_and_registers_under_it(
    own_gateway: Gateway, device: Callable[..., OscoreDevice]
) -> None:
    """Object 21 is written to it, over a bootstrap without security."""
    gateway, name = own_gateway, fresh_name("leshan-oscore")
    body = {"name": "under OSCORE", "servers": [{"security": "oscore"}]}
    status, plan = gateway.api.ask("POST", "/bootstrap/plans", body)
    assert status == 201, plan
    added(gateway, name, "nosec", plan=plan["id"])
    leshan = device(gateway.uri, name, "bootstrap")
    leshan.expect("bootstrapped")
    leshan.expect("registered", uri=gateway.uri)
    assert session_of(gateway, name)["state"] == "finished"
    row = eventually(lambda: gateway.api.device(name), bool)
    assert row is not None
    assert row["security"].startswith("oscore:")
    assert is_read(gateway, name)
