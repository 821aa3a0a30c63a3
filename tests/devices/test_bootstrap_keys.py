"""The keys that a bootstrap writes come from the vault: fresh ones are staged, none serves two purposes."""

from __future__ import annotations

from pathlib import Path as File

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from appliance.devices.bootstrap import KeysUnavailable
from appliance.devices.bootstrap_keys import VaultKeyring
from appliance.lwm2m.bootstrap import Mode
from appliance.lwm2m.bootstrap_plan import BootstrapServerEntry, ServerEntry
from appliance.vault.authority import Authority
from appliance.vault.model import NewCredential, NewDevice
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault

NAME = "meter-1"
FRESH, CURRENT = ServerEntry(), ServerEntry(key="current")


class Bunch:
    """A vault with one device, and what writes its keys."""

    def __init__(self, folder: File) -> None:
        key = SealingKey.load(folder / "state", str(folder / "key"), create=True)
        settings = VaultSettings()
        self.now = 1.8e9
        self.vault = Vault(folder / "state" / "vault", key, settings, lambda: self.now)
        self.vault.open()
        self.authority = Authority(folder / "state" / "vault", key, settings, lambda: self.now)
        self.authority.open()
        self.keyring = VaultKeyring(self.vault, self.authority)

    def add(self, *credentials: NewCredential, plan: str | None = None) -> None:
        self.vault.add([NewDevice(NAME, plan=plan, credentials=credentials)], "tests")

    def states(self) -> list[tuple[str, str]]:
        device = self.vault.device(NAME)
        assert device is not None
        return [(one.purpose, one.state) for one in device.credentials]


@pytest.fixture
def bunch(tmp_path: File) -> Bunch:
    (tmp_path / "state").mkdir()
    return Bunch(tmp_path)


def test_the_plan_and_the_kind_of_key_are_those_of_the_device(bunch: Bunch) -> None:
    assert bunch.keyring.plan_of(NAME) is None
    assert bunch.keyring.mode(NAME, FRESH) == "nosec"
    bunch.add(NewCredential("bootstrap", "psk"), NewCredential("server", "rpk"), plan="p")
    assert bunch.keyring.plan_of(NAME) == "p"
    assert bunch.keyring.mode(NAME, FRESH) == "rpk"
    assert bunch.keyring.mode(NAME, BootstrapServerEntry("coaps://a")) == "psk"
    assert bunch.keyring.mode(NAME, ServerEntry(security="x509")) == "x509"


def test_a_device_with_a_bootstrap_key_alone_gets_a_server_key_of_its_own(bunch: Bunch) -> None:
    bunch.add(NewCredential("bootstrap", "psk"))
    keys = bunch.keyring.keys(NAME, FRESH, bunch.keyring.mode(NAME, FRESH), True)
    assert (keys.mode, keys.public, len(keys.secret)) == ("psk", b"meter-1", 16)
    device = bunch.vault.device(NAME)
    assert device is not None
    bootstrap = device.credential("bootstrap")
    assert bootstrap is not None
    assert keys.secret != bunch.vault.secret(bootstrap.id, "psk_key")
    assert bunch.states() == [("bootstrap", "active"), ("server", "staged")]


def test_a_fresh_key_is_new_after_the_last_one_was_used_and_not_before(bunch: Bunch) -> None:
    bunch.add(NewCredential("bootstrap", "psk"), NewCredential("server", "psk"))
    first = bunch.keyring.keys(NAME, FRESH, "psk", True)
    assert bunch.keyring.keys(NAME, FRESH, "psk", True) == first
    assert bunch.states() == [("bootstrap", "active"), ("server", "retiring"), ("server", "staged")]
    bunch.vault.used("psk:" + first.public.decode())
    assert bunch.states()[-1] == ("server", "active")
    second = bunch.keyring.keys(NAME, FRESH, "psk", True)
    assert second.public != first.public
    assert second.secret != first.secret


@pytest.mark.parametrize("how", ["revoked", "replaced", "on its way out"])
@pytest.mark.parametrize("mode", ["psk", "x509"])
def test_a_key_that_went_out_with_an_old_bootstrap_key_is_not_given_again(
    bunch: Bunch, how: str, mode: Mode
) -> None:
    bunch.add(NewCredential("bootstrap", "psk"))
    stolen = bunch.keyring.keys(NAME, FRESH, mode, True)
    bunch.now += 60
    device = bunch.vault.device(NAME)
    assert device is not None
    if how == "revoked":
        bunch.vault.revoke(NAME, "tests", "stolen", device.credentials[0].id)
        bunch.vault.add_credential(NAME, NewCredential("bootstrap", "psk"), "tests")
    else:
        bunch.vault.rotate(NAME, "bootstrap", "tests", staged=how == "on its way out")
    bunch.now += 60
    fresh = bunch.keyring.keys(NAME, FRESH, mode, True)
    assert fresh.secret != stolen.secret
    assert [state for purpose, state in bunch.states() if purpose == "server"] == ["revoked", "staged"]
    bunch.now += 60
    assert bunch.keyring.keys(NAME, FRESH, mode, True) == fresh, "and that one may be given again"


def test_the_current_key_is_written_as_it_is(bunch: Bunch) -> None:
    bunch.add(NewCredential("server", "psk", psk_identity=b"\x00id", psk_key=bytes(range(16))))
    keys = bunch.keyring.keys(NAME, CURRENT, "psk", True)
    assert (keys.public, keys.secret) == (b"\x00id", bytes(range(16)))
    with pytest.raises(KeysUnavailable, match="no rpk key for server"):
        bunch.keyring.keys(NAME, CURRENT, "rpk", True)
    with pytest.raises(KeysUnavailable, match="no psk key for bootstrap"):
        bunch.keyring.keys(NAME, BootstrapServerEntry("coaps://a"), "psk", False)


def test_raw_public_keys_come_with_the_one_of_this_gateway(bunch: Bunch) -> None:
    bunch.add(NewCredential("bootstrap", "rpk"))
    keys = bunch.keyring.keys(NAME, FRESH, "rpk", True)
    own = x509.load_pem_x509_certificate(bunch.authority.server_keys()[0]).public_key()
    assert keys.server_public == own.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    private = load_der_private_key(keys.secret, None)
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert keys.public == spki
    theirs = bunch.keyring.keys(NAME, ServerEntry(server_public_key=b"theirs"), "rpk", False)
    assert theirs.server_public == b"theirs"


@pytest.mark.parametrize("usage", [None, 0, 1, 2, 3])
def test_certificates_are_made_and_come_with_what_their_usage_compares(
    bunch: Bunch, usage: int | None
) -> None:
    bunch.add(NewCredential("bootstrap", "psk"))
    bunch.authority.server_keys()
    keys = bunch.keyring.keys(NAME, ServerEntry(certificate_usage=usage), "x509", True)
    certificate = x509.load_der_x509_certificate(keys.public)
    assert certificate.subject.rfc4514_string() == f"CN={NAME}"
    private = load_der_private_key(keys.secret, None)
    assert private.public_key() == certificate.public_key()
    assert keys.server_public == bunch.authority.told_to_client(3 if usage is None else usage)


def test_a_certificate_is_made_anew_but_not_at_every_try(bunch: Bunch) -> None:
    bunch.add(NewCredential("bootstrap", "psk"))
    first = bunch.keyring.keys(NAME, FRESH, "x509", True)
    assert bunch.keyring.keys(NAME, FRESH, "x509", True) == first
    bunch.now += 3601
    assert bunch.keyring.keys(NAME, FRESH, "x509", True).public != first.public


def test_a_certificate_that_the_device_fetches_itself_is_not_written(bunch: Bunch) -> None:
    bunch.add(NewCredential("bootstrap", "psk"))
    bunch.authority.server_keys()
    keys = bunch.keyring.keys(NAME, ServerEntry(security="est", certificate_usage=2), "est", True)
    assert (keys.mode, keys.public, keys.secret) == ("est", b"", b"")
    assert keys.server_public == bunch.authority.told_to_client(2)
    assert bunch.states() == [("bootstrap", "active")]


def test_oscore_is_given_as_the_client_sees_it(bunch: Bunch) -> None:
    new = NewCredential(
        "server",
        "oscore",
        sender_id=b"\1",
        recipient_id=b"\2",
        id_context=b"c",
        master_secret=bytes(range(16)),
    )
    bunch.add(new)
    keys = bunch.keyring.keys(NAME, CURRENT, "oscore", True)
    assert keys.oscore is not None
    assert (keys.oscore.sender_id, keys.oscore.recipient_id, keys.oscore.id_context) == (b"\1", b"\2", b"c")
    assert (keys.oscore.master_secret, keys.oscore.aead, keys.oscore.hkdf) == (bytes(range(16)), 10, -10)


def test_a_private_key_that_only_the_device_has_cannot_be_written(bunch: Bunch) -> None:
    bunch.add(NewCredential("bootstrap", "rpk"))
    made = bunch.keyring.keys(NAME, FRESH, "rpk", True)
    pem = load_der_private_key(made.secret, None)
    assert pem.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate, _ = bunch.authority.issue_with_new_key(NAME)
    bunch.vault.add_credential(NAME, NewCredential("server", "x509", certificate=certificate), "tests")
    with pytest.raises(KeysUnavailable, match="in the device only"):
        bunch.keyring.keys(NAME, CURRENT, "x509", True)


@pytest.mark.parametrize("mode", ["psk", "x509"])
def test_a_device_that_the_vault_does_not_know_gets_no_key(bunch: Bunch, mode: Mode) -> None:
    with pytest.raises(KeysUnavailable, match="is not in the vault"):
        bunch.keyring.keys(NAME, FRESH, mode, True)
    assert bunch.keyring.keys(NAME, FRESH, "nosec", True).mode == "nosec"
    bunch.keyring.bootstrapped(NAME, bunch.now)


def test_a_certificate_counts_once_the_device_has_said_that_it_has_it(bunch: Bunch) -> None:
    bunch.add(NewCredential("bootstrap", "psk"))
    for number in range(2):
        bunch.keyring.keys(NAME, FRESH, "x509", True)
        assert bunch.states()[-1] == ("server", "staged")
        bunch.keyring.bootstrapped(NAME, bunch.now)
        assert bunch.states() == [
            ("bootstrap", "active"),
            *[("server", "revoked")] * number,
            ("server", "active"),
        ]
    bunch.keyring.bootstrapped(NAME, bunch.now)  # of nothing that was written


def test_what_people_change_about_a_device_is_told_from_what_bootstraps_change(bunch: Bunch) -> None:
    bunch.add(NewCredential("bootstrap", "psk"), NewCredential("server", "psk"))
    before = bunch.keyring.decided(NAME)
    for _ in range(3):
        bunch.keyring.keys(NAME, FRESH, "psk", True)
        bunch.now += 7200
    assert bunch.keyring.decided(NAME) == before
    seen = {before}
    bunch.vault.update(NAME, "tests", plan="p")
    seen.add(bunch.keyring.decided(NAME))
    bunch.vault.rotate(NAME, "bootstrap", "tests", staged=True)
    seen.add(bunch.keyring.decided(NAME))
    bunch.vault.rotate(NAME, "server", "tests", staged=False)
    seen.add(bunch.keyring.decided(NAME))
    bunch.vault.ask_rebootstrap(NAME, "tests")
    seen.add(bunch.keyring.decided(NAME))
    assert len(seen) == 5


def test_a_wish_to_bootstrap_again_is_fulfilled(bunch: Bunch) -> None:
    bunch.add(NewCredential("bootstrap", "psk"))
    bunch.vault.ask_rebootstrap(NAME, "tests")
    # Somebody asked while it was under way: what was written may be overtaken by what he changed.
    for started_at, done in ((bunch.now - 1, False), (bunch.now, True)):
        bunch.keyring.bootstrapped(NAME, started_at)
        device = bunch.vault.device(NAME)
        assert device is not None
        assert (device.rebootstrap_asked is None) == done
