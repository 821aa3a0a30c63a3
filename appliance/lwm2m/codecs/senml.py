"""SenML records (RFC 8428 §4) as LwM2M uses them (C §7.4.4): what JSON and CBOR have in common.

Base fields hold from their record on until another record replaces them. A name is the base name
and the name put together; it is a path from the root, with the alternate path of the device in
front or not. Devices also send, and this reader takes: names without the leading slash, names
relative to the path that was asked for, no name at all, ``"bn": "/"`` with absolute names, a
missing or doubled slash between base name and name, and a trailing slash.

Times from 2**28 on are seconds since 1970, smaller ones are relative to now (§4.5.3). There is no
clock here: without ``now`` a relative time stays what it is in ``Report.at`` (usually negative).
A sum of zero, and no time at all, mean now: ``at`` is None.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from appliance.lwm2m.codecs.errors import CodecError
from appliance.lwm2m.codecs.fitting import MAX_REPORTS, carried, object_link, report_of, too_many, utf8
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from appliance.lwm2m.definitions import Model

ABSOLUTE_FROM = 1 << 28  # RFC 8428 §4.5.3: smaller times are relative to now
MAX_TIME = 253402300799  # the last second of the year 9999
MAX_NAME = 255  # characters; the longest path has 24, the rest is for an alternate path
VERSIONS = (10, 26)  # RFC 8428; RFC 9100 with secondary units, which change nothing here

BT_SPELLING, BV_SPELLING, N_SPELLING = 1, 2, 4  # places in a format's list of spellings

# What a label means. JSON and CBOR have their own tables from label to meaning.
BN, BT, BV, BVER, N, T, V, VS, VB, VD, VLO, IGNORED = range(12)
LABELS: dict[object, int] = {
    "bn": BN, "bt": BT, "bv": BV, "bver": BVER, "n": N, "t": T, "v": V, "vs": VS, "vb": VB, "vd": VD,
    "vlo": VLO, "bu": IGNORED, "bs": IGNORED, "u": IGNORED, "s": IGNORED, "ut": IGNORED,
}  # fmt: skip


def normal_root(root: str) -> str:
    """An alternate path as it stands in front of a path: ``/lwm2m``, or nothing for the root."""
    root = root.strip("/")
    return "/" + root if root else ""


def moment(base: int | float, offset: int | float, now: float | None) -> float | None:
    """``Report.at`` of a base time and a time in seconds; raises ``CodecError`` beyond year 9999."""
    try:
        total = float(base + offset)
    except OverflowError:
        total = math.inf
    if not -MAX_TIME <= total <= MAX_TIME:
        raise CodecError("A time lies beyond the year 9999.")
    if total >= ABSOLUTE_FROM:
        return total
    if total == 0:
        return None
    return total if now is None else now + total


def locate(base_name: str, name: str, base: Path, root: str) -> Path:
    """The path that base name and name give; it lies in ``base``. Raises ``CodecError``.

    ``root`` as ``normal_root`` gives it. The result is shared between calls.
    """
    if len(base_name) + len(name) > MAX_NAME:
        raise CodecError("A record has a name that is too long for a path.")
    return _locate(base_name, name, base, root)


@lru_cache(maxsize=2048)
def _locate(base_name: str, name: str, base: Path, root: str) -> Path:
    joined = base_name + name
    candidates = [joined]
    if base_name and name and not base_name.endswith("/") and not name.startswith("/"):
        candidates.append(f"{base_name}/{name}")
    for candidate in candidates:
        for numbers in _readings(candidate, base, root):
            path = Path(*numbers)
            if base.contains(path):
                return path
    raise CodecError(f"A record is named {joined[:80]!r}, which is no resource in {base}.")


def _readings(name: str, base: Path, root: str) -> Iterable[tuple[int, ...]]:
    """The resource paths a name may mean, most literal first."""
    relative = not name.startswith("/")
    rest = "/" + name.strip("/")
    if root and (rest + "/").startswith(root + "/"):
        stripped = _numbers(rest[len(root) :])
        if len(stripped) >= 3:
            yield stripped
    absolute = _numbers(rest)
    if len(absolute) >= 3:
        yield absolute
    if relative:
        # Only what lies below a path of ids can be relative; an empty name is the path itself.
        below = _numbers(str(base) + rest) if rest != "/" else _numbers(str(base))
        if len(below) >= 3:
            yield below


def _numbers(text: str) -> tuple[int, ...]:
    """The ids of a path, () when it is none; doubled slashes are one."""
    ids: list[int] = []
    for part in text.split("/"):
        if not part:
            continue
        if len(part) > 5 or not part.isascii() or not part.isdigit() or (part[0] == "0" and part != "0"):
            return ()
        ids.append(int(part))
    return tuple(ids) if len(ids) <= 4 and all(number <= 65535 for number in ids) else ()


def resolve(
    records: object,
    labels: Mapping[object, int],
    base: Path,
    model: Model,
    root: str,
    now: float | None,
    data: Callable[[object], bytes],
    patch: bool = False,
) -> list[Report]:
    """The reports of a SenML pack: at most one per record. Raises ``CodecError``.

    ``data`` turns the value of ``vd`` into bytes. ``patch``: the pack is one of SenML-ETCH, where each record
    must have a value and null is one: it takes a resource instance away and gives no report (RFC 8790 §3.2).
    This is one function of more than 60 lines because it is the hot path of every SenML notification.
    """
    if type(records) is not list:
        raise CodecError("A SenML payload is not a list of records.")
    if len(records) > MAX_REPORTS:
        raise too_many()
    reports: list[Report] = []
    root = normal_root(root) if root else ""
    base_name: str = ""
    base_time: int | float | None = None
    base_value: int | float | None = None
    for record in records:
        if type(record) is not dict:
            raise CodecError("A SenML record is not a map.")
        name: Any = ""
        time: Any = None
        value: Value | None = None
        values = 0
        number = False
        for label, item in record.items():
            meaning = labels.get(label)
            if meaning == V:
                values += 1
                if item is None and patch:
                    continue
                if type(item) is not float and type(item) is not int:
                    raise CodecError("A SenML value (v) is not a number.")
                value = item
                number = True
            elif meaning == N:
                name = item
            elif meaning == BN:
                base_name = item
            elif meaning == VS:
                if type(item) is not str:
                    raise CodecError("A SenML text (vs) is not a text.")
                if not item.isascii():
                    utf8(item)  # JSON can spell characters that are none
                value = item
                values += 1
            elif meaning == T:
                time = _number(item, "time (t)")
            elif meaning == BT:
                base_time = _number(item, "base time (bt)")
            elif meaning == VB:
                if type(item) is not bool:
                    raise CodecError("A SenML boolean (vb) is not a boolean.")
                value = item
                values += 1
            elif meaning == VD:
                value = data(item)
                values += 1
            elif meaning == VLO:
                value = object_link(item) if type(item) is str else None
                if value is None:
                    raise CodecError("A SenML object link (vlo) is not a text like 3:0.")
                values += 1
            elif meaning == BV:
                base_value = _number(item, "base value (bv)")
            elif meaning == BVER:
                if item not in VERSIONS and not (type(item) is int and 0 < item < 10):
                    raise CodecError("The SenML version (bver) is not supported.")
            elif meaning is None and type(label) is str and label.endswith("_"):
                # RFC 8428 §4.4: such a field must be understood.
                raise CodecError(f"The SenML field {label[:40]!r} must be understood but is not.")
        if type(name) is not str or type(base_name) is not str:
            raise CodecError("A SenML name is not a text.")
        if values > 1:
            raise CodecError("A SenML record has more than one value.")
        if value is None:
            if patch:
                if not values:
                    raise CodecError("A record of SenML-ETCH has no value: null is one, and none is not.")
                if not _is_resource(base_name, name, base, root):
                    raise CodecError("A record of SenML-ETCH removes what is no resource.")
                continue
            if base_value is None or not _is_resource(base_name, name, base, root):
                continue  # a record of base fields only
            value = base_value  # §4.5.4: the missing value counts as zero
        elif number and base_value is not None:
            value = _sum(base_value, value)
        untimed = time is None and base_time is None
        at = None if untimed else moment(base_time or 0, time or 0, now)
        if len(base_name) + len(name) > MAX_NAME:
            raise CodecError("A record has a name that is too long for a path.")
        reports.append(report_of(_locate(base_name, name, base, root), value, at, model))
    return reports


def _number(item: object, what: str) -> int | float:
    if (type(item) is int and abs(item) < 1 << 64) or (type(item) is float and math.isfinite(item)):
        return item
    raise CodecError(f"A SenML {what} is not a number.")


def _sum(base_value: int | float, value: Any) -> int | float:
    try:
        total: int | float = base_value + value
    except OverflowError:
        return math.inf
    return total


def _is_resource(base_name: str, name: str, base: Path, root: str) -> bool:
    try:
        locate(base_name, name, base, root)
    except CodecError:
        return False
    return True


def path_records(paths: Iterable[Path], root: str, name_label: object) -> list[dict[object, object]]:
    """The records of a Read-Composite: names and nothing else (RFC 8790 §3.1; C §6.3.8)."""
    stem = normal_root(root)
    return [{name_label: f"{stem}{path}" if path else stem or "/"} for path in paths]


def by_prefix(
    records: object, labels: Mapping[object, int], spellings: Sequence[object], root: str
) -> dict[str, list[dict[object, object]]]:
    """The records of a pack by the prefix of their names (LwM2M Gateway; C 1.2.1 §6.4.6, trap 51).

    A prefix is the part between the alternate path ``root`` and the ids, "" when there is none. Every record
    that comes out stands on its own, with its whole name and its base fields. Raises ``CodecError``.
    """
    if type(records) is not list:
        raise CodecError("A SenML payload is not a list of records.")
    if len(records) > MAX_REPORTS:
        raise too_many()
    root = normal_root(root)
    base: dict[int, object] = {}  # BVER is left in its record, to be checked there
    found: dict[str, list[dict[object, object]]] = {}
    for record in records:
        if type(record) is not dict:
            raise CodecError("A SenML record is not a map.")
        own: dict[object, object] = {}
        name: object = ""
        for label, item in record.items():
            meaning = labels.get(label)
            if meaning in (BN, BT, BV):
                base[meaning] = item
            elif meaning == N:
                name = item
            else:
                own[label] = item
        base_name = base.get(BN, "")
        if type(name) is not str or type(base_name) is not str:
            raise CodecError("A SenML name is not a text.")
        if len(base_name) + len(name) > MAX_NAME:
            raise CodecError("A record has a name that is too long for a path.")
        if not own and not name:
            continue  # base fields only
        whole = "/" + (base_name + name).strip("/")
        if root and f"{whole}/".startswith(f"{root}/"):
            whole = whole[len(root) :]
        parts = [part for part in whole.split("/") if part]
        start = next((place for place, part in enumerate(parts) if part.isascii() and part.isdigit()), 0)
        prefix = "/".join(parts[:start])
        own[spellings[N_SPELLING]] = "/" + "/".join(parts[start:])
        for meaning, spelling in ((BT, spellings[BT_SPELLING]), (BV, spellings[BV_SPELLING])):
            if meaning in base:
                own[spelling] = base[meaning]
        found.setdefault(prefix, []).append(own)
    return found


def naming(base: Path, reports: Sequence[Report], root: str) -> tuple[str, list[str]]:
    """Base name and names of the reports of ``base``; raises ``CodecError`` for others.

    The base name ends with a slash and every record has a name, which every device understands.
    """
    parent = base.parent if base.level >= 3 else base
    if parent is not None and base.level == 3 and all(r.path.level == 4 for r in reports):
        parent = base
    stem = "" if parent is None or parent.level == 0 else str(parent)
    names: list[str] = []
    for report in reports:
        if report.path.level < 3 or not base.contains(report.path):
            raise CodecError(f"{report.path} is not a resource in {base}.")
        names.append(str(report.path)[len(stem) + 1 :])
    return f"{normal_root(root)}{stem}/", names


def records(
    base: Path,
    reports: Sequence[Report],
    model: Model,
    root: str,
    labels: Sequence[object],
    data: Callable[[bytes], object],
    removed: Sequence[Path] = (),
) -> list[dict[object, object]]:
    """The records of a Write: the first carries the base name. Raises ``CodecError``.

    ``labels`` are the spellings by meaning (``BN`` … ``VLO``). ``Report.at`` becomes ``t``. ``removed`` are
    resource instances without a value from now on, below a base that is the root (RFC 8790 §3.2).
    """
    base_name, names = naming(base, reports, root)
    pack: list[dict[object, object]] = []
    for name, report in zip(names, reports, strict=True):
        record: dict[object, object] = {} if pack else {labels[BN]: base_name}
        record[labels[N]] = name
        kind, value = carried(report, model)
        match value:
            case bool():
                record[labels[VB]] = value
            case int() | float():
                # Whole floats keep their type: {"v": 21.0}, a float in CBOR.
                record[labels[V]] = value
            case str():
                record[labels[VS]] = value
            case bytes():
                record[labels[VD]] = data(value)
            case ObjectLink():
                record[labels[VLO]] = str(value)
            case _:
                raise CodecError(f"{report.path} of type {kind.value} has no form in SenML.")
        if report.at is not None:
            record[labels[T]] = int(report.at) if float(report.at).is_integer() else report.at
        pack.append(record)
    for path in removed:
        if path.level != 4:
            raise CodecError(f"{path} cannot be removed: only resource instances can, like {path}/0.")
        record = {} if pack else {labels[BN]: base_name}
        pack.append(record | {labels[N]: str(path)[1:], labels[V]: None})
    return pack or [{labels[BN]: base_name}]
