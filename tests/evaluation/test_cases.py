"""Case files: what they say, and what is told of those that say something else."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel

from heddle import macro, person_only
from heddle.errors import DefinitionError
from heddle.evaluation.cases import Case, ExpectedCall, misfits, parse_cases
from heddle.macros.marks import given
from heddle.macros.quantities import When
from tests.support import Echoed, registry_of


class Order(BaseModel):
    path: str
    count: int = 5
    write: Annotated[bool, person_only] = False
    repository: Annotated[str, given("repo")]
    since: When | None = None


@macro
async def order(request: Order) -> Echoed:
    """Order something."""
    return Echoed(word="")


OFFERS = registry_of(order)


def case(text: str) -> Case:
    (found,) = parse_cases(text, "c.yaml")
    return found


def told(text: str, source: str = "c.yaml") -> str:
    with pytest.raises(DefinitionError) as caught:
        parse_cases(text, source)
    return str(caught.value)


def expecting(*calls: ExpectedCall) -> Case:
    return Case("case 1", "do it", calls, {})


def test_a_case_has_its_calls_with_the_values_that_are_right_and_those_that_may_be_left_out() -> None:
    found = case("""
- goal: order two of a.csv
  expect:
    - macro: order
      arguments: {path: a.csv}
      accept: {count: [2, 3]}
      optional: [count]
  tags: [single]
""")
    assert found.expected == (ExpectedCall("order", {"path": ("a.csv",), "count": (2, 3)}, frozenset({"count"})),)
    assert (found.name, found.tags) == ("case 1", ("single",))


def test_an_unsupported_goal_expects_no_call() -> None:
    assert case("[{goal: x, expect: unsupported}]").expected == ()


def test_a_novel_goal_expects_its_category() -> None:
    assert case("[{goal: x, expect: {novel: research}}]").expected == (ExpectedCall("novel:research", {}),)


def test_a_case_may_say_when_it_is_asked_and_else_is_asked_at_the_same_time_on_every_run() -> None:
    assert case("[{goal: x, expect: unsupported, at: 2026-02-01T00:00:00Z}]").at == 1_769_904_000.0
    assert case("[{goal: x, expect: unsupported}]").at == case("[{goal: y, expect: unsupported}]").at


def test_a_date_and_a_version_are_texts_as_in_json() -> None:
    found = case("[{goal: x, expect: [{macro: m, arguments: {since: 2026-01-01, tag: v1}}]}]")
    assert found.expected[0].arguments == {"since": ("2026-01-01",), "tag": ("v1",)}


def test_json_is_read_too() -> None:
    (found,) = parse_cases('[{"goal": "x", "expect": "unsupported", "context": {"repo": "."}}]', "c.json")
    assert found.context == {"repo": "."}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "c.yaml: must be a list of cases"),
        ("[]", "c.yaml: must be a list of cases"),
        ("goal: x", "c.yaml: must be a list of cases"),
        ("[", "c.yaml:1: not YAML: "),
        ("- goal: x\n  expect: unsupported\n  goal: y", "c.yaml:3: not YAML: 'goal' stands twice, first on line 1"),
        ("- 3", "c.yaml: case 1: it must be a mapping with `goal` and `expect`"),
        ("[{expect: unsupported}]", "c.yaml: case 1: goal: Field required"),
        ("[{goal: x}]", "c.yaml: case 1: expect: Field required"),
        ("[{goal: x, expect: unsuported}]", "c.yaml: case 1: expect: must be a list of"),
        ("[{goal: x, expect: []}]", "c.yaml: case 1: expect: must be a list of"),
        ("[{goal: x, expect: unsupported, tag: [a]}]", "c.yaml: case 1: tag: Extra inputs"),
        ("[{goal: x, expect: unsupported, at: soon}]", "c.yaml: case 1: at: "),
        ("[{goal: x, expect: [{arguments: {}}]}]", "c.yaml: case 1: expect.0.macro: Field required"),
        ("[{goal: x, expect: [{macro: m}, {macro: m, args: {}}]}]", "c.yaml: case 1: expect.1.args: Extra inputs"),
        ("[{goal: x, expect: [{macro: m, arguments: {a: 1}, accept: {a: [2]}}]}]", "c.yaml: case 1: expect.0: a stands"),
        ("[{goal: x, expect: [{macro: m, accept: {a: []}}]}]", "accept.a is an empty list"),
        ("[{goal: x, expect: [{macro: m, optional: [a]}]}]", "a is optional, and neither"),
        ("[{goal: x, expect: [m]}]", "c.yaml: case 1: expect.0 must be a mapping with `macro`"),
        ("[{goal: x, expect: {novel: 3}}]", "c.yaml: case 1: expect.novel: "),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_case_is_refused_with_file_case_and_field(text: str, said: str) -> None:
    assert said in told(text)


def test_every_case_at_fault_is_told_at_once() -> None:
    assert [line.split(":")[1] for line in told("[{goal: x}, {goal: x, expect: unsupported}, {goal: y}]").splitlines()] == [
        " case 1",
        " case 3",
    ]


def test_broken_json_is_told_with_its_place() -> None:
    assert told('[{"goal": ', "c.json").startswith("c.json: cannot be read: Expecting value: line 1")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (ExpectedCall("orders", {}), "there is no macro 'orders'; there are order"),
        (
            ExpectedCall("order", {"path": ("a",), "colour": ("red",)}),
            "order.colour is no field that a planner may set; there are count, path, repository, since",
        ),
        (
            ExpectedCall("order", {"path": ("a",), "write": (True,)}),
            "order.write is no field that a planner may set; there are count, path, repository, since",
        ),
        (ExpectedCall("order", {"path": ("a",), "count": (2, "3")}), "order.count: the value: '3' is not of type 'integer'"),
        (ExpectedCall("order", {"path": ("a",), "since": ("once",)}), "order.since: "),
        (ExpectedCall("order", {"count": (2,)}), "order requires path, of which the case says nothing"),
    ],
    ids=["macro", "field", "person only", "value", "quantity", "required"],
)
def test_a_case_that_no_macro_can_meet_is_told(call: ExpectedCall, said: str) -> None:
    (told,) = misfits(expecting(call), OFFERS)
    assert told.startswith(f"case 1: {said}")


@pytest.mark.parametrize("call", [ExpectedCall("order", {"path": ("a",), "since": ("yesterday",)}), ExpectedCall("novel:research", {})])
def test_a_case_that_can_be_met_is_not_told(call: ExpectedCall) -> None:
    assert misfits(expecting(call), OFFERS) == []
