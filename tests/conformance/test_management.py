"""Device management and service enablement: cases 200 to 299, from the API to the wire and back."""

from __future__ import annotations

from collections.abc import Callable

import cbor2
import pytest
from aiocoap.numbers import codes

from appliance.simulator.composite import decode as decode_composite
from appliance.simulator.composite import decode_paths
from appliance.simulator.tree import slashed
from tests.conformance.client import Client, path_of, shown

SERVER_C3 = {"1": 86400, "2": 1, "3": 10, "5": 86400, "6": False, "7": "U"}
TEXT, CBOR, SENML_JSON, SENML_CBOR, TLV, OLD_JSON = 0, 60, 110, 112, 11542, 11543


def server_object(client: Client) -> dict[str, object]:
    """The writable values of /1/0, as the device has them."""
    return {key: client.tree.value((1, 0, int(key)), "") for key in SERVER_C3}


def test_int_201_query_in_plain_text(client: Client) -> None:
    for resource, value in ((0, "Homard"), (1, "Conformance"), (2, "0001")):
        outcome = client.operate("Read", f"/3/0/{resource}", content_format=TEXT)
        assert client.heard[-1].opt.accept == TEXT
        assert (outcome["code"], shown(outcome)) == ("2.05", {f"/3/0/{resource}": value})


@pytest.mark.parametrize("content_format", [TLV], ids=["tlv"])
def test_int_203_query_in_tlv(new_client: Callable[..., Client], content_format: int) -> None:
    _query_device(new_client("1.0"), content_format)


def test_int_204_query_in_json(new_client: Callable[..., Client]) -> None:
    _query_device(new_client("1.0"), OLD_JSON)


def _query_device(client: Client, content_format: int) -> None:
    outcome = client.operate("Read", "/3/0", content_format=content_format)
    assert client.heard[-1].opt.accept == content_format
    values = shown(outcome)
    assert values["/3/0/0"] == "Homard"
    assert values["/3/0/11/0"] == 0
    assert values["/3/0/16"] == "U"
    assert outcome["content_format"] == content_format


def test_int_205_set_in_plain_text(client: Client) -> None:
    for values in ((101, 1010, 2000), (1, 10, 86400)):
        for resource, value in zip((2, 3, 5), values, strict=True):
            outcome = client.operate("Write", f"/1/0/{resource}", value=value, content_format=TEXT)
            request = client.heard[-1]
            assert (request.code, request.opt.content_format) == (codes.PUT, TEXT)
            assert request.payload == str(value).encode()
            assert outcome["code"] == "2.04"
        read = shown(client.operate("Read", "/1/0", content_format=TLV))
        assert (read["/1/0/2"], read["/1/0/3"], read["/1/0/5"]) == values


def test_int_211_query_in_cbor(client: Client) -> None:
    for resource, value in ((0, 1), (6, False), (7, "U")):
        outcome = client.operate("Read", f"/1/0/{resource}", content_format=CBOR)
        assert client.heard[-1].opt.accept == CBOR
        assert shown(outcome) == {f"/1/0/{resource}": value}


def test_int_212_set_in_cbor(client: Client) -> None:
    for resource, value in ((2, 101), (3, 1010), (6, True)):
        assert client.operate("Write", f"/1/0/{resource}", value=value, content_format=CBOR)["ok"]
        request = client.heard[-1]
        assert (request.code, request.opt.content_format) == (codes.PUT, CBOR)
        assert cbor2.loads(request.payload) == value
    read = shown(client.operate("Read", "/1/0"))
    assert (read["/1/0/2"], read["/1/0/3"], read["/1/0/6"]) == (101, 1010, True)


def test_int_215_set_in_tlv(new_client: Callable[..., Client]) -> None:
    client = new_client("1.0")
    _set_server(client, TLV)
    written = client.heard[0]
    assert written.payload == bytes.fromhex("C10265 C20303F2 C20507D0 C10601 C10755".replace(" ", ""))


def test_int_220_set_in_json(new_client: Callable[..., Client]) -> None:
    _set_server(new_client("1.0"), OLD_JSON)


def _set_server(client: Client, content_format: int) -> None:
    """The values of case 215 by a partial update, then what was there before by a replacement."""
    before = server_object(client)
    values = {"2": 101, "3": 1010, "5": 2000, "6": True, "7": "U"}
    first = None
    for content, mode, code in ((values, "update", codes.POST), (before, "replace", codes.PUT)):
        outcome = client.operate("Write", "/1/0", values=content, mode=mode, content_format=content_format)
        request = client.heard[-1]
        first = first or request
        assert (outcome["code"], request.code, path_of(request)) == ("2.04", code, "/1/0")
        assert request.opt.content_format == content_format
        read = shown(client.operate("Read", "/1/0", content_format=content_format))
        assert {key: read[f"/1/0/{key}"] for key in content} == content
    client.heard[:] = [first] if first else []


def test_int_221_operations_on_the_security_object(client: Client) -> None:
    for operation, path, more in (
        ("Read", "/0", {}),
        ("Write", "/0/0/0", {"value": "coap://192.0.2.1"}),
        ("WriteAttributes", "/0", {"attributes": {"pmin": 30, "pmax": 45}}),
    ):
        outcome = client.operate(operation, path, **more)  # type: ignore[arg-type]
        assert (outcome["code"], outcome["ok"]) == ("4.01", False), outcome
        assert outcome["words"]


def test_int_222_read_an_object(client: Client) -> None:
    assert shown(client.operate("Read", "/1"))["/1/0/1"] == 86400
    values = shown(client.operate("Read", "/3"))
    assert (values["/3/0/0"], values["/3/0/6/1"]) == ("Homard", 2)


def test_int_223_read_an_object_instance(client: Client) -> None:
    assert shown(client.operate("Read", "/1/0"))["/1/0/7"] == "U"
    assert shown(client.operate("Read", "/3/0"))["/3/0/16"] == "U"


def test_int_224_read_a_resource(client: Client) -> None:
    expected = {"/1/0/0": 1, "/1/0/1": 86400, "/1/0/6": False, "/1/0/7": "U", "/3/0/16": "U"}
    for path, value in expected.items():
        assert shown(client.operate("Read", path)) == {path: value}


def test_int_225_read_a_resource_instance(client: Client) -> None:
    assert shown(client.operate("Read", "/3/0/11/0")) == {"/3/0/11/0": 0}
    assert path_of(client.heard[-1]) == "/3/0/11/0"


def test_int_226_partial_update_of_an_instance(client: Client) -> None:
    before = {"1": 86400, "6": False}
    for values in ({"1": 61, "6": True}, before):
        outcome = client.operate("Write", "/1/0", values=values, mode="update")
        assert outcome["code"] == "2.04"
        assert [(request.code, path_of(request)) for request in client.heard] == [(codes.POST, "/1/0")]
        client.update(f"lt={values['1']}")
        assert client.row()["lifetime_s"] == values["1"]
        read = shown(client.operate("Read", "/1/0"))
        assert {key: read[f"/1/0/{key}"] for key in values} == values


def test_int_227_replace_a_resource(client: Client) -> None:
    for lifetime_s in (63, 86400):
        assert client.operate("Write", "/1/0/1", value=lifetime_s)["code"] == "2.04"
        assert [(request.code, path_of(request)) for request in client.heard] == [(codes.PUT, "/1/0/1")]
        client.update(f"lt={lifetime_s}")
        assert client.row()["lifetime_s"] == lifetime_s
        assert shown(client.operate("Read", "/1/0/1")) == {"/1/0/1": lifetime_s}


def test_int_228_write_a_resource_instance(client: Client) -> None:
    assert client.operate("Write", "/16/0/0/2", value="test")["code"] == "2.04"
    assert [(request.code, path_of(request)) for request in client.heard] == [(codes.PUT, "/16/0/0/2")]
    assert shown(client.operate("Read", "/16/0/0/2")) == {"/16/0/0/2": "test"}
    assert client.tree.value((16, 0, 0), "")[1] == "Host Device Manufacturer #1"  # type: ignore[index]


def test_int_231_query_in_senml_json(client: Client) -> None:
    _query_levels(client, SENML_JSON)


def test_int_232_query_in_senml_cbor(client: Client) -> None:
    _query_levels(client, SENML_CBOR)


def _query_levels(client: Client, content_format: int) -> None:
    expected = {"/1": ("/1/0/1", 86400), "/3/0": ("/3/0/0", "Homard"), "/3/0/16": ("/3/0/16", "U")}
    expected["/3/0/11/0"] = ("/3/0/11/0", 0)
    for path, (found, value) in expected.items():
        outcome = client.operate("Read", path, content_format=content_format)
        assert (outcome["content_format"], client.heard[-1].opt.accept) == (content_format, content_format)
        assert shown(outcome)[found] == value


def test_int_233_set_in_senml_cbor(client: Client) -> None:
    _set_levels(client, SENML_CBOR)


def test_int_234_set_in_senml_json(client: Client) -> None:
    _set_levels(client, SENML_JSON)


def _set_levels(client: Client, content_format: int) -> None:
    more = {"content_format": content_format}
    assert client.operate("Write", "/1/0", values={"1": 61, "6": True}, mode="update", **more)["ok"]
    assert client.heard[-1].code == codes.POST
    client.update("lt=61")
    assert client.row()["lifetime_s"] == 61
    read = shown(client.operate("Read", "/1", **more))
    assert (read["/1/0/1"], read["/1/0/6"]) == (61, True)
    assert client.operate("Write", "/16/0/0/0", value="test_value", **more)["ok"]
    assert client.heard[-1].opt.content_format == content_format
    assert shown(client.operate("Read", "/16", **more))["/16/0/0/0"] == "test_value"
    assert client.operate("Write", "/1/0/1", value=63, **more)["ok"]
    client.update("lt=63")
    assert client.row()["lifetime_s"] == 63
    assert shown(client.operate("Read", "/1/0/1", **more)) == {"/1/0/1": 63}


@pytest.mark.parametrize("content_format", [TLV, OLD_JSON, SENML_JSON, SENML_CBOR])
def test_int_237_whatever_format_comes_is_read(
    new_client: Callable[..., Client], content_format: int
) -> None:
    client = new_client()
    client.prefers = content_format
    for path, found, value in (("/1", "/1/0/1", 86400), ("/3", "/3/0/0", "Homard")):
        outcome = client.operate("Read", path)
        assert outcome["content_format"] == content_format
        assert shown(outcome)[found] == value


def test_int_241_reboot(client: Client) -> None:
    old = client.location
    assert client.operate("Execute", "/3/0/4")["code"] == "2.04"
    assert client.heard[-1].code == codes.POST
    client.register()
    assert client.location != old
    assert client.row()["state"] == "online"
    assert client.request(codes.POST, old).code == codes.NOT_FOUND


def test_int_256_a_write_that_fails(client: Client) -> None:
    outcome = client.operate("Write", "/1/0/0", value=123)
    assert (outcome["code"], outcome["ok"]) == ("4.05", False)
    assert shown(client.operate("Read", "/1/0/0")) == {"/1/0/0": 1}


def discovered(client: Client, path: str, **more: object) -> dict[str, dict[str, str]]:
    """What Discover shows, by path."""
    outcome = client.operate("Discover", path, **more)
    assert (outcome["code"], client.heard[-1].opt.accept) == ("2.05", 40)
    return {link["target"]: link["attributes"] for link in outcome["links"]}


def test_int_260_discover(client: Client) -> None:
    links = discovered(client, "/3")
    assert list(links)[:2] == ["/3", "/3/0"]
    assert {path for path, found in links.items() if found == {"dim": "2"}} == {"/3/0/6", "/3/0/7", "/3/0/8"}
    assert client.operate("WriteAttributes", "/3", attributes={"pmin": 10, "pmax": 200})["code"] == "2.04"
    assert set(client.heard[-1].opt.uri_query) == {"pmin=10", "pmax=200"}
    assert "/3" not in discovered(client, "/3/0")
    more = {"lt": 1, "gt": 6, "st": 1}
    assert client.operate("WriteAttributes", "/3/0/7", attributes=more)["code"] == "2.04"
    assert set(client.heard[-1].opt.uri_query) == {"lt=1", "gt=6", "st=1"}
    links = discovered(client, "/3/0")
    assert links["/3/0/7"] == {"dim": "2", "lt": "1", "gt": "6", "st": "1"}
    links = discovered(client, "/3/0/7")
    assert links["/3/0/7"] == {"dim": "2", "lt": "1", "gt": "6", "st": "1", "pmin": "10", "pmax": "200"}


def test_int_261_attributes_at_every_level(client: Client) -> None:
    assert discovered(client, "/3/0/11")["/3/0/11"] == {"dim": "1"}
    for path, attributes in (
        ("/3", {"pmin": 10, "pmax": 200}),
        ("/3/0", {"pmax": 320}),
        ("/3/0/11/0", {"pmax": 100, "epmin": 1, "epmax": 20}),
    ):
        assert client.operate("WriteAttributes", path, attributes=attributes)["code"] == "2.04"
        assert (client.heard[-1].code, path_of(client.heard[-1])) == (codes.PUT, path)
        wanted = {f"{name}={value}" for name, value in attributes.items()}
        assert set(client.heard[-1].opt.uri_query) == wanted
    links = discovered(client, "/3/0/11")
    assert links["/3/0/11"] == {"dim": "1", "pmin": "10", "pmax": "320"}
    assert links["/3/0/11/0"] == {"pmax": "100", "epmin": "1", "epmax": "20"}


# --- depth, since 1.2 -------------------------------------------------------------------------------------


def test_12_int_264_discover_of_depth_1(new_client: Callable[..., Client]) -> None:
    client = new_client("1.2")
    defaults = {"pmin": "1", "pmax": "10"}
    assert discovered(client, "/3", depth=1) == {"/3": defaults, "/3/0": {}}
    assert "depth=1" in client.heard[-1].opt.uri_query
    assert client.operate("WriteAttributes", "/3/0", attributes={"pmax": 200})["code"] == "2.04"
    assert discovered(client, "/3", depth=1) == {"/3": defaults, "/3/0": {"pmax": "200"}}


def test_12_int_266_discover_of_depth_2_and_3(new_client: Callable[..., Client]) -> None:
    client = new_client("1.2")
    links = discovered(client, "/3", depth=2)
    assert "depth=2" in client.heard[-1].opt.uri_query
    assert links["/3"] == {"pmin": "1", "pmax": "10"}
    assert links["/3/0/7"] == {"dim": "2"}
    assert not [path for path in links if path.count("/") == 4]
    for path, attributes in (
        ("/3", {"pmin": 10, "pmax": 200}),
        ("/3/0/7", {"lt": 1, "gt": 6, "st": 1}),
        ("/3/0/7/1", {"gt": 8}),
    ):
        assert client.operate("WriteAttributes", path, attributes=attributes)["code"] == "2.04"
    links = discovered(client, "/3", depth=3)
    assert links["/3"] == {"pmin": "10", "pmax": "200"}
    assert links["/3/0/7"] == {"dim": "2", "lt": "1", "gt": "6", "st": "1"}
    assert links["/3/0/7/1"] == {"gt": "8"}
    assert {"/3/0/6/0", "/3/0/6/1", "/3/0/8/1"} <= set(links)


# --- composite --------------------------------------------------------------------------------------------


def composite_read(client: Client, *paths: str, **more: object) -> dict[str, object]:
    """Read-Composite of exactly these paths: the values."""
    outcome = client.operate("ReadComposite", paths=list(paths), **more)
    request = client.heard[-1]
    assert (outcome["code"], request.code, request.opt.uri_path) == ("2.05", codes.FETCH, ())
    assert request.opt.accept in (SENML_JSON, SENML_CBOR)
    asked = decode_paths(request.opt.content_format, request.payload)
    assert {slashed(path) if path else "/" for path in asked} == set(paths)
    return shown(outcome)


def test_int_229_read_composite(client: Client) -> None:
    values = composite_read(client, "/3", "/1/0", "/1/0/1", "/3/0/11/0")
    assert (values["/3/0/0"], values["/1/0/7"], values["/1/0/1"]) == ("Homard", "U", 86400)
    assert values["/3/0/11/0"] == 0


def test_int_230_write_composite(client: Client) -> None:
    values: dict[str, object] = {"/1/0/1": 61, "/1/0/6": True}
    values |= {f"/16/0/0/{number}": text for number, text in enumerate(("aa", "bb", "cc", "dd"))}
    assert client.operate("WriteComposite", values=values)["code"] == "2.04"
    assert [request.code for request in client.heard] == [codes.iPATCH]
    client.update("lt=61")
    assert client.row()["lifetime_s"] == 61
    read = shown(client.operate("Read", "/1/0")) | shown(client.operate("Read", "/16"))
    assert {path: read[path] for path in values} == values


@pytest.mark.parametrize("content_format", [None, SENML_JSON, SENML_CBOR])
def test_int_235_read_composite_of_the_root(client: Client, content_format: int | None) -> None:
    more = {} if content_format is None else {"content_format": content_format}
    values = composite_read(client, "/", **more)
    objects = {path.split("/")[1] for path in values}
    assert {"1", "3", "4", "16"} <= objects
    assert not objects & {"0", "21", "23"}


def test_int_236_read_composite_of_what_is_partly_there(client: Client) -> None:
    values = composite_read(client, "/1/0", "/1/0/1", "/3/0/11/0", "/3339/0/5522", "/3353/0/6030")
    assert (values["/1/0/1"], values["/3/0/11/0"]) == (86400, 0)
    assert not [path for path in values if path.startswith(("/3339", "/3353"))]


def test_int_257_write_composite_on_server_and_device(client: Client) -> None:
    values = {"/1/0/2": 101, "/1/0/6": True, "/3/0/13": "1970-01-01T00:00:00Z"}
    assert client.operate("WriteComposite", values=values)["code"] == "2.04"
    request = client.heard[-1]
    assert request.code == codes.iPATCH
    written = decode_composite(request.opt.content_format, request.payload, client.tree.type_of)
    assert dict(written) == {(1, 0, 2): 101, (1, 0, 6): True, (3, 0, 13): 0}
    read = shown(client.operate("Read", "/1")) | shown(client.operate("Read", "/3"))
    assert {path: read[path] for path in values} == values


def test_int_280_read_composite(client: Client) -> None:
    values = composite_read(client, "/3/0/16", "/3/0/11/0", "/1/0")
    expected = {"/3/0/11/0": 0, "/3/0/16": "U", "/1/0/0": 1, "/1/0/1": 86400, "/1/0/6": False, "/1/0/7": "U"}
    assert {path: values[path] for path in expected} == expected


def test_int_281_read_composite_leaves_out_what_cannot_be_read(client: Client) -> None:
    assert composite_read(client, "/1/0/1", "/1/0/7", "/1/0/8") == {"/1/0/1": 86400, "/1/0/7": "U"}
