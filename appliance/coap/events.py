"""What an `Endpoint` tells its owner. One event, one fact; what must be answered says so."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from appliance.coap.blockwise import Block
from appliance.coap.duplicates import Seen
from appliance.coap.message import Message

# Reasons of a RequestFailed.
TIMEOUT: Final = "timeout"  # no acknowledgement after all retransmissions
RESET: Final = "reset"  # the peer answered with a Reset
CANCELLED: Final = "cancelled"  # cancel_request or forget_peer
DEADLINE: Final = "deadline"  # the deadline of the caller passed
BODY_TOO_LARGE: Final = "body-too-large"  # the answer is larger than we put together
BLOCK: Final = "block"  # the peer does not keep to RFC 7959
BAD_RESPONSE: Final = "bad-response"  # a critical option of the answer is unknown or malformed


class RequestReceived:
    """A peer asks. Answer it once with `Endpoint.respond`.

    ``message.payload`` is the whole body also when it came in blocks. ``at`` is the arrival in monotonic
    seconds. The other fields are the engine's own.
    """

    __slots__ = ("acknowledged", "answered", "at", "block1", "message", "peer", "seen")

    def __init__(
        self, peer: Any, message: Message, at: float, seen: Seen, block1: Block | None = None
    ) -> None:
        self.peer = peer
        self.message = message
        self.at = at
        self.seen = seen
        self.block1 = block1
        self.acknowledged = False
        self.answered = False

    def __repr__(self) -> str:
        return f"<RequestReceived from {self.peer}: {self.message!r}>"


class ResponseReceived:
    """The answer to a request of ours; ``message.payload`` is the whole body.

    ``observing`` says that the peer will notify with ``token`` (2.xx with an Observe option). ``rtt_s`` is
    the time from the first datagram to its answer, None when it was retransmitted, as nobody can say which of
    the transmissions was answered. ``retransmitted``: whether any datagram of the exchange was repeated.
    """

    __slots__ = ("key", "message", "observing", "peer", "request_id", "retransmitted", "rtt_s", "token")

    def __init__(
        self,
        request_id: int,
        key: Any,
        peer: Any,
        message: Message,
        observing: bool,
        token: bytes,
        rtt_s: float | None,
        retransmitted: bool,
    ) -> None:
        self.request_id = request_id
        self.key = key
        self.peer = peer
        self.message = message
        self.observing = observing
        self.token = token
        self.rtt_s = rtt_s
        self.retransmitted = retransmitted

    def __repr__(self) -> str:
        return f"<ResponseReceived {self.request_id} key={self.key!r}: {self.message!r}>"


class RequestFailed:
    """A request of ours ended without an answer; ``reason`` is one of the constants of this module."""

    __slots__ = ("key", "peer", "reason", "request_id")

    def __init__(self, request_id: int, key: Any, peer: Any, reason: str) -> None:
        self.request_id = request_id
        self.key = key
        self.peer = peer
        self.reason = reason

    def __repr__(self) -> str:
        return f"<RequestFailed {self.request_id} key={self.key!r}: {self.reason}>"


class NotificationReceived:
    """A peer notifies an observation. Decide it once: `accept_notification` or `refuse_notification`.

    ``key`` is what the caller gave when observing, ``token`` names the observation, ``observe`` is the 24-bit
    number for `is_fresh` (RFC 7641 §3.4). ``final``: an error or an answer without Observe, which ends the
    observation (§3.2); accepting it drops the token. ``peer`` need not be the one that was asked: whether an
    observation may move to another address is the caller's decision. ``at`` is the arrival.
    """

    __slots__ = (
        "acknowledged",
        "at",
        "decided",
        "final",
        "key",
        "message",
        "observe",
        "peer",
        "seen",
        "token",
    )

    def __init__(
        self,
        key: Any,
        token: bytes,
        peer: Any,
        message: Message,
        observe: int | None,
        final: bool,
        at: float,
        seen: Seen,
    ) -> None:
        self.key = key
        self.token = token
        self.peer = peer
        self.message = message
        self.observe = observe
        self.final = final
        self.at = at
        self.seen = seen
        self.decided = False
        self.acknowledged = False

    def __repr__(self) -> str:
        return f"<NotificationReceived key={self.key!r} observe={self.observe}: {self.message!r}>"


Event = RequestReceived | ResponseReceived | RequestFailed | NotificationReceived
Peer = Hashable
