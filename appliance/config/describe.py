"""The settings for people: the commented default file, and the values in force with secrets masked."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from appliance.config.fields import MASK, TEXTS, Setting, bounds, settings_of, toml_text

_WIDTH = 100
_PREAMBLE = """\
Configuration of Homard Edge. Every setting stands here with its default, commented out: take away the
"#" in front of a setting to change it. What stays commented out follows the defaults of the installed
version. Check the file with:  homard check --config FILE"""


def describe_sections(sections: Mapping[str, type[Any]]) -> str:
    """A TOML document with every section, and every setting commented out at its default.

    Read as it is, or with every ``#key = value`` line uncommented, it gives the defaults.
    """
    lines = [_comment(line) for line in _PREAMBLE.splitlines()]
    for name, settings_class in sections.items():
        lines += ["", f"[{name}]", *_sentences(inspect.getdoc(settings_class) or "")]
        for setting in settings_of(name, settings_class).values():
            lines += ["", *_sentences(f"{setting.doc}{_facts(setting)}")]
            lines.append(f"#{setting.name} = {_shown(setting, setting.default)}")
    return "\n".join(lines) + "\n"


def show_sections(sections: Mapping[str, type[Any]], values: Mapping[str, Any]) -> str:
    """The values in force as TOML; what differs from the default says so, secrets are masked."""
    lines: list[str] = []
    for name, settings_class in sections.items():
        lines += ([""] if lines else []) + [f"[{name}]"]
        for setting in settings_of(name, settings_class).values():
            value = getattr(values[name], setting.name)
            line = f"{setting.name} = {_shown(setting, value)}"
            if value != setting.default:
                line += f"  # default: {_shown(setting, setting.default)}"
            lines.append(line)
    return "\n".join(lines) + "\n"


def _shown(setting: Setting, value: object) -> str:
    return toml_text(MASK if setting.secret and value else value)


def _facts(setting: Setting) -> str:
    """What follows the sentence: `` Takes a number from 0.1 to 120 s.`` and the like, or nothing."""
    if setting.choices:
        return " Possible: " + ", ".join(toml_text(choice) for choice in setting.choices) + "."
    if setting.kind in (int, float) and (limits := bounds(setting)):
        return f" Takes {'a whole number' if setting.kind is int else 'a number'}{limits}."
    return " A list of texts." if setting.kind == TEXTS else ""


def _sentences(text: str) -> list[str]:
    return [_comment(line) for line in textwrap.wrap(" ".join(text.split()), _WIDTH - 2)]


def _comment(line: str) -> str:
    return f"# {line}".rstrip()
