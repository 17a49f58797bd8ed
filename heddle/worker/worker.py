"""The worker: takes routed tasks, runs their macros, stores the outcome, acks last."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from heddle import deadletters, events, subjects
from heddle.broker.outcomes import OutcomesFull, stored_outcome, winner
from heddle.broker.periodic import every
from heddle.broker.relay import Delivery, Intake, Outbox, Source, looked_after, passed_on
from heddle.broker.streams import Streams, make_consumer
from heddle.deadletters import Ending, end_of_task, make_sure_of_letter
from heddle.errors import BrokerError, Code, DecodeError, DefinitionError, MacroFailure, Refused, TryAgain
from heddle.macros.loading import AnyMacro, Registry
from heddle.macros.macro import Run
from heddle.messages import TaskMessage, TaskResult, decode, format_time, parse_time
from heddle.schedules import retry_headers
from heddle.settings import Settings
from heddle.splice import with_attempt, with_task_id
from heddle.telemetry.observer import Observer
from heddle.worker.executor import Tools, execute, tools_of
from heddle.worker.lanes import Lanes

UNTIL_RULES_ARE_KNOWN: Final = ("local", "standard")
FRONTIER: Final = "frontier"
ANNOUNCE_EVERY: Final = 3.0
FULL_DELAY: Final = 1.0
MAX_OUTPUT: Final = 900 * 1024
"""Bytes an output may have: it has to fit into one message with its envelope."""
_REPLICAS: Final = 16


@dataclass(frozen=True, slots=True)
class Finished:
    """An outcome on its way to the store, and the delivery to ack when it is there."""

    delivery: Delivery
    subject: str
    worker_type: str
    tier: str


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process at work; made by `working`.

    Attributes:
        held: deliveries taken and not yet acked, by durable and sequence.
    """

    client: Client
    registry: Registry
    tools: Tools
    observer: Observer
    replica: str
    outbox: Outbox
    clock: Callable[[], float] = time.time
    intake: Intake = field(init=False)
    held: dict[tuple[str, int], Delivery] = field(default_factory=dict)
    _known: set[tuple[str, int]] = field(default_factory=set)
    _asking: set[asyncio.Task[None]] = field(default_factory=set)

    async def work(self, delivery: Delivery) -> None:
        """One task, from its bytes to its outcome."""
        taken = self.clock()
        try:
            await self._work(delivery, taken)
        except OutcomesFull as full:
            self.observer.see(events.BROKER_TROUBLE, "no room for outcomes; waiting", role="worker", error=str(full))
            await self._let_go(delivery, FULL_DELAY)
        except BrokerError as error:
            self.observer.see(events.BROKER_TROUBLE, "cannot store an outcome yet; the task comes again", role="worker", error=str(error))
            await self._let_go(delivery, FULL_DELAY)
        except Exception as error:  # noqa: BLE001  # whatever it is, the worker serves on and the task is not lost
            self.observer.see(events.UNEXPECTED, "could not work on a task; it comes again", role="worker", error=repr(error))
            await self._let_go(delivery, FULL_DELAY)

    async def _work(self, delivery: Delivery, taken: float) -> None:
        try:
            task = decode(TaskMessage, delivery.body)
        except DecodeError as error:
            await self._end(delivery, self._unreadable(delivery, str(error)))
            return
        task_id = task.task_id or subjects.source_letter(*delivery.origin)
        subject = subjects.task_outcome(task_id, task.parent_task_id, task.generation)
        if (delivery.delivered > 1 or task.attempt > 1) and await self._ended_before(delivery, task, subject):
            return
        started = self.clock()
        try:
            output = await self._run(task, task_id, started)
        except MacroFailure as failure:
            hops = _hops(delivery, taken, started, self.clock())
            await self._end(delivery, self._ending(task, task_id, failure, hops))
            return
        except TryAgain as again:
            await self._retry(delivery, task, task_id, again)
            return
        done = self.clock()
        body = completed_result(task, task_id, output, started, done, _hops(delivery, taken, started, done))
        finished = Finished(delivery, subject, task.worker_type, task.model_tier)
        await self.outbox.send(subject, body, self._stored, finished)

    async def _retry(self, delivery: Delivery, task: TaskMessage, task_id: str, again: TryAgain) -> None:
        """Write the next attempt into the broker, then ack this one: same tier, no second token."""
        body = with_attempt(with_task_id(delivery.body, task, task_id), task, task.attempt + 1)
        fires_at = self.clock() + again.delay
        headers = passed_on(delivery.headers or {}) | retry_headers(subjects.due(task.model_tier, task.priority), fires_at, task.model_tier)
        headers["Nats-Msg-Id"] = delivery.message_id("retry")
        place = subjects.deferred(task.model_tier, task.priority, subjects.source_letter(*delivery.origin))
        await self.outbox.publish(place, body, headers)
        self.observer.see(
            events.TASKS_RETRIED,
            "a task is tried again",
            worker_type=task.worker_type,
            task_id=task_id,
            delay=again.delay,
            error=str(again),
        )
        await self._ack(delivery)

    async def _ended_before(self, delivery: Delivery, task: TaskMessage, subject: str) -> bool:
        """On any delivery but the first, look whether the task has its outcome already, and make sure of what it implies."""
        self.observer.count(events.TASKS_REDELIVERED, task.worker_type)
        stands = await stored_outcome(self.client, subject)
        if stands is None:
            return False
        await make_sure_of_letter(self.outbox, self.observer, decode(TaskResult, stands), delivery.body)
        await self._ack(delivery)
        return True

    async def _run(self, task: TaskMessage, task_id: str, now: float) -> bytes:
        if task.expires_at is not None and parse_time(task.expires_at).timestamp() <= now:
            raise MacroFailure(Code.EXPIRED, f"expires_at {task.expires_at} had passed before a worker could start the task")
        macro = self.registry.find(task.worker_type, task.macro_version)
        if macro is None:
            versions = ", ".join(map(str, sorted(self.registry.macros.get(task.worker_type, ())))) or "no version of it"
            raise MacroFailure(
                Code.UNKNOWN_VERSION, f"{task.worker_type} version {task.macro_version} is asked for; this worker has {versions}"
            )
        request = macro.read(task.payload)
        run = Run(task_id, task.attempt, now + macro.timeout, lambda text: self._report(macro, task_id, text))
        output = await execute(macro, request, self.tools, run, on_bug=lambda error: self._bug(macro, task_id, error))
        if len(output) > MAX_OUTPUT:
            raise MacroFailure(
                Code.HANDLER_FAILED, f"the output has {len(output)} bytes; at most {MAX_OUTPUT} fit: return a reference to it"
            )
        return output

    async def _stored(self, finished: Finished, refused: Refused | None) -> None:
        if refused is None:
            self.observer.count(events.TASKS_COMPLETED, finished.worker_type, finished.tier)
            await self._ack(finished.delivery)
        else:
            task = asyncio.create_task(self._refused(finished, refused))  # to find out why takes a request: beside the hot path
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _refused(self, finished: Finished, refused: Refused) -> None:
        try:
            stands = await winner(self.client, finished.subject, refused)
            self.observer.count(events.OUTCOMES_ALREADY_STORED, "worker")
            await make_sure_of_letter(self.outbox, self.observer, decode(TaskResult, stands), finished.delivery.body)
            await self._ack(finished.delivery)
        except BrokerError as error:
            self.observer.see(events.BROKER_TROUBLE, "an outcome was refused; the task comes again", role="worker", error=str(error))
            await self._let_go(finished.delivery, FULL_DELAY)

    async def _end(self, delivery: Delivery, ending: Ending) -> None:
        await deadletters.end(self.client, self.outbox, self.observer, ending, delivery.body)
        self.observer.count(events.TASKS_FAILED, ending.worker_type or subjects.NO_TOKEN, ending.code.value)
        await self._ack(delivery)

    def _ending(self, task: TaskMessage, task_id: str, failure: MacroFailure, hops: dict[str, int]) -> Ending:
        by, extra = f"worker/{self.replica}", {"tier": task.model_tier, "hops": hops}
        return end_of_task(task, task_id, failure.code, str(failure), at=self.clock(), by=by, tier=task.model_tier, extra=extra)

    def _unreadable(self, delivery: Delivery, detail: str) -> Ending:
        return deadletters.end_of_unreadable(
            delivery.body,
            detail,
            source=delivery.origin,
            at=self.clock(),
            by=f"worker/{self.replica}",
            rules=None,
            goal=False,
        )

    def _report(self, macro: AnyMacro, task_id: str, text: str) -> None:
        self.observer.see(events.PROGRESS, text, worker_type=macro.name, task_id=task_id)

    def _bug(self, macro: AnyMacro, task_id: str, error: BaseException) -> None:
        self.observer.see(
            events.HANDLER_BUG,
            "a handler raised an error that its macro does not declare",
            worker_type=macro.name,
            task_id=task_id,
            error=repr(error),
        )

    async def _ack(self, delivery: Delivery) -> None:
        if self.held.pop((delivery.source.durable, delivery.sequence), None) is not None:
            await self.intake.ack(delivery)

    async def _let_go(self, delivery: Delivery, delay: float) -> None:
        if self.held.pop((delivery.source.durable, delivery.sequence), None) is not None:
            await self.intake.hand_back(delivery, delay)

    async def heartbeat(self) -> None:
        """Tell the server of everything held since the last round that it is being worked on."""
        for key in self._known & self.held.keys():
            if (delivery := self.held.get(key)) is not None:
                await self.intake.heartbeat(delivery)
        self._known = set(self.held)


def _hops(delivery: Delivery, taken: float, started: float, done: float) -> dict[str, int]:
    """When the task was routed (stored in HEDDLE_TASKS), taken, started and done; milliseconds since the epoch."""
    return {"routed": int(delivery.stored * 1000), "waited": int(taken * 1000), "started": int(started * 1000), "done": int(done * 1000)}


def completed_result(task: TaskMessage, task_id: str, output: bytes, started: float, done: float, hops: dict[str, int]) -> bytes:
    """A completed TaskResult around an output that is JSON already; written by hand because it happens per task."""
    parent = b'"parent_task_id":%b,' % json.dumps(task.parent_task_id).encode() if task.parent_task_id else b""
    return (
        b'{"task_id":%b,"worker_type":"%b","status":"completed",%b"output":%b,"processing_time_ms":%.3f,"completed_at":"%b",'
        b'"metadata":{"tier":"%b","hops":{"routed":%d,"waited":%d,"started":%d,"done":%d}}}'
    ) % (
        json.dumps(task_id).encode(),
        task.worker_type.encode(),
        parent,
        output,
        (done - started) * 1000,
        format_time(done).encode(),
        task.model_tier.encode(),
        hops["routed"],
        hops["waited"],
        hops["started"],
        hops["done"],
    )


def served_types(registry: Registry, types: Sequence[str] | None) -> list[str]:
    """The worker types to serve: those asked for, or all there are.

    Raises:
        DefinitionError: there is no macro for one that was asked for, or there is none at all.
    """
    names = sorted(registry.macros)
    if missing := sorted(set(types or ()) - set(names)):
        raise DefinitionError(f"no macro is called {', '.join(missing)}; there are {', '.join(names) or 'none'}")
    if not names:
        raise DefinitionError("there is no macro to serve: write one with @macro, or begin with `heddle init`")
    return names if types is None else [name for name in names if name in types]


@asynccontextmanager
async def working(
    client: Client,
    streams: Streams,
    registry: Registry,
    settings: Settings,
    observer: Observer,
    replica: str,
    *,
    types: Sequence[str] | None = None,
    tiers: Sequence[str] | None = None,
) -> AsyncIterator[Worker]:
    """Serve tasks for as long as the block runs.

    Args:
        client: the connection.
        streams: when they were created.
        registry: the macros.
        settings: all settings; tools may ask for them.
        observer: is told what happens.
        replica: this process's name.
        types: the worker types to serve; all macros' if None.
        tiers: the tiers to serve; every declared one but frontier if None.
    """
    names = served_types(registry, types)
    macros = [macro for name in names for macro in registry.macros[name].values()]
    outbox = Outbox(client, observer)
    await outbox.start()
    async with tools_of(registry, settings, macros) as tools:
        worker = Worker(client, registry, tools, observer, replica, outbox)
        lanes: Lanes[Delivery] = Lanes(settings.worker.slots, worker.work)

        def on_delivery(delivery: Delivery) -> None:
            worker.held[delivery.source.durable, delivery.sequence] = delivery
            lanes.put(delivery)

        worker.intake = Intake(client, settings.worker.slots, on_delivery, observer)
        served = _Served(client, streams.created[subjects.TASKS], worker.intake, names, tiers, settings)
        await served.refresh()
        observer.see(events.ROLE_STARTED, "working", role="worker", replica=replica, types=names, tiers=sorted(served.tiers))
        bucket = await client.jetstream().key_value(subjects.WORKERS)

        async def announce() -> None:
            with contextlib.suppress(nats.errors.Error, BrokerError, TimeoutError):
                await served.refresh()
                await bucket.put(replica, served.card(registry, replica))

        try:
            async with (
                looked_after(worker.intake, outbox),
                every(settings.worker.ack_wait / 3, worker.heartbeat),
                every(ANNOUNCE_EVERY, announce, at_once=True),
            ):
                yield worker
                await worker.intake.stop()
                await worker.intake.quiet(settings.worker.grace)
        finally:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                await bucket.delete(replica)
            await lanes.stop()
            for delivery in list(worker.held.values()):
                await worker.intake.hand_back(delivery, 0)
            observer.see(events.ROLE_STOPPED, "stopped", role="worker", replica=replica)


@dataclass(slots=True, eq=False)
class _Served:
    """Which tiers a worker serves: it follows the rules as the router publishes them."""

    client: Client
    created: int
    intake: Intake
    types: Sequence[str]
    asked: Sequence[str] | None
    settings: Settings
    tiers: set[str] = field(default_factory=set)

    async def refresh(self) -> None:
        """Make the durables of tiers that came since; a tier that went keeps its queue, which may still hold tasks."""
        for tier in [tier for tier in await self._wanted() if tier not in self.tiers]:
            for worker_type in self.types:
                await self.intake.add(self._source(worker_type, tier))
            self.tiers.add(tier)

    async def _wanted(self) -> Sequence[str]:
        if self.asked is not None:
            return self.asked
        meta = await self.client.jetstream().key_value(subjects.META)
        try:
            declared = ((await meta.get(subjects.TIERS_KEY)).value or b"").decode().split()
        except nats.js.errors.KeyNotFoundError:
            return UNTIL_RULES_ARE_KNOWN
        return [tier for tier in declared if tier != FRONTIER]

    def card(self, registry: Registry, replica: str) -> bytes:
        """Who serves what, as the worker says it every few seconds; the bucket forgets who falls silent."""
        types = {name: sorted(registry.macros[name]) for name in self.types}
        return json.dumps({"replica": replica, "types": types, "tiers": sorted(self.tiers)}).encode()

    def _source(self, worker_type: str, tier: str) -> Source:
        durable = subjects.worker_durable(worker_type, tier)

        async def make() -> None:
            await make_consumer(
                self.client,
                subjects.TASKS,
                durable,
                filter_subject=subjects.routed(worker_type, tier),
                ack_wait=self.settings.worker.ack_wait,
                max_ack_pending=_REPLICAS * self.settings.worker.slots,
            )

        return Source(subjects.TASKS, self.created, durable, make)
