"""The state folder: how its parts are called, and whose it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DATABASE: Final = "homard.sqlite"
FILES: Final = "files"
VAULT: Final = "vault"
IDENTITY: Final = "identity"


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
