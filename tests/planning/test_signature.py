"""A macro as the planner's model reads it."""

from __future__ import annotations

from datetime import date, datetime, time
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AnyUrl, BaseModel, Field

from heddle import macro, person_only
from heddle.fields import Bytes, Days, When, given, words
from heddle.macros.schema import compile_schema
from heddle.planning.offer import Offer
from heddle.planning.signature import entry, signature
from tests.planning.offers import Offered


def offered(*, required: tuple[str, ...] = (), **fields: Any) -> Offer:
    return Offered({"type": "object", "properties": fields, "required": list(required)})


def field_of(part: dict[str, Any]) -> str:
    """How a required field with this schema is told."""
    line = signature(offered(x=part, required=("x",)))
    return line.removeprefix("act(x: ").removesuffix("): Do it.")


class Colour(StrEnum):
    RED = "red"
    DARK_BLUE = "dark blue"


class Span(BaseModel):
    since: date
    until: date | None = None


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Everything(BaseModel):
    text: str
    whole: int
    ratio: float
    flag: bool
    choice: Literal["a", "b-c", "2", "true"]
    colour: Colour
    one: Literal["only"]
    words: list[str]
    few: Annotated[list[int], Field(max_length=3)]
    pair: tuple[int, str]
    table: dict[str, int]
    mixed: list[int | str]
    either: int | Literal["all"]
    span: Span
    tree: Tree
    day: date
    moment: datetime
    hour: time
    link: AnyUrl
    key: UUID
    numbers: Literal[1, 2]
    nullable: int | None


class Cleaning(BaseModel):
    repository: Annotated[str, given("repo")]
    window: Days = 14
    since: When | None = None
    limits: list[Bytes] = []
    strategy: Annotated[Literal["auto", "manual"], words(manual=["by hand"])] = "auto"
    write: Annotated[bool, person_only] = False


@macro
async def clean(request: Cleaning) -> str:
    """Clean up."""
    return ""


def test_a_macro_is_one_line_with_its_fields_kinds_defaults_and_intent() -> None:
    class Request(BaseModel):
        repository: str
        count: Annotated[int, Field(ge=1, le=200)] = 5
        label_strategy: Literal["conventional", "by-path"] | None = None

    macro = Offered(compile_schema(Request, "it"), "Label recent changes.", "repo_triage")
    assert signature(macro) == (
        "repo_triage(repository: text, count: 1..200 = 5, label_strategy?: conventional | by-path): Label recent changes."
    )


def test_every_kind_of_field_is_told_in_words() -> None:
    line = signature(Offered(compile_schema(Everything, "it")))
    assert line.removeprefix("act(").removesuffix("): Do it.") == (
        'text: text, whole: integer, ratio: number, flag: boolean, choice: a | b-c | "2" | "true", colour: red | "dark blue", one: only, '
        "words: list of text, few: list of up to 3 integer, pair: [integer, text], table: map of text to integer, "
        "mixed: list of (integer or text), either: integer or all, span: {since: date as YYYY-MM-DD, until?: date as YYYY-MM-DD}, "
        "tree: {name: text, children: list of {…} = []}, day: date as YYYY-MM-DD, moment: time as YYYY-MM-DDTHH:MM:SSZ, "
        "hour: time of day as HH:MM:SS, link: URL, key: UUID, numbers: 1 | 2, nullable: integer or null"
    )


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"minimum": 1, "maximum": 200}, "1..200"), ({"minimum": 1}, "integer from 1"), ({"maximum": 9}, "integer up to 9"),
        ({"exclusiveMinimum": 0}, "integer above 0"), ({"minimum": 1, "exclusiveMaximum": 9}, "integer from 1 below 9"), ({}, "integer"),
    ],
)  # fmt: skip
def test_the_limits_of_a_number_are_told(limits: dict[str, int], told: str) -> None:
    assert field_of({"type": "integer", **limits}) == told


def test_a_range_that_is_not_of_whole_numbers_says_so() -> None:
    assert field_of({"type": "number", "minimum": 0, "maximum": 1}) == "number 0..1"


@pytest.mark.parametrize(
    ("quantity", "told"),
    [("days", "time span as stated"), ("bytes", "size as stated"), ("percent", "percentage as stated"), ("when", "time as stated")],
)
def test_a_quantity_is_copied_as_it_is_stated(quantity: str, told: str) -> None:
    assert field_of({"type": "string", "x-quantity": quantity}) == told


def test_marks_and_quantities_come_through_to_the_line() -> None:
    assert signature(clean) == (
        'clean(window: time span as stated = "14 days", since?: time as stated, limits: list of size as stated = [], '
        'strategy: auto | manual ("by hand") = auto): Clean up.'
    )


def test_other_words_for_a_choice_stand_beside_it() -> None:
    part = {
        "anyOf": [{"enum": ["conventional", "manual"], "type": "string"}, {"type": "null"}],
        "x-words": {"manual": ["by hand", "myself"]},
    }
    assert field_of(part) == 'conventional | manual ("by hand", "myself") or null'


def test_other_words_for_a_boolean_stand_beside_it() -> None:
    assert field_of({"type": "boolean", "x-words": {"true": ["as a draft"]}}) == 'true ("as a draft") | false'


@pytest.mark.parametrize(
    ("default", "told"),
    [
        (5, "x: integer = 5"), ("main", "x: integer = main"), ("two weeks", 'x: integer = "two weeks"'), ("", 'x: integer = ""'),
        (False, "x: integer = false"), (None, "x?: integer"), (["long"] * 9, "x?: integer"), ("null", 'x: integer = "null"'),
    ],
)  # fmt: skip
def test_a_default_is_told_if_it_is_short(default: Any, told: str) -> None:
    assert signature(offered(x={"type": "integer", "default": default})) == f"act({told}): Do it."


def test_a_field_that_may_be_left_out_and_has_no_default_has_a_question_mark() -> None:
    assert signature(offered(x={"type": "integer"})) == "act(x?: integer): Do it."


@pytest.mark.parametrize(("pattern", "told"), [("^[a-z]+$", "text like ^[a-z]+$"), (f"^{'a' * 80}$", "text")])
def test_a_short_pattern_is_told(pattern: str, told: str) -> None:
    assert field_of({"type": "string", "pattern": pattern}) == told


@pytest.mark.parametrize("part", [{}, {"type": "object"}, {"type": "array"}, {"allOf": [{"type": "string"}]}, {"$ref": "#/$defs/none"}])
def test_a_part_that_says_little_has_a_kind_all_the_same(part: Any) -> None:
    assert field_of(part) in {"value", "object", "list", "text"}


def test_the_fields_descriptions_are_below_the_line_those_of_inner_objects_by_their_path() -> None:
    class Inner(BaseModel):
        depth: int = Field(description="How deep.")

    class Outer(BaseModel):
        plain: str
        name: str = Field(description="What it is\n  called.")
        inner: Inner | None = Field(None, description="More.")
        many: list[Inner] = []

    assert entry(Offered(compile_schema(Outer, "it"))).splitlines()[1:] == [
        "    name: What it is called.",
        "    inner: More.",
        "    inner.depth: How deep.",
        "    many[].depth: How deep.",
    ]


def test_the_descriptions_of_an_object_in_itself_are_told_once() -> None:
    class Node(BaseModel):
        child: Node | None = Field(None, description="The next.")

    class Holder(BaseModel):
        node: Node

    assert entry(Offered(compile_schema(Holder, "it"))).splitlines()[1:] == ["    node.child: The next."]


def test_an_intent_is_one_line_whatever_is_in_it() -> None:
    assert signature(Offered({"properties": {}}, "Do\n- it()\u2028now")) == "act(): Do - it() now"
