"""Bytes from outside become values: JSON with bounds, checked against the schema that is published.

The checker knows the part of JSON Schema 2020-12 that `schemas` uses, and refuses a schema that uses more.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final, NoReturn

from appliance.northbound.errors import ApiError

MAX_NUMBER_CHARACTERS: Final = 64
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_ANNOTATIONS: Final = frozenset({"description", "example", "examples", "title", "format", "default"})
_KNOWN: Final = frozenset(
    {
        *("$ref", "type", "enum", "const", "properties", "required", "additionalProperties", "items"),
        *("minimum", "maximum", "minLength", "maxLength", "maxItems", "minItems", "uniqueItems"),
        *("maxProperties", "pattern", "oneOf"),
    }
)

Schema = Mapping[str, Any]


def parse_json(data: bytes, max_depth: int) -> Any:
    """The value of a JSON text (RFC 8259). Raises ApiError("invalid")."""
    depth = 0
    for found in _BRACKETS.finditer(data):
        if found[0] in (b"[", b"{"):
            depth += 1
            if depth > max_depth:
                raise _invalid(f"the JSON is nested deeper than {max_depth} levels")
        elif found[0] in (b"]", b"}"):
            depth -= 1
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        raise _invalid("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _invalid(f"the body is not JSON: {error.msg}, {where}") from None


def json_bytes(value: Any) -> bytes:
    """A value as JSON text; what JSON has no word for (a sensor that reports NaN) becomes null."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "replace")


def check(value: Any, schema: Schema, components: Mapping[str, Schema]) -> None:
    """Raises ApiError("invalid") with the first place where the value does not fit the schema."""
    fault = first_fault(value, schema, components)
    if fault is not None:
        raise _invalid(fault)


def first_fault(value: Any, schema: Schema, components: Mapping[str, Schema], where: str = "") -> str | None:
    """What is wrong first, as a sentence that names the place; None when all is well."""
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    unknown = set(schema) - _KNOWN - _ANNOTATIONS
    if unknown:
        raise ValueError(f"schema words that are not checked: {sorted(unknown)}")
    here = where or "the body"
    if "oneOf" in schema:
        fitting = [one for one in schema["oneOf"] if first_fault(value, one, components, where) is None]
        return None if len(fitting) == 1 else f"{here} fits none of its forms"
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if kinds and not any(_is_kind(value, kind) for kind in kinds):
        return f"{here} must be {' or '.join(_WORDS[kind] for kind in kinds)}"
    if "const" in schema and value != schema["const"]:
        return f"{here} must be {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{here} must be one of {', '.join(str(one) for one in schema['enum'])}"
    if isinstance(value, str):
        return _text_fault(value, schema, here)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_fault(value, schema, here)
    if isinstance(value, list):
        return _list_fault(value, schema, components, where, here)
    if isinstance(value, dict):
        return _object_fault(value, schema, components, where, here)
    return None


def _text_fault(value: str, schema: Schema, here: str) -> str | None:
    if len(value) < schema.get("minLength", 0):
        return f"{here} must not be shorter than {schema['minLength']}"
    if len(value) > schema.get("maxLength", math.inf):
        return f"{here} must not be longer than {schema['maxLength']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{here} must match {schema['pattern']}"
    return None


def _number_fault(value: float, schema: Schema, here: str) -> str | None:
    if value < schema.get("minimum", -math.inf):
        return f"{here} must be at least {schema['minimum']}"
    if value > schema.get("maximum", math.inf):
        return f"{here} must be at most {schema['maximum']}"
    return None


def _list_fault(
    value: list[Any], schema: Schema, components: Mapping[str, Schema], where: str, here: str
) -> str | None:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
        return f"{here} has {len(value)} items, which is too few or too many"
    if schema.get("uniqueItems") and any(one in value[:index] for index, one in enumerate(value)):
        return f"{here} says the same twice"
    if "items" in schema:
        for index, one in enumerate(value):
            fault = first_fault(one, schema["items"], components, f"{where}[{index}]")
            if fault is not None:
                return fault
    return None


def _object_fault(
    value: dict[str, Any], schema: Schema, components: Mapping[str, Schema], where: str, here: str
) -> str | None:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return f"{here} lacks {name!r}"
    if len(value) > schema.get("maxProperties", math.inf):
        return f"{here} has more than {schema['maxProperties']} members"
    others = schema.get("additionalProperties", True)
    for name, one in value.items():
        inner = f"{where}.{name}" if where else name
        if name in properties:
            fault = first_fault(one, properties[name], components, inner)
        elif others is False:
            meant = get_close_matches(name, list(properties), n=1)
            return f"{here} has the unknown member {name[:64]!r}" + (
                f"; did you mean {meant[0]!r}?" if meant else ""
            )
        elif others is True:
            fault = None
        else:
            fault = first_fault(one, others, components, inner)
        if fault is not None:
            return fault
    return None


_WORDS: Final = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def _is_kind(value: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case _:
            return value is None


def _refuse_constant(name: str) -> NoReturn:
    raise _invalid(f"{name} is no JSON number")


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise _invalid("a number in the body is too long")
    return int(text)


def _number(text: str) -> float:
    value = float(text) if len(text) <= 10 * MAX_NUMBER_CHARACTERS else math.inf
    if not math.isfinite(value):
        raise _invalid("a number in the body is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _invalid("an object in the body names a member twice")
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _invalid(message: str) -> ApiError:
    return ApiError("invalid", message, "GET /api/v1/openapi.json describes every request.")
