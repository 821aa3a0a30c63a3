"""Settings of the identity room: section ``[identity]`` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """How passwords are kept, how long a login lasts, how fast one may guess."""

    argon2_memory_kib: int = field(
        default=19456,
        metadata={
            "unit": "KiB",
            "doc": "Memory one Argon2id password hash takes.",
            "min": 8192,
            "max": 1048576,
        },
    )
    argon2_iterations: int = field(
        default=2,
        metadata={"unit": "", "doc": "Passes of Argon2id over that memory.", "min": 1, "max": 100},
    )
    argon2_lanes: int = field(
        default=1,
        metadata={"unit": "", "doc": "Parallel lanes of Argon2id.", "min": 1, "max": 16},
    )
    parallel_hashes: int = field(
        default=2,
        metadata={
            "unit": "",
            "doc": "Password hashes computed at the same time; each takes its memory.",
            "min": 1,
            "max": 64,
        },
    )
    min_password_length: int = field(
        default=10,
        metadata={"unit": "", "doc": "Characters a new password must have.", "min": 8, "max": 128},
    )
    session_lifetime_s: int = field(
        default=7 * 86400,
        metadata={
            "unit": "s",
            "doc": "A login ends this long after it was made, whatever happens in between.",
            "min": 60,
            "max": 31536000,
        },
    )
    session_idle_s: int = field(
        default=12 * 3600,
        metadata={
            "unit": "s",
            "doc": "A login ends when its page has not been open for this long.",
            "min": 60,
            "max": 31536000,
        },
    )
    max_sessions: int = field(
        default=200,
        metadata={
            "unit": "",
            "doc": "Logins kept; the oldest ends when one more is made.",
            "min": 1,
            "max": 10000,
        },
    )
    max_accounts: int = field(
        default=100,
        metadata={"unit": "", "doc": "Accounts that may exist.", "min": 1, "max": 10000},
    )
    max_tokens: int = field(
        default=200,
        metadata={"unit": "", "doc": "API tokens that may exist.", "min": 0, "max": 10000},
    )
    free_failures: int = field(
        default=5,
        metadata={
            "unit": "",
            "doc": "Wrong passwords that cost no waiting; from then on the wait doubles with each.",
            "min": 1,
            "max": 100,
        },
    )
    backoff_first_s: float = field(
        default=1.0,
        metadata={
            "unit": "s",
            "doc": "The first wait after too many wrong passwords.",
            "min": 0.1,
            "max": 3600.0,
        },
    )
    backoff_max_s: float = field(
        default=900.0,
        metadata={
            "unit": "s",
            "doc": "The longest wait of one address, or of one account from one address.",
            "min": 1.0,
            "max": 86400.0,
        },
    )
    account_backoff_max_s: float = field(
        default=120.0,
        metadata={
            "unit": "s",
            "doc": "The longest wait of one account for addresses that never logged in to it.",
            "min": 1.0,
            "max": 86400.0,
        },
    )
    backoff_forget_s: float = field(
        default=3600.0,
        metadata={
            "unit": "s",
            "doc": "Wrong passwords are forgotten when none came for this long.",
            "min": 60.0,
            "max": 604800.0,
        },
    )
