"""What is checked of a plan before anything is sent: known macros, arguments that fit, values that the goal states, nothing left out."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heddle.errors import Code, MacroFailure
from heddle.macros.marks import given_fields
from heddle.macros.quantities import converted
from heddle.macros.validation import problems as misfits
from heddle.macros.validation import validator_of
from heddle.planning.chaining import chained
from heddle.planning.coverage import uncovered
from heddle.planning.goal import Asked
from heddle.planning.grounding import Grounded, Heard, ground
from heddle.planning.offer import Offer, Offers
from heddle.planning.plan import NOVEL_PREFIX, PlannedCall, Review, Value
from heddle.planning.words import unwrapped

_LONGEST_GIVEN: Final = 16_000
"""Characters, as JSON, of a context value that can cover literals of the goal: a document holds any number, and long ones take seconds."""
_SHOWN: Final = 80
"""Characters of a value that a problem quotes."""


def review(calls: Sequence[PlannedCall], offers: Offers, asked: Asked, max_tasks: int, categories: Collection[str] = ()) -> Review:
    """Look at a plan as a whole; a plan goes out whole or not at all.

    Problems come in this order: what the planner must never set, too many tasks, tasks that need each other's results, values that
    nobody stated, literals of the goal that are left out (all `unsafe_plan`); then what makes it no plan (`no_plan`).

    Args:
        calls: as the planner answered them.
        offers: what can be planned.
        asked: the goal.
        max_tasks: how many calls are allowed, once identical ones are merged.
        categories: names of novel goals' categories; a call of `novel:<name>` has no arguments and covers the whole goal.
    """
    heard = Heard(asked)
    looked_at = [_look(call, offers, heard, categories) for call in calls]
    good = [look for look in looked_at if isinstance(look, _Good)]
    bad = list(dict.fromkeys(look for look in looked_at if isinstance(look, _Bad)))
    first: dict[str, _Good] = {}
    for look in good:
        first.setdefault(look.key, look)
    merged = list(first.values())
    left_out = () if bad or any(look.macro is None for look in merged) else _uncovered(good, asked, len(merged))
    return Review(
        calls=tuple(look.call for look in merged),
        values=tuple(value for look in merged for value in look.values),
        defaulted=tuple((look.call.macro, name) for look in merged for name in look.defaults),
        uncovered=left_out,
        merged=len(good) - len(merged),
        problems=(
            *((look.code, look.problem) for look in bad if look.code is Code.UNSAFE_PLAN),
            *((Code.UNSAFE_PLAN, problem) for problem in _of_the_whole(merged, asked, max_tasks)),
            *((Code.UNSAFE_PLAN, problem) for look in merged for problem in look.problems),
            *((Code.UNSAFE_PLAN, problem) for problem in _of_coverage(left_out)),
            *((look.code, look.problem) for look in bad if look.code is not Code.UNSAFE_PLAN),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Bad:
    """A call that cannot be sent whatever the goal says, and why."""

    code: Code
    problem: str


@dataclass(frozen=True, slots=True)
class _Good:
    """A call that can be sent, if the goal states what it should.

    Attributes:
        call: as it is to be sent.
        macro: None for a novel goal.
        key: the same for identical calls.
        used: what the planner stated and code filled in, as JSON values; documents aside.
        defaults: the macro's own values for what is left out, by field.
        values: each with its ground.
        words: how else the goal may state them.
        problems: values that nobody stated.
    """

    call: PlannedCall
    macro: Offer | None
    key: str
    used: Mapping[str, Any]
    defaults: Mapping[str, Any]
    values: tuple[Value, ...] = ()
    words: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def _look(call: PlannedCall, offers: Offers, heard: Heard, categories: Collection[str]) -> _Good | _Bad:
    if call.macro.startswith(NOVEL_PREFIX) and call.macro.removeprefix(NOVEL_PREFIX) in categories:
        if call.arguments:
            return _Bad(Code.NO_PLAN, f"{call.macro}: a novel goal goes out as it is: its call has no arguments")
        return _Good(call, None, call.macro, {}, {})
    macro = offers.find(call.macro)
    if macro is None:
        return _Bad(Code.NO_PLAN, f"the plan names a macro that does not exist: {_shown(call.macro)}")
    try:
        return _look_at_arguments(macro, call.arguments, heard)
    except RecursionError:
        return _Bad(Code.NO_PLAN, f"{macro.name}: its arguments are nested too deep")


def _look_at_arguments(macro: Offer, stated: dict[str, Any], heard: Heard) -> _Good | _Bad:
    for name in stated:
        if name in macro.hidden:
            remedy = f"submit the task yourself: heddle task {macro.name} --payload JSON"
            return _Bad(Code.UNSAFE_PLAN, f"{macro.name}.{name}: only a person may set it; {remedy}")
    fields: Mapping[str, Any] = macro.schema.get("properties", {})
    keys = given_fields(macro.schema)
    for name in (name for name in stated if name in keys):
        return _Bad(
            Code.UNSAFE_PLAN,
            f"{macro.name}.{name}: it comes from the goal's context, never from the planner; give it with --context {keys[name]}=…",
        )
    given = {name: heard.asked.context[key] for name, key in keys.items() if heard.asked.context.get(key) is not None}
    for name in (name for name in macro.schema.get("required", ()) if name in keys and name not in given):
        told = f"it comes from the goal's context, which has no {keys[name]!r}; give it with --context {keys[name]}=…"
        return _Bad(Code.NO_PLAN, f"{macro.name}.{name}: {told}")
    used = {**stated, **given}
    try:
        sent = converted(used, macro.schema, heard.asked.now)
        macro.read(sent)
    except (ValueError, MacroFailure) as error:
        return _Bad(Code.NO_PLAN, _of_the_context(macro, given, keys, heard) or f"{macro.name}: {error}")
    for name in (name for name in stated if name not in fields):
        return _Bad(Code.NO_PLAN, f"{macro.name}.{name}: there is no such field; see heddle macros show {macro.name}")
    left_out = fields.keys() - used.keys() - macro.hidden
    defaults = {name: part["default"] for name, part in fields.items() if name in left_out and "default" in part}
    values = ground(macro.name, macro.schema, stated, sent, heard)
    return _Good(
        call=PlannedCall(macro.name, sent),
        macro=macro,
        key=f"{macro.name} {json.dumps(sent, sort_keys=True)}",
        used={**stated, **{name: value for name, value in given.items() if len(json.dumps(value, default=str)) <= _LONGEST_GIVEN}},
        defaults=defaults,
        values=(*(one.value for one in values), *(Value(macro.name, name, None, sent[name], "given") for name in given)),
        words=tuple(word for one in values if one.value.ground == "goal" for word in one.words),
        problems=tuple(
            _ungrounded(one) for one in values if one.value.ground == "ungrounded" and not (one.choice and macro.effects == "none")
        ),
    )


def _of_the_context(macro: Offer, given: Mapping[str, Any], keys: Mapping[str, str], heard: Heard) -> str | None:
    """Why a macro does not take what the goal's context gives; None if it is not for that."""
    for name, value in given.items():
        part = {**macro.schema["properties"][name], "$defs": macro.schema.get("$defs", {})}
        try:
            wrong = misfits(validator_of(part), converted({name: value}, macro.schema, heard.asked.now)[name])
        except ValueError as error:
            wrong = str(error)
        if wrong:
            told = wrong.removeprefix("the value: ").removeprefix(f"{name}: ")
            return f"{macro.name}.{name}: the context's {keys[name]!r} does not fit: {told}; give it with --context {keys[name]}=…"
    return None


def _ungrounded(one: Grounded) -> str:
    default = "" if one.default is None else f", or leave it to its default, {one.default}"
    named = "name it there by its word, or by one that the macro declares for it" if one.choice else "state it there"
    return f"{one.value.macro}.{one.value.field}: {_shown(one.value.stated)} is not in the goal; {named}{default}"


def _of_the_whole(merged: Sequence[_Good], asked: Asked, max_tasks: int) -> Iterator[str]:
    if len(merged) > max_tasks:
        yield f"the plan has {len(merged)} tasks; at most {max_tasks} are allowed (planner.max_tasks)"
    if len(merged) > 1 and (words := chained(unwrapped(asked.instruction))):
        remedy = "write a parent macro that calls both (docs/how-to/compose-macros.md), or submit two goals, one after the other"
        yield f"no task sees another's result, and the goal asks for it with {_shown(words)}; {remedy}"


def _uncovered(good: Sequence[_Good], asked: Asked, calls: int) -> tuple[str, ...]:
    used = [value for look in good for value in (*look.used.values(), *look.defaults.values())]
    words = [word for look in good for word in look.words]
    return uncovered(unwrapped(asked.instruction), used, words, [look.macro for look in good if look.macro], calls)


def _of_coverage(left_out: Sequence[str]) -> Iterator[str]:
    if left_out:
        shown = ", ".join(map(_shown, left_out[:8])) + (f" and {len(left_out) - 8} more" if len(left_out) > 8 else "")
        yield f"no argument uses {shown}, which the goal states; reword the goal so that a macro takes every part of it, or leave that out"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
