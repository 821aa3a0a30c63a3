"""``scripts/run``: what it prints, passes on and stops, with stand-ins for Python's pip and for homard."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PYTHON = f"""#!/bin/sh
[ "$1 $2" = "-m pip" ] && {{ echo "$@" >>"$(dirname "$0")/../../pip.log"; exit 0; }}
exec {sys.executable} "$@"
"""
HOMARD = f"""#!{sys.executable}
import json, pathlib, signal, sys
folder = pathlib.Path(__file__).parent.parent.parent
def log(*words):
    with (folder / "homard.log").open("a") as file:
        print(*words, file=file)
def stop(*_):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    log("stopped", sys.argv[1])
    sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
log(*sys.argv[1:])
if sys.argv[1] == "serve":
    if "--bad" in sys.argv:
        sys.exit("coap.port: in use")
    print(json.dumps({{"ready": True, "coap": 15683, "http": 8443, "url": "https://192.0.2.7:8443/",
                       "setup_code": None if "--set-up" in sys.argv else "ABCD-EFGH"}}), flush=True)
else:
    print("Simulated devices are running", flush=True)
signal.pause()
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for name, text in (("python", PYTHON), ("homard", HOMARD)):
        (folder / ".venv" / "bin" / name).write_text(text, encoding="utf-8")
        (folder / ".venv" / "bin" / name).chmod(0o755)
    return folder


def start(clone: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(clone / "scripts" / "run"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def lines_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout
    read = ""
    while word not in read:
        line = process.stdout.readline()
        assert line, f"ended before {word!r}: {read} {process.stderr.read() if process.stderr else ''}"
        read += line
    return read


def ctrl_c(process: subprocess.Popen[str]) -> int:
    """What a terminal does: SIGINT to the whole process group."""
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    return process.returncode


def test_it_prints_one_url_and_the_setup_code_and_ctrl_c_stops_it(clone: Path) -> None:
    process = start(clone)
    told = lines_until(process, "Add a device")
    assert told.count("://192.0.2.7") == 1 and "https://192.0.2.7:8443/" in told and "ABCD-EFGH" in told
    assert f"{clone}/.venv/bin/homard device add NAME --state {clone}/state\n" in told
    assert ctrl_c(process) == 0
    log = (clone / "homard.log").read_text(encoding="utf-8").splitlines()
    assert log == [f"serve --state {clone}/state", "stopped serve"]


def test_without_a_setup_code_there_is_no_line_for_it(clone: Path) -> None:
    process = start(clone, "--set-up")
    assert "code" not in lines_until(process, "Devices register at")
    assert ctrl_c(process) == 0


def test_the_state_folder_and_other_options_are_passed_on(clone: Path) -> None:
    process = start(clone, "--state", "/other place", "--set", "coap.port=15683")
    lines_until(process, "Devices register at")
    assert ctrl_c(process) == 0
    assert "serve --state /other place --set coap.port=15683\n" in (clone / "homard.log").read_text(
        encoding="utf-8"
    )


def test_demo_adds_devices_at_the_port_in_use_and_ctrl_c_stops_both(clone: Path) -> None:
    process = start(clone, "--demo")
    lines_until(process, "Simulated devices")
    assert ctrl_c(process) == 0
    log = (clone / "homard.log").read_text(encoding="utf-8")
    assert "simulate --server coap://127.0.0.1:15683 --count 5\n" in log
    assert "stopped serve\n" in log and "stopped simulate\n" in log


def test_it_is_installed_once(clone: Path) -> None:
    for _ in range(2):
        process = start(clone)
        lines_until(process, "Devices register at")
        ctrl_c(process)
    assert (clone / "pip.log").read_text(encoding="utf-8").count("--editable") == 1


def test_a_server_that_does_not_start_gives_its_words_and_its_exit_code(clone: Path) -> None:
    process = start(clone, "--bad")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1 and out == "" and "coap.port: in use" in err


def test_help_needs_no_installation(clone: Path) -> None:
    process = start(clone, "--help")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and "--demo" in out
    assert not (clone / "pip.log").exists()
