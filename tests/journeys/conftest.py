"""A house per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    # Only sensors are observed by themselves, so that a test knows which request comes when.
    with House(tmp_path / "state", "devices.observe_paths=[]") as started:
        yield started
