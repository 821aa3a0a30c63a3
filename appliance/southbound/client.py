"""What the southbound room knows of one registered device: where it is and how to speak to it."""

from __future__ import annotations

from appliance.lwm2m.definitions import Model
from appliance.lwm2m.operations import ObjectList
from appliance.southbound.coaps import LostSession
from appliance.southbound.dtls.session import DtlsSession
from appliance.southbound.oscore.peer import OscorePeer
from appliance.southbound.tcp import TcpPeer
from appliance.southbound.udp import UdpPeer

Peer = UdpPeer | TcpPeer | DtlsSession | LostSession | OscorePeer


def place(peer: Peer) -> UdpPeer | TcpPeer | DtlsSession | LostSession:
    """Where messages for the peer go, whatever protects them."""
    below: UdpPeer | TcpPeer | DtlsSession | LostSession = (
        peer.below if isinstance(peer, OscorePeer) else peer
    )
    return below


def same_place(one: Peer, other: Peer) -> bool:
    """Whether messages of both come from one place: an address over UDP, else a connection or a session."""
    if isinstance(one, UdpPeer) and isinstance(other, UdpPeer):
        return one.address == other.address
    if isinstance(one, OscorePeer) and isinstance(other, OscorePeer):
        return one.identity == other.identity and same_place(one.below, other.below)
    return one == other


class Client:
    """A device as a partner in a conversation.

    ``version`` is the LwM2M version it registered with, ``learned_format`` the content format that worked
    last (None before the first answer), ``identity`` what its transport proved (None over NoSec). ``prefix``
    is that of a device behind a gateway, like "/d01", with the gateway's own alternate path before it.
    """

    __slots__ = (
        *("endpoint_name", "identity", "learned_format", "model", "objects", "peer", "prefix"),
        "version",
    )

    def __init__(
        self, endpoint_name: str, peer: Peer, version: str, objects: ObjectList, model: Model
    ) -> None:
        self.endpoint_name = endpoint_name
        self.peer = peer
        self.version = version
        self.objects = objects
        self.model = model
        self.identity: str | None = None
        self.learned_format: int | None = None
        self.prefix = ""

    @property
    def bearer(self) -> str:
        """The bearer by its name."""
        below = place(self.peer)
        if isinstance(below, UdpPeer):
            return "UDP"
        return "TCP" if isinstance(below, TcpPeer) else "DTLS"

    @property
    def root(self) -> str:
        """What stands in front of its paths: its alternate path (OMA Core §6.4.1) and its prefix."""
        return self.objects.root + self.prefix if self.prefix else self.objects.root
