"""What goes wrong in the field: no space left, no uvloop, no IPv4, a stop in the middle of everything."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from aiocoap.numbers import codes, types

from tests.house import ROOT, House, LockstepDevice

SENSOR = "/3303/0/5700"

OWN_MODEL = b"""<LWM2M><Object ObjectType="MODefinition"><Name>Own</Name><Description1/>
<ObjectID>3210</ObjectID><ObjectURN>urn:oma:lwm2m:x:3210</ObjectURN><LWM2MVersion>1.0</LWM2MVersion>
<ObjectVersion>1.0</ObjectVersion><MultipleInstances>Multiple</MultipleInstances><Mandatory>Optional</Mandatory>
<Resources><Item ID="5700"><Name>Own Value</Name><Operations>R</Operations>
<MultipleInstances>Single</MultipleInstances><Mandatory>Mandatory</Mandatory><Type>Float</Type>
<RangeEnumeration/><Units/><Description/></Item></Resources><Description2/></Object></LWM2M>"""


class SixDevice(LockstepDevice):
    """A device on IPv6."""

    def __init__(self, house: House, name: str) -> None:
        super().__init__(house, name)
        self.socket.close()
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(("::1", 0))

    @property
    def server(self) -> tuple[str, int]:
        return ("::1", self.house.coap_port)


def values(house: House, name: str) -> list[object]:
    return [value["value"] for event in house.events(name, "value") for value in event["values"]]


def limit_files(house: House, limit_bytes: int) -> None:
    """From now on no file of the house grows beyond that: a full disk, as SQLite sees it."""
    assert house.process is not None
    resource.prlimit(house.process.pid, resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))


def test_a_full_disk_silences_receipts_and_loses_nothing_acknowledged(house: House) -> None:
    with LockstepDevice(house, "s", timeout_s=15) as device:
        device.register("</3303/0>")
        device.take_observe(SENSOR, b"1")
        device.notify(SENSOR, b"2", 11)
        assert device.receive().mtype is types.ACK
        limit_files(house, 0)
        lost = device.notify(SENSOR, b"3", 12)
        assert device.silence(1.5)
        assert device.request(codes.POST, device.location).code == codes.SERVICE_UNAVAILABLE
        assert "space of the disk" in str(house.api("GET", "/status")[1]["warnings"])
        # What must not be done twice does not leave before it is on disk that it leaves.
        execute = {"operation": "Execute", "path": "/3/0/4"}
        status, answer = house.api("POST", "/devices/s/operations", execute)
        assert (status, answer["error"]["code"]) == (502, "failed")
        assert device.silence(0.5)
        # What may be repeated leaves, and that only our record of it is missing is said.
        write = {"operation": "Write", "path": "/3/0/14", "value": "+02:00"}
        asked = house.asking("POST", "/devices/s/operations", write)
        device.answer(device.receive(), codes.CHANGED)
        status, answer = asked.answer()
        assert (status, answer["error"]["code"]) == (502, "failed")
        assert "Write /3/0/14: Changed" in answer["error"]["message"]
        limit_files(house, resource.RLIM_INFINITY)
        device.send_raw(lost.encode())
        answer = device.receive()
        assert (answer.mtype, answer.mid) == (types.ACK, lost.mid)
        device.update()
        assert house.api("GET", "/status")[1]["warnings"] == []
    assert house.stop() == 0
    house.start()
    assert values(house, "s") == [1.0, 2.0, 3.0]


def test_without_uvloop_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = tmp_path / "blind"
    blind.mkdir()
    (blind / "uvloop.py").write_text("raise ImportError('not on this board')\n")
    monkeypatch.setenv("PYTHONPATH", str(blind))
    with House(tmp_path / "state", "devices.observe_paths=[]") as house, LockstepDevice(house) as device:
        assert house.process is not None
        assert "/uvloop/" not in Path(f"/proc/{house.process.pid}/maps").read_text()
        device.register("</3303/0>")
        device.take_observe(SENSOR, b"1")
        device.notify(SENSOR, b"2", 11)
        assert device.receive().mtype is types.ACK
        house.kill()
        house.start()
        device.notify(SENSOR, b"3", 12)
        assert device.receive().mtype is types.ACK
        assert values(house, "lockstep") == [1.0, 2.0, 3.0]
        assert house.stop() == 0


def test_a_device_on_ipv6_over_a_restart(tmp_path: Path) -> None:
    settings = ("devices.observe_paths=[]", 'coap.bind=["::1"]')
    with House(tmp_path / "state", *settings) as house, SixDevice(house, "six") as device:
        device.register("</3303/0>")
        device.take_observe(SENSOR, b"1")
        device.notify(SENSOR, b"1.5", 10)
        assert device.receive().mtype is types.ACK
        address = house.api("GET", "/devices/six")[1]["address"]
        assert address == f"[::1]:{device.socket.getsockname()[1]}"
        house.kill()
        house.start()
        device.notify(SENSOR, b"2", 11)
        assert device.receive().mtype is types.ACK
        asked = house.asking("POST", "/devices/six/operations", {"operation": "Read", "path": SENSOR})
        device.answer(device.receive(), codes.CONTENT, b"3", 0)
        assert asked.answer()[1]["values"][0]["value"] == 3.0


def test_a_stop_in_the_middle_of_operations_is_quick_and_said(house: House) -> None:
    with LockstepDevice(house, "slow") as device:
        device.register()
        request = {"operation": "Read", "path": "/3/0/0"}
        asked = house.asking("POST", "/devices/slow/operations", request)
        device.receive()
        assert house.stop() == 0
        status, answer = asked.answer()
        assert status in (503, 504), answer
        assert answer["error"]["next_step"]


def test_what_cannot_be_observed_is_refused_at_the_start(tmp_path: Path) -> None:
    overrides = ("http.port=0", "coap.port=0", 'devices.observe_paths=["/", "/3/x"]')
    arguments = [part for override in overrides for part in ("--set", override)]
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "serve", "--state", str(tmp_path / "state"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "'/'" in done.stderr
    assert "'/3/x'" in done.stderr


def test_a_model_of_ones_own_outlives_a_restart_and_makes_a_sensor_known(house: House) -> None:
    with LockstepDevice(house, "own") as device:
        device.register("</3210/0>")
        status, answer = house.api("POST", "/models", OWN_MODEL)
        assert status in (200, 201), answer
        device.take_observe("/3210/0/5700", b"4.5")
        device.notify("/3210/0/5700", b"5.0", 8)
        assert device.receive().mtype is types.ACK
        house.kill()
        house.start()
        device.notify("/3210/0/5700", b"5.5", 9)
        assert device.receive().mtype is types.ACK
        shown = house.api("GET", "/devices/own/values")[1]["values"][0]
        assert (shown["name"], shown["value"], shown["modelled"]) == ("Own Value", 5.5, True)
        assert house.api("DELETE", "/models/3210?version=1.0")[0] == 204
        house.stop()
        house.start()
        assert house.api("GET", "/models/3210")[0] == 404
    for bad in (b"", b"<LWM2M>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><LWM2M/>", os.urandom(64), OWN_MODEL[:-20]):
        status, answer = house.api("POST", "/models", bad)
        assert status == 400, answer
        assert answer["error"]["next_step"]


@pytest.mark.parametrize("name", ["a/b", "..", "a%2Fb", "ünï ☃", '"><script>', "?", "#", "x" * 250])
def test_any_name_has_its_place_in_the_api(house: House, name: str) -> None:
    place = "/devices/" + urllib.parse.quote(name, safe="")
    with LockstepDevice(house, name) as device:
        device.register()
        status, answer = house.api("GET", place)
        assert (status, answer["endpoint_name"]) == (200, name)
        asked = house.asking("POST", place + "/operations", {"operation": "Read", "path": "/3/0/0"})
        device.answer(device.receive(), codes.CONTENT, b"x", 0)
        assert asked.answer()[0] == 200
    assert house.api("DELETE", place)[0] == 204
    assert house.api("GET", place)[0] == 404


def test_a_restart_finds_what_the_devices_have_to_be_asked_again(house: House) -> None:
    """The answer to an Observe was taken, and the power went before it was on disk."""
    with LockstepDevice(house, "half") as device:
        device.register("</3303/0>,</3304/0>")
        device.take_observe(SENSOR, b"1")
        request = device.receive()
        device.notify(SENSOR, b"1.5", 2)
        assert device.receive().mtype is types.ACK
        house.kill()
        device.answer(request, codes.CONTENT, b"50", 0, 1)
        house.start()
        device.take_observe("/3304/0/5700", b"51")
        device.notify("/3304/0/5700", b"52", 2)
        assert device.receive().mtype is types.ACK
        device.notify(SENSOR, b"2", 3)
        assert device.receive().mtype is types.ACK
