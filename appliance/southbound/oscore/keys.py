"""From a Master Secret to the keys of one security context (RFC 8613 §3.2), and what is done with them.

Derivation, algorithms and the replay window are aiocoap's, which is imported with the first context: that
costs a quarter of a second and memory that nobody has to spend who knows no OSCORE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from appliance.southbound.oscore.cose import additional_data, nonce

WINDOW: Final = 32  # numbers behind the newest one that may still arrive (§3.2.2)

_HASHES: Final = {-10: "sha256", 5: "sha256", 6: "sha384", -11: "sha512", 7: "sha512"}  # COSE: HKDF, or HMAC


class NoKeys(ValueError):
    """No keys can be made of a context's material. The text says why, without the secret."""


@dataclass(frozen=True, slots=True)
class ContextMaterial:
    """A security context as it was agreed upon, from our side: object 21 holds the client's view of it.

    ``sender_id`` is ours, the client's Recipient ID; ``recipient_id`` is the client's Sender ID, its kid.
    ``aead`` and ``hkdf`` are COSE algorithm numbers. ``identity`` names the context in the whole appliance.
    """

    identity: str
    master_secret: bytes = field(repr=False)
    master_salt: bytes = field(repr=False)
    sender_id: bytes
    recipient_id: bytes
    id_context: bytes | None = None
    aead: int = 10
    hkdf: int = -10


class Keys:
    """The keys of one context. ``id_context`` is what they were derived with."""

    __slots__ = ("_aead", "_common_iv", "_recipient_key", "_sender_key", "id_context", "material")

    def __init__(self, material: ContextMaterial, id_context: bytes | None) -> None:
        """Raises NoKeys when the material is of no use."""
        from aiocoap import oscore

        algorithm = next((one for one in oscore.algorithms.values() if one.value == material.aead), None)
        if algorithm is None or not isinstance(algorithm, oscore.AeadAlgorithm):
            raise NoKeys(f"AEAD algorithm {material.aead} is not known")
        if material.hkdf not in _HASHES:
            raise NoKeys(f"key derivation {material.hkdf} is not known")
        longest = algorithm.iv_bytes - 6
        if max(len(material.sender_id), len(material.recipient_id)) > longest:
            raise NoKeys(f"an id of more than {longest} bytes does not fit its algorithm")
        if material.sender_id == material.recipient_id:
            raise NoKeys("Sender ID and Recipient ID are the same")
        derived = oscore.SecurityContextUtils()
        derived.alg_aead = algorithm
        derived.hashfun = oscore.hashfunctions[_HASHES[material.hkdf]]
        derived.sender_id = material.sender_id
        derived.recipient_id = material.recipient_id
        derived.id_context = id_context
        derived.derive_keys(material.master_salt, material.master_secret)
        self.material = material
        self.id_context = id_context
        self._aead = algorithm
        self._sender_key: bytes = derived.sender_key
        self._recipient_key: bytes = derived.recipient_key
        self._common_iv: bytes = derived.common_iv

    def nonce(self, generator: bytes, partial_iv: bytes) -> bytes:
        """The nonce of the number that ``generator`` counted (§5.2)."""
        return nonce(self._common_iv, generator, partial_iv)

    def seal(self, plain: bytes, at: bytes, kid: bytes, partial_iv: bytes) -> bytes:
        """Ciphertext and tag, under the nonce ``at``, bound to the request's kid and Partial IV."""
        sealed: bytes = self._aead.encrypt(
            plain, additional_data(self.material.aead, kid, partial_iv), self._sender_key, at
        )
        return sealed

    def open(self, sealed: bytes, at: bytes, kid: bytes, partial_iv: bytes) -> bytes | None:
        """The plaintext, at least the byte of a code; None when it was not sealed so with these keys."""
        from aiocoap.oscore import ProtectionInvalid

        if len(sealed) <= self._aead.tag_bytes:
            return None
        try:
            plain: bytes = self._aead.decrypt(
                sealed, additional_data(self.material.aead, kid, partial_iv), self._recipient_key, at
            )
        except ProtectionInvalid:
            return None
        return plain

    def print(self) -> str:
        """Tells these keys from others, and tells nothing about them."""
        return self._common_iv.hex()


def replay_window() -> Any:
    """An empty replay window that knows nothing yet (§7.4): aiocoap's."""
    from aiocoap.oscore import ReplayWindow

    return ReplayWindow(WINDOW, lambda: None)


def prepare() -> None:
    """Import now what the first context would; for a moment when nobody waits."""
    import aiocoap.oscore  # noqa: F401
