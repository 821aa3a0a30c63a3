"""Composite operations, Send, queue mode and the ledger of what a device carried out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import cbor2
import pytest

from appliance.simulator import composite
from appliance.simulator.payloads import FormatError, PayloadError
from tests.simulator.conftest import registered_device
from tests.simulator.scripted import (
    CHANGED,
    CONTENT,
    CONTENT_FORMAT,
    DELETED,
    GET,
    OBSERVE,
    POST,
    PUT,
    URI_QUERY,
)

FETCH, IPATCH = 5, 7
SENML_JSON, SENML_CBOR, ETCH_CBOR, TLV = 110, 112, 322, 11542


def names(payload: bytes) -> dict[str, object]:
    """The values of a SenML CBOR pack by name, read without the simulator."""
    base = ""
    found = {}
    for record in cbor2.loads(payload):
        base = record.get(-2, base)
        found[base + record.get(0, "")] = next(record[key] for key in (2, 3, 4, 8, "vlo") if key in record)
    return found


def run(coroutine) -> None:
    asyncio.run(coroutine)


def test_read_composite_leaves_out_what_is_not_there() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            body = cbor2.dumps([{0: path} for path in ("/3/0/0", "/3/0/6/1", "/3339/0/5522", "/1/0/8")])
            answer = await server.ask(
                register, FETCH, "/", body, content_format=SENML_CBOR, accept=SENML_CBOR
            )
            assert (answer.code, answer.number(CONTENT_FORMAT)) == (CONTENT, SENML_CBOR)
            assert names(answer.payload) == {"/3/0/0": "Homard", "/3/0/6/1": 5}
            answer = await server.ask(register, FETCH, "/", b"\x01", content_format=SENML_CBOR)
            assert answer.code == 0x80
            answer = await server.ask(register, FETCH, "/", body, content_format=TLV)
            assert answer.code == 0x86

    run(scenario())


def test_read_composite_of_the_root_shows_every_object_in_json() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            body = json.dumps([{"n": "/"}]).encode()
            answer = await server.ask(register, FETCH, "/", body, content_format=SENML_JSON)
            assert answer.number(23) is not None or b"/3303/" in answer.payload

    run(scenario())


def test_write_composite_is_all_or_nothing() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, device):
            for broken, code in ((True, 0x85), (False, CHANGED)):
                records = [{0: "/1/0/1", 2: 61}, {0: "/3/0/14", 3: "Z"}]
                records += [{0: "/3/0/0", 3: "nobody"}] if broken else []
                answer = await server.ask(
                    register, IPATCH, "/", cbor2.dumps(records), content_format=ETCH_CBOR
                )
                assert answer.code == code
                assert device.tree.value((1, 0, 1), 0) == (300 if broken else 61)
            assert device.tree.value((3, 0, 14), "") == "Z"
            await server.until(lambda: server.updates)
            assert server.updates[-1].texts(URI_QUERY) == ["lt=61"]

    run(scenario())


def test_observe_composite_reports_every_path_and_ends_with_observe_1() -> None:
    async def scenario() -> None:
        async with registered_device(period_s=0.02) as (server, register, device):
            body = cbor2.dumps([{0: "/3303/0/5700"}, {0: "/3/0/0"}])
            answer = await server.ask(
                register, FETCH, "/", body, token=b"obs", observe=0, content_format=SENML_CBOR
            )
            assert answer.number(OBSERVE) is not None
            await server.until(lambda: len(server.notifications) >= 2)
            report = server.notifications[0]
            assert report.token == b"obs"
            assert set(names(report.payload)) == {"/3303/0/5700", "/3/0/0"}
            await server.ask(register, FETCH, "/", body, token=b"obs", observe=1, content_format=SENML_CBOR)
            assert device.reporter.observations == {}

    run(scenario())


def test_send_once_per_period_until_it_is_muted(tmp_path: Path) -> None:
    async def scenario() -> None:
        ledger = tmp_path / "ledger"
        async with registered_device(period_s=0.02, send=True, ledger=ledger) as (server, register, device):
            await server.until(lambda: len(server.sends) >= 2)
            sent = server.sends[0]
            assert sent.number(CONTENT_FORMAT) == SENML_CBOR
            assert "/3303/0/5700" in names(sent.payload)
            answer = await server.ask(register, PUT, "/1/0/23", b"1", content_format=0)
            assert answer.code == CHANGED
            assert device._muted()
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        assert {line["code"] for line in lines if line["event"] == "sent"} == {"2.04 Changed"}

    run(scenario())


@pytest.mark.parametrize(
    ("version", "queries"), [("1.0", {"b=UQ"}), ("1.1", {"b=U", "Q"}), ("1.2", {"b=U", "Q"})]
)
def test_queue_mode_is_registered_as_the_version_has_it(version: str, queries: set[str]) -> None:
    async def scenario() -> None:
        async with registered_device(queue_awake_s=5.0, lwm2m=version) as (_server, register, _device):
            assert queries <= set(register.texts(URI_QUERY))

    run(scenario())


def test_a_sleeping_device_hears_nothing_until_it_speaks() -> None:
    async def scenario() -> None:
        async with registered_device(queue_awake_s=0.1, wake_every_s=3600.0) as (server, register, device):
            transport = device._stack.transport
            loop = asyncio.get_running_loop()
            while transport._awake_until > loop.time():
                await asyncio.sleep(transport._awake_until - loop.time())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await server.ask(register, GET, "/3/0/0")
            assert transport.slept_through >= 1
            device.update()
            await server.until(lambda: server.updates)
            answer = await server.ask(register, GET, "/3/0/0")
            assert answer.payload == b"Homard"

    run(scenario())


def test_the_ledger_counts_what_was_carried_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        ledger = tmp_path / "ledger"
        async with registered_device(ledger=ledger) as (server, register, _device):
            for _ in range(2):
                await server.ask(register, POST, "/3/0/12", b"0='x'")
            await server.ask(register, PUT, "/3/0/14", b"Z", content_format=0)
            await server.ask(register, PUT, "/3/0/0", b"Z", content_format=0)  # not writable: not counted
            created = await server.ask(register, POST, "/3303")
            assert created.code == 0x41
            deleted = await server.ask(register, 4, "/3303/1")
            assert deleted.code == DELETED
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        performed = [
            (one["operation"], one["path"], one["detail"]) for one in lines if one["event"] == "performed"
        ]
        assert performed == [
            ("Execute", "/3/0/12", "0='x'"),
            ("Execute", "/3/0/12", "0='x'"),
            ("Write", "/3/0/14", "Z"),
            ("Create", "/3303/1", None),
            ("Delete", "/3303/1", None),
        ]

    run(scenario())


@pytest.mark.parametrize(
    "payload", [b"", b"\x80", b"\x81\x01", cbor2.dumps([{0: "3/0"}]), cbor2.dumps([{0: "/x"}])]
)
def test_what_names_no_paths_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        composite.decode_paths(SENML_CBOR, payload)
    with pytest.raises(FormatError):
        composite.decode_paths(TLV, payload)
