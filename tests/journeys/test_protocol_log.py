"""The protocol log of a running house: what devices say, in words; what nobody may see, nowhere."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from typing import Any

from aiocoap.numbers import codes

from tests.house import House, LockstepDevice, LockstepStream

SECRET = "7461 6c6c 2070 6173 7377 6f72 64".replace(" ", "")


def summaries(house: House, query: str = "") -> list[str]:
    status, page = house.api("GET", f"/log?limit=1000{query}")
    assert status == 200, page
    return [entry["summary"] for entry in page["entries"]]


def download(house: House, name: str) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", house.ready["http"], timeout=30, context=context)
    connection.request("GET", f"/api/v1/{name}", headers={"Authorization": f"Bearer {house.token}"})
    answer = connection.getresponse()
    assert answer.status == 200
    found = answer.read()
    connection.close()
    return found


def test_a_conversation_in_the_words_of_lwm2m(house: House) -> None:
    with LockstepDevice(house, "meter") as device:
        device.register("</3/0>,</3303/0>")
        device.take_observe("/3303/0/5700", b"21.5")
        asking = house.asking("POST", "/devices/meter/operations", {"operation": "Read", "path": "/3/0/9"})
        device.answer(device.receive(), codes.CONTENT, b"87", 0)
        assert asking.answer()[0] == 200
        device.notify("/3303/0/5700", b"22.5", 2)
        device.receive()
        assert summaries(house, "&endpoint_name=meter") == [
            "Register",
            "Register: 2.01 Created",
            "Observe /3303/0/5700",
            "Observe /3303/0/5700: 2.05 Content",
            "Read /3/0/9",
            "Read /3/0/9: 2.05 Content",
            "Notify /3303/0/5700: 2.05 Content",
            "Receipt of Notify /3303/0/5700: 2.05 Content",
        ]
        (entry,) = house.api("GET", "/log?path=/3/0&direction=in")[1]["entries"]
        assert entry["payload_text"] == "/3/0/9 Battery Level = 87 %"
        assert device.location[1] not in download(house, "log.txt").decode()


def test_an_observation_keeps_its_name_over_a_restart(house: House) -> None:
    with LockstepDevice(house, "meter") as device:
        device.register("</3303/0>")
        device.take_observe("/3303/0/5700", b"21.5")
        house.until(lambda event: event["kind"] == "value")
        house.kill()
        house.start()
        device.notify("/3303/0/5700", b"22.5", 2)
        device.receive()
        (entry,) = house.api("GET", "/log?direction=in")[1]["entries"]
        assert entry["summary"] == "Notify /3303/0/5700: 2.05 Content"
        assert (entry["endpoint_name"], entry["hidden"]) == ("meter", False)


def test_what_is_written_and_never_read_leaves_by_no_way(house: House) -> None:
    with LockstepDevice(house, "meter") as device:
        device.register("</5/0>")
        body = {"operation": "Write", "path": "/5/0/0", "value": SECRET}
        asking = house.asking("POST", "/devices/meter/operations", body)
        request = device.receive()
        assert request.payload == bytes.fromhex(SECRET)
        device.answer(request, codes.CHANGED)
        assert asking.answer()[0] == 200
        (entry,) = house.api("GET", "/log?path=/5/0/0&direction=out")[1]["entries"]
        assert (entry["hidden"], entry["payload_hex"], entry["payload_bytes"]) == (True, "", len(SECRET) // 2)
        for name in ("log.txt", "log.pcap", "log"):
            found = download(house, name)
            assert bytes.fromhex(SECRET) not in found and SECRET.encode() not in found


def test_messages_are_seen_as_they_come(house: House) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", house.ready["http"], timeout=30)
    headers = {"Authorization": f"Bearer {house.token}"}
    connection.request("GET", "/api/v1/log/stream?code=POST", headers=headers)
    answer = connection.getresponse()
    with LockstepDevice(house, "meter") as device:
        device.register("</3/0>")
        device.update()
    seen: list[dict[str, Any]] = []
    while len(seen) < 2:
        line = answer.readline()
        assert line
        if line.startswith(b"data:"):
            data = json.loads(line[5:])
            seen += [data] if "summary" in data else []
    assert [entry["summary"] for entry in seen] == ["Register", "Update"]
    connection.close()


def test_a_log_of_no_entries_keeps_nothing(tmp_path: Any) -> None:
    with House(tmp_path / "state", "coap.log_entries=0") as house, LockstepDevice(house) as device:
        device.register()
        assert summaries(house) == []


def test_frames_of_tcp_are_logged_like_datagrams(house: House, tmp_path: Any) -> None:
    with LockstepStream(house, "meter") as device:
        device.register("</3303/0>")
        device.take_observe("/3303/0/5700", b"21.5")
        house.until(lambda event: event["kind"] == "value")
        page = house.api("GET", "/log?limit=1000&bearer=TCP")[1]
        seen = [entry["summary"] for entry in page["entries"]]
        assert seen.count("CSM") == 2
        assert [one for one in seen if one != "CSM"] == [
            "Register",
            "Register: 2.01 Created",
            "Observe /3303/0/5700",
            "Observe /3303/0/5700: 2.05 Content",
        ]
        assert page["entries"][-1]["payload_text"] == "/3303/0/5700 Sensor Value = 21.5"
    capture = tmp_path / "log.pcap"
    capture.write_bytes(download(house, "log.pcap?bearer=TCP"))
    done = subprocess.run(
        ["tshark", "-n", "-r", str(capture), "-T", "fields", "-e", "coap.code"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    codes_seen = done.stdout.split()
    assert sorted(codes_seen) == sorted(["225", "225", "2", "65", "1", "69"])
