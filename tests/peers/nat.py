"""A NAT between a device and the gateway: it can change the device's port in mid-session, keep what passes,
and say it again.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterable

from tests.southbound.dtls.client import Client

_HANDSHAKE = 22
_PATIENCE_S = 20.0


class Nat:
    """Forwards datagrams of one device on loopback; ``up`` are those to the gateway, in order."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._inside = self._bound()
        self._outside = self._bound()
        self._device: tuple[str, int] | None = None
        self._open = True
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    @staticmethod
    def _bound() -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("127.0.0.1", 0))
        return bound

    @property
    def port(self) -> int:
        """Where the device sends to."""
        return int(self._inside.getsockname()[1])

    @property
    def seen_as(self) -> str:
        """The device's address as the gateway sees it."""
        return f"127.0.0.1:{self._outside.getsockname()[1]}"

    def rebind(self) -> None:
        """The binding is gone: the device has another port from now on, and nothing comes to the old one."""
        old, self._outside = self._outside, self._bound()
        old.close()

    def shaken(self) -> int:
        """How many datagrams of handshakes the device has sent."""
        return sum(data[0] == _HANDSHAKE for data in self.up)

    def repeat(self, data: bytes) -> None:
        """Say something to the gateway as if the device had."""
        self._outside.sendto(data, self._server)

    def said_from_elsewhere(self, datagrams: Iterable[bytes]) -> list[bytes]:
        """Say things to the gateway from another port; what it answers there.

        A ClientHello is said last: it gets its answer, and what was said before it is through by then.
        """
        asking = Client()
        asking.hello()
        (hello,) = asking.take()
        answers = []
        with self._bound() as stranger:
            stranger.settimeout(_PATIENCE_S)
            for data in (*datagrams, hello):
                stranger.sendto(data, self._server)
            while not asking.cookie:
                answers.append(stranger.recv(65536))
                if answers[-1][0] == _HANDSHAKE:
                    asking.receive(answers[-1])
        return answers[:-1]

    def close(self) -> None:
        self._open = False
        self._thread.join()
        self._inside.close()
        self._outside.close()

    def _forward(self) -> None:
        while self._open:
            outside = self._outside
            if outside.fileno() < 0:
                continue
            try:
                ready, _, _ = select.select((self._inside, outside), (), (), 0.05)
                for bound in ready:
                    data, address = bound.recvfrom(65536)
                    if bound is self._inside:
                        self._device = address
                        self.up.append(data)
                        self._outside.sendto(data, self._server)
                    elif self._device is not None:
                        self.down.append(data)
                        self._inside.sendto(data, self._device)
            except (OSError, ValueError):
                continue  # the binding changed while we looked, or the port of the other side is closed
