"""A done is a receipt: what was announced is there after kill -9, exactly once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from appliance.broker.broker import Broker
from appliance.storage.database import Database
from appliance.storage.settings import StorageSettings

CHILD = Path(__file__).with_name("child_writer.py")
KILLS = 25


def journal_numbers(folder: Path) -> tuple[Counter[int], Broker, Database]:
    database = Database(folder / "homard.sqlite", StorageSettings(journal_max_rows=1000000))
    database.open()
    broker = Broker(database, lambda: 0)
    counts: Counter[int] = Counter()
    after = 0
    while rows := broker.read_after(after, 5000):
        counts.update(row.body["attributes"]["n"][0] for row in rows)
        after = rows[-1].seq
    return counts, broker, database


def run_child(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), *arguments],
        stdout=subprocess.PIPE,
        pipesize=4096,  # it waits for us when it is far ahead, so that the file stays small on a busy machine
        env={**os.environ, "PYTHONPATH": str(CHILD.parents[2])},
    )


def announced(child: subprocess.Popen[bytes], lines: int) -> list[str]:
    """Read that many lines, kill the child, read what it had still said (a torn last line is nothing)."""
    assert child.stdout is not None
    said = b"".join(child.stdout.readline() for _ in range(lines))
    child.kill()
    said += child.stdout.read()
    child.stdout.close()
    child.wait()
    return said.decode().split("\n")[:-1]


def test_every_announced_row_survives_kill_9_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(7)
    done: set[int] = set()
    first = 1
    for _ in range(KILLS):
        lines = announced(run_child(tmp_path, str(first)), chance.randrange(1, 400))
        numbers = [int(line) for line in lines]
        assert numbers == sorted(numbers)
        done.update(numbers)
        first = numbers[-1] + 100_000  # apart from what the killed one may have had in flight
    counts, broker, database = journal_numbers(tmp_path)
    assert done <= counts.keys()
    assert set(counts.values()) == {1}
    assert len(done) > KILLS
    # The entities, replayed, say what the journal says last.
    last = {number % 50: number for number in sorted(counts)}
    for entity in broker.entities():
        assert entity.attributes["n"][0] == last[int(entity.id[1:])]
    assert database.health.notes == ()
    database.close()


def test_a_full_disk_gives_no_receipts_and_heals(tmp_path: Path) -> None:
    child = run_child(tmp_path, "0", "65536")
    assert child.stdout is not None
    lines: list[str] = []
    while not (lines and lines[-1].isdigit() and any(line.startswith("failed") for line in lines)):
        line = child.stdout.readline()
        assert line, "the child has ended"
        lines.append(line.decode().strip())
    lines += announced(child, 50)
    done = {int(line) for line in lines if line.isdigit()}
    failed = {int(line.split()[1]) for line in lines if line.startswith("failed")}
    assert failed
    assert not done & failed
    counts, _, database = journal_numbers(tmp_path)
    assert done <= counts.keys()
    assert not failed & counts.keys()
    assert set(counts.values()) == {1}
    database.close()
