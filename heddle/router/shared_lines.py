"""Lines of tiers with `scope: cluster`: who waits for a shared rate stands in one line, whichever replica took it.

Were every replica to keep a line of its own, as for its own rate, each could move by its part of the rate only; and since a flood is never
taken in equal parts, the longest would go on alone in the end while most of the rate is left unused.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from heddle import events, subjects
from heddle.broker.connect import how_many
from heddle.errors import BrokerError
from heddle.router.places import Key
from heddle.router.rules import Tier
from heddle.telemetry.observer import Observer

TIMEOUT: Final = 0.5
"""Seconds that moving the end of a line may take."""
TRY_AGAIN: Final = 1.0
"""Seconds without shared lines until they are tried again."""
_DIFFER: Final = 60.0
"""Seconds by which an end may be further off than a task may wait: as much as clocks are thought to differ. One that is still further off
was written by nobody in line, and is no line."""
GAPS_EVERY: Final = 5.0
_GAP: Final = 2.0
"""Seconds from which on a gap is closed."""


class Joining(NamedTuple):
    """Who joins a line: when there may be a token, and when it gives up."""

    ready_at: float
    give_up_at: float


@dataclass(slots=True, eq=False)
class SharedLines:
    """The shared lines, as one replica sees and moves them."""

    client: Client
    observer: Observer
    clock: Callable[[], float]
    away_until: float = 0.0
    _lines: dict[Key, _Line] = field(default_factory=dict)

    def end(self, tier: str, priority: str) -> float:
        """When the last in line comes up, as far as this replica knows; seconds since the epoch, 0 if it never placed anybody."""
        line = self._lines.get((tier, priority))
        return line.end if line is not None else 0.0

    async def join(self, tier: Tier, priority: str, ready_at: float, give_up_at: float) -> float | None:
        """Join the line.

        Args:
            tier: a tier with a rate.
            priority: the task's.
            ready_at: when there may be a token again, seconds since the epoch.
            give_up_at: when the task gives up.

        Returns:
            When the task comes up, never later than it gives up; None if the broker cannot say.
        """
        if self.clock() < self.away_until:
            return None
        key, rate = (tier.name, priority), tier.rate or 1.0
        line = self._lines.get(key)
        if line is None or line.rate != rate:
            line = self._lines[key] = _Line(self, subjects.line_end(*key, rate), rate, tier)
        line.tier = tier
        try:
            return await line.join(Joining(ready_at, give_up_at))
        except (nats.errors.Error, TimeoutError) as error:
            self._gone(tier.name, error)
            return None

    async def close_gaps(self) -> None:
        """Let newcomers fill the gaps that cancelled tasks left; called every few seconds.

        A line ends where its last would come up if nobody were missing. Who joined since the last round may not be written down yet, so it
        is the end of that round that is compared with how many wait.
        """
        for (tier, priority), line in list(self._lines.items()):
            if line.end > self.clock() + _GAP:
                with contextlib.suppress(BrokerError):
                    waiting = await how_many(self.client, subjects.DEFER, subjects.waiting_in(tier, priority))
                    line.close_gap(self.clock() + (waiting + line.tier.burst) / line.rate)
            line.seen = line.end

    def _gone(self, tier: str, error: Exception) -> None:
        if self.clock() < self.away_until:
            return
        self.away_until = self.clock() + TRY_AGAIN
        told = f"the line of tier {tier!r} cannot be shared; this replica lines up for its own part of the rate"
        self.observer.see(events.LEASES_DEGRADED, told, tier=tier, error=f"{type(error).__name__} {error}")


@dataclass(slots=True, eq=False)
class _Line:
    """One line: an entry in HEDDLE_META that says when its last comes up. Those who join at the same time share a change of it.

    Attributes:
        seen: the end at the last look for gaps.
    """

    lines: SharedLines
    key: str
    rate: float
    tier: Tier
    end: float = 0.0
    seen: float = 0.0
    _revision: int = 0
    _bucket: KeyValue | None = None
    _joining: list[tuple[Joining, asyncio.Future[float]]] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def join(self, who: Joining) -> float:
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._joining.append((who, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return await answer

    def close_gap(self, latest: float) -> None:
        """Bring the end back by as much as that of the last look is behind `latest`; of replicas that do so at once, one changes the entry."""
        if (gap := min(self.seen, self.end) - latest) > _GAP:
            self.end -= gap

    async def _serve(self) -> None:
        while self._joining:
            joining, self._joining = self._joining, []
            try:
                async with asyncio.timeout(TIMEOUT):
                    places = await self._move([who for who, _ in joining])
            except (nats.errors.Error, TimeoutError) as error:
                for _, answer in joining:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for (_, answer), place in zip(joining, places, strict=True):
                    if not answer.done():
                        answer.set_result(place)

    async def _move(self, joining: Sequence[Joining]) -> list[float]:
        """Move the end by those who join, against whatever other replicas do at the same time."""
        if self._bucket is None:
            self._bucket = await self.lines.client.jetstream().key_value(subjects.META)
        while True:
            if self.end > self.lines.clock() + self.tier.max_wait + _DIFFER:
                self.end = 0.0
            places, end = places_behind(self.end, self.rate, joining)
            if end == self.end:
                return places  # nobody finds a place before it gives up
            try:
                self._revision = await self._bucket.update(self.key, b"%.6f" % end, last=self._revision)
            except nats.js.errors.KeyWrongLastSequenceError:
                await self._read(self._bucket)
            else:
                self.end = end
                return places

    async def _read(self, bucket: KeyValue) -> None:
        try:
            entry: KeyValue.Entry | None = await bucket.get(self.key)
        except nats.js.errors.KeyNotFoundError as gone:
            entry = gone.entry
        self._revision = (entry.revision or 0) if entry is not None else 0
        self.end = _end_told(entry.value or b"") if entry is not None else 0.0


def _end_told(entry: bytes) -> float:
    """The end of the line by its entry; 0, which is no line, by one that nobody can read."""
    try:
        end = float(entry)
    except ValueError:
        return 0.0
    return end if math.isfinite(end) else 0.0


def places_behind(end: float, rate: float, joining: Sequence[Joining]) -> tuple[list[float], float]:
    """A place a token after the other behind `end`, and the new end; whoever would give up before its place takes none.

    Args:
        end: when the last in line comes up, seconds since the epoch.
        rate: the tier's tokens per second.
        joining: those who join, in order.
    """
    places = []
    for ready_at, give_up_at in joining:
        place = max(end + 1.0 / rate, ready_at)
        if place < give_up_at:
            end = place
        places.append(min(place, give_up_at))
    return places, end
