"""What `homard device` says: the Register Tool in lines for people, or in JSON for programs.

Every method answers the text to print and raises VaultError with a sentence. Whether a server runs on the
same folder does not matter: the vault's files are locked while they change, and the server looks at them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from appliance.vault.errors import VaultError
from appliance.vault.model import Credential, Device, NewDevice
from appliance.vault.provisioning import Gateway, Json, certificate_from, hex_from, public_key_from
from appliance.vault.register import Given, Register, Report, Shown
from appliance.vault.vault import Vault

CLIENTS: Final = ("leshan", "anjay", "wakaama", "zephyr")
_ONCE: Final = (
    "Secrets are shown this once; a device that lost its own gets a new one by `homard device rotate`."
)
_SHOWN: Final = 10  # names in one sentence
_NAMES: Final = {
    "uri": "server",
    "security": "security",
    "psk_identity": "PSK identity",
    "psk_identity_hex": "PSK identity (hex)",
    "psk_key_hex": "PSK key (hex)",
}
_PEMS: Final = (
    *("public_key_pem", "certificate_pem", "private_key_pem"),
    *("server_public_key_pem", "server_certificate_pem", "authority_pem"),
)


class DeviceCommand:
    """The commands over one vault. ``gateway`` is asked where an address must be told, ``plans`` which
    bootstrap plans there are; ``by`` is who asks.
    """

    def __init__(
        self,
        vault: Vault,
        register: Register,
        gateway: Callable[[], Gateway],
        plans: Callable[[], Sequence[str]],
        by: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._vault = vault
        self._register = register
        self._gateway = gateway
        self._plans = plans
        self._by = by
        self._wall = wall

    def add(
        self,
        endpoint_name: str,
        *,
        label: str = "",
        groups: Sequence[str] = (),
        tags: Sequence[str] = (),
        security: str = "psk",
        bootstrap: bool = False,
        plan: str | None = None,
        client: str = "leshan",
        as_json: bool = False,
        **material: str | None,
    ) -> str:
        """One device; ``material`` as in `given`."""
        self._check_plan(plan)
        shown = self._register.add(
            NewDevice(endpoint_name, label, tuple(groups), tuple(tags), plan=plan),
            security,
            given(**material),
            bootstrap=bootstrap,
            gateway=self._gateway(),
            by=self._by,
        )
        if as_json:
            return _json(_flat(shown))
        return _provisioned(shown, f"{endpoint_name} is added.", client)

    def rotate(
        self,
        endpoint_name: str,
        *,
        purpose: str | None = None,
        now: bool = False,
        client: str = "leshan",
        as_json: bool = False,
        **material: str | None,
    ) -> str:
        """A new key; staged unless ``now``."""
        shown = self._register.rotate(
            endpoint_name,
            purpose,
            given(**material),
            staged=not now,
            gateway=self._gateway(),
            by=self._by,
        )
        if as_json:
            return _json(_flat(shown))
        old = (
            "revoked: the device is locked out until it has this one"
            if now
            else "good until this one is used"
        )
        return _provisioned(shown, f"{endpoint_name} has a new key; the old one is {old}.", client)

    def show(self, endpoint_name: str, *, as_json: bool = False) -> str:
        """One device and its keys, without the secrets."""
        device = self._found(endpoint_name)
        return _json(_plain(device)) if as_json else "\n".join(_described(device, self._wall()))

    def listing(self, *, group: str = "", tag: str = "", search: str = "", as_json: bool = False) -> str:
        """Devices, a line each."""
        found = [one for one in self._chosen(group) if not tag or tag in one.tags]
        wanted = search.casefold()
        found = [
            one for one in found if wanted in one.endpoint_name.casefold() or wanted in one.label.casefold()
        ]
        if as_json:
            return _json({"devices": [_plain(one) for one in found]})
        if not found:
            return "There is no such device. Add one: homard device add NAME"
        rows = [("ENDPOINT NAME", "SECURITY", "GROUPS", "LABEL")]
        now = self._wall()
        rows += [(one.endpoint_name, _security(one, now), ",".join(one.groups), one.label) for one in found]
        return "\n".join(_table(rows))

    def take_in(self, data: bytes, *, dry_run: bool = False, as_json: bool = False) -> tuple[str, bool]:
        """A list of devices: what to print, and whether every row was right."""
        known = self._plans()
        report = self._register.take_in(
            data, self._gateway(), self._by, dry_run=dry_run, may=lambda new: _wrong_plan(new.plan, known)
        )
        if as_json:
            devices = [_flat(one) for one in report.devices]
            return _json({"added": report.added, "rows": report.rows, "devices": devices}), report.is_good
        return "\n".join(_reported(report, dry_run)), report.is_good

    def list_out(self, *, group: str = "", form: str = "csv") -> bytes:
        """Devices as CSV or JSON, without secrets."""
        return self._register.list_out(self._chosen(group), form)

    def label(self, endpoint_names: Sequence[str] = (), *, group: str = "") -> str:
        """SVG: the label of one device, or sheets of labels."""
        if len(endpoint_names) == 1 and not group:
            return self._register.label(self._found(endpoint_names[0]), self._gateway())
        chosen = [self._found(name) for name in endpoint_names] or self._chosen(group)
        if not chosen:
            raise VaultError(
                f"no device is in the group {group!r}" if group else "there is no device", "not_found"
            )
        return self._register.sheet(chosen, self._gateway())

    def revoke(self, endpoint_name: str, *, reason: str = "") -> str:
        """Let it in no more."""
        self._register.revoke(endpoint_name, self._by, reason)
        return (
            f"{endpoint_name} is let in no more; a running server ends its session within seconds.\n"
            "To let it in again: homard device rotate (a new key) or reinstate (the old one)."
        )

    def reinstate(self, endpoint_name: str) -> str:
        """Take back a revocation."""
        self._register.reinstate(endpoint_name, self._by)
        return f"{endpoint_name} is let in again."

    def remove(self, endpoint_name: str) -> str:
        """Forget it."""
        self._register.remove(endpoint_name, self._by)
        return f"{endpoint_name} and its keys are forgotten."

    def rebootstrap(self, endpoint_names: Sequence[str], *, group: str = "", plan: str | None = None) -> str:
        """Have devices bootstrap again, with another plan where one is named."""
        chosen = self._several(endpoint_names, group)
        names = [one.endpoint_name for one in chosen]
        self._check_plan(plan)
        if plan is not None:
            self._vault.give_plan(names, None if plan == "default" else plan, self._by)
        count = self._vault.ask_rebootstrap(names, self._by)
        devices = "1 device" if count == 1 else f"{count} devices"
        lines = [f"{devices} will be told to bootstrap when heard next; the page shows each session."]
        without = [one.endpoint_name for one in chosen if not _bootstraps_here(one)]
        if without:
            lines.append(
                f"Without a key for the bootstrap server here: {_some(without)}. They are told as well, but "
                "can bootstrap only where they have an account."
            )
        return "\n".join(lines)

    def withdraw_rebootstrap(self, endpoint_names: Sequence[str], *, group: str = "") -> str:
        """Of those that were asked to bootstrap again, these need not."""
        chosen = self._several(endpoint_names, group)
        count = self._vault.withdraw_rebootstrap([one.endpoint_name for one in chosen], self._by)
        if not count:
            return "None of them was asked to bootstrap, or has done it; nothing is changed."
        devices = "1 device" if count == 1 else f"{count} devices"
        return f"{devices} will not be told to bootstrap; who was told already may do it all the same."

    def _several(self, endpoint_names: Sequence[str], group: str) -> list[Device]:
        chosen = [self._found(name) for name in dict.fromkeys(endpoint_names)] or self._chosen(group)
        if not chosen:
            raise VaultError(f"no device is in the group {group!r}", "not_found")
        return chosen

    def _check_plan(self, plan: str | None) -> None:
        problem = _wrong_plan(plan, self._plans()) if plan is not None else ""
        if problem:
            raise VaultError(problem)

    def _found(self, endpoint_name: str) -> Device:
        device = self._vault.device(endpoint_name)
        if device is None:
            raise VaultError(
                f"there is no device {endpoint_name!r} in the vault; `homard device list` shows them",
                "not_found",
            )
        return device

    def _chosen(self, group: str) -> list[Device]:
        return [one for one in self._vault.devices() if not group or group in one.groups]


def given(
    *,
    psk_identity: str | None = None,
    psk_key_hex: str | None = None,
    public_key: str | None = None,
    certificate: str | None = None,
    request: str | None = None,
) -> Given:
    """Material as texts: an identity may be hex behind 0x; keys and certificates PEM, hex or base64."""
    identity = None
    if psk_identity:
        is_hex = psk_identity.startswith("0x")
        identity = (
            hex_from(psk_identity, "PSK identity")
            if is_hex
            else psk_identity.encode("utf-8", "surrogateescape")
        )
    return Given(
        identity,
        hex_from(psk_key_hex, "PSK key") if psk_key_hex else None,
        public_key_from(public_key) if public_key else None,
        certificate_from(certificate) if certificate else None,
        request.encode("utf-8", "replace") if request else None,
    )


def _wrong_plan(plan: str | None, known: Sequence[str]) -> str:
    """What speaks against the plan, "" for nothing."""
    if plan is None or plan in known:
        return ""
    return f"there is no bootstrap plan {plan!r}; there is {_some(known)}"


def _bootstraps_here(device: Device) -> bool:
    return device.nosec or any(
        one.purpose == "bootstrap" and one.state != "revoked" for one in device.credentials
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# For programs


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _flat(shown: Shown) -> Json:
    """All that a client needs, at the top, and what the device is called here."""
    device = shown.device
    named = {"endpoint_name": device.endpoint_name, "label": device.label, "groups": list(device.groups)}
    return {**named, **shown.provisioning}


def _plain(device: Device) -> Json:
    return {
        "endpoint_name": device.endpoint_name,
        "label": device.label,
        "groups": list(device.groups),
        "tags": list(device.tags),
        "nosec": device.nosec,
        "blocked": device.blocked,
        "plan": device.plan,
        "made_at": _iso(device.made_at),
        "rebootstrap_asked_at": None if device.rebootstrap_asked is None else _iso(device.rebootstrap_asked),
        "credentials": [
            {
                "id": one.id,
                "purpose": one.purpose,
                "mode": one.mode,
                "identity": one.identity,
                "state": one.state,
                "made_at": _iso(one.made_at),
                "expires_at": None if one.expires_at is None else _iso(one.expires_at),
            }
            for one in device.credentials
        ],
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# For people


def _provisioned(shown: Shown, begin: str, client: str) -> str:
    found = shown.provisioning
    name = shown.device.endpoint_name
    lines = [f"{begin} Flash this into the device:", "", *_aligned([("endpoint name", name)])]
    if "bootstrap" in found:
        lines += _account(found["bootstrap"], "bootstrap ")
    if "bootstrap" not in found or any(member in found for member in ("psk_identity_hex", *_PEMS)):
        lines += _account(found, "")
    commands: dict[str, str] = found["commands"]
    for one in CLIENTS if client == "all" else (client,):
        if one in commands:
            lines += [
                "",
                f"{one.capitalize()} client:",
                "",
                *(f"  {line}" for line in commands[one].splitlines()),
            ]
    if client != "all" and client not in commands and commands:
        lines += [
            "",
            f"There is no {client} command for this; there is one for {' and '.join(commands)}: --client",
        ]
    lines += [
        "",
        *([_ONCE] if found["security"] != "nosec" else []),
        "Next: switch the device on. The page shows when it comes, and says why when it does not.",
    ]
    return "\n".join(lines)


def _account(one: Json, prefix: str) -> list[str]:
    rows = [(prefix + said, str(one[name])) for name, said in _NAMES.items() if name in one]
    if "psk_identity" in one:
        rows = [row for row in rows if row[0] != f"{prefix}PSK identity (hex)"]
    rows += [
        (f"OSCORE {name.replace('_', ' ')}", str(value)) for name, value in one.get("oscore", {}).items()
    ]
    lines = _aligned(rows)
    for name in _PEMS:
        if name in one:
            lines += [
                "",
                f"  {name.removesuffix('_pem').replace('_', ' ')}:",
                *one[name].strip().splitlines(),
            ]
    return lines


def _aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {name:<26} {value}" for name, value in rows]


def _described(device: Device, now: float) -> list[str]:
    facts = [
        ("label", device.label),
        ("groups", ", ".join(device.groups)),
        ("tags", ", ".join(device.tags)),
        ("bootstrap plan", device.plan or ""),
        ("without security", "allowed" if device.nosec else ""),
        ("blocked", "yes: it is not let in" if device.blocked else ""),
        ("added", _iso(device.made_at)),
        ("bootstrap asked for", "" if device.rebootstrap_asked is None else _iso(device.rebootstrap_asked)),
    ]
    lines = [device.endpoint_name, *_aligned(fact for fact in facts if fact[1])]
    for one in device.credentials:
        lines.append(f"  key for {one.purpose:<18} {one.identity}, {_state(one, now)}")
    if not device.credentials and not device.nosec:
        lines.append("  It has no key and cannot come in: `homard device remove` it and add it anew.")
    return lines


def _state(one: Credential, now: float) -> str:
    if one.state == "revoked":
        return f"revoked {_iso(one.changed_at)}" + (f": {one.reason}" if one.reason else "")
    if one.expires_at is not None and one.expires_at <= now:
        return f"expired {_iso(one.expires_at)}: `homard device rotate` makes a new one"
    words = {
        "active": f"in use since {_iso(one.made_at)}",
        "staged": f"made {_iso(one.made_at)} and not used yet",
        "retiring": "being replaced",
    }[one.state]
    return words if one.expires_at is None else f"{words}, until {_iso(one.expires_at)}"


def _security(device: Device, now: float) -> str:
    if device.blocked:
        return "blocked"
    modes: dict[str, None] = {}
    for one in sorted(device.credentials, key=lambda one: not one.opens(now)):
        if one.state != "revoked":
            word = one.mode if one.purpose == "server" else f"{one.mode} (bootstrap)"
            modes.setdefault(word if one.opens(now) or word in modes else f"{word} (expired)")
    return ", ".join((*modes, *(["nosec"] if device.nosec else []))) or "no key"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _reported(report: Report, dry_run: bool) -> list[str]:
    bad = [row for row in report.rows if row["problems"]]
    if bad:
        lines = [
            f"row {row['row']}{', ' + row['endpoint_name'] if row['endpoint_name'] else ''}: {problem}"
            for row in bad
            for problem in row["problems"]
        ]
        wrong = "1 row is" if len(bad) == 1 else f"{len(bad)} rows are"
        return [*lines, f"Nothing was added: {wrong} wrong, of {len(report.rows)}."]
    if dry_run:
        return [
            f"All {len(report.rows)} rows are right. Nothing was added; leave out --dry-run to add them, and "
            "give --json where a program is to read all that they need."
        ]
    rows, others = [("ENDPOINT NAME", "IDENTITY", "KEY (HEX)")], []
    for one in report.devices:
        found = one.provisioning
        accounts = [found, *([found["bootstrap"]] if "bootstrap" in found else [])]
        rows += [
            (
                one.device.endpoint_name,
                account.get("psk_identity", f"0x{account['psk_identity_hex']}"),
                account["psk_key_hex"],
            )
            for account in accounts
            if "psk_key_hex" in account
        ]
        if "private_key_pem" in found or "oscore" in found:
            others += ["", f"{one.device.endpoint_name}:", *_account(found, ""), ""]
    count = f"{report.added} device{'' if report.added == 1 else 's'} added."
    return [*(_table(rows) if len(rows) > 1 else []), *others, f"{count} {_ONCE}"]
