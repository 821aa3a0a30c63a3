"""Leshan's client over DTLS: with a pre-shared key, raw public keys and certificates, let in and refused.

Its DTLS is Californium's, with Connection IDs (RFC 9146).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.peers.nat import Nat
from tests.peers.strangers import Gateway, LeshanDevice, fresh_name
from tests.peers.test_leshan import reports
from tests.peers.trusted import SECURE, added, added_by_command, contact, eventually, homard, word

TEMPERATURE = "/3303/0/5700"
CID_RECORD = 25


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("state"), **SECURE)
    yield running
    assert running.stop() == 0


@pytest.fixture
def device() -> Iterator[Callable[..., LeshanDevice]]:
    """Makes Leshan clients for one test."""
    made: list[LeshanDevice] = []

    def make(uri: str, name: str, credentials: str) -> LeshanDevice:
        made.append(LeshanDevice(uri, name, credentials=credentials))
        return made[-1]

    yield make
    for one in made:
        one.end()


def is_read(gateway: Gateway, name: str) -> bool:
    """Whether the device answers a Read of ours."""
    return bool(gateway.api.operate(name, "Read", "/3/0/0")["code"] == "2.05")


def address(gateway: Gateway, name: str) -> str:
    """Where the gateway finds the device."""
    row = gateway.api.device(name)
    assert row is not None
    return str(row["address"])


def observed(gateway: Gateway, name: str) -> dict[str, Any]:
    """The observation of the temperature."""
    rows = gateway.api.get(f"/devices/{name}/observations")["observations"]
    (row,) = [row for row in rows if row["path"] == TEMPERATURE]
    return dict(row)


@pytest.mark.parametrize("security", ["psk", "rpk", "x509"])
def test_it_registers_is_read_and_reports(
    gateway: Gateway, device: Callable[..., LeshanDevice], security: str
) -> None:
    name = fresh_name("leshan")
    leshan = device(gateway.coaps_uri, name, word(added_by_command(gateway, name, security), security))
    leshan.expect("registered")
    leshan.expect("observed", path=TEMPERATURE)
    row = gateway.api.device(name)
    assert row is not None
    assert (row["bearer"], row["security"].partition(":")[0]) == ("DTLS", security)
    assert gateway.api.operate(name, "Read", "/3/0/0")["values"][0]["value"] == "Eclipse"
    assert contact(gateway, name, "registered").startswith(f"Registered over DTLS, {security}:")
    after = gateway.api.head()
    leshan.say(f"set {TEMPERATURE} 30.5")
    gateway.api.until(reports(leshan, TEMPERATURE, 30.5), after)
    leshan.say("update")
    leshan.expect("updated")
    leshan.say("deregister")
    leshan.expect("deregistered")


def test_a_port_that_changes_in_mid_session_keeps_registration_and_observation(
    gateway: Gateway, device: Callable[..., LeshanDevice]
) -> None:
    """RFC 9146: the Connection ID finds the session; the address follows the first newer record."""
    name = fresh_name("leshan")
    nat = Nat(gateway.coaps_port)
    try:
        leshan = device(f"coaps://127.0.0.1:{nat.port}", name, word(added(gateway, name, "psk"), "psk"))
        leshan.expect("registered")
        leshan.expect("observed", path=TEMPERATURE)
        before = eventually(lambda: observed(gateway, name), lambda row: row["state"] == "active")
        handshakes, begin = nat.shaken(), gateway.api.head()
        for value in (40.5, 41.5):
            nat.rebind()
            after = gateway.api.head()
            leshan.say(f"set {TEMPERATURE} {value}")
            gateway.api.until(reports(leshan, TEMPERATURE, value), after)
            assert address(gateway, name) == nat.seen_as
            assert is_read(gateway, name)
        leshan.say("update")  # at the location that it was given when it registered
        leshan.expect("updated")

        # Somebody who saw it all says it again from where he is, and changes what he cannot say again.
        records = [data for data in nat.up if data[0] == CID_RECORD]
        newer = bytearray(records[-1])
        newer[5:11] = b"\0\0\0\1\0\0"  # a number to come, and so a wrong tag
        assert nat.said_from_elsewhere([*records, bytes(newer)]) == []
        assert address(gateway, name) == nat.seen_as
        row = gateway.api.device(name)
        assert row is not None
        (warning,) = row["warnings"]
        assert warning.startswith(f"A record of psk:{name} was said again from 127.0.0.1:")
        assert is_read(gateway, name)

        assert nat.shaken() == handshakes, "it shook hands again"
        events = gateway.api.get("/events", after=begin, endpoint_name=name)["events"]
        assert not [event for event in events if event["kind"] == "registered"]
        for value in (40.5, 41.5):
            assert len([event for event in events if reports(leshan, TEMPERATURE, value)(event)]) == 1
        assert observed(gateway, name) == before
    finally:
        nat.close()


def test_the_session_goes_on_after_a_restart_of_the_gateway(
    tmp_path_factory: pytest.TempPathFactory, device: Callable[..., LeshanDevice]
) -> None:
    gateway = Gateway(tmp_path_factory.mktemp("state"), **SECURE)
    nat = Nat(gateway.coaps_port)
    try:
        name = fresh_name("leshan")
        leshan = device(f"coaps://127.0.0.1:{nat.port}", name, word(added(gateway, name, "psk"), "psk"))
        leshan.expect("registered")
        leshan.expect("observed", path=TEMPERATURE)
        handshakes = nat.shaken()
        for end, value in ((gateway.kill, 30.25), (gateway.stop, 31.25)):
            nat.rebind()
            leshan.say("update")
            leshan.expect("updated")
            end()
            gateway.start()
            assert is_read(gateway, name)  # where it was heard last, though it has said nothing since
            after = gateway.api.head()
            leshan.say(f"set {TEMPERATURE} {value}")
            gateway.api.until(reports(leshan, TEMPERATURE, value), after)
            leshan.say("update")
            leshan.expect("updated")
            # What was said before the restart counts no more than any other repetition.
            head = gateway.api.head()
            for record in [data for data in nat.up if data[0] == CID_RECORD]:
                nat.repeat(record)
            assert is_read(gateway, name)
            events = gateway.api.get("/events", after=head)["events"]
            again = reports(leshan, TEMPERATURE, value)
            assert not [one for one in events if one["kind"] in ("registered", "updated") or again(one)]
            assert nat.shaken() == handshakes, "it shook hands again"
    finally:
        gateway.stop()
        nat.close()


def test_a_wrong_key_is_told_in_words(gateway: Gateway, device: Callable[..., LeshanDevice]) -> None:
    name = fresh_name("leshan")
    wrong = word(added(gateway, name, "psk"), "psk", psk_key_hex="00112233445566778899aabbccddeeff")
    device(gateway.coaps_uri, name, wrong)
    assert contact(gateway, name, "failed") == (
        f"psk:{name} could not prove its key: most likely the device has another key than the one kept here."
    )


def test_another_name_than_the_keys_is_told_in_words(
    gateway: Gateway, device: Callable[..., LeshanDevice]
) -> None:
    name, other = fresh_name("leshan"), fresh_name("leshan")
    leshan = device(gateway.coaps_uri, other, word(added(gateway, name, "psk"), "psk"))
    leshan.expect("failed", what="register")
    assert contact(gateway, name, "failed") == (
        f'The PSK identity {name} belongs to "{name}", but the device calls itself "{other}": '
        "set that endpoint name in the device, or give it a key of its own."
    )
    assert gateway.api.device(other) is None


def test_a_revoked_identity_is_out_at_once_and_stays_out(
    gateway: Gateway, device: Callable[..., LeshanDevice]
) -> None:
    name = fresh_name("leshan")
    leshan = device(gateway.coaps_uri, name, word(added(gateway, name, "psk"), "psk"))
    leshan.expect("registered")
    homard(gateway, "device", "revoke", name)
    why = f"The PSK identity {name} was revoked; give {name} a new key."
    assert contact(gateway, name, "failed") == why
    leshan.say("update")
    again = eventually(lambda: contact(gateway, name, "failed"), lambda told: told != why)
    assert again.startswith(f"The key {name} of {name} was revoked on ")
    assert again.endswith(": give the device a new one.")


def test_without_security_a_device_waits_in_the_quarantine_list(
    gateway: Gateway, device: Callable[..., LeshanDevice]
) -> None:
    name = fresh_name("leshan")
    leshan = device(gateway.uri, name, "nosec")
    leshan.expect("failed", what="register")
    (stranger,) = [one for one in gateway.api.get("/strangers")["strangers"] if one["endpoint_name"] == name]
    assert (stranger["state"], stranger["can_accept"], stranger["bearer"]) == ("waiting", True, "UDP")
    status, _ = gateway.api.ask("POST", f"/strangers/{stranger['id']}/accept")
    assert status == 200
    leshan.say("start")
    leshan.expect("registered")
