"""Every byte string from the net, against a server in a child process: it neither dies nor grows.

Real handshakes are run and spoilt on the way: bits, lengths, order, records of others, and what a client with
the right keys says under them. The child's allocator fills what it hands out and takes back, so that what
reads or writes beside its place is likelier to be noticed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.southbound.dtls.client import (
    ALERT,
    CCS,
    DATA,
    ECDSA_CCM_8,
    ECDSA_GCM,
    HANDSHAKE,
    PSK_CCM_8,
    PSK_GCM,
    Client,
    Ticket,
)
from tests.southbound.dtls.fuzz_child import HEADER
from tests.southbound.dtls.net import KEY, NAME

REPOSITORY = Path(__file__).parents[3]
GROWTH_BYTES = 4 << 20


class Child:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.southbound.dtls.fuzz_child"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "GLIBC_TUNABLES": "glibc.malloc.perturb=165"},
        )
        self.now = 1000.0
        _, _, secret = self._read()
        certificate, key = json.loads(secret)
        self.chain = (bytes.fromhex(certificate),)
        self.key: Any = load_pem_private_key(key.encode(), None)

    def send(self, data: bytes, port: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(HEADER.pack(b"D", port, len(data), self.now) + data)

    def answers(self, port: int = -1) -> list[bytes]:
        """What it sends to that port by now."""
        self._ask(b"T")
        found = []
        while True:
            kind, to, data = self._read()
            if kind == b"T":
                return found
            if to == port:
                found.append(data)

    def sizes(self) -> dict[str, int]:
        self._ask(b"S")
        while True:
            kind, _, data = self._read()
            if kind == b"S":
                sizes: dict[str, int] = json.loads(data)
                return sizes

    def _ask(self, kind: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(HEADER.pack(kind, 0, 0, self.now))
        self.process.stdin.flush()

    def _read(self) -> tuple[bytes, int, bytes]:
        assert self.process.stdout is not None
        head = self.process.stdout.read(HEADER.size)
        assert len(head) == HEADER.size, f"the server died: {self.process.wait(5)}"
        kind, port, size, _ = HEADER.unpack(head)
        return kind, port, self.process.stdout.read(size)

    def end(self) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(20)
        self.process.stdout.close()
        return code


@pytest.fixture
def child() -> Iterator[Child]:
    running = Child()
    yield running
    assert running.end() == 0


def spoilt(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """The datagram with one to three things wrong."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        made = bytearray(data)
        size = len(made)
        where = rng.randrange(size) if size else 0
        match rng.randrange(9):
            case 0 if size:  # a bit
                made[where] ^= 1 << rng.randrange(8)
            case 1 if size:  # a byte that is an edge
                made[where] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, made[where]))
            case 2:  # an end too early
                del made[where:]
            case 3:  # something in between
                made[where:where] = rng.randbytes(rng.randrange(1, 20))
            case 4:  # something missing
                del made[where : where + rng.randrange(1, 20)]
            case 5 if size > 24:  # a length or an offset of the headers
                field = rng.choice((11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24))
                made[field] = rng.choice((0, 1, 2, 0xFF, made[field] + 1 & 0xFF, made[field] - 1 & 0xFF))
            case 6 if others:  # a record of somebody else's behind it
                made += rng.choice(others)
            case 7 if others and size:  # the beginning of one, the end of another
                other = rng.choice(others)
                made = made[:where] + bytearray(other[rng.randrange(len(other)) :] if other else b"")
            case _ if size > 60:  # two places change theirs
                other = rng.randrange(size)
                made[where], made[other] = made[other], made[where]
        data = bytes(made)
    return data


def spoilt_flight(rng: random.Random, client: Client) -> None:
    """What only somebody with the keys can say."""
    flight = client.flight
    for _ in range(rng.randrange(3)):
        kind, epoch, content = rng.choice(flight)
        place = rng.randrange(len(flight) + 1)
        match rng.randrange(5):
            case 0:
                flight.insert(place, (kind, epoch, spoilt(rng, content, [])))
            case 1:
                flight.insert(place, (rng.choice((CCS, ALERT, HANDSHAKE, DATA, 24, 0)), epoch, content))
            case 2:
                flight.insert(place, (kind, 0, rng.randbytes(rng.randrange(60))))
            case 3:
                flight[flight.index((kind, epoch, content))] = (kind, epoch, spoilt(rng, content, []))
            case _:
                flight.remove((kind, epoch, content))
                if not flight:
                    return


def clients(rng: random.Random, child: Child, tickets: list[Ticket]) -> Client:
    more: dict[str, Any] = {"cid": rng.choice((None, b"", rng.randbytes(8), bytes(255)))}
    match rng.randrange(5):
        case 0:
            more |= {"chain": child.chain, "private_key": child.key, "wants_ticket": rng.random() < 0.5}
            return Client(suites=(ECDSA_CCM_8, ECDSA_GCM), mtu=rng.choice((300, 1200)), **more)
        case 1 if tickets:
            return Client(NAME, KEY, ticket=rng.choice(tickets), **more)
        case 2:
            return Client(rng.randbytes(rng.randrange(300)), rng.randbytes(16), **more)
        case _:
            more |= {"wants_ticket": True, "extended": rng.random() < 0.5}
            return Client(NAME, KEY, suites=(rng.choice((PSK_CCM_8, PSK_GCM)),), **more)


def one_handshake(
    rng: random.Random,
    child: Child,
    port: int,
    tickets: list[Ticket],
    seen: list[bytes],
    spoil: Callable[[], bool],
) -> Client:
    """A handshake and some data, with some of it spoilt on the way."""
    client = clients(rng, child, tickets)
    client.hello()
    for turn in range(6):
        outgoing = client.take()
        if client.flight and turn > 1 and spoil():
            client.outgoing.clear()
            spoilt_flight(rng, client)
            if client.flight:
                client.send_flight()
            outgoing = client.take()
        if client.done and client.write is not None:
            client.send(rng.randbytes(rng.randrange(200)))
            kind = rng.choice((ALERT, HANDSHAKE, DATA, CCS, 0, 24, 99))
            client.outgoing.append(client.record(kind, 1, rng.randbytes(rng.randrange(40))))
            outgoing += client.take()
        for data in outgoing:
            if spoil():
                child.send(spoilt(rng, data, seen), port)
                if rng.random() < 0.5:
                    continue  # else the good one follows
            child.send(data, port)
            if len(seen) < 200:
                seen.append(data)
            elif rng.random() < 0.05:
                seen[rng.randrange(200)] = data
        answers = child.answers(port)
        for data in answers:
            # The client is not on trial, and what was spoilt does not add up.
            with contextlib.suppress(AssertionError, LookupError, ValueError):
                client.receive(data)
        if not answers:
            break
    if client.new_ticket is not None and len(tickets) < 20:
        tickets.append(client.new_ticket)
    return client


@pytest.mark.timeout(120)
def test_whatever_comes_the_server_neither_dies_nor_grows(child: Child) -> None:
    rng = random.Random(9146)
    tickets: list[Ticket] = []
    seen: list[bytes] = []
    done = 0
    warm = child.sizes()
    for number in range(3000):
        child.now += 0.05
        client = one_handshake(rng, child, 1024 + number % 500, tickets, seen, lambda: rng.random() < 0.2)
        done += client.done
        for _ in range(5):
            data = rng.choice(seen) if rng.random() < 0.7 else rng.randbytes(rng.randrange(120))
            child.send(spoilt(rng, data, seen), rng.randrange(1024, 1524))
        if number == 999:
            warm = child.sizes()
    after = child.sizes()
    assert 300 < done < 3000, "the mutations are too strong or too weak"
    assert after["handed_up"] > 300
    assert after["half_open"] <= 64
    assert after["sessions"] <= 256
    assert after["rss"] - warm["rss"] < GROWTH_BYTES
    for _ in range(1000):  # a month later nothing is left of it
        child.now += 3600
        child.answers()
    left = child.sizes()
    for ours in ("rss", "handed_up", "handshakes"):
        del left[ours]
    assert not any(left.values()), left
    assert one_handshake(rng, child, 1024, [], [], lambda: False) is not None


@pytest.mark.timeout(120)
def test_noise_is_cheap(child: Child) -> None:
    """A hundred thousand datagrams that look like records, to a server with a session and a handshake."""
    rng = random.Random(6347)
    seen: list[bytes] = []
    for port in (2000, 2001, 2002):
        one_handshake(rng, child, port, [], seen, lambda: False)
    before = child.sizes()
    for number in range(100_000):
        kind = rng.choice((20, 21, 22, 22, 22, 23, 25, rng.randrange(256)))
        body = rng.randbytes(rng.randrange(50))
        if kind == 22 and rng.random() < 0.7:
            body = bytes((rng.choice((1, 1, 2, 11, 16, 20)),)) + body
        size = len(body) if rng.random() < 0.9 else rng.randrange(65536)
        data = bytes((kind, 0xFE, rng.choice((0xFD, 0xFD, 0xFF)), 0, rng.choice((0, 0, 1, 1, 2))))
        data += rng.randrange(1 << 48).to_bytes(6, "big") + size.to_bytes(2, "big") + body
        child.send(data, rng.choice((2000, 2001, 2002, rng.randrange(65536))))
        if number % 1000 == 999:
            child.now += 0.1
            child.answers()
    after = child.sizes()
    assert {name: after[name] for name in ("sessions", "half_open")} == {
        name: before[name] for name in ("sessions", "half_open")
    }
    assert after["rss"] - before["rss"] < GROWTH_BYTES
