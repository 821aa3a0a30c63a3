"""RFC 7252 §4, §5.2: an endpoint that is asked, in wire bytes."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.coap import message as m
from appliance.coap.endpoint import RequestReceived
from appliance.coap.message import Message, decode, encode
from appliance.coap.options import path_options

REGISTER = "42 02 1234 beef b2 7264 4c 65703d6e6f64652d30303031"  # CON POST /rd?ep=node-0001


def request_of(events: list[Any]) -> RequestReceived:
    (event,) = events
    assert isinstance(event, RequestReceived)
    return event


def test_5_2_1_piggybacked_response(stage: Any) -> None:
    request = request_of(stage.says(REGISTER))
    assert request.message.code == m.POST and request.peer == "device" and request.at == stage.now
    stage.endpoint.respond(request, m.CREATED, b"", path_options("/rd/7", 8), now=stage.now)
    assert stage.hears() == ["62411234beef827264" + "0137"]


def test_4_5_a_duplicate_gets_the_same_bytes_and_is_not_delivered(stage: Any) -> None:
    request = request_of(stage.says(REGISTER))
    stage.endpoint.respond(request, m.CREATED, b"", path_options("/rd/7", 8), now=stage.now)
    answer = stage.hears()
    stage.wait(40)
    assert stage.says(REGISTER) == []
    assert stage.hears() == answer


def test_4_5_a_duplicate_is_absorbed_while_the_application_decides(stage: Any) -> None:
    request = request_of(stage.says(REGISTER))
    assert stage.says(REGISTER) == [] and stage.hears() == []
    stage.endpoint.respond(request, m.CREATED, now=stage.now)
    assert len(stage.hears()) == 1


def test_4_5_another_peer_with_the_same_message_id_is_no_duplicate(stage: Any) -> None:
    stage.says(REGISTER)
    assert len(stage.says(REGISTER, "other")) == 1


def test_4_8_2_after_exchange_lifetime_a_message_id_is_new(stage: Any) -> None:
    stage.says(REGISTER)
    stage.wait(stage.endpoint.transmission.exchange_lifetime_s + 1)
    assert len(stage.says(REGISTER)) == 1


def test_4_8_2_lifetimes_of_the_default_parameters() -> None:
    from appliance.coap.transmission import Transmission

    transmission = Transmission()
    assert transmission.exchange_lifetime_s == 247.0
    assert transmission.non_lifetime_s == 145.0
    assert transmission.max_transmit_wait_s == 93.0


def test_5_2_2_an_empty_ack_leaves_when_the_answer_takes_long(stage: Any) -> None:
    request = request_of(stage.says(REGISTER))
    stage.wait(0.9)
    assert stage.hears() == []
    stage.wait(0.2)
    assert stage.hears() == ["60001234"]
    assert stage.says(REGISTER) == [] and stage.hears() == ["60001234"]
    stage.endpoint.respond(request, m.CHANGED, now=stage.now)
    (separate,) = stage.hears()
    message = decode(bytes.fromhex(separate))
    assert (message.type, message.code, message.token.hex()) == (m.CON, m.CHANGED, "beef")
    assert stage.says(f"6000{message.mid:04x}") == []
    stage.wait(300)
    assert stage.hears() == []


def test_5_2_2_a_separate_response_is_retransmitted_until_it_is_acknowledged(stage: Any) -> None:
    request = request_of(stage.says(REGISTER))
    stage.endpoint.acknowledge(request, stage.now)
    stage.endpoint.respond(request, m.CHANGED, now=stage.now)
    acknowledgement, separate = stage.hears()
    assert acknowledgement == "60001234"
    stage.wait(2.1)
    assert stage.hears() == [separate]
    stage.says("7000" + separate[4:8])
    stage.wait(100)
    assert stage.hears() == []
    assert stage.endpoint.table_sizes()["separate"] == 0


def test_5_2_2_a_separate_response_nobody_acknowledges_ends(stage: Any) -> None:
    request = request_of(stage.says(REGISTER))
    stage.endpoint.acknowledge(request, stage.now)
    stage.endpoint.respond(request, m.CHANGED, now=stage.now)
    stage.hears()
    stage.wait(100)
    assert len(stage.hears()) == 4
    sizes = stage.endpoint.table_sizes()
    assert sizes["separate"] == sizes["in_flight"] == 0


def test_5_2_3_a_non_request_gets_a_non_response(stage: Any) -> None:
    request = request_of(stage.says("51 01 1234 aa b1 61"))
    stage.endpoint.respond(request, m.CONTENT, b"hi", now=stage.now)
    message = decode(bytes.fromhex(stage.hears()[0]))
    assert (message.type, message.token, message.payload) == (m.NON, b"\xaa", b"hi")
    assert stage.says("51 01 1234 aa b1 61") == [] and stage.hears() == []


def test_a_request_is_answered_once(stage: Any) -> None:
    request = request_of(stage.says(REGISTER))
    stage.endpoint.respond(request, m.CHANGED, now=stage.now)
    with pytest.raises(RuntimeError):
        stage.endpoint.respond(request, m.CHANGED, now=stage.now)


def test_4_3_ping_gets_a_reset_and_an_empty_non_is_ignored(stage: Any) -> None:
    assert stage.says("40 00 1234") == [] and stage.hears() == ["70001234"]
    assert stage.says("50 00 1234") == [] and stage.hears() == []


@pytest.mark.parametrize(
    "datagram",
    ["49 01 1234 000000000000000000", "40 01 1234 ff", "40 01 1234 f0", "40 20 1234", "40 00 1234 00"],
)
def test_4_2_a_confirmable_format_error_gets_a_reset_and_others_silence(stage: Any, datagram: str) -> None:
    assert stage.says(datagram) == [] and stage.hears() == ["70001234"]
    for first in ("5", "6", "7"):
        assert stage.says(first + datagram[1:]) == [] and stage.hears() == []


def test_5_4_1_unknown_critical_option_in_a_request(stage: Any) -> None:
    assert stage.says("41 01 1234 aa d0 fe") == []  # option 267 is odd, so critical
    assert stage.hears()[0].startswith("61821234aa")
    assert stage.says("51 01 1235 aa d0 fe") == [] and stage.hears() == []
    sizes = stage.endpoint.table_sizes()
    assert sizes["confirmable"] == sizes["unconfirmed"] == 0


def test_5_4_1_unknown_elective_option_is_ignored(stage: Any) -> None:
    request = request_of(stage.says("41 01 1234 aa d0 ff"))  # option 268 is even, so elective
    assert request.message.options == []


def test_3_2_bad_utf8_in_the_path_is_a_bad_option(stage: Any) -> None:
    assert stage.says("41 01 1234 aa b2 fffe") == []
    assert stage.hears()[0].startswith("61821234aa")


def test_5_10_2_we_are_no_proxy(stage: Any) -> None:
    data = encode(Message(m.CON, m.GET, 1, b"", [(35, b"coap://elsewhere/")]))
    assert stage.says(data) == []
    assert stage.hears() == ["60a50001"]


def test_4_2_a_request_in_an_ack_is_ignored(stage: Any) -> None:
    assert stage.says("60 01 1234") == [] and stage.says("70 01 1234") == [] and stage.hears() == []


def test_caps_hold_against_strangers(make_stage: Any) -> None:
    stage = make_stage(max_duplicates=100, max_duplicate_bytes=2000, max_peers=50, max_separate=10)
    for number in range(2000):
        for kind in (m.CON, m.NON):
            data = encode(Message(kind, m.POST, number, b"t", path_options("/rd")))
            (event,) = stage.says(data, f"stranger {number}")
            if number % 3 == 0:
                stage.endpoint.acknowledge(event, stage.now)
            stage.endpoint.respond(event, m.CREATED, b"x" * 30, now=stage.now)
    sizes = stage.endpoint.table_sizes()
    assert sizes["confirmable"] <= 100 and sizes["unconfirmed"] <= 25 and sizes["answer_bytes"] <= 2100
    assert sizes["message_ids"] <= 101 and sizes["separate"] <= 10 and sizes["unanswered"] == 0
    stage.wait(600)
    assert {name: size for name, size in stage.endpoint.table_sizes().items() if size} == {
        "message_ids": sizes["message_ids"]
    }
    assert stage.endpoint.next_timer() is None
