"""Who may open a session: what DTLS asks the vault in the middle of a handshake.

Everything is answered from memory. A yes is an identity string; a no is one sentence for the operator, which
names the next step, and the alert that the device hears. Whether an identity may do what it then asks for is
decided elsewhere: a key for bootstrap opens a session as well as one for the server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from appliance.vault.certificates import is_issued_by
from appliance.vault.errors import VaultError
from appliance.vault.identities import psk_identity, rpk_identity
from appliance.vault.lifecycle import REPLACED
from appliance.vault.model import Credential
from appliance.vault.vault import Vault
from appliance.vault.verdict import (
    ACCESS_DENIED,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNKNOWN,
    UNKNOWN_PSK_IDENTITY,
    Verdict,
)

# The path, the dates and the usages of a chain (DER, the device's own certificate first), and whose it is.
CertificateCheck = Callable[[tuple[bytes, ...]], Verdict]


class Doorkeeper:
    """Answers for one vault. ``wall`` gives seconds since the epoch; no method raises or waits."""

    def __init__(self, vault: Vault, certificate_check: CertificateCheck, wall: Callable[[], float]) -> None:
        self._vault = vault
        self._check = certificate_check
        self._wall = wall

    def psk_key(self, identity: bytes) -> bytes | None:
        """The key of a PSK identity, None when it shall not open a session; `psk` says why."""
        text = psk_identity(identity)
        credential = self._vault.by_identity(text)
        if credential is None or self._refusal(text, credential, UNKNOWN_PSK_IDENTITY).refusal:
            return None
        try:
            return self._vault.psk_key(credential)
        except VaultError:
            return None

    def psk(self, identity: bytes) -> Verdict:
        """Whether a PSK identity may open a session."""
        text = psk_identity(identity)
        credential = self._vault.by_identity(text)
        if credential is None:
            return Verdict(
                text,
                f"No device has the PSK identity {_shown(text)}: correct the identity in the device, or add "
                "the device here with this identity and its key.",
                UNKNOWN_PSK_IDENTITY,
            )
        verdict = self._refusal(text, credential, UNKNOWN_PSK_IDENTITY)
        if verdict.refusal:
            return verdict
        try:
            found = self._vault.psk_key(credential)
        except VaultError as error:
            said = f"The key of {credential.endpoint_name} cannot be used: {error}."
            return Verdict(text, said, ACCESS_DENIED)
        if found is None:
            return Verdict(
                text,
                f"The vault has no key for {_shown(text)}: give {credential.endpoint_name} a new key.",
                ACCESS_DENIED,
            )
        return verdict

    def raw_public_key(self, spki_der: bytes) -> Verdict:
        """Whether a raw public key (RFC 7250) may open a session."""
        text = rpk_identity(spki_der)
        credential = self._vault.by_identity(text)
        if credential is None:
            return Verdict(
                text,
                f"No device has the public key with the SHA-256 {_shown(text)}: add the device with this "
                "public key, or put the key pair made here into the device.",
                CERTIFICATE_UNKNOWN,
            )
        return self._refusal(text, credential, ACCESS_DENIED)

    def certificate(self, chain: tuple[bytes, ...]) -> Verdict:
        """Whether a certificate chain may open a session: believed by the check, and not revoked here."""
        verdict = self._check(chain)
        if verdict.refusal:
            return verdict
        sha256 = hashlib.sha256(chain[0]).hexdigest()
        credential = self._vault.by_certificate(sha256)
        if credential is None:
            # A certificate we have not seen, but of an authority we trust, and perhaps of a name we know.
            known = self._vault.all_by_identity(verdict.identity)
            living = [one for one in known if one.state != "revoked"]
            if living and all("pinned_sha256" in one.public for one in living):
                return Verdict(
                    verdict.identity,
                    f"{known[0].endpoint_name} may use only the one certificate that was given for it, and "
                    "showed another: put that certificate into the device, or give the new one here.",
                    CERTIFICATE_UNKNOWN,
                )
            if living and verdict.issuers and not any(_is_alike(one, verdict.issuers) for one in living):
                return Verdict(
                    verdict.identity,
                    f"{known[0].endpoint_name} showed a certificate of another authority than the one that "
                    "issued its own: each trusted authority may speak for its own devices only. If the "
                    "certificate is genuine, give it to the device here.",
                    CERTIFICATE_UNKNOWN,
                )
            credential = known[0] if known else None
        if credential is None:
            return verdict  # believed, but nobody's yet: the registration is what is refused then
        return self._refusal(credential.identity, credential, CERTIFICATE_REVOKED)

    def oscore(self, identity: str) -> Verdict:
        """Whether the OSCORE context with this identity string may be used (RFC 8613)."""
        credential = self._vault.by_identity(identity)
        if credential is None:
            return Verdict(
                identity,
                f"No device has the OSCORE Sender ID {_shown(identity)}: correct it in the device, or add "
                "the device here with its ids and its Master Secret.",
                ACCESS_DENIED,
            )
        return self._refusal(identity, credential, ACCESS_DENIED)

    def _refusal(self, identity: str, credential: Credential, alert: int) -> Verdict:
        """The verdict of the vault itself on a credential it has."""
        name = credential.endpoint_name
        device = self._vault.device(name)
        what = "certificate" if credential.mode == "x509" else "key"
        if device is None:
            return Verdict(identity, f"The device {name} was removed: add it again.", alert)
        if device.blocked:
            return Verdict(
                identity, f"The device {name} is blocked: reinstate it if it may come back.", ACCESS_DENIED
            )
        if credential.state == "revoked" and credential.reason == REPLACED:
            return Verdict(
                identity,
                f"The {what} {_shown(identity)} of {name} was replaced by a newer one on "
                f"{_day(credential.changed_at)}: put the newer one into the device, or give it another.",
                alert,
            )
        if credential.state == "revoked":
            return Verdict(
                identity,
                f"The {what} {_shown(identity)} of {name} was revoked on {_day(credential.changed_at)}"
                f"{_because(credential)}: give the device a new one.",
                alert,
            )
        if credential.expires_at is not None and credential.expires_at <= self._wall():
            was = "was replaced and opened" if credential.state == "retiring" else "was good"
            return Verdict(
                identity,
                f"The {what} {_shown(identity)} of {name} {was} until {_day(credential.expires_at)}: "
                "give the device a new one.",
                CERTIFICATE_EXPIRED if credential.mode == "x509" else alert,
            )
        return Verdict(identity)


def _is_alike(credential: Credential, issuers: tuple[bytes, ...]) -> bool:
    pem = credential.public.get("certificate_pem")
    return pem is not None and is_issued_by(pem, issuers)


def _shown(identity: str) -> str:
    return identity.partition(":")[2]


def _because(credential: Credential) -> str:
    return f" ({credential.reason})" if credential.reason else ""


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
