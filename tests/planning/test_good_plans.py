"""The plans that are right are sent: those of the evaluation's cases, and of the documents' goals."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from heddle.planner import make_planner
from heddle.planning.goal import Asked
from heddle.planning.phrases import match_phrases
from heddle.planning.plan import PlannedCall
from heddle.planning.review import review
from heddle.settings import PlannerSettings, Settings
from tests.examples import EXAMPLES, WORKFLOWS

ROOT: Final = Path(__file__).resolve().parents[2]
CASES: Final = [
    (case["goal"], [PlannedCall(call["macro"], call["arguments"]) for call in case["expect"]])
    for case in yaml.safe_load((WORKFLOWS / "eval_cases.yaml").read_text())
    if isinstance(case["expect"], list) and case["expect"]
]


@pytest.mark.parametrize(("goal", "calls"), CASES, ids=[goal for goal, _ in CASES])
def test_the_plan_that_a_goal_stands_for_is_sent(goal: str, calls: list[PlannedCall]) -> None:
    assert review(calls, EXAMPLES, Asked(goal, {}, 0.0), 16).problems == ()


def documented() -> Iterator[str]:
    """The goals that the documents give to the command line."""
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]:
        for line in re.findall(r"^heddle (?:goal|plan) .+$", document.read_text(), re.MULTILINE):
            yield shlex.split(line, comments=True)[2]


PLANNER: Final = make_planner(EXAMPLES, None, Settings(planner=PlannerSettings(phrases="first")))
PHRASED: Final = sorted({goal for goal in documented() if isinstance(match_phrases(goal, PLANNER.phrasebook), tuple)})


@pytest.mark.parametrize("goal", PHRASED)
async def test_what_phrases_make_of_a_documented_goal_is_sent(goal: str) -> None:
    assert (await PLANNER.plan(Asked(goal, {}, 0.0))).problem is None


def test_the_documents_have_goals_that_phrases_of_the_example_macros_fit() -> None:
    assert len(PHRASED) >= 3
