"""A stored file on its way to a device: pushed block by block, over restarts, seen in the protocol log."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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


def take_blocks(
    device: LockstepDevice, more: Callable[[int], bool] = lambda taken: True, start: int = 0
) -> bytes:
    """Take a Block1 transfer (RFC 7959 §2.5) as long as there is more of it, and the test wants to."""
    taken = b""
    while True:
        request = device.receive()
        assert (request.code, request.opt.uri_path) == (codes.PUT, ("5", "0", "0"))
        assert int(request.opt.content_format) == 42
        block = request.opt.block1
        assert block.start == start + len(taken)
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
        taken = take_blocks(device, lambda taken: taken < 10_000)
        (half,) = house.api("GET", "/tasks?endpoint_name=meter")[1]["tasks"]
        assert half["progress"]["total_bytes"] == len(FIRMWARE)
        assert len(taken) - 1024 <= half["progress"]["sent_bytes"] <= len(taken)
        assert taken + take_blocks(device, start=len(taken)) == FIRMWARE
        done = house.until(lambda event: event["kind"] == "operation" and event["task"] == queued["task"])
        assert done["ok"]
        task = house.api("GET", f"/tasks/{queued['task']}")[1]
        assert (task["state"], task["outcome"]["code"]) == ("done", "2.04")
        entries = house.api("GET", "/log?path=/5/0/0&direction=out&limit=1000")[1]["entries"]
        assert entries[-1]["summary"] == "Write /5/0/0, block 20, the last"
        assert all(entry["hidden"] for entry in entries)


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


def test_a_device_fetches_a_file_over_coap_block_by_block(house: House) -> None:
    """RFC 7959 §2.4: Block2 with the size the device wants, and the same ETag with every block."""
    stored = upload(house)
    with LockstepDevice(house, "meter") as device:
        device.register(LINKS)
        fetched, etags = b"", set()
        while True:
            request = Message(code=codes.GET, _mtype=types.CON, _token=b"dl")
            request.opt.uri_path = ("f", stored["link"])
            request.opt.block2 = (len(fetched) // 512, False, 5)
            answer = device.exchange(request)
            assert (answer.code, answer.opt.block2.start) == (codes.CONTENT, len(fetched))
            fetched += answer.payload
            etags.add(answer.opt.etag)
            if not answer.opt.block2.more:
                break
        assert fetched == FIRMWARE and etags == {bytes.fromhex(stored["id"])[:8]}
        strange = Message(code=codes.GET, _mtype=types.CON, _token=b"no")
        strange.opt.uri_path = ("f", "nothing")
        assert device.exchange(strange).code == codes.NOT_FOUND
        entries = house.api("GET", "/log?limit=1000&code=2&text=Download")[1]["entries"]
        assert entries[0]["summary"].startswith("Download of a file: 2.05 Content, block")
        assert all(entry["hidden"] for entry in entries if entry["payload_bytes"])


def test_coap_client_downloads_a_file(house: House, tmp_path: Path) -> None:
    stored = upload(house)
    file = tmp_path / "fw.bin"
    url = f"coap://127.0.0.1:{house.coap_port}/f/{stored['link']}"
    subprocess.run(["coap-client-notls", "-o", str(file), url], check=True, timeout=60)
    assert file.read_bytes() == FIRMWARE
