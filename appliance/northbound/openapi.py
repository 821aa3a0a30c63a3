"""The OpenAPI 3.1 document, made from the route table, so that it cannot say anything else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from appliance.northbound.routes import API, Query, Route
from appliance.northbound.schemas import COMPONENTS
from appliance.northbound.sessions import CSRF_HEADER, cookie_name
from appliance.northbound.shape import ref

OPENAPI: Final = "3.1.0"
_TAGS: Final = {"setup": "access", "session": "access", "accounts": "access", "tokens": "access"}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """The document; ``version`` is the appliance's."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Homard Edge",
            "version": version,
            "description": "LwM2M gateway appliance. Every error has the same shape: a code for programs, a "
            "message and the next step for people. x-scope names the scope a request needs; operate "
            "carries read, admin carries both.",
        },
        "servers": [{"url": API}],
        "security": [{"bearer": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API token."},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie_name(True),
                    "description": f"A login; every change also needs its csrf in {CSRF_HEADER}.",
                },
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    first = route.path.split("/")[1].partition(".")[0]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [_TAGS.get(first, first)],
        "x-scope": route.scope,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in route.placeholders
            ),
            *(_parameter(query) for query in route.query),
        ],
        "responses": {
            str(route.status): _answer(route),
            **{str(status): _other(status, name) for status, name in route.also.items()},
            "default": _error("What went wrong"),
        },
    }
    if route.scope == "public":
        operation["security"] = []
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {"application/json": {"schema": ref(route.body)}},
        }
    if route.upload is not None:
        taken: dict[str, Any] = {kind: {} for kind in (route.upload, *route.also_taken)}
        operation["requestBody"] = {"required": True, "content": taken}
    return operation


def _parameter(query: Query) -> dict[str, Any]:
    schema = dict(query.schema)
    if query.default not in (None, ""):
        schema["default"] = query.default
    return {
        "name": query.name,
        "in": "query",
        "required": query.required,
        "description": query.doc,
        "schema": schema,
    }


def _answer(route: Route) -> dict[str, Any]:
    if route.status == 204:
        return {"description": "Done"}
    content: dict[str, Any] = {}
    if route.answer is not None:
        content = {"schema": ref(route.answer)}
    return {"description": "Done", "content": {route.media_type: content}}


def _other(status: int, name: str) -> dict[str, Any]:
    words = "Taken, not done yet" if status < 400 else "Nothing was done; the answer says why"
    return {"description": words, "content": {"application/json": {"schema": ref(name)}}}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": ref("Error")}}}
