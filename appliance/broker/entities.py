"""Entities and their updates, and their compact JSON on disk.

On disk the attributes of an entity or of a journal row are one object: a bare value when its time
is the time of the row and it has no metadata, else ``[value, at_ms]`` or ``[value, at_ms, metadata]``.
A value that is itself a list is always written in the long form.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

from appliance.storage.json_text import decode_json, encode_json, encode_name

# (value, at_ms, metadata): the value is anything JSON has, at_ms is epoch milliseconds. A plain
# tuple, because a fleet of thousands keeps dozens of them per device.
Attribute = tuple[Any, int, Mapping[str, Any] | None]

# Between the time a value is stamped with and that of its row lies some of our own work.
CLOCK_SLACK_MS = 1000


class EntityUpdate(NamedTuple):
    """A change to accept.

    ``attributes`` are merged into the entity, ``removed`` attributes leave it; ``body`` are further
    JSON facts for the journal row (its keys "attributes", "removed" and "type" are the broker's own).
    With neither attributes nor removed, the entity is not touched, only the row is written.
    ``receipt`` is kept with the row for the one who must recognise a repetition after a restart.
    The broker keeps the mappings it is given: they must not be changed afterwards.
    """

    entity: str
    type: str
    kind: str
    attributes: Mapping[str, Attribute] | None = None
    body: Mapping[str, Any] | None = None
    receipt: bytes | None = None
    removed: tuple[str, ...] = ()


class Entity:
    """What is known of one thing. Read it; only the broker changes it."""

    __slots__ = ("attributes", "created_ms", "id", "modified_ms", "seq", "type")

    def __init__(self, id: str, type: str, created_ms: int) -> None:
        self.id = id
        self.type = type
        self.created_ms = created_ms
        self.modified_ms = created_ms
        self.seq = 0  # of the last journal row merged into it
        self.attributes: dict[str, Attribute] = {}


class JournalRow(NamedTuple):
    """An accepted change. ``seq`` ascends, now and then with a gap; ``body`` is JSON-able.

    ``body["attributes"]`` maps names to :data:`Attribute` tuples, ``body["removed"]`` lists names,
    ``body["type"]`` is there in the row that created the entity, ``body["deleted"]`` is true in the
    row that deleted it; other keys came with the update.
    """

    seq: int
    at_ms: int
    kind: str
    entity: str
    body: dict[str, Any]
    receipt: bytes | None


def encode_attributes(attributes: Mapping[str, Attribute], base_ms: int) -> dict[str, Any]:
    """The compact form, relative to the time of the row or entity."""
    compact: dict[str, Any] = {}
    for name, (value, at_ms, metadata) in attributes.items():
        if metadata:
            compact[name] = [value, at_ms, metadata]
        elif at_ms != base_ms or type(value) in (list, tuple):
            compact[name] = [value, at_ms]
        else:
            compact[name] = value
    return compact


def decode_attributes(compact: Mapping[str, Any], base_ms: int) -> dict[str, Attribute]:
    """The inverse of :func:`encode_attributes`. Names are interned: a fleet shares a few of them."""
    attributes: dict[str, Attribute] = {}
    for name, value in compact.items():
        metadata = None
        at_ms = base_ms
        if type(value) is list:
            if len(value) > 2:
                metadata = value[2]
            value, at_ms = value[0], value[1]
        attributes[sys.intern(name)] = (value, at_ms, metadata)
    return attributes


def encode_body(
    attributes: Mapping[str, Attribute] | None,
    body: Mapping[str, Any] | None,
    removed: tuple[str, ...],
    created_type: str | None,
    at_ms: int,
) -> str:
    """The text of a journal row's body."""
    if attributes and len(attributes) == 1 and not body and not removed:
        # Most reports are one number: written by hand it costs a quarter of the encoder's time.
        ((name, (value, value_ms, metadata)),) = attributes.items()
        if type(value) is float and value_ms == at_ms and not metadata and isfinite(value):
            created = "" if created_type is None else f',"t":{encode_name(created_type)}'
            return f'{{"a":{{{encode_name(name)}:{value!r}}}{created}}}'
    compact: dict[str, Any] = {}
    if attributes:
        compact["a"] = encode_attributes(attributes, at_ms)
    if body:
        compact["b"] = body
    if removed:
        compact["r"] = removed
    if created_type is not None:
        compact["t"] = created_type
    return encode_json(compact)


def row_body(
    attributes: Mapping[str, Attribute] | None,
    body: Mapping[str, Any] | None,
    removed: tuple[str, ...],
    created_type: str | None,
) -> dict[str, Any]:
    """The body of a :class:`JournalRow`, the same whether it comes from memory or from disk."""
    full: dict[str, Any] = dict(body) if body else {}
    if attributes:
        full["attributes"] = attributes
    if removed:
        full["removed"] = list(removed)
    if created_type is not None:
        full["type"] = created_type
    return full


def decode_row(seq: int, at_ms: int, kind: str, entity: str, text: str, receipt: bytes | None) -> JournalRow:
    """A journal row from disk. A body that is not ours (a damaged file) reads as ``{"unreadable": True}``."""
    try:
        compact = decode_json(text)
        body = row_body(
            decode_attributes(compact["a"], at_ms) if "a" in compact else None,
            compact.get("b"),
            tuple(compact.get("r", ())),
            compact.get("t"),
        )
    except (ValueError, TypeError, LookupError, AttributeError):
        body = {"unreadable": True}
    return JournalRow(seq, at_ms, kind, entity, body, receipt)


def encode_entity(entity: Entity) -> str:
    """The document of an entity."""
    return encode_json(
        {
            "t": entity.type,
            "c": entity.created_ms,
            "m": entity.modified_ms,
            "a": encode_attributes(entity.attributes, entity.modified_ms),
        }
    )


def decode_entity(id: str, text: str, seq: int) -> Entity | None:
    """An entity from disk, or None when the document is not ours."""
    try:
        document = decode_json(text)
        entity = Entity(id, sys.intern(document["t"]), document["c"])
        entity.modified_ms = document["m"]
        entity.seq = seq
        entity.attributes = decode_attributes(document["a"], entity.modified_ms)
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    return entity


def merge(
    entity: Entity, attributes: Mapping[str, Attribute] | None, removed: tuple[str, ...], at_ms: int
) -> None:
    """Apply a change of that time to an entity.

    An attribute with an older time than the one known is history and does not replace it, unless the known
    one lies in the future: that was a clock gone wrong, and must not last.
    """
    if attributes:
        known = entity.attributes
        for name, attribute in attributes.items():
            before = known.get(name)
            if before is None or attribute[1] >= before[1] or before[1] > at_ms + CLOCK_SLACK_MS:
                known[name] = attribute
    for name in removed:
        entity.attributes.pop(name, None)
