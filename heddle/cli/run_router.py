"""`heddle run router`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heddle.cli.options import Level, LogLevel, MetricsHost, MetricsPort, Server, rules_path, server_url
from heddle.cli.output import run, until_stopped
from heddle.cli.roles import ground
from heddle.router.reading import parse_rules
from heddle.router.reload import FROM_NATS, BucketSource, FileSource, reloading
from heddle.router.serving import routing
from heddle.settings import load_settings


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
