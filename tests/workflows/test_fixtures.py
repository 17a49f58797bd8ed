"""Every fixture of every example macro, and what the macros promise as a collection."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heddle.macros.fixtures import read_fixture
from heddle.macros.loading import Registry, load
from heddle.planning.goal import Asked
from heddle.planning.plan import PlannedCall
from heddle.planning.review import review
from heddle.testing import replay

WORKFLOWS = Path(__file__).parents[2] / "workflows"
FIXTURES = sorted((WORKFLOWS / "fixtures").glob("*/*.yaml"))


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """The macros as a worker loads them; the modules that other tests import are put back."""
    known = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "workflows"}
    yield load([str(WORKFLOWS)])
    for name in [name for name in sys.modules if name.split(".")[0] == "workflows"]:
        del sys.modules[name]
    sys.modules.update(known)


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: f"{file.parent.name}/{file.stem}")
async def test_fixture(registry: Registry, file: Path) -> None:
    macro = registry.find(file.parent.name)
    assert macro is not None
    assert await replay(macro, read_fixture(file)) is None


def test_every_macro_has_a_fixture(registry: Registry) -> None:
    assert {file.parent.name for file in FIXTURES} == set(registry.macros)


def test_the_example_macros_are_these_three(registry: Registry) -> None:
    assert set(registry.macros) == {"csv_profile", "release_notes", "repo_triage"}


def test_every_tool_has_a_provider(registry: Registry) -> None:
    assert {tool.__name__ for tool in registry.providers} == {"Files", "Forge"}


def test_every_macro_runs_locally(registry: Registry) -> None:
    assert {macro.tier for macro in registry.newest()} == {"local"}


def test_every_intent_is_a_sentence(registry: Registry) -> None:
    assert all(re.fullmatch(r"[A-Z].{10,120}\.", macro.intent) for macro in registry.newest())


def test_every_input_field_is_described(registry: Registry) -> None:
    fields = [(macro.name, name, field) for macro in registry.newest() for name, field in macro.input.model_fields.items()]
    assert [(macro, name) for macro, name, field in fields if not field.description] == []


def test_every_example_is_a_plan_that_may_be_sent_for_its_goal(registry: Registry) -> None:
    for macro in registry.newest():
        for goal, arguments in macro.examples:
            looked_at = review([PlannedCall(macro.name, dict(arguments))], registry, Asked(goal, {}, 0.0), 1)
            assert (goal, looked_at.problems) == (goal, ())


def test_every_macro_has_examples_enough_to_admit_a_model_by(registry: Registry) -> None:
    assert {macro.name: len(macro.examples) >= 6 for macro in registry.newest()} == dict.fromkeys(registry.macros, True)


def test_macros_that_only_look_say_so(registry: Registry) -> None:
    assert {macro.name: macro.effects for macro in registry.newest()} == {
        "csv_profile": "none",
        "release_notes": "none",
        "repo_triage": "reversible",
    }


def test_every_slot_of_a_phrase_is_a_field_that_the_planner_may_set(registry: Registry) -> None:
    for macro in registry.newest():
        for phrase in macro.phrases:
            assert set(re.findall(r"\{(.*?)\}", phrase)) <= set(macro.planner_schema["properties"])


def test_every_phrase_states_what_is_required(registry: Registry) -> None:
    for macro in registry.newest():
        for phrase in macro.phrases:
            assert set(macro.schema["required"]) <= set(re.findall(r"\{(.*?)\}", phrase))
