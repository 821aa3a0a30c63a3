"""A server with its ports open on loopback, and devices that do what a test tells them, over UDP or TCP.

Both sides share one event loop. A device speaks with aiocoap's coding of messages, so what it sends and what
it accepts were not written by the people who wrote the server.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from aiocoap import Message
from aiocoap.numbers import codes, types
from aiocoap.transports import tcp

from appliance.lwm2m.definitions import Definitions
from appliance.lwm2m.operations import Register, Update
from appliance.southbound.client import Client, Peer
from appliance.southbound.server import (
    Downlink,
    LwM2MServer,
    Notification,
    Observation,
    Reply,
    Response,
    Source,
)
from appliance.southbound.settings import CoapSettings

WALL = 1.8e9
PATIENCE_S = 10.0
CSM = bytes.fromhex("50e12301000020")  # RFC 8323 §5.3: Max-Message-Size 65536, Block-Wise-Transfer

T = TypeVar("T")
_DEFINITIONS = Definitions.registered()


class Uplink:
    """The room above: agrees to everything, and keeps what came."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.sources: list[Source] = []
        self.sent: list[tuple[int | None, bytes]] = []
        self.updates: list[tuple[str, Update]] = []
        self.notified: asyncio.Queue[Notification] = asyncio.Queue()
        self.gone: asyncio.Queue[Peer] = asyncio.Queue()
        self.strange: asyncio.Queue[Source] = asyncio.Queue()

    def may_register(self, endpoint_name: str | None, source: Source) -> bool:
        return True

    def may_update(self, location: str, source: Source) -> bool:
        return True

    def register(self, operation: Register, source: Source, reply: Reply) -> None:
        self.sources.append(source)
        self.bench.client = self.bench.server.client(
            operation.endpoint_name or "", source.peer, operation.version, operation.objects
        )
        reply.created("5a")

    def update(self, location: str, operation: Update, source: Source, reply: Reply) -> None:
        self.sources.append(source)
        self.updates.append((location, operation))
        self.bench.client.peer = source.peer
        reply.changed(lambda: self.bench.server.follow(self.bench.client))

    def deregister(self, location: str, source: Source, reply: Reply) -> None:
        reply.deleted()

    def send(self, content_format: int | None, payload: bytes, source: Source, reply: Reply) -> None:
        self.sources.append(source)
        self.sent.append((content_format, payload))
        reply.changed()

    def notify(self, notification: Notification) -> None:
        self.notified.put_nowait(notification)
        self.bench.server.accept(notification)

    def disconnected(self, peer: Peer) -> None:
        self.gone.put_nowait(peer)

    def strange_notification(self, observation: Observation, source: Source) -> None:
        self.strange.put_nowait(source)


class Bench:
    """The server, its loop, and the client of whoever registered last."""

    client: Client

    def __init__(self, **settings: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self.server = LwM2MServer(
            CoapSettings(**{"bind": ("127.0.0.1",), "port": 0, **settings}),
            _DEFINITIONS,
            self.loop,
            lambda: WALL,
        )
        self.uplink = Uplink(self)
        self.devices: list[Device] = []
        self.server.start(self.uplink)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    def close(self) -> None:
        """Stop; what raised in the loop is held against the server."""
        for device in self.devices:
            device.close()
        self.server.stop()
        self.run(asyncio.sleep(0))  # so that what was stopped can end
        self.loop.close()
        assert not self.faults, self.faults

    async def device(
        self, bearer: str, links: str = "</1/0>,</3/0>,</3303/0>", version: str = "1.1"
    ) -> Device:
        """A device that has registered."""
        device = await self.stranger(bearer)
        answer = await device.ask(
            codes.POST,
            "rd",
            query=("ep=d", "lt=300", f"lwm2m={version}"),
            payload=links.encode(),
            content_format=40,
        )
        assert answer.code == codes.CREATED, answer
        return device

    async def stranger(self, bearer: str) -> Device:
        """A device that has said nothing yet."""
        device: Device = StreamDevice(self) if bearer == "TCP" else Device(self)
        await device.open()
        self.devices.append(device)
        return device

    def asked(self, operation: Downlink, timeout_s: float = 20, **more: Any) -> asyncio.Future[Response]:
        """A request to the device that registered; its end."""
        future: asyncio.Future[Response] = self.loop.create_future()
        self.server.request(self.client, operation, timeout_s, future.set_result, **more)
        return future


class Device:
    """Over UDP."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.loop = bench.loop
        self._mid = int.from_bytes(os.urandom(2), "big")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    async def open(self) -> None:
        self.socket.bind(("127.0.0.1", 0))
        await self.loop.sock_connect(self.socket, ("127.0.0.1", self.bench.server.port))

    def close(self) -> None:
        self.socket.close()

    async def send(self, message: Message) -> Message:
        if message.mid is None:
            self._mid = self._mid + 1 & 0xFFFF
            message.mid = self._mid
        await self.loop.sock_sendall(self.socket, message.encode())
        return message

    async def receive(self) -> Message:
        """The next message that says something; mere acknowledgements do not."""
        while True:
            data = await asyncio.wait_for(self.loop.sock_recv(self.socket, 65536), PATIENCE_S)
            message = Message.decode(data, None)
            if message.code is not codes.EMPTY or message.mtype is types.RST:
                return message

    async def ask(
        self,
        code: Any,
        path: str,
        *,
        query: Sequence[str] = (),
        payload: bytes = b"",
        content_format: int | None = None,
        **options: Any,
    ) -> Message:
        """A request to the server, and its answer."""
        message = Message(code=code, payload=payload, _mtype=types.CON, _token=os.urandom(4))
        message.opt.uri_path = tuple(path.split("/"))
        message.opt.uri_query = tuple(query)
        message.opt.content_format = content_format
        for name, value in options.items():
            setattr(message.opt, name, value)
        await self.send(message)
        answer = await self.receive()
        assert answer.token == message.token, answer
        return answer

    async def answer(
        self,
        request: Message,
        code: Any,
        payload: bytes = b"",
        content_format: int | None = None,
        **options: Any,
    ) -> None:
        """Answer a request of the server, piggybacked where there is an ACK."""
        message = Message(
            code=code, payload=payload, _mtype=types.ACK, _mid=request.mid, _token=request.token
        )
        message.opt.content_format = content_format
        for name, value in options.items():
            setattr(message.opt, name, value)
        await self.send(message)

    async def notify(self, token: bytes, payload: bytes, content_format: int, observe: int | None) -> None:
        """A confirmable notification, as far as that is said."""
        message = Message(code=codes.CONTENT, payload=payload, _mtype=types.CON, _token=token)
        message.opt.observe = observe
        message.opt.content_format = content_format
        await self.send(message)

    async def take_body(self, code: Any) -> bytes:
        """Take a body in blocks (RFC 7959 §2.5, RFC 8323 §6) and answer the whole with ``code``."""
        body = b""
        while True:
            request = await self.receive()
            block = request.opt.block1
            body += request.payload
            if block is None or not block.more:
                await self.answer(request, code, **({} if block is None else {"block1": block}))
                return body
            assert len(body) % 1024 == 0
            await self.answer(request, codes.CONTINUE, block1=block)


class StreamDevice(Device):
    """Over TCP, where nothing is acknowledged and no message has a number."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._buffer = b""
        self.socket.close()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)

    async def open(self) -> None:
        await self.loop.sock_connect(self.socket, ("127.0.0.1", self.bench.server.tcp_port))
        await self.loop.sock_sendall(self.socket, CSM)

    async def send(self, message: Message) -> Message:
        await self.loop.sock_sendall(self.socket, tcp._serialize(message))
        return message

    async def receive(self) -> Message:
        while True:
            size = tcp._extract_message_size(self._buffer)
            if size is None or len(self._buffer) < sum(size):
                data = await asyncio.wait_for(self.loop.sock_recv(self.socket, 65536), PATIENCE_S)
                if not data:
                    raise ConnectionError("the server closed the connection")
                self._buffer += data
                continue
            message = tcp._decode_message(self._buffer[: sum(size)])
            self._buffer = self._buffer[sum(size) :]
            if not message.code.is_signalling():
                message.mtype, message.mid = None, None
                return message
