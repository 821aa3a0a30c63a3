"""kill -9 every five seconds under 200 devices: acknowledged reports are kept once, and reporting goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.house import ROOT, House

DEVICES = 200
KILLS = 11  # a minute, and however long the starts take
BETWEEN_KILLS_S = 5
SENSOR = "/3303/0/5700"


@pytest.mark.timeout(300)
def test_acknowledged_reports_are_kept_exactly_once_and_observations_go_on(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    house = House(tmp_path / "state", "log.level=error")
    arguments = [
        sys.executable,
        "-m",
        "appliance",
        "simulate",
        "--server",
        f"coap://127.0.0.1:{house.coap_port}",
    ]
    arguments += ["--count", str(DEVICES), "--period", "1", "--counter", "--ledger", str(ledger)]
    # Where the starts take long, five tries may all meet a server that is away; a device that has given up
    # registers anew, and rightly.
    arguments += ["--ack-timeout", "1", "--max-retransmit", "7"]
    simulator = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    over = threading.Event()
    try:
        wait_for_all(ledger, 0)
        registered = kinds(ledger)["registered"]
        assert registered == DEVICES
        last = 0
        for _ in range(KILLS):
            over.wait(BETWEEN_KILLS_S)
            house.kill()
            last = ledger.stat().st_size
            house.start()
        # Every observation goes on after the last kill: each device has a further report acknowledged.
        wait_for_all(ledger, last)
        # Not one of them had to register again for it.
        assert kinds(ledger)["registered"] == DEVICES
    finally:
        simulator.send_signal(signal.SIGKILL)
        simulator.wait(20)
    wanted = Counter(
        (entry["endpoint_name"], entry["value"])
        for entry in entries(ledger)
        if entry["event"] == "acknowledged" and entry["path"] == SENSOR
    )
    kept = Counter(
        (event["endpoint_name"], value["value"])
        for event in house.events(kind="value")
        for value in event["values"]
        if value["path"] == SENSOR
    )
    assert house.stop() == 0
    assert len(wanted) > DEVICES * 10
    assert max(wanted.values()) == 1
    assert [report for report in wanted if kept[report] != 1] == []
    assert [report for report, count in kept.items() if count != 1] == []


def entries(ledger: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in ledger.read_text().splitlines() if line.endswith("}")]


def kinds(ledger: Path) -> Counter[object]:
    return Counter(entry["event"] for entry in entries(ledger))


def wait_for_all(ledger: Path, position: int) -> None:
    deadline = time.monotonic() + 120  # longer than a pause between two tries
    while True:
        heard = set()
        if ledger.exists():
            with ledger.open() as lines:
                lines.seek(position)
                heard = {
                    json.loads(line)["endpoint_name"]
                    for line in lines
                    if line.endswith("}\n") and "acknowledged" in line
                }
        if len(heard) == DEVICES:
            return
        assert time.monotonic() < deadline, f"only {len(heard)} of {DEVICES} devices are heard"
        threading.Event().wait(0.2)
