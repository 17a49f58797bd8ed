"""The first place at which two JSON values differ, told so that nobody has to look for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Final

Way = tuple[str | int, ...]
"""How one comes to a part of a JSON value: `("output", "results", 0)`."""

_LONGEST: Final = 160
_BEFORE: Final = 40


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()
"""Stands where a key or an item is missing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two values differ first, and what stands there in each.

    Attributes:
        note: what to know besides, such as the line of a text.
    """

    way: Way
    expected: Any
    found: Any
    note: str = ""

    def told(self, expected: str = "expected", found: str = "found") -> str:
        """Three lines: where, and the two values by these names."""
        width = max(len(expected), len(found)) + 1
        return (
            f"{spelled(self.way)} differs{self.note}\n"
            f"  {expected + ':':<{width}} {_cut(self.expected, self.found)}\n"
            f"  {found + ':':<{width}} {_cut(self.found, self.expected)}"
        )


def difference(expected: Any, found: Any, way: Way = ("output",)) -> Difference | None:
    """The first difference between two JSON values; None if there is none. A number is not equal to one of another type."""
    match expected, found:
        case dict(), dict():
            keys = dict.fromkeys((*expected, *found))
            pairs = ((difference(expected.get(key, NOTHING), found.get(key, NOTHING), (*way, key))) for key in keys)
            return next((told for told in pairs if told), None)
        case list(), list():
            pairs = (difference(*pair, (*way, at)) for at, pair in enumerate(zip_longest(expected, found, fillvalue=NOTHING)))
            told = next((told for told in pairs if told), None)
            if told and len(expected) != len(found):
                return replace(told, note=f"{told.note}; {spelled(way)} has {len(found)} of {len(expected)} items")
            return told
        case str(), str() if expected != found and "\n" in expected + found:
            lines = zip_longest(expected.splitlines(keepends=True), found.splitlines(keepends=True), fillvalue=NOTHING)
            number, (one, other) = next((number, pair) for number, pair in enumerate(lines, 1) if pair[0] != pair[1])
            return Difference(way, one, other, f" in line {number}")
        case _:
            return None if type(expected) is type(found) and expected == found else Difference(way, expected, found)


def spelled(way: Way) -> str:
    """A way as it is written: `output.results[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in way).removeprefix(".")


def _cut(value: Any, other: Any) -> str:
    """A value as JSON; of a long one the stretch that differs from the other."""
    text, against = _json(value), _json(other)
    if len(text) <= _LONGEST:
        return text
    same = next((at for at, (one, two) in enumerate(zip(text, against, strict=False)) if one != two), min(len(text), len(against)))
    start = max(0, min(same - _BEFORE, len(text) - _LONGEST))
    end = start + _LONGEST
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _json(value: Any) -> str:
    return repr(value) if value is NOTHING else json.dumps(value, ensure_ascii=False)
