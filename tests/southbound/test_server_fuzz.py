"""Strangers' bytes into the LwM2M server: nothing raises, nothing grows."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from appliance.lwm2m.definitions import Definitions
from appliance.lwm2m.operations import Register, Update
from appliance.southbound.server import LwM2MServer, Notification, Observation, Reply, Source
from appliance.southbound.settings import CoapSettings
from appliance.southbound.udp import UdpPeer

INPUTS = 100_000


class Refusing:
    """An uplink that takes nothing: what strangers say must not be kept below it either."""

    def __init__(self) -> None:
        self.seen = 0

    def register(self, operation: Register, source: Source, reply: Reply) -> None:
        self.seen += 1
        reply.bad_request("no")

    def update(self, location: str, operation: Update, source: Source, reply: Reply) -> None:
        self.seen += 1
        reply.not_found("no")

    def deregister(self, location: str, source: Source, reply: Reply) -> None:
        self.seen += 1
        reply.not_found("no")

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
