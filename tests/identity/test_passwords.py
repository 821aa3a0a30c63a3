"""Argon2id with pinned parameters, and which passwords are refused."""

from __future__ import annotations

import threading
import unicodedata

import pytest

from appliance.identity.passwords import Passwords, check_new_password
from appliance.identity.principals import IdentityError
from appliance.identity.settings import IdentitySettings


def test_the_parameters_out_of_the_box_are_owasps() -> None:
    """OWASP Password Storage Cheat Sheet: Argon2id with m=19456 (19 MiB), t=2, p=1."""
    encoded = Passwords(IdentitySettings()).hash("correct horse")
    assert encoded.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_hash_has_its_own_salt_and_verifies(fast: IdentitySettings) -> None:
    passwords = Passwords(fast)
    one, two = passwords.hash("correct horse"), passwords.hash("correct horse")
    assert one != two
    assert passwords.verify("correct horse", one) and passwords.verify("correct horse", two)
    assert not passwords.verify("correct Horse", one)


def test_the_same_letters_typed_in_two_ways_are_the_same_password(fast: IdentitySettings) -> None:
    passwords = Passwords(fast)
    encoded = passwords.hash(unicodedata.normalize("NFC", "señor café 12"))
    assert passwords.verify(unicodedata.normalize("NFD", "señor café 12"), encoded)


def test_an_unknown_account_costs_a_verification_too(
    fast: IdentitySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = Passwords(fast)
    turns: list[int] = []
    original = Passwords._turn

    def counted(self: Passwords):  # type: ignore[no-untyped-def]
        turns.append(1)
        return original(self)

    monkeypatch.setattr(Passwords, "_turn", counted)
    assert not passwords.verify("first try of all", None)
    spent: list[int] = []
    encoded = passwords.hash("correct horse")
    for target in (None, encoded):
        turns.clear()
        passwords.verify("wrong", target)
        spent.append(len(turns))
    assert spent == [1, 1]


def test_changed_parameters_make_a_hash_outdated(fast: IdentitySettings) -> None:
    encoded = Passwords(fast).hash("correct horse")
    assert not Passwords(fast).is_outdated(encoded)
    assert Passwords(IdentitySettings()).is_outdated(encoded)


def test_no_more_hashes_at_a_time_than_the_memory_allows(fast: IdentitySettings) -> None:
    """parallel_hashes run, as many again wait, and whoever comes then is told to come back."""
    passwords = Passwords(fast)
    inside, release = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        with passwords._turn():
            inside.release()
            release.wait(30)

    threads = [threading.Thread(target=hold) for _ in range(fast.parallel_hashes * 2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(fast.parallel_hashes):
            assert inside.acquire(timeout=10)
        assert not inside.acquire(blocking=False)
        while passwords._admitted._value:  # the waiting ones have to arrive first
            threading.Event().wait(0.001)
        with pytest.raises(IdentityError) as caught:
            passwords.hash("correct horse")
        assert caught.value.kind == "busy" and caught.value.retry_after_s == 1
    finally:
        release.set()
        for thread in threads:
            thread.join(10)
    assert passwords.hash("correct horse")


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "aaaaaaaaaaaa",
        "Password123!",
        "1234567890",
        "administrator",
        "ramon-ines",
        "Ramon-Ines 2026",
        "x" * 257,
        "ababababababab",
    ],
)
def test_passwords_that_would_be_guessed_first_are_refused(password: str) -> None:
    with pytest.raises(IdentityError) as caught:
        check_new_password(password, "ramon-ines", 10)
    assert caught.value.kind == "invalid" and caught.value.next_step


@pytest.mark.parametrize("password", ["tide lamp orbit", "kV9#mmQ2xz", "ñandú-veloz-7"])
def test_other_passwords_are_taken(password: str) -> None:
    check_new_password(password, "ines", 10)
