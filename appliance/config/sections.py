"""Which section of the file belongs to which room: the only module that knows every settings class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from appliance.config.describe import describe_sections, show_sections
from appliance.config.loader import load_sections
from appliance.config.settings import LogSettings
from appliance.devices.settings import DevicesSettings
from appliance.identity.settings import IdentitySettings
from appliance.northbound.settings import HttpSettings
from appliance.southbound.settings import CoapSettings, CoapsSettings
from appliance.storage.settings import StorageSettings
from appliance.vault.settings import VaultSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """One frozen value per room; each attribute has the name of its section in the file."""

    coap: CoapSettings = field(default_factory=CoapSettings)
    coaps: CoapsSettings = field(default_factory=CoapsSettings)
    vault: VaultSettings = field(default_factory=VaultSettings)
    devices: DevicesSettings = field(default_factory=DevicesSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    log: LogSettings = field(default_factory=LogSettings)


SECTIONS: dict[str, type[Any]] = get_type_hints(Settings)


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Defaults, then the file, then the overrides ``section.key=value``; raises loader.ConfigError."""
    return Settings(**load_sections(SECTIONS, path, overrides))


def describe() -> str:
    """The default configuration file: every setting with its sentence, commented out."""
    return describe_sections(SECTIONS)


def show(settings: Settings) -> str:
    """The values in force as TOML, secrets masked."""
    return show_sections(
        SECTIONS, {entry.name: getattr(settings, entry.name) for entry in dataclasses.fields(settings)}
    )
