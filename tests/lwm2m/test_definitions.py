"""The registered definitions, users' own ones, and the model of a client."""

from __future__ import annotations

import pytest

from appliance.lwm2m import definitions as module
from appliance.lwm2m.default_versions import default_version, with_defaults
from appliance.lwm2m.definitions import (
    Definitions,
    Model,
    ObjectDefinition,
    ResourceDefinition,
    decode_object,
    encode_object,
    version_key,
)
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ResourceType


@pytest.fixture
def definitions() -> Definitions:
    return Definitions.registered()


def own(object_id: int, version: str, name: str = "Mine") -> ObjectDefinition:
    resource = ResourceDefinition(7, "Level", "RW", False, True, ResourceType.FLOAT, "0..1", "m")
    return ObjectDefinition(object_id, name, version, True, False, "1.1", {7: resource})


def test_the_registry_is_there_with_every_version(definitions: Definitions) -> None:
    assert definitions.versions(3) == ["1.0", "1.1", "1.2"]
    assert definitions.versions(4) == ["1.0", "1.1", "1.2", "1.3"]
    assert definitions.versions(33629) == []
    known = list(definitions.all())
    assert len(known) > 400
    assert (3303, "1.1", "Temperature", "registered") in known


def test_a_resource_is_defined_by_facts(definitions: Definitions) -> None:
    device = definitions.find(3, "1.1")
    assert device is not None
    assert device.exact
    battery = device.definition.resources[9]
    assert battery == ResourceDefinition(
        9, "Battery Level", "R", False, False, ResourceType.INTEGER, "0..100", "%"
    )
    assert device.definition.resources[4].operations == "E"
    assert device.definition.resources[4].type is ResourceType.NONE
    assert device.definition.resources[6].multiple
    security = definitions.find(0, "1.0")
    assert security is not None
    assert security.definition.resources[5].operations == ""
    assert security.definition.multiple
    assert security.definition.mandatory


def test_every_registered_object_can_be_read_and_written_back(definitions: Definitions) -> None:
    text = module._data().decode()
    again = []
    for object_id, version, name, origin in definitions.all():
        found = definitions.find(object_id, version)
        assert found is not None
        assert found.exact
        assert found.definition.id == object_id
        assert found.definition.name == name
        assert origin == "registered"
        assert found.definition.resources
        assert all(key == one.id for key, one in found.definition.resources.items())
        assert decode_object(encode_object(found.definition)) == found.definition
        again.append(encode_object(found.definition))
    assert "".join(again) == text


def test_the_table_is_small() -> None:
    assert len(module._data()) < 200_000


@pytest.mark.parametrize(
    ("object_id", "asked", "given"),
    [
        (3, "1.7", "1.2"),
        (3, "0.9", "1.0"),
        (25, "1.9", "1.0"),
        (25, "3.0", "2.0"),
        (21, "1.4", "1.1"),
        (3, "no version", "1.0"),
    ],
)
def test_the_nearest_version_serves_when_the_right_one_is_unknown(
    definitions: Definitions, object_id: int, asked: str, given: str
) -> None:
    found = definitions.find(object_id, asked)
    assert found is not None
    assert (found.definition.version, found.exact) == (given, False)


def test_without_a_version_the_newest_is_meant(definitions: Definitions) -> None:
    found = definitions.find(21, None)
    assert found is not None
    assert found.definition.version == "2.0"


def test_an_unknown_object_is_not_found(definitions: Definitions) -> None:
    assert definitions.find(40000, "1.0") is None


def test_versions_sort_as_numbers() -> None:
    assert sorted(["1.10", "1.9", "2.0", "1.0"], key=version_key) == ["1.0", "1.9", "1.10", "2.0"]


def test_an_own_definition_hides_the_registered_one_until_it_is_removed(definitions: Definitions) -> None:
    definitions.add(own(3, "1.1"))
    found = definitions.find(3, "1.1")
    assert found is not None
    assert found.definition.name == "Mine"
    assert (3, "1.1", "Mine", "own") in list(definitions.all())
    assert definitions.remove(3, "1.1")
    assert not definitions.remove(3, "1.1")
    found = definitions.find(3, "1.1")
    assert found is not None
    assert found.definition.name == "Device"


def test_an_own_object_appears_and_disappears(definitions: Definitions) -> None:
    definitions.add(own(40000, "1.0"))
    definitions.add(own(40000, "1.1"))
    assert definitions.versions(40000) == ["1.0", "1.1"]
    definitions.remove(40000, "1.0")
    definitions.remove(40000, "1.1")
    assert definitions.versions(40000) == []
    assert not definitions.remove(3, "1.1")


def test_a_model_follows_the_versions_of_its_client(definitions: Definitions) -> None:
    model = Model.of(definitions, {25: "1.0", 3: None, 40000: "1.0"})
    gateway = model.object(25)
    assert gateway is not None
    assert gateway.version == "1.0"
    assert model.object(40000) is None
    level = model.resource(Path(3, 0, 9))
    assert level is not None
    assert level.name == "Battery Level"
    assert model.resource(Path(3, 0, 9, 0)) == level
    assert model.resource(Path(3, 0)) is None
    assert model.resource(Path()) is None
    assert model.resource(Path(3, 0, 999)) is None


def test_a_model_knows_nothing_the_client_did_not_register(definitions: Definitions) -> None:
    assert Model.of(definitions, {3: "1.0"}).resource(Path(4, 0, 2)) is None


def test_a_model_follows_definitions_that_come_and_go(definitions: Definitions) -> None:
    model = Model.of(definitions, {40000: "1.0"})
    assert model.resource(Path(40000, 0, 7)) is None
    definitions.add(own(40000, "1.0"))
    assert model.resource(Path(40000, 0, 7)) is not None
    definitions.remove(40000, "1.0")
    assert model.resource(Path(40000, 0, 7)) is None


def test_clients_with_the_same_objects_share_a_model(definitions: Definitions) -> None:
    assert Model.of(definitions, {3: "1.0", 4: "1.0"}) is Model.of(definitions, {3: "1.0", 4: "1.0"})
    assert Model.of(definitions, {3: "1.0"}) is not Model.of(definitions, {3: "1.1"})


def test_strangers_cannot_fill_the_memory_with_models(definitions: Definitions) -> None:
    for number in range(3000):
        Model.of(definitions, {40000 + number: "1.0"})
    assert len(definitions._models) <= 1024


@pytest.mark.parametrize(
    ("object_id", "lwm2m_version", "version"),
    [
        (1, "1.0", "1.0"),
        (1, "1.1", "1.1"),
        (3, "1.1", "1.1"),
        (4, "1.1", "1.2"),
        (5, "1.1", "1.0"),
        (1, "1.2", "1.2"),
        (5, "1.2", "1.1"),
        (4, "1.2", "1.3"),
        (3303, "1.2", "1.0"),
        (6, "1.1", "1.0"),
    ],
)
def test_the_version_of_an_object_that_names_none(object_id: int, lwm2m_version: str, version: str) -> None:
    assert default_version(object_id, lwm2m_version) == version


def test_a_version_that_was_named_counts() -> None:
    assert with_defaults({1: "1.2", 3: None, 3303: None}, "1.1") == {1: "1.2", 3: "1.1", 3303: "1.0"}
