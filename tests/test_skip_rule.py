"""The rule on skips, tried in a folder of its own: skips of every kind, in CI and out of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SKIPPING = """
import unittest
import pytest

@pytest.fixture
def absent():
    pytest.skip("too lazy")

@pytest.mark.skip(reason="too lazy")
def test_by_mark(): ...

@pytest.mark.skipif(True, reason="too lazy")
def test_by_condition(): ...

def test_by_call():
    pytest.skip("too lazy")

def test_by_fixture(absent): ...

@pytest.mark.xfail(reason="too lazy")
def test_expected_to_fail():
    assert False

class TestCase(unittest.TestCase):
    @unittest.skip("too lazy")
    def test_by_unittest(self): ...
"""
WHOLE_MODULE = "import pytest\npytest.skip('too lazy', allow_module_level=True)\n"
MISSING_PACKAGE = "import pytest\npytest.importorskip('no_such_package', reason='too lazy')\n"


def run(folder: Path, text: str, *, ci: bool, allowed: str = "") -> tuple[int, str]:
    """Exit code and output of pytest over one module, with the rule of this folder."""
    shutil.copy(TESTS / "conftest.py", folder)
    (folder / "allowed-skips.txt").write_text(allowed, encoding="utf-8")
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={**os.environ, "CI": "true" if ci else ""},
    )
    return told.returncode, told.stdout + told.stderr


def test_in_ci_every_skip_fails_and_names_its_reason(tmp_path: Path) -> None:
    code, told = run(tmp_path, SKIPPING, ci=True)
    assert code == 1
    assert set(re.findall(r"^(?:FAILED|ERROR) \S*::(\w+) ", told, re.MULTILINE)) == set(
        re.findall(r"def (test_\w+)", SKIPPING)
    )
    assert (
        told.count("Its own reason:") >= 6
        and told.count("too lazy") >= 6
        and "tests/allowed-skips.txt" in told
    )


@pytest.mark.parametrize("text", [WHOLE_MODULE, MISSING_PACKAGE])
def test_in_ci_a_skipped_module_is_an_error(tmp_path: Path, text: str) -> None:
    code, told = run(tmp_path, text, ci=True)
    assert code == 2 and "test_it.py was skipped" in told


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    code, told = run(tmp_path, SKIPPING, ci=False)
    assert code == 0 and "5 skipped, 1 xfailed" in told


def test_an_exception_counts_for_the_test_it_names(tmp_path: Path) -> None:
    code, told = run(
        tmp_path, SKIPPING, ci=True, allowed="# why\n\ntest_it.py::test_by_call | needs a modem\n"
    )
    assert code == 1 and "2 failed, 1 skipped, 3 errors" in told  # an error is a skip before the test began


@pytest.mark.parametrize("line", ["test_it.py::test_by_call", "test_it.py::test_by_call | "])
def test_an_exception_without_a_reason_stops_the_run(tmp_path: Path, line: str) -> None:
    code, told = run(tmp_path, SKIPPING, ci=True, allowed=line)
    assert code == 4 and "allowed-skips.txt:1" in told


def test_what_passes_passes_in_ci(tmp_path: Path) -> None:
    code, told = run(tmp_path, "def test_x(): ...\n", ci=True)
    assert code == 0 and "1 passed" in told
