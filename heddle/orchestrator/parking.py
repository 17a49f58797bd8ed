"""Looks after goals that wait for an approval: lets those go on that have it, and ends those that waited too long or were cancelled."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from heddle import events, subjects
from heddle.broker.claims import ClaimedElsewhere, claimed
from heddle.broker.outcomes import OutcomesFull
from heddle.broker.parked import Parked, parked_goals, unpark
from heddle.errors import BrokerError, Code
from heddle.goals import GoalState
from heddle.orchestrator.ending import Ender


@dataclass(frozen=True, slots=True, eq=False)
class Parking:
    """One replica's look at what waits; any replica may do it, and one does.

    Attributes:
        publish: sends the tasks of a goal that may go on.
        cancelled: who cancelled what, by the keys of HEDDLE_CANCEL.
    """

    client: Client
    claims: KeyValue
    ender: Ender
    publish: Callable[[GoalState], Awaitable[None]]
    cancelled: Mapping[str, str]
    clock: Callable[[], float]

    async def look(self) -> None:
        """Look through all that waits; a goal with which it cannot be done now is tried again soon, and keeps no other waiting."""
        with contextlib.suppress(BrokerError, nats.errors.Error, TimeoutError):
            for goal in await parked_goals(self.client):
                by = self.cancelled.get(subjects.cancelled_goal(goal.goal_id, goal.generation))
                if goal.by is not None or by is not None or goal.until <= self.clock():
                    await self._try(goal, by)

    async def _try(self, goal: Parked, cancelled_by: str | None) -> None:
        try:
            async with claimed(self.claims, goal.key, self.ender.replica):
                await self._unpark(goal, cancelled_by)
        except ClaimedElsewhere:
            return
        except (BrokerError, nats.errors.Error, TimeoutError, OutcomesFull, ValueError) as error:  # of values: a record that is none
            told = f"cannot go on yet with goal {goal.goal_id}, which waited for an approval; trying again"
            self.ender.observer.see(events.BROKER_TROUBLE, told, role="orchestrator", error=repr(error))

    async def _unpark(self, goal: Parked, cancelled_by: str | None) -> None:
        records = self.ender.records
        state = await records.state(goal.key)
        if state is not None and state.approval is not None and state.record is None:
            if goal.by is not None:
                approval = state.approval.model_copy(update={"by": goal.by, "at": goal.at})
                state = state.model_copy(update={"approval": approval})
                await records.store(state)
                await self.publish(state)
                self.ender.observer.see(events.GOALS_APPROVED, "a goal was approved", goal_id=goal.goal_id, by=goal.by)
            elif cancelled_by is not None:
                told = f"{cancelled_by} cancelled it before its tasks were sent"
                await self.ender.unsent(goal.original, state, Code.CANCELLED, told, self.clock())
            else:
                waited = round(goal.until - state.planned)
                told = f"nobody approved {', '.join(goal.macros)} within {waited} s (planner.approval_wait)"
                await self.ender.unsent(goal.original, state, Code.EXPIRED, told, self.clock())
        await unpark(records.bucket, goal.key)
