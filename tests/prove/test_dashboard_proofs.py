"""What takes minutes to show of the dashboard: that it may stay open; runs under `make prove`, and prints its figures."""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import httpx
import pytest
from playwright.async_api import Browser, Page, async_playwright

from benchmarks._stage import Stage, cpu_seconds, ratio, resident, stage
from heddle import children, subjects
from heddle.broker.outbox import Outbox
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

ROUNDS = 30
WARM, STEP = 4_000, 15_000
"""Tasks until the router runs at its full rate, and those of a stretch that is measured."""
ABBA = (True, False, False, True)
"""Whether the page is open in each of a round's stretches; what changes steadily meanwhile troubles both alike."""


@asynccontextmanager
async def looked_at(served: Served) -> AsyncIterator[None]:
    """Somebody has the page of the flow open; a reader that costs next to nothing, so that what is measured is the dashboard."""
    headers = {"Accept": "text/event-stream"}
    async with (
        httpx.AsyncClient(base_url=served.address, headers=headers, timeout=60, trust_env=False) as http,
        http.stream("GET", "/") as answer,
    ):
        lines = answer.aiter_lines()
        while not (await anext(lines)).startswith("data: "):
            pass
        async with meanwhile(read(lines)):
            yield


async def read(lines: AsyncIterator[str]) -> None:
    async for _ in lines:
        pass


class Stretch(NamedTuple):
    """Tasks that a router moved, the seconds that it took, and seconds of CPU of the router and of the dashboard."""

    tasks: int
    seconds: float
    router: float
    dashboard: float


async def stretch(on: Stage, router: int, dashboard: int, until: int) -> Stretch:
    """How the router moves tasks until so many have passed."""
    before, begun = await on.stored(subjects.TASKS), time.perf_counter()
    used = cpu_seconds(router), cpu_seconds(dashboard)
    while (passed := await on.stored(subjects.TASKS)) < until:  # noqa: ASYNC110  # a stream has no event to wait for
        await asyncio.sleep(0.02)
    took = time.perf_counter() - begun
    return Stretch(passed - before, took, cpu_seconds(router) - used[0], cpu_seconds(dashboard) - used[1])


def together(stretches: Iterable[Stretch]) -> Stretch:
    tasks, seconds, router, dashboard = map(sum, zip(*stretches, strict=True))
    return Stretch(tasks, seconds, router, dashboard)


async def opened_and_closed() -> tuple[Stretch, Stretch]:
    """What one router does with the page open, and with the page closed."""
    async with stage() as on, dashboard(on.url) as served:
        await on.fill(WARM + (len(ABBA) + 1) * STEP)
        router = on.start("router")
        await stretch(on, router, served.pid, WARM)
        seen: dict[bool, list[Stretch]] = {True: [], False: []}
        for number, is_open in enumerate(ABBA, 1):
            async with looked_at(served) if is_open else contextlib.nullcontext():
                seen[is_open].append(await stretch(on, router, served.pid, WARM + number * STEP))
        return together(seen[True]), together(seen[False])


async def test_an_open_page_leaves_the_router_its_rate() -> None:
    rounds = [await opened_and_closed() for _ in range(ROUNDS)]
    rates = [(opened.tasks / opened.seconds, closed.tasks / closed.seconds) for opened, closed in rounds]
    cpu = [(opened.router / opened.tasks * 1e6, closed.router / closed.tasks * 1e6) for opened, closed in rounds]
    shares = sorted(opened / closed for opened, closed in rates)
    taken = together(opened for opened, _ in rounds)
    for name, figures, unit in (("rate", rates, "tasks/s"), ("the router's CPU", cpu, "µs per task")):
        middles = " : ".join(f"{statistics.median(side):,.1f}" for side in zip(*figures, strict=True))
        print(f"{name}, open : closed: {middles} {unit}; {ratio(*zip(*figures, strict=True)):.3f}, median of {ROUNDS} rounds")  # noqa: T201
    print(f"the middle half of the rounds: {shares[ROUNDS // 4]:.3f} to {shares[-ROUNDS // 4]:.3f}")  # noqa: T201
    print(f"the dashboard used {taken.dashboard / taken.seconds * 100:.1f} % of a core")  # noqa: T201
    assert statistics.median(shares) > 0.95
