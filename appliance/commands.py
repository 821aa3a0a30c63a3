"""What the command line does on a state folder, whether a server runs on it or not.

Rooms meet here as in `composition`, but a server has no use for any of this: it never loads it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from appliance import __version__
from appliance.config.sections import Settings
from appliance.devices.observations import parse_observe_paths
from appliance.devices.plans import plan_ids
from appliance.identity.identity import Identity
from appliance.identity.principals import IdentityError
from appliance.identity.settings import IdentitySettings
from appliance.state import DATABASE, FILES, IDENTITY, VAULT, CommandFailed, become_owner, told_ports
from appliance.storage.backup import make_backup, restore_backup, restores_cut_short
from appliance.storage.database_file import check_database
from appliance.storage.errors import StorageError
from appliance.storage.files import check_files
from appliance.vault.authority import Authority
from appliance.vault.command import DeviceCommand as DeviceCommand  # the command line names it
from appliance.vault.errors import VaultError
from appliance.vault.provisioning import own_address
from appliance.vault.register import Register
from appliance.vault.sealing import SealingKey, key_in_place
from appliance.vault.vault import Vault, check_vault

log = logging.getLogger(__name__)


@contextlib.contextmanager
def _owner_kept(state: Path) -> Iterator[None]:
    """For what must stay root, as a backup may go anywhere: afterwards the files belong to the owner."""
    owner = state.stat() if os.geteuid() == 0 and state.exists() else None
    try:
        yield
    finally:
        if owner is not None and owner.st_uid != 0 and state.exists():
            for path in (state, *state.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def back_up(
    state: Path, file: Path, settings: Settings, *, passphrase: str | None, files: bool = True
) -> str:
    """`homard backup`: one file with everything, or without the content of stored files; the server may be
    running. Encrypted and with the sealing key, or without a passphrase neither. Raises CommandFailed.
    """
    try:
        with _owner_kept(state):
            vault = _opened_vault(state, settings)
            path, manifest = make_backup(
                state,
                file,
                __version__,
                files=files,
                passphrase=passphrase,
                sealing_key=None if passphrase is None or vault is None else vault.key.export(),
                quiet=lambda name: (
                    vault.quiet() if vault is not None and name == VAULT else contextlib.nullcontext()
                ),
            )
            if vault is not None:
                how = "without the sealing key" if passphrase is None else "encrypted, with the sealing key"
                try:
                    vault.note(operator(), f"backup made, {how}: {path}")
                except VaultError:
                    path.unlink()  # a copy of all keys that nobody would know of
                    raise
    except (StorageError, VaultError, OSError) as error:
        raise CommandFailed(str(error)) from error
    return f"{path}: {len(manifest.files)} files, {sum(file.size_bytes for file in manifest.files)} bytes"


def bring_back(
    file: Path, state: Path, settings: Settings, *, passphrase: Callable[[], str], force: bool
) -> str:
    """`homard restore`: data, and the sealing key if the backup has it. ``passphrase`` is called when the
    backup is encrypted. Raises CommandFailed, and then the state folder is as it was.
    """
    try:
        with _owner_kept(state):
            restored = restore_backup(
                file,
                state,
                force=force,
                passphrase=passphrase,
                placing=lambda key: key_in_place(key, state, settings.vault.key_file),
            )
            said = f"{state} is as it was at {restored.manifest.made_at}"
            if restored.kept_as is not None:
                said += f"; what was there is now in {restored.kept_as}"
            try:
                vault = _opened_vault(state, settings)
                if vault is not None:
                    vault.note(operator(), f"restored from the backup of {restored.manifest.made_at}")
            except VaultError as error:
                said += f". The keys of the devices do not open here: {error}"
    except (StorageError, VaultError, OSError) as error:
        raise CommandFailed(str(error)) from error
    return said


def operator() -> str:
    """Who works at the command line, for the audit log."""
    try:
        name = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"user {os.getuid()}"
    return f"{name} (command line)"


def _opened_vault(state: Path, settings: Settings) -> Vault | None:
    """The vault of a state folder, None when it has none yet. Raises VaultError."""
    if not any((state / VAULT).glob("*.json")):
        return None
    key = SealingKey.load(state, settings.vault.key_file, create=False)
    vault = Vault(state / VAULT, key, settings.vault, time.time)
    vault.open()
    return vault


def open_identity(state: Path, settings: IdentitySettings | None = None) -> Identity:
    """Accounts and tokens of a state folder, whether a server runs on it or not."""
    become_owner(state)
    if not state.is_dir():
        state.mkdir(parents=True, mode=0o700)
    return Identity(state / IDENTITY, settings or IdentitySettings())


def set_password(state: Path, name: str, password: str) -> None:
    """`homard account set-password`; makes the account if there is none. Raises CommandFailed."""
    try:
        open_identity(state).set_password(name, password, create=True)
        _note(state, f"password set of the account {name}")
    except (IdentityError, StorageError, OSError) as error:
        raise CommandFailed(str(error)) from error


def create_token(state: Path, name: str, scopes: tuple[str, ...], lifetime_s: float | None) -> str:
    """`homard token create`: the token, shown this once. Raises CommandFailed."""
    try:
        token = open_identity(state).create_token(name, scopes, lifetime_s)
        _note(state, f"token made: {name} ({', '.join(scopes)})")
        return token
    except (IdentityError, StorageError, OSError) as error:
        raise CommandFailed(str(error)) from error


def _note(state: Path, what: str) -> None:
    """For the audit log, where there is one that opens: where the key is not at hand, that is said."""
    try:
        vault = _opened_vault(state, Settings())
        if vault is not None:
            vault.note(operator(), what)
    except VaultError as error:
        log.warning("the audit log has no entry of this: %s", error)


def list_accounts(state: Path) -> list[str]:
    """`homard account list`: a line each."""
    return [f"{account.name}\t{','.join(account.scopes)}" for account in open_identity(state).list_accounts()]


def list_tokens(state: Path) -> list[str]:
    """`homard token list`: a line each, without the secrets."""
    lines = []
    for token in open_identity(state).list_tokens():
        expires = "never expires" if token.expires_at is None else f"expires {token.expires_at}"
        lines.append(f"{token.id}\t{token.name}\t{','.join(token.scopes)}\t{expires}")
    return lines


def revoke_token(state: Path, token_id: str) -> None:
    """`homard token revoke`. Raises CommandFailed."""
    try:
        open_identity(state).revoke_token(token_id)
        _note(state, f"token revoked: {token_id}")
    except (IdentityError, StorageError, OSError) as error:
        raise CommandFailed(str(error)) from error


@contextlib.contextmanager
def device_command(state: Path, settings: Settings, address: str, *, create: bool) -> Iterator[DeviceCommand]:
    """`homard device …` on the vault of a state folder, whether a server runs on it or not.

    ``address`` is how devices reach this gateway, "" when that is to be found out; ``create`` makes a folder
    that is not there. Raises CommandFailed, also for what fails inside the block.
    """
    try:
        become_owner(state)
        if not state.is_dir():
            if not create:
                raise CommandFailed(f"{state} does not exist; `homard serve --state {state}` makes it")
            state.mkdir(parents=True, mode=0o700)
        key = SealingKey.load(state, settings.vault.key_file, create=True)
        vault = Vault(state / VAULT, key, settings.vault, time.time)
        vault.open()
        authority = Authority(state / VAULT, key, settings.vault, time.time)
        authority.open()
        register = Register(vault, authority)
        ports = told_ports(state)
        if ports is None:  # no server runs: those it will have, where the settings do not leave that open
            coap = settings.coap.port or 5683
            ports = {"coaps": (coap + 1 if settings.coaps.port < 0 else settings.coaps.port) or 5684}
            if not settings.coaps.enabled:
                del ports["coaps"]
            if settings.coap.nosec != "off":
                ports["coap"] = coap
        yield DeviceCommand(
            vault,
            register,
            lambda: register.gateway(
                address or own_address() or "127.0.0.1", ports.get("coap"), ports.get("coaps")
            ),
            lambda: plan_ids(state),
            operator(),
        )
    except PermissionError as error:
        raise CommandFailed(
            f"{error.filename or state} may not be read or written by you: use sudo, or another --state DIR"
        ) from error
    except (VaultError, StorageError, OSError) as error:
        raise CommandFailed(str(error)) from error


def check_state(state: Path, settings: Settings) -> list[str]:
    """`homard check`: what is wrong with a state folder, a sentence each; changes nothing."""
    become_owner(state)
    problems = parse_observe_paths(settings.devices.observe_paths)
    if not state.is_dir():
        problems.append(f"{state} does not exist; `homard serve --state {state}` makes it")
        return problems
    database = state / DATABASE
    if database.exists():
        problems.extend(check_database(database))
    problems.extend(check_files(state / FILES))
    problems.extend(restores_cut_short(state.resolve()))
    problems.extend(check_vault(state, settings.vault, time.time))
    identity = Identity(state / IDENTITY, settings.identity)
    if identity.needs_setup:
        problems.append("there is no account yet; open the page, or use `homard account set-password NAME`")
    return problems
