"""The router: takes incoming tasks, decides, carries the decision out, acks last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client

from heddle import deadletters, events, subjects
from heddle.broker.outcomes import OutcomesFull
from heddle.broker.relay import Delivery, Headers, Intake, Outbox, Source, looked_after
from heddle.broker.streams import Streams, make_consumer
from heddle.deadletters import Ending
from heddle.errors import BrokerError, Code, DecodeError, Refused
from heddle.messages import TaskMessage, decode
from heddle.router.buckets import Bucket
from heddle.router.decide import Decision, Dispatch, Refuse, Wait, decide
from heddle.router.rules import Rules
from heddle.router.splice import routed_body
from heddle.settings import RouterSettings
from heddle.telemetry.observer import Observer

FULL_DELAY = 1.0
"""Seconds until a message that the store refused is tried again."""
_REPLICAS = 16


@dataclass(slots=True, eq=False)
class Router:
    """One replica at work; made by `routing`."""

    client: Client
    streams: Streams
    rules: Rules
    observer: Observer
    replica: str
    intake: Intake
    outbox: Outbox
    clock: Callable[[], float] = time.time
    buckets: dict[str, Bucket] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def on_task(self, delivery: Delivery) -> None:
        """One task: decode, decide, publish on; the ack follows the PubAck."""
        try:
            task = decode(TaskMessage, delivery.body)
        except DecodeError as error:
            self._spawn(delivery, self._end(delivery, self._unreadable(delivery, str(error))))
            return
        now = self.clock()
        decision = decide(task, self.rules, self.buckets, now, size=len(delivery.body))
        match decision:
            case Dispatch(tier=tier, bucket=bucket):
                if bucket is not None:
                    self.buckets[tier] = bucket
                await self._dispatch(delivery, task, tier)
            case Wait() | Refuse():
                self._spawn(delivery, self._end(delivery, self._ending(delivery, task, decision, now)))

    async def _dispatch(self, delivery: Delivery, task: TaskMessage, tier: str) -> None:
        body = routed_body(delivery.body, task, self._task_id(delivery, task), tier)
        headers: Headers = {"Nats-Msg-Id": self._message_id(delivery, "route")}
        if delivery.headers:
            headers |= {key: value for key, value in delivery.headers.items() if not key.lower().startswith("nats-")}
        self.observer.count(events.TASKS_ROUTED, task.worker_type, tier)
        await self.outbox.send(subjects.routed(task.worker_type, tier), body, self._dispatched, delivery, headers)

    async def _dispatched(self, delivery: Delivery, refused: Refused | None) -> None:
        if refused is None:
            await self.intake.ack(delivery)
        else:
            self._spawn(delivery, self._backlog_full(delivery, refused))

    async def _backlog_full(self, delivery: Delivery, refused: Refused) -> None:
        """The queue of the type and tier is at its cap: try again later, within the tier's `max_wait`."""
        task = decode(TaskMessage, delivery.body)
        now = self.clock()
        decision = decide(task, self.rules, {}, now, size=len(delivery.body))
        tier = self.rules.tiers[decision.tier] if isinstance(decision, Dispatch) else None
        if tier is not None and now - delivery.stored < tier.max_wait:
            await self.intake.hand_back(delivery, FULL_DELAY)
            return
        refusal = Refuse(Code.BACKLOG_FULL, str(refused), tier.name if tier else None)
        await self._end(delivery, self._ending(delivery, task, refusal, now))

    async def _end(self, delivery: Delivery, ending: Ending) -> None:
        try:
            await deadletters.end(self.client, self.outbox, self.observer, ending, delivery.body)
        except OutcomesFull as full:
            self.observer.see(events.BROKER_TROUBLE, "no room for outcomes; waiting", role="router", error=str(full))
            await self.intake.hand_back(delivery, FULL_DELAY)
        except BrokerError as error:
            self.observer.see(events.BROKER_TROUBLE, "cannot end a task yet; it comes again", role="router", error=str(error))
            await self.intake.release()
        else:
            self.observer.count(events.TASKS_ENDED_BY_ROUTER, ending.code.value)
            await self.intake.ack(delivery)

    def _ending(self, delivery: Delivery, task: TaskMessage, decision: Decision, now: float) -> Ending:
        match decision:
            case Refuse(code=code, detail=detail, tier=tier):
                pass
            case Wait(tier=tier, ready_at=at):
                code, detail = Code.RATE_LIMITED, f"no token in tier {tier!r}; the next is due in {at - now:.2f} s"
            case Dispatch(tier=tier):
                raise AssertionError(f"a task dispatched to {tier!r} does not end here")
        task_id = self._task_id(delivery, task)
        return Ending(
            code=code,
            detail=detail,
            letter_id=subjects.task_letter(task_id, task.generation),
            subject=subjects.task_outcome(task_id, task.parent_task_id, task.generation),
            at=now,
            by=f"router/{self.replica}",
            task_id=task_id,
            worker_type=task.worker_type,
            parent_task_id=task.parent_task_id,
            generation=task.generation,
            attempt=task.attempt,
            tier=tier or task.model_tier,
            rules=self.rules.digest,
        )

    def _unreadable(self, delivery: Delivery, detail: str) -> Ending:
        return deadletters.end_of_unreadable(
            delivery.body,
            detail,
            source=(delivery.stream, self.streams.created[delivery.stream], delivery.sequence),
            at=self.clock(),
            by=f"router/{self.replica}",
            rules=self.rules.digest,
            goal=False,
        )

    def _task_id(self, delivery: Delivery, task: TaskMessage) -> str:
        if task.task_id is not None:
            return task.task_id
        return subjects.source_letter(delivery.stream, self.streams.created[delivery.stream], delivery.sequence)

    def _message_id(self, delivery: Delivery, kind: str) -> str:
        return subjects.message_id(delivery.stream, self.streams.created[delivery.stream], delivery.sequence, kind)

    def _spawn(self, delivery: Delivery, work: Coroutine[Any, Any, None]) -> None:
        """Run what takes several steps beside the hot path; an error of ours leaves the message to be delivered again."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001  # whatever it is, the router stays up and the message is not lost
                self.observer.see(events.UNEXPECTED, "could not end a task; it comes again", role="router", error=repr(error))
                await self.intake.release()

        task = asyncio.create_task(guarded(), name=f"end-{delivery.sequence}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def use(self, rules: Rules) -> None:
        """Take other rules into use, from the next task on; a bucket keeps its level where the tier's numbers are the same."""
        before = self.rules.tiers
        self.buckets = {
            name: bucket
            for name, bucket in self.buckets.items()
            if name in rules.tiers and (rules.tiers[name].rate, rules.tiers[name].burst) == (before[name].rate, before[name].burst)
        }
        self.rules = rules
        self.observer.see(events.RULES_LOADED, "rules are in force", digest=rules.digest)

    async def drain(self, grace: float) -> None:
        """Take nothing more, and wait until what was taken is acked, for `grace` seconds at most."""
        await self.intake.stop()
        await self.intake.quiet(grace)
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def routing(
    client: Client, streams: Streams, rules: Rules, settings: RouterSettings, observer: Observer, replica: str
) -> AsyncIterator[Router]:
    """Route tasks for as long as the block runs; any number of replicas share the work."""
    outbox = Outbox(client, observer)
    await outbox.start()

    async def on_delivery(delivery: Delivery) -> None:
        await router.on_task(delivery)

    intake = Intake(client, settings.window, on_delivery, observer)
    router = Router(client, streams, rules, observer, replica, intake, outbox)

    async def make() -> None:
        await make_consumer(
            client,
            subjects.INCOMING,
            subjects.ROUTER_DURABLE,
            filter_subject=subjects.TASKS_INCOMING,
            ack_wait=settings.ack_wait,
            max_ack_pending=_REPLICAS * settings.window,
        )

    await publish_tiers(client, rules)
    await intake.add(Source(subjects.INCOMING, subjects.ROUTER_DURABLE, make))
    observer.see(events.ROLE_STARTED, "routing", role="router", replica=replica, rules=rules.digest)
    try:
        async with looked_after(intake, outbox):
            yield router
            await router.drain(settings.ack_wait)
    finally:
        observer.see(events.ROLE_STOPPED, "stopped", role="router", replica=replica)


async def publish_tiers(client: Client, rules: Rules) -> None:
    """Tell the workers which tiers there are, so that they make their durables."""
    meta = await client.jetstream().key_value(subjects.META)
    await meta.put(subjects.TIERS_KEY, " ".join(rules.tiers).encode())
