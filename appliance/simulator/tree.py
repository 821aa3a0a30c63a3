"""The objects of one device: what its server reads, writes, creates, deletes and discovers.

Nothing here knows CoAP; what cannot be done is raised as Refused with the CoAP code as a pair.
Every change is checked as a whole before any of it is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from appliance.simulator.attributes import AttributeStore
from appliance.simulator.objects import Node, ObjectKind, ResourceKind, Value
from appliance.simulator.payloads import NEW, Leaf, Path

BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, NOT_ALLOWED = (4, 0), (4, 1), (4, 4), (4, 5)
CLOSED_OBJECTS = (0, 21)  # Security and OSCORE: never for a LwM2M server (§8.2.1)
SENSOR_VALUE, LOWEST_MEASURED, HIGHEST_MEASURED = 5700, 5601, 5602
MAX_INSTANCES = 1000


class Refused(Exception):
    """An operation that the device does not do; ``code`` is (4, 5) for 4.05."""

    def __init__(self, code: tuple[int, int], reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ObjectTree:
    """Objects, instances, resources and their values; ``wall_clock`` gives epoch seconds."""

    def __init__(self, kinds: Mapping[int, ObjectKind], wall_clock: Callable[[], float] = time.time) -> None:
        self.kinds = kinds
        self._wall_clock = wall_clock
        self._objects: dict[int, dict[int, dict[int, Node]]] = {}
        self.executions: dict[Path, int] = {}
        self.restore_defaults()

    def restore_defaults(self) -> None:
        """What a factory reset leaves: the instances and values of the objects file."""
        self._objects = {
            kind.id: {instance: _initial_values(kind) for instance in kind.instances}
            for kind in self.kinds.values()
        }

    # --- reading -------------------------------------------------------------------------------------

    def objects(self) -> list[Path]:
        """The objects a LwM2M server may read."""
        return [(object_id,) for object_id in self._objects if object_id not in CLOSED_OBJECTS]

    def type_of(self, object_id: int, resource_id: int) -> str:
        kind = self.kinds.get(object_id)
        resource = kind.resources.get(resource_id) if kind else None
        return resource.type if resource else ""

    def resource_kind(self, path: Path) -> ResourceKind:
        """The definition at a resource or resource-instance path, which must exist on this device."""
        self._instance(path[:2])
        resource = self.kinds[path[0]].resources.get(path[2])
        if resource is None:
            raise Refused(NOT_FOUND, "no such resource")
        return resource

    def view(self, path: Path) -> Any:
        """What Read shows at ``path``: see payloads. Raises Refused (4.01, 4.04, 4.05)."""
        if len(path) == 1:
            return {instance: self._readable(path[0], instance) for instance in self._object(path[0])}
        values = self._instance(path[:2])
        if len(path) == 2:
            return self._readable(path[0], path[1])
        resource = self.resource_kind(path)
        if not resource.readable:
            raise Refused(NOT_ALLOWED, "not readable")
        if path[2] not in values:
            raise Refused(NOT_FOUND, "the resource has no value")
        node = self._shown(values[path[2]])
        if len(path) == 3:
            return node
        if not isinstance(node, dict) or path[3] not in node:
            raise Refused(NOT_FOUND, "no such resource instance")
        return node[path[3]]

    def value(self, path: Path, default: Value) -> Node:
        """The stored value of a resource, for the device itself; ``default`` when there is none."""
        return self._objects.get(path[0], {}).get(path[1], {}).get(path[2], default)

    def links(self, attributes: AttributeStore, path: Path) -> str:
        """The answer to Discover, in link format (RFC 6690)."""
        entries: list[tuple[Path, str]] = []
        if len(path) == 1:
            version = self.kinds[path[0]].version if self._object(path[0]) is not None else ""
            entries.append((path, f";ver={version}" if version else ""))
            instances = [(path[0], instance) for instance in self._object(path[0])]
        else:
            self._instance(path[:2])
            instances = [(path[0], path[1])] if len(path) == 2 else []
        for instance in instances:
            entries.append((instance, ""))
            entries += [((*instance, resource), "") for resource in self._present(instance)]
        if len(path) > 2:
            self.resource_kind(path)
            if path[2] not in self._present(path[:2]):
                raise Refused(NOT_FOUND, "the resource is not there")
            node = self._instance(path[:2]).get(path[2])
            if len(path) == 4 and not (isinstance(node, dict) and path[3] in node):
                raise Refused(NOT_FOUND, "no such resource instance")
            entries.append((path, ""))
            if len(path) == 3 and isinstance(node, dict):
                entries += [((*path, instance), "") for instance in node]
        # At a resource what is inherited is shown too (§6.3.2); elsewhere only what is attached.
        inherited = len(path) == 3
        return ",".join(
            f"<{slashed(entry)}>{extra}{self._dimension(entry)}"
            f"{attributes.link_parameters(entry, inherited=inherited and entry == path)}"
            for entry, extra in entries
        )

    def registered_links(self) -> Iterator[str]:
        """The object list of Register: every instance, and objects that have a version or no instance."""
        for object_id, instances in self._objects.items():
            if object_id in CLOSED_OBJECTS:
                continue
            version = self.kinds[object_id].version
            if version or not instances:
                yield f"</{object_id}>" + (f";ver={version}" if version else "")
            yield from (f"</{object_id}/{instance}>" for instance in instances)

    # --- changing ------------------------------------------------------------------------------------

    def write(self, path: Path, written: list[Leaf], *, replace: bool) -> list[Path]:
        """Write at an instance, resource or resource instance; gives the resources that changed.

        Replacing an instance gives writable resources that were not written their value of the objects
        file back, so that no mandatory one goes missing.
        """
        values = self._instance(path[:2])
        if len(path) > 2 and not self.resource_kind(path).writable:
            raise Refused(NOT_ALLOWED, "not writable")
        merged = self._merged(path, written, values, replace=replace)
        if replace and len(path) == 2:
            defaults = _initial_values(self.kinds[path[0]])
            writable = [key for key, kind in self.kinds[path[0]].resources.items() if kind.writable]
            merged = {key: defaults[key] for key in writable if key in defaults} | merged
        values.update(merged)
        return [(*path[:2], resource) for resource in merged]

    def write_all(self, written: list[Leaf]) -> list[Path]:
        """Write-Composite: everything or nothing, over any instances; gives the resources that changed."""
        merged: dict[Path, dict[int, Node]] = {}
        for path, node in written:
            values = self._instance(path[:2])
            if not self.resource_kind(path).writable:
                raise Refused(NOT_ALLOWED, f"resource {path[2]} is not writable")
            known = merged.setdefault(path[:2], {})
            known.update(self._merged(path, [(path, node)], {**values, **known}, replace=False))
        for instance, nodes in merged.items():
            self._objects[instance[0]][instance[1]].update(nodes)
        return [(*instance, resource) for instance, nodes in merged.items() for resource in nodes]

    def create(self, object_id: int, written: list[Leaf]) -> Path:
        """Create one instance; gives its path."""
        instances = self._object(object_id)
        kind = self.kinds[object_id]
        if not kind.creatable:
            raise Refused(NOT_ALLOWED, "instances cannot be created")
        named = {leaf[0][1] for leaf in written} - {NEW}
        if len(named) > 1 or len(instances) >= MAX_INSTANCES:
            raise Refused(BAD_REQUEST, "one instance at a time, and not without end")
        instance = named.pop() if named else next(n for n in range(MAX_INSTANCES) if n not in instances)
        if instance in instances:
            raise Refused(BAD_REQUEST, "the instance is there already")
        moved = [((object_id, instance, *leaf[0][2:]), leaf[1]) for leaf in written]
        defaults = _initial_values(kind)
        defaults.update(self._merged((object_id, instance), moved, defaults, replace=True, lenient=True))
        instances[instance] = defaults
        return object_id, instance

    def delete(self, path: Path) -> None:
        self._instance(path)
        if not self.kinds[path[0]].creatable:
            raise Refused(NOT_ALLOWED, "instances cannot be deleted")
        del self._objects[path[0]][path[1]]

    def execute(self, path: Path) -> str:
        """Count an Execute and do what concerns values; gives the action for the device to do the rest."""
        resource = self.resource_kind(path)
        if resource.operations != "E":
            raise Refused(NOT_ALLOWED, "not executable")
        self.executions[path] = self.executions.get(path, 0) + 1
        values = self._objects[path[0]][path[1]]
        if resource.action == "reset_errors":
            values[11] = {0: 0}
        elif resource.action == "reset_extremes" and SENSOR_VALUE in values:
            values[LOWEST_MEASURED] = values[HIGHEST_MEASURED] = values[SENSOR_VALUE]
        return resource.action

    def set(self, path: Path, value: Node) -> None:
        """The device itself changes a resource."""
        self._instance(path[:2])[path[2]] = value

    def move(self, random: Random, period: int) -> list[Path]:
        """Let the moving values wander once; gives the resources that changed."""
        changed: list[Path] = []
        for object_id, instances in self._objects.items():
            for resource in self.kinds[object_id].resources.values():
                movement = resource.movement
                if movement is None or period % movement.every:
                    continue
                for instance, values in instances.items():
                    old = values.get(resource.id, movement.lowest)
                    if not isinstance(old, int | float):
                        continue
                    wandered = old + random.uniform(-movement.step, movement.step)
                    bounded = min(max(wandered, movement.lowest), movement.highest)
                    new: Value = round(bounded) if resource.type == "integer" else round(bounded, 6)
                    if new != old:
                        values[resource.id] = new
                        changed.append((object_id, instance, resource.id))
                        changed += self._follow_extremes((object_id, instance), resource.id, new)
        return changed

    # --- inside --------------------------------------------------------------------------------------

    def _object(self, object_id: int) -> dict[int, dict[int, Node]]:
        if object_id in CLOSED_OBJECTS:
            raise Refused(UNAUTHORIZED, "not for a LwM2M server")
        if object_id not in self._objects:
            raise Refused(NOT_FOUND, "no such object")
        return self._objects[object_id]

    def _instance(self, path: Path) -> dict[int, Node]:
        instances = self._object(path[0])
        if path[1] not in instances:
            raise Refused(NOT_FOUND, "no such object instance")
        return instances[path[1]]

    def _readable(self, object_id: int, instance: int) -> dict[int, Node]:
        kinds = self.kinds[object_id].resources
        values = self._objects[object_id][instance]
        return {key: self._shown(node) for key, node in values.items() if kinds[key].readable}

    def _shown(self, node: Node) -> Node:
        if node == "now":
            return int(self._wall_clock())
        return dict(node) if isinstance(node, dict) else node

    def _present(self, path: Path) -> list[int]:
        values = self._instance(path)
        kinds = self.kinds[path[0]].resources
        return [key for key, kind in kinds.items() if kind.operations == "E" or key in values]

    def _dimension(self, path: Path) -> str:
        node = self._objects[path[0]][path[1]].get(path[2]) if len(path) == 3 else None
        return f";dim={len(node)}" if isinstance(node, dict) else ""

    def _merged(
        self,
        path: Path,
        written: list[Leaf],
        values: dict[int, Node],
        *,
        replace: bool,
        lenient: bool = False,
    ) -> dict[int, Node]:
        """The new nodes of one instance, all checked. ``lenient`` ignores what is read-only (Create)."""
        kinds = self.kinds[path[0]].resources
        merged: dict[int, Node] = {}
        for leaf_path, node in written:
            if leaf_path[: len(path)] != path:
                raise Refused(BAD_REQUEST, "a value outside of the path")
            if len(leaf_path) == 2:
                continue  # an instance named without any resource
            resource = kinds.get(leaf_path[2])
            if resource is None:
                raise Refused(NOT_FOUND, f"no resource {leaf_path[2]}")
            if not resource.writable:
                if lenient:
                    if resource.readable:
                        merged[resource.id] = node
                    continue
                raise Refused(NOT_ALLOWED, f"resource {resource.id} is not writable")
            if len(leaf_path) == 4:
                whole = replace and len(path) < 4  # a resource instance replaces itself, not its neighbours
                old = merged.get(resource.id, {} if whole else values.get(resource.id, {}))
                node = {**(old if isinstance(old, dict) else {}), leaf_path[3]: _value(node)}
            elif isinstance(node, dict) and not replace:
                old = values.get(resource.id, {})
                node = {**(old if isinstance(old, dict) else {}), **node}
            if isinstance(node, dict) != resource.multiple or not _fits(node, resource.type):
                raise Refused(BAD_REQUEST, f"not a value for resource {resource.id}")
            merged[resource.id] = node
        return merged

    def _follow_extremes(self, instance: Path, resource_id: int, value: Value) -> list[Path]:
        values = self._objects[instance[0]][instance[1]]
        if resource_id != SENSOR_VALUE or not isinstance(value, int | float):
            return []
        changed: list[Path] = []
        for extreme, choose in ((LOWEST_MEASURED, min), (HIGHEST_MEASURED, max)):
            old = values.get(extreme)
            if isinstance(old, int | float) and choose(old, value) != old:
                values[extreme] = value
                changed.append((*instance, extreme))
        return changed


def slashed(path: Path) -> str:
    """(3303, 0, 5700) as "/3303/0/5700"."""
    return "/" + "/".join(map(str, path))


def _initial_values(kind: ObjectKind) -> dict[int, Node]:
    return {
        key: dict(resource.value) if isinstance(resource.value, dict) else resource.value
        for key, resource in kind.resources.items()
        if resource.value is not None
    }


def _value(node: Node) -> Value:
    if isinstance(node, dict):
        raise Refused(BAD_REQUEST, "a resource instance has one value")
    return node


def _fits(node: Node, kind: str) -> bool:
    items = node.values() if isinstance(node, dict) else (node,)
    expected: dict[str, type | tuple[type, ...]] = {
        "integer": int, "unsigned": int, "time": int, "float": (int, float), "boolean": bool, "opaque": bytes,
    }  # fmt: skip
    return all(
        isinstance(item, expected.get(kind, str)) and (kind == "boolean" or not isinstance(item, bool))
        for item in items
    )
