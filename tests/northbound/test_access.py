"""Who gets in: before login, by cookie, by token, with which scope, from which page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from appliance.northbound.application import ALL_ROUTES
from appliance.northbound.routes import ACCESSES, API, Route, Routes
from appliance.northbound.schemas import COMPONENTS
from appliance.vault.model import NewCredential, NewDevice
from tests.northbound.conftest import INDEX, PASSWORD, Browser, Stand

Build = Callable[..., Stand]

# What is sent where the example of the schema would not do.
BODIES: dict[str, Any] = {
    "Rebootstrap": {"endpoint_names": ["kitchen"]},
    "GivenPlan": {"endpoint_names": ["kitchen"], "plan": None},
    "Revoke": {"reason": "lost"},
    "SetPermission": {"groups": {"a": "read"}},
    "Operation": {"operation": "Read", "path": "/3"},
    "Observe": {},
    "NewToken": {"name": "x", "scopes": ["read"]},
    "NewPassword": {"password": "another good one"},
    "Submit": {"all": True, "operation": {"operation": "Read", "path": "/3"}},
    "Awake": {"awake_s": 30},
    "ObserveComposite": {"paths": ["/3/0/9"]},
    "NewTemplate": {"name": "x", "paths": ["/3/0/9"]},
    "NewProfile": {"links": "</3/0>"},
}


UPLOADS = {"text/csv": b"endpoint_name\nnew\n"}


def example(route: Route) -> tuple[str, Any, dict[str, str]]:
    """A request that the route takes: path, body, headers."""
    names = {"endpoint_name": "kitchen", "object_id": "3303", "name": "ines", "token_id": "00000000"}
    names |= {"id": "42", "pid": "6:27354b9a", "account": "eva", "fingerprint": "00"}
    path = re.sub(r"\{(\w+)\}", lambda found: names[found[1]], route.path)
    query = "&".join(
        f"{one.name}={'/3/0' if one.name == 'path' else '1.0'}" for one in route.query if one.required
    )
    body: Any = None
    if route.upload is not None:
        body = UPLOADS.get(route.upload, b"<LWM2M/>")
    elif route.body is not None:
        body = BODIES.get(route.body, COMPONENTS[route.body]["example"])
    headers = {"Content-Type": route.upload} if route.upload else {}
    return path + (f"?{query}" if query else ""), body, headers


CLOSED = [route for route in ALL_ROUTES if route.scope != "public" and not route.path.endswith("/stream")]


# Before login


def test_what_a_stranger_sees(stand: Build) -> None:
    """The page's files and whether the setup is needed: these bytes and no others, no version, no name."""
    here = stand(account=False)
    stranger = Browser(here.port)
    page = stranger.send("GET", "/")
    assert page.data.decode() == INDEX
    assert sorted(page.headers.keys()) == [
        "Cache-Control",
        "Content-Length",
        "Content-Security-Policy",
        "Content-Type",
        "Cross-Origin-Opener-Policy",
        "Cross-Origin-Resource-Policy",
        "Date",
        "Etag",
        "Permissions-Policy",
        "Referrer-Policy",
        "Vary",
        "X-Content-Type-Options",
        "X-Frame-Options",
    ]
    assert page.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
    setup = stranger.api("GET", "/setup")
    assert setup.data == b'{"needed":true}'
    assert sorted(setup.headers.keys()) == [
        "Cache-Control",
        "Content-Length",
        "Content-Security-Policy",
        "Content-Type",
        "Cross-Origin-Resource-Policy",
        "Date",
        "Referrer-Policy",
        "X-Content-Type-Options",
    ]
    assert setup.headers["Cache-Control"] == "no-store"


def test_everything_else_is_401_with_the_same_bytes(stand: Build) -> None:
    here = stand()
    stranger = Browser(here.port)
    seen = set()
    requests = [(route.method, API + example(route)[0]) for route in CLOSED]
    requests += [
        (method, path)
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "FROB")
        for path in ("/api", "/api/", "/api/v1", "/api/v2/devices", "/api/v1/nothing", "/api/v1/devices")
    ]
    requests += [("DELETE", "/api/v1/setup"), ("GET", "/api/v1/stream"), ("GET", "/api/v1/devices/x%FF")]
    for method, path in requests:
        reply = stranger.send(method, path)
        assert reply.status == 401, (method, path, reply.data)
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        seen.add(reply.data)
    assert len(seen) == 1
    assert stranger.send("HEAD", "/api/v1/devices").status == 401
    assert here.devices.asked == []


def test_login_tells_names_and_passwords_apart_by_nothing(stand: Build) -> None:
    stranger = Browser(stand().port)
    replies = [
        stranger.api("POST", "/session", {"name": name, "password": "wrong"}) for name in ("ines", "eva")
    ]
    assert {reply.status for reply in replies} == {401}
    assert replies[0].data == replies[1].data


# Scopes


def test_every_route_has_a_scope() -> None:
    assert all(route.scope in ACCESSES for route in ALL_ROUTES)
    assert {(route.method, route.path) for route in ALL_ROUTES if route.scope == "public"} == {
        ("GET", "/setup"),
        ("POST", "/setup"),
        ("POST", "/session"),
    }


def test_a_route_without_a_scope_cannot_be_written() -> None:
    routes = Routes()
    with pytest.raises(TypeError):
        routes.route("GET", "/x", summary="no scope")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="no scope"):
        routes.append(Route("GET", "/x", "", "x", "no scope", lambda request: None))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: f"{route.method} {route.path}")
def test_each_route_with_each_scope(stand: Build, route: Route) -> None:
    here = stand(account=True)
    here.identity.set_password("eva", PASSWORD, create=True)
    order = ["read", "operate", "admin"]
    path, body, headers = example(route)
    for granted in order:
        if here.trust.vault.device("kitchen") is None:
            key = NewCredential("server", "psk")
            here.trust.vault.add([NewDevice("kitchen", credentials=(key,))], "test")
        reply = here.browser(granted).api(route.method, path, body, headers=headers)
        if order.index(granted) < order.index(route.scope):
            assert (reply.status, reply.code) == (403, "forbidden"), granted
        elif route.name == "set_password" and granted != "admin":
            assert (reply.status, reply.code) == (403, "forbidden")  # another's password
        elif route.name in ("revoke_token", "get_file", "remove_file", "remove_anchor"):
            assert reply.status == 404
        elif route.name in ("sign_request", "add_anchors"):
            assert reply.status == 400  # the example is no certificate
        else:
            assert reply.status == route.status, (granted, reply.data)


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer ",
        "Bearer hmd_00000000_x",
        "Bearer " + "hmd_" + "x" * 5000,
        "Basic aW5lczp0aWRl",
        "Bearer {token}x",
        "hmd",
    ],
)
def test_tokens_that_are_none(stand: Build, authorization: str) -> None:
    here = stand()
    token = here.identity.create_token("test", ["admin"])
    header = {"Authorization": authorization.replace("{token}", token)}
    assert Browser(here.port).api("GET", "/devices", headers=header).status == 401


def test_a_wrong_token_is_not_helped_by_a_cookie(stand: Build) -> None:
    browser = Browser(stand().port)
    browser.log_in()
    assert browser.api("GET", "/devices").status == 200
    assert browser.api("GET", "/devices", headers={"Authorization": "Bearer hmd_1_2"}).status == 401


# Setup


def test_the_setup_makes_one_account_and_closes(stand: Build) -> None:
    here = stand(account=False)
    code = here.identity.issue_setup_code()
    browser = Browser(here.port)
    body = {"code": code, "name": "ines", "password": PASSWORD}
    assert browser.api("POST", "/setup", {**body, "code": "AAAA-AAAA-AAAA"}).code == "wrong_credentials"
    assert browser.api("POST", "/setup", {**body, "password": "short"}).code == "invalid"
    assert browser.api("POST", "/setup", {**body, "admin": True}).code == "invalid"
    made = browser.api("POST", "/setup", body)
    assert made.status == 201 and made.json["scopes"] == ["read", "operate", "admin"]
    browser.cookie = made.headers["Set-Cookie"].partition(";")[0]
    assert browser.api("GET", "/session").json == made.json
    assert browser.api("GET", "/setup").json == {"needed": False}
    again = Browser(here.port).api("POST", "/setup", body)
    assert (again.status, again.code) == (409, "setup_closed")


def test_wrong_setup_codes_back_off(stand: Build) -> None:
    here = stand(account=False)
    here.identity.issue_setup_code()
    body = {"code": "AAAA", "name": "ines", "password": PASSWORD}
    replies = [Browser(here.port).api("POST", "/setup", body) for _ in range(8)]
    assert [reply.status for reply in replies] == [401] * 5 + [429] * 3
    assert replies[-1].headers["Retry-After"] == "1"


# Login


def test_a_thousand_wrong_logins_are_refused_with_a_time_to_come_back(stand: Build) -> None:
    """The clock stands still for the tries, so that only the free ones are looked at."""
    here = stand()
    here.identity._monotonic = lambda: 5000.0
    browser, tried = Browser(here.port), {401: 0, 429: 0}
    connection = browser.connect()
    for _ in range(1000):
        body = {"name": "ines", "password": "wrong"}
        reply = browser.api("POST", "/session", body, connection=connection)
        tried[reply.status] += 1
    connection.close()
    assert tried == {401: 5, 429: 995}
    assert int(reply.headers["Retry-After"]) >= 1 and reply.code == "too_many_attempts"
    assert browser.log_in().status == 429
    assert Browser(here.port, source="127.0.0.2").api("GET", "/setup").status == 200


def test_the_cookie_over_tls(stand: Build) -> None:
    reply = Browser(stand().port).log_in()
    name, _, rest = reply.headers["Set-Cookie"].partition("=")
    assert name == "__Host-homard"
    flags = rest.split("; ")[1:]
    assert flags == ["Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Strict", "Secure"]


def test_a_cookie_of_plain_http_is_not_one_of_tls(stand: Build) -> None:
    here = stand()
    plain = Browser(here.port, tls=False)
    reply = plain.log_in()
    assert reply.headers["Set-Cookie"].startswith("homard=") and "Secure" not in reply.headers["Set-Cookie"]
    assert plain.api("GET", "/session").status == 200
    secure = Browser(here.port)
    secure.cookie = plain.cookie
    assert secure.api("GET", "/session").status == 401


def test_logout_ends_the_session_and_the_cookie(stand: Build) -> None:
    browser = Browser(stand().port)
    browser.log_in()
    reply = browser.api("DELETE", "/session")
    assert reply.status == 204 and "Max-Age=0" in reply.headers["Set-Cookie"]
    assert browser.api("GET", "/session").status == 401


# Changes that somebody else's page asks for


def test_a_change_by_cookie_needs_the_csrf_token(stand: Build) -> None:
    here = stand()
    browser = Browser(here.port)
    browser.log_in()
    body = {"operation": "Read", "path": "/3"}
    assert browser.api("POST", "/devices/kitchen/operations", body).status == 200
    right, here.devices.asked[:] = browser.csrf, []
    for wrong in ("", "x", right[:-1], right + "x", "ü"):
        browser.csrf = wrong
        headers = {"X-CSRF-Token": wrong.encode().decode("latin-1")}
        for method, path in (
            ("POST", "/devices/kitchen/operations"),
            ("DELETE", "/devices/kitchen"),
            ("DELETE", "/session"),
        ):
            reply = browser.api(method, path, body if method == "POST" else None, headers=headers)
            assert (reply.status, reply.code) == (403, "csrf")
    assert here.devices.asked == []
    browser.csrf = ""
    assert browser.api("GET", "/devices").status == 200


def test_the_csrf_token_of_another_session_is_none(stand: Build) -> None:
    here = stand()
    one, two = Browser(here.port), Browser(here.port)
    one.log_in()
    two.log_in()
    one.csrf, two.csrf = two.csrf, one.csrf
    assert one.api("DELETE", "/devices/kitchen").code == "csrf"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_from_another_page_are_refused_login_too(stand: Build, headers: dict[str, str]) -> None:
    here = stand()
    browser = Browser(here.port)
    browser.log_in()
    headers = {name: value.replace("{port}", str(here.port)) for name, value in headers.items()}
    assert browser.api("DELETE", "/devices/kitchen", headers=headers).code == "csrf"
    login = {"name": "ines", "password": PASSWORD}
    assert Browser(here.port).api("POST", "/session", login, headers=headers).code == "csrf"
    own = {"Origin": f"https://127.0.0.1:{here.port}", "Sec-Fetch-Site": "same-origin"}
    assert browser.api("DELETE", "/devices/kitchen", headers=own).status == 204


def test_a_form_of_another_page_cannot_speak_json(stand: Build) -> None:
    """What a plain form can send without asking first has none of these types."""
    here = stand()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        data = b'{"name":"ines","password":"tide lamp orbit"}'
        reply = Browser(here.port).api("POST", "/session", data, headers={"Content-Type": kind})
        assert reply.status == 415
