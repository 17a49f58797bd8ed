"""Marks on input fields: what stands in the schema, what the planner sees, and marks that make no sense."""

from __future__ import annotations

import enum
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, create_model

from heddle import macro
from heddle.errors import DefinitionError
from heddle.fields import Bytes, Days, Percent, When, free_text, given, person_only, words
from heddle.macros.catalogue import catalogue_of, contract_of, read_catalogue, write_catalogue
from heddle.macros.loading import collect
from heddle.macros.marks import check_marks, given_fields, person_only_fields, planner_schema
from heddle.macros.schema import compile_schema

Strategy = Literal["semantic", "conventional"]


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    since: When | None = None
    ages: list[Days] = [14, 0.5]


class Request(BaseModel):
    """What to label."""

    repository: Annotated[str, given("repo"), Field(min_length=1, description="Where.")]
    branch: Annotated[str | None, given("branch")] = None
    strategy: Annotated[Strategy, words(conventional=["conventional commits", "commit prefixes"])] = "semantic"
    colour: Annotated[Colour | None, words(red=["crimson"])] = None
    loud: Annotated[bool, words(true=["loudly"], false=["quietly"])] = False
    title: Annotated[str, free_text] = ""
    older_than: Days = Field(14, ge=1, description="How old.")
    limit: Annotated[Bytes, Field(le=10**9)]
    share: Percent | None = Field(15, description="How much.")
    inner: Inner | None = None
    write: Annotated[bool, person_only] = False
    reason: Annotated[str, Field(min_length=1), person_only]


@macro(tier="local", effects="none")
async def label(request: Request) -> str:
    """Label recent changes."""
    return request.repository


def with_field(annotation: Any, default: Any = ...) -> type[BaseModel]:
    return create_model("Request", target=(annotation, default))


def refusal(annotation: Any, default: Any = ...) -> str:
    with pytest.raises(DefinitionError) as caught:
        check_marks(compile_schema(with_field(annotation, default), "it"), "triage's input")
    return str(caught.value).removeprefix("triage's input at ")


# --- what stands in the schema


def test_marks_stand_in_the_schema_beside_the_type() -> None:
    fields = label.schema["properties"]
    assert fields["repository"]["x-given"] == "repo"
    assert fields["strategy"]["x-words"] == {"conventional": ["conventional commits", "commit prefixes"]}
    assert fields["colour"]["x-words"] == {"red": ["crimson"]}
    assert fields["title"]["x-free-text"] is True
    assert fields["write"]["x-person-only"] is True


def test_marks_change_nothing_of_what_a_field_takes() -> None:
    request = {"repository": "x", "branch": None, "limit": 1, "reason": "r", "colour": "red", "loud": True}
    assert label.read(request) == Request(repository="x", limit=1, reason="r", colour=Colour.RED, loud=True)


def test_marks_are_shown_as_they_are_written() -> None:
    assert [repr(mark) for mark in (person_only, free_text, given("repo"))] == ["person_only", "free_text", "given('repo')"]


def test_fields_that_the_context_fills_are_told_with_their_keys() -> None:
    assert given_fields(label.schema) == {"repository": "repo", "branch": "branch"}


# --- what the planner sees


def test_the_planner_does_not_see_what_is_not_its_to_fill() -> None:
    shown = label.planner_schema
    assert list(shown["properties"]) == ["strategy", "colour", "loud", "title", "older_than", "limit", "share", "inner"]
    assert shown["required"] == ["limit"]


def test_the_planner_sees_text_in_the_place_of_quantities_and_of_their_defaults() -> None:
    shown = label.planner_schema["properties"]
    assert shown["older_than"] == {
        "type": "string",
        "x-quantity": "days",
        "title": "Older Than",
        "description": "How old.",
        "default": "14 days",
    }
    assert shown["limit"] == {"type": "string", "x-quantity": "bytes", "title": "Limit"}
    assert shown["share"] == {
        "anyOf": [{"type": "string", "x-quantity": "percent"}, {"type": "null"}],
        "title": "Share",
        "description": "How much.",
        "default": "15%",
    }
    assert label.planner_schema["$defs"]["Inner"]["properties"] == {
        "since": {"anyOf": [{"type": "string", "x-quantity": "when"}, {"type": "null"}], "default": None, "title": "Since"},
        "ages": {"type": "array", "items": {"type": "string", "x-quantity": "days"}, "default": ["14 days", "0.5 days"], "title": "Ages"},
    }


def test_a_field_whose_name_is_a_keyword_s_is_a_field_to_the_planner_too() -> None:
    model = create_model("Request", items=(Days, ...), default=(Days, ...), properties=(Days, ...), anyOf=(int, 1))
    shown = planner_schema(compile_schema(model, "it"), frozenset())["properties"]
    assert [part["type"] for part in shown.values()] == ["string", "string", "string", "integer"]


def test_what_the_planner_sees_leaves_the_schema_itself_alone() -> None:
    schema = compile_schema(Request, "it")
    before = json.dumps(schema)
    planner_schema(schema, frozenset({"write"}))
    assert json.dumps(schema) == before


def test_a_contract_from_a_catalogue_shows_the_planner_the_same() -> None:
    text = write_catalogue(catalogue_of(collect(iter([label]))))
    read = read_catalogue(text, "macros.json").find("label")
    assert read is not None
    assert (read.planner_schema, given_fields(read.schema), read.effects) == (label.planner_schema, given_fields(label.schema), "none")


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


# --- marks that make no sense


@pytest.mark.parametrize(("mark", "name"), [(person_only, "person_only"), (given("x"), "given")], ids=["person_only", "given"])
@pytest.mark.parametrize(
    ("wrapped", "place"),
    [
        (lambda mark: Annotated[bool, mark] | None, "target"),
        (lambda mark: list[Annotated[str, mark]], "target[]"),
        (lambda mark: dict[str, Annotated[str, mark]], "target.*"),
        (lambda mark: create_model("Request", write=(Annotated[bool, mark], False)), "Request.write"),
        (lambda mark: list[create_model("Request", write=(Annotated[bool, mark], False))] | None, "Request.write"),  # type: ignore[misc]
    ],
    ids=["optional", "list", "dictionary", "model", "list of models"],
)
def test_a_mark_further_in_that_hides_is_refused_with_the_field_s_name(mark: Any, name: str, wrapped: Any, place: str) -> None:
    told = f"{place} is marked {name}, which only a field of the input itself can be, as a whole: mark that field"
    assert refusal(wrapped(mark)) == told


ACCEPTED = [
    Annotated[bool, person_only],
    Annotated[Inner, person_only],
    Annotated[bool | None, person_only],
    Annotated[Inner, given("x")],
    Annotated[Days | None, given("x")],
    Annotated[str | None, free_text],
    Annotated[str, free_text] | None,
    list[Annotated[str, free_text]],
    Annotated[Colour, words(red=("crimson",))],
    Annotated[Literal["a"], words(a=["the a"])],
    Annotated[Strategy, words(semantic=["conventionally"])] | None,
    list[Annotated[Strategy, words(semantic=["by meaning"])]],
    Annotated[bool | None, words(true=["loudly"])],
    Annotated[Literal["utf-8"], words(**{"utf-8": ["utf8"]})],
    list[When] | When | None,
    Annotated[When, Field(default=datetime(2026, 1, 1, tzinfo=UTC))],
]


@pytest.mark.parametrize("annotation", ACCEPTED, ids=str)
def test_a_mark_that_makes_sense_is_accepted(annotation: Any) -> None:
    check_marks(compile_schema(with_field(annotation), "it"), "it")


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (Annotated[str, person_only, given("x")], "target is marked person_only and given: leave out one"),
        (Annotated[str, person_only, free_text], "target is marked person_only and free_text: leave out free_text, for the planner never"),
        (Annotated[bool, given("x"), words(true=["y"])], "target is marked given and words: leave out words, for the planner never sees"),
        (Annotated[str, given("")], "target is marked given(''): say a key of the goal's context"),
        (Annotated[str, given(5)], "target is marked given(5): say a key"),  # type: ignore[arg-type]  # the mistake itself
        (Annotated[int, free_text], "target is marked free_text, which only a field of type str can be"),
        (Annotated[Strategy, free_text], "target is marked free_text, which only"),
        (Annotated[Days, free_text], "target is marked free_text, which only"),
        (Annotated[date, free_text], "target is marked free_text, which only"),
        (Annotated[list[str], free_text], "target is marked free_text, which only"),
        (Annotated[int | str, free_text], "target is marked free_text, which only"),
        (Annotated[str, words(a=["b"])], "target is marked words(…), which only a choice of words or a bool can be"),
        (Annotated[Days, words(a=["b"])], "target is marked words(…), which only"),
        (Annotated[Literal[1, 2], words(a=["b"])], "target is marked words(…), which only"),
        (
            Annotated[list[Strategy], words(semantic=["b"])],
            "target is marked words(…), which only a choice of words or a bool can be; of a list",
        ),
        (list[Annotated[str, words(a=["b"])]], "target[] is marked words(…), which only"),
        (Annotated[Strategy, words()], "target is marked words(…), and has to say at least one word"),
        (Annotated[Strategy, words(semantic=[])], "target is marked words(…), and has to say at least one word"),
        (Annotated[Strategy, words(semantic="x")], "target is marked words(…), and has to say at least one word"),
        (Annotated[Strategy, words(semantic=[" "])], "target is marked words(…), and has to say at least one word"),
        (Annotated[Strategy, words(manual=["x"])], "target has words for 'manual', which is none of its values: semantic, conventional"),
        (Annotated[bool, words(yes=["x"])], "target has words for 'yes', which is none of its values: true, false"),
        (
            Annotated[Strategy, words(semantic=["by rules"], conventional=["By  Rules"])],
            "target has the words 'by rules' for 'semantic' and for 'conventional': a goal that says them would mean either",
        ),
        (
            Annotated[Strategy, words(semantic=["Conventional"])],
            "target has the words 'Conventional' for 'semantic' and for 'conventional'",
        ),
        (Days | str, "target may be a quantity or something else, and a text could mean either: make it two fields"),
        (Days | Literal["auto"], "target may be a quantity or something else"),
        (Days | Percent, "target may be a quantity or something else"),
        (Annotated[When, Field(ge=datetime(2026, 1, 1))], "target is a quantity with minimum: a moment has no bounds in a schema"),  # noqa: DTZ001
    ],
    ids=str,
)
def test_a_mark_that_makes_no_sense_is_refused_with_the_field_s_name(annotation: Any, told: str) -> None:
    assert refusal(annotation).startswith(told)


@pytest.mark.parametrize(
    ("annotation", "default", "told"),
    [
        (Days, "two weeks", "target has the default 'two weeks', and its handler would get this text: write the number of days"),
        (list[Days], ["a week"], "target has the default 'a week', and its handler would get this text"),
        (Bytes | None, 1.5, "target has a default that cannot be: it should be a whole number of bytes"),
        (Days, -1, "target has a default that cannot be: it should be a number of days"),
        (When, "yesterday", "target has the default 'yesterday', which says no zone"),
        (When, datetime(2026, 1, 1), "target has the default '2026-01-01T00:00:00', which says no zone: write one"),  # noqa: DTZ001
        (When, Field(datetime(2026, 1, 1), lt=datetime(2027, 1, 1)), "target is a quantity with exclusiveMaximum: a moment"),  # noqa: DTZ001
    ],
    ids=str,
)
def test_a_default_that_is_no_value_of_a_quantity_is_refused(annotation: Any, default: Any, told: str) -> None:
    assert refusal(annotation, default).startswith(told)


def test_a_macro_whose_marks_make_no_sense_is_refused_where_it_stands() -> None:
    async def triage(request: Any) -> str:
        return ""

    triage.__annotations__["request"] = with_field(Annotated[str, words(a=["b"])])
    with pytest.raises(DefinitionError, match=r"test_marks\.py:\d+: triage's input at target is marked words"):
        macro(triage)


def test_a_macro_whose_effects_are_no_word_for_them_is_refused_where_it_stands() -> None:
    wrong: Any = "some"
    with pytest.raises(DefinitionError, match=r"test_marks\.py:\d+: triage: effects='some' is none of none, reversible, irreversible"):

        @macro(effects=wrong)
        async def triage(request: Inner) -> str:
            return ""


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ({"type": "string", "x-given": 5}, "its input at branch is marked given(5)"),
        ({"type": "string", "x-words": {"a": ["b"]}}, "its input at branch is marked words"),
        ({"type": ["number", "string"], "x-quantity": "miles"}, "its input at branch is a quantity of an unknown kind, 'miles'"),
        ({"type": ["number", "string"], "x-quantity": ["days"]}, "its input at branch is a quantity of an unknown kind, ['days']"),
        ({"type": "string", "x-quantity": "days"}, "its input at branch is a quantity of an unknown kind, 'days'"),
    ],
    ids=str,
)
def test_a_catalogue_whose_marks_make_no_sense_is_damaged(field: dict[str, Any], told: str) -> None:
    contract = contract_of(label)
    schema = {**contract.schema, "properties": {**contract.schema["properties"], "branch": field}}
    forged = replace(contract, schema=schema)
    text = json.dumps({"format": 1, "macros": [{**forged.promises, "digest": forged.digest}]})
    with pytest.raises(DefinitionError) as caught:
        read_catalogue(text, "macros.json")
    assert told in str(caught.value)
