"""Plans goals: takes them, has each planned once, and publishes the plan's tasks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from heddle import events, subjects
from heddle.broker.admissions import admissions
from heddle.broker.cancellations import cancellations
from heddle.broker.claims import ClaimedElsewhere, claimed
from heddle.broker.intake import Delivery, Intake, Source
from heddle.broker.outbox import Headers, Outbox
from heddle.broker.outcomes import OutcomesFull, stored_outcome
from heddle.broker.parked import Parked, park
from heddle.broker.periodic import every
from heddle.broker.records import GoalRecords
from heddle.broker.streams import Streams, make_consumer
from heddle.broker.upkeep import looked_after
from heddle.errors import BrokerError, Code, DecodeError, ModelUnavailable, SettingsError
from heddle.goals import Came, GoalState, goal_state
from heddle.messages import Goal, decode, parse_time
from heddle.orchestrator.admission import Admission
from heddle.orchestrator.ending import UNTRIED, Ender
from heddle.orchestrator.following import Follower
from heddle.orchestrator.parking import Parking
from heddle.orchestrator.planning_log import PlanningLog
from heddle.planner import Planner
from heddle.planning.goal import Asked
from heddle.planning.plan import Plan
from heddle.settings import OrchestratorSettings
from heddle.telemetry.observer import Observer

FULL_DELAY: Final = 1.0
MODEL_DELAY: Final = 5.0
"""Seconds until a goal is taken up again that found no model."""
CLAIM_DELAY: Final = 1.0
PARKED_EVERY: Final = 1.0
"""Seconds between looks for goals that were approved, or have waited too long."""
ANNOUNCE_EVERY: Final = 3.0
_FOLLOWED: Final = 256
_REPLICAS: Final = 16


@dataclass(slots=True, eq=False)
class Orchestrator:
    """One replica at work; made by `orchestrating`.

    Attributes:
        planner: replaced as a whole when macros are read again.
        ender: ends goals that get no tasks.
        cancelled: who cancelled what, by the keys of HEDDLE_CANCEL.
    """

    client: Client
    planner: Planner
    ender: Ender
    claims: KeyValue
    planning: PlanningLog
    settings: OrchestratorSettings
    cards: KeyValue
    cancelled: Mapping[str, str]
    admission: Admission | None = None
    clock: Callable[[], float] = time.time
    goals: Intake = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def observer(self) -> Observer:
        """Where it tells what happens."""
        return self.ender.observer

    @property
    def outbox(self) -> Outbox:
        """What it publishes with."""
        return self.ender.outbox

    @property
    def records(self) -> GoalRecords:
        """What is kept of goals."""
        return self.ender.records

    async def on_goal(self, delivery: Delivery) -> None:
        """A goal was taken: work on it beside the subscription, since a model call takes seconds."""
        task = asyncio.create_task(self._work(delivery), name=f"goal-{delivery.sequence}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, delivery: Delivery) -> None:
        try:
            async with every(self.settings.ack_wait / 3, lambda: self.goals.heartbeat(delivery)):
                await self._goal(delivery)
        except ClaimedElsewhere:
            await self.goals.hand_back(delivery, CLAIM_DELAY)
        except ModelUnavailable as error:
            self.observer.see(events.MODEL_AWAITED, f"{error}; the goal waits. To get the model: {error.remedy}", retry_in=MODEL_DELAY)
            await self.goals.hand_back(delivery, MODEL_DELAY)
        except SettingsError as error:  # such as a model server that is at a public address by now
            self.observer.see(events.MODEL_AWAITED, f"{error}; the goal waits", retry_in=MODEL_DELAY)
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
            await self.ender.unreadable(delivery, str(error), self.clock())
            return
        came = _came(goal, delivery)
        key = subjects.goal_record(came.goal_id, goal.generation)
        if delivery.delivered > 1 and await stored_outcome(self.client, subjects.goal_outcome(came.goal_id, goal.generation)) is not None:
            return
        if goal.generation > self.settings.max_replays:
            told = f"replayed {goal.generation} times; orchestrator.max_replays is {self.settings.max_replays}"
            await self.ender.unplanned(delivery.body, goal, came, UNTRIED, Code.LOOP, told, self.clock())
            return
        state = await self.records.state(key)
        if state is None and not await self._end_if_cancelled(delivery.body, goal, came, UNTRIED):
            async with claimed(self.claims, key, self.ender.replica):
                state = await self.records.state(key) or await self._plan(delivery.body, goal, came, key)
        if state is None or (state.source is not None and state.source != came.source):  # that is of an earlier message with this id
            return
        if state.parked:
            await park(self.records.bucket, _waiting(state, delivery.body))
        elif state.approval is None:
            await self.publish_tasks(state)

    async def _plan(self, body: bytes, goal: Goal, came: Came, key: str) -> GoalState | None:
        """Plan the goal and store the plan; None if it ended instead."""
        planner = self.planner
        begun = before = await self.records.calls_begun(key)

        async def calling() -> None:
            nonlocal begun
            begun += 1
            await self.records.count_calls(key, begun)

        try:
            plan = await planner.plan(Asked(goal.instruction, goal.context, _asked_at(goal, came)), calling)
        except (ModelUnavailable, SettingsError):  # nothing was answered
            if begun > before:
                await self.records.count_calls(key, before)
            raise
        came = replace(came, calls_before=before)
        self.planning.tell(plan)
        if await self._end_if_cancelled(body, goal, came, plan):
            return None
        if plan.problem is not None:
            code, told = plan.problem
            await self._surely(lambda: self.ender.unplanned(body, goal, came, plan, code, told, self.clock()), plan)
            return None
        state = goal_state(goal, came, plan, planner.offers, self.clock(), planner.settings.planner.approval_wait)
        size, most = len(state.encode()), self.client.max_payload // 2  # the other half is for its record
        if size > most:
            told = f"the plan has {size} bytes, all its tasks together; it can have {most}: give a reference (a path, a URL) to the data"
            await self._surely(lambda: self.ender.unplanned(body, goal, came, plan, Code.NO_PLAN, told, self.clock()), plan)
            return None
        await self._surely(lambda: self.records.store(state), plan)
        self.observer.see(
            events.GOALS_PLANNED, "planned a goal", planned_by=plan.planned_by, goal_id=came.goal_id, tasks=len(plan.calls), note=plan.note
        )
        return state

    async def _end_if_cancelled(self, body: bytes, goal: Goal, came: Came, plan: Plan) -> bool:
        """End a goal that was cancelled before its tasks went out; afterwards it is theirs to be cancelled."""
        by = self.cancelled.get(subjects.cancelled_goal(came.goal_id, goal.generation))
        if by is None:
            return False
        told = f"{by} cancelled it before its tasks were sent"
        await self._surely(lambda: self.ender.unplanned(body, goal, came, plan, Code.CANCELLED, told, self.clock()), plan)
        return True

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

    async def announce(self) -> None:
        """Say that this replica is there, and how far its model is admitted."""
        card = {
            "replica": self.ender.replica,
            "model": self.planner.model.name if self.planner.model else None,
            "admission": self.admission.told if self.admission else None,
            "macros": sorted(self.planner.offers.macros),
        }
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await self.cards.put(subjects.orchestrator_card(self.ender.replica), json.dumps(card).encode())

    async def drain(self) -> None:
        """Take nothing more; let goals in work finish for `ack_wait` seconds, then hand them back."""
        await self.goals.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.settings.ack_wait)
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


@asynccontextmanager
async def orchestrating(
    client: Client, streams: Streams, planner: Planner, settings: OrchestratorSettings, observer: Observer, replica: str
) -> AsyncIterator[Orchestrator]:
    """Plan goals and follow them for as long as the block runs; any number of replicas share the work."""
    js = client.jetstream()
    outbox = Outbox(client, observer)
    await outbox.start()
    claims = await js.key_value(subjects.CLAIMS)
    admission = None
    if planner.model is not None and planner.settings.planner.admission == "on":
        turn = partial(claimed, claims, subjects.admission_turn(planner.model.name), replica)
        admission = Admission(planner.model, planner.offers, planner.settings, await admissions(client), observer, turn)
        planner = replace(planner, admitted=admission.passed)
    telemetry = planner.settings.telemetry
    planning = PlanningLog(observer, telemetry.capture_argument_drift)
    cards = await js.key_value(subjects.WORKERS)
    ender = Ender(client, outbox, observer, GoalRecords(await js.key_value(subjects.GOAL_RECORDS)), replica)
    try:
        async with cancellations(client) as cancelled:
            orchestrator = Orchestrator(client, planner, ender, claims, planning, settings, cards, cancelled.known, admission)
            orchestrator.goals = Intake(client, settings.goals, orchestrator.on_goal, observer)
            follower = Follower(client, outbox, observer, ender.records, orchestrator.clock)
            follower.outcomes = Intake(client, _FOLLOWED, follower.on_outcome, observer)
            parking = Parking(client, claims, ender, orchestrator.publish_tasks, cancelled.known, orchestrator.clock)
            async with (
                looked_after(orchestrator.goals, follower.outcomes, outbox),
                every(PARKED_EVERY, parking.look),
                every(telemetry.export_interval, planning.sum_up),
                every(ANNOUNCE_EVERY, orchestrator.announce, at_once=True),
                _beside(planner.warm()),
            ):
                await follower.outcomes.add(_outcomes(client, streams, settings))
                await orchestrator.goals.add(_goals(client, streams, settings))
                observer.see(
                    events.ROLE_STARTED, "orchestrating", role="orchestrator", replica=replica, macros=sorted(planner.offers.macros)
                )
                yield orchestrator
                await follower.outcomes.stop()
                await orchestrator.drain()
    finally:
        await planning.sum_up()
        observer.see(events.ROLE_STOPPED, "stopped", role="orchestrator", replica=replica)


def _goals(client: Client, streams: Streams, settings: OrchestratorSettings) -> Source:
    """Where goals come from."""

    async def make() -> None:
        await make_consumer(
            client,
            subjects.GOALS,
            subjects.ORCHESTRATOR_DURABLE,
            filter_subject=subjects.GOALS_INCOMING,
            ack_wait=settings.ack_wait,
            max_ack_pending=_REPLICAS * settings.goals,
        )

    return Source(subjects.GOALS, streams.created[subjects.GOALS], subjects.ORCHESTRATOR_DURABLE, make)


def _outcomes(client: Client, streams: Streams, settings: OrchestratorSettings) -> Source:
    """Where the outcomes of planned tasks come from."""

    async def make() -> None:
        await make_consumer(
            client,
            subjects.OUTCOMES,
            subjects.FOLLOWER_DURABLE,
            filter_subject=subjects.PLANNED_TASK_OUTCOMES,
            ack_wait=settings.ack_wait,
            max_ack_pending=_REPLICAS * _FOLLOWED,
        )

    return Source(subjects.OUTCOMES, streams.created[subjects.OUTCOMES], subjects.FOLLOWER_DURABLE, make)
