"""The configuration file and the overrides, read and checked; every fault is told at once.

Order of precedence: the default beside the code, the file, the overrides from left to right. A wrong
value in the file is a fault even where an override covers it: it would bite at the next start.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.config.fields import TEXTS, Setting, Value, ValueProblem, checked, nearest, settings_of

# A section header and a key as they stand on a line of their own; good enough to name a line number.
_HEADER = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` holds one sentence for every fault found."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def load_sections(
    sections: Mapping[str, type[Any]], path: Path | None, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """One instance of each section's class, by section name.

    ``path`` None means no file, ``overrides`` are texts ``section.key=value``. Raises ConfigError.
    """
    known = {name: settings_of(name, settings_class) for name, settings_class in sections.items()}
    values: dict[str, dict[str, Value]] = {name: {} for name in sections}
    problems: list[str] = []
    if path is not None:
        _take_file(path, known, values, problems)
    for override in overrides:
        _take_override(override, known, values, problems)
    loaded = {}
    for name, settings_class in sections.items():
        try:
            loaded[name] = settings_class(**values[name])
        except ValueError as error:  # a settings class may check its fields against each other
            problems.append(f"[{name}]: {error}")
    if problems:
        raise ConfigError(problems)
    return loaded


def _take_file(
    path: Path,
    known: Mapping[str, Mapping[str, Setting]],
    values: dict[str, dict[str, Value]],
    problems: list[str],
) -> None:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        document = tomllib.loads(text.replace("\r\n", "\n"))
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror or error}")
        return
    except UnicodeDecodeError as error:
        problems.append(f"{path} is not UTF-8 text (byte {error.start})")
        return
    except (ValueError, RecursionError) as error:  # tomllib lets both through besides its own error
        problems.append(f"{path} is not valid TOML: {error}")
        return
    lines = _line_numbers(text)
    for section, table in document.items():
        where = _where(path, lines.get((section, "")))
        if section not in known:
            problems.append(where + _unknown_section(section, table, known))
        elif not isinstance(table, dict):
            problems.append(
                f"{where}{section} is a section: write [{section}] on a line and its settings below"
            )
        else:
            for name, value in table.items():
                where = _where(path, lines.get((section, name)))
                _take_value(where, section, name, value, known, values, problems)


def _take_override(
    override: str,
    known: Mapping[str, Mapping[str, Setting]],
    values: dict[str, dict[str, Value]],
    problems: list[str],
) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot or not section or not name:
        problems.append(f"--set {key}: write it as section.key=value, for example --set log.level=debug")
        return
    where = f"--set {key}: "
    if section not in known:
        problems.append(where + _unknown_section(section, None, known))
        return
    setting = known[section].get(name)
    value = text if setting is None else _override_value(setting, text.strip())
    _take_value(where, section, name, value, known, values, problems)


def _take_value(
    where: str,
    section: str,
    name: str,
    value: object,
    known: Mapping[str, Mapping[str, Setting]],
    values: dict[str, dict[str, Value]],
    problems: list[str],
) -> None:
    setting = known[section].get(name)
    if setting is None:
        problems.append(where + _unknown_setting(section, name, known))
        return
    try:
        values[section][name] = checked(setting, value)
    except ValueProblem as problem:
        problems.append(f"{where}{problem}")


def _override_value(setting: Setting, text: str) -> object:
    """What was typed on the command line, where a shell has eaten the quotes."""
    if setting.kind is str and text[:1] not in ('"', "'"):
        return text
    if setting.kind == TEXTS and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if list(document) == ["value"] else text


def _unknown_section(section: str, table: object, known: Mapping[str, Mapping[str, Setting]]) -> str:
    if not isinstance(table, dict | None):
        homes = [name for name, settings in known.items() if section in settings]
        if homes:
            return f"{section} stands outside every section; put it below [{homes[0]}]"
    return f"there is no section [{section}]; {_suggestion(section, known, 'sections')}"


def _unknown_setting(section: str, name: str, known: Mapping[str, Mapping[str, Setting]]) -> str:
    start = f"there is no setting {section}.{name}; "
    homes = [other for other, settings in known.items() if name in settings]
    if homes and nearest(name, known[section]) is None:
        return f"{start}{name} belongs to [{homes[0]}]"
    return start + _suggestion(name, known[section], f"settings of [{section}]", f"{section}.")


def _suggestion(name: str, known: Mapping[str, object], plural: str, prefix: str = "") -> str:
    meant = nearest(name, known)
    return f"did you mean {prefix}{meant}?" if meant else f"the {plural} are {', '.join(sorted(known))}"


def _where(path: Path, line: int | None) -> str:
    return f"{path}: " if line is None else f"{path}:{line}: "


def _line_numbers(text: str) -> dict[tuple[str, str], int]:
    """Line of each section header, as (section, ""), and of each key, as (section, key)."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = header.group(1)
            found.setdefault((section, ""), number)
        elif key := _KEY.match(line):
            found.setdefault((section, key.group(1)) if section else (key.group(1), ""), number)
    return found
