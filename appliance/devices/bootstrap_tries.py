"""Devices that go round in circles: how often each one asked to be bootstrapped since it last registered.

Whoever asks more than MAX_TRIES times within an hour waits until the first of these is an hour old, or until
a person has changed what may be wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Literal, NamedTuple

MAX_TRIES: Final = 6
WINDOW_S: Final = 3600.0
_MAX_REMEMBERED: Final = 10_000


class _Tried(NamedTuple):
    decided: Hashable
    at: deque[float]


class Tries:
    """``monotonic`` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tried: dict[str, _Tried] = {}

    def again(self, endpoint_name: str, decided: Hashable) -> Literal["go on", "wait", "waits"]:
        """Count one more try; "wait" the first time that it is one too many, "waits" from then on.

        ``decided`` is what people decided about the device: when that is another, its count begins anew.
        """
        now = self._monotonic()
        tried = self._tried.get(endpoint_name)
        if tried is None or tried.decided != decided:
            tried = self._tried[endpoint_name] = _Tried(decided, deque())
            if len(self._tried) > _MAX_REMEMBERED:
                del self._tried[next(iter(self._tried))]
        while tried.at and tried.at[0] < now - WINDOW_S:
            tried.at.popleft()
        if len(tried.at) > MAX_TRIES:
            return "waits"
        tried.at.append(now)
        return "go on" if len(tried.at) <= MAX_TRIES else "wait"

    def forget(self, endpoint_name: str | None = None) -> None:
        """It registered, so that its tries count no more; None means everybody's."""
        if endpoint_name is None:
            self._tried.clear()
        else:
            self._tried.pop(endpoint_name, None)
