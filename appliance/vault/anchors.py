"""The authorities of other people that are believed as well as our own: ``anchors.json``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.storage.documents import open_documents
from appliance.vault.certificates import Facts, facts_of, key_problem, load
from appliance.vault.errors import VaultError

MAX_ANCHORS: Final = 100


class Anchor(NamedTuple):
    """An authority of somebody else that is believed; ``added_at`` in epoch seconds."""

    facts: Facts
    certificate_pem: str
    added_at: float

    @property
    def certificate(self) -> x509.Certificate:
        """Its certificate."""
        return x509.load_pem_x509_certificate(self.certificate_pem.encode("ascii"))


class Anchors:
    """The documents. Raises DocumentError when they cannot be read; not thread-safe by itself."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._documents = open_documents(folder, "anchors")
        self._now = now

    @property
    def version(self) -> object:
        """Another value after every write, whichever process made it."""
        return self._documents.version

    def all(self) -> list[Anchor]:
        """Those that are believed, in the order in which they came."""
        return [_anchor(row) for row in self._documents.table("anchors").all()]

    def add(self, data: bytes, own: Facts) -> list[Anchor]:
        """Believe the authorities in a PEM or DER file; all of them or none. Raises VaultError."""
        certificates = load(data)
        with self._documents.exclusive():
            table = self._documents.table("anchors")
            known = {row["sha256"] for row in table.all()}
            rows: list[dict[str, Any]] = []
            for certificate in certificates:
                facts = self._checked(certificate, own)
                if facts.sha256 in known:
                    raise VaultError(f"the authority {facts.subject} is there already", "conflict")
                known.add(facts.sha256)
                pem = certificate.public_bytes(Encoding.PEM).decode("ascii")
                rows.append({"sha256": facts.sha256, "certificate_pem": pem, "added_at": self._now()})
            if len(known) > MAX_ANCHORS:
                raise VaultError(f"there may be at most {MAX_ANCHORS} trusted authorities", "conflict")
            table.insert_multiple(rows)
        return [_anchor(row) for row in rows]

    def remove(self, fingerprint: str) -> Anchor:
        """Believe it no longer; by its SHA-256, with or without colons. Raises VaultError "not_found"."""
        sha256 = fingerprint.replace(":", "").strip().lower()
        with self._documents.exclusive():
            found = next((one for one in self.all() if one.facts.sha256 == sha256), None)
            if found is None:
                raise VaultError("no trusted authority has this fingerprint", "not_found")
            self._documents.table("anchors").remove(lambda row: row["sha256"] == sha256)
        return found

    def _checked(self, certificate: x509.Certificate, own: Facts) -> Facts:
        """What it says. Raises VaultError when it cannot be an anchor."""
        try:
            facts = facts_of(certificate)
            problem = key_problem(certificate.public_key())
            is_authority = _is_authority(certificate)
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
            raise VaultError(
                "this certificate cannot be read; it is damaged or of an unknown kind"
            ) from error
        if facts.sha256 == own.sha256:
            raise VaultError("this is the authority of this unit; it is believed anyway", "conflict")
        if not is_authority:
            raise VaultError(
                f"{facts.subject} is not an authority (basicConstraints lacks CA); "
                "a certificate of a single device is pinned at that device"
            )
        if problem:
            raise VaultError(f"the authority {facts.subject} has {problem}")
        if facts.not_after < self._now():
            day = datetime.fromtimestamp(facts.not_after, UTC).date()
            raise VaultError(f"the authority {facts.subject} expired on {day}; take its newer certificate")
        return facts


def _is_authority(certificate: x509.Certificate) -> bool:
    extensions = {type(one.value): one.value for one in certificate.extensions}
    constraints = extensions.get(x509.BasicConstraints)
    usage = extensions.get(x509.KeyUsage)
    may_sign = not isinstance(usage, x509.KeyUsage) or usage.key_cert_sign
    return isinstance(constraints, x509.BasicConstraints) and constraints.ca and may_sign


def _anchor(row: dict[str, Any]) -> Anchor:
    certificate = x509.load_pem_x509_certificate(row["certificate_pem"].encode("ascii"))
    return Anchor(facts_of(certificate), row["certificate_pem"], row["added_at"])
