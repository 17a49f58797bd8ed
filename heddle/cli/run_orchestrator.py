"""`heddle run orchestrator`."""

from __future__ import annotations

import asyncio

from heddle.cli.options import Level, LogLevel, MacrosOrCatalogue, MetricsHost, MetricsPort, Server, macro_sources, server_url
from heddle.cli.output import run, until_stopped
from heddle.cli.planners import read_offers
from heddle.cli.pulling import Pull, ensure_model
from heddle.cli.roles import ground
from heddle.orchestrator.admission import Admission
from heddle.orchestrator.orchestrator import orchestrating
from heddle.planners import planner_for
from heddle.settings import load_settings


def orchestrator(
    server: Server = None,
    macros: MacrosOrCatalogue = None,
    pull: Pull = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_level: LogLevel = Level.INFO,
) -> None:
    """Plan goals with the model, and follow them to their end."""

    async def work() -> None:
        settings = load_settings()
        offers = read_offers(macro_sources(macros))
        url = server_url(server)
        await ensure_model(settings, pull=pull)
        async with (
            planner_for(offers, settings) as planner,
            ground(url, "orchestrator", settings, log_level=log_level, metrics_port=metrics_port, metrics_host=metrics_host) as on,
            orchestrating(on.client, on.streams, planner, settings.orchestrator, on.observer, on.replica) as orchestrator,
        ):
            await _until_stopped_or_refused(orchestrator.admission)

    run(work())


async def _until_stopped_or_refused(admission: Admission | None) -> None:
    """Wait to be stopped, or for the planner's model to fail its test, where no phrases stand in for it.

    Raises:
        ModelUnavailable: it has not passed.
    """
    ends = {asyncio.create_task(until_stopped())}
    if admission is not None and admission.settings.planner.phrases == "off":
        ends.add(asyncio.create_task(_refused(admission)))
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in done:
            end.result()
    finally:
        for end in ends:
            end.cancel()


async def _refused(admission: Admission) -> None:
    await admission.refused.wait()
    await admission.passed()
