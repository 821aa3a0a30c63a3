"""The answering half of an endpoint: requests of peers in, one answer each out (RFC 7252 §5.2, RFC 7959).

An answer in time is piggybacked on the ACK of its request; otherwise the request is acknowledged empty and
answered by a message of its own. Bodies larger than a block are served block by block, each block from what
the application supplies or from the bodies kept, and the ETag says that they belong together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence

from appliance.coap.blockwise import (
    MAX_BLOCK_NUMBER,
    Block,
    BlockFormatError,
    Body,
    Reassembly,
    Served,
    ServedBodies,
    body_etag,
    decode_block,
    encode_block,
    request_key,
)
from appliance.coap.duplicates import EMPTY_ACK, Duplicates, Key
from appliance.coap.events import Event, RequestReceived
from appliance.coap.message import (
    ACK,
    BAD_OPTION,
    BAD_REQUEST,
    CON,
    CONTINUE,
    FETCH,
    GET,
    NON,
    PROXYING_NOT_SUPPORTED,
    REQUEST_ENTITY_INCOMPLETE,
    REQUEST_ENTITY_TOO_LARGE,
    Message,
    encode_parts,
)
from appliance.coap.options import (
    BLOCK1,
    BLOCK2,
    ETAG,
    PROXY_SCHEME,
    PROXY_URI,
    SIZE1,
    SIZE2,
    Option,
    encode_uint,
    find,
    find_uint,
    screen,
)
from appliance.coap.transmission import MessageIds, Transmission

Datagram = tuple[bytes, Hashable]

_MAX_UNANSWERED = 16384  # beyond it a request waits for its answer without an empty ACK


class Server:
    """Requests under way. ``confirm(data, peer, mid, now)`` sends an answer until it is acknowledged."""

    def __init__(
        self,
        transmission: Transmission,
        outgoing: list[Datagram],
        mids: MessageIds,
        confirmable: Duplicates,
        unconfirmed: Duplicates,
        reassembly: Reassembly,
        served: ServedBodies,
        confirm: Callable[[bytes, Hashable, int, float], None],
        max_body_bytes: int,
    ) -> None:
        self._outgoing = outgoing
        self._mids = mids
        self._confirmable = confirmable
        self._unconfirmed = unconfirmed
        self._reassembly = reassembly
        self._served = served
        self._confirm = confirm
        self._max_body_bytes = max_body_bytes
        self._empty_ack_delay_s = transmission.empty_ack_delay_s
        self._exponent = transmission.block_exponent
        self._block_size = transmission.block_size
        self._bert = transmission.bert
        self._unanswered: deque[RequestReceived] = deque()  # by arrival, so by the time of their empty ACK
        self.bad_options = 0

    @property
    def unanswered(self) -> int:
        """Requests that may still get an empty ACK."""
        return len(self._unanswered)

    def receive(self, message: Message, key: Key, now: float) -> list[Event]:
        """A request that is not a duplicate."""
        if message.special:
            return self._receive_special(message, key, now)
        return [self._deliver(message, key, None, now)]

    def _deliver(self, message: Message, key: Key, block1: Block | None, now: float) -> RequestReceived:
        if message.type == CON:
            event = RequestReceived(key[0], message, now, self._confirmable.add(key, now), block1)
            if len(self._unanswered) < _MAX_UNANSWERED:
                self._unanswered.append(event)
            return event
        return RequestReceived(key[0], message, now, self._unconfirmed.add(key, now), block1)

    def _receive_special(self, message: Message, key: Key, now: float) -> list[Event]:
        options, refused = screen(message.options)
        if refused is not None:
            self.bad_options += 1
            if message.type == CON:  # RFC 7252 §5.4.1: 4.02, and silence towards a NON
                self._reply(message, key, BAD_OPTION, (), b"critical option %d" % refused, now)
            return []
        message.options = options
        block1: Block | None = None
        asked: Block | None = None
        try:
            for number, value in options:
                if number == BLOCK1:
                    block1 = decode_block(value, bert=self._bert)
                elif number == BLOCK2:
                    asked = decode_block(value, bert=self._bert)
                elif number in (PROXY_URI, PROXY_SCHEME):  # RFC 7252 §5.10.2
                    self._reply(message, key, PROXYING_NOT_SUPPORTED, (), b"", now)
                    return []
        except BlockFormatError as error:
            self._reply(message, key, BAD_REQUEST, (), str(error).encode(), now)
            return []
        if block1 is not None:
            body = self._take_block(message, key, block1, now)
            if body is None:
                return []
            message.payload = body
            message.options = [option for option in options if option[0] not in (BLOCK1, SIZE1)]
            block1 = Block(block1.number, False, block1.exponent)
        elif asked is not None and asked.number and message.code != FETCH:
            served = self._served.find(key[0], request_key(message.code, options), now)
            if served is not None:
                code, rest, chunk, _ = self._block_of(served.code, served.options, served.body, asked)
                self._reply(message, key, code, rest, chunk, now)
                return []
            if message.code != GET:
                # Delivered, it would be executed a second time with half of its body.
                self._reply(message, key, REQUEST_ENTITY_INCOMPLETE, (), b"", now)
                return []
        return [self._deliver(message, key, block1, now)]

    def _take_block(self, message: Message, key: Key, block: Block, now: float) -> bytes | None:
        """One Block1 in; the whole body when it is complete, otherwise answered already."""
        outcome = self._reassembly.take(
            key[0],
            request_key(message.code, message.options),
            block,
            message.payload,
            find_uint(message.options, SIZE1),
            now,
        )
        if isinstance(outcome, bytes):
            return outcome
        if outcome == REQUEST_ENTITY_TOO_LARGE:
            reply: list[Option] = [(SIZE1, encode_uint(self._max_body_bytes))]  # RFC 7959 §2.9.3
        else:
            reply = [(BLOCK1, encode_block(block))]
        data = self._reply(message, key, outcome, reply, b"", now)
        if message.type == CON and outcome == CONTINUE:
            # A late duplicate must not meet the transfer a second time; refusals leave no state behind.
            self._confirmable.answer(self._confirmable.add(key, now), data)
        return None

    def _reply(
        self,
        message: Message,
        key: Key,
        code: int,
        options: Sequence[Option],
        payload: Body,
        now: float,
    ) -> bytes:
        """The engine's own answer, in the type that suits the request."""
        if message.type == CON:
            data = encode_parts(ACK, code, message.mid, message.token, options, payload)
        else:
            data = encode_parts(NON, code, self._mids.take(key[0], now), message.token, options, payload)
        self._outgoing.append((data, key[0]))
        return data

    def respond(
        self, request: RequestReceived, code: int, payload: Body, options: Sequence[Option], now: float
    ) -> None:
        """See `Endpoint.respond`."""
        if request.answered:
            raise RuntimeError("this request has been answered before")
        message = request.message
        peer = request.peer
        if message.special or len(payload) > self._block_size:
            code, options, payload = self._in_blocks(request, code, options, payload, now)
        if message.type == CON:
            if request.acknowledged:
                mid = self._mids.take(peer, now)
                data = encode_parts(CON, code, mid, message.token, options, payload)
                self._confirm(data, peer, mid, now)
            else:
                data = encode_parts(ACK, code, message.mid, message.token, options, payload)
                self._confirmable.answer(request.seen, data)
        else:
            data = encode_parts(NON, code, self._mids.take(peer, now), message.token, options, payload)
        request.answered = True
        self._outgoing.append((data, peer))
        unanswered = self._unanswered
        while unanswered and unanswered[0].answered:
            unanswered.popleft()

    def acknowledge(self, request: RequestReceived) -> None:
        """See `Endpoint.acknowledge`."""
        message = request.message
        if message.type == CON and not request.acknowledged and not request.answered:
            request.acknowledged = True
            request.seen.answer = EMPTY_ACK
            self._outgoing.append((EMPTY_ACK + message.mid.to_bytes(2, "big"), request.peer))

    def due_at(self) -> float | None:
        """When the next empty ACK is due."""
        unanswered = self._unanswered
        while unanswered:
            first = unanswered[0]
            if not first.answered and not first.acknowledged:
                return first.at + self._empty_ack_delay_s
            unanswered.popleft()
        return None

    def handle_timer(self, now: float) -> None:
        """Acknowledge what was not answered in time."""
        due = self.due_at()
        while due is not None and due <= now:
            self.acknowledge(self._unanswered.popleft())
            due = self.due_at()

    def _in_blocks(
        self,
        request: RequestReceived,
        code: int,
        options: Sequence[Option],
        payload: Body,
        now: float,
    ) -> tuple[int, Sequence[Option], Body]:
        """What of this answer goes into one message (RFC 7959 §2.4); the rest is kept for later."""
        message = request.message
        whole = list(options)
        if request.block1 is not None:
            whole.append((BLOCK1, encode_block(request.block1)))
        value = find(message.options, BLOCK2)
        asked = (
            None if value is None else decode_block(value, bert=self._bert)
        )  # was decoded before, so it can be
        if not payload or (asked is None and len(payload) <= self._block_size):
            return code, whole, payload
        if code >> 5 != 2:
            return code, whole, payload[: self._block_size]  # a diagnostic text may be cut
        if find(whole, ETAG) is None:
            whole.append((ETAG, body_etag(payload)))
        code_out, reply, chunk, more = self._block_of(code, whole, payload, asked)
        if more and isinstance(payload, bytes):
            kept = tuple(option for option in whole if option[0] != BLOCK1)
            self._served.keep(
                request.peer, request_key(message.code, message.options), Served(code, kept, payload, now)
            )
        if find(message.options, SIZE2) is not None:
            reply.append((SIZE2, encode_uint(len(payload))))  # RFC 7959 §4
        return code_out, reply, chunk

    def _block_of(
        self, code: int, options: Sequence[Option], body: Body, asked: Block | None
    ) -> tuple[int, list[Option], Body, bool]:
        """Code, options and payload of the block asked for, and whether more follow."""
        exponent = self._exponent if asked is None else min(asked.exponent, self._exponent)
        offset = 0 if asked is None else asked.offset
        number = offset >> exponent + 4
        if (offset and offset >= len(body)) or number > MAX_BLOCK_NUMBER:
            return BAD_REQUEST, [], b"no such block", False
        end = offset + (16 << exponent)
        more = end < len(body)
        reply = [*options, (BLOCK2, encode_block(Block(number, more, exponent)))]
        return code, reply, body[offset:end], more
