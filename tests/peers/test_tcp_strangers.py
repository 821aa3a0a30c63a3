"""CoAP over TCP (RFC 8323) with other people's programs: libcoap and aiocoap, as devices and as servers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiocoap
import pytest
from aiocoap import resource
from aiocoap.numbers import codes

from appliance.coap import message as m
from appliance.coap.endpoint import RequestFailed, ResponseReceived
from appliance.coap.options import path_options
from appliance.coap.stream import StreamEndpoint
from tests.peers.strangers import PATIENCE_S, Gateway, command, fresh_name
from tests.ports import lasting_port

LINKS = "</1/0>,</3/0>,</3303/0>"
LONG_LINKS = ",".join(["</1/0>", "</3/0>", *(f"</3303/{instance}>" for instance in range(400))])
BODY = random.Random(7).randbytes(50_000)


# libcoap's client.


def coap(gateway: Gateway, method: str, target: str, *more: str) -> tuple[str, str, str]:
    """One request over a connection of its own: code, options and payload of the answer."""
    arguments = ["-v", "7", "-B", "20", "-m", method, *more, gateway.stream_uri + target]
    done = subprocess.run(
        [command("coap-client-notls"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    log = re.sub(r"\bsent +\d+ bytes\nv:\S+ .*", "", done.stdout + done.stderr)
    answers = re.findall(r"v:\S+ (?:t:\w+ )?c:([2-5]\.\d\d) .*?\[ ?(.*?)\](.*)", log)
    assert answers, log
    code, options, rest = answers[-1]
    return code, options, rest + done.stdout


def register(gateway: Gateway, name: str, *more: str) -> tuple[str, str, str]:
    target = f"/rd?ep={name}&lt=300&lwm2m=1.1&b=T"
    return coap(gateway, "post", target, "-t", "40", *more)


def test_libcoap_reads_the_well_known_list(gateway: Gateway) -> None:
    code, _, payload = coap(gateway, "get", "/.well-known/core")
    assert code == "2.05" and "</rd>" in payload


def test_libcoap_registers_updates_and_deregisters(gateway: Gateway) -> None:
    name = fresh_name("libcoap-tcp")
    code, options, _ = register(gateway, name, "-e", LINKS)
    assert code == "2.01"
    location = "".join(f"/{part}" for part in re.findall(r"Location-Path:([^, \]]+)", options))
    device = gateway.api.device(name)
    assert device is not None
    assert [entry["id"] for entry in device["objects"]] == [1, 3, 3303]
    assert device["bearer"] == "TCP"
    assert coap(gateway, "post", location + "?lt=77")[0] == "2.04"
    device = gateway.api.device(name)
    assert device is not None and device["lifetime_s"] == 77
    assert coap(gateway, "delete", location)[0] == "2.02"
    assert coap(gateway, "post", location)[0] == "4.04"


@pytest.mark.parametrize("how", [(), ("-b", "64"), ("-b", "1024"), ("-X", "9000")], ids=" ".join)
def test_libcoap_registers_a_long_list(gateway: Gateway, tmp_path: Path, how: tuple[str, ...]) -> None:
    name = fresh_name("libcoap-tcp")
    body = tmp_path / "links"
    body.write_text(LONG_LINKS)
    assert register(gateway, name, *how, "-f", str(body))[0] == "2.01"
    device = gateway.api.device(name)
    assert device is not None
    assert [len(entry["instances"]) for entry in device["objects"] if entry["id"] == 3303] == [400]


@pytest.mark.parametrize(
    ("method", "target", "more", "code"),
    [
        ("get", "/no/such/path", (), "4.04"),
        ("get", "/rd", (), "4.05"),
        ("post", "/rd?ep=x&lt=60&lwm2m=9.9&b=T", ("-t", "40", "-e", LINKS), "4.12"),
        ("get", "/.well-known/core", ("-O", "65001,x"), "4.02"),
        ("get", "/.well-known/core", ("-O", "65000,x"), "2.05"),
    ],
    ids=["unknown path", "wrong method", "version", "unknown critical option", "unknown elective option"],
)
def test_libcoap_hears_what_is_wrong(
    gateway: Gateway, method: str, target: str, more: tuple[str, ...], code: str
) -> None:
    assert coap(gateway, method, target, *more)[0] == code


# aiocoap as a device: it keeps its connection, and is asked over it.


class Told(resource.Resource):  # type: ignore[misc]
    """A resource that keeps what it was told, and says how long each message was."""

    def __init__(self) -> None:
        super().__init__()
        self.content = b"Homard"

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=self.content, content_format=0)

    async def render_put(self, request: aiocoap.Message) -> aiocoap.Message:
        self.content = request.payload
        return aiocoap.Message(code=codes.CHANGED)


def site() -> tuple[resource.Site, Told]:
    told = Told()
    root = resource.Site()
    root.add_resource(("3", "0", "0"), told)
    root.add_resource(("5", "0", "0"), told)
    return root, told


@contextlib.asynccontextmanager
async def aiocoap_device(gateway: Gateway, name: str) -> AsyncIterator[Told]:
    context = await aiocoap.Context.create_client_context()
    try:
        context.serversite, told = site()
        target = f"{gateway.stream_uri}/rd?ep={name}&lt=300&lwm2m=1.1&b=T"
        message = aiocoap.Message(
            code=codes.POST, uri=target, payload=LONG_LINKS.encode() + b",</5/0>", content_format=40
        )
        answer = await asyncio.wait_for(context.request(message).response, PATIENCE_S)
        assert answer.code == codes.CREATED
        yield told
    finally:
        await context.shutdown()


def test_aiocoap_is_read_and_written_over_its_connection(gateway: Gateway) -> None:
    name = fresh_name("aiocoap-tcp")

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def operate(*what: Any, **more: Any) -> Any:
            return loop.run_in_executor(None, lambda: gateway.api.operate(name, *what, **more))

        async with aiocoap_device(gateway, name) as told:
            outcome = await operate("Read", "/3/0/0")
            assert [value["value"] for value in outcome["values"]] == ["Homard"]
            outcome = await operate("Write", "/5/0/0", value=BODY.hex())
            assert outcome["ok"], outcome
            assert told.content == BODY
        device = gateway.api.device(name)
        assert device is not None and device["bearer"] == "TCP"

    asyncio.run(main())


# Our engine as the one that connects, against servers.


class Wire:
    """A `StreamEndpoint` on a connection that we made."""

    def __init__(self, port: int) -> None:
        self._socket = _connected(port)
        self._frames: list[int] = []
        self.endpoint = StreamEndpoint(tap=self._tap)
        self.endpoint.opened("server", self.now)
        while not self.endpoint.is_open("server"):
            self._turn()

    @property
    def now(self) -> float:
        return time.monotonic()

    def _tap(self, incoming: bool, peer: object, data: bytes) -> None:
        if not incoming:
            self._frames.append(len(data))

    def _turn(self) -> list[Any]:
        for data, _ in self.endpoint.take_outgoing(self.now):
            self._socket.sendall(data)
        assert self.endpoint.take_closing() == []
        data = self._socket.recv(65536)
        assert data, "the server closed the connection"
        return self.endpoint.receive(data, "server", self.now)

    def ask(self, code: int, path: str, payload: bytes = b"", **more: Any) -> tuple[Any, list[int]]:
        """The answer, and how long the messages were that asked for it."""
        self._frames.clear()
        self.endpoint.send_request(
            "server",
            code,
            path_options(path),
            payload,
            now=self.now,
            deadline=self.now + PATIENCE_S,
            key=None,
            **more,
        )
        while True:
            for event in self._turn():
                assert not isinstance(event, RequestFailed), event.reason
                if isinstance(event, ResponseReceived):
                    for data, _ in self.endpoint.take_outgoing(self.now):
                        self._socket.sendall(data)
                    return event.message, list(self._frames)

    def close(self) -> None:
        self._socket.close()


def _connected(port: int) -> socket.socket:
    """Servers take their time to listen; the kernel says at once when nobody does."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        except ConnectionRefusedError:
            assert time.monotonic() < until, "the server does not listen"


@pytest.fixture
def libcoap_server() -> Iterator[int]:
    port = lasting_port()
    process = subprocess.Popen(
        [command("coap-server-notls"), "-A", "127.0.0.1", "-p", str(port), "-d", "10"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield port
    process.kill()
    process.wait()


@pytest.mark.parametrize("body", [BODY[:20], BODY], ids=["short", "long"])
def test_what_we_upload_to_libcoap_comes_back(libcoap_server: int, body: bytes) -> None:
    wire = Wire(libcoap_server)
    answer, sizes = wire.ask(m.PUT, "/example_data", body)
    assert answer.code in (m.CREATED, m.CHANGED)
    assert len(sizes) == len(body) // 16384 + 1, "BERT, where there is more than one"
    answer, _ = wire.ask(m.GET, "/example_data")
    assert (answer.code, answer.payload) == (m.CONTENT, body)
    wire.close()


def test_bert_with_aiocoap() -> None:
    """It offers BERT in its CSM (§6): the body goes in a tenth of the messages."""
    port = lasting_port()

    async def main() -> tuple[bytes, list[int]]:
        root, told = site()
        context = await aiocoap.Context.create_server_context(
            root, bind=("127.0.0.1", port), transports=["tcpserver"]
        )

        def ask() -> list[int]:
            wire = Wire(port)
            answer, sizes = wire.ask(m.PUT, "/5/0/0", BODY)
            assert answer.code == m.CHANGED
            answer, _ = wire.ask(m.GET, "/5/0/0")
            assert answer.payload == BODY
            wire.close()
            return sizes

        try:
            sizes = await asyncio.wait_for(asyncio.to_thread(ask), PATIENCE_S)
        finally:
            await context.shutdown()
        return told.content, sizes

    content, sizes = asyncio.run(main())
    assert content == BODY
    assert len(sizes) == 4 and max(sizes) > 16384
