"""The certificate that is made: for whom, how long, how kept, when renewed."""

from __future__ import annotations

import socket
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.northbound.certificate import Certificate

NOW = 1_800_000_000.0
DAY = 86400.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def made(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())


def test_what_is_made_at_first_start(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    certificate = Certificate(folder, Clock(), ("edge.example", "192.0.2.7"))
    found = made(folder)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "edge.example", socket.gethostname()} <= set(names.get_values_for_type(x509.DNSName))
    addresses = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", "::1", "192.0.2.7"} <= addresses
    key = found.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    assert found.not_valid_after_utc - found.not_valid_before_utc <= timedelta(days=825)
    assert found.not_valid_before_utc.timestamp() == NOW - DAY
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o077 == 0
    assert sorted(file.name for file in folder.iterdir()) == ["certificate.pem", "key.pem"]
    assert certificate.fingerprint.count(":") == 31


def test_a_strict_client_that_trusts_it_is_content(tmp_path: Path) -> None:
    """VERIFY_X509_STRICT is the default from Python 3.13 on."""
    import time

    server = Certificate(tmp_path, time.time).context()
    client = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    other = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(6):
        for side in (one, other):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    assert done == {one, other}
    assert one.version() == "TLSv1.3"


def test_it_is_kept_over_restarts_and_renewed_in_time(tmp_path: Path) -> None:
    clock = Clock()
    first = Certificate(tmp_path, clock)
    assert Certificate(tmp_path, clock).fingerprint == first.fingerprint
    clock.now += 780 * DAY
    assert Certificate(tmp_path, clock).fingerprint == first.fingerprint
    clock.now += 20 * DAY
    renewed = Certificate(tmp_path, clock)
    assert renewed.fingerprint != first.fingerprint
    assert made(tmp_path).not_valid_after_utc.timestamp() > clock.now + 800 * DAY


def test_a_server_that_runs_renews_it_too(tmp_path: Path) -> None:
    clock = Clock()
    certificate = Certificate(tmp_path, clock)
    context, fingerprint = certificate.context(), certificate.fingerprint
    clock.now += 100 * DAY
    assert certificate.context() is context
    clock.now += 700 * DAY
    assert certificate.context() is not context and certificate.fingerprint != fingerprint


def test_a_board_without_a_clock_gets_a_good_one_when_the_time_is_known(tmp_path: Path) -> None:
    clock = Clock()
    clock.now = 1000.0
    certificate = Certificate(tmp_path, clock)
    in_the_seventies = certificate.fingerprint
    clock.now = NOW
    certificate.context()
    assert certificate.fingerprint != in_the_seventies
    assert made(tmp_path).not_valid_after_utc.timestamp() > NOW


@pytest.mark.parametrize("damage", ["no key", "no certificate", "other key", "garbage"])
def test_files_that_do_not_fit_are_made_anew(tmp_path: Path, damage: str) -> None:
    clock = Clock()
    before = Certificate(tmp_path, clock).fingerprint
    match damage:
        case "no key":
            (tmp_path / "key.pem").unlink()
        case "no certificate":
            (tmp_path / "certificate.pem").unlink()
        case "other key":
            Certificate(tmp_path / "other", clock)
            (tmp_path / "key.pem").write_bytes((tmp_path / "other" / "key.pem").read_bytes())
        case _:
            (tmp_path / "certificate.pem").write_bytes(b"garbage")
    assert Certificate(tmp_path, clock).fingerprint != before
    assert Certificate(tmp_path, clock).context()


def test_a_certificate_of_the_users_own_is_never_touched(tmp_path: Path) -> None:
    clock = Clock()
    own = tmp_path / "own"
    fingerprint = Certificate(own, clock).fingerprint
    files = own / "certificate.pem", own / "key.pem"
    before = [file.read_bytes() for file in files]
    clock.now += 2000 * DAY
    certificate = Certificate(tmp_path / "tls", clock, own=files)
    certificate.context()
    assert certificate.fingerprint == fingerprint
    assert [file.read_bytes() for file in files] == before and not (tmp_path / "tls").exists()
    with pytest.raises(OSError):
        Certificate(tmp_path, clock, own=(tmp_path / "none.pem", tmp_path / "none.key"))
