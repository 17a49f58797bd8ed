"""Goal to plan: the one model call, or the phrases, and every check before anything is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from heddle.errors import Code, ModelUnavailable, PlanError
from heddle.llm.model import Answer, Model
from heddle.planning.answer import parse_answer
from heddle.planning.confidence import confidence
from heddle.planning.goal import Asked
from heddle.planning.offer import Offers
from heddle.planning.phrases import NoMatch, Phrasebook, compile_phrases, match_phrases
from heddle.planning.plan import PHRASES, Plan, Usage
from heddle.planning.preselection import Index, choose, index_of
from heddle.planning.prompt import Prefix, prefix_of
from heddle.planning.review import review
from heddle.settings import Settings

UNSURE: Final = "unsure"
"""Why a second model is asked: the first was not sure enough of the macros."""
NO_CONFIDENCE: Final = "the model server gives no log-probabilities: confidence is null, and schema, grounding and coverage alone decided"


async def _uncounted() -> None:
    """Nobody counts the calls."""


async def _at_once() -> tuple[str, ...]:
    """The model need not be admitted."""
    return ()


@dataclass(frozen=True, slots=True)
class Planner:
    """A planner for some macros, with their code or without; the prompt's prefix and the phrases are made once.

    Attributes:
        index: the prompt's prefix, and the words by which macros are chosen where not all fit.
        model: the planner's own; None for phrases alone.
        second: asked once where the first is not sure, or gives no plan that can be sent.
        admitted: waits until the model may plan, and gives what is to be told with every plan of it: demands that were waived.
    """

    offers: Offers
    index: Index
    phrasebook: Phrasebook
    settings: Settings
    model: Model | None
    second: Model | None = None
    admitted: Callable[[], Awaitable[tuple[str, ...]]] = _at_once

    @property
    def prefix(self) -> Prefix:
        """The prompt's prefix with all macros."""
        return self.index.prefix

    async def plan(self, asked: Asked, calling: Callable[[], Awaitable[None]] = _uncounted) -> Plan:
        """Plan a goal: one call of the model at most, and one of a second model where the settings have one.

        Args:
            asked: the goal.
            calling: awaited before each call of a model.

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
            warnings = await self.admitted()
            await calling()
            plan = await self._by_model(self.model, self.settings.planner.provider, asked, warnings)
        except ModelUnavailable as error:
            if phrases != "fallback":
                raise ModelUnavailable(f"{unmatched}{error}", error.remedy) from None
            return self._by_phrases(asked, f"{error}; to plan with the model: {error.remedy}")
        if self.second is None or plan.problem is None or plan.problem[0] is Code.UNSUPPORTED_GOAL:
            return plan
        return await self._again(self.second, plan, asked, calling)

    async def warm(self) -> None:
        """Have the model's server read the prompt's prefix, once the model is admitted, so that the first goal need not wait for it."""
        if self.model is not None:
            with suppress(PlanError):  # the first goal will tell
                await self.admitted()
                await self.model.warm(self.prefix.prompt("", {}))

    async def _by_model(self, model: Model, provider: str, asked: Asked, warnings: tuple[str, ...] = ()) -> Plan:
        plan = Plan(model.name, 1, warnings=warnings)
        try:
            prefix, selection = choose(self.index, asked, prompt_budget(self.settings))
        except PlanError as error:
            return replace(plan, model_calls=0).unsent(error.code, str(error))
        try:
            plan = replace(plan, note=selection.note)
            answer = await model.complete(prefix.prompt(asked.instruction, asked.context))
            plan = replace(plan, answer=answer.text, usage=(self._usage(model.name, provider, answer),))
            plan = replace(plan, stated=parse_answer(answer.text))
        except ModelUnavailable:
            raise
        except PlanError as error:
            return replace(plan, answer=error.answer).unsent(error.code, str(error))
        if answer.tokens is None:
            return self._reviewed(replace(plan, warnings=(*plan.warnings, NO_CONFIDENCE)), asked)
        sure = confidence(answer.tokens, prefix.names)
        plan = self._reviewed(replace(plan, confidence=sure), asked)
        threshold = self.settings.fallback.threshold
        if plan.problem is None and sure is not None and sure < threshold:
            told = f"the model was not sure enough of the macro: {sure:.2f}, and {threshold:.2f} is wanted (fallback.threshold)"
            return plan.unsent(Code.NO_PLAN, told)
        return plan

    async def _again(self, second: Model, first: Plan, asked: Asked, calling: Callable[[], Awaitable[None]]) -> Plan:
        """The plan of the second model, under the same checks; the first one's if the second gives no answer."""
        assert first.problem is not None  # noqa: S101  # the caller looked
        code, detail = first.problem
        cause = UNSURE if first.review is not None and not first.review.problems else code.value
        told = f"{first.planned_by} gave no plan that could be sent ({code.value}: {detail})"
        trouble = ""
        calls = first.model_calls
        for _ in range(self.settings.fallback.max_retries + 1):
            await calling()
            try:
                plan = await self._by_model(second, self.settings.fallback.provider or "", asked)
            except ModelUnavailable as error:
                trouble = f"{error}; {error.remedy}"
                continue
            calls += 1
            if plan.answer is None and plan.problem is not None:
                trouble = plan.problem[1]
                continue
            usage = (*first.usage, *plan.usage)
            plan = replace(
                plan, fallback=cause, model_calls=calls, usage=usage, warnings=(*plan.warnings, f"{told}; {second.name} planned")
            )
            return plan if plan.problem is None else plan.unsent(plan.problem[0], f"{plan.problem[1]}; before it, {told}")
        return replace(first, fallback=cause, model_calls=calls).unsent(
            code, f"{detail}; and {second.name}, which was to plan instead, did not answer: {trouble}"
        )

    def _by_phrases(self, asked: Asked, note: str | None) -> Plan:
        match match_phrases(asked.instruction, self.phrasebook):
            case NoMatch(reason=reason):
                return Plan(PHRASES, 0, note=note).unsent(Code.UNSUPPORTED_GOAL, f"{reason} ({note})" if note else reason)
            case calls:
                return self._reviewed(Plan(PHRASES, 0, note=note, stated=calls), asked)

    def _reviewed(self, plan: Plan, asked: Asked) -> Plan:
        looked_at = review(plan.stated, self.offers, asked, self.settings.planner.max_tasks, self.settings.novel.keys())
        plan = replace(plan, review=looked_at)
        if looked_at.merged:
            plan = replace(plan, warnings=(*plan.warnings, f"{looked_at.merged} tasks were the same as another, and were merged with it"))
        return plan.unsent(*looked_at.problems[0]) if looked_at.problems else replace(plan, calls=looked_at.calls)

    def _usage(self, model: str, provider: str, answer: Answer) -> Usage:
        prices = self.settings.providers.get(provider)
        cost = 0.0
        if prices is not None:
            cost = ((answer.prompt_tokens or 0) * prices.input_price + (answer.answer_tokens or 0) * prices.output_price) / 1e6
        return Usage(model, answer.prompt_tokens, answer.answer_tokens, cost)


def make_planner(
    offers: Offers,
    model: Model | None,
    settings: Settings,
    *,
    second: Model | None = None,
    admitted: Callable[[], Awaitable[tuple[str, ...]]] = _at_once,
) -> Planner:
    """A planner for macros: a registry of live ones, or a catalogue of contracts.

    Raises:
        DefinitionError: a phrase of a macro cannot be used.
    """
    categories: Mapping[str, str] = {name: category.intent for name, category in settings.novel.items()}
    index = index_of(offers, prefix_of(offers, categories))
    return Planner(offers, index, compile_phrases(offers.newest()), settings, model, second, admitted)


def prompt_budget(settings: Settings) -> int:
    """Tokens that a prompt may have: the model's context without what is kept for its answer."""
    return settings.planner.num_ctx - settings.planner.num_predict
