"""What the benchmarks share: a fresh server, tasks with a window of PubAcks, roles as processes, and the clock of an observer."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nats.aio.msg import Msg

from heddle import children, subjects
from heddle.broker.connect import connected
from heddle.broker.outbox import Outbox
from heddle.broker.server import embedded
from heddle.broker.streams import make_consumer, make_streams
from heddle.control.fleet import workers
from heddle.errors import Refused
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer

HERE = Path(__file__).resolve().parent
RULES = "version: 1\ntiers: {local: {}}\nworker_types:\n  noop: {}\n" + "".join(f"  type_{number}: {{}}\n" for number in range(50))
MACRO = '''
from pydantic import BaseModel
from heddle import macro

class Nothing(BaseModel):
    text: str = ""

class Ok(BaseModel):
    ok: bool = True

@macro(tier="local")
async def noop(request: Nothing) -> Ok:
    """Do nothing."""
    return Ok()
'''
BODY = (
    b'{"task_id":"task-%07d","worker_type":"noop","payload":{"text":"' + b"x" * 300 + b'"},"model_tier":"local","priority":"normal",'
    b'"created_at":"2026-01-01T00:00:00Z","request_id":"request-1","metadata":{"team":"weaving","source":"benchmark"}}'
)

Roles = Sequence[str]
ROLES: dict[str, Callable[[Path, str, int], list[str]]] = {
    "router": lambda folder, url, _: _heddle("router", "--rules", str(folder / "rules.yaml"), "--server", url),
    "worker": lambda folder, url, _: _heddle("worker", "--macros", str(folder / "noop.py"), "--server", url, "--tiers", "local"),
    "bare relay": lambda _, url, count: [sys.executable, str(HERE / "_floor.py"), "relay", "--server", url, "--tasks", str(count)],
    "sink": lambda _, url, count: [sys.executable, str(HERE / "_floor.py"), "sink", "--server", url, "--tasks", str(count)],
    "bare worker": lambda _, url, count: [sys.executable, str(HERE / "_floor.py"), "work", "--server", url, "--tasks", str(count)],
}


def _heddle(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "heddle", "run", *arguments, "--log-level", "warning"]


def rate(roles: Roles, count: int, *, into: str = subjects.TASKS_INCOMING, seen_on: str = "heddle.results.default") -> float:
    """Messages per second, from the first to the last that is seen on `seen_on`, with these roles on a fresh server."""
    with tempfile.TemporaryDirectory() as name, embedded() as server:
        folder = Path(name)
        (folder / "rules.yaml").write_text(RULES)
        (folder / "noop.py").write_text(MACRO)
        return asyncio.run(_rate(folder, server.url, roles, count, into, seen_on))


async def _rate(folder: Path, url: str, roles: Roles, count: int, into: str, seen_on: str) -> float:
    observer = Observer()
    async with connected(url, "benchmark", observer) as client:
        await make_streams(client, StreamSettings(), observer)
        for stream, durable, subject in (
            (subjects.INCOMING, "heddle-router", into),
            (subjects.TASKS, "noop=local", "heddle.tasks.noop.local"),
        ):
            if subject == into or stream == subjects.TASKS:
                await make_consumer(client, stream, durable, filter_subject=subject, ack_wait=5, max_ack_pending=16384)
        seen, first, last = 0, 0.0, asyncio.Event()

        async def on_seen(_: Msg) -> None:
            nonlocal seen, first
            first = first or time.perf_counter()
            seen += 1
            if seen == count:
                last.set()

        await client.subscribe(seen_on, cb=on_seen, pending_msgs_limit=-1, pending_bytes_limit=-1)
        started = [children.start(ROLES[role](folder, url, count), env=dict(os.environ)) for role in roles]
        try:
            await asyncio.sleep(2)  # the roles are importing
            while "worker" in roles and not await workers(client):  # noqa: ASYNC110  # its supervisor came first
                await asyncio.sleep(0.1)
            await produce(Outbox(client, observer), into, count)
            async with asyncio.timeout(120):
                await last.wait()
            return count / (time.perf_counter() - first)
        finally:
            for child in started:
                children.stop(child)


async def produce(outbox: Outbox, into: str, count: int, *, body: bytes = BODY, message_id: str = "p%d") -> None:
    """Publish `count` messages with a window of PubAcks, and wait for the last; `%d` becomes a message's number."""
    await outbox.start()
    room = asyncio.Semaphore(1024)

    async def stored(_: None, refused: Refused | None) -> None:
        if refused is not None:
            raise refused
        room.release()

    for number in range(count):
        await room.acquire()
        await outbox.send(into, body % number, stored, None, {"Nats-Msg-Id": message_id % number})
    for _ in range(1024):
        await room.acquire()


def middle(figures: Sequence[float]) -> str:
    """Least, median and greatest."""
    return f"{min(figures):.0f} / {statistics.median(figures):.0f} / {max(figures):.0f}"
