"""Send: what a device reports without having been asked (OMA Core 1.1.1 §6.4.6, on /dp).

The law of this file: 2.04 leaves when the values are on disk. Who sends is told by what the transport proved,
or over NoSec by the address of a living registration; a value of an instance that is not registered is
answered 4.04, everything else that cannot be taken 4.00, and then nothing of the message is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from appliance.devices.admission import Admission
from appliance.devices.registry import Registration, Registry
from appliance.devices.translation import Translation
from appliance.lwm2m.codecs import CodecError, decode_send
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from appliance.southbound.exchanges import Reply, Source
from appliance.storage.errors import StorageFull

log = logging.getLogger(__name__)


class Sends:
    """Takes the Send operations of all devices. ``then(registration)`` runs when an answer has left."""

    def __init__(
        self,
        registry: Registry,
        translation: Translation,
        admission: Admission,
        then: Callable[[Registration], None],
    ) -> None:
        self._admission = admission
        self._registry = registry
        self._translation = translation
        self._then = then

    def take(self, content_format: int | None, payload: bytes, source: Source, reply: Reply) -> None:
        """Answer one Send; never raises."""
        registration = self._sender(source)
        if registration is None:
            reply.bad_request("whoever sends must be registered from here; register again")
            return
        if content_format is None:
            reply.bad_request("a Send names its content format: 110, 112 or 11544")
            return
        client = registration.client
        behind = registration.end_devices or {}
        models = {prefix.strip("/"): device.client.model for prefix, device in behind.items()}
        try:
            found = decode_send(
                content_format, payload, models, client.model, client.root, now=self._translation.wall()
            )
        except CodecError as error:
            registration.warn(f"A Send could not be read: {error}")
            reply.bad_request(str(error))
            return
        parts: list[tuple[Registration, Sequence[Report]]] = []
        for prefix, reports in found.items():
            owner = registration if not prefix else behind.get(f"/{prefix.strip('/')}")
            missing = f"the prefix {prefix}" if owner is None else _unregistered(owner, reports)
            if owner is None or missing:
                registration.warn(f"A Send was refused: {missing} is not registered.")
                reply.not_found(f"{missing} is not registered")
                return
            if reports:
                parts.append((owner, reports))
        if not parts:
            reply.bad_request("there is no value in this Send")
            return
        self._keep(registration, parts, reply)

    def _sender(self, source: Source) -> Registration | None:
        """Of several registrations from one address none can be told to be the sender."""
        if source.identity is not None:
            owner = self._admission.owner(source, "server")
            named = None if owner is None else self._registry.named(owner)
            return None if named is None or named.ended else named
        found = [one for one in self._registry.at_peer(source.peer) if one.client.identity is None]
        return found[0] if len(found) == 1 else None

    def _keep(
        self, registration: Registration, parts: list[tuple[Registration, Sequence[Report]]], reply: Reply
    ) -> None:
        open_parts = len(parts)
        lost = False

        def done() -> None:
            nonlocal open_parts
            open_parts -= 1
            if not open_parts and not lost:
                reply.changed(lambda: self._then(registration))

        def failed(error: Exception) -> None:
            nonlocal lost
            if not lost:
                lost = True
                log.error("%s: a Send could not be stored: %s", registration.endpoint_name, error)
                reply.unavailable("not stored; try again later")

        now = self._translation.wall()
        try:
            for owner, reports in parts:
                owner.seen_at = now
                self._translation.reports(owner, reports, "send", None, done, failed)
        except StorageFull as error:
            failed(error)


def _unregistered(registration: Registration, reports: Sequence[Report]) -> str:
    """The first instance among the reports that the device did not register, "" when there is none."""
    known = registration.client.objects.instances
    for instance in dict.fromkeys(report.path[:2] for report in reports):
        if instance not in known:
            return str(Path(*instance)) if instance else "/"
    return ""
