"""The Register Tool: devices come into the vault here, with everything they must be told.

The same for the page, for programs and for the command line. It joins the vault, which keeps keys, with the
authority, which makes certificates: a certificate of ours that is not to be used any more is revoked in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from cryptography import x509

from appliance.vault.authority import COMPROMISED, REMOVED, SUPERSEDED, Authority
from appliance.vault.errors import VaultError
from appliance.vault.importing import SECURITIES, export_rows, read_rows, to_csv, to_json
from appliance.vault.labels import MAX_LABELS, Label, label_svg, qr_svg, sheet_svg
from appliance.vault.model import PURPOSES, Credential, Device, NewCredential, NewDevice, Provisioned
from appliance.vault.provisioning import Gateway, Json, payload, provisioning, public_key_of
from appliance.vault.vault import Vault

# A QR code takes some milliseconds; with more devices than this at once they come without.
MAX_CODES: Final = 100


@dataclass(frozen=True, slots=True)
class Given:
    """Material that somebody has already; what is None is made. ``request`` is PKCS #10."""

    psk_identity: bytes | None = None
    psk_key: bytes | None = field(default=None, repr=False)
    public_key: bytes | None = None
    certificate: bytes | None = None
    request: bytes | None = None


class Shown(NamedTuple):
    """A device and what must be flashed, with secrets, this once."""

    device: Device
    provisioning: Json

    def __repr__(self) -> str:
        return f"Shown({self.device.endpoint_name})"


class Report(NamedTuple):
    """What came of a list: how many were added, and every row with what is wrong with it."""

    added: int
    rows: list[Json]
    devices: list[Shown]

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong."""
        return not any(row["problems"] for row in self.rows)


class Register:
    """Thread-safe, as vault and authority are; not for the event loop, as it waits for the disk."""

    def __init__(self, vault: Vault, authority: Authority) -> None:
        self._vault = vault
        self._authority = authority

    def gateway(self, host: str, coap_port: int | None, coaps_port: int | None) -> Gateway:
        """This unit as devices reach it there."""
        certificate = self._authority.told_to_client(3)
        return Gateway(
            host,
            coap_port,
            coaps_port,
            public_key_of(certificate),
            certificate,
            self._authority.told_to_client(2),
        )

    # One device

    def add(
        self, new: NewDevice, security: str, given: Given, *, bootstrap: bool, gateway: Gateway, by: str
    ) -> Shown:
        """Add a device with one key, for the server or for the bootstrap server. Raises VaultError."""
        if security not in SECURITIES:
            raise VaultError(f"security is one of {', '.join(SECURITIES)}, not {security[:40]!r}")
        gateway.uri(security)  # better no device than one that nobody can reach
        if security == "nosec":
            _refuse_material(security, given)
            made = self._vault.add([replace(new, nosec=True)], by)[0]
            return self._shown(gateway, made)
        self._refuse(new)
        credential = self._credential(
            new.endpoint_name, "bootstrap" if bootstrap else "server", security, given
        )
        try:
            made = self._vault.add([replace(new, credentials=(*new.credentials, credential))], by)[0]
        except VaultError:
            self._take_back(credential, given)
            raise
        return self._shown(gateway, made)

    def rotate(
        self,
        endpoint_name: str,
        purpose: str | None,
        given: Given,
        *,
        staged: bool,
        gateway: Gateway,
        by: str,
    ) -> Shown:
        """A new key of the same kind under a new identity. Staged: the old one opens until the new one is
        used, else it is revoked now. Raises VaultError.
        """
        device = self._found(endpoint_name)
        if purpose is None:
            living = [one for one in device.credentials if one.state != "revoked"] or device.credentials
            purpose = "server" if any(one.purpose == "server" for one in living) else "bootstrap"
        if purpose not in PURPOSES:
            raise VaultError(f"a key is for {' or '.join(PURPOSES)}, not for {purpose[:40]!r}")
        olds = [one for one in device.credentials if one.purpose == purpose]
        if not olds:
            raise VaultError(
                f"{endpoint_name} has no {purpose} key that could be replaced: add one", "not_found"
            )
        mode = (device.credential(purpose) or olds[-1]).mode
        gateway.uri(mode)
        credential = self._credential(endpoint_name, purpose, mode, given)
        try:
            made = self._vault.rotate(endpoint_name, purpose, by, staged=staged, new=credential)
        except VaultError:
            self._take_back(credential, given)
            raise
        # Those that were replaced before, too: after a while the vault does not remember them.
        self._authority.revoke(
            _serials(one for one in self._found(endpoint_name).credentials if one.state == "revoked"),
            SUPERSEDED,
        )
        return self._shown(gateway, made)

    def revoke(self, endpoint_name: str, by: str, reason: str, credential_id: str | None = None) -> Device:
        """Let a device, or one key of it, in no more. Raises VaultError."""
        device = self._found(endpoint_name)
        gone = [
            one for one in device.credentials if credential_id in (None, one.id) and one.state != "revoked"
        ]
        self._vault.revoke(endpoint_name, by, reason, credential_id)
        self._authority.revoke(_serials(gone), COMPROMISED)
        if credential_id is None and (device.nosec or not device.credentials):
            # Without a key that could be revoked it would go on coming in.
            self._vault.update(endpoint_name, by, blocked=True)
        return self._found(endpoint_name)

    def reinstate(self, endpoint_name: str, by: str) -> Device:
        """Take back a revocation by hand. Raises VaultError; a certificate of ours cannot come back."""
        device = self._found(endpoint_name)
        lost = {one.serial for one in self._authority.issued() if one.revoked_at is not None}
        revoked = [one for one in device.credentials if one.state == "revoked"]
        back = [one for one in revoked if one.public.get("serial") not in lost]
        if len(back) == len(revoked):
            return self._vault.reinstate(endpoint_name, by)
        if not back and not device.blocked:
            raise VaultError(
                f"the certificate of {endpoint_name} is on the list of revoked ones and cannot come back: "
                "rotate it",
                "conflict",
            )
        for one in back:
            self._vault.reinstate(endpoint_name, by, one.id)
        return self._vault.update(endpoint_name, by, blocked=False)

    def remove(self, endpoint_name: str, by: str) -> None:
        """Forget a device and its keys. Raises VaultError("not_found")."""
        # First the list of revoked ones: once the vault has forgotten a certificate, only that keeps it out.
        self._authority.revoke(_serials(self._found(endpoint_name).credentials), REMOVED)
        self._vault.remove(endpoint_name, by)

    def sign(self, endpoint_name: str, request: bytes, by: str) -> bytes:
        """The certificate (DER) for a request; a device the vault knows may use it from now on. Raises
        VaultError.
        """
        certificate = self._authority.sign(endpoint_name, request)
        device = self._vault.device(endpoint_name)
        if device is None:
            self._vault.note(by, "certificate signed; the device is not in the vault", endpoint_name)
            return certificate
        credential = NewCredential("server", "x509", certificate=certificate)
        try:
            self._vault.add_credential(
                endpoint_name, credential, by, staged=device.credential("server") is not None
            )
        except VaultError:
            self._take_back(credential, Given())
            raise
        return certificate

    # Many devices

    def take_in(
        self,
        data: bytes,
        gateway: Gateway,
        by: str,
        *,
        dry_run: bool,
        may: Callable[[NewDevice], str] = lambda _: "",
        sees: Callable[[str], bool] = lambda _: True,
    ) -> Report:
        """Add the devices of a list: all of them, or none when a single row is wrong.

        ``may`` says what speaks against a device for who asks, "" for nothing; ``sees`` which devices exist
        for who asks: no other is named. Raises VaultError when the list cannot be understood as one.
        """
        rows = read_rows(data)
        wrong: dict[int, list[str]] = {at: list(row.problems) for at, row in enumerate(rows)}
        new = [row.device for row in rows if row.device is not None]
        places = [at for at, row in enumerate(rows) if row.device is not None]
        for place, device in zip(places, new, strict=True):
            for problem in (may(device), _unreachable(gateway, device)):
                if problem:
                    wrong[place].append(problem)
        # Certificates that the authority is to make are made when everything else is right.
        called = [rows[place].row for place in places]
        for index, error in self._vault.check_new(list(map(_without_certificates_to_make, new)), called):
            wrong[places[index]].append(str(error.told(sees)))
        shown = [
            {"row": row.row, "endpoint_name": row.endpoint_name, "problems": wrong[at]}
            for at, row in enumerate(rows)
        ]
        if dry_run or any(wrong.values()):
            return Report(0, shown, [])
        codes = len(new) <= MAX_CODES
        certified, serials = self._certified(new)
        try:
            added = self._vault.add(certified, by)
        except VaultError:
            self._authority.revoke(serials, SUPERSEDED)
            raise
        made = [self._shown(gateway, one, code=codes) for one in added]
        return Report(len(made), shown, made)

    def list_out(self, devices: Iterable[Device], form: str) -> bytes:
        """The devices without secrets as "csv" or "json", to be taken in again."""
        rows = export_rows(devices)
        return to_json(rows) if form == "json" else to_csv(rows)

    # Paper

    def label(self, device: Device, gateway: Gateway) -> str:
        """A label as SVG, without keys."""
        return label_svg(_label(device, gateway))

    def sheet(self, devices: Sequence[Device], gateway: Gateway) -> str:
        """Sheets of labels as SVG. Raises VaultError for too many."""
        if len(devices) > MAX_LABELS:
            raise VaultError(f"a sheet has at most {MAX_LABELS} labels, not {len(devices)}: choose a group")
        return sheet_svg([_label(device, gateway) for device in devices])

    # Inside

    def _found(self, endpoint_name: str) -> Device:
        device = self._vault.device(endpoint_name)
        if device is None:
            raise VaultError(f"there is no device {endpoint_name!r} in the vault", "not_found")
        return device

    def _refuse(self, new: NewDevice) -> None:
        """Raises VaultError for what is wrong already without a key."""
        problems = self._vault.check_new([replace(new, credentials=())])
        if problems:
            raise problems[0][1]

    def _credential(self, endpoint_name: str, purpose: str, security: str, given: Given) -> NewCredential:
        """A key of that kind, of what was given; the authority makes the certificate that is missing."""
        _refuse_material(security, given)
        if security != "x509":
            return NewCredential(
                purpose,
                security,
                psk_identity=given.psk_identity,
                psk_key=given.psk_key,
                spki=given.public_key,
            )
        if given.certificate is not None:
            return NewCredential(purpose, "x509", certificate=given.certificate)
        if given.request is not None:
            certificate = self._authority.sign(endpoint_name, given.request)
            return NewCredential(purpose, "x509", certificate=certificate)
        certificate, private_key = self._authority.issue_with_new_key(endpoint_name)
        return NewCredential(purpose, "x509", certificate=certificate, private_key=private_key)

    def _certified(self, new: Sequence[NewDevice]) -> tuple[list[NewDevice], list[str]]:
        """The devices with the certificates that were missing, and the serial numbers of those."""
        wanting = [device.endpoint_name for device in new if any(map(_is_to_make, device.credentials))]
        made = iter(self._authority.issue_with_new_keys(wanting))
        serials: list[str] = []

        def with_certificate(one: NewCredential) -> NewCredential:
            if not _is_to_make(one):
                return one
            certificate, private_key = next(made)
            serials.append(f"{x509.load_der_x509_certificate(certificate).serial_number:x}")
            return replace(one, certificate=certificate, private_key=private_key)

        certified = [
            replace(device, credentials=tuple(map(with_certificate, device.credentials))) for device in new
        ]
        return certified, serials

    def _take_back(self, credential: NewCredential, given: Given) -> None:
        """Revoke a certificate that was made for nothing."""
        if credential.certificate is not None and given.certificate is None:
            serial = x509.load_der_x509_certificate(credential.certificate).serial_number
            self._authority.revoke([f"{serial:x}"], SUPERSEDED)

    def _shown(self, gateway: Gateway, made: Provisioned, *, code: bool = True) -> Shown:
        found = provisioning(gateway, made.device, made.made, made.secrets)
        if code:
            found["qr_svg"] = qr_svg(payload(made.device.endpoint_name, found, keys=True))
        return Shown(made.device, found)


def _refuse_material(security: str, given: Given) -> None:
    """Raises VaultError for material of another kind of security: it would be dropped without a word."""
    for mode, what, value in (
        ("psk", "a PSK identity", given.psk_identity),
        ("psk", "a PSK key", given.psk_key),
        ("rpk", "a public key", given.public_key),
        ("x509", "a certificate", given.certificate),
        ("x509", "a certificate request", given.request),
    ):
        if value is not None and mode != security:
            raise VaultError(f"{what} does not go with the security {security}")
    if given.certificate is not None and given.request is not None:
        raise VaultError("give a certificate or a request for one, not both")


def _is_to_make(one: NewCredential) -> bool:
    """Whether it is a certificate that the authority is to make."""
    return one.mode == "x509" and one.certificate is None and one.pinned_sha256 is None


def _without_certificates_to_make(device: NewDevice) -> NewDevice:
    return replace(device, credentials=tuple(one for one in device.credentials if not _is_to_make(one)))


def _unreachable(gateway: Gateway, device: NewDevice) -> str:
    try:
        for credential in device.credentials:
            gateway.uri(credential.mode)
        if not device.credentials:
            gateway.uri("nosec")
    except VaultError as error:
        return str(error)
    return ""


def _serials(credentials: Iterable[Credential]) -> list[str]:
    return [str(one.public["serial"]) for one in credentials if "serial" in one.public]


def _label(device: Device, gateway: Gateway) -> Label:
    made = [one for one in map(device.credential, ("server", "bootstrap")) if one is not None]
    if not made and not device.nosec:
        return Label(device.endpoint_name, device.label, ("no key",), f"LWM2M\nep={device.endpoint_name}")
    found = provisioning(gateway, device, made, {})
    begin = found.get("bootstrap", found)
    lines = [("bootstrap " if "bootstrap" in found else "") + begin["uri"]]
    if "psk_identity_hex" in begin:
        lines.append(f"identity {begin.get('psk_identity') or '0x' + begin['psk_identity_hex']}")
    else:
        lines.append(
            {"nosec": "no security", "rpk": "raw public key", "x509": "certificate"}.get(
                begin["security"], begin["security"].upper()
            )
        )
    return Label(
        device.endpoint_name, device.label, tuple(lines), payload(device.endpoint_name, found, keys=False)
    )
