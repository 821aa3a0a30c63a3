"""A process that changes a vault until it is killed; says what is done, a line each, once it is done."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from appliance.vault.model import NewCredential, NewDevice
from appliance.vault.sealing import SealingKey
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import Vault

BOTH = (NewCredential(), NewCredential(purpose="bootstrap"))
BATCH = 40


def main() -> None:
    state, round_ = Path(sys.argv[1]), sys.argv[2]
    vault = Vault(state / "vault", SealingKey.load(state, create=True), VaultSettings(), time.time)
    vault.open()
    chance = random.Random(round_)
    print("ready", flush=True)
    for number in range(1000):
        batch = f"{round_}.{number}"
        vault.add([NewDevice(f"{batch}.{n}", tags=(batch,), credentials=BOTH) for n in range(BATCH)], "child")
        print("added", batch, flush=True)
        name = f"{batch}.{chance.randrange(BATCH)}"
        made = vault.rotate(name, "server", "child", staged=chance.random() < 0.5)
        print("key", made.made[0].identity, made.secrets[made.made[0].id]["psk_key"].hex(), flush=True)
        vault.ask_rebootstrap([f"{batch}.{n}" for n in range(BATCH)], batch)
        print("asked", batch, flush=True)


if __name__ == "__main__":
    main()
