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

How it is done stands in rooms beside: `shelves` writes and reads, `index` looks up, `drafts` checks what is
new, `lifecycle` knows the states of a credential. Longer than 400 lines: every change there is, each under
the one lock and with its own words for the audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import EllipsisType
from typing import Final

from appliance.vault import audit
from appliance.vault.drafts import Drafting, Planned
from appliance.vault.errors import VaultError
from appliance.vault.fields import MAX_LABEL, MAX_WORD, unique, wrong_fields, wrong_word
from appliance.vault.holding import Held, where
from appliance.vault.lifecycle import (
    come_into_use,
    outdated,
    reinstated,
    revoked_by_hand,
    with_credentials,
)
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
from appliance.vault.records import Version
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.shelves import Entries, Shelves

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

MAX_CREDENTIALS: Final = 12  # of one device, not revoked
DAY_S: Final = 86400.0


class Vault:
    """The vault in ``folder`` (``<state>/vault``). Thread-safe. ``wall`` gives seconds since the epoch."""

    def __init__(
        self, folder: Path, key: SealingKey, settings: VaultSettings, wall: Callable[[], float]
    ) -> None:
        self.folder = folder
        self.key = key
        self._settings = settings
        self._wall = wall
        self._shelves = Shelves(folder, key)
        self._index = self._shelves.index
        self._records = self._shelves.records
        self._drafting = Drafting(self._index, key)
        # Told of every certificate that was revoked, replaced or removed: the authority lists it.
        self.dropped: Callable[[Credential], None] = lambda credential: None
        self._judged: tuple[Version, list[str]] | None = None

    def open(self) -> None:
        """Load everything; finishes what a power cut interrupted. Raises VaultError("unavailable")."""
        with self._turn():
            self._index.take_touched(self._wall())

    # Looking

    def devices(self) -> list[Device]:
        """All devices by endpoint name."""
        return sorted(self._index.devices(), key=lambda one: one.endpoint_name)

    def device(self, endpoint_name: str) -> Device | None:
        """One device, None when the vault does not know it."""
        held = self._index.held(endpoint_name)
        return None if held is None else held.device

    def groups(self) -> list[str]:
        """The names of all groups that devices are in."""
        return sorted({group for device in self._index.devices() for group in device.groups})

    def by_identity(self, identity: str, purpose: str | None = None) -> Credential | None:
        """The credential of an identity string, in any state; one that is in use before one that is not.

        ``purpose`` prefers that purpose: only the certificates of one device may share a name over both.
        """
        return self._index.by_identity(identity, purpose)

    def all_by_identity(self, identity: str) -> tuple[Credential, ...]:
        """All credentials of an identity string: certificates may share a name, revoked ones stay a while."""
        return self._index.all_by_identity(identity)

    def by_certificate(self, sha256: str) -> Credential | None:
        """The credential of a certificate by its SHA-256 (hex), in any state."""
        return self._index.by_certificate(sha256)

    def pinned(self, sha256: str) -> bool:
        """Whether this very certificate (SHA-256, hex) was given to a device by hand, and is not revoked."""
        found = self.by_certificate(sha256)
        return found is not None and found.state != "revoked"

    def psk_key(self, credential: Credential) -> bytes | None:
        """The key of a PSK credential, for a handshake: in memory, no disk. None when there is none."""
        found = self._index.kept(credential.id)
        if found is None or "psk_key" not in found[1].sealed:
            return None
        return self._opened(found[0], credential.id, "psk_key", found[1].sealed["psk_key"])

    def secret(self, credential_id: str, name: str, by: str = "") -> bytes:
        """A secret, unsealed. ``by`` says to whom it is shown: then the audit log gets an entry first.

        "psk_key", "master_secret" and "master_salt" are the bytes, "private_key" is PKCS #8 in DER.
        Raises VaultError.
        """
        found = self._index.kept(credential_id)
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

    def check_new(self, new: Sequence[NewDevice], called: Sequence[int] = ()) -> list[tuple[int, VaultError]]:
        """Everything that speaks against adding these: (row from 0, what it is); changes nothing. ``called``:
        the numbers that the rows have for people, where they do not count from 1.
        """
        with self._turn():
            return self._drafting.devices(new, self._wall(), called)[1]

    def add(self, new: Sequence[NewDevice], by: str) -> list[Provisioned]:
        """Add devices: all of them, or none, and VaultError with the first problem."""
        with self._turn():
            now = self._wall()
            planned, problems = self._drafting.devices(new, now)
            if problems:
                row, error = problems[0]
                where = f"row {row + 1}: " if len(new) > 1 else ""
                more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
                raise error.within(where, more)
            if not planned:
                return []
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
                groups=old.groups if groups is None else unique(groups),
                tags=old.tags if tags is None else unique(tags),
                nosec=old.nosec if nosec is None else bool(nosec),
                plan=old.plan if isinstance(plan, EllipsisType) else (plan or None),
                blocked=old.blocked if blocked is None else bool(blocked),
            )
            problem = next(iter(wrong_fields(device)), "")
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
            overlap_s = self._settings.overlap_days * DAY_S
            return self._put_credential(
                outdated(held, purpose, staged, self._wall(), overlap_s),
                new,
                by,
                staged,
                "key replaced, " + ("staged" if staged else "at once"),
            )

    def used(self, identity: str) -> None:
        """A device has shown this identity. A staged credential becomes active by it, and those before it of
        its purpose are revoked; costs a look at a dictionary when nothing changes.
        """
        found = self._index.all_by_identity(identity)
        if not found or found[0].state != "staged":
            return
        with self._turn():
            found = tuple(one for one in self._index.all_by_identity(identity) if one.opens(self._wall()))
            # Certificates with one name: the name does not say which of them was shown.
            if len(found) != 1 or found[0].state != "staged":
                return
            name, now = found[0].endpoint_name, self._wall()
            held = come_into_use(self._found(name), found[0], now)
            self._commit(
                {name: held}, [(now, "the device", f"new {found[0].purpose} key used: {identity}", name)]
            )

    def taken_over(self, credential_id: str) -> None:
        """A device has said that it has this staged credential now: the same as if it had been used, and the
        only way to know it of a certificate. Nothing happens when it is gone or no more staged.
        """
        with self._turn():
            found = self._index.kept(credential_id)
            held = None if found is None else self._found(found[0])
            one = next((c for c in held.device.credentials if c.id == credential_id), None) if held else None
            if held is not None and one is not None and one.state == "staged":
                now, name = self._wall(), one.endpoint_name
                what = f"new {one.purpose} key taken over: {one.identity}"
                self._commit({name: come_into_use(held, one, now)}, [(now, "the device", what, name)])

    def revoke(self, endpoint_name: str, by: str, reason: str, credential_id: str | None = None) -> None:
        """Let a credential, or all of a device, open no more. Raises VaultError."""
        with self._turn():
            held, now = self._found(endpoint_name), self._wall()
            reason = " ".join(reason.split())[:MAX_LABEL] or "revoked by hand"
            if credential_id is not None and credential_id not in held.kept:
                raise VaultError(f"{endpoint_name} has no credential {credential_id}", "not_found")
            held, said = revoked_by_hand(held, credential_id, now, reason)
            if said:
                what = f"revoked {', '.join(said)}: {reason}"
                self._commit({endpoint_name: held}, [(now, by, what, endpoint_name)])

    def reinstate(self, endpoint_name: str, by: str, credential_id: str | None = None) -> Device:
        """Take back what was revoked by hand, and the block. Raises VaultError, for instance when the
        identity is another device's by now.
        """
        with self._turn():
            held, now = self._found(endpoint_name), self._wall()
            was_blocked = held.device.blocked
            held, said = reinstated(held, credential_id, now, self._index.other_with)
            held = replace(held, device=replace(held.device, blocked=False))
            if said or was_blocked:
                what = f"reinstated {', '.join(said) or 'the device'}"
                self._commit({endpoint_name: held}, [(now, by, what, endpoint_name)])
            return held.device

    def give_plan(self, endpoint_names: Sequence[str], plan: str | None, by: str) -> int:
        """Give these devices a bootstrap plan, None for the default one; answers how many had another.
        Raises VaultError, and nothing is changed then.
        """
        with self._turn():
            changes: dict[str, Held | None] = {}
            for name in dict.fromkeys(endpoint_names):
                held = self._found(name)
                device = replace(held.device, plan=plan or None)
                problem = next(iter(wrong_fields(device)), "")
                if problem:
                    raise VaultError(problem)
                if device != held.device:
                    changes[name] = replace(held, device=device)
            if changes:
                now, what = self._wall(), f"device changed: plan {_said(plan or None)}"
                self._commit(changes, [(now, by, what, name) for name in changes])
            return len(changes)

    def ask_rebootstrap(self, endpoint_names: str | Sequence[str], by: str) -> int:
        """Note that these devices shall bootstrap again; answers how many. Raises VaultError("not_found")."""
        names = [endpoint_names] if isinstance(endpoint_names, str) else list(dict.fromkeys(endpoint_names))
        with self._turn():
            now = self._wall()
            changes: dict[str, Held | None] = {}
            for name in names:
                held = self._found(name)
                changes[name] = replace(held, device=replace(held.device, rebootstrap_asked=now))
            if changes:
                self._commit(changes, [(now, by, "bootstrap asked for", name) for name in names])
            return len(names)

    def withdraw_rebootstrap(self, endpoint_names: Sequence[str], by: str) -> int:
        """Of these devices, those that were asked to bootstrap need not any more; answers how many. Raises
        VaultError("not_found").
        """
        with self._turn():
            changes: dict[str, Held | None] = {}
            for name in dict.fromkeys(endpoint_names):
                held = self._found(name)
                if held.device.rebootstrap_asked is not None:
                    changes[name] = replace(held, device=replace(held.device, rebootstrap_asked=None))
            if changes:
                now = self._wall()
                self._commit(changes, [(now, by, "bootstrap no longer asked for", name) for name in changes])
            return len(changes)

    def rebootstrap_done(self, endpoint_name: str) -> None:
        """The device has bootstrapped; nothing happens when nobody had asked, or the device is gone."""
        held = self._index.held(endpoint_name)
        if held is None or held.device.rebootstrap_asked is None:
            return
        with self._turn():
            held = self._index.held(endpoint_name)
            if held is not None and held.device.rebootstrap_asked is not None:
                held = replace(held, device=replace(held.device, rebootstrap_asked=None))
                self._commit(
                    {endpoint_name: held},
                    [(self._wall(), "the device", "bootstrapped as asked", endpoint_name)],
                )

    # Permissions of accounts

    def permissions(self, account: str) -> Permissions | None:
        """What an account may do with which groups; None: with every device what its scopes allow."""
        return self._shelves.permissions.get(account.casefold())

    def all_permissions(self) -> dict[str, Permissions]:
        """By account, in lower case."""
        return dict(sorted(self._shelves.permissions.items()))

    def set_permissions(self, account: str, groups: Mapping[str, str] | None, by: str) -> None:
        """Narrow an account to groups ("*" is every device), or with None lift that. Raises VaultError."""
        key = account.casefold()
        if not account.isprintable() or not 1 <= len(account) <= MAX_WORD:
            raise VaultError(f"an account has a name of 1 to {MAX_WORD} printable characters")
        for group, right in (groups or {}).items():
            problem = "" if group == "*" else wrong_word("group", group)
            if not problem and right not in RIGHTS:
                problem = f"the right on a group is one of {', '.join(RIGHTS)}, not {right!r}"
            if problem:
                raise VaultError(problem)
        with self._turn():
            wanted = dict(self._shelves.permissions)
            if groups is None:
                if wanted.pop(key, None) is None:
                    return
                said = "permissions lifted: all devices"
            else:
                wanted[key] = Permissions(dict(groups))
                said = "permissions: " + (", ".join(f"{g} {r}" for g, r in sorted(groups.items())) or "none")
            self._shelves.commit_permissions(wanted, [(self._wall(), by, said, account)])

    # The audit log

    def note(self, by: str, what: str, about: str = "") -> None:
        """An entry for something that happened beside the vault's own changes. Raises VaultError."""
        with self._turn():
            entry = (self._wall(), by, what, about)
            self._shelves.commit_permissions(self._shelves.permissions, [entry])

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
        last call: by own changes too, and when a key or a certificate has expired. Never waits for another
        process: then the next call takes it over.
        """
        self._shelves.catch_up()
        return self._index.take_touched(self._wall())

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nobody changes the vault meanwhile, in no process: for a backup of its files."""
        with self._turn():
            yield

    def check(self) -> list[str]:
        """For `homard check`, in place of `open`: what is wrong, a sentence each. Changes nothing."""
        self._shelves.read()
        return [*self.problems(), *self._unopened(), *self._judge()]

    # Inside

    def _turn(self) -> AbstractContextManager[None]:
        return self._shelves.turn()

    def _found(self, endpoint_name: str) -> Held:
        held = self._index.held(endpoint_name)
        if held is None:
            raise VaultError(f"there is no device {endpoint_name!r} in the vault", "not_found")
        return held

    def _opened(self, endpoint_name: str, credential_id: str, name: str, sealed: str) -> bytes:
        return self.key.open(sealed, where(endpoint_name, credential_id, name))

    def _put_credential(
        self, held: Held, new: NewCredential, by: str, staged: bool, what: str
    ) -> Provisioned:
        now, name = self._wall(), held.device.endpoint_name
        if sum(one.state != "revoked" for one in held.device.credentials) >= MAX_CREDENTIALS:
            raise VaultError(
                f"{name} has {MAX_CREDENTIALS} credentials already: revoke one first", "conflict"
            )
        plan = self._drafting.credential(Planned(held, {}), new, "staged" if staged else "active", now)
        made = plan.device.credentials[-1]
        held = with_credentials(plan.held, plan.device.credentials)
        words = f"{what}: {made.identity} for {made.purpose}"
        self._commit({name: held}, [(now, by, words, name)])
        return Provisioned(held.device, (made,), plan.secrets)

    def _commit(self, changes: Mapping[str, Held | None], entries: Entries) -> None:
        for credential in self._shelves.commit(changes, entries):
            self.dropped(credential)

    def _unopened(self) -> list[str]:
        problems = []
        for endpoint_name, number, kept in self._index.all_kept():
            for name, sealed in kept.sealed.items():
                try:
                    self._opened(endpoint_name, number, name, sealed)
                except VaultError as error:
                    problems.append(str(error))
        return problems


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
