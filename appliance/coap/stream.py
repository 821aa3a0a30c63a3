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

Larger bodies go in blocks of 1024 bytes: the Max-Message-Size we announce is the base value of 1152, and with
it no peer uses BERT (§6). Longer messages are taken all the same, up to ``max_message_bytes``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

from appliance.coap.blockwise import Body
from appliance.coap.endpoint import (
    Endpoint,
    Event,
    NotificationReceived,
    RequestFailed,
    RequestReceived,
    ResponseReceived,
)
from appliance.coap.message import MessageFormatError, decode_options
from appliance.coap.options import Option, decode_uint, encode_uint
from appliance.coap.transmission import Transmission

CSM, PING, PONG, RELEASE, ABORT = 0xE1, 0xE2, 0xE3, 0xE4, 0xE5  # RFC 8323 §5
_MAX_MESSAGE_SIZE, _BLOCK_WISE = 2, 4  # options of a CSM
_BAD_CSM_OPTION = 2  # option of an Abort

BASE_MESSAGE_BYTES: Final = 1152  # §5.3.1
CONNECTION_LOST: Final = "connection-lost"

_MAX_DUPLICATES: Final = 8192  # fewer than there are Message IDs: a number is free again before it is reused
_ACK: Final = b"\x60\x00"


class FrameError(ValueError):
    """Bytes that are no frame; the connection cannot go on. The text is the diagnosis of the Abort."""


def encode_frame(code: int, token: bytes, rest: bytes) -> bytes:
    """A frame (§3.2). ``rest`` are options and payload as they stand behind the token of a datagram."""
    length = len(rest)
    if length < 13:
        head = bytes((length << 4 | len(token), code))
    elif length < 269:
        head = bytes((0xD0 | len(token), length - 13, code))
    elif length < 65805:
        head = bytes((0xE0 | len(token),)) + (length - 269).to_bytes(2, "big") + bytes((code,))
    else:
        head = bytes((0xF0 | len(token),)) + (length - 65805).to_bytes(4, "big") + bytes((code,))
    return head + token + rest


def split_frame(data: bytes | bytearray, start: int, max_bytes: int) -> tuple[int, int, int, int] | None:
    """Where the frame at ``start`` has its code, its token, its options, and its end; None: not whole yet.

    Raises FrameError for a reserved token length, and for a frame of more than ``max_bytes``.
    """
    if len(data) <= start:
        return None
    first = data[start]
    nibble, token_length = first >> 4, first & 15
    if token_length > 8:
        raise FrameError("token of more than 8 bytes")
    extended = (0, 1, 2, 4)[max(0, nibble - 12)]
    if len(data) < start + 1 + extended:
        return None
    length = nibble
    if extended:
        length = int.from_bytes(data[start + 1 : start + 1 + extended], "big") + (13, 269, 65805)[nibble - 13]
    code = start + 1 + extended
    end = code + 1 + token_length + length
    if end - start > max_bytes:
        raise FrameError(f"message of {end - start} bytes, at most {max_bytes} are taken")
    if len(data) < end:
        return None
    return code, code + 1, code + 1 + token_length, end


class _Connection:
    """What is known of one connection. ``ready``: its CSM has come."""

    __slots__ = ("buffer", "mid", "pinged", "ready", "received_at", "since")

    def __init__(self, now: float) -> None:
        self.buffer = bytearray()
        self.mid = 0
        self.ready = False
        self.since = now
        self.received_at = now
        self.pinged = False


class StreamEndpoint:
    """One CoAP endpoint over all connections of a bearer. A peer is one connection, any hashable value.

    The numbers of its requests are negative, so that an owner of both kinds can keep them in one table.
    ``tap`` is shown every frame, with whether it came in. ``csm_timeout_s``: how long a connection may stay
    without its CSM. ``idle_s``: a connection silent for so long is pinged, and closed when it stays silent
    for as long again. The caps of `Endpoint` hold.
    """

    def __init__(
        self,
        *,
        rng: random.Random | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        max_message_bytes: int = 65536,
        csm_timeout_s: float = 10.0,
        idle_s: float = 300.0,
        max_queue: int = 64,
        max_body_bytes: int = 1024 * 1024,
        max_reassembly_bytes: int = 8 * 1024 * 1024,
        tap: Callable[[bool, Any, bytes], None] | None = None,
    ) -> None:
        # A request may wait for its answer until its deadline; it never waits for another one (§3).
        self._inner = Endpoint(
            Transmission(nstart=1),
            rng=rng,
            random_bytes=random_bytes,
            max_duplicates=_MAX_DUPLICATES,
            max_queue=max_queue,
            max_body_bytes=max_body_bytes,
            max_reassembly_bytes=max_reassembly_bytes,
        )
        self._max_message_bytes = max_message_bytes
        self._csm_timeout_s = csm_timeout_s
        self._idle_s = idle_s
        self._connections: dict[Hashable, _Connection] = {}
        self._outgoing: list[tuple[bytes, Any]] = []
        self._closing: list[Any] = []
        self._tap = tap
        self._look_at = float("inf")  # when the connections have to be looked over next
        self._look_s = min(csm_timeout_s, idle_s) / 4
        self.aborted = 0

    # Connections

    def opened(self, peer: Any, now: float) -> None:
        """A connection was made; our CSM goes out."""
        self._connections[peer] = _Connection(now)
        self._look_at = min(self._look_at, now + self._look_s)
        options = ((_MAX_MESSAGE_SIZE, encode_uint(BASE_MESSAGE_BYTES)), (_BLOCK_WISE, b""))
        self._signal(peer, CSM, options)

    def closed(self, peer: Any, now: float) -> list[Event]:
        """The connection is gone: what was asked over it ends with the reason `CONNECTION_LOST`."""
        self._connections.pop(peer, None)
        events: list[Event] = []
        for event in self._inner.forget_peer(peer, now):
            if isinstance(event, RequestFailed):
                event = RequestFailed(-event.request_id, event.key, event.peer, CONNECTION_LOST)
            events.append(event)
        return events

    def is_open(self, peer: Any) -> bool:
        """Whether requests can be sent over the connection: it stands, and its CSM has come."""
        connection = self._connections.get(peer)
        return connection is not None and connection.ready

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def half_open(self) -> int:
        """How many of them have not sent their CSM."""
        return sum(1 for connection in self._connections.values() if not connection.ready)

    # Bytes and time

    def receive(self, data: bytes, peer: Any, now: float) -> list[Event]:
        """Bytes of a connection in. Gives what the owner has to know; never raises."""
        connection = self._connections.get(peer)
        if connection is None:
            return []
        connection.received_at = now
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
        events = self._inner.receive_datagram(datagram, peer, now)
        if self._inner.format_errors != errors:
            raise FrameError("options or payload cannot be read")
        return _numbered(events)

    def _signalled(self, connection: _Connection, code: int, token: bytes, rest: bytes, peer: Any) -> None:
        try:
            options = decode_options(rest.partition(b"\xff")[0] if code == ABORT else rest)
        except MessageFormatError:
            raise FrameError("options of a signaling message cannot be read") from None
        if code == CSM:
            for number, value in options:
                if number == _MAX_MESSAGE_SIZE:
                    if len(value) > 4 or decode_uint(value) < 64:
                        raise FrameError("a Max-Message-Size that no message fits in")
                elif number & 1:
                    raise _BadCsmOption(number)
            connection.ready = True
        elif not connection.ready:
            raise FrameError("the first message must be a CSM")
        elif code == PING:
            self._outgoing.append((encode_frame(PONG, token, b""), peer))
        elif code in (RELEASE, ABORT):
            self._close(peer)
        # A Pong is a sign of life, and that was noted; unknown signals are ignored (§5).

    def handle_timer(self, now: float) -> list[Event]:
        """Do what is due: connections that never said hello, or nothing for too long, and the requests."""
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
        while True:
            datagrams = self._inner.take_datagrams()
            if not datagrams:
                break
            for data, peer in datagrams:
                code = data[1]
                if code == 0 or peer not in self._connections:
                    continue  # acknowledgements, Resets, and what came too late
                token_end = 4 + (data[0] & 15)
                self._outgoing.append((encode_frame(code, data[4:token_end], data[token_end:]), peer))
                if data[0] & 0x30 == 0:  # confirmable: it has arrived, the connection says so
                    self._inner.receive_datagram(_ACK + data[2:4], peer, now)
        taken, self._outgoing = self._outgoing, []
        if self._tap is not None:
            for data, peer in taken:
                self._tap(False, peer, data)
        return taken

    def take_closing(self) -> list[Any]:
        """Connections to be closed once what was taken for them is written."""
        taken, self._closing = self._closing, []
        return taken

    def _signal(self, peer: Any, code: int, options: Sequence[Option], text: str = "") -> None:
        rest = b"".join(_option(number, value, before) for before, number, value in _deltas(options))
        if text:
            rest += b"\xff" + text.encode()
        self._outgoing.append((encode_frame(code, b"", rest), peer))

    def _abort(self, peer: Any, error: FrameError) -> None:
        """Tell why, and close (§5.6)."""
        self.aborted += 1
        options: tuple[Option, ...] = ()
        if isinstance(error, _BadCsmOption):
            options = ((_BAD_CSM_OPTION, encode_uint(error.number)),)
        self._signal(peer, ABORT, options, str(error))
        self._close(peer)

    def _close(self, peer: Any) -> None:
        if self._connections.pop(peer, None) is not None:
            self._closing.append(peer)

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
        """See `Endpoint.send_request`. Raises ConnectionError when the connection does not stand."""
        if not self.is_open(peer):
            raise ConnectionError("the connection does not stand")
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


def _numbered(events: list[Event]) -> list[Event]:
    """The events with our numbers of requests in place of the inner ones."""
    for event in events:
        if isinstance(event, ResponseReceived | RequestFailed):
            event.request_id = -event.request_id
    return events


def _deltas(options: Sequence[Option]) -> list[tuple[int, int, bytes]]:
    before = 0
    found = []
    for number, value in options:
        found.append((before, number, value))
        before = number
    return found


def _option(number: int, value: bytes, before: int) -> bytes:
    """One short option of a signaling message: both nibbles below 13."""
    return bytes((number - before << 4 | len(value),)) + value
