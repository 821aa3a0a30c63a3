"""Which content format to try first (OMA Core 1.1.1 §7.4)."""

from __future__ import annotations

import pytest

from appliance.lwm2m.content_format import (
    CBOR,
    LWM2M_CBOR,
    OMA_JSON,
    OPAQUE,
    SENML_CBOR,
    SENML_JSON,
    TEXT,
    TLV,
    canonical,
    choose,
    choose_composite,
    empty_instance,
    is_structured,
)
from appliance.lwm2m.operations import Create, Observe, Read, Write
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report, Value

DEVICE, BATTERY = Path(3, 0), Path(3, 0, 9)


def write(path: Path, value: Value = 5, at: Path | None = None) -> Write:
    return Write(path, (Report(at or path, value, None, True),), True)


@pytest.mark.parametrize(
    ("old", "today"), [(1541, 0), (1542, 11542), (1543, 11543), (1544, 42), (112, 112), (7, 7)]
)
def test_numbers_of_the_drafts(old: int, today: int) -> None:
    assert canonical(old) == today


def test_formats_that_carry_several_values() -> None:
    numbers = (0, 40, 42, 60, 110, 112, 1542, 11542, 11543, 11544)
    assert tuple(number for number in numbers if is_structured(number)) == numbers[4:]


def test_the_version_decides_when_nothing_else_is_known() -> None:
    assert choose("1.0", (), None, DEVICE, Read(DEVICE)) == [TLV, OMA_JSON, None]
    assert choose("1.1", (), None, DEVICE, Observe(DEVICE)) == [SENML_CBOR, SENML_JSON, TLV, None]
    assert choose("1.2", (), None, DEVICE, Read(DEVICE)) == [SENML_CBOR, SENML_JSON, LWM2M_CBOR, TLV, None]


def test_what_the_client_registered_comes_first() -> None:
    assert choose("1.1", (0, 60, 11542, 110), None, DEVICE, Read(DEVICE))[:2] == [SENML_JSON, TLV]
    assert choose("1.0", (11543,), None, DEVICE, Read(DEVICE))[0] == OMA_JSON


def test_what_worked_last_comes_first() -> None:
    assert choose("1.1", (), TLV, DEVICE, Read(DEVICE))[0] == TLV
    assert choose("1.1", (110, 112), SENML_JSON, DEVICE, Read(DEVICE))[0] == SENML_JSON


def test_what_the_client_no_longer_lists_does_not_come_first() -> None:
    assert choose("1.1", (110,), TLV, DEVICE, Read(DEVICE))[0] == SENML_JSON


def test_a_single_value_that_worked_says_nothing_about_objects() -> None:
    assert choose("1.1", (), TEXT, DEVICE, Read(DEVICE))[0] == SENML_CBOR


def test_one_resource_can_be_read_without_structure_in_the_end() -> None:
    assert choose("1.1", (), None, BATTERY, Read(BATTERY))[-3:] == [TEXT, OPAQUE, None]


def test_one_value_is_written_as_text_or_bytes() -> None:
    assert choose("1.1", (110,), None, BATTERY, write(BATTERY))[0] == TEXT
    assert choose("1.1", (), None, BATTERY, write(BATTERY, b"\x00"))[0] == OPAQUE
    assert choose("1.0", (), None, BATTERY, write(BATTERY, b"\x00"))[:2] == [OPAQUE, TLV]


def test_one_value_for_a_1_0_client_is_written_as_tlv() -> None:
    assert choose("1.0", (), None, BATTERY, write(BATTERY)) == [TLV, OMA_JSON, TEXT]


def test_instances_are_never_written_as_text() -> None:
    for operation in (
        Write(DEVICE, (Report(BATTERY, 5, None, True),), False),
        write(BATTERY, 5, BATTERY.child(0)),
        Create(3303, 1, (Report(Path(3303, 1, 5700), 1.0, None, True),)),
    ):
        path = operation.path if isinstance(operation, Write) else Path(3303)
        candidates = choose("1.1", (), None, path, operation)
        assert candidates == [SENML_CBOR, SENML_JSON, TLV]


def test_an_instance_without_values_is_created_in_tlv_first() -> None:
    assert choose("1.1", (110,), None, Path(3303), Create(3303, 5))[:2] == [TLV, SENML_JSON]


@pytest.mark.parametrize(
    ("number", "instance", "payload"),
    [
        (TLV, Path(3303, 5), b"\x00\x05"),
        (1542, Path(3303, 300), b"\x20\x01\x2c"),
        (SENML_JSON, Path(3303, 5), b'[{"bn":"/x/3303/5/"}]'),
        (SENML_CBOR, Path(3303, 5), b"\x81\xa1\x21\x6a/x/3303/5/"),
        (SENML_CBOR, Path(65535, 65535), b"\x81\xa1\x21\x6f/x/65535/65535/"),
        (LWM2M_CBOR, Path(3303, 5), b"\xa1\x19\x0c\xe7\xa1\x05\xa0"),
        (OMA_JSON, Path(3303, 5), b'{"bn":"/x/3303/5/","e":[]}'),
    ],
)
def test_an_instance_without_values(number: int, instance: Path, payload: bytes) -> None:
    assert empty_instance(number, instance, "/x") == payload


def test_an_instance_without_values_below_a_long_root() -> None:
    assert empty_instance(SENML_CBOR, Path(3, 0), "/" + "r" * 127)[3:5] == b"\x78\x85"


def test_composites_are_senml_both_ways() -> None:
    assert choose_composite("1.1", (), None) == [(112, 112), (110, 110)]
    assert choose_composite("1.1", (110, 11542), None) == [(110, 110), (112, 112)]
    assert choose_composite("1.1", (), 110) == [(110, 110), (112, 112)]
    assert choose_composite("1.0", (), 11542) == [(112, 112), (110, 110)]


def test_the_etch_form_goes_first_where_the_client_lists_it() -> None:
    assert choose_composite("1.2", (112, 322), None)[:3] == [(322, 112), (112, 112), (110, 110)]
    assert choose_composite("1.2", (320,), None)[:3] == [(320, 110), (110, 110), (112, 112)]
    assert choose_composite("1.2", (110, 112, 320), 110)[:3] == [(320, 110), (110, 110), (112, 112)]
    assert choose_composite("1.1", (112, 322), None) == [(112, 112), (110, 110)]


def test_a_1_2_client_that_lists_nothing_is_asked_in_etch_in_the_end() -> None:
    """1.2.0 had no other form, and a client need not say which one it has (Core 1.2.1 §7.5.6)."""
    assert choose_composite("1.2", (), None) == [(112, 112), (110, 110), (322, 112), (320, 110)]


def test_lwm2m_cbor_answers_what_senml_asks() -> None:
    assert choose_composite("1.2", (322, 11544), None)[:4] == [
        (322, 112), (112, 112), (322, 11544), (112, 11544),
    ]  # fmt: skip
    assert choose_composite("1.2", (11544,), None)[0] == (112, 11544)
    assert choose_composite("1.2", (320, 11544), 11544)[:2] == [(320, 11544), (110, 11544)]
    assert all(11544 not in pair for pair in choose_composite("1.1", (11544,), 11544))
    assert all(11544 not in pair for pair in choose_composite("1.2", (), 11544))


def test_a_write_composite_may_be_lwm2m_cbor() -> None:
    assert choose_composite("1.2", (11544,), None, writes=True)[0] == (11544, 11544)
    assert choose_composite("1.2", (11544, 112, 322), None, writes=True)[:3] == [
        (322, 112), (112, 112), (11544, 11544),
    ]  # fmt: skip


def test_only_etch_removes() -> None:
    assert choose_composite("1.2", (), None, writes=True, removes=True) == [(322, 112), (320, 110)]
    assert choose_composite("1.2", (320,), None, writes=True, removes=True) == [(320, 110), (322, 112)]
    assert choose_composite("1.1", (110, 11544), None, writes=True, removes=True) == [(320, 110), (322, 112)]


def test_cbor_of_one_value_is_tried_where_it_is_listed() -> None:
    assert choose("1.1", (60,), None, BATTERY, Read(BATTERY))[-4:] == [CBOR, TEXT, OPAQUE, None]
    assert CBOR not in choose("1.1", (), None, BATTERY, Read(BATTERY))
    assert CBOR not in choose("1.1", (60,), None, DEVICE, Read(DEVICE))
    assert choose("1.1", (60,), None, BATTERY, write(BATTERY))[:2] == [TEXT, CBOR]


def test_trap_2_each_version_gets_its_own_formats() -> None:
    """TLV and the JSON of 1.0 go first to 1.0 only; to others TLV goes last, as Zephyr of 1.1 may need it."""
    first = {version: choose(version, (), None, DEVICE, Read(DEVICE)) for version in ("1.0", "1.1", "1.2")}
    assert first["1.0"][:2] == [TLV, OMA_JSON]
    for version in ("1.1", "1.2"):
        assert first[version][0] == SENML_CBOR and first[version][-2:] == [TLV, None]
        assert OMA_JSON not in first[version]
