"""Amends the records of goals that have ended: a task that was replayed and has an outcome takes its place in its goal's record."""

from __future__ import annotations

from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from heddle import events, subjects
from heddle.broker.connect import stored_from
from heddle.broker.outbox import Outbox
from heddle.broker.outcomes import first_outcome
from heddle.goals import GoalState, amended_record, final_result
from heddle.messages import TaskResult, decode, read_kept, task_hash
from heddle.subjects import TaskOutcomeParts
from heddle.telemetry.observer import Observer

_MOST = 1000


async def goal_of_replayed(client: Client, parts: TaskOutcomeParts) -> str | None:
    """The key in HEDDLE_GOAL_RECORDS of the goal that planned a task which ended in a later generation than the goal's; None if none did.

    Raises:
        BrokerError: the bucket does not answer.
    """
    prefix = f"$KV.{subjects.GOAL_RECORDS}."
    found = await stored_from(client, f"KV_{subjects.GOAL_RECORDS}", 1, f"{prefix}{parts.goal_id}.*", _MOST)
    states = [read_kept(GoalState, one.body) for one in found]
    earlier = [state for state in states if state is not None and state.generation < parts.generation and parts.task in _hashes(state)]
    return max(earlier, key=lambda state: state.generation).key if earlier else None


async def amend(client: Client, outbox: Outbox, records: KeyValue, observer: Observer, key: str, now: float) -> None:
    """Bring the record of a goal that has ended up to date, and publish it as a further final outcome of the goal.

    The first that is stored under a number stands, as with every outcome; whoever finds that it lacks something adds the next. The
    bucket is only changed from what was read of it, so two replicas at once leave nothing out.

    Raises:
        BrokerError, nats.errors.Error: the broker did not take it; the outcome that led here must come again.
    """
    while True:
        try:
            entry = await records.get(key)
        except KeyNotFoundError:
            return
        state = read_kept(GoalState, entry.value or b"")
        if state is None or state.record is None:
            return
        record = amended_record(state, await _later_outcomes(client, state), now)
        if record is None:
            return
        subject = subjects.goal_outcome(state.goal_id, state.generation + record["amendments"])
        stands = decode(TaskResult, await first_outcome(client, outbox, subject, final_result(record, now).encode()))
        ours = isinstance(stands.output, dict) and stands.output.get("amendments") == record["amendments"]
        kept = stands.output if ours else {**state.record, "amendments": record["amendments"]}  # that number is another goal's
        try:
            await records.update(key, state.model_copy(update={"record": kept}).encode(), last=entry.revision)
        except KeyWrongLastSequenceError:
            continue
        if ours:
            observer.see(events.GOALS_AMENDED, "a goal's record was amended", status=kept["status"], goal_id=state.goal_id)


async def _later_outcomes(client: Client, state: GoalState) -> dict[str, tuple[int, TaskResult]]:
    """By task id, the newest outcome of a later generation than the goal's."""
    names = {task_hash(task.task_id or ""): task.task_id or "" for task in state.tasks}
    later: dict[str, tuple[int, TaskResult]] = {}
    for one in await stored_from(client, subjects.OUTCOMES, 1, f"heddle.outcomes.task.{state.goal_id}.*.*", _MOST):
        parts = subjects.parse_task_outcome(one.subject)
        name = names.get(parts.task)
        if name is not None and parts.generation > max(state.generation, later[name][0] if name in later else 0):
            later[name] = (parts.generation, decode(TaskResult, one.body))
    return later


def _hashes(state: GoalState) -> set[str]:
    return {task_hash(task.task_id or "") for task in state.tasks}
