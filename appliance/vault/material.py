"""Key material: what is given is checked, what is not given is made.

One law: a key belongs to one purpose of one device. So every piece of material has a mark, by which the
vault sees that the same key came before, without keeping a digest that could be guessed at.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from appliance.vault.errors import VaultError
from appliance.vault.identities import (
    oscore_identity,
    psk_identity,
    rpk_identity,
    x509_identity,
)
from appliance.vault.model import MODES, PURPOSES, NewCredential

PSK_KEY_BYTES: Final = 16  # what is made
MIN_PSK_KEY_BYTES: Final = 16  # RFC 7925 §4: security of 112 bits and more
MAX_PSK_KEY_BYTES: Final = 64
MAX_PSK_IDENTITY_BYTES: Final = 128  # RFC 7925 §4.2
MAX_OSCORE_ID_BYTES: Final = 7  # RFC 8613 §3.3: nonce of 13 bytes less 6
MAX_CERTIFICATE_BYTES: Final = 8192
OSCORE_AEADS: Final = frozenset({1, 2, 3, 10, 11, 24, 30, 31})  # COSE: AES-GCM, AES-CCM-16, ChaCha20
OSCORE_HKDFS: Final = frozenset({-10, -11, 5, 7})  # COSE: HKDF with SHA-256 or SHA-512, or its HMAC

Taken = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Material:
    """A credential's identity, its public facts, its secrets, and ``mark``: kind and content of its key."""

    identity: str
    public: Mapping[str, Any]
    secrets: Mapping[str, bytes] = field(repr=False)
    mark: tuple[str, bytes] = field(repr=False)
    expires_at: float | None


def prepare(
    new: NewCredential, endpoint_name: str, taken: Taken, had: Collection[str], now: float
) -> Material:
    """Check what was given, make what was not. Raises VaultError("invalid") with a sentence.

    ``taken`` says whether an identity string is given to a credential already, ``had`` are the device's own.
    """
    if new.purpose not in PURPOSES:
        raise VaultError(f"a credential is for {' or '.join(PURPOSES)}, not for {new.purpose!r}")
    if new.mode not in MODES:
        raise VaultError(f"the security mode is one of {', '.join(MODES)}, not {new.mode!r}")
    if new.expires_at is not None and not now < new.expires_at:
        raise VaultError("the credential would be expired already: give a later date")
    made = _BY_MODE[new.mode](new, endpoint_name, taken, had, now)
    ends = [at for at in (new.expires_at, made.expires_at) if at is not None]
    return Material(made.identity, made.public, made.secrets, made.mark, min(ends, default=None))


# Pre-shared keys


def _psk(new: NewCredential, endpoint_name: str, taken: Taken, had: Collection[str], now: float) -> Material:
    identity = new.psk_identity
    if identity is None:
        identity = _free_psk_identity(new.purpose, endpoint_name, taken, had)
    if not 1 <= len(identity) <= MAX_PSK_IDENTITY_BYTES:
        raise VaultError(f"a PSK identity has 1 to {MAX_PSK_IDENTITY_BYTES} bytes, not {len(identity)}")
    key = os.urandom(PSK_KEY_BYTES) if new.psk_key is None else new.psk_key
    if not MIN_PSK_KEY_BYTES <= len(key) <= MAX_PSK_KEY_BYTES:
        raise VaultError(f"a PSK key has {MIN_PSK_KEY_BYTES} to {MAX_PSK_KEY_BYTES} bytes, not {len(key)}")
    if len(set(key)) == 1:
        raise VaultError("a PSK key of one byte repeated is no secret: leave it out, and one is made")
    return Material(
        psk_identity(identity), {"identity_hex": identity.hex()}, {"psk_key": key}, ("psk", key), None
    )


def _free_psk_identity(purpose: str, endpoint_name: str, taken: Taken, had: Collection[str]) -> bytes:
    """The endpoint name, with "bs:" before it for bootstrap, and a number behind it when that is taken.

    The number goes up from key to key: an old name never stands for a new key.
    """
    base = (endpoint_name if purpose == "server" else f"bs:{endpoint_name}").encode("utf-8")
    if len(base) > MAX_PSK_IDENTITY_BYTES - 8:  # room for the number
        digest = hashlib.sha256(base).hexdigest()[:32]
        base = (f"ep-{digest}" if purpose == "server" else f"bs:ep-{digest}").encode("ascii")
    number = 0
    for one in had:
        if one == psk_identity(base):
            number = max(number, 1)
        elif one.startswith(psk_identity(base) + "-") and (last := one.rpartition("-")[2]).isdecimal():
            number = max(number, int(last))
    while True:
        number += 1
        found = base if number == 1 else base + b"-%d" % number
        if not taken(psk_identity(found)):
            return found


# Raw public keys (RFC 7250)


def _rpk(new: NewCredential, endpoint_name: str, taken: Taken, had: Collection[str], now: float) -> Material:
    secrets: dict[str, bytes] = {}
    if new.private_key is not None or new.spki is None:
        given = new.private_key
        private = ec.generate_private_key(ec.SECP256R1()) if given is None else _private_key(given)
        secrets["private_key"] = _private_der(private)
        spki = _spki(private.public_key())
        if new.spki is not None and _public_key(new.spki) != spki:
            raise VaultError("the private key and the public key do not belong together")
    else:
        spki = _public_key(new.spki)
    return Material(rpk_identity(spki), {"spki_hex": spki.hex()}, secrets, ("spki", spki), None)


def _public_key(der: bytes) -> bytes:
    try:
        key = load_der_public_key(der)
    except ValueError as error:
        raise VaultError("the public key is no SubjectPublicKeyInfo in DER (RFC 7250)") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise VaultError("the public key is not on the curve P-256 (secp256r1), which LwM2M asks for")
    return _spki(key)


def _private_key(content: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        load = load_pem_private_key if content.lstrip().startswith(b"-----") else load_der_private_key
        key = load(content, None)
    except (ValueError, TypeError) as error:
        raise VaultError("the private key is neither PEM nor DER, or it has a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise VaultError("the private key is not on the curve P-256 (secp256r1), which LwM2M asks for")
    return key


def _private_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# Certificates


def _x509(new: NewCredential, endpoint_name: str, taken: Taken, had: Collection[str], now: float) -> Material:
    if new.certificate is None:
        if new.pinned_sha256 is None:
            raise VaultError("an X.509 credential needs a certificate, or the SHA-256 of one")
        if new.private_key is not None:
            raise VaultError("a private key without its certificate cannot be kept")
        pinned = new.pinned_sha256.replace(":", "").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", pinned):
            raise VaultError("the SHA-256 of a certificate has 64 hexadecimal digits")
        return Material(
            x509_identity(endpoint_name), {"pinned_sha256": pinned}, {}, ("pin", bytes.fromhex(pinned)), None
        )
    certificate = _certificate(new.certificate)
    names = certificate_names(certificate)
    if not names:
        raise VaultError("the certificate has neither a common name nor a subject alternative name")
    if any(not name.isprintable() or len(name.encode()) > 255 for name in names):
        raise VaultError("the certificate has a name that cannot be printed, or one longer than 255 bytes")
    not_after = certificate.not_valid_after_utc.timestamp()
    if not_after <= now:
        raise VaultError(f"the certificate expired on {_day(not_after)}: give a newer one")
    der = certificate.public_bytes(Encoding.DER)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    secrets: dict[str, bytes] = {}
    if new.private_key is not None:
        private = _private_key(new.private_key)
        if _spki(private.public_key()) != spki:
            raise VaultError("the private key does not belong to the certificate")
        secrets["private_key"] = _private_der(private)
    public = {
        "certificate_pem": certificate.public_bytes(Encoding.PEM).decode("ascii"),
        "serial": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before_utc.timestamp(),
        "not_after": not_after,
        "names": names,
        "sha256": hashlib.sha256(der).hexdigest(),
    }
    return Material(x509_identity(names[0]), public, secrets, ("spki", spki), not_after)


def _certificate(content: bytes) -> x509.Certificate:
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise VaultError(f"the certificate has more than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        if content.lstrip().startswith(b"-----"):
            return x509.load_pem_x509_certificate(content)
        return x509.load_der_x509_certificate(content)
    except ValueError as error:
        raise VaultError("the certificate is neither PEM nor DER") from error


def certificate_names(certificate: x509.Certificate) -> list[str]:
    """The subject's common name, then the DNS names and URIs of its SAN; the first is its identity."""
    names = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return names
    except ValueError as error:
        raise VaultError("the certificate's extensions cannot be read") from error
    others = (
        *extension.value.get_values_for_type(x509.DNSName),
        *extension.value.get_values_for_type(x509.UniformResourceIdentifier),
    )
    return list(dict.fromkeys((*names, *others)))


# OSCORE (RFC 8613)


def _oscore(
    new: NewCredential, endpoint_name: str, taken: Taken, had: Collection[str], now: float
) -> Material:
    for name, given in (("Sender ID", new.sender_id), ("Recipient ID", new.recipient_id)):
        if given is not None and len(given) > MAX_OSCORE_ID_BYTES:
            raise VaultError(f"an OSCORE {name} has at most {MAX_OSCORE_ID_BYTES} bytes, not {len(given)}")
    if new.id_context is not None and not 1 <= len(new.id_context) <= 16:
        raise VaultError("an OSCORE ID Context has 1 to 16 bytes")
    secret = os.urandom(16) if new.master_secret is None else new.master_secret
    if not 16 <= len(secret) <= 64:
        raise VaultError(f"an OSCORE Master Secret has 16 to 64 bytes, not {len(secret)}")
    if len(set(secret)) == 1:
        raise VaultError("an OSCORE Master Secret of one byte repeated is no secret: leave it out")
    salt = new.master_salt
    if salt is None:
        salt = os.urandom(8) if new.master_secret is None else b""
    if len(salt) > 64:
        raise VaultError(f"an OSCORE Master Salt has at most 64 bytes, not {len(salt)}")
    aead = 10 if new.aead is None else new.aead
    hkdf = -10 if new.hkdf is None else new.hkdf
    if aead not in OSCORE_AEADS:
        raise VaultError(f"{aead} is no AEAD algorithm that OSCORE uses; 10 is AES-CCM-16-64-128")
    if hkdf not in OSCORE_HKDFS:
        raise VaultError(f"{hkdf} is no key derivation that OSCORE uses; -10 is HKDF with SHA-256")
    sender = new.sender_id
    while sender is None or (new.sender_id is None and taken(oscore_identity(sender, new.id_context))):
        sender = os.urandom(4)
    recipient = new.recipient_id
    while recipient is None or (new.recipient_id is None and recipient == sender):
        recipient = os.urandom(3)
    if sender == recipient:
        raise VaultError("the OSCORE Sender ID and Recipient ID must differ (RFC 8613 §3.3)")
    public = {
        "sender_id": sender.hex(),
        "recipient_id": recipient.hex(),
        "id_context": None if new.id_context is None else new.id_context.hex(),
        "aead": aead,
        "hkdf": hkdf,
    }
    secrets = {"master_secret": secret, **({"master_salt": salt} if salt else {})}
    return Material(oscore_identity(sender, new.id_context), public, secrets, ("oscore", secret), None)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


_BY_MODE: Final[Mapping[str, Callable[[NewCredential, str, Taken, Collection[str], float], Material]]] = {
    "psk": _psk,
    "rpk": _rpk,
    "x509": _x509,
    "oscore": _oscore,
}
