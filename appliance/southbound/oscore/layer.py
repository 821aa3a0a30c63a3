"""OSCORE between a bearer and a CoAP machine, without I/O (RFC 8613 §8): sealed messages in, plain ones up.

The laws of this file:

- `receive` never raises, whatever the bytes; who has no key leaves nothing behind, and gets the one answer
  of §8.2, without protection, or none;
- what goes to an `OscorePeer` is sealed or not sent. Only empty messages, which say nothing, go as they are;
- the same message gets the same bytes again, as a retransmission has to (§8.1); another one never gets the
  same nonce;
- a response counts only for the very request that it was sealed for; a notification only when it is newer.

Message IDs, tokens and types are those of the bearer, so the machine above retransmits, acknowledges,
recognises duplicates and observes as ever. What is sealed is code, options and payload; as we send no option
that a proxy has to see but Observe, that is the message as it stands behind its token. Block-wise transfers
happen inside (§4.1.3.4.1); proxies that cut sealed messages into blocks of their own are not supported.

Longer than 400 lines, as both directions meet in the tables of one exchange.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

from appliance.coap.message import (
    ACK,
    BAD_OPTION,
    BAD_REQUEST,
    CHANGED,
    CON,
    CONTENT,
    FETCH,
    NON,
    POST,
    PROXYING_NOT_SUPPORTED,
    RST,
    UNAUTHORIZED,
    Message,
    MessageFormatError,
    code_text,
    decode,
    encode_parts,
)
from appliance.coap.options import (
    MAX_AGE,
    OBSERVE,
    OSCORE,
    PROXY_SCHEME,
    PROXY_URI,
    Option,
    encode_uint,
    find,
    screen,
)
from appliance.southbound.oscore.context import Context, LiveContexts
from appliance.southbound.oscore.cose import (
    CoseError,
    Header,
    partial_iv_of,
    read_header,
    write_header,
)
from appliance.southbound.oscore.keys import Keys
from appliance.southbound.oscore.peer import OscorePeer

ECHO: Final = 252  # RFC 9175 §2.2

_LIFETIME_S: Final = 247.0  # EXCHANGE_LIFETIME (RFC 7252 §4.8.2)
_KEEP_NUMBER_S: Final = 60.0  # how far behind the disk may be with the number of a notification
_MAX_ENTRIES: Final = 4096  # of each table; the oldest goes first
_MAX_SEALED: Final = 1024  # messages kept sealed, for retransmissions
_MAX_TOLD: Final = 256
_TELL_AGAIN_S: Final = 10.0

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Datagram = tuple[bytes, Any]


class _Binding(NamedTuple):
    """What a response of a peer is bound to: the keys and the Partial IV of our request."""

    keys: Keys
    partial_iv: bytes


class _Asked:
    """A request of ours, found by its token: the newest two times that it was sealed.

    ``plain`` is the request as the machine gave it, until it has been repeated with the Echo that its peer
    asked for. ``observes``: notifications may follow; ``newest`` is the highest number of one, -1 before the
    first, ``kept_at`` when that was put on disk last, None: never. ``answered``: without a number, too.
    """

    __slots__ = ("answered", "bindings", "kept_at", "newest", "observes", "peer", "plain")

    def __init__(self, peer: OscorePeer) -> None:
        self.peer = peer
        self.bindings: list[_Binding] = []
        self.plain: bytes | None = None
        self.answered = False
        self.observes = False
        self.newest = -1
        self.kept_at: float | None = None


class _Request:
    """A request of a peer that is to be answered. ``nonce`` is that of the answer, while unused (§5.2)."""

    __slots__ = ("context", "fetch", "keys", "nonce", "partial_iv")

    def __init__(self, context: Context, keys: Keys, nonce: bytes, partial_iv: bytes, fetch: bool) -> None:
        self.context = context
        self.keys = keys
        self.nonce: bytes | None = nonce
        self.partial_iv = partial_iv
        self.fetch = fetch


class _Seen:
    """A sealed message that was taken: what was answered, and for a response what was handed up."""

    __slots__ = ("answer", "at", "digest", "up")

    def __init__(self, digest: int, at: float, up: Datagram | None) -> None:
        self.digest = digest
        self.at = at
        self.up = up
        self.answer: bytes | None = None


class Oscore:
    """OSCORE for one CoAP machine. ``reliable``: its bearer repeats nothing and loses nothing (RFC 8323).

    What is sealed waits in `take_datagrams`, with the peer of the bearer it goes to. A request goes up when
    its number is on disk, at once from `receive` or later through `take_opened`; ``wake`` is called when
    something waits in one of them that no call of the owner has caused.
    """

    def __init__(
        self, contexts: LiveContexts, *, reliable: bool = False, wake: Callable[[], None] = lambda: None
    ) -> None:
        self._contexts = contexts
        self._reliable = reliable
        self._wake = wake
        self._outgoing: list[Datagram] = []
        self._opened: list[Datagram] = []
        self._inside = 0  # calls of the owner under way
        self._asked: dict[bytes, _Asked] = {}
        self._requests: dict[tuple[OscorePeer, bytes], _Request] = {}
        self._seen: dict[tuple[Any, int], _Seen] = {}
        self._sealed: dict[tuple[OscorePeer, bytes], bytes] = {}
        self._sent: dict[tuple[Any, int], tuple[OscorePeer, bytes]] = {}
        self._stored: dict[bytes, str] | None = None
        self._told: dict[tuple[str, str], float] = {}
        self.refused = 0
        self.opened = 0

    def below(self, peer: Any) -> Any:
        """The peer of the bearer."""
        return peer.below if type(peer) is OscorePeer else peer

    # Bytes in

    def receive(self, data: bytes, peer: Any, now: float) -> list[Datagram]:
        """One datagram of the bearer in; what the machine is to receive in its place, and from whom."""
        if not carries_oscore(data):
            return [self._plain(data, peer, now)]
        try:
            message = decode(data)
        except MessageFormatError:
            return [(data, peer)]  # the machine knows what to do
        self._inside += 1
        try:
            if message.code < 0x20:
                self._receive_request(message, data, peer, now)
            else:
                self._receive_response(message, data, peer, now)
        finally:
            self._inside -= 1
        return self.take_opened()

    def take_opened(self) -> list[Datagram]:
        """Messages for the machine that had to wait for the disk."""
        taken, self._opened = self._opened, []
        return taken

    def _plain(self, data: bytes, peer: Any, now: float) -> Datagram:
        """A message without protection: receipts of ours find their sender, the rest is as it was."""
        if len(data) == 4 and data[0] & 0x20 and data[1] == 0:
            sent = self._sent.get((peer, data[2] << 8 | data[3]))
            if sent is not None:
                return data[:2] + sent[1], sent[0]
        elif len(data) > 4 and data[1] >= 0x80:
            asked = self._asked.get(data[4 : 4 + (data[0] & 15)])
            if asked is not None and asked.peer.below == peer:
                # Anybody could have sent this, so the request goes on; but it tells what may be wrong.
                sentence = f"The device answered without protection: {code_text(data[1])}"
                self._tell(asked.peer.identity, peer, sentence + _text_behind(data) + ".", now)
        return data, peer

    def _receive_request(self, message: Message, data: bytes, peer: Any, now: float) -> None:
        if self._answered_before(message, data, peer, now):
            return
        try:
            header = _header(message)
        except CoseError:
            self._refuse(message, peer, BAD_OPTION, "Failed to decode COSE")
            return
        if header.kid is None or header.partial_iv is None or not message.payload:
            self._refuse(message, peer, BAD_OPTION, "Failed to decode COSE")
            return
        outer, refused = screen([one for one in message.options if one[0] != OSCORE])
        if refused is not None:
            self._refuse(message, peer, BAD_OPTION, f"critical option {refused}")
            return
        if any(number in (PROXY_URI, PROXY_SCHEME) for number, _ in outer):
            self._refuse(message, peer, PROXYING_NOT_SUPPORTED, "")
            return
        context = self._contexts.find(header.kid, header.kid_context)
        if context is None:
            self._refuse(message, peer, UNAUTHORIZED, "Security context not found")
            who, sentence = self._contexts.refusal(header.kid, header.kid_context)
            self._tell(who, peer, sentence, now)
            return
        number = int.from_bytes(header.partial_iv, "big")
        if context.known and not context.admits(number):
            self._refuse(message, peer, UNAUTHORIZED, "Replay detected")
            self._tell(
                context.material.identity,
                peer,
                "A message with a number that was used before: a replay, or the device has lost its OSCORE "
                "state; if it stays, give the device a new key.",
                now,
            )
            return
        keys, kid = context.keys, context.material.recipient_id
        nonce = keys.nonce(kid, header.partial_iv)
        plain = keys.open(message.payload, nonce, kid, header.partial_iv)
        if plain is None or not 0 < plain[0] < 0x20:
            self._refuse(message, peer, BAD_REQUEST, "Decryption failed")
            self._tell(
                context.material.identity,
                peer,
                "The message could not be decrypted: the device has another Master Secret, Master Salt or "
                "algorithm.",
                now,
            )
            return
        self._take_request(message, data, peer, header.partial_iv, context, nonce, plain, now)

    def _take_request(
        self,
        message: Message,
        data: bytes,
        peer: Any,
        partial_iv: bytes,
        context: Context,
        nonce: bytes,
        plain: bytes,
        now: float,
    ) -> None:
        """Its sender has the key. Is it fresh? Then up with it, as soon as its number is on disk."""
        material = context.material
        inner = _inner(data, len(message.token), plain)
        up = (inner, OscorePeer(material.identity, peer, material.recipient_id, material.id_context))
        request = _Request(context, context.keys, nonce, partial_iv, message.code == FETCH)
        number = int.from_bytes(partial_iv, "big")
        self._see(message, data, peer, now, None)

        def hand_up() -> None:
            self.opened += 1
            _remember(self._requests, (up[1], message.token), request)
            self._opened.append(up)
            self._awake()

        if context.known:
            context.strike(number, hand_up)
        elif _echo(inner) == context.echo or (context.unused and -1 < context.challenged < number):
            # The second: a context never used has nothing to replay, and its peer does not know Echo.
            context.establish(number, hand_up)
        else:
            context.challenged = max(context.challenged, number)
            request.nonce = None  # the request may be an old one, and was answered then (Appendix B.1.2)
            _remember(self._requests, (up[1], message.token), request)
            kind = ACK if message.type == CON else NON
            answer = encode_parts(
                kind, UNAUTHORIZED, message.mid, message.token, ((ECHO, context.echo),), b""
            )
            self.send(answer, up[1], now)

    def _receive_response(self, message: Message, data: bytes, peer: Any, now: float) -> None:
        if self._answered_before(message, data, peer, now):
            return
        asked = self._asked_with(message.token)
        if asked is None:
            self._opened.append((data, peer))  # the machine refuses what it did not ask for
            return
        try:
            header = _header(message)
        except CoseError:
            return
        material = asked.bindings[-1].keys.material
        kid = material.sender_id
        if header.kid is not None and header.kid != material.recipient_id:
            return
        for binding in reversed(asked.bindings):
            keys = binding.keys
            if header.partial_iv is None:
                nonce = keys.nonce(kid, binding.partial_iv)
            else:
                nonce = keys.nonce(material.recipient_id, header.partial_iv)
            plain = keys.open(message.payload, nonce, kid, binding.partial_iv)
            if plain is not None and plain[0] >= 0x40:
                break
        else:
            self._tell(
                asked.peer.identity,
                peer,
                "The answer of the device could not be decrypted: its keys are not ours, or it does not "
                "belong to what was asked.",
                now,
            )
            return
        number = -1 if header.partial_iv is None else int.from_bytes(header.partial_iv, "big")
        self._take_response(message, data, peer, asked, binding, number, plain, now)

    def _take_response(
        self,
        message: Message,
        data: bytes,
        peer: Any,
        asked: _Asked,
        binding: _Binding,
        number: int,
        plain: bytes,
        now: float,
    ) -> None:
        """It is the peer's answer to what was asked. Is it news?"""
        inner = _inner(data, len(message.token), plain)
        try:
            opened = decode(inner)
        except MessageFormatError:
            return
        above = asked.peer if asked.peer.below == peer else asked.peer._replace(below=peer)
        if opened.code == UNAUTHORIZED and asked.plain is not None:
            echo = find(opened.options, ECHO)
            if echo is not None:
                self._repeat(message, asked, echo, now)
                return
        context = self._contexts.find(asked.peer.kid, asked.peer.kid_context)
        if context is not None and context.keys is binding.keys:
            context.heard = max(context.heard, number)
        if find(opened.options, OBSERVE) is not None and opened.code < 0x60 and asked.observes:
            if number <= asked.newest if number >= 0 else asked.answered:
                self._receipt(message, peer)  # overtaken by a newer one; its sender need not say it again
                return
            asked.newest = max(asked.newest, number)
            asked.answered = True
            asked.peer = above
            renewed = binding is not asked.bindings[0]
            del asked.bindings[: asked.bindings.index(binding)]
            newest = number if number >= 0 else 0 if context is None else context.heard
            options = [
                (OBSERVE, encode_uint(newest & 0xFFFFFF)) if one[0] == OBSERVE else one
                for one in opened.options
            ]
            mid, opened.options = self._mid_above(message, peer), options
            inner = encode_parts(opened.type, opened.code, mid, opened.token, options, opened.payload)
            if asked.kept_at is None or renewed or now - asked.kept_at >= _KEEP_NUMBER_S:
                self._keep(message.token, asked, now)
        else:
            self.forget_observation(message.token)
            if any(option[0] == OBSERVE for option in opened.options):
                # What was not to be observed is not.
                opened.options = [option for option in opened.options if option[0] != OBSERVE]
            mid = self._mid_above(message, peer)
            inner = encode_parts(opened.type, opened.code, mid, opened.token, opened.options, opened.payload)
        self.opened += 1
        if message.type != ACK:
            self._see(message, data, peer, now, (inner, above))
        self._opened.append((inner, above))

    def _repeat(self, message: Message, asked: _Asked, echo: bytes, now: float) -> None:
        """The peer asks whether we are there now: the same request with its Echo (Appendix B.1.2)."""
        plain, asked.plain = asked.plain, None
        assert plain is not None
        request = decode(plain)
        options = [option for option in request.options if option[0] != ECHO]
        # Far from the numbers that the machine gives out next; receipts are translated back.
        mid = request.mid ^ 0x8000
        again = encode_parts(
            request.type, request.code, mid, request.token, [*options, (ECHO, echo)], request.payload
        )
        self._receipt(message, asked.peer.below)
        asked.bindings.clear()
        self._seal_request(again, asked.peer, now, plain)

    def _receipt(self, message: Message, peer: Any) -> None:
        if message.type == CON and not self._reliable:
            self._outgoing.append((b"\x60\x00" + message.mid.to_bytes(2, "big"), peer))

    def _mid_above(self, message: Message, peer: Any) -> int:
        """The Message ID that the machine knows: another one where a request was repeated with an Echo."""
        if message.type == ACK:
            sent = self._sent.get((peer, message.mid))
            if sent is not None:
                return int.from_bytes(sent[1], "big")
        return message.mid

    # Bytes out

    def send(self, data: bytes, peer: OscorePeer, now: float) -> None:
        """A message of the machine, sealed for the peer: in `take_datagrams`, now or when there is a number
        for it. Without a context it is dropped, as whatever cannot be sealed.
        """
        code = data[1]
        if code == 0:
            self._emit(data, data, peer)
            return
        sealed = self._sealed.get((peer, data))
        if sealed is not None:
            self._emit(data, sealed, peer)
        elif code < 0x20:
            self._seal_request(data, peer, now, data)
        else:
            self._seal_response(data, peer, now)

    def take_datagrams(self) -> list[Datagram]:
        """What is to be sent, in order, as ``(bytes, peer of the bearer)``."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def _seal_request(self, data: bytes, peer: OscorePeer, now: float, known_as: bytes) -> None:
        """``known_as`` is what the machine sends, where something was added to it since."""
        context = self._contexts.find(peer.kid, peer.kid_context)
        if context is None or context.material.identity != peer.identity:
            self._tell(
                peer.identity, peer.below, "There is no OSCORE context any more: nothing is sent.", now
            )
            return
        number = context.take_number()
        if number is None:
            context.when_ready(lambda: self._again(lambda: self._seal_request(data, peer, now, known_as)))
            return
        end = 4 + (data[0] & 15)
        token = data[4:end]
        observe = _observe_of(data, end)
        keys, kid = context.keys, context.material.sender_id
        partial_iv = partial_iv_of(number)
        cipher = keys.seal(_plaintext(data, end), keys.nonce(kid, partial_iv), kid, partial_iv)
        options: list[Option] = [] if observe is None else [(OBSERVE, observe)]
        options.append((OSCORE, write_header(partial_iv, kid, context.material.id_context)))
        code = POST if observe is None else FETCH
        wire = _outer(data, code, end, options, cipher)
        asked = self._asked.get(token)
        if asked is None or asked.peer.identity != peer.identity:
            asked = _Asked(peer)
            _remember(self._asked, token, asked)
        asked.peer = peer
        asked.plain = data if data == known_as else None
        asked.observes = asked.observes or observe is not None
        asked.bindings = [*asked.bindings[-1:], _Binding(keys, partial_iv)]
        asked.answered = False
        _remember(self._sealed, (peer, known_as), wire, _MAX_SEALED)
        _remember(self._sent, (peer.below, data[2] << 8 | data[3]), (peer, known_as[2:4]))
        self._emit(data, wire, peer)

    def _seal_response(self, data: bytes, peer: OscorePeer, now: float) -> None:
        end = 4 + (data[0] & 15)
        request = self._requests.get((peer, data[4:end]))
        if request is None:
            return  # too many wait for their answer, or a restart came between
        keys, kid = request.keys, request.context.material.recipient_id
        header = b""
        nonce, request.nonce = request.nonce, None
        if nonce is None:
            if keys is not request.context.keys:
                return  # there are newer keys, and these have no number left
            number = request.context.take_number()
            if number is None:
                request.context.when_ready(lambda: self._again(lambda: self._seal_response(data, peer, now)))
                return
            partial_iv = partial_iv_of(number)
            header = write_header(partial_iv, None, None)
            nonce = keys.nonce(request.context.material.sender_id, partial_iv)
        cipher = keys.seal(_plaintext(data, end), nonce, kid, request.partial_iv)
        code = CONTENT if request.fetch else CHANGED
        wire = _outer(data, code, end, [(OSCORE, header)], cipher)
        _remember(self._sealed, (peer, data), wire, _MAX_SEALED)
        if data[0] & 0x30 == CON << 4:
            _remember(self._sent, (peer.below, data[2] << 8 | data[3]), (peer, data[2:4]))
        self._emit(data, wire, peer)

    def _emit(self, data: bytes, wire: bytes, peer: OscorePeer) -> None:
        if not self._reliable and data[0] >> 4 & 3 in (ACK, RST):
            seen = self._seen.get((peer.below, data[2] << 8 | data[3]))
            if seen is not None:
                seen.answer = wire
        self._outgoing.append((wire, peer.below))

    def _again(self, then: Callable[[], None]) -> None:
        then()
        self._awake()

    def _awake(self) -> None:
        if not self._inside:
            self._wake()

    # Duplicates

    def _see(self, message: Message, data: bytes, peer: Any, now: float, up: Datagram | None) -> None:
        if not self._reliable:
            _remember(self._seen, (peer, message.mid), _Seen(hash(data), now, up))

    def _answered_before(self, message: Message, data: bytes, peer: Any, now: float) -> bool:
        """A retransmission of what was taken is dealt with: its number must not be looked at twice."""
        seen = self._seen.get((peer, message.mid))
        if seen is None or seen.digest != hash(data) or now - seen.at >= _LIFETIME_S:
            return False
        if seen.answer is not None:
            self._outgoing.append((seen.answer, peer))
        elif seen.up is not None:
            self._opened.append(seen.up)  # the machine has not taken it, or it would have been acknowledged
        return True

    # Observations

    def forget_observation(self, token: bytes) -> None:
        """Nothing more is expected with this token."""
        asked = self._asked.pop(token, None)
        if self._stored_ones().pop(token, "") or (asked is not None and asked.kept_at is not None):
            self._contexts.keeper.save_observation(token, None)

    def _keep(self, token: bytes, asked: _Asked, now: float) -> None:
        """An observation on disk. One over a connection ends with it (RFC 8323 §7.4)."""
        if not self._reliable:
            asked.kept_at = now
            state = self._stored_ones()[token] = _stored(asked)
            self._contexts.keeper.save_observation(token, state)

    def _stored_ones(self) -> dict[bytes, str]:
        if self._stored is None:
            self._stored = {} if self._reliable else dict(self._contexts.keeper.observations())
        return self._stored

    def _asked_with(self, token: bytes) -> _Asked | None:
        """The request with that token, also when it was asked before a restart."""
        asked = self._asked.get(token)
        if asked is not None:
            return asked
        stored = self._stored_ones().get(token)
        if stored is None:
            return None
        try:
            kept = json.loads(stored)
            kid, kid_context, id_context = (
                None if kept[name] is None else bytes.fromhex(kept[name])
                for name in ("kid", "kid_context", "id_context")
            )
            partial_iv, newest = bytes.fromhex(kept["partial_iv"]), int(kept["newest"])
            identity = kept["identity"]
        except (ValueError, KeyError, TypeError):
            return None
        context = None if kid is None else self._contexts.find(kid, kid_context)
        if kid is None or context is None or context.material.identity != identity:
            return None
        if context.keys.id_context != id_context:
            return None  # bound to keys that are no more
        asked = _Asked(OscorePeer(identity, None, kid, kid_context))
        asked.bindings.append(_Binding(context.keys, partial_iv))
        asked.observes = asked.answered = True
        asked.newest = newest
        asked.kept_at = float("-inf")
        _remember(self._asked, token, asked)
        return asked

    def save(self) -> None:
        """For an orderly stop: the last number of each observation. `LiveContexts.save` is called apart."""
        for token, asked in self._asked.items():
            if asked.kept_at is not None:
                self._keep(token, asked, asked.kept_at)

    # Refusing

    def _refuse(self, message: Message, peer: Any, code: int, text: str) -> None:
        """The answer of §8.2, without protection and not to be cached; to a request that wants an answer."""
        self.refused += 1
        if message.type == CON:
            options = ((MAX_AGE, b""),)
            data = encode_parts(ACK, code, message.mid, message.token, options, text.encode())
            self._outgoing.append((data, peer))

    def _tell(self, who: str, peer: Any, sentence: str, now: float) -> None:
        """To the operator; the same of the same not more often than every few seconds."""
        key = (who, sentence)
        told = self._told.get(key)
        if told is None or now - told >= _TELL_AGAIN_S:
            _remember(self._told, key, now, _MAX_TOLD)
            self._contexts.failed(who, str(peer), sentence)

    # Looking in

    def table_sizes(self) -> dict[str, int]:
        """Entries of each table: for the status page, and for tests of the caps."""
        return {
            "asked": len(self._asked),
            "requests": len(self._requests),
            "seen": len(self._seen),
            "sealed": len(self._sealed),
            "sent": len(self._sent),
            "told": len(self._told),
            "waiting": len(self._opened) + len(self._outgoing),
        }


def carries_oscore(data: bytes) -> bool:
    """Whether a datagram has the OSCORE option (number 9); False for what is no message."""
    length = len(data)
    if length < 5 or data[0] >> 6 != 1 or data[1] == 0:
        return False
    at = 4 + (data[0] & 15)
    number = 0
    while at < length:
        delta, size = data[at] >> 4, data[at] & 15
        if delta > 9 or (number := number + delta) > 9 or data[at] == 0xFF:
            return False
        if number == 9:
            return True
        at += 1
        if size == 13 and at < length:
            size = data[at] + 13
            at += 1
        elif size >= 13:
            return False
        at += size
    return False


def _header(message: Message) -> Header:
    values = [value for number, value in message.options if number == OSCORE]
    if len(values) != 1:
        raise CoseError("more than one OSCORE option")
    return read_header(values[0])


def _inner(data: bytes, token_length: int, plain: bytes) -> bytes:
    """The message that was sealed, under the type, Message ID and token that it came with."""
    return data[:1] + plain[:1] + data[2 : 4 + token_length] + plain[1:]


def _plaintext(data: bytes, end: int) -> bytes:
    """Code, options and payload of a message whose token ends at ``end`` (§5.3)."""
    return data[1:2] + data[end:]


def _outer(data: bytes, code: int, end: int, options: Iterable[Option], cipher: bytes) -> bytes:
    """The message that everybody may see (§4.2)."""
    head = data[0:1] + bytes((code,)) + data[2:end]
    return head + encode_parts(CON, code, 0, b"", tuple(options), cipher)[4:]


def _observe_of(data: bytes, end: int) -> bytes | None:
    """The Observe value of an encoded message of ours whose token ends at ``end``."""
    at, number = end, 0
    while at < len(data) and data[at] != 0xFF:
        number += data[at] >> 4
        size = data[at] & 15
        if number > OBSERVE or data[at] >> 4 > 12 or size > 12:
            return None
        at += 1
        if number == OBSERVE:
            return data[at : at + size]
        at += size
    return None


def _echo(inner: bytes) -> bytes | None:
    try:
        return find(decode(inner).options, ECHO)
    except MessageFormatError:
        return None


def _stored(asked: _Asked) -> str:
    """An observation as it is kept: what its notifications are bound to (§4.1.3.5.2)."""
    keys, partial_iv = asked.bindings[0]
    state = {
        "identity": asked.peer.identity,
        "kid": asked.peer.kid.hex(),
        "kid_context": None if asked.peer.kid_context is None else asked.peer.kid_context.hex(),
        "id_context": None if keys.id_context is None else keys.id_context.hex(),
        "partial_iv": partial_iv.hex(),
        "newest": asked.newest,
    }
    return json.dumps(state, separators=(",", ":"))


def _text_behind(data: bytes) -> str:
    """The diagnosis of an error, as far as it is printable."""
    try:
        payload = decode(data).payload[:80]
    except MessageFormatError:
        return ""
    text = payload.decode(errors="replace")
    return f" ({text})" if text and text.isprintable() else ""


def _remember(table: dict[_Key, _Value], key: _Key, value: _Value, most: int = _MAX_ENTRIES) -> None:
    """Put in a table that has its bound; the oldest goes first."""
    table.pop(key, None)
    while len(table) >= most:
        del table[next(iter(table))]
    table[key] = value
