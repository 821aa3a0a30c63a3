"""Chains of devices: what is believed, what is refused, and in which words. openssl is asked the same."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.vault.authority import Authority
from appliance.vault.certificates import MAX_CHAIN, CertificateCheck, Trusted, facts_of, load, read
from appliance.vault.errors import VaultError
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.verdict import Verdict

NOW = 1_800_000_000.0
TODAY = datetime.fromtimestamp(NOW, UTC)
DAY = timedelta(days=1)
CA = x509.BasicConstraints(ca=True, path_length=None)
OFF = dict.fromkeys(
    (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ),
    False,
)
SIGNS = x509.KeyUsage(**(OFF | {"digital_signature": True}))
SIGNS_CERTIFICATES = x509.KeyUsage(**(OFF | {"key_cert_sign": True}))
AGREES = x509.KeyUsage(**(OFF | {"key_agreement": True}))
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


@dataclass
class Party:
    """Somebody with a key and a certificate."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def party(
    name: str | None,
    issuer: Party | None = None,
    *extensions: x509.ExtensionType,
    begin: datetime = TODAY - DAY,
    end: datetime = TODAY + 365 * DAY,
    key: Any = None,
    signed_by: Any = None,
    algorithm: Any = hashes.SHA256(),  # noqa: B008 - a value without state
    critical: bool = True,
) -> Party:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical)
    signer = signed_by or (key if issuer is None else issuer.key)
    if isinstance(signer, ed25519.Ed25519PrivateKey):
        algorithm = None
    return Party(builder.sign(signer, algorithm), key)


@dataclass
class World:
    """Whom the check believes."""

    anchors: list[Party] = field(default_factory=list)
    pins: set[str] = field(default_factory=set)
    now: float = NOW

    def check(self, *chain: Party | bytes) -> Verdict:
        found: dict[bytes, list[x509.Certificate]] = {}
        for one in self.anchors:
            found.setdefault(one.certificate.subject.public_bytes(), []).append(one.certificate)
        check = CertificateCheck(lambda: Trusted(found, b"", {}), self.pins.__contains__, lambda: self.now)
        return check.check(tuple(one if isinstance(one, bytes) else one.der for one in chain))

    def refused(self, *chain: Party | bytes) -> tuple[str, int]:
        verdict = self.check(*chain)
        assert verdict.refusal.endswith((".", "?")), verdict
        return verdict.refusal, verdict.alert

    def openssl(self, folder: Path, *chain: Party) -> bool:
        for name, parties in (("anchors", self.anchors), ("leaf", chain[:1]), ("others", chain[1:])):
            pems = [one.certificate.public_bytes(Encoding.PEM) for one in parties]
            (folder / f"{name}.pem").write_bytes(b"".join(pems))
        command = ["openssl", "verify", "-attime", str(int(self.now)), "-CAfile", folder / "anchors.pem"]
        if chain[1:]:
            command += ["-untrusted", folder / "others.pem"]
        done = subprocess.run([*command, folder / "leaf.pem"], capture_output=True, timeout=20, check=False)
        return done.returncode == 0


@pytest.fixture
def root() -> Party:
    return party("Root", None, CA, SIGNS_CERTIFICATES)


@pytest.fixture
def world(root: Party) -> World:
    return World([root])


# The own authority


def test_a_certificate_of_the_own_authority_until_it_is_revoked(tmp_path: Path) -> None:
    authority = Authority(tmp_path, SealingKey(bytes(32)), VaultSettings(certificate_days=10), lambda: NOW)
    authority.open()
    other = Authority(tmp_path / "b", SealingKey(bytes(32)), VaultSettings(), lambda: NOW)
    other.open()
    now = [NOW]
    check = CertificateCheck(authority.trusted, lambda _: False, lambda: now[0]).check
    certificate, _ = authority.issue_with_new_key("meter-1")
    assert check((certificate,)) == Verdict("x509:meter-1")
    assert check((certificate, authority.certificate)) == Verdict("x509:meter-1")
    long_name = "urn:dev:ops:32473-" + "x" * 80
    assert check((authority.issue_with_new_key(long_name)[0],)) == Verdict(f"x509:{long_name}")

    foreign, _ = other.issue_with_new_key("meter-1")
    verdict = check((foreign, other.certificate))
    assert verdict.identity == "x509:meter-1" and verdict.alert == 48
    assert f"comes from {other.facts.subject}, which is not trusted here" in verdict.refusal
    authority.add_anchors(other.certificate)
    assert check((foreign,)) == Verdict("x509:meter-1", issuers=(other.certificate,))
    authority.revoke([read(foreign).serial])  # a serial number of somebody else's: no matter
    assert not check((foreign,)).refusal

    server = authority.server("dtls", ["edge.local"])
    assert check((server.certificate,)).alert == 43

    now[0] += 11 * 86400
    assert check((certificate,)) == Verdict(
        "x509:meter-1", "The certificate of CN=meter-1 expired on 2027-01-25; give the device a new one.", 45
    )
    now[0] = NOW - 30 * 86400
    assert check((certificate,)).refusal == (
        "The certificate of CN=meter-1 is not valid before 2027-01-14, and here it is 2026-12-16; "
        "is the clock right?"
    )
    now[0] = NOW
    authority.revoke([read(certificate).serial])
    assert check((certificate,)) == Verdict(
        "x509:meter-1",
        "The certificate of CN=meter-1 was revoked on 2027-01-15; give the device a new one.",
        44,
    )


# Paths (RFC 5280 §6)


def test_chains_that_are_believed(world: World, root: Party, tmp_path: Path) -> None:
    middle = party("Middle", root, CA, SIGNS_CERTIFICATES)
    lower = party("Lower", middle, x509.BasicConstraints(ca=True, path_length=0))
    rsa_root = party("Old root", None, CA, key=rsa.generate_private_key(65537, 2048))
    world.anchors.append(rsa_root)
    leaf = party("d", lower, SIGNS, CLIENT)
    for chain in (
        (party("d", root),),
        (party("d", root, SIGNS), root),
        (party("d", middle, CLIENT), middle),
        (leaf, lower, middle),
        (leaf, middle, lower),  # in the wrong order
        (leaf, lower, middle, root),
        (party("d", rsa_root),),
        (party("d", root, key=ed25519.Ed25519PrivateKey.generate()),),
        (party("d", root, key=ec.generate_private_key(ec.SECP384R1()), algorithm=hashes.SHA384()),),
        (party(None, root, x509.SubjectAlternativeName([x509.DNSName("d")])),),
        (party(None, root, x509.SubjectAlternativeName([x509.RFC822Name("a@b"), x509.DNSName("d")])),),
    ):
        assert world.check(*chain)[:2] == ("x509:d", "")
        assert world.openssl(tmp_path, *chain)


def test_an_authority_between_may_be_trusted_alone(root: Party) -> None:
    middle = party("Middle", root, CA)
    believed = World([middle]).check(party("d", middle), middle, root)
    assert believed == Verdict("x509:d", issuers=(middle.der,)), "as far as it was followed"


def test_two_authorities_of_one_name(world: World) -> None:
    same = party("Root", None, CA)
    world.anchors.append(same)
    assert not world.check(party("d", same)).refusal
    assert not world.check(party("d", world.anchors[0])).refusal


def test_chains_that_are_refused(world: World, root: Party, tmp_path: Path) -> None:
    stranger = party("Stranger", None, CA)
    pretender = party("Root", None, CA)
    middle = party("Middle", root, CA)
    narrow = party("Narrow", root, x509.BasicConstraints(ca=True, path_length=0))
    below = party("Below", narrow, CA)
    device = party("Device", root, x509.BasicConstraints(ca=False, path_length=None))
    plain = party("Plain", root)
    reader = party("Reader", root, CA, SIGNS)
    old = party("Old", root, CA, end=TODAY - timedelta(hours=1))
    servers = party("Servers", root, CA, SERVER)
    for chain, words, alert in (
        ((party("d"),), "is self-signed, and not pinned here", 48),
        ((party("d", stranger),), "comes from CN=Stranger, which is not trusted here", 48),
        ((party("d", stranger), stranger), "comes from CN=Stranger, which is not trusted here", 48),
        ((party("d", pretender),), "says that CN=Root issued it, but that authority's key did not", 42),
        ((party("d", middle),), "comes from CN=Middle, which is not trusted here", 48),
        ((party("d", below), below, narrow), "more authorities in it than CN=Narrow allows", 42),
        ((party("d", device), device), "issued by CN=Device, which is not an authority", 48),
        ((party("d", plain), plain), "issued by CN=Plain, which is not an authority", 48),
        ((party("d", reader), reader), "issued by CN=Reader, which is not an authority", 48),
        ((party("d", old), old), "CN=Old expired on 2027-01-15; its authority must renew it", 45),
        ((party("d", servers), servers), "CN=Servers may not issue certificates of clients", 43),
        ((party("d", root, AGREES),), "lacks digitalSignature", 43),
        ((party("d", root, SERVER),), "lacks clientAuth", 43),
        ((party("d", root, end=TODAY - DAY / 2),), "CN=d expired on 2027-01-14; give the device a new", 45),
        ((party("d", root, begin=TODAY + DAY),), "is the clock right?", 45),
    ):
        said, number = world.refused(*chain)
        assert words in said and number == alert, (said, number)
        assert world.check(*chain).identity == "x509:d"
        if "lacks" not in words and "clients" not in words:
            assert not world.openssl(tmp_path, *chain), words


def test_keys_and_algorithms_that_are_too_weak(world: World, root: Party) -> None:
    short = party("Short", root, CA, key=rsa.generate_private_key(65537, 1024))
    for chain, words in (
        ((party("d", root, key=rsa.generate_private_key(65537, 1024)),), "RSA key of 1024 bits"),
        ((party("d", root, key=ec.generate_private_key(ec.SECP224R1())),), "secp224r1"),
        ((party("d", root, algorithm=hashes.SHA224()),), "signed with SHA224"),
    ):
        said, alert = world.refused(*chain)
        assert words in said and alert == 43
    assert world.refused(party("d", short), short)[1] in (42, 43)


def test_extensions_that_are_not_understood(world: World, root: Party) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"), b"\x05\x00")
    said, alert = world.refused(party("d", root, unknown))
    assert "critical extension that is not understood: 1.3.6.1.4.1.32473.1" in said and alert == 43
    assert not world.check(party("d", root, unknown, critical=False)).refusal
    within = x509.NameConstraints([x509.DNSName("example")], None)
    middle = party("Middle", root, CA, within)
    assert "name constraints" in world.refused(party("d", middle), middle)[0]


def test_loops_and_lengths_end(world: World, root: Party) -> None:
    one = party("A", None, CA)
    other = party("B", one, CA)
    again = party("A", other, CA, key=one.key)
    assert world.refused(party("d", other), other, again)[1] == 48
    chain = [root]
    for number in range(MAX_CHAIN + 1):
        chain.append(party(f"M{number}", chain[-1], CA))
    leaf = party("d", chain[-1])
    assert "at most" in world.refused(leaf, *reversed(chain[1:]))[0]
    # Many of one name, none of which signed: the budget of signatures ends it.
    world.anchors.extend(party("Root", None, CA) for _ in range(20))
    world.anchors.append(world.anchors.pop(0))
    assert "too tangled" in world.refused(party("d", root))[0]


# Pinned certificates


def test_a_pinned_certificate_needs_no_authority_but_its_dates_count(world: World) -> None:
    for alone in (party("thing"), party(None), party("thing", None, CA)):
        sha256 = facts_of(alone.certificate).sha256
        assert world.refused(alone)[1] in (46, 48)
        world.pins.add(sha256)
        assert world.check(alone) == Verdict(
            "x509:thing" if alone.certificate.subject.rdns else f"x509:{sha256}"
        )
    old = party("thing", end=TODAY - DAY / 2)
    world.pins.add(facts_of(old.certificate).sha256)
    assert world.refused(old)[1] == 45


# Names


@pytest.mark.parametrize(
    ("name", "extensions"),
    [
        (None, ()),
        ("a\nb", ()),
        ("a\x00b", ()),
        (None, (x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:" + "x" * 300)]),)),
    ],
)
def test_names_that_are_none(
    world: World, root: Party, name: str | None, extensions: tuple[Any, ...]
) -> None:
    said, alert = world.refused(party(name, root, *extensions))
    assert alert == 46
    assert said.isprintable() and len(said) < 200


def test_two_common_names_are_none(world: World, root: Party) -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in ("a", "b")]))
        .issuer_name(root.certificate.subject)
        .public_key(root.key.public_key())
        .serial_number(7)
        .not_valid_before(TODAY - DAY)
        .not_valid_after(TODAY + DAY)
    )
    both = builder.sign(root.key, hashes.SHA256()).public_bytes(Encoding.DER)
    assert world.refused(both)[1] == 46


# Any bytes give a verdict


def test_no_bytes_raise(world: World, root: Party) -> None:
    assert world.check().alert == 42
    for junk in (b"", b"\x30", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", bytes(100), bytes(17 * 1024)):
        said, alert = world.refused(junk)
        assert alert == 42 and len(said) < 250
    middle = party("Middle", root, CA, SIGNS_CERTIFICATES)
    san = x509.SubjectAlternativeName([x509.DNSName("d"), x509.UniformResourceIdentifier("urn:d")])
    whole = [party("d", middle, SIGNS, CLIENT, san).der, middle.der]
    assert not world.check(*whole).refusal
    chance = random.Random(4)
    for _ in range(1500):
        chain = [bytearray(one) for one in whole]
        for _ in range(chance.choice((1, 1, 1, 2, 8))):
            one = chance.choice(chain)
            place = chance.randrange(len(one))
            match chance.randrange(3):
                case 0:
                    one[place] = chance.randrange(256)
                case 1:
                    del one[place : place + chance.randrange(1, 9)]
                case _:
                    one[place:place] = chance.randbytes(chance.randrange(1, 9))
        changed = [bytes(one) for one in chain]
        verdict = world.check(*changed)
        # A signature covers everything but its own encoding: what was changed is not believed.
        assert verdict.refusal or [one[:-80] for one in changed] == [one[:-80] for one in whole], verdict
        assert verdict.refusal.isprintable()


# Files that somebody gives


def test_what_a_certificate_says(root: Party) -> None:
    leaf = party("d", root, x509.SubjectAlternativeName([x509.DNSName("d"), x509.DNSName("e")]))
    facts = read(leaf.der)
    assert (facts.subject, facts.issuer, facts.names) == ("CN=d", "CN=Root", ("d", "e"))
    assert int(facts.serial, 16) == leaf.certificate.serial_number
    assert facts.not_after == (TODAY + 365 * DAY).timestamp()
    assert facts.fingerprint.replace(":", "").lower() == facts.sha256
    with pytest.raises(VaultError):
        read(b"junk")
    pem = leaf.certificate.public_bytes(Encoding.PEM)
    assert load(pem + pem) == [leaf.certificate] * 2 and load(leaf.der) == [leaf.certificate]
