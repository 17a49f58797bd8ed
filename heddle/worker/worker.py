"""The worker: takes routed tasks, runs their macros, stores the outcome, acks last."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client

from heddle import deadletters, events, subjects
from heddle.broker.announcements import announcements
from heddle.broker.cancellations import Cancellations, who_cancelled
from heddle.broker.intake import Delivery, Intake, passed_on
from heddle.broker.outbox import Outbox
from heddle.broker.outcomes import OutcomesFull, stored_outcome, winner
from heddle.deadletters import Ending, end_of_task, make_sure_of_letter
from heddle.envelope import Work, decode_work
from heddle.errors import BrokerError, Code, DecodeError, FallBack, MacroFailure, Refused, TryAgain
from heddle.macros.failures import Again, HandOver, declared_as, jitter_of, judge
from heddle.macros.loading import AnyMacro, Registry
from heddle.macros.macro import Run
from heddle.messages import TaskMessage, TaskResult, decode, parse_time, sendable
from heddle.schedules import retry_headers
from heddle.settings import WorkerSettings
from heddle.splice import with_attempt, with_task_id
from heddle.telemetry.observer import Observer
from heddle.worker.alone import Died
from heddle.worker.breakers import Breakers
from heddle.worker.crashes import Crashes
from heddle.worker.executor import Called, Tools, execute
from heddle.worker.lanes import Lanes
from heddle.worker.novel import fell_back, novel_task
from heddle.worker.results import Hops, completed_result, progress_result
from heddle.worker.versions import HandedBack, Versions

FULL_DELAY: Final = 1.0
MAX_OUTPUT: Final = 900 * 1024
"""Bytes an output may have: it has to fit into one message with its envelope."""
ALONE_FROM: Final = 3
"""From this delivery on a task runs alone: whoever had it before was taken down, by it or by a neighbour."""
OVERDUE: Final = 1.0
"""Seconds past its deadline that a handler has to heed its cancellation."""


class Hand:
    """What is known of a delivery that is held.

    Attributes:
        until: when its handler is to be done, seconds since the epoch.
        lane: the asyncio Task that runs it; None while it waits its turn.
        task, task_id, macro: once they are known.
        used: the model that a frontier macro used, and what it took.
        cancelled: who cancelled it while it ran; None if nobody did.
    """

    __slots__ = ("_worker", "cancelled", "lane", "macro", "task", "task_id", "until", "used")

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.until = float("inf")
        self.lane: asyncio.Task[None] | None = None
        self.task: Work | None = None
        self.task_id = ""
        self.macro: AnyMacro | None = None
        self.cancelled: str | None = None
        self.used: tuple[str, Mapping[str, Any]] | None = None

    def report(self, text: str) -> None:
        """How far the handler is."""
        if self.task is not None:
            self._worker.report(self.task, self.task_id, text)

    def uses(self, model: str, usage: Mapping[str, Any]) -> None:
        """The handler used a model.

        Raises:
            TypeError, UnicodeError: that cannot be written as JSON; here it is the handler's to see.
        """
        msgspec.json.encode((model, dict(usage)))
        self.used = (model, usage)

    def bug(self, error: BaseException | str) -> None:
        """An error that the macro does not declare; or its traceback, from another process."""
        if self.macro is not None:
            told = {"worker_type": self.macro.name, "task_id": self.task_id, "error": error if isinstance(error, str) else repr(error)}
            self._worker.observer.see(events.HANDLER_BUG, "a handler raised an error that its macro does not declare", **told)

    def called(self, called: Called) -> None:
        """A call of another macro that has ended."""
        told = {"worker_type": called.macro, "parent": called.parent, "task_id": called.task_id, "error": called.error}
        self._worker.observer.see(events.MACRO_CALLED, "a macro called another", **told, seconds=round(called.seconds, 4))


class Finished(Struct, frozen=True):
    """An outcome on its way to the store, and the delivery to ack when it is there."""

    delivery: Delivery
    subject: str
    worker_type: str
    tier: str


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process at work; made by `serving.working`.

    Attributes:
        falls_back: have the rules a worker type `novel`? It follows them as the router publishes them.
        held: deliveries taken and not yet acked.
    """

    client: Client
    registry: Registry
    tools: Tools
    settings: WorkerSettings
    observer: Observer
    replica: str
    outbox: Outbox
    versions: Versions
    crashes: Crashes
    clock: Callable[[], float] = time.time
    falls_back: bool = False
    intake: Intake = field(init=False)
    lanes: Lanes[Delivery] = field(init=False)
    cancellations: Cancellations = field(init=False)
    held: dict[Delivery, Hand] = field(default_factory=dict)
    breakers: Breakers = field(init=False)
    _known: set[Delivery] = field(default_factory=set)
    _aside: set[asyncio.Task[None]] = field(default_factory=set)
    _told_deprecated: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.breakers = Breakers(self.observer)

    async def work(self, delivery: Delivery) -> None:
        """One task, from its bytes to its outcome; for a lane."""
        hand = self.held.get(delivery)
        if hand is None:  # it was let go while it waited its turn
            return
        try:
            going = await self._outcome(delivery, hand)
            if going is not None:
                await going
        except Exception as error:  # noqa: BLE001  # whatever it is, the worker serves on and the task is not lost
            await self._not_now(delivery, error)
        except asyncio.CancelledError:
            if self.lanes.stopped:
                raise
            if hand.cancelled is not None:
                await self._guarded(delivery, self._end_cancelled(delivery, hand))
            else:  # it may be one that was here before: nobody is blamed but in a process of its own
                await self._not_now(delivery, RuntimeError("a handler cancelled the asyncio Task that it runs in"))

    async def _guarded(self, delivery: Delivery, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # as above
            await self._not_now(delivery, error)

    async def _not_now(self, delivery: Delivery, error: Exception) -> None:
        """Something other than the task went wrong: it comes again."""
        match error:
            case OutcomesFull():
                self.observer.see(events.BROKER_TROUBLE, "no room for outcomes; waiting", role="worker", error=str(error))
            case BrokerError():
                self.observer.see(events.BROKER_TROUBLE, "cannot end a task yet; it comes again", role="worker", error=str(error))
            case _:
                self.observer.see(events.UNEXPECTED, "could not work on a task; it comes again", role="worker", error=repr(error))
        await self._let_go(delivery, FULL_DELAY)

    async def _outcome(self, delivery: Delivery, hand: Hand) -> Awaitable[None] | None:
        """Run a task and see to what follows; the publish of a completed outcome comes back, to be awaited."""
        taken = self.clock()
        try:
            task = decode_work(delivery.body)
        except DecodeError as error:
            await self._end(delivery, self._unreadable(delivery, str(error)))
            return None
        task_id = task.task_id or subjects.source_letter(*delivery.origin)
        delivered, stored = delivery.told()
        subject = subjects.task_outcome(task_id, task.parent_task_id, task.generation)
        hand.task, hand.task_id = task, task_id
        if (delivered > 1 or task.attempt > 1) and await self._ended_before(delivery, task, subject):
            return None
        hops = Hops(stored, taken, self.clock())
        try:
            try:
                macro, output = await self._run(delivery, hand, task, hops.started, delivered)
            finally:  # the lane goes on to other tasks while the outcome of this one is on its way
                hand.lane, hand.until = None, float("inf")
        except HandedBack as back:
            await self._hand_back(delivery, task, task_id, back)
            return None
        except (MacroFailure, TryAgain, FallBack) as verdict:
            if hand.cancelled is not None:
                await self._end_cancelled(delivery, hand)
            else:
                await self._failed(delivery, hand, verdict, hops)
            return None
        if delivery not in self.held:  # it was overdue, and has ended without us
            return None
        if hand.cancelled is not None:
            await self._end_cancelled(delivery, hand)
            return None
        if macro.deprecated:
            self._deprecated(macro)
        body = completed_result(task, task_id, macro, output, hops, self.clock(), hand.used)
        return self.outbox.send(subject, body, self._stored, Finished(delivery, subject, task.worker_type, task.model_tier))

    async def _run(self, delivery: Delivery, hand: Hand, task: Work, now: float, delivered: int) -> tuple[AnyMacro, bytes]:
        if task.expires_at is not None and parse_time(task.expires_at).timestamp() <= now:
            raise MacroFailure(Code.EXPIRED, f"expires_at {task.expires_at} had passed before a worker could start the task")
        known = self.cancellations.known
        if known and (by := who_cancelled(known, hand.task_id, task.parent_task_id, task.generation)) is not None:
            raise MacroFailure(Code.CANCELLED, f"{by} cancelled it before a worker started it")
        request = None
        try:
            if delivered >= ALONE_FROM and self.registry.sources:  # reading its input may be what takes the process down
                macro = self.versions.route(task, now).macro
            else:
                macro, request = self.versions.read(task, now)
        except MacroFailure:
            await self._leave_to_newer(task, now)
            raise
        hand.macro = macro
        self.breakers.let_through(macro, task.attempt, now)
        hand.lane, until = asyncio.current_task(), now + macro.timeout
        if request is None:
            output = await self._alone(delivery, hand, task, macro)
        else:
            if macro.pool is None:  # elsewhere it may have to wait for its turn, and can be stopped
                hand.until = until
            run = Run(hand.task_id, task.attempt, until, hand.report, hand.uses, task.parent_task_id)
            output = await execute(macro, request, self.tools, run, on_bug=hand.bug, on_call=hand.called)
        if len(output) > MAX_OUTPUT:
            raise MacroFailure(
                Code.HANDLER_FAILED, f"the output has {len(output)} bytes; at most {MAX_OUTPUT} fit: return a reference to it"
            )
        self.breakers.succeeded(macro, now)
        return macro, output

    async def _alone(self, delivery: Delivery, hand: Hand, task: Work, macro: AnyMacro) -> bytes:
        """Run a task in a process of its own; only a death there is the task's own fault."""
        task_id = hand.task_id
        self.observer.see(events.TASKS_ALONE, "a task runs alone", worker_type=macro.name, task_id=task_id, delivery=delivery.delivered)
        try:
            return await self.crashes.run(
                task,
                task_id,
                macro,
                self.settings.ack_wait,
                report=hand.report,
                used=hand.uses,
                on_bug=hand.bug,
            )
        except MacroFailure as failure:
            if failure.code is Code.INVALID_PAYLOAD:
                await self._leave_to_newer(task, self.clock())
            raise
        except Died as death:
            self.observer.see(events.TASKS_DIED, "a task took its process down", worker_type=macro.name, task_id=task_id, how=str(death))
            if (deaths := await self.crashes.count(task_id, task.generation)) >= self.crashes.MOST:
                raise MacroFailure(Code.CRASHED, f"{death} (the {deaths}th time that it ran alone)".replace("3th", "3rd")) from None
            raise BrokerError(f"{task_id}: {death}; it is tried again ({deaths} of {self.crashes.MOST})") from None

    async def _leave_to_newer(self, task: Work, now: float) -> None:
        """See whether a task that cannot be read here may be for another worker.

        Raises:
            HandedBack: it may be.
        """
        if task.macro_version is None:
            await self.look_around()
        self.versions.leave_to_newer(task, now)

    async def look_around(self) -> None:
        """Read what the other workers announce."""
        with contextlib.suppress(BrokerError):
            self.versions.notice(await announcements(self.client), self.clock(), lambda key: key == self.replica)

    # --- what follows when a task did not complete

    async def _failed(self, delivery: Delivery, hand: Hand, verdict: MacroFailure | TryAgain | FallBack, hops: Hops) -> None:
        task, macro = hand.task, hand.macro
        assert task is not None  # noqa: S101  # for the type checker: it was read before anything could fail
        if delivery not in self.held:  # it was overdue, and has ended without us
            return
        if macro is not None:
            self.breakers.failed(macro, verdict, self.clock())
        match verdict:
            case TryAgain(delay=delay):
                await self._retry(delivery, task, hand.task_id, delay, str(verdict))
            case FallBack() if macro is not None:
                await self._fall_back(delivery, hand, macro, str(verdict), hops)
            case MacroFailure(code=code):
                trace = _trace(verdict.__cause__, macro) if code is Code.HANDLER_FAILED else None
                await self._end(delivery, self._ending(hand, code, str(verdict), hops), trace)

    async def _retry(self, delivery: Delivery, task: Work, task_id: str, delay: float, error: str) -> None:
        """Write the next attempt into the broker, then ack this one: same tier, no second token."""
        body = with_attempt(with_task_id(delivery.body, task, task_id), task.attempt + 1)
        await self._later(delivery, task, body, delay, "retry")
        told = {"worker_type": task.worker_type, "task_id": task_id, "delay": round(delay, 3), "error": error}
        self.observer.see(events.TASKS_RETRIED, "a task is tried again", **told)

    async def _hand_back(self, delivery: Delivery, task: Work, task_id: str, back: HandedBack) -> None:
        """Let a worker that knows the version have it: a wait, and no attempt."""
        told = {"worker_type": task.worker_type, "task_id": task_id, "reason": str(back)}
        self.observer.see(events.TASKS_HANDED_BACK, "a task is left to another worker", **told)
        await self._later(delivery, task, with_task_id(delivery.body, task, task_id), back.delay, "back")

    async def _later(self, delivery: Delivery, task: Work, body: bytes, delay: float, kind: str) -> None:
        """A place in the broker from which the task comes back to this tier, without a second token; then the ack."""
        due = subjects.due(task.model_tier, task.priority)
        headers = passed_on(delivery.headers or {}) | retry_headers(due, self.clock() + delay, task.model_tier)
        headers["Nats-Msg-Id"] = delivery.message_id(kind)
        place = subjects.deferred(task.model_tier, task.priority, subjects.source_letter(*delivery.origin))
        await self.outbox.publish(place, body, headers)
        await self._ack(delivery)

    async def _fall_back(self, delivery: Delivery, hand: Hand, macro: AnyMacro, reason: str, hops: Hops) -> None:
        """Publish the task as `novel` for the frontier tier, through the router, then ack; or end it, where that cannot be."""
        task = decode(TaskMessage, delivery.body)
        if fell_back(task) or not self.falls_back:
            why = "it fell back before" if fell_back(task) else f"the rules have no worker type {subjects.NOVEL!r} to fall back on"
            await self._end(delivery, self._ending(hand, Code.HANDLER_FAILED, f"{reason}; {why}", hops))
            return
        novel = novel_task(task, hand.task_id, macro, reason, self.clock())
        headers = passed_on(delivery.headers or {}) | {"Nats-Msg-Id": delivery.message_id("fallback")}
        await self.outbox.publish(subjects.TASKS_INCOMING, novel.encode(), headers)
        told = {"worker_type": macro.name, "task_id": hand.task_id, "reason": reason}
        self.observer.see(events.TASKS_FELL_BACK, "a task goes on at the frontier tier", **told)
        await self._ack(delivery)

    async def _end_cancelled(self, delivery: Delivery, hand: Hand) -> None:
        now = self.clock()
        told = f"{hand.cancelled} cancelled it while it ran"
        await self._end(delivery, self._ending(hand, Code.CANCELLED, told, Hops(delivery.stored, now, now)))

    async def _end(self, delivery: Delivery, ending: Ending, trace: str | None = None) -> None:
        await deadletters.end(self.client, self.outbox, self.observer, ending, delivery.body, delivery.headers, trace)
        self.observer.count(events.TASKS_FAILED, ending.worker_type or subjects.NO_TOKEN, ending.code.value)
        await self._ack(delivery)

    def _ending(self, hand: Hand, code: Code, detail: str, hops: Hops) -> Ending:
        assert hand.task is not None  # noqa: S101  # for the type checker
        by, now, tier = f"worker/{self.replica}", self.clock(), hand.task.model_tier
        extra = {"tier": tier, "hops": hops.until(now)}
        return end_of_task(hand.task, hand.task_id, code, detail, at=now, by=by, tier=tier, extra=extra)

    def _unreadable(self, delivery: Delivery, detail: str) -> Ending:
        by = f"worker/{self.replica}"
        return deadletters.end_of_unreadable(delivery.body, detail, source=delivery.origin, at=self.clock(), by=by, rules=None, goal=False)

    # --- outcomes

    async def _ended_before(self, delivery: Delivery, task: Work, subject: str) -> bool:
        """On any delivery but the first, look whether the task has its outcome already, and make sure of what it implies."""
        self.observer.count(events.TASKS_REDELIVERED, task.worker_type)
        stands = await stored_outcome(self.client, subject)
        if stands is None:
            return False
        await make_sure_of_letter(self.outbox, self.observer, decode(TaskResult, stands), delivery.body)
        await self._ack(delivery)
        return True

    def _stored(self, finished: Finished, refused: Refused | None) -> Awaitable[None] | None:
        if refused is None:
            self.observer.count(events.TASKS_COMPLETED, finished.worker_type, finished.tier)
            return self.intake.ack(finished.delivery) if self.held.pop(finished.delivery, None) is not None else None
        self._beside(self._guarded(finished.delivery, self._refused(finished, refused)))  # to find out why takes a request
        return None

    async def _refused(self, finished: Finished, refused: Refused) -> None:
        stands = await winner(self.client, finished.subject, refused)
        self.observer.count(events.OUTCOMES_ALREADY_STORED, "worker")
        await make_sure_of_letter(self.outbox, self.observer, decode(TaskResult, stands), finished.delivery.body)
        await self._ack(finished.delivery)

    async def _ack(self, delivery: Delivery) -> None:
        if self.held.pop(delivery, None) is not None:
            await self.intake.ack(delivery)

    async def _let_go(self, delivery: Delivery, delay: float) -> None:
        if self.held.pop(delivery, None) is not None:
            await self.intake.hand_back(delivery, delay)

    def _beside(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    # --- what happens while handlers run

    async def heartbeat(self) -> None:
        """Tell the server of everything held since the last round that it is being worked on."""
        for delivery in self._known & self.held.keys():
            await self.intake.heartbeat(delivery)
        self._known = set(self.held)

    async def look_for_overdue(self) -> None:
        """End the tasks of handlers that do not heed their cancellation, and leave these handlers to themselves."""
        late = self.clock() - OVERDUE
        for delivery, hand in [(delivery, hand) for delivery, hand in self.held.items() if hand.until < late]:
            hand.until = float("inf")
            if hand.lane is not None:
                self.lanes.abandon(hand.lane)
            self._beside(self._guarded(delivery, self._end_overdue(delivery, hand)))

    async def _end_overdue(self, delivery: Delivery, hand: Hand) -> None:
        task, macro = hand.task, hand.macro
        assert task is not None and macro is not None  # noqa: S101, PT018  # for the type checker: it has a deadline, so it runs
        told = f"not finished after {macro.timeout:g} s, and it does not heed its cancellation"
        self.observer.see(events.TASKS_OVERDUE, told, worker_type=macro.name, task_id=hand.task_id)
        verdict: MacroFailure | TryAgain | FallBack = MacroFailure(Code.TIMED_OUT, told)
        if declared_as(TimeoutError(), macro.fails) is not None:
            match judge(TimeoutError(told), task.attempt, macro.fails, jitter_of(hand.task_id, task.attempt)):
                case Again(delay):
                    verdict = TryAgain(delay, told)
                case HandOver(detail):
                    verdict = FallBack(detail)
        now = self.clock()
        await self._failed(delivery, hand, verdict, Hops(delivery.stored, now, now - macro.timeout - OVERDUE))

    def cancel(self, _: str) -> None:
        """A task or goal was cancelled: end its handlers that run."""
        for hand in self.held.values():
            if (task := hand.task) is not None and hand.lane is not None and hand.cancelled is None:
                hand.cancelled = who_cancelled(self.cancellations.known, hand.task_id, task.parent_task_id, task.generation)
                if hand.cancelled is not None:
                    hand.lane.cancel()

    # --- what is told

    def report(self, task: Work, task_id: str, text: str) -> None:
        """Tell how far a task is: the log, and whoever follows it. Half a letter, as names of files may have it, is a question mark."""
        text = sendable(str(text))
        self.observer.see(events.PROGRESS, text, worker_type=task.worker_type, task_id=task_id)
        self._beside(self._tell(subjects.results(task.parent_task_id), progress_result(task, task_id, text)))

    async def _tell(self, subject: str, body: bytes) -> None:
        """Say something that nobody keeps, and that may be lost while the server is away."""
        with contextlib.suppress(nats.errors.Error):
            await self.client.publish(subject, body)

    def _deprecated(self, macro: AnyMacro) -> None:
        self.observer.count(events.TASKS_DEPRECATED, macro.name, str(macro.version))
        if (macro.name, macro.version) not in self._told_deprecated:
            self._told_deprecated.add((macro.name, macro.version))
            told = {"worker_type": macro.name, "version": macro.version, "deprecated": macro.deprecated}
            self.observer.see(events.DEPRECATED_IN_USE, "tasks still ask for a deprecated version", **told)


_TRACE: Final = 16 * 1024


def _trace(error: BaseException | None, macro: AnyMacro | None) -> str | None:
    """The traceback of an undeclared error, for the letter; its end, if it is long."""
    if error is None or macro is None or declared_as(error, macro.fails) is not None:
        return None
    return sendable("".join(traceback.format_exception(error))[-_TRACE:])
