"""A route as a value, and the table that everything else is made from: dispatch, checks, OpenAPI.

A route without a scope cannot be written: ``scope`` has no default.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from appliance.identity.identity import Identity
from appliance.identity.principals import Principal, Session
from appliance.northbound.crossing import Crossing
from appliance.northbound.errors import ApiError
from appliance.northbound.neighbours import Bootstrap, Broker, Devices, Files, ProtocolLog, Security
from appliance.northbound.reach import Reach
from appliance.northbound.settings import HttpSettings
from appliance.northbound.slots import Slots
from appliance.northbound.stream import Feed
from appliance.vault.authority import Authority
from appliance.vault.register import Register
from appliance.vault.vault import Vault

API: Final = "/api/v1"

Access = Literal["public", "read", "operate", "admin"]
ACCESSES: Final[tuple[Access, ...]] = ("public", "read", "operate", "admin")

# What a route is about, for accounts that are narrowed to groups of devices (`reach`): the device in its
# path; devices, among which it chooses itself; the house, which only those may change who may change all
# devices; or the caller's own affairs.
About = Literal["", "device", "devices", "house", "self"]


@dataclass(frozen=True, slots=True)
class Trust:
    """Who is let in. The vault, its register and the authority wait for the disk and are called in the thread
    of a request; ``security`` says of each of its methods where; ``bootstrap`` lives in the event loop.
    """

    vault: Vault
    register: Register
    authority: Authority
    security: Security
    bootstrap: Bootstrap


@dataclass(frozen=True, slots=True)
class Room:
    """What the routes work on."""

    settings: HttpSettings
    devices: Devices
    broker: Broker
    identity: Identity
    crossing: Crossing
    feed: Feed
    operations: Slots
    status: Callable[[], dict[str, Any]]
    web: Path
    document: Callable[[], dict[str, Any]]
    log: ProtocolLog
    log_places: Slots
    files: Files
    transfers: Slots
    closing: threading.Event
    trust: Trust | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request after all checks: who, what, from where."""

    room: Room
    principal: Principal | None
    session: Session | None
    address: str
    secure: bool
    parameters: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    headers: Mapping[str, str]
    gone: Callable[[], bool]
    still_allowed: Callable[[], bool]
    reach: Reach

    @property
    def by(self) -> str:
        """Who asks, for the audit log."""
        if self.principal is None:
            return ""
        return self.principal.name if self.principal.kind == "account" else f"token {self.principal.name}"


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is still on its way: ``read(count)`` waits for at most that many bytes, b"" at the end.

    Raises ApiError("request_timeout") when none arrive in time.
    """

    length: int
    media_type: str
    read: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. ``body`` is a JSON value (a dict), bytes, an iterable of bytes, or None for nothing."""

    body: Any = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter after the question mark."""

    name: str
    schema: Mapping[str, Any]
    doc: str
    default: Any = None
    required: bool = False

    def parse(self, text: str) -> Any:
        """The text as the schema's type; raises ApiError("invalid")."""
        if self.schema.get("type") == "integer":
            if not text.isascii() or not text.isdigit() or len(text) > 18:
                raise ApiError("invalid", f"{self.name} must be a whole number", "")
            return int(text)
        return text


@dataclass(frozen=True, slots=True)
class Route:
    """One verb on one path below `API`. ``body``, ``answer`` and ``also`` (other answers by their
    status) name schemas; see `schemas.COMPONENTS`.
    """

    method: str
    path: str
    scope: Access
    name: str
    summary: str
    call: Callable[[Request], Answer]
    query: tuple[Query, ...] = ()
    body: str | None = None
    body_required: bool = True
    upload: str | None = None  # the media type of a body that is no JSON of ours
    also_taken: tuple[str, ...] = ()  # further media types of an upload
    upload_limit: int = 0  # bytes; 0 stands for http.max_upload_bytes
    answer: str | None = None
    status: int = 200
    media_type: str = "application/json"
    streamed: bool = False  # the upload is not read: the body is an `Upload`
    also: Mapping[int, str] = field(default_factory=dict)
    about: About = ""

    @property
    def subject(self) -> About:
        """What it is about; unless it says so, the device in its path, or the house."""
        return self.about or ("device" if "endpoint_name" in self.placeholders else "house")

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names in braces."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


class Routes:
    """Routes of one module, or of all; in order."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._routes: list[Route] = []
        for route in routes:
            self.append(route)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def append(self, route: Route) -> None:
        """Add a route; two cannot share verb and path, and every one has a scope."""
        if route.scope not in ACCESSES:
            raise ValueError(f"{route.method} {route.path} has no scope")
        if any((one.method, one.path) == (route.method, route.path) for one in self._routes):
            raise ValueError(f"{route.method} {route.path} is there twice")
        self._routes.append(route)

    def route(
        self, method: str, path: str, *, scope: Access, summary: str, **more: Any
    ) -> Callable[[Callable[[Request], Answer]], Callable[[Request], Answer]]:
        """The decorator of a route; the function's name becomes its operation id."""

        def add(call: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
            self.append(Route(method, path, scope, call.__name__, summary, call, **more))
            return call

        return add
