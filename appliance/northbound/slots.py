"""A bound on something that takes long, so that it never takes every thread."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.northbound.errors import ApiError


class Slots:
    """At most ``count`` at a time, ``per_address`` of one address; who finds none free is refused, not
    kept waiting: else six operations on a sleeping device would take the page of the one who asked for them.
    """

    def __init__(self, count: int, per_address: int, what: str) -> None:
        self._count = count
        self._per_address = per_address
        self._what = what
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    @contextmanager
    def one(self, address: str) -> Iterator[None]:
        """Hold a slot; raises ApiError("busy")."""
        with self._lock:
            if self._held.total() >= self._count or self._held[address] >= self._per_address:
                raise busy(f"too many {self._what} are under way", 1)
            self._held[address] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[address] -= 1
                if not self._held[address]:
                    del self._held[address]


def busy(message: str, retry_after_s: int) -> ApiError:
    """A refusal that says when to come back."""
    return ApiError(
        "busy", message, f"Try again in {retry_after_s} s.", (("Retry-After", str(retry_after_s)),)
    )
