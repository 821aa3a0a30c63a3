"""The UDP bearer on both event loops: answers from the address that was asked, ICMP errors survived."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator

import pytest
import uvloop

from appliance.southbound.settings import CoapSettings
from appliance.southbound.udp import PortInUse, UdpBearer, UdpPeer

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Echo:
    """A bearer that sends back what it gets."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **settings: object) -> None:
        self.peers: list[UdpPeer] = []
        self.bursts = 0
        self.bearer = UdpBearer(CoapSettings(port=0, **settings), loop, self.receive, self.burst_done)  # type: ignore[arg-type]
        self.bearer.start()

    def receive(self, data: bytes, peer: UdpPeer, now: float) -> None:
        self.peers.append(peer)
        self.bearer.transmit(data, peer)

    def burst_done(self) -> None:
        self.bursts += 1


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    made: Callable[[], asyncio.AbstractEventLoop] = LOOPS[request.param]
    running = made()
    yield running
    running.close()


async def exchange(client: socket.socket, data: bytes, address: tuple[str, int]) -> tuple[bytes, object]:
    running = asyncio.get_running_loop()
    client.setblocking(False)
    client.sendto(data, address)
    ready = asyncio.Event()
    running.add_reader(client.fileno(), ready.set)
    try:
        await asyncio.wait_for(ready.wait(), 10)
    finally:
        running.remove_reader(client.fileno())
    return client.recvfrom(65535)


@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.9.8.7"])
def test_an_answer_leaves_from_the_ipv4_address_that_was_asked(
    loop: asyncio.AbstractEventLoop, asked: str
) -> None:
    async def main() -> None:
        echo = Echo(loop, bind=("0.0.0.0",))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", 0))
            data, source = await exchange(client, b"hello", (asked, echo.bearer.port))
        echo.bearer.stop()
        assert data == b"hello"
        assert source == (asked, echo.bearer.port)

    loop.run_until_complete(main())


def test_ipv6_is_served_beside_ipv4_on_one_port(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        echo = Echo(loop)
        for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")):
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.bind((host, 0))
                _, source = await exchange(client, b"x", (host, echo.bearer.port))
                assert source[:2] == (host, echo.bearer.port)  # type: ignore[index]
        echo.bearer.stop()
        assert {peer.family for peer in echo.peers} == {socket.AF_INET, socket.AF_INET6}

    loop.run_until_complete(main())


def test_icmp_errors_end_nothing(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        echo = Echo(loop, bind=("127.0.0.1",))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            address = gone.getsockname()
        for _ in range(50):
            echo.bearer.transmit(b"to nobody", UdpPeer(socket.AF_INET, address, b""))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", 0))
            data, _ = await exchange(client, b"still there", ("127.0.0.1", echo.bearer.port))
        echo.bearer.stop()
        assert data == b"still there"

    loop.run_until_complete(main())


def test_a_port_in_use_is_refused_in_words(loop: asyncio.AbstractEventLoop) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        bearer = UdpBearer(CoapSettings(port=port, bind=("0.0.0.0",)), loop, lambda *_: None, lambda: None)
        with pytest.raises(PortInUse, match=rf"{port}.*coap\.port"):
            bearer.start()


def test_a_longer_datagram_is_dropped_and_counted(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        echo = Echo(loop, bind=("127.0.0.1",), max_datagram_bytes=1280)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", 0))
            client.sendto(b"x" * 1281, ("127.0.0.1", echo.bearer.port))
            data, _ = await exchange(client, b"y" * 1280, ("127.0.0.1", echo.bearer.port))
        echo.bearer.stop()
        assert len(data) == 1280
        assert echo.bearer.oversized == 1

    loop.run_until_complete(main())


def test_a_send_error_is_counted_and_goes_on(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        echo = Echo(loop, bind=("127.0.0.1",))
        echo.bearer.transmit(b"no such family here", UdpPeer(socket.AF_INET6, ("::1", 9, 0, 0), b""))
        echo.bearer.transmit(b"z" * 70000, UdpPeer(socket.AF_INET, ("127.0.0.1", 9), b""))
        assert echo.bearer.send_errors == 2
        echo.bearer.stop()

    loop.run_until_complete(main())


def test_a_peer_is_one_object_and_survives_json(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        echo = Echo(loop, bind=("0.0.0.0",))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", 0))
            for _ in range(2):
                await exchange(client, b"a", ("127.0.0.1", echo.bearer.port))
        echo.bearer.stop()
        first, second = echo.peers
        assert first is second
        assert UdpPeer.from_json(json.loads(first.to_json())) == first

    loop.run_until_complete(main())


@pytest.mark.parametrize("stored", [[], [2], [2, 5, "zz"], ["x", ["::1", 1], ""], None])
def test_a_damaged_address_is_a_value_error(stored: object) -> None:
    with pytest.raises(ValueError, match="not a stored UDP address"):
        UdpPeer.from_json(stored)  # type: ignore[arg-type]
