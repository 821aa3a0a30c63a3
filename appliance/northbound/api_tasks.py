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
)
def list_tasks(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.tasks, **request.query))


@routes.route(
    "POST",
    "/tasks",
    scope="operate",
    summary="One operation for many devices: those named, those found by a search, or all",
    body="Submit",
    answer="Batch",
    status=202,
)
def submit_tasks(request: Request) -> Answer:
    asked = request.body
    if sum(name in asked for name in ("devices", "search", "all")) != 1:
        raise ApiError("invalid", "say which devices", 'Give one of "devices", "search" and "all".')
    checked_operation(asked["operation"])
    call = request.room.crossing.call
    done = call(request.room.devices.submit, asked, origin_of(request), timeout_s=_BATCH_S)
    return Answer(done, status=202)


@routes.route("GET", "/tasks/{id}", scope="read", summary="One task", answer="Task")
def get_task(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.task, _id(request)))


@routes.route("DELETE", "/tasks/{id}", scope="operate", summary="Give up a task", answer="Task")
def cancel_task(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.cancel_task, _id(request)))


@routes.route(
    "POST",
    "/tasks/{id}/retry",
    scope="operate",
    summary="The same once more, as a new task",
    answer="Task",
)
def retry_task(request: Request) -> Answer:
    devices: Any = request.room.devices
    return Answer(request.room.crossing.call(devices.retry_task, _id(request), origin_of(request)))


def _id(request: Request) -> int:
    text = request.parameters["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ApiError("not_found", f"there is no task {text[:32]!r}", "GET /api/v1/tasks lists them.")
    return int(text)
