"""Lanes: long-lived asyncio Tasks that share a queue, so that a handler which never suspends costs no Task of its own.

A lane runs items one after another. As soon as one suspends, another lane goes on with the queue, so that up to `limit`
items run at the same time. Each item runs in a real Task: `asyncio.timeout` and friends work inside it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_SPARE = 64


class Lanes(Generic[T]):
    """Runs `work` for every item that is put in.

    Args:
        limit: items that run at the same time.
        work: what to do with an item; it must not raise.

    Attributes:
        stopped: whether all lanes were cancelled, for good.
    """

    def __init__(self, limit: int, work: Callable[[T], Awaitable[None]]) -> None:
        self._limit = limit
        self._work = work
        self._queue: deque[T] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._abandoned: set[asyncio.Task[None]] = set()
        self._armed = False
        self.stopped = False

    def put(self, item: T) -> None:
        """Queue an item; a lane takes it as soon as the loop has a turn."""
        self._queue.append(item)
        self._arm()

    async def stop(self) -> None:
        """Cancel every lane, running items with it."""
        self.stopped = True
        self._queue.clear()
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)

    def abandon(self, lane: asyncio.Task[None]) -> None:
        """Count on a lane no more: its item does not end. Another takes its place, and it ends itself should its item end."""
        self._lanes.discard(lane)
        self._abandoned.add(lane)
        lane.add_done_callback(self._abandoned.discard)
        if self._queue:
            self._arm()

    def _arm(self) -> None:
        """See to it that the queue is looked at when the loop next has a turn: when the running item suspends or ends."""
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._armed = False
        if not self._queue or self.stopped:
            return
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        if len(self._lanes) < self._limit:
            lane = asyncio.create_task(self._lane())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)

    async def _lane(self) -> None:
        loop, lane = asyncio.get_running_loop(), asyncio.current_task()
        assert lane is not None  # noqa: S101  # for the type checker: this runs in one
        while True:
            while self._queue:
                item = self._queue.popleft()
                if self._queue:
                    self._arm()
                await self._work(item)
                if self._abandoned and lane in self._abandoned:
                    return
                while lane.cancelling():  # a cancellation that the item swallowed is not the next one's
                    lane.uncancel()
            if self.stopped or len(self._idle) >= _SPARE:  # an item may have swallowed the lane's cancellation
                return
            waiting = loop.create_future()
            self._idle.append(waiting)
            await waiting
