"""Submit a task, and follow it to its outcome."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from heddle import subjects
from heddle.broker.cancellations import all_cancelled, cancel, who_cancelled
from heddle.broker.connect import NoStream, Stored, stored_from, submit
from heddle.broker.outcomes import stored_outcome
from heddle.broker.pages import ALL, bounds, newest_before
from heddle.broker.streams import make_streams
from heddle.errors import BrokerError, DecodeError
from heddle.messages import Goal, Priority, TaskMessage, TaskResult, decode, format_time, task_hash
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer

LOOK_EVERY = 1.0
"""Seconds between looks into the store, in case the live result was missed."""


class Waiting(NamedTuple):
    """Nothing new for a moment; `seconds` since following began."""

    seconds: float


class Ended(NamedTuple):
    """The outcome is there."""

    result: TaskResult


class Reported(NamedTuple):
    """A handler said how far it is."""

    text: str
    task_id: str


TaskStep = Waiting | Reported | Ended


def reported(result: TaskResult) -> Reported | None:
    """What a live result that is no outcome says; None for an outcome."""
    return Reported(str(result.metadata.get("progress", "")), result.task_id) if result.status in {"pending", "processing"} else None


async def submit_message(client: Client, message: Goal | TaskMessage, subject: str, message_id: str) -> None:
    """Publish a goal or task and wait until it is stored; makes the streams if this server has none yet.

    Raises:
        Refused: the stream said no.
        BrokerError: no answer came.
    """
    try:
        await submit(client, subject, message.encode(), message_id)
    except NoStream:
        await make_streams(client, StreamSettings(), Observer())
        await submit(client, subject, message.encode(), message_id)


def new_task(
    worker_type: str,
    payload: dict[str, Any],
    *,
    tier: str | None = None,
    priority: Priority = "normal",
    parent_task_id: str | None = None,
    now: float | None = None,
) -> TaskMessage:
    """A task of our own, with a fresh id; a field that is not given is left to the contract's default."""
    fields: dict[str, Any] = {"model_tier": tier} if tier else {}
    return TaskMessage(
        task_id=f"task-{uuid.uuid4().hex}",
        worker_type=worker_type,
        payload=payload,
        priority=priority,
        parent_task_id=parent_task_id,
        created_at=format_time(time.time() if now is None else now),
        hops=1,
        **fields,
    )


@contextlib.asynccontextmanager
async def task_followed(client: Client, task: TaskMessage) -> AsyncIterator[AsyncIterator[TaskStep]]:
    """Listen for a task's outcome; enter before submitting it, then iterate: `Waiting` and `Reported` now and then, `Ended` at last."""
    task_id = task.task_id or ""
    subscription = await client.subscribe(subjects.results(task.parent_task_id))
    await client.flush()
    subject = subjects.task_outcome(task_id, task.parent_task_id, task.generation)
    try:
        yield _task_steps(client, subscription, task_id, subject)
    finally:
        with contextlib.suppress(Exception):
            await subscription.unsubscribe()


async def _task_steps(client: Client, subscription: Subscription, task_id: str, subject: str) -> AsyncIterator[TaskStep]:
    started = looked = time.monotonic()
    while True:
        result = await next_result(subscription, 0.25)
        if result is not None and result.task_id == task_id:
            if (step := reported(result)) is None:
                yield Ended(result)
                return
            yield step
        now = time.monotonic()
        if now - looked >= LOOK_EVERY:
            looked = now
            if (stored := await look(client, subject)) is not None:
                yield Ended(stored)
                return
        if result is None:
            yield Waiting(now - started)


async def next_result(subscription: Subscription, timeout: float) -> TaskResult | None:  # a pause, not a deadline
    """The next live result on a subscription, or None if none came in time; what is no result is passed over."""
    try:
        message: Msg = await subscription.next_msg(timeout=timeout)
        return decode(TaskResult, message.data)
    except (TimeoutError, DecodeError):
        return None


async def look(client: Client, subject: str) -> TaskResult | None:
    """The stored outcome, or None; a store that cannot be read just now is looked at again later."""
    try:
        stored = await stored_outcome(client, subject)
    except BrokerError:
        return None
    try:
        return decode(TaskResult, stored) if stored is not None else None
    except DecodeError:
        return None


def outcome_in(stored: Stored) -> tuple[int, TaskResult] | None:
    """An outcome out of the stream, with its generation; None for what is none, which roles never write."""
    try:
        return int(stored.subject.rpartition(".")[2]), decode(TaskResult, stored.body)
    except (ValueError, DecodeError):
        return None


def letter_told(result: TaskResult) -> Mapping[str, Any]:
    """What a failed outcome tells of its dead letter: code, at, by, rules, attempt, tier, generation, id."""
    told = result.metadata.get("dead_letter")
    return told if isinstance(told, dict) else {}


def task_message_id(task: TaskMessage) -> str:
    """A client's first publish goes under the hash of the task's id."""
    return task_hash(task.task_id or "")


# --- every task


@dataclass(frozen=True, slots=True)
class Cancelling:
    """What came of a cancellation: it was asked for in this generation; or there was nothing to cancel, and this is how it had ended."""

    generation: int
    ended: TaskResult | None = None


@dataclass(frozen=True, slots=True)
class TaskHistory:
    """What is known of a task's generations.

    Attributes:
        outcomes: by generation, those that are kept.
        replayed: the generations whose letters somebody replayed.
    """

    outcomes: Mapping[int, TaskResult]
    replayed: tuple[int, ...]

    @property
    def newest(self) -> int:
        """The newest generation that is known: that of an outcome, or the one that a replay sent."""
        return max([*self.outcomes, *(generation + 1 for generation in self.replayed)], default=0)


async def task_history(client: Client, task_id: str) -> TaskHistory:
    """What is known of a task's generations.

    Raises:
        BrokerError: the store does not answer.
    """
    found = await stored_from(client, subjects.OUTCOMES, 1, f"heddle.outcomes.*.*.{task_hash(task_id)}.*", _MOST)
    outcomes = dict(outcome for one in found if (outcome := outcome_in(one)) is not None)
    audited = {
        generation: await stored_from(client, subjects.AUDIT, 1, subjects.audit(subjects.task_letter(task_id, generation)), 1)
        for generation, outcome in outcomes.items()
        if outcome.status == "failed"
    }
    return TaskHistory(
        outcomes, tuple(sorted(generation for generation, lines in audited.items() if lines and b'"replay"' in lines[0].body))
    )


Place = Literal["ended", "incoming", "waiting", "queued"]
"""Where a task is: ended; before a router; waiting for a token or its next attempt; or before its worker, or with it."""


@dataclass(frozen=True, slots=True)
class TaskShown:
    """All that is known of a task.

    Attributes:
        task_id: its id.
        history: its generations.
        cancelled: who cancelled its newest generation, or its goal; None if nobody did.
        place: where its newest generation is; None if it was not found.
        tier, worker_type: where it waits or is queued, and for what.
    """

    task_id: str
    history: TaskHistory
    cancelled: str | None = None
    place: Place | None = None
    worker_type: str | None = None
    tier: str | None = None


async def task_shown(client: Client, task_id: str) -> TaskShown:
    """All that is known of a task.

    One that has not ended is looked for among the first twenty thousand messages of each stream that it may be in.

    Raises:
        BrokerError: the store does not answer.
    """
    history = await task_history(client, task_id)
    newest = history.newest
    if (outcome := history.outcomes.get(newest)) is not None:
        return TaskShown(task_id, history, None, "ended", outcome.worker_type)
    places: tuple[tuple[str, str, Place], ...] = (
        (subjects.INCOMING, subjects.TASKS_INCOMING, "incoming"),
        (subjects.DEFER, ALL, "waiting"),
        (subjects.TASKS, "heddle.tasks.*.*", "queued"),
    )
    for stream, subject, place in places:
        if (found := await _sought(client, stream, subject, task_id, newest)) is not None:
            task, where = found
            by = who_cancelled(await all_cancelled(client), task_id, task.parent_task_id, newest)
            tier = {"waiting": where.split(".")[2], "queued": where.split(".")[-1]}.get(place)
            return TaskShown(task_id, history, by, place, task.worker_type, tier)
    return TaskShown(task_id, history, who_cancelled(await all_cancelled(client), task_id, None, newest))


async def _sought(client: Client, stream: str, subject: str, task_id: str, generation: int) -> tuple[TaskMessage, str] | None:
    """A task in a stream, and the subject that it is on."""
    needle = json.dumps(task_id, ensure_ascii=False).encode()
    at = 1
    for _ in range(_PAGES):
        page = await stored_from(client, stream, at, subject, _MOST)
        for one in page:
            if needle in one.body:
                with contextlib.suppress(DecodeError):
                    task = decode(TaskMessage, one.body)
                    if (task.task_id, task.generation) == (task_id, generation):
                        return task, one.subject
        if len(page) < _MOST:
            return None
        at = page[-1].sequence + 1
    return None


_MOST: Final = 1000
"""Messages read at a time."""
_PAGES: Final = 20


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Outcomes of tasks, newest first, with their generations; `older` is what to pass as `before`, None if there is nothing older."""

    tasks: tuple[tuple[int, TaskResult], ...]
    older: int | None


async def tasks_page(client: Client, goal_id: str | None = None, *, before: int | None = None, limit: int = 50) -> TaskPage:
    """A page of tasks that ended, of one goal or of all.

    Raises:
        BrokerError: the store does not answer.
    """
    wanted = ALL if goal_id is None else f"heddle.outcomes.task.{goal_id}.*.*"
    first, end = await bounds(client, subjects.OUTCOMES)
    end = end if before is None else min(end, before)
    found: list[tuple[int, int, TaskResult]] = []
    while len(found) <= limit and (stored := await newest_before(client, subjects.OUTCOMES, wanted, limit + 1, first, end)):
        end = stored[-1].sequence
        found += [
            (one.sequence, *outcome)
            for one in stored
            if not one.subject.startswith("heddle.outcomes.goal.") and (outcome := outcome_in(one)) is not None
        ]
    shown = found[:limit]
    return TaskPage(tuple((generation, result) for _, generation, result in shown), shown[-1][0] if len(found) > limit else None)


async def cancel_task(client: Client, task_id: str, *, by: str) -> Cancelling:
    """Cancel a task, wherever it is. One that nobody has heard of is cancelled too: it may be on its way.

    Args:
        client: the connection.
        task_id: which; its newest generation.
        by: who does it: user@host.

    Raises:
        BrokerError: the store does not answer.
    """
    history = await task_history(client, task_id)
    newest = history.newest
    if (outcome := history.outcomes.get(newest)) is not None:
        return Cancelling(newest, outcome)
    await cancelled(client, subjects.cancelled_task(task_hash(task_id), newest), by)
    return Cancelling(newest)


async def cancelled(client: Client, key: str, by: str) -> None:
    """Write down that something is cancelled; who runs it hears of it at once.

    Raises:
        BrokerError: the bucket does not answer.
    """
    try:
        await cancel(client, key, by)
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        told = f"the bucket {subjects.CANCEL} does not answer ({type(error).__name__} {error}); has a role run against this server yet?"
        raise BrokerError(told) from None
