"""What the server has acknowledged, one JSON line each, so that a test can hold the server to it.

``{"event": "acknowledged", "endpoint_name", "path", "value", "sequence", "acked_at"}`` for every value of
a notification that the server answered with an ACK, and
``{"event": "registered", "endpoint_name", "location", "answered_at"}`` for every Register answered 2.01,
``{"event": "performed", "endpoint_name", "operation", "path", "detail", "performed_at"}`` for every Write,
Execute, Create and Delete that the device carried out, so that deliveries can be counted, and
``{"event": "sent", "endpoint_name", "paths", "code", "answered_at"}`` for every Send that was answered.
``sequence`` is the Observe number of the notification, times are epoch seconds.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


class Ledger:
    """Appends to a file; without a file it does nothing. A line is handed to the system as one write."""

    def __init__(self, file: Path | None) -> None:
        self._descriptor = None
        if file is not None:
            self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def acknowledged(self, endpoint_name: str, path: str, value: object, sequence: int) -> None:
        if self._descriptor is not None:
            self._append(
                event="acknowledged",
                endpoint_name=endpoint_name,
                path=path,
                value=value.hex() if isinstance(value, bytes) else value,
                sequence=sequence,
                acked_at=time.time(),
            )

    def registered(self, endpoint_name: str, location: str) -> None:
        if self._descriptor is not None:
            self._append(
                event="registered", endpoint_name=endpoint_name, location=location, answered_at=time.time()
            )

    def performed(self, endpoint_name: str, operation: str, path: str, detail: object) -> None:
        if self._descriptor is not None:
            self._append(
                event="performed",
                endpoint_name=endpoint_name,
                operation=operation,
                path=path,
                detail=detail.hex() if isinstance(detail, bytes) else detail,
                performed_at=time.time(),
            )

    def sent(self, endpoint_name: str, paths: list[str], code: str) -> None:
        if self._descriptor is not None:
            self._append(
                event="sent", endpoint_name=endpoint_name, paths=paths, code=code, answered_at=time.time()
            )

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, **facts: object) -> None:
        assert self._descriptor is not None
        os.write(self._descriptor, json.dumps(facts, separators=(",", ":")).encode() + b"\n")
