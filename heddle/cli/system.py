"""The whole system on one machine, for `demo` and `up`: an embedded server, router and orchestrator here, the worker in a child."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nats.aio.client import Client

from heddle import children
from heddle.broker.server import Server, embedded
from heddle.cli.options import SERVER_FILE
from heddle.cli.roles import Ground, ground, planner_for, read_rules
from heddle.control.fleet import workers
from heddle.errors import HeddleError
from heddle.macros.loading import load
from heddle.orchestrator import Orchestrator, orchestrating
from heddle.router.reload import FileSource, reloading
from heddle.router.router import Router, routing
from heddle.settings import Settings

_WORKER_START = 30.0
"""Seconds that the worker may take to announce itself."""


@dataclass(slots=True)
class WorkerProcess:
    """The worker in its child process; it can be killed and started again."""

    url: str
    macros: list[str]
    root: Path
    log_level: str
    child: children.Child | None = field(default=None)

    def start(self) -> None:
        """Start the child; it dies with us, however we die."""
        argv = [sys.executable, "-m", "heddle", "run", "worker", "--server", self.url, "--log-level", self.log_level]
        for source in self.macros:
            argv += ["--macros", source]
        self.child = children.start(argv, env={**os.environ, "HEDDLE_FORGE__ROOT": str(self.root)})

    @property
    def alive(self) -> bool:
        """Does it run?"""
        return self.child is not None and self.child.process.poll() is None

    async def stop(self) -> None:
        """Let the worker finish what it holds, and end it."""
        if self.child is not None:
            child, self.child = self.child, None
            await asyncio.to_thread(children.stop, child)

    async def kill(self) -> None:
        """End the worker as a power cut would."""
        if self.child is not None:
            child, self.child = self.child, None
            child.process.kill()
            await asyncio.to_thread(children.stop, child)

    async def restart(self) -> None:
        """End it in good order, then start it anew."""
        await self.stop()
        self.start()


@dataclass(frozen=True, slots=True)
class System:
    """Everything that runs."""

    server: Server
    ground: Ground
    router: Router
    orchestrator: Orchestrator
    worker: WorkerProcess


@asynccontextmanager
async def system(
    settings: Settings,
    *,
    rules: Path,
    macros: list[str],
    root: Path,
    store: Path | None = None,
    port: int | None = None,
    log_level: str = "warning",
) -> AsyncIterator[System]:
    """Run everything for as long as the block runs.

    Args:
        settings: all settings; phrases stand in for the model unless the settings say otherwise.
        rules: the rules file.
        macros: where macros come from.
        root: the folder that the example macros may look at.
        store: where the server keeps its streams; a temporary folder if None.
        port: the server's port; any free one if None.
        log_level: of the log on standard error.

    Raises:
        HeddleError: a part could not be started; it says which and what to do.
    """
    read = read_rules(rules)
    registry = load(macros)
    recorded = settings.telemetry.log_routing_decisions
    if "phrases" not in settings.planner.model_fields_set:
        settings = settings.model_copy(update={"planner": settings.planner.model_copy(update={"phrases": "fallback"})})
    with embedded(store, port=port) as server:
        async with (
            planner_for(registry, settings) as planner,
            ground(server.url, "system", settings, log_level=log_level) as on,
            routing(on.client, on.streams, read, settings.router, on.observer, on.replica, audit_decisions=recorded) as router,
            reloading(router, FileSource(rules)),
            orchestrating(on.client, on.streams, planner, settings.orchestrator, on.observer, on.replica) as orchestrator,
        ):
            worker = WorkerProcess(server.url, macros, root, log_level)
            worker.start()
            try:
                await _announced(on.client, worker)
                yield System(server, on, router, orchestrator, worker)
            finally:
                await worker.stop()


async def _announced(client: Client, worker: WorkerProcess) -> None:
    """Wait until the worker says what it serves."""
    async with asyncio.timeout(_WORKER_START):
        while not await workers(client):  # the bucket is what others look at
            if not worker.alive:
                raise HeddleError("the worker process ended at its start; its message stands above")
            await asyncio.sleep(0.02)


def write_server_file(server: Server, folder: Path) -> Path:
    """Tell other terminals in this folder where the server is, and which process holds it up."""
    file = folder / SERVER_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"url": server.url, "pid": os.getpid()}))
    return file


def already_up(folder: Path) -> tuple[str, int] | None:
    """The URL and process of a `heddle up` that runs in this folder, if one does."""
    try:
        told = json.loads((folder / SERVER_FILE).read_text())
        os.kill(told["pid"], 0)
    except (OSError, ValueError, KeyError):
        return None
    return told["url"], told["pid"]
