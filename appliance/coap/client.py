"""The asking half of an endpoint: requests to peers, their retransmission, blocks and observations.

The laws of this file:

- a request ends exactly once: with a response, or with a RequestFailed that says why;
- no more than NSTART requests to one peer are outstanding (RFC 7252 §4.7), the others wait in a bounded line;
- an observation is a token and nothing else: no request that fails touches one (RFC 7641 §3);
- a peer that is asked nothing has no state here.

One module of more than 400 lines, because an exchange passes through all of it: line, first datagram,
retransmission, blocks up, blocks down, end. Split up, every part would need the insides of the others.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from appliance.coap.blockwise import (
    BERT,
    MAX_BLOCK_NUMBER,
    Block,
    BlockFormatError,
    Body,
    decode_block,
    encode_block,
)
from appliance.coap.duplicates import EMPTY_ACK, RESET, Duplicates, Key
from appliance.coap.events import (
    BAD_RESPONSE,
    BLOCK,
    BODY_TOO_LARGE,
    CANCELLED,
    DEADLINE,
    TIMEOUT,
    Event,
    NotificationReceived,
    RequestFailed,
    ResponseReceived,
)
from appliance.coap.events import RESET as BY_RESET
from appliance.coap.message import (
    CON,
    CONTINUE,
    FETCH,
    GET,
    NON,
    REQUEST_ENTITY_INCOMPLETE,
    REQUEST_ENTITY_TOO_LARGE,
    Message,
    decode_options,
    encode_options,
    encode_parts,
)
from appliance.coap.options import BLOCK1, BLOCK2, ETAG, OBSERVE, SIZE1, Option, encode_uint, find, screen
from appliance.coap.transmission import MessageIds, Tokens, Transmission

NEVER = float("inf")

# What a request has to do with an observation.
PLAIN, REGISTER, DEREGISTER = range(3)

# Where an exchange is. WAITING counts against NSTART; ACKED waits for a separate response.
QUEUED, WAITING, ACKED, DONE = range(4)

_OBSERVE = ((OBSERVE, b""),)  # 0, register (RFC 7641 §2)
_OBSERVE_NO_MORE = ((OBSERVE, b"\x01"),)

_MAX_RESTARTS = 3  # of one block-wise transfer, when the peer lost its part or the body changed
_COLLECTION_ACK_S = 5.0
"""A block-wise notification that is not whole after this time is acknowledged all the same: unacknowledged,
the peer would end the observation while it is being asked for the rest."""


def is_fresh(new: int, old: int, seconds_between: float) -> bool:
    """Whether a notification with the Observe value ``new`` is newer than the one with ``old`` that arrived
    ``seconds_between`` before it (RFC 7641 §3.4: 24-bit numbers, 128 seconds).
    """
    return 0 < (new - old & 0xFFFFFF) < 0x800000 or seconds_between > 128.0


@lru_cache(maxsize=1024)
def _wire_form(options: tuple[Option, ...]) -> bytes:
    """The options encoded; peers that are asked the same share one. Raises ValueError."""
    return encode_options(options)


Progress = Callable[[int, int], None]  # bytes that the peer has acknowledged, bytes in all


class QueueFull(Exception):
    """So many requests to this peer are open already that another one is refused."""


class Exchange:
    """One request under way, or (with ``id`` 0) a separate response of ours waiting for its ACK."""

    __slots__ = (
        "ack_at",
        "allowance_s",
        "began",
        "body",
        "code",
        "confirmable",
        "data",
        "deadline",
        "etag",
        "exponent",
        "first",
        "heap_at",
        "id",
        "intent",
        "key",
        "mid",
        "notification",
        "observing",
        "offset",
        "options",
        "own_block2",
        "payload",
        "peer",
        "progress",
        "resend_at",
        "resends_left",
        "restarts",
        "retransmitted",
        "rtt_s",
        "sent_at",
        "span",
        "state",
        "timeout_s",
        "token",
        "too_large",
        "upload",
        "watched",
    )

    def __init__(
        self, id: int, key: Any, peer: Hashable, code: int, options: Sequence[Option], payload: Body
    ) -> None:
        self.id = id
        self.key = key
        self.peer = peer
        self.code = code
        self.options = options
        self.payload = payload
        self.confirmable = True
        self.intent = PLAIN
        self.watched = b""  # token of the observation that this request registers or ends
        self.observing = False
        self.began = False  # the observation did not exist before
        self.state = QUEUED
        self.token = b""
        self.mid = -1
        self.data = b""
        self.deadline = NEVER
        self.allowance_s = NEVER
        self.resend_at = NEVER
        self.ack_at = NEVER
        self.heap_at = NEVER
        self.resends_left = 0
        self.timeout_s = 0.0
        self.sent_at = 0.0
        self.rtt_s: float | None = None
        self.retransmitted = False
        self.upload = False  # the payload goes out in blocks
        self.progress: Progress | None = None
        self.offset = 0
        self.exponent = 6
        self.span = 0  # bytes of our body in one message, in place of those that the exponent says
        self.too_large = False
        self.restarts = 0
        self.body: bytearray | None = None  # the answer, as far as its blocks have arrived
        self.first: Message | None = None
        self.etag: bytes | None = None
        self.own_block2 = False
        self.notification: NotificationReceived | None = None

    def due_at(self) -> float:
        """When the timer has to look at this exchange."""
        due = self.deadline
        if self.resend_at < due:
            due = self.resend_at
        return self.ack_at if self.ack_at < due else due


class Observation:
    """What is known of an observation: whose it is, and how to ask for the rest of a notification."""

    __slots__ = ("code", "key", "options", "payload")

    def __init__(self, key: Any, code: int, options: bytes, payload: bytes) -> None:
        self.key = key
        self.code = code
        self.options = options  # in their wire form, which is a fifth of the size
        self.payload = payload


class _Line:
    """The requests to one peer: how many are outstanding, how many are open, which wait."""

    __slots__ = ("open", "outstanding", "waiting")

    def __init__(self) -> None:
        self.open: set[Exchange] = set()
        self.outstanding = 0
        self.waiting: deque[Exchange] = deque()


class Client:
    """Requests and observations. Its public methods are described at `Endpoint`."""

    def __init__(
        self,
        transmission: Transmission,
        outgoing: list[tuple[bytes, Hashable]],
        mids: MessageIds,
        tokens: Tokens,
        rng: random.Random,
        confirmable: Duplicates,
        unconfirmed: Duplicates,
        max_queue: int,
        max_body_bytes: int,
        max_separate: int,
        max_upload_bytes: int,
    ) -> None:
        self._transmission = transmission
        self._outgoing = outgoing
        self._mids = mids
        self._tokens = tokens
        self._rng = rng
        self._confirmable = confirmable
        self._unconfirmed = unconfirmed
        self._max_queue = max_queue
        self._max_body_bytes = max_body_bytes
        self._max_separate = max_separate
        self._max_upload_bytes = max_upload_bytes
        self._separate = 0
        self._ids = count(1)
        self._turns = count()
        self._lines: dict[Hashable, _Line] = {}
        self._by_id: dict[int, Exchange] = {}
        self._by_token: dict[bytes, Exchange] = {}
        self._by_mid: dict[Key, Exchange] = {}
        self._collections: dict[bytes, Exchange] = {}
        self._heap: list[tuple[float, int, Exchange]] = []
        self._stale = 0
        self.observations: dict[bytes, Observation] = {}
        self.retransmissions = 0
        self.unknown_tokens = 0
        self.incomplete_notifications = 0

    def sizes(self) -> dict[str, int]:
        """How many entries each table holds."""
        return {
            "lines": len(self._lines),
            "requests": len(self._by_id),
            "tokens": len(self._by_token),
            "in_flight": len(self._by_mid),
            "collections": len(self._collections),
            "separate": self._separate,
            "timers": len(self._heap),
            "observations": len(self.observations),
        }

    # Requests in and out of the line.

    def send_request(
        self,
        peer: Hashable,
        code: int,
        options: Sequence[Option],
        payload: Body,
        *,
        now: float,
        deadline: float,
        key: Any,
        intent: int,
        token: bytes | None,
        confirmable: bool,
        block_exponent: int | None,
        progress: Progress | None = None,
        span: int = 0,
    ) -> int:
        """See `Endpoint.send_request`. ``span``: so many bytes of a body go in one message, whole or as BERT
        (then a multiple of 1024, RFC 8323 §6); 0: as many as a block has.
        """
        encode_parts(CON, code, 0, token or b"", (), b"")  # a ValueError now leaves no state behind
        _wire_form(tuple(options))
        line = self._lines.get(peer)
        if line is not None and len(line.open) >= self._max_queue:
            raise QueueFull(f"{self._max_queue} requests to {peer} are open")
        exchange = Exchange(next(self._ids), key, peer, code, options, payload)
        exchange.deadline = deadline
        exchange.allowance_s = deadline - now
        exchange.confirmable = confirmable
        exchange.intent = intent
        exchange.progress = progress
        exchange.span = span
        exchange.exponent = self._transmission.block_exponent
        if block_exponent is not None:
            exchange.exponent = min(max(block_exponent, 0), exchange.exponent)
        exchange.own_block2 = any(number == BLOCK2 for number, _ in options)
        if intent != PLAIN:
            exchange.watched = token or self._tokens.take()
        if len(payload) > self._max_upload_bytes:
            self._refuse(exchange, now)
        else:
            self._enqueue(exchange, now)
        return exchange.id

    def _refuse(self, exchange: Exchange, now: float) -> None:
        """Its body is too large: nothing of it is sent, and the timer that is due now tells its caller."""
        exchange.payload = b""
        exchange.too_large = True
        exchange.deadline = now
        self._by_id[exchange.id] = exchange
        self._lines.setdefault(exchange.peer, _Line()).open.add(exchange)
        self._schedule(exchange)

    def _enqueue(self, exchange: Exchange, now: float) -> None:
        line = self._lines.get(exchange.peer)
        if line is None:
            line = self._lines[exchange.peer] = _Line()
        line.open.add(exchange)
        self._by_id[exchange.id] = exchange
        if exchange.notification is None:
            line.waiting.append(exchange)
        else:
            line.waiting.appendleft(exchange)  # the peer may not keep the rest of a body for long
        self._pump(line, now)
        self._schedule(exchange)

    def _pump(self, line: _Line, now: float) -> None:
        while line.waiting and line.outstanding < self._transmission.nstart:
            exchange = line.waiting.popleft()
            line.outstanding += 1
            self._transmit(exchange, now)

    def cancel_request(self, request_id: int, now: float) -> list[Event]:
        """See `Endpoint.cancel_request`."""
        exchange = self._by_id.get(request_id)
        if exchange is None or exchange.notification is not None:
            return []
        return self._fail(exchange, CANCELLED, now)

    def forget_peer(self, peer: Hashable, now: float) -> list[Event]:
        """See `Endpoint.forget_peer`."""
        line = self._lines.get(peer)
        if line is None:
            return []
        line.waiting.clear()  # none of them is to start when the one before it ends
        events: list[Event] = []
        for exchange in sorted(line.open, key=lambda exchange: exchange.id):
            events += self._fail(exchange, CANCELLED, now)
        return events

    def open_requests(self, peer: Hashable) -> int:
        """See `Endpoint.open_requests`."""
        line = self._lines.get(peer)
        return 0 if line is None else len(line.open)

    def hasten(self, peer: Hashable, now: float) -> None:
        """See `Endpoint.hasten`."""
        line = self._lines.get(peer)
        if line is None:
            return
        pause_s = self._transmission.ack_timeout_s
        for exchange in line.open:
            # Acknowledged and unsent ones never come up again by themselves: resend_at says so.
            if exchange.resends_left and now - (exchange.resend_at - exchange.timeout_s) >= pause_s:
                self._resend(exchange, now)
                exchange.timeout_s = self._transmission.first_timeout_s(self._rng)
                exchange.resend_at = now + exchange.timeout_s
                self._schedule(exchange)

    def _end(self, exchange: Exchange, now: float) -> None:
        """The exchange is over: every table forgets it, and the next one in the line starts."""
        line = self._lines[exchange.peer]
        if exchange.state == WAITING:
            line.outstanding -= 1
        elif exchange.state == QUEUED and exchange in line.waiting:
            line.waiting.remove(exchange)
        self._release(exchange)
        exchange.state = DONE
        if exchange.heap_at != NEVER:
            self._stale += 1
        del self._by_id[exchange.id]
        line.open.discard(exchange)
        exchange.options = ()
        exchange.payload = exchange.data = b""
        if not line.open:
            del self._lines[exchange.peer]
        else:
            self._pump(line, now)

    def _release(self, exchange: Exchange) -> None:
        """The datagram on the wire is no longer ours: its Message ID and token match nothing."""
        place = (exchange.peer, exchange.mid)
        if self._by_mid.get(place) is exchange:
            del self._by_mid[place]
        if self._by_token.get(exchange.token) is exchange:
            del self._by_token[exchange.token]
        exchange.resend_at = NEVER

    def _fail(self, exchange: Exchange, reason: str, now: float) -> list[Event]:
        notification = exchange.notification
        if exchange.began:  # its caller hears of a failure, so it must not hear of notifications
            self.observations.pop(exchange.watched, None)
        self._end(exchange, now)
        if notification is None:
            return [RequestFailed(exchange.id, exchange.key, exchange.peer, reason)]
        # A retransmission of the notification starts the collection anew.
        self.incomplete_notifications += 1
        self._collections.pop(notification.token, None)
        if not notification.acknowledged:
            self._forget(notification)
        return []

    # Datagrams out.

    def _transmit(self, exchange: Exchange, now: float) -> None:
        """The next datagram of the exchange: the request, or its next block."""
        peer = exchange.peer
        options: Sequence[Option] = exchange.options
        payload = exchange.payload
        collecting = exchange.body is not None
        first: tuple[Option, ...] = ()  # mostly in its place there, which spares sorting
        extra: list[Option] = []
        if exchange.intent != PLAIN and not collecting:
            token = exchange.watched
            first = _OBSERVE if exchange.intent == REGISTER else _OBSERVE_NO_MORE
        else:
            token = self._tokens.take()
        size = exchange.span or 16 << exchange.exponent
        if exchange.body is not None:
            number = len(exchange.body) >> exchange.exponent + 4
            extra.append((BLOCK2, encode_block(Block(number, False, exchange.exponent))))
            if exchange.code != FETCH or exchange.upload:
                payload = b""  # the whole of it is at the peer (RFC 7959 §3.3)
        elif len(payload) > size or exchange.upload:
            exchange.upload = True
            end = exchange.offset + size
            exponent = BERT if exchange.span else exchange.exponent
            number = exchange.offset >> min(exponent, 6) + 4
            extra.append((BLOCK1, encode_block(Block(number, end < len(payload), exponent))))
            if exchange.offset == 0:
                extra.append((SIZE1, encode_uint(len(payload))))
            payload = payload[exchange.offset : end]
        elif exchange.exponent < 6 and exchange.code in (GET, FETCH) and not exchange.own_block2:
            extra.append((BLOCK2, encode_block(Block(0, False, exchange.exponent))))
        mid = self._mids.take(peer, now)
        kind = CON if exchange.confirmable else NON
        data = encode_parts(
            kind,
            exchange.code,
            mid,
            token,
            (*first, *options, *extra) if first or extra else options,
            payload,
        )
        exchange.token = token
        exchange.mid = mid
        exchange.state = WAITING
        exchange.sent_at = now
        self._by_token[token] = exchange
        self._by_mid[(peer, mid)] = exchange
        if exchange.confirmable:
            self._start_retransmission(exchange, data, now)
        self._outgoing.append((data, peer))

    def _start_retransmission(self, exchange: Exchange, data: bytes, now: float) -> None:
        exchange.data = data
        exchange.timeout_s = self._transmission.first_timeout_s(self._rng)
        exchange.resend_at = now + exchange.timeout_s
        exchange.resends_left = self._transmission.max_retransmit
        self._schedule(exchange)

    def _go_on(self, exchange: Exchange, now: float) -> None:
        """Send the next block. Every block that arrives renews the allowance of the caller's deadline."""
        exchange.deadline = now + exchange.allowance_s
        if exchange.rtt_s is None and not exchange.retransmitted:
            exchange.rtt_s = now - exchange.sent_at
        had_slot = exchange.state == WAITING
        self._release(exchange)
        if had_slot:
            self._transmit(exchange, now)
        else:
            exchange.state = QUEUED
            line = self._lines[exchange.peer]
            line.waiting.appendleft(exchange)
            self._pump(line, now)
        self._schedule(exchange)

    def confirm(self, data: bytes, peer: Hashable, mid: int, now: float) -> None:
        """A separate response was sent: repeat it until it is acknowledged (RFC 7252 §5.2.2)."""
        if self._separate >= self._max_separate:
            return  # sent once; a stranger who never acknowledges gets no more of our memory
        self._separate += 1
        exchange = Exchange(0, None, peer, 0, (), b"")
        exchange.mid = mid
        exchange.state = WAITING
        self._by_mid[(peer, mid)] = exchange
        self._start_retransmission(exchange, data, now)

    def _end_separate(self, exchange: Exchange) -> None:
        self._separate -= 1
        self._release(exchange)
        exchange.state = DONE
        exchange.data = b""
        if exchange.heap_at != NEVER:
            self._stale += 1

    # Time.

    def _schedule(self, exchange: Exchange) -> None:
        if exchange.state == DONE:
            return
        due = exchange.due_at()
        if due < exchange.heap_at:
            if exchange.heap_at != NEVER:
                self._stale += 1
            exchange.heap_at = due
            heapq.heappush(self._heap, (due, next(self._turns), exchange))
            if self._stale > 256 and self._stale * 2 > len(self._heap):
                self._heap = [
                    entry for entry in self._heap if entry[2].state != DONE and entry[0] == entry[2].heap_at
                ]
                heapq.heapify(self._heap)
                self._stale = 0

    def due_at(self) -> float | None:
        """When `handle_timer` has something to do."""
        heap = self._heap
        while heap and (heap[0][2].state == DONE or heap[0][0] != heap[0][2].heap_at):
            heapq.heappop(heap)
            self._stale -= 1
        return heap[0][0] if heap else None

    def handle_timer(self, now: float) -> list[Event]:
        """Retransmit, give up, pass deadlines."""
        events: list[Event] = []
        due = self.due_at()
        while due is not None and due <= now:
            exchange = heapq.heappop(self._heap)[2]
            exchange.heap_at = NEVER
            if exchange.ack_at <= now:
                exchange.ack_at = NEVER
                if exchange.notification is not None:
                    self._acknowledge_notification(exchange.notification)
            if exchange.deadline <= now:
                reason = BODY_TOO_LARGE if exchange.too_large else DEADLINE
                events += self._fail(exchange, reason, now)
            elif exchange.resend_at <= now:
                events += self._resend(exchange, now)
            self._schedule(exchange)
            due = self.due_at()
        return events

    def _resend(self, exchange: Exchange, now: float) -> list[Event]:
        if exchange.resends_left == 0:
            if exchange.id == 0:
                self._end_separate(exchange)
                return []
            return self._fail(exchange, TIMEOUT, now)
        exchange.resends_left -= 1
        exchange.timeout_s *= 2  # RFC 7252 §4.2
        exchange.resend_at = now + exchange.timeout_s
        exchange.retransmitted = True
        self.retransmissions += 1
        self._outgoing.append((exchange.data, exchange.peer))
        return []

    # Datagrams in.

    def receive_empty_ack(self, key: Key, now: float) -> None:
        """The peer has our message; a response, if one is due, comes separately (RFC 7252 §5.2.2)."""
        exchange = self._by_mid.get(key)
        if exchange is None or not exchange.confirmable or exchange.state != WAITING:
            return
        if exchange.id == 0:
            self._end_separate(exchange)
            return
        del self._by_mid[key]
        exchange.resend_at = NEVER
        exchange.state = ACKED
        exchange.data = b""
        line = self._lines[exchange.peer]
        line.outstanding -= 1
        self._pump(line, now)

    def receive_reset(self, key: Key, now: float) -> list[Event]:
        """The peer rejects our message (RFC 7252 §4.2, §4.3)."""
        exchange = self._by_mid.get(key)
        if exchange is None:
            return []
        if exchange.id == 0:
            self._end_separate(exchange)
            return []
        return self._fail(exchange, BY_RESET, now)

    def receive_piggybacked(self, message: Message, peer: Hashable, now: float) -> list[Event]:
        """A response in an ACK. One that matches nothing is ignored (RFC 7252 §4.2)."""
        exchange = self._by_token.get(message.token)
        if exchange is None or exchange.mid != message.mid or exchange.peer != peer:
            return []
        return self._receive_response(exchange, message, now)

    def receive_response(self, message: Message, key: Key, now: float) -> list[Event]:
        """A CON or NON response that is not a duplicate: separate response, or notification."""
        token = message.token
        observation = self.observations.get(token)
        exchange = self._by_token.get(token)
        if exchange is not None and exchange.peer == key[0]:
            # A notification that crossed our Observe:1 is still a notification, not the answer to it.
            crossed = exchange.intent == DEREGISTER and find(message.options, OBSERVE) is not None
            if observation is None or not crossed:
                if message.type == CON:
                    if message.special and screen(message.options)[1] is not None:
                        self._outgoing.append((RESET + message.mid.to_bytes(2, "big"), key[0]))
                    else:
                        self._confirmable.add(key, now).answer = EMPTY_ACK
                        self._outgoing.append((EMPTY_ACK + message.mid.to_bytes(2, "big"), key[0]))
                return self._receive_response(exchange, message, now)
        if observation is None:
            self.unknown_tokens += 1
            if message.type == CON or find(message.options, OBSERVE) is not None:
                self._outgoing.append((RESET + message.mid.to_bytes(2, "big"), key[0]))  # RFC 7641 §3.6
            return []
        return self._receive_notification(observation, message, key, now)

    def _receive_response(self, exchange: Exchange, message: Message, now: float) -> list[Event]:
        if message.special:
            message.options, refused = screen(message.options)
            if refused is not None:  # RFC 7252 §5.4.1
                return self._fail(exchange, BAD_RESPONSE, now)
        try:
            if exchange.upload or message.code == REQUEST_ENTITY_TOO_LARGE:
                following = self._upload_on(exchange, message, now)
                if following is not None:
                    return following
            if exchange.intent == REGISTER and not exchange.observing:
                self._start_observing(exchange, message)
            value = find(message.options, BLOCK2) if not exchange.own_block2 else None
            if value is not None or exchange.body is not None:
                block = None if value is None else decode_block(value, bert=self._transmission.bert)
                following = self._collect(exchange, message, block, now)
                if following is not None:
                    return following
        except BlockFormatError:
            return self._fail(exchange, BLOCK, now)
        return self._finish(exchange, message, now)

    def _start_observing(self, exchange: Exchange, message: Message) -> None:
        if message.code >> 5 == 2 and find(message.options, OBSERVE) is not None:
            exchange.observing = True
            exchange.began = exchange.watched not in self.observations
            self.observations[exchange.watched] = Observation(
                exchange.key, exchange.code, _wire_form(tuple(exchange.options)), bytes(exchange.payload)
            )

    def _finish(self, exchange: Exchange, message: Message, now: float) -> list[Event]:
        if exchange.rtt_s is None and not exchange.retransmitted:
            exchange.rtt_s = now - exchange.sent_at
        if exchange.body is not None and exchange.first is not None and message.code == exchange.first.code:
            # The body is whole: it belongs under the head of its first block, where the Observe is.
            first = exchange.first
            first.payload = bytes(exchange.body)
            first.options = [option for option in first.options if option[0] != BLOCK2]
            message = first
        notification = exchange.notification
        if notification is not None:
            if message.code >> 5 != 2:
                return self._fail(exchange, BLOCK, now)
            self._end(exchange, now)
            self._collections.pop(notification.token, None)
            notification.message.payload = message.payload
            notification.message.options = [
                option for option in notification.message.options if option[0] != BLOCK2
            ]
            return [notification]
        if exchange.intent != PLAIN and not exchange.observing:
            self.observations.pop(exchange.watched, None)  # the peer has answered that it does not observe
        token = exchange.watched or exchange.token
        event = ResponseReceived(
            exchange.id,
            exchange.key,
            exchange.peer,
            message,
            exchange.observing,
            token,
            None if exchange.retransmitted else exchange.rtt_s,
            exchange.retransmitted,
        )
        self._end(exchange, now)
        return [event]

    # Block-wise transfers.

    def _upload_on(self, exchange: Exchange, message: Message, now: float) -> list[Event] | None:
        """Our body, the next block of it (RFC 7959 §2.3, §2.5). None when this is the answer to the whole."""
        value = find(message.options, BLOCK1)
        exponent = BERT if exchange.span else exchange.exponent
        block = None if value is None else decode_block(value, bert=exponent == BERT)
        if message.code == REQUEST_ENTITY_TOO_LARGE:
            smaller = block is not None and block.exponent < exponent
            if not smaller or block is None or exchange.restarts >= _MAX_RESTARTS:
                return None
            exchange.span = 0
            exchange.exponent = min(exchange.exponent, block.exponent)
            exchange.upload = True
        elif message.code == REQUEST_ENTITY_INCOMPLETE:
            if exchange.restarts >= _MAX_RESTARTS or exchange.offset == 0:
                return None
        elif message.code == CONTINUE or (block is not None and message.code >> 5 == 2):
            size = exchange.span or 16 << exponent
            end, total = exchange.offset + size, len(exchange.payload)
            if exchange.progress is not None and total > size:
                exchange.progress(min(end, total), total)
            if end >= total:
                return None if message.code != CONTINUE else self._fail(exchange, BLOCK, now)
            if block is None or block.number != exchange.offset >> min(exponent, 6) + 4:
                return self._fail(exchange, BLOCK, now)
            exchange.offset = end
            if block.exponent != BERT:
                exchange.span = 0
                exchange.exponent = min(exchange.exponent, block.exponent)
            if end >> exchange.exponent + 4 > MAX_BLOCK_NUMBER:
                return self._fail(exchange, BLOCK, now)  # so large a body does not go in so small blocks
            self._go_on(exchange, now)
            return []
        elif message.code >> 5 == 2 and exchange.offset + (exchange.span or 16 << exponent) < len(
            exchange.payload
        ):
            return self._fail(exchange, BLOCK, now)  # done, it says, with a part of the body
        else:
            return None
        exchange.restarts += 1
        exchange.offset = 0
        self._go_on(exchange, now)
        return []

    def _collect(
        self, exchange: Exchange, message: Message, block: Block | None, now: float
    ) -> list[Event] | None:
        """The peer's body, one more block of it (RFC 7959 §2.4). None when `_finish` has its turn."""
        if message.code >> 5 != 2:
            return None  # the error is the answer
        if block is None or (exchange.body is None and not block.more and block.number == 0):
            # One message holds all of it, also in place of the block asked for.
            exchange.body = None
            message.options = [option for option in message.options if option[0] != BLOCK2]
            return None
        etag = find(message.options, ETAG)
        if exchange.body is None:
            exchange.body = bytearray()
        if exchange.first is None:
            exchange.first = message
            exchange.etag = etag
        elif etag != exchange.etag:
            return self._restart_collection(exchange, now)
        if block.offset != len(exchange.body):
            return self._fail(exchange, BLOCK, now)
        if block.more and not block.admits(len(message.payload)):
            return self._fail(exchange, BLOCK, now)
        if len(exchange.body) + len(message.payload) > self._max_body_bytes:
            return self._fail(exchange, BODY_TOO_LARGE, now)
        exchange.body += message.payload
        if not block.more:
            return None
        exchange.exponent = min(block.exponent, exchange.exponent)
        self._go_on(exchange, now)
        return []

    def _restart_collection(self, exchange: Exchange, now: float) -> list[Event]:
        """The body changed under way (another ETag): from the beginning, without Observe (RFC 7959 §2.4)."""
        exchange.restarts += 1
        if exchange.restarts > _MAX_RESTARTS or exchange.upload or exchange.code not in (GET, FETCH):
            return self._fail(exchange, BLOCK, now)  # anything else would be executed twice
        exchange.body = bytearray()
        exchange.first = None
        exchange.etag = None
        self._go_on(exchange, now)
        return []

    # Observations.

    def _receive_notification(
        self, observation: Observation, message: Message, key: Key, now: float
    ) -> list[Event]:
        block: Block | None = None
        if message.special:
            message.options, refused = screen(message.options)
            value = find(message.options, BLOCK2)
            try:
                block = None if value is None else decode_block(value, bert=self._transmission.bert)
            except BlockFormatError:
                refused = BLOCK2
            if refused is not None:
                if message.type == CON:
                    self._outgoing.append((RESET + message.mid.to_bytes(2, "big"), key[0]))
                return []
        observe: int | None = None
        for number, value in message.options:
            if number >= OBSERVE:
                if number == OBSERVE:
                    observe = int.from_bytes(value, "big")
                break
        seen = (self._confirmable if message.type == CON else self._unconfirmed).add(key, now)
        event = NotificationReceived(
            observation.key,
            message.token,
            key[0],
            message,
            observe,
            observe is None or message.code >= 0x60,
            now,
            seen,
        )
        if block is not None:
            if block.more and message.code >> 5 == 2:
                return self._collect_notification(observation, event, block, now)
            message.options = [option for option in message.options if option[0] != BLOCK2]
        return [event]

    def _collect_notification(
        self, observation: Observation, event: NotificationReceived, block: Block, now: float
    ) -> list[Event]:
        """Ask for the rest of a notification, with a GET of its own and no Observe (RFC 7959 §3.4)."""
        before = self._collections.pop(event.token, None)
        if before is not None and before.notification is not None:
            # The newer state supersedes the one being collected (RFC 7641 §3.4).
            older = before.notification
            if event.observe is not None and older.observe is not None:
                newer = is_fresh(event.observe, older.observe, now - older.at)
            else:
                newer = True
            if not newer:
                self._collections[event.token] = before
                self._acknowledge_notification(event)
                return []
            self._acknowledge_notification(older)
            self._end(before, now)
        message = event.message
        if block.number or not block.admits(len(message.payload)):
            self._forget(event)
            return []
        exchange = Exchange(
            next(self._ids),
            None,
            event.peer,
            observation.code,
            decode_options(observation.options),
            observation.payload,
        )
        exchange.notification = event
        exchange.allowance_s = self._transmission.max_transmit_wait_s
        exchange.deadline = now + exchange.allowance_s
        exchange.ack_at = now + _COLLECTION_ACK_S
        exchange.exponent = min(block.exponent, self._transmission.block_exponent)
        exchange.body = bytearray(message.payload)
        exchange.first = message
        exchange.etag = find(message.options, ETAG)
        self._collections[event.token] = exchange
        self._enqueue(exchange, now)
        return []

    def _acknowledge_notification(self, event: NotificationReceived) -> None:
        if event.message.type == CON and not event.acknowledged:
            event.acknowledged = True
            event.seen.answer = EMPTY_ACK
            self._outgoing.append((EMPTY_ACK + event.message.mid.to_bytes(2, "big"), event.peer))

    def accept_notification(self, event: NotificationReceived) -> None:
        """See `Endpoint.accept_notification`."""
        if event.decided:
            raise RuntimeError("this notification has been decided before")
        event.decided = True
        self._acknowledge_notification(event)
        if event.final:
            self.observations.pop(event.token, None)

    def refuse_notification(self, event: NotificationReceived, reset: bool) -> None:
        """See `Endpoint.refuse_notification`."""
        if event.decided:
            raise RuntimeError("this notification has been decided before")
        event.decided = True
        if reset:
            event.seen.answer = RESET
            self._outgoing.append((RESET + event.message.mid.to_bytes(2, "big"), event.peer))
        elif not event.acknowledged:
            self._forget(event)

    def _forget(self, event: NotificationReceived) -> None:
        """The next retransmission of the notification counts as a new one."""
        (self._confirmable if event.message.type == CON else self._unconfirmed).forget(event.seen)

    def restore_observation(
        self, token: bytes, key: Any, code: int, options: Sequence[Option], payload: bytes
    ) -> None:
        """See `Endpoint.restore_observation`."""
        self.observations[token] = Observation(key, code, _wire_form(tuple(options)), payload)

    def end_observation(self, token: bytes, now: float) -> bool:
        """See `Endpoint.end_observation`."""
        exchange = self._collections.pop(token, None)
        if exchange is not None:
            self._end(exchange, now)
        return self.observations.pop(token, None) is not None
