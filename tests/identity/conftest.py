from __future__ import annotations

import pytest

from appliance.identity.settings import IdentitySettings


@pytest.fixture
def fast() -> IdentitySettings:
    """Cheap hashes; everything else as delivered."""
    return IdentitySettings(argon2_memory_kib=8192, argon2_iterations=1)
