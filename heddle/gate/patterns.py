"""What the gate finds: sequences of calls, with every argument said to be a constant, a parameter, or a value of an earlier result. Values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from heddle.gate.mining import Run

STATED: Final = 0.5
"""The goals say a parameter if so many of them state its value."""

Way = tuple[str | int, ...]
"""The keys and places that lead to a part of a JSON value; the place `EACH` is every item of a list."""
EACH = "*"


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


Sort = Literal["boolean", "integer", "number", "enum", "path", "id", "pattern", "text", "list", "object", "mixed"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What sort of value a parameter takes.

    Attributes:
        choices: of an enum.
        least: of a number, the least that was seen; `most` likewise.
        pattern: of a path, an id or a pattern: a regular expression that all values match.
        items: of a list, or of an object's values: their kind, if all are of one.
    """

    sort: Sort
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str | None = None
    items: Kind | None = None

    def __str__(self) -> str:
        match self.sort:
            case "enum":
                return f"one of {', '.join(self.choices)}"
            case "integer" | "number":
                return f"{self.sort} {self.least:g} to {self.most:g}"
            case "list" if self.items:
                return f"list of {self.items}"
            case _:
                return f"{self.sort} {self.pattern}" if self.pattern else self.sort


@dataclass(frozen=True, slots=True)
class Parameter:
    """A field of the input.

    Attributes:
        seen: the values of the runs, in their order.
        stated: in what share of the runs that have a goal its words state the value.
        chosen: the call and the way to the list from which the value was taken in most runs, never the same item: somebody chose.
    """

    name: str
    kind: Kind
    seen: tuple[Any, ...]
    stated: float
    chosen: Result | None = None

    @property
    def is_stated(self) -> bool:
        """Do the goals say it?"""
        return self.stated >= STATED


@dataclass(frozen=True, slots=True)
class PatternCall:
    """One call of a pattern."""

    tool: str
    method: str
    arguments: Mapping[str, Template]
    optional: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What is called, such as `Forge.latest`."""
        return f"{self.tool}.{self.method}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that a call of a pattern ended in.

    Attributes:
        call: which of its calls.
        type: the error's class.
        times: how often.
        passed: how often the same call, made again in its session, gave a result.
        runs: where it ended a run: the calls before, and the one that failed.
    """

    call: int
    type: str
    times: int
    passed: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A sequence that sessions have in common, its calls in the order that they mostly have.

    Attributes:
        runs: where it was run, each with the calls in the pattern's order; those that fit its data flow.
        support: how many sessions.
    """

    calls: tuple[PatternCall, ...]
    parameters: tuple[Parameter, ...]
    runs: tuple[Run, ...]
    support: int
    failures: tuple[Failure, ...] = ()

    @property
    def name(self) -> str:
        """Its calls, as lists and allow-lists name it."""
        return " > ".join(call.name for call in self.calls)

    @property
    def methods(self) -> tuple[str, ...]:
        """What it calls, sorted: what it is known by, whatever the order."""
        return tuple(sorted(call.name for call in self.calls))
