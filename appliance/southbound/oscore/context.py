"""A security context that lives: sequence numbers and replay window, on disk before they count (RFC 8613 §7).

The laws of this file, each also under kill -9:

- a sequence number is used once: numbers are reserved in blocks, and used when their block is on disk;
- a request is handed up once: its number is struck out, that is on disk, then it goes up;
- a context whose window is not known takes nothing before its peer has proved that it is there now, by
  repeating an Echo of ours (RFC 9175, RFC 8613 Appendix B.1.2).
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from appliance.southbound.oscore.keys import ContextMaterial, Keys, NoKeys, replay_window

BLOCK: Final = 256  # numbers reserved at a time: a write for each 128 requests of ours
MAX_NUMBER: Final = (1 << 40) - 1  # §7.2.1
ECHO_BYTES: Final = 8  # RFC 9175 §2.3
GENERATION: Final = 1 << 20  # by so much numbers go up with each generation
_LEAP = 1 << 32  # and by so much when what was kept is damaged

_MAX_WAITING = 64


class Contexts(Protocol):
    """Where contexts come from. Called from the loop: in memory."""

    def find(self, kid: bytes, kid_context: bytes | None) -> ContextMaterial | None:
        """The context of the client with that Sender ID; ``kid_context`` None: it said none (§5.2)."""

    def refusal(self, kid: bytes, kid_context: bytes | None) -> tuple[str, str]:
        """Whom `find` gave nothing for, by its identity, and why: a sentence for the operator."""


class Keeper(Protocol):
    """What outlives a restart. Called from the loop: what is loaded has been read before."""

    def load(self, identity: str) -> str | None:
        """What was saved last, None when nothing ever was."""

    def save(self, identity: str, state: str, then: Callable[[], None]) -> None:
        """Keep it; ``then`` is called in the loop once it is on disk, and never when it cannot be kept."""

    def save_observation(self, token: bytes, state: str | None) -> None:
        """Keep what the notifications with this token are bound to; None: forget it."""

    def observations(self) -> Mapping[bytes, str]:
        """All that `save_observation` has kept."""


class Context:
    """One context. ``window`` is aiocoap's; ``heard`` is the highest number that its peer was heard with.

    ``echo`` is what the peer has to repeat while the window is not known. ``unused``: no request was ever
    taken; ``challenged`` is then the highest number that was answered with an Echo.
    """

    __slots__ = (
        *("_generation", "_keeper", "_kept", "_next", "_promised", "_ready", "_reserved", "challenged"),
        *("echo", "heard", "keys", "material", "unused", "window"),
    )

    def __init__(self, material: ContextMaterial, keeper: Keeper, generation: int) -> None:
        """Raises NoKeys."""
        self.material = material
        self._keeper = keeper
        self._generation = generation
        self._ready: deque[Callable[[], None]] = deque(maxlen=_MAX_WAITING)
        self.echo = os.urandom(ECHO_BYTES)
        self.challenged = -1
        self.heard = 0
        self.window: Any = replay_window()
        self._next = self._reserved = self._promised = generation * GENERATION
        self._kept = False
        self.unused = generation == 0
        self.keys = Keys(material, material.id_context)
        state = keeper.load(material.identity)
        if state is not None:
            self._restore(state)

    def _restore(self, state: str) -> None:
        try:
            kept = json.loads(state)
            derived = kept["id_context"]
            id_context = None if derived is None else bytes.fromhex(derived)
            keys = self.keys if id_context == self.material.id_context else Keys(self.material, id_context)
            if kept["print"] != keys.print():
                return  # of other keys that had the same name
            upward = int(kept["next"])
            window = {"index": int(kept["index"]), "bitfield": int(kept["bits"])}
            same = kept["generation"] == self._generation
            heard = int(kept["heard"])
            unused = bool(kept["unused"])
        except (ValueError, KeyError, TypeError, NoKeys):
            # Not ours, or damaged: nobody knows which numbers were used.
            upward, window, same, heard, unused = self._next + _LEAP, {}, False, 0, False
            keys = self.keys
        self._kept = True
        self.unused = unused and same
        self.keys = keys
        self.heard = heard
        self._next = self._reserved = self._promised = max(upward, self._next)
        if same and window["index"] >= 0 <= window["bitfield"]:
            self.window.initialize_from_persisted(window)

    # Numbers of ours

    def take_number(self) -> int | None:
        """The next number; None when the next block is not yet on disk: then ask again in `when_ready`."""
        short = self._promised - self._next < BLOCK // 2 and self._promised == self._reserved
        if short:
            self._promised = min(self._next + BLOCK, MAX_NUMBER)
        if short or self._next >= self._reserved:
            self._save(lambda: None)
        if self._next >= self._reserved:
            return None
        number = self._next
        self._next += 1
        return number

    def when_ready(self, then: Callable[[], None]) -> None:
        """Call when there are numbers again. Of too many that wait, the oldest is dropped."""
        self._ready.append(then)

    # Numbers of the peer

    @property
    def known(self) -> bool:
        """Whether it is known which numbers the peer has used."""
        return bool(self.window.is_initialized())

    def admits(self, number: int) -> bool:
        """Whether a request with that number has not been here before; to be asked only of a known window."""
        return bool(self.window.is_valid(number))

    def strike(self, number: int, then: Callable[[], None]) -> None:
        """The number is used; ``then`` is called when that is on disk."""
        self.window.strike_out(number)
        self.heard = max(self.heard, number)
        self._save(then)

    def establish(self, number: int, then: Callable[[], None]) -> None:
        """A request with that number is fresh: it and all before it are used."""
        self.window.initialize_from_freshlyseen(number)
        self.heard = max(self.heard, number)
        self.unused = False
        self._save(then)

    # On disk

    def save(self) -> None:
        """Keep everything as it is, for an orderly stop."""
        if self._kept:
            self._promised = self._next
            self._save(lambda: None)

    def _save(self, then: Callable[[], None]) -> None:
        self._kept = True
        promised, keys = self._promised, self.keys
        known = self.known
        window = self.window.persist() if known else {"index": -1, "bitfield": 0}
        state = {
            "print": keys.print(),
            "generation": self._generation,
            "id_context": None if keys.id_context is None else keys.id_context.hex(),
            "next": promised,
            "index": window["index"],
            "bits": window["bitfield"],
            "heard": self.heard,
            "unused": self.unused,
        }

        def kept() -> None:
            if keys is self.keys:
                self._reserved = max(self._reserved, promised)
            then()
            while self._ready and self._next < self._reserved:
                self._ready.popleft()()

        self._keeper.save(self.material.identity, json.dumps(state, separators=(",", ":")), kept)


class LiveContexts:
    """All contexts that were needed since the start; shared by everything that speaks OSCORE.

    ``generation`` of an identity goes up with each restored or new database: numbers then begin at that many
    times `GENERATION`, as those used meanwhile are not known, and windows are known no more.
    """

    def __init__(
        self,
        contexts: Contexts,
        keeper: Keeper,
        *,
        generation: Callable[[str], int] = lambda identity: 0,
        failed: Callable[[str, str, str], None] = lambda identity, address, sentence: None,
    ) -> None:
        self._contexts = contexts
        self._generation = generation
        self._live: dict[str, Context] = {}
        self.keeper = keeper
        self.failed = failed

    def find(self, kid: bytes, kid_context: bytes | None) -> Context | None:
        """The context of a client by what it says of itself; None when there is none, or none of use."""
        material = self._contexts.find(kid, kid_context)
        if material is None:
            return None
        context = self._live.get(material.identity)
        if context is None or (context.material is not material and context.material != material):
            try:
                context = Context(material, self.keeper, self._generation(material.identity))
            except NoKeys as error:
                self.failed(material.identity, "", f"The OSCORE keys cannot be used: {error}.")
                return None
            self._live[material.identity] = context
        return context

    def refusal(self, kid: bytes, kid_context: bytes | None) -> tuple[str, str]:
        """As `Contexts.refusal`."""
        return self._contexts.refusal(kid, kid_context)

    def save(self) -> None:
        """An orderly stop: after it, no number has to be skipped."""
        for context in self._live.values():
            context.save()
