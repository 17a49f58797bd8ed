"""What an answer must look like, in the keywords that decoders agree on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import AnyUrl, BaseModel, Field, create_model

from heddle import macro, person_only
from heddle.macros.decoders import SERVERS, decoder_findings
from heddle.macros.loading import AnyMacro
from heddle.macros.schema import compile_schema
from heddle.planning.answer_schema import MOST_REPEATED, answer_schema, branch_of
from tests.planning.offers import Offered

KEYWORDS: Final = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "minLength", "maxLength", "pattern",
     "format", "minimum", "maximum", "enum", "anyOf", "$ref", "$defs"}
)  # fmt: skip


class Request(BaseModel):
    repository: str
    count: Annotated[int, Field(ge=1, le=200)] = 5
    label_strategy: Literal["conventional", "by-path"] | None = None
    write: Annotated[bool, person_only] = False


class Report(BaseModel):
    processed: int = 0


@macro
async def repo_triage(request: Request) -> Report:
    """Label recent changes."""
    return Report()


def defined(name: str, model: type[BaseModel]) -> AnyMacro:
    async def handler(request: Any) -> Any:
        raise NotImplementedError

    handler.__annotations__ = {"request": model, "return": Report}
    return macro(name=name)(handler)


def whole(*macros: AnyMacro, categories: tuple[str, ...] = ()) -> dict[str, Any]:
    return answer_schema([branch_of(one, number) for number, one in enumerate(macros)], categories)


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = schema["properties"]["tasks"]["items"]["anyOf"]
    return found


def arguments(schema: dict[str, Any]) -> dict[str, Any]:
    """The down-levelled form of an input's schema, with its definitions."""
    branch = branch_of(Offered(schema), 0)
    found: dict[str, Any] = {**branch.schema["properties"]["arguments"], "$defs": branch.definitions}
    return found


def down(part: dict[str, Any]) -> dict[str, Any]:
    """The down-levelled form of a field's schema."""
    found: dict[str, Any] = arguments({"type": "object", "properties": {"x": part}})["properties"]["x"]
    return found


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key, inner in schema.items():
        if key in {"properties", "$defs"}:
            for one in inner.values():
                yield from parts(one)
        elif key == "anyOf":
            for one in inner:
                yield from parts(one)
        elif key in {"items", "additionalProperties"}:
            yield from parts(inner)


def fits(schema: dict[str, Any], value: object) -> bool:
    return Draft202012Validator(schema).is_valid(value)


# --- the union


def test_an_answer_is_one_of_the_macros_or_a_category_or_unsupported() -> None:
    schema = whole(repo_triage, defined("anything", Report), categories=("research",))
    named = [branch["properties"]["macro"]["enum"] for branch in branches(schema)]
    assert named == [["repo_triage"], ["anything"], ["novel:research"], ["unsupported"]]


def test_in_every_branch_the_macro_comes_first() -> None:
    assert {next(iter(branch["properties"])) for branch in branches(whole(repo_triage, categories=("research",)))} == {"macro"}


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        ([{"macro": "repo_triage", "arguments": {"repository": "."}}], True),
        ([{"macro": "repo_triage", "arguments": {"repository": ".", "count": 3}}, {"macro": "unsupported"}], True),
        ([{"macro": "novel:research"}], True),
        ([], False),
        ([{"macro": "nobody", "arguments": {}}], False),
        ([{"macro": "repo_triage"}], False),
        ([{"macro": "repo_triage", "arguments": {}}], False),
        ([{"macro": "repo_triage", "arguments": {"repository": ".", "write": True}}], False),
        ([{"macro": "repo_triage", "arguments": {"repository": ".", "count": 201}}], False),
        ([{"macro": "repo_triage", "arguments": {"repository": "."}, "tier": "frontier"}], False),
        ([{"macro": "unsupported", "arguments": {}}], False),
        ([{"macro": "novel:research", "arguments": {"x": 1}}], False),
    ],
)
def test_an_answer_has_tasks_of_its_branches_and_nothing_else(answer: list[Any], taken: bool) -> None:
    schema = whole(repo_triage, categories=("research",))
    assert fits(schema, {"tasks": answer}) == taken
    assert not fits(schema, {"tasks": answer, "reasoning": "because"})


def test_the_number_of_tasks_has_no_bound() -> None:
    task = {"macro": "repo_triage", "arguments": {"repository": "."}}
    assert fits(whole(repo_triage), {"tasks": [task] * 500})


def test_two_macros_may_each_have_a_model_of_the_same_name() -> None:
    first, second = create_model("Options", depth=(int, ...)), create_model("Options", colour=(str, ...))
    one, two = create_model("One", inner=(first, ...)), create_model("Two", inner=(second, ...))
    schema = whole(defined("one", one), defined("two", two))
    assert fits(schema, {"tasks": [{"macro": "one", "arguments": {"inner": {"depth": 1}}}]})
    assert not fits(schema, {"tasks": [{"macro": "one", "arguments": {"inner": {"colour": "x"}}}]})


class Tree(BaseModel):
    children: list[Tree] = []


def test_a_model_that_contains_itself_stays_one() -> None:
    schema = whole(defined("one", Tree))
    assert fits(schema, {"tasks": [{"macro": "one", "arguments": {"children": [{"children": []}]}}]})
    assert not fits(schema, {"tasks": [{"macro": "one", "arguments": {"children": [{"children": [5]}]}}]})


def test_what_only_hidden_fields_refer_to_is_not_there() -> None:
    secret = create_model("Secret", password=(str, ...))
    model = create_model("One", plain=(str, ...), inner=(Annotated[secret | None, person_only], None))
    assert "password" not in str(whole(defined("one", model)))


# --- what is kept, and what is left to the check after


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "minLength": 1, "maxLength": 200},
        {"type": "string", "pattern": "^[a-z]+/[a-z]{1,3}$"},
        {"type": "string", "format": "date"},
        {"type": "string", "format": "uuid"},
        {"type": "integer", "minimum": 1, "maximum": 200},
        {"type": "string", "enum": ["a", "b"]},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 9},
        {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"], "additionalProperties": False},
        {"type": "object", "properties": {}, "required": [], "additionalProperties": {"type": "integer"}},
        {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    ],
    ids=str,
)
def test_what_all_decoders_enforce_is_kept(part: dict[str, Any]) -> None:
    assert down(part) == part


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ({"type": "string", "title": "X", "description": "x", "default": "a", "examples": ["a"], "x-free-text": True}, {"type": "string"}),
        ({"type": "string", "pattern": "[a-z]+"}, {"type": "string"}),
        ({"type": "string", "pattern": r"^\d+$"}, {"type": "string"}),
        ({"type": "string", "pattern": "^[^/]+$"}, {"type": "string"}),
        ({"type": "string", "pattern": "^.+$"}, {"type": "string"}),
        ({"type": "string", "pattern": "^a|b$"}, {"type": "string"}),
        ({"type": "string", "pattern": "^[ -~]+$"}, {"type": "string"}),
        ({"type": "string", "pattern": '^"$'}, {"type": "string"}),
        ({"type": "string", "pattern": "^a+?$"}, {"type": "string"}),
        ({"type": "string", "pattern": "^a{1,999}$"}, {"type": "string"}),
        ({"type": "string", "format": "date-time"}, {"type": "string"}),
        ({"type": "string", "format": "email"}, {"type": "string"}),
        ({"type": "string", "maxLength": 5000}, {"type": "string"}),
        ({"type": "number", "minimum": 0.5, "multipleOf": 0.5}, {"type": "number"}),
        ({"type": "integer", "minimum": 0.5, "exclusiveMaximum": 10}, {"type": "integer", "minimum": 1, "maximum": 9}),
        ({"type": "integer", "exclusiveMinimum": 0.5, "exclusiveMaximum": 9.5}, {"type": "integer", "minimum": 1, "maximum": 9}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": 1, "maximum": 10**30}, {"type": "integer", "minimum": 2}),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True, "maxItems": 5000}, {"type": "array", "items": {"type": "string"}}),
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"enum": ["a", 1, None]}, {"enum": ["a", 1, None]}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}], "discriminator": {"propertyName": "x"}}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"anyOf": [{"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}),
        ({"type": ["string", "null"], "minLength": 1}, {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}]}),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, {"type": "string"}),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
         {"type": "array", "minItems": 2, "maxItems": 2, "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "minItems": 1, "items": False}, {"type": "array", "minItems": 1, "items": {"type": "integer"}}),
        ({"type": "object", "patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
         {"type": "object", "properties": {}, "required": [], "additionalProperties": {"type": "integer"}}),
        ({"type": "object", "additionalProperties": {"type": "integer"}, "propertyNames": {"minLength": 1}},
         {"type": "object", "properties": {}, "required": [], "additionalProperties": {"type": "integer"}}),
        ({"type": "string", "not": {"const": "a"}, "if": {}, "then": {}}, {"type": "string"}),
    ],
    ids=lambda part: str(part)[:80],
)  # fmt: skip
def test_what_some_decoder_ignores_misreads_or_rejects_is_left_to_the_check_after(part: dict[str, Any], kept: dict[str, Any]) -> None:
    assert down(part) == kept


def test_a_pattern_that_is_kept_cannot_take_in_the_quote_that_ends_the_text() -> None:
    shapes = ["^[a-z]+$", "^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", "^v[0-9]+$", "^[.]$", "^#[0-9]{1,5}$"]
    kept = [shape for shape in shapes if "pattern" in down({"type": "string", "pattern": shape})]
    assert kept == shapes
    assert not any(re.fullmatch(shape, text) for shape in kept for text in ('"', "\\", "\n", 'a"', "a\\"))


# --- of any schema

NUMBERS = st.integers(-9, 9) | st.floats(-9, 9).map(lambda number: round(number, 1))
TEXTS = st.text('ab/-1é"', max_size=4)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | st.sampled_from(["2026-01-31", "a/b", "ab"])
REMARKS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {}, optional={"title": st.just("A title"), "description": TEXTS, "default": SCALARS, "x-words": st.just({})}
)


def optional(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keywords)


def typed(name: str, keywords: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(REMARKS, keywords).map(lambda both: {"type": name, **both[0], **both[1]})


SMALL = st.integers(0, 4)
PATTERNS = st.sampled_from(["^[a-b]+$", "^a/b$", "[ab]", r"^\w+$", "^a|b$", "^.*$", "^[^a]*$", "^[ab]{1,2}/?[b-]*$"])
LEAVES = st.one_of(
    typed("string", optional(minLength=SMALL, maxLength=SMALL | st.just(9999), pattern=PATTERNS, format=st.sampled_from(["date", "date-time", "uri"]))),
    typed("integer", optional(minimum=NUMBERS, maximum=NUMBERS, exclusiveMinimum=NUMBERS, exclusiveMaximum=NUMBERS, multipleOf=st.just(2))),
    typed("number", optional(minimum=NUMBERS, exclusiveMaximum=NUMBERS)),
    typed("boolean", st.just({})),
    typed("null", st.just({})),
    st.lists(SCALARS, min_size=1, max_size=3).map(lambda values: {"enum": values}),
    SCALARS.map(lambda value: {"const": value, "enum": [value]}),
    st.just({}),
    st.sampled_from([{"$ref": "#/$defs/Tree"}, {"$ref": "#/$defs/A_B"}, {"$ref": "#/$defs/A-B", "minLength": 1}]),
    st.just({"type": ["string", "null"], "maxLength": 2}),
)  # fmt: skip


def composed(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(st.sampled_from(["a", "b", "é"]), inner, max_size=3)
    closed = st.sampled_from([True, False]) | inner
    objects = optional(properties=fields, required=st.lists(st.sampled_from(["a", "b"]), unique=True), additionalProperties=closed,
                       patternProperties=st.dictionaries(st.sampled_from(["^a", "b$"]), inner, max_size=2), maxProperties=SMALL)  # fmt: skip
    arrays = optional(items=inner | st.booleans(), prefixItems=st.lists(inner, min_size=1, max_size=2), minItems=SMALL, maxItems=SMALL | st.just(9999),
                      uniqueItems=st.booleans())  # fmt: skip
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        typed("object", objects),
        typed("array", arrays),
        st.tuples(st.sampled_from(["anyOf", "oneOf", "allOf"]), several).map(lambda both: dict([both])),
        st.tuples(inner, inner).map(lambda two: {**two[0], "not": two[1]}),
    )


DEFINITIONS = {
    "Tree": {"type": "object", "properties": {"a": {"$ref": "#/$defs/Tree"}, "b": {"type": "integer"}}, "additionalProperties": False},
    "A_B": {"type": "string"},
    "A-B": {"type": "integer"},
}
SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(LEAVES, composed, max_leaves=6).map(
    lambda part: {"type": "object", "properties": {"x": part}, "additionalProperties": False, "$defs": DEFINITIONS}
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "é", "ab"]), inner, max_size=3),
    max_leaves=6,
)


def likely(part: Any) -> st.SearchStrategy[Any]:
    """Values of which many fit a schema."""
    match part:
        case {"$ref": _}:
            return st.sampled_from([{}, {"a": {"b": 1}}, "ab", 1])
        case {"enum": [*values]}:
            return st.sampled_from(values)
        case {"anyOf": [*members]} | {"oneOf": [*members]} | {"allOf": [*members]}:
            return st.one_of(*map(likely, members))
        case {"type": "object"}:
            fields = part.get("properties", {})
            keys = {
                key: likely(fields[key]) if key in fields else VALUES | likely(part.get("additionalProperties"))
                for key in ("a", "b", "é", "ab")
            }
            return st.fixed_dictionaries({}, optional=keys)
        case {"type": "array"}:
            first = st.tuples(*map(likely, part.get("prefixItems", ()))).map(list)
            return st.tuples(first, st.lists(likely(part.get("items")), max_size=2)).map(lambda both: [*both[0], *both[1]])
        case {"type": "string"}:
            return st.text("ab", max_size=3) | TEXTS
        case {"type": "integer" | "number"}:
            return NUMBERS
        case _:
            return SCALARS


CASES = SCHEMAS.flatmap(
    lambda schema: st.tuples(st.just(schema), st.lists(likely(schema["properties"]["x"]) | VALUES, min_size=5, max_size=15))
)


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_what_a_schema_accepts_its_down_levelled_form_accepts(case: tuple[dict[str, Any], list[Any]]) -> None:
    schema, values = case
    strict, lax = Draft202012Validator(schema), Draft202012Validator(arguments(schema))
    assert [value for value in values if strict.is_valid({"x": value}) and not lax.is_valid({"x": value})] == []


@given(SCHEMAS)
@settings(max_examples=100, deadline=None)
def test_a_down_levelled_schema_has_no_other_keyword_and_no_decoder_has_to_skip_one(schema: dict[str, Any]) -> None:
    found = arguments(schema)
    Draft202012Validator.check_schema(found)
    for part in parts(found):
        assert part.keys() <= KEYWORDS
        assert "$ref" not in part or part["$ref"].removeprefix("#/$defs/") in found["$defs"]
        assert all(part.get(key, 0) < MOST_REPEATED for key in ("minLength", "maxLength", "minItems", "maxItems"))
    assert {one.server for one in decoder_findings(found)} <= {"openai"}


class Kind(StrEnum):
    FILE = "file"
    URL = "url"


class File(BaseModel):
    kind: Literal["file"]
    path: str = Field(min_length=1)


class Link(BaseModel):
    kind: Literal["url"]
    url: AnyUrl


class Everything(BaseModel):
    text: str = Field("", max_length=50, pattern="^[a-z]*$")
    whole: int = Field(0, gt=-5, lt=5)
    ratio: float = Field(0, ge=0, le=1)
    flag: bool = False
    kind: Kind = Kind.FILE
    source: File | Link | None = None
    tags: set[str] = set()
    pair: tuple[int, str] = (1, "a")
    table: dict[Annotated[str, Field(min_length=1)], int] = {}
    matching: dict[Annotated[str, Field(pattern="^a")], int] = {}
    day: date | None = None
    moment: datetime | None = None
    key: UUID | None = None
    tree: Tree = Tree()


INPUTS = st.builds(
    Everything,
    text=st.text("abc", max_size=9),
    whole=st.integers(-4, 4),
    ratio=st.floats(0, 1),
    flag=st.booleans(),
    kind=st.sampled_from(Kind),
    source=st.none() | st.builds(File, kind=st.just("file"), path=st.text(min_size=1)) | st.builds(Link, kind=st.just("url"), url=st.just(AnyUrl("https://x.y"))),
    tags=st.sets(st.text(max_size=3), max_size=3),
    pair=st.tuples(st.integers(-9, 9), st.text(max_size=3)),
    table=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(-9, 9), max_size=3),
    matching=st.dictionaries(st.just("ab"), st.integers(-9, 9)),
    day=st.none() | st.dates(),
    moment=st.none() | st.datetimes(),
    key=st.none() | st.uuids(),
    tree=st.just(Tree(children=[Tree()])),
)  # fmt: skip
COMPILED = arguments(compile_schema(Everything, "it"))


@given(INPUTS)
@settings(max_examples=50, deadline=None)
def test_every_input_of_a_macro_can_be_answered(value: Everything) -> None:
    assert fits(COMPILED, value.model_dump(mode="json"))


def test_of_what_decoders_do_not_take_only_optional_fields_and_open_tables_are_left() -> None:
    left = {(one.server, one.keyword) for one in decoder_findings(COMPILED)}
    assert left == {("openai", "required"), ("openai", "additionalProperties")}
    assert {one.server for one in decoder_findings(compile_schema(Everything, "it"))} == set(SERVERS)
