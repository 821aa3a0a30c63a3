"""Strangers: no datagram raises, and none makes an endpoint grow beyond its caps."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.coap import message as m
from appliance.coap.blockwise import Block, encode_block
from appliance.coap.endpoint import Endpoint, NotificationReceived, RequestReceived
from appliance.coap.message import Message, encode
from appliance.coap.options import BLOCK1, BLOCK2, ETAG, OBSERVE, path_options

CAPS = {
    "confirmable": 200,
    "unconfirmed": 50,
    "answer_bytes": 22_000,
    "message_ids": 2 * 64 + 1,
    "reassemblies": 16,
    "reassembly_bytes": 41_000,
    "served": 256,
    "served_bytes": 20_000,
    "unanswered": 16384,
    "separate": 32,
    "lines": 8,
    "requests": 200,
    "tokens": 200,
    "in_flight": 232,
    "collections": 4,
    "observations": 4,
    "timers": 1200,
}


def endpoint_under_fire() -> Endpoint:
    return Endpoint(
        rng=random.Random(5),
        max_duplicates=200,
        max_duplicate_bytes=20_000,
        max_peers=64,
        max_queue=16,
        max_body_bytes=20_000,
        max_reassembly_bytes=40_000,
        max_reassemblies=16,
        max_served_bytes=20_000,
        max_separate=32,
    )


def seeds() -> list[bytes]:
    token = b"observed"
    path = path_options("/rd")
    made = [
        Message(m.CON, m.POST, 1, b"tk", [*path, (12, b"\x28"), (15, b"ep=a"), (15, b"lt=60")], b"</3/0>"),
        Message(m.NON, m.GET, 2, b"tk", [*path, (17, b"\x2d\x16")]),
        Message(m.CON, m.GET, 3, b"tk", [*path, (BLOCK2, encode_block(Block(1, False, 2)))]),
        Message(m.CON, m.GET, 3, b"tk", [*path, (BLOCK2, b"")]),
        Message(m.CON, m.CONTENT, 5, token, [(OBSERVE, b"\x05"), (12, b"\x2d\x16")], b"\xc8\x00\x01\x21"),
        Message(
            m.CON,
            m.CONTENT,
            6,
            token,
            [(ETAG, b"v"), (OBSERVE, b"\x07"), (BLOCK2, encode_block(Block(0, True, 0)))],
            b"x" * 16,
        ),
        Message(m.ACK, m.CONTENT, 7, b"", [(BLOCK2, encode_block(Block(0, True, 0)))], b"x" * 16),
        Message(m.ACK, m.CONTINUE, 7, b"", [(BLOCK1, encode_block(Block(0, True, 0)))]),
        Message(m.ACK, 0, 7),
        Message(m.RST, 0, 7),
        Message(m.CON, 0, 7),
    ]
    for number in range(4):
        block = (BLOCK1, encode_block(Block(number, number < 3, 0)))
        made.append(Message(m.CON, m.POST, 20 + number, b"b", [*path, block], b"y" * 16))
    return [encode(message) for message in made]


def mutate(data: bytes, rng: random.Random) -> bytes:
    mutable = bytearray(data)
    for _ in range(rng.randrange(4) if mutable else 0):
        mutable[rng.randrange(len(mutable))] = rng.randrange(256)
    if rng.random() < 0.2:
        return bytes(mutable[: rng.randrange(len(mutable) + 1)])
    if rng.random() < 0.2:
        return bytes(mutable) + rng.randbytes(rng.randrange(20))
    return bytes(mutable)


def test_fuzz_receive_datagram_never_raises_and_never_grows() -> None:
    """10^5 datagrams, random, mutated, or made to match what the endpoint has under way."""
    rng = random.Random(4242)
    corpus = seeds()
    endpoint = endpoint_under_fire()
    options = path_options("/3303")
    endpoint.restore_observation(b"observed", "a", options=options)
    now = 0.0
    sent: list[bytes] = []
    outcomes: dict[str, int] = {}
    largest: dict[str, int] = {}
    for turn in range(100_000):
        now += 0.02
        choice = rng.random()
        peer: Any = rng.choice(("device", "other", f"stranger {rng.randrange(10_000)}"))
        if choice < 0.1:
            data = rng.randbytes(rng.randrange(48))
        elif choice < 0.4 and sent:
            # It answers a request of ours: right Message ID and token, everything else from the seeds.
            asked = rng.choice(sent)
            tail = rng.choice(corpus)[4:]
            first = 0x40 | rng.choice((0, 1, 2, 2, 2, 3)) << 4 | asked[0] & 15
            code = rng.choice((0, 0x45, 0x44, 0x5F, 0x84, 0x88, 0x8D, rng.randrange(256)))
            data = bytes((first, code)) + asked[2 : 4 + (asked[0] & 15)]
            data += mutate(b"\xff" + tail if rng.random() < 0.5 else tail, rng) if code else b""
            peer = "device"
        else:
            data = mutate(rng.choice(corpus), rng)
        for event in endpoint.receive_datagram(data, peer, now):
            name = type(event).__name__
            outcomes[name] = outcomes.get(name, 0) + 1
            if isinstance(event, RequestReceived):
                fate = rng.random()
                if fate < 0.2:
                    endpoint.acknowledge(event, now)
                if fate < 0.9:
                    endpoint.respond(event, m.CONTENT, b"z" * rng.choice((0, 5, 3000)), now=now)
            elif isinstance(event, NotificationReceived):
                if rng.random() < 0.5:
                    endpoint.accept_notification(event, now)
                    endpoint.restore_observation(b"observed", "a", options=options)
                else:
                    endpoint.refuse_notification(event, now, reset=rng.random() < 0.5)
        if turn % 20 == 0 and endpoint.open_requests("device") < 10:
            code, body = rng.choice(((m.GET, b""), (m.PUT, b"u" * 3000), (m.FETCH, b"f" * 40)))
            observe = rng.random() < 0.3
            endpoint.send_request(
                "device", code, options, body, now=now, deadline=now + 30, key=turn, observe=observe
            )
            while len(endpoint._client.observations) > 4:
                endpoint.end_observation(next(iter(endpoint._client.observations)), now)
            if not endpoint.is_observing(b"observed"):
                endpoint.restore_observation(b"observed", "a", options=options)
        for event in endpoint.handle_timer(now):
            name = type(event).__name__
            outcomes[name] = outcomes.get(name, 0) + 1
        sent = [
            data for data, peer in endpoint.take_datagrams() if peer == "device" and len(data) > 4
        ] or sent
        if turn % 100 == 0:
            for table, size in endpoint.table_sizes().items():
                largest[table] = max(size, largest.get(table, 0))
    for table, size in largest.items():
        assert size <= CAPS[table] + (4 if table == "observations" else 0), (table, size)
    assert set(outcomes) == {
        "RequestReceived",
        "ResponseReceived",
        "RequestFailed",
        "NotificationReceived",
    }
    assert min(outcomes.values()) > 100, outcomes
    # Left alone, all of it goes away.
    endpoint.forget_peer("device", now)
    until = now + 1000
    while (due := endpoint.next_timer()) is not None and due < until:
        now = max(now, due)
        endpoint.handle_timer(now)
    sizes = endpoint.table_sizes()
    assert not any(size for table, size in sizes.items() if table not in ("message_ids", "observations")), (
        sizes
    )


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 2)), max_size=20))
@settings(max_examples=300)
def test_any_datagrams_from_anybody(datagrams: list[tuple[bytes, int]]) -> None:
    endpoint = endpoint_under_fire()
    for now, (data, peer) in enumerate(datagrams):
        endpoint.receive_datagram(data, peer, float(now))
        endpoint.handle_timer(float(now))
    assert all(len(data) >= 4 for data, _ in endpoint.take_datagrams())
