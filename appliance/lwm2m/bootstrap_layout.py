"""From a plan and what a device has to what is deleted and written, in order (OMA Core §6.1; traps 44, 46).

The order is OSCORE before the Security that links it, then Server, Access Control, and the rest. An instance
that is an account of the same server keeps its number; the bootstrap account keeps everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from appliance.lwm2m.bootstrap import (
    ACCESS_CONTROL,
    OSCORE,
    SECURITY,
    SERVER,
    Discovered,
    Instance,
    Keys,
    access_control_instance,
    free_ids,
    instance,
    oscore_instance,
    security_instance,
)
from appliance.lwm2m.bootstrap_plan import SERVER_FIELDS, BootstrapServerEntry, Plan, ServerEntry
from appliance.lwm2m.definitions import Model
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report, Value, ValueFormatError, from_json


class Account(NamedTuple):
    """A server of a plan with its variables filled in."""

    entry: ServerEntry | BootstrapServerEntry
    uri: str
    keys: Keys


class Layout(NamedTuple):
    """What happens to a device. ``writes`` are in order; those of one object stand together."""

    deletes: tuple[Path, ...]
    writes: tuple[Instance, ...]


def lay_out(
    plan: Plan,
    found: Discovered,
    accounts: Sequence[Account],
    model: Model,
    variables: Mapping[str, str] | None = None,
) -> Layout:
    """``accounts`` are all servers and bootstrap servers of the plan, in its order."""
    deletes = tuple(_deletes(plan, found))
    oscores: list[Instance] = []
    securities: list[Instance] = []
    servers: list[Instance] = []
    ids = {object_id: _Ids(plan, found, object_id, accounts) for object_id in (SECURITY, SERVER, OSCORE)}
    for entry, uri, keys in accounts:
        short_server_id = entry.short_server_id if isinstance(entry, ServerEntry) else None
        link: Path | None = None
        if keys.oscore is not None:
            link = Path(OSCORE, ids[OSCORE].take(short_server_id))
            oscores.append(oscore_instance(link, keys.oscore, model))
        path = Path(SECURITY, ids[SECURITY].take(short_server_id))
        securities.append(
            security_instance(
                path,
                uri,
                keys,
                model,
                short_server_id=short_server_id,
                oscore=link,
                certificate_usage=entry.certificate_usage,
                sni=entry.sni if isinstance(entry, ServerEntry) else "",
                hold_off_s=entry.hold_off_s if isinstance(entry, BootstrapServerEntry) else None,
                account_timeout_s=entry.account_timeout_s
                if isinstance(entry, BootstrapServerEntry)
                else None,
            )
        )
        if isinstance(entry, ServerEntry):
            place = Path(SERVER, ids[SERVER].take(short_server_id))
            servers.append(_server_instance(place, entry, uri, found, model))
    kept = () if _emptied(plan, ACCESS_CONTROL) else found.instances.get(ACCESS_CONTROL, ())
    numbers = free_ids(found, ACCESS_CONTROL, kept)
    access = [
        access_control_instance(
            Path(ACCESS_CONTROL, next(numbers)),
            one.object_id,
            one.instance_id,
            one.owner,
            one.rights,
            model,
        )
        for one in plan.access_control
    ]
    further = [
        Instance(path, (_written(path, value, model, variables or {}),)) for path, value in plan.writes
    ]
    return Layout(deletes, (*oscores, *securities, *servers, *access, *further))


class _Ids:
    """Instance ids of one object for the accounts of a plan."""

    def __init__(self, plan: Plan, found: Discovered, object_id: int, accounts: Sequence[Account]) -> None:
        self._same: dict[int, int] = {}
        wanted = {one.entry.short_server_id for one in accounts if isinstance(one.entry, ServerEntry)}
        kept: set[int] = set()
        emptied = _emptied(plan, object_id)
        for number in found.instances.get(object_id, ()):
            owner = found.accounts.get(Path(object_id, number))
            if owner is not None and owner in wanted and owner not in self._same:
                self._same[owner] = number
            elif not emptied or (owner is None and object_id in (SECURITY, OSCORE)):
                kept.add(number)
        self._free = free_ids(found, object_id, kept | set(self._same.values()))

    def take(self, short_server_id: int | None) -> int:
        if short_server_id is not None and short_server_id in self._same:
            return self._same.pop(short_server_id)
        return next(self._free)


def _emptied(plan: Plan, object_id: int) -> bool:
    return Path(object_id) in plan.deletes or Path() in plan.deletes


def _deletes(plan: Plan, found: Discovered) -> list[Path]:
    """What to delete, and nothing that the device says it does not have.

    Of objects 0 and 21 each instance by itself: in some clients a Delete of /0 takes the bootstrap account.
    """
    if plan.write_by == "object" or not found.known:
        return list(plan.deletes)
    paths: list[Path] = []
    for path in plan.deletes:
        if path.level == 1 and path[0] in (SECURITY, OSCORE):
            paths += [
                Path(path[0], number)
                for number in found.instances.get(path[0], ())
                if found.accounts.get(Path(path[0], number)) is not None
            ]
        elif not path or (path[0] in found.instances and _has(found, path)):
            paths.append(path)
    return paths


def _has(found: Discovered, path: Path) -> bool:
    numbers = found.instances[path[0]]
    return bool(numbers) if path.level == 1 else path[1] in numbers


def _server_instance(path: Path, entry: ServerEntry, uri: str, found: Discovered, model: Model) -> Instance:
    version = found.version or "1.0"
    binding = entry.binding
    if entry.uri != uri and uri.startswith(("coap+tcp:", "coaps+tcp:")) and binding == "U":
        binding = "T"  # $uri: the device came that way
    values: dict[int, Value | None] = {
        0: entry.short_server_id,
        1: entry.lifetime_s,
        **{number: getattr(entry, name) for name, number in SERVER_FIELDS.items()},
        # Only 1.0 knows Q as a part of the binding; later it is the client that says so (trap 10).
        7: binding + "Q" if entry.queue_mode and version == "1.0" else binding,
    }
    for resource_id, value in entry.resources:
        values[resource_id] = _written(path.child(resource_id), value, model, {}).value
    return instance(path, dict(sorted(values.items())), model)


def _written(path: Path, given: object, model: Model, variables: Mapping[str, str]) -> Report:
    """One further resource. A value that does not fit this device's version of the object goes as it is."""
    if isinstance(given, str):
        for name, text in variables.items():
            given = given.replace(name, text)
    definition = model.resource(path)
    if definition is not None:
        try:
            return Report(path, from_json(given, definition), None, True)
        except ValueFormatError:
            pass
    value: Value = given if isinstance(given, str | int | float) else str(given)
    return Report(path, value, None, False)
