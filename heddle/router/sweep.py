"""Sweeps places that are overdue: a schedule that fell due while the store was full fires only after a restart of the server.

A task that was cancelled while it waits is met here too, and ends before its place comes up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import nats.errors
from nats.aio.client import Client

from heddle import events, subjects
from heddle.broker.cancellations import who_cancelled
from heddle.broker.connect import Stored, js_api, next_or_first
from heddle.broker.intake import passed_on
from heddle.broker.outbox import Outbox
from heddle.errors import BrokerError, Code, DecodeError
from heddle.messages import TaskMessage, decode
from heddle.router.ending import Ender
from heddle.schedules import OVERDUE_AFTER, PINNED, PLACE, SINCE, due_at
from heddle.telemetry.observer import Observer

SWEEP_EVERY: Final = 5.0
_ROUND: Final = 512
"""Places looked at per round: the oldest first, and in the end all of them."""


@dataclass(slots=True, eq=False)
class Sweeper:
    """Looks at the waiting tasks round by round, and lets the overdue ones come up."""

    client: Client
    outbox: Outbox
    observer: Observer
    ender: Ender
    cancelled: Mapping[str, str]
    clock: Callable[[], float]
    _next: int = 1

    async def round(self) -> None:
        """Look at the next places; what the server does not give now is looked at in a later round."""
        with contextlib.suppress(BrokerError, nats.errors.Error):
            found = await next_or_first(self.client, subjects.DEFER, self._next, "heddle.defer.>", _ROUND)
            self._next = found[-1].sequence + 1 if found else 1
            for place in found:
                if self.cancelled and await self._end_cancelled(place):
                    continue
                if due_at(place.headers) < self.clock() - OVERDUE_AFTER:
                    target = subjects.due_of(place.subject)
                    headers = passed_on(place.headers) | {
                        name: place.headers[name] for name in (SINCE, PLACE, PINNED) if name in place.headers
                    }
                    await self.outbox.publish(target, place.body, headers | {"Nats-Msg-Id": f"sweep.{place.subject}"})
                    await js_api(self.client, f"STREAM.MSG.DELETE.{subjects.DEFER}", {"seq": place.sequence})
                    self.observer.see(events.PLACES_SWEPT, "a waiting task was overdue; it comes up now", subject=place.subject)

    async def _end_cancelled(self, place: Stored) -> bool:
        """End the task in this place if it was cancelled; without its place it does not come up."""
        try:
            task = decode(TaskMessage, place.body)
        except DecodeError:
            return False  # the router's to end
        task_id, tier = task.task_id or "", subjects.tier_of_place(place.subject)
        by = who_cancelled(self.cancelled, task_id, task.parent_task_id, task.generation)
        if by is None:
            return False
        await self.ender.end(subjects.DEFER, place, task, task_id, tier, Code.CANCELLED, f"{by} cancelled it while it waited")
        return True
