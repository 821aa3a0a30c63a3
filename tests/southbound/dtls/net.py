"""A DTLS server, its credentials and a network: loss, spoofing and time are verbs of the test."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from typing import Any

from appliance.southbound.dtls.server import DtlsServer, Ended, Established, Failed
from appliance.southbound.dtls.session import DtlsSession
from appliance.southbound.dtls.trust import ServerKeys, Verdict
from appliance.southbound.settings import CoapsSettings
from appliance.southbound.udp import UdpPeer
from tests.southbound.dtls.client import Client

NAME, KEY = b"meter-1", b"k" * 16


def at(port: int, host: str = "192.0.2.7") -> UdpPeer:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = (host, port, 0, 0) if ":" in host else (host, port)
    return UdpPeer(int(family), address, b"")


HOME = at(5000)


class Keyring:
    """Credentials in dictionaries; whoever is not in one is a stranger, whoever is revoked says so."""

    def __init__(self) -> None:
        self.keys: dict[bytes, bytes] = {NAME: KEY}
        self.public: dict[bytes, str] = {}
        self.revoked: set[str] = set()
        self.certificates: Callable[[tuple[bytes, ...]], Verdict] | None = None

    def psk_key(self, identity: bytes) -> bytes | None:
        return self.keys.get(identity)

    def psk(self, identity: bytes) -> Verdict:
        name = f"psk:{identity.decode('utf-8', 'backslashreplace')}"
        if identity not in self.keys:
            return Verdict(name, f"Nobody here is called {name}.")
        return self._unless_revoked(name)

    def raw_public_key(self, spki: bytes) -> Verdict:
        name = f"rpk:{hashlib.sha256(spki).hexdigest()}"
        if spki not in self.public:
            return Verdict(name, f"Nobody here has the key {name}.", 46)
        return self._unless_revoked(name)

    def certificate(self, chain: tuple[bytes, ...]) -> Verdict:
        if self.certificates is None:
            return Verdict("x509:?", "Certificates are not taken here.", 46)
        verdict = self.certificates(chain)
        return verdict if verdict.refusal else self._unless_revoked(verdict.identity)

    def _unless_revoked(self, name: str) -> Verdict:
        if name in self.revoked:
            return Verdict(name, f"{name} was revoked.", 44)
        return Verdict(name)


class Net:
    """``deliver`` carries datagrams between a client and the server until nobody has anything to say.

    ``lost`` is asked for each datagram, by direction ("up" or "down") and content; true loses it.
    """

    def __init__(self, keys: ServerKeys | None = None, trust: Any = None, **settings: Any) -> None:
        self.trust = trust or Keyring()
        self.server = DtlsServer(CoapsSettings(**settings), self.trust, keys)
        self.now = 1000.0
        self.lost: Callable[[str, bytes], bool] = lambda direction, data: False
        self.events: list[Established | Ended | Failed] = []
        self.up: list[bytes] = []  # what clients sent
        self.elsewhere: list[tuple[bytes, UdpPeer]] = []  # what the server sent to other addresses

    def deliver(self, client: Client, address: UdpPeer = HOME) -> list[tuple[bytes, DtlsSession]]:
        found = []
        while True:
            for data in (sent := client.take()):
                self.up.append(data)
                if not self.lost("up", data):
                    found += self.server.receive(data, address, self.now)
            answers = self.server.take_datagrams()
            for data, peer in answers:
                if peer != address:
                    self.elsewhere.append((data, peer))
                elif not self.lost("down", data):
                    client.receive(data)
            self.events += self.server.take_events()
            if not sent and not answers:
                return found

    def raw(self, data: bytes, address: UdpPeer = HOME) -> list[tuple[bytes, DtlsSession]]:
        """One datagram as it stands; answers stay in the server."""
        found = self.server.receive(data, address, self.now)
        self.events += self.server.take_events()
        return found

    def wait(self, seconds: float, client: Client | None = None, address: UdpPeer = HOME) -> None:
        """Time passes; what the server sends by itself reaches the client."""
        end = self.now + seconds
        while (timer := self.server.next_timer()) is not None and timer <= end:
            self.now = max(self.now, timer)
            self.server.handle_timer(self.now)
            if client is not None:
                self.deliver(client, address)
            self.events += self.server.take_events()
        self.now = end

    def connect(
        self, client: Client | None = None, address: UdpPeer = HOME, **more: Any
    ) -> tuple[Client, DtlsSession]:
        """A client with a session."""
        client = client or Client(NAME, KEY, **more)
        client.hello()
        self.deliver(client, address)
        assert client.done, self.events
        session = self.events[-1]
        assert isinstance(session, Established)
        return client, session.session

    def exchange(self, client: Client, session: DtlsSession, address: UdpPeer = HOME) -> None:
        """Data goes both ways."""
        client.send(b"ping")
        assert self.deliver(client, address) == [(b"ping", session)]
        self.server.send(b"pong", session, self.now)
        self.deliver(client, address)
        assert client.received.pop() == b"pong"

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def sentences(self) -> list[str]:
        """What the operator read."""
        return [event.sentence for event in self.of(Failed)]
