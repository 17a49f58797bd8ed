"""`heddle run …`: one role, for production."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heddle.cli.options import (
    Level,
    LogLevel,
    Macros,
    MetricsHost,
    MetricsPort,
    Server,
    macro_sources,
    rules_path,
    server_url,
    words,
)
from heddle.cli.output import run, until_stopped
from heddle.cli.roles import ground, planner_for
from heddle.errors import SettingsError
from heddle.macros.loading import load
from heddle.messages import is_name
from heddle.orchestrator import orchestrating
from heddle.router.reading import parse_rules
from heddle.router.reload import FROM_NATS, BucketSource, FileSource, reloading
from heddle.router.router import routing
from heddle.settings import load_settings
from heddle.worker.worker import working

app = typer.Typer(no_args_is_help=True, help="Run one role, for production; any number of replicas share its work.")


@app.command("router")
def router(
    server: Server = None,
    rules: Annotated[
        str | None,
        typer.Option("--rules", help="Rules file, watched; or `nats`: those of `heddle rules push`. Default: configs/router_rules.yaml."),
    ] = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_level: LogLevel = Level.INFO,
) -> None:
    """Route tasks by the rules."""

    async def work() -> None:
        settings = load_settings()
        url = server_url(server)
        async with ground(url, "router", settings, log_level=log_level, metrics_port=metrics_port, metrics_host=metrics_host) as on:
            source = BucketSource(on.client) if rules == FROM_NATS else FileSource(rules_path(Path(rules) if rules else None))
            read = parse_rules(await source.text(), source.name)
            recorded = settings.telemetry.log_routing_decisions
            async with (
                routing(on.client, on.streams, read, settings.router, on.observer, on.replica, audit_decisions=recorded) as router,
                reloading(router, source),
            ):
                await until_stopped()

    run(work())


@app.command("orchestrator")
def orchestrator(
    server: Server = None,
    macros: Macros = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_level: LogLevel = Level.INFO,
) -> None:
    """Plan goals with the model, and follow them to their end."""

    async def work() -> None:
        settings = load_settings()
        registry = load(macro_sources(macros))
        url = server_url(server)
        async with (
            planner_for(registry, settings) as planner,
            ground(url, "orchestrator", settings, log_level=log_level, metrics_port=metrics_port, metrics_host=metrics_host) as on,
            orchestrating(on.client, on.streams, planner, settings.orchestrator, on.observer, on.replica),
        ):
            await until_stopped()

    run(work())


@app.command("worker")
def worker(
    server: Server = None,
    macros: Macros = None,
    types: Annotated[list[str] | None, typer.Option("--types", help="Worker types to serve. Default: all macros'.")] = None,
    tiers: Annotated[list[str] | None, typer.Option("--tiers", help="Tiers to serve. Default: every declared tier but frontier.")] = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_level: LogLevel = Level.INFO,
) -> None:
    """Run macros."""

    async def work() -> None:
        settings = load_settings()
        registry = load(macro_sources(macros))
        for tier in words(tiers) or ():
            if not is_name(tier):
                raise SettingsError(f"--tiers: {tier!r} cannot be a tier's name: lower-case letters, digits, - and _, at most 63")
        url = server_url(server)
        async with (
            ground(url, "worker", settings, log_level=log_level, metrics_port=metrics_port, metrics_host=metrics_host) as on,
            working(on.client, on.streams, registry, settings, on.observer, on.replica, types=words(types), tiers=words(tiers)),
        ):
            await until_stopped()

    run(work())
