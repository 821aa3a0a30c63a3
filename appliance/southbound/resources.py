"""What devices find here: /rd, /dp, /bs, /est, files under /f, and a list of these (OMA Transport §6.4).

The law of this file: every request gets one answer, now or when the room above has decided.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from appliance.coap import message as coap
from appliance.coap import options as option
from appliance.coap.endpoint import RequestReceived
from appliance.lwm2m import content_format as formats
from appliance.lwm2m.bootstrap import parse_bootstrap_pack_request, parse_bootstrap_request
from appliance.lwm2m.registration import RegistrationError, parse_register, parse_update
from appliance.southbound import est
from appliance.southbound.exchanges import (
    Answering,
    BootstrapUplink,
    Reply,
    ServedFile,
    Source,
    Uplink,
)

log = logging.getLogger(__name__)

_WELL_KNOWN_CORE = b'</rd>;rt="core.rd";ct=40,</dp>;ct="110 112 11544"'
_LINK_FORMAT = ((option.CONTENT_FORMAT, option.encode_uint(formats.LINK)),)
# To read a list of 16 kB takes milliseconds, and who sends it may be nobody: a few hundred such messages in a
# second must not keep us from the devices. A shorter one costs no more than the rest of its message.
_LONG_BYTES = 256
_NO_OBJECTS = b"</>"
_OCTETS = (option.CONTENT_FORMAT, option.encode_uint(formats.OPAQUE))


def serve(
    request: RequestReceived,
    source: Source,
    uplink: Uplink,
    server: Answering,
    files: Callable[[str], ServedFile | None],
    bootstrap: BootstrapUplink | None = None,
    enrolment: est.EnrolmentUplink | None = None,
) -> None:
    """Hand a request up as an operation, or answer it here; never raises.

    Without a ``bootstrap`` this is no bootstrap server, and there is no /bs; without an ``enrolment`` there
    is no /est.
    """
    reply = Reply(server, request)
    message = request.message
    segments: list[str] = []
    queries: list[str] = []
    content_format: int | None = None
    accept: int | None = None
    try:
        for number, value in message.options:
            if number == option.URI_PATH:
                segments.append(value.decode())
            elif number == option.URI_QUERY:
                queries.append(value.decode())
            elif number == option.CONTENT_FORMAT:
                content_format = option.decode_uint(value)
            elif number == option.ACCEPT:
                accept = option.decode_uint(value)
    except UnicodeDecodeError:
        reply.refuse(coap.BAD_OPTION, "Uri-Path or Uri-Query is not UTF-8")
        return
    while segments and segments[-1] == "":
        segments.pop()  # a trailing slash is harmless
    try:
        match segments:
            case ["rd"] if message.code == coap.POST:
                listed = message.payload
                if len(listed) > _LONG_BYTES and not uplink.may_register(_endpoint_name(queries), source):
                    listed = _NO_OBJECTS
                operation = parse_register(queries, content_format, listed)
                uplink.register(operation, source, reply)
            case ["rd", location] if message.code == coap.POST:
                listed = message.payload
                if len(listed) > _LONG_BYTES and not uplink.may_update(location, source):
                    listed = _NO_OBJECTS
                update = parse_update(queries, content_format, listed)
                uplink.update(location, update, source, reply)
            case ["rd", location] if message.code == coap.DELETE:
                uplink.deregister(location, source, reply)
            case ["dp"] if message.code == coap.POST:
                uplink.send(content_format, message.payload, source, reply)
            case ["dp"]:
                reply.refuse(coap.METHOD_NOT_ALLOWED, "POST sends")
            case ["bs"] if bootstrap is not None:
                if message.code != coap.POST:
                    reply.refuse(coap.METHOD_NOT_ALLOWED, "POST asks to be bootstrapped")
                    return
                bootstrap.bootstrap(parse_bootstrap_request(queries), source, reply)
            case ["bspack"] if bootstrap is not None:
                if message.code != coap.GET:
                    reply.refuse(coap.METHOD_NOT_ALLOWED, "GET asks for all of it at once")
                    return
                bootstrap.bootstrap(parse_bootstrap_pack_request(queries, accept), source, reply)
            case ["f", link] if message.code == coap.GET:
                _serve_file(request, server, files(link))
            case ["f", _]:
                reply.refuse(coap.METHOD_NOT_ALLOWED, "GET fetches the file")
            case ["rd"] | ["rd", _]:
                reply.refuse(coap.METHOD_NOT_ALLOWED, "POST registers and updates, DELETE deregisters")
            case [".well-known", "core"] if message.code == coap.GET:
                also = est.LINKS if enrolment is not None and est.is_for(source) else b""
                server.answer(request, coap.CONTENT, _LINK_FORMAT, _WELL_KNOWN_CORE + also)
            case [".well-known", "core"]:
                reply.refuse(coap.METHOD_NOT_ALLOWED)
            case ["est", name] | [".well-known", "est", name] if enrolment is not None:
                if not est.is_for(source):
                    reply.refuse(coap.UNAUTHORIZED, "EST is served over DTLS only")
                    return
                asked = est.parse(name, message.code, content_format, accept, message.payload)
                enrolment.enrol(asked, source, reply)
            case _:
                reply.refuse(coap.NOT_FOUND)
    except est.EstRefused as refused:
        reply.refuse(refused.code, str(refused))
    except RegistrationError as error:
        log.info("a request from %s was refused: %s", request.peer, error)
        reply.refuse(error.code, str(error))


def _endpoint_name(queries: list[str]) -> str | None:
    return next((query[3:] for query in queries if query.startswith("ep=")), None)


def _serve_file(request: RequestReceived, server: Answering, file: ServedFile | None) -> None:
    """A file, block by block; its ETag tells a device that goes on later whether it is still the same.

    Whoever names that ETag has the file, and hears 2.03 (RFC 7252 §5.10.6.2). Not in the middle of a
    transfer: there the ETag says which body the block belongs to.
    """
    if file is None:
        server.answer(request, coap.NOT_FOUND, payload=b"no such file; ask for its new address")
        return
    etag = (option.ETAG, file.etag)
    options = request.message.options
    block = option.find_uint(options, option.BLOCK2)
    if etag in options and (block is None or block >> 4 == 0):
        server.answer(request, coap.VALID, (etag,))
        return
    if file.content_format is not None:
        octets = (option.CONTENT_FORMAT, option.encode_uint(file.content_format))
    else:
        octets = _OCTETS
    server.answer(request, coap.CONTENT, (etag, octets), file.data)
