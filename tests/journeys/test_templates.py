"""A template from the API to the device and back, over kill -9 and a new Register."""

from __future__ import annotations

import json

from aiocoap.numbers import codes, types

from tests.house import House, LockstepDevice

TEMPLATE = {
    "name": "temperatures",
    "match": {"endpoint": "meter-*", "object": 3303},
    "paths": ["/3303/*/5700"],
    "attributes": {"pmin": 10, "pmax": 300},
}
SENSOR = "/3303/0/5700"


def take_write(device: LockstepDevice, *query: str) -> None:
    write = device.receive()
    assert (write.code, write.opt.uri_path) == (codes.PUT, ("3303", "0", "5700"))
    assert set(write.opt.uri_query) == set(query)
    device.answer(write, codes.CHANGED)


def test_what_a_template_wants_comes_back_after_a_power_cut_and_a_new_register(house: House) -> None:
    status, made = house.api("POST", "/templates", TEMPLATE)
    assert status == 201
    with LockstepDevice(house, "meter-1") as device:
        device.register("</1/0>,</3303/0>")
        take_write(device, "pmin=10", "pmax=300")
        device.take_observe(SENSOR, b"21.5")
        house.until(lambda event: event["kind"] == "value")
        house.kill()
        house.start()
        status, found = house.api("GET", "/devices/meter-1/observations")
        (row,) = found["observations"]
        assert (row["path"], row["state"], row["origin"]) == (SENSOR, "active", "template:temperatures")
        assert row["attributes"] == {"pmin": 10, "pmax": 300}
        device.notify(SENSOR, b"22", 2)
        assert device.receive().mtype is types.ACK
        device.register("</1/0>,</3303/0>")
        take_write(device, "pmin=10", "pmax=300")
        device.take_observe(SENSOR, b"21.5")
        assert house.api("DELETE", f"/templates/{made['id']}")[0] == 204
        cancel = device.receive()  # the sensor is wanted still, but by default: without attributes
        assert cancel.opt.observe == 1
        device.answer(cancel, codes.CONTENT, b"21.5", 0)
        take_write(device, "pmin", "pmax")
        device.take_observe(SENSOR, b"21.5")
    assert house.api("GET", "/templates")[1] == {"templates": []}


def test_a_composite_observation_asked_for_ends_with_the_same_list(house: House) -> None:
    with LockstepDevice(house, "both") as device:
        device.register("</>;ct=110,</3/0>,</4/0>")
        asked = house.asking(
            "POST", "/devices/both/observations/composite", {"paths": ["/3/0/9", "/4/0/2"], "attributes": {}}
        )
        observe = device.receive()
        assert (observe.code, observe.opt.observe) == (codes.FETCH, 0)
        values = json.dumps([{"n": "/3/0/9", "v": 80}, {"n": "/4/0/2", "v": -70}]).encode()
        device.answer(observe, codes.CONTENT, values, 110, 1)
        status, outcome = asked.answer()
        assert (status, outcome["ok"], len(outcome["values"])) == (200, True, 2)
        (row,) = house.api("GET", "/devices/both/observations")[1]["observations"]
        assert (row["path"], row["composite"], row["state"]) == ("/3/0/9,/4/0/2", True, "active")
        device.tokens["both"] = observe.token
        device.notify("both", values.replace(b"80", b"79"), 2, 110)
        assert device.receive().mtype is types.ACK
        asked = house.asking("DELETE", f"/devices/both/observations?path={row['path']}")
        cancel = device.receive()
        assert (cancel.code, cancel.opt.observe, cancel.payload) == (codes.FETCH, 1, observe.payload)
        device.answer(cancel, codes.CONTENT, values, 110)
        assert asked.answer()[0] == 200
        assert house.api("GET", "/devices/both/observations")[1]["observations"] == []
