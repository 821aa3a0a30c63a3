"""The broker: merging, the journal, cursors, followers, and what a start finds again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.broker.broker import Broker
from appliance.broker.entities import EntityUpdate, JournalRow
from appliance.storage.database import Database
from appliance.storage.settings import StorageSettings


class House:
    """A database and a broker without a loop: ``flush`` commits, ``now_ms`` is set by hand."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.settings = StorageSettings(**settings)  # type: ignore[arg-type]
        self.now_ms = 1_700_000_000_000
        self.open()

    def open(self) -> None:
        self.database = Database(self.folder / "homard.sqlite", self.settings)
        self.database.open()
        self.broker = Broker(self.database, lambda: self.now_ms)

    def report(self, value: object, entity: str = "urn:dev:1", **more: object) -> int:
        update = EntityUpdate(
            entity,
            "Device",
            "value",
            {"/3303/0/5700": (value, self.now_ms, None)},
            **more,  # type: ignore[arg-type]
        )
        return self.broker.accept(update)

    def crash(self) -> None:
        """Lose everything in memory; what was committed stays."""
        self.database.flush()
        self.database.close()
        (self.folder / "homard.sqlite.clean").unlink()

    def stop(self) -> None:
        self.broker.stop()
        self.database.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.stop()


def seqs(rows: list[JournalRow]) -> list[int]:
    return [row.seq for row in rows]


def test_a_change_is_merged_at_once_and_journalled_after_the_commit(house: House) -> None:
    assert house.report(21.5) == 1
    entity = house.broker.entity("urn:dev:1")
    assert entity is not None
    assert entity.attributes == {"/3303/0/5700": (21.5, house.now_ms, None)}
    assert house.broker.head() == 0
    assert house.broker.read_after(0, 10) == []
    house.database.flush()
    assert house.broker.head() == 1
    (row,) = house.broker.read_after(0, 10)
    assert row == JournalRow(
        1,
        house.now_ms,
        "value",
        "urn:dev:1",
        {"attributes": {"/3303/0/5700": (21.5, house.now_ms, None)}, "type": "Device"},
        None,
    )


ATTRIBUTES = [
    {},
    {"a": (None, 5, None)},
    {"a": ([1, 2], 1_700_000_000_000, None)},
    {"a": ("é\U0001f99e\ud800", 5, {"unit": "Cel"}), "b": (True, 1_700_000_000_000, None)},
    {"a": (2**70, 5, None), "b": (-0.1, 5, None), "c": ("ff00", 5, {"m": 1})},
    {"a": ({"k": [1]}, 5, None)},
]


@pytest.mark.parametrize("attributes", ATTRIBUTES)
def test_a_row_reads_the_same_from_memory_and_from_disk(tmp_path: Path, attributes: dict) -> None:
    house = House(tmp_path)
    house.broker.accept(
        EntityUpdate("e", "Device", "value", attributes, {"path": "/3", "n": [1]}, b"\x00\xff", ("gone",))
    )
    house.database.flush()
    (from_memory,) = house.broker.read_after(0, 10)
    before = house.broker.entity("e")
    house.crash()
    house.open()
    (from_disk,) = house.broker.read_after(0, 10)
    assert from_disk == from_memory
    after = house.broker.entity("e")
    assert before is not None
    assert after is not None
    assert (after.attributes, after.type, after.seq) == (before.attributes, before.type, before.seq)
    house.stop()


def test_an_update_without_attributes_leaves_entities_alone(house: House) -> None:
    house.broker.accept(EntityUpdate("urn:dev:1", "Device", "registered", None, {"words": "hello"}))
    assert house.broker.entity("urn:dev:1") is None
    house.database.flush()
    assert house.broker.read_after(0, 10)[0].body == {"words": "hello"}


def test_removed_attributes_leave_the_entity(house: House) -> None:
    house.report(1)
    house.broker.accept(EntityUpdate("urn:dev:1", "Device", "value", {"b": (2, 1, None)}))
    house.broker.accept(EntityUpdate("urn:dev:1", "Device", "value", None, None, None, ("/3303/0/5700", "x")))
    entity = house.broker.entity("urn:dev:1")
    assert entity is not None
    assert list(entity.attributes) == ["b"]


def test_read_after_from_memory_and_disk_agree_around_the_ring(tmp_path: Path) -> None:
    house = House(tmp_path, journal_max_rows=1000, journal_memory_rows=10)
    for number in range(2345):
        house.report(number, entity=f"e{number % 7}")
        if number % 100 == 99:
            house.database.flush()
    house.database.flush()
    head = house.broker.head()
    assert head == 2345
    assert house.broker.oldest() == 1346
    for after in (0, 1000, 1345, 1346, 1999, 2000, 2001, 2300, 2334, 2335, 2340, 2344, 2345, 9999):
        rows = house.broker.read_after(after, 100000)
        assert seqs(rows) == list(range(max(after + 1, 1346), 2346)), after
        assert all(row.body["attributes"]["/3303/0/5700"][0] == row.seq - 1 for row in rows)
        assert seqs(house.broker.read_after(after, 7)) == seqs(rows)[:7]
        of_e3 = [seq for seq in seqs(rows) if (seq - 1) % 7 == 3]
        assert seqs(house.broker.read_after(after, 7, "e3")) == of_e3[:7]
        assert house.broker.read_after(after, 7, kinds=("other",)) == []
    for limit in (0, 1, 9, 10, 25, 345, 346, 999, 1000, 5000):
        assert seqs(house.broker.read_last(limit)) == list(range(2346 - min(limit, 1000), 2346)), limit
    assert seqs(house.broker.read_last(3, "e3", ("value",))) == [2328, 2335, 2342]
    house.stop()


def test_the_ring_is_rearranged_when_its_size_is_set_anew(tmp_path: Path) -> None:
    house = House(tmp_path, journal_max_rows=1000)
    for number in range(1500):
        house.report(number)
    house.stop()
    for size, oldest in ((1700, 501), (1200, 501), (1000, 501)):
        house.settings = StorageSettings(journal_max_rows=size)
        house.open()
        assert seqs(house.broker.read_after(0, 9999)) == list(range(oldest, 1501))
        house.stop()
    house.open()
    assert house.report(0) == 1501
    house.stop()


@pytest.mark.parametrize("clean", [True, False])
def test_a_start_finds_entities_numbers_and_cursors_again(tmp_path: Path, clean: bool) -> None:
    house = House(tmp_path)
    house.broker.move_cursor("rules", 0)
    for number in range(50):
        house.report(number, entity=f"e{number % 5}")
    house.database.flush()
    house.broker.save()
    house.database.flush()
    for number in range(50, 70):
        house.report(number, entity=f"e{number % 6}")
    house.broker.delete("e1")
    house.broker.move_cursor("rules", 33, lambda: None)
    house.stop() if clean else house.crash()
    house.open()
    values = {e.id: e.attributes["/3303/0/5700"][0] for e in house.broker.entities()}
    assert values == {"e0": 66, "e2": 68, "e3": 69, "e4": 64, "e5": 65}
    assert house.broker.cursor("rules") == 33
    assert house.broker.head() == 71
    assert house.report(1) == 72
    house.stop()


def test_a_stale_note_of_the_end_is_never_believed_twice(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.report(1)
    house.stop()
    house.open()
    house.report(2)
    house.database.close()  # without broker.stop(): the file is clean, but nobody noted the end
    house.open()
    assert house.broker.head() == 2
    house.stop()


def test_receipts_come_back_newest_first(tmp_path: Path) -> None:
    house = House(tmp_path, journal_max_rows=3000)
    for number in range(5000):
        house.now_ms += 10
        house.report(number, receipt=number.to_bytes(2) if number % 2 else None)
        if number % 500 == 0:
            house.database.flush()
    house.database.flush()
    since = house.now_ms - 15_000
    found = house.broker.receipts(since)
    assert [int.from_bytes(receipt) for _, receipt, _ in found] == list(range(4999, 3498, -2))
    assert len(house.broker.receipts(0)) == 1500
    house.stop()


def test_followers_get_every_commit_and_one_bad_one_hurts_nobody(house: House) -> None:
    seen: list[int] = []

    def bad(rows: list[JournalRow]) -> None:
        raise RuntimeError("mine")

    unfollow_bad = house.broker.follow(bad)
    unfollow = house.broker.follow(lambda rows: seen.extend(seqs(rows)))
    house.report(1)
    house.report(2)
    house.database.flush()
    assert seen == [1, 2]
    unfollow_bad()
    unfollow()
    unfollow()
    house.report(3)
    house.database.flush()
    assert seen == [1, 2]


def test_waiting_threads_wake_at_the_commit_and_at_stop(tmp_path: Path) -> None:
    house = House(tmp_path)
    answers: list[bool] = []

    def wait(seq: int) -> None:
        answers.append(house.broker.wait_after(seq, 30))

    waiting = threading.Thread(target=wait, args=(0,))
    waiting.start()
    house.report(1)
    house.database.flush()
    waiting.join()
    assert answers == [True]
    assert not house.broker.wait_after(1, 0.001)
    waiting = threading.Thread(target=wait, args=(1,))
    waiting.start()
    house.stop()
    waiting.join()
    assert answers == [True, False]


def test_with_a_loop_done_runs_before_followers_and_after_the_commit(tmp_path: Path) -> None:
    async def main() -> list[str]:
        database = Database(tmp_path / "homard.sqlite", StorageSettings(grouping_window_ms=1))
        loop = asyncio.get_running_loop()
        database.open(loop)
        broker = Broker(database, lambda: 1)
        broker.start(loop)
        order: list[str] = []
        told = asyncio.Event()

        def follower(rows: list[JournalRow]) -> None:
            order.append(f"told {seqs(rows)}")
            told.set()

        def done(name: str) -> Callable[[], None]:
            return lambda: order.append(f"{name} at head {broker.head()}")

        broker.follow(follower)
        for name in ("a", "b"):
            broker.accept(EntityUpdate(name, "Device", "value", {"x": (1, 1, None)}), done(name))
        await told.wait()
        broker.stop()
        database.close()
        return order

    assert asyncio.run(main()) == ["a at head 2", "b at head 2", "told [1, 2]"]


def test_rows_lost_to_a_full_disk_leave_gaps_and_nothing_else(tmp_path: Path) -> None:
    house = House(tmp_path)
    lost: list[str] = []
    done: list[int] = []
    house.report(1)
    house.database.flush()
    house.database.write("PRAGMA max_page_count=1", ())
    house.database.flush()
    for number in range(40):
        house.broker.accept(
            EntityUpdate("new", "Device", "value", {"x": ("y" * 900, 1, None)}),
            lambda number=number: done.append(number),
            lambda error: lost.append(str(error)),
        )
    house.database.flush()
    assert done == []
    assert len(lost) == 40
    assert "full" in lost[0]
    assert house.database.health.state == "failing"
    house.database.write("PRAGMA max_page_count=100000", ())
    house.database.flush()
    assert house.broker.accept(EntityUpdate("new", "Device", "value", {"x": (2, 1, None)})) == 42
    house.database.flush()
    assert house.database.health.state == "ok"
    assert seqs(house.broker.read_after(0, 100)) == [1, 42]
    house.crash()
    house.open()
    entity = house.broker.entity("new")
    assert entity is not None
    assert (entity.type, entity.attributes) == ("Device", {"x": (2, 1, None)})
    assert seqs(house.broker.read_after(0, 100)) == [1, 42]
    house.stop()
