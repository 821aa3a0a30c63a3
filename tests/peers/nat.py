"""A NAT between a device and the gateway: it can change the device's port in mid-session, keep what passes,
and say it again.
"""

from __future__ import annotations

import select
import socket
import threading


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

    def repeat(self, data: bytes, *, from_elsewhere: bool = False) -> bytes | None:
        """Say something to the gateway; from elsewhere what it answers there within a moment, if anything."""
        if not from_elsewhere:
            self._outside.sendto(data, self._server)
            return None
        with self._bound() as stranger:
            stranger.sendto(data, self._server)
            stranger.settimeout(0.5)
            try:
                return stranger.recv(65536)
            except TimeoutError:
                return None

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
