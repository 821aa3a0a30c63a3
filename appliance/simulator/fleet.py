"""Many devices in one process, on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from appliance.simulator.device import Device
from appliance.simulator.ledger import Ledger
from appliance.simulator.objects import ObjectsFileError, read_objects
from appliance.simulator.options import SimulatorOptions

APART_S = 0.005  # between the first Registers of two devices


async def simulate(options: SimulatorOptions, *, stop: asyncio.Event | None = None) -> int:
    """See appliance.simulator.run."""
    try:
        kinds = read_objects(options.objects)
        options = replace(options, server=await _resolved(options))
        ledger = Ledger(options.ledger)
    except (ObjectsFileError, OSError) as error:
        print(f"homard simulate: {error}", file=sys.stderr)
        return 2
    logging.getLogger("homard.simulator.coap").setLevel(logging.ERROR)
    random = Random(options.seed)
    devices = [
        Device(options, index, kinds, ledger, Random(random.getrandbits(64)))
        for index in range(1, options.count + 1)
    ]
    _say(
        f"{_names(options)} at {options.server}, LwM2M {options.lwm2m},"
        f" values change every {options.period_s:g} s"
    )
    stop = stop or asyncio.Event()
    with _signals_set(stop):
        lives = [asyncio.create_task(device.run(index * APART_S)) for index, device in enumerate(devices)]
        arrival = asyncio.create_task(_announce_arrival(devices))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.duration_s or None):
                await _first_of(stop, lives)
    for task in (arrival, *lives):
        task.cancel()
    ended = await asyncio.gather(*lives, return_exceptions=True)
    await asyncio.gather(*(device.stop() for device in devices))
    ledger.close()
    _say(_summary(devices))
    for outcome in ended:
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            raise outcome
        if isinstance(outcome, OSError):
            print(f"homard simulate: {outcome}", file=sys.stderr)
    return 0 if all(device.figures.registrations for device in devices) else 1


async def _first_of(stop: asyncio.Event, lives: list[asyncio.Task[None]]) -> None:
    """Until ``stop``, or until a device ends by itself, which only an error makes it do."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopping, *lives], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()


async def _announce_arrival(devices: list[Device]) -> None:
    for device in devices:
        await device.registered.wait()
    _say(f"all {len(devices)} registered")


async def _resolved(options: SimulatorOptions) -> str:
    """The server's URI with its address in place of its name: asked once, not once per device."""
    host, port = options.host_and_port
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    address = found[0][4][0]
    return f"coap://[{address}]:{port}" if ":" in str(address) else f"coap://{address}:{port}"


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end the simulation in an orderly way, where signals can be had."""
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread
            loop.add_signal_handler(number, stop.set)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


def _names(options: SimulatorOptions) -> str:
    if options.count == 1:
        return f"device {options.endpoint_name(1)}"
    return f"{options.count} devices {options.endpoint_name(1)} to {options.endpoint_name(options.count)}"


def _summary(devices: list[Device]) -> str:
    figures = [device.figures for device in devices]
    never = [device for device in devices if not device.figures.registrations]
    parts = [
        f"{sum(one.registrations for one in figures)} registrations",
        f"{sum(one.updates for one in figures)} updates",
        f"{sum(one.acknowledged for one in figures)} notifications acknowledged",
    ]
    if given_up := sum(one.given_up for one in figures):
        parts.append(f"{given_up} messages given up")
    if dropped := sum(device.dropped for device in devices):
        parts.append(f"{dropped} datagrams dropped on purpose")
    if never:
        parts.append(f"{len(never)} never registered ({never[0].refusal or 'stopped before'})")
    return ", ".join(parts)


def _say(line: str) -> None:
    print(line, flush=True)
