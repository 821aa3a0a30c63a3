"""The one error every decoder and encoder of this package raises."""

from __future__ import annotations


class CodecError(ValueError):
    """A payload that breaks its own format, or a value its format cannot carry.

    ``reason`` is a sentence for people without the payload in it. A payload that keeps to its
    format but disagrees with the model is not an error: it is decoded raw (``modelled=False``).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
