"""Operations as a device sees them, the same over every bearer (OMA Transport 1.2.1 §6.4.3, §6.4.4)."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import pytest
from aiocoap import Message
from aiocoap.numbers import codes

from appliance.lwm2m.codecs import CodecError
from appliance.lwm2m.operations import (
    Create,
    Discover,
    Execute,
    Observe,
    ObserveComposite,
    Read,
    ReadComposite,
    Write,
    WriteComposite,
    WriteFile,
)
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from tests.southbound.scripted import Bench, Device

SERIAL, LIFETIME, SENSOR = Path.parse("/3/0/2"), Path.parse("/1/0/1"), Path.parse("/3303/0/5700")


def senml(*records: dict[str, Any]) -> bytes:
    """SenML-CBOR (RFC 8428 §6), by its labels."""
    labels = {"n": 0, "v": 2, "vs": 3, "bn": -2}
    return cbor2.dumps([{labels[name]: value for name, value in record.items()} for record in records])


def named(body: bytes) -> dict[str, Any]:
    """Name and value of every record; a base name holds until the next one (RFC 8428 §4.1)."""
    base, found = "", {}
    for record in cbor2.loads(body):
        base = record.get(-2, base)
        found[base + record.get(0, "")] = record.get(2, record.get(3))
    return found


def values(reports: Any) -> dict[str, Any]:
    return {str(report.path): report.value for report in reports}


def path_of(request: Message) -> str:
    return "/" + "/".join(request.opt.uri_path)


def test_a_read_goes_on_to_the_next_format_when_one_is_not_acceptable(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        response = bench.asked(Read(SENSOR))
        first = await device.receive()
        assert (first.code, path_of(first), first.opt.accept) == (codes.GET, "/3303/0/5700", 112)
        await device.answer(first, codes.NOT_ACCEPTABLE)
        second = await device.receive()
        assert second.opt.accept == 110
        assert second.token != first.token
        await device.answer(second, codes.CONTENT, b'[{"n":"/3303/0/5700","v":21.5}]', 110)
        assert values((await response).reports) == {"/3303/0/5700": 21.5}

        response = bench.asked(Read(SENSOR))
        third = await device.receive()
        assert third.opt.accept == 110, "what worked was not remembered"
        await device.answer(third, codes.NOT_FOUND, b"gone")
        end = await response
        assert (end.code_text, end.warning, end.ok) == ("4.04 Not Found", "gone", False)

    bench.run(run())


def test_read_composite_names_its_paths_in_its_body_only(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        response = bench.asked(ReadComposite((SERIAL, LIFETIME, SENSOR)))
        request = await device.receive()
        assert request.code == codes.FETCH
        assert request.opt.uri_path == ()
        assert (request.opt.content_format, request.opt.accept) == (112, 112)
        assert list(named(request.payload)) == ["/3/0/2", "/1/0/1", "/3303/0/5700"]
        body = senml({"n": "/3/0/2", "vs": "ab"}, {"n": "/3303/0/5700", "v": 21.5}, {"n": "/5/0/3", "v": 0})
        await device.answer(request, codes.CONTENT, body, 112)
        # One path is missing and one was never asked for: neither is an error.
        end = await response
        assert values(end.reports) == {"/3/0/2": "ab", "/3303/0/5700": 21.5}
        assert end.warning == ""

    bench.run(run())


def test_a_composite_goes_on_to_json_and_stays_there(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        for first_formats in (112, 110), (110,):
            response = bench.asked(ReadComposite((SERIAL, SENSOR)))
            for content_format in first_formats:
                request = await device.receive()
                assert (request.opt.content_format, request.opt.accept) == (content_format, content_format)
                if content_format == 112:
                    await device.answer(request, codes.UNSUPPORTED_CONTENT_FORMAT)
            assert [record["n"] for record in json.loads(request.payload)] == ["/3/0/2", "/3303/0/5700"]
            await device.answer(request, codes.CONTENT, b'[{"n":"/3/0/2","vs":"ab"}]', 110)
            assert values((await response).reports) == {"/3/0/2": "ab"}

    bench.run(run())


def test_an_answer_to_a_composite_that_cannot_be_decoded_is_said(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        response = bench.asked(ReadComposite((SERIAL, SENSOR)))
        await device.answer(await device.receive(), codes.CONTENT, b"\xff\xff", 112)
        end = await response
        assert end.ok
        assert end.reports == ()
        assert end.warning.startswith("the answer about 2 paths with content format 112 cannot be decoded")

    bench.run(run())


def test_write_composite_is_one_ipatch(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        reports = (
            Report(LIFETIME, 60, None, False),
            Report(Path.parse("/3/0/15"), "Europe/Vienna", None, False),
        )
        response = bench.asked(WriteComposite(reports))
        request = await device.receive()
        assert request.code == codes.iPATCH
        assert request.opt.uri_path == ()
        assert request.opt.content_format == 112
        assert request.opt.accept is None
        assert named(request.payload) == {
            "/1/0/1": 60,
            "/3/0/15": "Europe/Vienna",
        }
        await device.answer(request, codes.CHANGED)
        assert (await response).code_text == "2.04 Changed"

    bench.run(run())


def test_observe_composite_is_told_and_ended_by_the_very_same_request(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        response = bench.asked(ObserveComposite((SERIAL, SENSOR), {"pmin": "10"}))
        begun = await device.receive()
        assert (begun.code, begun.opt.observe, begun.opt.uri_query) == (codes.FETCH, 0, ("pmin=10",))
        body = senml({"n": "/3/0/2", "vs": "ab"}, {"n": "/3303/0/5700", "v": 21.5})
        await device.answer(begun, codes.CONTENT, body, 112, observe=1)
        end = await response
        observation = end.observation
        assert observation is not None
        assert observation.name == "/3/0/2,/3303/0/5700"
        assert values(end.reports) == {"/3/0/2": "ab", "/3303/0/5700": 21.5}

        await device.notify(begun.token, senml({"n": "/3303/0/5700", "v": 22.5}), 112, 2)
        notification = await bench.uplink.notified.get()
        assert notification.observation is observation
        assert values(notification.reports) == {"/3303/0/5700": 22.5}

        cancelled = bench.loop.create_task(bench.server.cancel_observation(observation, 20))
        ended = await device.receive()
        assert (ended.code, ended.opt.observe, ended.token) == (codes.FETCH, 1, begun.token)
        assert (ended.payload, ended.opt.uri_query) == (begun.payload, begun.opt.uri_query)
        await device.answer(ended, codes.CONTENT, body, 112)
        assert (await cancelled).ok

    bench.run(run())


def test_observe_takes_its_parameters_along(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer, version="1.2")
        response = bench.asked(Observe(SENSOR, {"pmin": "10", "gt": "-3.5", "con": "1"}))
        request = await device.receive()
        assert (request.code, request.opt.observe, path_of(request)) == (codes.GET, 0, "/3303/0/5700")
        assert request.opt.uri_query == ("pmin=10", "gt=-3.5", "con=1")
        await device.answer(request, codes.CONTENT, b"21.5", 0, observe=1)
        observation = (await response).observation
        assert observation is not None
        cancelled = bench.loop.create_task(bench.server.cancel_observation(observation, 20))
        ended = await device.receive()
        assert (ended.opt.observe, ended.token) == (1, request.token)
        assert (ended.opt.uri_query, ended.opt.accept) == (request.opt.uri_query, request.opt.accept)
        await device.answer(ended, codes.CONTENT, b"21.5", 0)
        assert (await cancelled).ok

    bench.run(run())


def test_a_device_that_answers_without_observing_is_not_observed(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        response = bench.asked(Observe(SENSOR))
        await device.answer(await device.receive(), codes.CONTENT, b"21.5", 0)
        end = await response
        assert end.ok
        assert end.observation is None

    bench.run(run())


@pytest.mark.parametrize("depth", [None, 0, 3])
def test_discover_with_a_depth(bench: Bench, bearer: str, depth: int | None) -> None:
    async def run() -> None:
        device = await bench.device(bearer, version="1.2")
        response = bench.asked(Discover(Path.parse("/3"), depth))
        request = await device.receive()
        assert (request.code, request.opt.accept, path_of(request)) == (codes.GET, 40, "/3")
        assert request.opt.uri_query == (() if depth is None else (f"depth={depth}",))
        await device.answer(request, codes.CONTENT, b"</3>,</3/0>;pmin=10,</3/0/11>;dim=2", 40)
        links = (await response).links
        assert links is not None
        assert [link.target for link in links] == ["/3", "/3/0", "/3/0/11"]

    bench.run(run())


def test_a_resource_instance_is_written_by_itself(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        path = Path.parse("/3/0/11/1")
        response = bench.asked(Write(path, (Report(path, 7, None, False),), True), content_format=0)
        request = await device.receive()
        assert (request.code, path_of(request), request.payload) == (codes.PUT, "/3/0/11/1", b"7")
        await device.answer(request, codes.CHANGED)
        assert (await response).ok

    bench.run(run())


# Alternate paths and prefixes (OMA Core 1.1.1 §6.2.1, trap 51)

ROOTED = "</lwm2m>;rt=oma.lwm2m;ct=112,</lwm2m/1/0>,</lwm2m/3303/0>"


async def behind_a_gateway(bench: Bench, bearer: str) -> Device:
    device = await bench.device(bearer, ROOTED)
    bench.client.prefix = "/d01"
    return device


def test_a_prefix_stands_after_the_alternate_path(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await behind_a_gateway(bench, bearer)
        response = bench.asked(Read(Path.parse("/3303/0")))
        request = await device.receive()
        assert path_of(request) == "/lwm2m/d01/3303/0"
        await device.answer(
            request, codes.CONTENT, senml({"bn": "/lwm2m/d01/3303/0/", "n": "5700", "v": 1.5}), 112
        )
        assert values((await response).reports) == {"/3303/0/5700": 1.5}

    bench.run(run())


def test_a_prefix_is_in_the_names_of_composites(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await behind_a_gateway(bench, bearer)
        response = bench.asked(ReadComposite((SENSOR, LIFETIME)))
        request = await device.receive()
        assert list(named(request.payload)) == ["/lwm2m/d01/3303/0/5700", "/lwm2m/d01/1/0/1"]
        await device.answer(request, codes.CONTENT, senml({"n": "/lwm2m/d01/1/0/1", "v": 60}), 112)
        assert values((await response).reports) == {"/1/0/1": 60}

        response = bench.asked(ReadComposite((SENSOR, LIFETIME)))
        neighbours = senml({"n": "/lwm2m/d02/1/0/1", "v": 60})
        await device.answer(await device.receive(), codes.CONTENT, neighbours, 112)
        end = await response
        assert end.reports == ()
        assert "cannot be decoded" in end.warning

        response = bench.asked(WriteComposite((Report(LIFETIME, 60, None, False),)))
        request = await device.receive()
        assert named(request.payload) == {"/lwm2m/d01/1/0/1": 60}
        await device.answer(request, codes.CHANGED)
        assert (await response).ok

    bench.run(run())


@pytest.mark.parametrize("listed", [b"</3303/0>", b"</lwm2m/3303/0>", b"</lwm2m/d01/3303/0>"])
def test_links_are_taken_with_and_without_what_stands_in_front(
    bench: Bench, bearer: str, listed: bytes
) -> None:
    async def run() -> None:
        device = await behind_a_gateway(bench, bearer)
        response = bench.asked(Discover(Path.parse("/3303")))
        request = await device.receive()
        assert path_of(request) == "/lwm2m/d01/3303"
        await device.answer(request, codes.CONTENT, listed, 40)
        links = (await response).links
        assert links is not None
        assert [link.target for link in links] == ["/3303/0"]

    bench.run(run())


@pytest.mark.parametrize("place", [("3303", "7"), ("lwm2m", "3303", "7"), ("lwm2m", "d01", "3303", "7")])
def test_what_was_created_is_named_without_what_stands_in_front(
    bench: Bench, bearer: str, place: tuple[str, ...]
) -> None:
    async def run() -> None:
        device = await behind_a_gateway(bench, bearer)
        response = bench.asked(
            Create(3303, None, (Report(Path.parse("/3303/65535/5700"), 1.5, None, False),))
        )
        request = await device.receive()
        assert (request.code, path_of(request)) == (codes.POST, "/lwm2m/d01/3303")
        await device.answer(request, codes.CREATED, location_path=place)
        assert (await response).location == "/3303/7"

    bench.run(run())


# Large bodies


def test_a_file_is_written_block_by_block_and_tells_how_far_it_is(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        package = bytes(range(256)) * 400 + b"end"
        told: list[tuple[int, int]] = []
        response = bench.asked(
            WriteFile(Path.parse("/5/0/0"), memoryview(package)), progress=lambda *so_far: told.append(so_far)
        )
        assert await device.take_body(codes.CHANGED) == package
        assert (await response).ok
        assert told[-1] == (len(package), len(package))
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert len(told) > 1

    bench.run(run())


def test_paths_that_fill_more_than_a_block_are_still_one_composite(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        paths = tuple(Path.parse(f"/3303/{number}/5700") for number in range(300))
        response = bench.asked(ReadComposite(paths))
        body = await device.take_body(codes.CONTENT)
        assert list(named(body)) == [str(path) for path in paths]
        assert (await response).ok

    bench.run(run())


def test_what_cannot_be_encoded_is_refused_before_anything_is_sent(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        await bench.device(bearer)
        with pytest.raises(CodecError):
            bench.asked(Write(LIFETIME, (Report(LIFETIME, 2**70, None, False),), True), content_format=112)
        assert not bench.server._pending

    bench.run(run())


def test_a_full_line_is_told_in_a_moment_and_not_at_once(bench: Bench, bearer: str) -> None:
    """Whoever asks again as soon as he hears of it must not go round in circles."""

    async def run() -> None:
        await bench.device(bearer)
        under_way = [bench.asked(Execute(Path.parse("/3/0/4"))) for _ in range(64)]
        refused = bench.asked(Execute(Path.parse("/3/0/4")))
        assert not refused.done()
        assert (await refused).failure == "queue full"
        bench.server.forget(bench.client)
        assert {(await request).failure for request in under_way} == {"cancelled"}

    bench.run(run())
