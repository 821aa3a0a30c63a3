"""The one door into the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from appliance.northbound.crossing import Crossing
from appliance.northbound.errors import ApiError


@pytest.fixture
def crossing(loop: asyncio.AbstractEventLoop) -> Iterator[Crossing]:
    crossing = Crossing(loop, 10.0)
    yield crossing
    crossing.close()


def test_callables_and_coroutines_run_in_the_loop(
    crossing: Crossing, loop: asyncio.AbstractEventLoop
) -> None:
    def here(one: int, *, two: int) -> tuple[object, int]:
        return asyncio.get_running_loop(), one + two

    async def later(one: int) -> tuple[object, int]:
        await asyncio.sleep(0)
        return asyncio.get_running_loop(), one

    assert crossing.call(here, 1, two=2) == (loop, 3)
    assert crossing.call(later, 4) == (loop, 4)


def test_what_is_raised_comes_back(crossing: Crossing) -> None:
    def fail() -> None:
        raise KeyError("a")

    async def fail_later() -> None:
        await asyncio.sleep(0)
        raise TimeoutError("its own")

    with pytest.raises(KeyError):
        crossing.call(fail)
    with pytest.raises(TimeoutError, match="its own"):
        crossing.call(fail_later)


def test_too_long_is_ended_and_cancelled(crossing: Crossing) -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ApiError) as caught:
        crossing.call(forever, timeout_s=0.01)
    assert caught.value.code == "timeout" and caught.value.status == 504
    assert cancelled.wait(10)


def test_a_call_that_nobody_waits_for_is_not_begun(
    crossing: Crossing, loop: asyncio.AbstractEventLoop
) -> None:
    """The loop is busy for longer than the caller waits."""
    release, entered, begun = threading.Event(), threading.Event(), threading.Event()

    def busy() -> None:
        entered.set()
        release.wait(10)

    loop.call_soon_threadsafe(busy)
    assert entered.wait(10)
    with pytest.raises(ApiError, match="in time"):
        crossing.call(begun.set, timeout_s=0.01)
    release.set()
    assert crossing.call(lambda: 1) == 1
    assert not begun.is_set()


def test_closing_sends_everybody_away(crossing: Crossing) -> None:
    found: list[str] = []
    waiting = threading.Event()

    async def forever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def caller() -> None:
        try:
            crossing.call(forever)
        except ApiError as error:
            found.append(error.code)

    thread = threading.Thread(target=caller)
    thread.start()
    assert waiting.wait(10)
    crossing.close()
    thread.join(10)
    assert found == ["stopping"]
    with pytest.raises(ApiError, match="stopping"):
        crossing.call(lambda: 1)


def test_a_loop_that_is_closed() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(ApiError, match="stopping"):
        Crossing(loop, 1.0).call(lambda: 1)
