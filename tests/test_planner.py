"""From a goal to a plan: the model, the second model, the phrases, and what is told of them."""

from __future__ import annotations

import math

import pytest

from heddle.errors import Code, ModelError, ModelUnavailable
from heddle.llm.model import Answer
from heddle.planner import NO_CONFIDENCE, Planner, make_planner
from heddle.planning.confidence import Token
from heddle.planning.goal import Asked
from heddle.planning.plan import PlannedCall
from heddle.settings import FallbackSettings, NovelCategory, PlannerSettings, ProviderSettings, Settings
from heddle.testing import ScriptedModel
from tests.support import echo, registry_of

HELLO = '{"tasks": [{"macro": "echo", "arguments": {"word": "hello"}}]}'
UNSUPPORTED = '{"tasks": [{"macro": "unsupported"}]}'
UNKNOWN = '{"tasks": [{"macro": "rm", "arguments": {}}]}'
GOAL = Asked("say hello", {}, 0.0)
CALL = PlannedCall("echo", {"word": "hello"})
FRONTIER = ProviderSettings.model_validate({"url": "http://127.0.0.1:1/v1", "model": "big", "input_price": 2.0, "output_price": 10.0})


def sure(probability: float, text: str = HELLO) -> Answer:
    """An answer whose macro's name had this probability, `unsupported` the rest."""
    head, rest = text[: text.index("echo")], text[text.index("echo") :]
    top = (("echo", probability), ("unsupported", 1 - probability))
    named = Token("echo", math.log(probability), tuple((name, math.log(p)) for name, p in top if p > 0))
    return Answer(text, 1000, 100, (Token(head, 0.0), named, Token(rest.removeprefix("echo"), 0.0)))


def planner(*answers: str | Answer | Exception, second: ScriptedModel | None = None, retries: int = 1) -> Planner:
    fallback = FallbackSettings(enabled=second is not None, provider="frontier", max_retries=retries)
    settings = Settings(planner=PlannerSettings(), fallback=fallback, providers={"frontier": FRONTIER})
    return make_planner(registry_of(echo), ScriptedModel(*answers, name="small"), settings, second=second)


# --- confidence


async def test_a_model_that_is_sure_enough_plans() -> None:
    plan = await planner(sure(0.9)).plan(GOAL)
    assert (plan.calls, plan.problem, plan.warnings) == ((CALL,), None, ())
    assert plan.confidence == pytest.approx(0.9)


async def test_a_plan_below_the_threshold_is_not_sent_and_says_both_numbers() -> None:
    plan = await planner(sure(0.5)).plan(GOAL)
    assert plan.calls == ()
    assert plan.problem is not None
    assert plan.problem[0] is Code.NO_PLAN
    assert "0.50, and 0.72 is wanted" in plan.problem[1]


async def test_without_log_probabilities_confidence_is_null_and_the_plan_says_what_decided() -> None:
    plan = await planner(HELLO).plan(GOAL)
    assert (plan.calls, plan.confidence, plan.warnings) == ((CALL,), None, (NO_CONFIDENCE,))


# --- the second model


@pytest.mark.parametrize(
    ("first", "cause"),
    [
        (sure(0.5), "unsure"),
        ("no JSON", "no_plan"),
        (UNKNOWN, "no_plan"),
        (ModelError("cut off"), "no_plan"),
    ],
)
async def test_where_the_first_model_gives_no_plan_that_can_be_sent_the_second_plans_once(
    first: str | Answer | Exception, cause: str
) -> None:
    second = ScriptedModel(sure(0.99), name="big")
    made = await planner(first, second=second).plan(GOAL)
    assert (made.calls, made.planned_by, made.model_calls, made.fallback) == ((CALL,), "big", 2, cause)
    assert any("small gave no plan that could be sent" in line for line in made.warnings)
    assert len(second.prompts) == 1


async def test_the_second_model_is_asked_the_same_under_the_same_schema() -> None:
    second = ScriptedModel(HELLO)
    made = planner("no JSON", second=second)
    await made.plan(GOAL)
    assert isinstance(made.model, ScriptedModel)
    assert made.model.prompts == second.prompts


async def test_what_the_first_model_plans_well_costs_no_second_call() -> None:
    second = ScriptedModel(HELLO)
    assert (await planner(sure(0.9), second=second).plan(GOAL)).fallback is None
    assert second.prompts == []


async def test_what_is_unsupported_is_refused_without_a_second_opinion() -> None:
    second = ScriptedModel(HELLO)
    made = await planner(UNSUPPORTED, second=second).plan(GOAL)
    assert made.problem is not None
    assert made.problem[0] is Code.UNSUPPORTED_GOAL
    assert second.prompts == []


@pytest.mark.parametrize(("answer", "code"), [(UNSUPPORTED, Code.UNSUPPORTED_GOAL), (UNKNOWN, Code.NO_PLAN)])
async def test_the_second_model_s_refusal_is_the_goal_s_with_both_reasons(answer: str, code: Code) -> None:
    made = await planner("no JSON", second=ScriptedModel(answer, name="big")).plan(GOAL)
    assert made.problem is not None
    assert (made.problem[0], made.answer, made.calls) == (code, answer, ())
    assert "before it, small gave no plan" in made.problem[1]


async def test_a_second_model_that_does_not_answer_is_asked_again_as_often_as_the_settings_say() -> None:
    away = ModelUnavailable("no server", "start it")
    second = ScriptedModel(away, away, HELLO)
    assert (await planner("no JSON", second=second, retries=2).plan(GOAL)).calls == (CALL,)
    second = ScriptedModel(away, away, HELLO, name="big")
    made = await planner("no JSON", second=second, retries=1).plan(GOAL)
    assert made.problem is not None
    assert made.problem[0] is Code.NO_PLAN
    assert "big, which was to plan instead, did not answer: no server; start it" in made.problem[1]


async def test_what_the_second_model_took_is_told_in_dollars_by_its_prices() -> None:
    made = await planner(sure(0.5), second=ScriptedModel(sure(0.99), name="big")).plan(GOAL)
    assert [(usage.model, usage.prompt_tokens, usage.answer_tokens, usage.cost) for usage in made.usage] == [
        ("small", 1000, 100, 0.0),
        ("big", 1000, 100, pytest.approx(0.003)),
    ]


async def test_every_call_is_announced_before_it_is_made() -> None:
    announced: list[int] = []
    second = ScriptedModel(HELLO)
    made = planner("no JSON", second=second)

    async def calling() -> None:
        assert isinstance(made.model, ScriptedModel)
        announced.append(len(made.model.prompts) + len(second.prompts))

    await made.plan(GOAL, calling)
    assert announced == [0, 1]


# --- novel goals


async def test_a_goal_of_a_declared_category_is_planned_as_it() -> None:
    settings = Settings(novel={"debugging": NovelCategory(intent="Find out why something broke")})
    model = ScriptedModel('{"tasks": [{"macro": "novel:debugging"}]}')
    plan = await make_planner(registry_of(echo), model, settings).plan(Asked("why did build #12 break", {}, 0.0))
    assert (plan.calls, plan.problem) == ((PlannedCall("novel:debugging", {}),), None)
    assert "novel:debugging" in model.prompts[0].system


async def test_a_category_that_is_not_declared_is_no_plan() -> None:
    plan = await planner('{"tasks": [{"macro": "novel:debugging"}]}').plan(GOAL)
    assert plan.problem is not None
    assert plan.problem[0] is Code.NO_PLAN
