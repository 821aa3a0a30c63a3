"""What the shapes of the API are made of: JSON Schema 2020-12 as OpenAPI 3.1 takes it."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

TEXT: Final[Json] = {"type": "string"}
OPTIONAL_TEXT: Final[Json] = {"type": ["string", "null"]}
NUMBER: Final[Json] = {"type": "number"}
OPTIONAL_NUMBER: Final[Json] = {"type": ["number", "null"]}
WHOLE: Final[Json] = {"type": "integer"}
OPTIONAL_WHOLE: Final[Json] = {"type": ["integer", "null"]}
FLAG: Final[Json] = {"type": "boolean"}
TIME: Final[Json] = {"type": "string", "format": "date-time"}
OPTIONAL_TIME: Final[Json] = {"type": ["string", "null"], "format": "date-time"}
PATH: Final[Json] = {
    "type": "string",
    "maxLength": 24,
    "pattern": r"^(/|(/[0-9]{1,5}){1,4})$",
    "description": "LwM2M path: object, instance, resource, resource instance",
}
PATHS: Final[Json] = {
    "type": "array",
    "items": PATH,
    "minItems": 1,
    "maxItems": 200,
    "uniqueItems": True,
    "description": "LwM2M paths of one composite operation",
}
TARGET: Final[Json] = {
    "type": "string",
    "maxLength": 4096,
    "pattern": r"^(/|(/[0-9]{1,5}){1,4}(,(/[0-9]{1,5}){1,4})*)$",
    "description": "LwM2M path; of a composite observation its paths, joined by commas",
}
SCOPES: Final[Json] = {
    "type": "array",
    "items": {"type": "string", "enum": ["read", "operate", "admin"]},
    "minItems": 1,
    "maxItems": 3,
    "uniqueItems": True,
}
NAME: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 64}
PASSWORD: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 256, "format": "password"}
VALUE: Final[Json] = {
    "type": ["string", "number", "boolean", "object"],
    "description": 'Opaque is hex, time ISO 8601, an object link "3:0"; an object maps instance ids.',
}
VALUES: Final[Json] = {
    "type": "object",
    "maxProperties": 1000,
    "additionalProperties": {**VALUE, "type": [*VALUE["type"], "null"]},
    "description": "Values by resource id, or by resource instance id; of a WriteComposite by path, where "
    "null removes a resource instance.",
}
ATTRIBUTES: Final[Json] = {
    "type": "object",
    "maxProperties": 16,
    "additionalProperties": {"type": ["number", "string", "null"]},
    "description": "pmin, pmax, gt, lt, st, epmin, epmax, edge, con, hqmax; null unsets (OMA Core §5.1.2)",
}


def ref(name: str) -> Json:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(name: str) -> Json:
    """A list of a component."""
    return {"type": "array", "items": ref(name)}


def shape(example: Any, properties: Json, optional: tuple[str, ...] = (), *, closed: bool = False) -> Json:
    """An object: an example, its members, which of them may be missing; ``closed``: no others."""
    shape: Json = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "example": example,
    }
    if closed:
        shape["additionalProperties"] = False
    return shape
