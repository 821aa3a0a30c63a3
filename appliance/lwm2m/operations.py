"""The operations of LwM2M as values, in the specification's own words (OMA Core 1.1.1 §6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from appliance.lwm2m.default_versions import with_defaults
from appliance.lwm2m.links import Link, parse_links
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report

Parameters = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The objects and instances a client registered (§6.2.1). Clients with the same payload share one.

    ``root`` is the alternate path, "" for none; ``objects`` gives the version as registered, None when none
    was; ``content_formats`` is ``ct`` of the root link. ``root_given`` tells whether the payload itself said
    where the root is.
    """

    root: str
    objects: dict[int, str | None] = field(hash=False)
    instances: tuple[Path, ...]
    content_formats: tuple[int, ...]
    payload: bytes
    root_given: bool

    @property
    def links(self) -> tuple[Link, ...]:
        """The links as they were sent; read anew from the payload, since few ever ask."""
        return parse_links(self.payload)

    def object_versions(self, lwm2m_version: str) -> Mapping[int, str]:
        """The version of every object for a client of that LwM2M version; not to be changed."""
        return with_defaults(self.objects, lwm2m_version)


class Register(NamedTuple):
    """§6.2.1. ``endpoint_name`` None: the client left it to its security identity (since 1.1).

    ``lifetime_s`` 0 never ends. ``binding`` is without Q, which is ``queue_mode``. ``parameters`` are
    those we do not know, kept as they came. ``profiles`` (since 1.2) are the ``pid``, like ``6:27354b9a``; a
    client with one may leave its list out, which then has no payload. (A tuple, which is made in a third of a
    dataclass's time.)
    """

    endpoint_name: str | None
    lifetime_s: int
    version: str
    binding: str
    queue_mode: bool
    sms_number: str | None
    objects: ObjectList
    parameters: Parameters = ()
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """§6.2.2. What is None did not change; ``objects`` replaces the whole list.

    ``profiles`` (since 1.2), with ``objects`` or without, stand for a list that replaces the old one too.
    """

    lifetime_s: int | None = None
    binding: str | None = None
    queue_mode: bool | None = None
    sms_number: str | None = None
    objects: ObjectList | None = None
    parameters: Parameters = ()
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deregister:
    """§6.2.3."""


@dataclass(frozen=True, slots=True)
class Read:
    """§6.3.1."""

    path: Path


@dataclass(frozen=True, slots=True)
class ReadComposite:
    """§6.3.8 (since 1.1): any paths in one request, all of them read or as many as there are."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Discover:
    """§6.3.2; ``depth`` (since 1.2) is how many levels below the path are listed, 0 to 3."""

    path: Path
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """§6.3.3: ``replace`` puts new content in place of the old, otherwise only what is given changes."""

    path: Path
    reports: tuple[Report, ...]
    replace: bool


@dataclass(frozen=True, slots=True)
class WriteComposite:
    """§6.3.9 (since 1.1): resources and resource instances of any objects, all of them or none.

    ``removed`` (since 1.2) are resource instances that are to go; only SenML-ETCH can say so.
    """

    reports: tuple[Report, ...]
    removed: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteFile:
    """§6.3.3 of one resource with a file as its new value, such as a firmware package (E.6, /5/x/0).

    Goes as it is (content format 42): ``data`` may be far larger than what is worth being copied.
    """

    path: Path
    data: memoryview = field(hash=False)


@dataclass(frozen=True, slots=True)
class WriteAttributes:
    """§6.3.4; an attribute that is None is unset."""

    path: Path
    attributes: dict[str, str | None] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Execute:
    """§6.3.5; for ``arguments`` see `check_execute_arguments`."""

    path: Path
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Create:
    """§6.3.6; ``instance_id`` None leaves the choice to the client."""

    object_id: int
    instance_id: int | None
    reports: tuple[Report, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """§6.3.7."""

    path: Path


@dataclass(frozen=True, slots=True)
class Observe:
    """§6.4.1; ``attributes`` with the request itself are LwM2M 1.2."""

    path: Path
    attributes: dict[str, str | None] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class ObserveComposite:
    """§6.4.4 (since 1.1): every notification carries all paths; cancelled with the identical list."""

    paths: tuple[Path, ...]
    attributes: dict[str, str | None] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Notify:
    """§6.4.2."""

    path: Path
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class BootstrapRequest:
    """§6.1.7.1. ``endpoint_name`` None: the client left it to its security identity (since 1.1).

    ``preferred_format`` (``pct``, since 1.1) is the content format it wants to be written in. The LwM2M
    version is not said here; Bootstrap-Discover tells it.
    """

    endpoint_name: str | None
    preferred_format: int | None = None
    parameters: Parameters = ()


@dataclass(frozen=True, slots=True)
class BootstrapPackRequest:
    """§6.1.7.7 (since 1.2): everything in one answer; ``content_format`` None leaves its format to us."""

    endpoint_name: str | None
    content_format: int | None = None
    parameters: Parameters = ()


@dataclass(frozen=True, slots=True)
class BootstrapDiscover:
    """§6.1.7.3: objects, instances and whose accounts they are; ``Path()`` asks for all of them."""

    path: Path


@dataclass(frozen=True, slots=True)
class BootstrapRead:
    """§6.1.7.4 (since 1.1): of objects 1 and 2 and what is below them, of nothing else."""

    path: Path


@dataclass(frozen=True, slots=True)
class BootstrapWrite:
    """§6.1.7.5: of an object (with several instances), an instance or a resource; makes what is not there."""

    path: Path
    reports: tuple[Report, ...] = field(repr=False)  # keys, mostly


@dataclass(frozen=True, slots=True)
class BootstrapDelete:
    """§6.1.7.6: of ``Path()`` (everything), an object or an instance. The bootstrap account stays."""

    path: Path


@dataclass(frozen=True, slots=True)
class BootstrapFinish:
    """§6.1.7.2: the device checks what it was given, and says so."""


# §6.3.5: arglist = arg *( "," arg ); arg = DIGIT / DIGIT "=" "'" *CHAR "'"; CHAR without the apostrophe
_ARGUMENT = re.compile(r"([0-9])(?:='([^'\x00-\x1f\x7f]*)')?")


def check_execute_arguments(arguments: str) -> None:
    """Whether a text is an argument list of Execute, like ``0='x',1``; "" is one. Raises ``ValueError``."""
    seen: set[str] = set()
    position = 0
    while position < len(arguments) or seen:
        match = _ARGUMENT.match(arguments, position)
        if match is None:
            raise ValueError(
                f"character {position + 1} of the arguments begins no argument: "
                "write digits, or digits with text like 0='x', without blanks"
            )
        if match[1] in seen:
            raise ValueError(f"argument {match[1]} is given twice: use each digit once")
        seen.add(match[1])
        position = match.end()
        if position == len(arguments):
            return
        if arguments[position] != ",":
            raise ValueError(f"character {position + 1} of the arguments is no comma: put one between two")
        position += 1
