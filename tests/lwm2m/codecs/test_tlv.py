"""TLV, content format 11542 (LwM2M C §7.4.5), in bytes put together by its table."""

from __future__ import annotations

import math
import struct

import pytest

from appliance.lwm2m.codecs import CodecError, decode, encode
from appliance.lwm2m.codecs.tlv import element, elements
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report

DEVICE = bytes.fromhex(
    "C80014" + b"Open Mobile Alliance".hex()  # /0: 8-bit length
    + "C80116" + b"Lightweight M2M Client".hex()
    + "C80209" + b"345000123".hex()
    + "C303" + b"1.0".hex()  # /3: length in the type byte
    + "8606" + "410001" + "410105"  # /6: two resource instances
    + "880708" + "42000ED8" + "42011388"  # /7: 3800 and 5000 mV
    + "8708" + "41007D" + "42010384"  # /8: 125 and 900 mA
    + "C10964"  # /9: 100 %
    + "C10A0F"
    + "830B" + "410000"  # /11: one instance
    + "C40D" + "5182428F"
    + "C60E" + b"+02:00".hex()
    + "C110" + b"U".hex()
)  # fmt: skip
DEVICE_VALUES = {
    "/3/0/0": "Open Mobile Alliance",
    "/3/0/1": "Lightweight M2M Client",
    "/3/0/2": "345000123",
    "/3/0/3": "1.0",
    "/3/0/6/0": 1,
    "/3/0/6/1": 5,
    "/3/0/7/0": 3800,
    "/3/0/7/1": 5000,
    "/3/0/8/0": 125,
    "/3/0/8/1": 900,
    "/3/0/9": 100,
    "/3/0/10": 15,
    "/3/0/11/0": 0,
    "/3/0/13": 1367491215,
    "/3/0/14": "+02:00",
    "/3/0/16": "U",
}


def values(reports: list[Report]) -> dict[str, object]:
    assert all(report.modelled and report.at is None for report in reports)
    return {str(report.path): report.value for report in reports}


def test_device_object_of_the_specification(model) -> None:
    assert len(DEVICE) == 121
    reports = decode(11542, DEVICE, Path(3, 0), model)
    assert values(reports) == DEVICE_VALUES
    assert encode(11542, Path(3, 0), reports, model) == DEVICE


def test_device_object_in_its_instance_wrapper(model) -> None:
    wrapped = bytes.fromhex("080079") + DEVICE
    assert values(decode(11542, wrapped, Path(3), model)) == DEVICE_VALUES
    assert values(decode(11542, wrapped, Path(3, 0), model)) == DEVICE_VALUES
    assert encode(11542, Path(3), decode(11542, wrapped, Path(3), model), model) == wrapped


def test_instances_with_long_ids_and_lengths(model) -> None:
    double = element(3, 300, struct.pack(">d", 1.1))
    assert double[:4].hex() == "e8012c08"
    payload = element(0, 0, element(3, 0, b"A")) + element(0, 3, b"") + element(0, 256, double)
    assert payload.hex().startswith("0300c1004100032801000c")
    assert values(decode(11542, payload, Path(32800), model)) == {"/32800/0/0": "A", "/32800/256/300": 1.1}


@pytest.mark.parametrize(
    ("length", "header"),
    [(0, "c005"), (7, "c705"), (8, "c80508"), (255, "c805ff"), (256, "d0050100"), (65535, "d005ffff"),
     (65536, "d805010000")],
)  # fmt: skip
def test_header_of_every_length(model, length: int, header: str) -> None:
    value = bytes(length)
    payload = element(3, 5, value)
    assert payload[: len(payload) - length].hex() == header
    assert decode(11542, payload, Path(32800, 0), model) == [Report(Path(32800, 0, 5), value, None, True)]


def test_longest_value_has_a_bound() -> None:
    with pytest.raises(CodecError):
        element(3, 5, bytes(1 << 24))


INTEGERS = [
    (1, "00", 0), (1, "7f", 127), (1, "80", -128), (1, "ff", -1),
    (1, "7fff", 32767), (1, "8000", -32768), (1, "ff7f", -129),
    (1, "7fffffff", 2147483647), (1, "80000000", -2147483648),
    (1, "7fffffffffffffff", (1 << 63) - 1), (1, "8000000000000000", -(1 << 63)),
    (2, "ff", 255), (2, "ffff", 65535), (2, "ffffffff", 4294967295), (2, "ffffffffffffffff", (1 << 64) - 1),
    (6, "5182428f", 1367491215), (6, "00000000ffffffff", 4294967295),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "text", "value"), INTEGERS)
def test_trap_28_integers_of_1_2_4_8_bytes_signed_and_unsigned(
    model, resource: int, text: str, value: int
) -> None:
    path = Path(32800, 0, resource)
    payload = element(3, resource, bytes.fromhex(text))
    assert decode(11542, payload, path, model) == [Report(path, value, None, True)]
    again = encode(11542, path, [Report(path, value, None, True)], model)
    assert decode(11542, again, path, model) == [Report(path, value, None, True)]
    assert len(again) <= len(payload)


@pytest.mark.parametrize("text", ["", "000001", "0000000001", "000000000000000001"])
def test_integers_of_other_lengths_are_kept_raw(model, text: str) -> None:
    raw = bytes.fromhex(text)
    for resource in (1, 2, 6):
        path = Path(32800, 0, resource)
        assert decode(11542, element(3, resource, raw), path, model) == [Report(path, raw, None, False)]


def test_floats_of_4_and_8_bytes(model) -> None:
    path = Path(32800, 0, 3)
    for raw in (struct.pack(">f", 21.5), struct.pack(">d", 21.5)):
        assert decode(11542, element(3, 3, raw), path, model) == [Report(path, 21.5, None, True)]
    assert encode(11542, path, [Report(path, 21.5, None, True)], model).hex() == "c40341ac0000"
    assert encode(11542, path, [Report(path, 1.1, None, True)], model).hex() == "c803083ff199999999999a"
    nan = struct.pack(">f", math.nan)
    assert decode(11542, element(3, 3, nan), path, model) == [Report(path, nan, None, False)]


def test_other_types(model) -> None:
    def read(resource: int, raw: bytes) -> tuple[object, bool]:
        (report,) = decode(11542, element(3, resource, raw), Path(32800, 0, resource), model)
        return report.value, report.modelled

    assert read(0, "Grüße".encode()) == ("Grüße", True)
    assert read(0, b"\xff") == (b"\xff", False)
    assert read(4, b"\1") == (True, True)
    assert read(4, b"\0") == (False, True)
    assert read(4, b"\2") == (b"\2", False)
    assert read(5, b"") == (b"", True)
    assert read(7, bytes.fromhex("00030000")) == (ObjectLink(3, 0), True)
    assert read(7, bytes.fromhex("000300")) == (b"\0\3\0", False)
    assert read(8, b"</3/0>") == ("</3/0>", True)
    assert read(9, b"") == (b"", False)


def test_unknown_object_and_resource_are_kept_raw(model) -> None:
    assert decode(11542, element(3, 77, b"abc"), Path(3, 0), model) == [
        Report(Path(3, 0, 77), b"abc", None, False)
    ]
    payload = element(0, 4, element(2, 1, element(1, 9, b"\1\2")))
    assert decode(11542, payload, Path(4242), model) == [Report(Path(4242, 4, 1, 9), b"\1\2", None, False)]


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ("/", "c10041"),  # TLV cannot name objects
        ("/32800/0", "c1"),
        ("/32800/0", "c2"),
        ("/32800/0", "c20041"),
        ("/32800/0", "c80041"),
        ("/32800/0", "e100"),
        ("/32800/0", "d000ff"),
        ("/32800/0", "d8000000"),
        ("/32800/0", "c1004100"),
        ("/32800/0", "0103c10041"),  # another length inside than the wrapper has
        ("/32800/0", "0301c10041"),  # another instance
        ("/32800/0", "410001"),  # a resource instance without its resource
        ("/32800", "c10041"),  # a resource of an object with instances, of which?
        ("/32800", "0300410001"),
        ("/32800", "05020300c10041"),
        ("/32800/0", "830ac10041"),
        ("/32800/0", "820a4100"),
        ("/32800/0/0", "c10141"),
        ("/32800/0/10", "830b410041"),
        ("/32800/0/10/1", "410041"),
        ("/32800/0/10/1", "830a410041"),
    ],
)
def test_broken_or_misplaced_elements_are_one_error(model, base: str, text: str) -> None:
    with pytest.raises(CodecError):
        decode(11542, bytes.fromhex(text), Path.parse(base), model)


def test_elements_fill_their_range_exactly() -> None:
    assert elements(bytes.fromhex("c10041c000"), 0, 5) == [(3, 0, 2, 3), (3, 0, 5, 5)]
    with pytest.raises(CodecError):
        elements(bytes.fromhex("c10041c000"), 0, 4)


def test_writing_an_object_wraps_its_instances(model) -> None:
    reports = [Report(Path(32800, 1, 0), "A", None, True), Report(Path(32800, 2, 4), True, None, True)]
    assert encode(11542, Path(32800), reports, model).hex() == "0301c100410302c10401"


def test_create_without_an_instance_id_is_not_wrapped(model) -> None:
    reports = [Report(Path(32800, 65535, 0), "A", None, True)]
    assert encode(11542, Path(32800), reports, model).hex() == "c10041"
    assert encode(11542, Path(32800, 65535), reports, model).hex() == "c10041"


def test_ets_215_and_1630_payloads(model) -> None:
    """The bytes the ETS prints: Write of /1/0 resources 2, 3, 5, 6, 7; ids and lengths of int-1630."""
    kept = decode(11542, bytes.fromhex("C10265C20303F2C20507D0C10601C10755"), Path(1, 0), model)
    assert [(str(r.path), r.value, r.modelled) for r in kept] == [
        ("/1/0/2", b"\x65", False), ("/1/0/3", b"\x03\xf2", False), ("/1/0/5", b"\x07\xd0", False),
        ("/1/0/6", b"\x01", False), ("/1/0/7", b"U", False),
    ]  # fmt: skip
    assert encode(11542, Path(1, 0), kept, model).hex() == "c10265c20303f2c20507d0c10601c10755"


def test_what_cannot_be_written_is_one_error(model) -> None:
    one = Report(Path(32800, 0, 0), "A", None, True)
    half = Report(Path(32800, 0, 6), 1.5, None, True)
    mixed = [Report(Path(32800, 0, 11), 1, None, True), Report(Path(32800, 0, 11, 0), 1, None, True)]
    for base, reports in (
        (Path(), [one]),
        (Path(32800, 1), [one]),
        (Path(32800, 0), [one, one]),
        (Path(32800, 0), [half]),
        (Path(32800, 0), mixed),
        (Path(32800, 0), mixed[::-1]),
        (Path(32800, 0), [Report(Path(32800, 0), 1, None, False)]),
    ):
        with pytest.raises(CodecError):
            encode(11542, base, reports, model)
