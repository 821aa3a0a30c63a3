"""Other people's programs against ours: how they are built, started and spoken to."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import json
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from filelock import FileLock

from tests.ports import lasting_port

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
LESHAN = HERE / "leshan"
PATIENCE_S = 30.0  # for anything that another process is to do


def command(name: str) -> str:
    """The path of a program; without it the test fails with the remedy."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: scripts/test installs it")
    return found


def leshan_classpath(folder: Path = LESHAN) -> str:
    """Compile tests/peers/leshan unless that is done for these very sources; the class path for java.

    Maven fetches Leshan once and needs no network after that. ``folder``: another one that is built like it.
    """
    target = folder / "target"
    sources = sorted({folder / "pom.xml", *folder.glob("src/**/*.java"), *LESHAN.glob("src/**/*.java")})
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    stamp = target / "built-from"
    target.mkdir(exist_ok=True)
    # Tests run in several processes; one of them builds, the others wait.
    with FileLock(target / "building.lock"):
        _build(folder, digest, stamp)
    return f"{target / 'classes'}:{target / 'lib'}/*"


def _build(folder: Path, digest: str, stamp: Path) -> None:
    if not stamp.exists() or stamp.read_text() != digest:
        maven = [command("mvn"), "-q", "-B", "-f", str(folder / "pom.xml"), "compile"]
        offline = subprocess.run([*maven, "-o"], capture_output=True, text=True, check=False)
        if offline.returncode:
            online = subprocess.run(maven, capture_output=True, text=True, check=False)
            if online.returncode:
                pytest.fail(f"Maven could not build the Leshan peers:\n{online.stdout}{online.stderr}")
        stamp.write_text(digest)


class LineProcess:
    """A process that prints one JSON object a line and takes one command a line."""

    def __init__(self, arguments: list[str], **more: Any) -> None:
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, **more
        )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def expect(self, event: str, **facts: Any) -> dict[str, Any]:
        """The next line of that kind with those facts; lines of other kinds before it are passed over."""
        seen = []
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except queue.Empty:
                pytest.fail(f"no {event} {facts} in {PATIENCE_S} s, but: {seen}")
            if line is None:
                pytest.fail(f"the process ended before {event} {facts}; it said: {seen}")
            if line.get("event") == event and all(line.get(key) == value for key, value in facts.items()):
                return line
            seen.append(line)

    def line(self) -> dict[str, Any]:
        """The next line, whatever it says."""
        line = self._lines.get(timeout=PATIENCE_S)
        if line is None:
            pytest.fail("the process ended without a line")
        return line

    def end(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self.say("quit")
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self._reader.join()


class LeshanDevice(LineProcess):
    """peers.Device: see there for its commands and events."""

    def __init__(
        self,
        uri: str,
        endpoint_name: str,
        lifetime_s: int = 300,
        *,
        queue: bool = False,
        credentials: str = "nosec",
    ) -> None:
        self.endpoint_name = endpoint_name
        arguments = ["-cp", leshan_classpath(), "peers.Device", uri, endpoint_name, str(lifetime_s)]
        arguments += ["queue" if queue else "awake", credentials]
        super().__init__([command("java"), "-XX:TieredStopAtLevel=1", "-Xshare:auto", *arguments])


class Api:
    """The JSON API of a gateway on this machine."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, resource: str, body: Any = None, /, **query: Any) -> tuple[int, Any]:
        """Status and JSON of one request below /api/v1."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            target = f"/api/v1{resource}" + (f"?{urlencode(query)}" if query else "")
            content = None if body is None else json.dumps(body)
            headers = self._headers | ({"Content-Type": "application/json"} if content else {})
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            raw = answer.read()
        return answer.status, json.loads(raw) if raw else None

    def get(self, resource: str, /, **query: Any) -> Any:
        status, answer = self.ask("GET", resource, None, **query)
        assert status == 200, (resource, status, answer)
        return answer

    def head(self) -> int:
        """The last sequence number of the journal."""
        number: int = self.get("/status")["journal_head"]
        return number

    def device(self, endpoint_name: str) -> dict[str, Any] | None:
        status, answer = self.ask("GET", f"/devices/{quote(endpoint_name, safe='')}")
        return answer if status == 200 else None

    def operate(self, endpoint_name: str, operation: str, path: str, **more: Any) -> dict[str, Any]:
        """The outcome of an operation, whatever the device answered."""
        body = {"operation": operation, "path": path, **more}
        status, answer = self.ask("POST", f"/devices/{quote(endpoint_name, safe='')}/operations", body)
        assert status == 200, (body, status, answer)
        outcome: dict[str, Any] = answer
        return outcome

    def values(self, endpoint_name: str, path: str) -> dict[str, Any]:
        """Last known values by path, without any traffic."""
        answer = self.get(f"/devices/{quote(endpoint_name, safe='')}/values", path=path)
        return {value["path"]: value["value"] for value in answer["values"]}

    def events(self, after: int) -> Iterator[dict[str, Any]]:
        """The event stream from a sequence number on; ends when nothing came for a while."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", f"/api/v1/stream?after={after}", headers=self._headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            while line := answer.readline():
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def until(self, wanted: Callable[[dict[str, Any]], bool], after: int) -> dict[str, Any]:
        """The first event after ``after`` that is wanted."""
        seen = []
        with contextlib.suppress(TimeoutError):
            for event in self.events(after):
                if wanted(event):
                    return event
                seen.append(event)
        pytest.fail(f"the event did not come; these did: {seen}")


class Gateway:
    """`homard serve` on a state folder of its own; ports stay the same over a restart."""

    def __init__(self, state: Path, **settings: Any) -> None:
        self.state = state
        self._settings = {
            "coap.nosec": "everyone",
            "coap.tcp_nosec": "everyone",
            "coap.port": lasting_port(),
            "http.port": lasting_port(),
            "coap.bind": "127.0.0.1",
            "coaps.port": lasting_port(),
            **settings,
        }
        self._process: LineProcess | None = None
        self.start()
        made = subprocess.run(
            [*HOMARD, "token", "create", "peers", "--scopes", "read,operate,admin", "--state", str(state)],
            capture_output=True, text=True, check=True, cwd=REPOSITORY,
        )  # fmt: skip
        self.token = made.stdout.strip().splitlines()[-1]
        self.api = Api(self.http_port, self.token)

    def start(self) -> None:
        overrides = [f"--set={name}={value}" for name, value in self._settings.items()]
        self._process = LineProcess(
            [*HOMARD, "serve", "--state", str(self.state), *overrides], cwd=REPOSITORY
        )
        ready = self._process.line()
        assert ready["ready"] is True
        self.coap_port, self.http_port = ready["coap"], ready["http"]
        self.coaps_port = ready.get("coaps") or 0

    @property
    def uri(self) -> str:
        return f"coap://127.0.0.1:{self.coap_port}"

    @property
    def coaps_uri(self) -> str:
        return f"coaps://127.0.0.1:{self.coaps_port}"

    @property
    def stream_uri(self) -> str:
        return f"coap+tcp://127.0.0.1:{self.api.get('/status')['coap_tcp_port']}"

    def kill(self) -> None:
        """As a power cut: no goodbye."""
        assert self._process is not None
        self._process.process.kill()
        self._process.end()

    def stop(self) -> int:
        """In an orderly way; gives the exit status."""
        assert self._process is not None
        if self._process.process.poll() is None:
            self._process.process.send_signal(signal.SIGTERM)
            self._process.process.wait(PATIENCE_S)
        self._process.end()
        return self._process.process.returncode


class Simulation:
    """`homard simulate`, with the lines that it prints."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*HOMARD, "simulate", *arguments], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
        self._all_registered = threading.Event()
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append(line)
            if line.startswith("all "):
                self._all_registered.set()

    def wait_until_registered(self) -> None:
        assert self._all_registered.wait(PATIENCE_S), self._said

    def stop(self) -> str:
        """End it in an orderly way; gives what it said last."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        assert self._process.wait(PATIENCE_S) == 0, self._said
        self._reader.join()
        return self._said[-1]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


HOMARD = [sys.executable, "-m", "appliance"]

_numbers = itertools.count(1)


def fresh_name(prefix: str) -> str:
    """An endpoint name that no other test of this run has."""
    return f"{prefix}-{next(_numbers)}"
