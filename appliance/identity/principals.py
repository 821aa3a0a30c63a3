"""Who somebody is and what they may do, as values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Scope = Literal["read", "operate", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "operate", "admin")

# A scope carries the ones before it: who may operate a device may look at it.
_CARRIES: Final[dict[str, frozenset[str]]] = {
    "read": frozenset({"read"}),
    "operate": frozenset({"read", "operate"}),
    "admin": frozenset({"read", "operate", "admin"}),
}

ErrorKind = Literal[
    "invalid", "not_found", "conflict", "wrong_credentials", "too_many_attempts", "busy", "setup_closed"
]


class IdentityError(Exception):
    """Refused. ``kind`` is for programs, ``message`` and ``next_step`` for people.

    ``retry_after_s`` is set for "too_many_attempts" and "busy": whole seconds, at least 1.
    """

    def __init__(
        self, kind: ErrorKind, message: str, next_step: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.next_step = next_step
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Principal:
    """A person behind a session or a program behind a token, for the time of one request."""

    name: str
    scopes: tuple[Scope, ...]
    kind: Literal["account", "token"]

    def may(self, scope: str) -> bool:
        """Whether the scope, or one that carries it, was granted."""
        return any(scope in _CARRIES[granted] for granted in self.scopes)


@dataclass(frozen=True, slots=True)
class Session:
    """A login. ``id`` is the secret of the cookie and exists in clear only here; times are epoch seconds."""

    id: str
    account: str
    scopes: tuple[Scope, ...]
    csrf: str
    created_at: float
    expires_at: float

    @property
    def principal(self) -> Principal:
        """The person who logged in."""
        return Principal(self.account, self.scopes, "account")


@dataclass(frozen=True, slots=True)
class Account:
    """An account as lists show it; times are epoch seconds."""

    name: str
    scopes: tuple[Scope, ...]
    created_at: float
    password_changed_at: float


@dataclass(frozen=True, slots=True)
class Token:
    """An API token as lists show it, without its secret; times are epoch seconds."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float | None
    last_used_at: float | None


def checked_scopes(scopes: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes in order, each once; raises IdentityError("invalid")."""
    asked = set(scopes)
    unknown = sorted(asked - set(SCOPES))
    if unknown or not asked:
        what = f"unknown scope {unknown[0]!r}" if unknown else "no scope given"
        raise IdentityError("invalid", what, f"Choose from {', '.join(SCOPES)}.")
    return tuple(scope for scope in SCOPES if scope in asked)
