"""A client that begins with a bootstrap account and nothing else, over UDP, under DTLS or OSCORE.

It shares no protocol code with the server: messages are coded and OSCORE is done by aiocoap, DTLS by the
tests' own client, and its object store by the few lines here, in TLV.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import aiocoap
from aiocoap.message import Direction
from aiocoap.numbers import codes, types

from tests.southbound.dtls.client import Client as DtlsClient
from tests.southbound.oscore.crossing import DeviceContext

TLV, LINK = 11542, 40
PATIENCE_S = 20.0

Ids = tuple[int, ...]


class Wire:
    """Datagrams to one port of the server and back."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    def receive(self) -> bytes:
        return self.socket.recv(65535)

    def close(self) -> None:
        self.socket.close()


class DtlsWire(Wire):
    """The same inside a DTLS session; ``how`` is that of the tests' client. OSError: it was not let in."""

    def __init__(
        self, port: int, patience_s: float = PATIENCE_S, kind: type[DtlsClient] = DtlsClient, **how: Any
    ) -> None:
        super().__init__(port)
        self.socket.settimeout(patience_s)
        self.dtls = kind(**how)
        self.dtls.hello()
        deadline = time.monotonic() + PATIENCE_S
        while not self.dtls.done:
            self._flush()
            self.dtls.receive(self.socket.recv(65535))
            if self.dtls.alerts:
                self.close()
                raise PermissionError(self.dtls.alerts)
            assert time.monotonic() < deadline
        self._flush()

    def _flush(self) -> None:
        for datagram in self.dtls.take():
            self.socket.send(datagram)

    def send(self, data: bytes) -> None:
        self.dtls.send(data)
        self._flush()

    def receive(self) -> bytes:
        while not self.dtls.received:
            self.dtls.receive(self.socket.recv(65535))
        return self.dtls.received.pop(0)


class OscoreWire(Wire):
    """The same under OSCORE, by aiocoap; an Echo that the server wants is given."""

    def __init__(self, port: int, context: DeviceContext) -> None:
        super().__init__(port)
        self._context = context
        self._bound: dict[bytes, Any] = {}
        self._asked = b""

    def send(self, data: bytes) -> None:
        message = aiocoap.Message.decode(data, None)
        if message.code is codes.EMPTY:
            super().send(data)
            return
        if message.code.is_request():
            self._asked = data
        self._send(message)

    def _send(self, message: aiocoap.Message, echo: bytes | None = None) -> None:
        message.direction = Direction.OUTGOING
        message.opt.echo = echo
        asks = message.code.is_request()
        sealed, bound = self._context.protect(message, None if asks else self._bound[message.token])
        if asks:
            self._bound[message.token] = bound
        sealed.mid, sealed.mtype, sealed.token = message.mid, message.mtype, message.token
        super().send(sealed.encode())

    def receive(self) -> bytes:
        while True:
            data = super().receive()
            sealed = aiocoap.Message.decode(data, None)
            if sealed.code is codes.EMPTY:
                return data
            assert sealed.opt.oscore is not None, f"it came without protection: {sealed!r}"
            sealed.direction = Direction.INCOMING
            asks = sealed.code.is_request()
            opened, bound = self._context.unprotect(sealed, None if asks else self._bound[sealed.token])
            if asks:
                self._bound[sealed.token] = bound
            if opened.code is codes.UNAUTHORIZED and opened.opt.echo is not None:
                again = aiocoap.Message.decode(self._asked, None)
                again.mid = again.mid + 0x4000 & 0xFFFF
                self._send(again, opened.opt.echo)
                continue
            opened.mid, opened.mtype, opened.token = sealed.mid, sealed.mtype, sealed.token
            opened.direction = Direction.OUTGOING  # else aiocoap does not write it down
            plain: bytes = opened.encode()
            return plain


def elements(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, id and content of the TLV elements of one level (Core §7.4.3)."""
    at = 0
    while at < len(data):
        head = data[at]
        wide = 2 if head & 0x20 else 1
        number = int.from_bytes(data[at + 1 : at + 1 + wide], "big")
        at += 1 + wide
        lengths = head >> 3 & 3
        size = int.from_bytes(data[at : at + lengths], "big") if lengths else head & 7
        at += lengths
        yield head >> 6, number, data[at : at + size]
        at += size


def element(kind: int, number: int, content: bytes) -> bytes:
    head = kind << 6 | (0x20 if number > 255 else 0) | 0x10
    return (
        bytes((head,))
        + number.to_bytes(2 if number > 255 else 1, "big")
        + len(content).to_bytes(2, "big")
        + content
    )


def ids(request: aiocoap.Message) -> Ids:
    return tuple(int(part) for part in request.opt.uri_path)


class Bootstrapping:
    """The client. ``objects`` holds raw values by object, instance, and resource (instance) ids."""

    def __init__(self, name: str, account: int = 0, version: str = "1.1") -> None:
        self.name = name
        self.account = account
        self.version = version
        self.objects: dict[tuple[int, int], dict[Ids, bytes]] = {(0, account): {(1,): b"\1"}, (3, 0): {}}
        self.heard: list[str] = []
        self.finishes: list[Any] = []  # codes to answer Finish with, one for each time; then by what it has
        self.refuses: Callable[[str], Any] = lambda _: None  # a code for what it refuses, like "PUT /0/1"
        self._blocks = b""
        self._answered: dict[tuple[Wire, int], bytes] = {}
        self._mid = int.from_bytes(os.urandom(2), "big")

    # What it asks

    def exchange(self, wire: Wire, message: aiocoap.Message) -> aiocoap.Message:
        """A request and its answer; requests of the server that come before it are held against us."""
        self._mid = self._mid + 1 & 0xFFFF
        message.mid, message.mtype, message.token = self._mid, types.CON, os.urandom(4)
        wire.send(message.encode())
        while True:
            answer = aiocoap.Message.decode(wire.receive(), None)
            if answer.token == message.token and answer.code is not codes.EMPTY:
                if answer.mtype is types.CON:
                    wire.send(aiocoap.Message(code=codes.EMPTY, _mtype=types.ACK, _mid=answer.mid).encode())
                return answer
            if not answer.code.is_request() or not self._has_answered(wire, answer):
                assert answer.code is codes.EMPTY, f"something else came first: {answer!r}"

    def ask(
        self, wire: Wire, code: Any, path: str, query: Sequence[str] = (), **more: Any
    ) -> aiocoap.Message:
        """One request."""
        message = aiocoap.Message(code=code, payload=more.get("payload", b""))
        message.opt.uri_path, message.opt.uri_query = tuple(path.split("/")), tuple(query)
        message.opt.content_format, message.opt.accept = more.get("content_format"), more.get("accept")
        return self.exchange(wire, message)

    def bootstrap(self, wire: Wire, *query: str, expect: Any = codes.CHANGED) -> list[str]:
        """A whole bootstrap up to its answer to Finish; what was asked of it, like "PUT /0/1"."""
        answer = self.ask(wire, codes.POST, "bs", (f"ep={self.name}", "pct=11542", *query))
        assert answer.code == expect, (answer.code, answer.payload)
        self.heard.clear()
        while answer.code == codes.CHANGED and self.serve(wire) is None:
            pass
        return self.heard

    def register(self, wire: Wire, *, queue_mode: bool = False) -> tuple[str, ...]:
        """Register with what the server account says; the location."""
        lifetime = next(
            (int.from_bytes(found[(1,)], "big") for path, found in self.objects.items() if path[0] == 1), 300
        )
        queue = ("Q",) if queue_mode else ()
        query = (f"ep={self.name}", f"lt={lifetime}", f"lwm2m={self.version}", "b=U", *queue)
        links = ",".join(f"</{path[0]}/{path[1]}>" for path in sorted(self.objects) if path[0] not in (0, 21))
        answer = self.ask(wire, codes.POST, "rd", query, payload=links.encode(), content_format=LINK)
        assert answer.code == codes.CREATED, (answer.code, answer.payload)
        location: tuple[str, ...] = answer.opt.location_path
        return location

    # What it is asked

    def serve(self, wire: Wire) -> Any:
        """Answer one request; the code of the answer if that was a Finish."""
        while True:
            request = aiocoap.Message.decode(wire.receive(), None)
            if request.code.is_request() and not self._has_answered(wire, request):
                break
        what = f"{request.code.name} /{'/'.join(request.opt.uri_path)}"
        block = request.opt.block1
        if block is not None:  # RFC 7959 §2.5; the blocks of a body come in order over a wire without loss
            self._blocks = request.payload if block.block_number == 0 else self._blocks + request.payload
            request.payload = self._blocks
        if block is not None and block.more:
            self._reply(wire, request, codes.CONTINUE, block1=block)
            return None
        self.heard.append(what)
        code, content_format, payload = self.refuses(what), None, b""
        if code is None:
            code, content_format, payload = self._carry_out(request)
        self._reply(wire, request, code, payload, content_format=content_format, block1=block)
        return code if what == "POST /bs" else None

    def _has_answered(self, wire: Wire, request: aiocoap.Message) -> bool:
        """Whether this is a repetition; then the answer is repeated too (RFC 7252 §4.2)."""
        answer = self._answered.get((wire, request.mid))
        if answer is not None:
            wire.send(answer)
        return answer is not None

    def _reply(
        self, wire: Wire, request: aiocoap.Message, code: Any, payload: bytes = b"", **options: Any
    ) -> None:
        answer = aiocoap.Message(
            code=code, payload=payload, _mtype=types.ACK, _mid=request.mid, _token=request.token
        )
        for name, value in options.items():
            setattr(answer.opt, name, value)
        self._answered[wire, request.mid] = answer.encode()
        wire.send(self._answered[wire, request.mid])

    def _carry_out(self, request: aiocoap.Message) -> tuple[Any, int | None, bytes]:
        if request.code == codes.POST:
            assert request.opt.uri_path == ("bs",), request
            assert request.payload == b""
            code = self.finishes.pop(0) if self.finishes else None
            return code or (codes.CHANGED if self.is_consistent() else codes.NOT_ACCEPTABLE), None, b""
        path = ids(request)
        if request.code == codes.DELETE:
            for known in list(self.objects):
                # Core §6.1.7.6: the bootstrap account stays, and the device object.
                if known[: len(path)] == path and known not in ((0, self.account), (3, 0)):
                    del self.objects[known]
            return codes.DELETED, None, b""
        if request.code == codes.GET and request.opt.accept == LINK:
            return codes.CONTENT, LINK, self.discover(path).encode()
        if request.code == codes.GET:
            assert path[0] in (1, 2), f"nothing else may be read: {path}"
            return codes.CONTENT, TLV, self._read(path)
        assert request.code == codes.PUT
        if request.opt.content_format != TLV:
            return codes.UNSUPPORTED_CONTENT_FORMAT, None, b""
        return self._write(path, request.payload), None, b""

    def _write(self, path: Ids, payload: bytes) -> Any:
        if len(path) == 3:
            instance = self.objects.setdefault((path[0], path[1]), {})
            for _, number, content in elements(payload):
                instance[(number,)] = content
            return codes.CHANGED
        content = [(path[1], payload)] if len(path) == 2 else [(n, c) for _, n, c in elements(payload)]
        for number, body in content:
            if (path[0], number) == (0, self.account):
                raise AssertionError("the bootstrap account was written to")
            found: dict[Ids, bytes] = {}
            for kind, resource, value in elements(body):
                if kind == 2:
                    found |= {(resource, inner): one for _, inner, one in elements(value)}
                else:
                    found[(resource,)] = value
            self.objects[(path[0], number)] = found
        return codes.CHANGED

    def _read(self, path: Ids) -> bytes:
        out = b""
        for known, values in sorted(self.objects.items()):
            if known[: len(path)] != path:
                continue
            content, several = b"", {}
            for resource, value in sorted(values.items()):
                if len(resource) == 1:
                    content += element(3, resource[0], value)
                else:
                    several.setdefault(resource[0], b"")
                    several[resource[0]] += element(1, resource[1], value)
            content += b"".join(element(2, number, inner) for number, inner in several.items())
            out += element(0, known[1], content) if len(path) == 1 else content
        return out

    def discover(self, path: Ids) -> str:
        """What it has, in the form of its version (Core §6.1.7.3)."""
        head = f'lwm2m="{self.version}"' if self.version == "1.0" else f"</>;lwm2m={self.version}"
        links = [head]
        for known, values in sorted(self.objects.items()):
            if known[: len(path)] == path:
                shown = f"</{known[0]}/{known[1]}>"
                owner = values.get({0: (10,), 1: (0,)}.get(known[0], ()))
                if known[0] == 21:
                    link = b"".join(number.to_bytes(2, "big") for number in known)
                    using = (one for one in self.objects.values() if one.get((17,)) == link)
                    owner = next((one.get((10,)) for one in using), None)
                links.append(shown + (f";ssid={int.from_bytes(owner, 'big')}" if owner else ""))
        return ",".join(links)

    # What it has

    def value(self, path: str) -> bytes:
        """The raw value of a resource, or of a resource instance."""
        numbers = tuple(int(part) for part in path.split("/") if part)
        return self.objects[(numbers[0], numbers[1])][numbers[2:]]

    def is_consistent(self) -> bool:
        """Whether each server has both its halves (what Core §6.1.7.2 wants checked at Finish)."""
        securities = {
            values.get((10,))
            for path, values in self.objects.items()
            if path[0] == 0 and path[1] != self.account
        }
        servers = {values.get((0,)) for path, values in self.objects.items() if path[0] == 1}
        return bool(servers) and securities == servers and None not in servers
