"""CBOR, RFC 8949, and content format 60. cbor2 is the stranger that we must agree with."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from fractions import Fraction

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.lwm2m.codecs import CodecError, cbor, decode, encode
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report

EXAMPLES = [  # RFC 8949 Appendix A
    ("00", 0), ("17", 23), ("1818", 24), ("1903e8", 1000), ("1a000f4240", 1000000),
    ("1b000000e8d4a51000", 1000000000000), ("1bffffffffffffffff", 18446744073709551615),
    ("20", -1), ("3863", -100), ("3bffffffffffffffff", -18446744073709551616),
    ("f90000", 0.0), ("f93c00", 1.0), ("fb3ff199999999999a", 1.1), ("f93e00", 1.5), ("f97bff", 65504.0),
    ("fa47c35000", 100000.0), ("fa7f7fffff", 3.4028234663852886e38), ("fb7e37e43c8800759c", 1.0e300),
    ("f90001", 5.960464477539063e-8), ("f9c400", -4.0), ("f97c00", math.inf), ("f9fc00", -math.inf),
    ("f4", False), ("f5", True), ("f6", None), ("f7", None),
    ("c11a514b67b0", 1363896240), ("c1fb41d452d9ec200000", 1363896240.5),
    ("c074323031332d30332d32315432303a30343a30305a", 1363896240), ("d74401020304", b"\1\2\3\4"),
    ("40", b""), ("4401020304", b"\1\2\3\4"), ("60", ""), ("6449455446", "IETF"), ("62c3bc", "ü"),
    ("80", []), ("8301820203820405", [1, [2, 3], [4, 5]]), ("a0", {}), ("a201020304", {1: 2, 3: 4}),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("5f42010243030405ff", b"\1\2\3\4\5"), ("7f657374726561646d696e67ff", "streaming"), ("9fff", []),
    ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]), ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ("c249010000000000000000", None), ("c48221196ab3", 273.15), ("c5822003", 1.5),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), EXAMPLES)
def test_rfc8949_appendix_a(text: str, value: object) -> None:
    data = bytes.fromhex(text)
    if text.startswith("c249"):
        with pytest.raises(CodecError, match="64 bits"):
            cbor.loads(data)
        return
    read = cbor.loads(data)
    assert read == value and type(read) is type(value)


def test_rfc8949_nan_is_read() -> None:
    for text in ("f97e00", "fa7fc00000", "fb7ff8000000000000"):
        value = cbor.loads(bytes.fromhex(text))
        assert isinstance(value, float) and math.isnan(value)


MALFORMED = """
    18 1c 1f 19ff 61 6261 81 8201 a1 a101 5f 5f01ff 5f6161ff 5f5f4101ffff 7f4161ff 7f61c361bcff 61c3
    9f 9f01 bf bf01ff ff 81ff a1ff f8 f800 f818 e0 f0 0000 c161 c001 c0623230
    c06a323031332d31332d3332 c241 c40102 c4820120ff c48219ffff01 c1f6 a18001 a1a00001 a1820161610002
    9b7fffffffffffffff bb7fffffffffffffff 5bffffffffffffffff
"""


@pytest.mark.parametrize(
    "text",
    ["", *MALFORMED.split(), "81" * 40 + "00", "c6" * 40 + "00", "9f" * 40 + "ff" * 40],
)
def test_not_well_formed_or_not_used_is_one_error(text: str) -> None:
    with pytest.raises(CodecError):
        cbor.loads(bytes.fromhex(text))


plain = st.recursive(
    st.integers(-(1 << 64), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.none()
    | st.text(max_size=40)
    | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.integers(-100, 70000) | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=20,
)


def _depth(value: object) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


@given(plain)
def test_reads_what_cbor2_writes(value: object) -> None:
    if _depth(value) < cbor.MAX_DEPTH:
        assert cbor.loads(cbor2.dumps(value)) == value
        assert cbor.loads(cbor2.dumps(value, canonical=True)) == value


@given(plain)
def test_cbor2_reads_what_we_write(value: object) -> None:
    if _depth(value) < cbor.MAX_DEPTH:
        assert cbor2.loads(cbor.dumps(value)) == value
        assert cbor.loads(cbor.dumps(value)) == value


@given(st.binary(max_size=60))
def test_accepts_nothing_that_cbor2_calls_malformed(data: bytes) -> None:
    """What we read, cbor2 can read too (tags and types it has no use for aside)."""
    try:
        cbor.loads(data)
    except CodecError:
        return
    try:
        cbor2.loads(data)
    except cbor2.CBORDecodeEOF:
        pytest.fail(f"accepted a truncated item {data.hex()}")
    except cbor2.CBORDecodeError:
        return  # cbor2 builds dates, sets, regular expressions … from tags, we do not


@given(st.floats(allow_nan=False, width=16))
def test_half_floats(value: float) -> None:
    assert cbor.loads(b"\xf9" + struct.pack(">e", value)) == value


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1)))
def test_tagged_times_of_cbor2(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    seconds = int(moment.timestamp())
    assert cbor.loads(cbor2.dumps(moment)) == seconds  # tag 0
    assert cbor.loads(cbor2.dumps(moment, datetime_as_timestamp=True)) == seconds  # tag 1
    assert cbor2.loads(cbor.dumps(cbor.Seconds(seconds))) == moment


@given(st.integers(-400, 400), st.integers(-(1 << 64), (1 << 64) - 1))
def test_decimal_fractions(exponent: int, mantissa: int) -> None:
    value = cbor.loads(cbor2.dumps(cbor2.CBORTag(4, [exponent, mantissa])))
    exact = mantissa * Fraction(10) ** exponent
    if isinstance(value, int):
        assert value == exact
    elif math.isfinite(value):
        assert value == pytest.approx(float(exact), rel=1e-15)


def test_zephyr_times_with_unknown_offset() -> None:
    text = b"2020-01-01T00:00:00-00:00"
    assert cbor.loads(b"\xc0\x78\x19" + text) == 1577836800


def test_time_and_memory_do_not_follow_the_announced_size() -> None:
    for head in (b"\x9a", b"\xba", b"\x5a", b"\x7a"):
        with pytest.raises(CodecError):
            cbor.loads(head + b"\xff\xff\xff\xff" + b"\0" * 100)


def test_writes_the_shortest_form() -> None:
    assert cbor.dumps(23).hex() == "17"
    assert cbor.dumps(-25).hex() == "3818"
    assert cbor.dumps(21.5).hex() == "fa41ac0000"
    assert cbor.dumps(1.1).hex() == "fb3ff199999999999a"
    assert cbor.dumps([True, None, "a", b"b", {1: 2}]).hex() == "85f5f661614162a10102"
    for unfit in (1 << 64, -(1 << 64) - 1, object(), "\ud800"):
        with pytest.raises(CodecError):
            cbor.dumps(unfit)


def test_content_format_60_of_every_type(model) -> None:
    def read(resource: int, text: str) -> tuple[object, bool]:
        (report,) = decode(60, bytes.fromhex(text), Path(32800, 0, resource), model)
        return report.value, report.modelled

    assert read(0, "6141") == ("A", True)
    assert read(1, "3863") == (-100, True)
    assert read(1, "fa41a80000") == (21, True)
    assert read(1, "fa41ac0000") == (21.5, False)
    assert read(2, "1bffffffffffffffff") == (18446744073709551615, True)
    assert read(2, "20") == (-1, False)
    assert read(3, "15") == (21.0, True)
    assert read(3, "f97e00") == ("NaN", False)
    assert read(4, "f5") == (True, True)
    assert read(4, "00") == (False, True)
    assert read(4, "02") == (2, False)
    assert read(5, "42ff00") == (b"\xff\0", True)
    assert read(6, "c11a514b67b0") == (1363896240, True)
    assert read(6, "1a514b67b0") == (1363896240, True)
    assert read(7, "63333a30") == (ObjectLink(3, 0), True)
    assert read(8, "633c2f3e") == ("</>", True)
    assert read(9, "01") == (1, False)
    for not_one_value in ("80", "a0", "f6", ""):
        with pytest.raises(CodecError):
            read(0, not_one_value)


def test_content_format_60_writes(model) -> None:
    def write(resource: int, value: object) -> str:
        path = Path(32800, 0, resource)
        return encode(60, path, [Report(path, value, None, True)], model).hex()

    assert write(1, 1000) == "1903e8"
    assert write(3, 21) == "fa41a80000"
    assert write(6, 1363896240) == "c11a514b67b0"
    assert write(6, (1 << 62) + 1) == "c11b4000000000000001"
    assert write(7, ObjectLink(3, 0)) == "63333a30"
    assert write(5, b"\1") == "4101"
    for resource, unfit in ((1, "x"), (2, -1), (1, 1 << 63), (3, math.nan), (5, "text"), (9, 1)):
        with pytest.raises(CodecError):
            write(resource, unfit)


def test_a_key_that_is_given_twice_is_an_error() -> None:
    """RFC 8949 §5.6: such a map is not valid; also where Python alone takes two keys for one."""
    for payload in ("a200010002", "bf00010002ff", "a201010102", "a201f4f5f4", "a2616101616102"):
        with pytest.raises(CodecError, match="same key twice"):
            cbor.loads(bytes.fromhex(payload))


def test_an_array_as_a_key_is_a_path_perhaps_with_a_prefix() -> None:
    for key in ((3,), (3, 0, 7, 0), ("d01", 3, 0, 7, 0), ("d01",)):
        assert cbor.loads(cbor2.dumps({key: 1})) == {key: 1}
    for key in ((), (1, 2, 3, 4, 5, 6), (3, "d01"), (b"d01", 3), (3, True), (3, 0.5)):
        with pytest.raises(CodecError, match="key"):
            cbor.loads(cbor2.dumps({key: 1}))
