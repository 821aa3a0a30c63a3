"""Routes of the own certificate authority, and of those of other people that are believed."""

from __future__ import annotations

from typing import Any, Final

from appliance.northbound.api_vault import iso, trust_of
from appliance.northbound.routes import Answer, Request, Routes
from appliance.vault.anchors import Anchor
from appliance.vault.provisioning import pem

routes = Routes()

PEM_FILE: Final = "application/x-pem-file"


@routes.route(
    "GET",
    "/authority",
    scope="read",
    summary="The own authority and the server's certificate",
    answer="Authority",
)
def get_authority(request: Request) -> Answer:
    authority = trust_of(request).authority
    authority.told_to_client(3)  # made at the first need
    facts, server = authority.facts, authority.server("dtls", []).facts
    return Answer(
        {
            "subject": facts.subject,
            "not_after": iso(facts.not_after),
            "fingerprint": facts.fingerprint,
            "certificate_pem": authority.certificate_pem.decode("ascii"),
            "server": {
                "names": list(server.names),
                "not_after": iso(server.not_after),
                "fingerprint": server.fingerprint,
                "public_key_pem": pem("PUBLIC KEY", server.spki),
            },
        }
    )


@routes.route(
    "GET",
    "/authority/crl",
    scope="read",
    summary="The list of revoked certificates (RFC 5280 §5), in PEM",
    media_type=PEM_FILE,
)
def get_crl(request: Request) -> Answer:
    return Answer(trust_of(request).authority.crl_pem(), content_type=PEM_FILE)


@routes.route(
    "POST",
    "/authority/sign",
    scope="admin",
    summary="Sign a certificate request for a device; a device the vault knows may use it at once",
    body="SignRequest",
    answer="SignedCertificate",
    about="devices",
)
def sign_request(request: Request) -> Answer:
    trust, body = trust_of(request), request.body
    # One that the vault does not know is for who may do so with every device, and looks like a hidden one.
    request.reach.require(body["endpoint_name"], "admin")
    certificate = trust.register.sign(
        body["endpoint_name"], body["csr_pem"].encode("utf-8", "replace"), request.by
    )
    text = pem("CERTIFICATE", certificate)
    return Answer(
        {"certificate_pem": text, "chain_pem": text + trust.authority.certificate_pem.decode("ascii")}
    )


@routes.route(
    "GET",
    "/authority/anchors",
    scope="read",
    summary="Authorities of other people whose devices are let in",
    answer="Anchors",
)
def list_anchors(request: Request) -> Answer:
    return Answer({"anchors": [_anchor(one) for one in trust_of(request).authority.anchors()]})


@routes.route(
    "POST",
    "/authority/anchors",
    scope="admin",
    summary="Believe the authorities in a PEM or DER file: all of them, or none",
    upload=PEM_FILE,
    also_taken=("application/pkix-cert", "application/x-x509-ca-cert", "application/octet-stream"),
    answer="Anchors",
    status=201,
)
def add_anchors(request: Request) -> Answer:
    trust = trust_of(request)
    added = trust.authority.add_anchors(request.body)
    for one in added:
        trust.vault.note(request.by, f"authority trusted: {one.facts.subject} {one.facts.fingerprint}")
    return Answer({"anchors": [_anchor(one) for one in added]}, 201)


@routes.route(
    "DELETE",
    "/authority/anchors/{fingerprint}",
    scope="admin",
    summary="Believe an authority no longer; by the SHA-256 of its certificate",
    status=204,
)
def remove_anchor(request: Request) -> Answer:
    trust = trust_of(request)
    gone = trust.authority.remove_anchor(request.parameters["fingerprint"])
    trust.vault.note(
        request.by, f"authority trusted no longer: {gone.facts.subject} {gone.facts.fingerprint}"
    )
    return Answer(status=204)


def _anchor(one: Anchor) -> dict[str, Any]:
    return {
        "subject": one.facts.subject,
        "not_after": iso(one.facts.not_after),
        "fingerprint": one.facts.fingerprint,
        "certificate_pem": one.certificate_pem,
        "added_at": iso(one.added_at),
    }
