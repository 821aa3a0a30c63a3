"""Transmission parameters of a bearer (RFC 7252 §4.8), and the numbers that follow from them.

UDP on a LAN, DTLS over NB-IoT and SMS differ by two orders of magnitude: every `Endpoint` has its own.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transmission:
    """How patient an endpoint is with its peers. Times in seconds.

    ``ack_timeout_s``, ``ack_random_factor``, ``max_retransmit``, ``nstart``: RFC 7252 §4.8.
    ``max_latency_s``: how long a datagram may be under way (§4.8.2). ``empty_ack_delay_s``: an answer that
    takes longer than this is announced by an empty ACK, so that the peer stops retransmitting (§5.2.2).
    ``block_exponent``: the largest block is ``2 ** (block_exponent + 4)`` bytes (RFC 7959 §2.2). ``bert``:
    several blocks may arrive in one message, as over streams (RFC 8323 §6). Raises ValueError out of range.
    """

    ack_timeout_s: float = 2.0
    ack_random_factor: float = 1.5
    max_retransmit: int = 4
    nstart: int = 1
    max_latency_s: float = 100.0
    empty_ack_delay_s: float = 1.0
    block_exponent: int = 6
    bert: bool = False

    def __post_init__(self) -> None:
        if self.ack_timeout_s <= 0 or self.ack_random_factor < 1 or self.max_retransmit < 0:
            raise ValueError("retransmission parameters out of range (RFC 7252 section 4.8)")
        if self.nstart < 1 or not 0 <= self.block_exponent <= 6 or self.empty_ack_delay_s < 0:
            raise ValueError("nstart is at least 1, block_exponent 0 to 6, empty_ack_delay_s not negative")

    @property
    def block_size(self) -> int:
        """Bytes in the largest block."""
        return 16 << self.block_exponent

    @property
    def max_transmit_span_s(self) -> float:
        """From the first transmission of a confirmable message to its last (RFC 7252 §4.8.2)."""
        return self.ack_timeout_s * ((1 << self.max_retransmit) - 1) * self.ack_random_factor

    @property
    def max_transmit_wait_s(self) -> float:
        """From the first transmission until the sender gives up (RFC 7252 §4.8.2)."""
        return self.ack_timeout_s * ((1 << self.max_retransmit + 1) - 1) * self.ack_random_factor

    @property
    def exchange_lifetime_s(self) -> float:
        """How long a Message ID of a confirmable message stays taken (RFC 7252 §4.8.2)."""
        return self.max_transmit_span_s + 2 * self.max_latency_s + self.ack_timeout_s

    @property
    def non_lifetime_s(self) -> float:
        """How long a Message ID of a non-confirmable message stays taken (RFC 7252 §4.8.2)."""
        return self.max_transmit_span_s + self.max_latency_s

    def first_timeout_s(self, rng: random.Random) -> float:
        """The first wait for an acknowledgement, spread so that peers do not retransmit in step."""
        return self.ack_timeout_s * (1.0 + (self.ack_random_factor - 1.0) * rng.random())


class MessageIds:
    """Message IDs that no peer sees twice within a lifetime (RFC 7252 §4.4), starting at random.

    A counter per peer, kept for one to two lifetimes after its last use and then dropped: a peer that nothing
    is sent to costs nothing. At most ``2 * max_peers`` counters.
    """

    __slots__ = ("_before", "_lifetime_s", "_max_peers", "_recent", "_rng", "_rotate_at")

    def __init__(self, lifetime_s: float, max_peers: int, rng: random.Random) -> None:
        self._lifetime_s = lifetime_s
        self._max_peers = max_peers
        self._rng = rng
        self._recent: dict[Hashable, int] = {}
        self._before: dict[Hashable, int] = {}
        self._rotate_at = float("-inf")

    def __len__(self) -> int:
        return len(self._recent) + len(self._before)

    def take(self, peer: Hashable, now: float) -> int:
        """The next Message ID for the peer."""
        recent = self._recent
        if now >= self._rotate_at or len(recent) >= self._max_peers:
            self._before = recent
            self._recent = recent = {}
            self._rotate_at = now + self._lifetime_s
        mid = recent.get(peer)
        if mid is None:
            mid = self._before.pop(peer, None)
            if mid is None:
                mid = self._rng.getrandbits(16)
        mid = mid + 1 & 0xFFFF
        recent[peer] = mid
        return mid


class Tokens:
    """Random 8-byte tokens (RFC 7252 §5.3.1): nobody off the path can guess one."""

    __slots__ = ("_at", "_pool", "_random_bytes")

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._pool = b""
        self._at = 0

    def take(self) -> bytes:
        """A new token. One system call gives 64 of them."""
        at = self._at
        if at >= len(self._pool):
            self._pool = self._random_bytes(512)
            at = 0
        self._at = at + 8
        return self._pool[at : at + 8]
