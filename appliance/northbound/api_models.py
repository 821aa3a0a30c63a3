"""Routes of object definitions."""

from __future__ import annotations

from typing import Final

from appliance.northbound.errors import ApiError
from appliance.northbound.routes import Answer, Query, Request, Routes

routes = Routes()

XML: Final = "application/xml"
_VERSION: Final = {"type": "string", "maxLength": 16, "pattern": r"^[0-9]+\.[0-9]+$"}


@routes.route("GET", "/models", scope="read", summary="Every object definition known, by id", answer="Models")
def list_models(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.models))


@routes.route(
    "GET",
    "/models/{object_id}",
    scope="read",
    summary="One object definition, the newest version unless another is named",
    query=(Query("version", _VERSION, "such as 1.1"),),
    answer="Model",
)
def get_model(request: Request) -> Answer:
    found = request.room.crossing.call(
        request.room.devices.model, _object_id(request), request.query["version"]
    )
    return Answer(found)


@routes.route(
    "POST",
    "/models",
    scope="admin",
    summary="Take in an object definition (OMA DDF XML, without DTD)",
    upload=XML,
    also_taken=("text/xml",),
    answer="Model",
    status=201,
)
def add_model(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.add_model, request.body), 201)


@routes.route(
    "DELETE",
    "/models/{object_id}",
    scope="admin",
    summary="Take out an object definition of one's own",
    query=(Query("version", _VERSION, "such as 1.0", required=True),),
    status=204,
)
def remove_model(request: Request) -> Answer:
    request.room.crossing.call(
        request.room.devices.remove_model, _object_id(request), request.query["version"]
    )
    return Answer(status=204)


def _object_id(request: Request) -> int:
    text = request.parameters["object_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ApiError(
            "invalid", "an object id is a number from 0 to 65535", "GET /api/v1/models lists them."
        )
    return int(text)
