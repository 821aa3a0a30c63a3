"""One port for TLS and plain HTTP, and clients that are silent, slow, broken or too many."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from appliance.northbound.listener import is_loopback, plain_address
from tests.northbound.conftest import Browser, Stand, authority, trusting

Build = Callable[..., Stand]


@contextmanager
def raw(port: int, source: str = "127.0.0.1", timeout_s: float = 20) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout_s, source_address=(source, 0)) as sock:
        yield sock


def everything(sock: socket.socket) -> bytes:
    found = b""
    while data := sock.recv(65536):
        found += data
    return found


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait for something that another thread does and says to nobody."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


def answer(port: int, request: bytes, source: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    """Over plain HTTP, byte by byte as given; until the server closes."""
    with raw(port, source) as sock:
        sock.sendall(request)
        head, _, body = everything(sock).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


CLOSE = b"Host: localhost\r\nConnection: close\r\n\r\n"


# TLS and plain on one port


def test_tls_and_plain_on_one_port(stand: Build) -> None:
    here = stand()
    assert Browser(here.port).api("GET", "/setup").status == 200
    assert Browser(here.port, tls=False).api("GET", "/setup").status == 200


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_as_a_stranger(stand: Build, version: str, tmp_path: Path) -> None:
    here = stand()
    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(authority(here.state).certificate_pem)
    done = subprocess.run(
        [
            *("openssl", "s_client", "-quiet", version, "-alpn", "http/1.1"),
            *("-CAfile", str(trusted), "-verify_return_error"),
            *("-verify_hostname", "localhost", "-connect", f"127.0.0.1:{here.port}"),
        ],
        input=b"GET /api/v1/setup HTTP/1.1\r\n" + CLOSE,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert b'{"needed":false}' in done.stdout, done.stderr
    assert b"unexpected eof" not in done.stderr


def test_old_tls_is_refused(stand: Build) -> None:
    here = stand()
    done = subprocess.run(
        [
            "openssl",
            "s_client",
            "-tls1_1",
            "-cipher",
            "ALL:@SECLEVEL=0",
            "-connect",
            f"127.0.0.1:{here.port}",
        ],
        input=b"",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0


def test_plain_http_from_elsewhere_is_sent_to_https(stand: Build) -> None:
    here = stand()
    here.northbound._listener.is_local = lambda address: address != "127.0.0.9"  # type: ignore[union-attr]
    for method in (b"GET", b"HEAD"):
        status, headers, _ = answer(
            here.port, method + b" /a?b=c HTTP/1.1\r\nHost: edge.local:8443\r\n\r\n", "127.0.0.9"
        )
        assert (status, headers["Location"]) == (308, "https://edge.local:8443/a?b=c")
    post = b"POST /api/v1/session HTTP/1.1\r\nHost: edge.local\r\nContent-Length: 0\r\n\r\n"
    status, _, body = answer(here.port, post, "127.0.0.9")
    assert status == 403 and json.loads(body)["error"]["code"] == "plain_http"
    for host in (b"", b"evil.example/@", b"a b", b"x" * 5 + b":999999"):
        get = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        assert answer(here.port, get, "127.0.0.9")[0] == 400
    assert Browser(here.port, tls=True, source="127.0.0.9").api("GET", "/setup").status == 200


def test_without_tls_only_this_machine_is_served(stand: Build) -> None:
    here = stand(tls=False)
    assert Browser(here.port, tls=False).api("GET", "/setup").status == 200
    with pytest.raises(OSError):
        Browser(here.port).api("GET", "/setup")
    here.northbound._listener.is_local = lambda address: False  # type: ignore[union-attr]
    assert answer(here.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 403
    assert here.northbound.fingerprint == ""


def test_a_name_that_was_made_to_point_here_is_refused(stand: Build) -> None:
    """DNS rebinding: the browser believes it talks to a host of the attacker."""
    here = stand()
    status, _, body = answer(here.port, b"GET /api/v1/setup HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert status == 421 and json.loads(body)["error"]["code"] == "misdirected"
    for host in (b"localhost", b"LOCALHOST:1", b"127.0.0.1", b"127.8.9.1:8443", b"[::1]:8443"):
        get = b"GET /api/v1/setup HTTP/1.1\r\nConnection: close\r\nHost: " + host + b"\r\n\r\n"
        assert answer(here.port, get)[0] == 200, host


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
        ("", False),
    ],
)
def test_who_is_this_machine(address: str, local: bool) -> None:
    assert is_loopback(address) == local
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1" and plain_address("fe80::1%eth0") == "fe80::1"


# Connections


def test_a_connection_is_kept_over_requests(stand: Build) -> None:
    here = stand()
    for tls in (True, False):
        browser = Browser(here.port, tls=tls)
        browser.log_in()
        connection = browser.connect()
        connection.connect()
        used = connection.sock
        for path in ("/api/v1/devices", "/api/v1/nothing", "/", "/api/v1/setup"):
            for method in ("GET", "HEAD"):
                browser.send(method, path, connection=connection)
                assert connection.sock is used
        body = {"operation": "Read", "path": "nonsense"}
        assert browser.api("POST", "/devices/kitchen/operations", body, connection=connection).status == 400
        assert connection.sock is used
        connection.close()


def test_requests_in_one_segment_are_all_answered(stand: Build) -> None:
    """Pipelined (RFC 9112 §9.3.2); over TLS they sit decrypted where no selector sees them."""
    here = stand()
    requests = b"GET /api/v1/setup HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5
    last = b"GET /api/v1/setup HTTP/1.1\r\n" + CLOSE
    with raw(here.port) as plain:
        plain.sendall(requests + last)
        assert everything(plain).count(b'{"needed":false}') == 6
    with raw(here.port) as sock, trusting().wrap_socket(sock) as secure:
        secure.sendall(requests + last)
        assert everything(secure).count(b'{"needed":false}') == 6
    with raw(here.port) as sock, trusting().wrap_socket(sock) as secure:
        padding = b"X-Padding: " + b"x" * 9000 + b"\r\n"
        secure.sendall(b"GET /api/v1/setup HTTP/1.1\r\n" + padding + b"Host: localhost\r\n\r\n" + last)
        assert everything(secure).count(b'{"needed":false}') == 2


def test_http_1_0_closes_unless_asked(stand: Build) -> None:
    here = stand()
    assert answer(here.port, b"GET /api/v1/setup HTTP/1.0\r\n\r\n")[0] == 200


def test_silent_and_slow_clients_take_no_threads(stand: Build) -> None:
    """Forty silent, forty in the middle of a handshake or a request: others are answered at once."""
    here = stand(max_connections=200, request_timeout_s=60.0)
    with ExitStack() as stack:
        for number in range(40):
            stack.enter_context(raw(here.port, "127.0.0.2"))
            slow = stack.enter_context(raw(here.port, "127.0.0.3"))
            slow.sendall(b"\x16\x03\x01" if number % 2 else b"GET / HT")
        browser = Browser(here.port)
        for _ in range(10):
            began = time.monotonic()
            assert browser.api("GET", "/setup").status == 200
            assert time.monotonic() - began < 5


def test_a_request_that_does_not_end_is_ended(stand: Build) -> None:
    here = stand(request_timeout_s=0.3, body_timeout_s=0.3)
    with raw(here.port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert b"408" in everything(sock).split(b"\r\n")[0]
    with raw(here.port) as sock:
        sock.sendall(b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n")
        sock.sendall(b"Content-Type: application/json\r\n\r\n{")
        assert everything(sock).split(b"\r\n")[0].split()[1] == b"408"
    with raw(here.port) as sock:
        sock.sendall(b"\x16")
        assert everything(sock) == b""


def test_a_client_that_drips_is_ended_too(stand: Build) -> None:
    """Each byte in time, the whole never: the deadline is one for the whole."""
    here = stand(request_timeout_s=0.5)
    with raw(here.port) as sock:
        sock.settimeout(0.02)
        began, found = time.monotonic(), b""
        while time.monotonic() - began < 20:
            try:
                sock.sendall(b"G")
                data = sock.recv(1000)
            except TimeoutError:
                continue
            except OSError:
                break
            found += data
            if not data:
                break
        assert time.monotonic() - began < 10
        assert b"408" in found


def test_idle_connections_end(stand: Build) -> None:
    here = stand(idle_timeout_s=1.0)
    with raw(here.port) as silent:
        assert everything(silent) == b""
    until(lambda: not here.northbound._listener._open)  # type: ignore[union-attr]


def test_beyond_the_bound_the_longest_idle_makes_room(stand: Build) -> None:
    here = stand(max_connections=16)
    with ExitStack() as stack:
        silent = [stack.enter_context(raw(here.port, "127.0.0.2")) for _ in range(40)]
        assert Browser(here.port).api("GET", "/setup").status == 200
        assert silent[0].recv(1) == b""
        listener = here.northbound._listener
        assert listener is not None and len(listener._open) <= 17
        silent[-1].sendall(b"GET /api/v1/setup HTTP/1.1\r\n" + CLOSE)
        assert b"needed" in everything(silent[-1])


def test_one_address_does_not_get_every_thread(stand: Build) -> None:
    """Half of the eight for one address; what it asks beyond waits, and others do not."""
    here = stand()
    listener = here.northbound._listener
    assert listener is not None
    release = threading.Event()
    inside = threading.Semaphore(0)
    original = here.identity.list_accounts

    def held() -> list[object]:
        inside.release()
        assert release.wait(30)
        return list(original())

    here.identity.list_accounts = held  # type: ignore[method-assign, assignment]
    greedy = here.browser("admin", source="127.0.0.2")
    replies: list[int] = []
    threads = [
        threading.Thread(target=lambda: replies.append(greedy.api("GET", "/accounts").status))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for _ in range(4):
        assert inside.acquire(timeout=20)
    until(lambda: sum(len(line) for line in listener._waiting.values()) == 6)
    assert not inside.acquire(blocking=False)
    assert Browser(here.port).api("GET", "/setup").status == 200
    release.set()
    for thread in threads:
        thread.join(30)
    assert replies == [200] * 10
    until(lambda: not listener._busy and not listener._waiting and not listener._counted)


def test_operations_never_take_every_thread(stand: Build) -> None:
    import asyncio

    here = stand()
    here.devices.hold = here.in_loop(asyncio.Event)
    browser, body = here.browser("operate"), {"operation": "Read", "path": "/3"}
    statuses: list[int] = []
    sources = [f"127.0.0.{number}" for number in (2, 2, 2, 3, 3, 3)]
    threads = [
        threading.Thread(
            target=lambda source=source: statuses.append(  # type: ignore[misc]
                Browser(here.port, token=browser.token, source=source)
                .api("POST", "/devices/kitchen/operations", body)
                .status
            )
        )
        for source in sources
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(here.devices.asked) == 6)
    refused = Browser(here.port, token=browser.token, source="127.0.0.4").api(
        "POST", "/devices/kitchen/operations", body
    )
    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "busy", "1")
    assert Browser(here.port, token=browser.token).api("GET", "/devices").status == 200
    here.in_loop(here.devices.hold.set)
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 6


# Bytes that are no request


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"FOO\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 413),
    ],
)
def test_requests_that_are_none(stand: Build, request_bytes: bytes, status: int) -> None:
    found, headers, body = answer(stand().port, request_bytes)
    assert found == status
    error = json.loads(body)["error"]
    assert error["code"] and error["message"] and "next_step" in error
    assert "Server" not in headers and headers["Content-Type"] == "application/json"


def test_a_client_that_is_still_sending_gets_the_refusal(stand: Build) -> None:
    """Not a reset: it would take the answer away (RFC 9112 §9.6)."""
    browser = stand().browser("admin")
    for _ in range(5):
        reply = browser.api("POST", "/models", b"x" * 1_500_000, headers={"Content-Type": "application/xml"})
        assert (reply.status, reply.code) == (413, "too_large")


def test_headers_that_wsgi_would_mix_up_are_dropped(stand: Build) -> None:
    here = stand()
    token = here.identity.create_token("x", ["read"]).encode()
    request = b"GET /api/v1/devices HTTP/1.1\r\nHTTP_AUTHORIZATION: x\r\nX_Y: 1\r\nAuthorization: Bearer "
    assert answer(here.port, request + token + b"\r\n" + CLOSE)[0] == 200


def test_random_bytes_do_no_harm(stand: Build) -> None:
    import random

    here = stand(request_timeout_s=0.5)
    draw = random.Random(7)
    for number in range(150):
        with raw(here.port, "127.0.0.2") as sock:
            first = b"\x16\x03\x01" if number % 2 else b"GET "
            sock.sendall(first + draw.randbytes(draw.randrange(1, 300)))
            if number % 3:
                with contextlib.suppress(OSError):  # the listener may have ended it already
                    sock.shutdown(socket.SHUT_WR)
    assert Browser(here.port).api("GET", "/setup").status == 200
    listener = here.northbound._listener
    assert listener is not None
    until(lambda: not listener._busy and not listener._open)


# Start and stop


def test_a_port_that_is_taken_is_said_at_start(stand: Build) -> None:
    here = stand()
    with pytest.raises(OSError, match="Address already in use"):
        stand(port=here.port)


def test_stop_sends_waiting_requests_away(stand: Build) -> None:
    import asyncio

    here = stand()
    here.devices.hold = here.in_loop(asyncio.Event)
    browser = here.browser("operate")
    replies: list[int] = []
    thread = threading.Thread(
        target=lambda: replies.append(
            browser.api("POST", "/devices/kitchen/operations", {"operation": "Read", "path": "/3"}).status
        )
    )
    thread.start()
    until(lambda: len(here.devices.asked) == 1)
    began = time.monotonic()
    here.northbound.stop()
    thread.join(20)
    assert replies == [503] and time.monotonic() - began < 5
    with pytest.raises(OSError), raw(here.port or 1):
        pass


def test_the_page_is_served_over_ipv6_and_ipv4_by_one_socket(stand: Build) -> None:
    here = stand(bind="::")
    assert Browser(here.port, tls=False).api("GET", "/setup").status == 200
    if here.northbound._listener.bind_addr[0] == "::":  # type: ignore[union-attr]
        with socket.create_connection(("::1", here.port), 20) as sock:
            sock.sendall(b"GET /api/v1/setup HTTP/1.1\r\n" + CLOSE)
            assert b'{"needed":false}' in everything(sock)


def test_a_handshake_that_fails_leaves_nothing(stand: Build, tmp_path: Path) -> None:
    here = stand()
    for _ in range(20):
        with raw(here.port) as sock, pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
    listener = here.northbound._listener
    assert listener is not None
    until(lambda: not listener._open)
