"""What a device must be told before it can come in, for people, for programs and for a QR code.

Pure: nothing here reads or writes. Whatever carries a key is made from what `Vault.add` or `Vault.rotate`
gave out this once.

The text of a QR code is made to be read by people as well: LwM2M has no form of its own. It is ``LWM2M`` and
then lines of ``name=value``, where the value goes to the end of its line::

    LWM2M
    ep=meter-17                     endpoint name
    uri=coaps://192.0.2.1:5684      server; bs_uri: bootstrap server, and so with all that follows
    mode=psk                        psk, rpk, x509, oscore, nosec
    id=meter-17                     PSK identity; id_hex when it is not printable
    key=30313233...                 PSK key in hex, never on a label

Keys of the other modes are too long for a code that a phone should read.

Longer than 400 lines: the clients of other people want the same facts in four ways.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from appliance.vault.errors import VaultError
from appliance.vault.identities import psk_identity_bytes
from appliance.vault.model import Credential, Device

Secrets = Mapping[str, bytes]
Json = dict[str, Any]

_PEM_LINE: Final = 64


@dataclass(frozen=True, slots=True)
class Gateway:
    """This unit as a device must know it: where it is, and what it proves itself with (all DER).

    ``host`` is a name or address, IPv6 without brackets; a port is None where the scheme is not served.
    """

    host: str
    coap_port: int | None
    coaps_port: int | None
    public_key: bytes
    certificate: bytes
    authority: bytes

    def uri(self, mode: str) -> str:
        """Where a device of this security mode registers. Raises VaultError("conflict")."""
        secure = mode in ("psk", "rpk", "x509")
        port = self.coaps_port if secure else self.coap_port
        if not port:
            what, setting = ("DTLS", "coaps.enabled") if secure else ("CoAP without DTLS", "coap.nosec")
            raise VaultError(
                f"{mode} needs {what}, which is switched off: see the setting {setting}", "conflict"
            )
        return f"{'coaps' if secure else 'coap'}://{bracketed(self.host)}:{port}"


def bracketed(host: str) -> str:
    """A host as it stands in a URI (RFC 3986 §3.2.2)."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def reachable_host(asked: str, own: str) -> str:
    """The host to tell devices, from the one by which a person reached us and an address of our own.

    What only means something to that person's machine is of no use to a device: localhost, a name without
    a dot, one of mDNS.
    """
    host = asked.strip("[]").partition("%")[0].rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        good = "." in host and not host.endswith((".local", ".localhost"))
    else:
        good = not (address.is_loopback or address.is_unspecified or address.is_link_local)
    return host if good else own or host


def own_address() -> str:
    """The address by which the LAN reaches us, "" when there is none; nothing is sent to find out."""
    for family, other in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((other, 9))
                return str(probe.getsockname()[0]).partition("%")[0]
        except OSError:
            continue
    return ""


# What a client needs


def provisioning(
    gateway: Gateway, device: Device, made: Sequence[Credential], secrets: Mapping[str, Secrets]
) -> Json:
    """All that must be flashed; members that do not apply are left out. Raises VaultError.

    ``made`` are the credentials in question and ``secrets`` those of theirs that may be shown. A device with
    a bootstrap key has it in ``bootstrap``, in the same shape.
    """
    server = next((one for one in made if one.purpose == "server"), None)
    first = next((one for one in made if one.purpose == "bootstrap"), None)
    found: Json = {}
    if server is not None or first is None:
        found |= account(gateway, server, secrets.get(server.id, {}) if server is not None else {})
    if first is not None:
        found["bootstrap"] = account(gateway, first, secrets.get(first.id, {}))
        found.setdefault("security", found["bootstrap"]["security"])
        found.setdefault("uri", found["bootstrap"]["uri"])
        found["bootstrap_uri"] = found["bootstrap"]["uri"]
    # A device that bootstraps is given the rest by that; its command begins there.
    begin = found if first is None else found["bootstrap"]
    found["commands"] = commands(gateway, device.endpoint_name, begin, bootstrap=first is not None)
    return found


def account(gateway: Gateway, credential: Credential | None, secrets: Secrets) -> Json:
    """One account of a device, at the server or the bootstrap server. Raises VaultError."""
    if credential is None:
        return {"uri": gateway.uri("nosec"), "security": "nosec"}
    public = credential.public
    found: Json = {"uri": gateway.uri(credential.mode), "security": credential.mode}
    match credential.mode:
        case "psk":
            identity = psk_identity_bytes(credential.identity)
            text = printable(identity)
            if text is not None:
                found["psk_identity"] = text
            found["psk_identity_hex"] = identity.hex()
            if "psk_key" in secrets:
                found["psk_key_hex"] = secrets["psk_key"].hex()
        case "rpk":
            found["public_key_pem"] = pem("PUBLIC KEY", bytes.fromhex(public["spki_hex"]))
            found["server_public_key_pem"] = pem("PUBLIC KEY", gateway.public_key)
        case "x509":
            if "certificate_pem" in public:
                found["certificate_pem"] = public["certificate_pem"]
            found["server_certificate_pem"] = pem("CERTIFICATE", gateway.certificate)
            found["authority_pem"] = pem("CERTIFICATE", gateway.authority)
        case "oscore":
            shown = {
                name: public.get(name) for name in ("sender_id", "recipient_id", "id_context", "aead", "hkdf")
            }
            shown |= {
                name: secrets[name].hex() for name in ("master_secret", "master_salt") if name in secrets
            }
            found["oscore"] = {name: value for name, value in shown.items() if value is not None}
    if "private_key" in secrets:
        found["private_key_pem"] = _private_pem(secrets["private_key"])
    return found


def printable(identity: bytes) -> str | None:
    """A PSK identity as text, None when it is none that could be typed in."""
    try:
        text = identity.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def pem(kind: str, der: bytes) -> str:
    """DER as PEM (RFC 7468)."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[at : at + _PEM_LINE] for at in range(0, len(text), _PEM_LINE)]
    return "\n".join((f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""))


def public_key_of(certificate: bytes) -> bytes:
    """The DER SubjectPublicKeyInfo of a certificate in DER."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _private_pem(der: bytes) -> str:
    key = load_der_private_key(der, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


# Command lines


def commands(gateway: Gateway, endpoint_name: str, begin: Json, *, bootstrap: bool) -> dict[str, str]:
    """Ready command lines for clients of other people, by client; those that cannot do it are left out.

    ``begin`` is the account a device begins with. Keys that go into files are written by the lines before.
    """
    found = {
        "leshan": _leshan(endpoint_name, begin, bootstrap),
        "anjay": _anjay(endpoint_name, begin, bootstrap),
        "wakaama": _wakaama(gateway, endpoint_name, begin, bootstrap),
        "zephyr": _zephyr(endpoint_name, begin, bootstrap),
    }
    return {client: text for client, text in found.items() if text}


def _leshan(name: str, begin: Json, bootstrap: bool) -> str:
    words = [
        "java",
        "-jar",
        "leshan-demo-client.jar",
        *_java("-n", "--endpoint-name", name),
        "-u",
        begin["uri"],
    ]
    if bootstrap:
        words.append("-b")
    match begin["security"]:
        case "psk" if "psk_identity" in begin and "psk_key_hex" in begin:
            words += _java("-i", "--psk-identity", begin["psk_identity"])
            words += ["-p", begin["psk_key_hex"]]
            return shlex.join(words)
        case "rpk":
            files = _Files(name)
            words += ["-cpubk", files.der("public.der", begin["public_key_pem"])]
            words += ["-cprik", files.private(begin)]
            words += ["-spubk", files.der("server-public.der", begin["server_public_key_pem"])]
            return files.then(words)
        case "x509" if "certificate_pem" in begin:
            files = _Files(name)
            words += ["-ccert", files.der("certificate.der", begin["certificate_pem"])]
            words += ["-cprik", files.private(begin)]
            words += ["-scert", files.der("server-certificate.der", begin["server_certificate_pem"])]
            return files.then(words)
        case "oscore" if "master_secret" in begin["oscore"] and "id_context" not in begin["oscore"]:
            facts = begin["oscore"]
            words += [
                "-sid",
                facts["sender_id"],
                "-rid",
                facts["recipient_id"],
                "-msec",
                facts["master_secret"],
            ]
            if facts.get("master_salt"):
                words += ["-msalt", facts["master_salt"]]
            words += ["-aead", str(facts["aead"]), f"--hkdf-algorithm={facts['hkdf']}"]
            return shlex.join(words)
        case "nosec":
            return shlex.join(words)
    return ""


def _java(short: str, long: str, value: str) -> list[str]:
    """An option of a client that takes values which begin so for options, or for files of options."""
    return [f"{long}={value}"] if value[:1] in ("-", "@") else [short, value]


def _anjay(name: str, begin: Json, bootstrap: bool) -> str:
    mode = {"psk": "psk", "rpk": "rpk", "x509": "cert", "nosec": "nosec"}.get(begin["security"])
    if mode is None:
        return ""
    words = ["./demo", "--endpoint-name", name, "--server-uri", begin["uri"], "--security-mode", mode]
    files = _Files(name)
    match begin["security"]:
        case "psk":
            if "psk_key_hex" not in begin:
                return ""
            words += ["--identity", begin["psk_identity_hex"], "--key", begin["psk_key_hex"]]
        case "rpk":
            words += ["--client-cert-file", files.der("public.der", begin["public_key_pem"])]
            words += ["--key-file", files.private(begin)]
            words += [
                "--server-public-key-file",
                files.der("server-public.der", begin["server_public_key_pem"]),
            ]
        case "x509":
            if "certificate_pem" not in begin:
                return ""
            words += ["--client-cert-file", files.der("certificate.der", begin["certificate_pem"])]
            words += ["--key-file", files.private(begin)]
            words += [
                "--server-public-key-file",
                files.der("server-certificate.der", begin["server_certificate_pem"]),
            ]
    if bootstrap:
        words.append("--bootstrap")
    return files.then(words)


def _wakaama(gateway: Gateway, name: str, begin: Json, bootstrap: bool) -> str:
    """Its client knows PSK and nothing else, and no URIs."""
    if begin["security"] not in ("psk", "nosec"):
        return ""
    words = ["./lwm2mclient", "-n", name, "-h", gateway.host, "-p", begin["uri"].rpartition(":")[2]]
    if ":" not in gateway.host:
        words.append("-4")
    if begin["security"] == "psk":
        if "psk_identity" not in begin or "psk_key_hex" not in begin:
            return ""
        words += ["-i", begin["psk_identity"], "-s", begin["psk_key_hex"]]
    if bootstrap:
        words.append("-b")
    return shlex.join(words)


def _zephyr(name: str, begin: Json, bootstrap: bool) -> str:
    """Lines of a configuration overlay for samples/net/lwm2m_client."""
    if begin["security"] not in ("psk", "nosec"):
        return ""
    secure = begin["security"] == "psk"
    if secure and "psk_key_hex" not in begin:
        return ""
    overlays = [
        *(["overlay-dtls.conf"] if secure else []),
        *(["overlay-bootstrap.conf"] if bootstrap else []),
    ]
    given = ";".join((*overlays, "overlay-homard.conf"))
    lines = [
        "# Save this as overlay-homard.conf in samples/net/lwm2m_client, then:",
        f'#   west build -b BOARD samples/net/lwm2m_client -- -DEXTRA_CONF_FILE="{given}"',
        f"CONFIG_NET_SAMPLE_LWM2M_SERVER={_kconfig(begin['uri'])}",
        f"CONFIG_NET_SAMPLE_LWM2M_ID={_kconfig(name)}",
    ]
    if secure:
        if begin.get("psk_identity") != name:
            said = begin.get("psk_identity") or f"0x{begin['psk_identity_hex']}"
            lines.insert(
                2, "# The sample shows its endpoint name as PSK identity; this device has another one, so"
            )
            lines.insert(3, f"# change resource /0/0/3 in src/lwm2m-client.c to {_kconfig(said)}.")
        lines.append(f"CONFIG_NET_SAMPLE_LWM2M_PSK={_kconfig(begin['psk_key_hex'])}")
    if bootstrap:
        lines.append("CONFIG_LWM2M_RD_CLIENT_SUPPORT_BOOTSTRAP=y")
    return "\n".join(lines)


def _kconfig(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Files:
    """Shell lines that write the DER files a client wants, named after the device."""

    def __init__(self, endpoint_name: str) -> None:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", endpoint_name).strip("._-")[:48]
        self._stem = stem or "device"
        self._lines: dict[str, str] = {}

    def der(self, ending: str, text: str) -> str:
        """The name of the file for a PEM text."""
        return self._keep(ending, base64.b64decode("".join(text.strip().splitlines()[1:-1])))

    def private(self, begin: Json) -> str:
        """The name of the file with the private key; when only the device has it, it lies there already."""
        if "private_key_pem" not in begin:
            return f"{self._stem}.private.der"
        return self.der("private.der", begin["private_key_pem"])

    def then(self, words: Sequence[str]) -> str:
        """The lines, and the command after them."""
        return "\n".join((*self._lines.values(), shlex.join(words)))

    def _keep(self, ending: str, content: bytes) -> str:
        name = f"{self._stem}.{ending}"
        text = base64.b64encode(content).decode("ascii")
        self._lines[name] = f"printf %s {text} | base64 -d > {name}"
        return name


# QR codes


def payload(endpoint_name: str, found: Json, *, keys: bool) -> str:
    """The text of a device's QR code, from what `provisioning` gave; ``keys``: with the PSK keys."""
    lines = ["LWM2M", f"ep={endpoint_name}"]
    first = found.get("bootstrap")
    if first is not None:
        lines += _lines("bs_", first, keys)
    if first is None or "psk_identity_hex" in found:
        lines += _lines("", found, keys)
    return "\n".join(lines)


def _lines(prefix: str, one: Json, keys: bool) -> list[str]:
    lines = [f"{prefix}uri={one['uri']}", f"{prefix}mode={one['security']}"]
    if "psk_identity" in one:
        lines.append(f"{prefix}id={one['psk_identity']}")
    elif "psk_identity_hex" in one:
        lines.append(f"{prefix}id_hex={one['psk_identity_hex']}")
    if keys and "psk_key_hex" in one:
        lines.append(f"{prefix}key={one['psk_key_hex']}")
    return lines


# What people give


def public_key_from(text: str) -> bytes:
    """DER SubjectPublicKeyInfo of a public key in PEM, hex or base64. Raises VaultError."""
    der = der_from(text, "public key")
    try:
        load_der_public_key(der)
    except ValueError as error:
        raise VaultError("the public key is no SubjectPublicKeyInfo in PEM, hex or base64") from error
    return der


def certificate_from(text: str) -> bytes:
    """DER of the first certificate in PEM, hex or base64. Raises VaultError."""
    try:
        if "-----BEGIN" in text:
            return x509.load_pem_x509_certificate(text.encode("utf-8")).public_bytes(Encoding.DER)
        return x509.load_der_x509_certificate(der_from(text, "certificate")).public_bytes(Encoding.DER)
    except ValueError as error:
        raise VaultError("the certificate is none in PEM, hex or base64") from error


def der_from(text: str, what: str) -> bytes:
    """Bytes from PEM, hex or base64. Raises VaultError."""
    body = "".join(line.strip() for line in text.strip().splitlines() if not line.startswith("-----"))
    compact = body.replace(":", "").replace(" ", "")
    try:
        return bytes.fromhex(compact)
    except ValueError:
        pass
    try:
        return base64.b64decode(compact, validate=True)
    except ValueError as error:
        raise VaultError(f"the {what} is neither PEM nor hex nor base64") from error


def hex_from(text: str, what: str) -> bytes:
    """Bytes from hexadecimal digits, also with colons, spaces or 0x before them. Raises VaultError."""
    compact = re.sub(r"[\s:.-]", "", text).removeprefix("0x").removeprefix("0X")
    try:
        return bytes.fromhex(compact)
    except ValueError:
        odd = len(compact) % 2 and re.fullmatch(r"[0-9A-Fa-f]*", compact)
        detail = "an odd number of hexadecimal digits" if odd else "something else than hexadecimal digits"
        raise VaultError(f"the {what} has {detail}") from None
