"""Settings of the CoAP side: sections ``[coap]`` and ``[coaps]`` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CoapSettings:
    """Where devices reach us and how patient we are with them (RFC 7252 §4.8)."""

    bind: tuple[str, ...] = field(
        default=("::", "0.0.0.0"),
        metadata={"unit": "", "doc": "Addresses to listen on, at most one IPv6 and one IPv4 address."},
    )
    port: int = field(
        default=5683,
        metadata={
            "unit": "",
            "doc": "UDP port for CoAP without security (NoSec); 0 takes a free one.",
            "min": 0,
            "max": 65535,
        },
    )
    tcp: bool = field(
        default=True,
        metadata={"unit": "", "doc": "Serve CoAP over TCP as well (RFC 8323), without security."},
    )
    tcp_port: int = field(
        default=-1,
        metadata={
            "unit": "",
            "doc": "TCP port for CoAP without security; -1 takes the number of coap.port, 0 a free one.",
            "min": -1,
            "max": 65535,
        },
    )
    tcp_max_connections: int = field(
        default=4096,
        metadata={"unit": "", "doc": "TCP connections at a time; more are closed.", "min": 1, "max": 65535},
    )
    tcp_max_per_address: int = field(
        default=64,
        metadata={"unit": "", "doc": "TCP connections from one address.", "min": 1, "max": 65535},
    )
    tcp_max_message_bytes: int = field(
        default=65536,
        metadata={
            "unit": "bytes",
            "doc": "Longer messages end their TCP connection.",
            "min": 1152,
            "max": 1048576,
        },
    )
    tcp_csm_timeout_s: float = field(
        default=10.0,
        metadata={
            "unit": "s",
            "doc": "A TCP connection that has not said hello (CSM) by then is closed.",
            "min": 0.5,
            "max": 300.0,
        },
    )
    tcp_idle_s: float = field(
        default=300.0,
        metadata={
            "unit": "s",
            "doc": "A silent TCP connection is pinged after this time, and closed after twice as long.",
            "min": 5.0,
            "max": 86400.0,
        },
    )
    nosec: str = field(
        default="allowed",
        metadata={
            "unit": "",
            "doc": "Who may register without security over UDP: allowed (only devices for which somebody "
            "allowed it), everyone, or off (nobody; the port is not opened).",
            "choices": ("allowed", "everyone", "off"),
        },
    )
    tcp_nosec: str = field(
        default="allowed",
        metadata={
            "unit": "",
            "doc": "The same over TCP: allowed, everyone or off.",
            "choices": ("allowed", "everyone", "off"),
        },
    )
    receive_buffer_bytes: int = field(
        default=4 * 1024 * 1024,
        metadata={
            "unit": "bytes",
            "doc": "Kernel buffer asked for, so that a burst of registrations is not dropped.",
            "min": 65536,
            "max": 268435456,
        },
    )
    max_datagram_bytes: int = field(
        default=16384,
        metadata={
            "unit": "bytes",
            "doc": "Longer datagrams are dropped and counted.",
            "min": 1280,
            "max": 65535,
        },
    )
    ack_timeout_s: float = field(
        default=2.0,
        metadata={
            "unit": "s",
            "doc": "First wait for an acknowledgement; slow radio such as NB-IoT wants about 15.",
            "min": 0.1,
            "max": 120.0,
        },
    )
    ack_random_factor: float = field(
        default=1.5,
        metadata={
            "unit": "",
            "doc": "Spread of that wait, so that peers do not retransmit in step.",
            "min": 1.0,
            "max": 5.0,
        },
    )
    max_retransmit: int = field(
        default=4,
        metadata={
            "unit": "",
            "doc": "How often a confirmable message is sent again.",
            "min": 0,
            "max": 20,
        },
    )
    max_body_bytes: int = field(
        default=1024 * 1024,
        metadata={
            "unit": "bytes",
            "doc": "Largest body put together from blocks, in either direction.",
            "min": 1024,
            "max": 67108864,
        },
    )
    log_entries: int = field(
        default=20000,
        metadata={
            "unit": "",
            "doc": "Messages kept in the protocol log, in memory only; 0 keeps none.",
            "min": 0,
            "max": 1000000,
        },
    )
    log_bytes: int = field(
        default=8 * 1024 * 1024,
        metadata={
            "unit": "bytes",
            "doc": "Memory the protocol log may take; the oldest messages go first, 0 keeps none.",
            "min": 0,
            "max": 1073741824,
        },
    )


@dataclass(frozen=True, slots=True)
class CoapsSettings:
    """CoAP over DTLS 1.2 (RFC 7252 §9, OMA Transport 1.1.1 §5)."""

    enabled: bool = field(
        default=True,
        metadata={"unit": "", "doc": "Serve CoAP over DTLS."},
    )
    port: int = field(
        default=-1,
        metadata={
            "unit": "",
            "doc": "UDP port for CoAP over DTLS; -1 takes the number after coap.port (5684), 0 a free one.",
            "min": -1,
            "max": 65535,
        },
    )
    connection_id: bool = field(
        default=True,
        metadata={
            "unit": "",
            "doc": "Offer Connection IDs (RFC 9146): a device keeps its session when its address changes.",
        },
    )
    max_sessions: int = field(
        default=20000,
        metadata={
            "unit": "",
            "doc": "Sessions kept; above it the one that was silent longest goes.",
            "min": 1,
            "max": 1000000,
        },
    )
    max_half_open: int = field(
        default=512,
        metadata={"unit": "", "doc": "Handshakes under way at a time.", "min": 1, "max": 65535},
    )
    max_half_open_per_address: int = field(
        default=64,
        metadata={
            "unit": "",
            "doc": "Handshakes under way from one IP address, and begun there in a second and not done; many "
            "devices may share one behind a NAT.",
            "min": 1,
            "max": 65535,
        },
    )
    handshake_timeout_s: float = field(
        default=30.0,
        metadata={
            "unit": "s",
            "doc": "A handshake that is not done by then is dropped.",
            "min": 1.0,
            "max": 300.0,
        },
    )
    session_days: float = field(
        default=30.0,
        metadata={
            "unit": "days",
            "doc": "A session that was silent this long is forgotten.",
            "min": 0.01,
            "max": 3650.0,
        },
    )
    mtu_bytes: int = field(
        default=1280,
        metadata={"unit": "bytes", "doc": "Longest datagram of a handshake.", "min": 256, "max": 9000},
    )
