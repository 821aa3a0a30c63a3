"""Core and additional objects: cases 500 to 2099, of those that have a procedure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiocoap.numbers import codes, types

from tests.conformance.client import Client, path_of, shown
from tests.house import House

TLV = 11542


def latest(client: Client, path: str) -> dict[str, Any]:
    """What the server last heard of a path."""
    values = client.house.api("GET", f"/devices/{client.name}/values?path={path}")[1]["values"]
    return {value["path"]: value["value"] for value in values}


def watch(client: Client, path: str, pmin: int, pmax: int) -> dict[str, Any]:
    """Write-Attributes, then Observe: the first values."""
    attributes = {"pmin": pmin, "pmax": pmax}
    assert client.operate("WriteAttributes", path, attributes=attributes)["code"] == "2.04"
    outcome = client.observe(path)
    assert (outcome["code"], client.heard[-1].opt.observe) == ("2.05", 0)
    return shown(outcome)


def notified(client: Client) -> None:
    """Every observation reports once and is acknowledged."""
    assert client.observed
    for entry in list(client.observed.values()):
        assert client.report(entry).mtype is types.ACK


# --- Device ---------------------------------------------------------------------------------------------


def test_int_651_device_write_and_restore(new_client: Callable[..., Client]) -> None:
    client = new_client("1.0")
    before = {"13": "2023-11-14T22:13:20Z", "14": "+01:00", "15": "Europe/Lisbon"}
    values = {"13": "2013-05-02T10:40:15Z", "14": "+02:00", "15": "Europe/Paris"}
    for content, mode in ((values, "update"), (before, "replace")):
        outcome = client.operate("Write", "/3/0", values=content, mode=mode, content_format=TLV)
        assert outcome["code"] == "2.04"
        if mode == "update":
            assert client.heard[-1].payload == bytes.fromhex(
                "C40D5182428F" + "C60E2B30323A3030" + "C80F0C4575726F70652F5061726973"
            )
        read = shown(client.operate("Read", "/3/0", content_format=TLV))
        assert {key: read[f"/3/0/{key}"] for key in content} == content


def test_int_652_firmware_version(client: Client) -> None:
    assert shown(client.operate("Read", "/3/0/3")) == {"/3/0/3": "1.0"}


def test_int_680_create_device_is_refused(client: Client) -> None:
    outcome = client.operate("Create", "/3", values={})
    assert (outcome["code"], outcome["ok"], client.heard[-1].code) == ("4.05", False, codes.POST)


def test_int_685_delete_device_is_refused(client: Client) -> None:
    outcome = client.operate("Delete", "/3/0")
    assert (outcome["code"], outcome["ok"], client.heard[-1].code) == ("4.05", False, codes.DELETE)


# --- Connectivity Monitoring, Location, Connectivity Statistics -----------------------------------------


def test_int_701_connectivity_monitoring_read(client: Client) -> None:
    values = shown(client.operate("Read", "/4/0"))
    assert (values["/4/0/0"], values["/4/0/1/1"], values["/4/0/2"]) == (41, 41, -67)
    assert values["/4/0/4/1"] == "2001:db8::7"
    assert values["/4/0/7/0"] == "internet"


def test_int_710_connectivity_monitoring_observe(client: Client) -> None:
    assert watch(client, "/4/0", 2, 10)["/4/0/2"] == -67
    client.tree.set((4, 0, 2), -81)
    notified(client)
    assert latest(client, "/4/0/2") == {"/4/0/2": -81}


def test_int_801_location_read(client: Client) -> None:
    values = shown(client.operate("Read", "/6/0"))
    assert values["/6/0/0"] == pytest.approx(43.5723)
    assert values["/6/0/1"] == pytest.approx(153.2176)
    assert values["/6/0/5"] == "2013-05-02T10:40:15Z"


def test_int_810_location_observe(client: Client) -> None:
    assert watch(client, "/6/0", 2, 10)["/6/0/5"] == "2013-05-02T10:40:15Z"
    client.tree.set((6, 0, 0), -33.5)
    client.tree.set((6, 0, 5), 1367491225)
    notified(client)
    found = latest(client, "/6/0")
    assert (found["/6/0/0"], found["/6/0/5"]) == (-33.5, "2013-05-02T10:40:25Z")


def test_int_901_statistics_collected(client: Client) -> None:
    for resource in (6, 7):
        assert client.operate("Execute", f"/7/0/{resource}")["code"] == "2.04"
        assert path_of(client.heard[-1]) == f"/7/0/{resource}"
        client.tree.set((7, 0, 2), 17)
    values = shown(client.operate("Read", "/7/0"))
    assert {f"/7/0/{number}" for number in range(6)} <= set(values)
    assert values["/7/0/2"] == 17


def test_int_905_statistics_period(client: Client) -> None:
    assert shown(client.operate("Read", "/7/0"))["/7/0/8"] == 0
    assert client.operate("Write", "/7/0/8", value=30)["code"] == "2.04"
    assert shown(client.operate("Read", "/7/0"))["/7/0/8"] == 30


def test_int_910_statistics_observed(client: Client) -> None:
    assert client.operate("Write", "/7/0/8", value=0)["code"] == "2.04"
    watch(client, "/7/0", 2, 10)
    assert client.operate("Execute", "/7/0/6")["code"] == "2.04"
    for count in (5, 9):
        client.tree.set((7, 0, 2), count)
        notified(client)
        assert latest(client, "/7/0/2") == {"/7/0/2": count}
    assert client.operate("Execute", "/7/0/7")["code"] == "2.04"
    status, outcome = client.ask("DELETE", "observations?path=/7/0")
    assert (status, outcome["ok"], client.heard[-1].opt.observe) == (200, True, 1)


# --- Firmware Update: its operations one by one ---------------------------------------------------------


def firmware(client: Client, state: int, result: int) -> None:
    """The device has come this far."""
    client.tree.set((5, 0, 3), state)
    client.tree.set((5, 0, 5), result)


def read_firmware(client: Client) -> tuple[int, int]:
    """State and Update Result as the server reads them."""
    values = shown(client.operate("Read", "/5/0"))
    return values["/5/0/3"], values["/5/0/5"]


def told_firmware(client: Client) -> tuple[int, int]:
    """State and Update Result as the device reported them."""
    values = latest(client, "/5/0")
    return values["/5/0/3"], values["/5/0/5"]


def push(client: Client, image: bytes) -> None:
    """Write the package through the API."""
    assert client.operate("Write", "/5/0/0", value=image.hex())["code"] == "2.04"


def test_int_751_firmware_read(client: Client) -> None:
    values = shown(client.operate("Read", "/5/0", content_format=TLV))
    assert (values["/5/0/3"], values["/5/0/5"], values["/5/0/9"]) == (0, 0, 2)
    assert (values["/5/0/8/0"], values["/5/0/8/1"]) == (0, 2)


def test_int_755_firmware_package(client: Client) -> None:
    push(client, b"\0")
    assert client.heard[-1].payload.endswith(b"\0")
    assert read_firmware(client) == (0, 0)
    push(client, b"image" * 30)
    assert client.tree.value((5, 0, 0), b"") == b"image" * 30
    firmware(client, 2, 0)
    assert read_firmware(client) == (2, 0)


def test_int_756_firmware_uri(client: Client) -> None:
    for uri in ("", "coap://192.0.2.1/image"):
        assert client.operate("Write", "/5/0/1", value=uri)["code"] == "2.04"
        assert client.tree.value((5, 0, 1), "?") == uri
    firmware(client, 2, 0)
    assert read_firmware(client) == (2, 0)


def test_int_760_firmware_state_observed(client: Client) -> None:
    assert client.operate("WriteAttributes", "/5/0", attributes={"pmin": 2, "pmax": 10})["code"] == "2.04"
    assert shown(client.observe("/5/0/3")) == {"/5/0/3": 0}
    push(client, b"image")
    firmware(client, 2, 0)
    notified(client)
    assert latest(client, "/5/0/3") == {"/5/0/3": 2}


def test_int_770_firmware_pushed(client: Client) -> None:
    image = bytes(range(256)) * 12
    for path in ("/5/0/3", "/5/0/5"):
        assert client.observe(path)["code"] == "2.05"
    push(client, b"\0")
    push(client, image)
    assert [request.opt.block1.block_number for request in client.heard] == list(range(3))
    assert client.tree.value((5, 0, 0), b"") == image
    firmware(client, 1, 0)
    notified(client)
    firmware(client, 2, 0)
    notified(client)
    assert told_firmware(client) == (2, 0)
    assert client.operate("Execute", "/5/0/2")["code"] == "2.04"
    firmware(client, 3, 0)
    notified(client)
    client.register()  # it comes back with the new image
    firmware(client, 0, 1)
    client.tree.set((3, 0, 3), "2.0")
    assert read_firmware(client) == (0, 1)
    assert shown(client.operate("Read", "/3/0/3")) == {"/3/0/3": "2.0"}


def test_int_771_firmware_pulled(house: House, client: Client) -> None:
    image = bytes(range(256)) * 12
    assert client.operate("Write", "/5/0/1", value="")["code"] == "2.04"
    status, stored = house.api("POST", "/files?name=image", image)
    assert status == 201, stored
    uri = next(url for url in stored["urls"] if url.startswith("coap://"))
    assert client.operate("Write", "/5/0/1", value=uri)["code"] == "2.04"
    assert client.tree.value((5, 0, 1), "") == uri
    assert client.fetch_file(uri) == image
    for state, result in ((1, 0), (2, 0)):
        firmware(client, state, result)
        assert read_firmware(client) == (state, result)
    assert client.operate("Execute", "/5/0/2")["code"] == "2.04"
    client.register()
    firmware(client, 0, 1)
    client.tree.set((3, 0, 3), "2.0")
    assert read_firmware(client) == (0, 1)
    assert shown(client.operate("Read", "/3/0/3")) == {"/3/0/3": "2.0"}


def fails(client: Client, result: int, states: tuple[int, ...], *, pulled: bool = False) -> None:
    """An update that ends with a result; every step of it reaches the server."""
    assert read_firmware(client) == (0, 0)
    for path in ("/5/0/3", "/5/0/5"):
        assert client.observe(path)["code"] == "2.05"
    if pulled:
        assert client.operate("Write", "/5/0/1", value="coap://192.0.2.1/image")["code"] == "2.04"
    else:
        push(client, b"image")
    for state in states[:-1]:
        firmware(client, state, 0)
        notified(client)
        assert told_firmware(client) == (state, 0)
    firmware(client, states[-1], result)
    notified(client)
    assert told_firmware(client) == (states[-1], result)
    assert read_firmware(client) == (states[-1], result)


def test_int_773_firmware_without_storage(client: Client) -> None:
    fails(client, 2, (1, 0))


def test_int_774_firmware_without_memory(client: Client) -> None:
    fails(client, 3, (1, 0))


def test_int_775_firmware_connection_lost(client: Client) -> None:
    fails(client, 4, (1, 0), pulled=True)


def test_int_776_firmware_damaged(client: Client) -> None:
    fails(client, 5, (1, 0))


def test_int_777_firmware_of_another_type(client: Client) -> None:
    fails(client, 6, (1, 0))


def test_int_778_firmware_uri_invalid(client: Client) -> None:
    fails(client, 7, (1, 0), pulled=True)


def test_int_779_firmware_not_installed(client: Client) -> None:
    before = shown(client.operate("Read", "/3/0/3"))
    push(client, b"image")
    firmware(client, 2, 0)
    assert read_firmware(client) == (2, 0)
    assert client.operate("Execute", "/5/0/2")["code"] == "2.04"
    firmware(client, 2, 8)
    assert read_firmware(client) == (2, 8)
    assert shown(client.operate("Read", "/3/0/3")) == before


def test_int_772_firmware_without_package(client: Client) -> None:
    assert read_firmware(client) == (0, 0)
    client.refuses.add("/5/0/2")
    outcome = client.operate("Execute", "/5/0/2")
    assert (outcome["code"], outcome["ok"]) == ("4.05", False)
    assert read_firmware(client) == (0, 0)


# --- Cellular connectivity and its neighbours -----------------------------------------------------------


def test_int_1200_cellular_read(client: Client) -> None:
    values = shown(client.operate("Read", "/10/0", content_format=TLV))
    assert (values["/10/0/4"], values["/10/0/5"]) == (3600, 600)
    assert (values["/10/0/8"], values["/10/0/9"]) == ("2048", "5120")


def test_int_1201_cellular_of_version_1_1(client: Client) -> None:
    links = {link["target"]: link["attributes"] for link in client.operate("Discover", "/10")["links"]}
    assert links["/10"]["ver"] == "1.1"
    assert {"/10/0/11", "/10/0/12", "/10/0/13"} <= set(links)
    values = shown(client.operate("Read", "/10/0", content_format=TLV))
    assert (values["/10/0/11/0"], values["/10/0/12"], values["/10/0/13"]) == ("11:0", 3, 1)
    versions = {entry["id"]: entry["version"] for entry in client.row()["objects"]}
    assert versions[10] == "1.1"


def test_int_1202_power_saving_mode_is_set(client: Client) -> None:
    assert shown(client.operate("Read", "/10/0/12")) == {"/10/0/12": 3}
    outcome = client.operate("Write", "/10/0/13", value=2, content_format=TLV)
    assert (outcome["code"], client.heard[-1].payload) == ("2.04", bytes.fromhex("C10D02"))
    assert shown(client.operate("Read", "/10/0/13")) == {"/10/0/13": 2}


def test_int_1203_power_saving_mode_observed(client: Client) -> None:
    assert watch(client, "/10/0/12", 5, 15) == {"/10/0/12": 3}
    assert watch(client, "/10/0/13", 10, 20) == {"/10/0/13": 1}
    client.tree.set((10, 0, 13), 2)
    notified(client)
    assert latest(client, "/10/0/13") == {"/10/0/13": 2}


def test_int_1204_timers_observed(client: Client) -> None:
    first = {"/10/0/4": 3600, "/10/0/5": 600, "/10/0/8": "2048", "/10/0/9": "5120"}
    for path, pmin in (("/10/0/4", 5), ("/10/0/5", 10), ("/10/0/8", 5), ("/10/0/9", 10)):
        assert watch(client, path, pmin, pmin + 10) == {path: first[path]}
    client.tree.set((10, 0, 8), b"\x10\x00")
    notified(client)
    assert latest(client, "/10/0/8") == {"/10/0/8": "1000"}


def test_int_1250_apn_configuration(client: Client) -> None:
    outcome = client.operate("Create", "/11", instance=1, values={"0": "second", "3": False})
    assert (outcome["code"], outcome["location"]) == ("2.01", "/11/1")
    assert client.operate("Execute", "/1/0/8")["code"] == "2.04"
    client.update_objects()
    assert [entry["instances"] for entry in client.row()["objects"] if entry["id"] == 11] == [[0, 1]]
    assert client.operate("Write", "/11/1/3", value=True)["code"] == "2.04"
    client.tree.set((10, 0, 11), {0: "11:0", 1: "11:1"})
    read = shown(client.operate("Read", "/10/0/11", content_format=TLV))
    assert read == {"/10/0/11/0": "11:0", "/10/0/11/1": "11:1"}


def test_int_1350_bearer_selection(client: Client) -> None:
    outcome = client.operate("Create", "/13", instance=0, values={"0": {"0": 7}})
    assert outcome["code"] == "2.01"
    addresses = []
    for preferred in (7, 1):
        client.move()  # another interface, another address
        client.update()
        addresses.append(client.row()["address"])
        assert shown(client.operate("Read", "/12/0"))["/12/0/0"] == "wlan0"
        assert client.operate("Write", "/13/0/0", values={"0": preferred})["code"] == "2.04"
    assert addresses[0] != addresses[1]
    assert addresses[1].endswith(str(client.socket.getsockname()[1]))
    assert shown(client.operate("Read", "/10"))["/10/0/4"] == 3600


# --- Portfolio, Binary App Data Container, Event Log ----------------------------------------------------


def links(client: Client, path: str) -> dict[str, dict[str, str]]:
    """What Discover shows, by path."""
    return {link["target"]: link["attributes"] for link in client.operate("Discover", path)["links"]}


def test_int_1630_portfolio_create(new_client: Callable[..., Client]) -> None:
    client = new_client("1.0")
    assert links(client, "/16/0")["/16/0/0"] == {"dim": "4"}
    outcome = client.operate(
        "Create", "/16", instance=1, values={"0": {"0": "Host Device ID #2", "1": "Host Device Model #2"}},
        content_format=TLV,
    )  # fmt: skip
    assert (outcome["code"], outcome["location"]) == ("2.01", "/16/1")
    assert client.heard[-1].payload.startswith(bytes.fromhex("0801"))
    assert links(client, "/16/1")["/16/1/0"] == {"dim": "2"}
    read = shown(client.operate("Read", "/16", content_format=TLV))
    assert {path for path in read if path.startswith("/16/0/0/")} == {f"/16/0/0/{n}" for n in range(4)}
    assert read["/16/1/0/1"] == "Host Device Model #2"


def test_int_1635_portfolio_delete(client: Client) -> None:
    assert links(client, "/16/0")["/16/0/0"] == {"dim": "4"}
    assert client.operate("Delete", "/16/0")["code"] == "2.02"
    client.update_objects()
    assert list(links(client, "/16")) == ["/16"]
    assert [entry["instances"] for entry in client.row()["objects"] if entry["id"] == 16] == [[]]


def test_int_1900_binary_data_observed(client: Client) -> None:
    assert set(links(client, "/19")) >= {"/19", "/19/0", "/19/0/0"}
    assert watch(client, "/19/0/0", 300, 3600) == {"/19/0/0/0": "7b7d"}
    client.tree.set((19, 0, 0), {0: b"\x00\xff"})
    notified(client)
    assert latest(client, "/19/0/0") == {"/19/0/0/0": "00ff"}


def test_int_1901_binary_data_written(client: Client) -> None:
    assert client.operate("Write", "/19/1/0", values={"0": "0badcafe"})["code"] == "2.04"
    assert shown(client.operate("Read", "/19/1/0")) == {"/19/1/0/0": "0badcafe"}


def test_int_2000_event_log_is_started(client: Client) -> None:
    # Executable in object 20 as registered; the case writes it, as an early draft of the object had it.
    assert client.operate("Execute", "/20/0/4011", arguments="0='0',1='100'")["code"] == "2.04"
    assert client.heard[-1].payload == b"0='0',1='100'"


def test_int_2001_event_log_is_read(client: Client) -> None:
    values = shown(client.operate("Read", "/20/0", content_format=TLV))
    assert (values["/20/0/4010"], values["/20/0/4013"], values["/20/0/4014"]) == (0, 3, "00ff10")
