"""What a client says in Register and Update (OMA Core 1.1.1 §6.2), read with the patience of experience.

The law of this file: what we do not know is kept or ignored, never refused. Refused is only what leaves no
meaning: 4.12 for a version we do not speak, 4.00 for a broken parameter or list, 4.15 for a list in another
format, 4.13 for one too long, 4.09 where 1.2 lets a client ask whether we know its list without it. Whether
a profile is known is the registry's knowledge.

A fleet sends the same object list a thousand times: the result is kept by payload and shared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from appliance.coap.message import (
    BAD_REQUEST,
    CONFLICT,
    PRECONDITION_FAILED,
    REQUEST_ENTITY_TOO_LARGE,
    UNSUPPORTED_CONTENT_FORMAT,
)
from appliance.lwm2m.content_format import LINK, canonical
from appliance.lwm2m.default_versions import SUPPORTED_VERSIONS
from appliance.lwm2m.links import MAX_LINKS_BYTES, Link, LinkFormatError, parse_links
from appliance.lwm2m.operations import ObjectList, Register, Update
from appliance.lwm2m.path import Path, PathError

DEFAULT_LIFETIME_S = 86_400  # §6.2.1 of LwM2M 1.0; a 1.1 client must name it, and some do not
DEFAULT_VERSION = "1.0"
DEFAULT_BINDING = "U"
MAX_PROFILES = 8
MAX_PROFILE_CHARACTERS = 80  # an algorithm of one digit, a colon, and a hash of up to 256 bits in hex
MAX_ENDPOINT_NAME_BYTES = 255  # one Uri-Query option

_MAX_ROOT = 128
_SHARED_PAYLOAD = 4096  # bytes; longer lists are rare and not worth keeping
_SHARED_LISTS = 512
_BINDINGS_1_0 = frozenset("USQ")
_BINDINGS = frozenset("UTSNMHQ")
# Objects of keys: a client must not list them (§6.2.1), some do, and no server may touch them.
_HIDDEN_OBJECTS = frozenset((0, 21, 23))
_VERSION = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,4}))?")
# 1.2.1 §6.2.1: 6:27354b9a is a hash and its algorithm, oma:… and v:… are agreed upon beforehand. The letters
# of a hash are small; some write them large, and they mean the same.
_PROFILE = re.compile(r"[0-9]{1,5}:[0-9A-Fa-f]+|(?:oma|v):[A-Za-z0-9-]+")


class RegistrationError(ValueError):
    """What a client asks must be refused with the CoAP ``code``; the message is its diagnosis."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def parse_register(queries: Sequence[str], content_format: int | None, payload: bytes) -> Register:
    """A Register from its Uri-Query options and payload (§6.2.1); raises ``RegistrationError``."""
    endpoint_name = lifetime = version = binding = sms = None
    queue = False
    profiles: tuple[str, ...] = ()
    parameters: list[tuple[str, str | None]] | None = None
    for query in queries:
        name, equals, value = query.partition("=")
        if name == "ep":
            if endpoint_name is not None and endpoint_name != value:
                raise RegistrationError(BAD_REQUEST, "ep is given twice with different names")
            endpoint_name = value
        elif name == "lt":
            lifetime = lifetime or value
        elif name == "lwm2m":
            version = version or value
        elif name == "b":
            binding = binding or value
        elif name == "sms":
            sms = sms or value
        elif name == "Q":
            queue = True
        else:
            if name == "pid":
                profiles = _profiles(profiles, value)
            if parameters is None:
                parameters = []
            parameters.append((name, value if equals else None))
    version = _version(version) if version is not None else DEFAULT_VERSION
    if not endpoint_name:
        if version == "1.0":
            raise RegistrationError(BAD_REQUEST, "ep is missing: LwM2M 1.0 requires an endpoint name")
        endpoint_name = None
    elif not endpoint_name.isprintable() or len(endpoint_name.encode()) > MAX_ENDPOINT_NAME_BYTES:
        raise RegistrationError(BAD_REQUEST, "ep must be printable text of at most 255 bytes")
    if binding:
        letters, queue_letter = _binding(binding, version)
        queue = queue or queue_letter
    else:
        letters = DEFAULT_BINDING
    return Register(
        endpoint_name,
        _lifetime(lifetime) if lifetime is not None else DEFAULT_LIFETIME_S,
        version,
        letters,
        queue,
        sms.removeprefix("+") if sms else None,
        _registered_objects(content_format, payload, version, bool(profiles)),
        tuple(parameters) if parameters is not None else (),
        profiles,
    )


_UNCHANGED = Update()


def parse_update(queries: Sequence[str], content_format: int | None, payload: bytes) -> Update:
    """An Update from its Uri-Query options and payload (§6.2.2); raises ``RegistrationError``.

    Without either it only refreshes the lifetime. What depends on the registration (its LwM2M version, its
    root) is settled by `settle_update`.
    """
    if not queries and not payload:
        return _UNCHANGED
    lifetime = binding = queue = sms = objects = None
    profiles: tuple[str, ...] = ()
    parameters: list[tuple[str, str | None]] | None = None
    for query in queries:
        name, equals, value = query.partition("=")
        if name == "lt":
            lifetime = lifetime or value
        elif name == "b":
            binding = binding or value
        elif name == "sms":
            sms = sms or value
        elif name == "Q":
            queue = True
        else:
            if name == "pid":
                profiles = _profiles(profiles, value)
            if parameters is None:
                parameters = []
            parameters.append((name, value if equals else None))
    letters = None
    if binding:
        letters, queue_letter = _binding(binding, None)
        queue = True if queue or queue_letter else None
    if payload:
        _check_list(content_format, payload)
        objects = read_object_list(payload)
    return Update(
        _lifetime(lifetime) if lifetime is not None else None,
        letters,
        queue,
        sms.removeprefix("+") if sms else None,
        objects,
        tuple(parameters) if parameters is not None else (),
        profiles,
    )


def settle_update(update: Update, version: str, registered: ObjectList) -> Update:
    """An Update in the light of the registration it belongs to; raises ``RegistrationError``.

    For a 1.0 client ``b`` must be one of 1.0, and ``b`` without Q ends queue mode; from 1.1 on the absence
    of Q changes nothing. A list that does not say where the root is keeps the root and ``ct`` of before.
    """
    binding, objects = update.binding, update.objects
    if binding is not None and version == "1.0":
        _binding(binding, version)
        if update.queue_mode is None:
            update = replace(update, queue_mode=False)
    if objects is not None and not objects.root_given and (registered.root or registered.content_formats):
        kept = _kept_object_list(objects.payload, registered.root, registered.content_formats)
        update = replace(update, objects=kept)
    return update


def read_object_list(payload: bytes) -> ObjectList:
    """The object list of a payload in link format; raises ``RegistrationError`` (4.00)."""
    return _kept_object_list(payload, "", ())


def object_list_to_json(objects: ObjectList) -> Any:
    """What must be stored of an object list, for `object_list_from_json`: the payload as text, mostly."""
    text = objects.payload.decode()
    if objects.root_given or not (objects.root or objects.content_formats):
        return text
    return [text, objects.root, list(objects.content_formats)]


def object_list_from_json(stored: Any) -> ObjectList:
    """Takes back what `object_list_to_json` gave."""
    if isinstance(stored, str):
        return read_object_list(stored.encode())
    text, root, content_formats = stored
    return _kept_object_list(text.encode(), root, tuple(content_formats))


def _registered_objects(
    content_format: int | None, payload: bytes, version: str, profile: bool
) -> ObjectList:
    if not payload:
        if profile:
            return read_object_list(b"")  # 1.2 §6.2.1: whether the profile is known is not decided here
        code = CONFLICT if version >= "1.2" else BAD_REQUEST
        raise RegistrationError(code, "the list of objects is missing: register with it")
    _check_list(content_format, payload)
    return read_object_list(payload)


def _check_list(content_format: int | None, payload: bytes) -> None:
    if content_format is not None and content_format != LINK:
        raise RegistrationError(UNSUPPORTED_CONTENT_FORMAT, "the list of objects must be in link format (40)")
    if len(payload) > MAX_LINKS_BYTES:
        raise RegistrationError(REQUEST_ENTITY_TOO_LARGE, f"a list has at most {MAX_LINKS_BYTES} bytes")


def _profiles(known: tuple[str, ...], text: str) -> tuple[str, ...]:
    """The profiles of ``pid``: one, or several in quotes with commas; what has no form of one is left out."""
    found = list(known)
    for one in text.strip('"').split(","):
        one = one.strip()
        if len(one) > MAX_PROFILE_CHARACTERS or _PROFILE.fullmatch(one) is None:
            continue
        found.append(one.lower() if one[0].isdigit() else one)
    return tuple(dict.fromkeys(found))[:MAX_PROFILES]


def _version(text: str) -> str:
    bare = text.strip('"')
    if bare in SUPPORTED_VERSIONS:
        return bare
    raise RegistrationError(PRECONDITION_FAILED, "this server speaks LwM2M 1.0, 1.1 and 1.2")


def _lifetime(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise RegistrationError(BAD_REQUEST, "lt must be a whole number of seconds, 0 for no end")


def _binding(text: str, version: str | None) -> tuple[str, bool]:
    """The letters without Q, and whether Q was there; ``version`` None checks against all versions."""
    letters = text.strip('"')
    if not _BINDINGS.issuperset(letters):
        raise RegistrationError(BAD_REQUEST, "b must consist of the letters U, T, S, N, M, H and Q")
    if version == "1.0" and not _BINDINGS_1_0.issuperset(letters):
        raise RegistrationError(BAD_REQUEST, "b must consist of the letters U, S and Q in LwM2M 1.0")
    return letters.replace("Q", "") or DEFAULT_BINDING, "Q" in letters


def _kept_object_list(payload: bytes, root: str, content_formats: tuple[int, ...]) -> ObjectList:
    """Shared when it is short: a stranger must not fill the cache with lists of 64 kB."""
    if len(payload) > _SHARED_PAYLOAD:
        return _object_list(payload, root, content_formats)
    return _shared_object_list(payload, root, content_formats)


@lru_cache(maxsize=_SHARED_LISTS)
def _shared_object_list(payload: bytes, root: str, content_formats: tuple[int, ...]) -> ObjectList:
    return _object_list(payload, root, content_formats)


def _object_list(payload: bytes, root: str, content_formats: tuple[int, ...]) -> ObjectList:
    """Read the list; ``root`` and ``content_formats`` hold where it does not name its root."""
    try:
        links = parse_links(payload)
    except LinkFormatError as error:
        raise RegistrationError(BAD_REQUEST, f"the list of objects cannot be read: {error}") from None
    root_link = _root_link(links)
    if root_link is not None:
        root, content_formats = _bare_root(root_link.target), _content_formats(root_link)
    objects: dict[int, str | None] = {}
    by_instance: dict[int, str] = {}
    instances: dict[Path, None] = {}
    prefix = f"{root}/"
    for link in links:
        target = link.target
        if not target.startswith(prefix):
            continue
        try:
            path = Path.parse(target[len(root) :])
        except PathError:
            continue
        if not path or path[0] in _HIDDEN_OBJECTS:
            continue
        version = _object_version(link) if link.attributes else None
        if len(path) == 1:
            objects[path[0]] = version or objects.get(path[0])
            continue
        objects.setdefault(path[0], None)
        if version is not None:
            by_instance.setdefault(path[0], version)
        # A resource in the list is not foreseen, but its instance must be there then.
        instances[path if len(path) == 2 else Path(path[0], path[1])] = None
    for object_id, version in by_instance.items():
        objects[object_id] = objects[object_id] or version
    return ObjectList(root, objects, tuple(instances), content_formats, payload, root_link is not None)


def _root_link(links: Sequence[Link]) -> Link | None:
    """The link that says where the objects are: by ``rt``, else the bare root, which may carry ``ct``."""
    for link in links:
        for name, value in link.attributes:
            if name == "rt" and value is not None and "oma.lwm2m" in value.split():
                return link if _may_be_root(link.target) else None
    for link in links:
        if link.target == "/":
            return link
    return None


def _may_be_root(target: str) -> bool:
    """An alternate path has no numeric segment (T §6.4.1): it could not be told from a path of ids."""
    if len(target) > _MAX_ROOT:
        return False
    return not any(part.isascii() and part.isdigit() for part in target.split("/"))


def _bare_root(target: str) -> str:
    root = target.strip("/")
    return f"/{root}" if root else ""


def _content_formats(link: Link) -> tuple[int, ...]:
    numbers: dict[int, None] = {}
    for word in (link.get("ct") or "").split():
        if word.isascii() and word.isdigit() and len(word) <= 5:
            numbers[canonical(int(word))] = None
    return tuple(numbers)


def _object_version(link: Link) -> str | None:
    match = _VERSION.fullmatch(link.get("ver") or "")
    return f"{int(match[1])}.{int(match[2] or 0)}" if match is not None else None
