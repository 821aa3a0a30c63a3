"""The first flight: ClientHello and HelloVerifyRequest, before anything is kept (RFC 6347 §4.2.1).

A cookie is a hash of what the hello says, and one of that and the address, under a secret that lasts a
minute. So a hello costs two hashes and leaves nothing behind, only who receives at his address gets further,
and a cookie that was made for another address is told from one that is too old or made up. The answer is
shorter than the shortest hello.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import NamedTuple

COOKIE_SECRET_S = 60.0  # a cookie is taken for as long again
_COOKIE_BYTES = 20
_HELLO_BYTES = 8  # of them without the address
_CLIENT_HELLO = 1


class ClientHello(NamedTuple):
    """What of a ClientHello is needed before GnuTLS sees it."""

    number: int  # of its record
    message_seq: int
    random: bytes  # 32
    session_id: bytes
    cookie: bytes


def read_hello(header: bytes, body: bytes) -> ClientHello | None:
    """The hello in a record of epoch 0, None when it is none, or its cookie is not in its first fragment."""
    # type length(3) message_seq(2) fragment_offset(3) fragment_length(3) version(2) random(32) …
    if len(body) < 12 + 2 + 32 + 2 or body[0] != _CLIENT_HELLO or body[6:9] != b"\0\0\0":
        return None
    end = 12 + int.from_bytes(body[9:12], "big")
    if end > len(body):
        return None
    at = 46
    session_end = at + 1 + body[at]
    if body[at] > 32 or session_end >= end:
        return None
    cookie_end = session_end + 1 + body[session_end]
    if cookie_end > end:
        return None
    return ClientHello(
        int.from_bytes(header[5:11], "big"),
        int.from_bytes(body[4:6], "big"),
        body[14:46],
        body[at + 1 : session_end],
        body[session_end + 1 : cookie_end],
    )


class Cookies:
    """Makes and checks cookies, and keeps nothing but two secrets."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._secret = random_bytes(32)
        self._before = random_bytes(32)
        self._since: float | None = None

    def answer(self, hello: ClientHello, address: object, now: float) -> bytes:
        """The HelloVerifyRequest: a whole datagram."""
        self._turn(now)
        cookie = _cookie(self._secret, hello, address)
        size = 3 + len(cookie)
        message = (
            b"\x03" + size.to_bytes(3, "big") + b"\0\0\0\0\0" + size.to_bytes(3, "big")
            + b"\xfe\xff" + bytes((len(cookie),)) + cookie
        )  # fmt: skip
        # Version 1.0 in both places whatever comes of it, and the number of the hello (RFC 6347 §4.2.1).
        head = b"\x16\xfe\xff\0\0" + hello.number.to_bytes(6, "big")
        return head + len(message).to_bytes(2, "big") + message

    def holds(self, hello: ClientHello, address: object, now: float) -> bool:
        """Whether the hello carries a cookie of ours for this address, not too old."""
        if len(hello.cookie) != _COOKIE_BYTES:
            return False
        self._turn(now)
        return hmac.compare_digest(hello.cookie, _cookie(self._secret, hello, address)) or (
            hmac.compare_digest(hello.cookie, _cookie(self._before, hello, address))
        )

    def is_of_another_address(self, hello: ClientHello, now: float) -> bool:
        """Of a cookie that does not hold: whether it was made for this very hello, but somewhere else."""
        if len(hello.cookie) != _COOKIE_BYTES:
            return False
        self._turn(now)
        of_hello = hello.cookie[:_HELLO_BYTES]
        return any(
            hmac.compare_digest(of_hello, _hash(secret, hello)[:_HELLO_BYTES])
            for secret in (self._secret, self._before)
        )

    def _turn(self, now: float) -> None:
        if self._since is None:
            self._since = now
        elif now - self._since >= COOKIE_SECRET_S:
            late = now - self._since >= 2 * COOKIE_SECRET_S
            self._before = self._random_bytes(32) if late else self._secret
            self._secret = self._random_bytes(32)
            self._since = now


def _hash(secret: bytes, hello: ClientHello) -> bytes:
    return hmac.digest(secret, b"hello\0" + hello.random + hello.session_id, "sha256")


def _cookie(secret: bytes, hello: ClientHello, address: object) -> bytes:
    of_hello = _hash(secret, hello)
    of_both = hmac.digest(secret, b"address\0" + of_hello + repr(address).encode(), "sha256")
    return of_hello[:_HELLO_BYTES] + of_both[: _COOKIE_BYTES - _HELLO_BYTES]
