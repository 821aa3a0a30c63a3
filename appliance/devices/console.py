"""What people and programs do with devices: look, operate, observe. JSON-able dicts in and out.

Everything here runs in the event loop; `northbound` enters through its one door. Every failure is a
`DeviceError` that says the next step, and an answer of the device, even 4.04, is an outcome, not an error.

Longer than 400 lines: it is the whole vocabulary of the API towards devices, one method a verb.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from appliance.devices.errors import DeviceError
from appliance.devices.observations import Observations
from appliance.devices.registry import Attributes, Registration, Registry
from appliance.devices.settings import DevicesSettings
from appliance.devices.templates import Templates, read_attributes
from appliance.devices.translation import Translation, iso
from appliance.devices.wishes import MAX_COMPOSITE_PATHS
from appliance.lwm2m.codecs import CodecError
from appliance.lwm2m.ddf import DdfError, parse_ddf
from appliance.lwm2m.definitions import Definitions, ObjectDefinition, ResourceDefinition
from appliance.lwm2m.operations import (
    Create,
    Delete,
    Discover,
    Execute,
    Read,
    Write,
    WriteAttributes,
    check_execute_arguments,
)
from appliance.lwm2m.path import Path, PathError
from appliance.lwm2m.values import Report, ValueFormatError, from_json
from appliance.lwm2m.words import failure_words, outcome_words
from appliance.southbound.server import Downlink, LwM2MServer, Response
from appliance.storage.errors import StorageFull

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

    # Look

    def counts(self) -> dict[str, int]:
        """{"total", "online"}."""
        return {"total": len(self._registry), "online": self._registry.live}

    def list_devices(
        self, *, search: str = "", state: str = "", after: str = "", limit: int = 200
    ) -> dict[str, Any]:
        """Devices in order of their names, those after ``after``, at most ``limit``."""
        wanted = search.casefold()
        rows: list[dict[str, Any]] = []
        following: str | None = None
        for name in sorted(registration.endpoint_name for registration in self._registry):
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
        return {"devices": rows, **self.counts(), "next": following}

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
        return {"values": self._translation.values(registration, _path(path))}

    def event(self, row: Any) -> dict[str, Any]:
        """A row of the journal in the shape of the API."""
        return self._translation.event(row, self._registry.named(row.entity))

    # Operate

    async def operate(
        self, endpoint_name: str, request: Mapping[str, Any], origin: str = ""
    ) -> dict[str, Any]:
        """Carry out one operation; the outcome is what the device answered."""
        registration = self._alive(endpoint_name)
        path = _path(_text(request, "path", "/"))
        verb = _text(request, "operation", "")
        timeout_s = self._timeout(request)
        content_format = request.get("content_format")
        if content_format is not None and type(content_format) is not int:
            raise DeviceError(
                "invalid", "content_format must be a number", "Use 0, 42, 60, 110, 112, 11542 or 11543."
            )
        operation = self._operation(registration, verb, path, request)
        response = await self._send(registration, operation, timeout_s, content_format)
        source = "read"
        reports = response.reports
        if response.ok:
            if isinstance(operation, Write | Create):
                source, reports = "write", ()
                if isinstance(operation, Write):
                    reports = tuple(report for report in operation.reports if _readable(registration, report))
            elif isinstance(operation, Delete):
                self._translation.forget_values(registration, operation.path)
        created = None
        if isinstance(operation, Create) and operation.instance_id is not None:
            created = Path(operation.object_id, operation.instance_id)
        return await self._finish(registration, verb, path, response, reports, source, created)

    async def observe(
        self, endpoint_name: str, path: str, attributes: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Observe from now on, over every registration; attributes are given again each time, too."""
        return await self._observe(endpoint_name, (str(_observable(_path(path))),), attributes or {})

    async def observe_composite(self, endpoint_name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Observe {"paths": […], "attributes": {…}} as one; where a device cannot, one by one."""
        paths = request.get("paths")
        if not isinstance(paths, list) or not 0 < len(paths) <= MAX_COMPOSITE_PATHS:
            raise DeviceError(
                "invalid", f"a composite observation has 1 to {MAX_COMPOSITE_PATHS} paths", "Use several."
            )
        targets = dict.fromkeys(str(_observable(_path(str(path)))) for path in paths)
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

    async def cancel_observation(self, endpoint_name: str, path: str) -> dict[str, Any]:
        """Stop observing: actively where it is active, and not wanted any more.

        ``path`` is the id of a row: of a composite observation its paths, joined by commas.
        """
        registration = self._require(endpoint_name)
        key = ",".join(str(_path(part)) for part in path.split(","))
        self._write(lambda: self._observations.unwant(registration, key))
        observation = registration.observations.get(key)
        if observation is None:
            self._observations.reconcile(registration)  # of a composite there may be single ones
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
        self._server.forget(registration.client)

        def gone(done: Callable[[], None]) -> None:
            self._observations.forget(registration)
            self._registry.remove(registration)
            self._translation.removed(registration, done)

        await self._durably(gone)

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
            raise _full() from error

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
            raise DeviceError(
                "not_found",
                f"no device is named {endpoint_name!r}",
                "Names are case-sensitive; GET /api/v1/devices lists them.",
            )
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
        return "online"

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
            "bearer": "UDP",
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
            "observations": {"active": len(registration.observations), "wanted": len(wanted)},
            "manufacturer": known(name, Path(3, 0, 0)),
            "model": known(name, Path(3, 0, 1)),
            "battery": known(name, Path(3, 0, 9)),
            "rssi": known(name, Path(4, 0, 2)),
            "warnings": list(registration.warnings),
        }

    def _timeout(self, request: Mapping[str, Any]) -> float:
        timeout_s = request.get("timeout_s", self._settings.operation_timeout_s)
        if (
            isinstance(timeout_s, bool)
            or not isinstance(timeout_s, int | float)
            or not 0.5 <= timeout_s <= 600
        ):
            raise DeviceError("invalid", "timeout_s must be a number of seconds from 0.5 to 600")
        return float(timeout_s)

    def _operation(
        self, registration: Registration, verb: str, path: Path, request: Mapping[str, Any]
    ) -> Downlink:
        match verb:
            case "Read":
                return Read(_at_least_object(path, verb))
            case "Discover":
                return Discover(_at_least_object(path, verb))
            case "Write":
                return self._write_operation(registration, path, request)
            case "WriteAttributes":
                return self._write_attributes(registration, _at_least_object(path, verb), request)
            case "Execute":
                if path.level != 3:
                    raise DeviceError(
                        "invalid", f"Execute needs a resource, not {path}", "Name it like /3/0/4."
                    )
                arguments = _text(request, "arguments", "")
                try:
                    check_execute_arguments(arguments)
                except ValueError as error:
                    raise DeviceError(
                        "invalid", str(error), "Write them like 0='value',1 (OMA Core §6.3.5)."
                    ) from error
                return Execute(path, arguments)
            case "Create":
                return self._create_operation(registration, path, request)
            case "Delete":
                if path.level not in (2, 4):
                    raise DeviceError(
                        "invalid", f"Delete needs an object instance, not {path}", "Name it like /3303/5."
                    )
                return Delete(path)
            case _:
                raise DeviceError(
                    "invalid",
                    f"unknown operation {verb!r}",
                    "Use Read, Write, WriteAttributes, Execute, Create, Delete or Discover.",
                )

    def _write_attributes(
        self, registration: Registration, path: Path, request: Mapping[str, Any]
    ) -> WriteAttributes:
        client = registration.client
        given = read_attributes(
            _mapping(request, "attributes"), version=client.version, path=path, model=client.model
        )
        if not given:
            raise DeviceError("invalid", "no attribute is given", 'For example {"pmin": 10, "pmax": 300}.')
        return WriteAttributes(path, dict(given))

    def _write_operation(self, registration: Registration, path: Path, request: Mapping[str, Any]) -> Write:
        if path.level < 2:
            raise DeviceError(
                "invalid", f"Write needs an instance or a resource, not {path}", "Name it like /3/0/14."
            )
        mode = request.get("mode", "update" if path.level == 2 else "replace")
        if mode not in ("update", "replace"):
            raise DeviceError("invalid", f"mode {mode!r} is unknown", 'Use "update" or "replace".')
        if "value" in request and path.level >= 3 and not isinstance(request["value"], dict):
            reports = [self._report(registration, path, request["value"])]
        else:
            values = request.get("values", request.get("value"))
            if not isinstance(values, Mapping) or not values:
                raise DeviceError(
                    "invalid", "a Write needs a value", 'Give {"value": …} or {"values": {"id": …}}.'
                )
            reports = list(self._reports(registration, path, values))
        return Write(path, tuple(reports), mode == "replace")

    def _create_operation(self, registration: Registration, path: Path, request: Mapping[str, Any]) -> Create:
        instance = request.get("instance", path.instance_id)
        if path.level not in (1, 2) or path.object_id is None:
            raise DeviceError("invalid", f"Create needs an object, not {path}", "Name it like /3303.")
        if instance is not None and (
            isinstance(instance, bool) or not isinstance(instance, int) or not 0 <= instance < 65535
        ):
            raise DeviceError("invalid", "instance must be a number from 0 to 65534")
        if path.object_id not in registration.client.objects.objects:
            raise DeviceError(
                "conflict",
                f"{registration.endpoint_name} did not register object {path.object_id}",
                "A device creates instances only of objects it lists.",
            )
        if instance is None:
            taken = {
                known.instance_id
                for known in registration.client.objects.instances
                if known.object_id == path.object_id
            }
            instance = next(number for number in range(65535) if number not in taken)
        base = Path(path.object_id, instance)
        values = request.get("values", {})
        if not isinstance(values, Mapping):
            raise DeviceError("invalid", "values must map resource ids to values")
        return Create(path.object_id, instance, tuple(self._reports(registration, base, values)))

    def _reports(self, registration: Registration, path: Path, values: Mapping[str, Any]) -> Iterable[Report]:
        for key, value in values.items():
            try:
                child = path.child(int(key))
            except (ValueError, PathError) as error:
                raise DeviceError(
                    "invalid", f"{key!r} is no id below {path}", "Ids are numbers from 0 to 65534."
                ) from error
            if isinstance(value, Mapping):
                if child.level >= 4:
                    raise DeviceError("invalid", f"{child} cannot hold further values")
                yield from self._reports(registration, child, value)
            else:
                yield self._report(registration, child, value)

    def _report(self, registration: Registration, path: Path, value: object) -> Report:
        resource: ResourceDefinition | None = registration.client.model.resource(path)
        if resource is None:
            if isinstance(value, bool | int | float | str):
                return Report(path, value, None, False)
            raise DeviceError(
                "invalid",
                f"the type of {path} is unknown",
                "Upload the model of the object, or give a string, a number or a boolean.",
            )
        if path.level == 3 and resource.multiple:
            raise DeviceError(
                "invalid",
                f"{path} ({resource.name}) has several instances",
                'Give {"values": {"0": …}} with one value for each.',
            )
        try:
            return Report(path, from_json(value, resource), None, True)
        except ValueFormatError as error:
            raise DeviceError("invalid", f"{path}: {error}") from error

    async def _send(
        self,
        registration: Registration,
        operation: Downlink,
        timeout_s: float,
        content_format: int | None = None,
    ) -> Response:
        try:
            return await self._server.send(registration.client, operation, timeout_s, content_format)
        except CodecError as error:
            raise DeviceError(
                "invalid", str(error), "Choose another content format or check the values."
            ) from error

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
        if response.warning and response.ok:  # what a device says to an error belongs to that answer alone
            registration.warn(response.warning)
        if not response.failure:
            registration.seen_at = self._translation.wall()
        shown = self._translation.shown(registration, reports, source) if response.ok else []
        outcome = self._outcome(verb, path, response, shown)
        if created is not None and outcome["location"] is None and response.ok:
            outcome["location"] = str(
                created
            )  # a device that was told the id need not say it (OMA Core §6.3.6)
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

    def _outcome(
        self, verb: str, path: Path | str, response: Response, values: list[dict[str, Any]]
    ) -> dict[str, Any]:
        words = failure_words(response.failure) if response.failure else outcome_words(response.code)
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
            raise _full() from error

    async def _durably(self, change: Callable[[Callable[[], None]], None]) -> None:
        committed = asyncio.get_running_loop().create_future()

        def done() -> None:
            if not committed.done():
                committed.set_result(None)

        try:
            change(done)
        except StorageFull as error:
            raise _full() from error
        self._hasten()
        try:
            await asyncio.wait_for(committed, 10)
        except TimeoutError as error:
            raise _full() from error


def _readable(registration: Registration, report: Report) -> bool:
    """Whether a value written may be kept and shown: one that can only be written is often a secret."""
    resource = registration.client.model.resource(report.path)
    return resource is None or "R" in resource.operations


def _full() -> DeviceError:
    return DeviceError("failed", "the gateway could not store this", "Check the free space of its disk.")


def _path(text: str) -> Path:
    try:
        return Path.parse(text)
    except PathError as error:
        raise DeviceError("invalid", f"{text!r} is no path: {error}", "Write it like /3/0/1.") from error


def _at_least_object(path: Path, verb: str) -> Path:
    if path.level == 0:
        raise DeviceError("invalid", f"{verb} needs an object at least", "Name it like /3.")
    return path


def _observable(path: Path) -> Path:
    return _at_least_object(path, "Observe")


def _text(request: Mapping[str, Any], name: str, default: str) -> str:
    value = request.get(name, default)
    if not isinstance(value, str):
        raise DeviceError("invalid", f"{name} must be a string")
    return value


def _mapping(request: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = request.get(name)
    if not isinstance(value, Mapping):
        raise DeviceError("invalid", f"{name} must be an object", 'For example {"pmin": 10, "pmax": 300}.')
    return value


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
