"""CoAP options: numbers, value formats, and what may be wrong with them (RFC 7252 §3.1, §5.4, §5.10).

An option is a pair ``(number, value)``; the options of a message are a list of such pairs in ascending order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Option = tuple[int, bytes]

IF_MATCH = 1  # RFC 7252 §5.10, as all below unless said otherwise
URI_HOST = 3
ETAG = 4
IF_NONE_MATCH = 5
OBSERVE = 6  # RFC 7641 §2
URI_PORT = 7
LOCATION_PATH = 8
OSCORE = 9  # RFC 8613 §2
URI_PATH = 11
CONTENT_FORMAT = 12
MAX_AGE = 14
URI_QUERY = 15
ACCEPT = 17
LOCATION_QUERY = 20
BLOCK2 = 23  # RFC 7959 §2.1
BLOCK1 = 27  # RFC 7959 §2.1
SIZE2 = 28  # RFC 7959 §4
PROXY_URI = 35
PROXY_SCHEME = 39
SIZE1 = 60
NO_RESPONSE = 258  # RFC 7967 §2

MAX_OPTION_NUMBER = 65535


class OptionRule(NamedTuple):
    """What a value of one option number may look like: length in bytes, how often, whether it is UTF-8."""

    shortest: int
    longest: int
    repeatable: bool
    text: bool


# RFC 7252 §5.10 table 4, RFC 7641 §2, RFC 7959 §2.1. OSCORE is absent on purpose: a message that still has
# the option when it gets here could not be unprotected, and "unknown critical option" is the right answer.
RULES: dict[int, OptionRule] = {
    IF_MATCH: OptionRule(0, 8, True, False),
    URI_HOST: OptionRule(1, 255, False, True),
    ETAG: OptionRule(1, 8, True, False),
    IF_NONE_MATCH: OptionRule(0, 0, False, False),
    OBSERVE: OptionRule(0, 3, False, False),
    URI_PORT: OptionRule(0, 2, False, False),
    LOCATION_PATH: OptionRule(0, 255, True, True),
    URI_PATH: OptionRule(0, 255, True, True),
    CONTENT_FORMAT: OptionRule(0, 2, False, False),
    MAX_AGE: OptionRule(0, 4, False, False),
    URI_QUERY: OptionRule(0, 255, True, True),
    ACCEPT: OptionRule(0, 2, False, False),
    LOCATION_QUERY: OptionRule(0, 255, True, True),
    BLOCK2: OptionRule(0, 3, False, False),
    BLOCK1: OptionRule(0, 3, False, False),
    SIZE2: OptionRule(0, 4, False, False),
    PROXY_URI: OptionRule(1, 1034, False, True),
    PROXY_SCHEME: OptionRule(1, 255, False, True),
    SIZE1: OptionRule(0, 4, False, False),
}


def is_critical(number: int) -> bool:
    """Odd option numbers must be understood or the message is refused (RFC 7252 §5.4.1)."""
    return number & 1 == 1


def is_repeatable(number: int) -> bool:
    """Whether the option may occur more than once (RFC 7252 §5.4.5); False for options that are not known."""
    rule = RULES.get(number)
    return rule is not None and rule.repeatable


def is_cache_key(number: int) -> bool:
    """Whether the option tells one resource representation from another (RFC 7252 §5.4.2, §5.4.6)."""
    return number & 0x1E != 0x1C


def is_text(value: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def screen(options: Sequence[Option]) -> tuple[list[Option], int | None]:
    """The options that can be relied on, and the number of the first critical one that cannot.

    An option is unreliable when its number is not known, its length is out of range (RFC 7252 §5.4.3), it
    occurs more often than it may (§5.4.5) or it is text that is not UTF-8. Unreliable elective options are
    left out, as if they had not been sent (§5.4.1).
    """
    kept: list[Option] = []
    refused: int | None = None
    previous = -1
    for option in options:
        number, value = option
        rule = RULES.get(number)
        if (
            rule is not None
            and rule.shortest <= len(value) <= rule.longest
            and (number != previous or rule.repeatable)
            and (not rule.text or is_text(value))
        ):
            kept.append(option)
        elif number & 1 and refused is None:
            refused = number
        previous = number
    return kept, refused


def encode_uint(value: int) -> bytes:
    """The shortest big-endian form; 0 is the empty string (RFC 7252 §3.2). OverflowError when negative."""
    return value.to_bytes((value.bit_length() + 7) >> 3, "big")


def decode_uint(value: bytes) -> int:
    """The number in the bytes; leading zeros are fine (RFC 7252 §3.2)."""
    return int.from_bytes(value, "big")


def find(options: Iterable[Option], number: int) -> bytes | None:
    """The value of the first option with this number, or None."""
    for candidate, value in options:
        if candidate == number:
            return value
    return None


def find_uint(options: Iterable[Option], number: int) -> int | None:
    """The first option with this number read as an unsigned integer, or None when it is absent."""
    for candidate, value in options:
        if candidate == number:
            return int.from_bytes(value, "big")
    return None


def _texts(options: Iterable[Option], number: int) -> list[str]:
    return [value.decode(errors="replace") for candidate, value in options if candidate == number]


def uri_path(options: Iterable[Option]) -> list[str]:
    """The segments of the Uri-Path (RFC 7252 §5.10.1); empty for the root."""
    return _texts(options, URI_PATH)


def uri_query(options: Iterable[Option]) -> list[str]:
    """The Uri-Query arguments in their order (RFC 7252 §5.10.1)."""
    return _texts(options, URI_QUERY)


def location_path(options: Iterable[Option]) -> list[str]:
    """The segments of the Location-Path of an answer (RFC 7252 §5.10.7)."""
    return _texts(options, LOCATION_PATH)


def content_format(options: Iterable[Option]) -> int | None:
    """The Content-Format number, None when the option is absent (RFC 7252 §5.10.3)."""
    return find_uint(options, CONTENT_FORMAT)


def accept(options: Iterable[Option]) -> int | None:
    """The Accept number, None when the option is absent (RFC 7252 §5.10.4)."""
    return find_uint(options, ACCEPT)


def observe(options: Iterable[Option]) -> int | None:
    """The Observe value, None when the option is absent (RFC 7641 §2)."""
    return find_uint(options, OBSERVE)


def uint_option(number: int, value: int) -> Option:
    """An option whose value is an unsigned integer."""
    return number, encode_uint(value)


def path_options(path: str | Iterable[str], number: int = URI_PATH) -> list[Option]:
    """Uri-Path options (or Location-Path with ``number``) of ``"/3/0/1"`` or of segments."""
    segments = path.strip("/").split("/") if isinstance(path, str) else path
    return [(number, segment.encode()) for segment in segments if segment or not isinstance(path, str)]


def query_options(arguments: Iterable[str]) -> list[Option]:
    """Uri-Query options, one for each argument such as ``"pmin=10"``."""
    return [(URI_QUERY, argument.encode()) for argument in arguments]
