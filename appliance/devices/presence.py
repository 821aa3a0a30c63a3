"""When a device in queue mode listens (OMA Core 1.1.1 §6.5; traps 18 and 19).

The law of this file: any message whose sender is known opens the window, and nothing but time closes it, or a
request within it that nobody answered. Who is not in queue mode always listens.

The window is what a person set for the device, or else learned: 93 s (MAX_TRANSMIT_WAIT) at first, shorter
when requests late in it stay unanswered, longer again when they are answered. When a device that sleeps will
come is guessed from the time between its visits, and without two visits from its lifetime.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from appliance.devices.registry import Registration
from appliance.devices.settings import DevicesSettings
from appliance.storage.database import Database

_SAVE = "INSERT OR REPLACE INTO awake(endpoint_name, awake_s) VALUES (?,?)"
_FORGET = "DELETE FROM awake WHERE endpoint_name = ?"

SHORTEST_S = 1.0
_VISIT_WEIGHT = 0.3  # of the newest interval between visits in the learned one
_MISSES = 2  # unanswered requests in a row before the window is taken for shorter: one may be lost on the way


class _Sleeper:
    """What is known of one device in queue mode; times are monotonic seconds."""

    __slots__ = (
        *("asleep", "heard", "interval_s", "misses", "registration", "until", "visit", "watched", "window_s"),
    )

    def __init__(self, registration: Registration, window_s: float) -> None:
        self.registration = registration
        self.window_s = window_s
        self.heard = float("-inf")
        self.until = float("-inf")
        self.visit = float("-inf")  # when it last woke
        self.interval_s = 0.0
        self.misses = 0
        self.asleep = True
        self.watched = False


class Presence:
    """Who listens, until when, and when the others are expected.

    ``slept`` and ``woke`` are told of each change of a device in queue mode, in the loop.
    """

    def __init__(self, settings: DevicesSettings, database: Database, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._database = database
        self._monotonic = monotonic
        self._sleepers: dict[str, _Sleeper] = {}
        self._set: dict[str, float] = {}
        self._deadlines: list[tuple[float, str]] = []
        self.slept: Callable[[Registration], None] = lambda _: None
        self.woke: Callable[[Registration], None] = lambda _: None

    def load(self) -> None:
        """Take back what people set. Everybody in queue mode counts as asleep until he is heard."""
        for endpoint_name, awake_s in self._database.read("SELECT endpoint_name, awake_s FROM awake", ()):
            self._set[endpoint_name] = awake_s

    def heard(self, registration: Registration) -> None:
        """A message of the device arrived, and it was the device: the window opens, or stays open."""
        if not registration.queue_mode:
            return
        now = self._monotonic()
        sleeper = self._sleeper(registration)
        if now > sleeper.until:
            if sleeper.visit > float("-inf"):
                interval = now - sleeper.visit
                known = sleeper.interval_s
                sleeper.interval_s = known + _VISIT_WEIGHT * (interval - known) if known else interval
            sleeper.visit = now
        sleeper.heard = now
        sleeper.until = now + sleeper.window_s
        if not sleeper.watched:
            sleeper.watched = True
            heapq.heappush(self._deadlines, (sleeper.until, registration.endpoint_name))
        if sleeper.asleep:
            sleeper.asleep = False
            self.woke(registration)

    def answered(self, registration: Registration, silence_s: float) -> None:
        """It answered a request that left ``silence_s`` after its last message."""
        sleeper = self._sleepers.get(registration.endpoint_name)
        if sleeper is not None:
            sleeper.misses = 0
            if silence_s > sleeper.window_s / 2 and registration.endpoint_name not in self._set:
                # An early answer says nothing about how long it would have listened.
                sleeper.window_s = min(self._settings.awake_s, max(sleeper.window_s * 1.1, silence_s))
        self.heard(registration)

    def unanswered(self, registration: Registration, silence_s: float) -> None:
        """A request that left ``silence_s`` after its last message stayed without an answer: it sleeps."""
        sleeper = self._sleepers.get(registration.endpoint_name)
        if sleeper is None:
            return
        sleeper.misses += 1
        if (
            sleeper.misses >= _MISSES
            and registration.endpoint_name not in self._set
            and SHORTEST_S < silence_s < sleeper.window_s
        ):
            sleeper.window_s = max(SHORTEST_S, silence_s)
        sleeper.until = self._monotonic()
        self._fall_asleep(sleeper)

    def silence_s(self, registration: Registration) -> float:
        """Seconds since its last message."""
        sleeper = self._sleepers.get(registration.endpoint_name)
        return self._monotonic() - sleeper.heard if sleeper is not None else 0.0

    def listens(self, registration: Registration) -> bool:
        """Whether a request would be heard now."""
        if not registration.queue_mode:
            return True
        sleeper = self._sleepers.get(registration.endpoint_name)
        return sleeper is not None and self._monotonic() < sleeper.until

    def until_s(self, registration: Registration) -> float | None:
        """How many seconds it still listens; None when it sleeps, or never does."""
        sleeper = self._sleepers.get(registration.endpoint_name)
        if not registration.queue_mode or sleeper is None or registration.ended:
            return None
        left = sleeper.until - self._monotonic()
        return left if left > 0 else None

    def expected_in_s(self, registration: Registration) -> float | None:
        """In how many seconds a device that sleeps should come, as far as can be told; 0 is any moment."""
        if not registration.queue_mode or registration.ended or self.listens(registration):
            return None
        now = self._monotonic()
        sleeper = self._sleepers.get(registration.endpoint_name)
        if sleeper is not None and sleeper.interval_s:
            return max(0.0, sleeper.visit + sleeper.interval_s - now)
        if registration.expires == float("inf"):
            return None
        return max(0.0, registration.expires - now)

    def window_s(self, registration: Registration) -> float | None:
        """How long it listens after a message; None for one that always does."""
        if not registration.queue_mode:
            return None
        sleeper = self._sleepers.get(registration.endpoint_name)
        return sleeper.window_s if sleeper is not None else self._window(registration.endpoint_name)

    def set_window(self, registration: Registration, awake_s: float | None) -> None:
        """What a person knows better; None: learned from now on. Raises StorageFull."""
        name = registration.endpoint_name
        if awake_s is None:
            self._database.write(_FORGET, (name,))
            self._set.pop(name, None)
        else:
            self._database.write(_SAVE, (name, awake_s))
            self._set[name] = awake_s
        sleeper = self._sleepers.get(name)
        if sleeper is not None:
            sleeper.misses = 0
            sleeper.window_s = self._window(name)
            sleeper.until = sleeper.heard + sleeper.window_s
            if not sleeper.asleep:  # a shorter window: the deadline in the heap would be too late
                heapq.heappush(self._deadlines, (sleeper.until, name))

    def forget(self, endpoint_name: str) -> None:
        """The device is removed."""
        self._sleepers.pop(endpoint_name, None)
        if self._set.pop(endpoint_name, None) is not None:
            self._database.write(_FORGET, (endpoint_name,))

    def fall_asleep(self) -> None:
        """Tell who fell asleep since the last call. Costs nothing while nobody does."""
        now = self._monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, name = heapq.heappop(self._deadlines)
            sleeper = self._sleepers.get(name)
            if sleeper is None or sleeper.asleep:
                if sleeper is not None:
                    sleeper.watched = False
                continue
            if sleeper.until > now:
                heapq.heappush(self._deadlines, (sleeper.until, name))  # heard since
                continue
            sleeper.watched = False
            self._fall_asleep(sleeper)

    def _fall_asleep(self, sleeper: _Sleeper) -> None:
        if not sleeper.asleep:
            sleeper.asleep = True
            if not sleeper.registration.ended:
                self.slept(sleeper.registration)

    def _sleeper(self, registration: Registration) -> _Sleeper:
        name = registration.endpoint_name
        sleeper = self._sleepers.get(name)
        if sleeper is None:
            sleeper = self._sleepers[name] = _Sleeper(registration, self._window(name))
        sleeper.registration = registration
        return sleeper

    def _window(self, endpoint_name: str) -> float:
        return self._set.get(endpoint_name, self._settings.awake_s)
