from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.southbound.scripted import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture(params=["UDP", "TCP"])
def bearer(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
