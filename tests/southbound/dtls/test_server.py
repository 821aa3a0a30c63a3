"""The DTLS server by the sections it implements, driven by a client that shares no code with it."""

from __future__ import annotations

import pytest

from appliance.southbound.dtls.server import Established
from tests.southbound.dtls.client import PSK_CCM, PSK_CCM_8, PSK_GCM, Client
from tests.southbound.dtls.net import KEY, NAME, Net

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


def test_the_wrong_key_gives_a_sentence_and_no_session() -> None:
    net = Net()
    client = Client(NAME, b"another key")
    client.hello()
    net.deliver(client)
    net.wait(3)
    assert not client.done
    assert net.sentences == [
        "psk:meter-1 could not prove its key: most likely the device has another key than the one kept here."
    ]
    net.wait(60)
    assert len(net.events) == 1
    assert net.server.table_sizes()["half_open"] == 0


def test_an_unknown_identity_is_told_to_the_operator_and_not_to_the_stranger() -> None:
    net = Net()
    known, unknown = Client(NAME, b"wrong"), Client(b"nobody", KEY)
    for client in (known, unknown):
        client.hello()
        net.deliver(client)
        net.wait(60, client)
    assert net.sentences[1] == "Nobody here is called psk:nobody."
    assert known.alerts == unknown.alerts == []
