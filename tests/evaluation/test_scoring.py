"""Figures over recorded attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.errors import Code
from heddle.evaluation.cases import Case, ExpectedCall
from heddle.evaluation.scoring import ALL, Attempt, Finding, Score, Share, Spread, by_tag, finding_of, score, spread
from heddle.planning.plan import Plan, PlannedCall, Review, Usage
from tests.support import broken, echo, registry_of

OFFERS = registry_of(echo, broken)


def call(word: str = "a", macro: str = "echo") -> PlannedCall:
    return PlannedCall(macro, {"word": word})


def wanting(*words: str, tags: tuple[str, ...] = ()) -> Case:
    return Case("case 1", "do it", tuple(ExpectedCall("echo", {"word": (word,)}) for word in words), {}, tags=tags)


def sent(*calls: PlannedCall, **more: Any) -> Plan:
    """A plan that passes every check."""
    return Plan("tiny", 1, stated=calls, calls=calls, **more)


def held(*calls: PlannedCall, code: Code = Code.UNSAFE_PLAN) -> Plan:
    """A plan that a check refuses."""
    return Plan("tiny", 1, stated=calls, problem=(code, "no"))


REFUSED = Plan("tiny", 1, problem=(Code.UNSUPPORTED_GOAL, "no macro"))
UNREADABLE = Plan("tiny", 1, problem=(Code.NO_PLAN, "not JSON"))


def finding(case: Case, plan: Plan, seconds: float = 1.0) -> Finding:
    return finding_of(Attempt(case, plan, seconds), OFFERS)


def of(case: Case, plan: Plan) -> Score:
    return score([finding(case, plan)])


# --- one case


@pytest.mark.parametrize(
    ("case", "plan", "answered", "macros", "right", "would_be", "good"),
    [
        (wanting("a"), sent(call("a")), "calls", True, True, "right", True),
        (wanting("a"), sent(call("b")), "calls", True, False, "wrong", False),
        (wanting("a"), sent(call("a", "broken")), "calls", False, False, "wrong", False),
        (wanting("a"), sent(call("a"), call("b")), "calls", False, False, "wrong", False),
        (wanting("a", "b"), sent(call("b"), call("a")), "calls", True, True, "right", True),
        (wanting("a", "b"), sent(call("a")), "calls", False, False, "wrong", False),
        (wanting("a"), held(call("a")), "calls", True, True, "nothing", False),
        (wanting("a"), held(call("b")), "calls", True, False, "nothing", False),
        (wanting("a"), REFUSED, "unsupported", False, False, "nothing", False),
        (wanting("a"), UNREADABLE, "nothing", False, False, "nothing", False),
        (wanting(), REFUSED, "unsupported", True, True, "nothing", True),
        (wanting(), held(call("a")), "calls", False, False, "nothing", True),
        (wanting(), UNREADABLE, "nothing", False, False, "nothing", True),
        (wanting(), sent(call("a")), "calls", False, False, "wrong", False),
    ],
)
def test_a_case_is_looked_at_as_answered_and_as_sent(
    case: Case, plan: Plan, answered: str, macros: bool, right: bool, would_be: str, good: bool
) -> None:
    one = finding(case, plan)
    assert (one.answered, one.macros_right, one.right, one.sent, one.good) == (answered, macros, right, would_be, good)


def test_a_call_that_is_said_twice_and_sent_once_is_wrong_as_answered_and_right_as_sent() -> None:
    one = finding(wanting("a"), Plan("tiny", 1, stated=(call("a"), call("a")), calls=(call("a"),)))
    assert (one.right, one.sent) == (False, "right")


# --- groups


def test_what_is_in_scope_counts_for_macros_and_arguments_and_what_is_not_for_refusals() -> None:
    told = score([finding(wanting("a"), sent(call("b"))), finding(wanting(), REFUSED), finding(wanting(), sent(call()))])
    assert (told.macros, told.arguments, told.refused, told.sent_nothing) == (Share(1, 1), Share(0, 1), Share(1, 2), Share(1, 2))
    assert (told.sent_right, told.sent_wrong) == (Share(0, 1), Share(2, 3))


def test_a_goal_that_is_refused_though_a_macro_does_it_is_a_false_refusal() -> None:
    assert of(wanting("a"), REFUSED).falsely_refused == Share(1, 1)
    assert of(wanting("a"), held(call("a"))).falsely_refused == Share(0, 1)


def test_an_answer_without_a_plan_is_unreadable() -> None:
    assert of(wanting("a"), UNREADABLE).unreadable == Share(1, 1)


def test_tasks_are_found_one_by_one_in_goals_that_have_several() -> None:
    told = score([finding(wanting("a", "b", "c"), sent(call("a"), call("x"))), finding(wanting("a"), sent(call("a")))])
    assert (told.tasks, told.whole_tasks) == (Share(2, 3), Share(1, 3))


def test_plans_that_a_check_refuses_are_counted_by_code_right_ones_and_wrong_ones() -> None:
    plans = [held(call("a")), held(call("b")), held(call("b"), code=Code.NO_PLAN), REFUSED, UNREADABLE, sent(call("b"))]
    told = score([finding(wanting("a"), plan) for plan in plans])
    assert told.right_refused == {"unsafe_plan": 1}
    assert told.wrong_refused == {"unsafe_plan": 1, "no_plan": 1}


def test_a_plan_that_only_the_model_s_confidence_speaks_against_is_unsure() -> None:
    plan = Plan("tiny", 1, stated=(call("a"),), review=Review((call("a"),)), confidence=0.4, problem=(Code.NO_PLAN, "not sure enough"))
    assert of(wanting("a"), plan).right_refused == {"unsure": 1}


def test_tokens_that_the_server_does_not_tell_are_left_out() -> None:
    told = score([finding(wanting("a"), sent(call(), usage=(Usage("tiny", 7, None, 0.0),))), finding(wanting("a"), sent(call()))])
    assert (told.prompt_tokens, told.answer_tokens) == (Spread(7, 7, 7), None)


def test_figures_are_by_tag_in_the_order_of_the_cases_and_all_last() -> None:
    told = by_tag([finding(wanting("a", tags=("single", "odd")), REFUSED), finding(wanting("a", tags=("odd",)), REFUSED)])
    assert {tag: one.cases for tag, one in told.items()} == {"single": 1, "odd": 2, ALL: 2}
    assert list(told) == ["single", "odd", ALL]


def test_of_nothing_there_is_no_share_and_no_spread() -> None:
    told = score([])
    assert (told.macros.rate, told.seconds) == (None, None)


# --- arithmetic

WORDS = st.lists(st.sampled_from("abc"), max_size=3)
CALLS = st.lists(st.builds(call, st.sampled_from("abc"), st.sampled_from(["echo", "broken"])), min_size=1, max_size=3)
PLANS = (
    CALLS.map(lambda calls: sent(*calls))
    | st.builds(lambda calls, code: held(*calls, code=code), CALLS, st.sampled_from([Code.NO_PLAN, Code.UNSAFE_PLAN]))
    | st.sampled_from([REFUSED, UNREADABLE])
)
TAGS = st.sampled_from([("one",), ("two",), ("one", "two"), ()])
FINDINGS = st.lists(st.builds(lambda words, tags, plan: finding(wanting(*words, tags=tags), plan), WORDS, TAGS, PLANS), max_size=8)


def shares(one: Score) -> dict[str, Share]:
    return {name: value for name in Score.__slots__ if isinstance(value := getattr(one, name), Share)}


@given(FINDINGS)
@settings(max_examples=60, deadline=None)
def test_every_share_is_of_what_there_is(findings: list[Finding]) -> None:
    told = score(findings)
    assert all(0 <= one.count <= one.of for one in shares(told).values())
    assert told.macros.of + told.refused.of == told.cases
    assert told.arguments.count <= told.macros.count
    assert told.whole_tasks.count <= told.tasks.count


@given(FINDINGS)
@settings(max_examples=60, deadline=None)
def test_every_case_ends_in_one_way(findings: list[Finding]) -> None:
    told = score(findings)
    nothing = sum(one.sent == "nothing" for one in findings)
    assert told.sent_right.count + told.sent_wrong.count + nothing == told.cases
    by_checks = sum(told.right_refused.values()) + sum(told.wrong_refused.values())
    by_planner = sum(one.answered != "calls" for one in findings)
    assert by_checks + by_planner == nothing


@given(FINDINGS, FINDINGS)
@settings(max_examples=40, deadline=None)
def test_the_figures_of_two_groups_add_up(some: list[Finding], others: list[Finding]) -> None:
    one, two, both = (shares(score(group)) for group in (some, others, [*some, *others]))
    assert both == {name: Share(one[name].count + two[name].count, one[name].of + two[name].of) for name in both}


@given(FINDINGS)
@settings(max_examples=50, deadline=None)
def test_the_group_of_all_is_the_score_of_all(findings: list[Finding]) -> None:
    assert by_tag(findings)[ALL] == score(findings)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_spread_is_made_of_values_that_are_there_and_half_and_nine_tenths_are_not_above(values: Sequence[float]) -> None:
    found = spread(values)
    assert found is not None
    assert found.p50 <= found.p90 <= found.most == max(values)
    assert set(found) <= set(values)
    for share, value in ((0.5, found.p50), (0.9, found.p90)):
        assert sum(one <= value for one in values) >= share * len(values)
        assert sum(one < value for one in values) < share * len(values)
