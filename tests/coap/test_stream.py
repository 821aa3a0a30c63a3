"""RFC 8323: frames, CSM and the other signals, requests both ways, large bodies, what ends a connection."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.coap import message as m
from appliance.coap.blockwise import BERT, Block, BlockFormatError, decode_block, encode_block
from appliance.coap.endpoint import (
    Event,
    NotificationReceived,
    QueueFull,
    RequestFailed,
    RequestReceived,
    ResponseReceived,
)
from appliance.coap.events import BODY_TOO_LARGE, CANCELLED, DEADLINE
from appliance.coap.frames import FrameError, encode_frame, split_frame
from appliance.coap.message import Message, decode, encode_options
from appliance.coap.options import BLOCK1, BLOCK2, OBSERVE, SIZE1, Option, find, path_options
from appliance.coap.stream import CONNECTION_LOST, StreamEndpoint

PEER = "connection 1"
OUR_CSM = "50e12301000020"  # Max-Message-Size 65536, Block-Wise-Transfer
CSM, PING, PONG, RELEASE, ABORT = "00e1", "02e2beef", "02e3beef", "00e4", "00e5"


def frames(data: bytes) -> Iterator[Message]:
    """What stands in the bytes of a connection, as messages without a Message ID."""
    start = 0
    while start < len(data):
        found = split_frame(data, start, 1 << 20)
        assert found is not None, data[start:].hex()
        code, token, rest, end = found
        head = bytes((0x40 | rest - token, data[code])) + b"\0\0"
        if data[code] < 0xE0:
            yield decode(head + data[token:end])
        else:
            signal = decode(b"\x40\x01\0\0" + data[rest:end])
            yield Message(0, data[code], 0, data[token:rest], signal.options, signal.payload)
        start = end


class Stage:
    """``says`` brings bytes of a connection to the endpoint, ``hears`` gives what it wrote to it."""

    def __init__(self, **settings: Any) -> None:
        self.taps: list[tuple[bool, Any, str]] = []
        settings.setdefault(
            "tap", lambda incoming, peer, data: self.taps.append((incoming, peer, data.hex()))
        )
        self.endpoint = StreamEndpoint(rng=random.Random(1), **settings)
        self.now = 1000.0

    def opens(self, peer: Any = PEER, csm: str | bytes | None = CSM) -> None:
        self.endpoint.opened(peer, self.now)
        if csm is not None:
            assert self.says(csm, peer) == []
        assert self.hears(peer) == OUR_CSM

    def says(self, data: str | bytes, peer: Any = PEER) -> list[Event]:
        return self.endpoint.receive(bytes.fromhex(data) if isinstance(data, str) else data, peer, self.now)

    def hears(self, peer: Any = PEER) -> str:
        taken = self.endpoint.take_outgoing(self.now)
        return b"".join(data for data, receiver in taken if receiver == peer).hex()

    def heard(self, peer: Any = PEER) -> list[Message]:
        return list(frames(bytes.fromhex(self.hears(peer))))

    def answers(
        self, request: Message, code: int, options: list[Option] | None = None, payload: bytes = b""
    ) -> list[Event]:
        rest = encode_options(options or []) + (b"\xff" + payload if payload else b"")
        return self.says(encode_frame(code, request.token, rest))

    def asks(self, path: str = "/3/0", *, code: int = m.GET, payload: Any = b"", **how: Any) -> int:
        how.setdefault("deadline", self.now + 60)
        how.setdefault("key", path)
        options = [*path_options(path), *how.pop("options", ())]
        return self.endpoint.send_request(how.pop("peer", PEER), code, options, payload, now=self.now, **how)

    def wait(self, seconds: float) -> list[Event]:
        """Every timer on the way is served at its time."""
        events: list[Event] = []
        until = self.now + seconds
        while True:
            due = self.endpoint.next_timer()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            events += self.endpoint.handle_timer(self.now)
        self.now = until
        return events


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.opens()
    return made


def csm(max_bytes: int, blockwise: bool) -> bytes:
    options: list[Option] = [(2, max_bytes.to_bytes(4, "big").lstrip(b"\0"))]
    return encode_frame(0xE1, b"", encode_options(options + ([(4, b"")] if blockwise else [])))


def aborted(stage: Stage, peer: Any = PEER) -> str:
    """The connection was aborted and is to be closed; gives the diagnosis."""
    *_, abort = stage.heard(peer)
    assert abort.code == 0xE5
    assert stage.endpoint.take_closing() == [peer]
    assert not stage.endpoint.is_open(peer)
    return abort.payload.decode()


# 3.2 Frames.


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "0045"),
        (12, "c045"),
        (13, "d00045"),
        (268, "d0ff45"),
        (269, "e0000045"),
        (65804, "e0ffff45"),
        (65805, "f00000000045"),
    ],
)
def test_3_2_length_nibbles(length: int, head: str) -> None:
    frame = encode_frame(0x45, b"", b"x" * length)
    assert frame.hex().startswith(head) and len(frame) == len(head) // 2 + length
    assert split_frame(frame, 0, 1 << 20) == (
        len(head) // 2 - 1,
        len(head) // 2,
        len(head) // 2,
        len(frame),
    )
    assert all(split_frame(frame[:cut], 0, 1 << 20) is None for cut in (0, 1, len(frame) - 1))


def test_3_2_a_reserved_token_length_is_no_frame() -> None:
    with pytest.raises(FrameError, match="token"):
        split_frame(b"\x09", 0, 100)


def test_3_2_the_length_alone_refuses_what_is_too_long() -> None:
    with pytest.raises(FrameError, match="4295033106 bytes, at most 100"):
        split_frame(bytes.fromhex("f0ffffffff"), 0, 100)


def test_3_2_bytes_may_come_one_by_one_or_all_together(stage: Stage) -> None:
    request = encode_frame(m.GET, b"tk", encode_options(path_options("/rd")))
    events = [event for byte in request for event in stage.says(bytes((byte,)))]
    events += stage.says(request + bytes.fromhex(PING) + request)
    assert [type(event) for event in events] == [RequestReceived] * 3
    assert stage.hears() == PONG


def test_3_4_an_empty_message_is_ignored(stage: Stage) -> None:
    assert stage.says("0000") == [] and stage.hears() == ""
    assert stage.endpoint.is_open(PEER)


def test_3_one_connection_knows_nothing_of_another(stage: Stage) -> None:
    stage.opens("connection 2")
    half = encode_frame(m.GET, b"tk", encode_options(path_options("/rd")))
    assert stage.says(half[:3]) == []
    (event,) = stage.says(half, "connection 2")
    assert event.peer == "connection 2"
    stage.says("09", "connection 2")
    aborted(stage, "connection 2")
    (event,) = stage.says(half[3:])
    assert event.peer == PEER


# 5.3 CSM.


def test_5_3_our_csm_goes_out_before_theirs_has_come() -> None:
    Stage().opens(csm=None)


@pytest.mark.parametrize("first", ["0000", PING, PONG, "0001", "5001bb7264ff41"])
def test_5_3_the_first_message_must_be_a_csm(first: str) -> None:
    stage = Stage()
    stage.opens(csm=None)
    assert stage.says(first) == []
    assert "must be a CSM" in aborted(stage)
    assert stage.says(CSM) == []  # too late


def test_5_3_without_a_csm_in_time_the_connection_ends() -> None:
    stage = Stage(csm_timeout_s=10.0)
    stage.opens(csm=None)
    stage.wait(9)
    assert stage.hears() == "" and stage.endpoint.half_open() == 1
    stage.wait(4)
    assert "no CSM came" in aborted(stage)
    assert stage.endpoint.half_open() == 0
    assert stage.endpoint.next_timer() is None or stage.endpoint.connections == 0


def test_half_open_connections_are_bounded_and_the_oldest_goes() -> None:
    stage = Stage(max_half_open=2)
    stage.opens("spoke", CSM)
    for number in range(2):
        stage.opens(number, None)
    stage.endpoint.opened("new", stage.now)
    *_, abort = stage.heard(0)
    assert abort.code == 0xE5 and stage.endpoint.take_closing() == [0]
    assert stage.endpoint.half_open() == 2
    assert stage.endpoint.is_open("spoke")


def test_5_3_a_csm_may_come_again_and_changes_what_was_said(stage: Stage) -> None:
    stage.says(csm(70_000, False))
    stage.asks(code=m.PUT, payload=b"x" * 5000)
    (request,) = stage.heard()
    assert len(request.payload) == 5000 and find(request.options, BLOCK1) is None


def test_5_3_unknown_options_of_a_csm_critical_and_elective(stage: Stage) -> None:
    assert stage.says(encode_frame(0xE1, b"", encode_options([(6, b"\x01\x00"), (200, b"x")]))) == []
    assert stage.endpoint.is_open(PEER)
    stage.says(encode_frame(0xE1, b"", encode_options([(9, b"")])))
    *_, abort = stage.heard()
    assert abort.code == 0xE5 and abort.options == [(2, b"\x09")]  # Bad-CSM-Option
    assert stage.endpoint.take_closing() == [PEER]


@pytest.mark.parametrize("value", [b"", b"\x20", b"\0\0\0\x04\x80"])
def test_5_3_1_a_max_message_size_without_sense(stage: Stage, value: bytes) -> None:
    stage.says(encode_frame(0xE1, b"", encode_options([(2, value)])))
    assert "Max-Message-Size" in aborted(stage)


# 5.4 to 5.6 Ping, Pong, Release, Abort.


def test_5_4_a_ping_is_answered_with_its_token(stage: Stage) -> None:
    stage.says(PING)
    assert stage.hears() == PONG


def test_5_4_a_silent_connection_is_pinged_and_closed_when_it_stays_silent() -> None:
    stage = Stage(idle_s=100.0)
    stage.opens()
    stage.wait(110)
    assert stage.hears() == "00e2"
    stage.says("00e3")
    stage.wait(99)
    assert stage.hears() == "" and stage.endpoint.is_open(PEER)
    stage.wait(10)
    assert stage.hears() == "00e2"  # once, not at every look
    stage.wait(100)
    assert stage.hears() == ""
    assert stage.endpoint.take_closing() == [PEER]


@pytest.mark.parametrize("last", [RELEASE, ABORT, "60e5ff62796521", "40e4ff627965"])
def test_5_5_5_6_release_and_abort_end_the_connection(stage: Stage, last: str) -> None:
    stage.asks()
    stage.hears()
    stage.says(last + PING)
    assert stage.hears() == ""
    assert stage.endpoint.take_closing() == [PEER]
    (failed,) = stage.endpoint.closed(PEER, stage.now)
    assert isinstance(failed, RequestFailed) and failed.reason == CONNECTION_LOST


def test_5_an_unknown_signal_is_ignored(stage: Stage) -> None:
    assert stage.says("00fe") == [] and stage.endpoint.is_open(PEER)


@pytest.mark.parametrize("frame", ["1045f0", "10e1f0", "0023", "00c1", "2045c2ff"])
def test_5_6_what_cannot_be_read_aborts(stage: Stage, frame: str) -> None:
    assert stage.says(frame) == []
    assert "read" in aborted(stage)
    assert stage.endpoint.counts()["aborted"] == 1


def test_5_6_an_oversized_message_aborts_before_it_has_come() -> None:
    stage = Stage(max_message_bytes=2000)
    stage.endpoint.opened(PEER, stage.now)
    assert stage.says(CSM) == [] and stage.hears() == "40e12207d020"
    stage.says("e00800")
    assert "at most 2000" in aborted(stage)
    assert stage.endpoint.table_sizes()["buffered_bytes"] == 0


# Their requests.


def test_a_request_is_answered_once(stage: Stage) -> None:
    (event,) = stage.says(encode_frame(m.POST, b"tk", encode_options(path_options("/rd")) + b"\xff</1/0>"))
    assert isinstance(event, RequestReceived)
    assert (event.message.token, event.message.payload) == (b"tk", b"</1/0>")
    stage.endpoint.acknowledge(event, stage.now)
    assert stage.hears() == ""  # there is no acknowledgement (§3)
    stage.endpoint.respond(event, m.CREATED, b"", path_options("/rd"), now=stage.now)
    (answer,) = stage.heard()
    assert (answer.code, answer.token) == (m.CREATED, b"tk")
    with pytest.raises(RuntimeError):
        stage.endpoint.respond(event, m.CREATED, now=stage.now)


def test_an_answer_that_takes_its_time_is_sent_once_too(stage: Stage) -> None:
    (event,) = stage.says(encode_frame(m.POST, b"tk", b""))
    assert isinstance(event, RequestReceived)
    stage.wait(30)
    assert stage.hears() == ""
    stage.endpoint.respond(event, m.CHANGED, now=stage.now)
    assert stage.hears() == "0244746b"
    stage.wait(200)
    assert stage.hears() == ""
    assert stage.endpoint.table_sizes()["separate"] == 0


def test_an_answer_to_a_connection_that_is_gone_goes_nowhere(stage: Stage) -> None:
    (event,) = stage.says(encode_frame(m.POST, b"tk", b""))
    assert isinstance(event, RequestReceived)
    stage.endpoint.closed(PEER, stage.now)
    stage.endpoint.respond(event, m.CHANGED, now=stage.now)
    assert stage.hears() == ""


def test_the_same_request_again_is_another_one(stage: Stage) -> None:
    """A connection repeats nothing by itself, not even after as many messages as there are Message IDs."""
    frame = encode_frame(m.GET, b"tk", b"")
    for _ in range(70):
        for event in stage.says(frame * 1000):
            assert isinstance(event, RequestReceived)
            stage.endpoint.respond(event, m.CONTENT, b"x", now=stage.now)
        assert len(stage.heard()) == 1000
    assert stage.endpoint.counts()["duplicates"] == 0
    stage.says(frame)
    assert stage.endpoint.table_sizes()["answer_bytes"] == 0


def test_a_body_of_theirs_comes_in_blocks_or_whole(stage: Stage) -> None:
    body = random.Random(3).randbytes(2500)
    path = path_options("/dp")
    for number in range(3):
        block = Block(number, number < 2, 6)
        rest = encode_options([*path, (BLOCK1, encode_block(block))])
        events = stage.says(encode_frame(m.POST, b"t", rest + b"\xff" + body[block.offset :][:1024]))
        if block.more:
            (go_on,) = stage.heard()
            assert go_on.code == m.CONTINUE
    events += stage.says(encode_frame(m.POST, b"u", encode_options(path) + b"\xff" + body))
    assert [event.message.payload for event in events if isinstance(event, RequestReceived)] == [body] * 2


def test_6_bert_is_taken(stage: Stage) -> None:
    body = random.Random(6).randbytes(5000)
    events: list[Event] = []
    for number, end in ((0, 1024), (1, 4096), (4, 5000)):
        block = Block(number, end < 5000, BERT)
        rest = encode_options([*path_options("/dp"), (BLOCK1, encode_block(block))])
        events += stage.says(encode_frame(m.POST, b"t", rest + b"\xff" + body[number * 1024 : end]))
        if block.more:
            (answer,) = stage.heard()
            assert (answer.code, answer.options) == (m.CONTINUE, [(BLOCK1, encode_block(block))])
    (event,) = events
    assert isinstance(event, RequestReceived) and event.message.payload == body


@pytest.mark.parametrize("length", [0, 1000, 1025])
def test_6_bert_blocks_before_the_last_are_full(stage: Stage, length: int) -> None:
    rest = encode_options([*path_options("/dp"), (BLOCK1, encode_block(Block(0, True, BERT)))])
    payload = b"\xff" + b"x" * length if length else b""
    assert stage.says(encode_frame(m.POST, b"t", rest + payload)) == []
    (answer,) = stage.heard()
    assert answer.code == m.BAD_REQUEST


def test_6_an_answer_that_begins_with_bert_is_collected(stage: Stage) -> None:
    body = random.Random(8).randbytes(3000)
    stage.asks()
    (request,) = stage.heard()
    assert (
        stage.answers(request, m.CONTENT, [(BLOCK2, encode_block(Block(0, True, BERT)))], body[:2048]) == []
    )
    (request,) = stage.heard()
    assert find(request.options, BLOCK2) == encode_block(Block(2, False, 6))
    (event,) = stage.answers(request, m.CONTENT, [(BLOCK2, encode_block(Block(2, False, 6)))], body[2048:])
    assert isinstance(event, ResponseReceived) and event.message.payload == body


def test_a_long_answer_is_fetched_in_blocks(stage: Stage) -> None:
    body = random.Random(4).randbytes(2100)
    got = b""
    for number in range(3):
        options = path_options("/f/x") + ([(BLOCK2, encode_block(Block(number, False, 6)))] if number else [])
        for event in stage.says(encode_frame(m.GET, b"t", encode_options(options))):
            assert isinstance(event, RequestReceived)
            stage.endpoint.respond(event, m.CONTENT, memoryview(body), now=stage.now)
        (answer,) = stage.heard()
        got += answer.payload
    assert got == body


def test_5_3_1_an_answer_longer_than_the_peer_takes_says_what_to_do() -> None:
    stage = Stage()
    stage.opens(csm=csm(200, True))
    (event,) = stage.says(encode_frame(m.GET, b"t", encode_options(path_options("/f/x"))))
    assert isinstance(event, RequestReceived)
    stage.endpoint.respond(event, m.CONTENT, b"x" * 500, now=stage.now)
    (answer,) = stage.heard()
    assert answer.code == m.INTERNAL_SERVER_ERROR and b"smaller blocks" in answer.payload
    ask = encode_options([*path_options("/f/x"), (BLOCK2, encode_block(Block(0, False, 2)))])
    (event,) = stage.says(encode_frame(m.GET, b"t", ask))
    assert isinstance(event, RequestReceived)
    stage.endpoint.respond(event, m.CONTENT, b"x" * 500, now=stage.now)
    (answer,) = stage.heard()
    assert (answer.code, len(answer.payload)) == (m.CONTENT, 64)


# Our requests.


def test_a_request_and_its_answer(stage: Stage) -> None:
    asked = stage.asks()
    assert asked < 0  # the numbers of the other kind of endpoint are positive
    (request,) = stage.heard()
    assert (request.code, request.options) == (m.GET, path_options("/3/0"))
    stage.now += 0.25
    (event,) = stage.answers(request, m.CONTENT, [(12, b"\x2d\x16")], b"\xc8\x00\x01\x21")
    assert isinstance(event, ResponseReceived)
    assert (event.request_id, event.key, event.peer, event.rtt_s) == (asked, "/3/0", PEER, 0.25)
    assert event.message.payload == b"\xc8\x00\x01\x21"
    assert stage.hears() == ""


def test_nothing_is_said_twice_and_the_deadline_ends_it(stage: Stage) -> None:
    asked = stage.asks(deadline=stage.now + 90)
    assert len(stage.heard()) == 1
    (failed,) = stage.wait(100)
    assert stage.hears() == ""
    assert isinstance(failed, RequestFailed)
    assert (failed.request_id, failed.reason) == (asked, DEADLINE)


@pytest.mark.parametrize("peer", ["nobody", "half open"])
def test_no_request_without_a_connection_and_its_csm(stage: Stage, peer: str) -> None:
    stage.opens("half open", None)
    with pytest.raises(ConnectionError):
        stage.asks(peer=peer)


def test_what_was_asked_ends_with_the_connection_and_with_no_other(stage: Stage) -> None:
    stage.opens("connection 2")
    first, second = stage.asks(), stage.asks("/3/1")
    other = stage.asks(peer="connection 2")
    failed = stage.endpoint.closed(PEER, stage.now)
    assert [(event.request_id, event.reason) for event in failed if isinstance(event, RequestFailed)] == [
        (first, CONNECTION_LOST),
        (second, CONNECTION_LOST),
    ]
    assert stage.endpoint.closed(PEER, stage.now) == []
    (cancelled,) = stage.endpoint.cancel_request(other, stage.now)
    assert isinstance(cancelled, RequestFailed)
    assert (cancelled.request_id, cancelled.reason) == (other, CANCELLED)
    assert stage.endpoint.table_sizes()["requests"] == 0


def test_an_answer_over_another_connection_is_none(stage: Stage) -> None:
    stage.opens("connection 2")
    stage.asks()
    (request,) = stage.heard()
    assert stage.says(encode_frame(m.CONTENT, request.token, b""), "connection 2") == []
    assert stage.hears("connection 2") == ""  # no Reset either
    assert len(stage.answers(request, m.CONTENT)) == 1


def test_requests_that_are_open_are_bounded() -> None:
    stage = Stage(max_queue=3)
    stage.opens()
    for _ in range(3):
        stage.asks()
    with pytest.raises(QueueFull):
        stage.asks()
    assert stage.endpoint.open_requests(PEER) == 3


@pytest.mark.parametrize("code", [m.FETCH, m.PATCH, m.IPATCH])
def test_the_newer_methods_pass(stage: Stage, code: int) -> None:
    stage.asks(code=code, payload=b"\x80")
    (request,) = stage.heard()
    assert (request.code, request.payload) == (code, b"\x80")


# 6 Large bodies of ours.


def upload(stage: Stage, body: bytes, answer_exponent: int | None = None) -> list[Message]:
    """Write ``body``; gives the requests. The peer takes each, and says the last of them is all."""
    heard: list[tuple[int, int]] = []
    stage.asks("/5/0/0", code=m.PUT, payload=memoryview(body), progress=lambda *far: heard.append(far))
    requests: list[Message] = []
    events: list[Event] = []
    while not events:
        (request,) = stage.heard()
        requests.append(request)
        value = find(request.options, BLOCK1)
        if value is None:
            events = stage.answers(request, m.CHANGED)
            continue
        block = decode_block(value, bert=True)
        echoed = block if answer_exponent is None else block._replace(exponent=answer_exponent)
        code = m.CONTINUE if block.more else m.CHANGED
        events = stage.answers(request, code, [(BLOCK1, encode_block(echoed))])
    (event,) = events
    assert isinstance(event, ResponseReceived) and event.message.code == m.CHANGED
    assert b"".join(request.payload for request in requests) == body
    if len(requests) > 1:
        assert heard[-1] == (len(body), len(body)) and len(heard) == len(requests)
    return requests


BODY = random.Random(5).randbytes(40_000)


def exponents(requests: list[Message]) -> list[tuple[int, int]]:
    """Size exponent and bytes of each block."""
    return [
        (decode_block(find(request.options, BLOCK1) or b"", bert=True).exponent, len(request.payload))
        for request in requests
    ]


def test_6_bert_where_the_peer_offers_it() -> None:
    stage = Stage()
    stage.opens(csm=csm(8192, True))
    requests = upload(stage, BODY)
    assert exponents(requests) == [(BERT, 7168)] * 5 + [(BERT, 40_000 - 5 * 7168)]
    numbers = [decode_block(find(one.options, BLOCK1) or b"", bert=True).number for one in requests]
    assert numbers == [0, 7, 14, 21, 28, 35]  # in units of 1024
    assert find(requests[0].options, SIZE1) == (40_000).to_bytes(2, "big")


def test_6_bert_is_bounded_by_us_as_well() -> None:
    stage = Stage()
    stage.opens(csm=csm(1 << 20, True))
    assert exponents(upload(stage, BODY)) == [(BERT, 16384), (BERT, 16384), (BERT, 40_000 - 32768)]


def test_6_the_peer_may_go_on_with_plain_blocks() -> None:
    stage = Stage()
    stage.opens(csm=csm(8192, True))
    sizes = exponents(upload(stage, BODY, answer_exponent=5))
    assert sizes[:3] == [(BERT, 7168), (5, 512), (5, 512)]


def test_6_4_13_makes_plain_blocks_from_the_beginning() -> None:
    stage = Stage()
    stage.opens(csm=csm(8192, True))
    stage.asks("/5/0/0", code=m.PUT, payload=BODY)
    (request,) = stage.heard()
    smaller = [(BLOCK1, encode_block(Block(0, True, 6)))]
    assert stage.answers(request, m.REQUEST_ENTITY_TOO_LARGE, smaller) == []
    (request,) = stage.heard()
    assert exponents([request]) == [(6, 1024)]
    assert decode_block(find(request.options, BLOCK1) or b"").number == 0


def test_6_plain_blocks_without_a_larger_message_size(stage: Stage) -> None:
    stage.says(csm(1152, True))
    assert exponents(upload(stage, BODY[:2500])) == [(6, 1024), (6, 1024), (6, 452)]


def test_5_3_1_smaller_blocks_for_a_peer_that_takes_no_others() -> None:
    stage = Stage()
    stage.opens(csm=csm(200, True))
    stage.asks("/5/0/0", code=m.PUT, payload=BODY)
    data = bytes.fromhex(stage.hears())
    assert len(data) <= 200
    assert exponents(list(frames(data))) == [(3, 128)]
    stage.asks("/5/0/0", code=m.PUT, payload=BODY, block_exponent=0)
    assert exponents(stage.heard()) == [(0, 16)]


def test_one_long_message_for_a_peer_that_says_nothing_of_blocks() -> None:
    stage = Stage()
    stage.opens(csm=csm(1 << 20, False))
    (request,) = upload(stage, BODY)
    assert find(request.options, BLOCK1) is None


def test_a_reserved_exponent_stays_reserved_where_bert_is_not_used() -> None:
    with pytest.raises(BlockFormatError):
        decode_block(b"\x07")
    assert decode_block(b"\x2f", bert=True) == Block(2, True, BERT)
    assert (Block(2, True, BERT).size, Block(2, True, BERT).offset) == (1024, 2048)


def test_an_upload_beyond_the_limit_ends_without_a_byte() -> None:
    stage = Stage(max_upload_bytes=1000)
    stage.opens()
    asked = stage.asks(code=m.PUT, payload=b"x" * 1001)
    assert stage.hears() == ""
    (failed,) = stage.wait(0)
    assert isinstance(failed, RequestFailed)
    assert (failed.request_id, failed.reason) == (asked, BODY_TOO_LARGE)
    assert stage.endpoint.table_sizes()["requests"] == 0


# 7 Observing.


def observed(stage: Stage, code: int = m.GET, payload: bytes = b"") -> bytes:
    stage.asks("/3303/0/5700", code=code, payload=payload, observe=True)
    (request,) = stage.heard()
    assert find(request.options, OBSERVE) == b""
    (event,) = stage.answers(request, m.CONTENT, [(OBSERVE, b"\x01")], b"20.5")
    assert isinstance(event, ResponseReceived) and event.observing
    return event.token


@pytest.mark.parametrize("reset", [True, False])
def test_7_1_notifications_come_and_nothing_is_sent_back(stage: Stage, reset: bool) -> None:
    token = observed(stage)
    for refuse in (False, True):
        rest = encode_options([(OBSERVE, b"\x02")]) + b"\xff21.5"
        (event,) = stage.says(encode_frame(m.CONTENT, token, rest))
        assert isinstance(event, NotificationReceived) and event.message.payload == b"21.5"
        if refuse:
            stage.endpoint.refuse_notification(event, stage.now, reset=reset)
        else:
            stage.endpoint.accept_notification(event, stage.now)
        assert stage.hears() == ""


def test_7_3_an_observation_is_cancelled_by_its_token_also_with_fetch(stage: Stage) -> None:
    token = observed(stage, m.FETCH, b"\x81\x63/3/")
    stage.asks("/3303/0/5700", code=m.FETCH, payload=b"\x81\x63/3/", observe_cancel=True, token=token)
    (request,) = stage.heard()
    assert (request.token, request.payload) == (token, b"\x81\x63/3/")
    assert find(request.options, OBSERVE) == b"\x01"
    stage.answers(request, m.CONTENT, payload=b"20.5")
    assert not stage.endpoint.is_observing(token)


def test_7_4_observations_end_with_their_connection(stage: Stage) -> None:
    stage.opens("connection 2")
    token = observed(stage)
    stage.endpoint.closed("connection 2", stage.now)
    assert stage.endpoint.is_observing(token)
    stage.endpoint.closed(PEER, stage.now)
    assert not stage.endpoint.is_observing(token)


def test_a_connection_that_observes_anew_for_years_does_not_grow(stage: Stage) -> None:
    for _ in range(1000):
        stage.endpoint.end_observation(observed(stage), stage.now)
    assert len(stage.endpoint._connections[PEER].observed) <= 256
    assert stage.endpoint.table_sizes()["observations"] == 0


# The log.


def test_the_tap_sees_each_frame_once(stage: Stage) -> None:
    stage.taps.clear()
    stage.says(PING + CSM)
    stage.hears()
    assert stage.taps == [(True, PEER, PING), (True, PEER, CSM), (False, PEER, PONG)]
