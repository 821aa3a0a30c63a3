"""`homard device …` as a person types it: what it prints, what it refuses and why, what it never shows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from appliance.__main__ import main
from appliance.vault.model import NewCredential
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault

KEY = "00112233445566778899aabbccddeeff"
Homard = Callable[..., tuple[int, str, str]]


@pytest.fixture
def homard(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Homard:
    """`homard device` on a state folder: exit code, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        try:
            code = main(["device", *words, "--state", str(tmp_path / "state"), "--config", "/dev/null"])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, error = capsysbinary.readouterr()
        return code, out.decode(), error.decode()

    return call


def good(answer: tuple[int, str, str]) -> str:
    code, out, error = answer
    assert code == 0, error
    return out


def told(homard: Homard, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(good(homard(*words, "--json")))
    return found


def test_a_device_is_added_and_everything_to_flash_is_printed(homard: Homard) -> None:
    said = good(homard("add", "meter-1", "--label", "Cellar", "--group", "house", "--address", "192.0.2.9"))
    for line in (
        "coaps://192.0.2.9:5684",
        "PSK identity",
        "meter-1",
        "Leshan client",
        "Secrets are shown this once",
    ):
        assert line in said
    made = told(homard, "add", "meter-2", "--psk-key-hex", KEY, "--psk-identity", "0x00ff", "--bootstrap")
    assert made["security"] == "psk" and made["bootstrap_uri"].startswith("coaps://")
    assert (made["bootstrap"]["psk_identity_hex"], made["bootstrap"]["psk_key_hex"]) == ("00ff", KEY)
    for security in ("rpk", "x509", "oscore", "nosec"):
        made = told(homard, "add", f"{security}-1", "--security", security)
        assert set(made["commands"]) == {"leshan", "anjay", "wakaama", "zephyr"} or security != "psk"
        assert made["uri"].startswith("coap")


def test_who_looks_sees_no_secret(homard: Homard, tmp_path: Path) -> None:
    good(homard("add", "meter-1", "--psk-key-hex", KEY, "--group", "house", "--tag", "water"))
    good(homard("add", "meter-2", "--security", "x509"))
    shown = good(homard("show", "meter-1"))
    assert "psk:meter-1" in shown and "house" in shown
    listed = good(homard("list"))
    assert "meter-1" in listed and "x509" in listed
    assert "meter-2" not in good(homard("list", "--group", "house"))
    assert [
        one["endpoint_name"]
        for one in json.loads(good(homard("list", "--tag", "water", "--json")))["devices"]
    ] == ["meter-1"]
    exported = good(homard("export"))
    assert [row["endpoint_name"] for row in csv.DictReader(io.StringIO(exported.lstrip("\ufeff")))] == [
        "meter-1",
        "meter-2",
    ]
    everything = [shown, listed, exported]
    everything += [
        good(homard(*words)) for words in (("show", "meter-1", "--json"), ("export", "--format", "json"))
    ]
    label = good(homard("label", "meter-1"))
    assert ElementTree.fromstring(label).tag.endswith("svg")
    good(homard("label", "--group", "house", "--output", str(tmp_path / "sheet.svg")))
    everything += [label, (tmp_path / "sheet.svg").read_text()]
    assert not any(KEY in text.lower() for text in everything)


def test_the_life_of_a_key(homard: Homard) -> None:
    first = told(homard, "add", "meter-1")
    second = told(homard, "rotate", "meter-1")
    assert second["psk_key_hex"] != first["psk_key_hex"]
    third = told(homard, "rotate", "meter-1", "--now", "--psk-key-hex", KEY)
    assert third["psk_key_hex"] == KEY
    assert "is let in no more" in good(homard("revoke", "meter-1", "--reason", "stolen"))
    assert "stolen" in good(homard("show", "meter-1"))
    good(homard("reinstate", "meter-1"))
    assert "Without a key for the bootstrap server here: meter-1." in good(homard("rebootstrap", "meter-1"))
    good(homard("remove", "meter-1"))
    assert homard("show", "meter-1")[0] == 1


def test_a_wish_to_bootstrap_is_taken_back(homard: Homard) -> None:
    for name in ("m-1", "m-2", "m-3"):
        good(homard("add", name, "--bootstrap", "--group", "house"))
    said = good(homard("rebootstrap", "--group", "house"))
    assert said.startswith("3 devices will be told") and "Without" not in said
    assert "1 device will not be told" in good(homard("rebootstrap", "m-2", "--withdraw"))
    assert "bootstrap asked for" in good(homard("show", "m-1"))
    assert "bootstrap asked for" not in good(homard("show", "m-2"))
    assert "2 devices will not be told" in good(homard("rebootstrap", "--group", "house", "--withdraw"))
    assert "None of them was asked" in good(homard("rebootstrap", "--group", "house", "--withdraw"))


def test_only_a_plan_that_there_is_is_given(homard: Homard, tmp_path: Path) -> None:
    good(homard("add", "m-1", "--bootstrap", "--plan", "default"))
    file = tmp_path / "devices.csv"
    file.write_text("endpoint_name,plan\nm-8,\nm-9,other\n")
    words = "there is no bootstrap plan 'other'; there is default"
    for command in (("add", "m-2", "--plan", "other"), ("rebootstrap", "m-1", "--plan", "other")):
        code, _, error = homard(*command)
        assert code == 1 and words in error
    code, said, _ = homard("import", str(file))
    assert code == 1 and f"row 3, m-9: {words}" in said
    listed = good(homard("list"))
    assert "m-1" in listed and "m-2" not in listed and "m-8" not in listed
    assert "bootstrap asked for" not in good(homard("show", "m-1"))


def test_a_key_at_its_end_is_called_expired(homard: Homard, tmp_path: Path) -> None:
    good(homard("add", "m-1"))
    good(homard("add", "m-2"))
    key = SealingKey.load(tmp_path / "state", create=False)
    vault = Vault(tmp_path / "state" / "vault", key, VaultSettings(), lambda: 1e9)
    vault.open()
    short = NewCredential("server", "psk", expires_at=1e9 + 1)
    vault.rotate("m-1", "server", "tests", staged=False, new=short)
    assert "expired 2001-09-09T01:46:41Z: `homard device rotate`" in good(homard("show", "m-1"))
    assert "psk (expired)" in good(homard("list"))
    good(homard("rotate", "m-1"))
    rows = good(homard("list")).splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["m-1", "psk"], ["m-2", "psk"]]
    assert "(expired)" not in "".join(rows)


def test_a_list_comes_in_whole_or_says_every_bad_row(homard: Homard, tmp_path: Path) -> None:
    file = tmp_path / "devices.csv"
    file.write_text("endpoint_name,groups,psk_key_hex\nm-1,house,\nm-1,,\nm-3,,12\n")
    code, said, _ = homard("import", str(file))
    assert code == 1 and "stands in row" in said and "16 to 64 bytes" in said
    assert "m-1" not in good(homard("list"))
    file.write_text(f"endpoint_name,groups,psk_key_hex\nm-1,house,\nm-2,,{KEY}\n")
    assert homard("import", str(file), "--dry-run")[0] == 0
    assert "m-1" not in good(homard("list"))
    made = json.loads(good(homard("import", str(file), "--json")))
    assert KEY in json.dumps(made)
    assert good(homard("list")).count("\n") >= 2


@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig", "utf-16"])
def test_a_key_in_a_file_is_that_key_whoever_wrote_the_file(
    homard: Homard, tmp_path: Path, encoding: str
) -> None:
    file = tmp_path / "key.txt"
    file.write_bytes(f"{KEY}\r\n".encode(encoding))
    assert told(homard, "add", "m-1", "--psk-key-file", str(file))["psk_key_hex"] == KEY
    public = told(homard, "add", "m-2", "--security", "rpk")["public_key_pem"]
    file.write_bytes(public.replace("\n", "\r\n").encode(encoding))
    good(homard("remove", "m-2"))
    again = told(homard, "add", "m-3", "--security", "rpk", "--public-key-file", str(file))
    assert again["public_key_pem"] == public


def test_bytes_are_no_key_in_hex(homard: Homard, tmp_path: Path) -> None:
    file = tmp_path / "key.bin"
    file.write_bytes(bytes(range(240, 256)))
    code, _, error = homard("add", "m-1", "--psk-key-file", str(file))
    assert code and "is no text: write the key into it in hexadecimal digits" in error
    assert not (tmp_path / "state").exists()


def test_every_secret_that_an_import_makes_is_printed(homard: Homard, tmp_path: Path) -> None:
    file = tmp_path / "devices.csv"
    file.write_text("endpoint_name,security\nm-1,psk\nm-2,rpk\nm-3,x509\nm-4,oscore\n")
    said = good(homard("import", str(file)))
    key = SealingKey.load(tmp_path / "state", create=False)
    vault = Vault(tmp_path / "state" / "vault", key, VaultSettings(), lambda: 1e9)
    vault.open()
    held = {one.endpoint_name: one for one in vault.devices()}
    assert vault.secret(held["m-1"].credentials[0].id, "psk_key").hex() in said
    assert vault.secret(held["m-4"].credentials[0].id, "master_secret").hex() in said
    assert said.count("BEGIN PRIVATE KEY") == 2 and said.count("END CERTIFICATE") >= 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "nobody"), "there is no device"),
        (("rotate", "nobody"), "there is no device"),
        (("revoke", "nobody"), "there is no device"),
        (("label", "nobody"), "there is no device"),
        (("rebootstrap", "nobody"), "there is no device"),
        (("rebootstrap",), "say which devices"),
        (("rebootstrap", "nobody", "--withdraw"), "there is no device"),
        (("rebootstrap", "taken", "--withdraw", "--plan", "default"), "leave --plan out"),
        (("add", "taken"), "there is a device taken already"),
        (("add", "a b\n"), "cannot be printed"),
        (("add", "m", "--psk-key-hex", "zz"), "hex"),
        (("add", "m", "--psk-key-hex", "00"), "16 to 64 bytes"),
        (("add", "m", "--psk-key-file", "/nowhere"), "cannot be read"),
        (("add", "m", "--psk-key-file", "/nowhere", "--psk-key-hex", KEY), "not both"),
        (("add", "m", "--security", "rpk", "--public-key-file", "/dev/null"), "is empty"),
        (("import", "/nowhere.csv"), "cannot be read"),
        (("import", "/dev/null"), "the list is empty"),
        (("add", "m", "--security", "des"), "invalid choice"),
    ],
)
def test_a_slip_is_told(homard: Homard, words: tuple[str, ...], sentence: str) -> None:
    good(homard("add", "taken"))
    code, out, error = homard(*words)
    assert code in (1, 2) and sentence in out + error
    assert "Traceback" not in error
    assert "\nm " not in good(homard("list"))


def test_without_a_state_folder_the_next_step_is_said(homard: Homard, tmp_path: Path) -> None:
    code, _, error = homard("list")
    assert code == 1 and "homard serve --state" in error
    assert not (tmp_path / "state").exists()
