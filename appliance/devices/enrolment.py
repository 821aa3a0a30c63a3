"""Certificates that devices fetch themselves (EST, RFC 9148).

The law of this file: a device gets a certificate for its own endpoint name only, whatever it asks for, and
keeps the credential it came with until it was seen with the new one. Signing and writing wait for the disk,
so they are done in a thread; each request is answered exactly once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.southbound.est import PKIX_CERT, AuthorityCertificates, Enrol, EstOperation
from appliance.southbound.server import Reply, Source
from appliance.vault.authority import SUPERSEDED, Authority
from appliance.vault.errors import VaultError
from appliance.vault.identities import identity_mode
from appliance.vault.names import checked_request
from appliance.vault.vault import Credential, NewCredential, Vault

log = logging.getLogger(__name__)

BY: Final = "the device, by EST"
# What one device may ask for: each certificate is written to the disk.
MAX_PER_PERIOD: Final = 6
PERIOD_S: Final = 3600.0
MAX_WAITING: Final = 32
# Certificates made and not used yet; the older ones go.
MAX_STAGED: Final = 2


class Enrolment:
    """Answers what devices ask of the authority; called in the event loop.

    ``owner`` tells the endpoint name that a source has proved to be, None for nobody. What waits for the disk
    runs in ``executor``. ``monotonic`` gives seconds.
    """

    def __init__(
        self,
        authority: Authority,
        vault: Vault,
        owner: Callable[[Source], str | None],
        executor: Executor,
        monotonic: Callable[[], float],
    ) -> None:
        self._authority = authority
        self._vault = vault
        self._owner = owner
        self._executor = executor
        self._monotonic = monotonic
        self._under_way: set[str] = set()
        self._asked: dict[str, deque[float]] = {}

    def enrol(self, operation: EstOperation, source: Source, reply: Reply) -> None:
        """One operation of EST; the answer may come later."""
        endpoint_name = self._owner(source)
        if endpoint_name is None:
            reply.forbidden("no device has this key")
            return
        match operation:
            case AuthorityCertificates(content_format=content_format):
                reply.content(content_format, _encoded(self._authority.certificate, content_format))
            case Enrol(renews=True) if identity_mode(source.identity or "") != "x509":
                reply.bad_request("sren renews a certificate, and you came without one: use sen")
            case Enrol(request=request, content_format=content_format):
                if endpoint_name in self._under_way or len(self._under_way) >= MAX_WAITING:
                    reply.unavailable("a request is under way")
                elif not self._may_ask(endpoint_name):
                    reply.unavailable(f"more than {MAX_PER_PERIOD} certificates in an hour; wait")
                else:
                    self._under_way.add(endpoint_name)
                    asyncio.get_running_loop().run_in_executor(
                        self._executor, self._issue, endpoint_name, request, source
                    ).add_done_callback(partial(self._issued, endpoint_name, content_format, reply))

    def _may_ask(self, endpoint_name: str) -> bool:
        now = self._monotonic()
        times = self._asked.setdefault(endpoint_name, deque())
        while times and now - times[0] >= PERIOD_S:
            times.popleft()
        if len(times) >= MAX_PER_PERIOD:
            return False
        times.append(now)
        for name in [name for name, of in self._asked.items() if now - of[-1] >= PERIOD_S]:
            del self._asked[name]
        return True

    def _issued(
        self, endpoint_name: str, content_format: int, reply: Reply, done: asyncio.Future[bytes]
    ) -> None:
        self._under_way.discard(endpoint_name)
        error = None if done.cancelled() else done.exception()
        if isinstance(error, VaultError) and error.kind != "unavailable":
            log.info("%s gets no certificate: %s", endpoint_name, error)
            (reply.bad_request if error.kind == "invalid" else reply.forbidden)(str(error))
        elif error is not None or done.cancelled():
            log.error("%s gets no certificate: %s", endpoint_name, error or "shutting down")
            reply.unavailable("not now; try again later")
        else:
            log.info("%s has a new certificate", endpoint_name)
            reply.changed_to(content_format, _encoded(done.result(), content_format))

    # In the thread

    def _issue(self, endpoint_name: str, request: bytes, source: Source) -> bytes:
        """The certificate (DER) for a request. Raises VaultError."""
        key = checked_request(endpoint_name, request).public_key()
        staged = self._staged(endpoint_name)
        for _, certificate in staged:
            if certificate.public_key() == key:
                return certificate.public_bytes(Encoding.DER)  # the answer of before was lost
        found = self._authority.issue(endpoint_name, key)
        try:
            for credential, certificate in staged[: max(0, len(staged) - MAX_STAGED + 1)]:
                self._vault.revoke(endpoint_name, BY, "a newer certificate was fetched", credential.id)
                self._authority.revoke([f"{certificate.serial_number:x}"], SUPERSEDED)
            new = NewCredential("server", "x509", certificate=found)
            made = self._vault.add_credential(endpoint_name, new, BY, staged=True).made[0]
            if self._owner(source) != endpoint_name:
                # Revoked since it asked. What is revoked from now on takes the new one along.
                self._vault.revoke(endpoint_name, BY, "asked for with a key that was revoked", made.id)
                raise VaultError("this key does not open any more", "conflict")
        except VaultError:
            serial = x509.load_der_x509_certificate(found).serial_number
            self._authority.revoke([f"{serial:x}"], SUPERSEDED)  # nobody has it
            raise
        return found

    def _staged(self, endpoint_name: str) -> list[tuple[Credential, x509.Certificate]]:
        """Certificates that were made for the device and not used yet, the oldest first."""
        device = self._vault.device(endpoint_name)
        if device is None:
            raise VaultError("this device was removed", "not_found")
        return [
            (one, x509.load_pem_x509_certificate(one.public["certificate_pem"].encode("ascii")))
            for one in device.credentials
            if one.mode == "x509"
            and one.purpose == "server"
            and one.state == "staged"
            and "certificate_pem" in one.public
        ]


def _encoded(certificate: bytes, content_format: int) -> bytes:
    """A certificate (DER) alone, or as PKCS #7 certs-only (RFC 7030 §4.1.3, §4.2.3)."""
    if content_format == PKIX_CERT:
        return certificate
    # Here, as it brings the whole of email along, which few units ever need.
    from cryptography.hazmat.primitives.serialization import pkcs7

    return pkcs7.serialize_certificates([x509.load_der_x509_certificate(certificate)], Encoding.DER)
