"""Handshakes under way: how many there may be, and who gives way to whom.

The laws of this file:

- one address, and one network of IPv6 (the /64 that a host chooses its addresses from), has so many
  handshakes at a time, and begins so many in a second that are not done by then; so one host on the line
  costs no more than that, whatever it sends;
- where there is no room, the oldest goes of whoever has most. A host that fills the table fills its own part
  of it; and of many devices behind one address those go on that have begun, so that some are done soon.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

from appliance.southbound.dtls.handshake import Handshake
from appliance.southbound.udp import UdpPeer

PATIENCE_S: Final = 5.0  # for a handshake over a slow radio, before one from the same host takes its place
_MAX_PACES: Final = 4096  # hosts and networks whose second is counted; who is counted has shown its address

_Origin = tuple[str, bytes]  # host and network, the same for IPv4


class HalfOpen:
    """The table: ``most`` in all, ``most_per_host`` of one host, and half of all of one network."""

    def __init__(self, most: int, most_per_host: int) -> None:
        self._most = most
        self._most_per_host = most_per_host
        self._most_per_network = max(most // 2, most_per_host)
        self._all: dict[UdpPeer, Handshake] = {}  # the oldest first, as everywhere here
        self._networks: dict[bytes, dict[str, dict[UdpPeer, Handshake]]] = {}
        self._second = float("-inf")
        self._begun: dict[str | bytes, int] = {}  # in this second, and not done

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Handshake]:
        return iter(list(self._all.values()))

    def get(self, address: UdpPeer) -> Handshake | None:
        """The handshake with that address."""
        return self._all.get(address)

    @property
    def hosts(self) -> int:
        """How many hosts shake hands."""
        return sum(map(len, self._networks.values()))

    def may_begin(self, address: UdpPeer, now: float) -> bool:
        """Whether one more may begin now; it is counted then."""
        if now - self._second >= 1.0 or len(self._begun) >= _MAX_PACES:
            self._second = now
            self._begun.clear()
        host, network = _origin(address)
        own = self._networks.get(network, {}).get(host, {})
        full = len(own) >= self._most_per_host and address not in own
        if full and now - _first(own).began_at < PATIENCE_S:
            return False
        begun, together = self._begun.get(host, 0), self._begun.get(network, 0)
        if begun >= self._most_per_host or together >= self._most_per_network:
            return False
        self._begun[host], self._begun[network] = begun + 1, together + 1
        return True

    def in_the_way(self, address: UdpPeer) -> Handshake | None:
        """Which one has to end before one with this address can be put in; None: there is room."""
        before = self._all.get(address)
        if before is not None:
            return before  # it begins anew
        host, network = _origin(address)
        neighbours = self._networks.get(network, {})
        own = neighbours.get(host, {})
        if len(own) >= self._most_per_host:
            return _first(own)
        if _size(neighbours) >= self._most_per_network:
            return _first(max(neighbours.values(), key=len))
        if len(self._all) >= self._most:
            return _first(max(max(self._networks.values(), key=_size).values(), key=len))
        return None

    def put(self, half: Handshake) -> None:
        """Put it in; there is room."""
        host, network = _origin(half.address)
        self._all[half.address] = half
        self._networks.setdefault(network, {}).setdefault(host, {})[half.address] = half

    def remove(self, half: Handshake) -> None:
        """It is over, one way or the other. Twice does no harm."""
        if self._all.get(half.address) is not half:
            return
        host, network = _origin(half.address)
        del self._all[half.address]
        neighbours = self._networks[network]
        del neighbours[host][half.address]
        if not neighbours[host]:
            del neighbours[host]
        if not neighbours:
            del self._networks[network]
        if half.outcome is not None:
            for origin in (host, network):  # it was honest
                if self._begun.get(origin, 0):
                    self._begun[origin] -= 1


def _origin(address: UdpPeer) -> _Origin:
    host = address.address[0].partition("%")[0]
    if address.family == socket.AF_INET6:
        try:
            return host, socket.inet_pton(socket.AF_INET6, host)[:8]
        except OSError:
            pass
    return host, host.encode()


def _first(halves: dict[UdpPeer, Handshake]) -> Handshake:
    return next(iter(halves.values()))


def _size(hosts: dict[str, dict[UdpPeer, Handshake]]) -> int:
    return sum(map(len, hosts.values()))
