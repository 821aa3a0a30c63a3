"""Bootstrap plans: what a device is to be given, as a person writes it down, checked before it is kept.

A plan in JSON, with what is assumed where something is left out::

    {"name": "…", "description": "",
     "servers": [{
        "short_server_id": 1,            1 to 65534, each once
        "uri": "$uri",                   $uri is this gateway as the device sees it, $host its address alone
        "security": "auto",              psk, rpk, x509, est, oscore, nosec; auto: as its own key says
        "key": "fresh",                  fresh: made anew at each bootstrap; current: the one it has
        "certificate_usage": null,       x509 and est only: 0 to 3 (RFC 6698)
        "server_public_key": null,       hex (DER) of another server's public key or certificate
        "sni": "",
        "lifetime_s": 300, "binding": "U", "queue_mode": false,
        "default_pmin_s": null, "default_pmax_s": null, "disable_timeout_s": null,
        "notification_storing": true, "trigger": null, "mute_send": false, "preferred_transport": null,
        "resources": {}}],               further resources of object 1 by their ids
     "bootstrap_servers": [{"uri": "…", "security": "auto", "hold_off_s": null, "account_timeout_s": null,
        "certificate_usage": null, "server_public_key": null}],
     "access_control": [{"object_id": 3, "instance_id": 0, "owner": 1, "rights": {"1": 31, "0": 1}}],
     "deletes": ["/0", "/1", "/2", "/21"],
     "writes": {"/3/0/14": "+02:00"},    $endpoint_name and $host stand for theirs in texts
     "write_by": "instance",              instance, or object: all instances of an object in one message
     "read_back": false}                 read objects 1 and 2 before the end (LwM2M 1.1)

Longer than 400 lines: every sentence that a person may read about a plan stands here, beside its rule.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from appliance.lwm2m.bootstrap import (
    ACCESS_CONTROL,
    MAX_SHORT_SERVER_ID,
    MODES,
    NOBODY,
    OSCORE,
    SECURITY,
    SERVER,
)
from appliance.lwm2m.definitions import Definitions
from appliance.lwm2m.path import MAX_ID, Path, PathError
from appliance.lwm2m.values import ValueFormatError, from_json

OWN_URI: Final = "$uri"
MAX_SERVERS: Final = 8
MAX_WRITES: Final = 64

_ENTRIES: Final = ("servers", "bootstrap_servers", "access_control")
_MODES_OR_AUTO: Final = ("auto", *MODES)
_SCHEMES: Final = {
    "coap": ("nosec", "oscore"),
    "coap+tcp": ("nosec", "oscore"),
    "coaps": ("psk", "rpk", "x509", "est"),
    "coaps+tcp": ("psk", "rpk", "x509", "est"),
}
_BINDING = re.compile(r"[UTSNMH]{1,6}")
_HOST_VARIABLE: Final = "$host"
_VARIABLE = re.compile(r"\$[a-z_]+")
_VARIABLES: Final = (OWN_URI, _HOST_VARIABLE, "$endpoint_name")
_LONG_LIFETIME_S: Final = 30 * 86_400
_SHORT_LIFETIME_S: Final = 20

# Resources of object 1 that have names of their own in a plan.
SERVER_FIELDS: Final[Mapping[str, int]] = {
    "default_pmin_s": 2,
    "default_pmax_s": 3,
    "disable_timeout_s": 5,
    "notification_storing": 6,
    "trigger": 21,
    "preferred_transport": 22,
    "mute_send": 23,
}
_NAMED = {0, 1, 7, *SERVER_FIELDS.values()}


@dataclass(frozen=True, slots=True)
class ServerEntry:
    """One LwM2M server: an instance of object 0, one of object 1, and one of 21 where OSCORE protects it."""

    short_server_id: int = 1
    uri: str = OWN_URI
    security: str = "auto"
    key: str = "fresh"
    certificate_usage: int | None = None
    server_public_key: bytes | None = None
    sni: str = ""
    lifetime_s: int = 300
    binding: str = "U"
    queue_mode: bool = False
    default_pmin_s: int | None = None
    default_pmax_s: int | None = None
    disable_timeout_s: int | None = None
    notification_storing: bool = True
    trigger: bool | None = None
    mute_send: bool | None = False
    preferred_transport: str | None = None
    resources: tuple[tuple[int, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class BootstrapServerEntry:
    """A further bootstrap server: an instance of object 0, opened with the device's bootstrap key."""

    uri: str = ""
    security: str = "auto"
    hold_off_s: int | None = None
    account_timeout_s: int | None = None
    certificate_usage: int | None = None
    server_public_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """An instance of object 2; ``rights`` by short server id, 0 for all others (Core §8.2)."""

    object_id: int = 0
    instance_id: int = 0
    owner: int = NOBODY
    rights: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that has no problems."""

    name: str
    servers: tuple[ServerEntry, ...]
    bootstrap_servers: tuple[BootstrapServerEntry, ...] = ()
    access_control: tuple[AccessEntry, ...] = ()
    deletes: tuple[Path, ...] = (Path(SECURITY), Path(SERVER), Path(ACCESS_CONTROL), Path(OSCORE))
    writes: tuple[tuple[Path, Any], ...] = ()
    write_by: Literal["instance", "object"] = "instance"
    read_back: bool = False
    description: str = ""

    def to_api(self) -> dict[str, Any]:
        """The shape of the API, which is also the document."""
        return {
            "name": self.name,
            "description": self.description,
            "servers": [_shown(entry) for entry in self.servers],
            "bootstrap_servers": [_shown(entry) for entry in self.bootstrap_servers],
            "access_control": [
                {
                    "object_id": entry.object_id,
                    "instance_id": entry.instance_id,
                    "owner": entry.owner,
                    "rights": {str(server): bits for server, bits in entry.rights},
                }
                for entry in self.access_control
            ],
            "deletes": [str(path) for path in self.deletes],
            "writes": {str(path): value for path, value in self.writes},
            "write_by": self.write_by,
            "read_back": self.read_back,
        }


BUILT_IN: Final = Plan(
    "Default",
    (ServerEntry(),),
    description="This gateway as the only server, with a fresh key of the same kind as the device has.",
)


class Checked(NamedTuple):
    """What was found out about a plan; ``plan`` None when there are problems."""

    plan: Plan | None
    problems: list[str]
    warnings: list[str]


def check_plan(body: object, definitions: Definitions) -> Checked:
    """Read a plan and say everything that is wrong with it (problems) or odd about it (warnings)."""
    problems: list[str] = []
    warnings: list[str] = []
    plan = _read(body, problems)
    if plan is not None:
        _lint(plan, definitions, problems, warnings)
    return Checked(None if problems else plan, problems, warnings)


# Reading: what has the wrong shape


class _Fields:
    """The members of one JSON object, with a sentence for each that is not what it must be."""

    def __init__(self, given: object, what: str, known: Sequence[str], problems: list[str]) -> None:
        self._what = what
        self._problems = problems
        self._given: Mapping[str, Any] = {}
        if not isinstance(given, Mapping):
            problems.append(f"{what} must be an object with members.")
            return
        self._given = given
        for name in given:
            if name not in known:
                problems.append(f"{what} has no member {str(name)[:40]!r}; it has {', '.join(known)}.")

    def whole(self, name: str, low: int, high: int, default: Any) -> Any:
        value = self._given.get(name, default)
        if value is None and default is None:
            return None
        if type(value) is not int or not low <= value <= high:
            self._problems.append(f"{self._what}: {name} must be a whole number from {low} to {high}.")
            return default
        return value

    def flag(self, name: str, default: bool | None) -> Any:
        value = self._given.get(name, default)
        if value is not None and not isinstance(value, bool):
            self._problems.append(f"{self._what}: {name} must be true or false.")
            return default
        return value

    def text(self, name: str, default: str, longest: int = 255) -> str:
        value = self._given.get(name)
        if value is None:
            return default
        printable = isinstance(value, str) and (not value or value.isprintable())
        if not printable or len(value.encode()) > longest:
            self._problems.append(
                f"{self._what}: {name} must be a printable text of at most {longest} bytes."
            )
            return default
        return str(value)

    def one_of(self, name: str, known: Sequence[str], default: str) -> str:
        value = self._given.get(name, default)
        if value not in known:
            self._problems.append(f"{self._what}: {name} must be one of {', '.join(known)}.")
            return default
        return str(value)

    def octets(self, name: str) -> bytes | None:
        value = self._given.get(name)
        if value is None or value == "":
            return None
        try:
            return bytes.fromhex(value)
        except (TypeError, ValueError):
            self._problems.append(f"{self._what}: {name} must be hexadecimal digits, two for each byte.")
            return None

    def members(self, name: str) -> Mapping[str, Any]:
        value = self._given.get(name) or {}
        if not isinstance(value, Mapping):
            self._problems.append(f"{self._what}: {name} must be an object with members.")
            return {}
        return value

    def entries(self, name: str, most: int) -> Sequence[object]:
        value = self._given.get(name) or []
        if not isinstance(value, list) or len(value) > most:
            self._problems.append(f"{self._what}: {name} must be a list of at most {most}.")
            return []
        return value

    def has(self, name: str) -> bool:
        return name in self._given


def _read(body: object, problems: list[str]) -> Plan | None:
    known = ("id", "built_in", "name", "description", *_ENTRIES, "deletes", "writes", "write_by", "read_back")
    fields = _Fields(body, "The plan", known, problems)
    if not isinstance(body, Mapping):
        return None
    name = fields.text("name", "", 64).strip()
    if not name:
        problems.append("The plan needs a name of at most 64 characters.")
    servers = tuple(
        _server(entry, f"Server {number}", problems)
        for number, entry in enumerate(fields.entries("servers", MAX_SERVERS), 1)
    )
    further = tuple(
        _bootstrap_server(entry, f"Bootstrap server {number}", problems)
        for number, entry in enumerate(fields.entries("bootstrap_servers", MAX_SERVERS), 1)
    )
    access = tuple(
        _access(entry, f"Access control {number}", problems)
        for number, entry in enumerate(fields.entries("access_control", MAX_WRITES), 1)
    )
    plan = Plan(
        name,
        servers,
        further,
        access,
        writes=tuple(_paths_of(fields.members("writes"), problems)),
        write_by="object"
        if fields.one_of("write_by", ("instance", "object"), "instance") == "object"
        else "instance",
        read_back=bool(fields.flag("read_back", False)),
        description=fields.text("description", "", 1000),
    )
    if fields.has("deletes"):
        deletes: list[Path] = []
        for text in fields.entries("deletes", MAX_WRITES):
            path = _path(text)
            if path is None or path.level > 2:
                problems.append(
                    f"{str(text)[:40]!r} cannot be deleted: name an object or an instance, like /1/0."
                )
            else:
                deletes.append(path)
        plan = replace(plan, deletes=tuple(dict.fromkeys(deletes)))
    return plan


def _server(given: object, what: str, problems: list[str]) -> ServerEntry:
    default = ServerEntry()
    fields = _Fields(given, what, ServerEntry.__slots__, problems)
    resources: list[tuple[int, Any]] = []
    for name, value in fields.members("resources").items():
        if not (isinstance(name, str) and name.isascii() and name.isdigit() and int(name[:6]) <= MAX_ID):
            problems.append(f"{what}: {str(name)[:40]!r} is no resource id.")
        elif int(name) in _NAMED:
            problems.append(f"{what}: resource {name} has a member of its own in the plan; use that.")
        else:
            resources.append((int(name), value))
    return ServerEntry(
        short_server_id=fields.whole("short_server_id", 1, MAX_SHORT_SERVER_ID, 1),
        uri=fields.text("uri", OWN_URI),
        security=fields.one_of("security", _MODES_OR_AUTO, "auto"),
        key=fields.one_of("key", ("fresh", "current"), "fresh"),
        certificate_usage=fields.whole("certificate_usage", 0, 3, None),
        server_public_key=fields.octets("server_public_key"),
        sni=fields.text("sni", ""),
        lifetime_s=fields.whole("lifetime_s", 1, 2**31 - 1, default.lifetime_s),
        binding=fields.text("binding", "U", 6),
        queue_mode=bool(fields.flag("queue_mode", False)),
        default_pmin_s=fields.whole("default_pmin_s", 0, 2**31 - 1, None),
        default_pmax_s=fields.whole("default_pmax_s", 0, 2**31 - 1, None),
        disable_timeout_s=fields.whole("disable_timeout_s", 0, 2**31 - 1, None),
        notification_storing=fields.flag("notification_storing", True) is not False,
        trigger=fields.flag("trigger", None),
        mute_send=fields.flag("mute_send", False),
        preferred_transport=fields.text("preferred_transport", "", 1) or None,
        resources=tuple(sorted(resources)),
    )


def _bootstrap_server(given: object, what: str, problems: list[str]) -> BootstrapServerEntry:
    fields = _Fields(given, what, BootstrapServerEntry.__slots__, problems)
    return BootstrapServerEntry(
        uri=fields.text("uri", ""),
        security=fields.one_of("security", _MODES_OR_AUTO, "auto"),
        hold_off_s=fields.whole("hold_off_s", 0, 2**31 - 1, None),
        account_timeout_s=fields.whole("account_timeout_s", 0, 2**31 - 1, None),
        certificate_usage=fields.whole("certificate_usage", 0, 3, None),
        server_public_key=fields.octets("server_public_key"),
    )


def _access(given: object, what: str, problems: list[str]) -> AccessEntry:
    fields = _Fields(given, what, AccessEntry.__slots__, problems)
    rights: list[tuple[int, int]] = []
    for name, bits in fields.members("rights").items():
        if not (str(name).isascii() and str(name).isdigit() and int(str(name)[:6]) <= MAX_SHORT_SERVER_ID):
            problems.append(f"{what}: rights are given by short server id, 0 for all others.")
        elif type(bits) is not int or not 0 <= bits <= 31:
            problems.append(
                f"{what}: the rights of {name} are a number from 0 to 31 (1 read and observe, 2 write, "
                "4 execute, 8 delete, 16 create)."
            )
        else:
            rights.append((int(name), bits))
    return AccessEntry(
        object_id=fields.whole("object_id", 0, MAX_ID, 0),
        instance_id=fields.whole("instance_id", 0, MAX_ID, 0),
        owner=fields.whole("owner", 1, NOBODY, NOBODY),
        rights=tuple(sorted(rights)),
    )


def _paths_of(given: Mapping[str, Any], problems: list[str]) -> Iterator[tuple[Path, Any]]:
    if len(given) > MAX_WRITES:
        problems.append(f"A plan writes at most {MAX_WRITES} resources.")
    for text, value in given.items():
        path = _path(text)
        if path is None or path.level != 3:
            problems.append(f"{str(text)[:40]!r} is no resource: write it like /3/0/14.")
        else:
            yield path, value


def _path(text: object) -> Path | None:
    if not isinstance(text, str):
        return None
    try:
        return Path.parse(text)
    except PathError:
        return None


# The lint: what cannot work


def _lint(plan: Plan, definitions: Definitions, problems: list[str], warnings: list[str]) -> None:
    if not plan.servers:
        problems.append("The plan names no server: the device would have nowhere to register.")
    _lint_ids(plan, problems)
    for number, server in enumerate(plan.servers, 1):
        what = f"Server {number}"
        _lint_uri(what, server.uri, server.security, problems, warnings)
        _lint_keys(what, server, problems, warnings)
        _lint_server(what, server, definitions, problems, warnings)
    for number, further in enumerate(plan.bootstrap_servers, 1):
        what = f"Bootstrap server {number}"
        if not further.uri:
            problems.append(f"{what} needs a uri.")
            continue
        _lint_uri(what, further.uri, further.security, problems, warnings)
        _lint_certificate(what, further.security, further.certificate_usage, problems)
        if _is_own(further.uri):
            problems.append(
                f"{what} is this gateway, which the device knows already: leave it out, since its bootstrap "
                "account is never overwritten."
            )
        elif further.security in ("oscore", "est"):
            problems.append(f"{what}: oscore and est are for servers only; use psk, rpk, x509 or nosec.")
    _lint_access(plan, problems, warnings)
    _lint_deletes(plan, problems, warnings)
    _lint_writes(plan, definitions, problems, warnings)


def _lint_ids(plan: Plan, problems: list[str]) -> None:
    seen: set[int] = set()
    for server in plan.servers:
        if server.short_server_id in seen:
            problems.append(
                f"Two servers have the short server id {server.short_server_id}: give each its own, "
                "as it joins the security and the server object."
            )
        seen.add(server.short_server_id)
    own = [server for server in plan.servers if _is_own(server.uri)]
    if len(own) > 1:
        problems.append("This gateway is named as a server twice: a device registers with a server once.")


def _lint_uri(what: str, uri: str, security: str, problems: list[str], warnings: list[str]) -> None:
    for variable in _VARIABLE.findall(uri):
        if variable not in _VARIABLES[:2] or (variable == OWN_URI and uri != OWN_URI):
            problems.append(f"{what}: in a uri only $host can stand for something, or $uri for the whole.")
            return
    if uri == OWN_URI:
        return
    if security == "auto":
        problems.append(
            f"{what}: say its security (psk, rpk, x509, est, oscore or nosec), as its uri is written out."
        )
        return
    try:
        parts = urlsplit(uri.replace(_HOST_VARIABLE, "192.0.2.1"))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        problems.append(f"{what}: {uri!r} is no uri; write it like coaps://192.0.2.1:5684.")
        return
    if parts.scheme not in _SCHEMES:
        problems.append(
            f"{what}: {uri!r} does not begin with coap://, coaps://, coap+tcp:// or coaps+tcp://."
        )
        return
    if security not in _SCHEMES[parts.scheme]:
        fitting = " or ".join(
            scheme for scheme in ("coap://", "coaps://") if security in _SCHEMES[scheme[:-3]]
        )
        problems.append(f"{what}: {parts.scheme}:// does not go with the security {security}; use {fitting}.")
    if not host:
        problems.append(f"{what}: the uri names no host.")
    elif _is_local(host):
        problems.append(
            f"{what}: {host} means the device itself to the device; name the server's address, or $host for "
            "this gateway's."
        )
    if port == 0:
        problems.append(f"{what}: there is no port 0; leave the port out for the usual one.")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        problems.append(f"{what}: a server's uri ends with its port; there is no path in it.")
    if port == (5684 if not parts.scheme.startswith("coaps") else 5683):
        warnings.append(f"{what}: port {port} is usually that of the other scheme, not of {parts.scheme}://.")


def _is_own(uri: str) -> bool:
    return uri == OWN_URI or _HOST_VARIABLE in uri


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified or address.is_multicast


def _lint_keys(what: str, server: ServerEntry, problems: list[str], warnings: list[str]) -> None:
    _lint_certificate(what, server.security, server.certificate_usage, problems)
    keyless = server.security in ("nosec", "psk", "oscore")
    if keyless and server.server_public_key is not None:
        problems.append(
            f"{what}: {server.security} has no public key of a server; leave server_public_key out."
        )
    if server.security == "nosec":
        warnings.append(
            f"{what}: without security everybody on the way reads and changes what the device says."
        )
    if _is_own(server.uri):
        if server.server_public_key is not None:
            problems.append(f"{what}: this gateway fills in its own public key; leave server_public_key out.")
        return
    if server.key == "fresh" and server.security in ("psk", "rpk", "oscore"):
        problems.append(
            f"{what}: another server does not know a key that is made here at each bootstrap; use the key "
            "current, and give it to that server."
        )
    if server.security in ("rpk", "x509", "est") and server.server_public_key is None:
        problems.append(
            f"{what}: the device must know that server's public key or certificate: give server_public_key."
        )


def _lint_certificate(what: str, security: str, usage: int | None, problems: list[str]) -> None:
    if usage is not None and security not in ("x509", "est", "auto"):
        problems.append(f"{what}: a certificate usage is for x509 and est only; leave it out.")


def _lint_server(
    what: str, server: ServerEntry, definitions: Definitions, problems: list[str], warnings: list[str]
) -> None:
    if server.lifetime_s < _SHORT_LIFETIME_S:
        warnings.append(
            f"{what}: with a lifetime of {server.lifetime_s} s the device sends an Update every few seconds."
        )
    if server.lifetime_s > _LONG_LIFETIME_S:
        warnings.append(
            f"{what}: with a lifetime of {server.lifetime_s // 86_400} days a device may be gone for as long "
            "before anybody sees it."
        )
    if _BINDING.fullmatch(server.binding) is None or len(set(server.binding)) != len(server.binding):
        problems.append(f"{what}: the binding consists of the letters U, T, S, N, M and H, each once.")
    elif (
        server.uri.startswith(("coap+tcp:", "coaps+tcp:")) != ("T" in server.binding)
        and server.uri != OWN_URI
    ):
        warnings.append(
            f"{what}: the binding {server.binding} does not go with {server.uri.partition(':')[0]}://."
        )
    if server.preferred_transport is not None and server.preferred_transport not in server.binding:
        problems.append(f"{what}: the preferred transport must be one of its binding.")
    low, high = server.default_pmin_s, server.default_pmax_s
    if low is not None and high is not None and 0 < high < low:
        problems.append(f"{what}: default_pmax_s is less than default_pmin_s.")
    found = definitions.find(SERVER, None)
    for resource_id, value in server.resources:
        resource = found.definition.resources.get(resource_id) if found is not None else None
        if resource is None:
            problems.append(f"{what}: object 1 has no resource {resource_id}.")
        elif resource.operations == "E":
            problems.append(f"{what}: resource {resource_id} of object 1 is executed, not written.")
        else:
            try:
                from_json(value, resource)
            except ValueFormatError as error:
                problems.append(f"{what}: {error}")


def _lint_access(plan: Plan, problems: list[str], warnings: list[str]) -> None:
    known = {server.short_server_id for server in plan.servers}
    seen: set[tuple[int, int]] = set()
    for number, entry in enumerate(plan.access_control, 1):
        what = f"Access control {number}"
        place = (entry.object_id, entry.instance_id)
        if place in seen:
            problems.append(f"{what}: /{place[0]}/{place[1]} has its access control already.")
        seen.add(place)
        if entry.object_id in (SECURITY, OSCORE):
            problems.append(
                f"{what}: no server may reach object {entry.object_id} in any case; leave it out."
            )
        if entry.owner != NOBODY and entry.owner not in known:
            problems.append(
                f"{what}: its owner {entry.owner} is the short server id of no server in this plan."
            )
        for server, bits in entry.rights:
            if server != 0 and server not in known:
                problems.append(f"{what}: {server} is the short server id of no server in this plan.")
            if bits & 16 and entry.instance_id != NOBODY:
                problems.append(
                    f"{what}: creating is a right on the object itself, whose instance id is 65535 here."
                )
            if bits & ~16 and entry.instance_id == NOBODY:
                problems.append(
                    f"{what}: on an object itself (instance 65535) there is only the right to create, 16."
                )
        if not entry.rights and entry.owner == NOBODY:
            warnings.append(f"{what}: nobody has any right on /{place[0]}/{place[1]}.")
    if len(plan.servers) > 1 and not plan.access_control:
        warnings.append(
            "With several servers a device grants each only what access control says, and the plan has none: "
            "the servers may find everything forbidden (4.01)."
        )


def _lint_deletes(plan: Plan, problems: list[str], warnings: list[str]) -> None:
    for path in plan.deletes:
        if path.level == 2 and path[0] in (SECURITY, OSCORE):
            problems.append(
                f"{path} may be the bootstrap account itself, which stays; /{path[0]} as a whole spares it."
            )
        elif not path:
            warnings.append("Deleting / takes everything that the device lets go of, not only its servers.")
        elif path[0] == 3:
            problems.append("Object 3 cannot be deleted (Core §6.1.7.6).")
    if Path() not in plan.deletes and Path(SECURITY) not in plan.deletes:
        warnings.append("Servers that the device knows from before stay, since /0 is not deleted.")
    elif Path(SERVER) not in plan.deletes and Path() not in plan.deletes:
        problems.append("Without its security object a server object means nothing: delete /1 along with /0.")


def _lint_writes(plan: Plan, definitions: Definitions, problems: list[str], warnings: list[str]) -> None:
    for path, value in plan.writes:
        if path[0] in (SECURITY, OSCORE, 23):
            problems.append(f"{path}: keys and accounts are written by servers, never by themselves.")
            continue
        if path[0] == SERVER:
            problems.append(f"{path}: write resources of object 1 in servers, under resources.")
            continue
        if path[0] == ACCESS_CONTROL:
            problems.append(f"{path}: write access control under access_control.")
            continue
        if isinstance(value, str):
            for variable in _VARIABLE.findall(value):
                if variable not in _VARIABLES:
                    problems.append(
                        f"{path}: {variable} stands for nothing; known are {', '.join(_VARIABLES)}."
                    )
        found = definitions.find(path[0], None)
        resource = found.definition.resources.get(path[2]) if found is not None else None
        if resource is None:
            if not isinstance(value, str | int | float | bool):
                problems.append(f"{path} must be a text, a number, or true or false.")
            else:
                warnings.append(f"{path} is in no known model, so whether its value fits is not known.")
            continue
        if resource.operations == "E":
            problems.append(f"{path} is executed, not written.")
            continue
        if resource.multiple:
            problems.append(f"{path} has several values; only single ones can be written in a plan.")
            continue
        try:
            from_json(value, resource)
        except ValueFormatError as error:
            problems.append(f"{path}: {error}")


def _shown(entry: ServerEntry | BootstrapServerEntry) -> dict[str, Any]:
    """An entry in the shape of the API."""
    shown = {name: getattr(entry, name) for name in type(entry).__slots__}
    key = shown.get("server_public_key")
    shown["server_public_key"] = None if key is None else key.hex()
    if isinstance(entry, ServerEntry):
        shown["resources"] = {str(number): value for number, value in entry.resources}
    return shown
