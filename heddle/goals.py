"""When is a goal done, and how: pure. Progress is not stored, it is the outcomes of the goal's tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from heddle import subjects
from heddle.messages import GOAL_WORKER_TYPE, Goal, TaskMessage, TaskResult, format_time
from heddle.planning.offer import Offer, Offers
from heddle.planning.plan import NOVEL_PREFIX, Plan, PlannedCall

WHOLE_RECORD: Final = 256 * 1024
"""Bytes up to which a goal's final result carries its tasks' outputs."""

LONGEST_INSTRUCTION: Final = 16 * 1024
"""Characters of a goal's instruction that its state and its record tell, which have to fit into a message; its letter has it whole."""


Moment = Annotated[float, Field(ge=0, lt=1e10)]
"""Seconds since the epoch, of a moment that a calendar has."""


class Approval(BaseModel):
    """What a goal with an irreversible macro waits for, and whether it has it.

    Attributes:
        macros: the irreversible ones of its plan.
        until: when it stops waiting, seconds since the epoch.
        by: who approved it; None while nobody has.
        at: when they did, seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    macros: tuple[str, ...]
    until: Moment
    by: str | None = None
    at: Moment | None = None


class GoalState(BaseModel):
    """What is kept of a goal while it is worked on, in HEDDLE_GOAL_RECORDS under `<goal_id>.<generation>`.

    Attributes:
        stored: seconds since the epoch at which the goal was stored.
        planned: the same for its plan; the tasks follow at once, or once they are approved. Of a goal that never became a plan, when that was clear.
        confidence: how sure the model was, from 0 to 1.
        warnings: what the plan could not be sure of.
        usage: what the model calls took: [{model, prompt_tokens, answer_tokens, cost}], cost in dollars.
        source: the goal's place: its stream, that stream's creation in microseconds, its sequence; the tasks' message ids come from it.
        trace: headers with the trace context, passed on to the tasks.
        approval: None if nobody needs to approve it.
        tasks: the tasks as they were published, or will be.
    """

    model_config = ConfigDict(frozen=True)

    goal_id: str
    generation: int
    instruction: str
    stored: Moment
    planned: Moment
    planned_by: str
    model_calls: int
    note: str | None = None
    confidence: float | None = None
    warnings: tuple[str, ...] = ()
    usage: tuple[dict[str, Any], ...] = ()
    source: tuple[str, int, int] | None = None
    trace: dict[str, str] = {}
    approval: Approval | None = None
    tasks: tuple[TaskMessage, ...]
    record: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """Where HEDDLE_GOAL_RECORDS keeps it."""
        return subjects.goal_record(self.goal_id, self.generation)

    def encode(self) -> bytes:
        """As it is kept."""
        return self.model_dump_json(exclude_none=True).encode()

    @property
    def parked(self) -> bool:
        """Does it wait for its approval?"""
        return self.approval is not None and self.approval.by is None and self.record is None


@dataclass(frozen=True, slots=True)
class Came:
    """How a goal came to be planned.

    Attributes:
        goal_id: its own, or made from its place in the stream.
        stored: when it was stored, seconds since the epoch.
        source: its stream, that stream's creation in microseconds, its sequence.
        trace: headers with the trace context.
        calls_before: calls of a model for it, by processes that died in them.
    """

    goal_id: str
    stored: float
    source: tuple[str, int, int]
    trace: Mapping[str, str] = field(default_factory=dict)
    calls_before: int = 0


def goal_state(goal: Goal, came: Came, plan: Plan, offers: Offers, now: float, approval_wait: float) -> GoalState:
    """The state of a goal that was just planned.

    Args:
        goal: the message.
        came: how it came here.
        plan: checked, and without a problem.
        offers: what it was planned for: its tasks name the newest version, so that a worker that knows only older ones, or newer ones
            besides, does not read their arguments as those of another.
        now: seconds since the epoch.
        approval_wait: seconds that it may wait for an approval.
    """
    newest = {macro.name: macro for macro in offers.newest()}
    tasks = tuple(_task(call, number, goal, came.goal_id, newest, now) for number, call in enumerate(plan.calls, 1))
    lasting = tuple(
        dict.fromkeys(call.macro for call in plan.calls if call.macro in newest and newest[call.macro].effects == "irreversible")
    )
    return GoalState(
        goal_id=came.goal_id,
        generation=goal.generation,
        instruction=_told(goal),
        stored=came.stored,
        planned=now,
        planned_by=plan.planned_by,
        model_calls=came.calls_before + plan.model_calls,
        note=plan.note,
        confidence=plan.confidence,
        warnings=plan.warnings,
        usage=tuple(asdict(usage) for usage in plan.usage),
        source=came.source,
        trace=dict(came.trace),
        approval=Approval(macros=lasting, until=now + approval_wait) if lasting and not goal.approved else None,
        tasks=tasks,
    )


def _told(goal: Goal) -> str:
    said = goal.instruction
    return said if len(said) <= LONGEST_INSTRUCTION else f"{said[:LONGEST_INSTRUCTION]}…"


def _task(call: PlannedCall, number: int, goal: Goal, goal_id: str, newest: Mapping[str, Offer], now: float) -> TaskMessage:
    """The task of a call; a novel one carries the goal itself."""
    category = call.macro.removeprefix(NOVEL_PREFIX)
    what: dict[str, Any]
    if category == call.macro:
        macro = newest[call.macro]
        what = {"worker_type": macro.name, "payload": call.arguments, "model_tier": macro.tier, "macro_version": macro.version}
    else:
        payload = {"instruction": goal.instruction, "context": goal.context, "history": [], "category": category}
        what = {"worker_type": subjects.NOVEL, "payload": payload, "model_tier": subjects.FRONTIER, "metadata": {"novel": category}}
    passed_on = {key: value for key, value in (goal.model_extra or {}).items() if key.startswith("_")}
    return TaskMessage(
        task_id=f"{goal_id}-{number}",
        parent_task_id=goal_id,
        priority=goal.priority,
        request_id=goal.request_id,
        created_at=format_time(now),
        generation=goal.generation,
        hops=1,
        **what,
        **passed_on,
    )


Standing = Literal["waiting", "planning", "parked", "running", "completed", "partial", "failed"]
"""Where a goal stands: in its stream, with a model, waiting for an approval, with its tasks on their way, or ended."""


def standing_of(state: GoalState) -> Standing:
    """Where a goal stands that has a plan or has ended."""
    ended: dict[str, Standing] = {"completed": "completed", "partial": "partial"}
    if state.record is None:
        return "parked" if state.parked else "running"
    return ended.get(state.record.get("status", ""), "failed")


def task_subjects(state: GoalState) -> list[str]:
    """Where the outcomes of a goal's tasks are, in the plan's order."""
    return [subjects.task_outcome(task.task_id or "", state.goal_id, state.generation) for task in state.tasks]


def finished_record(state: GoalState, outcomes: Sequence[TaskResult], now: float) -> dict[str, Any]:
    """The record of a goal whose tasks all have outcomes.

    Its shape: goal_id, instruction, planned_by, model_calls, confidence, note, warnings, usage, approved_by, tasks [{task_id, worker_type, tier, status, output, error,
    hops_ms {planned, routed, waited, started, done}}], status, total_ms. Hops are milliseconds since the goal was stored, null
    where unknown.
    """
    rows = [_row(state, task, outcome) for task, outcome in zip(state.tasks, outcomes, strict=True)]
    status = _status(rows)
    return {
        "goal_id": state.goal_id,
        "instruction": state.instruction,
        "planned_by": state.planned_by,
        "model_calls": state.model_calls,
        "confidence": state.confidence,
        "note": state.note,
        "warnings": list(state.warnings),
        "usage": list(state.usage),
        "approved_by": state.approval.by if state.approval else None,
        "tasks": rows,
        "status": status,
        "total_ms": round((now - state.stored) * 1000),
    }


def _status(rows: Sequence[Mapping[str, Any]]) -> Literal["completed", "partial", "failed"]:
    completed = sum(row["status"] == "completed" for row in rows)
    return "completed" if completed == len(rows) else "partial" if completed else "failed"


def amended_record(state: GoalState, later: Mapping[str, tuple[int, TaskResult]], now: float) -> dict[str, Any] | None:
    """The record of a goal that has ended, with the outcomes of tasks that were replayed since; None if it has them all.

    A later generation's outcome takes its task's row; `amendments` counts how often that happened, and `amended_at` says when.

    Args:
        state: with its record.
        later: by task id, the newest generation that has an outcome, and that.
        now: seconds since the epoch.
    """
    record = state.record or {}
    rows = {row["task_id"]: row for row in record["tasks"]}
    newer = {}
    for task in state.tasks:
        generation, outcome = later.get(task.task_id or "", (0, None))
        if outcome is not None and task.task_id in rows and generation > rows[task.task_id].get("generation", state.generation):
            newer[task.task_id] = {**_row(state, task, outcome), "generation": generation}
    if not newer:
        return None
    told = [newer.get(row["task_id"], row) for row in record["tasks"]]
    amended = {"amendments": record.get("amendments", 0) + 1, "amended_at": format_time(now)}
    return {**record, "tasks": told, "status": _status(told), **amended}


def unplanned_state(record: dict[str, Any], generation: int, stored: float, now: float) -> GoalState:
    """What is kept of a goal that never became a plan: its record, so that it is listed with the others."""
    return GoalState(
        goal_id=record["goal_id"],
        generation=generation,
        instruction=record["instruction"],
        stored=stored,
        planned=now,
        planned_by="",
        model_calls=record["model_calls"],
        tasks=(),
        record=record,
    )


def unplanned_record(goal: Goal, came: Came, plan: Plan, now: float, error: str) -> dict[str, Any]:
    """The record of a goal that never became tasks: of the same shape, and `error` besides."""
    return {
        "goal_id": came.goal_id,
        "instruction": _told(goal),
        "planned_by": None,
        "model_calls": came.calls_before + plan.model_calls,
        "confidence": plan.confidence,
        "note": plan.note,
        "warnings": list(plan.warnings),
        "usage": [asdict(usage) for usage in plan.usage],
        "approved_by": None,
        "tasks": [],
        "status": "failed",
        "total_ms": round((now - came.stored) * 1000),
        "error": error,
    }


def _row(state: GoalState, task: TaskMessage, outcome: TaskResult) -> dict[str, Any]:
    hops = outcome.metadata.get("hops") or {}
    letter = outcome.metadata.get("dead_letter") or {}

    def since_stored(moment: object) -> int | None:
        return round(moment - state.stored * 1000) if isinstance(moment, int | float) else None

    return {
        "task_id": task.task_id,
        "worker_type": task.worker_type,
        "tier": outcome.metadata.get("tier") or letter.get("tier"),
        "status": outcome.status,
        "output": outcome.output,
        "error": outcome.error,
        "hops_ms": {"planned": since_stored(state.planned * 1000)}
        | {hop: since_stored(hops.get(hop)) for hop in ("routed", "waited", "started", "done")},
    }


def final_result(record: Mapping[str, Any], now: float) -> TaskResult:
    """The goal's own outcome; outputs are left out of a record that would be too long."""
    status: Literal["completed", "failed"] = "completed" if record["status"] == "completed" else "failed"
    output = dict(record)
    if len(json.dumps(output, ensure_ascii=False).encode()) > WHOLE_RECORD:
        output |= {"tasks": [{**task, "output": None} for task in record["tasks"]], "truncated": True}
    failed = [task for task in record["tasks"] if task["status"] != "completed"]
    error = f"{failed[0]['error']} ({len(failed)} of {len(record['tasks'])} tasks did not complete)" if failed else record.get("error")
    return TaskResult(
        task_id=record["goal_id"],
        worker_type=GOAL_WORKER_TYPE,
        status=status,
        output=output,
        error=error,
        completed_at=format_time(now),
        processing_time_ms=float(record["total_ms"]),
    )
