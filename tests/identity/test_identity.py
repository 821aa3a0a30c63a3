"""Accounts, sessions and tokens on real documents, with clocks that the tests turn."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.identity.identity import Identity
from appliance.identity.principals import IdentityError, Principal
from appliance.identity.settings import IdentitySettings

PASSWORD = "tide lamp orbit"
HERE, THERE = "192.0.2.10", "192.0.2.66"


class Clock:
    def __init__(self) -> None:
        self.monotonic_s = 1000.0
        self.wall_s = 1_800_000_000.0

    def pass_s(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock, fast: IdentitySettings) -> Callable[..., Identity]:
    def build(**changed: object) -> Identity:
        settings = replace(fast, **changed)  # type: ignore[arg-type]
        return Identity(
            tmp_path / "identity", settings, monotonic=lambda: clock.monotonic_s, wall=lambda: clock.wall_s
        )

    return build


@pytest.fixture
def identity(make: Callable[..., Identity]) -> Identity:
    """With one account, ines."""
    built = make()
    built.set_password("ines", PASSWORD, create=True)
    return built


def refused(call: Callable[[], object]) -> IdentityError:
    with pytest.raises(IdentityError) as caught:
        call()
    return caught.value


# Setup


def test_the_first_account_needs_the_code_and_closes_the_setup(make: Callable[..., Identity]) -> None:
    identity = make()
    assert identity.needs_setup
    code = identity.issue_setup_code()
    assert len(code.replace("-", "")) == 12
    wrong = refused(lambda: identity.setup("AAAA-AAAA-AAAA", "ines", PASSWORD, HERE))
    assert wrong.kind == "wrong_credentials" and wrong.next_step
    session = identity.setup(code.lower().replace("-", " "), "ines", PASSWORD, HERE)
    assert session.scopes == ("read", "operate", "admin")
    assert identity.session(session.id) is not None
    assert not identity.needs_setup
    assert refused(lambda: identity.setup(code, "eve", PASSWORD, HERE)).kind == "setup_closed"
    assert refused(identity.issue_setup_code).kind == "setup_closed"


def test_a_new_code_voids_the_one_before_and_a_restart_keeps_it(make: Callable[..., Identity]) -> None:
    identity = make()
    first, second = identity.issue_setup_code(), identity.issue_setup_code()
    assert refused(lambda: identity.setup(first, "ines", PASSWORD, HERE)).kind == "wrong_credentials"
    assert make().setup(second, "ines", PASSWORD, HERE).account == "ines"


def test_wrong_codes_back_off(make: Callable[..., Identity], clock: Clock) -> None:
    identity = make()
    code = identity.issue_setup_code()
    kinds = [refused(lambda: identity.setup("WRONG", "eve", PASSWORD, THERE)).kind for _ in range(1000)]
    assert kinds.count("wrong_credentials") == 5
    late = refused(lambda: identity.setup(code, "eve", PASSWORD, THERE))
    assert late.kind == "too_many_attempts" and late.retry_after_s == 1
    assert identity.setup(code, "ines", PASSWORD, HERE).account == "ines"


def test_a_password_that_is_refused_does_not_use_up_the_code(make: Callable[..., Identity]) -> None:
    identity = make()
    code = identity.issue_setup_code()
    for _ in range(20):
        assert refused(lambda: identity.setup(code, "ines", "short", HERE)).kind == "invalid"
    assert refused(lambda: identity.setup(code, "in es", PASSWORD, HERE)).kind == "invalid"
    assert identity.setup(code, "ines", PASSWORD, HERE)


def test_two_setups_at_once_make_one_account(make: Callable[..., Identity]) -> None:
    identity = make(parallel_hashes=8)
    code = identity.issue_setup_code()
    done: list[str] = []
    barrier = threading.Barrier(4)

    def attempt(name: str) -> None:
        barrier.wait(10)
        try:
            identity.setup(code, name, PASSWORD, HERE)
            done.append(name)
        except IdentityError as error:
            assert error.kind == "setup_closed"

    threads = [threading.Thread(target=attempt, args=(name,)) for name in ("ines", "eva", "noa", "leo")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 1
    assert [account.name for account in identity.list_accounts()] == done


# Login and back-off


def test_login_and_logout(identity: Identity) -> None:
    session = identity.login("Ines", PASSWORD, HERE)
    seen = identity.session(session.id)
    assert seen is not None and seen.account == "ines" and seen.csrf == session.csrf
    assert seen.principal == Principal("ines", ("read", "operate", "admin"), "account")
    identity.logout(session.id)
    assert identity.session(session.id) is None
    identity.logout(session.id)


@pytest.mark.parametrize("name", ["ines", "nobody", "", "n" * 5000])
def test_a_wrong_name_and_a_wrong_password_are_told_apart_by_nothing(identity: Identity, name: str) -> None:
    error = refused(lambda: identity.login(name, "wrong password", HERE))
    assert (error.kind, error.message) == ("wrong_credentials", "the name or the password is wrong")


def test_a_thousand_guesses_from_one_address_take_days(identity: Identity, clock: Clock) -> None:
    """Thirty are really tried, to save hashing: from then on each wait is the longest."""
    began, tried, longest = clock.monotonic_s, 0, 0
    while tried < 30:
        error = refused(lambda: identity.login("ines", "wrong password", THERE))
        if error.kind == "wrong_credentials":
            tried += 1
        else:
            assert error.kind == "too_many_attempts" and error.retry_after_s is not None
            longest = max(longest, error.retry_after_s)
            clock.pass_s(error.retry_after_s)
    assert longest == 900
    assert clock.monotonic_s - began + (1000 - tried) * longest > 10 * 86400


def test_guesses_in_one_instant_get_no_more_than_the_free_ones(identity: Identity) -> None:
    kinds = [refused(lambda: identity.login("ines", "wrong password", THERE)).kind for _ in range(1000)]
    assert kinds.count("wrong_credentials") == 5
    assert kinds.count("too_many_attempts") == 995


def test_many_addresses_share_the_wait_of_the_account(identity: Identity) -> None:
    errors = [
        refused(lambda number=number: identity.login("ines", "wrong password", f"198.51.100.{number}"))  # type: ignore[misc]
        for number in range(200)
    ]
    assert [error.kind for error in errors].count("wrong_credentials") == 5


def test_one_ipv6_customer_is_one_address(identity: Identity) -> None:
    for number in range(200):
        refused(
            lambda number=number: identity.login(f"name{number}", "wrong password", f"2001:db8::{number:x}")  # type: ignore[misc]
        )
    assert refused(lambda: identity.login("x", "y", "2001:db8::ffff")).kind == "too_many_attempts"
    assert refused(lambda: identity.login("x", "y", "2001:db8:0:1::1")).kind == "wrong_credentials"
    assert refused(lambda: identity.login("x", "y", "::ffff:192.0.2.9")).kind == "wrong_credentials"


def test_a_stranger_who_guesses_does_not_lock_the_owner_out(identity: Identity) -> None:
    identity.login("ines", PASSWORD, HERE)
    for number in range(100):
        refused(lambda number=number: identity.login("ines", "wrong password", f"198.51.100.{number}"))  # type: ignore[misc]
    assert identity.login("ines", PASSWORD, HERE)
    assert refused(lambda: identity.login("ines", PASSWORD, "198.51.100.250")).kind == "too_many_attempts"


def test_an_own_login_in_between_buys_no_guesses_at_another_account(identity: Identity, clock: Clock) -> None:
    """Success clears the count of that account only; the address keeps what it did to others."""
    identity.set_password("mallory", "own words here", create=True)
    tried = 0
    for _ in range(40):
        clock.pass_s(1.0)
        try:
            identity.login("mallory", "own words here", THERE)
            tried += refused(lambda: identity.login("ines", "wrong", THERE)).kind == "wrong_credentials"
        except IdentityError as error:
            assert error.kind == "too_many_attempts"
    assert tried < 12


def test_waits_end_and_are_forgotten(identity: Identity, clock: Clock) -> None:
    for _ in range(20):
        refused(lambda: identity.login("ines", "wrong password", HERE))
    clock.pass_s(1.5)
    assert identity.login("ines", PASSWORD, HERE)


def test_no_hash_is_computed_while_waiting(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(6):
        refused(lambda: identity.login("ines", "wrong password", HERE))

    def explode(*_: object) -> bool:
        raise AssertionError("hashed")

    monkeypatch.setattr(identity._passwords, "verify", explode)
    assert refused(lambda: identity.login("ines", PASSWORD, HERE)).kind == "too_many_attempts"


def test_an_old_hash_is_made_anew_at_the_next_login(
    make: Callable[..., Identity], identity: Identity, tmp_path: Path
) -> None:
    make(argon2_iterations=3).login("ines", PASSWORD, HERE)
    assert "t=3" in (tmp_path / "identity" / "accounts.json").read_text()


# Sessions


def test_a_session_ends_when_idle_and_at_the_end_of_its_life(identity: Identity, clock: Clock) -> None:
    session = identity.login("ines", PASSWORD, HERE)
    for _ in range(14):
        clock.pass_s(12 * 3600 - 1)
        assert identity.session(session.id) is not None
    clock.pass_s(14)
    assert identity.session(session.id) is None  # seven days are over
    other = identity.login("ines", PASSWORD, HERE)
    clock.pass_s(12 * 3600 + 1)
    assert identity.session(other.id) is None


def test_a_session_outlives_a_restart(make: Callable[..., Identity], identity: Identity) -> None:
    session = identity.login("ines", PASSWORD, HERE)
    again = make().session(session.id)
    assert again is not None and again.csrf == session.csrf


def test_a_session_from_the_future_is_not_accepted(identity: Identity, clock: Clock) -> None:
    """A board without a clock starts in the past; nobody knows then when a session ends."""
    session = identity.login("ines", PASSWORD, HERE)
    clock.wall_s -= 86400
    assert identity.session(session.id) is None
    clock.wall_s += 86400
    assert identity.session(session.id) is not None


def test_sessions_are_bounded(make: Callable[..., Identity], identity: Identity) -> None:
    small = make(max_sessions=3)
    sessions = [small.login("ines", PASSWORD, HERE) for _ in range(5)]
    assert [small.session(one.id) is not None for one in sessions] == [False, False, True, True, True]


def test_a_new_password_ends_every_session_also_from_another_process(
    make: Callable[..., Identity], identity: Identity
) -> None:
    session = identity.login("ines", PASSWORD, HERE)
    make().set_password("ines", "another good one")
    assert identity.session(session.id) is None
    assert refused(lambda: identity.login("ines", PASSWORD, HERE)).kind == "wrong_credentials"
    assert identity.login("ines", "another good one", HERE)


def test_a_person_changes_the_own_password_with_the_current_one(identity: Identity) -> None:
    before = identity.login("ines", PASSWORD, HERE)
    wrong = refused(lambda: identity.change_password("ines", "wrong", "another good one", HERE))
    assert wrong.kind == "wrong_credentials"
    after = identity.change_password("ines", PASSWORD, "another good one", HERE)
    assert identity.session(before.id) is None and identity.session(after.id) is not None


def test_an_account_of_another_process_can_log_in_at_once(
    make: Callable[..., Identity], identity: Identity
) -> None:
    make().set_password("eva", PASSWORD, create=True)
    assert identity.login("eva", PASSWORD, HERE)


def test_passwords_of_missing_accounts(identity: Identity) -> None:
    assert refused(lambda: identity.set_password("eva", PASSWORD)).kind == "not_found"
    identity.set_password("eva", PASSWORD, create=True)
    assert [account.name for account in identity.list_accounts()] == ["eva", "ines"]


# Tokens


def test_a_token_stands_for_its_scopes_until_revoked(identity: Identity) -> None:
    secret = identity.create_token("plotter", ["operate"])
    principal = identity.authenticate_token(secret)
    assert principal == Principal("plotter", ("operate",), "token")
    assert principal.may("read") and principal.may("operate") and not principal.may("admin")
    listed = identity.list_tokens()
    assert [one.name for one in listed] == ["plotter"]
    assert listed[0].id == secret.split("_")[1] and listed[0].last_used_at is not None
    identity.revoke_token(listed[0].id)
    assert identity.authenticate_token(secret) is None
    assert refused(lambda: identity.revoke_token(listed[0].id)).kind == "not_found"


def test_a_token_of_another_process_is_known_and_gone_at_once(
    make: Callable[..., Identity], identity: Identity
) -> None:
    secret = make().create_token("cli", ["read"])
    assert identity.authenticate_token(secret) is not None
    make().revoke_token(secret.split("_")[1])
    assert identity.authenticate_token(secret) is None


def test_a_token_expires(identity: Identity, clock: Clock) -> None:
    secret = identity.create_token("short", ["read"], lifetime_s=60)
    clock.pass_s(59)
    assert identity.authenticate_token(secret) is not None
    clock.pass_s(1)
    assert identity.authenticate_token(secret) is None


@pytest.mark.parametrize(
    ("name", "scopes", "lifetime_s"),
    [
        ("", ["read"], None),
        ("a\nb", ["read"], None),
        ("a", [], None),
        ("a", ["root"], None),
        ("a", ["read"], 0),
    ],
)
def test_tokens_that_make_no_sense(identity: Identity, name: str, scopes: list[str], lifetime_s: int) -> None:
    assert refused(lambda: identity.create_token(name, scopes, lifetime_s)).kind == "invalid"


def test_tokens_are_bounded_and_the_expired_make_room(
    make: Callable[..., Identity], identity: Identity, clock: Clock
) -> None:
    small = make(max_tokens=2)
    small.create_token("a", ["read"])
    small.create_token("b", ["read"], lifetime_s=10)
    assert refused(lambda: small.create_token("c", ["read"])).kind == "conflict"
    clock.pass_s(11)
    small.create_token("c", ["read"])
    assert [one.name for one in small.list_tokens()] == ["a", "c"]


# What lies on the disk


def test_no_secret_lies_on_the_disk(make: Callable[..., Identity], tmp_path: Path) -> None:
    identity = make()
    code = identity.issue_setup_code()
    on_disk = "".join(file.read_text() for file in (tmp_path / "identity").iterdir())
    assert code not in on_disk and code.replace("-", "") not in on_disk
    session = identity.setup(code, "ines", PASSWORD, HERE)
    token = identity.create_token("a", ["read"])
    for file in (tmp_path / "identity").iterdir():
        text = file.read_text()
        assert file.stat().st_mode & 0o077 == 0
        for secret in (PASSWORD, session.id, session.csrf, token, token.split("_", 2)[2], code):
            assert secret not in text, file
    accounts = json.loads((tmp_path / "identity" / "accounts.json").read_text())
    assert accounts["tables"]["accounts"]["1"]["password"].startswith("$argon2id$")
    assert not accounts["tables"].get("setup")
