"""A server that does what a test tells it, datagram by datagram."""

from __future__ import annotations

import asyncio
import itertools
import struct
from dataclasses import dataclass, field

CON, NON, ACK, RST = range(4)
GET, POST, PUT, DELETE = 1, 2, 3, 4
CREATED, DELETED, CHANGED, CONTENT = 0x41, 0x42, 0x44, 0x45
OBSERVE, LOCATION_PATH, URI_PATH, CONTENT_FORMAT, URI_QUERY, ACCEPT, BLOCK2, BLOCK1 = (
    6,
    8,
    11,
    12,
    15,
    17,
    23,
    27,
)


@dataclass(slots=True)
class Frame:
    """A CoAP message taken apart by hand (RFC 7252 §3): the tests trust no library for this."""

    type: int
    code: int
    mid: int
    token: bytes = b""
    options: list[tuple[int, bytes]] = field(default_factory=list)
    payload: bytes = b""
    peer: tuple[str, int] = ("", 0)

    def texts(self, number: int) -> list[str]:
        return [value.decode() for known, value in self.options if known == number]

    def number(self, option: int) -> int | None:
        return next((int.from_bytes(value, "big") for known, value in self.options if known == option), None)

    def pack(self) -> bytes:
        out = bytearray([0x40 | self.type << 4 | len(self.token), self.code]) + struct.pack(">H", self.mid)
        out += self.token
        last = 0
        for number, value in sorted(self.options, key=lambda option: option[0]):
            nibbles, extended = [], b""
            for amount in (number - last, len(value)):
                nibbles.append(amount if amount < 13 else 13 if amount < 269 else 14)
                extended += (
                    b""
                    if amount < 13
                    else bytes([amount - 13])
                    if amount < 269
                    else struct.pack(">H", amount - 269)
                )
            out += bytes([nibbles[0] << 4 | nibbles[1]]) + extended + value
            last = number
        return bytes(out + (b"\xff" + self.payload if self.payload else b""))

    @classmethod
    def unpack(cls, data: bytes, peer: tuple[str, int]) -> Frame:
        token_end = 4 + (data[0] & 15)
        frame = cls(
            data[0] >> 4 & 3, data[1], struct.unpack(">H", data[2:4])[0], data[4:token_end], peer=peer
        )
        at, number = token_end, 0
        while at < len(data) and data[at] != 0xFF:
            amounts = [data[at] >> 4, data[at] & 15]
            at += 1
            for index, amount in enumerate(amounts):
                if amount == 13:
                    amounts[index], at = data[at] + 13, at + 1
                elif amount == 14:
                    amounts[index], at = struct.unpack(">H", data[at : at + 2])[0] + 269, at + 2
            number += amounts[0]
            frame.options.append((number, data[at : at + amounts[1]]))
            at += amounts[1]
        frame.payload = data[at + 1 :]
        return frame


def uint(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


class ScriptedServer(asyncio.DatagramProtocol):
    """Keeps what arrives in order; answers only what the test answers, unless ``welcoming``.

    A welcoming server answers Register, Update and Deregister by itself and acknowledges notifications;
    a mute one throws everything away, as a server that is down does.
    """

    def __init__(self, *, welcoming: bool = True) -> None:
        self.welcoming = welcoming
        self.mute = False
        self.registers: list[Frame] = []
        self.updates: list[Frame] = []
        self.deregisters: list[Frame] = []
        self.sends: list[Frame] = []
        self.notifications: list[Frame] = []  # Confirmable ones, retransmissions included
        self.inbox: asyncio.Queue[Frame] = asyncio.Queue()
        self.happened = asyncio.Condition()
        self._waiting: dict[bytes, asyncio.Future[Frame]] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> ScriptedServer:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def close(self) -> None:
        self.transport.abort()
        await asyncio.gather(*self._tasks)

    @property
    def uri(self) -> str:
        return f"coap://127.0.0.1:{self.transport.get_extra_info('sockname')[1]}"

    # --- in ---

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.mute:
            return
        frame = Frame.unpack(data, addr)
        waiting = self._waiting.pop(frame.token, None) if frame.code >= 64 and frame.type == ACK else None
        if waiting is not None:
            waiting.set_result(frame)
        elif frame.type == CON and frame.code >= 64:
            self.notifications.append(frame)
            if self.welcoming:
                self.send(Frame(ACK, 0, frame.mid, peer=frame.peer))
        elif frame.type == CON and 0 < frame.code < 32:
            self._requested(frame)
        self.inbox.put_nowait(frame)
        task = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _requested(self, frame: Frame) -> None:
        path = frame.texts(URI_PATH)
        if frame.code == DELETE:
            self.deregisters.append(frame)
            code, options = DELETED, []
        elif path == ["dp"]:
            self.sends.append(frame)
            code, options = CHANGED, []
        elif len(path) == 1:
            self.registers.append(frame)
            code, options = (
                CREATED,
                [(LOCATION_PATH, b"rd"), (LOCATION_PATH, f"r{len(self.registers)}".encode())],
            )
        else:
            self.updates.append(frame)
            code, options = CHANGED, []
        if self.welcoming:
            self.answer(frame, code, options)

    async def _notify(self) -> None:
        async with self.happened:
            self.happened.notify_all()

    async def until(self, condition) -> None:
        async with asyncio.timeout(20), self.happened:
            await self.happened.wait_for(condition)

    # --- out ---

    def send(self, frame: Frame) -> None:
        self.transport.sendto(frame.pack(), frame.peer)

    def answer(
        self, request: Frame, code: int, options: list[tuple[int, bytes]] = (), payload: bytes = b""
    ) -> None:
        self.send(Frame(ACK, code, request.mid, request.token, list(options), payload, request.peer))

    async def ask(
        self, device: Frame, code: int, path: str, payload: bytes = b"", *, token: bytes | None = None,
        content_format: int | None = None, accept: int | None = None, observe: int | None = None,
        query: tuple[str, ...] = (), block2: int | None = None,
    ) -> Frame:  # fmt: skip
        """One request to the device that sent ``device`` (its Register, say); its piggybacked answer."""
        number = next(self._numbers)
        options = [(URI_PATH, part.encode()) for part in path.strip("/").split("/") if part]
        options += [(URI_QUERY, part.encode()) for part in query]
        for option, value in (
            (CONTENT_FORMAT, content_format), (ACCEPT, accept), (OBSERVE, observe), (BLOCK2, block2)
        ):  # fmt: skip
            if value is not None:
                options.append((option, uint(value)))
        token = token or b"T" + uint(number)
        answered = self._waiting[token] = asyncio.get_running_loop().create_future()
        self.send(Frame(CON, code, number, token, options, payload, device.peer))
        async with asyncio.timeout(20):
            return await answered
