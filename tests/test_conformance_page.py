"""docs/conformance.md says of every interoperability case what holds; the tests say the same, both ways."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "conformance.md"
TESTS = ROOT / "tests" / "conformance"
STATES = ("passes", "passes elsewhere", "not yet", "no procedure")
JUDGED = ("client", "server", "bootstrap server")

# Every id of the interoperability test specification 1.2, so that no row goes missing unseen.
IDS = (
    "0-12 19 101-111 201-205 210-212 215 220-237 241 256 257 260 261 264 266 270 271 280 281 290 301-313 "
    "401-406 551 555 556 560 565 566 651 652 655-657 660 661 670 680 685 701 705 710 711 720 730 735 751 755 "
    "756 760 770-780 801 805 810 811 820 830 835 901 905 910 911 920 930 935 950 951 1200-1204 1250 1350 "
    "1600 1605 1610 1611 1620 1630 1635 1900 1901 2000 2001"
)
# MQTT, and TLS for CoAP over TCP.
UNBUILT = {19, 404, 406}
OF_1_2 = {11, 12, 19, 110, 111, 264, 266, 312, 313}


class Row(NamedTuple):
    """One row of the page."""

    name: str
    title: str
    judged: str
    state: str
    tests: tuple[str, ...]
    words: str

    @property
    def number(self) -> int:
        """The number of the case."""
        return int(self.name.rpartition("-")[2])


def rows_of_page() -> list[Row]:
    rows = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 5 and re.fullmatch(r"(1\.2-)?int-[0-9]+", cells[0]):
            rows.append(Row(*cells[:4], tuple(re.findall(r"`(test_\w+)`", cells[4])), cells[4]))
    return rows


ROWS = rows_of_page()


def names_of_tests() -> Counter[str]:
    """Every test function of the conformance tests."""
    found: Counter[str] = Counter()
    for file in TESTS.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[node.name] += 1
    return found


def case_of(test: str) -> str:
    """The id a test is named after."""
    match = re.match(r"test_(12_)?int_([0-9]+)_", test)
    assert match, f"{test}: a conformance test is named after its case, like test_int_101_…"
    return ("1.2-" if match[1] else "") + f"int-{match[2]}"


def all_ids() -> set[int]:
    ids: set[int] = set()
    for part in IDS.split():
        first, _, last = part.partition("-")
        ids.update(range(int(first), int(last or first) + 1))
    return ids


def test_every_case_has_one_row() -> None:
    assert Counter(row.number for row in ROWS) == Counter(all_ids())
    assert len(ROWS) == 155
    assert {row.number for row in ROWS if row.name.startswith("1.2-")} == OF_1_2


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_says_what_it_must(row: Row) -> None:
    assert row.title
    assert row.judged in JUDGED
    assert row.state in STATES
    assert row.words, "name the test or the reason"
    if row.state == "passes":
        assert row.tests
        assert {case_of(test) for test in row.tests} == {row.name}
    elif row.state == "passes elsewhere":
        other = re.search(r"int-[0-9]+", row.words)
        assert other, "name the case that counts"
        assert next(known for known in ROWS if known.name == other[0]).state == "passes"
    else:
        assert not row.tests
        assert len(row.words) > 10


def test_every_test_has_its_row_and_every_named_test_is_there() -> None:
    tests = names_of_tests()
    assert not [name for name, count in tests.items() if count > 1], "a name is used twice"
    named = [name for row in ROWS for name in row.tests]
    assert sorted(named) == sorted(tests)


def test_what_judges_the_server_passes_or_waits_for_a_part_not_built() -> None:
    waiting = {row.number for row in ROWS if row.judged != "client" and not row.state.startswith("passes")}
    assert waiting <= UNBUILT


def test_the_counts_of_the_page_are_those_of_its_rows() -> None:
    text = PAGE.read_text(encoding="utf-8")
    counts = Counter(row.state for row in ROWS)
    for state in STATES:
        match = re.search(rf"^\| {state} \| ([0-9]+) \|", text, re.MULTILINE)
        assert match, f"the page does not count {state!r}"
        assert int(match[1]) == counts[state], state
