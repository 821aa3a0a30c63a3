"""Routes of bootstrap: plans, and what happened in each session, step by step."""

from __future__ import annotations

from typing import Any, Final

from appliance.northbound.api_vault import trust_of
from appliance.northbound.errors import ApiError
from appliance.northbound.routes import Answer, Query, Request, Routes

routes = Routes()

_MOST: Final = 500


@routes.route(
    "GET", "/bootstrap/plans", scope="read", summary="Bootstrap plans, the default one first", answer="Plans"
)
def list_plans(request: Request) -> Answer:
    return Answer(request.room.crossing.call(trust_of(request).bootstrap.plans))


@routes.route(
    "POST",
    "/bootstrap/plans",
    scope="admin",
    summary="Keep a bootstrap plan; one with problems is refused",
    body="NewPlan",
    answer="Plan",
    status=201,
)
def create_plan(request: Request) -> Answer:
    trust, call = trust_of(request), request.room.crossing.call
    shown: dict[str, Any] = call(trust.bootstrap.put_plan, None, request.body)
    trust.vault.note(request.by, f"bootstrap plan made: {shown['id']}")
    return Answer(shown, 201)


@routes.route(
    "POST",
    "/bootstrap/plans/check",
    scope="read",
    summary="What is wrong with a plan (problems) and what is odd about it (warnings); nothing is kept",
    body="NewPlan",
    answer="PlanCheck",
)
def check_plan(request: Request) -> Answer:
    return Answer(request.room.crossing.call(trust_of(request).bootstrap.check_plan, request.body))


@routes.route("GET", "/bootstrap/plans/{id}", scope="read", summary="One bootstrap plan", answer="Plan")
def get_plan(request: Request) -> Answer:
    return Answer(request.room.crossing.call(trust_of(request).bootstrap.plan, request.parameters["id"]))


@routes.route(
    "PUT",
    "/bootstrap/plans/{id}",
    scope="admin",
    summary="Change a bootstrap plan; devices get it at their next bootstrap",
    body="NewPlan",
    answer="Plan",
)
def replace_plan(request: Request) -> Answer:
    trust, call = trust_of(request), request.room.crossing.call
    shown: dict[str, Any] = call(trust.bootstrap.put_plan, request.parameters["id"], request.body)
    trust.vault.note(request.by, f"bootstrap plan changed: {shown['id']}")
    return Answer(shown)


@routes.route(
    "DELETE",
    "/bootstrap/plans/{id}",
    scope="admin",
    summary="Forget a bootstrap plan that no device has",
    status=204,
)
def remove_plan(request: Request) -> Answer:
    trust, plan_id = trust_of(request), request.parameters["id"]
    request.room.crossing.call(trust.bootstrap.remove_plan, plan_id)
    trust.vault.note(request.by, f"bootstrap plan removed: {plan_id}")
    return Answer(status=204)


@routes.route(
    "GET",
    "/bootstrap/sessions",
    scope="read",
    summary="Bootstrap sessions, newest first, step by step",
    query=(
        Query("endpoint_name", {"type": "string", "maxLength": 255}, "only of this device", ""),
        Query("limit", {"type": "integer", "minimum": 1, "maximum": _MOST}, "so many at most", 50),
    ),
    answer="BootstrapSessions",
    about="devices",
)
def list_bootstrap_sessions(request: Request) -> Answer:
    bootstrap, reach = trust_of(request).bootstrap, request.reach
    name, limit = request.query["endpoint_name"], request.query["limit"]
    if name:
        reach.require(name, "read")
    asked = limit if name or reach.is_everywhere else _MOST
    found: dict[str, Any] = request.room.crossing.call(bootstrap.sessions, name, asked)
    seen = [one for one in found["sessions"] if reach.sees(one["endpoint_name"])]
    return Answer({"sessions": seen[:limit]})


@routes.route(
    "GET",
    "/bootstrap/sessions/{id}",
    scope="read",
    summary="One bootstrap session, step by step",
    answer="BootstrapSession",
    about="devices",
)
def get_bootstrap_session(request: Request) -> Answer:
    text = request.parameters["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _no_session(text)
    found = request.room.crossing.call(trust_of(request).bootstrap.session, int(text))
    if not request.reach.sees(found["endpoint_name"]):
        raise _no_session(text)
    return Answer(found)


def _no_session(text: str) -> ApiError:
    return ApiError(
        "not_found",
        f"no bootstrap session has the number {text[:32]}",
        "GET /api/v1/bootstrap/sessions lists those that are kept.",
    )
