"""OSCORE contexts from the vault and their numbers on disk: who is found, what a restored database costs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.devices.identity_use import IdentityUse
from appliance.devices.oscore_store import OscoreContexts, OscoreKeeper
from appliance.devices.strangers import Strangers
from appliance.southbound.oscore.context import GENERATION
from appliance.storage.database import Database
from appliance.storage.settings import StorageSettings
from appliance.vault.doorkeeper import Doorkeeper
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import NewCredential, NewDevice, Vault
from appliance.vault.verdict import Verdict

NOW = 1_800_000_000.0
SECRET, SALT = bytes(range(16)), b"salt"


class Unit:
    """The vault and the database of one state folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.now = NOW
        self.vault = Vault(folder / "vault", SealingKey(bytes(32)), VaultSettings(), lambda: self.now)
        self.vault.open()
        self.start()

    def start(self) -> None:
        self.database = Database(self.folder / "homard.sqlite", StorageSettings())
        self.database.open(None)
        self.uses = IdentityUse(self.database, lambda: self.now)
        self.strangers = Strangers(self.database, lambda: self.now)
        doorkeeper = Doorkeeper(self.vault, lambda chain: Verdict(""), lambda: self.now)
        self.contexts = OscoreContexts(self.vault, doorkeeper, self.strangers, self.uses)
        self.contexts.look(self.vault.devices())
        self.keeper = OscoreKeeper(self.database, self.folder, lambda: self.now)
        self.keeper.open(self.vault.devices())
        self.database.flush()

    def restart(self) -> None:
        self.database.close()
        self.start()

    def add(self, name: str, sender: str, context: str | None = None) -> str:
        """A device with a context; its identity."""
        credential = NewCredential(
            "server",
            "oscore",
            sender_id=bytes.fromhex(sender),
            recipient_id=b"\x77",
            id_context=None if context is None else bytes.fromhex(context),
            master_secret=os.urandom(16) if self.vault.devices() else SECRET,
            master_salt=SALT,
        )
        (made,) = self.vault.add([NewDevice(name, credentials=(credential,))], "x")
        self.contexts.look(self.vault.devices())
        return made.made[0].identity


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    made = Unit(tmp_path / "state")
    yield made
    made.database.close()


def test_the_vault_has_the_view_of_the_client_and_we_the_other_one(unit: Unit) -> None:
    identity = unit.add("meter-1", "0102")
    found = unit.contexts.find(b"\1\2", None)
    assert found is not None and found is unit.contexts.find(b"\1\2", None), "made once"
    assert (found.identity, found.recipient_id, found.sender_id) == (identity, b"\1\2", b"\x77")
    assert (found.master_secret, found.master_salt, found.id_context) == (SECRET, SALT, None)
    assert (found.aead, found.hkdf) == (10, -10)


def test_a_context_is_found_with_its_id_context_without_and_with_one_that_is_proposed(unit: Unit) -> None:
    with_one, without = unit.add("meter-1", "0102", "aa"), unit.add("meter-2", "0103")
    for kid, kid_context, identity in (
        (b"\1\2", b"\xaa", with_one),
        (b"\1\2", None, with_one),
        (b"\1\2", b"\xbb", with_one),
        (b"\1\3", None, without),
        (b"\1\3", b"\xbb", without),
    ):
        found = unit.contexts.find(kid, kid_context)
        assert found is not None and found.identity == identity
    assert unit.contexts.find(b"\1\4", None) is None
    assert unit.contexts.find(b"\1", b"\2") is None


def test_who_is_revoked_or_unknown_is_told_apart_and_gets_nothing(unit: Unit) -> None:
    identity = unit.add("meter-1", "0102")
    assert unit.contexts.find(b"\1\2", None) is not None
    unit.vault.revoke("meter-1", "test", "stolen")
    assert unit.contexts.find(b"\1\2", None) is None
    who, sentence = unit.contexts.refusal(b"\1\2", None)
    assert who == identity and "was revoked" in sentence and "stolen" in sentence
    unit.contexts.failed(who, "192.0.2.7:5683", sentence)
    assert unit.uses.get(identity).text == sentence and not list(unit.strangers)

    who, sentence = unit.contexts.refusal(b"\xff", None)
    assert who == "oscore:ff" and "No device has the OSCORE Sender ID ff" in sentence
    unit.contexts.failed(who, "192.0.2.7:5683", sentence)
    (stranger,) = unit.strangers
    assert (stranger.identity, stranger.reason, stranger.bearer) == (who, sentence, "OSCORE")


def test_a_new_key_under_the_same_id_is_another_context(unit: Unit) -> None:
    unit.add("meter-1", "0102")
    old = unit.contexts.find(b"\1\2", None)
    unit.vault.remove("meter-1", "test")
    unit.vault.add(
        [
            NewDevice(
                "meter-1",
                credentials=(NewCredential("server", "oscore", sender_id=b"\1\2", recipient_id=b"\x77"),),
            )
        ],
        "test",
    )
    new = unit.contexts.find(b"\1\2", None)
    assert old is not None and new is not None and old.master_secret != new.master_secret


def test_what_is_kept_outlives_a_restart_and_what_nobody_has_any_more_goes(unit: Unit) -> None:
    identity = unit.add("meter-1", "0102")
    kept: list[str] = []
    unit.keeper.save(identity, '{"a":1}', lambda: kept.append("on disk"))
    assert not kept
    unit.keeper.save("oscore:ff", "{}", lambda: None)
    unit.keeper.save_observation(b"token", "[1]")
    unit.keeper.save_observation(b"other", "[2]")
    unit.keeper.save_observation(b"other", None)
    unit.database.flush()
    assert kept == ["on disk"]
    unit.restart()
    assert (unit.keeper.load(identity), unit.keeper.load("oscore:ff")) == ('{"a":1}', None)
    assert unit.keeper.observations() == {b"token": "[1]"}
    assert unit.keeper.generation(identity) == 0
    assert unit.database.read("SELECT identity FROM oscore_context") == [(identity,)]


def test_another_database_means_higher_numbers_for_the_contexts_of_that_moment(
    unit: Unit, tmp_path: Path
) -> None:
    old = unit.add("meter-1", "0102")
    unit.restart()
    assert unit.keeper.generation(old) == 0, "a restart is none"
    unit.database.backup(tmp_path / "copy")
    unit.database.close()
    (tmp_path / "copy").replace(unit.folder / "homard.sqlite")
    unit.start()
    first = unit.keeper.generation(old)
    assert first * 600 == pytest.approx(NOW - 1_767_225_600, abs=600)
    new = unit.add("meter-2", "0103")
    assert unit.keeper.generation(new) == 0, "its key was never used"
    unit.restart()
    assert (unit.keeper.generation(old), unit.keeper.generation(new)) == (first, 0)

    # The clock went wrong, and the database is lost: still later, and now for both.
    unit.now = 0.0
    unit.database.close()
    for name in ("homard.sqlite", "homard.sqlite-wal"):
        (unit.folder / name).unlink(missing_ok=True)
    unit.start()
    assert unit.keeper.generation(old) == unit.keeper.generation(new) == first + 1
    assert first * GENERATION < 1 << 40


def test_a_damaged_database_is_another_one(unit: Unit) -> None:
    old = unit.add("meter-1", "0102")
    unit.restart()
    unit.database.close()
    path = unit.folder / "homard.sqlite"
    with sqlite3.connect(path) as file:
        (page,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name='registrations'").fetchone()
        (size,) = file.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = os.urandom(size)
    path.write_bytes(content)
    unit.start()
    assert unit.database.notes and unit.keeper.generation(old) > 0


def test_a_full_disk_calls_nobody_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unit = Unit(tmp_path / "state")
    unit.database.close()
    database = Database(unit.folder / "homard.sqlite", StorageSettings(max_queued_rows=1))
    database.open(None)
    keeper = OscoreKeeper(database, unit.folder, lambda: NOW)
    keeper.open([])
    called: list[int] = []
    for number in range(3):
        keeper.save(f"oscore:{number}", "{}", lambda number=number: called.append(number))  # type: ignore[misc]
    database.flush()
    assert called == [0] and "could not be stored" in caplog.text
    database.close()
