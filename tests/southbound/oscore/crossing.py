"""Our side of OSCORE without sockets, and a device whose cryptography is aiocoap's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from aiocoap import Message, oscore
from aiocoap.message import Direction
from aiocoap.numbers import codes, types

from appliance.coap.endpoint import Endpoint, Event, RequestReceived
from appliance.coap.transmission import Transmission
from appliance.southbound.oscore.context import LiveContexts
from appliance.southbound.oscore.keys import ContextMaterial
from appliance.southbound.oscore.layer import Oscore
from appliance.southbound.oscore.peer import OscorePeer

HOME = "192.0.2.7:5683"
MATERIAL = ContextMaterial("oscore:0a", bytes(range(16)), b"salt", sender_id=b"\x0b", recipient_id=b"\x0a")


class Shelf:
    """What outlives a restart, in memory. ``slow``: nothing is on disk before `commit`."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.tokens: dict[bytes, str] = {}
        self.saves = 0
        self.slow = False
        self._pending: list[tuple[str, str, Callable[[], None]]] = []

    def load(self, identity: str) -> str | None:
        return self.states.get(identity)

    def save(self, identity: str, state: str, then: Callable[[], None]) -> None:
        self.saves += 1
        self._pending.append((identity, state, then))
        if not self.slow:
            self.commit()

    def commit(self) -> None:
        while self._pending:
            identity, state, then = self._pending.pop(0)
            self.states[identity] = state
            then()

    def lose_power(self) -> None:
        """What was not yet on disk is gone."""
        self._pending.clear()

    def save_observation(self, token: bytes, state: str | None) -> None:
        if state is None:
            self.tokens.pop(token, None)
        else:
            self.tokens[token] = state

    def observations(self) -> dict[bytes, str]:
        return dict(self.tokens)


class Book:
    """The contexts there are."""

    def __init__(self, *materials: ContextMaterial) -> None:
        self.materials = list(materials)

    def find(self, kid: bytes, kid_context: bytes | None) -> ContextMaterial | None:
        for material in self.materials:
            if material.recipient_id == kid and kid_context in (None, material.id_context):
                return material
        return None

    def refusal(self, kid: bytes, kid_context: bytes | None) -> tuple[str, str]:
        context = "" if kid_context is None else f"/{kid_context.hex()}"
        return f"kid {kid.hex()}{context}", "No device has this Sender ID."


class Gateway:
    """A CoAP machine behind OSCORE."""

    def __init__(
        self,
        *materials: ContextMaterial,
        shelf: Shelf | None = None,
        generation: int = 0,
        reliable: bool = False,
    ) -> None:
        self.shelf = shelf or Shelf()
        self.book = Book(*(materials or (MATERIAL,)))
        self.failures: list[tuple[str, str, str]] = []
        self.woken = 0
        self.now = 1000.0
        self.live = LiveContexts(
            self.book,
            self.shelf,
            generation=lambda identity: generation,
            failed=lambda *told: self.failures.append(told),
        )
        self.oscore = Oscore(self.live, reliable=reliable, wake=self._wake)
        self.endpoint = Endpoint(Transmission())
        self.events: list[Event] = []

    def _wake(self) -> None:
        self.woken += 1

    def receive(self, data: bytes, peer: Any = HOME) -> list[Event]:
        """One datagram in; what came of it."""
        events: list[Event] = []
        for message, above in self.oscore.receive(data, peer, self.now):
            events += self.endpoint.receive_datagram(message, above, self.now)
        return events

    def late(self) -> list[Event]:
        """What had waited for the disk."""
        events: list[Event] = []
        for message, above in self.oscore.take_opened():
            events += self.endpoint.receive_datagram(message, above, self.now)
        return events

    def take(self) -> list[tuple[bytes, Any]]:
        """What goes onto the wire."""
        for data, peer in self.endpoint.take_datagrams():
            assert type(peer) is OscorePeer, peer
            self.oscore.send(data, peer, self.now)
        return self.oscore.take_datagrams()

    def take_one(self) -> bytes:
        ((data, _),) = self.take()
        return data

    def ask(self, path: str, peer: OscorePeer, code: int = 1, **more: Any) -> int:
        """A request to the device."""
        options = [(11, segment.encode()) for segment in path.split("/")]
        return self.endpoint.send_request(
            peer, code, options, now=self.now, deadline=self.now + 60, key="k", **more
        )

    def answer(self, event: Event, code: int = 0x44, payload: bytes = b"") -> bytes:
        assert isinstance(event, RequestReceived), event
        self.endpoint.respond(event, code, payload, now=self.now)
        return self.take_one()


class DeviceContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]
    """aiocoap's context for the device's side of ours. ``lost``: it does not know its replay window."""

    def __init__(self, material: ContextMaterial = MATERIAL, *, lost: bool = False) -> None:
        names = {one.value: one for one in oscore.algorithms.values()}
        self.alg_aead = names[material.aead]
        self.hashfun = oscore.hashfunctions["sha512" if material.hkdf in (-11, 7) else "sha256"]
        self.sender_id, self.recipient_id = material.recipient_id, material.sender_id
        self.id_context = material.id_context
        self.sender_sequence_number = 0
        self.derive_keys(material.master_salt, material.master_secret)
        self.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
        self.echo_recovery = os.urandom(8) if lost else None
        if not lost:
            self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        pass


class Device:
    """What a device says, sealed by aiocoap, and what it understands."""

    def __init__(self, material: ContextMaterial = MATERIAL, *, lost: bool = False) -> None:
        self.context = DeviceContext(material, lost=lost)
        self._mid = 7000
        self.bound: dict[bytes, Any] = {}  # by token: what answers to our requests are bound to

    def request(
        self, code: Any, path: str, payload: bytes = b"", *, kind: Any = types.CON, **options: Any
    ) -> bytes:
        message = Message(code=code, payload=payload)
        message.opt.uri_path = tuple(path.split("/"))
        for name, value in options.items():
            setattr(message.opt, name, value)
        sealed, bound = self.context.protect(message)
        self._mid += 1
        sealed.mid, sealed.mtype, sealed.token = self._mid, kind, os.urandom(4)
        self.bound[sealed.token] = bound
        data: bytes = sealed.encode()
        return data

    def understand(self, data: bytes) -> Message:
        """An answer of the gateway, opened."""
        sealed = Message.decode(data, None)
        sealed.direction = Direction.INCOMING
        assert sealed.opt.oscore is not None, sealed
        opened, _ = self.context.unprotect(sealed, self.bound[sealed.token])
        opened.mid, opened.mtype, opened.token = sealed.mid, sealed.mtype, sealed.token
        return opened

    def asked(self, data: bytes) -> tuple[Message, Any]:
        """A request of the gateway, opened, and what its answers are bound to."""
        sealed = Message.decode(data, None)
        sealed.direction = Direction.INCOMING
        opened, bound = self.context.unprotect(sealed)
        opened.mid, opened.mtype, opened.token = sealed.mid, sealed.mtype, sealed.token
        return opened, bound

    def challenge(self, data: bytes) -> bytes:
        """The 4.01 with Echo to a request of the gateway."""
        sealed = Message.decode(data, None)
        sealed.direction = Direction.INCOMING
        try:
            self.context.unprotect(sealed)
        except oscore.ReplayErrorWithEcho as error:
            answer = error.to_message()
            answer.mid, answer.mtype, answer.token = sealed.mid, types.ACK, sealed.token
            encoded: bytes = answer.encode()
            return encoded
        raise AssertionError("the device had no question")

    def answer(
        self,
        request: Message,
        bound: Any,
        code: Any = codes.CONTENT,
        payload: bytes = b"",
        *,
        kind: Any = types.ACK,
        **options: Any,
    ) -> bytes:
        """An answer or a notification."""
        message = Message(code=code, payload=payload)
        for name, value in options.items():
            setattr(message.opt, name, value)
        sealed, _ = self.context.protect(message, bound)
        self._mid += 1
        sealed.mid = request.mid if kind is types.ACK else self._mid
        sealed.mtype, sealed.token = kind, request.token
        data: bytes = sealed.encode()
        return data


def plain(data: bytes) -> Message:
    """An unprotected answer."""
    message = Message.decode(data, None)
    assert message.opt.oscore is None
    return message


def meet(gateway: Gateway, device: Device, peer: Any = HOME) -> OscorePeer:
    """The first contact, with its Echo; the device as the gateway knows it."""
    challenge = device.understand(answer_of(gateway, device.request(codes.POST, "rd"), peer))
    assert challenge.code == codes.UNAUTHORIZED
    (event,) = gateway.receive(device.request(codes.POST, "rd", echo=challenge.opt.echo), peer)
    assert isinstance(event, RequestReceived)
    assert device.understand(gateway.answer(event, 0x41)).code == codes.CREATED
    met: OscorePeer = event.peer
    return met


def answer_of(gateway: Gateway, data: bytes, peer: Any = HOME) -> bytes:
    """What the gateway says to something that nobody above hears of."""
    assert gateway.receive(data, peer) == []
    ((answer, to),) = gateway.take()
    assert to == peer
    return answer


def state_of(shelf: Shelf, identity: str = MATERIAL.identity) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(shelf.states[identity])
    return state


__all__: Sequence[str] = (
    "HOME", "MATERIAL", "Book", "Device", "DeviceContext", "Gateway", "Shelf", "answer_of", "meet", "plain",
    "state_of",
)  # fmt: skip
