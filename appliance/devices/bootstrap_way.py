"""The requests of one bootstrap session, each of them a step that a person can read (traps 44 to 48).

A step that is refused in one form is tried in the other before it counts as refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from appliance.devices.bootstrap_sessions import Session, Sessions
from appliance.lwm2m.bootstrap import (
    ACCESS_CONTROL,
    OSCORE,
    SECURITY,
    SERVER,
    Discovered,
    Instance,
    read_discovered,
    shown_value,
)
from appliance.lwm2m.bootstrap_layout import Layout
from appliance.lwm2m.links import Link
from appliance.lwm2m.operations import (
    BootstrapDelete,
    BootstrapDiscover,
    BootstrapFinish,
    BootstrapRead,
    BootstrapRequest,
    BootstrapWrite,
    ObjectList,
)
from appliance.lwm2m.path import Path
from appliance.lwm2m.words import failure_words, outcome_words
from appliance.southbound.client import Client
from appliance.southbound.requests import Bootstrapping
from appliance.southbound.server import EXCHANGE_LIFETIME_S, LwM2MServer, Response, Source

SESSION_S: Final = EXCHANGE_LIFETIME_S - 7.0  # the device began to count before our answer reached it

# Each is a step that is kept, and what a device lists decides how many there are.
MAX_REQUESTS: Final = 500

_CHANGED, _NOT_FOUND, _NOT_ACCEPTABLE = 0x44, 0x84, 0x86  # RFC 7252 §5.9

_ESSENTIAL = (SECURITY, SERVER, OSCORE)
_SHOWN_OBJECTS = (SECURITY, SERVER, ACCESS_CONTROL, OSCORE)
_SHOWN_ACCOUNTS: Final = 8


class BootstrapFailed(Exception):
    """A session has failed; a sentence for the operator."""


class Way:
    """The requests of one session, each a step."""

    def __init__(
        self,
        server: LwM2MServer,
        sessions: Sessions,
        session: Session,
        operation: BootstrapRequest,
        source: Source,
        deadline: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._server = server
        self._sessions = sessions
        self._session = session
        self._preferred = operation.preferred_format
        self._source = source
        self._deadline = deadline
        self._loop = loop
        self.client = self._made(Discovered(), ())
        self.found = Discovered()
        self.refused = 0  # of what the device can do without
        self._asked = 0
        self.registered = asyncio.Event()  # it has registered: whatever is under way, it has gone on

    def _made(self, found: Discovered, objects: Sequence[int]) -> Client:
        client = self._server.client(
            self._session.endpoint_name,
            self._source.peer,
            found.version or "1.0",
            list_of(found, objects, self._preferred),
        )
        client.identity = self._source.identity
        return client

    def meet(self, found: Discovered, objects: Sequence[int]) -> Client:
        """The device with what is known of it."""
        self.found, self.client = found, self._made(found, objects)
        return self.client

    def close(self) -> None:
        """Nothing is asked any more."""
        self._server.forget(self.client)

    async def _ask(self, operation: Bootstrapping) -> Response:
        """One request; raises BootstrapFailed when there is no answer."""
        left = self._deadline - self._loop.time()
        if left <= 0:
            raise BootstrapFailed(
                f"It was not done within {SESSION_S:.0f} s, and the device waits no longer."
            )
        self._asked += 1
        if self._asked > MAX_REQUESTS:
            raise BootstrapFailed(
                f"It was not done after {MAX_REQUESTS} requests: see what the device lists at first; "
                "it may have far more accounts than one needs."
            )
        response = await self._server.send(self.client, operation, left)
        if not response.code:
            what, path = _named(operation)
            words = failure_words(response.failure)
            self._sessions.step(self._session, what, path, "", words, ok=False)
            raise BootstrapFailed(f"The device did not answer {what} {path}".rstrip() + f": {words}.")
        return response

    def _note(self, operation: Bootstrapping, response: Response, text: str = "") -> None:
        what, path = _named(operation)
        words = text if response.ok else _refusal(response)
        self._sessions.step(self._session, what, path, response.code_text, words, ok=response.ok)

    async def discover(self) -> Discovered:
        """What the device has. One that does not tell is written to with more care."""
        links: list[Link] = []
        for paths in ((Path(),), (Path(SECURITY), Path(SERVER))):
            for path in paths:
                operation = BootstrapDiscover(path)
                response = await self._ask(operation)
                if not response.ok or response.links is None:
                    warning = response.warning if response.ok else ""
                    self._note(operation, response, warning)
                    break
                links += response.links
                self._note(operation, response, _discovered(read_discovered(response.links)))
            else:
                return read_discovered(links)
        self._sessions.step(
            self._session,
            "Discover",
            "/",
            text="The device does not tell what it has; what may be its bootstrap account is spared.",
            ok=False,
        )
        return Discovered()

    async def delete(self, layout: Layout) -> None:
        """What the plan wants gone; a refusal stops nothing, as the new instances may still be written."""
        for path in layout.deletes:
            operation = BootstrapDelete(path)
            response = await self._ask(operation)
            self._note(operation, response)
            if not response.ok and response.code != _NOT_FOUND:
                self.refused += 1

    async def write(self, layout: Layout, by_object: bool) -> None:
        """Every instance in order; raises BootstrapFailed when the device takes an account in no form."""
        for object_id, group in groupby(layout.writes, key=lambda instance: instance.path[0]):
            instances = list(group)
            refusal = await self._write_object(object_id, instances, by_object)
            if refusal is None:
                continue
            if object_id in _ESSENTIAL:
                raise BootstrapFailed(
                    f"The device refused to be written /{object_id}: {_refusal(refusal)}. It keeps its "
                    "bootstrap account and asks again."
                )
            self.refused += 1

    async def _write_object(
        self, object_id: int, instances: Sequence[Instance], by_object: bool
    ) -> Response | None:
        """Instance by instance or all at once; what is refused one way is tried the other way (trap 46)."""
        whole = instances[0].path.level == 2
        ways = (by_object, not by_object) if whole else (False,)
        refusal: Response | None = None
        for at_once in ways:
            refusal = None
            for operation, text in self._writes(object_id, instances, at_once):
                response = await self._ask(operation)
                self._note(operation, response, text)
                if not response.ok:
                    refusal = response
                    if whole:
                        break
            if refusal is None:
                return None
        return refusal

    def _writes(
        self, object_id: int, instances: Sequence[Instance], at_once: bool
    ) -> Iterator[tuple[BootstrapWrite, str]]:
        if at_once:
            reports = tuple(report for instance in instances for report in instance.reports)
            texts = "; ".join(f"{one.path}: {shown(one, self.client)}" for one in instances)
            yield BootstrapWrite(Path(object_id), reports), texts
            return
        for instance in instances:
            yield BootstrapWrite(instance.path, instance.reports), shown(instance, self.client)

    async def read_back(self, layout: Layout) -> None:
        """What the device made of objects 1 and 2 (since 1.1); only for the eyes of a person."""
        if self.found.version < "1.1":
            return
        for object_id in (SERVER, ACCESS_CONTROL):
            written = {
                report.path: report.value
                for instance in layout.writes
                if instance.path[0] == object_id
                for report in instance.reports
            }
            if not written:
                continue
            operation = BootstrapRead(Path(object_id))
            response = await self._ask(operation)
            read = {report.path: report.value for report in response.reports}
            other = [str(path) for path, value in written.items() if read.get(path) != value]
            words = f"As written, but for {', '.join(other)}." if other else "As written."
            self._note(operation, response, response.warning or words)

    async def finish(self, layout: Layout, by_object: bool) -> None:
        """The device checks what it has. Raises BootstrapFailed unless it says that it is right.

        When it finds it inconsistent (4.06) and does not list what it was given, that is written once more,
        the other way, and it is asked again, once.
        """
        response = await self._finish()
        if response.ok:
            return
        if response.code == _NOT_ACCEPTABLE and self.found.known:
            missing = await self._missing(layout)
            if missing:
                names = ", ".join(str(instance.path) for instance in missing)
                self._sessions.step(
                    self._session,
                    "Repair",
                    text=f"The device does not have {names}; written again.",
                    ok=False,
                )
                again = Layout((), tuple(missing))
                await self.write(again, not by_object)
                response = await self._finish()
                if response.ok:
                    return
        raise BootstrapFailed(_finish_words(response))

    async def _finish(self) -> Response:
        """The answer to Finish; a device that registers instead has said the same."""
        operation = BootstrapFinish()
        asking = asyncio.ensure_future(self._ask(operation))
        registered = asyncio.ensure_future(self.registered.wait())
        try:
            await asyncio.wait((asking, registered), return_when=asyncio.FIRST_COMPLETED)
            response = asking.result() if asking.done() else Response(_CHANGED)
        finally:
            asking.cancel()
            registered.cancel()
        self._note(operation, response, "" if asking.done() else "No answer, but it registered.")
        return response

    async def _missing(self, layout: Layout) -> list[Instance]:
        operation = BootstrapDiscover(Path())
        response = await self._ask(operation)
        if not response.ok or response.links is None:
            self._note(operation, response, response.warning)
            return []
        found = read_discovered(response.links)
        self._note(operation, response, _discovered(found))
        return [
            instance
            for instance in layout.writes
            if instance.path[0] in _ESSENTIAL
            and instance.path[1] not in found.instances.get(instance.path[0], ())
        ]


def list_of(found: Discovered, objects: Sequence[int], preferred: int | None) -> ObjectList:
    """The objects that may be written, by the versions the device has of them."""
    wanted = dict.fromkeys((SECURITY, SERVER, ACCESS_CONTROL, *objects))
    versions: dict[int, str | None] = {object_id: found.object_version(object_id) for object_id in wanted}
    versions[OSCORE] = "2.0"  # in 1.0 its keys are texts, which no random key is; the clients read bytes
    return ObjectList("", versions, (), () if preferred is None else (preferred,), b"", False)


def _named(operation: Bootstrapping) -> tuple[str, str]:
    match operation:
        case BootstrapFinish():
            return "Finish", "/bs"
        case BootstrapDiscover(path=path):
            return "Discover", str(path)
        case BootstrapRead(path=path):
            return "Read", str(path)
        case BootstrapWrite(path=path):
            return "Write", str(path)
        case BootstrapDelete(path=path):
            return "Delete", str(path)


def _refusal(response: Response) -> str:
    said = f' ("{response.warning}")' if response.warning and response.warning.isprintable() else ""
    return f"{outcome_words(response.code)}{said}"


def _finish_words(response: Response) -> str:
    said = f' It says: "{response.warning}".' if response.warning and response.warning.isprintable() else ""
    if response.code == _NOT_ACCEPTABLE:
        return (
            "The device finds its new configuration inconsistent (4.06 to Finish): compare the steps with "
            f"what it needs, and correct the plan.{said}"
        )
    return f"The device did not accept the end of the session ({response.code_text}): correct the plan.{said}"


def _discovered(found: Discovered) -> str:
    account = found.bootstrap_account
    accounts = [
        f"/{path[0]}/{path[1]} of server {server}"
        for path, server in found.accounts.items()
        if server is not None
    ]
    known = ", ".join(accounts[:_SHOWN_ACCOUNTS])
    if len(accounts) > _SHOWN_ACCOUNTS:  # who wants to fill the history says thousands
        known += f" and {len(accounts) - _SHOWN_ACCOUNTS} more"
    return (
        f"LwM2M {found.version}; its bootstrap account is {'not shown' if account is None else account}"
        + (f"; it has {known}" if known else "")
        + "."
    )


def shown(instance: Instance, client: Client) -> str:
    """What is written, without any secret."""
    if instance.path[0] not in _SHOWN_OBJECTS:
        return "Written."
    parts = []
    for report in instance.reports:
        definition = client.model.resource(report.path)
        name = definition.name if definition is not None else str(report.path[2])
        if report.path.level == 4:
            name += f" {report.path[3]}"
        parts.append(f"{name}: {shown_value(report)}")
    return "; ".join(parts)
