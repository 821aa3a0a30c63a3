"""Which version an object has when a client names none (OMA Core §7.2.3; traps of three enablers).

An ordinary object is then version 1.0. The objects of the specification itself have the version that
belongs to the enabler: the list of LwM2M 1.1 is that of 1.1.1, the list of 1.2 is Core 1.2.2 Table E-1. That
table says 1.1 for object 5, of which Appendix E.6 then defines 1.2: a client that means 1.2 has to say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

SUPPORTED_VERSIONS = ("1.0", "1.1", "1.2")
ORDINARY_VERSION = "1.0"

_CORE: dict[str, dict[int, str]] = {
    "1.0": {},
    "1.1": {0: "1.1", 1: "1.1", 3: "1.1", 4: "1.2"},
    "1.2": {0: "1.2", 1: "1.2", 2: "1.1", 3: "1.2", 4: "1.3", 5: "1.1", 21: "2.0"},
}


def default_version(object_id: int, lwm2m_version: str) -> str:
    """The version of an object that was registered without ``ver`` by a client of that LwM2M version."""
    return _CORE.get(lwm2m_version, {}).get(object_id, ORDINARY_VERSION)


def with_defaults(objects: Mapping[int, str | None], lwm2m_version: str) -> Mapping[int, str]:
    """Every registered object with the version that counts. Not to be changed: equal lists share it."""
    return _with_defaults(tuple(objects.items()), lwm2m_version)


@lru_cache(maxsize=512)
def _with_defaults(objects: tuple[tuple[int, str | None], ...], lwm2m_version: str) -> dict[int, str]:
    return {
        object_id: default_version(object_id, lwm2m_version) if version is None else version
        for object_id, version in objects
    }
