"""The devices room on a real database and a real CoAP machine, without sockets and without waiting.

The clock stands until a test moves it, and a commit happens when a test says so.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from pathlib import Path as File
from types import SimpleNamespace
from typing import Any

from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.broker.broker import Broker
from appliance.broker.entities import JournalRow
from appliance.devices.admission import Admission
from appliance.devices.console import Devices
from appliance.devices.gateway import Gateways
from appliance.devices.identity_use import IdentityUse
from appliance.devices.observations import Observations
from appliance.devices.presence import Presence
from appliance.devices.profiles import Profiles
from appliance.devices.registry import Registration, Registry
from appliance.devices.settings import DevicesSettings
from appliance.devices.strangers import Strangers
from appliance.devices.tasks import Tasks
from appliance.devices.templates import Templates
from appliance.devices.translation import Translation
from appliance.devices.uplink import DeviceUplink
from appliance.devices.wishes import Wishes
from appliance.lwm2m.definitions import Definitions
from appliance.southbound.server import LwM2MServer
from appliance.southbound.settings import CoapSettings
from appliance.southbound.udp import UdpPeer
from appliance.storage.database import Database
from appliance.storage.settings import StorageSettings

SENSOR = "/3303/0/5700"
EPOCH = 1.8e9


def peer(port: int, host: str = "192.0.2.1") -> UdpPeer:
    return UdpPeer(socket.AF_INET, (host, port), b"")


class KeyRing:
    """What admission asks the vault, written down by the test."""

    def __init__(self) -> None:
        self.devices: dict[str, SimpleNamespace] = {}
        self.identities: dict[str, SimpleNamespace] = {}

    def add(self, endpoint_name: str, *identities: str, nosec: bool = False, **more: Any) -> None:
        """A device with a credential for each identity."""
        credentials = []
        for identity in identities:
            facts = {"purpose": "server", "state": "active", "reason": "", "expires_at": None, **more}
            credential = SimpleNamespace(identity=identity, endpoint_name=endpoint_name, **facts)
            self.identities[identity] = credential
            credentials.append(credential)
        self.devices[endpoint_name] = SimpleNamespace(
            endpoint_name=endpoint_name, nosec=nosec, blocked=False, credentials=tuple(credentials)
        )

    def device(self, endpoint_name: str) -> SimpleNamespace | None:
        return self.devices.get(endpoint_name)

    def by_identity(self, identity: str, purpose: str | None = None) -> SimpleNamespace | None:
        return self.identities.get(identity)


class Room:
    """The house up to the devices room. ``sent`` is what left, decoded by a stranger."""

    def __init__(self, state: File, **settings: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.now = 1000.0
        self.settings = DevicesSettings(**{"observe_paths": (), **settings})
        self.state = state
        self.sent: list[tuple[Message, UdpPeer]] = []
        self._mid = 0
        self.open()

    def open(self) -> None:
        """Build it, as composition does."""
        self.database = Database(self.state / "homard.sqlite", StorageSettings())
        self.database.open(None)
        self.broker = Broker(self.database, lambda: int(self.wall() * 1000))
        self.definitions = Definitions.registered()
        self.server = LwM2MServer(CoapSettings(port=0), self.definitions, self.loop, self.wall)
        self.loop.time = lambda: self.now  # type: ignore[method-assign]
        self.server.bearer.transmit = self._transmit  # type: ignore[method-assign]
        self.registry = Registry(self.database, self.server, self.settings.expiry_grace_s)
        self.translation = Translation(self.broker, self.wall)
        self.templates = Templates(self.state)
        self.observations = Observations(
            self.settings,
            self.database,
            self.server,
            self.registry,
            Wishes(self.settings, self.database, self.templates),
            lambda: self.now,
            lambda *answer: self.uplink.answered(*answer),
            lambda _, call: call(),
        )
        self.gateways = Gateways(
            self.settings, self.server, self.registry, self.observations, self.translation, self.wall
        )
        self.profiles = Profiles(self.state)
        self.strangers = Strangers(self.database, self.wall)
        self.uses = IdentityUse(self.database, self.wall)
        self.vault = KeyRing()
        self.promoted: list[str] = []
        self.nosec = {"UDP": "everyone", "TCP": "everyone"}
        self.admission = Admission(
            self.vault,  # type: ignore[arg-type]
            self.strangers,
            self.uses,
            self.nosec,
            self.wall,
            self.promoted.append,
        )
        self.uplink = DeviceUplink(
            self.settings,
            self.server,
            self.registry,
            self.observations,
            self.translation,
            self.gateways,
            self.profiles,
            self.admission,
            lambda: self.now,
            self.wall,
        )
        self.presence = Presence(self.settings, self.database, lambda: self.now)
        self.presence.slept, self.presence.woke = self.translation.slept, self.translation.woke
        self.tasks = Tasks(
            self.settings,
            self.database,
            self.server,
            self.registry,
            self.presence,
            self.wall,
            lambda *ended: self.devices.record(*ended),
            lambda task: self.devices.task_turned(task),
        )
        self.uplink.contact, self.uplink.left = self._contact, self.tasks.left
        self.observations.may_ask = self.presence.listens
        self.devices = Devices(
            self.settings,
            self.server,
            self.definitions,
            self.registry,
            self.observations,
            self.translation,
            lambda: self.now,
            lambda *_: None,
            self.database.flush,
            self.templates,
            self.tasks,
            self.presence,
            self.gateways,
            self.profiles,
        )
        self.server._uplink = self.uplink
        self.registry.load(self.now, self.translation.last_heard())
        self.observations.load({})
        self.presence.load()
        self.tasks.load()

    def _contact(self, registration: Registration) -> None:
        self.presence.heard(registration)
        self.tasks.contact(registration)

    def close(self) -> None:
        self.broker.stop()
        self.database.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def wall(self) -> float:
        return EPOCH + self.now

    def _transmit(self, data: bytes, to: UdpPeer) -> None:
        self.sent.append((Message.decode(data, None), to))

    def settle(self) -> list[Message]:
        """Commit and transmit until nothing moves; what left meanwhile."""
        before = -1
        while before != len(self.sent):
            before = len(self.sent)
            self.database.flush()
            self.server._pump()
        left, self.sent = [message for message, _ in self.sent], []
        return left

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def journal(self, kind: str = "") -> list[JournalRow]:
        self.database.flush()
        return [row for row in self.broker.read_after(0, 10_000) if not kind or row.kind == kind]

    def registration(self, name: str) -> Registration:
        found = self.registry.named(name)
        assert found is not None
        return found

    def device(self, name: str, port: int = 1000) -> Device:
        return Device(self, name, port)


class Device:
    """A device that sends what it is told to, from the address it is told to."""

    def __init__(self, room: Room, name: str, port: int) -> None:
        self.room = room
        self.name = name
        self.peer = peer(port)
        self.location: tuple[str, ...] = ()
        self._mid = port

    def post(self, path: tuple[str, ...], query: tuple[str, ...], payload: bytes = b"") -> list[Message]:
        return self.settled(self.said(codes.POST, path, query, payload))

    def said(
        self, code: Any, path: tuple[str, ...], query: tuple[str, ...] = (), payload: bytes = b""
    ) -> Message:
        """Send a confirmable request, and commit nothing yet."""
        message = Message(code=code, payload=payload, _mtype=types.CON, _token=b"t")
        message.opt.uri_path = path
        message.opt.uri_query = query
        if payload:
            message.opt.content_format = 40
        return self.send(message)

    def send(self, message: Message) -> Message:
        if message.mid is None:
            self._mid += 1
            message.mid = self._mid
        self.room.server._receive(message.encode(), self.peer, self.room.now)
        return message

    def settled(self, request: Message) -> list[Message]:
        left = self.room.settle()
        for message in left:
            if message.mid == request.mid and message.opt.location_path:
                self.location = message.opt.location_path
        return left

    def register(self, links: bytes = b"</1/0>,</3303/0>", lifetime_s: int = 300) -> list[Message]:
        """The answer and the requests after it."""
        query = (f"ep={self.name}", f"lt={lifetime_s}", "lwm2m=1.1", "b=U")
        left = self.post(("rd",), query, links)
        assert left[0].code == codes.CREATED, left
        return left

    def update(self, *query: str, links: bytes = b"") -> list[Message]:
        left = self.post(self.location, query, links)
        assert left[0].code == codes.CHANGED, left
        return left

    def answer(
        self, request: Message, code: Any = codes.CONTENT, payload: bytes = b"", observe: int | None = None
    ) -> list[Message]:
        """Answer a request; what the room says to that."""
        reply = Message(code=code, payload=payload, _mtype=types.ACK, _mid=request.mid, _token=request.token)
        if payload:
            reply.opt.content_format = 0
        if observe is not None:
            reply.opt.observe = observe
        self.send(reply)
        return self.room.settle()

    def notify(self, token: bytes, payload: bytes, number: int) -> list[Message]:
        message = Message(code=codes.CONTENT, payload=payload, _mtype=types.CON, _token=token)
        message.opt.observe = number
        message.opt.content_format = 0
        self.send(message)
        return self.room.settle()


def path_of(request: Message) -> str:
    return "/" + "/".join(request.opt.uri_path)
