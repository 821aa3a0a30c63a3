"""A device that is aiocoap from end to end, over sockets: its client, its server, its OSCORE, its blocks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiocoap import Context, Message, resource
from aiocoap.credentials import CredentialsMap
from aiocoap.numbers import codes
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper

from appliance.lwm2m.operations import Execute, Observe, Read, Write
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from appliance.southbound.client import same_place
from appliance.southbound.oscore.context import LiveContexts
from appliance.southbound.oscore.peer import OscorePeer
from appliance.southbound.server import LwM2MServer, Observation
from appliance.southbound.settings import CoapSettings
from tests.southbound.oscore.crossing import MATERIAL, Book, DeviceContext, Shelf
from tests.southbound.scripted import _DEFINITIONS, PATIENCE_S, WALL, Bench

TEXT, SENSOR, REBOOT = Path.parse("/3/0/15"), Path.parse("/3303/0/5700"), Path.parse("/3/0/4")
LINKS = b"</1/0>,</3/0>,</3303/0>"


class Value(resource.ObservableResource):  # type: ignore[misc]
    """One resource: read, written, observed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.begun = asyncio.Event()

    async def add_observation(self, request: Any, observation: Any) -> None:
        await super().add_observation(request, observation)
        self.begun.set()

    async def render_get(self, request: Message) -> Message:
        return Message(code=codes.CONTENT, payload=self.text.encode(), content_format=0)

    async def render_put(self, request: Message) -> Message:
        self.text = request.payload.decode()
        return Message(code=codes.CHANGED)

    async def render_post(self, request: Message) -> Message:
        return Message(code=codes.CHANGED)

    def change(self, text: str) -> None:
        self.text = text
        self.updated_state()


class Stranger:
    """The device."""

    def __init__(self, bench: Bench, bearer: str, context: DeviceContext) -> None:
        port = bench.server.port if bearer == "UDP" else bench.server.tcp_port
        self.uri = f"{'coap' if bearer == 'UDP' else 'coap+tcp'}://127.0.0.1:{port}"
        self.text, self.sensor = Value("x"), Value("20.5")
        site = resource.Site()
        site.add_resource(["3", "0", "15"], self.text)
        site.add_resource(["3", "0", "4"], Value(""))
        site.add_resource(["3303", "0", "5700"], self.sensor)
        credentials = CredentialsMap()
        credentials[":server"] = context
        self.site = OscoreSiteWrapper(site, credentials)
        self.bearer = bearer
        self.context = context
        self.coap: Context

    async def open(self) -> None:
        if self.bearer == "UDP":
            self.coap = await Context.create_server_context(
                self.site, bind=("127.0.0.1", 0), transports=["oscore", "udp6"]
            )
        else:
            self.coap = await Context.create_client_context(transports=["oscore", "tcpclient"])
            self.coap.serversite = self.site
        self.coap.client_credentials[f"{self.uri}/*"] = self.context

    async def ask(self, path: str, payload: bytes = b"", code: Any = codes.POST) -> Message:
        message = Message(code=code, payload=payload, uri=f"{self.uri}/{path}", content_format=40)
        return await asyncio.wait_for(self.coap.request(message).response, PATIENCE_S)

    async def register(self, links: bytes = LINKS) -> None:
        answer = await self.ask("rd?ep=d&lt=300&lwm2m=1.1&b=U", links)
        assert answer.code == codes.CREATED, answer


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def bench(shelf: Shelf) -> Iterator[Bench]:
    bench = Bench()
    bench.server.protect(LiveContexts(Book(MATERIAL), shelf))
    yield bench
    bench.close()


@asynccontextmanager
async def stranger(bench: Bench, bearer: str, *, lost: bool = False) -> AsyncIterator[Stranger]:
    device = Stranger(bench, bearer, DeviceContext(lost=lost))
    await device.open()
    try:
        yield device
    finally:
        await device.coap.shutdown()


def test_it_registers_and_is_asked(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        async with stranger(bench, bearer) as device:
            await device.register()
            source = bench.uplink.sources[-1]
            assert (source.bearer, source.identity) == (bearer, "oscore:0a")
            assert type(source.peer) is OscorePeer
            response = await bench.asked(Read(TEXT))
            assert [report.value for report in response.reports] == ["x"], response
            assert (await bench.asked(Execute(REBOOT))).ok
            missing = await bench.asked(Read(Path.parse("/3/0/99")))
            assert missing.code == 0x84
            assert (await device.ask("rd/5a?lt=60")).code == codes.CHANGED
            assert (await device.ask("rd/5a", code=codes.DELETE)).code == codes.DELETED

    bench.run(run())


def test_bodies_of_many_blocks(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        async with stranger(bench, bearer) as device:
            links = LINKS + b"".join(b",</3303/%d>" % number for number in range(1, 400))
            await device.register(links)
            assert len(bench.client.objects.instances) == 402
            text = "0123456789" * 500
            assert (await bench.asked(Write(TEXT, (Report(TEXT, text, 0.0, True),), True))).ok
            assert device.text.text == text
            response = await bench.asked(Read(TEXT))
            assert [report.value for report in response.reports] == [text], response

    bench.run(run())


def test_it_notifies(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        async with stranger(bench, bearer) as device:
            await device.register()
            bench.client.identity = bench.uplink.sources[-1].identity
            response = await bench.asked(Observe(SENSOR))
            assert isinstance(response.observation, Observation), response
            for text in ("21.5", "22.5"):
                device.sensor.change(text)
                notification = await asyncio.wait_for(bench.uplink.notified.get(), PATIENCE_S)
                assert [report.value for report in notification.reports] == [float(text)]
                assert notification.source.identity == "oscore:0a"
                assert same_place(notification.source.peer, bench.client.peer)
            ended = await bench.server.cancel_observation(response.observation, 10)
            assert ended.ok, ended
            assert bench.server.oscore is not None
            assert bench.server.oscore.table_sizes()["asked"] == 0

    bench.run(run())


def test_a_device_that_lost_its_window_is_given_its_echo(bench: Bench, bearer: str) -> None:
    async def run() -> None:
        async with stranger(bench, bearer, lost=True) as device:
            # Our answer to its Register proved us fresh to it; so it has to forget that again.
            await device.register()
            device.context.recipient_replay_window._index = None
            response = await bench.asked(Read(TEXT))
            assert [report.value for report in response.reports] == ["x"], response

    bench.run(run())


def test_it_waits_for_the_disk(bench: Bench, shelf: Shelf, bearer: str) -> None:
    async def run() -> None:
        shelf.slow = True
        stop = asyncio.Event()

        async def disk() -> None:
            while not stop.is_set():
                await asyncio.sleep(0.02)
                shelf.commit()

        writing = asyncio.ensure_future(disk())
        async with stranger(bench, bearer) as device:
            await device.register()
            assert (await bench.asked(Read(TEXT))).ok
        stop.set()
        await writing

    bench.run(run())


def test_another_server_after_a_restart_knows_it(shelf: Shelf) -> None:
    """The registration's peer, the observation and the context are taken up again, without a new Register."""
    before = Bench()
    before.server.protect(LiveContexts(Book(MATERIAL), shelf))

    async def run() -> None:
        async with stranger(before, "UDP") as device:
            await device.register()
            first = await before.asked(Observe(SENSOR))
            assert first.observation is not None
            observation, registered = first.observation, before.client
            stored, port = registered.peer.to_json(), before.server.port
            before.server.stop()
            await asyncio.sleep(0)

            before.server = LwM2MServer(
                CoapSettings(bind=("127.0.0.1",), port=port), _DEFINITIONS, before.loop, lambda: WALL
            )
            before.server.protect(LiveContexts(Book(MATERIAL), shelf))
            before.server.start(before.uplink)
            peer = before.server.peer(json.loads(stored))
            assert peer == registered.peer
            before.client = before.server.client("d", peer, "1.1", registered.objects)
            before.client.identity = "oscore:0a"
            again = Observation(before.client, SENSOR, 0.0)
            again.token = observation.token
            before.server.restore_observation(again)
            device.sensor.change("23.5")
            notification = await asyncio.wait_for(before.uplink.notified.get(), PATIENCE_S)
            assert [report.value for report in notification.reports] == [23.5]
            assert notification.observation is again
            assert (await before.asked(Read(TEXT))).ok

    before.run(run())
    before.close()
