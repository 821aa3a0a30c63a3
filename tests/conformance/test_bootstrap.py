"""Bootstrap interface: cases 0 to 12; and cases 401 to 405 but for TLS."""

from __future__ import annotations

import cbor2
import pytest
from aiocoap.numbers import codes
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tests.conformance.bootstrapping import TLV, Bootstrapping
from tests.conformance.unit import Unit, until
from tests.southbound.dtls.client import Client as DtlsClient

PKCS10, PKIX_CERT = 286, 287


def der_of(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def test_int_0_client_initiated_bootstrap(unit: Unit) -> None:
    unit.add("int-0", plan="objects")
    client, wire = Bootstrapping("int-0"), unit.wire()
    assert client.bootstrap(wire) == [
        "GET /",
        "DELETE /0",
        "DELETE /1",
        "PUT /0",
        "PUT /1",
        "GET /1",
        "POST /bs",
    ]
    assert client.value("/0/1/0") == f"coap://127.0.0.1:{unit.house.coap_port}".encode()
    assert (client.value("/0/1/2"), client.value("/0/1/10")) == (b"\3", b"\1")
    assert (client.value("/1/0/0"), client.value("/1/0/1"), client.value("/1/0/7")) == (
        b"\1",
        b"\1\x2c",
        b"U",
    )
    session = unit.session("int-0")
    assert session["state"] == "finished"
    assert [step["path"] for step in session["steps"] if step["what"] == "Write"] == ["/0", "/1"]
    # The list of 1.0 begins otherwise, and its bootstrap account may stand anywhere.
    old = Bootstrapping("int-0", account=4, version="1.0")
    old.objects[(0, 0)] = {(10,): b"\1"}
    assert old.bootstrap(wire)[0] == "GET /"
    assert sorted(old.objects) == [(0, 0), (0, 4), (1, 0), (3, 0)]
    assert unit.session("int-0")["state"] == "finished"


def test_int_1_client_initiated_bootstrap_full_psk(unit: Unit) -> None:
    flashed = unit.add("int-1", "psk", bootstrap=True)["bootstrap"]
    client = Bootstrapping("int-1")
    client.bootstrap(unit.psk_of(flashed))
    assert client.value("/0/1/0") == f"coaps://127.0.0.1:{unit.house.coaps_port}".encode()
    assert client.value("/0/1/2") == b"\0"
    assert client.value("/0/1/3").hex() != flashed["psk_identity_hex"]
    key = client.value("/0/1/5")
    assert (len(key), key.hex() != flashed["psk_key_hex"]) == (16, True)
    # It registers with what it was given, at once.
    client.register(unit.given(client))
    assert unit.is_registered("int-1")


def test_int_2_client_initiated_bootstrap_full_certificate(unit: Unit) -> None:
    flashed = unit.add("int-2", "x509", bootstrap=True)["bootstrap"]
    client = Bootstrapping("int-2")
    client.bootstrap(unit.certificate_of(flashed))
    assert client.value("/0/1/2") == b"\2"
    given = x509.load_der_x509_certificate(client.value("/0/1/3"))
    assert given.subject.rfc4514_string() == "CN=int-2"
    assert client.value("/0/1/3") != der_of(flashed["certificate_pem"])
    # It registers with what it was given; the server shows the very certificate that it named.
    wire = unit.given_dtls(client)
    assert wire.dtls.server_chain[0] == client.value("/0/1/4")
    client.register(wire)
    assert unit.is_registered("int-2")
    # A second bootstrap brings another one, and the first opens no more.
    old = client.value("/0/1/3"), client.value("/0/1/5")
    client.bootstrap(unit.certificate_of(flashed))
    client.register(unit.given(client))
    wanted = [("bootstrap", "active"), ("server", "revoked"), ("server", "active")]
    until(
        lambda: [(one["purpose"], one["state"]) for one in unit.device("int-2")["credentials"]],
        lambda states: states == wanted,
    )
    with pytest.raises(OSError):
        unit.certificate(*old)


def test_int_4_bootstrap_delete(unit: Unit) -> None:
    unit.add("int-4", plan="objects")
    client, wire = Bootstrapping("int-4", account=1), unit.wire()
    client.bootstrap(wire)
    assert sorted(client.objects) == [(0, 0), (0, 1), (1, 0), (3, 0)]
    client.objects[(0, 0)][(0,)] = b"coap://somewhere.else"
    heard = client.bootstrap(wire)
    assert heard == ["GET /", "DELETE /0", "DELETE /1", "PUT /0", "PUT /1", "GET /1", "POST /bs"]
    # Its bootstrap account has survived, and what was deleted was written anew.
    assert sorted(client.objects) == [(0, 0), (0, 1), (1, 0), (3, 0)]
    assert client.value("/0/0/0").startswith(b"coap://127.0.0.1:")
    assert unit.session("int-4")["state"] == "finished"


def test_int_5_server_initiated_bootstrap(unit: Unit) -> None:
    unit.add("int-5")
    client, wire = Bootstrapping("int-5"), unit.wire()
    client.bootstrap(wire)
    client.register(wire)
    unit.ask("POST", "/vault/devices/int-5/rebootstrap")
    client.heard.clear()
    client.refuses = lambda what: codes.CHANGED if what == "POST /1/0/9" else None
    client.serve(wire)
    assert client.heard == ["POST /1/0/9"]
    client.bootstrap(wire)
    # It comes back, and is not asked once more.
    client.register(wire)
    assert unit.session("int-5")["state"] == "finished"
    until(lambda: unit.device("int-5"), lambda seen: seen["rebootstrap_asked_at"] is None)
    assert unit.is_registered("int-5")


def test_int_7_fallback_to_bootstrap(unit: Unit) -> None:
    flashed = unit.add("int-7", "psk", bootstrap=True)["bootstrap"]
    client = Bootstrapping("int-7")
    client.bootstrap(unit.psk_of(flashed))
    client.register(unit.given(client))
    (known,) = [one for one in unit.device("int-7")["credentials"] if one["purpose"] == "server"]
    unit.ask("POST", "/vault/devices/int-7/revoke", {"credential_id": known["id"], "reason": "lost"})
    old = client.value("/0/1/3"), client.value("/0/1/5")
    # Its server does not let it in any more, so it turns to its bootstrap server.
    with pytest.raises(OSError):
        unit.psk(*old, patience_s=2.0)
    client.bootstrap(unit.psk_of(flashed))
    assert (client.value("/0/1/3"), client.value("/0/1/5")) != old
    client.register(unit.given(client))
    assert unit.is_registered("int-7")


def test_int_8_bootstrap_read(unit: Unit) -> None:
    unit.add("int-8", plan="access")
    client, wire = Bootstrapping("int-8"), unit.wire()
    heard = client.bootstrap(wire)
    assert heard == ["GET /", "PUT /0/1", "PUT /1/0", "PUT /2/0", "GET /1", "GET /2", "POST /bs"]
    assert (client.value("/2/0/0"), client.value("/2/0/1")) == (b"\3", b"\0")
    assert (client.value("/2/0/2/0"), client.value("/2/0/2/1")) == (b"\1", b"\x0f")
    assert int.from_bytes(client.value("/2/0/3"), "big") == 65535
    read = [step for step in unit.session("int-8")["steps"] if step["what"] == "Read"]
    assert [(step["path"], step["text"]) for step in read] == [
        ("/1", "As written."),
        ("/2", "As written."),
    ]


def test_int_9_bootstrap_and_configuration_consistency(unit: Unit) -> None:
    unit.add("int-9")
    client, wire = Bootstrapping("int-9"), unit.wire()
    # It has everything and still finds it inconsistent: that is no success, and nothing is written twice.
    client.finishes = [codes.NOT_ACCEPTABLE]
    heard = client.bootstrap(wire)
    client.serve(wire)
    assert heard == ["GET /", "PUT /0/1", "PUT /1/0", "POST /bs", "GET /"]
    session = unit.session("int-9")
    assert session["state"] == "failed"
    assert "inconsistent (4.06 to Finish)" in session["text"]
    # It lost what it was written: that is found out, written once more, and now it is right.
    client.objects = {(0, 0): {(1,): b"\1"}, (3, 0): {}}
    client.ask(wire, codes.POST, "bs", ("ep=int-9", "pct=11542"))
    while client.heard[-1:] != ["PUT /1/0"]:
        client.serve(wire)
    del client.objects[(1, 0)]
    assert client.serve(wire) == codes.NOT_ACCEPTABLE
    client.heard.clear()
    while client.serve(wire) is None:
        pass
    assert client.heard == ["GET /", "PUT /1", "POST /bs"]
    assert unit.session("int-9")["state"] == "finished"


def test_int_10_client_initiated_bootstrap_full_est(unit: Unit) -> None:
    flashed = unit.add("int-10", "x509", bootstrap=True, plan="est")["bootstrap"]
    client, wire = Bootstrapping("int-10"), unit.certificate_of(flashed)
    authority = client.ask(wire, codes.GET, "est/crts", accept=PKIX_CERT)
    assert authority.payload == der_of(flashed["authority_pem"])
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "int-10")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(private, hashes.SHA256())
    enrolled = client.ask(
        wire,
        codes.POST,
        "est/sen",
        payload=request.public_bytes(Encoding.DER),
        content_format=PKCS10,
        accept=PKIX_CERT,
    )
    assert (enrolled.code, enrolled.opt.content_format) == (codes.CHANGED, PKIX_CERT)
    client.bootstrap(wire)
    # Its own certificate and key are not among what is written: it has them.
    assert client.value("/0/1/2") == b"\4"
    assert (client.value("/0/1/3"), client.value("/0/1/5")) == (b"", b"")
    secret = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    mine = unit.certificate(enrolled.payload, secret)
    assert mine.dtls.server_chain[0] == client.value("/0/1/4")
    client.register(mine)
    assert unit.is_registered("int-10")


def test_12_int_11_client_initiated_bootstrap_oscore(unit: Unit) -> None:
    flashed = unit.add("int-11", "oscore", bootstrap=True)["bootstrap"]
    client = Bootstrapping("int-11")
    client.objects |= {(0, 0): {(1,): b"\1", (17,): b"\0\x15\0\0"}, (21, 0): {}}
    heard = client.bootstrap(unit.oscore_of(flashed))
    assert heard == ["GET /", "PUT /21/1", "PUT /0/1", "PUT /1/0", "POST /bs"]
    assert client.value("/0/1/0") == f"coap://127.0.0.1:{unit.house.coap_port}".encode()
    assert (client.value("/0/1/2"), client.value("/0/1/17")) == (b"\3", b"\0\x15\0\1")
    assert client.discover((21,)).endswith("</21/0>,</21/1>;ssid=1")
    assert client.value("/21/1/0").hex() != flashed["oscore"]["master_secret"]
    assert unit.session("int-11")["state"] == "finished"
    client.register(unit.given(client))
    assert unit.is_registered("int-11")
    (identity,) = [
        one["identity"] for one in unit.device("int-11")["credentials"] if one["purpose"] == "server"
    ]
    assert unit.device("int-11")["contact"]["text"] == f"Registered over UDP, {identity}."


def test_12_int_12_bootstrap_pack(unit: Unit) -> None:
    unit.add("int-12")
    client, wire = Bootstrapping("int-12", version="1.2"), unit.wire()
    answer = client.ask(wire, codes.GET, "bspack", ("ep=int-12",), accept=112)
    assert (answer.code, answer.opt.content_format) == (codes.CONTENT, 112)
    found, base = {}, ""
    for record in cbor2.loads(answer.payload):  # RFC 8428 §6
        base = record.get(-2, base)
        found[base + record.get(0, "")] = next(record[kind] for kind in (2, 3, 4, 8) if kind in record)
    assert found["/0/2/0"] == f"coap://127.0.0.1:{unit.house.coap_port}"
    assert found["/0/2/10"] == found["/1/0/0"] == 1
    assert client.ask(wire, codes.GET, "bspack", ("ep=int-12",), accept=TLV).code == codes.NOT_ACCEPTABLE
    assert unit.session("int-12")["state"] == "finished"
    # There is no Finish: the next it says is that it is there.
    client.objects[(1, 0)] = {(0,): b"\1", (1,): b"\1\x2c"}
    client.register(wire)
    assert unit.is_registered("int-12")


def test_int_401_udp_channel_security_psk(unit: Unit) -> None:
    flashed = unit.add("int-401", "psk")
    client, wire = Bootstrapping("int-401"), unit.psk_of(flashed)
    client.objects[(1, 0)] = {(0,): b"\1", (1,): b"\1\x2c"}
    client.register(wire)
    assert unit.is_registered("int-401")
    reading = unit.house.asking("POST", "/devices/int-401/operations", {"operation": "Read", "path": "/1"})
    client.serve(wire)
    status, outcome = reading.answer()
    assert status == 200
    assert {one["path"]: one["value"] for one in outcome["values"]} == {"/1/0/0": 1, "/1/0/1": 300}


class Careful(DtlsClient):
    """It goes on only with a server whose certificate is for this name (bad_certificate, RFC 5246 §7.2.2)."""

    wanted = ""

    def second_flight(self) -> None:
        certificate = x509.load_der_x509_certificate(self.server_chain[0])
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if self.wanted in names.get_values_for_type(x509.DNSName):
            super().second_flight()
            return
        self.outgoing.append(self.record(21, 0, b"\2\x2a"))
        self.done = True


def test_int_403_udp_channel_security_certificate_of_another_name(unit: Unit) -> None:
    flashed = unit.add("int-403", "x509")
    client = Bootstrapping("int-403")
    client.objects[(1, 0)] = {(0,): b"\1", (1,): b"\1\x2c"}
    own = unit.ask("GET", "/authority")["server"]["names"]
    Careful.wanted = "server.example.com"
    assert Careful.wanted not in own
    wire = unit.certificate_of(flashed, kind=Careful)
    assert wire.dtls.server_chain[0] == der_of(flashed["server_certificate_pem"])
    assert wire.dtls.write is None  # it sent no key, so nothing was agreed upon
    assert not unit.is_registered("int-403")
    # The server is none the worse for it, and its own name will do.
    Careful.wanted = next(name for name in own if not name.replace(".", "").isdigit() and ":" not in name)
    client.register(unit.certificate_of(flashed, kind=Careful))
    assert unit.is_registered("int-403")


def test_int_405_oscore(unit: Unit) -> None:
    client, wire = Bootstrapping("int-405"), unit.oscore_of(unit.add("int-405", "oscore"))
    client.objects[(1, 0)] = {(0,): b"\1", (1,): b"\1\x2c"}
    client.register(wire)
    assert unit.is_registered("int-405")
    reading = unit.house.asking("POST", "/devices/int-405/operations", {"operation": "Read", "path": "/1"})
    client.serve(wire)
    status, outcome = reading.answer()
    assert status == 200
    assert {one["path"]: one["value"] for one in outcome["values"]} == {"/1/0/0": 1, "/1/0/1": 300}


def test_int_402_udp_channel_security_certificate(unit: Unit) -> None:
    flashed = unit.add("int-402", "x509")
    client, wire = Bootstrapping("int-402"), unit.certificate_of(flashed)
    assert wire.dtls.server_chain[0] == der_of(flashed["server_certificate_pem"])
    client.objects[(1, 0)] = {(0,): b"\1", (1,): b"\1\x2c"}
    client.register(wire)
    assert unit.is_registered("int-402")
