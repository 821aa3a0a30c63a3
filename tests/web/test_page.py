"""The page in Chromium, at the stand-in gateway: what a person does, on a desk and on a phone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fake_server import SETUP_CODE, WEB
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

PLACES = (
    "#/devices",
    "#/devices/greenhouse-north",
    "#/devices/greenhouse-north/3/0",
    "#/devices/greenhouse-north/3441/0",
    "#/devices/cold-room-1/33000/0",
    "#/devices/cold-room-1/info",
    "#/devices/cold-room-1/events",
    "#/devices/workshop%20light/3303/0",
    "#/devices/greenhouse-north/tasks",
    "#/devices/greenhouse-north/composite",
    "#/devices/pump-house/3303/0",
    "#/devices/pump-house/tasks",
    "#/events",
    "#/tasks",
    "#/log",
    "#/templates",
    "#/files",
    "#/models",
    "#/models/3",
    "#/access",
    "#/security",
    "#/security/device/boiler",
    "#/security/add",
    "#/security/quarantine",
    "#/security/plan/p1",
    "#/security/session/1",
    "#/security/authority",
    "#/security/permissions",
)

SETTLED = """
return [...document.querySelectorAll('main .spinner, main .skeleton')].every((one) => !one.checkVisibility())
"""

NAMELESS = """
return [...document.querySelectorAll('button, a[href], input:not([type=hidden]), select, textarea')]
  .filter((one) => one.checkVisibility())
  .filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length
    || one.getAttribute('aria-labelledby')))
  .map((one) => one.outerHTML.slice(0, 160));
"""

UNTOLD = """
return [...document.querySelectorAll('button')]
  .filter((one) => one.checkVisibility() && !one.textContent.trim())
  .filter((one) => !one.dataset.tooltip)
  .map((one) => one.outerHTML.slice(0, 160));
"""

# WCAG 2.2, 1.4.3: 4.5 to 1, and 3 to 1 for large text. Grounds with an image are left out (the entrance).
PALE = """
const channel = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
const parse = (text) => {
  const numbers = text.match(/[\\d.]+/g).map(Number);
  const scale = text.startsWith('color(') ? 1 : 255;
  return { rgb: numbers.slice(0, 3).map((one) => one / scale), alpha: numbers[3] ?? 1 };
};
const luminance = (rgb) => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
const over = (top, ground) => top.rgb.map((one, index) => one * top.alpha + ground[index] * (1 - top.alpha));
const groundOf = (element) => {
  const layers = [];
  for (let one = element; one; one = one.parentElement) {
    const style = getComputedStyle(one);
    if (style.backgroundImage !== 'none') return null;
    const layer = parse(style.backgroundColor);
    if (layer.alpha > 0) layers.unshift(layer);
    if (layer.alpha === 1) break;
  }
  return layers.reduce((ground, layer) => over(layer, ground), [1, 1, 1]);
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest(':disabled, .visually-hidden')) continue;
  if (element.tagName === 'OPTION' || element.tagName === 'TITLE') continue;
  const ground = groundOf(element);
  if (!ground) continue;
  const style = getComputedStyle(element);
  const [one, other] = [luminance(over(parse(style.color), ground)), luminance(ground)];
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${element.className} ${walker.currentNode.data.trim().slice(0, 30)}`);
}
return [...new Set(found)];
"""


def places(page: Any) -> Iterable[str]:
    """Every page and panel, shown and settled; loaded once, then from place to place."""
    for number, place in enumerate(PLACES):
        if number:
            page.js("location.hash = arguments[0]", place)
        else:
            page.open(place)
        page.until("return document.querySelector('main')?.dataset.place?.startsWith(arguments[0])", place)
        page.until(SETTLED)
        yield place


def test_no_request_leaves_the_gateway_and_nothing_complains(page: Any) -> None:
    asked: list[str] = []
    for place in places(page):
        assert page.complaints() == [], place
        asked += page.addresses()
    hosts = {urlsplit(one).netloc for one in asked if not one.startswith(("about:", "data:"))}
    assert hosts == {urlsplit(page.gateway.url).netloc}
    assert not [one for one in asked if one.startswith("data:")]


def test_first_load_is_small(page: Any) -> None:
    page.open("#/devices")
    size = page.js(
        "return performance.getEntriesByType('resource').filter((one) => !one.name.includes('/api/'))"
        ".reduce((sum, one) => sum + one.decodedBodySize, 0)"
    )
    assert 50_000 < size <= 300_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_text_has_contrast_and_controls_have_names(page: Any, scheme: str, width: int) -> None:
    page.size(width, 780)
    page.scheme(scheme, motion="reduce")
    for place in places(page):
        assert page.js(PALE) == [], f"{place} {scheme}"
        assert page.js(NAMELESS) == [], place
        assert page.js(UNTOLD) == [], f"{place}: icon buttons without a tooltip"


def test_the_check_of_contrast_finds_what_is_pale(page: Any) -> None:
    page.open("#/devices")
    page.until(SETTLED)
    page.js("document.documentElement.style.setProperty('--muted', '#9aa8a7')")
    assert page.js(PALE)


@pytest.mark.parametrize("language", ["en", "es", "xx"])
def test_nothing_is_wider_than_a_phone(page: Any, language: str) -> None:
    page.size(360, 740)
    page.open("#/devices")
    page.js("localStorage.setItem('homard.language', arguments[0])", language)
    try:
        for place in places(page):
            assert page.js("return document.documentElement.scrollWidth") <= 360, place
            wide = page.js(
                "return [...document.querySelectorAll('main *')].filter((one) => one.checkVisibility()"
                " && !one.closest('.chips, .table-scroll, .trust-tabs, .client-tabs, .visually-hidden') && one.getBoundingClientRect().right > 361)"
                ".map((one) => one.className)"
            )
            assert wide == [], place
    finally:
        page.js("localStorage.removeItem('homard.language')")


def test_fingers_hit_on_a_phone(page: Any) -> None:
    page.size(360, 740)
    for place in places(page):
        small = page.js(
            "return [...document.querySelectorAll('main button, .rail a, .right-rail button, .object-row')]"
            ".filter((one) => one.checkVisibility()).map((one) => [one.getBoundingClientRect(), one])"
            ".filter(([box]) => box.width && (box.height < 44 || box.width < 44))"
            ".map(([box, one]) => `${one.className} ${box.width}x${box.height}`)"
        )
        assert small == [], place


def test_the_pseudo_language_reaches_every_word(page: Any) -> None:
    page.open("#/devices")
    page.js("localStorage.setItem('homard.language', 'xx')")
    try:
        for place in ("#/devices", "#/events", "#/models", "#/access", "#/devices/cold-room-1/info"):
            page.open(place)
            page.until(SETTLED)
            plain = page.js(
                "return [...document.querySelectorAll('h1, h2, h3, label, dt, button, th')]"
                ".filter((one) => one.checkVisibility() && one.textContent.trim() && !one.textContent.includes('⟦'))"
                ".map((one) => one.textContent.trim())"
            )
            known = ("A", *page.gateway.devices)
            assert [text for text in plain if text not in known] == [], place
    finally:
        page.js("localStorage.removeItem('homard.language')")


def test_first_account_then_login(page_of: Any) -> None:
    page = page_of(setup=True)
    page.open("", logged_in=False)
    page.until_text("h1", "Welcome")
    inputs = page.driver.find_elements("css selector", "form input")
    for element, text in zip(inputs, (SETUP_CODE, None, "tide lamp orbit", "tide lamp orbi"), strict=True):
        if text:
            element.send_keys(text)
    page.click("form [type=submit]")
    page.until_text(".form-error", "not the same")
    inputs[3].send_keys("t")
    page.click("form [type=submit]")
    page.until_text("h1", "Devices")
    page.until_text(".status-bar", "6/9")
    assert ("POST", "/setup") in [one[:2] for one in page.gateway.requests]
    page.click(".avatar")
    page.button("Log out", ".menu")
    page.until_text("h1", "Log in")
    inputs = page.driver.find_elements("css selector", "form input")
    inputs[0].send_keys("admin")
    inputs[1].send_keys("wrong wrong")
    page.click("form [type=submit]")
    page.until_text(".form-error", "Name or password is wrong. Try again.")
    inputs[1].clear()
    inputs[1].send_keys("tide lamp orbit", Keys.ENTER)
    page.until_text("h1", "Devices")


def test_deep_link_survives_the_login(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3/0", logged_in=False)
    page.until_text("h1", "Log in")
    page.driver.find_elements("css selector", "form input")[0].send_keys("admin")
    page.driver.find_elements("css selector", "form input")[1].send_keys("eight letters", Keys.ENTER)
    page.until_text(".panel h2", "Device")


def test_two_thousand_devices_are_a_bounded_number_of_rows(page_of: Any) -> None:
    page = page_of(devices=2000)
    page.open("#/devices")
    page.until_text(".summary", "2,000 of 2,000")
    assert page.js("return document.querySelectorAll('.fleet-row').length") < 50
    page.js("document.querySelector('.fleet-scroller').scrollTop = 1e9")
    page.until_text(".fleet-scroller", "workshop light")
    assert page.js("return document.querySelectorAll('.fleet-row').length") < 50
    assert page.js("return document.querySelectorAll('*').length") < 3000
    page.fill(".fleet input[type=search]", "sensor-1999")
    page.until_text(".summary", "0 of 2,000")
    page.fill(".fleet input[type=search]", "sensor-1990")
    page.until_text(".summary", "1 of 2,000")
    page.click(".fleet-row")
    page.until_text(".object-column h2", "sensor-1990")
    assert page.js("return document.querySelectorAll('.device-row').length") < 50


def test_cards_stand_in_columns(page: Any) -> None:
    page.open("#/devices")
    page.until_text(".summary", "9 of 9")
    page.button("Cards")
    page.until(
        "return new Set([...document.querySelectorAll('.fleet-card')].map((one) => one.getBoundingClientRect().left)).size >= 3"
    )
    page.button("Table")
    page.until("return document.querySelectorAll('.fleet-row').length === 9")


def test_states_filter_and_columns_sort(page: Any) -> None:
    page.open("#/devices")
    page.until_text(".summary", "9 of 9")
    page.click(".chip[data-state=late]")
    page.until_text(".summary", "1 of 9")
    assert "weather-mast" in page.text(".fleet-scroller")
    page.click(".chip[data-state='']")
    page.click(".cell-battery button")
    page.until(
        "return document.querySelector('.fleet-head .cell-battery').getAttribute('aria-sort') === 'ascending'"
    )
    page.until(
        "const rows = [...document.querySelectorAll('.fleet-row')].sort((a, b) => a.dataset.index - b.dataset.index)"
        ".map((one) => parseInt(one.querySelector('.cell-battery').innerText));"
        "return rows.length === 9 && rows.every((one, index) => index === 0 || rows[index - 1] <= one)"
    )


def test_keyboard_alone_reaches_a_write(page: Any) -> None:
    page.open("#/devices")
    page.until_text(".summary", "9 of 9")
    keys = ActionChains(page.driver)

    def press(*pressed: str) -> None:
        for key in pressed:
            keys.send_keys(key).perform()

    page.js("document.querySelector('.fleet input[type=search]').focus()")
    press(
        Keys.ARROW_DOWN,
        Keys.ARROW_DOWN,
        Keys.END,
        Keys.HOME,
        Keys.ARROW_DOWN,
        Keys.ARROW_DOWN,
        Keys.ARROW_DOWN,
    )
    page.until("return document.activeElement.classList.contains('fleet-row')")
    assert "greenhouse-north" in page.js("return document.activeElement.innerText")
    press(Keys.ENTER)
    page.until_text(".object-column h2", "greenhouse-north")
    page.until("return document.querySelectorAll('.object-row[tabindex=\"0\"]').length === 1")
    page.js("document.querySelector('.object-row[tabindex=\"0\"]').focus()")
    press(Keys.END, Keys.ARROW_UP)
    assert "Test Object" in page.js("return document.activeElement.innerText")
    press(Keys.ENTER)
    page.until("return location.hash.includes('3441/0')")
    line = page.resource("/3441/0/110")
    page.js("document.querySelector(`${arguments[0]} .third`).focus()", line)
    page.until_text(".tooltip", "Write String Value")
    press(Keys.ENTER)
    page.until("return document.querySelector('dialog[open]')?.contains(document.activeElement)")
    press(Keys.ESCAPE)
    page.until("return document.querySelector('dialog') === null")
    assert page.js("return document.activeElement.getAttribute('aria-label')") == "Write String Value"
    press(Keys.ENTER)
    page.until("return document.querySelector('dialog[open] input') === document.activeElement")
    keys.key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys("by hand", Keys.ENTER).perform()
    page.until_text(line, "by hand")
    page.until_text(f"{line} .fate", "2.04 Changed")
    assert page.js("return document.querySelector('dialog') === null")


def test_focus_is_always_visible(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3/0")
    page.resource("/3/0/0")
    unseen = set()
    for _ in range(45):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        style = page.js(
            "const one = document.activeElement; const style = getComputedStyle(one);"
            "return [one.className || one.tagName, style.outlineStyle, parseFloat(style.outlineWidth)]"
        )
        if style[0] != "BODY" and (style[1] == "none" or style[2] < 2):
            unseen.add(style[0])
    assert unseen == set()


def test_read_write_execute_tell_their_fate(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3/0")
    line = page.resource("/3/0/10")
    assert "not read yet" in page.text(line)
    page.button("Read Memory Free", line)
    page.until_text(f"{line} .fate", "2.05 Content")
    assert re.search(r"· \d+ ms", page.text(f"{line} .fate"))
    reboot = page.resource("/3/0/4")
    page.button("Execute Reboot", reboot)
    page.until_text("dialog.dangerous", "restarts and registers again")
    assert page.js("return document.activeElement.textContent") == "Cancel"
    page.button("Reboot", "dialog")
    page.until_text(f"{reboot} .fate", "2.04 Changed")
    page.until_text(".status-bar", "100 % reliability")
    assert [one[2] for one in page.gateway.requests if one[1].endswith("/operations")][-1] == {
        "operation": "Execute",
        "path": "/3/0/4",
    }


def test_a_failure_says_what_to_do_next(page: Any) -> None:
    page.open("#/devices/workshop%20light/3303/0")
    line = page.resource("/3303/0/5700")
    page.button("Read Sensor Value", line)
    page.until_text(f"{line} .fate.bad", "is not registered now")
    assert "Switch the device on" in page.text(f"{line} .fate")


WRITES = [
    ("/3441/0/120", "abc", "whole number", "-7", -7),
    ("/3441/0/130", "x", "Give a number", "21,5", 21.5),
    ("/3441/0/150", "0f0", "Hex", "0F 0e", "0f0e"),
    ("/3441/0/170", "70000", "0 to 65535", "3", "3:0"),
    ("/3441/0/190", "-1", "not negative", "18446744073709551615", 18446744073709551615),
    ("/3441/0/180", None, "", "</3/0>", "</3/0>"),
]


@pytest.mark.parametrize(("path", "bad", "complaint", "good", "sent"), WRITES)
def test_dialogs_know_the_types(
    page: Any, path: str, bad: str | None, complaint: str, good: str, sent: object
) -> None:
    page.open("#/devices/greenhouse-north/3441/0")
    page.click(f"{page.resource(path)} .third")
    field = "dialog .field .input"
    if bad is not None:
        page.fill(field, bad)
        page.button("Write", "dialog")
        page.until_text("dialog .form-error", complaint)
    page.fill(field, good)
    page.button("Write", "dialog")
    page.until("return document.querySelector('dialog') === null")
    assert page.gateway.requests[-1][2]["value"] == sent or [
        one[2]["value"] for one in page.gateway.requests if one[0] == "POST"
    ] == [sent]


def test_a_switch_and_a_time(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3441/0")
    page.click(f"{page.resource('/3441/0/140')} .third")
    page.click("dialog input[role=switch]")
    page.button("Write", "dialog")
    page.until_text(page.resource("/3441/0/140"), "Off")
    page.click(f"{page.resource('/3441/0/160')} .third")
    page.js(
        "const one = document.querySelector('dialog input[type=datetime-local]');"
        "one.value = '2026-06-01T12:30:15'; one.dispatchEvent(new Event('input', { bubbles: true }))"
    )
    page.until_text("dialog", "UTC: 2026-06-01T")
    assert "zone" in page.text("dialog")
    page.button("Write", "dialog")
    page.until("return document.querySelector('dialog') === null")
    sent = [one[2]["value"] for one in page.gateway.requests if one[0] == "POST"]
    assert sent[0] is False
    assert re.fullmatch(r"2026-06-0\dT\d\d:30:15Z", sent[1])


def test_several_values_are_a_table(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3441/0")
    page.click(f"{page.resource('/3441/0/1110')} .third")
    page.until("return document.querySelectorAll('dialog .value-table-row').length === 2")
    page.button("Add a value", "dialog")
    page.fill("dialog .value-table-row:nth-child(3) .field:nth-child(2) .input", "third")
    page.button("Write", "dialog")
    page.until("return document.querySelector('dialog') === null")
    sent = [one[2] for one in page.gateway.requests if one[0] == "POST"][-1]
    assert sent["values"] == {"0": "first", "1": "second", "2": "third"}
    assert sent["mode"] == "replace"


def test_writing_the_server_object_is_asked_twice(page: Any) -> None:
    page.open("#/devices/greenhouse-north/1/0")
    page.click(f"{page.resource('/1/0/1')} .third")
    page.fill("dialog .input", "600")
    page.button("Write", "dialog")
    page.until_text("dialog.dangerous", "keeps in touch")
    page.button("Cancel", "dialog.dangerous")
    assert not [one for one in page.gateway.requests if one[0] == "POST"]
    page.button("Write", "dialog")
    page.until_text("dialog.dangerous", "keeps in touch")
    page.button("Write", "dialog.dangerous")
    page.until("return document.querySelector('dialog') === null")
    assert page.gateway.devices["greenhouse-north"].values["/1/0/1"][0] == 600


def test_instances_come_and_go(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3311/0")
    page.resource("/3311/0/5850")
    page.button("Create instance", ".panel")
    page.until_text("dialog", "New instance of Light Control")
    page.button("Create instance", "dialog")
    page.until("return location.hash.endsWith('/3311/2')")
    page.button("Delete this instance", ".panel")
    page.until_text("dialog.dangerous", "/3311/2")
    page.button("Delete", "dialog")
    page.until("return location.hash.endsWith('/3311/0')")
    assert page.gateway.devices["greenhouse-north"].instances[3311] == [0, 1]


def test_observe_with_periods_and_stop(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3311/0")
    line = page.resource("/3311/0/5851")
    page.button("Observe Dimmer", line)
    page.until_text("dialog", "Not more often than")
    inputs = page.driver.find_elements("css selector", "dialog input")
    inputs[0].send_keys("20")
    inputs[1].send_keys("10")
    page.button("Observe", "dialog")
    page.until_text("dialog .form-error", "must not be longer")
    inputs[1].send_keys("0")
    page.button("Observe", "dialog")
    page.until_text(line, "observed")
    assert page.gateway.devices["greenhouse-north"].observations["/3311/0/5851"]["attributes"] == {
        "pmin": 20,
        "pmax": 100,
    }
    page.until(f"return document.querySelector('{line} .eye').getAttribute('aria-pressed') === 'true'")
    page.button("Dimmer is observed: change or stop", line)
    page.button("Stop observing", "dialog")
    page.until(
        "return document.querySelector(arguments[0]).getAttribute('aria-pressed') === 'false'", f"{line} .eye"
    )


def test_data_without_a_model_is_shown_with_a_warning(page: Any) -> None:
    page.open("#/devices/cold-room-1/33000/0")
    line = page.resource("/33000/0/1")
    assert "0a 1b 2c" in page.text(line)
    assert "no model" in page.text(line)
    assert "upload its XML" in page.text(".panel-head")


def test_values_arrive_and_flash(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3303/0")
    line = page.resource("/3303/0/5700")
    page.gateway.report("greenhouse-north", "/3303/0/5700", 27.25)
    page.until_text(line, "27.25")
    page.until(
        "return document.querySelector(arguments[0]).classList.contains('flash')", f"{line} .resource-value"
    )
    assert "observed" in page.text(line)
    # A 32-bit float told in 64 bits is shown as it was meant.
    page.gateway.report("greenhouse-north", "/3303/0/5700", 21.299999237060547)
    page.until_text(line, "21.3")


def test_a_cut_stream_resumes_where_it_was(page: Any) -> None:
    page.open("#/devices/greenhouse-north/3303/0")
    line = page.resource("/3303/0/5700")
    last = page.gateway.report("greenhouse-north", "/3303/0/5700", 1.5)
    page.until_text(line, "1.5")
    page.gateway.unreachable = True
    page.gateway.cut_streams()
    page.until("return document.querySelector('.link-state .link-dot.waiting') !== null")
    missed = [page.gateway.report("greenhouse-north", "/3303/0/5700", value) for value in (2.5, 3.5)]
    page.gateway.unreachable = False
    page.until_text(line, "3.5")
    page.until("return document.querySelector('.link-state .link-dot.live') !== null")
    assert page.gateway.last_event_ids[-1] == str(last)
    page.js("location.hash = '#/events'")
    page.until_text(".event-scroller", "3.5")
    assert len(missed) == page.js(
        "return [...document.querySelectorAll('.event-words')].filter((one) => /= [23]\\.5$/.test(one.innerText)).length"
    )


def test_ten_seconds_of_silence_are_told(page: Any) -> None:
    page.open("#/devices")
    page.until_text(".summary", "9 of 9")
    page.gateway.unreachable = True
    page.gateway.cut_streams()
    page.until_text(".banner", "may be old", seconds=25)
    page.gateway.unreachable = False
    page.until("return document.querySelector('.banner').hidden", seconds=40)


def test_a_page_without_a_stream_asks(page: Any) -> None:
    page.gateway.refuse_streams = True
    page.driver.get("about:blank")
    page.driver.execute_cdp_cmd(
        "Network.setCookie", {"name": "session", "value": "yes", "url": page.gateway.url}
    )
    page.driver.get(f"{page.gateway.url}/#/devices/greenhouse-north/3303/0")
    line = page.resource("/3303/0/5700")
    page.until_text(".banner", "every 5 seconds")
    page.gateway.report("greenhouse-north", "/3303/0/5700", 4.75)
    page.until_text(line, "4.75", seconds=20)
    page.gateway.refuse_streams = False
    page.until("return document.querySelector('.banner').hidden", seconds=20)


def test_panels_stand_side_by_side_and_close(page: Any) -> None:
    page.size(1920, 1000)
    page.open("#/devices/greenhouse-north/3/0;3303/0")
    page.until("return document.querySelectorAll('.panel').length === 2")
    tops = page.js(
        "return [...document.querySelectorAll('.panel')].map((one) => one.getBoundingClientRect().top)"
    )
    assert tops[0] == tops[1]
    page.button("Close this panel", ".panel:first-child")
    page.until("return location.hash.endsWith('greenhouse-north/3303/0')")
    page.button("Close the list of devices", ".device-column")
    page.until("return !document.querySelector('.device-column').checkVisibility()")
    page.button("Show the list of devices", ".object-column")
    page.until("return document.querySelector('.device-column').checkVisibility()")


def test_a_phone_goes_from_page_to_page(page: Any) -> None:
    page.size(360, 740)
    page.open("#/devices")
    page.until_text(".summary", "9 of 9")
    page.until(
        "const found = [...document.querySelectorAll('.fleet-card')].find((one) => one.innerText.includes('greenhouse-north'));"
        "found?.click(); return Boolean(found)"
    )
    page.until("return document.querySelector('.object-column')?.checkVisibility()")
    page.until(
        "const found = [...document.querySelectorAll('.object-row')].find((one) => one.innerText.includes('Temperature'));"
        "found?.click(); return Boolean(found)"
    )
    page.until("return document.querySelector('.panel')?.checkVisibility()")
    assert not page.js("return document.querySelector('.object-column').checkVisibility()")
    page.button("Back", ".panel")
    page.until("return document.querySelector('.object-column')?.checkVisibility()")
    page.button("Back to the devices", ".object-column")
    page.until("return document.querySelector('.page.fleet') !== null")


def test_models_are_uploaded_and_removed(page: Any, tmp_path: Path) -> None:
    page.open("#/models")
    page.until_text(".model-scroller", "Temperature")
    file = tmp_path / "33001.xml"
    file.write_text("<LWM2M><Object><Name>Own thing</Name><ObjectID>33001</ObjectID></Object></LWM2M>")
    page.driver.find_element("css selector", "input[type=file]").send_keys(str(file))
    page.until_text(".note", "Own thing (33001, version 1.0) is added.")
    page.until_text(".model-detail", "Blob")
    page.button("Remove model", ".model-detail")
    page.button("Remove model", "dialog")
    page.until_text(".notes", "Own thing is removed.")
    bad = tmp_path / "bad.xml"
    bad.write_text("<nothing/>")
    page.driver.find_element("css selector", "input[type=file]").send_keys(str(bad))
    page.until_text(".note.bad", "this is no object definition")
    page.complaints()  # the refused upload is one


def test_a_token_is_shown_once_and_revoked(page: Any) -> None:
    page.open("#/access")
    page.button("Create token", ".card")
    page.fill("dialog input", "plotter")
    page.button("Create token", "dialog")
    page.until("return document.querySelector('dialog input[readonly]')?.value.startsWith('hmd_')")
    page.button("I have kept it", "dialog")
    page.until_text(".token-list", "plotter")
    assert "hmd_" not in page.js("return document.documentElement.outerHTML")
    page.button("Revoke", ".token-list")
    page.button("Revoke", "dialog")
    page.until_text(".token-list", "No tokens")


def test_a_reader_has_no_buttons_that_change(page_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import fake_server

    monkeypatch.setitem(fake_server._SESSION, "scopes", ["read"])
    page = page_of()
    page.open("#/devices/greenhouse-north/3441/0")
    page.resource("/3441/0/110")
    assert page.js("return document.querySelectorAll('.resource-actions button').length") == 0


def test_hostile_names_and_values_stay_text(page: Any) -> None:
    gateway = page.gateway
    hostile = "<img src=x onerror=alert(1)>"
    gateway.devices[hostile] = gateway.devices.pop("gate")
    gateway.devices[hostile].name = hostile
    gateway.devices[hostile].values["/3/0/0"] = (hostile, 1.0, "read")
    page.open("#/devices")
    page.until_text(".fleet-scroller", hostile)
    page.open("#/devices/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E/3/0")
    page.until_text(".panel", hostile)
    assert page.js("return document.querySelectorAll('main img').length") == 0
    assert page.complaints() == []


# Without a browser


def messages(language: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for folder in ("i18n", "i18n/trust"):
        found |= json.loads((WEB / folder / f"{language}.json").read_text(encoding="utf-8"))
    return found


def test_every_language_says_the_same_things() -> None:
    english, spanish = messages("en"), messages("es")
    assert list(english) == list(spanish)
    for key, message in english.items():
        names = [set(re.findall(r"\{\w+\}", str(one))) for one in (message, spanish[key])]
        assert names[0] == names[1], key


def test_every_message_that_is_used_is_written() -> None:
    written = messages("en")
    used = {
        key
        for file in WEB.rglob("*.js")
        for key in re.findall(r"\bt\(\s*\"([^\"]+)\"", file.read_text(encoding="utf-8"))
    }
    assert used - set(written) == set()


def test_no_address_of_another_host_and_nothing_inline() -> None:
    for file in WEB.rglob("*"):
        if file.suffix not in {".js", ".html", ".css", ".webmanifest", ".svg"}:
            continue
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text), file.name
        assert not re.search(r"\binnerHTML\b|\bouterHTML\b|insertAdjacentHTML|\beval\(|new Function", text), (
            file.name
        )
        if file.suffix == ".html":
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), file.name


def test_imports_are_used() -> None:
    for file in (WEB / "js").rglob("*.js"):
        text = file.read_text(encoding="utf-8")
        for names in re.findall(r"^import \{([^}]+)\} from", text, re.MULTILINE):
            for name in (one.strip() for one in names.split(",")):
                assert len(re.findall(rf"\b{name}\b", text)) > 1, (
                    f"{file.name} imports {name} and never uses it"
                )


def test_modules_are_fetched_at_once_or_when_their_page_opens() -> None:
    index = (WEB / "index.html").read_text(encoding="utf-8")
    at_once = set(re.findall(r'(?:href|src)="(js/[^"]+)"', index))
    texts = {
        str(file.relative_to(WEB)): file.read_text(encoding="utf-8") for file in (WEB / "js").rglob("*.js")
    }

    def named(name: str, pattern: str) -> set[str]:
        folder = (WEB / name).parent
        return {
            str((folder / found).resolve().relative_to(WEB))
            for found in re.findall(pattern, texts[name], re.MULTILINE)
        }

    later = {found for name in texts for found in named(name, r'import\("(\./[^"]+)"\)')}
    assert not at_once & later
    # What only later ones need comes with them.
    with_them = {found for name in later for found in named(name, r'^import .* from "([^"]+)"')} - at_once
    assert at_once | later | with_them == set(texts)
    # What is fetched at once must not wait for another module in its turn.
    for name in at_once - {"js/theme.js"}:
        assert named(name, r'^import .* from "([^"]+)"') <= at_once, name


def test_the_stand_in_runs_alone() -> None:
    told = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fake_server.py")), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--devices" in told.stdout
