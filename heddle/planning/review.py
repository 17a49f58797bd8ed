"""What is checked of a plan before anything is sent: known macros, arguments that fit, values that the goal states, nothing left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from heddle.errors import Code, MacroFailure
from heddle.planning.goal import Asked
from heddle.planning.offer import Offers
from heddle.planning.plan import NOVEL_PREFIX, PlannedCall, Review


def review(calls: Sequence[PlannedCall], offers: Offers, asked: Asked, max_tasks: int, categories: Collection[str] = ()) -> Review:  # noqa: ARG001
    """Look at a plan as a whole; a plan goes out whole or not at all.

    Args:
        calls: as the planner answered them.
        offers: what can be planned.
        asked: the goal.
        max_tasks: how many calls are allowed, once identical ones are merged.
        categories: names of novel goals' categories; a call of `novel:<name>` has no arguments and covers the whole goal.
    """
    merged: list[PlannedCall] = []
    problems: list[tuple[Code, str]] = []
    for call in calls:
        if call.macro.removeprefix(NOVEL_PREFIX) in categories and call.macro.startswith(NOVEL_PREFIX):
            merged.append(call)
            continue
        macro = offers.find(call.macro)
        if macro is None:
            problems.append((Code.NO_PLAN, f"the plan names a macro that does not exist: {call.macro!r}"))
            continue
        if forbidden := sorted(macro.hidden & call.arguments.keys()):
            problems.append((Code.UNSAFE_PLAN, f"{call.macro}: only a person may set {', '.join(forbidden)}"))
            continue
        try:
            macro.read(call.arguments)
        except MacroFailure as error:
            problems.append((Code.NO_PLAN, f"{call.macro}: {error}"))
            continue
        if call not in merged:
            merged.append(call)
    if len(merged) > max_tasks:
        problems.append((Code.UNSAFE_PLAN, f"the plan has {len(merged)} tasks; at most {max_tasks} are allowed (planner.max_tasks)"))
    return Review(tuple(merged), merged=len(calls) - len(merged), problems=tuple(problems))
