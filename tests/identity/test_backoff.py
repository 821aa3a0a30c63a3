"""Waits after failures: exponential, bounded, and counted before the attempt is made."""

from __future__ import annotations

import pytest

from appliance.identity.backoff import Backoff


def backoff(**changed: float) -> Backoff:
    settings = {"free": 3, "first_s": 1.0, "max_s": 60.0, "forget_s": 3600.0, **changed}
    return Backoff(**settings)  # type: ignore[arg-type]


def test_the_first_failures_are_free_and_then_the_wait_doubles() -> None:
    one, now = backoff(), 100.0
    waits = []
    for _ in range(10):
        assert one.wait_s("a", now) == 0
        one.count("a", now)
        waits.append(one.wait_s("a", now))
        now += waits[-1]
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_attempts_in_one_instant_find_the_count_raised() -> None:
    one = backoff()
    passed = 0
    for _ in range(1000):
        if one.wait_s("a", 5.0) == 0:
            one.count("a", 5.0)
            passed += 1
    assert passed == 3


def test_a_key_waits_alone() -> None:
    one = backoff()
    for _ in range(5):
        one.count("a", 0.0)
    assert one.wait_s("a", 0.0) > 0
    assert one.wait_s("b", 0.0) == 0


def test_success_takes_one_attempt_back_or_clears_all() -> None:
    one = backoff()
    for _ in range(5):
        one.count("a", 0.0)
    one.take_back("a")
    assert one.wait_s("a", 0.0) == 0
    one.count("a", 0.0)
    assert one.wait_s("a", 0.0) == pytest.approx(4.0)
    one.clear("a")
    one.take_back("a")
    assert one.wait_s("a", 0.0) == 0 and len(one) == 0


def test_failures_are_forgotten_when_none_came_for_long() -> None:
    one = backoff()
    for _ in range(9):
        one.count("a", 0.0)
    one.count("a", 3700.0)
    assert one.wait_s("a", 3700.0) == 0


def test_memory_is_bounded_and_the_oldest_gives_way() -> None:
    one = Backoff(free=1, first_s=1.0, max_s=60.0, forget_s=3600.0, max_keys=10)
    for number in range(1000):
        one.count(number, 0.0)
    assert len(one) == 10
    assert one.wait_s(999, 0.0) > 0 and one.wait_s(0, 0.0) == 0


def test_a_count_beyond_every_bound_stays_a_number() -> None:
    one = backoff(forget_s=1e9)
    for _ in range(5000):
        one.count("a", 0.0)
    assert one.wait_s("a", 0.0) == 60.0
