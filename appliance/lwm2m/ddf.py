"""Object definitions from XML (Device Description Framework; LWM2M.xsd 1.0 and LWM2M-v1_1.xsd).

The law of this file: whatever is uploaded, a definition or one ``DdfError`` whose reason a person can act
on. A document type declaration is refused before any entity could be declared in it, so no entity is ever
expanded and nothing outside the document is ever read.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from appliance.lwm2m.definitions import ObjectDefinition, ResourceDefinition
from appliance.lwm2m.path import MAX_ID
from appliance.lwm2m.ranges import tidy_range
from appliance.lwm2m.values import ResourceType

MAX_DDF_BYTES = 1_000_000
_MAX_DEPTH = 16
_MAX_TEXT = 2_000  # characters kept of one element; names and ranges are far shorter
_MAX_NAME = 200

_OBJECT = ("LWM2M", "Object")
_ITEM = ("LWM2M", "Object", "Resources", "Item")
_OBJECT_FIELDS = frozenset(
    ("Name", "ObjectID", "ObjectURN", "LWM2MVersion", "ObjectVersion", "MultipleInstances", "Mandatory")
)
_ITEM_FIELDS = frozenset(
    ("Name", "Operations", "MultipleInstances", "Mandatory", "Type", "RangeEnumeration", "Units")
)

_TYPES = {
    "string": ResourceType.STRING,
    "integer": ResourceType.INTEGER,
    "unsignedinteger": ResourceType.UNSIGNED,
    "unsigned": ResourceType.UNSIGNED,
    "float": ResourceType.FLOAT,
    "boolean": ResourceType.BOOLEAN,
    "opaque": ResourceType.OPAQUE,
    "time": ResourceType.TIME,
    "objlnk": ResourceType.OBJLNK,
    "corelnk": ResourceType.CORELNK,
    "": ResourceType.NONE,
    "none": ResourceType.NONE,
}
_OPERATIONS = {"": "", "R": "R", "W": "W", "RW": "RW", "WR": "RW", "E": "E"}
_MULTIPLE = {"multiple": True, "single": False, "": False}
_MANDATORY = {"mandatory": True, "optional": False, "": False}
_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")
_URN = re.compile(r"(?i)urn:oma:lwm2m:[a-z0-9_-]+:([0-9]{1,6})(?::([0-9]{1,4}\.[0-9]{1,4}))?")
_UNITS = {"C": "Cel", "KB": "kB"}  # two spellings the registry itself uses otherwise


class DdfError(ValueError):
    """The XML is no object definition that can be used; ``reason`` is a sentence for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_ddf(xml: bytes) -> ObjectDefinition:
    """The one object that a DDF file defines; raises ``DdfError``.

    A file of schema 1.0 names no versions: the object is then version 1.0 for LwM2M 1.0. Descriptions are
    not kept. Linear in the size of the file, which is at most `MAX_DDF_BYTES`.
    """
    if len(xml) > MAX_DDF_BYTES:
        raise DdfError(f"The file has {len(xml)} bytes, {MAX_DDF_BYTES} are allowed: shorten it.")
    reader = _Reader()
    reader.read(xml)
    if reader.root != "LWM2M":
        raise DdfError("This is no LwM2M object definition: its outermost element is not LWM2M.")
    if len(reader.objects) != 1:
        many = "several objects: give each its own file" if reader.objects else "no Object element"
        raise DdfError(f"The file holds {many}.")
    return _object(reader.objects[0], reader.items)


class _Reader:
    """The few texts of the document that matter, as expat comes by them."""

    def __init__(self) -> None:
        self.root = ""
        self.objects: list[dict[str, str]] = []
        self.items: list[dict[str, str]] = []
        self._stack: list[str] = []
        self._into: dict[str, str] | None = None
        self._text: list[str] = []
        self._size = 0
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.EntityDeclHandler = self._refuse_doctype
        parser.ExternalEntityRefHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        self._parser = parser

    def read(self, xml: bytes) -> None:
        try:
            self._parser.Parse(xml, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise DdfError(f"The XML is broken in line {error.lineno}: {reason}.") from None
        except (LookupError, ValueError) as error:
            if isinstance(error, DdfError):
                raise
            raise DdfError("The XML is in an encoding that cannot be read: save it as UTF-8.") from None

    def _refuse_doctype(self, *_: object) -> int:
        raise DdfError("The file has a document type declaration (<!DOCTYPE …>): remove it.")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        stack = self._stack
        above = tuple(stack)
        stack.append(tag)
        if len(stack) > _MAX_DEPTH:
            raise DdfError(f"The elements of the file are nested deeper than {_MAX_DEPTH}.")
        self._into = None
        if not above:
            self.root = tag
        elif above == _OBJECT[:1] and tag == "Object":
            self.objects.append({})
        elif above == _OBJECT and tag in _OBJECT_FIELDS:
            self._into = self.objects[-1]
        elif above == _ITEM[:3] and tag == "Item":
            self.items.append({"ID": attributes.get("ID", "")})
        elif above == _ITEM and tag in _ITEM_FIELDS:
            self._into = self.items[-1]
        if self._into is not None and tag in self._into:
            raise DdfError(f"The element {tag} stands twice in line {self._parser.CurrentLineNumber}.")
        self._text.clear()
        self._size = 0

    def _end(self, tag: str) -> None:
        self._stack.pop()
        if self._into is not None:
            self._into[tag] = "".join(self._text)[:_MAX_TEXT].strip()
            self._into = None

    def _data(self, text: str) -> None:
        if self._into is not None and self._size < _MAX_TEXT:
            self._text.append(text)
            self._size += len(text)


def _object(fields: dict[str, str], items: list[dict[str, str]]) -> ObjectDefinition:
    object_id = _id(fields.get("ObjectID", ""), "ObjectID")
    urn = _URN.fullmatch(fields.get("ObjectURN", ""))
    if urn is not None and int(urn[1]) != object_id:
        raise DdfError(f"ObjectID is {object_id}, but ObjectURN names object {int(urn[1])}: make them agree.")
    version = fields.get("ObjectVersion") or (urn[2] if urn is not None and urn[2] else "1.0")
    found: dict[int, ResourceDefinition] = {}
    for item in items:
        resource = _resource(item)
        if resource.id in found:
            raise DdfError(f"Resource {resource.id} is defined twice.")
        found[resource.id] = resource
    if not found:
        raise DdfError(f"Object {object_id} has no resources: add an Item to Resources.")
    return ObjectDefinition(
        object_id,
        _name(fields.get("Name", ""), f"Object {object_id}"),
        _version(version, "ObjectVersion"),
        _word(fields, "MultipleInstances", _MULTIPLE, f"Object {object_id}"),
        _word(fields, "Mandatory", _MANDATORY, f"Object {object_id}"),
        _version(fields.get("LWM2MVersion") or "1.0", "LWM2MVersion"),
        dict(sorted(found.items())),
    )


def _resource(item: dict[str, str]) -> ResourceDefinition:
    resource_id = _id(item["ID"], "The ID of an Item")
    where = f"Resource {resource_id}"
    letters = re.sub(r"[\s,;/]", "", item.get("Operations", "")).upper()
    operations = _OPERATIONS.get(letters)
    if operations is None:
        raise DdfError(f"{where}: Operations is {letters[:20]!r}; write R, W, RW, E or nothing.")
    type_text = re.sub(r"[\s_-]", "", item.get("Type", "")).lower()
    kind = _TYPES.get(type_text)
    if kind is None:
        raise DdfError(
            f"{where}: Type is {item['Type'][:40]!r}; write String, Integer, Unsigned Integer, Float, "
            "Boolean, Opaque, Time, Objlnk, Corelnk, or nothing."
        )
    if operations == "E":
        kind = ResourceType.NONE  # an executable resource has no value, whatever the file says
    units = _line(item.get("Units", ""))[:40]
    return ResourceDefinition(
        resource_id,
        _name(item.get("Name", ""), where),
        operations,
        _word(item, "MultipleInstances", _MULTIPLE, where),
        _word(item, "Mandatory", _MANDATORY, where),
        kind,
        tidy_range(item.get("RangeEnumeration", "")),
        _UNITS.get(units, units),
    )


def _id(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text) < MAX_ID):
        raise DdfError(f"{where} is {text[:20]!r}; write a number from 0 to {MAX_ID - 1}.")
    return int(text)


def _version(text: str, where: str) -> str:
    if _VERSION.fullmatch(text) is None:
        raise DdfError(f"{where} is {text[:20]!r}; write it like 1.0.")
    major, _, minor = text.partition(".")
    return f"{int(major)}.{int(minor)}"


def _name(text: str, where: str) -> str:
    name = _line(text)
    if not name:
        raise DdfError(f"{where} has no Name.")
    if len(name) > _MAX_NAME:
        raise DdfError(f"{where}: the Name has {len(name)} characters, and {_MAX_NAME} are allowed.")
    return name


def _word(fields: dict[str, str], field: str, words: dict[str, bool], where: str) -> bool:
    text = fields.get(field, "")
    found = words.get(text.lower())
    if found is None:
        expected = " or ".join(word.capitalize() for word in words if word)
        raise DdfError(f"{where}: {field} is {text[:20]!r}; write {expected}.")
    return found


def _line(text: str) -> str:
    return " ".join(text.split())
