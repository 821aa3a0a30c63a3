"""Send: an answer is a receipt, also when the power goes."""

from __future__ import annotations

import json

from aiocoap.numbers import codes

from tests.house import House, LockstepDevice


def test_what_was_answered_2_04_is_there_after_a_power_cut(house: House) -> None:
    with LockstepDevice(house, "sender") as device:
        device.register("</1/0>,</3/0>")
        values = [{"bn": "/3/0/", "n": "9", "v": 81}, {"n": "13", "v": 1_800_000_000}]
        answer = device.request(codes.POST, ("dp",), (), json.dumps(values).encode(), 110)
        assert answer.code == codes.CHANGED
        house.kill()
        house.start()
        (event,) = house.events("sender", "send")
        assert {value["path"]: value["value"] for value in event["values"]}["/3/0/9"] == 81
        shown = house.api("GET", "/devices/sender/values?path=/3/0/9")[1]["values"]
        assert (shown[0]["value"], shown[0]["source"]) == (81, "send")
        answer = device.request(codes.POST, ("dp",), (), b'[{"n":"/6/0/0","v":1}]', 110)
        assert answer.code == codes.NOT_FOUND
    with LockstepDevice(house, "stranger") as stranger:
        answer = stranger.request(codes.POST, ("dp",), (), b'[{"n":"/3/0/9","v":1}]', 110)
        assert answer.code == codes.BAD_REQUEST
