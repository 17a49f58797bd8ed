"""The planner's prompt, and the shape that it asks for."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from heddle import macro, person_only
from heddle.macros.loading import AnyMacro, Registry, collect
from heddle.planning.prompt import answer_schema, prefix_of, signature


class Request(BaseModel):
    repository: str
    count: Annotated[int, Field(ge=1, le=200)] = 5
    label_strategy: Literal["conventional", "by-path"] | None = None
    write: Annotated[bool, person_only] = False


class Everything(BaseModel):
    number: int
    ratio: float = 0.5
    flag: bool = False
    words: list[str] = []
    fresh: list[str] = Field(default_factory=list)
    either: int | str = 0


class Report(BaseModel):
    processed: int = 0


@macro(examples=[("Check acme/checkout", {"repository": "acme/checkout"}), ("a second example", {"repository": "x"})])
async def repo_triage(request: Request) -> Report:
    """Label recent changes."""
    return Report()


@macro
async def anything(request: Everything) -> Report:
    """Do anything."""
    return Report()


def defined(name: str, model: type[BaseModel], goal: str = "do it") -> AnyMacro:
    async def handler(request: Any) -> Any:
        raise NotImplementedError

    handler.__annotations__ = {"request": model, "return": Report}
    typed: Callable[..., Awaitable[Any]] = handler
    return macro(name=name, examples=[(goal, {})])(typed)


def registry(*macros: AnyMacro) -> Registry:
    return collect(iter(macros))


def test_a_macro_is_one_line_with_its_fields_kinds_defaults_and_intent() -> None:
    assert signature(repo_triage) == (
        "repo_triage(repository: text, count: 1..200 = 5, label_strategy: conventional | by-path = null): Label recent changes."
    )


def test_every_kind_of_field_is_named() -> None:
    assert signature(anything) == (
        "anything(number: integer, ratio: number = 0.5, flag: boolean = false, words: array = [], fresh: array (optional), "
        "either: integer or text = 0): Do anything."
    )


def test_the_prefix_lists_every_macro_once_by_name() -> None:
    lines = prefix_of(registry(repo_triage, anything)).system.splitlines()
    assert [line for line in lines if line.startswith("- ") and "(" in line and "):" in line] == [
        f"- {signature(anything)}",
        f"- {signature(repo_triage)}",
    ]


def test_the_prefix_depends_on_the_registry_alone_and_not_on_its_order() -> None:
    assert prefix_of(registry(repo_triage, anything)) == prefix_of(registry(anything, repo_triage))


def test_every_goal_has_the_same_prefix() -> None:
    prefix = prefix_of(registry(repo_triage))
    assert prefix.prompt("a", {"x": 1}).system == prefix.prompt("b", {}).system == prefix.system


def test_the_first_example_of_a_macro_is_shown_with_its_answer() -> None:
    system = prefix_of(registry(repo_triage)).system
    assert 'Goal: "Check acme/checkout"\n{"tasks": [{"macro": "repo_triage", "arguments": {"repository": "acme/checkout"}}]}' in system
    assert "a second example" not in system


def test_at_most_three_examples_and_a_refusal_are_shown() -> None:
    macros = [defined(f"macro-{number}", Report, f"example {number}") for number in range(5)]
    goals = [line for line in prefix_of(registry(*macros)).system.splitlines() if line.startswith("Goal: ")]
    assert goals == ['Goal: "example 0"', 'Goal: "example 1"', 'Goal: "example 2"', 'Goal: "Book me a table for two and make coffee"']


def test_the_newest_version_of_a_macro_is_the_one_that_is_shown() -> None:
    @macro(name="repo_triage", version=2)
    async def newer(request: Report) -> Report:
        """Newer."""
        return Report()

    system = prefix_of(registry(repo_triage, newer)).system
    assert "Newer." in system
    assert "Label recent changes." not in system


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_goal_is_fenced_as_one_line_of_data(instruction: str) -> None:
    user = prefix_of(Registry({}, {})).prompt(instruction, {}).user
    assert json.loads(user.removeprefix("Goal: ")) == instruction
    assert "\n" not in user


@pytest.mark.parametrize(
    ("context", "shown"),
    [
        ({}, None),
        ({"b": 1, "a": "x"}, {"a": "x", "b": 1}),
        ({"t": True, "f": 1.5, "n": None}, {"t": True, "f": 1.5}),
        ({"long": "x" * 200, "longer": "x" * 201}, {"long": "x" * 200}),
        ({"list": [1], "object": {"a": 1}}, None),
        ({"line\nbreak": "a\nb"}, {"line\nbreak": "a\nb"}),
    ],
)
def test_of_the_context_only_short_scalars_are_shown(context: dict[str, Any], shown: dict[str, Any] | None) -> None:
    lines = prefix_of(Registry({}, {})).prompt("x", context).user.split("\n")
    assert [json.loads(line.removeprefix("Context: ")) for line in lines[1:]] == ([] if shown is None else [shown])


def test_the_same_context_is_shown_the_same_whatever_its_order() -> None:
    prefix = prefix_of(Registry({}, {}))
    assert prefix.prompt("x", {"a": 1, "b": 2}) == prefix.prompt("x", {"b": 2, "a": 1})


# --- the answer's schema


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = schema["properties"]["tasks"]["items"]["anyOf"]
    return found


def test_an_answer_is_one_of_the_macros_or_unsupported() -> None:
    schema = answer_schema([repo_triage, anything])
    assert [branch["properties"]["macro"]["const"] for branch in branches(schema)] == ["repo_triage", "anything", "unsupported"]


def test_in_every_branch_the_macro_comes_first() -> None:
    assert {next(iter(branch["properties"])) for branch in branches(answer_schema([repo_triage]))} == {"macro"}


def test_every_object_of_the_answer_is_closed() -> None:
    schema = answer_schema([repo_triage])
    arguments = branches(schema)[0]["properties"]["arguments"]
    assert [part["additionalProperties"] for part in (schema, *branches(schema), arguments)] == [False] * 4


def test_an_answer_has_at_least_one_task() -> None:
    assert answer_schema([])["properties"]["tasks"]["minItems"] == 1


def test_arguments_are_the_macro_s_without_what_only_a_person_may_set() -> None:
    arguments = branches(answer_schema([repo_triage]))[0]["properties"]["arguments"]
    assert (list(arguments["properties"]), arguments["required"]) == (["repository", "count", "label_strategy"], ["repository"])


def test_a_reference_in_the_arguments_leads_to_its_definition() -> None:
    inner = create_model("Inner", depth=(int, ...))
    schema = answer_schema([defined("one", create_model("One", inner=(inner, ...)))])
    assert resolved(schema, branches(schema)[0]) == {"depth"}


def test_two_macros_may_each_have_a_model_of_the_same_name() -> None:
    first, second = create_model("Options", depth=(int, ...)), create_model("Options", colour=(str, ...))
    one, two = create_model("One", inner=(first, ...)), create_model("Two", inner=(second, ...))
    schema = answer_schema([defined("one", one), defined("two", two)])
    assert [resolved(schema, branch) for branch in branches(schema)[:2]] == [{"depth"}, {"colour"}]


class Tree(BaseModel):
    children: list[Tree] = []


def test_a_reference_to_itself_leads_to_the_same_definition() -> None:
    schema = answer_schema([defined("one", create_model("One", inner=(Tree, ...)))])
    assert schema["$defs"]["0-Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/0-Tree"}


def resolved(schema: dict[str, Any], branch: dict[str, Any]) -> set[str]:
    """The fields of the `inner` argument of a branch, its reference followed."""
    part: dict[str, Any] = branch["properties"]["arguments"]["properties"]["inner"]
    if "$ref" in part:
        found: Any = schema
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return set(part["properties"])
