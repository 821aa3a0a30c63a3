"""Notification attributes: what Write-Attributes sets and Discover shows (OMA Core 1.1.1 §5.1.2, §7.3).

``lt`` here is the threshold "less than", never the lifetime of a registration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from appliance.lwm2m.links import Link
from appliance.lwm2m.path import Path, PathError

PERIODS = ("pmin", "pmax", "epmin", "epmax")  # whole seconds; epmin and epmax since LwM2M 1.1
THRESHOLDS = ("gt", "lt", "st")  # numbers, on numeric resources only
NOTIFICATION_ATTRIBUTES = PERIODS + THRESHOLDS

_SECONDS = re.compile(r"[0-9]{1,10}")
_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")  # the grammar knows no exponent


class AttributesError(ValueError):
    """Attributes a device could not mean or would refuse; the message says what to write instead."""


def check_attributes(attributes: Mapping[str, str | None]) -> None:
    """Check what Write-Attributes is to send; None unsets an attribute. Raises ``AttributesError``.

    pmax 0 means no maximum. Negative thresholds are used, though the grammar of 1.1 has no place for them.
    """
    if not attributes:
        raise AttributesError(f"no attribute is given: name one of {', '.join(NOTIFICATION_ATTRIBUTES)}")
    numbers = {name: _checked(name, text) for name, text in attributes.items() if text is not None}
    for name in attributes:
        if name not in NOTIFICATION_ATTRIBUTES:
            raise AttributesError(_unknown(name))
    for low, high in (("pmin", "pmax"), ("epmin", "epmax")):
        if low in numbers and numbers.get(high, 0) != 0 and numbers[high] < numbers[low]:
            raise AttributesError(f"{high} must not be less than {low}: raise {high} or lower {low}")
    if "lt" in numbers and "gt" in numbers:
        if numbers["lt"] >= numbers["gt"]:
            raise AttributesError("lt must be less than gt: lower lt or raise gt")
        if "st" in numbers and numbers["lt"] + 2 * numbers["st"] >= numbers["gt"]:
            raise AttributesError("lt plus twice st must be less than gt: lower st, or move lt and gt apart")


def parse_attributes(parameters: Iterable[tuple[str, str | None]]) -> dict[str, float]:
    """The notification attributes among the parameters of a link; what is no number is left out."""
    found: dict[str, float] = {}
    for name, text in parameters:
        if name in NOTIFICATION_ATTRIBUTES and text is not None:
            try:
                found[name] = _checked(name, text)
            except AttributesError:
                continue  # a device's own way of writing must not hide the rest of its answer
    return found


def format_attributes(attributes: Mapping[str, str | None]) -> list[str]:
    """The Uri-Query options of Write-Attributes: ``pmin=10``, or ``pmin`` to unset it (§6.3.4)."""
    return [name if text is None else f"{name}={text}" for name, text in attributes.items()]


def effective_attributes(links: Iterable[Link], path: Path, root: str = "") -> dict[str, float]:
    """What a Discover answer says of ``path``: its own attributes over those of the levels above (§5.1.2)."""
    found: list[tuple[int, dict[str, float]]] = []
    for link in links:
        target = link.target
        if root and target.startswith(f"{root}/"):
            target = target[len(root) :]
        try:
            at = Path.parse(target)
        except PathError:
            continue
        if at.level and at.contains(path):
            found.append((at.level, parse_attributes(link.attributes)))
    effective: dict[str, float] = {}
    for _, attributes in sorted(found, key=lambda pair: pair[0]):
        effective.update(attributes)
    return effective


def _checked(name: str, text: str) -> float:
    if name in PERIODS:
        if _SECONDS.fullmatch(text) is None:
            raise AttributesError(f"{name} is {text[:40]!r}: write whole seconds, like 60")
        return int(text)
    if name in THRESHOLDS:
        if _NUMBER.fullmatch(text) is None:
            raise AttributesError(f"{name} is {text[:40]!r}: write a number without an exponent, like 21.5")
        if name == "st" and float(text) <= 0:
            raise AttributesError("st must be more than 0: it is the least change that is told")
        return float(text)
    raise AttributesError(_unknown(name))


def _unknown(name: str) -> str:
    return f"{name[:40]!r} is no attribute: use {', '.join(NOTIFICATION_ATTRIBUTES)}"
