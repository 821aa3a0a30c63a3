"""The real sections: every room's settings keep the rule, and the file described is the file loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from appliance.config.fields import checked, settings_of
from appliance.config.loader import ConfigError
from appliance.config.sections import SECTIONS, Settings, describe, load, show


def test_no_file_means_the_defaults() -> None:
    assert load() == Settings()


def test_the_sections_are_the_attributes_of_settings() -> None:
    assert list(SECTIONS) == [entry.name for entry in dataclasses.fields(Settings)]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_has_a_sentence_and_a_default_within_its_own_bounds(section: str) -> None:
    settings_class = SECTIONS[section]
    assert dataclasses.is_dataclass(settings_class)
    assert settings_class.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert not hasattr(settings_class(), "__dict__"), "a settings class is slotted"
    for setting in settings_of(section, settings_class).values():
        assert checked(setting, setting.default) == setting.default
        first = setting.doc.split()[0].rstrip(":")
        assert (first[0].isupper() or first in setting.choices) and setting.doc.endswith("."), setting.key
        for ending in ("_s", "_ms", "_bytes"):
            if setting.name.endswith(ending):
                assert setting.unit == ending[1:], f"{setting.key} says its unit in its name"


def test_the_described_file_loads_to_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "homard.toml"
    file.write_text(describe(), encoding="utf-8")
    assert load(file) == Settings()
    file.write_text(describe().replace("\n#", "\n").replace("\n ", "\n# "), encoding="utf-8")
    assert load(file) == Settings()


def test_what_is_shown_loads_again(tmp_path: Path) -> None:
    settings = load(None, ["coap.port=15683", "http.port=18080", "log.level=debug"])
    assert (settings.coap.port, settings.http.port, settings.log.level) == (15683, 18080, "debug")
    (tmp_path / "homard.toml").write_text(show(settings), encoding="utf-8")
    assert load(tmp_path / "homard.toml") == settings


def test_a_typing_slip_gets_a_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, ["caop.port=1", "coap.prot=1"])
    assert caught.value.problems == [
        "--set caop.port: there is no section [caop]; did you mean coap?",
        "--set coap.prot: there is no setting coap.prot; did you mean coap.port?",
    ]
