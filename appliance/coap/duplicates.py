"""Message deduplication (RFC 7252 §4.5): what arrived lately, and what was answered.

Keeps the encoded answer, never the message, and no more than so many entries and bytes: strangers can make us
forget earlier, but not grow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

Key = tuple[Hashable, int]  # peer, Message ID

EMPTY_ACK = b"\x60\x00"  # first two bytes; the Message ID follows from the duplicate
RESET = b"\x70\x00"


class Seen:
    """One message that arrived.

    ``answer`` is None while its receiver decides (duplicates are absorbed), the two-byte prefix EMPTY_ACK or
    RESET, or the whole encoded answer. ``key`` is None once forgotten.
    """

    __slots__ = ("answer", "at", "key")

    def __init__(self, key: Key, at: float) -> None:
        self.key: Key | None = key
        self.at = at
        self.answer: bytes | None = None


class Duplicates:
    """Messages seen within ``lifetime_s``: at most ``max_entries``, with about ``max_bytes`` of answers."""

    __slots__ = ("_bytes", "_entries", "_lifetime_s", "_max_bytes", "_max_entries", "_order")

    def __init__(self, lifetime_s: float, max_entries: int, max_bytes: int) -> None:
        self._lifetime_s = lifetime_s
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: dict[Key, Seen] = {}
        self._order: deque[Seen] = deque()  # by arrival; also holds forgotten ones until their turn
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._order)

    @property
    def answer_bytes(self) -> int:
        """Bytes of answers held."""
        return self._bytes

    def find(self, key: Key, now: float) -> Seen | None:
        """The entry of an earlier arrival, None when there was none within the lifetime."""
        seen = self._entries.get(key)
        if seen is None:
            return None
        if now - seen.at >= self._lifetime_s:
            self.forget(seen)
            return None
        return seen

    def add(self, key: Key, now: float) -> Seen:
        """Remember an arrival that `find` did not know."""
        order = self._order
        horizon = now - self._lifetime_s
        while order and (
            order[0].at <= horizon or len(order) >= self._max_entries or self._bytes > self._max_bytes
        ):
            self.forget(order.popleft())
        seen = Seen(key, now)
        self._entries[key] = seen
        order.append(seen)
        return seen

    def answer(self, seen: Seen, data: bytes) -> None:
        """Keep the encoded answer for duplicates to come."""
        if seen.key is not None:
            self._bytes += len(data)
            seen.answer = data

    def forget(self, seen: Seen) -> None:
        """The next duplicate counts as new."""
        key = seen.key
        if key is not None:
            seen.key = None
            del self._entries[key]
            if seen.answer is not None and len(seen.answer) > 2:
                self._bytes -= len(seen.answer)

    def sweep(self, now: float) -> None:
        """Drop what is past its lifetime."""
        order = self._order
        horizon = now - self._lifetime_s
        while order and order[0].at <= horizon:
            self.forget(order.popleft())
