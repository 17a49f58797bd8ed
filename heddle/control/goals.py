"""Submit a goal, and follow it to its record."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from heddle import subjects
from heddle.broker.connect import NoStream, Stored, last_of_each, stored_from
from heddle.broker.pages import bounds, newest_before
from heddle.broker.parked import Parked, approve
from heddle.control.deadletters import Kept, letter
from heddle.control.tasks import (
    LOOK_EVERY,
    Cancelling,
    Reported,
    Waiting,
    cancelled,
    letter_told,
    look,
    next_result,
    outcome_in,
    reported,
    submit_message,
    task_history,
)
from heddle.errors import BrokerError, DecodeError
from heddle.goals import GoalState, Standing, final_result, standing_of
from heddle.messages import Goal, Priority, TaskResult, decode, format_time, parse_time, read_kept, task_hash


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
    return read_kept(GoalState, entry.value or b"")


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
    """A page of goals: those that wait or are planned first, then those with a plan or an end.

    Args:
        client: the connection.
        standing: only these; found by reading, newest first, until the page is full.
        before: the cursor that the page before gave.
        limit: goals per page; those that wait or are planned are all on the first.

    Raises:
        BrokerError: the store does not answer.
    """
    lines = [] if before is not None or standing not in {None, "waiting", "planning"} else await _unplanned(client)
    lines = [line for line in lines if standing in {None, line.standing}]
    if standing in {"waiting", "planning"}:
        return GoalPage(tuple(lines), None)
    first, end = await bounds(client, _RECORDS)
    end = end if before is None else min(end, before)
    found: list[tuple[int, GoalLine]] = []
    while len(found) <= limit and (stored := await newest_before(client, _RECORDS, _STATES, limit + 1, first, end)):
        end = stored[-1].sequence
        lines_here = [(one.sequence, line_of(state)) for one in stored if (state := read_kept(GoalState, one.body)) is not None]
        found += [(sequence, line) for sequence, line in lines_here if standing in {None, line.standing}]
    planned = {(line.goal_id, line.generation) for _, line in found}
    lines = [line for line in lines if (line.goal_id, line.generation) not in planned]  # it got its plan while we were reading
    return GoalPage((*lines, *(line for _, line in found[:limit])), found[limit - 1][0] if len(found) > limit else None)


_RECORDS: Final = f"KV_{subjects.GOAL_RECORDS}"
_STATES: Final = f"$KV.{subjects.GOAL_RECORDS}.*.*"
_MOST: Final = 1000
"""Goals that wait, and generations of one goal, that are looked at."""


def line_of(state: GoalState) -> GoalLine:
    """A goal with a plan or an end, in a list."""
    record = state.record or {}
    failed = next((row["error"] for row in record.get("tasks", ()) if row["status"] != "completed"), None)
    return GoalLine(
        goal_id=state.goal_id,
        generation=state.generation,
        standing=standing_of(state),
        instruction=state.instruction,
        stored=state.stored,
        tasks=len(state.tasks),
        planned_by=state.planned_by or None,
        total_ms=record.get("total_ms"),
        error=record.get("error") or failed,
    )


async def _unplanned(client: Client, only: str | None = None) -> list[GoalLine]:
    """The goals in the stream that have no plan yet, newest first; one that a replica has claimed is being planned.

    Args:
        client: the connection.
        only: the id of the goal that is asked about; None for all.
    """
    try:
        goals = await stored_from(client, subjects.GOALS, 1, subjects.GOALS_INCOMING, _MOST)
    except NoStream:  # no role has run against this server yet
        return []
    found = [(one, goal) for one in goals if (goal := _goal(one)) is not None and only in {None, goal.goal_id}]
    known = [f"$KV.{subjects.GOAL_RECORDS}.{goal.goal_id}.{goal.generation}" for _, goal in found if goal.goal_id is not None]
    planned = {one.subject for one in await last_of_each(client, _RECORDS, *known) if one.body} if known else set()
    prefix = f"$KV.{subjects.CLAIMS}."
    claims = await stored_from(client, f"KV_{subjects.CLAIMS}", 1, f"{prefix}>", _MOST) if known else []
    claimed = {one.subject for one in claims if one.is_entry}
    lines = []
    for one, goal in reversed(found):
        key = f"{goal.goal_id}.{goal.generation}"
        if f"$KV.{subjects.GOAL_RECORDS}.{key}" not in planned:
            standing: Standing = "planning" if prefix + key in claimed else "waiting"
            stored = parse_time(one.headers["Nats-Time-Stamp"]).timestamp()
            lines.append(GoalLine(goal.goal_id or f"(no id, message {one.sequence})", goal.generation, standing, goal.instruction, stored))
    return lines


def _goal(stored: Stored) -> Goal | None:
    """A goal in the stream; None if it cannot be read: it ends as soon as an orchestrator takes it."""
    try:
        return decode(Goal, stored.body)
    except DecodeError:
        return None


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
    waiting = await _unplanned(client, goal_id)
    kept = await stored_from(client, _RECORDS, 1, f"$KV.{subjects.GOAL_RECORDS}.{goal_id}.*", _MOST)
    found = [state for one in kept if (state := read_kept(GoalState, one.body)) is not None]
    state = max(found, key=lambda one: one.generation, default=None)
    line = max(waiting, key=lambda one: one.generation, default=None)
    if state is not None and (line is None or line.generation <= state.generation):
        line = line_of(state)
    if line is None:
        return None
    final = await newest_final(client, goal_id)
    outcomes = await newest_outcomes(client, goal_id)
    ids = [letter_told(outcome).get("id") for outcome in (final, *outcomes.values()) if outcome is not None]
    letters = [await letter(client, str(letter_id)) for letter_id in ids if letter_id is not None]
    return GoalShown(line, state, final, outcomes, tuple(kept for kept in letters if kept is not None))


async def newest_final(client: Client, goal_id: str) -> TaskResult | None:
    """A goal's newest outcome, amendments included; None if none is kept.

    Raises:
        BrokerError: the store does not answer.
    """
    found = await stored_from(client, subjects.OUTCOMES, 1, f"heddle.outcomes.goal.{goal_id}.final.*", _MOST)
    finals = [outcome for one in found if (outcome := outcome_in(one)) is not None]
    return max(finals, key=lambda outcome: outcome[0])[1] if finals else None


async def newest_outcomes(client: Client, goal_id: str) -> dict[str, TaskResult]:
    """The outcomes of a goal's tasks that are kept, by task id, each of the newest generation that ended.

    Raises:
        BrokerError: the store does not answer.
    """
    found = await stored_from(client, subjects.OUTCOMES, 1, f"heddle.outcomes.task.{goal_id}.*.*", _MOST)
    results = [outcome for one in found if (outcome := outcome_in(one)) is not None]
    return {result.task_id: result for _, result in sorted(results, key=lambda outcome: outcome[0])}


async def cancel_goal(client: Client, goal_id: str, *, by: str) -> Cancelling | None:
    """Cancel a goal: before its plan, while it is made, or all of its tasks that have not ended; None if no such goal is known.

    Of a goal that has ended, those tasks are cancelled that were replayed and have not ended again.

    Args:
        client: the connection.
        goal_id: which; its newest generation.
        by: who does it: user@host.

    Raises:
        BrokerError: the store does not answer.
    """
    shown = await goal_shown(client, goal_id)
    if shown is None:
        return None
    replayed = await _replays_on_their_way(client, shown)
    ended = shown.line.standing in {"completed", "partial", "failed"}
    if ended and not replayed:
        record = shown.state.record if shown.state is not None else None
        return Cancelling(shown.line.generation, shown.final or (final_result(record, time.time()) if record else None))
    for generation in sorted(replayed if ended else replayed | {shown.line.generation}):
        await cancelled(client, subjects.cancelled_goal(goal_id, generation), by)
    return Cancelling(shown.line.generation)


async def _replays_on_their_way(client: Client, shown: GoalShown) -> set[int]:
    """The generations of tasks of this goal that were replayed and have no outcome yet."""
    tasks = [task.task_id or "" for task in shown.state.tasks] if shown.state is not None else []
    histories = [await task_history(client, task_id) for task_id in tasks]
    return {found.newest for found in histories if found.newest not in found.outcomes and found.newest > shown.line.generation}
