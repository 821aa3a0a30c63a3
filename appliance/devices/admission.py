"""Who may be which device: the identity that the transport proved against the endpoint name (OMA Core §8.1;
traps 11, 20 and 42).

The law of this file: an endpoint name is a claim, an identity is a proof. Whoever has proved one is the
device that the vault gave it to, and nobody else; whoever has proved nothing (NoSec) is let in only where the
listener, or a person for this device, allows it, and never as a device that has a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from appliance.devices.identity_use import IdentityUse
from appliance.devices.registry import Registration
from appliance.devices.strangers import Strangers
from appliance.southbound.dtls.session import DtlsSession
from appliance.southbound.server import Reply, Source
from appliance.vault.lifecycle import REPLACED
from appliance.vault.vault import Credential, Device, Vault


class Refused(Exception):
    """It is not let in: 4.03 when it may not at all (``forbidden``), else 4.00. ``said`` is what the device
    is told; the message is the sentence for the operator, which may say more than a stranger should know.
    """

    def __init__(self, forbidden: bool, said: str, sentence: str) -> None:
        super().__init__(sentence)
        self.forbidden = forbidden
        self.said = said

    def answer(self, reply: Reply) -> None:
        """Tell the device."""
        (reply.forbidden if self.forbidden else reply.bad_request)(self.said)


class Admission:
    """The door of the registration and of the bootstrap interface.

    ``nosec`` is the policy of each bearer without security by its name: "allowed", "everyone" or "off".
    ``promote`` is called with an identity that was used for the first time since it was staged; it may be
    slow, so it runs elsewhere.
    """

    def __init__(
        self,
        vault: Vault,
        strangers: Strangers,
        uses: IdentityUse,
        nosec: Mapping[str, str],
        wall: Callable[[], float],
        promote: Callable[[str], None],
    ) -> None:
        self._vault = vault
        self._strangers = strangers
        self._uses = uses
        self._nosec = nosec
        self._wall = wall
        self._promote = promote

    def register(self, endpoint_name: str | None, source: Source) -> str:
        """The endpoint name of who registers; raises Refused."""
        return self._admit(endpoint_name, source, "server")

    def would_admit(self, endpoint_name: str | None, source: Source) -> bool:
        """Whether `register` has a reason to look closer: False for whom it refuses anyway. Notes nothing."""
        if source.identity is not None:
            return self.owner(source, "server") is not None
        device = self._vault.device(endpoint_name) if endpoint_name else None
        return bool(endpoint_name) and not self._without_security(endpoint_name or "", source.bearer, device)

    def bootstrap(self, endpoint_name: str | None, source: Source) -> str:
        """The endpoint name of who asks to be bootstrapped; raises Refused."""
        return self._admit(endpoint_name, source, "bootstrap")

    def owner(self, source: Source, purpose: str | None = None) -> str | None:
        """The device that a proven identity stands for, None for NoSec and for what does not open.

        With a ``purpose`` also None for a key of another: who has a bootstrap key may only bootstrap with it.
        """
        if source.identity is None:
            return None
        credential = self._vault.by_identity(source.identity, purpose)
        if credential is None or purpose not in (None, credential.purpose) or self._lapsed(credential):
            return None
        return credential.endpoint_name

    def opens(self, session: DtlsSession) -> bool:
        """Whether a session may go on, whatever is asked in it: what it was opened with still has to open.

        Another credential of that identity is no excuse: the certificate beside a stolen one has its name.
        """
        known = self._vault.all_by_identity(session.identity)
        return any(one.id == session.credential and not self._lapsed(one) for one in known)

    def same(self, registration: Registration, source: Source) -> bool:
        """Whether a message is from the device of this registration, which may have a new key meanwhile."""
        if source.identity == registration.client.identity:
            return True
        # From none to some, or from some to none, is another device: it has to register again.
        known = registration.client.identity is not None
        return known and self.owner(source, "server") == registration.endpoint_name

    def strange(self, registration: Registration, source: Source) -> None:
        """Somebody else used the location of a registration: for the page of the device."""
        who = "Somebody without security" if source.identity is None else _shown(source.identity)
        registration.warn(f"{who} used this registration from {source.peer}; it was refused.")

    def still(self, registration: Registration) -> str:
        """Why a living registration may not go on, "" when it may: after the vault has changed."""
        identity, name = registration.client.identity, registration.endpoint_name
        device = self._vault.device(name)
        if device is not None and device.blocked:
            return f"{name} is blocked."
        if identity is None:
            speaker = registration.gateway or registration
            return self._without_security(
                speaker.endpoint_name, speaker.client.bearer, self._vault.device(speaker.endpoint_name)
            )
        if registration.gateway is not None:
            return ""  # its gateway is asked
        credential = self._vault.by_identity(identity)
        if credential is None:
            return f"{_shown(identity)} is not in the vault any more."
        return self._lapsed(credential)

    def _admit(self, endpoint_name: str | None, source: Source, purpose: str) -> str:
        if source.identity is None:
            return self._unproven(endpoint_name, source, purpose)
        identity = source.identity
        credential = self._vault.by_identity(identity, purpose)
        if credential is None:
            raise self._refuse(True, endpoint_name or "", source, "not known here", trusted(identity))
        name = credential.endpoint_name
        lapsed = self._lapsed(credential)
        if lapsed:
            raise self._refuse(True, name, source, "not let in", lapsed)
        if endpoint_name is not None and endpoint_name != name:
            sentence = (
                f'{_shown(identity)} belongs to "{name}", but the device calls itself "{endpoint_name}": '
                "set that endpoint name in the device, or give it a key of its own."
            )
            raise self._refuse(
                False, endpoint_name, source, "this endpoint name is not that of your key", sentence
            )
        if credential.purpose != purpose:
            sentence = (
                f"{_shown(identity)} is for bootstrap only, and the device used it to register."
                if purpose == "server"
                else f"{_shown(identity)} is a key for this server, and the device asked to be bootstrapped "
                "with it; give the device a bootstrap key."
            )
            raise self._refuse(False, name, source, "this key is for something else", sentence)
        self._uses.used(identity)
        if credential.state == "staged":
            self._promote(identity)
        self._strangers.forget(name, identity)
        return name

    def _unproven(self, endpoint_name: str | None, source: Source, purpose: str) -> str:
        if not endpoint_name:
            raise Refused(
                False,
                "ep is missing, and nothing else tells who you are",
                "A device came without security and without an endpoint name.",
            )
        device = self._vault.device(endpoint_name)
        if device is not None and device.blocked:
            raise self._refuse(True, endpoint_name, source, "not let in", f"{endpoint_name} is blocked.")
        if self._strangers.blocked(endpoint_name, ""):
            raise self._refuse(True, endpoint_name, source, "not let in", f"{endpoint_name} is blocked.")
        refusal = self._without_security(endpoint_name, source.bearer, device)
        keys = () if device is None else device.credentials
        if purpose == "bootstrap" and any(one.purpose == purpose for one in keys):
            # Else whoever says its name would be given its keys, and take its place with them. A revoked one
            # counts too: to take a key back must not open the door.
            refusal = (
                f"{endpoint_name} asked to be bootstrapped without security (NoSec), but it has a bootstrap "
                "key: configure that key in the device, or add the device anew without one."
            )
        if refusal:
            raise self._refuse(True, endpoint_name, source, "not let in without security", refusal)
        return endpoint_name

    def _without_security(self, endpoint_name: str, bearer: str, device: Device | None) -> str:
        if device is not None and device.nosec:
            return ""
        if device is not None and any(one.state != "revoked" for one in device.credentials):
            return (
                f"{endpoint_name} came without security (NoSec), but it has a key: configure that key in the "
                "device, or allow NoSec for it."
            )
        if self._nosec.get(bearer, "allowed") == "everyone":
            return ""
        return (
            f"{endpoint_name} came without security (NoSec), which is allowed only for devices for which "
            "somebody allowed it."
        )

    def _lapsed(self, credential: Credential) -> str:
        device = self._vault.device(credential.endpoint_name)
        if device is None or device.blocked:
            return f"{credential.endpoint_name} is blocked."
        if credential.state == "revoked" and credential.reason == REPLACED:
            return (
                f"{_shown(credential.identity)} was replaced by a newer one: put that into "
                f"{credential.endpoint_name}, or give it another."
            )
        if credential.state == "revoked":
            return f"{_shown(credential.identity)} was revoked; give {credential.endpoint_name} a new key."
        if credential.expires_at is not None and credential.expires_at <= self._wall():
            return f"{_shown(credential.identity)} has expired; give {credential.endpoint_name} a new key."
        return ""

    def _refuse(
        self, forbidden: bool, endpoint_name: str, source: Source, said: str, sentence: str
    ) -> Refused:
        identity = source.identity or ""
        peer, proved = str(source.peer), bool(identity)
        self._strangers.knock(endpoint_name, identity, peer, source.bearer, sentence, proved=proved)
        if identity and self._vault.by_identity(identity) is not None:
            self._uses.failed(identity, sentence)
        return Refused(forbidden, said, sentence)


def trusted(identity: str) -> str:
    """What is to be done about somebody who has proved an identity that no device has."""
    return (
        f"{_shown(identity)} is trusted by its issuer, but no device has this identity; accept it here, or "
        "add the device."
    )


def _shown(identity: str) -> str:
    """An identity as a person reads it, at the start of a sentence."""
    kind, _, name = identity.partition(":")
    words = {
        "psk": "The PSK identity",
        "rpk": "The raw public key",
        "x509": "The certificate of",
        "oscore": "The OSCORE context",
    }
    return f"{words.get(kind, kind)} {name[:16] + '…' if kind == 'rpk' else name}"
