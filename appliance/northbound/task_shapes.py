"""The shapes of what is to be done and watched: tasks, templates of observations, profiles, the time line."""

from __future__ import annotations

from typing import Final

from appliance.northbound.shape import (
    ATTRIBUTES,
    FLAG,
    OPTIONAL_NUMBER,
    OPTIONAL_TEXT,
    OPTIONAL_TIME,
    OPTIONAL_WHOLE,
    PATHS,
    TEXT,
    TIME,
    WHOLE,
    Json,
    listed,
    ref,
    shape,
)

STATES: Final = (
    *("queued", "waiting", "sent", "done", "failed", "expired", "cancelled", "unknown", "superseded"),
)
TTL: Final[Json] = {
    "type": "number",
    "minimum": 1,
    "maximum": 31_536_000,
    "description": "Seconds after which the task is given up. With it, a device that is away is waited for.",
}
PRIORITY: Final[Json] = {
    "type": "integer",
    "minimum": 0,
    "maximum": 9,
    "description": "Higher goes first; 5.",
}
ON_LOST: Final[Json] = {
    "type": "string",
    "enum": ["repeat", "unknown"],
    "description": "When the answer is lost: do it again, or report it as unknown. Execute and Create are "
    "never done again unless told so.",
}
_WANTED_PATHS: Final[Json] = {
    "type": "array",
    "minItems": 1,
    "maxItems": 100,
    "items": {
        "type": "string",
        "maxLength": 24,
        "pattern": r"^/?[0-9]{1,5}(/([0-9]{1,5}|\*)){0,3}$",
        "description": "LwM2M path; * stands for every instance",
    },
}
_TASK_EXAMPLE: Final[Json] = {
    "id": 42,
    "endpoint_name": "urn:dev:os:0023C7-000123",
    "operation": "Write",
    "path": "/3/0/14",
    "paths": None,
    "request": {"operation": "Write", "path": "/3/0/14", "value": "+02:00"},
    "state": "waiting",
    "priority": 5,
    "created_at": "2026-05-04T10:00:00Z",
    "expires_at": "2026-05-11T10:00:00Z",
    "sent_at": None,
    "ended_at": None,
    "attempts": 0,
    "reason": "The device sleeps and is expected at 10:05",
    "outcome": None,
    "origin": "ines",
    "batch": None,
    "expected_at": "2026-05-04T10:05:00Z",
    "progress": None,
}
_TEMPLATE_EXAMPLE: Final[Json] = {
    "id": "b1946ac9",
    "name": "temperatures",
    "match": {"endpoint": "meter-*", "object": 3303},
    "paths": ["/3303/*/5700"],
    "attributes": {"pmin": 10, "pmax": 300},
    "composite": False,
    "enabled": True,
}
_TEMPLATE: Final[Json] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 64},
    "match": {
        "type": "object",
        "properties": {
            "endpoint": {**OPTIONAL_TEXT, "maxLength": 255, "description": "Pattern of names: * and ?."},
            "object": {**OPTIONAL_WHOLE, "minimum": 0, "maximum": 65534},
        },
        "additionalProperties": False,
        "description": "Which devices: by name, by an object they have, or both; neither means all.",
    },
    "paths": _WANTED_PATHS,
    "attributes": ATTRIBUTES,
    "composite": FLAG,
    "enabled": FLAG,
}
_PROFILE_EXAMPLE: Final[Json] = {
    "pid": "6:27354b9a",
    "links": "</1/0>,</3/0>",
    "learned": True,
    "devices": 12,
}
_BY_STATE: Final[Json] = {"type": "object", "additionalProperties": WHOLE}

TASK_SHAPES: Final[dict[str, Json]] = {
    "Task": shape(
        _TASK_EXAMPLE,
        {
            "id": WHOLE,
            "endpoint_name": TEXT,
            "operation": TEXT,
            "path": OPTIONAL_TEXT,
            "paths": {"type": ["array", "null"], "items": TEXT},
            "request": {"type": "object", "description": "As it was asked; secrets are masked."},
            "state": {"type": "string", "enum": list(STATES)},
            "priority": WHOLE,
            "created_at": TIME,
            "expires_at": OPTIONAL_TIME,
            "sent_at": OPTIONAL_TIME,
            "ended_at": OPTIONAL_TIME,
            "attempts": WHOLE,
            "reason": {**TEXT, "description": "Why it stands where it stands, in words."},
            "outcome": {"type": ["object", "null"], "description": "The Outcome, when there is one."},
            "origin": TEXT,
            "batch": OPTIONAL_TEXT,
            "expected_at": OPTIONAL_TIME,
            "progress": {
                "type": ["object", "null"],
                "properties": {"sent_bytes": WHOLE, "total_bytes": WHOLE},
                "description": "How far a block-wise transfer is.",
            },
        },
    ),
    "Tasks": shape(
        {"tasks": [_TASK_EXAMPLE], "counts": {"waiting": 1}, "next": None},
        {"tasks": listed("Task"), "counts": _BY_STATE, "next": OPTIONAL_WHOLE},
    ),
    "Queued": shape(
        {
            "task": 42,
            "state": "waiting",
            "expected_at": "2026-05-04T10:05:00Z",
            "words": "Queued; the device sleeps and is expected at 10:05.",
        },
        {"task": WHOLE, "state": TEXT, "expected_at": OPTIONAL_TIME, "words": TEXT},
    ),
    "Submit": shape(
        {"search": "meter-", "operation": {"operation": "Read", "path": "/3/0/9"}, "ttl_s": 86400},
        {
            "devices": {
                "type": "array",
                "minItems": 1,
                "maxItems": 20000,
                "items": {"type": "string", "minLength": 1, "maxLength": 255},
            },
            "search": {"type": "string", "minLength": 1, "maxLength": 200},
            "all": {"const": True},
            "operation": ref("Operation"),
            "ttl_s": TTL,
            "priority": PRIORITY,
            "on_lost": ON_LOST,
        },
        optional=("devices", "search", "all", "ttl_s", "priority", "on_lost"),
        closed=True,
    ),
    "Batch": shape(
        {"batch": "9f2c41", "tasks": 600, "refused": []},
        {
            "batch": TEXT,
            "tasks": WHOLE,
            "refused": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"endpoint_name": TEXT, "words": TEXT},
                    "required": ["endpoint_name", "words"],
                },
            },
        },
    ),
    "Awake": shape(
        {"awake_s": 30},
        {
            "awake_s": {
                **OPTIONAL_NUMBER,
                "minimum": 1,
                "maximum": 86400,
                "description": "Seconds it listens after each message; null: learned from what it does.",
            }
        },
        closed=True,
    ),
    "TimeLine": shape(
        {
            "events": [
                {
                    "seq": 4711,
                    "at": "2026-05-04T10:00:00Z",
                    "kind": "updated",
                    "words": "Registration updated",
                }
            ],
            "next": None,
        },
        {
            "events": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"seq": WHOLE, "at": TIME, "kind": TEXT, "words": TEXT},
                    "required": ["seq", "at", "kind", "words"],
                },
            },
            "next": {**OPTIONAL_WHOLE, "description": "Give it as before for what came earlier."},
        },
    ),
    "ObserveComposite": shape(
        {"paths": ["/3303/0/5700", "/3/0/9"], "attributes": {"pmin": 10, "pmax": 60}},
        {
            "paths": PATHS,
            "attributes": ATTRIBUTES,
        },
        optional=("attributes",),
        closed=True,
    ),
    "Template": shape(_TEMPLATE_EXAMPLE, {"id": TEXT, **_TEMPLATE}),
    "Templates": shape({"templates": [_TEMPLATE_EXAMPLE]}, {"templates": listed("Template")}),
    "NewTemplate": shape(
        {name: value for name, value in _TEMPLATE_EXAMPLE.items() if name != "id"},
        _TEMPLATE,
        optional=("match", "attributes", "composite", "enabled"),
        closed=True,
    ),
    "Profile": shape(
        _PROFILE_EXAMPLE, {"pid": TEXT, "links": TEXT, "learned": FLAG, "devices": WHOLE}, ("devices",)
    ),
    "Profiles": shape({"profiles": [_PROFILE_EXAMPLE]}, {"profiles": listed("Profile")}),
    "NewProfile": shape(
        {"links": "</1/0>,</3/0>"},
        {"links": {"type": "string", "minLength": 3, "maxLength": 65536, "description": "Link format."}},
        closed=True,
    ),
}
