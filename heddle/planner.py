"""Goal to plan: the one model call, or the phrases, and every check before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from heddle.errors import Code, ModelUnavailable, PlanError
from heddle.llm.model import Model
from heddle.planning.offer import Offers
from heddle.planning.phrases import NoMatch, Phrasebook, compile_phrases, match_phrases
from heddle.planning.plan import Plan, check_plan, parse_answer
from heddle.planning.prompt import Prefix, prefix_of

PHRASES = "phrases"


@dataclass(frozen=True, slots=True)
class Planner:
    """A planner for some macros, with their code or without; the prompt's prefix and the phrases are made once."""

    offers: Offers
    prefix: Prefix
    phrasebook: Phrasebook
    model: Model | None
    phrases: Literal["off", "fallback", "first"]
    max_tasks: int

    async def plan(self, instruction: str, context: Mapping[str, Any]) -> Plan:
        """Plan a goal, with one call of the model at most.

        Raises:
            ModelUnavailable: there is no model to ask, and phrases are not to stand in for it; the goal should wait.
            PlanError: there is no plan that can be sent; its code says why.
        """
        unmatched = ""
        if self.phrases == "first" or self.model is None:
            try:
                return self._by_phrases(instruction, None)
            except PlanError as error:
                if self.model is None:
                    raise
                unmatched = f"{error}, and "
        try:
            answer = await self.model.complete(self.prefix.prompt(instruction, context))
        except ModelUnavailable as error:
            if self.phrases != "fallback":
                raise ModelUnavailable(f"{unmatched}{error}", error.remedy) from None
            return self._by_phrases(instruction, f"{error}; to plan with the model: {error.remedy}")
        calls = check_plan(parse_answer(answer.text), self.offers, self.max_tasks)
        return Plan(calls, self.model.name, 1, answer=answer.text)

    def _by_phrases(self, instruction: str, note: str | None) -> Plan:
        match match_phrases(instruction, self.phrasebook):
            case NoMatch(reason=reason):
                raise PlanError(Code.UNSUPPORTED_GOAL, f"{reason} ({note})" if note else reason)
            case calls:
                return Plan(check_plan(calls, self.offers, self.max_tasks), PHRASES, 0, note)


def make_planner(offers: Offers, model: Model | None, phrases: Literal["off", "fallback", "first"], max_tasks: int) -> Planner:
    """A planner for macros: a registry of live ones, or a catalogue of contracts.

    Raises:
        DefinitionError: a phrase of a macro cannot be used.
    """
    return Planner(offers, prefix_of(offers), compile_phrases(offers.newest()), model, phrases, max_tasks)
