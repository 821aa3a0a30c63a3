"""How a device answers its server: the Device Management interface over CoAP (OMA LwM2M Core 1.1 §6.3).

aiocoap assembles Block1 bodies before they come here; answers longer than a block are sliced here,
because the slices of a notification must come from the body that was notified.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiocoap
from aiocoap.resource import Resource

from appliance.simulator import composite, payloads
from appliance.simulator.attributes import AttributeRefused, AttributeStore
from appliance.simulator.objects import HIGHEST_ID
from appliance.simulator.payloads import LINK, OLD_NUMBERS, OPAQUE, TEXT, Path
from appliance.simulator.reporting import BLOCK_BYTES, Reporter
from appliance.simulator.tree import BAD_REQUEST, NOT_ALLOWED, NOT_FOUND, ObjectTree, Refused

MAX_REMEMBERED_BODIES = 8


class Answers(Resource):  # type: ignore[misc]
    """The site that aiocoap renders every request from. ``acted`` hears what the device must do besides
    answering: an Execute's action, "objects" after Create and Delete, or "written"; ``performed`` hears of
    each operation that changed something: its verb, its path and what was written."""

    def __init__(
        self,
        tree: ObjectTree,
        attributes: AttributeStore,
        content_formats: tuple[int, ...],
        acted: Callable[[str, list[Path]], None],
        performed: Callable[[str, Path, object], None] = lambda operation, path, detail: None,
    ) -> None:
        super().__init__()
        self._tree = tree
        self._attributes = attributes
        self._content_formats = content_formats
        self._acted = acted
        self._performed = performed
        self._bodies: dict[tuple[Path, int], bytes] = {}
        self.reporter: Reporter | None = None  # set once the device has its port

    def remember(self, path: Path, content_format: int, body: bytes) -> None:
        """Keep a body of which the first block was sent."""
        self._bodies.pop((path, content_format), None)
        self._bodies[path, content_format] = body
        while len(self._bodies) > MAX_REMEMBERED_BODIES:
            del self._bodies[next(iter(self._bodies))]

    async def needs_blockwise_assembly(self, request: Any) -> bool:
        return bool(request.code != aiocoap.GET)

    async def render(self, request: Any) -> Any:
        try:
            return self._answer(request)
        except Refused as refused:
            return _message(aiocoap.Code(refused.code[0] << 5 | refused.code[1]), refused.reason)
        except payloads.FormatError as error:
            reading = request.code in (aiocoap.GET, aiocoap.FETCH)
            code = aiocoap.NOT_ACCEPTABLE if reading else aiocoap.UNSUPPORTED_CONTENT_FORMAT
            return _message(code, str(error))
        except (payloads.PayloadError, AttributeRefused) as error:
            return _message(aiocoap.BAD_REQUEST, str(error))

    def _answer(self, request: Any) -> Any:
        path = _path(request.opt.uri_path)
        match int(request.code), len(path):
            case 5, 0:
                return self._fetch(request)
            case 7, 0:
                leaves = composite.decode(request.opt.content_format, request.payload, self._tree.type_of)
                changed = self._tree.write_all(leaves)
                for leaf_path, node in leaves:
                    self._performed("Write", leaf_path, node)
                self._acted("written", changed)
                return _message(aiocoap.CHANGED)
            case 1, 1 | 2 | 3 | 4 if request.opt.accept == LINK:
                links = self._tree.links(self._attributes, path)
                return self._sliced(request, path, LINK, links.encode(), None)
            case 1, 1 | 2 | 3 | 4:
                return self._read(request, path)
            case 3, 1 | 2 | 3 | 4 if request.opt.content_format is None and request.opt.uri_query:
                return self._write_attributes(path, request)
            case (3, 2 | 3 | 4) | (2, 2):
                return self._write(request, path, replace=int(request.code) == 3)
            case 2, 1:
                return self._create(request, path)
            case 2, 3:
                if self._tree.resource_kind(path).multiple:
                    return self._write(request, path, replace=False)
                action = self._tree.execute(path)
                self._performed("Execute", path, request.payload.decode(errors="replace"))
                self._acted(action, [path])
                return _message(aiocoap.CHANGED)
            case 4, 2:
                self._tree.delete(path)
                self._performed("Delete", path, None)
                self._attributes.forget(path)
                self._acted("objects", [path])
                return _message(aiocoap.DELETED)
        raise Refused(NOT_ALLOWED, "no such operation at this path")

    def _read(self, request: Any, path: Path) -> Any:
        assert self.reporter is not None
        asked = request.opt.accept
        block2 = request.opt.block2
        if block2 is not None and block2.block_number > 0:
            body = self._bodies.get((path, int(asked) if asked is not None else -1))
            if body is not None:
                return self._sliced(request, path, int(asked) if asked is not None else -1, body, None)
        view = self.reporter.sample(path)
        number = int(asked) if asked is not None else self._preferred(path, view)
        canonical = OLD_NUMBERS.get(number, number)
        if canonical not in (TEXT, OPAQUE, *self._content_formats):
            raise payloads.FormatError(f"content format {number} is not spoken here")
        body = payloads.encode(canonical, path, view, self._tree.type_of)
        sequence = None
        if request.opt.observe == 0:
            sequence = self.reporter.observe(request.token, (path,), number, view)
        elif request.opt.observe == 1:
            self.reporter.cancel(request.token)
        return self._sliced(request, path, number, body, sequence)

    def _fetch(self, request: Any) -> Any:
        """Read-Composite and Observe-Composite (Core 1.1 §6.3.8, §6.4.4)."""
        assert self.reporter is not None
        asked = request.opt.accept if request.opt.accept is not None else request.opt.content_format
        if composite.plain(asked) not in self._content_formats:
            raise payloads.FormatError(f"content format {asked} is not spoken here")
        number = int(asked)
        block2 = request.opt.block2
        if block2 is not None and block2.block_number > 0 and ((), number) in self._bodies:
            return self._sliced(request, (), number, self._bodies[(), number], None)
        paths = tuple(composite.decode_paths(request.opt.content_format, request.payload))
        views = self.reporter.sample_all(paths)
        sequence = None
        if request.opt.observe == 0:
            sequence = self.reporter.observe(request.token, paths, number, views, several=True)
        elif request.opt.observe == 1:
            self.reporter.cancel(request.token)
        body = composite.encode(number, views, self._tree.type_of)
        return self._sliced(request, (), composite.plain(number), body, sequence)

    def _preferred(self, path: Path, view: Any) -> int:
        if len(path) >= 3 and not isinstance(view, dict):
            return OPAQUE if isinstance(view, bytes) else TEXT
        return self._content_formats[0]

    def _sliced(self, request: Any, path: Path, number: int, body: bytes, sequence: int | None) -> Any:
        message = aiocoap.Message(code=aiocoap.CONTENT, payload=body)
        if number >= 0:
            message.opt.content_format = number
        message.opt.observe = sequence
        block2 = request.opt.block2
        size_exponent = min(block2.size_exponent, 6) if block2 is not None else 6
        if len(body) > BLOCK_BYTES or (block2 is not None and len(body) > 1 << (size_exponent + 4)):
            asked = request.opt.accept
            self.remember(path, int(asked) if asked is not None else -1, body)
            return message._extract_block(block2.block_number if block2 else 0, size_exponent, BLOCK_BYTES)
        return message

    def _write_attributes(self, path: Path, request: Any) -> Any:
        assert self.reporter is not None
        self._tree.links(AttributeStore(), path[:3])  # 4.04 when there is no such thing
        self._attributes.write(path, request.opt.uri_query)
        self.reporter.attributes_changed(path)
        return _message(aiocoap.CHANGED)

    def _write(self, request: Any, path: Path, *, replace: bool) -> Any:
        written = self._written(request, path)
        changed = self._tree.write(path, written, replace=replace)
        for leaf_path, node in written:
            self._performed("Write", leaf_path, node)
        self._acted("written", changed)
        return _message(aiocoap.CHANGED)

    def _create(self, request: Any, path: Path) -> Any:
        written = self._written(request, path) if request.payload else []
        created = self._tree.create(path[0], written)
        self._performed("Create", created, None)
        self._acted("objects", [created])
        message = _message(aiocoap.CREATED)
        message.opt.location_path = tuple(map(str, created))
        return message

    def _written(self, request: Any, path: Path) -> list[payloads.Leaf]:
        number = request.opt.content_format
        if number is None:
            number = TEXT if len(path) > 2 else self._content_formats[0]
        canonical = OLD_NUMBERS.get(int(number), int(number))
        if canonical not in (TEXT, OPAQUE, *self._content_formats):
            raise payloads.FormatError(f"content format {number} is not spoken here")
        return payloads.decode(canonical, path, request.payload, self._tree.type_of)


def _path(segments: tuple[str, ...]) -> Path:
    if len(segments) > 4:
        raise Refused(BAD_REQUEST, "a path has at most four ids")
    if not all(
        segment.isascii() and segment.isdigit() and int(segment) <= HIGHEST_ID for segment in segments
    ):
        raise Refused(NOT_FOUND, "not a LwM2M path")
    return tuple(map(int, segments))


def _message(code: Any, reason: str = "") -> Any:
    return aiocoap.Message(code=code, payload=reason.encode())
