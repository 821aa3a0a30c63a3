"""Adds files to a store until it is killed, and announces the id of each one that was taken."""

from __future__ import annotations

import io
import random
import sys
import time
from pathlib import Path

from appliance.storage.files import FileStore

store = FileStore(Path(sys.argv[1]), 1 << 30, 1 << 24, time.time)
store.open()
chance = random.Random(int(sys.argv[2]))
while True:
    content = chance.randbytes(chance.randrange(1, 300_000))
    stored = store.add(io.BytesIO(content).read, len(content), "firmware.bin", "")
    print(stored.id, flush=True)
    if chance.random() < 0.7:
        store.remove(stored.id)
        print("-", stored.id, flush=True)
