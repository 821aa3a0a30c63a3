"""A simulated device in front of a scripted server: OMA LwM2M Core 1.1 §6.2 to §6.4."""

from __future__ import annotations

import asyncio
import json
import struct
from random import Random

import cbor2
import pytest

from appliance.simulator.device import Device
from appliance.simulator.ledger import Ledger
from appliance.simulator.objects import read_objects
from appliance.simulator.options import SimulatorOptions
from tests.simulator.conftest import registered_device
from tests.simulator.scripted import (
    ACK,
    BLOCK1,
    BLOCK2,
    CHANGED,
    CON,
    CONTENT,
    CONTENT_FORMAT,
    CREATED,
    DELETE,
    DELETED,
    GET,
    LOCATION_PATH,
    OBSERVE,
    POST,
    PUT,
    RST,
    URI_QUERY,
    Frame,
    ScriptedServer,
)

TEXT, LINK, SENML_JSON, SENML_CBOR, TLV = 0, 40, 110, 112, 11542
TEMPERATURE = "/3303/0/5700"


def run(coroutine) -> None:
    asyncio.run(coroutine)


# --- registration interface, §6.2 ---------------------------------------------------------------------


def test_register_names_endpoint_lifetime_version_and_objects() -> None:
    async def scenario() -> None:
        async with registered_device(lifetime_s=120) as (_, register, _device):
            assert register.texts(URI_QUERY) == ["ep=sim-0001", "lt=120", "lwm2m=1.1", "b=U"]
            assert register.number(CONTENT_FORMAT) == LINK
            links = register.payload.decode().split(",")
            assert links[0] == '</>;rt="oma.lwm2m";ct="112 110 11542"'
            assert links[1:] == [
                "</1/0>", "</3/0>", "</4/0>", "</6/0>",
                "</3303>;ver=1.1", "</3303/0>", "</3304>;ver=1.1", "</3304/0>",
            ]  # fmt: skip

    run(scenario())


def test_a_1_0_device_registers_without_root_link() -> None:
    async def scenario() -> None:
        async with registered_device(lwm2m="1.0") as (_, register, _device):
            assert "lwm2m=1.0" in register.texts(URI_QUERY)
            assert register.payload.startswith(b"</1/0>,")

    run(scenario())


def test_update_is_sent_before_the_lifetime_ends_and_carries_nothing_new() -> None:
    async def scenario() -> None:
        async with registered_device(lifetime_s=1) as (server, _, device):
            await server.until(lambda: len(server.updates) >= 2)
            assert server.updates[0].options == [(11, b"rd"), (11, b"r1")]
            assert device.figures.registrations == 1

    run(scenario())


def test_a_refused_update_makes_it_register_anew() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, _, device):
            server.welcoming = False
            device.update()
            await server.until(lambda: server.updates)
            server.welcoming = True
            server.answer(server.updates[0], 0x84)
            await server.until(lambda: len(server.registers) == 2)

    run(scenario())


def test_a_written_lifetime_is_told_by_an_update() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            answer = await server.ask(register, PUT, "/1/0/1", b"77", content_format=TEXT)
            assert answer.code == CHANGED
            await server.until(lambda: server.updates)
            assert server.updates[0].texts(URI_QUERY) == ["lt=77"]

    run(scenario())


def test_execute_of_the_update_trigger_brings_an_update() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            assert (await server.ask(register, POST, "/1/0/8")).code == CHANGED
            await server.until(lambda: server.updates)

    run(scenario())


def test_reboot_answers_first_and_then_registers_anew_without_observations() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, device):
            await server.ask(register, GET, TEMPERATURE, observe=0)
            assert (await server.ask(register, POST, "/3/0/4")).code == CHANGED
            await server.until(lambda: len(server.registers) == 2)
            assert device.figures.reboots == 1
            assert not device.reporter.observations
            assert not server.deregisters

    run(scenario())


def test_stop_deregisters() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, _, _device):
            pass
        assert [frame.texts(11) for frame in server.deregisters] == [["rd", "r1"]]

    run(scenario())


def test_a_long_object_list_is_registered_in_blocks(tmp_path) -> None:
    objects = tmp_path / "many.json"
    many = [{"id": 26241 + n, "instances": [0, 1, 2], "resources": {"1": {"value": "x"}}} for n in range(60)]
    objects.write_text(json.dumps({"object": many}))

    async def scenario() -> None:
        server = await ScriptedServer(welcoming=False).open()
        options = SimulatorOptions(server=server.uri, objects=objects)
        device = Device(options, 1, read_objects(objects), Ledger(None), Random(1))
        life = asyncio.create_task(device.run())
        body, more = b"", True
        while more:
            frame = await server.inbox.get()
            block = frame.number(BLOCK1)
            assert block is not None
            assert block >> 4 == len(body) // 1024
            body += frame.payload
            more = bool(block & 8)
            echo = [(BLOCK1, block.to_bytes((block.bit_length() + 7) // 8, "big"))]
            server.answer(frame, 0x5F if more else CREATED, echo + ([] if more else [(LOCATION_PATH, b"rd")]))
        assert body.count(b"<") == 1 + 8 + 180
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        server.welcoming = True
        await device.stop()
        await server.close()

    run(scenario())


# --- reading, §6.3.1 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "accept", "payload"),
    [
        (TEMPERATURE, TEXT, b"21.0"),
        (TEMPERATURE, None, b"21.0"),
        ("/3/0/9", TEXT, b"96"),
        ("/3/0/6/1", TEXT, b"5"),
        ("/1/0/6", TEXT, b"0"),
        (TEMPERATURE, TLV, bytes.fromhex("e41644") + struct.pack(">f", 21.0)),
        (TEMPERATURE, 1542, bytes.fromhex("e41644") + struct.pack(">f", 21.0)),
        ("/3/0/6", TLV, bytes.fromhex("8606410001410105")),
        ("/6/0/4", 42, bytes(4)),
        (TEMPERATURE, SENML_JSON, b'[{"bn":"/3303/0/5700","v":21.0}]'),
    ],
)
def test_read_honours_accept(path: str, accept: int | None, payload: bytes) -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            answer = await server.ask(register, GET, path, accept=accept)
            assert (answer.code, answer.payload) == (CONTENT, payload)
            assert answer.number(CONTENT_FORMAT) == (accept or TEXT)

    run(scenario())


def test_read_of_an_instance_in_senml_json_and_cbor_says_the_same() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            in_json = json.loads((await server.ask(register, GET, "/3304/0", accept=SENML_JSON)).payload)
            in_cbor = cbor2.loads((await server.ask(register, GET, "/3304/0", accept=SENML_CBOR)).payload)
            labels = {-2: "bn", 0: "n", 2: "v", 3: "vs"}
            assert [{labels[key]: item for key, item in record.items()} for record in in_cbor] == in_json
            assert in_json[0]["bn"] == "/3304/0/"
            assert {record["n"]: record.get("v", record.get("vs")) for record in in_json} == {
                "5601": 45.0, "5602": 45.0, "5700": 45.0, "5701": "%RH", "5750": "room",
            }  # fmt: skip

    run(scenario())


def test_read_of_an_object_in_tlv_wraps_the_instances() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            answer = await server.ask(register, GET, "/3304", accept=TLV)
            assert answer.payload[0] >> 6 == 0b00
            assert answer.payload[1] == 0

    run(scenario())


@pytest.mark.parametrize(
    ("code", "path", "options", "expected"),
    [
        (GET, "/9999/0", {}, 0x84),
        (GET, "/3/1", {}, 0x84),
        (GET, "/3/0/99", {}, 0x84),
        (GET, "/no/path", {}, 0x84),
        (GET, "/0/0", {}, 0x81),
        (GET, "/3/0/4", {}, 0x85),
        (GET, "/3/0", {"accept": TEXT}, 0x86),
        (GET, "/3/0", {"accept": 11543}, 0x86),
        (PUT, "/3/0/0", {"payload": b"x", "content_format": TEXT}, 0x85),
        (PUT, "/3/0/14", {"payload": b"x", "content_format": 60}, 0x8F),
        (PUT, "/1/0/1", {"payload": b"many", "content_format": TEXT}, 0x80),
        (POST, "/3/0/0", {}, 0x85),
        (POST, "/3", {}, 0x85),
        (DELETE, "/3/0", {}, 0x85),
        (DELETE, "/3303/7", {}, 0x84),
        (PUT, "/3303/0/5700", {"query": ("pmin=10", "pmax=5")}, 0x80),
        (PUT, "/3303/0/5700", {"query": ("lt=5", "gt=4")}, 0x80),
        (PUT, "/3303/0", {"query": ("gt=4",)}, 0x80),
    ],
)
def test_what_cannot_be_done_has_its_code(code: int, path: str, options: dict, expected: int) -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            assert (await server.ask(register, code, path, **options)).code == expected

    run(scenario())


def test_a_body_longer_than_a_block_comes_in_blocks(tmp_path) -> None:
    objects = tmp_path / "long.toml"
    objects.write_text(
        f'[[object]]\nid = 26300\n[object.resources]\n1 = {{ value = "{"lobster " * 300}" }}\n'
    )

    async def scenario() -> None:
        async with registered_device(objects=objects) as (server, register, _device):
            body, number, more = b"", 0, True
            while more:
                answer = await server.ask(
                    register, GET, "/26300/0/1", block2=number << 4 | 6 if number else None
                )
                block = answer.number(BLOCK2)
                assert block is not None
                more, number = bool(block & 8), number + 1
                body += answer.payload
            assert body == b"lobster " * 300

    run(scenario())


# --- writing, creating, deleting, executing, discovering, §6.3.2 to §6.3.8 -------------------------------


@pytest.mark.parametrize(
    ("content_format", "payload"),
    [
        (TEXT, b"+02:00"),
        (TLV, bytes.fromhex("c60e") + b"+02:00"),
        (SENML_JSON, b'[{"bn":"/3/0/","n":"14","vs":"+02:00"}]'),
        (SENML_CBOR, cbor2.dumps([{-2: "/3/0/", 0: "14", 3: "+02:00"}])),
    ],
)
def test_write_of_a_resource_in_every_format(content_format: int, payload: bytes) -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            answer = await server.ask(register, PUT, "/3/0/14", payload, content_format=content_format)
            assert answer.code == CHANGED
            assert (await server.ask(register, GET, "/3/0/14")).payload == b"+02:00"

    run(scenario())


def test_write_of_an_instance_is_all_or_nothing() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            both = json.dumps([{"bn": "/3/0/", "n": "15", "vs": "Europe/Lisbon!"}, {"n": "0", "vs": "x"}])
            answer = await server.ask(register, POST, "/3/0", both.encode(), content_format=SENML_JSON)
            assert answer.code == 0x85
            assert (await server.ask(register, GET, "/3/0/15")).payload == b"Europe/Lisbon"

    run(scenario())


def test_create_with_and_without_an_id_then_delete_each_told_by_an_update() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            tlv = bytes.fromhex("05 07 e2 16 76") + b"ab"
            answer = await server.ask(register, POST, "/3303", tlv, content_format=TLV)
            assert (answer.code, answer.texts(LOCATION_PATH)) == (CREATED, ["3303", "7"])
            assert (await server.ask(register, GET, "/3303/7/5750")).payload == b"ab"
            answer = await server.ask(register, POST, "/3303", content_format=TLV)
            assert answer.texts(LOCATION_PATH) == ["3303", "1"]
            again = await server.ask(register, POST, "/3303", b"\0\7", content_format=TLV)
            assert again.code == 0x80
            assert (await server.ask(register, DELETE, "/3303/7")).code == DELETED
            assert (await server.ask(register, GET, "/3303/7")).code == 0x84
            await server.until(lambda: any(b"</3303/1>" in update.payload for update in server.updates))
            await server.until(lambda: b"</3303/7>" not in server.updates[-1].payload)

    run(scenario())


def test_execute_is_counted_and_acts() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, device):
            device.tree.set((3303, 0, 5700), 9.0)
            assert (await server.ask(register, POST, "/3303/0/5605", b"0='x'")).code == CHANGED
            assert device.tree.executions == {(3303, 0, 5605): 1}
            assert (await server.ask(register, GET, "/3303/0/5601")).payload == b"9.0"

    run(scenario())


def test_discover_shows_resources_dimensions_and_attributes() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            await server.ask(register, PUT, "/3303/0/5700", query=("pmin=5", "gt=30.5"))
            await server.ask(register, PUT, "/3303/0", query=("pmax=60",))
            answer = await server.ask(register, GET, "/3303", accept=LINK)
            links = answer.payload.decode().split(",")
            assert links[:2] == ["</3303>;ver=1.1", "</3303/0>;pmax=60"]
            assert "</3303/0/5700>;pmin=5;gt=30.5" in links
            assert "</3303/0/5605>" in links
            answer = await server.ask(register, GET, "/3/0/6", accept=LINK)
            assert answer.payload == b"</3/0/6>;dim=2,</3/0/6/0>,</3/0/6/1>"
            await server.ask(register, PUT, "/3303/0/5700", query=("gt", "pmin"))
            answer = await server.ask(register, GET, "/3303/0/5700", accept=LINK)
            assert answer.payload == b"</3303/0/5700>;pmax=60"  # what is inherited is shown at a resource

    run(scenario())


# --- observing, §6.4 --------------------------------------------------------------------------------------


async def observed(
    server: ScriptedServer, register: Frame, path: str, token: bytes = b"obs", **more
) -> Frame:
    answer = await server.ask(register, GET, path, token=token, observe=0, **more)
    assert answer.code == CONTENT
    assert answer.number(OBSERVE) is not None
    return answer


def test_changes_are_notified_confirmably_with_rising_numbers() -> None:
    async def scenario() -> None:
        async with registered_device(period_s=0.02) as (server, register, device):
            first = await observed(server, register, TEMPERATURE)
            await server.until(lambda: len(server.notifications) >= 3)
            numbers = [first.number(OBSERVE), *(one.number(OBSERVE) for one in server.notifications[:3])]
            assert numbers == sorted(set(numbers))
            assert {one.token for one in server.notifications} == {b"obs"}
            assert all(one.code == CONTENT and float(one.payload) for one in server.notifications)
            assert device.figures.acknowledged >= 2

    run(scenario())


def test_observe_1_with_the_token_ends_it() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, device):
            await observed(server, register, TEMPERATURE)
            answer = await server.ask(register, GET, TEMPERATURE, token=b"obs", observe=1)
            assert (answer.code, answer.number(OBSERVE)) == (CONTENT, None)
            assert not device.reporter.observations

    run(scenario())


def test_reset_ends_it_and_only_it() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, device):
            await observed(server, register, TEMPERATURE, b"one")
            await observed(server, register, "/3304/0/5700", b"two")
            server.welcoming = False
            device.reporter.changed([(3303, 0, 5700)])
            await server.until(lambda: server.notifications)
            lost = server.notifications[0]
            server.send(Frame(RST, 0, lost.mid, peer=lost.peer))
            await server.ask(register, GET, "/3/0/0")
            assert set(device.reporter.observations) == {b"two"}

    run(scenario())


def test_one_notification_is_under_way_at_a_time_and_the_others_wait_in_order() -> None:
    async def scenario() -> None:
        async with registered_device(counter=True) as (server, register, device):
            await observed(server, register, TEMPERATURE)
            server.welcoming = False
            for _ in range(3):
                device.reporter.changed(device.reporter.count_up())
            values = []
            for index in range(3):
                await server.until(lambda index=index: len(server.notifications) > index)
                assert len(server.notifications) == index + 1
                values.append(float(server.notifications[index].payload))
                server.send(Frame(ACK, 0, server.notifications[index].mid, peer=register.peer))
            assert values == [2.0, 3.0, 4.0]  # 1.0 left with the answer to Observe

    run(scenario())


def test_an_outage_is_bridged_by_retransmission_and_the_observation_lives(tmp_path) -> None:
    """The same message, by its message id, until it is acknowledged; nothing acknowledged is missing."""
    file = tmp_path / "ledger"

    async def scenario() -> None:
        options = {"ack_timeout_s": 0.05, "max_retransmit": 6, "counter": True, "ledger": file}
        async with registered_device(**options) as (server, register, device):
            await observed(server, register, TEMPERATURE)
            server.welcoming = False
            device.reporter.changed(device.reporter.count_up())
            await server.until(lambda: len(server.notifications) >= 3)
            device.reporter.changed(device.reporter.count_up())
            server.welcoming = True
            await server.until(lambda: device.figures.acknowledged == 2)
            assert len({one.mid for one in server.notifications}) == 2
            assert device.figures.given_up == 0
            assert b"obs" in device.reporter.observations

    run(scenario())
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["registered", "acknowledged", "acknowledged"]
    assert [line["value"] for line in lines[1:]] == [2.0, 3.0]
    assert set(lines[1]) == {"event", "endpoint_name", "path", "value", "sequence", "acked_at"}
    assert lines[1]["sequence"] < lines[2]["sequence"]


def test_a_server_that_never_answers_again_is_registered_at_anew() -> None:
    async def scenario() -> None:
        async with registered_device(ack_timeout_s=0.02, max_retransmit=2) as (server, register, device):
            await observed(server, register, TEMPERATURE)
            server.welcoming = False
            device.reporter.changed([(3303, 0, 5700)])
            await server.until(lambda: len(server.registers) >= 2)
            server.welcoming = True
            async with asyncio.timeout(20):
                await device.registered.wait()
            assert (device.figures.given_up, device.figures.registrations) == (1, 2)
            assert not device.reporter.observations

    run(scenario())


def test_loss_in_both_directions_only_delays() -> None:
    async def scenario() -> None:
        options = {"loss_percent": 30.0, "ack_timeout_s": 0.01, "max_retransmit": 10, "counter": True}
        async with registered_device(**options) as (server, register, device):
            token_seen = False
            while not token_seen:  # the request itself may be lost: this scripted server does not repeat
                server.send(
                    Frame(CON, GET, 99, b"obs", [(OBSERVE, b""), *_uri(TEMPERATURE)], peer=register.peer)
                )
                await asyncio.sleep(0)
                token_seen = b"obs" in device.reporter.observations
            for _ in range(20):
                device.reporter.changed(device.reporter.count_up())
            await server.until(lambda: device.figures.acknowledged >= 20)
            values = [
                float(payload) for payload in dict.fromkeys(one.payload for one in server.notifications)
            ]
            assert values == sorted(values)
            assert device.dropped > 0

    run(scenario())


def _uri(path: str) -> list[tuple[int, bytes]]:
    return [(11, part.encode()) for part in path.strip("/").split("/")]


def test_pmax_reports_without_a_change_and_pmin_holds_changes_back() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, device):
            await server.ask(register, PUT, TEMPERATURE, query=("pmax=0.05",))
            await observed(server, register, TEMPERATURE)
            await server.until(lambda: len(server.notifications) >= 2)
            await server.ask(register, PUT, TEMPERATURE, query=("pmax", "pmin=1000"))
            quiet = len(server.notifications)
            device.tree.set((3303, 0, 5700), 30.0)
            device.reporter.changed([(3303, 0, 5700)])
            await server.ask(register, GET, "/3/0/0")
            assert len(server.notifications) == quiet

    run(scenario())


@pytest.mark.parametrize(
    ("attributes", "values", "reported"),
    [
        (("gt=25",), (22.0, 26.0, 27.0, 24.0), [26.0, 24.0]),
        (("lt=10",), (12.0, 9.0, 8.0, 11.0), [9.0, 11.0]),
        (("st=2",), (22.0, 23.0, 23.5, 21.0), [23.0, 21.0]),
        ((), (22.0, 22.5), [22.0, 22.5]),
    ],
)
def test_gt_lt_and_st_choose_what_is_reported(attributes, values, reported) -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, device):
            if attributes:
                await server.ask(register, PUT, TEMPERATURE, query=attributes)
            await observed(server, register, TEMPERATURE, accept=TEXT)
            for value in values:
                device.tree.set((3303, 0, 5700), value)
                device.reporter.changed([(3303, 0, 5700)])
            await server.until(lambda: len(server.notifications) >= len(reported))
            await server.ask(register, GET, "/3/0/0")
            assert [float(one.payload) for one in server.notifications] == reported

    run(scenario())


def test_observing_an_instance_reports_it_whole_in_the_accepted_format() -> None:
    async def scenario() -> None:
        async with registered_device(period_s=0.02) as (server, register, _device):
            answer = await observed(server, register, "/3303/0", accept=SENML_CBOR)
            assert answer.number(CONTENT_FORMAT) == SENML_CBOR
            await server.until(lambda: server.notifications)
            report = server.notifications[0]
            assert report.number(CONTENT_FORMAT) == SENML_CBOR
            assert len(cbor2.loads(report.payload)) == 7

    run(scenario())


def test_deleting_what_is_observed_ends_it_with_an_error() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, device):
            await observed(server, register, TEMPERATURE)
            await server.ask(register, DELETE, "/3303/0")
            await server.until(lambda: server.notifications)
            assert (server.notifications[0].code, server.notifications[0].number(OBSERVE)) == (0x84, None)
            assert not device.reporter.observations

    run(scenario())


def test_a_counting_device_never_sends_a_value_twice() -> None:
    async def scenario() -> None:
        async with registered_device(counter=True) as (server, register, device):
            seen = [float((await observed(server, register, TEMPERATURE)).payload)]
            seen.append(float((await server.ask(register, GET, TEMPERATURE, accept=TEXT)).payload))
            device.reporter.changed(device.reporter.count_up())
            await server.until(lambda: server.notifications)
            seen.append(float(server.notifications[0].payload))
            seen.append(float((await server.ask(register, GET, TEMPERATURE, accept=TEXT)).payload))
            assert seen == [1.0, 2.0, 3.0, 4.0]

    run(scenario())


def test_a_device_that_changes_its_port_goes_on_from_the_new_one() -> None:
    async def scenario() -> None:
        async with registered_device(counter=True) as (server, register, device):
            await observed(server, register, TEMPERATURE)
            await device.change_port()
            device.reporter.changed(device.reporter.count_up())
            await server.until(lambda: server.notifications)
            assert server.notifications[0].peer != register.peer
            assert server.notifications[0].token == b"obs"

    run(scenario())


def test_confirmable_ping_is_reset() -> None:
    async def scenario() -> None:
        async with registered_device() as (server, register, _device):
            server.send(Frame(CON, 0, 4711, peer=register.peer))
            while (frame := await server.inbox.get()).mid != 4711:
                pass
            assert frame.type == RST

    run(scenario())
