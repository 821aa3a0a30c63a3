"""The one error of this room: what was asked cannot be done, why, and what helps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from appliance.storage.errors import DocumentError

ErrorKind = Literal["not_found", "invalid", "conflict", "unreachable", "busy", "failed"]


class DeviceError(Exception):
    """Something asked of devices could not be done. ``next_step`` says what helps."""

    def __init__(self, kind: ErrorKind, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.next_step = next_step


def disk_full() -> DeviceError:
    """The disk refused."""
    return DeviceError("failed", "the gateway could not store this", "Check the free space of its disk.")


@contextlib.contextmanager
def durably() -> Iterator[None]:
    """Around the write of a document: what the disk says becomes a DeviceError."""
    try:
        yield
    except (OSError, DocumentError) as error:
        raise disk_full() from error
