"""A database of every released schema opens, and what was in it is still there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliance.broker.broker import Broker
from appliance.storage.database import Database
from appliance.storage.database_file import schema_scripts
from appliance.storage.settings import StorageSettings

FILES = sorted(Path(__file__).parent.glob("*.sqlite"))


def test_there_is_a_file_for_every_schema() -> None:
    assert [file.name for file in FILES] == [f"{n + 1:04}.sqlite" for n in range(len(schema_scripts()))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("journal_max_rows", [1000, 5000])
def test_an_old_database_opens_with_everything_in_it(
    tmp_path: Path, file: Path, journal_max_rows: int
) -> None:
    shutil.copyfile(file, tmp_path / "homard.sqlite")
    database = Database(tmp_path / "homard.sqlite", StorageSettings(journal_max_rows=journal_max_rows))
    database.open()
    assert database.notes == ()
    assert database.read("PRAGMA user_version") == [(len(schema_scripts()),)]
    assert database.read("SELECT id, endpoint_name FROM registrations ORDER BY 1") == [
        ("id-one", "one"),
        ("id-two", "two"),
    ]
    assert database.read("SELECT token, registration_id FROM observations") == [
        (b"one", "id-one"),
        (b"two", "id-two"),
    ]
    assert database.read("SELECT endpoint_name, path FROM desired ORDER BY 1") == [
        ("one", "/3303/0/5700"),
        ("two", "/3303/0/5700"),
    ]
    broker = Broker(database, lambda: 0)
    assert [row.seq for row in broker.read_after(0, 100)] == [1, 2, 3, 4, 5]
    assert {e.id: e.attributes["/3303/0/5700"][0] for e in broker.entities("Device")} == {
        "one": 2.5,
        "two": 3.5,
    }
    assert broker.cursor("rules") == 3
    assert [receipt for _, receipt, _ in broker.receipts(0)] == [b"\x01\x02"] * 4
    database.close()


def test_the_tasks_of_schema_2_are_still_there(tmp_path: Path) -> None:
    shutil.copyfile(FILES[1], tmp_path / "homard.sqlite")
    database = Database(tmp_path / "homard.sqlite", StorageSettings())
    database.open()
    rows = database.read("SELECT id, endpoint_name, state, outcome FROM tasks ORDER BY id")
    assert rows == [(1, "one", "waiting", None), (2, "two", "waiting", None)]
    assert database.read("SELECT endpoint_name, awake_s FROM awake ORDER BY 1") == [("one", 30), ("two", 30)]
    database.close()
