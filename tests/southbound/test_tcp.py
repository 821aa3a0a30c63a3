"""The TCP bearer on both event loops: who is let in, who is cut off, what happens without descriptors."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from appliance.southbound import tcp
from appliance.southbound.settings import CoapSettings
from appliance.southbound.tcp import MAX_UNWRITTEN_BYTES, TcpBearer, TcpPeer
from appliance.southbound.udp import PortInUse

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PATIENCE_S = 10.0


class Echo:
    """A bearer that writes back what it reads, and keeps what happened."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **settings: Any) -> None:
        self.happened = asyncio.Condition()
        self.opened: list[TcpPeer] = []
        self.closed: list[TcpPeer] = []
        self.read = 0
        self.bursts = 0
        self.answer = 1  # so often each piece is written back
        settings.setdefault("bind", ("127.0.0.1",))
        self.bearer = TcpBearer(
            CoapSettings(port=0, tcp_port=0, **settings),
            loop,
            lambda peer, now: self.opened.append(peer),
            self.receive,
            lambda peer, now: self.closed.append(peer),
            self.burst_done,
        )
        self.bearer.start(0)

    def receive(self, data: bytes, peer: TcpPeer, now: float) -> None:
        self.read += len(data)
        for _ in range(self.answer):
            self.bearer.transmit(data, peer)

    def burst_done(self) -> None:
        self.bursts += 1
        asyncio.ensure_future(self._tell())  # noqa: RUF006 - it ends in this very turn

    async def _tell(self) -> None:
        async with self.happened:
            self.happened.notify_all()

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with self.happened:
            await asyncio.wait_for(self.happened.wait_for(wanted), PATIENCE_S)

    async def connect(self, host: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.wait_for(asyncio.open_connection(host, self.bearer.port), PATIENCE_S)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    loop: asyncio.AbstractEventLoop = LOOPS[request.param]()
    yield lambda main: loop.run_until_complete(asyncio.wait_for(main, 60))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def echo(**settings: Any) -> Echo:
    return Echo(asyncio.get_running_loop(), **settings)


Run = Callable[[Coroutine[Any, Any, None]], None]


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the connection was ended by the other side, in one way or the other."""
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    except ConnectionError:
        return True


def test_bytes_come_and_go_on_both_kinds_of_address(run: Run) -> None:
    async def main() -> None:
        server = echo(bind=("::", "0.0.0.0"))
        for host in ("127.0.0.1", "::1"):
            reader, writer = await server.connect(host)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await server.until(lambda: len(server.closed) == len(server.opened))
        assert [peer.address[0] for peer in server.opened] == ["127.0.0.1", "::1"]
        assert server.opened == server.closed and server.bursts >= 6
        assert str(server.opened[1]).startswith("[::1]:")
        server.bearer.stop()

    run(main())


@pytest.mark.parametrize("limit", ["tcp_max_connections", "tcp_max_per_address"])
def test_so_many_connections_and_no_more_also_at_once(run: Run, limit: str) -> None:
    async def main() -> None:
        server = echo(**{limit: 3})
        made = await asyncio.gather(*(server.connect() for _ in range(10)))
        await server.until(lambda: len(server.opened) == 3)
        ends = [asyncio.ensure_future(ended(reader)) for reader, _ in made]
        while sum(end.done() for end in ends) < 7:
            await asyncio.wait([end for end in ends if not end.done()], return_when=asyncio.FIRST_COMPLETED)
        assert (server.bearer.refused, len(server.opened)) == (7, 3)
        # One place is free again as soon as its connection has ended.
        staying = [writer for (_, writer), end in zip(made, ends, strict=True) if not end.done()]
        staying[0].close()
        await server.until(lambda: len(server.closed) == 1)
        reader, writer = await server.connect()
        writer.write(b"x")
        assert await asyncio.wait_for(reader.readexactly(1), PATIENCE_S) == b"x"
        for end in ends:
            end.cancel()
        server.bearer.stop()
        await server.until(lambda: len(server.closed) == 4)
        assert not server.bearer._per_address and server.bearer._counted == 0

    run(main())


def test_who_does_not_read_may_ask_no_more(run: Run) -> None:
    """Its own bytes stay with it, so that they cannot fill our memory with answers."""

    async def main() -> None:
        server = echo()
        reader, writer = await server.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await server.until(lambda: bool(server.opened))
        (connection,) = server.bearer._connections.values()
        assert connection.transport is not None
        piece, pushed = b"x" * 65536, 0
        while pushed < 64 * 1024 * 1024 and writer.transport.get_write_buffer_size() < 4 * len(piece):
            writer.write(piece)
            pushed += len(piece)
            await asyncio.sleep(0)
        assert pushed < 64 * 1024 * 1024, "all of it was read"
        assert connection.transport.get_write_buffer_size() <= MAX_UNWRITTEN_BYTES
        assert server.bearer.cut_off == 0
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        for left in range(pushed, 0, -len(piece)):  # it reads again, and so do we
            await asyncio.wait_for(reader.readexactly(min(left, len(piece))), PATIENCE_S)
        assert server.read == pushed
        server.bearer.stop()

    run(main())


def test_who_does_not_read_what_comes_unasked_is_cut_off(run: Run) -> None:
    async def main() -> None:
        server = echo()
        _, writer = await server.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await server.until(lambda: bool(server.opened))
        (peer,) = server.opened
        for _ in range(2000):
            server.bearer.transmit(b"x" * 65536, peer)
            if server.bearer.cut_off:
                break
        await server.until(lambda: server.closed == [peer])
        assert server.bearer.cut_off == 1
        server.bearer.transmit(b"to nobody", peer)
        server.bearer.close(peer)
        server.bearer.stop()

    run(main())


def test_closing_lets_what_was_written_leave(run: Run) -> None:
    async def main() -> None:
        server = echo()
        reader, _ = await server.connect()
        await server.until(lambda: bool(server.opened))
        server.bearer.transmit(b"x" * 100_000, server.opened[0])
        server.bearer.close(server.opened[0])
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"x" * 100_000
        server.bearer.stop()

    run(main())


def test_a_connection_being_closed_ends_though_it_does_not_read(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "CLOSING_S", 0.01)

    async def main() -> None:
        server = echo()
        _, writer = await server.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await server.until(lambda: bool(server.opened))
        (peer,) = server.opened
        (connection,) = server.bearer._connections.values()
        assert connection.transport is not None
        while not connection.transport.get_write_buffer_size():
            server.bearer.transmit(b"x" * 65536, peer)
        server.bearer.close(peer)
        await server.until(lambda: server.closed == [peer])
        server.bearer.stop()

    run(main())


class Exhausted:
    """A listening socket of a process that has no descriptors left, for the first time it is asked."""

    def __init__(self, bound: socket.socket) -> None:
        self._bound = bound
        self.asked = 0

    def fileno(self) -> int:
        return self._bound.fileno()

    def close(self) -> None:
        self._bound.close()

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.asked == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._bound.accept()


def test_spent_file_descriptors_are_waited_for_and_not_asked_for_in_a_loop(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "_PAUSE_S", 0.05)

    async def main() -> None:
        server = echo()
        (bound,) = server.bearer._sockets
        poor: Any = Exhausted(bound)
        loop = asyncio.get_running_loop()
        loop.remove_reader(bound.fileno())
        server.bearer._sockets[:] = [poor]
        server.bearer._listen_again(poor)
        reader, writer = await server.connect()
        writer.write(b"x")
        assert await asyncio.wait_for(reader.readexactly(1), PATIENCE_S) == b"x"
        assert poor.asked == 3  # refused, taken, and nobody else was there
        server.bearer.stop()

    run(main())


def test_a_port_in_use_is_refused_in_words(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            nothing: Any = lambda *_: None  # noqa: E731
            loop = asyncio.get_running_loop()
            settings = CoapSettings(tcp_port=port, bind=("127.0.0.1",))
            bearer = TcpBearer(settings, loop, nothing, nothing, nothing, nothing)
            with pytest.raises(PortInUse, match=rf"{port}.*coap\.tcp_port"):
                bearer.start(0)
            # A number that follows that of UDP, itself a free one, was chosen by nobody.
            settings = CoapSettings(port=0, bind=("127.0.0.1",))
            bearer = TcpBearer(settings, loop, nothing, nothing, nothing, nothing)
            bearer.start(port)
            assert bearer.port not in (0, port)
            bearer.stop()

    run(main())


def test_a_peer_is_one_connection_and_is_remembered_without_it() -> None:
    one, two = TcpPeer(1, ("::1", 7)), TcpPeer(2, ("::1", 7))
    assert one != two and len({one, two}) == 2
    stored = json.loads(one.to_json())
    assert stored == ["tcp", "::1", 7]
    assert TcpPeer.from_json(stored) == TcpPeer(0, ("::1", 7))


@pytest.mark.parametrize(
    "stored", [[], ["tcp"], ["udp", "::1", 7], ["tcp", "::1", "x"], ["tcp", "::1", None], 5, None]
)
def test_a_damaged_address_is_a_value_error(stored: Any) -> None:
    with pytest.raises(ValueError, match="not a stored TCP address"):
        TcpPeer.from_json(stored)
