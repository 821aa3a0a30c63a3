"""Routes of tasks: what is to be done at devices, and how it went."""

from __future__ import annotations

from typing import Any, Final

from appliance.northbound.api_devices import checked_operation, origin_of
from appliance.northbound.errors import ApiError
from appliance.northbound.routes import Answer, Query, Request, Routes
from appliance.northbound.task_shapes import STATES

routes = Routes()

# A batch for a whole fleet is on disk before it is answered.
_BATCH_S: Final = 60.0
_PAGE: Final = 1000
_LOOKED_AT: Final = 20
_ID: Final = {"type": "integer", "minimum": 0}


@routes.route(
    "GET",
    "/tasks",
    scope="read",
    summary="Tasks, newest first, page by page",
    query=(
        Query("endpoint_name", {"type": "string", "maxLength": 255}, "only of this device", ""),
        Query("state", {"type": "string", "enum": ["", "open", *STATES]}, "only in this state", ""),
        Query("batch", {"type": "string", "maxLength": 64}, "only of this batch", ""),
        Query("after", _ID, "next of the page before", 0),
        Query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "rows of a page", 200),
    ),
    answer="Tasks",
    about="devices",
)
def list_tasks(request: Request) -> Answer:
    if request.query["endpoint_name"]:
        request.reach.require(request.query["endpoint_name"], "read")
    elif not request.reach.is_everywhere:
        return Answer(_seen_tasks(request))
    return Answer(request.room.crossing.call(request.room.devices.tasks, **request.query))


@routes.route(
    "POST",
    "/tasks",
    scope="operate",
    summary="One operation for many devices: those named, those found by a search, or all",
    body="Submit",
    answer="Batch",
    status=202,
    about="devices",
)
def submit_tasks(request: Request) -> Answer:
    asked = request.body
    if sum(name in asked for name in ("devices", "search", "all")) != 1:
        raise ApiError("invalid", "say which devices", 'Give one of "devices", "search" and "all".')
    checked_operation(asked["operation"])
    call, reach = request.room.crossing.call, request.reach
    among = () if reach.is_everywhere else (lambda name: reach.may(name, "operate"),)
    done = call(request.room.devices.submit, asked, origin_of(request), *among, timeout_s=_BATCH_S)
    return Answer(done, status=202)


@routes.route("GET", "/tasks/{id}", scope="read", summary="One task", answer="Task", about="devices")
def get_task(request: Request) -> Answer:
    task_id = _id(request)
    return Answer(_task(request, task_id, "read"))


@routes.route(
    "DELETE", "/tasks/{id}", scope="operate", summary="Give up a task", answer="Task", about="devices"
)
def cancel_task(request: Request) -> Answer:
    _check_task(request)
    return Answer(request.room.crossing.call(request.room.devices.cancel_task, _id(request)))


@routes.route(
    "POST",
    "/tasks/{id}/retry",
    scope="operate",
    summary="The same once more, as a new task",
    answer="Task",
    about="devices",
)
def retry_task(request: Request) -> Answer:
    _check_task(request)
    devices: Any = request.room.devices
    return Answer(request.room.crossing.call(devices.retry_task, _id(request), origin_of(request)))


def _seen_tasks(request: Request) -> dict[str, Any]:
    """A page of the tasks of devices that exist for the caller, with counts of those that were looked at: the
    newest `_LOOKED_AT` pages.
    """
    query, limit = dict(request.query), request.query["limit"]
    found: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    query["limit"] = _PAGE
    for _ in range(_LOOKED_AT):
        page = request.room.crossing.call(request.room.devices.tasks, **query)
        for task in page["tasks"]:
            if request.reach.sees(task["endpoint_name"]):
                found.append(task)
                counts[task["state"]] = counts.get(task["state"], 0) + 1
        query["after"] = page["next"]
        if not page["next"]:
            break
    following = found[limit - 1]["id"] if len(found) > limit else None
    return {"tasks": found[:limit], "counts": counts, "next": following}


def _check_task(request: Request) -> None:
    """Raises ApiError when the task is of a device that the caller may not operate."""
    if not request.reach.is_everywhere:
        _task(request, _id(request), "operate")


def _task(request: Request, task_id: int, scope: str) -> dict[str, Any]:
    """A task of a device that exists for the caller. Raises ApiError."""
    task: dict[str, Any] = request.room.crossing.call(request.room.devices.task, task_id)
    if not request.reach.sees(task["endpoint_name"]):
        raise ApiError("not_found", f"there is no task {task_id}", "GET /api/v1/tasks lists them.")
    request.reach.require(task["endpoint_name"], scope)
    return task


def _id(request: Request) -> int:
    text = request.parameters["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ApiError("not_found", f"there is no task {text[:32]!r}", "GET /api/v1/tasks lists them.")
    return int(text)
