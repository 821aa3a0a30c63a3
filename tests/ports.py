"""Port numbers for servers that are stopped and started again within a test.

A number the kernel chose for "any free port" is anybody's again once its server stops: a test in another
process may have it before the server is back. These are from below the range the kernel chooses from, and
no two processes of a run share a part of that.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from pathlib import Path

_LOWEST = 10_000


def _share() -> range:
    """The numbers that belong to this process of the run."""
    below = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (below - _LOWEST) // workers
    return range(_LOWEST + mine * size, _LOWEST + (mine + 1) * size)


def _numbers() -> itertools.cycle[int]:
    share = _share()
    first = random.randrange(len(share))  # another run on this machine begins elsewhere
    return itertools.cycle([*share[first:], *share[:first]])


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def lasting_port() -> int:
    """A number on which nobody listens, over UDP or TCP, and which nobody else is given in this run."""
    return next(port for port in itertools.islice(_CYCLE, len(_share())) if _is_free(port))


_CYCLE = _numbers()
