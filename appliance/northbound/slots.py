"""A bound on something that takes long, so that it never takes every thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.northbound.errors import ApiError


class Slots:
    """At most ``count`` at a time; who finds none free is refused, not kept waiting."""

    def __init__(self, count: int, what: str) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._what = what

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a slot; raises ApiError("busy")."""
        if not self._free.acquire(blocking=False):
            raise busy(f"too many {self._what} are under way", 1)
        try:
            yield
        finally:
            self._free.release()


def busy(message: str, retry_after_s: int) -> ApiError:
    """A refusal that says when to come back."""
    return ApiError(
        "busy", message, f"Try again in {retry_after_s} s.", (("Retry-After", str(retry_after_s)),)
    )
