"""Accounts, sessions and API tokens over two documents, and who may try to log in again when.

The law of this room:

- A secret is kept only as a hash: passwords as Argon2id, session ids, tokens and the setup code, which are
  random and long, as SHA-256.
- There is no default password. While there is no account, a code printed where the appliance was started
  lets one person make the first; then the setup is closed for good.
- Guessing is counted per address, per account, and per account from one address (ETSI EN 303 645 5.1-5). The
  account-wide wait does not hold for an address that logged in to that account before, so that a stranger
  who guesses cannot lock the owner out. Tokens have 256 random bits; guessing them needs no counter.
- The command line works on the same documents while the server runs; what it makes and what it takes away
  holds at once.

Longer than 400 lines: three kinds of credentials share one lock, one snapshot and one back-off.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import logging
import math
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from appliance.identity.backoff import Backoff
from appliance.identity.passwords import MAX_PASSWORD_CHARACTERS, Passwords, check_new_password
from appliance.identity.principals import (
    SCOPES,
    Account,
    IdentityError,
    Principal,
    Scope,
    Session,
    Token,
    checked_scopes,
)
from appliance.identity.settings import IdentitySettings
from appliance.storage.documents import open_documents

log = logging.getLogger(__name__)

# A session "from the future" means that the clock went back; then nobody knows when the session ends.
CLOCK_SLACK_S: Final = 60.0
MAX_KNOWN_ADDRESSES: Final = 1000
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
TOKEN_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
TOKEN_PREFIX: Final = "hmd"
_CODE_LETTERS: Final = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # nothing that reads like something else
_CODE_GROUPS: Final = 3

_Stamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class _Person:
    row: int
    account: Account
    encoded: str


@dataclass(frozen=True, slots=True)
class _Login:
    row: int
    account: str
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Program:
    row: int
    token: Token


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The documents as last read; keys are casefolded names and hex digests."""

    versions: tuple[_Stamp, _Stamp]  # of the accounts, of the sessions
    people: dict[str, _Person]
    logins: dict[str, _Login]
    programs: dict[str, _Program]
    setup_digest: str | None


class Identity:
    """The identity room. Every method may be called from any thread; hashing a password takes a while.

    ``folder`` holds the documents; ``monotonic`` and ``wall`` give seconds.
    Raises storage's DocumentError when the documents cannot be read at all.
    """

    def __init__(
        self,
        folder: Path,
        settings: IdentitySettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._wall = wall
        self._accounts = open_documents(folder, "accounts")
        self._sessions = open_documents(folder, "sessions")
        self._passwords = Passwords(settings)
        self._lock = threading.RLock()
        self._seen: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._by_address = _backoff(settings, settings.backoff_max_s)
        self._by_pair = _backoff(settings, settings.backoff_max_s)
        self._by_account = _backoff(settings, settings.account_backoff_max_s)
        self._snapshot = self._read()

    def close(self) -> None:
        """Nothing is written late: every change is on disk when its method returns."""
        self._accounts.close()
        self._sessions.close()

    # The first account

    @property
    def needs_setup(self) -> bool:
        """Whether there is no account yet."""
        return not self._current().people

    def issue_setup_code(self) -> str:
        """A new code for the first account; codes issued before are void.

        Raises IdentityError("setup_closed") when there is an account.
        """
        groups = ["".join(secrets.choice(_CODE_LETTERS) for _ in range(4)) for _ in range(_CODE_GROUPS)]
        code = "-".join(groups)
        with self._lock, self._accounts.exclusive():
            if self._reread().people:
                raise _setup_closed()
            table = self._accounts.table("setup")
            table.truncate()
            table.insert({"sha256": _digest(_plain_code(code))})
            self._reread()
        return code

    def setup(self, code: str, name: str, password: str, address: str) -> Session:
        """Make the first account, with every scope, and log in.

        Raises IdentityError: setup_closed, wrong_credentials, too_many_attempts, invalid, busy.
        """
        if not self.needs_setup:
            raise _setup_closed()
        place = _place(address)
        self._begin([(self._by_address, place)])
        expected = self._current().setup_digest
        if expected is None or not hmac.compare_digest(_digest(_plain_code(code)), expected):
            log.warning("wrong setup code from %s", address)
            raise IdentityError(
                "wrong_credentials",
                "the setup code is wrong",
                "It was printed where the appliance was started; a restart prints a new one.",
            )
        with self._lock:
            self._by_address.take_back(place)
        self._add_account(name, password, SCOPES, only_first=True)
        log.info("first account %s made from %s", name, address)
        return self._start_session(name, place)

    # Accounts

    def list_accounts(self) -> list[Account]:
        """All accounts by name."""
        people = self._current().people
        return [people[key].account for key in sorted(people)]

    def set_password(self, name: str, password: str, *, create: bool = False) -> None:
        """Give an account a new password and end its sessions.

        With ``create`` a missing account is made, with every scope.
        Raises IdentityError: not_found, invalid, busy, conflict.
        """
        with self._lock:
            person = self._reread().people.get(name.casefold())
        if person is None:
            if not create:
                raise IdentityError("not_found", f"there is no account {name!r}", "Account names are listed.")
            self._add_account(name, password, SCOPES, only_first=False)
            return
        check_new_password(password, name, self._settings.min_password_length)
        encoded = self._passwords.hash(password)
        with self._lock:
            self._end_sessions_of(person.account.name)
            self._accounts.table("accounts").update(
                {"password": encoded, "password_changed_at": self._wall()}, doc_ids=[person.row]
            )
            self._by_account.clear(name.casefold())
            self._reread()
        log.info("password of %s changed", person.account.name)

    def change_password(self, name: str, current: str, password: str, address: str) -> Session:
        """A person's own new password, for the current one; all sessions end, and a new one starts.

        Raises IdentityError as `login` and `set_password` do.
        """
        self._authenticate(name, current, address)
        self.set_password(name, password)
        return self._start_session(name, _place(address))

    # Sessions

    def login(self, name: str, password: str, address: str) -> Session:
        """Start a session. Raises IdentityError: wrong_credentials, too_many_attempts, busy."""
        person = self._authenticate(name, password, address)
        if self._passwords.is_outdated(person.encoded):
            encoded = self._passwords.hash(password)
            with self._lock:
                self._accounts.table("accounts").update({"password": encoded}, doc_ids=[person.row])
                self._reread()
        log.info("%s logged in from %s", person.account.name, address)
        return self._start_session(person.account.name, _place(address))

    def session(self, session_id: str) -> Session | None:
        """The session of a cookie, or None when it ended; seeing it keeps it from going idle."""
        digest = _digest(session_id)
        with self._lock:
            snapshot = self._current()
            found = snapshot.logins.get(digest)
            person = snapshot.people.get(found.account.casefold()) if found is not None else None
            if found is None or person is None:
                return None
            now, wall = self._monotonic(), self._wall()
            seen = self._seen.get(digest, now)
            if (
                not found.created_at - CLOCK_SLACK_S <= wall < found.expires_at
                or now - seen > self._settings.session_idle_s
            ):
                return None
            self._seen[digest] = now
        return Session(
            session_id,
            person.account.name,
            person.account.scopes,
            _csrf(session_id),
            found.created_at,
            found.expires_at,
        )

    def logout(self, session_id: str) -> None:
        """End a session; an unknown one is no error."""
        digest = _digest(session_id)
        with self._lock:
            found = self._reread().logins.get(digest)
            self._seen.pop(digest, None)
            if found is not None:
                self._sessions.table("sessions").remove(doc_ids=[found.row])
                self._reread()

    # Tokens

    def create_token(self, name: str, scopes: Iterable[str], lifetime_s: float | None = None) -> str:
        """A new API token ``hmd_<id>_<secret>``; the only time its secret is seen.

        Raises IdentityError: invalid, conflict (too many).
        """
        granted = checked_scopes(scopes)
        if not TOKEN_NAME.fullmatch(name):
            raise IdentityError("invalid", "a token needs a name of 1 to 64 printable characters")
        if lifetime_s is not None and not 1 <= lifetime_s <= 10 * 366 * 86400:
            raise IdentityError("invalid", "lifetime_s must be from 1 s to ten years")
        wall = self._wall()
        with self._lock, self._accounts.exclusive():
            table = self._accounts.table("tokens")
            programs = self._reread().programs.values()
            expired = [one.row for one in programs if one.token.expires_at and one.token.expires_at <= wall]
            if expired:
                table.remove(doc_ids=expired)
            if len(programs) - len(expired) >= self._settings.max_tokens:
                raise IdentityError("conflict", "there are too many tokens", "Revoke one that is not needed.")
            taken = {one.token.id for one in programs}
            number = next(found for found in iter(lambda: secrets.token_hex(4), "") if found not in taken)
            secret = f"{TOKEN_PREFIX}_{number}_{secrets.token_urlsafe(32)}"
            table.insert(
                {
                    "id": number,
                    "name": name,
                    "scopes": list(granted),
                    "sha256": _digest(secret),
                    "created_at": wall,
                    "expires_at": None if lifetime_s is None else wall + lifetime_s,
                }
            )
            self._reread()
        log.info("token %s (%s) made with %s", number, name, ", ".join(granted))
        return secret

    def list_tokens(self) -> list[Token]:
        """All tokens, oldest first; when each was last used is known since the start only."""
        with self._lock:
            found = sorted(self._current().programs.values(), key=lambda one: one.row)
            return [replace(one.token, last_used_at=self._used.get(one.token.id)) for one in found]

    def revoke_token(self, token_id: str) -> None:
        """End a token at once. Raises IdentityError("not_found")."""
        with self._lock:
            for found in self._reread().programs.values():
                if found.token.id == token_id:
                    self._accounts.table("tokens").remove(doc_ids=[found.row])
                    self._used.pop(token_id, None)
                    self._reread()
                    log.info("token %s revoked", token_id)
                    return
        raise IdentityError("not_found", f"there is no token {token_id!r}", "GET /api/v1/tokens lists them.")

    def authenticate_token(self, token: str) -> Principal | None:
        """Who the token stands for, or None when it is unknown, expired or revoked."""
        with self._lock:
            digest = _digest(token)
            found = self._current().programs.get(digest)
            wall = self._wall()
            if found is None or (found.token.expires_at is not None and found.token.expires_at <= wall):
                return None
            self._used[found.token.id] = wall
        return Principal(found.token.name, found.token.scopes, "token")

    # Inside

    def _authenticate(self, name: str, password: str, address: str) -> _Person:
        place, key = _place(address), name.casefold()[:64]
        pair = (key, place)
        with self._lock:
            known = pair in self._known
        counted: list[tuple[Backoff, Hashable]] = [(self._by_address, place), (self._by_pair, pair)]
        if not known:
            counted.append((self._by_account, key))
        self._begin(counted)
        with self._lock:
            person = self._reread().people.get(key) if len(name) <= 64 else None
        try:
            fits = len(password) <= MAX_PASSWORD_CHARACTERS and self._passwords.verify(
                password, person.encoded if person is not None else None
            )
        except IdentityError:
            self._take_back(counted)
            raise
        if person is None or not fits:
            log.warning("wrong name or password from %s", address)
            raise IdentityError(
                "wrong_credentials",
                "the name or the password is wrong",
                "A forgotten password can be set on the appliance: homard account set-password NAME",
            )
        with self._lock:
            self._by_address.take_back(place)
            self._by_pair.clear(pair)
            if not known:
                self._by_account.take_back(key)
        return person

    def _begin(self, counted: list[tuple[Backoff, Hashable]]) -> None:
        """Refuse, or count the attempt before it is made."""
        with self._lock:
            now = self._monotonic()
            wait_s = max(backoff.wait_s(key, now) for backoff, key in counted)
            if wait_s > 0:
                retry_after_s = max(1, math.ceil(wait_s))
                raise IdentityError(
                    "too_many_attempts",
                    "there were too many wrong attempts",
                    f"Try again in {retry_after_s} s.",
                    retry_after_s,
                )
            for backoff, key in counted:
                backoff.count(key, now)

    def _take_back(self, counted: list[tuple[Backoff, Hashable]]) -> None:
        with self._lock:
            for backoff, key in counted:
                backoff.take_back(key)

    def _add_account(self, name: str, password: str, scopes: Iterable[Scope], *, only_first: bool) -> None:
        if not NAME.fullmatch(name):
            raise IdentityError(
                "invalid",
                "an account name has 1 to 64 letters, digits and . _ @ -",
                "It starts with a letter or a digit.",
            )
        check_new_password(password, name, self._settings.min_password_length)
        encoded = self._passwords.hash(password)
        wall = self._wall()
        with self._lock, self._accounts.exclusive():
            people = self._reread().people
            if only_first and people:
                raise _setup_closed()
            if name.casefold() in people:
                raise IdentityError("conflict", f"there is an account {name!r} already")
            if len(people) >= self._settings.max_accounts:
                raise IdentityError("conflict", "there are too many accounts")
            self._accounts.table("accounts").insert(
                {
                    "name": name,
                    "password": encoded,
                    "scopes": list(scopes),
                    "created_at": wall,
                    "password_changed_at": wall,
                }
            )
            if self._accounts.table("setup").all():
                self._accounts.table("setup").truncate()
            self._reread()

    def _start_session(self, name: str, place: str) -> Session:
        session_id = secrets.token_urlsafe(32)
        wall = self._wall()
        expires_at = wall + self._settings.session_lifetime_s
        with self._lock, self._sessions.exclusive():
            snapshot = self._reread()
            person = snapshot.people[name.casefold()]
            table = self._sessions.table("sessions")
            gone = [one.row for one in snapshot.logins.values() if one.expires_at <= wall]
            live = sorted(
                (one for one in snapshot.logins.values() if one.expires_at > wall), key=lambda one: one.row
            )
            gone += [one.row for one in live[: max(0, len(live) + 1 - self._settings.max_sessions)]]
            if gone:
                table.remove(doc_ids=gone)
            digest = _digest(session_id)
            table.insert(
                {
                    "sha256": digest,
                    "account": person.account.name,
                    "created_at": wall,
                    "expires_at": expires_at,
                }
            )
            self._seen[digest] = self._monotonic()
            self._remember((name.casefold(), place))
            kept = self._reread().logins
            self._seen = {key: seen for key, seen in self._seen.items() if key in kept}
        return Session(
            session_id, person.account.name, person.account.scopes, _csrf(session_id), wall, expires_at
        )

    def _remember(self, pair: tuple[str, str]) -> None:
        self._known[pair] = None
        self._known.move_to_end(pair)
        while len(self._known) > MAX_KNOWN_ADDRESSES:
            self._known.popitem(last=False)

    def _end_sessions_of(self, account: str) -> None:
        rows = [one.row for one in self._reread().logins.values() if one.account == account]
        if rows:
            self._sessions.table("sessions").remove(doc_ids=rows)

    def _current(self) -> _Snapshot:
        with self._lock:
            # The command line writes too, and a token it revoked is refused from the next request on.
            if self._snapshot.versions != self._versions():
                return self._reread()
            return self._snapshot

    def _versions(self) -> tuple[_Stamp, _Stamp]:
        return self._accounts.version, self._sessions.version

    def _reread(self) -> _Snapshot:
        self._snapshot = self._read()
        return self._snapshot

    def _read(self) -> _Snapshot:
        versions = self._versions()  # before the reading: a write in between is seen the next time
        people: dict[str, _Person] = {}
        for row in self._accounts.table("accounts").all():
            account = Account(
                row["name"], checked_scopes(row["scopes"]), row["created_at"], row["password_changed_at"]
            )
            people[account.name.casefold()] = _Person(row.doc_id, account, row["password"])
        programs: dict[str, _Program] = {}
        for row in self._accounts.table("tokens").all():
            token = Token(
                row["id"],
                row["name"],
                checked_scopes(row["scopes"]),
                row["created_at"],
                row["expires_at"],
                None,
            )
            programs[row["sha256"]] = _Program(row.doc_id, token)
        logins = {
            row["sha256"]: _Login(row.doc_id, row["account"], row["created_at"], row["expires_at"])
            for row in self._sessions.table("sessions").all()
        }
        rows: list[Any] = self._accounts.table("setup").all()
        return _Snapshot(
            versions, people, logins, programs, rows[0]["sha256"] if rows and not people else None
        )


def _backoff(settings: IdentitySettings, max_s: float) -> Backoff:
    return Backoff(
        free=settings.free_failures,
        first_s=settings.backoff_first_s,
        max_s=max_s,
        forget_s=settings.backoff_forget_s,
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _csrf(session_id: str) -> str:
    # Derived, so that it need not be kept; it says nothing about the session id.
    mac = hmac.digest(session_id.encode("utf-8", "surrogatepass"), b"csrf", "sha256")
    return base64.urlsafe_b64encode(mac).decode("ascii").rstrip("=")


def _plain_code(code: str) -> str:
    return re.sub(r"[\s-]", "", code[:64]).upper()


def _setup_closed() -> IdentityError:
    return IdentityError("setup_closed", "the setup is done", "Log in with an account.")


def _place(address: str) -> str:
    """Who shares a counter: one IPv4 address, or one IPv6 network of 64 bits, which is one customer."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        if not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
