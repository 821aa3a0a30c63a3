"""What a change in the vault does to sessions that are up: each is held to what it was opened with."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.devices.admission import Admission, Refused
from appliance.devices.errors import DeviceError
from appliance.devices.identity_use import IdentityUse
from appliance.devices.security import Acceptance, Gate, Security
from appliance.devices.session_store import SessionStore
from appliance.devices.strangers import Strangers
from appliance.southbound.dtls.server import Ended
from appliance.southbound.dtls.session import DtlsSession
from appliance.southbound.server import Source
from appliance.storage.database import Database
from appliance.storage.settings import StorageSettings
from appliance.vault.certificates import CertificateCheck, Trusted
from appliance.vault.doorkeeper import Doorkeeper
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import NewCredential, NewDevice, Vault
from tests.southbound.dtls.authority import NOW, Authority, der, pem, server_keys
from tests.southbound.dtls.client import ECDSA_CCM_8, Client, Ticket
from tests.southbound.dtls.net import Net, at

NAME, KEY = "meter-1", bytes(range(16))
SEALING_KEY = SealingKey(bytes(32))
Holder = tuple[bytes, ec.EllipticCurvePrivateKey]  # a certificate and its key


class House:
    """A vault, and a DTLS server that asks it."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW.timestamp()
        self.maker = Authority("maker")
        self.vault = Vault(folder / "vault", SEALING_KEY, VaultSettings(), lambda: self.now)
        self.vault.open()
        self.database = Database(folder / "homard.sqlite", StorageSettings())
        self.database.open(None)
        self.start()

    def start(self) -> None:
        self.strangers = strangers = Strangers(self.database, lambda: self.now)
        uses = IdentityUse(self.database, lambda: self.now)
        trusted = Trusted({self.maker.certificate.subject.public_bytes(): (self.maker.certificate,)}, b"", {})
        check = CertificateCheck(lambda: trusted, self.vault.pinned, lambda: self.now)
        gate = Gate(Doorkeeper(self.vault, check.check, lambda: self.now), strangers, uses, self.vault)
        self.net = Net(server_keys(), gate)
        self.store = SessionStore(self.database, SEALING_KEY, self.net.server)
        self.admission = Admission(self.vault, strangers, uses, {}, lambda: self.now, lambda _: None)
        anybody: Any = SimpleNamespace(named=lambda _: None)
        coaps: Any = SimpleNamespace(sessions=self.net.server, drop=self.net.server.drop)
        self.security = Security(
            *(self.vault, gate, strangers, uses, self.admission, anybody),
            *(SimpleNamespace(coaps=coaps), None, self.store, lambda _: None),  # type: ignore[arg-type]
        )

    def restart(self) -> None:
        self.database.flush()
        self.start()
        self.store.load(self.admission.opens, self.net.now)

    def tell(self) -> None:
        """What happened, and then what the vault changed meanwhile."""
        for event in [*self.net.events, *self.net.server.take_events()]:
            self.security.session_event(event)
        self.net.events.clear()
        if changed := self.vault.refresh():
            self.security.vault_changed(changed)
        for event in self.net.server.take_events():
            self.security.session_event(event)

    def add(self, *credentials: NewCredential) -> None:
        self.vault.add([NewDevice(NAME, credentials=credentials)], "test")

    def add_psk(self, key: bytes = KEY) -> None:
        self.add(NewCredential("server", "psk", psk_identity=NAME.encode(), psk_key=key))

    def issue(self) -> Holder:
        certificate, key = self.maker.issue(NAME)
        return der(certificate), key

    def by_certificate(self, holder: Holder, port: int) -> DtlsSession:
        chain, key = holder
        client = Client(suites=(ECDSA_CCM_8,), chain=(chain,), private_key=key)
        return self.net.connect(client, at(port))[1]

    def by_psk(self, key: bytes = KEY, port: int = 5000, ticket: Ticket | None = None) -> tuple[Client, Any]:
        client = Client(NAME.encode(), key, ticket=ticket, wants_ticket=True)
        return self.net.connect(client, at(port))

    def up(self) -> list[DtlsSession]:
        return list(self.net.server.sessions())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


def test_the_session_of_a_replaced_certificate_ends_though_the_new_one_has_its_name(house: House) -> None:
    old, new = house.issue(), house.issue()
    house.add(NewCredential("server", "x509", certificate=old[0]))
    house.tell()
    stolen = house.by_certificate(old, 5000)
    house.tell()
    assert house.up() == [stolen]
    replacement = NewCredential("server", "x509", certificate=new[0])
    house.vault.rotate(NAME, "server", "test", staged=False, new=replacement)
    kept = house.by_certificate(new, 6000)
    house.tell()
    assert stolen.identity == kept.identity
    assert (stolen.closed, house.up()) == (True, [kept])


def test_a_certificate_beside_another_is_revoked_alone(house: House) -> None:
    one, other = house.issue(), house.issue()
    house.add(
        NewCredential("server", "x509", certificate=one[0]),
        NewCredential("server", "x509", certificate=other[0]),
    )
    house.tell()
    sessions = house.by_certificate(one, 5000), house.by_certificate(other, 6000)
    house.tell()
    device = house.vault.device(NAME)
    assert device is not None and house.up() == list(sessions)
    house.vault.revoke(NAME, "test", "stolen", device.credentials[0].id)
    house.tell()
    assert house.up() == [sessions[1]]


@pytest.mark.parametrize("runs", [True, False])
def test_a_new_key_under_an_old_name_ends_the_sessions_of_the_old_key(house: House, runs: bool) -> None:
    house.add_psk()
    house.tell()
    house.by_psk()
    house.tell()
    assert len(house.up()) == 1
    house.vault.remove(NAME, "test")
    house.add_psk(b"another key, 16B")
    if runs:
        house.tell()
    else:
        house.restart()
    assert house.up() == []
    house.by_psk(b"another key, 16B")
    house.tell()
    house.restart()
    assert len(house.up()) == 1, "and what is as it was is taken up again"


def test_a_ticket_of_the_old_key_opens_nothing_before_the_change_is_noticed(house: House) -> None:
    house.add_psk()
    house.tell()
    client, _ = house.by_psk()
    house.tell()
    assert house.by_psk(ticket=client.new_ticket, port=5001)[1].resumed
    house.vault.remove(NAME, "test")
    house.add_psk(b"another key, 16B")
    late = Client(NAME.encode(), KEY, ticket=client.new_ticket)
    late.hello()
    house.net.deliver(late, at(5002))
    assert [event.reason for event in house.net.of(Ended)] == [
        "it went on from a ticket that is older than the key"
    ]
    assert late.alerts == [(1, 0)]
    house.tell()
    assert house.up() == []


def test_who_was_nobody_shakes_hands_again_once_it_is_somebody(house: House) -> None:
    # The name in a certificate is accepted with that very certificate; the session may be by another one.
    shown, other = house.issue(), house.issue()
    stranger = house.by_certificate(other, 5000)
    house.tell()
    assert house.up() == [stranger]
    house.add(NewCredential("server", "x509", certificate=shown[0]))
    house.tell()
    assert house.up() == []


def test_a_stranger_with_the_name_of_a_device_becomes_it_only_if_somebody_says_so(house: House) -> None:
    house.add_psk()
    certificate, _ = house.maker.issue("somebody")
    shown = {"certificate_pem": pem(certificate).decode()}
    stranger = house.strangers.knock(NAME, "x509:somebody", "192.0.2.66:1", "DTLS", "Nobody's yet.", shown)
    with pytest.raises(DeviceError, match="there is a device of that name already") as refused:
        Acceptance.of(stranger, None).carry_out(house.vault, "ada")
    assert refused.value.kind == "conflict" and "endpoint_name" in refused.value.next_step
    device = house.vault.device(NAME)
    assert device is not None and len(device.credentials) == 1
    assert len(Acceptance.of(stranger, NAME).carry_out(house.vault, "ada").credentials) == 2


@pytest.mark.parametrize("first", ["the device", "the forger"])
def test_what_a_forger_shows_under_a_name_is_not_accepted_as_what_the_device_showed(
    house: House, first: str
) -> None:
    genuine = house.issue()
    certificate, key = Authority("forger").issue(NAME)
    forged = der(certificate), key

    def device() -> Any:
        session = house.by_certificate(genuine, 5000)
        house.tell()
        return session

    def forger() -> None:
        with pytest.raises(AssertionError):
            house.by_certificate(forged, 6666)
        house.tell()

    if first == "the forger":
        forger()
    session = device()
    for _ in range(2):
        forger()
        with pytest.raises(Refused):
            house.admission.register(NAME, Source(session, "DTLS", session.identity))
        forger()
    (known,) = [one for one in house.strangers if one.endpoint_name == NAME]
    assert "trusted by its issuer" in known.reason
    made = Acceptance.of(known, None).carry_out(house.vault, "ada").credentials[0]
    assert made.public["sha256"] == sha256(genuine[0]).hexdigest()
