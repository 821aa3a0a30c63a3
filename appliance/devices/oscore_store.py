"""OSCORE contexts of the vault, and what of them outlives a restart (RFC 8613 §7.5, Appendix B.1).

Numbers and windows stand in the database. A backup that is brought back, or a damaged file that was put
aside, knows less than was used, and a number used twice for one key gives its secrets away. So `oscore.json`
beside the database says which database the numbers are in. When it is another one, all contexts of that
moment go on in a later generation: with numbers above any that may have been used, and their peers prove with
an Echo that they are there. Contexts made afterwards begin at 0.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tinydb import where

from appliance.devices.identity_use import IdentityUse
from appliance.devices.strangers import Strangers
from appliance.southbound.oscore.context import GENERATION, MAX_NUMBER
from appliance.southbound.oscore.keys import ContextMaterial
from appliance.storage.database import Database
from appliance.storage.documents import open_documents
from appliance.storage.errors import StorageError
from appliance.vault.doorkeeper import Doorkeeper
from appliance.vault.errors import VaultError
from appliance.vault.identities import oscore_identity
from appliance.vault.vault import Credential, Device, Vault

log = logging.getLogger(__name__)

DOCUMENT: Final = "oscore"
# A generation for each ten minutes since 2026, so that two backups brought back on two boards, which know
# nothing of each other, do not share one; GENERATION numbers in ten minutes are 1,700 messages a second.
_FIRST_S: Final = 1_767_225_600
_PERIOD_S: Final = 600
_LAST: Final = MAX_NUMBER // GENERATION - 1

_SAVE: Final = "INSERT OR REPLACE INTO oscore_context(identity, state) VALUES (?,?)"
_SAVE_OBSERVATION: Final = "INSERT OR REPLACE INTO oscore_observation(token, state) VALUES (?,?)"
_FORGET_OBSERVATION: Final = "DELETE FROM oscore_observation WHERE token = ?"


class OscoreContexts:
    """Contexts of devices in the vault that open, by what a client says of itself. Event loop."""

    def __init__(self, vault: Vault, doorkeeper: Doorkeeper, strangers: Strangers, uses: IdentityUse) -> None:
        self._vault = vault
        self._doorkeeper = doorkeeper
        self._strangers = strangers
        self._uses = uses
        self._materials: dict[str, tuple[str, ContextMaterial]] = {}  # by identity: credential id
        self._by_kid: dict[str, list[str]] = {}

    def look(self, devices: Iterable[Device]) -> None:
        """The vault has changed: contexts with an ID Context are found by their kid alone as well (§5.2)."""
        by_kid: dict[str, list[str]] = {}
        living = set()
        for device in devices:
            for one in device.credentials:
                if one.mode == "oscore" and one.state != "revoked":
                    living.add(one.identity)
                    if one.public["id_context"] is not None:
                        by_kid.setdefault(one.public["sender_id"], []).append(one.identity)
        self._by_kid = by_kid
        for identity in [one for one in self._materials if one not in living]:
            del self._materials[identity]

    def find(self, kid: bytes, kid_context: bytes | None) -> ContextMaterial | None:
        """The context of a client, None when there is none that opens."""
        for identity in self._candidates(kid, kid_context):
            credential = self._vault.by_identity(identity)
            if credential is not None and not self._doorkeeper.oscore(identity).refusal:
                return self._material(credential)
        return None

    def refusal(self, kid: bytes, kid_context: bytes | None) -> tuple[str, str]:
        """Whom `find` did not find, as an identity, and why in a sentence for the operator."""
        candidates = self._candidates(kid, kid_context)
        known = [one for one in candidates if self._vault.by_identity(one) is not None]
        identity = (known or candidates)[0]
        return identity, self._doorkeeper.oscore(
            identity
        ).refusal or f"The keys of {identity} cannot be used."

    def failed(self, identity: str, address: str, sentence: str) -> None:
        """Something under a context, or under what nobody knows, came to nothing."""
        if self._vault.by_identity(identity) is not None:
            self._uses.failed(identity, sentence)
        else:
            self._strangers.knock("", identity, address, "OSCORE", sentence)

    def _candidates(self, kid: bytes, kid_context: bytes | None) -> list[str]:
        if kid_context is not None:
            # Maybe a context's own ID, maybe one that the client proposes for it (Appendix B.2).
            return [oscore_identity(kid, kid_context), oscore_identity(kid), *self._by_kid.get(kid.hex(), ())]
        return [oscore_identity(kid), *self._by_kid.get(kid.hex(), ())]

    def _material(self, credential: Credential) -> ContextMaterial | None:
        found = self._materials.get(credential.identity)
        if found is not None and found[0] == credential.id:
            return found[1]
        public = credential.public
        try:
            secret = self._vault.secret(credential.id, "master_secret")
            salted = "master_salt" in credential.secrets
            salt = self._vault.secret(credential.id, "master_salt") if salted else b""
        except VaultError as error:
            log.error("%s: its OSCORE keys do not open: %s", credential.endpoint_name, error)
            return None
        context = public["id_context"]
        material = ContextMaterial(
            identity=credential.identity,
            master_secret=secret,
            master_salt=salt,
            # The vault keeps the client's view; ours is the other way round.
            sender_id=bytes.fromhex(public["recipient_id"]),
            recipient_id=bytes.fromhex(public["sender_id"]),
            id_context=None if context is None else bytes.fromhex(context),
            aead=public["aead"],
            hkdf=public["hkdf"],
        )
        self._materials[credential.identity] = (credential.id, material)
        return material


class OscoreKeeper:
    """The rows of `oscore_context` and `oscore_observation`. Event loop, `open` before it runs."""

    def __init__(self, database: Database, state: Path, wall: Callable[[], float]) -> None:
        self._database = database
        self._folder = state
        self._wall = wall
        self._states: dict[str, str] = {}
        self._observations: dict[bytes, str] = {}
        self._generation = 0
        self._before: frozenset[str] = frozenset()

    def open(self, devices: Iterable[Device]) -> None:
        """Take back what is kept; ``devices`` are those of the vault. Raises StorageError, OSError."""
        contexts = {
            one.id: one.identity for device in devices for one in device.credentials if one.mode == "oscore"
        }
        self._settle_generation(frozenset(contexts))
        self._before = frozenset(contexts[one] for one in self._before if one in contexts)
        known = set(contexts.values())
        for identity, state in self._database.read("SELECT identity, state FROM oscore_context"):
            if identity in known:
                self._states[identity] = state
            else:
                self._database.write("DELETE FROM oscore_context WHERE identity = ?", (identity,))
        rows = self._database.read("SELECT token, state FROM oscore_observation")
        self._observations = {bytes(token): state for token, state in rows}

    def generation(self, identity: str) -> int:
        """The generation that a context's numbers belong to."""
        return self._generation if identity in self._before else 0

    def load(self, identity: str) -> str | None:
        """What was saved last, None when nothing ever was."""
        return self._states.get(identity)

    def save(self, identity: str, state: str, then: Callable[[], None]) -> None:
        """Keep it; ``then`` is called once it is on disk, and never when it cannot be kept."""
        self._states[identity] = state
        self._store(_SAVE, (identity, state), then)

    def save_observation(self, token: bytes, state: str | None) -> None:
        """Keep what the notifications with this token are bound to; None: forget it."""
        if state is None:
            if self._observations.pop(token, None) is not None:
                self._store(_FORGET_OBSERVATION, (token,))
        else:
            self._observations[token] = state
            self._store(_SAVE_OBSERVATION, (token, state))

    def observations(self) -> Mapping[bytes, str]:
        """All that `save_observation` has kept."""
        return self._observations

    def _store(self, sql: str, parameters: tuple[Any, ...], then: Callable[[], None] | None = None) -> None:
        try:
            self._database.write(sql, parameters, then)
        except StorageError as error:
            # Then nothing goes on with it: what waits for ``then`` is repeated by the device, or fails.
            log.warning("the state of an OSCORE context could not be stored: %s", error)

    def _settle_generation(self, credentials: frozenset[str]) -> None:
        name = self._database.identity()
        with open_documents(self._folder, DOCUMENT) as documents:
            table = documents.table("database")
            kept: Mapping[str, Any] | None = next(iter(table.all()), None)
            if kept is None or kept["name"] != name:
                later = 0
                if kept is not None:
                    later = max(kept["generation"] + 1, int(self._wall() - _FIRST_S) // _PERIOD_S, 1)
                    log.warning("another database: %d OSCORE contexts go on far above", len(credentials))
                kept = {
                    "name": name,
                    "generation": min(later, _LAST),
                    "before": sorted(credentials) if later else [],
                }
                table.upsert(kept, where("name").exists())  # one write: there is no moment without it
            self._generation = int(kept["generation"])
            self._before = frozenset(kept["before"])
