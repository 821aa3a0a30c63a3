"""EST over CoAPs (RFC 9148): what a device asks of the certificate authority, as operations.

``/.well-known/est`` and its short form ``/est``: GET crts for the certificate of the authority, POST sen for
a first certificate, POST sren for the next one. There is no att, because nothing has to stand in a request,
and no skg or skc, because a private key is best made where it stays. Only over DTLS, and only for who has
proved to be somebody (§3): a stranger is not even told what there is.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from appliance.coap import message as coap
from appliance.southbound.exchanges import Reply, Source

PKCS7_CERTS: Final = 281  # application/pkcs7-mime;smime-type=certs-only, RFC 9148 §9.1
PKCS10: Final = 286  # application/pkcs10
PKIX_CERT: Final = 287  # application/pkix-cert, one certificate in DER

LINKS: Final = (
    b',</est/crts>;rt="ace.est.crts";ct="281 287"'
    b',</est/sen>;rt="ace.est.sen";ct="281 287"'
    b',</est/sren>;rt="ace.est.sren";ct="281 287"'
)


class AuthorityCertificates(NamedTuple):
    """GET /crts: the certificates to believe, in a content format."""

    content_format: int


class Enrol(NamedTuple):
    """POST /sen, or with ``renews`` /sren: a certificate for a PKCS #10 request, in a content format."""

    request: bytes
    renews: bool
    content_format: int


EstOperation = AuthorityCertificates | Enrol


class EnrolmentUplink(Protocol):
    """Who answers EST; each operation exactly once, at once or later. May not raise."""

    def enrol(self, operation: EstOperation, source: Source, reply: Reply) -> None: ...


class EstRefused(ValueError):
    """What is asked must be refused with the CoAP ``code``; the message is its diagnosis."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def is_for(source: Source) -> bool:
    """Whether EST is there for whoever asks."""
    return source.bearer == "DTLS" and source.identity is not None


def parse(
    name: str, code: int, content_format: int | None, accept: int | None, payload: bytes
) -> EstOperation:
    """The operation that a request to the resource ``name`` asks for. Raises EstRefused."""
    match name:
        case "crts":
            if code != coap.GET:
                raise EstRefused(coap.METHOD_NOT_ALLOWED, "GET fetches the authority's certificate")
            return AuthorityCertificates(_wanted(accept))
        case "sen" | "sren":
            if code != coap.POST:
                raise EstRefused(coap.METHOD_NOT_ALLOWED, "POST asks for a certificate")
            if content_format not in (PKCS10, None):
                raise EstRefused(
                    coap.UNSUPPORTED_CONTENT_FORMAT, f"a PKCS #10 request is wanted ({PKCS10}), in DER"
                )
            if not payload:
                raise EstRefused(coap.BAD_REQUEST, "the certificate signing request is missing")
            return Enrol(bytes(payload), name == "sren", _wanted(accept))
        case _:
            raise EstRefused(coap.NOT_FOUND, "not offered; there are crts, sen and sren")


def _wanted(accept: int | None) -> int:
    """The content format of the answer; who has no wish gets certs-only (RFC 9148 §4.3)."""
    if accept is None:
        return PKCS7_CERTS
    if accept not in (PKCS7_CERTS, PKIX_CERT):
        raise EstRefused(coap.NOT_ACCEPTABLE, f"there are {PKCS7_CERTS} and {PKIX_CERT}")
    return accept
