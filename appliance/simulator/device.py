"""One simulated device: it registers, keeps its registration, and reports.

It registers anew when its server refuses an Update, when a Confirmable message was given up (about
a minute without any answer), and after a reboot; only then are its observations gone. A server that is
away for less notices nothing but late reports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import aiocoap
from aiocoap import error

from appliance.simulator import composite
from appliance.simulator.answers import Answers
from appliance.simulator.attributes import AttributeStore
from appliance.simulator.ledger import Ledger
from appliance.simulator.notifier import Notification, Notifier
from appliance.simulator.objects import ObjectKind
from appliance.simulator.options import SimulatorOptions
from appliance.simulator.payloads import LINK, SENML_CBOR, Path
from appliance.simulator.reporting import COUNTER_PATH, Reporter
from appliance.simulator.transport import Stack, Tuning
from appliance.simulator.tree import ObjectTree, slashed

log = logging.getLogger("homard.simulator")

LIFETIME_PATH: Path = (1, 0, 1)
BINDING_PATH: Path = (1, 0, 7)
MUTE_PATH: Path = (1, 0, 23)
SERIAL_PATH: Path = (3, 0, 2)
SENSOR_PATH: Path = (3303, 0)
UPDATE_AFTER = 0.7  # share of the lifetime: leaves room for one message that is retransmitted
REBOOT_S = 0.2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between two attempts to register
FAREWELL_S = 3.0  # for the Deregister at the end


@dataclass(slots=True)
class Figures:
    """What happened to one device so far."""

    registrations: int = 0
    updates: int = 0
    acknowledged: int = 0
    reset: int = 0
    reboots: int = 0
    given_up: int = 0


class Device:
    """Device number ``index`` of a simulation; ``run`` lives its life until ``stop``."""

    def __init__(
        self,
        options: SimulatorOptions,
        index: int,
        kinds: Mapping[int, ObjectKind],
        ledger: Ledger,
        random: Random,
    ) -> None:
        self.endpoint_name = options.endpoint_name(index)
        self.figures = Figures()
        self.tree = ObjectTree(kinds)
        self.attributes = AttributeStore()
        self.location: tuple[str, ...] | None = None
        self.refusal = ""  # why the last Register was not accepted
        self._options = options
        self._ledger = ledger
        self._random = random
        self._tuning = Tuning(options.ack_timeout_s, options.max_retransmit)
        self._answers = Answers(
            self.tree, self.attributes, options.content_formats, self._act, self._performed
        )
        host, port = options.host_and_port
        self._stack = Stack(
            self._answers, host, port, loss=options.loss_percent / 100, random=random,
            answered=self._answered, given_up=self._lose_contact,
        )  # fmt: skip
        self._stack.transport.awake_s = options.queue_awake_s
        self._notifier = Notifier(self._stack, self._tuning, self._acknowledged, self._cancelled)
        self.reporter = self._answers.reporter = Reporter(
            self.tree, self.attributes, self._notifier,
            counter=options.counter, remember=self._answers.remember,
        )  # fmt: skip
        self._register_anew = False
        self._update_due = False
        self._objects_changed = False
        self._wake = asyncio.Event()
        self.registered = asyncio.Event()
        if SERIAL_PATH[0] in kinds:
            self.tree.set(SERIAL_PATH, f"{index:04d}")
            self.tree.set(LIFETIME_PATH, options.lifetime_s)

    async def run(self, delay_s: float = 0.0) -> None:
        """Register, report and stay registered until cancelled."""
        await self._stack.transport.open()
        await asyncio.sleep(delay_s)
        reports = asyncio.create_task(self._report())
        try:
            pause_s = FIRST_PAUSE_S
            while True:
                if await self._register():
                    pause_s = FIRST_PAUSE_S
                    await self._stay_registered()
                else:
                    await asyncio.sleep(pause_s * self._random.uniform(0.8, 1.2))
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            reports.cancel()

    async def stop(self) -> None:
        """Deregister if the server answers soon, and close the port. ``run`` must have ended."""
        if self.location is not None:
            await self._request(aiocoap.DELETE, self.location, timeout_s=FAREWELL_S)
            self._leave()
        await self._stack.context.shutdown()

    async def change_port(self) -> None:
        """Go on from another UDP port, as behind a NAT that forgot."""
        await self._stack.transport.open()

    @property
    def local_port(self) -> int:
        return self._stack.transport.local_port

    @property
    def dropped(self) -> int:
        """Datagrams that the simulated loss has eaten."""
        return self._stack.transport.dropped

    def update(self) -> None:
        """Send a registration Update now."""
        self._update_due = True
        self._wake.set()

    # --- registration interface --------------------------------------------------------------------------

    async def _register(self) -> bool:
        self._leave()
        self._register_anew = self._update_due = self._objects_changed = False
        queries = (
            f"ep={self.endpoint_name}",
            f"lt={self._lifetime_s()}",
            f"lwm2m={self._options.lwm2m}",
            *self._binding(),
        )
        response = await self._request(aiocoap.POST, ("rd",), queries, self._object_list())
        if response is None or response.code != aiocoap.CREATED:
            reason = "no answer" if response is None else _words(response)
            if reason != self.refusal:
                log.warning("%s could not register: %s", self.endpoint_name, reason)
            self.refusal = reason
            return False
        self.refusal = ""
        self.location = tuple(response.opt.location_path)
        self.figures.registrations += 1
        self._ledger.registered(self.endpoint_name, "/" + "/".join(self.location))
        self.registered.set()
        return True

    async def _stay_registered(self) -> None:
        """Update in time and when asked to; returns when a new Register is needed."""
        loop = asyncio.get_running_loop()
        due_at = loop.time() + self._update_after_s()
        told_lifetime_s = self._lifetime_s()
        while not self._register_anew:
            self._wake.clear()
            if not (self._update_due or loop.time() >= due_at):
                try:
                    async with asyncio.timeout_at(due_at):
                        await self._wake.wait()
                except TimeoutError:
                    self._update_due = True
                continue
            self._update_due = False
            lifetime_s = self._lifetime_s()
            queries = (f"lt={lifetime_s}",) if lifetime_s != told_lifetime_s else ()
            body = self._object_list() if self._objects_changed else b""
            self._objects_changed = False
            assert self.location is not None
            response = await self._request(aiocoap.POST, self.location, queries, body)
            if response is None or not response.code.is_successful():
                return
            told_lifetime_s = lifetime_s
            self.figures.updates += 1
            due_at = loop.time() + self._update_after_s()

    async def _request(
        self,
        code: Any,
        path: tuple[str, ...],
        queries: tuple[str, ...] = (),
        body: bytes = b"",
        timeout_s: float = 0.0,
        content_format: int = LINK,
    ) -> Any | None:
        """One request to the server; None when no answer came."""
        message = aiocoap.Message(
            code=code, payload=body, uri_path=path, uri_query=queries, transport_tuning=self._tuning
        )
        if body:
            message.opt.content_format = content_format
        message.remote = self._stack.transport.address
        try:
            async with asyncio.timeout(timeout_s or self._tuning.MAX_TRANSMIT_WAIT):
                return await self._stack.context.request(message).response
        except (error.Error, TimeoutError):
            return None

    def _binding(self) -> tuple[str, ...]:
        """The binding as the version has it: queue mode is a letter of it in 1.0, a parameter since 1.1."""
        binding = str(self.tree.value(BINDING_PATH, "U"))
        if not self._options.queue_awake_s:
            return (f"b={binding}",)
        return (f"b={binding}Q",) if self._options.lwm2m == "1.0" else (f"b={binding}", "Q")

    def _update_after_s(self) -> float:
        """Seconds until the next Update; a device that sleeps may come more often than its lifetime asks."""
        due_s = UPDATE_AFTER * self._lifetime_s()
        return min(due_s, self._options.wake_every_s) if self._options.wake_every_s else due_s

    def _object_list(self) -> bytes:
        links = list(self.tree.registered_links())
        if self._options.lwm2m != "1.0":
            numbers = " ".join(map(str, self._options.content_formats))
            shown = f'"{numbers}"' if " " in numbers else numbers
            links.insert(0, f'</>;rt="oma.lwm2m";ct={shown}')
        return ",".join(links).encode()

    def _muted(self) -> bool:
        """Mute Send (/1/x/23)."""
        return self.tree.value(MUTE_PATH, False) is True

    def _lifetime_s(self) -> int:
        value = self.tree.value(LIFETIME_PATH, self._options.lifetime_s)
        return max(1, value) if isinstance(value, int) else self._options.lifetime_s

    def _leave(self) -> None:
        self.location = None
        self.registered.clear()
        self.reporter.clear()
        self._notifier.abandon()

    # --- what happens to the device ------------------------------------------------------------------------

    async def _report(self) -> None:
        """Change the values once per period, without drifting."""
        loop = asyncio.get_running_loop()
        next_at = loop.time() + self._options.period_s * self._random.uniform(0.5, 1.0)
        period = 0
        while True:
            await asyncio.sleep(next_at - loop.time())
            next_at = max(next_at + self._options.period_s, loop.time())
            period += 1
            if self._options.send and self.location is not None and not self._muted():
                await self.send([SENSOR_PATH])
            if self._options.counter:
                self.reporter.changed(self.reporter.count_up())
            else:
                self.reporter.changed(self.tree.move(self._random, period))

    async def send(self, paths: Iterable[Path]) -> str:
        """The Send operation (Core 1.1 §6.4.6): the server's code, "" without an answer."""
        asked = tuple(paths)
        number = next((one for one in self._options.content_formats if one in composite.PLAIN), SENML_CBOR)
        body = composite.encode(number, self.reporter.sample_all(asked), self.tree.type_of)
        response = await self._request(aiocoap.POST, ("dp",), (), body, content_format=number)
        code = str(response.code) if response is not None else ""
        if code:
            self._ledger.sent(self.endpoint_name, [slashed(path) for path in asked], code)
        return code

    def _performed(self, operation: str, path: Path, detail: object) -> None:
        self._ledger.performed(self.endpoint_name, operation, slashed(path), detail)

    def _act(self, action: str, paths: list[Path]) -> None:
        """What the server did has consequences; its answer leaves first."""
        loop = asyncio.get_running_loop()
        match action:
            case "written":
                loop.call_soon(self.reporter.changed, [path for path in paths if path != COUNTER_PATH])
                if LIFETIME_PATH in paths:
                    loop.call_soon(self.update)
            case "objects":
                self._objects_changed = True
                loop.call_soon(self.reporter.changed, paths)
                loop.call_soon(self.update)
            case "update":
                loop.call_soon(self.update)
            case "reboot":
                loop.call_later(REBOOT_S, self._reboot)
            case "factory_reset":
                self.tree.restore_defaults()
                loop.call_later(REBOOT_S, self._reboot)
            case "reset_errors" | "reset_extremes":
                loop.call_soon(self.reporter.changed, [path[:2] for path in paths])

    def _reboot(self) -> None:
        self.figures.reboots += 1
        self.attributes.forget()
        self._leave()
        self._register_anew = True
        self._wake.set()

    def _lose_contact(self) -> None:
        """A Confirmable message was never acknowledged: the server is gone, so is what it wanted."""
        self.figures.given_up += 1
        self._register_anew = True
        self.reporter.clear()
        self._notifier.abandon()
        self._wake.set()

    def _answered(self, message_id: int, reset: bool) -> None:
        self._notifier.answered(message_id, reset)

    def _acknowledged(self, notification: Notification) -> None:
        self.figures.acknowledged += 1
        for path, value in notification.values:
            self._ledger.acknowledged(self.endpoint_name, path, value, notification.sequence)

    def _cancelled(self, token: bytes) -> None:
        self.figures.reset += 1
        self.reporter.cancel(token)


def _words(response: Any) -> str:
    """An error answer for people, e.g. "4.12 Precondition Failed: version 9"."""
    text = bytes(response.payload).decode(errors="replace")
    return f"{response.code}: {text}" if text else str(response.code)
