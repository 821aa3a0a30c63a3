"""What an operator reads of a device that is not let in, and of who plays with one that is.

A gateway as a user starts it, whose page is asked through the API; OpenSSL and our own DTLS client knock.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.coap.message import ACK, CON, CREATED, POST, Message, decode, encode
from appliance.coap.options import CONTENT_FORMAT, URI_PATH, URI_QUERY
from tests.peers.strangers import PATIENCE_S, Gateway, command, fresh_name
from tests.peers.trusted import SECURE, added, contact, eventually
from tests.southbound.dtls.authority import Authority, key_pem, pem
from tests.southbound.dtls.client import Client


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("state"), **SECURE)
    yield running
    assert running.stop() == 0


class Device:
    """A device with a pre-shared key, on a port of its own."""

    def __init__(self, gateway: Gateway, identity: str, key_hex: str) -> None:
        self.client = Client(identity.encode(), bytes.fromhex(key_hex), cid=b"")
        self.said: list[bytes] = []
        self._gateway = ("127.0.0.1", gateway.coaps_port)
        self._socket = on_loopback()

    @property
    def address(self) -> str:
        """As the gateway sees it."""
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def begin(self) -> None:
        self.client.hello()
        self.transmit()

    def transmit(self, datagrams: int | None = None) -> None:
        """Say what there is to say, or the first so many datagrams of it."""
        waiting = self.client.take()
        self.client.outgoing = [] if datagrams is None else waiting[datagrams:]
        for data in waiting[:datagrams]:
            self.said.append(data)
            self._socket.sendto(data, self._gateway)

    def hear(self) -> None:
        """One datagram."""
        self.client.receive(self._socket.recv(65536))

    def turn(self) -> None:
        """Hear, and say what there is to say to it."""
        self.hear()
        self.transmit()

    def connect(self) -> None:
        """Shake hands."""
        self.begin()
        while not self.client.done:
            self.turn()

    def register(self, name: str) -> int:
        """The code that the registration is answered with."""
        path = [(URI_PATH, b"rd"), (CONTENT_FORMAT, b"\x28")]
        query = [(URI_QUERY, text.encode()) for text in (f"ep={name}", "lt=300", "lwm2m=1.1", "b=U")]
        self.client.send(encode(Message(CON, POST, 1, b"r", path + query, b"</1/0>,</3/0>")))
        self.transmit()
        while True:
            self.turn()
            while self.client.received:
                answer = decode(self.client.received.pop(0))
                if answer.type == ACK and answer.mid == 1:
                    return answer.code

    def close(self) -> None:
        self._socket.close()


def on_loopback() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(PATIENCE_S)
    return made


@contextlib.contextmanager
def registered(gateway: Gateway) -> Iterator[tuple[str, Device]]:
    """A device that was let in, and its name."""
    name = fresh_name("meter")
    made = added(gateway, name, "psk")
    with contextlib.closing(Device(gateway, made["psk_identity"], made["psk_key_hex"])) as device:
        device.connect()
        assert device.register(name) == CREATED
        yield name, device


def said_from_elsewhere(gateway: Gateway, data: bytes) -> str:
    """Somebody else says something to the gateway; his address."""
    with on_loopback() as stranger:
        stranger.sendto(data, ("127.0.0.1", gateway.coaps_port))
        return f"127.0.0.1:{stranger.getsockname()[1]}"


def warnings(gateway: Gateway, name: str) -> list[str]:
    """What stands on the page of a device, once there is something."""

    def look() -> list[str]:
        row = gateway.api.device(name)
        assert row is not None
        return list(row["warnings"])

    return eventually(look, bool)


def last_failure(gateway: Gateway, name: str) -> str:
    """What stands beside the key of a device."""
    (credential,) = gateway.api.get(f"/vault/devices/{name}")["credentials"]
    return str(credential["last_failure"]["text"])


def address(gateway: Gateway, name: str) -> str:
    row = gateway.api.device(name)
    assert row is not None
    return str(row["address"])


# Who is not let in


def test_a_wrong_key(gateway: Gateway) -> None:
    name = fresh_name("meter")
    made = added(gateway, name, "psk")
    with contextlib.closing(Device(gateway, made["psk_identity"], "00" * 16)) as device:
        device.begin()
        device.turn()  # the cookie
        device.turn()  # the server's flight, and the answer that shows the wrong key
        assert contact(gateway, name, "failed") == (
            f"psk:{name} could not prove its key: most likely the device has another key than the one kept "
            "here."
        )
    assert last_failure(gateway, name).startswith(f"psk:{name} could not prove its key")


def knock(gateway: Gateway, folder: Path, name: str, issuer: Authority, days: float = 365) -> str:
    """OpenSSL shows a certificate of that name; what it says of the answer."""
    certificate, key = issuer.issue(name, days=days)
    (folder / "certificate.pem").write_bytes(pem(certificate))
    (folder / "key.pem").write_bytes(key_pem(key))
    done = subprocess.run(
        [
            *(command("openssl"), "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{gateway.coaps_port}"),
            *("-cipher", "ECDHE-ECDSA-AES128-CCM8@SECLEVEL=0"),
            *("-cert", str(folder / "certificate.pem"), "-key", str(folder / "key.pem")),
        ],
        input=b"",
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return (done.stdout + done.stderr).decode()


def test_a_wrong_authority(gateway: Gateway, tmp_path: Path) -> None:
    name = fresh_name("meter")
    added(gateway, name, "x509")
    assert "unknown ca" in knock(gateway, tmp_path, name, Authority("Elsewhere"))
    sentence = (
        f"The certificate of CN={name} comes from CN=Elsewhere, which is not trusted here; add that "
        "authority, "
        "or give the device a certificate of this unit."
    )
    assert contact(gateway, name, "failed") == sentence
    assert last_failure(gateway, name) == sentence


def trust(gateway: Gateway, issuer: Authority) -> None:
    """An administrator adds an authority."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.http_port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {gateway.token}", "Content-Type": "application/x-pem-file"}
        connection.request("POST", "/api/v1/authority/anchors", pem(issuer.certificate), headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()


def test_an_expired_certificate(gateway: Gateway, tmp_path: Path) -> None:
    name, issuer = fresh_name("meter"), Authority("Site")
    trust(gateway, issuer)
    added(gateway, name, "x509")
    assert "certificate expired" in knock(gateway, tmp_path, name, issuer, days=-10)
    sentence = f"The certificate of CN={name} expired on 2026-11-13; give the device a new one."
    assert contact(gateway, name, "failed") == sentence
    assert last_failure(gateway, name) == sentence


def test_a_certificate_of_nobody_waits_in_the_quarantine_list(gateway: Gateway, tmp_path: Path) -> None:
    name = fresh_name("meter")
    knock(gateway, tmp_path, name, Authority("Elsewhere"))

    def look() -> list[dict[str, Any]]:
        listed = gateway.api.get("/strangers")["strangers"]
        return [one for one in listed if one["identity"] == f"x509:{name}"]

    (stranger,) = eventually(look, bool)
    assert stranger["can_accept"] is True
    assert stranger["reason"].startswith(f"The certificate of CN={name} comes from CN=Elsewhere")


def test_another_endpoint_name(gateway: Gateway) -> None:
    name, other = fresh_name("meter"), fresh_name("meter")
    made = added(gateway, name, "psk")
    with contextlib.closing(Device(gateway, made["psk_identity"], made["psk_key_hex"])) as device:
        device.connect()
        assert device.register(other) == 4 << 5  # 4.00
    sentence = (
        f'The PSK identity {name} belongs to "{name}", but the device calls itself "{other}": set that '
        "endpoint "
        "name in the device, or give it a key of its own."
    )
    assert contact(gateway, name, "failed") == sentence
    assert last_failure(gateway, name) == sentence
    assert sentence in [one["reason"] for one in gateway.api.get("/strangers")["strangers"]]


def test_a_revoked_identity(gateway: Gateway) -> None:
    with registered(gateway) as (name, device):
        status, _ = gateway.api.ask("POST", f"/vault/devices/{name}/revoke", {"reason": "stolen"})
        assert status == 200
        assert contact(gateway, name, "failed") == (
            f"The PSK identity {name} was revoked; give {name} a new key."
        )
        while not device.client.alerts:
            device.turn()
        again = Device(gateway, device.client.identity.decode(), device.client.key.hex())
        with contextlib.closing(again):
            again.begin()
            again.turn()
            again.turn()
            told = rf"The key {name} of {name} was revoked on \S+ \(stolen\): give the device a new one\."
            eventually(lambda: last_failure(gateway, name), lambda text: re.fullmatch(told, text))
            assert re.fullmatch(told, contact(gateway, name, "failed"))


def test_an_identity_that_is_revoked_during_its_handshake(gateway: Gateway) -> None:
    with registered(gateway) as (name, first):
        second = Device(gateway, first.client.identity.decode(), first.client.key.hex())
        with contextlib.closing(second):
            second.client.mtu = 1  # a record to a datagram
            second.begin()
            second.turn()
            second.hear()
            second.transmit(1)  # who it is; the proof is kept back
            with contextlib.closing(Device(gateway, "somebody", "00")) as other:
                other.begin()
                other.hear()  # so what was said before is through
            assert gateway.api.ask("POST", f"/vault/devices/{name}/revoke", {})[0] == 200
            while not first.client.alerts:
                first.turn()
            second.transmit()
            while not second.client.alerts:
                second.turn()
            assert second.client.done and second.client.alerts == [(1, 0)]


# Who plays with one that is let in


def test_a_replayed_record(gateway: Gateway) -> None:
    with registered(gateway) as (name, device):
        recorded = device.said[-1]
        stranger = said_from_elsewhere(gateway, recorded)
        assert warnings(gateway, name) == [
            f"A record of psk:{name} was said again from {stranger}, while the device is at "
            f"{device.address}: "
            "it was dropped. Somebody on the way may have recorded it; find out who is at that address."
        ]
        assert address(gateway, name) == device.address


def test_a_replay_to_a_device_that_has_not_registered_stands_beside_its_key(gateway: Gateway) -> None:
    name = fresh_name("meter")
    made = added(gateway, name, "psk")
    with contextlib.closing(Device(gateway, made["psk_identity"], made["psk_key_hex"])) as device:
        device.connect()
        device.client.send(b"\x40\x00\x00\x01")  # a ping, RFC 7252 §4.3
        device.transmit()
        device.hear()
        stranger = said_from_elsewhere(gateway, device.said[-1])
        told = f"A record of psk:{name} was said again from {stranger}, while the device is at "
        assert contact(gateway, name, "failed").startswith(f"{told}{device.address}: ")


def test_a_spoofed_connection_id(gateway: Gateway) -> None:
    with registered(gateway) as (name, device):
        device.client.send(b"a record that does not arrive")
        (forged,) = device.client.take()
        stranger = said_from_elsewhere(gateway, forged[:-1] + bytes((forged[-1] ^ 1,)))
        assert warnings(gateway, name) == [
            f"A record from {stranger} has the Connection ID of psk:{name}, but not the seal of its key: "
            "it was "
            f"dropped, and the device stays at {device.address}. Somebody on the way may have seen the ID; "
            "find "
            "out who is at that address."
        ]
        assert address(gateway, name) == device.address


def test_a_replayed_cookie(gateway: Gateway) -> None:
    name = fresh_name("meter")
    made = added(gateway, name, "psk")
    with contextlib.closing(Device(gateway, made["psk_identity"], made["psk_key_hex"])) as device:
        device.begin()
        device.turn()
    hello = device.said[-1]
    assert device.client.cookie in hello
    for _ in range(3):
        stranger = said_from_elsewhere(gateway, hello)

    def look() -> list[str]:
        listed = gateway.api.get("/strangers")["strangers"]
        return [one["reason"] for one in listed if one["address"] == stranger and not one["identity"]]

    assert eventually(look, bool) == [
        "3 hellos came within a minute with a cookie that was made for another address, the last from "
        f"{stranger}: no handshake began. Somebody may say recorded hellos again; a router that gives a "
        "device "
        "another port each time does so too."
    ]
