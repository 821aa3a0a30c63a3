"""What the DTLS server asks about whoever knocks, and what it is answered.

Whoever keeps the credentials implements `Trust`; this room knows none of them. Every call is made in the
event loop, inside a handshake, so it must answer from memory.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

# Alerts that a verdict may name (RFC 5246 §7.2, RFC 4279 §2).
BAD_CERTIFICATE = 42
CERTIFICATE_UNKNOWN = 46
ACCESS_DENIED = 49
INTERNAL_ERROR = 80


class Answer(Protocol):
    """What is said of a credential.

    ``identity`` is an opaque string for whoever it is (also when refused), ``refusal`` is empty or one
    sentence for the operator, ``alert`` the number of the alert that the device is sent when it is refused.
    ``credential`` tells this one from others of that identity, before it and after it; opaque as well.
    """

    @property
    def identity(self) -> str: ...
    @property
    def refusal(self) -> str: ...
    @property
    def alert(self) -> int: ...
    @property
    def credential(self) -> str: ...


class Verdict(NamedTuple):
    """An `Answer` as a value."""

    identity: str
    refusal: str = ""
    alert: int = ACCESS_DENIED
    credential: str = ""


class Trust(Protocol):
    """Who may come in. A method that raises refuses."""

    def psk_key(self, identity: bytes) -> bytes | None:
        """The key of an identity, 1 to 64 bytes; None when it is unknown or may not come in."""

    def psk(self, identity: bytes) -> Answer:
        """Whether an identity may come in, once it has proved its key; or why it had none."""

    def raw_public_key(self, spki: bytes) -> Answer:
        """Whether a key may come in: its DER SubjectPublicKeyInfo (RFC 7250)."""

    def certificate(self, chain: tuple[bytes, ...]) -> Answer:
        """Whether the owner of a certificate may come in: DER, the device's own first."""


class ServerKeys(NamedTuple):
    """Our certificate with its chain and its key, PEM. Its public key is also our raw public key."""

    chain_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return f"ServerKeys(chain_pem={self.chain_pem!r}, key_pem=…)"
