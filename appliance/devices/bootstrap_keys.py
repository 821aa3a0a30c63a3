"""Plans and keys of devices, from the vault: what a bootstrap writes, and what is made for it.

A fresh key is one that nobody has used. A staged one that the device never used is taken again, so that a
device that tries ten times does not leave ten keys; and whoever staged one by hand delivers it this way. But
not once a bootstrap key was revoked or replaced: whoever had that may have been given the staged one with it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.devices.bootstrap import AnyEntry, KeysUnavailable
from appliance.lwm2m.bootstrap import MODES, Keys, Mode, OscoreKeys
from appliance.lwm2m.bootstrap_plan import ServerEntry
from appliance.vault.errors import VaultError
from appliance.vault.model import Credential, Device, NewCredential
from appliance.vault.vault import Vault

_BY = "bootstrap"
_TRIES_S = 3600.0
_USUAL_CERTIFICATE_USAGE = 3  # RFC 6698: this very certificate; what a client does that was told nothing


class Unit(Protocol):
    """What the gateway itself shows to devices, and the certificates that it makes."""

    def now(self) -> float:
        """Seconds since 1970."""

    def server_keys(self) -> tuple[bytes, bytes]:
        """Chain and private key, PEM."""

    def told_to_client(self, usage: int) -> bytes:
        """What a device is to compare by this certificate usage, DER. Raises VaultError."""

    def issue_with_new_key(self, endpoint_name: str) -> tuple[bytes, bytes]:
        """A certificate and its private key, both DER. Raises VaultError."""


class VaultKeyring:
    """`Keyring` over the vault."""

    def __init__(self, vault: Vault, unit: Unit) -> None:
        self._vault = vault
        self._unit = unit
        self._certificates: dict[str, str] = {}  # the id of the last fresh one for this gateway, by device

    def plan_of(self, endpoint_name: str) -> str | None:
        """The id of its plan, None for the default one."""
        device = self._vault.device(endpoint_name)
        return None if device is None else device.plan

    def decided(self, endpoint_name: str) -> Hashable:
        """Its plan, its keys but for those that bootstraps make, and the wish to bootstrap again."""
        device = self._vault.device(endpoint_name)
        if device is None:
            return None
        keys = tuple(
            one.id
            for one in device.credentials
            if one.purpose == "bootstrap" or one.state in ("active", "retiring")
        )
        return device.plan, device.nosec, device.rebootstrap_asked, keys

    def mode(self, endpoint_name: str, entry: AnyEntry) -> Mode:
        """What the plan says; "auto" is the kind of key the device has for servers, else for bootstrap."""
        if entry.security != "auto":
            return _mode(entry.security)
        device = self._vault.device(endpoint_name)
        if device is None:
            return "nosec"
        purposes = ("server", "bootstrap") if isinstance(entry, ServerEntry) else ("bootstrap", "server")
        for purpose in purposes:
            known = device.credential(purpose)
            if known is not None:
                return _mode(known.mode)
        return "nosec"

    def keys(self, endpoint_name: str, entry: AnyEntry, mode: Mode, own: bool) -> Keys:
        """What opens the account. Raises KeysUnavailable."""
        if mode == "nosec":
            return Keys("nosec")
        purpose = "server" if isinstance(entry, ServerEntry) else "bootstrap"
        fresh = isinstance(entry, ServerEntry) and entry.key == "fresh"
        try:
            if mode == "est":
                return Keys("est", server_public=self._certificate_of(entry, own))
            credential = self._fresh(endpoint_name, mode) if fresh else None
            if credential is not None and own and mode == "x509":
                self._certificates[endpoint_name] = credential.id
            credential = credential or self._current(endpoint_name, purpose, mode)
            return self._opened(credential, entry, own)
        except VaultError as error:
            raise KeysUnavailable(f"There is no key for {endpoint_name}: {error}.") from error

    def bootstrapped(self, endpoint_name: str, started_at: float) -> None:
        """Whoever asked for it before then has got it. Raises KeysUnavailable.

        A fresh certificate counts from now on: when it is used, only the name in it will be known.
        """
        written = self._certificates.pop(endpoint_name, None)
        device = self._vault.device(endpoint_name)
        if device is None:
            return
        try:
            if written is not None:
                self._vault.taken_over(written)
            if device.rebootstrap_asked is not None and device.rebootstrap_asked <= started_at:
                self._vault.rebootstrap_done(endpoint_name)
        except VaultError as error:
            raise KeysUnavailable(str(error)) from error

    def _fresh(self, endpoint_name: str, mode: Mode) -> Credential:
        device = self._vault.device(endpoint_name)
        if device is None:
            raise KeysUnavailable(
                f"{endpoint_name} is not in the vault, so there is no place for a key: add the device, or "
                "use a plan with the security nosec."
            )
        since = _replaced_at(device)
        own: list[Credential] = []
        for one in device.credentials:
            if one.purpose == "server" and one.state == "staged" and one.made_at < since:
                self._vault.revoke(endpoint_name, _BY, "made for a bootstrap key that was replaced", one.id)
            elif one.purpose == "server" and one.state != "revoked":
                own.append(one)
        for one in reversed(own):
            if one.state == "staged" and one.mode == mode and self._is_fresh(one):
                return one
        new = NewCredential(purpose="server", mode=mode)
        if mode == "x509":
            certificate, secret = self._unit.issue_with_new_key(endpoint_name)
            new = NewCredential(purpose="server", mode=mode, certificate=certificate, private_key=secret)
        if own:
            return self._vault.rotate(endpoint_name, "server", _BY, staged=True, new=new).made[0]
        return self._vault.add_credential(endpoint_name, new, _BY, staged=True).made[0]

    def _current(self, endpoint_name: str, purpose: str, mode: Mode) -> Credential:
        device = self._vault.device(endpoint_name)
        order = ("active", "staged", "retiring")
        found = [
            one
            for one in (() if device is None else device.credentials)
            if one.purpose == purpose and one.mode == mode and one.state in order
        ]
        if not found:
            raise KeysUnavailable(
                f"{endpoint_name} has no {mode} key for {purpose} that could be written: make one, or use a "
                "fresh key in its plan."
            )
        return min(reversed(found), key=lambda one: order.index(one.state))

    def _opened(self, credential: Credential, entry: AnyEntry, own: bool) -> Keys:
        public, secret = credential.public, self._vault.secret
        match credential.mode:
            case "psk":
                return Keys("psk", bytes.fromhex(public["identity_hex"]), secret(credential.id, "psk_key"))
            case "oscore":
                salt = "master_salt" in credential.secrets
                return Keys(
                    "oscore",
                    oscore=OscoreKeys(
                        secret(credential.id, "master_secret"),
                        bytes.fromhex(public["sender_id"]),
                        bytes.fromhex(public["recipient_id"]),
                        secret(credential.id, "master_salt") if salt else b"",
                        bytes.fromhex(public.get("id_context") or ""),
                        int(public["aead"]),
                        int(public["hkdf"]),
                    ),
                )
            case "rpk":
                self._has_private_key(credential)
                shown = entry.server_public_key if not own else self._own_public_key()
                own_key = bytes.fromhex(public["spki_hex"])
                return Keys("rpk", own_key, secret(credential.id, "private_key"), shown or b"")
            case _:
                self._has_private_key(credential)
                certificate = x509.load_pem_x509_certificate(public["certificate_pem"].encode())
                der = certificate.public_bytes(Encoding.DER)
                shown = self._certificate_of(entry, own)
                return Keys("x509", der, secret(credential.id, "private_key"), shown)

    def _certificate_of(self, entry: AnyEntry, own: bool) -> bytes:
        """What the device is to compare with the server's certificate."""
        usage = _USUAL_CERTIFICATE_USAGE if entry.certificate_usage is None else entry.certificate_usage
        return self._unit.told_to_client(usage) if own else entry.server_public_key or b""

    def _is_fresh(self, credential: Credential) -> bool:
        """Whether a staged key can be written as a fresh one.

        Whether a certificate was used is not known, as the name in it does not tell; only one of the same
        round of tries is taken again.
        """
        if credential.mode == "x509" and credential.made_at < self._unit.now() - _TRIES_S:
            return False
        return credential.mode in ("psk", "oscore") or "private_key" in credential.secrets

    def _own_public_key(self) -> bytes:
        chain, _ = self._unit.server_keys()
        key = x509.load_pem_x509_certificate(chain).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @staticmethod
    def _has_private_key(credential: Credential) -> None:
        if "private_key" not in credential.secrets:
            raise KeysUnavailable(
                f"The private key of {credential.endpoint_name} is in the device only, so it cannot be "
                "written: use a fresh key in its plan, or another security."
            )


def _replaced_at(device: Device) -> float:
    """When a bootstrap key of the device was revoked or replaced last, 0 for never."""
    return max(
        (
            one.changed_at
            for one in device.credentials
            if one.purpose == "bootstrap" and one.state in ("retiring", "revoked")
        ),
        default=0.0,
    )


def _mode(text: str) -> Mode:
    return next(mode for mode in MODES if mode == text)
