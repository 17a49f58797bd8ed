"""What was cancelled: entries in HEDDLE_CANCEL, which a role knows by heart, and which it hears of at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from heddle import subjects
from heddle.broker.connect import stored_from
from heddle.broker.periodic import every

_LOOK_EVERY = 5.0
"""Seconds between looks into the bucket, for what was missed while the server was away."""
_PAGE = 1000


async def cancel(client: Client, key: str) -> None:
    """Cancel what `subjects.cancelled_task` or `subjects.cancelled_goal` names; doing it twice is doing it once.

    Raises:
        nats.errors.Error: the bucket does not answer.
    """
    bucket = await client.jetstream().key_value(subjects.CANCEL)
    await bucket.put(key, b"")


@dataclass(slots=True, eq=False)
class Cancellations:
    """The keys of everything cancelled in the last day.

    Attributes:
        keys: as `subjects.cancelled_task` and `subjects.cancelled_goal` make them.
        on_new: told of each key when it comes.
    """

    client: Client
    on_new: Callable[[str], None]
    keys: set[str] = field(default_factory=set)
    _next: int = 1

    def holds(self, task_hash: str, goal_id: str | None, generation: int) -> bool:
        """Was this task cancelled, or its goal?"""
        return bool(self.keys) and (
            subjects.cancelled_task(task_hash, generation) in self.keys
            or (goal_id is not None and subjects.cancelled_goal(goal_id, generation) in self.keys)
        )

    async def look(self) -> None:
        """Read what came since the last look."""
        prefix = f"$KV.{subjects.CANCEL}."
        with suppress(nats.errors.Error, TimeoutError):
            while found := await stored_from(self.client, f"KV_{subjects.CANCEL}", self._next, f"{prefix}>", _PAGE):
                self._next = found[-1].sequence + 1
                for one in found:
                    self._take(one.subject.removeprefix(prefix))

    async def on_message(self, message: Msg) -> None:
        """An entry as it is written."""
        self._take(message.subject.removeprefix(f"$KV.{subjects.CANCEL}."))

    def _take(self, key: str) -> None:
        if key not in self.keys:
            self.keys.add(key)
            self.on_new(key)


@asynccontextmanager
async def cancellations(client: Client, on_new: Callable[[str], None]) -> AsyncIterator[Cancellations]:
    """Know what was cancelled, for as long as the block runs."""
    known = Cancellations(client, on_new)
    subscription = await client.subscribe(f"$KV.{subjects.CANCEL}.>", cb=known.on_message)
    await known.look()
    try:
        async with every(_LOOK_EVERY, known.look):
            yield known
    finally:
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()
