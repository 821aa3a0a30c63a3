"""A CoAP endpoint without I/O: datagrams and time in, events and datagrams out.

The laws of this file:

- `receive_datagram` never raises, whatever the bytes and whoever sent them;
- what strangers can make us remember is capped, table by table (see `table_sizes`);
- a message that arrives twice is delivered once (RFC 7252 §4.5), and its answer is repeated in its bytes;
- nothing is sent that the owner has not fetched with `take_datagrams`, in the order it was caused.

A peer is any hashable value the bearer chooses; the engine compares it and never looks inside. ``now`` is
monotonic seconds everywhere and must not go backwards.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

from appliance.coap.blockwise import Body, Reassembly, ServedBodies
from appliance.coap.client import DEREGISTER, PLAIN, REGISTER, Client, Progress, QueueFull, is_fresh
from appliance.coap.duplicates import RESET, Duplicates
from appliance.coap.events import (
    Event,
    NotificationReceived,
    RequestFailed,
    RequestReceived,
    ResponseReceived,
)
from appliance.coap.message import CON, NON, RST, MessageFormatError, decode
from appliance.coap.options import Option
from appliance.coap.server import Server
from appliance.coap.transmission import MessageIds, Tokens, Transmission

__all__ = [
    "Endpoint",
    "Event",
    "NotificationReceived",
    "QueueFull",
    "RequestFailed",
    "RequestReceived",
    "ResponseReceived",
    "is_fresh",
]

_SWEEP_S = 30.0  # how often memory past its lifetime is given back when nothing arrives


class Endpoint:
    """One CoAP endpoint of one bearer: server and client at once.

    ``rng`` spreads retransmissions and starts Message IDs, ``random_bytes`` makes tokens. The caps:
    ``max_duplicates`` messages remembered with at most ``max_duplicate_bytes`` of answers (a quarter as many
    for non-confirmable ones), ``max_peers`` Message ID counters, ``max_queue`` open requests per peer,
    ``max_body_bytes`` for one body that arrives, ``max_upload_bytes`` for one that we send with a request,
    ``max_reassembly_bytes`` and ``max_reassemblies`` for request bodies under way, ``max_served_bytes`` for
    answers being fetched in blocks, ``max_separate`` separate answers waiting for their acknowledgement.
    """

    def __init__(
        self,
        transmission: Transmission | None = None,
        *,
        rng: random.Random | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        max_duplicates: int = 16384,
        max_duplicate_bytes: int = 4 * 1024 * 1024,
        max_peers: int = 16384,
        max_queue: int = 64,
        max_body_bytes: int = 1024 * 1024,
        max_upload_bytes: int = 64 * 1024 * 1024,
        max_reassembly_bytes: int = 8 * 1024 * 1024,
        max_reassemblies: int = 1024,
        max_served_bytes: int = 4 * 1024 * 1024,
        max_separate: int = 1024,
    ) -> None:
        transmission = transmission or Transmission()
        rng = rng or random.Random()
        lifetime_s = transmission.exchange_lifetime_s
        self.transmission = transmission
        self._outgoing: list[tuple[bytes, Any]] = []
        self._confirmable = Duplicates(lifetime_s, max_duplicates, max_duplicate_bytes)
        self._unconfirmed = Duplicates(transmission.non_lifetime_s, max(1, max_duplicates // 4), 0)
        self._mids = MessageIds(lifetime_s, max_peers, rng)
        self._reassembly = Reassembly(
            max_body_bytes=max_body_bytes,
            max_bytes=max_reassembly_bytes,
            max_bodies=max_reassemblies,
            max_per_peer=4,
            lifetime_s=transmission.max_transmit_wait_s,
        )
        self._served = ServedBodies(max_bytes=max_served_bytes, max_bodies=256, lifetime_s=lifetime_s)
        self._client = Client(
            transmission,
            self._outgoing,
            self._mids,
            Tokens(random_bytes),
            rng,
            self._confirmable,
            self._unconfirmed,
            max_queue,
            max_body_bytes,
            max_separate,
            max_upload_bytes,
        )
        self._server = Server(
            transmission,
            self._outgoing,
            self._mids,
            self._confirmable,
            self._unconfirmed,
            self._reassembly,
            self._served,
            self._client.confirm,
            max_body_bytes,
        )
        self._swept_at = -_SWEEP_S
        self.received = 0
        self.format_errors = 0
        self.duplicates = 0

    # Bytes and time.

    def receive_datagram(self, data: bytes, peer: Any, now: float) -> list[Event]:
        """One datagram in. Gives what the owner has to know; never raises."""
        self.received += 1
        try:
            message = decode(data)
        except MessageFormatError as error:
            self.format_errors += 1
            if error.reply_reset and error.mid is not None:
                self._outgoing.append((RESET + error.mid.to_bytes(2, "big"), peer))
            return []
        kind = message.type
        code = message.code
        key = (peer, message.mid)
        if kind <= NON:
            if code == 0:
                if kind == CON:  # a ping: "Provoking a Reset" (RFC 7252 §1.2, §4.2)
                    self._outgoing.append((RESET + message.mid.to_bytes(2, "big"), peer))
                return []
            seen = (self._confirmable if kind == CON else self._unconfirmed).find(key, now)
            if seen is not None:
                self.duplicates += 1
                answer = seen.answer
                if answer is not None:
                    if len(answer) == 2:
                        answer += data[2:4]
                    self._outgoing.append((answer, peer))
                return []
            if code < 0x20:
                return self._server.receive(message, key, now)
            return self._client.receive_response(message, key, now)
        if kind == RST:
            return self._client.receive_reset(key, now) if code == 0 else []
        if code == 0:
            self._client.receive_empty_ack(key, now)
            return []
        if code < 0x20:
            return []  # a request in an ACK: ignored (RFC 7252 §4.2)
        return self._client.receive_piggybacked(message, peer, now)

    def handle_timer(self, now: float) -> list[Event]:
        """Do what is due: retransmissions, empty ACKs, deadlines, forgetting."""
        self._server.handle_timer(now)
        events = self._client.handle_timer(now)
        if now >= self._swept_at + _SWEEP_S:  # the very sum that next_timer gives
            self._swept_at = now
            self._confirmable.sweep(now)
            self._unconfirmed.sweep(now)
            self._reassembly.sweep(now)
            self._served.sweep(now)
        return events

    def next_timer(self) -> float | None:
        """When `handle_timer` should be called next, in monotonic seconds; None when nothing is due ever."""
        due = self._client.due_at()
        acknowledge_at = self._server.due_at()
        if acknowledge_at is not None and (due is None or acknowledge_at < due):
            due = acknowledge_at
        if self._confirmable or self._unconfirmed or self._reassembly or self._served:
            sweep_at = self._swept_at + _SWEEP_S
            if due is None or sweep_at < due:
                due = sweep_at
        return due

    def take_datagrams(self) -> list[tuple[bytes, Any]]:
        """What is to be sent, in order, as ``(data, peer)``; the engine keeps none of it."""
        taken = self._outgoing.copy()
        self._outgoing.clear()
        return taken

    # Answering.

    def respond(
        self,
        request: RequestReceived,
        code: int,
        payload: Body = b"",
        options: Sequence[Option] = (),
        *,
        now: float,
    ) -> None:
        """Answer a request: in its ACK, or in a message of its own after `acknowledge`.

        ``payload`` is the whole body; one larger than a block is served block-wise with an ETag (a hash of
        the body unless ``options`` has one). Requests for later blocks that cannot be served from what is
        kept come as new RequestReceived with a Block2 option: respond with the whole body again, a memoryview
        of a mapped file if it is large. Raises RuntimeError when the request was answered before, ValueError
        when the options cannot be encoded.
        """
        self._server.respond(request, code, payload, options, now)

    def acknowledge(self, request: RequestReceived, now: float) -> None:
        """Send the empty ACK now: the answer takes its time. The timer does it after empty_ack_delay_s."""
        self._server.acknowledge(request)

    # Asking.

    def send_request(
        self,
        peer: Any,
        code: int,
        options: Sequence[Option] = (),
        payload: Body = b"",
        *,
        now: float,
        deadline: float,
        key: Any,
        observe: bool = False,
        token: bytes | None = None,
        observe_cancel: bool = False,
        confirmable: bool = True,
        block_exponent: int | None = None,
        progress: Progress | None = None,
        span: int = 0,
    ) -> int:
        """Ask a peer; the number identifies the request in its event, which comes exactly once.

        ``deadline`` (monotonic seconds) also counts while the request waits in line; every block of a
        block-wise transfer renews it. ``key`` comes back in the event. ``observe`` asks for notifications,
        under ``token`` if given (to renew an observation) and otherwise a new one; ``observe_cancel`` ends
        the observation ``token`` (RFC 7641 §3.6). ``options`` has neither Observe nor Block1; one with Block2
        fetches that block only. ``block_exponent`` makes blocks smaller than those of the bearer, for a peer
        that takes no larger ones. A ``payload`` that is a memoryview is copied block by block only;
        ``progress(bytes acknowledged, bytes in all)`` hears of each block. ``span`` is for streams: as many
        bytes of the payload go in one message, all of them or as BERT (RFC 8323 §6; then a multiple of 1024).
        One longer than ``max_upload_bytes`` is not begun and ends as BODY_TOO_LARGE. Raises QueueFull, or
        ValueError when the message cannot be encoded.
        """
        if observe_cancel:
            if not token or observe:
                raise ValueError("observe_cancel needs the token of the observation, and no observe")
            intent = DEREGISTER
        else:
            intent = REGISTER if observe else PLAIN
        return self._client.send_request(
            peer,
            code,
            options,
            payload,
            now=now,
            deadline=deadline,
            key=key,
            intent=intent,
            token=token,
            confirmable=confirmable,
            block_exponent=block_exponent,
            progress=progress,
            span=span,
        )

    def cancel_request(self, request_id: int, now: float) -> list[Event]:
        """Stop a request: out of the line, no more retransmissions. Gives its RequestFailed, or nothing."""
        return self._client.cancel_request(request_id, now)

    def hasten(self, peer: Any, now: float) -> None:
        """The peer was heard just now: retransmit at once what it has not acknowledged.

        For a peer that listens only now and then, and would sleep again before a doubled time-out is over
        (RFC 7252 §4.2). It counts as one of the retransmissions, and comes no sooner than the first would.
        """
        self._client.hasten(peer, now)

    def forget_peer(self, peer: Any, now: float) -> list[Event]:
        """Cancel all requests to the peer and drop bodies under way. Observations stay."""
        self._reassembly.forget_peer(peer)
        self._served.forget_peer(peer)
        return self._client.forget_peer(peer, now)

    def open_requests(self, peer: Any) -> int:
        """How many requests to the peer wait or are under way."""
        return self._client.open_requests(peer)

    # Observing.

    def accept_notification(self, event: NotificationReceived, now: float) -> None:
        """The notification is safe: acknowledge it. A final one ends its observation."""
        self._client.accept_notification(event)

    def refuse_notification(self, event: NotificationReceived, now: float, *, reset: bool) -> None:
        """Do not take the notification: with a Reset, which makes the peer end the observation, or silently;
        then a retransmission of it is delivered again.
        """
        self._client.refuse_notification(event, reset)

    def restore_observation(
        self,
        token: bytes,
        key: Any,
        *,
        code: int = 1,
        options: Sequence[Option] = (),
        payload: bytes = b"",
    ) -> None:
        """Know an observation again after a restart. ``code`` (GET or FETCH), ``options`` and ``payload`` are
        those of the request that began it; they fetch the rest of a block-wise notification.
        """
        self._client.restore_observation(token, key, code, options, payload)

    def end_observation(self, token: bytes, now: float) -> bool:
        """Forget an observation; its next notification is answered with a Reset. Whether it was known."""
        return self._client.end_observation(token, now)

    def is_observing(self, token: bytes) -> bool:
        """Whether the token names an observation."""
        return token in self._client.observations

    # Looking in.

    def table_sizes(self) -> dict[str, int]:
        """Entries (and bytes) held by each table: for the status page, and for tests of the caps."""
        return {
            "confirmable": len(self._confirmable),
            "answer_bytes": self._confirmable.answer_bytes,
            "unconfirmed": len(self._unconfirmed),
            "message_ids": len(self._mids),
            "reassemblies": len(self._reassembly),
            "reassembly_bytes": self._reassembly.held_bytes,
            "served": len(self._served),
            "served_bytes": self._served.held_bytes,
            "unanswered": self._server.unanswered,
            **self._client.sizes(),
        }

    def counts(self) -> dict[str, int]:
        """What happened since the start, for health."""
        return {
            "received": self.received,
            "format_errors": self.format_errors,
            "duplicates": self.duplicates,
            "bad_options": self._server.bad_options,
            "retransmissions": self._client.retransmissions,
            "unknown_tokens": self._client.unknown_tokens,
            "incomplete_notifications": self._client.incomplete_notifications,
        }
