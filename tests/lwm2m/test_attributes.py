"""Notification attributes (OMA Core 1.1.1 §5.1.2)."""

from __future__ import annotations

import pytest

from appliance.lwm2m.attributes import (
    AttributesError,
    check_attributes,
    effective_attributes,
    format_attributes,
    parse_attributes,
)
from appliance.lwm2m.definitions import Definitions, Model
from appliance.lwm2m.links import parse_links
from appliance.lwm2m.path import Path

MODEL = Model.of(Definitions.registered(), {3: "1.1"})


@pytest.mark.parametrize(
    "attributes",
    [
        {"pmin": "10", "pmax": "300"},
        {"pmin": "10", "pmax": "10"},
        {"pmin": "10", "pmax": "0"},  # no maximum
        {"pmin": None, "pmax": "5"},
        {"gt": "30", "lt": "10.5", "st": "2"},
        {"gt": "-1.5", "lt": "-20"},
        {"epmin": "1", "epmax": "60"},
    ],
)
def test_what_a_device_can_mean(attributes: dict[str, str | None]) -> None:
    check_attributes(attributes)


@pytest.mark.parametrize(
    ("attributes", "next_step"),
    [
        ({}, "name one of"),
        ({"pmin": "10", "pmax": "5"}, "raise pmax or lower pmin"),
        ({"epmin": "10", "epmax": "5"}, "raise epmax or lower epmin"),
        ({"lt": "5", "gt": "5"}, "lower lt or raise gt"),
        ({"lt": "10", "gt": "20", "st": "5"}, "lower st"),
        ({"st": "0"}, "more than 0"),
        ({"st": "-1"}, "more than 0"),
        ({"pmin": "1.5"}, "whole seconds"),
        ({"pmin": "-1"}, "whole seconds"),
        ({"pmin": ""}, "whole seconds"),
        ({"gt": "1e5"}, "without an exponent"),
        ({"gt": "nan"}, "without an exponent"),
        ({"gt": "٣"}, "without an exponent"),
        ({"lifetime": "5"}, "is no attribute"),
        ({"lifetime": None}, "is no attribute"),
    ],
)
def test_what_it_cannot_mean_is_told_before_it_is_sent(
    attributes: dict[str, str | None], next_step: str
) -> None:
    with pytest.raises(AttributesError, match=next_step):
        check_attributes(attributes)


def test_an_attribute_without_value_unsets_it() -> None:
    assert format_attributes({"pmin": "10", "gt": None}) == ["pmin=10", "gt"]


def test_what_a_device_shows_is_read_as_far_as_it_can_be() -> None:
    shown = (("pmin", "10"), ("gt", "-3.5"), ("lt", "much"), ("dim", "3"), ("st", None), ("pmax", "-1"))
    assert parse_attributes(shown) == {"pmin": 10, "gt": -3.5}


def test_attributes_are_inherited_from_the_levels_above() -> None:
    links = parse_links(b"</3>;pmin=5;pmax=60,</3/0>;pmin=10,</3/0/9>;gt=80,</3/0/1>;pmin=1,</4>;pmin=99")
    assert effective_attributes(links, Path(3, 0, 9)) == {"pmin": 10, "pmax": 60, "gt": 80}


def test_inherited_attributes_below_an_alternate_path() -> None:
    links = parse_links(b'</lwm2m>;rt="oma.lwm2m",</lwm2m/3/0/9>;pmin=7')
    assert effective_attributes(links, Path(3, 0, 9), "/lwm2m") == {"pmin": 7}


def test_each_version_has_its_attributes() -> None:
    check_attributes({"edge": "1", "con": "0", "hqmax": "10"}, version="1.2")
    check_attributes({"epmin": "1"}, version="1.1")
    for attributes, version in (({"epmin": "1"}, "1.0"), ({"edge": "1"}, "1.1"), ({"con": None}, "1.1")):
        with pytest.raises(AttributesError, match="leave"):
            check_attributes(attributes, version=version)


@pytest.mark.parametrize(
    ("attributes", "path"),
    [
        ({"gt": "5"}, Path(3303, 0)),
        ({"st": "5"}, Path(3)),
        ({"edge": "1"}, Path(3, 0)),
        ({"gt": "5"}, Path(3, 0, 0)),  # a text
        ({"edge": "1"}, Path(3, 0, 9)),  # a number
        ({"con": "yes"}, Path(3)),
        ({"hqmax": "-1"}, Path(3)),
        ({"edge": "2"}, Path(3, 0, 9)),
    ],
)
def test_thresholds_belong_to_one_value_of_the_right_type(attributes: dict[str, str], path: Path) -> None:
    with pytest.raises(AttributesError):
        check_attributes(attributes, path=path, model=MODEL)


def test_what_has_no_model_is_let_pass() -> None:
    check_attributes({"gt": "5", "edge": "0"}, path=Path(31000, 0, 1), model=MODEL)
    check_attributes({"pmin": "5", "con": "1"}, path=Path(3303), model=MODEL)
    check_attributes({"gt": "5"}, path=Path(3, 0, 7, 0), model=MODEL)
