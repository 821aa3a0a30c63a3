"""The file store: whole or not there, each content once, within its bounds, damage seen and not served."""

from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.storage import files as module
from appliance.storage.errors import DocumentError
from appliance.storage.files import ETAG_BYTES, FileStore, FileStoreError, StoredFile, check_files

CHILD = Path(__file__).with_name("child_files.py")
BYTES = b"firmware " * 1000


def open_store(folder: Path, total: int = 1 << 20, each: int = 1 << 19) -> FileStore:
    store = FileStore(folder, total, each, lambda: 1000.0)
    store.open()
    return store


def put(store: FileStore, content: bytes = BYTES, name: str = "fw.bin", kind: str = "") -> StoredFile:
    return store.add(io.BytesIO(content).read, len(content), name, kind)


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "content").iterdir())


def test_a_file_is_kept_under_its_hash_and_found_by_its_link(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    stored = put(store, name=" fw 1.2.bin ")
    digest = hashlib.sha256(BYTES)
    assert (stored.id, stored.size_bytes) == (digest.hexdigest(), len(BYTES))
    assert (stored.name, stored.type) == ("fw 1.2.bin", "application/octet-stream")
    assert stored.added_at == 1000.0 and 20 <= len(stored.link) <= 32
    for content in (store.content(stored.id), store.by_link(stored.link)):
        assert content is not None and bytes(content.data) == BYTES
        assert content.etag == digest.digest()[:ETAG_BYTES]
    again = open_store(tmp_path)
    assert again.all() == [stored] and again.by_link(stored.link) is not None
    assert again.by_link("nowhere") is None
    with pytest.raises(FileStoreError) as caught:
        again.content("0" * 64)
    assert caught.value.kind == "not_found"


def test_the_bytes_are_for_the_owner_only(tmp_path: Path) -> None:
    stored = put(open_store(tmp_path))
    assert (tmp_path / "content" / stored.id).stat().st_mode & 0o777 == 0o600


def test_the_same_content_is_one_file_and_keeps_its_link(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first, second = put(store, name="a"), put(store, name="b", kind="text/plain")
    assert (first.id, first.link) == (second.id, second.link)
    assert [one.name for one in store.all()] == ["b"] and contents(tmp_path) == [first.id]
    assert [one.type for one in open_store(tmp_path).all()] == ["text/plain"]


def test_a_file_that_goes_is_gone_but_for_who_reads_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    stored = put(store)
    reading = store.content(stored.id).data
    store.remove(stored.id)
    assert store.all() == [] and contents(tmp_path) == [] and store.by_link(stored.link) is None
    assert bytes(reading) == BYTES
    with pytest.raises(FileStoreError):
        store.remove(stored.id)


def test_an_empty_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert bytes(store.content(put(store, b"").id).data) == b""


@pytest.mark.parametrize(
    ("size", "kind", "word"),
    [(600_000, "too_large", "storage.file_max_bytes"), (300_000, "storage_full", "storage.files_max_bytes")],
)
def test_bounds_hold_before_a_byte_is_read(tmp_path: Path, size: int, kind: str, word: str) -> None:
    store = open_store(tmp_path, total=400_000)
    put(store, b"x" * 200_000)

    def never(count: int) -> bytes:
        raise AssertionError

    with pytest.raises(FileStoreError) as caught:
        store.add(never, size, "fw", "")
    assert caught.value.kind == kind and word in caught.value.next_step


def test_uploads_under_way_count(tmp_path: Path) -> None:
    store = open_store(tmp_path, total=300_000)
    inner: list[str] = []

    def read(count: int) -> bytes:
        if not inner:
            with pytest.raises(FileStoreError) as caught:
                put(store, b"y" * 200_000)
            inner.append(caught.value.kind)
        return b"x" * count

    store.add(read, 200_000, "fw", "")
    assert inner == ["storage_full"]
    put(store, b"z" * 100_000)


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    store = open_store(tmp_path)
    put(store, b"1")
    put(store, b"2")
    with pytest.raises(FileStoreError) as caught:
        put(store, b"3")
    assert caught.value.kind == "storage_full"


def test_a_file_that_ends_early_or_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    with pytest.raises(FileStoreError) as caught:
        store.add(io.BytesIO(b"short").read, 100, "fw", "")
    assert caught.value.kind == "invalid"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(FileStoreError) as caught:
        put(store)
    assert caught.value.kind == "storage_full"
    monkeypatch.undo()
    assert contents(tmp_path) == [] and store.all() == []
    put(store, b"x" * (1 << 19))  # and nothing stayed promised
    put(store, b"y" * (1 << 19))


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", "a\nb", "x" * 129])
def test_names_that_are_not_kept(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileStoreError) as caught:
        put(open_store(tmp_path), name=name)
    assert caught.value.kind == "invalid"


def test_types_that_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(FileStoreError):
        put(open_store(tmp_path), kind="text/html\r\nX: y")


def test_damage_is_found_told_not_served_and_mended_by_the_same_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    stored = put(store)
    other = put(store, b"another")
    file = tmp_path / "content" / stored.id
    file.write_bytes(b"X" + BYTES[1:])
    (problem,) = store.verify()
    assert stored.name in problem and "not what was stored" in problem and "upload it again" in problem
    assert check_files(tmp_path) == [problem]
    assert store.by_link(stored.link) is None and store.by_link(other.link) is not None
    with pytest.raises(FileStoreError) as caught:
        store.content(stored.id)
    assert caught.value.kind == "conflict"
    mended = put(store)
    assert (mended.id, mended.link, mended.damaged) == (stored.id, stored.link, "")
    assert bytes(store.content(stored.id).data) == BYTES and store.verify() == []


def test_content_that_is_missing_or_short_is_seen_at_the_start(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    stored, other = put(store), put(store, b"another")
    (tmp_path / "content" / stored.id).unlink()
    os.truncate(tmp_path / "content" / other.id, 3)
    again = open_store(tmp_path)
    assert {one.damaged for one in again.all()} == {
        "its content is missing",
        "its content has another size",
    }
    assert len(check_files(tmp_path)) == 2


def test_what_a_power_cut_leaves_over_goes_at_the_next_start(tmp_path: Path) -> None:
    stored = put(open_store(tmp_path))
    (tmp_path / "content" / "0123.tmp").write_bytes(b"half")
    (tmp_path / "content" / ("f" * 64)).write_bytes(b"renamed, but not yet in the document")
    assert check_files(tmp_path) == [] and len(contents(tmp_path)) == 3
    open_store(tmp_path)
    assert contents(tmp_path) == [stored.id]


def test_nothing_is_swept_away_when_an_older_document_serves(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first, second = put(store, b"1"), put(store, b"2")
    (tmp_path / "files.json").write_bytes(b"torn")
    again = open_store(tmp_path)
    assert [one.id for one in again.all()] == [first.id]
    assert contents(tmp_path) == sorted((first.id, second.id))


def test_a_document_that_cannot_be_read_at_all_is_no_empty_store(tmp_path: Path) -> None:
    stored = put(open_store(tmp_path))
    (tmp_path / "files.json").write_bytes(b"torn")
    (tmp_path / "files.json.prev").unlink(missing_ok=True)
    with pytest.raises(DocumentError):
        open_store(tmp_path)
    assert contents(tmp_path) == [stored.id] and len(check_files(tmp_path)) == 1


def test_a_check_of_no_store() -> None:
    assert check_files(Path("/nonexistent")) == []


def test_maps_are_few(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number in range(20):
        store.content(put(store, bytes((number,))).id)
    assert len(store._mapped) == module._MAPPED


def test_kill_9_leaves_what_was_announced_and_nothing_half(tmp_path: Path) -> None:
    chance = random.Random(3)
    announced: set[str] = set()
    for run in range(12):
        child = subprocess.Popen(
            [sys.executable, str(CHILD), str(tmp_path), str(run)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(CHILD.parents[2])},
        )
        assert child.stdout is not None
        said = b"".join(child.stdout.readline() for _ in range(chance.randrange(1, 12)))
        child.kill()
        said += child.stdout.read()
        child.stdout.close()
        child.wait()
        undecided: set[str] = set()
        for line in said.decode().split("\n")[:-1]:
            if line.startswith("- "):
                announced.discard(line[2:])
            else:
                announced.add(line)
                undecided = {line}  # its removal may have begun
        store = open_store(tmp_path)
        there = {one.id for one in store.all()}
        assert announced - there <= undecided
        assert contents(tmp_path) == sorted(there) and store.verify() == []
        announced &= there
