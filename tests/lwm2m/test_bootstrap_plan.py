"""A plan is checked before it is kept (traps 44 to 46, 52): every rule, and the sentence it gives."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.lwm2m.bootstrap_plan import BUILT_IN, Checked, check_plan
from appliance.lwm2m.definitions import Definitions

DEFINITIONS = Definitions.registered()
OWN = {"short_server_id": 1}
PSK = {"short_server_id": 2, "uri": "coaps://198.51.100.7:5684", "security": "psk", "key": "current"}
NOSEC = {"short_server_id": 3, "uri": "coap://198.51.100.7", "security": "nosec"}


def checked(**members: Any) -> Checked:
    return check_plan({"name": "plan", "servers": [OWN], **members}, DEFINITIONS)


def with_server(**members: Any) -> Checked:
    return checked(servers=[members])


def test_the_built_in_plan_passes_and_comes_back_from_its_own_shape() -> None:
    again = check_plan(BUILT_IN.to_api(), DEFINITIONS)
    assert again.problems == again.warnings == []
    assert again.plan == BUILT_IN


def test_a_plan_with_everything_comes_back_from_its_own_shape() -> None:
    full = checked(
        description="all of it",
        servers=[
            {**OWN, "queue_mode": True, "default_pmin_s": 1, "default_pmax_s": 60, "resources": {"13": 1}},
            PSK,
            {
                **NOSEC,
                "uri": "coaps://b.example",
                "security": "x509",
                "certificate_usage": 3,
                "server_public_key": "3082",
                "sni": "b.example",
            },
        ],
        bootstrap_servers=[{"uri": "coaps://c.example", "security": "psk", "hold_off_s": 1}],
        access_control=[{"object_id": 3, "instance_id": 0, "owner": 1, "rights": {"1": 15, "0": 1}}],
        deletes=["/0", "/1", "/5/0"],
        writes={"/3/0/14": "+02:00"},
        write_by="object",
        read_back=True,
    )
    assert full.problems == full.warnings == []
    assert full.plan is not None
    assert check_plan(full.plan.to_api(), DEFINITIONS).plan == full.plan


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": 5}, "name must be a printable text"),
        ({"servers": []}, "names no server"),
        ({"servers": {}}, "names no server"),
        ({"servers": [OWN] * 9}, "a list of at most 8"),
        ({"servers": [5]}, "Server 1 must be an object"),
        ({"nonsense": 1}, "no member 'nonsense'"),
        ({"servers": [{"short_server_id": 0}]}, "whole number from 1 to 65534"),
        ({"servers": [{"short_server_id": 65535}]}, "whole number from 1 to 65534"),
        ({"servers": [{"short_server_id": True}]}, "whole number from 1 to 65534"),
        ({"servers": [PSK, {**NOSEC, "short_server_id": 2}]}, "Two servers have the short server id 2"),
        ({"servers": [OWN, {"short_server_id": 2}]}, "named as a server twice"),
        ({"servers": [{"lifetime_s": 0}]}, "lifetime_s must be a whole number from 1"),
        ({"servers": [{"security": "none"}]}, "security must be one of"),
        ({"servers": [{"key": "old"}]}, "key must be one of"),
        ({"servers": [{"certificate_usage": 4}]}, "from 0 to 3"),
        ({"servers": [{"certificate_usage": 3, "security": "psk"}]}, "is for x509 and est only"),
        ({"servers": [{"server_public_key": "zz"}]}, "hexadecimal digits"),
        ({"servers": [{"server_public_key": "00"}]}, "fills in its own public key"),
        ({"servers": [{**PSK, "server_public_key": "00"}]}, "has no public key of a server"),
        ({"servers": [{**PSK, "key": "fresh"}]}, "another server does not know a key"),
        ({"servers": [{**PSK, "security": "rpk"}]}, "give server_public_key"),
        ({"servers": [{**PSK, "security": "auto"}]}, "say its security"),
        ({"servers": [{**PSK, "security": "nosec"}]}, "does not go with the security nosec; use coap://"),
        ({"servers": [{**NOSEC, "security": "psk"}]}, "does not go with the security psk; use coaps://"),
        ({"servers": [{**NOSEC, "uri": "http://a"}]}, "does not begin with coap://"),
        ({"servers": [{**NOSEC, "uri": "coap://"}]}, "names no host"),
        ({"servers": [{**NOSEC, "uri": "coap://[::1"}]}, "is no uri"),
        ({"servers": [{**NOSEC, "uri": "coap://a:99999"}]}, "is no uri"),
        ({"servers": [{**NOSEC, "uri": "coap://a:0"}]}, "there is no port 0"),
        ({"servers": [{**NOSEC, "uri": "coap://a/rd"}]}, "there is no path in it"),
        ({"servers": [{**NOSEC, "uri": "coap://localhost"}]}, "means the device itself"),
        ({"servers": [{**NOSEC, "uri": "coap://127.0.0.1"}]}, "means the device itself"),
        ({"servers": [{**NOSEC, "uri": "coap://[::]:5683"}]}, "means the device itself"),
        ({"servers": [{**NOSEC, "uri": "coap://0.0.0.0"}]}, "means the device itself"),
        ({"servers": [{**NOSEC, "uri": "coap://$name"}]}, "in a uri only $host"),
        ({"servers": [{**NOSEC, "uri": "$uri/rd"}]}, "in a uri only $host"),
        ({"servers": [{"binding": "Q"}]}, "the binding consists of"),
        ({"servers": [{"binding": "UU"}]}, "the binding consists of"),
        ({"servers": [{"preferred_transport": "T"}]}, "one of its binding"),
        ({"servers": [{"default_pmin_s": 60, "default_pmax_s": 10}]}, "less than default_pmin_s"),
        ({"servers": [{"resources": {"x": 1}}]}, "is no resource id"),
        ({"servers": [{"resources": {"1": 1}}]}, "has a member of its own"),
        ({"servers": [{"resources": {"8": 1}}]}, "is executed"),
        ({"servers": [{"resources": {"999": 1}}]}, "no resource 999"),
        ({"servers": [{"resources": {"13": "soon"}}]}, "Server 1:"),
        ({"bootstrap_servers": [{}]}, "needs a uri"),
        ({"bootstrap_servers": [{"uri": "$uri"}]}, "is this gateway"),
        ({"bootstrap_servers": [{"uri": "coap://$host", "security": "nosec"}]}, "never overwritten"),
        ({"bootstrap_servers": [{"uri": "coap://a", "security": "oscore"}]}, "are for servers only"),
        ({"bootstrap_servers": [{"uri": "coap://a", "certificate_usage": 1}]}, "say its security"),
        ({"access_control": [{"object_id": 3, "owner": 9}]}, "owner 9"),
        ({"access_control": [{"object_id": 3, "rights": {"9": 1}}]}, "9 is the short server id of no server"),
        ({"access_control": [{"object_id": 3, "rights": {"1": 32}}]}, "number from 0 to 31"),
        ({"access_control": [{"object_id": 3, "rights": {"a": 1}}]}, "given by short server id"),
        ({"access_control": [{"object_id": 3, "rights": {"1": 16}}]}, "whose instance id is 65535"),
        ({"access_control": [{"instance_id": 65535, "object_id": 3, "rights": {"1": 1}}]}, "only the right"),
        ({"access_control": [{"object_id": 3}, {"object_id": 3}]}, "has its access control already"),
        ({"access_control": [{"object_id": 0, "rights": {"1": 1}}]}, "no server may reach object 0"),
        ({"deletes": ["/0/1", "/1"]}, "may be the bootstrap account itself"),
        ({"deletes": ["/0", "/1", "/3"]}, "Object 3 cannot be deleted"),
        ({"deletes": ["/0"]}, "delete /1 along with /0"),
        ({"deletes": ["/0/1/2"]}, "cannot be deleted"),
        ({"deletes": [5]}, "cannot be deleted"),
        ({"deletes": "/0"}, "deletes must be a list"),
        ({"writes": {"/0/1/0": "x"}}, "never by themselves"),
        ({"writes": {"/21/0/0": "x"}}, "never by themselves"),
        ({"writes": {"/1/0/1": 5}}, "in servers, under resources"),
        ({"writes": {"/2/0/3": 5}}, "under access_control"),
        ({"writes": {"/3/0": "x"}}, "is no resource"),
        ({"writes": {"3": "x"}}, "is no resource"),
        ({"writes": {"/3/0/4": 1}}, "is executed"),
        ({"writes": {"/3/0/6": 1}}, "several values"),
        ({"writes": {"/3/0/13": "soon"}}, "/3/0/13:"),
        ({"writes": {"/3/0/15": "$nobody"}}, "$nobody stands for nothing"),
        ({"writes": {"/31000/0/1": []}}, "must be a text, a number"),
        ({"writes": []}, None),
        ({"writes": [1]}, "writes must be an object"),
        ({"write_by": "resource"}, "write_by must be one of"),
        ({"read_back": 1}, "read_back must be true or false"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_a_problem(members: dict[str, Any], words: str | None) -> None:
    found = checked(**members)
    if words is None:
        assert found.problems == []
        return
    assert any(words in problem for problem in found.problems), found
    assert found.plan is None
    for problem in found.problems:
        assert problem.endswith(".") or ": " in problem


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"servers": [{"lifetime_s": 10}]}, "every few seconds"),
        ({"servers": [{"lifetime_s": 90 * 86400}]}, "90 days"),
        ({"servers": [NOSEC]}, "without security everybody"),
        ({"servers": [{**PSK, "uri": "coaps://a:5683"}]}, "port 5683 is usually"),
        ({"servers": [{**PSK, "uri": "coaps+tcp://a"}]}, "does not go with coaps+tcp"),
        ({"servers": [OWN, PSK]}, "access control"),
        ({"access_control": [{"object_id": 3}]}, "nobody has any right"),
        ({"deletes": []}, "stay, since /0 is not deleted"),
        ({"deletes": ["/"]}, "everything that the device lets go of"),
        ({"writes": {"/31000/0/1": 5}}, "in no known model"),
    ],
)
def test_what_is_odd_is_a_warning_and_passes(members: dict[str, Any], words: str) -> None:
    found = checked(**members)
    assert found.problems == []
    assert found.plan is not None
    assert any(words in warning for warning in found.warnings), found.warnings


@pytest.mark.parametrize("body", [None, [], "plan", 5])
def test_what_is_no_plan_at_all_is_told_so(body: object) -> None:
    found = check_plan(body, DEFINITIONS)
    assert found.plan is None
    assert found.problems == ["The plan must be an object with members."]
