"""The DTLS server: datagrams in, what was in them out; time is an argument (RFC 6347, RFC 9146).

Three laws of this file:

- Nothing is kept for who has not shown that he receives at his address (`hello`), and little before he has
  proved a key: so many handshakes at a time, so many from one address, each for so long.
- A session changes only by what was sealed with its keys. A ClientHello from its address starts a handshake
  beside it, which replaces the session when it is done and not before; the address follows an authenticated
  record with a Connection ID that is newer than all before it.
- No nonce is used twice and no record is taken twice, not over a restart either: see `save` and `restore`.

The module is long because all of a datagram's ways lead through the same tables.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from appliance.southbound.dtls.gnutls import Credentials
from appliance.southbound.dtls.half_open import HalfOpen
from appliance.southbound.dtls.handshake import Handshake, Outcome, pack
from appliance.southbound.dtls.hello import ClientHello, Cookies, read_hello
from appliance.southbound.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    CID_BYTES,
    HANDSHAKE,
    HEADER_BYTES,
    MAX_NUMBER,
    TLS12_CID,
    is_fresh,
    taken,
)
from appliance.southbound.dtls.session import SENT_BLOCK, DtlsSession, Recent, joined_keys
from appliance.southbound.dtls.suspicion import Suspicions, Suspicious
from appliance.southbound.dtls.trust import ServerKeys, Trust
from appliance.southbound.settings import CoapsSettings
from appliance.southbound.udp import UdpPeer

log = logging.getLogger(__name__)

MAX_WARM = 1024  # sessions whose ciphers are in memory
MAX_PER_IDENTITY = 4  # sessions; a device that forgets its own makes a new one each time
RECENT_S = 120.0  # how long a repeated Finished is answered
_MAX_RECENT = 4096
_TICK_S = 0.25  # while handshakes are under way
_SWEEP_S = 600.0
_SILENT_LONGEST = 256  # candidates found at a time
_CLOSE_NOTIFY = b"\x01\x00"
_NO_RENEGOTIATION = b"\x01\x64"
_CLIENT_HELLO, _FINISHED = 1, 20
_EPOCH_0, _EPOCH_1 = b"\0\0", b"\0\1"
_VERSION = b"\xfe\xfd"
_CID_HEADER_BYTES = HEADER_BYTES + CID_BYTES


class Established(NamedTuple):
    """A handshake is done."""

    session: DtlsSession


class Moved(NamedTuple):
    """A device was heard from another address, which is that of its session from now on."""

    session: DtlsSession


class Ended(NamedTuple):
    """A session is gone; the reason in words."""

    session: DtlsSession
    reason: str


class Failed(NamedTuple):
    """A handshake came to nothing: from where, who it said it was (maybe ""), and a sentence."""

    address: UdpPeer
    identity: str
    sentence: str


Event = Established | Moved | Ended | Failed | Suspicious


class DtlsServer:
    """All sessions and handshakes of one port.

    ``marks`` is called with a session before data of a record is handed up, and when its reservation of
    record numbers has moved; whoever restores sessions after a restart sets it, and keeps ``newest``,
    ``seen`` and ``sent_below``. If it raises, the data is not handed up, and nothing is sent beyond what was
    reserved.

    Raises `gnutls.LibraryTooOld` without GnuTLS, ValueError for keys that are none. Whether the library is
    good enough is `gnutls.check_library`'s to say.
    """

    def __init__(
        self,
        settings: CoapsSettings,
        trust: Trust,
        keys: ServerKeys | None,
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._settings = settings
        self._trust = trust
        self._random_bytes = random_bytes
        self._credentials = Credentials(
            *((keys.chain_pem, keys.key_pem, _spki_pem(keys.key_pem)) if keys else (b"", b"", b""))
        )
        self._cookies = Cookies(random_bytes)
        self._suspicions = Suspicions()
        self._half = HalfOpen(settings.max_half_open, settings.max_half_open_per_address)
        self._half_by_cid: dict[bytes, Handshake] = {}
        self._sessions: dict[int, DtlsSession] = {}
        self._by_address: dict[UdpPeer, DtlsSession] = {}  # those without a Connection ID
        self._by_cid: dict[bytes, DtlsSession] = {}
        self._by_identity: dict[str, tuple[DtlsSession, ...]] = {}
        self._recent: dict[UdpPeer, Recent] = {}  # the oldest first
        self._proved: set[str] = set()  # credentials of whole handshakes since tickets were void
        self._warm: dict[DtlsSession, None] = {}
        self._silent: list[tuple[float, int]] = []  # who was silent longest, soonest first
        self._outgoing: list[tuple[bytes, UdpPeer]] = []
        self._events: list[Event] = []
        self._tick_at: float | None = None
        self._sweep_at: float | None = None
        self._session_s = settings.session_days * 86400
        self._unmarked = False  # ``marks`` raised when it was called last
        self.marks: Callable[[DtlsSession], None] = lambda session: None
        self.counts: Counter[str] = Counter()

    # Datagrams

    def receive(self, data: bytes, address: UdpPeer, now: float) -> list[tuple[bytes, DtlsSession]]:
        """What a datagram says, and in which session. Anything may come, nothing raises."""
        found: list[tuple[bytes, DtlsSession]] = []
        touched: Handshake | None = None
        size = len(data)
        at = 0
        while size - at >= HEADER_BYTES:
            kind = data[at]
            body_at = at + (_CID_HEADER_BYTES if kind == TLS12_CID else HEADER_BYTES)
            if body_at > size:
                break
            end = body_at + (data[body_at - 2] << 8 | data[body_at - 1])
            if end > size:
                break
            header, body = data[at:body_at], data[body_at:end]
            at = end
            epoch = header[3:5]
            half: Handshake | None
            if epoch == _EPOCH_1 and header[1:3] == _VERSION:
                if touched is not None and kind != HANDSHAKE:
                    self._go_on(touched, now)  # it may be a session by now
                    touched = None
                if kind == TLS12_CID:
                    session = self._by_cid.get(header[11:17])
                    half = None if session else self._half_by_cid.get(header[11:17])
                else:
                    session = self._by_address.get(address)
                    half = self._half.get(address) if self._half else None
                if session is not None:
                    content = self._open(session, header, body, address, now)
                    if content is not None:
                        if content:
                            found.append((content, session))
                        continue
                if half is not None and half.address == address:
                    half.receive(header, body, now)
                    touched = half
                elif session is not None:
                    self._suspect(session, header, body, address, now)
            elif epoch == _EPOCH_0 and kind != TLS12_CID:
                half = self._half.get(address)
                hello = read_hello(header, body) if kind == HANDSHAKE else None
                if hello is not None:
                    half = self._hello(hello, half, address, now)
                    if half is None:
                        break  # one answer to a datagram, however many hellos are in it
                if half is not None:
                    if hello is None or half.is_new:
                        half.receive(header, body, now)
                    touched = half
        if touched is not None:
            self._go_on(touched, now)
        return found

    def send(self, data: bytes, session: DtlsSession, now: float) -> None:
        """Seal and queue one datagram; raises ConnectionError when the session is gone, or cannot reserve."""
        if session.closed:
            raise ConnectionError(f"the DTLS session with {session} is gone")
        self._outgoing.append((self._sealed(APPLICATION_DATA, data, session), session.address))

    def take_datagrams(self) -> list[tuple[bytes, UdpPeer]]:
        """What is to be sent, and where to."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def take_events(self) -> list[Event]:
        """What happened. To be taken before the data of the same datagrams is looked at."""
        events, self._events = self._events, []
        return events

    # Time

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called."""
        if self._tick_at is None or self._sweep_at is None:
            return self._sweep_at if self._tick_at is None else self._tick_at
        return min(self._tick_at, self._sweep_at)

    def handle_timer(self, now: float) -> None:
        """Send flights again, give up on handshakes and on sessions that were silent for days."""
        if self._tick_at is not None and now >= self._tick_at:
            for half in self._half:
                half.tick(now)
                if half.suspect_at is not None and now >= half.suspect_at:
                    self._tell(half)
                self._settle(half, now)
            while self._recent:
                address, recent = next(iter(self._recent.items()))
                if recent.expires_at > now:
                    break
                self._forget_recent(address)
            if self._half:
                self._tick_at = now + _TICK_S
            else:
                self._tick_at = next(iter(self._recent.values())).expires_at if self._recent else None
        if self._sweep_at is not None and now >= self._sweep_at:
            for session in [one for one in self._sessions.values() if now - one.heard_at >= self._session_s]:
                self._end(session, f"nothing was heard in it for {self._settings.session_days:g} days")
            self._suspicions.turn(now)
            self._sweep_at = now + min(_SWEEP_S, self._session_s) if self._sessions else None

    # Sessions

    def sessions(self) -> Iterator[DtlsSession]:
        """All of them, in no order that means anything."""
        return iter(list(self._sessions.values()))

    def session(self, number: int) -> DtlsSession | None:
        """The session with that id."""
        return self._sessions.get(number)

    def drop(self, session: DtlsSession, reason: str) -> None:
        """End a session and tell the device so."""
        if not session.closed:
            with contextlib.suppress(ConnectionError):
                self._outgoing.append((self._sealed(ALERT, _CLOSE_NOTIFY, session), session.address))
            self._end(session, reason)

    def renew_secrets(self) -> None:
        """From now on no ticket of before opens: after a key was revoked or exchanged."""
        self._credentials.new_ticket_key()
        self._proved.clear()

    def table_sizes(self) -> dict[str, int]:
        """How much is kept, by table; for whoever watches that nothing grows."""
        return {
            "sessions": len(self._sessions),
            "by_address": len(self._by_address),
            "by_cid": len(self._by_cid),
            "by_identity": len(self._by_identity),
            "half_open": len(self._half),
            "half_open_by_cid": len(self._half_by_cid),
            "half_open_addresses": self._half.hosts,
            "recent": len(self._recent),
            "warm": len(self._warm),
            "outgoing": len(self._outgoing),
            "events": len(self._events),
            "suspicions": len(self._suspicions),
        }

    def save(self, session: DtlsSession) -> bytes:
        """What `restore` takes beside the marks: keys among it, so it is to be sealed."""
        return session.to_bytes()

    def restore(
        self, saved: bytes, newest: int, seen: int, sent_below: int, now: float
    ) -> DtlsSession | None:
        """Take up a session of before a restart, with the marks as they were stored last.

        None when it cannot be: it is of another version, its numbers are used up, another has its place, or
        ``marks`` raises. ``marks`` is called with the new reservation, which must be on disk before anything
        is sent.
        """
        try:
            session = DtlsSession.from_bytes(saved, (newest, seen, sent_below), now, self._random_bytes)
        except ValueError as error:
            log.warning("a DTLS session is not taken up again: %s", error)
            return None
        taken_place = (
            session.address in self._by_address if session.cid is None else session.cid in self._by_cid
        )
        if taken_place or session.id in self._sessions or len(self._sessions) >= self._settings.max_sessions:
            return None
        self._add(session, now)
        if not self._marked(session):
            self._end(session, "its record numbers could not be stored")
            return None
        return session

    def close(self) -> None:
        """Free what GnuTLS holds. Sessions end without a word: after a restart they go on."""
        for half in self._half:
            self._forget(half)
        self._credentials.close()

    # Records of sessions

    def _open(
        self, session: DtlsSession, header: bytes, body: bytes, address: UdpPeer, now: float
    ) -> bytes | None:
        """The data of a record, b"" when it was something else; None when it is not of this session."""
        number = int.from_bytes(header[5:11], "big")
        newest, seen = session.newest, session.seen
        if number <= newest and not is_fresh(number, newest, seen):
            self.counts["replayed"] += 1
            return None
        if not session.warm:
            self._warm_up(session)
        opened = session.opener.open(header, body)
        if opened is None:
            self.counts["unreadable"] += 1
            return None
        session.newest, session.seen = taken(number, newest, seen)
        session.heard_at = now
        if number > newest and address is not session.address and address != session.address:
            session.address = address  # only a Connection ID leads here from elsewhere
            self.counts["moved"] += 1
            self._events.append(Moved(session))
        kind, content = opened
        if kind == APPLICATION_DATA:
            self._heard_after(session)
            if not self._marked(session):
                return b""
            return content
        with contextlib.suppress(ConnectionError):  # out of numbers: then it has ended by now
            if kind == ALERT and len(content) == 2:
                self._alert(session, content)
            elif kind == HANDSHAKE and content:
                self._late_handshake(session, content[0])
        return b""

    def _suspect(
        self, session: DtlsSession, header: bytes, body: bytes, address: UdpPeer, now: float
    ) -> None:
        """A record in the name of a session was not taken, and is of no handshake either."""
        if not self._suspicions.watches(session, now):
            return  # nor is it worth opening
        copied = False
        if not is_fresh(int.from_bytes(header[5:11], "big"), session.newest, session.seen):
            if not session.warm:
                self._warm_up(session)
            copied = session.opener.open(header, body) is not None
        suspicious = self._suspicions.record(session, address, copied, now)
        if suspicious is not None:
            self._events.append(suspicious)

    def _alert(self, session: DtlsSession, content: bytes) -> None:
        level, description = content
        if description == 0:
            self.drop(session, "the device closed it")
        elif level == 2:
            self._end(session, f"the device ended it with alert {description}")

    def _late_handshake(self, session: DtlsSession, message: int) -> None:
        if message == _CLIENT_HELLO:
            self._outgoing.append((self._sealed(ALERT, _NO_RENEGOTIATION, session), session.address))
        recent = session.recent
        if message == _FINISHED and recent is not None and recent.flight:
            # With new numbers: the device has seen the old ones, or they were lost, and who could tell.
            if session.next_number + len(recent.flight) > session.sent_below:
                self._reserve(session)
            datagrams, recent.epoch0, after = pack(
                *(recent.flight, recent.epoch0, session.next_number, session.sealer, session.peer_cid),
                self._settings.mtu_bytes,
            )
            session.skip_to(after)
            self._outgoing += [(datagram, session.address) for datagram in datagrams]

    def _sealed(self, kind: int, data: bytes, session: DtlsSession) -> bytes:
        if session.next_number >= session.sent_below:
            self._reserve(session)
        if not session.warm:
            self._warm_up(session)
        return session.sealer.seal(kind, session.take_number(), data, session.peer_cid)

    def _reserve(self, session: DtlsSession) -> None:
        if session.next_number > MAX_NUMBER - 2 * SENT_BLOCK:
            self._end(session, "it has used up its record numbers")
            raise ConnectionError(f"the DTLS session with {session} has used up its record numbers")
        before = session.sent_below
        session.start_at(session.next_number)
        if not self._marked(session):
            session.sent_below = before
            raise ConnectionError(f"no record numbers could be reserved for {session}")

    def _marked(self, session: DtlsSession) -> bool:
        """Whether ``marks`` took the marks of a session."""
        try:
            self.marks(session)
        except Exception:  # the boundary to another room: without its word, nothing goes up or out
            self.counts["not marked"] += 1
            if not self._unmarked:  # a full disk would say so with every record
                log.exception("the marks of DTLS sessions cannot be stored; nothing of them is taken or sent")
            self._unmarked = True
            return False
        self._unmarked = False
        return True

    def _warm_up(self, session: DtlsSession) -> None:
        if len(self._warm) >= MAX_WARM:
            coldest = next(iter(self._warm))
            del self._warm[coldest]
            coldest.cool_down()
        self._warm[session] = None
        session.warm_up()

    def _heard_after(self, session: DtlsSession) -> None:
        """The device sends data, so it has our last flight."""
        if session.recent is not None:
            session.recent.flight = []
            session.recent = None

    # Handshakes

    def _hello(
        self, hello: ClientHello, half: Handshake | None, address: UdpPeer, now: float
    ) -> Handshake | None:
        """The handshake that a hello begins or goes on with; None when it only gets an answer, or none."""
        if half is not None and half.random == hello.random:
            if hello.cookie:
                half.answer_again(now)
            return half
        recent = self._recent.get(address)
        if recent is not None and recent.random == hello.random:
            return None  # a late copy of one that is answered
        if hello.message_seq and hello.cookie and self._cookies.holds(hello, address.address, now):
            return self._begin(hello, address, now)
        if hello.cookie:
            self.counts["cookies refused"] += 1
            if self._cookies.is_of_another_address(hello, now):
                suspicious = self._suspicions.hello(address, now)
                if suspicious is not None:
                    self._events.append(suspicious)
        self._outgoing.append((self._cookies.answer(hello, address.address, now), address))
        return None

    def _begin(self, hello: ClientHello, address: UdpPeer, now: float) -> Handshake | None:
        if not self._half.may_begin(address, now):
            self.counts["handshakes put off"] += 1
            suspicious = self._suspicions.haste(address, now)
            if suspicious is not None:
                self._events.append(suspicious)
            return None
        while (before := self._half.in_the_way(address)) is not None:
            self._give_up(before)
        settings = self._settings
        try:
            half = Handshake(
                *(self._credentials, self._trust, hello, address, now),
                timeout_s=settings.handshake_timeout_s,
                mtu_bytes=settings.mtu_bytes,
                new_cid=self._new_cid if settings.connection_id else None,
            )
        except MemoryError:
            log.exception("no handshake can begin")
            return None
        self._half.put(half)
        if self._tick_at is None or self._tick_at > now + _TICK_S:
            self._tick_at = now + _TICK_S
        return half

    def _go_on(self, half: Handshake, now: float) -> None:
        half.go_on(now)
        self._settle(half, now)

    def _settle(self, half: Handshake, now: float) -> None:
        """What became of a handshake."""
        if half.outgoing:
            self._outgoing += [(datagram, half.address) for datagram in half.outgoing]
            half.outgoing.clear()
        if half.outcome is not None:
            self._establish(half, half.outcome, now)
        elif half.failed:
            self._tell(half)
            self._forget(half)
        else:
            if half.refused:
                self._tell(half)
            if half.cid is not None:
                self._half_by_cid[half.cid] = half

    def _tell(self, half: Handshake) -> None:
        """The operator's sentence, once."""
        if not half.told:
            half.told = True
            self.counts["handshakes failed"] += 1
            self._events.append(Failed(half.address, half.identity, half.sentence))

    def _give_up(self, half: Handshake) -> None:
        """Forget a handshake before its time."""
        self.counts["handshakes given up"] += 1
        if half.suspect_at is not None:
            self._tell(half)
        self._forget(half)

    def _forget(self, half: Handshake) -> None:
        half.close()
        self._half.remove(half)
        if half.cid is not None:
            self._half_by_cid.pop(half.cid, None)

    def _establish(self, half: Handshake, outcome: Outcome, now: float) -> None:
        self._forget(half)
        address = half.address
        session = DtlsSession(
            *(self._new_id(), address, outcome.identity, outcome.credential, outcome.suite),
            *(joined_keys(outcome.read, outcome.write), (outcome.own_cid, outcome.peer_cid), now),
        )
        session.resumed = outcome.resumed
        session.newest = outcome.newest
        session.start_at(half.epoch1)
        self._make_room_for(session)
        self._add(session, now)
        # After a resumption the device has the last word, and nothing of ours can be missing.
        flight = [] if outcome.resumed else half.last_flight()
        if address in self._recent:
            self._forget_recent(address)
        elif len(self._recent) >= _MAX_RECENT:
            self._forget_recent(next(iter(self._recent)))
        recent = Recent(session, half.random, flight, half.next_plain_number, now + RECENT_S)
        self._recent[address] = session.recent = recent
        self.counts["handshakes"] += 1
        if not outcome.resumed:
            self._proved.add(outcome.credential)
        elif outcome.credential not in self._proved:
            # The key was exchanged under its old name, and `renew_secrets` is yet to come.
            self.drop(session, "it went on from a ticket that is older than the key")
            return
        self._events.append(Established(session))

    def _make_room_for(self, session: DtlsSession) -> None:
        """End what a new session replaces, and what goes beyond the limits."""
        if session.cid is None and (before := self._by_address.get(session.address)) is not None:
            self._end(before, "a new handshake from its address replaced it")
        for other in self._by_identity.get(session.identity, ()):
            if other.address == session.address and not other.closed:
                self._end(other, "a new handshake from its address replaced it")
        same = self._by_identity.get(session.identity, ())
        if len(same) >= MAX_PER_IDENTITY:
            self._end(min(same, key=lambda one: one.heard_at), "the device has made newer sessions")
        while len(self._sessions) >= self._settings.max_sessions:
            self._end(self._longest_silent(), "there are too many sessions, and it was silent longest")

    def _longest_silent(self) -> DtlsSession:
        while True:
            while self._silent:
                heard_at, number = self._silent.pop()
                session = self._sessions.get(number)
                if session is not None and session.heard_at == heard_at:
                    return session
            # Looked for by the hundred: a storm of handshakes at the limit must not search all each time.
            found = heapq.nsmallest(
                _SILENT_LONGEST, ((one.heard_at, one.id) for one in self._sessions.values())
            )
            self._silent = found[::-1]

    def _add(self, session: DtlsSession, now: float) -> None:
        self._sessions[session.id] = session
        if session.cid is None:
            self._by_address[session.address] = session
        else:
            self._by_cid[session.cid] = session
        self._by_identity[session.identity] = (*self._by_identity.get(session.identity, ()), session)
        if self._sweep_at is None:
            self._sweep_at = now + min(_SWEEP_S, self._session_s)

    def _end(self, session: DtlsSession, reason: str) -> None:
        if session.closed:
            return
        session.closed = True
        del self._sessions[session.id]
        if session.cid is None:
            if self._by_address.get(session.address) is session:
                del self._by_address[session.address]
        else:
            self._by_cid.pop(session.cid, None)
        same = tuple(one for one in self._by_identity.get(session.identity, ()) if one is not session)
        if same:
            self._by_identity[session.identity] = same
        else:
            self._by_identity.pop(session.identity, None)
        self._warm.pop(session, None)
        session.cool_down()
        self._heard_after(session)
        self.counts["sessions ended"] += 1
        self._events.append(Ended(session, reason))

    def _forget_recent(self, address: UdpPeer) -> None:
        recent = self._recent.pop(address)
        if recent.session.recent is recent:
            recent.session.recent = None

    def _new_id(self) -> int:
        while True:
            number = int.from_bytes(self._random_bytes(6), "big")
            if number not in self._sessions:
                return number

    def _new_cid(self) -> bytes:
        while True:
            cid = self._random_bytes(CID_BYTES)
            if cid not in self._by_cid and cid not in self._half_by_cid:
                return cid


def _spki_pem(key_pem: bytes) -> bytes:
    """The public key of a private one, PEM."""
    key = load_pem_private_key(key_pem, None)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
