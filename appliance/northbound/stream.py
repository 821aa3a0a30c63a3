"""Server-sent events: the journal as a live feed, encoded once for all who listen.

One thread waits on the journal while anybody listens; it turns rows into bytes once and keeps the newest in a
ring. A stream is a place in the journal. While that place is inside the ring, the ring serves it; a stream
that comes back with an older Last-Event-ID reads the journal itself until it has caught up. So a slow
stream costs nobody else anything, and a replay after a cut needs no queue.

Streams are bounded. One whose client has gone is found when the next write fails, at the next sign of life,
or when somebody else needs the place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from appliance.northbound.body import json_bytes
from appliance.northbound.neighbours import Broker
from appliance.northbound.slots import busy

log = logging.getLogger(__name__)

RING_EVENTS: Final = 512
RING_BYTES: Final = 1024 * 1024
BATCH_ROWS: Final = 200
# How often a waiting stream looks whether its client is still there, and the feed whether anybody listens.
LOOK_S: Final = 2.0
FEED_WAIT_S: Final = 0.5
RETRY_MS: Final = 2000


class Encoded(NamedTuple):
    """One event as it goes over the wire."""

    seq: int
    endpoint_name: str
    data: bytes


def encode(event: dict[str, Any]) -> Encoded:
    """An event of the API in the event stream format (HTML Living Standard §9.2)."""
    seq, kind = int(event["seq"]), str(event["kind"])
    head = f"id: {seq}\nevent: {kind if kind.isidentifier() else 'event'}\ndata: "
    return Encoded(
        seq, str(event["endpoint_name"]), head.encode("ascii", "replace") + json_bytes(event) + b"\n\n"
    )


def control(kind: str, seq: int, words: str = "") -> bytes:
    """An event that is not in the journal: "ready" at the start, "reset" when events were missed."""
    data = json_bytes({"seq": seq, "kind": kind, "words": words})
    return f"id: {seq}\nevent: {kind}\ndata: ".encode("ascii") + data + b"\n\n"


class Stream:
    """One client's place in the feed: an iterator of bytes that waits for the next event."""

    def __init__(
        self,
        feed: Feed,
        position: int,
        greeting: bytes,
        wanted: Callable[[str], bool],
        gone: Callable[[], bool],
        still_allowed: Callable[[], bool],
    ) -> None:
        self.position = position
        self.wanted = wanted
        self.gone = gone
        self.still_allowed = still_allowed
        self.ended = False
        self._feed = feed
        self._greeting = greeting
        self._sign_of_life_at = feed.monotonic() + feed.keep_alive_s

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._greeting:
            greeting, self._greeting = self._greeting, b""
            return greeting
        while not self.ended:
            found = self._feed.take(self)
            now = self._feed.monotonic()
            if found:
                # A busy stream comes to no sign of life: what is said next is for who may hear it now.
                if not self.still_allowed():
                    break
                self._sign_of_life_at = now + self._feed.keep_alive_s
                return found
            if self.gone():
                break
            if now >= self._sign_of_life_at:
                if not self.still_allowed():
                    break
                self._sign_of_life_at = now + self._feed.keep_alive_s
                return b": keep-alive\n\n"
            self._feed.wait(self, min(LOOK_S, self._sign_of_life_at - now))
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Give the place free; may be called more than once."""
        self._feed.leave(self)


class Feed:
    """The live feed. ``events`` turns rows of the journal into events of the API; any thread may call it."""

    def __init__(
        self,
        broker: Broker,
        events: Callable[[Sequence[Any]], list[dict[str, Any]]],
        *,
        max_streams: int,
        keep_alive_s: float,
        max_replay: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keep_alive_s = keep_alive_s
        self.monotonic = monotonic
        self._broker = broker
        self._events = events
        self._max_streams = max_streams
        self._max_replay = max_replay
        self._changed = threading.Condition()
        self._streams: list[Stream] = []
        self._ring: deque[Encoded] = deque()
        self._ring_bytes = 0
        # Every row with low < seq <= high is in the ring.
        self._low = 0
        self._high = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    def open(
        self,
        after: int | None,
        wanted: Callable[[str], bool],
        gone: Callable[[], bool],
        still_allowed: Callable[[], bool],
    ) -> Stream:
        """A stream that starts after an event, or now, of the devices that ``wanted`` is true for.

        Raises ApiError("busy") when all places are taken.
        """
        head = self._broker.head()
        position = head if after is None else after
        greeting = f"retry: {RETRY_MS}\n".encode("ascii")
        if self._missed(position, head):
            position = head
            greeting += control("reset", head, "Events were missed; load everything anew.")
        else:
            greeting += control("ready", position)
        stream = Stream(self, position, greeting, wanted, gone, still_allowed)
        with self._changed:
            if self._closed:
                raise busy("the appliance is stopping", 5)
            if len(self._streams) >= self._max_streams:
                for other in [one for one in self._streams if one.gone()]:
                    other.ended = True
                    self._streams.remove(other)
                self._changed.notify_all()
            if len(self._streams) >= self._max_streams:
                raise busy("too many live pages are open", 10)
            self._streams.append(stream)
            if self._thread is None:
                self._ring.clear()
                self._ring_bytes = 0
                self._low = self._high = head
                self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
                self._thread.start()
        return stream

    @property
    def streams(self) -> int:
        """How many listen."""
        with self._changed:
            return len(self._streams)

    def close(self) -> None:
        """End every stream and let no new one in."""
        with self._changed:
            self._closed = True
            for stream in self._streams:
                stream.ended = True
            self._streams.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(5.0)

    # For streams

    def take(self, stream: Stream) -> bytes:
        """What comes after the stream's place, which moves on; empty when there is nothing yet."""
        with self._changed:
            if stream.position >= self._low:
                found = [one for one in self._ring if one.seq > stream.position]
                stream.position = max(stream.position, self._high)
                return self._for(stream, found)
        rows = self._broker.read_after(stream.position, BATCH_ROWS)
        if not rows:
            with self._changed:
                stream.position = max(stream.position, self._low)
            return b""
        encoded = [encode(event) for event in self._events(rows)]
        stream.position = rows[-1].seq
        # Something is said even when nothing is for this stream: the place it has reached.
        return self._for(stream, encoded) or b": replay\n\n"

    def wait(self, stream: Stream, timeout_s: float) -> None:
        """Wait for news; returns early when there is something for the stream or it has ended."""
        with self._changed:
            if not stream.ended and stream.position >= self._high:
                self._changed.wait(timeout_s)

    def leave(self, stream: Stream) -> None:
        """The stream has ended."""
        with self._changed:
            stream.ended = True
            if stream in self._streams:
                self._streams.remove(stream)

    # Inside

    def _for(self, stream: Stream, found: Sequence[Encoded]) -> bytes:
        return b"".join(one.data for one in found if stream.wanted(one.endpoint_name))

    def _missed(self, position: int, head: int) -> bool:
        """Whether events after the position are not there any more, are too many, or never were."""
        if position > head or head - position > self._max_replay:
            return True
        return position < head and position + 1 < self._broker.oldest()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._streams:
                    self._thread = None
                    return
            try:
                self._fetch()
            except Exception:  # the feed's task ends its round here; a page must not stay dark for good
                log.exception("the live feed stumbled; going on")
                with self._changed:
                    self._changed.wait(FEED_WAIT_S)

    def _fetch(self) -> None:
        if not self._broker.wait_after(self._high, FEED_WAIT_S):
            return
        rows = self._broker.read_after(self._high, BATCH_ROWS)
        if not rows:
            return
        encoded = [encode(event) for event in self._events(rows)]
        with self._changed:
            self._ring.extend(encoded)
            self._ring_bytes += sum(len(one.data) for one in encoded)
            self._high = rows[-1].seq
            while len(self._ring) > RING_EVENTS or (self._ring_bytes > RING_BYTES and len(self._ring) > 1):
                dropped = self._ring.popleft()
                self._ring_bytes -= len(dropped.data)
                self._low = dropped.seq
            self._changed.notify_all()
