"""The bridge: the one module that speaks both LwM2M and the language of the hall.

West of here nobody has heard of entities, east of here nobody has heard of objects and observations. A device
is the entity of its endpoint name, type "Device"; a resource is the attribute of its path with underscores
(/3303/0/5700 is ``3303_0_5700``), because NGSI allows no slash in a name. A time-stamped report keeps its
time; several times of one resource become several rows of the journal, oldest first.

A little longer than 400 lines, because no second module may speak both languages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite

from appliance.broker.broker import Broker
from appliance.broker.entities import Attribute, EntityUpdate, JournalRow
from appliance.devices.registry import Registration
from appliance.devices.wishes import paths_of
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report, ResourceType, ValueFormatError, to_json
from appliance.lwm2m.words import failure_words, outcome_words
from appliance.southbound.server import Response

DEVICE = "Device"

_FIRST_S = -62_135_596_800.0  # the calendar in epoch seconds, 0001-01-01 to 9999-12-31T23:59:59
_BEYOND_S = 253_402_300_799.0

# Shared, because most attributes carry one of these few.
_MODELLED: dict[str, Mapping[str, object] | None] = {
    "notify": None,
    "send": {"source": "send"},
    "read": {"source": "read"},
    "write": {"source": "write"},
}
_UNMODELLED: dict[str, Mapping[str, object]] = {
    "notify": {"source": "notify", "raw": True},
    "send": {"source": "send", "raw": True},
    "read": {"source": "read", "raw": True},
    "write": {"source": "read", "raw": True},
}

_CONTACT = frozenset(("registered", "updated", "value", "send"))
_ROWS_OF_CONTACT = 5000  # read once, at the start

Done = Callable[[], None] | None
Failed = Callable[[Exception], None] | None


@lru_cache(maxsize=8192)
def attribute_name(path: Path) -> str:
    """/3303/0/5700 -> 3303_0_5700."""
    return str(path)[1:].replace("/", "_")


@lru_cache(maxsize=8192)
def attribute_path(name: str) -> Path:
    """3303_0_5700 -> /3303/0/5700; raises PathError for an attribute that is no resource."""
    return Path.parse("/" + name.replace("_", "/"))


def iso(at_s: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC with milliseconds; None for a time outside the years 1 to 9999."""
    if at_s is None or not _FIRST_S <= at_s < _BEYOND_S:
        return None  # a device may register for a million years: no reason to hide it, or the others
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Translation:
    """Reports and registrations into the hall, and the hall's rows and entities back into LwM2M words.

    ``done`` runs after the commit, ``failed`` when it did not come; both in the loop. Every method that
    writes raises StorageFull when the queue to the disk is full.
    """

    def __init__(self, broker: Broker, wall: Callable[[], float]) -> None:
        self._broker = broker
        self._wall = self.wall = wall

    # Up

    def registered(self, registration: Registration, done: Done = None, failed: Failed = None) -> None:
        """A Register was taken."""
        body: dict[str, object] = {
            "version": registration.client.version,
            "lifetime_s": registration.lifetime_s,
            "binding": registration.binding,
            "address": str(registration.client.peer),
        }
        if registration.gateway is not None:
            body["gateway"] = registration.gateway.endpoint_name
        self._accept(registration, "registered", body, done, failed)

    def updated(self, registration: Registration, done: Done = None, failed: Failed = None) -> None:
        """An Update was taken."""
        self._accept(registration, "updated", None, done, failed)

    def deregistered(
        self, registration: Registration, words: str, done: Done = None, failed: Failed = None
    ) -> None:
        """The registration ended by the device's will, or by its next one."""
        self._accept(registration, "deregistered", {"words": words} if words else None, done, failed)

    def expired(self, registration: Registration) -> None:
        """The lifetime passed without an Update."""
        self._accept(registration, "expired", None, None, None)

    def refused(self, registration: Registration, key: str, words: str) -> None:
        """Something of this device was not taken; people should see it."""
        self._accept(registration, "refused", {"path": key, "words": words}, None, None)

    def observation_state(self, registration: Registration, key: str, response: Response) -> None:
        """An Observe was answered without a value."""
        words = failure_words(response.failure) if response.failure else outcome_words(response.code)
        self._accept(
            registration,
            "observation",
            {"path": key, "code": response.code, "words": words},
            None,
            None,
        )

    def observation_ended(
        self, registration: Registration, key: str, code: int, words: str, done: Done, failed: Failed
    ) -> None:
        """The device ended an observation."""
        body = {"path": key, "code": code, "words": words}
        self._accept(registration, "observation", body, done, failed)

    def operation(self, registration: Registration, body: dict[str, object], done: Done = None) -> None:
        """An operation asked for by a person or a program ended; ``body`` says which and how."""
        self._accept(registration, "operation", body, done, None)

    def task(self, registration: Registration, body: dict[str, object]) -> None:
        """A task began to wait for the device, or ended without its answer."""
        self._accept(registration, "task", body, None, None)

    def slept(self, registration: Registration) -> None:
        """A device in queue mode listens no longer."""
        self._accept(registration, "asleep", None, None, None)

    def woke(self, registration: Registration) -> None:
        """A device in queue mode was heard."""
        self._accept(registration, "awake", None, None, None)

    def removed(self, registration: Registration, done: Done = None) -> None:
        """The device is forgotten, its entity with it."""
        if self._broker.delete(registration.endpoint_name, "removed", None, done) is None:
            self._accept(registration, "removed", None, done, None)

    def forget_values(self, registration: Registration, below: Path) -> None:
        """An instance was deleted: its last values go."""
        gone = tuple(
            attribute_name(path)
            for path in self._paths(registration.endpoint_name)
            if below.contains(path) or below == path
        )
        if gone:
            self._broker.accept(
                EntityUpdate(registration.endpoint_name, DEVICE, "value", None, None, None, gone), None, None
            )

    def reports(
        self,
        registration: Registration,
        reports: Sequence[Report],
        source: str,
        receipt: bytes | None,
        done: Done,
        failed: Failed,
        warning: str = "",
    ) -> None:
        """Values a device reported or answered, ``source`` "notify", "send", "read" or "write".

        Those of a Send are rows of that kind in the journal, the others of the kind "value".
        """
        entity = registration.client.endpoint_name
        kind = "send" if source == "send" else "value"
        body = {"warning": warning} if warning else None
        moments: dict[float, dict[str, Attribute]] = {}
        now = self._wall()
        plain: object
        for path, value, at, modelled in reports:
            metadata = None if modelled and source == "notify" else _metadata(source, modelled)
            plain = value if type(value) is int else _plain(value)
            moment = now if at is None else at
            attributes = moments.get(moment)
            if attributes is None:
                attributes = moments[moment] = {}
            attributes[attribute_name(path)] = (plain, int(moment * 1000), metadata)
        accept = self._broker.accept
        if len(moments) == 1:
            accept(EntityUpdate(entity, DEVICE, kind, attributes, body, receipt), done, failed)
            return
        if not moments:
            accept(EntityUpdate(entity, DEVICE, kind, None, body, receipt), done, failed)
            return
        *earlier, last = sorted(moments)
        for moment in earlier:
            accept(EntityUpdate(entity, DEVICE, kind, moments[moment], None, None), None, None)
        accept(EntityUpdate(entity, DEVICE, kind, moments[last], body, receipt), done, failed)

    def _accept(
        self,
        registration: Registration,
        kind: str,
        body: dict[str, object] | None,
        done: Done,
        failed: Failed,
    ) -> None:
        self._broker.accept(
            EntityUpdate(registration.endpoint_name, DEVICE, kind, None, body, None), done, failed
        )

    # Back

    def receipts(self, since_ms: int) -> Iterable[tuple[bytes, int]]:
        """The receipts in the journal since then, newest first, each with its time in epoch ms."""
        return [(receipt, at_ms) for _, receipt, at_ms in self._broker.receipts(since_ms)]

    def last_heard(self) -> dict[str, float]:
        """When each device was heard last, epoch seconds, as far as the newest rows and its values tell.

        That is not stored by itself: an Update changes nothing else, and a row each would cost too much.
        """
        found = {entity.id: entity.modified_ms / 1000 for entity in self._broker.entities(DEVICE)}
        for row in self._broker.read_last(_ROWS_OF_CONTACT, None, _CONTACT):
            found[row.entity] = max(row.at_ms / 1000, found.get(row.entity, 0.0))
        return found

    def _paths(self, endpoint_name: str) -> list[Path]:
        entity = self._broker.entity(endpoint_name)
        return [attribute_path(name) for name in entity.attributes] if entity is not None else []

    def plain_value(self, endpoint_name: str, path: Path) -> object:
        """The last known value of one resource, None when there is none."""
        entity = self._broker.entity(endpoint_name)
        if entity is None:
            return None
        attribute = entity.attributes.get(attribute_name(path))
        return None if attribute is None else attribute[0]

    def values(self, registration: Registration, below: Path) -> list[dict[str, object]]:
        """The last known values at and below a path, in the shape of the API."""
        entity = self._broker.entity(registration.endpoint_name)
        if entity is None:
            return []
        found = []
        for name, (value, at_ms, metadata) in entity.attributes.items():
            path = attribute_path(name)
            if below.level == 0 or path == below or below.contains(path):
                found.append((path, value, at_ms, metadata))
        found.sort(key=lambda row: row[0])
        return [self._value(registration, *row) for row in found]

    def event(self, row: JournalRow, registration: Registration | None) -> dict[str, object]:
        """A row of the journal as the API and the live page show it."""
        event: dict[str, object] = {
            "seq": row.seq,
            "at": iso(row.at_ms / 1000),
            "kind": row.kind,
            "endpoint_name": row.entity,
        }
        body = dict(row.body)
        attributes = body.pop("attributes", {})
        removed = body.pop("removed", ())
        body.pop("type", None)
        if row.kind in ("value", "send"):
            event["values"] = [
                self._value(registration, attribute_path(name), *attribute)
                for name, attribute in attributes.items()
            ]
            event["gone"] = [str(attribute_path(name)) for name in removed]
        event.update(body)
        return event

    def history(self, registration: Registration, before: int | None, limit: int) -> list[dict[str, object]]:
        """The device's rows of the journal, newest first, each with a sentence."""
        rows = self._broker.read_last(limit, registration.endpoint_name, None, before)
        events = []
        for row in reversed(rows):
            event = self.event(row, registration)
            event["words"] = _sentence(event)
            events.append(event)
        return events

    def shown(
        self, registration: Registration, reports: Sequence[Report], source: str
    ) -> list[dict[str, object]]:
        """Reports in the shape of the API, for an answer that is shown at once."""
        now = self._wall()
        return [
            self._value(
                registration,
                path,
                _plain(value),
                int((now if at is None else at) * 1000),
                _metadata(source, modelled),
            )
            for path, value, at, modelled in reports
        ]

    def _value(
        self,
        registration: Registration | None,
        path: Path,
        value: object,
        at_ms: int,
        metadata: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        resource = registration.client.model.resource(path) if registration is not None else None
        raw = metadata is not None and bool(metadata.get("raw"))
        kind = resource.type if resource is not None else _guessed_type(value, raw)
        shown = value
        if kind is ResourceType.TIME and isinstance(value, int | float):
            try:
                shown = to_json(value, ResourceType.TIME)
            except ValueFormatError:
                shown = value  # outside the calendar: the number is the best there is
        warning = None
        if raw:
            warning = "Kept as received: there is no object model for it, or the data does not fit the model."
        text = (
            shown if isinstance(shown, str) else str(shown).lower() if isinstance(shown, bool) else str(shown)
        )
        return {
            "path": str(path),
            "name": resource.name if resource is not None else None,
            "value": shown,
            "text": text,
            "type": kind.value,
            "units": resource.units if resource is not None else "",
            "at": iso(at_ms / 1000),
            "source": "notify" if metadata is None else metadata.get("source", "notify"),
            "observed": registration is not None and _observed(registration, path),
            "modelled": not raw,
            "warning": warning,
        }


def _metadata(source: str, modelled: bool) -> Mapping[str, object] | None:
    return (_MODELLED if modelled else _UNMODELLED)[source]


def _plain(value: object) -> object:
    """A LwM2M value as the hall keeps it: JSON types only; bytes are hex, an object link is "3:0"."""
    if isinstance(value, float):
        return value if isfinite(value) else str(value)  # JSON has no NaN and no infinity
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return f"{value[0]}:{value[1]}"
    return value


def _guessed_type(value: object, raw: bool) -> ResourceType:
    match value:
        case bool():
            return ResourceType.BOOLEAN
        case int():
            return ResourceType.INTEGER
        case float():
            return ResourceType.FLOAT
        case _:
            return ResourceType.OPAQUE if raw else ResourceType.STRING


_SENTENCES = {
    "registered": "Registered",
    "updated": "Registration updated",
    "deregistered": "Deregistered",
    "expired": "Not heard within its lifetime",
    "asleep": "Fell asleep",
    "awake": "Woke up",
    "send": "Sent values of its own accord",
    "removed": "Removed",
}


def _sentence(event: Mapping[str, object]) -> str:
    """One line for the time line."""
    kind, words = str(event["kind"]), str(event.get("words", ""))
    if kind in ("value", "send"):
        values = event.get("values")
        shown = values if isinstance(values, list) else []
        listed = ", ".join(f"{one['path']} = {one['text']}" for one in shown[:3])
        more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        return f"{'Sent' if kind == 'send' else 'Reported'} {listed}{more}"
    if kind in ("operation", "task"):
        state = f" {event['state']}" if kind == "task" else ""
        return f"{event.get('operation', '')} {event.get('path', '')}{state}: {words}"
    if kind in ("observation", "refused") and "path" in event:
        return f"{'Observation' if kind == 'observation' else 'Refused'} {event['path']}: {words}"
    known = _SENTENCES.get(kind, kind)
    return f"{known}: {words}" if words else known


def _observed(registration: Registration, path: Path) -> bool:
    observations = registration.observations
    if not observations:
        return False
    text = str(path)
    while text:
        if text in observations:
            return True
        text = text.rpartition("/")[0]
    return any(one.contains(path) for key in observations if "," in key for one in paths_of(key))
