"""The stand-in gateway's vault: devices with their keys, strangers, bootstrap plans and sessions, the authority.

Longer than 400 lines because the invented devices and the shapes of every route stand together.
"""

from __future__ import annotations

import io
import json
import time
from http import HTTPStatus
from typing import Any

import segno
from fake_work import Failure, Json, iso

DAY = 86_400.0
PEM = "-----BEGIN {0}-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3kSb\n-----END {0}-----\n"
SERVER: Json = {
    "short_server_id": 1,
    "uri": "$uri",
    "security": "auto",
    "key": "fresh",
    "certificate_usage": None,
    "server_public_key": None,
    "sni": "",
    "lifetime_s": 300,
    "binding": "U",
    "queue_mode": False,
    "default_pmin_s": None,
    "default_pmax_s": None,
    "disable_timeout_s": None,
    "notification_storing": True,
    "trigger": None,
    "mute_send": False,
    "preferred_transport": None,
    "resources": {},
}
STEPS = [
    ("Request", "", None, "Device asks: POST /bs?ep=meter-17&pct=112", True),
    ("Discover", "/", "2.05", "The device tells what it has: 3 objects", True),
    ("Delete", "/0", "2.02", "Gone, except the bootstrap account", True),
    ("Write", "/0/1", "2.04", "Account of server 1 with a fresh key (16 bytes)", True),
    ("Write", "/1/0", "2.04", "Server 1, lifetime 300 s", True),
    ("Write", "/3/0/14", "4.05", "The device does not take it; the plan goes on", False),
    ("Finish", "/bs", "2.04", "The device is satisfied", True),
]


def _missing(what: str) -> Failure:
    return Failure(HTTPStatus.NOT_FOUND, "not_found", f"there is no {what}", "Reload the page.")


def _qr(text: str) -> str:
    out = io.BytesIO()
    segno.make(f"LWM2M\nep={text}", micro=False).save(
        out, kind="svg", xmldecl=False, svgclass=None, lineclass=None, omitsize=True, light="#fff"
    )
    return out.getvalue().decode()


class Trust:
    """Who may come in. ``gateway`` is the `FakeGateway`; its lock is held by who calls."""

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway
        self.now = time.time()
        self.made = 0
        self.devices: dict[str, Json] = {}
        self.strangers: dict[int, Json] = {}
        self.plans: dict[str, Json] = {}
        self.sessions: dict[int, Json] = {}
        self.permissions: dict[str, Json] = {}
        self.anchors: dict[str, Json] = {}
        self.audit: list[Json] = []
        self.sound = True
        self.refused_rows: dict[str, str] = {}
        self._invent()

    def _invent(self) -> None:
        now = self.now
        self.keep("greenhouse-north", "psk", groups=["greenhouses"], tags=["pilot"], label="North wall")
        self.keep("greenhouse-south", "rpk", groups=["greenhouses"])
        cold = self.keep("cold-room-1", "x509", groups=["cold chain"], tags=["pilot", "food"])
        cold["credentials"][0] |= {"expires_at": iso(now + 9 * DAY)}
        self.keep("pump-house", "oscore", groups=["water"])
        boiler = self.keep("boiler", "psk", groups=["heating"], bootstrap=True, plan="p1")
        boiler["credentials"][0]["last_failure"] = {
            "at": iso(now - 90),
            "text": "The device used another key for psk:boiler; copy the key again, or rotate it.",
        }
        self.keep("gate", "nosec")
        lost = self.keep("meter-09", "psk", groups=["water"])
        lost["credentials"][0] |= {"state": "revoked"}
        lost["blocked"] = True
        lost["contact"] = {"state": "gone", "text": "Revoked: it is not let in.", "at": iso(now - 86_000)}
        self.knock("meter-77", "psk:meter-77", "Nobody here has the identity psk:meter-77.")
        self.knock("sensor-x", None, "It came without security, and NoSec is off for this device.", can=True)
        self.strangers[self.knock("", "psk:old-fridge", "Unknown identity.")]["state"] = "ignored"
        self.plans["default"] = {
            "id": "default",
            "built_in": True,
            "name": "Default",
            "description": "This gateway as the only server, with a fresh key of the same kind.",
            "servers": [dict(SERVER)],
            "bootstrap_servers": [],
            "access_control": [],
            "deletes": ["/0", "/1", "/2", "/21"],
            "writes": {},
            "write_by": "instance",
            "read_back": False,
        }
        self.plans["p1"] = {
            **self.plans["default"],
            "id": "p1",
            "built_in": False,
            "name": "Heating, two servers",
            "description": "Ours, and the maker's for its statistics.",
            "servers": [
                dict(SERVER, lifetime_s=3600),
                dict(
                    SERVER,
                    short_server_id=2,
                    uri="coaps://maker.example:5684",
                    security="psk",
                    key="current",
                ),
            ],
            "access_control": [{"object_id": 3, "instance_id": 0, "owner": 1, "rights": {"2": 1}}],
            "writes": {"/3/0/14": "+02:00"},
        }
        self.session("boiler", len(STEPS), "finished", began=now - 7000)
        self.session("meter-17", 4, "failed", began=now - 3000)
        self.permissions["maria"] = {"greenhouses": "operate", "water": "read"}
        self.anchors["AB:CD:01"] = {
            "fingerprint": "AB:CD:01",
            "subject": "CN=Nordwind Device CA,O=Nordwind",
            "not_after": iso(now + 900 * DAY),
            "added_at": iso(now - 5 * DAY),
        }
        for what, about in (
            ("The vault was made", ""),
            ("Device added with psk:greenhouse-north", "greenhouse-north"),
            ("Revoked: sold", "meter-09"),
        ):
            self.write(what, about, by="admin" if about else "homard")

    # Devices

    def credential(self, name: str, mode: str, purpose: str = "server", state: str = "active") -> Json:
        self.made += 1
        prefix = "bs:" if purpose == "bootstrap" else ""
        text = {
            "psk": f"psk:{prefix}{name}",
            "rpk": "rpk:3f1c9ab0d27e55aa0c11e2d4f09b8877665544332211ffeeddccbbaa99887766",
            "x509": f"x509:{name}",
            "oscore": f"oscore:{self.made:04x}",
        }[mode]
        public: Json = {
            "psk": {"identity_hex": f"{prefix}{name}".encode().hex()},
            "rpk": {"spki_hex": "3059301306072a8648ce3d0201"},
            "x509": {"serial": "4f00a1", "names": [name], "certificate_pem": PEM.format("CERTIFICATE")},
            "oscore": {"sender_id": f"{self.made:04x}", "recipient_id": "01", "aead": 10, "hkdf": 5},
        }[mode]
        return {
            "id": f"c{self.made}",
            "purpose": purpose,
            "mode": mode,
            "identity": text if self.made < 40 else f"{text}-{self.made}",
            "state": state,
            "made_at": iso(self.now - 40 * DAY),
            "expires_at": iso(self.now + 700 * DAY) if mode == "x509" else None,
            "public": public,
            "last_used_at": iso(self.now - 120),
            "last_failure": None,
        }

    def keep(
        self,
        name: str,
        mode: str,
        *,
        groups: list[str] | None = None,
        tags: list[str] | None = None,
        label: str = "",
        bootstrap: bool = False,
        plan: str | None = None,
    ) -> Json:
        known = self.gateway.devices.get(name)
        purposes = (["server"] if mode != "nosec" else []) + (["bootstrap"] if bootstrap else [])
        self.devices[name] = {
            "endpoint_name": name,
            "label": label,
            "groups": groups or [],
            "tags": tags or [],
            "nosec": mode == "nosec",
            "blocked": False,
            "plan": plan,
            "made_at": iso(self.now - 40 * DAY),
            "rebootstrap_asked_at": None,
            "credentials": [
                self.credential(name, mode if mode != "nosec" else "psk", one) for one in purposes
            ],
            "contact": {"state": "registered", "text": "Registered over DTLS.", "at": iso(self.now - 120)}
            if known
            else {"state": "waiting", "text": "Nothing was heard of it yet.", "at": None},
        }
        if known:
            known.security = (
                "NoSec" if mode == "nosec" else str(self.devices[name]["credentials"][0]["identity"])
            )
        return self.devices[name]

    def one(self, name: str) -> Json:
        if name not in self.devices:
            raise Failure(
                HTTPStatus.NOT_FOUND,
                "not_found",
                f"the vault has no device named {name!r}",
                "Add it first.",
            )
        return self.devices[name]

    def contact(self, name: str, state: str, text: str) -> None:
        """What the page that waits is told next."""
        self.devices[name]["contact"] = {"state": state, "text": text, "at": iso(time.time())}

    def listed(self, query: dict[str, str]) -> Json:
        group, tag, wanted = query.get("group"), query.get("tag"), query.get("q", "").lower()
        return {
            "devices": [
                one
                for name, one in sorted(self.devices.items())
                if (not group or group in one["groups"])
                and (not tag or tag in one["tags"])
                and wanted in f"{name} {one['label']}".lower()
            ]
        }

    def provisioned(self, device: Json, purpose: str | None = None) -> Json:
        def account(credential: Json) -> Json:
            mode = credential["mode"]
            facts: Json = {"uri": "coaps://192.168.7.2:5684", "security": mode}
            if mode == "psk":
                identity = credential["identity"].removeprefix("psk:")
                facts |= {
                    "psk_identity": identity,
                    "psk_identity_hex": identity.encode().hex(),
                    "psk_key_hex": "00112233445566778899aabbccddeeff",
                }
            elif mode == "oscore":
                facts |= {
                    "uri": "coap://192.168.7.2:5683",
                    "oscore": {**credential["public"], "master_secret": "0102030405060708090a0b0c0d0e0f10"},
                }
            else:
                facts |= {
                    "private_key_pem": PEM.format("PRIVATE KEY"),
                    "public_key_pem": PEM.format("PUBLIC KEY"),
                    "server_public_key_pem": PEM.format("PUBLIC KEY"),
                }
                if mode == "x509":
                    facts |= {
                        "certificate_pem": PEM.format("CERTIFICATE"),
                        "authority_pem": PEM.format("CERTIFICATE"),
                    }
            return facts

        found: Json = {"uri": "coap://192.168.7.2:5683", "security": "nosec"}
        for credential in device["credentials"]:
            if purpose not in (None, credential["purpose"]) or credential["state"] == "revoked":
                continue
            if credential["purpose"] == "server":
                found |= account(credential)
            else:
                found["bootstrap"] = account(credential)
                found["bootstrap_uri"] = found["bootstrap"]["uri"]
        name = device["endpoint_name"]
        found["commands"] = {
            "leshan": f"java -jar leshan-demo-client.jar -n {name} -u {found['uri']}",
            "anjay": f"./demo --endpoint-name {name} --server-uri {found['uri']}",
            "wakaama": f"./lwm2mclient -n {name} -h 192.168.7.2 -p 5684",
            "zephyr": f'CONFIG_NET_CONFIG_PEER_IPV4_ADDR="192.168.7.2"\n# {name}',
        }
        found["qr_svg"] = _qr(name)
        return {**device, "provisioning": found}

    def add(self, body: Json) -> Json:
        name = body["endpoint_name"]
        if name in self.devices:
            raise Failure(
                HTTPStatus.CONFLICT,
                "conflict",
                f"{name} is in the vault already.",
                "Choose another name, or rotate its key.",
            )
        device = self.keep(
            name,
            body["security"],
            groups=body.get("groups"),
            tags=body.get("tags"),
            label=body.get("label", ""),
            bootstrap=body.get("bootstrap", False),
            plan=body.get("plan"),
        )
        for credential in device["credentials"]:
            credential["last_used_at"] = None
        if "psk_identity" in body:
            device["credentials"][0]["identity"] = f"psk:{body['psk_identity']}"
        device["contact"] = {"state": "waiting", "text": "Nothing was heard of it yet.", "at": None}
        self.write(f"Device added with {body['security']}", name)
        return self.provisioned(device)

    def change(self, name: str, body: Json) -> Json:
        self.one(name).update(body)
        self.write(f"Changed: {', '.join(body)}", name)
        return self.devices[name]

    def rotate(self, name: str, body: Json) -> Json:
        device, purpose = self.one(name), body.get("purpose", "server")
        old = next(one for one in device["credentials"] if one["purpose"] == purpose)
        new = self.credential(name, old["mode"], purpose)
        staged = body.get("how") == "staged"
        new |= {
            "identity": f"{old['identity']}-2",
            "state": "staged" if staged else "active",
            "last_used_at": None,
        }
        if not staged:
            old["state"] = "retiring"
        device["credentials"].append(new)
        self.write("Key rotated", name)
        only = {**device, "credentials": [new]}
        return {**self.provisioned(only, purpose), "credentials": device["credentials"]}

    def revoke(self, name: str, body: Json) -> Json:
        device = self.one(name)
        device["blocked"] = True
        for one in device["credentials"]:
            one["state"] = "revoked"
        self.contact(name, "gone", "Revoked: it is not let in.")
        self.write(f"Revoked: {body.get('reason', '')}", name)
        return device

    def reinstate(self, name: str) -> Json:
        device = self.one(name)
        device["blocked"] = False
        for one in device["credentials"]:
            one["state"] = "active"
        return device

    def meant(self, body: Json) -> list[str]:
        return body.get("endpoint_names") or [
            name for name, one in self.devices.items() if body.get("group") in one["groups"]
        ]

    def give_plan(self, body: Json) -> Json:
        names = self.meant(body)
        for name in names:
            self.one(name)["plan"] = body["plan"]
        return {"changed": len(names)}

    def rebootstrap(self, body: Json) -> Json:
        names = self.meant(body)
        for name in names:
            self.one(name)["rebootstrap_asked_at"] = iso(time.time())
        return {"asked": len(names)}

    def withdraw(self, body: Json) -> Json:
        asked = [name for name in self.meant(body) if self.one(name)["rebootstrap_asked_at"]]
        for name in asked:
            self.one(name)["rebootstrap_asked_at"] = None
        return {"withdrawn": len(asked)}

    def take_in(self, query: dict[str, str], body: Any) -> Json:
        given = body if isinstance(body, list) else None
        if given is None:
            lines = bytes(body).decode().strip().splitlines()
            heads = lines[0].split(",")
            given = [dict(zip(heads, line.split(","), strict=False)) for line in lines[1:]]
        rows = []
        for number, one in enumerate(given, 2):
            problems = [] if one.get("endpoint_name") else ["the endpoint name is missing"]
            if one.get("endpoint_name") in self.devices:
                problems.append("a device of this name is in the vault already")
            if one.get("security", "psk") not in ("psk", "rpk", "x509", "oscore", "nosec"):
                problems.append("security is one of psk, rpk, x509, oscore, nosec")
            rows.append({"row": number, "endpoint_name": one.get("endpoint_name", ""), "problems": problems})
        if any(row["problems"] for row in rows):
            failure = Failure(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "Some rows are not right.")
            failure.body |= {"added": 0, "rows": rows, "devices": []}
            raise failure
        if query.get("dry_run") in ("1", "true"):
            return {"added": 0, "rows": rows, "devices": []}
        made = [self.add({"security": one.get("security") or "psk", **one}) for one in given]
        return {"added": len(made), "rows": rows, "devices": made}

    # Strangers

    def knock(self, name: str, identity: str | None, reason: str, *, can: bool = False) -> int:
        number = len(self.strangers) + 1
        self.strangers[number] = {
            "id": number,
            "endpoint_name": name,
            "identity": identity,
            "address": f"192.168.7.{90 + number}:40112",
            "bearer": "DTLS" if identity else "UDP",
            "first_seen_at": iso(self.now - 4000),
            "last_seen_at": iso(self.now - 12),
            "count": 3 * number,
            "reason": reason,
            "state": "waiting",
            "can_accept": can,
        }
        return number

    def decide(self, number: str, what: str) -> Json:
        if int(number) not in self.strangers:
            raise _missing("such stranger")
        one = self.strangers[int(number)]
        if what == "accept":
            del self.strangers[int(number)]
            return self.keep(one["endpoint_name"], "nosec")
        one["state"] = f"{what}ed" if what == "block" else "ignored"
        return one

    # Bootstrap

    def check(self, body: Json) -> Json:
        problems, warnings = [], []
        if not body.get("name"):
            problems.append("The plan needs a name of at most 64 characters.")
        if not body.get("servers"):
            problems.append("A plan without servers leaves the device with nobody to register at.")
        for number, server in enumerate(body.get("servers", []), 1):
            if server["security"] == "nosec":
                warnings.append(f"Server {number}: without security everybody reads what the device says.")
        return {"problems": problems, "warnings": warnings}

    def put_plan(self, plan_id: str | None, body: Json) -> Json:
        problems = self.check(body)["problems"]
        if problems:
            raise Failure(HTTPStatus.BAD_REQUEST, "invalid", " ".join(problems), "Correct the plan.")
        plan_id = plan_id or f"p{len(self.plans) + 1}"
        self.plans[plan_id] = {**body, "id": plan_id, "built_in": False}
        return self.plans[plan_id]

    def session(self, name: str, steps: int, state: str = "running", began: float | None = None) -> int:
        began = began or time.time()
        number = len(self.sessions) + 1
        self.sessions[number] = {
            "id": number,
            "endpoint_name": name,
            "started_at": iso(began),
            "ended_at": iso(began + steps) if state != "running" else None,
            "state": state,
            "text": {
                "finished": "The device has all it needs.",
                "failed": "The device did not answer the last message.",
            }.get(state, "Under way."),
            "address": "192.168.7.60:41000",
            "bearer": "DTLS",
            "identity": f"psk:bs:{name}",
            "plan": {"id": "default", "name": "Default"},
            "steps": [],
        }
        for _ in range(steps):
            self.step(number)
        return number

    def step(self, number: int) -> None:
        session = self.sessions[number]
        what, path, code, text, good = STEPS[len(session["steps"])]
        began = self.now - 7000 + len(session["steps"]) * 0.6
        session["steps"].append(
            {"at": iso(began), "what": what, "path": path, "code": code, "text": text, "ok": good}
        )

    def listed_sessions(self, query: dict[str, str]) -> Json:
        name = query.get("endpoint_name")
        rows = [one for _, one in sorted(self.sessions.items(), reverse=True)]
        return {"sessions": [one for one in rows if not name or one["endpoint_name"] == name]}

    # Authority, audit, permissions

    def authority(self) -> Json:
        return {
            "subject": "CN=Homard Edge,O=Homard",
            "not_after": iso(self.now + 3000 * DAY),
            "fingerprint": ":".join(["9F", "32", "0A", "7C"] * 8),
            "certificate_pem": PEM.format("CERTIFICATE"),
            "server": {
                "names": ["homard.lan", "192.168.7.2"],
                "not_after": iso(self.now + 20 * DAY),
                "fingerprint": ":".join(["11", "22", "33", "44"] * 8),
                "public_key_pem": PEM.format("PUBLIC KEY"),
            },
        }

    def trust(self, body: Any) -> Json:
        if b"BEGIN CERTIFICATE" not in bytes(body):
            raise Failure(
                HTTPStatus.BAD_REQUEST, "invalid", "That is no certificate.", "Give a PEM or DER file."
            )
        self.anchors["EE:FF:02"] = {
            "fingerprint": "EE:FF:02",
            "subject": "CN=Other CA",
            "not_after": iso(self.now + 90 * DAY),
            "added_at": iso(self.now),
        }
        return {"anchors": [self.anchors["EE:FF:02"]]}

    def write(self, what: str, about: str, by: str = "admin") -> None:
        self.audit.append(
            {"seq": len(self.audit) + 1, "at": iso(time.time()), "by": by, "what": what, "about": about}
        )

    def read(self, query: dict[str, str]) -> Json:
        before, limit = int(query.get("before", 10**9)), int(query.get("limit", 100))
        rows = [one for one in reversed(self.audit) if one["seq"] < before]
        problems = [] if self.sound else ["The entry 2 is not as it was written."]
        return {"entries": rows[:limit], "sound": self.sound, "problems": problems}

    def permit(self, account: str, body: Json) -> Json:
        self.permissions[account] = body["groups"]
        return {"account": account, "groups": body["groups"]}


def _named(method: str) -> Any:
    def answer(gateway: Any, parts: list[str], _: dict[str, str], body: Any) -> Any:
        given = (body if isinstance(body, dict) else {},) if method in ("rotate", "revoke", "change") else ()
        return getattr(gateway.trust, method)(parts[0], *given)

    return answer


def _sign(gateway: Any, _: list[str], __: dict[str, str], body: Json) -> Json:
    if "BEGIN CERTIFICATE REQUEST" not in body["csr_pem"]:
        raise Failure(HTTPStatus.BAD_REQUEST, "invalid", "That is no request.", "Give the CSR as PEM.")
    return {"certificate_pem": PEM.format("CERTIFICATE"), "chain_pem": PEM.format("CERTIFICATE") * 2}


def _ask(gateway: Any, parts: list[str], *_: Any) -> Json:
    gateway.trust.rebootstrap({"endpoint_names": [parts[0]]})
    return {"asked": True}


_DEVICE = "/vault/devices/([^/]+)"
ROUTES: list[tuple[str, dict[str, Any]]] = [
    (
        "/vault/devices",
        {
            "GET": lambda g, _, query, __: g.trust.listed(query),
            "POST": lambda g, _, __, body: g.trust.add(body),
        },
    ),
    (
        _DEVICE,
        {
            "GET": _named("one"),
            "PATCH": _named("change"),
            "DELETE": lambda g, parts, *_: g.trust.devices.pop(parts[0]) and None,
        },
    ),
    (_DEVICE + "/rotate", {"POST": _named("rotate")}),
    (_DEVICE + "/revoke", {"POST": _named("revoke")}),
    (_DEVICE + "/reinstate", {"POST": _named("reinstate")}),
    (_DEVICE + "/rebootstrap", {"POST": _ask}),
    ("/vault/plan", {"POST": lambda g, _, __, body: g.trust.give_plan(body)}),
    ("/vault/rebootstrap", {"POST": lambda g, _, __, body: g.trust.rebootstrap(body)}),
    ("/vault/rebootstrap/withdraw", {"POST": lambda g, _, __, body: g.trust.withdraw(body)}),
    ("/vault/import", {"POST": lambda g, _, query, body: g.trust.take_in(query, body)}),
    ("/vault/audit", {"GET": lambda g, _, query, __: g.trust.read(query)}),
    (
        "/vault/groups",
        {
            "GET": lambda g, *_: {
                "groups": sorted({group for one in g.trust.devices.values() for group in one["groups"]})
            }
        },
    ),
    (
        "/vault/permissions",
        {
            "GET": lambda g, *_: {
                "permissions": [
                    {"account": name, "groups": groups} for name, groups in g.trust.permissions.items()
                ]
            }
        },
    ),
    (
        "/vault/permissions/([^/]+)",
        {
            "GET": lambda g, parts, *_: {"account": parts[0], "groups": g.trust.permissions.get(parts[0])},
            "PUT": lambda g, parts, _, body: g.trust.permit(parts[0], body),
            "DELETE": lambda g, parts, *_: g.trust.permissions.pop(parts[0], None) and None,
        },
    ),
    (
        "/accounts",
        {
            "GET": lambda *_: {
                "accounts": [
                    {"name": "admin", "scopes": ["read", "operate", "admin"]},
                    {"name": "maria", "scopes": ["read", "operate"]},
                ]
            }
        },
    ),
    ("/strangers", {"GET": lambda g, *_: {"strangers": list(g.trust.strangers.values())}}),
    (
        r"/strangers/(\d+)/(accept|ignore|block)",
        {"POST": lambda g, parts, *_: g.trust.decide(parts[0], parts[1])},
    ),
    (r"/strangers/(\d+)", {"DELETE": lambda g, parts, *_: g.trust.strangers.pop(int(parts[0])) and None}),
    (
        "/bootstrap/plans",
        {
            "GET": lambda g, *_: {"plans": list(g.trust.plans.values())},
            "POST": lambda g, _, __, body: g.trust.put_plan(None, body),
        },
    ),
    ("/bootstrap/plans/check", {"POST": lambda g, _, __, body: g.trust.check(body)}),
    (
        "/bootstrap/plans/([^/]+)",
        {
            "GET": lambda g, parts, *_: g.trust.plans[parts[0]],
            "PUT": lambda g, parts, _, body: g.trust.put_plan(parts[0], body),
            "DELETE": lambda g, parts, *_: g.trust.plans.pop(parts[0]) and None,
        },
    ),
    ("/bootstrap/sessions", {"GET": lambda g, _, query, __: g.trust.listed_sessions(query)}),
    (r"/bootstrap/sessions/(\d+)", {"GET": lambda g, parts, *_: g.trust.sessions[int(parts[0])]}),
    ("/authority", {"GET": lambda g, *_: g.trust.authority()}),
    ("/authority/sign", {"POST": _sign}),
    (
        "/authority/anchors",
        {
            "GET": lambda g, *_: {"anchors": list(g.trust.anchors.values())},
            "POST": lambda g, _, __, body: g.trust.trust(body),
        },
    ),
    ("/authority/anchors/([^/]+)", {"DELETE": lambda g, parts, *_: g.trust.anchors.pop(parts[0]) and None}),
]


def file_of(path: str) -> tuple[bytes, str] | None:
    """What is served as a file: labels, the list, the revocations."""
    if path.endswith(".svg"):
        return _qr(path).encode(), "image/svg+xml"
    if path == "/vault/export":
        return json.dumps({"devices": []}).encode(), "application/json"
    return (PEM.format("X509 CRL").encode(), "application/x-pem-file") if path == "/authority/crl" else None
