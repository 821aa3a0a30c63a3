"""The sealing key: where it comes from, who may read it, and what opens with it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from appliance.vault.errors import VaultError
from appliance.vault.sealing import CREDENTIAL, SealingKey, key_in_place, key_path


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def refused(state: Path, key_file: str = "", *, create: bool = False) -> str:
    with pytest.raises(VaultError) as caught:
        SealingKey.load(state, key_file, create=create)
    assert caught.value.kind == "unavailable"
    return str(caught.value)


def test_the_key_is_made_once_beside_the_data_folder_for_its_owner_only(tmp_path: Path) -> None:
    key = SealingKey.load(tmp_path / "state", create=True)
    file = tmp_path / "state.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state.key"]
    again = SealingKey.load(tmp_path / "state", create=True)
    assert again.open(key.seal(b"secret", "a/b"), "a/b") == b"secret"
    assert key.export().hex() not in repr(key)


def test_two_units_share_no_key(tmp_path: Path) -> None:
    one, other = (SealingKey.load(tmp_path / name, create=True) for name in ("one", "other"))
    assert one.export() != other.export()
    with pytest.raises(VaultError, match="does not open"):
        other.open(one.seal(b"secret", "a"), "a")
    assert one.mark("psk", b"secret") != other.mark("psk", b"secret")


def test_the_systemd_credential_comes_first_then_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / CREDENTIAL).write_bytes(b"c" * 32)
    setting = tmp_path / "setting"
    setting.write_text("73" * 32 + "\n")
    setting.chmod(0o600)
    assert SealingKey.load(tmp_path / "state", str(setting), create=False).export() == b"s" * 32
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert SealingKey.load(tmp_path / "state", str(setting), create=False).export() == b"c" * 32
    (tmp_path / "credentials" / CREDENTIAL).unlink()  # a unit without the credential falls back
    assert SealingKey.load(tmp_path / "state", str(setting), create=False).export() == b"s" * 32


def test_a_key_that_others_may_read_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    SealingKey.load(tmp_path / "state", create=True)
    (tmp_path / "state.key").chmod(0o640)
    assert f"chmod 600 {tmp_path / 'state.key'}" in refused(tmp_path / "state")


def test_a_key_inside_the_data_folder_is_refused(tmp_path: Path) -> None:
    assert "inside the data folder" in refused(
        tmp_path / "state", str(tmp_path / "state/vault.key"), create=True
    )
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "state")
    assert "inside the data folder" in refused(tmp_path / "state", str(tmp_path / "link/k"), create=True)


def test_a_lost_key_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "state/vault").mkdir(parents=True)
    (tmp_path / "state/vault/devices-0001.json").write_text("{}")
    assert "is missing" in refused(tmp_path / "state", create=True)
    assert not (tmp_path / "state.key").exists()


def test_without_a_vault_and_without_leave_to_make_one_there_is_none(tmp_path: Path) -> None:
    assert "there is no sealing key" in refused(tmp_path / "state", create=False)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33, b"zz" * 32, b"\xff" * 64])
def test_what_is_no_key_is_said_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.key").write_bytes(content)
    (tmp_path / "state.key").chmod(0o600)
    assert "no sealing key" in refused(tmp_path / "state", create=True)


def test_a_link_in_place_of_the_key_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "state.key").symlink_to(tmp_path / "elsewhere")
    assert "cannot be read" in refused(tmp_path / "state", create=True)


def test_what_is_sealed_opens_only_where_it_stands_and_unchanged() -> None:
    key = SealingKey(os.urandom(32))
    sealed = key.seal(b"secret", "meter-1/psk_key")
    assert sealed.startswith("v1:") and key.open(sealed, "meter-1/psk_key") == b"secret"
    assert key.seal(b"secret", "meter-1/psk_key") != sealed
    for wrong, where in [
        (sealed, "meter-2/psk_key"),
        ("v2:" + sealed[3:], "meter-1/psk_key"),
        ("v1:%%%", "meter-1/psk_key"),
        ("v1:", "meter-1/psk_key"),
        ("", "meter-1/psk_key"),
    ]:
        with pytest.raises(VaultError, match="does not open"):
            key.open(wrong, where)


def test_no_digit_of_a_sealed_text_may_change_not_even_in_bits_that_decode_to_nothing() -> None:
    key = SealingKey(os.urandom(32))
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for plain in (b"ten bytes.", b"eleven byte", b"twelve bytes"):  # two, one and no "=" at the end
        sealed = key.seal(plain, "where")
        assert key.open(sealed, "where") == plain
        for place in range(3, len(sealed)):
            if sealed[place] == "=":
                continue
            # Only the lowest bit of the digit is another.
            other = digits[digits.index(sealed[place]) ^ 1]
            with pytest.raises(VaultError, match="does not open"):
                key.open(sealed[:place] + other + sealed[place + 1 :], "where")
        for wrong in (sealed + "=", sealed + "AA==", sealed[:-4], " " + sealed, sealed + "\n"):
            with pytest.raises(VaultError, match="does not open"):
                key.open(wrong, "where")


def test_bytes_are_sealed_as_well() -> None:
    key = SealingKey(os.urandom(32))
    sealed = key.seal_bytes(b"session", "dtls/1")
    assert len(sealed) == len(b"session") + 29
    assert key.open_bytes(sealed, "dtls/1") == b"session"
    for wrong in (b"", sealed[:20], b"\x02" + sealed[1:], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(VaultError):
            key.open_bytes(wrong, "dtls/1")


def test_a_key_of_a_backup_takes_its_place_and_the_other_is_kept(tmp_path: Path) -> None:
    state = tmp_path / "state"
    old = SealingKey.load(state, create=True).export()
    with key_in_place(b"n" * 32, state):
        assert SealingKey.load(state, create=False).export() == old, "until the block has ended"
    assert SealingKey.load(state, create=False).export() == b"n" * 32
    (kept,) = tmp_path.glob("state.key.before-restore-*")
    assert kept.read_text().strip() == old.hex()
    with key_in_place(b"n" * 32, state):
        pass
    assert len(list(tmp_path.iterdir())) == 2, "the same key is no reason to keep a second copy"


def test_there_is_a_key_in_place_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut between the two steps of the change leaves the old one, and a restore is done again."""
    state = tmp_path / "state"
    old = SealingKey.load(state, create=True).export()

    def cut(*_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(KeyboardInterrupt), key_in_place(b"n" * 32, state):
        pass
    assert SealingKey.load(state, create=False).export() == old


def test_a_stick_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    old = SealingKey.load(state, create=True).export()

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with key_in_place(b"n" * 32, state):
        pass
    assert SealingKey.load(state, create=False).export() == b"n" * 32
    (kept,) = tmp_path.glob("state.key.before-restore-*")
    assert kept.read_text().strip() == old.hex()


def test_a_key_of_a_backup_that_fails_changes_nothing(tmp_path: Path) -> None:
    old = SealingKey.load(tmp_path / "state", create=True).export()
    with pytest.raises(OSError, match="full"), key_in_place(b"n" * 32, tmp_path / "state"):
        raise OSError("full")
    assert SealingKey.load(tmp_path / "state", create=False).export() == old
    assert [path.name for path in tmp_path.iterdir()] == ["state.key"]
    with pytest.raises(VaultError), key_in_place(b"short", tmp_path / "state"):
        pass
    assert key_path(tmp_path / "state") == tmp_path / "state.key"
