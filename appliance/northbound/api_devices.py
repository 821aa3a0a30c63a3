"""Routes of devices: look, operate, observe."""

from __future__ import annotations

from typing import Any, Final

from appliance.northbound.body import check
from appliance.northbound.routes import Answer, Query, Request, Routes
from appliance.northbound.schemas import COMPONENTS
from appliance.northbound.shape import PATH

routes = Routes()

# An operation may be allowed longer than any other call; the device room knows when to stop waiting.
LONGEST_OPERATION_S: Final = 600.0
_MARGIN_S: Final = 15.0
_TARGET = Query("path", PATH, "LwM2M path, such as /3303/0/5700", required=True)


@routes.route(
    "GET",
    "/devices",
    scope="read",
    summary="Devices in order of their names, page by page",
    query=(
        Query("search", {"type": "string", "maxLength": 200}, "part of name, maker, model or address", ""),
        Query(
            "state",
            {"type": "string", "enum": ["", "online", "late", "offline", "deregistered"]},
            "only devices in this state",
            "",
        ),
        Query("after", {"type": "string", "maxLength": 255}, "next of the page before", ""),
        Query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "rows of a page", 200),
    ),
    answer="DevicePage",
)
def list_devices(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.list_devices, **request.query))


@routes.route("GET", "/devices/{endpoint_name}", scope="read", summary="One device", answer="Device")
def get_device(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.device, _name(request)))


@routes.route(
    "DELETE",
    "/devices/{endpoint_name}",
    scope="operate",
    summary="Forget a device and its data; it may register again",
    status=204,
)
def remove_device(request: Request) -> Answer:
    request.room.crossing.call(request.room.devices.remove, _name(request), timeout_s=_MARGIN_S)
    return Answer(status=204)


@routes.route(
    "GET",
    "/devices/{endpoint_name}/objects",
    scope="read",
    summary="Its objects by name, with the resources their models know",
    answer="DeviceObjects",
)
def get_objects(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.objects, _name(request)))


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
    return Answer(request.room.crossing.call(values, _name(request), request.query["path"]))


@routes.route(
    "POST",
    "/devices/{endpoint_name}/operations",
    scope="operate",
    summary="Carry out one LwM2M operation; an answer of the device, even 4.04, is an outcome and no error",
    body="Operation",
    answer="Outcome",
)
def operate(request: Request) -> Answer:
    devices = request.room.devices
    return _long(request, devices.operate, request.body, timeout_s=request.body.get("timeout_s"))


@routes.route(
    "GET",
    "/devices/{endpoint_name}/observations",
    scope="read",
    summary="What is observed, what is wanted, and why not",
    answer="Observations",
)
def get_observations(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.observations, _name(request)))


@routes.route(
    "PUT",
    "/devices/{endpoint_name}/observations",
    scope="operate",
    summary="Observe a path from now on, over every registration",
    query=(_TARGET,),
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
    query=(_TARGET,),
    answer="Outcome",
)
def cancel_observation(request: Request) -> Answer:
    return _long(request, request.room.devices.cancel_observation, request.query["path"])


def _name(request: Request) -> str:
    name = request.parameters["endpoint_name"]
    check(name, {"type": "string", "minLength": 1, "maxLength": 255}, COMPONENTS)
    return name


def _long(request: Request, call: Any, *arguments: Any, timeout_s: float | None = None) -> Answer:
    wait_s = (LONGEST_OPERATION_S if timeout_s is None else timeout_s) + _MARGIN_S
    with request.room.operations.one(request.address):
        return Answer(request.room.crossing.call(call, _name(request), *arguments, timeout_s=wait_s))
