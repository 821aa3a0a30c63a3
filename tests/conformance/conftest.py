"""One house per module; a client of its own per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conformance.client import Client
from tests.conformance.unit import Unit
from tests.house import House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    # Nothing is observed by itself: each case asks for what it needs.
    with House(
        tmp_path_factory.mktemp("conformance") / "state",
        "devices.observe_paths=[]",
        "storage.grouping_window_ms=10",
    ) as started:
        started.tls = False
        yield started


@pytest.fixture(scope="module")
def second_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(
        tmp_path_factory.mktemp("second") / "state",
        "devices.observe_paths=[]",
        "storage.grouping_window_ms=10",
    ) as started:
        started.tls = False
        yield started


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unit]:
    made = Unit(tmp_path_factory.mktemp("unit") / "state")
    yield made
    assert made.stop() == 0


@pytest.fixture
def new_client(house: House, request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Makes clients named after the test."""
    made: list[Client] = []

    def make(version: str = "1.1", *, register: bool = True) -> Client:
        client = Client(house, f"{request.node.name[5:]}-{len(made)}", version)
        made.append(client)
        if register:
            client.register()
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(new_client: Callable[..., Client]) -> Client:
    """A registered client of version 1.1."""
    return new_client()
