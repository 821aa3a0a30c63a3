"""What the vault refuses, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Kind = Literal["invalid", "conflict", "not_found", "unavailable"]


class VaultError(Exception):
    """A sentence for whoever asked; ``kind`` says what sort of refusal it is."""

    def __init__(self, message: str, kind: Kind = "invalid") -> None:
        super().__init__(message)
        self.kind: Kind = kind

    def told(self, sees: Callable[[str], bool]) -> VaultError:
        """The same for somebody for whom only the devices exist that ``sees`` is true for."""
        return self

    def within(self, before: str, after: str) -> VaultError:
        """The same with something said around it."""
        return VaultError(f"{before}{self}{after}", self.kind)


class Taken(VaultError):
    """Something is another device's already. Its sentence names that device, the ``owner``, between
    ``before`` and ``after``.
    """

    def __init__(self, before: str, owner: str, after: str) -> None:
        super().__init__(f"{before}{owner}{after}", "conflict")
        self._parts = before, owner, after

    def told(self, sees: Callable[[str], bool]) -> VaultError:
        """Without the name of a device that does not exist for who asks."""
        before, owner, after = self._parts
        return self if sees(owner) else VaultError(f"{before}another device{after}", self.kind)

    def within(self, before: str, after: str) -> VaultError:
        """The same with something said around it."""
        begin, owner, end = self._parts
        return Taken(before + begin, owner, end + after)
