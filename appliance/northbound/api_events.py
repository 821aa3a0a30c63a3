"""Routes of the journal: as pages, and live."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from appliance.northbound.routes import Answer, Query, Request, Routes

routes = Routes()

_PAGE: Final = 1000
_SEQ: Final = {"type": "integer", "minimum": 0}
_OF_ONE = Query("endpoint_name", {"type": "string", "maxLength": 255}, "only of this device", "")
LAST_EVENT_ID: Final = "Last-Event-ID"


@routes.route(
    "GET",
    "/events",
    scope="read",
    summary="What happened, oldest first; the last seq is the next after",
    query=(
        Query("after", _SEQ, "events after this number", 0),
        Query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "events of a page", 200),
        Query("last", {"type": "integer", "minimum": 1, "maximum": 1000}, "the newest so many instead"),
        _OF_ONE,
    ),
    answer="Events",
    about="devices",
)
def list_events(request: Request) -> Answer:
    room, query = request.room, request.query
    head = room.broker.head()
    entity = query["endpoint_name"] or None
    if entity is not None:
        request.reach.require(entity, "read")
    if entity is None and not request.reach.is_everywhere:
        rows: Sequence[Any] = _seen_rows(request)
    elif query["last"] is not None:
        rows = room.broker.read_last(query["last"], entity)
    else:
        rows = room.broker.read_after(query["after"], query["limit"], entity)
    events = room.crossing.call(lambda: [room.devices.event(row) for row in rows])
    return Answer({"events": events, "head": head})


@routes.route(
    "GET",
    "/stream",
    scope="read",
    summary="Events as they happen (server-sent events): ready first, reset when some were missed",
    query=(Query("after", _SEQ, "replay events after this number; Last-Event-ID does the same"), _OF_ONE),
    media_type="text/event-stream",
    about="devices",
)
def stream(request: Request) -> Answer:
    after = request.query["after"]
    last = request.headers.get(LAST_EVENT_ID, "")
    if last.isascii() and last.isdigit() and len(last) <= 18:
        after = int(last)
    name, reach = request.query["endpoint_name"], request.reach
    if name:
        reach.require(name, "read")

    def wanted(entity: str) -> bool:
        return (not name or entity == name) and reach.sees(entity)

    found = request.room.feed.open(after, wanted, request.gone, request.still_allowed)
    return Answer(found, content_type="text/event-stream")


def _seen_rows(request: Request) -> list[Any]:
    """As many rows as asked for of devices that exist for the caller."""
    broker, query, sees = request.room.broker, request.query, request.reach.sees
    after, found = query["after"], deque[Any](maxlen=query["last"])
    while rows := broker.read_after(after, _PAGE):
        after = rows[-1].seq
        found.extend(row for row in rows if sees(row.entity))
        if query["last"] is None and len(found) >= query["limit"]:
            break
    return list(found) if query["last"] is not None else list(found)[: query["limit"]]
