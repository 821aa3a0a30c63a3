"""Server-sent events: ids, replay, signs of life, and a bounded number of listeners."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from appliance.northbound.errors import ApiError
from appliance.northbound.stream import BATCH_ROWS, RING_EVENTS, Feed, Stream
from tests.northbound.conftest import Browser, FakeBroker, Stand
from tests.northbound.test_listener import until

Build = Callable[..., Stand]


class Event(dict[str, Any]):
    @property
    def seq(self) -> int:
        return int(self["id"])


class Listening:
    """The lines of a stream, read as a browser does (HTML Living Standard §9.2.6)."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.comments: list[str] = []

    def next(self) -> Event:
        event = Event(event="message")
        while line := self.response.readline().decode():
            line = line.rstrip("\n")
            if not line:
                if "data" in event:
                    event["data"] = json.loads(event["data"])
                    return event
                event = Event(event="message")
            elif line.startswith(":"):
                self.comments.append(line)
            else:
                name, _, value = line.partition(": ")
                event[name] = value
        raise EOFError

    def until_sign_of_life(self) -> None:
        while True:
            line = self.response.readline()
            if not line:
                raise EOFError
            if line.startswith(b": keep-alive"):
                return


@contextmanager
def listening(browser: Browser, query: str = "", **headers: str) -> Iterator[Listening]:
    connection = browser.connect()
    try:
        connection.request("GET", f"/api/v1/stream{query}", None, {**browser.headers(), **headers})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        yield Listening(response)
    finally:
        if connection.sock is not None:
            connection.sock.close()
        connection.close()


# Over the socket


def test_a_stream_begins_now_and_goes_on_live(stand: Build) -> None:
    here = stand()
    here.broker.append(words="before")
    with listening(here.browser("read")) as stream:
        ready = stream.next()
        assert (ready["event"], ready.seq, ready["retry"]) == ("ready", 1, "2000")
        for number in range(3):
            here.broker.append("kitchen", "value", words=f"now {number}")
            event = stream.next()
            assert (event["event"], event.seq) == ("value", number + 2)
            assert event["data"]["words"] == f"now {number}" and event["data"]["endpoint_name"] == "kitchen"


@pytest.mark.parametrize("how", ["header", "query", "both"])
def test_what_was_missed_comes_again(stand: Build, how: str) -> None:
    here = stand()
    for number in range(BATCH_ROWS * 2 + 10):
        here.broker.append(words=str(number))
    query = {"header": "", "query": "?after=5", "both": "?after=400"}[how]
    headers = {} if how == "query" else {"Last-Event-ID": "5"}
    with listening(here.browser("read"), query, **headers) as stream:
        assert stream.next()["event"] == "ready"
        assert [stream.next().seq for _ in range(BATCH_ROWS * 2 + 5)] == list(range(6, BATCH_ROWS * 2 + 11))
        here.broker.append()
        assert stream.next().seq == BATCH_ROWS * 2 + 11


def test_a_cut_stream_resumes_without_loss_or_repetition(stand: Build) -> None:
    here = stand()
    browser, seen = here.browser("read"), [0]
    writer = threading.Thread(target=lambda: [here.broker.append() for _ in range(2000)])
    for cut in range(10):
        with listening(browser, "?after=0" if cut == 0 else "", **{"Last-Event-ID": str(seen[-1])}) as stream:
            if cut == 0:
                writer.start()
            for _ in range(100):
                event = stream.next()
                if event["event"] == "value":
                    seen.append(event.seq)
    writer.join(20)
    assert seen == list(range(len(seen))) and len(seen) > 900


def test_who_missed_too_much_is_told_to_load_anew(stand: Build) -> None:
    here = stand(max_replay=100)
    for _ in range(200):
        here.broker.append()
    for last in ("1", "99999", "0"):
        with listening(here.browser("read"), **{"Last-Event-ID": last}) as stream:
            event = stream.next()
            assert (event["event"], event.seq) == ("reset", 200)
            here.broker.append()
            assert stream.next().seq == 201
            here.broker.rows.pop()
    here.broker.prune(150)
    with listening(here.browser("read"), "?after=120") as stream:
        assert stream.next()["event"] == "reset"
    with listening(here.browser("read"), "?after=150") as stream:
        assert stream.next()["event"] == "ready" and stream.next().seq == 151


def test_only_one_device(stand: Build) -> None:
    here = stand()
    with listening(here.browser("read"), "?endpoint_name=hall&after=0") as stream:
        stream.next()
        for name in ("kitchen", "hall", "kitchen", "hall"):
            here.broker.append(name)
        assert [stream.next().seq for _ in range(2)] == [2, 4]


def test_a_quiet_stream_shows_life(stand: Build) -> None:
    with listening(stand(keep_alive_s=0.05).browser("read")) as stream:
        for _ in range(3):
            stream.until_sign_of_life()


def test_a_stream_ends_with_the_login(stand: Build) -> None:
    here = stand(keep_alive_s=0.05)
    browser = Browser(here.port)
    browser.log_in()
    with listening(browser) as stream:
        stream.until_sign_of_life()
        assert browser.api("DELETE", "/session").status == 204
        with pytest.raises(EOFError):
            while True:
                stream.until_sign_of_life()


def test_a_busy_stream_ends_with_the_token(stand: Build) -> None:
    """It comes to no sign of life, so it is looked at before each word."""
    here = stand(keep_alive_s=300.0)
    with listening(here.browser("read")) as stream:
        stream.next()
        here.broker.append()
        assert stream.next().seq == 1
        (token,) = here.identity.list_tokens()
        here.identity.revoke_token(token.id)
        here.broker.append()
        with pytest.raises(EOFError):
            stream.next()


def test_streams_are_bounded_and_starve_nobody(stand: Build) -> None:
    """Four streams, and the fifth is told when to come back; requests have threads of their own."""
    here = stand()
    browser = here.browser("read")
    with listening(browser) as one, listening(browser), listening(browser), listening(browser):
        assert one.next()["event"] == "ready"
        refused = browser.api("GET", "/stream")
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "busy", "10")
        replies: list[int] = []
        threads = [
            threading.Thread(target=lambda: replies.append(browser.api("GET", "/devices").status))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert replies == [200] * 20


def test_the_place_of_a_client_that_has_gone_is_given_away(stand: Build) -> None:
    """A page that is loaded again and again does not lock itself out until its old streams are noticed."""
    here = stand(keep_alive_s=300.0)
    browser = here.browser("read")
    for _ in range(30):
        with listening(browser) as stream:
            assert stream.next()["event"] == "ready"
    until(lambda: here.northbound._feed.streams <= 4)


def test_head_takes_no_place(stand: Build) -> None:
    here = stand()
    browser = here.browser("read")
    for _ in range(10):
        assert browser.api("HEAD", "/stream").status == 200
    assert here.northbound._feed.streams == 0


def test_stop_ends_streams_at_once(stand: Build) -> None:
    here = stand(keep_alive_s=300.0)
    with listening(here.browser("read")) as stream:
        stream.next()
        began = time.monotonic()
        here.northbound.stop()
        with pytest.raises((EOFError, http.client.HTTPException, OSError)):
            stream.next()
        assert time.monotonic() - began < 5


def test_a_failure_inside_does_not_end_the_feed(stand: Build, caplog: pytest.LogCaptureFixture) -> None:
    here = stand()
    with listening(here.browser("read")) as stream:
        stream.next()
        here.devices.explode = ZeroDivisionError()
        here.broker.append()
        until(lambda: "the live feed stumbled" in caplog.text)
        here.devices.explode = None
        assert stream.next().seq == 1


# The feed itself


def feed_over(broker: FakeBroker, **changed: Any) -> tuple[Feed, list[int]]:
    asked: list[int] = []

    def events(rows: Any) -> list[dict[str, Any]]:
        asked.extend(row.seq for row in rows)
        return [{"seq": row.seq, "kind": row.kind, "endpoint_name": row.entity, **row.body} for row in rows]

    settings = {"max_streams": 100, "keep_alive_s": 10.0, "max_replay": 10**9, **changed}
    return Feed(broker, events, **settings), asked


def opened(feed: Feed, after: int | None = None) -> Stream:
    stream = feed.open(after, lambda _: True, lambda: False, lambda: True)
    next(stream)
    return stream


def numbers(stream: Stream, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        for line in next(stream).split(b"\n"):
            if line.startswith(b"id: "):
                found.append(int(line[4:]))
    return found


def test_an_event_is_made_once_however_many_listen() -> None:
    broker = FakeBroker()
    feed, asked = feed_over(broker)
    streams = [opened(feed) for _ in range(50)]
    for _ in range(20):
        broker.append()
    assert all(numbers(stream, 20) == list(range(1, 21)) for stream in streams)
    assert asked == list(range(1, 21))
    feed.close()
    assert feed.streams == 0


def test_a_slow_stream_reads_the_journal_itself_and_catches_up() -> None:
    broker = FakeBroker()
    feed, _ = feed_over(broker)
    slow, quick = opened(feed), opened(feed)
    total = RING_EVENTS * 3
    for _ in range(total):
        broker.append()
    assert numbers(quick, total) == list(range(1, total + 1))
    assert len(feed._ring) <= RING_EVENTS
    assert numbers(slow, total) == list(range(1, total + 1))
    broker.append()
    assert numbers(slow, 1) == numbers(quick, 1) == [total + 1]
    feed.close()


def test_memory_of_the_ring_is_bounded_in_bytes() -> None:
    broker = FakeBroker()
    feed, _ = feed_over(broker)
    stream = opened(feed)
    for _ in range(40):
        broker.append(words="x" * 100_000)
    assert numbers(stream, 40) == list(range(1, 41))
    assert sum(len(one.data) for one in feed._ring) < 1_300_000
    feed.close()


def test_the_thread_rests_while_nobody_listens() -> None:
    broker = FakeBroker()
    feed, asked = feed_over(broker)
    stream = opened(feed)
    stream.close()
    stream.close()
    until(lambda: feed._thread is None)
    broker.append()
    again = opened(feed)
    broker.append()
    assert numbers(again, 1) == [2] and asked == [2]
    feed.close()
    with pytest.raises(ApiError):
        opened(feed)


def test_a_client_that_has_gone_ends_its_stream() -> None:
    feed, _ = feed_over(FakeBroker())
    gone = False
    stream = feed.open(None, lambda _: True, lambda: gone, lambda: True)
    next(stream)
    gone = True
    assert list(stream) == [] and feed.streams == 0
    feed.close()
