"""A scripted server and simulated devices against it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from appliance.simulator.device import Device
from appliance.simulator.ledger import Ledger
from appliance.simulator.objects import read_objects
from appliance.simulator.options import SimulatorOptions
from tests.simulator.scripted import ScriptedServer


@asynccontextmanager
async def registered_device(*, ledger: Path | None = None, **options):
    """A device that has registered at a welcoming server; gives (server, its Register, device)."""
    server = await ScriptedServer().open()
    settings = SimulatorOptions(server=server.uri, seed=1, ledger=ledger, **{"period_s": 3600.0, **options})
    device = Device(settings, 1, read_objects(settings.objects), Ledger(ledger), Random(1))
    life = asyncio.create_task(device.run())
    try:
        await server.until(lambda: server.registers)
        async with asyncio.timeout(20):
            await device.registered.wait()
        yield server, server.registers[-1], device
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        server.mute, server.welcoming = False, True
        await device.stop()
        await server.close()
