"""`heddle run worker`: a supervisor, and the worker processes under it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from heddle.cli.options import Level, LogLevel, Macros, MetricsHost, Server, macro_sources, server_url, words
from heddle.cli.output import Exit, run, until_stopped
from heddle.cli.roles import ground
from heddle.errors import SettingsError
from heddle.macros.loading import load
from heddle.messages import is_name
from heddle.settings import load_settings
from heddle.subjects import FRONTIER
from heddle.telemetry.observer import Observer, logger
from heddle.worker.serving import working
from heddle.worker.supervisor import supervising

NOVEL_MACRO = "heddle.frontier.novel"
"""The module of the macro `novel`, which only a worker of the frontier tier serves, and only if its model is configured."""


def worker(
    server: Server = None,
    macros: Macros = None,
    types: Annotated[list[str] | None, typer.Option("--types", help="Worker types to serve. Default: all macros'.")] = None,
    tiers: Annotated[list[str] | None, typer.Option("--tiers", help="Tiers to serve. Default: every declared tier but frontier.")] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, max=256, help="Worker processes under this one.")] = 1,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Serve Prometheus metrics on this port; further processes on those that follow.")
    ] = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_level: LogLevel = Level.INFO,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Run macros."""
    if child:
        run(_work(server, macros, words(types), words(tiers), metrics_port, metrics_host, log_level))
        return

    def command(number: int) -> list[str]:
        port = None if metrics_port is None else metrics_port + number
        return worker_command(macros, log_level, types=types, tiers=tiers, metrics_port=port, metrics_host=metrics_host)

    async def supervise() -> int:
        settings = load_settings()
        env = {**os.environ, "NATS_URL": server_url(server)}
        observer = Observer(logger("supervisor", log_level))
        async with supervising(command, settings.worker, observer, env=env, processes=processes) as supervisor:
            ends: list[asyncio.Future[Any]] = [asyncio.create_task(until_stopped()), supervisor.mistake]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return supervisor.mistake.result() if supervisor.mistake.done() else Exit.DONE

    if code := run(supervise()):
        raise typer.Exit(code)


def worker_command(
    macros: Sequence[str] | None,
    log_level: str,
    *,
    types: Sequence[str] | None = None,
    tiers: Sequence[str] | None = None,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
) -> list[str]:
    """The command line of one process under a supervisor; NATS_URL in its environment names the server, so that `ps` shows no password."""
    argv = [sys.executable, "-m", "heddle", "run", "worker", "--child", "--log-level", log_level]
    for option, values in (("--macros", macros), ("--types", types), ("--tiers", tiers)):
        for value in values or ():
            argv += [option, value]
    return argv if metrics_port is None else [*argv, "--metrics-port", str(metrics_port), "--metrics-host", metrics_host]


async def _work(
    server: str | None,
    macros: list[str] | None,
    types: list[str] | None,
    tiers: list[str] | None,
    metrics_port: int | None,
    metrics_host: str,
    log_level: str,
) -> None:
    """One worker process, until its supervisor ends it."""
    stopped = asyncio.create_task(until_stopped(once=False))
    settings = load_settings()
    sources = macro_sources(macros)
    if tiers == [FRONTIER] and settings.frontier.provider is not None:
        sources = [*sources, NOVEL_MACRO]
    registry = load(sources)
    for tier in tiers or ():
        if not is_name(tier):
            raise SettingsError(f"--tiers: {tier!r} cannot be a tier's name: lower-case letters, digits, - and _, at most 63")
    url = server_url(server)
    async with (
        ground(url, "worker", settings, log_level=log_level, metrics_port=metrics_port, metrics_host=metrics_host) as on,
        working(on.client, on.streams, registry, settings, on.observer, on.replica, types=types, tiers=tiers),
    ):
        await stopped
