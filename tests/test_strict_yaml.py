"""What people write by hand: a key that stands twice is told, wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from heddle.strict_yaml import AsJson, Once


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3", 3),
        ("a:\n  b: 1\n  b: 2", 3),
        ("- {a: 1, a: 1}", 1),
        ("1: a\n0x1: b\n1: c", 3),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(text: str, line: int) -> None:
    for reader in (Once, AsJson):
        with pytest.raises(yaml.MarkedYAMLError, match="stands twice, first on line") as refused:
            yaml.load(text, reader)  # noqa: S506  # a SafeLoader
        assert refused.value.problem_mark is not None
        assert refused.value.problem_mark.line + 1 == line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: {b: 1}\nb: {b: 1}", {"a": {"b": 1}, "b": {"b": 1}}),
        ("base: &base {a: 1}\none: {<<: *base, a: 2}", {"base": {"a": 1}, "one": {"a": 2}}),
        ("1: a\n'1': b", {1: "a", "1": "b"}),
        ("", None),
    ],
)
def test_everything_else_is_read_as_ever(text: str, value: Any) -> None:
    assert yaml.load(text, Once) == yaml.load(text, AsJson) == value  # noqa: S506  # SafeLoaders


def test_a_date_is_the_text_that_it_is_in_json() -> None:
    assert yaml.load("2026-01-31", AsJson) == "2026-01-31"  # noqa: S506  # a SafeLoader
