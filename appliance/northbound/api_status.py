"""Routes of the appliance itself."""

from __future__ import annotations

from appliance.northbound.routes import Answer, Request, Routes

routes = Routes()


@routes.route("GET", "/status", scope="read", summary="How the appliance is", answer="Status")
def get_status(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.status))


@routes.route("GET", "/openapi.json", scope="read", summary="This API as an OpenAPI 3.1 document")
def get_openapi(request: Request) -> Answer:
    return Answer(request.room.document())
