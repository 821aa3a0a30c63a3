"""The bootstrap server: from Bootstrap-Request to Bootstrap-Finish (OMA Core 1.1.1 §6.1; traps 44 to 49).

The laws of this file:

- the request is answered first, and only then anything is asked of the device (trap 47);
- one session per device; a second request ends the first one;
- the device is asked what it has before anything is changed, and its bootstrap account is never touched;
- a step that is refused in one form is tried in the other before it counts as refused;
- nothing is called finished that the device did not call so: any other answer to Finish is a failure;
- a session is over within EXCHANGE_LIFETIME, as the device waits no longer;
- whoever comes again and again without ever registering is told to wait, and a person is told why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from appliance.devices.admission import Refused
from appliance.devices.bootstrap_address import AddressUnknown, OwnAddress
from appliance.devices.bootstrap_sessions import Session, Sessions, State
from appliance.devices.bootstrap_tries import MAX_TRIES, Tries
from appliance.devices.bootstrap_way import SESSION_S, BootstrapFailed, Way, list_of, shown
from appliance.devices.plans import Plans
from appliance.lwm2m import content_format as formats
from appliance.lwm2m.bootstrap import OSCORE, SECURITY, SERVER, Discovered, Keys, Mode
from appliance.lwm2m.bootstrap_layout import Account, Layout, lay_out
from appliance.lwm2m.bootstrap_plan import OWN_URI, BootstrapServerEntry, Plan, ServerEntry
from appliance.lwm2m.codecs import CodecError, encode
from appliance.lwm2m.operations import BootstrapPackRequest, BootstrapRequest
from appliance.lwm2m.path import Path
from appliance.southbound.server import LwM2MServer, Reply, Source

log = logging.getLogger(__name__)

MAX_SESSIONS: Final = 500

_REFUSED = "this client is not bootstrapped here"  # the same to everybody: it tells a stranger nothing

AnyEntry = ServerEntry | BootstrapServerEntry


class KeysUnavailable(Exception):
    """There is no key for an account of a plan; a sentence for the operator."""


class Keyring(Protocol):
    """Where plans and keys of devices come from."""

    def plan_of(self, endpoint_name: str) -> str | None:
        """The id of its plan; in memory."""

    def decided(self, endpoint_name: str) -> Hashable:
        """What people decided about it, in memory: once that is another, it may try again."""

    def keys(self, endpoint_name: str, entry: AnyEntry, mode: Mode, own: bool) -> Keys:
        """What opens this account; ``own``: at this gateway. May write to disk. Raises KeysUnavailable."""

    def mode(self, endpoint_name: str, entry: AnyEntry) -> Mode:
        """The security of an account, "auto" resolved; in memory."""

    def bootstrapped(self, endpoint_name: str, started_at: float) -> None:
        """It has a new configuration, from a session that began then (epoch seconds). May write to disk."""


class _Running(NamedTuple):
    session: Session
    task: asyncio.Task[None]
    way: Way | None


class Progress(NamedTuple):
    """How far a device that has not registered since is: ``state`` of its last session, a sentence, when."""

    state: State
    text: str
    at: float


class Bootstraps:
    """Everything that happens between POST /bs and the end. Event loop only.

    ``finished`` hears of each device that took its new configuration, and when its session began.
    """

    def __init__(
        self,
        server: LwM2MServer,
        plans: Plans,
        sessions: Sessions,
        keyring: Keyring,
        address: OwnAddress,
        admit: Callable[[str | None, Source], str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``admit`` gives the endpoint name of whoever asks, or raises Refused."""
        self._server = server
        self._plans = plans
        self._sessions = sessions
        self._keyring = keyring
        self._address = address
        self._admit = admit
        self._loop = loop
        self._running: dict[str, _Running] = {}
        self._waiting: dict[str, Session] = {}  # answered, or about to be; the session begins then
        self._tries = Tries(loop.time)
        self.finished: Callable[[str, float], None] = lambda *_: None

    # What a device asks

    def bootstrap(
        self, operation: BootstrapRequest | BootstrapPackRequest, source: Source, reply: Reply
    ) -> None:
        """§6.1.7.1 and, since 1.2, §6.1.7.7. Never raises."""
        try:
            name = self._admit(operation.endpoint_name, source)
        except Refused as refused:
            log.info("a bootstrap request from %s was refused: %s", source.peer, refused)
            reply.bad_request(_REFUSED)
            return
        if self._session_of(name) is None and len(self._running) + len(self._waiting) >= MAX_SESSIONS:
            reply.unavailable("too many devices are being bootstrapped; try again later")
            return
        if not self._may_try(name, source):
            reply.unavailable("too many attempts; try again later")
            return
        self._end_running(
            name, "The device asked again before this was done; the next session took its place."
        )
        session = self._sessions.begin(name, str(source.peer), source.bearer, source.identity)
        deadline = self._loop.time() + SESSION_S
        if isinstance(operation, BootstrapPackRequest):
            self._start(session, self._pack(session, operation, source, reply))
            return
        self._waiting[name] = session
        reply.changed(partial(self._begin, session, operation, source, deadline))

    def registered(self, endpoint_name: str) -> None:
        """It has registered: what it was given works, also if its answer to Finish was lost on the way."""
        self._tries.forget(endpoint_name)
        self._sessions.settle(endpoint_name)
        running = self._running.get(endpoint_name)
        if running is not None and running.way is not None:
            running.way.registered.set()

    def forgive(self) -> None:
        """A plan was changed: who was told to wait may try again."""
        self._tries.forget()

    def progress(self, endpoint_name: str) -> Progress | None:
        """What happens now, or how its last session ended; None without one, or once the device registered
        after it. Safe in any thread.
        """
        session = self._session_of(endpoint_name)
        if session is not None:
            steps = list(session.steps)
            last = f"{steps[-1].what} {steps[-1].path}".rstrip() if steps else "just begun"
            return Progress("running", f"It is being bootstrapped: {last}.", session.started_at)
        ended = self._sessions.ended(endpoint_name)
        if ended is None or ended.ended_at is None:
            return None
        return Progress(ended.state, ended.text, ended.ended_at)

    def is_under_way(self, endpoint_name: str) -> bool:
        """Whether it is being bootstrapped now."""
        return self._session_of(endpoint_name) is not None

    def _session_of(self, endpoint_name: str) -> Session | None:
        running = self._running.get(endpoint_name)
        session = running.session if running is not None else self._waiting.get(endpoint_name)
        return session if session is not None and session.state == "running" else None

    async def stop(self) -> None:
        """End what is under way."""
        tasks = [running.task for running in self._running.values()]
        for name in [*self._running, *self._waiting]:
            self._end_running(name, "The gateway stopped while this was under way; the device asks again.")
        await asyncio.gather(*tasks, return_exceptions=True)

    def _may_try(self, name: str, source: Source) -> bool:
        """False for a device that goes round in circles; the first time a person is told so."""
        verdict = self._tries.again(name, self._keyring.decided(name))
        if verdict != "wait":
            return verdict == "go on"
        self._end_running(name, "The device asked again before this was done.")
        before = self._sessions.ended(name)
        advice = "See why it cannot register with what it was given, and change its plan or key."
        if before is not None and before.state == "failed":
            advice = f"The last time: {before.text}"
        words = (
            f"{name} asked to be bootstrapped {MAX_TRIES} times within an hour and never registered: it is "
            f"told to wait. {advice}"
        )
        log.warning("%s", words)
        session = self._sessions.begin(name, str(source.peer), source.bearer, source.identity)
        self._sessions.end(session, "failed", words)
        return False

    def _end_running(self, name: str, words: str) -> None:
        waiting = self._waiting.pop(name, None)
        if waiting is not None:
            self._sessions.end(waiting, "failed", words)
        running = self._running.pop(name, None)
        if running is not None and running.session.state == "running":
            self._sessions.end(running.session, "failed", words)
            running.task.cancel()

    # A session

    def _begin(self, session: Session, operation: BootstrapRequest, source: Source, deadline: float) -> None:
        """The answer has left."""
        if self._waiting.get(session.endpoint_name) is not session:
            return  # it asked again meanwhile
        del self._waiting[session.endpoint_name]
        way = Way(self._server, self._sessions, session, operation, source, deadline, self._loop)
        self._start(session, self._carry_out(session, source, way), way)

    def _start(self, session: Session, work: Coroutine[None, None, None], way: Way | None = None) -> None:
        task = self._loop.create_task(work)
        self._running[session.endpoint_name] = _Running(session, task, way)
        task.add_done_callback(partial(self._over, session))

    def _over(self, session: Session, task: asyncio.Task[None]) -> None:
        running = self._running.get(session.endpoint_name)
        if running is not None and running.session is session:
            del self._running[session.endpoint_name]
        if not task.cancelled() and task.exception() is not None:
            # The boundary of a session: what nobody foresaw ends this one and no other.
            log.error("bootstrapping %s failed", session.endpoint_name, exc_info=task.exception())
            if session.state == "running":
                self._sessions.end(session, "failed", "The gateway failed; its own log says how.")

    async def _carry_out(self, session: Session, source: Source, way: Way) -> None:
        try:
            plan = self._plan(session, "/bs", "2.04 Changed")
            found = await way.discover()
            accounts = await self._accounts(session, plan, source)
            client = way.meet(found, _objects_of(plan))
            layout = lay_out(plan, found, accounts, client.model, self._variables(session, source))
            _check_oscore(found, accounts)
            await way.delete(layout)
            await way.write(layout, plan.write_by == "object")
            if plan.read_back:
                await way.read_back(layout)
            await way.finish(layout, plan.write_by == "object")
        except (BootstrapFailed, KeysUnavailable, AddressUnknown, CodecError) as error:
            log.info("%s: bootstrapping failed: %s", session.endpoint_name, error)
            self._sessions.end(session, "failed", str(error))
            return
        finally:
            way.close()
        await self._finished(session, plan, layout, way.refused)

    async def _finished(self, session: Session, plan: Plan, layout: Layout, refused: int) -> None:
        servers = sum(1 for instance in layout.writes if instance.path[0] == SERVER)
        noun = "server" if servers == 1 else "servers"
        words = f"Finished: the device has {servers} {noun} and took its new configuration. "
        if any(_is_own(entry) for entry in plan.servers):
            words += "Next it registers here with it."
        else:
            words += "This gateway is not among them: it registers elsewhere."
        if refused:
            words += f" It refused {refused} of the further steps; they are marked."
        self._sessions.end(session, "finished", words)
        self.finished(session.endpoint_name, session.started_at)
        try:
            await asyncio.to_thread(self._keyring.bootstrapped, session.endpoint_name, session.started_at)
        except KeysUnavailable as error:
            log.error("%s: %s", session.endpoint_name, error)

    async def _pack(
        self, session: Session, operation: BootstrapPackRequest, source: Source, reply: Reply
    ) -> None:
        """Everything in one answer; the device checks it by itself, and there is no Finish (1.2 §6.1.7.7)."""
        try:
            plan = self._plan(session, "/bspack", "")
            found = Discovered("1.2")
            accounts = await self._accounts(session, plan, source)
            objects = list_of(found, _objects_of(plan), None)
            client = self._server.client(session.endpoint_name, source.peer, "1.2", objects)
            layout = lay_out(plan, found, accounts, client.model, self._variables(session, source))
            reports = [report for instance in layout.writes for report in instance.reports]
            number = operation.content_format or formats.SENML_CBOR
            payload = encode(number, Path(), reports, client.model)
        except (BootstrapFailed, KeysUnavailable, AddressUnknown, CodecError) as error:
            log.info("%s: its pack cannot be made: %s", session.endpoint_name, error)
            self._sessions.end(session, "failed", str(error))
            reply.unavailable("there is nothing for this client now")
            return
        except asyncio.CancelledError:
            reply.unavailable("asked again")
            raise
        for instance in layout.writes:
            self._sessions.step(session, "Pack", str(instance.path), "", shown(instance, client))
        reply.content(number, payload)
        await self._finished(session, plan, layout, 0)

    def _plan(self, session: Session, asked: str, code: str) -> Plan:
        plan_id = self._keyring.plan_of(session.endpoint_name)
        found = self._plans.find(plan_id)
        if found is None:
            raise BootstrapFailed(
                f"Its bootstrap plan {plan_id} does not exist any more: give the device another one."
            )
        session.plan_id, plan = found
        session.plan_name = plan.name
        words = f"From {session.address} over {session.bearer}, for the plan {plan.name}."
        self._sessions.step(session, "Request", asked, code, words)
        return plan

    async def _accounts(self, session: Session, plan: Plan, source: Source) -> list[Account]:
        accounts: list[Account] = []
        entries: tuple[AnyEntry, ...] = (*plan.servers, *plan.bootstrap_servers)
        for entry in entries:
            mode = self._keyring.mode(session.endpoint_name, entry)
            own = _is_own(entry)
            if entry.uri == OWN_URI:
                uri = self._address.uri(source, mode)
            else:
                uri = entry.uri.replace("$host", self._address.host(source)) if own else entry.uri
            keys = await asyncio.to_thread(self._keyring.keys, session.endpoint_name, entry, mode, own)
            accounts.append(Account(entry, uri, keys))
            words = f"{_MODE_WORDS[keys.mode]}{_identity_of(keys)} for {uri}"
            if source.identity is None and (keys.secret or keys.oscore is not None):
                words += "; it goes in clear, since the device bootstraps without security"
            self._sessions.step(session, "Key", "", "", f"{words}.")
        return accounts

    def _variables(self, session: Session, source: Source) -> dict[str, str]:
        try:
            host = self._address.host(source)
        except AddressUnknown:
            host = ""
        return {"$endpoint_name": session.endpoint_name, "$host": host}


_MODE_WORDS: Final[dict[str, str]] = {
    "psk": "A pre-shared key",
    "rpk": "A raw public key",
    "x509": "A certificate",
    "est": "A certificate that the device fetches by itself (EST)",
    "oscore": "An OSCORE context",
    "nosec": "No security",
}


def _identity_of(keys: Keys) -> str:
    """What a server knows a pre-shared key by, which is no secret."""
    text = keys.public.decode(errors="replace") if keys.mode == "psk" else ""
    return f" with the identity {text}" if text.isprintable() and text else ""


def _is_own(entry: AnyEntry) -> bool:
    """Whether it is this gateway."""
    return entry.uri == OWN_URI or "$host" in entry.uri


def _check_oscore(found: Discovered, accounts: Sequence[Account]) -> None:
    """OSCORE came with LwM2M 1.1. Leshan's client has it and lists object 21, but says that it speaks 1.0."""
    if not found.known or all(account.keys.oscore is None for account in accounts):
        return
    if found.object_version(SECURITY) == "1.0" or (found.version == "1.0" and OSCORE not in found.instances):
        raise BootstrapFailed(
            f"The device speaks LwM2M {found.version} and has no OSCORE: give it a plan with another "
            "security."
        )


def _objects_of(plan: Plan) -> list[int]:
    return [path[0] for path, _ in plan.writes]
