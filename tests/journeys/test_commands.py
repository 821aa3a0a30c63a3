"""The command line as an installer and a cron job use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import ROOT, House, LockstepDevice


def homard(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["simulate"],
        ["check"],
        ["backup"],
        ["restore"],
        ["account"],
        ["token"],
        ["token", "create"],
    ],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    done = homard(*command, "--help")
    assert done.returncode == 0
    assert "usage: homard" in done.stdout
    assert len(done.stdout.splitlines()) > 3


def test_the_ready_line_is_one_line_of_json_with_the_setup_code(house: House) -> None:
    assert house.ready["ready"] is True
    assert house.ready["coap"] > 0
    assert house.ready["http"] > 0
    assert house.ready["setup_code"]


def test_two_servers_on_one_state_folder_or_port_are_refused_in_words(house: House, tmp_path: Path) -> None:
    second = homard("serve", "--state", str(house.state), "--set", "coap.port=0", "--set", "http.port=0")
    assert second.returncode == 1
    assert "in use" in second.stderr
    port = ("--set", f"coap.port={house.coap_port}", "--set", 'coap.bind=["127.0.0.1"]')
    third = homard("serve", "--state", str(tmp_path / "other"), "--set", "http.port=0", *port)
    assert third.returncode == 1
    assert "coap.port" in third.stderr


def test_wrong_settings_are_told_all_at_once() -> None:
    done = homard("check", "--state", "/nonexistent", "--set", "coap.prot=1", "--set", "storage.sync=maybe")
    assert done.returncode == 2
    assert "coap.port" in done.stderr
    assert "full" in done.stderr


def test_a_password_set_on_the_command_line_logs_in_while_the_server_runs(house: House) -> None:
    done = homard(
        "account", "set-password", "ada", "--stdin", "--state", str(house.state), text="correct horse 9\n"
    )
    assert done.returncode == 0, done.stderr
    status, session = house.api("POST", "/session", {"name": "ada", "password": "correct horse 9"}, token="")
    assert status == 200, session
    weak = homard("account", "set-password", "bob", "--stdin", "--state", str(house.state), text="x\n")
    assert weak.returncode == 1
    assert weak.stderr


def test_a_revoked_token_is_refused_at_once(house: House) -> None:
    token = house.homard("token", "create", "short", "--scopes", "read", "--state", str(house.state)).strip()
    assert house.api("GET", "/devices", token=token)[0] == 200
    listed = house.homard("token", "list", "--state", str(house.state))
    token_id = next(line.split("\t")[0] for line in listed.splitlines() if "\tshort\t" in line)
    house.homard("token", "revoke", token_id, "--state", str(house.state))
    assert house.api("GET", "/devices", token=token)[0] == 401


def test_backup_while_running_and_restore_on_an_empty_machine(house: House, tmp_path: Path) -> None:
    with LockstepDevice(house, "kept") as device:
        device.register("</1/0>,</3303/0>")
        device.take_observe("/3303/0/5700", b"20.5")
        sent = device.notify("/3303/0/5700", b"21.5", 2)
        assert device.receive().mid == sent.mid
    file, state = tmp_path / "homard.backup", str(house.state)
    refused = homard("backup", str(file), "--state", state)
    assert refused.returncode == 1 and "--passphrase-file" in refused.stderr, "there is nobody to ask"
    house.homard("backup", str(file), "--state", state, "--stdin", text="correct horse battery\n")
    assert file.stat().st_mode & 0o077 == 0
    refused = homard("restore", str(file), "--state", state, "--stdin", text="correct horse battery\n")
    assert refused.returncode == 1 and "--force" in refused.stderr
    restored = tmp_path / "elsewhere" / "state"
    restored.parent.mkdir()
    wrong = homard("restore", str(file), "--state", str(restored), "--stdin", text="wrong horse battery\n")
    assert wrong.returncode == 1 and "passphrase" in wrong.stderr and not restored.exists()
    words = tmp_path / "words"
    words.write_text("correct horse battery\n")
    house.homard("restore", str(file), "--state", str(restored), "--passphrase-file", str(words))
    key = restored.with_name("state.key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes() == house.state.with_name("state.key").read_bytes()
    with House(restored) as other:
        other.token = house.token  # the token came along
        values = other.api("GET", "/devices/kept/values?path=/3303/0/5700")[1]["values"]
    assert [value["value"] for value in values] == [21.5]


def test_check_finds_a_damaged_database(house: House) -> None:
    state = str(house.state)
    house.homard("account", "set-password", "ada", "--stdin", "--state", state, text="correct horse 9\n")
    assert house.stop() == 0
    assert homard("check", "--state", state).returncode == 0
    database = house.state / "homard.sqlite"
    with database.open("r+b") as handle:
        handle.seek(1500)
        handle.write(b"\xff" * 4000)
    done = homard("check", "--state", state)
    assert done.returncode == 1
    assert "homard.sqlite" in done.stderr


def test_show_and_describe_speak_toml(house: House) -> None:
    import tomllib

    tomllib.loads(house.homard("check", "--describe"))
    shown = homard("check", "--show", "--state", str(house.state), "--set", "coap.port=15683").stdout
    assert "15683" in shown


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has the problem")
def test_root_leaves_no_file_that_the_owner_of_the_state_cannot_read(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 12345, 12345)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and parent.is_relative_to("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o005)
    done = homard("token", "create", "x", "--state", str(state))
    assert done.returncode == 0, done.stderr
    made = list(state.rglob("*"))
    assert made
    assert {path.stat().st_uid for path in made} == {12345}


def test_json_of_the_ready_line_is_all_that_stdout_says(tmp_path: Path) -> None:
    house = House(tmp_path / "state")
    assert house.process is not None
    house.process.terminate()
    assert house.process.stdout is not None
    rest = house.process.stdout.read()
    assert house.process.wait(20) == 0
    assert rest == ""
    house.process.stdout.close()
    json.dumps(house.ready)
