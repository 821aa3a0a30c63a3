"""Who is registered: in memory for speed, in the database before anybody is told (OMA Core 1.1.1 §6.2).

The law of this file: a registration is looked up by its location or by its endpoint name, never by an
address. An address is only where the device was heard last.

A device that deregistered or fell silent stays known with its last values, but its location is dead: an
Update there is answered 4.04 and the device registers anew.

Longer than 400 lines: a registration, its rows and the four ways to find it change together.
"""

from __future__ import annotations

import base64
import heapq
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

from appliance.lwm2m.operations import ObjectList
from appliance.lwm2m.registration import object_list_from_json, object_list_to_json
from appliance.southbound.client import Client, Peer
from appliance.southbound.server import LwM2MServer, Observation
from appliance.southbound.udp import UdpPeer
from appliance.storage.database import Database
from appliance.storage.errors import StorageFull

log = logging.getLogger(__name__)

_SAVE = (
    "INSERT INTO registrations(endpoint_name, id, doc) VALUES (?,?,?) "
    "ON CONFLICT(endpoint_name) DO UPDATE SET id = excluded.id, doc = excluded.doc"
)
_FORGET = "DELETE FROM registrations WHERE endpoint_name = ?"

_encode_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

# 9 random bytes are 12 characters: over NoSec the location is all that a stranger would have to guess,
# and clients keep as little as 32 bytes for it (Zephyr).
_LOCATION_BYTES = 9

SHARED_LIST_BYTES = 4096  # what is made of an object list is kept for the next device up to this length

Attributes = tuple[tuple[str, str | None], ...]

_EXPIRY_RETRY_S = 2.0
_SPARE_DEADLINES = 64


class Registration:
    """One device: what it registered, where it is, what is observed there.

    ``ended`` is empty while the registration lives, else "deregistered", "expired", "refused" (its
    key does not count any more) or "replaced" (by the next one of that name; who still holds it sees that).
    ``registered_at``, ``seen_at`` are epoch seconds, ``expires`` is monotonic seconds (infinity: lifetime 0).

    Keys of ``observations``, ``refused``, ``remarks``, ``given`` and ``attributed`` are those of wishes: a
    path, or the paths of a composite observation joined by commas. ``singly`` tells that composite operations
    did not work there. ``gateway`` is the registration this one lives behind (objects 25 and 26 of that one),
    ``end_devices`` are those that live behind this one, by their prefixes.
    """

    __slots__ = (
        "attributed",
        "binding",
        "client",
        "end_devices",
        "ended",
        "expires",
        "gateway",
        "given",
        "id",
        "lifetime_s",
        "observations",
        "parameters",
        "queue_mode",
        "reconciling",
        "refused",
        "registered_at",
        "remarks",
        "seen_at",
        "singly",
        "sms_number",
        "warnings",
        "watched",
    )

    def __init__(
        self,
        registration_id: str,
        client: Client,
        *,
        lifetime_s: int,
        binding: str,
        queue_mode: bool,
        sms_number: str | None,
        parameters: tuple[tuple[str, str | None], ...],
        registered_at: float,
        expires: float,
    ) -> None:
        self.id = registration_id
        self.client = client
        self.lifetime_s = lifetime_s
        self.binding = binding
        self.queue_mode = queue_mode
        self.sms_number = sms_number
        self.parameters = parameters
        self.registered_at = registered_at
        self.seen_at = registered_at
        self.expires = expires
        self.ended = ""
        self.observations: dict[str, Observation] = {}
        self.refused: dict[str, int] | None = None  # the code with which the device refused it
        self.remarks: dict[str, str] | None = None  # what else people should know about an observation
        self.given: dict[str, Attributes] | None = None  # the attributes an active observation began with
        self.attributed: dict[str, int] | None = None  # how many paths of a wish had their attributes written
        self.singly = False
        self.gateway: Registration | None = None
        self.end_devices: dict[str, Registration] | None = None
        self.warnings: tuple[str, ...] = ()
        self.reconciling = False
        self.watched = 0.0  # the one deadline in the heap that counts for this registration

    @property
    def endpoint_name(self) -> str:
        return self.client.endpoint_name

    def warn(self, text: str) -> bool:
        """Keep a sentence for the page; true when it is new. Bounded: the oldest of eight goes."""
        if text in self.warnings:
            return False
        self.warnings = (*self.warnings[-7:], text)
        return True

    def to_json(self) -> str:
        """The document that outlives a restart; `Registry.load` takes it back."""
        client = self.client
        objects = client.objects
        # A long list is rare, and a stranger could fill the memory with what is kept of it.
        say = _said_json if len(objects.payload) <= SHARED_LIST_BYTES else _said_json.__wrapped__
        said: str = say(
            objects.payload,
            objects.root,
            objects.root_given,
            objects.content_formats,
            client.version,
            self.lifetime_s,
            self.binding,
            self.queue_mode,
            self.sms_number,
            self.parameters,
        )
        learned = "null" if client.learned_format is None else client.learned_format
        rare = '"singly":true,' if self.singly else ""
        if client.identity is not None:
            rare += f'"identity":{_encode_json(client.identity)},'
        if self.gateway is not None:
            behind = [self.gateway.endpoint_name, client.prefix]
            rare += f'"behind":{_encode_json(behind)},'
        return (
            f'{{"peer":{client.peer.to_json()},"registered_at":{self.registered_at:.3f},'
            f'"learned":{learned},"ended":"{self.ended}",{rare}{said}'
        )


@lru_cache(maxsize=1024)
def _said_json(
    payload: bytes,
    root: str,
    root_given: bool,
    content_formats: tuple[int, ...],
    version: str,
    lifetime_s: int,
    binding: str,
    queue_mode: bool,
    sms_number: str | None,
    parameters: tuple[tuple[str, str | None], ...],
) -> str:
    """What a device said of itself, as the end of a JSON object: a fleet says the same, so it is kept."""
    said = {
        "version": version,
        "lifetime_s": lifetime_s,
        "binding": binding,
        "queue_mode": queue_mode,
        "sms": sms_number,
        "parameters": parameters,
        "objects": object_list_to_json(ObjectList(root, {}, (), content_formats, payload, root_given)),
    }
    return _encode_json(said)[1:]


class Locations:
    """Fresh registration ids: short, safe in a URI, not to be guessed. One system call gives a hundred."""

    def __init__(self) -> None:
        self._pool = b""

    def take(self) -> str:
        """The next one; none is given twice."""
        if not self._pool:
            self._pool = secrets.token_bytes(_LOCATION_BYTES * 100)
        fresh, self._pool = self._pool[:_LOCATION_BYTES], self._pool[_LOCATION_BYTES:]
        return base64.urlsafe_b64encode(fresh).decode()


def _place(peer: Peer) -> object:
    """What makes two messages come from one place: for UDP the address, whichever of ours it was sent to."""
    return peer.address if isinstance(peer, UdpPeer) else peer


def expiry(lifetime_s: int, grace_s: float, now: float) -> float:
    """When a registration refreshed at ``now`` ends; lifetime 0 never ends (OMA Core §6.2.1)."""
    if lifetime_s == 0:
        return float("inf")
    return now + lifetime_s + min(grace_s, lifetime_s / 10)


class Registry:
    """All known devices. Every change is written through ``database``; ``done`` runs after its commit."""

    def __init__(self, database: Database, server: LwM2MServer, grace_s: float) -> None:
        self._database = database
        self._server = server
        self._grace_s = grace_s
        self._by_id: dict[str, Registration] = {}
        self._by_name: dict[str, Registration] = {}
        # The living ones by where they are: mostly one, so that a fleet needs no list for each.
        self._by_place: dict[object, Registration | list[Registration]] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._unsaved: set[str] = set()  # living registrations whose last change the disk refused

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._by_name.values())

    @property
    def live(self) -> int:
        """How many registrations are alive."""
        return len(self._by_id)

    def at(self, location: str) -> Registration | None:
        """The living registration at ``location``."""
        return self._by_id.get(location)

    def named(self, endpoint_name: str) -> Registration | None:
        """The device of that name, alive or not."""
        return self._by_name.get(endpoint_name)

    def at_peer(self, peer: Peer) -> list[Registration]:
        """The living registrations made from there. An address alone proves nothing: see `Sends`."""
        found = self._by_place.get(_place(peer))
        return [] if found is None else [found] if isinstance(found, Registration) else list(found)

    def move(self, registration: Registration, peer: Peer) -> None:
        """The device was heard from another address; it is found there from now on."""
        self._unplace(registration)
        registration.client.peer = peer
        self._put_place(registration)

    def _put_place(self, registration: Registration) -> None:
        if registration.gateway is not None:
            return  # it does not speak for itself
        place = _place(registration.client.peer)
        there = self._by_place.setdefault(place, registration)
        if isinstance(there, list):
            there.append(registration)
        elif there is not registration:
            self._by_place[place] = [there, registration]

    def _unplace(self, registration: Registration) -> None:
        place = _place(registration.client.peer)
        there = self._by_place.get(place)
        if there is registration:
            del self._by_place[place]
        elif isinstance(there, list) and registration in there:
            there.remove(registration)
            if not there:
                del self._by_place[place]

    def load(self, now: float, last_heard: Mapping[str, float] | None = None) -> int:
        """Take back what the database holds; returns how many registrations live on.

        ``last_heard`` is when a device was heard, epoch seconds, by its name.

        No device may expire before a whole lifetime has passed since the start: while we were away it could
        not reach us, and its last Update is not stored, only acknowledged.
        """
        rows = self._database.read("SELECT id, endpoint_name, doc FROM registrations", ())
        waiting: list[tuple[Registration, str, str]] = []
        for registration_id, endpoint_name, doc in rows:
            try:
                stored = json.loads(doc)
                registration = self._restored(registration_id, endpoint_name, stored, now)
                if "behind" in stored:
                    gateway_name, prefix = stored["behind"]
                    waiting.append((registration, gateway_name, prefix))
            except (ValueError, TypeError, LookupError) as error:
                # One damaged row must not keep a fleet out; its device registers again.
                log.error("%s: the stored registration cannot be read: %s", endpoint_name, error)
                continue
            self._by_name[endpoint_name] = registration
            if last_heard is not None:
                heard = last_heard.get(endpoint_name, 0.0)
                registration.seen_at = max(registration.seen_at, heard)
            if not registration.ended:
                self._by_id[registration_id] = registration
                self._watch(registration)
        for registration, name, prefix in waiting:
            self._restore_behind(registration, name, prefix)
        for registration in self._by_id.values():
            self._put_place(registration)
        return len(self._by_id)

    def _restore_behind(self, registration: Registration, gateway_name: str, prefix: str) -> None:
        """A device behind a gateway lives as long as that one."""
        gateway = self._by_name.get(gateway_name)
        registration.client.prefix = prefix
        if gateway is None or gateway.ended or registration.ended:
            registration.gateway = gateway
            if not registration.ended:
                registration.ended = "deregistered"
                self._by_id.pop(registration.id, None)
            return
        self.put_behind(registration, gateway, prefix)

    def put_behind(self, registration: Registration, gateway: Registration, prefix: str) -> None:
        """The device speaks through that gateway, with that prefix (like "/d01") in front of its paths."""
        registration.gateway = gateway
        registration.client.prefix = prefix
        registration.client.peer = gateway.client.peer
        registration.client.identity = gateway.client.identity
        if gateway.end_devices is None:
            gateway.end_devices = {}
        gateway.end_devices[prefix] = registration

    def _restored(
        self, registration_id: str, endpoint_name: str, stored: dict[str, Any], now: float
    ) -> Registration:
        client = self._server.client(
            endpoint_name,
            self._server.peer(stored["peer"]),
            stored["version"],
            object_list_from_json(stored["objects"]),
        )
        client.learned_format = stored["learned"]
        client.identity = stored.get("identity")
        registration = Registration(
            registration_id,
            client,
            lifetime_s=stored["lifetime_s"],
            binding=stored["binding"],
            queue_mode=stored["queue_mode"],
            sms_number=stored["sms"],
            parameters=tuple((name, value) for name, value in stored["parameters"]),
            registered_at=stored["registered_at"],
            expires=expiry(stored["lifetime_s"], self._grace_s, now),
        )
        registration.ended = stored["ended"]
        registration.singly = stored.get("singly", False)
        return registration

    def add(self, registration: Registration, done: Callable[[], None] | None = None) -> Registration | None:
        """Register, or register again; returns the registration of that name that this one replaces."""
        old = self._by_name.get(registration.endpoint_name)
        if old is not None:
            self._by_id.pop(old.id, None)
            self._unsaved.discard(old.id)
            self._unplace(old)
            old.ended = old.ended or "replaced"
        self._by_id[registration.id] = registration
        self._by_name[registration.endpoint_name] = registration
        self._put_place(registration)
        self._watch(registration)
        self.save(registration, done)
        return old

    def refresh(self, registration: Registration, now: float) -> None:
        """An Update arrived: the lifetime starts again."""
        registration.expires = expiry(registration.lifetime_s, self._grace_s, now)
        if registration.expires < registration.watched:
            self._watch(registration)  # a shorter lifetime: the deadline in the heap would be too late

    def end(self, registration: Registration, reason: str, done: Callable[[], None] | None = None) -> None:
        """Deregistered or expired: the location dies, the device stays known.

        Raises StorageFull, and then the registration lives on.
        """
        registration.ended = reason
        try:
            self.save(registration, done)
        except StorageFull:
            registration.ended = ""
            raise
        self._by_id.pop(registration.id, None)
        self._unsaved.discard(registration.id)
        self._unplace(registration)

    def remove(self, registration: Registration, done: Callable[[], None] | None = None) -> None:
        """Forget the device altogether."""
        self._by_id.pop(registration.id, None)
        self._by_name.pop(registration.endpoint_name, None)
        self._unsaved.discard(registration.id)
        self._unplace(registration)
        self._database.write(_FORGET, (registration.endpoint_name,), done)

    def save(self, registration: Registration, done: Callable[[], None] | None = None) -> None:
        """Write the registration; raises StorageFull when the queue to the disk is full."""
        self._database.write(
            _SAVE,
            (registration.client.endpoint_name, registration.id, registration.to_json()),
            done,
            partial(self._not_saved, registration),
        )

    def unsaved(self, registration: Registration) -> bool:
        """Whether the disk refused its last change, so that the next occasion must save it."""
        return registration.id in self._unsaved

    def _not_saved(self, registration: Registration, _: Exception) -> None:
        if self._by_id.get(registration.id) is registration:
            self._unsaved.add(registration.id)

    def next_deadline(self) -> float | None:
        """When `expired` has to be asked next, monotonic seconds."""
        return self._deadlines[0][0] if self._deadlines else None

    def expired(self, now: float) -> list[Registration]:
        """The registrations whose lifetime and grace are over."""
        gone: list[Registration] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, registration_id = heapq.heappop(self._deadlines)
            registration = self._by_id.get(registration_id)
            if registration is None or registration.watched != deadline:
                continue  # gone, or overtaken by a shorter lifetime
            if registration.expires > now:
                self._watch(registration)  # refreshed since: the entry moves only when it is due
            else:
                registration.watched = float("inf")  # no entry now, and none made anew from this
                gone.append(registration)
        return gone

    def expire_later(self, registration: Registration, now: float) -> None:
        """It could not be ended now: `expired` gives it again after `_EXPIRY_RETRY_S`."""
        registration.expires = now + _EXPIRY_RETRY_S
        self._watch(registration)

    def _watch(self, registration: Registration) -> None:
        registration.watched = registration.expires
        if registration.expires == float("inf"):
            return
        if len(self._deadlines) >= 2 * len(self._by_id) + _SPARE_DEADLINES:
            # Deadlines of registrations that were replaced would stay until they are due: for a device that
            # registers every minute for a year, half a million.
            self._deadlines = [
                (one.watched, one.id)
                for one in self._by_id.values()
                if one.watched != float("inf") and one is not registration
            ]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (registration.expires, registration.id))
