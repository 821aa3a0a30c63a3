"""The UDP bearer: datagrams in, datagrams out, nothing else (RFC 7252 §3, RFC 3542 §6).

The law of this file: an answer leaves from the address that was asked. A board with two interfaces, or with
several addresses on one, is otherwise unusable behind strict clients. So a socket bound to a wildcard address
asks the kernel for the packet information of every datagram, the local address travels inside the peer, and
it is put back into the packet information of every datagram sent to that peer.

Own non-blocking sockets with ``add_reader`` instead of asyncio's datagram transports: those offer no packet
information, stop reading after some ICMP errors on some loops, and hand over one datagram per wake-up.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from appliance.southbound.settings import CoapSettings

log = logging.getLogger(__name__)

# Linux numbers; the socket module names them only since Python 3.12 or not at all.
IP_PKTINFO = 8
IPV6_RECVPKTINFO = 49
IPV6_PKTINFO = 50
SO_RCVBUFFORCE = 33

_IN_PKTINFO = struct.Struct("=I4s4s")  # interface index, address to answer from, address of the header
_IN6_PKTINFO = struct.Struct("=16sI")  # address, interface index
_ANCILLARY_BYTES = 128
_MSG_TRUNC = int(socket.MSG_TRUNC)  # as an int: the enum's operators cost 5 us a datagram
_IPPROTO_IP = int(socket.IPPROTO_IP)
_IPPROTO_IPV6 = int(socket.IPPROTO_IPV6)
_AF_INET = int(socket.AF_INET)
_BURST = 64  # datagrams read per wake-up, so that timers and commits are never starved
_INTERNED_PEERS = 16384


class PortInUse(OSError):
    """Another program already has the port. The message names the port and the next step."""

    @classmethod
    def of(cls, protocol: str, host: str, port: int, setting: str) -> PortInUse:
        """For "udp" or "tcp", and the setting that names the port."""
        return cls(
            errno.EADDRINUSE,
            f"{protocol} port {port} on {host} is already in use by another program; "
            f"find it with: ss -{protocol[0]}lpn 'sport = :{port}', or choose another port with {setting}",
        )


class UdpPeer(NamedTuple):
    """Where a datagram came from and which of our addresses it was sent to.

    ``address`` is the socket module's sockaddr (2 fields for IPv4, 4 for IPv6), ``local`` our own address in
    network byte order (empty when the socket is bound to one address, as the kernel then knows it).
    """

    family: int
    address: tuple[str, int] | tuple[str, int, int, int]
    local: bytes

    def __str__(self) -> str:
        host, port = self.address[0], self.address[1]
        if self.family == socket.AF_INET6:
            return f"[{host}]:{port}"
        return f"{host}:{port}"

    def to_json(self) -> str:
        """The JSON of a list that `from_json` takes back, for the registration that outlives a restart."""
        family, address, local = self
        if len(address) == 2:
            return f'[{family:d},["{address[0]}",{address[1]}],"{local.hex()}"]'
        return json.dumps([int(family), list(address), local.hex()])

    @classmethod
    def from_json(cls, stored: Sequence[object]) -> UdpPeer:
        """The peer that `to_json` wrote; raises ValueError on anything else."""
        try:
            family, address, local = stored
            return cls(int(family), tuple(address), bytes.fromhex(local))  # type: ignore[arg-type,call-overload]
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a stored UDP address: {stored!r}") from error


class UdpBearer:
    """The UDP sockets of one port: ``port``, which ``setting`` names; None is that of CoAP without security.

    ``receive(data, peer, now)`` is called per datagram, ``burst_done()`` once after each burst (the moment to
    transmit what the burst caused). Both run in the event loop and must not raise.
    """

    name = "UDP"

    def __init__(
        self,
        settings: CoapSettings,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[bytes, UdpPeer, float], None],
        burst_done: Callable[[], None],
        port: int | None = None,
        setting: str = "coap.port",
    ) -> None:
        self._settings = settings
        self._port = settings.port if port is None else port
        self._setting = setting
        self._loop = loop
        self._receive = receive
        self._burst_done = burst_done
        self._sockets: dict[int, socket.socket] = {}
        self._peers: dict[tuple[object, bytes], UdpPeer] = {}
        self.port = 0
        self.received = 0
        self.sent = 0
        self.send_errors = 0
        self.receive_errors = 0
        self.oversized = 0

    def start(self) -> None:
        """Bind every address of `coap.bind`; raises PortInUse, or OSError when none can be bound."""
        port = self._port
        problems: list[str] = []
        for host in self._settings.bind:
            try:
                bound = _bind(host, port, self._settings.receive_buffer_bytes, self._setting)
            except PortInUse:
                self.stop()
                raise
            except OSError as error:
                # A kernel without IPv6 is no reason to be without IPv4.
                problems.append(f"{host}: {error.strerror or error}")
                continue
            port = bound.getsockname()[1]
            family = int(bound.family)
            if family in self._sockets:
                bound.close()
                self.stop()
                raise OSError(
                    errno.EINVAL, f"coap.bind names two addresses of one family; keep one beside {host}"
                )
            self._sockets[family] = bound
        if not self._sockets:
            raise OSError(
                errno.EADDRNOTAVAIL, "no address of coap.bind could be bound: " + "; ".join(problems)
            )
        for problem in problems:
            log.warning("CoAP is not served on %s", problem)
        self.port = port
        for family, bound in self._sockets.items():
            wildcard = bound.getsockname()[0] in ("::", "0.0.0.0")
            self._loop.add_reader(bound.fileno(), self._readable, bound, family, wildcard)

    def stop(self) -> None:
        """Close the sockets; what the kernel still held for us is lost, as on any UDP port."""
        for bound in self._sockets.values():
            if bound.fileno() >= 0:
                self._loop.remove_reader(bound.fileno())
                bound.close()
        self._sockets.clear()

    def identity(self, peer: UdpPeer) -> str | None:
        """What the transport proved of a peer: over plain UDP nothing."""
        return None

    def transmit(self, data: bytes, peer: UdpPeer) -> None:
        """Send one datagram. Errors are counted and otherwise dropped: CoAP retransmits what matters."""
        family, address, local = peer
        bound = self._sockets.get(family)
        if bound is None:
            self.send_errors += 1
            return
        try:
            if not local:
                bound.sendto(data, address)
            elif family == _AF_INET:
                info = _IN_PKTINFO.pack(0, local, b"\0\0\0\0")
                bound.sendmsg((data,), ((_IPPROTO_IP, IP_PKTINFO, info),), 0, address)
            else:
                info = _IN6_PKTINFO.pack(local, 0)
                bound.sendmsg((data,), ((_IPPROTO_IPV6, IPV6_PKTINFO, info),), 0, address)
        except OSError as error:
            # A full socket buffer, an address that went away, a pending ICMP error of another datagram.
            self.send_errors += 1
            log.debug("datagram to %s not sent: %s", peer, error)
            return
        self.sent += 1

    def _readable(self, bound: socket.socket, family: int, wildcard: bool) -> None:
        now = self._loop.time()
        limit = self._settings.max_datagram_bytes
        for _ in range(_BURST):
            try:
                data, ancillary, flags, address = bound.recvmsg(limit, _ANCILLARY_BYTES if wildcard else 0)
            except BlockingIOError:
                break
            except OSError as error:
                # An ICMP error belongs to one earlier datagram, never to the socket: read on.
                self.receive_errors += 1
                log.debug("error on the CoAP socket: %s", error)
                continue
            if flags & _MSG_TRUNC:
                self.oversized += 1
                continue
            local = b""
            for level, kind, info in ancillary:
                if kind == IP_PKTINFO and level == _IPPROTO_IP:
                    local = info[4:8]
                elif kind == IPV6_PKTINFO and level == _IPPROTO_IPV6:
                    local = info[:16]
            self.received += 1
            self._receive(data, self._peer(family, address, local), now)
        self._burst_done()

    def _peer(self, family: int, address: tuple[str, int], local: bytes) -> UdpPeer:
        """One object per address: ten thousand registrations share it with every event about them."""
        key = (address, local)
        peer = self._peers.get(key)
        if peer is None:
            if len(self._peers) >= _INTERNED_PEERS:
                self._peers.clear()  # only a cache: whoever holds a peer keeps it
            peer = self._peers[key] = UdpPeer(family, address, local)
        return peer


def _bind(host: str, port: int, receive_buffer_bytes: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        _enlarge(bound, receive_buffer_bytes)
        # No SO_REUSEADDR and no SO_REUSEPORT: on UDP they let a second server take half of the datagrams.
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse.of("udp", host, port, setting) from error
        raise
    return bound


def _enlarge(bound: socket.socket, receive_buffer_bytes: int) -> None:
    """Ask for the buffer with privilege first: the plain option is capped by net.core.rmem_max."""
    for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            bound.setsockopt(socket.SOL_SOCKET, option, receive_buffer_bytes)
        except OSError:
            continue
        return
