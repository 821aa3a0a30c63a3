"""What a device is told to be this gateway's address: the one it reached, never one that is only ours."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.devices.bootstrap_address import AddressUnknown, OwnAddress
from appliance.lwm2m.bootstrap import Mode
from appliance.southbound.oscore.peer import OscorePeer
from appliance.southbound.server import Source
from appliance.southbound.tcp import TcpPeer
from appliance.southbound.udp import UdpPeer

V4, V6 = socket.AF_INET, socket.AF_INET6
PORTS = {"coap": 5683, "coap+tcp": 5693, "coaps": 5684}


def of(peer: Any, bearer: str = "UDP", identity: str | None = None) -> Source:
    return Source(peer, bearer, identity)


def udp(local: str, remote: str = "192.0.2.7") -> UdpPeer:
    family = V6 if ":" in remote else V4
    packed = socket.inet_pton(V6 if ":" in local else V4, local) if local else b""
    return UdpPeer(family, (remote, 40000), packed)


@pytest.mark.parametrize(
    ("local", "host"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_it_is_the_address_that_the_datagram_came_to(local: str, host: str) -> None:
    address = OwnAddress(("::", "0.0.0.0"), lambda: PORTS)
    assert address.host(of(udp(local, "2001:db8::7" if "db8" in local else "192.0.2.7"))) == host
    # Of a DTLS session it is the one that its last record came to.
    session = SimpleNamespace(address=udp(local))
    assert address.uri(of(session, "DTLS", "psk:a"), "psk") == f"coaps://{host}:5684"
    # OSCORE stands above any of them.
    for below in (udp(local), session):
        assert address.host(of(OscorePeer("oscore:01", below, b"\1", None))) == host


@pytest.mark.parametrize(
    ("bearer", "mode", "uri"),
    [
        ("UDP", "nosec", "coap://192.0.2.1:5683"),
        ("UDP", "oscore", "coap://192.0.2.1:5683"),
        ("UDP", "psk", "coaps://192.0.2.1:5684"),
        ("DTLS", "nosec", "coap://192.0.2.1:5683"),
        ("DTLS", "x509", "coaps://192.0.2.1:5684"),
    ],
)
def test_the_scheme_and_the_port_are_those_of_the_security(bearer: str, mode: Mode, uri: str) -> None:
    assert OwnAddress(("0.0.0.0",), lambda: PORTS).uri(of(udp("192.0.2.1"), bearer), mode) == uri


def test_a_device_that_came_by_tcp_stays_with_tcp_where_it_can() -> None:
    peer = TcpPeer(1, ("127.0.0.1", 40000))
    address = OwnAddress(("192.0.2.1",), lambda: PORTS)
    assert address.uri(of(peer, "TCP"), "nosec") == "coap+tcp://192.0.2.1:5693"
    assert address.uri(of(peer, "TCP"), "psk") == "coaps://192.0.2.1:5684"
    # Where we listen on all addresses, it is the one that the way to the device begins at.
    assert OwnAddress(("0.0.0.0",), lambda: PORTS).host(of(peer, "TCP")) == "127.0.0.1"


def test_what_is_not_known_or_not_served_is_said() -> None:
    with pytest.raises(AddressUnknown, match="write the uri in the plan"):
        OwnAddress((), lambda: PORTS).host(of(object()))
    with pytest.raises(AddressUnknown, match="does not serve coaps://"):
        OwnAddress((), lambda: {"coap": 5683}).uri(of(udp("192.0.2.1")), "psk")
