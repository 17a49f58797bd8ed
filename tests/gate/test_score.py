"""The corpora that the miner is measured on, and the scorer: both were there before the miner."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from tests.gate.corpus import BROKEN, WORKFLOWS, Corpus, Shape, made
from tests.gate.score import Found, kind_of, score

SHAPES = get_args(Shape)


def truth(corpus: Corpus) -> list[Found]:
    return [
        Found(
            one.methods, tuple({name: kind_of(argument, one) for name, argument in step.arguments.items()} for step in one.steps), support=9
        )
        for one in corpus.workflows
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_seed_makes_the_same_corpus(shape: Shape) -> None:
    assert list(made(shape, 7, sessions=20).lines()) == list(made(shape, 7, sessions=20).lines())


@pytest.mark.parametrize("shape", SHAPES)
def test_no_two_of_the_twenty_workflows_have_the_same_calls(shape: Shape) -> None:
    assert len({tuple(sorted(workflow.methods)) for workflow in made(shape, 1, sessions=1).workflows}) == WORKFLOWS


@pytest.mark.parametrize("shape", SHAPES)
def test_one_session_of_ten_is_broken(shape: Shape) -> None:
    sessions = made(shape, 1, sessions=600).sessions
    assert sum("error" in session[-1] for session in sessions) / len(sessions) == pytest.approx(BROKEN / 2, abs=0.03)


def test_the_truth_scores_one() -> None:
    corpus = made("fans", 1, sessions=1)
    scored = score(corpus.workflows, truth(corpus))
    assert (scored.recall, scored.precision, scored.arguments, scored.misses) == (1, 1, 1, [])


def test_what_is_not_found_lowers_recall_and_is_named() -> None:
    corpus = made("fans", 1, sessions=1)
    scored = score(corpus.workflows, truth(corpus)[1:])
    assert (scored.recall, scored.precision) == (1 - 1 / WORKFLOWS, 1)
    assert scored.misses == [f"not found: {' > '.join(corpus.workflows[0].methods)}"]


def test_what_is_found_twice_is_wrong_the_second_time() -> None:
    corpus = made("chains", 1, sessions=1)
    scored = score(corpus.workflows, [*truth(corpus), truth(corpus)[0]])
    assert scored.recall == 1
    assert scored.precision == pytest.approx(WORKFLOWS / (WORKFLOWS + 1))


def test_a_part_of_a_workflow_is_wrong() -> None:
    corpus = made("chains", 1, sessions=1)
    longest = max(truth(corpus), key=lambda one: len(one.calls))
    part = Found(longest.calls[:-1], longest.arguments[:-1], support=3)
    assert score(corpus.workflows, [part]).precision == 0


def test_an_order_that_the_data_flow_forbids_is_wrong() -> None:
    corpus = made("fans", 1, sessions=1)
    turned = [Found(one.calls[::-1], one.arguments[::-1], one.support) for one in truth(corpus)]
    assert score(corpus.workflows, turned).recall == 0


def test_an_argument_that_is_taken_for_something_else_is_named() -> None:
    corpus = made("chains", 1, sessions=1)
    first = truth(corpus)[0]
    wrong = replace(first, arguments=(dict.fromkeys(first.arguments[0], "constant"), *first.arguments[1:]))
    scored = score(corpus.workflows, [wrong, *truth(corpus)[1:]])
    assert scored.arguments == pytest.approx(1 - len(scored.misses) / scored.counted)
    assert all(miss.startswith("argument: ") for miss in scored.misses)
