"""libcoap's client fetches a certificate by EST over DTLS, comes back with it, renews it, and is revoked."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.vault.model import Device, NewCredential, NewDevice
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault
from tests.house import House
from tests.peers.strangers import command

PATIENCE_S = 20.0
NAME = "meter-1"
KEY = "a key of letters"  # as the client takes it from its command line


class Client:
    """`coap-client`, with DTLS by GnuTLS or OpenSSL; its files are in ``folder``."""

    def __init__(self, program: str, house: House, folder: Path) -> None:
        self.program = command(program)
        self.house = house
        self.folder = folder
        self.keys: tuple[str | Path, ...] = ("-u", NAME, "-k", KEY)

    def ask(self, path: str, *arguments: str | Path, wait_s: float = 10) -> bytes:
        """The payload of the answer, b"" without one."""
        answer = self.folder / "answer"
        answer.unlink(missing_ok=True)
        uri = f"coaps://127.0.0.1:{self.house.coaps_port}/{path}"
        subprocess.run(
            [self.program, "-B", str(wait_s), "-o", answer, *self.keys, *arguments, uri],
            capture_output=True,
            timeout=wait_s + PATIENCE_S,
            check=False,
        )
        return answer.read_bytes() if answer.exists() else b""

    def enrol(self, resource: str) -> None:
        """A new key and its certificate, which are then what the client shows."""
        key, request = self.folder / f"{resource}.key", self.folder / f"{resource}.csr"
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        subject = ("-subj", f"/CN={NAME}", "-outform", "DER")
        openssl("req", "-new", "-key", key, *subject, "-out", request)
        # 64-byte blocks, so that the request and the answer go by piece by piece.
        given = self.ask(f"est/{resource}", "-m", "post", "-t", "286", "-A", "287", "-b", "64", "-f", request)
        certificate = self.folder / f"{resource}.pem"
        certificate.write_bytes(x509.load_der_x509_certificate(given).public_bytes(Encoding.PEM))
        openssl("verify", "-purpose", "sslclient", "-CAfile", self.folder / "ca.pem", certificate)
        self.keys = ("-c", certificate, "-j", key, "-C", self.folder / "ca.pem")


def openssl(*arguments: str | Path) -> None:
    done = subprocess.run(
        [command("openssl"), *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr


def opened(state: Path) -> Vault:
    """The vault as another process sees it."""
    vault = Vault(state / "vault", SealingKey.load(state, create=True), VaultSettings(), time.time)
    vault.open()
    return vault


def states(state: Path) -> list[tuple[str, str]]:
    device = opened(state).device(NAME)
    assert isinstance(device, Device)
    return [(one.mode, one.state) for one in device.credentials]


@pytest.mark.parametrize("program", ["coap-client-gnutls", "coap-client-openssl"])
def test_libcoap_enrols_returns_renews_and_is_revoked(program: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    credential = NewCredential(psk_identity=NAME.encode(), psk_key=KEY.encode())
    opened(state).add([NewDevice(NAME, credentials=(credential,))], "test")
    with House(state) as house:
        client = Client(program, house, tmp_path)
        assert b'rt="ace.est.sen"' in client.ask(".well-known/core")
        authority = x509.load_der_x509_certificate(client.ask("est/crts", "-A", "287"))
        (tmp_path / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
        client.enrol("sen")
        assert states(state) == [("psk", "active"), ("x509", "staged")]

        # The client checks our certificate against the authority's, and we check its.
        client.ask(f"rd?ep={NAME}&lt=300&lwm2m=1.1", "-m", "post", "-t", "40", "-e", "</3/0>")
        assert house.api("GET", f"/devices/{NAME}")[0] == 200
        deadline = time.monotonic() + PATIENCE_S
        while states(state) != [("psk", "revoked"), ("x509", "active")]:
            assert time.monotonic() < deadline, states(state)
            time.sleep(0.05)

        first = client.keys
        client.enrol("sren")
        assert states(state)[1:] == [("x509", "active"), ("x509", "staged")]
        for keys in (first, client.keys):
            client.keys = keys
            assert client.ask("est/crts", "-A", "287") == authority.public_bytes(Encoding.DER)

        opened(state).revoke(NAME, "test", "stolen")
        for keys in (first, client.keys):
            client.keys = keys
            deadline = time.monotonic() + PATIENCE_S  # the server looks twice a second
            while client.ask("est/crts", wait_s=1):
                assert time.monotonic() < deadline, "a revoked device is still answered"
