"""Exponential waits after failures, in bounded memory, with time as an argument.

An attempt is counted when it begins, not when it has failed: a thousand attempts that arrive in the same
millisecond find the count already raised. Success takes the count back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Count:
    failures: int
    last: float
    until: float


class Backoff:
    """Failures by key. The first ``free`` cost nothing; then waits of ``first_s`` doubling up to ``max_s``.

    At most ``max_keys`` are remembered; the one that failed longest ago gives way.
    Not thread-safe: the caller holds a lock.
    """

    def __init__(
        self, *, free: int, first_s: float, max_s: float, forget_s: float, max_keys: int = 4096
    ) -> None:
        self._free = free
        self._first_s = first_s
        self._max_s = max_s
        self._forget_s = max(forget_s, max_s)
        self._max_keys = max_keys
        self._counts: OrderedDict[Hashable, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def wait_s(self, key: Hashable, now: float) -> float:
        """Seconds until the next attempt is let through, 0 when it may come now."""
        count = self._current(key, now)
        return max(0.0, count.until - now) if count is not None else 0.0

    def count(self, key: Hashable, now: float) -> None:
        """One attempt more, taken for a failure until `clear` or `take_back` says otherwise."""
        count = self._current(key, now) or _Count(0, now, 0.0)
        count.failures += 1
        count.last = now
        beyond = count.failures - self._free
        if beyond >= 0:
            # 2 ** 60 s is beyond any bound; the cap keeps the exponent small.
            count.until = now + min(self._max_s, self._first_s * 2.0 ** min(beyond, 60))
        self._counts[key] = count
        self._counts.move_to_end(key)
        while len(self._counts) > self._max_keys:
            self._counts.popitem(last=False)

    def take_back(self, key: Hashable) -> None:
        """The latest attempt was no failure; earlier failures stay counted."""
        count = self._counts.get(key)
        if count is not None:
            count.failures -= 1
            count.until = 0.0
            if count.failures <= 0:
                del self._counts[key]

    def clear(self, key: Hashable) -> None:
        """Forget the failures of a key."""
        self._counts.pop(key, None)

    def _current(self, key: Hashable, now: float) -> _Count | None:
        count = self._counts.get(key)
        if count is not None and now - count.last > self._forget_s:
            del self._counts[key]
            return None
        return count
