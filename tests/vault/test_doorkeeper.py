"""Every refusal is one sentence that names the next step, and the alert that goes with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.vault.authority import Authority
from appliance.vault.certificates import CertificateCheck
from appliance.vault.doorkeeper import Doorkeeper
from appliance.vault.model import NewCredential, NewDevice
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault
from appliance.vault.verdict import Verdict
from tests.vault.conftest import Clock
from tests.vault.test_vault import certificate, public_key

DAY = 86400.0
BOTH = (NewCredential(), NewCredential(purpose="bootstrap"))


def believing(chain: tuple[bytes, ...]) -> Verdict:
    """A check that believes any chain whose first certificate names its owner."""
    return Verdict("x509:" + chain[0].partition(b" ")[0].decode())


@pytest.fixture
def door(vault: Vault, clock: Clock) -> Doorkeeper:
    vault.add([NewDevice("meter-1", credentials=BOTH)], "ada")
    return Doorkeeper(vault, believing, clock)


def taken(door: Doorkeeper, identity: bytes) -> bool:
    verdict = door.psk(identity)
    key = door.psk_key(identity)
    assert (verdict.refusal == "") == (key is not None)
    assert bool(verdict.refusal) == bool(verdict.alert)
    return not verdict.refusal


def test_keys_of_both_purposes_and_of_every_living_state_open(vault: Vault, door: Doorkeeper) -> None:
    vault.rotate("meter-1", "server", "ada", staged=True)
    assert [taken(door, identity) for identity in (b"meter-1", b"bs:meter-1", b"meter-1-2")] == [True] * 3
    assert door.psk(b"meter-1") == Verdict("psk:meter-1")
    key = door.psk_key(b"meter-1-2")
    assert key is not None and len(key) == 16
    binary = NewCredential(psk_identity=b"\x00\xff", psk_key=b"0123456789abcdef")
    vault.add([NewDevice("binary", credentials=(binary,))], "ada")
    assert door.psk_key(b"\x00\xff") == b"0123456789abcdef"


def test_an_unknown_identity(door: Doorkeeper) -> None:
    assert not taken(door, b"meter-2")
    assert door.psk(b"meter-2") == Verdict(
        "psk:meter-2",
        "No device has the PSK identity meter-2: correct the identity in the device, or add the device here "
        "with this identity and its key.",
        115,
    )
    assert not taken(door, b"\xff\x00")
    assert not taken(door, b"")


def test_a_revoked_key(vault: Vault, door: Doorkeeper) -> None:
    vault.revoke("meter-1", "ada", "stolen")
    assert not taken(door, b"meter-1")
    assert door.psk(b"meter-1").refusal == (
        "The key meter-1 of meter-1 was revoked on 2027-01-15 (stolen): give the device a new one."
    )


def test_a_replaced_key(vault: Vault, door: Doorkeeper) -> None:
    vault.rotate("meter-1", "server", "ada", staged=False)
    assert not taken(door, b"meter-1") and taken(door, b"meter-1-2")
    assert door.psk(b"meter-1").refusal == (
        "The key meter-1 of meter-1 was replaced by a newer one on 2027-01-15: put the newer one into the "
        "device, or give it another."
    )


def test_a_blocked_device(vault: Vault, door: Doorkeeper) -> None:
    vault.update("meter-1", "ada", blocked=True)
    assert not taken(door, b"meter-1") and not taken(door, b"bs:meter-1")
    assert "is blocked: reinstate it" in door.psk(b"meter-1").refusal
    vault.reinstate("meter-1", "ada")
    assert taken(door, b"meter-1")


def test_a_retired_and_an_expired_key(vault: Vault, door: Doorkeeper, clock: Clock) -> None:
    vault.rotate("meter-1", "server", "ada", staged=True)
    vault.add_credential("meter-1", NewCredential(psk_identity=b"guest", expires_at=clock() + DAY), "ada")
    assert taken(door, b"guest")
    clock.now += 31 * DAY
    assert not taken(door, b"meter-1") and not taken(door, b"guest") and taken(door, b"meter-1-2")
    assert "was replaced and opened until 2027-02-14" in door.psk(b"meter-1").refusal
    assert "was good until 2027-01-16" in door.psk(b"guest").refusal


def test_a_removed_device(vault: Vault, door: Doorkeeper) -> None:
    vault.remove("meter-1", "ada")
    assert not taken(door, b"meter-1")


def test_raw_public_keys(vault: Vault, door: Doorkeeper) -> None:
    spki = public_key(ec.generate_private_key(ec.SECP256R1()))
    identity = "rpk:" + hashlib.sha256(spki).hexdigest()
    unknown = door.raw_public_key(spki)
    assert unknown.identity == identity and unknown.alert == 46
    assert "add the device with this public key" in unknown.refusal
    vault.add([NewDevice("r", credentials=(NewCredential(mode="rpk", spki=spki),))], "ada")
    assert door.raw_public_key(spki) == Verdict(identity)
    vault.revoke("r", "ada", "lost")
    assert "revoked" in door.raw_public_key(spki).refusal and door.raw_public_key(spki).alert == 49
    assert door.raw_public_key(b"").refusal


def test_certificates_pass_the_check_first_and_the_vault_second(vault: Vault, clock: Clock) -> None:
    der = certificate("m")
    added = NewCredential(mode="x509", certificate=der)
    vault.add([NewDevice("m", credentials=(added,))], "ada")
    refused = Verdict("x509:m", "The certificate is not believed.", 48)
    verdicts = {der: Verdict("x509:m"), b"another": Verdict("x509:m"), b"stranger": Verdict("x509:stranger")}
    door = Doorkeeper(vault, lambda chain: verdicts.get(chain[0], refused), clock)
    assert door.certificate((b"what",)) == refused
    assert door.certificate((der,)) == Verdict("x509:m")
    assert door.certificate((b"another",)) == Verdict("x509:m"), (
        "of an authority we trust, for a name we know"
    )
    assert door.certificate((b"stranger",)) == Verdict("x509:stranger"), "the registration decides"
    clock.now += 101 * DAY
    assert door.certificate((der,)).alert == 45 and "was good until" in door.certificate((der,)).refusal
    vault.revoke("m", "ada", "lost")
    for shown in (der, b"another"):
        assert door.certificate((shown,)).alert == 44
        assert "The certificate m of m was revoked" in door.certificate((shown,)).refusal


def test_a_replaced_certificate_opens_no_more_though_its_name_does(vault: Vault, clock: Clock) -> None:
    old, new = certificate("m"), certificate("m")
    vault.add([NewDevice("m", credentials=(NewCredential(mode="x509", certificate=old),))], "ada")
    vault.rotate("m", "server", "ada", staged=False, new=NewCredential(mode="x509", certificate=new))
    door = Doorkeeper(vault, lambda chain: Verdict("x509:m"), clock)
    assert door.certificate((new,)).refusal == ""
    assert "The certificate m of m was replaced by a newer one" in door.certificate((old,)).refusal


def test_an_authority_speaks_for_its_own_devices_only(tmp_path: Path, clock: Clock) -> None:
    key, anchors = SealingKey(bytes(32)), ("own", "vendor", "other")
    own, vendor, other = (Authority(tmp_path / name, key, VaultSettings(), clock) for name in anchors)
    for one in (own, vendor, other):
        one.open()
    for one in (vendor, other):
        own.add_anchors(one.certificate)
    vault = Vault(tmp_path / "own", key, VaultSettings(), clock)
    vault.open()
    ours, theirs = (one.issue_with_new_key(name)[0] for one, name in ((own, "ours"), (vendor, "theirs")))
    vault.add(
        [
            NewDevice("ours", credentials=(NewCredential(mode="x509", certificate=ours),)),
            NewDevice("theirs", credentials=(NewCredential(mode="x509", certificate=theirs),)),
        ],
        "ada",
    )
    door = Doorkeeper(vault, CertificateCheck(own.trusted, vault.pinned, clock).check, clock)
    assert door.certificate((ours,)) == Verdict("x509:ours")
    assert door.certificate((theirs,)) == Verdict("x509:theirs")
    for authority, name, opens in (
        *((own, "ours", True), (vendor, "ours", False), (other, "ours", False)),
        *((own, "theirs", True), (vendor, "theirs", True), (other, "theirs", False)),
        (vendor, "nobody", True),
    ):
        verdict = door.certificate((authority.issue_with_new_key(name)[0],))
        assert verdict.identity == f"x509:{name}"
        assert (verdict.refusal == "") == opens, name
        assert opens or (verdict.alert == 46 and "another authority" in verdict.refusal)


def test_where_one_certificate_is_pinned_no_other_will_do(vault: Vault, clock: Clock) -> None:
    pin = NewCredential(mode="x509", pinned_sha256=hashlib.sha256(b"m 1").hexdigest())
    vault.add([NewDevice("m", credentials=(pin,))], "ada")
    door = Doorkeeper(vault, believing, clock)
    assert door.certificate((b"m 1",)) == Verdict("x509:m")
    assert "only the one certificate" in door.certificate((b"m 2",)).refusal
    assert door.certificate((b"n 1",)) == Verdict("x509:n")


def test_a_sealed_key_that_does_not_open_is_no_key(vault: Vault, door: Doorkeeper) -> None:
    vault.key = type(vault.key)(b"x" * 32)
    assert not taken(door, b"meter-1")
    assert "cannot be used" in door.psk(b"meter-1").refusal
