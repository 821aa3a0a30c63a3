"""What may be said of a device: names, labels, groups and tags, each with a sentence when it is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from appliance.vault.model import Device

MAX_NAME_BYTES: Final = 255  # an endpoint name is one Uri-Query option
MAX_LABEL: Final = 200
MAX_WORD: Final = 64
MAX_WORDS: Final = 32


def unique(words: Iterable[str]) -> tuple[str, ...]:
    """Groups or tags without the space around them, each once."""
    return tuple(dict.fromkeys(word.strip() for word in words))


def wrong_fields(device: Device) -> Iterator[str]:
    """What is wrong with what is said of a device, a sentence each."""
    name = device.endpoint_name
    if not name:
        yield "the endpoint name is missing"
    elif not name.isprintable() or name != name.strip():
        yield f"the endpoint name {name!r} has characters that cannot be printed, or spaces around it"
    elif len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        yield f"the endpoint name {name[:20]}… has more than {MAX_NAME_BYTES} bytes"
    if not device.label.isprintable() or len(device.label) > MAX_LABEL:
        yield f"the label must be printable and have at most {MAX_LABEL} characters"
    for kind, words in (("group", device.groups), ("tag", device.tags)):
        if len(words) > MAX_WORDS:
            yield f"a device has at most {MAX_WORDS} {kind}s, not {len(words)}"
        yield from (problem for problem in (wrong_word(kind, word) for word in words[:MAX_WORDS]) if problem)
    if device.plan is not None and (not device.plan.isprintable() or len(device.plan) > MAX_WORD):
        yield f"a bootstrap plan has an id of 1 to {MAX_WORD} printable characters"


def wrong_word(kind: str, word: str) -> str:
    """What is wrong with the name of a group or a tag (``kind``), "" when nothing is."""
    if not 1 <= len(word) <= MAX_WORD or not word.isprintable() or "," in word or ";" in word or word == "*":
        said = f"the {kind} {word[:20]!r} is no name: 1 to {MAX_WORD} printable characters"
        return f"{said} without comma, semicolon or *"
    return ""
