"""What looks like somebody's doing is told to the operator, what networks do by themselves is not."""

from __future__ import annotations

import pytest

from appliance.southbound.dtls.suspicion import MANY_HELLOS, MANY_RECORDS, MAX_WATCHED, Suspicious
from tests.southbound.dtls.client import Client
from tests.southbound.dtls.net import HOME, KEY, NAME, Net, at

ELSEWHERE = at(6666, "203.0.113.9")


def told(net: Net) -> list[Suspicious]:
    found = [event for event in net.events if isinstance(event, Suspicious)]
    net.events.clear()
    return found


def flipped(record: bytes) -> bytes:
    return record[:-1] + bytes((record[-1] ^ 1,))


def test_a_record_that_is_said_again_from_elsewhere_is_told_once_a_minute() -> None:
    net = Net()
    client, session = net.connect(cid=b"")
    client.send(b"one")
    (record,) = client.take()
    net.raw(record)
    for _ in range(3):
        net.raw(record, ELSEWHERE)
    assert told(net) == [
        Suspicious(
            ELSEWHERE,
            "psk:meter-1",
            "A record of psk:meter-1 was said again from 203.0.113.9:6666, while the device is at "
            "192.0.2.7:5000: it was dropped. Somebody on the way may have recorded it; find out who is "
            "at that address.",
        )
    ]
    net.now += 61
    net.raw(record, ELSEWHERE)
    net.raw(record, ELSEWHERE)
    assert len(told(net)) == 1
    net.exchange(client, session)


def test_a_spoofed_connection_id_is_told() -> None:
    net = Net()
    client, session = net.connect(cid=b"")
    client.send(b"one")
    (record,) = client.take()
    net.raw(flipped(record), ELSEWHERE)
    (event,) = told(net)
    assert event == Suspicious(
        ELSEWHERE,
        "psk:meter-1",
        "A record from 203.0.113.9:6666 has the Connection ID of psk:meter-1, but not the seal of its "
        "key: it was dropped, and the device stays at 192.0.2.7:5000. Somebody on the way may have seen "
        "the ID; find out who is at that address.",
    )
    assert net.raw(record) == [(b"one", session)]
    net.raw(flipped(record), ELSEWHERE)  # an old number, and so it might be a copy: but it is none
    assert told(net) == []


def test_a_forged_record_with_an_old_number_is_no_copy() -> None:
    net = Net()
    client, _ = net.connect(cid=b"")
    client.send(b"one")
    (record,) = client.take()
    net.raw(record)
    net.raw(flipped(record), ELSEWHERE)
    (event,) = told(net)
    assert "not the seal of its key" in event.sentence


@pytest.mark.parametrize("cid", [None, b""])
def test_a_network_that_delivers_twice_now_and_then_is_none_of_the_operators_business(
    cid: bytes | None,
) -> None:
    net = Net()
    client, _ = net.connect(cid=cid)
    for minute in range(3):
        for number in range(MANY_RECORDS - 1):
            client.send(b"%d" % number)
            (record,) = client.take()
            for _ in range(2):
                net.raw(record)
        assert told(net) == [], minute
        net.now += 61


@pytest.mark.parametrize("cid", [None, b""])
def test_many_copies_within_a_minute_are_told_as_what_they_may_be(cid: bytes | None) -> None:
    net = Net()
    client, _ = net.connect(cid=cid)
    client.send(b"one")
    (record,) = client.take()
    for _ in range(100):
        net.raw(record)
    (event,) = told(net)
    assert event.sentence == (
        "8 records of psk:meter-1 were said again within a minute: they were dropped. A network that "
        "delivers twice does so too; if it goes on, look who else is on the way to the device."
    )


def test_many_forged_records_from_the_devices_own_address_are_told() -> None:
    net = Net()
    client, session = net.connect()
    client.send(b"one")
    (record,) = client.take()
    for _ in range(MANY_RECORDS):
        net.raw(flipped(record))
    (event,) = told(net)
    assert event.sentence == (
        "8 records without the seal of its key came within a minute from where psk:meter-1 is: they were "
        "dropped. Somebody may forge them; if the device itself has fallen silent, restart it."
    )
    assert net.raw(record) == [(b"one", session)]


@pytest.mark.parametrize("cid", [None, b""])
def test_a_device_that_often_begins_anew_is_not_suspicious(cid: bytes | None) -> None:
    """The Finished of a new handshake is not of the session that is at this address."""
    net = Net()
    for _ in range(2 * MANY_RECORDS):
        client, session = net.connect(cid=cid)
        net.exchange(client, session)
    assert told(net) == []


def bare_hello() -> bytes:
    client = Client(NAME, KEY)
    client.hello()
    return client.take()[0]


def with_cookie(net: Net) -> bytes:
    client = Client(NAME, KEY)
    client.hello()
    net.raw(client.take()[0])
    client.receive(net.server.take_datagrams()[0][0])
    return client.take()[0]


def test_a_cookie_that_is_said_again_from_elsewhere_is_told() -> None:
    net = Net()
    hello = with_cookie(net)
    for number in range(100):
        net.raw(hello, at(number, "203.0.113.9"))
    assert told(net) == [
        Suspicious(
            at(MANY_HELLOS - 1, "203.0.113.9"),
            "",
            "3 hellos came within a minute with a cookie that was made for another address, the last from "
            "203.0.113.9:2: no handshake began. Somebody may say recorded hellos again; a router that gives "
            "a device another port each time does so too.",
        )
    ]
    assert net.server.table_sizes()["half_open"] == 0


def test_a_cookie_that_is_too_old_or_made_up_or_of_another_hello_is_not_said_again() -> None:
    net = Net()
    hello = with_cookie(net)
    other = hello[:27] + bytes((hello[27] ^ 1,)) + hello[28:]  # in its random
    made_up = hello[:61] + bytes(20) + hello[81:]  # the cookie itself
    for _ in range(10):
        net.raw(other, ELSEWHERE)
        net.raw(made_up, ELSEWHERE)
    assert net.server.counts["cookies refused"] == 20
    net.now += 121
    net.raw(bare_hello(), ELSEWHERE)  # turns the secret
    for _ in range(10):
        net.raw(hello, HOME)
    assert net.server.counts["cookies refused"] == 30
    assert told(net) == []


def test_what_is_kept_has_a_bound_and_goes() -> None:
    net = Net(max_sessions=MAX_WATCHED + 50)
    records = []
    for number in range(MAX_WATCHED + 50):
        net.trust.keys[b"%d" % number] = KEY
        client, _ = net.connect(Client(b"%d" % number, KEY, cid=b""))
        client.send(b"one")
        records.append(client.take()[0])
    net.events.clear()
    for record in records:
        net.raw(flipped(record), ELSEWHERE)
    assert len(told(net)) == MAX_WATCHED
    assert net.server.table_sizes()["suspicions"] == MAX_WATCHED
    net.wait(700)
    assert net.server.table_sizes()["suspicions"] == 0
