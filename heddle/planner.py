"""Goal to plan: the one model call, or the phrases, and every check before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from heddle.errors import Code, ModelUnavailable, PlanError
from heddle.llm.model import Model
from heddle.planning.answer import parse_answer
from heddle.planning.confidence import confidence
from heddle.planning.goal import Asked
from heddle.planning.offer import Offers
from heddle.planning.phrases import NoMatch, Phrasebook, compile_phrases, match_phrases
from heddle.planning.plan import PHRASES, Plan
from heddle.planning.prompt import Prefix, prefix_of
from heddle.planning.review import review
from heddle.settings import Settings


@dataclass(frozen=True, slots=True)
class Planner:
    """A planner for some macros, with their code or without; the prompt's prefix and the phrases are made once."""

    offers: Offers
    prefix: Prefix
    phrasebook: Phrasebook
    model: Model | None
    settings: Settings

    async def plan(self, asked: Asked) -> Plan:
        """Plan a goal, with one call of the model at most.

        Raises:
            ModelUnavailable: there is no model to ask, and phrases are not to stand in for it; the goal should wait.
        """
        phrases = self.settings.planner.phrases
        unmatched = ""
        if phrases == "first" or self.model is None:
            plan = self._by_phrases(asked, None)
            if plan.problem is None or self.model is None:
                return plan
            unmatched = f"{plan.problem[1]}, and "
        try:
            return await self._by_model(self.model, asked)
        except ModelUnavailable as error:
            if phrases != "fallback":
                raise ModelUnavailable(f"{unmatched}{error}", error.remedy) from None
            return self._by_phrases(asked, f"{error}; to plan with the model: {error.remedy}")

    async def _by_model(self, model: Model, asked: Asked) -> Plan:
        try:
            answer = await model.complete(self.prefix.prompt(asked.instruction, asked.context))
        except ModelUnavailable:
            raise
        except PlanError as error:
            return Plan(model.name, 1, problem=(error.code, str(error)), answer=error.answer)
        plan = Plan(model.name, 1, answer=answer.text, prompt_tokens=answer.prompt_tokens, answer_tokens=answer.answer_tokens)
        try:
            stated = parse_answer(answer.text)
        except PlanError as error:
            return replace(plan, problem=(error.code, str(error)))
        sure = confidence(answer.tokens, self.prefix.names) if answer.tokens else None
        plan = self._reviewed(replace(plan, stated=stated, confidence=sure), asked)
        threshold = self.settings.fallback.threshold
        if plan.problem is None and sure is not None and sure < threshold:
            told = f"the model was not sure enough of the macro: {sure:.2f}, and {threshold:.2f} is wanted (fallback.threshold)"
            return replace(plan, calls=(), problem=(Code.NO_PLAN, told))
        return plan

    def _by_phrases(self, asked: Asked, note: str | None) -> Plan:
        match match_phrases(asked.instruction, self.phrasebook):
            case NoMatch(reason=reason):
                return Plan(PHRASES, 0, problem=(Code.UNSUPPORTED_GOAL, f"{reason} ({note})" if note else reason), note=note)
            case calls:
                return self._reviewed(Plan(PHRASES, 0, note=note, stated=calls), asked)

    def _reviewed(self, plan: Plan, asked: Asked) -> Plan:
        looked_at = review(plan.stated, self.offers, asked, self.settings.planner.max_tasks, self.settings.novel.keys())
        problem = looked_at.problems[0] if looked_at.problems else None
        return replace(plan, review=looked_at, problem=problem, calls=() if problem else looked_at.calls)


def make_planner(offers: Offers, model: Model | None, settings: Settings) -> Planner:
    """A planner for macros: a registry of live ones, or a catalogue of contracts.

    Raises:
        DefinitionError: a phrase of a macro cannot be used.
    """
    categories: Mapping[str, str] = {name: category.intent for name, category in settings.novel.items()}
    return Planner(offers, prefix_of(offers, categories), compile_phrases(offers.newest()), model, settings)
