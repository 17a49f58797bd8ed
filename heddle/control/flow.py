"""What flows through the streams at a moment, cheap enough to be read every second: counts and sequences, never the messages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nats.aio.client import Client

from heddle import subjects
from heddle.broker.connect import js_api
from heddle.errors import Refused

GOAL_RECORDS: Final = f"KV_{subjects.GOAL_RECORDS}"
RULES: Final = f"KV_{subjects.RULES}"
WATCHED: Final = (
    subjects.GOALS,
    subjects.INCOMING,
    subjects.DEFER,
    subjects.TASKS,
    subjects.OUTCOMES,
    subjects.DEAD,
    GOAL_RECORDS,
    RULES,
)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream at a moment.

    Attributes:
        messages: how many it holds.
        first: the sequence of its oldest message.
        last: the sequence of its newest, which is how many were ever stored.
    """

    messages: int = 0
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Queue:
    """The tasks of one worker type and tier.

    Attributes:
        waiting: routed, and taken by no worker yet.
        taken: in a worker's hands.
        deliveries: how often a task was ever given to a worker.
    """

    worker_type: str
    tier: str
    waiting: int
    taken: int
    deliveries: int


@dataclass(frozen=True, slots=True)
class Flow:
    """The streams and queues at a moment.

    Attributes:
        at: monotonic seconds.
        planning: goals in an orchestrator's hands.
        queues: by worker type and tier.
    """

    at: float
    streams: Mapping[str, Stream] = field(default_factory=dict)
    planning: int = 0
    queues: tuple[Queue, ...] = ()

    def __getitem__(self, name: str) -> Stream:
        return self.streams.get(name, _NONE)


_NONE: Final = Stream()


async def flow(client: Client, now: float) -> Flow:
    """Read it; a stream that is not there yet is empty.

    Raises:
        BrokerError: JetStream does not answer.
    """
    infos = await asyncio.gather(
        *(_info(client, f"STREAM.INFO.{name}", {"subjects_filter": ">"} if name == subjects.TASKS else None) for name in WATCHED),
        _info(client, f"CONSUMER.INFO.{subjects.GOALS}.{subjects.ORCHESTRATOR_DURABLE}"),
    )
    states = {name: info["state"] for name, info in zip(WATCHED, infos, strict=False) if info}
    held = states.get(subjects.TASKS, {}).get("subjects") or {}
    orchestrator = infos[-1] or {}
    return Flow(
        at=now,
        streams={name: Stream(int(state["messages"]), int(state["first_seq"]), int(state["last_seq"])) for name, state in states.items()},
        planning=int(orchestrator.get("num_ack_pending", 0)),
        queues=_queues(held, await _worker_durables(client)),
    )


def _queues(held: Mapping[str, int], durables: Mapping[str, dict[str, Any]]) -> tuple[Queue, ...]:
    """The queues that hold tasks, and those that have a durable.

    Args:
        held: messages per subject; a worker's are still there until they are acked.
        durables: the workers' consumers by the subject that they read.
    """
    found = []
    for subject in sorted({*held, *durables}):
        _, _, worker_type, tier = subject.split(".")
        durable = durables.get(subject, {})
        taken = int(durable.get("num_ack_pending", 0))
        deliveries = int(durable.get("delivered", {}).get("consumer_seq", 0))
        found.append(Queue(worker_type, tier, max(0, held.get(subject, 0) - taken), taken, deliveries))
    return tuple(found)


async def _worker_durables(client: Client) -> dict[str, dict[str, Any]]:
    """What the server says of each worker durable, by its subject; it gives them in pages."""
    found: dict[str, dict[str, Any]] = {}
    offset = 0
    while True:
        told = await _info(client, f"CONSUMER.LIST.{subjects.TASKS}", {"offset": offset})
        page = (told or {}).get("consumers") or []
        of_subjects = {one["config"].get("filter_subject", ""): one for one in page}
        found |= {subject: one for subject, one in of_subjects.items() if subject.count(".") == 3}  # others are no worker's
        offset += len(page)
        if told is None or not page or offset >= int(told["total"]):
            return found


async def _info(client: Client, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    try:
        return await js_api(client, subject, body)
    except Refused:
        return None


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened per second between two moments.

    Attributes:
        goals: goals that came in.
        incoming: tasks that came in, from plans and from clients.
        routed: tasks that the router put into a worker's queue.
        ended: outcomes, completed and failed, goals' own among them.
        dead: dead letters.
        taken: tasks that workers took, by (worker type, tier).
    """

    goals: float = 0.0
    incoming: float = 0.0
    routed: float = 0.0
    ended: float = 0.0
    dead: float = 0.0
    taken: Mapping[tuple[str, str], float] = field(default_factory=dict)


def rates(before: Flow, now: Flow) -> Rates:
    """The rates between two moments; none if no time has passed. A stream that was made anew counts from there."""
    seconds = now.at - before.at
    if seconds <= 0:
        return Rates()

    def stored(name: str) -> float:
        return max(0, now[name].last - before[name].last) / seconds

    earlier = {(queue.worker_type, queue.tier): queue.deliveries for queue in before.queues}
    taken = {
        (queue.worker_type, queue.tier): max(0, queue.deliveries - earlier.get((queue.worker_type, queue.tier), 0)) / seconds
        for queue in now.queues
    }
    return Rates(
        goals=stored(subjects.GOALS),
        incoming=stored(subjects.INCOMING),
        routed=stored(subjects.TASKS),
        ended=stored(subjects.OUTCOMES),
        dead=stored(subjects.DEAD),
        taken=taken,
    )
