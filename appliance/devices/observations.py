"""Observations as desired state (OMA Core 1.1.1 §6.4; the server must establish them at every Register).

The law of this file: what is wanted (`Wishes`) is kept per device and outlives registrations; what is active
is only the present means to it. So every Register starts the wanted ones anew, an Update starts only what is
missing and ends what is not wanted any more, and a request that failed leaves every other observation alone.

Attributes belong to a wish. They are written before the observation begins and again after every Register; to
a client of 1.2 they go with the Observe itself, and are written only when it does not take them so. What the
device refuses of them is said, and the observation begins all the same: late values are better than none.

One request at a time per device: a fleet that comes back at once queues one request per device, not dozens.

Longer than 400 lines: starting, ending, keeping and showing are four views of one state.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from appliance.devices.registry import Attributes, Registration, Registry
from appliance.devices.settings import DevicesSettings
from appliance.devices.templates import shown_attributes
from appliance.devices.wishes import Wish, Wishes, key_of, paths_of
from appliance.lwm2m.attributes import AttributesError, check_attributes
from appliance.lwm2m.operations import ObjectList, Observe, ObserveComposite, WriteAttributes
from appliance.lwm2m.path import Path, PathError
from appliance.lwm2m.words import failure_words, outcome_words
from appliance.southbound.requests import Formats
from appliance.southbound.server import LwM2MServer, Observation, Response
from appliance.storage.database import Database
from appliance.storage.errors import StorageFull

log = logging.getLogger(__name__)

# What a device answers while it starts or has too much to do: 4.29, 5.00, 5.03.
_PASSING = frozenset((0x9D, 0xA0, 0xA3))
# What a device answers that has no composite operations: 4.00, 4.02, 4.04, 4.05, 4.06, 4.15, 5.01.
_NO_COMPOSITE = frozenset((0x80, 0x82, 0x84, 0x85, 0x86, 0x8F, 0xA1))
# And one that takes no attributes with an Observe (1.2 §6.4.1): 4.00, 4.02, 4.05, 5.01.
_NO_PARAMETERS = frozenset((0x80, 0x82, 0x85, 0xA1))

_SAVE_OBSERVATION = "INSERT OR REPLACE INTO observations(token, registration_id, doc) VALUES (?,?,?)"
_FORGET_OBSERVATION = "DELETE FROM observations WHERE token = ?"

_LATER = "asleep"

# A template may fit a whole fleet, which must not be asked at once.
_SLICE = 20
_SLICE_PERIOD_S = 0.1

# The devices behind a gateway share its line; who finds it full comes again.
_FULL_LINE_S = 2.0

Answered = Callable[[Registration, str, Response], None]


class Observations:
    """What is wanted of every device, and how it stands.

    ``answered(registration, key, response)`` is told of every answer to an Observe, because the answer
    carries the first value. ``later(seconds, call)`` is the loop's timer. ``may_ask`` is asked before a
    device is: one that sleeps is left alone, and `reconcile` is called again when it wakes.
    """

    def __init__(
        self,
        settings: DevicesSettings,
        database: Database,
        server: LwM2MServer,
        registry: Registry,
        wishes: Wishes,
        monotonic: Callable[[], float],
        answered: Answered,
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._settings = settings
        self._database = database
        self._server = server
        self._registry = registry
        self._wishes = wishes
        self._monotonic = monotonic
        self._answered = answered
        self._later = later
        self._following: Iterator[Registration] = iter(())
        self._follows = False
        self.may_ask: Callable[[Registration], bool] = lambda _: True

    def load(self, last_numbers: dict[bytes, tuple[int, int, float]]) -> None:
        """Take back what is wanted and what is active.

        ``last_numbers`` maps a token to (Observe value, message id, age in seconds) of its last report on
        disk, so that what a device sends again after our restart is not taken twice.
        """
        self._wishes.load()
        now = self._monotonic()
        rows = self._database.read("SELECT token, registration_id, doc FROM observations", ())
        for token, registration_id, doc in rows:
            registration = self._registry.at(registration_id)
            if registration is None or registration.client.bearer == "TCP":
                # The connection ended with us, and with it what was observed over it (RFC 8323 §3.4).
                self._database.write(_FORGET_OBSERVATION, (token,))
                continue
            try:
                stored = json.loads(doc)
                paths, since = paths_of(stored["path"]), float(stored["since"])
                given = tuple((str(name), value) for name, value in stored.get("attributes", ()))
                went_along = dict(given) if stored.get("parameters") else None
                formats = Formats(*stored["formats"]) if "formats" in stored else None
            except (ValueError, TypeError, LookupError) as error:
                log.error("%s: a stored observation cannot be read: %s", registration.endpoint_name, error)
                self._database.write(_FORGET_OBSERVATION, (token,))
                continue
            if len(paths) > 1:
                observation = Observation(registration.client, Path(), since, paths, went_along)
            else:
                observation = Observation(registration.client, paths[0], since, (), went_along)
            observation.formats = formats
            observation.token = bytes(token)
            last = last_numbers.get(observation.token)
            if last is not None:
                observation.number, observation.message_id = last[0], last[1]
                observation.number_at = now - last[2]
            key = key_of(paths)
            registration.observations[key] = observation
            if given:
                registration.given = {**(registration.given or {}), key: given}
            self._server.restore_observation(observation)

    # What is wanted

    def wanted(self, registration: Registration) -> Mapping[str, Wish]:
        """Key -> wish, for what shall be observed at this device; not to be changed."""
        return self._wishes.of(registration)

    def want(
        self,
        registration: Registration,
        key: Path | str,
        attributes: Attributes = (),
        done: Callable[[], None] | None = None,
    ) -> None:
        """Somebody asked for this observation: it is wanted until he says otherwise."""
        self._wishes.ask(registration, str(key), attributes, done)
        for noted in (registration.refused, registration.remarks, registration.attributed):
            if noted is not None:
                noted.pop(str(key), None)

    def unwant(
        self, registration: Registration, key: Path | str, done: Callable[[], None] | None = None
    ) -> None:
        """Not wanted any more, not even as a default."""
        self._wishes.refrain(registration, str(key), done)
        self._settled(registration, str(key))
        for noted in (registration.refused, registration.given):
            if noted is not None:
                noted.pop(str(key), None)

    def forget(self, registration: Registration) -> None:
        """The device is removed: neither active nor wanted."""
        self.end_all(registration)
        self._wishes.forget(registration.endpoint_name)

    def wishes_changed(self) -> None:
        """An object definition or a template came or went: what follows from it is another question now."""
        self._wishes.changed()

    def follow_wishes(self) -> None:
        """A template came, went or changed: bring it about, a slice of the fleet at a time."""
        self._wishes.changed()
        self._following = iter([*self._registry])
        if not self._follows:
            self._follows = True
            self._follow_slice()

    def _follow_slice(self) -> None:
        for registration in islice(self._following, _SLICE):
            self._prune(registration)
            self.reconcile(registration)
        rest = next(self._following, None)
        if rest is None:
            self._follows = False
            return
        self._following = chain((rest,), self._following)
        self._later(_SLICE_PERIOD_S, self._follow_slice)

    # What is active

    def end_all(self, registration: Registration) -> None:
        """The registration ended, or its connection: its observations with it (OMA Core §6.2.3)."""
        for observation in list(registration.observations.values()):
            self.end(registration, observation)
        registration.refused = registration.remarks = registration.attributed = registration.given = None

    def end(self, registration: Registration, observation: Observation) -> None:
        """One observation ended, by either side."""
        self._server.end_observation(observation)
        key = observation.name
        if registration.observations.get(key) is observation:
            del registration.observations[key]
            self._settled(registration, key)
        self._database.write(_FORGET_OBSERVATION, (observation.token,))

    def _settled(self, registration: Registration, key: str) -> None:
        """What was noted about one observation on its way holds no longer."""
        for noted in (registration.remarks, registration.attributed):
            if noted is not None:
                noted.pop(key, None)

    def refused(self, registration: Registration, key: str, code: int) -> None:
        """The device does not give it: not asked again before its next Register, or while it is just busy."""
        if registration.refused is None:
            registration.refused = {}
        registration.refused[key] = code

    def updated(self, registration: Registration) -> None:
        """An Update was answered: the device is awake, so what is missing is asked for."""
        if registration.refused:
            for key, code in list(registration.refused.items()):
                if code in _PASSING:
                    del registration.refused[key]
        self.reconcile(registration)

    def objects_changed(self, registration: Registration, before: ObjectList) -> None:
        """An Update brought another object list: what left it is not observed, what is new is asked again.

        Raises StorageFull.
        """
        objects = registration.client.objects
        gone = set(before.instances).difference(objects.instances)
        fresh = set(objects.instances).difference(before.instances)
        for observation in list(registration.observations.values()):
            if all(
                path[0] not in objects.objects or (path.level > 1 and Path(path[0], path[1]) in gone)
                for path in observation.paths or (observation.path,)
            ):
                self.end(registration, observation)
        if fresh and registration.refused:
            for key in list(registration.refused):
                if any(
                    path.contains(instance) or instance.contains(path)
                    for instance in fresh
                    for path in paths_of(key)
                ):
                    del registration.refused[key]

        self._prune(registration)

    def _prune(self, registration: Registration) -> None:
        """Forget what was noted of wishes that are no more: a device could make it grow without end."""
        wishes = self.wanted(registration)
        for noted in (
            registration.refused,
            registration.remarks,
            registration.attributed,
            registration.given,
        ):
            if noted:
                for key in [key for key in noted if key not in wishes]:
                    del noted[key]

    def add(self, registration: Registration, observation: Observation, given: Attributes = ()) -> None:
        """An observation was established: keep it over a restart."""
        key = observation.name
        earlier = registration.observations.get(key)
        remark = registration.remarks.get(key) if registration.remarks is not None else None
        if earlier is not None and earlier is not observation:
            self.end(registration, earlier)
        registration.observations[key] = observation
        if registration.refused is not None:
            registration.refused.pop(key, None)
        if given:
            registration.given = {**(registration.given or {}), key: given}
        elif registration.given is not None:
            registration.given.pop(key, None)
        if remark:
            self._remark(registration, key, remark)
        self._database.write(
            _SAVE_OBSERVATION, (observation.token, registration.id, _document(key, observation, given))
        )

    # Bringing it about

    def reconcile(self, registration: Registration) -> None:
        """End what is not wanted any more and start what is missing, one request after the other."""
        if registration.reconciling or registration.ended:
            return
        wishes = self.wanted(registration)
        observations = registration.observations
        surplus = self._surplus(registration, wishes) if observations else None
        wish = None if surplus is not None else self._next_missing(registration, wishes)
        if (surplus is None and wish is None) or not self.may_ask(registration):
            return
        registration.reconciling = True

        def again() -> None:
            if self._registry.at(registration.id) is registration:
                self.reconcile(registration)

        def go_on(response: Response) -> None:
            registration.reconciling = False
            # No answer at all: the device is away. Its next Update or Register starts the rest.
            if not response.failure:
                again()
            elif response.failure == "queue full":
                self._later(_FULL_LINE_S, again)

        if surplus is not None:
            self._cancel(registration, surplus, go_on)
        elif wish is not None:
            self.start(registration, wish, go_on)

    def _cancel(
        self, registration: Registration, observation: Observation, done: Callable[[Response], None]
    ) -> None:
        def cancelled(response: Response) -> None:
            try:
                self.end(registration, observation)
            except StorageFull as error:
                log.warning("%s: the end of an observation: %s", registration.endpoint_name, error)
                response = Response(0, failure="cancelled")
            done(response)

        self._server.cancel(observation, self._settings.operation_timeout_s, cancelled)

    async def begin(self, registration: Registration, key: str) -> Response:
        """Start one wish at once, because somebody waits for it; the answer to its Observe.

        Its values are the asker's to keep. For a device that sleeps the answer is one without a code.
        """
        wish = self.wanted(registration).get(key)
        if wish is not None and not self.may_ask(registration):
            return Response(0, failure=_LATER)
        response = Response(0x85)  # no composites there, as was found out before
        if wish is not None:
            answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

            def answered(found: Response) -> None:
                if not answer.done():
                    answer.set_result(found)

            self.start(registration, wish, answered, tell=False)
            response = await answer
        if key not in self.wanted(registration) and registration.singly and not response.ok:
            self.reconcile(registration)
            words = "the device has no composite observations; its paths are observed one by one"
            response = response._replace(warning=words)
        remark = (registration.remarks or {}).get(key)
        return response._replace(warning=remark) if remark and response.ok else response

    def start(
        self,
        registration: Registration,
        wish: Wish,
        done: Callable[[Response], None],
        *,
        tell: bool = True,
    ) -> None:
        """Bring one wish about, attributes first; ``done`` with the last answer, when it is kept.

        ``tell`` hands its values to ``answered`` too.
        """
        written = (registration.attributed or {}).get(wish.key)
        if self._to_write(registration, wish) and (
            written is None or written < len(wish.paths)  # since 1.2 they go along, if the client lets them
        ):
            if written is None and self._go_along(registration, wish):
                self._observe(registration, wish, True, done, tell)
            else:
                self._write_attributes(registration, wish, written or 0, done, tell)
            return
        self._observe(registration, wish, False, done, tell)

    def _go_along(self, registration: Registration, wish: Wish) -> bool:
        """Whether its attributes may be part of the Observe (1.2 §6.4.1); of a composite not all may."""
        client = registration.client
        if client.version < "1.2" or not wish.attributes:
            return False
        try:
            check_attributes(
                dict(wish.attributes),
                version=client.version,
                path=None if wish.composite else wish.paths[0],
                model=client.model,
                composite=wish.composite,
            )
        except AttributesError:
            return False  # written one by one, each is said that cannot be
        return True

    def _write_attributes(
        self,
        registration: Registration,
        wish: Wish,
        number: int,
        done: Callable[[Response], None],
        tell: bool,
    ) -> None:
        """The attributes of the path with that number, then of those after it, then the observation."""
        path = wish.paths[number]
        attributes = self._to_write(registration, wish)
        client = registration.client

        def taken(response: Response) -> None:
            if response.failure or self._registry.at(registration.id) is not registration:
                done(response if response.failure else Response(0, failure="cancelled"))
                return
            if not response.ok:
                said = f": {response.warning}" if response.warning else ""
                words = f"{path} did not take its attributes ({outcome_words(response.code)}{said})"
                self._remark(registration, wish.key, words)
            self._attributed(registration, wish.key, number + 1)
            self.start(registration, wish, done, tell=tell)

        try:
            check_attributes(attributes, version=client.version, path=path, model=client.model)
        except AttributesError as error:
            self._remark(registration, wish.key, f"{path} is observed without attributes: {error}")
            self._attributed(registration, wish.key, number + 1)
            self.start(registration, wish, done, tell=tell)
            return
        self._server.request(
            client, WriteAttributes(path, attributes), self._settings.operation_timeout_s, taken
        )

    def _observe(
        self,
        registration: Registration,
        wish: Wish,
        with_attributes: bool,
        done: Callable[[Response], None],
        tell: bool,
    ) -> None:
        parameters = (dict(wish.attributes) or None) if with_attributes else None

        def established(response: Response) -> None:
            alive = self._registry.at(registration.id) is registration
            if not alive or wish.key not in self.wanted(registration):  # ended or cancelled meanwhile
                if response.observation is not None:
                    self._server.end_observation(response.observation)
                done(response if alive else Response(0, failure="cancelled"))
                return
            if with_attributes and response.code in _NO_PARAMETERS:
                self._attributed(registration, wish.key, 0)
                self.start(registration, wish, done, tell=tell)
                return
            if response.failure != "cancelled":
                try:
                    self._established(registration, wish, response, tell)
                except StorageFull as error:
                    log.warning(
                        "%s: observing %s is not stored: %s", registration.endpoint_name, wish.key, error
                    )
            done(response)

        operation: Observe | ObserveComposite
        if wish.composite:
            operation = ObserveComposite(wish.paths, parameters)
        else:
            operation = Observe(wish.paths[0], parameters)
        self._server.request(registration.client, operation, self._settings.operation_timeout_s, established)

    def _established(self, registration: Registration, wish: Wish, response: Response, tell: bool) -> None:
        observation = response.observation
        if observation is not None:
            self.add(registration, observation, wish.attributes)
        elif wish.composite and (response.ok or response.code in _NO_COMPOSITE):
            log.info("%s: no composite observation; one by one then", registration.endpoint_name)
            registration.singly = True
            self._registry.save(registration)
            return
        elif not response.failure:
            self.refused(registration, wish.key, response.code)
        else:
            log.info(
                "%s: observing %s: %s",
                registration.endpoint_name,
                wish.key,
                failure_words(response.failure),
            )
        if tell:
            self._answered(registration, wish.key, response)

    def _to_write(self, registration: Registration, wish: Wish) -> dict[str, str | None]:
        """The attributes of a wish, and as unset those that the device was given before and should lose."""
        before = registration.given.get(wish.key, ()) if registration.given is not None else ()
        unset: dict[str, str | None] = {name: None for name, value in before if value is not None}
        return {**unset, **dict(wish.attributes)}

    def _attributed(self, registration: Registration, key: str, number: int) -> None:
        if registration.attributed is None:
            registration.attributed = {}
        registration.attributed[key] = number

    def _remark(self, registration: Registration, key: str, words: str) -> None:
        if registration.remarks is None:
            registration.remarks = {}
        registration.remarks[key] = words

    def _surplus(self, registration: Registration, wishes: Mapping[str, Wish]) -> Observation | None:
        """An active observation that is not wanted, or not any more with the attributes it began with."""
        for key, observation in registration.observations.items():
            wish = wishes.get(key)
            if wish is None:
                return observation
            given = registration.given.get(key, ()) if registration.given is not None else ()
            if wish.attributes != given:
                return observation
        return None

    def _next_missing(self, registration: Registration, wishes: Mapping[str, Wish]) -> Wish | None:
        refused = registration.refused
        for key, wish in wishes.items():
            if key in registration.observations or (refused is not None and key in refused):
                continue
            return wish
        return None

    # How it stands

    def rows(self, registration: Registration) -> list[dict[str, Any]]:
        """What is wanted, what is active and why not, in the shape of the API; ``since`` is epoch seconds."""
        return [self._row(registration, wish) for _, wish in sorted(self.wanted(registration).items())]

    def _row(self, registration: Registration, wish: Wish) -> dict[str, Any]:
        key = wish.key
        active = registration.observations.get(key)
        code = (registration.refused or {}).get(key)
        reason = (registration.remarks or {}).get(key)
        if active is not None:
            state = "active"
        elif code is not None:
            state, reason = "refused", refusal_words(code)
        elif registration.ended:
            state, reason = "waiting", "The device is not registered now."
        elif not self.may_ask(registration):
            state, reason = "waiting", "Waits for the device, which sleeps."
        else:
            state, reason = "wanted", reason or "Waiting for the device."
        return {
            "id": wish.id,
            "path": key,
            "paths": [str(path) for path in wish.paths],
            "state": state,
            "since": active.since if active is not None else None,
            "reason": reason,
            "origin": wish.origin,
            "attributes": shown_attributes(wish.attributes),
            "composite": wish.composite,
        }


def _document(key: str, observation: Observation, given: Attributes) -> str:
    """What must be known after a restart: also how it was asked for, as its end is asked for likewise."""
    rare = ""
    if given:
        rare += f',"attributes":{json.dumps(given)}'
    if observation.attributes is not None:
        rare += ',"parameters":true'
    formats = observation.formats
    if formats is not None and (observation.paths or formats.accept is not None):
        sends = "null" if formats.sends is None else formats.sends
        accept = "null" if formats.accept is None else formats.accept
        rare += f',"formats":[{sends},{accept}]'
    return f'{{"path":"{key}","since":{observation.since:.3f}{rare}}}'


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
