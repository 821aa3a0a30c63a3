"""Every route over real sockets; the client of these tests holds each answer to the published schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.northbound.conftest import Browser, DeviceError, Stand

Build = Callable[..., Stand]


@pytest.fixture
def here(stand: Build) -> Stand:
    return stand()


@pytest.fixture
def admin(here: Stand) -> Browser:
    return here.browser("admin")


def test_status(admin: Browser) -> None:
    assert admin.api("GET", "/status").json["coap_port"] == 5683


def test_devices(here: Stand, admin: Browser) -> None:
    reply = admin.api("GET", "/devices?search=kit&state=online&after=a&limit=5")
    assert [row["endpoint_name"] for row in reply.json["devices"]] == here.devices.names
    asked = {"search": "kit", "state": "online", "after": "a", "limit": 5}
    assert here.devices.asked == [("list_devices", asked)]


def test_names_of_devices_survive_the_address(here: Stand, admin: Browser) -> None:
    """A slash and a space in an endpoint name, and a percent sign that is one."""
    reply = admin.api("GET", "/devices/urn:dev:a%2Fb%20c")
    assert reply.json["endpoint_name"] == "urn:dev:a/b c"
    here.devices.names.append("50%2F")
    assert admin.api("GET", "/devices/50%252F").json["endpoint_name"] == "50%2F"
    here.devices.names.append("niño-ü")
    assert admin.api("GET", "/devices/ni%C3%B1o-%C3%BC").json["endpoint_name"] == "niño-ü"


@pytest.mark.parametrize("name", ["%FF%FE", "a%00b", "a%0D%0Ab", "x" * 300])
def test_addresses_that_name_nothing(admin: Browser, name: str) -> None:
    assert admin.api("GET", f"/devices/{name}").code == "invalid"


def test_what_belongs_to_a_device(here: Stand, admin: Browser) -> None:
    assert admin.api("GET", "/devices/kitchen/objects").json["objects"][0]["id"] == 3303
    assert admin.api("GET", "/devices/kitchen/values?path=/3303/0").json["values"]
    assert admin.api("GET", "/devices/kitchen/values").status == 200
    assert admin.api("GET", "/devices/kitchen/observations").json["observations"]
    assert admin.api("DELETE", "/devices/kitchen").status == 204
    assert here.devices.asked == [
        ("objects", "kitchen"),
        ("values", "kitchen", "/3303/0"),
        ("values", "kitchen", "/"),
        ("observations", "kitchen"),
        ("remove", "kitchen"),
    ]


@pytest.mark.parametrize(
    "request_body",
    [
        {"operation": "Read", "path": "/3/0/0", "timeout_s": 5, "content_format": 112},
        {"operation": "Write", "path": "/3/0/14", "value": "+02:00"},
        {"operation": "Write", "path": "/3/0", "values": {"14": "+02:00", "15": "UTC"}, "mode": "update"},
        {"operation": "Write", "path": "/3/0/6", "values": {"0": 1, "1": 5}},
        {"operation": "WriteAttributes", "path": "/3303/0/5700", "attributes": {"pmin": 10, "pmax": None}},
        {"operation": "Execute", "path": "/3/0/4", "arguments": "0='x'"},
        {"operation": "Create", "path": "/3303", "instance": None, "values": {"5750": "hall"}},
        {"operation": "Delete", "path": "/3303/5"},
        {"operation": "Discover", "path": "/", "depth": 2},
        {"operation": "Write", "path": "/5/0/0", "file": "0f" * 32, "ttl_s": 3600, "priority": 7},
        {"operation": "Execute", "path": "/3/0/4", "on_lost": "repeat"},
    ],
)
def test_operations_arrive_as_they_were_sent(
    here: Stand, admin: Browser, request_body: dict[str, Any]
) -> None:
    reply = admin.api("POST", "/devices/kitchen/operations", request_body)
    assert reply.json["operation"] == request_body["operation"]
    assert here.devices.asked == [("operate", "kitchen", request_body, "test")]


@pytest.mark.parametrize(
    "request_body",
    [
        {},
        [],
        "Read",
        None,
        {"operation": "Read"},
        {"operation": "Reed", "path": "/3"},
        {"operation": "Read", "path": "3/0"},
        {"operation": "Read", "path": "/3/0/0/0/0"},
        {"operation": "Read", "path": "/3", "timeout": 5},
        {"operation": "Read", "path": "/3", "timeout_s": 1e9},
        {"operation": "Read", "path": "/3", "content_format": True},
        {"operation": "Read", "path": 3},
        {"operation": "Write", "path": "/3/0", "values": {"1": [1, 2]}},
        {"operation": "Write", "path": "/3/0", "mode": "merge"},
        {"operation": "Create", "path": "/3303", "instance": 65535},
        {"operation": "ReadComposite", "path": "/3"},
        {"operation": "ReadComposite", "paths": []},
        {"operation": "WriteComposite", "paths": ["/3"]},
        {"operation": "Read", "path": "/3", "priority": 10},
        {"operation": "Read", "path": "/3", "on_lost": "hope"},
        {"operation": "Read", "path": "/3", "ttl_s": 0},
    ],
)
def test_requests_that_do_not_fit_reach_nobody(here: Stand, admin: Browser, request_body: Any) -> None:
    reply = admin.api("POST", "/devices/kitchen/operations", request_body)
    assert reply.status == 400 and reply.code == "invalid" and reply.json["error"]["next_step"]
    assert here.devices.asked == []


def test_composites_name_several_paths(here: Stand, admin: Browser) -> None:
    for asked in (
        {"operation": "ReadComposite", "paths": ["/3/0/9", "/3303"]},
        {"operation": "WriteComposite", "values": {"/3/0/14": "+02:00", "/1/0/1": 300}},
    ):
        assert admin.api("POST", "/devices/kitchen/operations", asked).status == 200
    paths = {"paths": ["/3303/0/5700", "/3/0/9"]}
    assert admin.api("POST", "/devices/kitchen/observations/composite", paths).status == 200
    assert admin.api("DELETE", "/devices/kitchen/observations?path=/3303/0/5700,/3/0/9").status == 200
    assert here.devices.asked[2:] == [
        ("observe_composite", "kitchen", paths),
        ("cancel_observation", "kitchen", "/3303/0/5700,/3/0/9"),
    ]


def test_what_waits_for_a_device_is_accepted_and_no_error(here: Stand, admin: Browser) -> None:
    here.devices.asleep = True
    reply = admin.api("POST", "/devices/kitchen/operations", {"operation": "Read", "path": "/3"})
    assert reply.status == 202 and reply.json["task"] == 42 and reply.json["expected_at"]


def test_tasks(here: Stand, admin: Browser) -> None:
    assert admin.api("GET", "/tasks?state=waiting&endpoint_name=kitchen&limit=5").json["tasks"][0]["id"] == 42
    assert admin.api("GET", "/tasks/42").json["state"] == "waiting"
    assert admin.api("DELETE", "/tasks/42").status == 200
    assert admin.api("POST", "/tasks/42/retry").status == 200
    assert admin.api("GET", "/tasks/43").code == admin.api("GET", "/tasks/4x").code == "not_found"
    asked = {"state": "waiting", "endpoint_name": "kitchen", "limit": 5, "batch": "", "after": 0}
    assert here.devices.asked == [
        ("tasks", asked),
        *(("task", 42), ("cancel_task", 42), ("retry_task", 42, "test"), ("task", 43)),
    ]


def test_one_operation_for_many(here: Stand, admin: Browser) -> None:
    read = {"operation": "Read", "path": "/3/0/9"}
    for which in ({"devices": ["kitchen"]}, {"search": "meter-"}, {"all": True}):
        reply = admin.api("POST", "/tasks", {**which, "operation": read, "ttl_s": 60})
        assert reply.status == 202 and reply.json["tasks"] == 600
        assert here.devices.asked.pop() == ("submit", {**which, "operation": read, "ttl_s": 60}, "test")
    for wrong in ({}, {"all": True, "search": "x"}, {"all": False}, {"devices": []}):
        assert admin.api("POST", "/tasks", {**wrong, "operation": read}).code == "invalid"
    assert admin.api("POST", "/tasks", {"all": True, "operation": {"operation": "Read"}}).code == "invalid"
    assert here.browser("read").api("POST", "/tasks", {"all": True, "operation": read}).code == "forbidden"
    assert here.devices.asked == []


def test_templates_and_profiles(here: Stand, admin: Browser) -> None:
    template = {"name": "temperatures", "match": {"object": 3303}, "paths": ["3303/*/5700"]}
    assert admin.api("GET", "/templates").json["templates"][0]["paths"]
    assert admin.api("POST", "/templates", template).status == 201
    assert admin.api("PUT", "/templates/b1946ac9", template).status == 200
    assert admin.api("DELETE", "/templates/b1946ac9").status == 204
    for wrong in ({"paths": []}, {"paths": ["*"]}, {"match": {"obj": 3}}, {"name": ""}):
        assert admin.api("POST", "/templates", {**template, **wrong}).code == "invalid"
    assert admin.api("GET", "/profiles").json["profiles"][0]["pid"] == "6:27354b9a"
    assert admin.api("PUT", "/profiles/6:27354b9a", {"links": "</3/0>"}).status == 200
    assert admin.api("DELETE", "/profiles/6:27354b9a").status == 204
    assert here.devices.asked == [
        ("templates",),
        ("put_template", None, template),
        ("put_template", "b1946ac9", template),
        ("remove_template", "b1946ac9"),
        ("profiles",),
        ("put_profile", "6:27354b9a", "</3/0>"),
        ("remove_profile", "6:27354b9a"),
    ]


def test_the_time_line_and_how_long_a_device_listens(here: Stand, admin: Browser) -> None:
    assert admin.api("GET", "/devices/kitchen/timeline?before=90&limit=3").json["events"]
    assert admin.api("PUT", "/devices/kitchen/awake", {"awake_s": 30}).status == 200
    assert admin.api("PUT", "/devices/kitchen/awake", {"awake_s": None}).status == 200
    assert admin.api("PUT", "/devices/kitchen/awake", {"awake_s": 0}).code == "invalid"
    assert here.devices.asked == [
        ("timeline", "kitchen", 90, 3),
        ("set_awake", "kitchen", 30),
        ("set_awake", "kitchen", None),
    ]


def test_a_wrong_member_is_told_what_was_meant(admin: Browser) -> None:
    reply = admin.api(
        "POST", "/devices/kitchen/operations", {"operation": "Read", "path": "/", "time_out": 1}
    )
    assert "did you mean 'timeout_s'?" in reply.json["error"]["message"]


def test_observations(here: Stand, admin: Browser) -> None:
    path = "/devices/kitchen/observations?path=/3303/0/5700"
    assert admin.api("PUT", path, {"attributes": {"pmin": 1}}).json["ok"]
    assert admin.api("PUT", path).json["ok"]
    assert admin.api("DELETE", path).json["ok"]
    assert admin.api("DELETE", f"{path}&how=reset").json["ok"]
    assert admin.api("DELETE", f"{path}&how=magic").code == "invalid"
    assert here.devices.asked == [
        ("observe", "kitchen", "/3303/0/5700", {"pmin": 1}),
        ("observe", "kitchen", "/3303/0/5700", {}),
        ("cancel_observation", "kitchen", "/3303/0/5700"),
        ("cancel_observation", "kitchen", "/3303/0/5700", True),
    ]
    assert admin.api("PUT", "/devices/kitchen/observations").code == "invalid"


def test_models(here: Stand, admin: Browser) -> None:
    assert admin.api("GET", "/models").json["models"][0]["id"] == 3
    assert admin.api("GET", "/models/3303").json["id"] == 3303
    assert admin.api("GET", "/models/3303?version=1.1").json["id"] == 3303
    assert admin.api("DELETE", "/models/31000?version=1.0").status == 204
    xml = b"<LWM2M/>"
    assert (
        admin.api("POST", "/models", xml, headers={"Content-Type": "text/xml; charset=utf-8"}).status == 201
    )
    assert here.devices.asked[1:] == [
        ("model", 3303, None),
        ("model", 3303, "1.1"),
        ("remove_model", 31000, "1.0"),
        ("add_model", xml),
    ]
    for wrong in ("/models/x", "/models/65536", "/models/3303?version=one"):
        assert admin.api("GET", wrong).code == "invalid"
    assert admin.api("DELETE", "/models/31000").code == "invalid"
    assert admin.api("POST", "/models", {"a": 1}).code == "unsupported_media_type"


def test_events(here: Stand, admin: Browser) -> None:
    for number in range(5):
        here.broker.append("kitchen" if number % 2 else "hall", words=str(number))
    page = admin.api("GET", "/events?after=1&limit=2").json
    assert [event["seq"] for event in page["events"]] == [2, 3] and page["head"] == 5
    of_one = admin.api("GET", "/events?endpoint_name=kitchen").json["events"]
    assert [event["seq"] for event in of_one] == [2, 4]
    newest = admin.api("GET", "/events?endpoint_name=hall&last=2").json["events"]
    assert [event["seq"] for event in newest] == [3, 5]


def test_a_value_that_json_cannot_say_becomes_null(here: Stand, admin: Browser) -> None:
    here.broker.append(words="sensor", reading=[float("nan"), float("inf"), 1.5])
    assert admin.api("GET", "/events").json["events"][0]["reading"] == [None, None, 1.5]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("not_found", 404),
        ("invalid", 400),
        ("conflict", 409),
        ("unreachable", 504),
        ("busy", 503),
        ("failed", 502),
    ],
)
def test_refusals_of_devices_have_their_status(here: Stand, admin: Browser, kind: str, status: int) -> None:
    here.devices.explode = DeviceError(kind, "it did not work", "Do something else.")
    reply = admin.api("GET", "/devices")
    assert (reply.status, reply.code) == (status, kind)
    assert reply.json["error"]["next_step"] == "Do something else."
    assert ("Retry-After" in reply.headers) == (status == 503)


def test_what_nobody_foresaw_is_told_to_nobody(
    here: Stand, admin: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    here.devices.explode = ZeroDivisionError("the secret is 42")
    reply = admin.api("GET", "/devices")
    assert (reply.status, reply.code) == (500, "internal")
    assert b"42" not in reply.data
    assert "the secret is 42" in caplog.text


def test_addresses_and_verbs_that_do_not_exist(admin: Browser) -> None:
    assert admin.api("GET", "/nothing").code == "not_found"
    assert admin.api("POST", "/nothing").code == "not_found"
    assert admin.send("GET", "/api").code == "not_found"
    assert admin.send("GET", "/nothing.html").code == "not_found"
    reply = admin.api("PATCH", "/devices")
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    for method in ("TRACE", "OPTIONS", "CONNECT"):
        assert admin.api(method, "/devices").status in (400, 405)


def test_unknown_and_repeated_parameters(admin: Browser) -> None:
    reply = admin.api("GET", "/devices?serch=x")
    assert reply.code == "invalid" and reply.json["error"]["next_step"] == "Did you mean search?"
    for query in (
        "limit=0",
        "limit=x",
        "limit=-1",
        "limit=1&limit=2",
        "state=dead",
        "search=%FF",
        "&" * 20 + "a=1",
    ):
        assert admin.api("GET", f"/devices?{query}").code == "invalid", query
    assert admin.api("GET", "/devices?search=" + "x" * 5000).code == "invalid"


def test_bodies_that_are_no_json(here: Stand, admin: Browser) -> None:
    where, kind = "/devices/kitchen/operations", {"Content-Type": "application/json"}
    for data in (
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"operation": NaN}',
        b'{"path": 1e999}',
        b'{"path": ' + b"9" * 5000 + b"}",
        b'{"path": "/", "path": "/3"}',
        b'{"path": "\\ud800"}',
        b"",
    ):
        reply = admin.api("POST", where, data, headers=kind)
        assert reply.status == 400 and reply.code == "invalid", data[:20]
    assert admin.api("POST", where, b"{}", headers={"Content-Type": "text/plain"}).status == 415
    assert admin.api("POST", where, b" " * 300_000, headers=kind).status == 413
    assert here.devices.asked == []


def test_tokens_are_made_listed_and_revoked(here: Stand, admin: Browser) -> None:
    made = admin.api("POST", "/tokens", {"name": "plotter", "scopes": ["read"], "lifetime_s": 3600}).json
    assert Browser(here.port, token=made["token"]).api("GET", "/session").json == {
        "account": "plotter",
        "kind": "token",
        "scopes": ["read"],
        "csrf": None,
        "expires_at": None,
    }
    listed = admin.api("GET", "/tokens")
    assert made["id"] in [one["id"] for one in listed.json["tokens"]]
    assert made["token"].encode() not in listed.data
    assert admin.api("DELETE", f"/tokens/{made['id']}").status == 204
    assert Browser(here.port, token=made["token"]).api("GET", "/session").status == 401
    assert admin.api("DELETE", f"/tokens/{made['id']}").code == "not_found"
    assert admin.api("POST", "/tokens", {"name": "x", "scopes": ["root"]}).code == "invalid"


def test_accounts_and_passwords(here: Stand, admin: Browser) -> None:
    assert [one["name"] for one in admin.api("GET", "/accounts").json["accounts"]] == ["ines"]
    assert b"argon2" not in admin.api("GET", "/accounts").data
    person = Browser(here.port)
    person.log_in()
    change = {"password": "another good one"}
    assert person.api("PUT", "/accounts/ines/password", change).code == "invalid"
    wrong = {**change, "current_password": "wrong"}
    assert person.api("PUT", "/accounts/ines/password", wrong).code == "wrong_credentials"
    right = {**change, "current_password": "tide lamp orbit"}
    reply = person.api("PUT", "/accounts/ines/password", right)
    assert reply.status == 200 and "HttpOnly" in reply.headers["Set-Cookie"]
    assert person.api("GET", "/session").status == 401  # the old session has ended
    person.cookie, person.csrf = reply.headers["Set-Cookie"].partition(";")[0], reply.json["csrf"]
    assert person.api("GET", "/session").status == 200
    assert person.api("DELETE", "/devices/kitchen").status == 204
    assert admin.api("PUT", "/accounts/ines/password", {"password": "a third good one"}).status == 200
    assert person.api("GET", "/session").status == 401
    assert admin.api("PUT", "/accounts/eva/password", {"password": "a third good one"}).code == "not_found"
    assert admin.api("PUT", "/accounts/ines/password", {"password": "short"}).code == "invalid"
    assert here.browser("operate").api("PUT", "/accounts/ines/password", change).code == "forbidden"
