"""Registration interface: cases 101 to 111."""

from __future__ import annotations

from collections.abc import Callable

from aiocoap.numbers import codes

from tests.conformance.client import Client, StreamClient, path_of, shown
from tests.house import House


def test_int_101_initial_registration(new_client: Callable[..., Client]) -> None:
    client = new_client(register=False)
    answer = client.register("</1/0>,</3/0>,</10>;ver=1.1,</10/0>", query=("sms=15550100",))
    assert answer.code == codes.CREATED
    assert answer.opt.location_path[0] == "rd"
    assert len(answer.opt.location_path) == 2
    row = client.row()
    assert (row["endpoint_name"], row["lifetime_s"], row["version"]) == (client.name, 86400, "1.1")
    assert (row["binding"], row["queue_mode"], row["sms_number"]) == ("U", False, "15550100")
    objects = {entry["id"]: (entry["version"], entry["instances"]) for entry in row["objects"]}
    assert objects[10] == ("1.1", [0])
    assert set(objects) == {1, 3, 10}


def test_int_102_registration_update_and_expiry(house: House, client: Client) -> None:
    assert client.operate("Write", "/1/0/1", value=20)["code"] == "2.04"
    client.update("lt=20")
    assert client.row()["lifetime_s"] == 20
    client.update()
    assert client.row()["lifetime_s"] == 20
    # The same with a lifetime that a test can wait for.
    client.update("lt=1")
    house.until(lambda event: event["kind"] == "expired" and event["endpoint_name"] == client.name)
    assert client.row()["state"] == "offline"
    client.update(expect=codes.NOT_FOUND)


def test_int_103_deregistration(client: Client) -> None:
    assert client.operate("Execute", "/1/0/4")["code"] == "2.04"
    assert (client.heard[-1].code, path_of(client.heard[-1])) == (codes.POST, "/1/0/4")
    assert client.request(codes.DELETE, client.location).code == codes.DELETED
    assert client.row()["state"] == "deregistered"
    client.update(expect=codes.NOT_FOUND)


def test_int_104_update_trigger(client: Client) -> None:
    before = client.row()["expires_at"]
    assert client.operate("Execute", "/1/0/8")["code"] == "2.04"
    assert (client.heard[-1].code, client.heard[-1].payload) == (codes.POST, b"")
    client.update()
    after = client.row()
    assert after["lifetime_s"] == 86400
    assert after["expires_at"] > before


def test_int_105_discarded_update(house: House, client: Client) -> None:
    assert house.api("DELETE", f"/devices/{client.name}")[0] == 204
    client.update(expect=codes.NOT_FOUND)
    client.register()
    assert client.row()["state"] == "online"


def test_int_107_extending_the_lifetime(new_client: Callable[..., Client]) -> None:
    client = new_client(register=False)
    client.register(lifetime_s=60)
    assert client.operate("Write", "/1/0/1", value=120)["code"] == "2.04"
    assert client.heard[-1].code == codes.PUT
    assert client.row()["lifetime_s"] == 60  # a write alone does not change the registration
    before = client.row()["expires_at"]
    client.update("lt=120")
    assert client.row()["lifetime_s"] == 120
    assert client.row()["expires_at"] > before


def test_int_108_queue_mode_is_turned_on(new_client: Callable[..., Client]) -> None:
    client = new_client(register=False)
    client.register(binding="b=U", query=("Q",))
    assert (client.row()["binding"], client.row()["queue_mode"]) == ("U", True)
    client.update("lt=300")
    assert client.row()["queue_mode"] is True


def test_int_109_behavior_in_queue_mode(house: House, new_client: Callable[..., Client]) -> None:
    client = new_client(register=False)
    client.register(binding="b=U", query=("Q",))
    assert client.operate("Write", "/1/0/1", value=240)["code"] == "2.04"
    client.update("lt=240")
    # The awake window of a second, where the case waits for MAX_TRANSMIT_WAIT.
    assert house.api("PUT", f"/devices/{client.name}/awake", {"awake_s": 1})[0] == 200
    house.until(lambda event: event["kind"] == "asleep" and event["endpoint_name"] == client.name)
    assert client.row()["state"] == "asleep"
    status, queued = client.ask("POST", "operations", {"operation": "Read", "path": "/1/0/1"})
    assert (status, queued["state"]) == (202, "waiting")
    assert client.heard == []
    assert client.silence(0.2)
    head = house.head()
    client.update()
    assert client.heard == []  # the answer first, the queued Read after it
    assert path_of(client.serve()) == "/1/0/1"
    house.until(lambda event: event["kind"] == "operation" and event["path"] == "/1/0/1", after=head)
    task = house.api("GET", f"/tasks/{queued['task']}")[1]
    assert (task["state"], task["outcome"]["code"]) == ("done", "2.05")
    assert shown(task["outcome"]) == {"/1/0/1": 240}


def test_12_int_110_profile_id(house: House, new_client: Callable[..., Client]) -> None:
    profile = "6:27354b9a"
    client = new_client("1.2", register=False)
    client.register("", query=("pid=6:0badcafe",), expect=codes.CONFLICT)
    assert house.api("GET", f"/devices/{client.name}")[0] == 404
    status, answer = house.api("PUT", f"/profiles/{profile}", {"links": "</1/0>,</3/0>"})
    assert status == 200, answer
    client.register("", query=(f"pid={profile}",))
    row = client.row()
    assert row["version"] == "1.2"
    assert {entry["id"]: entry["instances"] for entry in row["objects"]} == {1: [0], 3: [0]}
    assert shown(client.operate("Read", "/3/0/0")) == {"/3/0/0": "Homard"}


def test_12_int_111_profile_id_and_list(house: House, new_client: Callable[..., Client]) -> None:
    profile = "6:27354b9a"
    assert house.api("PUT", f"/profiles/{profile}", {"links": "</1/0>,</3/0>"})[0] == 200
    client = new_client("1.2", register=False)
    client.register("</4/0>", query=(f"pid={profile}",))
    found = {entry["id"]: entry["instances"] for entry in client.row()["objects"]}
    assert found == {1: [0], 3: [0], 4: [0]}


def test_int_106_tcp_binding(house: House) -> None:
    with StreamClient(house, "int_106") as client:
        client.register(binding="b=T")
        assert [signal.code for signal in client.signals] == [codes.CSM]
        row = client.row()
        assert (row["bearer"], row["binding"], row["state"]) == ("TCP", "T", "online")
        assert not {0, 21} & {entry["id"] for entry in row["objects"]}
        assert shown(client.operate("Read", "/3/0/0")) == {"/3/0/0": "Homard"}
        assert client.observe("/3/0/9")["code"] == "2.05"
        client.update()
        assert client.request(codes.DELETE, client.location).code == codes.DELETED


def test_int_950_two_servers(house: House, second_house: House, new_client: Callable[..., Client]) -> None:
    clients = [new_client(register=False), Client(second_house, "int_950-second")]
    with clients[1]:
        for client in clients:
            client.register()
            assert client.row()["state"] == "online"
            assert shown(client.operate("Read", "/3/0/0")) == {"/3/0/0": "Homard"}


def test_int_951_attributes_of_two_servers(
    house: House, second_house: House, new_client: Callable[..., Client]
) -> None:
    clients = [new_client(register=False), Client(second_house, "int_951-second")]
    wanted = [{"pmin": 2, "pmax": 10}, {"pmin": 15, "pmax": 50}]
    with clients[1]:
        for client, attributes in zip(clients, wanted, strict=True):
            client.register()
            outcome = client.operate("WriteAttributes", "/3/0", attributes=attributes)
            assert outcome["code"] == "2.04"
        for client, attributes in zip(clients, wanted, strict=True):
            links = client.operate("Discover", "/3/0")["links"]
            found = {link["target"]: link["attributes"] for link in links}
            assert found["/3/0"] == {name: str(value) for name, value in attributes.items()}
            assert found["/3/0/9"] == {}
