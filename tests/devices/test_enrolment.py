"""Devices that fetch their certificates by EST, from CoAP to the vault; openssl makes and reads them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers import codes
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.devices.enrolment import MAX_PER_PERIOD, MAX_STAGED, PERIOD_S, Enrolment
from appliance.southbound.resources import serve
from appliance.southbound.server import Source
from appliance.vault.authority import Authority
from appliance.vault.certificates import CertificateCheck
from appliance.vault.doorkeeper import Doorkeeper
from appliance.vault.errors import VaultError
from appliance.vault.model import NewCredential, NewDevice
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault
from tests.southbound.scripted import Bench

NOW = 1_800_000_000.0


class House(Bench):
    """A server whose devices come over DTLS, with a vault and an authority behind it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.identity = "psk:meter-1"
        self.now = 0.0
        key = SealingKey(bytes(32))
        self.authority = Authority(folder / "vault", key, VaultSettings(), lambda: NOW)
        self.authority.open()
        self.vault = Vault(folder / "vault", key, VaultSettings(), lambda: NOW)
        self.vault.open()
        check = CertificateCheck(self.authority.trusted, self.vault.pinned, self.authority.now)
        self.doorkeeper = Doorkeeper(self.vault, check.check, lambda: NOW)
        self.executor = ThreadPoolExecutor(1)

        def owner(source: Source) -> str | None:
            found = self.vault.by_identity(source.identity or "")
            return found.endpoint_name if found is not None and found.opens(NOW) else None

        self.enrolment = Enrolment(self.authority, self.vault, owner, self.executor, lambda: self.now)

        def on_request(request: Any) -> None:
            source = Source(request.peer, "DTLS", self.identity)
            answer = partial(serve, request, source, self.uplink, self.server, lambda _: None)
            answer(enrolment=self.enrolment)

        self.server._on_request = on_request  # type: ignore[method-assign]

    def close(self) -> None:
        self.executor.shutdown()
        super().close()

    def add(self, name: str, *credentials: NewCredential) -> None:
        self.vault.add([NewDevice(name, credentials=credentials or (NewCredential(),))], "test")

    def ask(self, *requests: tuple[Any, str, bytes], accept: int | None = 287) -> list[Message]:
        async def run() -> list[Message]:
            device = await self.stranger("UDP")
            return [
                await device.ask(
                    code,
                    f"est/{name}",
                    payload=payload,
                    content_format=286 if payload else None,
                    accept=accept,
                )
                for code, name, payload in requests
            ]

        return self.run(run())

    def refused(self, name: str, payload: bytes) -> tuple[Any, str]:
        (answer,) = self.ask((codes.POST, name, payload))
        assert not answer.code.is_successful(), answer
        return answer.code, answer.payload.decode()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def request(name: str, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        Encoding.DER
    )


def openssl(*command: str | Path) -> str:
    done = subprocess.run(["openssl", *command], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def test_a_device_with_a_pre_shared_key_fetches_its_first_certificate(house: House, tmp_path: Path) -> None:
    house.add("meter-1")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", tmp_path / "key.pem")
    openssl(
        *("req", "-new", "-key", tmp_path / "key.pem", "-subj", "/CN=meter-1"),
        *("-outform", "DER", "-out", tmp_path / "csr.der"),
    )
    crts, sen = house.ask(
        (codes.GET, "crts", b""), (codes.POST, "sen", (tmp_path / "csr.der").read_bytes()), accept=None
    )
    assert (crts.code, sen.code) == (codes.CONTENT, codes.CHANGED)
    for name, answer in (("ca", crts), ("device", sen)):
        assert answer.opt.content_format == 281
        (tmp_path / f"{name}.p7").write_bytes(answer.payload)
        openssl(
            *("pkcs7", "-inform", "DER", "-in", tmp_path / f"{name}.p7", "-print_certs"),
            *("-out", tmp_path / f"{name}.pem"),
        )
    said = openssl(
        *("verify", "-purpose", "sslclient", "-attime", str(int(NOW))),
        *("-CAfile", tmp_path / "ca.pem", tmp_path / "device.pem"),
    )
    assert said.strip().endswith(": OK"), said
    public = openssl("pkey", "-in", tmp_path / "key.pem", "-pubout")
    assert openssl("x509", "-in", tmp_path / "device.pem", "-noout", "-pubkey") == public

    found = x509.load_pem_x509_certificate((tmp_path / "device.pem").read_bytes())
    assert house.doorkeeper.certificate((found.public_bytes(Encoding.DER),)).identity == "x509:meter-1"
    psk, certificate = house.vault.device("meter-1").credentials  # type: ignore[union-attr]
    assert (certificate.purpose, certificate.mode, certificate.state) == ("server", "x509", "staged")
    assert psk.state == "active"
    house.vault.used("x509:meter-1")
    psk, certificate = house.vault.device("meter-1").credentials  # type: ignore[union-attr]
    assert (psk.state, certificate.state) == ("revoked", "active")


@pytest.mark.parametrize("how", ["revoked", "removed", "replaced"])
def test_who_is_sent_away_while_its_request_waits_gets_nothing_that_opens(
    house: House, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    house.add("meter-1")
    signs = house.authority.issue

    def issue(*asked: Any) -> bytes:
        if how == "revoked":
            house.vault.revoke("meter-1", "a person", "stolen")
        elif how == "removed":
            house.vault.remove("meter-1", "a person")
        else:
            house.vault.rotate("meter-1", "server", "a person", staged=False)
        return signs(*asked)

    monkeypatch.setattr(house.authority, "issue", issue)
    code, _ = house.refused("sen", request("meter-1"))
    assert code == codes.FORBIDDEN
    device = house.vault.device("meter-1")
    assert device is None or not [
        one for one in device.credentials if one.mode == "x509" and one.state != "revoked"
    ]


def test_a_certificate_is_renewed_and_the_old_one_opens_meanwhile(house: House) -> None:
    first, _ = house.authority.issue_with_new_key("meter-1")
    house.add("meter-1", NewCredential("server", "x509", certificate=first))
    house.identity = "x509:meter-1"
    (answer,) = house.ask((codes.POST, "sren", request("meter-1")))
    assert answer.code == codes.CHANGED and answer.opt.content_format == 287
    for certificate in (first, answer.payload):
        assert not house.doorkeeper.certificate((certificate,)).refusal
    assert [one.state for one in house.vault.device("meter-1").credentials] == ["active", "staged"]  # type: ignore[union-attr]


def test_a_certificate_of_the_maker_of_the_device_will_do_for_the_first_one(house: House) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    house.add("meter-1", NewCredential("bootstrap", "rpk"))
    house.identity = house.vault.device("meter-1").credentials[0].identity  # type: ignore[union-attr]
    (answer,) = house.ask((codes.POST, "sen", request("meter-1", key)))
    assert answer.code == codes.CHANGED
    assert x509.load_der_x509_certificate(answer.payload).public_key() == key.public_key()


def test_who_gets_none(house: House) -> None:
    house.add("meter-1")
    house.add("meter-2")
    shared = ec.generate_private_key(ec.SECP256R1())
    house.identity = "psk:meter-2"
    (answer,) = house.ask((codes.POST, "sen", request("meter-2", shared)))
    assert answer.code == codes.CHANGED
    house.identity = "psk:meter-1"
    for name, payload, code, words in (
        ("sen", request("meter-2"), codes.BAD_REQUEST, "must have the endpoint name: CN=meter-1"),
        ("sen", b"junk", codes.BAD_REQUEST, "no certificate signing request"),
        ("sen", request("meter-1", shared), codes.FORBIDDEN, "meter-2 has a certificate with this very key"),
        ("sren", request("meter-1"), codes.BAD_REQUEST, "you came without one: use sen"),
    ):
        assert house.refused(name, payload)[0] == code
        assert words in house.refused(name, payload)[1]
    house.enrolment._asked.clear()
    house.identity = "psk:stranger"
    assert house.refused("sen", request("meter-1")) == (codes.FORBIDDEN, "no device has this key")
    assert house.ask((codes.GET, "crts", b""))[0].code == codes.FORBIDDEN
    assert len(house.authority.issued()) == 1


def test_an_answer_that_was_lost_is_given_again(house: House) -> None:
    house.add("meter-1")
    same = request("meter-1")
    answers = house.ask(*[(codes.POST, "sen", same)] * 3)
    assert len({answer.payload for answer in answers}) == 1
    assert len(house.authority.issued()) == 1


def test_a_device_that_asks_and_asks_does_not_wear_out_the_disk(house: House) -> None:
    house.add("meter-1")
    answers = house.ask(*[(codes.POST, "sen", request("meter-1")) for _ in range(MAX_PER_PERIOD + 2)])
    assert [answer.code for answer in answers] == [codes.CHANGED] * MAX_PER_PERIOD + [
        codes.SERVICE_UNAVAILABLE
    ] * 2
    states = [one.state for one in house.vault.device("meter-1").credentials]  # type: ignore[union-attr]
    assert states.count("staged") == MAX_STAGED and states[0] == "active"
    for answer, good in zip(
        answers, [False] * (MAX_PER_PERIOD - MAX_STAGED) + [True] * MAX_STAGED, strict=False
    ):
        assert (not house.doorkeeper.certificate((answer.payload,)).refusal) is good
    house.now += PERIOD_S
    assert house.ask((codes.POST, "sen", request("meter-1")))[0].code == codes.CHANGED


def test_what_the_vault_cannot_keep_is_not_given(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.add("meter-1")

    def full(*_: Any, **__: Any) -> None:
        raise VaultError("no space left", "unavailable")

    monkeypatch.setattr(house.vault, "add_credential", full)
    code, words = house.refused("sen", request("meter-1"))
    assert code == codes.SERVICE_UNAVAILABLE and "later" in words
    assert [one.revoked_at for one in house.authority.issued()] == [NOW]
