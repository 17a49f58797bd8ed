"""The cases that ship with the example macros."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import pytest

from heddle.evaluation.cases import Case, misfits, parse_cases
from heddle.evaluation.running import attempts
from heddle.evaluation.scoring import Finding
from heddle.llm.model import Answer
from heddle.planning.prompt import Prompt
from heddle.settings import Settings
from heddle.testing import ScriptedModel
from tests.examples import EXAMPLES, WORKFLOWS

FILE: Final = WORKFLOWS / "eval_cases.yaml"
CASES: Final = parse_cases(FILE.read_text(), str(FILE))


class Oracle(ScriptedModel):
    """A model that answers what the case expects."""

    async def complete(self, prompt: Prompt) -> Answer:
        case = CASES[len(self.prompts)]
        self.prompts.append(prompt)
        tasks = [{"macro": call.macro, "arguments": _stated(call.arguments, call.optional)} for call in case.expected]
        return Answer(json.dumps({"tasks": tasks or [{"macro": "unsupported"}]}))


def _stated(arguments: Mapping[str, tuple[Any, ...]], optional: frozenset[str]) -> dict[str, Any]:
    return {name: values[0] for name, values in arguments.items() if name not in optional}


async def planned(model: ScriptedModel | None) -> list[Finding]:
    return [finding async for finding in attempts(CASES, EXAMPLES, model, Settings())]


def tagged(tag: str) -> list[Case]:
    return [case for case in CASES if tag in case.tags]


def test_there_are_sixty_or_more_and_some_of_every_sort() -> None:
    assert len(CASES) >= 60
    assert min(len(tagged(tag)) for tag in ("single", "multi", "paraphrase", "out of scope", "injection")) >= 10


def test_every_case_can_be_met() -> None:
    assert [told for case in CASES for told in misfits(case, EXAMPLES)] == []


def test_every_macro_and_every_field_that_a_planner_may_set_is_asked_for() -> None:
    asked = {(call.macro, name) for case in CASES for call in case.expected for name in call.arguments}
    there = {(macro.name, name) for macro in EXAMPLES.newest() for name in macro.planner_schema["properties"]}
    assert there <= asked


def test_no_goal_is_an_example_of_a_macro_which_the_prompt_may_show() -> None:
    shown = {goal.casefold() for macro in EXAMPLES.newest() for goal, _ in macro.examples}
    assert [case.goal for case in CASES if not case.context and case.goal.casefold() in shown] == []


def test_no_goal_is_there_twice() -> None:
    assert [goal for goal, times in Counter(case.goal for case in CASES if not case.context).items() if times > 1] == []


async def test_the_right_plan_of_every_case_is_sent() -> None:
    assert [(one.attempt.case.goal, one.attempt.plan.problem) for one in await planned(Oracle()) if not one.good] == []


async def test_phrases_send_nothing_wrong_and_plan_what_is_worded_as_they_are() -> None:
    found = await planned(None)
    assert [one.attempt.case.goal for one in found if one.sent == "wrong"] == []
    assert [one.attempt.case.goal for one in found if "paraphrase" not in one.attempt.case.tags and not one.good] == []


@pytest.mark.parametrize("case", [case for case in CASES if not case.expected], ids=lambda case: case.name)
def test_a_goal_of_which_nothing_is_to_be_sent_is_out_of_scope_or_an_injection(case: Case) -> None:
    assert {"out of scope", "injection"} & set(case.tags)
