"""libcoap's coap-client against our port: plain CoAP from a stranger in C (RFC 7252, RFC 7959)."""

from __future__ import annotations

import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.strangers import Gateway, command, fresh_name

LINKS = "</1/0>,</3/0>,</3303/0>"
LINK_FORMAT = "40"


@dataclass(frozen=True, slots=True)
class Answer:
    """What coap-client made of the last answer: the code as "2.05", its options as text, the payload."""

    code: str
    options: str
    payload: str

    @property
    def location(self) -> str:
        return "".join(f"/{part}" for part in re.findall(r"Location-Path:([^, \]]+)", self.options))


def coap(gateway: Gateway, method: str, target: str, *more: str) -> Answer:
    """One request. coap-client shows every message it gets when told to be verbose."""
    arguments = [
        command("coap-client-notls"),
        "-v",
        "7",
        "-B",
        "20",
        "-m",
        method,
        *more,
        gateway.uri + target,
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    log = done.stdout + done.stderr
    # Not what it sent: it refuses what a device is asked after its Register, when it is still there by then.
    log = re.sub(r"\bsent +\d+ bytes\nv:1 .*", "", log)
    answers = re.findall(r"v:1 t:\w+ c:([2-5]\.\d\d) i:\w+ \{\w*\} \[ ?(.*?)\](.*)", log)
    assert answers, log
    code, options, rest = answers[-1]
    return Answer(code, options, rest + done.stdout)


def register(gateway: Gateway, name: str, *more: str, query: str = "") -> Answer:
    return coap(gateway, "post", f"/rd?ep={name}&lt=300&lwm2m=1.1&b=U{query}", "-t", LINK_FORMAT, *more)


def test_well_known_core_names_the_registration_interface(gateway: Gateway) -> None:
    answer = coap(gateway, "get", "/.well-known/core")
    assert answer.code == "2.05"
    assert "</rd>" in answer.payload


def test_register_update_and_deregister(gateway: Gateway) -> None:
    name = fresh_name("libcoap")
    answer = register(gateway, name, "-e", LINKS)
    assert answer.code == "2.01"
    assert re.fullmatch(r"/rd/[^/]+", answer.location)
    device = gateway.api.device(name)
    assert device is not None
    assert [entry["id"] for entry in device["objects"]] == [1, 3, 3303]
    assert coap(gateway, "post", answer.location + "?lt=77").code == "2.04"
    device = gateway.api.device(name)
    assert device is not None
    assert device["lifetime_s"] == 77
    assert coap(gateway, "delete", answer.location).code == "2.02"
    assert coap(gateway, "post", answer.location).code == "4.04"


def test_a_non_confirmable_register_is_answered(gateway: Gateway) -> None:
    assert register(gateway, fresh_name("libcoap"), "-N", "-e", LINKS).code == "2.01"


@pytest.mark.parametrize("block_bytes", ["16", "64", "1024"])
def test_a_long_object_list_is_registered_in_blocks(
    gateway: Gateway, tmp_path: Path, block_bytes: str
) -> None:
    name = fresh_name("libcoap")
    body = tmp_path / "links"
    body.write_text(",".join(["</1/0>", "</3/0>", *(f"</3303/{instance}>" for instance in range(120))]))
    answer = register(gateway, name, "-b", block_bytes, "-f", str(body))
    assert answer.code == "2.01"
    device = gateway.api.device(name)
    assert device is not None
    assert [entry["instances"] for entry in device["objects"] if entry["id"] == 3303] == [list(range(120))]


@pytest.mark.parametrize(
    ("method", "target", "more", "code"),
    [
        ("get", "/no/such/path", (), "4.04"),
        ("get", "/rd", (), "4.05"),
        ("post", "/rd/unknown", (), "4.04"),
        ("delete", "/rd/unknown", (), "4.04"),
        ("post", "/rd?ep=x&lt=60&lwm2m=9.9&b=U", ("-t", LINK_FORMAT, "-e", LINKS), "4.12"),
        ("post", "/rd?ep=x&lt=soon&lwm2m=1.1&b=U", ("-t", LINK_FORMAT, "-e", LINKS), "4.00"),
        ("post", "/rd?ep=x&lt=60&lwm2m=1.1&b=U", ("-t", LINK_FORMAT, "-e", "not a link"), "4.00"),
        ("get", "/.well-known/core", ("-O", "65001,x"), "4.02"),
        ("get", "/.well-known/core", ("-O", "65000,x"), "2.05"),
    ],
    ids=[
        "unknown path", "wrong method", "update of a stranger", "deregister of a stranger", "version",
        "lifetime", "links", "unknown critical option", "unknown elective option",
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_code(
    gateway: Gateway, method: str, target: str, more: tuple[str, ...], code: str
) -> None:
    assert coap(gateway, method, target, *more).code == code


def test_an_answer_asked_for_in_small_blocks_comes_in_small_blocks(gateway: Gateway) -> None:
    answer = coap(gateway, "get", "/.well-known/core", "-b", "16")
    assert answer.code == "2.05"
    assert "Block2" in answer.options or len(answer.payload) < 64


def test_a_ping_is_answered_by_a_reset(gateway: Gateway) -> None:
    """RFC 7252 §4.3; by hand, because coap-client pings only idle sessions."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(10)
        probe.sendto(b"\x40\x00\xca\xfe", ("127.0.0.1", gateway.coap_port))
        assert probe.recv(64) == b"\x70\x00\xca\xfe"


def test_a_repeated_register_is_answered_alike_and_made_once(gateway: Gateway) -> None:
    """RFC 7252 §4.2: the same datagram twice, as after a lost answer."""
    name = fresh_name("twice")
    queries = [b"ep=" + name.encode(), b"lwm2m=1.1", b"lt=60", b"b=U"]
    options = b"\xb2rd" + b"\x11\x28"  # Uri-Path, Content-Format 40, then Uri-Query
    for delta, query in zip((3, 0, 0, 0), queries, strict=True):
        options += bytes([delta << 4 | len(query)]) + query
    datagram = b"\x41\x02\x12\x34T" + options + b"\xff" + LINKS.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.settimeout(10)
        answers = []
        for _ in range(2):
            device.sendto(datagram, ("127.0.0.1", gateway.coap_port))
            while (answer := device.recv(2048))[1] != 0x41:
                pass  # the gateway's own requests to its new device
            answers.append(answer)
    assert answers[0] == answers[1]
    events = gateway.api.get("/events", endpoint_name=name, limit=100)["events"]
    assert [event["kind"] for event in events].count("registered") == 1
