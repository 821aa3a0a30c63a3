"""Names in certificates: of devices, of this unit, and in what a device asks to be signed."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from appliance.vault.certificates import key_problem
from appliance.vault.errors import VaultError

MAX_REQUEST_BYTES: Final = 16 * 1024
MAX_COMMON_NAME: Final = 64  # RFC 5280 appendix A, ub-common-name


def checked_request(endpoint_name: str, request: bytes) -> x509.CertificateSigningRequest:
    """A certificate signing request that may be granted to ``endpoint_name``. Raises VaultError."""
    if len(request) > MAX_REQUEST_BYTES:
        raise VaultError(f"the request is longer than {MAX_REQUEST_BYTES} bytes")
    try:
        if b"-----BEGIN" in request:
            found = x509.load_pem_x509_csr(request)
        else:
            found = x509.load_der_x509_csr(request)
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key: object = found.public_key()
    except UnsupportedAlgorithm as error:
        raise VaultError("the request has a key of a kind that is not taken; use P-256") from error
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise VaultError("this is no certificate signing request (PKCS #10)") from error
    problem = key_problem(key)
    if problem:
        raise VaultError(f"the request has {problem}")
    try:
        strong = not isinstance(found.signature_hash_algorithm, hashes.SHA1 | hashes.MD5)
        proven = strong and found.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        strong, proven = False, False
    if not strong:
        raise VaultError("the request is signed with an algorithm that is not taken; use ECDSA with SHA-256")
    if not proven:
        raise VaultError("the signature of the request is not of its own key; make the request again")
    asked = [str(name.value) for name in names]
    if len(endpoint_name) > MAX_COMMON_NAME and not asked:
        return found
    if asked != [endpoint_name]:
        said = f"names {', '.join(map(repr, asked))[:100]}" if asked else "names nobody (its CN is missing)"
        raise VaultError(f"the request {said}, but it must have the endpoint name: CN={endpoint_name}")
    return found


def device_names(endpoint_name: str) -> tuple[x509.Name, x509.SubjectAlternativeName]:
    """Subject and alternative names of a device. Raises VaultError for a name no certificate can have."""
    if not endpoint_name or not endpoint_name.isprintable() or len(endpoint_name) > 255:
        raise VaultError(f"{endpoint_name[:40]!r} cannot stand in a certificate")
    fits = len(endpoint_name) <= MAX_COMMON_NAME
    plain = endpoint_name.isascii() and " " not in endpoint_name
    other: x509.GeneralName
    if plain and ":" in endpoint_name:
        other = x509.UniformResourceIdentifier(endpoint_name)
    elif plain and all(part and len(part) < 64 and _is_label(part) for part in endpoint_name.split(".")):
        other = x509.DNSName(endpoint_name)
    elif fits:
        other = x509.UniformResourceIdentifier("urn:x-homard:" + quote(endpoint_name, safe=""))
    else:
        raise VaultError(
            f"{endpoint_name[:40]!r}… is too long for a certificate: {MAX_COMMON_NAME} characters, "
            "or a URN or a DNS name"
        )
    subject = common_name(endpoint_name) if fits else x509.Name([])
    return subject, x509.SubjectAlternativeName([other])


def own_names(further: Iterable[str] = ()) -> list[str]:
    """Names and addresses under which this unit may be called, the one people know it by first."""
    import psutil  # late: only where certificates are made

    host = socket.gethostname().rstrip(".")
    names = [host] if "." in host else [host, f"{host}.local"]
    names.append("localhost")
    addresses = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    for interface in psutil.net_if_addrs().values():
        for one in interface:
            with contextlib.suppress(ValueError):
                addresses.add(ipaddress.ip_address(one.address.partition("%")[0]))
    for one in further:
        try:
            addresses.add(ipaddress.ip_address(one))
        except ValueError:
            names.append(one)
    ordered = sorted(addresses, key=lambda one: (one.version, int(one)))
    good = (name for name in names if name.isascii() and 0 < len(name) <= 253)
    return list(dict.fromkeys((*good, *map(str, ordered))))


def common_name(name: str) -> x509.Name:
    """A subject that consists of its common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _is_label(part: str) -> bool:
    return part.replace("-", "").isalnum() and part[0] != "-" and part[-1] != "-"
