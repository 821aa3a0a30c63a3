"""Settings of the vault: section ``[vault]`` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Where the sealing key lies, and how long what the vault makes is good for."""

    key_file: str = field(
        default="",
        metadata={
            "unit": "",
            "doc": "The file with the sealing key, mode 0600, outside the data folder. Empty: the systemd "
            "credential homard-vault-key, else the data folder's name with .key behind it.",
        },
    )
    certificate_days: int = field(
        default=825,
        metadata={"unit": "days", "doc": "How long a device certificate is valid.", "min": 1, "max": 7300},
    )
    authority_years: int = field(
        default=20,
        metadata={
            "unit": "years",
            "doc": "How long the certificate of the own authority is valid.",
            "min": 1,
            "max": 50,
        },
    )
    overlap_days: int = field(
        default=30,
        metadata={
            "unit": "days",
            "doc": "After a rotation the old key still opens until the new one is used, this long at most.",
            "min": 0,
            "max": 3650,
        },
    )
