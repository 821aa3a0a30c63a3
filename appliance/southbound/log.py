"""The protocol log: the newest CoAP messages of every bearer, in memory only.

The law of this file: `ProtocolLog.record` runs for every message of every device and only files the bytes
away; what they mean is worked out when somebody looks. And whatever leaves this file is redacted: pages,
text and packet capture alike. A payload that cannot be told apart from a secret stays hidden.

The ring is bounded in messages and in bytes, what is remembered about exchanges in entries, a page in size.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from appliance.lwm2m.definitions import Definitions
from appliance.southbound.log_exchange import Directory, Exchanges, Note, is_stream, parse
from appliance.southbound.log_payload import Payloads, option_text, redacted
from appliance.southbound.log_pcap import Capture

# Of the payload of one entry; a page as a whole ends early at _PAGE_BYTES.
MAX_HEX_BYTES: Final = 4096
MAX_PAGE: Final = 1000
_PAGE_CHARACTERS: Final = 1_000_000
_PIECE: Final = 200  # entries made into text or a capture at a time
# What a message takes beside its bytes: the row, its numbers, what was found out about it.
_ROW_BYTES: Final = 256
_MAX_NAMES: Final = 16384


class Raw(NamedTuple):
    """One message as it was recorded; ``at`` is epoch seconds."""

    seq: int
    at: float
    incoming: bool
    bearer: str
    peer: Any
    data: bytes


class Wanted(NamedTuple):
    """Which entries; "" is any. ``code`` begins or is the name of the code ("4", "2.05", "GET"), ``path`` an
    LwM2M path that is met or lies above, ``text`` stands anywhere in an entry, upper or lower case.
    """

    endpoint_name: str = ""
    direction: str = ""
    code: str = ""
    path: str = ""
    bearer: str = ""
    text: str = ""


ANY: Final[Mapping[str, str]] = {}


class ProtocolLog:
    """The log of all bearers. `record` and `name` are called in the event loop, the rest in any thread.
    What is ``wanted`` are members of `Wanted` by name.

    ``max_entries`` 0 keeps nothing. ``directory`` is asked for what devices registered, ``wall`` gives epoch
    seconds.
    """

    def __init__(
        self,
        max_entries: int,
        max_bytes: int,
        definitions: Definitions,
        directory: Directory,
        wall: Callable[[], float],
    ) -> None:
        self.head = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._wall = wall
        self._raw: deque[tuple[int, float, bool, str, Any, bytes]] = deque()
        self._bytes = 0
        self._names: dict[Hashable, str] = {}
        self._turn = threading.Lock()
        self._notes: dict[int, Note] = {}
        self._noted = 0  # up to here messages have been looked at
        self._forgotten = 1  # and up to here their notes are gone
        self._exchanges = Exchanges(directory, self._names)
        self._payloads = Payloads(definitions, directory)

    @property
    def enabled(self) -> bool:
        """Whether anything is kept."""
        return self._max_entries > 0 and self._max_bytes > 0

    @property
    def oldest(self) -> int:
        """The lowest number that is still there; the next one when there is none."""
        try:
            return self._raw[0][0]
        except IndexError:
            return self.head + 1

    # In the event loop

    def record(self, incoming: bool, bearer: str, peer: Hashable, data: bytes) -> None:
        """Keep one message: the CoAP datagram inside whatever secured it, or one frame of RFC 8323."""
        self.head = seq = self.head + 1
        raw = self._raw
        raw.append((seq, self._wall(), incoming, bearer, peer, data))
        self._bytes += len(data) + _ROW_BYTES
        if seq - raw[0][0] >= self._max_entries or self._bytes > self._max_bytes:
            self._trim()

    def name(self, peer: Hashable, endpoint_name: str) -> None:
        """Who speaks from there, from now on."""
        names = self._names
        names.pop(peer, None)
        names[peer] = endpoint_name
        if len(names) > _MAX_NAMES:
            del names[next(iter(names))]

    def _trim(self) -> None:
        raw = self._raw
        while raw and (len(raw) > self._max_entries or self._bytes > self._max_bytes):
            self._bytes -= len(raw.popleft()[5]) + _ROW_BYTES

    # In any thread

    def read(self, after: int, limit: int, wanted: Mapping[str, str] = ANY) -> dict[str, Any]:
        """A page of entries with a higher number than ``after``, oldest first.

        ``next`` is the ``after`` of the following page: as far as this one has looked.
        """
        asked = Wanted(**wanted)
        with self._turn:
            found: list[dict[str, Any]] = []
            size, reached = 0, after
            for raw in map(Raw._make, self._digested(after)):
                reached = raw.seq
                entry = self._entry(raw, asked)
                if entry is not None:
                    found.append(entry)
                    size += len(entry["payload_hex"]) + len(entry["payload_text"])
                    if len(found) >= limit or size > _PAGE_CHARACTERS:
                        break
            return self._page(found, reached)

    def read_last(self, limit: int, wanted: Mapping[str, str] = ANY) -> dict[str, Any]:
        """The newest entries, oldest first; after ``next`` come the ones that are not there yet."""
        asked = Wanted(**wanted)
        with self._turn:
            found: list[dict[str, Any]] = []
            size = 0
            raws = self._digested()
            for raw in map(Raw._make, reversed(raws)):
                entry = self._entry(raw, asked)
                if entry is not None:
                    found.append(entry)
                    size += len(entry["payload_hex"]) + len(entry["payload_text"])
                    if len(found) >= limit or size > _PAGE_CHARACTERS:
                        break
            return self._page(found[::-1], raws[-1][0] if raws else self.head)

    def text(self, wanted: Mapping[str, str] = ANY) -> Iterator[bytes]:
        """The log as lines for people: one per message, options and payload indented below."""
        asked = Wanted(**wanted)
        for piece in self._pieces():
            with self._turn:
                entries = [self._entry(raw, asked) for raw in piece]
            yield "".join(_lines(entry) for entry in entries if entry is not None).encode()

    def pcap(self, wanted: Mapping[str, str] = ANY) -> Iterator[bytes]:
        """The log as a packet capture (libpcap format, raw IP); what is around the messages is made up."""
        asked, capture = Wanted(**wanted), Capture()
        yield capture.head
        for piece in self._pieces():
            out = bytearray()
            for raw in piece:
                with self._turn:
                    entry = self._entry(raw, asked)
                if entry is not None:
                    message = parse(raw.bearer, raw.data)
                    data = redacted(raw.bearer, raw.data, message, entry["hidden"])
                    out += capture.packets(raw.at, raw.incoming, is_stream(raw.bearer), raw.peer, data)
            yield bytes(out)

    # Inside

    def _pieces(self) -> Iterator[list[Raw]]:
        with self._turn:
            raws = self._digested()
        for start in range(0, len(raws), _PIECE):
            yield [Raw(*one) for one in raws[start : start + _PIECE]]

    def _snapshot(self) -> list[tuple[int, float, bool, str, Any, bytes]]:
        while True:
            try:
                return list(self._raw)
            except RuntimeError:
                continue  # the loop filed a message meanwhile; hardly ever, as list() does not let it in

    def _digested(self, after: int = 0) -> list[tuple[int, float, bool, str, Any, bytes]]:
        """What is in the ring after a number, once all that is new has been looked at in its order: only what
        was asked gives an answer its meaning.
        """
        raws = self._snapshot()
        oldest = raws[0][0] if raws else self.head + 1
        if oldest > self._noted:
            self._notes.clear()
            self._forgotten = oldest
        while self._forgotten < oldest:
            self._notes.pop(self._forgotten, None)
            self._forgotten += 1
        for seq, _, incoming, bearer, peer, data in raws[max(0, self._noted + 1 - oldest) :]:
            self._notes[seq] = self._exchanges.note(incoming, bearer, peer, data)
            self._noted = seq
        return raws[max(0, after + 1 - oldest) :]

    def _page(self, entries: list[dict[str, Any]], reached: int) -> dict[str, Any]:
        return {"entries": entries, "next": reached, "head": self.head, "oldest": self.oldest}

    def _entry(self, raw: Raw, wanted: Wanted) -> dict[str, Any] | None:
        """An entry in the shape of the API, None when it is not wanted."""
        note = self._notes.get(raw.seq)
        if note is None or not _fits(raw, note, wanted):
            return None
        message = parse(raw.bearer, raw.data)
        entry: dict[str, Any] = {
            "seq": raw.seq,
            "at": _iso(raw.at),
            "direction": "in" if raw.incoming else "out",
            "bearer": raw.bearer,
            "peer": str(raw.peer),
            "endpoint_name": note.endpoint_name,
            "type": None,
            "code": note.code,
            "mid": None,
            "token": "",
            "path": note.path,
            "summary": note.summary,
            "options": [],
            "payload_bytes": max(0, len(raw.data) - 4),
            "payload_text": "",
            "payload_hex": "",
            "hidden": True,
        }
        if message is not None:
            shown = self._payloads.show(note, message, raw.incoming, raw.at)
            if not is_stream(raw.bearer):
                entry["type"] = ("CON", "NON", "ACK", "RST")[message.type]
                entry["mid"] = message.mid
            entry["token"] = message.token.hex()
            entry["options"] = [option_text(message, number, value) for number, value in message.options]
            entry["payload_bytes"] = len(message.payload)
            entry["hidden"] = shown.hidden
            entry["payload_text"] = shown.text
            if not shown.hidden:
                entry["payload_hex"] = message.payload[:MAX_HEX_BYTES].hex()
        if wanted.text and not _says(entry, wanted.text.casefold()):
            return None
        return entry


def _fits(raw: Raw, note: Note, wanted: Wanted) -> bool:
    if wanted.endpoint_name and note.endpoint_name != wanted.endpoint_name:
        return False
    if wanted.direction and (wanted.direction == "in") != raw.incoming:
        return False
    if wanted.bearer and raw.bearer != wanted.bearer:
        return False
    if wanted.code:
        dotted, _, name = note.code.casefold().partition(" ")
        code = wanted.code.casefold()
        if not dotted.startswith(code) and name != code:
            return False
    if wanted.path:
        path = wanted.path.rstrip("/")
        return any(one == path or one.startswith(f"{path}/") for one in note.path.split(","))
    return True


def _says(entry: dict[str, Any], text: str) -> bool:
    parts = ("summary", "endpoint_name", "peer", "code", "token", "payload_text")
    return any(text in str(entry[part]).casefold() for part in parts) or any(
        text in one.casefold() for one in entry["options"]
    )


def _lines(entry: dict[str, Any]) -> str:
    arrow = "<-" if entry["direction"] == "in" else "->"
    kind = "" if entry["type"] is None else f" {entry['type']} mid {entry['mid']}"
    token = f" token {entry['token']}" if entry["token"] else ""
    name = f" {entry['endpoint_name']}" if entry["endpoint_name"] else ""
    lines = [
        f"{entry['at']} {arrow} {entry['bearer']} {entry['peer']}{name}{kind}{token} {entry['code']}: "
        f"{entry['summary']}"
    ]
    lines += [f"    {one}" for one in entry["options"]]
    if entry["hidden"] and entry["payload_bytes"]:
        lines.append(f"    payload: {entry['payload_bytes']} bytes, hidden")
    elif entry["payload_bytes"]:
        lines.append(f"    payload: {entry['payload_bytes']} bytes {entry['payload_hex']}")
        lines += [f"        {line}" for line in entry["payload_text"].splitlines()]
    # Names and payloads are a device's own words: they must not pass for lines of ours.
    return "".join(f"{''.join(c if c.isprintable() else '�' for c in line)}\n" for line in lines)


def _iso(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return moment.removesuffix("+00:00") + "Z"
