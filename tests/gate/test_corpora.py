"""The gate against the corpora: what must be reached, and everything that is missed when it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest

from tests.gate.corpus import Shape, made
from tests.gate.found import scored
from tests.gate.score import Score

SHAPES = get_args(Shape)
NEVER_LOOKED_AT = range(101, 109)
"""Seeds of corpora that nobody looked at while the miner was written."""


def short_of(figures: Score) -> list[str]:
    names = {"recall": 0.9, "precision": 0.9, "arguments": 0.95}
    return [f"{name} {getattr(figures, name):.3f} is below {least}" for name, least in names.items() if getattr(figures, name) < least]


def mean(of: Sequence[Score]) -> Score:
    total = len(of)
    return Score(
        recall=sum(one.recall for one in of) / total,
        precision=sum(one.precision for one in of) / total,
        arguments=sum(one.arguments for one in of) / total,
        counted=sum(one.counted for one in of),
        misses=[miss for one in of for miss in one.misses],
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_twenty_workflows_are_found_again_among_noise_broken_sessions_and_calls_in_any_order(shape: Shape) -> None:
    figures = scored(made(shape, 1))
    assert not short_of(figures), f"{figures}"


@pytest.mark.prove
@pytest.mark.parametrize("shape", SHAPES)
def test_so_are_those_of_corpora_that_nobody_looked_at_on_average(shape: Shape) -> None:
    figures = mean([scored(made(shape, seed)) for seed in NEVER_LOOKED_AT])
    print(figures)  # noqa: T201  # what was missed is what the proof is read for
    assert not short_of(figures), f"{figures}"
