"""A packet capture made from messages: the libpcap file format with raw IP (draft-ietf-opsawg-pcap §4, §5).

The messages were taken inside whatever carried them, so the IP, UDP and TCP headers are made up: addresses
and the device's port are the real ones, ours is always 5683, by which Wireshark knows CoAP. Messages that
came over DTLS or TLS stand there as they were inside.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Any, Final

_MAGIC: Final = 0xA1B2C3D4  # microseconds
_RAW_IP: Final = 101  # LINKTYPE_RAW: the version of IP is in the first half byte
_SNAP_BYTES: Final = 262144
_PORT: Final = 5683
_SEGMENT_BYTES: Final = 32768  # of a frame that is longer than an IP packet can be
_UDP: Final = 17
_TCP: Final = 6
_MAX_FLOWS: Final = 8192
# Stand-ins for our own address where a bearer does not know it (RFC 5737, RFC 3849).
_OURS_4: Final = ipaddress.IPv4Address("192.0.2.1").packed
_OURS_6: Final = ipaddress.IPv6Address("2001:db8::1").packed


class Capture:
    """One capture file: its head, then packets. TCP needs numbers that go on, so it remembers its flows."""

    head: Final = struct.pack("=IHHiIII", _MAGIC, 2, 4, 0, 0, _SNAP_BYTES, _RAW_IP)

    def __init__(self) -> None:
        self._sent: dict[tuple[bytes, int, bool], int] = {}

    def packets(self, at: float, incoming: bool, stream: bool, peer: Any, data: bytes) -> bytes:
        """One message as packet records. ``peer`` is a bearer's peer: ``address`` and perhaps ``local``."""
        theirs, port, ours = _ends(peer)
        seconds, micro = divmod(round(at * 1_000_000), 1_000_000)
        out = bytearray()
        if not stream:
            sports = (port, _PORT) if incoming else (_PORT, port)
            body = struct.pack("!HHHH", *sports, 8 + len(data), 0) + data
            out += _record(seconds, micro, _packet(_UDP, theirs, ours, incoming, body, 6))
            return bytes(out)
        for start in range(0, len(data), _SEGMENT_BYTES) or (0,):
            segment = data[start : start + _SEGMENT_BYTES]
            body = self._segment(theirs, port, incoming, segment)
            out += _record(seconds, micro, _packet(_TCP, theirs, ours, incoming, body, 16))
        return bytes(out)

    def _segment(self, theirs: bytes, port: int, incoming: bool, segment: bytes) -> bytes:
        mine, other = (theirs, port, incoming), (theirs, port, not incoming)
        sent = self._sent.get(mine, 1)
        seen = self._sent.get(other, 1)
        self._sent[mine] = (sent + len(segment)) & 0xFFFFFFFF
        if len(self._sent) > _MAX_FLOWS:
            del self._sent[next(iter(self._sent))]
        ports = (port, _PORT) if incoming else (_PORT, port)
        flags = 5 << 12 | 0x18  # five words of header, PSH and ACK
        return struct.pack("!HHIIHHHH", *ports, sent, seen, flags, 65535, 0, 0) + segment


def _record(seconds: int, micro: int, packet: bytes) -> bytes:
    return struct.pack("=IIII", seconds & 0xFFFFFFFF, micro, len(packet), len(packet)) + packet


def _packet(protocol: int, theirs: bytes, ours: bytes, incoming: bool, body: bytes, checked: int) -> bytes:
    """An IP packet around a UDP or TCP body whose checksum belongs at ``checked``."""
    ends = theirs + ours if incoming else ours + theirs
    if len(theirs) == 4:
        pseudo = ends + struct.pack("!BBH", 0, protocol, len(body) & 0xFFFF)
        head = struct.pack("!BBHHHBBH", 0x45, 0, (20 + len(body)) & 0xFFFF, 0, 0x4000, 64, protocol, 0) + ends
        head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    else:
        pseudo = ends + struct.pack("!II", len(body), protocol)
        head = struct.pack("!IHBB", 6 << 28, len(body) & 0xFFFF, protocol, 64) + ends
    total = _checksum(pseudo + body) or 0xFFFF  # RFC 768: zero would mean that there is none
    return head + body[:checked] + struct.pack("!H", total) + body[checked + 2 :]


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071 §1)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ends(peer: Any) -> tuple[bytes, int, bytes]:
    """Address and port of the peer and our address, all of one family; made up where a peer has none."""
    try:
        host, port = peer.address[0], int(peer.address[1])
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except (AttributeError, IndexError, TypeError, ValueError):
        address, port = ipaddress.ip_address("192.0.2.2"), 0  # a bearer without IP, such as SMS
    local = getattr(peer, "local", b"")
    if not isinstance(local, bytes) or len(local) != len(address.packed):
        stand_in = _OURS_4 if address.version == 4 else _OURS_6
        local = address.packed if address.is_loopback else stand_in
    return address.packed, port & 0xFFFF, local
