"""What people and programs do with devices: look, operate, observe. JSON-able dicts in and out.

Everything here runs in the event loop; `northbound` enters through its one door. Every failure is a
`DeviceError` that says the next step, and an answer of the device, even 4.04, is an outcome, not an error.

Longer than 400 lines: it is the whole vocabulary of the API towards devices, one method a verb.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from appliance.devices.errors import DeviceError, disk_full
from appliance.devices.gateway import Gateways
from appliance.devices.observations import Observations
from appliance.devices.presence import Presence
from appliance.devices.profiles import Profiles, pids_of
from appliance.devices.registry import Attributes, Registration, Registry
from appliance.devices.requests import build, mapping_of, masked, observable, path_of, timeout_of
from appliance.devices.settings import DevicesSettings
from appliance.devices.tasks import OPEN, Task, Tasks
from appliance.devices.templates import Templates, read_attributes
from appliance.devices.translation import Translation, iso
from appliance.devices.wishes import MAX_COMPOSITE_PATHS
from appliance.lwm2m.ddf import DdfError, parse_ddf
from appliance.lwm2m.definitions import Definitions, ObjectDefinition
from appliance.lwm2m.gateway import GATEWAY
from appliance.lwm2m.operations import Create, Delete, Read, Write, WriteComposite
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from appliance.lwm2m.words import failure_words, outcome_words
from appliance.southbound.server import Downlink, LwM2MServer, Response
from appliance.storage.errors import StorageFull

_BATCH_SLICE = 50  # tasks made in one turn of the loop

log = logging.getLogger(__name__)


class Devices:
    """The devices room as the floor above sees it."""

    def __init__(
        self,
        settings: DevicesSettings,
        server: LwM2MServer,
        definitions: Definitions,
        registry: Registry,
        observations: Observations,
        translation: Translation,
        monotonic: Callable[[], float],
        store_model: Callable[[int, str, bytes | None], None],
        hasten: Callable[[], None],
        templates: Templates,
        tasks: Tasks,
        presence: Presence,
        gateways: Gateways,
        profiles: Profiles,
    ) -> None:
        self._settings = settings
        self._server = server
        self._definitions = definitions
        self._registry = registry
        self._observations = observations
        self._translation = translation
        self._monotonic = monotonic
        self._store_model = store_model
        self._hasten = hasten
        self._templates = templates
        self._tasks = tasks
        self._presence = presence
        self._gateways = gateways
        self._profiles = profiles

    # Look

    def counts(self) -> dict[str, int]:
        """{"total", "online"}."""
        return {"total": len(self._registry), "online": self._registry.live}

    def list_devices(
        self,
        *,
        search: str = "",
        state: str = "",
        after: str = "",
        limit: int = 200,
        among: Callable[[str], bool] | None = None,
    ) -> dict[str, Any]:
        """Devices in order of their names, those after ``after``, at most ``limit``.

        With ``among`` only those that it is true for.
        """
        wanted = search.casefold()
        rows: list[dict[str, Any]] = []
        following: str | None = None
        names = [one.endpoint_name for one in self._registry if among is None or among(one.endpoint_name)]
        counts = self.counts()
        if among is not None:
            online = sum(not self._require(name).ended for name in names)
            counts = {"total": len(names), "online": online}
        for name in sorted(names):
            if name <= after and after:
                continue
            registration = self._require(name)
            if state and self._state(registration) != state:
                continue
            row = self._row(registration)
            if wanted and not any(
                wanted in str(row[key]).casefold()
                for key in ("endpoint_name", "manufacturer", "model", "address")
            ):
                continue
            if len(rows) == limit:
                following = rows[-1]["endpoint_name"]
                break
            rows.append(row)
        return {"devices": rows, **counts, "next": following}

    def device(self, endpoint_name: str) -> dict[str, Any]:
        """One device with all that it registered."""
        registration = self._require(endpoint_name)
        client = registration.client
        versions = client.objects.object_versions(client.version)
        instances: dict[int, list[int]] = {object_id: [] for object_id in versions}
        for path in client.objects.instances:
            if path.object_id is not None and path.instance_id is not None:
                instances.setdefault(path.object_id, []).append(path.instance_id)
        return {
            **self._row(registration),
            "registration_id": registration.id,
            "sms_number": registration.sms_number,
            "root": client.root or "/",
            "content_formats": list(client.objects.content_formats),
            "learned_format": client.learned_format,
            "parameters": dict(registration.parameters),
            "end_devices": sorted(one.endpoint_name for one in (registration.end_devices or {}).values()),
            "objects": [
                {"id": object_id, "version": versions.get(object_id), "instances": sorted(found)}
                for object_id, found in sorted(instances.items())
            ],
        }

    def objects(self, endpoint_name: str) -> dict[str, Any]:
        """The objects of a device with names, instances and the resources their models know."""
        registration = self._require(endpoint_name)
        client = registration.client
        rows = []
        versions = client.objects.object_versions(client.version)
        instances: dict[int, list[int]] = {object_id: [] for object_id in versions}
        for path in client.objects.instances:
            if path.object_id is not None and path.instance_id is not None:
                instances.setdefault(path.object_id, []).append(path.instance_id)
        for object_id, found in sorted(instances.items()):
            version = versions.get(object_id) or "1.0"
            definition = client.model.object(object_id)
            rows.append(
                {
                    **_object_row(object_id, definition),
                    "version": version,
                    "model_version": definition.version if definition is not None else None,
                    "warning": _model_warning(object_id, version, definition),
                    "instances": sorted(found),
                }
            )
        return {"objects": rows}

    def values(self, endpoint_name: str, path: str = "/") -> dict[str, Any]:
        """Last known values at and below a path; no traffic."""
        registration = self._require(endpoint_name)
        return {"values": self._translation.values(registration, path_of(path))}

    def event(self, row: Any) -> dict[str, Any]:
        """A row of the journal in the shape of the API."""
        return self._translation.event(row, self._registry.named(row.entity))

    # Operate

    async def operate(
        self, endpoint_name: str, request: Mapping[str, Any], origin: str = ""
    ) -> dict[str, Any]:
        """Carry out one operation: its outcome is what the device answered.

        For a device that sleeps: {"task", "state", "expected_at", "words"}, and it is on disk then. So also
        for one that is not there, if ``ttl_s`` says how long to wait for it.
        """
        registration = self._require(endpoint_name)
        if registration.ended and not registration.queue_mode and request.get("ttl_s") is None:
            self._alive(endpoint_name)
        operation = build(registration, request, self._tasks.files)
        if "file" in request:
            return await self._push(registration, request, operation, origin)
        turned: asyncio.Future[Task] = asyncio.get_running_loop().create_future()

        def turn(task: Task) -> None:
            if not turned.done():
                turned.set_result(task)

        self._submit(
            registration,
            request,
            operation=operation,
            timeout_s=timeout_of(request, self._settings.operation_timeout_s),
            origin=origin,
            waiter=turn,
            **_terms(request),
        )
        self._hasten()
        task = await turned
        return self._queued(registration, task) if task.state in OPEN else self._ended(task)

    async def _push(
        self, registration: Registration, request: Mapping[str, Any], operation: Downlink, origin: str
    ) -> dict[str, Any]:
        """A file goes block by block and may take hours: nobody waits, its task tells how far it is."""
        terms = _terms(request)
        terms["ttl_s"] = terms["ttl_s"] or self._settings.task_ttl_s
        timeout_s = timeout_of(request, self._settings.operation_timeout_s)
        task = self._submit(
            registration,
            request,
            operation=operation,
            timeout_s=timeout_s,
            origin=origin,
            told=True,
            **terms,
        )
        await self._durably(self._tasks.settle)
        if task.state != "sent":
            return self._queued(registration, task)
        words = "The file is on its way; the task tells how far."
        return {"task": task.id, "state": task.state, "expected_at": None, "words": words}

    def _submit(self, registration: Registration, request: Mapping[str, Any], **more: Any) -> Task:
        """`Tasks.submit`, for one who asks: what the disk says becomes a DeviceError."""
        try:
            return self._tasks.submit(registration, request, **more)
        except StorageFull as error:
            raise disk_full() from error

    def _queued(self, registration: Registration, task: Task) -> dict[str, Any]:
        expected_at = self._expected_at(registration)
        when = "" if expected_at is None else f" and is expected at {expected_at[11:16]} UTC"
        return {
            "task": task.id,
            "state": task.state,
            "expected_at": expected_at,
            "words": f"Queued. {task.reason}{when}.",
        }

    def _ended(self, task: Task) -> dict[str, Any]:
        """The outcome of a task that a person waited for; raises DeviceError when there is none."""
        outcome = task.outcome
        shown = f"{task.verb} {task.shown_path}"
        if not task.kept:
            # What happened at the device has happened; only our own record of it is missing.
            words = task.reason if outcome is None else outcome["words"]
            error = disk_full()
            raise DeviceError(error.kind, f"{shown}: {words}; but {error.message}", error.next_step)
        if task.state == "done" and outcome is not None:
            return {**outcome, "task": task.id}
        if task.fault == "invalid":
            raise DeviceError("invalid", f"{shown}: {task.reason}", "Check the values and the format.")
        if task.state in ("cancelled", "superseded"):
            raise DeviceError("conflict", f"{shown}: {task.reason}", "Ask again if it is still wanted.")
        busy = outcome is not None and outcome["text"] == "queue full"
        raise DeviceError(
            "busy" if busy else "unreachable",
            f"{shown}: {task.reason}",
            "The device may sleep or be out of reach; its last values are still shown.",
        )

    async def submit(
        self, request: Mapping[str, Any], origin: str = "", among: Callable[[str], bool] | None = None
    ) -> dict[str, Any]:
        """One operation for many devices, each a task of its own: {"batch", "tasks", "refused"}.

        With ``among`` only for those that it is true for; others are as unknown. When this answers, all of
        them are on disk.
        """
        operation = mapping_of(request, "operation")
        names = self._chosen(request, among)
        self._tasks.room("", len(names))
        terms, timeout_s = _terms(request), timeout_of(operation, self._settings.operation_timeout_s)
        terms["ttl_s"] = terms["ttl_s"] or self._settings.task_ttl_s
        batch, text = secrets.token_hex(6), json.dumps(dict(operation), ensure_ascii=False)
        refused: list[dict[str, str]] = []
        tasks = 0
        for number, name in enumerate(names):
            if number % _BATCH_SLICE == _BATCH_SLICE - 1:
                await asyncio.sleep(0)  # the devices asked so far are answered meanwhile
            try:
                if among is not None and not among(name):
                    raise _unknown(name)
                registration = self._require(name)
                self._tasks.submit(
                    registration,
                    operation,
                    operation=build(registration, operation, self._tasks.files),
                    request_json=text,
                    timeout_s=timeout_s,
                    origin=origin,
                    batch=batch,
                    told=True,
                    **terms,
                )
                tasks += 1
            except DeviceError as error:
                refused.append({"endpoint_name": name, "words": f"{error.message}. {error.next_step}"})
            except StorageFull:
                refused.append({"endpoint_name": name, "words": disk_full().message})
        if not tasks and refused:
            raise DeviceError("invalid", refused[0]["words"], f"None of {len(refused)} devices takes it.")
        await self._durably(self._tasks.settle)
        return {"batch": batch, "tasks": tasks, "refused": refused}

    def _chosen(self, request: Mapping[str, Any], among: Callable[[str], bool] | None) -> list[str]:
        if "devices" in request:
            return [str(name) for name in dict.fromkeys(request["devices"])]
        wanted = str(request.get("search", "")).casefold()
        names = sorted(
            registration.endpoint_name
            for registration in self._registry
            if wanted in registration.endpoint_name.casefold()
            and (not registration.ended or registration.queue_mode)
            and (among is None or among(registration.endpoint_name))
        )
        if not names:
            raise DeviceError("not_found", "no device fits", "GET /api/v1/devices lists them.")
        return names

    def tasks(
        self, endpoint_name: str = "", state: str = "", batch: str = "", after: int = 0, limit: int = 200
    ) -> dict[str, Any]:
        """A page of tasks, newest first, and how many there are in each state."""
        rows = [
            self._task_row(task)
            for task in self._tasks.find(
                endpoint_name=endpoint_name, state=state, batch=batch, after=after, limit=limit + 1
            )
        ]
        following = rows[limit - 1]["id"] if len(rows) > limit else None
        counts = self._tasks.states(endpoint_name, batch)
        return {"tasks": rows[:limit], "counts": counts, "next": following}

    def task(self, task_id: int) -> dict[str, Any]:
        """One task."""
        return self._task_row(self._known_task(task_id))

    async def cancel_task(self, task_id: int) -> dict[str, Any]:
        """Give up a task that has not ended."""
        task = self._known_task(task_id)
        if task.state not in OPEN:
            raise DeviceError(
                "conflict", f"task {task_id} has ended already ({task.state})", "There is nothing to cancel."
            )
        self._tasks.cancel(task_id)
        await self._durably(self._tasks.settle)
        return self._task_row(task)

    async def retry_task(self, task_id: int, origin: str = "") -> dict[str, Any]:
        """The same once more, as a task of its own, which waits for the device."""
        old = self._known_task(task_id)
        if old.state in OPEN:
            raise DeviceError("conflict", f"task {task_id} has not ended yet", "Wait for it, or cancel it.")
        registration = self._require(old.endpoint_name)
        task = self._submit(
            registration,
            old.request,
            operation=build(registration, old.request, self._tasks.files),
            timeout_s=old.timeout_s,
            ttl_s=self._settings.task_ttl_s,
            priority=old.priority,
            on_lost="unknown" if old.unknown_if_lost else "repeat",
            origin=origin,
            told=True,
        )
        await self._durably(self._tasks.settle)
        return self._task_row(task)

    def set_awake(self, endpoint_name: str, awake_s: float | None) -> dict[str, Any]:
        """How long a device in queue mode listens after each message; None: learned."""
        registration = self._require(endpoint_name)
        self._write(lambda: self._presence.set_window(registration, awake_s))
        return self.device(endpoint_name)

    def timeline(self, endpoint_name: str, before: int = 0, limit: int = 100) -> dict[str, Any]:
        """What happened to a device, newest first, each with a sentence."""
        registration = self._require(endpoint_name)
        events = self._translation.history(registration, before or None, limit)
        following = events[-1]["seq"] if len(events) == limit else None
        return {"events": events, "next": following}

    def _known_task(self, task_id: int) -> Task:
        task = self._tasks.task(task_id)
        if task is None:
            raise DeviceError("not_found", f"there is no task {task_id}", "GET /api/v1/tasks lists them.")
        return task

    def _task_row(self, task: Task) -> dict[str, Any]:
        registration = self._registry.named(task.endpoint_name)
        waiting = task.state == "waiting" and registration is not None
        paths = task.shown_path.split(",")
        composite = task.verb in ("ReadComposite", "WriteComposite")
        return {
            "id": task.id,
            "endpoint_name": task.endpoint_name,
            "operation": task.verb,
            "path": None if composite else paths[0],
            "paths": paths if composite else None,
            "request": masked(registration, task.request),
            "state": task.state,
            "priority": task.priority,
            "created_at": iso(task.created_at),
            "expires_at": iso(task.expires_at),
            "sent_at": iso(task.sent_at),
            "ended_at": iso(task.ended_at),
            "attempts": task.attempts,
            "reason": task.reason,
            "outcome": task.outcome,
            "origin": task.origin,
            "batch": task.batch,
            "expected_at": self._expected_at(registration) if waiting and registration else None,
            "progress": None
            if task.progress is None
            else {"sent_bytes": task.progress[0], "total_bytes": task.progress[1]},
        }

    def record(
        self, registration: Registration, task: Task, operation: Downlink, response: Response
    ) -> dict[str, Any]:
        """Keep what a task brought: values, and what happened, in the journal. Gives the outcome."""
        reports: Sequence[Report] = response.reports
        source, created = "read", None
        if response.ok:
            if isinstance(operation, Write | WriteComposite):
                source = "write"
                reports = [report for report in operation.reports if _readable(registration, report)]
            elif isinstance(operation, Delete):
                self._translation.forget_values(registration, operation.path)
            elif isinstance(operation, Create) and operation.instance_id is not None:
                created = Path(operation.object_id, operation.instance_id)
        outcome = self._kept(registration, task.verb, task.shown_path, response, reports, source, created)
        body = {
            "operation": task.verb,
            "path": task.shown_path,
            "code": response.code,
            "words": outcome["words"],
            "ok": response.ok,
            "rtt_ms": outcome["rtt_ms"],
            "task": task.id,
        }
        try:
            if response.ok and reports:
                self._translation.reports(registration, reports, source, None, None, None, response.warning)
            if task.batch is None or not (response.ok and reports):
                # Of a fleet that was read, the values say it all.
                self._translation.operation(registration, body, None)
        except StorageFull:
            task.kept = False
        if response.ok and isinstance(operation, Read) and operation.path == Path(GATEWAY):
            self._gateways.refresh(registration)
        return outcome

    def task_turned(self, task: Task) -> None:
        """A task began to wait, or ended without an answer: told on the live page."""
        registration = self._registry.named(task.endpoint_name)
        if registration is None:
            return
        body = {
            "task": task.id,
            "operation": task.verb,
            "path": task.shown_path,
            "state": task.state,
            "words": task.reason,
        }
        try:
            self._translation.task(registration, body)
        except StorageFull:
            log.warning("%s: what became of task %d is not in the journal", task.endpoint_name, task.id)

    def _awake_until(self, registration: Registration) -> str | None:
        left_s = self._presence.until_s(registration)
        return None if left_s is None else iso(self._translation.wall() + left_s)

    def _expected_at(self, registration: Registration) -> str | None:
        expected_in_s = self._presence.expected_in_s(registration)
        return None if expected_in_s is None else iso(self._translation.wall() + expected_in_s)

    async def observe(
        self, endpoint_name: str, path: str, attributes: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Observe from now on, over every registration; attributes are given again each time, too."""
        return await self._observe(endpoint_name, (str(observable(path_of(path))),), attributes or {})

    async def observe_composite(self, endpoint_name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Observe {"paths": […], "attributes": {…}} as one; where a device cannot, one by one."""
        paths = request.get("paths")
        if not isinstance(paths, list) or not 0 < len(paths) <= MAX_COMPOSITE_PATHS:
            raise DeviceError(
                "invalid", f"a composite observation has 1 to {MAX_COMPOSITE_PATHS} paths", "Use several."
            )
        targets = dict.fromkeys(str(observable(path_of(str(path)))) for path in paths)
        return await self._observe(endpoint_name, tuple(targets), request.get("attributes") or {})

    async def _observe(
        self, endpoint_name: str, paths: tuple[str, ...], given: Mapping[str, Any]
    ) -> dict[str, Any]:
        registration = self._require(endpoint_name)
        client, key = registration.client, ",".join(paths)
        attributes: Attributes = ()
        for path in paths:
            attributes = read_attributes(
                given, version=client.version, path=Path.parse(path), model=client.model
            )
        self._write(lambda: self._observations.want(registration, key, attributes))
        verb = "Observe" if len(paths) == 1 else "ObserveComposite"
        if registration.ended:
            raise DeviceError(
                "unreachable",
                f"{endpoint_name} is not registered now",
                "The observation is kept and starts when the device registers.",
            )
        response = await self._observations.begin(registration, key)
        if response.failure == "asleep":
            outcome = self._outcome(verb, key, Response(0x45), [])
            words = "Kept; the device sleeps, and the observation begins when it wakes."
            return {**outcome, "code": None, "text": "", "words": words}
        return await self._finish(registration, verb, key, response, response.reports, "notify")

    async def cancel_observation(self, endpoint_name: str, path: str, reset: bool = False) -> dict[str, Any]:
        """Stop observing, and not wanted any more: actively where it is active, or with ``reset`` by the RST
        that the device gets to its next notification (RFC 7641 §3.6), which does not have to wake for it.

        ``path`` is the id of a row: of a composite observation its paths, joined by commas.
        """
        registration = self._require(endpoint_name)
        key = ",".join(str(path_of(part)) for part in path.split(","))
        self._write(lambda: self._observations.unwant(registration, key))
        observation = registration.observations.get(key)
        if observation is None:
            self._observations.reconcile(registration)  # of a composite there may be single ones
            return self._outcome("Cancel", key, Response(0x45), [])
        if not reset and not self._presence.listens(registration):
            words = "Not wanted any more; the device sleeps, and is told when it wakes."
            return {**self._outcome("Cancel", key, Response(0x45), []), "words": words}
        if reset:
            self._server.end_observation(observation)
            self._write(lambda: self._observations.end(registration, observation))
            return self._outcome("Cancel", key, Response(0x45), [])
        response = await self._server.cancel_observation(observation, self._settings.operation_timeout_s)
        self._write(lambda: self._observations.end(registration, observation))
        return await self._finish(registration, "Cancel", key, response, response.reports, "read")

    def observations(self, endpoint_name: str) -> dict[str, Any]:
        """What is wanted, what is active, and why not."""
        rows = self._observations.rows(self._require(endpoint_name))
        return {"observations": [{**row, "since": iso(row["since"])} for row in rows]}

    def templates(self) -> dict[str, Any]:
        """What is observed of many devices."""
        return {"templates": [template.to_api() for template in self._templates.all()]}

    def put_template(self, template_id: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a template (id None) or change one; devices follow now, those asleep when they wake."""
        template = self._templates.put(template_id, body)
        self._observations.follow_wishes()
        return template.to_api()

    def remove_template(self, template_id: str) -> None:
        """Take a template out; what only it wanted ends."""
        self._templates.remove(template_id)
        self._observations.follow_wishes()

    async def remove(self, endpoint_name: str) -> None:
        """Forget a device, its values and what was wanted of it."""
        registration = self._require(endpoint_name)
        self._tasks.forget(endpoint_name)
        self._server.forget(registration.client)
        self._presence.forget(endpoint_name)

        def gone(done: Callable[[], None]) -> None:
            if registration.end_devices is not None:
                self._gateways.ended(registration, "deregistered")
            if registration.gateway is not None:
                self._gateways.dropped(registration)
            self._observations.forget(registration)
            self._registry.remove(registration)
            self._translation.removed(registration, done)

        await self._durably(gone)

    def profiles(self) -> dict[str, Any]:
        """Profile ids of LwM2M 1.2 and what they stand for."""
        named = Counter(pid for one in self._registry for pid in pids_of(one.parameters))
        return {"profiles": self._profiles.rows(named)}

    def put_profile(self, pid: str, links: str) -> dict[str, Any]:
        """Say what a profile id stands for, from the next Register on."""
        return self._profiles.put(pid, links)

    def remove_profile(self, pid: str) -> None:
        """Forget a profile."""
        self._profiles.remove(pid)

    # Models

    def models(self) -> dict[str, Any]:
        """Every object definition known, by id."""
        rows: dict[int, dict[str, Any]] = {}
        for object_id, version, name, origin in self._definitions.all():
            row = rows.setdefault(object_id, {"id": object_id, "name": name, "versions": [], "own": []})
            row["own" if origin == "own" else "versions"].append(version)
        return {"models": [rows[object_id] for object_id in sorted(rows)]}

    def model(self, object_id: int, version: str | None = None) -> dict[str, Any]:
        """One object definition."""
        found = self._definitions.find(object_id, version)
        if found is None or (version is not None and not found.exact):
            raise DeviceError(
                "not_found",
                f"no model of object {object_id}" + (f" version {version}" if version else ""),
                "Upload its XML definition on the models page, or with POST /api/v1/models.",
            )
        return {**_object_row(object_id, found.definition), "version": found.definition.version}

    def add_model(self, xml: bytes) -> dict[str, Any]:
        """Take in an object definition of the user's own (OMA DDF XML)."""
        try:
            definition = parse_ddf(xml)
        except DdfError as error:
            raise DeviceError(
                "invalid", str(error), "Upload one OMA object definition file, without DTD."
            ) from error
        self._keep_model(definition.id, definition.version, xml)
        self._definitions.add(definition)
        self._refresh_models(definition.id)
        return {**_object_row(definition.id, definition), "version": definition.version}

    def remove_model(self, object_id: int, version: str) -> None:
        """Take out one of the user's own definitions."""
        if not self._definitions.remove(object_id, version):
            raise DeviceError(
                "not_found",
                f"no model of your own for object {object_id} version {version}",
                "The registered models cannot be removed.",
            )
        self._keep_model(object_id, version, None)
        self._refresh_models(object_id)

    def _keep_model(self, object_id: int, version: str, xml: bytes | None) -> None:
        try:
            self._store_model(object_id, version, xml)
        except OSError as error:
            raise disk_full() from error

    def _refresh_models(self, object_id: int) -> None:
        self._observations.wishes_changed()
        for registration in self._registry:
            client = registration.client
            if object_id in client.objects.objects:
                client.model = self._server.client(
                    client.endpoint_name, client.peer, client.version, client.objects
                ).model
                self._observations.reconcile(registration)

    # Inside

    def _require(self, endpoint_name: str) -> Registration:
        registration = self._registry.named(endpoint_name)
        if registration is None:
            raise _unknown(endpoint_name)
        return registration

    def _alive(self, endpoint_name: str) -> Registration:
        registration = self._require(endpoint_name)
        if registration.ended:
            raise DeviceError(
                "unreachable",
                f"{endpoint_name} is not registered now ({registration.ended})",
                "Switch the device on, or wait until it registers again.",
            )
        return registration

    def _state(self, registration: Registration) -> str:
        if registration.ended == "deregistered":
            return "deregistered"
        if registration.ended:
            return "offline"
        if registration.lifetime_s:
            grace = min(self._settings.expiry_grace_s, registration.lifetime_s / 10)
            if registration.expires - grace <= self._monotonic():
                return "late"
        return "online" if self._presence.listens(registration) else "asleep"

    def _row(self, registration: Registration) -> dict[str, Any]:
        client = registration.client
        name = registration.endpoint_name
        wanted = self._observations.wanted(registration)
        remaining = registration.expires - self._monotonic()
        known = self._translation.plain_value
        return {
            "endpoint_name": name,
            "state": self._state(registration),
            "version": client.version,
            "bearer": client.bearer,
            "security": client.identity or "NoSec",
            "address": str(client.peer),
            "registered_at": iso(registration.registered_at),
            "last_seen_at": iso(registration.seen_at),
            "lifetime_s": registration.lifetime_s,
            "expires_at": None
            if registration.ended or remaining == float("inf")
            else iso(self._translation.wall() + remaining),
            "binding": registration.binding,
            "queue_mode": registration.queue_mode,
            "awake_until": self._awake_until(registration),
            "expected_at": self._expected_at(registration),
            "awake_s": self._presence.window_s(registration),
            "tasks": self._tasks.counts_of(name),
            "observations": {"active": len(registration.observations), "wanted": len(wanted)},
            "manufacturer": known(name, Path(3, 0, 0)),
            "model": known(name, Path(3, 0, 1)),
            "battery": known(name, Path(3, 0, 9)),
            "rssi": known(name, Path(4, 0, 2)),
            "warnings": list(registration.warnings),
            "gateway": registration.gateway.endpoint_name if registration.gateway is not None else None,
            "prefix": client.prefix or None,
        }

    async def _finish(
        self,
        registration: Registration,
        verb: str,
        path: Path | str,
        response: Response,
        reports: Iterable[Report],
        source: str,
        created: Path | None = None,
    ) -> dict[str, Any]:
        """Keep what was learned and how it went, then say it: who has the outcome finds it in the journal."""
        reports = list(reports)
        outcome = self._kept(registration, verb, str(path), response, reports, source, created)
        body = {
            "operation": verb,
            "path": str(path),
            "code": response.code,
            "words": outcome["words"],
            "ok": response.ok,
        }

        def keep(done: Callable[[], None]) -> None:
            if response.ok and reports:
                self._translation.reports(registration, reports, source, None, None, None, response.warning)
            self._translation.operation(registration, body, done)

        try:
            await self._durably(keep)
        except DeviceError as error:
            # What happened at the device has happened; only our own record of it is missing.
            message = f"{verb} {path}: {outcome['words']}; but {error.message}"
            raise DeviceError(error.kind, message, error.next_step) from error
        if response.failure:
            raise DeviceError(
                "busy" if response.failure == "queue full" else "unreachable",
                f"{verb} {path}: {outcome['words']}",
                "The device may sleep or be out of reach; its last values are still shown.",
            )
        return outcome

    def _kept(
        self,
        registration: Registration,
        verb: str,
        path: str,
        response: Response,
        reports: Iterable[Report],
        source: str,
        created: Path | None,
    ) -> dict[str, Any]:
        if response.warning and response.ok:  # what a device says to an error belongs to that answer alone
            registration.warn(response.warning)
        if not response.failure:
            registration.seen_at = self._translation.wall()
        shown = self._translation.shown(registration, list(reports), source) if response.ok else []
        outcome = self._outcome(verb, path, response, shown)
        if created is not None and outcome["location"] is None and response.ok:
            # A device that was told the id need not say it (OMA Core §6.3.6).
            outcome["location"] = str(created)
        return outcome

    def _outcome(
        self, verb: str, path: Path | str, response: Response, values: list[dict[str, Any]]
    ) -> dict[str, Any]:
        several = verb in ("ReadComposite", "WriteComposite", "ObserveComposite")
        said = outcome_words(response.code, composite=several)
        words = failure_words(response.failure) if response.failure else said
        if response.warning:
            words = f"{words} ({response.warning})"
        code, _, text = response.code_text.partition(" ")
        return {
            "operation": verb,
            "path": str(path),
            "code": None if response.failure else code,
            "text": text if not response.failure else response.failure,
            "ok": response.ok,
            "words": words,
            "rtt_ms": None if response.rtt_s is None else round(response.rtt_s * 1000, 1),
            "values": values,
            "links": None
            if response.links is None
            else [{"target": link.target, "attributes": dict(link.attributes)} for link in response.links],
            "location": response.location,
            "content_format": response.content_format,
        }

    def _write(self, change: Callable[[], None]) -> None:
        try:
            change()
        except StorageFull as error:
            raise disk_full() from error

    async def _durably(self, change: Callable[[Callable[[], None]], None]) -> None:
        committed = asyncio.get_running_loop().create_future()

        def done() -> None:
            if not committed.done():
                committed.set_result(None)

        try:
            change(done)
        except StorageFull as error:
            raise disk_full() from error
        self._hasten()
        try:
            await asyncio.wait_for(committed, 10)
        except TimeoutError as error:
            raise disk_full() from error


def _readable(registration: Registration, report: Report) -> bool:
    """Whether a value written may be kept and shown: one that can only be written is often a secret."""
    resource = registration.client.model.resource(report.path)
    return resource is None or "R" in resource.operations


def _unknown(endpoint_name: str) -> DeviceError:
    return DeviceError(
        "not_found",
        f"no device is named {endpoint_name!r}",
        "Names are case-sensitive; GET /api/v1/devices lists them.",
    )


def _terms(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says of its task: how long to wait, how urgent, what if the answer is lost."""
    ttl_s, priority, on_lost = (request.get(name) for name in ("ttl_s", "priority", "on_lost"))
    if ttl_s is not None and (isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float) or ttl_s < 1):
        raise DeviceError("invalid", "ttl_s must be a number of seconds, 1 or more")
    if priority is not None and (type(priority) is not int or not 0 <= priority <= 9):
        raise DeviceError("invalid", "priority must be a number from 0 to 9")
    if on_lost not in (None, "repeat", "unknown"):
        raise DeviceError("invalid", 'on_lost must be "repeat" or "unknown"')
    return {"ttl_s": ttl_s, "priority": 5 if priority is None else priority, "on_lost": on_lost}


def _object_row(object_id: int, definition: ObjectDefinition | None) -> dict[str, Any]:
    if definition is None:
        return {"id": object_id, "name": None, "multiple": True, "mandatory": False, "resources": []}
    return {
        "id": object_id,
        "name": definition.name,
        "multiple": definition.multiple,
        "mandatory": definition.mandatory,
        "resources": [
            {
                "id": resource.id,
                "name": resource.name,
                "operations": resource.operations,
                "multiple": resource.multiple,
                "mandatory": resource.mandatory,
                "type": resource.type.value,
                "range": resource.range,
                "units": resource.units,
            }
            for resource in definition.resources.values()
        ],
    }


def _model_warning(object_id: int, version: str, definition: ObjectDefinition | None) -> str | None:
    if definition is None:
        return (
            f"There is no model of object {object_id}: its values are kept and shown as received. "
            "Upload its XML definition on the models page."
        )
    if definition.version != version:
        return f"The device has version {version}; shown with the model of version {definition.version}."
    return None
