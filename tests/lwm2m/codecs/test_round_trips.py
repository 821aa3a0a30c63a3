"""What we write, we read back as it was: every type, every format that can carry it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.lwm2m.codecs import decode, decode_composite, decode_send, encode
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import ObjectLink, Report, Value

if TYPE_CHECKING:
    from appliance.lwm2m.definitions import Model

ids = st.integers(0, 65535)
text = st.text(max_size=300)
VALUES: tuple[st.SearchStrategy[Value], ...] = (  # by the resource ids of the model
    text,
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(0, (1 << 64) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.binary(max_size=300),
    st.integers(-(1 << 40), 1 << 40),
    st.builds(ObjectLink, ids, ids),
    text,
)


@st.composite
def instances(draw: st.DrawFn) -> tuple[Path, list[Report]]:
    """Some resources of one instance, single and multiple, in the order of their ids."""
    base = Path(32800, draw(ids))
    reports: list[Report] = []
    for resource in sorted(draw(st.sets(st.integers(0, 8), max_size=6))):
        reports.append(Report(base.child(resource), draw(VALUES[resource]), None, True))
    for resource in sorted(draw(st.sets(st.integers(0, 8), max_size=4))):
        for instance in sorted(draw(st.sets(ids, min_size=1, max_size=4))):
            path = base.child(10 + resource).child(instance)
            reports.append(Report(path, draw(VALUES[resource]), None, True))
    return base, reports


def same(left: list[Report], right: list[Report]) -> bool:
    """Equal, with 1, 1.0 and True told apart and the sign of zero kept."""
    return left == right and all(
        type(a.value) is type(b.value)
        and (not isinstance(a.value, float) or math.copysign(1, a.value) == math.copysign(1, float(b.value)))
        for a, b in zip(left, right, strict=True)
    )


@given(case=instances())
@settings(max_examples=150)
@pytest.mark.parametrize("content_format", [110, 112, 11542, 11543, 11544])
def test_instances(model: Model, content_format: int, case: tuple[Path, list[Report]]) -> None:
    base, reports = case
    payload = encode(content_format, base, reports, model)
    assert same(decode(content_format, payload, base, model), reports)
    if reports and base.instance_id != 65535:  # for TLV that id means "of your choice"
        whole = encode(content_format, Path(32800), reports, model)
        assert same(decode(content_format, whole, Path(32800), model), reports)
    assert same(decode(content_format, payload, base, model, "/some/where", 1e9), reports)


@given(case=instances(), root=st.sampled_from(["", "/lwm2m", "/a/b", "d01", "/3gpp/0x"]))
@settings(max_examples=100)
@pytest.mark.parametrize("content_format", [110, 112, 11543])
def test_instances_under_an_alternate_path(
    model: Model, content_format: int, root: str, case: tuple[Path, list[Report]]
) -> None:
    base, reports = case
    payload = encode(content_format, base, reports, model, root)
    assert same(decode(content_format, payload, base, model, root), reports)


times = st.none() | st.integers(1 << 28, 253402300799).map(float) | st.floats(-1e6, -1).filter(bool)


@given(case=instances(), data=st.data())
@settings(max_examples=100)
@pytest.mark.parametrize("content_format", [110, 112, 11543])
def test_times(
    model: Model, content_format: int, case: tuple[Path, list[Report]], data: st.DataObject
) -> None:
    base, reports = case
    reports = [report._replace(at=data.draw(times)) for report in reports]
    payload = encode(content_format, base, reports, model)
    assert decode(content_format, payload, base, model) == reports


@given(data=st.data(), resource=st.integers(0, 8), multiple=st.booleans(), instance=ids)
@settings(max_examples=200)
@pytest.mark.parametrize("content_format", [0, 60, 110, 112, 11542, 11543, 11544])
def test_one_value(
    model: Model, content_format: int, data: st.DataObject, resource: int, multiple: bool, instance: int
) -> None:
    path = Path(32800, 1, 10 + resource, instance) if multiple else Path(32800, 1, resource)
    reports = [Report(path, data.draw(VALUES[resource]), None, True)]
    payload = encode(content_format, path, reports, model)
    assert same(decode(content_format, payload, path, model), reports)


@given(value=st.one_of(*VALUES))
@settings(max_examples=200)
@pytest.mark.parametrize("content_format", [60, 110, 112, 11544])
def test_formats_with_types_need_no_model(model: Model, content_format: int, value: Value) -> None:
    path = Path(4242, 0, 1)
    (report,) = decode(
        content_format, encode(content_format, path, [Report(path, value, None, False)], model), path, model
    )
    if isinstance(value, ObjectLink) and content_format in (60, 11544):
        assert report == Report(path, str(value), None, False)  # a link is a text there
    elif isinstance(value, float) and value.is_integer() and content_format == 110:
        assert float(report.value) == value  # type: ignore[arg-type]  # JSON has one kind of number
    else:
        assert same([report], [Report(path, value, None, False)])


@given(cases=st.lists(instances(), max_size=3, unique_by=lambda case: case[0]), gateway=st.booleans())
@settings(max_examples=100)
@pytest.mark.parametrize("content_format", [110, 112, 320, 322, 11544])
def test_composites(
    model: Model, content_format: int, cases: list[tuple[Path, list[Report]]], gateway: bool
) -> None:
    reports = [report for _, some in cases for report in some]
    root, prefix = ("/lwm2m/d01", "/d01") if gateway else ("/lwm2m", "")
    payload = encode(content_format, Path(), reports, model, root, prefix=prefix)
    if not reports and content_format in (320, 322):
        return  # a patch without records is none
    paths = [base for base, _ in cases]
    assert same(decode_composite(content_format, payload, paths, model, root), reports)
    if reports and content_format not in (320, 322):
        found = decode_send(content_format, payload, {"d01": model}, model, "/lwm2m")
        assert list(found) == [prefix.strip("/")] and same(found[prefix.strip("/")], reports)
