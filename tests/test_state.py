"""The ports a server tells the command line of."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from appliance.commands import back_up
from appliance.config.sections import Settings
from appliance.state import tell_ports, told_ports, untell_ports
from tests.house import House


def test_what_is_told_is_read_until_it_is_untold(tmp_path: Path) -> None:
    assert told_ports(tmp_path) is None
    untell_ports(tmp_path)
    tell_ports(tmp_path, {"coap": 15683, "coaps": 15684})
    assert told_ports(tmp_path) == {"coap": 15683, "coaps": 15684}
    untell_ports(tmp_path)
    assert told_ports(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"5684", b"{", b"\xff\xfe", b"[" * 100_000, b'{"coaps": ' + b"1" * 5000 + b"}"],
)
def test_what_is_not_legible_is_as_if_it_were_not_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "serving.json").write_bytes(content)
    assert told_ports(tmp_path) is None


def test_only_ports_are_ports(tmp_path: Path) -> None:
    (tmp_path / "serving.json").write_text('{"coap": 0, "coaps": 65536, "coap+tcp": true, "a": "1", "b": 7}')
    assert told_ports(tmp_path) == {"b": 7}


def test_a_device_is_told_the_port_that_is_served(tmp_path: Path) -> None:
    def uri(house: House, name: str, *more: str) -> str:
        made = house.homard("device", "add", name, "--json", "--state", str(house.state), *more)
        found: str = json.loads(made)["uri"]
        return found.rpartition(":")[2]

    with House(tmp_path / "state") as house:
        assert uri(house, "one") == str(house.coaps_port)
        assert uri(house, "two", "--security", "nosec") == str(house.coap_port)
        backup = tmp_path / "backup"
        back_up(house.state, backup, Settings(), passphrase=None)
        with tarfile.open(backup) as packed:
            names = packed.getnames()
        assert any(name.endswith("homard.sqlite") for name in names)
        assert not any(name.endswith("serving.json") for name in names)
        house.kill()
        assert uri(house, "three") == str(house.coaps_port)  # it comes back
        house.start()
        house.stop()
        assert uri(house, "four") == "5684"
        assert uri(house, "five", "--set", "coaps.port=15684") == "15684"
