"""Devices of a gateway that lets in only whom it knows: what they are given, and what is said of them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from tests.peers.strangers import HOMARD, PATIENCE_S, REPOSITORY, Gateway

SECURE = {"coap.nosec": "allowed"}

Seen = TypeVar("Seen")


def eventually(look: Callable[[], Seen], wanted: Callable[[Seen], object]) -> Seen:
    """What is seen once it is as wanted; the gateway has its time for it."""
    until = time.monotonic() + PATIENCE_S
    while not wanted(seen := look()):
        if time.monotonic() > until:
            pytest.fail(f"this is what is seen after {PATIENCE_S:g} s: {seen}")
        time.sleep(0.05)
    return seen


def homard(gateway: Gateway, *arguments: str) -> str:
    """A command on the state of the running gateway."""
    done = subprocess.run(
        [*HOMARD, *arguments, "--state", str(gateway.state)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def added_by_command(gateway: Gateway, name: str, security: str) -> dict[str, Any]:
    """A device made with `homard device add`, once the gateway knows it; what it needs to be let in."""
    made: dict[str, Any] = json.loads(
        homard(gateway, "device", "add", name, "--security", security, "--json")
    )
    eventually(lambda: gateway.api.ask("GET", f"/vault/devices/{name}")[0], lambda status: status == 200)
    return made


def added(gateway: Gateway, name: str, security: str, **more: Any) -> dict[str, Any]:
    """A device made through the API, and what it needs to be let in."""
    body = {"endpoint_name": name, "security": security, **more}
    status, made = gateway.api.ask("POST", "/vault/devices", body)
    assert status == 201, made
    provisioning: dict[str, Any] = made["provisioning"]
    return provisioning


def word(provisioning: dict[str, Any], security: str, **other: str) -> str:
    """The credentials as peers.Credentials reads them; ``other`` replaces what was given."""
    facts = {**provisioning, **other}
    if security == "psk":
        return f"psk:{facts['psk_identity'].encode().hex()}:{facts['psk_key_hex']}"
    private = load_pem_private_key(facts["private_key_pem"].encode(), None)
    key = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()
    if security == "rpk":
        own = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()
        server = load_pem_public_key(facts["server_public_key_pem"].encode())
        return f"rpk:{own}:{key}:{server.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()}"
    own = x509.load_pem_x509_certificate(facts["certificate_pem"].encode()).public_bytes(Encoding.DER).hex()
    server_certificate = x509.load_pem_x509_certificate(facts["server_certificate_pem"].encode())
    return f"x509:{own}:{key}:{server_certificate.public_bytes(Encoding.DER).hex()}"


def contact(gateway: Gateway, name: str, state: str) -> str:
    """The sentence about a device, once it is in that state."""
    told = eventually(
        lambda: gateway.api.get(f"/vault/devices/{name}")["contact"], lambda told: told["state"] == state
    )
    return str(told["text"])
