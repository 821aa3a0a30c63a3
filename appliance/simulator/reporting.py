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

from appliance.simulator import payloads
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
    """One token of the server on one path."""

    __slots__ = ("content_format", "path", "reported_at", "reported_value", "timer", "token")

    def __init__(self, token: bytes, path: Path, content_format: int) -> None:
        self.token = token
        self.path = path
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

    def observe(self, token: bytes, path: Path, content_format: int, view: Any) -> int:
        """Start or renew an observation whose first answer shows ``view``; gives its Observe number."""
        self.cancel(token)
        observation = self.observations[token] = Observation(token, path, content_format)
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
            if any(_touches(observation.path, path) for path in touched):
                self._consider(observation)

    def attributes_changed(self, path: Path) -> None:
        for observation in self.observations.values():
            if _touches(path, observation.path):
                self._arm(observation)

    def _consider(self, observation: Observation) -> None:
        rules = self._rules(observation)
        if len(observation.path) >= 3:
            try:
                value = self._tree.view(observation.path)
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
            view = self.sample(observation.path)
        except Refused as refused:  # RFC 7641 §4.2: an error ends the observation
            _stop_timer(observation)
            del self.observations[observation.token]
            message.opt.observe = None
            message.code = aiocoap.Code(refused.code[0] << 5 | refused.code[1])
        else:
            message.code = aiocoap.CONTENT
            message.opt.content_format = observation.content_format
            number = payloads.OLD_NUMBERS.get(observation.content_format, observation.content_format)
            message.payload = payloads.encode(number, observation.path, view, self._tree.type_of)
            if len(message.payload) > BLOCK_BYTES:
                self._remember(observation.path, observation.content_format, message.payload)
                message = message._extract_block(0, 6, BLOCK_BYTES)
            values = tuple((slashed(path), value) for path, value in payloads.leaves(observation.path, view))
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
        return self._attributes.rules(
            observation.path, self._seconds(DEFAULT_PMIN), self._seconds(DEFAULT_PMAX)
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
