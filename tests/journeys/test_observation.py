"""Observations as desired state: established at Register, alive over restart, time-out and change of port."""

from __future__ import annotations

import time

from aiocoap.numbers import codes, types

from tests.house import House, LockstepDevice

SENSOR = "/3303/0/5700"


def observed(house: House, name: str) -> dict[str, dict[str, object]]:
    status, answer = house.api("GET", f"/devices/{name}/observations")
    assert status == 200, answer
    return {entry["path"]: entry for entry in answer["observations"]}


def values(house: House, name: str) -> list[object]:
    """Every value of the sensor in the journal, in order."""
    return [
        value["value"]
        for event in house.events(name, "value")
        for value in event["values"]
        if value["path"] == SENSOR
    ]


def eventually(condition: object, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what


def ready(house: House, name: str = "sensor") -> LockstepDevice:
    device = LockstepDevice(house, name)
    device.register("</1/0>,</3303/0>")
    device.take_observe(SENSOR, b"20.0", number=10)
    eventually(lambda: observed(house, name)[SENSOR]["state"] == "active", "observation not active")
    return device


def acknowledged(device: LockstepDevice, payload: bytes, number: int, mid: int | None = None) -> None:
    sent = device.notify(SENSOR, payload, number, mid=mid)
    answer = device.receive()
    assert answer.mtype is types.ACK, answer
    assert answer.mid == sent.mid


def test_a_notification_is_on_disk_before_its_ack(house: House) -> None:
    with ready(house) as device:
        acknowledged(device, b"21.5", 11)
        house.kill()
    house.start()
    assert values(house, "sensor") == [20.0, 21.5]


def test_a_kill_keeps_the_observation_and_counts_a_repetition_once(house: House) -> None:
    with ready(house) as device:
        acknowledged(device, b"21.5", 11, mid=500)
        house.kill()
        house.start()
        acknowledged(device, b"21.5", 11, mid=500)  # our ACK was lost, so it comes again
        acknowledged(device, b"22.5", 12, mid=501)
        assert observed(house, "sensor")[SENSOR]["state"] == "active"
    assert values(house, "sensor") == [20.0, 21.5, 22.5]


def test_a_stale_notification_is_acknowledged_and_not_kept_rfc7641_3_4(house: House) -> None:
    with ready(house) as device:
        acknowledged(device, b"23.0", 20)
        acknowledged(device, b"19.0", 19)
    assert values(house, "sensor") == [20.0, 23.0]


def test_from_another_port_without_security_it_is_refused_in_silence_and_shown(house: House) -> None:
    with ready(house) as device:
        device.move()
        device.notify(SENSOR, b"66.6", 30)
        assert device.silence()
        assert values(house, "sensor") == [20.0]
        eventually(
            lambda: any(
                "address proves nothing" in w for w in house.api("GET", "/devices/sensor")[1]["warnings"]
            ),
            "the refusal is not shown",
        )
        assert house.events("sensor", "refused")
        # Its Update from there moves the device, and the observation goes on.
        device.update()
        acknowledged(device, b"24.0", 31)
        assert observed(house, "sensor")[SENSOR]["state"] == "active"
    assert values(house, "sensor") == [20.0, 24.0]


def test_a_request_that_times_out_leaves_every_observation_alive(tmp_path: object) -> None:
    with (
        House(tmp_path / "state", "coap.ack_timeout_s=0.2", "coap.max_retransmit=1") as house,  # type: ignore[operator]
        ready(house) as device,
    ):
        status, answer = house.api(
            "POST", "/devices/sensor/operations", {"operation": "Read", "path": "/1/0", "timeout_s": 2}
        )
        assert status >= 400
        assert answer["error"]["next_step"]
        while True:
            try:
                device.receive(0.3)
            except TimeoutError:
                break
        acknowledged(device, b"25.0", 40)
        assert observed(house, "sensor")[SENSOR]["state"] == "active"
        assert values(house, "sensor") == [20.0, 25.0]


def test_an_update_does_not_start_observations_again(house: House) -> None:
    with ready(house) as device:
        device.update()
        assert device.silence()


def test_a_register_starts_them_again_with_a_new_token(house: House) -> None:
    with ready(house) as device:
        old = device.tokens[SENSOR]
        device.register("</1/0>,</3303/0>")
        device.take_observe(SENSOR, b"26.0", number=1)
        assert device.tokens[SENSOR] != old
        sent = device.notify(SENSOR, b"99.9", 50, token=old)
        answer = device.receive()
        assert answer.mtype is types.RST
        assert answer.mid == sent.mid
        acknowledged(device, b"27.0", 2)
    assert values(house, "sensor") == [20.0, 26.0, 27.0]


def test_an_error_notification_ends_it_and_is_shown_rfc7641_4_2(house: House) -> None:
    with ready(house) as device:
        sent = device.notify(SENSOR, b"", None, code=codes.NOT_FOUND)  # type: ignore[arg-type]
        answer = device.receive()
        assert answer.mtype is types.ACK
        assert answer.mid == sent.mid
        entry = observed(house, "sensor")[SENSOR]
        assert entry["state"] == "refused"
        assert entry["reason"]


def test_cancel_is_active_with_observe_1_and_the_same_token(house: House) -> None:
    with ready(house) as device:
        asking = house.asking("DELETE", f"/devices/sensor/observations?path={SENSOR}")
        request = device.receive()
        assert request.code == codes.GET
        assert request.opt.observe == 1
        assert request.token == device.tokens[SENSOR]
        device.answer(request, codes.CONTENT, b"28.0", 0)
        status, answer = asking.answer()
        assert status == 200, answer
        assert SENSOR not in observed(house, "sensor")
        # Not even a Register brings it back: it was switched off.
        device.register("</1/0>,</3303/0>")
        assert device.silence()
