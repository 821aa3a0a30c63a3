"""EST over CoAPs (RFC 9148): paths, methods, content formats, and who may ask at all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from aiocoap.numbers import codes
from aiocoap.optiontypes import BlockOption

from appliance.coap.endpoint import RequestReceived
from appliance.southbound.est import AuthorityCertificates, Enrol, EstOperation
from appliance.southbound.resources import serve
from appliance.southbound.server import Reply, Source
from tests.southbound.scripted import Bench, Device

BLOCK = BlockOption.BlockwiseTuple
REQUEST = bytes(range(256)) * 5


class Enrolment:
    """The room above: grants everything, and keeps what was asked."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.asked: list[EstOperation] = []
        self.sources: list[Source] = []

    def enrol(self, operation: EstOperation, source: Source, reply: Reply) -> None:
        self.asked.append(operation)
        self.sources.append(source)
        if isinstance(operation, AuthorityCertificates):
            reply.content(operation.content_format, b"authority")
        else:
            self.bench.loop.call_later(0.01, reply.changed_to, operation.content_format, b"granted")


class EstBench(Bench):
    """Whoever comes, comes over DTLS and has proved ``identity``; without one, over UDP."""

    identity: str | None = "psk:d"

    def __init__(self) -> None:
        super().__init__()
        self.enrolment = Enrolment(self)

        def on_request(request: RequestReceived) -> None:
            bearer = "UDP" if self.identity is None else "DTLS"
            source = Source(request.peer, bearer, self.identity)
            answer = partial(serve, request, source, self.uplink, self.server, lambda _: None)
            answer(enrolment=self.enrolment)

        self.server._on_request = on_request  # type: ignore[method-assign]


@pytest.fixture
def est() -> Iterator[EstBench]:
    bench = EstBench()
    yield bench
    bench.close()


def test_the_three_resources_by_both_paths(est: EstBench) -> None:
    async def run() -> None:
        device = await est.stranger("UDP")
        for root in ("est", ".well-known/est"):
            answer = await device.ask(codes.GET, f"{root}/crts")
            assert answer.code == codes.CONTENT
            assert (answer.opt.content_format, answer.payload) == (281, b"authority")
            for name in ("sen", "sren"):
                answer = await device.ask(codes.POST, f"{root}/{name}", payload=b"csr", content_format=286)
                assert answer.code == codes.CHANGED
                assert (answer.opt.content_format, answer.payload) == (281, b"granted")
        expected = [AuthorityCertificates(281), Enrol(b"csr", False, 281), Enrol(b"csr", True, 281)]
        assert est.enrolment.asked == expected * 2
        assert {source.identity for source in est.enrolment.sources} == {"psk:d"}

    est.run(run())


def test_the_format_of_the_answer_is_the_one_that_is_accepted(est: EstBench) -> None:
    async def run() -> None:
        device = await est.stranger("UDP")
        for accept in (281, 287):
            answer = await device.ask(codes.GET, "est/crts", accept=accept)
            assert answer.opt.content_format == accept
            answer = await device.ask(codes.POST, "est/sen", payload=b"c", content_format=286, accept=accept)
            assert answer.opt.content_format == accept
        answer = await device.ask(codes.GET, "est/crts", accept=60)
        assert answer.code == codes.NOT_ACCEPTABLE and answer.payload

    est.run(run())


def test_what_is_refused(est: EstBench) -> None:
    async def run() -> None:
        device = await est.stranger("UDP")
        for code, path, payload, content_format, expected in (
            (codes.POST, "crts", b"", None, codes.METHOD_NOT_ALLOWED),
            (codes.GET, "sen", b"", None, codes.METHOD_NOT_ALLOWED),
            (codes.PUT, "sren", b"x", 286, codes.METHOD_NOT_ALLOWED),
            (codes.POST, "sen", b"x", 0, codes.UNSUPPORTED_CONTENT_FORMAT),
            (codes.POST, "sen", b"", 286, codes.BAD_REQUEST),
            (codes.GET, "att", b"", None, codes.NOT_FOUND),
            (codes.POST, "skg", b"x", 286, codes.NOT_FOUND),
            (codes.POST, "skc", b"x", 286, codes.NOT_FOUND),
        ):
            answer = await device.ask(code, f"est/{path}", payload=payload, content_format=content_format)
            assert answer.code == expected, (path, answer)
            assert answer.payload, path
        assert (await device.ask(codes.GET, "est")).code == codes.NOT_FOUND
        assert not est.enrolment.asked

    est.run(run())


def test_a_request_may_come_in_blocks(est: EstBench) -> None:
    async def run() -> None:
        device = await est.stranger("UDP")
        for number in range(0, len(REQUEST), 64):
            more = number + 64 < len(REQUEST)
            answer = await device.ask(
                codes.POST,
                "est/sen",
                payload=REQUEST[number : number + 64],
                content_format=286,
                block1=BLOCK(number // 64, more, 2),
            )
            assert answer.code == (codes.CONTINUE if more else codes.CHANGED)
        assert est.enrolment.asked == [Enrol(REQUEST, False, 281)]

    est.run(run())


def test_only_who_has_proved_to_be_somebody_is_told_of_it(est: EstBench) -> None:
    async def links(device: Device) -> bytes:
        return bytes((await device.ask(codes.GET, ".well-known/core", query=("rt=ace.est*",))).payload)

    async def run() -> None:
        device = await est.stranger("UDP")
        for name in ("crts", "sen", "sren"):
            assert f'</est/{name}>;rt="ace.est.{name}";ct="281 287"'.encode() in await links(device)
        est.identity = None
        assert b"est" not in await links(device)
        for code, name in ((codes.GET, "crts"), (codes.POST, "sen"), (codes.GET, "nonsense")):
            answer = await device.ask(code, f"est/{name}", payload=b"x" if code is codes.POST else b"")
            assert answer.code == codes.UNAUTHORIZED
        assert not est.enrolment.asked

    est.run(run())


def test_without_an_authority_there_is_none(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.stranger(bearer)
        assert (await device.ask(codes.GET, "est/crts")).code == codes.NOT_FOUND
        assert (await device.ask(codes.GET, ".well-known/est/crts")).code == codes.NOT_FOUND

    bench.run(run())
