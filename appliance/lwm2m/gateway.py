"""What a LwM2M Gateway says of the devices behind it: objects 25 and 26 (LwM2M Gateway 1.0 to 3.0).

An end device does not register. Its gateway lists it as an instance of object 25 with a name, a prefix, and
the objects it has; the prefix stands in front of its paths, after the gateway's own alternate path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.lwm2m.operations import ObjectList
from appliance.lwm2m.registration import RegistrationError, read_object_list
from appliance.lwm2m.values import ObjectLink, Report

GATEWAY = 25
ROUTING = 26

_DEVICE_ID, _PREFIX, _ROUTES, _OBJECTS = range(4)
_OBJECT, _MAPPING = 0, 1  # of object 26: an object, and the links it stands for; without links, for itself
# It becomes a segment of paths, and must not be one of ids.
_PREFIX_FORM = re.compile(r"[A-Za-z0-9._~-]{1,32}")


@dataclass(frozen=True, slots=True)
class EndDevice:
    """One device behind a gateway. ``prefix`` is without slashes."""

    instance_id: int
    device_id: str
    prefix: str
    objects: ObjectList


def read_end_devices(reports: Iterable[Report]) -> tuple[list[EndDevice], list[str]]:
    """The end devices that reports of /25 (and of /26, for gateways of version 1.0) tell of.

    Also a sentence for each that cannot be used: without a name or a prefix, with the name or prefix of
    another one, with a list that cannot be read. Never raises.
    """
    instances: dict[int, dict[int, list[Report]]] = {}
    mappings: dict[int, str] = {}
    for report in reports:
        path = report.path
        if len(path) < 3:
            continue
        if path[0] == GATEWAY:
            instances.setdefault(path[1], {}).setdefault(path[2], []).append(report)
        elif path[0] == ROUTING and path[2] == _MAPPING and isinstance(report.value, str):
            mappings[path[1]] = report.value or mappings.get(path[1], "")
        elif path[0] == ROUTING and path[2] == _OBJECT and type(report.value) is int:
            mappings[path[1]] = mappings.get(path[1], "") or f"</{report.value}>"
    names: set[str] = set()
    prefixes: set[str] = set()
    devices: list[EndDevice] = []
    problems: list[str] = []
    for instance_id, resources in sorted(instances.items()):
        name, prefix = _text(resources.get(_DEVICE_ID)), _text(resources.get(_PREFIX)).strip("/")
        shown = f"/25/{instance_id}"
        if not name or not name.isprintable() or len(name.encode()) > 255:
            problems.append(f"{shown} has no device id that could be a name.")
        elif _PREFIX_FORM.fullmatch(prefix) is None or prefix.isdigit():
            problems.append(
                f"{shown} ({name}) has no prefix that could stand in front of a path: {prefix!r}."
            )
        elif name in names or prefix in prefixes:
            problems.append(f"{shown} ({name}) has the name or the prefix of another end device.")
        else:
            try:
                objects = read_object_list(_links(resources, mappings, prefix).encode())
            except RegistrationError as error:
                problems.append(f"{shown} ({name}): {error}.")
                continue
            devices.append(EndDevice(instance_id, name, prefix, objects))
            names.add(name)
            prefixes.add(prefix)
    return devices, problems


def _text(reports: Sequence[Report] | None) -> str:
    value = reports[0].value if reports else ""
    return value if isinstance(value, str) else ""


def _links(resources: dict[int, list[Report]], mappings: dict[int, str], prefix: str) -> str:
    """The objects in link format, without the prefix, which some gateways put in front of them."""
    found = [report.value for report in resources.get(_OBJECTS, ()) if isinstance(report.value, str)]
    for report in resources.get(_ROUTES, ()):
        if isinstance(report.value, ObjectLink):
            found.append(mappings.get(report.value[1], ""))
    return ",".join(filter(None, found)).replace(f"</{prefix}/", "</")
