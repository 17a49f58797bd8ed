"""A plan: the calls that a goal stands for, and what was found when they were looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from heddle.errors import Code

PHRASES: Final = "phrases"
"""What plans in the place of a model, in the record."""
UNSUPPORTED: Final = "unsupported"
NOVEL_PREFIX: Final = "novel:"
"""Before the name of a category of novel goals, in the place of a macro's name; a macro's own has no colon."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of a macro; `arguments` are what the goal states, without the macro's defaults."""

    macro: str
    arguments: dict[str, Any]


Ground = Literal["goal", "context", "given", "default", "free text", "ungrounded"]
"""Where a value comes from: the goal's words, a context value of the field's name, filled in by code from the context, the macro's own
default stated once more, a field that opted out, or nowhere."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a plan, and where it comes from.

    Attributes:
        macro: whose argument.
        field: its dotted path in the arguments.
        stated: as the planner wrote it; None where code filled it in.
        value: as it is sent: converted where the field is a quantity.
        ground: where it comes from.
    """

    macro: str
    field: str
    stated: Any
    value: Any
    ground: Ground


@dataclass(frozen=True, slots=True)
class Review:
    """A plan, looked at; it may be sent if there are no problems.

    Attributes:
        calls: as they are to be sent: converted, filled in, identical ones merged.
        values: every value that the plan states or code filled in.
        defaulted: fields that are left to the macro's default, as (macro, field).
        uncovered: literals of the goal that no argument uses.
        merged: how many calls were the same as another.
        problems: why it may not be sent, by code, the gravest first.
    """

    calls: tuple[PlannedCall, ...]
    values: tuple[Value, ...] = ()
    defaulted: tuple[tuple[str, str], ...] = ()
    uncovered: tuple[str, ...] = ()
    merged: int = 0
    problems: tuple[tuple[Code, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model call took; `cost` is in dollars, by the prices in the settings."""

    model: str
    prompt_tokens: int | None
    answer_tokens: int | None
    cost: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What planning a goal came to; it may be sent if there is no problem.

    Attributes:
        planned_by: the model's name, or `phrases`.
        model_calls: how often a model was called for it.
        calls: as they are to be sent; none if there is a problem.
        problem: why it may not be sent: the dead-letter code, and what is wrong.
        note: what a person should know of how it was planned; a remedy included.
        warnings: what the plan could not be sure of, such as a model without log-probabilities.
        fallback: why a second model was asked: `unsure`, or the code of the first one's problem; None if it was not.
        answer: the model's raw answer.
        stated: the calls as the planner answered them, before the review.
        review: every check of what was stated.
        confidence: how sure the model was of the macros, from 0 to 1; None without log-probabilities.
        usage: what the model calls took.
    """

    planned_by: str
    model_calls: int
    calls: tuple[PlannedCall, ...] = ()
    problem: tuple[Code, str] | None = None
    note: str | None = None
    warnings: tuple[str, ...] = ()
    fallback: str | None = None
    answer: str | None = None
    stated: tuple[PlannedCall, ...] = ()
    review: Review | None = None
    confidence: float | None = None
    usage: tuple[Usage, ...] = ()

    def unsent(self, code: Code, detail: str) -> Plan:
        """The same plan, kept back for this reason."""
        return replace(self, calls=(), problem=(code, detail))
