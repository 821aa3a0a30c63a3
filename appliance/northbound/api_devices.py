"""Routes of devices: look, operate, observe."""

from __future__ import annotations

from typing import Any, Final

from appliance.northbound.body import check
from appliance.northbound.errors import ApiError
from appliance.northbound.routes import Answer, Query, Request, Routes
from appliance.northbound.schemas import COMPONENTS
from appliance.northbound.shape import PATH, TARGET

routes = Routes()

# An operation may be allowed longer than any other call; the device room knows when to stop waiting.
LONGEST_OPERATION_S: Final = 600.0
_MARGIN_S: Final = 15.0
_TARGET = Query("path", TARGET, "LwM2M path, such as /3303/0/5700", required=True)


@routes.route(
    "GET",
    "/devices",
    scope="read",
    summary="Devices in order of their names, page by page",
    query=(
        Query("search", {"type": "string", "maxLength": 200}, "part of name, maker, model or address", ""),
        Query(
            "state",
            {"type": "string", "enum": ["", "online", "asleep", "late", "offline", "deregistered"]},
            "only devices in this state",
            "",
        ),
        Query("after", {"type": "string", "maxLength": 255}, "next of the page before", ""),
        Query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "rows of a page", 200),
    ),
    answer="DevicePage",
    about="devices",
)
def list_devices(request: Request) -> Answer:
    query: dict[str, Any] = dict(request.query)
    if not request.reach.is_everywhere:
        query["among"] = request.reach.sees
    return Answer(request.room.crossing.call(request.room.devices.list_devices, **query))


@routes.route("GET", "/devices/{endpoint_name}", scope="read", summary="One device", answer="Device")
def get_device(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.device, endpoint_name(request)))


@routes.route(
    "DELETE",
    "/devices/{endpoint_name}",
    scope="operate",
    summary="Forget a device and its data; it may register again",
    status=204,
)
def remove_device(request: Request) -> Answer:
    request.room.crossing.call(request.room.devices.remove, endpoint_name(request), timeout_s=_MARGIN_S)
    return Answer(status=204)


@routes.route(
    "GET",
    "/devices/{endpoint_name}/objects",
    scope="read",
    summary="Its objects by name, with the resources their models know",
    answer="DeviceObjects",
)
def get_objects(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.objects, endpoint_name(request)))


@routes.route(
    "GET",
    "/devices/{endpoint_name}/values",
    scope="read",
    summary="Last known values at and below a path; the device is not asked",
    query=(Query("path", PATH, "LwM2M path", "/"),),
    answer="Values",
)
def get_values(request: Request) -> Answer:
    values = request.room.devices.values
    return Answer(request.room.crossing.call(values, endpoint_name(request), request.query["path"]))


@routes.route(
    "POST",
    "/devices/{endpoint_name}/operations",
    scope="operate",
    summary="Carry out one LwM2M operation; an answer of the device, even 4.04, is an outcome and no error. "
    "For a device that sleeps it becomes a task",
    body="Operation",
    answer="Outcome",
    also={202: "Queued"},
)
def operate(request: Request) -> Answer:
    """200 with the outcome, or 202 when it waits for the device."""
    asked, timeout_s = checked_operation(request.body), request.body.get("timeout_s")
    answer = _long(request, request.room.devices.operate, asked, origin_of(request), timeout_s=timeout_s)
    return Answer(answer.body, status=202) if "task" in answer.body and "code" not in answer.body else answer


@routes.route(
    "GET",
    "/devices/{endpoint_name}/observations",
    scope="read",
    summary="What is observed, what is wanted, and why not",
    answer="Observations",
)
def get_observations(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.observations, endpoint_name(request)))


@routes.route(
    "PUT",
    "/devices/{endpoint_name}/observations",
    scope="operate",
    summary="Observe a path from now on, over every registration",
    query=(Query("path", PATH, "LwM2M path, such as /3303/0/5700", required=True),),
    body="Observe",
    body_required=False,
    answer="Outcome",
)
def observe(request: Request) -> Answer:
    attributes = (request.body or {}).get("attributes", {})
    return _long(request, request.room.devices.observe, request.query["path"], attributes)


@routes.route(
    "DELETE",
    "/devices/{endpoint_name}/observations",
    scope="operate",
    summary="Stop observing a path",
    query=(
        _TARGET,
        Query(
            "how",
            {"type": "string", "enum": ["request", "reset"]},
            "request: the device is told now; reset: it hears RST when it notifies, and may sleep until then",
            "request",
        ),
    ),
    answer="Outcome",
)
def cancel_observation(request: Request) -> Answer:
    reset = (True,) if request.query["how"] == "reset" else ()
    return _long(request, request.room.devices.cancel_observation, request.query["path"], *reset)


@routes.route(
    "POST",
    "/devices/{endpoint_name}/observations/composite",
    scope="operate",
    summary="Observe several paths as one from now on, over every registration",
    body="ObserveComposite",
    answer="Outcome",
)
def observe_composite(request: Request) -> Answer:
    return _long(request, request.room.devices.observe_composite, request.body)


@routes.route(
    "PUT",
    "/devices/{endpoint_name}/awake",
    scope="operate",
    summary="How long a device in queue mode listens after each message",
    body="Awake",
    answer="Device",
)
def set_awake(request: Request) -> Answer:
    devices = request.room.devices
    return Answer(
        request.room.crossing.call(devices.set_awake, endpoint_name(request), request.body["awake_s"])
    )


@routes.route(
    "GET",
    "/devices/{endpoint_name}/timeline",
    scope="read",
    summary="What happened to a device, newest first, in words",
    query=(
        Query("before", {"type": "integer", "minimum": 1}, "events before this number"),
        Query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "events of a page", 100),
    ),
    answer="TimeLine",
)
def get_timeline(request: Request) -> Answer:
    devices, query = request.room.devices, request.query
    call = request.room.crossing.call
    return Answer(call(devices.timeline, endpoint_name(request), query["before"] or 0, query["limit"]))


def checked_operation(asked: dict[str, Any]) -> dict[str, Any]:
    """What the schema cannot say: which verbs name one path, which several. Raises ApiError."""
    verb = asked["operation"]
    needed = {"ReadComposite": "paths", "WriteComposite": "values"}.get(verb, "path")
    if needed not in asked:
        raise ApiError("invalid", f"{verb} needs {needed!r}", "GET /api/v1/openapi.json describes it.")
    return asked


def origin_of(request: Request) -> str:
    """Who asked, for the task list."""
    return request.principal.name if request.principal is not None else ""


def endpoint_name(request: Request) -> str:
    """The device in the path. Raises ApiError for what cannot be a name."""
    name = request.parameters["endpoint_name"]
    check(name, {"type": "string", "minLength": 1, "maxLength": 255}, COMPONENTS)
    return name


def _long(request: Request, call: Any, *arguments: Any, timeout_s: float | None = None) -> Answer:
    wait_s = (LONGEST_OPERATION_S if timeout_s is None else timeout_s) + _MARGIN_S
    with request.room.operations.one(request.address):
        return Answer(request.room.crossing.call(call, endpoint_name(request), *arguments, timeout_s=wait_s))
