"""What devices find here, the same over every bearer: /rd, /dp, files, the list of these."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path as File

from aiocoap.numbers import codes
from aiocoap.optiontypes import BlockOption

from appliance.southbound.server import ServedFile
from tests.southbound.scripted import Bench, Device

SIX = BlockOption.BlockwiseTuple


async def fetched(device: Device, path: str) -> tuple[bytes, set[bytes]]:
    """A body in blocks of 1024, and the ETags of its blocks."""
    body, etags, number = b"", set(), 0
    while True:
        answer = await device.ask(codes.GET, path, block2=SIX(number, False, 6))
        assert answer.code == codes.CONTENT, answer
        assert answer.opt.content_format == 42
        etags.add(answer.opt.etag)
        body += answer.payload
        if answer.opt.block2 is None or not answer.opt.block2.more:
            return body, etags
        number += 1


def test_registration_update_and_farewell(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        (source,) = bench.uplink.sources
        assert source.bearer == bench.client.bearer == bearer
        host, port = device.socket.getsockname()
        assert str(source.peer) == f"{host}:{port}"
        assert (await device.ask(codes.POST, "rd/5a", query=("lt=60",))).code == codes.CHANGED
        ((location, update),) = bench.uplink.updates
        assert (location, update.lifetime_s) == ("5a", 60)
        assert (await device.ask(codes.DELETE, "rd/5a")).code == codes.DELETED

    bench.run(run())


def test_what_is_not_there_and_what_cannot_be_done(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.stranger(bearer)
        for code, path, expected in (
            (codes.GET, "rd", codes.METHOD_NOT_ALLOWED),
            (codes.PUT, "rd/5a", codes.METHOD_NOT_ALLOWED),
            (codes.FETCH, "rd", codes.METHOD_NOT_ALLOWED),
            (codes.GET, "dp", codes.METHOD_NOT_ALLOWED),
            (codes.PUT, "f/link", codes.METHOD_NOT_ALLOWED),
            (codes.POST, ".well-known/core", codes.METHOD_NOT_ALLOWED),
            (codes.GET, "f", codes.NOT_FOUND),
            (codes.GET, "f/link", codes.NOT_FOUND),
            (codes.GET, "bs", codes.NOT_FOUND),
            (codes.POST, "rd/5a/0", codes.NOT_FOUND),
        ):
            answer = await device.ask(code, path)
            assert answer.code == expected, (code, path, answer)
        answer = await device.ask(codes.POST, "rd", query=("ep=d", "lwm2m=7.1"))
        assert answer.code == codes.PRECONDITION_FAILED
        assert answer.payload
        answer = await device.ask(codes.GET, ".well-known/core")
        assert answer.opt.content_format == 40
        assert b"</rd>" in answer.payload

    bench.run(run())


# Send (OMA Core 1.1.1 §6.4.6)


def test_send_goes_up_and_is_answered_from_there(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        answer = await device.ask(codes.POST, "dp", payload=b"[]", content_format=110)
        assert answer.code == codes.CHANGED
        assert bench.uplink.sent == [(110, b"[]")]
        assert bench.uplink.sources[0] == bench.uplink.sources[1], "not known as the one that registered"

    bench.run(run())


def test_a_long_send_in_blocks_goes_up_whole(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        body = bytes(range(256)) * 12 + b"end"
        for offset in range(0, len(body), 1024):
            more = offset + 1024 < len(body)
            block = SIX(offset // 1024, more, 6)
            answer = await device.ask(
                codes.POST, "dp", payload=body[offset : offset + 1024], content_format=112, block1=block
            )
            assert answer.code == (codes.CONTINUE if more else codes.CHANGED)
            assert bench.uplink.sent == ([] if more else [(112, body)])

    bench.run(run())


# Files (RFC 7959 §2.4, RFC 7252 §5.10.6)


def test_a_mapped_file_is_fetched_in_blocks_under_one_etag(bench: Bench, bearer: str, tmp_path: File) -> None:
    content = hashlib.shake_128(b"package").digest(300_001)
    (tmp_path / "package").write_bytes(content)

    async def run(view: memoryview) -> None:
        asked: list[str] = []

        def file(link: str) -> ServedFile | None:
            asked.append(link)
            return ServedFile(view, b"etag-of8") if link == "a1b2" else None

        bench.server.files = file
        device = await bench.stranger(bearer)
        assert await fetched(device, "f/a1b2") == (content, {b"etag-of8"})
        assert set(asked) == {"a1b2"}
        assert bench.server._endpoint.table_sizes()["served_bytes"] == 0, "a file was copied to be served"
        assert (await device.ask(codes.GET, "f/a1b3")).code == codes.NOT_FOUND

    with (
        (tmp_path / "package").open("rb") as package,
        mmap.mmap(package.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        bench.run(run(view))


def test_whoever_has_the_file_already_hears_so(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        bench.server.files = lambda _: ServedFile(bytes(3000), b"v2", 0)
        device = await bench.stranger(bearer)
        answer = await device.ask(codes.GET, "f/a1b2", etags=(b"v1", b"v2"))
        assert (answer.code, answer.opt.etag, answer.payload) == (codes.VALID, b"v2", b"")
        answer = await device.ask(codes.GET, "f/a1b2", etags=(b"v1",))
        assert (answer.code, answer.opt.etag, answer.opt.content_format) == (codes.CONTENT, b"v2", 0)
        # In the middle of a transfer the ETag says what the block belongs to.
        answer = await device.ask(codes.GET, "f/a1b2", etags=(b"v2",), block2=SIX(2, False, 6))
        assert (answer.code, len(answer.payload)) == (codes.CONTENT, 3000 - 2048)

    bench.run(run())


def test_a_file_that_went_in_the_middle_is_not_found(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        bench.server.files = lambda _: ServedFile(memoryview(bytes(3000)), b"v1")
        device = await bench.stranger(bearer)
        assert (await device.ask(codes.GET, "f/a1b2", block2=SIX(0, False, 6))).opt.block2.more
        bench.server.files = lambda _: None
        assert (await device.ask(codes.GET, "f/a1b2", block2=SIX(1, False, 6))).code == codes.NOT_FOUND

    bench.run(run())
