"""When a device reports: the notification attributes pmin, pmax, gt, lt and st (OMA LwM2M Core 1.1 §5.1.2).

Attributes are attached to object, instance, resource or resource instance; the closest one wins.
Time is an argument, in seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[int, ...]
KNOWN = ("pmin", "pmax", "gt", "lt", "st", "epmin", "epmax")
NUMERIC_ONLY = ("gt", "lt", "st")


class AttributeRefused(ValueError):
    """A Write-Attributes that must be answered 4.00."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one path after inheritance; None is "not set"."""

    pmin: float = 0.0
    pmax: float | None = None
    gt: float | None = None
    lt: float | None = None
    st: float | None = None

    def worth_reporting(self, value: object, reported: object) -> bool:
        """Whether a change from the value reported last is one that the server asked to hear of.

        Without gt, lt and st every change is. With them: a step of at least st, or a crossing of gt
        or lt in either direction.
        """
        if self.gt is None and self.lt is None and self.st is None:
            return True
        if not isinstance(value, int | float) or not isinstance(reported, int | float):
            return True
        if self.st is not None and abs(value - reported) >= self.st:
            return True
        return any(
            limit is not None and (value > limit) != (reported > limit) for limit in (self.gt, self.lt)
        )


class AttributeStore:
    """Which attributes are attached where. They are forgotten by a reboot."""

    __slots__ = ("_attached",)

    def __init__(self) -> None:
        self._attached: dict[Path, dict[str, float]] = {}

    def write(self, path: Path, queries: Iterable[str]) -> None:
        """Write-Attributes; a name without a value takes the attribute away. Raises AttributeRefused."""
        merged = dict(self._attached.get(path, {}))
        for query in queries:
            name, _, text = query.partition("=")
            if name not in KNOWN:
                raise AttributeRefused(f"unknown attribute {name}")
            if name in NUMERIC_ONLY and len(path) < 3:
                raise AttributeRefused(f"{name} belongs to a resource")
            if not text:
                merged.pop(name, None)
                continue
            try:
                merged[name] = float(text)
            except ValueError as error:
                raise AttributeRefused(f"{name}={text} is no number") from error
        _check(merged)
        if merged:
            self._attached[path] = merged
        else:
            self._attached.pop(path, None)

    def rules(self, path: Path, default_pmin: float = 0.0, default_pmax: float = 0.0) -> Rules:
        """What holds for ``path``; the defaults are those of the Server object (/1/x/2 and /1/x/3)."""
        merged: dict[str, float] = {}
        for level in range(1, len(path) + 1):
            merged.update(self._attached.get(path[:level], {}))
        pmax = merged.get("pmax", default_pmax)
        return Rules(
            pmin=merged.get("pmin", default_pmin),
            pmax=pmax if pmax > 0 else None,
            gt=merged.get("gt"),
            lt=merged.get("lt"),
            st=merged.get("st"),
        )

    def link_parameters(self, path: Path, *, inherited: bool = False) -> str:
        """What Discover shows for ``path``, e.g. ";pmin=10;pmax=60"; ``inherited``: from levels above too."""
        attached: dict[str, float] = {}
        for level in range(1 if inherited else len(path), len(path) + 1):
            attached.update(self._attached.get(path[:level], {}))
        return "".join(f";{name}={value:.12g}" for name, value in attached.items())

    def forget(self, path: Path = ()) -> None:
        """Drop everything at and below ``path``."""
        for attached in [known for known in self._attached if known[: len(path)] == path]:
            del self._attached[attached]


def _check(merged: dict[str, float]) -> None:
    pmin, pmax = merged.get("pmin", 0.0), merged.get("pmax", 0.0)
    if pmin < 0 or pmax < 0:
        raise AttributeRefused("a period is not negative")
    if 0 < pmax < pmin:
        raise AttributeRefused("pmax is less than pmin")
    if "st" in merged and merged["st"] < 0:
        raise AttributeRefused("st is not negative")
    if "lt" in merged and "gt" in merged and not merged["lt"] + 2 * merged.get("st", 0.0) < merged["gt"]:
        raise AttributeRefused("lt + 2 st is less than gt")
