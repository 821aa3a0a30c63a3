"""RFC 7252 §4.2, §4.7, §5.3: an endpoint that asks, in wire bytes."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.coap import message as m
from appliance.coap.endpoint import QueueFull, RequestFailed, ResponseReceived
from appliance.coap.message import Message, decode, encode


def answer(request: str, code: int = m.CONTENT, payload: bytes = b"", **how: Any) -> bytes:
    """A piggybacked answer to a request of the endpoint."""
    asked = decode(bytes.fromhex(request))
    return encode(Message(m.ACK, code, asked.mid, asked.token, how.get("options"), payload))


def only(events: list[Any], kind: type) -> Any:
    (event,) = events
    assert isinstance(event, kind), event
    return event


def test_5_2_1_piggybacked_response_matches_by_token_and_message_id(stage: Any) -> None:
    number = stage.asks("/3/0/9")
    (request,) = stage.hears()
    message = decode(bytes.fromhex(request))
    assert request[:4] == "4801" and request[8:] == "0000000000000001" + "b133" + "0130" + "0139"
    stage.wait(0.25)
    event = only(stage.says(answer(request, payload=b"77")), ResponseReceived)
    assert (event.request_id, event.key, event.peer) == (number, "/3/0/9", "device")
    assert event.message.payload == b"77" and not event.observing and not event.retransmitted
    assert event.rtt_s == pytest.approx(0.25)
    assert message.type == m.CON
    assert not any(
        value
        for name, value in stage.endpoint.table_sizes().items()
        if name != "message_ids" and name != "timers"
    )
    stage.wait(100)
    assert stage.hears() == []
    assert stage.endpoint.next_timer() is None


def test_5_3_2_a_wrong_token_message_id_or_peer_matches_nothing(stage: Any) -> None:
    stage.asks()
    (request,) = stage.hears()
    mid = request[4:8]
    other = f"{int(mid, 16) ^ 1:04x}"
    assert stage.says(f"6845{mid}00000000000000ff") == []
    assert stage.says(f"6845{other}0000000000000001") == []
    assert stage.says(f"6845{mid}0000000000000001", "stranger") == []
    assert stage.hears() == []
    assert stage.says("58450001" + "0000000000000001", "stranger") == [] and stage.hears() == []
    assert stage.says("48450001" + "0000000000000001", "stranger") == []
    assert stage.hears() == ["70000001"]
    assert len(stage.says(answer(request))) == 1


def test_4_2_retransmission_doubles_and_ends_in_a_timeout(stage: Any) -> None:
    stage.asks()
    (request,) = stage.hears()
    sent_at = []
    for second in range(1, 62):
        assert stage.wait(1.0) == []
        if stage.hears() == [request]:
            sent_at.append(second)
    assert sent_at == [2, 6, 14, 30]
    failed = only(stage.wait(1.0), RequestFailed)
    assert failed.reason == "timeout" and failed.key == "/3/0"
    assert stage.endpoint.open_requests("device") == 0


def test_4_2_a_peer_that_was_heard_is_asked_again_at_once(stage: Any) -> None:
    stage.asks()
    (request,) = stage.hears()
    stage.wait(1)
    stage.endpoint.hasten("device", stage.now)
    assert stage.hears() == []  # no sooner than by itself
    stage.wait(2)
    assert stage.hears() == [request]
    stage.wait(2.5)  # the next would come in 1.5 s
    stage.endpoint.hasten("device", stage.now)
    assert stage.hears() == [request]
    stage.wait(1.9)
    assert stage.hears() == []
    stage.wait(0.1)
    assert stage.hears() == [request]
    for _ in range(10):
        stage.wait(2)
        stage.endpoint.hasten("device", stage.now)
    assert stage.hears() == [request]  # the fourth, and the last
    assert stage.endpoint.open_requests("device") == 0


def test_4_2_what_was_acknowledged_is_not_asked_again(stage: Any) -> None:
    stage.asks()
    (request,) = stage.hears()
    stage.says(f"6000{request[4:8]}")
    stage.wait(10)
    stage.endpoint.hasten("device", stage.now)
    stage.endpoint.hasten("nobody", stage.now)
    assert stage.hears() == []


def test_4_2_a_late_answer_after_loss_has_no_round_trip_time(stage: Any) -> None:
    stage.asks()
    (request,) = stage.hears()
    stage.wait(2.5)
    event = only(stage.says(answer(request)), ResponseReceived)
    assert event.retransmitted and event.rtt_s is None


def test_4_2_a_reset_ends_the_request(stage: Any) -> None:
    stage.asks()
    (request,) = stage.hears()
    assert only(stage.says("7000" + request[4:8]), RequestFailed).reason == "reset"
    stage.wait(100)
    assert stage.hears() == []


def test_4_8_parameters_are_those_of_the_bearer(make_stage: Any) -> None:
    from appliance.coap.transmission import Transmission

    stage = make_stage(Transmission(ack_timeout_s=15.0, ack_random_factor=1.0, max_retransmit=1))
    stage.asks()
    stage.hears()
    assert stage.wait(14.9) == [] and stage.hears() == []
    stage.wait(0.2)
    assert len(stage.hears()) == 1
    assert only(stage.wait(30), RequestFailed).reason == "timeout"


def test_5_2_2_separate_response(stage: Any) -> None:
    stage.asks()
    (request,) = stage.hears()
    assert stage.says("6000" + request[4:8]) == []
    stage.wait(20)
    assert stage.hears() == []  # acknowledged: no retransmission
    event = only(stage.says("4845 0777 0000000000000001 ff 2a"), ResponseReceived)
    assert event.message.payload == b"*" and stage.hears() == ["60000777"]
    assert stage.says("4845 0777 0000000000000001 ff 2a") == [] and stage.hears() == ["60000777"]


def test_5_2_2_a_separate_response_may_overtake_its_ack(stage: Any) -> None:
    stage.asks()
    (request,) = stage.hears()
    only(stage.says("5845 0777 0000000000000001 ff 2a"), ResponseReceived)
    assert stage.hears() == []
    assert stage.says("6000" + request[4:8]) == []
    stage.wait(100)
    assert stage.hears() == []


def test_5_4_1_an_unknown_critical_option_rejects_the_response(stage: Any) -> None:
    stage.asks()
    (request,) = stage.hears()
    assert only(stage.says(answer(request, options=[(267, b"")])), RequestFailed).reason == "bad-response"
    stage.asks()
    stage.hears()
    data = encode(Message(m.CON, m.CONTENT, 9, (2).to_bytes(8, "big"), [(267, b"")]))
    assert only(stage.says(data), RequestFailed).reason == "bad-response"
    assert stage.hears() == ["70000009"]


def test_4_7_nstart_one_request_at_a_time_in_order(stage: Any) -> None:
    for path in ("/a", "/b", "/c"):
        stage.asks(path)
    seen = []
    for _ in range(3):
        (request,) = stage.hears()
        seen.append(only(stage.says(answer(request)), ResponseReceived).key)
    assert seen == ["/a", "/b", "/c"] and stage.hears() == []


def test_4_7_other_peers_do_not_wait(stage: Any) -> None:
    stage.asks("/a")
    stage.asks("/b", peer="other")
    assert [text[-2:] for text in stage.hears()] == ["61", "62"]
    assert stage.endpoint.open_requests("other") == 1


def test_4_7_an_empty_ack_frees_the_place(stage: Any) -> None:
    stage.asks("/reboot")
    stage.asks("/next")
    (request,) = stage.hears()
    stage.says("6000" + request[4:8])
    (following,) = stage.hears()
    assert following.endswith("b46e657874")


def test_4_7_the_line_is_bounded(make_stage: Any) -> None:
    stage = make_stage(max_queue=3)
    for _ in range(3):
        stage.asks()
    with pytest.raises(QueueFull):
        stage.asks()
    stage.asks(peer="other")


def test_a_timeout_lets_the_next_one_go(stage: Any) -> None:
    stage.asks("/a")
    stage.asks("/b")
    events = stage.wait(62)
    assert [(event.key, event.reason) for event in events] == [("/a", "timeout")]
    assert stage.hears()[-1].endswith("b162")


def test_a_deadline_also_counts_in_the_line(stage: Any) -> None:
    stage.asks("/a")
    stage.asks("/b", deadline=stage.now + 10)
    events = stage.wait(11)
    assert [(event.key, event.reason) for event in events] == [("/b", "deadline")]
    stage.hears()
    stage.wait(60)
    assert not [text for text in stage.hears() if text.endswith("b162")]


def test_a_deadline_ends_an_acknowledged_request(stage: Any) -> None:
    stage.asks("/a", deadline=stage.now + 10)
    (request,) = stage.hears()
    stage.says("6000" + request[4:8])
    assert only(stage.wait(10.1), RequestFailed).reason == "deadline"
    assert stage.says("4845 0777 0000000000000001") == [] and stage.hears() == ["70000777"]


def test_cancel_takes_a_waiting_request_out_of_the_line(stage: Any) -> None:
    stage.asks("/a")
    second = stage.asks("/b")
    stage.asks("/c")
    (request,) = stage.hears()
    assert only(stage.endpoint.cancel_request(second, stage.now), RequestFailed).reason == "cancelled"
    stage.says(answer(request))
    assert [text[-2:] for text in stage.hears()] == ["63"]
    assert stage.endpoint.cancel_request(second, stage.now) == []


def test_cancel_stops_retransmissions_and_lets_the_next_one_go(stage: Any) -> None:
    first = stage.asks("/a")
    stage.asks("/b")
    stage.hears()
    stage.endpoint.cancel_request(first, stage.now)
    (second,) = stage.hears()
    assert second.endswith("b162")
    stage.says(answer(second))
    stage.wait(200)
    assert stage.hears() == []


def test_forget_peer_cancels_everything_of_that_peer_only(stage: Any) -> None:
    for path in ("/a", "/b", "/c"):
        stage.asks(path)
    stage.asks("/a", peer="other")
    stage.hears()
    events = stage.endpoint.forget_peer("device", stage.now)
    assert [(event.key, event.reason) for event in events] == [
        ("/a", "cancelled"),
        ("/b", "cancelled"),
        ("/c", "cancelled"),
    ]
    assert stage.hears() == []
    assert stage.endpoint.open_requests("other") == 1 and stage.endpoint.open_requests("device") == 0


def test_an_idle_peer_costs_nothing(stage: Any) -> None:
    for number in range(1000):
        stage.asks("/a", peer=number)
        (request,) = stage.hears()
        stage.says(answer(request), number)
    stage.wait(500)
    sizes = stage.endpoint.table_sizes()
    sizes.pop("message_ids")
    assert not any(sizes.values())
    assert stage.endpoint.next_timer() is None


def test_cancelled_requests_do_not_pile_up_in_the_timers(stage: Any) -> None:
    for _ in range(5000):
        stage.endpoint.cancel_request(stage.asks(), stage.now)
    assert stage.endpoint.table_sizes()["timers"] < 1000


def test_4_4_message_ids_of_one_peer_do_not_repeat_within_a_lifetime(stage: Any) -> None:
    seen = set()
    for _ in range(3000):
        stage.asks()
        (request,) = stage.hears()
        stage.says(answer(request))
        seen.add(request[4:8])
        stage.wait(0.05)
    assert len(seen) == 3000


def test_5_2_3_a_non_request_is_not_retransmitted(stage: Any) -> None:
    stage.asks("/a", confirmable=False, deadline=stage.now + 20)
    (request,) = stage.hears()
    assert request.startswith("58")
    assert only(stage.wait(21), RequestFailed).reason == "deadline"
    assert stage.hears() == []


def test_a_request_that_cannot_be_encoded_leaves_nothing_behind(stage: Any) -> None:
    with pytest.raises(ValueError):
        stage.asks(options=[(70000, b"")])
    with pytest.raises(ValueError):
        stage.asks(observe_cancel=True)
    assert stage.endpoint.open_requests("device") == 0
