"""How much one place in the code may write to the log."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from appliance.config.log import LINES, PERIOD_S, Bounded


class Log:
    def __init__(self) -> None:
        self.now = 1000.0
        self.text = io.StringIO()
        self.logger = logging.Logger("test", logging.DEBUG)
        handler = logging.StreamHandler(self.text)
        handler.addFilter(Bounded(lambda: self.now))
        self.logger.addHandler(handler)

    def refuse(self, times: int, level: int = logging.INFO) -> None:
        for number in range(times):
            self.logger.log(level, "number %d was refused", number)

    def lines(self) -> list[str]:
        found = self.text.getvalue().splitlines()
        self.text.truncate(0)
        self.text.seek(0)
        return found


@pytest.fixture
def log() -> Iterator[Log]:
    yield Log()


def test_one_place_says_so_much_in_a_minute_and_then_how_much_it_left_out(log: Log) -> None:
    log.refuse(1000)
    found = log.lines()
    assert len(found) == LINES[logging.INFO]
    assert found[0] == "number 0 was refused"
    assert found[-1] == "number 29 was refused (more like this are not written for a minute)"
    log.logger.info("something else")
    assert log.lines() == ["something else"], "another place has a count of its own"
    log.now += PERIOD_S
    log.refuse(2)
    assert log.lines() == [
        "number 0 was refused (970 more like this were not written)",
        "number 1 was refused",
    ]


def test_warnings_have_more_room_and_debug_is_what_somebody_wants(log: Log) -> None:
    log.refuse(1000, logging.WARNING)
    assert len(log.lines()) == LINES[logging.WARNING]
    log.refuse(1000, logging.DEBUG)
    assert len(log.lines()) == 1000
