"""The unit as systemd itself judges it: correct, and exposed no more than 2.0 on its scale of 10."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from appliance.vault.sealing import CREDENTIAL, key_path

UNIT = Path(__file__).parent.parent.parent / "systemd" / "homard.service"
MOST_EXPOSED = 2.0


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def verify(tmp_path: Path, text: str) -> str:
    """What ``systemd-analyze verify`` complains of, with a command that exists in place of ours."""
    file = tmp_path / UNIT.name
    file.write_text(text.replace("/opt/homard/current/bin/homard", "/bin/true"), encoding="utf-8")
    told = analyze("verify", "--man=no", "--recursive-errors=no", str(file))
    return told.stdout + told.stderr + (f"exit {told.returncode}" if told.returncode else "")


def exposure(file: Path) -> float:
    told = analyze("security", "--offline=true", str(file))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told.stdout)
    assert found, told.stdout + told.stderr
    return float(found.group(1))


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    assert verify(tmp_path, UNIT.read_text(encoding="utf-8")) == ""


@pytest.mark.parametrize(("old", "new"), [("[Service]", "[Serwice]"), ("PrivateTmp=yes", "PrivatTmp=yes")])
def test_a_fault_would_be_found(tmp_path: Path, old: str, new: str) -> None:
    assert verify(tmp_path, UNIT.read_text(encoding="utf-8").replace(old, new)) != ""


def test_the_exposure_is_low() -> None:
    assert exposure(UNIT) <= MOST_EXPOSED


def test_an_unhardened_unit_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / UNIT.name
    file.write_text("[Service]\nType=notify\nUser=homard\nExecStart=/bin/true\n", encoding="utf-8")
    assert exposure(file) > MOST_EXPOSED


def test_the_unit_reports_readiness_has_a_watchdog_and_a_user_of_its_own() -> None:
    reader = configparser.RawConfigParser(strict=False)
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    reader.read(UNIT, encoding="utf-8")
    service = dict(reader["Service"])
    assert (service["Type"], service["User"], service["DynamicUser"]) == ("notify", "homard", "no")
    assert int(service["WatchdogSec"]) > 0
    assert service["StateDirectoryMode"] == "0700"
    assert service["CapabilityBoundingSet"] == ""
    assert service["LimitCORE"] == "0", "memory with keys in it is written nowhere"


def test_the_sealing_key_is_handed_over_from_beside_the_data() -> None:
    reader = configparser.RawConfigParser(strict=False)
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    reader.read(UNIT, encoding="utf-8")
    name, _, path = reader["Service"]["LoadCredential"].partition(":")
    assert (name, path) == (CREDENTIAL, str(key_path(Path("/var/lib/homard"))))
