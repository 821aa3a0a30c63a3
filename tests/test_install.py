"""``scripts/install`` into a folder: install, again, upgrade, uninstall; data and settings outlive it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.vault.sealing import SealingKey

REPOSITORY = Path(__file__).parent.parent
SHIPPED = ("appliance", "web", "systemd", "scripts", "pyproject.toml", "README.md", "LICENSE")
DATA = "what a device reported"


class Board:
    """A copy of the sources beside a root folder to install into."""

    def __init__(self, folder: Path) -> None:
        self.sources, self.root = folder / "sources", folder / "root"
        self.sources.mkdir()
        for name in SHIPPED:
            if (REPOSITORY / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(REPOSITORY / name, self.sources / name, ignore=ignored)
            else:
                shutil.copy(REPOSITORY / name, self.sources / name)

    def install(self, *options: str, python: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **({"PYTHON": python} if python else {})}
        return subprocess.run(
            [str(self.sources / "scripts" / "install"), "--root", str(self.root), *options],
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
            env=environment,
        )

    def homard(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.root / "opt" / "homard" / "current" / "bin" / "homard"
        return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=60, check=False)

    def say_version(self, version: str) -> None:
        (self.sources / "appliance" / "__init__.py").write_text(
            f'__version__ = "{version}"\n', encoding="utf-8"
        )

    @property
    def releases(self) -> list[str]:
        return sorted(folder.name.split("-")[0] for folder in (self.root / "opt/homard/releases").iterdir())

    @property
    def config(self) -> Path:
        return self.root / "etc/homard/homard.toml"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/homard"

    @property
    def key(self) -> Path:
        return self.root / "var/lib/homard.key"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """One installed board for the whole module: its tests are the stations of one life, in order."""
    folder = tmp_path_factory.mktemp("board")
    made = Board(folder)
    made.say_version("1.0.0")
    yield made
    shutil.rmtree(folder)


def test_it_is_installed(board: Board) -> None:
    done = board.install()
    assert done.returncode == 0, done.stderr
    assert board.homard("--version").stdout == "homard 1.0.0\n"
    assert (board.root / "etc/systemd/system/homard.service").read_text(encoding="utf-8") == (
        REPOSITORY / "systemd/homard.service"
    ).read_text(encoding="utf-8")
    assert (board.root / "usr/local/bin/homard").readlink() == Path("/opt/homard/current/bin/homard")
    assert board.state.stat().st_mode & 0o777 == 0o700
    assert not board.key.exists(), "an image carries no key"
    text = board.config.read_text(encoding="utf-8")
    assert "#port = 5683\n" in text and text == board.homard("check", "--describe").stdout
    assert not list(board.sources.glob("build")) and not list(board.sources.glob("*.egg-info"))


def test_the_page_is_installed_with_it(board: Board) -> None:
    lookup = "from appliance.composition import WEB; print((WEB / 'index.html').is_file())"
    python = board.root / "opt/homard/current/bin/python"
    done = subprocess.run(
        [python, "-c", lookup], capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )
    assert done.stdout == "True\n", done.stderr


def test_installing_again_changes_nothing(board: Board) -> None:
    board.config.write_text("[coap]\nport = 15683\n", encoding="utf-8")
    (board.state / "kept").write_text(DATA, encoding="utf-8")
    before = (board.root / "opt/homard/current").readlink()
    done = board.install()
    assert done.returncode == 0 and "nothing to do" in done.stderr
    assert (board.root / "opt/homard/current").readlink() == before
    assert board.config.read_text(encoding="utf-8") == "[coap]\nport = 15683\n"


def test_a_configuration_that_the_new_version_refuses_stops_the_upgrade(board: Board) -> None:
    (board.state / "kept").unlink()
    board.say_version("1.1.0")
    board.config.write_text("[coap]\nprot = 15683\n", encoding="utf-8")
    done = board.install()
    assert done.returncode == 1
    assert "did you mean coap.port?" in done.stderr and "Nothing was changed" in done.stderr
    assert board.homard("--version").stdout == "homard 1.0.0\n"
    board.config.write_text("[coap]\nport = 15683\n", encoding="utf-8")


def test_an_upgrade_keeps_settings_and_data_and_the_release_before(board: Board) -> None:
    done = board.install()
    assert done.returncode == 0, done.stderr
    assert board.homard("--version").stdout == "homard 1.1.0\n"
    assert board.releases == ["1.0.0", "1.1.0"]
    assert board.config.read_text(encoding="utf-8") == "[coap]\nport = 15683\n"
    assert (board.config.parent / "homard.toml.default").is_file()


def test_uninstalling_keeps_settings_and_data(board: Board) -> None:
    (board.state / "kept").write_text(DATA, encoding="utf-8")
    board.key.write_text("a key", encoding="utf-8")
    done = board.install("--uninstall")
    assert done.returncode == 0, done.stderr
    assert not (board.root / "opt/homard").exists()
    assert not (board.root / "etc/systemd/system/homard.service").exists()
    assert (board.state / "kept").read_text(encoding="utf-8") == DATA
    assert board.config.is_file() and board.key.is_file()


def test_only_purge_removes_them(board: Board) -> None:
    assert board.install("--purge").returncode == 1, "--purge alone is refused"
    assert board.state.exists()
    assert board.install("--uninstall", "--purge").returncode == 0
    assert not board.state.exists() and not board.config.parent.exists() and not board.key.exists()


def make_key(state: Path) -> subprocess.CompletedProcess[str]:
    """The step of scripts/install that makes the sealing key, on this state folder."""
    script = (REPOSITORY / "scripts/install").read_text(encoding="utf-8")
    step = script[script.index("make_key() {") : script.index("# go_live OLD:")]
    fail = 'fail() { printf "%s\\n" "$@" >&2; exit 1; }'
    places = f'root="" state="{state}" key="{state}.key" unit="{state}.service"'
    words = f"set -uo pipefail\n{fail}\nchown() {{ :; }}\n{places}"
    text = f"{words}\n{step}\nmake_key"
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False)


def test_every_unit_makes_a_sealing_key_of_its_own_once(tmp_path: Path) -> None:
    keys = []
    for name in ("one", "other"):
        state = tmp_path / name
        state.mkdir()
        assert make_key(state).returncode == 0
        file = tmp_path / f"{name}.key"
        assert file.stat().st_mode & 0o777 == 0o600
        keys.append(SealingKey.load(state, create=False).export())
        file.chmod(0o640)
        assert make_key(state).returncode == 0
        assert SealingKey.load(state, create=False).export() == keys[-1], "it stays, and its mode is healed"
    assert keys[0] != keys[1]


def test_a_lost_sealing_key_stops_the_installation_instead_of_getting_a_successor(tmp_path: Path) -> None:
    (tmp_path / "state/vault").mkdir(parents=True)
    (tmp_path / "state/vault/devices-0001.json").write_text("{}", encoding="utf-8")
    done = make_key(tmp_path / "state")
    assert done.returncode == 1 and "Put it back, or restore" in done.stderr
    assert not (tmp_path / "state.key").exists()


def test_a_sealing_key_that_the_owner_keeps_elsewhere_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "state/vault").mkdir(parents=True)
    (tmp_path / "state/vault/devices-0001.json").write_text("{}", encoding="utf-8")
    (tmp_path / "state.service.d").mkdir()
    lines = (
        "[Service]\nLoadCredential=\nLoadCredentialEncrypted=homard-vault-key:/etc/homard/vault-key.cred\n"
    )
    (tmp_path / "state.service.d/override.conf").write_text(lines, encoding="utf-8")
    assert make_key(tmp_path / "state").returncode == 0
    assert not (tmp_path / "state.key").exists()


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = Board(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("python3", "apt-get"):
        (tools / name).write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
        (tools / name).chmod(0o755)
    # What stands on the PATH for everything else is left out where it would bring a newer Python.
    text = (old.sources / "scripts/setup.sh").read_text(encoding="utf-8")
    text = text.replace("/usr/bin/python3", "python3").replace("python3.13 python3.12 python3.11", "")
    (old.sources / "scripts/setup.sh").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [str(old.sources / "scripts/install"), "--root", str(old.root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
    )
    assert done.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13, and this machine has Python 3.9.2" in done.stderr
