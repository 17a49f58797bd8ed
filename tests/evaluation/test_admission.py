"""What is demanded of a model, and the test that macros make."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from heddle import macro
from heddle.evaluation.admission import (
    MOST_EXAMPLES,
    MOST_REFUSALS,
    Demand,
    Results,
    Verdict,
    admission_cases,
    registry_digest,
    results,
    verdict,
)
from heddle.evaluation.cases import ExpectedCall
from heddle.evaluation.scoring import Attempt, Share, finding_of
from heddle.llm.model import Facts
from heddle.macros.catalogue import catalogue_of
from heddle.macros.loading import AnyMacro
from heddle.macros.marks import given
from heddle.macros.quantities import Days, When
from heddle.planning.offer import Offers
from heddle.planning.plan import Plan, PlannedCall
from tests.support import Echoed, registry_of

GOOD = Facts(digest="d", parameters=7_600_000_000, bits=4.8, instruct=True)
PASSED = Results(examples=Share(8, 10), nothing_sent=Share(4, 5), refused=Share(3, 6))


class Word(BaseModel):
    word: str = ""


class Fetch(BaseModel):
    word: str
    repository: Annotated[str, given("repo")]
    days: Annotated[Days, given("age")]
    since: Annotated[When, given("since")]
    count: Annotated[int, given("count"), Field(ge=3)]


def made(name: str, count: int = 3, phrases: tuple[str, ...] = ()) -> AnyMacro:
    """A macro with so many examples."""

    @macro(name=name, examples=[(f"{name} {number}", {"word": str(number)}) for number in range(count)], phrases=phrases)
    async def handler(request: Word) -> Echoed:
        """Do it."""
        return Echoed(word=request.word)

    return handler


def goals(offers: Offers, tag: str) -> list[str]:
    return [case.goal for case in admission_cases(offers) if tag in case.tags]


def judged(facts: Facts = GOOD, tested: Results | None = PASSED, *waived: Demand) -> Verdict:
    return verdict(facts, tested, waived)


# --- the cases


def test_examples_that_the_prompt_shows_are_not_in_the_test() -> None:
    assert goals(registry_of(made("aa"), made("bb")), "example") == ["aa 1", "bb 1", "aa 2", "bb 2"]


def test_an_example_expects_its_call() -> None:
    (case,) = [case for case in admission_cases(registry_of(made("aa", 2))) if "example" in case.tags]
    assert (case.expected, case.offers) == ((ExpectedCall("aa", {"word": ("1",)}),), None)


def test_with_a_macro_taken_away_its_example_expects_a_refusal() -> None:
    refusals = [case for case in admission_cases(registry_of(made("aa"), made("bb"))) if "refusal" in case.tags]
    assert [(case.goal, case.expected, sorted(case.offers.macros)) for case in refusals if case.offers] == [
        ("aa 0", (), ["bb"]),
        ("bb 0", (), ["aa"]),
    ]


def test_one_macro_alone_has_no_refusal_to_test() -> None:
    assert goals(registry_of(made("aa")), "refusal") == []


def test_a_macro_without_examples_makes_no_case() -> None:
    assert admission_cases(registry_of(made("aa", 0), made("bb", 0))) == ()


def test_a_test_ends_and_every_macro_has_its_turn_before_one_has_a_second() -> None:
    offers = registry_of(*(made(f"m{number:02}", 4) for number in range(30)))
    examples, refusals = goals(offers, "example"), goals(offers, "refusal")
    assert (len(examples), len(refusals)) == (MOST_EXAMPLES, MOST_REFUSALS)
    assert {goal.split()[0] for goal in examples} == set(offers.macros)
    assert len(set(refusals)) == MOST_REFUSALS


def test_a_catalogue_makes_the_same_test_as_the_macros_themselves() -> None:
    registry = registry_of(made("aa"), made("bb"))
    told, compiled = ([(case.goal, case.expected) for case in admission_cases(offers)] for offers in (registry, catalogue_of(registry)))
    assert told == compiled


def test_a_macro_that_takes_values_from_the_context_has_one_in_its_cases() -> None:
    @macro(examples=[("fetch a", {"word": "a"}), ("fetch b", {"word": "b", "repository": "acme/web"})])
    async def fetch(request: Fetch) -> Echoed:
        """Fetch it."""
        return Echoed(word="")

    offers = registry_of(fetch)
    (case,) = admission_cases(offers)
    assert case.context == {"repo": "acme/web", "age": 0, "since": "2026-01-05T00:00:00Z", "count": 3}
    assert case.expected == (ExpectedCall("fetch", {"word": ("b",)}),)


# --- the results


def test_results_count_examples_sent_right_and_goals_without_their_macro_of_which_nothing_is_sent() -> None:
    offers = registry_of(made("aa", 2), made("bb", 1))
    example, *refusals = admission_cases(offers)
    right = Plan("m", 1, stated=(call := (PlannedCall("aa", {"word": "1"}),)), calls=call)
    told = results([finding_of(Attempt(case, right, 1.0), offers) for case in (example, *refusals)], offers)
    assert (told.examples, told.nothing_sent, told.refused) == (Share(1, 1), Share(0, 2), Share(0, 2))
    assert told.untested == ("bb",)
    assert told.failures == (
        "an example of aa without it: 'aa 0' became aa({'word': '1'})",
        "an example of bb without it: 'bb 0' became aa({'word': '1'})",
    )


def test_a_goal_without_its_macro_that_becomes_a_novel_one_counts_as_refused() -> None:
    offers = registry_of(made("aa"), made("bb"))
    refusal = next(case for case in admission_cases(offers) if "refusal" in case.tags)
    plan = Plan("m", 1, stated=(call := (PlannedCall("novel:research", {}),)), calls=call)
    told = results([finding_of(Attempt(refusal, plan, 1.0), offers)], offers)
    assert (told.nothing_sent, told.refused, told.failures) == (Share(1, 1), Share(1, 1), ())


# --- the verdict


def test_a_model_that_meets_every_demand_is_admitted_without_a_word() -> None:
    found = judged()
    assert (found.admitted, found.problems, found.warnings) == (True, (), ())


SHORT: list[tuple[Demand, Facts, Results, str]] = [
    ("parameters", Facts("d", 1_500_000_000, 4.8, True), PASSED, "the model has 1.5 billion parameters, and 6.5 are demanded"),
    ("instruct", Facts("d", 7_600_000_000, 4.8, False), PASSED, "the model is not tuned to follow instructions"),
    ("bits", Facts("d", 7_600_000_000, 3.4, True), PASSED, "a weight of the model has 3.4 bits, and 4 are demanded"),
    ("examples", GOOD, PASSED.model_copy(update={"examples": Share(7, 10)}), "7 of 10 examples of your macros became exactly their calls"),
    ("examples", GOOD, PASSED.model_copy(update={"nothing_sent": Share(3, 5)}), "3 of 5 goals that no macro can do ended without a task"),
    (
        "examples",
        GOOD,
        PASSED.model_copy(update={"refused": Share(2, 5)}),
        "2 of 5 goals that no macro can do were refused by the model itself",
    ),
]


@pytest.mark.parametrize(("demand", "facts", "tested", "said"), SHORT, ids=lambda value: value if isinstance(value, str) else "")
def test_a_demand_that_is_not_met_is_a_problem_that_says_how_to_go_on(demand: Demand, facts: Facts, tested: Results, said: str) -> None:
    found = judged(facts, tested)
    assert not found.admitted
    assert found.problems[0].startswith(said)
    assert f"planner.admit = [{demand!r}]" in found.problems[0]


@pytest.mark.parametrize(("demand", "facts", "tested", "said"), SHORT, ids=lambda value: value if isinstance(value, str) else "")
def test_a_demand_that_is_waived_is_a_warning(demand: Demand, facts: Facts, tested: Results, said: str) -> None:
    found = judged(facts, tested, demand)
    assert (found.admitted, found.problems) == (True, ())
    assert found.warnings[0].startswith(said)
    assert found.warnings[0].endswith("waived by planner.admit")


@pytest.mark.parametrize(("demand", "facts", "tested", "said"), SHORT, ids=lambda value: value if isinstance(value, str) else "")
def test_waiving_one_demand_waives_no_other(demand: Demand, facts: Facts, tested: Results, said: str) -> None:
    others: list[Demand] = ["parameters", "instruct", "bits", "examples"]
    others.remove(demand)
    assert not judged(facts, tested, *others).admitted


@pytest.mark.parametrize("known", ["parameters", "bits", "instruct"])
def test_what_nobody_knows_is_a_warning(known: str) -> None:
    facts: dict[str, Any] = {"digest": "d", "parameters": 7_600_000_000, "bits": 4.8, "instruct": True}
    found = judged(Facts(**facts | {known: None}))
    assert found.admitted
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("nobody knows")


def test_macros_of_which_the_test_had_no_example_are_named() -> None:
    found = judged(tested=PASSED.model_copy(update={"untested": ("aa", "bb")}))
    assert found.admitted
    assert "was not tested on aa, bb" in found.warnings[0]


def test_a_test_without_cases_fails_nobody() -> None:
    assert judged(tested=Results(examples=Share(0, 0), nothing_sent=Share(0, 0), refused=Share(0, 0))).admitted


def test_a_test_that_is_waived_is_told() -> None:
    assert judged(GOOD, None, "examples").warnings == ("the model was not tested on these macros; waived by planner.admit",)


# --- the digest


def test_a_registry_and_its_catalogue_have_one_digest() -> None:
    registry = registry_of(made("aa"), made("bb"))
    assert registry_digest(registry) == registry_digest(catalogue_of(registry))


def test_another_contract_is_another_registry() -> None:
    one, other = registry_of(made("aa"), made("bb")), registry_of(made("aa"), made("bb", phrases=("bb {word}",)))
    assert registry_digest(one) != registry_digest(other)


def test_the_order_in_which_macros_were_loaded_changes_no_digest() -> None:
    aa, bb = made("aa"), made("bb")
    assert registry_digest(registry_of(aa, bb)) == registry_digest(registry_of(bb, aa))
