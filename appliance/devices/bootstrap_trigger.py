"""Bootstrapping that the gateway asks for: Execute of /1/x/9, through the queue (OMA Core 1.1.1 §6.1.3.4).

Who sleeps or is away is asked when it is heard again, also after a restart. A device that has no such trigger
is left as it is, and a person reads what else brings it to bootstrap.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
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
_TRIGGER: Final = 9
_MAX_TIMES: Final = 3  # for one wish; a device that takes the trigger and never comes is not asked for ever


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
    ) -> None:
        self._vault = vault
        self._registry = registry
        self._tasks = tasks
        self._sessions = sessions
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._times: dict[str, tuple[float, int]] = {}  # by device: of which wish, and how often

    def check(self, devices: Iterable[Device]) -> None:
        """The vault has changed: somebody may have asked."""
        for device in devices:
            if device.rebootstrap_asked is None:
                continue
            registration = self._registry.named(device.endpoint_name)
            if registration is not None:
                self.registered(registration)

    def registered(self, registration: Registration) -> None:
        """It is there, or was: trigger it if somebody asked."""
        name = registration.endpoint_name
        asked_at = self._asked(name)
        if asked_at is None:
            self._times.pop(name, None)
            return
        if registration.gateway is not None or (registration.ended and not registration.queue_mode):
            return
        wish, times = self._times.get(name, (asked_at, 0))
        times = times if wish == asked_at else 0
        if times >= _MAX_TIMES or self._is_open(name):
            return
        path = _trigger_of(registration)
        request = {"operation": "Execute", "path": str(path)}
        try:
            self._tasks.submit(
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
            return
        self._times[name] = asked_at, times + 1

    def _asked(self, endpoint_name: str) -> float | None:
        """When a person asked for it, None when nobody did."""
        device = self._vault.device(endpoint_name)
        return None if device is None else device.rebootstrap_asked

    def _is_open(self, name: str) -> bool:
        return any(
            task.verb == "Execute" and task.origin == ORIGIN
            for task in self._tasks.find(endpoint_name=name, state="open")
        )

    def _ended(self, task: Task) -> None:
        if task.state in OPEN:
            task.waiters = (*task.waiters, self._ended)  # it waits for the device; its end is what counts
            return
        code = str((task.outcome or {}).get("code", ""))
        if not code.startswith("4") and not code.startswith("5"):
            return
        name = task.endpoint_name
        asked_at = self._asked(name)
        if asked_at is not None:
            self._times[name] = asked_at, _MAX_TIMES
        session = self._sessions.begin(name, "", "", None)
        self._sessions.step(session, "Trigger", task.shown_path, code, task.reason, ok=False)
        words = (
            f"{name} cannot be told to bootstrap ({code} to Execute {task.shown_path}): restart it, or "
            "revoke its key for this server, and it bootstraps when it cannot register."
        )
        self._sessions.end(session, "failed", words)


def _trigger_of(registration: Registration) -> Path:
    """The trigger of the first server account that the device lists."""
    listed = sorted(path[1] for path in registration.client.objects.instances if path[0] == SERVER)
    return Path(SERVER, listed[0] if listed else 0, _TRIGGER)
