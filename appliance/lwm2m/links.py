"""Link format (RFC 6690 §2), as devices really write it.

Let pass: blanks around every separator, a comma too many or too few, values with or without quotes, a
value with blanks but no quotes (``ct=110 112``), a parameter without name, a NUL or line end at the end.
Refused: what is no link at all, a quotation mark that is never closed, bytes that are not UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

MAX_LINKS_BYTES = 65_536

# No two repetitions in a row can take the same character and then fail, so both patterns are linear.
_TARGET = re.compile(r"[\s,]*<([^<>]*)>")
_PARAMETER = re.compile(r'\s*;\s*([^\s=;,"<>]*)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^",;<>]*)))?', re.DOTALL)
_REST = re.compile(r"[\s,]*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_VALUE = re.compile(r"[!#-+\--:=?-~]+")  # RFC 6690 §2 ptoken, without , ; < and >


class LinkFormatError(ValueError):
    """Bytes that are no link format; the message is a sentence for people."""


class Link(NamedTuple):
    """One link: its target as written, its parameters in order, None for one without a value."""

    target: str
    attributes: tuple[tuple[str, str | None], ...] = ()

    def get(self, name: str) -> str | None:
        """The value of the first parameter of that name; None when there is none or it has no value."""
        for known, value in self.attributes:
            if known == name:
                return value
        return None


def parse_links(payload: bytes) -> tuple[Link, ...]:
    """The links of a payload of content format 40; raises ``LinkFormatError``. Linear in its length."""
    if len(payload) > MAX_LINKS_BYTES:
        raise LinkFormatError(f"the list has {len(payload)} bytes, and {MAX_LINKS_BYTES} are allowed")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise LinkFormatError("the list is not UTF-8") from None
    text = text.rstrip("\0\r\n\t ")
    links: list[Link] = []
    position, end = 0, len(text)
    match_target, match_parameter = _TARGET.match, _PARAMETER.match
    while position < end:
        target = match_target(text, position)
        if target is None:
            rest = _REST.match(text, position)
            if rest is not None and rest.end() == end:
                break
            found = text[position : position + 20]
            raise LinkFormatError(f"there is no link <…> at character {position}: {found!r}")
        position = target.end()
        parameters: list[tuple[str, str | None]] = []
        while (one := match_parameter(text, position)) is not None:
            position = one.end()
            name, quoted, plain = one.groups()
            value = plain.strip() if plain is not None else quoted
            if quoted is not None and "\\" in quoted:
                value = _ESCAPED.sub(r"\1", quoted)
            if name:
                parameters.append((name, value))
        links.append(Link(target[1], tuple(parameters)))
    return tuple(links)


def format_links(links: Iterable[Link]) -> bytes:
    """The payload of content format 40; values are quoted where the format asks for it."""
    return ",".join(map(_format, links)).encode()


def _format(link: Link) -> str:
    text = f"<{link.target}>"
    for name, value in link.attributes:
        text += f";{name}"
        if value is not None:
            text += f"={value}" if _PLAIN_VALUE.fullmatch(value) else f"={_quoted(value)}"
    return text


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
