"""A vault on a folder of its own, with a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault

NOON = 1_800_000_000.0


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class Home:
    """A state folder with its key beside it; ``vault()`` opens it as one more process would."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self.state, self.clock = state, clock
        self.state.mkdir(parents=True, exist_ok=True)
        self.key = SealingKey.load(state, create=True)
        self.settings = VaultSettings(overlap_days=30)

    def vault(self) -> Vault:
        vault = Vault(self.state / "vault", self.key, self.settings, self.clock)
        vault.open()
        return vault


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path, clock: Clock) -> Home:
    return Home(tmp_path / "state", clock)


@pytest.fixture
def vault(home: Home) -> Vault:
    return home.vault()
