"""The audit log: every change in it, no secret in it, and no later edit unseen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.commands import set_password
from appliance.vault import audit
from appliance.vault.model import NewCredential, NewDevice
from appliance.vault.vault import Vault, check_vault
from tests.vault.conftest import Home

BOTH = (NewCredential(), NewCredential(purpose="bootstrap"))


def test_every_change_and_every_disclosure_is_an_entry(vault: Vault) -> None:
    (made,) = vault.add([NewDevice("m", credentials=BOTH)], "ada")
    vault.update("m", "ada", label="x")
    vault.add_credential("m", NewCredential(mode="rpk"), "ada")
    vault.rotate("m", "server", "ada", staged=True, new=NewCredential())
    vault.used("psk:m-2")
    one = made.made[1]
    vault.secret(one.id, "psk_key")  # the handshake of a device is no disclosure
    vault.secret(one.id, "psk_key", by="bob")
    vault.revoke("m", "bob", "lost")
    vault.reinstate("m", "bob", one.id)
    vault.ask_rebootstrap("m", "bob")
    vault.rebootstrap_done("m")
    vault.set_permissions("eve", {"a": "read"}, "bob")
    vault.note("bob", "backup made\nsomewhere")
    vault.remove("m", "bob")
    entries = vault.audit()
    assert [entry.seq for entry in entries] == list(range(13, 0, -1))
    assert [(entry.by, entry.what.split(":")[0], entry.about) for entry in reversed(entries)] == [
        ("ada", "device added", "m"),
        ("ada", "device changed", "m"),
        ("ada", "credential added", "m"),
        ("ada", "key replaced, staged", "m"),
        ("the device", "new server key used", "m"),
        ("bob", "psk key shown", "m"),
        ("bob", "revoked psk", "m"),
        ("bob", "reinstated psk", "m"),
        ("bob", "bootstrap asked for", "m"),
        ("the device", "bootstrapped as asked", "m"),
        ("bob", "permissions", "eve"),
        ("bob", "backup made somewhere", ""),
        ("bob", "device removed", "m"),
    ]
    assert vault.audit(before=3, limit=1) == [entries[-2]]
    assert vault.audit(before=1) == []


def lines_of(home: Home) -> list[bytes]:
    return (home.state / "vault/audit.log").read_bytes().splitlines(keepends=True)


def edited(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"ada"', b'"eve"', 1) if b'"seq":4,' in line else line for line in lines]


def rehashed(lines: list[bytes]) -> list[bytes]:
    """As somebody would do it who knows how the chain is made, but has no sealing key."""
    entries = [audit._entry(line) for line in edited(lines)]
    written, _ = audit.chain(
        audit.NO_HEAD,
        [(one[0].at, one[0].by, one[0].what, one[0].about) for one in entries if one is not None],
    )
    return [(line + "\n").encode() for line in written]


def forged(lines: list[bytes]) -> list[bytes]:
    last = audit._entry(lines[-1])
    assert last is not None
    head = audit.Head(last[0].seq, audit._hash(lines[-1].rstrip(b"\n")))
    written, _ = audit.chain(head, [(1.0, "eve", "nothing to see here", "")])
    return [*lines, (written[0] + "\n").encode()]


EDITS: list[tuple[str, Callable[[list[bytes]], list[bytes]], str]] = [
    ("an entry is changed", edited, "entry 4 was changed"),
    ("an entry is changed and the chain made anew", rehashed, "entry 10 was changed"),
    ("an entry is removed", lambda lines: lines[:3] + lines[4:], "entry 5 stands after entry 3"),
    ("the first is removed", lambda lines: lines[1:], "entry 2 stands after entry 0"),
    ("two are swapped", lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "stands after"),
    ("the end is removed", lambda lines: lines[:-2], "ends at entry 8, but 10"),
    ("all is removed", lambda lines: [], "ends at entry 0, but 10"),
    ("one is repeated", lambda lines: [*lines, lines[-1]], "stands after"),
    ("one is added", forged, "added by somebody else"),
    ("rubbish is added", lambda lines: [*lines, b"rubbish\n"], "is no entry"),
    ("no number", lambda lines: [*lines, lines[-1].replace(b'"seq":10', b'"seq":Infinity')], "is no entry"),
    ("endless depth", lambda lines: [*lines, b"[" * 200_000 + b"\n"], "is no entry"),
    ("a line is torn in the middle", lambda lines: [*lines[:4], lines[4][:20], *lines[5:]], "is no entry"),
]


@pytest.mark.parametrize(("change", "words"), [edit[1:] for edit in EDITS], ids=[edit[0] for edit in EDITS])
def test_every_edit_shows(
    vault: Vault, home: Home, change: Callable[[list[bytes]], list[bytes]], words: str
) -> None:
    vault.add([NewDevice(f"m{n}") for n in range(5)], "ada")
    for n in range(5):
        vault.update(f"m{n}", "ada", label="x")
    assert vault.audit_problems() == []
    (home.state / "vault/audit.log").write_bytes(b"".join(change(lines_of(home))))
    problems = vault.audit_problems()
    assert any(words in problem for problem in problems), problems
    assert any(words in problem for problem in check_vault(home.state, home.settings, home.clock))
    # It stays visible, whatever is written after it, and the vault goes on working.
    other = home.vault()
    other.update("m0", "ada", label="y")
    assert other.audit_problems()


def homard_check(state: Path) -> tuple[int, str]:
    """What `homard check` says and answers."""
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "check", "--state", str(state)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_homard_check_finds_an_edit_and_a_cut_and_ends_with_an_error(vault: Vault, home: Home) -> None:
    set_password(home.state, "ada", "correct horse battery 9")
    vault.add([NewDevice("m", credentials=BOTH)], "ada")
    for n in range(4):
        vault.update("m", "ada", label=f"{n}")
    assert homard_check(home.state) == (0, "")
    whole = lines_of(home)
    for change, sentence in (
        (edited, "vault: audit log: entry 4 was changed after it was written"),
        (lambda lines: lines[:-2], "vault: audit log: it ends at entry 3, but 5 were written: its end was"),
    ):
        (home.state / "vault/audit.log").write_bytes(b"".join(change(whole)))
        code, said = homard_check(home.state)
        assert (code, sentence in said) == (1, True), said
    assert b"".join(lines_of(home)) == b"".join(whole[:-2]), "a check repairs nothing"


def test_the_very_last_entry_cannot_be_taken_away(vault: Vault, home: Home) -> None:
    vault.add([NewDevice("m")], "ada")
    vault.remove("m", "eve")
    whole = lines_of(home)
    for end in (b"", whole[-1][:1], whole[-1][:-1]):
        (home.state / "vault/audit.log").write_bytes(whole[0] + end)
        assert check_vault(home.state, home.settings, home.clock) == []
        assert home.vault().audit_problems() == []
        assert lines_of(home) == whole


def test_a_long_log_is_read_from_its_end(vault: Vault, home: Home) -> None:
    vault.add([NewDevice(f"device-{n:04d}") for n in range(900)], "ada")
    assert len(b"".join(lines_of(home))) > 2 * 65536
    assert [entry.about for entry in vault.audit(before=11)] == [f"device-{n:04d}" for n in range(9, -1, -1)]
    assert [entry.seq for entry in vault.audit(limit=3)] == [900, 899, 898]
    assert vault.audit_problems() == []
