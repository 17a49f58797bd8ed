"""Tokens of tiers with `scope: cluster`: leased from counters in the broker, window by window.

While the counters cannot be reached, each replica goes on with its share, rate / N, and says so.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import nats.errors
from nats.aio.client import Client

from heddle import events, subjects
from heddle.messages import PRIORITIES
from heddle.router.buckets import Bucket, full, ready_at, take
from heddle.router.rules import Tier
from heddle.router.windows import Windows, windows_of
from heddle.telemetry.observer import Observer

TIMEOUT: Final = 0.5
"""Seconds a counter may take to answer."""
TRY_AGAIN: Final = 1.0
"""Seconds on our own share until the counters are tried again."""


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

    async def token(self, tier: Tier, priority: str) -> float | None:
        """None if a token was got; else when it is worth trying again, in seconds since the epoch."""
        desk = self._desks.get(tier.name)
        if desk is None or not desk.tier.same_numbers(tier):
            desk = self._desks[tier.name] = _Desk(self, tier, windows_of(tier.rate or 1.0, tier.burst))
        return await desk.token(priority)


@dataclass(slots=True, eq=False)
class _Desk:
    """Where those of one tier ask; many who ask at once share a request."""

    leases: Leases
    tier: Tier
    windows: Windows
    share: Bucket | None = None
    away_until: float = 0.0
    _asking: list[tuple[int, int, str, asyncio.Future[float | None]]] = field(default_factory=list)
    _number: itertools.count[int] = field(default_factory=itertools.count)
    _spent: set[int] = field(default_factory=set)
    _task: asyncio.Task[None] | None = None

    async def token(self, priority: str) -> float | None:
        answer: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._asking, (-PRIORITIES.index(priority), next(self._number), priority, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return await answer

    async def _serve(self) -> None:
        """Answer everybody, priority by priority, the highest first."""
        while self._asking:
            priority = self._asking[0][2]
            asking = [heapq.heappop(self._asking)[3] for _ in range(sum(entry[2] == priority for entry in self._asking))]
            got, again = await self._take(len(asking), priority)
            for number, answer in enumerate(asking):
                if not answer.done():
                    answer.set_result(None if number < got else again)

    async def _take(self, count: int, priority: str) -> tuple[int, float]:
        now = self.leases.clock()
        if now < self.away_until:
            return self._from_share(count, now)
        kept = self.tier.kept[priority]
        got = 0
        try:
            for window in self.windows.open(now, kept):
                if got == count:
                    break  # with a large burst there are a great many windows
                if window not in self._spent:
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
        return max(0, min(count, quota - (total - count)))

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
