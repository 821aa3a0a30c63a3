"""The values of the vault: devices, their credentials, and what may be asked for.

Nothing here holds a secret but :class:`NewCredential` (on its way in) and :class:`Provisioned` (on its way
out, once); neither shows it in its repr. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Purpose = Literal["server", "bootstrap"]
Mode = Literal["psk", "rpk", "x509", "oscore"]
CredentialState = Literal["active", "staged", "retiring", "revoked"]
Right = Literal["read", "operate", "admin"]

PURPOSES: Final = ("server", "bootstrap")
MODES: Final = ("psk", "rpk", "x509", "oscore")
RIGHTS: Final = ("read", "operate", "admin")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a device shows to be taken for itself, without the secret of it.

    ``public`` by mode: psk ``identity_hex``; rpk ``spki_hex``; x509 ``certificate_pem``, ``serial`` (hex),
    ``not_before``, ``not_after``, ``names``, ``sha256`` (of the certificate), or ``pinned_sha256`` alone;
    oscore ``sender_id``, ``recipient_id``, ``id_context`` (hex, as the client sees them), ``aead``, ``hkdf``
    (COSE numbers). ``secrets`` names those of "psk_key", "private_key", "master_secret" and "master_salt"
    that the vault has.
    """

    id: str
    endpoint_name: str
    purpose: str
    mode: str
    identity: str
    public: Mapping[str, Any]
    secrets: tuple[str, ...]
    state: str
    made_at: float
    expires_at: float | None
    changed_at: float
    reason: str

    def opens(self, now: float) -> bool:
        """Whether it lets its device in at ``now``, as far as the credential itself goes."""
        return self.state != "revoked" and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Device:
    """A device the vault knows. ``plan`` is the id of its bootstrap plan."""

    endpoint_name: str
    label: str
    groups: tuple[str, ...]
    tags: tuple[str, ...]
    nosec: bool
    blocked: bool
    plan: str | None
    made_at: float
    credentials: tuple[Credential, ...]
    rebootstrap_asked: float | None

    def credential(self, purpose: str) -> Credential | None:
        """The newest credential of the purpose that is not revoked."""
        living = (one for one in reversed(self.credentials) if one.state != "revoked")
        return next((one for one in living if one.purpose == purpose), None)


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential to be. What is None is made: keys from the system's random source, names from the endpoint
    name. ``certificate`` is DER, ``spki`` DER SubjectPublicKeyInfo, ``private_key`` DER PKCS #8 or PEM.
    """

    purpose: str = "server"
    mode: str = "psk"
    psk_identity: bytes | None = None
    psk_key: bytes | None = field(default=None, repr=False)
    spki: bytes | None = None
    certificate: bytes | None = None
    pinned_sha256: str | None = None
    private_key: bytes | None = field(default=None, repr=False)
    sender_id: bytes | None = None
    recipient_id: bytes | None = None
    id_context: bytes | None = None
    aead: int | None = None
    hkdf: int | None = None
    master_secret: bytes | None = field(default=None, repr=False)
    master_salt: bytes | None = field(default=None, repr=False)
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device to be, with any number of credentials."""

    endpoint_name: str
    label: str = ""
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    nosec: bool = False
    plan: str | None = None
    credentials: tuple[NewCredential, ...] = ()


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What was made: the device, the credentials made just now, and their secrets, this once.

    ``secrets`` is by credential id, then by the name of the secret.
    """

    device: Device
    made: tuple[Credential, ...]
    secrets: Mapping[str, Mapping[str, bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Permissions:
    """What an account may do with which group of devices; the group "*" is every device."""

    groups: Mapping[str, str]

    def right(self, groups: tuple[str, ...]) -> str | None:
        """The highest right on a device that is in these groups, None when there is none."""
        rights = [self.groups[group] for group in (*groups, "*") if group in self.groups]
        return max(rights, key=RIGHTS.index, default=None)
