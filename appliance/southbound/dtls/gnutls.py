"""The system's libgnutls by ctypes: as much of it as one DTLS handshake takes.

The law of this file: no Python exception crosses into C. ctypes would turn it into a return value of zero,
and zero means "here is the key" and "the certificate is good". So each callback catches everything and
answers with a refusal. Pointers do not leave this file; everything else sees bytes and numbers.

GnuTLS is loaded at first use: a board without it still serves everything but DTLS.

Longer than 400 lines: a quarter is the table of C functions, and pointers must stay in one file.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import logging
import re
from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_ssize_t,
    c_uint,
    c_void_p,
    memmove,
    string_at,
)
from pathlib import Path
from typing import Any, NamedTuple, Protocol

log = logging.getLogger(__name__)

LIBRARY = "libgnutls.so.30"
DPKG_STATUS = Path("/var/lib/dpkg/status")

# What a handshake may use. CCM-8 and PSK are in no default of GnuTLS, and without SIGN and GROUP items
# nothing works at all. GnuTLS has no ECDHE-PSK with AES in CCM or GCM: there it comes with ChaCha20.
PRIORITY = (
    b"NONE:+VERS-DTLS1.2:+AES-128-CCM-8:+AES-128-CCM:+AES-128-GCM:+CHACHA20-POLY1305:+AEAD"
    b":+PSK:+ECDHE-PSK:+ECDHE-ECDSA:+SIGN-ECDSA-SHA256:+GROUP-SECP256R1:+COMP-NULL"
    b":+CTYPE-X509:+CTYPE-CLI-RAWPK:+CTYPE-SRV-RAWPK:%SERVER_PRECEDENCE"
)

# Return values (gnutls.h)
AGAIN = -28
INTERRUPTED = -52
_UNEXPECTED_PACKET_LENGTH = -9
_CERTIFICATE_ERROR = -43

_SERVER, _DATAGRAM, _NONBLOCK, _NO_SIGNAL, _ENABLE_RAWPK = 1, 1 << 2, 1 << 3, 1 << 6, 1 << 18
_CRD_CERTIFICATE, _CRD_PSK = 1, 4
_CERT_REQUIRE = 2
_CTYPE_PEERS = 3
CRT_RAWPK = 3
_PEM = 1
_ALERT_FATAL = 2
_EXT_MANDATORY, _EXT_CLIENT_HELLO, _EXT_TLS12_SERVER_HELLO, _EXT_DTLS = 3, 1 << 1, 1 << 2, 1 << 8
_CONNECTION_ID = 54  # RFC 9146 §3
_NO_TIMER_MS = 1 << 30  # flights are sent again by us, by the clock of our caller
MAX_MESSAGE_BYTES = 8192  # of one handshake message: a chain of certificates


class LibraryTooOld(Exception):
    """GnuTLS is missing or lacks fixes without which no port may be opened. The sentence says what to do."""


class _Datum(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("size", c_uint))


_Prestate = c_uint * 3  # record_seq, hsk_read_seq, hsk_write_seq
_Out = CFUNCTYPE(c_ssize_t, c_void_p, c_void_p, c_size_t)
_Waiting = CFUNCTYPE(c_int, c_void_p, c_uint)
_PskKey = CFUNCTYPE(c_int, c_void_p, POINTER(_Datum), POINTER(_Datum))
_Verify = CFUNCTYPE(c_int, c_void_p)
_ExtensionIn = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
_ExtensionOut = CFUNCTYPE(c_int, c_void_p, c_void_p)
_Malloc = CFUNCTYPE(c_void_p, c_size_t)

_H = c_void_p
_FUNCTIONS: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
    ("gnutls_check_version", c_char_p, (c_char_p,)),
    ("gnutls_strerror", c_char_p, (c_int,)),
    ("gnutls_error_is_fatal", c_int, (c_int,)),
    ("gnutls_init", c_int, (POINTER(_H), c_uint)),
    ("gnutls_deinit", None, (_H,)),
    ("gnutls_handshake", c_int, (_H,)),
    ("gnutls_alert_send", c_int, (_H, c_int, c_int)),
    ("gnutls_alert_send_appropriate", c_int, (_H, c_int)),
    ("gnutls_alert_get", c_int, (_H,)),
    ("gnutls_alert_get_name", c_char_p, (c_int,)),
    ("gnutls_transport_set_ptr", None, (_H, c_void_p)),
    ("gnutls_transport_set_errno", None, (_H, c_int)),
    ("gnutls_transport_set_push_function", None, (_H, _Out)),
    ("gnutls_transport_set_pull_function", None, (_H, _Out)),
    ("gnutls_transport_set_pull_timeout_function", None, (_H, _Waiting)),
    ("gnutls_dtls_set_mtu", None, (_H, c_uint)),
    ("gnutls_dtls_set_timeouts", None, (_H, c_uint, c_uint)),
    ("gnutls_dtls_prestate_set", None, (_H, POINTER(_Prestate))),
    ("gnutls_handshake_set_max_packet_length", None, (_H, c_size_t)),
    ("gnutls_priority_init", c_int, (POINTER(c_void_p), c_char_p, POINTER(c_char_p))),
    ("gnutls_priority_set", c_int, (_H, c_void_p)),
    ("gnutls_priority_deinit", None, (c_void_p,)),
    ("gnutls_credentials_set", c_int, (_H, c_int, c_void_p)),
    ("gnutls_psk_allocate_server_credentials", c_int, (POINTER(c_void_p),)),
    ("gnutls_psk_free_server_credentials", None, (c_void_p,)),
    ("gnutls_psk_set_server_credentials_function2", None, (c_void_p, _PskKey)),
    ("gnutls_psk_server_get_username2", c_int, (_H, POINTER(_Datum))),
    ("gnutls_certificate_allocate_credentials", c_int, (POINTER(c_void_p),)),
    ("gnutls_certificate_free_credentials", None, (c_void_p,)),
    (
        "gnutls_certificate_set_x509_key_mem2",
        c_int,
        (c_void_p, POINTER(_Datum), POINTER(_Datum), c_int, c_char_p, c_uint),
    ),
    (
        "gnutls_certificate_set_rawpk_key_mem",
        c_int,
        (
            *(c_void_p, POINTER(_Datum), POINTER(_Datum), c_int, c_char_p),
            *(c_uint, POINTER(c_char_p), c_uint, c_uint),
        ),
    ),
    ("gnutls_certificate_set_verify_function", None, (c_void_p, _Verify)),
    ("gnutls_certificate_server_set_request", None, (_H, c_int)),
    ("gnutls_certificate_type_get2", c_int, (_H, c_int)),
    ("gnutls_certificate_get_peers", POINTER(_Datum), (_H, POINTER(c_uint))),
    ("gnutls_session_ticket_enable_server", c_int, (_H, POINTER(_Datum))),
    ("gnutls_session_ticket_key_generate", c_int, (POINTER(_Datum),)),
    ("gnutls_session_is_resumed", c_int, (_H,)),
    (
        "gnutls_record_get_state",
        c_int,
        (_H, c_uint, POINTER(_Datum), POINTER(_Datum), POINTER(_Datum), c_char_p),
    ),
    (
        "gnutls_session_ext_register",
        c_int,
        (
            *(_H, c_char_p, c_int, c_int, _ExtensionIn, _ExtensionOut),
            *(c_void_p, c_void_p, c_void_p, c_uint),
        ),
    ),
    ("gnutls_buffer_append_data", c_int, (c_void_p, c_void_p, c_size_t)),
)


class _Library:
    """libgnutls with every function's types declared, under its name without ``gnutls_``."""

    def __init__(self) -> None:
        try:
            loaded = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise LibraryTooOld(
                "DTLS needs GnuTLS, and this system has none; install it with: apt-get install libgnutls30 "
                "(on Debian 13: libgnutls30t64)"
            ) from error
        for name, result, arguments in _FUNCTIONS:
            try:
                function = getattr(loaded, name)
            except AttributeError as error:
                raise LibraryTooOld(
                    f"DTLS needs a newer GnuTLS: this system's library has no {name}; {_upgrade()}"
                ) from error
            function.restype = result
            function.argtypes = arguments
            setattr(self, name.removeprefix("gnutls_"), function)
        self.malloc = _Malloc.in_dll(loaded, "gnutls_malloc")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # only for what is not declared above


@functools.cache
def _library() -> _Library:
    return _Library()


# Versions


class _Minimum(NamedTuple):
    package: str
    release: str  # beginning of the Debian version
    version: str


# Before these, datagrams of a DTLS handshake could write outside GnuTLS's heap.
MINIMA = (
    _Minimum("libgnutls30", "3.7.", "3.7.9-2+deb12u7"),
    _Minimum("libgnutls30t64", "3.8.9", "3.8.9-3+deb13u4"),
)
_UPSTREAM = "3.8.10"


def check_library(status: Path = DPKG_STATUS) -> str:
    """The version of GnuTLS in words; raises LibraryTooOld, whose sentence says how to upgrade.

    Debian mends old versions, so where the library is Debian's its package's version counts.
    """
    version = (_library().check_version(None) or b"").decode("ascii", "replace")
    package, installed = _debian_package(status)
    if installed.partition("-")[0] != version:  # no package, or another library than the package's is loaded
        if _debian_order(version) < _debian_order(_UPSTREAM):
            raise LibraryTooOld(
                f"GnuTLS {version} has known faults in DTLS; at least {_UPSTREAM} is needed; {_upgrade()}"
            )
        return f"GnuTLS {version}"
    for minimum in MINIMA:
        if installed.startswith(minimum.release):
            wanted = minimum.version
            break
    else:
        wanted = _UPSTREAM
    if _debian_order(installed) < _debian_order(wanted):
        raise LibraryTooOld(
            f"{package} {installed} has known faults in DTLS; at least {wanted} is needed; "
            + _upgrade(package)
        )
    return f"GnuTLS {version} ({package} {installed})"


def _upgrade(package: str = "libgnutls30") -> str:
    return f"upgrade it with: apt-get update && apt-get install --only-upgrade {package}"


def _debian_package(status: Path) -> tuple[str, str]:
    """Name and version of the installed package, both empty where there is none."""
    try:
        text = status.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    for entry in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", entry, re.MULTILINE))
        if fields.get("Package") in ("libgnutls30", "libgnutls30t64") and fields.get("Status", "").split()[
            -1:
        ] == ["installed"]:
            return fields["Package"], fields.get("Version", "")
    return "", ""


def _debian_order(version: str) -> list[tuple[str, int]]:
    """Debian's order of versions without an epoch (deb-version(7)), as something to compare."""
    key = [
        ("".join(_rank(sign) for sign in text) + _END, int(number or 0))
        for text, number in re.findall(r"(\D*)(\d*)", version)
        if text or number
    ]
    return [*key, (_END, 0)]


_END = "\1"


def _rank(sign: str) -> str:
    """ "~" sorts before everything, the end of the text included; letters sort before other signs."""
    return "\0" if sign == "~" else sign if sign.isalpha() else chr(0x100 + ord(sign))


# Callbacks


class Partner(Protocol):
    """Who a `Connection` calls back. What raises counts as a refusal."""

    def pushed(self, record: bytes) -> None:
        """GnuTLS has made a record."""

    def pull(self) -> bytes | None:
        """The next record for GnuTLS, None when there is none."""

    @property
    def waiting(self) -> bool:
        """Whether `pull` would have one."""

    def psk_key(self, identity: bytes) -> bytes | None:
        """The key of an identity, None when there is none."""

    def verify(self, chain: tuple[bytes, ...], is_raw_key: bool) -> bool:
        """Whether a certificate or a raw public key (then alone in ``chain``) may come in."""

    def cid_offered(self, cid: bytes) -> None:
        """The peer offers Connection IDs, and wants to be sent this one (maybe empty)."""

    def own_cid(self) -> bytes | None:
        """The Connection ID we want to be sent, None to use none."""


_partners: dict[int, Partner] = {}  # by the address of their session, which is also its transport pointer


def _push(session: int, data: int, size: int) -> int:
    try:
        _partners[session].pushed(string_at(data, size))
    except BaseException:
        log.exception("a record could not be taken from GnuTLS")
    return size


def _pull(session: int, buffer: int, size: int) -> int:
    try:
        record = _partners[session].pull()
        if record is not None and len(record) <= size:
            memmove(buffer, record, len(record))
            return len(record)
        _library().transport_set_errno(session, errno.EAGAIN)
    except BaseException:  # the law of this file
        log.exception("a record could not be given to GnuTLS")
    return -1


def _pull_timeout(session: int, _milliseconds: int) -> int:
    try:
        return 1 if _partners[session].waiting else 0
    except BaseException:  # noqa: BLE001  (the law of this file)
        return 0


def _psk_key(session: int, identity: Any, key: Any) -> int:
    try:
        found = _partners[session].psk_key(string_at(identity[0].data, identity[0].size))
        if not found:
            return 1  # GnuTLS goes on with a random key, so that nobody learns which identities there are
        place = _library().malloc(len(found))
        if not place:
            return 1
        memmove(place, found, len(found))
        key[0].data = place
        key[0].size = len(found)
        return 0
    except BaseException:
        log.exception("a key could not be looked up")
        return 1


def _verify(session: int) -> int:
    try:
        chain = _chain(session)
        raw = _library().certificate_type_get2(session, _CTYPE_PEERS) == CRT_RAWPK
        return 0 if chain and _partners[session].verify(chain, raw) else _CERTIFICATE_ERROR
    except BaseException:
        log.exception("a certificate could not be checked")
        return _CERTIFICATE_ERROR


def _cid_in(session: int, data: int, size: int) -> int:
    try:
        extension = string_at(data, size) if size else b""
        if not extension or extension[0] != len(extension) - 1:
            return _UNEXPECTED_PACKET_LENGTH
        _partners[session].cid_offered(extension[1:])
        return 0
    except BaseException:
        log.exception("an offered Connection ID could not be taken")
        return _UNEXPECTED_PACKET_LENGTH


def _cid_out(session: int, buffer: int) -> int:
    try:
        cid = _partners[session].own_cid()
        if cid is None:
            return 0
        extension = bytes((len(cid),)) + cid
        failed: int = _library().buffer_append_data(buffer, extension, len(extension))
        return failed if failed < 0 else len(extension)
    except BaseException:
        log.exception("a Connection ID could not be offered")
        return 0


# ctypes objects, which live as long as C may call them.
_PUSH = _Out(_push)
_PULL = _Out(_pull)
_PULL_TIMEOUT = _Waiting(_pull_timeout)
_PSK_KEY = _PskKey(_psk_key)
_VERIFY = _Verify(_verify)
_CID_IN = _ExtensionIn(_cid_in)
_CID_OUT = _ExtensionOut(_cid_out)


def _chain(session: int) -> tuple[bytes, ...]:
    count = c_uint()
    first = _library().certificate_get_peers(session, byref(count))
    return tuple(string_at(first[at].data, first[at].size) for at in range(count.value)) if first else ()


# What handshakes share


def _datum(data: bytes) -> tuple[_Datum, Any]:
    """A datum and the memory it points to, which the caller keeps as long as the datum is used."""
    memory = ctypes.create_string_buffer(data, len(data))
    return _Datum(ctypes.cast(memory, c_void_p).value, len(data)), memory


class Credentials:
    """What every handshake of a server uses: the priorities, our keys, the ticket key.

    ``chain_pem`` and ``key_pem`` may be empty: then there is PSK only. Raises ValueError when they are no
    certificate and its key, LibraryTooOld when there is no GnuTLS.
    """

    def __init__(self, chain_pem: bytes, key_pem: bytes, spki_pem: bytes) -> None:
        self._gnutls = gnutls = _library()
        self.priority = c_void_p()
        self.psk = c_void_p()
        self.certificate = c_void_p()
        self._must(gnutls.priority_init(byref(self.priority), PRIORITY, None))
        self._must(gnutls.psk_allocate_server_credentials(byref(self.psk)))
        gnutls.psk_set_server_credentials_function2(self.psk, _PSK_KEY)
        if chain_pem:
            self._must(gnutls.certificate_allocate_credentials(byref(self.certificate)))
            gnutls.certificate_set_verify_function(self.certificate, _VERIFY)
            chain, _1 = _datum(chain_pem)
            key, _2 = _datum(key_pem)
            spki, _3 = _datum(spki_pem)
            self._must(
                gnutls.certificate_set_x509_key_mem2(
                    self.certificate, byref(chain), byref(key), _PEM, None, 0
                )
            )
            self._must(
                gnutls.certificate_set_rawpk_key_mem(
                    self.certificate, byref(spki), byref(key), _PEM, None, 0, None, 0, 0
                )
            )
        self.ticket_key = _Datum()
        self._ticket_memory: Any = None
        self.new_ticket_key()

    def new_ticket_key(self) -> None:
        """From now on no ticket of before opens."""
        made = _Datum()
        self._must(self._gnutls.session_ticket_key_generate(byref(made)))
        self.ticket_key, self._ticket_memory = _datum(string_at(made.data, made.size))
        ctypes.memset(made.data, 0, made.size)
        _free(made.data)

    def close(self) -> None:
        """Give back what GnuTLS holds. No connection may be open any more."""
        gnutls = self._gnutls
        if self.certificate:
            gnutls.certificate_free_credentials(self.certificate)
        gnutls.psk_free_server_credentials(self.psk)
        gnutls.priority_deinit(self.priority)
        self.certificate, self.psk, self.priority = c_void_p(), c_void_p(), c_void_p()

    def _must(self, result: int) -> None:
        if result < 0:
            raise ValueError(f"GnuTLS: {describe(result)}")


def _free(place: int) -> None:
    CFUNCTYPE(None, c_void_p).in_dll(ctypes.CDLL(LIBRARY), "gnutls_free")(place)


def describe(result: int) -> str:
    """What GnuTLS says of a result."""
    text: bytes = _library().strerror(result) or b"unknown error"
    return text.decode("ascii", "replace")


class Connection:
    """One GnuTLS session, for one handshake of a DTLS 1.2 server."""

    __slots__ = ("_gnutls", "_handle")

    def __init__(
        self, credentials: Credentials, partner: Partner, message_seq: int, mtu_bytes: int, cid: bool
    ) -> None:
        """``message_seq`` is that of the ClientHello with the cookie (RFC 6347 §4.2.2)."""
        self._gnutls = gnutls = _library()
        handle = c_void_p()
        flags = _SERVER | _DATAGRAM | _NONBLOCK | _NO_SIGNAL | _ENABLE_RAWPK
        failed = gnutls.init(byref(handle), flags)
        if failed < 0 or not handle.value:
            raise MemoryError(f"GnuTLS: {describe(failed)}")
        self._handle: int = handle.value
        h = self._handle
        _partners[h] = partner
        gnutls.transport_set_ptr(h, h)
        gnutls.transport_set_push_function(h, _PUSH)
        gnutls.transport_set_pull_function(h, _PULL)
        gnutls.transport_set_pull_timeout_function(h, _PULL_TIMEOUT)
        gnutls.priority_set(h, credentials.priority)
        gnutls.dtls_set_mtu(h, mtu_bytes)
        gnutls.dtls_set_timeouts(h, _NO_TIMER_MS, _NO_TIMER_MS)
        gnutls.handshake_set_max_packet_length(h, MAX_MESSAGE_BYTES)
        gnutls.credentials_set(h, _CRD_PSK, credentials.psk)
        if credentials.certificate:
            gnutls.credentials_set(h, _CRD_CERTIFICATE, credentials.certificate)
            gnutls.certificate_server_set_request(h, _CERT_REQUIRE)
        gnutls.session_ticket_enable_server(h, byref(credentials.ticket_key))
        if cid:
            gnutls.session_ext_register(
                *(h, b"connection_id", _CONNECTION_ID, _EXT_MANDATORY, _CID_IN, _CID_OUT),
                *(None, None, None, _EXT_CLIENT_HELLO | _EXT_TLS12_SERVER_HELLO | _EXT_DTLS),
            )
        gnutls.dtls_prestate_set(h, byref(_Prestate(0, message_seq, 0)))

    def handshake(self) -> int:
        """Go on: 0 when it is done, AGAIN when a record is missing, another negative number otherwise."""
        result: int = self._gnutls.handshake(self._handle)
        return result

    def is_fatal(self, result: int) -> bool:
        """Whether a result ends the handshake."""
        return bool(self._gnutls.error_is_fatal(result))

    def send_alert(self, alert: int) -> None:
        """Push a fatal alert."""
        self._gnutls.alert_send(self._handle, _ALERT_FATAL, alert)

    def send_alert_for(self, result: int) -> None:
        """Push the alert that fits a result, if one does."""
        self._gnutls.alert_send_appropriate(self._handle, result)

    def received_alert(self) -> str:
        """The name of the alert that the peer sent last."""
        name: bytes = self._gnutls.alert_get_name(self._gnutls.alert_get(self._handle)) or b"an unknown alert"
        return name.decode("ascii", "replace")

    @property
    def resumed(self) -> bool:
        """Whether this handshake went on from a ticket."""
        return bool(self._gnutls.session_is_resumed(self._handle))

    @property
    def psk_identity(self) -> bytes | None:
        """The identity of the key that was used, None when it was another mode."""
        found = _Datum()
        if self._gnutls.psk_server_get_username2(self._handle, byref(found)) < 0 or not found.data:
            return None
        return string_at(found.data, found.size)

    def peer_chain(self) -> tuple[tuple[bytes, ...], bool]:
        """The peer's certificates (DER), and whether it is a raw public key instead."""
        raw = self._gnutls.certificate_type_get2(self._handle, _CTYPE_PEERS) == CRT_RAWPK
        return _chain(self._handle), raw

    def keys(self, *, read: bool) -> tuple[bytes, bytes] | None:
        """Key and fixed part of the nonce of the current epoch in one direction; None before there is one."""
        key, nonce = _Datum(), _Datum()
        failed = self._gnutls.record_get_state(self._handle, read, None, byref(nonce), byref(key), None)
        if failed < 0 or not key.size:
            return None
        return string_at(key.data, key.size), string_at(nonce.data, nonce.size)

    def close(self) -> None:
        """Free the session; it wipes its keys. Twice does no harm."""
        if self._handle:
            self._gnutls.deinit(self._handle)
            _partners.pop(self._handle, None)
            self._handle = 0
