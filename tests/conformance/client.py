"""The LwM2M client of the interoperability cases: it answers what it is asked, and keeps what it heard.

It does nothing by itself: while the API is asked, the test's thread plays the device. Its objects,
attributes and payloads are those of the simulator, which shares no protocol code with the server; what goes
over the wire is kept in ``heard`` for the test to judge.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlsplit

import aiocoap
from aiocoap.numbers import codes, types

from appliance.simulator import composite, payloads
from appliance.simulator.attributes import AttributeRefused, AttributeStore
from appliance.simulator.objects import read_objects
from appliance.simulator.payloads import LINK, Path
from appliance.simulator.tree import NOT_ALLOWED, NOT_FOUND, ObjectTree, Refused, slashed
from tests.house import Asking, House, LockstepDevice, LockstepStream

SPOKEN = (0, 42, 60, 110, 112, 11542, 11543)
ROOT = '</>;rt="oma.lwm2m";ct="60 110 112 11542 11543"'


def path_of(request: aiocoap.Message) -> str:
    """The Uri-Path as text."""
    return "/" + "/".join(request.opt.uri_path)


def ids(text: str) -> Path:
    """ "/3/0/1" as (3, 0, 1)."""
    return tuple(int(part) for part in text.split("/") if part)


def shown(outcome: dict[str, Any]) -> dict[str, Any]:
    """The values of an outcome by path."""
    return {value["path"]: value["value"] for value in outcome["values"]}


class Observed:
    """One observation that the server asked for."""

    def __init__(self, token: bytes, paths: list[Path], content_format: int, *, several: bool) -> None:
        self.token = token
        self.paths = paths
        self.content_format = content_format
        self.several = several
        self.number = 1


class Client(LockstepDevice):
    """A client with the objects of ``objects.toml`` and a lifetime of a day."""

    def __init__(self, house: House, name: str, version: str = "1.1") -> None:
        super().__init__(house, name)
        kinds = read_objects(FilePath(__file__).with_name("objects.toml"))
        listed = (1, 3, 4, 5, 6, 7, 10, 11, 12, 13, 16, 19, 20)
        self.tree = ObjectTree({number: kinds[number] for number in listed})
        self.attributes = AttributeStore()
        self.version = version
        self.heard: list[aiocoap.Message] = []
        self.observed: dict[bytes, Observed] = {}
        self._blocks = b""
        self.refuses: set[str] = set()  # paths whose requests get 4.05
        self.prefers: int | None = None  # answers in this format, whatever is asked for

    # --- the registration interface

    def links(self) -> str:
        """The object list of Register."""
        root = "" if self.version == "1.0" else ROOT + ","
        return root + ",".join(self.tree.registered_links())

    def register(  # type: ignore[override]
        self,
        links: str | None = None,
        *,
        lifetime_s: int = 86400,
        binding: str = "b=U",
        query: Sequence[str] = (),
        expect: Any = codes.CREATED,
    ) -> aiocoap.Message:
        """Register with every object, or with ``links``."""
        body = self.links() if links is None else links
        parameters = (f"ep={self.name}", f"lt={lifetime_s}", f"lwm2m={self.version}", binding, *query)
        answer = self.request(codes.POST, ("rd",), parameters, body.encode(), LINK if body else None)
        assert answer.code == expect, (answer.code, answer.payload)
        if answer.code == codes.CREATED:
            self.location = answer.opt.location_path
            self.observed.clear()
        return answer

    def update_objects(self) -> None:
        """An Update with the whole object list."""
        answer = self.request(codes.POST, self.location, (), self.links().encode(), LINK)
        assert answer.code == codes.CHANGED, answer

    def row(self) -> dict[str, Any]:
        """What the API says of this device."""
        status, device = self.house.api("GET", f"/devices/{self.name}")
        assert status == 200, device
        return dict(device)

    # --- what is asked of the server

    def operate(self, operation: str, path: str | None = None, **more: Any) -> dict[str, Any]:
        """One operation through the API while this client answers: the outcome."""
        body = {"operation": operation, **more}
        if path is not None:
            body["path"] = path
        status, outcome = self.ask("POST", "operations", body)
        assert status == 200, (status, outcome)
        return dict(outcome)

    def ask(self, method: str, what: str, body: object = None) -> tuple[int, Any]:
        """One request of the API about this device, answering meanwhile; ``heard`` starts anew."""
        self.heard.clear()
        return self.play(self.house.asking(method, f"/devices/{self.name}/{what}", body))

    def observe(self, path: str, **attributes: Any) -> dict[str, Any]:
        """Have a path observed; its outcome."""
        body = {"attributes": attributes} if attributes else None
        status, outcome = self.ask("PUT", f"observations?path={path}", body)
        assert status == 200, outcome
        return dict(outcome)

    def play(self, asking: Asking) -> tuple[int, Any]:
        """Answer the server until the API has answered."""
        ours, theirs = socket.socketpair()

        def wake() -> None:
            asking.join()
            theirs.close()

        threading.Thread(target=wake, daemon=True).start()
        with ours:
            while True:
                ready, _, _ = select.select([ours, self.socket], [], [], 90)
                if self.socket in ready:
                    self._take(self.receive())
                    while self.buffered():
                        self._take(self.receive())
                elif ready:
                    return asking.answer()
                assert ready, "neither the server nor the API said anything"

    def serve(self) -> aiocoap.Message:
        """Wait for one request of the server and answer it."""
        while True:
            message = self.receive()
            if self._take(message):
                return message

    def exchange(self, message: aiocoap.Message) -> aiocoap.Message:
        """Send a request of ours; what the server asks meanwhile is answered."""
        sent = self.send(message)
        while True:
            answer = self.receive()
            if self._take(answer) or answer.code is codes.EMPTY:
                continue
            assert answer.token == sent.token, answer
            return answer

    def _take(self, message: aiocoap.Message) -> bool:
        if not message.code.is_request():
            return False
        self.heard.append(message)
        self._answer(message)
        return True

    # --- what the server asks of us

    def _answer(self, request: aiocoap.Message) -> None:
        try:
            code, content_format, payload, more = self._carry_out(request)
        except Refused as refused:
            code, content_format, payload, more = _code(refused.code), None, refused.reason.encode(), {}
        except payloads.FormatError:
            code = codes.NOT_ACCEPTABLE if request.code == codes.GET else codes.UNSUPPORTED_CONTENT_FORMAT
            content_format, payload, more = None, b"", {}
        except (payloads.PayloadError, AttributeRefused) as error:
            code, content_format, payload, more = codes.BAD_REQUEST, None, str(error).encode(), {}
        reply = aiocoap.Message(
            code=code, payload=payload, _mtype=types.ACK, _mid=request.mid, _token=request.token
        )
        reply.opt.content_format = content_format
        reply.opt.observe = more.get("observe")
        reply.opt.block1 = request.opt.block1 if code.is_successful() else None
        if "location" in more:
            reply.opt.location_path = more["location"]
        self.send(reply)

    def _carry_out(self, request: aiocoap.Message) -> tuple[Any, int | None, bytes, dict[str, Any]]:
        if (block := request.opt.block1) is not None:
            done = b"" if block.block_number == 0 else self._blocks
            if len(done) != block.start:
                raise Refused((4, 8), "a block is missing")
            self._blocks = done + request.payload
            if block.more:
                return codes.CONTINUE, None, b"", {}
            request.payload = self._blocks
        segments = request.opt.uri_path
        if not all(segment.isdigit() for segment in segments):
            raise Refused(NOT_FOUND, "not a LwM2M path")
        path = tuple(map(int, segments))
        if path_of(request) in self.refuses:
            raise Refused(NOT_ALLOWED, "not now")
        match request.code:
            case codes.GET if request.opt.accept == LINK:
                return codes.CONTENT, LINK, self._discover(path, request.opt.uri_query).encode(), {}
            case codes.GET:
                return self._read(request, path)
            case codes.FETCH:
                return self._fetch(request)
            case codes.iPATCH:
                number = request.opt.content_format
                self.tree.write_all(composite.decode(number, request.payload, self.tree.type_of))
                return codes.CHANGED, None, b"", {}
            case codes.PUT if request.opt.content_format is None and request.opt.uri_query:
                self.tree.links(AttributeStore(), path[:3])
                self.attributes.write(path, request.opt.uri_query)
                return codes.CHANGED, None, b"", {}
            case codes.PUT | codes.POST if len(path) == 2 or request.code == codes.PUT:
                self.tree.write(path, self._written(request, path), replace=request.code == codes.PUT)
                return codes.CHANGED, None, b"", {}
            case codes.POST if len(path) == 1:
                created = self.tree.create(path[0], self._written(request, path))
                return codes.CREATED, None, b"", {"location": tuple(map(str, created))}
            case codes.POST if len(path) == 3:
                self.tree.execute(path)
                return codes.CHANGED, None, b"", {}
            case codes.DELETE if len(path) == 2:
                self.tree.delete(path)
                return codes.DELETED, None, b"", {}
        raise Refused(NOT_ALLOWED, "no such operation here")

    def _discover(self, path: Path, query: Iterable[str]) -> str:
        depths = [int(item[6:]) for item in query if item.startswith("depth=")]
        links = self.tree.links(self.attributes, path).split(",")
        if not depths:
            return ",".join(links)
        shown: list[str] = []
        for link in links:
            target = ids(link[1 : link.index(">")])
            if len(target) == 1 and self.version == "1.2":  # what the Server object gives for all
                link += "".join(
                    f";{name}={self.tree.value((1, 0, number), 0)}"
                    for name, number in (("pmin", 2), ("pmax", 3))
                    if f";{name}=" not in link
                )
            if len(target) - len(path) <= depths[0]:
                shown.append(link)
            node = self.tree.value(target, 0) if len(target) == 3 else 0
            if isinstance(node, dict) and 4 - len(path) <= depths[0]:
                below = ((*target, instance) for instance in node)
                shown += [f"<{slashed(one)}>{self.attributes.link_parameters(one)}" for one in below]
        return ",".join(shown)

    def _read(self, request: aiocoap.Message, path: Path) -> tuple[Any, int | None, bytes, dict[str, Any]]:
        asked = self.prefers if self.prefers is not None else request.opt.accept
        number = 112 if asked is None else int(asked)
        if number not in SPOKEN:
            raise payloads.FormatError("not spoken here")
        body = payloads.encode(number, path, self.tree.view(path), self.tree.type_of)
        more = self._watch(request, [path], number, several=False)
        return codes.CONTENT, number, body, more

    def _fetch(self, request: aiocoap.Message) -> tuple[Any, int | None, bytes, dict[str, Any]]:
        number = int(request.opt.accept or request.opt.content_format)
        paths = composite.decode_paths(request.opt.content_format, request.payload)
        body = composite.encode(number, self._views(paths), self.tree.type_of)
        more = self._watch(request, paths, number, several=True)
        return codes.CONTENT, composite.plain(number), body, more

    def _watch(
        self, request: aiocoap.Message, paths: list[Path], number: int, *, several: bool
    ) -> dict[str, Any]:
        if request.opt.observe == 0:
            self.observed[request.token] = Observed(request.token, paths, number, several=several)
            return {"observe": 1}
        if request.opt.observe == 1:
            self.observed.pop(request.token, None)
        return {}

    def _views(self, paths: Iterable[Path]) -> list[tuple[Path, Any]]:
        """What can be read of the paths; the rest is left out, as in a composite (Core §6.3.7)."""
        found: list[tuple[Path, Any]] = []
        for path in paths:
            try:
                if path:
                    found.append((path, self.tree.view(path)))
                else:
                    found += [((number,), self.tree.view((number,))) for number in self.tree.kinds]
            except Refused:
                continue
        return found

    def _written(self, request: aiocoap.Message, path: Path) -> list[payloads.Leaf]:
        if request.opt.content_format not in SPOKEN:
            raise payloads.FormatError("not spoken here")
        return payloads.decode(int(request.opt.content_format), path, request.payload, self.tree.type_of)

    # --- reporting

    def report(self, observed: Observed | None = None) -> aiocoap.Message:
        """Notify what is there now; the server's ACK or RST."""
        one = observed or next(iter(self.observed.values()))
        one.number += 1
        if one.several:
            body = composite.encode(one.content_format, self._views(one.paths), self.tree.type_of)
            number = composite.plain(one.content_format)
        else:
            number = one.content_format
            body = payloads.encode(number, one.paths[0], self.tree.view(one.paths[0]), self.tree.type_of)
        message = aiocoap.Message(code=codes.CONTENT, payload=body, _mtype=types.CON, _token=one.token)
        message.opt.observe = one.number
        message.opt.content_format = number
        sent = self.send(message)
        answer = self.receive()
        assert answer.mid == sent.mid, answer
        return answer

    def fetch_file(self, uri: str) -> bytes:
        """Download from the server, block by block (RFC 7959); every block is of the same file."""
        parts = urlsplit(uri)
        assert parts.port == self.house.coap_port, uri
        found, tags = b"", set()
        while True:
            request = aiocoap.Message(code=codes.GET, _mtype=types.CON, _token=os.urandom(4))
            request.opt.uri_path = tuple(parts.path.strip("/").split("/"))
            request.opt.block2 = (len(found) // 1024, False, 6)
            answer = self.exchange(request)
            assert answer.code == codes.CONTENT, answer
            found += answer.payload
            tags.add(answer.opt.etag)
            if answer.opt.block2 is None or not answer.opt.block2.more:
                assert len(tags) == 1
                return found

    def send_values(self, paths: Iterable[Path], content_format: int = 112) -> aiocoap.Message:
        """Send (Core §6.4.7): the server's answer."""
        body = composite.encode(content_format, self._views(paths), self.tree.type_of)
        return self.request(codes.POST, ("dp",), (), body, content_format)


class StreamClient(Client, LockstepStream):
    """The same over TCP."""

    def exchange(self, message: aiocoap.Message) -> aiocoap.Message:
        return Client.exchange(self, message)


def _code(pair: tuple[int, int]) -> Any:
    return aiocoap.Code(pair[0] << 5 | pair[1])
