"""Who may notify: an address proves nothing, an identity moves with the device (RFC 7641 §3, trap 20)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.lwm2m.definitions import Definitions
from appliance.lwm2m.path import Path
from appliance.lwm2m.registration import read_object_list
from appliance.southbound.server import LwM2MServer, Notification, Observation, Source
from appliance.southbound.settings import CoapSettings
from appliance.southbound.udp import UdpPeer

TOKEN = b"12345678"
HOME = UdpPeer(socket.AF_INET, ("192.0.2.1", 1000), b"")
AWAY = UdpPeer(socket.AF_INET, ("192.0.2.1", 2000), b"")


class Uplink:
    def __init__(self) -> None:
        self.notified: list[Notification] = []
        self.strange: list[Source] = []

    def notify(self, notification: Notification) -> None:
        self.notified.append(notification)

    def strange_notification(self, observation: Observation, source: Source) -> None:
        self.strange.append(source)


class Bench:
    """A server without sockets, one device that is observed, and what it would have sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sent: list[tuple[bytes, UdpPeer]] = []
        self.identities: dict[UdpPeer, str] = {}
        self.uplink = Uplink()
        self.server = LwM2MServer(CoapSettings(port=0), Definitions.registered(), loop, lambda: 1.8e9)
        self.server._uplink = self.uplink  # type: ignore[assignment]
        self.server.bearer.transmit = lambda data, peer: self.sent.append((data, peer))  # type: ignore[method-assign]
        self.server.bearer.identity = self.identities.get  # type: ignore[method-assign]
        self.client = self.server.client("d", HOME, "1.1", read_object_list(b"</3303/0>"))
        self.observation = Observation(self.client, Path.parse("/3303/0/5700"), 0.0)
        self.observation.token = TOKEN
        self.server.restore_observation(self.observation)

    def notify(self, peer: UdpPeer, number: int, token: bytes = TOKEN, mid: int = 7) -> None:
        message = Message(code=codes.CONTENT, payload=b"21.5", _mtype=types.CON, _mid=mid, _token=token)
        message.opt.observe = number
        message.opt.content_format = 0
        self.server._receive(message.encode(), peer, 100.0)
        self.server._pump()


@pytest.fixture
def bench() -> Iterator[Bench]:
    loop = asyncio.new_event_loop()
    yield Bench(loop)
    loop.close()


def test_from_the_registered_address_it_goes_up_and_waits_for_its_receipt(bench: Bench) -> None:
    bench.notify(HOME, 1)
    (notification,) = bench.uplink.notified
    assert [report.value for report in notification.reports] == [21.5]
    assert bench.sent == []
    bench.server.accept(notification)
    bench.server._pump()
    ((data, peer),) = bench.sent
    assert (data, peer) == (b"\x60\x00\x00\x07", HOME)


def test_without_security_another_port_is_met_with_silence(bench: Bench) -> None:
    bench.notify(AWAY, 1)
    assert bench.uplink.notified == []
    assert [source.peer for source in bench.uplink.strange] == [AWAY]
    assert bench.sent == []
    bench.notify(HOME, 2, mid=8)
    assert len(bench.uplink.notified) == 1, "the observation did not survive the stranger"


def test_the_same_identity_at_another_port_keeps_its_observation(bench: Bench) -> None:
    bench.client.identity = "psk:meter-1"
    bench.identities[AWAY] = "psk:meter-1"
    bench.notify(AWAY, 1)
    assert [one.source.peer for one in bench.uplink.notified] == [AWAY]


def test_another_identity_with_the_right_token_is_a_stranger(bench: Bench) -> None:
    bench.client.identity = "psk:meter-1"
    bench.identities[AWAY] = "psk:meter-2"
    bench.notify(AWAY, 1)
    bench.notify(HOME, 2, mid=8)  # the right address, and no identity at all
    assert bench.uplink.notified == []
    assert len(bench.uplink.strange) == 2
    assert bench.client.peer == HOME


def test_an_unknown_token_gets_a_reset(bench: Bench) -> None:
    bench.notify(HOME, 1, token=b"whatever")
    assert bench.sent == [(b"\x70\x00\x00\x07", HOME)]


def test_the_same_message_is_no_news_even_when_its_number_would_be_again(bench: Bench) -> None:
    taken = bench.observation.takes
    assert taken(5, 70, 1000.0)
    assert not taken(5, 70, 1001.0)
    assert not taken(4, 71, 1002.0)
    assert not taken(5, 70, 1140.0)  # RFC 7641 §3.4 alone would take it: more than 128 s have passed
    assert taken(5, 72, 1140.0)
    assert taken(5, 72, 1140.0 + 248)
