"""scripts/make-definitions: a folder of definitions becomes the table, always the same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from appliance.lwm2m.definitions import decode_object

SCRIPT = Path(__file__).parents[2] / "scripts" / "make-definitions"


def xml(object_id: int, version: str, *names: str) -> str:
    items = "".join(
        f'<Item ID="{number}"><Name>{name}</Name><Operations>R</Operations><Type>Float</Type>'
        "<Description>words</Description></Item>"
        for number, name in enumerate(names)
    )
    return (
        f"<LWM2M><Object><Name>Object</Name><ObjectID>{object_id}</ObjectID>"
        f"<ObjectVersion>{version}</ObjectVersion><Description1>words</Description1>"
        f"<Resources>{items}</Resources></Object></LWM2M>"
    )


def make(folder: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder), str(output)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_version_once_and_the_one_that_says_more(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    (registry / "version_history").mkdir(parents=True)
    (registry / "10.xml").write_text(xml(10, "1.10", "A"))
    (registry / "9.xml").write_text(xml(9, "1.0", "A"))
    (registry / "version_history" / "10-1_9.xml").write_text(xml(10, "1.9", "A"))
    (registry / "version_history" / "9-1_0.xml").write_text(xml(9, "1.0", "A", "B"))
    (registry / "11.xml").write_text("<LWM2M>")
    (registry / "Common.xml").write_text("not read")
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    done = make(registry, first)
    assert done.returncode == 0, done.stderr
    assert "11.xml: The XML is broken" in done.stderr
    assert make(registry, second).returncode == 0
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text()
    assert "words" not in text
    found = [decode_object("/" + block) for block in text.removeprefix("/").split("\n/")]
    said = [(one.id, one.version, len(one.resources)) for one in found]
    assert said == [(9, "1.0", 2), (10, "1.9", 1), (10, "1.10", 1)]


def test_a_folder_without_definitions_is_told(tmp_path: Path) -> None:
    done = make(tmp_path, tmp_path / "out.txt")
    assert done.returncode == 1
    assert "no object definitions" in done.stderr
    assert not (tmp_path / "out.txt").exists()
