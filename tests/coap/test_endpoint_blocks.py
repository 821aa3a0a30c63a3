"""RFC 7959: bodies in blocks, in all four directions and inside notifications."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.coap import message as m
from appliance.coap.blockwise import MAX_BLOCK_NUMBER, Block, BlockFormatError, decode_block, encode_block
from appliance.coap.endpoint import NotificationReceived, RequestFailed, RequestReceived, ResponseReceived
from appliance.coap.message import Message, decode, encode
from appliance.coap.options import BLOCK1, BLOCK2, ETAG, OBSERVE, SIZE1, SIZE2, Option, find, path_options
from appliance.coap.transmission import Transmission

BODY = bytes(range(256)) * 10  # 2560 bytes: two blocks of 1024 and one of 512


def block_option(number: int, position: int, more: bool, exponent: int) -> Option:
    return number, encode_block(Block(position, more, exponent))


class Device:
    """A peer that answers requests of the endpoint; ``mid`` numbers its own messages."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        self.mid = 0x2000

    def asked(self) -> Message:
        (text,) = self.stage.hears()
        return decode(bytes.fromhex(text))

    def answers(
        self, request: Message, code: int, options: list[Option] | None = None, payload: bytes = b""
    ) -> Any:
        return self.stage.says(encode(Message(m.ACK, code, request.mid, request.token, options, payload)))

    def asks(self, code: int, options: list[Option], payload: bytes = b"") -> tuple[Any, Message | None]:
        """One request; its events, and the answer if there was one at once."""
        self.mid += 1
        data = encode(Message(m.CON, code, self.mid, b"tk", options, payload))
        events = self.stage.says(data)
        heard = self.stage.hears()
        return events, decode(bytes.fromhex(heard[0])) if heard else None


@pytest.fixture
def device(stage: Any) -> Device:
    return Device(stage)


def test_2_2_block_option_values() -> None:
    assert [encode_block(Block(0, False, 0)), encode_block(Block(0, True, 6))] == [b"", b"\x0e"]
    assert encode_block(Block(0xFFFFF, True, 6)) == b"\xff\xff\xfe"
    assert decode_block(b"\x01\x2d") == Block(18, True, 5)
    for bad in (b"\x07", b"\x0f", b"\0\0\0\0"):
        with pytest.raises(BlockFormatError):
            decode_block(bad)
    with pytest.raises(ValueError):
        encode_block(Block(1 << 20, False, 6))


# Block1, towards us.


def upload(device: Device, body: bytes, exponent: int) -> tuple[Any, Message | None]:
    size = 16 << exponent
    path = path_options("/rd")
    for number in range(0, len(body), size):
        more = number + size < len(body)
        option = block_option(BLOCK1, number // size, more, exponent)
        events, reply = device.asks(m.POST, [*path, option], body[number : number + size])
        if more:
            assert events == [] and reply is not None and reply.code == m.CONTINUE
            assert find(reply.options, BLOCK1) == option[1]
    return events, reply


@pytest.mark.parametrize("exponent", [0, 2, 6])
def test_2_5_a_body_in_blocks_is_one_request(stage: Any, device: Device, exponent: int) -> None:
    events, reply = upload(device, BODY, exponent)
    (event,) = events
    assert reply is None and isinstance(event, RequestReceived)
    assert event.message.payload == BODY and find(event.message.options, BLOCK1) is None
    stage.endpoint.respond(event, m.CREATED, now=stage.now)
    answer = decode(bytes.fromhex(stage.hears()[0]))
    last = (len(BODY) - 1) // (16 << exponent)
    assert find(answer.options, BLOCK1) == encode_block(Block(last, False, exponent))
    assert stage.endpoint.table_sizes()["reassembly_bytes"] == 0


def test_2_5_a_repeated_block_is_taken_once(stage: Any, device: Device) -> None:
    first = [*path_options("/rd"), block_option(BLOCK1, 0, True, 0)]
    data = encode(Message(m.CON, m.POST, 1, b"tk", first, b"a" * 16))
    assert stage.says(data) == [] and stage.says(data) == []
    one, two = stage.hears()
    assert one == two
    second = [*path_options("/rd"), block_option(BLOCK1, 1, True, 0)]
    for _ in range(2):  # the 2.31 was lost and the client asks with a new Message ID
        _, reply = device.asks(m.POST, second, b"b" * 16)
        assert reply is not None and reply.code == m.CONTINUE
    events, _ = device.asks(m.POST, [*path_options("/rd"), block_option(BLOCK1, 2, False, 0)], b"c")
    assert events[0].message.payload == b"a" * 16 + b"b" * 16 + b"c"


def test_2_9_2_a_missing_block_is_incomplete(device: Device) -> None:
    path = path_options("/rd")
    _, reply = device.asks(m.POST, [*path, block_option(BLOCK1, 1, True, 0)], b"b" * 16)
    assert reply is not None and reply.code == m.REQUEST_ENTITY_INCOMPLETE
    device.asks(m.POST, [*path, block_option(BLOCK1, 0, True, 0)], b"a" * 16)
    _, reply = device.asks(m.POST, [*path, block_option(BLOCK1, 2, False, 0)], b"c")
    assert reply is not None and reply.code == m.REQUEST_ENTITY_INCOMPLETE
    _, reply = device.asks(m.POST, [*path, block_option(BLOCK1, 1, False, 0)], b"b")
    assert reply is not None and reply.code == m.REQUEST_ENTITY_INCOMPLETE


def test_2_9_3_a_body_too_large_is_refused_with_the_limit(make_stage: Any) -> None:
    stage = make_stage(max_body_bytes=2000)
    device = Device(stage)
    path = path_options("/rd")
    _, reply = device.asks(
        m.POST, [*path, block_option(BLOCK1, 0, True, 6), (SIZE1, b"\x0a\x00")], b"a" * 1024
    )
    assert reply is not None and reply.code == m.REQUEST_ENTITY_TOO_LARGE
    assert find(reply.options, SIZE1) == b"\x07\xd0"
    device.asks(m.POST, [*path, block_option(BLOCK1, 0, True, 6)], b"a" * 1024)
    _, reply = device.asks(m.POST, [*path, block_option(BLOCK1, 1, True, 6)], b"a" * 1024)
    assert reply is not None and reply.code == m.REQUEST_ENTITY_TOO_LARGE
    assert stage.endpoint.table_sizes()["reassemblies"] == 0


@pytest.mark.parametrize("payload", [b"", b"a" * 15, b"a" * 17])
def test_2_3_a_block_has_the_size_it_says(device: Device, payload: bytes) -> None:
    option = block_option(BLOCK1, 0, True, 0)
    _, reply = device.asks(m.POST, [*path_options("/rd"), option], payload)
    assert reply is not None and reply.code == m.BAD_REQUEST


def test_2_2_the_reserved_size_is_a_bad_request(device: Device) -> None:
    for number in (BLOCK1, BLOCK2):
        _, reply = device.asks(m.POST, [*path_options("/rd"), (number, b"\x07")])
        assert reply is not None and reply.code == m.BAD_REQUEST


def test_2_5_transfers_of_two_peers_and_two_resources_do_not_mix(stage: Any) -> None:
    def part(peer: str, path: str, number: int, more: bool, payload: bytes, mid: int) -> Any:
        options = [*path_options(path), block_option(BLOCK1, number, more, 0)]
        return stage.says(encode(Message(m.CON, m.POST, mid, b"", options, payload)), peer)

    for mid, (peer, path) in enumerate((("A", "/rd"), ("B", "/rd"), ("A", "/dp"))):
        part(peer, path, 0, True, f"{peer}{path}".ljust(16).encode(), mid)
    bodies = [
        part(peer, path, 1, False, b"!", 10 + mid)[0].message.payload
        for mid, (peer, path) in enumerate((("A", "/dp"), ("B", "/rd"), ("A", "/rd")))
    ]
    assert [body.split() for body in bodies] == [[b"A/dp", b"!"], [b"B/rd", b"!"], [b"A/rd", b"!"]]


def test_bodies_under_way_are_bounded(make_stage: Any) -> None:
    stage = make_stage(max_reassembly_bytes=10_000, max_reassemblies=20)
    for peer in range(100):
        for resource in range(6):
            options = [*path_options(f"/r{resource}"), block_option(BLOCK1, 0, True, 6)]
            stage.says(encode(Message(m.CON, m.POST, resource, b"", options, b"x" * 1024)), peer)
            sizes = stage.endpoint.table_sizes()
            assert sizes["reassemblies"] <= 20 and sizes["reassembly_bytes"] <= 11_024
    stage.wait(120)
    assert stage.endpoint.table_sizes()["reassemblies"] == 0


# Block2, from us.


def test_2_4_a_large_answer_is_served_in_blocks(stage: Any, device: Device) -> None:
    path = path_options("/fw/image")
    (request,), _ = device.asks(m.GET, [*path, (SIZE2, b"")])
    stage.endpoint.respond(request, m.CONTENT, BODY, [(12, b"\x2a")], now=stage.now)
    first = decode(bytes.fromhex(stage.hears()[0]))
    assert find(first.options, BLOCK2) == encode_block(Block(0, True, 6))
    assert find(first.options, SIZE2) == b"\x0a\x00" and find(first.options, 12) == b"\x2a"
    etag = find(first.options, ETAG)
    body = first.payload
    for number in (1, 2):
        events, reply = device.asks(m.GET, [*path, block_option(BLOCK2, number, False, 6)])
        assert events == [] and reply is not None and reply.code == m.CONTENT
        assert find(reply.options, ETAG) == etag
        body += reply.payload
    assert body == BODY and find(reply.options, BLOCK2) == encode_block(Block(2, False, 6))


def test_2_4_resume_in_the_middle_after_the_kept_body_is_gone(stage: Any, device: Device) -> None:
    path = path_options("/fw/image")
    (request,), _ = device.asks(m.GET, [*path, block_option(BLOCK2, 0, False, 4)])
    stage.endpoint.respond(request, m.CONTENT, BODY, now=stage.now)
    etag = find(decode(bytes.fromhex(stage.hears()[0])).options, ETAG)
    stage.wait(3600)
    (request,), _ = device.asks(m.GET, [*path, block_option(BLOCK2, 3, False, 4)])
    stage.endpoint.respond(request, m.CONTENT, memoryview(BODY), now=stage.now)
    reply = decode(bytes.fromhex(stage.hears()[0]))
    assert reply.payload == BODY[3 * 256 : 4 * 256] and find(reply.options, ETAG) == etag
    (request,), _ = device.asks(m.GET, [*path, block_option(BLOCK2, 9, False, 4)])
    stage.endpoint.respond(request, m.CONTENT, BODY[1:], now=stage.now)
    changed = decode(bytes.fromhex(stage.hears()[0]))
    assert find(changed.options, ETAG) != etag


def test_2_4_smaller_blocks_in_the_middle_and_a_block_behind_the_end(stage: Any, device: Device) -> None:
    path = path_options("/fw/image")
    (request,), _ = device.asks(m.GET, path)
    stage.endpoint.respond(request, m.CONTENT, BODY, now=stage.now)
    stage.hears()
    _, reply = device.asks(m.GET, [*path, block_option(BLOCK2, 32, False, 1)])
    assert reply is not None and reply.payload == BODY[1024:1056]
    _, reply = device.asks(m.GET, [*path, block_option(BLOCK2, 3, False, 6)])
    assert reply is not None and reply.code == m.BAD_REQUEST
    _, reply = device.asks(m.GET, [*path, block_option(BLOCK2, 0xFFFFF, True, 6)])
    assert reply is not None and reply.code == m.BAD_REQUEST


def test_2_4_an_answer_to_a_post_is_not_executed_twice_for_its_second_block(
    stage: Any, device: Device
) -> None:
    path = path_options("/query")
    (request,), _ = device.asks(m.POST, path, b"?")
    stage.endpoint.respond(request, m.CHANGED, BODY, now=stage.now)
    stage.hears()
    events, reply = device.asks(m.POST, [*path, block_option(BLOCK2, 1, False, 6)])
    assert events == [] and reply is not None and reply.payload == BODY[1024:2048]
    stage.wait(3600)
    events, reply = device.asks(m.POST, [*path, block_option(BLOCK2, 2, False, 6)])
    assert events == [] and reply is not None and reply.code == m.REQUEST_ENTITY_INCOMPLETE


def test_an_error_is_never_blockwise(stage: Any, device: Device) -> None:
    (request,), _ = device.asks(m.GET, [*path_options("/fw"), block_option(BLOCK2, 5, False, 0)])
    stage.endpoint.respond(request, m.NOT_FOUND, b"gone", now=stage.now)
    reply = decode(bytes.fromhex(stage.hears()[0]))
    assert (reply.code, reply.payload, find(reply.options, BLOCK2)) == (m.NOT_FOUND, b"gone", None)


def test_bodies_kept_for_their_readers_are_bounded(make_stage: Any) -> None:
    stage = make_stage(max_served_bytes=10_000)
    for peer in range(50):
        (request,) = stage.says(encode(Message(m.CON, m.GET, 1, b"", path_options("/fw"))), peer)
        stage.endpoint.respond(request, m.CONTENT, BODY, now=stage.now)
    assert stage.endpoint.table_sizes()["served_bytes"] <= 10_000
    stage.endpoint.forget_peer(49, stage.now)
    assert stage.endpoint.table_sizes()["served"] == 2


# Block1, from us.


def test_2_5_we_upload_in_blocks(stage: Any, device: Device) -> None:
    stage.asks("/5/0/0", code=m.PUT, payload=BODY, options=[(12, b"\x2a")])
    body = b""
    for number in range(3):
        request = device.asked()
        block = decode_block(find(request.options, BLOCK1) or b"")
        assert (block.number, block.more) == (number, number < 2)
        assert (find(request.options, SIZE1) is not None) == (number == 0)
        assert find(request.options, 12) == b"\x2a"
        body += request.payload
        code = m.CONTINUE if block.more else m.CHANGED
        events = device.answers(request, code, [(BLOCK1, encode_block(block))])
    (event,) = events
    assert isinstance(event, ResponseReceived) and event.message.code == m.CHANGED and body == BODY
    assert stage.endpoint.open_requests("device") == 0


def test_an_upload_from_a_view_says_how_far_it_is(stage: Any, device: Device) -> None:
    """Nothing of a large body is copied but the block under way; the last word is all of it."""
    heard: list[tuple[int, int]] = []
    view = memoryview(BODY)
    stage.asks("/5/0/0", code=m.PUT, payload=view, progress=lambda *far: heard.append(far))
    body = b""
    for _ in range(3):
        request = device.asked()
        block = decode_block(find(request.options, BLOCK1) or b"")
        body += request.payload
        code = m.CONTINUE if block.more else m.CHANGED
        device.answers(request, code, [(BLOCK1, encode_block(block))])
    assert body == BODY
    assert heard == [(1024, len(BODY)), (2048, len(BODY)), (len(BODY), len(BODY))]
    stage.asks("/3/0/14", code=m.PUT, payload=b"short", progress=lambda *far: heard.append(far))
    device.answers(device.asked(), m.CHANGED, [])
    assert len(heard) == 3


def test_a_body_that_does_not_go_in_so_small_blocks_ends(stage: Any, device: Device) -> None:
    """RFC 7959 §2.2: a block number has 20 bits."""
    stage.asks("/5/0/0", code=m.PUT, payload=memoryview(bytes(17 << 20)))
    (last,) = [MAX_BLOCK_NUMBER >> 6]
    events: list[Any] = []
    for number in range(last + 2):
        request = device.asked()
        exponent = 0 if number == last else 6
        events = device.answers(request, m.CONTINUE, [block_option(BLOCK1, number, True, exponent)])
        if events:
            break
    assert (number, events[0].reason) == (last, "block")


def test_2_5_the_peer_makes_the_blocks_smaller(stage: Any, device: Device) -> None:
    stage.asks("/5/0/0", code=m.PUT, payload=BODY)
    request = device.asked()
    device.answers(request, m.CONTINUE, [block_option(BLOCK1, 0, True, 4)])
    body = request.payload
    for number in range(4, 10):
        request = device.asked()
        assert decode_block(find(request.options, BLOCK1) or b"") == Block(number, number < 9, 4)
        body += request.payload
        code = m.CONTINUE if number < 9 else m.CHANGED
        events = device.answers(request, code, [block_option(BLOCK1, number, number < 9, 4)])
    assert body == BODY and events[0].message.code == m.CHANGED


def test_2_9_3_413_with_a_smaller_size_starts_again(stage: Any, device: Device) -> None:
    stage.asks("/5/0/0", code=m.PUT, payload=BODY[:900])  # fits into one message, but not for this peer
    request = device.asked()
    assert find(request.options, BLOCK1) is None
    device.answers(request, m.REQUEST_ENTITY_TOO_LARGE, [block_option(BLOCK1, 0, False, 5)])
    request = device.asked()
    assert decode_block(find(request.options, BLOCK1) or b"") == Block(0, True, 5)
    device.answers(request, m.CONTINUE, [block_option(BLOCK1, 0, True, 5)])
    request = device.asked()
    (event,) = device.answers(request, m.CHANGED, [block_option(BLOCK1, 1, False, 5)])
    assert event.message.code == m.CHANGED and request.payload == BODY[512:900]


def test_2_9_2_408_starts_again_a_few_times(stage: Any, device: Device) -> None:
    stage.asks("/5/0/0", code=m.PUT, payload=BODY)
    for _ in range(4):
        request = device.asked()
        assert decode_block(find(request.options, BLOCK1) or b"").number == 0
        device.answers(request, m.CONTINUE, [block_option(BLOCK1, 0, True, 6)])
        events = device.answers(device.asked(), m.REQUEST_ENTITY_INCOMPLETE)
    assert isinstance(events[0], ResponseReceived)
    assert events[0].message.code == m.REQUEST_ENTITY_INCOMPLETE


def test_2_2_the_caller_may_choose_smaller_blocks(stage: Any, device: Device) -> None:
    stage.asks("/5/0/0", code=m.PUT, payload=BODY, block_exponent=4)
    assert len(device.asked().payload) == 256


def test_an_error_in_the_middle_is_the_answer(stage: Any, device: Device) -> None:
    stage.asks("/5/0/0", code=m.PUT, payload=BODY)
    (event,) = device.answers(device.asked(), m.METHOD_NOT_ALLOWED)
    assert event.message.code == m.METHOD_NOT_ALLOWED and stage.hears() == []


@pytest.mark.parametrize(
    "options",
    [[], [block_option(BLOCK1, 7, True, 6)], [(BLOCK1, b"\x07")]],
)
def test_a_continue_that_does_not_fit_fails(stage: Any, device: Device, options: list[Option]) -> None:
    stage.asks("/5/0/0", code=m.PUT, payload=BODY)
    (event,) = device.answers(device.asked(), m.CONTINUE, options)
    assert isinstance(event, RequestFailed) and event.reason == "block"


def test_a_success_in_the_middle_is_none(stage: Any, device: Device) -> None:
    """A peer that has a part of the body and says it is done would keep half a firmware."""
    stage.asks("/5/0/0", code=m.PUT, payload=BODY)
    (event,) = device.answers(device.asked(), m.CHANGED)
    assert isinstance(event, RequestFailed) and event.reason == "block"


def test_each_block_renews_the_deadline(stage: Any, device: Device) -> None:
    stage.asks("/5/0/0", code=m.PUT, payload=BODY, deadline=stage.now + 10)
    for number in range(3):
        stage.wait(1.5)
        stage.wait(1.5)
        text = stage.hears()[0]
        request = decode(bytes.fromhex(text))
        stage.wait(6)
        stage.hears()
        more = number < 2
        events = device.answers(
            request, m.CONTINUE if more else m.CHANGED, [block_option(BLOCK1, number, more, 6)]
        )
    assert isinstance(events[0], ResponseReceived) and events[0].retransmitted


def test_separate_responses_to_blocks_keep_their_turn(stage: Any, device: Device) -> None:
    stage.asks("/5/0/0", code=m.PUT, payload=BODY[:1500])
    stage.asks("/other")
    request = device.asked()
    stage.says(f"6000{request.mid:04x}")
    other = device.asked()  # the place is free while the device works
    data = encode(Message(m.CON, m.CONTINUE, 5, request.token, [block_option(BLOCK1, 0, True, 6)]))
    stage.says(data)
    assert stage.hears() == ["60000005"]
    device.answers(other, m.CONTENT)
    request = device.asked()
    (event,) = device.answers(request, m.CHANGED, [block_option(BLOCK1, 1, False, 6)])
    assert event.key == "/5/0/0"


# Block2, towards us.


def serve(device: Device, request: Message, body: bytes, exponent: int, etag: bytes = b"v1") -> Any:
    value = find(request.options, BLOCK2)
    asked = Block(0, False, exponent) if value is None else decode_block(value)
    exponent = min(exponent, asked.exponent)
    number = asked.offset >> exponent + 4
    end = asked.offset + (16 << exponent)
    options = [(ETAG, etag), (12, b"\x2d\x16"), block_option(BLOCK2, number, end < len(body), exponent)]
    return device.answers(request, m.CONTENT, options, body[asked.offset : end])


@pytest.mark.parametrize("exponent", [0, 3, 6])
def test_2_4_we_collect_an_answer_in_blocks(stage: Any, device: Device, exponent: int) -> None:
    stage.asks("/3303")
    tokens = set()
    events: list[Any] = []
    while not events:
        request = device.asked()
        tokens.add(request.token)
        events = serve(device, request, BODY, exponent)
    (event,) = events
    assert event.message.payload == BODY and event.message.options == [(ETAG, b"v1"), (12, b"\x2d\x16")]
    assert len(tokens) == -(-len(BODY) // (16 << exponent))  # each block has its own
    assert stage.endpoint.open_requests("device") == 0


def test_2_4_a_small_bearer_asks_for_small_blocks_at_once(make_stage: Any) -> None:
    stage = make_stage(Transmission(ack_random_factor=1.0, block_exponent=2))
    device = Device(stage)
    stage.asks("/3303")
    request = device.asked()
    assert decode_block(find(request.options, BLOCK2) or b"") == Block(0, False, 2)
    events: list[Any] = serve(device, request, BODY[:100], 6)
    assert events == []
    (event,) = serve(device, device.asked(), BODY[:100], 6)
    assert event.message.payload == BODY[:100]


def test_2_4_a_body_that_changes_is_fetched_again(stage: Any, device: Device) -> None:
    stage.asks("/3303")
    serve(device, device.asked(), BODY, 6)
    serve(device, device.asked(), BODY[::-1], 6, b"v2")
    request = device.asked()
    assert decode_block(find(request.options, BLOCK2) or b"") == Block(0, False, 6)
    events: list[Any] = serve(device, request, BODY[::-1], 6, b"v2")
    while not events:
        events = serve(device, device.asked(), BODY[::-1], 6, b"v2")
    assert events[0].message.payload == BODY[::-1]


def test_2_4_a_body_that_keeps_changing_fails(stage: Any, device: Device) -> None:
    stage.asks("/3303")
    events: list[Any] = []
    for turn in range(20):
        events = serve(device, device.asked(), BODY, 6, bytes((turn,)))
        if events:
            break
    assert isinstance(events[0], RequestFailed) and events[0].reason == "block"


def test_an_answer_larger_than_allowed_fails(make_stage: Any) -> None:
    stage = make_stage(max_body_bytes=2000)
    device = Device(stage)
    stage.asks("/3303")
    serve(device, device.asked(), BODY, 6)
    (event,) = serve(device, device.asked(), BODY, 6)
    assert isinstance(event, RequestFailed) and event.reason == "body-too-large"
    assert stage.hears() == []


@pytest.mark.parametrize(
    ("option", "payload"),
    [
        (block_option(BLOCK2, 2, True, 6), b"x" * 1024),
        (block_option(BLOCK2, 1, True, 6), b"x" * 1000),
        ((BLOCK2, b"\x17"), b"x" * 1024),
    ],
)
def test_a_block_out_of_order_or_of_the_wrong_size_fails(
    stage: Any, device: Device, option: Option, payload: bytes
) -> None:
    stage.asks("/3303")
    serve(device, device.asked(), BODY, 6)
    (event,) = device.answers(device.asked(), m.CONTENT, [(ETAG, b"v1"), option], payload)
    assert isinstance(event, RequestFailed) and event.reason == "block"


def test_an_error_to_a_later_block_is_the_answer(stage: Any, device: Device) -> None:
    stage.asks("/3303")
    serve(device, device.asked(), BODY, 6)
    (event,) = device.answers(device.asked(), m.SERVICE_UNAVAILABLE)
    assert isinstance(event, ResponseReceived) and event.message.code == m.SERVICE_UNAVAILABLE


def test_a_caller_may_fetch_one_block_itself(stage: Any, device: Device) -> None:
    stage.asks("/fw", options=[block_option(BLOCK2, 1, False, 6)])
    (event,) = serve(device, device.asked(), BODY, 6)
    assert event.message.payload == BODY[1024:2048]


def test_a_lost_block_is_retransmitted(stage: Any, device: Device) -> None:
    stage.asks("/3303")
    serve(device, device.asked(), BODY, 6)
    (lost,) = stage.hears()
    stage.wait(2.1)
    assert stage.hears() == [lost]
    events: list[Any] = serve(device, decode(bytes.fromhex(lost)), BODY, 6)
    while not events:
        events = serve(device, device.asked(), BODY, 6)
    assert events[0].message.payload == BODY and events[0].retransmitted


# Notifications in blocks (RFC 7959 §3.4).

TOKEN = (1).to_bytes(8, "big")


def observing(stage: Any, device: Device, **how: Any) -> None:
    stage.asks("/3303", observe=True, options=[(17, b"\x2d\x16")], **how)
    events: list[Any] = []
    request = device.asked()
    value = encode_block(Block(0, True, 6))
    device.answers(request, m.CONTENT, [(ETAG, b"v1"), (OBSERVE, b"\x01"), (BLOCK2, value)], BODY[:1024])
    while not events:
        request = device.asked()
        assert find(request.options, OBSERVE) is None and request.token != TOKEN
        events = serve(device, request, BODY, 6)
    (event,) = events
    assert event.observing and event.token == TOKEN and event.message.payload == BODY


def notification(mid: int, observe: int, body: bytes, etag: bytes = b"v2", kind: int = m.CON) -> bytes:
    options = [(ETAG, etag), (OBSERVE, bytes((observe,))), block_option(BLOCK2, 0, True, 6)]
    return encode(Message(kind, m.CONTENT, mid, TOKEN, options, body[:1024]))


def test_fetch_in_blocks_begins_and_ends_an_observation(stage: Any, device: Device) -> None:
    """RFC 8132 §2.4: the body names what is observed, so the cancellation repeats it (RFC 7641 §3.6)."""
    for how, observe in (({"observe": True}, b""), ({"observe_cancel": True, "token": TOKEN}, b"\x01")):
        stage.asks("/", code=m.FETCH, payload=BODY, options=[(12, b"\x70")], **how)
        body = b""
        events: list[Any] = []
        while not events:
            request = device.asked()
            assert (request.code, request.token) == (m.FETCH, TOKEN)
            assert find(request.options, OBSERVE) == observe
            block = decode_block(find(request.options, BLOCK1) or b"")
            body += request.payload
            answer = [(BLOCK1, encode_block(block))]
            if block.more:
                events = device.answers(request, m.CONTINUE, answer)
            else:
                answer += [(OBSERVE, b"\x05")] if observe == b"" else []
                events = device.answers(request, m.CONTENT, answer, b"\x80")
        (event,) = events
        assert body == BODY and event.message.payload == b"\x80"
        assert event.observing == stage.endpoint.is_observing(TOKEN) == (observe == b"")


def test_3_4_a_blockwise_notification_is_completed_before_it_is_delivered(stage: Any, device: Device) -> None:
    observing(stage, device)
    body = BODY[::-1]
    data = notification(0x3001, 2, body)
    assert stage.says(data) == []
    request = device.asked()
    assert request.options[:2] == [(11, b"3303"), (17, b"\x2d\x16")]
    assert decode_block(find(request.options, BLOCK2) or b"") == Block(1, False, 6)
    assert stage.says(data) == [] and stage.hears() == []  # its retransmission is absorbed
    events: list[Any] = serve(device, request, body, 6, b"v2")
    while not events:
        events = serve(device, device.asked(), body, 6, b"v2")
    (event,) = events
    assert isinstance(event, NotificationReceived) and event.message.payload == body and event.observe == 2
    assert find(event.message.options, BLOCK2) is None
    stage.endpoint.accept_notification(event, stage.now)
    assert stage.hears() == ["60003001"]
    assert stage.endpoint.table_sizes()["collections"] == 0


def test_3_4_also_after_a_restart(make_stage: Any) -> None:
    stage = make_stage()
    device = Device(stage)
    stage.endpoint.restore_observation(TOKEN, "sensors", options=path_options("/3303"))
    assert stage.says(notification(0x3001, 2, BODY)) == []
    events: list[Any] = []
    while not events:
        events = serve(device, device.asked(), BODY, 6, b"v2")
    assert events[0].key == "sensors" and events[0].message.payload == BODY


def test_3_4_a_slow_collection_is_acknowledged_so_that_the_observation_lives(
    stage: Any, device: Device
) -> None:
    observing(stage, device)
    stage.says(notification(0x3001, 2, BODY))
    request = device.asked()
    stage.wait(5.1)
    assert "60003001" in stage.hears()
    events: list[Any] = serve(device, request, BODY, 6, b"v2")
    while not events:
        events = serve(device, device.asked(), BODY, 6, b"v2")
    stage.endpoint.accept_notification(events[0], stage.now)
    assert stage.hears() == []


def test_3_4_a_newer_notification_supersedes_the_one_being_collected(stage: Any, device: Device) -> None:
    observing(stage, device)
    stage.says(notification(0x3001, 2, BODY))
    device.asked()
    stage.says(notification(0x3002, 3, BODY[::-1], b"v3"))
    acknowledgement, text = stage.hears()
    assert acknowledgement == "60003001"
    events: list[Any] = serve(device, decode(bytes.fromhex(text)), BODY[::-1], 6, b"v3")
    while not events:
        events = serve(device, device.asked(), BODY[::-1], 6, b"v3")
    assert events[0].message.payload == BODY[::-1] and events[0].observe == 3


def test_3_4_an_older_notification_does_not_disturb_the_collection(stage: Any, device: Device) -> None:
    observing(stage, device)
    stage.says(notification(0x3002, 3, BODY))
    request = device.asked()
    assert stage.says(notification(0x3001, 2, BODY[::-1], b"v1")) == []
    assert stage.hears() == ["60003001"]
    assert serve(device, request, BODY, 6, b"v2") == []


def test_3_4_a_collection_that_fails_leaves_the_observation_and_is_tried_again(
    stage: Any, device: Device
) -> None:
    observing(stage, device)
    data = notification(0x3001, 2, BODY)
    stage.says(data)
    assert device.answers(device.asked(), m.NOT_FOUND) == []
    assert stage.endpoint.is_observing(TOKEN)
    assert stage.says(data) == []
    events: list[Any] = []
    while not events:
        events = serve(device, device.asked(), BODY, 6, b"v2")
    assert isinstance(events[0], NotificationReceived)


def test_3_4_a_non_notification_in_blocks(stage: Any, device: Device) -> None:
    observing(stage, device)
    stage.says(notification(0x3001, 2, BODY, kind=m.NON))
    device.answers(device.asked(), m.NOT_FOUND)
    stage.says(notification(0x3001, 2, BODY, kind=m.NON))
    events: list[Any] = []
    while not events:
        events = serve(device, device.asked(), BODY, 6, b"v2")
    stage.endpoint.accept_notification(events[0], stage.now)
    assert stage.hears() == []


def test_ending_an_observation_stops_its_collection(stage: Any, device: Device) -> None:
    observing(stage, device)
    stage.says(notification(0x3001, 2, BODY))
    device.asked()
    stage.endpoint.end_observation(TOKEN, stage.now)
    stage.wait(200)
    assert stage.hears() == [] and stage.endpoint.open_requests("device") == 0
