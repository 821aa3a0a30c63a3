"""Somebody says again what a device said, or forges it: dropped as ever, and told to the operator.

One such datagram means little: UDP delivers twice at times, and a router may give a device another port. So
it takes many of them within a minute, or one from where the device is not. What strangers can make us keep is
a few counts, for a minute; what they can make us say is a sentence per session and minute.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from appliance.southbound.dtls.session import DtlsSession
from appliance.southbound.udp import UdpPeer

WINDOW_S: Final = 60.0
MANY_RECORDS: Final = 8  # in a window, from where the device is
MANY_HELLOS: Final = 3
MAX_WATCHED: Final = 256  # sessions in a window


class Suspicious(NamedTuple):
    """Something was dropped that looks like somebody's doing: from where it came, in whose name ("" when that
    is nobody's), and a sentence.
    """

    address: UdpPeer
    identity: str
    sentence: str


class Suspicions:
    """What was odd within the last minute, counted."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._counts: dict[int, list[int]] = {}  # by session: copies, forged ones; empty when it is told
        self._hellos = 0
        self._hurried = False

    def watches(self, session: DtlsSession, now: float) -> bool:
        """Whether `record` wants to know of more records that were sent in the name of this session."""
        self.turn(now)
        counts = self._counts.get(session.id)
        return len(self._counts) < MAX_WATCHED if counts is None else bool(counts)

    def record(self, session: DtlsSession, address: UdpPeer, copied: bool, now: float) -> Suspicious | None:
        """A record was dropped. ``copied``: the session's keys have sealed it, so it was taken before, or is
        far too old; else somebody else has made it.
        """
        if not self.watches(session, now):
            return None
        counts = self._counts.setdefault(session.id, [0, 0])
        counts[not copied] += 1
        who, here = session.identity, session.address
        if address != here:
            if copied:
                sentence = (
                    f"A record of {who} was said again from {address}, while the device is at {here}: it was "
                    "dropped. Somebody on the way may have recorded it; find out who is at that address."
                )
            else:
                sentence = (
                    f"A record from {address} has the Connection ID of {who}, but not the seal of its "
                    f"key: it was dropped, and the device stays at {here}. Somebody on the way may have "
                    "seen the ID; find out who is at that address."
                )
        elif counts[not copied] < MANY_RECORDS:
            return None
        elif copied:
            sentence = (
                f"{MANY_RECORDS} records of {who} were said again within a minute: they were dropped. A "
                "network that delivers twice does so too; if it goes on, look who else is on the way to the "
                "device."
            )
        else:
            sentence = (
                f"{MANY_RECORDS} records without the seal of its key came within a minute from where {who} "
                "is: they were dropped. Somebody may forge them; if the device itself has fallen silent, "
                "restart it."
            )
        counts.clear()
        return Suspicious(address, who, sentence)

    def hello(self, address: UdpPeer, now: float) -> Suspicious | None:
        """A hello came with a cookie that was made for it at another address."""
        self.turn(now)
        self._hellos += 1
        if self._hellos != MANY_HELLOS:
            return None
        return Suspicious(
            address,
            "",
            f"{MANY_HELLOS} hellos came within a minute with a cookie that was made for another address, the "
            f"last from {address}: no handshake began. Somebody may say recorded hellos again; a router that "
            "gives a device another port each time does so too.",
        )

    def haste(self, address: UdpPeer, now: float) -> Suspicious | None:
        """More handshakes began at a time than may."""
        self.turn(now)
        if self._hurried:
            return None
        self._hurried = True
        return Suspicious(
            address,
            "",
            "So many handshakes were begun at a time and not finished that the next were put off, the "
            f"first from {address}. Somebody may want to keep the gateway busy: find out who is at that "
            "address. Many devices behind one address do so too when they start at once; they come in by and "
            "by.",
        )

    def __len__(self) -> int:
        return len(self._counts)

    def turn(self, now: float) -> None:
        """Forget what is more than a minute old."""
        if now - self._since >= WINDOW_S:
            self._since = now
            self._counts.clear()
            self._hellos = 0
            self._hurried = False
