"""Stored files for devices: ``GET /files/<link>`` outside the API, open to whoever knows the link.

Parts may be asked for and gone on with later (RFC 9110 §13, §14). What is served was uploaded by somebody, so
a browser that gets it is told to run nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final
from urllib.parse import quote

import bottle

from appliance.northbound.errors import ApiError
from appliance.northbound.routes import Room

FILES: Final = "/files/"
_PIECE_BYTES: Final = 65536
_RANGE: Final = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*")


def find(room: Room, environ: Mapping[str, Any]) -> bottle.HTTPResponse:
    """The answer to a GET or HEAD below `FILES`. Raises ApiError "not_found", and "busy" when too many
    fetch files already.
    """
    content = room.files.by_link(environ["bottle.raw_path"][len(FILES) :])
    if content is None:
        raise ApiError("not_found", "there is nothing at this address")
    etag, size = f'"{content.etag.hex()}"', len(content.data)
    headers = [
        ("ETag", etag),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "private, no-cache"),
        ("Content-Security-Policy", "default-src 'none'; sandbox"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    known = [one.strip().removeprefix("W/") for one in environ.get("HTTP_IF_NONE_MATCH", "").split(",")]
    if etag in known or known == ["*"]:
        return bottle.HTTPResponse(b"", 304, headers)
    status, start, end = 200, 0, size
    if environ["REQUEST_METHOD"] == "GET" and environ.get("HTTP_IF_RANGE", etag) == etag:
        asked = _asked(environ.get("HTTP_RANGE", ""), size)
        if asked is not None:
            status, (start, end) = 206, asked
            if start >= end:
                headers += [("Content-Range", f"bytes */{size}"), ("Content-Length", "0")]
                return bottle.HTTPResponse(b"", "416 Range Not Satisfiable", headers)
            headers.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
    headers += [
        ("Content-Type", content.file.type),
        ("Content-Length", str(end - start)),
        ("Content-Disposition", f"attachment; filename*=UTF-8''{quote(content.file.name, safe='')}"),
    ]
    return bottle.HTTPResponse(
        _Pieces(room, environ["REMOTE_ADDR"], content.data[start:end]), status, headers
    )


def _asked(text: str, size: int) -> tuple[int, int] | None:
    """First and last byte + 1 of the one range asked for; None for none, several, or what is no range."""
    found = _RANGE.fullmatch(text)
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    start = int(found[1])
    if not found[2]:
        return start, size
    return (start, min(size, int(found[2]) + 1)) if int(found[2]) >= start else None


class _Pieces:
    """A file's bytes on their way; holds a place until they are sent."""

    def __init__(self, room: Room, address: str, data: memoryview) -> None:
        self._place = ExitStack()
        self._place.enter_context(room.transfers.one(address))
        self._data = data
        self._at = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = bytes(self._data[self._at : self._at + _PIECE_BYTES])
        if not piece:
            self.close()
            raise StopIteration
        self._at += len(piece)
        return piece

    def close(self) -> None:
        """Give the place free; may be called more than once."""
        self._place.close()
