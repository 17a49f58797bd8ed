"""What came of the cases: figures over recorded attempts.

A case is looked at twice: as the planner answered, and as it would be sent, after every check. The first says how good a model is, the
second what harm it can do and what it costs in goals that are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, NamedTuple

from heddle.errors import Code
from heddle.evaluation.cases import Case
from heddle.evaluation.matching import calls_found, macros_found
from heddle.planner import UNSURE
from heddle.planning.offer import Offers
from heddle.planning.plan import NOVEL_PREFIX, Plan

ALL = "all"
"""The group that every case is in, whatever its tags."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A case, planned.

    Attributes:
        case: which.
        plan: what came of it.
        seconds: how long that took.
        shown: the macros that the prompt showed, if not all of them fitted.
    """

    case: Case
    plan: Plan
    seconds: float
    shown: frozenset[str] | None = None


Answered = Literal["calls", "unsupported", "nothing"]
"""What the planner itself answered: calls, that no macro does this, or nothing that can be read."""
Sent = Literal["right", "wrong", "nothing"]
"""What would be sent after every check: the calls that are expected, others, or none."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one case.

    Attributes:
        attempt: the case and its plan.
        answered: what the planner itself answered.
        macros_right: whether it named the macros that are expected, or refused what is to be refused.
        right: whether its arguments are right too.
        macros_found: expected calls whose macro it named.
        calls_found: of these, those with right arguments.
        sent: what would be sent.
        cause: why nothing would be sent, if so: the code, or `unsure` for a plan that only the model's confidence speaks against.
    """

    attempt: Attempt
    answered: Answered
    macros_right: bool
    right: bool
    macros_found: int
    calls_found: int
    sent: Sent
    cause: str | None

    @property
    def in_scope(self) -> bool:
        """Whether the goal is one that macros can do."""
        return bool(self.attempt.case.expected)

    @property
    def good(self) -> bool:
        """Whether what would be sent is what is expected: the calls, or nothing."""
        return self.sent == ("right" if self.in_scope else "nothing")


def finding_of(attempt: Attempt, offers: Offers) -> Finding:
    """Hold an attempt against its case.

    Args:
        attempt: the case and its plan.
        offers: the macros that it was planned with.
    """
    case, plan = attempt.case, attempt.plan
    answered = _answered(plan)
    macros = macros_found(plan.stated, case.expected)
    calls = calls_found(plan.stated, case, offers)
    count = len(case.expected)
    whole = answered == "calls" and len(plan.stated) == count
    refused = answered == "unsupported" and not count
    sent: Sent = "nothing"
    if plan.problem is None:
        sent = "right" if len(plan.calls) == count == calls_found(plan.calls, case, offers) else "wrong"
    return Finding(
        attempt=attempt,
        answered=answered,
        macros_right=refused or (whole and macros == count),
        right=refused or (whole and calls == count),
        macros_found=macros,
        calls_found=calls,
        sent=sent,
        cause=_cause(plan),
    )


def _answered(plan: Plan) -> Answered:
    if plan.stated:
        return "calls"
    return "unsupported" if plan.problem is not None and plan.problem[0] is Code.UNSUPPORTED_GOAL else "nothing"


def _cause(plan: Plan) -> str | None:
    if plan.problem is None:
        return None
    return UNSURE if plan.review is not None and not plan.review.problems else plan.problem[0].value


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    @property
    def rate(self) -> float | None:
        """From 0 to 1; None of nothing."""
        return self.count / self.of if self.of else None


def share(findings: Iterable[Finding], holds: Callable[[Finding], bool]) -> Share:
    """Of how many findings something holds."""
    told = [holds(one) for one in findings]
    return Share(sum(told), len(told))


class Spread(NamedTuple):
    """The middle, the slow end, and the worst, by nearest rank."""

    p50: float
    p90: float
    most: float


def spread(values: Iterable[float]) -> Spread | None:
    """The spread of some values; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    p50, p90 = (ordered[ceil(share * len(ordered)) - 1] for share in (0.5, 0.9))
    return Spread(p50, p90, ordered[-1])


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of a group of cases; "in scope" are the goals that macros can do.

    Attributes:
        cases: how many.
        macros: in scope, the planner named exactly the macros that are expected.
        arguments: in scope, and every argument is right.
        refused: out of scope, the planner itself said `unsupported`.
        falsely_refused: in scope, it said so too.
        unreadable: its answer is no plan at all.
        tasks: of goals with several tasks, tasks of the right macro.
        whole_tasks: of these, those with right arguments.
        shown: of expected calls whose goal's prompt could not show all macros, those whose macro it showed.
        sent_right: in scope, exactly what is expected would be sent.
        sent_nothing: out of scope, nothing would be sent.
        sent_wrong: something else would be sent.
        right_refused: right plans that a check refused, by cause.
        wrong_refused: wrong plans that a check refused, by cause.
        seconds, prompt_tokens, answer_tokens: what it took.
    """

    cases: int
    macros: Share
    arguments: Share
    refused: Share
    falsely_refused: Share
    unreadable: Share
    tasks: Share
    whole_tasks: Share
    shown: Share
    sent_right: Share
    sent_nothing: Share
    sent_wrong: Share
    right_refused: Mapping[str, int]
    wrong_refused: Mapping[str, int]
    seconds: Spread | None
    prompt_tokens: Spread | None
    answer_tokens: Spread | None


def score(findings: Sequence[Finding]) -> Score:
    """The figures of some findings."""
    inside = [one for one in findings if one.in_scope]
    outside = [one for one in findings if not one.in_scope]
    multi = [one for one in inside if len(one.attempt.case.expected) > 1]
    chosen = [in_prompt for one in inside for in_prompt in _shown(one.attempt)]
    wanted = sum(len(one.attempt.case.expected) for one in multi)
    refused = [one for one in findings if one.answered == "calls" and one.cause is not None]
    used = [usage for one in findings for usage in one.attempt.plan.usage]
    return Score(
        cases=len(findings),
        macros=share(inside, lambda one: one.macros_right),
        arguments=share(inside, lambda one: one.right),
        refused=share(outside, lambda one: one.right),
        falsely_refused=share(inside, lambda one: one.answered == "unsupported"),
        unreadable=share(findings, lambda one: one.answered == "nothing"),
        tasks=Share(sum(one.macros_found for one in multi), wanted),
        whole_tasks=Share(sum(one.calls_found for one in multi), wanted),
        shown=Share(sum(chosen), len(chosen)),
        sent_right=share(inside, lambda one: one.sent == "right"),
        sent_nothing=share(outside, lambda one: one.sent == "nothing"),
        sent_wrong=share(findings, lambda one: one.sent == "wrong"),
        right_refused=Counter(one.cause for one in refused if one.right and one.cause),
        wrong_refused=Counter(one.cause for one in refused if not one.right and one.cause),
        seconds=spread(one.attempt.seconds for one in findings),
        prompt_tokens=spread(one.prompt_tokens for one in used if one.prompt_tokens is not None),
        answer_tokens=spread(one.answer_tokens for one in used if one.answer_tokens is not None),
    )


def _shown(attempt: Attempt) -> Iterator[bool]:
    """For each expected call of a macro, whether the prompt showed it, if it could not show all."""
    if attempt.shown is not None:
        macros = [call.macro for call in attempt.case.expected if not call.macro.startswith(NOVEL_PREFIX)]
        yield from (macro in attempt.shown for macro in macros)


def by_tag(findings: Sequence[Finding]) -> dict[str, Score]:
    """The figures for every tag, in the order in which they first stand in the cases, and for all cases together, last."""
    tags = dict.fromkeys(tag for one in findings for tag in one.attempt.case.tags)
    groups = {tag: [one for one in findings if tag in one.attempt.case.tags] for tag in tags}
    return {tag: score(group) for tag, group in (groups | {ALL: list(findings)}).items()}
