"""What sort of value a parameter takes, from the values that were seen. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from heddle.gate.patterns import Kind
from heddle.planning.words import holds, normal

MOST_CHOICES: Final = 6
"""A text is one of some words if there are no more than these, and each came up `OFTEN` times on average."""
OFTEN: Final = 4
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_-][A-Za-z0-9]+)*")
_PATH: Final = re.compile(r"(?:\.{0,2}/)?(?:[\w.~@+-]+/)+[\w.~@+-]+|[\w.~@+-]+\.[A-Za-z][A-Za-z0-9]{0,4}|\.{0,2}/[\w.~@+/-]*")
_DOTTED: Final = re.compile(r".*(?:\.[A-Za-z][A-Za-z0-9]{0,4}|/)|\.{0,2}/.*")
_IDS: Final = (
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    r"[0-9a-f]{7,64}",
    r"[A-Z][A-Z0-9]+-[0-9]+",
    r"[a-z]{1,8}[-_][0-9a-f]{4,40}",
    r"[a-z]{1,3}[0-9]{3,}",
    r"[0-9]{4,}",
    r"#?[0-9]+",
)
_RUNS: Final = re.compile(r"[0-9]+|[a-z]+|[A-Z]+|[^0-9a-zA-Z]")
_CLASS: Final = (("[0-9]+", re.compile("[0-9]+")), ("[a-z]+", re.compile("[a-z]+")), ("[A-Z]+", re.compile("[A-Z]+")))


def kind_of(values: Sequence[Any]) -> Kind:
    """The kind that all of these values have."""
    if all(isinstance(value, bool) for value in values):
        return Kind("boolean")
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return Kind("integer", least=min(values), most=max(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return Kind("number", least=min(values), most=max(values))
    if all(isinstance(value, str) for value in values):
        return _text_kind(values)
    if all(isinstance(value, list) for value in values):
        return Kind("list", items=_items(item for value in values for item in value))
    if all(isinstance(value, dict) for value in values):
        return Kind("object", items=_items(inner for value in values for inner in value.values()))
    return Kind("mixed")


def _items(values: Iterable[Any]) -> Kind | None:
    there = list(values)
    kind = kind_of(there) if there else None
    return None if kind is None or kind.sort in {"mixed", "object"} else kind


def _text_kind(values: Sequence[str]) -> Kind:
    distinct = sorted(set(values))
    if len(distinct) <= MOST_CHOICES and len(values) >= OFTEN * len(distinct) and all(_WORD.fullmatch(value) for value in distinct):
        return Kind("enum", choices=tuple(distinct))
    for pattern in _IDS:
        if all(re.fullmatch(pattern, value) for value in distinct):
            return Kind("id", pattern=f"^{pattern}$")
    if all(_PATH.fullmatch(value) for value in distinct) and all(_DOTTED.fullmatch(value) for value in distinct):
        return Kind("path")
    common = _common_pattern(distinct)
    return Kind("pattern", pattern=common) if common else Kind("text")


def _common_pattern(values: Sequence[str]) -> str | None:
    """The regular expression of texts that have the same marks in the same places, such as `v1.2.3` and `acme/checkout`; None if none."""
    if any(" " in value or not value or not value.isascii() or not value.isprintable() for value in values):
        return None
    marks = {tuple(re.findall(r"[^\w.-]", value)) for value in values}
    if len(marks) == 1 and (there := next(iter(marks))):
        return f"^{''.join(f'[A-Za-z0-9_.-]*{_escaped(mark)}' for mark in there)}[A-Za-z0-9_.-]*$"
    columns = list(zip(*map(_RUNS.findall, values), strict=False))
    if any(len(_RUNS.findall(value)) != len(columns) for value in values) or not any(len(set(column)) == 1 for column in columns):
        return None
    parts = [_column(column) for column in columns]
    return None if None in parts else f"^{''.join(part for part in parts if part)}$"


def _column(column: Sequence[str]) -> str | None:
    """What stands in one place of all texts: the same, or something of one sort; None if of several."""
    if len(set(column)) == 1:
        return "".join(map(_escaped, column[0]))
    return next((name for name, form in _CLASS if all(form.fullmatch(run) for run in column)), None)


def _escaped(mark: str) -> str:
    """A mark in a regular expression, without a backslash where that goes: some model servers take no escapes."""
    return f"\\{mark}" if mark in "^[]\\" else f"[{mark}]" if mark in ".$*+?(){}|" else mark


def states(goals: Sequence[str | None], values: Sequence[Any]) -> float:
    """In what share of the runs that have a goal its words state the value."""
    asked = [(goal, value) for goal, value in zip(goals, values, strict=True) if goal]
    return sum(is_stated(goal, value) for goal, value in asked) / len(asked) if asked else 0.0


def is_stated(goal: str, value: Any) -> bool:
    """Does a goal say this value, as the planner reads it: as words of its own, whatever their spelling?"""
    match value:
        case bool() | None | dict():
            return False
        case list():
            return bool(value) and all(is_stated(goal, item) for item in value)
        case _:
            return holds(normal(goal), normal(str(value)))
