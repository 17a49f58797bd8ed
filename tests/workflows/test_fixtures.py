"""Every fixture of every example macro, and what the macros promise as a collection."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from heddle.macros.fixtures import read_fixture
from heddle.planning.goal import Asked
from heddle.planning.plan import PlannedCall
from heddle.planning.review import review
from heddle.testing import replay
from tests.examples import EXAMPLES, WORKFLOWS
from workflows.repo_triage import repo_triage

FIXTURES = sorted((WORKFLOWS / "fixtures").glob("*/*.yaml"))


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: f"{file.parent.name}/{file.stem}")
async def test_fixture(file: Path) -> None:
    macro = EXAMPLES.find(file.parent.name)
    assert macro is not None
    assert await replay(macro, read_fixture(file)) is None


def test_the_macros_of_the_tests_are_those_that_tests_import() -> None:
    assert EXAMPLES.find("repo_triage") is repo_triage


def test_every_macro_has_a_fixture() -> None:
    assert {file.parent.name for file in FIXTURES} == set(EXAMPLES.macros)


def test_the_example_macros_are_these_three() -> None:
    assert set(EXAMPLES.macros) == {"csv_profile", "release_notes", "repo_triage"}


def test_every_tool_has_a_provider() -> None:
    assert {tool.__name__ for tool in EXAMPLES.providers} == {"Files", "Forge"}


def test_every_macro_runs_locally() -> None:
    assert {macro.tier for macro in EXAMPLES.newest()} == {"local"}


def test_every_intent_is_a_sentence() -> None:
    assert all(re.fullmatch(r"[A-Z].{10,120}\.", macro.intent) for macro in EXAMPLES.newest())


def test_every_input_field_is_described() -> None:
    fields = [(macro.name, name, field) for macro in EXAMPLES.newest() for name, field in macro.input.model_fields.items()]
    assert [(macro, name) for macro, name, field in fields if not field.description] == []


def test_every_example_is_a_plan_that_may_be_sent_for_its_goal() -> None:
    for macro in EXAMPLES.newest():
        for goal, arguments in macro.examples:
            looked_at = review([PlannedCall(macro.name, dict(arguments))], EXAMPLES, Asked(goal, {}, 0.0), 1)
            assert (goal, looked_at.problems) == (goal, ())


def test_every_macro_has_examples_enough_to_admit_a_model_by() -> None:
    assert {macro.name: len(macro.examples) >= 6 for macro in EXAMPLES.newest()} == dict.fromkeys(EXAMPLES.macros, True)


def test_macros_that_only_look_say_so() -> None:
    assert {macro.name: macro.effects for macro in EXAMPLES.newest()} == {
        "csv_profile": "none",
        "release_notes": "none",
        "repo_triage": "reversible",
    }


def test_every_slot_of_a_phrase_is_a_field_that_the_planner_may_set() -> None:
    for macro in EXAMPLES.newest():
        for phrase in macro.phrases:
            assert set(re.findall(r"\{(.*?)\}", phrase)) <= set(macro.planner_schema["properties"])


def test_every_phrase_states_what_is_required() -> None:
    for macro in EXAMPLES.newest():
        for phrase in macro.phrases:
            assert set(macro.schema["required"]) <= set(re.findall(r"\{(.*?)\}", phrase))
