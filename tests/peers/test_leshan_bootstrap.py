"""Leshan's client is bootstrapped: without security and with each kind of key, and comes back registered."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.vault.authority import Authority
from appliance.vault.model import NewCredential, NewDevice
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault
from tests.peers.strangers import PATIENCE_S, Gateway, LineProcess, command, fresh_name, leshan_classpath

TLV, SENML_JSON, SENML_CBOR = "11542", "110", "112"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("state"), **{"coaps.port": 0})
    yield running
    assert running.stop() == 0


class Keys:
    """The vault and the authority of the gateway, as the command line opens them."""

    def __init__(self, state: Path) -> None:
        key = SealingKey.load(state, "", create=False)
        self.vault = Vault(state / "vault", key, VaultSettings(), time.time)
        self.vault.open()
        self.authority = Authority(state / "vault", key, VaultSettings(), time.time)
        self.authority.open()

    def added(self, name: str, security: str, **more: Any) -> str:
        """A device with a bootstrap key of this kind; its credentials as peers.Credentials reads them."""
        new = NewCredential("bootstrap", security)
        secret = b""
        if security == "x509":
            certificate, secret = self.authority.issue_with_new_key(name)
            new = NewCredential("bootstrap", security, certificate=certificate)
        (made,) = self.vault.add([NewDevice(name, credentials=(new,), **more)], "tests")
        (credential,) = made.made
        secrets = made.secrets[credential.id]
        own = x509.load_pem_x509_certificate(self.authority.server_keys()[0])
        match security:
            case "psk":
                return f"psk:{credential.public['identity_hex']}:{secrets['psk_key'].hex()}"
            case "rpk":
                spki = own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                return f"rpk:{credential.public['spki_hex']}:{secrets['private_key'].hex()}:{spki.hex()}"
            case _:
                return f"x509:{certificate.hex()}:{secret.hex()}:{own.public_bytes(Encoding.DER).hex()}"


@pytest.fixture(scope="module")
def keys(gateway: Gateway) -> Keys:
    return Keys(gateway.state)


class Bootstrapped(LineProcess):
    """peers.Bootstrapped: see there."""

    def __init__(self, uri: str, name: str, credentials: str = "nosec", content_format: str = "") -> None:
        self.endpoint_name = name
        arguments = ["-cp", leshan_classpath(), "peers.Bootstrapped", uri, name, credentials]
        arguments += [content_format] if content_format else []
        super().__init__([command("java"), "-XX:TieredStopAtLevel=1", "-Xshare:auto", *arguments])


@pytest.fixture
def device() -> Iterator[Callable[..., Bootstrapped]]:
    """Makes clients for one test."""
    made: list[Bootstrapped] = []

    def make(*arguments: str) -> Bootstrapped:
        made.append(Bootstrapped(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.end()


def session_of(gateway: Gateway, name: str) -> dict[str, Any]:
    """The last bootstrap session of a device, when it is over."""
    deadline = time.monotonic() + PATIENCE_S
    found: dict[str, Any] = {}
    while time.monotonic() < deadline:
        with sqlite3.connect(f"file:{gateway.state / 'homard.sqlite'}?mode=ro", uri=True) as database:
            rows = database.execute(
                "SELECT state FROM bootstrap_session WHERE endpoint_name=? ORDER BY id DESC LIMIT 1", (name,)
            ).fetchall()
        found = json.loads(rows[0][0]) if rows else {}
        if found.get("state") in ("finished", "failed"):
            return found
        time.sleep(0.05)
    pytest.fail(f"the session did not end: {found}")


@pytest.mark.parametrize("content_format", ["", TLV, SENML_JSON, SENML_CBOR])
def test_it_is_bootstrapped_without_security_and_registers(
    gateway: Gateway, device: Callable[..., Bootstrapped], content_format: str
) -> None:
    name = fresh_name("leshan-bs")
    client = device(gateway.uri, name, "nosec", content_format)
    client.expect("bootstrapped")
    assert client.expect("registered")["uri"] == gateway.uri
    session = session_of(gateway, name)
    assert session["state"] == "finished", session
    known = gateway.api.device(name)
    assert known is not None
    assert known["lifetime_s"] == 300
    # Its own server account is there, as it was written.
    assert gateway.api.operate(name, "Read", "/1/0/1")["values"][0]["value"] == 300


@pytest.mark.parametrize("security", ["psk", "rpk", "x509"])
def test_it_is_bootstrapped_over_dtls_and_registers_with_the_key_it_was_given(
    gateway: Gateway, keys: Keys, device: Callable[..., Bootstrapped], security: str
) -> None:
    name = fresh_name(f"leshan-{security}")
    credentials = keys.added(name, security)
    own_uri = f"coaps://127.0.0.1:{gateway.api.get('/status')['coaps_port']}"
    client = device(own_uri, name, credentials)
    client.expect("bootstrapped")
    assert client.expect("registered")["uri"] == own_uri
    assert session_of(gateway, name)["state"] == "finished"
    known = gateway.api.device(name)
    assert known is not None
    assert known["state"] == "online"
    # The key of the bootstrap and the one of the registration are two, and the second one counts from now on.
    # Of certificates only the name is known when they are used, so that theirs stays staged.
    wanted = {"bootstrap": "active", "server": "staged" if security == "x509" else "active"}
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        keys.vault.refresh()
        vaulted = keys.vault.device(name)
        assert vaulted is not None
        found = {one.purpose: one.state for one in vaulted.credentials}
        if found == wanted:
            return
        time.sleep(0.1)
    pytest.fail(f"the new key was not taken: {found}")


def test_it_is_bootstrapped_again_when_a_person_asks_for_it(
    gateway: Gateway, keys: Keys, device: Callable[..., Bootstrapped]
) -> None:
    name = fresh_name("leshan-again")
    client = device(gateway.uri, name)
    client.expect("registered")
    keys.vault.add([NewDevice(name, nosec=True)], "tests")
    keys.vault.ask_rebootstrap(name, "tests")
    client.expect("bootstrapped")
    client.expect("registered")
    assert session_of(gateway, name)["state"] == "finished"
