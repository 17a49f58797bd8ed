"""What a macro is given, and how people say it: the fields of its input, its examples, its phrases and its intent. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from heddle.gate.generalise import usual
from heddle.gate.kinds import is_stated
from heddle.gate.patterns import Parameter, Pattern
from heddle.gate.reading import Session
from heddle.gate.sessions import Call
from heddle.gate.shapes import Shape, shape_from

MOST_EXAMPLES: Final = 4
MOST_PHRASES: Final = 3
_SPECIAL: Final = re.compile(r"[()\[\]{}<>|\"“”„«»\\]")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the input."""

    parameter: Parameter
    shape: Shape
    required: bool
    default: Any = None
    decide: str | None = None


def field_of(parameter: Parameter, runs: Sequence[Sequence[Call]], pattern: Pattern, titles: set[str]) -> Field:
    """The field for a parameter; models of its values are noted in `titles`."""
    shape = shape_from(parameter.seen, f"{parameter.name} item", titles, exact=True)
    goals = any(call.goal for run in runs for call in run)
    default, times = usual(parameter.seen)
    if parameter.chosen is not None and not parameter.is_stated:
        source = pattern.calls[parameter.chosen.call]
        way = ".".join(map(str, parameter.chosen.way))
        return Field(parameter, shape, True, decide=f"whoever ran it chose this from the result of {source.name} ({way}): by what?")
    if not goals or parameter.is_stated:
        return Field(parameter, shape, True)
    if 2 * times >= len(parameter.seen):
        told = f"the goals do not say this; {times} of {len(parameter.seen)} runs had the default"
        return Field(parameter, shape, False, default, told)
    return Field(
        parameter,
        shape,
        True,
        decide="the goals do not say this; where does it come from? A text that is written anew in every run needs a rule",
    )


def examples_of(
    pattern: Pattern, fields: Sequence[Field], runs: Sequence[Sequence[Call]], sessions: Sequence[Session]
) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Goals and what they stand for: of sessions that did little else first, those in which the goal states the fields."""
    found: dict[str, tuple[int, int, dict[str, Any]]] = {}
    for number, run in enumerate(runs):
        goal = next((call.goal for call in run if call.goal), None)
        if goal is None or goal in found:
            continue
        beside = len(sessions[pattern.runs[number].session].calls) - len(run)
        unsaid = sum(one.required and not is_stated(goal, one.parameter.seen[number]) for one in fields)
        found[goal] = (unsaid, beside, _input(fields, number))
    best = sorted(found.items(), key=lambda item: item[1][:2])[:MOST_EXAMPLES]
    return tuple((goal, given) for goal, (_, _, given) in best)


def _input(fields: Sequence[Field], number: int) -> dict[str, Any]:
    """The input of a run, without what is the default anyway."""
    return {one.parameter.name: one.parameter.seen[number] for one in fields if one.required or one.parameter.seen[number] != one.default}


def _slotted(goal: str, fields: Sequence[Field], number: int) -> tuple[str, set[str]]:
    """A goal with slots in the place of what it states, and the fields that it states."""
    stated = set()
    told = goal
    by_length = sorted(fields, key=lambda one: -len(str(one.parameter.seen[number])))
    for one in by_length:
        value = one.parameter.seen[number]
        if isinstance(value, str | int | float) and not isinstance(value, bool) and is_stated(told, value):
            told, times = _put(f"{{{one.parameter.name}}}", value, told)
            stated |= {one.parameter.name} if times else set()
    return told, stated


def _put(name: str, value: Any, text: str) -> tuple[str, int]:
    """A text with a name in the place of a value, and in how many places: one, or none where it is spelled otherwise."""
    return re.subn(rf"(?<![\w-]){re.escape(str(value))}(?![\w-])", name, text, count=1, flags=re.IGNORECASE)


def phrases_of(fields: Sequence[Field], runs: Sequence[Sequence[Call]]) -> tuple[str, ...]:
    """Sentences that two goals or more have in common, with slots for the fields; those that leave nothing open."""
    counts: Counter[str] = Counter()
    goals = dict.fromkeys((call.goal, number) for number, run in enumerate(runs) for call in run[:1] if call.goal)
    required = {one.parameter.name for one in fields if one.required}
    for goal, number in goals:
        assert goal is not None  # noqa: S101  # for the type checker: only such goals are there
        if _SPECIAL.search(goal) or "\n" in goal:
            continue
        told, stated = _slotted(goal.strip().rstrip(".!?"), fields, number)
        others = [
            one for one in fields if not one.required and one.parameter.name not in stated and one.parameter.seen[number] != one.default
        ]
        if required <= stated and not others and not re.search(r"\}\s*\{", told):
            counts[told] += 1
    return tuple(phrase for phrase, times in counts.most_common(MOST_PHRASES) if times > 1)


def intent_of(pattern: Pattern, examples: Sequence[tuple[str, dict[str, Any]]], fields: Sequence[Field]) -> str:
    """A line for the planner: a goal with its values named, or what is called."""
    if not examples:
        return f"Call {', then '.join(call.name for call in pattern.calls)}."
    goal, given = examples[0]
    told = " ".join(goal.split())
    for one in sorted(fields, key=lambda one: -len(str(given.get(one.parameter.name, "")))):
        value = given.get(one.parameter.name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and is_stated(told, value):
            told, _ = _put(f"({one.parameter.name.replace('_', ' ')})", value, told)
    told = told.replace("\\", "").replace('"', "'").strip().rstrip(".!?")
    return f"{told[:1].upper()}{told[1:160]}."
