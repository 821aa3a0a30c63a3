"""The audit log: who changed what in the vault, in a chain that shows every later edit.

One line of JSON per entry, each with the SHA-256 of the line before it. The newest number and hash are also
kept sealed in the vault's documents, so that a cut end shows as well. A restored older copy of the whole
data folder cannot be told from the folder as it was then.

Entries say who, what and about which device; a secret is never among them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from appliance.storage.database_file import sync_folder

FILE: Final = "audit.log"
_BLOCK: Final = 65536
_NO_HASH: Final = "0" * 64
_MAX_WORDS: Final = 600


class Entry(NamedTuple):
    """One entry; ``at`` is seconds since the epoch, ``about`` an endpoint name, an account or ""."""

    seq: int
    at: float
    by: str
    what: str
    about: str


class Head(NamedTuple):
    """The newest entry: its number, the hash of its line; (0, zeros) when there is none."""

    seq: int
    sha256: str


NO_HEAD: Final = Head(0, _NO_HASH)


def chain(head: Head, entries: Sequence[tuple[float, str, str, str]]) -> tuple[list[str], Head]:
    """The lines of new entries (at, by, what, about) behind ``head``, and the head after them."""
    lines = []
    for at, by, what, about in entries:
        line = json.dumps(
            {
                "seq": head.seq + 1,
                "at": round(at, 3),
                "by": _words(by),
                "what": _words(what),
                "about": _words(about),
                "prev": head.sha256,
            },
            ensure_ascii=True,
            separators=(",", ":"),
        )
        lines.append(line)
        head = Head(head.seq + 1, _hash(line.encode()))
    return lines, head


def append(path: Path, lines: Sequence[str], *, healing: bool) -> bool:
    """Put lines at the end of the log, unless they are there already, and sync it.

    A line that a power cut tore is completed. False when the end of the log is not what these lines follow:
    somebody changed it. Then the lines are written all the same, and the change stays visible before them,
    but not when ``healing``, which is to repair what a power cut did and nothing else. Raises OSError.
    """
    wanted = "".join(line + "\n" for line in lines).encode()
    made = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        start = max(0, size - len(wanted) - _BLOCK)
        end = os.pread(descriptor, size - start, start)
        there = _overlap(end, wanted, start == 0)
        follows = there is not None and (there > 0 or _follows(end, lines[0], start == 0))
        if not follows:
            if healing:
                return False
            wanted, there = (b"" if end.endswith(b"\n") else b"\n") + wanted if end else wanted, 0
        left = memoryview(wanted)[there:]
        while left:
            written = os.pwrite(descriptor, left, size)
            size, left = size + written, left[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if made:
        sync_folder(path.parent)
    return follows


def read(path: Path, before: int | None = None, limit: int = 100) -> list[Entry]:
    """The newest entries with a number below ``before``, newest first, without lines that cannot be read."""
    found: list[Entry] = []
    for line in _backwards(path):
        entry = _entry(line)
        if entry is not None and (before is None or entry[0].seq < before):
            found.append(entry[0])
            if len(found) >= limit:
                break
    return found


def verify(path: Path, head: Head, pending: Sequence[str] = ()) -> list[str]:
    """What is wrong with the log, a sentence each, at most a few; empty when it is as it was written.

    ``pending`` are lines that the vault has still to append after a power cut.
    """
    problems: list[str] = []
    last = NO_HEAD
    try:
        with path.open("rb") as file:
            for line in file:
                problem, last = _step(line, last, head, pending)
                if problem:
                    problems.append(problem)
                    if len(problems) >= 5:
                        break
    except FileNotFoundError:
        pass
    if not problems and last != head:
        waiting = [_entry(line.encode()) for line in pending]
        if not (waiting and waiting[0] is not None and last == (waiting[0][0].seq - 1, waiting[0][1])):
            problems.append(_wrong_end(last, head))
    return problems


def _step(line: bytes, last: Head, head: Head, pending: Sequence[str]) -> tuple[str, Head]:
    if not line.endswith(b"\n") and any(one.encode().startswith(line) for one in pending):
        return "", last  # torn by a power cut; the vault completes it at its next start
    found = _entry(line)
    if found is None:
        return f"audit log: the line after entry {last.seq} is no entry", last
    entry, previous = found
    here = Head(entry.seq, _hash(line.rstrip(b"\n")))
    if entry.seq != last.seq + 1:
        return (
            f"audit log: entry {entry.seq} stands after entry {last.seq}: entries were removed or moved",
            here,
        )
    if previous != last.sha256:
        return f"audit log: entry {last.seq} was changed after it was written", here
    if entry.seq == head.seq and here != head:
        return f"audit log: entry {entry.seq} was changed after it was written", here
    return "", here


def _wrong_end(last: Head, head: Head) -> str:
    if last.seq < head.seq:
        return f"audit log: it ends at entry {last.seq}, but {head.seq} were written: its end was removed"
    return (
        f"audit log: the vault wrote {head.seq} entries, but it has {last.seq}: entries were added by "
        "somebody else, or a document of the vault is an older version"
    )


def _overlap(end: bytes, wanted: bytes, whole: bool) -> int | None:
    """How many bytes of ``wanted`` the log ends with already; None when its end contradicts them.

    ``end`` is the end of the log, ``whole`` whether it is all of it.
    """
    first = wanted[: wanted.index(b"\n")]
    at = end.rfind(first)
    while at > 0 and end[at - 1 : at] != b"\n":
        at = end.rfind(first, 0, at)
    if at >= 0 and (at > 0 or whole):
        there = end[at:]
        return len(there) if wanted.startswith(there) else None
    torn = end[end.rfind(b"\n") + 1 :]
    if not torn:
        return 0
    return len(torn) if first.startswith(torn) else None


def _follows(end: bytes, line: str, whole: bool) -> bool:
    """Whether a line is the one after the last of the log. ``end`` is the end of the log, as above."""
    found = _entry(line.encode())
    last = end.rstrip(b"\n").rpartition(b"\n")[2]
    if not last:
        return whole and found is not None and found[1] == _NO_HASH
    return found is not None and found[1] == _hash(last)


def _backwards(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            at = file.seek(0, os.SEEK_END)
            rest = b""
            while at > 0:
                size = min(_BLOCK, at)
                at -= size
                file.seek(at)
                lines = (file.read(size) + rest).split(b"\n")
                rest = lines[0]
                yield from reversed(lines[1:])
            if rest:
                yield rest
    except FileNotFoundError:
        return


def _entry(line: bytes) -> tuple[Entry, str] | None:
    try:
        read = json.loads(line)
        entry = Entry(
            int(read["seq"]), float(read["at"]), str(read["by"]), str(read["what"]), str(read["about"])
        )
        return entry, str(read["prev"])
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None


def _words(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_MAX_WORDS]


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
