"""What a planner answers, read."""

from __future__ import annotations

import reprlib
from typing import Any

from pydantic_core import from_json

from heddle.errors import Code, PlanError
from heddle.planning.plan import UNSUPPORTED, PlannedCall


def parse_answer(answer: str) -> tuple[PlannedCall, ...]:
    """Read what a model answered: `{"tasks": [{"macro": NAME, "arguments": {…}}, …]}`.

    Raises:
        PlanError: `no_plan` if it is not of that shape, `unsupported_goal` if the model says that no macro does this.
    """
    try:
        parsed = from_json(answer.encode(errors="replace"), allow_inf_nan=False)  # half a letter could be sent nowhere
    except ValueError as error:
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
