"""A UDP socket around the DTLS server that sends back what it is sent, for other people's clients."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from appliance.southbound.dtls.server import DtlsServer, Ended, Established, Failed
from appliance.southbound.dtls.trust import ServerKeys, Trust
from appliance.southbound.settings import CoapsSettings
from appliance.southbound.udp import UdpPeer

PATIENCE_S = 20.0


class Echo:
    """The server on a free port of the loopback interface. ``answer`` makes of data what is sent back."""

    def __init__(
        self,
        trust: Trust,
        keys: ServerKeys | None = None,
        answer: Callable[[bytes], bytes] = lambda data: data,
        **settings: Any,
    ) -> None:
        self.server = DtlsServer(CoapsSettings(**settings), trust, keys)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        self.events: list[Established | Ended | Failed] = []
        self._answer = answer
        self._changed = threading.Condition()
        self._stopping = False

    def run(self) -> None:
        """Serve until `stop`."""
        server, peers = self.server, {}
        family = int(socket.AF_INET)
        while not self._stopping:
            select.select([self.socket], [], [], 0.05)
            now = time.monotonic()
            for _ in range(64):
                try:
                    data, address = self.socket.recvfrom(16384)
                except OSError:
                    break
                peer = peers.get(address)
                if peer is None:
                    peer = peers[address] = UdpPeer(family, address, b"")
                for content, session in server.receive(data, peer, now):
                    server.send(self._answer(content), session, now)
            timer = server.next_timer()
            if timer is not None and now >= timer:
                server.handle_timer(now)
            for data, peer in server.take_datagrams():
                with contextlib.suppress(OSError):
                    self.socket.sendto(data, peer.address)
            events = server.take_events()
            if events:
                with self._changed:
                    self.events += events
                    self._changed.notify_all()

    def stop(self) -> None:
        self._stopping = True

    def expect(self, kind: type[Any]) -> Any:
        """The first event of that kind, when it comes."""
        with self._changed:
            found: list[Any] = []

            def there() -> bool:
                found[:] = [event for event in self.events if isinstance(event, kind)]
                return bool(found)

            assert self._changed.wait_for(there, PATIENCE_S), f"no {kind.__name__}, but {self.events}"
            return found[0]


@contextlib.contextmanager
def echo(
    trust: Trust,
    keys: ServerKeys | None = None,
    answer: Callable[[bytes], bytes] = lambda data: data,
    **settings: Any,
) -> Iterator[Echo]:
    """An `Echo` in a thread of its own."""
    running = Echo(trust, keys, answer, **settings)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.stop()
        thread.join(PATIENCE_S)
        running.socket.close()
        running.server.close()
