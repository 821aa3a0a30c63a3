"""The certificate of the page: issued by the own authority, or the user's own.

Whoever adds that authority to his devices once is never warned again; it is offered for download. The
private key stands sealed in the vault. OpenSSL takes keys from files only, so it gets one that is nowhere
but in memory (memfd_create(2)) and gone at once.

Units of before had a self-signed certificate with its key in clear; it is replaced and removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from appliance.vault.authority import Authority
from appliance.vault.errors import VaultError
from appliance.vault.names import own_names

log = logging.getLogger(__name__)

CHECK_EVERY_S: Final = 3600.0
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MFD_NOEXEC_SEAL: Final = 0x0008  # Linux 6.3; where vm.memfd_noexec=2, it must be asked for


class Certificate:
    """The TLS side of the listener: a context that is always current.

    ``wall`` gives epoch seconds; ``old`` is the folder in which units of before kept certificate and key.
    Raises OSError or ssl.SSLError for files of the user (``own``: certificate, key) that cannot be used,
    VaultError when the authority cannot issue a certificate.
    """

    def __init__(
        self,
        authority: Authority,
        wall: Callable[[], float],
        host_names: Iterable[str] = (),
        own: tuple[Path, Path] | None = None,
        old: Path | None = None,
    ) -> None:
        self._authority = authority
        self._wall = wall
        self._host_names = tuple(host_names)
        self._own = own
        self._lock = threading.Lock()
        self._looked_at = wall()
        self.fingerprint = ""
        if own is not None:
            self._context = self._load_own(*own)
        else:
            self._context = self._issued()
            if old is not None:
                _remove_old(old)

    def context(self) -> ssl.SSLContext:
        """The context for the next handshake; another one when the old certificate is due, or our addresses
        have changed.
        """
        now = self._wall()
        # Also looked at when the clock went back by more than the period.
        if self._own is not None or abs(now - self._looked_at) < CHECK_EVERY_S:
            return self._context
        with self._lock:
            if abs(now - self._looked_at) >= CHECK_EVERY_S:
                self._looked_at = now
                try:
                    self._context = self._issued()
                except (OSError, ValueError, VaultError):
                    log.exception("the certificate could not be looked after; the old one stays")
        return self._context

    def _issued(self) -> ssl.SSLContext:
        """The context of the certificate that the authority gives us now."""
        found = self._authority.server("page", own_names(self._host_names))
        if found.facts.fingerprint == self.fingerprint:
            return self._context
        context = _new_context()
        _load_from_memory(context, found.chain_pem + found.key_pem)
        self.fingerprint = found.facts.fingerprint
        return context

    def _load_own(self, certificate_file: Path, key_file: Path) -> ssl.SSLContext:
        context = _new_context()
        context.load_cert_chain(certificate_file, key_file)
        # The file begins with the unit's own certificate: OpenSSL has just taken it as such.
        pem = certificate_file.read_text("ascii", "replace")
        first = pem[pem.index("-----BEGIN CERTIFICATE-----") :].partition("-----END CERTIFICATE-----")
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1])).hexdigest().upper()
        self.fingerprint = ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))
        return context


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _load_from_memory(context: ssl.SSLContext, pem: bytes) -> None:
    """Chain and key into the context, by a file that has no name and no place on any disk."""
    try:
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    except OSError:  # a kernel that does not know the flag
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")


def _remove_old(folder: Path) -> None:
    """What a unit of before kept, its key in clear."""
    found = False
    for name in ("key.pem", "certificate.pem", "key.pem.tmp", "certificate.pem.tmp"):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
            found = True
    if found:
        log.info("the self-signed certificate of before is replaced by one of the own authority")
        with contextlib.suppress(OSError):
            folder.rmdir()
