"""Passwords: what is accepted, and Argon2id (RFC 9106) with a bound on hashes at a time.

A hash takes its memory for as long as it runs, and a small board has little: no more than
``parallel_hashes`` run, as many again wait, and everybody else is told to come back.
"""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from appliance.identity.principals import IdentityError
from appliance.identity.settings import IdentitySettings

MAX_PASSWORD_CHARACTERS: Final = 256
_WAIT_S: Final = 10.0
_SALT_BYTES: Final = 16  # RFC 9106 §3.1
_HASH_BYTES: Final = 32

_WORN_OUT: Final = frozenset(
    {
        *("password", "administrator", "homard", "homardedge", "lwm2m", "raspberry", "raspberrypi"),
        *("letmein", "welcome", "iloveyou", "changeme", "qwertyuiop", "qwertzuiop", "abcdefghij"),
        *("1234567890", "0123456789", "0987654321", "1q2w3e4r5t"),
    }
)


def normalised(password: str) -> bytes:
    """The bytes that are hashed: NFKC, so that every keyboard gives the same (NIST SP 800-63B §5.1.1.2)."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def check_new_password(password: str, account: str, min_length: int) -> None:
    """Raises IdentityError("invalid") for a password that would be guessed first."""
    if len(password) < min_length:
        raise IdentityError(
            "invalid",
            f"the password has {len(password)} characters",
            f"Use at least {min_length}; a few unrelated words are good.",
        )
    if len(password) > MAX_PASSWORD_CHARACTERS:
        raise IdentityError(
            "invalid", "the password is too long", f"Use at most {MAX_PASSWORD_CHARACTERS} characters."
        )
    plain = password.casefold().strip()
    stem = plain.rstrip("0123456789!?.-_ ")
    if (
        len(set(plain)) < 4
        or plain == account.casefold()
        or plain in _WORN_OUT
        or stem in _WORN_OUT
        or stem == account.casefold()
    ):
        raise IdentityError(
            "invalid", "this password would be guessed first", "A few unrelated words are good."
        )


class Passwords:
    """Makes and verifies hashes in PHC string format."""

    def __init__(self, settings: IdentitySettings) -> None:
        self._settings = settings
        self._running = threading.Semaphore(settings.parallel_hashes)
        self._admitted = threading.Semaphore(settings.parallel_hashes * 2)
        self._nobody: str | None = None

    def hash(self, password: str) -> str:
        """A new hash with a salt of its own. Raises IdentityError("busy")."""
        # Imported late: only a login needs it, and it costs start-up time on a small board.
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        with self._turn():
            return Argon2id(
                salt=os.urandom(_SALT_BYTES),
                length=_HASH_BYTES,
                iterations=self._settings.argon2_iterations,
                lanes=self._settings.argon2_lanes,
                memory_cost=self._settings.argon2_memory_kib,
            ).derive_phc_encoded(normalised(password))

    def verify(self, password: str, encoded: str | None) -> bool:
        """Whether the password fits; ``None`` stands for an unknown account and takes as long.

        Raises IdentityError("busy").
        """
        from cryptography.exceptions import InvalidKey
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        # Made at the first login of all, whoever tries it, so that its cost tells nothing either.
        if self._nobody is None:
            self._nobody = self.hash(os.urandom(16).hex())
        target = self._nobody if encoded is None else encoded
        with self._turn():
            try:
                Argon2id.verify_phc_encoded(normalised(password), target)
            except InvalidKey:
                return False
        return encoded is not None

    def is_outdated(self, encoded: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        settings = self._settings
        wanted = f"m={settings.argon2_memory_kib},t={settings.argon2_iterations},p={settings.argon2_lanes}"
        return encoded.split("$")[3:4] != [wanted]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._admitted.acquire(blocking=False):
            raise _busy()
        try:
            if not self._running.acquire(timeout=_WAIT_S):
                raise _busy()
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._admitted.release()


def _busy() -> IdentityError:
    return IdentityError("busy", "too many logins at the same time", "Try again in a moment.", 1)
