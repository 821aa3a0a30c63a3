"""Settings of the northbound room: section ``[http]`` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where people and programs reach the appliance, and what one of them may take."""

    bind: str = field(
        default="::",
        metadata={"unit": "", "doc": 'Address to listen on; "::" is every address, IPv4 too.'},
    )
    port: int = field(
        default=8443,
        metadata={
            "unit": "",
            "doc": "TCP port of page and API; 0 takes a free one.",
            "min": 0,
            "max": 65535,
        },
    )
    tls: bool = field(
        default=True,
        metadata={
            "unit": "",
            "doc": "Serve TLS; without it only this machine is served, because plain HTTP never leaves it.",
        },
    )
    certificate_file: str = field(
        default="",
        metadata={
            "unit": "",
            "doc": "Certificate chain of your own (PEM); empty: one is made at first start and renewed.",
        },
    )
    key_file: str = field(
        default="",
        metadata={"unit": "", "doc": "Private key that belongs to certificate_file (PEM)."},
    )
    host_names: tuple[str, ...] = field(
        default=(),
        metadata={"unit": "", "doc": "Further names and addresses for the certificate that is made."},
    )
    threads: int = field(
        default=12,
        metadata={
            "unit": "",
            "doc": "Requests answered at the same time, streams not counted.",
            "min": 4,
            "max": 200,
        },
    )
    max_streams: int = field(
        default=16,
        metadata={
            "unit": "",
            "doc": "Live event streams at the same time, one for each open page.",
            "min": 1,
            "max": 500,
        },
    )
    max_log_streams: int = field(
        default=4,
        metadata={
            "unit": "",
            "doc": "Live protocol logs at the same time, one for each page that shows it.",
            "min": 1,
            "max": 100,
        },
    )
    plain_files: bool = field(
        default=False,
        metadata={
            "unit": "",
            "doc": "Let devices of the local network fetch stored files over plain HTTP, nothing else.",
        },
    )
    max_connections: int = field(
        default=256,
        metadata={
            "unit": "",
            "doc": "Open connections; beyond that the one that has been idle longest is closed.",
            "min": 16,
            "max": 10000,
        },
    )
    idle_timeout_s: float = field(
        default=30.0,
        metadata={
            "unit": "s",
            "doc": "A connection without a request is closed after this.",
            "min": 1.0,
            "max": 3600.0,
        },
    )
    request_timeout_s: float = field(
        default=10.0,
        metadata={
            "unit": "s",
            "doc": "Time for the head of a request to arrive, and for a TLS handshake.",
            "min": 0.1,
            "max": 600.0,
        },
    )
    body_timeout_s: float = field(
        default=30.0,
        metadata={"unit": "s", "doc": "Time for the body of a request to arrive.", "min": 0.1, "max": 3600.0},
    )
    send_timeout_s: float = field(
        default=20.0,
        metadata={
            "unit": "s",
            "doc": "A client that takes nothing for this long is cut off.",
            "min": 0.1,
            "max": 3600.0,
        },
    )
    max_head_bytes: int = field(
        default=16384,
        metadata={
            "unit": "bytes",
            "doc": "Size of a request's line and headers.",
            "min": 4096,
            "max": 262144,
        },
    )
    max_body_bytes: int = field(
        default=262144,
        metadata={"unit": "bytes", "doc": "Size of a JSON body.", "min": 1024, "max": 16777216},
    )
    max_upload_bytes: int = field(
        default=1048576,
        metadata={
            "unit": "bytes",
            "doc": "Size of an uploaded object definition.",
            "min": 1024,
            "max": 16777216,
        },
    )
    max_json_depth: int = field(
        default=16,
        metadata={"unit": "", "doc": "Levels of lists and objects in a JSON body.", "min": 4, "max": 100},
    )
    call_timeout_s: float = field(
        default=10.0,
        metadata={
            "unit": "s",
            "doc": "Longest wait for an answer from inside, operations on devices not counted.",
            "min": 0.1,
            "max": 600.0,
        },
    )
    keep_alive_s: float = field(
        default=10.0,
        metadata={
            "unit": "s",
            "doc": "Pause after which a quiet event stream shows life.",
            "min": 0.05,
            "max": 300.0,
        },
    )
    max_replay: int = field(
        default=5000,
        metadata={
            "unit": "",
            "doc": "Missed events sent again to a stream; who missed more is told to load anew.",
            "min": 1,
            "max": 1000000,
        },
    )
