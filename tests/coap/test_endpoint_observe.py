"""RFC 7641: the observations of an endpoint, in wire bytes."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.coap import message as m
from appliance.coap.endpoint import (
    NotificationReceived,
    RequestFailed,
    ResponseReceived,
    is_fresh,
)
from appliance.coap.message import Message, decode, encode

TOKEN = (1).to_bytes(8, "big")
NOTIFICATION = "4845 1001 0000000000000001 61 05 ff 3231"  # CON 2.05, Observe 5, "21"


def observing(stage: Any) -> None:
    """The device has accepted GET /3303/0/5700 with Observe."""
    stage.asks("/3303/0/5700", observe=True)
    (request,) = stage.hears()
    asked = decode(bytes.fromhex(request))
    assert asked.options[0] == (6, b"") and asked.token == TOKEN
    (event,) = stage.says(f"6845{asked.mid:04x}0000000000000001" + "6104" + "ff3230")
    assert isinstance(event, ResponseReceived) and event.observing and event.token == TOKEN
    assert stage.endpoint.is_observing(TOKEN)


def notified(events: list[Any]) -> NotificationReceived:
    (event,) = events
    assert isinstance(event, NotificationReceived), event
    return event


def test_3_1_a_response_without_observe_begins_no_observation(stage: Any) -> None:
    stage.asks("/3303/0/5700", observe=True)
    (request,) = stage.hears()
    (event,) = stage.says("6845" + request[4:8] + "0000000000000001" + "ff3230")
    assert not event.observing and not stage.endpoint.is_observing(TOKEN)


def test_3_2_the_ack_of_a_notification_waits_for_the_application(stage: Any) -> None:
    observing(stage)
    event = notified(stage.says(NOTIFICATION))
    assert (event.key, event.token, event.observe, event.final) == ("/3303/0/5700", TOKEN, 5, False)
    assert event.message.payload == b"21"
    stage.wait(2)
    assert stage.says(NOTIFICATION) == [] and stage.hears() == []  # still on its way to the disk
    stage.endpoint.accept_notification(event, stage.now)
    assert stage.hears() == ["60001001"]
    assert stage.says(NOTIFICATION) == [] and stage.hears() == ["60001001"]


def test_3_2_a_non_notification_is_not_acknowledged(stage: Any) -> None:
    observing(stage)
    event = notified(stage.says("5" + NOTIFICATION[1:]))
    stage.endpoint.accept_notification(event, stage.now)
    assert stage.hears() == []
    assert stage.says("5" + NOTIFICATION[1:]) == []


def test_3_2_refused_in_silence_it_is_delivered_again(stage: Any) -> None:
    observing(stage)
    event = notified(stage.says(NOTIFICATION))
    stage.endpoint.refuse_notification(event, stage.now, reset=False)
    assert stage.hears() == []
    notified(stage.says(NOTIFICATION))


def test_3_6_refused_with_a_reset(stage: Any) -> None:
    observing(stage)
    event = notified(stage.says(NOTIFICATION))
    stage.endpoint.refuse_notification(event, stage.now, reset=True)
    assert stage.hears() == ["70001001"]
    assert stage.says(NOTIFICATION) == [] and stage.hears() == ["70001001"]
    with pytest.raises(RuntimeError):
        stage.endpoint.accept_notification(event, stage.now)


def test_the_observation_does_not_depend_on_the_address(stage: Any) -> None:
    observing(stage)
    event = notified(stage.says(NOTIFICATION, "device behind a new port"))
    assert event.peer == "device behind a new port" and event.key == "/3303/0/5700"


def test_an_unknown_token_gets_a_reset(stage: Any) -> None:
    assert stage.says(NOTIFICATION) == [] and stage.hears() == ["70001001"]
    assert stage.says("5" + NOTIFICATION[1:]) == [] and stage.hears() == ["70001001"]
    assert stage.says("5845 1002 0000000000000001 ff 32") == [] and stage.hears() == []
    assert stage.endpoint.table_sizes()["confirmable"] == 0


def test_an_observation_survives_a_restart(stage: Any, make_stage: Any) -> None:
    observing(stage)
    restarted = make_stage()
    restarted.endpoint.restore_observation(TOKEN, "temperature")
    event = notified(restarted.says(NOTIFICATION))
    assert event.key == "temperature"
    restarted.endpoint.accept_notification(event, restarted.now)
    assert restarted.hears() == ["60001001"]


def test_a_request_that_fails_touches_no_observation(stage: Any) -> None:
    observing(stage)
    stage.asks("/3/0")
    (failed,) = stage.wait(62)
    assert isinstance(failed, RequestFailed)
    stage.asks("/3303/0/5700", token=TOKEN, observe=True)
    (failed,) = stage.wait(62)
    stage.asks("/3303/0/5700", token=TOKEN, observe_cancel=True)
    (failed,) = stage.wait(62)
    stage.endpoint.forget_peer("device", stage.now)
    notified(stage.says(NOTIFICATION))


def test_3_6_active_cancel_repeats_the_token_with_observe_1(stage: Any) -> None:
    observing(stage)
    stage.asks("/3303/0/5700", token=TOKEN, observe_cancel=True)
    (request,) = stage.hears()
    asked = decode(bytes.fromhex(request))
    assert asked.token == TOKEN and asked.options[0] == (6, b"\x01") and asked.code == m.GET
    crossed = notified(stage.says(NOTIFICATION))  # was on its way already
    stage.endpoint.accept_notification(crossed, stage.now)
    assert stage.hears() == ["60001001"]
    (event,) = stage.says(f"6845{asked.mid:04x}0000000000000001" + "ff3232")
    assert isinstance(event, ResponseReceived) and not event.observing and event.message.payload == b"22"
    assert not stage.endpoint.is_observing(TOKEN)


def test_3_6_passive_cancel_resets_the_next_notification(stage: Any) -> None:
    observing(stage)
    assert stage.endpoint.end_observation(TOKEN, stage.now)
    assert stage.says(NOTIFICATION) == [] and stage.hears() == ["70001001"]
    assert not stage.endpoint.end_observation(TOKEN, stage.now)


@pytest.mark.parametrize(
    "last",
    ["4884 1001 0000000000000001", "4884 1001 0000000000000001 61 05", "4845 1001 0000000000000001 ff 32"],
)
def test_3_2_an_error_or_a_lacking_observe_ends_the_observation(stage: Any, last: str) -> None:
    observing(stage)
    event = notified(stage.says(last))
    assert event.final and stage.endpoint.is_observing(TOKEN)
    stage.endpoint.accept_notification(event, stage.now)
    assert stage.hears() == ["60001001"] and not stage.endpoint.is_observing(TOKEN)
    assert stage.says(last) == [] and stage.hears() == ["60001001"]


def test_5_4_1_unknown_critical_option_in_a_notification(stage: Any) -> None:
    observing(stage)
    data = encode(Message(m.CON, m.CONTENT, 0x1001, TOKEN, [(6, b"\x05"), (267, b"")]))
    assert stage.says(data) == [] and stage.hears() == ["70001001"]


@pytest.mark.parametrize(
    ("new", "old", "seconds", "fresh"),
    [
        (2, 1, 0.0, True),
        (1, 2, 0.0, False),
        (1, 1, 0.0, False),
        (0, 0xFFFFFF, 1.0, True),
        (0xFFFFFF, 0, 1.0, False),
        (0x800000, 0, 1.0, False),
        (0x7FFFFF, 0, 1.0, True),
        (1, 2, 128.0, False),
        (1, 2, 128.1, True),
    ],
)
def test_3_4_reordering(new: int, old: int, seconds: float, fresh: bool) -> None:
    assert is_fresh(new, old, seconds) is fresh


def test_an_answer_without_observe_ends_a_renewed_observation(stage: Any) -> None:
    observing(stage)
    stage.asks("/3303/0/5700", token=TOKEN, observe=True)
    (request,) = stage.hears()
    (event,) = stage.says("6884" + request[4:8] + TOKEN.hex())
    assert event.message.code == m.NOT_FOUND and not event.observing
    assert not stage.endpoint.is_observing(TOKEN)


def test_an_observation_whose_first_answer_fails_is_not_kept(stage: Any) -> None:
    number = stage.asks("/3303", observe=True)
    (request,) = stage.hears()
    # 2.05 with Observe 1 and Block2 0/more/1024: the rest of it never comes.
    assert stage.says("6845" + request[4:8] + TOKEN.hex() + "6101" + "d1040e" + "ff" + "00" * 1024) == []
    assert stage.endpoint.is_observing(TOKEN)
    (failed,) = stage.wait(62)
    assert isinstance(failed, RequestFailed) and failed.request_id == number
    assert not stage.endpoint.is_observing(TOKEN)
    stage.hears()
    assert stage.says(NOTIFICATION) == [] and stage.hears() == ["70001001"]


def test_an_observation_is_small(stage: Any) -> None:
    """One remembered observation: the token, a slotted value, its request in wire bytes."""
    import tracemalloc

    options = [(11, b"3303"), (11, b"0"), (11, b"5700"), (17, b"\x2d\x16")]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1000):
        stage.endpoint.restore_observation(number.to_bytes(8, "big"), None, options=options)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert (after - before) / 1000 < 400
