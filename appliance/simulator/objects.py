"""What a simulated device is made of: objects and resources, read from a small file.

The objects that every simulated device has (``data/objects.toml``) and the ones that a user
gives with ``--objects`` are written in the same form, so the shipped file is the example to copy::

    [[object]]
    id = 3311                     # 1 .. 65534
    name = "Light Control"        # for people; never sent
    version = "1.0"               # sent as ver= in Register; leave it out for the default version
    instances = [0, 1]            # what is there at start
    creatable = true              # Create and Delete of instances are allowed

    [object.resources]
    5850 = { name = "On/Off", type = "boolean", operations = "RW", value = false }
    5852 = { name = "On time", type = "integer", operations = "RW", value = 0 }
    5823 = { name = "Trigger", operations = "E", action = "count" }
    6    = { name = "Sources", type = "integer", operations = "R", multiple = true, value = { 0 = 1, 1 = 5 } }
    5700 = { type = "float", operations = "R", value = 21.0, moves = { from = -5.0, to = 40.0, step = 0.4 } }

JSON has the same shape: ``{"object": [{"id": 3311, "resources": {"5850": {...}}}]}``.
Objects of the user's file replace shipped ones with the same id.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources as package_files
from pathlib import Path
from typing import Any

Value = str | int | float | bool | bytes
# A resource's content: one value, or the values of its resource instances by id.
Node = Value | dict[int, Value]

TYPES = ("string", "integer", "unsigned", "float", "boolean", "opaque", "time", "objlnk", "corelnk")
ACTIONS = ("count", "reboot", "factory_reset", "reset_errors", "reset_extremes", "update")
HIGHEST_ID = 65534  # 65535 is reserved (OMA LwM2M Core 1.1 §7.1)


class ObjectsFileError(ValueError):
    """The objects file cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Movement:
    """A value that wanders between two bounds, at most ``step`` in one move, every ``every``-th period."""

    lowest: float
    highest: float
    step: float
    every: int = 1


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """One resource of an object: its operations are "", "R", "W", "RW" or "E"."""

    id: int
    name: str
    type: str
    operations: str
    multiple: bool
    value: Node | None
    movement: Movement | None
    action: str

    @property
    def readable(self) -> bool:
        return "R" in self.operations

    @property
    def writable(self) -> bool:
        return "W" in self.operations


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """One object; ``version`` is "" when Register need not name it."""

    id: int
    name: str
    version: str
    creatable: bool
    instances: tuple[int, ...]
    resources: Mapping[int, ResourceKind]


def read_objects(file: Path | None = None) -> dict[int, ObjectKind]:
    """The shipped objects, with those of ``file`` (TOML, or JSON by its suffix) in place of or beside them.

    Raises ObjectsFileError with the place and the reason.
    """
    shipped = package_files.files(__package__).joinpath("data/objects.toml").read_text(encoding="utf-8")
    kinds = _objects_of(tomllib.loads(shipped), "the shipped objects")
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
            document = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
        except OSError as error:
            raise ObjectsFileError(f"{file}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ObjectsFileError(f"{file}: is neither TOML nor JSON as expected: {error}") from error
        kinds.update(_objects_of(document, str(file)))
    return kinds


def _objects_of(document: Any, place: str) -> dict[int, ObjectKind]:
    listed = document.get("object") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ObjectsFileError(f'{place}: expected a list named "object"')
    kinds = [_object_kind(entry, place) for entry in listed]
    return {kind.id: kind for kind in kinds}


def _object_kind(entry: Any, place: str) -> ObjectKind:
    if not isinstance(entry, dict):
        raise ObjectsFileError(f"{place}: an object is a table with id, name, instances and resources")
    object_id = _identifier(entry.get("id"), f"{place}: object id")
    place = f"{place}: object {object_id}"
    instances = entry.get("instances", [0])
    resources = entry.get("resources", {})
    if not isinstance(instances, list) or not isinstance(resources, dict):
        raise ObjectsFileError(f"{place}: instances is a list of ids, resources a table")
    kinds = [_resource_kind(key, facts, place) for key, facts in resources.items()]
    return ObjectKind(
        id=object_id,
        name=str(entry.get("name", f"Object {object_id}")),
        version=str(entry.get("version", "")),
        creatable=bool(entry.get("creatable", False)),
        instances=tuple(_identifier(item, f"{place}: instance id") for item in instances),
        resources={kind.id: kind for kind in kinds},
    )


def _resource_kind(key: str, facts: Any, place: str) -> ResourceKind:
    resource_id = _identifier(key, f"{place}: resource id")
    place = f"{place}: resource {resource_id}"
    if not isinstance(facts, dict):
        raise ObjectsFileError(f"{place}: expected a table with type, operations and value")
    operations = str(facts.get("operations", "R"))
    value_type = str(facts.get("type", "string"))
    action = str(facts.get("action", "count"))
    multiple = bool(facts.get("multiple", False))
    if operations not in ("", "R", "W", "RW", "E"):
        raise ObjectsFileError(f'{place}: operations "{operations}" is none of "R", "W", "RW", "E"')
    if value_type not in TYPES:
        raise ObjectsFileError(f'{place}: type "{value_type}" is none of {", ".join(TYPES)}')
    if action not in ACTIONS:
        raise ObjectsFileError(f'{place}: action "{action}" is none of {", ".join(ACTIONS)}')
    return ResourceKind(
        id=resource_id,
        name=str(facts.get("name", f"Resource {resource_id}")),
        type=value_type,
        operations=operations,
        multiple=multiple,
        value=_initial(facts.get("value"), value_type, multiple, place),
        movement=_movement(facts.get("moves"), place),
        action=action,
    )


def _initial(raw: Any, value_type: str, multiple: bool, place: str) -> Node | None:
    if raw is None:
        return None
    if not multiple:
        return _typed(raw, value_type, place)
    if isinstance(raw, list):
        raw = dict(enumerate(raw))
    if not isinstance(raw, dict):
        raise ObjectsFileError(f"{place}: a multiple resource has a table of values by id")
    return {
        _identifier(key, f"{place}: resource instance id"): _typed(item, value_type, place)
        for key, item in raw.items()
    }


def _typed(raw: Any, value_type: str, place: str) -> Value:
    match value_type, raw:
        case "boolean", bool():
            return raw
        case "integer" | "unsigned" | "time", int() if not isinstance(raw, bool):
            return raw
        case "time", "now":
            return "now"
        case "float", int() | float() if not isinstance(raw, bool):
            return float(raw)
        case "opaque", str():
            try:
                return bytes.fromhex(raw)
            except ValueError as error:
                raise ObjectsFileError(f"{place}: an opaque value is written in hexadecimal") from error
        case "string" | "corelnk" | "objlnk", str():
            return raw
        case _:
            raise ObjectsFileError(f"{place}: {raw!r} is no {value_type}")


def _movement(raw: Any, place: str) -> Movement | None:
    if raw is None:
        return None
    try:
        return Movement(float(raw["from"]), float(raw["to"]), float(raw["step"]), int(raw.get("every", 1)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ObjectsFileError(f"{place}: moves needs from, to and step as numbers") from error


def _identifier(raw: Any, place: str) -> int:
    try:
        number = int(raw)
    except (TypeError, ValueError) as error:
        raise ObjectsFileError(f"{place}: {raw!r} is no number") from error
    if not 0 <= number <= HIGHEST_ID:
        raise ObjectsFileError(f"{place}: {number} is not between 0 and {HIGHEST_ID}")
    return number
