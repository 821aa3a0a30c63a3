"""The vault: every device's credentials, in memory for those who ask, sealed on disk.

The law of this room:

- A secret leaves only by :meth:`Vault.secret`, :meth:`Vault.psk_key`, or once, as what was just made.
- Identities are unique among the credentials that are not revoked, over all devices and both purposes; a
  key belongs to one purpose of one device. Certificates may share the name of their device, so that a new one
  can be laid beside the old one.
- A change is on disk, with its entry in the audit log, when its method returns; a change of many devices is
  whole or is none, also under kill -9.
- The command line works on the same folder while the server runs: writes take turns by a lock over all files,
  and `refresh` takes over what another process wrote.

Look-ups take no lock: they read dictionaries of frozen values that a change replaces one by one. Everything
else takes one and waits for the disk; the event loop calls it through a thread.

Longer than 400 lines: one index with one lock; splitting it would split the lock.
"""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import EllipsisType
from typing import Any, Final

from appliance.vault import audit
from appliance.vault.errors import VaultError
from appliance.vault.material import Material, prepare
from appliance.vault.model import (
    PURPOSES,
    RIGHTS,
    Credential,
    Device,
    NewCredential,
    NewDevice,
    Permissions,
    Provisioned,
)
from appliance.vault.records import LOCK_TIMEOUT_S, Contents, Records, Rows, VaultLocked, Version
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings

__all__ = [
    "Credential",
    "Device",
    "NewCredential",
    "NewDevice",
    "Permissions",
    "Provisioned",
    "Vault",
    "VaultError",
    "check_vault",
]

MAX_NAME_BYTES: Final = 255  # an endpoint name is one Uri-Query option
MAX_LABEL: Final = 200
MAX_WORD: Final = 64
MAX_WORDS: Final = 32
MAX_CREDENTIALS: Final = 12  # of one device, not revoked
MAX_REPLACED: Final = 4  # revoked ones that a device's row remembers
MAX_STAGED: Final = 3  # keys of one purpose not used yet; each bootstrap that fails leaves one
SHARD_FILL_BYTES: Final = 14_000  # no more devices are put into a shard that would become larger
SHARD_MAX_BYTES: Final = 26_000  # a device that grows beyond this moves to another shard
DAY_S: Final = 86400.0
REPLACED: Final = "replaced by a newer key"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What belongs to a credential and is not shown: sealed secrets, the mark of its key, its state before it
    was revoked by hand ("" when it was not)."""

    sealed: Mapping[str, str] = field(repr=False)
    mark: str
    before: str = ""


@dataclass(frozen=True, slots=True)
class _Held:
    """A device in the index, and where it stands."""

    device: Device
    kept: Mapping[str, _Kept]
    shard: str = ""


class Vault:
    """The vault in ``folder`` (``<state>/vault``). Thread-safe. ``wall`` gives seconds since the epoch."""

    def __init__(
        self, folder: Path, key: SealingKey, settings: VaultSettings, wall: Callable[[], float]
    ) -> None:
        self.folder = folder
        self.key = key
        self._settings = settings
        self._wall = wall
        self._records = Records(folder, key)
        self._held: dict[str, _Held] = {}
        self._names: dict[str, dict[str, None]] = {}  # endpoint names by shard
        self._identities: dict[str, tuple[Credential, ...]] = {}  # the one that counts first
        self._credentials: dict[str, tuple[str, _Kept]] = {}  # by id: endpoint name and what is kept
        self._certificates: dict[str, str] = {}  # SHA-256 to credential id
        self._marks: dict[str, dict[str, str]] = {}  # mark to credential id to endpoint name
        self._permissions: dict[str, Permissions] = {}
        self._touched: set[str] = set()
        # Told of every certificate that was revoked, replaced or removed: the authority lists it.
        self.dropped: Callable[[Credential], None] = lambda credential: None
        self._seen: Version | None = None
        self._judged: tuple[Version, list[str]] | None = None

    def open(self) -> None:
        """Load everything; finishes what a power cut interrupted. Raises VaultError("unavailable")."""
        with self._turn():
            self._touched.clear()

    # Looking

    def devices(self) -> list[Device]:
        """All devices by endpoint name."""
        return sorted((held.device for held in list(self._held.values())), key=lambda one: one.endpoint_name)

    def device(self, endpoint_name: str) -> Device | None:
        """One device, None when the vault does not know it."""
        held = self._held.get(endpoint_name)
        return None if held is None else held.device

    def groups(self) -> list[str]:
        """The names of all groups that devices are in."""
        return sorted({group for held in list(self._held.values()) for group in held.device.groups})

    def by_identity(self, identity: str, purpose: str | None = None) -> Credential | None:
        """The credential of an identity string, in any state; one that is in use before one that is not.

        ``purpose`` prefers that purpose: only the certificates of one device may share a name over both.
        """
        found = self._identities.get(identity)
        if not found:
            return None
        return next((one for one in found if one.purpose == purpose and one.state != "revoked"), found[0])

    def all_by_identity(self, identity: str) -> tuple[Credential, ...]:
        """All credentials of an identity string: certificates may share a name, revoked ones stay a while."""
        return self._identities.get(identity, ())

    def by_certificate(self, sha256: str) -> Credential | None:
        """The credential of a certificate by its SHA-256 (hex), in any state."""
        number = self._certificates.get(sha256)
        found = self._credentials.get(number) if number is not None else None
        held = self._held.get(found[0]) if found is not None else None
        if held is None:
            return None
        return next((one for one in held.device.credentials if one.id == number), None)

    def pinned(self, sha256: str) -> bool:
        """Whether this very certificate (SHA-256, hex) was given to a device by hand, and is not revoked."""
        found = self.by_certificate(sha256)
        return found is not None and found.state != "revoked"

    def psk_key(self, credential: Credential) -> bytes | None:
        """The key of a PSK credential, for a handshake: in memory, no disk. None when there is none."""
        found = self._credentials.get(credential.id)
        if found is None or "psk_key" not in found[1].sealed:
            return None
        return self._opened(found[0], credential.id, "psk_key", found[1].sealed["psk_key"])

    def secret(self, credential_id: str, name: str, by: str = "") -> bytes:
        """A secret, unsealed. ``by`` says to whom it is shown: then the audit log gets an entry first.

        "psk_key", "master_secret" and "master_salt" are the bytes, "private_key" is PKCS #8 in DER.
        Raises VaultError.
        """
        found = self._credentials.get(credential_id)
        if found is None or name not in found[1].sealed:
            raise VaultError(f"the vault has no {_plain(name)} of this credential", "not_found")
        endpoint_name, kept = found
        content = self._opened(endpoint_name, credential_id, name, kept.sealed[name])
        if by:
            self.note(by, f"{_plain(name)} shown", endpoint_name)
        return content

    def problems(self) -> list[str]:
        """What went wrong with the vault's files, for the person in charge."""
        return list(self._records.problems)

    # Adding and removing

    def check_new(self, new: Sequence[NewDevice]) -> list[tuple[int, str]]:
        """Everything that speaks against adding these: (row from 0, sentence); changes nothing."""
        with self._turn():
            return [(row, str(error)) for row, error in self._planned(new)[1]]

    def add(self, new: Sequence[NewDevice], by: str) -> list[Provisioned]:
        """Add devices: all of them, or none, and VaultError with the first problem."""
        with self._turn():
            planned, problems = self._planned(new)
            if problems:
                row, error = problems[0]
                where = f"row {row + 1}: " if len(new) > 1 else ""
                more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
                raise VaultError(f"{where}{error}{more}", error.kind)
            if not planned:
                return []
            now = self._wall()
            self._commit(
                {one.device.endpoint_name: one.held for one in planned},
                [(now, by, _added_words(one.device), one.device.endpoint_name) for one in planned],
            )
            return [Provisioned(one.device, one.device.credentials, one.secrets) for one in planned]

    def remove(self, endpoint_name: str, by: str) -> None:
        """Forget a device and all its keys. Raises VaultError("not_found")."""
        with self._turn():
            self._found(endpoint_name)
            self._commit({endpoint_name: None}, [(self._wall(), by, "device removed", endpoint_name)])

    def update(
        self,
        endpoint_name: str,
        by: str,
        *,
        label: str | None = None,
        groups: Iterable[str] | None = None,
        tags: Iterable[str] | None = None,
        nosec: bool | None = None,
        plan: str | EllipsisType | None = ...,
        blocked: bool | None = None,
    ) -> Device:
        """Change what is said; None (for ``plan``: leaving it out) keeps what was. Raises VaultError."""
        with self._turn():
            held = self._found(endpoint_name)
            old = held.device
            device = replace(
                old,
                label=old.label if label is None else label.strip(),
                groups=old.groups if groups is None else _unique(groups),
                tags=old.tags if tags is None else _unique(tags),
                nosec=old.nosec if nosec is None else bool(nosec),
                plan=old.plan if isinstance(plan, EllipsisType) else (plan or None),
                blocked=old.blocked if blocked is None else bool(blocked),
            )
            problem = next(iter(_wrong_fields(device)), "")
            if problem:
                raise VaultError(problem)
            changed = [
                name
                for name in ("label", "groups", "tags", "nosec", "plan", "blocked")
                if getattr(old, name) != getattr(device, name)
            ]
            if changed:
                said = ", ".join(f"{name} {_said(getattr(device, name))}" for name in changed)
                self._commit(
                    {endpoint_name: replace(held, device=device)},
                    [(self._wall(), by, f"device changed: {said}", endpoint_name)],
                )
            return device

    # Credentials

    def add_credential(
        self, endpoint_name: str, new: NewCredential, by: str, *, staged: bool = False
    ) -> Provisioned:
        """One more credential; a staged one counts as active once it was used. Raises VaultError."""
        with self._turn():
            return self._put_credential(self._found(endpoint_name), new, by, staged, "credential added")

    def rotate(
        self, endpoint_name: str, purpose: str, by: str, *, staged: bool, new: NewCredential | None = None
    ) -> Provisioned:
        """A new key under a new identity, of the same mode unless ``new`` says otherwise.

        Staged: the old one opens until the new one is used, `overlap_days` at most. Else it is revoked now.
        Raises VaultError; a certificate must be given in ``new``.
        """
        with self._turn():
            held = self._found(endpoint_name)
            if purpose not in PURPOSES:
                raise VaultError(f"a key is for {' or '.join(PURPOSES)}, not for {purpose!r}")
            olds = [one for one in held.device.credentials if one.purpose == purpose]
            if not olds:
                raise VaultError(
                    f"{endpoint_name} has no {purpose} key that could be replaced: add one", "not_found"
                )
            if new is None:
                living = [one for one in olds if one.state != "revoked"] or olds
                new = NewCredential(purpose=purpose, mode=living[-1].mode)
            if new.purpose != purpose:
                raise VaultError(f"the new key is for {new.purpose}, not for {purpose}")
            return self._put_credential(
                self._outdated(held, purpose, staged),
                new,
                by,
                staged,
                "key replaced, " + ("staged" if staged else "at once"),
            )

    def used(self, identity: str) -> None:
        """A device has shown this identity. A staged credential becomes active by it, and those before it of
        its purpose are revoked; costs a look at a dictionary when nothing changes.
        """
        found = self._identities.get(identity)
        if not found or found[0].state != "staged":
            return
        with self._turn():
            found = tuple(one for one in self._identities.get(identity, ()) if one.opens(self._wall()))
            # Certificates with one name: the name does not say which of them was shown.
            if len(found) != 1 or found[0].state != "staged":
                return
            held, now = self._held[found[0].endpoint_name], self._wall()
            credentials, before = [], True
            for one in held.device.credentials:
                if one.id == found[0].id:
                    one, before = replace(one, state="active", changed_at=now, reason="used"), False
                elif before and one.purpose == found[0].purpose and one.state != "revoked":
                    one = _revoked(one, now, REPLACED)
                credentials.append(one)
            held = _with(held, credentials)
            name = held.device.endpoint_name
            self._commit(
                {name: held}, [(now, "the device", f"new {found[0].purpose} key used: {identity}", name)]
            )

    def revoke(self, endpoint_name: str, by: str, reason: str, credential_id: str | None = None) -> None:
        """Let a credential, or all of a device, open no more. Raises VaultError."""
        with self._turn():
            held, now = self._found(endpoint_name), self._wall()
            reason = " ".join(reason.split())[:MAX_LABEL] or "revoked by hand"
            if credential_id is not None and credential_id not in held.kept:
                raise VaultError(f"{endpoint_name} has no credential {credential_id}", "not_found")
            credentials, kept, said = [], dict(held.kept), []
            for one in held.device.credentials:
                if one.state != "revoked" and credential_id in (None, one.id):
                    kept[one.id] = replace(kept[one.id], before=one.state)
                    one = _revoked(one, now, reason)
                    said.append(one.identity)
                credentials.append(one)
            if said:
                held = _with(replace(held, kept=kept), credentials)
                what = f"revoked {', '.join(said)}: {reason}"
                self._commit({endpoint_name: held}, [(now, by, what, endpoint_name)])

    def reinstate(self, endpoint_name: str, by: str, credential_id: str | None = None) -> Device:
        """Take back what was revoked by hand, and the block. Raises VaultError, for instance when the
        identity is another device's by now.
        """
        with self._turn():
            held, now = self._found(endpoint_name), self._wall()
            credentials, kept, said = [], dict(held.kept), []
            for one in held.device.credentials:
                before = kept[one.id].before
                if before and credential_id in (None, one.id):
                    if "serial" in one.public:
                        raise VaultError(
                            f"a revoked certificate is not taken back: give {endpoint_name} a new one",
                            "conflict",
                        )
                    other = self._other_with(one.identity, endpoint_name)
                    if other is not None:
                        raise VaultError(
                            f"the identity {one.identity} belongs to {other.endpoint_name} by now: "
                            "give this device a new key",
                            "conflict",
                        )
                    kept[one.id] = replace(kept[one.id], before="")
                    one = replace(one, state=before, changed_at=now, reason="reinstated")
                    said.append(one.identity)
                credentials.append(one)
            device = replace(held.device, credentials=tuple(credentials), blocked=False)
            if said or held.device.blocked:
                self._commit(
                    {endpoint_name: replace(held, device=device, kept=kept)},
                    [(now, by, f"reinstated {', '.join(said) or 'the device'}", endpoint_name)],
                )
            return device

    def ask_rebootstrap(self, endpoint_names: str | Sequence[str], by: str) -> int:
        """Note that these devices shall bootstrap again; answers how many. Raises VaultError("not_found")."""
        names = [endpoint_names] if isinstance(endpoint_names, str) else list(dict.fromkeys(endpoint_names))
        with self._turn():
            now = self._wall()
            changes: dict[str, _Held | None] = {}
            for name in names:
                held = self._found(name)
                changes[name] = replace(held, device=replace(held.device, rebootstrap_asked=now))
            if changes:
                self._commit(changes, [(now, by, "bootstrap asked for", name) for name in names])
            return len(names)

    def rebootstrap_done(self, endpoint_name: str) -> None:
        """The device has bootstrapped; nothing happens when nobody had asked, or the device is gone."""
        held = self._held.get(endpoint_name)
        if held is None or held.device.rebootstrap_asked is None:
            return
        with self._turn():
            held = self._held.get(endpoint_name)
            if held is not None and held.device.rebootstrap_asked is not None:
                held = replace(held, device=replace(held.device, rebootstrap_asked=None))
                self._commit(
                    {endpoint_name: held},
                    [(self._wall(), "the device", "bootstrapped as asked", endpoint_name)],
                )

    # Permissions of accounts

    def permissions(self, account: str) -> Permissions | None:
        """What an account may do with which groups; None: with every device what its scopes allow."""
        return self._permissions.get(account.casefold())

    def all_permissions(self) -> dict[str, Permissions]:
        """By account, in lower case."""
        return dict(sorted(self._permissions.items()))

    def set_permissions(self, account: str, groups: Mapping[str, str] | None, by: str) -> None:
        """Narrow an account to groups ("*" is every device), or with None lift that. Raises VaultError."""
        key = account.casefold()
        if not account.isprintable() or not 1 <= len(account) <= MAX_WORD:
            raise VaultError(f"an account has a name of 1 to {MAX_WORD} printable characters")
        for group, right in (groups or {}).items():
            problem = "" if group == "*" else _wrong_word("group", group)
            if not problem and right not in RIGHTS:
                problem = f"the right on a group is one of {', '.join(RIGHTS)}, not {right!r}"
            if problem:
                raise VaultError(problem)
        with self._turn():
            wanted = dict(self._permissions)
            if groups is None:
                if wanted.pop(key, None) is None:
                    return
                said = "permissions lifted: all devices"
            else:
                wanted[key] = Permissions(dict(groups))
                said = "permissions: " + (", ".join(f"{g} {r}" for g, r in sorted(groups.items())) or "none")
            self._write_general(wanted, [(self._wall(), by, said, account)])
            self._permissions = wanted

    # The audit log

    def note(self, by: str, what: str, about: str = "") -> None:
        """An entry for something that happened beside the vault's own changes. Raises VaultError."""
        with self._turn():
            self._write_general(self._permissions, [(self._wall(), by, what, about)])

    def audit(self, before: int | None = None, limit: int = 100) -> list[audit.Entry]:
        """The newest entries with a number below ``before``, newest first."""
        try:
            return audit.read(self.folder / audit.FILE, before, limit)
        except OSError as error:
            raise VaultError(f"the audit log cannot be read: {error.strerror}", "unavailable") from error

    def audit_problems(self) -> list[str]:
        """Whether the audit log is as it was written: a sentence for each fault."""
        with self._turn():
            version = self.version()
            if self._judged is None or self._judged[0] != version:
                self._judged = self._records.version(), self._judge()
            return list(self._judged[1])

    def _judge(self) -> list[str]:
        try:
            return audit.verify(self.folder / audit.FILE, self._records.head, self._records.pending())
        except OSError as error:
            return [f"the audit log cannot be read: {error.strerror}"]

    # Other processes

    def version(self) -> object:
        """Another value after every change, whichever process made it; costs a look at two files."""
        return self._records.version()

    def refresh(self) -> set[str]:
        """Take over what another process wrote. Answers the endpoint names whose trust has changed since the
        last call, by own changes too. Never waits for another process: then the next call takes it over.
        """
        if self._seen != self._records.version():
            with suppress(VaultLocked), self._turn(timeout_s=0.0):
                pass
        touched, self._touched = self._touched, set()
        return touched

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nobody changes the vault meanwhile, in no process: for a backup of its files."""
        with self._turn():
            yield

    # Inside: reading

    @contextmanager
    def _turn(self, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        with self._records.exclusive(timeout_s):
            if self._seen is None or self._seen != self._records.version() or self._records.behind():
                self._take_over(self._records.read_changed())
                self._records.recover()
            yield
            self._seen = self._records.version()

    def check(self) -> list[str]:
        """For `homard check`, in place of `open`: what is wrong, a sentence each. Changes nothing."""
        self._take_over(self._records.read_changed())
        return [*self.problems(), *self._unopened(), *self._judge()]

    def _take_over(self, contents: Contents) -> None:
        read = {
            shard: {held.device.endpoint_name: held for held in (self._read(row, shard) for row in rows)}
            for shard, rows in contents.shards.items()
        }
        # First what is there, then what is gone: a device that moved to another shard is never missing.
        for fresh in read.values():
            for name, held in fresh.items():
                if self._held.get(name) != held:
                    self._index(name, held)
        for shard in (*contents.gone, *read):
            here = read.get(shard, {})
            for name in self._names.get(shard, {}):
                if name not in here and self._held[name].shard == shard:
                    self._index(name, None)
            self._names[shard] = dict.fromkeys(here)
        if contents.general is not None:
            self._permissions = {
                str(row["account"]): Permissions(dict(row["groups"]))
                for row in contents.general.get("permissions", [])
            }

    def _read(self, row: Mapping[str, Any], shard: str) -> _Held:
        try:
            return _held_of(row, shard)
        except (LookupError, TypeError, ValueError) as error:
            raise VaultError(
                f"{shard}.json has a device that cannot be read ({error!r}): restore a backup, or install "
                "the release that wrote it",
                "unavailable",
            ) from error

    def _index(self, name: str, held: _Held | None) -> None:
        """Put a device in the dictionaries in place of what was there; readers see the old or the new."""
        old = self._held.get(name)
        gone = () if old is None else old.device.credentials
        fresh = () if held is None else held.device.credentials
        if old is None or held is None or _trust(old) != _trust(held):
            self._touched.add(name)
        if held is not None:
            self._held[name] = held
            for one in fresh:
                kept = held.kept[one.id]
                self._credentials[one.id] = (name, kept)
                self._marks.setdefault(kept.mark, {})[one.id] = name
                if one.mode == "x509":
                    self._certificates[_sha256(one)] = one.id
        else:
            self._held.pop(name, None)
        staying = {one.id for one in fresh}
        for one in gone:
            if one.id not in staying:
                _, kept = self._credentials.pop(one.id)
                owners = self._marks.get(kept.mark, {})
                owners.pop(one.id, None)
                if not owners:
                    self._marks.pop(kept.mark, None)
                if self._certificates.get(_sha256(one)) == one.id:
                    del self._certificates[_sha256(one)]
        for identity in {one.identity for one in (*gone, *fresh)}:
            others = [one for one in self._identities.get(identity, ()) if one.endpoint_name != name]
            own = [one for one in fresh if one.identity == identity]
            if others or own:
                self._identities[identity] = tuple(sorted((*others, *own), key=_weight, reverse=True))
            else:
                self._identities.pop(identity, None)

    def _found(self, endpoint_name: str) -> _Held:
        held = self._held.get(endpoint_name)
        if held is None:
            raise VaultError(f"there is no device {endpoint_name!r} in the vault", "not_found")
        return held

    def _other_with(self, identity: str, endpoint_name: str) -> Credential | None:
        return next(
            (
                one
                for one in self._identities.get(identity, ())
                if one.endpoint_name != endpoint_name and one.state != "revoked"
            ),
            None,
        )

    def _opened(self, endpoint_name: str, credential_id: str, name: str, sealed: str) -> bytes:
        return self.key.open(sealed, _where(endpoint_name, credential_id, name))

    # Inside: changing

    def _planned(self, new: Sequence[NewDevice]) -> tuple[list[_Planned], list[tuple[int, VaultError]]]:
        planned: list[_Planned] = []
        problems: list[tuple[int, VaultError]] = []
        draft = _Draft()
        now = self._wall()
        for row, one in enumerate(new):
            device = Device(
                one.endpoint_name,
                one.label.strip(),
                _unique(one.groups),
                _unique(one.tags),
                one.nosec,
                False,
                one.plan or None,
                now,
                (),
                None,
            )
            wrong = [VaultError(problem) for problem in _wrong_fields(device)]
            name = device.endpoint_name
            if name in self._held:
                wrong.append(VaultError(f"there is a device {name} already", "conflict"))
            if name in draft.rows:
                wrong.append(VaultError(f"{name} stands in row {draft.rows[name] + 1} already", "conflict"))
            plan = _Planned(_Held(device, {}), {})
            # Keys are named by their device: a row without a proper name of its own gets none.
            proper = bool(name) and name.isprintable() and name not in self._held and name not in draft.rows
            draft.rows.setdefault(name, row)
            for credential in one.credentials if proper else ():
                try:
                    plan = self._with_credential(plan, credential, "active", now, draft)
                except VaultError as error:
                    wrong.append(error)
            problems.extend((row, problem) for problem in wrong)
            planned.append(plan)
        return planned, problems

    def _put_credential(
        self, held: _Held, new: NewCredential, by: str, staged: bool, what: str
    ) -> Provisioned:
        now, name = self._wall(), held.device.endpoint_name
        if sum(one.state != "revoked" for one in held.device.credentials) >= MAX_CREDENTIALS:
            raise VaultError(
                f"{name} has {MAX_CREDENTIALS} credentials already: revoke one first", "conflict"
            )
        plan = self._with_credential(_Planned(held, {}), new, "staged" if staged else "active", now, _Draft())
        made = plan.device.credentials[-1]
        held = _with(plan.held, plan.device.credentials)
        words = f"{what}: {made.identity} for {made.purpose}"
        self._commit({name: held}, [(now, by, words, name)])
        return Provisioned(held.device, (made,), plan.secrets)

    def _with_credential(
        self, plan: _Planned, new: NewCredential, state: str, now: float, draft: _Draft
    ) -> _Planned:
        device = plan.device
        own = {one.identity for one in device.credentials}

        def taken(identity: str) -> bool:
            return identity in self._identities or identity in draft.identities or identity in own

        material = prepare(new, device.endpoint_name, taken, own, now)
        mark = self.key.mark(*material.mark)
        self._refuse_shared(plan, material, new, mark, draft)
        number = random.token_hex(8)
        credential = Credential(
            number,
            device.endpoint_name,
            new.purpose,
            new.mode,
            material.identity,
            material.public,
            tuple(sorted(material.secrets)),
            state,
            now,
            material.expires_at,
            now,
            "",
        )
        sealed = {
            name: self.key.seal(content, _where(device.endpoint_name, number, name))
            for name, content in material.secrets.items()
        }
        draft.identities[material.identity] = device.endpoint_name
        draft.marks[mark] = (device.endpoint_name, new.purpose)
        held = _Held(
            replace(device, credentials=(*device.credentials, credential)),
            {**plan.held.kept, number: _Kept(sealed, mark)},
            plan.held.shard,
        )
        return _Planned(held, {**plan.secrets, number: material.secrets})

    def _refuse_shared(
        self, plan: _Planned, material: Material, new: NewCredential, mark: str, draft: _Draft
    ) -> None:
        """Refuse an identity that is taken, and a key of another purpose or device. Raises VaultError."""
        name, certificate = plan.device.endpoint_name, new.mode == "x509"
        self._refuse_key(plan, new, mark, draft)
        drafted = draft.identities.get(material.identity)
        owner = self._other_with(material.identity, name)
        if owner is not None or (drafted is not None and drafted != name):
            whose = owner.endpoint_name if owner is not None else drafted
            raise VaultError(f"the identity {material.identity} is taken already, by {whose}", "conflict")
        own = (one for one in plan.device.credentials if one.identity == material.identity)
        if not certificate and any(one.state != "revoked" for one in own):
            raise VaultError(
                f"{name} has the identity {material.identity} already: each credential needs its own",
                "conflict",
            )

    def _refuse_key(self, plan: _Planned, new: NewCredential, mark: str, draft: _Draft) -> None:
        name = plan.device.endpoint_name
        drafted = draft.marks.get(mark)
        if drafted is not None and drafted[0] != name:
            raise _shared_key(drafted[0])
        own = {one.id for one in plan.device.credentials}
        for number, owner in self._marks.get(mark, {}).items():
            if number not in own and owner != name:
                raise _shared_key(owner)
        for one in plan.device.credentials:
            kept = plan.held.kept[one.id]
            if kept.mark != mark:
                continue
            if one.purpose != new.purpose:
                raise VaultError(
                    f"{name} uses this key for {one.purpose}; bootstrap and server need different keys",
                    "conflict",
                )
            if kept.before:
                raise VaultError(f"this key of {name} was revoked: reinstate it, or use another", "conflict")
            # A certificate may be renewed for the key it has; any other new credential means a new key.
            if new.mode != "x509":
                raise VaultError(f"{name} has, or had, this very key: use a new one", "conflict")

    def _outdated(self, held: _Held, purpose: str, staged: bool) -> _Held:
        """The device with the credentials of a purpose on their way out, before a new one is put in."""
        now = self._wall()
        end = now + self._settings.overlap_days * DAY_S
        waiting = [c for c in held.device.credentials if c.purpose == purpose and c.state == "staged"]
        too_many = {one.id for one in waiting[: max(0, len(waiting) - MAX_STAGED + 1)]}
        credentials = []
        for one in held.device.credentials:
            if one.purpose == purpose and one.state != "revoked":
                if not staged or one.id in too_many:
                    one = _revoked(one, now, REPLACED)
                elif one.state == "active":
                    ends = end if one.expires_at is None else min(end, one.expires_at)
                    one = replace(
                        one, state="retiring", expires_at=ends, changed_at=now, reason="being replaced"
                    )
            credentials.append(one)
        return _with(held, credentials)

    def _commit(
        self, changes: Mapping[str, _Held | None], entries: Sequence[tuple[float, str, str, str]]
    ) -> None:
        """Write the devices and the entries, then let everybody see them. Raises VaultError."""
        rows: dict[str, Rows] = {}
        placed: dict[str, _Held | None] = {}
        names = {shard: dict(members) for shard, members in self._names.items()}
        changed: set[str] = set()
        for name, held in changes.items():
            known = self._held.get(name)
            if held is None and known is not None:
                names[known.shard].pop(name, None)
                changed.add(known.shard)
            placed[name] = held if held is None or known is None else replace(held, shard=known.shard)
            if known is not None:
                changed.add(known.shard)
        self._settle(placed, names, changed)
        for shard in changed:
            members = (placed.get(name) or self._held[name] for name in names.get(shard, {}))
            rows[shard] = [_row_of(held) for held in members]
        self._records.commit(rows, entries)
        self._names = names
        ended: list[Credential] = []
        for name, held in placed.items():
            was = self._held.get(name)
            ended.extend(_ended(was, held) if was is not None else ())
            self._index(name, held)
        for credential in ended:
            self.dropped(credential)

    def _settle(
        self, placed: dict[str, _Held | None], names: dict[str, dict[str, None]], changed: set[str]
    ) -> None:
        """Give every changed device a shard: a new one where there is room, a grown one perhaps another."""
        sizes = {shard: self._records.size(shard) for shard in self._records.shards()}
        number = int(self._records.new_shard().partition("-")[2])
        current = ""
        for name, held in placed.items():
            if held is None:
                continue
            need = _row_bytes(held)
            if held.shard:
                old = self._held[name]
                grown = sizes.get(held.shard, 0) + need - _row_bytes(old)
                if grown <= SHARD_MAX_BYTES or len(names[held.shard]) == 1:
                    sizes[held.shard] = grown
                    continue
                sizes[held.shard] -= _row_bytes(old)
                names[held.shard].pop(name)
            if not current or sizes[current] + need > SHARD_FILL_BYTES:
                roomiest = min(sizes, key=lambda shard: sizes[shard], default="")
                if roomiest and sizes[roomiest] + need <= SHARD_FILL_BYTES:
                    current = roomiest
                else:
                    current, number = f"devices-{number:04d}", number + 1
                    sizes[current] = 0
            sizes[current] += need
            names.setdefault(current, {})[name] = None
            changed.add(current)
            placed[name] = replace(held, shard=current)

    def _write_general(
        self, permissions: Mapping[str, Permissions], entries: Sequence[tuple[float, str, str, str]]
    ) -> None:
        rows = [
            {"account": account, "groups": dict(one.groups)} for account, one in sorted(permissions.items())
        ]
        self._records.commit({}, entries, {"permissions": rows})

    def _unopened(self) -> list[str]:
        problems = []
        for number, (endpoint_name, kept) in list(self._credentials.items()):
            for name, sealed in kept.sealed.items():
                try:
                    self._opened(endpoint_name, number, name, sealed)
                except VaultError as error:
                    problems.append(str(error))
        return problems


@dataclass(frozen=True, slots=True)
class _Planned:
    """A device as it shall be, and the secrets of what was made for it."""

    held: _Held
    secrets: Mapping[str, Mapping[str, bytes]] = field(repr=False)

    @property
    def device(self) -> Device:
        return self.held.device


@dataclass(slots=True)
class _Draft:
    """What the rows before have taken: names, identities, keys."""

    rows: dict[str, int] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    marks: dict[str, tuple[str, str]] = field(default_factory=dict)


def check_vault(state: Path, settings: VaultSettings, wall: Callable[[], float]) -> list[str]:
    """What is wrong with the vault of a state folder, a sentence each: documents, secrets, audit log. Changes
    nothing; a state folder without a vault is well.
    """
    folder = state / "vault"
    if not folder.is_dir() or not any(path.suffix == ".json" for path in folder.iterdir()):
        return []
    try:
        vault = Vault(folder, SealingKey.load(state, settings.key_file, create=False), settings, wall)
        problems = vault.check()
    except VaultError as error:
        problems = [str(error)]
    return [f"vault: {problem}" for problem in problems]


# Rows of the documents


def _row_of(held: _Held) -> dict[str, Any]:
    device = held.device
    return {
        "endpoint_name": device.endpoint_name,
        "label": device.label,
        "groups": list(device.groups),
        "tags": list(device.tags),
        "nosec": device.nosec,
        "blocked": device.blocked,
        "plan": device.plan,
        "made_at": device.made_at,
        "rebootstrap_asked": device.rebootstrap_asked,
        "credentials": [_credential_row(one, held.kept[one.id]) for one in device.credentials],
    }


def _credential_row(one: Credential, kept: _Kept) -> dict[str, Any]:
    return {
        "id": one.id,
        "purpose": one.purpose,
        "mode": one.mode,
        "identity": one.identity,
        "public": dict(one.public),
        "sealed": dict(kept.sealed),
        "mark": kept.mark,
        "state": one.state,
        "before": kept.before,
        "made_at": one.made_at,
        "expires_at": one.expires_at,
        "changed_at": one.changed_at,
        "reason": one.reason,
    }


def _held_of(row: Mapping[str, Any], shard: str) -> _Held:
    name = str(row["endpoint_name"])
    credentials, kept = [], {}
    for one in row["credentials"]:
        sealed = {str(secret): str(text) for secret, text in one["sealed"].items()}
        kept[str(one["id"])] = _Kept(sealed, str(one["mark"]), str(one["before"]))
        credentials.append(
            Credential(
                str(one["id"]),
                name,
                str(one["purpose"]),
                str(one["mode"]),
                str(one["identity"]),
                dict(one["public"]),
                tuple(sorted(sealed)),
                str(one["state"]),
                float(one["made_at"]),
                None if one["expires_at"] is None else float(one["expires_at"]),
                float(one["changed_at"]),
                str(one["reason"]),
            )
        )
    asked = row["rebootstrap_asked"]
    device = Device(
        name,
        str(row["label"]),
        tuple(map(str, row["groups"])),
        tuple(map(str, row["tags"])),
        bool(row["nosec"]),
        bool(row["blocked"]),
        None if row["plan"] is None else str(row["plan"]),
        float(row["made_at"]),
        tuple(credentials),
        None if asked is None else float(asked),
    )
    return _Held(device, kept, shard)


def _row_bytes(held: _Held) -> int:
    """About what a device takes in its file, where it stands three levels deep."""
    text = json.dumps(_row_of(held), indent=1, ensure_ascii=False)
    return len(text.encode("utf-8", "surrogatepass")) + 3 * text.count("\n") + 16


# Values


def _with(held: _Held, credentials: Sequence[Credential]) -> _Held:
    """The device with other credentials. One that was replaced loses its secrets for good, and only the last
    few of those are remembered.
    """
    replaced = [one.id for one in credentials if one.state == "revoked" and not held.kept[one.id].before]
    forgotten = set(replaced[: max(0, len(replaced) - MAX_REPLACED)])
    stripped = set(replaced)
    staying, kept = [], {}
    for one in credentials:
        if one.id in forgotten:
            continue
        had = held.kept[one.id]
        if one.id in stripped and had.sealed:
            public = {name: value for name, value in one.public.items() if name != "certificate_pem"}
            one, had = replace(one, secrets=(), public=public), replace(had, sealed={})
        staying.append(one)
        kept[one.id] = had
    return replace(held, device=replace(held.device, credentials=tuple(staying)), kept=kept)


def _revoked(one: Credential, now: float, reason: str) -> Credential:
    return replace(one, state="revoked", changed_at=now, reason=reason)


def _weight(one: Credential) -> tuple[int, float]:
    """Which of several credentials with one identity counts: one in use, and the newest."""
    return ("revoked", "retiring", "staged", "active").index(one.state), one.made_at


def _trust(held: _Held) -> tuple[object, ...]:
    """What of a device decides who is let in."""
    device = held.device
    return device.nosec, device.blocked, device.credentials


def _ended(old: _Held, held: _Held | None) -> list[Credential]:
    """The certificates of a device that opened before a change and do not any more."""
    living = set() if held is None else {c.id for c in held.device.credentials if c.state != "revoked"}
    return [
        one
        for one in old.device.credentials
        if one.mode == "x509" and one.state != "revoked" and one.id not in living
    ]


def _sha256(one: Credential) -> str:
    return str(one.public.get("sha256") or one.public.get("pinned_sha256") or "")


def _where(endpoint_name: str, credential_id: str, name: str) -> str:
    return f"{endpoint_name}/{credential_id}/{name}"


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in words))


def _wrong_fields(device: Device) -> Iterator[str]:
    name = device.endpoint_name
    if not name:
        yield "the endpoint name is missing"
    elif not name.isprintable() or name != name.strip():
        yield f"the endpoint name {name!r} has characters that cannot be printed, or spaces around it"
    elif len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        yield f"the endpoint name {name[:20]}… has more than {MAX_NAME_BYTES} bytes"
    if not device.label.isprintable() or len(device.label) > MAX_LABEL:
        yield f"the label must be printable and have at most {MAX_LABEL} characters"
    for kind, words in (("group", device.groups), ("tag", device.tags)):
        if len(words) > MAX_WORDS:
            yield f"a device has at most {MAX_WORDS} {kind}s, not {len(words)}"
        yield from (problem for problem in (_wrong_word(kind, word) for word in words[:MAX_WORDS]) if problem)
    if device.plan is not None and (not device.plan.isprintable() or len(device.plan) > MAX_WORD):
        yield f"a bootstrap plan has an id of 1 to {MAX_WORD} printable characters"


def _wrong_word(kind: str, word: str) -> str:
    if not 1 <= len(word) <= MAX_WORD or not word.isprintable() or "," in word or ";" in word or word == "*":
        said = f"the {kind} {word[:20]!r} is no name: 1 to {MAX_WORD} printable characters"
        return f"{said} without comma, semicolon or *"
    return ""


def _shared_key(owner: str) -> VaultError:
    return VaultError(f"this key is used by {owner} already: each device needs a key of its own", "conflict")


def _added_words(device: Device) -> str:
    identities = ", ".join(one.identity for one in device.credentials)
    return f"device added: {identities}" if identities else "device added, without a key"


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "/".join(value) or "none"
    return f"{value!r}" if value else "none"


def _plain(name: str) -> str:
    return name.replace("_", " ")
