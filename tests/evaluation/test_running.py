"""Cases are planned as goals are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import BaseModel

from heddle import macro
from heddle.errors import ModelUnavailable
from heddle.evaluation.cases import Case, ExpectedCall
from heddle.evaluation.running import attempts
from heddle.evaluation.scoring import Finding, Share, score
from heddle.llm.model import Model
from heddle.macros.loading import AnyMacro
from heddle.planning.offer import Offers
from heddle.settings import PlannerSettings, Settings
from heddle.testing import ScriptedModel
from tests.support import Echoed, echo, registry_of

HELLO = '{"tasks": [{"macro": "echo", "arguments": {"word": "hello"}}]}'
CASE = Case("case 1", "echo hello", (ExpectedCall("echo", {"word": ("hello",)}),), {})


async def run(*cases: Case, model: Model | None = None, offers: Offers | None = None, settings: Settings | None = None) -> list[Finding]:
    return [one async for one in attempts(cases, offers or registry_of(), model, settings or Settings())]


async def test_a_model_is_asked_once_for_each_case_in_their_order() -> None:
    model = ScriptedModel(HELLO)
    found = await run(CASE, replace(CASE, goal="echo hello, please"), model=model)
    assert [one.good for one in found] == [True, True]
    assert [json.loads(prompt.user.removeprefix("Goal: ")) for prompt in model.prompts] == ["echo hello", "echo hello, please"]


async def test_without_a_model_phrases_plan() -> None:
    (found,) = await run(CASE)
    assert (found.sent, found.attempt.plan.planned_by) == ("right", "phrases")


@pytest.mark.parametrize("phrases", ["off", "fallback", "first"])
async def test_no_phrase_stands_in_for_a_model_whatever_the_settings_say(phrases: str) -> None:
    settings = Settings(planner=PlannerSettings.model_validate({"phrases": phrases}))
    (found,) = await run(CASE, model=ScriptedModel('{"tasks": [{"macro": "unsupported"}]}'), settings=settings)
    assert (found.answered, found.attempt.plan.planned_by) == ("unsupported", "scripted")
    with pytest.raises(ModelUnavailable):
        await run(CASE, model=ScriptedModel(ModelUnavailable("no server", "start it")), settings=settings)


async def test_a_case_that_brings_macros_is_planned_with_those_alone() -> None:
    alone = replace(CASE, offers=registry_of(echo))
    model = ScriptedModel(HELLO)
    found = await run(alone, CASE, model=model)
    assert [one.good for one in found] == [True, True]
    assert ["- broken(" in prompt.system for prompt in model.prompts] == [False, True]


async def test_what_is_done_is_there_before_the_next_is_asked() -> None:
    planned = attempts([CASE, CASE], registry_of(), ScriptedModel(HELLO, ModelUnavailable("gone", "start it")), Settings())
    assert (await anext(planned)).good
    with pytest.raises(ModelUnavailable):
        await anext(planned)


class Word(BaseModel):
    word: str = ""


def word(number: int) -> str:
    return "".join("bcdfghklmn"[int(digit)] for digit in f"{number:03}")


def many(count: int) -> Offers:
    """Macros, each about a word of its own; 121 are more than a small context has room for."""

    def made(number: int) -> AnyMacro:
        @macro(name=f"m{number:03}", examples=[(f"please {word(number)} it, and do so with all the care there is", {})])
        async def handler(request: Word) -> Echoed:
            """Do something."""
            return Echoed(word="")

        return handler

    return registry_of(*map(made, range(count)))


def wanting(goal: str, *names: str) -> Case:
    return Case("case 1", goal, tuple(ExpectedCall(name, {}) for name in names), {})


async def test_where_not_all_macros_fit_it_is_counted_how_often_the_right_one_was_shown() -> None:
    settings = Settings(planner=PlannerSettings(num_ctx=2048, num_predict=256))
    cases = [
        wanting(f"please {word(100)} it", "m100"),
        wanting("see to the other matter", "m120"),
        wanting("play chess", "novel:games"),
        wanting("rest"),
    ]
    found = await run(*cases, model=ScriptedModel(HELLO), offers=many(121), settings=settings)
    assert score(found).shown == Share(1, 2)


async def test_where_all_macros_fit_nothing_is_counted() -> None:
    found = await run(wanting(f"please {word(0)} it", "m000"), model=ScriptedModel(HELLO), offers=many(2))
    assert score(found).shown == Share(0, 0)
