"""How an argument of a call comes about: a constant, what the run is given, a part of an earlier result, or something made of these. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heddle.gate.sessions import Call

Way = tuple[str | int, ...]
"""The keys and places that lead to a part of a JSON value; the place `EACH` is every item of a list."""
EACH: Final = "*"


@dataclass(frozen=True, slots=True)
class Constant:
    """The same in every run."""

    value: Any


@dataclass(frozen=True, slots=True)
class Given:
    """What a run is given: the input's field of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Result:
    """A part of an earlier call's result."""

    call: int
    way: Way


@dataclass(frozen=True, slots=True)
class Text:
    """A text with other values in it."""

    parts: tuple[str | Given | Result, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list of so many items, each of them its own."""

    items: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with these keys."""

    fields: Mapping[str, Template]


@dataclass(frozen=True, slots=True)
class Entries:
    """An object whose keys are no names but values too."""

    entries: tuple[tuple[Template, Template], ...]


Template = Constant | Given | Result | Text | Items | Fields | Entries
"""How an argument comes about."""


def leaves_of(template: Template) -> Iterator[Constant | Given | Result]:
    """The values that a template is made of."""
    match template:
        case Constant() | Given() | Result():
            yield template
        case Text(parts):
            yield from (part for part in parts if not isinstance(part, str))
        case Items(items):
            for item in items:
                yield from leaves_of(item)
        case Fields(fields):
            for inner in fields.values():
                yield from leaves_of(inner)
        case Entries(entries):
            for key, value in entries:
                yield from leaves_of(key)
                yield from leaves_of(value)


def value_of(template: Template, given: Mapping[str, Any], run: Sequence[Call]) -> Any:
    """What a template comes to in a run, which was given these fields and made these calls."""
    match template:
        case Constant(value):
            return value
        case Given(name):
            return given[name]
        case Result(call, way):
            return at_way(run[call].result, way)
        case Text(parts):
            return "".join(part if isinstance(part, str) else str(value_of(part, given, run)) for part in parts)
        case Items(items):
            return [value_of(item, given, run) for item in items]
        case Fields(fields):
            return {name: value_of(inner, given, run) for name, inner in fields.items()}
        case Entries(entries):
            return {str(value_of(key, given, run)): value_of(inner, given, run) for key, inner in entries}


def at_way(value: Any, way: Way) -> Any:
    """What stands there in a JSON value; None where nothing does."""
    if not way:
        return value
    step, *rest = way
    match value:
        case list() if step == EACH:
            return [at_way(item, tuple(rest)) for item in value]
        case list() if isinstance(step, int) and step < len(value):
            return at_way(value[step], tuple(rest))
        case dict():
            return at_way(value.get(str(step)), tuple(rest))
        case _:
            return None
