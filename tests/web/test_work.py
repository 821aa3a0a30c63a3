"""The page in Chromium: sleeping devices and their tasks, composites, templates, the log, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SLEEPER = "#/devices/pump-house/3303/0"


def sent(page: Any, method: str, path: str) -> list[Any]:
    """The bodies of the requests of this kind, in order."""
    return [body for verb, at, body in page.gateway.requests if (verb, at) == (method, path)]


def test_a_sleeper_says_when_it_is_expected(page: Any) -> None:
    page.open("#/devices")
    page.until_text(".fleet-scroller", "Asleep")
    assert "expected " in page.text(".fleet-scroller")
    page.click(".chip[data-state=asleep]")
    page.until_text(".summary", "1 of 9")
    page.gateway.wake("pump-house")
    page.until_text(".summary", "0 of 9")


def test_end_devices_stand_below_their_gateway(page: Any) -> None:
    page.open("#/devices")
    page.until("return document.querySelectorAll('.fleet-row').length === 9")
    names = page.js(
        "return [...document.querySelectorAll('.fleet-row')].sort((a, b) => a.dataset.index - b.dataset.index)"
        ".map((one) => one.querySelector('.device-name').textContent)"
    )
    assert names[names.index("urn:dev:os:0023C7-000123") + 1] == "weather-mast"
    assert "via urn:dev:os:0023C7-000123" in page.text(".fleet-row.end-device")


def test_what_is_asked_of_a_sleeper_waits_and_its_end_is_told(page: Any) -> None:
    page.open(SLEEPER)
    line = page.resource("/3303/0/5700")
    page.button("Read Sensor Value", line)
    page.until_text(f"{line} .fate.waiting", "Kept, not lost")
    assert "expected at" in page.text(f"{line} .fate")
    page.until("return [...document.querySelectorAll('.tab-count')].some((one) => one.textContent === '1')")
    page.until_text(".status-bar", "1 waiting")
    page.gateway.wake("pump-house")
    page.until_text(f"{line} .fate.good", "here is the value")


def test_a_write_that_waits_is_shown_after_a_reload_and_cancelled(page: Any) -> None:
    page.open(SLEEPER)
    page.click(f"{page.resource('/3303/0/5750')} .third")
    page.until_text("dialog", "The device sleeps and is expected at")
    page.fill("dialog .field .input", "cellar")
    page.button("Write", "dialog")
    page.until("return document.querySelector('dialog') === null")
    page.open(SLEEPER)
    line = page.resource("/3303/0/5750")
    page.until_text(f"{line} .waiting-chip", "Write “cellar”")
    page.click(f"{line} .waiting-chip")
    page.until_text(".task-row", "waits for the device")
    assert "expected" in page.text(".task-row")
    page.button("Cancel task 1", ".task-row")
    page.until_text(".task-state.cancelled", "cancelled")
    assert page.gateway.work.tasks[1]["state"] == "cancelled"


def test_what_is_away_can_be_waited_for(page: Any) -> None:
    page.open("#/devices/workshop%20light/3303/0")
    line = page.resource("/3303/0/5700")
    page.button("Read Sensor Value", line)
    page.button("Send it when the device is back", f"{line} .fate")
    page.until_text(f"{line} .fate.waiting", "as soon as the device is heard")
    assert sent(page, "POST", "/devices/workshop%20light/operations")[-1]["ttl_s"] == 86400


def test_tasks_by_state_again_and_in_detail(page: Any) -> None:
    work = page.gateway.work
    with page.gateway.lock:
        work.queue("pump-house", {"operation": "Read", "path": "/3/0/9"})
        work.queue("pump-house", {"operation": "Execute", "path": "/3/0/4"})
        work.end(2, "unknown", "The answer was lost")
    page.open("#/tasks")
    page.until_text(".task-list", "/3/0/9")
    assert "/3/0/4" not in page.text(".task-list")
    page.click(".chip[data-state=unknown]")
    page.until_text(".task-list", "The answer was lost")
    page.button("Details of task 2", ".task-row")
    page.until_text("dialog", "it may have been carried out")
    page.button("Close", "dialog .dialog-actions")
    page.button("Do task 2 again", ".task-row")
    page.until_text("dialog.dangerous", "a second time")
    page.button("Do it again", "dialog")
    page.until_text(".notes", "Asked again as task 3")
    page.gateway.wake("pump-house")
    page.click(".chip[data-state='']")
    page.until_text(".task-list", "done")


def test_a_transfer_tells_how_far_it_is(page: Any) -> None:
    work = page.gateway.work
    with page.gateway.lock:
        stored = work.add_file("meter.bin", b"m" * 1000, "application/octet-stream")
    page.open("#/devices/greenhouse-north/5/0")
    page.click(f"{page.resource('/5/0/0')} .third")
    page.until("return document.querySelector('dialog select option:nth-child(2)')")
    page.js(
        "const one = document.querySelector('dialog select'); one.selectedIndex = 1;"
        "one.dispatchEvent(new Event('change'))"
    )
    page.button("Write", "dialog")
    page.until_text(".resource .fate", "On its way")
    asked = sent(page, "POST", "/devices/greenhouse-north/operations")[-1]
    assert asked == {"operation": "Write", "path": "/5/0/0", "file": stored["id"]}
    with page.gateway.lock:
        work.tasks[1]["progress"]["sent_bytes"] = 640
    page.js("location.hash = '#/tasks'")
    page.until_text(".task-progress", "64 %")
    assert page.js("return document.querySelector('progress').value") == 64


def test_many_devices_are_asked_at_once(page: Any) -> None:
    page.open("#/tasks")
    page.button("Ask many devices")
    page.until_text("dialog", "9 devices are asked.")
    page.fill("dialog input[type=search]", "greenhouse")
    page.until_text("dialog", "2 devices are asked.")
    page.fill("dialog input.mono", "/3/0/4")
    page.js(
        "const one = document.querySelector('dialog select'); one.value = 'Execute';"
        "one.dispatchEvent(new Event('change'))"
    )
    page.button("Send", "dialog")
    page.until_text("dialog.dangerous", "Execute /3/0/4 goes to 2 devices")
    page.button("Cancel", "dialog.dangerous")
    assert not sent(page, "POST", "/tasks")
    page.js("document.querySelector('dialog select').value = 'Read'")
    page.fill("dialog input.mono", "/3/0/9")
    page.button("Send", "dialog")
    page.until("return location.hash.startsWith('#/tasks?batch=')")
    page.until("return document.querySelectorAll('.task-row').length === 2")
    assert sent(page, "POST", "/tasks") == [
        {"search": "greenhouse", "operation": {"operation": "Read", "path": "/3/0/9"}, "ttl_s": 86400}
    ]


def test_a_composite_is_read_kept_and_observed(page: Any) -> None:
    page.open("#/devices/greenhouse-north/composite")
    page.fill(".composite textarea", "3303/0/5700 nonsense")
    page.button("Read", ".composite")
    page.until_text(".composite .form-error", "/nonsense is not a path")
    page.fill(".composite textarea", "3303/0/5700\n/3/0/9\n/3/0/99")
    page.button("Read", ".composite")
    page.until_text(".composite-result", "Battery Level")
    assert "Not in the answer: /3/0/99" in page.text(".composite-result")
    page.button("Keep this set", ".composite")
    page.fill("dialog input", "rounds")
    page.button("Keep this set", "dialog .dialog-actions")
    page.until_text(".notes", "“rounds” is kept")
    page.fill(".composite textarea", "/3303/0/5700, /3/0/9")
    page.button("Observe", ".composite")
    page.fill("dialog [data-attribute=pmin]", "20")
    assert page.js("return document.querySelector('dialog [data-attribute=gt]')") is None
    page.button("Observe", "dialog .dialog-actions")
    page.until_text(".composite .observation-list", "/3303/0/5700  /3/0/9")
    assert sent(page, "POST", "/devices/greenhouse-north/observations/composite") == [
        {"paths": ["/3303/0/5700", "/3/0/9"], "attributes": {"pmin": 20}}
    ]
    page.button("Write", ".composite")
    page.until_text(".composite .form-error", "None of these paths")
    page.fill(".composite textarea", "/3311/0/5851\n/3/0/14")
    page.button("Write", ".composite")
    page.fill("dialog .field:nth-of-type(1) .input", "35")
    page.fill("dialog .field:nth-of-type(2) .input", "+01:00")
    page.button("Write", "dialog .dialog-actions")
    page.until_text(".panel-head .fate", "2.04 Changed")
    assert sent(page, "POST", "/devices/greenhouse-north/operations")[-1] == {
        "operation": "WriteComposite",
        "values": {"/3311/0/5851": 35, "/3/0/14": "+01:00"},
    }
    page.open("#/devices/boiler/composite")
    page.find(".composite select")
    page.js(
        "const one = document.querySelector('.composite select'); one.value = 'rounds';"
        "one.dispatchEvent(new Event('change'))"
    )
    assert page.js("return document.querySelector('.composite textarea').value").startswith("/3303/0/5700")
    page.js("localStorage.removeItem('homard.pathsets')")


ATTRIBUTES = [
    ({"pmin": "60", "pmax": "30"}, "must not be longer"),
    ({"epmin": "60", "epmax": "60"}, "must be more than the shortest"),
    ({"gt": "10", "lt": "12"}, "must be less than"),
    ({"gt": "10", "lt": "5", "st": "3"}, "plus twice the step"),
    ({"st": "0"}, "more than 0"),
    ({"pmin": "1.5"}, "whole number"),
]


def test_attributes_are_checked_before_they_are_sent(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3303/0")
    line = page.resource("/3303/0/5700")
    page.click(f"{line} .eye")
    page.find("dialog [data-attribute=pmin]")
    for given, complaint in ATTRIBUTES:
        page.js(
            "for (const one of document.querySelectorAll('dialog [data-attribute]'))"
            " one.value = arguments[0][one.dataset.attribute] ?? ''",
            given,
        )
        page.click("dialog [type=submit]")
        page.until_text("dialog .form-error", complaint)
    assert not sent(page, "PUT", "/devices/greenhouse-north/observations")
    # edge, con and hqmax came with LwM2M 1.2, and this device speaks 1.1.
    assert page.js("return document.querySelector('dialog [data-attribute=hqmax]')") is None


def test_templates_come_change_and_go(page: Any) -> None:
    page.open("#/templates")
    page.until_text(".template-card", "/3303/*/5700")
    page.button("New template")
    inputs = page.driver.find_elements("css selector", "dialog input.input")
    inputs[0].send_keys("meters")
    inputs[1].send_keys("*house*")
    page.until_text("dialog .state-line", "Fits 3 devices")
    for pattern, n in (
        ("pump-[a-h]*", 1),
        ("*-?", 1),
        ("[!a-z]*", 0),
        ("a.b+c[", 0),
        ("[z-a]", 0),
        ("*house*", 3),
    ):
        page.fill("dialog .field-pair .input", pattern)
        page.until_text("dialog .state-line", f"Fits {n} device")
    page.fill("dialog textarea", "/3303/*/5700 /3/0/9")
    page.fill("dialog [data-attribute=pmax]", "900")
    page.button("Keep", "dialog")
    page.until_text(".template-grid", "meters")
    assert sent(page, "POST", "/templates") == [
        {
            "name": "meters",
            "match": {"endpoint": "*house*", "object": None},
            "paths": ["/3303/*/5700", "/3/0/9"],
            "attributes": {"pmax": 900},
            "composite": False,
            "enabled": True,
        }
    ]
    page.click(".template-card input[role=switch]")
    page.until_text(".template-card.off", "off")
    page.button("Remove Temperatures", ".template-card")
    page.button("Remove", "dialog")
    page.until("return document.querySelectorAll('.template-card').length === 1")


def test_the_log_is_live_filtered_paused_and_opened(page: Any) -> None:
    work = page.gateway.work
    with page.gateway.lock:
        work.message("boiler", payload=b"21.5 and a tail that is longer")
        work.message("gate", summary="Write /0/0/5", path="/0/0/5", hidden=True)
    page.open("#/log")
    page.until("return document.querySelectorAll('.log-row').length === 2")
    with page.gateway.lock:
        work.message("boiler", "out", summary="Read /3/0", code="GET")
    page.until_text(".log-scroller", "Read /3/0")
    page.click("[data-index='2']")
    page.until_text(".log-detail .hex", "0000  32 31 2e 35")
    assert "Sensor Value = 21.5" in page.text(".log-detail .payload")
    page.click("[data-index='1']")
    page.until_text(".log-detail", "it is a secret")
    page.button("Pause")
    with page.gateway.lock:
        work.message("boiler", summary="Register", code="POST")
    page.until_text(".page.log .summary", "Paused; 1 new message")
    assert "Register" not in page.text(".log-scroller")
    page.button("Resume")
    page.until_text(".log-scroller", "Register")
    page.fill(".log-filters input", "gate")
    page.until("return document.querySelectorAll('.log-row').length === 1")
    links = page.js(
        "return [...document.querySelectorAll('a[download]')].map((one) => one.getAttribute('href'))"
    )
    assert links == ["api/v1/log.txt?endpoint_name=gate", "api/v1/log.pcap?endpoint_name=gate"]


def test_files_are_uploaded_copied_and_removed(page: Any, tmp_path: Path) -> None:
    page.open("#/files")
    page.until_text(".file-list", "No files yet")
    (tmp_path / "meter-2.5.bin").write_bytes(b"firmware" * 100)
    (tmp_path / "large.bin").write_bytes(b"\0" * 1_000_001)
    page.find(".files input[type=file]").send_keys(f"{tmp_path}/meter-2.5.bin\n{tmp_path}/large.bin")
    page.until_text(".file-list", "meter-2.5.bin")
    page.until_text(".notes", "large.bin has 1.0 MB")
    assert "coap://homard.lan/f/" in page.text(".file-row")
    assert len(page.gateway.work.files) == 1
    page.button("Remove meter-2.5.bin", ".file-row")
    page.button("Remove", "dialog")
    page.until_text(".file-list", "No files yet")


def test_the_time_line_shows_visits_and_goes_back(page: Any) -> None:
    gateway = page.gateway
    for _ in range(2):
        gateway.wake("pump-house")
        gateway.doze("pump-house")
    for value in range(120):
        gateway.report("pump-house", "/3303/0/5700", value)
    page.open("#/devices/pump-house/events")
    page.until("return document.querySelectorAll('.timeline-row').length === 100")
    page.button("Earlier", ".timeline")
    page.until_text(".awake-band", "Awake 2 times")
    gateway.append("asleep", "pump-house")
    page.until_text(".timeline-row", "asleep")


def test_how_long_a_sleeper_listens_is_set(page: Any) -> None:
    page.open("#/devices/pump-house/info")
    page.until_text(".facts", "93 s")
    page.button("Change", ".facts")
    page.fill("dialog input", "30")
    page.button("Set", "dialog")
    page.until_text(".facts", "30 s")
    assert sent(page, "PUT", "/devices/pump-house/awake") == [{"awake_s": 30}]


def test_profiles_are_told_and_forgotten(page: Any) -> None:
    page.open("#/models")
    page.button("Profiles")
    page.until_text("dialog", "6:27354b9a")
    page.button("Change 6:27354b9a", "dialog")
    page.fill("dialog textarea", "</3/0>")
    page.button("Keep", "dialog")
    page.until_text("dialog .profile-row", "told")
    page.button("Forget 6:27354b9a", "dialog")
    page.until_text("dialog", "No profiles")


def test_a_reader_sees_tasks_and_templates_without_their_buttons(
    page_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fake_server

    monkeypatch.setitem(fake_server._SESSION, "scopes", ["read"])
    page = page_of()
    with page.gateway.lock:
        page.gateway.work.queue("pump-house", {"operation": "Read", "path": "/3/0/9"})
    page.open("#/tasks")
    page.until_text(".task-row", "/3/0/9")
    assert page.js("return document.querySelectorAll('.task-actions button').length") == 1  # its details
    page.js("location.hash = '#/templates'")
    page.until_text(".template-card", "Temperatures")
    assert page.js("return document.querySelectorAll('.card-actions').length") == 0
    assert page.js("return document.querySelector('.template-card input').disabled")
    # The log shows payloads: it is for those who operate.
    assert (
        page.js("return [...document.querySelectorAll('.rail a')].some((one) => one.hash === '#/log')")
        is False
    )
