"""JSON Schema of inputs and outputs: closed, nothing untyped."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, JsonValue, create_model

from heddle.errors import DefinitionError
from heddle.macros.schema import (
    DIALECT,
    compile_schema,
    person_only,
    person_only_fields,
    planner_schema,
    refuse_inner_person_only,
)


class Colour(enum.StrEnum):
    RED = "red"


class Inner(BaseModel):
    count: int = 0


class Loose(BaseModel):
    anything: dict[str, Any]


class Outer(BaseModel):
    loose: list[Loose] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    count: int


class Tree(BaseModel):
    children: list[Tree] = []


class Pair(NamedTuple):
    left: int
    right: Any


@dataclass
class Record:
    name: str
    value: object


class Request(BaseModel):
    repository: str = Field(description="Where.")
    write: Annotated[bool, person_only] = False
    reason: Annotated[str, Field(min_length=1), person_only]


def with_field(annotation: Any) -> type[BaseModel]:
    return create_model("Request", target=(annotation, ...))


def refusal(annotation: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        compile_schema(annotation, "triage's input")
    return str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "place"),
    [
        (dict, "target"),
        (dict[str, Any], "target"),
        (dict[str, object], "target"),
        (Mapping[str, object], "target"),
        (Any, "target"),
        (object, "target"),
        (Annotated[Any, Field(description="what you like")], "target"),
        (dict | None, "target"),
        (int | dict[str, Any], "target"),
        (Inner | dict[str, Any], "target"),
        (list, "target[]"),
        (list[Any], "target[]"),
        (list[dict[str, Any]], "target[]"),
        (Sequence[object], "target[]"),
        (set, "target[]"),
        (tuple, "target[]"),
        (tuple[Any, ...], "target[]"),
        (tuple[int, Any], "target"),
        (dict[str, dict[str, Any]], "target.*"),
        (dict[str, list[Any]], "target.*[]"),
        (list[list[dict[str, Any]]], "target[][]"),
        (Loose, "Loose.anything"),
        (Outer, "Loose.anything"),
        (list[Loose] | None, "Loose.anything"),
        (dict[str, Loose], "Loose.anything"),
        (Pair, "Pair"),
        (Record, "Record.value"),
        (JsonValue, "JsonValue"),
    ],
    ids=str,
)
def test_what_is_untyped_is_refused_with_the_field_s_name(annotation: Any, place: str) -> None:
    assert refusal(with_field(annotation)).startswith(f"triage's input at {place} is an untyped object: ")


@pytest.mark.parametrize("annotation", [dict, dict[str, Any], Any, object])
def test_what_is_untyped_as_a_whole_is_refused(annotation: Any) -> None:
    assert refusal(annotation).startswith("triage's input is an untyped object: ")


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        int,
        float,
        bool,
        None,
        Path,
        datetime,
        Colour,
        Literal["a"],
        Literal["a", 1],
        int | None,
        list[str],
        set[int],
        tuple[int, str],
        dict[str, int],
        dict[str, Inner],
        dict[str, list[Inner]],
        Inner,
        list[Inner],
        Inner | int,
        Tree,
        Annotated[int, Field(ge=1, le=200)],
    ],
    ids=str,
)
def test_what_is_typed_is_accepted(annotation: Any) -> None:
    assert compile_schema(with_field(annotation), "it")["properties"].keys() == {"target"}


@pytest.mark.parametrize("annotation", [Callable[[], int], type])
def test_what_has_no_schema_is_refused(annotation: Any) -> None:
    assert refusal(annotation).startswith("triage's input has no JSON Schema: ")


@pytest.mark.parametrize(("annotation", "name"), [(Inner, None), (Open, None), (list[Inner], "Inner"), (Tree | None, "Tree")])
def test_every_object_is_closed(annotation: Any, name: str | None) -> None:
    schema = compile_schema(annotation, "it")
    assert (schema["$defs"][name] if name else schema)["additionalProperties"] is False


def test_a_nested_object_is_closed() -> None:
    assert compile_schema(with_field(Open), "it")["$defs"]["Open"]["additionalProperties"] is False


def test_a_dictionary_of_a_type_stays_open_for_its_keys() -> None:
    assert compile_schema(with_field(dict[str, int]), "it")["properties"]["target"]["additionalProperties"] == {"type": "integer"}


def test_a_schema_says_its_dialect() -> None:
    assert compile_schema(Inner, "it")["$schema"] == DIALECT


def test_the_planner_does_not_see_what_only_a_person_may_set() -> None:
    shown = planner_schema(compile_schema(Request, "it"), person_only_fields(Request))
    assert (list(shown["properties"]), shown["required"]) == (["repository"], ["repository"])


def test_fields_marked_person_only_are_named() -> None:
    assert person_only_fields(Request) == {"write", "reason"}


@pytest.mark.parametrize(
    ("alias", "names"),
    [
        (None, ["write"]),
        ("a", ["a", "write"]),
        (AliasPath("a", "b"), ["a", "write"]),
        (AliasChoices("a", "b", AliasPath("c", 0)), ["a", "b", "c", "write"]),
    ],
    ids=str,
)
def test_a_marked_field_is_named_by_everything_that_can_set_it(alias: Any, names: list[str]) -> None:
    model = create_model("Request", write=(Annotated[bool, person_only], Field(default=False, validation_alias=alias)))
    assert sorted(person_only_fields(model)) == names


@pytest.mark.parametrize(
    ("annotation", "place"),
    [
        (Annotated[bool, person_only] | None, "target"),
        (list[Annotated[str, person_only]], "target[]"),
        (dict[str, Annotated[str, person_only]], "target.*"),
        (Request, "Request.write"),
        (list[Request] | None, "Request.write"),
    ],
    ids=str,
)
def test_a_mark_further_in_is_refused_with_the_field_s_name(annotation: Any, place: str) -> None:
    with pytest.raises(DefinitionError, match="marked person_only") as caught:
        refuse_inner_person_only(compile_schema(with_field(annotation), "it"), "triage's input")
    assert str(caught.value).startswith(f"triage's input at {place} ")


@pytest.mark.parametrize("annotation", [Annotated[bool, person_only], Annotated[Inner, person_only], Annotated[bool | None, person_only]])
def test_a_mark_on_a_field_of_the_input_itself_is_accepted(annotation: Any) -> None:
    refuse_inner_person_only(compile_schema(with_field(annotation), "it"), "it")


def test_hiding_fields_leaves_the_schema_itself_alone() -> None:
    schema = compile_schema(Request, "it")
    planner_schema(schema, frozenset({"write"}))
    assert set(schema["properties"]) == {"repository", "write", "reason"}
