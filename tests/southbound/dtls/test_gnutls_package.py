"""``ready_gnutls`` of scripts/setup.sh: what it installs, and what it says where it cannot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from appliance.southbound.dtls.gnutls import MINIMA

REPOSITORY = Path(__file__).parents[3]
DPKG_QUERY = """#!/bin/sh
for package; do :; done
grep "^$package " "$(dirname "$0")/installed" >"$(dirname "$0")/found" || exit 1
cut -d' ' -f2- "$(dirname "$0")/found" | tr -d '\\n'
"""
APT_GET = """#!/bin/sh
echo "apt-get $*" >>"$(dirname "$0")/log"
case $* in install*) cp "$(dirname "$0")/available" "$(dirname "$0")/installed" ;; esac
"""


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A folder with stand-ins for Debian's commands; ``installed`` and ``available`` are the packages."""
    for name, text in (
        ("dpkg-query", DPKG_QUERY),
        ("apt-get", APT_GET),
        ("apt-cache", "#!/bin/sh\nexit 1\n"),
        ("sudo", '#!/bin/sh\n[ "$1" = -n ] && exit 1\nexec "$@"\n'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "installed").write_text("")
    (tmp_path / "available").write_text("")
    (tmp_path / "log").write_text("")
    return tmp_path


def ready(system: Path, *, root: bool = True) -> str:
    script = f". scripts/setup.sh; may_be_root() {{ {'true' if root else 'false'}; }}; ready_gnutls"
    done = subprocess.run(
        ["bash", "-c", f'PATH="{system}:$PATH"; as_root() {{ "$@"; }}; {script}'],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


@pytest.mark.parametrize(
    "package", ["libgnutls30 ii 3.7.9-2+deb12u7\n", "libgnutls30t64 ii 3.8.9-3+deb13u4\n"]
)
def test_what_is_good_stays(system: Path, package: str) -> None:
    (system / "installed").write_text(package)
    assert ready(system) == ""
    assert (system / "log").read_text() == ""


def test_what_is_old_is_upgraded(system: Path) -> None:
    (system / "installed").write_text("libgnutls30 ii 3.7.9-2+deb12u6\n")
    (system / "available").write_text("libgnutls30 ii 3.7.9-2+deb12u7\n")
    assert ready(system) == "Upgrading libgnutls30 3.7.9-2+deb12u6, for DTLS\n"
    assert "apt-get install -y -qq --no-install-recommends libgnutls30\n" in (system / "log").read_text()


def test_what_is_missing_is_installed(system: Path) -> None:
    (system / "available").write_text("libgnutls30 ii 3.7.9-2+deb12u7\n")
    assert ready(system) == "Installing libgnutls30, for DTLS\n"


@pytest.mark.parametrize("root", [True, False])
def test_what_cannot_be_had_is_said(system: Path, root: bool) -> None:
    old = "libgnutls30 ii 3.7.9-2\n"
    (system / "installed").write_text(old)
    (system / "available").write_text(old)
    said = ready(system, root=root)
    assert "GnuTLS (libgnutls30) 3.7.9-2 is too old, so devices cannot connect with DTLS. Type:" in said
    assert "    sudo apt-get update && sudo apt-get install libgnutls30\n" in said
    assert bool((system / "log").read_text()) == root


def test_a_removed_package_is_none(system: Path) -> None:
    (system / "installed").write_text("libgnutls30 rc 3.7.9-2+deb12u7\n")
    assert "is missing" in ready(system, root=False)


def test_another_system_is_left_alone(system: Path) -> None:
    (system / "dpkg-query").unlink()
    done = subprocess.run(
        ["/bin/bash", "-c", f'. scripts/setup.sh; PATH="{system}"; ready_gnutls'],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_the_script_and_the_server_agree_about_versions() -> None:
    done = subprocess.run(
        ["bash", "-c", ". scripts/setup.sh; _gnutls_packages"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{one.package} {one.version}" for one in MINIMA]
