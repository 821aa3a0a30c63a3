"""What devices answer and notify, from CoAP to reports (OMA Transport 1.1.1 §6.4, OMA Core §7.4).

The law of this file: nothing raises for what a device sent. What cannot be decoded is kept as bytes where it
has a path, and said in a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.coap import message as coap
from appliance.coap import options as option
from appliance.lwm2m import content_format as formats
from appliance.lwm2m.bootstrap import parse_bootstrap_links
from appliance.lwm2m.codecs import CodecError, decode, decode_composite
from appliance.lwm2m.links import Link, LinkFormatError, parse_links
from appliance.lwm2m.operations import (
    BootstrapDiscover,
    BootstrapRead,
    BootstrapWrite,
    Create,
    Discover,
    Observe,
    ObserveComposite,
    Read,
    ReadComposite,
    Write,
)
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from appliance.southbound.client import Client
from appliance.southbound.exchanges import Observation, Response
from appliance.southbound.requests import Downlink, Formats

Decoded = tuple[Sequence[Report], str]  # what was read, and a sentence about what was not


def read_response(
    client: Client,
    operation: Downlink,
    message: coap.Message,
    tried: Formats,
    rtt_s: float | None,
    observation: Observation | None,
    now: float,
) -> Response:
    """How the operation ended. ``tried`` are the formats that were sent; ``now`` in seconds since 1970."""
    content_format = option.find_uint(message.options, option.CONTENT_FORMAT)
    if not 0x40 <= message.code < 0x60:
        text = message.payload.decode(errors="replace")[:200]
        return Response(message.code, content_format=content_format, rtt_s=rtt_s, warning=text)
    reports: Sequence[Report] = ()
    links: tuple[Link, ...] | None = None
    location: str | None = None
    warning = ""
    match operation:
        case Read(path=path) | Observe(path=path) | BootstrapRead(path=path):
            reports, warning = _reports(client, content_format, message.payload, path, now)
        case ReadComposite(paths=paths) | ObserveComposite(paths=paths):
            reports, warning = _composite(client, content_format, message.payload, paths, now)
        case Discover():
            try:
                links = tuple(
                    link._replace(target=_below(client, link.target)) for link in parse_links(message.payload)
                )
            except LinkFormatError as error:
                warning = f"the device's list cannot be read: {error}"
        case BootstrapDiscover():
            try:
                links = parse_bootstrap_links(message.payload)
            except LinkFormatError as error:
                warning = f"the device's list cannot be read: {error}"
        case Create():
            segments = [v.decode(errors="replace") for n, v in message.options if n == option.LOCATION_PATH]
            location = _below(client, "/" + "/".join(segments)) if segments else None
        case _:
            pass
    if isinstance(operation, Write | Create | BootstrapWrite) and tried.sends is not None:
        client.learned_format = tried.sends
    return Response(
        message.code, tuple(reports), links, location, content_format, rtt_s, "", warning, observation
    )


def read_notified(
    observation: Observation, content_format: int | None, payload: bytes, now: float
) -> Decoded:
    """What a notification carries, with a sentence about what cannot be decoded."""
    if observation.paths:
        return _composite(observation.client, content_format, payload, observation.paths, now)
    return _reports(observation.client, content_format, payload, observation.path, now)


def _reports(client: Client, content_format: int | None, payload: bytes, path: Path, now: float) -> Decoded:
    """What a device sent for ``path``; what cannot be decoded is kept as bytes."""
    if not payload and content_format is None:
        return (), ""  # an object without instances may answer with nothing at all
    try:
        reports = decode(content_format, payload, path, client.model, client.root, now=now)
    except CodecError as error:
        words = f"{path} with {_shown(content_format)} cannot be decoded: {error}"
        return (Report(path, payload, None, False),), words
    _learn(client, content_format)
    return reports, ""


def _composite(
    client: Client, content_format: int | None, payload: bytes, paths: Sequence[Path], now: float
) -> Decoded:
    """The answer to a composite; what cannot be decoded has no path to be kept under."""
    try:
        reports = decode_composite(content_format, payload, paths, client.model, client.root, now=now)
    except CodecError as error:
        words = (
            f"the answer about {len(paths)} paths with {_shown(content_format)} cannot be decoded: {error}"
        )
        return (), words
    _learn(client, content_format)
    return reports, ""


def _learn(client: Client, content_format: int | None) -> None:
    """What worked is asked for first next time: a device that has to refuse one format spends radio on it."""
    if content_format is not None and formats.is_structured(content_format):
        client.learned_format = formats.canonical(content_format)


def _shown(content_format: int | None) -> str:
    return "no content format" if content_format is None else f"content format {content_format}"


def _below(client: Client, target: str) -> str:
    """A target without the alternate path that the device put before it (OMA Core 1.1.1 §6.2.1).

    A device behind a gateway names its links without its prefix; some put it there all the same.
    """
    for root in (client.root, client.objects.root):
        if root and target.startswith(root + "/"):
            return target[len(root) :]
    return target
