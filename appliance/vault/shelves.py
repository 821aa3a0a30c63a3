"""The vault's devices on disk and in memory: which document each stands in, and how both change together.

The documents are small ones, a dozen devices each, so that a change rewrites little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from appliance.vault.errors import VaultError
from appliance.vault.holding import Held, certificates_ended, held_of, row_bytes, row_of
from appliance.vault.index import Index
from appliance.vault.model import Credential, Permissions
from appliance.vault.records import LOCK_TIMEOUT_S, Contents, Records, Rows, VaultLocked, Version
from appliance.vault.sealing import SealingKey

FILL_BYTES: Final = 14_000  # no more devices are put into a shard that would become larger
MAX_BYTES: Final = 26_000  # a device that grows beyond this moves to another shard

Entries = Sequence[tuple[float, str, str, str]]  # of the audit log: at, by, what, about


class Shelves:
    """The devices and the permissions of accounts. Whoever changes them takes a turn first."""

    def __init__(self, folder: Path, key: SealingKey) -> None:
        self.records = Records(folder, key)
        self.index = Index()
        self.permissions: dict[str, Permissions] = {}  # by account, in lower case
        self._names: dict[str, dict[str, None]] = {}  # endpoint names by shard
        self._seen: Version | None = None

    @contextmanager
    def turn(self, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Alone among all threads and processes, and up to date. Raises VaultError("unavailable")."""
        with self.records.exclusive(timeout_s):
            if self._seen is None or self._seen != self.records.version() or self.records.behind():
                self.read()
                self.records.recover()
            yield
            self._seen = self.records.version()

    def catch_up(self) -> None:
        """Take over what another process wrote, unless it writes at this moment."""
        if self._seen != self.records.version():
            with suppress(VaultLocked), self.turn(timeout_s=0.0):
                pass

    def read(self) -> None:
        """Take over the documents as they are, changing none. Raises VaultError("unavailable")."""
        self._take_over(self.records.read_changed())

    def commit(self, changes: Mapping[str, Held | None], entries: Entries) -> list[Credential]:
        """Write the devices (None: it goes) and the entries, then let everybody see them.

        Answers the certificates that open no more. Raises VaultError.
        """
        placed: dict[str, Held | None] = {}
        names = {shard: dict(members) for shard, members in self._names.items()}
        changed: set[str] = set()
        for name, held in changes.items():
            known = self.index.held(name)
            if held is None and known is not None:
                names[known.shard].pop(name, None)
                changed.add(known.shard)
            placed[name] = held if held is None or known is None else replace(held, shard=known.shard)
            if known is not None:
                changed.add(known.shard)
        self._settle(placed, names, changed)
        rows: dict[str, Rows] = {}
        for shard in changed:
            members = (placed.get(name) or self._known(name) for name in names.get(shard, {}))
            rows[shard] = [row_of(held) for held in members]
        self.records.commit(rows, entries)
        self._names = names
        ended: list[Credential] = []
        for name, held in placed.items():
            was = self.index.held(name)
            ended.extend(certificates_ended(was, held) if was is not None else ())
            self.index.put(name, held)
        return ended

    def commit_permissions(self, permissions: Mapping[str, Permissions], entries: Entries) -> None:
        """Write the permissions of all accounts and the entries. Raises VaultError."""
        rows: Rows = [
            {"account": account, "groups": dict(one.groups)} for account, one in sorted(permissions.items())
        ]
        self.records.commit({}, entries, {"permissions": rows})
        self.permissions = dict(permissions)

    def _known(self, name: str) -> Held:
        held = self.index.held(name)
        assert held is not None, "a shard names only devices of the index"
        return held

    def _settle(
        self, placed: dict[str, Held | None], names: dict[str, dict[str, None]], changed: set[str]
    ) -> None:
        """Give every changed device a shard: a new one where there is room, a grown one perhaps another."""
        sizes = {shard: self.records.size(shard) for shard in self.records.shards()}
        number = int(self.records.new_shard().partition("-")[2])
        current = ""
        for name, held in placed.items():
            if held is None:
                continue
            need = row_bytes(held)
            if held.shard:
                had = row_bytes(self._known(name))
                grown = sizes.get(held.shard, 0) + need - had
                if grown <= MAX_BYTES or len(names[held.shard]) == 1:
                    sizes[held.shard] = grown
                    continue
                sizes[held.shard] -= had
                names[held.shard].pop(name)
            if not current or sizes[current] + need > FILL_BYTES:
                roomiest = min(sizes, key=lambda shard: sizes[shard], default="")
                if roomiest and sizes[roomiest] + need <= FILL_BYTES:
                    current = roomiest
                else:
                    current, number = f"devices-{number:04d}", number + 1
                    sizes[current] = 0
            sizes[current] += need
            names.setdefault(current, {})[name] = None
            changed.add(current)
            placed[name] = replace(held, shard=current)

    def _take_over(self, contents: Contents) -> None:
        read = {
            shard: {held.device.endpoint_name: held for held in (_read(row, shard) for row in rows)}
            for shard, rows in contents.shards.items()
        }
        # First what is there, then what is gone: a device that moved to another shard is never missing.
        for fresh in read.values():
            for name, held in fresh.items():
                if self.index.held(name) != held:
                    self.index.put(name, held)
        for shard in (*contents.gone, *read):
            here = read.get(shard, {})
            for name in self._names.get(shard, {}):
                if name not in here and self._known(name).shard == shard:
                    self.index.put(name, None)
            self._names[shard] = dict.fromkeys(here)
        if contents.general is not None:
            self.permissions = {
                str(row["account"]): Permissions(dict(row["groups"]))
                for row in contents.general.get("permissions", [])
            }


def _read(row: Mapping[str, Any], shard: str) -> Held:
    try:
        return held_of(row, shard)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise VaultError(
            f"{shard}.json has a device that cannot be read ({error!r}): restore a backup, or install "
            "the release that wrote it",
            "unavailable",
        ) from error
