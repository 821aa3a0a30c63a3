"""DTLS sessions on disk: what is taken up again after a restart, what is not, and what a full disk costs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.devices.session_store import SessionStore
from appliance.southbound.dtls.server import Established, Moved
from appliance.southbound.dtls.session import SENT_BLOCK, SENT_LEAP, DtlsSession
from appliance.southbound.udp import UdpPeer
from appliance.storage.database import Database
from appliance.storage.errors import StorageFull
from appliance.storage.settings import StorageSettings
from appliance.vault.sealing import SealingKey
from tests.southbound.dtls.client import Client
from tests.southbound.dtls.net import HOME, KEY, Net, at

SEALING_KEY = SealingKey(bytes(range(32)))
ROWS = "SELECT s.id FROM dtls_session s UNION SELECT m.id FROM dtls_mark m"


class Gateway:
    """A DTLS server whose sessions are stored in a database, and which restarts."""

    def __init__(self, state: Path, trust: Any = None, **settings: Any) -> None:
        self.path = state / "homard.sqlite"
        self.database = Database(self.path, StorageSettings(**settings))
        self.database.open(None)
        self.net = Net(trust=trust)
        self.store = SessionStore(self.database, SEALING_KEY, self.net.server)

    def connect(self, address: UdpPeer = HOME) -> tuple[Client, DtlsSession]:
        client, session = self.net.connect(None, address, cid=b"")
        self.store.established(session)
        self.database.flush()
        return client, session

    def restarted(
        self, opens: Callable[[DtlsSession], bool] = lambda session: True, *, change: str = ""
    ) -> tuple[Gateway, int]:
        """The next process on the same disk, changed meanwhile, and how many sessions it took up."""
        self.database.close()
        if change:
            self.execute(change)
        after = Gateway(self.path.parent, self.net.trust)
        return after, after.store.load(opens, after.net.now)

    def execute(self, *statements: str) -> list[Any]:
        """What somebody else does to the file."""
        other = sqlite3.connect(self.path)
        try:
            for statement in statements:
                found = other.execute(statement).fetchall()
            other.commit()
        finally:
            other.close()
        return found

    def marks(self) -> list[tuple[int, int, int]]:
        rows = self.database.read("SELECT newest, seen, sent_below FROM dtls_mark ORDER BY id")
        return [(newest, seen + (1 << 63), sent_below) for newest, seen, sent_below in rows]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.database.close()


def test_a_session_goes_on_and_no_record_counts_again(gateway: Gateway) -> None:
    client, session = gateway.connect()
    gateway.net.exchange(client, session)
    heard = gateway.net.up[-1]
    reserved = session.sent_below
    after, taken = gateway.restarted()
    assert taken == 1
    (again,) = after.net.server.sessions()
    assert (again.id, again.identity, again.address) == (session.id, "psk:meter-1", HOME)
    assert after.net.raw(heard) == []
    # Its new numbers are on disk before anything is sent with them.
    assert again.next_number >= reserved + SENT_LEAP
    assert after.marks() == [(again.newest, again.seen, again.next_number + SENT_BLOCK)]
    after.net.exchange(client, again)
    after.database.close()


def test_a_mark_keeps_all_64_bits_of_the_window(gateway: Gateway) -> None:
    client, session = gateway.connect()
    for number in range(70):
        client.send(b"%d" % number)
        if number != 68:
            gateway.net.deliver(client)
    client.take()
    gateway.database.flush()
    assert session.seen.bit_length() == 63
    assert gateway.marks() == [(session.newest, session.seen, session.sent_below)]


def test_a_session_is_taken_up_again_at_its_last_address(gateway: Gateway) -> None:
    client, session = gateway.connect()
    gateway.net.exchange(client, session, at(6000))
    (moved,) = gateway.net.of(Moved)
    gateway.store.moved(moved.session)
    after, _ = gateway.restarted()
    (again,) = after.net.server.sessions()
    assert again.address == at(6000)
    after.database.close()


def test_what_has_ended_is_forgotten(gateway: Gateway) -> None:
    _, session = gateway.connect()
    gateway.store.ended(session.id)
    gateway.database.flush()
    assert gateway.database.read(ROWS) == []
    after, taken = gateway.restarted()
    assert taken == 0
    after.database.close()


def test_a_revoked_identity_is_not_taken_up_again_and_its_device_is_told(gateway: Gateway) -> None:
    client, _ = gateway.connect()
    after, taken = gateway.restarted(lambda session: session.identity != "psk:meter-1")
    assert taken == 0
    assert list(after.net.server.sessions()) == []
    after.net.deliver(client)
    assert client.alerts == [(1, 0)]
    assert after.database.read(ROWS) == []
    after.database.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE dtls_session SET sealed = zeroblob(100)",
        "UPDATE dtls_session SET sealed = 'a text'",
        "UPDATE dtls_session SET sealed = x''",
        "UPDATE dtls_session SET id = 7",
        "UPDATE dtls_mark SET newest = 'many'",
        "UPDATE dtls_mark SET seen = 1.5",
        "UPDATE dtls_mark SET sent_below = -1",
        "UPDATE dtls_mark SET sent_below = x'00'",
        "DELETE FROM dtls_mark",
        "DELETE FROM dtls_session",
    ],
)
def test_a_damaged_row_costs_a_handshake_and_is_forgotten(gateway: Gateway, change: str) -> None:
    gateway.connect()
    after, taken = gateway.restarted(change=change)
    assert taken == 0
    assert list(after.net.server.sessions()) == []
    assert after.database.read(ROWS) == []
    after.connect()
    after.database.close()


def test_a_session_sealed_with_another_key_is_not_taken_up(gateway: Gateway) -> None:
    gateway.connect()
    gateway.database.close()
    after = Gateway(gateway.path.parent)
    store = SessionStore(after.database, SealingKey(bytes(32)), after.net.server)
    assert store.load(lambda session: True, after.net.now) == 0
    assert after.database.read(ROWS) == []
    after.database.close()


def test_more_sessions_than_rows_may_wait_are_all_taken_up(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.devices.session_store._RESTORED_AT_ONCE", 4)
    for number in range(11):
        gateway.net.trust.keys[b"%d" % number] = KEY
        gateway.net.connect(Client(b"%d" % number, KEY, cid=b""))
    for event in gateway.net.of(Established):
        gateway.store.established(event.session)
    gateway.database.close()
    after = Gateway(gateway.path.parent, gateway.net.trust, max_queued_rows=6)
    assert after.store.load(lambda session: True, after.net.now) == 11
    after.database.close()


def test_when_no_row_is_taken_nothing_is_handed_up_and_nothing_raised(tmp_path: Path) -> None:
    """The disk hangs, and the rows that wait for it are as many as may."""
    gateway = Gateway(tmp_path, max_queued_rows=10)
    client, session = gateway.connect()
    for _ in range(5):
        gateway.store.ended(0)  # two rows
    client.send(b"data")
    assert gateway.net.deliver(client) == []
    with pytest.raises(StorageFull):
        gateway.store.marked(session)
    gateway.store.ended(session.id + 1)
    gateway.store.established(session)
    session.skip_to(session.sent_below)
    with pytest.raises(ConnectionError):
        gateway.net.server.send(b"data", session, gateway.net.now)
    gateway.database.flush()  # and goes on
    gateway.net.exchange(client, session)
    gateway.database.flush()
    assert gateway.marks() == [(session.newest, session.seen, session.sent_below)]
    gateway.database.close()


def test_a_mark_that_the_disk_refused_is_stored_as_soon_as_it_takes_rows_again(gateway: Gateway) -> None:
    client, session = gateway.connect()
    _, gone = gateway.connect(at(5001))
    before = gateway.marks()
    gateway.execute(
        "CREATE TRIGGER full BEFORE INSERT ON dtls_mark BEGIN SELECT RAISE(FAIL, 'disk full'); END"
    )
    gateway.net.exchange(client, session)
    gateway.store.marked(gone)
    gateway.net.server.drop(gone, "for a test")
    gateway.database.flush()
    assert gateway.marks() == before
    gateway.execute("DROP TRIGGER full")
    gateway.store.ended(gone.id)  # any row will do
    gateway.database.flush()  # this one is taken
    gateway.database.flush()  # and then the mark is
    assert gateway.marks() == [(session.newest, session.seen, session.sent_below)]
    heard = gateway.net.up[-1]
    after, taken = gateway.restarted()
    assert taken == 1
    assert after.net.raw(heard) == []
    after.database.close()
