"""Documents: whole at every instant, shared with a second writer, for the owner's eyes only."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinydb import Query

from appliance.storage import documents as module
from appliance.storage.documents import checked_body, open_documents
from appliance.storage.errors import DocumentError


class PowerCut(BaseException):
    """The board is off from here on."""


class Board:
    """Counts the steps of a write that touch the disk and cuts the power before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.cut_at: int | None = None
        self.unsynced: set[Path] = set()
        for name in ("open", "write", "fsync", "link", "fchmod"):
            self._count(monkeypatch, module.os, name)
        for name in ("rename", "unlink"):
            self._count(monkeypatch, Path, name)
        self._count(monkeypatch, module, "sync_folder")

    def _count(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def step(*arguments: Any, **more: Any) -> Any:
            if self.cut_at is not None:
                if len(self.steps) == self.cut_at:
                    raise PowerCut
                self.steps.append(name)
            return real(*arguments, **more)

        monkeypatch.setattr(owner, name, step)


def test_the_power_may_fail_before_every_step_of_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = tmp_path / "origin"
    documents = open_documents(origin, "accounts")
    documents.insert({"name": "zero"})
    documents.insert({"name": "one"})
    board = Board(monkeypatch)
    steps = 0
    outcomes = set()
    while True:
        folder = tmp_path / f"cut{steps}"
        shutil.copytree(origin, folder)
        documents = open_documents(folder, "accounts")
        board.steps.clear()
        board.cut_at = steps
        try:
            documents.insert({"name": "two"})
            whole = True
        except PowerCut:
            whole = False
        cut_steps, board.cut_at = list(board.steps), None
        for keep in (None, 0, 10):
            # What was not synced may be there in part, or not at all.
            after = tmp_path / f"after{steps}-{keep}"
            shutil.copytree(folder, after)
            temporary = after / "accounts.json.tmp"
            if keep is not None and temporary.exists() and "fsync" not in cut_steps:
                os.truncate(temporary, min(keep, temporary.stat().st_size))
            reopened = open_documents(after, "accounts")
            names = [document["name"] for document in reopened]
            assert names in (["zero", "one"], ["zero", "one", "two"])
            assert not whole or len(names) == 3
            assert reopened.notes == []
            outcomes.add(len(names))
            reopened.insert({"name": "three"})
            assert [d["name"] for d in open_documents(after, "accounts")] == [*names, "three"]
        if whole:
            break
        steps += 1
    assert steps >= 8
    assert outcomes == {2, 3}


@pytest.mark.parametrize("damage", ["truncate", "garbage", "empty", "remove"])
def test_a_damaged_file_gives_way_to_its_previous_version(tmp_path: Path, damage: str) -> None:
    documents = open_documents(tmp_path, "accounts")
    documents.insert({"name": "one"})
    documents.insert({"name": "two"})
    path = tmp_path / "accounts.json"
    content = path.read_bytes()
    match damage:
        case "truncate":
            path.write_bytes(content[: len(content) // 2])
        case "garbage":
            path.write_bytes(content.replace(b"two", b"tvo"))
        case "empty":
            path.write_bytes(b"")
        case "remove":
            path.unlink()
    # The one who has it open and the one who opens it now see the same.
    for reader in (documents, open_documents(tmp_path, "accounts")):
        assert [document["name"] for document in reader] == ["one"]
        assert len(reader.notes) == 1
        assert "previous version" in reader.notes[0]
    documents.insert({"name": "three"})
    assert [document["name"] for document in open_documents(tmp_path, "accounts")] == ["one", "three"]
    # The good previous version was not overwritten by the damaged file.
    assert checked_body((tmp_path / "accounts.json.prev").read_bytes()) is not None
    assert (tmp_path / "accounts.json.damaged").exists() == (damage != "remove")


def test_both_versions_damaged_is_an_error_never_an_empty_document(tmp_path: Path) -> None:
    documents = open_documents(tmp_path, "accounts")
    documents.insert({"name": "one"})
    documents.insert({"name": "two"})
    for name in ("accounts.json", "accounts.json.prev"):
        (tmp_path / name).write_bytes(b"{}")
    for use in (lambda: open_documents(tmp_path, "accounts"), documents.all, lambda: documents.insert({})):
        with pytest.raises(DocumentError, match="restore a backup"):
            use()


def test_the_file_is_json_and_for_the_owner_only(tmp_path: Path) -> None:
    documents = open_documents(tmp_path / "state", "accounts")
    documents.insert({"name": "Zoë", "odd": "\ud800"})
    documents.insert({"name": "x"})
    content = json.loads((tmp_path / "state/accounts.json").read_bytes())
    assert content["tables"]["_default"]["1"]["name"] == "Zoë"
    for path in (tmp_path / "state").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert open_documents(tmp_path / "state", "accounts").get(doc_id=1)["odd"] == "\ud800"


def test_what_is_not_json_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    documents = open_documents(tmp_path, "accounts")
    documents.insert({"name": "one"})
    for bad in (float("nan"), object()):
        with pytest.raises((TypeError, ValueError)):
            documents.insert({"bad": bad})
        assert documents.all() == [{"name": "one"}]


def test_a_change_that_fails_half_way_is_not_seen(tmp_path: Path) -> None:
    documents = open_documents(tmp_path, "accounts")
    documents.insert({"name": "one", "n": 1})

    def change(document: Any) -> None:
        document["n"] = 2
        raise KeyError("changed my mind")

    with pytest.raises(KeyError):
        documents.update(change)
    assert documents.all() == [{"name": "one", "n": 1}]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
WRITER = """
import sys
from pathlib import Path
from appliance.storage.documents import open_documents
documents = open_documents(Path(sys.argv[1]), "accounts")
documents.get(doc_id=1)
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    documents.insert({"by": "cli", "n": number})
"""


def test_a_second_process_writes_while_the_first_has_it_open(tmp_path: Path) -> None:
    documents = open_documents(tmp_path, "accounts")
    documents.insert({"by": "server", "n": -1})
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), "60"], stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    for number in range(60):
        documents.insert({"by": "server", "n": number})
        documents.upsert({"by": "counter", "n": number}, Query().by == "counter")
    child.wait()
    child.stdout.close()
    assert child.returncode == 0
    for name, numbers in (("cli", range(60)), ("server", range(-1, 60)), ("counter", range(59, 60))):
        assert [d["n"] for d in documents.search(Query().by == name)] == list(numbers)


def test_threads_take_turns(tmp_path: Path) -> None:
    documents = open_documents(tmp_path, "accounts")
    documents.insert({"n": 0})

    def add() -> None:
        for _ in range(20):
            with documents.exclusive():
                (document,) = documents.all()
                documents.update({"n": document["n"] + 1})

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert documents.all() == [{"n": 60}]


def test_a_lock_that_never_comes_free_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = open_documents(tmp_path, "accounts"), open_documents(tmp_path, "accounts")
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.02)
    with first.exclusive(), pytest.raises(DocumentError, match="locked by another process"):
        second.insert({})
    second.insert({"n": 1})
    assert first.insert_multiple([{"n": 2}, {"n": 3}]) == [2, 3]
    assert second.insert({"n": 4}) == 4
    first.drop_table("_default")
    assert second.all() == []
