"""Ends routed tasks that no worker takes: those that were cancelled, and those whose `expires_at` passed while they waited.

The latter end as `no_worker` if none is announced, else as `expired`. A worker looks for both before it starts a task.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from heddle import subjects
from heddle.broker.announcements import announcements
from heddle.broker.cancellations import who_cancelled
from heddle.broker.connect import Stored, js_api, next_or_first
from heddle.broker.streams import Streams
from heddle.errors import BrokerError, Code, DecodeError, Refused
from heddle.messages import TaskMessage, decode, parse_time
from heddle.router.ending import Ender

EXPIRY_EVERY: Final = 5.0
GRACE: Final = 2.0
"""Seconds that a worker has to say `expired` itself before we do."""
_ROUND: Final = 512


class _Queue(NamedTuple):
    """A queue of one worker type and tier: the last sequence that was delivered, and whether anybody asks for more."""

    delivered: int
    pulling: bool


@dataclass(slots=True, eq=False)
class Expiry:
    """Looks at the routed tasks round by round, the oldest first."""

    client: Client
    streams: Streams
    ender: Ender
    cancelled: Mapping[str, str]
    clock: Callable[[], float]
    _next: int = 1

    async def round(self) -> None:
        """Look at the next tasks; what cannot be ended now is looked at in a later round."""
        with contextlib.suppress(BrokerError, nats.errors.Error, nats.js.errors.Error, TimeoutError):
            found = await next_or_first(self.client, subjects.TASKS, self._next, "heddle.tasks.*.*", _ROUND)
            self._next = found[-1].sequence + 1 if found else 1
            for stored in found:
                if self.cancelled or b'"expires_at"' in stored.body:
                    await self._look_at(stored)

    async def _look_at(self, stored: Stored) -> None:
        try:
            task = decode(TaskMessage, stored.body)
        except DecodeError:
            return  # the worker's to end
        task_id = task.task_id or subjects.source_letter(subjects.TASKS, self.streams.created[subjects.TASKS], stored.sequence)
        by = who_cancelled(self.cancelled, task_id, task.parent_task_id, task.generation) if self.cancelled else None
        if by is None and (task.expires_at is None or parse_time(task.expires_at).timestamp() + GRACE > self.clock()):
            return
        _, _, worker_type, tier = stored.subject.split(".")
        queue = await self._queue(worker_type, tier)
        served = queue.pulling or await serves(self.client, worker_type, tier)
        if stored.sequence <= queue.delivered and served:
            return  # a worker has it, and ends it
        if by is not None:
            code, detail = Code.CANCELLED, f"{by} cancelled it before a worker took it"
        elif served:
            code, detail = Code.EXPIRED, f"expires_at {task.expires_at} passed before a worker could start the task"
        else:
            code, detail = (
                Code.NO_WORKER,
                f"expires_at {task.expires_at} passed and no worker is announced for {worker_type} on tier {tier}",
            )
        await self.ender.end(subjects.TASKS, stored, task, task_id, tier, code, detail)

    async def _queue(self, worker_type: str, tier: str) -> _Queue:
        """How far the queue was delivered, and whether anybody pulls from it; of one that no worker ever had, nothing was."""
        try:
            info = await js_api(self.client, f"CONSUMER.INFO.{subjects.TASKS}.{subjects.worker_durable(worker_type, tier)}")
        except Refused:
            return _Queue(0, pulling=False)
        return _Queue(int(info["delivered"]["stream_seq"]), pulling=info["num_waiting"] > 0)


async def serves(client: Client, worker_type: str, tier: str) -> bool:
    """Has a worker announced itself for this type and tier within the last ten seconds?"""
    cards = await announcements(client)
    return any(worker_type in card.get("types", ()) and tier in card.get("tiers", ()) for card in cards.values())
