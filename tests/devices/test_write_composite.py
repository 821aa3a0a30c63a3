"""Write-Composite from the API's words to the body of the request (OMA Core 1.2.1 §6.3.9)."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest

from appliance.devices.errors import DeviceError
from appliance.devices.requests import build
from appliance.lwm2m.operations import WriteComposite
from appliance.lwm2m.path import Path
from appliance.southbound.requests import Formats, candidates, encode_request
from tests.devices.room import Room


def registration(room: Room, version: str = "1.2") -> Any:
    device = room.device("d")
    device.post(
        ("rd",), ("ep=d", "lt=300", f"lwm2m={version}", "b=U"), b'</>;ct="112 322",</3/0>,</16/0>,</1/0>'
    )
    found = room.registry.named("d")
    assert found is not None
    return found


def built(room: Room, values: dict[str, Any], version: str = "1.2") -> WriteComposite:
    found = build(registration(room, version), {"operation": "WriteComposite", "values": values})
    assert isinstance(found, WriteComposite)
    return found


def test_null_removes_resource_instances(room: Room) -> None:
    operation = built(room, {"/3/0/14": "+02:00", "/16/0/0": {"0": "here", "1": None}, "/16/0/0/2": None})
    assert [str(report.path) for report in operation.reports] == ["/3/0/14", "/16/0/0/0"]
    assert operation.removed == (Path(16, 0, 0, 1), Path(16, 0, 0, 2))
    client = registration(room).client
    (chosen, *others) = candidates(client, operation, None)
    assert chosen.sends == 322 and [other.sends for other in others] == [320]
    _, _, payload = encode_request(client, operation, chosen)
    assert cbor2.loads(payload) == [
        {-2: "/", 0: "3/0/14", 3: "+02:00"},
        {0: "16/0/0/0", 3: "here"},
        {0: "16/0/0/1", 2: None},
        {0: "16/0/0/2", 2: None},
    ]


def test_nothing_else_can_be_removed(room: Room) -> None:
    with pytest.raises(DeviceError, match="is none"):
        built(room, {"/3/0/14": None})


def test_null_came_with_1_2(room: Room) -> None:
    with pytest.raises(DeviceError, match=r"came with LwM2M 1\.2"):
        built(room, {"/16/0/0/1": None}, version="1.1")


def test_lwm2m_cbor_to_a_device_behind_a_gateway_has_its_prefix(room: Room) -> None:
    """The prefix is part of the keys, the alternate path is not (LwM2M Gateway 1.1 §9)."""
    found = registration(room)
    found.client.prefix = "/d01"
    operation = build(found, {"operation": "WriteComposite", "values": {"/3/0/14": "+02:00"}})
    _, _, payload = encode_request(found.client, operation, Formats(11544))
    assert cbor2.loads(payload) == {"d01": {3: {0: {14: "+02:00"}}}}
    _, _, payload = encode_request(found.client, operation, Formats(112))
    assert cbor2.loads(payload) == [{-2: "/d01/", 0: "3/0/14", 3: "+02:00"}]
