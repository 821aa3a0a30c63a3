"""What is asked for many devices at once reaches only those that the account reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from appliance.vault.model import NewCredential, NewDevice
from tests.northbound.conftest import Stand

Build = Callable[..., Stand]


@pytest.fixture
def here(stand: Build) -> Stand:
    """Ines operates group a and administers group b; c is nothing to her."""
    made = stand(account=True)
    made.trust.vault.add(
        [
            NewDevice(f"{group}-{number}", groups=(group,), credentials=(NewCredential("server", "psk"),))
            for group in "abc"
            for number in range(2)
        ],
        "test",
    )
    return made


@pytest.mark.parametrize(
    ("path", "who", "status", "answer"),
    [
        ("rebootstrap", {"group": "a"}, 200, {"asked": 2}),
        ("rebootstrap", {"group": "b"}, 200, {"asked": 2}),
        ("rebootstrap", {"group": "c"}, 404, None),
        ("rebootstrap", {"endpoint_names": ["a-0", "b-0"]}, 200, {"asked": 2}),
        ("rebootstrap", {"endpoint_names": ["a-0", "c-0"]}, 404, None),
        ("rebootstrap", {"endpoint_names": ["a-0"], "group": "a"}, 400, None),
        ("rebootstrap", {}, 400, None),
        ("rebootstrap/withdraw", {"group": "a"}, 200, {"withdrawn": 2}),
        ("rebootstrap/withdraw", {"group": "c"}, 404, None),
        ("rebootstrap/withdraw", {"endpoint_names": ["a-0", "c-0"]}, 404, None),
        ("rebootstrap/withdraw", {}, 400, None),
        ("plan", {"group": "a"}, 404, None),
        ("plan", {"group": "b"}, 200, {"changed": 2}),
        ("plan", {"group": "c"}, 404, None),
        ("plan", {"endpoint_names": ["b-0", "a-0"]}, 403, None),
        ("plan", {"endpoint_names": ["b-0", "c-0"]}, 404, None),
    ],
)
def test_only_devices_in_reach_are_asked_for(
    here: Stand, path: str, who: dict[str, Any], status: int, answer: dict[str, Any] | None
) -> None:
    vault = here.trust.vault
    vault.give_plan([one.endpoint_name for one in vault.devices()], "old", "test")
    asked = path == "rebootstrap/withdraw"
    if asked:
        vault.ask_rebootstrap([one.endpoint_name for one in vault.devices()], "test")
    body = {**who, "plan": None} if path == "plan" else who
    reply = here.narrowed(a="operate", b="admin").api("POST", f"/vault/{path}", body)
    assert reply.status == status, reply.data
    changed = {
        one.endpoint_name
        for one in vault.devices()
        if one.plan is None or (one.rebootstrap_asked is None) == asked
    }
    if answer is None:
        assert changed == set()
    else:
        assert reply.json == answer
        wanted = who.get("endpoint_names") or [f"{who['group']}-0", f"{who['group']}-1"]
        assert changed == set(wanted)
