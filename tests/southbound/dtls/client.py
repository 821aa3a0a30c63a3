"""A DTLS 1.2 client of our own, for tests: without I/O, and it does what it is told, also what is wrong.

Written from RFC 5246, 6347, 4279, 6655, 8422, 7250, 5077 and 9146 on cryptography's primitives alone; it
shares no code with the server. PSK and ECDHE-ECDSA, tickets, Connection IDs.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

PSK_CCM_8, PSK_CCM, PSK_GCM = 0xC0A8, 0xC0A4, 0x00A8
ECDSA_CCM_8, ECDSA_CCM, ECDSA_GCM = 0xC0AE, 0xC0AC, 0xC02B
TAGS = {PSK_CCM_8: 8, ECDSA_CCM_8: 8}
GCM = (PSK_GCM, ECDSA_GCM)

VERSION = b"\xfe\xfd"
CCS, ALERT, HANDSHAKE, DATA, CID_RECORD = 20, 21, 22, 23, 25


def vector(data: bytes, size: int) -> bytes:
    """Length in so many bytes, and the data."""
    return len(data).to_bytes(size, "big") + data


def extension(number: int, data: bytes) -> bytes:
    return number.to_bytes(2, "big") + vector(data, 2)


def prf(secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    """RFC 5246 §5 with SHA-256."""
    seed = label + seed
    out, turn = b"", seed
    while len(out) < size:
        turn = hmac.digest(secret, turn, "sha256")
        out += hmac.digest(secret, turn + seed, "sha256")
    return out[:size]


class Direction:
    """One direction of the encrypted epoch."""

    def __init__(self, suite: int, key: bytes, nonce: bytes) -> None:
        self.aead = AESGCM(key) if suite in GCM else AESCCM(key, TAGS.get(suite, 16))
        self.overhead = 8 + TAGS.get(suite, 16)
        self.nonce = nonce

    def seal(self, kind: int, number: int, plain: bytes, cid: bytes = b"") -> bytes:
        full = b"\0\1" + number.to_bytes(6, "big")
        if cid:
            plain += bytes((kind,))
            kind = CID_RECORD
        head = bytes((kind,)) + VERSION + full + cid
        body = full + self.aead.encrypt(self.nonce + full, plain, self.associated(head, len(plain), len(cid)))
        return head + vector(body, 2)

    def open(self, record: bytes, cid_bytes: int) -> tuple[int, bytes]:
        """Type and content; raises InvalidTag."""
        inside = cid_bytes if record[0] == CID_RECORD else 0
        head, body = record[: 11 + inside], record[13 + inside :]
        plain = self.aead.decrypt(
            self.nonce + body[:8], body[8:], self.associated(head, len(body) - self.overhead, inside)
        )
        if record[0] != CID_RECORD:
            return record[0], plain
        plain = plain.rstrip(b"\0")
        return plain[-1], plain[:-1]

    @staticmethod
    def associated(head: bytes, size: int, cid_bytes: int) -> bytes:
        if head[0] == CID_RECORD:
            return b"\xff" * 8 + bytes((25, cid_bytes)) + head + size.to_bytes(2, "big")
        return head[3:11] + head[:3] + size.to_bytes(2, "big")


class Ticket:
    """What a later handshake goes on from."""

    def __init__(self, ticket: bytes, master: bytes, suite: int) -> None:
        self.ticket, self.master, self.suite = ticket, master, suite


class Client:
    """One handshake, and the session after it.

    ``take`` gives the datagrams to send. ``chain`` are DER certificates, or one DER public key with
    ``raw=True``. ``cid`` is the Connection ID it wants to be sent; None offers none.
    """

    def __init__(
        self,
        identity: bytes = b"",
        key: bytes = b"",
        *,
        suites: Sequence[int] = (PSK_CCM_8,),
        chain: Sequence[bytes] = (),
        private_key: ec.EllipticCurvePrivateKey | None = None,
        raw: bool = False,
        cid: bytes | None = None,
        ticket: Ticket | None = None,
        wants_ticket: bool = False,
        extended: bool = True,
        random: bytes | None = None,
        mtu: int = 1200,
    ) -> None:
        self.identity, self.key, self.suites = identity, key, tuple(suites)
        self.chain, self.private_key, self.raw = tuple(chain), private_key, raw
        self.cid, self.ticket, self.wants_ticket, self.extended = cid, ticket, wants_ticket, extended
        self.random = random or os.urandom(32)
        self.session_id = os.urandom(32) if ticket else b""
        self.mtu = mtu
        self.cookie = b""
        self.outgoing: list[bytes] = []
        self.flight: list[tuple[int, int, bytes]] = []
        self.transcript = b""
        self.numbers = [0, 0]
        self.message_seq = 0
        self.next_seq = 0  # of the server's messages
        self.fragments: dict[int, tuple[int, bytearray, set[int]]] = {}
        self.suite = 0
        self.server_cid = b""  # what we put into our records
        self.server_random = self.master = b""
        self.server_chain: tuple[bytes, ...] = ()
        self.server_point = b""
        self.certificate_asked = False
        self.resuming = self.expects_ticket = self.uses_extended = False
        self.write: Direction | None = None
        self.read: Direction | None = None
        self.new_ticket: Ticket | None = None
        self.done = False
        self.alerts: list[tuple[int, int]] = []
        self.received: list[bytes] = []
        self.numbers_seen: list[tuple[int, int]] = []  # epoch and number of each record that came

    # For the test

    def take(self) -> list[bytes]:
        outgoing, self.outgoing = self.outgoing, []
        return outgoing

    def hello(self) -> None:
        """Begin, or begin again with the cookie."""
        self.transcript = b""
        body = VERSION + self.random + vector(self.session_id, 1) + vector(self.cookie, 1)
        suites = b"".join(suite.to_bytes(2, "big") for suite in self.suites) + b"\0\xff"
        body += vector(suites, 2) + b"\1\0" + vector(self.extensions(), 2)
        self.flight = []
        self.message(1, body)
        self.send_flight()

    def retransmit(self) -> None:
        """The last flight once more, in records with new numbers (RFC 6347 §4.2.4)."""
        self.send_flight()

    def send(self, data: bytes) -> None:
        self.outgoing.append(self.record(DATA, 1, data))

    def close(self) -> None:
        self.outgoing.append(self.record(ALERT, 1, b"\x01\x00"))

    def receive(self, datagram: bytes) -> None:
        at = 0
        while at < len(datagram):
            inside = len(self.cid or b"") if datagram[at] == CID_RECORD else 0
            size = int.from_bytes(datagram[at + 11 + inside : at + 13 + inside], "big")
            record = datagram[at : at + 13 + inside + size]
            at += len(record)
            self.take_record(record, inside)

    # Records

    def record(self, kind: int, epoch: int, content: bytes) -> bytes:
        number = self.numbers[epoch]
        self.numbers[epoch] += 1
        if epoch:
            assert self.write is not None
            return self.write.seal(kind, number, content, self.server_cid)
        return bytes((kind,)) + VERSION + number.to_bytes(8, "big") + vector(content, 2)

    def send_flight(self) -> None:
        datagram = b""
        for kind, epoch, content in self.flight:
            record = self.record(kind, epoch, content)
            if datagram and len(datagram) + len(record) > self.mtu:
                self.outgoing.append(datagram)
                datagram = b""
            datagram += record
        self.outgoing.append(datagram)

    def take_record(self, record: bytes, inside: int) -> None:
        epoch = int.from_bytes(record[3:5], "big")
        number = (epoch, int.from_bytes(record[5:11], "big"))
        if number in self.numbers_seen:
            return  # a replay window, as strict as can be
        kind, content = record[0], record[13:]
        if epoch:
            if self.read is None:
                return
            try:
                kind, content = self.read.open(record, inside)
            except InvalidTag:
                return
        self.numbers_seen.append(number)
        if kind == HANDSHAKE:
            self.take_fragment(content)
        elif kind == ALERT:
            self.alerts.append((content[0], content[1]))
        elif kind == DATA:
            self.received.append(content)

    # Handshake messages

    def message(self, kind: int, body: bytes, epoch: int = 0) -> None:
        """A message of our flight; fragments of 1,000 bytes."""
        seq = self.message_seq.to_bytes(2, "big")
        self.message_seq += 1
        size = len(body).to_bytes(3, "big")
        self.transcript += bytes((kind,)) + size + seq + b"\0\0\0" + size + body
        for at in range(0, len(body) or 1, 1000):
            part = body[at : at + 1000]
            content = bytes((kind,)) + size + seq + at.to_bytes(3, "big") + vector(part, 3)
            self.flight.append((HANDSHAKE, epoch, content))

    def take_fragment(self, content: bytes) -> None:
        kind, size = content[0], int.from_bytes(content[1:4], "big")
        seq, at = int.from_bytes(content[4:6], "big"), int.from_bytes(content[6:9], "big")
        part = content[12:]
        if kind == 3:
            self.cookie = part[3:]
            self.next_seq = seq + 1
            self.hello()
            return
        if seq < self.next_seq:
            if self.done and self.resuming and kind == 20:
                self.retransmit()  # the server repeats its flight: ours was lost
            return
        _, body, have = self.fragments.setdefault(seq, (kind, bytearray(size), set()))
        body[at : at + len(part)] = part
        have.update(range(at, at + len(part)))
        while (ready := self.fragments.get(self.next_seq)) and len(ready[2]) == len(ready[1]):
            del self.fragments[self.next_seq]
            header = bytes((ready[0],)) + len(ready[1]).to_bytes(3, "big")
            header += self.next_seq.to_bytes(2, "big") + b"\0\0\0" + len(ready[1]).to_bytes(3, "big")
            self.next_seq += 1
            self.take_message(ready[0], bytes(ready[1]), header)

    def take_message(self, kind: int, body: bytes, header: bytes) -> None:
        before = self.transcript
        self.transcript += header + body
        if kind == 2:
            self.server_hello(body)
        elif kind == 11:
            self.certificate(body)
        elif kind == 12:
            self.server_point = body[4 : 4 + body[3]]
        elif kind == 13:
            self.certificate_asked = True
        elif kind == 14:
            self.second_flight()
        elif kind == 4:
            size = int.from_bytes(body[4:6], "big")
            self.new_ticket = Ticket(body[6 : 6 + size], self.master, self.suite)
        elif kind == 20:
            assert body == prf(self.master, b"server finished", hashlib.sha256(before).digest(), 12)
            if self.resuming:
                self.flight = []
                self.finish()
                self.send_flight()
            self.done = True

    def server_hello(self, body: bytes) -> None:
        self.server_random = body[2:34]
        at = 35 + body[34]
        session_id = body[35:at]
        self.suite = int.from_bytes(body[at : at + 2], "big")
        at += 5
        while at < len(body):
            number, size = (
                int.from_bytes(body[at : at + 2], "big"),
                int.from_bytes(body[at + 2 : at + 4], "big"),
            )
            data = body[at + 4 : at + 4 + size]
            at += 4 + size
            if number == 54:
                assert self.cid is not None
                self.server_cid = data[1:]
            elif number == 23:
                self.uses_extended = True
        if self.ticket is not None and session_id == self.session_id:
            self.resuming = True
            self.master = self.ticket.master
            self.make_keys()

    def certificate(self, body: bytes) -> None:
        if self.raw:
            self.server_chain = (body[3:],)
            return
        chain, at = [], 3
        while at < len(body):
            size = int.from_bytes(body[at : at + 3], "big")
            chain.append(body[at + 3 : at + 3 + size])
            at += 3 + size
        self.server_chain = tuple(chain)

    def second_flight(self) -> None:
        self.flight = []
        if self.certificate_asked:
            if self.raw:
                self.message(11, vector(self.chain[0], 3))
            else:
                self.message(11, vector(b"".join(vector(one, 3) for one in self.chain), 3))
        if self.server_point:
            own = ec.generate_private_key(ec.SECP256R1())
            point = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.server_point)
            premaster = own.exchange(ec.ECDH(), theirs)
            self.message(16, vector(point, 1))
        else:
            premaster = vector(bytes(len(self.key)), 2) + vector(self.key, 2)
            self.message(16, vector(self.identity, 2))
        if self.uses_extended:
            seed = hashlib.sha256(self.transcript).digest()
            self.master = prf(premaster, b"extended master secret", seed, 48)
        else:
            self.master = prf(premaster, b"master secret", self.random + self.server_random, 48)
        if self.certificate_asked and self.chain:
            assert self.private_key is not None
            signature = self.private_key.sign(self.transcript, ec.ECDSA(hashes.SHA256()))
            self.message(15, b"\x04\x03" + vector(signature, 2))
        self.make_keys()
        self.finish()
        self.send_flight()

    def make_keys(self) -> None:
        block = prf(self.master, b"key expansion", self.server_random + self.random, 40)
        self.write = Direction(self.suite, block[:16], block[32:36])
        self.read = Direction(self.suite, block[16:32], block[36:40])

    def finish(self) -> None:
        self.flight.append((CCS, 0, b"\1"))
        seen = hashlib.sha256(self.transcript).digest()
        self.message(20, prf(self.master, b"client finished", seen, 12), epoch=1)

    def extensions(self) -> bytes:
        made = extension(10, b"\0\2\0\x17") + extension(11, b"\1\0") + extension(13, b"\0\2\4\3")
        if self.extended:
            made += extension(23, b"")
        if self.ticket is not None:
            made += extension(35, self.ticket.ticket)
        elif self.wants_ticket:
            made += extension(35, b"")
        if self.raw:
            made += extension(19, b"\1\2") + extension(20, b"\1\2")
        if self.cid is not None:
            made += extension(54, vector(self.cid, 1))
        return made

    # What the server proved

    @property
    def server_key(self) -> Any:
        if self.raw:
            return load_der_public_key(self.server_chain[0])
        return x509.load_der_x509_certificate(self.server_chain[0]).public_key()
