"""An account that is narrowed to a group: over every route, no device of another group is ever named."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from aiocoap.numbers import codes
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.coap.message import CON, POST, Message, decode, encode
from appliance.coap.options import CONTENT_FORMAT, URI_PATH, URI_QUERY
from appliance.northbound.application import ALL_ROUTES
from tests.conformance.bootstrapping import DtlsWire
from tests.house import House, LockstepDevice

# Whatever the narrowed account must not learn of has this in its name, and nothing else has.
HIDDEN: Final = "covert"
KEY: Final = "00112233445566778899aabbccddeeff"
SHARED: Final = ec.generate_private_key(ec.SECP256R1())  # of a device of the other group
# What goes on for ever is read by a test of its own; what would end the account's own session is not asked.
LEFT_OUT: Final = {
    *(("GET", "/stream"), ("GET", "/log/stream"), ("DELETE", "/session"), ("POST", "/session")),
    *(("POST", "/setup"), ("PUT", "/accounts/{name}/password")),
}


def request_for(name: str) -> str:
    """A certificate request of the shared key, in PEM."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(SHARED, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def public_key() -> str:
    return SHARED.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Person:
    """Somebody with a session."""

    def __init__(self, house: House, name: str, password: str) -> None:
        self.port = house.ready["http"]
        self.headers: dict[str, str] = {}
        body = json.dumps({"name": name, "password": password}).encode()
        status, answer, headers = self.send("POST", "/session", body)
        assert status == 200, answer
        self.headers = {
            "Cookie": headers["Set-Cookie"].partition(";")[0],
            "X-CSRF-Token": json.loads(answer)["csrf"],
        }

    def send(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {**self.headers, **({"Content-Type": kind} if body is not None else {})}
            connection.request(method, "/api/v1" + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def told(self, path: str, last: str) -> bytes:
        """A stream up to the line with ``last`` in it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/api/v1" + path, headers=self.headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            read = b""
            while last.encode() not in (line := answer.readline()):
                assert line, read
                read += line
            return read + line
        finally:
            connection.close()


def exchange(wire: DtlsWire, path: str, name: str) -> int:
    """The code that a Register or a Bootstrap Request is answered with."""
    options = [(URI_PATH, path.encode()), *([(CONTENT_FORMAT, b"\x28")] if path == "rd" else [])]
    query = [f"ep={name}", *(["lt=300", "lwm2m=1.1", "b=U"] if path == "rd" else [])]
    options += [(URI_QUERY, text.encode()) for text in query]
    links = b"</1/0>,</3/0>" if path == "rd" else b""
    wire.send(encode(Message(CON, POST, 1, b"t", options, links)))
    while True:
        answer = decode(wire.receive())
        if answer.mid == 1:
            return answer.code


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """With devices of two groups and of none, and all that these leave behind."""
    state = tmp_path_factory.mktemp("reach") / "state"
    with House(state, "devices.observe_paths=[]") as running:
        running.tls = False
        password = "correct horse 9\n"
        running.homard("account", "set-password", "ines", "--stdin", "--state", str(state), text=password)
        given: dict[str, Any] = {}
        for name, group, more in (
            ("mine-1", "mine", {"security": "nosec"}),
            ("mine-2", "mine", {}),
            ("covert-1", "theirs", {"security": "nosec", "label": "covert lamp", "tags": ["covert"]}),
            ("covert-2", "theirs", {}),
            ("covert-3", "theirs", {"bootstrap": True}),
            ("covert-4", "theirs", {"security": "rpk", "public_key_pem": public_key()}),
            ("covert-5", "theirs", {"psk_identity": "shared", "psk_key_hex": KEY}),
        ):
            body = {"endpoint_name": name, "groups": [group], **more}
            status, made = running.api("POST", "/vault/devices", body)
            assert status == 201, made
            given[name] = made["provisioning"]
        right = {"groups": {"mine": "admin"}}
        assert running.api("PUT", "/vault/permissions/ines", right)[0] == 200
        for name in ("covert-1", "covert-6", "mine-1"):  # covert-6 is nobody's: the vault does not know it
            with LockstepDevice(running, name) as device:
                device.register(query=("Q",))
            task = {"operation": {"operation": "Read", "path": "/3/0/0"}, "devices": [name]}
            assert running.api("POST", "/tasks", task)[0] == 202
        with LockstepDevice(running, "covert-2") as device:  # it has a key
            device.register(expect=codes.FORBIDDEN)
        psk = {name: {"identity": name.encode()} for name in ("covert-2", "mine-2")}
        for name, how in psk.items():
            how["key"] = bytes.fromhex(given[name]["psk_key_hex"])
        for who, says in (("covert-2", "mine-2"), ("mine-2", "mine-9"), ("covert-2", "mine-9")):
            wire = DtlsWire(running.coaps_port, **psk[who])
            assert exchange(wire, "rd", says) == codes.BAD_REQUEST
            wire.close()
        begin = given["covert-3"]["bootstrap"]
        wire = DtlsWire(
            running.coaps_port,
            identity=bytes.fromhex(begin["psk_identity_hex"]),
            key=bytes.fromhex(begin["psk_key_hex"]),
        )
        assert exchange(wire, "bs", "covert-3") == codes.CHANGED
        wire.close()
        with pytest.raises(OSError):
            DtlsWire(running.coaps_port, patience_s=1, identity=b"covert-8", key=b"k" * 16)
        yield running


@pytest.fixture(scope="module")
def ines(house: House) -> Person:
    return Person(house, "ines", "correct horse 9")


def numbers(house: House) -> dict[str, list[str]]:
    """Of what has a number: all there are, and one more."""
    tasks = [one["id"] for one in house.api("GET", "/tasks")[1]["tasks"]]
    sessions = [one["id"] for one in house.api("GET", "/bootstrap/sessions")[1]["sessions"]]
    strangers = [one["id"] for one in house.api("GET", "/strangers")[1]["strangers"]]
    assert len(tasks) >= 3 and sessions and strangers
    found = {"/tasks": tasks, "/bootstrap/sessions": sessions, "/strangers": strangers}
    return {place: [str(number) for number in (*ids, 987654)] for place, ids in found.items()}


def bodies(name: str, other: str) -> dict[tuple[str, str], list[tuple[bytes, str]]]:
    """What is sent where, about one name; ``other`` is a name that is free."""

    def told(*bodies: Any) -> list[tuple[bytes, str]]:
        return [(json.dumps(body).encode(), "application/json") for body in bodies]

    read = {"operation": "Read", "path": "/3/0/0"}
    mine = {"endpoint_name": other, "groups": ["mine"]}
    at = "/devices/{endpoint_name}"
    return {
        ("POST", f"{at}/operations"): told(read),
        ("PUT", f"{at}/observations"): told({}),
        ("POST", f"{at}/observations/composite"): told({"paths": ["/3/0/0", "/3/0/1"]}),
        ("PUT", f"{at}/awake"): told({"awake_s": 5}),
        ("POST", "/tasks"): told(
            {"operation": read, "devices": [name]},
            {"operation": read, "search": name},
            {"operation": read, "all": True},
        ),
        ("POST", "/vault/devices"): told(
            {**mine, "psk_identity": "shared"},
            {**mine, "psk_identity": "free", "psk_key_hex": KEY},
            {**mine, "security": "rpk", "public_key_pem": public_key()},
            {**mine, "security": "x509", "csr_pem": request_for(other)},
        ),
        ("PATCH", f"/vault{at}"): told({"label": "x"}, {"groups": ["mine"]}),
        ("POST", "/vault/rebootstrap"): told({"endpoint_names": [name]}, {"group": "theirs"}),
        ("POST", "/vault/rebootstrap/withdraw"): told({"endpoint_names": [name]}, {"group": "theirs"}),
        ("POST", "/vault/plan"): told(
            {"endpoint_names": [name], "plan": None}, {"group": "theirs", "plan": None}
        ),
        ("POST", "/vault/import"): [
            (f"endpoint_name,groups,psk_identity\n{other},mine,shared\n".encode(), "text/csv"),
            (f"endpoint_name,groups,psk_key_hex\n{other},mine,{KEY}\n".encode(), "text/csv"),
        ],
        ("POST", "/authority/sign"): told({"endpoint_name": name, "csr_pem": request_for(name)}),
    }


def ways(house: House, name: str, other: str) -> Iterator[tuple[str, str, bytes | None, str]]:
    """Every request there is, about one name."""
    have, known = bodies(name, other), numbers(house)
    for route in ALL_ROUTES:
        at = (route.method, route.path)
        if at in LEFT_OUT:
            continue
        begin, brace, _ = route.path.partition("/{")
        ids = known.get(begin, ["1"]) if brace else ["1"]
        for number in ids:
            path = route.path.replace("{endpoint_name}", name).replace("{account}", "ines")
            for word in ("id", "name", "object_id", "pid", "token_id", "fingerprint"):
                path = path.replace("{" + word + "}", number)
            queries = [""]
            if any(query.name == "endpoint_name" for query in route.query):
                queries.append(f"?endpoint_name={name}")
            if any(query.name == "group" for query in route.query):
                queries.append("?group=theirs")
            if any(query.name == "path" and query.required for query in route.query):
                queries = ["?path=/3/0/0"]
            for query in queries:
                sent = have.get(at) or [(b"{}" if route.body or route.upload else None, "application/json")]
                for body, kind in sent:
                    yield route.method, path + query, body, kind


def test_no_device_of_another_group_is_named_on_any_route(house: House, ines: Person) -> None:
    named = []
    for way in ways(house, "nobody-1", "mine-7"):
        status, answer, headers = ines.send(*way)
        if HIDDEN.encode() in answer.lower() or HIDDEN in str(headers).lower():
            named.append((way, status, answer.decode("utf-8", "replace")[:2000]))
    assert not named, named


@pytest.mark.parametrize("name", ["covert-1", "covert-2", "covert-6"])
def test_a_device_of_another_group_is_not_told_from_one_that_is_not_there(
    house: House, ines: Person, name: str
) -> None:
    nobody = "n" * len(name)
    differing = []
    both = zip(ways(house, name, "mine-8"), ways(house, nobody, "mine-8"), strict=True)
    for way, other in both:
        if name not in f"{way[1]} {way[2]!r}":
            continue
        status, answer, _ = ines.send(*way)
        expected = ines.send(*other)
        if (status, answer.replace(name.encode(), nobody.encode())) != expected[:2]:
            differing.append((way[:2], status, answer, expected[:2]))
    assert not differing, differing
    assert house.api("GET", f"/devices/{name}")[0] in (200, 404)


def test_a_device_of_no_group_cannot_be_put_into_the_own(house: House, ines: Person) -> None:
    """It is registered, and the vault does not know it."""
    body = {"endpoint_name": "covert-6", "security": "nosec", "groups": ["mine"]}
    status, answer, _ = ines.send("POST", "/vault/devices", json.dumps(body).encode())
    assert (status, json.loads(answer)["error"]["code"]) == (403, "forbidden")
    row = b"endpoint_name,groups,nosec\ncovert-6,mine,yes\n"
    status, answer, _ = ines.send("POST", "/vault/import", row, "text/csv")
    assert status == 422 and "is here already" in json.loads(answer)["rows"][0]["problems"][0]
    assert ines.send("GET", "/devices/covert-6")[0] == 404


def test_no_device_of_another_group_is_named_in_a_stream(house: House, ines: Person) -> None:
    events = house.events("mine-1")
    assert HIDDEN.encode() not in ines.told("/stream?after=0", f'"seq":{events[-1]["seq"]},').lower()
    entries = house.api("GET", "/log?endpoint_name=mine-1")[1]["entries"]
    assert HIDDEN.encode() not in ines.told("/log/stream?after=0", f'"seq":{entries[-1]["seq"]},').lower()


def test_what_is_covert_is_there_for_who_may_see_it(house: House) -> None:
    for path in (
        "/devices",
        "/events",
        "/tasks",
        "/log",
        "/strangers",
        "/bootstrap/sessions",
        "/vault/audit",
    ):
        assert HIDDEN in json.dumps(house.api("GET", path)[1]), path
