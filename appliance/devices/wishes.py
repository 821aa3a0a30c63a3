"""What shall be observed of a device: by default, by templates, and because somebody asked.

The law of this file: later sources decide over earlier ones (default, template, asked), a path is wanted
once, and what is computed for one device serves every device with the same object list.

A wish has a key, which is its path, or the paths of a composite observation joined by commas. A device that
does not do composite operations gets the same wishes one by one (`Registration.singly`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from appliance.devices.errors import DeviceError
from appliance.devices.registry import Attributes, Registration
from appliance.devices.settings import DevicesSettings
from appliance.devices.templates import Template, Templates
from appliance.lwm2m.operations import ObjectList
from appliance.lwm2m.path import Path
from appliance.storage.database import Database

log = logging.getLogger(__name__)

SENSOR_OBJECTS = range(3200, 3400)  # the IPSO sensors and actuators
SENSOR_VALUES = (5700, 5500)  # Sensor Value, Digital Input State

MAX_WISHES = 500  # observations of one device that nobody asked for by its name
MAX_ASKED = 500  # and those somebody asked for
MAX_COMPOSITE_PATHS = 100

_PLANS = 512

_SAVE = "INSERT OR REPLACE INTO desired(endpoint_name, path, doc) VALUES (?,?,?)"
_FORGET = "DELETE FROM desired WHERE endpoint_name = ? AND path = ?"
_FORGET_ALL = "DELETE FROM desired WHERE endpoint_name = ?"


class Wish(NamedTuple):
    """One observation that shall be.

    ``origin`` is "default", "asked" or "template:" and its name. ``id`` is the key under which it can be
    cancelled: that of the composite it is a part of, where the device does no composites.
    """

    key: str
    paths: tuple[Path, ...]
    origin: str
    attributes: Attributes = ()
    id: str = ""

    @property
    def composite(self) -> bool:
        """Whether several paths are observed as one."""
        return len(self.paths) > 1


class Asked(NamedTuple):
    """What somebody said about one key: wanted with these attributes, or not, not even by default."""

    wanted: bool
    attributes: Attributes = ()


def key_of(paths: Iterable[Path]) -> str:
    """The key of a wish: its path, or its paths joined by commas."""
    return ",".join(map(str, paths))


@lru_cache(maxsize=4096)
def paths_of(key: str) -> tuple[Path, ...]:
    """The paths of a key, in its order, each once; raises PathError."""
    return tuple(dict.fromkeys(Path.parse(text) for text in key.split(",")))


class Wishes:
    """Defaults, templates and what was asked for; the last outlives everything but the device's removal."""

    def __init__(self, settings: DevicesSettings, database: Database, templates: Templates) -> None:
        self._settings = settings
        self._database = database
        self._templates = templates
        self._asked: dict[str, dict[str, Asked]] = {}
        self._plans: dict[tuple[int, tuple[Template, ...], bool], tuple[ObjectList, dict[str, Wish]]] = {}
        self._observe_paths = tuple(Path.parse(path) for path in settings.observe_paths)

    def load(self) -> None:
        """Take back what was asked for."""
        rows = self._database.read("SELECT endpoint_name, path, doc FROM desired", ())
        for endpoint_name, key, doc in rows:
            try:
                stored = json.loads(doc)
                attributes = tuple((str(name), value) for name, value in stored.get("attributes", ()))
                asked = Asked(bool(stored["wanted"]), attributes)
                text = key_of(paths_of(key))
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                log.error("%s: what was asked of %s cannot be read: %s", endpoint_name, key, error)
                continue
            self._asked.setdefault(endpoint_name, {})[text] = asked

    def of(self, registration: Registration) -> Mapping[str, Wish]:
        """Key -> wish for this device as it registered; not to be changed."""
        plan = self._plan(registration)
        asked = self._asked.get(registration.endpoint_name)
        return plan if not asked else _with_asked(plan, asked, registration.singly)

    def ask(
        self,
        registration: Registration,
        key: str,
        attributes: Attributes = (),
        done: Callable[[], None] | None = None,
    ) -> None:
        """Somebody asked for this observation. Raises StorageFull, DeviceError beyond `MAX_ASKED`."""
        known = self._asked.get(registration.endpoint_name, {})
        if key not in known and len(known) >= MAX_ASKED:
            raise DeviceError(
                "busy",
                f"{registration.endpoint_name} has {MAX_ASKED} observations asked for already",
                "Cancel some, or observe an object instead of its resources.",
            )
        self._set(registration.endpoint_name, key, Asked(True, attributes), done)

    def refrain(self, registration: Registration, key: str, done: Callable[[], None] | None = None) -> None:
        """Not wanted any more, not even by default or template."""
        if key in self._plan(registration):
            self._set(registration.endpoint_name, key, Asked(False), done)
            return
        asked = self._asked.get(registration.endpoint_name)
        if asked is not None and asked.pop(key, None) is not None and not asked:
            del self._asked[registration.endpoint_name]
        self._database.write(_FORGET, (registration.endpoint_name, key), done)

    def _set(self, endpoint_name: str, key: str, asked: Asked, done: Callable[[], None] | None) -> None:
        doc = {"wanted": asked.wanted, **({"attributes": asked.attributes} if asked.attributes else {})}
        self._database.write(_SAVE, (endpoint_name, key, json.dumps(doc)), done)
        self._asked.setdefault(endpoint_name, {})[key] = asked

    def forget(self, endpoint_name: str) -> None:
        """The device is removed."""
        if self._asked.pop(endpoint_name, None) is not None:
            self._database.write(_FORGET_ALL, (endpoint_name,))

    def changed(self) -> None:
        """A template, or an object definition, came or went."""
        self._plans.clear()

    # What nobody asked for by the device's name

    def _plan(self, registration: Registration) -> dict[str, Wish]:
        objects = registration.client.objects
        fitting = self._templates.fitting(registration.endpoint_name, objects)
        singly = registration.singly or registration.client.version == "1.0"
        known = self._plans.get((id(objects), fitting, singly))
        if known is not None and known[0] is objects:
            return known[1]
        plan = self._compute(registration, fitting, singly)
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        # The list itself is kept beside its plan: else another one might get its id.
        self._plans[(id(objects), fitting, singly)] = (objects, plan)
        return plan

    def _compute(
        self, registration: Registration, fitting: Sequence[Template], singly: bool
    ) -> dict[str, Wish]:
        objects = registration.client.objects
        plan: dict[str, Wish] = {}
        for path in self._default_paths(registration, objects.instances):
            plan[str(path)] = Wish(str(path), (path,), "default", (), str(path))
        # The first template that names a path decides: they come in the order of their names.
        taken: set[Path] = set()
        offered: dict[int, list[int]] = {object_id: [] for object_id in objects.objects}
        for object_id, instance_id in objects.instances:
            offered[object_id].append(instance_id)
        composites: list[Wish] = []
        for template in fitting:
            origin = f"template:{template.name}"
            paths = [path for path in template.expand(offered, MAX_WISHES) if path not in taken]
            taken.update(paths)
            if template.composite and not singly:
                for at in range(0, len(paths), MAX_COMPOSITE_PATHS):
                    part = tuple(paths[at : at + MAX_COMPOSITE_PATHS])
                    composites.append(Wish(key_of(part), part, origin, template.attributes, key_of(part)))
                continue
            for path in paths:
                plan[str(path)] = Wish(str(path), (path,), origin, template.attributes, str(path))
        for wish in composites:
            for path in wish.paths:
                plan.pop(str(path), None)
            plan[wish.key] = wish
        if len(plan) > MAX_WISHES:
            # Over NoSec anybody may list what he likes, and each entry of it would become a request.
            log.warning(
                "%s: %d observations would follow from its list; it gets %d",
                registration.endpoint_name,
                len(plan),
                MAX_WISHES,
            )
            plan = dict(list(plan.items())[:MAX_WISHES])
        return plan

    def _default_paths(self, registration: Registration, instances: Iterable[Path]) -> list[Path]:
        paths: set[Path] = set()
        offered = set(instances)
        if self._settings.observe_sensors:
            for instance in offered:
                if instance.object_id not in SENSOR_OBJECTS:
                    continue
                for resource_id in SENSOR_VALUES:
                    path = instance.child(resource_id)
                    if registration.client.model.resource(path) is not None:
                        paths.add(path)
                        break
        for path in self._observe_paths:
            if any(path.contains(instance) or instance.contains(path) for instance in offered):
                paths.add(path)
        return sorted(paths)


def _with_asked(plan: Mapping[str, Wish], asked: Mapping[str, Asked], singly: bool) -> dict[str, Wish]:
    wishes = dict(plan)
    for key, (wanted, attributes) in asked.items():
        if not wanted:
            wishes.pop(key, None)
            continue
        paths = paths_of(key)
        if len(paths) == 1 or not singly:
            wishes[key] = Wish(key, paths, "asked", attributes, key)
            continue
        for path in paths:
            text = str(path)
            if text not in asked:
                wishes[text] = Wish(text, (path,), "asked", attributes, key)
    return wishes
