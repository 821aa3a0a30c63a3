"""A stage for one endpoint: a peer that says and sees raw bytes, and a clock that the test moves."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from appliance.coap.endpoint import Endpoint, Event
from appliance.coap.transmission import Transmission

DEVICE = "device"


class Stage:
    """``says`` brings a datagram to the endpoint, ``hears`` gives what it sent, ``wait`` moves the clock."""

    def __init__(self, transmission: Transmission | None = None, **caps: Any) -> None:
        self._tokens = 0
        caps.setdefault("random_bytes", self._random_bytes)
        # A factor of 1.0 makes the retransmissions of a test fall on whole seconds.
        self.endpoint = Endpoint(
            transmission or Transmission(ack_random_factor=1.0), rng=random.Random(1), **caps
        )
        self.now = 1000.0

    def _random_bytes(self, length: int) -> bytes:
        """Tokens that a test can write down: 0000000000000001, 0000000000000002, …"""
        first = self._tokens + 1
        self._tokens += length // 8
        return b"".join(number.to_bytes(8, "big") for number in range(first, self._tokens + 1))

    def says(self, text: str | bytes, peer: object = DEVICE) -> list[Event]:
        data = text if isinstance(text, bytes) else bytes.fromhex(text)
        return self.endpoint.receive_datagram(data, peer, self.now)

    def hears(self, peer: object | None = None) -> list[str]:
        return [
            data.hex()
            for data, receiver in self.endpoint.take_datagrams()
            if peer is None or receiver == peer
        ]

    def wait(self, seconds: float) -> list[Event]:
        """Every timer on the way is served at its time."""
        events: list[Event] = []
        until = self.now + seconds
        while True:
            due = self.endpoint.next_timer()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            events += self.endpoint.handle_timer(self.now)
        self.now = until
        return events

    def asks(self, path: str = "/3/0", *, code: int = 1, payload: bytes = b"", **how: Any) -> int:
        """The endpoint asks the device; the deadline is far unless the test says otherwise."""
        from appliance.coap.options import path_options

        how.setdefault("deadline", self.now + 600.0)
        how.setdefault("key", path)
        options = [*path_options(path), *how.pop("options", ())]
        return self.endpoint.send_request(
            how.pop("peer", DEVICE), code, options, payload, now=self.now, **how
        )


@pytest.fixture
def make_stage() -> Callable[..., Stage]:
    return Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()
