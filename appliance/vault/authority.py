"""The own certificate authority: for devices, for the DTLS port, for the page on the LAN (RFC 5280).

Made at first start: an authority of EC P-256 that signs end entities and nothing else, with a name and a key
that no other unit has. Its private key, and those of the two certificates of this unit, stand sealed in
``authority.json``; what it issued and whom else to believe in documents of their own.

A board without a clock may be started in the seventies: no time before this software is taken for true,
and the authority begins at a fixed day. Keys stay when certificates are renewed, because devices hold them.

Longer than 400 lines: the authority, the unit's own certificates, those of devices and the list of revoked
ones are one key and one lock.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.storage.documents import open_documents
from appliance.storage.errors import StorageError
from appliance.vault.anchors import Anchor, Anchors
from appliance.vault.certificates import Facts, Trusted, facts_of, key_problem
from appliance.vault.errors import Taken, VaultError
from appliance.vault.issued import Issued, IssuedCertificates
from appliance.vault.model import Credential
from appliance.vault.names import MAX_COMMON_NAME, checked_request, common_name, device_names, own_names
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings

log = logging.getLogger(__name__)

# No clock that shows less is right: this software did not exist.
EARLIEST: Final = datetime(2026, 1, 1, tzinfo=UTC)
BACKDATED: Final = timedelta(days=1)
PAGE_LIFETIME: Final = timedelta(days=820)  # Apple platforms take at most 825
RENEW_BEFORE: Final = timedelta(days=30)
CRL_LIFETIME: Final = timedelta(days=7)
CRL_KEPT_S: Final = 3600.0
MAX_SERVER_NAMES: Final = 64
_KEY_USAGES: Final = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
# Why a certificate was revoked, as far as its list has a word for it (RFC 5280 §5.3.1).
SUPERSEDED: Final = "superseded"
REMOVED: Final = "removed"
COMPROMISED: Final = "key compromise"
_REASONS: Final = {
    COMPROMISED: x509.ReasonFlags.key_compromise,
    SUPERSEDED: x509.ReasonFlags.superseded,
    REMOVED: x509.ReasonFlags.cessation_of_operation,
}

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class ServerCertificate(NamedTuple):
    """A certificate of this unit with its private key, which its repr does not show."""

    facts: Facts
    certificate: bytes
    chain_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return f"ServerCertificate({self.facts.subject})"


class Authority:
    """The authority of one unit, in ``folder``. Thread-safe; what a handshake asks is answered from memory.

    ``wall`` gives epoch seconds. Several processes may use the same folder: see `refresh`. What writes raises
    VaultError, "unavailable" when the disk refuses.
    """

    def __init__(
        self, folder: Path, key: SealingKey, settings: VaultSettings, wall: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._seal = key
        self._settings = settings
        self._wall = wall
        self._lock = threading.RLock()
        self._servers: dict[str, ServerCertificate] = {}
        self._versions: tuple[object, object] = (None, None)
        self._crl: tuple[Trusted, float, x509.CertificateRevocationList] | None = None

    # Life

    def open(self) -> None:
        """Load the authority, or make it when there is none.

        Raises VaultError, "unavailable" when its key does not open, or for the disk.
        """
        with self._turn():
            self._documents = open_documents(self._folder, "authority")
            self._issued = IssuedCertificates(self._folder)
            self._anchors = Anchors(self._folder, self.now)
            with self._documents.exclusive():
                self._read()
            self._issued.refresh()
            self._trust()

    def refresh(self) -> bool:
        """Read again what another process may have written; whether there was something."""
        with self._turn():
            changed = self._issued.refresh()
            if (self._documents.version, self._anchors.version) != self._versions:
                self._read()
                changed = True
            if changed:
                self._trust()
            return changed

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One thread at a time; what the disk refuses becomes a VaultError ("unavailable")."""
        with self._lock:
            try:
                yield
            except (StorageError, OSError) as error:
                raise VaultError(
                    f"the authority's documents cannot be used: {error}", "unavailable"
                ) from error

    def now(self) -> float:
        """Epoch seconds as far as the clock can be believed."""
        return max(self._wall(), EARLIEST.timestamp())

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)

    def _read(self) -> None:
        rows = self._documents.table("authority").all()
        if rows:
            self._key = self._open_key(rows[0]["key"], "authority")
            self._certificate = x509.load_pem_x509_certificate(rows[0]["certificate_pem"].encode("ascii"))
            self._servers.clear()
        if not rows or self._is_due():
            self._make(renew=bool(rows))

    def _is_due(self) -> bool:
        """Whether the authority is in the last quarter of its life, at most a year before its end."""
        end = self._certificate.not_valid_after_utc
        life = end - self._certificate.not_valid_before_utc
        return self._today() > end - min(life / 4, timedelta(days=365))

    def _make(self, *, renew: bool) -> None:
        end = self._today() + timedelta(days=365 * self._settings.authority_years)
        if renew:
            key, subject = self._key, self._certificate.subject
        else:
            key = ec.generate_private_key(ec.SECP256R1())
            subject = common_name(f"Homard Edge authority {secrets.token_hex(4)}")
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = _builder(subject, subject, key.public_key(), EARLIEST, end)
        for extension, critical in (
            # Path length 0: it signs end entities, and nobody can be an authority below it.
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_key_usage("key_cert_sign", "crl_sign"), True),
            (identifier, False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
        ):
            builder = builder.add_extension(extension, critical)
        self._certificate = builder.sign(key, hashes.SHA256())
        self._key = key
        record = {
            "certificate_pem": self.certificate_pem.decode("ascii"),
            "key": self._seal.seal(_key_pem(key), _where("authority")),
            "made_at": self.now(),
        }
        # One write: between two of them a power cut would leave no authority, and all devices locked out.
        self._documents.table("authority").upsert(record, lambda _: True)
        log.info("%s the own certificate authority", "renewed" if renew else "made")

    def _trust(self) -> None:
        """What a handshake sees is put in place whole, so that it needs no lock."""
        self._versions = self._documents.version, self._anchors.version
        self._facts = facts_of(self._certificate)
        self._believed = self._anchors.all()
        anchors: dict[bytes, list[x509.Certificate]] = {}
        for one in (self._certificate, *(anchor.certificate for anchor in self._believed)):
            anchors.setdefault(one.subject.public_bytes(), []).append(one)
        self._trusted = Trusted(anchors, self._facts.spki, self._issued.revoked())

    # The authority itself

    @property
    def facts(self) -> Facts:
        """What its certificate says."""
        return self._facts

    @property
    def certificate(self) -> bytes:
        """Its certificate in DER."""
        return self._certificate.public_bytes(Encoding.DER)

    @property
    def certificate_pem(self) -> bytes:
        """Its certificate in PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    def trusted(self) -> Trusted:
        """Whom to believe now; costs nothing."""
        return self._trusted

    # Certificates of this unit

    def server_keys(self, further_names: Iterable[str] = ()) -> tuple[bytes, bytes]:
        """Chain and private key (PEM) of the DTLS port, as `server` makes them for the names of this unit."""
        found = self.server("dtls", own_names(further_names))
        return found.chain_pem, found.key_pem

    def server(self, purpose: str, names: Sequence[str]) -> ServerCertificate:
        """The certificate of this unit for "dtls" or "page", good for all ``names``; the first is its CN.

        Made at the first call; made anew, with the same key, when it is near its end, the authority was
        renewed, or a name or IPv4 address is missing. IPv6 addresses change by themselves (RFC 8981), so
        that a new one alone is no reason. A certificate for DTLS keeps the names it had: devices know the
        unit by them. A device that holds this very certificate (usage 1 or 3) must be told the new one.
        """
        with self._turn(), self._documents.exclusive():
            current = self._server(purpose)
            if current is not None and self._is_good(current, names):
                return current
            if current is None:
                key = ec.generate_private_key(ec.SECP256R1())
            else:
                key = _private_key(current.key_pem)
            if current is not None and purpose == "dtls":
                names = [*names, *(name for name in current.facts.names if name not in names)]
            found = self._sign_server(purpose, names[:MAX_SERVER_NAMES], key)
            record = {
                "purpose": purpose,
                "certificate_pem": found.public_bytes(Encoding.PEM).decode("ascii"),
                "key": self._seal.seal(_key_pem(key), _where(purpose)),
            }
            self._documents.table("servers").upsert(record, lambda row: bool(row["purpose"] == purpose))
            self._versions = self._documents.version, self._versions[1]
            log.info("%s the certificate of the unit (%s)", "renewed" if current else "made", purpose)
            made = self._servers[purpose] = self._server_certificate(found, _key_pem(key))
            return made

    def told_to_client(self, usage: int) -> bytes:
        """What stands in a device's security object (0/x/4, DER) for a certificate usage (0/x/15).

        Usage 0 and 2 name the authority, 1 and 3 the very certificate of the server (RFC 6698 §2.1.1, OMA
        Transport 1.1.1 §5.2.8.7). Raises VaultError for any other.
        """
        match usage:
            case 0 | 2:
                return self.certificate
            case 1 | 3:
                with self._turn():
                    # The one the port was opened with: to look for new names is not for here.
                    return (self._server("dtls") or self.server("dtls", own_names())).certificate
            case _:
                raise VaultError(f"certificate usage {usage} does not exist; it is 0 to 3")

    def _server(self, purpose: str) -> ServerCertificate | None:
        rows = [row for row in self._documents.table("servers").all() if row["purpose"] == purpose]
        if not rows:
            return None
        certificate = x509.load_pem_x509_certificate(rows[0]["certificate_pem"].encode("ascii"))
        found = self._servers.get(purpose)
        if found is None or found.certificate != certificate.public_bytes(Encoding.DER):
            key = self._open_key(rows[0]["key"], purpose)
            found = self._servers[purpose] = self._server_certificate(certificate, _key_pem(key))
        return found

    def _server_certificate(self, certificate: x509.Certificate, key_pem: bytes) -> ServerCertificate:
        facts = facts_of(certificate)._replace(names=tuple(_server_names(certificate)))
        chain_pem = certificate.public_bytes(Encoding.PEM) + self.certificate_pem
        return ServerCertificate(facts, certificate.public_bytes(Encoding.DER), chain_pem, key_pem)

    def _is_good(self, found: ServerCertificate, names: Sequence[str]) -> bool:
        return (
            self._is_ours(x509.load_der_x509_certificate(found.certificate))
            and found.facts.not_before <= self.now() < found.facts.not_after - RENEW_BEFORE.total_seconds()
            and all(name in found.facts.names or ":" in name for name in names)
        )

    def _sign_server(
        self, purpose: str, names: Sequence[str], key: ec.EllipticCurvePrivateKey
    ) -> x509.Certificate:
        begin = self._today() - BACKDATED
        end = self._certificate.not_valid_after_utc
        if purpose == "page":
            end = min(end, begin + PAGE_LIFETIME)
        subject = common_name(names[0][:MAX_COMMON_NAME])
        builder = _builder(subject, self._certificate.subject, key.public_key(), begin, end)
        others = x509.SubjectAlternativeName([_server_name(name) for name in names])
        return self._sign(builder, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, others)

    # Certificates of devices

    def issue_with_new_key(self, endpoint_name: str) -> tuple[bytes, bytes]:
        """As `issue_with_new_keys`, for one."""
        return self.issue_with_new_keys([endpoint_name])[0]

    def issue_with_new_keys(self, endpoint_names: Sequence[str]) -> list[tuple[bytes, bytes]]:
        """For each a certificate (DER) and its new private key (DER, PKCS #8), which is kept nowhere here.
        Raises VaultError.
        """
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in endpoint_names]
        wanted = [(name, key.public_key()) for name, key in zip(endpoint_names, keys, strict=True)]
        form = (Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        secrets = [key.private_bytes(*form) for key in keys]
        return list(zip(self.issue_many(wanted), secrets, strict=True))

    def sign(self, endpoint_name: str, request: bytes) -> bytes:
        """The certificate (DER) for a certificate signing request (PKCS #10, PEM or DER).

        Who requests must have the key, and may ask for ``endpoint_name`` only; what else it wishes is not
        taken over. Raises VaultError.
        """
        return self.issue(endpoint_name, checked_request(endpoint_name, request).public_key())

    def issue(self, endpoint_name: str, public_key: object) -> bytes:
        """The certificate (DER) of a device with this public key. Raises VaultError."""
        return self.issue_many([(endpoint_name, public_key)])[0]

    def issue_many(self, wanted: Sequence[tuple[str, object]]) -> list[bytes]:
        """As `issue`, for an endpoint name and a public key each, with few writes. Raises VaultError."""
        with self._turn():
            certificates: list[bytes] = []
            made: dict[str, Issued] = {}
            for endpoint_name, public_key in wanted:
                key, mark = self._checked_key(endpoint_name, public_key, made)
                certificate = self._sign_device(endpoint_name, key)
                end = certificate.not_valid_after_utc.timestamp()
                serial = f"{certificate.serial_number:x}"
                made[mark] = Issued(serial, endpoint_name, mark, self.now(), end)
                certificates.append(certificate.public_bytes(Encoding.DER))
            self._issued.save(list(made.values()))
            return certificates

    def issued(self) -> list[Issued]:
        """All that was issued, the oldest first."""
        with self._turn():
            return list(self._issued)

    def _checked_key(
        self, endpoint_name: str, public_key: object, beside: dict[str, Issued]
    ) -> tuple[PublicKey, str]:
        """The key and its mark, when no other device has it. Raises VaultError."""
        problem = key_problem(public_key)
        if problem:
            raise VaultError(f"the certificate of {endpoint_name} would have {problem}")
        assert isinstance(public_key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey)
        mark = _mark(public_key)
        if mark in beside:
            raise VaultError(
                f"{beside[mark].endpoint_name} and {endpoint_name} have the same key; each needs its own",
                "conflict",
            )
        for known in self._issued.by_key(mark):
            if known.revoked_at is None:
                if known.endpoint_name != endpoint_name and known.not_after > self.now():
                    after = " has a certificate with this very key; each device needs its own key"
                    raise Taken("", known.endpoint_name, after)
            elif known.reason == COMPROMISED:
                raise VaultError(
                    f"a certificate with this key was revoked; {endpoint_name} needs a new key", "conflict"
                )
        return public_key, mark

    def _sign_device(self, endpoint_name: str, key: PublicKey) -> x509.Certificate:
        subject, others = device_names(endpoint_name)
        end = self._today() + timedelta(days=self._settings.certificate_days)
        builder = _builder(
            subject,
            self._certificate.subject,
            key,
            self._today() - BACKDATED,
            min(end, self._certificate.not_valid_after_utc),
        )
        critical = not subject.rdns  # RFC 5280 §4.2.1.6
        return self._sign(builder, key, ExtendedKeyUsageOID.CLIENT_AUTH, others, critical)

    def _sign(
        self,
        builder: x509.CertificateBuilder,
        key: PublicKey,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName,
        names_critical: bool = False,
    ) -> x509.Certificate:
        """An end entity: it signs handshakes, on one side, and nothing else."""
        issuer = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        for extension, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_key_usage("digital_signature"), True),
            (x509.ExtendedKeyUsage([usage]), False),
            (names, names_critical),
            (x509.SubjectKeyIdentifier.from_public_key(key), False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False),
        ):
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())

    # Revocation

    def revoke(self, serials: str | Iterable[str], reason: str = "") -> int:
        """Revoke a certificate, or several, by serial number (hex); how many of them were good before.

        Serial numbers of other people's authorities do not matter here: whoever asks need not know.
        """
        with self._turn():
            asked = (serials,) if isinstance(serials, str) else serials
            found = [one for one in map(self._issued.by_serial, asked) if one is not None]
            now = self.now()
            gone = [one._replace(revoked_at=now, reason=reason) for one in found if one.revoked_at is None]
            # Revoked already, but nobody said why.
            told = [
                one._replace(reason=reason) for one in found if one.revoked_at is not None and not one.reason
            ]
            self._issued.save([*gone, *(told if reason else ())])
            if gone or told:
                self._trust()
            return len(gone)

    def dropped(self, credential: Credential) -> None:
        """The vault lets this credential in no more: if its certificate is ours, it is revoked.

        The vault forgets after a while what it has dropped; the list does not.
        """
        pem = credential.public.get("certificate_pem")
        if pem:
            certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
            one = self._issued.by_serial(f"{certificate.serial_number:x}")
            if one is not None and self._is_ours(certificate):
                self.revoke([one.serial])

    def _is_ours(self, certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            return False
        return True

    def crl(self) -> x509.CertificateRevocationList:
        """The list of revoked certificates (RFC 5280 §5), good for a week."""
        with self._turn():
            now = self._today()
            if self._crl is not None:
                trusted, made_at, known = self._crl
                if trusted is self._trusted and 0 <= now.timestamp() - made_at < CRL_KEPT_S:
                    return known
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = (
                x509.CertificateRevocationListBuilder()
                .issuer_name(self._certificate.subject)
                .last_update(now - timedelta(minutes=5))
                .next_update(now + CRL_LIFETIME)
                # Milliseconds, so that it grows with each list, also over a restart.
                .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), False)
                .add_extension(issuer, False)
            )
            for one in self._issued:
                if one.revoked_at is not None:
                    builder = builder.add_revoked_certificate(_revoked(one, one.revoked_at))
            made = builder.sign(self._key, hashes.SHA256())
            self._crl = self._trusted, now.timestamp(), made
            return made

    def crl_pem(self) -> bytes:
        """The list in PEM."""
        return self.crl().public_bytes(Encoding.PEM)

    def crl_der(self) -> bytes:
        """The list in DER."""
        return self.crl().public_bytes(Encoding.DER)

    # Authorities of other people

    def anchors(self) -> list[Anchor]:
        """Those that are believed besides our own."""
        return list(self._believed)

    def add_anchors(self, data: bytes) -> list[Anchor]:
        """Believe the authorities in a PEM or DER file; all of them or none. Raises VaultError."""
        with self._turn():
            added = self._anchors.add(data, self._facts)
            self._trust()
            return added

    def remove_anchor(self, fingerprint: str) -> Anchor:
        """Believe it no longer; by its SHA-256, with or without colons. Raises VaultError "not_found"."""
        with self._turn():
            removed = self._anchors.remove(fingerprint)
            self._trust()
            return removed

    def _open_key(self, sealed: str, purpose: str) -> ec.EllipticCurvePrivateKey:
        return _private_key(self._seal.open(sealed, _where(purpose)))


def _where(purpose: str) -> str:
    """Where a sealed key stands (`SealingKey`)."""
    return f"authority/{purpose}"


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _key_usage(*granted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**(dict.fromkeys(_KEY_USAGES, False) | dict.fromkeys(granted, True)))


def _server_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _server_names(certificate: x509.Certificate) -> Iterator[str]:
    for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value:
        yield str(name.value)


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _mark(key: PublicKey) -> str:
    """By what two public keys are compared: the beginning of their SHA-256, in hex."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize()[:16].hex()


def _revoked(one: Issued, at: float) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(int(one.serial, 16))
    builder = builder.revocation_date(datetime.fromtimestamp(at, UTC))
    reason = _REASONS.get(one.reason)
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), False)
    return builder.build()
