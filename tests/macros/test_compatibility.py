"""What a change of macros means to callers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Discriminator, Field, Tag, create_model

from heddle import macro, upgrade
from heddle.fields import Bytes, Days, Percent, When, free_text, words
from heddle.fields import given as given_by
from heddle.macros.catalogue import Catalogue, catalogue_of
from heddle.macros.compatibility import Change, compare
from heddle.macros.inclusion import differences
from heddle.macros.loading import AnyMacro, collect
from heddle.macros.schema import compile_schema
from heddle.macros.validation import problems, validator_of

Fields: TypeAlias = dict[str, Any]


class Word(BaseModel):
    word: str = ""


class Push(BaseModel):
    kind: Literal["push"]
    commits: int


class Pull(BaseModel):
    kind: Literal["pull"]
    title: str


class Loud(BaseModel):
    kind: Literal["push"]
    commits: int
    loud: bool


class Tree(BaseModel):
    size: int
    children: list[Tree] = []


class Slim(BaseModel):
    size: Annotated[int, Field(ge=0)]
    children: list[Slim] = []


def model(fields: Fields) -> type[BaseModel]:
    definitions: dict[str, Any] = {name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in fields.items()}
    made: type[BaseModel] = create_model("Model", **definitions)
    return made


def defined(version: int = 1, *, given: Any = Word, made: Any = Word, **promises: Any) -> AnyMacro:
    async def handler(request: Any) -> Any:
        return request

    handler.__annotations__ = {"request": given, "return": made}
    typed: Callable[..., Any] = handler
    return macro(name="say", version=version, **promises)(typed)


def catalogue(*macros: AnyMacro) -> Catalogue:
    return catalogue_of(collect(iter(macros)))


def told(old: AnyMacro | None, new: AnyMacro | None) -> list[tuple[str, str, str]]:
    return [change[2:] for change in compare(catalogue(*[old] if old else []), catalogue(*[new] if new else []))]


def of_input(old: Any, new: Any) -> list[tuple[str, str, str]]:
    return told(defined(given=model({"x": old})), defined(given=model({"x": new})))


def of_output(old: Any, new: Any) -> list[tuple[str, str, str]]:
    return told(defined(made=model({"x": old})), defined(made=model({"x": new})))


# --- versions


def test_nothing_changed_is_no_change() -> None:
    assert told(defined(), defined()) == []


def test_a_new_version_is_compatible_whatever_its_shape() -> None:
    changes = compare(catalogue(defined()), catalogue(defined(), defined(2, given=model({"n": int}))))
    assert changes == [Change("say", 2, "compatible", "", "added")]


def test_a_version_that_is_gone_is_breaking() -> None:
    assert told(defined(), None) == [("breaking", "", "removed; it was not deprecated, and nothing upgrades it")]


def test_a_version_that_is_gone_after_it_was_deprecated_is_compatible() -> None:
    assert told(defined(deprecated="until 2027-03"), None) == [("compatible", "", "removed; it was deprecated until 2027-03")]


class Words(BaseModel):
    words: list[str]


@upgrade("say", to=2)
def up(old: Word) -> Words:
    """As a list."""
    return Words(words=[old.word])


def test_a_version_that_is_upgraded_now_is_compatible_if_its_callers_understand_the_new_output() -> None:
    old = catalogue(defined())
    same, more, other = (
        catalogue_of(collect(iter([defined(2, given=Words, made=made), up]))) for made in (Word, model({"word": str, "n": int}), Words)
    )
    added = Change("say", 2, "compatible", "", "added")
    upgraded = Change("say", 1, "compatible", "", "upgraded to version 2")
    assert compare(old, same) == [upgraded, added]
    assert [one.kind for one in compare(old, more)] == ["compatible"] * 3
    assert compare(old, other)[:2] == [Change("say", 1, "breaking", "output.word", "removed"), upgraded]
    assert compare(catalogue(defined(deprecated="until 2027-03")), other) == [upgraded, added]


def test_an_upgrade_that_is_gone_is_breaking_unless_there_is_a_handler_now() -> None:
    newest = defined(2, given=Words)
    old = catalogue_of(collect(iter([newest, up])))
    assert compare(old, catalogue(newest)) == [Change("say", 2, "breaking", "reads", "no longer: 1")]
    assert {one.kind for one in compare(old, catalogue(newest, defined()))} == {"compatible"}
    assert {one.kind for one in compare(catalogue(newest), old)} == {"compatible"}


@pytest.mark.parametrize(
    ("promise", "what"),
    [
        ({"tier": "local"}, ("compatible", "tier", '"standard" → "local"')),
        ({"timeout": 5}, ("compatible", "timeout", "60.0 → 5.0")),
        ({"deprecated": "soon"}, ("compatible", "deprecated", 'null → "soon"')),
        ({"phrases": ["say {word}"]}, ("compatible", "phrases", '[] → ["say {word}"]')),
        ({"effects": "none"}, ("compatible", "effects", '"reversible" → "none"')),
        ({"effects": "irreversible"}, ("breaking", "effects", '"reversible" → "irreversible"')),
    ],
    ids=str,
)
def test_what_is_no_shape_is_compatible_unless_a_run_changes_more(promise: dict[str, Any], what: tuple[str, str, str]) -> None:
    assert told(defined(), defined(**promise)) == [what]


def test_a_new_description_is_compatible() -> None:
    changes = of_input(int, Annotated[int, Field(description="how many")])
    assert changes == [("compatible", "input", "only what is said about it: descriptions, titles, or the like")]


def test_changes_are_told_by_version_and_those_that_break_first() -> None:
    old = catalogue(defined(given=model({"a": int, "b": int})), defined(2))
    new = catalogue(defined(given=model({"a": float, "b": str})), defined(2, given=model({"c": int})))
    assert [(one.version, one.kind) for one in compare(old, new)] == [
        (1, "breaking"),
        (1, "compatible"),
        (2, "breaking"),
        (2, "breaking"),
    ]


# --- single changes: what a change of an input is, and the same change of an output


def bounded(**bounds: Any) -> Any:
    return Annotated[int, Field(**bounds)]


def text(**bounds: Any) -> Any:
    return Annotated[str, Field(**bounds)]


WIDENED = [
    (int, float, "type: integer → number"),
    (int, int | str, "now also: string"),
    (int, int | None, "now also: null"),
    (Literal["a"], Literal["a", "b"], "now also: b"),
    (Literal["a"], str, "type: a → string"),
    (bounded(ge=1), bounded(ge=0), "minimum: 1 → 0"),
    (bounded(ge=1), int, "minimum: 1 → none"),
    (bounded(gt=1), bounded(ge=1), "minimum: 1 → 1"),
    (bounded(le=5), bounded(lt=7), "maximum: 5 → 7"),
    (bounded(multiple_of=4), bounded(multiple_of=2), "multipleOf: 4 → 2"),
    (text(min_length=2), text(min_length=1), "minLength: 2 → 1"),
    (text(max_length=2), str, "maxLength: 2 → none"),
    (text(pattern="^a$"), str, 'pattern: "^a$" → none'),
    (datetime, str, 'format: "date-time" → none'),
    (Annotated[list[int], Field(max_length=2)], list[int], "maxItems: 2 → none"),
    (set[int], list[int], "uniqueItems: true → none"),
    (dict[str, int], dict[str, float], "type: integer → number"),
    (list[int], list[float], "type: integer → number"),
    (tuple[int, int], tuple[int, float], "type: integer → number"),
    (Push, Push | Pull, "now also: Pull"),
    (Slim, Tree, "minimum: 0 → none"),
]
QUANTITIES = [
    (Annotated[float, Field(ge=0)], Days, 'type: number → "number or string"'),
    (bounded(gt=0), Bytes, 'type: integer → "integer or string"'),
    (Annotated[Days, Field(le=5)], Days, "maximum: 5 → none"),
    (Literal["a day"], Days, 'type: "a day" → "number or string"'),
    (When, str, "x-quantity: when → none"),
]
"""As inputs; what is written of them is a number or a time."""


@pytest.mark.parametrize(("narrow", "wide", "what"), WIDENED, ids=lambda value: str(value)[:60])
def test_a_wider_input_is_compatible_and_a_wider_output_is_breaking(narrow: Any, wide: Any, what: str) -> None:
    assert {one[0] for one in of_input(narrow, wide)} == {"compatible"}
    assert {one[0] for one in of_output(narrow, wide)} == {"breaking"}
    assert {one[2] for one in of_input(narrow, wide)} == {what}


@pytest.mark.parametrize(("narrow", "wide", "what"), WIDENED, ids=lambda value: str(value)[:60])
def test_a_narrower_input_is_breaking_and_a_narrower_output_is_compatible(narrow: Any, wide: Any, what: str) -> None:
    assert {one[0] for one in of_input(wide, narrow)} == {"breaking"}
    assert {one[0] for one in of_output(wide, narrow)} == {"compatible"}


@pytest.mark.parametrize(("narrow", "wide", "what"), QUANTITIES, ids=lambda value: str(value)[:60])
def test_a_wider_quantity_of_an_input_is_compatible_and_a_narrower_one_breaking(narrow: Any, wide: Any, what: str) -> None:
    assert of_input(narrow, wide) == [("compatible", "input.x", what)]
    assert {one[0] for one in of_input(wide, narrow)} == {"breaking"}


def test_another_kind_of_quantity_is_breaking_though_its_numbers_are_of_the_same_type() -> None:
    assert of_input(Days, Annotated[Percent, Field(ge=0)]) == [("breaking", "input.x", "x-quantity: days → percent")]
    assert of_input(Annotated[Percent, Field(ge=0)], Days) == [("breaking", "input.x", "x-quantity: percent → days")]


def test_another_key_of_the_context_is_breaking_for_those_who_give_it() -> None:
    assert of_input(Annotated[str, given_by("repo")], Annotated[str, given_by("repository")]) == [
        ("breaking", "input.x", "x-given: repo → repository")
    ]
    assert of_input(str, Annotated[str, given_by("repo")]) == [("breaking", "input.x", "x-given: none → repo")]
    assert of_input(Annotated[str, given_by("repo")], str) == [("breaking", "input.x", "x-given: repo → none")]


def test_other_words_for_a_choice_and_freer_text_change_nothing_of_what_is_taken() -> None:
    told = ("compatible", "input", "only what is said about it: descriptions, titles, or the like")
    assert of_input(Literal["a"], Annotated[Literal["a"], words(a=["the a"])]) == [told]
    assert of_input(str, Annotated[str, free_text]) == [told]


UNRELATED = [
    (int, str),
    (text(pattern="^a$"), text(pattern="^b$")),
    (datetime, date),
    (Push, Pull),
    (list[int], set[str]),
    (list[int], dict[str, int]),
    (bounded(multiple_of=2), bounded(multiple_of=3)),
    (Literal["a", "b"], Literal["b", "c"]),
    (Literal[1], bool),
    (tuple[int, str], tuple[str, int]),
]


@pytest.mark.parametrize(("old", "new"), UNRELATED, ids=str)
def test_what_is_neither_wider_nor_narrower_is_breaking_on_both_sides(old: Any, new: Any) -> None:
    for one, other in ((old, new), (new, old)):
        assert "breaking" in {change[0] for change in (*of_input(one, other),)}
        assert "breaking" in {change[0] for change in (*of_output(one, other),)}


# --- fields


def fields_of_input(old: Fields, new: Fields) -> list[tuple[str, str, str]]:
    return told(defined(given=model(old)), defined(given=model(new)))


def fields_of_output(old: Fields, new: Fields) -> list[tuple[str, str, str]]:
    return told(defined(made=model(old)), defined(made=model(new)))


def test_an_input_field_that_was_added_is_compatible_unless_it_is_required() -> None:
    assert fields_of_input({"a": int}, {"a": int, "b": (int, 1)}) == [("compatible", "input.b", "added")]
    assert fields_of_input({"a": int}, {"a": int, "b": int}) == [("breaking", "input.b", "added; it is required")]


@pytest.mark.parametrize("b", [int, (int, 1)], ids=str)
def test_an_input_field_that_was_removed_is_breaking(b: Any) -> None:
    assert fields_of_input({"a": int, "b": b}, {"a": int}) == [("breaking", "input.b", "removed")]


def test_an_input_field_that_is_required_now_is_breaking_and_one_that_no_longer_is_compatible() -> None:
    assert fields_of_input({"a": (int, 1)}, {"a": int}) == [("breaking", "input.a", "required now")]
    assert fields_of_input({"a": int}, {"a": (int, 1)}) == [("compatible", "input.a", "may be left out now")]


def test_another_default_of_an_input_is_breaking_for_leaving_the_field_out_means_something_else_now() -> None:
    assert fields_of_input({"a": (int, 1)}, {"a": (int, 2)}) == [("breaking", "input.a", "default: 1 → 2")]
    assert fields_of_output({"a": (int, 1)}, {"a": (int, 2)}) == [
        ("compatible", "output", "only what is said about it: descriptions, titles, or the like")
    ]


def test_an_output_field_that_was_added_is_compatible_for_readers_pass_over_it() -> None:
    assert fields_of_output({"a": int}, {"a": int, "b": int}) == [("compatible", "output.b", "added")]


@pytest.mark.parametrize("b", [int, (int | None, Field(None, exclude_if=lambda value: value is None))], ids=["always", "sometimes"])
def test_an_output_field_that_was_removed_is_breaking(b: Any) -> None:
    assert fields_of_output({"a": int, "b": b}, {"a": int}) == [("breaking", "output.b", "removed")]


def test_an_output_field_that_may_be_left_out_now_is_breaking() -> None:
    sometimes = (int, Field(0, exclude_if=lambda value: value == 0))
    assert fields_of_output({"a": int}, {"a": sometimes}) == [("breaking", "output.a", "may be left out now")]
    assert fields_of_output({"a": sometimes}, {"a": int}) == [("compatible", "output.a", "required now")]


def test_a_field_far_within_is_told_by_its_path() -> None:
    old, new = model({"n": int}), model({"n": str})
    assert [one[1] for one in fields_of_input({"a": dict[str, list[old]]}, {"a": dict[str, list[new]]})] == ["input.a.*[].n"]  # type: ignore[valid-type]


def test_what_is_renamed_in_the_code_alone_is_no_change_of_shape() -> None:
    assert {one[0] for one in of_input(Tree, create_model("Renamed", __base__=Tree))} == {"compatible"}


def test_a_union_that_only_code_can_tell_apart_cannot_be_compared_once_a_member_changes() -> None:
    def kind(value: Any) -> str:
        return "a" if isinstance(value, dict) else "b"

    def union(member: type[BaseModel]) -> Any:
        return Annotated[Annotated[member, Tag("a")] | Annotated[Word, Tag("b")], Discriminator(kind)]

    narrow, wide = model({"n": bounded(ge=1)}), model({"n": int})
    assert of_input(union(wide), union(wide)) == []
    assert "breaking" in {one[0] for one in of_input(union(narrow), union(wide))}


# --- the proof itself


LEAVES: list[Any] = [
    int,
    float,
    str,
    bool,
    None,
    bounded(ge=0),
    bounded(gt=0, le=3),
    bounded(ge=1, lt=3),
    bounded(multiple_of=2),
    Annotated[float, Field(ge=0.5)],
    text(min_length=1),
    text(max_length=2),
    text(pattern="^a"),
    Literal["a"],
    Literal["a", "b"],
    Literal[1, 2],
    date,
    Days,
    Annotated[Days, Field(ge=1)],
    Bytes,
    When,
]
INNER: list[Any] = [Push, Pull, Loud, Tree, Slim, Push | Pull]
COMPOSED: list[Any] = [
    *(list[kind] for kind in (int, float, bounded(ge=0), Push, Push | Pull, Slim, Tree)),  # type: ignore[valid-type]
    *(dict[str, kind] for kind in (int, float, Literal["a"], str)),  # type: ignore[valid-type]
    *(kind | None for kind in (int, float, Push, Push | Pull)),
    *(kind | str for kind in (int, bounded(ge=0))),
    Annotated[list[int], Field(max_length=1)],
    Annotated[list[int], Field(min_length=1)],
    tuple[int, str],
    tuple[float, str],
    tuple[int, ...],
    set[int],
]
KINDS: list[Any] = [*LEAVES, *INNER, *COMPOSED]
SCALARS = [None, True, False, -1, 0, 1, 2, 3, 4, 0.5, 1.0, 2.5, "a", "b", "ab", "abc", "", "2027-03-01", "2 days"]
OBJECTS: list[Any] = [
    {"kind": "push", "commits": 1},
    {"kind": "push", "commits": 1, "loud": True},
    {"kind": "pull", "title": "x"},
    {"kind": "pull", "title": "x", "loud": True},
    {"size": 1},
    {"size": -1},
    {"size": 1, "children": [{"size": 2}]},
    {"size": 1, "children": [{"size": 2, "children": [{"size": -1}]}]},
]
VALUES = [
    *SCALARS,
    *OBJECTS,
    [],
    *([value] for value in (*SCALARS, *OBJECTS)),
    *([1, value] for value in (*SCALARS, *OBJECTS)),
    {},
    *({"key": value} for value in SCALARS),
]


def opened(schema: Any) -> Any:
    """As a reader sees it who passes over what he does not know."""
    match schema:
        case dict():
            return {key: opened(value) for key, value in schema.items() if not (key == "additionalProperties" and value is False)}
        case list():
            return [opened(value) for value in schema]
        case _:
            return schema


@cache
def schema_of(kind: int, *, written: bool) -> Any:
    return compile_schema(model({"x": KINDS[kind]}), "it", "serialization" if written else "validation")


@cache
def taken(kind: int, *, written: bool, by_a_reader: bool) -> frozenset[int]:
    """Which of the values a kind takes; a reader of what is written passes over what he does not know."""
    schema = schema_of(kind, written=written)
    validator = validator_of(opened(schema) if by_a_reader else schema)
    return frozenset(number for number, value in enumerate(VALUES) if problems(validator, {"x": value}) is None)


@cache
def is_proven(narrow: int, wide: int, *, written: bool) -> bool:
    one, other = (schema_of(kind, written=written) for kind in (narrow, wide))
    return not differences(one, other, narrow="old", written=written)


@pytest.mark.parametrize("narrow", range(len(KINDS)), ids=[str(kind) for kind in KINDS])
def test_what_is_included_by_the_proof_is_included_value_by_value(narrow: int) -> None:
    for wide in range(len(KINDS)):
        for written in (False, True):
            if is_proven(narrow, wide, written=written):
                given = taken(narrow, written=written, by_a_reader=False)
                assert given - taken(wide, written=written, by_a_reader=written) == set(), KINDS[wide]


def test_the_proof_finds_a_good_part_of_what_is_included() -> None:
    """Or saying "breaking" of everything would do."""
    sets = [taken(kind, written=False, by_a_reader=False) for kind in range(len(KINDS))]
    pairs = [(one, other) for one in range(len(KINDS)) for other in range(len(KINDS)) if sets[one] <= sets[other]]
    proven = [pair for pair in pairs if is_proven(*pair, written=False)]
    assert len(proven) > 0.8 * len(pairs)


def shapes() -> st.SearchStrategy[Fields]:
    return st.dictionaries(st.sampled_from("abc"), st.tuples(st.sampled_from(KINDS), st.sampled_from([..., 1, 2])), min_size=1)


@given(shapes(), shapes(), st.booleans(), st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from(VALUES)), max_size=20))
@settings(deadline=None)
def test_an_input_change_that_is_told_as_compatible_refuses_nothing_that_was_taken(
    old: Fields, changed: Fields, kept: bool, values: list[dict[str, Any]]
) -> None:
    before, after = (compile_schema(model(fields), "it") for fields in (old, {**(old if kept else {}), **changed}))
    if not differences(before, after, narrow="old", written=False):
        one, other = validator_of(before), validator_of(after)
        assert [value for value in values if problems(one, value) is None and problems(other, value)] == []


@given(shapes())
@settings(deadline=None)
def test_a_shape_is_included_in_itself(fields: Fields) -> None:
    one = compile_schema(model(fields), "it")
    other = json.loads(json.dumps(one))
    other = {**other, "$defs": {**other.get("$defs", {}), "Unused": {"type": "null"}}}  # so that nothing is the same as a whole
    for written in (True, False):
        assert differences(one, other, narrow="old", written=written) == []
        assert differences(json.loads(json.dumps(one)), other, narrow="new", written=written) == []
