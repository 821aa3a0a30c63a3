"""A stand-in for the gateway: serves web/ and the shapes of the API with lively invented devices.

For the tests of the page, and to work on it without a gateway:
``python tests/web/fake_server.py --port 8090 --devices 9`` and log in as admin with any password of 8
characters or more (``--new`` starts before the first account; the setup code is ABCD-EFGH-JKMN).
Longer than 400 lines because it holds the invented devices and models as well as the server.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fake_trust import ROUTES as TRUST_ROUTES
from fake_trust import Trust, file_of
from fake_work import NEXT_VISIT_S, Failure, Json, Work, iso
from fake_work import ROUTES as WORK_ROUTES

WEB = Path(__file__).resolve().parents[2] / "web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
SETUP_CODE = "ABCD-EFGH-JKMN"


def _resources(text: str) -> list[Json]:
    """Lines of "id|name|operations|type|flags|range|units"; flags: m mandatory, * several."""
    rows = []
    for line in text.strip().splitlines():
        number, name, operations, kind, flags, span, units = (part.strip() for part in line.split("|"))
        rows.append(
            {
                "id": int(number),
                "name": name,
                "operations": operations,
                "multiple": "*" in flags,
                "mandatory": "m" in flags,
                "type": kind,
                "range": span,
                "units": units,
                "description": "",
            }
        )
    return rows


SENSOR = """
5601|Min Measured Value|R|float|||
5602|Max Measured Value|R|float|||
5603|Min Range Value|R|float|||
5604|Max Range Value|R|float|||
5605|Reset Min and Max Measured Values|E|none|||
5700|Sensor Value|R|float|m||
5701|Sensor Units|R|string|||
5750|Application Type|RW|string|||
"""
MODELS: dict[int, tuple[str, str, bool, list[Json]]] = {
    1: (
        "LwM2M Server",
        "1.1",
        True,
        _resources("""
0|Short Server ID|R|integer|m|1..65534|
1|Lifetime|RW|integer|m||s
2|Default Minimum Period|RW|integer|||s
3|Default Maximum Period|RW|integer|||s
4|Disable|E|none|||
6|Notification Storing When Disabled or Offline|RW|boolean|m||
7|Binding|RW|string|m||
8|Registration Update Trigger|E|none|m||
"""),
    ),
    3: (
        "Device",
        "1.1",
        False,
        _resources("""
0|Manufacturer|R|string|||
1|Model Number|R|string|||
2|Serial Number|R|string|||
3|Firmware Version|R|string|||
4|Reboot|E|none|m||
5|Factory Reset|E|none|||
6|Available Power Sources|R|integer|*|0..7|
7|Power Source Voltage|R|integer|*||mV
8|Power Source Current|R|integer|*||mA
9|Battery Level|R|integer||0..100|/100
10|Memory Free|R|integer|||kB
11|Error Code|R|integer|m*|0..32|
12|Reset Error Code|E|none|||
13|Current Time|RW|time|||
14|UTC Offset|RW|string|||
15|Timezone|RW|string|||
16|Supported Binding and Modes|R|string|m||
20|Battery Status|R|integer||0..6|
"""),
    ),
    4: (
        "Connectivity Monitoring",
        "1.3",
        False,
        _resources("""
0|Network Bearer|R|integer|m|0..50|
1|Available Network Bearer|R|integer|m*||
2|Radio Signal Strength|R|integer|m||dBm
3|Link Quality|R|integer|||
4|IP Addresses|R|string|m*||
"""),
    ),
    5: (
        "Firmware Update",
        "1.1",
        False,
        _resources("""
0|Package|W|opaque|m||
1|Package URI|RW|string|m|0..255|
2|Update|E|none|m||
3|State|R|integer|m|0..3|
5|Update Result|R|integer|m|0..9|
"""),
    ),
    6: (
        "Location",
        "1.0",
        False,
        _resources("""
0|Latitude|R|float|m||lat
1|Longitude|R|float|m||lon
5|Timestamp|R|time|m||
"""),
    ),
    3303: ("Temperature", "1.1", True, _resources(SENSOR)),
    3304: ("Humidity", "1.1", True, _resources(SENSOR)),
    3311: (
        "Light Control",
        "1.0",
        True,
        _resources("""
5850|On/Off|RW|boolean|m||
5851|Dimmer|RW|integer||0..100|/100
5852|On time|RW|integer|||s
5750|Application Type|RW|string|||
"""),
    ),
    3441: (
        "LwM2M v1.0 Test Object",
        "1.0",
        True,
        _resources("""
0|Reset values|E|none|||
1|Randomize values|E|none|||
110|String Value|RW|string|||
120|Integer Value|RW|integer|||
130|Float Value|RW|float|||
140|Boolean Value|RW|boolean|||
150|Opaque Value|RW|opaque|||
160|Time Value|RW|time|||
170|ObjLink Value|RW|objlnk|||
180|Corelnk Value|RW|corelnk|||
190|Unsigned Integer Value|RW|unsigned|||
1110|Multiple String Value|RW|string|*||
1120|Multiple Integer Value|RW|integer|*||
"""),
    ),
}


class Device:
    """One invented device: its row, its values by path, what is observed."""

    def __init__(self, number: int, name: str, rng: random.Random, *, full: bool) -> None:
        now = time.time()
        self.rng = rng
        self.name = name
        self.state = "online"
        self.security = "NoSec" if number % 3 else "PSK"
        self.registered_at = now - 4000 - number
        self.seen_at = now - rng.random() * 200
        self.lifetime_s = 300
        self.address = f"192.168.7.{20 + number % 200}:{5683 + number}"
        self.warnings: list[str] = []
        self.queue_mode = False
        self.awake_s = 93
        self.next_visit = now + NEXT_VISIT_S
        self.gateway: str | None = None
        self.prefix: str | None = None
        self.instances: dict[int, list[int]] = {1: [0], 3: [0], 4: [0], 3303: [0]}
        self.versions = {1: "1.1", 3: "1.1", 4: "1.3", 3303: "1.1"}
        if full:
            self.instances |= {5: [0], 6: [0], 3304: [0], 3311: [0, 1], 3441: [0], 33000: [0]}
            self.versions |= {5: "1.1", 6: "1.0", 3304: "1.1", 3311: "1.0", 3441: "1.0", 33000: "1.0"}
        self.values: dict[str, tuple[Any, float, str]] = {}
        maker, model = rng.choice(
            [("Acme", "TH-200"), ("Nordwind", "nRF-Sense"), ("Homard", "Probe 3"), ("Lumo", "L1")]
        )
        start = {
            "/3/0/0": maker,
            "/3/0/1": model,
            "/3/0/9": rng.randint(8, 100),
            "/4/0/2": rng.randint(-110, -52),
            "/3303/0/5700": round(18 + 8 * rng.random(), 1),
            "/3303/0/5701": "Cel",
            "/1/0/1": 300,
        }
        if full:
            start |= {
                "/3/0/2": f"SN-{10000 + number}",
                "/3/0/3": "2.4.1",
                "/3/0/6/0": 1,
                "/3/0/6/1": 5,
                "/3/0/7/0": 3814,
                "/3/0/7/1": 5021,
                "/3/0/11/0": 0,
                "/3/0/13": iso(now)[:19] + "Z",
                "/3/0/14": "+02:00",
                "/3/0/16": "U",
                "/3304/0/5700": 47.3,
                "/3304/0/5701": "%RH",
                "/3311/0/5850": True,
                "/3311/0/5851": 60,
                "/3441/0/110": "initial value",
                "/3441/0/120": 1024,
                "/3441/0/140": True,
                "/3441/0/150": "0123456789abcdef",
                "/3441/0/160": "2026-05-04T10:00:00Z",
                "/3441/0/170": "3:0",
                "/3441/0/190": 9223372036854775808,
                "/3441/0/1110/0": "first",
                "/3441/0/1110/1": "second",
                "/33000/0/1": "0a1b2c",
                "/33000/0/2": "17",
                "/6/0/0": 50.8466,
                "/6/0/1": 4.3528,
            }
        for path, value in start.items():
            self.values[path] = (value, now - rng.random() * 900, "read")
        self.observations: dict[str, Json] = {}
        for path in ("/3303/0/5700", "/3/0/9", "/4/0/2") + (("/3304/0/5700", "/6/0") if full else ()):
            self.observations[path] = {
                "since": now - 3000,
                "origin": "default",
                "attributes": {},
                "state": "active",
            }
        if full:
            self.observations["/6/0"] |= {
                "state": "refused",
                "reason": "Method Not Allowed: it cannot be observed",
            }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a browser opens six at once, and a lost SYN costs it a second


class FakeGateway:
    """The server with its switches for the tests. ``url`` is where it listens."""

    def __init__(
        self,
        *,
        devices: int = 9,
        port: int = 0,
        setup: bool = False,
        lively: bool = True,
        keep_alive_s: float = 2.0,
    ) -> None:
        self.lock = threading.RLock()
        self.journal: deque[Json] = deque(maxlen=5000)
        self.grew = threading.Condition(self.lock)
        self.seq = 100
        self.needs_setup = setup
        self.password = ""
        self.tokens: list[Json] = []
        self.work = Work(self)
        self.own_models: dict[int, str] = {}
        self.keep_alive_s = keep_alive_s
        self.answer_after_s = 0.03
        self.streams = 0
        self.refuse_streams = False
        self.unreachable = False  # every request is cut off without an answer
        self.cut = 0
        self.requests: list[tuple[str, str, Any]] = []
        self.last_event_ids: list[str | None] = []
        rng = random.Random(7)
        names = [
            "greenhouse-north",
            "greenhouse-south",
            "cold-room-1",
            "pump-house",
            "weather-mast",
            "urn:dev:os:0023C7-000123",
            "boiler",
            "workshop light",
            "gate",
        ]
        names += [f"sensor-{number:04}" for number in range(1, max(0, devices - len(names)) + 1)]
        self.devices: dict[str, Device] = {}
        for number, name in enumerate(names[:devices]):
            self.devices[name] = Device(number, name, rng, full=number < 3)
        if devices > 3:
            self.devices[names[3]].state = "asleep"
            self.devices[names[3]].queue_mode = True
        if devices > 5:
            self.devices[names[4]].gateway, self.devices[names[4]].prefix = names[5], "d01"
        for index, state in ((4, "late"), (7, "offline"), (8, "deregistered")):
            if index < devices:
                device = self.devices[names[index]]
                device.state = state
                device.seen_at -= 5000 * index
                for one in device.observations.values():
                    one["state"] = "wanted"
        if devices:
            self.devices[names[2]].warnings.append("Object 33000 has no model: its values are kept raw.")
        self.trust = Trust(self)
        self.server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._stop = threading.Event()
        self._lively = lively

    def __enter__(self) -> FakeGateway:
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        if self._lively:
            threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self.cut_streams()
        self.server.shutdown()
        self.server.server_close()

    # Switches

    def cut_streams(self) -> None:
        """Ends every stream now; the page has to come back by itself."""
        with self.lock:
            self.cut += 1
            self.grew.notify_all()

    def report(self, name: str, path: str, value: Any, source: str = "notify") -> int:
        """A value arrives from a device; gives the number of its event."""
        with self.lock:
            device = self.devices[name]
            now = time.time()
            device.values[path] = (value, now, source)
            device.seen_at = now
            return self.append("value", name, values=[self.value(device, path)])

    def wake(self, name: str) -> None:
        """A sleeper is heard: it listens, and gets what waits for it."""
        with self.lock:
            device = self.devices[name]
            device.state, device.seen_at = "online", time.time()
            self.append("awake", name)
            self.work.drain(name)

    def doze(self, name: str, next_visit_s: float = NEXT_VISIT_S) -> None:
        """It listens no longer."""
        with self.lock:
            device = self.devices[name]
            device.state, device.queue_mode, device.next_visit = "asleep", True, time.time() + next_visit_s
            self.append("asleep", name)

    def append(self, kind: str, name: str, **body: Any) -> int:
        with self.lock:
            self.seq += 1
            self.journal.append(
                {"seq": self.seq, "at": iso(time.time()), "kind": kind, "endpoint_name": name, **body}
            )
            self.grew.notify_all()
            return self.seq

    def _live(self) -> None:
        turn = 0
        while not self._stop.wait(0.7):
            turn += 1
            with self.lock:
                awake = [device for device in self.devices.values() if device.state == "online"]
            if not awake:
                continue
            device = awake[0] if turn % 2 else awake[turn % len(awake)]
            path = "/3303/0/5700" if turn % 5 else "/4/0/2"
            value = round(21 + 3 * math.sin(turn / 9), 2) if turn % 5 else -60 - turn % 30
            self.report(device.name, path, value)
            with self.lock:
                self.work.message(device.name)
            if turn % 20 == 0:
                (self.doze if turn % 40 == 0 else self.wake)("pump-house")
            if turn % 11 == 0:
                self.append("updated", device.name, lifetime_s=device.lifetime_s, address=device.address)

    # Shapes

    def row(self, device: Device) -> Json:
        known = device.values
        active = sum(1 for one in device.observations.values() if one["state"] == "active")
        alive = device.state in ("online", "asleep", "late")
        return {
            "endpoint_name": device.name,
            "state": device.state,
            "version": "1.1",
            "bearer": "UDP",
            "security": device.security,
            "address": device.address,
            "registered_at": iso(device.registered_at),
            "last_seen_at": iso(device.seen_at),
            "lifetime_s": device.lifetime_s,
            "expires_at": iso(time.time() + (250 if device.state in ("online", "asleep") else -20))
            if alive
            else None,
            "binding": "UQ" if device.queue_mode else "U",
            "queue_mode": device.queue_mode,
            "awake_until": iso(time.time() + 60) if device.queue_mode and device.state == "online" else None,
            "expected_at": iso(device.next_visit) if device.queue_mode else None,
            "awake_s": device.awake_s,
            "tasks": self.work.counts(device.name),
            "gateway": device.gateway,
            "prefix": device.prefix,
            "observations": {"active": active, "wanted": len(device.observations)},
            "manufacturer": known.get("/3/0/0", (None,))[0],
            "model": known.get("/3/0/1", (None,))[0],
            "battery": known.get("/3/0/9", (None,))[0],
            "rssi": known.get("/4/0/2", (None,))[0],
            "warnings": device.warnings,
        }

    def device(self, device: Device) -> Json:
        return {
            **self.row(device),
            "registration_id": f"r{abs(hash(device.name)) % 10**6}",
            "sms_number": None,
            "root": "/",
            "content_formats": [112, 11542],
            "learned_format": 112,
            "parameters": {},
            "end_devices": [one.name for one in self.devices.values() if one.gateway == device.name],
            "objects": [
                {"id": number, "version": device.versions[number], "instances": found}
                for number, found in sorted(device.instances.items())
            ],
        }

    def objects(self, device: Device) -> Json:
        rows = []
        for number, found in sorted(device.instances.items()):
            model = MODELS.get(number)
            rows.append(
                {
                    "id": number,
                    "name": model[0] if model else None,
                    "version": device.versions[number],
                    "model_version": model[1] if model else None,
                    "multiple": model[2] if model else True,
                    "warning": None
                    if model
                    else f"There is no model of object {number}: upload its XML on the models page.",
                    "instances": found,
                    "resources": model[3] if model else [],
                }
            )
        return {"objects": rows}

    def resource(self, path: str) -> Json | None:
        parts = path.strip("/").split("/")
        model = MODELS.get(int(parts[0]))
        if model is None or len(parts) < 3:
            return None
        return next((one for one in model[3] if one["id"] == int(parts[2])), None)

    def value(self, device: Device, path: str) -> Json:
        value, at, source = device.values[path]
        resource = self.resource(path)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        kind = resource["type"] if resource else "opaque" if path == "/33000/0/1" else "string"
        units = resource["units"] if resource else ""
        return {
            "path": path,
            "name": resource["name"] if resource else None,
            "value": value,
            "text": text,
            "type": kind,
            "units": units,
            "at": iso(at),
            "source": source,
            "observed": path in device.observations,
            "modelled": resource is not None,
            "warning": None if resource else "Kept as received: there is no object model for it.",
        }

    def values(self, device: Device, path: str) -> list[Json]:
        prefix = path.rstrip("/")
        return [
            self.value(device, one)
            for one in sorted(device.values)
            if one == path or one.startswith(prefix + "/")
        ]

    def observation_rows(self, device: Device) -> Json:
        return {
            "observations": [
                {
                    "id": path,
                    "path": path,
                    "paths": path.split(","),
                    "composite": "," in path,
                    "state": one["state"],
                    "since": iso(one["since"]) if one["state"] == "active" else None,
                    "reason": one.get("reason")
                    or ("Waiting for the device." if one["state"] == "wanted" else None),
                    "origin": one["origin"],
                    "attributes": one["attributes"],
                }
                for path, one in sorted(device.observations.items())
            ]
        }

    def outcome(self, verb: str, path: str, code: str, text: str, words: str, **more: Any) -> Json:
        return {
            "operation": verb,
            "path": path,
            "code": code,
            "text": text,
            "ok": code.startswith("2"),
            "words": f"{text}: {words}",
            "rtt_ms": round(18 + 40 * random.random(), 1),
            "values": [],
            "links": None,
            "location": None,
            "content_format": 112,
            **more,
        }

    def operate(self, device: Device, request: Json) -> Json:
        """What the device answers. Writes are kept, what is not there is 4.04."""
        verb = request["operation"]
        if verb == "ReadComposite":
            found = [value for one in request["paths"] for value in self.values(device, one)]
            return self.outcome(
                verb, ",".join(request["paths"]), "2.05", "Content", "here are the values", values=found
            )
        if verb == "WriteComposite":
            for one, value in request["values"].items():
                device.values[one] = (value, time.time(), "write")
            written = [self.value(device, one) for one in request["values"]]
            self.append("value", device.name, values=written)
            return self.outcome(
                verb, ",".join(request["values"]), "2.04", "Changed", "the device took it", values=written
            )
        path = request["path"]
        parts = [int(part) for part in path.strip("/").split("/")]
        if device.state in ("offline", "deregistered"):
            raise Failure(
                HTTPStatus.GATEWAY_TIMEOUT,
                "unreachable",
                f"{device.name} is not registered now ({device.state})",
                "Switch the device on, or wait until it registers again.",
            )
        there = parts[0] in device.instances and (len(parts) < 2 or parts[1] in device.instances[parts[0]])
        if not there and verb != "Create":
            return self.outcome(
                verb, path, "4.04", "Not Found", "the device has no such object instance or resource"
            )
        now = time.time()
        match verb:
            case "Read":
                for resource in MODELS.get(parts[0], ("", "", False, []))[3]:
                    one = f"/{parts[0]}/{parts[1] if len(parts) > 1 else 0}/{resource['id']}"
                    if (
                        "R" in resource["operations"]
                        and one not in device.values
                        and not resource["multiple"]
                        and one.startswith(path)
                    ):
                        example: Any = {
                            "string": "–",
                            "float": 20.5,
                            "boolean": False,
                            "time": iso(now)[:19] + "Z",
                            "objlnk": "65535:65535",
                            "corelnk": "</3/0>",
                        }
                        device.values[one] = (example.get(resource["type"], 1), now, "read")
                for one in [one for one in device.values if one == path or one.startswith(path + "/")]:
                    device.values[one] = (device.values[one][0], now, "read")
                found = self.values(device, path)
                if not found:
                    return self.outcome(
                        verb, path, "4.04", "Not Found", "the device has no such object instance or resource"
                    )
                return self.outcome(verb, path, "2.05", "Content", "here is the value", values=found)
            case "Write":
                given = {path: request["value"]} if "value" in request else {}
                for key, value in request.get("values", {}).items():
                    given |= (
                        {f"{path}/{key}/{inner}": one for inner, one in value.items()}
                        if isinstance(value, dict)
                        else {f"{path}/{key}": value}
                    )
                if request.get("mode") == "replace" and len(parts) == 3:
                    for one in [one for one in device.values if one.startswith(path + "/")]:
                        del device.values[one]
                for one, value in given.items():
                    device.values[one] = (value, now, "write")
                written = [self.value(device, one) for one in given]
                self.append("value", device.name, values=written)
                return self.outcome(verb, path, "2.04", "Changed", "the device took it", values=written)
            case "Create":
                number = request.get("instance")
                found = device.instances.setdefault(parts[0], [])
                number = (
                    number if number is not None else next(one for one in range(65535) if one not in found)
                )
                if number in found:
                    return self.outcome(verb, path, "4.00", "Bad Request", "that instance exists already")
                found.append(number)
                found.sort()
                for key, value in request.get("values", {}).items():
                    device.values[f"/{parts[0]}/{number}/{key}"] = (value, now, "write")
                self.append("updated", device.name, words="Objects changed")
                return self.outcome(
                    verb, path, "2.01", "Created", "the instance exists now", location=f"/{parts[0]}/{number}"
                )
            case "Delete":
                device.instances[parts[0]].remove(parts[1])
                for one in [one for one in device.values if one.startswith(path + "/")]:
                    del device.values[one]
                self.append("updated", device.name, words="Objects changed")
                return self.outcome(verb, path, "2.02", "Deleted", "it is gone")
            case "Discover":
                links = [
                    {"target": one, "attributes": {"pmin": "10", "pmax": "300"} if one == path else {}}
                    for one in sorted(device.values)
                    if one.startswith(path)
                ]
                return self.outcome(
                    verb,
                    path,
                    "2.05",
                    "Content",
                    "here are the links",
                    links=[{"target": path, "attributes": {}}, *links],
                )
            case _:
                return self.outcome(verb, path, "2.04", "Changed", "the device did it")


def _handler(gateway: FakeGateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def do_PUT(self) -> None:
            self._answer("PUT")

        def do_PATCH(self) -> None:
            self._answer("PATCH")

        def do_DELETE(self) -> None:
            self._answer("DELETE")

        def _answer(self, method: str) -> None:
            place = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else b""
            if gateway.unreachable:
                self.close_connection = True
                return
            if not place.path.startswith("/api/"):
                self._file(place.path)
                return
            query = {key: found[0] for key, found in parse_qs(place.query).items()}
            path = place.path.removeprefix("/api/v1")
            try:
                if path == "/stream":
                    self._stream(query)
                    return
                if path == "/log/stream":
                    self._log_stream(query)
                    return
                if path in ("/log.txt", "/log.pcap"):
                    self._session()
                    self._bytes(b"the log as a file", "text/plain")
                    return
                file = file_of(path)
                if file is not None:
                    self._session()
                    self._bytes(*file)
                    return
                given: Any = body
                if "json" in self.headers.get("Content-Type", "") and body:
                    given = json.loads(body)
                gateway.requests.append((method, path, given))
                self._json(*self._route(method, path, query, given))
            except Failure as failure:
                self._json(failure.body, failure.status)

        def _json(self, body: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> None:
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(204 if body is None else status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _bytes(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Disposition", 'attachment; filename="log"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _file(self, path: str) -> None:
            name = unquote(path).lstrip("/") or "index.html"
            file = (WEB / name).resolve()
            pseudo = name in ("i18n/xx.json", "i18n/trust/xx.json")
            if not pseudo and (not file.is_relative_to(WEB) or not file.is_file()):
                self._json({"error": {"code": "not_found", "message": "no such file", "next_step": ""}}, 404)
                return
            data = _pseudo(file) if pseudo else file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", TYPES[file.suffix])
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-cache")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _session(self) -> Json:
            if "session=yes" not in self.headers.get("Cookie", ""):
                raise Failure(HTTPStatus.UNAUTHORIZED, "unauthenticated", "Nobody is logged in.", "Log in.")
            return _SESSION

        def _stream(self, query: dict[str, str]) -> None:
            self._session()
            wanted = self.headers.get("Last-Event-ID") or query.get("after")
            gateway.last_event_ids.append(wanted)
            if gateway.refuse_streams:
                raise Failure(
                    HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Too many streams are open.", "Close a page."
                )
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            with gateway.lock:
                cut, after = gateway.cut, int(wanted) if wanted is not None else gateway.seq
                gateway.streams += 1
            try:
                self._send(
                    f"id: {after}\nevent: ready\ndata: "
                    + json.dumps({"seq": after, "kind": "ready", "words": ""})
                    + "\n\n"
                )
                while gateway.cut == cut and not gateway.unreachable:
                    with gateway.lock:
                        rows = [row for row in gateway.journal if row["seq"] > after]
                        if not rows:
                            gateway.grew.wait(gateway.keep_alive_s)
                            rows = [row for row in gateway.journal if row["seq"] > after]
                    if gateway.cut != cut:
                        break
                    for row in rows:
                        after = row["seq"]
                    self._send(
                        "".join(
                            f"id: {row['seq']}\nevent: {row['kind']}\ndata: {json.dumps(row)}\n\n"
                            for row in rows
                        )
                        or ": keep-alive\n\n"
                    )
            except OSError:
                pass
            finally:
                with gateway.lock:
                    gateway.streams -= 1

        def _log_stream(self, query: dict[str, str]) -> None:
            self._session()
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            with gateway.lock:
                cut, after = gateway.cut, int(query.get("after", gateway.work.log_head))
            try:
                self._send(f"id: {after}\nevent: ready\ndata: {json.dumps({'seq': after})}\n\n")
                while gateway.cut == cut and not gateway.unreachable:
                    with gateway.lock:
                        rows = gateway.work.entries(query, after)
                        if not rows:
                            gateway.grew.wait(gateway.keep_alive_s)
                            rows = gateway.work.entries(query, after)
                    after = rows[-1]["seq"] if rows else after
                    self._send(
                        "".join(
                            f"id: {row['seq']}\nevent: entry\ndata: {json.dumps(row)}\n\n" for row in rows
                        )
                        or ": keep-alive\n\n"
                    )
            except OSError:
                pass

        def _send(self, text: str) -> None:
            self.wfile.write(text.encode())
            self.wfile.flush()

        def _route(
            self, method: str, path: str, query: dict[str, str], body: Any
        ) -> tuple[Any, int, tuple[tuple[str, str], ...]]:
            def plain(value: Any) -> tuple[Any, int, tuple[tuple[str, str], ...]]:
                return value, 200, ()

            if path == "/setup" and method == "GET":
                return plain({"needed": gateway.needs_setup})
            if path == "/setup" and method == "POST":
                if body["code"] != SETUP_CODE:
                    raise Failure(
                        HTTPStatus.FORBIDDEN,
                        "wrong_credentials",
                        "That is not the setup code.",
                        "Copy it from the console.",
                    )
                gateway.needs_setup, gateway.password = False, body["password"]
                return _SESSION, 201, (("Set-Cookie", "session=yes; HttpOnly; SameSite=Strict; Path=/"),)
            if path == "/session" and method == "POST":
                if len(body["password"]) < 8 or (gateway.password and body["password"] != gateway.password):
                    raise Failure(
                        HTTPStatus.UNAUTHORIZED,
                        "wrong_credentials",
                        "Name or password is wrong.",
                        "Try again.",
                    )
                return _SESSION, 201, (("Set-Cookie", "session=yes; HttpOnly; SameSite=Strict; Path=/"),)
            session = self._session()
            if method != "GET" and self.headers.get("X-CSRF-Token") != session["csrf"]:
                raise Failure(
                    HTTPStatus.FORBIDDEN, "csrf", "The request lacks its X-CSRF-Token.", "Reload the page."
                )
            if path == "/session":
                if method == "DELETE":
                    return None, 204, (("Set-Cookie", "session=; Max-Age=0; Path=/"),)
                return plain(session)
            with gateway.lock:
                for pattern, verbs in ROUTES:
                    found = re.fullmatch(pattern, path)
                    if found and method in verbs:
                        answer = verbs[method](
                            gateway, [unquote(part) for part in found.groups()], query, body
                        )
                        break
                else:
                    raise Failure(HTTPStatus.NOT_FOUND, "not_found", f"no {method} {path}")
            if path.endswith("/operations") or (path.endswith("/observations") and method != "GET"):
                time.sleep(gateway.answer_after_s)
            if path.endswith("/operations") and "task" in answer and "code" not in answer:
                return answer, 202, ()
            return plain(answer)

    return Handler


_SESSION: Json = {
    "account": "admin",
    "kind": "account",
    "scopes": ["read", "operate", "admin"],
    "csrf": "fake-csrf",
    "expires_at": "2030-01-01T00:00:00Z",
}
Route = Callable[[FakeGateway, list[str], dict[str, str], Any], Any]


def _named(gateway: FakeGateway, name: str) -> Device:
    if name not in gateway.devices:
        raise Failure(
            HTTPStatus.NOT_FOUND, "not_found", f"no device is named {name!r}", "Names are case-sensitive."
        )
    return gateway.devices[name]


def _status(gateway: FakeGateway, *_: Any) -> Json:
    online = sum(1 for one in gateway.devices.values() if one.state in ("online", "asleep"))
    return {
        "version": "0.1.0",
        "started_at": iso(time.time() - 7300),
        "devices": {"total": len(gateway.devices), "online": online},
        "journal_head": gateway.seq,
        "storage": {"database_bytes": 4_200_000, "queued_rows": 0},
        "coap_port": 5683,
        "tasks": gateway.work.counts(),
        "nosec": True,
        "warnings": [],
    }


def _list(gateway: FakeGateway, _: list[str], query: dict[str, str], __: Any) -> Json:
    limit, after = int(query.get("limit", 200)), query.get("after", "")
    names = sorted(name for name in gateway.devices if name > after)
    page = names[:limit]
    return {
        **_status(gateway)["devices"],
        "devices": [gateway.row(gateway.devices[name]) for name in page],
        "next": page[-1] if len(names) > limit else None,
    }


def _operate(gateway: FakeGateway, parts: list[str], _: dict[str, str], body: Json) -> Json:
    device = _named(gateway, parts[0])
    if "file" in body:
        return gateway.work.push(device.name, body)
    if device.state != "online" and (device.queue_mode or "ttl_s" in body):
        return gateway.work.queue(device.name, body)
    outcome = gateway.operate(device, body)
    told = {key: outcome[key] for key in ("operation", "path", "code", "words", "ok")}
    major, _, minor = told["code"].partition(".")
    gateway.append("operation", device.name, **{**told, "code": int(major) * 32 + int(minor)})
    return outcome


def _observe(gateway: FakeGateway, parts: list[str], query: dict[str, str], body: Json) -> Json:
    device = _named(gateway, parts[0])
    attributes = {key: value for key, value in body.get("attributes", {}).items() if value is not None}
    device.observations[query["path"]] = {
        "since": time.time(),
        "origin": "asked",
        "attributes": attributes,
        "state": "active",
    }
    gateway.append("observation", device.name, path=query["path"], state="active", words="Observed")
    return gateway.outcome(
        "Observe",
        query["path"],
        "2.05",
        "Content",
        "observed from now on",
        values=gateway.values(device, query["path"]),
    )


def _cancel(gateway: FakeGateway, parts: list[str], query: dict[str, str], _: Any) -> Json:
    device = _named(gateway, parts[0])
    device.observations.pop(query["path"], None)
    gateway.append(
        "observation", device.name, path=query["path"], state="ended", words="Not observed any more"
    )
    return gateway.outcome("Cancel", query["path"], "2.05", "Content", "not observed any more")


def _forget(gateway: FakeGateway, parts: list[str], *_: Any) -> None:
    _named(gateway, parts[0])
    del gateway.devices[parts[0]]
    gateway.append("removed", parts[0])


def _models(gateway: FakeGateway, *_: Any) -> Json:
    rows = [
        {"id": number, "name": model[0], "versions": [model[1]], "own": []}
        for number, model in sorted(MODELS.items())
        if number not in gateway.own_models
    ]
    own = [
        {"id": number, "name": MODELS[number][0], "versions": [], "own": [version]}
        for number, version in gateway.own_models.items()
    ]
    return {"models": sorted(rows + own, key=lambda row: row["id"])}


def _model(gateway: FakeGateway, parts: list[str], *_: Any) -> Json:
    found = MODELS.get(int(parts[0]))
    if found is None:
        raise Failure(
            HTTPStatus.NOT_FOUND, "not_found", f"no model of object {parts[0]}", "Upload its XML definition."
        )
    return {
        "id": int(parts[0]),
        "name": found[0],
        "version": found[1],
        "multiple": found[2],
        "mandatory": False,
        "resources": found[3],
    }


def _add_model(gateway: FakeGateway, _: list[str], __: dict[str, str], body: bytes) -> Json:
    text = bytes(body).decode()
    number, name = re.search(r"<ObjectID>(\d+)</ObjectID>", text), re.search(r"<Name>([^<]+)</Name>", text)
    if not number or not name:
        raise Failure(
            HTTPStatus.BAD_REQUEST,
            "invalid",
            "this is no object definition",
            "Upload one OMA object definition file.",
        )
    MODELS[int(number[1])] = (name[1], "1.0", True, _resources("1|Blob|R|opaque|||\n2|Count|R|integer|||"))
    gateway.own_models[int(number[1])] = "1.0"
    return _model(gateway, [number[1]])


def _remove_model(gateway: FakeGateway, parts: list[str], *_: Any) -> None:
    gateway.own_models.pop(int(parts[0]))
    del MODELS[int(parts[0])]


def _events(gateway: FakeGateway, _: list[str], query: dict[str, str], __: Any) -> Json:
    after, limit, name = int(query.get("after", 0)), int(query.get("limit", 200)), query.get("endpoint_name")
    rows = [
        row
        for row in gateway.journal
        if row["seq"] > after and (name is None or row["endpoint_name"] == name)
    ]
    return {"events": rows[:limit], "head": gateway.seq}


def _create_token(gateway: FakeGateway, _: list[str], __: dict[str, str], body: Json) -> Json:
    token = {
        "id": f"{len(gateway.tokens):08x}",
        "name": body["name"],
        "scopes": body["scopes"],
        "created_at": iso(time.time()),
        "expires_at": iso(time.time() + body["lifetime_s"]) if body.get("lifetime_s") else None,
        "last_used_at": None,
    }
    gateway.tokens.append(token)
    return {"id": token["id"], "token": f"hmd_{token['id']}_Zm9yLXRoZS1mYWtlLXNlcnZlcg"}


def _revoke(gateway: FakeGateway, parts: list[str], *_: Any) -> None:
    gateway.tokens = [one for one in gateway.tokens if one["id"] != parts[0]]


def _password(gateway: FakeGateway, _: list[str], __: dict[str, str], body: Json) -> Json:
    if gateway.password and body.get("current_password") != gateway.password:
        raise Failure(
            HTTPStatus.FORBIDDEN, "wrong_credentials", "The present password is wrong.", "Try again."
        )
    gateway.password = body["password"]
    return _SESSION


_DEVICE = "/devices/([^/]+)"
ROUTES: list[tuple[str, dict[str, Route]]] = [
    ("/status", {"GET": _status}),
    ("/devices", {"GET": _list}),
    (
        _DEVICE,
        {"GET": lambda gateway, parts, _, __: gateway.device(_named(gateway, parts[0])), "DELETE": _forget},
    ),
    (_DEVICE + "/objects", {"GET": lambda gateway, parts, _, __: gateway.objects(_named(gateway, parts[0]))}),
    (
        _DEVICE + "/values",
        {
            "GET": lambda gateway, parts, query, _: {
                "values": gateway.values(_named(gateway, parts[0]), query.get("path", "/"))
            }
        },
    ),
    (_DEVICE + "/operations", {"POST": _operate}),
    (
        _DEVICE + "/observations",
        {
            "GET": lambda gateway, parts, _, __: gateway.observation_rows(_named(gateway, parts[0])),
            "PUT": _observe,
            "DELETE": _cancel,
        },
    ),
    ("/models", {"GET": _models, "POST": _add_model}),
    (r"/models/(\d+)", {"GET": _model, "DELETE": _remove_model}),
    ("/events", {"GET": _events}),
    ("/tokens", {"GET": lambda gateway, *_: {"tokens": gateway.tokens}, "POST": _create_token}),
    ("/tokens/([^/]+)", {"DELETE": _revoke}),
    ("/accounts/([^/]+)/password", {"PUT": _password}),
    *WORK_ROUTES,
    *TRUST_ROUTES,
]


def _pseudo(file: Path) -> bytes:
    """English made longer and marked, to see what is not translated and what does not fit."""

    def stretch(text: str) -> str:
        return f"⟦{text}{'·' * (len(text) // 3)}⟧"

    messages = json.loads(file.with_name("en.json").read_text(encoding="utf-8"))
    made = {
        key: {form: stretch(text) for form, text in one.items()} if isinstance(one, dict) else stretch(one)
        for key, one in messages.items()
    }
    return json.dumps(made).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve web/ with invented devices.")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--devices", type=int, default=9)
    parser.add_argument("--new", action="store_true", help="before the first account")
    given = parser.parse_args()
    with FakeGateway(devices=given.devices, port=given.port, setup=given.new) as gateway:
        print(f"{gateway.url}  (setup code {SETUP_CODE})", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
