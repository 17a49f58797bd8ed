"""The one reader behind all open pages: once a second it reads what they look at, and nothing when none is open."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, cast

from nats.aio.client import Client

from heddle.broker.periodic import every
from heddle.control.flow import Flow, Rates, flow, rates

T = TypeVar("T")

READ_EVERY: Final = 1.0
HISTORY: Final = 60
"""Readings that are kept for the curves."""
SMOOTHED: Final = 3
"""Readings over which a rate is taken."""
_GAP: Final = 5.0
"""Seconds without a reading after which the curves begin anew."""


@dataclass(frozen=True)
class Topic(Generic[T]):
    """Something that pages look at.

    Attributes:
        key: two topics with the same key are the same, and read once for all pages.
        read: reads it.
        streams: those that it depends on; it is read again only when one of them has changed. None: every time.
        rest: seconds between two readings, at least; for what is dear.
        late: for what takes long: nobody waits for it, it is there at some later moment.
    """

    key: Hashable
    read: Callable[[Client], Awaitable[T]]
    streams: frozenset[str] | None = None
    rest: float = 0.0
    late: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """What was seen at a moment.

    Attributes:
        number: counts the readings; the same number is the same moment.
        values: of topics, by their keys; the last that could be read.
        problem: why the server could not be asked just now.
        problems: of topics that could not be read, by their keys.
        flow: the streams and queues.
        history: the rates of the last readings, the newest last; empty until there are two.
    """

    number: int
    values: Mapping[Hashable, Any]
    problem: str | None
    problems: Mapping[Hashable, str]
    flow: Flow
    history: tuple[Rates, ...]

    def of(self, topic: Topic[T]) -> T | None:
        """A topic's value; None if it could not be read yet."""
        return cast("T | None", self.values.get(topic.key))

    @property
    def trouble(self) -> str | None:
        """Why something could not be read."""
        return self.problem or next(iter(self.problems.values()), None)

    @property
    def rates(self) -> Rates | None:
        """The rates just now; None until there are two readings."""
        return self.history[-1] if self.history else None


@dataclass(slots=True)
class _Known:
    """What is known of a topic: its value, how the streams were that it was read from, and when that was looked at."""

    value: Any = None
    streams: Any = None
    problem: str | None = None
    read: float = -1e9
    looked: float = -1e9
    reading: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class Poller:
    """Reads topics for whoever follows them; made by `polling`.

    Attributes:
        client: the connection.
        clock: monotonic seconds.
        reads: how often the streams were read.
    """

    client: Client
    clock: Callable[[], float] = time.monotonic
    reads: int = 0
    _topics: dict[Hashable, Topic[Any]] = field(default_factory=dict)
    _followers: Counter[Hashable] = field(default_factory=Counter)
    _known: dict[Hashable, _Known] = field(default_factory=dict)
    _flows: deque[Flow] = field(default_factory=lambda: deque(maxlen=SMOOTHED + 1))
    _history: deque[Rates] = field(default_factory=lambda: deque(maxlen=HISTORY))
    _number: int = 0
    _problem: str | None = None
    _next: asyncio.Event = field(default_factory=asyncio.Event)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _late: set[asyncio.Task[None]] = field(default_factory=set)
    _over: bool = False

    async def look(self, *topics: Topic[Any]) -> Moment:
        """Topics as they are now: as they were read within the last second, else read for the asking."""
        async with self._reading:
            now = self.clock()
            stale = [topic for topic in topics if now - self._known.setdefault(topic.key, _Known()).looked >= READ_EVERY]
            if self._problem is not None or not self._flows or now - self._flows[-1].at >= READ_EVERY:
                await self._read_flow()
            for topic in stale:
                await self._read(topic)
            moment = self._moment(topics)
            self._forget()
        return moment

    async def follow(self, *topics: Topic[Any]) -> AsyncGenerator[Moment, None]:
        """Every further moment of some topics, until the poller ends; whoever is slow misses some, and none wait for it."""
        with self._following(topics):
            while not self._over:
                await self._next.wait()
                if not self._over:
                    yield self._moment(topics)

    @contextmanager
    def _following(self, topics: tuple[Topic[Any], ...]) -> Iterator[None]:
        for topic in topics:
            self._topics[topic.key] = topic
        self._followers.update(topic.key for topic in topics)
        try:
            yield
        finally:
            self._followers.subtract(topic.key for topic in topics)
            for topic in topics:
                if self._followers[topic.key] <= 0:
                    del self._followers[topic.key], self._topics[topic.key]

    async def round(self) -> None:
        """Read what is looked at, if anything is, and tell the followers."""
        if not self._topics:
            return
        async with self._reading:
            await self._read_flow()
            for topic in list(self._topics.values()):
                await self._read(topic)
            self._forget()
        self._tell()

    def renew(self) -> None:
        """Something was changed by us: whatever is looked at next is read anew."""
        for known in self._known.values():
            known.looked = known.read = -1e9
            known.streams = None

    def end(self) -> None:
        """Let the followers go."""
        self._over = True
        self._tell()
        for task in self._late:
            task.cancel()

    def _tell(self) -> None:
        told, self._next = self._next, asyncio.Event()
        told.set()

    async def _read_flow(self) -> None:
        now = self.clock()
        self._number += 1
        if not self.client.is_connected:  # a request would wait for its answer
            self._problem = "no connection"
            return
        self.reads += 1
        try:
            read = await flow(self.client, now)
        except Exception as error:  # noqa: BLE001  # whatever it is: the pages say so, and the next round tries again
            self._problem = _why(error)
            return
        self._problem = None
        if self._flows and now - self._flows[-1].at > _GAP:
            self._flows.clear()
            self._history.clear()
        self._flows.append(read)
        if len(self._flows) > 1:
            self._history.append(rates(self._flows[0], read))

    async def _read(self, topic: Topic[Any]) -> None:
        if self._problem is not None:
            return
        known, now = self._known.setdefault(topic.key, _Known()), self.clock()
        known.looked = now
        flow_now = self._flows[-1]
        streams = None if topic.streams is None else {name: flow_now[name] for name in topic.streams}
        unchanged = streams is not None and streams == known.streams and known.problem is None
        if unchanged or now - known.read < topic.rest:
            return
        if not topic.late:
            await self._fetch(topic, known, streams)
        elif known.reading is None or known.reading.done():
            known.reading = asyncio.create_task(self._fetch(topic, known, streams), name="dashboard-reading")
            self._late.add(known.reading)
            known.reading.add_done_callback(self._late.discard)

    async def _fetch(self, topic: Topic[Any], known: _Known, streams: Any) -> None:
        try:
            known.value = await topic.read(self.client)
            known.streams, known.problem, known.read = streams, None, self.clock()
        except Exception as error:  # noqa: BLE001  # as above
            known.problem = _why(error)
        self._number += 1

    def _moment(self, topics: tuple[Topic[Any], ...]) -> Moment:
        known = {topic.key: self._known.get(topic.key) or _Known() for topic in topics}
        return Moment(
            self._number,
            {key: one.value for key, one in known.items()},
            self._problem,
            {key: one.problem for key, one in known.items() if one.problem is not None},
            self._flows[-1] if self._flows else Flow(self.clock()),
            tuple(self._history),
        )

    def _forget(self) -> None:
        """Keep nothing of topics that nobody follows any more, but what was read just now."""
        now = self.clock()
        for key in [key for key, known in self._known.items() if key not in self._topics and now - known.looked >= READ_EVERY]:
            del self._known[key]


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


@asynccontextmanager
async def polling(client: Client) -> AsyncIterator[Poller]:
    """A poller for as long as the block runs; at its end every follower is let go."""
    poller = Poller(client)
    async with every(READ_EVERY, poller.round):
        try:
            yield poller
        finally:
            poller.end()
