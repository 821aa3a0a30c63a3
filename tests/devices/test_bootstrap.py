"""Bootstrap sessions (OMA Core §6.1; traps 44 to 49): their order, and everything that goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

import pytest
from aiocoap.numbers import codes

from appliance.devices import bootstrap
from appliance.devices.bootstrap_tries import MAX_TRIES
from appliance.devices.bootstrap_way import MAX_REQUESTS
from appliance.devices.errors import DeviceError
from appliance.lwm2m.codecs import decode
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink
from tests.devices.bootstrap_bench import LINKS, MODEL, SECRET, Bench, Device, named, written

USUAL = ["GET /", "PUT /0/1", "PUT /1/0", "POST /bs"]
TLV, SENML_CBOR, SENML_JSON = 11542, 112, 110


@pytest.fixture
def bench(tmp_path: File) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


async def begun(bench: Bench, **more: Any) -> Device:
    """A device whose request was answered."""
    device = bench.device()
    answer = await device.request(**more)
    assert answer.code == codes.CHANGED, answer
    return device


# --- the way of a session


def test_the_request_is_answered_before_anything_is_asked_and_finish_ends_it(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        assert await device.play() == USUAL
        session = await bench.ended()
        assert session["state"] == "finished", session
        assert session["endpoint_name"] == "meter-1"
        assert session["text"] == (
            "Finished: the device has 1 server and took its new configuration. "
            "Next it registers here with it."
        )
        assert session["plan"] == {"id": "default", "name": "Default"}
        assert bench.steps() == ["Request /bs", "Discover /", "Key", "Write /0/1", "Write /1/0", "Finish /bs"]
        assert all(step["ok"] for step in session["steps"])
        await bench.until(lambda: bench.keyring.done == ["meter-1"])
        assert not bench.bootstraps.is_under_way("meter-1")
        progress = bench.bootstraps.progress("meter-1")
        assert progress is not None
        assert (progress.state, progress.text) == ("finished", session["text"])
        bench.bootstraps.registered("meter-1")
        assert bench.bootstraps.progress("meter-1") is None

    bench.run(run())


def test_what_is_written_makes_a_whole_account_of_this_gateway(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        device.answer(await device.next(), codes.CONTENT, LINKS)
        security = await device.next()
        assert security.opt.content_format == TLV
        assert written(security) == {
            "/0/1/0": "coaps://192.0.2.1:5684", "/0/1/1": False, "/0/1/2": 0, "/0/1/3": b"meter-1",
            "/0/1/4": b"", "/0/1/5": SECRET, "/0/1/10": 1,
        }  # fmt: skip
        device.answer(security, codes.CHANGED)
        server = await device.next()
        assert written(server) == {
            "/1/0/0": 1, "/1/0/1": 300, "/1/0/6": True, "/1/0/7": "U", "/1/0/23": False,
        }  # fmt: skip
        device.answer(server, codes.CHANGED)
        finish = await device.next()
        assert (named(finish), finish.payload) == ("POST /bs", b"")
        device.answer(finish, codes.CHANGED)
        await bench.ended()

    bench.run(run())


def test_old_accounts_go_first_and_the_bootstrap_account_stays(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        links = b"</>;lwm2m=1.1,</0/0>;ssid=9,</0/1>,</0/2>;ssid=1,</1/0>;ssid=9,</1/3>;ssid=1,</2/0>,</21/0>"
        assert await device.play(links) == [
            "GET /", "DELETE /0/0", "DELETE /0/2", "DELETE /1", "DELETE /2",
            "PUT /0/2", "PUT /1/3", "POST /bs",
        ]  # fmt: skip
        assert (await bench.ended())["state"] == "finished"

    bench.run(run())


def test_a_device_with_hundreds_of_accounts_does_not_fill_the_history(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        accounts = ",".join(f"</0/{number}>;ssid={number}" for number in range(1, 601))
        request = await device.next()
        device.answer(request, codes.CONTENT, b"</>;lwm2m=1.1,</0/0>," + accounts.encode())
        for _ in range(MAX_REQUESTS - 1):
            device.answer(await device.next(), codes.DELETED)
        session = await bench.ended()
        assert session["state"] == "failed" and "far more accounts than one needs" in session["text"]
        texts = [step["text"] for step in session["steps"]]
        assert any(text.endswith("/0/8 of server 8 and 592 more.") for text in texts)
        assert len(texts) <= MAX_REQUESTS + 5 and max(map(len, texts)) < 500

    bench.run(run())


def test_the_preferred_format_comes_first_and_another_one_when_it_is_refused(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench, query=("pct=112",))
        device.answer(await device.next(), codes.CONTENT, LINKS)
        tried = []
        for code in (codes.UNSUPPORTED_CONTENT_FORMAT, codes.NOT_ACCEPTABLE, codes.CHANGED, codes.CHANGED):
            request = await device.next()
            tried.append((named(request), int(request.opt.content_format)))
            device.answer(request, code)
        # What worked for the first is taken for the second.
        assert tried == [
            ("PUT /0/1", SENML_CBOR), ("PUT /0/1", TLV), ("PUT /0/1", SENML_JSON), ("PUT /1/0", SENML_JSON),
        ]  # fmt: skip
        device.answer(await device.next(), codes.CHANGED)
        assert (await bench.ended())["state"] == "finished"

    bench.run(run())


@pytest.mark.parametrize(("by", "first", "then"), [("instance", "/0/1", "/0"), ("object", "/0", "/0/1")])
def test_what_is_refused_one_way_is_written_the_other_way(
    bench: Bench, by: str, first: str, then: str
) -> None:
    async def run() -> None:
        bench.plan(write_by=by, deletes=["/0", "/1"])
        device = await begun(bench)
        asked = await device.play(answers={f"PUT {first}": codes.METHOD_NOT_ALLOWED})
        writes = [one for one in asked if one.startswith("PUT /0")]
        assert writes == [f"PUT {first}", f"PUT {then}"]
        session = await bench.ended()
        assert session["state"] == "finished"
        refused = next(step for step in session["steps"] if not step["ok"])
        assert (refused["path"], refused["code"]) == (first, "4.05 Method Not Allowed")

    bench.run(run())


def test_several_servers_go_in_one_write_by_object(bench: Bench) -> None:
    async def run() -> None:
        second = {"short_server_id": 2, "uri": "coap://198.51.100.9", "security": "nosec"}
        bench.plan(servers=[{}, second], write_by="object", deletes=["/0", "/1"])
        device = await begun(bench)
        seen: dict[str, dict[str, Any]] = {}
        while True:
            request = await device.next()
            if request.code == codes.PUT:
                seen[named(request)] = written(request)
            device.answer(request, codes.CONTENT if request.code == codes.GET else codes.CHANGED, LINKS)
            if named(request) == "POST /bs":
                break
        assert seen["PUT /0"]["/0/1/10"] == 1
        assert seen["PUT /0"]["/0/2/0"] == "coap://198.51.100.9"
        assert seen["PUT /1"]["/1/1/0"] == 2
        await bench.ended()

    bench.run(run())


def test_oscore_goes_before_the_security_that_links_it(bench: Bench) -> None:
    async def run() -> None:
        bench.keyring.auto = "oscore"
        device = await begun(bench)
        assert await device.play() == ["GET /", "PUT /21/0", "PUT /0/1", "PUT /1/0", "POST /bs"]
        assert (await bench.ended())["state"] == "finished"

    bench.run(run())


def test_what_was_written_is_read_back_where_the_plan_wants_it(bench: Bench) -> None:
    async def run() -> None:
        access = [{"object_id": 3, "instance_id": 0, "owner": 1, "rights": {"1": 15}}]
        bench.plan(read_back=True, access_control=access)
        device = await begun(bench)
        answers = {"GET /1": (codes.CONTENT, b""), "GET /2": (codes.METHOD_NOT_ALLOWED, b"")}
        asked = await device.play(answers=answers)
        assert asked[-5:] == ["PUT /1/0", "PUT /2/0", "GET /1", "GET /2", "POST /bs"]
        session = await bench.ended()
        assert session["state"] == "finished"
        read = [step for step in session["steps"] if step["what"] == "Read"]
        assert [step["ok"] for step in read] == [True, False]
        assert "but for /1/0/0" in read[0]["text"]

    bench.run(run())


def test_further_writes_and_their_variables_may_be_refused(bench: Bench) -> None:
    async def run() -> None:
        bench.plan(writes={"/3/0/15": "$endpoint_name", "/3/0/14": "+02:00"})
        device = await begun(bench)
        seen = []
        while True:
            request = await device.next()
            if named(request) == "PUT /3/0/15":
                seen.append(request.payload)
            refused = named(request) == "PUT /3/0/14"
            code = codes.CONTENT if request.code == codes.GET else codes.CHANGED
            device.answer(request, codes.METHOD_NOT_ALLOWED if refused else code, LINKS)
            if named(request) == "POST /bs":
                break
        assert b"meter-1" in seen[0]
        session = await bench.ended()
        assert session["state"] == "finished"
        assert "refused 1 of the further steps" in session["text"]

    bench.run(run())


# --- what a device does not tell, or refuses


def test_a_list_of_1_0_is_understood(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        asked = await device.play(b'lwm2m="1.0",</0/0>,</0/1>;ssid=1,</1/0>;ssid=1,</3/0>')
        assert asked == ["GET /", "DELETE /0/1", "DELETE /1", "PUT /0/1", "PUT /1/0", "POST /bs"]

    bench.run(run())


def test_objects_are_asked_for_one_by_one_when_the_root_is_refused(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        answers = {
            "GET /": codes.METHOD_NOT_ALLOWED,
            "GET /0": (codes.CONTENT, b"</0/3>,</0/0>;ssid=1"),
            "GET /1": (codes.CONTENT, b"</1/7>;ssid=1"),
        }
        asked = await device.play(answers=answers)
        assert asked == [
            "GET /", "GET /0", "GET /1", "DELETE /0/0", "DELETE /1", "PUT /0/0", "PUT /1/7", "POST /bs",
        ]  # fmt: skip

    bench.run(run())


def test_without_a_discover_what_may_be_the_bootstrap_account_is_spared(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        answers = {"GET /": codes.METHOD_NOT_ALLOWED, "GET /0": codes.NOT_FOUND}
        asked = await device.play(answers=answers)
        assert asked[-3:] == ["PUT /0/2", "PUT /1/0", "POST /bs"]
        session = await bench.ended()
        assert session["state"] == "finished"
        assert any("does not tell what it has" in step["text"] for step in session["steps"])

    bench.run(run())


def test_a_refused_delete_stops_nothing(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        links = b"</>;lwm2m=1.1,</0/0>,</0/1>;ssid=1,</1/0>;ssid=1"
        answers = {"DELETE /0/1": codes.METHOD_NOT_ALLOWED, "DELETE /1": codes.NOT_FOUND}
        assert (await device.play(links, answers))[-1] == "POST /bs"
        session = await bench.ended()
        assert session["state"] == "finished"
        assert "refused 1" in session["text"]

    bench.run(run())


def test_an_account_that_is_refused_in_every_form_ends_it_without_finish(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        refusal = (codes.BAD_REQUEST, b"no room")
        asked = await device.play(answers={"PUT /0/1": refusal, "PUT /0": refusal}, last="PUT /0")
        assert asked == ["GET /", "PUT /0/1", "PUT /0"]
        session = await bench.ended()
        assert session["state"] == "failed"
        assert session["text"].startswith("The device refused to be written /0: Bad Request")
        assert '"no room"' in session["text"]
        assert device.heard.empty()
        assert bench.keyring.done == []

    bench.run(run())


@pytest.mark.parametrize("code", [codes.NOT_ACCEPTABLE, codes.BAD_REQUEST, codes.INTERNAL_SERVER_ERROR])
def test_any_other_answer_to_finish_is_a_failure(bench: Bench, code: Any) -> None:
    async def run() -> None:
        device = await begun(bench)
        answers: dict[str, Any] = {"POST /bs": (code, b"no server account")}
        if code == codes.NOT_ACCEPTABLE:
            everything = b"</>;lwm2m=1.1,</0/0>,</0/1>;ssid=1,</1/0>;ssid=1"
            answers["GET /"] = [(codes.CONTENT, LINKS), (codes.CONTENT, everything)]
        await device.play(answers=answers)
        if code == codes.NOT_ACCEPTABLE:
            # The device is asked whether it has what it was given; it has, so there is nothing to repair.
            device.answer(await device.next(), codes.CONTENT, everything)
        session = await bench.ended()
        assert session["state"] == "failed"
        assert "no server account" in session["text"]
        assert ("inconsistent (4.06 to Finish)" in session["text"]) == (code == codes.NOT_ACCEPTABLE)
        assert bench.keyring.done == []

    bench.run(run())


@pytest.mark.parametrize("repaired", [True, False])
def test_what_is_missing_after_4_06_is_written_again_once(bench: Bench, repaired: bool) -> None:
    async def run() -> None:
        device = await begun(bench)
        await device.play(answers={"POST /bs": codes.NOT_ACCEPTABLE})
        without = b"</>;lwm2m=1.1,</0/0>,</0/1>;ssid=1"
        asked = await device.play(
            without, answers={"POST /bs": codes.CHANGED if repaired else codes.NOT_ACCEPTABLE}
        )
        assert asked == ["GET /", "PUT /1", "POST /bs"]
        session = await bench.ended()
        assert session["state"] == ("finished" if repaired else "failed")
        assert any(step["what"] == "Repair" and "/1/0" in step["text"] for step in session["steps"])
        assert device.heard.empty()

    bench.run(run())


# --- time, and devices that come again


def test_a_device_that_falls_silent_ends_it_within_its_exchange_lifetime(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        await device.next()  # the Discover, which is not answered
        for _ in range(8):
            bench.ahead_s += 31
            bench.server._on_timer()
            await bench.until(lambda: True)
        session = await bench.ended()
        assert session["state"] == "failed"
        assert session["text"].startswith("The device did not answer Discover /: ")

    bench.run(run())


def test_a_slow_device_runs_out_of_time(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        discover = await device.next()
        bench.ahead_s += 239
        device.answer(discover, codes.CONTENT, LINKS)
        write = await device.next()
        bench.ahead_s += 2
        device.answer(write, codes.CHANGED)
        session = await bench.ended()
        assert session["text"] == "It was not done within 240 s, and the device waits no longer."

    bench.run(run())


def test_a_second_request_ends_the_first_session(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        await device.next()  # the Discover of the first session
        assert (await device.request()).code == codes.CHANGED
        assert await device.play() == USUAL
        await bench.ended()
        second, first = bench.console.sessions("meter-1")["sessions"]
        assert (second["state"], first["state"]) == ("finished", "failed")
        assert "asked again" in first["text"]

    bench.run(run())


def test_a_device_that_never_registers_is_told_to_wait_and_a_person_why(bench: Bench) -> None:
    async def run() -> None:
        device = bench.device()
        for _ in range(MAX_TRIES):
            assert (await device.request()).code == codes.CHANGED
            await device.play()
            await bench.ended()
        for _ in range(3):
            assert (await device.request()).code == codes.SERVICE_UNAVAILABLE
        sessions = bench.console.sessions()["sessions"]
        assert len(sessions) == MAX_TRIES + 1  # one sentence, however often it comes
        assert sessions[0]["state"] == "failed"
        assert sessions[0]["text"].startswith(
            f"meter-1 asked to be bootstrapped {MAX_TRIES} times within an hour and never registered: it is "
            "told to wait. See why it cannot register"
        )
        progress = bench.bootstraps.progress("meter-1")
        assert progress is not None
        assert (progress.state, progress.text) == ("failed", sessions[0]["text"])
        # Another device is none the worse for it; and a changed plan, a registration or time help this one.
        assert (await bench.device("other", 2000).request()).code == codes.CHANGED
        bench.plan("other")
        assert (await device.request()).code == codes.CHANGED
        for _ in range(MAX_TRIES):
            await device.request()
        bench.ahead_s += 3601
        assert (await device.request()).code == codes.CHANGED
        for _ in range(MAX_TRIES):
            await device.request()
        bench.bootstraps.registered("meter-1")
        assert (await device.request()).code == codes.CHANGED

    bench.run(run())


def test_a_device_that_is_sent_to_another_server_is_not_waited_for(bench: Bench) -> None:
    async def run() -> None:
        bench.plan(servers=[{"uri": "coap://192.0.2.9", "security": "nosec"}])
        await (await begun(bench)).play()
        assert (await bench.ended())["text"].endswith(
            "This gateway is not among them: it registers elsewhere."
        )

    bench.run(run())


def test_no_more_than_so_many_are_bootstrapped_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "MAX_SESSIONS", 1)

    async def run() -> None:
        device, other = await begun(bench), bench.device("other", 2000)
        for _ in range(MAX_TRIES + 1):  # this is not held against it
            assert (await other.request()).code == codes.SERVICE_UNAVAILABLE
        assert await device.play() == USUAL
        await bench.ended()
        assert (await other.request()).code == codes.CHANGED
        assert (await other.request()).code == codes.CHANGED  # its own session is no other one's place

    bench.run(run())


def test_a_device_that_fails_each_time_is_told_to_wait_and_a_person_hears_why_it_failed(bench: Bench) -> None:
    async def run() -> None:
        device = bench.device()
        for _ in range(MAX_TRIES):
            await device.request()
            await device.play(
                answers={"PUT /0/1": codes.BAD_REQUEST, "PUT /0": codes.BAD_REQUEST}, last="PUT /0"
            )
            assert (await bench.ended())["state"] == "failed"
        assert (await device.request()).code == codes.SERVICE_UNAVAILABLE
        assert "The last time: The device refused to be written /0: " in bench.session()["text"]

    bench.run(run())


def test_how_far_a_device_came_is_known_after_a_restart(bench: Bench) -> None:
    async def run() -> None:
        await (await begun(bench)).next()
        progress = bench.bootstraps.progress("meter-1")
        assert progress is not None
        assert (progress.state, progress.text) == ("running", "It is being bootstrapped: Request /bs.")
        await bench.bootstraps.stop()

    bench.run(run())
    bench.database.close()
    bench.open()
    progress = bench.bootstraps.progress("meter-1")
    assert progress is not None
    assert progress.state == "failed"
    assert progress.text.startswith("The gateway stopped while this was under way")


def test_a_device_that_registers_has_said_that_it_finished(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        await device.play(last="PUT /1/0")
        await device.next()  # the Finish, whose answer is lost
        bench.bootstraps.registered("meter-1")
        session = await bench.ended()
        assert session["state"] == "finished"
        assert session["steps"][-1]["text"] == "No answer, but it registered."

    bench.run(run())


def test_a_stranger_learns_nothing(bench: Bench) -> None:
    async def run() -> None:
        bench.known = {"meter-1"}
        answers = []
        for number, name in enumerate(("nobody", "meter-2")):
            answer = await bench.device(name, 3000 + number).request()
            answers.append((answer.code, answer.payload))
        assert answers == [(codes.BAD_REQUEST, b"this client is not bootstrapped here")] * 2
        assert bench.console.sessions()["sessions"] == []

    bench.run(run())


def test_a_format_that_is_none_is_4_15_and_other_methods_4_05(bench: Bench) -> None:
    async def run() -> None:
        device = bench.device()
        assert (await device.request(query=("pct=50",))).code == codes.UNSUPPORTED_CONTENT_FORMAT
        assert (await device.request(code=codes.GET)).code == codes.METHOD_NOT_ALLOWED
        assert (await device.request("bspack")).code == codes.METHOD_NOT_ALLOWED
        bench.server.bootstrap = None
        assert (await device.request()).code == codes.NOT_FOUND

    bench.run(run())


# --- what is missing on our side


def test_a_key_that_is_missing_is_said_to_the_operator_only(bench: Bench) -> None:
    async def run() -> None:
        bench.keyring.missing = "There is no key for meter-1."
        device = await begun(bench)
        device.answer(await device.next(), codes.CONTENT, LINKS)
        session = await bench.ended()
        assert (session["state"], session["text"]) == ("failed", "There is no key for meter-1.")
        assert device.heard.empty()

    bench.run(run())


def test_a_plan_or_a_port_that_is_missing_is_said_so(bench: Bench) -> None:
    async def run() -> None:
        bench.keyring.plans["meter-1"] = "gone"
        device = await begun(bench)
        assert "plan gone does not exist" in (await bench.ended())["text"]
        bench.keyring.plans.clear()
        bench.ports = {}
        assert (await device.request()).code == codes.CHANGED
        device.answer(await device.next(), codes.CONTENT, LINKS)
        await bench.until(lambda: bench.session()["state"] != "running" and bench.session()["id"] == 2)
        assert "does not serve coaps://" in bench.session()["text"]

    bench.run(run())


@pytest.mark.parametrize("links", [b'lwm2m="1.0",</0/0>', b"</>;lwm2m=1.0,</0/0>,</21>;ver=2.0"])
def test_oscore_is_nothing_for_a_client_of_1_0(bench: Bench, links: bytes) -> None:
    async def run() -> None:
        bench.keyring.auto = "oscore"
        device = await begun(bench)
        device.answer(await device.next(), codes.CONTENT, links)
        assert "has no OSCORE" in (await bench.ended())["text"]

    bench.run(run())


def test_oscore_is_for_a_client_that_has_the_objects_whatever_version_it_names(bench: Bench) -> None:
    async def run() -> None:
        bench.keyring.auto = "oscore"
        device = await begun(bench)
        leshan = b"</>;lwm2m=1.0,</0>;ver=1.2,</0/0>,</1>,</3>;ver=1.2,</3/0>,</21>;ver=2.0"
        device.answer(await device.next(), codes.CONTENT, leshan)
        asked = [await device.next()]
        while asked[-1].code == codes.PUT:
            device.answer(asked[-1], codes.CHANGED)
            asked.append(await device.next())
        assert [named(one) for one in asked] == ["PUT /21/0", "PUT /0/1", "PUT /1/0", "POST /bs"]
        assert written(asked[1])["/0/1/17"] == ObjectLink(21, 0)

    bench.run(run())


# --- the pack (Core 1.2 §6.1.7.7)


@pytest.mark.parametrize("accept", [None, 112, 110, 11544])
def test_a_pack_is_everything_at_once_without_a_finish(bench: Bench, accept: int | None) -> None:
    async def run() -> None:
        device = bench.device()
        answer = await device.request("bspack", code=codes.GET, accept=accept)
        assert answer.code == codes.CONTENT, answer
        number = int(answer.opt.content_format)
        assert number == (accept or SENML_CBOR)
        values = {str(report.path): report.value for report in decode(number, answer.payload, Path(), MODEL)}
        assert values["/0/2/5"] == SECRET
        assert values["/0/2/10"] == values["/1/0/0"] == 1
        session = await bench.ended()
        assert session["state"] == "finished"
        assert bench.steps() == ["Request /bspack", "Key", "Pack /0/2", "Pack /1/0"]
        assert device.heard.empty()

    bench.run(run())


def test_a_pack_in_another_format_is_4_06_and_one_without_keys_5_03(bench: Bench) -> None:
    async def run() -> None:
        device = bench.device()
        answer = await device.request("bspack", code=codes.GET, accept=TLV)
        assert answer.code == codes.NOT_ACCEPTABLE
        bench.keyring.missing = "no key"
        answer = await device.request("bspack", code=codes.GET)
        assert answer.code == codes.SERVICE_UNAVAILABLE
        assert (await bench.ended())["text"] == "no key"

    bench.run(run())


# --- the history


def test_no_secret_is_in_the_history(bench: Bench, tmp_path: File) -> None:
    async def run() -> None:
        bench.keyring.auto = "oscore"
        device = bench.device()
        for way in ("bs", "bspack"):
            if way == "bs":
                await device.request()
                await device.play()
            else:
                await device.request("bspack", code=codes.GET)
            await bench.ended()
        text = json.dumps(bench.console.sessions())
        assert "16 bytes" in text
        for hidden in (SECRET.decode(), SECRET.hex(), b"salt".hex()):
            assert hidden not in text
        bench.database.flush()
        for file in tmp_path.iterdir():
            assert SECRET not in file.read_bytes(), file

    bench.run(run())


def test_a_session_that_our_end_cut_off_is_found_as_failed(bench: Bench) -> None:
    async def run() -> None:
        device = await begun(bench)
        device.answer(await device.next(), codes.CONTENT, LINKS)
        await device.next()

    bench.run(run())
    number = bench.session()["id"]
    bench.database.flush()
    for running in bench.bootstraps._running.values():
        running.task.cancel()
    bench.run(_nothing())
    bench.database.close()
    bench.open()
    assert bench.cut == 1
    session = bench.console.session(number)
    assert (session["state"], session["steps"][1]["what"]) == ("failed", "Discover")
    assert "The gateway stopped" in session["text"]


async def _nothing() -> None:
    pass


def test_sessions_are_listed_newest_first_and_by_device(bench: Bench) -> None:
    async def run() -> None:
        for number, name in enumerate(("a", "b", "a")):
            device = bench.device(name, 4000 + number)
            await device.request()
            await device.play()
            await bench.ended()

    bench.run(run())
    listed = bench.console.sessions()["sessions"]
    assert [session["endpoint_name"] for session in listed] == ["a", "b", "a"]
    assert [session["id"] for session in bench.console.sessions("a", 1)["sessions"]] == [listed[0]["id"]]
    with pytest.raises(DeviceError):
        bench.console.session(99)


def test_repeated_messages_start_nothing_twice(bench: Bench) -> None:
    async def run() -> None:
        device = bench.device()
        device.send(device.ask())  # with the same message id
        assert (await device.next()).code == codes.CHANGED
        await bench.until(lambda: not device.heard.empty())
        assert bench.session()["id"] == 1

    bench.run(run())
