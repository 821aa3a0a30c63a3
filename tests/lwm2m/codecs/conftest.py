"""A model with every type, one object per shape, so that tests do not depend on the registry."""

from __future__ import annotations

import pytest

from appliance.lwm2m.definitions import Definitions, Model, ObjectDefinition, ResourceDefinition
from appliance.lwm2m.values import ResourceType as T

TYPES = (T.STRING, T.INTEGER, T.UNSIGNED, T.FLOAT, T.BOOLEAN, T.OPAQUE, T.TIME, T.OBJLNK, T.CORELNK, T.NONE)


def _object(object_id: int, multiple: bool, resources: list[ResourceDefinition]) -> ObjectDefinition:
    return ObjectDefinition(
        id=object_id,
        name=f"Object {object_id}",
        version="1.0",
        multiple=multiple,
        mandatory=False,
        lwm2m_version="1.0",
        resources={resource.id: resource for resource in resources},
    )


def _resource(resource_id: int, kind: T, multiple: bool = False) -> ResourceDefinition:
    return ResourceDefinition(
        id=resource_id,
        name=f"Resource {resource_id}",
        operations="RW",
        multiple=multiple,
        mandatory=False,
        type=kind,
        range="",
        units="",
    )


@pytest.fixture(scope="session")
def model() -> Model:
    """/32800: resources 0..9 of every type; 10..19 the same, multiple; 300 a float. /32801: single instance.

    /3: the resources of Device that the examples of the specification use.
    """
    every = [_resource(number, kind) for number, kind in enumerate(TYPES)]
    every += [_resource(10 + number, kind, multiple=True) for number, kind in enumerate(TYPES)]
    every.append(_resource(300, T.FLOAT))
    device = [_resource(number, T.STRING) for number in (0, 1, 2, 3, 14, 15, 16)]
    device += [_resource(number, T.INTEGER, multiple=True) for number in (6, 7, 8, 11)]
    device += [_resource(9, T.INTEGER), _resource(10, T.INTEGER), _resource(13, T.TIME)]
    definitions = Definitions()
    objects = (_object(32800, True, every), _object(32801, False, every), _object(3, False, device))
    for definition in objects:
        definitions.add(definition)
    return Model(definitions, {definition.id: "1.0" for definition in objects})
