"""Simulated LwM2M devices, for demonstrations and for tests.

A stranger in this house on purpose: it imports nothing of the appliance and builds on aiocoap, so
that it shares no line of protocol code with the server that it talks to.
"""

from appliance.simulator.fleet import run
from appliance.simulator.options import SimulatorOptions, add_arguments, options_from

__all__ = ["SimulatorOptions", "add_arguments", "options_from", "run"]
