"""The scan: what is done again and again outside macros, what of it a macro does already, and what may stay. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from heddle.gate.allowing import Allowance, allowing, expired
from heddle.gate.coverage import Cover, covering
from heddle.gate.generalise import failed_calls, generalise
from heddle.gate.mining import Mined, Run, mine
from heddle.gate.patterns import Pattern
from heddle.gate.reading import Logs, Place, Session
from heddle.gate.retirement import Covered, Saving, savings
from heddle.gate.together import Together, planned_together

Status = Literal["unencoded", "allowed", "covered"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A sequence that keeps coming back.

    Attributes:
        status: `covered` if a macro does it, `allowed` if the allow-list has it, else `unencoded`.
        place: where its first run begins.
        goals: what people asked for, in the runs.
        unsaid: fields that its macro must be given, and the goals do not say.
    """

    pattern: Pattern
    mined: Mined
    status: Status
    place: Place
    goals: tuple[str, ...]
    macro: str | None = None
    unsaid: tuple[str, ...] = ()
    allowance: Allowance | None = None

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """Its runs, and those that ended in a failure."""
        return (*self.mined.runs, *(run for failure in self.pattern.failures for run in failure.runs))


@dataclass(frozen=True, slots=True)
class Report:
    """What a scan came to.

    Attributes:
        sessions: those that were looked at, in the order that runs number them.
        expired: entries of the allow-list that hold no more.
        unused: entries of the allow-list that nothing needs.
    """

    logs: Logs
    sessions: tuple[Session, ...]
    findings: tuple[Finding, ...]
    together: tuple[Together, ...]
    savings: tuple[Saving, ...]
    expired: tuple[Allowance, ...]
    unused: tuple[Allowance, ...]

    @property
    def unencoded(self) -> list[Finding]:
        """What counts against the threshold."""
        return [finding for finding in self.findings if finding.status == "unencoded"]


def scan(
    logs: Logs,
    covers: Sequence[Cover],
    parents: Iterable[Iterable[str]],
    allowances: Sequence[Allowance],
    today: date,
    *,
    min_support: int = 3,
    min_length: int = 2,
) -> Report:
    """Look through logs.

    Args:
        logs: what was read.
        covers: what macros do already.
        parents: what the macros that call others call.
        allowances: the allow-list.
        today: the day on which it is read.
        min_support: sessions, or goals, that must have a sequence.
        min_length: calls that a sequence must have.
    """
    sessions = tuple(logs.sessions.values())
    failed = failed_calls(sessions)
    patterns = ((one, generalise(one, sessions, failed)) for one in mine(sessions, min_support=min_support, min_length=min_length))
    findings = tuple(_finding(one, pattern, sessions, covers, allowances, today) for one, pattern in patterns)
    gone = expired(allowances, today)
    used = {finding.allowance for finding in findings}
    return Report(
        logs=logs,
        sessions=sessions,
        findings=findings,
        together=tuple(planned_together(logs.goals, parents, min_support)),
        savings=tuple(savings(sessions, [Covered(one.macro, one.all_runs, one.unsaid) for one in findings if one.macro is not None])),
        expired=tuple(gone),
        unused=tuple(one for one in allowances if one not in used and one not in gone),
    )


def _finding(
    mined: Mined,
    pattern: Pattern,
    sessions: Sequence[Session],
    covers: Sequence[Cover],
    allowances: Sequence[Allowance],
    today: date,
) -> Finding:
    cover = covering(pattern, covers)
    allowance = None if cover else allowing(pattern, allowances, today)
    first = mined.runs[0]
    goals = (sessions[run.session].calls[run.calls[0]].goal for run in mined.runs)
    return Finding(
        pattern=pattern,
        mined=mined,
        status="covered" if cover else "allowed" if allowance else "unencoded",
        place=sessions[first.session].places[first.calls[0]],
        goals=tuple(dict.fromkeys(goal for goal in goals if goal)),
        macro=cover.macro if cover else None,
        unsaid=tuple(one.name for one in pattern.parameters if cover and one.name in cover.required and not one.is_stated),
        allowance=allowance,
    )
