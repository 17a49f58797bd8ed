"""When is a goal done, and how: pure. Progress is not stored, it is the outcomes of the goal's tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from heddle import subjects
from heddle.messages import GOAL_WORKER_TYPE, Goal, TaskMessage, TaskResult, format_time
from heddle.planning.offer import Offers
from heddle.planning.plan import Plan

WHOLE_RECORD: Final = 256 * 1024
"""Bytes up to which a goal's final result carries its tasks' outputs."""


class GoalState(BaseModel):
    """What is kept of a goal while it is worked on, in HEDDLE_GOAL_RECORDS under `<goal_id>.<generation>`.

    Attributes:
        stored: seconds since the epoch at which the goal was stored.
        planned: the same for its plan; the tasks follow at once. Of a goal that never became a plan, when that was clear.
        tasks: the tasks as they were published.
    """

    model_config = ConfigDict(frozen=True)

    goal_id: str
    generation: int
    instruction: str
    stored: float
    planned: float
    planned_by: str
    model_calls: int
    note: str | None = None
    tasks: tuple[TaskMessage, ...]
    record: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """Where HEDDLE_GOAL_RECORDS keeps it."""
        return f"{self.goal_id}.{self.generation}"

    def encode(self) -> bytes:
        """As it is kept."""
        return self.model_dump_json(exclude_none=True).encode()


def goal_state(goal: Goal, goal_id: str, plan: Plan, offers: Offers, stored: float, now: float) -> GoalState:
    """The state of a goal that was just planned.

    Args:
        goal: as it came.
        goal_id: its id, its own or made from its place in the stream.
        plan: checked.
        offers: what it was planned for: its tasks name the newest version, so that a worker that knows only older ones, or newer ones
            besides, does not read their arguments as those of another.
        stored: when the goal was stored, seconds since the epoch.
        now: seconds since the epoch.
    """
    passed_on = {key: value for key, value in (goal.model_extra or {}).items() if key.startswith("_")}
    newest = {macro.name: macro for macro in offers.newest()}
    tasks = tuple(
        TaskMessage(
            task_id=f"{goal_id}-{number}",
            parent_task_id=goal_id,
            worker_type=call.macro,
            payload=call.arguments,
            model_tier=newest[call.macro].tier,
            priority=goal.priority,
            request_id=goal.request_id,
            created_at=format_time(now),
            generation=goal.generation,
            hops=1,
            macro_version=newest[call.macro].version,
            **passed_on,
        )
        for number, call in enumerate(plan.calls, 1)
    )
    return GoalState(
        goal_id=goal_id,
        generation=goal.generation,
        instruction=goal.instruction,
        stored=stored,
        planned=now,
        planned_by=plan.planned_by,
        model_calls=plan.model_calls,
        note=plan.note,
        tasks=tasks,
    )


Standing = Literal["waiting", "planning", "parked", "running", "completed", "partial", "failed"]
"""Where a goal stands: in its stream, with a model, waiting for an approval, with its tasks on their way, or ended."""


def standing_of(state: GoalState) -> Standing:
    """Where a goal stands that has a plan or has ended."""
    ended: dict[str, Standing] = {"completed": "completed", "partial": "partial"}
    return "running" if state.record is None else ended.get(state.record["status"], "failed")


def task_subjects(state: GoalState) -> list[str]:
    """Where the outcomes of a goal's tasks are, in the plan's order."""
    return [subjects.task_outcome(task.task_id or "", state.goal_id, state.generation) for task in state.tasks]


def finished_record(state: GoalState, outcomes: Sequence[TaskResult], now: float) -> dict[str, Any]:
    """The record of a goal whose tasks all have outcomes.

    Its shape: goal_id, instruction, planned_by, model_calls, note, tasks [{task_id, worker_type, tier, status, output, error,
    hops_ms {planned, routed, waited, started, done}}], status, total_ms. Hops are milliseconds since the goal was stored, null
    where unknown.
    """
    rows = [_row(state, task, outcome) for task, outcome in zip(state.tasks, outcomes, strict=True)]
    return _record(
        state.goal_id, state.instruction, state.planned_by, state.model_calls, state.note, rows, _status(rows), (now - state.stored) * 1000
    )


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
        if outcome is not None and generation > rows[task.task_id].get("generation", state.generation):
            newer[task.task_id] = {**_row(state, task, outcome), "generation": generation}
    if not newer:
        return None
    told = [newer.get(row["task_id"], row) for row in record["tasks"]]
    amended = {"amendments": record.get("amendments", 0) + 1, "amended_at": format_time(now)}
    return {**record, "tasks": told, "status": _status(told), **amended}


def unplanned_record(goal_id: str, instruction: str, model_calls: int, stored: float, now: float, error: str) -> dict[str, Any]:
    """The record of a goal that never became a plan."""
    return _record(goal_id, instruction, None, model_calls, None, [], "failed", (now - stored) * 1000) | {"error": error}


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


def _record(
    goal_id: str,
    instruction: str,
    planned_by: str | None,
    model_calls: int,
    note: str | None,
    tasks: list[dict[str, Any]],
    status: str,
    total: float,
) -> dict[str, Any]:
    return {
        "goal_id": goal_id,
        "instruction": instruction,
        "planned_by": planned_by,
        "model_calls": model_calls,
        "note": note,
        "tasks": tasks,
        "status": status,
        "total_ms": round(total),
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
