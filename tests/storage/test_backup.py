"""A backup is whole or is none; a restore replaces everything in one step or nothing."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import random
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.broker.broker import Broker
from appliance.broker.entities import EntityUpdate
from appliance.storage import backup as module
from appliance.storage import backup_cipher as cipher
from appliance.storage.backup import make_backup, read_manifest, restore_backup
from appliance.storage.database import Database
from appliance.storage.documents import open_documents
from appliance.storage.errors import BackupError, StorageInUse
from appliance.storage.files import FileStore
from appliance.storage.settings import StorageSettings


class State:
    """A running service's state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "homard.sqlite", StorageSettings())
        self.database.open()
        self.broker = Broker(self.database, lambda: 1)
        self.documents = open_documents(folder / "identity", "accounts")

    def report(self, value: float) -> None:
        self.broker.accept(EntityUpdate("e", "Device", "value", {"x": (value, 1, None)}))
        self.database.flush()

    def stop(self) -> None:
        self.broker.stop()
        self.database.close()


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A stopped state folder with two reports and two accounts, and its backup."""
    state = State(tmp_path / "state")
    state.report(1.5)
    state.report(2.5)
    state.documents.insert({"name": "one"})
    state.documents.insert({"name": "two"})
    (tmp_path / "state/tls.key").write_bytes(b"secret")
    state.stop()
    target, _ = make_backup(tmp_path / "state", tmp_path / "b.tar.gz", "1.2.3")
    return tmp_path / "state", target


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".") or "restore" in p.name]


def contents(folder: Path) -> tuple[list[float], list[str]]:
    state = State(folder)
    values = [row.body["attributes"]["x"][0] for row in state.broker.read_after(0, 1000)]
    names = [document["name"] for document in state.documents]
    assert state.database.notes == ()
    state.stop()
    return values, names


def test_a_backup_of_a_running_service_restores_to_another_place(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    stop = threading.Event()
    names = [f"n{n}" for n in range(30)]

    def write_documents() -> None:
        for name in names:
            state.documents.insert({"name": name})
        stop.wait()

    writing = threading.Thread(target=write_documents)
    writing.start()
    for number in range(50):
        state.report(number)
    target, manifest = make_backup(tmp_path / "state", tmp_path)
    state.report(99)
    stop.set()
    writing.join()
    state.stop()
    assert target.name.startswith("homard-")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert read_manifest(target) == manifest
    assert {f.name for f in manifest.files} >= {"homard.sqlite", "identity/accounts.json"}
    restored = restore_backup(target, tmp_path / "new" / "state")
    assert restored.kept_as is None
    values, kept = contents(tmp_path / "new" / "state")
    assert values == list(range(50))
    assert kept == names[: len(kept)]
    assert stat.S_IMODE((tmp_path / "new" / "state").stat().st_mode) == 0o700
    assert leftovers(tmp_path) == leftovers(tmp_path / "new") == []


def test_what_a_killed_backup_left_goes_with_the_next_one(made: tuple[Path, Path], tmp_path: Path) -> None:
    state_dir, _ = made
    lefts = {name: tmp_path / f".homard-backup-{name}" for name in ("old", "young", "at work")}
    for left in lefts.values():
        (left / "files").mkdir(parents=True)
        (left / "files" / "homard.sqlite").write_bytes(b"data")
    for name in ("old", "at work"):
        os.utime(lefts[name], (1e9, 1e9))
    descriptor = os.open(lefts["at work"], os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        make_backup(state_dir, tmp_path / "next.tar.gz")
    finally:
        os.close(descriptor)
    assert sorted(leftovers(tmp_path)) == [".homard-backup-at work", ".homard-backup-young"]


def test_a_restore_refuses_a_folder_with_data_and_keeps_it_when_forced(made: tuple[Path, Path]) -> None:
    state_dir, target = made
    state = State(state_dir)
    state.report(3.5)
    state.stop()
    before = snapshot(state_dir)
    with pytest.raises(BackupError, match="--force"):
        restore_backup(target, state_dir)
    assert snapshot(state_dir) == before
    restored = restore_backup(target, state_dir, force=True)
    assert restored.kept_as is not None
    assert snapshot(restored.kept_as) == before
    assert contents(state_dir) == ([1.5, 2.5], ["one", "two"])
    assert (state_dir / "tls.key").read_bytes() == b"secret"
    assert restored.manifest.version == "1.2.3"


def test_without_an_exchange_of_names_it_works_in_two_steps(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    state_dir, target = made
    monkeypatch.setattr(module, "_exchange_names", lambda one, other: False)
    restored = restore_backup(target, state_dir, force=True)
    assert restored.kept_as is not None
    assert contents(state_dir) == contents(restored.kept_as)


def test_a_restore_refuses_while_the_service_runs(made: tuple[Path, Path]) -> None:
    state_dir, target = made
    state = State(state_dir)
    with pytest.raises(StorageInUse, match="stop the service"):
        restore_backup(target, state_dir, force=True)
    state.report(3.5)
    state.stop()
    assert contents(state_dir)[0] == [1.5, 2.5, 3.5]


def test_damage_anywhere_in_the_file_changes_nothing(made: tuple[Path, Path], tmp_path: Path) -> None:
    state_dir, target = made
    before = snapshot(state_dir)
    content = target.read_bytes()
    chance = random.Random(3)
    damaged = tmp_path / "damaged.tar.gz"
    for number in range(120):
        wrong = bytearray(content)
        if number % 3 == 0:
            del wrong[chance.randrange(len(wrong) - 100) :]
        else:
            at = chance.randrange(10, len(wrong))  # the first ten bytes are the gzip header: time, system
            wrong[at] ^= 1 << chance.randrange(8)
        damaged.write_bytes(wrong)
        try:
            restored = restore_backup(damaged, state_dir, force=True)
        except BackupError:
            assert snapshot(state_dir) == before
        else:
            # A flipped bit in padding that nobody reads; everything that counts was verified.
            assert {n: b for n, b in snapshot(state_dir).items() if n.endswith((".json", ".key"))} == {
                n: b for n, b in before.items() if n.endswith((".json", ".key"))
            }
            assert restored.kept_as is not None
            before = snapshot(state_dir)
    assert [name for name in leftovers(tmp_path) if name.startswith(".")] == []


def rebuilt(target: Path, change: Any) -> Path:
    """The backup with its members changed by ``change(dict) -> dict`` and an honest manifest."""
    with tarfile.open(target) as archive:
        members = {}
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            members[member.name] = content.read()
    manifest = json.loads(members.pop("manifest.json"))
    members, manifest = change(members, manifest)
    out = target.with_name("changed.tar.gz")
    with gzip.open(out, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in {"manifest.json": json.dumps(manifest).encode(), **members}.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out


def entry(name: str, content: bytes) -> dict[str, object]:
    return {"name": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def with_file(name: str, content: bytes, tar_name: str | None = None) -> Any:
    def change(members: dict[str, Any], manifest: Any) -> tuple[dict[str, Any], Any]:
        manifest["files"] = [f for f in manifest["files"] if f["name"] != name] + [entry(name, content)]
        members[tar_name or f"state/{name}"] = content
        return members, manifest

    return change


def with_link(members: dict[str, Any], manifest: Any) -> tuple[dict[str, Any], Any]:
    members["state/tls.key"] = "/etc/passwd"
    return members, manifest


def with_format(members: dict[str, Any], manifest: Any) -> tuple[dict[str, Any], Any]:
    return members, {**manifest, "format": 2}


def without_files(members: dict[str, Any], manifest: Any) -> tuple[dict[str, Any], Any]:
    return {}, manifest


def huge(members: dict[str, Any], manifest: Any) -> tuple[dict[str, Any], Any]:
    manifest["files"][0]["size_bytes"] = 10**18
    return members, manifest


def endless(members: dict[str, Any], manifest: Any) -> tuple[dict[str, Any], Any]:
    manifest["files"][0]["size_bytes"] = float("inf")
    return members, manifest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (endless, "cannot be read"),
        (with_file("../evil", b"x"), "outside"),
        (with_file("/tmp/evil", b"x"), "outside"),
        (with_file("a", b"x", "state/../evil"), "does not name"),
        (with_link, "does not name"),
        (with_format, "newer release"),
        (without_files, "incomplete"),
        (huge, "make room"),
        (with_file("homard.sqlite", b"not a database" * 100), "damaged"),
    ],
)
def test_a_hostile_or_wrong_backup_changes_nothing(
    made: tuple[Path, Path], change: Any, words: str, tmp_path: Path
) -> None:
    state_dir, target = made
    before = snapshot(state_dir)
    with pytest.raises(BackupError, match=words):
        restore_backup(rebuilt(target, change), state_dir, force=True)
    assert snapshot(state_dir) == before
    assert leftovers(tmp_path) == []


def test_a_backup_of_a_newer_schema_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    state_dir, target = made
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version=999")
    connection.close()
    changed = rebuilt(target, with_file("homard.sqlite", newer.read_bytes()))
    with pytest.raises(BackupError, match="schema 999"):
        restore_backup(changed, state_dir, force=True)


def test_what_is_not_a_backup_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"hello")
    for file in (tmp_path / "x.tar.gz", tmp_path / "missing"):
        with pytest.raises(BackupError):
            restore_backup(file, tmp_path / "state")
        with pytest.raises(BackupError):
            read_manifest(file)
    assert not (tmp_path / "state").exists()


def test_a_backup_is_never_half(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_dir, target = made
    with pytest.raises(BackupError, match="exists"):
        make_backup(state_dir, target)
    with pytest.raises(BackupError, match="inside the state folder"):
        make_backup(state_dir, state_dir / "b.tar.gz")
    with pytest.raises(BackupError, match="--state"):
        make_backup(tmp_path / "nowhere", tmp_path / "c.tar.gz")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(BackupError, match="No space"):
        make_backup(state_dir, tmp_path / "c.tar.gz")
    assert not (tmp_path / "c.tar.gz").exists()
    assert leftovers(tmp_path) == []


def test_locks_logs_and_damaged_files_stay_out(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.report(1)
    for name in ("x.tmp", "homard.sqlite.damaged-1", "a.lock", "models/own.xml"):
        (tmp_path / "state" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "state" / name).write_bytes(b"x")
    (tmp_path / "state" / "link").symlink_to("/etc/passwd")
    _, manifest = make_backup(tmp_path / "state", tmp_path / "b.tar.gz")
    state.stop()
    assert [f.name for f in manifest.files] == ["homard.sqlite", "models/own.xml"]


def test_the_content_of_stored_files_may_be_left_out(tmp_path: Path) -> None:
    state = tmp_path / "state"
    store = FileStore(state / "files", 1 << 20, 1 << 20, lambda: 1.0)
    store.open()
    stored = store.add(io.BytesIO(b"firmware").read, 8, "fw.bin", "")
    _, whole = make_backup(state, tmp_path / "whole.tar.gz")
    target, lean = make_backup(state, tmp_path / "lean.tar.gz", files=False)
    content = f"files/content/{stored.id}"
    assert content in {file.name for file in whole.files}
    assert {file.name for file in lean.files} == {file.name for file in whole.files} - {content}
    restore_backup(target, tmp_path / "there")
    again = FileStore(tmp_path / "there/files", 1 << 20, 1 << 20, lambda: 1.0)
    again.open()
    assert [(one.name, one.link, one.damaged) for one in again.all()] == [
        ("fw.bin", stored.link, "its content is missing")
    ]
    assert again.add(io.BytesIO(b"firmware").read, 8, "fw.bin", "").damaged == ""


# Encrypted


WORDS = "correct horse battery"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with little memory: these tests are about the file, not about the price of a guess."""
    real = cipher.Encrypting
    monkeypatch.setattr(module, "Encrypting", lambda out, words: real(out, words, log2_n=4))


@pytest.fixture
def sealed(made: tuple[Path, Path], tmp_path: Path, quick: None) -> tuple[Path, Path]:
    """The state folder of `made`, and its encrypted backup with a sealing key."""
    (made[0] / "files/content").mkdir(parents=True)
    (made[0] / "files/content/big").write_bytes(random.Random(1).randbytes(900_000))
    target, manifest = make_backup(
        made[0], tmp_path / "b.backup", "1.2.3", passphrase=WORDS, sealing_key=b"K" * 32
    )
    assert manifest.sealing_key
    return made[0], target


def test_an_encrypted_backup_restores_with_its_passphrase_and_brings_the_key(
    sealed: tuple[Path, Path], tmp_path: Path
) -> None:
    state_dir, target = sealed
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    placed: list[tuple[bytes, bool]] = []

    @contextlib.contextmanager
    def placing(key: bytes) -> Iterator[None]:
        there = (tmp_path / "new").exists()
        yield
        placed.append((key, there))

    restored = restore_backup(target, tmp_path / "new", passphrase=lambda: WORDS, placing=placing)
    assert placed == [(b"K" * 32, False)]
    assert restored.manifest == read_manifest(target, lambda: WORDS)
    before = {
        name: body for name, body in snapshot(state_dir).items() if not name.endswith((".lock", ".clean"))
    }
    after = snapshot(tmp_path / "new")
    assert before.keys() == after.keys()
    assert after["files/content/big"] == before["files/content/big"]
    assert after["tls.key"] == b"secret"


def test_nothing_of_it_can_be_read_without_the_passphrase(sealed: tuple[Path, Path]) -> None:
    content = sealed[1].read_bytes()
    assert content.startswith(cipher.MAGIC)
    for word in (b"secret", b"K" * 32, b"accounts", b"manifest", b"sqlite", WORDS.encode()):
        assert word not in content
    # Compressed or encrypted, nothing of the content stands in it as it was; nor is it merely compressed.
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(content)


def test_the_same_state_and_passphrase_give_another_file(sealed: tuple[Path, Path], tmp_path: Path) -> None:
    again, _ = make_backup(sealed[0], tmp_path / "again", passphrase=WORDS, sealing_key=b"K" * 32)
    one, other = sealed[1].read_bytes(), again.read_bytes()
    begin = len(cipher.MAGIC) + 4
    assert one[begin : begin + 16] != other[begin : begin + 16], "the salt, and with it the key"
    assert one[begin + 48 : begin + 96] != other[begin + 48 : begin + 96]


def test_a_wrong_passphrase_and_none_are_told_apart(sealed: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="passphrase is not that"):
        restore_backup(sealed[1], tmp_path / "new", passphrase=lambda: WORDS + " ")
    with pytest.raises(BackupError, match="a passphrase is needed"):
        restore_backup(sealed[1], tmp_path / "new")
    with pytest.raises(BackupError, match="a passphrase is needed"):
        read_manifest(sealed[1])
    assert not (tmp_path / "new").exists() and leftovers(tmp_path) == []


def test_a_short_passphrase_is_refused_before_a_file_is_made(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="at least 12 characters"):
        make_backup(made[0], tmp_path / "b.backup", passphrase="short")
    assert not (tmp_path / "b.backup").exists() and leftovers(tmp_path) == []


def test_the_key_leaves_only_encrypted(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="only in an encrypted backup"):
        make_backup(made[0], tmp_path / "c.tar.gz", sealing_key=b"K" * 32)
    _, manifest = make_backup(made[0], tmp_path / "d.tar.gz")
    assert not manifest.sealing_key


def test_cut_swapped_repeated_changed_or_longer_it_is_refused(
    sealed: tuple[Path, Path], tmp_path: Path
) -> None:
    content = sealed[1].read_bytes()
    header, size = 16 + 4 + 16 + 32, 256 * 1024 + 16
    assert content.startswith(cipher.MAGIC) and len(cipher.MAGIC) == 16
    chunks = [content[at : at + size] for at in range(header, len(content), size)]
    assert len(chunks) >= 4
    chance = random.Random(5)
    wrong = {
        "swapped": [chunks[1], chunks[0], *chunks[2:]],
        "left out": [chunks[0], *chunks[2:]],
        "repeated": [chunks[0], *chunks],
        "cut at a chunk": chunks[:-1],
        "cut in a chunk": [*chunks[:-1], chunks[-1][:-1]],
        "no content": [],
        "longer": [*chunks, b"x"],
        "the last one twice": [*chunks, chunks[-1]],
    }
    for number in range(20):
        flipped = [bytearray(chunk) for chunk in chunks]
        chunk = flipped[number % len(flipped)]
        chunk[chance.randrange(len(chunk))] ^= 1 << chance.randrange(8)
        wrong[f"flipped {number}"] = [bytes(one) for one in flipped]
    changed = tmp_path / "changed"
    for name, parts in wrong.items():
        changed.write_bytes(content[:header] + b"".join(parts))
        with pytest.raises(BackupError):
            restore_backup(changed, tmp_path / "new", passphrase=lambda: WORDS)
        assert not (tmp_path / "new").exists(), name
    for at in range(header):
        flipped_header = bytearray(content)
        flipped_header[at] ^= 0x41
        changed.write_bytes(flipped_header)
        with pytest.raises(BackupError):
            restore_backup(changed, tmp_path / "new", passphrase=lambda: WORDS)
    assert not (tmp_path / "new").exists() and leftovers(tmp_path) == []


def test_a_header_cannot_ask_for_all_memory(sealed: tuple[Path, Path], tmp_path: Path) -> None:
    greedy = bytearray(sealed[1].read_bytes())
    greedy[16] = 24
    (tmp_path / "greedy").write_bytes(greedy)
    with pytest.raises(BackupError, match="header"):
        restore_backup(tmp_path / "greedy", tmp_path / "new", passphrase=lambda: WORDS)


def test_when_the_key_finds_no_place_nothing_has_changed(sealed: tuple[Path, Path]) -> None:
    state_dir, target = sealed
    before = snapshot(state_dir)

    def placing(key: bytes) -> contextlib.AbstractContextManager[None]:
        raise OSError(13, "Permission denied")

    with pytest.raises(BackupError, match="Permission denied"):
        restore_backup(target, state_dir, force=True, passphrase=lambda: WORDS, placing=placing)
    assert snapshot(state_dir) == before


def test_what_is_copied_is_kept_still_meanwhile(made: tuple[Path, Path], tmp_path: Path) -> None:
    told: list[str] = []

    @contextlib.contextmanager
    def quiet(name: str) -> Iterator[None]:
        told.append(name)
        yield
        told.append(f"not {name}")

    make_backup(made[0], tmp_path / "c.tar.gz", quiet=quiet)
    assert told[:2] == ["homard.sqlite", "not homard.sqlite"] or told[1] == f"not {told[0]}"
    assert set(told) >= {"identity", "not identity", "tls.key"}


def test_large_content_passes_through_a_small_memory(tmp_path: Path, quick: None) -> None:
    out = io.BytesIO()
    writer = cipher.Encrypting(out, WORDS, log2_n=4)
    for _ in range(30):
        writer.write(b"x" * 100_000)
        assert len(writer._waiting) <= 256 * 1024
    writer.finish()
    out.seek(0)
    reader = cipher.Decrypting(out, WORDS)
    assert sum(len(part) for part in iter(lambda: reader.read(7777), b"")) == 3_000_000


@pytest.mark.parametrize("size", [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 512 * 1024])
def test_every_length_comes_back(size: int) -> None:
    out = io.BytesIO()
    writer = cipher.Encrypting(out, WORDS, log2_n=4)
    content = random.Random(size).randbytes(size)
    writer.write(content)
    writer.finish()
    out.seek(0)
    assert cipher.is_encrypted(out)
    assert cipher.Decrypting(out, WORDS).read() == content
