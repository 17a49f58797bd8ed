"""The whole system on one machine, for `demo` and `up`: an embedded server, router and orchestrator here, the worker in a child."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from heddle.broker.server import Server, embedded
from heddle.cli.options import SERVER_FILE
from heddle.cli.roles import Ground, ground, read_rules
from heddle.cli.run_worker import worker_command
from heddle.control.fleet import workers
from heddle.errors import HeddleError
from heddle.macros.loading import load
from heddle.orchestrator.orchestrator import Orchestrator, orchestrating
from heddle.planners import planner_for
from heddle.router.reload import FileSource, reloading
from heddle.router.router import Router
from heddle.router.serving import routing
from heddle.settings import Settings
from heddle.subjects import FRONTIER
from heddle.worker.supervisor import Supervisor, supervising

_WORKER_START = 30.0
"""Seconds that the worker may take to announce itself."""


@dataclass(frozen=True, slots=True)
class System:
    """Everything that runs."""

    server: Server
    ground: Ground
    router: Router
    orchestrator: Orchestrator
    worker: Supervisor


@asynccontextmanager
async def system(
    settings: Settings,
    *,
    rules: Path,
    macros: list[str],
    root: Path | None = None,
    store: Path | None = None,
    port: int | None = None,
    log_level: str = "warning",
) -> AsyncIterator[System]:
    """Run everything for as long as the block runs.

    Args:
        settings: all settings; phrases stand in for the model unless the settings say otherwise. With a frontier model, a second worker
            process serves its tier.
        rules: the rules file.
        macros: where macros come from.
        root: the folder that the example macros look at, whatever the settings say of a forge; None leaves it to the settings.
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
        forge = {} if root is None else {"HEDDLE_FORGE__ROOT": str(root), "HEDDLE_FORGE__KIND": "local"}
        env = {**os.environ, "NATS_URL": server.url, **forge}
        novel = settings.frontier.provider is not None

        def process(number: int) -> list[str]:
            return worker_command(macros, log_level, tiers=[FRONTIER] if number else None)

        async with (
            planner_for(registry, settings) as planner,
            ground(server.url, "system", settings, log_level=log_level) as on,
            routing(on.client, on.streams, read, settings.router, on.observer, on.replica, audit_decisions=recorded) as router,
            reloading(router, FileSource(rules)),
            orchestrating(on.client, on.streams, planner, settings.orchestrator, on.observer, on.replica) as orchestrator,
            supervising(process, settings.worker, on.observer, env=env, processes=2 if novel else 1) as worker,
        ):
            await _announced(on.client, worker)
            yield System(server, on, router, orchestrator, worker)


async def _announced(client: Client, worker: Supervisor) -> None:
    """Wait until the worker says what it serves."""
    try:
        async with asyncio.timeout(_WORKER_START):
            while not await workers(client):  # the bucket is what others look at
                if worker.mistake.done():
                    raise HeddleError("the worker process ended at its start; its message stands above")
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise HeddleError(f"the worker did not announce itself within {_WORKER_START:g} s; the log above may say why") from None


def write_server_file(server: Server, folder: Path, dashboard: str) -> Path:
    """Tell other terminals in this folder where the server and the dashboard are, and which process holds them up."""
    file = folder / SERVER_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"url": server.url, "pid": os.getpid(), "dashboard": dashboard}))
    return file


def already_up(folder: Path) -> tuple[str, int] | None:
    """The URL and process of a `heddle up` that runs in this folder, if one does."""
    try:
        told = json.loads((folder / SERVER_FILE).read_text())
        os.kill(told["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return told["url"], told["pid"]
