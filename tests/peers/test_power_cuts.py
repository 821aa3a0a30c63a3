"""An ACK is a receipt: what was acknowledged is in the journal exactly once, however often the power fails.

The devices count: no value leaves one of them twice, so that the journal can be compared with what
they saw acknowledged, value by value.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from tests.peers.strangers import Gateway, Simulation

# More of both for a long run by hand, for example 200 and 12: a minute with a kill every 5 seconds.
DEVICES = int(os.environ.get("HOMARD_TEST_DEVICES", "20"))
CUTS = int(os.environ.get("HOMARD_TEST_CUTS", "4"))
SENSOR = "/3303/0/5700"


def reported(events: list[dict[str, Any]]) -> Counter[tuple[str, float]]:
    """How often each notified counter value is in the journal."""
    return Counter(
        (event["endpoint_name"], value["value"])
        for event in events
        if event["kind"] == "value"
        for value in event["values"]
        if value["path"] == SENSOR and value["source"] == "notify"
    )


def journal(gateway: Gateway) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while page := gateway.api.get("/events", after=events[-1]["seq"] if events else 0, limit=1000)["events"]:
        events += page
    return events


def wait_for_reports(gateway: Gateway, after: int, count: int) -> None:
    """Until so many counter values were committed after ``after``."""
    left = count
    for event in gateway.api.events(after):
        left -= sum(reported([event]).values())
        if left <= 0:
            return


def test_every_acknowledged_report_is_in_the_journal_exactly_once(
    own_gateway: Gateway, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    simulation = Simulation(
        "--server", own_gateway.uri, "--count", str(DEVICES), "--period", "1", "--counter",
        "--lifetime", "600", "--ledger", str(ledger), "--seed", "1",
    )  # fmt: skip
    try:
        simulation.wait_until_registered()
        for _ in range(CUTS):
            wait_for_reports(own_gateway, own_gateway.api.head(), 3 * DEVICES)
            own_gateway.kill()
            own_gateway.start()
        last_start = own_gateway.api.head()
        wait_for_reports(own_gateway, last_start, 4 * DEVICES)
        farewell = simulation.stop()
    finally:
        simulation.kill()

    assert farewell.startswith(f"{DEVICES} registrations"), "a device had to register again"
    events = journal(own_gateway)
    stored = reported(events)
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    acknowledged = Counter(
        (line["endpoint_name"], line["value"])
        for line in lines
        if line["event"] == "acknowledged" and line["path"] == SENSOR
    )
    assert len(acknowledged) > CUTS * DEVICES
    assert max(acknowledged.values()) == 1
    assert not [report for report in acknowledged if stored[report] != 1]
    assert max(stored.values()) == 1
    lively = {name for name, _ in reported([event for event in events if event["seq"] > last_start])}
    assert len(lively) == DEVICES, "an observation did not go on"
