"""One handshake: records in, datagrams out, and in the end keys or a sentence (RFC 6347 §4.2).

GnuTLS speaks the handshake. Around it stands what it does not do: records get their numbers here, so that a
flight that is sent again has new ones (a client's replay window would swallow the old); a flight leaves in as
few datagrams as it fits into; encrypted records change between GnuTLS's form and the one with a Connection ID
(RFC 9146), which GnuTLS does not know; time is an argument. Longer than 400 lines, as it is one machine.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from appliance.southbound.dtls.gnutls import (
    AGAIN,
    INTERRUPTED,
    MAX_MESSAGE_BYTES,
    Connection,
    Credentials,
    describe,
)
from appliance.southbound.dtls.hello import ClientHello
from appliance.southbound.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    HEADER_BYTES,
    SUITES,
    TLS12_CID,
    Cipher,
    Seal,
    cipher_of,
    plain_record,
)
from appliance.southbound.dtls.session import FlightRecord
from appliance.southbound.dtls.trust import INTERNAL_ERROR, Answer, Trust, Verdict
from appliance.southbound.udp import UdpPeer

log = logging.getLogger(__name__)

FIRST_RESEND_S = 2.0  # then twice as long each time (RFC 6347 §4.2.4.1)
ANSWER_AGAIN_S = 0.25  # a repeated message is answered with our flight this often at most
SUSPICION_S = 2.0  # after a Finished that cannot be read, until it is called another key
_MAX_RECORDS = 256  # of one handshake; a chain of certificates in small fragments takes fewer
_MAX_ROUNDS = 32  # of GnuTLS per record

_SERVER_HELLO = 2
_FATAL_ALERT_RECEIVED = -12
_SENTENCES = {
    -8: "The device speaks no version of DTLS that this server does (DTLS 1.2).",
    -21: "The device and this server have no cipher suite in common.",
    -87: "The device and this server have no cipher suite in common.",
    -32: "The device wants certificates or raw public keys, and this server has no key of its own yet.",
    -43: "The device's certificate could not be taken.",
    -49: "The device sent no certificate, and no pre-shared key either.",
    -112: "The device sent no certificate, and no pre-shared key either.",
    -89: "The device could not prove that it owns the key of its certificate.",
    -90: "The device's PSK identity is longer than the 128 bytes that fit.",
    -106: "The device signs with an algorithm that this server does not take (ECDSA with SHA-256 on P-256).",
    -423: "The device offers no curve that this server does (P-256).",
}


class Outcome(NamedTuple):
    """What a finished handshake leaves: the identity that was proved, and what records are sealed with."""

    identity: str
    suite: str
    read: tuple[bytes, bytes]  # key, nonce
    write: tuple[bytes, bytes]
    own_cid: bytes | None  # what the peer sends us; None without Connection IDs
    peer_cid: bytes  # what we send the peer; empty for none
    newest: int  # the number of the peer's Finished
    resumed: bool
    credential: str  # which of that identity it was, see `trust.Answer`


class Handshake:
    """The server's side of one handshake, from the hello with a good cookie on.

    ``outcome`` is set when it is done, ``failed`` when it ended otherwise; ``sentence`` is what the operator
    should read by then (before that: if the device fell silent now). After either, `close`.
    """

    __slots__ = (
        *("_connection", "_epoch0", "_flight", "_inbox", "_interval", "_last_seq", "_mtu_bytes"),
        *("_new_cid", "_proofs", "_pulled", "_pushed", "_read", "_records", "_resend_at", "_resent_at"),
        *("_suite", "_trust", "_verdict", "_write", "address", "began_at", "cid", "deadline", "epoch1"),
        *("failed", "identity", "outcome", "outgoing", "peer_cid", "random", "refused", "sentence"),
        *("suspect_at", "told"),
    )

    def __init__(
        self,
        credentials: Credentials,
        trust: Trust,
        hello: ClientHello,
        address: UdpPeer,
        now: float,
        *,
        timeout_s: float,
        mtu_bytes: int,
        new_cid: Callable[[], bytes] | None,
    ) -> None:
        """``new_cid`` makes a Connection ID that nobody has; None offers none."""
        self.address = address
        self.random = hello.random
        self.began_at = now
        self.deadline = now + timeout_s
        self.outgoing: list[bytes] = []
        self.outcome: Outcome | None = None
        self.failed = False
        self.refused = False
        self.told = False  # for whoever tells the operator: once
        self.identity = ""
        self.sentence = (
            "The device began a handshake and fell silent; maybe our answers do not reach it, or it gave up."
        )
        self.suspect_at: float | None = None
        self.cid: bytes | None = None  # ours
        self.peer_cid: bytes | None = None
        self.epoch1 = 0  # the next number of a record of ours with keys
        self._epoch0 = (hello.number + 1) & 0x7FFFFFFFFFFF
        self._trust = trust
        self._new_cid = new_cid
        self._mtu_bytes = mtu_bytes
        self._inbox: deque[bytes] = deque()
        self._pushed: list[bytes] = []
        self._flight: list[FlightRecord] = []
        self._last_seq = -1
        self._read: tuple[bytes, bytes] | None = None
        self._write: Seal | None = None
        self._verdict: Answer | None = None
        self._suite = ""
        self._records = 0
        self._pulled = b""
        self._proofs: list[tuple[bytes, bytes]] = []  # what is sealed of what waits for GnuTLS
        self._interval = FIRST_RESEND_S
        self._resend_at = now + FIRST_RESEND_S
        self._resent_at = now
        self._connection = Connection(credentials, self, hello.message_seq, mtu_bytes, new_cid is not None)

    def receive(self, header: bytes, body: bytes, now: float) -> None:
        """A record for this handshake, whatever it is; `go_on` comes when the datagram is through."""
        if self.failed or self.outcome is not None:
            return
        self._records += 1
        if self._records > _MAX_RECORDS:
            self._fail("The device sent far more than a handshake takes.")
            return
        kind = header[0]
        if header[3:5] == b"\0\0":
            if kind != HANDSHAKE or _adds_up(body):
                self._inbox.append(header + body)
            return
        if kind in (HANDSHAKE, ALERT):
            self._inbox.append(header + body)
            self._proofs.append((header, body))
            return
        self.go_on(now)  # what came before may bring the keys
        if self.failed or self.outcome is not None or not self._readable():
            return  # it overtook what makes it readable, and will be sent again
        assert self._read is not None
        seal = Seal(self._cipher(), *self._read)
        opened = seal.open(header, body)
        if opened is None:
            if kind == TLS12_CID:
                self._unreadable(now)
        elif opened[0] == APPLICATION_DATA:
            self.answer_again(now)  # it thinks that it is done, but we miss its Finished
        else:
            # GnuTLS knows no Connection IDs, so it gets the record without.
            record = seal.seal(opened[0], int.from_bytes(header[5:11], "big"), opened[1])
            self._inbox.append(record)
            self._proofs.append((record[:HEADER_BYTES], record[HEADER_BYTES:]))

    def go_on(self, now: float) -> None:
        """Let GnuTLS read what was received."""
        if not self._inbox or self.failed or self.outcome is not None:
            return
        connection = self._connection
        for _ in range(_MAX_ROUNDS):
            result = connection.handshake()
            if result == 0:
                self._finish()
                break
            if result in (AGAIN, INTERRUPTED):
                if not self._inbox:
                    break
            elif connection.is_fatal(result):
                self._end(result)
                break
        self._inbox.clear()
        self._transmit(now)
        if self._proofs:
            proofs, self._proofs = self._proofs, []
            if self.outcome is None and not self.failed and self._readable():
                self._judge(proofs, now)

    @property
    def is_new(self) -> bool:
        """Whether it has received nothing yet, not even its hello."""
        return not self._records

    def answer_again(self, now: float) -> None:
        """The peer repeats itself: our last flight was lost."""
        if self._flight and now - self._resent_at >= ANSWER_AGAIN_S:
            self._send_flight(now)

    def tick(self, now: float) -> None:
        """Send the flight again when it is time, give up when it is too late."""
        if self.failed or self.outcome is not None:
            return
        if now >= self.deadline:
            self.failed = True
        elif now >= self._resend_at and self._flight:
            self._interval *= 2
            self._send_flight(now)

    def last_flight(self) -> list[FlightRecord]:
        """What has to be sent again when the peer repeats its Finished."""
        return self._flight

    def close(self) -> None:
        """Free GnuTLS's part."""
        self.failed = self.failed or self.outcome is None
        self._inbox.clear()
        self._connection.close()

    # What GnuTLS calls back

    def pushed(self, record: bytes) -> None:
        """A record of GnuTLS's."""
        self._pushed.append(record)

    def pull(self) -> bytes | None:
        """The next record for GnuTLS."""
        if not self._inbox:
            return None
        self._pulled = self._inbox.popleft()
        return self._pulled

    @property
    def waiting(self) -> bool:
        """Whether there is one."""
        return bool(self._inbox)

    def psk_key(self, identity: bytes) -> bytes | None:
        """The key of an identity that may come in."""
        self._verdict = verdict = self._ask(self._trust.psk, identity)
        self.identity = verdict.identity
        if verdict.refusal:
            # The device gets silence, as with a wrong key: nobody learns which identities there are.
            self._refuse(verdict)
            return None
        try:
            key = self._trust.psk_key(identity)
        except Exception:  # as in `_ask`
            log.exception("the key of a credential could not be had")
            self._refuse(Verdict("", f"The key of {verdict.identity} could not be had; see the log."))
            return None
        if not key:
            self._refuse(Verdict(verdict.identity, f"There is no key for {verdict.identity}."))
            return None
        self.sentence = f"{verdict.identity} began a handshake and fell silent before it proved its key."
        return key

    def verify(self, chain: tuple[bytes, ...], is_raw_key: bool) -> bool:
        """Whether a certificate or a raw public key may come in."""
        self._verdict = verdict = self._ask_about(chain, is_raw_key)
        self.identity = verdict.identity
        if verdict.refusal:
            self._refuse(verdict)
            return False
        self.sentence = f"{verdict.identity} began a handshake and fell silent before it proved its key."
        return True

    def cid_offered(self, cid: bytes) -> None:
        """The peer wants records with this Connection ID."""
        if self._new_cid is not None and self.cid is None:
            self.peer_cid = cid
            self.cid = self._new_cid()

    def own_cid(self) -> bytes | None:
        """The Connection ID we want to be sent."""
        return self.cid

    # Steps

    def _ask(self, question: Callable[[bytes], Answer], about: bytes) -> Answer:
        try:
            return question(about)
        except Exception:  # the boundary to another room, inside a datagram: it refuses, and we go on
            log.exception("a credential could not be checked")
            return Verdict("", "The device's credential could not be checked; see the log.", INTERNAL_ERROR)

    def _ask_about(self, chain: tuple[bytes, ...], is_raw_key: bool) -> Answer:
        if is_raw_key:
            return self._ask(self._trust.raw_public_key, chain[0])
        try:
            return self._trust.certificate(chain)
        except Exception:  # as above
            log.exception("a certificate could not be checked")
            return Verdict("", "The device's certificate could not be checked; see the log.", INTERNAL_ERROR)

    def _refuse(self, verdict: Answer) -> None:
        self.refused = True
        self.sentence = verdict.refusal

    def _judge(self, proofs: list[tuple[bytes, bytes]], now: float) -> None:
        """Records that were sealed have not ended the handshake: why not?"""
        assert self._read is not None
        seal = Seal(self._cipher(), *self._read)
        for header, body in proofs:
            opened = seal.open(header, body)
            if opened is None:
                self._unreadable(now)
            elif opened[0] == HANDSHAKE and not _adds_up(opened[1]):
                self._fail("The device sent what is part of no handshake.")  # and it has the right key

    def _unreadable(self, now: float) -> None:
        if self.suspect_at is None:
            self.suspect_at = now + SUSPICION_S
            if not self.refused:
                self.sentence = (
                    f"{self.identity or 'The device'} could not prove its key: "
                    "most likely the device has another key than the one kept here."
                )

    def _readable(self) -> bool:
        """Whether the peer's sealed records can be read by now."""
        if self._read is None:
            self._read = self._keys(read=True)
        return self._read is not None

    def _keys(self, *, read: bool) -> tuple[bytes, bytes] | None:
        """Key and nonce of one direction, None before there are any."""
        keys = self._connection.keys(read=read)
        return keys and (keys[0], keys[1][: self._cipher().nonce_bytes])

    def _cipher(self) -> Cipher:
        return cipher_of(self._suite)

    def _finish(self) -> None:
        connection = self._connection
        resumed = connection.resumed
        verdict = self._verdict
        if resumed or verdict is None:
            # Nobody was asked in this handshake: a ticket says who it is, and may be older than a revocation.
            identity = connection.psk_identity
            if identity is not None:
                verdict = self._ask(self._trust.psk, identity)
            else:
                chain, raw = connection.peer_chain()
                verdict = self._ask_about(chain, raw) if chain else Verdict("", _SENTENCES[-49])
            self.identity = verdict.identity
        if verdict.refusal:
            self._refuse(verdict)
            self.failed = True
            connection.send_alert(verdict.alert)
            return
        write = self._keys(read=False)
        if not self._readable() or self._read is None or write is None:
            self._fail("The handshake ended without keys.")
            return
        # Nothing but the peer's Finished ends a handshake, and what GnuTLS has read last has ended it.
        finished = int.from_bytes(self._pulled[5:11], "big")
        self.outcome = Outcome(
            *(verdict.identity, self._suite, self._read, write, self.cid, self.peer_cid or b""),
            *(finished, resumed, verdict.credential),
        )

    def _end(self, result: int) -> None:
        """GnuTLS gave up."""
        connection = self._connection
        self.failed = True
        if self.refused:
            assert self._verdict is not None
            connection.send_alert(self._verdict.alert)
            return
        if result == _FATAL_ALERT_RECEIVED:
            who = self.identity or "The device"
            self.sentence = f"{who} ended the handshake with the alert “{connection.received_alert()}”."
            return
        self.sentence = _SENTENCES.get(result) or f"The handshake failed: {describe(result)}"
        connection.send_alert_for(result)

    def _fail(self, sentence: str) -> None:
        self.failed = True
        self.sentence = sentence

    # Flights

    def _transmit(self, now: float) -> None:
        """Send what GnuTLS pushed, as ours."""
        pushed, self._pushed = self._pushed, []
        flight: list[FlightRecord] = []
        last_seq = self._last_seq
        for record in pushed:
            header, body = record[:HEADER_BYTES], record[HEADER_BYTES:]
            if header[3:5] == b"\0\0":
                if header[0] == HANDSHAKE:
                    seq = int.from_bytes(body[4:6], "big")
                    if not flight and seq <= self._last_seq:
                        self.answer_again(now)  # GnuTLS was reminded of its last flight
                        return
                    last_seq = max(last_seq, seq)
                    if body[0] == _SERVER_HELLO:
                        # GnuTLS does not say so before the end, and the flight needs its cipher.
                        at = 47 + body[46]
                        self._suite = SUITES[body[at] << 8 | body[at + 1]]
                flight.append((header[0], 0, body))
            else:
                opened = self._writer().open(header, body)
                if opened is not None:
                    flight.append((opened[0], 1, opened[1]))
        if not flight:
            return
        self._last_seq = last_seq
        if all(kind == ALERT for kind, _, _ in flight):
            self._pack(flight)
            return
        self._flight = flight
        self._interval = FIRST_RESEND_S
        self._send_flight(now)

    def _writer(self) -> Seal:
        if self._write is None:
            keys = self._keys(read=False)
            assert keys is not None  # a record of epoch 1 was made with them
            self._write = Seal(self._cipher(), *keys)
        return self._write

    def _send_flight(self, now: float) -> None:
        self._resent_at = now
        self._resend_at = now + self._interval
        self._pack(self._flight)

    def _pack(self, flight: list[FlightRecord]) -> None:
        writer = self._writer() if any(epoch for _, epoch, _ in flight) else None
        datagrams, self._epoch0, self.epoch1 = pack(
            flight, self._epoch0, self.epoch1, writer, self.peer_cid or b"", self._mtu_bytes
        )
        self.outgoing += datagrams

    @property
    def next_plain_number(self) -> int:
        """The next number of a record of ours without keys."""
        return self._epoch0


def _adds_up(body: bytes) -> bool:
    """Whether a record holds whole fragments of messages of a decent size.

    GnuTLS would set memory aside for a message of 16 MB as soon as a fragment said that it is of one.
    """
    at, end = 0, len(body)
    while at + 12 <= end:
        size = int.from_bytes(body[at + 1 : at + 4], "big")
        offset = int.from_bytes(body[at + 6 : at + 9], "big")
        part = int.from_bytes(body[at + 9 : at + 12], "big")
        if size > MAX_MESSAGE_BYTES or offset + part > size:
            return False
        at += 12 + part
    return at == end


def pack(
    flight: list[FlightRecord], epoch0: int, epoch1: int, seal: Seal | None, cid: bytes, mtu_bytes: int
) -> tuple[list[bytes], int, int]:
    """A flight as datagrams with these numbers, and the numbers that come next."""
    datagrams: list[bytes] = []
    datagram = b""
    for kind, epoch, content in flight:
        if epoch:
            assert seal is not None
            record = seal.seal(kind, epoch1, content, cid)
            epoch1 += 1
        else:
            record = plain_record(kind, epoch0, content)
            epoch0 += 1
        if datagram and len(datagram) + len(record) > mtu_bytes:
            datagrams.append(datagram)
            datagram = b""
        datagram += record
    datagrams.append(datagram)
    return datagrams, epoch0, epoch1
