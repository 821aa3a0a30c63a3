"""Settings of the CoAP side: section ``[coap]`` of the configuration file."""

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
