"""The files of the page: exactly those that lie in the web folder, with a strict content security policy."""

from __future__ import annotations

import gzip
import hashlib
import threading
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
_COMPRESSED: Final = frozenset({".html", ".js", ".mjs", ".css", ".json", ".webmanifest", ".svg", ".txt"})
_WORTH_BYTES: Final = 600

# No inline script or style, no foreign host, no frame around us. `data:` images are icons in style sheets.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class Page(NamedTuple):
    """A file ready to be sent."""

    stamp: tuple[int, int]
    content: bytes
    compressed: bytes | None
    etag: str
    content_type: str


class Pages:
    """Looks up and keeps the files; a file that changes on disk is read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder.resolve()
        self._lock = threading.Lock()
        self._pages: dict[str, Page] = {}

    def find(self, path: str) -> Page | None:
        """The file of a URL path as it was sent (``/`` is index.html), or None."""
        name = "index.html" if path == "/" else unquote(path, errors="replace")[1:]
        parts = name.split("/")
        if any(part.startswith(".") or not part or "\0" in part or "\\" in part for part in parts):
            return None
        file = self._folder.joinpath(*parts)
        content_type = TYPES.get(file.suffix)
        if content_type is None:
            return None
        try:
            # A link out of the folder is no file of the page.
            if not file.resolve().is_relative_to(self._root) or not file.is_file():
                return None
            state = file.stat()
            stamp = (state.st_mtime_ns, state.st_size)
            with self._lock:
                found = self._pages.get(name)
            if found is not None and found.stamp == stamp:
                return found
            content = file.read_bytes()
        except OSError:
            return None
        compressed = None
        if file.suffix in _COMPRESSED and len(content) > _WORTH_BYTES:
            compressed = gzip.compress(content, 9, mtime=0)
        etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
        page = Page(stamp, content, compressed, etag, content_type)
        with self._lock:
            self._pages[name] = page
        return page
