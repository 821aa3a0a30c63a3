"""The stand-in gateway's tasks, templates, profiles, protocol log and stored files; see `fake_server`."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

Json = dict[str, Any]
OPEN = ("queued", "waiting", "sent")
NEXT_VISIT_S = 1500.0


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Failure(Exception):
    def __init__(self, status: HTTPStatus, code: str, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": code, "message": message, "next_step": next_step}}


def _missing(what: str) -> Failure:
    return Failure(HTTPStatus.NOT_FOUND, "not_found", f"there is no {what}", "Reload the page.")


class Work:
    """What is to be done and kept. ``gateway`` is the `FakeGateway`; its lock is held by who calls."""

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway
        self.tasks: dict[int, Json] = {}
        self.templates: dict[str, Json] = {
            "a1": {
                "id": "a1",
                "name": "Temperatures",
                "match": {"endpoint": "green*", "object": 3303},
                "paths": ["/3303/*/5700"],
                "attributes": {"pmin": 10, "pmax": 300},
                "composite": False,
                "enabled": True,
            }
        }
        self.profiles: dict[str, Json] = {
            "6:27354b9a": {
                "pid": "6:27354b9a",
                "links": "</1/0>,</3/0>,</3303/0>",
                "learned": True,
                "devices": 1,
            }
        }
        self.files: dict[str, Json] = {}
        self.log: deque[Json] = deque(maxlen=2000)
        self.log_head = 0
        self.asked = 0

    # Tasks

    def add(self, name: str, request: Json, state: str, reason: str, batch: str | None = None) -> Json:
        self.asked += 1
        now = time.time()
        task: Json = {
            "id": self.asked,
            "endpoint_name": name,
            "operation": request["operation"],
            "path": request.get("path"),
            "paths": request.get("paths") or (sorted(request["values"]) if "path" not in request else None),
            "request": request,
            "state": state,
            "priority": request.get("priority", 5),
            "created_at": iso(now),
            "expires_at": iso(now + request.get("ttl_s", 604800)),
            "sent_at": None,
            "ended_at": None,
            "attempts": 0,
            "reason": reason,
            "outcome": None,
            "origin": "admin",
            "batch": batch,
            "expected_at": self.gateway.row(self.gateway.devices[name])["expected_at"],
            "progress": None,
        }
        self.tasks[self.asked] = task
        self.gateway.append(
            "task",
            name,
            task=self.asked,
            operation=task["operation"],
            path=task["path"] or "",
            state=state,
            words=reason,
        )
        return task

    def queue(self, name: str, request: Json) -> Json:
        """A task for a device that does not listen: the answer of 202."""
        device = self.gateway.devices[name]
        asleep = device.state == "asleep"
        reason = "The device sleeps" if asleep else "The device is not registered now"
        task = self.add(name, request, "waiting", reason)
        return {
            "task": task["id"],
            "state": "waiting",
            "expected_at": task["expected_at"],
            "words": f"Queued. {reason}.",
        }

    def push(self, name: str, request: Json) -> Json:
        """A stored file goes block by block."""
        if request["file"] not in self.files:
            raise _missing("such file")
        task = self.add(name, request, "sent", "")
        task["progress"] = {"sent_bytes": 0, "total_bytes": self.files[request["file"]]["size_bytes"]}
        return {"task": task["id"], "state": "sent", "expected_at": None, "words": "The file is on its way."}

    def counts(self, name: str | None = None) -> Json:
        rows = [one for one in self.tasks.values() if name in (None, one["endpoint_name"])]
        found = [one for one in rows if one["state"] in OPEN]
        return {"open": len(found), "waiting": sum(one["state"] == "waiting" for one in found)}

    def end(self, number: int, state: str, words: str) -> Json:
        task = self.tasks[number]
        task |= {"state": state, "reason": words, "ended_at": iso(time.time()), "expected_at": None}
        self.gateway.append(
            "task",
            task["endpoint_name"],
            task=number,
            operation=task["operation"],
            path=task["path"] or "",
            state=state,
            words=words,
        )
        return task

    def drain(self, name: str) -> None:
        """The device was heard: what waits for it is carried out in order."""
        device = self.gateway.devices[name]
        for number, task in list(self.tasks.items()):
            if task["endpoint_name"] != name or task["state"] != "waiting":
                continue
            outcome = self.gateway.operate(device, task["request"])
            now = iso(time.time())
            task |= {
                "state": "done",
                "reason": "",
                "outcome": outcome,
                "sent_at": now,
                "ended_at": now,
                "attempts": 1,
            }
            self.gateway.append(
                "operation",
                name,
                operation=task["operation"],
                path=task["path"] or "",
                code=68,
                words=outcome["words"],
                ok=outcome["ok"],
                rtt_ms=outcome["rtt_ms"],
                task=number,
            )

    def list_tasks(self, query: dict[str, str]) -> Json:
        rows = [
            one
            for one in self.tasks.values()
            if query.get("endpoint_name", "") in ("", one["endpoint_name"])
            and query.get("batch", "") in ("", one["batch"])
        ]
        counts: Json = {}
        for one in rows:
            counts[one["state"]] = counts.get(one["state"], 0) + 1
        state, after = query.get("state", ""), int(query.get("after", 0))
        fitting = [
            one
            for one in sorted(rows, key=lambda one: -one["id"])
            if (not state or one["state"] == state or (state == "open" and one["state"] in OPEN))
            and (not after or one["id"] < after)
        ]
        limit = int(query.get("limit", 200))
        return {
            "tasks": fitting[:limit],
            "counts": counts,
            "next": fitting[limit - 1]["id"] if len(fitting) > limit else None,
        }

    def one(self, text: str) -> Json:
        if int(text) not in self.tasks:
            raise _missing(f"task {text}")
        return self.tasks[int(text)]

    def cancel(self, text: str) -> Json:
        task = self.one(text)
        if task["state"] not in OPEN:
            raise Failure(
                HTTPStatus.CONFLICT,
                "conflict",
                f"task {text} has ended: {task['state']}",
                "Look at its outcome.",
            )
        return self.end(int(text), "cancelled", "")

    def retry(self, text: str) -> Json:
        task = self.one(text)
        self.queue(task["endpoint_name"], task["request"])
        return self.tasks[self.asked]

    def submit(self, body: Json) -> Json:
        search = body.get("search", "")
        names = body.get("devices") or [name for name in self.gateway.devices if search in name]
        batch = f"b{self.asked:05x}"
        refused = []
        for name in names:
            device = self.gateway.devices[name]
            if device.state == "deregistered":
                refused.append({"endpoint_name": name, "words": "It is deregistered."})
            else:
                self.add(name, body["operation"], "waiting", "Waits for its turn", batch)
        for name in names:
            if self.gateway.devices[name].state == "online":
                self.drain(name)
        return {"batch": batch, "tasks": len(names) - len(refused), "refused": refused}

    # Templates and profiles

    def put_template(self, text: str | None, body: Json) -> Json:
        number = text or f"t{len(self.templates):07x}"
        if any(one["name"] == body["name"] and one["id"] != number for one in self.templates.values()):
            raise Failure(
                HTTPStatus.CONFLICT,
                "conflict",
                f"a template is named {body['name']!r} already",
                "Choose another name.",
            )
        attributes = {key: value for key, value in body["attributes"].items() if value is not None}
        self.templates[number] = {"id": number, **body, "attributes": attributes}
        return self.templates[number]

    def put_profile(self, pid: str, body: Json) -> Json:
        if not body["links"].startswith("<"):
            raise Failure(
                HTTPStatus.BAD_REQUEST, "invalid", "that is no list of links", "Write it like </1/0>,</3/0>."
            )
        self.profiles[pid] = {"pid": pid, "links": body["links"], "learned": False, "devices": 0}
        return self.profiles[pid]

    # Files

    def add_file(self, name: str, data: bytes, kind: str) -> Json:
        digest = hashlib.sha256(data).hexdigest()
        link = digest[:22]
        self.files[digest] = {
            "id": digest,
            "name": name,
            "size_bytes": len(data),
            "type": kind,
            "added_at": iso(time.time()),
            "link": link,
            "urls": [f"coap://homard.lan/f/{link}", f"https://homard.lan:8443/files/{link}"],
            "damaged": None,
        }
        return self.files[digest]

    def list_files(self) -> Json:
        rows = list(self.files.values())[::-1]
        return {
            "files": rows,
            "total_bytes": sum(one["size_bytes"] for one in rows),
            "max_total_bytes": 536870912,
            "max_file_bytes": 1_000_000,
        }

    # Protocol log

    def message(self, name: str, direction: str = "in", **members: Any) -> Json:
        """One more message in the log."""
        self.log_head += 1
        payload = members.pop("payload", b"21.5")
        entry = {
            "seq": self.log_head,
            "at": iso(time.time()),
            "direction": direction,
            "bearer": "UDP",
            "peer": "192.168.7.20:5683",
            "endpoint_name": name,
            "type": "CON",
            "code": "2.05 Content",
            "mid": 7000 + self.log_head,
            "token": "0a1b2c3d",
            "path": "/3303/0/5700",
            "summary": "Notify /3303/0/5700: 2.05 Content",
            "options": ["Observe: 12", "Content-Format: 0 text/plain"],
            "payload_bytes": len(payload),
            "payload_text": "/3303/0/5700 Sensor Value = 21.5",
            "payload_hex": payload.hex(),
            "hidden": False,
            **members,
        }
        if entry["hidden"]:
            entry |= {"payload_text": "", "payload_hex": ""}
        self.log.append(entry)
        self.gateway.grew.notify_all()
        return entry

    def entries(self, query: dict[str, str], after: int = 0) -> list[Json]:
        wanted = {key: query[key] for key in ("endpoint_name", "direction", "bearer") if query.get(key)}
        code, text, path = query.get("code", ""), query.get("text", "").lower(), query.get("path", "")
        return [
            one
            for one in self.log
            if one["seq"] > after
            and all(one[key] == value for key, value in wanted.items())
            and one["code"].startswith(code)
            and text in str(one).lower()
            and one["path"].startswith(path)
        ]

    def page(self, query: dict[str, str]) -> Json:
        found = self.entries(query, int(query.get("after", 0)))
        return {
            "entries": found[-int(query.get("limit", 200)) :],
            "next": self.log_head,
            "head": self.log_head,
            "oldest": 1,
        }


def _awake(gateway: Any, parts: list[str], _: dict[str, str], body: Json) -> Json:
    device = gateway.devices[parts[0]]
    device.awake_s = 93 if body["awake_s"] is None else body["awake_s"]
    answer: Json = gateway.device(device)
    return answer


def _timeline(gateway: Any, parts: list[str], query: dict[str, str], _: Any) -> Json:
    before, limit = int(query.get("before", 0)), int(query.get("limit", 100))
    rows = [
        {"words": "", **row}
        for row in reversed(gateway.journal)
        if row["endpoint_name"] == parts[0] and (not before or row["seq"] < before)
    ]
    return {"events": rows[:limit], "next": rows[limit - 1]["seq"] if len(rows) > limit else None}


def _observe_composite(gateway: Any, parts: list[str], _: dict[str, str], body: Json) -> Json:
    device, key = gateway.devices[parts[0]], ",".join(body["paths"])
    active = device.state == "online"
    device.observations[key] = {
        "since": time.time(),
        "origin": "asked",
        "attributes": {name: one for name, one in body["attributes"].items() if one is not None},
        "state": "active" if active else "waiting",
    }
    gateway.append("observation", device.name, path=key, state="active", words="Observed")
    if not active:
        words = "Kept; the device sleeps, and the observation begins when it wakes."
        return {
            **gateway.outcome("ObserveComposite", key, "2.05", "", ""),
            "code": None,
            "text": "",
            "words": words,
        }
    values = [one for path in body["paths"] for one in gateway.values(device, path)]
    answer: Json = gateway.outcome(
        "ObserveComposite", key, "2.05", "Content", "observed from now on", values=values
    )
    return answer


_DEVICE = "/devices/([^/]+)"
ROUTES: list[tuple[str, dict[str, Any]]] = [
    (_DEVICE + "/observations/composite", {"POST": _observe_composite}),
    (_DEVICE + "/awake", {"PUT": _awake}),
    (_DEVICE + "/timeline", {"GET": _timeline}),
    (
        "/tasks",
        {
            "GET": lambda gateway, _, query, __: gateway.work.list_tasks(query),
            "POST": lambda gateway, _, __, body: gateway.work.submit(body),
        },
    ),
    (
        r"/tasks/(\d+)",
        {
            "GET": lambda gateway, parts, *_: gateway.work.one(parts[0]),
            "DELETE": lambda gateway, parts, *_: gateway.work.cancel(parts[0]),
        },
    ),
    (r"/tasks/(\d+)/retry", {"POST": lambda gateway, parts, *_: gateway.work.retry(parts[0])}),
    (
        "/templates",
        {
            "GET": lambda gateway, *_: {"templates": list(gateway.work.templates.values())},
            "POST": lambda gateway, _, __, body: gateway.work.put_template(None, body),
        },
    ),
    (
        "/templates/([^/]+)",
        {
            "PUT": lambda gateway, parts, _, body: gateway.work.put_template(parts[0], body),
            "DELETE": lambda gateway, parts, *_: gateway.work.templates.pop(parts[0]) and None,
        },
    ),
    ("/profiles", {"GET": lambda gateway, *_: {"profiles": list(gateway.work.profiles.values())}}),
    (
        "/profiles/([^/]+)",
        {
            "PUT": lambda gateway, parts, _, body: gateway.work.put_profile(parts[0], body),
            "DELETE": lambda gateway, parts, *_: gateway.work.profiles.pop(parts[0]) and None,
        },
    ),
    ("/log", {"GET": lambda gateway, _, query, __: gateway.work.page(query)}),
    (
        "/files",
        {
            "GET": lambda gateway, *_: gateway.work.list_files(),
            "POST": lambda gateway, _, query, body: gateway.work.add_file(
                query["name"], body, "application/octet-stream"
            ),
        },
    ),
    (
        "/files/([^/]+)",
        {
            "GET": lambda gateway, parts, *_: gateway.work.files[parts[0]],
            "DELETE": lambda gateway, parts, *_: gateway.work.files.pop(parts[0]) and None,
        },
    ),
]
