"""A process that writes rows as fast as it can, announces each whose ``done`` ran, and waits to be killed.

Usage: child_writer.py FOLDER FIRST_NUMBER [LIMIT_FSIZE_BYTES]. Prints the number, or "failed NUMBER".
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from appliance.broker.broker import Broker
from appliance.broker.entities import EntityUpdate
from appliance.storage.database import Database
from appliance.storage.errors import StorageError, StorageFull
from appliance.storage.settings import StorageSettings

MOST_WAITING = 500  # rows not yet committed; or a slow disk leaves the test more to read than to find out


async def main(folder: Path, number: int, limit_bytes: int) -> None:
    """Accept changes for ever, in bursts of changing size."""
    loop = asyncio.get_running_loop()
    settings = StorageSettings(grouping_window_ms=2, journal_max_rows=1000000, checkpoint_kb=64)
    database = Database(folder / "homard.sqlite", settings)
    database.open(loop)
    broker = Broker(database, lambda: 1_700_000_000_000 + number)
    broker.start(loop)
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
    said: list[str] = []
    waiting = 0

    def say(line: str) -> None:
        nonlocal waiting
        said.append(line)
        waiting -= 1

    def failed(number: int, error: StorageError) -> None:
        say(f"failed {number}")
        if limit_bytes and len(said) and number > 200:
            # Space again.
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    while True:
        for _ in range(number % 37):
            number += 1
            update = EntityUpdate(
                f"e{number % 50}", "Device", "value", {"n": (number, 0, None), "pad": ("x" * 100, 0, None)}
            )
            try:
                waiting += 1
                broker.accept(
                    update,
                    lambda number=number: say(str(number)),  # type: ignore[misc]
                    lambda error, number=number: failed(number, error),  # type: ignore[misc]
                )
            except StorageFull:
                waiting -= 1
                await asyncio.sleep(0.001)
        number += 1
        while True:
            await asyncio.sleep(0)
            if said:
                os.write(1, ("\n".join(said) + "\n").encode())
                said.clear()
            if waiting <= MOST_WAITING:
                break


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
