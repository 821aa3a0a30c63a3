"""One DTLS session after its handshake: small while it is idle, and able to outlive the process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from appliance.southbound.dtls.records import MAX_NUMBER, WINDOW, Cipher, Seal, cipher_of
from appliance.southbound.udp import UdpPeer

SENT_BLOCK = 4096  # record numbers reserved at a time
# How much further on than reserved our numbers go on after a restart: at least more than can be sent before a
# reservation is on disk, and a random lot more for a crash before the next one is. There are 2^48 numbers, so
# this can be done some thousand times.
SENT_LEAP = 1 << 24
_RANDOM_LEAP_BITS = 36
_SAVED_VERSION = 2
_MAX_SAVED_NUMBER = MAX_NUMBER - (1 << _RANDOM_LEAP_BITS) - 2 * SENT_LEAP

FlightRecord = tuple[int, int, bytes]  # type, epoch, content


class Recent:
    """A handshake that is just done: its hello may come once more, its last flight may be wanted again."""

    __slots__ = ("epoch0", "expires_at", "flight", "random", "session")

    def __init__(
        self, session: DtlsSession, random: bytes, flight: list[FlightRecord], epoch0: int, expires_at: float
    ) -> None:
        self.session = session
        self.random = random
        self.flight = flight  # empty once the device is known to have it
        self.epoch0 = epoch0  # the next number of a record of ours without keys
        self.expires_at = expires_at


class DtlsSession:
    """A device behind the keys that it has proved, and where it was heard last.

    ``id`` is a random number of 48 bits, ``identity`` what the handshake proved and ``credential`` with what,
    ``cid`` the Connection ID that the device puts into its records (None: it has none, and its address stands
    for it). Times are those of the caller's clock. ``newest`` and ``seen`` are the replay window
    (`records.is_fresh`); no number at or above ``sent_below`` has been used for a record of ours.
    """

    __slots__ = (
        *("_keys", "_next", "_opener", "_peer_cid", "_sealer", "address", "cid", "closed", "credential"),
        *("established_at", "heard_at", "id", "identity", "newest", "recent", "resumed", "seen"),
        *("sent_below", "suite"),
    )

    def __init__(
        self,
        id: int,
        address: UdpPeer,
        identity: str,
        credential: str,
        suite: str,
        keys: bytes,
        cids: tuple[bytes | None, bytes],
        now: float,
    ) -> None:
        """``keys`` are the read key, write key, read nonce and write nonce; ``cids`` ours and the peer's."""
        self.id: Final = id
        self.address = address
        self.identity = identity
        self.credential = credential
        self.suite = suite
        self.resumed = False
        self.cid, self._peer_cid = cids
        self.established_at = now
        self.heard_at = now
        self.newest = 0
        self.seen = 0
        self.sent_below = 0
        self.closed = False
        self.recent: Recent | None = None
        self._next = 0
        self._keys = keys
        self._opener: Seal | None = None
        self._sealer: Seal | None = None

    def __str__(self) -> str:
        return str(self.address)

    def __repr__(self) -> str:
        return f"<DtlsSession {self.id:012x} of {self.identity!r} at {self.address}>"

    def to_json(self) -> str:
        """The JSON of a list that names this session to its server."""
        return f'["dtls",{self.id:d}]'

    # Its records

    @property
    def opener(self) -> Seal:
        """What opens the device's records."""
        if self._opener is None:
            self.warm_up()
        assert self._opener is not None
        return self._opener

    @property
    def sealer(self) -> Seal:
        """What seals ours."""
        if self._sealer is None:
            self.warm_up()
        assert self._sealer is not None
        return self._sealer

    @property
    def warm(self) -> bool:
        """Whether its ciphers are in memory."""
        return self._opener is not None

    def warm_up(self) -> None:
        """Make the ciphers from the keys."""
        cipher = cipher_of(self.suite)
        read, write, read_nonce, write_nonce = _split(self._keys, cipher)
        self._opener = Seal(cipher, read, read_nonce)
        self._sealer = Seal(cipher, write, write_nonce)

    def cool_down(self) -> None:
        """Forget the ciphers; the keys stay."""
        self._opener = self._sealer = None

    @property
    def peer_cid(self) -> bytes:
        """What our records carry; empty for nothing."""
        return self._peer_cid

    @property
    def next_number(self) -> int:
        """The number of our next record."""
        return self._next

    def start_at(self, number: int) -> None:
        """Begin to number our records there, with a block reserved."""
        self._next = number
        self.sent_below = number + SENT_BLOCK

    def take_number(self) -> int:
        """The number of a record of ours, used up by this. The caller keeps below ``sent_below``."""
        number = self._next
        self._next = number + 1
        return number

    def skip_to(self, number: int) -> None:
        """The numbers below are used up."""
        self._next = number

    # Its memory beyond a restart

    def to_bytes(self) -> bytes:
        """All that does not change while it lives; secret."""
        family, address, local = self.address
        cid = None if self.cid is None else self.cid.hex()
        return json.dumps(
            [
                *(_SAVED_VERSION, self.id, [int(family), list(address), local.hex()], self.identity),
                *(self.credential, self.suite, self._keys.hex(), cid, self._peer_cid.hex()),
            ],
            separators=(",", ":"),
        ).encode()

    @classmethod
    def from_bytes(
        cls,
        saved: bytes,
        marks: tuple[int, int, int],
        now: float,
        random_bytes: Callable[[int], bytes],
    ) -> DtlsSession:
        """The session that `to_bytes` wrote, with its marks; raises ValueError on anything else.

        ``marks`` are ``newest``, ``seen`` and ``sent_below`` as they were stored last. Our numbers go on far
        above those that were reserved; the caller stores the new reservation before anything is sent.
        """
        newest, seen, sent_below = marks
        try:
            version, id, address, identity, credential, suite, keys, cid, peer_cid = json.loads(saved)
            if version != _SAVED_VERSION or not 0 <= id <= MAX_NUMBER:
                raise ValueError("not a session of this version")
            cids = None if cid is None else bytes.fromhex(cid), bytes.fromhex(peer_cid)
            session = cls(
                *(id, UdpPeer.from_json(address), str(identity), str(credential), str(suite)),
                *(bytes.fromhex(keys), cids, now),
            )
            _split(session._keys, cipher_of(suite))
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError("not a saved DTLS session") from error
        if not 0 <= newest <= MAX_NUMBER or not 0 <= seen < 1 << WINDOW or sent_below < 0:
            raise ValueError("not the marks of a DTLS session")
        if sent_below > _MAX_SAVED_NUMBER:
            raise ValueError("this DTLS session has used up its record numbers")
        session.newest, session.seen = newest, seen
        leap = int.from_bytes(random_bytes(5), "big") & ((1 << _RANDOM_LEAP_BITS) - 1)
        session.start_at(sent_below + SENT_LEAP + leap)
        return session


def joined_keys(read: tuple[bytes, bytes], write: tuple[bytes, bytes]) -> bytes:
    """Keys and nonces of both directions as a session keeps them: one object instead of four."""
    return read[0] + write[0] + read[1] + write[1]


def _split(keys: bytes, cipher: Cipher) -> tuple[bytes, bytes, bytes, bytes]:
    key, nonce = cipher.key_bytes, cipher.nonce_bytes
    if len(keys) != 2 * (key + nonce):
        raise ValueError("keys of another cipher")
    write_nonce = len(keys) - nonce
    return keys[:key], keys[key : 2 * key], keys[2 * key : write_nonce], keys[write_nonce:]
