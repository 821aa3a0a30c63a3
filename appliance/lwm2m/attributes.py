"""Notification attributes: what Write-Attributes sets and Discover shows (OMA Core 1.2.1 §5.1.2, §7.3).

``lt`` here is the threshold "less than", never the lifetime of a registration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from appliance.lwm2m.definitions import Model
from appliance.lwm2m.links import Link
from appliance.lwm2m.path import Path, PathError
from appliance.lwm2m.values import ResourceType

PERIODS = ("pmin", "pmax", "epmin", "epmax")  # whole seconds; epmin and epmax since LwM2M 1.1
THRESHOLDS = ("gt", "lt", "st")  # numbers, on numeric resources only
EDGE = "edge"  # 1.2: notify on the falling (0) or rising (1) edge of a boolean
CONFIRM = "con"  # 1.2: notify confirmably (1) or not (0)
QUEUE = "hqmax"  # 1.2: how many notifications are kept while the server cannot be reached
NOTIFICATION_ATTRIBUTES = (*PERIODS, *THRESHOLDS, EDGE, CONFIRM, QUEUE)

_SINCE = {"epmin": "1.1", "epmax": "1.1", EDGE: "1.2", CONFIRM: "1.2", QUEUE: "1.2"}
_NUMERIC = (ResourceType.INTEGER, ResourceType.UNSIGNED, ResourceType.FLOAT, ResourceType.TIME)

# With an Observe-Composite only what could be attached to an object makes sense (1.2.1 §6.4.4).
COMPOSITE_ATTRIBUTES = (*PERIODS, CONFIRM)

_SECONDS = re.compile(r"[0-9]{1,10}")
_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")  # the grammar knows no exponent
_SHOWN_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,2})?")


class AttributesError(ValueError):
    """Attributes a device could not mean or would refuse; the message says what to write instead."""


def check_attributes(
    attributes: Mapping[str, str | None],
    *,
    version: str = "1.2",
    path: Path | None = None,
    model: Model | None = None,
    composite: bool = False,
) -> None:
    """Check what Write-Attributes or an Observe is to send; None unsets. Raises ``AttributesError``.

    ``version`` is that of the client. With ``path``, the level is checked, with ``model`` also the type of
    the resource, as far as it is known. ``composite``: they go with an Observe-Composite. pmax 0 means no
    maximum. Negative thresholds are used, though the grammar has no place for them.
    """
    if not attributes:
        raise AttributesError(f"no attribute is given: name one of {', '.join(NOTIFICATION_ATTRIBUTES)}")
    numbers = {name: _checked(name, text) for name, text in attributes.items() if text is not None}
    for name in attributes:
        if name not in NOTIFICATION_ATTRIBUTES:
            raise AttributesError(_unknown(name))
        since = _SINCE.get(name, "1.0")
        if version < since:
            raise AttributesError(
                f"{name} came with LwM2M {since}, and the device speaks {version}: leave {name} out"
            )
        if composite and name not in COMPOSITE_ATTRIBUTES:
            raise AttributesError(
                f"{name} cannot go with several paths at once: write it to its resource, or leave it out"
            )
    if path is not None:
        _check_place(attributes, path, model)
    if "pmin" in numbers and numbers.get("pmax", 0) != 0 and numbers["pmax"] < numbers["pmin"]:
        raise AttributesError("pmax must not be less than pmin: raise pmax or lower pmin")
    if "epmin" in numbers and "epmax" in numbers and numbers["epmax"] <= numbers["epmin"]:
        raise AttributesError("epmax must be more than epmin: raise epmax or lower epmin")
    if "lt" in numbers and "gt" in numbers:
        if numbers["lt"] >= numbers["gt"]:
            raise AttributesError("lt must be less than gt: lower lt or raise gt")
        if "st" in numbers and numbers["lt"] + 2 * numbers["st"] >= numbers["gt"]:
            raise AttributesError("lt plus twice st must be less than gt: lower st, or move lt and gt apart")


def _check_place(attributes: Mapping[str, str | None], path: Path, model: Model | None) -> None:
    """Thresholds are of one value: a number for gt, lt and st, a boolean for edge (§5.1.2, Table 5.1.2-2)."""
    if path.level == 0:
        raise AttributesError("attributes belong to an object or what is below: name one, like /3")
    definition = model.resource(path) if model is not None and path.level >= 3 else None
    for name in attributes:
        if name not in (*THRESHOLDS, EDGE):
            continue
        if path.level < 3:
            raise AttributesError(f"{name} belongs to a resource, not to {path}: name one, like {path}/0")
        if definition is None:
            continue
        if name == EDGE and definition.type is not ResourceType.BOOLEAN:
            raise AttributesError(
                f"edge is for booleans, and {path} is {definition.type.value}: use gt or lt"
            )
        if name != EDGE and definition.type not in _NUMERIC:
            raise AttributesError(
                f"{name} is for numbers, and {path} is {definition.type.value}: use pmin and pmax"
            )


def parse_attributes(parameters: Iterable[tuple[str, str | None]]) -> dict[str, float]:
    """The notification attributes among the parameters of a link; what is no number is left out.

    A device's own way of writing must not hide the rest of its answer: thresholds may have an exponent.
    """
    found: dict[str, float] = {}
    for name, text in parameters:
        if name not in NOTIFICATION_ATTRIBUTES or text is None:
            continue
        if name in THRESHOLDS and _SHOWN_NUMBER.fullmatch(text):
            found[name] = float(text)
        elif name not in THRESHOLDS and _SECONDS.fullmatch(text):
            found[name] = int(text)
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
    if name in (EDGE, CONFIRM):
        if text not in ("0", "1"):
            raise AttributesError(f"{name} is {text[:40]!r}: write 0 or 1")
        return int(text)
    if name == QUEUE:
        if _SECONDS.fullmatch(text) is None:
            raise AttributesError(f"hqmax is {text[:40]!r}: write how many, like 10")
        return int(text)
    raise AttributesError(_unknown(name))


def _unknown(name: str) -> str:
    return f"{name[:40]!r} is no attribute: use {', '.join(NOTIFICATION_ATTRIBUTES)}"
