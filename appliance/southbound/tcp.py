"""The TCP bearer: connections in, bytes of connections in and out, nothing else (RFC 8323 §4.1).

The law of this file: a connection costs a stranger more than us. So many in all and from one address, no more
than so much unwritten, nothing more is read from whoever does not read, and he is cut off in the end.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple, cast

from appliance.southbound.settings import CoapSettings
from appliance.southbound.udp import PortInUse

log = logging.getLogger(__name__)

MAX_UNWRITTEN_BYTES = 512 * 1024  # of one connection; what it does not read for so long is not wanted
CLOSING_S = 5.0  # for what was written to leave, before a connection is cut off
_BACKLOG = 256
_PAUSE_S = 1.0  # without taking connections, when the system has no more of them for us
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class TcpPeer(NamedTuple):
    """One connection: a number that is never used again while we run, and where it comes from."""

    connection: int
    address: tuple[str, int]

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def to_json(self) -> str:
        """The JSON of a list that `from_json` takes back: where it was, as the connection ends with us."""
        return json.dumps(["tcp", *self.address])

    @classmethod
    def from_json(cls, stored: Sequence[object]) -> TcpPeer:
        """The peer that `to_json` wrote, without a connection (0); raises ValueError on anything else."""
        try:
            kind, host, port = stored
            if kind != "tcp":
                raise ValueError("another kind")
            return cls(0, (str(host), int(port)))  # type: ignore[call-overload]
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a stored TCP address: {stored!r}") from error


class _Connection(asyncio.Protocol):
    """Bytes of one connection on their way to the bearer."""

    def __init__(self, bearer: TcpBearer, host: str) -> None:
        self._bearer = bearer
        self.host = host
        self.peer: TcpPeer | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.peer = self._bearer.made(self, self.transport)

    def data_received(self, data: bytes) -> None:
        if self.peer is not None:
            self._bearer.arrived(self.peer, data)

    def pause_writing(self) -> None:
        """It asks and does not read: it may ask no more until it has read."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._bearer.lost(self)


class TcpBearer:
    """The listening sockets of one CoAP port over TCP, and their connections.

    ``opened(peer, now)``, ``receive(data, peer, now)`` and ``closed(peer, now)`` are called as things happen,
    ``burst_done()`` after each: the moment to transmit what it caused. All run in the loop; none may raise.
    """

    name = "TCP"

    def __init__(
        self,
        settings: CoapSettings,
        loop: asyncio.AbstractEventLoop,
        opened: Callable[[TcpPeer, float], None],
        receive: Callable[[bytes, TcpPeer, float], None],
        closed: Callable[[TcpPeer, float], None],
        burst_done: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._opened = opened
        self._receive = receive
        self._closed = closed
        self._burst_done = burst_done
        self._numbers = count(1)
        self._sockets: list[socket.socket] = []
        self._connections: dict[TcpPeer, _Connection] = {}
        self._per_address: Counter[str] = Counter()
        self._counted = 0  # connections, also those that the loop is still making
        self._making: set[asyncio.Task[None]] = set()
        self.port = 0
        self.received = 0
        self.sent = 0
        self.refused = 0
        self.cut_off = 0

    def start(self, udp_port: int) -> None:
        """Bind and listen on every address of `coap.bind`; raises PortInUse, or OSError when none can be.

        ``udp_port`` is the number to take when the settings name none.
        """
        port = self._settings.tcp_port if self._settings.tcp_port >= 0 else udp_port
        try:
            self._listen(port)
        except PortInUse:
            if self._settings.tcp_port >= 0 or self._settings.port:
                raise
            self._listen(0)  # the number was not chosen by anybody, so another one is as good

    def _listen(self, port: int) -> None:
        problems: list[str] = []
        for host in self._settings.bind:
            try:
                bound = _bind(host, port)
            except PortInUse:
                self.stop()
                raise
            except OSError as error:
                problems.append(f"{host}: {error.strerror or error}")
                continue
            port = bound.getsockname()[1]
            self._sockets.append(bound)
        if not self._sockets:
            raise OSError(
                errno.EADDRNOTAVAIL, "no address of coap.bind could be bound for TCP: " + "; ".join(problems)
            )
        for problem in problems:
            log.warning("CoAP over TCP is not served on %s", problem)
        self.port = port
        for bound in self._sockets:
            self._loop.add_reader(bound.fileno(), self._acceptable, bound)

    def stop(self) -> None:
        """Close everything."""
        for bound in self._sockets:
            self._loop.remove_reader(bound.fileno())
            bound.close()
        self._sockets.clear()
        for connection in list(self._connections.values()):
            if connection.transport is not None:
                connection.transport.abort()

    def identity(self, peer: TcpPeer) -> str | None:
        """What the transport proved of a peer: over plain TCP nothing."""
        return None

    def transmit(self, data: bytes, peer: TcpPeer) -> None:
        """Write to a connection. One that does not read is cut off."""
        connection = self._connections.get(peer)
        if connection is None or connection.transport is None or connection.transport.is_closing():
            return
        transport = connection.transport
        if transport.get_write_buffer_size() + len(data) > MAX_UNWRITTEN_BYTES:
            self.cut_off += 1
            log.info("%s does not read what it asked for; the connection is closed", peer)
            transport.abort()
            return
        transport.write(data)
        self.sent += 1

    def close(self, peer: TcpPeer) -> None:
        """Close a connection when what was written to it has left, or does not leave."""
        connection = self._connections.get(peer)
        if connection is not None and connection.transport is not None:
            connection.transport.close()
            if connection.transport.get_write_buffer_size():
                self._loop.call_later(CLOSING_S, connection.transport.abort)

    # From the sockets

    def _acceptable(self, bound: socket.socket) -> None:
        for _ in range(64):
            try:
                accepted, address = bound.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    # It would be acceptable again at once, and again.
                    log.warning("no TCP connections are taken for a moment: %s", error)
                    self._loop.remove_reader(bound.fileno())
                    self._loop.call_later(_PAUSE_S, self._listen_again, bound)
                return  # anything else: it was gone again already
            host = address[0]
            if (
                self._counted >= self._settings.tcp_max_connections
                or self._per_address[host] >= self._settings.tcp_max_per_address
            ):
                self.refused += 1
                accepted.close()
                continue
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Counted before it is made: a burst must not slip through while the loop makes the first.
            self._per_address[host] += 1
            self._counted += 1
            task = self._loop.create_task(self._make(accepted, host))
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    def _listen_again(self, bound: socket.socket) -> None:
        if bound in self._sockets:
            self._loop.add_reader(bound.fileno(), self._acceptable, bound)

    async def _make(self, accepted: socket.socket, host: str) -> None:
        connection = _Connection(self, host)
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError as error:
            log.debug("a TCP connection ended before it began: %s", error)
            if connection.transport is None:  # else its end comes by itself
                accepted.close()
                self._release(host)

    def made(self, connection: _Connection, transport: asyncio.Transport) -> TcpPeer | None:
        """A connection stands."""
        address = transport.get_extra_info("peername")
        if not address:
            transport.abort()  # gone again already
            return None
        peer = TcpPeer(next(self._numbers), (address[0], address[1]))
        self._connections[peer] = connection
        self._opened(peer, self._loop.time())
        self._burst_done()
        return peer

    def arrived(self, peer: TcpPeer, data: bytes) -> None:
        """Bytes of a connection."""
        self.received += 1
        self._receive(data, peer, self._loop.time())
        self._burst_done()

    def lost(self, connection: _Connection) -> None:
        """A connection ended, by either side."""
        self._release(connection.host)
        peer = connection.peer
        if peer is not None and self._connections.pop(peer, None) is not None:
            self._closed(peer, self._loop.time())
            self._burst_done()

    def _release(self, host: str) -> None:
        self._counted -= 1
        self._per_address[host] -= 1
        if self._per_address[host] <= 0:
            del self._per_address[host]


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        # Connections of the process before us linger for a minute; on TCP this lets no second server in.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse.of("tcp", host, port, "coap.tcp_port") from error
        raise
    return bound
