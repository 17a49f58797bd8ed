"""What takes minutes to show of the dashboard: that it may stay open; runs under `make prove`, and prints its figures."""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import httpx
import pytest
from playwright.async_api import Browser, Page, async_playwright

from benchmarks.router import Rate, Stage, cpu_seconds, ratio, resident, stage
from heddle import children, subjects
from heddle.broker.relay import Outbox
from heddle.control.goals import goal_shown, new_goal, submit_goal
from tests.support import RULES, Ground, eventually, on_ground
from tests.web.test_browser import browser_path, opened

pytestmark = pytest.mark.prove

with_a_browser = pytest.mark.skipif(browser_path() is None, reason="NO BROWSER: nobody looked at what an open page holds")


class Served(NamedTuple):
    """A dashboard in a process of its own."""

    address: str
    pid: int


@asynccontextmanager
async def dashboard(url: str) -> AsyncIterator[Served]:
    child = children.start([sys.executable, "-m", "heddle", "dashboard", "--port", "0", "--server", url], stdout=subprocess.PIPE)
    assert child.process.stdout is not None
    try:
        with child.process.stdout as out:
            said = (await asyncio.to_thread(out.readline)).decode()
            found = re.search(r"http://\S+", said)
            assert found is not None, said
            yield Served(found[0].rstrip("/"), child.pid)
    finally:
        children.stop(child)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path())
        yield browser
        await browser.close()


@asynccontextmanager
async def meanwhile(work: Awaitable[None]) -> AsyncIterator[None]:
    """Something goes on while the block runs."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        ended_by_itself = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not ended_by_itself


# --- the memory

MINUTES = 10
EVERY = 30.0
"""Seconds between two looks."""
SETTLED = 90.0
"""Seconds until the curves are full and every kind of thing was shown."""


class Held(NamedTuple):
    """What a page holds after a garbage collection: its heap in kB, and its nodes, those that hang nowhere among them."""

    heap: int
    nodes: int
    listeners: int


async def held(page: Page) -> Held:
    session = await page.context.new_cdp_session(page)
    for _ in range(2):
        await session.send("HeapProfiler.collectGarbage")
    heap = await session.send("Runtime.getHeapUsage")
    counters = await session.send("Memory.getDOMCounters")
    await session.detach()
    return Held(round(heap["usedSize"] / 1000), counters["nodes"], counters["jsEventListeners"])


class Cost(NamedTuple):
    """MB that the browser's pages hold in all, as the machine sees it, and seconds of CPU that all of it has used."""

    memory: float
    cpu: float


async def cost(browser: Browser) -> Cost:
    session = await browser.new_browser_cdp_session()
    found = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
    await session.detach()
    return Cost(sum(resident(one["id"]) for one in found if one["type"] == "renderer"), sum(one["cpuTime"] for one in found))


async def tasks_at(ground: Ground, per_second: int) -> None:
    outbox = Outbox(ground.client, ground.observer)
    await outbox.start()
    begun, sent = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - begun) * per_second) - sent
        await asyncio.gather(
            *(outbox.publish(subjects.TASKS_INCOMING, b'{"worker_type":"echo","payload":{},"model_tier":"local"}') for _ in range(due))
        )
        sent += due
        await asyncio.sleep(0.05)


async def goals_each(ground: Ground, seconds: float) -> None:
    while True:
        await submit_goal(ground.client, new_goal("echo hello"))
        await asyncio.sleep(seconds)


@asynccontextmanager
async def at_work(ground: Ground) -> AsyncIterator[str]:
    """A thousand tasks a second, a goal every other, and one goal, whose id is given, that does not end: nobody serves its tier."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ground.router(RULES.replace("broken: {}", "broken: {tier: slow}")))
        await stack.enter_async_context(ground.worker(tiers=["local"]))
        await stack.enter_async_context(ground.orchestrator())
        running = new_goal("break hello")
        for goal in [running, *(new_goal("echo hello") for _ in range(60))]:  # more than a page of goals
            await submit_goal(ground.client, goal)
        await eventually(lambda: goal_shown(ground.client, running.goal_id or ""), lambda seen: bool(seen and seen.state))
        await stack.enter_async_context(meanwhile(tasks_at(ground, 1000)))
        await stack.enter_async_context(meanwhile(goals_each(ground, 2.0)))
        yield running.goal_id or ""


def grown(figures: Sequence[float]) -> float:
    """How much more the last third holds than the first, as a share: medians, since a look now and then finds the last update still held."""
    third = max(1, len(figures) // 3)
    return statistics.median(figures[-third:]) / statistics.median(figures[:third]) - 1


@with_a_browser
async def test_with_a_thousand_tasks_a_second_an_open_page_holds_the_same_for_ten_minutes(nats_url: str) -> None:
    async with on_ground(nats_url) as ground, at_work(ground) as running, dashboard(nats_url) as served, chromium() as browser:
        pages = {path: await opened(browser, served.address + path) for path in ("/", "/goals", f"/goals/{running}")}
        await asyncio.sleep(SETTLED)
        ended, used, begun = await ground.waiting(subjects.OUTCOMES), cpu_seconds(served.pid), time.monotonic()
        used_by_browser = (await cost(browser)).cpu
        of_page: dict[str, list[Held]] = {path: [] for path in pages}
        server: list[float] = []
        for turn in range(int(MINUTES * 60 / EVERY) + 1):
            await asyncio.sleep(max(0.0, begun + turn * EVERY - time.monotonic()))
            for path, page in pages.items():
                of_page[path].append(await held(page))
            server.append(resident(served.pid))
            told = ", ".join(f"{path.partition('goal-')[0]} {figures[-1]}" for path, figures in of_page.items())
            process = f"renderers {(await cost(browser)).memory:.0f} MB; dashboard {server[-1]:.1f} MB"
            print(f"{turn * EVERY:4.0f} s: {told}; {process}", flush=True)  # noqa: T201  # the figures are what the proof is for
        took = time.monotonic() - begun
        rate, share = (await ground.waiting(subjects.OUTCOMES) - ended) / took, (cpu_seconds(served.pid) - used) / took
        browsing = ((await cost(browser)).cpu - used_by_browser) / took
        told = f"the dashboard used {share * 100:.1f} % of a core, the browser with {len(pages)} pages {browsing * 100:.0f} %"
        print(f"{rate:.0f} tasks/s ended; {told}")  # noqa: T201
        assert rate > 950
        assert [await page.locator("#link").inner_text() for page in pages.values()] == ["Live"] * len(pages)
    heaps = {path: grown([one.heap for one in figures]) for path, figures in of_page.items()}
    nodes = {path: grown([one.nodes for one in figures]) for path, figures in of_page.items()}
    assert max(heaps.values()) < 0.03, heaps
    assert max(nodes.values()) < 0.03, nodes
    assert grown(server) < 0.03, server


# --- the router's rate

ROUNDS = 16
WAITING, FIRST, HALF, LAST = 66_000, 6_000, 33_000, 60_000
"""Tasks that wait for the router, and after how many it is warm, half through, and at the end."""


@asynccontextmanager
async def looked_at(served: Served) -> AsyncIterator[None]:
    """Somebody has the page of the flow open; a reader that costs next to nothing, so that what is measured is the dashboard."""
    headers = {"Accept": "text/event-stream"}
    async with (
        httpx.AsyncClient(base_url=served.address, headers=headers, timeout=60, trust_env=False) as http,
        http.stream("GET", "/") as answer,
        meanwhile(read(answer.aiter_lines())),
    ):
        yield


async def read(lines: AsyncIterator[str]) -> None:
    async for _ in lines:
        pass


async def passage(on: Stage, router: int, until: int) -> Rate:
    """How the router moves tasks until so many have passed."""
    begun, worked, before = time.perf_counter(), cpu_seconds(router), await on.stored(subjects.TASKS)
    while (passed := await on.stored(subjects.TASKS)) < until:  # noqa: ASYNC110  # a stream has no event to wait for
        await asyncio.sleep(0.02)
    moved = passed - before
    return Rate(moved / (time.perf_counter() - begun), (cpu_seconds(router) - worked) / moved * 1e6)


class Halves(NamedTuple):
    """One router with a page open and without, and the share of a core that the dashboard took meanwhile."""

    open: Rate
    closed: Rate
    dashboard: float


async def halves(*, open_first: bool) -> Halves:
    """Half of the way with the page open, half without."""
    async with stage() as on, dashboard(on.url) as served:
        await on.fill(WAITING)
        router = on.start("router")
        await passage(on, router, FIRST)
        rates: dict[bool, Rate] = {}
        taken: dict[bool, float] = {}
        for is_open, until in ((open_first, HALF), (not open_first, LAST)):
            async with looked_at(served) if is_open else contextlib.nullcontext():
                begun, before = time.monotonic(), cpu_seconds(served.pid)
                rates[is_open] = await passage(on, router, until)
                taken[is_open] = (cpu_seconds(served.pid) - before) / (time.monotonic() - begun)
        return Halves(rates[True], rates[False], taken[True])


async def test_an_open_page_leaves_the_router_its_rate() -> None:
    rounds = [await halves(open_first=turn % 2 == 0) for turn in range(ROUNDS)]
    rate = ratio([one.open.per_second for one in rounds], [one.closed.per_second for one in rounds])
    cpu = ratio([one.open.cpu_us for one in rounds], [one.closed.cpu_us for one in rounds])
    for name, seen in (("open", [one.open for one in rounds]), ("closed", [one.closed for one in rounds])):
        told = f"{statistics.median(one.per_second for one in seen):,.0f} tasks/s, {statistics.median(one.cpu_us for one in seen):.1f} µs of CPU each"
        print(f"{name}: {told}")  # noqa: T201
    taken = statistics.median(one.dashboard for one in rounds) * 100
    print(f"open : closed, median of rounds: rate {rate:.3f}, CPU per task {cpu:.3f}; the dashboard took {taken:.1f} % of a core")  # noqa: T201
    assert rate > 0.95, rounds
