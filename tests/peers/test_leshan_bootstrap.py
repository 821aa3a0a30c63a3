"""Leshan's client is bootstrapped: without security and with each kind of key, and comes back registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.peers.strangers import Gateway, LineProcess, command, fresh_name, leshan_classpath
from tests.peers.trusted import added, eventually, word

TLV, SENML_JSON, SENML_CBOR = "11542", "110", "112"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(tmp_path_factory.mktemp("state"))
    yield running
    assert running.stop() == 0


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

    def last() -> dict[str, Any]:
        found = gateway.api.get("/bootstrap/sessions", endpoint_name=name, limit=1)["sessions"]
        return dict(found[0]) if found else {}

    return eventually(last, lambda session: session.get("state") in ("finished", "failed"))


def makers_certificate(name: str) -> dict[str, str]:
    """What the maker of a device put into it: a certificate of his own that is nothing to our authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "certificate_pem": certificate.public_bytes(Encoding.PEM).decode(),
        "private_key_pem": private,
    }


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
    gateway: Gateway, device: Callable[..., Bootstrapped], security: str
) -> None:
    name = fresh_name(f"leshan-{security}")
    # Of certificates only the name is seen later: that of the maker has another one than ours will have.
    own = makers_certificate(f"maker-of-{name}") if security == "x509" else {}
    given = {key: value for key, value in own.items() if key == "certificate_pem"}
    provisioning = added(gateway, name, security, bootstrap=True, **given)["bootstrap"]
    assert provisioning["uri"].rpartition(":")[2] == str(gateway.coaps_port)
    client = device(gateway.coaps_uri, name, word(provisioning, security, **own))
    client.expect("bootstrapped")
    assert client.expect("registered")["uri"] == gateway.coaps_uri
    session = session_of(gateway, name)
    assert session["state"] == "finished", session
    # The identity of the bootstrap and that of the registration are two.
    vaulted = eventually(
        lambda: gateway.api.get(f"/vault/devices/{name}"),
        lambda seen: [one["state"] for one in seen["credentials"]] == ["active", "active"],
    )
    identities = {one["purpose"]: one["identity"] for one in vaulted["credentials"]}
    assert identities["bootstrap"] != identities["server"]
    assert session["identity"] == identities["bootstrap"]
    row = gateway.api.device(name)
    assert row is not None
    assert (row["state"], row["bearer"], row["security"]) == ("online", "DTLS", identities["server"])
    assert gateway.api.operate(name, "Read", "/3/0/0")["values"][0]["value"] == "Eclipse"


def test_it_is_bootstrapped_again_when_a_person_asks_for_it(
    gateway: Gateway, device: Callable[..., Bootstrapped]
) -> None:
    name = fresh_name("leshan-again")
    provisioning = added(gateway, name, "psk", bootstrap=True)["bootstrap"]
    client = device(gateway.coaps_uri, name, word(provisioning, "psk"))
    client.expect("registered")
    row = gateway.api.device(name)
    assert row is not None
    status, _ = gateway.api.ask("POST", f"/vault/devices/{name}/rebootstrap")
    assert status == 200
    client.expect("bootstrapped")
    client.expect("registered")
    assert session_of(gateway, name)["state"] == "finished"
    # It has a new key, which is the only one for this server that opens now.

    def is_moved(seen: dict[str, Any]) -> bool:
        states = {one["identity"]: one["state"] for one in seen["credentials"]}
        return states[row["security"]] == "revoked" and seen["rebootstrap_asked_at"] is None

    vaulted = eventually(lambda: gateway.api.get(f"/vault/devices/{name}"), is_moved)
    (opens,) = [
        one for one in vaulted["credentials"] if one["purpose"] == "server" and one["state"] != "revoked"
    ]
    now = gateway.api.device(name)
    assert now is not None
    assert (opens["state"], now["security"]) == ("active", opens["identity"])
