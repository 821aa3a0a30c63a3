"""What takes long never takes everything, nor everything of one address."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from appliance.northbound.errors import ApiError
from appliance.northbound.slots import Slots


def test_one_address_is_refused_before_all_is_taken_and_others_are_served() -> None:
    slots = Slots(5, 3, "operations")
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(slots.one("192.0.2.1"))
        with pytest.raises(ApiError) as refused, slots.one("192.0.2.1"):
            pass
        assert refused.value.code == "busy"
        for _ in range(2):
            held.enter_context(slots.one("192.0.2.2"))
        with pytest.raises(ApiError), slots.one("192.0.2.3"):
            pass
    with slots.one("192.0.2.1"):
        pass
    assert not slots._held
