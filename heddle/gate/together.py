"""Macros that goals keep planning together: a parent macro would plan them as one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from heddle.gate.reading import PlannedGoal

MOST_MACROS: Final = 5
"""Macros of one goal that are looked at together."""


@dataclass(frozen=True, slots=True)
class Together:
    """Macros that so many goals were planned to."""

    macros: tuple[str, ...]
    goals: tuple[PlannedGoal, ...]


def planned_together(goals: Sequence[PlannedGoal], parents: Iterable[Iterable[str]], min_support: int) -> list[Together]:
    """The sets of two macros or more that goals keep planning together; a set within a larger one with as many goals is left out.

    Args:
        goals: as they were planned; of several records of one goal the last counts.
        parents: what the macros that call others call; such a set has its parent already.
        min_support: goals that must plan them.
    """
    known = [frozenset(parent) for parent in parents]
    found: dict[tuple[str, ...], list[PlannedGoal]] = {}
    for goal in {goal.goal_id: goal for goal in goals}.values():
        macros = sorted({task.macro for task in goal.tasks})[:MOST_MACROS]
        for size in range(2, len(macros) + 1):
            for some in combinations(macros, size):
                found.setdefault(some, []).append(goal)
    often = {
        some: of_them for some, of_them in found.items() if len(of_them) >= min_support and not any(parent >= {*some} for parent in known)
    }
    closed = [some for some in often if not any({*some} < {*other} and len(often[other]) == len(often[some]) for other in often)]
    return [Together(some, tuple(often[some])) for some in sorted(closed, key=lambda some: (-len(often[some]), some))]
