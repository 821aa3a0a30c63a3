"""The bootstrap interface as values (OMA Core 1.1.1 §6.1): what a client asks, what it has, what it is given.

The laws of this file: the Security instance without a short server id is the bootstrap account, and nothing
here ever names it to be written or deleted (trap 44); keys that a security mode does not use are written
empty, because object 0 calls them mandatory and Leshan's client fails without them; what the client's version
of an object does not have is not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from appliance.coap.message import BAD_REQUEST, NOT_ACCEPTABLE, UNSUPPORTED_CONTENT_FORMAT
from appliance.lwm2m import content_format as formats
from appliance.lwm2m.default_versions import SUPPORTED_VERSIONS, default_version
from appliance.lwm2m.definitions import Model
from appliance.lwm2m.links import Link, parse_links
from appliance.lwm2m.operations import BootstrapPackRequest, BootstrapRequest, Parameters
from appliance.lwm2m.path import Path, PathError
from appliance.lwm2m.registration import MAX_ENDPOINT_NAME_BYTES, RegistrationError
from appliance.lwm2m.values import ObjectLink, Report, Value

SECURITY: Final = 0
SERVER: Final = 1
ACCESS_CONTROL: Final = 2
OSCORE: Final = 21

MAX_SHORT_SERVER_ID: Final = 65_534
NOBODY: Final = 65_535  # §8.2: the owner of what only bootstrapping may change

# est: a certificate that the client fetches by itself while it bootstraps (RFC 9148)
Mode = Literal["psk", "rpk", "x509", "est", "oscore", "nosec"]
MODES: Final[tuple[Mode, ...]] = ("psk", "rpk", "x509", "est", "oscore", "nosec")
_MODE_NUMBERS: Final[Mapping[Mode, int]] = {  # of /0/x/2
    "psk": 0, "rpk": 1, "x509": 2, "est": 4, "nosec": 3, "oscore": 3,
}  # fmt: skip

# Without a Discover nobody knows which instance is the bootstrap account; in known clients it is 0 or 1.
BLIND_START: Final = 2

_WRITABLE: Final = (formats.TLV, formats.SENML_CBOR, formats.SENML_JSON, formats.LWM2M_CBOR, formats.OMA_JSON)
_PACKABLE: Final = (formats.SENML_CBOR, formats.SENML_JSON, formats.LWM2M_CBOR)


# What a client asks


def parse_bootstrap_request(queries: Sequence[str]) -> BootstrapRequest:
    """A Bootstrap-Request from its Uri-Query options (§6.1.7.1).

    Raises ``RegistrationError``: 4.00 for what has no meaning, 4.15 for a ``pct`` that we cannot write.
    """
    endpoint_name, preferred, others = _parameters(queries, ("pct",))
    if preferred is None:
        return BootstrapRequest(endpoint_name, None, others)
    number = _format(preferred)
    if number not in _WRITABLE:
        raise RegistrationError(
            UNSUPPORTED_CONTENT_FORMAT, "pct must be one of 11542, 112, 110, 11544 and 11543"
        )
    return BootstrapRequest(endpoint_name, number, others)


def parse_bootstrap_pack_request(queries: Sequence[str], accept: int | None) -> BootstrapPackRequest:
    """A Bootstrap-Pack-Request from its options (Core 1.2 §6.1.7.7).

    Accept says in which format; so do ``acc``, as the test specification has it, and ``pct``. Raises
    ``RegistrationError``: 4.00, 4.06.
    """
    endpoint_name, preferred, others = _parameters(queries, ("acc", "pct"))
    wanted = accept if accept is not None else _format(preferred) if preferred is not None else None
    if wanted is not None and wanted not in _PACKABLE:
        raise RegistrationError(NOT_ACCEPTABLE, "a pack comes in content format 112, 110 or 11544")
    return BootstrapPackRequest(endpoint_name, wanted, others)


def _parameters(
    queries: Sequence[str], names_of_format: Sequence[str]
) -> tuple[str | None, str | None, Parameters]:
    endpoint_name = preferred = None
    others: list[tuple[str, str | None]] = []
    for query in queries:
        name, equals, value = query.partition("=")
        if name == "ep":
            if endpoint_name is not None and endpoint_name != value:
                raise RegistrationError(BAD_REQUEST, "ep is given twice with different names")
            endpoint_name = value
        elif name in names_of_format:
            preferred = preferred or value
        else:
            others.append((name, value if equals else None))
    if endpoint_name and (
        not endpoint_name.isprintable() or len(endpoint_name.encode()) > MAX_ENDPOINT_NAME_BYTES
    ):
        raise RegistrationError(BAD_REQUEST, "ep must be printable text of at most 255 bytes")
    return endpoint_name or None, preferred, tuple(others)


def _format(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5:
        return formats.canonical(int(text))
    return -1


def bootstrap_formats(version: str, preferred: Sequence[int], learned: int | None) -> tuple[int, ...]:
    """The formats to try for a Bootstrap-Write, one after the other on 4.06 and 4.15 (traps 46 and 47).

    ``preferred`` is the client's ``pct``. Where it said nothing, TLV is what every client of 1.0 and nearly
    every one of 1.1 reads; from 1.2 on it may be missing.
    """
    usual: tuple[int, ...] = (formats.TLV, formats.SENML_CBOR, formats.SENML_JSON)
    if version == "1.0":
        usual = (formats.TLV, formats.OMA_JSON)
    elif version >= "1.2":
        usual = (formats.SENML_CBOR, formats.LWM2M_CBOR, formats.SENML_JSON, formats.TLV)
    first = () if learned is None else (learned,)
    return tuple(dict.fromkeys((*first, *preferred, *usual)))


# What a client has


@dataclass(frozen=True, slots=True)
class Discovered:
    """What Bootstrap-Discover told (§6.1.7.3). ``known`` False: the client did not tell.

    ``accounts`` gives the short server id of each instance of objects 0, 1 and 21, None where it has none:
    in object 0 that is the bootstrap account.
    """

    version: str = ""
    instances: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    accounts: Mapping[Path, int | None] = field(default_factory=dict)
    versions: Mapping[int, str] = field(default_factory=dict)
    known: bool = False

    @property
    def bootstrap_account(self) -> Path | None:
        """The instance of the bootstrap account, None when it did not show."""
        for path, short_server_id in self.accounts.items():
            if path[0] == SECURITY and short_server_id is None:
                return path
        return None

    def object_version(self, object_id: int) -> str:
        """The version of an object as the client gave it, else the one of its enabler (§7.2.2)."""
        return self.versions.get(object_id) or default_version(object_id, self.version or "1.0")


def parse_bootstrap_links(payload: bytes) -> tuple[Link, ...]:
    """The links of the answer to Bootstrap-Discover; raises ``LinkFormatError``.

    LwM2M 1.0 begins its list with ``lwm2m="1.0",``, which is no link; it becomes a parameter of the root.
    """
    text = payload.lstrip()
    if not text.startswith(b"lwm2m"):
        return parse_links(payload)
    head, _, rest = text.partition(b",")
    version = head.partition(b"=")[2].strip(b'" ').decode(errors="replace")
    return (Link("/", (("lwm2m", version),)), *parse_links(rest))


def read_discovered(links: Iterable[Link]) -> Discovered:
    """What the links of a Bootstrap-Discover say; what is no path of ours is passed over."""
    version = ""
    instances: dict[int, dict[int, None]] = {}
    accounts: dict[Path, int | None] = {}
    versions: dict[int, str] = {}
    for link in links:
        if link.target in ("", "/"):
            version = (link.get("lwm2m") or version).strip('"')
            continue
        try:
            path = Path.parse(link.target)
        except PathError:
            continue
        known = instances.setdefault(path[0], {})
        if link.get("ver"):
            versions.setdefault(path[0], str(link.get("ver")))
        if path.level < 2:
            continue
        known[path[1]] = None
        if path.level == 2 and path[0] in (SECURITY, SERVER, OSCORE):
            accounts[path] = _short_server_id(link.get("ssid"))
    return Discovered(
        version if version in SUPPORTED_VERSIONS else "1.0",
        {object_id: tuple(sorted(found)) for object_id, found in instances.items()},
        accounts,
        versions,
        True,
    )


def _short_server_id(text: str | None) -> int | None:
    """0 and 65535 stand for a bootstrap server in some clients (§ E.1 of 1.0 gave no other number)."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 5:
        return None
    number = int(text)
    return number if 0 < number <= MAX_SHORT_SERVER_ID else None


# What a client is given


@dataclass(frozen=True, slots=True)
class OscoreKeys:
    """An OSCORE context as the client sees it (object 21; RFC 8613 §3.2); algorithms by COSE numbers."""

    master_secret: bytes = field(repr=False)
    sender_id: bytes
    recipient_id: bytes
    master_salt: bytes = field(default=b"", repr=False)
    id_context: bytes = b""
    aead: int = 10  # AES-CCM-16-64-128
    hkdf: int = -10  # HKDF SHA-256


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens one account, by mode.

    ``public`` is the PSK identity, the raw public key (SubjectPublicKeyInfo, DER) or the certificate (DER);
    ``secret`` the PSK or the private key (PKCS #8, DER); ``server_public`` the server's raw public key or the
    certificate that the client is to compare. Empty is what the mode does not use.
    """

    mode: Mode
    public: bytes = b""
    secret: bytes = field(default=b"", repr=False)
    server_public: bytes = b""
    oscore: OscoreKeys | None = None


class Instance(NamedTuple):
    """One object instance to be written."""

    path: Path
    reports: tuple[Report, ...]


def security_instance(
    path: Path,
    uri: str,
    keys: Keys,
    model: Model,
    *,
    short_server_id: int | None,
    oscore: Path | None = None,
    certificate_usage: int | None = None,
    sni: str = "",
    hold_off_s: int | None = None,
    account_timeout_s: int | None = None,
) -> Instance:
    """A Security instance (E.1). ``short_server_id`` None makes it the account of a bootstrap server."""
    values: dict[int, Value | None] = {
        0: uri,
        1: short_server_id is None,
        2: _MODE_NUMBERS[keys.mode],
        3: keys.public,
        4: keys.server_public,
        5: keys.secret,
        10: short_server_id,
        11: hold_off_s,
        12: account_timeout_s,
        14: sni or None,
        15: certificate_usage if keys.mode in ("x509", "est") else None,
        17: None if oscore is None else ObjectLink(oscore[0], oscore[1]),
    }
    return instance(path, values, model)


def oscore_instance(path: Path, keys: OscoreKeys, model: Model) -> Instance:
    """An OSCORE instance (E.9)."""
    values: dict[int, Value | None] = {
        0: keys.master_secret,
        1: keys.sender_id,
        2: keys.recipient_id,
        3: keys.aead,
        4: keys.hkdf,
        5: keys.master_salt or None,
        6: keys.id_context or None,
    }
    return instance(path, values, model)


def access_control_instance(
    path: Path, object_id: int, instance_id: int, owner: int, rights: Sequence[tuple[int, int]], model: Model
) -> Instance:
    """An Access Control instance (E.3); ``rights`` are pairs of short server id (0: all others) and bits."""
    reports = [
        Report(path.child(0), object_id, None, True),
        Report(path.child(1), instance_id, None, True),
        *(Report(path.child(2).child(server), bits, None, True) for server, bits in rights),
        Report(path.child(3), owner, None, True),
    ]
    return Instance(path, tuple(one for one in reports if model.resource(one.path) is not None))


def instance(path: Path, values: Mapping[int, Value | None], model: Model) -> Instance:
    """The instance with what is given and what the client's version of the object has."""
    return Instance(path, tuple(_reports(path, values, model)))


def _reports(path: Path, values: Mapping[int, Value | None], model: Model) -> Iterator[Report]:
    for resource_id, value in values.items():
        resource = path.child(resource_id)
        if value is not None and model.resource(resource) is not None:
            yield Report(resource, value, None, True)


def free_ids(found: Discovered, object_id: int, kept: Iterable[int]) -> Iterator[int]:
    """Instance ids to write to, lowest first, none of those ``kept``."""
    taken = set(kept)
    first = BLIND_START if object_id == SECURITY and not found.known else 0
    return (number for number in range(first, NOBODY) if number not in taken)


def shown_value(report: Report) -> str:
    """A value for the operator's eyes: of keys and bytes only how long they are."""
    if isinstance(report.value, bytes):
        return f"{len(report.value)} bytes"
    return str(report.value)
