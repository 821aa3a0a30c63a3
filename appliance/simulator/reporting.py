"""What a device reports, and when: its observations (RFC 7641) under the rules of attributes.py.

With ``counter`` the resource /3303/0/5700 counts up, and whenever its value leaves the device, in
a notification or in an answer, it is a number that never left before: what a server stores can then be
compared with what it acknowledged, value by value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import aiocoap

from appliance.simulator import composite, payloads
from appliance.simulator.attributes import AttributeStore, Rules
from appliance.simulator.notifier import Notification, Notifier
from appliance.simulator.payloads import Path
from appliance.simulator.tree import ObjectTree, Refused, slashed

COUNTER_PATH: Path = (3303, 0, 5700)
DEFAULT_PMIN: Path = (1, 0, 2)
DEFAULT_PMAX: Path = (1, 0, 3)
SEQUENCE_MODULUS = 1 << 24  # RFC 7641 §4.4
BLOCK_BYTES = 1024


class Observation:
    """One token of the server on one path, or on several as one (Observe-Composite)."""

    __slots__ = ("content_format", "paths", "reported_at", "reported_value", "several", "timer", "token")

    def __init__(self, token: bytes, paths: tuple[Path, ...], content_format: int, *, several: bool) -> None:
        self.token = token
        self.paths = paths
        self.several = several
        self.content_format = content_format
        self.reported_at = 0.0
        self.reported_value: object = None
        self.timer: asyncio.TimerHandle | None = None


class Reporter:
    """The observations of one device; ``remember`` keeps a long body for the GETs that follow."""

    def __init__(
        self,
        tree: ObjectTree,
        attributes: AttributeStore,
        notifier: Notifier,
        *,
        counter: bool,
        remember: Callable[[Path, int, bytes], None],
    ) -> None:
        self._tree = tree
        self._attributes = attributes
        self._notifier = notifier
        self._counter = counter
        self._remember = remember
        self._count = 0
        self._fresh = False  # the count was raised and has not left the device yet
        self._sequence = 0
        self._loop = asyncio.get_running_loop()
        self.observations: dict[bytes, Observation] = {}

    # --- values that leave -----------------------------------------------------------------------------

    def sample(self, path: Path) -> Any:
        """The view at ``path`` for sending it now. Raises Refused."""
        if self._counter and _touches(path, COUNTER_PATH):
            if not self._fresh:
                self._raise_count()
            self._fresh = False
        return self._tree.view(path)

    def count_up(self) -> list[Path]:
        """One period of a counting device; gives the changed resource."""
        return [COUNTER_PATH] if self._raise_count() else []

    def _raise_count(self) -> bool:
        try:
            self._tree.set(COUNTER_PATH, float(self._count + 1))
        except Refused:  # the server deleted the instance
            return False
        self._count += 1
        self._fresh = True
        return True

    # --- observations ----------------------------------------------------------------------------------

    def sample_all(self, paths: Iterable[Path]) -> list[tuple[Path, Any]]:
        """The views of several paths; what cannot be read is left out, as a composite wants it."""
        views: list[tuple[Path, Any]] = []
        for path in paths:
            for single in (path,) if path else self._tree.objects():
                try:
                    views.append((single, self.sample(single)))
                except Refused:
                    continue
        return views

    def observe(
        self, token: bytes, paths: tuple[Path, ...], content_format: int, view: Any, *, several: bool = False
    ) -> int:
        """Start or renew an observation whose first answer shows ``view``; gives its Observe number."""
        self.cancel(token)
        observation = self.observations[token] = Observation(token, paths, content_format, several=several)
        observation.reported_at = self._loop.time()
        observation.reported_value = view
        self._arm(observation)
        return self._next_sequence()

    def cancel(self, token: bytes) -> None:
        observation = self.observations.pop(token, None)
        if observation is not None:
            _stop_timer(observation)
            self._notifier.forget(token)

    def clear(self) -> None:
        """Forget every observation: a Register follows, after which the server asks anew."""
        for token in list(self.observations):
            self.cancel(token)

    def changed(self, paths: Iterable[Path]) -> None:
        """Resources have new values: report them to those who observe them and want to know."""
        touched = list(paths)
        for observation in list(self.observations.values()):
            if any(_touches(mine, path) for path in touched for mine in observation.paths):
                self._consider(observation)

    def attributes_changed(self, path: Path) -> None:
        for observation in self.observations.values():
            if any(_touches(path, mine) for mine in observation.paths):
                self._arm(observation)

    def _consider(self, observation: Observation) -> None:
        rules = self._rules(observation)
        if not observation.several and len(observation.paths[0]) >= 3:
            try:
                value = self._tree.view(observation.paths[0])
            except Refused:
                value = None  # gone: _report tells the server
            if value is not None and not rules.worth_reporting(value, observation.reported_value):
                return
        wait_s = observation.reported_at + rules.pmin - self._loop.time()
        if wait_s <= 0:
            self._report(observation)
        else:
            _stop_timer(observation)
            observation.timer = self._loop.call_later(wait_s, self._report, observation)

    def _report(self, observation: Observation) -> None:
        message = aiocoap.Message()
        message.opt.observe = sequence = self._next_sequence()
        values: tuple[tuple[str, Any], ...] = ()
        try:
            view: Any
            if observation.several:
                view = self.sample_all(observation.paths)
            else:
                view = self.sample(observation.paths[0])
        except Refused as refused:  # RFC 7641 §4.2: an error ends the observation
            _stop_timer(observation)
            del self.observations[observation.token]
            message.opt.observe = None
            message.code = aiocoap.Code(refused.code[0] << 5 | refused.code[1])
        else:
            message.code = aiocoap.CONTENT
            number = payloads.OLD_NUMBERS.get(observation.content_format, observation.content_format)
            if observation.several:
                message.opt.content_format = composite.plain(number)
                message.payload = composite.encode(number, view, self._tree.type_of)
                path: Path = ()
                shown = [leaf for part, below in view for leaf in payloads.leaves(part, below)]
            else:
                message.opt.content_format = observation.content_format
                path = observation.paths[0]
                message.payload = payloads.encode(number, path, view, self._tree.type_of)
                shown = list(payloads.leaves(path, view))
            if len(message.payload) > BLOCK_BYTES:
                self._remember(path, observation.content_format, message.payload)
                message = message._extract_block(0, 6, BLOCK_BYTES)
            values = tuple((slashed(leaf), value) for leaf, value in shown)
            observation.reported_at = self._loop.time()
            observation.reported_value = view
            self._arm(observation)
        self._notifier.submit(Notification(observation.token, sequence, message, values))

    def _arm(self, observation: Observation) -> None:
        """Have pmax watched from the last report on."""
        _stop_timer(observation)
        rules = self._rules(observation)
        if rules.pmax is not None:
            due_at = observation.reported_at + rules.pmax
            observation.timer = self._loop.call_at(due_at, self._report, observation)

    def _rules(self, observation: Observation) -> Rules:
        """What holds for the path; of several paths the longest pmin and the shortest pmax."""
        defaults = self._seconds(DEFAULT_PMIN), self._seconds(DEFAULT_PMAX)
        rules = [self._attributes.rules(path, *defaults) for path in observation.paths]
        if not observation.several:
            return rules[0]
        return Rules(
            pmin=max(rule.pmin for rule in rules),
            pmax=min((rule.pmax for rule in rules if rule.pmax is not None), default=None),
        )

    def _seconds(self, path: Path) -> float:
        value = self._tree.value(path, 0)
        return float(value) if isinstance(value, int | float) else 0.0

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) % SEQUENCE_MODULUS
        return self._sequence


def _touches(one: Path, other: Path) -> bool:
    """Whether one path lies on or below the other, either way round."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _stop_timer(observation: Observation) -> None:
    if observation.timer is not None:
        observation.timer.cancel()
        observation.timer = None
