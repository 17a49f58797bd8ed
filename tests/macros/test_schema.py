"""JSON Schema of inputs and outputs: closed, nothing untyped."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializeAsAny,
    WithJsonSchema,
    computed_field,
    create_model,
)
from typing_extensions import TypedDict

from heddle import macro
from heddle.errors import DefinitionError
from heddle.macros.schema import DIALECT, compile_schema


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


# --- untyped, further


class Nothing(BaseModel):
    """No fields."""


class OpenDict(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    count: int


class Typed(TypedDict, total=False):
    count: int


class Computing(BaseModel):
    count: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def share(self) -> Any:
        return 1


UNTYPED = [
    (BaseModel, "BaseModel"),
    (list[BaseModel], "BaseModel"),
    (Nothing, "Nothing"),
    (Inner | Nothing, "Nothing"),
    (Annotated[list[int], WithJsonSchema({"type": "array"})], "target[]"),
    (Annotated[dict[str, int], WithJsonSchema({"type": ["object", "null"]})], "target"),
    (dict[Annotated[str, Field(pattern="^a")], Any], "target.*"),
]


@pytest.mark.parametrize(("annotation", "place"), UNTYPED, ids=str)
def test_models_without_fields_and_lists_of_anything_are_untyped(annotation: Any, place: str) -> None:
    assert refusal(with_field(annotation)).startswith(f"triage's input at {place} is an untyped object: ")


@pytest.mark.parametrize("annotation", [dict, dict[str, Any], Any, object, BaseModel, list[Any], Inner | dict[str, Any], Nothing], ids=str)
def test_an_output_must_be_typed_too(annotation: Any) -> None:
    async def triage(request: Inner) -> Any:
        return request

    triage.__annotations__["return"] = annotation
    triage.__annotations__["request"] = Inner
    with pytest.raises(DefinitionError, match=r"triage's output.* is an untyped object"):
        macro(triage)


@pytest.mark.parametrize(("annotation", "place"), [(Computing, "share"), (list[Computing], "Computing.share"), (Outer, "Loose.anything")])
def test_what_is_written_besides_the_fields_must_be_typed(annotation: Any, place: str) -> None:
    with pytest.raises(DefinitionError, match="is an untyped object") as caught:
        compile_schema(annotation, "triage's output", "serialization")
    assert str(caught.value).startswith(f"triage's output at {place} ")


@pytest.mark.parametrize("annotation", [Open, OpenDict, list[Open], Inner | Open, SerializeAsAny[Open]], ids=str)
def test_an_output_must_name_all_its_keys(annotation: Any) -> None:
    with pytest.raises(DefinitionError, match="lets through keys that it does not name"):
        compile_schema(annotation, "triage's output", "serialization")


def test_an_input_that_allows_more_keys_is_closed_because_a_worker_refuses_them() -> None:
    assert compile_schema(OpenDict, "it")["additionalProperties"] is False


def test_an_input_may_be_nothing() -> None:
    assert compile_schema(Nothing, "it")["additionalProperties"] is False


def test_keys_of_a_pattern_are_typed_and_closed() -> None:
    target = compile_schema(with_field(dict[Annotated[str, Field(pattern="^a")], int]), "it")["properties"]["target"]
    assert (target["patternProperties"], target["additionalProperties"]) == ({"^a": {"type": "integer"}}, False)


# --- what is written


class Written(BaseModel):
    count: int = 0
    title: str = Field("", alias="heading")
    secret: str = Field("", exclude=True)
    note: str | None = Field(None, exclude_if=lambda value: value is None)


def test_what_is_written_has_every_field_by_its_own_name_but_those_that_are_left_out() -> None:
    schema = compile_schema(Written, "it", "serialization")
    assert (list(schema["properties"]), schema["required"]) == (["count", "title", "note"], ["count", "title"])


def test_a_dictionary_with_optional_keys_may_be_written_without_them() -> None:
    assert "required" not in compile_schema(Typed, "it", "serialization")


def test_descriptions_are_kept() -> None:
    schema = compile_schema(Request, "it")
    assert schema["properties"]["repository"]["description"] == "Where."


def test_an_input_that_contains_itself_shows_its_fields() -> None:
    schema = compile_schema(Tree, "it")
    assert (list(schema["properties"]), list(schema["$defs"])) == (["children"], ["Tree"])


# --- unions


class Push(BaseModel):
    kind: Literal["push"]
    commits: int


class Pull(BaseModel):
    kind: Literal["pull", "merge"]
    commits: int


class Free(BaseModel):
    kind: str
    commits: int


class Unsaid(BaseModel):
    kind: Literal["unsaid"] = "unsaid"


class Also(BaseModel):
    kind: Literal["push"]


def target(annotation: Any) -> dict[str, Any]:
    found: dict[str, Any] = compile_schema(with_field(annotation), "it")["properties"]["target"]
    return found


DISCRIMINATOR = {"propertyName": "kind", "mapping": {"push": "#/$defs/Push", "pull": "#/$defs/Pull", "merge": "#/$defs/Pull"}}
MEMBERS = [{"$ref": "#/$defs/Push"}, {"$ref": "#/$defs/Pull"}]


def test_a_union_of_models_that_a_field_tells_apart_says_so() -> None:
    assert target(Push | Pull) == {"oneOf": MEMBERS, "discriminator": DISCRIMINATOR, "title": "Target"}


def test_the_same_is_said_of_a_union_that_names_its_discriminator_and_of_one_that_does_not() -> None:
    assert target(Push | Pull) == target(Annotated[Push | Pull, Field(discriminator="kind")])


def test_a_union_that_may_be_none_says_so_beside_it() -> None:
    assert target(Push | Pull | None)["anyOf"] == [{"oneOf": MEMBERS, "discriminator": DISCRIMINATOR}, {"type": "null"}]


def test_a_union_within_a_list_is_discriminated_too() -> None:
    assert target(list[Push | Pull])["items"] == {"oneOf": MEMBERS, "discriminator": DISCRIMINATOR}


@pytest.mark.parametrize(
    "annotation", [Push | Free, Push | Unsaid, Push | Also, Push | int, Push | None, Push | Inner, Push | list[Pull], int | str], ids=str
)
def test_a_union_that_nothing_tells_apart_stays_one_of_any(annotation: Any) -> None:
    assert "discriminator" not in str(target(annotation))


def test_a_field_with_a_default_tells_apart_what_is_written_for_there_it_always_is() -> None:
    assert "discriminator" in compile_schema(Push | Unsaid, "it", "serialization")
