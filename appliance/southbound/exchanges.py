"""What goes between the server and the room above it: answers, observations, replies, notifications."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from appliance.coap import message as coap
from appliance.coap.endpoint import NotificationReceived, RequestReceived, is_fresh
from appliance.lwm2m.links import Link
from appliance.lwm2m.operations import BootstrapPackRequest, BootstrapRequest, Register, Update
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from appliance.southbound.client import Client, Peer
from appliance.southbound.requests import Formats

EXCHANGE_LIFETIME_S = 247.0  # RFC 7252 §4.8.2, with the default parameters devices use
_LOCATION_RD = ((8, b"rd"),)
_CONTENT_FORMAT = 12


class Answering(Protocol):
    """Whoever can answer a request of a device."""

    def answer(
        self,
        request: RequestReceived,
        code: int,
        options: Iterable[tuple[int, bytes]] = (),
        payload: bytes | memoryview = b"",
        then: Callable[[], None] | None = None,
    ) -> None:
        """Send the answer; ``then`` runs when it is on the wire."""


class Source(NamedTuple):
    """Who sent an operation: address, the bearer's name, what the transport proved (None: nothing)."""

    peer: Peer
    bearer: str
    identity: str | None


class Response(NamedTuple):
    """How one operation towards a device ended.

    ``code`` is the CoAP code (0 when no answer came, then ``failure`` says why: "timeout", "reset",
    "cancelled", …). ``rtt_s`` is None when the request was retransmitted (Karn).
    """

    code: int
    reports: tuple[Report, ...] = ()
    links: tuple[Link, ...] | None = None
    location: str | None = None
    content_format: int | None = None
    rtt_s: float | None = None
    failure: str = ""
    warning: str = ""
    observation: Observation | None = None

    @property
    def ok(self) -> bool:
        """Whether the device said 2.xx."""
        return 0x40 <= self.code < 0x60

    @property
    def code_text(self) -> str:
        """The code in the words of RFC 7252, for example "2.05 Content"."""
        return coap.code_text(self.code)


class Observation:
    """One observation at one device, found by its token alone, whatever address a notification comes from.

    ``paths`` are those of a composite observation, () of any other, whose one path is ``path``. ``number``
    and ``number_at`` (monotonic seconds) are the last Observe value taken (RFC 7641 §3.4).
    """

    __slots__ = (
        *("attributes", "client", "formats", "message_id", "number", "number_at", "path", "paths", "since"),
        "token",
    )

    def __init__(
        self,
        client: Client,
        path: Path,
        since: float,
        paths: tuple[Path, ...] = (),
        attributes: dict[str, str | None] | None = None,
    ) -> None:
        self.client = client
        self.path = path
        self.paths = paths
        self.attributes = attributes
        self.since = since
        self.token = b""
        self.formats: Formats | None = None
        self.number: int | None = None
        self.number_at = 0.0
        self.message_id: int | None = None

    @property
    def name(self) -> str:
        """What it is known by at its device: its path, or the paths of a composite, joined by commas."""
        return ",".join(map(str, self.paths)) if self.paths else str(self.path)

    def takes(self, number: int, message_id: int, now: float) -> bool:
        """Whether a notification is news, and if so, remember it as the last one.

        A number as old as the last one is news again after 128 s (RFC 7641 §3.4), but not in the very message
        that was taken already: a device whose server was away repeats that for up to EXCHANGE_LIFETIME.
        """
        if self.number is not None:
            age = now - self.number_at
            again = number == self.number and message_id == self.message_id and age < EXCHANGE_LIFETIME_S
            if again or not is_fresh(number, self.number, age):
                return False
        self.number = number
        self.number_at = now
        self.message_id = message_id
        return True


class Reply:
    """The one answer to a request of a device. ``then`` runs after the answer has left."""

    __slots__ = ("_request", "_server")

    def __init__(self, server: Answering, request: RequestReceived) -> None:
        self._server = server
        self._request = request

    def created(self, location: str, then: Callable[[], None] | None = None) -> None:
        """2.01 with Location-Path /rd/{location} (OMA Core §6.2.1)."""
        self._server.answer(self._request, coap.CREATED, (*_LOCATION_RD, (8, location.encode())), then=then)

    def changed(self, then: Callable[[], None] | None = None) -> None:
        """2.04."""
        self._server.answer(self._request, coap.CHANGED, then=then)

    def changed_to(self, content_format: int, payload: bytes) -> None:
        """2.04 with what came of it (RFC 9148 §4.5)."""
        self._server.answer(self._request, coap.CHANGED, _format(content_format), payload)

    def deleted(self) -> None:
        """2.02."""
        self._server.answer(self._request, coap.DELETED)

    def content(self, content_format: int, payload: bytes, then: Callable[[], None] | None = None) -> None:
        """2.05."""
        self._server.answer(self._request, coap.CONTENT, _format(content_format), payload, then)

    def bad_request(self, text: str) -> None:
        """4.00: what was sent cannot be taken as it is."""
        self.refuse(coap.BAD_REQUEST, text)

    def forbidden(self, text: str) -> None:
        """4.03: who asks may not."""
        self.refuse(coap.FORBIDDEN, text)

    def not_found(self, text: str) -> None:
        """4.04: no such location."""
        self.refuse(coap.NOT_FOUND, text)

    def conflict(self, text: str) -> None:
        """4.09: what it depends on is not known here."""
        self.refuse(coap.CONFLICT, text)

    def unavailable(self, text: str) -> None:
        """5.03: not now; nothing was kept."""
        self.refuse(coap.SERVICE_UNAVAILABLE, text)

    def refuse(self, code: int, text: str = "") -> None:
        """An error code with a diagnostic payload (RFC 7252 §5.5.2)."""
        self._server.answer(self._request, code, payload=text.encode())


def _format(content_format: int) -> tuple[tuple[int, bytes]]:
    return ((_CONTENT_FORMAT, content_format.to_bytes(2, "big").lstrip(b"\0")),)


class Notification(NamedTuple):
    """A fresh notification on its way to the disk; exactly one of the server's accept or refuse ends it."""

    observation: Observation
    source: Source
    reports: Sequence[Report]
    ended: int  # 0, or the code with which the device ended the observation
    warning: str
    event: NotificationReceived


class Uplink(Protocol):
    """What the room above makes of a device's operations. No method may raise.

    `may_register` and `may_update` are asked where it costs something to read what was sent, and note
    nothing: what is told no is handed up with an empty list, to be refused as it would be with its own.
    """

    def may_register(self, endpoint_name: str | None, source: Source) -> bool: ...

    def may_update(self, location: str, source: Source) -> bool: ...

    def register(self, operation: Register, source: Source, reply: Reply) -> None: ...

    def update(self, location: str, operation: Update, source: Source, reply: Reply) -> None: ...

    def deregister(self, location: str, source: Source, reply: Reply) -> None: ...

    def notify(self, notification: Notification) -> None: ...

    def send(self, content_format: int | None, payload: bytes, source: Source, reply: Reply) -> None: ...

    def disconnected(self, peer: Peer) -> None: ...

    def strange_notification(self, observation: Observation, source: Source) -> None: ...


class BootstrapUplink(Protocol):
    """Who bootstraps devices (OMA Core §6.1.7). May not raise, and answers each request exactly once."""

    def bootstrap(
        self, operation: BootstrapRequest | BootstrapPackRequest, source: Source, reply: Reply
    ) -> None: ...


class ServedFile(NamedTuple):
    """A file for devices to fetch: its content, a strong ETag of up to 8 bytes (RFC 7252 §5.10.6).

    ``content_format`` None: whatever it is, so octets (42).
    """

    data: memoryview | bytes
    etag: bytes
    content_format: int | None = None
