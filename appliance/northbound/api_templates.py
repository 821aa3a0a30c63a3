"""Routes of what holds for many devices: templates of observations, and profiles (LwM2M 1.2)."""

from __future__ import annotations

from appliance.northbound.routes import Answer, Request, Routes

routes = Routes()


@routes.route(
    "GET", "/templates", scope="read", summary="What is observed of many devices", answer="Templates"
)
def list_templates(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.templates))


@routes.route(
    "POST",
    "/templates",
    scope="operate",
    summary="Observe paths of every device that fits, now and in future",
    body="NewTemplate",
    answer="Template",
    status=201,
)
def create_template(request: Request) -> Answer:
    call = request.room.crossing.call
    return Answer(call(request.room.devices.put_template, None, request.body), status=201)


@routes.route(
    "PUT",
    "/templates/{id}",
    scope="operate",
    summary="Change a template; what follows from it is brought about",
    body="NewTemplate",
    answer="Template",
)
def replace_template(request: Request) -> Answer:
    call = request.room.crossing.call
    return Answer(call(request.room.devices.put_template, request.parameters["id"], request.body))


@routes.route(
    "DELETE",
    "/templates/{id}",
    scope="operate",
    summary="Take a template out; what only it wanted is not observed any more",
    status=204,
)
def remove_template(request: Request) -> Answer:
    request.room.crossing.call(request.room.devices.remove_template, request.parameters["id"])
    return Answer(status=204)


@routes.route(
    "GET",
    "/profiles",
    scope="read",
    summary="Profile ids of LwM2M 1.2 and the objects they stand for",
    answer="Profiles",
)
def list_profiles(request: Request) -> Answer:
    return Answer(request.room.crossing.call(request.room.devices.profiles))


@routes.route(
    "PUT",
    "/profiles/{pid}",
    scope="operate",
    summary="Say what a profile id stands for",
    body="NewProfile",
    answer="Profile",
)
def put_profile(request: Request) -> Answer:
    call, pid = request.room.crossing.call, request.parameters["pid"]
    return Answer(call(request.room.devices.put_profile, pid, request.body["links"]))


@routes.route("DELETE", "/profiles/{pid}", scope="operate", summary="Forget a profile", status=204)
def remove_profile(request: Request) -> Answer:
    request.room.crossing.call(request.room.devices.remove_profile, request.parameters["pid"])
    return Answer(status=204)
