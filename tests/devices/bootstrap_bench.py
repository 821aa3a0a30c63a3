"""The bootstrap server on a real database and a real CoAP machine, and a device that plays its part.

The clock goes by itself and can be moved on. What the device sends and takes is coded by aiocoap.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Hashable, Mapping
from pathlib import Path as File
from typing import Any

from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.devices.admission import Refused
from appliance.devices.bootstrap import AnyEntry, Bootstraps, KeysUnavailable
from appliance.devices.bootstrap_address import OwnAddress
from appliance.devices.bootstrap_console import BootstrapConsole
from appliance.devices.bootstrap_sessions import Sessions
from appliance.devices.plans import Plans
from appliance.lwm2m.bootstrap import MODES, Keys, Mode, OscoreKeys
from appliance.lwm2m.codecs import decode
from appliance.lwm2m.definitions import Definitions, Model
from appliance.lwm2m.path import Path
from appliance.southbound.server import LwM2MServer, Source
from appliance.southbound.settings import CoapSettings
from appliance.southbound.udp import UdpPeer
from appliance.storage.database import Database
from appliance.storage.settings import StorageSettings

LINKS = b"</>;lwm2m=1.1,</0/0>,</1>,</3/0>"
SECRET = b"0123456789abcdef"
DEFINITIONS = Definitions.registered()
MODEL = Model.of(DEFINITIONS, {0: "1.1", 1: "1.1", 2: "1.0", 3: "1.1", 21: "2.0"})
_OUR_ADDRESS = socket.inet_aton("192.0.2.1")


class KeyRing:
    """Keys as the test wants them."""

    def __init__(self) -> None:
        self.plans: dict[str, str] = {}
        self.auto: Mode = "psk"
        self.missing = ""
        self.done: list[str] = []

    def plan_of(self, endpoint_name: str) -> str | None:
        return self.plans.get(endpoint_name)

    def decided(self, endpoint_name: str) -> Hashable:
        return self.plans.get(endpoint_name)

    def mode(self, endpoint_name: str, entry: AnyEntry) -> Mode:
        return self.auto if entry.security == "auto" else next(m for m in MODES if m == entry.security)

    def keys(self, endpoint_name: str, entry: AnyEntry, mode: Mode, own: bool) -> Keys:
        if self.missing:
            raise KeysUnavailable(self.missing)
        if mode == "nosec":
            return Keys("nosec")
        if mode == "oscore":
            return Keys("oscore", oscore=OscoreKeys(SECRET, b"\1", b"\2", b"salt"))
        return Keys(mode, endpoint_name.encode(), SECRET)

    def bootstrapped(self, endpoint_name: str, started_at: float) -> None:
        self.done.append(endpoint_name)


class Bench:
    """``known`` are the names that are let in."""

    def __init__(self, state: File) -> None:
        self.state = state
        self.loop = asyncio.new_event_loop()
        self.ahead_s = 0.0
        real = self.loop.time
        self.loop.time = lambda: real() + self.ahead_s  # type: ignore[method-assign]
        self.known: set[str] | None = None
        self.ports = {"coap": 5683, "coaps": 5684, "coap+tcp": 5683}
        self.devices: dict[tuple[Any, ...], Device] = {}
        self.keyring = KeyRing()
        self.open()

    def open(self) -> None:
        self.database = Database(self.state / "homard.sqlite", StorageSettings())
        self.database.open(self.loop)
        self.server = LwM2MServer(CoapSettings(port=0), DEFINITIONS, self.loop, lambda: 1.8e9)
        self.server.bearer.transmit = self._transmit  # type: ignore[method-assign]
        self.plans = Plans(self.state, DEFINITIONS)
        self.sessions = Sessions(self.database, lambda: 1.8e9 + self.ahead_s)
        self.cut = self.sessions.load()
        self.bootstraps = Bootstraps(
            self.server,
            self.plans,
            self.sessions,
            self.keyring,
            OwnAddress(("::", "0.0.0.0"), lambda: self.ports),
            self._admit,
            self.loop,
        )
        self.server.bootstrap = self.bootstraps
        self.server._uplink = object()  # type: ignore[assignment]
        self.console = BootstrapConsole(self.plans, self.sessions, self.bootstraps)

    def close(self) -> None:
        self.loop.run_until_complete(self.bootstraps.stop())
        self.database.close()
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def device(self, name: str = "meter-1", port: int = 1000) -> Device:
        return Device(self, name, port)

    def plan(self, name: str = "meter-1", **members: Any) -> None:
        """Give a device a plan of its own."""
        body = {"name": f"plan of {name}", "servers": [{}], **members}
        known = self.keyring.plans.get(name)
        self.keyring.plans[name] = self.console.put_plan(known, body)["id"]

    def session(self) -> dict[str, Any]:
        """The last session."""
        found: dict[str, Any] = self.console.sessions()["sessions"][0]
        return found

    def steps(self) -> list[str]:
        return [f"{step['what']} {step['path']}".strip() for step in self.session()["steps"]]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.002)

    async def ended(self) -> dict[str, Any]:
        """The last session, when it is over."""
        await self.until(lambda: self.session()["state"] != "running")
        return self.session()

    def _admit(self, endpoint_name: str | None, source: Source) -> str:
        if endpoint_name is None or (self.known is not None and endpoint_name not in self.known):
            raise Refused(True, "not let in", "nobody knows it")
        return endpoint_name

    def _transmit(self, data: bytes, to: UdpPeer) -> None:
        self.devices[to.address].heard.put_nowait(Message.decode(data, None))


class Device:
    """Sends what it is told to, and hands out what comes, one by one."""

    def __init__(self, bench: Bench, name: str, port: int) -> None:
        self.bench = bench
        self.name = name
        self.peer = UdpPeer(socket.AF_INET, ("198.51.100.7", port), _OUR_ADDRESS)
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.answers: list[tuple[str, str]] = []
        self._mid = port
        bench.devices[self.peer.address] = self

    def send(self, message: Message) -> Message:
        if message.mid is None:
            self._mid += 1
            message.mid = self._mid
        self.bench.server._receive(message.encode(), self.peer, self.bench.loop.time())
        return message

    async def next(self) -> Message:
        """What comes next; repetitions of what was answered are not passed over."""
        return await asyncio.wait_for(self.heard.get(), 20)

    def ask(
        self, path: str = "bs", code: Any = codes.POST, accept: int | None = None, query: tuple[str, ...] = ()
    ) -> Message:
        message = Message(code=code, _mtype=types.CON, _token=b"b%d" % self._mid)
        message.opt.uri_path = (path,)
        message.opt.uri_query = (f"ep={self.name}", *query)
        if accept is not None:
            message.opt.accept = accept
        return self.send(message)

    async def request(self, path: str = "bs", **more: Any) -> Message:
        """A Bootstrap-Request and its answer."""
        sent = self.ask(path, **more)
        while True:
            answer = await self.next()
            if answer.token == sent.token:
                if answer.mtype is types.CON:
                    self.send(Message(code=codes.EMPTY, _mtype=types.ACK, _mid=answer.mid))
                return answer
            assert answer.code is codes.EMPTY or not answer.code.is_response(), answer

    def answer(self, request: Message, code: Any, payload: bytes = b"", content_format: int = 40) -> None:
        reply = Message(code=code, payload=payload, _mtype=types.ACK, _mid=request.mid, _token=request.token)
        if payload and code.is_successful():
            reply.opt.content_format = content_format
        self.send(reply)

    async def play(
        self, links: bytes = LINKS, answers: Mapping[str, Any] | None = None, last: str = "POST /bs"
    ) -> list[str]:
        """Do what is asked until ``last`` was answered; what was asked, like "PUT /0/1".

        ``answers`` gives a code, or a code and a payload, for what is to be answered otherwise; a list has
        one for each time.
        """
        asked: list[str] = []
        usual = {
            codes.GET: (codes.CONTENT, links),
            codes.PUT: (codes.CHANGED, b""),
            codes.DELETE: (codes.DELETED, b""),
            codes.POST: (codes.CHANGED, b""),
        }
        while True:
            request = await self.next()
            what = named(request)
            asked.append(what)
            given = (answers or {}).get(what)
            if isinstance(given, list):
                given = given.pop(0) if given else None
            code, payload = given if isinstance(given, tuple) else (given or usual[request.code][0], None)
            self.answer(request, code, usual[request.code][1] if payload is None else payload)
            if what == last:
                return asked


def named(request: Message) -> str:
    """ "PUT /0/1"."""
    return f"{request.code.name} /{'/'.join(request.opt.uri_path)}"


def written(request: Message) -> dict[str, Any]:
    """The values of a Bootstrap-Write."""
    base = Path.parse("/" + "/".join(request.opt.uri_path))
    reports = decode(int(request.opt.content_format), request.payload, base, MODEL)
    return {str(report.path): report.value for report in reports}
