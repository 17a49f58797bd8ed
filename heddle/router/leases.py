"""Tokens of tiers with `scope: cluster`: leased from counters in the broker, window by window.

While the counters cannot be reached, each replica goes on with its share, rate / N, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import nats.errors
from nats.aio.client import Client

from heddle import events, subjects
from heddle.broker.connect import js_api
from heddle.errors import BrokerError
from heddle.messages import PRIORITIES
from heddle.router.buckets import Bucket, full, ready_at, take
from heddle.router.rules import Tier
from heddle.router.windows import Windows, windows_of
from heddle.telemetry.observer import Observer

TIMEOUT: Final = 0.5
"""Seconds a counter may take to answer, and those of one round together: where they are slow, nobody is held beyond its ack_wait."""
TRY_AGAIN: Final = 1.0
"""Seconds on our own share until the counters are tried again."""
MOST_COUNTERS: Final = 1000
"""Counters of past windows that a tier keeps, beside those that may still be asked: the stream has room for 100,000, and where it runs
out the oldest go, which may be a slow tier's that are needed still."""
_BREATH: Final = 0.001
"""Seconds at least between two rounds of those who ask again."""


@dataclass(slots=True, eq=False)
class Leases:
    """Gets tokens of the shared tiers for one replica.

    Attributes:
        replicas: how many routers there are, as far as is known; for the share while the counters are away.
    """

    client: Client
    observer: Observer
    clock: Callable[[], float]
    replicas: int = 1
    _desks: dict[str, _Desk] = field(default_factory=dict)

    async def token(self, tier: Tier, priority: str, *, patience: float = 0.0, leftovers: bool = False) -> bool:
        """Get a token.

        Args:
            tier: a tier with a rate.
            priority: the task's; it must leave what the tier keeps for higher ones.
            patience: seconds for which to ask again, whenever there may be one; 0 asks once.
            leftovers: take only what is about to be nobody's, as who came after others.
        """
        return await self._desk(tier).token(priority, patience, leftovers=leftovers)

    def let_go(self, tier: Tier, priority: str) -> bool:
        """Ask no more for somebody of a lower priority, to make room for one of this; False if nobody of such asks again and again."""
        return self._desk(tier).let_go(_rank(priority))

    def next_opening(self, tier: Tier, priority: str) -> float:
        """When there may be tokens again; seconds since the epoch."""
        return self._desk(tier).windows.next_opening(self.clock(), tier.kept[priority])

    def _desk(self, tier: Tier) -> _Desk:
        desk = self._desks.get(tier.name)
        if desk is None or not desk.tier.same_numbers(tier):
            desk = self._desks[tier.name] = _Desk(self, tier, windows_of(tier.rate or 1.0, tier.burst))
        return desk


class _Ask(NamedTuple):
    """Somebody at the desk. In order of who is served first: by priority, then by what it must leave, then by who came first."""

    rank: int
    kept: int
    number: int
    until: float
    answer: asyncio.Future[bool]


@dataclass(slots=True, eq=False)
class _Desk:
    """Where those of one tier ask; many who ask at once share a request."""

    leases: Leases
    tier: Tier
    windows: Windows
    share: Bucket | None = None
    away_until: float = 0.0
    _asking: list[_Ask] = field(default_factory=list)
    _number: itertools.count[int] = field(default_factory=itertools.count)
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _spent: set[int] = field(default_factory=set)
    _begun: int = 0
    _task: asyncio.Task[None] | None = None
    _tidying: asyncio.Task[None] | None = None

    async def token(self, priority: str, patience: float, *, leftovers: bool) -> bool:
        loop = asyncio.get_running_loop()
        kept = max(self.tier.kept[priority], self.windows.all_but_the_oldest if leftovers else 0)
        if not patience and self._nothing_open(kept):
            return False
        ask = _Ask(_rank(priority), kept, next(self._number), loop.time() + patience, loop.create_future())
        self._asking.append(ask)
        self._came.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve(loop))
        return await ask.answer

    def let_go(self, rank: int) -> bool:
        now = asyncio.get_running_loop().time()
        last = max((ask for ask in self._asking if ask.rank > rank and ask.until > now and not ask.answer.done()), default=None)
        if last is None:
            return False
        _answer(last, got=False)
        return True

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer everybody, the highest priority first; who has patience is asked for again when another window opens."""
        while self._asking:
            self._came.clear()
            asked = sorted(ask for ask in self._asking if not ask.answer.done())
            again, until = math.inf, loop.time() + TIMEOUT
            for _, alike in itertools.groupby(asked, lambda ask: (ask.rank, ask.kept)):
                asks = list(alike)
                got, next_one = await self._take(len(asks), asks[0].kept, until)
                again = min(again, next_one)
                for ask in asks[:got]:
                    _answer(ask, got=True)
            now = loop.time()
            for ask in asked:
                if ask.until <= now:
                    _answer(ask, got=False)
            self._asking = [ask for ask in self._asking if not ask.answer.done()]
            if self._asking:
                pause = max(_BREATH, min(again - self.leases.clock(), min(ask.until for ask in self._asking) - now))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._came.wait()

    def _nothing_open(self, kept: int) -> bool:
        now = self.leases.clock()
        return now >= self.away_until and all(window in self._spent for window in self.windows.open(now, kept))

    async def _take(self, count: int, kept: int, until: float) -> tuple[int, float]:
        """How many of so many tokens were got, and when there may be more; seconds since the epoch. No counter is asked after `until`."""
        now, clock = self.leases.clock(), asyncio.get_running_loop().time
        if now < self.away_until:
            return self._from_share(count, now)
        got = 0
        try:
            for window in self.windows.open(now, kept):
                if got == count:
                    break  # with a large burst there are a great many windows
                if window not in self._spent:
                    if clock() > until:
                        return got, now  # the next round goes on from here
                    got += await self._lease(window, count - got)
        except (nats.errors.Error, TimeoutError, ValueError) as error:
            self._gone(error, now)
            more, again = self._from_share(count - got, now)
            return got + more, again
        self._forget_old(now)
        self.share = None
        return got, self.windows.next_opening(now, kept)

    async def _lease(self, window: int, count: int) -> int:
        """Count ourselves in; what the counter says beyond the quota was not to be had."""
        quota = self.windows.quota
        subject = subjects.lease(self.tier.name, self.windows.rate, self.windows.burst, window)
        answer = json.loads((await self.leases.client.request(subject, b"", timeout=TIMEOUT, headers={"Nats-Incr": str(count)})).data)
        if "val" not in answer:
            raise ValueError(answer.get("error", {}).get("description", "no counter answered"))
        total = int(answer["val"])
        if total >= quota:
            self._spent.add(window)
        if total == count:  # of all replicas we are the first in this window
            self._begun += 1
            if self._begun >= MOST_COUNTERS:
                self._begun = 0
                self._tidying = asyncio.create_task(self._tidy())
        return max(0, min(count, quota - (total - count)))

    async def _tidy(self) -> None:
        """Let the counters of this tier's windows go that are long over."""
        windows = self.windows
        counters = subjects.lease(self.tier.name, windows.rate, windows.burst, "*")
        keep = MOST_COUNTERS + windows.burst // windows.quota
        with contextlib.suppress(BrokerError, nats.errors.Error):  # then it is done the next time
            await js_api(self.leases.client, f"STREAM.PURGE.{subjects.LEASES}", {"filter": counters, "keep": keep})

    def _from_share(self, count: int, now: float) -> tuple[int, float]:
        """Our own part of the rate: what rate / N and burst / N allow."""
        rate = self.windows.rate / self.leases.replicas
        burst = max(1, self.windows.burst // self.leases.replicas)
        bucket = self.share or full(burst, now)
        got = 0
        while got < count and (left := take(bucket, rate, burst, 0, now)) is not None:
            bucket, got = left, got + 1
        self.share = bucket
        return got, ready_at(bucket, rate, 0)

    def _gone(self, error: Exception, now: float) -> None:
        self.away_until = now + TRY_AGAIN
        share = self.windows.rate / self.leases.replicas
        told = f"the shared rate of tier {self.tier.name!r} cannot be counted; this replica goes on with {share:g}/s"
        self.leases.observer.see(events.LEASES_DEGRADED, told, tier=self.tier.name, error=f"{type(error).__name__} {error}")

    def _forget_old(self, now: float) -> None:
        oldest = self.windows.open(now, 0).start
        self._spent = {window for window in self._spent if window >= oldest}


def _rank(priority: str) -> int:
    return -PRIORITIES.index(priority)


def _answer(ask: _Ask, *, got: bool) -> None:
    if not ask.answer.done():  # else nobody waits for it any more
        ask.answer.set_result(got)
