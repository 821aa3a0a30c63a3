"""What the own authority has issued and revoked: ``issued-00.json`` to ``issued-3f.json``.

One document would be rewritten whole for each new device; here one more certificate rewrites a few
kilobytes of the document its serial number belongs to. What was revoked is never forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from appliance.storage.documents import SafeTinyDB, open_documents

SHARDS: Final = 64
_TICK_NS: Final = 1_000_000_000


class Issued(NamedTuple):
    """A certificate the authority has signed; times in epoch seconds, ``revoked_at`` None while it is good.

    ``serial`` is lower-case hex; ``key`` the beginning of the SHA-256 of the public key, in hex.
    """

    serial: str
    endpoint_name: str
    key: str
    issued_at: float
    not_after: float
    revoked_at: float | None = None
    reason: str = ""


class IssuedCertificates:
    """The documents and their content in memory. Not thread-safe by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: dict[int, SafeTinyDB] = {}
        self._by_serial: dict[str, Issued] = {}
        self._by_key: dict[str, tuple[str, ...]] = {}
        self._versions: dict[int, object] = {}
        self._looked_at = 0

    def refresh(self) -> bool:
        """Read what has changed on disk; whether there was something. Raises DocumentError.

        Asked often, so mostly one look at the folder answers: each write renames a file into it.
        """
        stamp = self._folder.stat().st_mtime_ns
        if stamp == self._looked_at:
            return False
        # A second write within one tick of the file system's clock would not show: look again until then.
        self._looked_at = stamp if time.time_ns() - stamp > _TICK_NS else 0
        changed = False
        for shard in range(SHARDS):
            if shard in self._shards or (self._folder / f"{_name(shard)}.json").exists():
                documents = self._documents(shard)
                version = documents.version
                if version != self._versions.get(shard):
                    changed = True
                    self._versions[shard] = version
                    self._take([Issued(**_fields(row)) for row in documents.table("issued").all()])
        return changed

    def __iter__(self) -> Iterator[Issued]:
        """All, the oldest first."""
        return iter(sorted(self._by_serial.values(), key=lambda one: (one.issued_at, one.serial)))

    def by_serial(self, serial: str) -> Issued | None:
        """The certificate with this serial number (hex)."""
        return self._by_serial.get(serial.lower().lstrip("0"))

    def by_key(self, key: str) -> list[Issued]:
        """All certificates for this public key."""
        return [self._by_serial[serial] for serial in self._by_key.get(key, ())]

    def revoked(self) -> dict[int, float]:
        """When which serial number was revoked."""
        return {
            int(one.serial, 16): one.revoked_at
            for one in self._by_serial.values()
            if one.revoked_at is not None
        }

    def save(self, changed: Sequence[Issued]) -> None:
        """Keep new or changed ones; on disk when this returns. Raises DocumentError or OSError."""
        shards: dict[int, dict[str, Issued]] = {}
        for one in changed:
            shards.setdefault(int(one.serial, 16) % SHARDS, {})[one.serial] = one
        for shard, fresh in shards.items():
            documents = self._documents(shard)
            with documents.exclusive():
                rows = documents.table("issued").all()
                kept = [dict(row) for row in rows if row["serial"] not in fresh]
                kept.extend(one._asdict() for one in fresh.values())
                # One write: a power cut leaves all rows of before or all of now.
                documents.storage.write({"issued": {str(n): row for n, row in enumerate(kept, 1)}})
                self._versions[shard] = documents.version
                self._take([Issued(**_fields(row)) for row in kept])

    def _take(self, found: Iterable[Issued]) -> None:
        for one in found:
            self._by_serial[one.serial] = one
            serials = self._by_key.get(one.key, ())
            if one.serial not in serials:
                self._by_key[one.key] = (*serials, one.serial)

    def _documents(self, shard: int) -> SafeTinyDB:
        found = self._shards.get(shard)
        if found is None:
            found = self._shards[shard] = open_documents(self._folder, _name(shard))
        return found


def _name(shard: int) -> str:
    return f"issued-{shard:02x}"


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in Issued._fields}
