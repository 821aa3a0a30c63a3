"""The DTLS server by the sections it implements, driven by a client that shares no code with it."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.southbound.dtls import gnutls
from appliance.southbound.dtls.gnutls import LibraryTooOld, check_library
from appliance.southbound.dtls.half_open import PATIENCE_S
from appliance.southbound.dtls.server import DtlsServer, Ended, Established, Moved
from appliance.southbound.dtls.suspicion import Suspicious
from appliance.southbound.dtls.trust import ServerKeys
from appliance.southbound.settings import CoapsSettings
from appliance.southbound.udp import UdpPeer
from tests.southbound.dtls.authority import Authority, authority, der, server_keys, spki
from tests.southbound.dtls.client import (
    DATA,
    ECDSA_CCM,
    ECDSA_CCM_8,
    ECDSA_GCM,
    PSK_CCM,
    PSK_CCM_8,
    PSK_GCM,
    Client,
)
from tests.southbound.dtls.net import HOME, KEY, NAME, Net, at

# RFC 4279, RFC 6655, RFC 5487: pre-shared keys


@pytest.mark.parametrize("suite", [PSK_CCM_8, PSK_CCM, PSK_GCM])
@pytest.mark.parametrize("cid", [None, b"", b"theirs"])
@pytest.mark.parametrize("extended", [True, False])
def test_a_psk_handshake_and_data_both_ways(suite: int, cid: bytes | None, extended: bool) -> None:
    net = Net()
    client, session = net.connect(suites=(suite,), cid=cid, extended=extended)
    assert net.events == [Established(session)]
    assert session.identity == "psk:meter-1"
    assert session.cid == (client.server_cid if cid is not None else None)
    assert not session.resumed
    net.exchange(client, session)


def test_identities_are_bytes_and_keys_have_up_to_64() -> None:
    net = Net()
    identity, key = b"\xff\x00\x01 id" * 8, bytes(range(64))
    net.trust.keys[identity] = key
    client, session = net.connect(Client(identity, key))
    net.exchange(client, session)


def test_a_long_identity_is_one_too() -> None:
    net = Net()
    identity = b"a name that somebody made of everything he knew, " * 20
    net.trust.keys[identity] = KEY
    client, session = net.connect(Client(identity, KEY))
    net.exchange(client, session)


def test_the_wrong_key_gives_a_sentence_and_no_session() -> None:
    net = Net()
    for cid in (None, b""):
        client = Client(NAME, b"another key", cid=cid)
        client.hello()
        net.deliver(client)
        net.wait(3, client)
        assert not client.done
        assert net.sentences == [
            "psk:meter-1 could not prove its key: most likely the device has another key than the one "
            "kept here."
        ]
        net.wait(60)
        assert len(net.events) == 1
        net.events.clear()
        assert net.server.table_sizes()["half_open"] == 0


def test_an_unknown_identity_is_told_to_the_operator_and_not_to_the_stranger() -> None:
    net = Net()
    known, unknown = Client(NAME, b"wrong"), Client(b"nobody", KEY)
    heard = []
    for client in (known, unknown):
        client.hello()
        net.deliver(client)
        net.wait(60, client)
        heard.append(len(client.numbers_seen))
    assert net.sentences[1] == "Nobody here is called psk:nobody."
    assert known.alerts == unknown.alerts == []
    assert heard[0] == heard[1]


def test_a_revoked_identity_does_not_come_in() -> None:
    net = Net()
    net.trust.revoked.add("psk:meter-1")
    client = Client(NAME, KEY)
    client.hello()
    net.deliver(client)
    assert not client.done
    assert net.sentences == ["psk:meter-1 was revoked."]


def test_a_keyring_that_breaks_refuses() -> None:
    class Broken:
        def psk(self, identity: bytes) -> object:
            raise OSError("the disk is gone")

        psk_key = raw_public_key = certificate = psk

    net = Net(server_keys(), Broken())
    certificate, key = authority().issue("meter-2")
    for client in (
        Client(NAME, KEY),
        Client(suites=(ECDSA_CCM_8,), chain=(der(certificate),), private_key=key),
        Client(suites=(ECDSA_CCM_8,), chain=(spki(key),), private_key=key, raw=True),
    ):
        client.hello()
        net.deliver(client)
        assert not client.done
    assert net.sentences == [
        "The device's credential could not be checked; see the log.",
        "The device's certificate could not be checked; see the log.",
        "The device's credential could not be checked; see the log.",
    ]


def test_a_stranger_who_falls_silent_is_told_too() -> None:
    net = Net()
    client = Client(NAME, KEY)
    client.hello()
    net.lost = lambda direction, data: direction == "up" and data[13] == 16
    net.deliver(client)
    net.wait(60)
    assert net.sentences == [
        "The device began a handshake and fell silent; maybe our answers do not reach it, or it gave up."
    ]


def test_no_suite_in_common() -> None:
    net = Net()
    client = Client(NAME, KEY, suites=(0xC02C,))
    client.hello()
    net.deliver(client)
    assert net.sentences == ["The device and this server have no cipher suite in common."]
    assert client.alerts == [(2, 40)]


# RFC 8422, RFC 7251, RFC 7250: certificates and raw public keys


@pytest.mark.parametrize("suite", [ECDSA_CCM_8, ECDSA_CCM, ECDSA_GCM])
@pytest.mark.parametrize("cid", [None, b"theirs"])
def test_certificates_both_ways(suite: int, cid: bytes | None) -> None:
    net = Net(server_keys())
    net.trust.certificates = authority().verdict
    certificate, key = authority().issue("meter-2")
    client, session = net.connect(
        suites=(suite,), chain=(der(certificate),), private_key=key, cid=cid, wants_ticket=True
    )
    assert session.identity == "x509:meter-2"
    assert session.suite.startswith("TLS_ECDHE_ECDSA_WITH_AES_128_")
    assert client.server_chain[1] == der(authority().certificate)
    net.exchange(client, session)
    again, session = net.connect(suites=(suite,), ticket=client.new_ticket, cid=cid)
    assert again.resuming
    assert session.resumed
    assert session.identity == "x509:meter-2"
    net.exchange(again, session)


def test_raw_public_keys_both_ways() -> None:
    net = Net(server_keys())
    key = ec.generate_private_key(ec.SECP256R1())
    net.trust.public[spki(key)] = "meter-3"
    client, session = net.connect(suites=(ECDSA_CCM_8,), chain=(spki(key),), private_key=key, raw=True)
    assert session.identity.startswith("rpk:")
    net.exchange(client, session)


@pytest.mark.parametrize(
    ("trouble", "sentence", "alert"),
    [
        (
            "expired",
            "The certificate of CN=meter-2 expired on 2026-11-13; give the device a new one.",
            45,
        ),
        ("foreign", "The certificate of CN=meter-2 is signed by an authority nobody here trusts.", 48),
        ("revoked", "x509:meter-2 was revoked.", 44),
    ],
)
def test_a_certificate_that_is_not_good_is_told_before_the_handshake_ends(
    trouble: str, sentence: str, alert: int
) -> None:
    net = Net(server_keys())
    net.trust.certificates = authority().verdict
    issuer = Authority("Elsewhere") if trouble == "foreign" else authority()
    certificate, key = issuer.issue("meter-2", days=-10 if trouble == "expired" else 10)
    if trouble == "revoked":
        net.trust.revoked.add("x509:meter-2")
    client = Client(suites=(ECDSA_CCM_8,), chain=(der(certificate),), private_key=key)
    client.hello()
    net.deliver(client)
    assert not client.done
    assert client.alerts == [(2, alert)]
    assert net.sentences == [sentence]
    assert net.server.table_sizes()["half_open"] == 0


def test_a_raw_public_key_that_nobody_knows() -> None:
    net = Net(server_keys())
    key = ec.generate_private_key(ec.SECP256R1())
    client = Client(suites=(ECDSA_CCM_8,), chain=(spki(key),), private_key=key, raw=True)
    client.hello()
    net.deliver(client)
    assert not client.done
    assert client.alerts == [(2, 46)]
    assert net.sentences[0].startswith("Nobody here has the key rpk:")


def test_a_certificate_without_its_key_proves_nothing() -> None:
    net = Net(server_keys())
    net.trust.certificates = authority().verdict
    certificate, _ = authority().issue("meter-2")
    thief = ec.generate_private_key(ec.SECP256R1())
    client = Client(suites=(ECDSA_CCM_8,), chain=(der(certificate),), private_key=thief)
    client.hello()
    net.deliver(client)
    assert not client.done
    assert net.sentences == ["The device could not prove that it owns the key of its certificate."]


def test_who_has_no_certificate_does_not_come_in() -> None:
    net = Net(server_keys())
    client = Client(suites=(ECDSA_CCM_8,))
    client.hello()
    net.deliver(client)
    assert not client.done
    assert net.sentences == ["The device sent no certificate, and no pre-shared key either."]


def test_a_server_without_a_certificate_says_so() -> None:
    net = Net()
    client = Client(suites=(ECDSA_CCM_8,))
    client.hello()
    net.deliver(client)
    assert net.sentences == [
        "The device wants certificates or raw public keys, and this server has no key of its own yet."
    ]


def test_keys_that_are_none_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"."):
        DtlsServer(CoapsSettings(), Net().trust, ServerKeys(b"no certificate", b"no key"))
    assert "SECRET" not in repr(ServerKeys(b"", b"SECRET"))


# RFC 5077: tickets


def test_a_ticket_saves_the_handshake_and_not_the_question() -> None:
    net = Net()
    client, _ = net.connect(wants_ticket=True)
    again, session = net.connect(ticket=client.new_ticket)
    assert again.resuming
    assert session.resumed
    net.exchange(again, session)
    net.trust.revoked.add("psk:meter-1")
    late = Client(NAME, KEY, ticket=client.new_ticket)
    late.hello()
    net.deliver(late)
    assert late.alerts == [(2, 44)]
    assert net.sentences == ["psk:meter-1 was revoked."]


def test_renewed_secrets_open_no_ticket_of_before() -> None:
    net = Net()
    client, _ = net.connect(wants_ticket=True)
    net.server.renew_secrets()
    again, session = net.connect(ticket=client.new_ticket)
    assert not again.resuming
    assert not session.resumed


# RFC 6347 §4.2.4: loss


@pytest.mark.parametrize("cid", [None, b"theirs"])
def test_a_finished_that_is_repeated_is_answered_with_new_numbers(cid: bytes | None) -> None:
    net = Net()
    client = Client(NAME, KEY, cid=cid, wants_ticket=True)
    client.hello()
    lost: list[bytes] = []

    def lose_the_last_flight(direction: str, data: bytes) -> bool:
        if direction == "down" and data[13] == 4 and not lost:
            lost.append(data)
            return True
        return False

    net.lost = lose_the_last_flight
    net.deliver(client)
    assert lost
    assert not client.done
    session = net.events[-1].session
    client.receive(lost[0][:5] + b"\0\0\0\0\0\x7f" + lost[0][11:25])  # half of it comes late and broken
    client.retransmit()
    net.deliver(client)
    assert client.done
    assert len(set(client.numbers_seen)) == len(client.numbers_seen)
    net.exchange(client, session)
    # It has our last flight, so nothing is kept to be sent again.
    client.retransmit()
    net.deliver(client)
    assert session.recent is None


@pytest.mark.parametrize("mode", ["psk", "certificates", "ticket"])
def test_a_fifth_of_all_datagrams_is_lost_each_way(mode: str) -> None:
    rng = random.Random(mode)
    net = Net(server_keys())
    net.trust.certificates = authority().verdict
    certificate, key = authority().issue("meter-2")
    ticket = net.connect(wants_ticket=True)[0].new_ticket
    net.lost = lambda direction, data: rng.random() < 0.2
    for number in range(30):
        if mode == "certificates":
            client = Client(
                suites=(ECDSA_CCM_8,), chain=(der(certificate),), private_key=key, cid=b"", mtu=600
            )
        else:
            client = Client(NAME, KEY, ticket=ticket if mode == "ticket" else None)
        home = at(6000 + number)
        client.hello()
        net.deliver(client, home)
        for _ in range(20):
            if client.done and net.server.table_sizes()["half_open"] == 0:
                break
            net.wait(1, client, home)
            if not client.done:
                client.retransmit()
            net.deliver(client, home)
        assert client.done
    assert len(net.of(Established)) == 31


def test_a_flight_fits_into_the_datagrams_it_may_fill() -> None:
    sizes = []
    net = Net(server_keys(), mtu_bytes=400)
    net.trust.certificates = authority().verdict
    net.lost = lambda direction, data: bool(direction == "down" and sizes.append(len(data)))
    certificate, key = authority().issue("meter-2")
    client, session = net.connect(suites=(ECDSA_CCM_8,), chain=(der(certificate),), private_key=key, cid=b"x")
    assert max(sizes) <= 400
    assert len(sizes) < 10
    net.exchange(client, session)


def test_a_repeated_hello_is_answered_with_the_same_flight_and_not_too_often() -> None:
    net = Net()
    client = Client(NAME, KEY)
    client.hello()
    net.raw(client.take()[0])
    client.receive(net.server.take_datagrams()[0][0])
    hello = client.take()[0]
    net.raw(hello)
    assert len(net.server.take_datagrams()) == 1
    for _ in range(10):
        net.raw(hello)
    assert net.server.take_datagrams() == []
    net.now += 0.5
    for _ in range(10):
        net.raw(hello)
    assert len(net.server.take_datagrams()) == 1
    assert net.server.table_sizes()["half_open"] == 1


def test_a_late_copy_of_the_hello_begins_nothing() -> None:
    net = Net()
    net.connect()
    hello = [data for data in net.up if data[13] == 1][-1]
    net.raw(hello)
    assert net.server.take_datagrams() == []
    net.wait(100)
    assert net.server.table_sizes()["half_open"] == 0
    assert net.sentences == []


def test_a_message_that_claims_to_be_huge_is_no_message() -> None:
    net = Net()
    client = Client(NAME, KEY)
    client.hello()
    for _ in range(2):
        net.raw(client.take()[0])
        for data, _ in net.server.take_datagrams():
            if data[13] == 3:
                client.receive(data)
            else:
                flight = data
    for size, offset, part in ((0xFFFFFF, 0, 4), (100, 90, 20), (100, 0, 30)):
        message = bytes((16,)) + size.to_bytes(3, "big") + b"\0\2"
        message += offset.to_bytes(3, "big") + part.to_bytes(3, "big") + bytes(min(part, 20))
        net.raw(client.record(22, 0, message))
    client.receive(flight)
    net.deliver(client)
    assert client.done


# RFC 6347 §4.2.1: cookies


def hello_with_cookie(net: Net, client: Client | None = None) -> bytes:
    client = client or Client(NAME, KEY)
    client.hello()
    net.raw(client.take()[0])
    client.receive(net.server.take_datagrams()[0][0])
    return client.take()[0]


def test_a_cookie_is_for_one_address_and_one_hello() -> None:
    net = Net()
    hello = hello_with_cookie(net)
    for elsewhere in (at(5001), at(5000, "192.0.2.8"), at(5000, "2001:db8::1")):
        net.raw(hello, elsewhere)
        answer = net.server.take_datagrams()
        assert len(answer) == 1
        assert answer[0][0][13] == 3  # HelloVerifyRequest
        assert len(answer[0][0]) < len(hello)
    other = bytearray(hello)
    other[30] ^= 1  # another random
    net.raw(bytes(other))
    assert net.server.take_datagrams()[0][0][13] == 3
    assert net.server.table_sizes()["half_open"] == 0
    assert net.server.counts["cookies refused"] == 4


def test_a_cookie_is_taken_for_two_minutes_at_most() -> None:
    net = Net()
    hello = hello_with_cookie(net)
    net.now += 61
    net.raw(hello)
    assert net.server.take_datagrams()[0][0][13] == 2  # ServerHello
    net.wait(61)
    assert {data[13] for data, _ in net.server.take_datagrams()} == {2}  # repeated, then given up
    assert net.server.table_sizes()["half_open"] == 0
    net.raw(hello)
    assert net.server.take_datagrams()[0][0][13] == 3
    net.now += 3600
    net.raw(hello)
    assert net.server.take_datagrams()[0][0][13] == 3


def test_fifty_thousand_spoofed_hellos_leave_nothing() -> None:
    net = Net()
    client = Client(NAME, KEY)
    client.hello()
    hello = client.take()[0]
    before = net.server.table_sizes()
    sent = 0
    for number in range(50_000):
        net.server.receive(hello, at(number, f"198.51.{number >> 8}.{number & 255}"), net.now)
        if number % 100 == 99:
            sent += sum(len(data) for data, _ in net.server.take_datagrams())
    assert sent < 50_000 * len(hello)
    assert net.server.table_sizes() == before
    assert net.server.next_timer() is None


def test_many_hellos_in_one_datagram_get_one_answer() -> None:
    net = Net()
    client = Client(NAME, KEY)
    client.hello()
    net.raw(client.take()[0] * 10)
    assert len(net.server.take_datagrams()) == 1


# Limits


def begun(net: Net, address: UdpPeer) -> Client:
    """A client that has sent its cookie, and nothing since."""
    client = Client(NAME, KEY)
    client.hello()
    for _ in range(2):
        net.raw(client.take()[0], address)
        for data, _ in net.server.take_datagrams():
            if data[13] == 3:
                client.receive(data)
    return client


def test_an_address_has_so_many_handshakes_at_a_time() -> None:
    net = Net(max_half_open_per_address=4, max_half_open=16)
    for host in ("192.0.2.7", "2001:db8::7"):
        for number in range(10):
            begun(net, at(5000 + number, host))
            net.now += 0.5
    assert net.server.table_sizes()["half_open"] == 8
    net.connect(address=at(7000, "192.0.2.99"))
    for number in range(20):  # one IPv6 host has a whole /64
        begun(net, at(5000, f"2001:db8::{number}"))
        net.now += 0.5
    assert net.server.table_sizes()["half_open"] == 4 + 16 // 2
    net.wait(60)
    sizes = net.server.table_sizes()
    assert sizes["half_open"] == sizes["half_open_addresses"] == 0


@pytest.mark.parametrize("honest", ["2001:db8::1", "192.0.2.1"])
def test_a_host_that_fills_the_table_pushes_itself_out_and_not_its_neighbour(honest: str) -> None:
    net = Net(max_half_open_per_address=8, max_half_open=16)
    client = Client(NAME, KEY)
    client.hello()
    net.raw(client.take()[0], at(5000, honest))
    client.receive(net.server.take_datagrams()[0][0])
    net.raw(client.take()[0], at(5000, honest))
    answers = net.server.take_datagrams()
    for number in range(100):
        begun(net, at(6000 + number, "2001:db8::bad"))
        begun(net, at(6000 + number, f"192.0.2.{200 + number % 4}"))
        net.now += 0.2
    for data, _ in answers:
        client.receive(data)
    net.deliver(client, at(5000, honest))
    assert client.done


def test_who_begins_handshakes_and_ends_none_is_put_off_within_the_second() -> None:
    net = Net(max_half_open_per_address=8)
    for number in range(50):
        begun(net, at(5000 + number))
        net.raw(b"\x15\xfe\xfd" + (2).to_bytes(8, "big") + b"\0\2\2\x28", at(5000 + number))  # gives up
        assert net.server.table_sizes()["half_open"] == 0
    assert net.server.counts["handshakes put off"] == 42
    (told,) = net.of(Suspicious)
    assert "the first from 192.0.2.7:5008" in told.sentence and not told.identity
    net.connect(address=at(5000, "192.0.2.8"))
    net.now += 1
    net.connect(address=at(6000))


def test_devices_behind_one_address_do_not_push_each_other_out() -> None:
    net = Net(max_half_open_per_address=2)
    client = Client(NAME, KEY)
    client.hello()
    net.raw(client.take()[0])
    client.receive(net.server.take_datagrams()[0][0])
    net.raw(client.take()[0])
    on_the_way = net.server.take_datagrams()  # over a slow radio
    for number in range(8):
        begun(net, at(6000 + number))
        net.now += 0.5
    for data, _ in on_the_way:
        client.receive(data)
    net.deliver(client)
    assert client.done
    net.now += PATIENCE_S
    net.connect(address=at(7000))


def test_whoever_ends_its_handshakes_may_begin_as_many_as_it_likes() -> None:
    net = Net(max_half_open_per_address=2)
    for number in range(20):
        net.connect(address=at(5000 + number))
    assert net.server.counts["handshakes"] == 20


def test_a_full_table_lets_the_newest_in() -> None:
    net = Net(max_half_open=8)
    for number in range(50):
        begun(net, at(5000, f"192.0.2.{number}"))
    assert net.server.table_sizes()["half_open"] == 8
    client, session = net.connect()
    net.exchange(client, session)


def test_the_session_that_was_silent_longest_goes() -> None:
    net = Net(max_sessions=3)
    made = []
    for number in range(3):
        net.trust.keys[b"%d" % number] = KEY
        made.append(net.connect(Client(b"%d" % number, KEY), at(6000 + number)))
        net.now += 1
    net.exchange(*made[0], at(6000))
    net.connect()
    assert net.of(Ended) == [
        Ended(made[1][1], "there are too many sessions, and it was silent longest"),
    ]
    assert made[1][1].closed
    with pytest.raises(ConnectionError, match="gone"):
        net.server.send(b"x", made[1][1], net.now)
    net.exchange(*made[0], at(6000))


def test_one_identity_has_so_many_sessions() -> None:
    net = Net()
    made = []
    for number in range(6):
        made.append(net.connect(address=at(6000 + number))[1])
        net.now += 1
    assert [event.session for event in net.of(Ended)] == made[:2]
    assert list(net.server.sessions()) == made[2:]


def test_a_session_that_is_silent_for_days_is_forgotten() -> None:
    net = Net(session_days=1)
    client, session = net.connect()
    net.wait(86_000)
    net.exchange(client, session)
    net.wait(86_000)
    assert not session.closed
    net.wait(2000)
    assert session.closed
    assert net.of(Ended)[0].reason == "nothing was heard in it for 1 days"
    assert not any(net.server.table_sizes().values())


# A new hello on a live address; the end


def test_a_hello_from_a_live_address_is_pending_until_it_is_done() -> None:
    net = Net()
    client, session = net.connect()
    spoof = Client(NAME, b"wrong")
    spoof.hello()
    net.deliver(spoof)
    net.exchange(client, session)
    net.wait(60, client)
    assert not session.closed
    net.exchange(client, session)
    again, new = net.connect()
    assert net.events[-2:] == [
        Ended(session, "a new handshake from its address replaced it"),
        Established(new),
    ]
    net.exchange(again, new)


def test_another_device_behind_the_same_address_later() -> None:
    net = Net()
    _, before = net.connect()
    net.trust.keys[b"other"] = KEY
    client, session = net.connect(Client(b"other", KEY))
    assert before.closed
    net.exchange(client, session)


def test_close_notify_is_answered_and_ends_the_session() -> None:
    net = Net()
    client, session = net.connect()
    client.close()
    net.deliver(client)
    assert client.alerts == [(1, 0)]
    assert net.events[-1] == Ended(session, "the device closed it")
    with pytest.raises(ConnectionError):
        net.server.send(b"x", session, net.now)


def test_dropping_a_session_tells_the_device() -> None:
    net = Net()
    client, session = net.connect(cid=b"x")
    net.server.drop(session, "it was revoked")
    net.deliver(client)
    assert client.alerts == [(1, 0)]
    assert net.events[-1] == Ended(session, "it was revoked")
    net.server.drop(session, "again")
    client.send(b"too late")
    assert net.deliver(client) == []
    sizes = net.server.table_sizes()
    assert not any(sizes[name] for name in ("sessions", "by_cid", "by_identity", "warm"))


def test_an_alert_that_nobody_sealed_ends_nothing() -> None:
    net = Net()
    client, session = net.connect()
    net.raw(bytes.fromhex("15fefd0000000000000009000201 00"))
    net.raw(bytes.fromhex("15fefd00000000000000090002022a"))
    net.raw(bytes.fromhex("15fefd000100000000000900020100"))
    net.exchange(client, session)


def test_renegotiation_is_refused() -> None:
    net = Net()
    client, session = net.connect()
    client.outgoing.append(client.record(22, 1, b"\1" + bytes(60)))
    net.deliver(client)
    assert client.alerts == [(1, 100)]
    net.exchange(client, session)


# RFC 6347 §4.1.2.6: replay


@pytest.mark.parametrize("cid", [None, b""])
def test_a_record_counts_once(cid: bytes | None) -> None:
    net = Net()
    client, session = net.connect(cid=cid)
    client.send(b"one")
    record = client.take()[0]
    assert net.raw(record) == [(b"one", session)]
    assert net.raw(record) == []
    assert net.raw(record, at(5005)) == []
    assert session.address == HOME
    assert net.server.counts["replayed"] == (1 if cid is None else 2)


def test_records_that_overtake_each_other_are_taken() -> None:
    net = Net()
    client, session = net.connect()
    for number in range(64):
        client.send(b"%d" % number)
    records = client.take()
    assert [data for record in records[::-1] for data, _ in net.raw(record)] == [
        b"%d" % number for number in range(63, -1, -1)
    ]
    client.numbers[1] += 100
    client.send(b"far ahead")
    assert net.raw(client.take()[0]) == [(b"far ahead", session)]
    for record in records:
        assert net.raw(record) == []


# RFC 9146 §6: the address follows an authenticated newer record


def test_the_address_follows_the_newest_record() -> None:
    net = Net()
    client, session = net.connect(cid=b"")
    client.send(b"old")
    old = client.take()[0]
    client.send(b"new")
    assert net.raw(client.take()[0], at(6000, "203.0.113.9")) == [(b"new", session)]
    assert net.of(Moved) == [Moved(session)]
    assert session.address == at(6000, "203.0.113.9")
    assert str(session) == "203.0.113.9:6000"
    net.server.send(b"answer", session, net.now)
    assert net.server.take_datagrams()[0][1] == at(6000, "203.0.113.9")
    # An older one that was kept back by somebody changes nothing, though it counts.
    assert net.raw(old, at(6666)) == [(b"old", session)]
    assert session.address == at(6000, "203.0.113.9")
    assert len(net.of(Moved)) == 1


def test_a_forged_record_with_the_right_connection_id_moves_nothing() -> None:
    net = Net()
    client, session = net.connect(cid=b"")
    client.send(b"real")
    real = client.take()[0]
    for forged in (
        real[:-1] + bytes((real[-1] ^ 1,)),
        real[:10] + b"\xff" + real[11:],
        real[:17] + b"\0\0",
        real[:17] + b"\0\x20" + bytes(32),
    ):
        assert net.raw(forged, at(6666)) == []
    assert session.address == HOME
    assert net.raw(real[:11] + b"\0" * 6 + real[17:], at(6666)) == []
    net.exchange(client, session)
    assert net.server.counts["unreadable"] == 4


def test_without_a_connection_id_another_address_is_nobody() -> None:
    net = Net()
    client, session = net.connect()
    client.send(b"moved")
    assert net.raw(client.take()[0], at(5001)) == []
    net.exchange(client, session)


def test_two_sessions_with_connection_ids_share_an_address() -> None:
    net = Net()
    net.trust.keys[b"other"] = KEY
    one = net.connect(cid=b"")
    other = net.connect(Client(b"other", KEY, cid=b""))
    net.exchange(*other)
    net.exchange(*one)


def test_connection_ids_may_be_switched_off() -> None:
    net = Net(connection_id=False)
    client, session = net.connect(cid=b"theirs")
    assert session.cid is None
    assert client.server_cid == b""
    net.exchange(client, session)


# The session as a value


def test_a_session_has_a_name_and_no_secrets() -> None:
    net = Net()
    _, session = net.connect()
    assert session.to_json() == f'["dtls",{session.id}]'
    assert 0 <= session.id < 1 << 48
    assert net.server.session(session.id) is session
    assert len({session, session}) == 1
    assert session._keys.hex() not in repr(session)


# The library


def status(tmp_path: object, version: str, package: str) -> object:
    path = tmp_path / "status"  # type: ignore[operator]
    path.write_text(
        f"Package: other\nStatus: install ok installed\nVersion: 1\n\n"
        f"Package: {package}\nStatus: install ok installed\nVersion: {version}\n"
    )
    return path


@pytest.mark.parametrize(
    ("package", "version", "good"),
    [
        ("libgnutls30", "3.7.9-2+deb12u7", True),
        ("libgnutls30", "3.7.9-2+deb12u7+rpt1", True),
        ("libgnutls30", "3.7.9-2+deb12u10", True),
        ("libgnutls30", "3.7.9-3", True),
        ("libgnutls30", "3.7.9-2+deb12u6", False),
        ("libgnutls30", "3.7.9-2", False),
        ("libgnutls30", "3.7.9-2+deb12u7~bpo11", False),
        ("libgnutls30t64", "3.8.9-3+deb13u4", True),
        ("libgnutls30t64", "3.8.9-3+deb13u3", False),
        ("libgnutls30t64", "3.8.10-1", True),
    ],
)
def test_the_library_must_have_its_fixes(
    tmp_path: object, package: str, version: str, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = version.partition("-")[0]
    library = SimpleNamespace(check_version=lambda _least: upstream.encode())
    monkeypatch.setattr(gnutls, "_library", lambda: library)
    path = status(tmp_path, version, package)
    if good:
        assert check_library(path) == f"GnuTLS {upstream} ({package} {version})"  # type: ignore[arg-type]
    else:
        with pytest.raises(LibraryTooOld, match=f"apt-get install --only-upgrade {package}$"):
            check_library(path)  # type: ignore[arg-type]


def test_data_in_the_datagram_of_the_finished_is_not_lost() -> None:
    net = Net()
    client = Client(NAME, KEY, wants_ticket=True)
    client, _ = net.connect(client)
    again = Client(NAME, KEY, ticket=client.new_ticket)
    again.hello()
    net.raw(again.take()[0])
    again.receive(net.server.take_datagrams()[0][0])
    net.raw(again.take()[0])
    again.receive(net.server.take_datagrams()[0][0])
    last = again.take()[0] + again.record(DATA, 1, b"at once")
    assert [data for data, _ in net.raw(last)] == [b"at once"]
