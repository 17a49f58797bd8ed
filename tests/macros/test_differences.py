"""The first difference of two JSON values, told with its place."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.macros.differences import difference

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def told(expected: Any, found: Any) -> str:
    differs = difference(expected, found)
    assert differs is not None
    return differs.told()


@given(VALUES)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert difference(value, value) is None


@given(VALUES, VALUES)
def test_values_differ_one_way_if_they_differ_the_other(one: Any, other: Any) -> None:
    assert (difference(one, other) is None) == (difference(other, one) is None)


def test_the_order_of_keys_is_no_difference() -> None:
    assert difference({"a": 1, "b": 2}, {"b": 2, "a": 1}) is None


@pytest.mark.parametrize(
    ("expected", "found", "way", "values"),
    [
        (1, 2, "output", ("1", "2")),
        (1, 1.0, "output", ("1", "1.0")),
        (1, True, "output", ("1", "true")),
        ("1", 1, "output", ('"1"', "1")),
        (None, {}, "output", ("null", "{}")),
        ({}, [], "output", ("{}", "[]")),
        ({"a": 1}, {}, "output.a", ("1", "nothing")),
        ({}, {"a": 1}, "output.a", ("nothing", "1")),
        ({"a": None}, {}, "output.a", ("null", "nothing")),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "output.a.b", ("1", "2")),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "output.a[1].b", ("2", "3")),
        ([1, 2, 3], [1, 5, 6], "output[1]", ("2", "5")),
        (1.0, math.inf, "output", ("1.0", "Infinity")),
    ],
)
def test_the_first_difference_is_told_in_three_lines(expected: Any, found: Any, way: str, values: tuple[str, str]) -> None:
    assert told(expected, found).splitlines() == [f"{way} differs", f"  expected: {values[0]}", f"  found:    {values[1]}"]


def test_lists_of_unlike_length_say_so_where_they_differ_first() -> None:
    assert told({"a": [1, 2]}, {"a": [2]}).splitlines()[0] == "output.a[0] differs; output.a has 1 of 2 items"
    assert told([1], [1, 2]).splitlines() == ["output[1] differs; output has 2 of 1 items", "  expected: nothing", "  found:    2"]


def test_of_a_text_of_several_lines_the_first_line_that_differs_is_told() -> None:
    assert told("a\nb\nc\n", "a\nB\nc\n").splitlines() == ["output differs in line 2", '  expected: "b\\n"', '  found:    "B\\n"']
    assert told("a\n", "a\nb").splitlines() == ["output differs in line 2", "  expected: nothing", '  found:    "b"']


def test_of_a_long_value_the_stretch_that_differs_is_told() -> None:
    lines = told("x" * 400 + "1" + "y" * 400, "x" * 400 + "2" + "y" * 400).splitlines()
    assert [("1" in line or "2" in line, len(line) < 190) for line in lines[1:]] == [(True, True)] * 2


def test_both_values_can_be_called_otherwise() -> None:
    differs = difference(1, 2)
    assert differs is not None
    assert differs.told("first run", "second run").splitlines()[1:] == ["  first run:  1", "  second run: 2"]
