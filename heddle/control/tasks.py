"""Submit a task, and follow it to its outcome."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from heddle import subjects
from heddle.broker.connect import NoStream, submit
from heddle.broker.outcomes import stored_outcome
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
    return decode(TaskResult, stored) if stored is not None else None


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
class TaskShown:
    """All that is known of a task.

    Attributes:
        task_id: its id.
        outcomes: by generation, those that are kept.
        replayed: the generations that somebody replayed from their letters.
        cancelled: was its newest generation cancelled, or its goal?
        place: where it is now: `ended`, `waiting`, `queued` (perhaps running), or None if it is in no stream.
    """

    task_id: str
    outcomes: Mapping[int, TaskResult]
    replayed: tuple[int, ...]
    cancelled: bool
    place: Literal["ended", "incoming", "waiting", "queued"] | None


async def task_shown(client: Client, task_id: str) -> TaskShown:
    """All that is known of a task.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError


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
    raise NotImplementedError


async def cancel_task(client: Client, task_id: str, *, by: str) -> Cancelling:
    """Cancel a task, wherever it is.

    Args:
        client: the connection.
        task_id: which; its newest generation.
        by: who does it: user@host.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError
