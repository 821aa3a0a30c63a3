"""What the vault refuses, and why."""

from __future__ import annotations

from typing import Literal

Kind = Literal["invalid", "conflict", "not_found", "unavailable"]


class VaultError(Exception):
    """A sentence for whoever asked; ``kind`` says what sort of refusal it is."""

    def __init__(self, message: str, kind: Kind = "invalid") -> None:
        super().__init__(message)
        self.kind: Kind = kind
