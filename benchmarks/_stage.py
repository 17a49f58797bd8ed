"""A fresh server with heddle's streams, roles on it as processes, and what these cost the machine."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from benchmarks._run import ROLES, RULES, produce
from heddle import children, subjects
from heddle.broker.connect import connected, js_api
from heddle.broker.outbox import Outbox
from heddle.broker.server import embedded
from heddle.broker.streams import make_consumer, make_streams
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer

TASK = (
    b'{"task_id":"goal-01-%08d","parent_task_id":"goal-01","worker_type":"noop","payload":{"repository":"acme/checkout","count":3,'
    b'"labels":["feat","fix","docs"],"options":{"dry_run":false,"depth":1.5},"text":"' + b"x" * 146 + b'"},"model_tier":"local",'
    b'"priority":"normal","created_at":"2026-01-01T00:00:00Z","request_id":"request-1","metadata":{"team":"weaving","source":"benchmark"},'
    b'"_trace_context":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}'
)
ROUTED = "heddle.tasks.noop.local"


@dataclass(slots=True)
class Stage:
    """A fresh server with heddle's streams, and the roles started on it."""

    client: Client
    url: str
    server_pid: int
    folder: Path
    observer: Observer
    started: list[children.Child] = field(default_factory=list)

    def start(self, role: str, count: int = 10**9) -> int:
        """Start a role as a process; its pid."""
        child = children.start(ROLES[role](self.folder, self.url, count), env=dict(os.environ))
        self.started.append(child)
        return child.pid

    async def stored(self, stream: str) -> int:
        """Messages in a stream.

        Raises:
            RuntimeError: a role has ended before its time.
        """
        for child in self.started:
            if child.process.poll():
                raise RuntimeError(f"a role ended with exit code {child.process.returncode}; see above")
        return int((await js_api(self.client, f"STREAM.INFO.{stream}"))["state"]["messages"])

    async def fill(self, count: int, *, body: bytes = TASK, into: str = subjects.TASKS_INCOMING, message_id: str = "p%d") -> None:
        """Publish so many tasks, and wait until they are stored."""
        await produce(Outbox(self.client, self.observer), into, count, body=body, message_id=message_id)


@asynccontextmanager
async def stage(rules: str = RULES) -> AsyncIterator[Stage]:
    """A fresh server with heddle's streams, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as name, embedded() as server:
        folder = Path(name)
        (folder / "rules.yaml").write_text(rules)
        observer = Observer()
        async with connected(server.url, "benchmark", observer) as client:
            await make_streams(client, StreamSettings(), observer)
            await make_consumer(
                client, subjects.INCOMING, "heddle-router", filter_subject=subjects.TASKS_INCOMING, ack_wait=4, max_ack_pending=16384
            )
            await make_consumer(client, subjects.TASKS, "noop=local", filter_subject=ROUTED, ack_wait=5, max_ack_pending=16384)
            on = Stage(client, server.url, server.pid, folder, observer)
            try:
                yield on
            finally:
                for child in on.started:
                    children.stop(child)


def resident(pid: int) -> float:
    """MB of memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


async def until(what: Callable[[], Any], patience: float = 120.0) -> None:
    """Wait until an awaitable condition holds."""
    async with asyncio.timeout(patience):
        while not await what():  # noqa: ASYNC110  # a stream has no event to wait for
            await asyncio.sleep(0.02)


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios round by round: what troubles a whole round troubles both."""
    return statistics.median([one / other for one, other in zip(ours, others, strict=True)])
