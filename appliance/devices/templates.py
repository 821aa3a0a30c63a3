"""Templates of observations: "observe 3303/*/5700 on every device with pmin 10 and pmax 300".

A template fits devices by a pattern of their names, by an object they have, or by both; with neither it fits
all. Templates are written by people, so they are documents, and there are few.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path as File
from typing import Any, Final

from tinydb import where

from appliance.devices.errors import DeviceError, durably
from appliance.lwm2m.attributes import AttributesError, check_attributes
from appliance.lwm2m.operations import ObjectList
from appliance.lwm2m.path import Path, PathError
from appliance.storage.documents import open_documents

MAX_TEMPLATES: Final = 100
MAX_PATHS: Final = 100
_MAX_NAME: Final = 64
_MAX_PATTERN: Final = 255
_MAX_STARS: Final = 8  # each of them may make the matcher walk over the name once more

Pattern = tuple[int | None, ...]  # None stands for every instance


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One template. ``endpoint`` is a shell pattern of names; None, like ``object_id`` None, fits all.

    Compared by identity: a changed template is another one.
    """

    id: str
    name: str
    endpoint: str | None
    object_id: int | None
    patterns: tuple[Pattern, ...]
    attributes: tuple[tuple[str, str | None], ...]
    composite: bool
    enabled: bool
    expression: re.Pattern[str] | None

    def fits(self, endpoint_name: str, objects: ObjectList) -> bool:
        """Whether it is meant for a device of that name with these objects."""
        if self.object_id is not None and self.object_id not in objects.objects:
            return False
        return self.expression is None or self.expression.match(endpoint_name) is not None

    def expand(self, instances: Mapping[int, Sequence[int]], limit: int) -> list[Path]:
        """The paths of this template that a device has, sorted, each once, about ``limit`` at most.

        ``instances`` are the instances of its objects; an object may have none.
        """
        found: set[Path] = set()
        for object_id, *rest in self.patterns:
            offered = instances.get(object_id or 0)
            if offered is None or len(found) > limit:
                continue
            if not rest:
                found.add(Path(object_id))
            elif rest[0] is None:
                found.update(Path(object_id, one, *rest[1:]) for one in offered[: limit + 1])
            elif rest[0] in offered:
                found.add(Path(object_id, *rest))
        return sorted(found)

    def to_api(self) -> dict[str, Any]:
        """The shape of the API, which is also the document."""
        return {
            "id": self.id,
            "name": self.name,
            "match": {"endpoint": self.endpoint, "object": self.object_id},
            "paths": ["/" + "/".join("*" if one is None else str(one) for one in p) for p in self.patterns],
            "attributes": {name: _number(value) for name, value in self.attributes},
            "composite": self.composite,
            "enabled": self.enabled,
        }


class Templates:
    """The document of templates. Every method that writes is durable when it returns."""

    def __init__(self, folder: File) -> None:
        self._documents = open_documents(folder, "templates")
        self._templates: dict[str, Template] = {}
        self._enabled: tuple[Template, ...] = ()
        for document in self._documents.table("templates").all():
            template = _read(str(document["id"]), document)
            self._templates[template.id] = template
        self._sort()

    def all(self) -> list[Template]:
        """All of them in the order of their names."""
        return sorted(self._templates.values(), key=lambda template: (template.name.casefold(), template.id))

    def fitting(self, endpoint_name: str, objects: ObjectList) -> tuple[Template, ...]:
        """The enabled ones that are meant for this device, in the order of their names."""
        if not self._enabled:
            return ()
        return tuple(template for template in self._enabled if template.fits(endpoint_name, objects))

    def put(self, template_id: str | None, body: Mapping[str, Any]) -> Template:
        """Make a template (id None), or change one. Raises DeviceError."""
        if template_id is None and len(self._templates) >= MAX_TEMPLATES:
            raise DeviceError(
                "busy", f"there are {MAX_TEMPLATES} templates already", "Remove one, or add paths to one."
            )
        if template_id is not None:
            self._known(template_id)
        template = _read(template_id or secrets.token_hex(4), body)
        for other in self._templates.values():
            if other.name == template.name and other.id != template.id:
                raise DeviceError(
                    "conflict", f"a template is named {template.name!r} already", "Choose another name."
                )
        with durably():
            self._documents.table("templates").upsert(template.to_api(), where("id") == template.id)
        self._templates[template.id] = template
        self._sort()
        return template

    def remove(self, template_id: str) -> Template:
        """Take one out. Raises DeviceError."""
        template = self._known(template_id)
        with durably():
            self._documents.table("templates").remove(where("id") == template_id)
        del self._templates[template_id]
        self._sort()
        return template

    def _known(self, template_id: str) -> Template:
        template = self._templates.get(template_id)
        if template is None:
            raise DeviceError(
                "not_found", f"no template has the id {template_id!r}", "GET /api/v1/templates lists them."
            )
        return template

    def _sort(self) -> None:
        self._enabled = tuple(template for template in self.all() if template.enabled)


def _read(template_id: str, body: Mapping[str, Any]) -> Template:
    """A template from the shape of the API; raises DeviceError with the first thing that is wrong."""
    name = body.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise _invalid(f"a template needs a name of at most {_MAX_NAME} characters", "Name it.")
    match = body.get("match") or {}
    if not isinstance(match, Mapping):
        raise _invalid("match must be an object", 'Write {"endpoint": "meter-*", "object": 3303}.')
    endpoint, object_id = match.get("endpoint"), match.get("object")
    if endpoint is not None and (
        not isinstance(endpoint, str)
        or not 0 < len(endpoint) <= _MAX_PATTERN
        or endpoint.count("*") > _MAX_STARS
    ):
        raise _invalid(
            f"the pattern of names has at most {_MAX_PATTERN} characters and {_MAX_STARS} stars",
            "Write it like meter-*.",
        )
    if object_id is not None and (type(object_id) is not int or not 0 <= object_id <= 65534):
        raise _invalid("the object to match is a number from 0 to 65534", "Write it like 3303.")
    paths = body.get("paths")
    if not isinstance(paths, list) or not 0 < len(paths) <= MAX_PATHS:
        raise _invalid(f"a template has 1 to {MAX_PATHS} paths", "Write them like /3303/*/5700.")
    attributes = read_attributes(body.get("attributes") or {})
    return Template(
        template_id,
        name.strip(),
        endpoint,
        object_id,
        tuple(dict.fromkeys(_pattern(path) for path in paths)),
        attributes,
        bool(body.get("composite", False)),
        bool(body.get("enabled", True)),
        None if endpoint is None else re.compile(translate(endpoint)),
    )


def _pattern(text: object) -> Pattern:
    """ "/3303/*/5700" as a pattern; the instance alone may be open."""
    if not isinstance(text, str):
        raise _invalid("a path is a text", "Write it like /3303/*/5700.")
    parts = text.strip("/").split("/")
    open_instance = len(parts) > 1 and parts[1] == "*"
    if "*" in parts and (parts.count("*") > 1 or not open_instance):
        raise _invalid(
            f"{text[:40]!r}: a star stands for every object instance only", "Write it like /3303/*/5700."
        )
    try:
        ids = Path.parse("/".join("0" if part == "*" else part for part in parts))
    except PathError as error:
        raise _invalid(f"{text[:40]!r} is no path: {error}", "Write it like /3303/*/5700.") from error
    if not ids:
        raise _invalid("everything at once cannot be observed", "Name an object at least, like /3303.")
    if open_instance:
        return (ids[0], None, *ids[2:]) if len(ids) > 2 else (ids[0], None)
    return tuple(ids)


def read_attributes(given: Mapping[str, Any], **context: Any) -> tuple[tuple[str, str | None], ...]:
    """Attributes as the API takes them, checked; ``context`` as of `check_attributes`. Raises DeviceError."""
    attributes: dict[str, str | None] = {}
    if not isinstance(given, Mapping):
        raise _invalid("attributes must be an object", 'For example {"pmin": 10, "pmax": 300}.')
    for name, value in given.items():
        if value is None:
            attributes[name] = None  # valueless: unset at the device
        elif isinstance(value, bool) or not isinstance(value, int | float | str):
            raise _invalid(f"the attribute {name} must be a number, or null to unset it", "")
        else:
            attributes[name] = str(value)
    if not attributes:
        return ()
    try:
        check_attributes(attributes, **context)
    except AttributesError as error:
        raise _invalid(str(error), "See OMA Core §5.1.2.") from error
    return tuple(attributes.items())


def shown_attributes(attributes: tuple[tuple[str, str | None], ...]) -> dict[str, int | float | str | None]:
    """Attributes in the shape of the API: numbers as numbers."""
    return {name: _number(value) for name, value in attributes}


def _number(value: str | None) -> int | float | str | None:
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value


def _invalid(message: str, next_step: str) -> DeviceError:
    return DeviceError("invalid", message, next_step)
