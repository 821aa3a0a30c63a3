"""Block-wise transfers (RFC 7959): the option, bodies put together from blocks, bodies served in blocks.

Everything here is bounded: so many bodies, so many bytes, so long. The least recently touched goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from appliance.coap.message import (
    BAD_REQUEST,
    CONTINUE,
    REQUEST_ENTITY_INCOMPLETE,
    REQUEST_ENTITY_TOO_LARGE,
    encode_options,
)
from appliance.coap.options import BLOCK1, BLOCK2, ETAG, OBSERVE, Option, encode_uint, is_cache_key

MAX_BLOCK_NUMBER = (1 << 20) - 1  # RFC 7959 §2.2
BERT = 7  # the size exponent of blocks that are several of 1024 bytes in one message (RFC 8323 §6)
Body = bytes | memoryview

_NOT_IN_REQUEST_KEY = frozenset((BLOCK1, BLOCK2, OBSERVE, ETAG))


class BlockFormatError(ValueError):
    """A Block option with the reserved size exponent 7 or more than 3 bytes (RFC 7959 §2.2)."""


class Block(NamedTuple):
    """The value of a Block1 or Block2 option: number, whether more follow, size exponent 0 to 6, or BERT."""

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        """Bytes in a full block; those of BERT are numbered in units of 1024."""
        return 16 << min(self.exponent, 6)

    @property
    def offset(self) -> int:
        """Bytes in front of this block."""
        return self.number << min(self.exponent, 6) + 4

    def admits(self, length: int) -> bool:
        """Whether so many bytes can be this block: all but the last are full."""
        if self.exponent == BERT:
            return not self.more or (length > 0 and length % 1024 == 0)
        size = self.size
        return length == size if self.more else length <= size


def decode_block(value: bytes, *, bert: bool = False) -> Block:
    """The Block option in its bytes; ``bert``: size exponent 7 is known here. Raises BlockFormatError."""
    if len(value) > 3:
        raise BlockFormatError("Block option longer than 3 bytes")
    number = int.from_bytes(value, "big")
    if number & 7 == BERT and not bert:
        raise BlockFormatError("reserved block size exponent 7")
    return Block(number >> 4, number & 8 == 8, number & 7)


def encode_block(block: Block) -> bytes:
    """The bytes of a Block option. Raises ValueError when the number has more than 20 bits."""
    if not 0 <= block.number <= MAX_BLOCK_NUMBER:
        raise ValueError(f"block number {block.number} has more than 20 bits")
    return encode_uint(block.number << 4 | block.more << 3 | block.exponent)


def body_etag(body: Body) -> bytes:
    """An ETag that changes with the body and with nothing else (RFC 7252 §5.10.6)."""
    return blake2b(body, digest_size=8).digest()


def request_key(code: int, options: Sequence[Option]) -> bytes:
    """16 bytes that are equal for the requests of one block-wise transfer (RFC 7959 §2.4, §2.5)."""
    kept = [option for option in options if option[0] not in _NOT_IN_REQUEST_KEY and is_cache_key(option[0])]
    return blake2b(encode_options(kept), digest_size=16, salt=bytes((code,))).digest()


class _Partial:
    __slots__ = ("body", "last", "touched_at")

    def __init__(self, now: float) -> None:
        self.body = bytearray()
        self.last = (0, 0)  # offset and length of the newest block, to know its repetition
        self.touched_at = now


class Reassembly:
    """Request bodies under way (RFC 7959 §2.5): atomic, one context per peer and request, bounded four ways.

    ``max_body_bytes`` for one body, ``max_bytes`` for all, ``max_bodies`` at a time, ``max_per_peer`` of them
    for one peer. A context that nobody touched for ``lifetime_s`` is dropped.
    """

    __slots__ = (
        "_bytes",
        "_lifetime_s",
        "_max_bodies",
        "_max_body_bytes",
        "_max_bytes",
        "_max_per_peer",
        "_partial",
        "_peers",
    )

    def __init__(
        self, *, max_body_bytes: int, max_bytes: int, max_bodies: int, max_per_peer: int, lifetime_s: float
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_bytes = max_bytes
        self._max_bodies = max_bodies
        self._max_per_peer = max_per_peer
        self._lifetime_s = lifetime_s
        self._partial: OrderedDict[tuple[Hashable, bytes], _Partial] = OrderedDict()  # oldest touched first
        self._peers: dict[Hashable, list[bytes]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._partial)

    @property
    def held_bytes(self) -> int:
        """Bytes of all bodies under way."""
        return self._bytes

    def take(
        self, peer: Hashable, key: bytes, block: Block, payload: bytes, announced: int | None, now: float
    ) -> bytes | int:
        """One block in. Gives the whole body after the last block, and a response code before: 2.31 to go on,
        4.00, 4.08 or 4.13 to refuse. ``announced`` is the Size1 of the request (RFC 7959 §4).
        """
        if not block.admits(len(payload)):
            return BAD_REQUEST
        place = (peer, key)
        offset = block.offset
        if max(offset + len(payload), announced or 0) > self._max_body_bytes:
            self._drop(place)
            return REQUEST_ENTITY_TOO_LARGE
        if offset == 0:
            self._drop(place)
            if not block.more:
                return payload
            partial = self._open(place, now)
        else:
            found = self._partial.get(place)
            if found is None or now - found.touched_at >= self._lifetime_s:
                self._drop(place)
                return REQUEST_ENTITY_INCOMPLETE
            partial = found
            if partial.last == (offset, len(payload)) and block.more:
                return CONTINUE  # the block before, once more: our 2.31 was lost
            if offset != len(partial.body):
                self._drop(place)
                return REQUEST_ENTITY_INCOMPLETE
        if not block.more:
            body = bytes(partial.body) + payload
            self._drop(place)
            return body
        partial.last = (offset, len(payload))
        partial.body += payload
        partial.touched_at = now
        self._partial.move_to_end(place)
        self._bytes += len(payload)
        while self._bytes > self._max_bytes and len(self._partial) > 1:
            self._drop(next(iter(self._partial)))
        return CONTINUE

    def forget_peer(self, peer: Hashable) -> None:
        """Drop every body of the peer."""
        for key in list(self._peers.get(peer, ())):
            self._drop((peer, key))

    def sweep(self, now: float) -> None:
        """Drop what nobody went on with."""
        while self._partial:
            place, partial = next(iter(self._partial.items()))
            if now - partial.touched_at < self._lifetime_s:
                break
            self._drop(place)

    def _open(self, place: tuple[Hashable, bytes], now: float) -> _Partial:
        keys = self._peers.setdefault(place[0], [])
        if len(keys) >= self._max_per_peer:
            self._drop((place[0], keys[0]))
        elif len(self._partial) >= self._max_bodies:
            self._drop(next(iter(self._partial)))
        partial = self._partial[place] = _Partial(now)
        self._peers.setdefault(place[0], []).append(place[1])
        return partial

    def _drop(self, place: tuple[Hashable, bytes]) -> None:
        partial = self._partial.pop(place, None)
        if partial is None:
            return
        self._bytes -= len(partial.body)
        keys = self._peers[place[0]]
        keys.remove(place[1])
        if not keys:
            del self._peers[place[0]]


class Served(NamedTuple):
    """A body that is being fetched in blocks: the code and options of its answer, ETag included."""

    code: int
    options: tuple[Option, ...]
    body: bytes
    at: float


class ServedBodies:
    """Bodies that peers are fetching in blocks, so that the application need not supply them per block.

    Only a convenience: what was evicted is asked for again, and the ETag tells the peer whether it changed.
    """

    __slots__ = ("_bodies", "_bytes", "_lifetime_s", "_max_bodies", "_max_bytes")

    def __init__(self, *, max_bytes: int, max_bodies: int, lifetime_s: float) -> None:
        self._max_bytes = max_bytes
        self._max_bodies = max_bodies
        self._lifetime_s = lifetime_s
        self._bodies: OrderedDict[tuple[Hashable, bytes], Served] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._bodies)

    @property
    def held_bytes(self) -> int:
        """Bytes of all bodies kept."""
        return self._bytes

    def find(self, peer: Hashable, key: bytes, now: float) -> Served | None:
        """The body this peer is fetching with this request, None when it must be asked for again."""
        served = self._bodies.get((peer, key))
        if served is not None and now - served.at >= self._lifetime_s:
            self._drop((peer, key))
            return None
        return served

    def keep(self, peer: Hashable, key: bytes, served: Served) -> None:
        """Keep a body for the blocks to come; one larger than all the room there is, is not kept."""
        self._drop((peer, key))
        if len(served.body) > self._max_bytes:
            return
        self._bodies[(peer, key)] = served
        self._bytes += len(served.body)
        while self._bytes > self._max_bytes or len(self._bodies) > self._max_bodies:
            self._drop(next(iter(self._bodies)))

    def forget_peer(self, peer: Hashable) -> None:
        """Drop every body of the peer."""
        for place in [place for place in self._bodies if place[0] == peer]:
            self._drop(place)

    def sweep(self, now: float) -> None:
        """Drop what is past its lifetime; the order is that of keeping."""
        while self._bodies:
            place, served = next(iter(self._bodies.items()))
            if now - served.at < self._lifetime_s:
                break
            self._drop(place)

    def _drop(self, place: tuple[Hashable, bytes]) -> None:
        served = self._bodies.pop(place, None)
        if served is not None:
            self._bytes -= len(served.body)
