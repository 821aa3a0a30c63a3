"""The whole house in a process of its own, and a lockstep device: one raw message, one expected answer.

The device speaks CoAP with aiocoap's message class, so that what it sends and what it accepts were not
written by the people who wrote the server.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiocoap
from aiocoap.numbers import codes, optionnumbers, types
from aiocoap.transports import tcp

from tests.ports import lasting_port

ROOT = Path(__file__).resolve().parent.parent
OBSERVE = optionnumbers.OptionNumber.OBSERVE


class House:
    """`homard serve` on free ports, with a token that may do everything but administer accounts."""

    def __init__(self, state: Path, *settings: str, start: bool = True) -> None:
        self.state = state
        self.settings = settings
        self.process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}
        self.token = ""
        self.coap_port = lasting_port()
        self.coaps_port = lasting_port()
        self.tcp_port = 0
        self.tls = True  # False: plain HTTP, which the board itself may speak, for tests with many requests
        if start:
            self.start()

    def homard(self, *arguments: str, text: str = "") -> str:
        """Run one `homard` command on this state; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "appliance", *arguments],
            cwd=ROOT,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start and wait for the ready line; the ports stay the same over a restart."""
        self.ready = {}
        arguments = [sys.executable, "-m", "appliance", "serve", "--state", str(self.state)]
        ports = [f"coap.port={self.coap_port}", f"coaps.port={self.coaps_port}", "http.port=0"]
        nosec = ["coap.nosec=everyone", "coap.tcp_nosec=everyone"]
        overrides = [*ports, *nosec, 'coap.bind=["127.0.0.1"]', *self.settings]
        for override in overrides:
            arguments += ["--set", override]
        with (self.state.parent / "serve.log").open("a") as log:
            self.process = subprocess.Popen(
                arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.ready = json.loads(line)
                break
        assert self.ready.get("ready"), (self.state.parent / "serve.log").read_text()
        self.coap_port, self.coaps_port = self.ready["coap"], self.ready.get("coaps") or 0
        self.tcp_port = self.ready.get("coap_tcp") or 0
        if not self.token:
            self.token = self.homard(
                "token", "create", "tests", "--scopes", "read,operate,admin", "--state", str(self.state)
            ).strip()

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def api(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        kind: str = "application/xml",
    ) -> tuple[int, Any]:
        """One request to the API: status and JSON. ``kind`` is the media type of a body of bytes."""
        connection: http.client.HTTPConnection
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            port = self.ready["http"]
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=90, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.ready["http"], timeout=90)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
            if data is not None:
                headers["Content-Type"] = "application/json" if not isinstance(body, bytes) else kind
            connection.request(method, "/api/v1" + path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def asking(self, method: str, path: str, body: object = None) -> Asking:
        """The same in the background, while the test plays the device."""
        return Asking(self, method, path, body)

    def events(self, endpoint_name: str = "", kind: str = "", after: int = 0) -> list[dict[str, Any]]:
        """The journal, as the API shows it."""
        found: list[dict[str, Any]] = []
        while True:
            query = f"/events?after={after}&limit=500"
            if endpoint_name:
                query += f"&endpoint_name={endpoint_name}"
            status, page = self.api("GET", query)
            assert status == 200, page
            if not page["events"]:
                return [event for event in found if not kind or event["kind"] == kind]
            found += page["events"]
            after = page["events"][-1]["seq"]

    def until(
        self, wanted: Callable[[dict[str, Any]], bool], *, after: int = 0, patience_s: float = 30.0
    ) -> dict[str, Any]:
        """The first event of the journal that is wanted, as the event stream tells it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ready["http"], timeout=patience_s)
        try:
            headers = {"Authorization": f"Bearer {self.token}"}
            connection.request("GET", f"/api/v1/stream?after={after}", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            deadline = time.monotonic() + patience_s  # the stream itself never falls silent for long
            while line := answer.readline():
                assert time.monotonic() < deadline, f"the event did not come within {patience_s} s"
                if line.startswith(b"data:"):
                    event: dict[str, Any] = json.loads(line[5:])
                    if wanted(event):
                        return event
        finally:
            connection.close()
        raise AssertionError("the event stream ended")

    def head(self) -> int:
        """The last sequence number of the journal."""
        number: int = self.api("GET", "/status")[1]["journal_head"]
        return number


class Asking(threading.Thread):
    """A request to the API under way."""

    def __init__(self, house: House, method: str, path: str, body: object) -> None:
        super().__init__(daemon=True)
        self._call = (house, method, path, body)
        self._answer: tuple[int, Any] | None = None
        self.start()

    def run(self) -> None:
        house, method, path, body = self._call
        self._answer = house.api(method, path, body)

    def answer(self) -> tuple[int, Any]:
        """Status and JSON, when they are there."""
        self.join(90)
        assert self._answer is not None, "the API did not answer"
        return self._answer


class LockstepDevice:
    """A device that does nothing by itself."""

    def __init__(self, house: House, name: str = "lockstep", *, timeout_s: float = 10.0) -> None:
        self.name = name
        self.house = house
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(timeout_s)
        self.socket.bind(("127.0.0.1", 0))
        self._mid = int.from_bytes(os.urandom(2), "big")
        self.location: tuple[str, ...] = ()
        self.tokens: dict[str, bytes] = {}

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> LockstepDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def server(self) -> tuple[str, int]:
        return ("127.0.0.1", self.house.coap_port)

    def move(self) -> None:
        """Take another port, as behind a NAT that forgot."""
        timeout_s = self.socket.gettimeout()
        self.socket.close()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(timeout_s)
        self.socket.bind(("127.0.0.1", 0))

    def send_raw(self, data: bytes) -> None:
        self.socket.sendto(data, self.server)

    def send(self, message: aiocoap.Message) -> aiocoap.Message:
        """Send; a message id is chosen when there is none."""
        if message.mid is None:
            self._mid = (self._mid + 1) & 0xFFFF
            message.mid = self._mid
        self.send_raw(message.encode())
        return message

    def receive(self, timeout_s: float | None = None) -> aiocoap.Message:
        """The next datagram; TimeoutError when none comes."""
        before = self.socket.gettimeout()
        if timeout_s is not None:
            self.socket.settimeout(timeout_s)
        try:
            data, _ = self.socket.recvfrom(65535)
        finally:
            self.socket.settimeout(before)
        return aiocoap.Message.decode(data, None)

    def buffered(self) -> bool:
        """Whether a message is here already, beside those the socket holds."""
        return False

    def silence(self, seconds: float = 0.5) -> bool:
        """Whether nothing comes for that long."""
        try:
            self.receive(seconds)
        except TimeoutError:
            return True
        return False

    def exchange(self, message: aiocoap.Message) -> aiocoap.Message:
        """Send, and take the answer to it; requests of the server that come first are held against us."""
        sent = self.send(message)
        while True:
            answer = self.receive()
            if answer.mtype is types.ACK and answer.mid == sent.mid and answer.code is codes.EMPTY:
                continue
            if answer.token == sent.token or answer.mid == sent.mid:
                if answer.mtype is types.CON:
                    self.send(aiocoap.Message(code=codes.EMPTY, _mtype=types.ACK, _mid=answer.mid))
                return answer
            raise AssertionError(f"something else came first: {answer!r}")

    def request(
        self,
        code: Any,
        path: Sequence[str],
        query: Sequence[str] = (),
        payload: bytes = b"",
        content_format: int | None = None,
    ) -> aiocoap.Message:
        """A confirmable request and its answer."""
        message = aiocoap.Message(code=code, payload=payload, _mtype=types.CON, _token=os.urandom(4))
        message.opt.uri_path = tuple(path)
        message.opt.uri_query = tuple(query)
        if content_format is not None:
            message.opt.content_format = content_format
        return self.exchange(message)

    def register(
        self,
        links: str = "</1/0>,</3/0>",
        *,
        version: str = "1.1",
        lifetime_s: int = 300,
        query: Sequence[str] = (),
        expect: Any = codes.CREATED,
    ) -> aiocoap.Message:
        answer = self.request(
            codes.POST,
            ("rd",),
            (f"ep={self.name}", f"lt={lifetime_s}", f"lwm2m={version}", "b=U", *query),
            links.encode(),
            40,
        )
        assert answer.code == expect, (answer.code, answer.payload)
        if answer.code == codes.CREATED:
            self.location = answer.opt.location_path
        return answer

    def update(self, *query: str, expect: Any = codes.CHANGED) -> aiocoap.Message:
        answer = self.request(codes.POST, self.location, query)
        assert answer.code == expect, (answer.code, answer.payload)
        return answer

    def answer(
        self,
        request: aiocoap.Message,
        code: Any,
        payload: bytes = b"",
        content_format: int | None = None,
        observe: int | None = None,
    ) -> None:
        """Piggybacked answer."""
        reply = aiocoap.Message(
            code=code, payload=payload, _mtype=types.ACK, _mid=request.mid, _token=request.token
        )
        if content_format is not None:
            reply.opt.content_format = content_format
        if observe is not None:
            reply.opt.observe = observe
        self.send(reply)

    def take_observe(
        self, path: str, payload: bytes, content_format: int = 0, number: int = 1
    ) -> aiocoap.Message:
        """Expect an Observe of that path and accept it."""
        request = self.receive()
        assert request.code == codes.GET, request
        assert "/" + "/".join(request.opt.uri_path) == path, request.opt.uri_path
        assert request.opt.observe == 0, request
        self.tokens[path] = request.token
        self.answer(request, codes.CONTENT, payload, content_format, number)
        return request

    def notify(
        self,
        path: str,
        payload: bytes,
        number: int,
        content_format: int = 0,
        *,
        mid: int | None = None,
        token: bytes | None = None,
        code: Any = codes.CONTENT,
    ) -> aiocoap.Message:
        """A confirmable notification; the message that was sent."""
        message = aiocoap.Message(
            code=code,
            payload=payload,
            _mtype=types.CON,
            _token=self.tokens[path] if token is None else token,
            _mid=mid,
        )
        if number is not None:
            message.opt.observe = number
        message.opt.content_format = content_format
        return self.send(message)


class LockstepStream(LockstepDevice):
    """The same over TCP (RFC 8323), with aiocoap's coding of messages; signaling is kept in ``signals``.

    It connects and says its CSM at once; nothing is acknowledged here.
    """

    def __init__(self, house: House, name: str = "lockstep", *, timeout_s: float = 10.0) -> None:
        self.name = name
        self.house = house
        self.location = ()
        self.tokens = {}
        self.signals: list[aiocoap.Message] = []
        self._timeout_s = timeout_s
        self._buffer = b""
        self.connect()

    def connect(self) -> None:
        """A new connection."""
        self._buffer = b""
        self.socket = socket.create_connection(("127.0.0.1", self.house.tcp_port), timeout=self._timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(aiocoap.Message(code=codes.CSM))

    def move(self) -> None:
        self.socket.close()
        self.connect()

    def send_raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send(self, message: aiocoap.Message) -> aiocoap.Message:
        self.send_raw(tcp._serialize(message))
        return message

    def buffered(self) -> bool:
        """Whether a whole message has been read already."""
        head = tcp._extract_message_size(self._buffer)
        return head is not None and len(self._buffer) >= sum(head)

    def receive(self, timeout_s: float | None = None) -> aiocoap.Message:
        """The next message that is no signaling; ConnectionError when the server closed."""
        before = self.socket.gettimeout()
        if timeout_s is not None:
            self.socket.settimeout(timeout_s)
        try:
            while True:
                while not self.buffered():
                    data = self.socket.recv(65536)
                    if not data:
                        raise ConnectionError("the server closed the connection")
                    self._buffer += data
                size = sum(tcp._extract_message_size(self._buffer))
                message = tcp._decode_message(self._buffer[:size])
                self._buffer = self._buffer[size:]
                if message.code.is_signalling():
                    self.signals.append(message)
                    continue
                message.mtype, message.mid = None, None
                return message
        finally:
            self.socket.settimeout(before)

    def exchange(self, message: aiocoap.Message) -> aiocoap.Message:
        sent = self.send(message)
        answer = self.receive()
        assert answer.token == sent.token, f"something else came first: {answer!r}"
        return answer
