"""Ends tasks that a round of the router met in a stream, and not in its own intake: outcome, letter, then the message goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nats.aio.client import Client

from heddle import deadletters, events
from heddle.broker.connect import Stored, js_api
from heddle.broker.outbox import Outbox
from heddle.deadletters import end_of_task
from heddle.errors import Code
from heddle.messages import TaskMessage
from heddle.telemetry.observer import Observer


@dataclass(frozen=True, slots=True, eq=False)
class Ender:
    """Ends tasks in the name of one replica; `digest` is that of the rules in force."""

    client: Client
    outbox: Outbox
    observer: Observer
    replica: str
    digest: Callable[[], str]
    clock: Callable[[], float]

    async def end(self, stream: str, stored: Stored, task: TaskMessage, task_id: str, tier: str, code: Code, detail: str) -> None:
        """End a task that waits in a stream, and take it out. Whoever else has taken it meanwhile finds the outcome.

        Raises:
            BrokerError: the store did not take it; the message stays where it is.
        """
        by, now = f"router/{self.replica}", self.clock()
        ending = end_of_task(task, task_id, code, detail, at=now, by=by, tier=tier, rules=self.digest())
        await deadletters.end(self.client, self.outbox, self.observer, ending, stored.body, stored.headers)
        self.observer.count(events.TASKS_ENDED_BY_ROUTER, code.value)
        await js_api(self.client, f"STREAM.MSG.DELETE.{stream}", {"seq": stored.sequence})
