"""Observations as desired state (OMA Core 1.1.1 §6.4.6; the server must establish them at every Register).

The law of this file: what is wanted is kept per device and outlives registrations; what is active is only
the present means to it. So every Register starts the wanted ones anew, an Update starts only what is
missing, and a request that failed leaves every other observation alone.

One request at a time per device: a fleet that comes back at once queues one request per device, not dozens.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable

from appliance.devices.registry import Registration, Registry
from appliance.devices.settings import DevicesSettings
from appliance.lwm2m.operations import ObjectList, Observe
from appliance.lwm2m.path import Path, PathError
from appliance.lwm2m.words import failure_words, outcome_words
from appliance.southbound.server import LwM2MServer, Observation, Response
from appliance.storage.database import Database
from appliance.storage.errors import StorageFull

log = logging.getLogger(__name__)

SENSOR_OBJECTS = range(3200, 3400)  # the IPSO sensors and actuators
SENSOR_VALUES = (5700, 5500)  # Sensor Value, Digital Input State

_MAX_DEFAULTS = 500  # observations of one device that nobody asked for
# What a device answers while it starts or has too much to do: 4.29, 5.00, 5.03.
_PASSING = frozenset((0x9D, 0xA0, 0xA3))

_SAVE_OBSERVATION = "INSERT OR REPLACE INTO observations(token, registration_id, doc) VALUES (?,?,?)"
_FORGET_OBSERVATION = "DELETE FROM observations WHERE token = ?"
_SAVE_DESIRED = "INSERT OR REPLACE INTO desired(endpoint_name, path, doc) VALUES (?,?,?)"
_FORGET_DESIRED = "DELETE FROM desired WHERE endpoint_name = ? AND path = ?"
_FORGET_ALL_DESIRED = "DELETE FROM desired WHERE endpoint_name = ?"

Answered = Callable[[Registration, Path, Response], None]


class Observations:
    """What is wanted of every device, and how it stands.

    ``answered(registration, path, response)`` is told of every answer to an Observe, because the answer
    carries the first value.
    """

    def __init__(
        self,
        settings: DevicesSettings,
        database: Database,
        server: LwM2MServer,
        registry: Registry,
        monotonic: Callable[[], float],
        answered: Answered,
    ) -> None:
        self._settings = settings
        self._database = database
        self._server = server
        self._registry = registry
        self._monotonic = monotonic
        self._answered = answered
        # endpoint name -> path -> True (asked for) or False (a default switched off)
        self._asked: dict[str, dict[str, bool]] = {}
        self._defaults: dict[int, tuple[ObjectList, tuple[str, ...]]] = {}
        self._observe_paths = tuple(Path.parse(path) for path in settings.observe_paths)

    def load(self, last_numbers: dict[bytes, tuple[int, int, float]]) -> None:
        """Take back what is wanted and what is active.

        ``last_numbers`` maps a token to (Observe value, message id, age in seconds) of its last report on
        disk, so that what a device sends again after our restart is not taken twice.
        """
        for endpoint_name, path, doc in self._database.read(
            "SELECT endpoint_name, path, doc FROM desired", ()
        ):
            try:
                wanted, text = bool(json.loads(doc)["wanted"]), str(Path.parse(path))
            except (ValueError, TypeError, LookupError) as error:
                log.error("%s: what was asked of %s cannot be read: %s", endpoint_name, path, error)
                continue
            self._asked.setdefault(endpoint_name, {})[text] = wanted
        now = self._monotonic()
        rows = self._database.read("SELECT token, registration_id, doc FROM observations", ())
        for token, registration_id, doc in rows:
            registration = self._registry.at(registration_id)
            if registration is None:
                self._database.write(_FORGET_OBSERVATION, (token,))
                continue
            try:
                stored = json.loads(doc)
                path, since = Path.parse(stored["path"]), float(stored["since"])
            except (ValueError, TypeError, LookupError) as error:
                log.error("%s: a stored observation cannot be read: %s", registration.endpoint_name, error)
                self._database.write(_FORGET_OBSERVATION, (token,))
                continue
            observation = Observation(registration.client, path, since)
            observation.token = bytes(token)
            last = last_numbers.get(observation.token)
            if last is not None:
                observation.number, observation.message_id = last[0], last[1]
                observation.number_at = now - last[2]
            registration.observations[str(path)] = observation
            self._server.restore_observation(observation)

    def wanted(self, registration: Registration) -> dict[str, str]:
        """Path -> "default" or "asked", for what shall be observed at this device."""
        paths = dict.fromkeys(self._default_paths(registration), "default")
        asked = self._asked.get(registration.endpoint_name)
        if asked:
            for path, on in asked.items():
                if on:
                    paths[path] = "asked"
                else:
                    paths.pop(path, None)
        return paths

    def want(self, registration: Registration, path: Path, done: Callable[[], None] | None = None) -> None:
        """Somebody asked for this observation: it is wanted until he says otherwise."""
        self._set(registration, path, True, done)

    def unwant(self, registration: Registration, path: Path, done: Callable[[], None] | None = None) -> None:
        """Not wanted any more, not even as a default."""
        self._set(registration, path, False, done)

    def _set(self, registration: Registration, path: Path, on: bool, done: Callable[[], None] | None) -> None:
        text = str(path)
        asked = self._asked.setdefault(registration.endpoint_name, {})
        if not on and text not in self._default_paths(registration):
            asked.pop(text, None)
            self._database.write(_FORGET_DESIRED, (registration.endpoint_name, text), done)
            return
        asked[text] = on
        self._database.write(
            _SAVE_DESIRED, (registration.endpoint_name, text, json.dumps({"wanted": on})), done
        )

    def forget(self, registration: Registration) -> None:
        """The device is removed: neither active nor wanted."""
        self.end_all(registration)
        if self._asked.pop(registration.endpoint_name, None) is not None:
            self._database.write(_FORGET_ALL_DESIRED, (registration.endpoint_name,))

    def end_all(self, registration: Registration) -> None:
        """The registration ended: its observations with it (OMA Core §6.2.3)."""
        for observation in list(registration.observations.values()):
            self.end(registration, observation)
        registration.refused = None

    def end(self, registration: Registration, observation: Observation) -> None:
        """One observation ended, by either side."""
        self._server.end_observation(observation)
        path = str(observation.path)
        if registration.observations.get(path) is observation:
            del registration.observations[path]
        self._database.write(_FORGET_OBSERVATION, (observation.token,))

    def refused(self, registration: Registration, path: Path, code: int) -> None:
        """The device does not give it: not asked again before its next Register, or while it is just busy."""
        if registration.refused is None:
            registration.refused = {}
        registration.refused[str(path)] = code

    def updated(self, registration: Registration) -> None:
        """An Update was answered: the device is awake, so what is missing is asked for."""
        if registration.refused:
            for path, code in list(registration.refused.items()):
                if code in _PASSING:
                    del registration.refused[path]
        self.reconcile(registration)

    def objects_changed(self, registration: Registration, before: ObjectList) -> None:
        """An Update brought another object list: what left it is not observed, what is new is asked again.

        Raises StorageFull.
        """
        objects = registration.client.objects
        gone = set(before.instances).difference(objects.instances)
        fresh = set(objects.instances).difference(before.instances)
        for observation in list(registration.observations.values()):
            path = observation.path
            if path[0] not in objects.objects or (path.level > 1 and Path(path[0], path[1]) in gone):
                self.end(registration, observation)
        if fresh and registration.refused:
            for text in list(registration.refused):
                path = Path.parse(text)
                if any(path.contains(instance) or instance.contains(path) for instance in fresh):
                    del registration.refused[text]

    def models_changed(self) -> None:
        """An object definition came or went: what is a sensor is another question now."""
        self._defaults.clear()

    def reconcile(self, registration: Registration) -> None:
        """Start the wanted observations that are not active, one after the other."""
        if registration.reconciling or registration.ended:
            return
        path = self._next_missing(registration)
        if path is None:
            return
        registration.reconciling = True

        def established(response: Response) -> None:
            registration.reconciling = False
            alive = self._registry.at(registration.id) is registration
            if not alive or str(path) not in self.wanted(registration):  # ended or cancelled meanwhile
                if response.observation is not None:
                    self._server.end_observation(response.observation)
                if not alive:
                    return
            elif response.failure != "cancelled":
                try:
                    self._established(registration, path, response)
                except StorageFull as error:
                    log.warning("%s: observing %s is not stored: %s", registration.endpoint_name, path, error)
            # No answer at all: the device is away. Its next Update or Register starts the rest.
            if not response.failure:
                self.reconcile(registration)

        self._server.request(
            registration.client, Observe(path), self._settings.operation_timeout_s, established
        )

    def _established(self, registration: Registration, path: Path, response: Response) -> None:
        observation = response.observation
        if observation is not None:
            self.add(registration, observation)
        elif not response.failure:
            self.refused(registration, path, response.code)
        else:
            log.info(
                "%s: observing %s: %s", registration.endpoint_name, path, failure_words(response.failure)
            )
        self._answered(registration, path, response)

    def add(self, registration: Registration, observation: Observation) -> None:
        """An observation was established: keep it over a restart."""
        path = str(observation.path)
        earlier = registration.observations.get(path)
        if earlier is not None and earlier is not observation:
            self.end(registration, earlier)
        registration.observations[path] = observation
        if registration.refused is not None:
            registration.refused.pop(path, None)
        self._database.write(
            _SAVE_OBSERVATION,
            (
                observation.token,
                registration.id,
                f'{{"path":"{path}","since":{observation.since:.3f}}}',
            ),
        )

    def _next_missing(self, registration: Registration) -> Path | None:
        for path in self.wanted(registration):
            if path in registration.observations:
                continue
            if registration.refused is not None and path in registration.refused:
                continue
            return Path.parse(path)
        return None

    def _default_paths(self, registration: Registration) -> tuple[str, ...]:
        """What is observed of a device with this object list; computed once per list, as fleets share it."""
        objects = registration.client.objects
        known = self._defaults.get(id(objects))
        if known is not None and known[0] is objects:
            return known[1]
        paths = tuple(str(path) for path in self._compute_defaults(registration, objects.instances))
        if len(self._defaults) >= 256:
            self._defaults.clear()
        self._defaults[id(objects)] = (objects, paths)
        return paths

    def _compute_defaults(self, registration: Registration, instances: Iterable[Path]) -> list[Path]:
        paths: list[Path] = []
        offered = set(instances)
        if self._settings.observe_sensors:
            for instance in offered:
                if instance.object_id not in SENSOR_OBJECTS:
                    continue
                for resource_id in SENSOR_VALUES:
                    path = instance.child(resource_id)
                    if registration.client.model.resource(path) is not None:
                        paths.append(path)
                        break
        for path in self._observe_paths:
            if any(path.contains(instance) or instance.contains(path) for instance in offered):
                paths.append(path)
        paths.sort()
        if len(paths) > _MAX_DEFAULTS:
            # Over NoSec anybody may list what he likes, and each entry of it would become a request.
            log.warning(
                "%s: lists %d sensors; %d of them are observed by themselves",
                registration.endpoint_name,
                len(paths),
                _MAX_DEFAULTS,
            )
        return paths[:_MAX_DEFAULTS]


def refusal_words(code: int) -> str:
    """Why a device does not give an observation, from what it answered."""
    if 0x40 <= code < 0x60:
        return "The device answered without observing"
    return outcome_words(code)


def parse_observe_paths(paths: Iterable[str]) -> list[str]:
    """The entries of `devices.observe_paths` that cannot be observed, each with its reason."""
    problems = []
    for path in paths:
        try:
            if not Path.parse(path).level:
                problems.append(f"devices.observe_paths: {path!r}: an object at least, like /3303")
        except PathError as error:
            problems.append(f"devices.observe_paths: {path!r}: {error}")
    return problems
