"""The Register Tool on a vault and an authority on disk: what comes in, goes out, is replaced and revoked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from appliance.vault.authority import Authority
from appliance.vault.errors import VaultError
from appliance.vault.importing import read_rows
from appliance.vault.model import NewDevice
from appliance.vault.provisioning import Gateway
from appliance.vault.register import Given, Register, Shown
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault

NOW = 1_800_000_000.0


class Stand:
    def __init__(self, folder: Path) -> None:
        key = SealingKey(bytes(range(32)))
        self.vault = Vault(folder / "vault", key, VaultSettings(), lambda: NOW)
        self.vault.open()
        self.authority = Authority(folder / "vault", key, VaultSettings(), lambda: NOW)
        self.authority.open()
        self.register = Register(self.vault, self.authority)
        self.gateway: Gateway = self.register.gateway("192.0.2.1", 5683, 5684)

    def add(self, name: str, security: str = "psk", *, bootstrap: bool = False, **given: Any) -> Shown:
        new = NewDevice(name, groups=("a",))
        return self.register.add(
            new, security, Given(**given), bootstrap=bootstrap, gateway=self.gateway, by="ines"
        )

    def rotate(self, name: str, *, staged: bool = True, **given: Any) -> Shown:
        return self.register.rotate(
            name, None, Given(**given), staged=staged, gateway=self.gateway, by="ines"
        )

    def take_in(self, text: str, **more: Any) -> Any:
        return self.register.take_in(text.encode(), self.gateway, "ines", **{"dry_run": False, **more})

    def revoked(self) -> set[str]:
        return {one.serial for one in self.authority.issued() if one.revoked_at is not None}


@pytest.fixture
def here(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def request(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_a_device_with_a_key_of_its_own(here: Stand) -> None:
    shown = here.add("meter-1").provisioning
    assert shown["psk_identity"] == "meter-1" and len(bytes.fromhex(shown["psk_key_hex"])) >= 16
    credential = here.vault.by_identity("psk:meter-1")
    assert credential is not None
    assert here.vault.psk_key(credential) == bytes.fromhex(shown["psk_key_hex"])
    assert shown["qr_svg"].startswith("<svg")
    assert here.vault.audit()[0].by == "ines"
    assert "psk_key" not in repr(here.add("meter-2")) and here.add("meter-3").provisioning["uri"]


def test_bootstrap(here: Stand) -> None:
    shown = here.add("meter-1", bootstrap=True).provisioning
    assert shown["bootstrap"]["psk_identity"] == "bs:meter-1" and "psk_key_hex" not in shown


def test_raw_public_keys(here: Stand) -> None:
    shown = here.add("meter-1", "rpk").provisioning
    made = load_pem_private_key(shown["private_key_pem"].encode(), None)
    spki = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert spki.decode() == shown["public_key_pem"]
    own = ec.generate_private_key(ec.SECP256R1()).public_key()
    given = own.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert "private_key_pem" not in here.add("meter-2", "rpk", public_key=given).provisioning


def test_certificates_are_made_signed_or_taken(here: Stand) -> None:
    shown = here.add("meter-1", "x509").provisioning
    made = x509.load_pem_x509_certificate(shown["certificate_pem"].encode())
    assert made.subject.rfc4514_string() == "CN=meter-1"
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(shown["authority_pem"].encode()))
    x509.load_pem_x509_certificate(shown["server_certificate_pem"].encode())
    assert sorted(shown["commands"]) == ["anjay", "leshan"]

    key = ec.generate_private_key(ec.SECP256R1())
    signed = here.add("meter-2", "x509", request=request("meter-2", key)).provisioning
    assert "private_key_pem" not in signed and signed["certificate_pem"]
    other = x509.load_pem_x509_certificate(
        here.add("meter-3", "x509").provisioning["certificate_pem"].encode()
    )
    with pytest.raises(VaultError, match="meter-3"):
        here.add("meter-4", "x509", certificate=other.public_bytes(Encoding.DER))
    assert here.revoked() == set()  # what somebody brought is not revoked because it did not fit


def test_a_certificate_that_was_made_for_nothing_is_not_left_behind(here: Stand) -> None:
    here.add("meter-1", "x509")
    with pytest.raises(VaultError, match="already"):
        here.add("meter-1", "x509")
    assert len(here.authority.issued()) == 1


def test_material_of_another_kind_is_not_dropped_without_a_word(here: Stand) -> None:
    for security, given in (
        ("rpk", {"psk_key": bytes(16)}),
        ("psk", {"public_key": b"x"}),
        ("nosec", {"psk_identity": b"x"}),
        ("oscore", {"certificate": b"x"}),
    ):
        with pytest.raises(VaultError, match=f"does not go with the security {security}"):
            here.add("meter-1", security, **given)
    with pytest.raises(VaultError, match="not both"):
        here.add("meter-1", "x509", certificate=b"x", request=b"y")
    with pytest.raises(VaultError, match="security is one of"):
        here.add("meter-1", "tls")
    assert here.vault.devices() == []


def test_without_security(here: Stand) -> None:
    shown = here.add("meter-1", "nosec")
    assert shown.device.nosec and shown.provisioning["uri"] == "coap://192.0.2.1:5683"
    here.register.revoke("meter-1", "ines", "stolen")
    device = here.vault.device("meter-1")
    assert device is not None and device.blocked
    assert not here.register.reinstate("meter-1", "ines").blocked


def test_no_device_that_nobody_could_reach(here: Stand) -> None:
    gateway = here.register.gateway("192.0.2.1", 5683, None)
    with pytest.raises(VaultError, match="DTLS"):
        here.register.add(NewDevice("m"), "psk", Given(), bootstrap=False, gateway=gateway, by="ines")
    report = here.register.take_in(b"ep\nm\n", gateway, "ines", dry_run=False)
    assert not report.is_good and here.vault.devices() == []


def test_rotation(here: Stand) -> None:
    old = here.add("meter-1").provisioning
    new = here.rotate("meter-1").provisioning
    assert new["psk_identity"] != old["psk_identity"] and new["psk_key_hex"] != old["psk_key_hex"]
    device = here.vault.device("meter-1")
    assert device is not None
    assert [one.state for one in device.credentials] == ["retiring", "staged"]
    here.rotate("meter-1", staged=False)
    device = here.vault.device("meter-1")
    assert device is not None
    assert [one.state for one in device.credentials][-1] == "active"
    with pytest.raises(VaultError, match="no bootstrap key"):
        here.register.rotate("meter-1", "bootstrap", Given(), staged=True, gateway=here.gateway, by="ines")
    with pytest.raises(VaultError) as refused:
        here.rotate("meter-2")
    assert refused.value.kind == "not_found"


def test_a_certificate_that_was_replaced_opens_nothing_any_more(here: Stand) -> None:
    first = x509.load_pem_x509_certificate(here.add("m", "x509").provisioning["certificate_pem"].encode())
    here.rotate("m")
    assert here.revoked() == set()  # staged: the old one still opens
    here.rotate("m", staged=False)
    assert f"{first.serial_number:x}" in here.revoked()


def test_a_revoked_certificate_cannot_come_back_but_a_key_can(here: Stand) -> None:
    here.add("m", "x509")
    here.register.revoke("m", "ines", "lost")
    assert len(here.revoked()) == 1
    with pytest.raises(VaultError, match="cannot come back"):
        here.register.reinstate("m", "ines")
    here.add("k")
    here.register.revoke("k", "ines", "lost")
    assert here.register.reinstate("k", "ines").credentials[0].state == "active"


def test_a_removed_device_leaves_no_certificate_that_opens(here: Stand) -> None:
    here.add("m", "x509")
    here.register.remove("m", "ines")
    assert len(here.revoked()) == 1 and here.vault.devices() == []


def test_a_removal_that_is_cut_short_leaves_no_certificate_that_opens(
    here: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = here.add("meter-1", "x509").device.credentials[0].public["serial"]

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(here.vault, "_commit", cut)
    with pytest.raises(KeyboardInterrupt):
        here.register.remove("meter-1", "ines")
    assert here.revoked() == {serial}
    with pytest.raises(VaultError, match="no device"):
        here.register.remove("meter-2", "ines")


# Lists


def test_a_list_is_taken_in_whole_or_not_at_all(here: Stand) -> None:
    here.add("known")
    text = "ep,key\nnew,\nknown,\nshort,0011\nnew,\n"
    report = here.take_in(text)
    assert (report.added, report.is_good, report.devices) == (0, False, [])
    assert [row["row"] for row in report.rows] == [2, 3, 4, 5]
    assert [bool(row["problems"]) for row in report.rows] == [False, True, True, True]
    assert report.rows[3]["problems"] == ["new stands in row 2 already"]  # as the rows are called
    assert [one.endpoint_name for one in here.vault.devices()] == ["known"]
    good = "ep,group\nnew,a\nother,b\n"
    assert here.take_in(good, dry_run=True) == (0, here.take_in(good, dry_run=True).rows, [])
    assert len(here.vault.devices()) == 1
    report = here.take_in(good)
    assert report.added == 2 and report.is_good
    assert [one.provisioning["psk_identity"] for one in report.devices] == ["new", "other"]
    assert here.vault.groups() == ["a", "b"]


def test_a_list_may_ask_for_certificates(here: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "ep,security\nm-1,x509\nm-2,\nm-3,X.509\n"
    assert here.take_in(text, dry_run=True).is_good
    assert not here.take_in(text + "m-1,x509\n").is_good
    assert here.authority.issued() == []
    report = here.take_in(text)
    assert report.added == 3
    shown = {one.device.endpoint_name: one.provisioning for one in report.devices}
    for name in ("m-1", "m-3"):
        certificate = x509.load_pem_x509_certificate(shown[name]["certificate_pem"].encode())
        key = load_pem_private_key(shown[name]["private_key_pem"].encode(), None)
        assert certificate.public_key() == key.public_key()
        assert certificate.subject.rfc4514_string() == f"CN={name}"
    assert sorted(one.endpoint_name for one in here.authority.issued()) == ["m-1", "m-3"]

    def refused(*_: object) -> list[Any]:
        raise VaultError("the disk is full", "unavailable")

    monkeypatch.setattr(here.vault, "add", refused)
    with pytest.raises(VaultError, match="full"):
        here.take_in("ep,security\nm-4,x509\n")
    assert [one.endpoint_name for one in here.authority.issued() if one.revoked_at is not None] == ["m-4"]


def test_who_may_not_add_a_device_hears_it_for_each_row(here: Stand) -> None:
    report = here.take_in("ep,group\nx,a\ny,b\n", may=lambda new: "" if "a" in new.groups else "not yours")
    assert [row["problems"] for row in report.rows] == [[], ["not yours"]]


def test_what_goes_out_comes_in_again_somewhere_else(here: Stand, tmp_path: Path) -> None:
    here.add("psk")
    here.add("boot", bootstrap=True)
    here.add("rpk", "rpk")
    here.add("open", "nosec")
    for form in ("csv", "json"):
        data = here.register.list_out(here.vault.devices(), form)
        secrets = [content for one in here.vault.devices() for content in _secrets(here, one.endpoint_name)]
        assert secrets and not any(content.hex().encode() in data for content in secrets)
        other = Stand(tmp_path / form)
        report = other.take_in(data.decode("utf-8-sig"))
        assert report.is_good and report.added == 4
        assert other.register.list_out(other.vault.devices(), form) == data
    assert len(read_rows(here.register.list_out(here.vault.devices(), "json"))) == 4
    assert json.loads(here.register.list_out([], "json")) == {"devices": []}


def _secrets(here: Stand, name: str) -> list[bytes]:
    device = here.vault.device(name)
    assert device is not None
    return [here.vault.secret(one.id, secret) for one in device.credentials for secret in one.secrets]


# Paper


def test_labels_have_no_keys(here: Stand) -> None:
    key = here.add("meter-1").provisioning["psk_key_hex"]
    here.add("open", "nosec")
    here.add("boot", bootstrap=True)
    here.vault.add([NewDevice("bare")], "ines")
    sheet = here.register.sheet(here.vault.devices(), here.gateway)
    assert key not in sheet
    for text in ("meter-1", "identity bs:boot", "no key", "coaps://192.0.2.1:5684", "coap://192.0.2.1:5683"):
        assert text in sheet
