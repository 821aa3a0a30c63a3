"""Certificates for tests, and a check of them that is enough for tests."""

from __future__ import annotations

import datetime
from functools import cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from appliance.southbound.dtls.trust import ServerKeys, Verdict

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


class Authority:
    """A certificate authority with a key of its own."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._make(name, self.key.public_key(), self.key, name, authority=True)

    def issue(
        self, name: str, *, days: float = 36500, public_key: ec.EllipticCurvePublicKey | None = None
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate and its key; with negative days it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        assert isinstance(issuer, str)
        return self._make(name, public_key or key.public_key(), self.key, issuer, days=days), key

    @staticmethod
    def _make(
        name: str,
        public_key: ec.EllipticCurvePublicKey,
        signer: ec.EllipticCurvePrivateKey,
        issuer: str,
        *,
        days: float = 36500,
        authority: bool = False,
    ) -> x509.Certificate:
        until = NOW + datetime.timedelta(days=days)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=3650))
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )

    def verdict(self, chain: tuple[bytes, ...]) -> Verdict:
        """Whether this authority signed the first certificate, and it has not expired."""
        certificate = x509.load_der_x509_certificate(chain[0])
        name = certificate.subject.rfc4514_string()
        identity = f"x509:{name.removeprefix('CN=')}"
        if certificate.not_valid_after_utc < NOW:
            expired = certificate.not_valid_after_utc.date()
            return Verdict(
                identity, f"The certificate of {name} expired on {expired}; give the device a new one.", 45
            )
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, ValueError):
            return Verdict(
                identity, f"The certificate of {name} is signed by an authority nobody here trusts.", 48
            )
        return Verdict(identity)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@cache
def authority() -> Authority:
    """The one that everybody here trusts."""
    return Authority("Site")


@cache
def server_keys() -> ServerKeys:
    """The server's own, signed by it."""
    certificate, key = authority().issue("gateway.local")
    return ServerKeys(pem(certificate) + pem(authority().certificate), key_pem(key))
