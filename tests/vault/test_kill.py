"""Killed at any moment: what was announced is there, a change of many devices is whole or is none."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from appliance.storage.documents import SafeJSONStorage
from appliance.vault.errors import VaultError
from appliance.vault.model import NewDevice
from appliance.vault.vault import check_vault
from tests.vault.child_vault import BATCH, BOTH
from tests.vault.conftest import Clock, Home

CHILD = Path(__file__).with_name("child_vault.py")
KILLS = 12


def run_and_kill(state: Path, round_: int, chance: random.Random) -> list[str]:
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(state), str(round_)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHILD.parents[2])},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(chance.random() * 0.25)  # not a measure of anything: some moment
    child.kill()
    said = child.stdout.read()
    child.stdout.close()
    child.wait()
    return said.split("\n")[:-1]


def test_whole_or_none_under_kill_9(tmp_path: Path) -> None:
    home = Home(tmp_path / "state", Clock())
    chance = random.Random(4)
    said: list[str] = []
    for round_ in range(KILLS):
        said += run_and_kill(home.state, round_, chance)
        if round_ % 3 == 0:  # looked at before anybody finishes what was begun
            assert check_vault(home.state, home.settings, home.clock) == []
    vault = home.vault()
    assert check_vault(home.state, home.settings, home.clock) == []
    assert vault.audit_problems() == [] and vault.problems() == []
    counted = Counter(tag for device in vault.devices() for tag in device.tags)
    assert set(counted.values()) == {BATCH}
    asked = Counter(one.tags for one in vault.devices() if one.rebootstrap_asked is not None)
    assert set(asked.values()) <= {BATCH}
    announced = {line.split()[1] for line in said if line.startswith("added")}
    assert announced <= counted.keys() and len(announced) > KILLS / 2
    assert {(line.split()[1],) for line in said if line.startswith("asked")} <= asked.keys()
    for line in said:
        if line.startswith("key"):
            _, identity, key = line.split()
            credential = vault.by_identity(identity)
            assert credential is not None and vault.psk_key(credential) == bytes.fromhex(key)
    told = Counter(entry.about for entry in vault.audit(limit=10**6) if entry.what.startswith("device added"))
    assert set(told.values()) == {1} and len(told) == len(vault.devices())


def test_a_change_whose_files_could_not_all_be_written_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "state", Clock())
    vault, other = home.vault(), home.vault()
    written = SafeJSONStorage.write
    left = 2

    def full(self: SafeJSONStorage, data: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")
        written(self, data)

    monkeypatch.setattr(SafeJSONStorage, "write", full)
    with pytest.raises(VaultError, match="No space") as caught:
        vault.add([NewDevice(f"m{n}", credentials=BOTH) for n in range(BATCH)], "ada")
    assert caught.value.kind == "unavailable"
    assert check_vault(home.state, home.settings, home.clock) == []
    monkeypatch.undo()
    assert len(other.refresh()) == BATCH, "somebody else finishes it"
    assert len(vault.refresh()) == BATCH and len(vault.devices()) == BATCH
    assert vault.audit_problems() == [] and len(vault.audit()) == BATCH
    assert not (home.state / "vault/redo").exists()


def test_what_cannot_be_written_at_all_has_not_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "state", Clock())
    vault = home.vault()
    vault.add([NewDevice("m", credentials=BOTH)], "ada")

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("appliance.storage.documents.os.fsync", full)
    for change in (
        lambda: vault.rotate("m", "server", "ada", staged=True),
        lambda: vault.add([NewDevice(f"m{n}", credentials=BOTH) for n in range(BATCH)], "ada"),
        lambda: vault.remove("m", "ada"),
    ):
        with pytest.raises(VaultError, match="No space"):
            change()
    monkeypatch.undo()
    assert vault.devices() == home.vault().devices() and len(vault.devices()) == 1
    vault.rotate("m", "server", "ada", staged=True)
    assert vault.audit_problems() == [] and len(vault.audit()) == 2
