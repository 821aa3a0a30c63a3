"""What one setting is: its type, bounds, unit and sentence, read from a room's settings class.

A settings class is a frozen dataclass whose every field has a default and the metadata ``unit`` and
``doc`` (a sentence), and may have ``min``, ``max``, ``choices`` and ``secret``. Only these types occur:
int, float, bool, str and tuple[str, ...].
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_type_hints

MASK = "********"
TEXTS = tuple[str, ...]
Value = int | float | bool | str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the configuration file."""

    section: str
    name: str
    kind: Any
    default: Value
    unit: str
    doc: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    secret: bool

    @property
    def key(self) -> str:
        """The name people use: ``section.name``."""
        return f"{self.section}.{self.name}"


class ValueProblem(Exception):
    """A value that a setting cannot take; the text is a sentence for the person who wrote it."""


def settings_of(section: str, settings_class: type[Any]) -> dict[str, Setting]:
    """The settings of one class by name; raises TypeError when the class breaks the rule above."""
    hints = get_type_hints(settings_class)
    found = {}
    for entry in dataclasses.fields(settings_class):
        kind = hints[entry.name]
        where = f"{settings_class.__name__}.{entry.name}"
        if kind not in (int, float, bool, str, TEXTS):
            raise TypeError(f"{where}: a setting cannot be of type {kind}")
        if (
            entry.default is dataclasses.MISSING
            or "unit" not in entry.metadata
            or not entry.metadata.get("doc")
        ):
            raise TypeError(f"{where}: a setting needs a default, a unit and a sentence")
        if entry.metadata.get("secret") and entry.default:
            raise TypeError(f"{where}: a secret has no default; every appliance would share it")
        found[entry.name] = Setting(
            section=section,
            name=entry.name,
            kind=kind,
            default=entry.default,
            unit=entry.metadata["unit"],
            doc=entry.metadata["doc"],
            minimum=entry.metadata.get("min"),
            maximum=entry.metadata.get("max"),
            choices=tuple(entry.metadata.get("choices", ())),
            secret=bool(entry.metadata.get("secret", False)),
        )
    return found


def checked(setting: Setting, value: object) -> Value:
    """The value as the setting's own type; raises ValueProblem. Whole numbers are taken for float."""
    if setting.kind == TEXTS:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ValueProblem(_refusal(setting, value))
        texts = tuple(str(item) for item in value)
        for item in texts:
            _check_choice(setting, item)
        return texts
    if setting.kind is str and isinstance(value, str):
        _check_choice(setting, value)
        return value
    if setting.kind is bool and isinstance(value, bool):
        return value
    if setting.kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number: float = float(value)
        except OverflowError:
            raise ValueProblem(_refusal(setting, value)) from None
    elif setting.kind is int and isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        raise ValueProblem(_refusal(setting, value))
    if not math.isfinite(number):
        raise ValueProblem(_refusal(setting, value))
    if setting.minimum is not None and number < setting.minimum:
        raise ValueProblem(_refusal(setting, value))
    if setting.maximum is not None and number > setting.maximum:
        raise ValueProblem(_refusal(setting, value))
    return number


def expected(setting: Setting) -> str:
    """What the setting takes, in words: ``a whole number from 0 to 65535``."""
    if setting.choices:
        words = "one of " + ", ".join(toml_text(choice) for choice in setting.choices)
        return f"a list of {words[7:]}" if setting.kind == TEXTS else words
    if setting.kind == TEXTS:
        return 'a list of texts such as ["a", "b"]'
    if setting.kind is bool:
        return "true or false"
    if setting.kind is str:
        return "a text in quotes"
    return ("a whole number" if setting.kind is int else "a number") + bounds(setting)


def bounds(setting: Setting) -> str:
    """`` from 1 to 60 s``, `` of at least 1 s``, or only the unit; empty when there is none."""
    unit = f" {setting.unit}" if setting.unit else ""
    low, high = _number(setting.minimum), _number(setting.maximum)
    if low and high:
        return f" from {low} to {high}{unit}"
    if low:
        return f" of at least {low}{unit}"
    if high:
        return f" of at most {high}{unit}"
    return f" of{unit}" if unit else ""


def toml_text(value: object) -> str:
    """A value as TOML writes it; what TOML has no word for is shown as Python does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_ESCAPES.get(letter, letter) for letter in value) + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_text(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return str(value)


def nearest(name: str, known: Mapping[str, object]) -> str | None:
    """The known name that was probably meant, or None."""
    tried = name.strip().lower().replace("-", "_")
    return next(iter(get_close_matches(tried, list(known), n=1, cutoff=0.6)), None)


# TOML 1.0, basic strings: the quote, the backslash and every control character but tab are escaped.
_ESCAPES = {chr(code): f"\\u{code:04x}" for code in (*range(0x20), 0x7F)} | {'"': '\\"', "\\": "\\\\"}


def _number(bound: float | None) -> str:
    return "" if bound is None else f"{bound:.12g}"


def _check_choice(setting: Setting, value: str) -> None:
    if setting.choices and value not in setting.choices:
        meant = nearest(value, dict.fromkeys(setting.choices))
        raise ValueProblem(
            _refusal(setting, value) + (f"; did you mean {toml_text(meant)}?" if meant else "")
        )


def _refusal(setting: Setting, value: object) -> str:
    shown = MASK if setting.secret else _shortened(value)
    return f"{setting.key} is {shown} but must be {expected(setting)}"


def _shortened(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    try:
        text = toml_text(value)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        return "a very long number"
    return text if len(text) <= 80 else text[:77] + "..."
