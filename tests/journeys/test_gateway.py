"""A device behind a LwM2M gateway, as people see it: found, read, and there again after a power cut."""

from __future__ import annotations

import json

from aiocoap.numbers import codes

from tests.house import House, LockstepDevice

LIST = [
    {"n": "/25/0/0", "vs": "pump"},
    {"n": "/25/0/1", "vs": "d01"},
    {"n": "/25/0/3", "vs": "</3/0>,</3300/0>"},
]


def test_a_device_behind_a_gateway_is_a_device(house: House) -> None:
    with LockstepDevice(house, "gw") as device:
        device.register("</>;ct=110,</1/0>,</25>;ver=2.0,</25/0>")
        read = device.receive()
        assert (read.code, read.opt.uri_path) == (codes.GET, ("25",))
        device.answer(read, codes.CONTENT, json.dumps(LIST).encode(), 110)
        observe = device.receive()
        assert (observe.opt.uri_path, observe.opt.observe) == (("d01", "3300", "0", "5700"), 0)
        device.answer(observe, codes.CONTENT, b'[{"n":"/d01/3300/0/5700","v":3}]', 110, 1)
        house.until(lambda event: event["kind"] == "value" and event["endpoint_name"] == "pump")
        for _ in range(2):
            shown = house.api("GET", "/devices/pump")[1]
            assert (shown["gateway"], shown["prefix"], shown["state"]) == ("gw", "/d01", "online")
            assert house.api("GET", "/devices/gw")[1]["end_devices"] == ["pump"]
            asked = house.asking("POST", "/devices/pump/operations", {"operation": "Read", "path": "/3/0/0"})
            read = device.receive()
            assert read.opt.uri_path == ("d01", "3", "0", "0")
            device.answer(read, codes.CONTENT, b"ACME", 0)
            status, outcome = asked.answer()
            assert (status, outcome["values"][0]["value"]) == (200, "ACME")
            house.kill()
            house.start()
        device.request(codes.DELETE, device.location)
        assert house.api("GET", "/devices/pump")[1]["state"] == "deregistered"
