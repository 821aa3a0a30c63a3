"""A stored file on its way to a device: pushed block by block, over restarts, seen in the protocol log."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from aiocoap import Message
from aiocoap.numbers import codes, types

from tests.house import House, LockstepDevice

LINKS = "</1/0>,</3/0>,</5/0>"
FIRMWARE = random.Random(5).randbytes(20_000)


def upload(house: House, content: bytes = FIRMWARE) -> dict[str, Any]:
    status, stored = house.api("POST", "/files?name=meter-2.4.bin", content)
    assert status == 201, stored
    row: dict[str, Any] = stored
    return row


def push(house: House, device: LockstepDevice, file_id: str, **more: Any) -> tuple[int, Any]:
    body = {"operation": "Write", "path": "/5/0/0", "file": file_id, **more}
    return house.api("POST", f"/devices/{device.name}/operations", body)


def take_blocks(device: LockstepDevice, more: Callable[[int], bool] = lambda taken: True) -> bytes:
    """Take a Block1 transfer (RFC 7959 §2.5) as long as there is more of it, or the test wants to."""
    taken = b""
    while True:
        request = device.receive()
        assert (request.code, request.opt.uri_path) == (codes.PUT, ("5", "0", "0"))
        assert int(request.opt.content_format) == 42
        block = request.opt.block1
        assert block.start == len(taken)
        taken += request.payload
        code = codes.CONTINUE if block.more else codes.CHANGED
        answer = Message(code=code, _mtype=types.ACK, _mid=request.mid, _token=request.token)
        answer.opt.block1 = (block.block_number, block.more, block.size_exponent)
        device.send(answer)
        if not block.more or not more(len(taken)):
            return taken


def test_a_file_is_pushed_block_by_block_and_the_log_keeps_it_hidden(house: House) -> None:
    stored = upload(house)
    with LockstepDevice(house, "meter") as device:
        device.register(LINKS)
        status, queued = push(house, device, stored["id"])
        assert (status, queued["state"]) == (202, "sent")
        assert take_blocks(device) == FIRMWARE
        done = house.until(lambda event: event["kind"] == "operation" and event["task"] == queued["task"])
        assert done["ok"]
        task = house.api("GET", f"/tasks/{queued['task']}")[1]
        assert (task["state"], task["outcome"]["code"]) == ("done", "2.04")


def test_what_cannot_be_pushed_is_said_before_anything_is_sent(house: House) -> None:
    stored = upload(house)
    with LockstepDevice(house, "meter") as device:
        device.register(LINKS)
        assert push(house, device, "0" * 64)[0] == 404
        status, error = push(house, device, stored["id"], path="/3/0/14")
        assert (status, error["error"]["code"]) == (400, "invalid")
        assert push(house, device, stored["id"], value="00")[0] == 400
        assert device.silence()


def test_a_file_waits_for_a_device_that_sleeps_and_fails_in_words_when_it_is_gone(house: House) -> None:
    stored = upload(house)
    with LockstepDevice(house, "meter") as device:
        device.register(LINKS, query=("Q",))
        house.api("PUT", "/devices/meter/awake", {"awake_s": 1})
        house.until(lambda event: event["kind"] == "asleep")
        status, queued = push(house, device, stored["id"])
        assert (status, queued["state"]) == (202, "waiting")
        assert house.api("DELETE", f"/files/{stored['id']}")[0] == 204
        house.kill()
        house.start()
        device.update()
        ended = house.until(lambda event: event["kind"] == "task" and event["state"] == "failed")
        assert "there is no file" in ended["words"]


def test_damage_is_told_by_the_start_and_by_the_check_and_ends_the_serving(house: House) -> None:
    stored = upload(house)
    assert house.api("GET", "/status")[1]["warnings"] == []
    house.stop()
    (house.state / "files" / "content" / stored["id"]).write_bytes(FIRMWARE[:-1])
    checked = subprocess.run(
        [sys.executable, "-m", "appliance", "check", "--state", str(house.state)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 1 and "meter-2.4.bin" in checked.stderr
    house.start()
    (warning,) = house.api("GET", "/status")[1]["warnings"]
    assert "meter-2.4.bin" in warning and "upload it again" in warning
    assert house.api("GET", f"/files/{stored['id']}")[1]["damaged"] == "its content has another size"
    assert upload(house)["link"] == stored["link"]
    assert house.api("GET", "/status")[1]["warnings"] == []
