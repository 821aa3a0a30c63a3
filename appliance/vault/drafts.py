"""New devices and credentials, checked against the vault and against each other before they are written."""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from appliance.vault.errors import Taken, VaultError
from appliance.vault.fields import unique, wrong_fields
from appliance.vault.holding import Held, Kept, where
from appliance.vault.index import Index
from appliance.vault.material import Material, prepare
from appliance.vault.model import Credential, Device, NewCredential, NewDevice
from appliance.vault.sealing import SealingKey

_SHARED_KEY: Final = "this key is used by {} already: each device needs a key of its own"


@dataclass(frozen=True, slots=True)
class Planned:
    """A device as it shall be, and the secrets of what was made for it."""

    held: Held
    secrets: Mapping[str, Mapping[str, bytes]] = field(repr=False)

    @property
    def device(self) -> Device:
        return self.held.device


@dataclass(slots=True)
class Draft:
    """What the rows before have taken: names, identities, keys."""

    rows: dict[str, int] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    marks: dict[str, tuple[str, str]] = field(default_factory=dict)


class Drafting:
    """Makes devices and credentials as they shall be. Whoever calls it has a turn at the vault."""

    def __init__(self, index: Index, key: SealingKey) -> None:
        self._index = index
        self._key = key

    def devices(
        self, new: Sequence[NewDevice], now: float, called: Sequence[int] = ()
    ) -> tuple[list[Planned], list[tuple[int, VaultError]]]:
        """New devices, and everything that speaks against adding them: (row from 0, why). ``called``: the
        numbers that the rows have for people.
        """
        planned: list[Planned] = []
        problems: list[tuple[int, VaultError]] = []
        draft = Draft()
        for row, one in enumerate(new):
            device = Device(
                one.endpoint_name,
                one.label.strip(),
                unique(one.groups),
                unique(one.tags),
                one.nosec,
                False,
                one.plan or None,
                now,
                (),
                None,
            )
            wrong = [VaultError(problem) for problem in wrong_fields(device)]
            name = device.endpoint_name
            if self._index.held(name) is not None:
                wrong.append(VaultError(f"there is a device {name} already", "conflict"))
            if name in draft.rows:
                first = called[draft.rows[name]] if called else draft.rows[name] + 1
                wrong.append(VaultError(f"{name} stands in row {first} already", "conflict"))
            plan = Planned(Held(device, {}), {})
            # Keys are named by their device: a row without a proper name of its own gets none.
            fresh = self._index.held(name) is None and name not in draft.rows
            proper = bool(name) and name.isprintable() and fresh
            draft.rows.setdefault(name, row)
            for credential in one.credentials if proper else ():
                try:
                    plan = self.credential(plan, credential, "active", now, draft)
                except VaultError as error:
                    wrong.append(error)
            problems.extend((row, problem) for problem in wrong)
            planned.append(plan)
        return planned, problems

    def credential(
        self, plan: Planned, new: NewCredential, state: str, now: float, draft: Draft | None = None
    ) -> Planned:
        """The device with one more credential. Raises VaultError."""
        draft = draft or Draft()
        device = plan.device
        own = {one.identity for one in device.credentials}

        def taken(identity: str) -> bool:
            return self._index.identity_is_known(identity) or identity in draft.identities or identity in own

        material = prepare(new, device.endpoint_name, taken, own, now)
        mark = self._key.mark(*material.mark)
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
            name: self._key.seal(content, where(device.endpoint_name, number, name))
            for name, content in material.secrets.items()
        }
        draft.identities[material.identity] = device.endpoint_name
        draft.marks[mark] = (device.endpoint_name, new.purpose)
        held = Held(
            replace(device, credentials=(*device.credentials, credential)),
            {**plan.held.kept, number: Kept(sealed, mark)},
            plan.held.shard,
        )
        return Planned(held, {**plan.secrets, number: material.secrets})

    def _refuse_shared(
        self, plan: Planned, material: Material, new: NewCredential, mark: str, draft: Draft
    ) -> None:
        """Refuse an identity that is taken, and a key of another purpose or device. Raises VaultError."""
        name, certificate = plan.device.endpoint_name, new.mode == "x509"
        self._refuse_key(plan, new, mark, draft)
        drafted = draft.identities.get(material.identity)
        owner = self._index.other_with(material.identity, name)
        taken = f"the identity {material.identity} is taken already, by "
        if owner is not None:
            raise Taken(taken, owner.endpoint_name, "")
        if drafted is not None and drafted != name:
            raise VaultError(taken + drafted, "conflict")
        own = (one for one in plan.device.credentials if one.identity == material.identity)
        if not certificate and any(one.state != "revoked" for one in own):
            raise VaultError(
                f"{name} has the identity {material.identity} already: each credential needs its own",
                "conflict",
            )

    def _refuse_key(self, plan: Planned, new: NewCredential, mark: str, draft: Draft) -> None:
        name = plan.device.endpoint_name
        drafted = draft.marks.get(mark)
        if drafted is not None and drafted[0] != name:
            raise VaultError(_SHARED_KEY.format(drafted[0]), "conflict")
        own = {one.id for one in plan.device.credentials}
        for number, owner in self._index.with_mark(mark).items():
            if number not in own and owner != name:
                before, _, after = _SHARED_KEY.partition("{}")
                raise Taken(before, owner, after)
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
