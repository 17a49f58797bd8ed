"""Ends routed tasks whose `expires_at` passed while they waited for a worker: `no_worker` if none is announced, else `expired`.

A worker looks at `expires_at` before it starts a task; this is for the tasks that no worker takes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from heddle import deadletters, subjects
from heddle.broker.connect import Stored, js_api, stored_from
from heddle.broker.relay import Outbox
from heddle.broker.streams import Streams
from heddle.deadletters import Ending
from heddle.errors import BrokerError, Code, DecodeError
from heddle.messages import TaskMessage, decode, parse_time
from heddle.telemetry.observer import Observer

EXPIRY_EVERY: Final = 5.0
GRACE: Final = 2.0
"""Seconds that a worker has to say `expired` itself before we do."""
_ROUND: Final = 512


@dataclass(slots=True, eq=False)
class Expiry:
    """Looks at the routed tasks round by round, the oldest first."""

    client: Client
    streams: Streams
    outbox: Outbox
    observer: Observer
    replica: str
    clock: Callable[[], float]
    _next: int = 1

    async def round(self) -> None:
        """Look at the next tasks; what cannot be ended now is looked at in a later round."""
        with contextlib.suppress(BrokerError, nats.errors.Error, nats.js.errors.Error, TimeoutError):
            found = await stored_from(self.client, subjects.TASKS, self._next, "heddle.tasks.*.*", _ROUND)
            self._next = found[-1].sequence + 1 if len(found) == _ROUND else 1
            for stored in found:
                if b'"expires_at"' in stored.body:
                    await self._look_at(stored)

    async def _look_at(self, stored: Stored) -> None:
        try:
            task = decode(TaskMessage, stored.body)
        except DecodeError:
            return  # the worker's to end
        if task.expires_at is None or parse_time(task.expires_at).timestamp() + GRACE > self.clock():
            return
        _, _, worker_type, tier = stored.subject.split(".")
        served = await serves(self.client, worker_type, tier)
        code = Code.EXPIRED if served else Code.NO_WORKER
        told = "before a worker could start the task" if served else f"and no worker is announced for {worker_type} on tier {tier}"
        task_id = task.task_id or subjects.source_letter(subjects.TASKS, self.streams.created[subjects.TASKS], stored.sequence)
        ending = Ending(
            code=code,
            detail=f"expires_at {task.expires_at} passed {told}",
            letter_id=subjects.task_letter(task_id, task.generation),
            subject=subjects.task_outcome(task_id, task.parent_task_id, task.generation),
            at=self.clock(),
            by=f"router/{self.replica}",
            task_id=task_id,
            worker_type=task.worker_type,
            parent_task_id=task.parent_task_id,
            generation=task.generation,
            attempt=task.attempt,
            tier=tier,
        )
        await deadletters.end(self.client, self.outbox, self.observer, ending, stored.body)
        await js_api(self.client, f"STREAM.MSG.DELETE.{subjects.TASKS}", {"seq": stored.sequence})


async def serves(client: Client, worker_type: str, tier: str) -> bool:
    """Has a worker announced itself for this type and tier within the last ten seconds?"""
    bucket = await client.jetstream().key_value(subjects.WORKERS)
    try:
        keys = await bucket.keys()
    except nats.js.errors.NoKeysError:
        return False
    for key in keys:
        with contextlib.suppress(nats.js.errors.KeyNotFoundError):
            card = json.loads((await bucket.get(key)).value or b"{}")
            if worker_type in card.get("types", ()) and tier in card.get("tiers", ()):
                return True
    return False
