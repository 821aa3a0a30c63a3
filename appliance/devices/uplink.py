"""From a device's operation to its receipt: the registration and reporting interfaces (OMA Core §6.2, §6.4).

The law of this file: an answer is a receipt. 2.01, 2.04, 2.02 and the ACK of a notification leave after the
commit of what they stand for, and when the disk refuses, the device hears 5.03 or nothing, and tries again.

A little longer than 400 lines: one method for each thing a device can say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

from appliance.devices.admission import Admission, Refused
from appliance.devices.gateway import Gateways
from appliance.devices.observations import Observations, refusal_words
from appliance.devices.profiles import Profiles
from appliance.devices.registry import SHARED_LIST_BYTES, Locations, Registration, Registry, expiry
from appliance.devices.sends import Sends
from appliance.devices.settings import DevicesSettings
from appliance.devices.translation import Translation
from appliance.lwm2m.gateway import GATEWAY
from appliance.lwm2m.operations import ObjectList, Register, Update
from appliance.lwm2m.registration import RegistrationError, read_object_list, settle_update
from appliance.southbound.client import Peer
from appliance.southbound.server import (
    LwM2MServer,
    Notification,
    Observation,
    Reply,
    Response,
    Source,
)
from appliance.storage.errors import StorageFull

log = logging.getLogger(__name__)


class DeviceUplink:
    """What the devices room makes of everything that comes up from the south."""

    def __init__(
        self,
        settings: DevicesSettings,
        server: LwM2MServer,
        registry: Registry,
        observations: Observations,
        translation: Translation,
        gateways: Gateways,
        profiles: Profiles,
        admission: Admission,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._server = server
        self._registry = registry
        self._observations = observations
        self._translation = translation
        self._monotonic = monotonic
        self._wall = wall
        self._locations = Locations()
        self._gateways = gateways
        self._profiles = profiles
        self._admission = admission
        self._sends = Sends(registry, translation, admission, self._reported)
        # A device was heard, and its answer has left: what waits for it may go.
        self.contact: Callable[[Registration], None] = lambda _: None
        # A device has registered, and its answer has left.
        self.registered: Callable[[Registration], None] = lambda _: None
        # Its registration has ended, and there is no other one.
        self.left: Callable[[Registration], None] = lambda _: None
        gateways.left = lambda device: self.left(device)

    # Registration interface

    def may_register(self, endpoint_name: str | None, source: Source) -> bool:
        """Whether `register` would not refuse whoever that is; nothing is noted."""
        return self._admission.would_admit(endpoint_name, source)

    def may_update(self, location: str, source: Source) -> bool:
        """Whether `update` would not refuse whoever that is; nothing is noted."""
        registration = self._registry.at(location)
        return registration is not None and self._admission.same(registration, source)

    def register(self, operation: Register, source: Source, reply: Reply) -> None:
        """OMA Core §6.2.1. An endpoint that registers again gets a new registration; the old one ends."""
        try:
            endpoint_name = self._admission.register(operation.endpoint_name, source)
        except Refused as refused:
            log.info("a registration from %s was refused: %s", source.peer, refused)
            refused.answer(reply)
            return
        if operation.profiles:
            objects = self._profiles.resolve(operation.profiles, operation.objects)
            if objects is None:
                # OMA Core 1.2 §6.2.1: the client sends its list when its profile is not known.
                reply.conflict("this profile is not known: register with the list of objects")
                return
            operation = operation._replace(objects=objects)
        known = self._registry.named(endpoint_name)
        if known is None and len(self._registry) >= self._settings.max_devices:
            reply.unavailable("this server has as many devices as it may have")
            return
        registration = Registration(
            self._locations.take(),
            self._server.client(endpoint_name, source.peer, operation.version, operation.objects),
            lifetime_s=operation.lifetime_s,
            binding=operation.binding,
            queue_mode=operation.queue_mode,
            sms_number=operation.sms_number,
            parameters=operation.parameters,
            registered_at=self._wall(),
            expires=expiry(operation.lifetime_s, self._settings.expiry_grace_s, self._monotonic()),
        )
        registration.client.identity = source.identity
        short = len(operation.objects.payload) <= SHARED_LIST_BYTES
        looks = lists_secrets if short else lists_secrets.__wrapped__
        if looks(operation.objects.payload, operation.objects.root):
            registration.warn(
                "The device lists its security objects (0 or 21); nobody should be able to read them."
            )
        try:
            if known is not None:
                if not known.ended:
                    self._translation.deregistered(known, "replaced by a new registration")
                registration.client.learned_format = known.client.learned_format
                self._close(known)
                if known.gateway is not None:
                    self._gateways.dropped(known)
                if known.end_devices:
                    self._gateways.replaced(known, registration)
            self._registry.add(registration)
            self._translation.registered(
                registration,
                partial(reply.created, registration.id, partial(self._registered, registration)),
                partial(self._unstored, reply),
            )
        except StorageFull as error:
            self._unstored(reply, error)

    def _registered(self, registration: Registration) -> None:
        """The answer has left."""
        if registration.ended:
            return  # replaced by the next one, before this one was on disk
        self._contact(registration)
        self._observations.reconcile(registration)
        if registration.end_devices is not None or GATEWAY in registration.client.objects.objects:
            self._gateways.registered(registration)
        self.registered(registration)

    def _contact(self, registration: Registration) -> None:
        """Whoever was heard, all behind the same gateway are within reach with him."""
        speaker = registration.gateway or registration
        self.contact(speaker)
        if speaker.end_devices is not None:
            for device in list(speaker.end_devices.values()):
                self.contact(device)

    def update(self, location: str, operation: Update, source: Source, reply: Reply) -> None:
        """OMA Core §6.2.2: refreshes the lifetime; parameters are partial, an object list replaces."""
        registration = self._registry.at(location)
        if registration is None or registration.gateway is not None:
            reply.not_found("no such registration; register again")
            return
        if not self._admission.same(registration, source):
            self._admission.strange(registration, source)
            reply.bad_request("this registration belongs to another identity")
            return
        if operation.profiles:
            listed = operation.objects if operation.objects is not None else read_object_list(b"")
            objects = self._profiles.resolve(operation.profiles, listed)
            if objects is None:
                reply.conflict("this profile is not known: update with the list of objects")
                return
            operation = replace(operation, objects=objects)
        try:
            operation = settle_update(operation, registration.client.version, registration.client.objects)
        except RegistrationError as error:
            reply.refuse(error.code, str(error))
            return
        registration.seen_at = self._wall()
        before = registration.client.objects
        try:
            changed = self._apply(registration, operation, source) or self._registry.unsaved(registration)
            self._registry.refresh(registration, self._monotonic())
            if changed:
                self._registry.save(registration)
            self._translation.updated(
                registration,
                partial(reply.changed, partial(self._updated, registration, changed, before)),
                partial(self._unstored, reply),
            )
        except StorageFull as error:
            self._unstored(reply, error)

    def _updated(self, registration: Registration, changed: bool, before: ObjectList) -> None:
        """The answer has left."""
        if registration.ended:
            return
        if changed:
            self._server.follow(registration.client)
            if registration.end_devices is not None:
                self._gateways.moved(registration)
        self._contact(registration)
        self._observations.updated(registration)
        if registration.end_devices is not None or GATEWAY in registration.client.objects.objects:
            self._gateways.updated(registration, before)

    def _apply(self, registration: Registration, operation: Update, source: Source) -> bool:
        """Take over what the Update carries; true when the stored registration must be written again."""
        client = registration.client
        changed = False
        if source.identity != client.identity:
            client.identity = source.identity  # it has a new key, and came with it
            changed = True
        if source.peer != client.peer:
            if "TCP" in (client.bearer, source.bearer):
                # An observation lives and dies with its connection, which may be lost unnoticed.
                self._end_observations(registration)
            # Over NoSec whoever knows the location is the device: there is no better proof.
            self._registry.move(registration, source.peer)
            changed = True
        if operation.lifetime_s is not None and operation.lifetime_s != registration.lifetime_s:
            registration.lifetime_s = operation.lifetime_s
            changed = True
        if operation.binding is not None and operation.binding != registration.binding:
            registration.binding = operation.binding
            changed = True
        if operation.queue_mode is not None and operation.queue_mode != registration.queue_mode:
            registration.queue_mode = operation.queue_mode
            changed = True
        if operation.sms_number is not None and operation.sms_number != registration.sms_number:
            registration.sms_number = operation.sms_number
            changed = True
        if operation.objects is not None and operation.objects is not client.objects:
            fresh = self._server.client(client.endpoint_name, client.peer, client.version, operation.objects)
            before, client.objects, client.model = client.objects, fresh.objects, fresh.model
            changed = True
            self._observations.objects_changed(registration, before)
        if operation.parameters:
            known = dict(registration.parameters)
            registration.parameters = tuple((known | dict(operation.parameters)).items())
            changed = True
        return changed

    def deregister(self, location: str, source: Source, reply: Reply) -> None:
        """OMA Core §6.2.3."""
        registration = self._registry.at(location)
        if registration is None or registration.gateway is not None:
            reply.not_found("no such registration")
            return
        if not self._admission.same(registration, source):
            self._admission.strange(registration, source)
            reply.bad_request("this registration belongs to another identity")
            return
        try:
            self._end(registration, "deregistered", reply.deleted, partial(self._unstored, reply))
        except StorageFull as error:
            self._unstored(reply, error)

    def expire(self) -> float | None:
        """End the registrations whose lifetime is over; returns when to call again, monotonic seconds."""
        for registration in self._registry.expired(self._monotonic()):
            log.info("%s: registration expired", registration.endpoint_name)
            try:
                self._end(registration, "expired", None, None)
            except StorageFull as error:
                log.error("%s: the expiry could not be stored: %s", registration.endpoint_name, error)
                self._registry.expire_later(registration, self._monotonic())
        return self._registry.next_deadline()

    def _end(
        self,
        registration: Registration,
        reason: str,
        done: Callable[[], None] | None,
        failed: Callable[[Exception], None] | None,
        words: str = "",
    ) -> None:
        self._close(registration)
        if registration.end_devices is not None:
            self._gateways.ended(registration, reason)
        self._registry.end(registration, reason)
        self.left(registration)
        if reason == "expired":
            self._translation.expired(registration)
        else:
            self._translation.deregistered(registration, words, done, failed)

    def _close(self, registration: Registration) -> None:
        self._server.forget(registration.client)
        self._observations.end_all(registration)

    def _unstored(self, reply: Reply, error: Exception) -> None:
        log.error("a registration message could not be stored: %s", error)
        reply.unavailable("not stored; try again later")

    # Reporting interface

    def notify(self, notification: Notification) -> None:
        """OMA Core §6.4.7: to the journal, then the ACK."""
        observation = notification.observation
        registration = self._registry.named(observation.client.endpoint_name)
        if registration is None or registration.client is not observation.client or registration.ended:
            self._server.refuse(notification, reset=True)
            return
        registration.seen_at = self._wall()
        try:
            if notification.source.peer != registration.client.peer:
                self._follow(registration, notification.source.peer)
            if notification.ended:
                self._ended(registration, notification)
                return
            if notification.warning:
                registration.warn(notification.warning)
            self._translation.reports(
                registration,
                notification.reports,
                "notify",
                _receipt(notification),
                partial(self._accepted, registration, notification),
                partial(self._lost, notification),
                notification.warning,
            )
        except StorageFull as error:
            self._lost(notification, error)

    def _follow(self, registration: Registration, peer: Peer) -> None:
        """The same identity speaks from elsewhere: in a new session, say. Requests go there from now on."""
        speaker = registration.gateway or registration
        self._registry.move(speaker, peer)
        self._registry.save(speaker)
        self._server.follow(speaker.client)
        if speaker.end_devices is not None:
            self._gateways.moved(speaker)

    def revoke(self, registration: Registration, reason: str) -> None:
        """What it was let in with does not count any more: the registration ends. Raises StorageFull."""
        registration.warn(reason)
        self._end(registration, "refused", None, None, reason)

    def _accepted(self, registration: Registration, notification: Notification) -> None:
        self._server.accept(notification)
        if registration.ended:
            return
        self._reported(registration)
        path = notification.observation.path
        if path and path[0] == GATEWAY:
            self._gateways.refresh(registration)

    def _reported(self, registration: Registration) -> None:
        """The receipt of a report has left. Who sleeps is awake now, and may not come with an Update soon."""
        self._contact(registration)
        if registration.queue_mode:
            speaker = registration.gateway or registration
            for one in (speaker, *(speaker.end_devices or {}).values()):
                self._observations.reconcile(one)

    def send(self, content_format: int | None, payload: bytes, source: Source, reply: Reply) -> None:
        """OMA Core §6.4.6: what a device reports without having been asked."""
        self._sends.take(content_format, payload, source, reply)

    def disconnected(self, peer: Peer) -> None:
        """A connection is gone, and with it what was observed over it (RFC 8323 §3.4, RFC 7641 §4.5).

        The registration lives on; what is wanted is asked for again after the device's next message.
        """
        for registration in self._registry.at_peer(peer):
            self._end_observations(registration)

    def _end_observations(self, registration: Registration) -> None:
        """Of the device and of those behind it."""
        for one in (registration, *(registration.end_devices or {}).values()):
            try:
                self._observations.end_all(one)
            except StorageFull as error:
                log.warning("%s: the end of its observations: %s", one.endpoint_name, error)

    def _lost(self, notification: Notification, error: Exception) -> None:
        """Not on disk: no ACK, and what the device sends again counts as new."""
        log.error(
            "%s: a notification could not be stored: %s", notification.observation.client.endpoint_name, error
        )
        notification.observation.number = None
        self._server.refuse(notification, reset=False)

    def _ended(self, registration: Registration, notification: Notification) -> None:
        observation = notification.observation
        self._observations.end(registration, observation)
        key = observation.name
        self._observations.refused(registration, key, notification.ended)
        self._translation.observation_ended(
            registration,
            key,
            notification.ended,
            notification.warning or refusal_words(notification.ended),
            partial(self._server.accept, notification),
            partial(self._lost, notification),
        )

    def strange_notification(self, observation: Observation, source: Source) -> None:
        """Refused: NoSec, and from an address the registration does not have. Shown, and once per address."""
        registration = self._registry.named(observation.client.endpoint_name)
        if registration is None:
            return
        words = (
            f"A notification for {observation.name} came from {source.peer}, but the device "
            f"registered from {observation.client.peer}. Without security an address "
            "proves nothing, so it was refused; it is accepted after the device's next Update."
        )
        if registration.warn(words):
            log.warning("%s: %s", registration.endpoint_name, words)
            self._translation.refused(registration, observation.name, words)

    def answered(self, registration: Registration, key: str, response: Response) -> None:
        """The answer to an Observe carries the first value."""
        if response.warning and response.ok:
            registration.warn(response.warning)
        if response.reports:
            registration.seen_at = self._wall()
        try:
            if response.reports:
                self._translation.reports(
                    registration, response.reports, "notify", None, None, None, response.warning
                )
            else:
                self._translation.observation_state(registration, key, response)
        except StorageFull:
            log.warning("%s: first value of %s not stored", registration.endpoint_name, key)


@lru_cache(maxsize=512)
def lists_secrets(payload: bytes, root: str) -> bool:
    """Whether a device registered objects that hold keys; they are left out, and people are told."""
    return any(f"<{root}/{object_id}{end}".encode() in payload for object_id in (0, 21) for end in "/>")


def _receipt(notification: Notification) -> bytes:
    """What makes this report recognisable if it comes again after a restart: token, Observe value, MID."""
    number = notification.event.observe or 0
    return (
        notification.observation.token
        + number.to_bytes(3, "big")
        + notification.event.message.mid.to_bytes(2, "big")
    )


def read_receipt(receipt: bytes) -> tuple[bytes, int, int]:
    """The token, Observe value and message id of a `_receipt`."""
    return receipt[:-5], int.from_bytes(receipt[-5:-2], "big"), int.from_bytes(receipt[-2:], "big")
