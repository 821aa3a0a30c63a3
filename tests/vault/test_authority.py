"""The own certificate authority, looked at by strangers: openssl and GnuTLS' certtool."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.storage.documents import SafeJSONStorage
from appliance.vault.authority import EARLIEST, Authority
from appliance.vault.certificates import CertificateCheck
from appliance.vault.doorkeeper import Doorkeeper
from appliance.vault.errors import VaultError
from appliance.vault.model import NewCredential, NewDevice
from appliance.vault.names import own_names
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault

NOW = 1_800_000_000.0
DAY = 86400.0
KEY = SealingKey(bytes(range(32)))


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def opened(
    folder: Path, wall: Callable[[], float] = lambda: NOW, key: SealingKey = KEY, **settings: int
) -> Authority:
    authority = Authority(folder, key, VaultSettings(**settings), wall)
    authority.open()
    return authority


def run(*command: str | Path) -> str:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def loaded(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(one.value) for one in found]


def request(name: str | None, key: object = None) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey)
    subject = [] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)  # a wish that is not granted
    signed = builder.sign(key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


# The authority


def test_what_is_made_at_first_start_and_kept(tmp_path: Path) -> None:
    authority = opened(tmp_path / "vault")
    found = loaded(authority.certificate)
    key = found.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(
        True, 0
    )
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign and usage.crl_sign and not usage.digital_signature
    assert found.not_valid_before_utc == EARLIEST
    assert found.not_valid_after_utc.timestamp() == NOW + 20 * 365 * DAY
    assert opened(tmp_path / "vault").certificate == authority.certificate


def test_two_fresh_units_share_nothing(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "a"), opened(tmp_path / "b")
    assert one.facts.spki != other.facts.spki
    assert one.facts.subject != other.facts.subject
    for purpose in ("dtls", "page"):
        ours, theirs = (unit.server(purpose, ["edge.local"]) for unit in (one, other))
        assert ours.facts.spki != theirs.facts.spki
    keys = {unit.server(purpose, ["e"]).facts.spki for unit in (one, other) for purpose in ("dtls", "page")}
    assert len(keys | {one.facts.spki, other.facts.spki}) == 6


def test_no_private_key_is_in_clear_in_the_folder(tmp_path: Path) -> None:
    authority = opened(tmp_path)
    pems = [authority.server(purpose, ["edge.local"]).key_pem for purpose in ("dtls", "page")]
    certificate, secret = authority.issue_with_new_key("meter-1")
    authority.revoke([f"{loaded(certificate).serial_number:x}"])
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"PRIVATE" not in content
    for pem in pems:
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        number = key.private_numbers().private_value
        assert number.to_bytes(32, "big").hex().encode() not in content
        assert number.to_bytes(32, "big") not in content
        assert pem.split(b"\n")[1] not in content
        assert str(pem)[2:50] not in repr(authority.server("dtls", ["edge.local"]))
    assert secret not in content
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_another_sealing_key_does_not_open_it(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(VaultError) as error:
        opened(tmp_path, key=SealingKey(bytes(32)))
    assert error.value.kind == "unavailable"


def test_a_board_without_a_clock_makes_an_authority_that_stays_good(tmp_path: Path) -> None:
    clock = Clock()
    clock.now = 1000.0
    authority = opened(tmp_path, clock)
    certificate, _ = authority.issue_with_new_key("meter-1")
    server = authority.server("dtls", ["edge.local"])
    assert loaded(certificate).not_valid_before_utc == EARLIEST - timedelta(days=1)
    clock.now = NOW
    again = opened(tmp_path, clock)
    assert again.certificate == authority.certificate
    assert again.server("dtls", ["edge.local"]).certificate == server.certificate
    assert loaded(certificate).not_valid_after_utc.timestamp() > NOW


def test_it_is_renewed_with_its_key_and_what_it_signed_stays_good(tmp_path: Path) -> None:
    clock = Clock()
    before = opened(tmp_path, clock, authority_years=3, certificate_days=1000)
    device, _ = before.issue_with_new_key("meter-1")
    server = before.server("dtls", ["edge.local"])
    clock.now += 2.3 * 365 * DAY
    after = opened(tmp_path, clock, authority_years=3, certificate_days=1000)
    assert after.certificate != before.certificate
    assert after.facts.spki == before.facts.spki and after.facts.subject == before.facts.subject
    loaded(device).verify_directly_issued_by(loaded(after.certificate))
    assert after.server("dtls", ["edge.local"]).certificate == server.certificate
    clock.now += 0.69 * 365 * DAY
    renewed = after.server("dtls", ["edge.local"])
    assert renewed.certificate != server.certificate and renewed.facts.spki == server.facts.spki


def test_a_disk_that_refuses_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, other = opened(tmp_path), opened(tmp_path / "b")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SafeJSONStorage, "write", full)
    for work in (
        lambda: authority.issue_with_new_key("meter-1"),
        lambda: authority.server("page", ["edge.local"]),
        lambda: authority.add_anchors(other.certificate),
    ):
        with pytest.raises(VaultError) as error:
            work()
        assert error.value.kind == "unavailable" and "No space left" in str(error.value)
    assert not authority.issued() and not authority.anchors()


# Certificates of the unit


def test_the_certificates_of_the_unit_satisfy_openssl_and_certtool(tmp_path: Path) -> None:
    authority = opened(tmp_path, time.time)  # certtool cannot be told another time
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    for purpose in ("dtls", "page"):
        found = authority.server(purpose, ["edge.local", "edge", "192.0.2.7", "2001:db8::7"])
        (tmp_path / "server.pem").write_bytes(found.chain_pem)
        said = run(
            *("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "edge.local"),
            *("-CAfile", tmp_path / "ca.pem", tmp_path / "server.pem"),
        )
        assert said.strip().endswith(": OK"), said
        wrong = run(
            *("openssl", "verify", "-verify_hostname", "other.local"),
            *("-CAfile", tmp_path / "ca.pem", tmp_path / "server.pem"),
        )
        assert "hostname mismatch" in wrong.lower()
        said = run("certtool", "--verify-chain", "--infile", tmp_path / "server.pem")
        assert "Chain verification output: Verified" in said, said
        text = run("openssl", "x509", "-noout", "-text", "-in", tmp_path / "server.pem")
        assert "IP Address:192.0.2.7" in text and "TLS Web Server Authentication" in text
        key = serialization.load_pem_private_key(found.key_pem, None)
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert spki == found.facts.spki
    page = authority.server("page", ["edge.local"])
    assert page.facts.not_after - page.facts.not_before <= 825 * DAY


def test_they_are_made_anew_only_for_a_reason_and_keep_their_key(tmp_path: Path) -> None:
    clock = Clock()
    authority = opened(tmp_path, clock)
    first = authority.server("dtls", ["edge.local", "192.0.2.7"])
    for asked in (["edge.local", "192.0.2.7"], ["192.0.2.7"], ["edge.local", "192.0.2.7", "2001:db8::9"]):
        assert authority.server("dtls", asked) == first
    assert opened(tmp_path, clock).server("dtls", ["edge.local"]) == first
    moved = authority.server("dtls", ["edge.local", "192.0.2.8"])
    assert moved.facts.spki == first.facts.spki and moved.certificate != first.certificate
    assert set(names(loaded(moved.certificate))) == {"edge.local", "192.0.2.7", "192.0.2.8"}
    assert opened(tmp_path, clock).server("dtls", ["edge.local"]) == moved

    page = authority.server("page", ["edge.local", "192.0.2.7"])
    elsewhere = authority.server("page", ["edge.local", "192.0.2.8"])
    assert names(loaded(elsewhere.certificate)) == ["edge.local", "192.0.2.8"]
    clock.now += 800 * DAY
    renewed = authority.server("page", ["edge.local"])
    assert renewed.certificate != elsewhere.certificate and renewed.facts.spki == page.facts.spki
    assert authority.server("dtls", ["edge.local"]) == moved


def test_names_of_this_unit() -> None:
    found = own_names(("edge.example", "192.0.2.7", "bad\u00e4"))
    assert {"localhost", "127.0.0.1", "::1", "edge.example", "192.0.2.7"} <= set(found)
    assert len(found) == len(set(found)) and all(name.isascii() for name in found)


def test_what_a_device_is_told_for_each_certificate_usage(tmp_path: Path) -> None:
    authority = opened(tmp_path)
    chain, key = authority.server_keys(("edge.example",))
    server = x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)
    told = [authority.told_to_client(usage) for usage in range(4)]
    assert told == [authority.certificate, server, authority.certificate, server]
    assert authority.server_keys(("edge.example",)) == (chain, key)
    with pytest.raises(VaultError):
        authority.told_to_client(4)


# Certificates of devices


@pytest.mark.parametrize(
    ("endpoint_name", "other"),
    [
        ("meter-1", "DNS:meter-1"),
        ("meter.site-2.example", "DNS:meter.site-2.example"),
        ("urn:imei:004999010640000", "URI:urn:imei:004999010640000"),
        ("Zähler 1", "URI:urn:x-homard:Z%C3%A4hler%201"),
        ("urn:dev:ops:32473-" + "x" * 80, "URI:urn:dev:ops:32473-" + "x" * 80),
    ],
)
def test_a_device_certificate_satisfies_strangers(tmp_path: Path, endpoint_name: str, other: str) -> None:
    authority = opened(tmp_path, certificate_days=400)
    certificate, secret = authority.issue_with_new_key(endpoint_name)
    found = loaded(certificate)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "device.pem").write_bytes(found.public_bytes(Encoding.PEM))
    said = run(
        *("openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-attime", str(int(NOW))),
        *("-CAfile", tmp_path / "ca.pem", tmp_path / "device.pem"),
    )
    assert said.strip().endswith(": OK"), said
    text = run("openssl", "x509", "-noout", "-text", "-in", tmp_path / "device.pem")
    assert other in text and "CA:FALSE" in text and "TLS Web Client Authentication" in text
    text = run("certtool", "--certificate-info", "--infile", tmp_path / "device.pem")
    assert "TLS WWW Client" in text, text
    if len(endpoint_name) <= 64:
        (common_name,) = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert common_name.value == endpoint_name
    assert found.not_valid_after_utc - found.not_valid_before_utc == timedelta(days=401)
    key = serialization.load_der_private_key(secret, None)
    assert key.public_key() == found.public_key()
    (issued,) = authority.issued()
    assert issued.endpoint_name == endpoint_name and issued.serial == f"{found.serial_number:x}"
    assert secret not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "a\nb", "a" * 65 + " b", "x" * 300])
def test_names_no_certificate_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(VaultError):
        opened(tmp_path).issue_with_new_key(name)


def test_it_does_not_outlive_the_authority(tmp_path: Path) -> None:
    authority = opened(tmp_path, authority_years=1, certificate_days=7300)
    certificate, _ = authority.issue_with_new_key("meter-1")
    assert loaded(certificate).not_valid_after_utc == loaded(authority.certificate).not_valid_after_utc


def test_a_request_is_granted_in_pem_and_der(tmp_path: Path) -> None:
    authority = opened(tmp_path)
    key = tmp_path / "key.pem"
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    run("openssl", "req", "-new", "-key", key, "-subj", "/CN=meter-1", "-out", tmp_path / "csr.pem")
    certificate = loaded(authority.sign("meter-1", (tmp_path / "csr.pem").read_bytes()))
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert certificate.public_key() == private.public_key()
    der = request("meter-2", rsa.generate_private_key(65537, 2048))
    certificate = loaded(authority.sign("meter-2", der))
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    certificate = loaded(
        authority.sign("meter-3", request("meter-3", ec.generate_private_key(ec.SECP384R1())))
    )
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def _tampered() -> bytes:
    """A request with another key in it than the one that signed it."""
    mine, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    spki, strange = (
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for key in (mine, other)
    )
    return request("meter-1", mine).replace(spki, strange)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: b"", "no certificate signing request"),
        (lambda: b"-----BEGIN NONSENSE-----", "no certificate signing request"),
        (lambda: b"\x30" * 20000, "longer than"),
        (lambda: request("meter-2"), "'meter-2'"),
        (lambda: request(None), "CN is missing"),
        (lambda: request("meter-1", rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (lambda: request("meter-1", ec.generate_private_key(ec.SECP224R1())), "secp224r1"),
        (_tampered, "not of its own key"),
    ],
)
def test_requests_that_are_refused(tmp_path: Path, made: Callable[[], bytes], words: str) -> None:
    authority = opened(tmp_path)
    with pytest.raises(VaultError, match=words):
        authority.sign("meter-1", made())
    assert not authority.issued()


def test_no_bytes_make_a_request_raise_anything_else(tmp_path: Path) -> None:
    authority = opened(tmp_path)
    whole = request("meter-1")
    chance = random.Random(7)
    for _ in range(1000):
        changed = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            place = chance.randrange(len(changed))
            match chance.randrange(3):
                case 0:
                    changed[place] = chance.randrange(256)
                case 1:
                    del changed[place : place + chance.randrange(1, 9)]
                case _:
                    changed[place:place] = chance.randbytes(chance.randrange(1, 9))
        if bytes(changed) != whole:
            with pytest.raises(VaultError):
                authority.sign("meter-1", bytes(changed))


def test_each_device_has_a_key_of_its_own(tmp_path: Path) -> None:
    authority = opened(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    first = authority.issue("meter-1", key.public_key())
    second = authority.issue("meter-1", key.public_key())  # a renewal may keep its key
    with pytest.raises(VaultError, match="meter-1 has a certificate with this very key"):
        opened(tmp_path).issue("meter-2", key.public_key())
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(VaultError):
        authority.issue_many([("meter-3", other), ("meter-4", other)])
    assert len(authority.issued()) == 2
    serials = [f"{loaded(one).serial_number:x}" for one in (first, second)]
    authority.revoke(serials[:1], "superseded")
    authority.issue("meter-1", key.public_key())
    authority.revoke([one.serial for one in authority.issued()], "key compromise")
    with pytest.raises(VaultError, match="needs a new key"):
        opened(tmp_path).issue("meter-1", key.public_key())


def test_a_thousand_are_issued_with_few_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = opened(tmp_path)
    writes = []
    real = SafeJSONStorage.write
    monkeypatch.setattr(SafeJSONStorage, "write", lambda *given: (writes.append(1), real(*given))[1])
    wanted = [(f"meter-{n}", ec.derive_private_key(n + 1, ec.SECP256R1()).public_key()) for n in range(1000)]
    assert len(set(authority.issue_many(wanted))) == 1000
    assert len(writes) <= 64
    writes.clear()
    authority.issue_with_new_key("meter-x")
    assert len(writes) == 1
    assert max(file.stat().st_size for file in tmp_path.glob("issued-*.json")) < 32 * 1024
    assert len(opened(tmp_path).issued()) == 1001


# Revocation


def test_the_list_of_revoked_certificates_convinces_openssl(tmp_path: Path) -> None:
    authority = opened(tmp_path)
    good, bad, worse = (authority.issue_with_new_key(f"meter-{n}")[0] for n in range(3))
    serials = [f"{loaded(one).serial_number:x}" for one in (bad, worse)]
    assert authority.revoke([*serials[:1], "abcdef"], "key compromise") == 1
    assert authority.revoke(serials) == 1
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "crl.pem").write_bytes(authority.crl_pem())
    said = run(
        "openssl", "crl", "-noout", "-verify", "-CAfile", tmp_path / "ca.pem", "-in", tmp_path / "crl.pem"
    )
    assert "verify OK" in said
    text = run("openssl", "crl", "-noout", "-text", "-in", tmp_path / "crl.pem")
    assert "Key Compromise" in text and text.count("Serial Number:") == 2
    assert (
        "verified"
        in run(
            *("certtool", "--verify-crl", "--load-ca-certificate", tmp_path / "ca.pem"),
            *("--infile", tmp_path / "crl.pem"),
        ).lower()
    )
    for certificate, expected in ((good, ": OK"), (bad, "certificate revoked")):
        (tmp_path / "device.pem").write_bytes(loaded(certificate).public_bytes(Encoding.PEM))
        said = run(
            *("openssl", "verify", "-crl_check", "-attime", str(int(NOW)), "-CRLfile", tmp_path / "crl.pem"),
            *("-CAfile", tmp_path / "ca.pem", tmp_path / "device.pem"),
        )
        assert expected in said
    der = x509.load_der_x509_crl(authority.crl_der())
    assert len(der) == 2 and der.next_update_utc == datetime.fromtimestamp(NOW + 7 * DAY, UTC)
    again = opened(tmp_path)
    assert sorted(again.trusted().revoked) == sorted(int(serial, 16) for serial in serials)


def test_another_process_revokes_and_issues(tmp_path: Path) -> None:
    server, command = opened(tmp_path), opened(tmp_path)
    assert not server.refresh()
    certificate, _ = command.issue_with_new_key("meter-1")
    serial = f"{loaded(certificate).serial_number:x}"
    assert server.refresh() and not server.refresh()
    assert [one.serial for one in server.issued()] == [serial]
    assert command.revoke(serial) == 1
    assert server.refresh()
    assert int(serial, 16) in server.trusted().revoked
    server.issue_with_new_key("meter-2")
    assert not server.refresh() and command.refresh()
    assert len(command.issued()) == 2


def test_what_the_vault_drops_is_listed_and_the_reason_may_come_later(tmp_path: Path) -> None:
    authority, other = opened(tmp_path / "a"), opened(tmp_path / "b")
    vault = Vault(tmp_path / "a", KEY, VaultSettings(), lambda: NOW)
    vault.dropped = authority.dropped
    vault.open()
    ours, _ = authority.issue_with_new_key("meter-1")
    theirs, _ = other.issue_with_new_key("meter-2")
    given = [
        NewCredential("server", "x509", certificate=ours),
        NewCredential("server", "x509", certificate=theirs),
    ]
    names = ("meter-1", "meter-2")
    vault.add([NewDevice(n, credentials=(one,)) for n, one in zip(names, given, strict=True)], "test")
    vault.add([NewDevice("meter-3", credentials=(NewCredential(),))], "test")
    check = Doorkeeper(
        vault, CertificateCheck(authority.trusted, vault.pinned, authority.now).check, lambda: NOW
    ).certificate
    assert not check((ours,)).refusal and not check((theirs,)).refusal
    for name in ("meter-1", "meter-2", "meter-3"):
        vault.remove(name, "test")
    assert "was revoked on" in check((ours,)).refusal and "not trusted here" in check((theirs,)).refusal
    (one,) = authority.issued()
    assert (one.revoked_at, one.reason) == (NOW, "")
    assert authority.revoke([one.serial], "removed") == 0
    assert opened(tmp_path / "a").issued()[0].reason == "removed"


# Authorities of other people


def test_authorities_of_other_people_are_believed_and_no_longer(tmp_path: Path) -> None:
    authority, one, other = (opened(tmp_path / name) for name in "abc")
    added = authority.add_anchors(one.certificate_pem + other.certificate_pem)
    assert [anchor.facts.subject for anchor in added] == [one.facts.subject, other.facts.subject]
    assert authority.anchors() == added == opened(tmp_path / "a").anchors()
    assert len(authority.trusted().anchors) == 3
    with pytest.raises(VaultError, match="there already") as error:
        authority.add_anchors(one.certificate)
    assert error.value.kind == "conflict"
    authority.remove_anchor(one.facts.fingerprint)
    assert authority.anchors() == added[1:]
    assert len(authority.trusted().anchors) == 2
    with pytest.raises(VaultError) as error:
        authority.remove_anchor(one.facts.sha256)
    assert error.value.kind == "not_found"


def test_what_cannot_be_an_authority(tmp_path: Path) -> None:
    authority, other = opened(tmp_path / "a"), opened(tmp_path / "b", authority_years=1)
    device, secret = other.issue_with_new_key("meter-1")
    key = serialization.load_der_private_key(secret, None)
    pem = key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    later = Clock()
    later.now += 500 * DAY
    for data, words in (
        (b"", "empty"),
        (b"garbage", "neither PEM nor DER"),
        (pem, "PRIVATE KEY"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (device, "CN=meter-1 is not an authority"),
        (authority.certificate, "authority of this unit"),
        (bytes(2_000_000), "too long"),
    ):
        with pytest.raises(VaultError, match=words):
            authority.add_anchors(data)
    with pytest.raises(VaultError, match="expired on"):
        opened(tmp_path / "a", later).add_anchors(other.certificate)
    assert not authority.anchors()
