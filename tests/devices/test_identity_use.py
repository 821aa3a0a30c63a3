"""When identities were used, how they failed, and that those of the past are forgotten."""

from __future__ import annotations

from pathlib import Path

from appliance.devices.identity_use import IdentityUse, Use
from appliance.storage.database import Database
from appliance.storage.settings import StorageSettings


def test_uses_and_failures_outlive_a_restart_until_the_vault_knows_the_identity_no_more(
    tmp_path: Path,
) -> None:
    database = Database(tmp_path / "homard.sqlite", StorageSettings())
    database.open()
    now = [1000.0]
    uses = IdentityUse(database, lambda: now[0])
    uses.load()
    for number in range(3):
        uses.used(f"psk:m-{number}")
    now[0] += 5
    uses.failed("psk:m-1", "most likely another key")
    database.flush()
    again = IdentityUse(database, lambda: now[0])
    again.load()
    found = again.get("psk:m-1")
    assert (found.used_at, found.failed_at, found.text) == (1000.0, 1005.0, "most likely another key")
    again.sweep(lambda identity: identity == "psk:m-1")
    assert again.get("psk:m-1") is found
    assert again.get("psk:m-0") == again.get("psk:m-2") == Use()
    database.flush()
    assert database.read("SELECT identity FROM identity_use") == [("psk:m-1",)]
    database.close()
