"""CoAP over reliable transports without I/O (RFC 8323): bytes of connections in, events and bytes out.

The laws of this file are those of `endpoint`, and these:

- the first message of a connection is a CSM, else the connection is aborted (§5.3);
- whatever cannot be framed ends its connection and no other (§5.6);
- a connection that is gone ends every request that was asked over it, at once.

Requests, answers, blocks and observations are those of RFC 7252 and its kin, so they are left to an
`Endpoint`: a frame becomes a confirmable message with a Message ID of ours, what it sends becomes a frame.
Its retransmissions never happen, as each of its messages is acknowledged when it is handed over; its
acknowledgements and Resets have no form here (§3) and are left out. It forgets Message IDs by number before a
connection can come round to one again, so none is ever taken for a duplicate.

Larger bodies arrive as BERT (§6), in one message of up to ``max_message_bytes``, which is what we announce,
or in plain blocks. Those that we send use what the peer offers in its CSM: BERT, one long message, or blocks
that fit. libcoap takes BERT only where both sides have announced it, and else keeps a first block as if it
were all.

A `Shield` may stand between frames and `Endpoint`: messages then come and go through it, and the endpoint
speaks with peers of its own, each above a connection.

Somewhat more than 400 lines, as it has the whole face of `Endpoint`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Protocol

from appliance.coap.blockwise import Body
from appliance.coap.endpoint import (
    Endpoint,
    Event,
    NotificationReceived,
    RequestFailed,
    RequestReceived,
    ResponseReceived,
)
from appliance.coap.frames import FrameError, encode_frame, encode_signal, split_frame
from appliance.coap.message import INTERNAL_SERVER_ERROR, MessageFormatError, decode_options, encode_options
from appliance.coap.options import Option, decode_uint, encode_uint
from appliance.coap.transmission import Transmission

CSM, PING, PONG, RELEASE, ABORT = 0xE1, 0xE2, 0xE3, 0xE4, 0xE5  # RFC 8323 §5
_MAX_MESSAGE_SIZE, _BLOCK_WISE = 2, 4  # options of a CSM
_BAD_CSM_OPTION = 2  # option of an Abort

BASE_MESSAGE_BYTES: Final = 1152  # §5.3.1
CONNECTION_LOST: Final = "connection-lost"

_LONGEST_SPAN: Final = 16384  # of a body in one message: a progress worth telling, and a moment's writing
_HEAD_BYTES: Final = 40  # of a frame with 8 bytes of token, Block1, Size1 and the payload marker, at most
_SHIELD_BYTES: Final = 64  # that a shield adds, at most
_MAX_OBSERVED: Final = 256  # tokens looked through at a time, see `_Connection.observed`

_MAX_DUPLICATES: Final = 8192  # fewer than there are Message IDs: a number is free again before it is reused
_ACK: Final = b"\x60\x00"


class Shield(Protocol):
    """What opens and seals messages between connections and the endpoint, each as a datagram."""

    def below(self, peer: Any) -> Any:
        """The connection that a peer of the endpoint is spoken to over: itself, or another value."""

    def receive(self, data: bytes, peer: Any, now: float) -> list[tuple[bytes, Any]]:
        """One message of a connection in; what the endpoint receives in its place, and from whom."""

    def send(self, data: bytes, peer: Any, now: float) -> None:
        """A message for a peer that is above a connection; what becomes of it is in `take_datagrams`."""

    def take_datagrams(self) -> list[tuple[bytes, Any]]:
        """What is to be sent, with the connection it goes to."""


class _Connection:
    """What is known of one connection. ``ready``: its CSM has come; ``max_bytes`` and ``blockwise`` are what
    it said. ``observed``: tokens of the observations made over it, with some that have ended.
    """

    __slots__ = (
        "blockwise",
        "buffer",
        "max_bytes",
        "mid",
        "observed",
        "pinged",
        "ready",
        "received_at",
        "since",
    )

    def __init__(self, now: float) -> None:
        self.buffer = bytearray()
        self.mid = 0
        self.ready = False
        self.max_bytes = BASE_MESSAGE_BYTES
        self.blockwise = False
        self.observed: set[bytes] = set()
        self.since = now
        self.received_at = now
        self.pinged = False


class StreamEndpoint:
    """One CoAP endpoint over all connections of a bearer. A peer is one connection, any hashable value.

    The numbers of its requests are negative, so that an owner of both kinds can keep them in one table.
    ``tap`` is shown every frame, with whether it came in. ``csm_timeout_s``: how long a connection may stay
    without its CSM; beyond ``max_half_open`` of them the oldest is aborted for each new one. ``idle_s``: a
    connection silent for so long is pinged, and closed when it stays silent for as long again. The caps of
    `Endpoint` hold.
    """

    def __init__(
        self,
        *,
        rng: random.Random | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        max_message_bytes: int = 65536,
        csm_timeout_s: float = 10.0,
        max_half_open: int = 256,
        idle_s: float = 300.0,
        max_queue: int = 64,
        max_body_bytes: int = 1024 * 1024,
        max_upload_bytes: int = 64 * 1024 * 1024,
        max_reassembly_bytes: int = 8 * 1024 * 1024,
        tap: Callable[[bool, Any, bytes], None] | None = None,
    ) -> None:
        # A request may wait for its answer until its deadline; it never waits for another one (§3).
        self._inner = Endpoint(
            Transmission(nstart=1, bert=True),
            rng=rng,
            random_bytes=random_bytes,
            max_duplicates=_MAX_DUPLICATES,
            max_duplicate_bytes=0,  # no answer is ever asked for again
            max_queue=max_queue,
            max_body_bytes=max_body_bytes,
            max_upload_bytes=max_upload_bytes,
            max_reassembly_bytes=max_reassembly_bytes,
        )
        self._max_message_bytes = max_message_bytes
        self._csm_timeout_s = csm_timeout_s
        self._idle_s = idle_s
        self._max_half_open = max_half_open
        self._connections: dict[Hashable, _Connection] = {}
        self._half_open: dict[Hashable, None] = {}  # the oldest first
        self._outgoing: list[tuple[bytes, Any]] = []
        self._closing: list[Any] = []
        self._tap = tap
        self._look_at = float("inf")  # when the connections have to be looked over next
        self._look_s = min(csm_timeout_s, idle_s) / 4
        self.shield: Shield | None = None
        self._above: dict[Any, set[Any]] = {}  # by connection, the peers that were spoken to over it
        self._now = 0.0  # of the last call that said it
        self.aborted = 0

    # Connections

    def opened(self, peer: Any, now: float) -> None:
        """A connection was made; our CSM goes out."""
        self._now = now
        if len(self._half_open) >= self._max_half_open:
            self._abort(next(iter(self._half_open)), FrameError("no CSM came, and others wait"))
        self._connections[peer] = _Connection(now)
        self._half_open[peer] = None
        self._look_at = min(self._look_at, now + self._look_s)
        options = ((_MAX_MESSAGE_SIZE, encode_uint(self._max_message_bytes)), (_BLOCK_WISE, b""))
        self._signal(peer, CSM, options)

    def closed(self, peer: Any, now: float) -> list[Event]:
        """The connection is gone: what was asked over it ends with the reason `CONNECTION_LOST`."""
        self._now = now
        self._forget(peer)
        events: list[Event] = []
        for one in (peer, *self._above.pop(peer, ())):
            for event in self._inner.forget_peer(one, now):
                if isinstance(event, RequestFailed):
                    event = RequestFailed(-event.request_id, event.key, event.peer, CONNECTION_LOST)
                events.append(event)
        return events

    def is_open(self, peer: Any) -> bool:
        """Whether requests can be sent over the connection: it stands, and its CSM has come."""
        connection = self._connections.get(self._below(peer))
        return connection is not None and connection.ready

    def _below(self, peer: Any) -> Any:
        return peer if self.shield is None else self.shield.below(peer)

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def half_open(self) -> int:
        """How many of them have not sent their CSM."""
        return len(self._half_open)

    # Bytes and time

    def receive(self, data: bytes, peer: Any, now: float) -> list[Event]:
        """Bytes of a connection in. Gives what the owner has to know; never raises."""
        connection = self._connections.get(peer)
        if connection is None:
            return []
        self._now = connection.received_at = now
        connection.pinged = False
        buffer = connection.buffer
        buffer += data
        events: list[Event] = []
        start = 0
        try:
            while peer in self._connections:
                found = split_frame(buffer, start, self._max_message_bytes)
                if found is None:
                    break
                code, token, rest, end = found
                if self._tap is not None:
                    self._tap(True, peer, bytes(buffer[start:end]))
                events += self._frame(
                    connection, buffer[code], bytes(buffer[token:rest]), bytes(buffer[rest:end]), peer, now
                )
                start = end
        except FrameError as error:
            self._abort(peer, error)
        del buffer[:start]
        return events

    def _frame(
        self, connection: _Connection, code: int, token: bytes, rest: bytes, peer: Any, now: float
    ) -> list[Event]:
        if code >= 0xE0:
            self._signalled(connection, code, token, rest, peer)
            return []
        if not connection.ready:
            raise FrameError("the first message must be a CSM")
        if code == 0:
            return []  # an empty message is ignored (§3.4)
        connection.mid = connection.mid + 1 & 0xFFFF
        datagram = bytes((0x40 | len(token), code)) + connection.mid.to_bytes(2, "big") + token + rest
        errors = self._inner.format_errors
        events: list[Event] = []
        if self.shield is None:
            events = self._inner.receive_datagram(datagram, peer, now)
        else:
            for data, above in self.shield.receive(datagram, peer, now):
                if above is not peer:
                    self._above.setdefault(peer, set()).add(above)
                events += self._inner.receive_datagram(data, above, now)
        if self._inner.format_errors != errors:
            raise FrameError("options or payload cannot be read")
        return self._received(connection, events)

    def receive_opened(self, data: bytes, peer: Any, now: float) -> list[Event]:
        """What the shield has opened later than it came in."""
        below = self._below(peer)
        connection = self._connections.get(below)
        if connection is None:
            return []
        self._above.setdefault(below, set()).add(peer)
        return self._received(connection, self._inner.receive_datagram(data, peer, now))

    def _received(self, connection: _Connection, events: list[Event]) -> list[Event]:
        for event in events:
            if isinstance(event, ResponseReceived) and event.observing:
                self._observed(connection, event.token)
        return _numbered(events)

    def _observed(self, connection: _Connection, token: bytes) -> None:
        """An observation lives no longer than the connection it was made over (§7.4)."""
        observed = connection.observed
        observed.add(token)
        if len(observed) % _MAX_OBSERVED == 0:
            connection.observed = {one for one in observed if self._inner.is_observing(one)}

    def _signalled(self, connection: _Connection, code: int, token: bytes, rest: bytes, peer: Any) -> None:
        if code in (RELEASE, ABORT):
            self._close(peer)
            return
        try:
            options = decode_options(rest)
        except MessageFormatError:
            raise FrameError("options of a signaling message cannot be read") from None
        if code == CSM:
            for number, value in options:
                if number == _MAX_MESSAGE_SIZE:
                    connection.max_bytes = decode_uint(value) if len(value) <= 4 else 0
                    if connection.max_bytes < 64:
                        raise FrameError("a Max-Message-Size that no message fits in")
                elif number == _BLOCK_WISE:
                    connection.blockwise = True
                elif number & 1:
                    raise _BadCsmOption(number)
            connection.ready = True
            self._half_open.pop(peer, None)
        elif not connection.ready:
            raise FrameError("the first message must be a CSM")
        elif code == PING:
            self._outgoing.append((encode_frame(PONG, token, b""), peer))
        # A Pong is a sign of life, and that was noted; unknown signals are ignored (§5).

    def handle_timer(self, now: float) -> list[Event]:
        """Do what is due: connections that never said hello, or nothing for too long, and the requests."""
        self._now = now
        if now >= self._look_at:
            self._look_over(now)
        return _numbered(self._inner.handle_timer(now))

    def _look_over(self, now: float) -> None:
        self._look_at = now + self._look_s if self._connections else float("inf")
        for peer, connection in list(self._connections.items()):
            if not connection.ready:
                if now >= connection.since + self._csm_timeout_s:
                    self._abort(peer, FrameError("no CSM came"))
            elif now >= connection.received_at + 2 * self._idle_s:
                self._close(peer)
            elif now >= connection.received_at + self._idle_s and not connection.pinged:
                connection.pinged = True
                self._signal(peer, PING, ())

    def next_timer(self) -> float | None:
        """When `handle_timer` should be called next, in monotonic seconds; None when nothing is due ever."""
        due = self._inner.next_timer()
        if self._connections and (due is None or self._look_at < due):
            return self._look_at
        return due

    def take_outgoing(self, now: float) -> list[tuple[bytes, Any]]:
        """What is to be written, in order, as ``(bytes, peer)``."""
        shield = self.shield
        while True:
            datagrams = self._inner.take_datagrams()
            if not datagrams:
                break
            for data, peer in datagrams:
                below = peer if shield is None else shield.below(peer)
                if data[1] == 0 or below not in self._connections:
                    continue  # acknowledgements, Resets, and what came too late
                if shield is not None and below is not peer:
                    shield.send(data, peer, now)
                else:
                    self._write(data, peer)
                if data[0] & 0x30 == 0:  # confirmable: it has arrived, the connection says so
                    self._inner.receive_datagram(_ACK + data[2:4], peer, now)
        if shield is not None:
            for data, peer in shield.take_datagrams():
                self._write(data, peer)
        taken, self._outgoing = self._outgoing, []
        if self._tap is not None:
            for data, peer in taken:
                self._tap(False, peer, data)
        return taken

    def _write(self, data: bytes, peer: Any) -> None:
        """A message as the frame that it is."""
        connection = self._connections.get(peer)
        if connection is None:
            return
        code = data[1]
        token_end = 4 + (data[0] & 15)
        frame = encode_frame(code, data[4:token_end], data[token_end:])
        if code >= 0x40 and len(frame) > connection.max_bytes:
            frame = encode_frame(INTERNAL_SERVER_ERROR, data[4:token_end], _TOO_LONG_FOR_YOU)
        self._outgoing.append((frame, peer))

    def take_closing(self) -> list[Any]:
        """Connections to be closed once what was taken for them is written."""
        taken, self._closing = self._closing, []
        return taken

    def _signal(self, peer: Any, code: int, options: Sequence[Option], text: str = "") -> None:
        self._outgoing.append((encode_signal(code, options, text), peer))

    def _abort(self, peer: Any, error: FrameError) -> None:
        """Tell why, and close (§5.6)."""
        self.aborted += 1
        options: tuple[Option, ...] = ()
        if isinstance(error, _BadCsmOption):
            options = ((_BAD_CSM_OPTION, encode_uint(error.number)),)
        self._signal(peer, ABORT, options, str(error))
        self._close(peer)

    def _close(self, peer: Any) -> None:
        if self._forget(peer):
            self._closing.append(peer)

    def _forget(self, peer: Any) -> bool:
        """Nothing is taken from the connection any more, and nothing is observed over it."""
        connection = self._connections.pop(peer, None)
        if connection is None:
            return False
        self._half_open.pop(peer, None)
        for token in connection.observed:
            self._inner.end_observation(token, self._now)
        return True

    # Answering, asking, observing: as in `Endpoint`

    def respond(
        self,
        request: RequestReceived,
        code: int,
        payload: Body = b"",
        options: Sequence[Option] = (),
        *,
        now: float,
    ) -> None:
        """See `Endpoint.respond`."""
        self._inner.respond(request, code, payload, options, now=now)

    def acknowledge(self, request: RequestReceived, now: float) -> None:
        """Nothing: a connection acknowledges by itself."""

    def send_request(
        self, peer: Any, code: int, options: Sequence[Option] = (), payload: Body = b"", **more: Any
    ) -> int:
        """See `Endpoint.send_request`; ``span`` is chosen here. Raises ConnectionError when the connection
        does not stand.
        """
        below = self._below(peer)
        connection = self._connections.get(below)
        if connection is None or not connection.ready:
            raise ConnectionError("the connection does not stand")
        if below is not peer:
            self._above.setdefault(below, set()).add(peer)
        if payload:
            room = connection.max_bytes - _HEAD_BYTES - len(encode_options(options))
            if below is not peer:
                room = max(16, room - _SHIELD_BYTES)
            if room < 1024:
                fits = max(0, room.bit_length() - 5)  # 16 << fits is the largest block that does
                asked = more.get("block_exponent")
                more["block_exponent"] = fits if asked is None else min(fits, asked)
            elif more.get("block_exponent") is None:
                more["span"] = _span(connection, room, len(payload))
        return -self._inner.send_request(peer, code, options, payload, **more)

    def cancel_request(self, request_id: int, now: float) -> list[Event]:
        """See `Endpoint.cancel_request`."""
        return _numbered(self._inner.cancel_request(-request_id, now))

    def forget_peer(self, peer: Any, now: float) -> list[Event]:
        """See `Endpoint.forget_peer`."""
        return _numbered(self._inner.forget_peer(peer, now))

    def open_requests(self, peer: Any) -> int:
        """See `Endpoint.open_requests`."""
        return self._inner.open_requests(peer)

    def accept_notification(self, event: NotificationReceived, now: float) -> None:
        """See `Endpoint.accept_notification`; nothing is sent."""
        self._inner.accept_notification(event, now)

    def refuse_notification(self, event: NotificationReceived, now: float, *, reset: bool) -> None:
        """See `Endpoint.refuse_notification`; nothing is sent, as there is no Reset (RFC 8323 §7.4)."""
        self._inner.refuse_notification(event, now, reset=reset)

    def restore_observation(self, token: bytes, key: Any, **more: Any) -> None:
        """See `Endpoint.restore_observation`; over a new connection there is nothing to restore (§7.4)."""

    def hasten(self, peer: Any, now: float) -> None:
        """Nothing: a connection does not lose what it was given."""

    def end_observation(self, token: bytes, now: float) -> bool:
        """See `Endpoint.end_observation`."""
        return self._inner.end_observation(token, now)

    def is_observing(self, token: bytes) -> bool:
        """See `Endpoint.is_observing`."""
        return self._inner.is_observing(token)

    # Looking in

    def table_sizes(self) -> dict[str, int]:
        """Entries and bytes held, as `Endpoint.table_sizes`, with the connections and their buffers."""
        return {
            **self._inner.table_sizes(),
            "connections": len(self._connections),
            "buffered_bytes": sum(len(one.buffer) for one in self._connections.values()),
        }

    def counts(self) -> dict[str, int]:
        """What happened since the start."""
        return {**self._inner.counts(), "aborted": self.aborted}


class _BadCsmOption(FrameError):
    """A critical option of a CSM that is not known (§5.3)."""

    def __init__(self, number: int) -> None:
        super().__init__(f"critical CSM option {number} is not known")
        self.number = number


_TOO_LONG_FOR_YOU: Final = b"\xffthe answer is longer than your Max-Message-Size: ask for smaller blocks"


def _span(connection: _Connection, room: int, length: int) -> int:
    """How much of a body goes in one message (§6); 0: a block of 1024 bytes."""
    if connection.blockwise:
        span = min(room, _LONGEST_SPAN) & ~1023
        return span if span > 1024 else 0
    return length if length <= min(room, 4 * _LONGEST_SPAN) else 0


def _numbered(events: list[Event]) -> list[Event]:
    """The events with our numbers of requests in place of the inner ones."""
    for event in events:
        if isinstance(event, ResponseReceived | RequestFailed):
            event.request_id = -event.request_id
    return events
