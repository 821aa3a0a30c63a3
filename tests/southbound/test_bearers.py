"""Several bearers at once: connections that end, devices that move, and what is seen of it (RFC 8323)."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from appliance.lwm2m.operations import Execute, Observe, Read
from appliance.lwm2m.path import Path
from appliance.southbound.client import Peer, same_place
from appliance.southbound.log import ProtocolLog
from appliance.southbound.server import Observation
from appliance.southbound.tcp import TcpPeer
from tests.southbound.scripted import Bench, Device

SENSOR, REBOOT = Path.parse("/3303/0/5700"), Path.parse("/3/0/4")


async def observed(bench: Bench, device: Device) -> tuple[Observation, bytes]:
    response = bench.asked(Observe(SENSOR))
    request = await device.receive()
    await device.answer(request, codes.CONTENT, b"21.5", 0, observe=0)
    observation = (await response).observation
    assert observation is not None
    return observation, request.token


# A connection that ends


def test_what_was_asked_over_a_connection_ends_with_it(bench: Bench) -> None:
    async def run() -> None:
        device = await bench.device("TCP")
        under_way, waiting = bench.asked(Read(SENSOR)), bench.asked(Execute(REBOOT))
        await device.receive()
        device.close()
        assert (await under_way).failure == (await waiting).failure == "connection-lost"
        assert await bench.uplink.gone.get() == bench.client.peer
        assert not bench.server._pending

    bench.run(run())


def test_without_a_connection_a_request_fails_in_a_moment_and_not_at_once(bench: Bench) -> None:
    async def run() -> None:
        device = await bench.device("TCP")
        device.close()
        await bench.uplink.gone.get()
        response = bench.asked(Read(SENSOR))
        assert not response.done(), "told before the caller could note what it had asked"
        end = await response
        assert (end.failure, end.code) == ("not connected", 0)

    bench.run(run())


def test_a_peer_as_it_is_stored_has_no_connection(bench: Bench) -> None:
    async def run() -> None:
        await bench.device("TCP")
        peer = bench.client.peer
        stored = bench.server.peer(json.loads(peer.to_json()))
        assert str(stored) == str(peer)
        assert not same_place(stored, peer)
        bench.client.peer = stored
        assert (await bench.asked(Read(SENSOR))).failure == "not connected"

    bench.run(run())


@pytest.mark.parametrize("stored", [["tcp"], ["tcp", 1], ["tcp", "::1", None], ["sms", "::1", 1], [], [2]])
def test_what_is_no_stored_peer_is_one_error(bench: Bench, stored: list[Any]) -> None:
    with pytest.raises(ValueError, match="not a stored"):
        bench.server.peer(stored)


def test_stopping_ends_what_is_under_way_and_every_connection(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        response = bench.asked(Read(SENSOR))
        await device.receive()
        bench.server.stop()
        assert (await response).failure == "cancelled"
        if bearer == "TCP":
            with pytest.raises(ConnectionError):
                await device.receive()

    bench.run(run())


def test_without_tcp_there_is_no_port() -> None:
    bench = Bench(tcp=False)
    try:
        assert bench.server.tcp_port == 0
        bench.run(_one_exchange(bench))
    finally:
        bench.close()


async def _one_exchange(bench: Bench) -> None:
    device = await bench.device("UDP")
    response = bench.asked(Read(SENSOR))
    await device.answer(await device.receive(), codes.CONTENT, b"21.5", 0)
    assert (await response).ok


# A device that moves


@pytest.mark.parametrize(
    ("first", "second"), [("UDP", "TCP"), ("TCP", "UDP"), ("TCP", "TCP"), ("UDP", "UDP")]
)
def test_a_device_takes_what_it_is_asked_along(bench: Bench, first: str, second: str) -> None:
    async def run() -> None:
        device = await bench.device(first)
        read, execute = bench.asked(Read(SENSOR)), bench.asked(Execute(REBOOT))
        asked = await device.receive()
        moved = await bench.stranger(second)
        assert (await moved.ask(codes.POST, "rd/5a")).code == codes.CHANGED
        assert bench.client.bearer == second
        again = await moved.receive()
        assert (again.code, again.opt.uri_path) == (asked.code, asked.opt.uri_path)
        await moved.answer(again, codes.CONTENT, b"21.5", 0)
        assert (await read).ok
        # It may have been done, and it must not be done twice.
        assert (await execute).failure == "moved"

    bench.run(run())


# Observations


def test_a_connection_keeps_the_order_so_the_number_is_not_looked_at(bench: Bench) -> None:
    """RFC 8323 §7.1: over a connection an Observe value may be empty, and stay so."""

    async def run() -> None:
        device = await bench.device("TCP")
        observation, token = await observed(bench, device)
        for number, value in (0, 1.5), (0, 2.5), (7, 3.5), (3, 4.5), (3, 4.5):
            await device.notify(token, str(value).encode(), 0, number)
            notification = await bench.uplink.notified.get()
            assert notification.observation is observation
            assert [report.value for report in notification.reports] == [value]

    bench.run(run())


def test_over_datagrams_an_older_number_is_acknowledged_and_not_taken(bench: Bench) -> None:
    async def run() -> None:
        device = await bench.device("UDP")
        _, token = await observed(bench, device)
        for number in 5, 4, 5, 6:
            await device.notify(token, str(number).encode(), 0, number)
        taken = [await bench.uplink.notified.get() for _ in range(2)]
        assert [notification.reports[0].value for notification in taken] == [5.0, 6.0]

    bench.run(run())


@pytest.mark.parametrize("other", ["TCP", "UDP"])
def test_the_right_token_over_another_connection_is_a_stranger(bench: Bench, other: str) -> None:
    async def run() -> None:
        device = await bench.device("TCP")
        _, token = await observed(bench, device)
        stranger = await bench.stranger(other)
        await stranger.notify(token, b"99.5", 0, 9)
        if other == "TCP":
            source = await bench.uplink.strange.get()
            assert source.peer.address == stranger.socket.getsockname()
        await device.notify(token, b"22.5", 0, 1)
        notification = await bench.uplink.notified.get()
        assert notification.reports[0].value == 22.5
        assert bench.uplink.notified.empty()

    bench.run(run())


def test_an_observation_that_is_ended_here_is_not_heard_any_more(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        observation, token = await observed(bench, device)
        bench.server.end_observation(observation)
        await device.notify(token, b"99.5", 0, 9)
        if bearer == "UDP":
            assert (await device.receive()).mtype is types.RST
        assert (await device.ask(codes.POST, "rd/5a")).code == codes.CHANGED
        assert bench.uplink.notified.empty()

    bench.run(run())


def test_an_error_ends_an_observation(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        observation, token = await observed(bench, device)
        await device.send(Message(code=codes.NOT_FOUND, payload=b"gone", _mtype=types.CON, _token=token))
        notification = await bench.uplink.notified.get()
        assert (notification.observation, notification.ended) == (observation, codes.NOT_FOUND)
        assert notification.warning == "gone"

    bench.run(run())


# The protocol log


def code_of(bearer: str, data: bytes) -> int:
    """The code of a datagram (RFC 7252 §3) or of a frame of less than 269 bytes (RFC 8323 §3.2)."""
    return data[1] if bearer == "UDP" or data[0] >> 4 < 13 else data[2]


class Seen:
    """What the server shows of its traffic."""

    def __init__(self) -> None:
        self.messages: list[tuple[bool, str, Peer, bytes]] = []
        self.names: dict[Peer, str] = {}

    def record(self, incoming: bool, bearer: str, peer: Peer, data: bytes) -> None:
        self.messages.append((incoming, bearer, peer, data))

    def name(self, peer: Peer, endpoint_name: str) -> None:
        self.names[peer] = endpoint_name


def test_every_message_of_both_bearers_is_shown_and_who_it_belongs_to(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        seen = Seen()
        bench.server.log = cast(ProtocolLog, seen)
        device = await bench.device(bearer)
        response = bench.asked(Read(SENSOR))
        await device.answer(await device.receive(), codes.CONTENT, b"21.5", 0)
        assert (await response).ok
        assert {(name, peer) for _, name, peer, _ in seen.messages} == {(bearer, bench.client.peer)}
        told = [(incoming, code_of(bearer, data)) for incoming, _, _, data in seen.messages]
        assert [(incoming, code) for incoming, code in told if code < 0xE0] == [
            (True, codes.POST),
            (False, codes.CREATED),
            (False, codes.GET),
            (True, codes.CONTENT),
        ]
        assert seen.names == {bench.client.peer: "d"}

    bench.run(run())


def test_connections_come_and_go_and_leave_nothing(bench: Bench) -> None:
    async def run() -> None:
        for _ in range(20):
            device = await bench.device("TCP")
            response = bench.asked(Read(SENSOR))
            await device.receive()
            device.close()
            assert (await response).failure == "connection-lost"
            assert isinstance(await bench.uplink.gone.get(), TcpPeer)
        await asyncio.sleep(0)
        sizes = bench.server._stream.table_sizes()
        assert (sizes["connections"], sizes["requests"], sizes["lines"]) == (0, 0, 0)
        assert not bench.server._open

    bench.run(run())


def test_one_callback_that_raises_does_not_take_the_others_along(
    bench: Bench, bearer: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        device = await bench.device(bearer)
        ran: list[int] = []

        def fails() -> None:
            raise RuntimeError("on purpose")

        bench.server._after_pump += [lambda: ran.append(1), fails, lambda: ran.append(2)]
        assert (await device.ask(codes.POST, "rd/5a")).code == codes.CHANGED
        assert (await device.ask(codes.POST, "rd/5a")).code == codes.CHANGED, "its connection was closed"
        assert ran == [1, 2]
        assert "on purpose" in caplog.text

    bench.run(run())
