"""The router: takes incoming tasks, decides, carries the decision out, acks last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec.structs import replace
from nats.aio.client import Client

from heddle import deadletters, events, subjects
from heddle.broker.bursts import Bursts
from heddle.broker.cancellations import who_cancelled
from heddle.broker.connect import MAXIMUM_REACHED
from heddle.broker.intake import Delivery, Intake, passed_on
from heddle.broker.outbox import Headers, Outbox, TooLarge
from heddle.broker.outcomes import OutcomesFull
from heddle.deadletters import Ending, end_of_task
from heddle.envelope import Routable, decode_envelope
from heddle.errors import BrokerError, Code, DecodeError, Refused
from heddle.router.audit import Audit, level_of
from heddle.router.buckets import NO_TOKENS, Bucket
from heddle.router.decide import NO_LINES, Dispatch, Refuse, Wait, decide
from heddle.router.leases import Leases
from heddle.router.places import LEAD, MOST_NEAR, NEAR, Lines
from heddle.router.rules import Rules, Tier
from heddle.router.shared_clock import CLOCK_SET, SharedClock
from heddle.router.shared_lines import SharedLines
from heddle.schedules import due_at, pinned_tier, schedule_headers, waiting_since
from heddle.splice import routed_body, with_task_id
from heddle.telemetry.observer import Count, Observer

FULL_DELAY = 1.0
"""Seconds until a message that the store refused is tried again."""


class _Way(NamedTuple):
    """The queue of a worker type and tier, and how many tasks went there."""

    subject: str
    routed: Count


@dataclass(slots=True, eq=False)
class Router:
    """One replica at work; made by `routing`.

    Attributes:
        cancelled: who cancelled what, by the keys of HEDDLE_CANCEL.
    """

    client: Client
    rules: Rules
    observer: Observer
    replica: str
    outbox: Outbox
    bursts: Bursts
    leases: Leases = field(init=False)
    shared_lines: SharedLines = field(init=False)
    intake: Intake = field(init=False)
    clock: Callable[[], float] = time.time
    buckets: dict[str, Bucket] = field(default_factory=dict)
    lines: Lines = field(default_factory=Lines)
    audit: Audit | None = None
    cancelled: Mapping[str, str] = field(default_factory=dict)
    _ways: dict[tuple[str, str], _Way] = field(default_factory=dict)
    _shared_clock: SharedClock = field(init=False)
    _near: int = 0
    _ahead: float | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._shared_clock = SharedClock(lambda: self.clock())  # noqa: PLW0108  # a test may put another in its place
        self.leases = Leases(self.client, self.observer, self._shared_clock)
        self.shared_lines = SharedLines(self.client, self.observer, self._shared_clock)
        self._no_tokens_but_leased()

    def on_task(self, delivery: Delivery) -> Awaitable[None] | None:
        """One task: decode, decide, publish on; the ack follows the PubAck.

        The publish of a dispatch comes back, to be awaited; whatever takes several steps runs beside the hot path.
        """
        try:
            task = decode_envelope(delivery.body)
        except DecodeError as error:
            self._spawn(delivery, self._end(delivery, self._unreadable(delivery, str(error))))
            return None
        if self.cancelled and self._is_cancelled(delivery, task):
            return None
        if delivery.stream == subjects.DEFER:
            if (tier := pinned_tier(delivery.headers)) is not None:
                return self._dispatch(delivery, task, _id_of(task, delivery), tier)
            delivery.since = waiting_since(delivery.headers)
            due = due_at(delivery.headers)
            if 0 < due - self.clock() < NEAR and self._near < MOST_NEAR and not self._shared(subjects.tier_of_place(delivery.subject)):
                self._spawn(delivery, self._come_up(delivery, task, due))  # further off only where clocks differ
                return None
        return self._decide(delivery, task)

    def _is_cancelled(self, delivery: Delivery, task: Routable) -> bool:
        """End a task that was cancelled, or whose goal was."""
        by = who_cancelled(self.cancelled, _id_of(task, delivery), task.parent_task_id, task.generation)
        if by is None:
            return False
        refusal, now = Refuse(Code.CANCELLED, f"{by} cancelled it before it was dispatched"), self.clock()
        self._note(delivery, task, refusal, now, refusal.detail)
        self._spawn(delivery, self._end(delivery, self._ending(delivery, task, refusal, now)))
        return True

    def _decide(self, delivery: Delivery, task: Routable, *, leased: bool = False) -> Awaitable[None] | None:
        now, size, since = self.clock(), len(delivery.body), delivery.since
        lines = NO_LINES if leased else self.lines.last
        decision = decide(task, self.rules, self.buckets, now, size=size, waiting_since=since, lines=lines)
        if type(decision) is Dispatch:  # nearly all of them, so it is asked for in the fastest way
            task_id = _id_of(task, delivery)
            if self.audit is not None:
                self.audit.note(task_id, task, decision, now, size, since)
            if decision.bucket is not None:
                self.buckets[decision.tier] = decision.bucket
            return self._dispatch(delivery, task, task_id, decision.tier)
        match decision:
            case Wait(tier=tier) | Refuse(code=Code.RATE_LIMITED, tier=str(tier)) if self._shared(tier) and not leased:
                self._spawn(delivery, self._lease(delivery, task, self.rules.tiers[tier]))
            case Wait():
                self._note(delivery, task, decision, now)
                return self._wait(delivery, task, decision, now)
            case Refuse():
                self._note(delivery, task, decision, now)
                self._spawn(delivery, self._end(delivery, self._ending(delivery, task, decision, now)))
        return None

    async def _decide_afresh(self, delivery: Delivery, task: Routable) -> None:
        if (going := self._decide(delivery, task)) is not None:
            await going

    def _note(self, delivery: Delivery, task: Routable, decision: Wait | Refuse, now: float, told: str | None = None) -> None:
        if self.audit is not None:
            left = level_of(self.rules, decision.tier, self.buckets, now)
            self.audit.note(_id_of(task, delivery), task, decision, now, len(delivery.body), delivery.since, left, told)

    def _dispatch(self, delivery: Delivery, task: Routable, task_id: str, tier: str) -> Awaitable[None]:
        way = self._ways.get((task.worker_type, tier)) or self._new_way(task.worker_type, tier)
        body = routed_body(delivery.body, task, task_id, tier)
        headers: Headers = {"Nats-Msg-Id": delivery.message_id("route")}
        if delivery.headers and (theirs := passed_on(delivery.headers)):
            headers |= theirs
        way.routed.times += 1
        return self.bursts.send(way.subject, body, self._dispatched, delivery, headers)

    def _new_way(self, worker_type: str, tier: str) -> _Way:
        way = _Way(subjects.routed(worker_type, tier), self.observer.counter(events.TASKS_ROUTED, worker_type, tier))
        self._ways[worker_type, tier] = way
        return way

    def _dispatched(self, delivery: Delivery, refused: Refused | None) -> Awaitable[None] | None:
        if refused is None:
            return self.intake.ack(delivery)
        self._spawn(delivery, self._not_taken(delivery, refused))
        return None

    def _shared(self, name: str) -> bool:
        tier = self.rules.tiers.get(name)
        return tier is not None and tier.scope == "cluster"

    async def _lease(self, delivery: Delivery, task: Routable, tier: Tier, place: float = 0.0) -> None:
        """Ask for a token of a tier that the replicas share, as long as the task may be held, then decide with what we got.

        Who waits asks from the moment it comes up, and not from its place on: a token that is there early would be nobody's else.
        """
        now = self.clock()
        if delivery.since is None:
            behind, patience = self.shared_lines.end(tier.name, task.priority) > self._shared_clock(), 0.0
        else:
            place = min(max(place or due_at(delivery.headers), now), now + NEAR)  # further off only where clocks differ
            behind, until = False, min(place + NEAR, delivery.since + tier.max_wait)
            patience = max(0.0, until - now)
            if self._near >= MOST_NEAR and not self.leases.let_go(tier, task.priority):
                patience = 0.0
        with self._held(delivery) if patience else contextlib.nullcontext():
            got = await self.leases.token(tier, task.priority, patience=patience, leftovers=behind)
        if got and self._shared(tier.name):
            self.buckets[tier.name] = Bucket(1.0, NO_TOKENS.at)
        going = self._decide(delivery, task, leased=True)
        if self._shared(tier.name):
            self.buckets[tier.name] = NO_TOKENS  # a token that this task did not take is nobody's
        if going is not None:
            await going

    async def _wait(self, delivery: Delivery, task: Routable, wait: Wait, now: float) -> None:
        """Hold the task if its token is near, else give it a place in the broker; who was held for long keeps its turn there."""
        tier, shared = self.rules.tiers[wait.tier], self._shared(wait.tier)
        room = self._near < MOST_NEAR
        if shared:
            place = await self._place_shared(task, wait, tier, now)
        else:
            place = self.lines.join(wait, task.priority, tier.rate or 1.0, now, came_up=delivery.since is not None, room=room)
        if room and _may_be_held(delivery) and place - now < NEAR:
            delivery.since = wait.since
            self._spawn(delivery, self._lease(delivery, task, tier, place) if shared else self._come_up(delivery, task, place))
        else:
            await self._defer(delivery, task, wait, place, now)

    async def _place_shared(self, task: Routable, wait: Wait, tier: Tier, now: float) -> float:
        """A place in the line of all replicas; while the broker cannot tell, in our own for our part of the rate."""
        opening, ahead = self.leases.next_opening(tier, task.priority), self._shared_clock.ahead
        place = await self.shared_lines.join(tier, task.priority, opening, wait.give_up_at + ahead)
        if place is None:
            own = replace(wait, ready_at=opening - ahead)
            return self.lines.join(own, task.priority, (tier.rate or 1.0) / self.leases.replicas, now, came_up=True, room=False)
        return place - ahead

    async def _come_up(self, delivery: Delivery, task: Routable, place: float) -> None:
        """Wait in memory until the token is due, then decide afresh, under the rules of that moment."""
        with self._held(delivery):
            await asyncio.sleep(place - self.clock())
        await self._decide_afresh(delivery, task)

    @contextlib.contextmanager
    def _held(self, delivery: Delivery) -> Iterator[None]:
        if delivery.held_since is None:
            delivery.held_since = asyncio.get_running_loop().time()
        self._near += 1
        try:
            yield
        finally:
            self._near -= 1

    async def _defer(self, delivery: Delivery, task: Routable, wait: Wait, place: float, now: float) -> None:
        """Write the task's place into the broker, and ack it where it was; not an attempt, and not a hop."""
        body = with_task_id(delivery.body, task, _id_of(task, delivery))
        fires_at = place if place >= wait.give_up_at else max(now, place - LEAD)
        headers = schedule_headers(subjects.due(wait.tier, task.priority), fires_at, wait.since, place)
        headers["Nats-Msg-Id"] = delivery.message_id("wait")
        if delivery.headers:
            headers = passed_on(delivery.headers) | headers
        self.observer.count(events.TASKS_DEFERRED, wait.tier, task.priority)
        source = subjects.source_letter(*delivery.origin)
        await self.outbox.send(subjects.deferred(wait.tier, task.priority, source), body, self._deferred, delivery, headers)

    async def _deferred(self, delivery: Delivery, refused: Refused | None) -> None:
        match refused:
            case None:
                await self.intake.ack(delivery)
            case TooLarge():
                self._spawn(delivery, self._too_large(delivery, refused))
            case _:
                self.observer.see(events.BROKER_TROUBLE, "a place for a waiting task was refused", role="router", error=str(refused))
                await self.intake.hand_back(delivery, FULL_DELAY)

    async def _not_taken(self, delivery: Delivery, refused: Refused) -> None:
        """A queue did not take a task: end it if none ever will, let it wait if the queue is full, else try again soon."""
        if isinstance(refused, TooLarge):
            await self._too_large(delivery, refused)
        elif refused.code == MAXIMUM_REACHED:
            await self._backlog_full(delivery, refused)
        else:
            self.observer.see(events.BROKER_TROUBLE, "a task was refused; trying again", role="router", error=str(refused))
            await self.intake.hand_back(delivery, FULL_DELAY)

    async def _too_large(self, delivery: Delivery, refused: Refused) -> None:
        """The task came in, but with what a relay adds to it the server would not take it."""
        task, now = decode_envelope(delivery.body), self.clock()
        refusal = Refuse(Code.PAYLOAD_TOO_LARGE, str(refused))
        self._note(delivery, task, refusal, now, refusal.detail)
        await self._end(delivery, self._ending(delivery, task, refusal, now))

    async def _backlog_full(self, delivery: Delivery, refused: Refused) -> None:
        """The queue of the type and tier is at its cap: a wait like any other, within the tier's `max_wait`."""
        task = decode_envelope(delivery.body)
        now = self.clock()
        since = now if delivery.since is None else delivery.since
        decision = decide(task, self.rules, {}, now, size=len(delivery.body), waiting_since=since)
        match decision:
            case Dispatch(tier=name, rule=rule) if now < (until := since + self.rules.tiers[name].max_wait):
                wait = Wait(name, rule, min(now + FULL_DELAY, until), since, until)
                self._note(delivery, task, wait, now, str(refused))
                await self._defer(delivery, task, wait, wait.ready_at, now)
            case Dispatch(tier=name, rule=rule):
                refusal = Refuse(Code.BACKLOG_FULL, str(refused), name, rule)
                self._note(delivery, task, refusal, now, str(refused))
                await self._end(delivery, self._ending(delivery, task, refusal, now))
            case Wait() | Refuse():
                await self._decide_afresh(delivery, task)

    async def _end(self, delivery: Delivery, ending: Ending) -> None:
        try:
            await deadletters.end(self.client, self.outbox, self.observer, ending, delivery.body, delivery.headers)
        except OutcomesFull as full:
            self.observer.see(events.BROKER_TROUBLE, "no room for outcomes; waiting", role="router", error=str(full))
            await self.intake.hand_back(delivery, FULL_DELAY)
        except BrokerError as error:
            self.observer.see(events.BROKER_TROUBLE, "cannot end a task yet; it comes again", role="router", error=str(error))
            await self.intake.release()
        else:
            self.observer.count(events.TASKS_ENDED_BY_ROUTER, ending.code.value)
            await self.intake.ack(delivery)

    def _ending(self, delivery: Delivery, task: Routable, refusal: Refuse, now: float) -> Ending:
        task_id = _id_of(task, delivery)
        tier, by = refusal.tier or task.model_tier, f"router/{self.replica}"
        return end_of_task(task, task_id, refusal.code, refusal.detail, at=now, by=by, tier=tier, rules=self.rules.digest)

    def _unreadable(self, delivery: Delivery, detail: str) -> Ending:
        return deadletters.end_of_unreadable(
            delivery.body,
            detail,
            source=delivery.origin,
            at=self.clock(),
            by=f"router/{self.replica}",
            rules=self.rules.digest,
            goal=False,
        )

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

    def _no_tokens_but_leased(self) -> None:
        for name, tier in self.rules.tiers.items():
            if tier.scope == "cluster":
                self.buckets.setdefault(name, NO_TOKENS)

    def use(self, rules: Rules) -> None:
        """Take other rules into use, from the next task on; a bucket keeps its level where the tier's numbers are the same."""
        changed = frozenset(
            name for name, tier in self.rules.tiers.items() if name in rules.tiers and not tier.same_numbers(rules.tiers[name])
        )
        self.buckets = {name: bucket for name, bucket in self.buckets.items() if name in rules.tiers and name not in changed}
        self.lines.keep_only(rules, changed)
        self._ways.clear()
        self.rules = rules
        self._no_tokens_but_leased()
        if self.audit is not None:
            self.audit.follow(rules)
        self.observer.see(events.RULES_LOADED, "rules are in force", digest=rules.digest)

    async def look_at_clock(self) -> None:
        """Notice that the clock was set; called about once a second."""
        ahead, before = self.clock() - time.monotonic(), self._ahead
        self._ahead = ahead
        if before is not None and abs(ahead - before) > CLOCK_SET:
            self._move(ahead - before)

    def _move(self, seconds: float) -> None:
        """Move what was noted by the clock along with it; else a clock that is set back by an hour stops every limited tier for an hour."""
        self.buckets = {name: Bucket(bucket.level, bucket.at + seconds) for name, bucket in self.buckets.items()}
        self.lines.move(seconds)
        self.observer.see(events.CLOCK_SET, "the clock was set", role="router", seconds=round(seconds, 3))

    async def drain(self, grace: float) -> None:
        """Take nothing more, and wait until what was taken is acked, for `grace` seconds at most."""
        await self.intake.stop()
        await self.intake.quiet(grace)
        for task in self._tasks:
            task.cancel()


def _may_be_held(delivery: Delivery) -> bool:
    """Not again and again, beyond its ack_wait: the server would deliver it a second time, and both would wait."""
    return delivery.held_since is None or asyncio.get_running_loop().time() - delivery.held_since < NEAR


def _id_of(task: Routable, delivery: Delivery) -> str:
    return subjects.source_letter(*delivery.origin) if task.task_id is None else task.task_id
