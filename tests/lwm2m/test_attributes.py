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
        {"lt": "10", "gt": "20", "st": "4.9"},  # lt + 2 * st < gt, and not more
        {"st": "2"},
        {"edge": "0", "con": "1", "hqmax": "0"},
        {"edge": None, "con": None, "hqmax": None},
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
        ({"epmin": "10", "epmax": "10"}, "raise epmax or lower epmin"),
        ({"epmin": "0", "epmax": "0"}, "raise epmax or lower epmin"),
        ({"lt": "-10", "gt": "-20"}, "lower lt or raise gt"),
        ({"edge": "true"}, "write 0 or 1"),
        ({"con": "2"}, "write 0 or 1"),
        ({"hqmax": "many"}, "write how many"),
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


def test_every_attribute_may_stand_at_the_levels_it_has() -> None:
    """Core 1.2.1 Table 7.3.2-1: periods, con and hqmax anywhere, thresholds at one value."""
    everywhere = {"pmin": "1", "pmax": "2", "epmin": "1", "epmax": "2", "con": "0", "hqmax": "5"}
    for path in (Path(3), Path(3, 0), Path(3, 0, 7), Path(3, 0, 7, 0)):
        check_attributes(everywhere, path=path, model=MODEL)
    for path in (Path(3, 0, 7), Path(3, 0, 7, 0), Path(3, 0, 13)):
        check_attributes({"gt": "20", "lt": "10", "st": "1"}, path=path, model=MODEL)
    with pytest.raises(AttributesError, match="name one"):
        check_attributes({"pmin": "1"}, path=Path())


def test_edge_is_for_booleans() -> None:
    model = Model.of(Definitions.registered(), {1: "1.1"})
    check_attributes({"edge": "1"}, path=Path(1, 0, 6), model=model)
    with pytest.raises(AttributesError, match="gt is for numbers"):
        check_attributes({"gt": "1"}, path=Path(1, 0, 6), model=model)


def test_an_observe_composite_takes_what_an_object_could_have() -> None:
    check_attributes({"pmin": "1", "pmax": "9", "epmin": "1", "epmax": "2", "con": "1"}, composite=True)
    for name in ("gt", "lt", "st", "edge", "hqmax"):
        with pytest.raises(AttributesError, match=f"{name} cannot go with several paths"):
            check_attributes({name: "1"}, composite=True)


def test_leniency_a_device_shows_thresholds_in_its_own_way() -> None:
    shown = (("gt", "1e3"), ("lt", "-4.2E1"), ("st", "5."), ("edge", "1"), ("con", "0"), ("hqmax", "10"))
    assert parse_attributes(shown) == {"gt": 1000, "lt": -42, "st": 5, "edge": 1, "con": 0, "hqmax": 10}
    assert parse_attributes((("st", "0"), ("pmin", "1e3"), ("gt", "inf"))) == {"st": 0}
