"""Devices behind a LwM2M Gateway (objects 25 and 26): devices of their own that speak through another one.

The law of this file: what the gateway lists is what there is. Its list is read after its Register, after an
Update that changes its instances of object 25, and whenever it is read or reported for another reason; a
device that left the list ends, and all of them end with their gateway. An end device has no location: no
message can pretend to be its registration.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from appliance.devices.observations import Observations
from appliance.devices.registry import Locations, Registration, Registry
from appliance.devices.settings import DevicesSettings
from appliance.devices.translation import Translation
from appliance.lwm2m.gateway import GATEWAY, ROUTING, EndDevice, read_end_devices
from appliance.lwm2m.operations import ObjectList, Read
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from appliance.lwm2m.words import failure_words, outcome_words
from appliance.southbound.server import LwM2MServer, Response
from appliance.storage.errors import StorageFull

log = logging.getLogger(__name__)


class Gateways:
    """Keeps the end devices of every gateway as its list says."""

    def __init__(
        self,
        settings: DevicesSettings,
        server: LwM2MServer,
        registry: Registry,
        observations: Observations,
        translation: Translation,
        wall: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._server = server
        self._registry = registry
        self._observations = observations
        self._translation = translation
        self._wall = wall
        self._locations = Locations()
        self.left: Callable[[Registration], None] = lambda _: None  # an end device is registered no more
        self._unread: set[str] = set()  # registrations whose list could not be read yet

    # What the gateway does

    def registered(self, gateway: Registration) -> None:
        """Its Register was answered."""
        if GATEWAY in gateway.client.objects.objects:
            self.refresh(gateway)
        elif gateway.end_devices:
            self.ended(gateway, "deregistered")

    def updated(self, gateway: Registration, before: ObjectList | None) -> None:
        """Its Update was answered; ``before`` is the list of objects that it replaced."""
        objects = gateway.client.objects
        if GATEWAY not in objects.objects:
            if gateway.end_devices:
                self.ended(gateway, "deregistered")
            return
        unread = gateway.end_devices is None or gateway.id in self._unread
        if unread or (before is not None and _listed(before) != _listed(objects)):
            self.refresh(gateway)
        for device in list((gateway.end_devices or {}).values()):
            self._observations.updated(device)

    def moved(self, gateway: Registration) -> None:
        """It has another address, and so have the devices behind it."""
        for device in (gateway.end_devices or {}).values():
            device.client.peer = gateway.client.peer
            self._server.follow(device.client)

    def replaced(self, old: Registration, new: Registration) -> None:
        """It registered again. What was observed behind it is gone with its own observations."""
        devices, old.end_devices = old.end_devices, None
        self._unread.discard(old.id)
        for prefix, device in (devices or {}).items():
            self._server.forget(device.client)
            self._observations.end_all(device)
            self._registry.put_behind(device, new, prefix)

    def ended(self, gateway: Registration, reason: str) -> None:
        """It deregistered, expired or was removed: those behind it cannot be reached any more."""
        self._unread.discard(gateway.id)
        for device in list((gateway.end_devices or {}).values()):
            self._end(gateway, device, reason, f"its gateway {gateway.endpoint_name} is gone")
        gateway.end_devices = None

    def dropped(self, device: Registration) -> None:
        """An end device is removed by a person, or has registered itself."""
        gateway = device.gateway
        if gateway is not None and gateway.end_devices is not None:
            if gateway.end_devices.get(device.client.prefix) is device:
                del gateway.end_devices[device.client.prefix]
            self._server.forget(device.client)

    # The list

    def refresh(self, gateway: Registration, done: Callable[[], None] | None = None) -> None:
        """Read the list anew; ``done`` when that is over, whatever came of it."""

        def read(response: Response) -> None:
            if response.ok and ROUTING in gateway.client.objects.objects:
                self._server.request(
                    gateway.client,
                    Read(Path(ROUTING)),
                    self._settings.operation_timeout_s,
                    lambda routing: finish(response, routing.reports),
                )
                return
            finish(response, ())

        def finish(response: Response, routing: Sequence[Report]) -> None:
            if self._registry.at(gateway.id) is gateway:
                if response.ok:
                    self.learned(gateway, (*response.reports, *routing))
                else:
                    self._unread.add(gateway.id)
                    words = failure_words(response.failure) if response.failure else ""
                    gateway.warn(
                        "The devices behind it are not known, as object 25 was not read: "
                        f"{words or outcome_words(response.code)}."
                    )
            if done is not None:
                done()

        self._server.request(gateway.client, Read(Path(GATEWAY)), self._settings.operation_timeout_s, read)

    def learned(self, gateway: Registration, reports: Sequence[Report]) -> None:
        """The gateway said what is behind it: /25 as a whole, and /26 for gateways of version 1.0."""
        self._unread.discard(gateway.id)
        if gateway.end_devices is None:
            gateway.end_devices = {}
        listed, problems = read_end_devices(reports)
        for problem in problems[:4]:
            gateway.warn(problem)
        if len(listed) > self._settings.max_end_devices:
            gateway.warn(
                f"It lists {len(listed)} devices; the first {self._settings.max_end_devices} are taken "
                "(devices.max_end_devices)."
            )
            listed = listed[: self._settings.max_end_devices]
        wanted = {f"/{device.prefix}": device for device in listed}
        try:
            for prefix, known in list((gateway.end_devices or {}).items()):
                device = wanted.get(prefix)
                if device is None or device.device_id != known.endpoint_name:
                    self._end(gateway, known, "deregistered", "its gateway does not list it any more")
            for prefix, device in wanted.items():
                self._take(gateway, prefix, device)
        except StorageFull as error:
            self._unread.add(gateway.id)
            log.warning("%s: its devices are not stored: %s", gateway.endpoint_name, error)

    def _take(self, gateway: Registration, prefix: str, listed: EndDevice) -> None:
        known = (gateway.end_devices or {}).get(prefix)
        if known is not None:
            self._refreshed(known, listed.objects)
            return
        name = listed.device_id
        other = self._registry.named(name)
        if other is not None and not other.ended:
            where = "registered itself" if other.gateway is None else "is behind another gateway"
            gateway.warn(f"It lists {name}, but a device of that name {where}; that one stays.")
            return
        if other is None and len(self._registry) >= self._settings.max_devices:
            gateway.warn("Not all of its devices are taken: this server has as many devices as it may have.")
            return
        self._register(gateway, prefix, listed)

    def _register(self, gateway: Registration, prefix: str, listed: EndDevice) -> None:
        client = gateway.client
        registration = Registration(
            self._locations.take(),
            self._server.client(listed.device_id, client.peer, client.version, listed.objects),
            lifetime_s=0,
            binding=gateway.binding,
            queue_mode=gateway.queue_mode,
            sms_number=None,
            parameters=(),
            registered_at=self._wall(),
            expires=float("inf"),
        )
        self._registry.put_behind(registration, gateway, prefix)
        try:
            self._registry.add(registration)
        except StorageFull:
            self.dropped(registration)
            raise
        self._translation.registered(registration, lambda: self._observations.reconcile(registration))

    def _refreshed(self, device: Registration, objects: ObjectList) -> None:
        client = device.client
        if objects is not client.objects and objects.payload != client.objects.payload:
            fresh = self._server.client(client.endpoint_name, client.peer, client.version, objects)
            before, client.objects, client.model = client.objects, fresh.objects, fresh.model
            self._observations.objects_changed(device, before)
            self._registry.save(device)
        self._observations.reconcile(device)

    def _end(self, gateway: Registration, device: Registration, reason: str, words: str) -> None:
        self._server.forget(device.client)
        self._observations.end_all(device)
        if gateway.end_devices is not None:
            gateway.end_devices.pop(device.client.prefix, None)
        self._registry.end(device, reason)
        self.left(device)
        if reason == "expired":
            self._translation.expired(device)
        else:
            self._translation.deregistered(device, words)


def _listed(objects: ObjectList) -> set[Path]:
    return {path for path in objects.instances if path[0] in (GATEWAY, ROUTING)}
