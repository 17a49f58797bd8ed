"""What the tests on a real server share: roles in this process, and looks into the streams."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from nats.aio.client import Client
from pydantic import BaseModel

from heddle import macro, reject, subjects
from heddle.broker.connect import connected, js_api, stored_from
from heddle.broker.streams import Streams, make_streams
from heddle.control.tasks import Ended, new_task, submit_message, task_followed, task_message_id
from heddle.llm.model import Model
from heddle.macros.loading import AnyMacro, Registry, collect
from heddle.messages import DeadLetter, TaskMessage, TaskResult, decode
from heddle.orchestrator.orchestrator import Orchestrator, orchestrating
from heddle.planner import make_planner
from heddle.router.reading import parse_rules
from heddle.router.router import Router
from heddle.router.serving import routing
from heddle.settings import OrchestratorSettings, PlannerSettings, RouterSettings, Settings, StreamSettings, WorkerSettings
from heddle.telemetry.observer import Observer
from heddle.worker.serving import working
from heddle.worker.worker import Worker

T = TypeVar("T")

RULES = """\
version: 1
tiers:
  local: {}
  standard: {}
  slow: {rate: 1/h, burst: 1, max_wait: 0s}
worker_types:
  echo: {}
  broken: {}
  limited: {tier: slow}
"""

PATIENCE = 20.0
"""Seconds after which a test gives up waiting for something that is to happen."""


class Word(BaseModel):
    """An input."""

    word: str = ""


class Echoed(BaseModel):
    """An output."""

    word: str


class Broken(Exception):
    """A declared failure."""


@macro(tier="local", examples=[("echo hello", {"word": "hello"})], phrases=["echo {word}"])
async def echo(request: Word) -> Echoed:
    """Say a word again."""
    return Echoed(word=request.word)


@macro(tier="local", fails={Broken: reject}, phrases=["break {word}"])
async def broken(request: Word) -> Echoed:
    """Fail as declared."""
    raise Broken(request.word)


@macro(tier="local", phrases=["surprise {word}"])
async def unruled(request: Word) -> Echoed:
    """Do what the rules do not know."""
    return Echoed(word=request.word)


def registry_of(*macros: AnyMacro) -> Registry:
    """A registry of macros defined in a test."""
    return collect(iter(macros or (echo, broken, unruled)))


FAST = Settings(
    router=RouterSettings(window=64, ack_wait=2.0),
    worker=WorkerSettings(slots=64, ack_wait=2.0, grace=2.0, version_wait=0.0),
    orchestrator=OrchestratorSettings(ack_wait=2.0),
)


def planning(phrases: Literal["off", "fallback", "first"] = "off", **more: Any) -> Settings:
    """Settings for a planner; `more` are fields of `settings.planner`."""
    return Settings(planner=PlannerSettings(phrases=phrases, **{"admission": "off", **more}))


@dataclass
class Ground:
    """A connection with the streams made."""

    client: Client
    streams: Streams
    observer: Observer

    @asynccontextmanager
    async def router(self, rules: str = RULES, replica: str = "r1", settings: Settings = FAST) -> AsyncIterator[Router]:
        async with routing(self.client, self.streams, parse_rules(rules), settings.router, self.observer, replica) as router:
            yield router

    @asynccontextmanager
    async def worker(
        self, registry: Registry | None = None, replica: str = "w1", settings: Settings = FAST, **more: Any
    ) -> AsyncIterator[Worker]:
        async with working(self.client, self.streams, registry or registry_of(), settings, self.observer, replica, **more) as worker:
            yield worker

    @asynccontextmanager
    async def orchestrator(
        self,
        model: Model | None = None,
        phrases: Literal["off", "fallback", "first"] = "first",
        registry: Registry | None = None,
        replica: str = "o1",
        settings: Settings = FAST,
    ) -> AsyncIterator[Orchestrator]:
        planner = make_planner(registry or registry_of(), model, planning(phrases) if settings is FAST else settings)
        async with orchestrating(self.client, self.streams, planner, FAST.orchestrator, self.observer, replica) as orchestrator:
            yield orchestrator

    @asynccontextmanager
    async def all_roles(self, rules: str = RULES) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for role in (self.router(rules), self.worker(), self.orchestrator()):
                await stack.enter_async_context(role)
            yield

    async def publish(self, subject: str, body: bytes | dict[str, Any]) -> None:
        """A publish without headers, as `nats req` makes it: it is stored when this returns."""
        await self.client.request(subject, body if isinstance(body, bytes) else json.dumps(body).encode(), timeout=5)

    async def letters(self, count: int = 1) -> list[DeadLetter]:
        """The dead letters, once there are `count` of them."""

        async def look() -> list[DeadLetter]:
            found = await stored_from(self.client, subjects.DEAD, 1, "heddle.dead.>", 1000)
            return [decode(DeadLetter, letter.body) for letter in found]

        return await eventually(look, lambda found: len(found) >= count)

    async def outcomes(self, count: int = 1, under: str = "heddle.outcomes.>") -> list[TaskResult]:
        """The stored outcomes, once there are `count` of them."""

        async def look() -> list[TaskResult]:
            found = await stored_from(self.client, subjects.OUTCOMES, 1, under, 1000)
            return [decode(TaskResult, outcome.body) for outcome in found]

        return await eventually(look, lambda found: len(found) >= count)

    async def all_outcomes(self) -> list[TaskResult]:
        """Every stored outcome, page by page."""
        found: list[TaskResult] = []
        at = 1
        while page := await stored_from(self.client, subjects.OUTCOMES, at, "heddle.outcomes.>", 1000):
            found += [decode(TaskResult, one.body) for one in page]
            at = page[-1].sequence + 1
        return found

    async def waiting(self, stream: str) -> int:
        """How many messages a stream holds."""
        return int((await js_api(self.client, f"STREAM.INFO.{stream}"))["state"]["messages"])

    async def empty(self, *streams: str) -> None:
        """Wait until these streams hold nothing: every message was acked."""
        for stream in streams:
            await eventually(lambda name=stream: self.waiting(name), lambda held: held == 0)  # type: ignore[misc]

    async def run_task(self, worker_type: str, payload: dict[str, Any], **more: Any) -> TaskResult:
        """Submit a task and follow it to its outcome."""
        return await self.follow(new_task(worker_type, payload, **more))

    async def follow_patiently(self, worker_type: str, payload: dict[str, Any]) -> TaskResult:
        """The same on the local tier, for a task that comes back several times before it ends."""
        return await self.follow(new_task(worker_type, payload, tier="local"), patience=60.0)

    async def follow(self, task: TaskMessage, patience: float = PATIENCE) -> TaskResult:
        """Submit this task and follow it to its outcome."""
        async with asyncio.timeout(patience), task_followed(self.client, task) as steps:
            await submit_message(self.client, task, subjects.TASKS_INCOMING, task_message_id(task))
            async for step in steps:
                if isinstance(step, Ended):
                    return step.result
        raise AssertionError("following ends with the outcome")


@asynccontextmanager
async def on_ground(url: str, settings: StreamSettings | None = None) -> AsyncIterator[Ground]:
    """A connection to the test server, with the streams made."""
    observer = Observer()
    async with connected(url, "test", observer) as client:
        yield Ground(client, await make_streams(client, settings or StreamSettings(), observer), observer)


async def eventually(look: Callable[[], Awaitable[T]], good: Callable[[T], bool], patience: float = PATIENCE) -> T:
    """Look again and again until what is seen is good; the last sight is in the error."""
    until = time.monotonic() + patience
    while True:
        seen = await look()
        if good(seen):
            return seen
        assert time.monotonic() < until, f"it never came about; last seen: {seen!r}"
        await asyncio.sleep(0.02)


def assert_within(times: list[float], rate: float, burst: int, begun: float) -> None:
    """No more than a full bucket and what the rate gave since `begun`; how a slow machine bunches what was granted does not matter."""
    for number, at in enumerate(times, 1):
        assert number <= burst + rate * (at - begun) + 1e-3 * rate, f"task {number} came {at - begun:.3f} s after the first could"


def workers_under(pid: int) -> list[int]:
    """The process ids of the workers that a supervisor has: what a test kills when it means the worker."""
    told = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=3) for line in told.splitlines()]
    return [int(row[0]) for row in rows if row[1] == str(pid) and not row[2].startswith("Z") and "--child" in row[3].split()]


async def gone(pid: int) -> None:
    """Wait until a process has ended, even if nobody has asked how."""

    async def state() -> str:
        argv = ["ps", "-o", "stat=", "-p", str(pid)]
        told = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False)
        return str(told.stdout).strip()

    await eventually(state, lambda seen: not seen or seen.startswith("Z"))


def by_id(results: Sequence[TaskResult]) -> dict[str, TaskResult]:
    """Results by their task's id."""
    return {result.task_id: result for result in results}
