"""The one door from the threads of HTTP into the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Callable
from typing import Any

from appliance.northbound.errors import ApiError


class Crossing:
    """Runs callables in the loop's thread while the calling thread waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._waiting: set[concurrent.futures.Future[Any]] = set()
        self._closed = False

    def call(
        self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None, **named: Any
    ) -> Any:
        """The result of ``function(*arguments, **named)``, awaited when it is awaitable.

        Raises what it raises, and ApiError: "timeout" after ``timeout_s`` (what was begun is cancelled),
        "stopping" when the appliance goes down meanwhile.
        """
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        task: asyncio.Future[Any] | None = None

        def enter() -> None:
            nonlocal task
            if future.done():
                return  # nobody waits any more
            try:
                result = function(*arguments, **named)
            except Exception as error:  # noqa: BLE001 - it belongs to the thread that waits, not to the loop
                _settle(future, error=error)
                return
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(result)
                task.add_done_callback(leave)
            else:
                _settle(future, result)

        def leave(done: asyncio.Future[Any]) -> None:
            if done.cancelled():
                future.cancel()
            elif (error := done.exception()) is not None:
                _settle(future, error=error)
            else:
                _settle(future, done.result())

        def give_up() -> None:
            if task is not None:
                task.cancel()

        with self._lock:
            if self._closed:
                raise _stopping()
            self._waiting.add(future)
        try:
            self._loop.call_soon_threadsafe(enter)
            return future.result(self._timeout_s if timeout_s is None else timeout_s)
        except concurrent.futures.CancelledError:
            self._from_outside(give_up)
            raise _stopping() from None
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # the function's own
            future.cancel()
            self._from_outside(give_up)
            raise ApiError(
                "timeout", "there was no answer in time", "Try again; the appliance may be busy."
            ) from None
        except RuntimeError:
            if self._loop.is_closed():
                raise _stopping() from None
            raise
        finally:
            with self._lock:
                self._waiting.discard(future)

    def close(self) -> None:
        """Let nobody in any more, and send away who waits."""
        with self._lock:
            self._closed = True
            waiting = list(self._waiting)
        for future in waiting:
            future.cancel()

    def _from_outside(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)


def _settle(
    future: concurrent.futures.Future[Any], result: Any = None, *, error: BaseException | None = None
) -> None:
    """Set the outcome, unless the waiting thread has given up meanwhile."""
    try:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
    except concurrent.futures.InvalidStateError:
        pass


def _stopping() -> ApiError:
    return ApiError(
        "stopping", "the appliance is stopping", "Try again in a moment.", (("Retry-After", "5"),)
    )
