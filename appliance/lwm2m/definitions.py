"""What the ids of objects and resources mean: the registered definitions and the users' own.

The registered ones come from ``data/definitions.txt``, which ``scripts/make-definitions`` writes: facts
only, one line per object version and one per resource. At start only where each object begins is learnt;
an object is read when somebody first asks for it, so a fleet keeps a few objects in memory, not hundreds.
"""

from __future__ import annotations

import pathlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ResourceType

DATA_FILE = "definitions.txt"
_FOLDER = pathlib.Path(__file__).with_name("data")  # importlib.resources would cost 20 ms at start
TYPE_LETTERS: dict[str, ResourceType] = {
    "s": ResourceType.STRING,
    "i": ResourceType.INTEGER,
    "u": ResourceType.UNSIGNED,
    "f": ResourceType.FLOAT,
    "b": ResourceType.BOOLEAN,
    "o": ResourceType.OPAQUE,
    "t": ResourceType.TIME,
    "l": ResourceType.OBJLNK,
    "c": ResourceType.CORELNK,
    "n": ResourceType.NONE,
}

_OBJECT_LINE = re.compile(rb"^/([0-9]+)\t([0-9.]+)\t", re.MULTILINE)
_MODELS_KEPT = 1024


@dataclass(frozen=True, slots=True)
class ResourceDefinition:
    """One resource of an object; ``operations`` is "", "R", "W", "RW" or "E"."""

    id: int
    name: str
    operations: str
    multiple: bool
    mandatory: bool
    type: ResourceType
    range: str
    units: str


@dataclass(frozen=True, slots=True)
class ObjectDefinition:
    """One version of an object; ``lwm2m_version`` is the enabler version it was made for."""

    id: int
    name: str
    version: str
    multiple: bool
    mandatory: bool
    lwm2m_version: str
    resources: dict[int, ResourceDefinition]


class Found(NamedTuple):
    """A definition, and whether it is of the very version that was asked for."""

    definition: ObjectDefinition
    exact: bool


class Known(NamedTuple):
    """A row of the list of all definitions; ``origin`` is "registered" or "own"."""

    id: int
    version: str
    name: str
    origin: str


class Definitions:
    """All definitions of one appliance. A user's own one hides the registered one of the same version."""

    def __init__(self) -> None:
        # Object id -> version -> (offset, length) in the data file.
        self._places: dict[int, dict[str, tuple[int, int]]] = {}
        self._own: dict[int, dict[str, ObjectDefinition]] = {}
        self._read: dict[tuple[int, str], ObjectDefinition] = {}
        self._models: OrderedDict[tuple[tuple[int, str | None], ...], Model] = OrderedDict()
        self.generation = 0  # counts changes: whoever keeps what he found asks again when it moved

    @classmethod
    def registered(cls) -> Definitions:
        """The definitions of the OMA registry, read object by object when they are asked for."""
        definitions = cls()
        data = _data()
        starts = [(mark.start(), int(mark[1]), mark[2].decode()) for mark in _OBJECT_LINE.finditer(data)]
        ends = [start for start, _, _ in starts[1:]] + [len(data)]
        for (start, object_id, version), end in zip(starts, ends, strict=True):
            definitions._places.setdefault(object_id, {})[version] = (start, end - start)
        return definitions

    def find(self, object_id: int, version: str | None) -> Found | None:
        """The definition of that version, else the nearest one; the newest when ``version`` is None."""
        known = self.versions(object_id)
        if not known:
            return None
        if version is None:
            return Found(self._get(object_id, known[-1]), True)
        if version in known:
            return Found(self._get(object_id, version), True)
        wanted = version_key(version)
        nearest = min(known, key=lambda one: _distance(version_key(one), wanted))
        return Found(self._get(object_id, nearest), False)

    def versions(self, object_id: int) -> list[str]:
        """The versions known of an object, oldest first; [] when it is not known."""
        known = {**self._places.get(object_id, {}), **self._own.get(object_id, {})}
        return sorted(known, key=version_key)

    def all(self) -> Iterable[Known]:
        """Every definition, by id and version. Reads the data file through once."""
        data = _data() if self._places else b""
        for object_id in sorted({*self._places, *self._own}):
            own, places = self._own.get(object_id, {}), self._places.get(object_id, {})
            for version in self.versions(object_id):
                if version in own:
                    yield Known(object_id, version, own[version].name, "own")
                else:
                    start, length = places[version]
                    line = data[start : start + length].split(b"\n", 1)[0].decode()
                    yield Known(object_id, version, line.split("\t")[4], "registered")

    def add(self, definition: ObjectDefinition) -> None:
        """Take a user's own definition; an own one of the same version is replaced."""
        self._own.setdefault(definition.id, {})[definition.version] = definition
        self.generation += 1

    def remove(self, object_id: int, version: str) -> bool:
        """Take out a user's own definition; False when there is none. Registered ones stay."""
        own = self._own.get(object_id, {})
        if version not in own:
            return False
        del own[version]
        if not own:
            del self._own[object_id]
        self.generation += 1
        return True

    def model(self, versions: Mapping[int, str | None]) -> Model:
        """The model of a client with these objects; clients with the same ones share it."""
        key = tuple(versions.items())
        model = self._models.get(key)
        if model is None:
            model = self._models[key] = Model(self, dict(key))
            if len(self._models) > _MODELS_KEPT:
                self._models.popitem(last=False)
        return model

    def _get(self, object_id: int, version: str) -> ObjectDefinition:
        own = self._own.get(object_id, {}).get(version)
        if own is not None:
            return own
        definition = self._read.get((object_id, version))
        if definition is None:
            start, length = self._places[object_id][version]
            definition = decode_object(_data(start, length).decode())
            self._read[object_id, version] = definition
        return definition


class Model:
    """What the objects of one client mean, by the versions it registered them with.

    An object the client did not register is unknown even when a definition exists. Follows `Definitions`
    when a definition is added or removed.
    """

    __slots__ = ("_definitions", "_generation", "_objects", "_versions")

    def __init__(self, definitions: Definitions, versions: Mapping[int, str | None]) -> None:
        self._definitions = definitions
        self._versions = versions
        self._generation = definitions.generation
        self._objects: dict[int, ObjectDefinition | None] = {}

    @staticmethod
    def of(definitions: Definitions, versions: Mapping[int, str | None]) -> Model:
        """The shared model for these versions; see `Definitions.model`."""
        return definitions.model(versions)

    def object(self, object_id: int) -> ObjectDefinition | None:
        """The definition that serves this client for an object, None when there is none."""
        if self._generation != self._definitions.generation:
            self._objects.clear()
            self._generation = self._definitions.generation
        try:
            return self._objects[object_id]
        except KeyError:
            pass
        if object_id not in self._versions:
            return None  # not kept: a stranger's ids must not fill the memory
        found = self._definitions.find(object_id, self._versions[object_id])
        definition = self._objects[object_id] = found.definition if found is not None else None
        return definition

    def resource(self, path: Path) -> ResourceDefinition | None:
        """The definition of the resource at or above ``path``; None when unknown, or above resource level."""
        if len(path) < 3:
            return None
        definition = self.object(path[0])
        return definition.resources.get(path[2]) if definition is not None else None


def version_key(version: str) -> tuple[int, int]:
    """``"1.10"`` as (1, 10), so that versions sort; (0, 0) for a text that is no version."""
    major, _, minor = version.partition(".")
    if major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit() and len(version) <= 10:
        return int(major), int(minor)
    return 0, 0


def _distance(known: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int, int]:
    # Minor versions are compatible, major ones are not (C §7.2.1); of two equally near, the newer knows more.
    apart = abs((known[0] - wanted[0]) * 100_000 + known[1] - wanted[1])
    return abs(known[0] - wanted[0]), apart, -known[1]


def encode_object(definition: ObjectDefinition) -> str:
    """The lines of one object version in the data file; `decode_object` takes them back."""
    flags = ("m" if definition.multiple else "s") + ("m" if definition.mandatory else "o")
    head = (f"/{definition.id}", definition.version, definition.lwm2m_version, flags, definition.name)
    lines = ["\t".join(head)]
    for _, one in sorted(definition.resources.items()):
        kind = (
            one.operations
            + ("m" if one.multiple else "s")
            + ("m" if one.mandatory else "o")
            + _LETTERS[one.type]
        )
        lines.append("\t".join((str(one.id), kind, one.name, one.range, one.units)).rstrip("\t"))
    return "\n".join(lines) + "\n"


_LETTERS = {kind: letter for letter, kind in TYPE_LETTERS.items()}


def decode_object(text: str) -> ObjectDefinition:
    """One object version from its lines in the data file."""
    head, *lines = text.rstrip("\n").split("\n")
    object_id, version, lwm2m_version, flags, name = head.split("\t")
    found: dict[int, ResourceDefinition] = {}
    for line in lines:
        resource_id, kind, resource_name, span, units, *_ = *line.split("\t"), "", ""
        found[int(resource_id)] = ResourceDefinition(
            int(resource_id),
            resource_name,
            kind[:-3],
            kind[-3] == "m",
            kind[-2] == "m",
            TYPE_LETTERS[kind[-1]],
            span,
            units,
        )
    return ObjectDefinition(
        int(object_id[1:]), name, version, flags[0] == "m", flags[1] == "m", lwm2m_version, found
    )


def _data(start: int = 0, length: int = -1) -> bytes:
    """A stretch of the data file; the pages stay with the operating system, not with us."""
    with (_FOLDER / DATA_FILE).open("rb") as file:
        file.seek(start)
        return file.read(length)
