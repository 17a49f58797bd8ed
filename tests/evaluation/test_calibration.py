"""Confidence held against what was right, and the threshold that comes of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.errors import Code
from heddle.evaluation.calibration import FEWEST_RIGHT, FEWEST_WRONG, KEPT, Sure, bins, gate, suggested, sureness
from heddle.evaluation.cases import Case, ExpectedCall
from heddle.evaluation.scoring import Attempt, Share, finding_of
from heddle.planning.plan import Plan, PlannedCall
from tests.support import registry_of


def sure(right: list[float], wrong: list[float]) -> list[Sure]:
    return [Sure(one, right=True) for one in right] + [Sure(one, right=False) for one in wrong]


def of(plan: Plan) -> list[Sure]:
    return sureness([finding_of(Attempt(Case("c", "x", (ExpectedCall("echo", {"word": ("a",)}),), {}), plan, 1.0), registry_of())])


@pytest.mark.parametrize(
    ("plan", "found"),
    [
        (Plan("m", 1, stated=(PlannedCall("echo", {"word": "a"}),), confidence=0.9), [Sure(0.9, right=True)]),
        (Plan("m", 1, stated=(PlannedCall("echo", {"word": "b"}),), confidence=0.9), [Sure(0.9, right=True)]),
        (Plan("m", 1, stated=(PlannedCall("broken", {"word": "a"}),), confidence=0.9), [Sure(0.9, right=False)]),
        (Plan("m", 1, stated=(PlannedCall("echo", {}),), confidence=None), []),
        (Plan("m", 1, problem=(Code.UNSUPPORTED_GOAL, "no"), confidence=0.9), []),
    ],
    ids=["right", "wrong argument", "wrong macro", "no log-probabilities", "refused"],
)
def test_a_plan_is_right_here_if_its_macros_are(plan: Plan, found: list[Sure]) -> None:
    assert of(plan) == found


def test_a_threshold_keeps_what_is_not_below_it() -> None:
    found = gate(0.5, sure([0.5, 0.9, 0.4], [0.2, 0.5]))
    assert (found.kept, found.held) == (Share(2, 3), Share(1, 2))


def test_bins_count_right_plans_of_all_and_the_last_holds_certainty() -> None:
    found = bins(sure([0.05, 1.0, 0.95], [0.0]))
    assert [(one.low, one.high, one.plans) for one in found] == [(0.0, 0.1, Share(1, 2)), (0.9, 1.0, Share(2, 2))]


def test_the_threshold_that_parts_right_from_wrong_lies_halfway_between_them() -> None:
    found = suggested(sure([0.9] * 20, [0.3] * 5))
    assert found is not None
    assert found.threshold == pytest.approx(0.6)
    assert (found.kept, found.held) == (Share(20, 20), Share(5, 5))


def test_a_right_plan_in_twenty_may_be_given_up_and_no_more() -> None:
    one_low = suggested(sure([0.9] * 19 + [0.2], [0.3] * 5))
    two_low = suggested(sure([0.9] * 18 + [0.2] * 2, [0.3] * 5))
    assert one_low is not None
    assert (one_low.kept, one_low.held) == (Share(19, 20), Share(5, 5))
    assert two_low is None


@pytest.mark.parametrize(
    ("right", "wrong"), [(FEWEST_RIGHT - 1, FEWEST_WRONG), (FEWEST_RIGHT, FEWEST_WRONG - 1)], ids=["right ones", "wrong ones"]
)
def test_too_few_plans_suggest_nothing(right: int, wrong: int) -> None:
    assert suggested(sure([0.9] * right, [0.1] * wrong)) is None


def test_plans_that_are_all_as_sure_as_each_other_suggest_nothing() -> None:
    assert suggested(sure([0.9] * 30, [0.9] * 30)) is None


CONFIDENCES = st.binary(min_size=20, max_size=40).map(lambda drawn: [byte % 21 / 20 for byte in drawn])


@given(CONFIDENCES, CONFIDENCES)
@settings(max_examples=40, deadline=None)
def test_no_threshold_that_keeps_as_many_holds_back_more(right: list[float], wrong: list[float]) -> None:
    plans = sure(right, wrong)
    keeping = [one for step in range(21) if ((one := gate(step / 20, plans)).kept.rate or 0) >= KEPT]
    best = max(one.held.count for one in keeping)
    found = suggested(plans)
    assert (found.held.count if found else 0) == best
    assert found is None or (found.kept.rate or 0) >= KEPT


@given(CONFIDENCES, CONFIDENCES)
@settings(max_examples=40, deadline=None)
def test_every_plan_is_in_one_bin(right: list[float], wrong: list[float]) -> None:
    found = bins(sure(right, wrong))
    assert sum(one.plans.of for one in found) == len(right) + len(wrong)
    assert sum(one.plans.count for one in found) == len(right)


@given(CONFIDENCES, CONFIDENCES, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_higher_threshold_keeps_no_more_and_holds_back_no_less(right: list[float], wrong: list[float], one: float, other: float) -> None:
    low, high = (gate(threshold, sure(right, wrong)) for threshold in sorted((one, other)))
    assert high.kept.count <= low.kept.count
    assert high.held.count >= low.held.count
