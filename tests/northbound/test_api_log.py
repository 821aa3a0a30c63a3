"""The protocol log over HTTP: pages, live, downloads, and how many may look at once."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from appliance.northbound import api_log
from tests.northbound.conftest import Browser, Stand
from tests.northbound.test_listener import until
from tests.northbound.test_stream import Listening

Build = Callable[..., Stand]
EVERYTHING = dict.fromkeys(("endpoint_name", "direction", "code", "path", "bearer", "text"), "")


@contextmanager
def watching(browser: Browser, query: str = "", **headers: str) -> Iterator[Listening]:
    connection = browser.connect()
    try:
        connection.request("GET", f"/api/v1/log/stream{query}", headers={**browser.headers(), **headers})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.headers["Content-Type"] == "text/event-stream"
        yield Listening(response)
    finally:
        connection.close()


def test_a_page_is_the_newest_entries_or_those_after_one(stand: Build) -> None:
    here = stand()
    here.log.head = 500
    browser = here.browser("operate")
    page = browser.api("GET", "/log?limit=3").json
    assert [one["seq"] for one in page["entries"]] == [498, 499, 500]
    page = browser.api("GET", "/log?after=0&limit=2").json
    assert ([one["seq"] for one in page["entries"]], page["next"], page["oldest"]) == ([1, 2], 2, 1)


def test_filters_reach_the_log(stand: Build) -> None:
    here = stand()
    wanted = {
        "endpoint_name": "kitchen",
        "direction": "in",
        "code": "2.05",
        "path": "/3303/0",
        "bearer": "UDP",
        "text": "temperature",
    }
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    assert here.browser("operate").api("GET", f"/log?after=7&{query}").status == 200
    assert here.log.asked == [(7, 200, wanted)]


@pytest.mark.parametrize("query", ["direction=up", "after=-1", "limit=0", "path=3", "pth=/3"])
def test_what_is_no_filter_is_refused(stand: Build, query: str) -> None:
    reply = stand().browser("operate").api("GET", f"/log?{query}")
    assert (reply.status, reply.code) == (400, "invalid")


def test_payloads_are_for_those_who_operate(stand: Build) -> None:
    browser = stand().browser("read")
    for path in ("/log", "/log/stream", "/log.txt", "/log.pcap"):
        assert browser.api("GET", path).status == 403


def test_downloads_have_a_name_and_no_empty_piece(stand: Build) -> None:
    here = stand()
    browser = here.browser("operate")
    text = browser.api("GET", "/log.txt?code=4")
    assert text.data == b"one line\nanother\n"
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text.headers["Content-Disposition"].endswith('.txt"')
    assert here.log.asked == [("text", {**EVERYTHING, "code": "4"})]
    capture = browser.api("GET", "/log.pcap")
    assert capture.data == b"\xd4\xc3\xb2\xa1"
    assert capture.headers["Content-Type"] == "application/vnd.tcpdump.pcap"
    assert not here.northbound._room.log_places._held


def test_the_log_as_it_grows(stand: Build) -> None:
    here = stand()
    here.log.head = 10
    with watching(here.browser("operate"), "?direction=in") as stream:
        ready = stream.next()
        assert (ready["event"], ready.seq) == ("ready", 10)
        here.log.head = 12
        first, second = stream.next(), stream.next()
        assert (first["event"], first.seq, second.seq) == ("entry", 11, 12)
        assert first["data"]["summary"].startswith("Notify")
    assert here.log.asked[-1][2] == {**EVERYTHING, "direction": "in"}


def test_a_stream_goes_on_where_it_was_cut(stand: Build) -> None:
    here = stand()
    here.log.head = 20
    with watching(here.browser("operate"), **{"Last-Event-ID": "18"}) as stream:
        assert [stream.next().seq for _ in range(3)] == [18, 19, 20]
    with watching(here.browser("operate"), "?after=900") as stream:
        assert stream.next().seq == 20  # from before a restart of the appliance


def test_who_falls_behind_is_shown_the_newest(stand: Build) -> None:
    here = stand()
    here.log.head = 100
    here.log.oldest = 50
    with watching(here.browser("operate"), "?after=10") as stream:
        assert [(one["event"], one.seq) for one in (stream.next(), stream.next(), stream.next())] == [
            ("ready", 10),
            ("reset", 49),
            ("entry", 50),
        ]
    with watching(here.browser("operate")) as stream:
        assert stream.next()["event"] == "ready"
        here.log.head = 100 + 2 * api_log.MAX_BEHIND
        assert (stream.next()["event"], stream.next().seq) == ("reset", here.log.head - api_log.BATCH + 1)


def test_a_quiet_stream_shows_life_and_ends_with_the_right_to_it(stand: Build) -> None:
    here = stand(keep_alive_s=0.05)
    browser = here.browser()
    browser.log_in()
    with watching(browser) as stream:
        stream.until_sign_of_life()
        assert browser.api("DELETE", "/session").status == 204
        with pytest.raises(EOFError):
            while True:
                stream.until_sign_of_life()


def test_a_busy_stream_ends_with_the_right_to_it(stand: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_log, "LOOK_S", 0.01)
    here = stand(keep_alive_s=0.05)
    browser = here.browser()
    browser.log_in()
    read = here.log.read

    def more(after: int, limit: int, wanted: Any) -> dict[str, Any]:
        here.log.head += 1
        return read(after, limit, wanted)

    monkeypatch.setattr(here.log, "read", more)
    here.log.head = 1
    with watching(browser, "?after=0") as stream:
        stream.next()
        assert browser.api("DELETE", "/session").status == 204
        with pytest.raises(EOFError):
            while True:
                stream.next()


def test_who_looks_is_bounded_and_a_page_loaded_anew_is_not_locked_out(stand: Build) -> None:
    here = stand(max_log_streams=2)
    browser = here.browser("operate")
    with watching(browser), watching(browser):
        reply = browser.api("GET", "/log/stream")
        assert (reply.status, reply.code) == (503, "busy")
        assert browser.api("GET", "/log.txt").status == 503
        assert browser.api("GET", "/log").status == browser.api("GET", "/devices").status == 200
    for _ in range(6):
        with watching(browser) as stream:
            assert stream.next()["event"] == "ready"
    until(lambda: not here.northbound._room.log_places._held)


def test_head_takes_no_place(stand: Build) -> None:
    here = stand()
    browser = here.browser("operate")
    for path in ("/log/stream", "/log.txt") * 3:
        assert browser.api("HEAD", path).status == 200
    assert not here.northbound._room.log_places._held


def test_nothing_more_is_said_once_the_right_is_gone(stand: Build) -> None:
    here = stand(keep_alive_s=300.0)
    with watching(here.browser("operate")) as stream:
        stream.next()
        (token,) = here.identity.list_tokens()
        here.identity.revoke_token(token.id)
        here.log.head += 1
        with pytest.raises(EOFError):
            stream.next()


def test_stop_ends_the_stream(stand: Build) -> None:
    here = stand(keep_alive_s=300.0)
    with watching(here.browser("operate")) as stream:
        stream.next()
        here.northbound.stop()
        with pytest.raises((EOFError, http.client.HTTPException, OSError)):
            stream.next()
