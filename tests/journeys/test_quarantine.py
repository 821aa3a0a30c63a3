"""Who is not let in waits for a person: accepted, ignored or blocked; whom the policies of NoSec let in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiocoap.numbers import codes
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.coap.message import ACK, CON, CREATED, FORBIDDEN, POST, Message, decode, encode
from appliance.coap.options import CONTENT_FORMAT, URI_PATH, URI_QUERY
from tests.conformance.bootstrapping import DtlsWire
from tests.house import House, LockstepDevice
from tests.southbound.dtls.authority import Authority, der, pem, spki
from tests.southbound.dtls.client import ECDSA_CCM_8


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """With the policy that a unit has by default."""
    state = tmp_path_factory.mktemp("quarantine") / "state"
    with House(state, "coap.nosec=allowed", "coap.tcp_nosec=allowed") as running:
        yield running


def strangers(house: House, **wanted: Any) -> list[dict[str, Any]]:
    found = house.api("GET", "/strangers")[1]["strangers"]
    return [one for one in found if all(one[name] == value for name, value in wanted.items())]


def stranger(house: House, **wanted: Any) -> dict[str, Any]:
    (one,) = strangers(house, **wanted)
    return one


def decide(house: House, number: int, verb: str, body: object = None) -> Any:
    status, answer = house.api("POST", f"/strangers/{number}/{verb}", body)
    assert status == 200, answer
    return answer


def register(wire: DtlsWire, name: str, number: int = 1) -> int:
    """The code that a Register is answered with."""
    path = [(URI_PATH, b"rd"), (CONTENT_FORMAT, b"\x28")]
    query = [(URI_QUERY, text.encode()) for text in (f"ep={name}", "lt=300", "lwm2m=1.1", "b=U")]
    wire.send(encode(Message(CON, POST, number, b"r%d" % number, path + query, b"</1/0>,</3/0>")))
    while True:
        answer = decode(wire.receive())
        if answer.type == ACK and answer.mid == number:
            return answer.code


def test_a_device_without_security_waits_until_it_is_accepted(house: House) -> None:
    with LockstepDevice(house, "lamp-1") as device:
        device.register(expect=codes.FORBIDDEN)
        device.register(expect=codes.FORBIDDEN)
        waiting = stranger(house, endpoint_name="lamp-1")
        assert (waiting["state"], waiting["can_accept"], waiting["count"]) == ("waiting", True, 2)
        assert (waiting["bearer"], waiting["identity"]) == ("UDP", None)
        assert "allowed only for devices for which somebody allowed it" in waiting["reason"]
        assert house.api("GET", "/devices/lamp-1")[0] == 404

        made = decide(house, waiting["id"], "accept")
        assert (made["endpoint_name"], made["nosec"], made["credentials"]) == ("lamp-1", True, [])
        device.register("</1/0>")
        assert house.api("GET", "/devices/lamp-1")[1]["security"] == "NoSec"
        assert not strangers(house, endpoint_name="lamp-1")
        assert house.api("GET", "/vault/devices/lamp-1")[1]["contact"]["state"] == "registered"

        # Taken back, it is out with the reason, and out it stays.
        head = house.head()
        assert house.api("PATCH", "/vault/devices/lamp-1", {"nosec": False})[0] == 200
        told = house.until(lambda event: event.get("endpoint_name") == "lamp-1", after=head)
        assert told["kind"] not in ("registered", "updated"), told
        device.register(expect=codes.FORBIDDEN)
    contact = house.api("GET", "/vault/devices/lamp-1")[1]["contact"]
    assert contact["state"] == "failed" and "without security" in contact["text"]


def test_who_is_blocked_is_refused_and_counted_and_who_is_ignored_waits_no_more(house: House) -> None:
    with LockstepDevice(house, "lamp-2") as device:
        device.register(expect=codes.FORBIDDEN)
        number = stranger(house, endpoint_name="lamp-2")["id"]
        assert decide(house, number, "ignore")["state"] == "ignored"
        device.register(expect=codes.FORBIDDEN)
        assert stranger(house, id=number)["state"] == "ignored"
        decide(house, number, "block")
        device.register(expect=codes.FORBIDDEN)
        blocked = stranger(house, id=number)
        assert (blocked["state"], blocked["count"]) == ("blocked", 3)
        assert "blocked" in blocked["reason"]
        assert house.api("DELETE", f"/strangers/{number}")[0] == 204
        device.register(expect=codes.FORBIDDEN)
        assert stranger(house, endpoint_name="lamp-2")["state"] == "waiting"


def test_a_raw_public_key_is_accepted_as_it_was_shown(house: House) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    shown: dict[str, Any] = {"suites": (ECDSA_CCM_8,), "chain": [spki(key)], "private_key": key, "raw": True}
    with pytest.raises(PermissionError):
        DtlsWire(house.coaps_port, **shown)
    waiting = stranger(house, bearer="DTLS", endpoint_name="")
    assert waiting["can_accept"] and waiting["identity"].startswith("rpk:")
    status, told = house.api("POST", f"/strangers/{waiting['id']}/accept")
    assert status == 400 and "Give the endpoint name" in told["error"]["next_step"]
    decide(house, waiting["id"], "accept", {"endpoint_name": "pump-1"})
    with contextlib.closing(DtlsWire(house.coaps_port, **shown)) as wire:
        assert register(wire, "pump-1") == CREATED
    assert house.api("GET", "/devices/pump-1")[1]["security"] == waiting["identity"]


def test_a_pre_shared_key_cannot_be_accepted_without_knowing_it(house: House) -> None:
    with pytest.raises((PermissionError, TimeoutError)):
        DtlsWire(house.coaps_port, patience_s=3, identity=b"nobody", key=b"k" * 16, cid=b"")
    waiting = stranger(house, identity="psk:nobody")
    assert not waiting["can_accept"] and "No device has the PSK identity nobody" in waiting["reason"]
    status, told = house.api("POST", f"/strangers/{waiting['id']}/accept", {"endpoint_name": "pump-2"})
    assert status == 400 and "with its identity and its key" in told["error"]["next_step"]


def test_who_has_a_certificate_of_an_authority_that_is_trusted_is_accepted_by_it(house: House) -> None:
    maker = Authority("Maker of pumps")
    certificate, key = maker.issue("pump-3")
    status, told = house.api(
        "POST", "/authority/anchors", pem(maker.certificate), kind="application/x-pem-file"
    )
    assert status == 201, told
    shown: dict[str, Any] = {"suites": (ECDSA_CCM_8,), "chain": [der(certificate)], "private_key": key}
    with contextlib.closing(DtlsWire(house.coaps_port, **shown)) as wire:
        assert register(wire, "pump-3") == FORBIDDEN
        waiting = stranger(house, identity="x509:pump-3")
        assert (waiting["endpoint_name"], waiting["can_accept"]) == ("pump-3", True)
        assert "trusted by its issuer, but no device has this identity" in waiting["reason"]
        decide(house, waiting["id"], "accept")
    with contextlib.closing(DtlsWire(house.coaps_port, **shown)) as wire:
        assert register(wire, "pump-3") == CREATED


@pytest.mark.parametrize("policy", ["everyone", "off"])
def test_the_policy_lets_everybody_in_or_closes_the_port(tmp_path: Path, policy: str) -> None:
    with House(tmp_path / "state", f"coap.nosec={policy}", f"coap.tcp_nosec={policy}") as house:
        assert house.api("GET", "/status")[1]["nosec"] == (policy == "everyone")
        if policy == "everyone":
            with LockstepDevice(house, "lamp-3") as device:
                device.register()
        else:
            assert (house.ready["coap"], house.ready["coap_tcp"]) == (0, 0)


def test_the_token_of_these_tests_stands_in_the_audit_log(house: House) -> None:
    entries = house.api("GET", "/vault/audit?limit=1000")[1]["entries"]
    (made,) = [one for one in entries if one["what"].startswith("token made: tests")]
    assert made["by"].endswith("(command line)")
