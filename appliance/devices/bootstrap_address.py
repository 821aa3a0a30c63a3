"""Where this gateway is, as a device sees it: the address the device reached us at (traps 44 and 46).

Never a name or address that is only ours: a device that was told localhost cannot be told anything again.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence

from appliance.lwm2m.bootstrap import Mode
from appliance.southbound.oscore.peer import OscorePeer
from appliance.southbound.server import Source
from appliance.southbound.tcp import TcpPeer
from appliance.southbound.udp import UdpPeer

Ports = Callable[[], Mapping[str, int]]


class AddressUnknown(Exception):
    """The uri of this gateway cannot be told; a sentence for the operator."""


class OwnAddress:
    """``bound`` are the addresses of `coap.bind`; ``ports`` gives the port of each scheme that is served."""

    def __init__(self, bound: Sequence[str], ports: Ports) -> None:
        self._bound = bound
        self._ports = ports

    def host(self, source: Source) -> str:
        """The address that a device reached us at, in brackets if it is IPv6. Raises AddressUnknown."""
        place: object = source.peer
        if isinstance(place, OscorePeer):
            place = place.below
        if isinstance(place, TcpPeer):
            remote = place.address[0]
        else:
            if not isinstance(place, UdpPeer):
                place = getattr(place, "address", None)  # of a DTLS session: where it was heard last
            if not isinstance(place, UdpPeer):
                raise AddressUnknown(_NO_ADDRESS)
            if place.local:
                return _written(ipaddress.ip_address(place.local))
            remote = place.address[0]
        return self._bound_for(remote) or _routed(remote)

    def uri(self, source: Source, mode: Mode) -> str:
        """The uri under which a device that came this way finds this server. Raises AddressUnknown."""
        scheme = "coap" if mode in ("nosec", "oscore") else "coaps"
        if scheme == "coap" and source.bearer == "TCP":
            scheme = "coap+tcp"
        port = self._ports().get(scheme, 0)
        if not port:
            raise AddressUnknown(
                f"The plan wants {mode}, but this gateway does not serve {scheme}://; switch it on, or "
                "change the security in the plan."
            )
        return f"{scheme}://{self.host(source)}:{port}"

    def _bound_for(self, remote: str) -> str:
        """The one address we listen on for that family, "" when that is all of them."""
        version = ipaddress.ip_address(remote.partition("%")[0]).version
        for text in self._bound:
            address = ipaddress.ip_address(text.partition("%")[0])
            if address.version == version and not address.is_unspecified:
                return _written(address)
        return ""


def _routed(remote: str) -> str:
    """The address that packets to ``remote`` would leave from; nothing is sent."""
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((remote, 9))
            return _written(ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]))
    except OSError as error:
        raise AddressUnknown(f"{_NO_ADDRESS} ({error})") from error


def _written(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"[{address}]"
    return str(address)


_NO_ADDRESS = (
    "It is not known under which address the device reaches this gateway; write the uri in the plan."
)
