"""The DTLS bearer: datagrams of one port in and out, through the DTLS machine (RFC 7252 §9.1).

The law of this file: what goes up has been proved by a session, and what goes down goes into a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from appliance.southbound.dtls.server import DtlsServer, Event
from appliance.southbound.dtls.session import DtlsSession
from appliance.southbound.settings import CoapSettings, CoapsSettings
from appliance.southbound.udp import UdpBearer, UdpPeer

SessionEvent = Event


class LostSession(NamedTuple):
    """A session of before a restart that could not be taken up again: nothing can be sent there."""

    id: int

    def __str__(self) -> str:
        return "(session lost)"

    def to_json(self) -> str:
        """As that of the session it was."""
        return f'["dtls",{self.id}]'


class DtlsBearer:
    """CoAP over DTLS: `receive` is handed plain messages with their session, ``happened`` what else there is.

    ``burst_done`` is called after each burst of datagrams, and has to call `flush` in the end.
    """

    name = "DTLS"

    def __init__(
        self,
        settings: CoapSettings,
        coaps: CoapsSettings,
        dtls: DtlsServer,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[bytes, DtlsSession, float], None],
        happened: Callable[[SessionEvent], None],
        burst_done: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._dtls = dtls
        self._receive = receive
        self._happened = happened
        port = coaps.port
        if port < 0:
            port = settings.port + 1 if 0 < settings.port < 65535 else 0
        self._udp = UdpBearer(settings, loop, self._datagram, burst_done, port, "coaps.port")

    @property
    def port(self) -> int:
        """The UDP port in use; 0 before `start`."""
        return self._udp.port

    @property
    def udp(self) -> UdpBearer:
        """The sockets below, for their counters."""
        return self._udp

    @property
    def sessions(self) -> DtlsServer:
        """The machine, for its tables."""
        return self._dtls

    def start(self) -> None:
        """Open the port; raises PortInUse."""
        self._udp.start()

    def stop(self) -> None:
        """Close the port. Nobody is told: sessions go on after a restart."""
        self._udp.stop()

    def restored(self, stored: Sequence[object]) -> DtlsSession | LostSession:
        """The session that a stored peer names; raises ValueError when it names none."""
        if len(stored) != 2 or not isinstance(stored[1], int):
            raise ValueError(f"not a stored session: {stored!r}")
        return self._dtls.session(stored[1]) or LostSession(stored[1])

    def identity(self, peer: DtlsSession) -> str:
        """What the handshake proved."""
        return peer.identity

    def transmit(self, data: bytes, session: DtlsSession) -> bool:
        """Send one message over a session; false when the session is gone."""
        try:
            self._dtls.send(data, session, self._loop.time())
        except ConnectionError:
            return False
        return True

    def drop(self, session: DtlsSession, reason: str) -> None:
        """End a session, and tell the device at once."""
        self._dtls.drop(session, reason)
        self.flush()

    def flush(self) -> float | None:
        """Let out what there is and tell what happened; gives when `handle_timer` is due."""
        for data, address in self._dtls.take_datagrams():
            self._udp.transmit(data, address)
        self._tell()
        return self._dtls.next_timer()

    def handle_timer(self, now: float) -> None:
        """Retransmissions of handshakes, and what is over."""
        self._dtls.handle_timer(now)

    def _datagram(self, data: bytes, address: UdpPeer, now: float) -> None:
        received = self._dtls.receive(data, address, now)
        self._tell()  # that a session is there comes before what is said in it
        for plain, session in received:
            self._receive(plain, session, now)

    def _tell(self) -> None:
        for event in self._dtls.take_events():
            self._happened(event)
