"""Ends goals whose tasks were not sent: outcome, letter, and their record, so that they are listed with the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nats.aio.client import Client

from heddle import deadletters, events, subjects
from heddle.broker.intake import Delivery
from heddle.broker.outbox import Outbox
from heddle.broker.records import GoalRecords
from heddle.deadletters import Ending
from heddle.errors import Code
from heddle.goals import Came, GoalState, finished_record, unplanned_record, unplanned_state
from heddle.messages import GOAL_WORKER_TYPE, Goal
from heddle.planning.plan import Plan
from heddle.telemetry.observer import Observer

UNTRIED: Final = Plan("", 0)
"""Stands for the plan of a goal that no model was asked about."""
_ANSWER: Final = 4000
"""Characters of a model's raw answer that a failed outcome keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Ender:
    """Ends goals in the name of one replica; its methods raise BrokerError if the store does not take it."""

    client: Client
    outbox: Outbox
    observer: Observer
    records: GoalRecords
    replica: str

    async def unreadable(self, delivery: Delivery, detail: str, now: float) -> None:
        """End what does not decode."""
        ending = deadletters.end_of_unreadable(delivery.body, detail, source=delivery.origin, at=now, by=self._by, rules=None, goal=True)
        await self._end(delivery.body, ending, delivery.stored, delivery.headers or {})

    async def unplanned(self, body: bytes, goal: Goal, came: Came, plan: Plan, code: Code, detail: str, now: float) -> None:
        """End a goal that gets no tasks; `plan` says what was tried."""
        record = unplanned_record(goal, came, plan, now, f"{code.value}: {detail}")
        extra = {"answer": plan.answer[:_ANSWER]} if plan.answer is not None else None
        await self._end(body, self._ending(came.goal_id, goal.generation, code, detail, now, record, extra), came.stored, came.trace)

    async def unsent(self, body: bytes, state: GoalState, code: Code, detail: str, now: float) -> None:
        """End a goal whose plan is not carried out."""
        record = finished_record(state.model_copy(update={"tasks": ()}), [], now)
        record |= {"status": "failed", "error": f"{code.value}: {detail}"}
        await self._end(body, self._ending(state.goal_id, state.generation, code, detail, now, record), state.stored, state.trace)

    async def _end(self, body: bytes, ending: Ending, stored: float, trace: Mapping[str, str]) -> None:
        await deadletters.end(self.client, self.outbox, self.observer, ending, body, dict(trace))
        if ending.output is not None:
            await self.records.keep(unplanned_state(ending.output, ending.generation, stored, ending.at), ending.output)
        self.observer.see(
            events.GOALS_ENDED,
            "a goal could not go on",
            status="failed",
            goal_id=ending.task_id,
            code=ending.code.value,
            detail=ending.detail,
        )

    def _ending(
        self,
        goal_id: str,
        generation: int,
        code: Code,
        detail: str,
        now: float,
        record: dict[str, Any],
        extra: dict[str, Any] | None = None,
    ) -> Ending:
        return Ending(
            code=code,
            detail=detail,
            letter_id=subjects.goal_letter(goal_id, generation),
            subject=subjects.goal_outcome(goal_id, generation),
            at=now,
            by=self._by,
            task_id=goal_id,
            worker_type=GOAL_WORKER_TYPE,
            generation=generation,
            output=record,
            extra=extra,
        )

    @property
    def _by(self) -> str:
        return f"orchestrator/{self.replica}"
