"""What a person changes about trust over the API stands in the audit log: who, what, about whom."""

from __future__ import annotations

from collections.abc import Callable

from appliance.northbound.schemas import COMPONENTS
from tests.northbound.conftest import Stand

Build = Callable[..., Stand]


def entries(here: Stand) -> list[tuple[str, str, str]]:
    return [(one.by, one.what, one.about) for one in reversed(here.trust.vault.audit())]


def test_what_is_decided_about_strangers(stand: Build) -> None:
    here = stand()
    browser = here.browser("read", "admin")
    stranger = COMPONENTS["Stranger"]["example"]
    who, name = f"without security, at {stranger['address']}", stranger["endpoint_name"]
    assert stranger["identity"] is None
    for verb in ("block", "ignore"):
        assert browser.send("POST", f"/api/v1/strangers/42/{verb}").status == 200
    assert browser.send("DELETE", "/api/v1/strangers/42").status == 204
    assert browser.send("POST", "/api/v1/strangers/9/block").status == 404
    assert browser.send("DELETE", "/api/v1/strangers/9").status == 404
    assert entries(here) == [
        ("token test", f"stranger blocked: {who}", name),
        ("token test", f"stranger ignored: {who}", name),
        ("token test", f"stranger taken off the list, where it was {stranger['state']}: {who}", "kitchen"),
    ]


def test_what_becomes_of_bootstrap_plans(stand: Build) -> None:
    here = stand()
    browser = here.browser("read", "admin")
    body, plan = COMPONENTS["NewPlan"]["example"], COMPONENTS["Plan"]["example"]["id"]
    assert browser.send("POST", "/api/v1/bootstrap/plans", body).status == 201
    assert browser.send("PUT", "/api/v1/bootstrap/plans/42", body).status == 200
    assert browser.send("DELETE", "/api/v1/bootstrap/plans/42").status == 204
    assert browser.send("POST", "/api/v1/bootstrap/plans/check", body).status == 200  # changes nothing
    assert entries(here) == [
        ("token test", f"bootstrap plan made: {plan}", ""),
        ("token test", f"bootstrap plan changed: {plan}", ""),
        ("token test", "bootstrap plan removed: 42", ""),
    ]


def test_what_becomes_of_accounts_and_tokens(stand: Build) -> None:
    here = stand()
    browser = here.browser("read", "admin")
    made = browser.api("POST", "/tokens", {"name": "billing", "scopes": ["read"]}).json
    assert browser.api("DELETE", f"/tokens/{made['id']}").status == 204
    assert browser.api("PUT", "/accounts/ines/password", {"password": "another lamp 4711"}).status == 200
    assert browser.api("PUT", "/accounts/nobody/password", {"password": "another lamp 4711"}).status == 404
    assert browser.api("DELETE", "/tokens/nowhere").status == 404
    said = entries(here)
    assert said == [
        ("token test", f"token made: billing ({made['id']}, read)", ""),
        ("token test", f"token revoked: {made['id']}", ""),
        ("token test", "password set of the account ines", ""),
    ]
    assert made["token"] not in str(said) and "4711" not in str(said)
