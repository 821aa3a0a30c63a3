"""What a recorded message is about, in the words of LwM2M (OMA Core 1.2 §6, Transport 1.2 §6.4).

An answer says nothing about itself: its token leads to the request, so messages are looked at in their order
and what was asked is remembered. An observation outlives this memory and every restart, therefore its token
is also looked up among those of the device that sent it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol

from appliance.coap import message as coap
from appliance.coap import options as option
from appliance.lwm2m import content_format as formats
from appliance.lwm2m.codecs import CodecError, cbor, senml_json
from appliance.lwm2m.definitions import Model
from appliance.lwm2m.path import Path, PathError

_STREAMS: Final = frozenset({"TCP", "TLS"})
_REMEMBERED: Final = 8192  # of each kind; the oldest gives way
_SHOWN_PATHS: Final = 8  # of a composite, in its summary
_NAMES: Final = 200
_LONGEST_NAME: Final = 100
_SIGNALS: Final = {0xE1: "CSM", 0xE2: "Ping", 0xE3: "Pong", 0xE4: "Release", 0xE5: "Abort"}  # RFC 8323 §5

Carries = Literal["", "values", "written", "paths", "links", "text", "unknown"]


class Directory(Protocol):
    """What devices registered and what is observed at them. Asked in any thread."""

    def name(self, peer: Any) -> str:
        """Who is registered from there, "" when that is not known."""

    def model(self, endpoint_name: str) -> tuple[Model, str] | None:
        """Model and alternate path of a device."""

    def behind(self, endpoint_name: str) -> Mapping[str, Model]:
        """The models of the devices behind a gateway by their prefixes, without slashes."""

    def observed(self, endpoint_name: str, token: bytes) -> tuple[str, tuple[Path, ...]] | None:
        """Prefix and paths of the observation of that device with this token."""


class Subject(NamedTuple):
    """What an exchange is about. ``paths`` is None when it is about nothing with an LwM2M path.

    ``asks`` and ``answers`` are what the payloads of request and answer carry.
    """

    words: str
    target: str
    paths: tuple[Path, ...] | None
    prefix: str
    asks: Carries
    answers: Carries
    observes: bool = False


class Note(NamedTuple):
    """What was found out about one message."""

    endpoint_name: str
    code: str
    summary: str
    path: str
    subject: Subject | None
    carries: Carries


def is_stream(bearer: str) -> bool:
    """Whether messages of this bearer are frames of RFC 8323."""
    return bearer in _STREAMS


def parse(bearer: str, data: bytes) -> coap.Message | None:
    """The message in a datagram or frame, None when it is none."""
    try:
        if bearer not in _STREAMS:
            return coap.decode(data)
        return _parse_frame(data)
    except coap.MessageFormatError:
        return None


def frame_head(data: bytes) -> int:
    """Length of what stands before the code of a frame (RFC 8323 §3.2): 1 byte and up to 4 more."""
    return 1 + {13: 1, 14: 2, 15: 4}.get(data[0] >> 4, 0) if data else 1


def _parse_frame(data: bytes) -> coap.Message | None:
    start = frame_head(data)
    if len(data) <= start:
        return None
    code = data[start]
    # The rest is as in a datagram; signals have a class that datagrams may not have.
    stand_in = code if code >> 5 != 7 else coap.CONTENT
    head = bytes((0x40 | coap.NON << 4 | data[0] & 15, stand_in, 0, 0))
    message = coap.decode(head + data[start + 1 :])
    message.code = code
    return message


class Exchanges:
    """Gives each message its `Note`; to be shown them in their order. Bounded memory."""

    def __init__(self, directory: Directory, names: Mapping[Hashable, str]) -> None:
        self._directory = directory
        self._names = names
        self._ours: dict[tuple[bool, bytes], Subject] = {}  # the engines count their tokens each for itself
        self._theirs: dict[tuple[Hashable, bytes], Subject] = {}
        self._messages: dict[tuple[Hashable, int, bool], str] = {}
        self._notes: dict[Note, Note] = {}

    def note(self, incoming: bool, bearer: str, peer: Hashable, data: bytes) -> Note:
        """What this message is about. Never raises."""
        message = parse(bearer, data)
        # The registry knows better who speaks there: devices behind a gateway have its address, too.
        name = self._directory.name(peer) or self._names.get(peer, "")
        if message is None:
            return Note(name, "", "Not a CoAP message", "", None, "unknown")
        code = message.code
        if code >> 5 == 7:
            word = _SIGNALS.get(code, "Unknown signal")
            subject = Subject(word, "", None, "", "text", "text")  # an Abort says why
            return Note(name, f"{code >> 5}.{code & 31:02d} {word}", word, "", subject, "text")
        if code == coap.EMPTY:
            return self._empty(incoming, bearer, peer, message, name)
        if code >> 5 == 0:
            note = self._request(incoming, peer, message, name, is_stream(bearer))
        else:
            note = self._response(incoming, peer, message, name, is_stream(bearer))
        # A fleet says the same again and again: what was found out about it is kept once.
        if len(self._notes) >= _REMEMBERED:
            self._notes.clear()
        note = self._notes.setdefault(note, note)
        if not is_stream(bearer) and message.type in (coap.CON, coap.NON):
            _remember(self._messages, (peer, message.mid, incoming), note.summary)
        return note

    def _empty(self, incoming: bool, bearer: str, peer: Hashable, message: coap.Message, name: str) -> Note:
        what = self._messages.get((peer, message.mid, not incoming), "")
        words = {
            coap.CON: "Ping",
            coap.ACK: f"Receipt of {what}" if what else "Receipt",
            coap.RST: f"Reset of {what}" if what else "Reset",
        }
        summary = "Empty" if is_stream(bearer) else words.get(message.type, "Empty")
        return Note(name, "0.00 Empty", summary, "", None, "")

    def _request(
        self, incoming: bool, peer: Hashable, message: coap.Message, name: str, stream: bool
    ) -> Note:
        subject = _asked_of_us(message) if incoming else self._asked_by_us(message, name)
        if incoming:
            _remember(self._theirs, (peer, message.token), subject)
            name = name or _own_name(message)
        else:
            _remember(self._ours, (stream, message.token), subject)
        block = option.find_uint(message.options, option.BLOCK1) or option.find_uint(
            message.options, option.BLOCK2
        )
        summary = f"{subject.words} {subject.target}".rstrip() + _block_words(block)
        path = "" if subject.paths is None else subject.target.replace(" ", "")
        return Note(name, coap.code_text(message.code), summary, path, subject, subject.asks)

    def _response(
        self, incoming: bool, peer: Hashable, message: coap.Message, name: str, stream: bool
    ) -> Note:
        code = coap.code_text(message.code)
        token = message.token
        observing = option.find(message.options, option.OBSERVE) is not None
        subject = self._ours.get((stream, token)) if incoming else self._theirs.get((peer, token))
        words = ""
        if subject is None and incoming and name:
            found = self._directory.observed(name, token)
            if found is not None:
                prefix, paths = found
                target = _target(prefix, paths)
                subject = Subject("Notify", target, paths, prefix, "", "values", True)
                _remember(self._ours, (stream, token), subject)
        if subject is None:
            return Note(name, code, f"Answer to something unknown: {code}", "", None, "unknown")
        if subject.observes and observing:
            if subject.words == "Notify":
                words = f"Notify {subject.target}"
            else:
                # The first answer is that of the Observe; what follows are notifications.
                _remember(self._ours, (stream, token), subject._replace(words="Notify"))
        words = words or f"{subject.words} {subject.target}".rstrip()
        block = option.find_uint(message.options, option.BLOCK2)
        if block is None:
            block = option.find_uint(message.options, option.BLOCK1)
        path = "" if subject.paths is None else subject.target.replace(" ", "")
        carries: Carries = "text" if message.code >= coap.BAD_REQUEST else subject.answers
        return Note(name, code, f"{words}: {code}{_block_words(block)}", path, subject, carries)

    def _asked_by_us(self, message: coap.Message, name: str) -> Subject:
        """One of the server's operations (Transport §6.4.3), told by method, path and options."""
        options = message.options
        if message.code in (coap.FETCH, coap.PATCH, coap.IPATCH):
            return self._composite(message, name)
        if message.code == coap.POST and option.uri_path(options) == ["bs"]:
            return Subject("Bootstrap-Finish", "", None, "", "", "text")
        prefix, path = self._place(option.uri_path(options), name)
        if path is None:
            target = "/" + "/".join(option.uri_path(options))
            return Subject(_method(message.code), target, None, "", "unknown", "unknown")
        observe = option.observe(options)
        target = _target(prefix, (path,))
        paths = (path,)
        match message.code:
            case coap.GET if option.accept(options) == formats.LINK:
                return Subject("Discover", target, paths, prefix, "", "links")
            case coap.GET:
                return Subject(_reading(observe), target, paths, prefix, "", "values", observe == 0)
            case coap.PUT if not message.payload and option.find(options, option.URI_QUERY) is not None:
                return Subject("Write-Attributes", target, paths, prefix, "", "text")
            case coap.PUT:
                return Subject("Write", target, paths, prefix, "written", "text")
            case coap.DELETE:
                return Subject("Delete", target, paths, prefix, "", "text")
            case coap.POST if path.level == 1:
                return Subject("Create", target, paths, prefix, "written", "text")
            case coap.POST if path.level == 3 and option.content_format(options) in (None, formats.TEXT):
                return Subject("Execute", target, paths, prefix, "written", "text")
            case coap.POST:
                return Subject("Write", target, paths, prefix, "written", "text")
        return Subject(_method(message.code), target, paths, prefix, "written", "unknown")

    def _composite(self, message: coap.Message, name: str) -> Subject:
        """A composite names its paths in its body; one in blocks hardly does so that it could be read."""
        root = self._root(name)
        names = [one.removeprefix(root) for one in names_in(message)]
        shown = names[:_SHOWN_PATHS] + (["…"] if len(names) > _SHOWN_PATHS else [])
        target = ", ".join(shown) or "/"
        if message.code != coap.FETCH:
            return Subject("Write-Composite", target, (Path(),), "", "written", "text")
        observe = option.observe(message.options)
        words = f"{_reading(observe)}-Composite"
        return Subject(words, target, (Path(),), "", "paths", "values", observe == 0)

    def _root(self, name: str) -> str:
        known = self._directory.model(name) if name else None
        return known[1] if known is not None else ""

    def _place(self, segments: list[str], name: str) -> tuple[str, Path | None]:
        """Prefix and path in a Uri-Path; the alternate path of the device goes before both."""
        root = [part for part in self._root(name).split("/") if part]
        if root and segments[: len(root)] == root:
            segments = segments[len(root) :]
        prefix = ""
        if segments and not segments[0].isdigit():
            # A device behind a gateway; of a device we know nothing of, its alternate path.
            prefix, segments = f"/{segments[0]}", segments[1:]
        try:
            return prefix, Path.parse("/" + "/".join(segments))
        except PathError:
            return "", None


def _asked_of_us(message: coap.Message) -> Subject:
    """One of a device's operations (Transport §6.4.1, §6.4.2, §6.4.4)."""
    match message.code, option.uri_path(message.options):
        case coap.POST, ["rd"]:
            return Subject("Register", "", None, "", "links", "text")
        case coap.POST, ["rd", _]:
            return Subject("Update", "", None, "", "links", "text")
        case coap.DELETE, ["rd", _]:
            return Subject("Deregister", "", None, "", "", "text")
        case coap.POST, ["dp"]:
            return Subject("Send", "", (Path(),), "", "values", "text")
        case coap.POST, ["bs"]:
            return Subject("Bootstrap-Request", "", None, "", "text", "text")
        case coap.GET, ["bspack"]:
            return Subject("Bootstrap-Pack-Request", "", None, "", "unknown", "unknown")
        case coap.GET, [".well-known", "core"]:
            return Subject("Resource discovery", "", None, "", "unknown", "links")
        case coap.GET, ["f", _]:
            return Subject("Download of a file", "", None, "", "unknown", "unknown")
    target = "/" + "/".join(option.uri_path(message.options))
    return Subject(_method(message.code), target, None, "", "unknown", "text")


def names_in(message: coap.Message) -> list[str]:
    """The paths named in the body of a composite operation: names of a SenML pack; [] of anything else."""
    try:
        if option.content_format(message.options) in (formats.SENML_CBOR, formats.SENML_ETCH_CBOR):
            pack = cbor.loads(message.payload)
        else:
            pack = senml_json.loads(message.payload)
    except CodecError:
        return []
    names, base = [], ""
    for record in pack[:_NAMES] if isinstance(pack, list) else ():
        if isinstance(record, dict):
            base = str(record.get(-2, record.get("bn", base)))
            names.append((base + str(record.get(0, record.get("n", ""))))[:_LONGEST_NAME])
    return names


def _reading(observe: int | None) -> str:
    return "Read" if observe is None else "Cancel Observation" if observe else "Observe"


def _own_name(message: coap.Message) -> str:
    """The endpoint name a Register brings along."""
    for query in option.uri_query(message.options):
        if query.startswith("ep="):
            return query[3:]
    return ""


def _method(code: int) -> str:
    return coap.CODE_NAMES.get(code, f"{code >> 5}.{code & 31:02d}")


def _target(prefix: str, paths: tuple[Path, ...]) -> str:
    return ", ".join(prefix + str(path) if path else prefix or "/" for path in paths)


def _block_words(block: int | None) -> str:
    """The Block option of a transfer that has more than one (RFC 7959 §2.2)."""
    if block is None or block < 8:  # the first one and the last
        return ""
    return f", block {(block >> 4) + 1}" + ("" if block & 8 else ", the last")


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]
