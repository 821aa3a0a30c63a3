"""The certificate of the page: by whom, for whom, when another, and that its key is nowhere in clear."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.northbound import certificate as module
from appliance.northbound.certificate import Certificate
from appliance.vault.authority import Authority
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings

NOW = 1_800_000_000.0
DAY = 86400.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def authority(folder: Path, wall: Callable[[], float]) -> Authority:
    found = Authority(folder / "vault", SealingKey(bytes(32)), VaultSettings(), wall)
    found.open()
    return found


def shown(context: ssl.SSLContext, ca: bytes | None) -> x509.Certificate:
    """The certificate that a strict client is shown; it must be content when it trusts ``ca``."""
    client = ssl.create_default_context()
    if ca is None:
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    else:
        client.load_verify_locations(cadata=ca.decode())
        client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT  # the default from Python 3.13 on
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    other = context.wrap_bio(to_server, to_client, server_side=True)
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
    der = one.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def test_who_trusts_the_authority_trusts_the_page(tmp_path: Path) -> None:
    signs = authority(tmp_path, time.time)
    certificate = Certificate(signs, time.time, ("edge.example", "192.0.2.7"))
    found = shown(certificate.context(), signs.certificate_pem)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "edge.example", socket.gethostname()} <= set(names.get_values_for_type(x509.DNSName))
    addresses = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", "::1", "192.0.2.7"} <= addresses
    assert found.not_valid_after_utc - found.not_valid_before_utc <= timedelta(days=825)
    assert certificate.fingerprint.count(":") == 31


def test_its_key_is_in_clear_nowhere(tmp_path: Path) -> None:
    signs = authority(tmp_path, time.time)
    Certificate(signs, time.time)
    open_files = [one for one in list(Path("/proc/self/fd").iterdir()) if one.is_symlink()]
    assert open_files and not [one for one in open_files if "memfd" in str(one.readlink())]
    secret = serialization.load_pem_private_key(signs.server("page", ["localhost"]).key_pem, None)
    assert isinstance(secret, ec.EllipticCurvePrivateKey)
    number = secret.private_numbers().private_value.to_bytes(32, "big")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    for file in files:
        content = file.read_bytes()
        assert b"PRIVATE" not in content and number not in content and number.hex().encode() not in content


def test_a_kernel_that_does_not_know_the_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.memfd_create

    def older(name: str, flags: int) -> int:
        if flags & 8:
            raise OSError(22, "Invalid argument")
        return real(name, flags)

    monkeypatch.setattr(module.os, "memfd_create", older)
    signs = authority(tmp_path, time.time)
    shown(Certificate(signs, time.time).context(), signs.certificate_pem)


def test_it_loads_where_no_memory_may_become_executable(tmp_path: Path) -> None:
    """As under MemoryDenyWriteExecute= of the unit, which newer systemd does by PR_SET_MDWE."""
    program = f"""
import ctypes, sys, time
from pathlib import Path
from appliance.northbound.certificate import Certificate
from tests.northbound.test_certificate import authority
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit(77)
print(Certificate(authority(Path({str(tmp_path)!r}), time.time), time.time).fingerprint)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.stdout.count(":") == 31, done.stderr


def test_it_is_kept_over_restarts_and_renewed_in_time(tmp_path: Path) -> None:
    clock = Clock()
    first = Certificate(authority(tmp_path, clock), clock)
    assert Certificate(authority(tmp_path, clock), clock).fingerprint == first.fingerprint
    clock.now += 780 * DAY
    assert Certificate(authority(tmp_path, clock), clock).fingerprint == first.fingerprint
    clock.now += 20 * DAY
    renewed = Certificate(authority(tmp_path, clock), clock)
    assert renewed.fingerprint != first.fingerprint
    assert shown(renewed.context(), None).not_valid_after_utc.timestamp() > clock.now + 800 * DAY


def test_a_server_that_runs_renews_it_too(tmp_path: Path) -> None:
    clock = Clock()
    certificate = Certificate(authority(tmp_path, clock), clock)
    context, fingerprint = certificate.context(), certificate.fingerprint
    clock.now += 100 * DAY
    assert certificate.context() is context
    clock.now += 700 * DAY
    assert certificate.context() is not context and certificate.fingerprint != fingerprint


def test_a_server_that_moves_gets_one_for_its_new_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    addresses = ["edge.local", "192.0.2.7"]
    monkeypatch.setattr(module, "own_names", lambda further: addresses)
    certificate = Certificate(authority(tmp_path, clock), clock)
    before = certificate.context()
    addresses[1] = "192.0.2.8"
    assert certificate.context() is before
    clock.now += 3601
    names = shown(certificate.context(), None).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(one.value) for one in names.value] == addresses


def test_a_disk_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    signs = authority(tmp_path, clock)
    certificate = Certificate(signs, clock)
    context = certificate.context()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(signs, "server", full)
    clock.now += 900 * DAY
    assert certificate.context() is context


def test_the_key_in_clear_of_an_upgraded_unit_is_removed(tmp_path: Path) -> None:
    old = tmp_path / "tls"
    old.mkdir()
    for name in ("key.pem", "certificate.pem", "key.pem.tmp"):
        (old / name).write_bytes(b"-----BEGIN PRIVATE KEY-----")
    Certificate(authority(tmp_path, Clock()), Clock(), old=old)
    assert not old.exists()
    Certificate(authority(tmp_path, Clock()), Clock(), old=old)


def test_a_certificate_of_the_users_own_is_never_touched(tmp_path: Path) -> None:
    clock = Clock()
    issuer = authority(tmp_path / "elsewhere", clock)
    given = issuer.server("page", ["edge.example"])
    own = tmp_path / "tls"
    own.mkdir()
    files = own / "certificate.pem", own / "key.pem"
    files[0].write_bytes(b"a remark\n" + given.chain_pem)
    files[1].write_bytes(given.key_pem)
    before = [file.read_bytes() for file in files]
    signs = authority(tmp_path, clock)
    certificate = Certificate(signs, clock, own=files, old=own)
    context = certificate.context()
    clock.now += 2000 * DAY
    assert certificate.context() is context
    assert shown(context, None).public_bytes(serialization.Encoding.DER) == given.certificate
    assert certificate.fingerprint == given.facts.fingerprint
    assert [file.read_bytes() for file in files] == before
    for wrong in ((tmp_path / "none.pem", tmp_path / "none.key"), (files[1], files[1])):
        with pytest.raises(OSError):
            Certificate(signs, clock, own=wrong)
