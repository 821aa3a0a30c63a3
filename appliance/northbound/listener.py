"""The sockets: cheroot's WSGI server with TLS and plain HTTP on one port, made patient with nobody.

What differs from cheroot as it comes:

- A new connection waits for its first byte in the selector, like a kept-alive one, not in a thread.
- That byte decides: 22 is a TLS handshake (RFC 8446 §5.1), anything else plain HTTP. The handshake runs in a
  worker, under a deadline, and so do head and body of a request as wholes: a client that sends a byte now
  and then does not hold a thread.
- Plain HTTP is answered to this machine only; others are sent to https, or refused. Where the settings say
  so, devices of the local network get stored files by it.
- One address gets at most half of the threads; what comes beyond waits until one of its own is done.
- Event streams have threads of their own, as many as there may be streams.
- Errors of the server itself have the shape of all others, and no answer names the server.

Longer than 400 lines: cheroot's connection, request, gateway and server are one machine in four classes.
The version of cheroot is pinned, because some of the methods overridden here are not public.
"""

from __future__ import annotations

import _pyio  # type: ignore[import-not-found]
import email.utils
import ipaddress
import logging
import re
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Literal

from cheroot import makefile, server, wsgi

from appliance.northbound.body import json_bytes
from appliance.northbound.certificate import Certificate
from appliance.northbound.errors import REASON, error_body
from appliance.northbound.settings import HttpSettings

log = logging.getLogger(__name__)

CONNECTION: Final = "homard.connection"
TLS_HANDSHAKE: Final = b"\x16"
BACKLOG: Final = 128
# Connections of one address that wait for its share of the threads; more are closed.
MAX_WAITING: Final = 32
# A body that nobody read is read away up to here, so that the connection can be kept.
DRAIN_BYTES: Final = 65536
# How long, and for how much, a connection that was refused is read on (RFC 9112 §9.6).
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 4 * 1024 * 1024
SHUTDOWN_S: Final = 5
USER_TIMEOUT_MS: Final = 30_000
_HOST: Final = re.compile(r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LOCAL_HOST: Final = re.compile(
    r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE
)
_CODES: Final = {
    405: "method_not_allowed",
    408: "request_timeout",
    411: "length_required",
    413: "too_large",
    414: "too_large",
    503: "busy",
}


class _TimedIO(socket.SocketIO):
    """A socket as a raw file whose reads end at the connection's deadline."""

    def __init__(self, sock: socket.socket, mode: Literal["r", "w"], connection: Connection) -> None:
        super().__init__(sock, mode)
        self._timed = sock
        self._connection = connection

    def readinto(self, buffer: Any) -> int | None:
        try:
            self._timed.settimeout(self._connection.left())
            return super().readinto(buffer)
        except TimeoutError:
            self._connection.overdue = True
            raise

    def write(self, data: Any) -> int | None:
        self._timed.settimeout(self._connection.server.http.send_timeout_s)
        return super().write(data)


class _Reader(makefile.StreamReader):
    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        _pyio.BufferedReader.__init__(self, _TimedIO(sock, "r", connection), 8192)
        self.bytes_read = 0
        self._sock = sock

    def has_data(self) -> bool:
        """Also counts what TLS has decrypted and nobody has read: no selector would report it."""
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0:
            return True
        return bool(super().has_data())  # type: ignore[no-untyped-call]


class _Writer(makefile.StreamWriter):
    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        _pyio.BufferedWriter.__init__(self, _TimedIO(sock, "w", connection), 8192)
        self.bytes_written = 0


class _Headers(server.HeaderReader):
    """Refuses what two readers could understand in two ways (RFC 9112 §6.3, §5.2)."""

    def __call__(self, rfile: Any, hdict: Any = None) -> Any:
        lines = _Lines(rfile)
        found = super().__call__(lines, hdict)
        if lines.ambiguous:
            raise ValueError(lines.ambiguous)
        return found

    def _allow_header(self, key_name: bytes) -> bool:
        # WSGI could not tell X_Y from X-Y.
        return b"_" not in key_name


class _Lines:
    """Header lines on their way to the reader, looked at once."""

    def __init__(self, rfile: Any) -> None:
        self._rfile = rfile
        self._single: set[bytes] = set()
        self.ambiguous = ""

    def readline(self) -> bytes:
        line: bytes = self._rfile.readline()
        if line[:1] in (b" ", b"\t"):
            self.ambiguous = "folded header lines are not taken"
        name, colon, _ = line.lower().partition(b":")
        if name in (b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie"):
            if name in self._single:
                self.ambiguous = f"{name.decode('ascii')} is there twice"
            self._single.add(name)
        elif colon and name.rstrip() != name:
            self.ambiguous = "white space before a colon"
        return line


class Exchange(server.HTTPRequest):
    """One request and its answer."""

    header_reader = _Headers()

    def __init__(self, listener: Listener, connection: Connection) -> None:
        super().__init__(listener, connection)
        self.scheme = b"https" if connection.encrypted else b"http"
        self.uri = b"/"
        self.method = b""

    def parse_request(self) -> None:
        self.conn.allow(self.server.http.request_timeout_s)
        super().parse_request()

    def read_request_headers(self) -> bool:
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        length = self.inheaders.get(b"Content-Length")
        if self.chunked_read:
            self.simple_response("411 Length Required", "send a Content-Length")
            return False
        if length is not None and not (length.isdigit() and len(length) < 19):
            self.simple_response("400 Bad Request", "Content-Length is no number")
            return False
        if self.request_protocol == b"HTTP/1.1" and b"Host" not in self.inheaders:
            self.simple_response("400 Bad Request", "there is no Host header")
            return False
        return True

    def respond(self) -> None:
        if not self.conn.encrypted and not self._plain_is_allowed():
            return
        self.conn.allow(self.server.http.body_timeout_s)
        super().respond()

    def _plain_is_allowed(self) -> bool:
        """Whether to serve plain HTTP; otherwise the answer has been given."""
        host = self.inheaders.get(b"Host", b"").decode("latin-1")
        if self.server.is_local(self.conn.remote_addr or ""):
            # A page of a stranger whose name was made to point here carries that name (DNS rebinding).
            if not host or _LOCAL_HOST.fullmatch(host):
                return True
            self._refuse(421, "misdirected", "this machine is not called that", "Use https.")
        elif self._is_open_file():
            return True
        elif self.server.certificate is not None and self.method in (b"GET", b"HEAD"):
            where = f"https://{host}{self.uri.decode('latin-1')}"
            if _HOST.fullmatch(host) and "\r" not in where and "\n" not in where:
                self._send(b"308 Permanent Redirect", [(b"Location", where.encode("latin-1"))], b"")
            else:
                self._refuse(400, "invalid", "the Host header is not usable", "Use https.")
        else:
            self._refuse(403, "plain_http", "plain HTTP is served to this machine only", "Use https.")
        return False

    def _is_open_file(self) -> bool:
        """Whether a device of the local network fetches a file, and may do so without TLS."""
        return (
            self.server.http.plain_files
            and self.method in (b"GET", b"HEAD")
            and self.uri.startswith(b"/files/")
            and is_near(self.conn.remote_addr or "")
        )

    def simple_response(self, status: Any, msg: str = "") -> None:
        """Cheroot's own errors, in the one shape of errors; the connection closes."""
        code = int(str(status)[:3])
        kind = _CODES.get(code) or ("internal" if code >= 500 else "invalid")
        self._refuse(code, kind, msg or REASON.get(code, "refused").lower(), "")

    def _refuse(self, status: int, kind: str, message: str, next_step: str) -> None:
        self._send(
            f"{status} {REASON.get(status, 'Error')}".encode("ascii"),
            [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")],
            json_bytes(error_body(kind, message, next_step)),
        )

    def _send(self, status: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.close_connection = True
        self.sent_headers = True
        self.conn.may_still_send = True
        headers += [
            (b"Content-Length", str(len(body)).encode("ascii")),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        with suppress(OSError):
            body = b"" if self.method == b"HEAD" else body
            self.conn.wfile.write(b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, lines, body))

    def send_headers(self) -> None:
        """As cheroot's, without the name of the server, and without reading away a body without end."""
        names = {name.lower() for name, _ in self.outheaders}
        line: Any = self.status  # bytes, whatever cheroot's stub says
        status = int(line[:3])
        if status == 413 or not self.server.can_add_keepalive_connection:
            self.close_connection = True
        if b"content-length" not in names and not (status < 200 or status in {204, 205, 304}):
            if self.response_protocol == "HTTP/1.1" and self.method != b"HEAD":
                self.chunked_write = True
                self.outheaders.append((b"Transfer-Encoding", b"chunked"))
            else:
                self.close_connection = True
        remaining = getattr(self.rfile, "remaining", 0)
        if remaining > DRAIN_BYTES or self.conn.overdue:
            self.close_connection = self.conn.may_still_send = True
        if self.close_connection:
            self.outheaders.append((b"Connection", b"close"))
        elif self.response_protocol == "HTTP/1.0":
            self.outheaders.append((b"Connection", b"Keep-Alive"))
        if remaining and not self.close_connection:
            self.rfile.read(remaining)
        if b"date" not in names:
            self.outheaders.append((b"Date", email.utils.formatdate(usegmt=True).encode("ascii")))
        lines = b"".join(name + b": " + text + b"\r\n" for name, text in self.outheaders)
        self.conn.wfile.write(b"HTTP/1.1 " + line + b"\r\n" + lines + b"\r\n")


class Connection(server.HTTPConnection):
    """One client: first a bare socket, then plain or TLS, then requests."""

    RequestHandlerClass = Exchange

    def __init__(self, listener: Listener, sock: socket.socket, makefile: Any = None) -> None:
        super().__init__(listener, sock, self._file)
        self.encrypted = False
        self.waiting_for_first_byte = True
        self.streaming = False
        self.may_still_send = False
        self.overdue = False
        self._opened = False
        self._closed = False
        self._deadline = 0.0
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A client that has vanished is given up by the kernel, not by the next patient write.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        listener.opened(self)

    def _file(self, sock: socket.socket, mode: str, _: int = 0) -> Any:
        return _Reader(sock, self) if "r" in mode else _Writer(sock, self)

    def allow(self, seconds: float) -> None:
        """Reading must be done in this time from now."""
        self._deadline = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then; raises TimeoutError when it has passed."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def communicate(self) -> bool:
        """One request; whether the connection stays open."""
        try:
            if not self._opened and not self._open():
                return False
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        finally:
            self.server.released(self)

    def became_stream(self) -> None:
        """From now on it counts as a stream, not as a request of its address."""
        self.server.released(self)
        self.streaming = True

    def gone(self) -> bool:
        """Whether the client has closed its side."""
        if self._closed:
            return True
        poll = select.poll()
        try:
            poll.register(self.socket.fileno(), select.POLLRDHUP | select.POLLHUP | select.POLLERR)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return True

    def _open(self) -> bool:
        """Plain or TLS? The selector has seen something to read, so this does not wait for the client."""
        self._opened = True
        timeout_s = self.server.http.request_timeout_s
        try:
            self.socket.settimeout(timeout_s)
            first = self.socket.recv(1, socket.MSG_PEEK)
            if first != TLS_HANDSHAKE:
                return bool(first)
            if self.server.certificate is None:
                return False
            raw = self.socket
            self.socket = self.server.certificate.context().wrap_socket(
                raw, server_side=True, suppress_ragged_eofs=True
            )
        except (OSError, ValueError) as error:
            log.debug("no TLS with %s: %s", self.remote_addr, error)
            return False
        self.encrypted = True
        self.rfile = self._file(self.socket, "rb")
        self.wfile = self._file(self.socket, "wb")
        return True

    def close(self) -> None:
        """Close everything, politely where that does not take time."""
        if self._closed:
            return
        self._closed = True
        if isinstance(self.socket, ssl.SSLSocket):
            with suppress(OSError, ValueError):
                self.socket.settimeout(0)
                self.socket.unwrap()  # sends close_notify; the answer is not waited for
        for file in (self.rfile, self.wfile):
            with suppress(OSError, ValueError):
                file.close()
        with suppress(OSError):
            if self.may_still_send and self.server.ready:
                self._linger()
            self.socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self.socket.close()
        self.server.closed(self)

    def _linger(self) -> None:
        """Read away what still comes: a reset would take our answer from a client that is still sending."""
        self.socket.shutdown(socket.SHUT_WR)
        self.allow(LINGER_S)
        taken = 0
        while taken < LINGER_BYTES:
            self.socket.settimeout(self.left())
            data = self.socket.recv(65536)
            if not data:
                return
            taken += len(data)


class _Log:
    """Where WSGI writes its errors to."""

    def write(self, text: str) -> None:
        if text.strip():
            log.error("%s", text.rstrip())

    def flush(self) -> None:
        """Nothing is held back."""


class Gateway(wsgi.Gateway_10):
    """The environment of WSGI, with the path as it was sent: parameters are decoded one by one, later."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        environ["PATH_INFO"] = self.req.uri.decode("latin-1").partition("?")[0]
        environ["REMOTE_ADDR"] = plain_address(self.req.conn.remote_addr or "")
        environ["SERVER_SOFTWARE"] = ""
        environ["wsgi.errors"] = _Log()
        environ[CONNECTION] = self.req.conn
        return environ


class Listener(wsgi.Server):
    """The server. Raises OSError from `prepare` when it cannot listen."""

    ConnectionClass = Connection
    _connections: Any  # cheroot's ConnectionManager, made by `prepare`

    def __init__(self, http: HttpSettings, app: Any, certificate: Certificate | None) -> None:
        super().__init__(
            (http.bind, http.port),
            app,
            numthreads=http.threads + http.max_streams + http.max_log_streams,
            max=http.threads + http.max_streams + http.max_log_streams,
            server_name="homard",
            request_queue_size=BACKLOG,
            timeout=http.idle_timeout_s,  # type: ignore[arg-type]  # cheroot only compares it
            shutdown_timeout=SHUTDOWN_S,
        )
        self.gateway = Gateway
        self.http = http
        self.certificate = certificate
        self.is_local: Callable[[str], bool] = is_loopback
        self.max_request_header_size = http.max_head_bytes
        self.max_request_body_size = max(http.max_body_bytes, http.max_upload_bytes)
        self.keep_alive_conn_limit = http.max_connections
        self._turn = threading.Lock()
        self._open: set[Connection] = set()
        self._share = http.threads // 2
        self._busy: dict[str, int] = {}
        self._waiting: dict[str, deque[Connection]] = {}
        self._counted: dict[Connection, str] = {}

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Cheroot's messages, into the log."""
        log.log(level, "%s", msg, exc_info=traceback)

    def bind_fallback(self) -> None:
        """Where there is no IPv6, every address means every IPv4 address."""
        if self.bind_addr[0] == "::" and not _has_ipv6():
            self.bind_addr = ("0.0.0.0", self.bind_addr[1])

    # Who may have a thread

    def process_conn(self, conn: Any) -> None:
        """A connection has something to say; called by the selector, and after a pipelined request."""
        if conn.waiting_for_first_byte:
            conn.waiting_for_first_byte = False
            self._make_room(conn)
            return
        place = plain_address(conn.remote_addr or "")
        with self._turn:
            if self._busy.get(place, 0) >= self._share:
                line = self._waiting.setdefault(place, deque())
                if len(line) < MAX_WAITING:
                    line.append(conn)
                    return
            else:
                self._busy[place] = self._busy.get(place, 0) + 1
                self._counted[conn] = place
                self.requests.put(conn)
                return
        conn.close()

    def released(self, conn: Connection) -> None:
        """The connection's thread is free for the next one of its address; may be called twice."""
        with self._turn:
            place = self._counted.pop(conn, None)
            if place is None:
                return
            line = self._waiting.get(place)
            if line:
                following = line.popleft()
                if not line:
                    del self._waiting[place]
                self._counted[following] = place
                self.requests.put(following)
            elif self._busy[place] == 1:
                del self._busy[place]
            else:
                self._busy[place] -= 1

    def opened(self, conn: Connection) -> None:
        """Count it."""
        with self._turn:
            self._open.add(conn)

    def closed(self, conn: Connection) -> None:
        """Count it no more."""
        with self._turn:
            self._open.discard(conn)

    def put_conn(self, conn: Any) -> None:
        """The request is done; the connection waits for the next one."""
        try:
            super().put_conn(conn)
        except (OSError, ValueError, KeyError):  # closed meanwhile, or the server is
            conn.close()

    def _make_room(self, conn: Connection) -> None:
        """Let a new connection in; beyond the bound, the one that has been idle longest makes room."""
        with self._turn:
            full = len(self._open) > self.http.max_connections
        if full:
            # Only this thread, the selector's, takes connections out of the selector.
            selector = self._connections._selector
            idle = [(one.last_used, number) for number, one in selector.connections if one is not self]
            if not idle:
                conn.close()
                return
            _, number = min(idle)
            oldest = selector.unregister(number).data
            oldest.close()
        self._connections.put(conn)

    def stop(self) -> None:
        """Stop serving; idle and waiting connections are closed."""
        if self.ready:
            # The selector would notice half a second later; a connection wakes it.
            self._connections._stop_requested = True
            host, port = self.bind_addr[:2]
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(host), str(host))
            with suppress(OSError):
                socket.create_connection((host, port), 1).close()
        super().stop()
        with self._turn:
            left = list(self._open)
        for conn in left:
            conn.close()


def plain_address(address: str) -> str:
    """An address without the clothes of a dual-stack socket or a zone."""
    address = address.partition("%")[0]
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def is_loopback(address: str) -> bool:
    """Whether the peer is this machine."""
    try:
        return ipaddress.ip_address(plain_address(address)).is_loopback
    except ValueError:
        return False


def is_near(address: str) -> bool:
    """Whether the peer has an address of a local network (RFC 1918, RFC 4193, link-local)."""
    try:
        return ipaddress.ip_address(plain_address(address)).is_private
    except ValueError:
        return False


def _has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
