"""The API of trust over a real vault: devices and their keys, lists, labels, permissions, the authority."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from tests.northbound.conftest import Browser, Reply, Stand

Build = Callable[..., Stand]
KEY = "00112233445566778899aabbccddeeff"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def here(stand: Build) -> Stand:
    return stand()


@pytest.fixture
def admin(here: Stand) -> Browser:
    return here.browser("read", "operate", "admin")


def add(browser: Browser, name: str, **more: Any) -> dict[str, Any]:
    """A device; the whole answer."""
    reply = browser.api("POST", "/vault/devices", {"endpoint_name": name, **more})
    assert reply.status == 201, reply.data
    found: dict[str, Any] = reply.json
    return found


def names(browser: Browser, query: str = "") -> list[str]:
    rows = browser.api("GET", f"/vault/devices{query}").json["devices"]
    return [one["endpoint_name"] for one in rows]


def audited(here: Stand) -> list[str]:
    return [one.what for one in reversed(here.trust.vault.audit())]


def message(reply: Reply) -> str:
    return str(reply.json["error"]["message"])


# One device


def test_a_key_is_made_and_shown_this_once(here: Stand, admin: Browser) -> None:
    made = add(admin, "meter-1", label="Cellar", groups=["house"], tags=["water"])
    told = made["provisioning"]
    assert told["security"] == "psk" and told["psk_identity"] == "meter-1"
    assert told["uri"].startswith("coaps://") and len(bytes.fromhex(told["psk_key_hex"])) == 16
    assert set(told["commands"]) == {"leshan", "anjay", "wakaama", "zephyr"}
    assert all(told["psk_key_hex"] in command for command in told["commands"].values())
    (credential,) = here.trust.vault.device("meter-1").credentials  # type: ignore[union-attr]
    assert here.trust.vault.secret(credential.id, "psk_key").hex() == told["psk_key_hex"]

    key = told["psk_key_hex"].encode()
    reader = here.browser("read", "operate", "admin")
    for path in (
        *("/vault/devices", "/vault/devices/meter-1", "/vault/audit", "/vault/export", "/vault/labels.svg"),
        *("/vault/export?format=json", "/vault/devices/meter-1/label.svg", "/openapi.json"),
    ):
        reply = reader.api("GET", path)
        assert reply.status == 200 and key not in reply.data.lower(), path


@pytest.mark.parametrize("security", ["psk", "rpk", "x509", "oscore", "nosec"])
@pytest.mark.parametrize("bootstrap", [False, True])
def test_each_security_gives_all_that_a_client_needs(admin: Browser, security: str, bootstrap: bool) -> None:
    if security == "nosec" and bootstrap:
        return
    made = add(admin, "meter-1", security=security, bootstrap=bootstrap)
    told = made["provisioning"]
    if bootstrap:
        assert "psk_key_hex" not in told and told["bootstrap_uri"]
        told = told["bootstrap"]
    purposes = [one["purpose"] for one in made["credentials"]]
    assert purposes == ([] if security == "nosec" else ["bootstrap" if bootstrap else "server"])
    assert made["nosec"] == (security == "nosec")
    if security in ("rpk", "x509"):
        private = load_pem_private_key(told["private_key_pem"].encode(), None)
        shape = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        own = private.public_key().public_bytes(*shape)
        if security == "rpk":
            assert load_pem_public_key(told["public_key_pem"].encode()).public_bytes(*shape) == own
            load_pem_public_key(told["server_public_key_pem"].encode())
        else:
            certificate = x509.load_pem_x509_certificate(told["certificate_pem"].encode())
            assert certificate.public_key().public_bytes(*shape) == own
            authority = x509.load_pem_x509_certificate(told["authority_pem"].encode())
            certificate.verify_directly_issued_by(authority)
            x509.load_pem_x509_certificate(told["server_certificate_pem"].encode()).verify_directly_issued_by(
                authority
            )
    elif security == "oscore":
        assert len(bytes.fromhex(told["oscore"]["master_secret"])) == 16
        assert told["uri"].startswith("coap://")


def test_what_the_device_has_already_is_taken(here: Stand, admin: Browser) -> None:
    made = add(admin, "meter-1", psk_identity_hex="00ff", psk_key_hex=KEY)
    assert made["credentials"][0]["identity"] == "psk:0x00ff"
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    made = add(admin, "meter-2", security="rpk", public_key_pem=spki)
    assert "private_key_pem" not in made["provisioning"]
    body = {"security": "x509", "csr_pem": request_for("meter-3", key)}
    reply = admin.api("POST", "/vault/devices", {"endpoint_name": "meter-3", **body})
    assert (reply.status, "needs a key of its own" in message(reply)) == (409, True), "it is that of meter-2"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "endpoint_name"),
        ({"endpoint_name": ""}, 400, "endpoint_name"),
        ({"endpoint_name": "a\nb"}, 400, "cannot be printed"),
        ({"endpoint_name": "taken"}, 409, "there is a device taken already"),
        ({"endpoint_name": "m", "security": "des"}, 400, "security"),
        ({"endpoint_name": "m", "psk_key_hex": "00"}, 400, "16 to 64 bytes"),
        ({"endpoint_name": "m", "psk_key_hex": "xx"}, 400, "hex"),
        ({"endpoint_name": "m", "psk_key_hex": KEY * 5}, 400, "not 80"),
        ({"endpoint_name": "m", "psk_identity": "taken"}, 409, "taken already, by taken"),
        ({"endpoint_name": "m", "security": "rpk", "public_key_pem": "nonsense"}, 400, "public key"),
        ({"endpoint_name": "m", "security": "x509", "certificate_pem": "nonsense"}, 400, "certificate"),
        ({"endpoint_name": "m", "security": "x509", "csr_pem": "nonsense"}, 400, "request"),
        ({"endpoint_name": "m", "groups": ["a,b"]}, 400, "comma"),
        ({"endpoint_name": "m", "plan": "nowhere"}, 404, "nowhere"),
        ({"endpoint_name": "m", "colour": "red"}, 400, "colour"),
    ],
)
def test_a_slip_is_told_and_nothing_is_added(
    here: Stand, admin: Browser, body: dict[str, Any], status: int, words: str
) -> None:
    add(admin, "taken")
    before = audited(here)
    reply = admin.api("POST", "/vault/devices", body)
    assert (reply.status, words in message(reply)) == (status, True), reply.data
    assert names(admin) == ["taken"] and audited(here) == before


def test_the_life_of_a_key(here: Stand, admin: Browser) -> None:
    first = add(admin, "meter-1")["provisioning"]["psk_key_hex"]
    reply = admin.api("POST", "/vault/devices/meter-1/rotate")
    second = reply.json["provisioning"]
    assert reply.status == 200 and second["psk_key_hex"] != first
    states = {one["identity"]: one["state"] for one in reply.json["credentials"]}
    assert states == {"psk:meter-1": "retiring", f"psk:{second['psk_identity']}": "staged"}
    reply = admin.api("POST", "/vault/devices/meter-1/rotate", {"how": "now", "psk_key_hex": KEY})
    assert reply.json["provisioning"]["psk_key_hex"] == KEY
    assert [one["state"] for one in reply.json["credentials"]] == ["revoked", "revoked", "active"]

    living = reply.json["credentials"][-1]["id"]
    reply = admin.api("POST", "/vault/devices/meter-1/revoke", {"reason": "stolen", "credential_id": living})
    assert reply.json["credentials"][-1]["state"] == "revoked"
    assert reply.json["credentials"][-1]["reason"] == "stolen"
    reply = admin.api("POST", "/vault/devices/meter-1/reinstate")
    assert reply.json["credentials"][-1]["state"] == "active"
    assert admin.api("POST", "/vault/devices/meter-1/rebootstrap").json == {"asked": True}
    assert admin.api("GET", "/vault/devices/meter-1").json["rebootstrap_asked_at"]
    assert admin.api("DELETE", "/vault/devices/meter-1").status == 204
    for method, path in (
        *(("GET", ""), ("DELETE", ""), ("GET", "/label.svg")),
        *(("POST", "/rotate"), ("POST", "/revoke"), ("POST", "/reinstate"), ("POST", "/rebootstrap")),
    ):
        assert admin.api(method, f"/vault/devices/meter-1{path}").status == 404
    said = audited(here)
    assert len(said) == 7 and "stolen" in said[3]
    assert not any(key in line for key in (first, second["psk_key_hex"], KEY) for line in said)
    answer = admin.api("GET", "/vault/audit?limit=3").json
    assert answer["sound"] and [one["what"] for one in answer["entries"]] == said[:-4:-1]
    older = admin.api("GET", f"/vault/audit?before={answer['entries'][-1]['seq']}").json["entries"]
    assert [one["what"] for one in older] == said[-4::-1]


def test_what_is_said_of_a_device_is_changed_and_looked_for(admin: Browser) -> None:
    for number in range(5):
        add(admin, f"meter-{number}", groups=["even" if number % 2 == 0 else "odd"], tags=[f"t{number}"])
    reply = admin.api("PATCH", "/vault/devices/meter-1", {"label": "Attic", "nosec": True, "tags": ["x"]})
    assert (reply.json["label"], reply.json["nosec"], reply.json["groups"]) == ("Attic", True, ["odd"])
    assert admin.api("PATCH", "/vault/devices/meter-1", {"groups": ["a;b"]}).status == 400
    assert admin.api("PATCH", "/vault/devices/meter-1", {"endpoint_name": "x"}).status == 400
    assert names(admin, "?group=even") == ["meter-0", "meter-2", "meter-4"]
    assert names(admin, "?tag=t4") == names(admin, "?q=METER-4") == ["meter-4"]
    assert names(admin, "?q=attic") == ["meter-1"]
    first = admin.api("GET", "/vault/devices?limit=2").json
    assert first["next"] == "meter-1"
    assert names(admin, "?limit=9&after=meter-1") == ["meter-2", "meter-3", "meter-4"]
    assert admin.api("GET", "/vault/groups").json == {"groups": ["even", "odd"]}


def test_many_are_to_bootstrap_again(here: Stand, admin: Browser) -> None:
    for number in range(3):
        add(admin, f"meter-{number}", groups=["house"] if number else [])
    assert admin.api("POST", "/vault/rebootstrap", {"group": "house"}).json["asked"] == 2
    assert admin.api("POST", "/vault/rebootstrap", {"endpoint_names": ["meter-0"]}).json["asked"] == 1
    for body, status in (
        ({}, 400),
        ({"group": "house", "endpoint_names": ["meter-0"]}, 400),
        ({"group": "nobody"}, 404),
        ({"endpoint_names": ["meter-0", "nobody"]}, 404),
    ):
        assert admin.api("POST", "/vault/rebootstrap", body).status == status
    asked = [one.rebootstrap_asked for one in here.trust.vault.devices()]
    assert all(asked)


# Lists


def listed(browser: Browser, body: str | bytes, query: str = "", kind: str = "text/csv") -> Reply:
    content = body.encode() if isinstance(body, str) else body
    return browser.api("POST", f"/vault/import{query}", content, headers={"Content-Type": kind})


def test_a_list_is_taken_in_whole(here: Stand, admin: Browser) -> None:
    text = f'\ufeffendpoint_name;label;groups;psk_key_hex\r\nm-1;"Cellar; left";a,b;{KEY}\r\nm-2;;;\r\n'
    reply = listed(admin, text, "?dry_run=true")
    assert (reply.status, reply.json["added"], names(admin)) == (200, 0, [])
    reply = listed(admin, text)
    assert (reply.status, reply.json["added"]) == (200, 2)
    first, second = reply.json["devices"]
    assert (first["label"], first["groups"]) == ("Cellar; left", ["a", "b"])
    assert first["provisioning"]["psk_key_hex"] == KEY != second["provisioning"]["psk_key_hex"]

    exported = admin.api("GET", "/vault/export")
    assert "attachment" in exported.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(exported.data.decode("utf-8-sig"))))
    assert [row["endpoint_name"] for row in rows] == ["m-1", "m-2"] and KEY not in exported.data.decode()
    rows = json.loads(admin.api("GET", "/vault/export?format=json&group=a").data)
    assert "m-1" in json.dumps(rows) and "m-2" not in json.dumps(rows)


def test_a_bad_row_among_a_thousand_stops_all_and_every_bad_row_is_named(here: Stand, admin: Browser) -> None:
    rows = [{"endpoint_name": f"meter-{number}"} for number in range(1000)]
    rows[17] = {"endpoint_name": "meter-16"}
    rows[500]["psk_key_hex"] = "0"
    rows[999]["security"] = "des"
    reply = listed(admin, json.dumps(rows), kind="application/json")
    assert (reply.status, reply.json["added"], reply.json["devices"]) == (422, 0, [])
    bad = {one["row"]: one["problems"] for one in reply.json["rows"] if one["problems"]}
    assert len(bad) == 3 and names(admin) == [] and audited(here) == []
    assert all(len(problems) == 1 for problems in bad.values())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "text/csv"),
        ("label\nx\n", "text/csv"),
        ("endpoint_name,colour\nm,red\n", "text/csv"),
        (b"\xff\xfe\x00endpoint_name", "text/csv"),
        ("[", "application/json"),
        ("{}", "application/json"),
        ('[{"endpoint_name":1}]', "application/json"),
        ("[[[[[[[[[[" * 1000, "application/json"),
        ("endpoint_name\n\x00\n", "text/csv"),
    ],
)
def test_what_is_no_list_is_told(admin: Browser, body: str | bytes, kind: str) -> None:
    reply = listed(admin, body, kind=kind)
    assert reply.status in (400, 422) and names(admin) == []
    said = message(reply) if reply.status == 400 else json.dumps(reply.json["rows"])
    assert len(said) > 10


def test_a_list_that_is_too_long_is_not_read(admin: Browser) -> None:
    connection = admin.connect()
    connection.putrequest("POST", "/api/v1/vault/import")
    for name, value in {
        **admin.headers(),
        "Content-Type": "text/csv",
        "Content-Length": str(1 << 30),
    }.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


# Paper


def test_labels_are_drawings_without_keys_and_without_scripts(admin: Browser) -> None:
    name = "<script>alert(1)</script>&\"'"
    told = add(admin, name, label="</text><script>x</script>")["provisioning"]
    add(admin, "meter-2", groups=["house"])
    quoted = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%26%22'"
    for path in (f"/vault/devices/{quoted}/label.svg", "/vault/labels.svg", "/vault/labels.svg?group=house"):
        reply = admin.api("GET", path)
        assert reply.headers["Content-Type"] == "image/svg+xml"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        tree = ElementTree.fromstring(reply.data)
        assert tree.tag == f"{SVG}svg" and not list(tree.iter(f"{SVG}script"))
        assert told["psk_key_hex"].encode() not in reply.data
        shown = " ".join(text.text or "" for text in tree.iter(f"{SVG}text"))
        assert ("alert(1)" in shown) == ("house" not in path)


# Accounts narrowed to groups


def test_an_account_sees_and_does_what_it_may_in_its_groups(here: Stand, admin: Browser) -> None:
    for name, groups in (("a-1", ["a"]), ("a-2", ["a"]), ("b-1", ["b"]), ("alone", [])):
        add(admin, name, groups=groups)
    ines = here.narrowed(a="admin", b="read")
    assert names(ines) == ["a-1", "a-2", "b-1"]
    assert ines.api("GET", "/vault/groups").json == {"groups": ["a", "b"]}
    unknown = ines.api("GET", "/vault/devices/nobody")
    hidden = ines.api("GET", "/vault/devices/alone")
    assert hidden.status == unknown.status == 404
    assert hidden.data.replace(b"alone", b"") == unknown.data.replace(b"nobody", b""), "it is not told apart"

    assert ines.api("POST", "/vault/devices/a-1/rotate").status == 200
    for verb in ("rotate", "revoke", "reinstate", "rebootstrap"):
        assert ines.api("POST", f"/vault/devices/b-1/{verb}").status == 403
        assert ines.api("POST", f"/vault/devices/alone/{verb}").status == 404
    assert ines.api("DELETE", "/vault/devices/b-1").status == 403
    assert ines.api("GET", "/vault/devices/b-1/label.svg").status == 200

    add(ines, "a-3", groups=["a"])
    for groups in ([], ["b"], ["a", "b"], ["new"]):
        reply = ines.api("POST", "/vault/devices", {"endpoint_name": "x", "groups": groups})
        assert reply.status == 403, groups
    assert ines.api("PATCH", "/vault/devices/a-1", {"groups": ["a", "b"]}).status == 403
    assert ines.api("PATCH", "/vault/devices/a-1", {"label": "mine"}).status == 200

    assert ines.api("POST", "/vault/rebootstrap", {"group": "a"}).json["asked"] == 3
    assert ines.api("POST", "/vault/rebootstrap", {"group": "b"}).status == 404
    assert ines.api("POST", "/vault/rebootstrap", {"endpoint_names": ["a-1", "b-1"]}).status == 403

    assert listed(ines, "endpoint_name,groups\na-4,a\nc-1,c\n").status == 422
    assert listed(ines, "endpoint_name,groups\na-4,a\n").status == 200
    exported = ines.api("GET", "/vault/export").data.decode()
    assert "a-1" in exported and "b-1" not in exported and "alone" not in exported
    shown = ines.api("GET", "/vault/labels.svg").data.decode()
    assert "b-1" in shown and "alone" not in shown
    assert names(admin) == ["a-1", "a-2", "a-3", "a-4", "alone", "b-1"]


def test_permissions_are_given_changed_and_taken_back(here: Stand, admin: Browser) -> None:
    add(admin, "meter-1", groups=["house"])
    ines = Browser(here.port)
    assert ines.log_in().status == 200 and names(ines) == ["meter-1"]
    reply = admin.api("PUT", "/vault/permissions/ines", {"groups": {"attic": "operate"}})
    assert reply.status == 200 and names(ines) == []
    assert admin.api("PUT", "/vault/permissions/ines", {"groups": {"house": "read"}}).status == 200
    assert names(ines) == ["meter-1"]
    assert ines.api("POST", "/vault/devices/meter-1/rotate").status == 403
    assert "ines" in json.dumps(admin.api("GET", "/vault/permissions").json)
    assert ines.api("PUT", "/vault/permissions/ines", {"groups": {"*": "admin"}}).status == 403
    for wrong in ({"groups": {"house": "all"}}, {"groups": {"a,b": "read"}}, {}):
        assert admin.api("PUT", "/vault/permissions/ines", wrong).status == 400
    assert admin.api("DELETE", "/vault/permissions/ines").status == 204
    assert ines.api("POST", "/vault/devices/meter-1/rotate").status == 200


# The authority


def request_for(name: str, key: ec.EllipticCurvePrivateKey) -> str:
    """A certificate request in PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_the_authority_shows_itself_signs_and_lists_what_counts_no_more(here: Stand, admin: Browser) -> None:
    facts = admin.api("GET", "/authority").json
    own = x509.load_pem_x509_certificate(facts["certificate_pem"].encode())
    body = {
        "endpoint_name": "meter-1",
        "csr_pem": request_for("meter-1", ec.generate_private_key(ec.SECP256R1())),
    }
    add(admin, "meter-1")
    reply = admin.api("POST", "/authority/sign", body)
    assert reply.status == 200
    certificate = x509.load_pem_x509_certificate(reply.json["certificate_pem"].encode())
    certificate.verify_directly_issued_by(own)
    assert certificate.subject.rfc4514_string() == "CN=meter-1"
    assert reply.json["chain_pem"].endswith(facts["certificate_pem"])

    def is_listed() -> bool:
        listed = x509.load_pem_x509_crl(admin.api("GET", "/authority/crl").data)
        assert listed.is_signature_valid(own.public_key())  # type: ignore[arg-type]
        return listed.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None

    assert not is_listed()
    assert admin.api("POST", "/vault/devices/meter-1/revoke").status == 200
    assert is_listed()
    for wrong in (
        "nonsense",
        facts["certificate_pem"],
        request_for("meter-1", ec.generate_private_key(ec.SECP224R1())),
    ):
        reply = admin.api("POST", "/authority/sign", {**body, "csr_pem": wrong})
        assert reply.status == 400 and len(message(reply)) > 10
    narrow = here.narrowed(house="admin")
    assert narrow.api("POST", "/authority/sign", body).status == 404


def test_another_name_than_the_devices_is_not_signed(admin: Browser) -> None:
    add(admin, "meter-1")
    csr = request_for("meter-2", ec.generate_private_key(ec.SECP256R1()))
    reply = admin.api("POST", "/authority/sign", {"endpoint_name": "meter-1", "csr_pem": csr})
    assert reply.status == 400 and "meter-2" in message(reply)


def test_anchors_come_and_go(here: Stand, admin: Browser) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Maker")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    kind = {"Content-Type": "application/x-pem-file"}
    reply = admin.api("POST", "/authority/anchors", b"nonsense", headers=kind)
    assert reply.status == 400 and len(message(reply)) > 10
    reply = admin.api("POST", "/authority/anchors", certificate.public_bytes(Encoding.PEM), headers=kind)
    (anchor,) = reply.json["anchors"]
    assert anchor["subject"] == "CN=Maker"
    assert admin.api("GET", "/authority/anchors").json["anchors"] == [anchor]
    narrow = here.narrowed(house="admin")
    assert narrow.api("DELETE", f"/authority/anchors/{anchor['fingerprint']}").status == 403
    assert admin.api("DELETE", f"/authority/anchors/{anchor['fingerprint']}").status == 204
    assert admin.api("DELETE", f"/authority/anchors/{anchor['fingerprint']}").status == 404
    assert admin.api("GET", "/authority/anchors").json["anchors"] == []
    assert [line for line in audited(here) if "Maker" in line and "trusted" in line][1].startswith(
        "authority trusted no longer"
    )
