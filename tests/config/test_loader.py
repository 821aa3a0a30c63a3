"""The loader, against sections of its own: what it takes, and what it says when it cannot."""

from __future__ import annotations

import random
import tomllib
from dataclasses import FrozenInstanceError, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.describe import describe_sections, show_sections
from appliance.config.fields import MASK, ValueProblem, checked, settings_of, toml_text
from appliance.config.loader import ConfigError, load_sections


def setting(default: Any, doc: str = "A sentence.", unit: str = "", **more: Any) -> Any:
    return field(default=default, metadata={"unit": unit, "doc": doc, **more})


@dataclass(frozen=True, slots=True)
class RadioSettings:
    """How we reach the radio."""

    port: int = setting(5683, min=0, max=65535)
    ack_timeout_s: float = setting(2.0, "First wait.", "s", min=0.1, max=120.0)
    bind: tuple[str, ...] = setting(("::", "0.0.0.0"), "Where we listen.")
    tls: bool = setting(True)
    sync: str = setting("full", choices=("full", "normal"))


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Where the keys lie."""

    password: str = setting("", "Opens the vault.", secret=True, choices=())
    pin: int = setting(0, "Opens the SIM.", secret=True, min=0, max=9999)
    smallest: int = setting(1)
    largest: int = setting(9)

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            raise ValueError("smallest is larger than largest")


SECTIONS: dict[str, type[Any]] = {"radio": RadioSettings, "vault": VaultSettings}


def load(tmp_path: Path, text: str, *overrides: str) -> dict[str, Any]:
    file = tmp_path / "homard.toml"
    file.write_text(text, encoding="utf-8")
    return load_sections(SECTIONS, file, overrides)


def problems(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_nothing_given_means_the_defaults() -> None:
    assert load_sections(SECTIONS, None) == {"radio": RadioSettings(), "vault": VaultSettings()}


def test_the_file_is_taken_and_the_values_are_frozen(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        '[radio]\nport = 15683\nack_timeout_s = 15\nbind = ["127.0.0.1"]\ntls = false\nsync = "normal"\n',
    )
    assert loaded["radio"] == RadioSettings(15683, 15.0, ("127.0.0.1",), False, "normal")
    assert type(loaded["radio"].ack_timeout_s) is float
    with pytest.raises(FrozenInstanceError):
        loaded["radio"].port = 1


def test_overrides_win_over_the_file_and_later_ones_over_earlier_ones(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[radio]\nport = 1\n", "radio.port=2", "radio.port = 3")
    assert loaded["radio"].port == 3


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("radio.ack_timeout_s=15", "ack_timeout_s", 15.0),
        ("radio.tls=false", "tls", False),
        ("radio.sync=normal", "sync", "normal"),
        ('radio.sync="normal"', "sync", "normal"),
        ("radio.bind=127.0.0.1", "bind", ("127.0.0.1",)),
        ("radio.bind=127.0.0.1, ::1", "bind", ("127.0.0.1", "::1")),
        ('radio.bind=["::1"]', "bind", ("::1",)),
        ("radio.bind=", "bind", ()),
    ],
)
def test_an_override_is_written_as_a_shell_lets_one_write_it(override: str, name: str, value: object) -> None:
    assert getattr(load_sections(SECTIONS, None, [override])["radio"], name) == value


def test_a_password_may_hold_an_equals_sign_and_dots() -> None:
    assert load_sections(SECTIONS, None, ["vault.password=a=b.c"])["vault"].password == "a=b.c"


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """\
[radoi]
port = 1

[radio]
prot = 1
port = 70000
ack_timeout_s = "2"
tls = 1
sync = "ful"
bind = "::"
"""
    assert problems(tmp_path, text, "radio.sync=none", "vault.smallest=x", "nonsense") == [
        "homard.toml:1: there is no section [radoi]; did you mean radio?",
        "homard.toml:5: there is no setting radio.prot; did you mean radio.port?",
        "homard.toml:6: radio.port is 70000 but must be a whole number from 0 to 65535",
        'homard.toml:7: radio.ack_timeout_s is "2" but must be a number from 0.1 to 120 s',
        "homard.toml:8: radio.tls is 1 but must be true or false",
        'homard.toml:9: radio.sync is "ful" but must be one of "full", "normal"; did you mean "full"?',
        'homard.toml:10: radio.bind is "::" but must be a list of texts such as ["a", "b"]',
        '--set radio.sync: radio.sync is "none" but must be one of "full", "normal"',
        '--set vault.smallest: vault.smallest is "x" but must be a whole number',
        "--set nonsense: write it as section.key=value, for example --set log.level=debug",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port = 1\n", "homard.toml:1: port stands outside every section; put it below [radio]"),
        ("radio = 1\n", "homard.toml:1: radio is a section: write [radio] on a line and its settings below"),
        ("[vault]\ntls = true\n", "homard.toml:2: there is no setting vault.tls; tls belongs to [radio]"),
        (
            "[radio]\nack-timeout-s = 1\n",
            "homard.toml:2: there is no setting radio.ack-timeout-s; did you mean radio.ack_timeout_s?",
        ),
        (
            "[vault]\nxyz = 1\n",
            "homard.toml:2: there is no setting vault.xyz; "
            "the settings of [vault] are largest, password, pin, smallest",
        ),
        ("[qqq]\n", "homard.toml:1: there is no section [qqq]; the sections are radio, vault"),
        (
            "[radio]\nport = true\n",
            "homard.toml:2: radio.port is true but must be a whole number from 0 to 65535",
        ),
        (
            "[radio]\nport = 1.0\n",
            "homard.toml:2: radio.port is 1.0 but must be a whole number from 0 to 65535",
        ),
        (
            "[radio]\nack_timeout_s = nan\n",
            "homard.toml:2: radio.ack_timeout_s is nan but must be a number from 0.1 to 120 s",
        ),
        (
            "[radio]\nbind = [1]\n",
            'homard.toml:2: radio.bind is [1] but must be a list of texts such as ["a", "b"]',
        ),
        ("[radio.port]\n", "homard.toml: radio.port is a table but must be a whole number from 0 to 65535"),
        ("[vault]\nsmallest = 10\n", "[vault]: smallest is larger than largest"),
        ("[[radio]]\n", "homard.toml: radio is a section: write [radio] on a line and its settings below"),
    ],
)
def test_each_fault_has_its_sentence(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    "text", ["[radio\n", "[radio]\nport = 1\nport = 2\n", "a = " + "[" * 100000, "a = 2024-13-45"]
)
def test_what_is_not_toml_is_one_problem_and_the_overrides_are_still_checked(
    tmp_path: Path, text: str
) -> None:
    first, second = problems(tmp_path, text, "radio.port=-1")
    assert first.startswith("homard.toml is not valid TOML: ")
    assert second == "--set radio.port: radio.port is -1 but must be a whole number from 0 to 65535"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"cannot be read: {words}"):
            load_sections(SECTIONS, path)
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 5\)"):
        load_sections(SECTIONS, tmp_path / "latin.toml")


def test_a_file_written_on_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "homard.toml").write_bytes(b"\xef\xbb\xbf[radio]\r\nport = 7\r\n")
    assert load_sections(SECTIONS, tmp_path / "homard.toml")["radio"].port == 7


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    told = problems(tmp_path, "[vault]\npassword = 12345\npin = 123456\n", "vault.pin=hunter2")
    assert not any("12345" in problem or "hunter2" in problem for problem in told)
    loaded = load(tmp_path, "", "vault.password=hunter2", "vault.pin=1234")
    shown = show_sections(SECTIONS, loaded)
    assert "hunter2" not in shown and "1234" not in shown
    assert f'password = "{MASK}"  # default: ""' in shown


def test_show_tells_what_differs_from_the_default(tmp_path: Path) -> None:
    shown = show_sections(SECTIONS, load(tmp_path, "", "radio.port=1"))
    assert "port = 1  # default: 5683\n" in shown
    assert "tls = true\n" in shown
    assert tomllib.loads(shown)["radio"]["port"] == 1


def test_the_described_file_gives_the_defaults_as_it_is_and_uncommented(tmp_path: Path) -> None:
    text = describe_sections(SECTIONS)
    defaults = {"radio": RadioSettings(), "vault": VaultSettings()}
    assert load(tmp_path, text) == defaults
    uncommented = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in text.splitlines()
    )
    assert tomllib.loads(uncommented)["radio"]["ack_timeout_s"] == 2.0
    assert load(tmp_path, uncommented) == defaults
    assert "# First wait. Takes a number from 0.1 to 120 s.\n#ack_timeout_s = 2.0\n" in text


@given(st.text())
def test_every_text_survives_being_written_as_toml(text: str) -> None:
    if "\ud800" <= max(text, default="") <= "\udfff":
        return
    assert tomllib.loads(f"a = {toml_text(text)}")["a"] == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=5,
    )
)
def test_any_value_is_taken_within_its_bounds_or_refused(value: object) -> None:
    for one in (*settings_of("radio", RadioSettings).values(), *settings_of("vault", VaultSettings).values()):
        try:
            taken = checked(one, value)
        except ValueProblem:
            continue
        assert isinstance(taken, tuple if one.name == "bind" else one.kind)
        if one.maximum is not None and isinstance(taken, int | float):
            assert one.minimum is not None and one.minimum <= taken <= one.maximum


def test_a_damaged_file_gives_settings_or_config_error(tmp_path: Path) -> None:
    source = random.Random(20261122)
    file = tmp_path / "homard.toml"
    good = describe_sections(SECTIONS).replace("\n#", "\n").encode()
    for _ in range(2000):
        damaged = bytearray(good)
        for _ in range(source.randrange(1, 8)):
            at = source.randrange(len(damaged))
            damaged[at : at + source.randrange(3)] = source.randbytes(source.randrange(3))
        file.write_bytes(damaged)
        try:
            load_sections(SECTIONS, file)
        except ConfigError as error:
            assert error.problems


@pytest.mark.parametrize(
    "entry",
    [
        ("list[int]", {"default": 1, "metadata": {"unit": "", "doc": "A."}}),
        ("int", {"default_factory": int, "metadata": {"unit": "", "doc": "A."}}),
        ("int", {"default": 1, "metadata": {"unit": ""}}),
        ("int", {"default": 1, "metadata": {"doc": "A."}}),
        ("str", {"default": "hunter2", "metadata": {"unit": "", "doc": "A.", "secret": True}}),
    ],
)
def test_a_settings_class_that_breaks_the_rule_is_refused(entry: tuple[str, dict[str, Any]]) -> None:
    kind, arguments = entry
    made = dataclass(type("Broken", (), {"__annotations__": {"x": kind}, "x": field(**arguments)}))
    with pytest.raises(TypeError, match=r"Broken\.x"):
        settings_of("broken", made)
