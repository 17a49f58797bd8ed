"""What was cancelled: entries in HEDDLE_CANCEL, which a role knows by heart, and which it hears of at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from heddle import subjects
from heddle.broker.connect import stored_from
from heddle.broker.periodic import every
from heddle.errors import BrokerError
from heddle.messages import task_hash

_LOOK_EVERY = 5.0
"""Seconds between looks into the bucket, for what was missed while the server was away."""
_PAGE = 1000
_KEPT = 86400.0
"""Seconds that the bucket keeps an entry."""


async def cancel(client: Client, key: str, by: str) -> None:
    """Cancel what `subjects.cancelled_task` or `subjects.cancelled_goal` names; doing it twice is doing it once.

    Args:
        client: the connection.
        key: what.
        by: who wants it, for the dead letter.

    Raises:
        nats.errors.Error: the bucket does not answer.
    """
    bucket = await client.jetstream().key_value(subjects.CANCEL)
    await bucket.put(key, by.encode())


async def all_cancelled(client: Client) -> dict[str, str]:
    """Who cancelled what in the last day, by key.

    Raises:
        BrokerError: the bucket does not answer.
    """
    known = Cancellations(client, lambda _: None)
    await known.read()
    return known.known


def who_cancelled(known: Mapping[str, str], task_id: str, goal_id: str | None, generation: int) -> str | None:
    """Who cancelled this task, or its goal; None if nobody did. Where nothing was cancelled at all, do not ask.

    Args:
        known: who cancelled what, by key.
        task_id: the task.
        goal_id: its goal, if it has one.
        generation: of the task.
    """
    by = known.get(subjects.cancelled_task(task_hash(task_id), generation))
    return by if by is not None or goal_id is None else known.get(subjects.cancelled_goal(goal_id, generation))


@dataclass(slots=True, eq=False)
class Cancellations:
    """Everything cancelled in the last day.

    Attributes:
        known: who cancelled it, by the keys that `subjects.cancelled_task` and `subjects.cancelled_goal` make.
        on_new: told of each key when it comes.
    """

    client: Client
    on_new: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    known: dict[str, str] = field(default_factory=dict)
    _heard: deque[tuple[float, str]] = field(default_factory=deque)
    _next: int = 1

    async def look(self) -> None:
        """Forget what the bucket has forgotten, and read what came since the last look; what the server does not give now comes later."""
        while self._heard and self._heard[0][0] <= self.clock() - _KEPT:
            del self.known[self._heard.popleft()[1]]
        with suppress(BrokerError):
            await self.read()

    async def read(self) -> None:
        """Read what came since the last time.

        Raises:
            BrokerError: the bucket does not answer.
        """
        prefix = f"$KV.{subjects.CANCEL}."
        while found := await stored_from(self.client, f"KV_{subjects.CANCEL}", self._next, f"{prefix}>", _PAGE):
            self._next = found[-1].sequence + 1
            for one in found:
                self._take(one.subject.removeprefix(prefix), one.body, one.headers)

    async def on_message(self, message: Msg) -> None:
        """An entry as it is written."""
        self._take(message.subject.removeprefix(f"$KV.{subjects.CANCEL}."), message.data, message.headers or {})

    def _take(self, key: str, by: bytes, headers: Mapping[str, str]) -> None:
        if key not in self.known and "KV-Operation" not in headers:  # who deletes an entry cancels nothing
            self.known[key] = by.decode(errors="replace") or "somebody"
            self._heard.append((self.clock(), key))
            self.on_new(key)


@asynccontextmanager
async def cancellations(client: Client, on_new: Callable[[str], None] = lambda _: None) -> AsyncIterator[Cancellations]:
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
