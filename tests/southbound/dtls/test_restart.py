"""Sessions outlive the server, and neither a nonce nor a record counts twice for that."""

from __future__ import annotations

import pytest

from appliance.southbound.dtls.records import MAX_NUMBER
from appliance.southbound.dtls.server import Ended
from appliance.southbound.dtls.session import SENT_BLOCK, SENT_LEAP, DtlsSession
from tests.southbound.dtls.client import Client
from tests.southbound.dtls.net import HOME, KEY, Net, at


class Disk:
    """What is kept of sessions: their bytes once, their marks as they were written last."""

    def __init__(self, net: Net) -> None:
        self.saved: dict[int, bytes] = {}
        self.marks: dict[int, tuple[int, int, int]] = {}
        self.writes = 0
        self.attach(net)

    def attach(self, net: Net) -> None:
        self.net = net
        net.server.marks = self.mark

    def mark(self, session: DtlsSession) -> None:
        self.marks[session.id] = (session.newest, session.seen, session.sent_below)
        self.writes += 1

    def keep(self, session: DtlsSession) -> None:
        self.saved[session.id] = self.net.server.save(session)
        self.mark(session)

    def restart(self, **settings: object) -> Net:
        """The process dies here and now, and another begins."""
        net = Net(trust=self.net.trust, **settings)
        self.attach(net)
        for number, saved in self.saved.items():
            net.server.restore(saved, *self.marks[number], net.now)
        return net


def restarted(cid: bytes | None) -> tuple[Client, DtlsSession, Net, Disk, bytes]:
    net = Net()
    disk = Disk(net)
    client, session = net.connect(cid=cid)
    disk.keep(session)
    net.exchange(client, session)
    replay = next(data for data in reversed(net.up) if data[0] in (23, 25))
    net = disk.restart()
    (again,) = net.server.sessions()
    assert again.id == session.id
    return client, again, net, disk, replay


@pytest.mark.parametrize("cid", [None, b"", b"theirs"])
def test_a_session_goes_on_after_a_restart(cid: bytes | None) -> None:
    client, session, net, _, _ = restarted(cid)
    assert session.identity == "psk:meter-1"
    assert session.address == HOME
    assert net.server.session(session.id) is session
    net.exchange(client, session)
    if cid is not None:
        net.exchange(client, session, at(6000))


@pytest.mark.parametrize("cid", [None, b""])
def test_a_record_of_before_the_restart_is_refused(cid: bytes | None) -> None:
    client, session, net, _, replay = restarted(cid)
    assert net.raw(replay) == []
    assert net.raw(replay, at(6666)) == []
    assert session.address == HOME
    net.exchange(client, session)
    assert net.raw(replay) == []


def test_no_number_is_used_twice_wherever_the_process_dies() -> None:
    net = Net()
    disk = Disk(net)
    _, session = net.connect()
    disk.keep(session)
    used: set[int] = set()
    for turn in range(8):
        for _ in range(SENT_BLOCK + 100 if turn == 3 else 3):
            net.server.send(b"x", session, net.now)
            assert session.next_number <= session.sent_below == disk.marks[session.id][2]
        for data, _ in net.server.take_datagrams():
            number = int.from_bytes(data[5:11], "big")
            assert data[3:5] == b"\0\1"
            assert number not in used
            assert data[13:21] == data[3:11]  # the explicit nonce is the number
            used.add(number)
        net = disk.restart()
        (session,) = net.server.sessions()
        assert session.next_number > max(used) + SENT_LEAP


def test_no_number_is_used_twice_even_when_nothing_reached_the_disk() -> None:
    net = Net()
    disk = Disk(net)
    _, session = net.connect()
    disk.keep(session)
    marks = dict(disk.marks)
    begun = set()
    for _ in range(20):
        disk.marks = dict(marks)
        (session,) = disk.restart().server.sessions()
        begun.add(session.next_number)
    assert len(begun) == 20
    assert min(begun) > marks[session.id][2] + SENT_LEAP


def test_marks_are_made_before_data_is_handed_up_and_per_block_of_sending() -> None:
    net = Net()
    disk = Disk(net)
    client, session = net.connect()
    disk.keep(session)
    assert disk.writes == 1
    client.send(b"data")
    record = client.take()[0]
    net.server.receive(record, HOME, net.now)
    assert disk.writes == 2
    assert disk.marks[session.id] == (session.newest, session.seen, session.sent_below)
    for _ in range(SENT_BLOCK + 1):
        net.server.send(b"x", session, net.now)
    assert disk.writes == 3


def full(session: DtlsSession) -> None:
    raise OSError("no space left on device")


def test_what_cannot_be_marked_is_not_handed_up() -> None:
    net = Net()
    client, session = net.connect()
    net.server.marks = full
    for _ in range(3):
        client.send(b"data")
        assert net.deliver(client) == []
    net.server.marks = lambda session: None
    net.exchange(client, session)
    assert net.server.counts["not marked"] == 3


def test_nothing_is_sent_beyond_what_is_reserved_and_the_session_stays() -> None:
    net = Net()
    disk = Disk(net)
    client, session = net.connect(cid=b"")
    disk.keep(session)
    net.server.marks = full
    reserved = session.sent_below
    session.skip_to(reserved - 2)
    net.server.send(b"one", session, net.now)
    net.server.send(b"two", session, net.now)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="reserved"):
            net.server.send(b"three", session, net.now)
    client.outgoing.append(client.record(22, 1, b"\1" + bytes(60)))  # a hello, which would be answered
    net.deliver(client)
    assert client.alerts == []
    assert (session.next_number, session.sent_below) == (reserved, reserved)
    assert client.received == [b"one", b"two"]
    net.server.drop(session, "as nobody can be told, nobody is")
    assert session.closed and net.server.take_datagrams() == []
    disk.attach(net)
    assert disk.marks[session.id][2] == reserved


def test_a_session_whose_new_numbers_cannot_be_stored_is_not_taken_up_again() -> None:
    net = Net()
    disk = Disk(net)
    _, session = net.connect()
    disk.keep(session)
    net = Net()
    net.server.marks = full
    assert net.server.restore(disk.saved[session.id], *disk.marks[session.id], net.now) is None
    assert list(net.server.sessions()) == []
    net.server.take_events()
    assert not any(net.server.table_sizes().values())


def test_what_is_saved_holds_the_keys_and_what_is_not_a_session_is_left() -> None:
    net = Net()
    disk = Disk(net)
    _, session = net.connect()
    disk.keep(session)
    saved, marks = disk.saved[session.id], disk.marks[session.id]
    assert session._keys.hex().encode() in saved
    assert KEY not in saved
    fresh = Net().server
    for broken in (b"", b"{}", b"[]", saved[:-1], saved.replace(b"[2,", b"[9,", 1), b"\xff", b"[1" * 50):
        assert fresh.restore(broken, *marks, 0.0) is None
    for wrong in ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (1 << 60, 0, 0), (0, 1 << 70, 0), (0, 0, MAX_NUMBER)):
        assert fresh.restore(saved, *wrong, 0.0) is None
    assert not any(fresh.table_sizes().values())
    assert fresh.restore(saved, *marks, 0.0) is not None
    assert fresh.restore(saved, *marks, 0.0) is None


def test_a_session_whose_numbers_are_used_up_ends() -> None:
    net = Net()
    client, session = net.connect()
    session.start_at(MAX_NUMBER - SENT_BLOCK)
    session.sent_below = session.next_number
    with pytest.raises(ConnectionError, match="numbers"):
        net.server.send(b"x", session, net.now)
    net.deliver(client)
    assert net.of(Ended)[0].reason == "it has used up its record numbers"


def test_a_restart_forgives_absence() -> None:
    _, session, net, _, _ = restarted(None)
    net.wait(29 * 86400)
    assert not session.closed
    net.wait(2 * 86400)
    assert session.closed
