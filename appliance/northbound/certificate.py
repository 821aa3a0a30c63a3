"""The certificate of the appliance: made at first start, renewed before it expires, or the user's own.

It is self-signed, because nobody on a LAN could sign it for us: EC P-256, server authentication only, no
authority over anything else, valid for 820 days (Apple platforms take at most 825). A board without a clock
may make it in what it believes is the past, so it begins at a fixed day before that and is looked at again
with every handshake.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography import x509

log = logging.getLogger(__name__)

LIFETIME: Final = timedelta(days=820)
RENEW_BEFORE: Final = timedelta(days=30)
BACKDATED: Final = timedelta(days=1)
CHECK_EVERY_S: Final = 3600.0
_KEY_USAGES: Final = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Certificate:
    """The TLS side of the listener: a context that is always current.

    ``wall`` gives epoch seconds. Raises OSError or ssl.SSLError for files of the user that cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        wall: Callable[[], float],
        host_names: Iterable[str] = (),
        own: tuple[Path, Path] | None = None,
    ) -> None:
        self._wall = wall
        self._host_names = tuple(host_names)
        self._own = own
        self._files = own or (folder / "certificate.pem", folder / "key.pem")
        self._lock = threading.Lock()
        self._look_at = 0.0
        self._renew_at: float | None = None
        self.fingerprint = ""
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """The context for the next handshake; makes a new certificate when the old one is due."""
        now = self._wall()
        # Also looked at when the clock went back by more than the period.
        if abs(now - self._look_at) < CHECK_EVERY_S:
            return self._context
        with self._lock:
            if abs(now - self._look_at) >= CHECK_EVERY_S:
                self._look_at = now
                if self._renew_at is None or now >= self._renew_at:
                    try:
                        self._context = self._load()
                    except (OSError, ValueError):
                        log.exception("the certificate could not be renewed; the old one stays")
        return self._context

    def _load(self) -> ssl.SSLContext:
        from cryptography import x509  # late: not needed where TLS is off

        certificate_file, key_file = self._files
        now = datetime.fromtimestamp(self._wall(), UTC)
        self._look_at = self._wall()
        found: x509.Certificate | None = None
        if self._own is not None:
            found = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        else:
            if key_file.exists():
                with contextlib.suppress(OSError, ValueError):
                    found = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            if found is None or not _is_current(found, now) or not _fits(certificate_file, key_file):
                found = self._make(now)
            self._renew_at = (found.not_valid_after_utc - RENEW_BEFORE).timestamp()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.load_cert_chain(certificate_file, key_file)
        digest = hashlib.sha256(_der(found)).hexdigest().upper()
        self.fingerprint = ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))
        return context

    def _make(self, now: datetime) -> x509.Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        certificate_file, key_file = self._files
        key = ec.generate_private_key(ec.SECP256R1())
        names, addresses = _names(self._host_names)
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Homard Edge"),
                x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64]),
            ]
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now - BACKDATED + LIFETIME)
        )
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        others = [*(x509.DNSName(name) for name in names), *(x509.IPAddress(one) for one in addresses)]
        # RFC 5280 §4.2.1: an end entity that signs handshakes as a server and nothing else.
        signs = dict.fromkeys(_KEY_USAGES, False) | {"digital_signature": True}
        for extension, critical in (
            (x509.SubjectAlternativeName(others), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.KeyUsage(**signs), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (identifier, False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
        ):
            builder = builder.add_extension(extension, critical)
        found = builder.sign(key, hashes.SHA256())
        key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _replace(
            key_file,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )
        _replace(certificate_file, found.public_bytes(serialization.Encoding.PEM))
        log.info("made a certificate for %s", ", ".join([*names, *(str(one) for one in addresses)]))
        return found


def _is_current(found: x509.Certificate, now: datetime) -> bool:
    return found.not_valid_before_utc <= now < found.not_valid_after_utc - RENEW_BEFORE


def _fits(certificate_file: Path, key_file: Path) -> bool:
    """Whether the two files belong together; a power cut may have come between them."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file, key_file)
    except (OSError, ValueError):
        return False
    return True


def _der(found: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return found.public_bytes(Encoding.DER)


def _names(
    further: Iterable[str],
) -> tuple[list[str], list[ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    """Names and addresses under which the appliance may be called."""
    import psutil  # late: only when a certificate is made

    names = ["localhost"]
    host = socket.gethostname().rstrip(".")
    candidates = [host] if "." in host else [host, f"{host}.local"]
    addresses = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    for interface in psutil.net_if_addrs().values():
        for one in interface:
            with contextlib.suppress(ValueError):
                addresses.add(ipaddress.ip_address(one.address.partition("%")[0]))
    for one in further:
        try:
            addresses.add(ipaddress.ip_address(one))
        except ValueError:
            candidates.append(one)
    for name in candidates:
        if name not in names and name.isascii() and 0 < len(name) <= 253:
            names.append(name)
    # The first one names the certificate in the lists of browsers.
    names.append(names.pop(0))
    return names, sorted(addresses, key=lambda one: (one.version, int(one)))


def _replace(file: Path, content: bytes) -> None:
    """A whole file or none, mode 0600, on the disk when this returns."""
    temporary = file.with_name(f"{file.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        os.fchmod(target.fileno(), 0o600)
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    temporary.rename(file)
