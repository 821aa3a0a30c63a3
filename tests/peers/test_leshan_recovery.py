"""A unit is lost with everything on it: nobody reads a key from what is left, and its devices come back.

Real gateways, and Leshan's clients, which keep running meanwhile with the keys they have.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shutil
import socket
import sqlite3
import ssl
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from appliance.vault.authority import Authority
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault
from tests.house import House
from tests.peers.strangers import LeshanDevice, LineProcess, command, leshan_classpath
from tests.peers.trusted import eventually, word

PASSWORD = "correct horse battery 9"
PASSPHRASE = "a wagon of wet hay"
GIVEN_KEY = bytes.fromhex("8f1d0c6b2a94e75338a1c5d2f0b96e47")


# Gateways


def started(folder: Path, *settings: str) -> House:
    """A fresh gateway as it is delivered, but for its ports and a log that says all it can say."""
    folder.mkdir()
    return House(folder / "state", 'coap.nosec="allowed"', 'log.level="debug"', *settings)


def asked(
    house: House, method: str, path: str, body: Any = None, *, anonymous: bool = False
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Status, headers and body as they came."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", house.ready["http"], timeout=60, context=context)
    headers = {} if anonymous else {"Authorization": f"Bearer {house.token}"}
    with contextlib.closing(connection):
        content = None if body is None else json.dumps(body)
        connection.request(
            method,
            f"/api/v1{path}",
            content,
            headers if body is None else {**headers, "Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def gotten(house: House, path: str) -> Any:
    status, answer = house.api("GET", path)
    assert status == 200, (path, answer)
    return answer


def provisioned(house: House, **body: Any) -> dict[str, Any]:
    """What a device that is made over the API is given."""
    status, made = house.api("POST", "/vault/devices", body)
    assert status == 201, made
    given: dict[str, Any] = made["provisioning"]
    return given


def by_command(house: House, verb: str, name: str, *arguments: str) -> dict[str, Any]:
    """The same by the command line; the gateway knows it when this returns."""
    before = gotten(house, "/vault/audit?limit=1")["entries"][:1]
    shown = house.homard("device", verb, name, "--json", "--state", str(house.state), *arguments)
    eventually(lambda: gotten(house, "/vault/audit?limit=1")["entries"][:1], lambda now: now != before)
    given: dict[str, Any] = json.loads(shown)
    return given


def uri(house: House) -> str:
    return f"coaps://127.0.0.1:{house.coaps_port}"


def is_read(house: House, name: str) -> bool:
    body = {"operation": "Read", "path": "/3/0/0"}
    status, outcome = house.api("POST", f"/devices/{name}/operations", body)
    return status == 200 and outcome["code"] == "2.05"


# Secrets, and where they must not be


def secret_texts(given: Any) -> Iterator[bytes]:
    """The secrets in what was shown once, as bytes; a private key as its number."""
    if isinstance(given, dict):
        for name, value in given.items():
            if name in ("psk_key_hex", "master_secret", "master_salt") and value:
                yield bytes.fromhex(value)
            elif name == "private_key_pem":
                yield private_number(value.encode())
            else:
                yield from secret_texts(value)
    elif isinstance(given, list):
        for value in given:
            yield from secret_texts(value)


def private_number(pem: bytes) -> bytes:
    key: Any = load_pem_private_key(pem, None)
    return int(key.private_numbers().private_value).to_bytes(32, "big")


def forms(secret: bytes) -> Iterator[bytes]:
    """A secret as it might be written down, or a piece of it that nothing else has."""
    yield secret
    for text in (secret.hex(), secret.hex().upper(), secret.hex(":"), str(list(secret))[1:-1]):
        yield text.encode()
    for shift in (0, 1, 2):  # wherever it begins in what is encoded, in a line of its own or in a longer one
        whole = secret[(3 - shift) % 3 :]
        whole = whole[: len(whole) // 3 * 3]
        yield base64.b64encode(whole)
        yield base64.urlsafe_b64encode(whole)
        yield base64.b64encode(whole)[:16]  # lines of PEM end somewhere


def found_in(content: bytes, secrets: dict[str, bytes]) -> list[str]:
    return [name for name, secret in secrets.items() if any(form in content for form in forms(secret))]


def secrets_in(state: Path) -> dict[str, bytes]:
    """Every secret of a unit, opened with its key: of the devices, of the authority, of the sessions."""
    key = SealingKey.load(state, create=False)
    secrets = {"sealing key": key.export()}
    vault = Vault(state / "vault", key, VaultSettings(), time.time)
    vault.open()
    for device in vault.devices():
        for one in device.credentials:
            for name in one.secrets:
                content = vault.secret(one.id, name)
                if name == "private_key":
                    pem = base64.encodebytes(content)
                    content = private_number(
                        b"-----BEGIN PRIVATE KEY-----\n" + pem + b"-----END PRIVATE KEY-----\n"
                    )
                secrets[f"{device.endpoint_name} {one.purpose} {one.state} {name}"] = content
    authority = Authority(state / "vault", key, VaultSettings(), time.time)
    authority.open()
    secrets["authority"] = int(authority._key.private_numbers().private_value).to_bytes(32, "big")
    for purpose in ("dtls", "page"):
        secrets[purpose] = private_number(authority.server(purpose, []).key_pem)
    with contextlib.closing(sqlite3.connect(state / "homard.sqlite")) as database:
        for number, sealed in database.execute("SELECT id, sealed FROM dtls_session"):
            keys = bytes.fromhex(json.loads(key.open_bytes(sealed, f"dtls_session/{number}"))[6])
            half = (len(keys) - 8) // 2
            secrets[f"session {number} from it"], secrets[f"session {number} to it"] = (
                keys[:half],
                keys[half : 2 * half],
            )
    return secrets


# The unit that is lost


@dataclass
class Lost:
    """What is left of a unit, and what was seen of it while it ran."""

    folder: Path  # the state as a thief has it, without the key; the backups; the log
    secrets: dict[str, bytes]
    seen: dict[str, bytes]  # what it answered to people, and said
    authority: Any
    house: House  # no longer running, and without a state
    psk: LeshanDevice
    certified: LeshanDevice


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    folder = tmp_path_factory.mktemp("unit")
    with contextlib.ExitStack() as ends, pytest.MonkeyPatch.context() as patched:
        patched.setenv("PEERS_ACK_TIMEOUT_MS", "700")
        house = ends.enter_context(started(folder / "old"))
        shown: dict[str, bytes] = {"password": PASSWORD.encode(), "passphrase": PASSPHRASE.encode()}
        body = {"code": house.ready["setup_code"], "name": "ada", "password": PASSWORD}
        status, headers, session = asked(house, "POST", "/setup", body, anonymous=True)
        assert status == 201
        cookie = headers["Set-Cookie"].partition(";")[0].partition("=")[2]
        shown |= {"cookie": cookie.encode(), "csrf": json.loads(session)["csrf"].encode()}
        shown["token"] = house.token.encode()

        given = [
            by_command(house, "add", "psk-1"),
            provisioned(house, endpoint_name="x509-1", security="x509"),
            provisioned(house, endpoint_name="rpk-1", security="rpk"),
            by_command(house, "add", "oscore-1", "--security", "oscore"),
            provisioned(house, endpoint_name="bs-1", security="psk", bootstrap=True),
            provisioned(house, endpoint_name="given-1", security="psk", psk_key_hex=GIVEN_KEY.hex()),
            provisioned(house, endpoint_name="revoked-1", security="psk"),
        ]
        given.append(by_command(house, "rotate", "rpk-1", "--now"))
        given.append(by_command(house, "rotate", "given-1"))
        house.homard("device", "revoke", "revoked-1", "--state", str(house.state))
        for number, one in enumerate(secret for made in given for secret in secret_texts(made)):
            shown[f"shown {number}"] = one

        clients = [
            LeshanDevice(uri(house), "psk-1", credentials=word(given[0], "psk")),
            LeshanDevice(uri(house), "x509-1", credentials=word(given[1], "x509")),
        ]
        for client in clients:
            ends.callback(client.end)
        first = given[4].get("bootstrap") or given[4]
        words = f"psk:{first['psk_identity'].encode().hex()}:{first['psk_key_hex']}"
        arguments = ["-cp", leshan_classpath(), "peers.Bootstrapped", uri(house), "bs-1", words]
        bootstrapped = LineProcess([command("java"), "-XX:TieredStopAtLevel=1", "-Xshare:auto", *arguments])
        ends.callback(bootstrapped.end)
        for client in (*clients, bootstrapped):
            client.expect("registered")
        for name in ("psk-1", "x509-1", "bs-1"):
            assert is_read(house, name)

        pages = ["/log?limit=1000", "/log.txt", "/log.pcap", "/status", "/devices", "/tokens", "/accounts"]
        pages += ["/vault/devices", "/vault/export?format=csv", "/vault/export?format=json", "/authority"]
        pages += ["/vault/audit?limit=1000", "/bootstrap/sessions", "/strangers", "/events?after=0"]
        pages += ["/vault/labels.svg", "/bootstrap/plans", "/authority/anchors", "/authority/crl"]
        seen = {}
        for page in pages:
            status, _, seen[page] = asked(house, "GET", page)
            assert status == 200, (page, seen[page])
        authority = json.loads(seen["/authority"])
        command_line = ["--stdin", "--state", str(house.state)]
        house.homard("backup", str(folder / "whole.backup"), *command_line, text=PASSPHRASE + "\n")
        house.homard("backup", str(folder / "plain.tar.gz"), "--plain", "--state", str(house.state))
        for verb in ("list", "export"):
            seen[verb] = house.homard("device", verb, "--state", str(house.state)).encode()
        house.kill()
        shutil.copytree(house.state, folder / "stolen")
        shutil.copy(house.state.with_name("state.key"), folder / "stolen.key")
        bootstrapped.end()
        seen["what it said"] = house.state.with_name("serve.log").read_bytes()
        # Opened where it does not matter what opening writes; the stolen folder stays as it was found.
        shutil.copytree(folder / "stolen", folder / "opened")
        (folder / "stolen.key").rename(folder / "opened.key")
        secrets = secrets_in(folder / "opened") | shown
        shutil.rmtree(folder / "opened")
        shutil.rmtree(folder / "old")
        (folder / "opened.key").unlink()
        yield Lost(folder, secrets, seen, authority, house, *clients)


def test_neither_the_data_folder_nor_a_backup_nor_a_log_has_a_secret_in_clear(lost: Lost) -> None:
    names = " ".join(lost.secrets)
    assert all(
        word in names
        for word in (
            "bs-1 server active psk_key",
            "bs-1 bootstrap",
            "master_secret",
            "private_key",
            "session",
        )
    ), names
    shown = [secret for name, secret in lost.secrets.items() if name.startswith("shown")]
    kept = [secret for name, secret in lost.secrets.items() if not name.startswith("shown")]
    assert len(shown) >= 9
    # What is shown is what the vault keeps, but for a key that was replaced at once.
    assert len([secret for secret in shown if secret not in kept]) == 1
    places = {
        str(path.relative_to(lost.folder)): path.read_bytes()
        for path in lost.folder.rglob("*")
        if path.is_file()
    }
    assert {"whole.backup", "plain.tar.gz", "stolen/homard.sqlite", "stolen/vault/audit.log"} <= set(places)
    with tarfile.open(lost.folder / "plain.tar.gz") as plain:
        for member in plain:
            content = plain.extractfile(member)
            assert content is not None
            places[f"plain: {member.name}"] = content.read()
    assert "plain: state/homard.sqlite" in places and "plain: sealing.key" not in places
    for name, content in (places | lost.seen).items():
        assert content or name.endswith((".lock", "-wal", "audit.log")), f"{name} is empty"
        assert found_in(content, lost.secrets) == [], f"in {name}"
    # No session leaves with a backup, sealed or not.
    (lost.folder / "copy.sqlite").write_bytes(places["plain: state/homard.sqlite"])
    with contextlib.closing(sqlite3.connect(lost.folder / "copy.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM dtls_session").fetchone() == (0,)


@pytest.mark.parametrize("written", [
    lambda secret: secret,
    lambda secret: secret.hex(),
    lambda secret: secret.hex().upper(),
    lambda secret: json.dumps({"key": base64.b64encode(secret).decode()}),
    lambda secret: base64.encodebytes(b"0123456789" * 4 + secret).decode(),
    lambda secret: base64.urlsafe_b64encode(b"x" + secret).decode(),
])  # fmt: skip
def test_the_search_would_find_one(written: Any) -> None:
    secrets = {"sixteen": bytes(range(190, 206)), "thirty-two": bytes(range(150, 182))}
    for name, secret in secrets.items():
        text = written(secret)
        content = b"before " + (text if isinstance(text, bytes) else text.encode()) + b" behind"
        assert found_in(content, secrets) == [name]


def test_on_an_empty_machine_the_devices_come_back_and_a_lost_device_gets_a_new_key(lost: Lost) -> None:
    folder = lost.folder / "new hardware"
    folder.mkdir()
    # The network leads to the new unit; on a desk that is the same port.
    house = House(folder / "data", 'coap.nosec="allowed"', start=False)
    house.coap_port, house.coaps_port, house.token = (
        lost.house.coap_port,
        lost.house.coaps_port,
        lost.house.token,
    )
    backup = str(lost.folder / "whole.backup")
    house.homard("restore", backup, "--stdin", "--state", str(house.state), text=PASSPHRASE + "\n")
    house.start()
    with house, pytest.MonkeyPatch.context() as patched:
        patched.setenv("PEERS_ACK_TIMEOUT_MS", "700")
        assert gotten(house, "/authority") == lost.authority
        for client in (lost.psk, lost.certified):
            client.say("update")  # nobody answers in the old session: it shakes hands, with the key it has
            client.expect("updated")
            eventually(lambda name=client.endpoint_name: is_read(house, name), bool)
        entries = gotten(house, "/vault/audit?limit=1000")
        assert entries["sound"]
        assert any(one["what"].startswith("restored from the backup of 20") for one in entries["entries"])

        # One device is lost as well: another one takes its name, with a new key.
        given = by_command(house, "rotate", "psk-1")
        found = LeshanDevice(uri(house), "psk-1", credentials=word(given, "psk"))
        try:
            found.expect("registered")
            lost.psk.say("update")
            device = eventually(
                lambda: gotten(house, "/vault/devices/psk-1"),
                lambda seen: any(one["last_failure"] for one in seen["credentials"]),
            )
            old, new = device["credentials"]
            assert (old["state"], new["state"]) == ("revoked", "active")
            # In the old session, or in a handshake, whichever it tried first.
            why = old["last_failure"]["text"]
            assert "psk-1 was replaced by a newer one" in why, why
            assert new["last_failure"] is None
            assert is_read(house, "psk-1")
        finally:
            found.end()
        house.homard("check", "--state", str(house.state))  # it says that all is well, or this fails


# Two units


def test_two_fresh_units_share_no_key_and_have_no_password_of_the_factory(tmp_path: Path) -> None:
    with started(tmp_path / "one") as one, started(tmp_path / "two") as two:
        houses = (one, two)
        codes = [house.ready["setup_code"] for house in houses]
        assert all(codes) and codes[0] != codes[1]
        for house in houses:
            assert gotten(house, "/setup") == {"needed": True}
            assert gotten(house, "/accounts") == {"accounts": []}
            assert len(gotten(house, "/tokens")["tokens"]) == 1, "ours"
            assert gotten(house, "/vault/devices")["devices"] == []
            for name in ("/vault/devices", "/devices", "/status", "/log"):
                assert asked(house, "GET", name, anonymous=True)[0] == 401
            for name in ("admin", "homard", "root"):
                for password in ("admin", "homard", "password", ""):
                    body = {"name": name, "password": password}
                    assert asked(house, "POST", "/session", body, anonymous=True)[0] in (400, 401, 429)
        shown = [
            set(secret_texts(provisioned(house, endpoint_name="twin", security=security)))
            for house in houses
            for security in ("psk",)
        ]
        for security in ("rpk", "x509", "oscore"):
            for house, secrets in zip(houses, shown, strict=True):
                name = f"twin-{security}"
                secrets |= set(secret_texts(provisioned(house, endpoint_name=name, security=security)))
        pages = [page_key(house) for house in houses]
        authorities = [gotten(house, "/authority") for house in houses]
        cookies = cookies_of(houses)
    for kind in (pages, [each["fingerprint"] for each in authorities], cookies):
        assert all(kind) and kind[0] != kind[1]
    assert len({each["server"]["public_key_pem"] for each in authorities}) == 2
    inside = [set(secrets_in(house.state).values()) | more for house, more in zip(houses, shown, strict=True)]
    assert len(inside[0]) == len(inside[1]) >= 9
    assert not inside[0] & inside[1]


def page_key(house: House) -> bytes:
    """The public key of the page's certificate."""
    pem = ssl.get_server_certificate(("127.0.0.1", house.ready["http"]))
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def cookies_of(houses: tuple[House, House]) -> list[bytes]:
    """What each answers to the very same ClientHello from the very same address (RFC 6347 §4.2.1)."""
    hello = bytes.fromhex("fefd") + bytes(32) + b"\0\0" + bytes.fromhex("0004c0a800ff0100")
    handshake = b"\1" + len(hello).to_bytes(3, "big") + bytes(5) + len(hello).to_bytes(3, "big") + hello
    record = bytes.fromhex("16fefd0000000000000000") + len(handshake).to_bytes(2, "big") + handshake
    cookies = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.settimeout(10)
        for house in houses:
            device.sendto(record, ("127.0.0.1", house.coaps_port))
            answer = device.recv(2048)
            assert answer[13] == 3, "a HelloVerifyRequest"
            cookies.append(answer[28 : 28 + answer[27]])
    return cookies
