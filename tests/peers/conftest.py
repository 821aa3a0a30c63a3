"""A gateway for a module's strangers, and the strangers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.peers.strangers import Gateway, LeshanDevice, fresh_name


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`homard serve`, as a user starts it."""
    running = Gateway(tmp_path_factory.mktemp("state"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def own_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that the test may kill."""
    running = Gateway(tmp_path_factory.mktemp("state"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def leshan_client(gateway: Gateway) -> Iterator[LeshanDevice]:
    """A registered Leshan client that the tests of a module share."""
    device = LeshanDevice(gateway.uri, fresh_name("leshan"))
    try:
        device.expect("registered")
        yield device
    finally:
        device.end()


@pytest.fixture
def new_leshan_client() -> Iterator[Callable[[Gateway], LeshanDevice]]:
    """Makes Leshan clients for one test: for those that end, or outlive their server."""
    made: list[LeshanDevice] = []

    def make(gateway: Gateway, lifetime_s: int = 300) -> LeshanDevice:
        made.append(LeshanDevice(gateway.uri, fresh_name("leshan"), lifetime_s))
        return made[-1]

    yield make
    for device in made:
        device.end()
