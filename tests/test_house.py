"""The house rules: ARCHITECTURE.md's tables against every import in ``appliance/``.

The walk reads source and imports nothing, so an import counts wherever it stands: at the top, inside a
function, under TYPE_CHECKING. Each kind of violation is planted in a small house of its own below, so that
a walk that has gone blind fails here too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
BRIDGE = "appliance.devices.translation"
COUNTER = "appliance.broker.broker.Broker"


@dataclass(frozen=True)
class Room:
    floor: int
    allowed: frozenset[str]
    to_come: bool


@dataclass(frozen=True)
class Import:
    """One imported thing: ``target`` is a module of ours (dotted) or the name of somebody else's."""

    module: str
    line: int
    target: str
    name: str

    @property
    def place(self) -> str:
        return f"{self.module}:{self.line}"


# The page


def table(page: str, title: str) -> Iterator[list[str]]:
    """The cells of each row of the table between the two comments that carry the title."""
    found = re.search(rf"<!-- {title}: .*?-->(.*?)<!-- end of {title} -->", page, re.DOTALL)
    assert found, f"ARCHITECTURE.md has no table of {title}"
    rows = [line for line in found.group(1).splitlines() if line.startswith("|")]
    for row in rows[2:]:
        yield [cell.strip() for cell in row.strip("|").split("|")]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


def read_floors(page: str) -> dict[str, Room]:
    rows = [
        (int(floor), ticked(room)[0], "*to come*" in room, allowed)
        for floor, room, allowed, _ in table(page, "floors")
    ]
    rooms = {}
    for floor, name, to_come, allowed in rows:
        names = frozenset(ticked(allowed))
        if allowed.startswith("every room below"):
            names = frozenset(other for height, other, _, _ in rows if height < floor) - names
        assert name not in rooms, f"{name} stands twice in the floors table"
        rooms[name] = Room(floor, names, to_come)
    return rooms


def read_pure(page: str) -> dict[str, set[str]]:
    return {ticked(room)[0]: set(ticked(never)) for room, never in table(page, "pure rooms")}


# The code


def modules_of(root: Path) -> dict[str, Path]:
    """Every module below ``root/appliance`` by its dotted name."""
    found = {}
    for file in sorted((root / "appliance").rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def imports_of(module: str, file: Path, modules: dict[str, Path]) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
                package = package[: len(package) - node.level + 1]
                source = ".".join([*package, *([source] if source else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield Import(module, node.lineno, inner if inner in modules else source, alias.name)


def house_faults(root: Path) -> list[str]:
    """Every breach of the rules in the house below ``root``, one sentence each."""
    page = (root / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms, modules = read_floors(page), modules_of(root)
    walked = {name: list(imports_of(name, file, modules)) for name, file in modules.items()}
    ours = {
        name: [one for one in found if one.target.split(".")[0] == "appliance"]
        for name, found in walked.items()
    }
    return [
        *table_faults(rooms, modules),
        *floor_faults(rooms, ours, modules),
        *pure_faults(read_pure(page), walked),
        *bridge_faults(ours),
        *loop_faults(ours),
        *hidden_faults(modules),
    ]


def table_faults(rooms: dict[str, Room], modules: dict[str, Path]) -> Iterator[str]:
    standing = {room_of(module) for module in modules}
    for room in sorted(standing - set(rooms)):
        yield f"room {room} is missing in the floors table"
    for name, room in sorted(rooms.items()):
        if room.to_come and name in standing:
            yield f"room {name} stands, but the floors table says it is to come"
        if not room.to_come and name not in standing:
            yield f"room {name} is in the floors table, but does not stand"
        for allowed in sorted(room.allowed):
            other = rooms.get(allowed.split(".")[0])
            if other is None:
                yield f"the floors table lets {name} import {allowed}, which it does not list"
            elif other.floor >= room.floor:
                yield f"the floors table lets {name} import {allowed}, which is not on a lower floor"


def floor_faults(
    rooms: dict[str, Room], ours: dict[str, list[Import]], modules: dict[str, Path]
) -> Iterator[str]:
    for module, found in ours.items():
        room = room_of(module)
        for one in found:
            other = room_of(one.target)
            allowed = rooms[room].allowed if room in rooms else frozenset()
            if one.target not in modules:
                yield f"{one.place} imports {one.target}, which does not exist"
            elif (
                other != room
                and other not in allowed
                and one.target.removeprefix("appliance.") not in allowed
            ):
                yield f"{one.place} ({room}) may not import {one.target}"


def pure_faults(pure: dict[str, set[str]], walked: dict[str, list[Import]]) -> Iterator[str]:
    for module, found in walked.items():
        never = pure.get(room_of(module), set())
        for one in found:
            if one.target.split(".")[0] in never:
                yield f"{one.place} imports {one.target}, but {room_of(module)} does no I/O, knows no clock"


def bridge_faults(ours: dict[str, list[Import]]) -> Iterator[str]:
    speakers = set()
    for module, found in ours.items():
        west = [one for one in found if room_of(one.target) == "lwm2m"]
        east = [
            one for one in found if room_of(one.target) == "broker" and f"{one.target}.{one.name}" != COUNTER
        ]
        if west and east and room_of(module) != "composition":
            speakers.add(module)
            if module != BRIDGE:
                yield f"{east[0].place} speaks both LwM2M and NGSI; only {BRIDGE} does"
    if BRIDGE in ours and BRIDGE not in speakers:
        yield f"{BRIDGE} no longer speaks both LwM2M and NGSI"


def loop_faults(ours: dict[str, list[Import]]) -> Iterator[str]:
    """Import loops, each once; found by walking depth first with the path walked so far."""
    graph = {module: sorted({one.target for one in found}) for module, found in ours.items()}
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> Iterator[str]:
        if module in path:
            loop = path[path.index(module) :]
            first = loop.index(min(loop))
            yield "import loop: " + " -> ".join([*loop[first:], *loop[: first + 1]])
        elif module not in done:
            for target in graph.get(module, []):
                yield from walk(target, [*path, module])
            done.add(module)

    for module in graph:
        yield from walk(module, [])


def hidden_faults(modules: dict[str, Path]) -> Iterator[str]:
    """Imports that the walk could not follow, and relative ones, which read differently in each folder."""
    for module, file in modules.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{module}:{node.lineno} imports relatively"
            if isinstance(node, ast.Call):
                called = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                if called in {"import_module", "__import__"}:
                    yield f"{module}:{node.lineno} imports by a computed name"


def test_the_house_keeps_its_rules() -> None:
    assert house_faults(REPOSITORY) == []


def test_the_walk_sees_the_house() -> None:
    modules = modules_of(REPOSITORY)
    assert {"appliance", "appliance.config.sections", "appliance.coap.endpoint"} <= set(modules)
    targets = {
        one.target
        for one in imports_of("appliance.config.sections", modules["appliance.config.sections"], modules)
    }
    assert "appliance.southbound.settings" in targets


# A small house that keeps the rules, and each kind of violation planted in it

SOUND = {
    "__init__.py": "",
    "__main__.py": "from appliance import __version__, composition\nimport appliance.simulator\n",
    "commands.py": "from appliance.storage import database\n",
    "composition.py": "from appliance.lwm2m import path\nfrom appliance.broker import journal\n",
    "state.py": "from pathlib import Path\n",
    "config/__init__.py": "from appliance.southbound.settings import CoapSettings\n",
    "northbound/__init__.py": "from appliance.devices import console\n",
    "devices/__init__.py": "",
    "devices/console.py": "from appliance.lwm2m.path import Path\nfrom appliance.broker.broker import Broker",
    "devices/translation.py": "from appliance.lwm2m import path\nfrom appliance.broker import journal\n",
    "broker/__init__.py": "",
    "broker/broker.py": "from appliance.storage import database\n",
    "broker/journal.py": "",
    "identity/__init__.py": "import appliance.storage\n",
    "vault/__init__.py": "",
    "southbound/__init__.py": "import socket\n",
    "southbound/settings.py": "",
    "storage/__init__.py": "",
    "storage/database.py": "",
    "lwm2m/__init__.py": "",
    "lwm2m/path.py": "from appliance.coap import message\n",
    "coap/__init__.py": "",
    "coap/message.py": "import struct\n",
    "simulator/__init__.py": "import asyncio\n",
}


def build(root: Path, changed: dict[str, str]) -> Path:
    for name, text in {**SOUND, **changed}.items():
        file = root / "appliance" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    page = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    (root / "ARCHITECTURE.md").write_text(page, encoding="utf-8")
    return root


def test_a_sound_house_has_no_faults(tmp_path: Path) -> None:
    assert house_faults(build(tmp_path, {})) == []


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("coap/message.py", "import appliance.lwm2m.path", ":1 (coap) may not import appliance.lwm2m.path"),
        (
            "broker/journal.py",
            "from appliance.identity import x",
            ":1 (broker) may not import appliance.identity",
        ),
        (
            "storage/database.py",
            "def late():\n    from appliance.broker import journal",
            ":2 (storage) may not import appliance.broker.journal",
        ),
        (
            "southbound/settings.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import appliance.storage.database",
            ":3 (southbound) may not import appliance.storage.database",
        ),
        (
            "config/__init__.py",
            "import appliance.southbound",
            ":1 (config) may not import appliance.southbound",
        ),
        (
            "composition.py",
            "import appliance.simulator",
            ":1 (composition) may not import appliance.simulator",
        ),
        (
            "simulator/__init__.py",
            "import appliance.coap.message",
            ":1 (simulator) may not import appliance.coap.message",
        ),
        ("coap/message.py", "from appliance import __version__", ":1 (coap) may not import appliance"),
        ("coap/message.py", "from . import options\n", "appliance.coap.message:1 imports relatively"),
        ("lwm2m/path.py", "from ..storage import x", ":1 (lwm2m) may not import appliance.storage"),
        (
            "coap/message.py",
            "import importlib\nimportlib.import_module('appliance.broker')",
            "appliance.coap.message:2 imports by a computed name",
        ),
        (
            "coap/message.py",
            "__import__('appliance.broker')",
            "appliance.coap.message:1 imports by a computed name",
        ),
        (
            "coap/message.py",
            "def f():\n    import time",
            "appliance.coap.message:2 imports time, but coap does no I/O, knows no clock",
        ),
        (
            "lwm2m/path.py",
            "from asyncio.events import x",
            "appliance.lwm2m.path:1 imports asyncio.events, but lwm2m does no I/O, knows no clock",
        ),
        (
            "devices/console.py",
            "import appliance.lwm2m.path\nfrom appliance.broker.journal import Row",
            "appliance.devices.console:2 speaks both LwM2M and NGSI",
        ),
        (
            "devices/console.py",
            "import appliance.lwm2m.path\nimport appliance.broker.broker",
            "appliance.devices.console:2 speaks both LwM2M and NGSI",
        ),
        (
            "devices/translation.py",
            "import appliance.lwm2m.path",
            f"{BRIDGE} no longer speaks both LwM2M and NGSI",
        ),
        (
            "coap/message.py",
            "from appliance.coap import message",
            "import loop: appliance.coap.message -> appliance.coap.message",
        ),
        (
            "storage/__init__.py",
            "from appliance.storage import database",
            "appliance.storage -> appliance.storage.database -> appliance.storage",
        ),
        ("cellar/__init__.py", "", "room cellar is missing in the floors table"),
        ("rules/__init__.py", "", "room rules stands, but the floors table says it is to come"),
        (
            "northbound/__init__.py",
            "import appliance.devices.nothing",
            "appliance.northbound:1 imports appliance.devices.nothing, which does not exist",
        ),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, text: str, fault: str) -> None:
    loop = {"storage/database.py": "import appliance.storage"} if "storage ->" in fault else {}
    changed = {file: text, **loop}
    assert any(fault in found for found in house_faults(build(tmp_path, changed)))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "| 2 | `storage` | |",
            "| 2 | `storage` | `cellar` |",
            "lets storage import cellar, which it does not list",
        ),
        (
            "| 2 | `storage` | |",
            "| 2 | `storage` | `broker` |",
            "lets storage import broker, which is not on a lower floor",
        ),
        (
            "| 2 | `storage` | |",
            "| 2 | `storage` | `southbound` |",
            "lets storage import southbound, which is not on a lower floor",
        ),
        (
            "| 0 | `clock` *to come* |",
            "| 0 | `clock` |",
            "room clock is in the floors table, but does not stand",
        ),
    ],
)
def test_a_page_that_is_wrong_is_found(tmp_path: Path, old: str, new: str, fault: str) -> None:
    page = build(tmp_path, {}) / "ARCHITECTURE.md"
    text = page.read_text(encoding="utf-8")
    assert old in text
    page.write_text(text.replace(old, new), encoding="utf-8")
    assert any(fault in found for found in house_faults(tmp_path))
