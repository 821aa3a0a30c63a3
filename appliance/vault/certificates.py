"""Whether the certificate chain of a device is believed (RFC 5280 §6, OMA Transport 1.1.1 §5.2.8).

The law of this file: any bytes give a verdict, in bounded time, and every refusal is a sentence that says
what to do. It runs inside a handshake, so it touches memory only.

What is stricter than RFC 5280: chains are short, name constraints and critical extensions that are not
understood are refused, SHA-1 and short keys too. What is more lenient: a device certificate needs neither SAN
nor key usages, because many have none; where they stand, they count. Lists of revoked certificates of other
people's authorities are not fetched: revoke the device here.

Longer than 400 lines, as each thing that can be wrong has its sentence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from appliance.vault.errors import VaultError
from appliance.vault.identities import x509_identity
from appliance.vault.verdict import (
    BAD_CERTIFICATE,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNKNOWN,
    UNKNOWN_CA,
    UNSUPPORTED_CERTIFICATE,
    Verdict,
)

MAX_CHAIN: Final = 6
MAX_CERTIFICATE_BYTES: Final = 16 * 1024
MAX_SIGNATURES: Final = 8
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MAX_NAME_CHARACTERS: Final = 255
_MAX_RSA_EXPONENT: Final = 1 << 33
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CLIENT: Final = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
_UNDERSTOOD: Final = (
    *(ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE),
    *(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.CERTIFICATE_POLICIES),
)


class Facts(NamedTuple):
    """What a certificate says. ``names`` begins with the one that makes the identity; times in epoch seconds;
    ``serial`` and ``sha256`` (of the whole certificate) are lower-case hex.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    serial: str
    not_before: float
    not_after: float
    sha256: str
    spki: bytes

    @property
    def fingerprint(self) -> str:
        """The SHA-256 as browsers and openssl show it."""
        return fingerprint(self.sha256)


class Trusted(NamedTuple):
    """Whom to believe, as of one moment: authorities by their subject (DER), which of them is our own
    (by its public key), and when which serial number of our own was revoked.
    """

    anchors: Mapping[bytes, Sequence[x509.Certificate]]
    own_key: bytes
    revoked: Mapping[int, float]


class _Refused(Exception):
    """A sentence and the alert that goes with it."""

    def __init__(self, sentence: str, alert: int) -> None:
        super().__init__(sentence)
        self.alert = alert


class CertificateCheck:
    """Checks chains. ``pinned`` tells of a SHA-256 (hex) whether that certificate is believed as it is,
    whoever issued it; only its key and its dates count then. ``now`` gives epoch seconds.
    """

    def __init__(
        self,
        trusted: Callable[[], Trusted],
        pinned: Callable[[str], bool],
        now: Callable[[], float],
    ) -> None:
        self._trusted = trusted
        self._pinned = pinned
        self._now = now

    def check(self, chain: tuple[bytes, ...]) -> Verdict:
        """The verdict on a chain in DER, the device's own certificate first; never raises."""
        identity = ""
        issuers: tuple[bytes, ...] = ()
        try:
            leaf, others = _load_chain(chain)
            sha256 = hashlib.sha256(chain[0]).hexdigest()
            if self._pinned(sha256):
                identity = identity_of(leaf, sha256)
                path = [leaf]
                _check_key(leaf)
            else:
                identity = identity_of(leaf)
                trusted = self._trusted()
                path = self._path(leaf, others, trusted)
                if _spki(path[-1]) != trusted.own_key:
                    issuers = tuple(one.public_bytes(Encoding.DER) for one in path[1:])
            _check_dates(path, self._now())
        except _Refused as refused:
            return Verdict(identity, str(refused), refused.alert)
        except Exception as error:  # noqa: BLE001 - bytes of a stranger in a handshake: whatever they make a parser raise
            words = _clean(str(error), 100) or type(error).__name__
            return Verdict(identity, f"The certificate cannot be read: {words}.", BAD_CERTIFICATE)
        return Verdict(identity, issuers=issuers)

    def _path(
        self, leaf: x509.Certificate, others: list[x509.Certificate], trusted: Trusted
    ) -> list[x509.Certificate]:
        """From the leaf to an anchor. Raises _Refused."""
        _check_leaf(leaf)
        path, budget = [leaf], MAX_SIGNATURES
        while True:
            current = path[-1]
            issuer_name = current.issuer.public_bytes()
            anchors = trusted.anchors.get(issuer_name, ())
            between = [one for one in others if one.subject.public_bytes() == issuer_name and one not in path]
            mismatch = False
            for issuer in (*anchors, *between):
                if budget == 0:
                    raise _Refused(f"The chain of {_who(leaf)} is too tangled to follow.", BAD_CERTIFICATE)
                budget -= 1
                if not _signed(current, issuer):
                    mismatch = True
                    continue
                _check_issuer(issuer, len(path) - 1, leaf)
                path.append(issuer)
                break
            else:
                raise _unknown(current, leaf, mismatch)
            if len(path) == 2 and _spki(path[1]) == trusted.own_key and issuer in anchors:
                at = trusted.revoked.get(leaf.serial_number)
                if at is not None:
                    raise _Refused(
                        f"The certificate of {_who(leaf)} was revoked on {_day(at)}; "
                        "give the device a new one.",
                        CERTIFICATE_REVOKED,
                    )
            if issuer in anchors:
                return path
            if len(path) > MAX_CHAIN:
                raise _Refused(
                    f"The chain of {_who(leaf)} is longer than {MAX_CHAIN} certificates.", BAD_CERTIFICATE
                )


def is_issued_by(pem: str, issuers: Iterable[bytes]) -> bool:
    """Whether one of these authorities (DER) has issued a certificate that was taken before."""
    held = x509.load_pem_x509_certificate(pem.encode("ascii"))
    return any(_signed(held, x509.load_der_x509_certificate(one)) for one in issuers)


# What one certificate must be


def _load_chain(chain: tuple[bytes, ...]) -> tuple[x509.Certificate, list[x509.Certificate]]:
    if not chain:
        raise _Refused("The device sent no certificate.", BAD_CERTIFICATE)
    if len(chain) > MAX_CHAIN:
        raise _Refused(
            f"The device sent {len(chain)} certificates; at most {MAX_CHAIN} are taken.", BAD_CERTIFICATE
        )
    if max(map(len, chain)) > MAX_CERTIFICATE_BYTES:
        raise _Refused(
            f"A certificate is longer than {MAX_CERTIFICATE_BYTES} bytes; that is more than is taken.",
            BAD_CERTIFICATE,
        )
    loaded = [x509.load_der_x509_certificate(one) for one in chain]
    return loaded[0], loaded[1:]


def _check_key(certificate: x509.Certificate) -> None:
    """Whether its key is one that is taken. Raises _Refused."""
    problem = key_problem(_public_key(certificate))
    if problem:
        raise _Refused(f"The certificate of {_who(certificate)} has {problem}.", UNSUPPORTED_CERTIFICATE)


def key_problem(key: object) -> str:
    """What is wrong with a public key, "" when it is one that is taken."""
    match key:
        case ec.EllipticCurvePublicKey():
            return "" if key.curve.name in _CURVES else f"a key on the curve {key.curve.name}, not on P-256"
        case rsa.RSAPublicKey():
            if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
                return f"an RSA key of {key.key_size} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are taken"
            large = key.public_numbers().e >= _MAX_RSA_EXPONENT
            return "an RSA key with a huge exponent" if large else ""
        case ed25519.Ed25519PublicKey():
            return ""
        case _:
            return "a key of a kind that is not taken; use P-256"


def _public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except UnsupportedAlgorithm:
        return None


def _check_signature_algorithm(certificate: x509.Certificate) -> None:
    try:
        used = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        name = "an unknown algorithm"
    else:
        if used is None or isinstance(used, _HASHES):
            return
        name = used.name.upper()
    raise _Refused(
        f"The certificate of {_who(certificate)} is signed with {name}; SHA-256 or better is wanted.",
        UNSUPPORTED_CERTIFICATE,
    )


def _check_leaf(leaf: x509.Certificate) -> None:
    _check_key(leaf)
    _check_signature_algorithm(leaf)
    for extension in leaf.extensions:
        value = extension.value
        match value:
            case x509.KeyUsage() if not value.digital_signature:
                raise _Refused(
                    f"The certificate of {_who(leaf)} may not sign a handshake: its key usage "
                    "lacks digitalSignature.",
                    UNSUPPORTED_CERTIFICATE,
                )
            case x509.ExtendedKeyUsage() if not any(usage in _CLIENT for usage in value):
                raise _Refused(
                    f"The certificate of {_who(leaf)} is not made for clients: its extended key usage "
                    "lacks clientAuth.",
                    UNSUPPORTED_CERTIFICATE,
                )
            case _:
                _check_understood(extension, leaf)


def _check_issuer(issuer: x509.Certificate, below: int, leaf: x509.Certificate) -> None:
    """Whether a certificate may issue others, with ``below`` authorities between it and the device's."""
    _check_key(issuer)
    if issuer.issuer != issuer.subject:
        _check_signature_algorithm(issuer)
    is_authority = False
    for extension in issuer.extensions:
        value = extension.value
        match value:
            case x509.BasicConstraints():
                is_authority = value.ca
                if value.path_length is not None and below > value.path_length:
                    raise _Refused(
                        f"The chain of {_who(leaf)} has more authorities in it than {_who(issuer)} allows.",
                        BAD_CERTIFICATE,
                    )
            case x509.KeyUsage() if not value.key_cert_sign:
                is_authority = False
                break
            case x509.ExtendedKeyUsage() if not any(usage in _CLIENT for usage in value):
                raise _Refused(
                    f"{_who(issuer)} may not issue certificates of clients.", UNSUPPORTED_CERTIFICATE
                )
            case x509.NameConstraints():
                raise _Refused(
                    f"{_who(issuer)} has name constraints, which are not understood here; "
                    f"pin the certificate of {_who(leaf)}.",
                    UNSUPPORTED_CERTIFICATE,
                )
            case _:
                _check_understood(extension, issuer)
    if not is_authority:
        raise _Refused(
            f"The certificate of {_who(leaf)} was issued by {_who(issuer)}, which is not an authority.",
            UNKNOWN_CA,
        )


def _check_understood(extension: x509.Extension[x509.ExtensionType], certificate: x509.Certificate) -> None:
    if extension.critical and extension.oid not in _UNDERSTOOD:
        raise _Refused(
            f"The certificate of {_who(certificate)} has a critical extension that is not understood: "
            f"{extension.oid.dotted_string}.",
            UNSUPPORTED_CERTIFICATE,
        )


def _check_dates(path: Iterable[x509.Certificate], now: float) -> None:
    for depth, certificate in enumerate(path):
        not_before = certificate.not_valid_before_utc.timestamp()
        not_after = certificate.not_valid_after_utc.timestamp()
        if now > not_after:
            step = "give the device a new one" if depth == 0 else "its authority must renew it"
            raise _Refused(
                f"The certificate of {_who(certificate)} expired on {_day(not_after)}; {step}.",
                CERTIFICATE_EXPIRED,
            )
        if now < not_before:
            raise _Refused(
                f"The certificate of {_who(certificate)} is not valid before {_day(not_before)}, "
                f"and here it is {_day(now)}; is the clock right?",
                CERTIFICATE_EXPIRED,
            )


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if key_problem(_public_key(issuer)):
        return False  # also keeps the time of a verification bounded
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _unknown(current: x509.Certificate, leaf: x509.Certificate, mismatch: bool) -> _Refused:
    who, issuer = _who(leaf), _clean(current.issuer.rfc4514_string(), 80)
    if mismatch:
        return _Refused(
            f"The certificate of {who} says that {issuer} issued it, "
            "but that authority's key did not sign it.",
            BAD_CERTIFICATE,
        )
    if current.issuer == current.subject:
        if current is leaf:
            return _Refused(
                f"The certificate of {who} is self-signed, and not pinned here; pin it at the device, "
                "or give the device a certificate of this unit.",
                UNKNOWN_CA,
            )
        issuer = _who(current)
    return _Refused(
        f"The certificate of {who} comes from {issuer or 'an authority without a name'}, "
        "which is not trusted here; add that authority, or give the device a certificate of this unit.",
        UNKNOWN_CA,
    )


# Names


def identity_of(certificate: x509.Certificate, otherwise: str = "") -> str:
    """The identity string of whoever holds the certificate's key, ``otherwise`` the name when it has none.

    Raises _Refused when it names nobody.
    """
    names = names_of(certificate) or ((otherwise,) if otherwise else ())
    if not names:
        raise _Refused(
            "The certificate names nobody: it has neither a common name nor a DNS or URI name.",
            CERTIFICATE_UNKNOWN,
        )
    name = names[0]
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise _Refused(
            f"The name in the certificate cannot be used: {_clean(name, 40)!r}.", CERTIFICATE_UNKNOWN
        )
    return x509_identity(name)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The common name, then the DNS and URI names. More than one common name counts as none."""
    names: list[str] = []
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(found) == 1 and isinstance(found[0].value, str):
        names.append(found[0].value)
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(names)
    for other in others:
        if isinstance(other, x509.DNSName | x509.UniformResourceIdentifier) and other.value not in names:
            names.append(other.value)
    return tuple(names)


def read(der: bytes) -> Facts:
    """What a certificate in DER says. Raises VaultError when it is none."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return facts_of(certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise VaultError(f"this is no certificate: {_clean(str(error), 100)}") from error


def facts_of(certificate: x509.Certificate) -> Facts:
    """What a certificate says."""
    return Facts(
        subject=_clean(certificate.subject.rfc4514_string(), 200),
        issuer=_clean(certificate.issuer.rfc4514_string(), 200),
        names=names_of(certificate),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        spki=_spki(certificate),
    )


def load(data: bytes) -> list[x509.Certificate]:
    """The certificates in a file that somebody gave: PEM (one or more) or DER.

    Raises VaultError with a sentence that says what the file is instead.
    """
    if len(data) > 64 * MAX_CERTIFICATE_BYTES:
        raise VaultError("the file is too long to be a certificate")
    text = data.lstrip()
    if not text:
        raise VaultError("the file is empty; a certificate is wanted, as PEM or DER")
    if b"-----BEGIN " in text:
        if b"-----BEGIN CERTIFICATE-----" not in text:
            kind = text.partition(b"-----BEGIN ")[2].partition(b"-----")[0][:40].decode("ascii", "replace")
            secret = ". Private keys do not belong here" if "PRIVATE" in kind else ""
            raise VaultError(f"this is a PEM file of the kind {kind!r}, and a CERTIFICATE is wanted{secret}")
        try:
            return x509.load_pem_x509_certificates(data)
        except ValueError as error:
            raise VaultError("this PEM file is damaged: a certificate in it cannot be read") from error
    try:
        return [x509.load_der_x509_certificate(data)]
    except ValueError as error:
        raise VaultError("this is no certificate, neither PEM nor DER") from error


def fingerprint(sha256: str) -> str:
    """``ab12…`` as ``AB:12:…``."""
    return ":".join(sha256[index : index + 2] for index in range(0, len(sha256), 2)).upper()


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _who(certificate: x509.Certificate) -> str:
    names = names_of(certificate)
    if certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME) and names:
        return f"CN={_clean(names[0], 80)}"
    return _clean(names[0] if names else certificate.subject.rfc4514_string(), 80) or "nobody"


def _clean(text: str, length: int) -> str:
    """A stranger's text for a sentence: short, one line, nothing that steers a terminal."""
    text = text[: length + 1]
    if not text.isprintable():
        text = "".join(one if one.isprintable() else "?" for one in text)
    return text if len(text) <= length else text[:length] + "…"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
