"""What must be flashed: facts, command lines that a shell takes as they are, texts of QR codes, labels."""

from __future__ import annotations

import shlex
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from appliance.vault.errors import VaultError
from appliance.vault.labels import PER_SHEET, Label, label_svg, qr_svg, sheet_svg
from appliance.vault.model import Credential, Device
from appliance.vault.provisioning import Gateway, bracketed, hex_from, payload, provisioning, reachable_host

GATEWAY = Gateway("192.0.2.1", 5683, 5684, b"PUBLIC", b"CERTIFICATE", b"AUTHORITY")
KEY = bytes.fromhex("00112233445566778899aabbccddeeff")
SVG = "{http://www.w3.org/2000/svg}"
ODD_NAMES = ["meter-17", "urn:dev:a/b c", 'it\'s $HOME `x` "y" \\n; rm -rf /', "-n", "@file", "niño ü 𝄞"]


def credential(purpose: str, mode: str, identity: str, **public: Any) -> Credential:
    return Credential(purpose, "m", purpose, mode, identity, public, (), "active", 0, None, 0, "")


def device(name: str, *credentials: Credential) -> Device:
    return Device(name, "Cellar", (), (), not credentials, False, None, 0.0, credentials, None)


def psk(name: str = "meter-17", identity: str = "meter-17", gateway: Gateway = GATEWAY) -> dict[str, Any]:
    one = credential("server", "psk", f"psk:{identity}")
    return provisioning(gateway, device(name, one), [one], {"server": {"psk_key": KEY}})


def words(command: str) -> list[str]:
    """What a real shell makes of it."""
    done = subprocess.run(
        ["sh", "-c", 'f() { printf "%s\\0" "$@"; }; f ' + command], capture_output=True, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


def option(given: Sequence[str], short: str, long: str) -> str:
    for at, word in enumerate(given):
        if word in (short, long):
            return given[at + 1]
        if word.startswith(f"{long}="):
            return word.partition("=")[2]
    raise AssertionError(f"no {short}")


def test_a_key_and_where_to() -> None:
    found = psk()
    assert {name: value for name, value in found.items() if name != "commands"} == {
        "uri": "coaps://192.0.2.1:5684",
        "security": "psk",
        "psk_identity": "meter-17",
        "psk_identity_hex": b"meter-17".hex(),
        "psk_key_hex": KEY.hex(),
    }
    assert found["commands"] == {
        "leshan": "java -jar leshan-demo-client.jar -n meter-17 -u coaps://192.0.2.1:5684 -i meter-17 "
        f"-p {KEY.hex()}",
        "anjay": "./demo --endpoint-name meter-17 --server-uri coaps://192.0.2.1:5684 --security-mode psk "
        f"--identity 6d657465722d3137 --key {KEY.hex()}",
        "wakaama": f"./lwm2mclient -n meter-17 -h 192.0.2.1 -p 5684 -4 -i meter-17 -s {KEY.hex()}",
        "zephyr": "\n".join(
            (
                "# Save this as overlay-homard.conf in samples/net/lwm2m_client, then:",
                "#   west build -b BOARD samples/net/lwm2m_client -- "
                '-DEXTRA_CONF_FILE="overlay-dtls.conf;overlay-homard.conf"',
                'CONFIG_NET_SAMPLE_LWM2M_SERVER="coaps://192.0.2.1:5684"',
                'CONFIG_NET_SAMPLE_LWM2M_ID="meter-17"',
                f'CONFIG_NET_SAMPLE_LWM2M_PSK="{KEY.hex()}"',
            )
        ),
    }


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_arrive_whole(name: str) -> None:
    commands = psk(name, name)["commands"]
    leshan, anjay, wakaama = (words(commands[client]) for client in ("leshan", "anjay", "wakaama"))
    assert option(leshan, "-n", "--endpoint-name") == option(leshan, "-i", "--psk-identity") == name
    assert all(word[:1] != "@" for word in leshan)  # picocli would read it as a file of arguments
    assert option(anjay, "-e", "--endpoint-name") == name
    assert bytes.fromhex(option(anjay, "-i", "--identity")) == name.encode()
    assert option(wakaama, "-n", "") == option(wakaama, "-i", "") == name
    assert commands == {**commands, "leshan": shlex.join(leshan)}


def test_an_identity_that_cannot_be_typed() -> None:
    found = psk(identity="0x00ff")
    assert found["psk_identity_hex"] == "00ff" and "psk_identity" not in found
    assert sorted(found["commands"]) == ["anjay", "zephyr"]
    assert '/0/0/3 in src/lwm2m-client.c to "0x00ff"' in found["commands"]["zephyr"]


def test_bootstrap_is_where_a_device_begins() -> None:
    first = credential("bootstrap", "psk", "psk:bs:m")
    found = provisioning(GATEWAY, device("m", first), [first], {"bootstrap": {"psk_key": KEY}})
    assert found["bootstrap_uri"] == found["uri"] == "coaps://192.0.2.1:5684"
    assert found["bootstrap"]["psk_identity"] == "bs:m" and "psk_key_hex" not in found
    commands = found["commands"]
    assert all(
        words(commands[one])[-1] in ("-b", "--bootstrap") or one == "leshan" for one in ("anjay", "wakaama")
    )
    assert "-b" in words(commands["leshan"]) and option(words(commands["leshan"]), "-i", "") == "bs:m"
    assert "overlay-dtls.conf;overlay-bootstrap.conf;overlay-homard.conf" in commands["zephyr"]
    assert commands["zephyr"].endswith("CONFIG_LWM2M_RD_CLIENT_SUPPORT_BOOTSTRAP=y")
    text = payload("m", found, keys=True)
    assert text == (
        f"LWM2M\nep=m\nbs_uri=coaps://192.0.2.1:5684\nbs_mode=psk\nbs_id=bs:m\nbs_key={KEY.hex()}"
    )


def test_raw_public_keys_are_written_to_files(tmp_path: Path) -> None:
    """The command lines make the files that they name: run, all but the client itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    one = credential("server", "rpk", "rpk:00", spki_hex=spki.hex())
    found = provisioning(GATEWAY, device("a/b c", one), [one], {"server": {"private_key": private}})
    assert sorted(found["commands"]) == ["anjay", "leshan"]
    for command in found["commands"].values():
        *lines, client = command.splitlines()
        subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=tmp_path, check=True)
        given = words(client)
        assert (tmp_path / option(given, "-cpubk", "--client-cert-file")).read_bytes() == spki
        assert (tmp_path / option(given, "-spubk", "--server-public-key-file")).read_bytes() == b"PUBLIC"
        written = (tmp_path / option(given, "-cprik", "--key-file")).read_bytes()
        assert load_der_private_key(written, None).private_numbers() == key.private_numbers()  # type: ignore[union-attr]
    pem = load_pem_private_key(found["private_key_pem"].encode(), None)
    assert pem.private_numbers() == key.private_numbers()  # type: ignore[union-attr]
    known = provisioning(GATEWAY, device("a/b c", one), [one], {})
    assert "-cprik a_b_c.private.der" in known["commands"]["leshan"]


def test_oscore() -> None:
    one = credential(
        "server", "oscore", "oscore:01", sender_id="01", recipient_id="02", id_context=None, aead=10, hkdf=-10
    )
    secrets = {"server": {"master_secret": KEY, "master_salt": b"\x09"}}
    found = provisioning(GATEWAY, device("m", one), [one], secrets)
    assert found["uri"] == "coap://192.0.2.1:5683"
    assert found["oscore"] == {
        "sender_id": "01",
        "recipient_id": "02",
        "aead": 10,
        "hkdf": -10,
        "master_secret": KEY.hex(),
        "master_salt": "09",
    }
    assert found["commands"] == {
        "leshan": "java -jar leshan-demo-client.jar -n m -u coap://192.0.2.1:5683 -sid 01 -rid 02 "
        f"-msec {KEY.hex()} -msalt 09 -aead 10 --hkdf-algorithm=-10"
    }


def test_without_security() -> None:
    found = provisioning(GATEWAY, device("m"), [], {})
    assert (found["uri"], found["security"]) == ("coap://192.0.2.1:5683", "nosec")
    assert found["commands"]["wakaama"] == "./lwm2mclient -n m -h 192.0.2.1 -p 5683 -4"
    assert sorted(found["commands"]) == ["anjay", "leshan", "wakaama", "zephyr"]


def test_without_the_key_there_is_no_command_that_would_need_it() -> None:
    one = credential("server", "psk", "psk:m")
    assert provisioning(GATEWAY, device("m", one), [one], {})["commands"] == {}


def test_addresses() -> None:
    ipv6 = psk(gateway=replace(GATEWAY, host="2001:db8::1"))
    assert ipv6["uri"] == "coaps://[2001:db8::1]:5684"
    assert "-h 2001:db8::1 -p 5684 -i" in ipv6["commands"]["wakaama"]
    assert bracketed("[::1]") == "[::1]"
    with pytest.raises(VaultError, match=r"coaps\.enabled") as refused:
        psk(gateway=replace(GATEWAY, coaps_port=None))
    assert refused.value.kind == "conflict"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("192.168.1.9", "192.168.1.9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("gateway.example.com", "gateway.example.com"),
        ("127.0.0.1", "192.0.2.7"),
        ("::1", "192.0.2.7"),
        ("[fe80::1%eth0]", "192.0.2.7"),
        ("localhost", "192.0.2.7"),
        ("Homard.local", "192.0.2.7"),
        ("homard", "192.0.2.7"),
        ("", "192.0.2.7"),
    ],
)
def test_a_device_is_never_told_a_name_that_means_nothing_to_it(asked: str, told: str) -> None:
    assert reachable_host(asked, "192.0.2.7") == told


def test_hexadecimal_digits_as_people_have_them() -> None:
    for text in ("00ff10", "0x00FF10", "00:ff:10", " 00 ff 10 ", "00-ff-10"):
        assert hex_from(text, "key") == b"\x00\xff\x10"
    with pytest.raises(VaultError, match="odd number"):
        hex_from("123", "key")
    with pytest.raises(VaultError, match="something else"):
        hex_from("geheim", "key")


# QR codes and labels


def test_the_key_stands_in_a_code_only_when_asked() -> None:
    found = psk()
    assert payload("meter-17", found, keys=False) == (
        "LWM2M\nep=meter-17\nuri=coaps://192.0.2.1:5684\nmode=psk\nid=meter-17"
    )
    assert payload("meter-17", found, keys=True).endswith(f"\nkey={KEY.hex()}")


def test_a_code_is_a_drawing_of_its_own() -> None:
    root = ElementTree.fromstring(qr_svg(payload("meter-17", psk(), keys=True)))
    assert root.tag == f"{SVG}svg" and "width" not in root.attrib
    assert root.attrib["viewBox"].startswith("0 0 ")


@pytest.mark.parametrize("name", [*ODD_NAMES, "<script>alert(1)</script>&amp;", "x" * 255])
def test_labels_hold_what_they_are_given(name: str) -> None:
    svg = label_svg(Label(name, "Cellar & co", ("coaps://192.0.2.1:5684",), f"LWM2M\nep={name}"))
    root = ElementTree.fromstring(svg)
    assert {one.tag for one in root.iter()} == {f"{SVG}svg", f"{SVG}path", f"{SVG}text"}
    shown = "".join(one.text or "" for one in root.iter(f"{SVG}text"))
    assert shown.startswith(name[:100])


def test_sheets() -> None:
    label = Label("m", "", (), "LWM2M")
    for count, pages in ((0, 1), (1, 1), (PER_SHEET, 1), (PER_SHEET + 1, 2)):
        root = ElementTree.fromstring(sheet_svg([label] * count))
        assert root.attrib["height"] == f"{297 * pages}mm"
        assert len(root.findall(f"{SVG}g")) == count
