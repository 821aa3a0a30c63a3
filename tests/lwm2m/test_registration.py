"""Register and Update as devices send them (OMA Core 1.1.1 §6.2; every leniency has its own test)."""

from __future__ import annotations

import json

import pytest

from appliance.lwm2m.operations import ObjectList, Register, Update
from appliance.lwm2m.path import Path
from appliance.lwm2m.registration import (
    RegistrationError,
    object_list_from_json,
    object_list_to_json,
    parse_register,
    parse_update,
    read_object_list,
    settle_update,
)

BAD_REQUEST, CONFLICT, PRECONDITION_FAILED, TOO_LARGE, UNSUPPORTED = 0x80, 0x89, 0x8C, 0x8D, 0x8F
LIST = b"</1/0>,</3/0>"


def register(*queries: str, payload: bytes = LIST, content_format: int | None = 40) -> Register:
    return parse_register(queries, content_format, payload)


def register_1_1(*queries: str, payload: bytes = LIST) -> Register:
    return register("ep=dev", "lt=300", "lwm2m=1.1", *queries, payload=payload)


def refused(code: int, *queries: str, payload: bytes = LIST, content_format: int | None = 40) -> str:
    with pytest.raises(RegistrationError) as caught:
        parse_register(queries, content_format, payload)
    assert caught.value.code == code
    assert str(caught.value)
    return str(caught.value)


# §6.2.1 Register


def test_a_register() -> None:
    operation = register("ep=dev-1", "lt=300", "lwm2m=1.1", "b=U")
    assert operation == Register("dev-1", 300, "1.1", "U", False, None, read_object_list(LIST))


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_the_versions_we_speak(version: str) -> None:
    assert register("ep=dev", "lt=300", f"lwm2m={version}").version == version


@pytest.mark.parametrize("version", ["0.9", "1.3", "2.0", "1.0.2", "1", "", "one", "1.1 ", "1.10"])
def test_another_version_is_4_12(version: str) -> None:
    refused(PRECONDITION_FAILED, "ep=dev", "lt=300", f"lwm2m={version}")


def test_another_version_is_4_12_whatever_else_is_wrong() -> None:
    refused(PRECONDITION_FAILED, "lt=x", "lwm2m=3.0", payload=b"")


def test_leniency_without_lwm2m_it_is_1_0() -> None:
    assert register("ep=dev", "lt=300").version == "1.0"


def test_leniency_the_version_may_be_quoted() -> None:
    assert register("ep=dev", "lt=300", 'lwm2m="1.1"').version == "1.1"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_leniency_without_lt_it_is_a_day(version: str) -> None:
    assert register("ep=dev", f"lwm2m={version}").lifetime_s == 86400


def test_lifetime_zero_is_taken() -> None:
    assert register("ep=dev", "lt=0").lifetime_s == 0


def test_lifetimes_of_32_bits_are_taken() -> None:
    assert register("ep=dev", "lt=4294967295").lifetime_s == 4294967295


@pytest.mark.parametrize("lifetime", ["", "-1", "1.5", "abc", "1" * 19, "٣", "+5", " 5"])
def test_a_lifetime_that_is_no_number_is_4_00(lifetime: str) -> None:
    assert "lt" in refused(BAD_REQUEST, "ep=dev", f"lt={lifetime}", "lwm2m=1.1")


@pytest.mark.parametrize("queries", [("lt=300",), ("ep=", "lt=300"), ("ep", "lwm2m=1.0")])
def test_a_1_0_client_must_name_itself(queries: tuple[str, ...]) -> None:
    assert "ep" in refused(BAD_REQUEST, *queries)


@pytest.mark.parametrize("queries", [(), ("ep=",)])
def test_from_1_1_on_the_name_may_come_from_the_transport(queries: tuple[str, ...]) -> None:
    assert register("lt=300", "lwm2m=1.1", *queries).endpoint_name is None


@pytest.mark.parametrize("name", ["urn:imei:123456789012345", "Köln 7", "a=b", "x" * 255, "a/b?c&d"])
def test_names_are_taken_as_they_are(name: str) -> None:
    assert register(f"ep={name}").endpoint_name == name


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "\u202eb", "x" * 256, "ä" * 128])
def test_names_that_no_page_and_no_log_can_show_are_4_00(name: str) -> None:
    refused(BAD_REQUEST, f"ep={name}", "lwm2m=1.1")


def test_two_different_names_are_4_00() -> None:
    refused(BAD_REQUEST, "ep=a", "ep=b")


def test_leniency_a_repeated_parameter_counts_once() -> None:
    operation = register("ep=a", "lt=60", "ep=a", "lt=70", "b=U", "b=S")
    assert (operation.endpoint_name, operation.lifetime_s, operation.binding) == ("a", 60, "U")


def test_the_order_of_parameters_is_free() -> None:
    assert register("b=U", "lwm2m=1.1", "Q", "lt=300", "ep=dev") == register_1_1("b=U", "Q")


def test_leniency_unknown_parameters_are_kept_and_not_refused() -> None:
    assert register_1_1("et=lamp", "d", "x=", "et=2", "=").parameters == (
        ("et", "lamp"), ("d", None), ("x", ""), ("et", "2"), ("", "")
    )  # fmt: skip


def test_the_telephone_number_is_kept_without_plus() -> None:
    assert register_1_1("sms=+33612345678").sms_number == "33612345678"
    assert register_1_1("sms=33612345678").sms_number == "33612345678"
    assert register_1_1().sms_number is None


@pytest.mark.parametrize(
    ("version", "queries", "binding", "queue_mode"),
    [
        ("1.0", (), "U", False),
        ("1.0", ("b=U",), "U", False),
        ("1.0", ("b=UQ",), "U", True),
        ("1.0", ("b=UQS",), "US", True),
        ("1.1", ("b=U",), "U", False),
        ("1.1", ("b=U", "Q"), "U", True),
        ("1.1", ("b=UT", "Q="), "UT", True),
        ("1.1", ("Q",), "U", True),
        ("1.1", ("b=N",), "N", False),
        ("1.2", ("b=UMH",), "UMH", False),
    ],
)
def test_binding_and_queue_mode(
    version: str, queries: tuple[str, ...], binding: str, queue_mode: bool
) -> None:
    operation = register("ep=dev", "lt=300", f"lwm2m={version}", *queries)
    assert (operation.binding, operation.queue_mode) == (binding, queue_mode)


def test_leniency_a_1_1_client_may_write_queue_mode_as_in_1_0() -> None:
    operation = register_1_1("b=UQ")
    assert (operation.binding, operation.queue_mode) == ("U", True)


def test_leniency_a_1_1_client_may_name_the_bindings_of_1_2() -> None:
    assert register_1_1("b=UMH").binding == "UMH"


def test_leniency_a_1_0_client_may_write_queue_mode_as_in_1_1() -> None:
    assert register("ep=dev", "b=U", "Q").queue_mode


@pytest.mark.parametrize("queries", [("b=X",), ("b=u",), ("lwm2m=1.0", "b=T"), ("lwm2m=1.0", "b=N")])
def test_a_binding_without_meaning_is_4_00(queries: tuple[str, ...]) -> None:
    assert "b must" in refused(BAD_REQUEST, "ep=dev", *queries)


# The list of objects


def objects(payload: bytes) -> ObjectList:
    return register_1_1(payload=payload).objects


def test_objects_versions_and_instances() -> None:
    found = objects(b"</1>;ver=1.1,</1/0>,</1/1>,</3/0>,</3303>;ver=1.1,</3303/0>,</5>")
    assert found.objects == {1: "1.1", 3: None, 3303: "1.1", 5: None}
    assert found.instances == (Path(1, 0), Path(1, 1), Path(3, 0), Path(3303, 0))
    assert found.object_versions("1.1") == {1: "1.1", 3: "1.1", 3303: "1.1", 5: "1.0"}
    assert (found.root, found.content_formats) == ("", ())


def test_a_version_may_stand_at_the_only_instance() -> None:
    assert objects(b"</3303/0>;ver=1.1,</4/0>").objects == {3303: "1.1", 4: None}


def test_a_version_at_the_object_counts_before_one_at_an_instance() -> None:
    assert objects(b"</3303/0>;ver=1.1,</3303>;ver=1.2").objects == {3303: "1.2"}


@pytest.mark.parametrize(
    ("written", "version"), [('"1.1"', "1.1"), ("1.1", "1.1"), ("2", "2.0"), ("01.1", "1.1")]
)
def test_leniency_versions_with_and_without_quotes(written: str, version: str) -> None:
    assert objects(f"</3303>;ver={written}".encode()).objects == {3303: version}


def test_leniency_a_version_that_is_none_is_ignored() -> None:
    assert objects(b"</3303>;ver=new,</3303/0>").objects == {3303: None}


def test_leniency_unknown_objects_and_versions_are_kept() -> None:
    assert objects(b"</40000>;ver=9.9,</40000/0>").objects == {40000: "9.9"}


def test_leniency_objects_of_keys_in_the_list_are_passed_over() -> None:
    found = objects(b"</0/0>,</1/0>,</21/0>,</23>")
    assert (list(found.objects), found.instances) == ([1], (Path(1, 0),))


def test_leniency_resources_in_the_list_stand_for_their_instance() -> None:
    assert objects(b"</3/0/9>,</3/0/1>").instances == (Path(3, 0),)


def test_leniency_links_that_are_no_paths_are_passed_over() -> None:
    assert objects(b"</rd>,</3/0>,</70000/0>,<3/0>,<coap://a/4/0>,<>").instances == (Path(3, 0),)


def test_leniency_slashes_at_the_end() -> None:
    assert objects(b"</1/0/>,</3/>").objects == {1: None, 3: None}


def test_leniency_blanks_after_commas() -> None:
    assert objects(b"</1/0>, </3/0>").instances == (Path(1, 0), Path(3, 0))


def test_leniency_an_instance_twice_is_once() -> None:
    assert objects(b"</3/0>,</3/0>").instances == (Path(3, 0),)


def test_leniency_an_empty_tree_is_taken() -> None:
    assert objects(b"</>;ct=110").objects == {}


@pytest.mark.parametrize(
    "root",
    [
        b'</>;rt="oma.lwm2m";ct=110',
        b"</>;ct=110",
        b'</>;ct="110"',
        b'</>;rt=oma.lwm2m;ct="110"',
        b'</>;ct="110 110 x"',
    ],
)
def test_the_root_link_carries_the_content_formats(root: bytes) -> None:
    found = objects(root + b",</3/0>")
    assert (found.root, found.content_formats, found.instances) == ("", (110,), (Path(3, 0),))


def test_content_formats_keep_their_order_and_old_numbers_become_todays() -> None:
    assert objects(b'</>;ct="1542 112 110 60"').content_formats == (11542, 112, 110, 60)


@pytest.mark.parametrize(
    "root",
    [
        b'</lwm2m>;rt="oma.lwm2m";ct=112',
        b'</lwm2m/>;rt="oma.lwm2m";ct=112',
        b'</lwm2m>;ct=112;rt="core.x oma.lwm2m"',
        b"</lwm2m>;rt=oma.lwm2m;ct=112,</>;ct=40",
    ],
)
def test_the_alternate_path(root: bytes) -> None:
    found = objects(root + b",</lwm2m/1/0>,</lwm2m/3303>;ver=1.1,</3/0>,</other/4/0>,</lwm2m2/5/0>")
    assert found.root == "/lwm2m"
    assert found.objects == {1: None, 3303: "1.1"}
    assert found.instances == (Path(1, 0),)
    assert found.content_formats == (112,)


def test_an_alternate_path_of_several_segments() -> None:
    found = objects(b'</a/b>;rt="oma.lwm2m",</a/b/3/0>')
    assert (found.root, found.instances) == ("/a/b", (Path(3, 0),))


def test_the_list_is_missing() -> None:
    refused(BAD_REQUEST, "ep=dev", "lt=300", payload=b"")


def test_a_1_2_client_without_list_and_profile_is_asked_for_its_list() -> None:
    refused(CONFLICT, "ep=dev", "lt=300", "lwm2m=1.2", payload=b"")
    refused(CONFLICT, "ep=dev", "lt=300", "lwm2m=1.2", "pid=nonsense", payload=b"")
    refused(BAD_REQUEST, "ep=dev", "lt=300", "lwm2m=1.1", payload=b"")


def test_trap_17_a_profile_may_stand_for_the_list() -> None:
    without = register("ep=dev", "lt=300", "lwm2m=1.2", "pid=6:27354b9a", payload=b"")
    assert without.profiles == ("6:27354b9a",)
    assert not without.objects.payload and without.objects.objects == {}
    beside = register("ep=dev", "lwm2m=1.2", "pid=6:27354b9a")
    assert beside.profiles == ("6:27354b9a",) and beside.objects.payload
    assert beside.parameters == (("pid", "6:27354b9a"),)


@pytest.mark.parametrize(
    ("given", "profiles"),
    [
        ('"6:27354b9a,oma:smart-meter"', ("6:27354b9a", "oma:smart-meter")),
        ("v:acme-1,1:" + "0f" * 32, ("v:acme-1", "1:" + "0f" * 32)),
        ("6:27354B9A", ("6:27354b9a",)),  # leniency: large letters
        ('"6:1, 6:2,6:1"', ("6:1", "6:2")),  # leniency: blanks, one named twice
        ("6:xyz", ()),
        ("abc", ()),
        ("6:", ()),
        ("oma:", ()),
        ("1:" + "0" * 79, ()),
        ("", ()),
        (
            ",".join(f"6:{number:08x}" for number in range(50)),
            tuple(f"6:{number:08x}" for number in range(8)),
        ),
    ],
)
def test_trap_17_several_profiles(given: str, profiles: tuple[str, ...]) -> None:
    assert register("ep=dev", "lwm2m=1.2", f"pid={given}").profiles == profiles
    assert parse_update([f"pid={given}"], None, b"").profiles == profiles


def test_leniency_a_profile_each_in_a_parameter_of_its_own() -> None:
    found = register("ep=dev", "lt=300", "lwm2m=1.2", "pid=6:27354b9a", "pid=6:0", payload=b"")
    assert found.profiles == ("6:27354b9a", "6:0")
    assert len(register("ep=dev", *(f"pid=6:{number:x}" for number in range(50))).profiles) == 8


def test_leniency_an_alternate_path_with_a_number_is_none() -> None:
    """It could not be told from the path of an object (OMA Transport §6.4.1)."""
    found = objects(b'</7>;rt="oma.lwm2m",</3/0>')
    assert (found.root, found.instances) == ("", (Path(3, 0),))
    assert objects(b'</a1>;rt="oma.lwm2m",</a1/3/0>').root == "/a1"


@pytest.mark.parametrize("payload", [b"junk", b"</3/0", b"\xff\xfe", b"</3/0>x"])
def test_a_list_that_cannot_be_read_is_4_00(payload: bytes) -> None:
    refused(BAD_REQUEST, "ep=dev", payload=payload)


def test_a_list_in_another_format_is_4_15() -> None:
    refused(UNSUPPORTED, "ep=dev", content_format=110)


def test_leniency_a_list_without_content_format_is_read() -> None:
    assert register("ep=dev", content_format=None).objects is register("ep=dev").objects


def test_a_list_beyond_all_measure_is_4_13() -> None:
    refused(TOO_LARGE, "ep=dev", payload=b"</3/0>," * 10_000)


def test_clients_with_the_same_list_share_it() -> None:
    assert objects(bytes(LIST)) is objects(bytes(bytearray(LIST)))


def test_a_long_list_is_read_and_not_kept() -> None:
    payload = ",".join(f"</3303/{number}>" for number in range(2000)).encode()
    found = objects(payload)
    assert len(found.instances) == 2000
    assert objects(payload) is not found


@pytest.mark.parametrize("payload", [LIST, b'</x>;rt="oma.lwm2m";ct=110,</x/3/0>', b'</3303>;ver="1.1"'])
def test_a_list_survives_its_storage(payload: bytes) -> None:
    found = objects(payload)
    assert object_list_from_json(json.loads(json.dumps(object_list_to_json(found)))) == found


def test_the_links_are_there_as_they_were_sent() -> None:
    assert [link.target for link in objects(b"</>;ct=110,</0/0>,</3/0>").links] == ["/", "/0/0", "/3/0"]


# §6.2.2 Update


def test_an_update_without_parameters_only_refreshes() -> None:
    assert parse_update([], None, b"") == Update()


def test_an_update_changes_what_it_names() -> None:
    assert parse_update(["lt=60"], None, b"") == Update(lifetime_s=60)
    assert parse_update(["sms=+336"], None, b"") == Update(sms_number="336")
    assert parse_update(["b=US"], None, b"") == Update(binding="US")
    assert parse_update(["b=U", "Q"], None, b"") == Update(binding="U", queue_mode=True)
    assert parse_update([], 40, LIST) == Update(objects=read_object_list(LIST))


def test_leniency_a_name_in_an_update_is_only_kept() -> None:
    assert parse_update(["ep=other", "x"], None, b"").parameters == (("ep", "other"), ("x", None))


@pytest.mark.parametrize(
    ("queries", "content_format", "payload", "code"),
    [
        (["lt=soon"], None, b"", BAD_REQUEST),
        (["b=Z"], None, b"", BAD_REQUEST),
        ([], 40, b"junk", BAD_REQUEST),
        ([], 0, LIST, UNSUPPORTED),
        ([], 40, b"</3/0>," * 10_000, TOO_LARGE),
    ],
)
def test_an_update_that_is_refused(
    queries: list[str], content_format: int | None, payload: bytes, code: int
) -> None:
    with pytest.raises(RegistrationError) as caught:
        parse_update(queries, content_format, payload)
    assert caught.value.code == code


def settled(version: str, *queries: str, registered: bytes = LIST, payload: bytes = b"") -> Update:
    return settle_update(parse_update(queries, None, payload), version, read_object_list(registered))


def test_a_binding_is_checked_against_the_registered_version() -> None:
    with pytest.raises(RegistrationError):
        settled("1.0", "b=T")
    assert settled("1.1", "b=T").binding == "T"


def test_a_1_0_client_ends_queue_mode_by_its_binding() -> None:
    assert settled("1.0", "b=U").queue_mode is False
    assert settled("1.0", "b=UQ").queue_mode is True
    assert settled("1.0", "lt=5").queue_mode is None


def test_from_1_1_on_the_absence_of_q_changes_nothing() -> None:
    assert settled("1.1", "b=U").queue_mode is None


def test_a_list_without_root_link_keeps_the_root_and_the_formats() -> None:
    update = settled(
        "1.1", registered=b'</lwm2m>;rt="oma.lwm2m";ct=112,</lwm2m/3/0>', payload=b"</lwm2m/3/0>,</lwm2m/4/0>"
    )
    assert update.objects is not None
    assert (update.objects.root, update.objects.content_formats) == ("/lwm2m", (112,))
    assert update.objects.instances == (Path(3, 0), Path(4, 0))
    stored = json.loads(json.dumps(object_list_to_json(update.objects)))
    assert object_list_from_json(stored) == update.objects


def test_a_list_with_root_link_replaces_everything() -> None:
    update = settled("1.1", registered=b"</>;ct=112,</3/0>", payload=b"</>;ct=110,</4/0>")
    assert update.objects is not None
    assert (update.objects.content_formats, update.objects.instances) == ((110,), (Path(4, 0),))


def test_long_lists_are_never_kept_in_the_shared_cache() -> None:
    from appliance.lwm2m import registration

    registration._shared_object_list.cache_clear()
    long = b"</>;ct=110," + b",".join(b"</3303/%d>" % number for number in range(600))
    registered = registration.read_object_list(long)
    update = registration.parse_update((), 40, long.removeprefix(b"</>;ct=110,"))
    settled = registration.settle_update(update, "1.1", registered)
    assert settled.objects is not None
    assert settled.objects.content_formats == (110,)
    registration.object_list_from_json(registration.object_list_to_json(settled.objects))
    assert registration._shared_object_list.cache_info().currsize == 0
