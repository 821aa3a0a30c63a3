"""Paths (OMA Core 1.1.1 §6.2)."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.lwm2m.path import Path, PathError

ids = st.integers(0, 65535)
paths = st.lists(ids, max_size=4).map(lambda one: Path(*one))


@pytest.mark.parametrize("text", ["/", "/3", "/3/0", "/3/0/9", "/3/0/7/1", "/65535/65535/65535/65535"])
def test_a_path_is_what_it_was_written_as(text: str) -> None:
    assert str(Path.parse(text)) == text


def test_a_path_knows_its_levels() -> None:
    path = Path.parse("/3/1/7/2")
    assert (path.object_id, path.instance_id, path.resource_id, path.resource_instance_id) == (3, 1, 7, 2)
    assert [one.level for one in (Path(), Path(3), Path(3, 0), Path(3, 0, 9), path)] == [0, 1, 2, 3, 4]
    assert Path(3).instance_id is None
    assert Path().object_id is None


@pytest.mark.parametrize(("text", "path"), [("3/0/9", "/3/0/9"), ("/3/0/", "/3/0"), ("", "/"), ("3", "/3")])
def test_a_missing_first_slash_and_one_at_the_end_are_let_pass(text: str, path: str) -> None:
    assert str(Path.parse(text)) == path


@pytest.mark.parametrize(
    "text",
    ["//", "/3//", "//3", "/3//0", "/x", "/3/0/-1", "/03", "/65536", "/1/2/3/4/5", "/٣", " /3", "/3 ", "/+3"],
)
def test_what_is_no_path_is_told(text: str) -> None:
    with pytest.raises(PathError, match=r"\w"):
        Path.parse(text)


@pytest.mark.parametrize(
    "numbers", [(65536,), (-1,), (3, None, 0), (None, 0), (3, 0, None, 1), ("3",), (True,), (3.0,)]
)
def test_numbers_that_are_no_path_are_told(numbers: tuple[object, ...]) -> None:
    with pytest.raises(PathError):
        Path(*numbers)  # type: ignore[arg-type]


def test_nothing_lies_below_a_resource_instance() -> None:
    with pytest.raises(PathError):
        Path(3, 0, 7, 1).child(0)


def test_nothing_lies_above_the_root() -> None:
    assert Path().parent is None


@given(paths, st.integers(0, 65535))
def test_a_child_has_its_parent(path: Path, child: int) -> None:
    if path.level < 4:
        below = path.child(child)
        assert below.parent == path
        assert path.contains(below)
        assert not below.contains(path)


@given(paths)
def test_a_path_survives_text_copies_and_pickles(path: Path) -> None:
    assert Path.parse(str(path)) == path
    assert copy.deepcopy(path) == path
    again = pickle.loads(pickle.dumps(path))
    assert again == path
    assert type(again) is Path
    assert path.contains(path)


@given(st.lists(paths))
def test_paths_sort_and_hash_as_their_numbers_do(several: list[Path]) -> None:
    assert sorted(several) == [Path(*one) for one in sorted(tuple(path) for path in several)]
    assert len(set(several)) == len({str(path) for path in several})


@given(st.text(max_size=40))
def test_any_text_is_a_path_or_a_path_error(text: str) -> None:
    with contextlib.suppress(PathError):
        assert Path.parse(text).level <= 4
