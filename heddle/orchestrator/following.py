"""Follows goals by the outcomes of their tasks, to the goal's own outcome and record."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import nats.errors
from nats.aio.client import Client

from heddle import events, subjects
from heddle.broker.intake import Delivery, Intake
from heddle.broker.outbox import Outbox
from heddle.broker.outcomes import first_outcome, stored_outcome
from heddle.broker.records import GoalRecords
from heddle.errors import BrokerError
from heddle.goals import GoalState, final_result, finished_record, task_subjects
from heddle.messages import TaskResult, decode, task_hash
from heddle.orchestrator.amendments import amend, goal_of_replayed
from heddle.telemetry.observer import Observer

_DELAY: Final = 1.0
"""Seconds until an outcome is looked at again that the broker kept from being followed."""
_REMEMBERED: Final = 4096


@dataclass(slots=True, eq=False)
class Follower:
    """One replica's share of the outcomes of planned tasks.

    Attributes:
        outcomes: where they come from; set by whoever makes the intake, which needs `on_outcome`.
    """

    client: Client
    outbox: Outbox
    observer: Observer
    records: GoalRecords
    clock: Callable[[], float]
    outcomes: Intake = field(init=False)
    _known: OrderedDict[str, TaskResult] = field(default_factory=OrderedDict)
    """Outcomes known to be stored, by subject, so that a goal's progress costs few requests; only a memory."""

    async def on_outcome(self, delivery: Delivery) -> None:
        """A planned task has its outcome: is its goal done?"""
        try:
            await self._progress(delivery)
        except (BrokerError, nats.errors.Error, TimeoutError, ValueError) as error:
            self.observer.see(events.BROKER_TROUBLE, "cannot follow a goal yet; trying again", role="orchestrator", error=repr(error))
            await self.outcomes.hand_back(delivery, _DELAY)
        else:
            await self.outcomes.ack(delivery)

    async def _progress(self, delivery: Delivery) -> None:
        parts = subjects.parse_task_outcome(delivery.subject)
        key = subjects.goal_record(parts.goal_id, parts.generation)
        state = await self.records.state(key)
        if state is None or parts.task not in {task_hash(task.task_id or "") for task in state.tasks}:
            if parts.generation and (key_before := await goal_of_replayed(self.client, parts)) is not None:
                await self._amend(key_before)
            return  # else a task with a parent of the client's own
        if state.record is not None:
            return
        self._remember(delivery.subject, decode(TaskResult, delivery.body))
        found = []
        for subject in task_subjects(state):
            outcome = self._known.get(subject)
            if outcome is None:
                stored = await stored_outcome(self.client, subject)
                if stored is None:
                    return
                outcome = decode(TaskResult, stored)
                self._remember(subject, outcome)
            found.append(outcome)
        await self._finish(state, found)

    async def _finish(self, state: GoalState, found: list[TaskResult]) -> None:
        now = self.clock()
        final = final_result(finished_record(state, found, now), now)
        subject = subjects.goal_outcome(state.goal_id, state.generation)
        stands = decode(TaskResult, await first_outcome(self.client, self.outbox, subject, final.encode()))
        await self.records.keep(state, stands.output)
        self.observer.see(events.GOALS_ENDED, "a goal ended", status=stands.output["status"], goal_id=state.goal_id)
        if stands.output["status"] != "completed":  # a task that was replayed may have ended before the others
            await self._amend(state.key)

    async def _amend(self, key: str) -> None:
        await amend(self.client, self.outbox, self.records.bucket, self.observer, key, self.clock())

    def _remember(self, subject: str, outcome: TaskResult) -> None:
        self._known[subject] = outcome
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
