"""Other people's DTLS clients against our server: OpenSSL's, GnuTLS's and libcoap's.

OpenSSL knows raw public keys from 3.2 on (Debian 13); of 3.0 (Debian 12) that test is skipped. Neither
knows Connection IDs in DTLS 1.2 (RFC 9146): for that stands Californium, in Leshan's client.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.southbound.dtls.server import Established, Failed
from tests.peers.strangers import command
from tests.southbound.dtls.authority import (
    Authority,
    authority,
    key_pem,
    pem,
    server_keys,
    spki,
)
from tests.southbound.dtls.echo import PATIENCE_S, Echo, echo
from tests.southbound.dtls.net import KEY, NAME, Keyring

PSK = ["-psk_identity", NAME.decode(), "-psk", KEY.hex()]
GNUTLS = "NONE:+VERS-DTLS1.2:+AEAD:+SIGN-ECDSA-SHA256:+GROUP-SECP256R1:+COMP-NULL"


class Talk:
    """A program that sends lines of its standard input and prints what it is sent."""

    def __init__(self, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [command(arguments[0]), *arguments[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.said = b""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while part := self.process.stdout.read1(4096):  # type: ignore[attr-defined]
            with self._more:
                self.said += part
                self._more.notify_all()

    def say(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def expect(self, text: bytes, times: int = 1) -> None:
        with self._more:
            heard = self._more.wait_for(lambda: self.said.count(text) >= times, PATIENCE_S)
        assert heard, self.said.decode(errors="replace")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


def converse(running: Echo, arguments: list[str]) -> Established:
    """A client gets its session and hears its own words."""
    talk = Talk(arguments)
    try:
        established: Established = running.expect(Established)
        for number in range(3):
            line = b"line %d" % number
            talk.say(line)
            talk.expect(line)
    finally:
        talk.end()
    return established


def refused(running: Echo, arguments: list[str], words: bytes = b"") -> str:
    """A client does not come in; the operator's sentence."""
    talk = Talk(arguments)
    try:
        sentence: str = running.expect(Failed).sentence
        if words:
            talk.expect(words)
    finally:
        talk.end()
    return sentence


def s_client(running: Echo, cipher: str, *more: str) -> list[str]:
    # OpenSSL counts a tag of 8 bytes as no security at all, so its level has to be 0 for CCM8.
    return [
        *("openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{running.port}", "-quiet"),
        *("-cipher", f"{cipher}@SECLEVEL=0", *more),
    ]


def gnutls_cli(running: Echo, priority: str, *more: str) -> list[str]:
    return [
        *("gnutls-cli", "--udp", "--no-ca-verification", "--port", str(running.port)),
        *("--priority", f"{GNUTLS}:{priority}", *more, "127.0.0.1"),
    ]


@pytest.fixture
def identity(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Makes the files of a certificate and its key."""

    def make(issuer: Authority, name: str = "meter-2", days: float = 365) -> tuple[str, str]:
        certificate, key = issuer.issue(name, days=days)
        (tmp_path / "certificate.pem").write_bytes(pem(certificate))
        (tmp_path / "key.pem").write_bytes(key_pem(key))
        return str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")

    return make


def trusting() -> Keyring:
    ring = Keyring()
    ring.certificates = authority().verdict
    return ring


# Pre-shared keys


@pytest.mark.parametrize("cipher", ["PSK-AES128-CCM8", "PSK-AES128-CCM", "PSK-AES128-GCM-SHA256"])
def test_openssl_with_a_pre_shared_key(cipher: str) -> None:
    with echo(Keyring()) as running:
        established = converse(running, s_client(running, cipher, *PSK))
    assert established.session.identity == "psk:meter-1"


def test_openssl_with_an_ephemeral_key_beside_the_shared_one() -> None:
    with echo(Keyring()) as running:
        converse(running, s_client(running, "ECDHE-PSK-CHACHA20-POLY1305", *PSK))


@pytest.mark.parametrize("cipher", ["AES-128-CCM-8", "AES-128-GCM"])
def test_gnutls_with_a_pre_shared_key(cipher: str) -> None:
    key = ["--pskusername", NAME.decode(), "--pskkey", KEY.hex()]
    with echo(Keyring()) as running:
        established = converse(running, gnutls_cli(running, f"+PSK:+{cipher}", *key))
    assert established.session.identity == "psk:meter-1"


def test_openssl_with_another_key() -> None:
    with echo(Keyring(), handshake_timeout_s=3) as running:
        arguments = s_client(running, "PSK-AES128-CCM8", "-psk_identity", "meter-1", "-psk", "00" * 16)
        sentence = refused(running, arguments)
    assert sentence == (
        "psk:meter-1 could not prove its key: most likely the device has another key than the one kept here."
    )


def test_gnutls_with_an_identity_nobody_knows() -> None:
    key = ["--pskusername", "nobody", "--pskkey", KEY.hex()]
    with echo(Keyring()) as running:
        sentence = refused(running, gnutls_cli(running, "+PSK:+AES-128-CCM-8", *key))
    assert sentence == "Nobody here is called psk:nobody."


# Certificates


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-CCM8", "ECDHE-ECDSA-AES128-GCM-SHA256"])
def test_openssl_with_certificates(
    cipher: str, identity: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    certificate, key = identity(authority())
    (tmp_path / "site.pem").write_bytes(pem(authority().certificate))
    more = ["-cert", certificate, "-key", key, "-CAfile", str(tmp_path / "site.pem"), "-verify_return_error"]
    with echo(trusting(), server_keys()) as running:
        established = converse(running, s_client(running, cipher, *more))
    assert established.session.identity == "x509:meter-2"


def test_gnutls_with_certificates(identity: Callable[..., tuple[str, str]]) -> None:
    certificate, key = identity(authority())
    more = ["--x509certfile", certificate, "--x509keyfile", key]
    with echo(trusting(), server_keys()) as running:
        arguments = gnutls_cli(running, "+ECDHE-ECDSA:+AES-128-CCM-8:+CTYPE-X509", *more)
        established = converse(running, arguments)
    assert established.session.identity == "x509:meter-2"


@pytest.mark.parametrize(
    ("trouble", "alert", "sentence"),
    [
        (
            "expired",
            b"alert certificate expired",
            "The certificate of CN=meter-2 expired on 2026-11-13; give the device a new one.",
        ),
        (
            "foreign",
            b"alert unknown ca",
            "The certificate of CN=meter-2 is signed by an authority nobody here trusts.",
        ),
        ("revoked", b"alert certificate revoked", "x509:meter-2 was revoked."),
    ],
)
def test_openssl_is_told_what_is_wrong_with_its_certificate(
    trouble: str, alert: bytes, sentence: str, identity: Callable[..., tuple[str, str]]
) -> None:
    issuer = Authority("Elsewhere") if trouble == "foreign" else authority()
    certificate, key = identity(issuer, days=-10 if trouble == "expired" else 10)
    trust = trusting()
    if trouble == "revoked":
        trust.revoked.add("x509:meter-2")
    with echo(trust, server_keys()) as running:
        arguments = s_client(running, "ECDHE-ECDSA-AES128-CCM8", "-cert", certificate, "-key", key)
        assert refused(running, arguments, alert) == sentence


# Raw public keys


@pytest.fixture
def raw_key(tmp_path: Path) -> tuple[Keyring, ec.EllipticCurvePrivateKey]:
    """A key whose public half is known, in key.pem and public.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    trust = Keyring()
    trust.public[spki(key)] = "meter-3"
    (tmp_path / "key.pem").write_bytes(key_pem(key))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    return trust, key


def test_gnutls_with_raw_public_keys(
    raw_key: tuple[Keyring, ec.EllipticCurvePrivateKey], tmp_path: Path
) -> None:
    trust, _ = raw_key
    more = ["--rawpkkeyfile", str(tmp_path / "key.pem"), "--rawpkfile", str(tmp_path / "public.pem")]
    with echo(trust, server_keys()) as running:
        priority = "+ECDHE-ECDSA:+AES-128-CCM-8:+CTYPE-CLI-RAWPK:+CTYPE-SRV-RAWPK"
        established = converse(running, gnutls_cli(running, priority, *more))
    assert established.session.identity.startswith("rpk:")


def openssl_knows_raw_public_keys() -> bool:
    said = subprocess.run([command("openssl"), "s_client", "-help"], capture_output=True, check=False)
    return b"-enable_client_rpk" in said.stdout + said.stderr


def test_openssl_with_raw_public_keys(
    raw_key: tuple[Keyring, ec.EllipticCurvePrivateKey], tmp_path: Path
) -> None:
    if not openssl_knows_raw_public_keys():
        pytest.skip("this OpenSSL is older than 3.2 and knows no raw public keys")
    trust, key = raw_key
    # It takes its own key out of a certificate, and sends nothing else of that.
    certificate, _ = authority().issue("meter-3", public_key=key.public_key())
    (tmp_path / "certificate.pem").write_bytes(pem(certificate))
    more = ["-enable_server_rpk", "-enable_client_rpk", "-key", str(tmp_path / "key.pem")]
    more += ["-cert", str(tmp_path / "certificate.pem")]
    with echo(trust, server_keys()) as running:
        established = converse(running, s_client(running, "ECDHE-ECDSA-AES128-CCM8", *more))
    assert established.session.identity.startswith("rpk:")


# libcoap


@pytest.mark.parametrize("program", ["coap-client-openssl", "coap-client-gnutls"])
def test_libcoap_with_a_pre_shared_key(program: str) -> None:
    def answer(request: bytes) -> bytes:
        """2.05 Content in the acknowledgement."""
        token = request[4 : 4 + (request[0] & 15)]
        return bytes((0x60 | len(token), 0x45)) + request[2:4] + token + b"\xffit is 21.5"

    with echo(Keyring(), answer=answer) as running:
        arguments = [command(program), "-u", NAME.decode(), "-k", KEY.decode()]
        arguments += ["-B", "10", f"coaps://127.0.0.1:{running.port}/3303/0/5700"]
        done = subprocess.run(arguments, capture_output=True, timeout=PATIENCE_S, check=False)
        assert b"it is 21.5" in done.stdout, (done.stdout, done.stderr, running.events)
