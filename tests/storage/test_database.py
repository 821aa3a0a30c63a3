"""One file, one writer, groups: receipts in order, bad rows alone, damage put aside."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import re
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.broker.broker import Broker
from appliance.broker.entities import EntityUpdate
from appliance.storage import database_file
from appliance.storage.database import Database, copy_database
from appliance.storage.errors import SchemaTooNew, StorageError, StorageFull, StorageInUse
from appliance.storage.settings import StorageSettings

INSERT = "INSERT INTO desired VALUES (?,?,?)"


def opened(folder: Path, **settings: object) -> Database:
    database = Database(folder / "homard.sqlite", StorageSettings(**settings))  # type: ignore[arg-type]
    database.open()
    return database


def paths(database: Database) -> list[str]:
    return [path for (path,) in database.read("SELECT path FROM desired ORDER BY endpoint_name, path")]


def test_done_runs_after_the_commit_in_the_order_of_the_writes(tmp_path: Path) -> None:
    database = opened(tmp_path)
    seen: list[tuple[int, int]] = []

    def done(number: int) -> Callable[[], None]:
        return lambda: seen.append((number, len(paths(database))))

    tickets = [database.write(INSERT, ("e", f"/{n:03}", "{}"), done(n)) for n in range(150)]
    assert tickets == list(range(tickets[0], tickets[0] + 150))
    assert seen == []
    database.flush()
    assert seen == [(n, 150) for n in range(150)]
    database.close()


def test_statements_of_different_kinds_keep_their_order(tmp_path: Path) -> None:
    database = opened(tmp_path)
    for number in range(100):
        database.write(INSERT, ("e", f"/{number}", "{}"))
        if number % 3 == 0:
            database.write("DELETE FROM desired WHERE path = ?", (f"/{number}",))
    database.write("UPDATE desired SET doc = ?", ("[]",))
    database.flush()
    assert len(paths(database)) == 66
    assert database.read("SELECT DISTINCT doc FROM desired") == [("[]",)]
    database.close()


@pytest.mark.parametrize("seed", range(20))
def test_statements_of_several_tables_in_one_group_end_as_they_would_alone(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    numbers = itertools.count()
    statements: list[Callable[[], tuple[str, tuple[object, ...]]]] = [
        lambda: (
            "INSERT OR REPLACE INTO desired VALUES (?, ?, ?)",
            (f"e{chance.randrange(9)}", "/", str(next(numbers))),
        ),
        lambda: ("DELETE FROM desired WHERE endpoint_name = ?", (f"e{chance.randrange(9)}",)),
        lambda: (
            "INSERT INTO cursors VALUES (?,?) ON CONFLICT (name) DO UPDATE SET seq = seq + excluded.seq",
            (f"c{chance.randrange(9)}", next(numbers)),
        ),
        lambda: ("UPDATE cursors SET seq = 2 * seq WHERE name = ?", (f"c{chance.randrange(9)}",)),
        lambda: (
            "INSERT OR REPLACE INTO entities SELECT endpoint_name, doc, 0 FROM desired WHERE doc > ?",
            ("5",),
        ),
    ]
    grouped, alone = opened(tmp_path / "grouped"), opened(tmp_path / "alone")
    for _ in range(400):
        sql, parameters = chance.choices(statements, (20, 3, 20, 1, 1))[0]()
        grouped.write(sql, parameters)
        alone.write(sql, parameters)
        alone.flush()
    grouped.flush()
    for table in ("desired", "cursors", "entities"):
        rows = f"SELECT * FROM {table} ORDER BY 1, 2"
        assert grouped.read(rows) == alone.read(rows)
    grouped.close()
    alone.close()


@pytest.mark.parametrize(
    "bad", [("e", "/1", "{}"), ("e", None, "{}"), ("e", 2**70, ""), ("e", "\ud800", ""), ("e",)]
)
def test_a_bad_row_fails_alone(tmp_path: Path, bad: tuple[object, ...]) -> None:
    database = opened(tmp_path)
    groups: list[tuple[int, list[int]]] = []
    database.after_group(lambda last, lost: groups.append((last, list(lost))))
    events: list[str] = []
    for number in range(3):
        database.write(
            INSERT, ("e", f"/{number}", "{}"), lambda number=number: events.append(f"done {number}")
        )
    database.write(INSERT, bad, lambda: events.append("bad done"), lambda error: events.append(str(error)))
    database.write(INSERT, ("e", "/9", "{}"), lambda: events.append("done 9"))
    database.flush()
    assert events[:3] == ["done 0", "done 1", "done 2"]
    assert "cannot be stored" in events[3]
    assert events[4:] == ["done 9"]
    assert groups == [(5, [4])]
    assert paths(database) == ["/0", "/1", "/2", "/9"]
    assert database.health.state == "ok"
    assert database.health.failed_rows == 1
    database.close()


def test_a_callback_that_raises_keeps_nobody_else_from_his_receipt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = opened(tmp_path)
    seen: list[int] = []

    def raises() -> None:
        raise RuntimeError("mine")

    database.write(INSERT, ("e", "/1", ""), raises)
    database.write(INSERT, ("e", "/2", ""), lambda: seen.append(2))
    with caplog.at_level(logging.CRITICAL):
        database.flush()
    assert seen == [2]
    database.close()


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    database = opened(tmp_path, max_queued_rows=100)
    for number in range(100):
        database.write(INSERT, ("e", f"/{number}", ""))
    with pytest.raises(StorageFull):
        database.write(INSERT, ("e", "/x", ""))
    database.flush()
    assert len(paths(database)) == 100
    database.close()


def test_the_file_never_grows_beyond_its_limit(tmp_path: Path) -> None:
    database = opened(tmp_path, max_size_mb=1)
    errors: list[str] = []
    for number in range(40):
        database.write(
            INSERT, ("e", f"/{number}", "x" * 50_000), None, lambda error: errors.append(str(error))
        )
        database.flush()
    assert 10 < len(paths(database)) < 30
    assert "full" in errors[0]
    assert "free space" in errors[0]
    assert database.health.state == "failing"
    database.write("DELETE FROM desired", ())
    database.write(INSERT, ("e", "/new", ""))
    database.flush()
    assert paths(database) == ["/new"]
    assert database.health.state == "ok"
    assert (tmp_path / "homard.sqlite").stat().st_size <= 1024 * 1024
    database.close()


def test_groups_leave_by_themselves_on_a_loop(tmp_path: Path) -> None:
    async def main() -> tuple[list[int], int]:
        database = Database(
            tmp_path / "homard.sqlite", StorageSettings(grouping_window_ms=5, group_max_rows=7)
        )
        database.open(asyncio.get_running_loop())
        loop_thread = threading.get_ident()
        seen: list[int] = []
        all_done = asyncio.Event()

        def done(number: int) -> None:
            assert threading.get_ident() == loop_thread
            seen.append(number)
            if number == 499:
                all_done.set()

        for number in range(500):
            database.write(INSERT, ("e", f"/{number:03}", ""), lambda number=number: done(number))
            if number % 50 == 0:
                await asyncio.sleep(0)
        await all_done.wait()
        groups = database.health.committed_groups
        database.close()
        return seen, groups

    seen, groups = asyncio.run(main())
    assert seen == list(range(500))
    assert 1 < groups < 100


def test_a_callback_may_write_again(tmp_path: Path) -> None:
    database = opened(tmp_path)
    database.write(INSERT, ("e", "/1", ""), lambda: (database.write(INSERT, ("e", "/2", "")), None)[1])
    database.close()
    database = opened(tmp_path)
    assert paths(database) == ["/1", "/2"]
    database.close()


def test_reading_from_many_threads_while_writing(tmp_path: Path) -> None:
    database = opened(tmp_path)
    stop = threading.Event()
    counts: list[int] = []

    def reader() -> None:
        last = 0
        while not stop.is_set():
            now = len(paths(database))
            assert now >= last
            last = now
        counts.append(last)

    threads = [threading.Thread(target=reader) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        database.write(INSERT, ("e", f"/{number}", ""))
        if number % 10 == 0:
            database.flush()
    database.flush()
    stop.set()
    for thread in threads:
        thread.join()
    assert len(counts) == 3
    assert len(paths(database)) == 300
    database.close()
    with pytest.raises(StorageError):
        database.read("SELECT 1")
    assert database.health.state == "closed"


def test_reading_cannot_write(tmp_path: Path) -> None:
    database = opened(tmp_path)
    with pytest.raises(StorageError, match="readonly"):
        database.read("DELETE FROM desired")
    database.close()


def test_one_state_folder_serves_one_process(tmp_path: Path) -> None:
    database = opened(tmp_path)
    with pytest.raises(StorageInUse, match="--state"):
        opened(tmp_path)
    database.close()
    opened(tmp_path).close()


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    database = opened(tmp_path / "state")
    database.write(INSERT, ("e", "/1", ""))
    database.flush()
    names = {path.name for path in (tmp_path / "state").iterdir()}
    assert "homard.sqlite-wal" in names
    for path in (tmp_path / "state").iterdir():
        if path.name != "homard.sqlite.clean":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    database.close()


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    path = tmp_path / "homard.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=999")
    connection.close()
    with pytest.raises(SchemaTooNew, match="999"):
        opened(tmp_path)
    assert not list(tmp_path.glob("*.damaged*"))
    # The lock was given back.
    with pytest.raises(SchemaTooNew):
        opened(tmp_path)


def test_a_clean_stop_is_trusted_and_anything_else_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[int] = []
    real = database_file.check_soundness

    def check(connection: sqlite3.Connection) -> None:
        checks.append(1)
        real(connection)

    monkeypatch.setattr(database_file, "check_soundness", check)
    opened(tmp_path).close()
    database = opened(tmp_path)
    assert database.was_clean
    assert checks == []
    assert not (tmp_path / "homard.sqlite.clean").exists()  # a crash from here on is not clean
    database.close()
    os.utime(tmp_path / "homard.sqlite")
    database = opened(tmp_path)
    assert not database.was_clean
    assert checks == [1]
    database.close()


def filled(folder: Path) -> None:
    """A state of some hundred kilobytes with everything in it."""
    database = opened(folder)
    broker = Broker(database, lambda: 1_700_000_000_000)
    for number in range(500):
        database.write(
            "INSERT INTO registrations VALUES (?,?,?)", (f"ep{number}", f"id{number}", '{"a":"b"}')
        )
        database.write("INSERT INTO observations VALUES (?,?,?)", (number.to_bytes(8), f"id{number}", "{}"))
    for number in range(3000):
        attributes = {"n": (number, 0, None), "pad": ("x" * 60, 0, None)}
        broker.accept(EntityUpdate(f"e{number % 100}", "Device", "value", attributes))
    database.flush()
    broker.stop()
    database.close()


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_is_put_aside_and_the_service_starts(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    path = tmp_path / "homard.sqlite"
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    length = chance.choice((512, 3000, 20000))
    start = chance.randrange(0 if seed % 4 == 0 else 1024, len(content) - length)
    if seed == 0:
        start = 0
    pages = content[start // 1024 * 1024 : -(-(start + length) // 1024) * 1024]
    content[start : start + length] = chance.randbytes(length)
    path.write_bytes(content)
    with caplog.at_level(logging.CRITICAL):
        database = opened(tmp_path)
        broker = Broker(database, lambda: 1_700_000_000_000)
    damaged = list(tmp_path.glob("homard.sqlite.damaged-*"))
    if database.notes:
        (note,) = database.health.notes
        assert damaged[0].name in note
        assert "backup" in note
    else:
        # Garbage that fell into the text of rows only: no page is malformed.
        assert not damaged
    head = broker.head()
    if seed != 0:  # which hits the first page, and with it every other
        assert head > 0, "no row of the journal was kept"
        # The rows on the pages that were hit are the cost, and no other.
        stood_there = len(set(re.findall(rb"ep\d+id\d+", pages)))
        assert database.read("SELECT count(*) FROM registrations")[0][0] >= 500 - stood_there
    for row in broker.read_after(0, 100_000):
        assert isinstance(row.body, dict)
    seq = broker.accept(EntityUpdate("e1", "Device", "value", {"n": (-1, 0, None)}))
    assert seq > head
    database.flush()
    assert broker.read_last(1)[0].seq == seq
    broker.stop()
    database.close()
    database = opened(tmp_path)
    assert database.notes == ()
    database.close()


def test_damage_to_the_schema_costs_only_the_tables_that_stand_behind_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    path = tmp_path / "homard.sqlite"
    content = bytearray(path.read_bytes())
    page = content.index(b"CREATE TABLE oscore_context") // 1024
    assert all(
        content.index(b"CREATE TABLE %s" % name) // 1024 < page
        for name in (b"registrations", b"observations", b"journal", b"entities")
    )
    content[page * 1024 : (page + 1) * 1024] = random.Random(1).randbytes(1024)
    path.write_bytes(content)
    with caplog.at_level(logging.CRITICAL):
        database = opened(tmp_path)
    assert "put aside" in database.notes[0]
    for table, rows in (("registrations", 500), ("observations", 500), ("journal", 3000), ("entities", 100)):
        assert database.read(f"SELECT count(*) FROM {table}") == [(rows,)]
    database.close()


def test_of_a_damaged_file_no_session_is_kept_but_blobs_and_whole_json_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = opened(tmp_path)
    database.write("INSERT INTO dtls_session VALUES (1, ?)", (b"\x01\xff",))
    database.write("INSERT INTO dtls_mark VALUES (1, 2, 3, 4)", ())
    database.write("INSERT INTO oscore_observation VALUES (?, '{}')", (b"\xff\x00",))
    database.write("INSERT INTO stranger VALUES (1, '{}')", ())
    database.write("INSERT INTO stranger VALUES (2, 'no JSON')", ())
    database.write("INSERT INTO tasks VALUES (1, 'ep', 'open', NULL, '{}', '[]', NULL)", ())
    for number in range(100):
        database.write("INSERT INTO registrations VALUES (?, 'id', '{}')", (f"{number:060}",))
    database.flush()
    database.close()
    path = tmp_path / "homard.sqlite"
    content = bytearray(path.read_bytes())
    page = content.index(b"%060did" % 50) // 1024
    content[page * 1024 : (page + 1) * 1024] = random.Random(1).randbytes(1024)
    path.write_bytes(content)
    with caplog.at_level(logging.CRITICAL):
        database = opened(tmp_path)
    assert database.notes
    # Its numbers may be older than those that were used.
    assert database.read("SELECT * FROM dtls_session") == []
    assert database.read("SELECT * FROM dtls_mark") == []
    assert database.read("SELECT * FROM oscore_observation") == [(b"\xff\x00", "{}")]
    assert database.read("SELECT * FROM stranger") == [(1, "{}")]
    assert database.read("SELECT state, batch, about FROM tasks") == [("open", None, "[]")]
    ((kept,),) = database.read("SELECT count(*) FROM registrations")
    assert 80 < kept < 100
    database.close()


def test_a_copy_of_a_database_carries_no_session(tmp_path: Path) -> None:
    database = opened(tmp_path)
    database.write("INSERT INTO dtls_session VALUES (1, ?)", (b"sealed",))
    database.write("INSERT INTO dtls_mark VALUES (1, 2, 3, 4)", ())
    database.write(INSERT, ("e", "/1", ""))
    database.flush()
    copy_database(tmp_path / "homard.sqlite", tmp_path / "copy.sqlite")
    assert database.read("SELECT count(*) FROM dtls_session") == [(1,)]
    database.close()
    (tmp_path / "restored").mkdir()
    (tmp_path / "copy.sqlite").rename(tmp_path / "restored/homard.sqlite")
    database = opened(tmp_path / "restored")
    assert database.read("SELECT * FROM dtls_session") == []
    assert database.read("SELECT * FROM dtls_mark") == []
    assert paths(database) == ["/1"]
    database.close()


def test_damaged_files_do_not_fill_the_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        for number in range(6):
            (tmp_path / "homard.sqlite").write_bytes(b"garbage %d" % number * 500)
            opened(tmp_path).close()
    kept = [path for path in tmp_path.glob("*.damaged-*") if not path.name.endswith(("-wal", "-shm"))]
    assert len(kept) == database_file.MAX_QUARANTINED_FILES


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    (tmp_path / "homard.sqlite").touch()
    database = opened(tmp_path)
    assert database.notes == ()
    assert database.read("PRAGMA page_size") == [(1024,)]
    database.close()
