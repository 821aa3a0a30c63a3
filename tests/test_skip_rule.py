"""The rule on skips, tried in a folder of its own: skips of every kind, in CI and out of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SKIPPING = {
    "by mark": "import pytest\n@pytest.mark.skip(reason='too lazy')\ndef test_x(): ...\n",
    "by condition": "import pytest\n@pytest.mark.skipif(True, reason='too lazy')\ndef test_x(): ...\n",
    "by call": "import pytest\ndef test_x():\n    pytest.skip('too lazy')\n",
    "in a fixture": (
        "import pytest\n@pytest.fixture\ndef f():\n    pytest.skip('too lazy')\ndef test_x(f): ...\n"
    ),
    "by unittest": (
        "import unittest\nclass T(unittest.TestCase):\n"
        "    @unittest.skip('too lazy')\n    def test_x(self): ...\n"
    ),
    "expected to fail": "import pytest\n@pytest.mark.xfail(reason='too lazy')\ndef test_x():\n    assert False\n",
    "whole module": "import pytest\npytest.skip('too lazy', allow_module_level=True)\n",
    "missing package": "import pytest\npytest.importorskip('no_such_package', reason='too lazy')\n",
}


def run(folder: Path, text: str, *, ci: bool, allowed: str = "") -> subprocess.CompletedProcess[str]:
    shutil.copy(TESTS / "conftest.py", folder)
    (folder / "allowed-skips.txt").write_text(allowed, encoding="utf-8")
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={**os.environ, "CI": "true" if ci else ""},
    )


@pytest.mark.parametrize("kind", SKIPPING)
def test_in_ci_a_skip_fails_and_names_its_reason(tmp_path: Path, kind: str) -> None:
    told = run(tmp_path, SKIPPING[kind], ci=True)
    assert told.returncode not in (0, 5), told.stdout
    assert "too lazy" in told.stdout and "allowed-skips.txt" in told.stdout


@pytest.mark.parametrize("kind", ["by mark", "expected to fail"])
def test_elsewhere_a_skip_is_a_skip(tmp_path: Path, kind: str) -> None:
    assert run(tmp_path, SKIPPING[kind], ci=False).returncode == 0


@pytest.mark.parametrize(
    ("allowed", "passes"),
    [
        ("# a comment\n\ntest_it.py::test_x | needs a modem\n", True),
        ("test_it.py | needs a modem\n", True),
        ("test_other.py | needs a modem\n", False),
        ("test_it.py::test_x\n", False),
        ("test_it.py::test_x | \n", False),
    ],
)
def test_an_exception_names_the_test_and_a_reason(tmp_path: Path, allowed: str, passes: bool) -> None:
    assert (run(tmp_path, SKIPPING["by call"], ci=True, allowed=allowed).returncode == 0) is passes


def test_what_passes_passes_in_ci(tmp_path: Path) -> None:
    assert run(tmp_path, "def test_x(): ...\n", ci=True).returncode == 0
