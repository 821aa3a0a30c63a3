"""Bootstrapping that the gateway asks for: Execute of /1/x/9, through the queue (OMA Core 1.1.1 §6.1.3.4).

The laws of this file:

- who sleeps or is away is asked when it is heard again, also after a restart;
- of those that listen at most AT_ONCE are told and not done yet, and more follow once a second, so that a
  thousand devices do not come at the same time; who sleeps comes in its own time and is not counted;
- a device is told again only when it came back without having bootstrapped, or did nothing for a while, and
  three times at most for one wish; then, or where it has no such trigger, a person reads what else to do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from appliance.devices.bootstrap_sessions import Sessions
from appliance.devices.errors import DeviceError
from appliance.devices.registry import Registration, Registry
from appliance.devices.tasks import OPEN, Task, Tasks
from appliance.lwm2m.bootstrap import SERVER
from appliance.lwm2m.operations import Execute
from appliance.lwm2m.path import Path
from appliance.storage.errors import StorageFull
from appliance.vault.model import Device
from appliance.vault.vault import Vault

log = logging.getLogger(__name__)

ORIGIN: Final = "bootstrap"
AT_ONCE: Final = 50
_TRIGGER: Final = 9
_MAX_TIMES: Final = 3
_TURN_S: Final = 60.0  # so long a device that was told keeps its place; then it is somebody else's turn
_AGAIN_S: Final = 300.0  # so long it has to come: more than a bootstrap session may last
_MOST: Final = 1_000_000


class _Wish:
    """What one device shall do, and how far that is. Times are monotonic but for ``asked_at``."""

    __slots__ = ("asked_at", "is_over", "refused", "task", "times", "told_at")

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.times = 0
        self.told_at = float("-inf")
        self.task: Task | None = None
        self.is_over = False  # nothing more is done for it
        self.refused: set[str] = set()  # triggers that are not ours to execute


class Rebootstraps:
    """Event loop only."""

    def __init__(
        self,
        vault: Vault,
        registry: Registry,
        tasks: Tasks,
        sessions: Sessions,
        timeout_s: float,
        ttl_s: float,
        monotonic: Callable[[], float],
        under_way: Callable[[str], bool],
    ) -> None:
        """``under_way`` tells whether a device is being bootstrapped just now."""
        self._vault = vault
        self._registry = registry
        self._tasks = tasks
        self._sessions = sessions
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._under_way = under_way
        self._wishes: dict[str, _Wish] = {}
        self._restored: dict[str, Task] | None = None  # triggers of before our start, by device

    def check(self, devices: Iterable[Device]) -> None:
        """The vault has changed, and these are all devices in it: somebody may have asked."""
        left = self._left_over()
        gone = dict(self._wishes)
        for device in devices:
            gone.pop(device.endpoint_name, None)
            if self._wish_of(device) is not None:
                left.pop(device.endpoint_name, None)
        for name, wish in gone.items():
            self._withdraw(name, wish)
        for task in left.values():  # withdrawn while we were away
            self._tasks.cancel(task.id)
        self.tick()

    def tick(self) -> None:
        """Once a second: who is next."""
        if not self._wishes:
            return
        now = self._monotonic()
        busy = sum(1 for name, wish in self._wishes.items() if self._is_busy(name, wish, now))
        for name, wish in list(self._wishes.items()):
            registration = self._registry.named(name)
            if registration is None or wish.task is not None or now < wish.told_at + _AGAIN_S:
                continue
            if busy >= AT_ONCE and not registration.queue_mode:
                continue
            if self._tell(registration, wish) and not registration.queue_mode:
                busy += 1

    def registered(self, registration: Registration) -> None:
        """It has registered: if it was told before, it came back without having done it."""
        device = self._vault.device(registration.endpoint_name)
        wish = None if device is None else self._wish_of(device)
        if wish is None or wish.task is not None:
            return
        wish.told_at = float("-inf")
        if registration.queue_mode:
            self._tell(registration, wish)  # now it listens
        else:
            self.tick()

    def finished(self, endpoint_name: str, started_at: float) -> None:
        """It was bootstrapped, since then (epoch seconds): whatever was wished before that is done."""
        wish = self._wishes.get(endpoint_name)
        if wish is None or wish.asked_at > started_at:
            return
        wish.is_over = True
        if wish.task is not None:
            self._tasks.cancel(wish.task.id)  # it came by itself

    def _wish_of(self, device: Device) -> _Wish | None:
        name, asked_at = device.endpoint_name, device.rebootstrap_asked
        wish = self._wishes.get(name)
        if asked_at is None:
            if wish is not None:
                self._withdraw(name, wish)
            return None
        if wish is None or wish.asked_at != asked_at:
            before = None if wish is None else wish.task
            wish = self._wishes[name] = _Wish(asked_at)
            wish.task = before or self._left_over().get(name)
        return wish

    def _withdraw(self, name: str, wish: _Wish) -> None:
        """Nobody wants it any more, or it is done: what waits for the device is not sent."""
        del self._wishes[name]
        if wish.task is not None:
            self._tasks.cancel(wish.task.id)

    def _left_over(self) -> dict[str, Task]:
        """The triggers that wait since before our start, by device."""
        if self._restored is None:
            self._restored = {
                task.endpoint_name: task
                for task in self._tasks.find(state="open", limit=_MOST)
                if task.origin == ORIGIN and task.verb == "Execute"
            }
            for task in self._restored.values():
                task.waiters = (*task.waiters, self._ended)
        return {name: task for name, task in self._restored.items() if task.state in OPEN}

    def _is_busy(self, name: str, wish: _Wish, now: float) -> bool:
        if wish.is_over:
            return False
        if wish.task is None:
            return now < wish.told_at + _TURN_S
        registration = self._registry.named(name)
        return wish.task.state != "waiting" and registration is not None and not registration.queue_mode

    def _tell(self, registration: Registration, wish: _Wish) -> bool:
        """Whether it is on the way now."""
        name = registration.endpoint_name
        if wish.is_over or registration.gateway is not None:
            return False
        if registration.ended and not registration.queue_mode:
            return False
        wish.told_at = self._monotonic()
        if self._under_way(name):
            return False  # its end may be what was wished
        triggers = _triggers_of(registration)
        path = next((one for one in triggers if str(one) not in wish.refused), triggers[0])
        if wish.times >= _MAX_TIMES:
            wish.is_over = True
            self._give_up(
                name,
                path,
                "",
                f"{name} took Execute {path} {_MAX_TIMES} times and was not bootstrapped: see whether its "
                "bootstrap account leads here and has a key that is let in, or restart it.",
            )
            return False
        request = {"operation": "Execute", "path": str(path)}
        try:
            task = self._tasks.submit(
                registration,
                request,
                operation=Execute(path),
                timeout_s=self._timeout_s,
                ttl_s=self._ttl_s,
                on_lost="repeat",
                origin=ORIGIN,
                told=True,
                waiter=self._ended,
            )
        except (DeviceError, StorageFull) as error:
            log.warning("%s: its bootstrapping cannot be asked for now: %s", name, error)
            return False
        wish.times += 1
        wish.task = task if task.state in OPEN else None
        return True

    def _ended(self, task: Task) -> None:
        if task.state in OPEN:
            task.waiters = (*task.waiters, self._ended)  # it waits for the device; its end is what counts
            return
        name = task.endpoint_name
        wish = self._wishes.get(name)
        if wish is None or wish.task is not task:
            return
        wish.task = None
        wish.told_at = self._monotonic()
        code = str((task.outcome or {}).get("code", ""))
        if task.state == "cancelled":
            wish.is_over = True  # somebody does not want it, or it is done
        elif code.startswith(("4", "5")):
            wish.refused.add(task.shown_path)
            registration = self._registry.named(name)
            if registration is not None and any(
                str(path) not in wish.refused for path in _triggers_of(registration)
            ):
                # A device with several servers lets each one execute only what is its own (§8.2).
                wish.told_at = float("-inf")
                wish.times -= 1
                return
            wish.is_over = True
            self._give_up(
                name,
                task.shown_path,
                code,
                f"{name} cannot be told to bootstrap ({code} to Execute {task.shown_path}): restart it, or "
                "revoke its key for this server, and it bootstraps when it cannot register.",
                task.reason,
            )

    def _give_up(self, name: str, path: object, code: str, words: str, reason: str = "") -> None:
        session = self._sessions.begin(name, "", "", None)
        self._sessions.step(session, "Trigger", str(path), code, reason, ok=False)
        self._sessions.end(session, "failed", words)


def _triggers_of(registration: Registration) -> list[Path]:
    """The triggers of the server accounts that the device lists; one of them is ours."""
    listed = sorted(path[1] for path in registration.client.objects.instances if path[0] == SERVER)
    return [Path(SERVER, number, _TRIGGER) for number in listed or (0,)]
