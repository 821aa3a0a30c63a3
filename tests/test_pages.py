"""The pages for people name only what is there: files, settings, dependencies."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from appliance.config.sections import SECTIONS

REPOSITORY = Path(__file__).parent.parent
PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "image/README.md", "CONTRIBUTING.md", "SECURITY.md")
TICKED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def read(page: str) -> str:
    file = REPOSITORY / page
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def paths_in(text: str) -> set[str]:
    """What a page names in backticks that looks like a path of this repository."""
    rooms = "|".join(folder.name for folder in (REPOSITORY / "appliance").iterdir() if folder.is_dir())
    shape = re.compile(rf"(?:(?:appliance|tests|scripts|systemd|web|docs|image|{rooms})/[\w./-]*|\w+\.md)")
    return {word for words in TICKED.findall(text) for word in words.split()[:1] if shape.fullmatch(word)}


def without_floors(text: str) -> str:
    """The floors table speaks of modules, which look like settings."""
    return re.sub(r"<!-- floors:.*<!-- end of floors -->", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_a_page_names_is_there(page: str) -> None:
    text = read(page)
    missing = {
        path
        for path in paths_in(text)
        if not (REPOSITORY / path).exists() and not (REPOSITORY / "appliance" / path).exists()
    }
    missing |= {link for link in LINK.findall(text) if not (REPOSITORY / page).parent.joinpath(link).exists()}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_a_page_names_is_one(page: str) -> None:
    named = re.findall(
        rf"(?<![\w/.])({'|'.join(SECTIONS)})\.([a-z][a-z_]+)(?=[`=])", without_floors(read(page))
    )
    assert [
        f"{section}.{key}" for section, key in named if key not in SECTIONS[section].__dataclass_fields__
    ] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    pinned = {pin.partition("==")[0] for pin in project["dependencies"]}
    table = read("ARCHITECTURE.md").partition("## Dependencies")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| ([\w-]+) \|", table, re.MULTILINE)) - {"package"} == pinned
    for pin in project["optional-dependencies"]["test"]:
        assert pin.partition("==")[0] in table


def test_the_versions_of_python_are_told_alike() -> None:
    assert tomllib.loads(read("pyproject.toml"))["project"]["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info < (3, 14)" in read("scripts/setup.sh")


def test_the_reading_finds_what_it_should() -> None:
    assert paths_in(
        "see `tests/coap` and `scripts/run --demo`, `config/loader.py`, `README.md`, `GET /events`"
    ) == {
        "tests/coap",
        "scripts/run",
        "config/loader.py",
        "README.md",
    }
