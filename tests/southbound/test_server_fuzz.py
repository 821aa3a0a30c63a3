"""Strangers' bytes into the LwM2M server: nothing raises, nothing grows."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from appliance.coap.message import Message
from appliance.lwm2m.definitions import Definitions
from appliance.lwm2m.operations import (
    Create,
    Discover,
    Execute,
    Observe,
    ObserveComposite,
    Read,
    ReadComposite,
    Register,
    Update,
)
from appliance.lwm2m.path import Path
from appliance.lwm2m.registration import read_object_list
from appliance.southbound.answers import read_response
from appliance.southbound.client import Peer
from appliance.southbound.requests import Formats
from appliance.southbound.server import LwM2MServer, Notification, Observation, Reply, Source
from appliance.southbound.settings import CoapSettings
from appliance.southbound.tcp import TcpPeer
from appliance.southbound.udp import UdpPeer

INPUTS = 100_000


class Refusing:
    """An uplink that takes nothing: what strangers say must not be kept below it either."""

    def __init__(self) -> None:
        self.seen = 0
        self.gone = 0

    def may_register(self, endpoint_name: str | None, source: Source) -> bool:
        return True

    def may_update(self, location: str, source: Source) -> bool:
        return True

    def register(self, operation: Register, source: Source, reply: Reply) -> None:
        self.seen += 1
        reply.bad_request("no")

    def update(self, location: str, operation: Update, source: Source, reply: Reply) -> None:
        self.seen += 1
        reply.not_found("no")

    def deregister(self, location: str, source: Source, reply: Reply) -> None:
        self.seen += 1
        reply.not_found("no")

    def send(self, content_format: int | None, payload: bytes, source: Source, reply: Reply) -> None:
        self.seen += 1
        reply.not_found("no")

    def disconnected(self, peer: Peer) -> None:
        self.gone += 1

    def notify(self, notification: Notification) -> None:
        raise AssertionError("nobody is observed")

    def strange_notification(self, observation: Observation, source: Source) -> None:
        raise AssertionError("nobody is observed")


SEEDS = [
    bytes.fromhex("440212345465737442b27264") + b"\x11\x28\x34ep=a\x05lt=60\x09lwm2m=1.1\xff</1/0>,</3/0>",
    b"\x44\x02\x12\x34test\xb2rd\x11\x28\x34ep=a\x05lt=60\x09lwm2m=1.1\xff</1/0>,</3/0>",
    b"\x44\x02\x00\x01test\xb2rd\x04abcd",
    b"\x44\x04\x00\x02test\xb2rd\x04abcd",
    b"\x44\x01\x00\x03test\xbb.well-known\x04core",
    b"\x48\x45\x00\x04ABCDEFGH\x61\x05\x60\xff21.5",
    b"\x44\x02\x00\x08test\xb2dp\x11\x6e\xd1\x02\x08\xff[]",
    b"\x44\x01\x00\x09test\xb1f\x04link\xc1\x16",
    b"\x40\x00\x00\x05",
    b"\x60\x00\x00\x06",
    b"\x70\x00\x00\x07",
]


def mutated(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randrange(0, 6)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if place < len(data):
                data[place] = rng.randrange(256)
            case 1:
                data[place:place] = rng.randbytes(rng.randrange(1, 8))
            case 2:
                del data[place : place + rng.randrange(1, 8)]
            case _ if place + 1 < len(data):
                data[place] ^= 1 << rng.randrange(8)
    return bytes(data)


@pytest.mark.timeout(240)
def test_a_hundred_thousand_datagrams_raise_nothing_and_leave_nothing() -> None:
    loop = asyncio.new_event_loop()
    try:
        server = LwM2MServer(
            CoapSettings(port=0, bind=("127.0.0.1",)), Definitions.registered(), loop, lambda: 1.8e9
        )
        uplink = Refusing()
        server.start(uplink)
        rng = random.Random(5683)
        peers = [UdpPeer(socket.AF_INET, ("127.0.0.1", 1024 + number), b"") for number in range(3000)]
        most: dict[str, int] = {}
        for number in range(INPUTS):
            data = mutated(rng) if rng.random() < 0.8 else rng.randbytes(rng.randrange(64))
            server._receive(data, rng.choice(peers), number * 0.01)
            if number % 1000 == 999:
                server._endpoint.take_datagrams()
                for event in server._endpoint.handle_timer(number * 0.01):
                    server._dispatch(event, number * 0.01)
                sizes = server._endpoint.table_sizes()
                most = {name: max(size, most.get(name, 0)) for name, size in sizes.items()}
        assert uplink.seen > INPUTS / 100, "the mutations never reach the uplink"
        assert not server._pending
        assert most["confirmable"] <= 16384
        assert most["answer_bytes"] <= 4 * 1024 * 1024
        # Half an hour later nothing is left of them.
        late = INPUTS * 0.01 + 1800
        server._endpoint.handle_timer(late)
        server._endpoint.take_datagrams()
        left = server._endpoint.table_sizes()
        assert left["confirmable"] == 0
        assert left["unconfirmed"] == 0
        assert left["reassemblies"] == 0
        server.stop()
    finally:
        loop.close()


CSM = bytes.fromhex("50e12301000020")


def framed(data: bytes) -> bytes:
    """A datagram as a frame (RFC 8323 §3.2), when it is long enough to be one."""
    if len(data) < 4 or (data[0] & 15) > 8:
        return data
    token, rest = data[4 : 4 + (data[0] & 15)], data[4 + (data[0] & 15) :]
    length = len(rest)
    head = (
        bytes((length << 4 | len(token),)) if length < 13 else bytes((0xD0 | len(token), length - 13 & 255))
    )
    return head + data[1:2] + token + rest


@pytest.mark.timeout(240)
def test_a_hundred_thousand_pieces_over_connections_raise_nothing_and_leave_nothing() -> None:
    loop = asyncio.new_event_loop()
    try:
        server = LwM2MServer(
            CoapSettings(port=0, bind=("127.0.0.1",)), Definitions.registered(), loop, lambda: 1.8e9
        )
        uplink = Refusing()
        server.start(uplink)
        rng = random.Random(8323)
        connections: list[TcpPeer] = []
        for number in range(INPUTS):
            now = number * 0.01
            if len(connections) < 50:
                peer = TcpPeer(number, ("127.0.0.1", number % 65536))
                connections.append(peer)
                server._stream.opened(peer, now)
                if rng.random() < 0.95:
                    server._receive_stream(CSM, peer, now)
            peer = rng.choice(connections)
            data = framed(mutated(rng)) if rng.random() < 0.95 else rng.randbytes(rng.randrange(64))
            server._receive_stream(data, peer, now)
            server._stream.take_outgoing(now)
            ended = server._stream.take_closing()
            if rng.random() < 0.01:
                ended.append(peer)
            for gone in set(ended):
                connections.remove(gone)
                server._disconnected(gone, now)
            if number % 1000 == 999:
                for event in server._stream.handle_timer(now):
                    server._dispatch(event, now)
        assert uplink.seen > INPUTS / 100, "the mutations never reach the uplink"
        assert uplink.gone > 100, "no connection was ever ended"
        assert not server._pending
        for peer in connections:
            server._disconnected(peer, INPUTS * 0.01)
        late = INPUTS * 0.01 + 1800
        server._stream.handle_timer(late)
        server._stream.take_outgoing(late)
        left = server._stream.table_sizes()
        assert {name for name, size in left.items() if size} <= {"message_ids"}, left
        server.stop()
    finally:
        loop.close()


@pytest.mark.timeout(120)
def test_whatever_a_device_answers_is_a_response() -> None:
    rng = random.Random(112)
    loop = asyncio.new_event_loop()
    server = LwM2MServer(CoapSettings(port=0), Definitions.registered(), loop, lambda: 1.8e9)
    client = server.client(
        "d", UdpPeer(socket.AF_INET, ("127.0.0.1", 1), b""), "1.1", read_object_list(b"</3/0>")
    )
    loop.close()
    one, other = Path.parse("/3/0"), Path.parse("/3303/0/5700")
    operations = (
        Read(one),
        Read(other),
        Observe(other),
        ReadComposite((one, other)),
        ObserveComposite((one, other)),
        Discover(one),
        Create(3, None),
        Execute(Path.parse("/3/0/4")),
    )
    bodies = (
        b'[{"bn":"/3/0/","n":"0","vs":"ab"},{"n":"9","v":80}]',
        b"\x82\xa3\x21\x64/3/0\x00\x62/0\x03\x62ab\xa2\x00\x62/9\x02\x18\x50",
        b"\xc8\x00\x02ab\xc1\x09\x50",
        b"</3/0>;pmin=10,</3/0/9>",
        b"21.5",
    )
    numbers = (
        b"",
        b"\x28",
        b"\x2a",
        b"\x3c",
        b"\x6e",
        b"\x70",
        b"\x2d\x16",
        b"\x2d\x17",
        b"\x2d\x18",
        b"\x01\x40",
    )
    for _ in range(INPUTS):
        body = bytearray(rng.choice(bodies))
        for _ in range(rng.randrange(4)):
            place = rng.randrange(len(body) + 1)
            body[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        options = [(8, rng.randbytes(rng.randrange(6)))]
        if rng.random() < 0.9:
            options.append((12, rng.choice(numbers)))
        code = rng.choice((0x41, 0x44, 0x45, 0x45, 0x45, 0x84, rng.randrange(0x40, 0xC0)))
        message = Message(2, code, 1, b"t", options, bytes(body))
        operation = rng.choice(operations)
        response = read_response(client, operation, message, Formats(112, 112), 0.1, None, 1.8e9)
        assert response.code == code
        assert isinstance(response.warning, str)
