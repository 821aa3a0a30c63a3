"""What people and programs ask for, as operations: JSON-able dicts in, checked against the device's models.

Every fault is a `DeviceError` that says what to write instead; nothing is sent before all is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from appliance.devices.errors import DeviceError, ErrorKind
from appliance.devices.registry import Registration
from appliance.devices.templates import read_attributes
from appliance.lwm2m.definitions import ResourceDefinition
from appliance.lwm2m.operations import (
    Create,
    Delete,
    Discover,
    Execute,
    Read,
    ReadComposite,
    Write,
    WriteAttributes,
    WriteComposite,
    WriteFile,
    check_execute_arguments,
)
from appliance.lwm2m.path import Path, PathError
from appliance.lwm2m.values import Report, ResourceType, ValueFormatError, from_json
from appliance.southbound.server import Downlink
from appliance.storage.files import FileStoreError

MAX_PATHS = 200  # of one composite operation
MASK = "•••"


def timeout_of(request: Mapping[str, Any], default_s: float) -> float:
    """How long a request may take, in seconds. Raises DeviceError."""
    timeout_s = request.get("timeout_s", default_s)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0.5 <= timeout_s <= 600:
        raise DeviceError("invalid", "timeout_s must be a number of seconds from 0.5 to 600")
    return float(timeout_s)


class Content(Protocol):
    """A stored file."""

    @property
    def data(self) -> memoryview:
        """Its bytes, mapped."""


class Files(Protocol):
    """The file store; what it raises says ``kind``, ``message`` and ``next_step``."""

    def content(self, file_id: str, /) -> Content:
        """One file by its id."""


def build(registration: Registration, request: Mapping[str, Any], files: Files | None = None) -> Downlink:
    """The operation that a request of the API asks of this device. Raises DeviceError."""
    verb = _text(request, "operation", "")
    path = path_of(_text(request, "path", "/"))
    if type(request.get("content_format", 0)) is not int:
        raise DeviceError(
            "invalid", "content_format must be a number", "Use 0, 42, 60, 110, 112, 11542 or 11543."
        )
    match verb:
        case "ReadComposite":
            return ReadComposite(_composite_paths(registration, request))
        case "WriteComposite":
            return _write_composite(registration, request)
        case "Read":
            return Read(_at_least_object(path, verb))
        case "Discover":
            return Discover(_at_least_object(path, verb), _depth(registration, request))
        case "Write" if "file" in request:
            return _write_file(registration, path, request, files)
        case "Write":
            return _write_operation(registration, path, request)
        case "WriteAttributes":
            return _write_attributes(registration, _at_least_object(path, verb), request)
        case "Execute":
            if path.level != 3:
                raise DeviceError("invalid", f"Execute needs a resource, not {path}", "Name it like /3/0/4.")
            arguments = _text(request, "arguments", "")
            try:
                check_execute_arguments(arguments)
            except ValueError as error:
                raise DeviceError(
                    "invalid", str(error), "Write them like 0='value',1 (OMA Core §6.3.5)."
                ) from error
            return Execute(path, arguments)
        case "Create":
            return _create_operation(registration, path, request)
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
                "Use Read, Write, WriteAttributes, Execute, Create, Delete, Discover, ReadComposite or "
                "WriteComposite.",
            )


def _depth(registration: Registration, request: Mapping[str, Any]) -> int | None:
    depth = request.get("depth")
    if depth is None:
        return None
    if type(depth) is not int or not 0 <= depth <= 3:
        raise DeviceError("invalid", "depth must be a number from 0 to 3")
    if registration.client.version < "1.2":
        version = registration.client.version
        raise DeviceError(
            "invalid", f"depth came with LwM2M 1.2, and the device speaks {version}", "Leave depth out."
        )
    return depth


def _composite_paths(registration: Registration, request: Mapping[str, Any]) -> tuple[Path, ...]:
    _has_composites(registration)
    given = request.get("paths")
    if not isinstance(given, list | tuple) or not 0 < len(given) <= MAX_PATHS:
        raise DeviceError("invalid", f"paths must be a list of 1 to {MAX_PATHS} paths")
    return tuple(dict.fromkeys(path_of(str(path)) for path in given))


def _write_composite(registration: Registration, request: Mapping[str, Any]) -> WriteComposite:
    _has_composites(registration)
    values = mapping_of(request, "values", 'For example {"/3/0/14": "+02:00"}.')
    if not 0 < len(values) <= MAX_PATHS:
        raise DeviceError("invalid", f"values must give 1 to {MAX_PATHS} paths their values")
    reports: list[Report] = []
    removed: list[Path] = []
    for text, value in values.items():
        path = path_of(str(text))
        if path.level < 3:
            raise DeviceError("invalid", f"{path} is no resource", "Name resources, like /3/0/14.")
        if isinstance(value, Mapping):
            given = {key: one for key, one in value.items() if one is not None}
            removed += [path_of(f"{path}/{key}") for key in value if key not in given]
            reports.extend(_reports(registration, path, given))
        elif value is None:
            removed.append(path)
        else:
            reports.append(_report(registration, path, value))
    if removed:
        _can_be_removed(registration, removed)
    return WriteComposite(tuple(reports), tuple(removed))


def _can_be_removed(registration: Registration, paths: Iterable[Path]) -> None:
    """null takes a resource instance away (OMA Core 1.2.1 §7.5.6)."""
    version = registration.client.version
    if version < "1.2":
        raise DeviceError(
            "invalid",
            f"null, which removes, came with LwM2M 1.2, and the device speaks {version}",
            "Write the whole resource with the instances that are to stay.",
        )
    for path in paths:
        if path.level != 4:
            raise DeviceError(
                "invalid",
                f"null removes a resource instance, and {path} is none",
                "Name one, like /16/0/0/1.",
            )


def _has_composites(registration: Registration) -> None:
    if registration.client.version == "1.0":
        raise DeviceError(
            "invalid",
            "composite operations came with LwM2M 1.1, and the device speaks 1.0",
            "Read or write the paths one by one.",
        )


def masked(registration: Registration | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """A request as it may be shown: without the values of what nobody can read back, often secrets.

    Of a device that is gone nobody knows any more what they are, so none of its values are shown.
    """
    shown = dict(request)
    try:
        base = Path.parse(str(request.get("path", "/")))
    except PathError:
        base = Path()
    if "value" in shown and _is_secret(registration, base):
        shown["value"] = MASK
    values = shown.get("values")
    if isinstance(values, Mapping):
        shown["values"] = _masked_values(registration, base, values)
    return shown


def _masked_values(
    registration: Registration | None, base: Path, values: Mapping[str, Any]
) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, value in values.items():
        try:
            path = Path.parse(key) if key.startswith("/") else base.child(int(key))
        except (PathError, ValueError):
            path = base
        if isinstance(value, Mapping):
            shown[key] = _masked_values(registration, path, value)
        else:
            shown[key] = MASK if _is_secret(registration, path) else value
    return shown


def _is_secret(registration: Registration | None, path: Path) -> bool:
    if registration is None or path.object_id in (0, 21, 23):
        return True
    resource = registration.client.model.resource(path)
    return resource is not None and "R" not in resource.operations


def _write_attributes(registration: Registration, path: Path, request: Mapping[str, Any]) -> WriteAttributes:
    client = registration.client
    given = read_attributes(
        mapping_of(request, "attributes", 'For example {"pmin": 10, "pmax": 300}.'),
        version=client.version,
        path=path,
        model=client.model,
    )
    if not given:
        raise DeviceError("invalid", "no attribute is given", 'For example {"pmin": 10, "pmax": 300}.')
    return WriteAttributes(path, dict(given))


def _write_operation(registration: Registration, path: Path, request: Mapping[str, Any]) -> Write:
    if path.level < 2:
        raise DeviceError(
            "invalid", f"Write needs an instance or a resource, not {path}", "Name it like /3/0/14."
        )
    mode = request.get("mode", "update" if path.level == 2 else "replace")
    if mode not in ("update", "replace"):
        raise DeviceError("invalid", f"mode {mode!r} is unknown", 'Use "update" or "replace".')
    if "value" in request and path.level >= 3 and not isinstance(request["value"], dict):
        reports = [_report(registration, path, request["value"])]
    else:
        values = request.get("values", request.get("value"))
        if not isinstance(values, Mapping) or not values:
            raise DeviceError(
                "invalid", "a Write needs a value", 'Give {"value": …} or {"values": {"id": …}}.'
            )
        reports = list(_reports(registration, path, values))
    return Write(path, tuple(reports), mode == "replace")


def _write_file(
    registration: Registration, path: Path, request: Mapping[str, Any], files: Files | None
) -> WriteFile:
    resource = registration.client.model.resource(path)
    if path.level != 3 or (resource is not None and resource.type is not ResourceType.OPAQUE):
        raise DeviceError(
            "invalid",
            f"a file is written to a resource of type opaque, and {path} is none",
            "The firmware package is /5/0/0.",
        )
    if "value" in request or "values" in request:
        raise DeviceError("invalid", "a Write has a value or a file, not both", "Leave one of them out.")
    try:
        if files is None:
            raise DeviceError("failed", "there is no file store", "Start the gateway with one.")
        return WriteFile(path, files.content(_text(request, "file", "")).data)
    except FileStoreError as error:
        kind: ErrorKind = "not_found" if error.kind == "not_found" else "conflict"
        raise DeviceError(kind, error.message, error.next_step) from error


def _create_operation(registration: Registration, path: Path, request: Mapping[str, Any]) -> Create:
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
    return Create(path.object_id, instance, tuple(_reports(registration, base, values)))


def _reports(registration: Registration, path: Path, values: Mapping[str, Any]) -> Iterable[Report]:
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
            yield from _reports(registration, child, value)
        else:
            yield _report(registration, child, value)


def _report(registration: Registration, path: Path, value: object) -> Report:
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


def path_of(text: str) -> Path:
    """A path of the API. Raises DeviceError."""
    try:
        return Path.parse(text)
    except PathError as error:
        raise DeviceError("invalid", f"{text!r} is no path: {error}", "Write it like /3/0/1.") from error


def _at_least_object(path: Path, verb: str) -> Path:
    if path.level == 0:
        raise DeviceError("invalid", f"{verb} needs an object at least", "Name it like /3.")
    return path


def observable(path: Path) -> Path:
    """The path, if it can be observed. Raises DeviceError."""
    return _at_least_object(path, "Observe")


def _text(request: Mapping[str, Any], name: str, default: str) -> str:
    value = request.get(name, default)
    if not isinstance(value, str):
        raise DeviceError("invalid", f"{name} must be a string")
    return value


def mapping_of(request: Mapping[str, Any], name: str, next_step: str = "") -> Mapping[str, Any]:
    """A member that is an object. Raises DeviceError."""
    value = request.get(name)
    if not isinstance(value, Mapping):
        raise DeviceError("invalid", f"{name} must be an object", next_step)
    return value
