"""Confirmable notifications whose acknowledgement is known.

aiocoap's observations are not used, for three reasons seen in its 0.4.17 source: the ACK of a
notification is not reported to anybody; values that change while a notification is under way overwrite
each other; and when one message to a peer is given up, every observation of that peer ends. So an
Observe request gets an ordinary answer that carries the Observe option, and what follows are messages
that we make, one at a time (NSTART 1), and give to aiocoap's message layer, which numbers, sends and
retransmits them: the public ``TokenInterface.send_message`` of its MessageManager.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiocoap.numbers.types import Type

from appliance.simulator.objects import Value
from appliance.simulator.transport import Stack, Tuning

MAX_WAITING = 256  # reports that wait for the server; older ones are given up first


@dataclass(frozen=True, slots=True)
class Notification:
    """A report as it will be sent: ``values`` says in plain what the payload holds."""

    token: bytes
    sequence: int
    message: Any
    values: tuple[tuple[str, Value], ...]


class Notifier:
    """Sends the notifications of one device in order.

    ``acknowledged(notification)`` is called when the server's ACK came, ``reset(token)`` when it
    answered RST (RFC 7641 §3.6: it no longer wants them).
    """

    def __init__(
        self,
        stack: Stack,
        tuning: Tuning,
        acknowledged: Callable[[Notification], None],
        reset: Callable[[bytes], None],
    ) -> None:
        self._stack = stack
        self._tuning = tuning
        self._acknowledged = acknowledged
        self._reset = reset
        self._waiting: deque[Notification] = deque()
        self._under_way: Notification | None = None
        self._message_id: int | None = None
        self.overrun = 0

    def submit(self, notification: Notification) -> None:
        """Send after those that wait already."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.overrun += 1
        self._waiting.append(notification)
        self._send_next()

    def forget(self, token: bytes) -> None:
        """Nobody wants what waits for this token."""
        self._waiting = deque(waiting for waiting in self._waiting if waiting.token != token)

    def abandon(self) -> None:
        """The server is out of reach: nothing is under way any more, and what waited has no reader."""
        self._under_way = self._message_id = None
        self._waiting.clear()

    def answered(self, message_id: int, reset: bool) -> None:
        """An ACK or RST came from the server, perhaps for the notification under way."""
        notification = self._under_way
        if notification is None or message_id != self._message_id:
            return
        self._under_way = self._message_id = None
        if reset:
            self.forget(notification.token)
            self._reset(notification.token)
        else:
            self._acknowledged(notification)
        self._send_next()

    def _send_next(self) -> None:
        if self._under_way is not None or not self._waiting:
            return
        address = self._stack.transport.address
        if (address, self._waiting[0].token) in self._stack.messages._piggyback_opportunities:
            # A request with this very token is being answered: aiocoap would take the notification for
            # the answer. The answer leaves within this turn of the loop.
            asyncio.get_running_loop().call_soon(self._send_next)
            return
        notification = self._waiting.popleft()
        message = notification.message
        message.token, message.remote, message.mtype = notification.token, address, Type.CON
        message.transport_tuning = self._tuning
        self._stack.messages.send_message(message, _nothing)
        self._under_way, self._message_id = notification, message.mid


def _nothing() -> None:
    """A RST is seen by Notifier.answered already."""
