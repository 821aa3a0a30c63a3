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
    page.button("Anjay", ".client-tabs")
    page.until_text(".client-panel", "./demo --endpoint-name meter-99")
    trust = page.gateway.trust
    with page.gateway.lock:
        trust.contact("meter-99", "failed", "It used another key than psk:meter-99 has; copy it again.")
        page.gateway.append("handshake", "meter-99")
    page.until_text(".first-contact .contact.failed", "copy it again")
    with page.gateway.lock:
        trust.contact("meter-99", "registered", "Registered over DTLS.")
        page.gateway.append("registered", "meter-99")
    page.until_text(".first-contact .contact.registered", "It is here and registered")
    page.button("I have kept it", ".wizard")
    page.until_text(".credential", "psk:meter-99")
    assert "00112233" not in page.text("main")


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
    page.button("Start", "dialog")
    page.until_text(".state-line.waiting", "bootstrapped anew")


def test_labels_groups_and_nosec_are_changed(page: Any) -> None:
    page.open("#/security/device/boiler")
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
