"""What the protocol log may ask about devices: who is at an address, what they registered, what is observed.

Asked by the threads that show the log, while the event loop changes what they look at: every look is one step
that the interpreter does not interrupt, or a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.devices.registry import Registration, Registry
from appliance.lwm2m.definitions import Model
from appliance.lwm2m.path import Path


class Acquaintances:
    """The registry, as the protocol log needs it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def name(self, peer: Any) -> str:
        """Who is registered from there, "" when nobody is, or more than one."""
        found = self._registry.at_peer(peer)
        return found[0].endpoint_name if len(found) == 1 else ""

    def model(self, endpoint_name: str) -> tuple[Model, str] | None:
        """Model and alternate path of a device."""
        registration = self._registry.named(endpoint_name)
        return None if registration is None else (registration.client.model, registration.client.root)

    def behind(self, endpoint_name: str) -> dict[str, Model]:
        """The models of the devices behind a gateway by their prefixes, without slashes."""
        registration = self._registry.named(endpoint_name)
        behind = {} if registration is None else (registration.end_devices or {}).copy()
        return {prefix.strip("/"): device.client.model for prefix, device in behind.items()}

    def observed(self, endpoint_name: str, token: bytes) -> tuple[str, tuple[Path, ...]] | None:
        """Prefix and paths of the observation with this token, at that device or behind it."""
        for prefix, registration in self._at(endpoint_name):
            for observation in list(registration.observations.values()):
                if observation.token == token:
                    return prefix, observation.paths or (observation.path,)
        return None

    def _at(self, endpoint_name: str) -> Iterator[tuple[str, Registration]]:
        registration = self._registry.named(endpoint_name)
        if registration is not None:
            yield "", registration
            for prefix, device in (registration.end_devices or {}).copy().items():
                yield f"/{prefix.strip('/')}", device
