"""The orchestrator: one model call per goal at its start, and the goal's record at its end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from heddle import deadletters, events, subjects
from heddle.admission import Admission
from heddle.amendments import amend, goal_of_replayed
from heddle.broker.admissions import admissions
from heddle.broker.cancellations import cancellations
from heddle.broker.outcomes import OutcomesFull, first_outcome, stored_outcome
from heddle.broker.parked import Parked, park, parked_goals, unpark
from heddle.broker.periodic import every
from heddle.broker.relay import Delivery, Headers, Intake, Outbox, Source, looked_after
from heddle.broker.streams import Streams, make_consumer
from heddle.deadletters import Ending
from heddle.errors import BrokerError, Code, DecodeError, ModelUnavailable
from heddle.goals import (
    Came,
    GoalState,
    final_result,
    finished_record,
    goal_state,
    task_subjects,
    unplanned_record,
    unplanned_state,
)
from heddle.messages import GOAL_WORKER_TYPE, Goal, TaskResult, decode, parse_time, task_hash
from heddle.planner import Planner
from heddle.planning.goal import Asked
from heddle.planning.plan import Plan
from heddle.planning_log import PlanningLog
from heddle.settings import OrchestratorSettings
from heddle.telemetry.observer import Observer

FULL_DELAY: Final = 1.0
MODEL_DELAY: Final = 5.0
"""Seconds until a goal is taken up again that found no model."""
CLAIM_DELAY: Final = 1.0
PARKED_EVERY: Final = 1.0
"""Seconds between looks for goals that were approved, or have waited too long."""
ANNOUNCE_EVERY: Final = 3.0
CLAIM_RENEW: Final = 8.0
"""Seconds between renewals of a claim, which lasts 30 s."""
_FOLLOWED: Final = 256
_REMEMBERED: Final = 4096
_REPLICAS: Final = 16


class ClaimedElsewhere(Exception):  # no error: another replica is at it
    """Another replica plans this goal right now."""


@dataclass(slots=True, eq=False)
class Orchestrator:
    """One replica at work; made by `orchestrating`.

    Attributes:
        planner: replaced as a whole when macros are read again.
        cancelled: who cancelled what, by the keys of HEDDLE_CANCEL.
        ended: outcomes known to be stored, by subject, so that a goal's progress costs few requests; only a memory.
    """

    client: Client
    planner: Planner
    observer: Observer
    replica: str
    outbox: Outbox
    claims: KeyValue
    records: KeyValue
    planning: PlanningLog
    ack_wait: float
    max_replays: int
    cards: KeyValue
    admission: Admission | None = None
    cancelled: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    goals: Intake = field(init=False)
    outcomes: Intake = field(init=False)
    _known: OrderedDict[str, TaskResult] = field(default_factory=OrderedDict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def on_goal(self, delivery: Delivery) -> None:
        """A goal was taken: work on it beside the subscription, since a model call takes seconds."""
        task = asyncio.create_task(self._work(delivery), name=f"goal-{delivery.sequence}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, delivery: Delivery) -> None:
        try:
            async with every(self.ack_wait / 3, lambda: self.goals.heartbeat(delivery)):
                await self._goal(delivery)
        except ClaimedElsewhere:
            await self.goals.hand_back(delivery, CLAIM_DELAY)
        except ModelUnavailable as error:
            self.observer.see(events.MODEL_AWAITED, f"{error}; the goal waits. To get the model: {error.remedy}", retry_in=MODEL_DELAY)
            await self.goals.hand_back(delivery, MODEL_DELAY)
        except OutcomesFull as full:
            self.observer.see(events.BROKER_TROUBLE, "no room for outcomes; waiting", role="orchestrator", error=str(full))
            await self.goals.hand_back(delivery, FULL_DELAY)
        except (BrokerError, nats.errors.Error, TimeoutError) as error:
            self.observer.see(events.BROKER_TROUBLE, "cannot work on a goal yet; it comes again", role="orchestrator", error=repr(error))
            await self.goals.hand_back(delivery, FULL_DELAY)
        except Exception as error:  # noqa: BLE001  # whatever it is, the orchestrator stays up and the goal is not lost
            self.observer.see(events.UNEXPECTED, "could not work on a goal; it comes again", role="orchestrator", error=repr(error))
            await self.goals.hand_back(delivery, MODEL_DELAY)
        else:
            await self.goals.ack(delivery)

    async def _goal(self, delivery: Delivery) -> None:
        try:
            goal = decode(Goal, delivery.body)
        except DecodeError as error:
            await self._end(delivery.body, self._unreadable(delivery, str(error)), delivery.stored, delivery.headers or {})
            return
        came = _came(goal, delivery)
        key = subjects.goal_record(came.goal_id, goal.generation)
        if delivery.delivered > 1 and await stored_outcome(self.client, subjects.goal_outcome(came.goal_id, goal.generation)) is not None:
            return
        if goal.generation > self.max_replays:
            told = f"replayed {goal.generation} times; orchestrator.max_replays is {self.max_replays}"
            ending = self._unplannable(goal, came, _UNTRIED, Code.LOOP, told)
            await self._end(delivery.body, ending, came.stored, came.trace)
            return
        state = await self._state(key)
        if state is None and not await self._end_if_cancelled(delivery.body, goal, came, _UNTRIED):
            async with self._claim(key):
                state = await self._state(key) or await self._plan(delivery.body, goal, came, key)
        if state is None:
            return
        if state.parked:
            await park(self.records, _waiting(state, delivery.body))
        elif state.approval is None:
            await self.publish_tasks(state)

    async def _plan(self, body: bytes, goal: Goal, came: Came, key: str) -> GoalState | None:
        """Plan the goal and store the plan; None if it ended instead."""
        planner = self.planner
        begun = before = await self._calls_begun(key)

        async def calling() -> None:
            nonlocal begun
            begun += 1
            await self.records.put(subjects.model_calls(key), str(begun).encode())

        try:
            plan = await planner.plan(Asked(goal.instruction, goal.context, _asked_at(goal, came)), calling)
        except ModelUnavailable:
            await self.records.put(subjects.model_calls(key), str(before).encode())
            raise
        came = replace(came, calls_before=before)
        self.planning.tell(plan)
        if await self._end_if_cancelled(body, goal, came, plan):
            return None
        if plan.problem is not None:
            ending = self._unplannable(goal, came, plan, *plan.problem)
            await self._surely(lambda: self._end(body, ending, came.stored, came.trace), plan)
            return None
        state = goal_state(goal, came, plan, planner.offers, self.clock(), planner.settings.planner.approval_wait)
        await self._surely(lambda: self.records.put(key, state.encode()), plan)
        self.observer.see(
            events.GOALS_PLANNED, "planned a goal", planned_by=plan.planned_by, goal_id=came.goal_id, tasks=len(plan.calls), note=plan.note
        )
        return state

    async def _end_if_cancelled(self, body: bytes, goal: Goal, came: Came, plan: Plan) -> bool:
        """End a goal that was cancelled before its tasks went out; afterwards it is theirs to be cancelled."""
        by = self.cancelled.get(subjects.cancelled_goal(came.goal_id, goal.generation))
        if by is None:
            return False
        ending = self._unplannable(goal, came, plan, Code.CANCELLED, f"{by} cancelled it before its tasks were sent")
        await self._surely(lambda: self._end(body, ending, came.stored, came.trace), plan)
        return True

    async def _calls_begun(self, key: str) -> int:
        """How many model calls were begun for this goal, by processes that died in them: all others left a plan, or took them back."""
        try:
            entry = await self.records.get(subjects.model_calls(key))
        except nats.js.errors.KeyNotFoundError:
            return 0
        return int(entry.value or b"0")

    async def _surely(self, work: Callable[[], Awaitable[object]], plan: Plan) -> None:
        """Do what follows a model call until it is done: a goal that went back now would cost another call."""
        while True:
            try:
                await work()
                return
            except (BrokerError, OutcomesFull, nats.errors.Error, TimeoutError) as error:
                if not plan.model_calls:
                    raise
                told = "cannot store what a model answered yet; trying again"
                self.observer.see(events.BROKER_TROUBLE, told, role="orchestrator", error=repr(error))
                await asyncio.sleep(FULL_DELAY)

    async def publish_tasks(self, state: GoalState) -> None:
        """Publish a stored plan, whole; ids come from the goal's place, so that doing it twice is doing it once."""
        stream, created, sequence = state.source or (subjects.GOALS, 0, 0)

        def headers(number: int) -> Headers:
            return {"Nats-Msg-Id": subjects.message_id(stream, created, sequence, "task", number), **state.trace}

        publishes = [self.outbox.publish(subjects.TASKS_INCOMING, task.encode(), headers(n)) for n, task in enumerate(state.tasks, 1)]
        await asyncio.gather(*publishes)

    async def _state(self, key: str) -> GoalState | None:
        try:
            entry = await self.records.get(key)
        except nats.js.errors.KeyNotFoundError:
            return None
        return GoalState.model_validate_json(entry.value or b"")

    @asynccontextmanager
    async def _claim(self, key: str) -> AsyncIterator[None]:
        """Hold the claim on a goal while its plan is made, and keep it alive."""
        try:
            revision = await self.claims.create(key, self.replica.encode())
        except nats.js.errors.KeyWrongLastSequenceError:
            raise ClaimedElsewhere(key) from None

        async def renew() -> None:
            nonlocal revision
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                revision = await self.claims.update(key, self.replica.encode(), last=revision)

        try:
            async with every(CLAIM_RENEW, renew):
                yield
        finally:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                await self.claims.delete(key)

    async def look_at_parked(self) -> None:
        """Let goals go on that were approved, and end those that waited too long; any replica may do it, and one does."""
        with contextlib.suppress(BrokerError, nats.errors.Error, TimeoutError, OutcomesFull):  # it is tried again soon
            for goal in await parked_goals(self.client):
                by = self.cancelled.get(subjects.cancelled_goal(goal.goal_id, goal.generation))
                if goal.by is not None or by is not None or goal.until <= self.clock():
                    with contextlib.suppress(ClaimedElsewhere):
                        async with self._claim(goal.key):
                            await self._unpark(goal, by)

    async def _unpark(self, goal: Parked, cancelled_by: str | None) -> None:
        state = await self._state(goal.key)
        if state is not None and state.approval is not None and state.record is None:
            if goal.by is not None:
                approval = state.approval.model_copy(update={"by": goal.by, "at": goal.at})
                state = state.model_copy(update={"approval": approval})
                await self.records.put(goal.key, state.encode())
                await self.publish_tasks(state)
                self.observer.see(events.GOALS_APPROVED, "a goal was approved", goal_id=goal.goal_id, by=goal.by)
            else:
                await self._end_parked(goal, state, cancelled_by)
        await unpark(self.records, goal.key)

    async def _end_parked(self, goal: Parked, state: GoalState, cancelled_by: str | None) -> None:
        now = self.clock()
        if cancelled_by is not None:
            code, told = Code.CANCELLED, f"{cancelled_by} cancelled it before its tasks were sent"
        else:
            waited = round(goal.until - state.planned)
            code, told = Code.EXPIRED, f"nobody approved {', '.join(goal.macros)} within {waited} s (planner.approval_wait)"
        record = finished_record(state.model_copy(update={"tasks": ()}), [], now)
        record |= {"status": "failed", "error": f"{code.value}: {told}"}
        ending = self._ending(goal.goal_id, goal.generation, code, told, now, record)
        await self._end(goal.original, ending, state.stored, state.trace)

    async def on_outcome(self, delivery: Delivery) -> None:
        """A planned task has its outcome: is its goal done?"""
        try:
            await self._progress(delivery)
        except (BrokerError, nats.errors.Error, TimeoutError, ValueError) as error:
            self.observer.see(events.BROKER_TROUBLE, "cannot follow a goal yet; trying again", role="orchestrator", error=repr(error))
            await self.outcomes.hand_back(delivery, FULL_DELAY)
        else:
            await self.outcomes.ack(delivery)

    async def _progress(self, delivery: Delivery) -> None:
        parts = subjects.parse_task_outcome(delivery.subject)
        key = subjects.goal_record(parts.goal_id, parts.generation)
        state = await self._state(key)
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
        await self._finish(state, found, key)

    async def _finish(self, state: GoalState, found: list[TaskResult], key: str) -> None:
        now = self.clock()
        final = final_result(finished_record(state, found, now), now)
        stands = decode(
            TaskResult,
            await first_outcome(self.client, self.outbox, subjects.goal_outcome(state.goal_id, state.generation), final.encode()),
        )
        await self._keep(state, stands.output)
        self.observer.see(events.GOALS_ENDED, "a goal ended", status=stands.output["status"], goal_id=state.goal_id)
        if stands.output["status"] != "completed":  # a task that was replayed may have ended before the others
            await self._amend(key)

    async def _keep(self, state: GoalState, record: dict[str, Any]) -> None:
        """Keep the record of a goal that has ended; another replica may have done it, and have amended it since."""
        with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
            try:
                entry = await self.records.get(state.key)
            except nats.js.errors.KeyNotFoundError:
                await self.records.create(state.key, state.model_copy(update={"record": record}).encode())
                return
            there = GoalState.model_validate_json(entry.value or b"")
            if there.record is None:
                await self.records.update(state.key, there.model_copy(update={"record": record}).encode(), last=entry.revision)

    async def _amend(self, key: str) -> None:
        await amend(self.client, self.outbox, self.records, self.observer, key, self.clock())

    def _remember(self, subject: str, outcome: TaskResult) -> None:
        self._known[subject] = outcome
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _end(self, body: bytes, ending: Ending, stored: float, trace: Mapping[str, str]) -> None:
        """End a goal whose tasks were not sent; `stored` is when it came, `trace` are its headers."""
        await deadletters.end(self.client, self.outbox, self.observer, ending, body, dict(trace))
        if ending.output is not None:
            await self._keep(unplanned_state(ending.output, ending.generation, stored, ending.at), ending.output)
        self.observer.see(
            events.GOALS_ENDED,
            "a goal could not go on",
            status="failed",
            goal_id=ending.task_id,
            code=ending.code.value,
            detail=ending.detail,
        )

    def _unplannable(self, goal: Goal, came: Came, plan: Plan, code: Code, detail: str) -> Ending:
        now = self.clock()
        record = unplanned_record(goal, came, plan, now, f"{code.value}: {detail}")
        extra = {"answer": plan.answer[:_ANSWER]} if plan.answer is not None else None
        return self._ending(came.goal_id, goal.generation, code, detail, now, record, extra)

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
            letter_id=subjects.task_letter(goal_id, generation),
            subject=subjects.goal_outcome(goal_id, generation),
            at=now,
            by=f"orchestrator/{self.replica}",
            task_id=goal_id,
            worker_type=GOAL_WORKER_TYPE,
            generation=generation,
            output=record,
            extra=extra,
        )

    def _unreadable(self, delivery: Delivery, detail: str) -> Ending:
        return deadletters.end_of_unreadable(
            delivery.body, detail, source=delivery.origin, at=self.clock(), by=f"orchestrator/{self.replica}", rules=None, goal=True
        )

    async def announce(self) -> None:
        """Say that this replica is there, and how far its model is admitted."""
        card = {
            "replica": self.replica,
            "model": self.planner.model.name if self.planner.model else None,
            "admission": self.admission.told if self.admission else None,
            "macros": sorted(self.planner.offers.macros),
        }
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await self.cards.put(subjects.orchestrator_card(self.replica), json.dumps(card).encode())

    async def drain(self, grace: float) -> None:
        """Take nothing more; let goals in work finish for `grace` seconds, then hand them back."""
        await self.goals.stop()
        await self.outcomes.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work that goes on beside the block, and is ended with it."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _came(goal: Goal, delivery: Delivery) -> Came:
    trace = {key: value for key, value in (delivery.headers or {}).items() if key.lower() in {"traceparent", "tracestate"}}
    return Came(goal.goal_id or subjects.source_letter(*delivery.origin), delivery.stored, delivery.origin, trace)


def _asked_at(goal: Goal, came: Came) -> float:
    """When the goal was made: as it says, else when it was stored; seconds since the epoch."""
    return came.stored if goal.created_at is None else parse_time(goal.created_at).timestamp()


def _waiting(state: GoalState, body: bytes) -> Parked:
    assert state.approval is not None  # noqa: S101  # the caller looked
    return Parked(
        goal_id=state.goal_id,
        generation=state.generation,
        instruction=state.instruction,
        macros=state.approval.macros,
        until=state.approval.until,
        body=base64.b64encode(body).decode(),
    )


_UNTRIED: Final = Plan("", 0)
"""Stands for the plan of a goal that no model was asked about."""
_ANSWER: Final = 4000
"""Characters of a model's raw answer that a failed outcome keeps."""


@asynccontextmanager
async def orchestrating(
    client: Client, streams: Streams, planner: Planner, settings: OrchestratorSettings, observer: Observer, replica: str
) -> AsyncIterator[Orchestrator]:
    """Plan goals and follow them for as long as the block runs; any number of replicas share the work."""
    telemetry = planner.settings.telemetry
    outbox = Outbox(client, observer)
    await outbox.start()
    js = client.jetstream()
    admission = None
    if planner.model is not None and planner.settings.planner.admission == "on":
        admission = Admission(planner.model, planner.offers, planner.settings, await admissions(client), observer)
        planner = replace(planner, admitted=admission.passed)
    orchestrator = Orchestrator(
        client,
        planner,
        observer,
        replica,
        outbox,
        claims=await js.key_value(subjects.CLAIMS),
        records=await js.key_value(subjects.GOAL_RECORDS),
        planning=PlanningLog(observer, telemetry.capture_argument_drift),
        ack_wait=settings.ack_wait,
        max_replays=settings.max_replays,
        cards=await js.key_value(subjects.WORKERS),
        admission=admission,
    )
    orchestrator.goals = Intake(client, settings.goals, orchestrator.on_goal, observer)
    orchestrator.outcomes = Intake(client, _FOLLOWED, orchestrator.on_outcome, observer)

    async def make_goals() -> None:
        await make_consumer(
            client,
            subjects.GOALS,
            subjects.ORCHESTRATOR_DURABLE,
            filter_subject=subjects.GOALS_INCOMING,
            ack_wait=settings.ack_wait,
            max_ack_pending=_REPLICAS * settings.goals,
        )

    async def make_follower() -> None:
        await make_consumer(
            client,
            subjects.OUTCOMES,
            subjects.FOLLOWER_DURABLE,
            filter_subject=subjects.PLANNED_TASK_OUTCOMES,
            ack_wait=settings.ack_wait,
            max_ack_pending=_REPLICAS * _FOLLOWED,
        )

    following = Source(subjects.OUTCOMES, streams.created[subjects.OUTCOMES], subjects.FOLLOWER_DURABLE, make_follower)
    taking = Source(subjects.GOALS, streams.created[subjects.GOALS], subjects.ORCHESTRATOR_DURABLE, make_goals)
    try:
        async with (
            cancellations(client) as known,
            looked_after(orchestrator.goals, orchestrator.outcomes, outbox),
            every(PARKED_EVERY, orchestrator.look_at_parked),
            every(telemetry.export_interval, orchestrator.planning.sum_up),
            every(ANNOUNCE_EVERY, orchestrator.announce, at_once=True),
            _beside(planner.warm()),
        ):
            orchestrator.cancelled = known.known
            await orchestrator.outcomes.add(following)
            await orchestrator.goals.add(taking)
            observer.see(events.ROLE_STARTED, "orchestrating", role="orchestrator", replica=replica, macros=sorted(planner.offers.macros))
            yield orchestrator
            await orchestrator.drain(settings.ack_wait)
    finally:
        await orchestrator.planning.sum_up()
        observer.see(events.ROLE_STOPPED, "stopped", role="orchestrator", replica=replica)
