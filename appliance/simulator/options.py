"""What a simulation is told: ``homard simulate`` on the command line, or SimulatorOptions in a program."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from appliance.simulator.payloads import NAMES

DEFAULT_PORT = 5683
FORMATS = ("auto", "tlv", "senml-json", "senml-cbor")


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Everything has a default: one device that reports to this machine every five seconds."""

    server: str = "coap://127.0.0.1:5683"
    count: int = 1
    name_prefix: str = "sim-"
    period_s: float = 5.0
    lifetime_s: int = 300
    loss_percent: float = 0.0
    lwm2m: str = "1.1"
    format: str = "auto"
    objects: Path | None = None
    seed: int | None = None
    ledger: Path | None = None
    counter: bool = False
    send: bool = False
    queue_awake_s: float = 0.0
    wake_every_s: float = 0.0
    duration_s: float = 0.0
    ack_timeout_s: float = 2.0
    max_retransmit: int = 4

    @property
    def host_and_port(self) -> tuple[str, int]:
        parts = urlsplit(self.server)
        return parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORT

    @property
    def content_formats(self) -> tuple[int, ...]:
        """For more than one value, the preferred first; single values may also be text or opaque."""
        if self.format != "auto":
            return (NAMES[self.format],)
        return (
            (NAMES["tlv"],)
            if self.lwm2m == "1.0"
            else (NAMES["senml-cbor"], NAMES["senml-json"], NAMES["tlv"])
        )

    def endpoint_name(self, index: int) -> str:
        return f"{self.name_prefix}{index:04d}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``homard simulate``."""
    default = SimulatorOptions()
    parser.description = (
        "Simulate LwM2M devices: each has its own UDP port, registers, can be read, written, executed and"
        " observed, and reports values that change. They run until interrupted, then deregister."
    )
    add = parser.add_argument
    add(
        "--server",
        default=default.server,
        type=_coap_uri,
        metavar="URI",
        help="the LwM2M server, as coap://HOST[:PORT] (default: %(default)s)",
    )
    add(
        "--count",
        default=default.count,
        type=_AtLeast(1),
        metavar="N",
        help="how many devices (default: %(default)s)",
    )
    add(
        "--name-prefix",
        default=default.name_prefix,
        metavar="TEXT",
        help="endpoint names are TEXT0001, TEXT0002, … (default: %(default)s)",
    )
    add(
        "--period",
        default=default.period_s,
        type=_positive,
        metavar="S",
        dest="period_s",
        help="seconds between two changes of the sensor values, each a report to whoever observes them"
        " (default: %(default)s)",
    )
    add(
        "--lifetime",
        default=default.lifetime_s,
        type=_AtLeast(1),
        metavar="S",
        dest="lifetime_s",
        help="registration lifetime in seconds; updates are sent well before it ends (default: %(default)s)",
    )
    add(
        "--loss",
        default=default.loss_percent,
        type=_percent,
        metavar="PERCENT",
        dest="loss_percent",
        help="drop this share of the datagrams, in each direction (default: %(default)s)",
    )
    add(
        "--lwm2m",
        default=default.lwm2m,
        choices=("1.0", "1.1", "1.2"),
        help="the LwM2M version that the devices speak (default: %(default)s)",
    )
    add(
        "--format",
        default=default.format,
        choices=FORMATS,
        help="the only data format that the devices know beside text and opaque; auto is all of them for"
        " 1.1 and TLV for 1.0 (default: %(default)s)",
    )
    add(
        "--objects",
        type=Path,
        metavar="FILE",
        help="TOML or JSON file with more objects for every device; the form is explained in"
        " appliance/simulator/data/objects.toml",
    )
    add("--seed", type=int, metavar="N", help="repeat the same values and the same losses (default: random)")
    add(
        "--ledger",
        type=Path,
        metavar="FILE",
        help="append one JSON line for every report that the server acknowledged, every registration that it"
        " answered and every operation that the device carried out",
    )
    add(
        "--counter",
        action="store_true",
        help="/3303/0/5700 counts up and no value is sent twice, all else stands still; with --ledger this"
        " shows whether a server loses or doubles what it acknowledged",
    )
    add(
        "--send",
        action="store_true",
        help="also send the temperature with the Send operation, once per period",
    )
    add(
        "--queue-awake",
        default=default.queue_awake_s,
        type=_not_negative,
        metavar="S",
        dest="queue_awake_s",
        help="queue mode: listen so many seconds after each message, then sleep until the next one of its"
        " own; 0 always listens (default: %(default)s)",
    )
    add(
        "--wake-every",
        default=default.wake_every_s,
        type=_not_negative,
        metavar="S",
        dest="wake_every_s",
        help="send a registration update at least so often; 0 leaves it to the lifetime (default:"
        " %(default)s)",
    )
    add(
        "--duration",
        default=default.duration_s,
        type=_not_negative,
        metavar="S",
        dest="duration_s",
        help="stop after so many seconds; 0 runs until interrupted (default: %(default)s)",
    )
    add(
        "--ack-timeout",
        default=default.ack_timeout_s,
        type=_positive,
        metavar="S",
        dest="ack_timeout_s",
        help="first wait for an acknowledgement, doubled at every retransmission (default: %(default)s)",
    )
    add(
        "--max-retransmit",
        default=default.max_retransmit,
        type=_AtLeast(0),
        metavar="N",
        help="retransmissions before a device gives up and registers anew (default: %(default)s)",
    )


def options_from(namespace: argparse.Namespace) -> SimulatorOptions:
    """The options out of a parsed command line; what else is in it is left alone."""
    names = SimulatorOptions.__dataclass_fields__
    return SimulatorOptions(**{name: getattr(namespace, name) for name in names})


def _coap_uri(text: str) -> str:
    parts = urlsplit(text if "//" in text else f"coap://{text}")
    if parts.scheme != "coap" or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form coap://HOST[:PORT]")
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: the port is a number up to 65535") from error
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"coap://{host}:{port}"


class _AtLeast:
    """An argparse type: an integer not below a bound."""

    def __init__(self, lowest: int) -> None:
        self._lowest = lowest

    def __call__(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
        if number < self._lowest:
            raise argparse.ArgumentTypeError(f"at least {self._lowest}")
        return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error


def _positive(text: str) -> float:
    number = _number(text)
    if not 0.01 <= number <= 1e6:
        raise argparse.ArgumentTypeError("between 0.01 and 1000000")
    return number


def _not_negative(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= 1e9:
        raise argparse.ArgumentTypeError("0 or more")
    return number


def _percent(text: str) -> float:
    number = _number(text)
    if not 0 <= number < 100:
        raise argparse.ArgumentTypeError("0 or more, and less than 100")
    return number
