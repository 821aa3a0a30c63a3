"""Operations as CoAP requests: method, options, payload (OMA Transport 1.2.1 §6.4.3), and formats to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from appliance.coap import message as coap
from appliance.coap import options as option
from appliance.lwm2m import content_format as formats
from appliance.lwm2m.bootstrap import bootstrap_formats
from appliance.lwm2m.codecs import encode, encode_paths
from appliance.lwm2m.operations import (
    BootstrapDelete,
    BootstrapDiscover,
    BootstrapFinish,
    BootstrapRead,
    BootstrapWrite,
    Create,
    Delete,
    Discover,
    Execute,
    Observe,
    ObserveComposite,
    Read,
    ReadComposite,
    Write,
    WriteAttributes,
    WriteComposite,
    WriteFile,
)
from appliance.lwm2m.path import Path
from appliance.southbound.client import Client

Composite = ReadComposite | WriteComposite | ObserveComposite
Bootstrapping = BootstrapDiscover | BootstrapRead | BootstrapWrite | BootstrapDelete | BootstrapFinish
Downlink = (
    Read
    | Write
    | WriteFile
    | WriteAttributes
    | Execute
    | Create
    | Delete
    | Discover
    | Observe
    | Composite
    | Bootstrapping
)


class Formats(NamedTuple):
    """One choice of content formats for a request: of its body, and what is asked for (Accept)."""

    sends: int | None = None
    accept: int | None = None


def candidates(client: Client, operation: Downlink, given: int | None) -> Iterator[Formats]:
    """What to try, one after the other, on 4.06 and 4.15 (OMA Core §7.4); ``given`` is then the only one."""
    listed = client.objects.content_formats
    match operation:
        case Read() | Observe() if given is not None:
            return iter((Formats(None, given),))
        case Write() | Create() if given is not None:
            return iter((Formats(given),))
        case ReadComposite() | WriteComposite() | ObserveComposite() if given is not None:
            return iter((Formats(given, given),))
        case Read(path=path) | Observe(path=path):
            return iter(_reading(client.version, listed, client.learned_format, len(path) >= 3))
        case Write():
            chosen = formats.choose(client.version, listed, client.learned_format, operation.path, operation)
        case Create(object_id=object_id):
            chosen = formats.choose(client.version, listed, client.learned_format, Path(object_id), operation)
        case ReadComposite() | WriteComposite() | ObserveComposite():
            pairs = formats.choose_composite(
                client.version,
                listed,
                client.learned_format,
                writes=isinstance(operation, WriteComposite),
                removes=isinstance(operation, WriteComposite) and bool(operation.removed),
            )
            return iter([Formats(sends, accept) for sends, accept in pairs])
        case WriteFile():
            return iter((Formats(formats.OPAQUE),))
        case Discover() | BootstrapDiscover():
            return iter((Formats(None, formats.LINK),))
        case BootstrapWrite():
            chosen = list(bootstrap_formats(client.version, listed, client.learned_format))
        case BootstrapRead():
            numbers = bootstrap_formats(client.version, listed, client.learned_format)
            return iter([Formats(None, number) for number in (*numbers, None)])
        case _:
            return iter((Formats(),))
    return iter([Formats(number) for number in chosen])


@lru_cache(maxsize=512)
def _reading(version: str, listed: tuple[int, ...], learned: int | None, single: bool) -> tuple[Formats, ...]:
    """What to try for a Read or Observe; a fleet shares a few such lists."""
    path = Path(0, 0, 0) if single else Path(0)
    return tuple(
        Formats(None, number) for number in formats.choose(version, listed, learned, path, Read(path))
    )


def encode_request(
    client: Client, operation: Downlink, chosen: Formats
) -> tuple[int, list[tuple[int, bytes]], bytes | memoryview]:
    """Method, options and payload; raises CodecError when the values cannot be encoded."""
    code, path = coap.GET, Path()
    payload: bytes | memoryview = b""
    queries: Mapping[str, str | None] = {}
    sends, accept = chosen
    root = client.root  # bootstrapping never uses the alternate path (OMA Core §6.1.7; trap 48)
    match operation:
        case Read(path=path):
            pass
        case Observe(path=path, attributes=attributes):
            queries = attributes or {}
        case Discover(path=path, depth=depth):
            queries = {} if depth is None else {"depth": str(depth)}
            accept = formats.LINK
        case Write(path=path, reports=reports, replace=replace):
            code = coap.PUT if replace else coap.POST
            sends = sends if sends is not None else formats.TLV
            payload = encode(sends, path, reports, client.model, client.root, prefix=client.prefix)
        case WriteFile(path=path, data=data):
            code, payload = coap.PUT, data
        case WriteAttributes(path=path, attributes=attributes):
            code, queries = coap.PUT, attributes
        case Execute(path=path, arguments=arguments):
            code = coap.POST
            if arguments:
                sends, payload = formats.TEXT, arguments.encode()
        case Create(object_id=object_id, instance_id=instance_id, reports=reports):
            code, path = coap.POST, Path(object_id)
            sends = sends if sends is not None else formats.TLV
            payload = encode(sends, path, reports, client.model, client.root, prefix=client.prefix)
            if not reports and instance_id is not None:
                payload = formats.empty_instance(sends, path.child(instance_id), client.root)
        case Delete(path=path):
            code = coap.DELETE
        case ReadComposite(paths=paths):
            code, payload = coap.FETCH, _paths_body(sends, paths, client.root)
        case ObserveComposite(paths=paths, attributes=attributes):
            code, payload = coap.FETCH, _paths_body(sends, paths, client.root)
            queries = attributes or {}
        case WriteComposite(reports=reports, removed=removed):
            code, accept = coap.IPATCH, None
            sends = sends if sends is not None else formats.SENML_CBOR
            payload = encode(
                sends, path, reports, client.model, client.root, prefix=client.prefix, removed=removed
            )
        case BootstrapDiscover(path=path) | BootstrapRead(path=path):
            root = ""
        case BootstrapWrite(path=path, reports=reports):
            code, root = coap.PUT, ""
            sends = sends if sends is not None else formats.TLV
            payload = encode(sends, path, reports, client.model)
        case BootstrapDelete(path=path):
            code, root = coap.DELETE, ""
        case BootstrapFinish():
            code, root = coap.POST, "/bs"
    composite = isinstance(operation, ReadComposite | WriteComposite | ObserveComposite)
    # A composite names its paths in its body and nowhere else (OMA Transport §6.4.3.1; trap 35).
    options = [] if composite else list(path_options(root, path))
    if sends is not None:
        options.append((option.CONTENT_FORMAT, option.encode_uint(sends)))
    options.extend(
        (option.URI_QUERY, (name if value is None else f"{name}={value}").encode())
        for name, value in queries.items()
    )
    if accept is not None:
        options.append((option.ACCEPT, option.encode_uint(accept)))
    return code, options, payload


def _paths_body(sends: int | None, paths: Sequence[Path], root: str) -> bytes:
    return encode_paths(sends if sends is not None else formats.SENML_CBOR, paths, root)


@lru_cache(maxsize=4096)
def path_options(root: str, path: Path) -> tuple[tuple[int, bytes], ...]:
    """The Uri-Path options of a path below the device's root; a fleet shares them."""
    return tuple((option.URI_PATH, part.encode()) for part in f"{root}{path}".split("/") if part)
