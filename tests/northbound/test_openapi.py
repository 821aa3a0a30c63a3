"""The published document and the routes say the same, in both directions; every example fits its schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliance.northbound.application import ALL_ROUTES, build
from appliance.northbound.body import first_fault
from appliance.northbound.openapi import document
from appliance.northbound.routes import API
from appliance.northbound.schemas import COMPONENTS
from tests.northbound.conftest import Stand

DOCUMENT = document(ALL_ROUTES, "1.2.3")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in DOCUMENT["paths"].items():
        for verb, operation in verbs.items():
            yield verb.upper(), path, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_route_that_is_served_is_in_the_document_and_back(stand: Callable[..., Stand]) -> None:
    """Served is what the router of the running application knows, not what a table says."""
    app = build(stand(start=False).northbound._room)
    served = {
        (route.method, re.sub(r"<(\w+)>", r"{\1}", route.rule).removeprefix(API))
        for route in app.routes
        if route.rule.startswith(API)
    }
    assert served == {(method, path) for method, path, _ in operations()}
    others = {(route.method, route.rule) for route in app.routes if not route.rule.startswith(API)}
    assert others == {("GET", "/"), ("GET", "/<path:re:(?!api(?:/|$)).+>")}


def test_a_route_that_is_not_in_the_document_would_be_seen() -> None:
    shorter = [route for route in ALL_ROUTES if route.name != "get_status"]
    assert "/status" not in document(shorter, "")["paths"]


def test_the_document_is_whole() -> None:
    assert DOCUMENT["openapi"].startswith("3.1") and DOCUMENT["info"]["version"] == "1.2.3"
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names)) == len(list(ALL_ROUTES))
    for reference in references(DOCUMENT):
        assert reference.removeprefix("#/components/schemas/") in COMPONENTS, reference
    used = set(references(DOCUMENT["paths"])) | set(references(DOCUMENT["components"]))
    assert {one.rpartition("/")[2] for one in used} == set(COMPONENTS)


@pytest.mark.parametrize(("method", "path", "operation"), list(operations()))
def test_each_operation_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"] and operation["x-scope"] in ("public", "read", "operate", "admin")
    assert (operation.get("security") == []) == (operation["x-scope"] == "public")
    in_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", path))
    assert all(one["description"] for one in operation["parameters"] if one["in"] == "query")
    assert operation["responses"]["default"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Error"
    }
    assert ("requestBody" in operation) <= (method in ("POST", "PUT", "PATCH"))


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_each_example_fits_its_schema_and_less_does_not(name: str) -> None:
    schema = COMPONENTS[name]
    assert first_fault(schema["example"], schema, COMPONENTS) is None
    for member in schema["required"]:
        less = {key: value for key, value in schema["example"].items() if key != member}
        assert first_fault(less, schema, COMPONENTS), member


def test_the_document_is_served(stand: Callable[..., Stand]) -> None:
    served = stand().browser("read").api("GET", "/openapi.json").json
    assert served["paths"] == DOCUMENT["paths"] and served["info"]["version"] == "0.1.0"
