"""A gateway with bootstrap plans, and the keys of its devices, as a person would make them over the API."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_der_private_key,
    load_pem_private_key,
)

from appliance.southbound.oscore.keys import ContextMaterial
from tests.conformance.bootstrapping import PATIENCE_S, Bootstrapping, DtlsWire, OscoreWire, Wire
from tests.house import House
from tests.southbound.dtls.client import ECDSA_CCM_8
from tests.southbound.oscore.crossing import DeviceContext

PLANS: dict[str, dict[str, Any]] = {
    "objects": {"write_by": "object", "deletes": ["/0", "/1"], "read_back": True},
    "access": {
        "deletes": ["/0", "/1", "/2"],
        "read_back": True,
        "access_control": [{"object_id": 3, "instance_id": 0, "owner": 65535, "rights": {"1": 15, "0": 1}}],
    },
    "est": {"servers": [{"security": "est"}]},
    "elsewhere": {},
}

Json = dict[str, Any]
Seen = TypeVar("Seen")


def until(look: Callable[[], Seen], wanted: Callable[[Seen], bool]) -> Seen:
    """What is seen once it is as wanted."""
    deadline = time.monotonic() + PATIENCE_S
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    return seen


class Unit:
    """The gateway. ``plans`` are the ids of PLANS."""

    def __init__(self, state: Path, *settings: str) -> None:
        self.house = House(state, "devices.observe_paths=[]", "storage.grouping_window_ms=10", *settings)
        self.house.tls = False
        self._wires: list[Wire] = []
        self.plans = {
            name: self.ask("POST", "/bootstrap/plans", {"name": name, "servers": [{}], **members})["id"]
            for name, members in PLANS.items()
        }

    def stop(self) -> int:
        """The exit code."""
        for wire in self._wires:
            wire.close()
        return self.house.stop()

    # What a person does

    def ask(self, method: str, path: str, body: object = None) -> Json:
        """A request to the API that must succeed."""
        status, answer = self.house.api(method, path, body)
        assert status in (200, 201), (status, answer)
        return dict(answer)

    def add(self, name: str, security: str = "nosec", plan: str | None = None, **more: Any) -> Json:
        """A device; what must be flashed."""
        body: Json = {"endpoint_name": name, "security": security, **more}
        if plan is not None:
            body["plan"] = self.plans[plan]
        return dict(self.ask("POST", "/vault/devices", body)["provisioning"])

    def device(self, name: str) -> Json:
        """What the vault says."""
        return self.ask("GET", f"/vault/devices/{name}")

    def session(self, name: str) -> Json:
        """The last bootstrap session of a device, once it is over."""

        def last() -> Json:
            found = self.ask("GET", f"/bootstrap/sessions?endpoint_name={name}&limit=1")["sessions"]
            return dict(found[0]) if found else {}

        return until(last, lambda session: session.get("state", "running") != "running")

    def is_registered(self, name: str) -> bool:
        """Whether the page shows it as registered."""
        status, row = self.house.api("GET", f"/devices/{name}")
        return status == 200 and row["state"] == "online"

    # How a device reaches it

    def wire(self) -> Wire:
        """Without security."""
        made = Wire(self.house.coap_port)
        self._wires.append(made)
        return made

    def psk(self, identity: bytes, key: bytes, **more: Any) -> DtlsWire:
        """With a pre-shared key. OSError: it was not let in."""
        return self._dtls(identity=identity, key=key, **more)

    def psk_of(self, provisioning: Json) -> DtlsWire:
        """With the pre-shared key that was to be flashed."""
        identity, key = provisioning["psk_identity_hex"], provisioning["psk_key_hex"]
        return self.psk(bytes.fromhex(identity), bytes.fromhex(key))

    def certificate(self, certificate: bytes, key: bytes) -> DtlsWire:
        """With a certificate and its key, both DER."""
        private = load_der_private_key(key, None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        return self._certificate(certificate, private)

    def certificate_of(self, provisioning: Json, **more: Any) -> DtlsWire:
        """With the certificate that was to be flashed."""
        certificate = x509.load_pem_x509_certificate(provisioning["certificate_pem"].encode())
        private = load_pem_private_key(provisioning["private_key_pem"].encode(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        return self._certificate(certificate.public_bytes(Encoding.DER), private, **more)

    def oscore(self, sender_id: bytes, recipient_id: bytes, secret: bytes, salt: bytes) -> OscoreWire:
        """With an OSCORE context, ids as the device sees them."""
        ours = ContextMaterial("", secret, salt, sender_id=recipient_id, recipient_id=sender_id)
        made = OscoreWire(self.house.coap_port, DeviceContext(ours))
        self._wires.append(made)
        return made

    def oscore_of(self, provisioning: Json) -> OscoreWire:
        """With the OSCORE context that was to be flashed."""
        names = ("sender_id", "recipient_id", "master_secret", "master_salt")
        return self.oscore(*(bytes.fromhex(provisioning["oscore"].get(name, "")) for name in names))

    def given(self, client: Bootstrapping) -> Wire:
        """With what a bootstrap wrote into /0/1, and into /21 where that is linked."""
        if client.value("/0/1/2") == b"\3":
            place = "/21/" + str(int.from_bytes(client.value("/0/1/17")[2:], "big"))
            return self.oscore(*(client.value(f"{place}/{number}") for number in (1, 2, 0, 5)))
        return self.given_dtls(client)

    def given_dtls(self, client: Bootstrapping) -> DtlsWire:
        """With what a bootstrap wrote into /0/1."""
        if client.value("/0/1/2") == b"\0":
            return self.psk(client.value("/0/1/3"), client.value("/0/1/5"))
        return self.certificate(client.value("/0/1/3"), client.value("/0/1/5"))

    def _certificate(self, certificate: bytes, private: ec.EllipticCurvePrivateKey, **more: Any) -> DtlsWire:
        return self._dtls(suites=(ECDSA_CCM_8,), chain=(certificate,), private_key=private, **more)

    def _dtls(self, **how: Any) -> DtlsWire:
        made = DtlsWire(self.house.coaps_port, **how)
        self._wires.append(made)
        return made
