"""A plan: the calls that a goal stands for, as the planner answers them and as they are checked before anything is sent."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from heddle.errors import Code, MacroFailure, PlanError
from heddle.planning.offer import Offers

UNSUPPORTED: Final = "unsupported"


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of a macro; `arguments` are what the goal states, without the macro's defaults."""

    macro: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a goal became.

    Attributes:
        calls: checked, and ready to be sent.
        planned_by: the model's name, or `phrases`.
        model_calls: how often a model was called for it.
        note: what a person should know of how it was planned; a remedy included.
        answer: the model's raw answer.
    """

    calls: tuple[PlannedCall, ...]
    planned_by: str
    model_calls: int
    note: str | None = None
    answer: str | None = None


def parse_answer(answer: str) -> tuple[PlannedCall, ...]:
    """Read what a model answered: `{"tasks": [{"macro": NAME, "arguments": {…}}, …]}`.

    Raises:
        PlanError: `no_plan` if it is not of that shape, `unsupported_goal` if the model says that no macro does this.
    """
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise PlanError(Code.NO_PLAN, f"the model's answer is not JSON: {error}", answer) from None
    match parsed:
        case {"tasks": [_, *_] as tasks, **rest} if not rest:
            calls = tuple(_call(task, answer) for task in tasks)
        case _:
            raise PlanError(Code.NO_PLAN, 'the model\'s answer is not {"tasks": [...]} with at least one task', answer)
    if any(call.macro == UNSUPPORTED for call in calls):
        raise PlanError(Code.UNSUPPORTED_GOAL, "the planner says that no macro does what the goal asks for", answer)
    return calls


def _call(task: Any, answer: str) -> PlannedCall:
    match task:
        case {"macro": str(name), **rest} if not rest:
            return PlannedCall(name, {})
        case {"macro": str(name), "arguments": dict(arguments), **rest} if not rest:
            return PlannedCall(name, arguments)
        case _:
            raise PlanError(Code.NO_PLAN, f"the model's answer has a task of another shape: {reprlib.repr(task)}", answer)


def check_plan(calls: Sequence[PlannedCall], offers: Offers, max_tasks: int) -> tuple[PlannedCall, ...]:
    """The plan as it may be sent: known macros, arguments that fit, nothing that only a person may set; identical calls merged.

    Raises:
        PlanError: `no_plan` or `unsafe_plan`, naming the call at fault. A plan goes out whole or not at all.
    """
    merged: list[PlannedCall] = []
    for call in calls:
        macro = offers.find(call.macro)
        if macro is None:
            raise PlanError(Code.NO_PLAN, f"the plan names a macro that does not exist: {call.macro!r}")
        if forbidden := sorted(macro.hidden & call.arguments.keys()):
            raise PlanError(Code.UNSAFE_PLAN, f"{call.macro}: only a person may set {', '.join(forbidden)}")
        try:
            macro.read(call.arguments)
        except MacroFailure as error:
            raise PlanError(Code.NO_PLAN, f"{call.macro}: {error}") from None
        if call not in merged:
            merged.append(call)
    if len(merged) > max_tasks:
        raise PlanError(Code.UNSAFE_PLAN, f"the plan has {len(merged)} tasks; at most {max_tasks} are allowed (planner.max_tasks)")
    return tuple(merged)
