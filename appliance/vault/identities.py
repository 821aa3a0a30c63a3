"""Identity strings: what a transport proved, as one text that nobody but the vault takes apart.

Two different identities never have the same string. PSK identities are bytes (RFC 4279 §5.1): what is not
plain printable text stands in hexadecimal behind ``0x``, and so does a text that itself begins with ``0x``.
"""

from __future__ import annotations

import hashlib
from typing import Final

PSK: Final = "psk:"
RPK: Final = "rpk:"
X509: Final = "x509:"
OSCORE: Final = "oscore:"


def psk_identity(identity: bytes) -> str:
    """The identity string of a PSK identity."""
    try:
        text = identity.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable() or text.startswith("0x"):
        return f"{PSK}0x{identity.hex()}"
    return PSK + text


def psk_identity_bytes(identity: str) -> bytes:
    """The PSK identity of an identity string. Raises ValueError for another kind."""
    if not identity.startswith(PSK):
        raise ValueError(f"{identity} is not the identity of a pre-shared key")
    text = identity[len(PSK) :]
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode("utf-8")


def rpk_identity(spki: bytes) -> str:
    """The identity string of a raw public key, given as DER SubjectPublicKeyInfo (RFC 7250 §3)."""
    return RPK + hashlib.sha256(spki).hexdigest()


def x509_identity(name: str) -> str:
    """The identity string of a certificate by its name: the subject's CN, else the first SAN."""
    return X509 + name


def oscore_identity(sender_id: bytes, id_context: bytes | None = None) -> str:
    """The identity string of an OSCORE context by the client's Sender ID (RFC 8613 §3.1)."""
    if not id_context:
        return OSCORE + sender_id.hex()
    return f"{OSCORE}{sender_id.hex()}/{id_context.hex()}"


def identity_mode(identity: str) -> str:
    """ "psk", "rpk", "x509", "oscore", or "" when it is none of them."""
    mode = identity.partition(":")[0]
    return mode if mode in ("psk", "rpk", "x509", "oscore") else ""
