"""The state folder: how its parts are called, whose it is, and at which ports it is served."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

DATABASE: Final = "homard.sqlite"
FILES: Final = "files"
VAULT: Final = "vault"
IDENTITY: Final = "identity"
_SERVING: Final = "serving.json"


class CommandFailed(Exception):
    """A command of the command line could not be carried out; the text is for its user."""


def become_owner(state: Path) -> None:
    """Root on a state folder of somebody else becomes him: else the service could not read its files."""
    if os.geteuid() == 0 and state.exists():
        owner = state.stat()
        if owner.st_uid != 0:
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)


def tell_ports(state: Path, ports: dict[str, int]) -> None:
    """Say at which ports devices reach this unit, by scheme ("coap", "coap+tcp", "coaps"). Raises OSError."""
    fresh = state / (_SERVING + ".new")
    fresh.write_text(json.dumps(ports), encoding="ascii")
    fresh.replace(state / _SERVING)


def untell_ports(state: Path) -> None:
    """Nothing is served any more. After a power cut that stays unsaid, and the ports are those of before."""
    (state / _SERVING).unlink(missing_ok=True)


def told_ports(state: Path) -> dict[str, int] | None:
    """At which ports a server on this folder is reached; None when none serves or it is not legible."""
    try:
        told = json.loads((state / _SERVING).read_bytes()[:1000])
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    return {scheme: port for scheme, port in told.items() if type(port) is int and 0 < port < 65536}
