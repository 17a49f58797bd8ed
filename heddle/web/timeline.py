"""A goal's timeline: one row for its plan and one for each task, as stretches on a common scale. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from heddle.control.goals import GoalShown
from heddle.messages import TaskMessage, TaskResult, parse_time
from heddle.web.words import lasted, seconds

Kind = Literal["plan", "approval", "route", "queue", "run", "open", "end"]
HOPS: Final = ("planned", "routed", "waited", "started", "done")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a row; `left` and `width` in percent of the scale."""

    kind: Kind
    left: float
    width: float
    told: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row: the plan's, or a task's.

    Attributes:
        hops: milliseconds from the goal's coming to each of `HOPS`, None where it is not known.
        error: of a task that failed.
        task: the task; None for the plan's own row.
    """

    name: str
    status: str
    stretches: tuple[Stretch, ...]
    hops: tuple[float | None, ...] = ()
    error: str | None = None
    task: TaskMessage | None = None
    outcome: TaskResult | None = None
    tier: str | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """All rows; `ticks` are the scale's marks: (left in percent, words)."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    total_ms: float


def timeline(goal: GoalShown, now: float) -> Timeline:
    """The timeline of a goal; what has not ended goes on until `now` (seconds since the epoch)."""
    start = goal.line.stored
    ended = goal.line.total_ms
    replayed = _replayed(goal)
    first_runs = [outcome for task_id, outcome in goal.outcomes.items() if task_id not in replayed]
    moments = [moment for outcome in first_runs for moment in _hops(outcome, start) if moment is not None]
    total = float(ended) if ended is not None else max(0.0, (now - start) * 1000)
    total = max([total, *moments, 1.0])
    rows = [_plan_row(goal, total)]
    if goal.state is not None:
        rows += [_task_row(goal, task, total, replayed) for task in goal.state.tasks]
    return Timeline(tuple(rows), _ticks(total), total)


def _replayed(goal: GoalShown) -> frozenset[str]:
    """The tasks whose outcome is that of a replay, which was long after and has no place on the scale."""
    rows = (goal.state.record or {}).get("tasks", ()) if goal.state is not None else ()
    return frozenset(row["task_id"] for row in rows if row.get("generation", 0) > goal.line.generation)


def _plan_row(goal: GoalShown, total: float) -> Row:
    state, ended = goal.state, goal.line.total_ms is not None
    if state is None:
        kind: Kind = "end" if ended else "plan"
        return Row("plan", goal.line.standing, (_stretch(kind, 0, total, total, "no plan" if ended else "waits for its plan"),))
    planned = (state.planned - state.stored) * 1000
    stretches = [_stretch("plan", 0, planned, total, f"planned by {state.planned_by} in {lasted(planned)}")]
    if state.approval is not None:
        until = (state.approval.at - state.stored) * 1000 if state.approval.at is not None else total
        told = f"approved by {state.approval.by}" if state.approval.by else "waits for an approval"
        stretches.append(_stretch("approval", planned, until, total, f"{told}, {lasted(until - planned)}"))
    return Row("plan", "parked" if state.parked else "planned", tuple(stretches), (planned, None, None, None, None))


def _task_row(goal: GoalShown, task: TaskMessage, total: float, replayed: frozenset[str]) -> Row:
    assert goal.state is not None  # noqa: S101  # for the type checker: there are tasks
    state = goal.state
    sent = ((state.approval.at if state.approval and state.approval.at else state.planned) - state.stored) * 1000
    outcome = goal.outcomes.get(task.task_id or "")
    if outcome is None:
        parked = state.parked
        over = goal.line.total_ms is not None
        stretches = () if parked or over else (_stretch("open", sent, total, total, f"on its way for {lasted(total - sent)}"),)
        status = "not kept" if over else "not sent" if parked else "on its way"
        return Row(task.worker_type, status, stretches, (sent, None, None, None, None), task=task, tier=task.model_tier)
    if task.task_id in replayed:
        status = f"{outcome.status}, replayed"
        return Row(task.worker_type, status, (), (sent, None, None, None, None), outcome.error, task, outcome, task.model_tier)
    routed, waited, started, done = _hops(outcome, state.stored)
    metadata = outcome.metadata
    told = metadata.get("dead_letter")
    letter = told if isinstance(told, dict) else {}
    found: list[Stretch] = []
    for kind, begin, end, told in (
        ("route", sent, routed, "on its way to the router and through it"),
        ("queue", routed, started, "in the queue, and with the worker before it began"),
        ("run", started, done, "the handler ran"),
    ):
        if begin is not None and end is not None:
            found.append(_stretch(kind, begin, end, total, f"{told}: {lasted(end - begin)}"))  # type: ignore[arg-type]  # the kinds are literals
    if done is None and (end := _ended(outcome, state.stored)) is not None:
        found.append(_stretch("end", max(sent, routed or sent), end, total, f"ended after {lasted(end - sent)}"))
    return Row(
        task.worker_type,
        outcome.status,
        tuple(found),
        (sent, routed, waited, started, done),
        outcome.error,
        task,
        outcome,
        str(metadata.get("tier") or letter.get("tier") or task.model_tier),
    )


def _hops(outcome: TaskResult, start: float) -> tuple[float | None, float | None, float | None, float | None]:
    """Milliseconds from the goal's coming to `routed`, `waited`, `started` and `done`."""
    hops: Mapping[str, Any] = outcome.metadata.get("hops") or {}

    def at(name: str) -> float | None:
        moment = hops.get(name) if isinstance(hops, dict) else None
        return moment - start * 1000 if isinstance(moment, int | float) else None

    return at("routed"), at("waited"), at("started"), at("done")


def _ended(outcome: TaskResult, start: float) -> float | None:
    return None if outcome.completed_at is None else (parse_time(outcome.completed_at).timestamp() - start) * 1000


def _stretch(kind: Kind, begin: float, end: float, total: float, told: str) -> Stretch:
    left = min(100.0, max(0.0, begin / total * 100))
    return Stretch(kind, round(left, 3), round(min(100.0 - left, max(0.0, (end - begin) / total * 100)), 3), told)


_STEPS: Final = (
    *(size * 10.0**power for power in range(-1, 4) for size in (1, 2, 5)),
    *(seconds * 1000.0 for seconds in (10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400)),
)
"""Milliseconds between two marks."""
_MARKS: Final = 5


def _ticks(total: float) -> tuple[tuple[float, str], ...]:
    """Marks at round numbers, none so near to the right edge that its words would not fit."""
    step = next((size for size in _STEPS if total / size <= _MARKS), total / _MARKS)
    marks = ((number * step / total * 100, seconds(number * step / 1000)) for number in range(1, _MARKS + 1))
    return tuple((round(left, 3), words) for left, words in marks if left <= 96)
