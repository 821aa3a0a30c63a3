"""Who may come in, on the page: the way to a new device, the security store, strangers, bootstrap, the authority."""

from __future__ import annotations

from typing import Any

import pytest


def sent(page: Any, method: str, path: str) -> list[Any]:
    """The bodies of these requests, in their order."""
    return [body for verb, place, body in page.gateway.requests if (verb, place) == (method, path)]


def test_a_new_device_step_by_step_until_it_is_there(page: Any) -> None:
    page.open("#/devices")
    page.button("Add device")
    page.button("Next", ".wizard")
    page.until_text(".wizard .form-error", "Give the endpoint name")
    page.fill(".wizard .field:nth-of-type(1) .input", "meter-99")
    page.fill(".wizard .field-pair .input", "water, cellar")
    page.button("Next", ".wizard")
    assert page.js("return document.querySelector('input[name=security]:checked').value") == "psk"
    page.button("Next", ".wizard")
    page.click("input[value=bootstrap]")
    page.until_text(".wizard", "Bootstrap plan")
    page.click("input[value=direct]")
    page.button("Make it", ".wizard")
    page.until_text(".first-contact", "Waiting for first contact")
    assert sent(page, "POST", "/vault/devices") == [
        {"endpoint_name": "meter-99", "security": "psk", "groups": ["water", "cellar"]}
    ]
    assert "Shown this once." in page.text(".provision")
    assert "00112233445566778899aabbccddeeff" in page.text(".provision")
    assert page.js("return document.querySelectorAll('.qr path').length") > 1
    page.js("location.hash = '#/events'")  # a slip of the finger: what is shown once is not lost by it
    page.until("return document.querySelector('.provision') === null")
    page.js("location.hash = '#/security/add'")
    page.until_text(".provision", "00112233445566778899aabbccddeeff")
    page.button("Anjay", ".client-tabs")
    page.until_text(".client-panel", "./demo --endpoint-name meter-99")
    trust = page.gateway.trust
    with page.gateway.lock:
        trust.contact("meter-99", "failed", "It used another key than psk:meter-99 has; copy it again.")
        page.gateway.append("handshake", "meter-99")
    page.until_text(".first-contact .contact.failed", "copy it again")
    with page.gateway.lock:
        trust.strangers[trust.knock("", "psk:meter-9", "Nobody has that identity.")]["last_seen_at"] = "2099"
    page.until_text(".meanwhile", "Nobody has that identity.")
    assert "psk:old-fridge" not in page.text(".meanwhile")
    with page.gateway.lock:
        trust.contact("meter-99", "registered", "Registered over DTLS.")
        page.gateway.append("registered", "meter-99")
    page.until_text(".first-contact .contact.registered", "It is here and registered")
    page.until("return document.querySelector('.meanwhile').childElementCount === 0")
    page.button("Add another", ".wizard")
    page.until_text("dialog", "Have you kept its key?")
    page.button("Cancel", "dialog")
    page.until("return !document.querySelector('dialog')")
    assert "00112233445566778899aabbccddeeff" in page.text(".provision")
    page.button("I have kept it", ".wizard")
    page.until_text(".credential", "psk:meter-99")
    assert "00112233" not in page.text("main")
    page.js("location.hash = '#/security/add'")
    page.until_text(".wizard", "Endpoint name")
    assert page.js("return document.querySelector('.wizard input').value") == ""


SECURITIES = [
    ("rpk", "own", "-----BEGIN PUBLIC KEY-----", "public_key_pem"),
    ("x509", "own", "-----BEGIN CERTIFICATE-----", "certificate_pem"),
    ("x509", "csr", "-----BEGIN CERTIFICATE REQUEST-----", "csr_pem"),
]


@pytest.mark.parametrize(("mode", "which", "text", "member"), SECURITIES)
def test_own_keys_are_told(page: Any, mode: str, which: str, text: str, member: str) -> None:
    page.open("#/security/add?endpoint_name=pump-2")
    page.button("Next", ".wizard")
    page.click(f"input[value={mode}]")
    labels = {"rpk": "its public key", "own": "It has a certificate", "csr": "(CSR)"}
    wanted = labels["rpk"] if mode == "rpk" else labels[which]
    page.until(
        "const one = [...document.querySelectorAll('.mode-more .choice')].find((it) => it.textContent.includes(arguments[0]));"
        "one?.querySelector('input').click(); return Boolean(one)",
        wanted,
    )
    page.button("Next", ".wizard")
    page.until_text(".form-error", "Paste the PEM text")
    page.fill(".mode-more textarea", text)
    page.button("Next", ".wizard")
    page.button("Make it", ".wizard")
    page.until_text(".first-contact", "Waiting")
    assert sent(page, "POST", "/vault/devices") == [
        {"endpoint_name": "pump-2", "security": mode, member: text}
    ]


def test_nosec_is_red_and_must_be_meant(page: Any) -> None:
    page.open("#/security/add?endpoint_name=open-1")
    page.button("Next", ".wizard")
    page.click("input[value=nosec]")
    page.until_text(".mode-more .warning-line.red", "Only on a network that you trust wholly")
    page.button("Next", ".wizard")
    page.until_text(".form-error", "Tick the box")
    page.click(".mode-more input[type=checkbox]")
    page.button("Next", ".wizard")
    page.button("Make it", ".wizard")
    page.until_text(".provision .warning-line.red", "Not encrypted")
    page.js("location.hash = '#/security'")
    page.until_text(".keys-scroller", "open-1")
    page.until_text(".status-bar .open-figure", "NoSec")


def test_the_store_is_searched_filtered_and_opened(page: Any) -> None:
    page.open("#/security")
    page.until_text(".keys-scroller", "greenhouse-north")
    page.until_text(".keys-scroller", "another key for psk:boiler")
    page.until_text(".keys-scroller", "days left")
    page.fill(".trust-tools input[type=search]", "psk:boi")
    page.until("return document.querySelectorAll('.keys-row').length === 1")
    page.fill(".trust-tools input[type=search]", "green")
    page.until("return document.querySelectorAll('.keys-row').length === 2")
    page.js(
        "const one = document.querySelector('[aria-label=Tag]'); one.value = 'pilot';"
        "one.dispatchEvent(new Event('change'))"
    )
    page.until("return document.querySelectorAll('.keys-row').length === 1")
    page.click(".keys-row a")
    page.until_text(".sub-title", "greenhouse-north")
    page.js("location.hash = '#/security/keys?show=nosec'")
    page.until("return document.querySelector('[data-show=nosec][aria-pressed=true]')")


def test_a_key_is_rotated_revoked_and_the_device_reinstated(page: Any) -> None:
    page.open("#/security/device/greenhouse-north")
    page.button("New key", ".card")
    page.button("Make the key", "dialog")
    page.until_text("dialog", "Shown this once.")
    assert sent(page, "POST", "/vault/devices/greenhouse-north/rotate") == [
        {"purpose": "server", "how": "staged"}
    ]
    page.button("Close", "dialog")
    page.until_text("dialog.dangerous", "Leave without the keys?")
    page.button("Cancel", "dialog")
    page.until_text("dialog", "Shown this once.")
    page.button("I have kept it", "dialog")
    page.until_text(".trust-state.staged", "not used yet")
    page.button("Revoke", ".card")
    page.fill("dialog input", "sold")
    page.button("Go on", "dialog")
    page.until_text("dialog.dangerous", "Really shut it out?")
    assert not sent(page, "POST", "/vault/devices/greenhouse-north/revoke")
    page.button("Revoke now", "dialog.dangerous")
    page.until_text(".warning-line.red", "Blocked")
    assert sent(page, "POST", "/vault/devices/greenhouse-north/revoke") == [{"reason": "sold"}]
    page.button("Reinstate", ".card")
    page.until_text(".trust-state.active", "in use")
    page.button("Bootstrap anew", ".card")
    page.until_text("dialog", "no bootstrap key here")
    page.button("Start", "dialog")
    page.until_text(".state-line.waiting", "bootstrapped anew")


def test_a_failure_is_over_when_the_device_was_let_in(page: Any) -> None:
    page.open("#/security/keys?show=failing")
    page.until("return document.querySelectorAll('.keys-row').length === 1")
    page.until_text(".keys-trouble", "another key for psk:boiler")
    with page.gateway.lock:
        credential = page.gateway.trust.devices["boiler"]["credentials"][0]
        credential["last_used_at"] = "2099-01-01T00:00:00Z"
    page.js("location.hash = '#/security/device/boiler'")
    page.until_text(".credential", "Before it was let in: The device used another key")
    page.js("location.hash = '#/security/keys'")
    page.until_text(".keys-row .device-name", "boiler")
    assert page.text(".keys-trouble") == ""


def test_labels_groups_and_nosec_are_changed(page: Any) -> None:
    page.open("#/security/device/boiler")
    page.until_text(".facts", "Heating, two servers")
    page.button("Edit", ".sub-head")
    page.fill("dialog .field:nth-of-type(2) .input", "heating, cellar")
    page.button("Keep", "dialog")
    page.until_text(".facts", "cellar")
    page.click("input.switch")
    page.until_text("dialog.dangerous", "Let it in without security?")
    page.button("Allow NoSec", "dialog")
    page.until_text(".open-card.on", "It may come in without security")
    changes = sent(page, "PATCH", "/vault/devices/boiler")
    assert changes[0]["groups"] == ["heating", "cellar"]
    assert changes[1] == {"nosec": True}


def test_strangers_are_counted_and_decided_about(page: Any) -> None:
    page.open("#/security/quarantine")
    page.until_text(".rail-mark", "2")
    page.until_text(".stranger-list", "NoSec is off for this device")
    page.button("Accept sensor-x")
    page.until_text("dialog.dangerous", "without security")
    page.button("Cancel", "dialog")
    page.button("Block sensor-x")
    page.button("Block", "dialog")
    page.until_text(".rail-mark", "1")
    page.button("Accept meter-77")
    page.until("return location.hash.startsWith('#/security/add?')")
    page.until("return document.querySelector('.wizard input')?.value === 'meter-77'")
    page.button("Next", ".wizard")
    assert "Identity" in page.text(".mode-more")
    page.button("Next", ".wizard")
    page.button("Make it", ".wizard")
    page.until_text(".first-contact", "Waiting")
    assert sent(page, "POST", "/vault/devices") == [
        {"endpoint_name": "meter-77", "security": "psk", "psk_identity": "meter-77"}
    ]


def test_a_plan_is_written_checked_and_kept(page: Any) -> None:
    page.open("#/security/bootstrap")
    page.until_text(".plan-grid", "Heating, two servers")
    page.button("New plan")
    page.until_text(".lint", "The plan needs a name")
    assert page.js("return document.querySelector('.plan-form button[type=submit]').disabled")
    page.fill(".plan-fields .field .input", "Meters")
    page.until_text(".lint", "This plan can be kept")
    page.js(
        "const one = [...document.querySelectorAll('.entry select')][0]; one.value = 'nosec';"
        "one.dispatchEvent(new Event('change'))"
    )
    page.until_text(".lint", "Server 1: without security everybody reads")
    page.until_text(".entry .entry-told", "without security everybody reads")
    page.button("Go to it: Server 1: without security everybody reads what the device says.")
    assert page.js("return document.activeElement.closest('.entry') !== null")
    page.button("Add value", ".plan-form")
    page.fill(".entry-row .field:nth-child(1) .input", "/3/0/14")
    page.fill(".entry-row .field:nth-child(2) .input", "+02:00")
    page.button("Add access control", ".plan-form")
    page.click("[aria-label='All others: Read']")
    page.until("return !document.querySelector('.plan-form button[type=submit]').disabled")
    page.click(".plan-form button[type=submit]")
    page.until_text(".plan-grid", "Meters")
    (kept,) = sent(page, "POST", "/bootstrap/plans")
    assert kept["servers"][0] | {"security": "nosec", "uri": "$uri"} == kept["servers"][0]
    assert kept["writes"] == {"/3/0/14": "+02:00"}
    assert kept["access_control"] == [{"object_id": 3, "instance_id": 0, "owner": 1, "rights": {"0": 1}}]


def test_a_plan_goes_out_and_comes_in_as_json(page: Any) -> None:
    page.open("#/security/plan/p1")
    page.until_text(".lint", "This plan can be kept")
    page.click("details.card summary")
    page.until("return document.querySelector('details.card textarea').value.includes('maker.example')")
    page.js("document.querySelector('details.card textarea').value = '{\"name\": '")
    page.button("Take it into the form")
    page.until_text("details.card .form-error", "This is no JSON")
    page.js(
        "document.querySelector('details.card textarea').value ="
        ' \'{"name": "Brought", "servers": [{"lifetime_s": 60}], "writes": {"/3/0/14": "5"}}\''
    )
    page.button("Take it into the form")
    page.until("return document.querySelectorAll('.plan-form .entry').length === 1")
    page.until_text(".lint", "This plan can be kept")
    page.click(".plan-form button[type=submit]")
    page.until_text(".plan-grid", "Brought")
    (kept,) = sent(page, "PUT", "/bootstrap/plans/p1")
    assert (kept["servers"][0]["lifetime_s"], kept["writes"]) == (60, {"/3/0/14": "5"})


def test_a_session_is_watched_and_played_again(page: Any) -> None:
    number = page.gateway.trust.session("meter-17", 2)
    page.open("#/security/bootstrap")
    page.until_text(".session-list", "meter-17")
    page.js(f"location.hash = '#/security/session/{number}'")
    page.until("return document.querySelectorAll('.step').length === 2")
    with page.gateway.lock:
        page.gateway.trust.step(number)
    page.until("return document.querySelectorAll('.step').length === 3")
    page.js("location.hash = '#/security/session/1'")
    page.until_text(".session-end.finished", "all it needs")
    page.until_text(".step.bad", "4.05")
    page.button("One step back", ".replay")
    page.until_text(".replay-count", "6 of 7")
    assert page.js("return document.querySelectorAll('.step.to-come[aria-hidden=true]').length") == 1
    assert "4.05" in page.text(".step.now")
    page.button("Play it again", ".replay")
    page.until_text(".replay-count", "7 of 7")
    page.until("return document.querySelectorAll('.step.to-come').length === 0")


def test_a_group_is_moved_when_it_is_meant(page: Any) -> None:
    page.open("#/security/bootstrap")
    page.button("Move devices")
    page.until_text("dialog", "The 1 device with a bootstrap key")
    page.js(
        "const one = document.querySelector('dialog select'); one.value = 'g:water';"
        "one.dispatchEvent(new Event('change'))"
    )
    page.until_text("dialog .warning-line", "2 of them have no bootstrap key")
    page.button("Move 2 devices", "dialog")
    page.until_text("dialog .form-error", "Tick the box")
    page.click("dialog input[type=checkbox]")
    page.button("Move 2 devices", "dialog")
    page.until_text("body", "2 devices are asked")
    assert sent(page, "POST", "/vault/rebootstrap") == [{"group": "water"}]
    assert not sent(page, "POST", "/vault/plan")


def test_a_request_to_bootstrap_is_withdrawn(page: Any) -> None:
    path = "/vault/rebootstrap/withdraw"
    page.gateway.trust.rebootstrap({"endpoint_names": ["boiler"]})
    page.open("#/security/device/boiler")
    page.until_text(".state-line.waiting", "to be bootstrapped anew")
    page.button("Withdraw")
    page.until("return !document.querySelector('[data-action=withdraw]')")
    assert sent(page, "POST", path) == [{"endpoint_names": ["boiler"]}]
    page.open("#/security/bootstrap")
    page.button("Withdraw a request")
    page.until_text("body", "No device is waiting")
    page.gateway.trust.rebootstrap({"endpoint_names": ["boiler", "greenhouse-north"]})
    page.button("Withdraw a request")
    page.until_text("dialog", "2 devices were asked")
    page.button("Withdraw", "dialog")
    page.until_text("body", "2 devices need not bootstrap any more")
    assert sorted(sent(page, "POST", path)[-1]["endpoint_names"]) == ["boiler", "greenhouse-north"]


def test_devices_are_picked_and_moved_by_another_plan(page: Any) -> None:
    page.open("#/security/keys")
    page.until_text(".keys-scroller", "boiler")
    page.button("More", ".trust-tools")
    page.button("Pick devices", ".menu")
    assert page.js("return document.querySelector('[data-do=move]').disabled")
    page.click("[aria-label='Pick boiler']")
    page.until_text(".picking-bar", "1 device picked")
    page.js(
        "const row = [...document.querySelectorAll('.keys-row')].find((one) => one.textContent.includes('greenhouse-north'));"
        "row.focus(); row.dispatchEvent(new KeyboardEvent('keydown', { key: ' ', bubbles: true }))"
    )
    page.until_text(".picking-bar", "2 devices picked")
    assert page.js("return location.hash") == "#/security/keys"
    page.button("Move devices", ".picking-bar")
    page.until_text("dialog", "The 2 devices that are picked")
    page.js("[...document.querySelectorAll('dialog select')].at(-1).value = 'p1'")
    page.click("dialog input[type=checkbox]")
    page.button("Move 2 devices", "dialog")
    page.until("return document.querySelector('.picking-bar').hidden")
    names = {"endpoint_names": ["boiler", "greenhouse-north"]}
    assert sent(page, "POST", "/vault/plan") == [names | {"plan": "p1"}]
    assert sent(page, "POST", "/vault/rebootstrap") == [names]
    assert page.gateway.trust.devices["greenhouse-north"]["plan"] == "p1"


LIST = "endpoint_name,security\nmeter-1,psk\nboiler,psk\nmeter-3,wep\n"


def test_a_list_is_checked_then_added_and_its_keys_are_saved(page: Any) -> None:
    page.open("#/security/import")
    page.find(".import-card textarea")
    page.js(
        "const area = document.querySelector('.import-card textarea'); area.value = arguments[0];"
        "area.dispatchEvent(new Event('input'))",
        LIST,
    )
    page.until_text(".import-report", "2 of 3 rows are not right")
    page.until_text(".import-report", "a device of this name is in the vault already")
    assert page.js("return document.querySelector('.import-card .primary:disabled') !== null")
    assert "meter-1" not in page.gateway.trust.devices
    page.js(
        "const area = document.querySelector('.import-card textarea');"
        "area.value = 'endpoint_name,security\\nmeter-1,psk\\nmeter-2,psk\\n';"
        "area.dispatchEvent(new Event('input'))"
    )
    page.until_text(".import-report", "All 2 rows are right")
    page.js(
        "window.saved = []; const made = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blob.text().then((text) => window.saved.push(text)); return made(blob) };"
        "HTMLAnchorElement.prototype.click = () => {}"
    )
    page.button("Add 2 devices", ".import-card")
    page.button("Add 2 devices", "dialog")
    page.until_text(".once", "Save the keys now")
    page.js(
        "[...document.querySelectorAll('button')].find((one) => one.textContent === 'I have kept it').click()"
    )
    page.until_text("dialog.dangerous", "Leave without the keys?")
    page.button("Cancel", "dialog")
    page.js("location.hash = '#/security/audit'")
    page.until_text(".audit-list", "Device added")
    page.js("location.hash = '#/security/import'")
    page.until_text(".once", "Save the keys now")
    page.button("Save the keys as CSV")
    page.until("return window.saved.length === 1")
    heads, first, *_ = page.js("return window.saved[0]").splitlines()
    assert dict(zip(heads.split(","), first.split(","), strict=True)) | {
        "endpoint_name": "meter-1",
        "psk_identity": "meter-1",
        "psk_key_hex": "00112233445566778899aabbccddeeff",
    } == dict(zip(heads.split(","), first.split(","), strict=True))
    page.button("I have kept it", ".card")
    page.until_text(".keys-scroller", "meter-2")


def test_the_authority_signs_and_others_are_trusted(page: Any) -> None:
    page.open("#/security/authority")
    page.until_text(".trust-column", "CN=Homard Edge")
    page.until_text(".trust-column", "days left")
    page.fill("form .field .input", "pump-9")
    page.button("Sign", "form")
    page.until_text("form .form-error", "Paste the PEM text")
    page.fill("form textarea", "-----BEGIN CERTIFICATE REQUEST-----")
    page.button("Sign", "form")
    page.until_text(".signed", "BEGIN CERTIFICATE")
    page.until_text(".anchor-list", "Nordwind")
    page.button("Trust an authority", ".card-title")
    page.fill("dialog textarea", "no certificate")
    page.button("Trust an authority", "dialog")
    page.until_text("dialog .form-error", "That is no certificate.")
    page.fill("dialog textarea", "-----BEGIN CERTIFICATE-----")
    page.button("Trust an authority", "dialog")
    page.until_text(".anchor-list", "Other CA")
    page.button("Trust CN=Nordwind Device CA,O=Nordwind no longer")
    page.button("Trust it no longer", "dialog")
    page.until("return !document.querySelector('.anchor-list').textContent.includes('Nordwind')")


def test_the_audit_log_says_whether_it_is_sound(page: Any) -> None:
    page.open("#/security/audit")
    page.until_text(".import-sum.good", "The log is sound.")
    page.until_text(".audit-list", "Revoked: sold")
    page.gateway.trust.sound = False
    page.button("Read again")
    page.until_text(".import-sum.bad", "The entry 2 is not as it was written.")


def test_an_account_is_narrowed_to_groups(page: Any) -> None:
    page.open("#/security/permissions")
    page.until_text(".permission-list", "greenhouses: operate")
    page.until_text(".permission-list", "This is you")
    page.button("Narrow maria to groups")
    page.js("document.querySelector('dialog select[aria-label=water]').value = 'admin'")
    page.button("Keep", "dialog")
    page.until_text(".permission-list", "water: administer")
    assert sent(page, "PUT", "/vault/permissions/maria") == [
        {"groups": {"greenhouses": "operate", "water": "admin"}}
    ]
    page.button("Lift the limits of maria")
    page.button("Lift the limits", "dialog")
    page.until("return !document.querySelector('.permission-list').textContent.includes('greenhouses')")


def make(page: Any, name: str) -> None:
    page.js("location.hash = `#/security/add?endpoint_name=${arguments[0]}`", name)
    page.until("return document.querySelector('.wizard input')?.value === arguments[0]", name)
    page.button("Next", ".wizard")
    page.until("return document.querySelector('input[name=security]') !== null")
    page.button("Next", ".wizard")
    page.button("Make it", ".wizard")
    page.until_text(".flash-facts", name)


def test_keys_that_nobody_kept_wait_for_each_other(page: Any) -> None:
    page.open("#/security/keys")
    page.until_text(".keys-scroller", "boiler")
    make(page, "meter-1")
    make(page, "meter-2")
    page.js("location.hash = '#/security/add?endpoint_name=meter-1'")
    page.until_text(".flash-facts", "meter-1")
    page.button("Add another", ".wizard")
    page.button("Kept: add another", "dialog")
    page.until_text(".flash-facts", "meter-2")
    assert "meter-1" not in page.text(".flash-facts")
    page.button("I have kept it", ".wizard")
    page.until("return location.hash === '#/security/device/meter-2'")
    page.js("location.hash = '#/security/add'")
    page.until_text(".wizard-title", "What is it called?")
    assert "00112233445566778899aabbccddeeff" not in page.driver.page_source


def test_a_key_goes_nowhere_but_to_the_screen(page: Any) -> None:
    key = "00112233445566778899aabbccddeeff"
    page.open("#/security/keys")
    page.until_text(".keys-scroller", "boiler")
    make(page, "meter-1")
    assert key in page.driver.page_source
    page.button("I have kept it", ".wizard")
    page.until("return location.hash === '#/security/device/meter-1'")
    page.until_text(".credential", "psk:meter-1")
    stored = page.js(
        "return document.documentElement.outerHTML + JSON.stringify([history.state, { ...localStorage }, { ...sessionStorage }])"
    )
    assert key not in stored
    page.driver.back()
    page.until_text(".wizard-title", "What is it called?")
    assert key not in page.driver.page_source


@pytest.mark.parametrize("language", ["en", "es"])
def test_a_phone_shows_every_tab_and_every_right_without_sideways(page: Any, language: str) -> None:
    page.size(360, 740)
    page.open("#/devices")
    page.js("localStorage.setItem('homard.language', arguments[0])", language)
    try:
        page.open("#/security/plan/p1")
        page.until("return document.querySelectorAll('.rights input').length === 15")
        places = page.js(
            "return [...document.querySelectorAll('.trust-tab, .rights .cell-box')].map((one) => one.getBoundingClientRect())"
            ".map((one) => [one.left, one.right, one.width, one.height])"
        )
    finally:
        page.js("localStorage.removeItem('homard.language')")
    assert len(places) == 6 + 15
    assert all(left >= 0 and right <= 360 for left, right, *_ in places)
    assert all(width >= 44 and height >= 44 for *_, width, height in places)
