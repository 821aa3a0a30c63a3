"""The rule on skips: with ``CI=true`` a skipped or expected-to-fail test is a failed test.

``tests/allowed-skips.txt`` names the exceptions, one a line: the start of a test's id, `` | `` and
the reason.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

ALLOWED_SKIPS = Path(__file__).with_name("allowed-skips.txt")
REFUSED = (
    "{test} was skipped, and with CI=true what does not run counts as failed. Install what it needs in "
    "scripts/test, or name it with a reason in tests/allowed-skips.txt. Its own reason: {reason}"
)


def pytest_configure(config: pytest.Config) -> None:
    """Reads the exceptions; a line without a reason stops the run."""
    allowed = []
    for number, line in enumerate(ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        test, bar, reason = (part.strip() for part in line.partition(" | "))
        if not test or not bar or not reason:
            raise pytest.UsageError(f"{ALLOWED_SKIPS.name}:{number}: write 'test id | reason'")
        allowed.append(test)
    config.stash[_ALLOWED] = tuple(allowed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _judge(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _judge(report, collector.config)
    return report


def _judge(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    if os.environ.get("CI") != "true" or report.outcome != "skipped":
        return
    if any(report.nodeid.startswith(test) for test in config.stash[_ALLOWED]):
        return
    reason = (
        report.longrepr[2]
        if isinstance(report.longrepr, tuple)
        else getattr(report, "wasxfail", "none given")
    )
    if hasattr(report, "wasxfail"):
        del report.wasxfail  # pytest does not count a failure that carries it
    report.outcome = "failed"
    report.longrepr = REFUSED.format(test=report.nodeid, reason=reason)


_ALLOWED: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
