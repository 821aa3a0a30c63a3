"""What `homard simulate` is told, and the objects file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from appliance.simulator import SimulatorOptions, add_arguments, options_from
from appliance.simulator.objects import Movement, ObjectsFileError, read_objects


def parsed(*arguments: str) -> SimulatorOptions:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return options_from(parser.parse_args(arguments))


def test_nothing_said_is_the_default() -> None:
    assert parsed() == SimulatorOptions()


def test_everything_said_arrives() -> None:
    options = parsed(
        "--server", "[::1]:15683", "--count", "200", "--name-prefix", "d", "--period", "0.5",
        "--lifetime", "60",
        "--loss", "5", "--lwm2m", "1.0", "--format", "senml-json", "--objects", "o.toml", "--seed", "3",
        "--ledger", "l", "--counter", "--duration", "9", "--ack-timeout", "1", "--max-retransmit", "6",
    )  # fmt: skip
    assert options == SimulatorOptions(
        server="coap://[::1]:15683", count=200, name_prefix="d", period_s=0.5, lifetime_s=60,
        loss_percent=5.0,
        lwm2m="1.0", format="senml-json", objects=Path("o.toml"), seed=3, ledger=Path("l"), counter=True,
        duration_s=9.0, ack_timeout_s=1.0, max_retransmit=6,
    )  # fmt: skip
    assert options.host_and_port == ("::1", 15683)
    assert options.endpoint_name(12) == "d0012"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--server", "http://x"),
        ("--server", "coap://x:port"),
        ("--count", "0"),
        ("--period", "0"),
        ("--loss", "100"),
        ("--lwm2m", "1.3"),
    ],
)
def test_nonsense_is_refused_with_a_usage_error(arguments: tuple[str, ...], capsys) -> None:
    with pytest.raises(SystemExit):
        parsed(*arguments)
    assert arguments[0] in capsys.readouterr().err


def test_every_option_is_explained(capsys) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    shown = capsys.readouterr().out
    for name in SimulatorOptions.__dataclass_fields__:
        option = name.removesuffix("_s").removesuffix("_percent").replace("_", "-")
        assert f"--{option}" in shown


def test_shipped_objects_are_the_promised_ones() -> None:
    kinds = read_objects()
    assert list(kinds) == [1, 3, 4, 6, 3303, 3304]
    assert kinds[3303].resources[5700].movement == Movement(-5.0, 40.0, 0.4)
    assert kinds[3].resources[6].value == {0: 1, 1: 5}


def test_an_objects_file_adds_and_replaces(tmp_path) -> None:
    file = tmp_path / "objects.toml"
    file.write_text(
        '[[object]]\nid = 3303\nname = "Own"\n[object.resources]\n5700 = { type = "float", value = 1 }\n'
        "[[object]]\nid = 26241\ninstances = [2]\n"
        '[object.resources]\n1 = { type = "opaque", value = "00ff" }\n'
    )
    kinds = read_objects(file)
    assert (kinds[3303].name, kinds[3303].resources[5700].value) == ("Own", 1.0)
    assert (kinds[26241].instances, kinds[26241].resources[1].value) == ((2,), b"\0\xff")
    same = tmp_path / "objects.json"
    same.write_text(
        json.dumps({"object": [{"id": 26241, "instances": [2], "resources": {"1": {"value": "x"}}}]})
    )
    assert read_objects(same)[26241].resources[1].value == "x"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("object = 1", 'expected a list named "object"'),
        ("[[object]]\nid = 70000", "70000 is not between"),
        ("[[object]]\nid = 5\n[object.resources]\n1 = 2", "object 5: resource 1: expected a table"),
        ('[[object]]\nid = 5\n[object.resources]\n1 = {operations = "X"}', 'operations "X"'),
        ('[[object]]\nid = 5\n[object.resources]\n1 = {type = "text"}', 'type "text"'),
        ('[[object]]\nid = 5\n[object.resources]\n1 = {type = "integer", value = "a"}', "'a' is no integer"),
        ("[[object]]\nid = 5\n[object.resources]\n1 = {moves = {from = 1}}", "from, to and step"),
        ("[[object", "neither TOML nor JSON"),
    ],
)
def test_a_wrong_objects_file_is_told_with_its_place(tmp_path, text: str, complaint: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ObjectsFileError, match=complaint.replace("(", r"\(")) as caught:
        read_objects(file)
    assert str(file) in str(caught.value)


def test_a_missing_objects_file_is_told(tmp_path) -> None:
    with pytest.raises(ObjectsFileError, match="cannot be read"):
        read_objects(tmp_path / "none.toml")
