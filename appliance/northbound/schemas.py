"""The shapes of the API: JSON Schema 2020-12 as OpenAPI 3.1 takes it. Every one carries an example.

Requests are checked against these when they arrive; the tests hold answers to them. Longer than 400 lines
because it is a table: one entry a shape.
"""

from __future__ import annotations

from typing import Final

from appliance.northbound.log_shapes import FILE_SHAPES, LOG_SHAPES
from appliance.northbound.shape import (
    ATTRIBUTES,
    FLAG,
    NAME,
    OPTIONAL_NUMBER,
    OPTIONAL_TEXT,
    OPTIONAL_TIME,
    OPTIONAL_WHOLE,
    PASSWORD,
    PATH,
    PATHS,
    SCOPES,
    TEXT,
    TIME,
    VALUE,
    VALUES,
    WHOLE,
    Json,
    listed,
    shape,
)
from appliance.northbound.task_shapes import ON_LOST, PRIORITY, TASK_SHAPES, TTL
from appliance.northbound.vault_shapes import VAULT_SHAPES

TASK_COUNTS: Final[Json] = {
    "type": "object",
    "properties": {"open": WHOLE, "waiting": WHOLE},
    "required": ["open", "waiting"],
}
_VALUE_EXAMPLE: Final[Json] = {
    "path": "/3303/0/5700",
    "name": "Sensor Value",
    "value": 21.5,
    "text": "21.5",
    "type": "float",
    "units": "Cel",
    "at": "2026-05-04T10:00:00Z",
    "source": "notify",
    "observed": True,
    "modelled": True,
    "warning": None,
}
_ROW_EXAMPLE: Final[Json] = {
    "endpoint_name": "urn:dev:os:0023C7-000123",
    "state": "online",
    "version": "1.1",
    "bearer": "UDP",
    "security": "NoSec",
    "address": "[2001:db8::17]:5683",
    "registered_at": "2026-05-04T09:00:00Z",
    "last_seen_at": "2026-05-04T10:00:00Z",
    "lifetime_s": 300,
    "expires_at": "2026-05-04T10:04:00Z",
    "binding": "U",
    "queue_mode": False,
    "awake_until": None,
    "expected_at": None,
    "awake_s": None,
    "tasks": {"open": 0, "waiting": 0},
    "gateway": None,
    "prefix": None,
    "observations": {"active": 3, "wanted": 3},
    "manufacturer": "Example",
    "model": "Thermometer",
    "battery": 87,
    "rssi": -71,
    "warnings": [],
}
_ROW: Final[Json] = {
    "endpoint_name": TEXT,
    "state": {"type": "string", "enum": ["online", "asleep", "late", "offline", "deregistered"]},
    "version": TEXT,
    "bearer": TEXT,
    "security": TEXT,
    "address": TEXT,
    "registered_at": OPTIONAL_TIME,
    "last_seen_at": OPTIONAL_TIME,
    "lifetime_s": WHOLE,
    "expires_at": OPTIONAL_TIME,
    "binding": TEXT,
    "queue_mode": FLAG,
    "awake_until": {
        **OPTIONAL_TIME,
        "description": "Until when a device in queue mode is thought to listen.",
    },
    "expected_at": {**OPTIONAL_TIME, "description": "When a device that sleeps is thought to come."},
    "awake_s": {**OPTIONAL_NUMBER, "description": "How long it listens after a message."},
    "tasks": TASK_COUNTS,
    "gateway": {**OPTIONAL_TEXT, "description": "The LwM2M gateway that this device is behind."},
    "prefix": {**OPTIONAL_TEXT, "description": "Its prefix there."},
    "observations": {
        "type": "object",
        "properties": {"active": WHOLE, "wanted": WHOLE},
        "required": ["active", "wanted"],
    },
    "manufacturer": {},
    "model": {},
    "battery": {},
    "rssi": {},
    "warnings": {"type": "array", "items": TEXT},
}
_RESOURCE_EXAMPLE: Final[Json] = {
    "id": 5700,
    "name": "Sensor Value",
    "operations": "R",
    "multiple": False,
    "mandatory": True,
    "type": "float",
    "range": "",
    "units": "",
}
_OBJECT_EXAMPLE: Final[Json] = {
    "id": 3303,
    "name": "Temperature",
    "multiple": True,
    "mandatory": False,
    "version": "1.1",
    "resources": [_RESOURCE_EXAMPLE],
}
_EVENT_EXAMPLE: Final[Json] = {
    "seq": 4711,
    "at": "2026-05-04T10:00:00Z",
    "kind": "value",
    "endpoint_name": "urn:dev:os:0023C7-000123",
    "values": [_VALUE_EXAMPLE],
}
_TOKEN_EXAMPLE: Final[Json] = {
    "id": "5f0c2a91",
    "name": "plotter",
    "scopes": ["read"],
    "created_at": "2026-05-04T10:00:00Z",
    "expires_at": None,
    "last_used_at": None,
}
_SESSION_EXAMPLE: Final[Json] = {
    "account": "ines",
    "kind": "account",
    "scopes": ["read", "operate", "admin"],
    "csrf": "b2Zmc2V0cG9seW5vbWlhbA",
    "expires_at": "2026-05-11T10:00:00Z",
}

COMPONENTS: Final[dict[str, Json]] = {
    "Error": shape(
        {
            "error": {
                "code": "not_found",
                "message": "no device is named 'x'",
                "next_step": "Names are case-sensitive; GET /api/v1/devices lists them.",
            }
        },
        {
            "error": {
                "type": "object",
                "properties": {"code": TEXT, "message": TEXT, "next_step": TEXT},
                "required": ["code", "message", "next_step"],
                "additionalProperties": False,
            }
        },
        closed=True,
    ),
    "Status": shape(
        {
            "version": "0.1.0",
            "started_at": "2026-05-04T09:00:00+00:00",
            "devices": {"total": 9, "online": 7},
            "journal_head": 4711,
            "coap_port": 5683,
            "coap_tcp_port": 5683,
            "coaps_port": 5684,
            "nosec": True,
            "tasks": {"open": 3, "waiting": 2},
            "warnings": [],
        },
        {
            "version": TEXT,
            "started_at": TIME,
            "devices": {
                "type": "object",
                "properties": {"total": WHOLE, "online": WHOLE},
                "required": ["total", "online"],
            },
            "journal_head": WHOLE,
            "storage": {"type": "object"},
            "coap_port": OPTIONAL_WHOLE,
            "coap_tcp_port": OPTIONAL_WHOLE,
            "coaps_port": OPTIONAL_WHOLE,
            "nosec": FLAG,
            "tasks": TASK_COUNTS,
            "warnings": {"type": "array", "items": TEXT},
        },
        optional=("storage",),
    ),
    "SetupState": shape({"needed": True}, {"needed": FLAG}, closed=True),
    "Setup": shape(
        {"code": "ABCD-EFGH-JKMN", "name": "ines", "password": "tide lamp orbit"},
        {"code": {"type": "string", "minLength": 1, "maxLength": 64}, "name": NAME, "password": PASSWORD},
        closed=True,
    ),
    "Login": shape(
        {"name": "ines", "password": "tide lamp orbit"}, {"name": NAME, "password": PASSWORD}, closed=True
    ),
    "Session": shape(
        _SESSION_EXAMPLE,
        {
            "account": TEXT,
            "kind": {"type": "string", "enum": ["account", "token"]},
            "scopes": SCOPES,
            "csrf": {
                **OPTIONAL_TEXT,
                "description": "To be sent as X-CSRF-Token with every change; null for a token.",
            },
            "expires_at": OPTIONAL_TIME,
        },
    ),
    "NewPassword": shape(
        {"password": "another good one", "current_password": "tide lamp orbit"},
        {"password": PASSWORD, "current_password": PASSWORD},
        optional=("current_password",),
        closed=True,
    ),
    "Account": shape(
        {
            "name": "ines",
            "scopes": ["read", "operate", "admin"],
            "created_at": "2026-05-04T09:00:00Z",
            "password_changed_at": "2026-05-04T09:00:00Z",
        },
        {"name": TEXT, "scopes": SCOPES, "created_at": TIME, "password_changed_at": TIME},
    ),
    "Accounts": shape({"accounts": []}, {"accounts": listed("Account")}),
    "Token": shape(
        _TOKEN_EXAMPLE,
        {
            "id": TEXT,
            "name": TEXT,
            "scopes": SCOPES,
            "created_at": TIME,
            "expires_at": OPTIONAL_TIME,
            "last_used_at": OPTIONAL_TIME,
        },
    ),
    "Tokens": shape({"tokens": [_TOKEN_EXAMPLE]}, {"tokens": listed("Token")}),
    "NewToken": shape(
        {"name": "plotter", "scopes": ["read"], "lifetime_s": 86400},
        {"name": NAME, "scopes": SCOPES, "lifetime_s": {**OPTIONAL_NUMBER, "minimum": 1}},
        optional=("lifetime_s",),
        closed=True,
    ),
    "TokenSecret": shape(
        {"id": "5f0c2a91", "token": "hmd_5f0c2a91_secret"},
        {"id": TEXT, "token": {**TEXT, "description": "Shown this once; send it as Authorization: Bearer."}},
    ),
    "DeviceRow": shape(_ROW_EXAMPLE, _ROW),
    "DevicePage": shape(
        {"devices": [_ROW_EXAMPLE], "total": 1, "online": 1, "next": None},
        {
            "devices": listed("DeviceRow"),
            "total": WHOLE,
            "online": WHOLE,
            "next": {**OPTIONAL_TEXT, "description": "Give it as after for the next page."},
        },
    ),
    "Device": shape(
        {
            **_ROW_EXAMPLE,
            "registration_id": "Xk3pQ0",
            "sms_number": None,
            "root": "/",
            "content_formats": [112, 11542],
            "learned_format": 112,
            "parameters": {},
            "end_devices": [],
            "objects": [{"id": 3303, "version": "1.1", "instances": [0]}],
        },
        {
            **_ROW,
            "registration_id": TEXT,
            "sms_number": OPTIONAL_TEXT,
            "root": TEXT,
            "content_formats": {"type": "array", "items": WHOLE},
            "learned_format": OPTIONAL_WHOLE,
            "parameters": {"type": "object"},
            "end_devices": {"type": "array", "items": TEXT},
            "objects": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": WHOLE,
                        "version": OPTIONAL_TEXT,
                        "instances": {"type": "array", "items": WHOLE},
                    },
                    "required": ["id", "version", "instances"],
                },
            },
        },
    ),
    "Resource": shape(
        _RESOURCE_EXAMPLE,
        {
            "id": WHOLE,
            "name": TEXT,
            "operations": {"type": "string", "enum": ["", "R", "W", "RW", "E"]},
            "multiple": FLAG,
            "mandatory": FLAG,
            "type": TEXT,
            "range": TEXT,
            "units": TEXT,
        },
    ),
    "Model": shape(
        _OBJECT_EXAMPLE,
        {
            "id": WHOLE,
            "name": OPTIONAL_TEXT,
            "multiple": FLAG,
            "mandatory": FLAG,
            "version": OPTIONAL_TEXT,
            "resources": listed("Resource"),
        },
        optional=("mandatory",),
    ),
    "DeviceObject": shape(
        {**_OBJECT_EXAMPLE, "model_version": "1.1", "warning": None, "instances": [0]},
        {
            "id": WHOLE,
            "name": OPTIONAL_TEXT,
            "multiple": FLAG,
            "version": OPTIONAL_TEXT,
            "model_version": OPTIONAL_TEXT,
            "warning": OPTIONAL_TEXT,
            "instances": {"type": "array", "items": WHOLE},
            "resources": listed("Resource"),
        },
    ),
    "DeviceObjects": shape({"objects": []}, {"objects": listed("DeviceObject")}),
    "Value": shape(
        _VALUE_EXAMPLE,
        {
            "path": TEXT,
            "name": OPTIONAL_TEXT,
            "value": {"type": ["string", "number", "boolean", "null"]},
            "text": TEXT,
            "type": TEXT,
            "units": TEXT,
            "at": OPTIONAL_TIME,
            "source": {"type": "string", "enum": ["notify", "read", "write", "send"]},
            "observed": FLAG,
            "modelled": FLAG,
            "warning": OPTIONAL_TEXT,
        },
    ),
    "Values": shape({"values": [_VALUE_EXAMPLE]}, {"values": listed("Value")}),
    "Operation": shape(
        {"operation": "Write", "path": "/3/0/14", "value": "+02:00"},
        {
            "operation": {
                "type": "string",
                "enum": [
                    *("Read", "Write", "WriteAttributes", "Execute", "Create", "Delete", "Discover"),
                    *("ReadComposite", "WriteComposite"),
                ],
            },
            "path": PATH,
            "paths": PATHS,
            "depth": {
                "type": "integer",
                "minimum": 0,
                "maximum": 3,
                "description": "Of Discover, since 1.2.",
            },
            "file": {
                "type": "string",
                "maxLength": 64,
                "description": "A stored file, written as the value.",
            },
            "ttl_s": TTL,
            "priority": PRIORITY,
            "on_lost": ON_LOST,
            "value": VALUE,
            "values": VALUES,
            "mode": {"type": "string", "enum": ["update", "replace"]},
            "attributes": ATTRIBUTES,
            "arguments": {"type": "string", "maxLength": 4096},
            "instance": {"type": ["integer", "null"], "minimum": 0, "maximum": 65534},
            "content_format": {"type": "integer", "minimum": 0, "maximum": 65535},
            "timeout_s": {"type": "number", "minimum": 0.5, "maximum": 600},
        },
        optional=(
            *("value", "values", "mode", "attributes", "arguments", "instance", "content_format"),
            *("path", "paths", "depth", "file", "ttl_s", "priority", "on_lost", "timeout_s"),
        ),
        closed=True,
    ),
    "Outcome": shape(
        {
            "operation": "Read",
            "path": "/3303/0/5700",
            "code": "2.05",
            "text": "Content",
            "ok": True,
            "words": "Content: here is the value",
            "rtt_ms": 12.3,
            "values": [_VALUE_EXAMPLE],
            "links": None,
            "location": None,
            "content_format": 112,
        },
        {
            "operation": TEXT,
            "path": TEXT,
            "code": {**OPTIONAL_TEXT, "description": "CoAP code of the answer; null when none came."},
            "text": TEXT,
            "ok": FLAG,
            "words": TEXT,
            "rtt_ms": OPTIONAL_NUMBER,
            "values": listed("Value"),
            "links": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "properties": {"target": TEXT, "attributes": {"type": "object"}},
                    "required": ["target", "attributes"],
                },
            },
            "location": OPTIONAL_TEXT,
            "content_format": OPTIONAL_WHOLE,
        },
    ),
    "Observation": shape(
        {
            "id": "/3303/0/5700",
            "path": "/3303/0/5700",
            "paths": ["/3303/0/5700"],
            "state": "active",
            "since": "2026-05-04T09:00:02Z",
            "reason": None,
            "origin": "default",
            "attributes": {},
            "composite": False,
        },
        {
            "id": {**TEXT, "description": "Its name for DELETE: the path, or the paths joined by commas."},
            "path": TEXT,
            "paths": {"type": "array", "items": TEXT},
            "state": {"type": "string", "enum": ["active", "wanted", "waiting", "refused"]},
            "since": OPTIONAL_TIME,
            "reason": OPTIONAL_TEXT,
            "origin": {**TEXT, "description": 'default, asked, or "template:" and its name.'},
            "attributes": {"type": "object"},
            "composite": FLAG,
        },
        optional=("id", "paths"),
    ),
    "Observations": shape({"observations": []}, {"observations": listed("Observation")}),
    "Observe": shape(
        {"attributes": {"pmin": 10, "pmax": 60}},
        {"attributes": ATTRIBUTES},
        optional=("attributes",),
        closed=True,
    ),
    "ModelRow": shape(
        {"id": 3, "name": "Device", "versions": ["1.0", "1.1", "1.2"], "own": []},
        {
            "id": WHOLE,
            "name": TEXT,
            "versions": {"type": "array", "items": TEXT},
            "own": {"type": "array", "items": TEXT},
        },
    ),
    "Models": shape({"models": []}, {"models": listed("ModelRow")}),
    "Event": shape(
        _EVENT_EXAMPLE,
        {
            "seq": WHOLE,
            "at": TIME,
            "kind": {
                "type": "string",
                "description": "registered, updated, deregistered, expired, value, operation, observation, "
                "refused, removed, send, asleep, awake, task",
            },
            "endpoint_name": TEXT,
            "values": listed("Value"),
            "path": TEXT,
            "words": TEXT,
        },
        optional=("values", "path", "words"),
    ),
    "Events": shape(
        {"events": [_EVENT_EXAMPLE], "head": 4711},
        {"events": listed("Event"), "head": WHOLE},
    ),
    **TASK_SHAPES,
    **LOG_SHAPES,
    **FILE_SHAPES,
    **VAULT_SHAPES,
}
