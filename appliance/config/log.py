"""The log cannot be filled by strangers: one place in the code says so much in a minute and no more.

Whoever can send datagrams can make us say that he was refused, as often as he likes, and a log on an SD card
wears it out. Warnings and errors of a place are bounded as well, at a higher number; debug lines are not, as
somebody has asked for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

LINES: Final = {logging.INFO: 30, logging.WARNING: 120, logging.ERROR: 120}
PERIOD_S: Final = 60.0


class Bounded(logging.Filter):
    """For a handler. ``monotonic`` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._said: dict[tuple[str, int], list[float]] = {}  # by place: since when, how many

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; the first one after some that were not says how many."""
        most = LINES.get(record.levelno)
        if most is None:
            return True
        now = self._monotonic()
        said = self._said.setdefault((record.pathname, record.lineno), [now, 0])
        missed = 0
        if now - said[0] >= PERIOD_S:
            missed = max(0, int(said[1]) - most)
            said[:] = [now, 0]
        said[1] += 1
        if said[1] > most:
            return False
        if missed:
            record.msg = f"{record.getMessage()} ({missed} more like this were not written)"
            record.args = None
        elif said[1] == most:
            record.msg = f"{record.getMessage()} (more like this are not written for a minute)"
            record.args = None
        return True
