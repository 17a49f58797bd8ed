"""How far a model's confidence can be trusted, and where to draw the line.

Confidence is about the macros' names, so a plan is right here if its macros are: a wrong argument or a task left out does not show in
it (grounding and coverage are there for those).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from heddle.evaluation.scoring import Finding, Share

KEPT: Final = 0.95
"""The share of right plans that a suggested threshold must let through."""
FEWEST_RIGHT: Final = 20
FEWEST_WRONG: Final = 5
"""Plans without which no threshold is suggested: fewer say nothing."""
_BINS: Final = 10


class Sure(NamedTuple):
    """A plan's confidence, from 0 to 1, and whether its macros are the right ones."""

    confidence: float
    right: bool


class Bin(NamedTuple):
    """The plans whose confidence is from `low` up to `high`."""

    low: float
    high: float
    plans: Share


class Gate(NamedTuple):
    """What a threshold does: right plans that it lets through, and wrong ones that it holds back."""

    threshold: float
    kept: Share
    held: Share


def sureness(findings: Iterable[Finding]) -> list[Sure]:
    """The plans whose model told how sure it was."""
    return [
        Sure(sure, one.macros_right) for one in findings if one.attempt.plan.stated and (sure := one.attempt.plan.confidence) is not None
    ]


def bins(plans: Sequence[Sure]) -> list[Bin]:
    """Tenths of confidence that have plans in them, and how many of these are right."""
    edges = [number / _BINS for number in range(_BINS + 1)]
    found = []
    for low, high in pairwise(edges):
        inside = [one for one in plans if low <= one.confidence < high or (one.confidence == high == 1.0)]
        if inside:
            found.append(Bin(low, high, Share(sum(one.right for one in inside), len(inside))))
    return found


def gate(threshold: float, plans: Sequence[Sure]) -> Gate:
    """What a threshold does to some plans: one below it is held back."""
    right = [one.confidence >= threshold for one in plans if one.right]
    wrong = [one.confidence < threshold for one in plans if not one.right]
    return Gate(threshold, Share(sum(right), len(right)), Share(sum(wrong), len(wrong)))


def suggested(plans: Sequence[Sure]) -> Gate | None:
    """The threshold that holds back most wrong plans of those that keep 95 % of the right ones; the lowest of several.

    It lies halfway between two confidences that were seen, so that it is not made for one plan. None if there are fewer than 20 right
    plans or 5 wrong ones, or if no such threshold holds anything back.
    """
    right = sum(one.right for one in plans)
    if right < FEWEST_RIGHT or len(plans) - right < FEWEST_WRONG:
        return None
    seen = sorted({one.confidence for one in plans})
    gates = [gate((low + high) / 2, plans) for low, high in pairwise(seen)]
    keeping = [one for one in gates if (one.kept.rate or 0.0) >= KEPT and one.held.count]
    return max(keeping, key=lambda one: (one.held.count, -one.threshold), default=None)
