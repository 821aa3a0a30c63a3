"""The text of a resource's range or enumeration (DDF ``RangeEnumeration``): tidied, and as a check.

The registry's texts are written by hand: ``0..100``, ``0-255``, ``1...15``, ``[1:4]``, ``0..64 Bytes``,
``10 or 26 Bytes``, ``0..247, 255``, ``0: off 1: on``. `tidy_range` brings them into one spelling,
`parse_range` makes a check of what can be checked and lets everything else pass: a range is a hint for
people first, and the device has the last word.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_SPACE = re.compile(r"\s+")
_PROSE = re.compile(r"(?i)\b(?:possible|listed|values|see|section|resource)\b")
_NUMBER = r"[+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?"
_PAIR = re.compile(rf"\[?({_NUMBER})\s?(?:\.{{2,3}}|…|:|–|-|to)\s?({_NUMBER})\]?")
_SINGLE = re.compile(_NUMBER)
_UNIT = re.compile(r"(?i)^(.*?)[\s-]?(bytes?|bits?|characters?|chars?|instances?)$")
_NAMED = re.compile(r"(?:^|[\s;,])\s*(-?[0-9]{1,10})\s?[:=]\s?")
_LONGEST = 500


class Range(NamedTuple):
    """What a range allows: ``spans`` of (lowest, highest), both included; none means everything.

    ``measure`` says of what: "value", "bytes" or "characters" (the length), "names" for a text enumeration.
    """

    measure: str
    spans: tuple[tuple[float, float], ...] = ()
    names: tuple[str, ...] = ()
    text: str = ""

    def complaint(self, value: object) -> str:
        """The rest of a sentence that begins with the resource's name; "" when the value is allowed."""
        if self.names:
            return "" if value in self.names else f"is one of {', '.join(self.names)}: choose one of these."
        if not self.spans:
            return ""
        if self.measure == "value":
            if isinstance(value, int | float) and not self._within(value):
                return f"must be in {self.text}: choose a value from that range."
            return ""
        length = 0
        if isinstance(value, str):
            length = len(value.encode()) if self.measure == "bytes" else len(value)
        elif isinstance(value, bytes):
            length = len(value)
        if self._within(length):
            return ""
        return f"has {length} {self.measure}, and {self.text} are allowed: change its length."

    def _within(self, number: float) -> bool:
        return any(low <= number <= high for low, high in self.spans)


def tidy_range(text: str) -> str:
    """One spelling for the registry's many: ``low..high``, ``a, b``, ``0: off; 1: on``, ``low..high bytes``.

    Sentences that only refer to another document become "".
    """
    text = _SPACE.sub(" ", text).strip()[:_LONGEST]
    if not text:
        return ""
    named = _split_named(text)
    if named:
        return "; ".join(f"{number}: {name}" for number, name in named)
    if _PROSE.search(text):
        return ""
    body, unit = _split_unit(text)
    parts = [part.strip() for part in re.split(r",|;| or ", body)]
    if unit == "bytes" and re.fullmatch(r"[0-9]+(?:-[0-9]+){2,}", body):
        parts = body.split("-")  # "16-32-48 bytes" is three lengths
    tidy = []
    for part in parts:
        pair = _PAIR.fullmatch(part)
        if pair is not None:
            tidy.append(f"{pair[1]}..{pair[2]}")
        elif part:
            tidy.append(part)
    return ", ".join(tidy) + (f" {unit}" if unit else "")


@lru_cache(maxsize=512)
def parse_range(text: str, kind: str) -> Range:
    """The check of a range text for a resource of ``kind`` "number", "text" or "bytes".

    For text and bytes a range is one of lengths. What cannot be understood allows everything.
    """
    text = tidy_range(text)
    if not text:
        return Range("value")
    named = _split_named(text)
    if named:
        if kind != "number":
            return Range("value")
        spans = tuple((float(number), float(number)) for number, _ in named)
        return Range("value", spans, (), text)
    body, unit = _split_unit(text)
    parts = body.split(", ")
    spans_found = [_span(part) for part in parts]
    spans = tuple(span for span in spans_found if span is not None)
    if kind == "number":
        # A bare number ("255") or a size ("8 bits") says nothing certain about a number's value.
        if unit or len(spans) != len(parts) or (len(spans) == 1 and spans[0][0] == spans[0][1]):
            return Range("value")
        return Range("value", spans, (), text)
    if len(spans) != len(parts):
        words = tuple(parts)
        if kind == "text" and not spans and len(words) > 1 and not unit:
            return Range("names", (), words, text)
        return Range("value")
    if unit not in ("", "bytes", "characters"):
        return Range("value")
    measure = "bytes" if kind == "bytes" or unit == "bytes" else "characters"
    if kind == "text" and len(spans) == 1 and spans[0][0] == spans[0][1]:
        # "64" on a text is the longest length as often as the only one: take it as the longest.
        return Range(measure, ((0.0, spans[0][1]),), (), f"at most {body}")
    return Range(measure, spans, (), body)


def _split_named(text: str) -> list[tuple[str, str]]:
    """``0: off; 1: on`` as pairs; [] when the text is no such enumeration."""
    marks = list(_NAMED.finditer(text))
    if not marks or marks[0].start() != 0:
        return []
    pairs = []
    for position, mark in enumerate(marks):
        end = marks[position + 1].start() if position + 1 < len(marks) else len(text)
        name = text[mark.end() : end].strip(" ;,")
        if not name:
            return []
        pairs.append((mark[1], name))
    return pairs


def _split_unit(text: str) -> tuple[str, str]:
    match = _UNIT.match(text)
    if match is None or not any(one.isdigit() for one in match[1]):
        return text, ""
    unit = match[2].lower().rstrip("s")
    return match[1].strip(), "characters" if unit.startswith("char") else f"{unit}s"


def _span(part: str) -> tuple[float, float] | None:
    pair = _PAIR.fullmatch(part)
    if pair is not None:
        ends = float(pair[1]), float(pair[2])
        return min(ends), max(ends)
    if _SINGLE.fullmatch(part):
        return float(part), float(part)
    return None
