"""What the vault says to somebody who knocks with a key."""

from __future__ import annotations

from typing import Final, NamedTuple

# TLS alerts (RFC 5246 §7.2.2), which the device hears when it is refused.
BAD_CERTIFICATE: Final = 42
UNSUPPORTED_CERTIFICATE: Final = 43
CERTIFICATE_REVOKED: Final = 44
CERTIFICATE_EXPIRED: Final = 45
CERTIFICATE_UNKNOWN: Final = 46
UNKNOWN_CA: Final = 48
ACCESS_DENIED: Final = 49
UNKNOWN_PSK_IDENTITY: Final = 115  # RFC 4279 §2


class Verdict(NamedTuple):
    """``refusal`` "" is a yes; else it is a sentence for the operator, and ``alert`` what the device hears.

    ``identity`` stands in a refusal too, as far as it could be read, so that it can be shown to whom it is.
    ``issuers`` are the authorities of others (DER) that a certificate was believed for; empty for our own.
    """

    identity: str
    refusal: str = ""
    alert: int = 0
    issuers: tuple[bytes, ...] = ()
