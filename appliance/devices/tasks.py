"""Operations as tasks in a durable queue: for a device that sleeps, and over our own end (traps 18 to 22).

The laws of this file:

- what was accepted is on disk before anybody is told so; it survives kill -9, restart and re-registration;
- one task at a time per device (NSTART 1, RFC 7252 §4.7), in the order of priority and then of asking;
- what must not be done twice (Execute, Create) is marked as sent on disk before it leaves, so that whoever
  comes after a power cut finds "sent" and reports it as unknown instead of doing it again;
- a task ends exactly once, with a reason in words;
- what waits is bounded, per device and in all, and what has ended is a short history.

A task that a person waits for and that may be repeated is written once, when it ends: before that nobody was
told that it is kept.

Longer than 400 lines: a task's way from asked to ended is one story, and every turn of it writes the row.
"""

from __future__ import annotations

import heapq
import json
import logging
from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from appliance.devices.errors import DeviceError, ErrorKind
from appliance.devices.presence import Presence
from appliance.devices.registry import Registration, Registry
from appliance.devices.requests import Files, build
from appliance.devices.settings import DevicesSettings
from appliance.lwm2m.codecs import CodecError
from appliance.lwm2m.path import Path, PathError
from appliance.lwm2m.words import failure_words
from appliance.southbound.server import Downlink, LwM2MServer, Response
from appliance.storage.database import Database
from appliance.storage.errors import StorageFull
from appliance.storage.json_text import encode_json

log = logging.getLogger(__name__)

OPEN = ("queued", "waiting", "sent")
ENDED = ("done", "failed", "expired", "cancelled", "unknown", "superseded")

# What was certainly never on the way, and what may have been carried out though nobody said so.
_NEVER_SENT = frozenset(("queue full", "not connected"))
_ONCE = ("Execute", "Create")

# Whoever is silent for so long does not listen; a shorter deadline of somebody's own says nothing.
_LONG_ENOUGH_S = 10.0

_SAVE = (
    "INSERT OR REPLACE INTO tasks(id, endpoint_name, state, batch, request, about, outcome) "
    "VALUES (?,?,?,?,?,?,?)"
)
_FORGET = "DELETE FROM tasks WHERE id = ?"
_FORGET_OLDEST = (
    "DELETE FROM tasks WHERE id <= (SELECT id FROM tasks WHERE state NOT IN (?,?,?) ORDER BY id DESC "
    "LIMIT 1 OFFSET ?) AND state NOT IN (?,?,?)"
)
_TRIM_AT_LEAST = 100
_LOAD = "SELECT id, endpoint_name, state, batch, request, about FROM tasks WHERE state IN (?,?,?) ORDER BY id"

_ENDED_ROWS = "SELECT count(*) FROM tasks WHERE state NOT IN (?,?,?)"


class Task:
    """One operation for one device. Times are epoch seconds; ``expires_at`` None: it does not wait.

    ``told`` says that somebody was told it is kept: then it is on disk before it is sent.
    """

    __slots__ = (
        *("attempts", "batch", "created_at", "ended_at", "endpoint_name", "expires_at", "fault", "id"),
        *("operation", "shown_path", "verb"),
        *(
            "kept",
            "origin",
            "outcome",
            "priority",
            "progress",
            "reason",
            "request",
            "request_json",
            "sent_at",
        ),
        *("state", "stored", "told", "unknown_if_lost", "waiters", "timeout_s"),
    )

    def __init__(
        self,
        task_id: int,
        endpoint_name: str,
        request: Mapping[str, Any],
        request_json: str,
        *,
        created_at: float,
        expires_at: float | None,
        priority: int,
        unknown_if_lost: bool,
        origin: str,
        batch: str | None,
        timeout_s: float,
        told: bool,
    ) -> None:
        self.id = task_id
        self.endpoint_name = endpoint_name
        self.request = request
        self.verb = str(request.get("operation", ""))
        self.shown_path = _shown_path(request)
        self.request_json = request_json
        self.created_at = created_at
        self.expires_at = expires_at
        self.priority = priority
        self.unknown_if_lost = unknown_if_lost
        self.origin = origin
        self.batch = batch
        self.timeout_s = timeout_s
        self.told = told
        self.state = "queued"
        self.reason = ""
        self.attempts = 0
        self.sent_at: float | None = None
        self.ended_at: float | None = None
        self.outcome: dict[str, Any] | None = None
        self.operation: Downlink | None = None
        self.progress: tuple[int, int] | None = None
        self.stored = False
        self.fault: ErrorKind = "unreachable"  # what it is to a person, if it ends without an answer
        self.kept = True  # False: the disk refused what became of it
        self.waiters: tuple[Callable[[Task], None], ...] = ()

    def __lt__(self, other: Task) -> bool:
        return (-self.priority, self.id) < (-other.priority, other.id)


class _Line:
    """The tasks of one device that have not ended, in order; ``under_way`` is one of them."""

    __slots__ = ("tasks", "under_way")

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.under_way: Task | None = None


class Record(Protocol):
    """What is kept of a task that ended with an answer or without one; gives the Outcome of the API."""

    def __call__(
        self,
        registration: Registration,
        task: Task,
        operation: Downlink,
        response: Response,
    ) -> dict[str, Any]: ...


class Tasks:
    """The queue. ``told`` hears of tasks that begin to wait, and of those that end without an answer."""

    def __init__(
        self,
        settings: DevicesSettings,
        database: Database,
        server: LwM2MServer,
        registry: Registry,
        presence: Presence,
        wall: Callable[[], float],
        record: Record,
        told: Callable[[Task], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._server = server
        self._registry = registry
        self._presence = presence
        self._wall = wall
        self._record = record
        self._told = told
        self._open: dict[int, Task] = {}
        self._lines: dict[str, _Line] = {}
        self._next_id = 1
        self._settling: dict[int, Task] = {}  # ended, and that is not on disk yet
        self._ended_rows = 0  # on disk, of tasks that have ended
        self._expiries: list[tuple[float, int]] = []
        self.files: Files | None = None  # what a Write of a file writes
        self.wakers: list[Callable[[Registration], bool]] = []  # other means to wake a device up

    # Life

    def load(self) -> int:
        """Take back what is open; what had left and must not be done twice is unknown now."""
        for task_id, name, state, batch, request_json, about in self._database.read(_LOAD, OPEN):
            try:
                task = self._restored(task_id, name, batch, request_json, json.loads(about))
            except (ValueError, TypeError, LookupError) as error:
                log.error("task %s of %s cannot be read: %s", task_id, name, error)
                self._database.write(_FORGET, (task_id,))
                continue
            self._enter(task)
            if state == "sent" and task.unknown_if_lost:
                self._end(task, "unknown", _LOST_BY_US)
            elif state == "waiting":
                task.state = "waiting"
            else:
                task.state = "queued"
        (self._ended_rows,) = self._database.read(_ENDED_ROWS, OPEN)[0]
        (highest,) = self._database.read("SELECT max(id) FROM tasks", ())[0]
        self._next_id = (highest or 0) + 1
        self._trim()
        return len(self._open)

    def _restored(
        self, task_id: int, name: str, batch: str | None, request_json: str, about: list[Any]
    ) -> Task:
        created_at, expires_at, priority, once, origin, timeout_s, attempts, sent_at = about[:8]
        task = Task(
            task_id,
            name,
            dict(json.loads(request_json)),
            request_json,
            created_at=created_at,
            expires_at=expires_at,
            priority=priority,
            unknown_if_lost=once,
            origin=origin,
            batch=batch,
            timeout_s=timeout_s,
            told=True,
        )
        task.attempts, task.sent_at, task.stored = attempts, sent_at, True
        task.ended_at, task.reason = about[8:10]
        return task

    # Asking

    def counts(self) -> dict[str, int]:
        """{"open", "waiting"} over all devices."""
        waiting = sum(1 for task in self._open.values() if task.state == "waiting")
        return {"open": len(self._open), "waiting": waiting}

    def counts_of(self, endpoint_name: str) -> dict[str, int]:
        """{"open", "waiting"} of one device."""
        line = self._lines.get(endpoint_name)
        if line is None:
            return {"open": 0, "waiting": 0}
        return {
            "open": len(line.tasks),
            "waiting": sum(1 for task in line.tasks if task.state == "waiting"),
        }

    def room(self, endpoint_name: str, more: int = 1) -> None:
        """Raises DeviceError("busy") when so many more would be too many."""
        line = self._lines.get(endpoint_name)
        if line is not None and len(line.tasks) + more > self._settings.max_tasks_per_device:
            raise DeviceError(
                "busy",
                f"{len(line.tasks)} operations already wait for {endpoint_name}",
                "Cancel what is not needed, or wait until the device has taken them.",
            )
        if len(self._open) + more > self._settings.max_tasks:
            raise DeviceError(
                "busy",
                f"{len(self._open)} operations already wait for devices",
                "Cancel what is not needed; devices.max_tasks allows more.",
            )

    def submit(
        self,
        registration: Registration,
        request: Mapping[str, Any],
        *,
        timeout_s: float,
        operation: Downlink | None = None,
        request_json: str = "",
        ttl_s: float | None = None,
        priority: int = 5,
        on_lost: str | None = None,
        origin: str = "",
        batch: str | None = None,
        told: bool = False,
        waiter: Callable[[Task], None] | None = None,
    ) -> Task:
        """Queue one operation; it leaves at once if nothing is in its way. Raises DeviceError, StorageFull.

        ``request`` is the operation in the API's shape, ``operation`` what was made of it if it was checked
        already. ``waiter`` is called once, when the task has ended and that is on disk, or at once when it
        falls into waiting. ``told``: it is kept whatever happens, and on disk before it leaves.
        """
        self.room(registration.endpoint_name)
        now = self._wall()
        verb = request.get("operation")
        task = Task(
            self._next_id,
            registration.endpoint_name,
            request,
            request_json or encode_json(request),
            created_at=now,
            expires_at=None if ttl_s is None else now + ttl_s,
            priority=priority,
            unknown_if_lost=(verb in _ONCE) if on_lost is None else on_lost == "unknown",
            origin=origin,
            batch=batch,
            timeout_s=timeout_s,
            told=told,
        )
        before = self._overtaken(task)
        if before is not None and before.request_json == task.request_json and before.batch == batch:
            if waiter is not None:
                before.waiters = (*before.waiters, waiter)
                if before.state == "waiting":
                    tell = partial(self._tell_waiters, before)
                    self._save(before, tell, lambda _: tell())
            return before
        self._next_id += 1
        task.operation = operation
        if waiter is not None:
            task.waiters = (waiter,)
        if told:
            self._save(task)  # raises StorageFull before anything else has changed
        self._enter(task)
        self.drain(registration)
        overtaken = before is not None and before.state in ("queued", "waiting") and task.told
        if before is not None and overtaken and not _is_partial(task.request):
            # Only now, when the newer one is on its way to the disk: a power cut must not take both.
            self._end(before, "superseded", f"Task {task.id} writes the same path")
        return task

    def _enter(self, task: Task) -> None:
        self._open[task.id] = task
        line = self._lines.get(task.endpoint_name)
        if line is None:
            line = self._lines[task.endpoint_name] = _Line()
        insort(line.tasks, task)
        if task.expires_at is not None:
            heapq.heappush(self._expiries, (task.expires_at, task.id))

    def _overtaken(self, task: Task) -> Task | None:
        """A queued Write of the same right before it: it is the same task, or its value is overtaken.

        Only what nobody has sent yet, and only the neighbour: what lies between might depend on it.
        """
        line = self._lines.get(task.endpoint_name)
        if task.verb != "Write" or line is None or not line.tasks:
            return None
        last = line.tasks[-1]
        if (
            last is line.under_way
            or last.verb != "Write"
            or last.priority != task.priority
            or last.attempts
            or _target(last.request) != _target(task.request)
        ):
            return None
        return last

    # The way to the device

    def contact(self, registration: Registration) -> None:
        """The device was heard: what waits for it goes now, and what it slept through is said again."""
        if registration.queue_mode:
            self._server.hasten(registration.client)
        if registration.endpoint_name in self._lines:
            self.drain(registration)

    def drain(self, registration: Registration) -> None:
        """Send the next task of the device if it listens and has none under way."""
        line = self._lines.get(registration.endpoint_name)
        while line is not None and line.tasks and line.under_way is None:
            task = line.tasks[0]
            if registration.ended:
                self._leave(registration, line)
                return
            if not self._presence.listens(registration):
                self._wait(line, "The device sleeps")
                for waker in self.wakers:
                    waker(registration)
                return
            if not self._ready(registration, task):
                continue  # it ended; the next one
            line.under_way = task
            task.state, task.sent_at = "sent", self._wall()
            task.attempts += 1
            if task.unknown_if_lost:
                # On disk before it leaves, else a power cut could make us do it twice.
                try:
                    self._save(
                        task,
                        partial(self._transmit, registration, task),
                        partial(self._mark_lost, task),
                    )
                    self._database.hasten()
                except StorageFull:
                    self._unsent(task, _NOT_STORED)
                return
            self._transmit(registration, task)

    def left(self, registration: Registration) -> None:
        """The registration ended: who wanted to wait for the device does, the others hear it now."""
        line = self._lines.get(registration.endpoint_name)
        if line is not None and line.under_way is None:
            self._leave(registration, line)

    def _leave(self, registration: Registration, line: _Line) -> None:
        words = _away(registration)
        if not registration.queue_mode:
            for task in [task for task in line.tasks if task.expires_at is None]:
                self._end(task, "failed", words)
        self._wait(line, words)

    def _ready(self, registration: Registration, task: Task) -> bool:
        """Whether the task still makes sense for what is registered now; otherwise it ends."""
        try:
            if task.operation is None:
                task.operation = build(registration, task.request, self.files)
            missing = _missing_object(registration, task)
            if missing is not None:
                raise DeviceError("invalid", f"the device does not have object {missing} any more")
        except DeviceError as error:
            task.fault = "invalid"
            self._end(task, "failed", f"{error.message}. {error.next_step}".strip())
            return False
        return True

    def _transmit(self, registration: Registration, task: Task) -> None:
        operation = task.operation
        assert operation is not None
        line = self._lines.get(task.endpoint_name)
        if line is None or line.under_way is not task:
            return  # ended while its mark went to the disk
        if registration.ended:
            self._unsent(task, _away(registration))
            return
        content_format = task.request.get("content_format")
        silence_s = self._presence.silence_s(registration)
        try:
            self._server.request(
                registration.client,
                operation,
                task.timeout_s,
                partial(self._answered, registration, task, operation, silence_s),
                content_format,
                partial(_advance, task),
            )
        except CodecError as error:
            task.fault = "invalid"
            self._end(task, "failed", f"{error} Choose another content format or check the values.")
            self.drain(registration)

    def _mark_lost(self, task: Task, error: Exception) -> None:
        log.error("%s: that task %d leaves is not stored: %s", task.endpoint_name, task.id, error)
        if not task.told and task.id in self._open:
            # Nobody was told that it is kept: it ends here, undone, and whoever waits hears it now.
            task.stored = task.kept = False
            self._end(task, "failed", _NOT_STORED)
            return
        self._unsent(task, _NOT_STORED)

    def _unsent(self, task: Task, reason: str) -> None:
        """It could not leave after all: back to its place."""
        line = self._lines.get(task.endpoint_name)
        if line is not None and line.under_way is task:
            line.under_way = None
            task.state, task.sent_at = "queued", None
            self._wait(line, reason)

    def _answered(
        self,
        registration: Registration,
        task: Task,
        operation: Downlink,
        silence_s: float,
        response: Response,
    ) -> None:
        line = self._lines.get(task.endpoint_name)
        if line is None or line.under_way is not task:
            return
        if not response.failure:
            self._presence.answered(registration, silence_s)
        elif response.failure == "timeout" or (
            response.failure == "deadline" and task.timeout_s >= _LONG_ENOUGH_S
        ):
            self._presence.unanswered(registration, silence_s)
        again = bool(response.failure) and self._again(registration, line, task, response.failure)
        if not again:
            state = "done" if not response.failure else "failed"
            reason = ""
            if response.failure:
                reason = failure_words(response.failure)
                if task.unknown_if_lost and response.failure not in _NEVER_SENT:
                    state, reason = "unknown", f"{reason}. {_MAY_BE_DONE}"
            task.outcome = self._record(registration, task, operation, response)
            self._end(task, state, reason)
        if response.failure == "cancelled":
            return  # the registration ends or is replaced just now; `left` or `contact` go on
        present = self._registry.named(task.endpoint_name)
        if present is not None and not (again and present is registration):
            self.drain(present)

    def _again(self, registration: Registration, line: _Line, task: Task, failure: str) -> bool:
        """Whether a task without an answer goes back to its place; it is then tried at the next contact."""
        if task.unknown_if_lost and failure not in _NEVER_SENT:
            return False
        waits = task.expires_at is not None or registration.queue_mode
        if not waits or (failure == "queue full" and not task.told):
            return False
        if task.expires_at is None:
            task.expires_at = task.created_at + self._settings.task_ttl_s
            heapq.heappush(self._expiries, (task.expires_at, task.id))
        line.under_way = None
        task.state = "queued"
        present = self._registry.named(task.endpoint_name)
        if present is None or present.ended or present is registration:
            # Still the same registration: nothing new was heard, so asking again now would be in vain.
            if not registration.queue_mode:
                for other in [other for other in line.tasks if other.expires_at is None]:
                    self._end(other, "failed", failure_words(failure))
            self._wait(line, failure_words(failure))
        return True

    def _wait(self, line: _Line, reason: str) -> None:
        """Everything in the line waits for the device; whoever waits for an answer is told so now."""
        for task in list(line.tasks):
            if task is line.under_way or task.state == "waiting":
                continue
            task.state, task.reason = "waiting", reason
            if task.expires_at is None:
                task.expires_at = self._wall() + self._settings.task_ttl_s
                heapq.heappush(self._expiries, (task.expires_at, task.id))
            task.told = True
            fresh = not task.stored
            try:
                self._save(
                    task, partial(self._tell_waiters, task), partial(self._not_kept, task) if fresh else None
                )
            except StorageFull as error:
                if fresh:
                    self._not_kept(task, error)
                    continue
            if task.batch is None:
                self._told(task)
        self._database.hasten()

    def _not_kept(self, task: Task, error: Exception) -> None:
        """It should wait, and is not on disk: nobody is told that it is kept."""
        log.error("%s: task %d is not stored: %s", task.endpoint_name, task.id, error)
        line = self._lines.get(task.endpoint_name)
        if line is not None and task.id in self._open and line.under_way is not task:
            task.stored = False
            self._end(task, "failed", "The gateway could not store it")

    # The end

    def cancel(self, task_id: int) -> Task | None:
        """Give a task up; None when it is not open. One that is on its way may still be carried out."""
        task = self._open.get(task_id)
        if task is None:
            return None
        line = self._lines[task.endpoint_name]
        if line.under_way is task and task.attempts:
            self._end(task, "cancelled", "It was on its way already and may have been carried out")
        else:
            self._end(task, "cancelled", "Cancelled")
        present = self._registry.named(task.endpoint_name)
        if present is not None:
            self.drain(present)
        return task

    def expire(self) -> None:
        """End what has waited long enough. Costs nothing while nothing has."""
        now = self._wall()
        while self._expiries and self._expiries[0][0] <= now:
            _, task_id = heapq.heappop(self._expiries)
            task = self._open.get(task_id)
            if task is None or task.expires_at is None or task.expires_at > now:
                continue
            if self._lines[task.endpoint_name].under_way is task:
                heapq.heappush(self._expiries, (now + 1.0, task_id))  # its answer decides
                continue
            self._end(task, "expired", f"It was not done in time. {task.reason}".strip())

    def forget(self, endpoint_name: str) -> None:
        """The device is removed, and what waits for it with it."""
        line = self._lines.get(endpoint_name)
        if line is not None:
            for task in list(line.tasks):
                self._end(task, "cancelled", "The device was removed")

    def _end(self, task: Task, state: str, reason: str) -> None:
        line = self._lines[task.endpoint_name]
        if line.under_way is task:
            line.under_way = None
        line.tasks.remove(task)
        if not line.tasks:
            del self._lines[task.endpoint_name]
        self._open.pop(task.id, None)
        task.state, task.reason, task.ended_at = state, reason, self._wall()
        task.operation = None
        self._settling[task.id] = task
        if task.outcome is None and task.batch is None:
            self._told(task)
        try:
            self._save(task, partial(self._settled, task), partial(self._end_lost, task))
            if task.waiters:
                self._database.hasten()
        except StorageFull as error:
            self._end_lost(task, error)

    def _end_lost(self, task: Task, error: Exception) -> None:
        log.error("%s: the end of task %d is not stored: %s", task.endpoint_name, task.id, error)
        task.kept = False
        self._settled(task)

    def _settled(self, task: Task) -> None:
        self._settling.pop(task.id, None)
        self._ended_rows += 1
        self._trim()
        self._tell_waiters(task)

    def _tell_waiters(self, task: Task) -> None:
        waiters, task.waiters = task.waiters, ()
        for waiter in waiters:
            waiter(task)

    def _trim(self) -> None:
        """Many at a time: a row deleted for every one that ends would double what an end costs."""
        kept = self._settings.kept_tasks
        if self._ended_rows <= kept + max(kept // 10, _TRIM_AT_LEAST):
            return
        try:
            self._database.write(_FORGET_OLDEST, (*OPEN, kept, *OPEN))
        except StorageFull:
            return  # the next end tries again
        self._ended_rows = kept

    def _save(
        self,
        task: Task,
        done: Callable[[], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        about = encode_json(
            [
                *(round(task.created_at, 3), task.expires_at, task.priority, task.unknown_if_lost),
                *(task.origin, task.timeout_s, task.attempts, task.sent_at, task.ended_at, task.reason),
            ]
        )
        self._database.write(
            _SAVE,
            (
                *(task.id, task.endpoint_name, task.state, task.batch, task.request_json, about),
                None if task.outcome is None else encode_json(task.outcome),
            ),
            done,
            failed,
        )
        task.stored = True

    def settle(self, done: Callable[[], None]) -> None:
        """Call back when everything that was said so far is on disk. Raises StorageFull."""
        self._database.write(
            "INSERT OR REPLACE INTO meta(name, value) VALUES ('tasks', ?)", (self._next_id,), done
        )
        self._database.hasten()

    # Looking

    def open_task(self, task_id: int) -> Task | None:
        """A task that has not ended, or whose end is not on disk yet."""
        return self._open.get(task_id) or self._settling.get(task_id)

    def find(
        self, *, endpoint_name: str = "", state: str = "", batch: str = "", after: int = 0, limit: int = 200
    ) -> Iterator[Task]:
        """Tasks, newest first, below the id ``after`` (0: all); ``state`` "open": all that have not ended."""
        here = {**self._open, **self._settling}
        wanted = [
            task
            for task in here.values()
            if (not endpoint_name or task.endpoint_name == endpoint_name)
            and (not batch or task.batch == batch)
            and (not state or task.state == state or (state == "open" and task.state in OPEN))
            and (not after or task.id < after)
        ]
        if state not in OPEN and state != "open":
            wanted += [
                task
                for task in self._stored(endpoint_name, state, batch, after, limit + len(here))
                if task.id not in here
            ]
        wanted.sort(key=lambda task: -task.id)
        yield from wanted[:limit]

    def task(self, task_id: int) -> Task | None:
        """Any task that is still known."""
        known = self.open_task(task_id)
        if known is not None:
            return known
        return next((task for task in self._stored("", "", "", task_id + 1, 1) if task.id == task_id), None)

    def states(self, endpoint_name: str = "", batch: str = "") -> dict[str, int]:
        """How many there are in each state."""
        here = {**self._open, **self._settling}
        found: dict[str, int] = {}
        for task in here.values():
            if (not endpoint_name or task.endpoint_name == endpoint_name) and (
                not batch or task.batch == batch
            ):
                found[task.state] = found.get(task.state, 0) + 1
        rows = self._database.read(
            "SELECT state, count(*) FROM tasks WHERE (?='' OR endpoint_name=?) AND (?='' OR batch=?) "
            # What has just ended may be on disk already, and was counted above.
            "AND state NOT IN (?,?,?) AND id NOT IN (SELECT value FROM json_each(?)) GROUP BY state",
            (endpoint_name, endpoint_name, batch, batch, *OPEN, encode_json(list(self._settling))),
        )
        for state, number in rows:
            found[state] = found.get(state, 0) + number
        return found

    def _stored(self, endpoint_name: str, state: str, batch: str, below: int, limit: int) -> Iterator[Task]:
        rows = self._database.read(
            "SELECT id, endpoint_name, state, batch, request, about, outcome FROM tasks "
            "WHERE (?=0 OR id<?) AND (?='' OR endpoint_name=?) AND (?='' OR state=?) AND (?='' OR batch=?) "
            "AND state NOT IN (?,?,?) ORDER BY id DESC LIMIT ?",
            (below, below, endpoint_name, endpoint_name, state, state, batch, batch, *OPEN, limit),
        )
        for task_id, name, its_state, its_batch, request_json, about_json, outcome in rows:
            try:
                about = json.loads(about_json)
                task = self._restored(task_id, name, its_batch, request_json, about)
                task.state = its_state
                task.outcome = None if outcome is None else json.loads(outcome)
            except (ValueError, TypeError, LookupError) as error:
                log.error("task %s of %s cannot be read: %s", task_id, name, error)
                continue
            yield task


_MAY_BE_DONE = "It may have been carried out; look at the device before you repeat it"
_NOT_STORED = "Not sent, as the gateway could not store that it leaves; check the free space of its disk"
_LOST_BY_US = f"The gateway stopped before the answer came. {_MAY_BE_DONE}"


def _away(registration: Registration) -> str:
    return f"The device is not registered now ({registration.ended})"


def _shown_path(request: Mapping[str, Any]) -> str:
    """Its path, or its paths joined by commas."""
    if request.get("operation") in ("ReadComposite", "WriteComposite"):
        return ",".join(map(str, request.get("paths") or request.get("values") or ()))
    return str(request.get("path", "/"))


def _advance(task: Task, sent: int, total: int) -> None:
    task.progress = (sent, total)


def _target(request: Mapping[str, Any]) -> tuple[object, ...]:
    return request.get("path"), request.get("mode"), request.get("content_format")


def _is_partial(request: Mapping[str, Any]) -> bool:
    """Whether a later write of the same path may leave something of it standing."""
    return "values" in request or isinstance(request.get("value"), Mapping)


def _missing_object(registration: Registration, task: Task) -> int | None:
    """The object that a task needs and the device does not list (any more)."""
    objects = registration.client.objects.objects
    for text in task.shown_path.split(","):
        try:
            object_id = Path.parse(text).object_id
        except PathError:
            continue
        if object_id is not None and object_id not in objects and task.attempts == 0 and task.told:
            return object_id
    return None
