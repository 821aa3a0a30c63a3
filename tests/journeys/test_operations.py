"""Read, Write, Execute, Create, Delete, Discover and Write-Attributes, from the API to the wire and back."""

from __future__ import annotations

from typing import Any

import aiocoap
import pytest
from aiocoap.numbers import codes

from tests.house import House, LockstepDevice

LINKS = "</1/0>,</3/0>,</3442/0>"


def path_of(request: aiocoap.Message) -> str:
    return "/" + "/".join(request.opt.uri_path)


def operate(
    house: House,
    device: LockstepDevice,
    body: dict[str, Any],
    code: Any,
    payload: bytes = b"",
    content_format: int | None = None,
) -> tuple[aiocoap.Message, int, Any]:
    """Ask the API, take the request at the device, answer it: the request, and the API's status and JSON."""
    asking = house.asking("POST", f"/devices/{device.name}/operations", body)
    request = device.receive()
    device.answer(request, code, payload, content_format)
    return (request, *asking.answer())


def device_of(house: House, links: str = LINKS, **more: Any) -> LockstepDevice:
    device = LockstepDevice(house, "plain")
    device.register(links, **more)
    return device


def test_read_of_a_resource(house: House) -> None:
    with device_of(house) as device:
        request, status, outcome = operate(
            house, device, {"operation": "Read", "path": "/3/0/0"}, codes.CONTENT, b"Homard", 0
        )
        assert request.code == codes.GET
        assert path_of(request) == "/3/0/0"
        assert request.opt.observe is None
        assert status == 200
        assert (outcome["code"], outcome["ok"]) == ("2.05", True)
        value = outcome["values"][0]
        assert (value["path"], value["value"], value["name"]) == ("/3/0/0", "Homard", "Manufacturer")
        kept = house.api("GET", "/devices/plain/values?path=/3/0")[1]["values"]
        assert [(v["path"], v["value"]) for v in kept] == [("/3/0/0", "Homard")]
        assert kept[0]["source"] == "read"


def test_read_of_an_instance_in_tlv(house: House) -> None:
    tlv = b"\xc3\x00abc" + b"\xc1\x09\x64"
    with device_of(house) as device:
        _, status, outcome = operate(
            house, device, {"operation": "Read", "path": "/3/0"}, codes.CONTENT, tlv, 11542
        )
    assert status == 200
    assert [(v["path"], v["value"]) for v in outcome["values"]] == [("/3/0/0", "abc"), ("/3/0/9", 100)]


def test_an_answer_without_a_model_is_kept_raw_with_a_warning(house: House) -> None:
    with device_of(house, "</1/0>,</33000/0>") as device:
        _, status, outcome = operate(
            house,
            device,
            {"operation": "Read", "path": "/33000/0"},
            codes.CONTENT,
            b"\xc2\x01\xca\xfe",
            11542,
        )
        assert status == 200
        value = outcome["values"][0]
        assert (value["path"], value["value"], value["modelled"]) == ("/33000/0/1", "cafe", False)
        assert value["warning"]
        objects = house.api("GET", "/devices/plain/objects")[1]["objects"]
    assert any(row["id"] == 33000 and row["warning"] for row in objects)


def test_an_answer_that_cannot_be_decoded_is_kept_and_said(house: House) -> None:
    with device_of(house) as device:
        _, status, outcome = operate(
            house, device, {"operation": "Read", "path": "/3/0"}, codes.CONTENT, b"\xff\xff\xff", 11542
        )
        assert status == 200
        assert "cannot be decoded" in outcome["words"]
        assert outcome["values"][0]["value"] == "ffffff"


def test_write_of_a_resource_replaces_it(house: House) -> None:
    with device_of(house) as device:
        request, status, outcome = operate(
            house, device, {"operation": "Write", "path": "/3/0/14", "value": "+02:00"}, codes.CHANGED
        )
        assert request.code == codes.PUT
        assert request.opt.content_format is not None
        assert b"+02:00" in request.payload
        assert status == 200
        assert outcome["ok"]
        kept = house.api("GET", "/devices/plain/values?path=/3/0/14")[1]["values"]
    assert (kept[0]["value"], kept[0]["source"]) == ("+02:00", "write")


def test_write_of_an_instance_updates_by_default_and_replaces_on_demand(house: House) -> None:
    values = {"13": "2026-01-01T00:00:00Z", "14": "Z"}
    with device_of(house) as device:
        request, _, _ = operate(
            house, device, {"operation": "Write", "path": "/3/0", "values": values}, codes.CHANGED
        )
        assert request.code == codes.POST
        request, _, _ = operate(
            house,
            device,
            {"operation": "Write", "path": "/3/0", "values": values, "mode": "replace"},
            codes.CHANGED,
        )
        assert request.code == codes.PUT


def test_execute_with_arguments(house: House) -> None:
    with device_of(house) as device:
        request, status, outcome = operate(
            house, device, {"operation": "Execute", "path": "/3/0/4", "arguments": "0='x',1"}, codes.CHANGED
        )
        assert request.code == codes.POST
        assert request.payload == b"0='x',1"
        assert status == 200
        assert outcome["code"] == "2.04"


def test_create_and_delete(house: House) -> None:
    with device_of(house) as device:
        request, status, _ = operate(
            house,
            device,
            {"operation": "Create", "path": "/3442", "instance": 5, "values": {"110": "made"}},
            codes.CREATED,
        )
        assert request.code == codes.POST
        assert path_of(request) == "/3442"
        assert status == 200
        request, status, _ = operate(house, device, {"operation": "Delete", "path": "/3442/5"}, codes.DELETED)
        assert request.code == codes.DELETE
        assert path_of(request) == "/3442/5"
        assert status == 200


def test_discover(house: House) -> None:
    links = b"</3/0>;pmin=10,</3/0/0>,</3/0/6>;dim=2"
    with device_of(house) as device:
        request, status, outcome = operate(
            house, device, {"operation": "Discover", "path": "/3/0"}, codes.CONTENT, links, 40
        )
        assert request.opt.accept == 40
        assert status == 200
    assert [link["target"] for link in outcome["links"]] == ["/3/0", "/3/0/0", "/3/0/6"]
    assert outcome["links"][0]["attributes"] == {"pmin": "10"}


def test_write_attributes(house: House) -> None:
    body = {"operation": "WriteAttributes", "path": "/3/0/9", "attributes": {"pmin": 10, "pmax": 60}}
    with device_of(house) as device:
        request, status, _ = operate(house, device, body, codes.CHANGED)
        assert request.code == codes.PUT
        assert request.payload == b""
        assert set(request.opt.uri_query) == {"pmin=10", "pmax=60"}
        assert status == 200


def test_a_refusal_of_the_device_is_an_outcome_in_words(house: House) -> None:
    with device_of(house) as device:
        _, status, outcome = operate(house, device, {"operation": "Read", "path": "/3/0/77"}, codes.NOT_FOUND)
    assert status == 200
    assert (outcome["code"], outcome["ok"]) == ("4.04", False)
    assert len(outcome["words"]) > len("Not Found")


def test_4_06_is_tried_again_in_another_format(house: House) -> None:
    with device_of(house) as device:
        asking = house.asking("POST", "/devices/plain/operations", {"operation": "Read", "path": "/3/0"})
        first = device.receive()
        device.answer(first, codes.NOT_ACCEPTABLE)
        second = device.receive()
        assert second.opt.accept != first.opt.accept
        device.answer(second, codes.CONTENT, b"\xc1\x09\x32", 11542)
        status, outcome = asking.answer()
    assert status == 200
    assert outcome["values"][0]["value"] == 50


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "Fly", "path": "/3/0"},
        {"operation": "Read", "path": "3//0"},
        {"operation": "Read", "path": "/3/0/99999999"},
        {"operation": "Write", "path": "/3/0/13", "value": "not a time"},
        {"operation": "Write", "path": "/3", "value": 1},
        {"operation": "Execute", "path": "/3/0/4", "arguments": "nonsense"},
        {"operation": "Delete", "path": "/3"},
        {"operation": "Create", "path": "/9999", "values": {}},
        {"operation": "WriteAttributes", "path": "/3/0/9", "attributes": {"pmin": 60, "pmax": 10}},
        {"operation": "Read", "path": "/3/0", "timeout_s": "soon"},
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is_sent(house: House, body: dict[str, Any]) -> None:
    with device_of(house) as device:
        status, answer = house.api("POST", "/devices/plain/operations", body)
        assert status in (400, 409), answer
        assert answer["error"]["message"]
        assert device.silence(0.2)


def test_an_unknown_device_is_404_and_a_gone_one_says_so(house: House) -> None:
    body = {"operation": "Read", "path": "/3/0"}
    assert house.api("POST", "/devices/nobody/operations", body)[0] == 404
    with device_of(house) as device:
        device.request(codes.DELETE, device.location)
        status, answer = house.api("POST", "/devices/plain/operations", body)
    assert status in (409, 502, 503, 504)
    assert "not registered" in answer["error"]["message"]
    assert answer["error"]["next_step"]


def test_a_block_wise_answer_is_put_together_rfc7959(house: House) -> None:
    text = b"0123456789abcdef" * 8
    with device_of(house) as device:
        asking = house.asking("POST", "/devices/plain/operations", {"operation": "Read", "path": "/3/0/0"})
        for number in range(2):
            request = device.receive()
            reply = aiocoap.Message(
                code=codes.CONTENT,
                payload=text[number * 64 : number * 64 + 64],
                _mtype=aiocoap.numbers.types.ACK,
                _mid=request.mid,
                _token=request.token,
            )
            reply.opt.content_format = 0
            reply.opt.block2 = (number, number == 0, 2)
            device.send(reply)
        status, outcome = asking.answer()
    assert status == 200
    assert outcome["values"][0]["value"] == text.decode()


def test_answers_of_a_device_under_an_alternate_path_are_shown_as_lwm2m_paths(house: House) -> None:
    root = '</lwm2m>;rt="oma.lwm2m",'
    with device_of(house, root + "</lwm2m/1/0>,</lwm2m/3/0>,</lwm2m/3442>") as device:
        request, status, outcome = operate(
            house,
            device,
            {"operation": "Discover", "path": "/3"},
            codes.CONTENT,
            b"</lwm2m/3>,</lwm2m/3/0>;pmin=1,</lwm2m/3/0/6>;dim=2",
            40,
        )
        assert path_of(request) == "/lwm2m/3"
        assert status == 200
        assert [link["target"] for link in outcome["links"]] == ["/3", "/3/0", "/3/0/6"]
        asking = house.asking(
            "POST",
            "/devices/plain/operations",
            {"operation": "Create", "path": "/3442", "values": {"110": "x"}},
        )
        request = device.receive()
        reply = aiocoap.Message(
            code=codes.CREATED,
            _mtype=aiocoap.numbers.types.ACK,
            _mid=request.mid,
            _token=request.token,
        )
        reply.opt.location_path = ("lwm2m", "3442", "7")
        device.send(reply)
        status, outcome = asking.answer()
    assert (status, outcome["location"]) == (200, "/3442/7")
