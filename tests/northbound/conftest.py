"""The room on real sockets, over stand-ins for devices and journal that live in a real event loop."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from appliance.identity.identity import Identity
from appliance.identity.settings import IdentitySettings
from appliance.northbound.application import ALL_ROUTES
from appliance.northbound.body import first_fault
from appliance.northbound.routes import API, Route, Trust
from appliance.northbound.schemas import COMPONENTS
from appliance.northbound.server import Northbound
from appliance.northbound.settings import HttpSettings
from appliance.storage.files import FileStore
from appliance.vault.authority import Authority
from appliance.vault.model import Device, NewDevice
from appliance.vault.register import Register
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault

PASSWORD = "tide lamp orbit"
INDEX = "<!doctype html><title>Homard Edge</title><script src=/app.js></script>" + "<p>x</p>" * 200


def authority(state: Path) -> Authority:
    """The own authority, made once for the whole run of the tests, like the folder it lies in."""
    found = Authority(state / "vault", SealingKey(bytes(32)), VaultSettings(), time.time)
    found.open()
    return found


class DeviceError(Exception):
    """As the devices room raises it."""

    def __init__(self, kind: str, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.next_step = kind, message, next_step


class Row(NamedTuple):
    seq: int
    at_ms: int
    kind: str
    entity: str
    body: dict[str, Any]
    receipt: bytes | None = None


class FakeBroker:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._changed = threading.Condition()

    def append(self, entity: str = "kitchen", kind: str = "value", **body: Any) -> int:
        with self._changed:
            seq = (self.rows[-1].seq if self.rows else 0) + 1
            self.rows.append(Row(seq, 1_800_000_000_000 + seq, kind, entity, body))
            self._changed.notify_all()
            return seq

    def head(self) -> int:
        with self._changed:
            return self.rows[-1].seq if self.rows else 0

    def oldest(self) -> int:
        with self._changed:
            return self.rows[0].seq if self.rows else 1

    def prune(self, count: int) -> None:
        with self._changed:
            del self.rows[:count]

    def read_last(self, limit: int, entity: str | None = None) -> list[Row]:
        with self._changed:
            return [row for row in self.rows if entity in (None, row.entity)][-limit:]

    def read_after(self, seq: int, limit: int, entity: str | None = None) -> list[Row]:
        with self._changed:
            found = [row for row in self.rows if row.seq > seq and entity in (None, row.entity)]
            return found[:limit]

    def wait_after(self, seq: int, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self.rows) and self.rows[-1].seq > seq, timeout_s)


@dataclass
class FakeDevices:
    """Two devices; what it was asked is in ``asked``. Everything checks that it runs in the loop."""

    loop: asyncio.AbstractEventLoop
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    explode: Exception | None = None
    asleep: bool = False
    names: list[str] = field(default_factory=lambda: ["kitchen", "urn:dev:a/b c"])

    def _here(self, *asked: Any) -> None:
        assert asyncio.get_running_loop() is self.loop
        self.asked.append(asked)
        if self.explode is not None:
            raise self.explode

    def _require(self, name: str) -> None:
        if name not in self.names:
            raise DeviceError("not_found", f"no device is named {name!r}", "Look at the list.")

    def _row(self, name: str) -> dict[str, Any]:
        return {**COMPONENTS["DeviceRow"]["example"], "endpoint_name": name}

    def list_devices(self, among: Callable[[str], bool] | None = None, **query: Any) -> dict[str, Any]:
        self._here("list_devices", query)
        rows = [self._row(name) for name in self.names if among is None or among(name)]
        return {"devices": rows, "total": 2, "online": 1, "next": None}

    def device(self, name: str) -> dict[str, Any]:
        self._here("device", name)
        self._require(name)
        return {**COMPONENTS["Device"]["example"], "endpoint_name": name}

    def objects(self, name: str) -> dict[str, Any]:
        self._here("objects", name)
        return {"objects": [COMPONENTS["DeviceObject"]["example"]]}

    def values(self, name: str, path: str) -> dict[str, Any]:
        self._here("values", name, path)
        return {"values": [COMPONENTS["Value"]["example"]]}

    def event(self, row: Row) -> dict[str, Any]:
        self._here("event", row.seq)
        at = "2026-05-04T10:00:00Z"
        return {"seq": row.seq, "at": at, "kind": row.kind, "endpoint_name": row.entity, **row.body}

    async def operate(self, name: str, request: dict[str, Any], origin: str) -> dict[str, Any]:
        self._here("operate", name, request, origin)
        self._require(name)
        if self.hold is not None:
            await self.hold.wait()
        if self.asleep:
            return COMPONENTS["Queued"]["example"]
        return {
            **COMPONENTS["Outcome"]["example"],
            "operation": request["operation"],
            "path": request.get("path") or "/",
        }

    async def submit(
        self, request: dict[str, Any], origin: str, among: Callable[[str], bool] | None = None
    ) -> dict[str, Any]:
        chosen = () if among is None else ([name for name in self.names if among(name)],)
        self._here("submit", request, origin, *chosen)
        return COMPONENTS["Batch"]["example"]

    def tasks(self, **query: Any) -> dict[str, Any]:
        self._here("tasks", query)
        return {**COMPONENTS["Tasks"]["example"], "tasks": [self._task(42)]}

    def _task(self, task_id: int) -> dict[str, Any]:
        if task_id != 42:
            raise DeviceError("not_found", f"there is no task {task_id}", "Look at the list.")
        return {**COMPONENTS["Task"]["example"], "endpoint_name": self.names[0]}

    def task(self, task_id: int) -> dict[str, Any]:
        self._here("task", task_id)
        return self._task(task_id)

    async def cancel_task(self, task_id: int) -> dict[str, Any]:
        self._here("cancel_task", task_id)
        return self._task(task_id)

    async def retry_task(self, task_id: int, origin: str) -> dict[str, Any]:
        self._here("retry_task", task_id, origin)
        return self._task(task_id)

    def set_awake(self, name: str, awake_s: float | None) -> dict[str, Any]:
        self._here("set_awake", name, awake_s)
        return COMPONENTS["Device"]["example"]

    def timeline(self, name: str, before: int, limit: int) -> dict[str, Any]:
        self._here("timeline", name, before, limit)
        return COMPONENTS["TimeLine"]["example"]

    async def observe_composite(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        self._here("observe_composite", name, request)
        return COMPONENTS["Outcome"]["example"]

    def templates(self) -> dict[str, Any]:
        self._here("templates")
        return COMPONENTS["Templates"]["example"]

    def put_template(self, template_id: str | None, body: dict[str, Any]) -> dict[str, Any]:
        self._here("put_template", template_id, body)
        return COMPONENTS["Template"]["example"]

    def remove_template(self, template_id: str) -> None:
        self._here("remove_template", template_id)

    def profiles(self) -> dict[str, Any]:
        self._here("profiles")
        return COMPONENTS["Profiles"]["example"]

    def put_profile(self, pid: str, links: str) -> dict[str, Any]:
        self._here("put_profile", pid, links)
        return COMPONENTS["Profile"]["example"]

    def remove_profile(self, pid: str) -> None:
        self._here("remove_profile", pid)

    def observations(self, name: str) -> dict[str, Any]:
        self._here("observations", name)
        return {"observations": [COMPONENTS["Observation"]["example"]]}

    async def observe(self, name: str, path: str, attributes: dict[str, Any]) -> dict[str, Any]:
        self._here("observe", name, path, attributes)
        return COMPONENTS["Outcome"]["example"]

    async def cancel_observation(self, name: str, path: str, *reset: bool) -> dict[str, Any]:
        self._here("cancel_observation", name, path, *reset)
        return COMPONENTS["Outcome"]["example"]

    async def remove(self, name: str) -> None:
        self._here("remove", name)
        self._require(name)

    def models(self) -> dict[str, Any]:
        self._here("models")
        return {"models": [COMPONENTS["ModelRow"]["example"]]}

    def model(self, object_id: int, version: str | None) -> dict[str, Any]:
        self._here("model", object_id, version)
        return COMPONENTS["Model"]["example"]

    def add_model(self, xml: bytes) -> dict[str, Any]:
        self._here("add_model", xml)
        return COMPONENTS["Model"]["example"]

    def remove_model(self, object_id: int, version: str) -> None:
        self._here("remove_model", object_id, version)


class FakeAcceptance:
    def __init__(self, endpoint_name: str) -> None:
        self.endpoint_name = endpoint_name

    def carry_out(self, vault: Vault, by: str) -> Device:
        return vault.add([NewDevice(self.endpoint_name, nosec=True)], by)[0].device


@dataclass
class FakeSecurity:
    """A stranger without a name and one that calls itself kitchen; what changes them runs in the loop."""

    loop: asyncio.AbstractEventLoop
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def _here(self, *asked: Any) -> dict[str, Any]:
        assert asyncio.get_running_loop() is self.loop
        self.asked.append(asked)
        if asked[1] not in (7, 42):
            raise DeviceError("not_found", f"there is no stranger {asked[1]}", "It may have been removed.")
        return COMPONENTS["Stranger"]["example"]

    def contact(self, endpoint_name: str) -> dict[str, Any]:
        return COMPONENTS["Contact"]["example"]

    def used(self, identity: str) -> dict[str, Any]:
        return {"last_used_at": "2026-05-04T10:00:00Z", "last_failure": {"at": "x", "text": "another key"}}

    def strangers(self) -> list[dict[str, Any]]:
        one = COMPONENTS["Stranger"]["example"]
        return [{**one, "id": 7, "endpoint_name": ""}, {**one, "id": 42, "endpoint_name": "kitchen"}]

    def ignore(self, number: int) -> dict[str, Any]:
        return self._here("ignore", number)

    def block(self, number: int) -> dict[str, Any]:
        return self._here("block", number)

    def forget(self, number: int) -> None:
        self._here("forget", number)

    def acceptance(self, number: int, endpoint_name: str | None) -> FakeAcceptance:
        self._here("acceptance", number, endpoint_name)
        return FakeAcceptance(endpoint_name or "stranger")

    def accepted(self, number: int) -> None:
        self._here("accepted", number)


@dataclass
class FakeBootstrap:
    """One plan, 42, and one session of kitchen, 42."""

    loop: asyncio.AbstractEventLoop
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def _here(self, *asked: Any) -> None:
        assert asyncio.get_running_loop() is self.loop
        self.asked.append(asked)

    def plans(self) -> dict[str, Any]:
        return {"plans": [self.plan("42")]}

    def plan(self, plan_id: str) -> dict[str, Any]:
        self._here("plan", plan_id)
        if plan_id != "42":
            raise DeviceError("not_found", f"there is no plan {plan_id}", "Look at the list.")
        return {**COMPONENTS["Plan"]["example"], "id": "42"}

    def put_plan(self, plan_id: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        self._here("put_plan", plan_id, body)
        return COMPONENTS["Plan"]["example"]

    def remove_plan(self, plan_id: str) -> None:
        self._here("remove_plan", plan_id)

    def check_plan(self, body: object) -> dict[str, Any]:
        self._here("check_plan", body)
        return COMPONENTS["PlanCheck"]["example"]

    def sessions(self, endpoint_name: str = "", limit: int = 50) -> dict[str, Any]:
        self._here("sessions", endpoint_name, limit)
        return {"sessions": [self.session(42)]}

    def session(self, session_id: int) -> dict[str, Any]:
        self._here("session", session_id)
        return {**COMPONENTS["BootstrapSession"]["example"], "endpoint_name": "kitchen"}


class FakeLog:
    """A log of as many entries as a test says."""

    def __init__(self) -> None:
        self.head, self.oldest, self.speaker = 0, 1, "kitchen"
        self.asked: list[tuple[Any, ...]] = []

    def read(self, after: int, limit: int, wanted: Mapping[str, str]) -> dict[str, Any]:
        self.asked.append((after, limit, dict(wanted)))
        last = min(self.head, after + limit)
        entries = [
            {**COMPONENTS["LogEntry"]["example"], "seq": seq, "endpoint_name": self.speaker}
            for seq in range(max(after + 1, self.oldest), last + 1)
        ]
        return {"entries": entries, "next": max(last, after), "head": self.head, "oldest": self.oldest}

    def read_last(self, limit: int, wanted: Mapping[str, str]) -> dict[str, Any]:
        return self.read(max(0, self.head - limit), limit, wanted)

    def text(self, wanted: Mapping[str, str]) -> Iterator[bytes]:
        self.asked.append(("text", dict(wanted)))
        yield from (b"", b"one line\n", b"", b"another\n")

    def pcap(self, wanted: Mapping[str, str]) -> Iterator[bytes]:
        yield b"\xd4\xc3\xb2\xa1"


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Browser:
    """A client over TLS, or plain, that holds every answer to the published schemas."""

    def __init__(self, port: int, *, tls: bool = True, token: str = "", source: str = "127.0.0.1") -> None:
        self.port, self.tls, self.token, self.source = port, tls, token, source
        self.cookie = self.csrf = ""

    def connect(self, timeout_s: float = 20) -> http.client.HTTPConnection:
        where: dict[str, Any] = {"timeout": timeout_s, "source_address": (self.source, 0)}
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, context=trusting(), **where)
        return http.client.HTTPConnection("127.0.0.1", self.port, **where)

    def headers(self) -> dict[str, str]:
        found = {}
        if self.token:
            found["Authorization"] = f"Bearer {self.token}"
        if self.cookie:
            found["Cookie"] = self.cookie
        if self.csrf:
            found["X-CSRF-Token"] = self.csrf
        return found

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Reply:
        used = connection or self.connect()
        sent = self.headers()
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        try:
            used.request(method, path, body, sent)
            answer = used.getresponse()
            reply = Reply(answer.status, answer.headers, answer.read())
        finally:
            if connection is None:
                used.close()
        hold_to_schema(method, path, reply)
        return reply

    def api(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        return self.send(method, API + path, body, **more)

    def log_in(self, name: str = "ines", password: str = PASSWORD) -> Reply:
        reply = self.api("POST", "/session", {"name": name, "password": password})
        if reply.status == 200:
            self.cookie = reply.headers["Set-Cookie"].partition(";")[0]
            self.csrf = reply.json["csrf"]
        return reply


def route_of(method: str, path: str) -> Route | None:
    """The route of a request, found without the router under test."""
    parts = path.partition("?")[0].removeprefix(API).split("/")
    for route in ALL_ROUTES:
        wanted = route.path.split("/")
        fits = len(parts) == len(wanted) and all(
            one.startswith("{") or one == other for one, other in zip(wanted, parts, strict=True)
        )
        if fits and route.method == ("GET" if method == "HEAD" else method):
            return route
    return None


def hold_to_schema(method: str, path: str, reply: Reply) -> None:
    assert "Server" not in reply.headers
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    if method == "HEAD":
        assert reply.data == b""
        return
    route = route_of(method, path) if path.startswith(API) else None
    if route is not None and reply.status in route.also:
        fault = first_fault(reply.json, COMPONENTS[route.also[reply.status]], COMPONENTS)
        assert fault is None, reply.data
        return
    if reply.status >= 400:
        assert reply.headers["Content-Type"] == "application/json"
        assert first_fault(reply.json, COMPONENTS["Error"], COMPONENTS) is None, reply.data
        assert b"Traceback" not in reply.data and b".py" not in reply.data
        return
    if route is not None:
        assert reply.status == route.status, (method, path, reply.status)
        if route.status == 204:
            assert reply.data == b""
        elif route.answer is not None:
            assert first_fault(reply.json, COMPONENTS[route.answer], COMPONENTS) is None, reply.data


@dataclass
class Stand:
    """Everything a test may want to touch."""

    northbound: Northbound
    identity: Identity
    devices: FakeDevices
    broker: FakeBroker
    loop: asyncio.AbstractEventLoop
    state: Path
    web: Path
    log: FakeLog
    files: FileStore
    trust: Trust
    security: FakeSecurity
    bootstrap: FakeBootstrap

    @property
    def port(self) -> int:
        return self.northbound.port

    def in_loop(self, call: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def browser(self, *scopes: str, **more: Any) -> Browser:
        token = self.identity.create_token("test", scopes) if scopes else ""
        return Browser(self.port, token=token, **more)

    def narrowed(self, **groups: str) -> Browser:
        """Ines, logged in, narrowed to groups: "every" stands for every device."""
        rights = {"*" if group == "every" else group: right for group, right in groups.items()}
        self.trust.vault.set_permissions("ines", rights, "test")
        browser = Browser(self.port)
        assert browser.log_in().status == 200
        return browser


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="session")
def tls_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that not every server makes a key."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def stand(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, tls_folder: Path
) -> Iterator[Callable[..., Stand]]:
    started: list[Northbound] = []

    def build(*, account: bool = True, start: bool = True, state: Path = tls_folder, **changed: Any) -> Stand:
        web = tmp_path / "web"
        web.mkdir(exist_ok=True)
        (web / "index.html").write_text(INDEX)
        (web / "app.js").write_text("'use strict';\n" + "// nothing\n" * 100)
        (web / "small.css").write_text("p{color:red}")
        (web / ".hidden.html").write_text("no")
        (web / "notes.md").write_text("no")
        (tmp_path / "secret.txt").write_text("no")
        identity = Identity(
            tmp_path / "identity", IdentitySettings(argon2_memory_kib=8192, argon2_iterations=1)
        )
        if account:
            identity.set_password("ines", PASSWORD, create=True)
        devices, broker, log = FakeDevices(loop), FakeBroker(), FakeLog()
        files = FileStore(tmp_path / "files", 1 << 20, 1 << 19, lambda: 1_777_888_800.0)
        files.open()
        own, security, bootstrap = authority(state), FakeSecurity(loop), FakeBootstrap(loop)
        vault = Vault(tmp_path / "vault", SealingKey(bytes(32)), VaultSettings(), lambda: 1_777_888_800.0)
        vault.open()
        trust = Trust(vault, Register(vault, own), own, security, bootstrap)
        northbound = Northbound(
            replace(HttpSettings(bind="127.0.0.1", port=0, threads=8, max_streams=4), **changed),
            devices=devices,
            broker=broker,
            identity=identity,
            authority=own,
            loop=loop,
            web=web,
            state=state,
            status=lambda: COMPONENTS["Status"]["example"],
            log=log,
            files=files,
            trust=trust,
        )
        if start:
            northbound.start()
            started.append(northbound)
        return Stand(
            northbound, identity, devices, broker, loop, state, web, log, files, trust, security, bootstrap
        )

    yield build
    for one in started:
        one.stop()
