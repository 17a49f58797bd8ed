"""Submit a goal, and follow it to its record."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from heddle import subjects
from heddle.broker.parked import Parked, approve
from heddle.control.deadletters import Kept
from heddle.control.tasks import LOOK_EVERY, Cancelling, Reported, Waiting, look, next_result, reported, submit_message
from heddle.errors import BrokerError
from heddle.goals import GoalState
from heddle.messages import Goal, Priority, TaskResult, format_time, task_hash


class Planned(NamedTuple):
    """The goal has its plan."""

    state: GoalState


class TaskEnded(NamedTuple):
    """One of its tasks has its outcome."""

    result: TaskResult


class GoalEnded(NamedTuple):
    """The goal has ended; the result's output is its record, unless it never became a goal."""

    result: TaskResult


GoalStep = Waiting | Reported | Planned | TaskEnded | GoalEnded


def new_goal(instruction: str, context: Mapping[str, Any] | None = None, priority: Priority = "normal", *, approved: bool = False) -> Goal:
    """A goal with a fresh id."""
    return Goal(
        goal_id=f"goal-{uuid.uuid4().hex[:20]}",
        instruction=instruction,
        context=dict(context or {}),
        priority=priority,
        approved=approved,
        created_at=format_time(time.time()),
    )


async def submit_goal(client: Client, goal: Goal) -> None:
    """Publish a goal and wait until it is stored.

    Raises:
        Refused: the stream said no.
        BrokerError: no answer came.
    """
    await submit_message(client, goal, subjects.GOALS_INCOMING, task_hash(f"goal {goal.goal_id}"))


@contextlib.asynccontextmanager
async def goal_followed(client: Client, goal_id: str, generation: int = 0) -> AsyncIterator[AsyncIterator[GoalStep]]:
    """Listen for what happens to a goal; enter before submitting it, then iterate until `GoalEnded`."""
    subscription = await client.subscribe(subjects.results(goal_id))
    await client.flush()
    try:
        yield _goal_steps(client, subscription, goal_id, generation)
    finally:
        with contextlib.suppress(Exception):
            await subscription.unsubscribe()


async def _goal_steps(client: Client, subscription: Subscription, goal_id: str, generation: int) -> AsyncIterator[GoalStep]:
    started = looked = time.monotonic()
    state: GoalState | None = None
    seen: set[str] = set()
    while True:
        result = await next_result(subscription, 0.05 if state is None else 0.25)
        if state is None and (state := await goal_state_of(client, goal_id, generation)) is not None:
            yield Planned(state)
        now = time.monotonic()
        if result is None and now - looked >= LOOK_EVERY:
            looked = now
            result = await look(client, subjects.goal_outcome(goal_id, generation))
        if result is None:
            yield Waiting(now - started)
        elif (step := reported(result)) is not None:
            yield step
        elif result.task_id == goal_id:
            yield GoalEnded(result)
            return
        elif result.task_id not in seen:
            seen.add(result.task_id)
            yield TaskEnded(result)


async def goal_outcome_of(client: Client, goal_id: str, generation: int = 0) -> TaskResult | None:
    """How a goal ended; None if it has not ended (yet)."""
    return await look(client, subjects.goal_outcome(goal_id, generation))


async def goal_state_of(client: Client, goal_id: str, generation: int = 0) -> GoalState | None:
    """What is kept of a goal; None if it has no plan (yet)."""
    try:
        records = await client.jetstream().key_value(subjects.GOAL_RECORDS)
        entry = await records.get(f"{goal_id}.{generation}")
    except (nats.js.errors.NotFoundError, nats.js.errors.KeyNotFoundError, nats.errors.Error, TimeoutError):
        return None
    return GoalState.model_validate_json(entry.value or b"")


async def approve_goal(client: Client, goal_id: str, by: str, generation: int = 0) -> Parked | None:
    """Let a goal go on that waits because its plan has irreversible macros; None if none of that id waits.

    Args:
        client: the connection.
        goal_id: which.
        by: who approves it; told in the goal's record. Who was first stays.
        generation: which generation of it.

    Raises:
        BrokerError: the store does not answer.
    """
    try:
        return await approve(client, subjects.goal_record(goal_id, generation), by, time.time())
    except nats.js.errors.NotFoundError:
        return None
    except (nats.errors.Error, TimeoutError) as error:
        raise BrokerError(f"the goals' records do not answer: {error!r}; try again") from None


# --- every goal


Standing = Literal["waiting", "planning", "parked", "running", "completed", "partial", "failed"]
"""Where a goal stands: in its stream, with a model, waiting for an approval, with its tasks on their way, or ended."""


@dataclass(frozen=True, slots=True)
class GoalLine:
    """A goal in a list.

    Attributes:
        stored: when it came, seconds since the epoch.
        tasks: how many its plan has; None without a plan.
        planned_by: the model's name, or `phrases`.
        total_ms: from its coming to its end; None if it has not ended.
        error: of one that did not complete.
    """

    goal_id: str
    generation: int
    standing: Standing
    instruction: str
    stored: float
    tasks: int | None = None
    planned_by: str | None = None
    total_ms: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class GoalPage:
    """Goals, the one that something happened to last first; `older` is what to pass as `before`, None if there is nothing older."""

    goals: tuple[GoalLine, ...]
    older: int | None


async def goals_page(client: Client, standing: Standing | None = None, *, before: int | None = None, limit: int = 50) -> GoalPage:
    """A page of goals: those that wait or are planned first, then those with a plan, newest first.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class GoalShown:
    """All that is known of a goal.

    Attributes:
        line: as in a list.
        state: its plan, and its record if it has ended; None if it has none yet, or never had.
        final: its newest outcome, amendments included; None if it has not ended, or that is no longer kept.
        outcomes: those of its tasks that are kept, by task id, of the newest generation that ended.
        letters: dead letters of the goal and its tasks that nobody has replayed or dropped.
    """

    line: GoalLine
    state: GoalState | None
    final: TaskResult | None
    outcomes: Mapping[str, TaskResult]
    letters: tuple[Kept, ...]


async def goal_shown(client: Client, goal_id: str) -> GoalShown | None:
    """All that is known of a goal in its newest generation; None if nothing is.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError


async def cancel_goal(client: Client, goal_id: str, *, by: str) -> Cancelling:
    """Cancel a goal: before its plan, while it is made, or all of its tasks that have not ended.

    Args:
        client: the connection.
        goal_id: which; its newest generation.
        by: who does it: user@host.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError
