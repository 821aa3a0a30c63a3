"""The devices side of trust: who knocked, who came in and how, and what a change in the vault does to them.

Called in the event loop, but for what says otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.devices.admission import Admission, trusted
from appliance.devices.bootstrap import Progress
from appliance.devices.errors import DeviceError
from appliance.devices.identity_use import IdentityUse
from appliance.devices.registry import Registry
from appliance.devices.session_store import SessionStore
from appliance.devices.strangers import Stranger, Strangers
from appliance.devices.uplink import DeviceUplink
from appliance.southbound.dtls.server import Ended, Established, Moved
from appliance.southbound.dtls.suspicion import Suspicious
from appliance.southbound.dtls.trust import Verdict
from appliance.southbound.server import LwM2MServer, SessionEvent
from appliance.storage.errors import StorageFull
from appliance.vault.doorkeeper import Doorkeeper
from appliance.vault.errors import VaultError
from appliance.vault.identities import psk_identity, rpk_identity
from appliance.vault.vault import Credential, Device, NewCredential, NewDevice, Vault
from appliance.vault.verdict import Verdict as Answer

log = logging.getLogger(__name__)

_KINDS: Final = {"invalid": "invalid", "conflict": "conflict", "not_found": "not_found"}


class Gate:
    """What a handshake asks: the doorkeeper, and whom he sends away is noted with what he showed.

    A verdict names the credential by its id. That is looked up before anything else: if the vault changes
    between, the session is bound to what is gone, and ends.
    """

    def __init__(self, doorkeeper: Doorkeeper, strangers: Strangers, uses: IdentityUse, vault: Vault) -> None:
        self._doorkeeper = doorkeeper
        self._strangers = strangers
        self._uses = uses
        self._vault = vault
        # What handshakes under way showed, until their end tells from where it came: what was refused, and
        # what was believed but is nobody's. Apart, as anybody can show what is refused, under any name.
        self._refused: dict[str, dict[str, str]] = {}
        self._believed: dict[str, dict[str, str]] = {}

    def psk_key(self, identity: bytes) -> bytes | None:
        """The key of an identity, None when it does not open."""
        if self._strangers.blocked("", psk_identity(identity)):
            return None
        return self._doorkeeper.psk_key(identity)

    def psk(self, identity: bytes) -> Verdict:
        """Whether it is let in, after it has shown that it knows the key."""
        credential = self._vault.by_identity(psk_identity(identity))
        return _named(self._doorkeeper.psk(identity), credential)

    def raw_public_key(self, spki: bytes) -> Verdict:
        """Whether the owner of a raw public key is let in."""
        credential = self._vault.by_identity(rpk_identity(spki))
        verdict = self._doorkeeper.raw_public_key(spki)
        if verdict.refusal:
            _keep(self._refused, verdict.identity, {"spki_hex": spki.hex()})
        return _named(verdict, credential)

    def certificate(self, chain: tuple[bytes, ...]) -> Verdict:
        """Whether the owner of a certificate is let in."""
        credential = self._vault.by_certificate(sha256(chain[0]).hexdigest()) if chain else None
        verdict = self._doorkeeper.certificate(chain)
        credential = credential or self._vault.by_identity(verdict.identity)
        if chain and (verdict.refusal or credential is None):
            try:
                pem = x509.load_der_x509_certificate(chain[0]).public_bytes(Encoding.PEM).decode()
            except ValueError:
                return _named(verdict, None)
            shown = self._refused if verdict.refusal else self._believed
            _keep(shown, verdict.identity, {"certificate_pem": pem})
        return _named(verdict, credential)

    def failed(self, identity: str, address: str, sentence: str) -> None:
        """A handshake came to nothing: for the operator."""
        material = self._refused.pop(identity, None)
        credential = self._vault.by_identity(identity) if identity else None
        if credential is not None:
            self._uses.failed(identity, sentence)
            return
        self._strangers.knock("", identity, address, "DTLS", sentence, material)

    def unknown(self, identity: str, address: str) -> None:
        """A handshake was done by somebody whose issuer is trusted, and whom nobody has added."""
        material = self._believed.pop(identity, None)
        self._strangers.knock("", identity, address, "DTLS", trusted(identity), material, proved=True)


class Security:
    """For the page and the API, and for the composition that tells what happens."""

    def __init__(
        self,
        vault: Vault,
        gate: Gate,
        strangers: Strangers,
        uses: IdentityUse,
        admission: Admission,
        registry: Registry,
        server: LwM2MServer,
        uplink: DeviceUplink,
        store: SessionStore | None,
        bootstrapping: Callable[[str], Progress | None],
    ) -> None:
        """``bootstrapping`` tells of the last bootstrap session of a device that has not registered since."""
        self._vault = vault
        self._gate = gate
        self._strangers = strangers
        self._uses = uses
        self._admission = admission
        self._registry = registry
        self._server = server
        self._uplink = uplink
        self._store = store
        self._bootstrapping = bootstrapping

    # What happens

    def session_event(self, event: SessionEvent) -> None:
        """Of DTLS."""
        if isinstance(event, Established):
            session = event.session
            credential = self._vault.by_identity(session.identity)
            if credential is not None and not self._admission.opens(session):
                assert self._server.coaps is not None  # who else would have told
                self._server.coaps.drop(session, "its identity lapsed while it shook hands")
                return
            if credential is None:
                # Not stored: it may do nothing before somebody accepts it.
                self._gate.unknown(session.identity, str(session.address))
                return
            self._uses.used(session.identity)
            if self._store is not None:
                self._store.established(session)
        elif isinstance(event, Moved):
            if self._store is not None:
                self._store.moved(event.session)
        elif isinstance(event, Ended):
            if self._store is not None:
                self._store.ended(event.session.id)
        elif isinstance(event, Suspicious):
            log.warning("%s", event.sentence)
            self._suspect(event.identity, str(event.address), event.sentence)
        else:
            log.info("a DTLS handshake from %s failed: %s", event.address, event.sentence)
            self._gate.failed(event.identity, str(event.address), event.sentence)

    def _suspect(self, identity: str, address: str, sentence: str) -> None:
        """For the page of the device whose identity it is; of nobody's for the quarantine list."""
        credential = self._vault.by_identity(identity) if identity else None
        if credential is None:
            self._strangers.knock("", identity, address, "DTLS", sentence)
            return
        registration = self._registry.named(credential.endpoint_name)
        if registration is None:
            self._uses.failed(identity, sentence)
        else:
            registration.warn(sentence)

    def vault_changed(self, endpoint_names: set[str]) -> None:
        """The vault changed for these devices: whoever is in and may not be any more goes."""
        coaps = self._server.coaps
        if coaps is not None:
            revoked = False
            for session in list(coaps.sessions.sessions()):
                known = self._vault.all_by_identity(session.identity)
                if known and endpoint_names.isdisjoint(one.endpoint_name for one in known):
                    continue
                if not self._admission.opens(session):
                    coaps.drop(session, "what it was opened with is not let in any more")
                    revoked = True
            if endpoint_names or revoked:
                coaps.sessions.renew_secrets()
        for name in endpoint_names:
            registration = self._registry.named(name)
            if registration is None or registration.ended:
                continue
            reason = self._admission.still(registration)
            if reason:
                log.info("%s: the registration ends: %s", name, reason)
                identity = registration.client.identity
                if identity is not None and self._vault.by_identity(identity) is not None:
                    self._uses.failed(identity, reason)
                try:
                    self._uplink.revoke(registration, reason)
                except StorageFull as error:
                    log.error("%s: its end could not be stored: %s", name, error)

    # What people see

    def contact(self, endpoint_name: str) -> dict[str, Any]:
        """How far a device has come: ``state`` waiting, failed, bootstrapping, registered or gone; ``text``
        one sentence; ``at`` since when, null when nothing was heard. Safe in any thread.
        """
        device = self._vault.device(endpoint_name)
        registration = self._registry.named(endpoint_name)
        seen_at = 0.0 if registration is None else registration.seen_at
        bootstrap = self._bootstrapping(endpoint_name)
        if bootstrap is not None and bootstrap.at <= seen_at:
            bootstrap = None  # it was heard since, as the device that it is registered as
        if bootstrap is not None and bootstrap.state == "running":
            return _contact("bootstrapping", bootstrap.text, bootstrap.at)
        if registration is not None and not registration.ended and bootstrap is None:
            how = registration.client.identity or "without security"
            return _contact(
                "registered",
                f"Registered over {registration.client.bearer}, {how}.",
                registration.registered_at,
            )
        failure = self._last_failure(device, endpoint_name)
        if bootstrap is not None and (failure is None or failure[1] <= bootstrap.at):
            state = "failed" if bootstrap.state == "failed" else "waiting"
            return _contact(state, bootstrap.text, bootstrap.at)
        if failure is not None and failure[1] > seen_at:
            return _contact("failed", *failure)
        if registration is not None:
            return _contact(
                "gone", f"It was registered and is not any more ({registration.ended}).", registration.seen_at
            )
        heard = self._heard(device)
        if heard:
            return _contact("waiting", "Its handshake succeeded; it has not registered yet.", heard)
        return _contact("waiting", "Nothing was heard from it yet.", None)

    def used(self, identity: str) -> dict[str, Any]:
        """``last_used_at`` and ``last_failure`` of an identity. Safe in any thread."""
        use = self._uses.get(identity)
        failure = {"at": _iso(use.failed_at), "text": use.text} if use.failed_at else None
        return {"last_used_at": _iso(use.used_at) if use.used_at else None, "last_failure": failure}

    def strangers(self) -> list[dict[str, Any]]:
        """The quarantine list, the newest first. Safe in any thread."""
        return [
            stranger.to_api()
            for stranger in sorted(self._strangers, key=lambda one: one.last_seen_at, reverse=True)
        ]

    def ignore(self, stranger_id: int) -> dict[str, Any]:
        """Do not show it any more. Raises DeviceError("not_found")."""
        return self._strangers.mark(stranger_id, "ignored").to_api()

    def block(self, stranger_id: int) -> dict[str, Any]:
        """Never let it in. Raises DeviceError("not_found"), or "invalid" for who gave no name at all."""
        return self._strangers.mark(stranger_id, "blocked").to_api()

    def forget(self, stranger_id: int) -> None:
        """Take it off the list. Raises DeviceError("not_found")."""
        self._strangers.remove(stranger_id)

    def acceptance(self, stranger_id: int, endpoint_name: str | None) -> Acceptance:
        """What accepting a stranger would do to the vault. Raises DeviceError."""
        return Acceptance.of(self._strangers.get(stranger_id), endpoint_name)

    def accepted(self, stranger_id: int) -> None:
        """It is in the vault now."""
        self._strangers.remove(stranger_id)

    def _last_failure(self, device: Device | None, endpoint_name: str) -> tuple[str, float] | None:
        failures: list[tuple[str, float]] = []
        for credential in () if device is None else device.credentials:
            use = self._uses.get(credential.identity)
            if use.failed_at > use.used_at:
                failures.append((use.text, use.failed_at))
        made_at = 0.0 if device is None else device.made_at
        failures.extend(
            (one.reason, one.last_seen_at)
            for one in self._strangers.named(endpoint_name)
            if one.last_seen_at >= made_at
        )
        return max(failures, key=lambda failure: failure[1], default=None)

    def _heard(self, device: Device | None) -> float:
        if device is None:
            return 0.0
        return max((self._uses.get(one.identity).used_at for one in device.credentials), default=0.0)


class Acceptance:
    """Letting a stranger in: carried out in any thread, as the vault writes to disk.

    ``said``: the endpoint name is from who accepts it. A stranger may call itself by the name of a device
    that there is, and must not become that device by a hasty yes.
    """

    def __init__(self, endpoint_name: str, credential: NewCredential | None, said: bool) -> None:
        self.endpoint_name = endpoint_name
        self._credential = credential
        self._said = said

    @classmethod
    def of(cls, stranger: Stranger, endpoint_name: str | None) -> Acceptance:
        """Raises DeviceError when more must be known."""
        name = endpoint_name or stranger.endpoint_name
        material = stranger.material
        if not name and stranger.identity.startswith("x509:"):
            name = stranger.identity.partition(":")[2]
        if not name:
            raise DeviceError(
                "invalid", "whose key it is must be said", "Give the endpoint name of the device."
            )
        if "spki_hex" in material:
            spki = bytes.fromhex(material["spki_hex"])
            return cls(name, NewCredential("server", "rpk", spki=spki), bool(endpoint_name))
        if "certificate_pem" in material:
            certificate = x509.load_pem_x509_certificate(material["certificate_pem"].encode())
            shown = certificate.public_bytes(Encoding.DER)
            return cls(name, NewCredential("server", "x509", certificate=shown), bool(endpoint_name))
        if stranger.identity:
            raise DeviceError(
                "invalid",
                "a key cannot be accepted without knowing it",
                f"Add the device {name} with its identity and its key.",
            )
        return cls(name, None, bool(endpoint_name))

    def carry_out(self, vault: Vault, by: str) -> Device:
        """Raises DeviceError."""
        try:
            known = vault.device(self.endpoint_name)
            if known is None:
                credentials = () if self._credential is None else (self._credential,)
                nosec = self._credential is None
                vault.add([NewDevice(self.endpoint_name, nosec=nosec, credentials=credentials)], by)
            elif self._credential is None:
                vault.update(self.endpoint_name, by, nosec=True)
            elif not self._said:
                raise DeviceError(
                    "conflict",
                    f"it calls itself {self.endpoint_name}, and there is a device of that name already",
                    "If it is that device with a new key, accept it with this endpoint_name given; if you do "
                    "not know, block it.",
                )
            else:
                vault.add_credential(self.endpoint_name, self._credential, by)
            made = vault.device(self.endpoint_name)
        except VaultError as error:
            raise DeviceError("conflict" if error.kind == "conflict" else "invalid", str(error)) from error
        assert made is not None
        return made


def _keep(shown: dict[str, dict[str, str]], identity: str, material: dict[str, str]) -> None:
    if len(shown) > 64:
        shown.clear()
    shown[identity] = material


def _named(answer: Answer, credential: Credential | None) -> Verdict:
    return Verdict(answer.identity, answer.refusal, answer.alert, "" if credential is None else credential.id)


def _contact(state: str, text: str, at: float | None) -> dict[str, Any]:
    return {"state": state, "text": text, "at": None if at is None else _iso(at)}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
