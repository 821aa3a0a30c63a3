"""Make the database file of the present schema, with a few rows in every table.

Run once per released schema, commit the file, never make it again: tests open it with newer code.
Usage: python tests/schemas/make_schema_file.py
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from appliance.broker.broker import Broker  # noqa: E402
from appliance.broker.entities import EntityUpdate  # noqa: E402
from appliance.storage.database import Database  # noqa: E402
from appliance.storage.database_file import schema_scripts  # noqa: E402
from appliance.storage.settings import StorageSettings  # noqa: E402

AT_MS = 1_700_000_000_000


def make() -> Path:
    """Write the file; refuses to replace one."""
    number = len(schema_scripts())
    path = HERE / f"{number:04}.sqlite"
    if path.exists():
        raise SystemExit(f"{path.name} exists: released files are never made again")
    database = Database(path, StorageSettings(journal_max_rows=1000))
    database.open()
    broker = Broker(database, lambda: AT_MS)
    write = database.write
    for device in ("one", "two"):
        write(
            "INSERT INTO registrations VALUES (?,?,?)",
            (device, f"id-{device}", '{"lifetime_s":300}'),
        )
        write(
            "INSERT INTO observations VALUES (?,?,?)",
            (device.encode(), f"id-{device}", '{"path":"/3303/0/5700"}'),
        )
        write("INSERT INTO desired VALUES (?,?,?)", (device, "/3303/0/5700", "{}"))
        write(
            "INSERT INTO tasks VALUES (?,?,?,?,?,?,?)",
            (None, device, "waiting", None, '{"operation":"Read","path":"/3/0/9"}', "[]", None),
        )
        write("INSERT INTO awake VALUES (?,?)", (device, 30.0))
        number = 1 if device == "one" else 2
        write("INSERT INTO dtls_session VALUES (?,?)", (number, b"sealed"))
        write("INSERT INTO dtls_mark VALUES (?,?,?,?)", (number, 7, 1, 4096))
        write("INSERT INTO oscore_context VALUES (?,?)", (f"oscore:{device}", "{}"))
        write("INSERT INTO oscore_observation VALUES (?,?)", (device.encode(), "{}"))
        write("INSERT INTO bootstrap_session VALUES (?,?,?)", (number, device, "{}"))
        write("INSERT INTO stranger VALUES (?,?)", (number, "{}"))
        write("INSERT INTO identity_use VALUES (?,?)", (f"psk:{device}", "{}"))
        for value in (1.5, 2.5):
            attributes = {"/3303/0/5700": (value, AT_MS, None), "/3/0/9": (97, AT_MS - 5, {"unit": "%"})}
            broker.accept(
                EntityUpdate(device, "Device", "value", attributes, {"words": "reported"}, b"\x01\x02")
            )
    database.flush()
    broker.save()
    broker.accept(EntityUpdate("two", "Device", "value", {"/3303/0/5700": (3.5, AT_MS, None)}))
    broker.move_cursor("rules", 3)
    broker.stop()
    database.close()
    for leftover in HERE.glob(f"{path.name}.*"):
        leftover.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return path


if __name__ == "__main__":
    print(make())
