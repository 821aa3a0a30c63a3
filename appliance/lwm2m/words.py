"""What the outcome of an operation means to a person, and what to do next (OMA Transport 1.1.1 §6.4.5)."""

from __future__ import annotations

_OUTCOMES: dict[int, str] = {
    0x41: "Created",
    0x42: "Deleted",
    0x43: "Valid: nothing changed",
    0x44: "Changed",
    0x45: "Content",
    0x5F: "Continue: the device waits for the next block",
    0x80: "Bad Request: the device did not understand the request; check the value and its type",
    0x81: "Unauthorized: the device does not let this server do that; check its access control (object 2)",
    0x82: "Bad Option: the device does not know an option of the request; try it without attributes",
    0x83: "Forbidden: the device refuses; check its access control (object 2)",
    0x84: "Not Found: the device has no such object instance or resource; discover what it has",
    0x85: "Method Not Allowed: the device does not support this operation here; see its object model",
    0x86: "Not Acceptable: the device cannot answer in this content format; choose another",
    0x88: "Request Entity Incomplete: the device lost a part of the transfer; try again",
    0x89: "Conflict: the device cannot do that in its present state; read its state first",
    0x8C: "Precondition Failed: the device does not have the version that was asked for",
    0x8D: "Request Entity Too Large: the value is too long for the device; send a shorter one",
    0x8F: "Unsupported Content-Format: the device does not know this content format; choose another",
    0x96: "Unprocessable Entity: the device understood the value and cannot use it; check its range",
    0x9D: "Too Many Requests: the device asks for a pause; try again later",
    0xA0: "Internal Server Error: the device failed; try again, and look at its own log",
    0xA1: "Not Implemented: the device's software does not have this; do without it or update it",
    0xA2: "Bad Gateway: something between us and the device failed; try again",
    0xA3: "Service Unavailable: the device is busy; try again later",
    0xA4: "Gateway Timeout: the device behind a gateway did not answer; try again later",
    0xA5: "Proxying Not Supported: the device is no proxy",
}

# What differs when several paths were asked for at once (§6.3.8, §6.3.9, §6.4.4).
_COMPOSITE_OUTCOMES: dict[int, str] = {
    0x80: "Bad Request: the device did not understand the request; several paths are written all or not at "
    "all, so check every value and its type",
    0x81: "Unauthorized: the device does not let this server do that with every path; check its access "
    "control (object 2)",
    0x84: "Not Found: the device has none of these paths; discover what it has",
    0x85: "Method Not Allowed: the device does not do this with several paths at once, or not with one of "
    "these; do it path by path",
    0x86: "Not Acceptable: the device cannot answer for several paths in this content format; choose another",
    0x8F: "Unsupported Content-Format: the device cannot read several paths in this content format; choose "
    "another",
    0xA1: "Not Implemented: the device cannot do this with several paths at once; do it path by path",
}

_FAILURES: dict[str, str] = {
    "timeout": "The device did not answer; it may be asleep or out of reach. Try again after its next Update",
    "deadline": "The device did not answer in time. Try again, or allow more time",
    "reset": "The device rejected the message; it may have restarted. Wait for its next Register",
    "cancelled": "The request was cancelled before the device answered",
    "body-too-large": "The device's answer is larger than this gateway takes. Ask for a part of it",
    "queue-full": "Too many requests wait for this device. Try again when they are done",
    "moved": "The device has another address since then, and the command may have reached it before. "
    "Look at its state before you repeat it",
    "not-connected": "The device has no connection to this gateway. Wait until it connects again",
    "connection-lost": "The connection to the device broke before it answered. Wait until it connects again",
    "unreachable": "The network has no way to the device. Check its address and the network",
}


def outcome_words(code: int, composite: bool = False) -> str:
    """A CoAP response code in words, with the next step where there is one; never raises.

    ``composite``: it answers a Read-, Write- or Observe-Composite.
    """
    known = (_COMPOSITE_OUTCOMES.get(code) if composite else None) or _OUTCOMES.get(code)
    if known is not None:
        return known
    shown = f"{code >> 5}.{code & 31:02d}"
    kind = {2: "Success", 4: "The device refused", 5: "The device failed"}.get(code >> 5, "An unknown answer")
    return f"{kind} ({shown}): see the device's own documentation for this code"


def failure_words(reason: str) -> str:
    """Why no answer came, in words; a reason that is not known is shown as it is."""
    known = _FAILURES.get(reason.replace(" ", "-"))
    return known if known is not None else f"The device did not answer ({reason}). Try again"
