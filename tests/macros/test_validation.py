"""A compiled schema and its model take the same values."""

from __future__ import annotations

import enum
import json
from datetime import date, datetime, time, timedelta
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import Phase, example, find, given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, ValidationError, create_model

from heddle.fields import Bytes, Days, Percent, When
from heddle.macros.marks import planner_schema
from heddle.macros.schema import compile_schema
from heddle.macros.validation import problems, validator_of


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Push(BaseModel):
    kind: Literal["push"]
    commits: Annotated[int, Field(ge=1)]


class Pull(BaseModel):
    kind: Literal["pull", "merge"]
    title: str = ""


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Filed(BaseModel):
    age: Annotated[Days, Field(gt=0)]
    at: list[When] | When | None = None


TIMES = ["2027-03-01T10:00:00Z", "2027-03-01T10:00:00", "2027-03-01", "10:00", "P1D", "PT5M", "1600000000", "soon", ""]
SPANS = [
    "two weeks",
    "14",
    "1 day",
    "0.5 days",
    "a month",
    "90 days",
    "2 weeks and 1 day",
    "1,5 days",
    "10 MB",
    "",
    14,
    14.5,
    0,
    90,
    -1,
    True,
]
SIZES = ["10 MB", "1.5 GiB", "10 Mb", "0 B", "1 KB", "ten bytes", "10M", "15%", 1024, 1024.0, 0, -5, False]
SHARES = ["15%", "15", "-2.5 %", "fifteen percent", "150%", "1,5%", 15, 15.0, -200, 1e300, True]
WHENS = [
    *TIMES,
    "2027-03-01 10:00",
    "yesterday",
    "last Monday",
    "1 March 2027",
    "03/04/2027",
    "2027-02-30",
    "0000-01-01",
    "noon",
    1600000000,
]
OTHERS = ["00000000-0000-4000-8000-000000000000", "10.0.0.1", "https://x.y/z", "x", "::1"]
KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "integer": (Annotated[int, Field(ge=-2, lt=5)], st.integers(-4, 7) | st.sampled_from([1.0, 2.5, True])),
    "even": (Annotated[int, Field(multiple_of=2)], st.integers(-4, 7)),
    "number": (Annotated[float, Field(gt=0, le=2)], st.floats(-1, 3) | st.integers(-1, 3)),
    "flag": (bool, st.booleans() | st.integers(0, 1)),
    "text": (Annotated[str, Field(min_length=1, max_length=3)], st.text(max_size=5)),
    "pattern": (Annotated[str, Field(pattern=r"^[a-c]+\d?$")], st.text("abc1\n٣", max_size=4)),
    "choice": (Literal["a", "b"], st.sampled_from(["a", "b", "c", None])),
    "colour": (Colour, st.sampled_from(["red", "blue", "RED", ""])),
    "list": (Annotated[list[int], Field(min_length=1, max_length=2)], st.lists(st.integers(0, 2) | st.just("x"), max_size=3)),
    "table": (dict[str, int], st.dictionaries(st.text(max_size=2), st.integers(0, 2) | st.just(1.0), max_size=2)),
    "pair": (tuple[int, str], st.lists(st.sampled_from([1, "x"]), max_size=3)),
    "maybe": (int | None, st.none() | st.integers(0, 1) | st.just("x")),
    "either": (int | str, st.sampled_from([1, "x", 1.5, None, True])),
    "event": (
        Push | Pull,
        st.fixed_dictionaries(
            {"kind": st.sampled_from(["push", "pull", "merge", "tag"])},
            optional={"commits": st.integers(0, 2), "title": st.text(max_size=2), "x": st.none()},
        ),
    ),
    "tree": (
        Tree,
        st.recursive(
            st.sampled_from([{"name": "x"}, {}, {"name": 1}]),
            lambda inner: st.lists(inner, max_size=2).map(lambda c: {"name": "y", "children": c}),
            max_leaves=4,
        ),
    ),
    "moment": (datetime, st.sampled_from(TIMES)),
    "day": (date, st.sampled_from(TIMES)),
    "hour": (time, st.sampled_from(TIMES)),
    "span": (timedelta, st.sampled_from(TIMES)),
    "days": (Days, st.sampled_from(SPANS)),
    "bounded days": (Annotated[Days, Field(ge=1, lt=90)], st.sampled_from(SPANS)),
    "bytes": (Annotated[Bytes, Field(gt=0, multiple_of=4)], st.sampled_from(SIZES)),
    "percent": (Annotated[Percent, Field(ge=-100, le=100)], st.sampled_from(SHARES)),
    "when": (When, st.sampled_from(WHENS)),
    "maybe days": (Annotated[Days | None, Field(ge=1, le=14)], st.sampled_from([*SPANS, None])),
    "maybe when": (When | None, st.sampled_from([*WHENS, None])),
    "spans": (list[Annotated[Days, Field(le=30)]], st.lists(st.sampled_from(SPANS), max_size=2)),
    "sizes": (dict[str, Bytes | None], st.dictionaries(st.text(max_size=1), st.sampled_from([*SIZES, None]), max_size=2)),
    "filed": (Filed, st.fixed_dictionaries({"age": st.sampled_from(SPANS)}, optional={"at": st.sampled_from(WHENS)})),
    "id": (UUID, st.sampled_from(OTHERS)),
    "address": (IPv4Address, st.sampled_from(OTHERS)),
    "url": (AnyUrl, st.sampled_from(OTHERS)),
}
JSON: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3) | st.just([]) | st.just({})
)


UNSHRUNK = settings(max_examples=300, phases=[Phase.generate], database=None)


def model_of(fields: dict[str, Any]) -> type[BaseModel]:
    model: type[BaseModel] = create_model("Request", **fields)
    return model


@st.composite
def models_and_values(draw: st.DrawFn) -> tuple[type[BaseModel], dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4, unique=True))
    optional = {name for name in names if draw(st.booleans())}
    fields: dict[str, Any] = {name: (KINDS[name][0], Field(None, validate_default=False) if name in optional else ...) for name in names}
    likely = {name: st.one_of([KINDS[name][1]] * 4 + [JSON]) for name in names}
    value = draw(st.fixed_dictionaries({}, optional={**likely, "unknown": JSON}))
    return model_of(fields), value


def accepts(model: type[BaseModel], value: Any) -> bool:
    try:
        model.model_validate_json(json.dumps(value), strict=True, extra="forbid")
    except ValidationError:
        return False
    return True


def fits(model: type[BaseModel], value: Any) -> bool:
    return problems(validator_of(compile_schema(model, "it")), json.loads(json.dumps(value))) is None


@pytest.mark.filterwarnings("ignore::pydantic.json_schema.PydanticJsonSchemaWarning")
@given(models_and_values())
@settings(max_examples=200, deadline=None)
@example((model_of({"pattern": (KINDS["pattern"][0], ...)}), {"pattern": "abc\n"}))
@example((create_model("Request", integer=(int, ...)), {"integer": 1.0}))
@example((create_model("Request", integer=(int, ...)), {"integer": True}))
def test_what_the_schema_takes_the_model_takes_and_the_other_way_round(drawn: tuple[type[BaseModel], dict[str, Any]]) -> None:
    model, value = drawn
    assert fits(model, value) == accepts(model, value)


@pytest.mark.parametrize("name", list(KINDS))
def test_of_every_kind_some_values_fit_and_some_do_not(name: str) -> None:
    """Or the property would hold of nothing."""
    validator = validator_of(compile_schema(model_of({name: (KINDS[name][0], ...)}), "it"))

    def is_taken(value: Any) -> bool:
        return problems(validator, {name: value}) is None

    values = KINDS[name][1] | JSON
    find(values, is_taken, settings=UNSHRUNK)  # it fails if there is none
    find(values, lambda value: not is_taken(value), settings=UNSHRUNK)


@given(st.lists(st.integers(0, 2) | st.just("x"), max_size=4))
def test_a_set_is_a_list_without_repetitions_in_the_schema_and_the_model_takes_every_such_list(value: list[Any]) -> None:
    model = create_model("Request", tags=(set[int], ...))
    assert not fits(model, {"tags": value}) or accepts(model, {"tags": value})


def test_a_validator_with_a_now_takes_times_that_count_from_it() -> None:
    schema = compile_schema(create_model("Request", at=(When, ...)), "it")
    assert (problems(validator_of(schema, now=0.0), {"at": "yesterday"}), bool(problems(validator_of(schema), {"at": "yesterday"}))) == (
        None,
        True,
    )


def test_what_a_planner_states_of_a_quantity_is_text_that_can_be_converted() -> None:
    schema = planner_schema(compile_schema(create_model("Request", age=(Days, Field(le=5))), "it"), frozenset())
    taken = [problems(validator_of(schema), {"age": age}) is None for age in ("two weeks", "14", 14)]
    assert taken == [True, False, False]


def test_every_field_at_fault_is_told_with_its_path_and_why() -> None:
    model = create_model("Request", tree=(Tree, ...), count=(int, ...))
    value = {"tree": {"name": "x", "children": [{"name": 5}]}, "count": 1.0}
    told = problems(validator_of(compile_schema(model, "it")), value)
    assert sorted((told or "").split("; ")) == ["count: 1.0 is not of type 'integer'", "tree.children.0.name: 5 is not of type 'string'"]


def test_a_long_value_is_told_in_short() -> None:
    validator = validator_of(compile_schema(create_model("Request", name=(int, ...)), "it"))
    assert len(problems(validator, {"name": "x" * 10_000}) or "") < 300


def test_a_pattern_that_only_python_reads_is_read_by_python() -> None:
    validator = validator_of({"type": "string", "pattern": r"^(?=a)\w+$"})
    assert (problems(validator, "abc"), problems(validator, "bc")) == (None, "the value: 'bc' does not match '^(?=a)\\\\w+$'")


def test_a_reference_to_another_place_is_never_fetched() -> None:
    with pytest.raises(Exception, match=r"Unresolvable"):
        problems(validator_of({"$ref": "http://127.0.0.1:9/schema.json"}), {})
