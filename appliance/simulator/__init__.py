"""Simulated LwM2M devices, for demonstrations and for tests.

A stranger in this house on purpose: it imports nothing of the appliance and builds on aiocoap, so
that it shares no line of protocol code with the server that it talks to.
"""

from __future__ import annotations

import asyncio

from appliance.simulator.options import SimulatorOptions, add_arguments, options_from

__all__ = ["SimulatorOptions", "add_arguments", "options_from", "run"]


async def run(options: SimulatorOptions, *, stop: asyncio.Event | None = None) -> int:
    """Run the simulation until ``stop``, SIGINT, SIGTERM or the end of its duration; then deregister.

    Gives an exit status: 0, or 1 when a device was never registered, or 2 when the options do not work.
    """
    # aiocoap takes a quarter of a second to import, which a command line that only parses need not pay.
    from appliance.simulator.fleet import simulate

    return await simulate(options, stop=stop)
