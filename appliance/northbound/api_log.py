"""Routes of the protocol log: as pages, live, as text and as a packet capture.

They show payloads, so they need the scope operate; secrets are hidden already below.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Final

from appliance.northbound.api_events import LAST_EVENT_ID
from appliance.northbound.body import json_bytes
from appliance.northbound.errors import ApiError
from appliance.northbound.routes import Answer, Query, Request, Routes
from appliance.northbound.stream import RETRY_MS, control

routes = Routes()

# The log is looked at this often: a signal per message would cost every device's message, viewed or not.
LOOK_S: Final = 0.25
BATCH: Final = 200
_TRIES: Final = 4
# Who is further behind than this is shown the newest instead: a fleet writes faster than anybody reads.
MAX_BEHIND: Final = 1000
_SEQ: Final = {"type": "integer", "minimum": 0}
_FILTERS: Final = (
    Query("endpoint_name", {"type": "string", "maxLength": 255}, "only of this device", ""),
    Query(
        "direction", {"type": "string", "enum": ["", "in", "out"]}, "from devices (in) or to them (out)", ""
    ),
    Query("code", {"type": "string", "maxLength": 32}, "such as 4, 2.05 or GET", ""),
    Query(
        "path",
        {"type": "string", "maxLength": 64, "pattern": r"^(/[^/]+)*/?$"},
        "LwM2M path, and what lies below it",
        "",
    ),
    Query("bearer", {"type": "string", "maxLength": 16}, "such as UDP or TCP", ""),
    Query("text", {"type": "string", "maxLength": 100}, "stands anywhere in an entry", ""),
)


@routes.route(
    "GET",
    "/log",
    scope="operate",
    summary="CoAP messages as they came and went, oldest first; without after the newest ones",
    query=(
        Query("after", _SEQ, "entries after this number"),
        Query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "entries of a page", 200),
        *_FILTERS,
    ),
    answer="LogPage",
    about="devices",
)
def list_log(request: Request) -> Answer:
    log, after, limit = request.room.log, request.query["after"], request.query["limit"]
    wanted = _wanted(request)
    page = log.read_last(limit, wanted) if after is None else log.read(after, limit, wanted)
    return Answer(_seen(request, page))


@routes.route(
    "GET",
    "/log/stream",
    scope="operate",
    summary="The log as it grows (server-sent events): ready first, then entry by entry, reset when some "
    "were missed",
    query=(Query("after", _SEQ, "begin after this number; Last-Event-ID does the same"), *_FILTERS),
    media_type="text/event-stream",
    about="devices",
)
def stream_log(request: Request) -> Answer:
    after = request.query["after"]
    last = request.headers.get(LAST_EVENT_ID, "")
    if last.isascii() and last.isdigit() and len(last) <= 18:
        after = int(last)
    return Answer(LogStream(request, after, _wanted(request)), content_type="text/event-stream")


@routes.route(
    "GET",
    "/log.txt",
    scope="operate",
    summary="The log as text",
    query=_FILTERS,
    media_type="text/plain",
    about="devices",
)
def download_text(request: Request) -> Answer:
    _check_whole(request)
    return _download(request, request.room.log.text, "txt", "text/plain; charset=utf-8")


@routes.route(
    "GET",
    "/log.pcap",
    scope="operate",
    summary="The log as a packet capture that Wireshark opens; what is hidden is zeros",
    query=_FILTERS,
    media_type="application/vnd.tcpdump.pcap",
    about="devices",
)
def download_pcap(request: Request) -> Answer:
    _check_whole(request)
    return _download(request, request.room.log.pcap, "pcap", "application/vnd.tcpdump.pcap")


class LogStream:
    """One page's place in the log: an iterator of bytes that waits for the next messages."""

    def __init__(
        self,
        request: Request,
        after: int | None,
        wanted: dict[str, str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        room = request.room
        self._log = room.log
        self._closing = room.closing
        self._request = request
        self._wanted = wanted
        self._monotonic = monotonic
        self._keep_alive_s = room.settings.keep_alive_s
        self._place = _place(request)
        head = self._log.head
        # After a restart of the appliance the numbers begin anew.
        self._position = head if after is None or after > head else after
        self._said = f"retry: {RETRY_MS}\n".encode("ascii") + control("ready", self._position)
        self._sign_of_life_at = self._look_at = monotonic() + self._keep_alive_s

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not self._closing.is_set():
            said, self._said = self._said + self._news(), b""
            now = self._monotonic()
            if said or now >= self._look_at:
                self._look_at = now + self._keep_alive_s
                if not self._request.still_allowed():
                    break
            if not said and now >= self._sign_of_life_at:
                said = b": keep-alive\n\n"
            if said:
                self._sign_of_life_at = now + self._keep_alive_s
                return said
            if self._request.gone():
                break
            self._closing.wait(LOOK_S)
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Give the place free; may be called more than once."""
        self._place.close()

    def _news(self) -> bytes:
        head = self._log.head
        if head == self._position:
            return b""
        out = b""
        if head - self._position > MAX_BEHIND or self._position + 1 < self._log.oldest:
            self._position = max(head - BATCH, self._log.oldest - 1)
            out = control("reset", self._position, "Messages were passed over; there are too many.")
        page = _seen(self._request, self._log.read(self._position, BATCH, self._wanted))
        self._position = page["next"]
        return out + b"".join(_event(entry) for entry in page["entries"])


class _Download:
    """Pieces of a file that is made while it is sent; holds a place meanwhile."""

    def __init__(self, request: Request, pieces: Iterator[bytes]) -> None:
        self._place = _place(request)
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        # WSGI servers take an empty piece for nothing, some of them for the end.
        for piece in self._pieces:
            if piece:
                return piece
        self.close()
        raise StopIteration

    def close(self) -> None:
        self._place.close()


def _place(request: Request) -> ExitStack:
    """A place among those who look at the log. A page that is loaded anew comes before its old stream has
    noticed that nobody reads it any more, so a place is waited for a moment. Raises ApiError("busy").
    """
    place = ExitStack()
    for _ in range(_TRIES):
        try:
            place.enter_context(request.room.log_places.one(request.address))
            return place
        except ApiError:
            if request.room.closing.wait(LOOK_S):
                raise
    place.enter_context(request.room.log_places.one(request.address))
    return place


def _download(
    request: Request,
    pieces: Callable[[dict[str, str]], Iterator[bytes]],
    ending: str,
    content_type: str,
) -> Answer:
    name = f"homard-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{ending}"
    return Answer(
        _Download(request, pieces(_wanted(request))),
        headers=(("Content-Disposition", f'attachment; filename="{name}"'),),
        content_type=content_type,
    )


def _event(entry: dict[str, Any]) -> bytes:
    return f"id: {entry['seq']}\nevent: entry\ndata: ".encode("ascii") + json_bytes(entry) + b"\n\n"


def _seen(request: Request, page: dict[str, Any]) -> dict[str, Any]:
    """A page without messages of devices that the caller may not operate; strangers' are nobody's."""
    reach = request.reach
    if reach.is_everywhere:
        return page
    kept = [one for one in page["entries"] if reach.may(one["endpoint_name"] or "", "operate")]
    return {**page, "entries": kept}


def _check_whole(request: Request) -> None:
    """A file cannot be thinned out: it is of one device, or for who may see all. Raises ApiError."""
    if not request.query["endpoint_name"] and not request.reach.everywhere("operate"):
        raise ApiError("forbidden", "the whole log is not for you", "Ask for one device: ?endpoint_name=…")


def _wanted(request: Request) -> dict[str, str]:
    name = request.query["endpoint_name"]
    if name:
        request.reach.require(name, "operate")
    return {query.name: request.query[query.name] for query in _FILTERS}
