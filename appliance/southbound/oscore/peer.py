"""Whom a protected message is from: the proof, and the place it came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class OscorePeer(NamedTuple):
    """A peer that is spoken to under one security context, at one place.

    ``identity`` is the name of the context; ``below`` the peer of the bearer, an address, a connection or a
    session. ``kid`` and ``kid_context`` find the context again after a restart (RFC 8613 §5.2).
    """

    identity: str
    below: Any
    kid: bytes
    kid_context: bytes | None

    def __str__(self) -> str:
        return str(self.below)

    def to_json(self) -> str:
        """The JSON of a list that `from_json` takes back, for the registration that outlives a restart."""
        context = "null" if self.kid_context is None else f'"{self.kid_context.hex()}"'
        return f'["oscore",{json.dumps(self.identity)},"{self.kid.hex()}",{context},{self.below.to_json()}]'

    @classmethod
    def from_json(cls, stored: Sequence[object], below: Callable[[Sequence[object]], Any]) -> OscorePeer:
        """The peer that `to_json` wrote, its place read by ``below``; raises ValueError on anything else."""
        try:
            mark, identity, kid, context, place = stored
            if mark != "oscore" or not isinstance(identity, str) or not isinstance(place, list):
                raise TypeError
            kid_context = None if context is None else bytes.fromhex(context)  # type: ignore[arg-type]
            return cls(identity, below(place), bytes.fromhex(kid), kid_context)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a stored OSCORE peer: {stored!r}") from error
