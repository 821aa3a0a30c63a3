"""Strangers on connections: no bytes raise, none end another connection, none make us grow."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.coap import message as m
from appliance.coap.blockwise import Block, encode_block
from appliance.coap.endpoint import NotificationReceived, RequestReceived, ResponseReceived
from appliance.coap.frames import FrameError, encode_frame, split_frame
from appliance.coap.message import encode_options
from appliance.coap.options import BLOCK1, BLOCK2, OBSERVE, path_options
from appliance.coap.stream import StreamEndpoint

MAX_MESSAGE_BYTES = 4096
HELLO = bytes.fromhex("00e1")
CAPS = {
    "connections": 41,
    "buffered_bytes": 41 * 2 * MAX_MESSAGE_BYTES,
    "confirmable": 8192,
    "unconfirmed": 0,
    "answer_bytes": 3000 * 12,  # until the next request comes
    "message_ids": 2 * 16384,
    "reassemblies": 41 * 4,
    "reassembly_bytes": 41_000,
    "served": 256,
    "served_bytes": 4 * 1024 * 1024,
    "unanswered": 16384,
    "separate": 1024,
    "lines": 41,
    "requests": 200,
    "tokens": 200,
    "in_flight": 232,
    "collections": 24,
    "timers": 1200,
    "observations": 500,  # only what we have asked of connections that stand
}


def seeds() -> list[bytes]:
    path = encode_options(path_options("/rd"))
    made = [
        HELLO,
        bytes.fromhex("30e1220480"),
        bytes.fromhex("40e122048020"),
        bytes.fromhex("02e2beef"),
        bytes.fromhex("02e3beef"),
        bytes.fromhex("60e5ff62796521"),
        b"\0\0",
        encode_frame(m.POST, b"tk", path + b"\xff</3/0>"),
        encode_frame(m.GET, b"tk", path),
        encode_frame(m.PUT, b"", path + b"\xff" + b"x" * 300),
        encode_frame(m.GET, b"b2", encode_options([*path_options("/f"), (BLOCK2, b"\x16")])),
        b"\xf0\xff\xff\xff\xff",
        b"\x09",
    ]
    for number in range(4):
        block = (BLOCK1, encode_block(Block(number, number < 3, 0)))
        made.append(
            encode_frame(m.POST, b"b", encode_options([*path_options("/rd"), block]) + b"\xff" + b"y" * 16)
        )
    return made


def mutate(data: bytes, rng: random.Random) -> bytes:
    mutable = bytearray(data)
    if rng.random() < 0.3:
        mutable[rng.randrange(len(mutable))] = rng.randrange(256)
    if rng.random() < 0.1:
        return bytes(mutable[: rng.randrange(len(mutable) + 1)])
    return bytes(mutable)


def test_fuzz_receive_never_raises_and_never_grows() -> None:
    """10^5 pieces of streams on forty connections that come and go, and one that must stay whole."""
    rng = random.Random(8323)
    corpus = seeds()
    endpoint = StreamEndpoint(
        rng=random.Random(1),
        random_bytes=random.Random(2).randbytes,  # the same tokens in every run
        max_message_bytes=MAX_MESSAGE_BYTES,
        max_half_open=20,
        max_queue=4,
        max_body_bytes=20_000,
        max_reassembly_bytes=40_000,
    )
    now = 0.0
    outcomes: dict[str, int] = {}
    largest: dict[str, int] = {}
    opened = 0
    peers: list[str] = []
    asked: dict[str, bytes] = {}  # the newest request of ours to a connection, its token
    watched: dict[str, bytes] = {}  # its newest observation
    endpoint.opened("good", now)
    endpoint.receive(HELLO, "good", now)
    good = 0
    for turn in range(100_000):
        now += 0.01
        if len(peers) < 40:
            opened += 1
            peers.append(f"stranger {opened}")
            endpoint.opened(peers[-1], now)
            if rng.random() < 0.8:
                endpoint.receive(HELLO, peers[-1], now)
        peer = rng.choice(peers)
        choice = rng.random()
        if choice < 0.02:
            data = rng.randbytes(rng.randrange(48))
        elif choice < 0.15 and watched:
            peer = rng.choice(list(watched))
            data = encode_frame(0x45, watched[peer], encode_options([(OBSERVE, b"\x07")]) + b"\xff1")
        elif choice < 0.3 and peer in asked:
            # It answers a request of ours, or notifies.
            code = rng.choice((0x45, 0x44, 0x5F, 0x84, 0x88, 0x8D, rng.randrange(256)))
            rest = rng.choice(
                (
                    b"",
                    b"\xff20.5",
                    encode_options([(OBSERVE, b"\x05")]) + b"\xff20.5",
                    encode_options([(BLOCK1, rng.randbytes(1))]),
                    encode_options([(OBSERVE, b"\x06"), (BLOCK2, b"\x08")]) + b"\xff" + b"x" * 16,
                )
            )
            token = watched[peer] if peer in watched and rng.random() < 0.5 else asked[peer]
            data = encode_frame(code, token, mutate(rest, rng) if rest else rest)
        else:
            data = mutate(rng.choice(corpus), rng)
        events = endpoint.receive(data, peer, now)
        if turn % 50 == 0:  # the good one is heard whatever the others do
            events += endpoint.receive(encode_frame(m.GET, b"ok", b""), "good", now)
        if turn % 10 == 0 and endpoint.is_open(peer) and endpoint.open_requests(peer) < 4:
            code, body = rng.choice(((m.GET, b""), (m.PUT, b"u" * 3000), (m.FETCH, b"f" * 40)))
            options = path_options("/3303")
            observe = rng.random() < 0.3
            endpoint.send_request(
                peer, code, options, body, now=now, deadline=now + 3, key=turn, observe=observe
            )
        events += endpoint.handle_timer(now)
        for event in events:
            name = type(event).__name__
            outcomes[name] = outcomes.get(name, 0) + 1
            if isinstance(event, RequestReceived):
                good += event.peer == "good"
                if rng.random() < 0.9:
                    endpoint.respond(event, m.CONTENT, b"z" * rng.choice((0, 5, 3000)), now=now)
            elif isinstance(event, ResponseReceived):
                if event.observing:
                    watched[event.peer] = event.token
            elif isinstance(event, NotificationReceived):
                if rng.random() < 0.8:
                    endpoint.accept_notification(event, now)
                    if not event.final and rng.random() < 0.05:
                        endpoint.end_observation(event.token, now)
                else:
                    endpoint.refuse_notification(event, now, reset=rng.random() < 0.5)
        for frame, receiver in endpoint.take_outgoing(now):
            found = split_frame(frame, 0, 1 << 20)
            assert found is not None and found[3] == len(frame)
            if 0 < frame[found[0]] < 0x20:
                asked[receiver] = frame[found[1] : found[2]]
        for receiver in endpoint.take_closing():
            endpoint.closed(receiver, now)
            peers.remove(receiver)
            asked.pop(receiver, None)
            watched.pop(receiver, None)
        if turn % 100 == 0:
            for table, size in endpoint.table_sizes().items():
                largest[table] = max(size, largest.get(table, 0))
    assert good == 2000
    assert opened > 1000, "they are aborted all the time"
    for table, size in largest.items():
        assert size <= CAPS[table], (table, size)
    assert set(outcomes) == {
        "RequestReceived",
        "ResponseReceived",
        "RequestFailed",
        "NotificationReceived",
    }
    assert min(outcomes.values()) > 100, outcomes
    # Left alone, all of it goes away.
    for peer in [*peers, "good"]:
        endpoint.closed(peer, now)
    until = now + 1000
    while (due := endpoint.next_timer()) is not None and due < until:
        now = max(now, due)
        endpoint.handle_timer(now)
        endpoint.take_outgoing(now)
    sizes = endpoint.table_sizes()
    assert not any(size for table, size in sizes.items() if table != "message_ids"), sizes


def test_fuzz_frames_are_split_or_refused() -> None:
    """10^5 beginnings: a frame within the bytes, None, or FrameError."""
    rng = random.Random(32)
    outcomes = {"frame": 0, "more": 0, "error": 0}
    for _ in range(100_000):
        data = bytes((rng.randrange(256),)) + rng.randbytes(rng.randrange(30))
        try:
            found = split_frame(data, 0, 300)
        except FrameError:
            outcomes["error"] += 1
            continue
        if found is None:
            outcomes["more"] += 1
            continue
        code, token, rest, end = found
        assert 0 < code < token <= rest <= end <= len(data)
        again = encode_frame(data[code], data[token:rest], data[rest:end])
        assert split_frame(again, 0, 300) is not None
        outcomes["frame"] += 1
    assert min(outcomes.values()) > 1000, outcomes


@given(st.lists(st.binary(max_size=60), max_size=12), st.integers(1, 60))
@settings(max_examples=300)
def test_how_the_bytes_are_cut_makes_no_difference(pieces: list[bytes], step: int) -> None:
    """The same stream, whole and in small pieces: the same events, the same bytes back."""

    def run(chunks: list[bytes]) -> tuple[list[str], bytes]:
        endpoint = StreamEndpoint(rng=random.Random(1))
        endpoint.opened("peer", 0.0)
        events: list[str] = []
        for chunk in chunks:
            events += [type(event).__name__ for event in endpoint.receive(chunk, "peer", 0.0)]
        return events, b"".join(data for data, _ in endpoint.take_outgoing(0.0))

    stream = HELLO + b"".join(pieces)
    assert run([stream]) == run([stream[at : at + step] for at in range(0, len(stream), step)])
