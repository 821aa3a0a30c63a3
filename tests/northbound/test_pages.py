"""The files of the page: those in the folder and no others."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable

import pytest

from tests.northbound.conftest import INDEX, Browser, Stand

Build = Callable[..., Stand]


def test_files_have_their_type_and_the_policy(stand: Build) -> None:
    stranger = Browser(stand().port)
    for path, kind in (
        ("/", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/small.css?v=1", "text/css; charset=utf-8"),
    ):
        reply = stranger.send("GET", path)
        assert (reply.status, reply.headers["Content-Type"]) == (200, kind)
        policy = reply.headers["Content-Security-Policy"]
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy and "http" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/x/../../secret.txt",
        "/%2fetc/passwd",
        "/link.txt",
        "/.hidden.html",
        "/notes.md",
        "/index.html/",
        "/index.html%00.js",
        "/..%5csecret.txt",
        "/sub",
        "/sub/",
        "/nothing.js",
        "/%FF.js",
        "/app.js/x.js",
    ],
)
def test_nothing_else_is_served(stand: Build, path: str) -> None:
    here = stand()
    (here.web / "link.txt").symlink_to(here.web.parent / "secret.txt")
    (here.web / "sub").mkdir()
    reply = Browser(here.port).send("GET", path)
    assert (reply.status, reply.code) == (404, "not_found")


def test_an_address_with_two_slashes_is_no_request(stand: Build) -> None:
    assert Browser(stand().port).send("GET", "//etc/passwd").code == "invalid"


def test_a_page_that_is_known_is_not_sent_again(stand: Build) -> None:
    here = stand()
    stranger = Browser(here.port)
    etag = stranger.send("GET", "/").headers["ETag"]
    again = stranger.send("GET", "/", headers={"If-None-Match": etag})
    assert (again.status, again.data) == (304, b"")
    (here.web / "index.html").write_text("changed")
    os.utime(here.web / "index.html", (1, 1))
    changed = stranger.send("GET", "/", headers={"If-None-Match": etag})
    assert (changed.status, changed.data) == (200, b"changed")


def test_text_is_compressed_for_who_takes_it(stand: Build) -> None:
    stranger = Browser(stand().port)
    reply = stranger.send("GET", "/", headers={"Accept-Encoding": "br, gzip;q=0.8"})
    assert reply.headers["Content-Encoding"] == "gzip" and reply.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(reply.data).decode() == INDEX and len(reply.data) < len(INDEX)
    for accepted in ("gzip;q=0", "identity", ""):
        plain = stranger.send("GET", "/", headers={"Accept-Encoding": accepted})
        assert "Content-Encoding" not in plain.headers and plain.data.decode() == INDEX


def test_head_and_other_verbs(stand: Build) -> None:
    stranger = Browser(stand().port)
    head = stranger.send("HEAD", "/")
    assert head.status == 200 and head.headers["Content-Length"] == str(len(INDEX))
    assert stranger.send("POST", "/").status == 405
    assert stranger.send("PUT", "/app.js", b"x").status == 405
