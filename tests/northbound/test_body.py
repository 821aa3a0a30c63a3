"""The checker against what JSON Schema says, and bytes from anybody against the reader."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.northbound.body import first_fault, json_bytes, parse_json
from appliance.northbound.errors import ApiError
from appliance.northbound.schemas import COMPONENTS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("schema", "fits", "does_not"),
    [
        ({"type": "string"}, ["", "a"], [1, None, [], {}, True]),
        ({"type": "integer"}, [0, -5], [True, 1.5, "1"]),
        ({"type": "number"}, [0, 1.5], [True, "1"]),
        ({"type": "boolean"}, [True], [0, 1, "true"]),
        ({"type": ["null", "array"]}, [None, []], [{}, ""]),
        ({"enum": ["a", 1]}, ["a", 1], ["b", 2]),
        ({"const": 3}, [3], [4]),
        ({"type": "string", "minLength": 1, "maxLength": 2}, ["a", "ab"], ["", "abc"]),
        ({"type": "string", "pattern": "^a+$"}, ["aa"], ["ab", ""]),
        ({"type": "integer", "minimum": 1, "maximum": 2}, [1, 2], [0, 3]),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
            [[1], [1, 2]],
            [[], ["a"], [1, 2, 3]],
        ),
        ({"type": "array", "uniqueItems": True}, [[1, 2]], [[1, 1]]),
        ({"type": "object", "required": ["a"]}, [{"a": 1}], [{}, {"b": 1}]),
        (
            {"properties": {"a": {"type": "integer"}}, "additionalProperties": False},
            [{}, {"a": 1}],
            [{"b": 1}, {"a": ""}],
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1},
            [{"x": 1}],
            [{"x": ""}, {"x": 1, "y": 2}],
        ),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, ["", 1], [None, 1.5]),
        ({"$ref": "#/components/schemas/SetupState"}, [{"needed": True}], [{}, {"needed": 1}]),
    ],
)
def test_each_word_of_the_schemas(schema: dict[str, Any], fits: list[Any], does_not: list[Any]) -> None:
    for value in fits:
        assert first_fault(value, schema, COMPONENTS) is None, value
    for value in does_not:
        assert first_fault(value, schema, COMPONENTS), value


def test_a_word_that_is_not_checked_is_not_written() -> None:
    with pytest.raises(ValueError, match="patternProperties"):
        first_fault({}, {"patternProperties": {}}, COMPONENTS)


def test_the_place_is_named() -> None:
    fault = first_fault({"name": "x", "scopes": ["read", "root"]}, COMPONENTS["NewToken"], COMPONENTS)
    assert fault == "scopes[1] must be one of read, operate, admin"


@given(JSON)
def test_what_is_written_can_be_read(value: Any) -> None:
    written = json_bytes(value)
    assert parse_json(written, 100) == json.loads(written)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_refusal(data: bytes) -> None:
    try:
        parse_json(data, 16)
    except ApiError as error:
        assert error.code == "invalid"


def test_brackets_inside_texts_are_no_depth() -> None:
    assert parse_json(b'{"a": "[[[[[[\\"[[[[", "b": [[1]]}', 3) == {"a": '[[[[[["[[[[', "b": [[1]]}
    with pytest.raises(ApiError, match="deeper"):
        parse_json(b"[[[[1]]]]", 3)


def test_a_hundred_thousand_mutations_of_requests() -> None:
    """Reader and checker are total: any bytes give a value that fits, or ApiError("invalid")."""
    draw = random.Random(20)
    seeds = [
        json_bytes(COMPONENTS[name]["example"]) for name in ("Operation", "NewToken", "Observe", "Login")
    ]
    parts = [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\u",
        b"1e9",
        b"null",
        b":",
        b",",
        b"\xff",
        b"-",
        b"\x00",
        b"NaN",
    ]
    outcomes = {"fits": 0, "refused": 0}
    for _ in range(100_000):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randrange(4)):
            place = draw.randrange(len(data) + 1)
            data[place : place + draw.randrange(6)] = draw.choice(parts)
        try:
            value = parse_json(bytes(data), 16)
            fault = first_fault(value, COMPONENTS["Operation"], COMPONENTS)
            outcomes["fits" if fault is None else "refused"] += 1
        except ApiError as error:
            assert error.code == "invalid"
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 1000
