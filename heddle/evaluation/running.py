"""Plans cases, one after the other, with the planner that goals have."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

from heddle.evaluation.cases import Case
from heddle.evaluation.scoring import Attempt, Finding, finding_of
from heddle.llm.model import Model
from heddle.planner import Planner, make_planner
from heddle.planning.goal import Asked
from heddle.planning.offer import Offers
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
    alone = _alone(settings)
    planner = make_planner(offers, model, alone)
    for case in cases:
        one = planner if case.offers is None else make_planner(case.offers, model, alone)
        yield finding_of(await attempt(one, case), one.offers)


async def attempt(planner: Planner, case: Case) -> Attempt:
    """Plan one case.

    Raises:
        ModelUnavailable: the model server cannot be reached or lacks the model.
    """
    began = time.perf_counter()
    plan = await planner.plan(Asked(case.goal, case.context, case.at))
    return Attempt(case, plan, time.perf_counter() - began)


def _alone(settings: Settings) -> Settings:
    """Settings under which no phrases stand in for the model."""
    return settings.model_copy(update={"planner": settings.planner.model_copy(update={"phrases": "off"})})
