"""What somebody with the data folder or a backup in his hand has, and how a lost unit comes back."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from appliance.commands import back_up, bring_back, check_state
from appliance.config.sections import Settings
from appliance.state import CommandFailed
from appliance.storage import backup as backup_module
from appliance.storage.backup_cipher import Encrypting
from appliance.vault.authority import Authority
from appliance.vault.doorkeeper import Doorkeeper
from appliance.vault.model import NewCredential, NewDevice, Provisioned
from appliance.vault.verdict import Verdict
from tests.vault.conftest import Clock, Home
from tests.vault.test_vault import certificate

WORDS = "correct horse battery"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(backup_module, "Encrypting", lambda out, words: Encrypting(out, words, log2_n=4))


def filled(home: Home) -> tuple[list[bytes], list[Provisioned]]:
    """Devices of every kind, rotated and revoked too; every secret that was ever used."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certified = NewCredential(mode="x509", certificate=certificate("x", key), private_key=private)
    vault = home.vault()
    provisioned = vault.add(
        [
            NewDevice("psk", credentials=(NewCredential(), NewCredential(purpose="bootstrap"))),
            NewDevice("given", credentials=(NewCredential(psk_key=b"a key of sixteen"),)),
            NewDevice("rpk", credentials=(NewCredential(mode="rpk"),)),
            NewDevice("x", credentials=(certified,)),
            NewDevice("oscore", credentials=(NewCredential(mode="oscore"),)),
        ],
        "ada",
    )
    provisioned.append(vault.rotate("psk", "server", "ada", staged=True))
    provisioned.append(vault.rotate("rpk", "server", "ada", staged=False))
    vault.revoke("given", "ada", "lost")
    secrets = [one for made in provisioned for named in made.secrets.values() for one in named.values()]
    authority = Authority(home.state / "vault", home.key, home.settings, home.clock)
    authority.open()
    secrets.append(authority.server_keys(["localhost"])[1])
    return [*secrets, home.key.export()], provisioned


def forms(secret: bytes) -> list[bytes]:
    """A secret as it might be written down; of a long one its beginning would do."""
    pem = b"".join(line for line in secret.splitlines() if not line.startswith(b"-----"))
    body = base64.b64decode(pem) if secret.startswith(b"-----") else secret
    # The private number of a PKCS #8 key stands behind its headers.
    part = body[36:68] if len(body) > 64 else body
    texts = [base64.b64encode(part[shift : shift + 24])[:-4] for shift in (0, 1, 2)]
    return [
        part,
        part.hex().encode(),
        part.hex().upper().encode(),
        *texts,
        base64.urlsafe_b64encode(part)[:-4],
    ]


def found_in(folder: Path, secrets: list[bytes]) -> list[str]:
    content = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert content
    return [
        str(path) for secret in secrets for form in forms(secret) for path in content if form in content[path]
    ]


def test_the_data_folder_and_both_kinds_of_backup_hold_no_secret_in_clear(home: Home, tmp_path: Path) -> None:
    secrets, _ = filled(home)
    assert len(secrets) >= 11
    backups = tmp_path / "backups"
    backups.mkdir()
    back_up(home.state, backups / "one.backup", Settings(), passphrase=WORDS)
    back_up(home.state, backups / "plain.tar.gz", Settings(), passphrase=None)
    unpacked = tmp_path / "unpacked"
    bring_back(backups / "plain.tar.gz", unpacked / "state", Settings(), passphrase=str, force=False)
    for folder in (home.state, backups, unpacked):
        assert found_in(folder, secrets) == []
    # The search would find one.
    (home.state / "note").write_text(f"psk: {secrets[0].hex()}")
    assert found_in(home.state, secrets) == [str(home.state / "note")]


def test_a_lost_unit_comes_back_on_new_hardware_with_the_keys_its_devices_have(
    home: Home, clock: Clock, tmp_path: Path
) -> None:
    _, provisioned = filled(home)
    said = back_up(home.state, tmp_path / "one.backup", Settings(), passphrase=WORDS)
    assert said.startswith(str(tmp_path / "one.backup"))
    # The new unit has been installed: it has a key of its own already, and no data.
    new = tmp_path / "new" / "state"
    there = Home(new, clock)
    assert there.key.export() != home.key.export()
    said = bring_back(tmp_path / "one.backup", new, Settings(), passphrase=lambda: WORDS, force=False)
    assert "do not open" not in said
    (aside,) = new.parent.glob("state.key.before-restore-*")
    assert aside.read_text().strip() == there.key.export().hex()
    again = Home(new, clock)
    assert again.key.export() == home.key.export()
    vault = again.vault()
    door = Doorkeeper(vault, lambda chain: Verdict("x509:x"), clock)
    assert door.psk_key(b"psk") == provisioned[0].secrets[provisioned[0].made[0].id]["psk_key"]
    assert door.psk_key(b"psk-2") == provisioned[5].secrets[provisioned[5].made[0].id]["psk_key"]
    assert door.psk_key(b"given") is None
    living = {one.id for device in vault.devices() for one in device.credentials if one.secrets}
    shown = {
        number: named for one in provisioned for number, named in one.secrets.items() if number in living
    }
    assert len(shown) == 7
    for number, named in shown.items():
        assert {name: vault.secret(number, name) for name in named} == named
    assert vault.audit_problems() == []
    what = [entry.what for entry in vault.audit(limit=1)]
    assert what[0].startswith("restored from the backup of 20")
    whose = home.vault().audit(limit=1)
    assert "encrypted, with the sealing key" in whose[0].what and "(command line)" in whose[0].by
    assert [problem for problem in check_state(new, Settings()) if problem.startswith("vault")] == []


def test_a_plain_backup_brings_back_this_unit_and_says_so_on_another(home: Home, tmp_path: Path) -> None:
    filled(home)
    back_up(home.state, tmp_path / "plain.tar.gz", Settings(), passphrase=None)
    before = [one.endpoint_name for one in home.vault().devices()]
    home.vault().remove("psk", "eve")
    bring_back(tmp_path / "plain.tar.gz", home.state, Settings(), passphrase=str, force=True)
    assert [one.endpoint_name for one in home.vault().devices()] == before
    new = tmp_path / "new" / "state"
    Home(new, Clock())
    said = bring_back(tmp_path / "plain.tar.gz", new, Settings(), passphrase=str, force=False)
    assert "The keys of the devices do not open here" in said
    (problem,) = [one for one in check_state(new, Settings()) if one.startswith("vault")]
    assert "another unit's" in problem


def test_without_its_key_no_backup_is_made(home: Home, tmp_path: Path) -> None:
    filled(home)
    home.state.with_name("state.key").unlink()
    with pytest.raises(CommandFailed, match="is missing"):
        back_up(home.state, tmp_path / "one.backup", Settings(), passphrase=WORDS)
    assert not (tmp_path / "one.backup").exists()
    assert any("is missing" in problem for problem in check_state(home.state, Settings()))


def test_a_state_without_a_vault_is_backed_up_as_ever(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/tls.key").write_text("x")
    back_up(tmp_path / "old", tmp_path / "one.backup", Settings(), passphrase=WORDS)
    bring_back(tmp_path / "one.backup", tmp_path / "new", Settings(), passphrase=lambda: WORDS, force=False)
    assert (tmp_path / "new/tls.key").read_text() == "x"
    assert not (tmp_path / "new.key").exists()


def test_a_backup_nobody_could_write_down_is_not_kept(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from appliance.vault.errors import VaultError
    from appliance.vault.vault import Vault

    filled(home)

    def full(*arguments: Any) -> None:
        raise VaultError("the vault could not be written", "unavailable")

    monkeypatch.setattr(Vault, "note", full)
    with pytest.raises(CommandFailed, match="could not be written"):
        back_up(home.state, tmp_path / "one.backup", Settings(), passphrase=WORDS)
    assert not (tmp_path / "one.backup").exists()


def test_check_opens_every_secret(home: Home) -> None:
    from appliance.storage.documents import open_documents

    filled(home)
    assert [one for one in check_state(home.state, Settings()) if one.startswith("vault")] == []
    documents = open_documents(home.state / "vault", "devices-0001")
    rows = documents.table("devices").all()
    moved = rows[0]["credentials"][0]["sealed"]["psk_key"]
    rows[1]["credentials"][0]["sealed"]["psk_key"] = moved  # a sealed secret put into another device's place
    documents.table("devices").update({"credentials": rows[1]["credentials"]}, doc_ids=[rows[1].doc_id])
    (problem,) = [one for one in check_state(home.state, Settings()) if one.startswith("vault")]
    assert "given/" in problem and "does not open" in problem


def test_the_authority_lists_every_certificate_that_the_vault_lets_in_no_more(home: Home) -> None:
    vault = home.vault()
    authority = Authority(home.state / "vault", home.key, home.settings, home.clock)
    authority.open()
    vault.dropped = authority.dropped
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "m")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    for number in range(30):  # more than a device's row remembers
        asked = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        new = NewCredential(mode="x509", certificate=authority.sign("m", asked.public_bytes(Encoding.DER)))
        if number == 0:
            vault.add([NewDevice("m", credentials=(new,))], "ada")
        else:
            vault.rotate("m", "server", "ada", staged=False, new=new)
    device = vault.device("m")
    assert device is not None and len(device.credentials) == 25
    (good,) = [one for one in authority.issued() if one.revoked_at is None]
    assert good.serial == device.credentials[-1].public["serial"]


def test_what_a_killed_restore_left_is_told(home: Home) -> None:
    home.vault().add([NewDevice("m")], "ada")
    told = check_state(home.state, Settings())
    left = home.state.parent / f".{home.state.name}.restore-abcd"
    left.mkdir()
    (problem,) = set(check_state(home.state, Settings())) - set(told)
    assert problem.startswith(f"{left} was left by a restore that was cut short")
