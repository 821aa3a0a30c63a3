"""The bootstrap interface as values (OMA Core §6.1): what is asked, what is there, what is given."""

from __future__ import annotations

import pytest

from appliance.lwm2m.bootstrap import (
    Discovered,
    Keys,
    OscoreKeys,
    bootstrap_formats,
    parse_bootstrap_links,
    parse_bootstrap_pack_request,
    parse_bootstrap_request,
    read_discovered,
    security_instance,
    shown_value,
)
from appliance.lwm2m.bootstrap_layout import Account, Layout, lay_out
from appliance.lwm2m.bootstrap_plan import (
    BUILT_IN,
    AccessEntry,
    BootstrapServerEntry,
    Plan,
    ServerEntry,
)
from appliance.lwm2m.definitions import Definitions, Model
from appliance.lwm2m.links import LinkFormatError
from appliance.lwm2m.operations import BootstrapPackRequest, BootstrapRequest
from appliance.lwm2m.path import Path
from appliance.lwm2m.registration import RegistrationError
from appliance.lwm2m.values import ObjectLink, Report

DEFINITIONS = Definitions.registered()
TLV, SENML_CBOR, SENML_JSON, LWM2M_CBOR, OMA_JSON = 11542, 112, 110, 11544, 11543
PSK = Keys("psk", b"meter-1", b"0123456789abcdef")
URI = "coaps://192.0.2.1:5684"


def model(version: str = "1.1") -> Model:
    versions = {"1.0": ("1.0", "1.0", "1.0"), "1.1": ("1.1", "1.1", "1.0"), "1.2": ("1.2", "1.2", "1.1")}
    security, server, access = versions[version]
    return Model.of(DEFINITIONS, {0: security, 1: server, 2: access, 3: "1.1", 21: "2.0"})


def values(layout: Layout, path: str) -> dict[str, object]:
    """What is written below a path."""
    wanted = Path.parse(path)
    return {
        str(report.path): report.value
        for instance in layout.writes
        if wanted.contains(instance.path)
        for report in instance.reports
    }


def found(text: str) -> Discovered:
    return read_discovered(parse_bootstrap_links(text.encode()))


# --- what a client asks (§6.1.7.1, §6.1.7.7)


def test_a_request_names_the_endpoint_and_the_format_it_prefers() -> None:
    asked = parse_bootstrap_request(["ep=meter-1", "pct=112", "x=1"])
    assert asked == BootstrapRequest("meter-1", SENML_CBOR, (("x", "1"),))
    assert parse_bootstrap_request([]) == BootstrapRequest(None)
    assert parse_bootstrap_request(["ep=a", "pct=1542"]).preferred_format == TLV


@pytest.mark.parametrize("pct", ["50", "0", "x", "", "-1", "99999999999999999999"])
def test_a_format_that_cannot_be_written_is_4_15(pct: str) -> None:
    with pytest.raises(RegistrationError) as refused:
        parse_bootstrap_request(["ep=a", f"pct={pct}"])
    assert refused.value.code == 0x8F


@pytest.mark.parametrize("queries", [["ep=a", "ep=b"], ["ep=a\n"], ["ep=" + "x" * 256]])
def test_a_name_that_is_none_is_4_00(queries: list[str]) -> None:
    for parse in (parse_bootstrap_request, lambda given: parse_bootstrap_pack_request(given, None)):
        with pytest.raises(RegistrationError) as refused:
            parse(queries)
        assert refused.value.code == 0x80


def test_a_pack_comes_in_a_format_that_names_its_paths() -> None:
    assert parse_bootstrap_pack_request(["ep=a"], None) == BootstrapPackRequest("a")
    for name in ("pct", "acc"):
        assert parse_bootstrap_pack_request(["ep=a", f"{name}=110"], None).content_format == SENML_JSON
    assert parse_bootstrap_pack_request(["ep=a", "pct=110"], LWM2M_CBOR).content_format == LWM2M_CBOR
    with pytest.raises(RegistrationError) as refused:
        parse_bootstrap_pack_request(["ep=a"], TLV)
    assert refused.value.code == 0x86


def test_what_is_preferred_is_tried_first_and_what_worked_before_that() -> None:
    assert bootstrap_formats("1.0", (), None) == (TLV, OMA_JSON)
    assert bootstrap_formats("1.1", (SENML_CBOR,), None) == (SENML_CBOR, TLV, SENML_JSON)
    assert bootstrap_formats("1.1", (SENML_CBOR,), SENML_JSON)[0] == SENML_JSON
    assert bootstrap_formats("1.2", (), None)[-1] == TLV


# --- what a client has (§6.1.7.3)


def test_the_instance_without_a_short_server_id_is_the_bootstrap_account() -> None:
    seen = found(
        '</>;lwm2m=1.1,</0/0>,</0/1>;ssid=101;uri="coaps://a",</1>;ver=1.2,</1/0>;ssid=101,</3/0>,</21/0>'
    )
    assert seen.version == "1.1"
    assert seen.bootstrap_account == Path(0, 0)
    assert seen.accounts[Path(0, 1)] == seen.accounts[Path(1, 0)] == 101
    assert seen.instances == {0: (0, 1), 1: (0,), 3: (0,), 21: (0,)}
    assert (seen.object_version(0), seen.object_version(1), seen.object_version(2)) == ("1.1", "1.2", "1.0")


@pytest.mark.parametrize("head", ['lwm2m="1.0",', "lwm2m=1.0,", ' lwm2m="1.0" ,'])
def test_the_list_of_1_0_begins_with_what_is_no_link(head: str) -> None:
    seen = found(f"{head}</0/0>;ssid=1,</0/1>,</1/0>;ssid=1,</3/0>")
    assert seen.version == "1.0"
    assert seen.bootstrap_account == Path(0, 1)


def test_ids_that_stand_for_no_server_count_as_none() -> None:
    for number in ("0", "65535", "x", "123456"):
        assert found(f"</0/0>;ssid={number}").bootstrap_account == Path(0, 0)
    assert found("</rd>,</0/0>;ssid=5,</0/0/1>").bootstrap_account is None
    assert found("").known
    with pytest.raises(LinkFormatError):
        found("nonsense")


# --- what a client is given


def test_keys_that_a_mode_does_not_use_are_empty() -> None:
    nosec = security_instance(Path(0, 1), "coap://a", Keys("nosec"), model(), short_server_id=1)
    assert {report.path[2]: report.value for report in nosec.reports} == {
        0: "coap://a", 1: False, 2: 3, 3: b"", 4: b"", 5: b"", 10: 1,
    }  # fmt: skip
    psk = security_instance(Path(0, 1), URI, PSK, model(), short_server_id=1, certificate_usage=3)
    assert [report.path[2] for report in psk.reports] == [0, 1, 2, 3, 4, 5, 10]


def test_a_certificate_comes_with_its_usage_where_the_object_has_it() -> None:
    keys = Keys("x509", b"own", b"key", b"server")
    for version, usage in (("1.1", [15]), ("1.0", [])):
        written = security_instance(
            Path(0, 1), URI, keys, model(version), short_server_id=1, certificate_usage=2
        )
        assert [report.path[2] for report in written.reports] == [0, 1, 2, 3, 4, 5, 10, *usage]


def test_an_account_without_a_short_server_id_is_one_of_a_bootstrap_server() -> None:
    written = security_instance(Path(0, 4), URI, PSK, model(), short_server_id=None, hold_off_s=5)
    given = {report.path[2]: report.value for report in written.reports}
    assert (given[1], given[11]) == (True, 5)
    assert 10 not in given


def test_secrets_do_not_show() -> None:
    keys = Keys("oscore", oscore=OscoreKeys(b"master secret", b"\1", b"\2", b"master salt"))
    assert "master" not in repr(keys)
    assert "0123" not in repr(PSK)
    assert shown_value(Report(Path(0, 1, 5), b"secret", None, True)) == "6 bytes"


# --- what happens to it


ONE = Plan("one", (ServerEntry(short_server_id=101),))
ACCOUNT = Account(ONE.servers[0], URI, PSK)


def test_the_bootstrap_account_is_neither_written_nor_deleted() -> None:
    for account, other in ((0, 1), (1, 0), (3, 0)):
        seen = found(f"</>;lwm2m=1.1,</0/{account}>,</0/{other}>;ssid=101,</1/0>;ssid=101")
        layout = lay_out(ONE, seen, [ACCOUNT], model())
        assert [str(path) for path in layout.deletes] == [f"/0/{other}", "/1"]
        assert [str(instance.path) for instance in layout.writes] == [f"/0/{other}", "/1/0"]


def test_an_account_of_the_same_server_keeps_its_number() -> None:
    seen = found("</>;lwm2m=1.1,</0/0>,</0/1>;ssid=7,</0/2>;ssid=101,</1/5>;ssid=101,</1/6>;ssid=7")
    layout = lay_out(ONE, seen, [ACCOUNT], model())
    assert [str(instance.path) for instance in layout.writes] == ["/0/2", "/1/5"]
    assert [str(path) for path in layout.deletes] == ["/0/1", "/0/2", "/1"]


def test_what_is_not_deleted_is_not_written_over() -> None:
    plan = Plan("keeps", ONE.servers, deletes=())
    seen = found("</>;lwm2m=1.1,</0/0>,</0/1>;ssid=7,</1/0>;ssid=7")
    layout = lay_out(plan, seen, [ACCOUNT], model())
    assert layout.deletes == ()
    assert [str(instance.path) for instance in layout.writes] == ["/0/2", "/1/1"]


def test_without_a_discover_the_first_numbers_are_left_alone() -> None:
    layout = lay_out(ONE, Discovered(), [ACCOUNT], model("1.0"))
    assert [str(instance.path) for instance in layout.writes] == ["/0/2", "/1/0"]
    assert [str(path) for path in layout.deletes] == ["/0", "/1", "/2", "/21"]


def test_by_object_deletes_name_objects() -> None:
    plan = Plan("objects", ONE.servers, write_by="object", deletes=(Path(0), Path(1)))
    layout = lay_out(plan, found("</>;lwm2m=1.1,</0/0>"), [ACCOUNT], model())
    assert [str(path) for path in layout.deletes] == ["/0", "/1"]


def test_oscore_is_written_before_the_security_that_links_it() -> None:
    oscore = OscoreKeys(b"secret", b"\x01", b"", b"salt", b"ctx")
    plan = Plan("oscore", (ServerEntry(short_server_id=101, security="oscore"),))
    accounts = [Account(plan.servers[0], "coap://192.0.2.1", Keys("oscore", oscore=oscore))]
    seen = found("</>;lwm2m=1.1,</0/0>,</21/0>,</21/1>;ssid=101")
    layout = lay_out(plan, seen, accounts, model())
    assert [str(instance.path) for instance in layout.writes] == ["/21/1", "/0/1", "/1/0"]
    assert values(layout, "/0/1")["/0/1/17"] == ObjectLink(21, 1)
    assert values(layout, "/0/1")["/0/1/2"] == 3
    assert values(layout, "/21/1") == {
        "/21/1/0": b"secret", "/21/1/1": b"\x01", "/21/1/2": b"", "/21/1/3": 10, "/21/1/4": -10,
        "/21/1/5": b"salt", "/21/1/6": b"ctx",
    }  # fmt: skip


def test_several_servers_with_access_control_and_further_writes_come_in_order() -> None:
    plan = Plan(
        "several",
        (ServerEntry(short_server_id=1), ServerEntry(short_server_id=2, uri="coap://b", security="nosec")),
        (BootstrapServerEntry("coap://c", "nosec", hold_off_s=3),),
        (AccessEntry(3, 0, 1, ((0, 1), (1, 31))),),
        writes=((Path(3, 0, 15), "$endpoint_name"), (Path(3, 0, 14), "+02:00")),
    )
    accounts = [
        Account(plan.servers[0], URI, PSK),
        Account(plan.servers[1], "coap://b", Keys("nosec")),
        Account(plan.bootstrap_servers[0], "coap://c", Keys("nosec")),
    ]
    seen = found("</>;lwm2m=1.1,</0/1>,</2/0>,</2/1>,</3/0>")
    layout = lay_out(plan, seen, accounts, model(), {"$endpoint_name": "meter-1"})
    assert [str(instance.path) for instance in layout.writes] == [
        "/0/0", "/0/2", "/0/3", "/1/0", "/1/1", "/2/0", "/3/0/15", "/3/0/14",
    ]  # fmt: skip
    assert values(layout, "/0/3")["/0/3/1"] is True
    assert values(layout, "/2/0") == {"/2/0/0": 3, "/2/0/1": 0, "/2/0/2/0": 1, "/2/0/2/1": 31, "/2/0/3": 1}
    assert values(layout, "/3/0/15") == {"/3/0/15": "meter-1"}


def test_a_client_of_1_0_gets_what_its_objects_have() -> None:
    entry = ServerEntry(queue_mode=True, trigger=True, resources=((13, 1),))
    plan = Plan("old", (entry,))
    old = lay_out(plan, found('lwm2m="1.0",</0/0>'), [Account(entry, URI, PSK)], model("1.0"))
    assert values(old, "/1/0") == {"/1/0/0": 1, "/1/0/1": 300, "/1/0/6": True, "/1/0/7": "UQ"}
    new = lay_out(plan, found("</>;lwm2m=1.1,</0/0>"), [Account(entry, URI, PSK)], model())
    assert values(new, "/1/0") == {
        "/1/0/0": 1, "/1/0/1": 300, "/1/0/6": True, "/1/0/7": "U", "/1/0/13": 1, "/1/0/21": True,
        "/1/0/23": False,
    }  # fmt: skip


def test_a_device_that_came_by_tcp_is_bound_to_tcp() -> None:
    account = Account(BUILT_IN.servers[0], "coap+tcp://192.0.2.1:5683", Keys("nosec"))
    layout = lay_out(BUILT_IN, found("</>;lwm2m=1.1,</0/0>"), [account], model())
    assert values(layout, "/1/0")["/1/0/7"] == "T"
