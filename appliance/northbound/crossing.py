"""The one door from the threads of HTTP into the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from appliance.northbound.errors import ApiError


class _Call:
    """One call on its way through the door; the future belongs to the thread that waits."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._function = function
        self._task: asyncio.Future[Any] | None = None

    def enter(self) -> None:
        """Begin, in the loop."""
        if self.future.done():
            return  # nobody waits any more
        try:
            result = self._function()
        except Exception as error:  # noqa: BLE001 - it belongs to the thread that waits, not to the loop
            self._settle(error=error)
            return
        if inspect.isawaitable(result):
            self._task = asyncio.ensure_future(result)
            self._task.add_done_callback(self._leave)
        else:
            self._settle(result)

    def give_up(self) -> None:
        """Cancel what was begun, in the loop."""
        if self._task is not None:
            self._task.cancel()

    def _leave(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            self.future.cancel()
        elif (error := done.exception()) is not None:
            self._settle(error=error)
        else:
            self._settle(done.result())

    def _settle(self, result: Any = None, *, error: BaseException | None = None) -> None:
        try:
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(result)
        except concurrent.futures.InvalidStateError:
            pass  # the waiting thread has given up meanwhile


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
        call = _Call(functools.partial(function, *arguments, **named))
        future = call.future
        with self._lock:
            if self._closed:
                raise _stopping()
            self._waiting.add(future)
        try:
            self._in_loop(call.enter)
            return future.result(self._timeout_s if timeout_s is None else timeout_s)
        except concurrent.futures.CancelledError:
            self._in_loop(call.give_up)
            raise _stopping() from None
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # the function's own
            future.cancel()
            self._in_loop(call.give_up)
            raise ApiError(
                "timeout", "there was no answer in time", "Try again; the appliance may be busy."
            ) from None
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

    def _in_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed
            raise _stopping() from None


def _stopping() -> ApiError:
    return ApiError(
        "stopping", "the appliance is stopping", "Try again in a moment.", (("Retry-After", "5"),)
    )
