"""One device's UDP port under aiocoap: a message interface that can lose datagrams on purpose.

aiocoap's own transports share sockets between peers and report every ICMP error upwards, which ends
all observations of a device the moment its server restarts. This one is one connected socket for one
server, and takes ICMP errors for what they are: a datagram that did not arrive.

It is also the only place below the message layer, hence the only place that can tell *which* of our
Confirmable messages was acknowledged: aiocoap reports a RST to the sender but keeps an ACK to itself.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import aiocoap
from aiocoap import error, interfaces
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.types import Type
from aiocoap.tokenmanager import TokenManager

Answered = Callable[[int, bool], None]  # (message id, reset?)


class Tuning(TransportTuning):  # type: ignore[misc]
    """Transmission parameters (RFC 7252 §4.8) of a device."""

    def __init__(self, ack_timeout_s: float, max_retransmit: int) -> None:
        self.ACK_TIMEOUT = ack_timeout_s
        self.MAX_RETRANSMIT = max_retransmit


class ServerAddress(interfaces.EndpointAddress):  # type: ignore[misc]
    """The one peer of a device. Equal only to itself."""

    is_multicast = False
    is_multicast_locally = False
    scheme = "coap"
    hostinfo = ""  # abstract properties in aiocoap: set again for every instance
    uri_base = ""
    hostinfo_local = "device"
    uri_base_local = "coap://device"

    # aiocoap lowers this one on the object when a server answers with smaller blocks.
    maximum_block_size_exp = 6

    def __init__(self, host: str, port: int) -> None:
        self.hostinfo = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.uri_base = f"coap://{self.hostinfo}"

    @property
    def blockwise_key(self) -> str:
        return str(self.hostinfo)


class DeviceTransport(asyncio.DatagramProtocol, interfaces.MessageInterface):  # type: ignore[misc]
    """A connected UDP socket; ``loss`` is the share of datagrams dropped in each direction (0..1)."""

    def __init__(
        self, messages: Any, host: str, port: int, *, loss: float, random: Random, answered: Answered
    ) -> None:
        self.address = ServerAddress(host, port)
        self._messages = messages
        self._peer = (host, port)
        self._loss = loss
        self._random = random
        self._answered = answered
        self._socket: asyncio.DatagramTransport | None = None
        self.dropped = 0
        self.awake_s = 0.0  # 0: always; otherwise how long the radio listens after each datagram
        self._awake_until = 0.0
        self.slept_through = 0

    async def open(self) -> None:
        """Open a port, or another one in its place as a NAT would do; aiocoap does not notice."""
        if self._socket is not None:
            self._socket.abort()
        loop = asyncio.get_running_loop()
        self._socket, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._peer)

    @property
    def local_port(self) -> int:
        assert self._socket is not None
        port: int = self._socket.get_extra_info("sockname")[1]
        return port

    # asyncio's side

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._is_lost() or not self._listens():
            return
        try:
            message = aiocoap.Message.decode(data, remote=self.address)
        except (error.Error, ValueError, IndexError, struct.error):
            return  # not CoAP: as lost as the others
        self._messages.dispatch_message(message)
        if message.mtype in (Type.ACK, Type.RST):
            self._answered(message.mid, message.mtype is Type.RST)

    def error_received(self, exc: Exception) -> None:
        """ICMP says that nobody listens: the server restarts. Retransmission goes on."""

    # aiocoap's side

    def send(self, message: Any) -> None:
        if self.awake_s:
            self._awake_until = asyncio.get_running_loop().time() + self.awake_s
        if self._socket is not None and not self._is_lost():
            self._socket.sendto(message.encode())

    async def recognize_remote(self, remote: Any) -> bool:
        return remote is self.address

    async def determine_remote(self, message: Any) -> ServerAddress:
        return self.address

    async def shutdown(self) -> None:
        if self._socket is not None:
            self._socket.abort()
            self._socket = None

    def _listens(self) -> bool:
        """Queue mode (Core 1.1 §6.5): the window opens with what we send, and each datagram holds it open."""
        if not self.awake_s:
            return True
        now = asyncio.get_running_loop().time()
        if now >= self._awake_until:
            self.slept_through += 1
            return False
        self._awake_until = now + self.awake_s
        return True

    def _is_lost(self) -> bool:
        if self._loss and self._random.random() < self._loss:
            self.dropped += 1
            return True
        return False


class _Tokens(TokenManager):  # type: ignore[misc]
    """aiocoap's token layer, which hears first when a Confirmable message was given up."""

    def __init__(self, context: Any, given_up: Callable[[], None]) -> None:
        super().__init__(context)
        self._given_up = given_up

    def dispatch_error(self, exception: Exception, remote: Any) -> None:
        super().dispatch_error(exception, remote)
        self._given_up()


class Stack:
    """An aiocoap Context over one DeviceTransport, wired as aiocoap wires its own transports."""

    def __init__(
        self, site: Any, host: str, port: int, *, loss: float, random: Random,
        answered: Answered, given_up: Callable[[], None],
    ) -> None:  # fmt: skip
        self.context = aiocoap.Context(
            loop=asyncio.get_running_loop(), serversite=site, loggername="homard.simulator.coap"
        )
        tokens = _Tokens(self.context, given_up)
        self.messages = MessageManager(tokens)
        self.transport = DeviceTransport(
            self.messages, host, port, loss=loss, random=random, answered=answered
        )
        self.messages.message_interface = self.transport
        tokens.token_interface = self.messages
        self.context.request_interfaces.append(tokens)
