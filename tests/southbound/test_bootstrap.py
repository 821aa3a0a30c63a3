"""The bootstrap interface over the wire (OMA Transport §6.4.2), the same over every bearer."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.lwm2m.operations import (
    BootstrapDelete,
    BootstrapDiscover,
    BootstrapFinish,
    BootstrapPackRequest,
    BootstrapRead,
    BootstrapRequest,
    BootstrapWrite,
)
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from appliance.southbound.server import Reply, Source
from tests.southbound.scripted import Bench, Device

ALTERNATE = '</lwm2m>;rt="oma.lwm2m";ct=11542,</lwm2m/1/0>,</lwm2m/3/0>'
TLV, SENML_CBOR, SENML_JSON = 11542, 112, 110
WRITE = BootstrapWrite(
    Path(1, 0), (Report(Path(1, 0, 0), 1, None, True), Report(Path(1, 0, 1), 300, None, True))
)


class Bootstraps:
    """Keeps what is asked, and answers as it is told."""

    def __init__(self, code: str = "changed") -> None:
        self.asked: list[tuple[BootstrapRequest | BootstrapPackRequest, Source]] = []
        self.code = code

    def bootstrap(
        self, operation: BootstrapRequest | BootstrapPackRequest, source: Source, reply: Reply
    ) -> None:
        self.asked.append((operation, source))
        if isinstance(operation, BootstrapPackRequest):
            reply.content(operation.content_format or SENML_CBOR, b"\x80")
        elif self.code == "changed":
            reply.changed()
        else:
            reply.bad_request("not here")


def path_of(request: Message) -> str:
    return "/" + "/".join(request.opt.uri_path)


def test_requests_are_handed_up_with_what_they_say(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.stranger(bearer)
        bench.server.bootstrap = above = Bootstraps()
        answer = await device.ask(codes.POST, "bs", query=("ep=d", "pct=112", "x"))
        assert (answer.code, answer.payload) == (codes.CHANGED, b"")
        answer = await device.ask(codes.GET, "bspack", query=("ep=d",), accept=SENML_JSON)
        assert (answer.code, answer.opt.content_format) == (codes.CONTENT, SENML_JSON)
        assert [operation for operation, _ in above.asked] == [
            BootstrapRequest("d", SENML_CBOR, (("x", None),)),
            BootstrapPackRequest("d", SENML_JSON),
        ]
        assert {source.bearer for _, source in above.asked} == {bearer}

    bench.run(run())


@pytest.mark.parametrize(
    ("code", "path", "query", "accept", "expected"),
    [
        (codes.GET, "bs", ("ep=d",), None, codes.METHOD_NOT_ALLOWED),
        (codes.PUT, "bs", ("ep=d",), None, codes.METHOD_NOT_ALLOWED),
        (codes.POST, "bspack", ("ep=d",), None, codes.METHOD_NOT_ALLOWED),
        (codes.POST, "bs", ("ep=d", "pct=0"), None, codes.UNSUPPORTED_CONTENT_FORMAT),
        (codes.POST, "bs", ("ep=d", "ep=e"), None, codes.BAD_REQUEST),
        (codes.GET, "bspack", ("ep=d",), 0, codes.NOT_ACCEPTABLE),
        (codes.POST, "bs/0", ("ep=d",), None, codes.NOT_FOUND),
    ],
)
def test_what_cannot_be_asked_is_answered_here(
    bench: Bench, bearer: str, code: Any, path: str, query: tuple[str, ...], accept: int | None, expected: Any
) -> None:
    async def run() -> None:
        device = await bench.stranger(bearer)
        bench.server.bootstrap = above = Bootstraps()
        assert (await device.ask(code, path, query=query, accept=accept)).code == expected
        assert above.asked == []

    bench.run(run())


def test_without_a_bootstrap_server_there_is_no_bs(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.stranger(bearer)
        assert (await device.ask(codes.POST, "bs", query=("ep=d",))).code == codes.NOT_FOUND
        assert (await device.ask(codes.GET, "bspack", query=("ep=d",))).code == codes.NOT_FOUND

    bench.run(run())


async def carried(
    device: Device, bench: Bench, operation: Any, code: Any, **answer: Any
) -> tuple[Message, Any]:
    """What a bootstrap operation looks like on the wire, and how it ended."""
    asked = bench.asked(operation)
    request = await device.receive()
    await device.answer(request, code, **answer)
    return request, await asked


def test_the_alternate_path_is_never_used(bench: Bench, bearer: str) -> None:
    """OMA Core §6.1.7: bootstrapping happens below the root, wherever the objects are else (trap 48)."""

    async def run() -> None:
        device = await bench.device(bearer, ALTERNATE)
        for operation, method, path, accept in (
            (BootstrapDiscover(Path()), codes.GET, "/", 40),
            (BootstrapDiscover(Path(1)), codes.GET, "/1", 40),
            (BootstrapRead(Path(1)), codes.GET, "/1", TLV),
            (WRITE, codes.PUT, "/1/0", None),
            (BootstrapDelete(Path(1, 0)), codes.DELETE, "/1/0", None),
            (BootstrapDelete(Path()), codes.DELETE, "/", None),
            (BootstrapFinish(), codes.POST, "/bs", None),
        ):
            request, response = await carried(device, bench, operation, codes.CHANGED)
            assert (request.code, path_of(request), request.opt.accept) == (method, path, accept)
            assert response.ok
            if method is not codes.PUT:
                assert request.payload == b""

    bench.run(run())


def test_a_write_names_its_instance_in_every_format(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer, ALTERNATE)
        asked = bench.asked(WRITE)
        seen = {}
        while not asked.done():
            request = await device.receive()
            seen[int(request.opt.content_format)] = request.payload
            await device.answer(request, codes.UNSUPPORTED_CONTENT_FORMAT)
            await asyncio.sleep(0.01)
        assert seen[TLV] == bytes.fromhex("c10001c201012c")
        assert b'"bn":"/1/0/"' in seen[SENML_JSON]
        assert b"lwm2m" not in b"".join(seen.values())
        assert (await asked).code == 0x8F

    bench.run(run())


def test_what_a_device_has_is_read_with_and_without_the_old_beginning(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        operation = BootstrapDiscover(Path())
        for head, version in (("</>;lwm2m=1.1,", "1.1"), ('lwm2m="1.0",', "1.0")):
            payload = f"{head}</0/0>,</0/1>;ssid=1,</1/0>;ssid=1".encode()
            _, response = await carried(
                device, bench, operation, codes.CONTENT, payload=payload, content_format=40
            )
            assert response.links is not None
            assert [link.target for link in response.links] == ["/", "/0/0", "/0/1", "/1/0"]
            assert response.links[0].get("lwm2m") == version
        _, response = await carried(
            device, bench, operation, codes.CONTENT, payload=b"\xff", content_format=40
        )
        assert response.links is None
        assert "cannot be read" in response.warning

    bench.run(run())


def test_a_read_gives_values(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        _, response = await carried(
            device,
            bench,
            BootstrapRead(Path(1)),
            codes.CONTENT,
            payload=bytes.fromhex("0700c10001c201012c"),
            content_format=TLV,
        )
        assert {str(report.path): report.value for report in response.reports} == {"/1/0/0": 1, "/1/0/1": 300}

    bench.run(run())


def test_whatever_is_asked_of_bs_gets_one_answer(bench: Bench) -> None:
    """Random queries and options: an answer each time, and nothing raises (the loop's faults are counted)."""
    dice = random.Random(11)
    words = [b"ep=", b"ep=d", b"pct=", b"pct=112", b"pct=99999999999", b"\xff", b"=", b"ep=\x00", b"Q" * 200]

    async def run() -> None:
        device = await bench.stranger("UDP")
        bench.server.bootstrap = Bootstraps()
        for _ in range(200):
            code = dice.choice((codes.POST, codes.GET))
            message = Message(
                code=code, _mtype=types.CON, _token=os.urandom(4), payload=os.urandom(dice.randrange(9))
            )
            message.opt.uri_path = (dice.choice(("bs", "bspack")),)
            message.opt.accept = dice.choice((None, 0, 112, 65535))
            data = bytearray((await _encoded(device, message)).encode())
            for word in dice.sample(words, dice.randrange(3)):
                place = data.find(b"bs")
                if dice.random() < 0.5 and place > 0:
                    data[place : place + len(word)] = word[: len(data) - place]
            await bench.loop.sock_sendall(device.socket, bytes(data))
        answer = await device_answers(device, bench)
        assert answer.code == codes.CHANGED

    bench.run(run())


async def _encoded(device: Device, message: Message) -> Message:
    device._mid = device._mid + 1 & 0xFFFF
    message.mid = device._mid
    return message


async def device_answers(device: Device, bench: Bench) -> Message:
    """The answer to one more, sound request, among all the others."""
    device._mid = device._mid + 1 & 0xFFFF
    message = Message(code=codes.POST, _mtype=types.CON, _token=b"last", _mid=device._mid)
    message.opt.uri_path, message.opt.uri_query = ("bs",), ("ep=d",)
    await bench.loop.sock_sendall(device.socket, message.encode())
    while True:
        answer = await device.receive()
        if answer.token == b"last":
            return answer
