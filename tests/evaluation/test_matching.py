"""Whether calls are the expected ones: as values, with defaults, in any order."""

from __future__ import annotations

from itertools import permutations
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from heddle import macro
from heddle.evaluation.cases import Case, ExpectedCall
from heddle.evaluation.matching import calls_found, is_expected, macros_found
from heddle.macros.marks import given as filled_from
from heddle.macros.quantities import Days, When
from heddle.planning.plan import PlannedCall
from tests.support import Echoed, registry_of


class Search(BaseModel):
    repository: Annotated[str, filled_from("repo")]
    older_than: Days = 7.0
    since: When | None = None


class Range(BaseModel):
    low: int = 0
    high: int = 10


class Order(BaseModel):
    path: str = "."
    count: float = 5
    quick: bool = False
    within: Range | None = None


@macro
async def order(request: Order) -> Echoed:
    """Order something."""
    return Echoed(word="")


@macro
async def search(request: Search) -> Echoed:
    """Search for something."""
    return Echoed(word="")


OFFERS = registry_of(order, search)


def case(*expected: ExpectedCall, loose: bool = False) -> Case:
    return Case("case 1", "do it", expected, {}, loose=loose)


def expected(*optional: str, **values: Any) -> ExpectedCall:
    return ExpectedCall("order", {name: (value,) for name, value in values.items()}, frozenset(optional))


def fits(call: dict[str, Any], one: ExpectedCall, *, loose: bool = False) -> bool:
    return is_expected(PlannedCall("order", call), one, case(loose=loose), OFFERS)


@pytest.mark.parametrize(
    ("stated", "wanted", "fit"),
    [
        ({"path": "a"}, {"path": "a"}, True),
        ({"path": "A"}, {"path": "a"}, False),
        ({"path": "a", "count": 5}, {"path": "a"}, True),
        ({"path": "a"}, {"path": "a", "count": 5.0}, True),
        ({"path": "a", "count": 6}, {"path": "a"}, False),
        ({"path": "a"}, {"path": "a", "count": 6}, False),
        ({"quick": 0}, {}, False),
        ({"count": True}, {"count": 1}, False),
        ({"quick": True}, {"quick": True}, True),
        ({"within": None}, {}, True),
        ({"within": {"low": 0, "high": 3}}, {"within": {"high": 3}}, True),
        ({"within": {"high": 4}}, {"within": {"high": 3}}, False),
        ({"path": "a", "colour": "red"}, {"path": "a"}, False),
    ],
    ids=str,
)
def test_arguments_are_compared_as_json_values_with_the_macro_s_defaults(stated: dict[str, Any], wanted: dict[str, Any], fit: bool) -> None:
    assert fits(stated, expected(**wanted)) is fit


@pytest.mark.parametrize(("stated", "fit"), [({"count": 2}, True), ({"count": 3}, True), ({}, False), ({"count": 4}, False)])
def test_one_of_several_values_is_right(stated: dict[str, Any], fit: bool) -> None:
    assert fits(stated, ExpectedCall("order", {"count": (2, 3)})) is fit


@pytest.mark.parametrize(("stated", "fit"), [({"count": 2}, True), ({}, True), ({"count": 5}, True), ({"count": 4}, False)])
def test_what_may_be_left_out_may_also_be_said_as_its_default(stated: dict[str, Any], fit: bool) -> None:
    assert fits(stated, expected("count", count=2)) is fit


@pytest.mark.parametrize(("stated", "fit"), [("New York, NY", True), ("new york ny", True), ("New York", False)])
def test_texts_of_public_cases_are_compared_without_case_blanks_and_marks(stated: str, fit: bool) -> None:
    assert fits({"path": stated}, expected(path="New York NY"), loose=True) is fit


@pytest.mark.parametrize(
    ("stated", "wanted", "fit"),
    [
        ({"older_than": "two weeks"}, {"older_than": 14}, True),
        ({"older_than": "2 weeks"}, {"older_than": "fourteen days"}, True),
        ({"older_than": "a week"}, {}, True),
        ({"older_than": "three weeks"}, {"older_than": 14}, False),
        ({"older_than": "some time"}, {"older_than": 14}, False),
        ({"since": "yesterday"}, {"since": "2026-01-04T00:00:00Z"}, True),
        ({"since": "yesterday"}, {"since": "yesterday"}, True),
        ({"since": "today"}, {"since": "yesterday"}, False),
    ],
    ids=str,
)
def test_quantities_are_compared_as_what_they_say_at_the_time_of_the_case(
    stated: dict[str, Any], wanted: dict[str, Any], fit: bool
) -> None:
    one = ExpectedCall("search", {name: (value,) for name, value in wanted.items()})
    assert is_expected(PlannedCall("search", stated), one, case(), OFFERS) is fit


@pytest.mark.parametrize("repository", ["a", "b"])
def test_what_is_filled_in_from_the_context_is_compared_with_nothing(repository: str) -> None:
    one = ExpectedCall("search", {"repository": ("a",)})
    assert is_expected(PlannedCall("search", {"repository": repository}), one, case(), OFFERS)
    assert is_expected(PlannedCall("search", {}), one, case(), OFFERS)


def test_another_macro_is_another_call() -> None:
    assert not is_expected(PlannedCall("orders", {}), expected(), case(), OFFERS)


def test_a_novel_goal_is_its_category_without_arguments() -> None:
    one = ExpectedCall("novel:research", {})
    assert is_expected(PlannedCall("novel:research", {}), one, case(), OFFERS)
    assert not is_expected(PlannedCall("novel:other", {}), one, case(), OFFERS)


def test_a_call_that_fits_two_expected_ones_is_given_to_the_one_that_nothing_else_fits() -> None:
    wide, narrow = ExpectedCall("order", {"count": (1, 2)}), expected(count=1)
    calls = [PlannedCall("order", {"count": 1}), PlannedCall("order", {"count": 2})]
    assert calls_found(calls, case(wide, narrow), OFFERS) == 2


def test_a_call_counts_once() -> None:
    calls = [PlannedCall("order", {"count": 1})]
    assert calls_found(calls, case(expected(count=1), expected(count=1)), OFFERS) == 1
    assert macros_found(calls, case(expected(count=1), expected(count=2)).expected) == 1


COUNTS = st.lists(st.integers(0, 3), max_size=4)
CHOICES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple), max_size=4)


@given(COUNTS, CHOICES)
@settings(max_examples=60, deadline=None)
def test_as_many_calls_are_found_as_any_assignment_finds(counts: list[int], choices: list[tuple[int, ...]]) -> None:
    calls = [PlannedCall("order", {"count": count}) for count in counts]
    wanted = case(*(ExpectedCall("order", {"count": values}) for values in choices))
    best = max(
        sum(count in values for count, values in zip(order, choices, strict=False))
        for order in permutations([*counts, *[-1] * len(choices)], len(choices))
    )
    assert calls_found(calls, wanted, OFFERS) == best


@given(COUNTS, CHOICES, st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_calls_changes_nothing(counts: list[int], choices: list[tuple[int, ...]], dice: Any) -> None:
    calls = [PlannedCall("order", {"count": count}) for count in counts]
    wanted = case(*(ExpectedCall("order", {"count": values}) for values in choices))
    shuffled = calls.copy()
    dice.shuffle(shuffled)
    assert calls_found(shuffled, wanted, OFFERS) == calls_found(calls, wanted, OFFERS)
