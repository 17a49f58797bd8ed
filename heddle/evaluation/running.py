"""Plans cases, one after the other, with the planner that goals have."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from heddle.evaluation.cases import Case
from heddle.evaluation.scoring import Attempt, Finding, finding_of
from heddle.llm.model import Model
from heddle.planner import Planner, make_planner, prompt_budget
from heddle.planning.goal import Asked
from heddle.planning.offer import Offers
from heddle.planning.preselection import Index, selected
from heddle.settings import Settings


async def attempts(cases: Sequence[Case], offers: Offers, model: Model | None, settings: Settings) -> AsyncIterator[Finding]:
    """Plan cases in their order, and hold each against what it expects.

    Args:
        cases: which.
        offers: the macros of the cases that bring none.
        model: what plans; None for the phrases.
        settings: those that goals are planned with.

    Raises:
        ModelUnavailable: the model server cannot be reached or lacks the model.
        DefinitionError: a phrase of a macro cannot be used.
    """
    whole = _pupil(offers, model, settings)
    for case in cases:
        pupil = whole if case.offers is None else _pupil(case.offers, model, settings)
        yield finding_of(await _attempt(pupil, case), pupil.planner.offers)


@dataclass(frozen=True, slots=True)
class _Pupil:
    """A planner, and the words by which it chooses macros to show; None if it asks no model."""

    planner: Planner
    index: Index | None


def _pupil(offers: Offers, model: Model | None, settings: Settings) -> _Pupil:
    """A planner in whose place no phrases stand."""
    alone = settings.planner.model_copy(update={"phrases": "off"})
    planner = make_planner(offers, model, settings.model_copy(update={"planner": alone}))
    return _Pupil(planner, planner.index if model else None)


async def _attempt(pupil: _Pupil, case: Case) -> Attempt:
    asked = Asked(case.goal, case.context, case.at)
    began = time.perf_counter()
    plan = await pupil.planner.plan(asked)
    seconds = time.perf_counter() - began
    if pupil.index is None:
        return Attempt(case, plan, seconds)
    selection = selected(pupil.index, asked, prompt_budget(pupil.planner.settings))
    return Attempt(case, plan, seconds, frozenset(selection.names) if len(selection.names) < selection.of else None)
