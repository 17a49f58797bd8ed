"""Lanes: many items, few Tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.worker.lanes import Lanes


class Bench:
    """Work that is watched: items that wait do so until they are let go."""

    def __init__(self, limit: int) -> None:
        self.lanes: Lanes[int] = Lanes(limit, self.work)
        self.waits: set[int] = set()
        self.gates: dict[int, asyncio.Event] = {}
        self.started: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.tasks: set[asyncio.Task[object] | None] = set()
        self.running = 0
        self.most = 0

    async def work(self, item: int) -> None:
        self.started.append(item)
        self.tasks.add(asyncio.current_task())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if item in self.waits:
                await self.gates.setdefault(item, asyncio.Event()).wait()
            self.ended.append(item)
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        finally:
            self.running -= 1

    async def put(self, *items: int, wait: bool = False) -> None:
        for item in items:
            if wait:
                self.waits.add(item)
            self.lanes.put(item)
        await settle()

    async def let_go(self, *items: int) -> None:
        for item in items:
            self.gates[item].set()
        await settle()


async def settle(turns: int = 100) -> None:
    """Give the loop turns until whatever can go on has gone on."""
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench(3)
    yield made
    await made.lanes.stop()


async def test_items_start_in_the_order_in_which_they_came(bench: Bench) -> None:
    await bench.put(*range(50))
    assert bench.started == list(range(50))


async def test_no_more_items_run_at_the_same_time_than_the_limit(bench: Bench) -> None:
    await bench.put(*range(10), wait=True)
    assert (bench.started, bench.running) == ([0, 1, 2], 3)


async def test_an_item_that_ends_makes_room_for_the_next_in_the_queue(bench: Bench) -> None:
    await bench.put(*range(10), wait=True)
    await bench.let_go(1)
    assert (bench.started, bench.ended, bench.running) == ([0, 1, 2, 3], [1], 3)


async def test_items_that_wait_do_not_hold_up_those_behind_them(bench: Bench) -> None:
    await bench.put(0, 1, wait=True)
    await bench.put(2, 3, 4)
    assert bench.ended == [2, 3, 4]


async def test_every_suspended_item_has_a_lane_of_its_own(bench: Bench) -> None:
    before = len(asyncio.all_tasks())
    await bench.put(0, 1, wait=True)
    assert (len(bench.tasks), len(asyncio.all_tasks()) - before <= 3) == (2, True)


async def test_items_that_never_suspend_share_one_task() -> None:
    bench = Bench(1024)
    before = len(asyncio.all_tasks())
    await bench.put(*range(2000))
    assert (len(bench.ended), len(bench.tasks)) == (2000, 1)
    assert len(asyncio.all_tasks()) - before <= 2
    await bench.lanes.stop()


async def test_items_that_come_one_by_one_cost_no_task_each(bench: Bench) -> None:
    for item in range(20):
        await bench.put(item)
    assert len(bench.tasks) <= 2


async def test_lanes_that_ended_their_item_are_used_again(bench: Bench) -> None:
    for item in range(0, 30, 3):
        await bench.put(item, item + 1, item + 2, wait=True)
        await bench.let_go(item, item + 1, item + 2)
    assert (len(bench.ended), len(bench.tasks)) == (30, 3)


async def test_after_a_burst_most_lanes_are_let_go() -> None:
    bench = Bench(1000)
    before = len(asyncio.all_tasks())
    await bench.put(*range(500), wait=True)
    await settle(2000)
    await bench.let_go(*range(500))
    assert len(bench.ended) == 500
    assert len(asyncio.all_tasks()) - before <= 100
    await bench.lanes.stop()


async def test_an_item_may_put_in_others() -> None:
    seen: list[int] = []

    async def work(item: int) -> None:
        seen.append(item)
        if item < 5:
            lanes.put(item + 1)

    lanes = Lanes(1, work)
    lanes.put(0)
    await settle()
    await lanes.stop()
    assert seen == [0, 1, 2, 3, 4, 5]


async def test_an_item_runs_in_a_real_task_so_that_timeouts_work() -> None:
    seen: list[str] = []

    async def work(item: str) -> None:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append(item)

    lanes = Lanes(2, work)
    lanes.put("late")
    lanes.put("too")
    await settle()
    await lanes.stop()
    assert seen == ["late", "too"]


async def test_stop_cancels_what_runs(bench: Bench) -> None:
    await bench.put(0, 1, wait=True)
    await bench.lanes.stop()
    assert sorted(bench.cancelled) == [0, 1]


async def test_stop_never_starts_what_is_queued(bench: Bench) -> None:
    await bench.put(*range(10), wait=True)
    await bench.lanes.stop()
    await settle()
    assert bench.started == [0, 1, 2]


async def test_stop_right_after_a_put_starts_nothing(bench: Bench) -> None:
    bench.lanes.put(0)
    await bench.lanes.stop()
    await settle()
    assert bench.started == []


async def test_stop_leaves_no_task_behind(bench: Bench) -> None:
    before = len(asyncio.all_tasks())
    await bench.put(*range(10), wait=True)
    await bench.lanes.stop()
    await settle()
    assert len(asyncio.all_tasks()) == before


async def test_what_is_put_in_after_stop_is_not_started(bench: Bench) -> None:
    await bench.put(0)
    await bench.lanes.stop()
    await bench.put(1)
    assert bench.started == [0]


async def test_an_item_that_swallows_its_cancellation_ends_its_lane_all_the_same() -> None:
    async def stubborn(_: int) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    before = len(asyncio.all_tasks())
    lanes = Lanes(2, stubborn)
    lanes.put(0)
    lanes.put(1)
    await settle()
    await asyncio.wait_for(lanes.stop(), 5)
    assert len(asyncio.all_tasks()) == before


async def test_stop_of_idle_lanes_is_at_once(bench: Bench) -> None:
    await bench.put(*range(10))
    await bench.lanes.stop()
    assert bench.cancelled == []


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=12))
@settings(max_examples=40, deadline=None)
def test_whatever_waits_and_whenever_it_is_let_go_every_item_runs_once_in_order_within_the_limit(
    limit: int, steps: list[tuple[bool, int]]
) -> None:
    async def schedule() -> Bench:
        bench = Bench(limit)
        for item, (waits, turns) in enumerate(steps):
            if waits:
                bench.waits.add(item)
            bench.lanes.put(item)
            for _ in range(turns):
                await asyncio.sleep(0)
            if gates := [gate for gate in bench.gates.values() if not gate.is_set()]:
                gates[turns % len(gates)].set()
        bench.waits.clear()
        while bench.running or len(bench.started) < len(steps):
            for gate in bench.gates.values():
                gate.set()
            await asyncio.sleep(0)
        await bench.lanes.stop()
        return bench

    bench = asyncio.run(asyncio.wait_for(schedule(), 5))
    assert bench.started == list(range(len(steps)))
    assert sorted(bench.ended) == bench.started
    assert bench.most <= limit
