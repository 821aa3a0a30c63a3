"""Stored files over HTTP: taken in piece by piece, listed, and fetched by devices, also in parts."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.northbound.listener import is_near
from tests.northbound.conftest import Browser, Reply, Stand
from tests.northbound.test_listener import answer, raw, until

Build = Callable[..., Stand]
CONTENT = bytes(range(256)) * 800  # 204,800 bytes


def upload(browser: Browser, content: bytes = CONTENT, name: str = "fw.bin", **headers: str) -> Reply:
    headers = {"Content-Type": "application/octet-stream", **headers}
    return browser.api("POST", f"/files?name={name}", content, headers=headers)


def fetch(here: Stand, link: str, method: str = "GET", **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Browser(here.port).send(method, f"/files/{link}", headers=sent)


@pytest.fixture
def stored(stand: Build) -> tuple[Stand, dict[str, Any]]:
    here = stand()
    return here, upload(here.browser("operate")).json


def test_a_file_is_taken_in_listed_and_removed(stand: Build) -> None:
    here = stand()
    browser = here.browser("operate")
    reply = upload(browser, name="meter%202.4.bin")
    assert reply.status == 201
    row = reply.json
    assert (row["id"], row["size_bytes"]) == (hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    assert (row["name"], row["damaged"]) == ("meter 2.4.bin", None)
    assert row["urls"] == [
        f"coap://127.0.0.1/f/{row['link']}",
        f"coap+tcp://127.0.0.1/f/{row['link']}",
        f"https://127.0.0.1:{here.port}/files/{row['link']}",
    ]
    page = browser.api("GET", "/files").json
    assert page["files"] == [row] == [browser.api("GET", f"/files/{row['id']}").json]
    assert (page["total_bytes"], page["max_total_bytes"]) == (len(CONTENT), 1 << 20)
    assert browser.api("DELETE", f"/files/{row['id']}").status == 204
    assert browser.api("GET", "/files").json["files"] == []
    assert fetch(here, row["link"]).status == 404
    assert browser.api("DELETE", f"/files/{row['id']}").status == 404


def test_links_are_for_those_who_operate(stored: tuple[Stand, dict[str, Any]]) -> None:
    here, row = stored
    (seen,) = here.browser("read").api("GET", "/files").json["files"]
    assert (seen["id"], seen["link"], seen["urls"]) == (row["id"], None, [])
    assert upload(here.browser("read")).status == 403


def test_urls_carry_the_name_by_which_the_appliance_was_called(stored: tuple[Stand, dict[str, Any]]) -> None:
    here, row = stored
    browser = here.browser("operate")
    for host, called in (("gateway.lan:8443", "gateway.lan"), ("[fd00::1]:8443", "[fd00::1]")):
        urls = browser.api("GET", f"/files/{row['id']}", headers={"Host": host}).json["urls"]
        assert urls == [
            f"coap://{called}/f/{row['link']}",
            f"coap+tcp://{called}/f/{row['link']}",
            f"https://{host}/files/{row['link']}",
        ]


@pytest.mark.parametrize(
    ("size", "status", "code"), [(600_000, 413, "too_large"), (500_000, 507, "storage_full")]
)
def test_what_does_not_fit_is_refused(stand: Build, size: int, status: int, code: str) -> None:
    here = stand()
    browser = here.browser("operate")
    for number in (1, 2):
        upload(browser, bytes((number,)) * 300_000)
    reply = upload(browser, b"x" * size)
    assert reply.status == status
    assert code == "too_large" or reply.code == code
    assert len(here.files.all()) == 2


def test_names_types_and_lengths_are_checked(stand: Build) -> None:
    here = stand()
    browser = here.browser("operate")
    assert upload(browser, name="a%2Fb").code == "invalid"
    assert upload(browser, **{"Content-Type": "no type"}).code == "invalid"
    assert upload(browser, b"").json["size_bytes"] == 0
    assert browser.api("POST", "/files", CONTENT).code == "invalid"
    assert upload(browser, **{"Content-Type": "text/html; charset=utf-8"}).json["type"] == "text/html"


def test_an_upload_that_breaks_off_leaves_nothing(stand: Build) -> None:
    here = stand()
    token = here.browser("operate").token
    with raw(here.port) as sock:
        sock.sendall(
            b"POST /api/v1/files?name=fw HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer " + token.encode() + b"\r\nContent-Length: 300000\r\n\r\n" + CONTENT
        )
    folder = here.web.parent / "files" / "content"
    until(lambda: list(folder.iterdir()) == [] and not here.northbound._room.transfers._held)
    assert here.files.all() == []


def test_an_upload_that_stalls_ends(stand: Build) -> None:
    here = stand(body_timeout_s=0.2)
    token = here.browser("operate").token
    head = (
        b"POST /api/v1/files?name=fw HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer " + token.encode() + b"\r\nContent-Length: 300000\r\n\r\nshort"
    )
    status, _, body = answer(here.port, head)
    assert status == 408 and b"request_timeout" in body


def test_uploads_are_bounded(stand: Build) -> None:
    here = stand(threads=8)
    browser = here.browser("operate")
    with here.northbound._room.transfers.one("127.0.0.1"), here.northbound._room.transfers.one("127.0.0.1"):
        assert upload(browser).code == "busy"
    assert upload(browser).status == 201


# The device's side


def test_a_device_fetches_by_link_and_by_nothing_else(stored: tuple[Stand, dict[str, Any]]) -> None:
    here, row = stored
    whole = fetch(here, row["link"])
    assert (whole.status, whole.data) == (200, CONTENT)
    assert whole.headers["ETag"] == f'"{row["id"][:16]}"'
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["Content-Length"] == str(len(CONTENT))
    assert whole.headers["Content-Disposition"] == "attachment; filename*=UTF-8''fw.bin"
    assert whole.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    for link in (row["id"], row["name"], "", "../app.js", row["link"] + "/", row["link"][:-1], "%00"):
        assert fetch(here, link).status == 404
    head = fetch(here, row["link"], "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(CONTENT)))
    assert not here.northbound._room.transfers._held


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=100-199", 206, 100, 200),
        ("bytes=204700-", 206, 204_700, 204_800),
        ("bytes=204700-999999", 206, 204_700, 204_800),
        ("bytes=-100", 206, 204_700, 204_800),
        ("bytes=-999999", 206, 0, 204_800),
        ("bytes=9-3", 200, 0, 204_800),
        ("bytes=0-1,5-6", 200, 0, 204_800),
        ("bytes=-", 200, 0, 204_800),
        ("lines=1-2", 200, 0, 204_800),
        ("bytes=1-9999999999999999999999", 200, 0, 204_800),
    ],
)
def test_parts(stored: tuple[Stand, dict[str, Any]], asked: str, status: int, start: int, end: int) -> None:
    """RFC 9110 §14.1.2, §14.2."""
    here, row = stored
    part = fetch(here, row["link"], Range=asked)
    assert (part.status, part.data) == (status, CONTENT[start:end])
    assert part.headers["Content-Range"] == (f"bytes {start}-{end - 1}/204800" if status == 206 else None)


@pytest.mark.parametrize("asked", ["bytes=204800-", "bytes=999999-1000000", "bytes=-0"])
def test_parts_that_are_not_there(stored: tuple[Stand, dict[str, Any]], asked: str) -> None:
    here, row = stored
    connection = Browser(here.port).connect()
    connection.request("GET", f"/files/{row['link']}", headers={"Range": asked})
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Range"]) == (416, "bytes */204800")
    assert response.read() == b""
    connection.close()


def test_conditions(stored: tuple[Stand, dict[str, Any]]) -> None:
    """RFC 9110 §13.1.2, §13.1.5."""
    here, row = stored
    etag = f'"{row["id"][:16]}"'
    for known in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        assert fetch(here, row["link"], If_None_Match=known).status == 304
    assert fetch(here, row["link"], If_None_Match='"x"').status == 200
    assert fetch(here, row["link"], Range="bytes=5-", If_Range=etag).status == 206
    assert fetch(here, row["link"], Range="bytes=5-", If_Range='"x"').data == CONTENT
    assert fetch(here, row["link"], Range="bytes=5-", If_Range=f"W/{etag}").data == CONTENT


def test_a_damaged_file_is_not_served(stored: tuple[Stand, dict[str, Any]]) -> None:
    here, row = stored
    (here.web.parent / "files" / "content" / row["id"]).write_bytes(b"x")
    here.files.verify()
    assert fetch(here, row["link"]).status == 404
    (seen,) = here.browser("read").api("GET", "/files").json["files"]
    assert seen["damaged"] == "its content is not what was stored"


def test_fetching_is_bounded(stored: tuple[Stand, dict[str, Any]]) -> None:
    here, row = stored
    with here.northbound._room.transfers.one("127.0.0.1"), here.northbound._room.transfers.one("127.0.0.1"):
        busy = fetch(here, row["link"])
    assert (busy.status, busy.headers["Retry-After"]) == (503, "1")


def test_curl_goes_on_with_a_broken_download(stored: tuple[Stand, dict[str, Any]], tmp_path: Path) -> None:
    here, row = stored
    file = tmp_path / "fw.bin"
    file.write_bytes(CONTENT[:70_000])
    url = f"https://localhost:{here.port}/files/{row['link']}"
    subprocess.run(
        ["curl", "--silent", "--fail", "--insecure", "--continue-at", "-", "--output", str(file), url],
        check=True,
        timeout=30,
    )
    assert file.read_bytes() == CONTENT


# Plain HTTP


def test_plain_http_for_the_local_network_only_where_it_is_set_and_only_for_files(stand: Build) -> None:
    here = stand(plain_files=True)
    row = upload(here.browser("operate")).json
    here.northbound._listener.is_local = lambda address: False  # type: ignore[union-attr]
    path = f"/files/{row['link']}".encode()
    close = b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    status, _, body = answer(here.port, b"GET " + path + close)
    assert (status, body) == (200, CONTENT)
    assert answer(here.port, b"GET /api/v1/files" + close)[0] == 308
    assert answer(here.port, b"GET /" + close)[0] == 308
    assert answer(here.port, b"GET /files/../api/v1/setup" + close)[0] == 404
    assert answer(here.port, b"POST " + path + close)[0] == 403


def test_without_the_setting_files_go_over_tls_too(stand: Build) -> None:
    here = stand()
    row = upload(here.browser("operate")).json
    here.northbound._listener.is_local = lambda address: False  # type: ignore[union-attr]
    request = f"GET /files/{row['link']} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
    status, headers, _ = answer(here.port, request.encode())
    assert (status, headers["Location"]) == (308, f"https://gw/files/{row['link']}")


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("192.168.1.7", True),
        ("::ffff:10.1.2.3", True),
        ("fe80::1%eth0", True),
        ("fd00::7", True),
        ("8.8.8.8", False),
        ("2a00::1", False),
        ("nonsense", False),
    ],
)
def test_what_the_local_network_is(address: str, near: bool) -> None:
    assert is_near(address) is near
