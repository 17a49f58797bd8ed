"""How far plans drift from what goals state: values converted, left to a default, found nowhere, or literals that nobody used."""

from __future__ import annotations

from collections import Counter
from typing import Literal, NamedTuple

from heddle.planning.plan import Review

Kind = Literal["coerced", "defaulted", "ungrounded", "uncovered"]


class Drift(NamedTuple):
    """One way in which a value is not simply what the goal says; `macro` and `field` are empty for a literal that no argument uses.

    `field` is the first part of the value's path alone: it labels a metric, and the further parts are positions and keys that goals write.
    """

    macro: str
    field: str
    kind: Kind


def drift_of(review: Review) -> Counter[Drift]:
    """Every drift of a plan, counted; whether it was sent or not."""
    found: Counter[Drift] = Counter()
    for value in review.values:
        field, _, _ = value.field.partition(".")
        if value.ground == "ungrounded":
            found[Drift(value.macro, field, "ungrounded")] += 1
        if value.stated is not None and value.stated != value.value:
            found[Drift(value.macro, field, "coerced")] += 1
    for macro, field in review.defaulted:
        found[Drift(macro, field, "defaulted")] += 1
    if review.uncovered:
        found[Drift("", "", "uncovered")] += len(review.uncovered)
    return found
