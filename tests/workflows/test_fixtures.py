"""Every fixture of every example macro, and what the macros promise as a collection."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from pydantic import TypeAdapter

from heddle.macros.loading import Registry, load

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


class Scripted:
    """A tool whose methods answer what a fixture says: JSON in the type that the method returns, or `{raises: ERROR}`.

    A relative path among the answers is relative to the fixture.
    """

    def __init__(self, tool: Any, answers: dict[str, Any], folder: Path) -> None:
        for name, answer in answers.items():
            setattr(self, name, self._method(tool, name, answer, folder))

    @staticmethod
    def _method(tool: Any, name: str, answer: Any, folder: Path) -> Any:
        async def method(*_: Any, **__: Any) -> Any:
            if isinstance(answer, dict) and answer.keys() == {"raises"}:
                raise getattr(sys.modules[tool.__module__], answer["raises"])
            result = TypeAdapter(get_type_hints(getattr(tool, name))["return"]).validate_json(json.dumps(answer))
            return folder / result if isinstance(result, Path) else result

        return method


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: f"{file.parent.name}/{file.stem}")
async def test_fixture(registry: Registry, file: Path) -> None:
    fixture = read(file)
    macro = registry.find(file.parent.name)
    assert macro is not None
    tools = {
        parameter: Scripted(tool, fixture.get("tools", {}).get(tool.__name__, {}), file.parent) for parameter, tool in macro.tools.items()
    }
    request = macro.read(fixture["input"])
    if "fails" in fixture:
        with pytest.raises(tuple(macro.fails)) as failure:
            await macro(request, **tools)
        assert type(failure.value).__name__ == fixture["fails"]["error"]
    else:
        assert json.loads(macro.write(await macro(request, **tools))) == fixture["output"]


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


def test_every_example_fits_its_macro(registry: Registry) -> None:
    for macro in registry.newest():
        for _, arguments in macro.examples:
            macro.read(dict(arguments))


def test_every_value_of_an_example_stands_in_its_goal(registry: Registry) -> None:
    for macro in registry.newest():
        for goal, arguments in macro.examples:
            free = {name: value for name, value in arguments.items() if name not in {"label_strategy", "delimiter"}}
            assert [value for value in free.values() if str(value) not in goal] == []


def test_every_slot_of_a_phrase_is_a_field_that_the_planner_may_set(registry: Registry) -> None:
    for macro in registry.newest():
        for phrase in macro.phrases:
            assert set(re.findall(r"\{(.*?)\}", phrase)) <= set(macro.planner_schema["properties"])


def test_every_phrase_states_what_is_required(registry: Registry) -> None:
    for macro in registry.newest():
        for phrase in macro.phrases:
            assert set(macro.schema["required"]) <= set(re.findall(r"\{(.*?)\}", phrase))
