"""The planner plans from contracts as it plans from live macros."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heddle.macros.catalogue import catalogue_of, read_catalogue, write_catalogue
from heddle.planner import Planner, make_planner
from heddle.planning.goal import Asked
from heddle.planning.phrases import compile_phrases, match_phrases
from heddle.planning.plan import Plan, PlannedCall
from heddle.planning.prompt import prefix_of
from heddle.planning.review import review
from heddle.planning.signature import signature
from heddle.settings import Settings
from heddle.testing import ScriptedModel
from tests.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[2]
TEXT = write_catalogue(catalogue_of(EXAMPLES))
COMPILED = read_catalogue(TEXT, "macros.json")
PHRASES = [compile_phrases(offers.newest()) for offers in (EXAMPLES, COMPILED)]
PLANNERS = [make_planner(offers, None, Settings()) for offers in (EXAMPLES, COMPILED)]

GOALS = [
    *(goal for macro in EXAMPLES.newest() for goal, _ in macro.examples),
    "triage the repo . and label them using the conventional commits",
    "label the last 3 commits in . and triage the repository ../x",
    "label the last 999 commits in .",
    "make me a sandwich",
    "",
]
ANSWERS = [
    '{"tasks": [{"macro": "repo_triage", "arguments": {"repository": ".", "count": 3}}]}',
    '{"tasks": [{"macro": "repo_triage", "arguments": {"repository": ".", "count": 3.0}}]}',
    '{"tasks": [{"macro": "repo_triage", "arguments": {"repository": ".", "count": 201}}]}',
    '{"tasks": [{"macro": "repo_triage", "arguments": {"repository": ".", "write": true}}]}',
    '{"tasks": [{"macro": "repo_triage", "arguments": {"repo": "."}}]}',
    '{"tasks": [{"macro": "nobody", "arguments": {}}]}',
    '{"tasks": [{"macro": "unsupported"}]}',
]


def test_the_prompt_is_the_same() -> None:
    assert prefix_of(COMPILED) == prefix_of(EXAMPLES)
    assert [signature(macro) for macro in COMPILED.newest()] == [signature(macro) for macro in EXAMPLES.newest()]


@pytest.mark.parametrize("goal", GOALS)
def test_phrases_read_a_goal_the_same(goal: str) -> None:
    live, compiled = (match_phrases(goal, phrases) for phrases in PHRASES)
    assert isinstance(compiled, tuple) == isinstance(live, tuple)
    if isinstance(live, tuple):
        assert compiled == live


GOAL = Asked("label the last 3 changes in .", {}, 0.0)


async def planned(planner: Planner, answer: str) -> Plan | tuple[str, str]:
    """The plan, or the code of the refusal and the macro at fault."""
    plan = await replace(planner, model=ScriptedModel(answer)).plan(GOAL)
    return plan if plan.problem is None else (plan.problem[0].value, plan.problem[1].split(":")[0])


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_model_s_answer_is_taken_or_refused_the_same(answer: str) -> None:
    live, compiled = [await planned(planner, answer) for planner in PLANNERS]
    assert compiled == live


def test_arguments_are_checked_by_the_schema_and_told_by_field() -> None:
    call = PlannedCall("repo_triage", {"repository": ".", "count": 0})
    [(_, told)] = review([call], COMPILED, GOAL, 16).problems
    assert told == "repo_triage: count: 0 is less than the minimum of 1"


PLANS = """
import asyncio, sys
from pathlib import Path
from heddle.cli.planners import read_offers
from heddle.planner import Planner, make_planner
from heddle.planning.goal import Asked
from heddle.settings import Settings
planner = make_planner(read_offers(["macros.json"]), None, Settings())
plan = asyncio.run(planner.plan(Asked("triage the repository .", {}, 0.0)))
print([call.macro for call in plan.calls], [name for name in sys.modules if "workflows" in name or "heddle_macros" in name])
"""


def test_no_module_of_macros_is_imported(tmp_path: Path) -> None:
    (tmp_path / "macros.json").write_text(TEXT, encoding="utf-8")
    environment: dict[str, Any] = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PLANS], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "['repo_triage'] []\n", done.stderr
