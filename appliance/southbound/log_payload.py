"""What a recorded payload says, and whether it may be shown at all.

Hidden are: the objects that hold keys, what a resource takes but never gives away, what we write to a
resource nobody described, and every payload of which it is not known what it is about. The location of a
registration is masked too: over NoSec it is all that a stranger would need to speak for the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from appliance.coap import message as coap
from appliance.coap import options as option
from appliance.lwm2m import content_format as formats
from appliance.lwm2m.codecs import CodecError, decode, decode_send
from appliance.lwm2m.definitions import Definitions, Model
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from appliance.southbound.log_exchange import Directory, Note, Subject, frame_head, is_stream, names_in

SECRET_OBJECTS: Final = frozenset({0, 21, 23})  # Security, OSCORE, COSE (Core §6.1, Appendix E)
MAX_TEXT: Final = 8192
_MAX_LINES: Final = 200
_MAX_VALUE: Final = 200
_OPTIONS: Final = {
    option.IF_MATCH: "If-Match",
    option.URI_HOST: "Uri-Host",
    option.ETAG: "ETag",
    option.IF_NONE_MATCH: "If-None-Match",
    option.OBSERVE: "Observe",
    option.URI_PORT: "Uri-Port",
    option.LOCATION_PATH: "Location-Path",
    option.OSCORE: "OSCORE",
    option.URI_PATH: "Uri-Path",
    option.CONTENT_FORMAT: "Content-Format",
    option.MAX_AGE: "Max-Age",
    option.URI_QUERY: "Uri-Query",
    option.ACCEPT: "Accept",
    option.LOCATION_QUERY: "Location-Query",
    option.BLOCK2: "Block2",
    option.BLOCK1: "Block1",
    option.SIZE2: "Size2",
    option.PROXY_URI: "Proxy-Uri",
    option.PROXY_SCHEME: "Proxy-Scheme",
    option.SIZE1: "Size1",
    option.NO_RESPONSE: "No-Response",
}
_FORMATS: Final = {
    formats.TEXT: "text/plain",
    formats.LINK: "application/link-format",
    formats.OPAQUE: "application/octet-stream",
    formats.CBOR: "application/cbor",
    formats.SENML_JSON: "SenML JSON",
    formats.SENML_CBOR: "SenML CBOR",
    formats.SENML_ETCH_JSON: "SenML-ETCH JSON",
    formats.SENML_ETCH_CBOR: "SenML-ETCH CBOR",
    formats.TLV: "LwM2M TLV",
    formats.OMA_JSON: "LwM2M JSON",
    formats.LWM2M_CBOR: "LwM2M CBOR",
}
_NUMBERS: Final = frozenset(
    {option.OBSERVE, option.URI_PORT, option.MAX_AGE, option.SIZE1, option.SIZE2, option.NO_RESPONSE}
)
# What a gateway answers in these names the devices behind it.
_PREFIXED: Final = frozenset({formats.SENML_JSON, formats.SENML_CBOR, formats.LWM2M_CBOR})
_MASK: Final = b"*"


class Shown(NamedTuple):
    """What may be seen of a payload."""

    text: str
    hidden: bool


_HIDDEN: Final = Shown("", True)
_NOTHING: Final = Shown("", False)


class Payloads:
    """Reads payloads with the models of the devices they belong to."""

    def __init__(self, definitions: Definitions, directory: Directory) -> None:
        self._definitions = definitions
        self._directory = directory
        self._generation = -1
        self._any: Model | None = None

    def show(self, note: Note, message: coap.Message, incoming: bool, at: float) -> Shown:
        """What the payload of a message says. Never raises, whatever the bytes."""
        payload, subject = message.payload, note.subject
        if not payload:
            return _NOTHING
        if subject is None or note.carries in ("", "unknown"):
            return _HIDDEN
        if subject.paths is not None and any(_is_secret(path) for path in subject.paths):
            return _HIDDEN
        if note.carries in ("text", "links"):
            return Shown(_readable(payload), False)
        if note.carries == "paths":
            return Shown("\n".join(names_in(message))[:MAX_TEXT] or _readable(payload), False)
        return self._values(note.endpoint_name, subject, message, written=note.carries == "written", at=at)

    def _values(
        self, name: str, subject: Subject, message: coap.Message, *, written: bool, at: float
    ) -> Shown:
        assert subject.paths is not None
        found = self._directory.model(name) if name else None
        model, root = found if found is not None else (self._any_model(), "")
        behind = self._directory.behind(name) if name else {}
        place = subject.prefix.strip("/")
        model = behind.get(place, self._any_model()) if place else model
        raw = _NOTHING if all(_plain(path, model, written) for path in subject.paths) else _HIDDEN
        raw = raw if raw.hidden else Shown(_readable(message.payload), False)
        if _is_piece(message, request=message.code >> 5 == 0):
            return raw
        base = subject.paths[0] if len(subject.paths) == 1 else Path()
        number = option.content_format(message.options)
        if written and number is None:
            return raw  # the arguments of an Execute, or nothing we would send
        try:
            if not base and number in _PREFIXED:
                parts = decode_send(number, message.payload, behind, model, root, now=at)
            else:
                parts = {place: decode(number, message.payload, base, model, root + subject.prefix, now=at)}
        except CodecError:
            return raw
        lines: list[str] = []
        for prefix, reports in parts.items():
            prefix = prefix.strip("/")
            model = behind.get(prefix, model)
            if not all(_plain(report.path, model, written) for report in reports):
                return _HIDDEN
            lines += _told(f"/{prefix}" if prefix else "", reports, model)
        return Shown("\n".join(lines)[:MAX_TEXT], False)

    def _any_model(self) -> Model:
        """Of a device we know nothing of: every object, in its newest version."""
        if self._any is None or self._generation != self._definitions.generation:
            self._generation = self._definitions.generation
            self._any = Model(self._definitions, {known.id: None for known in self._definitions.all()})
        return self._any


def redacted(bearer: str, data: bytes, message: coap.Message | None, hidden: bool) -> bytes:
    """The bytes of a message with zeros for what must not be seen; as long as they were.

    Of what is no CoAP message only the first four bytes stay.
    """
    if message is None:
        return data[:4] + bytes(max(0, len(data) - 4))
    start = len(data) - len(message.payload)
    payload = bytes(len(message.payload)) if hidden else message.payload
    head = data[:start]
    masked = [(number, _masked(message, number, value)) for number, value in message.options]
    if masked != message.options:
        before = (frame_head(data) + 1 if is_stream(bearer) else 4) + len(message.token)
        options = coap.encode_options(masked)
        if message.payload:
            options += b"\xff"
        # Whoever writes options in more bytes than needed loses them here: the length has to stay.
        head = head[:before] + (options if len(options) == start - before else bytes(start - before))
    return head + payload


def option_text(message: coap.Message, number: int, value: bytes) -> str:
    """An option in words: its name, or its number, and what it says."""
    if message.code >> 5 == 7:
        return f"{number}: {value.hex()}"  # options of signals have names of their own (RFC 8323 §5.2)
    name = _OPTIONS.get(number, str(number))
    value = _masked(message, number, value)
    if number in (option.CONTENT_FORMAT, option.ACCEPT):
        code = option.decode_uint(value[:8])
        return f"{name}: {code} {_FORMATS.get(formats.canonical(code), '')}".rstrip()
    if number in (option.BLOCK1, option.BLOCK2):
        block = option.decode_uint(value[:8])
        return f"{name}: {block >> 4}/{block >> 3 & 1}/{1 << (block & 7) + 4}"
    if number in _NUMBERS:
        return f"{name}: {option.decode_uint(value[:8])}"
    rule = option.RULES.get(number)
    if rule is not None and rule.text:
        return f"{name}: {value[:1034].decode(errors='replace')}"
    return f"{name}: {value[:64].hex()}"


def _masked(message: coap.Message, number: int, value: bytes) -> bytes:
    """The option's value; stars where it is the location of a registration."""
    if number in (option.URI_PATH, option.LOCATION_PATH) and value != b"rd":
        segments = [one for other, one in message.options if other == number]
        if len(segments) > 1 and segments[0] == b"rd":
            return _MASK * len(value)
    return value


def _is_secret(path: Path) -> bool:
    return bool(path) and path[0] in SECRET_OBJECTS


def _plain(path: Path, model: Model, written: bool) -> bool:
    """Whether values at and below a path are no secrets.

    What is read is what the device gives away; of what is written somebody must have said so.
    """
    if not path or _is_secret(path):
        return False
    if path.level >= 3:
        resource = model.resource(path)
        return not written if resource is None else resource.operations != "W"
    definition = model.object(path[0])
    if definition is None:
        return not written
    return all(resource.operations != "W" for resource in definition.resources.values())


def _is_piece(message: coap.Message, *, request: bool) -> bool:
    block = option.find_uint(message.options, option.BLOCK1 if request else option.BLOCK2)
    return block is not None and block >= 8  # not both the first one and the last


def _told(prefix: str, reports: Iterable[Report], model: Model) -> list[str]:
    lines: list[str] = []
    for report in reports:
        if len(lines) == _MAX_LINES:
            lines.append("…")
            break
        resource = model.resource(report.path)
        value = report.value.hex() if isinstance(report.value, bytes) else str(report.value)
        if len(value) > _MAX_VALUE:
            value = f"{value[:_MAX_VALUE]}…"
        named = f" {resource.name}" if resource is not None else ""
        units = f" {resource.units}" if resource is not None and resource.units else ""
        lines.append(f"{prefix}{report.path}{named} = {value}{units}{_moment(report.at)}")
    return lines


def _moment(at: float | None) -> str:
    if at is None:
        return ""
    try:
        return f" at {datetime.fromtimestamp(at, UTC).isoformat(timespec='milliseconds')[:-6]}Z"
    except (OverflowError, ValueError, OSError):
        return f" at {at}"


def _readable(payload: bytes) -> str:
    """Bytes that are text, as text; "" for others."""
    try:
        text = payload[: MAX_TEXT + 4].decode()
    except UnicodeDecodeError as error:
        if error.start < MAX_TEXT:
            return ""
        text = payload[: error.start].decode()
    text = text[:MAX_TEXT]
    return text if all(letter.isprintable() or letter in "\r\n\t" for letter in text) else ""
