"""The one place where rooms meet for a server: built bottom-up, started, stopped in reverse.

Nothing is decided here but the order. The same composition runs in production and in the tests' journeys.
Longer than 400 lines: there are many rooms, and one order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.broker.broker import Broker
from appliance.config.sections import Settings
from appliance.devices.acquaintances import Acquaintances
from appliance.devices.admission import Admission
from appliance.devices.bootstrap import Bootstraps
from appliance.devices.bootstrap_address import OwnAddress
from appliance.devices.bootstrap_console import BootstrapConsole
from appliance.devices.bootstrap_keys import VaultKeyring
from appliance.devices.bootstrap_sessions import Sessions
from appliance.devices.bootstrap_trigger import Rebootstraps
from appliance.devices.console import Devices
from appliance.devices.enrolment import Enrolment
from appliance.devices.gateway import Gateways
from appliance.devices.identity_use import IdentityUse
from appliance.devices.models import ModelStore
from appliance.devices.observations import Observations, parse_observe_paths
from appliance.devices.oscore_store import OscoreContexts, OscoreKeeper
from appliance.devices.plans import Plans
from appliance.devices.presence import Presence
from appliance.devices.profiles import Profiles
from appliance.devices.registry import Registration, Registry
from appliance.devices.security import Gate, Security
from appliance.devices.session_store import SessionStore
from appliance.devices.strangers import Strangers
from appliance.devices.tasks import Tasks
from appliance.devices.templates import Templates
from appliance.devices.translation import Translation
from appliance.devices.uplink import DeviceUplink, read_receipt
from appliance.devices.wishes import Wishes
from appliance.identity.identity import Identity
from appliance.lwm2m.definitions import Definitions
from appliance.northbound.routes import Trust
from appliance.northbound.server import Northbound
from appliance.southbound.dtls.gnutls import LibraryTooOld, check_library
from appliance.southbound.dtls.server import DtlsServer
from appliance.southbound.dtls.trust import ServerKeys
from appliance.southbound.log import ProtocolLog
from appliance.southbound.oscore.context import LiveContexts
from appliance.southbound.server import EXCHANGE_LIFETIME_S, LwM2MServer, ServedFile
from appliance.state import (
    DATABASE,
    FILES,
    IDENTITY,
    VAULT,
    CommandFailed,
    become_owner,
    tell_ports,
    untell_ports,
)
from appliance.storage.database import Database
from appliance.storage.errors import StorageError
from appliance.storage.files import FileStore
from appliance.vault.authority import Authority
from appliance.vault.certificates import CertificateCheck
from appliance.vault.command import DeviceCommand as DeviceCommand  # the command line names it
from appliance.vault.doorkeeper import Doorkeeper
from appliance.vault.errors import VaultError
from appliance.vault.register import Register
from appliance.vault.sealing import SealingKey
from appliance.vault.vault import Vault

log = logging.getLogger(__name__)

WEB = Path(__file__).resolve().parent.parent / "web"

_PING = b"\x40\x00\x00\x01"  # an empty confirmable message; a living server answers it with RST

_EXPIRY_PERIOD_S = 1.0
_VAULT_PERIOD_S = 0.5
# After a restart the missing observations are started in slices, so that a fleet is not asked at once.
_RECONCILE_SLICE = 20
_RECONCILE_PERIOD_S = 0.1


class Appliance:
    """The whole house over one state folder."""

    def __init__(
        self,
        settings: Settings,
        state: Path,
        *,
        web: Path = WEB,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.state = state
        self.web = web
        self.wall = wall
        self.setup_code: str | None = None
        self._started_at = 0.0
        self._stops: list[tuple[str, Callable[[], Any]]] = []
        self._warnings: list[str] = []
        self._vault_thread = ThreadPoolExecutor(1, "vault")

    async def start(self) -> None:
        """Bring everything up; when this returns, devices and people are answered.

        Raises CommandFailed with a sentence (a port in use, a state folder in use or too new); whatever was
        started before the failure is stopped again.
        """
        try:
            await self._start()
        except (OSError, StorageError, VaultError) as error:
            await self.stop()
            raise CommandFailed(str(error)) from error
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._started_at = self.wall()
        problems = parse_observe_paths(self.settings.devices.observe_paths)
        if problems:
            raise CommandFailed("; ".join(problems))
        become_owner(self.state)
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)

        self.database = Database(self.state / DATABASE, self.settings.storage)
        self.database.open(loop)
        self._later("storage", self.database.close)
        self.broker = Broker(self.database, lambda: int(self.wall() * 1000))
        self.broker.start(loop)
        self._later("broker", self.broker.stop)

        key = SealingKey.load(self.state, self.settings.vault.key_file, create=True)
        self.vault = Vault(self.state / VAULT, key, self.settings.vault, self.wall)
        self.vault.open()
        self.authority = Authority(self.state / VAULT, key, self.settings.vault, self.wall)
        self.authority.open()
        self.vault.dropped = self.authority.dropped
        self._later("vault", self._vault_thread.shutdown)
        self.strangers = Strangers(self.database, self.wall)
        self.strangers.load()
        self.uses = IdentityUse(self.database, self.wall)
        self.uses.load()

        definitions = Definitions.registered()
        models = ModelStore(self.state / "models", definitions)
        models.load()
        doorkeeper = self._doorkeeper()
        gate = Gate(doorkeeper, self.strangers, self.uses, self.vault)
        dtls = self._dtls(gate)
        self.server = LwM2MServer(self.settings.coap, definitions, loop, self.wall, self.settings.coaps, dtls)
        self.oscore = OscoreContexts(self.vault, doorkeeper, self.strangers, self.uses)
        self.oscore.look(self.vault.devices())
        keeper = OscoreKeeper(self.database, self.state, self.authority.now)
        keeper.open(self.vault.devices())
        self.server.protect(
            LiveContexts(self.oscore, keeper, generation=keeper.generation, failed=self.oscore.failed)
        )
        self.registry = Registry(self.database, self.server, self.settings.devices.expiry_grace_s)
        translation = Translation(self.broker, self.wall)
        templates = Templates(self.state)
        wishes = Wishes(self.settings.devices, self.database, templates)
        self.observations = Observations(
            self.settings.devices,
            self.database,
            self.server,
            self.registry,
            wishes,
            loop.time,
            lambda *answer: self.uplink.answered(*answer),
            loop.call_later,
        )
        gateways = Gateways(
            self.settings.devices, self.server, self.registry, self.observations, translation, self.wall
        )
        profiles = Profiles(self.state)
        self.admission = Admission(
            self.vault,
            self.strangers,
            self.uses,
            {"UDP": self.settings.coap.nosec, "TCP": self.settings.coap.tcp_nosec},
            self.wall,
            lambda identity: self._in_thread(self.vault.used, identity),
        )
        self.uplink = DeviceUplink(
            self.settings.devices,
            self.server,
            self.registry,
            self.observations,
            translation,
            gateways,
            profiles,
            self.admission,
            loop.time,
            self.wall,
        )
        self.presence = Presence(self.settings.devices, self.database, loop.time)
        self.presence.slept, self.presence.woke = translation.slept, translation.woke
        self.devices: Devices
        self.tasks = Tasks(
            self.settings.devices,
            self.database,
            self.server,
            self.registry,
            self.presence,
            self.wall,
            lambda *ended: self.devices.record(*ended),
            lambda task: self.devices.task_turned(task),
        )
        bootstrap_sessions = Sessions(self.database, self.wall)
        bootstrap_sessions.load()
        plans = Plans(
            self.state,
            definitions,
            lambda plan_id: [one.endpoint_name for one in self.vault.devices() if one.plan == plan_id],
        )
        self.bootstraps = Bootstraps(
            self.server,
            plans,
            bootstrap_sessions,
            VaultKeyring(self.vault, self.authority),
            OwnAddress(self.settings.coap.bind, self._ports),
            self.admission.bootstrap,
            loop,
        )
        self._later("bootstrap", self.bootstraps.stop)
        self.server.bootstrap = self.bootstraps
        self.rebootstraps = Rebootstraps(
            self.vault,
            self.registry,
            self.tasks,
            bootstrap_sessions,
            self.settings.devices.operation_timeout_s,
            self.settings.devices.task_ttl_s,
            loop.time,
            self.bootstraps.is_under_way,
        )
        self.bootstraps.finished = self.rebootstraps.finished
        self.bootstrap = BootstrapConsole(plans, bootstrap_sessions, self.bootstraps)
        store = None if dtls is None else SessionStore(self.database, key, dtls)
        self.security = Security(
            self.vault,
            gate,
            self.strangers,
            self.uses,
            self.admission,
            self.registry,
            self.server,
            self.uplink,
            store,
            self.bootstraps.progress,
        )
        self.server.session_event = self.security.session_event
        self.server.enrolment = Enrolment(
            self.authority, self.vault, self.admission.owner, self._vault_thread, loop.time
        )
        self.uplink.contact, self.uplink.left = self._contact, self.tasks.left
        self.uplink.registered = self._registered
        self.observations.may_ask = self.presence.listens
        self.devices = Devices(
            self.settings.devices,
            self.server,
            definitions,
            self.registry,
            self.observations,
            translation,
            loop.time,
            models.store,
            self.database.hasten,
            templates,
            self.tasks,
            self.presence,
            gateways,
            profiles,
        )
        sessions = 0 if store is None else store.load(self.admission.opens, loop.time())
        if sessions:
            log.info("%d DTLS sessions taken up again", sessions)
        alive = self.registry.load(loop.time(), translation.last_heard())
        self.observations.load(self._last_numbers(translation))
        self.presence.load()
        waiting = self.tasks.load()
        if waiting:
            log.info("%d tasks taken up again", waiting)
        if alive:
            log.info("%d registrations taken up again", alive)

        self.log = ProtocolLog(
            self.settings.coap.log_entries,
            self.settings.coap.log_bytes,
            definitions,
            Acquaintances(self.registry),
            self.wall,
        )
        self.files = FileStore(
            self.state / FILES,
            self.settings.storage.files_max_bytes,
            self.settings.storage.file_max_bytes,
            self.wall,
        )
        self.files.open()
        self.server.log, self.server.files = self.log, self._served
        self.tasks.files = self.files

        self.identity = Identity(self.state / IDENTITY, self.settings.identity)
        self.setup_code = self.identity.issue_setup_code() if self.identity.needs_setup else None
        self.northbound = Northbound(
            self.settings.http,
            devices=self.devices,
            broker=self.broker,
            identity=self.identity,
            authority=self.authority,
            loop=loop,
            web=self.web,
            state=self.state,
            status=self.status,
            log=self.log,
            files=self.files,
            trust=Trust(
                self.vault,
                Register(self.vault, self.authority),
                self.authority,
                self.security,
                self.bootstrap,
            ),
        )
        await asyncio.to_thread(self.northbound.start)
        self._later("northbound", lambda: asyncio.to_thread(self.northbound.stop))
        # Last, so that a device is answered only by a house that stands.
        self.server.start(self.uplink)
        self._later("southbound", self.server.stop)
        self._tell_ports()
        tasks = [
            loop.create_task(self._expire()),
            loop.create_task(self._reconcile()),
            loop.create_task(self._verify_files()),
            loop.create_task(self._watch_vault()),
        ]
        self._later("tasks", lambda: _cancelled(tasks))

    async def stop(self) -> None:
        """Stop in reverse; every room gets its chance, whatever another one says."""
        while self._stops:
            room, stop = self._stops.pop()
            try:
                result = stop()
                if asyncio.iscoroutine(result):
                    await result
            except Exception:  # the last stop of a room: the others must still stop, above all the storage
                log.exception("stopping %s failed", room)

    def _later(self, room: str, stop: Callable[[], Any]) -> None:
        self._stops.append((room, stop))

    def _last_numbers(self, translation: Translation) -> dict[bytes, tuple[int, int, float]]:
        now = self.wall()
        since_ms = int((now - EXCHANGE_LIFETIME_S) * 1000)
        numbers: dict[bytes, tuple[int, int, float]] = {}
        for receipt, at_ms in translation.receipts(since_ms):
            token, number, message_id = read_receipt(receipt)
            # Newest first: what is older than the last report of an observation says nothing more.
            numbers.setdefault(token, (number, message_id, max(0.0, now - at_ms / 1000)))
        return numbers

    def _doorkeeper(self) -> Doorkeeper:
        """Who knows which keys open."""
        check = CertificateCheck(self.authority.trusted, self.vault.pinned, self.authority.now)
        return Doorkeeper(self.vault, check.check, self.wall)

    def _dtls(self, gate: Gate) -> DtlsServer | None:
        """The DTLS machine; None when it is not wanted, or the system's library is not fit for it."""
        if not self.settings.coaps.enabled:
            return None
        try:
            log.debug("DTLS by %s", check_library())
            keys = ServerKeys(*self.authority.server_keys(self.settings.http.host_names))
            return DtlsServer(self.settings.coaps, gate, keys)
        except LibraryTooOld as error:
            log.error("CoAP over DTLS is not served: %s", error)
            self._warnings.append(f"CoAP over DTLS is not served: {error}")
            return None

    async def _watch_vault(self) -> None:
        """What a person, or the command line, changes in the vault takes effect within a second."""
        version, loop = None, asyncio.get_running_loop()
        # While we were away, the vault or the settings may have become stricter than when these were let in.
        changed = {one.endpoint_name for one in self.registry}
        while True:
            await asyncio.sleep(_VAULT_PERIOD_S)
            try:
                # In the thread: who changes the vault holds its lock while the disk is at work.
                changed |= await loop.run_in_executor(self._vault_thread, self._refreshed)
                if changed:
                    self.security.vault_changed(changed)
                    changed = set()
                if self.vault.version() != version:
                    version = self.vault.version()
                    self.oscore.look(self.vault.devices())
                    self.uses.sweep(lambda identity: self.vault.by_identity(identity) is not None)
                    self.rebootstraps.check(self.vault.devices())
            except Exception:  # the task of a room ends here: a damaged file must not end the watch for good
                log.exception("the vault could not be read; trying again")

    def _refreshed(self) -> set[str]:
        self.authority.refresh()
        return self.vault.refresh()

    def _in_thread(self, change: Callable[..., object], *arguments: object) -> None:
        """A change of the vault waits for the disk, so the loop does not make it. It is made in order."""

        def ended(done: asyncio.Future[object]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None:
                log.error("the vault could not be changed: %s", error)

        asyncio.get_running_loop().run_in_executor(self._vault_thread, change, *arguments).add_done_callback(
            ended
        )

    def _served(self, link: str) -> ServedFile | None:
        content = self.files.by_link(link)
        return None if content is None else ServedFile(content.data, content.etag)

    def _contact(self, registration: Registration) -> None:
        """A device was heard: first it counts as awake, then what waits for it goes."""
        self.presence.heard(registration)
        self.tasks.contact(registration)

    def _registered(self, registration: Registration) -> None:
        """What it was given at its last bootstrap works; and somebody may want it to bootstrap again."""
        self.bootstraps.registered(registration.endpoint_name)
        self.rebootstraps.registered(registration)

    def _ports(self) -> dict[str, int]:
        """The port of each scheme that is served."""
        ports = {
            "coap": self.server.port if self.settings.coap.nosec != "off" else 0,
            "coap+tcp": self.server.tcp_port,
            "coaps": self.server.coaps_port,
        }
        return {scheme: port for scheme, port in ports.items() if port}

    def _tell_ports(self) -> None:
        """For the command line: what it tells an installer to flash must be what is served."""
        try:
            tell_ports(self.state, self._ports())
        except OSError as error:
            log.warning(
                "homard device tells the ports of the settings, as those in use were not noted: %s", error
            )
            return
        self._later("ports", lambda: untell_ports(self.state))

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_PERIOD_S)
            try:
                self.uplink.expire()
                self.presence.fall_asleep()
                self.tasks.expire()
                self.rebootstraps.tick()
            except Exception:  # the task of a room ends here: a full disk must not end expiry for good
                log.exception("expiry failed; trying again")

    async def _reconcile(self) -> None:
        for number, registration in enumerate(list(self.registry)):
            self.observations.reconcile(registration)
            self.tasks.contact(registration)
            if number % _RECONCILE_SLICE == _RECONCILE_SLICE - 1:
                await asyncio.sleep(_RECONCILE_PERIOD_S)

    async def _verify_files(self) -> None:
        """Once, beside the work: what was damaged while we were away is not served to devices."""
        for problem in await asyncio.to_thread(self.files.verify):
            log.error("%s", problem)

    # The service manager (sd_notify(3)); without one, nothing happens

    def announce_ready(self) -> None:
        """READY=1, and from now on the watchdog is fed with work really done."""
        _notify("READY=1")
        period_us = os.environ.get("WATCHDOG_USEC", "")
        if period_us.isdigit() and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            task = asyncio.get_running_loop().create_task(self._feed_watchdog(int(period_us) / 1e6 / 2))
            self._later("watchdog", lambda: _cancelled([task]))

    def announce_stopping(self) -> None:
        """STOPPING=1."""
        _notify("STOPPING=1")

    async def _feed_watchdog(self, period_s: float) -> None:
        while True:
            try:
                await asyncio.wait_for(self._prove_work(), period_s)
            except (TimeoutError, OSError, StorageError) as error:
                log.error(
                    "not alive as it should be, so the watchdog is not fed: %s", error or "no answer in time"
                )
            else:
                _notify("WATCHDOG=1")
            await asyncio.sleep(period_s / 2)

    async def _prove_work(self) -> None:
        """A CoAP ping through our own port and a commit on disk: what a device's report needs."""
        loop = asyncio.get_running_loop()
        committed = loop.create_future()
        self.database.write(
            "INSERT OR REPLACE INTO meta(name, value) VALUES ('alive_at', ?)",
            (int(self.wall()),),
            lambda: None if committed.done() else committed.set_result(None),
        )
        await committed
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            bound = self.settings.coap.bind
            host = next((address for address in bound if ":" not in address), "")
            if not host:
                return  # IPv6 only: the commit alone is the proof
            await loop.sock_sendto(
                probe, _PING, ("127.0.0.1" if host == "0.0.0.0" else host, self.server.port)
            )
            await loop.sock_recv(probe, 16)

    def status(self) -> dict[str, Any]:
        """What the status bar shows."""
        warnings = list(self._warnings)
        health = self.database.health
        warnings.extend(health.notes)
        if health.error:
            warnings.append(health.error)
        warnings.extend(self.files.problems())
        return {
            "version": __version__,
            "started_at": datetime.fromtimestamp(self._started_at, UTC).isoformat(timespec="seconds"),
            "devices": self.devices.counts(),
            "journal_head": self.broker.head(),
            "coap_port": self.server.port,
            "coap_tcp_port": self.server.tcp_port or None,
            "coaps_port": self.server.coaps_port or None,
            "nosec": "everyone" in (self.settings.coap.nosec, self.settings.coap.tcp_nosec),
            "tasks": self.tasks.counts(),
            "warnings": warnings,
        }


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _notify(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address)
    except OSError as error:
        log.warning("the service manager was not reached: %s", error)
