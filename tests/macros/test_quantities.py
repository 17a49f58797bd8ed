"""Quantities: text to the planner, values to the handler, and the same value by every way there."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, create_model

from heddle.fields import Bytes, Days, Percent, When
from heddle.macros.quantities import Kind, convert, converted, rendered
from heddle.macros.schema import compile_schema

NOW = datetime(2026, 3, 18, 15, 0, 30, tzinfo=UTC).timestamp()


class Span(BaseModel):
    kind: Literal["span"]
    since: When
    limits: list[Percent] = []


class Plain(BaseModel):
    kind: Literal["plain"]
    since: str


class Tree(BaseModel):
    size: Bytes
    children: list[Tree] = []


class Request(BaseModel):
    days: Days = Field(14, ge=1, le=60, description="how old")
    size: Annotated[Bytes, Field(gt=0)] = 10
    share: Percent | None = None
    since: When | None = None
    spans: list[Days] = []
    named: dict[str, Annotated[Days, Field(le=9)]] = {}
    pair: tuple[Bytes, str] = (1, "")
    event: Span | Plain | None = None
    tree: Tree | None = None
    text: str = ""


SCHEMA = compile_schema(Request, "it")


def read(**payload: Any) -> Request:
    return Request.model_validate_json(json.dumps(payload), strict=True, extra="forbid")


def refusal(**payload: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        read(**payload)
    return caught.value.errors()[0]["msg"]


# --- what a handler gets


def test_a_handler_gets_the_value_whether_it_was_sent_as_text_or_as_a_number() -> None:
    assert read(days="two weeks", size="10 MB", share="15%", since="2026-03-01") == Request(
        days=14.0, size=10_000_000, share=15.0, since=datetime(2026, 3, 1, tzinfo=UTC)
    )
    assert read(days=14, size=10_000_000, share=15, since="2026-03-01T00:00:00Z") == read(
        days="14 days", size="10 MB", share="15%", since="2026-03-01"
    )


def test_the_values_are_of_the_types_that_the_fields_say() -> None:
    found = read(days=14, size="10 MB", share=15, since="2026-03-01T02:00:00+02:00")
    assert (type(found.days), type(found.size), type(found.share)) == (float, int, float)
    assert found.since is not None
    assert found.since.tzinfo is UTC


def test_quantities_are_read_in_lists_dictionaries_tuples_and_nested_models() -> None:
    found = read(
        spans=["a week", 1.5],
        named={"a": "2 days"},
        pair=["1 KiB", "x"],
        tree={"size": "1 MB", "children": [{"size": "2 B"}]},
        event={"kind": "span", "since": "2026-03-01", "limits": ["1%"]},
    )
    assert (found.spans, found.named, found.pair) == ([7.0, 1.5], {"a": 2.0}, (1024, "x"))
    assert found.tree == Tree(size=1_000_000, children=[Tree(size=2)])
    assert found.event == Span(kind="span", since=datetime(2026, 3, 1, tzinfo=UTC), limits=[1.0])


@pytest.mark.parametrize(
    "payload",
    [
        {"days": True}, {"days": None}, {"days": [1]}, {"days": -1}, {"size": 1.0}, {"size": True}, {"size": -1}, {"share": False},
        {"since": 1773846000}, {"since": True}, {"days": "14"}, {"size": "512"}, {"since": "two weeks"}, {"spans": ["banana"]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_value_and_no_text_that_states_one_is_refused(payload: dict[str, Any]) -> None:
    assert refusal(**payload)


def test_the_refusal_of_a_text_says_what_to_write() -> None:
    assert refusal(days="a month") == "'a month' could be of several lengths, for a month has 28 to 31 days: write it in days or weeks"
    assert refusal(size=1.5) == "it should be a whole number of bytes, 0 or more, or text such as '10 MB'"


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"days": "nine weeks"}, "Input should be less than or equal to 60"),
        ({"days": "an hour"}, "Input should be greater than or equal to 1"),
        ({"size": "0 B"}, "Input should be greater than 0"),
        ({"named": {"a": "two weeks"}}, "Input should be less than or equal to 9"),
    ],
    ids=str,
)
def test_bounds_hold_for_the_value_that_a_text_states(payload: dict[str, Any], told: str) -> None:
    assert refusal(**payload) == told


def test_a_time_that_counts_from_now_is_refused_in_a_task_that_has_no_goal_with_the_remedy() -> None:
    assert "there is no goal here: write the time itself, such as 2026-03-01T12:00:00Z" in refusal(since="yesterday")


def test_a_time_that_counts_from_now_is_read_where_the_validation_context_says_when_now_is() -> None:
    found = Request.model_validate_json('{"since": "yesterday"}', strict=True, context={"now": NOW})
    assert found.since == datetime(2026, 3, 17, tzinfo=UTC)


def test_a_model_made_in_python_takes_an_aware_time_and_no_naive_one() -> None:
    here = datetime(2026, 3, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert Request(since=here).since == datetime(2026, 3, 1, tzinfo=UTC)
    with pytest.raises(ValidationError, match="it should be a time as text"):
        Request(since=datetime(2026, 3, 1))  # noqa: DTZ001  # that is what is tried


def test_what_a_model_with_quantities_writes_it_reads_again() -> None:
    found = read(days="36 h", size="10 MB", since="2026-03-01T12:00:00.5Z", event={"kind": "span", "since": "2026-03-01"})
    assert Request.model_validate_json(found.model_dump_json(), strict=True) == found


# --- the schema


def test_a_schema_says_what_kind_of_quantity_a_field_is_and_the_bounds_of_its_value() -> None:
    fields = SCHEMA["properties"]
    assert fields["days"] == {
        "type": ["number", "string"],
        "x-quantity": "days",
        "minimum": 1,
        "maximum": 60,
        "default": 14,
        "title": "Days",
        "description": "how old",
    }
    assert fields["size"] == {"type": ["integer", "string"], "x-quantity": "bytes", "exclusiveMinimum": 0, "default": 10, "title": "Size"}
    assert fields["share"]["anyOf"] == [{"type": ["number", "string"], "x-quantity": "percent"}, {"type": "null"}]
    assert fields["since"]["anyOf"] == [{"type": "string", "x-quantity": "when"}, {"type": "null"}]


def test_an_output_promises_the_values_alone() -> None:
    fields = compile_schema(Request, "it", "serialization")["properties"]
    assert (fields["days"]["type"], fields["days"]["minimum"], fields["days"]["maximum"]) == ("number", 1, 60)
    assert fields["since"]["anyOf"][0] == {"type": "string", "format": "date-time", "x-quantity": "when"}


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[Days, Field(ge=2, lt=9)],
        Annotated[Days | None, Field(ge=2, lt=9)],
        Annotated[Annotated[Days, Field(ge=2)], Field(lt=9)],
        Annotated[Annotated[Days, Field(ge=2)] | None, Field(lt=9)],
    ],
    ids=str,
)
def test_bounds_are_in_the_schema_wherever_they_are_declared(annotation: Any) -> None:
    for model in (create_model("Request", days=(annotation, ...)), create_model("Request", days=(annotation, Field(3, lt=9)))):
        part = compile_schema(model, "it")["properties"]["days"]
        bounded = part.get("anyOf", [part])[0]
        assert {name: value for name, value in bounded.items() if "inimum" in name or "aximum" in name} == {
            "minimum": 2,
            "exclusiveMaximum": 9,
        }


def test_a_bound_above_nothing_stands_alone() -> None:
    part = compile_schema(create_model("Request", size=(Bytes, Field(gt=0))), "it")["properties"]["size"]
    assert (part["exclusiveMinimum"], "minimum" in part) == (0, False)


# --- what is sent for what was stated


def test_arguments_are_converted_wherever_a_quantity_stands() -> None:
    stated = {
        "days": "two weeks",
        "size": "1.5 GiB",
        "share": "12.5%",
        "since": "three days ago",
        "spans": ["a week", "36 h"],
        "named": {"a": "2 days"},
        "pair": ["1 KiB", "1 KiB"],
        "event": {"kind": "span", "since": "yesterday", "limits": ["1%"]},
        "tree": {"size": "1 MB", "children": [{"size": "2 B"}]},
        "text": "two weeks",
    }
    assert converted(stated, SCHEMA, NOW) == {
        "days": 14,
        "size": 1_610_612_736,
        "share": 12.5,
        "since": "2026-03-15T15:00:30Z",
        "spans": [7, 1.5],
        "named": {"a": 2},
        "pair": [1024, "1 KiB"],
        "event": {"kind": "span", "since": "2026-03-17T00:00:00Z", "limits": [1]},
        "tree": {"size": 1_000_000, "children": [{"size": 2}]},
        "text": "two weeks",
    }


def test_what_states_no_quantity_stays_as_it_is_and_the_arguments_are_left_alone() -> None:
    stated = {"days": 3, "share": None, "spans": "x", "event": {"kind": "plain", "since": "yesterday"}, "unknown": "two weeks", "tree": 5}
    assert converted(stated, SCHEMA, NOW) == stated
    before = json.dumps(stated)
    converted({**stated, "days": "two weeks"}, SCHEMA, NOW)
    assert json.dumps(stated) == before


def test_every_text_that_is_no_quantity_is_told_with_its_field() -> None:
    with pytest.raises(ValueError, match=r"days: 'soon' is no span of time.*; tree\.children\.0\.size: '1M' could be of two sizes"):
        converted({"days": "soon", "tree": {"size": 1, "children": [{"size": "1M"}]}}, SCHEMA, NOW)


def test_arguments_that_are_nested_too_deep_are_no_crash() -> None:
    deep: dict[str, Any] = {"size": "1 B"}
    for _ in range(5000):
        deep = {"size": 1, "children": [deep]}
    with pytest.raises(ValueError, match="nested too deep"):
        converted({"tree": deep}, SCHEMA, NOW)


def test_without_a_now_a_time_that_counts_from_it_is_told() -> None:
    with pytest.raises(ValueError, match="since: 'yesterday' counts from the time at which a goal is given"):
        converted({"since": "yesterday"}, SCHEMA, None)


# --- properties

KINDS: tuple[Kind, ...] = get_args(Kind)
WORDS = [
    *["two", "14", "1.5", "a", "an", "half", "and", "hundred", "twenty-one", "-", ",", "%", "percent", "days", "weeks", "h", "month", "MB"],
    *["GiB", "Mb", "k", "ago", "in", "from now", "last", "next", "coming", "monday", "Friday", "noon", "at", "9 am", "12:30", "25:61"],
    *["yesterday", "the", "of", "March", "2026", "2026-03-01", "2026-13-45T99:99:99Z", "0000-00-00", "+14:00", "Z", "9999", "1" * 30],
]
TEXTS = st.text(max_size=30) | st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join) | st.from_regex(r"[0-9a-zA-Z :.,%/+-]{0,25}")
TIMES = st.none() | st.floats() | st.integers()


@given(st.sampled_from(KINDS), TEXTS, TIMES)
@example("days", "9" * 400 + " days", None)
@example("when", "1 day ago", math.nan)
@example("when", "1 day ago", math.inf)
@example("when", "1 day ago", 1e20)
def test_a_text_is_converted_to_the_same_json_every_time_or_is_a_value_error(kind: Kind, text: str, now: float | None) -> None:
    try:
        value = convert(kind, text, now)
    except ValueError:
        return
    assert json.loads(json.dumps(value)) == value == convert(kind, text, now)


@given(st.sampled_from(KINDS), TEXTS, st.integers(0, 4_000_000_000))
def test_what_a_text_is_converted_to_is_itself_a_value_of_its_kind(kind: Kind, text: str, now: float) -> None:
    try:
        value = convert(kind, text, now)
    except ValueError:
        return
    assert convert(kind, rendered(kind, value), None) == value


AMOUNTS = st.integers(0, 10**6) | st.floats(0, allow_infinity=False, allow_nan=False)


@given(st.sampled_from(["days", "percent"]), AMOUNTS)
def test_an_amount_that_is_rendered_is_read_back(kind: Kind, value: float) -> None:
    assert convert(kind, rendered(kind, value), None) == value


@given(st.integers(0, 2**80) | st.integers(0, 2000).flatmap(lambda n: st.sampled_from([n * 1000**2, n * 1024**3])))
def test_a_size_that_is_rendered_is_read_back(value: int) -> None:
    assert convert("bytes", rendered("bytes", value), None) == value


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_that_is_rendered_is_read_back(value: datetime) -> None:
    written = value.isoformat().replace("+00:00", "Z")
    assert convert("when", rendered("when", written), None) == written


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("days", 14, "14 days"), ("days", 1.0, "1 day"), ("days", 0.5, "0.5 days"), ("bytes", 10_000_000, "10 MB"), ("bytes", 0, "0 bytes"),
        ("bytes", 1_536, "1536 bytes"), ("bytes", 2_097_152, "2 MiB"), ("percent", 12.5, "12.5%"), ("percent", -3, "-3%"),
        ("when", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
    ],
)  # fmt: skip
def test_values_are_rendered_as_a_person_would_write_them(kind: Kind, value: float | str, text: str) -> None:
    assert rendered(kind, value) == text


@pytest.fixture(params=["America/New_York", "Asia/Kolkata", "UTC"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("text", "value"), [("yesterday", "2026-03-17T00:00:00Z"), ("2026-03-01 12:00", "2026-03-01T12:00:00Z")])
def test_the_zone_of_the_machine_makes_no_difference(zone: str, text: str, value: str) -> None:
    assert convert("when", text, NOW) == value


# --- what the reference says

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "fields.md").read_text()
ROWS = re.findall(r"^\| `(Days|Bytes|Percent|When)` \|(.*)\|$", REFERENCE, re.MULTILINE)
STATED = [(kind.lower(), text) for kind, cells in ROWS if cells.count("|") == 2 for text in re.findall("`(.*?)`", cells.rpartition("|")[2])]
REFUSED = [(kind.lower(), text) for kind, cells in ROWS if cells.count("|") == 1 for text in re.findall("`(.*?)`", cells.partition("|")[0])]


@pytest.mark.parametrize(("kind", "text"), STATED)
def test_what_the_reference_gives_as_text_is_read(kind: Kind, text: str) -> None:
    assert convert(kind, text, NOW) is not None


@pytest.mark.parametrize(("kind", "text"), REFUSED)
def test_what_the_reference_says_is_refused_is_refused(kind: Kind, text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        convert(kind, text, NOW)
