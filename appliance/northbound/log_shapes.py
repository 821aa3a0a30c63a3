"""The shapes of the protocol log and of the file store."""

from __future__ import annotations

from typing import Final

from appliance.northbound.shape import (
    FLAG,
    OPTIONAL_TEXT,
    OPTIONAL_WHOLE,
    TEXT,
    TIME,
    WHOLE,
    Json,
    listed,
    shape,
)

_ENTRY_EXAMPLE: Final[Json] = {
    "seq": 4711,
    "at": "2026-05-04T10:00:00.250Z",
    "direction": "in",
    "bearer": "UDP",
    "peer": "192.168.7.20:56830",
    "endpoint_name": "urn:dev:os:0023C7-000123",
    "type": "CON",
    "code": "2.05 Content",
    "mid": 7733,
    "token": "0a1b2c3d",
    "path": "/3303/0/5700",
    "summary": "Notify /3303/0/5700: 2.05 Content",
    "options": ["Observe: 12", "Content-Format: 0 text/plain"],
    "payload_bytes": 4,
    "payload_text": "/3303/0/5700 Sensor Value = 21.5",
    "payload_hex": "32312e35",
    "hidden": False,
}
_FILE_EXAMPLE: Final[Json] = {
    "id": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "name": "meter-2.4.bin",
    "size_bytes": 482304,
    "type": "application/octet-stream",
    "added_at": "2026-05-04T10:00:00Z",
    "link": "yK0w3JqTzR1mVbN8cXeA5g",
    "urls": [
        "coap://homard.lan/f/yK0w3JqTzR1mVbN8cXeA5g",
        "https://homard.lan:8443/files/yK0w3JqTzR1mVbN8cXeA5g",
    ],
    "damaged": None,
}

LOG_SHAPES: Final[dict[str, Json]] = {
    "LogEntry": shape(
        _ENTRY_EXAMPLE,
        {
            "seq": WHOLE,
            "at": TIME,
            "direction": {"type": "string", "enum": ["in", "out"]},
            "bearer": TEXT,
            "peer": TEXT,
            "endpoint_name": {**TEXT, "description": "Empty while it is not known who speaks from there."},
            "type": {**OPTIONAL_TEXT, "description": "CON, NON, ACK or RST; null over TCP."},
            "code": TEXT,
            "mid": OPTIONAL_WHOLE,
            "token": {**TEXT, "description": "In hex."},
            "path": {**TEXT, "description": "LwM2M path or paths; empty when it is about none."},
            "summary": {**TEXT, "description": "In the words of LwM2M."},
            "options": {"type": "array", "items": TEXT},
            "payload_bytes": WHOLE,
            "payload_text": {**TEXT, "description": "What the payload says, as far as it can be told."},
            "payload_hex": {**TEXT, "description": "The first 4096 bytes; empty when hidden."},
            "hidden": {**FLAG, "description": "The payload is, or may be, a secret."},
        },
    ),
    "LogPage": shape(
        {"entries": [_ENTRY_EXAMPLE], "next": 4711, "head": 4711, "oldest": 1},
        {
            "entries": listed("LogEntry"),
            "next": {**WHOLE, "description": "Give it as after for what follows."},
            "head": WHOLE,
            "oldest": WHOLE,
        },
    ),
}

FILE_SHAPES: Final[dict[str, Json]] = {
    "StoredFile": shape(
        _FILE_EXAMPLE,
        {
            "id": {**TEXT, "description": "SHA-256 of the content."},
            "name": TEXT,
            "size_bytes": WHOLE,
            "type": TEXT,
            "added_at": TIME,
            "link": {
                **OPTIONAL_TEXT,
                "description": "Who has it can fetch the file; null without operate.",
            },
            "urls": {
                "type": "array",
                "items": TEXT,
                "description": "Where devices fetch it, by the name this request called the appliance.",
            },
            "damaged": {**OPTIONAL_TEXT, "description": "Why it is not served; null when all is well."},
        },
    ),
    "StoredFiles": shape(
        {
            "files": [_FILE_EXAMPLE],
            "total_bytes": 482304,
            "max_total_bytes": 536870912,
            "max_file_bytes": 67108864,
        },
        {
            "files": listed("StoredFile"),
            "total_bytes": WHOLE,
            "max_total_bytes": WHOLE,
            "max_file_bytes": WHOLE,
        },
    ),
}
