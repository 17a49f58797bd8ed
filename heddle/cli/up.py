"""`heddle up`: the whole system on one machine, for development and small installations."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from watchfiles import awatch

from heddle import events
from heddle.broker.connect import connected
from heddle.cli.options import Level, LogLevel, Macros, RulesFile, macro_sources, operator, rules_path
from heddle.cli.output import Exit, aside, console, fail, run, until_stopped
from heddle.cli.pulling import Pull, ensure_model
from heddle.cli.roles import missing_rules
from heddle.cli.system import System, already_up, system, write_server_file
from heddle.errors import HeddleError, ServerError
from heddle.macros.loading import load
from heddle.planner import make_planner
from heddle.router.rules import uncovered
from heddle.settings import load_settings
from heddle.subjects import FRONTIER, NOVEL
from heddle.web.shelf import Shelf, shelf_of

STORE = Path(".heddle/store")
_GIVE_UP = 5
"""Seconds without the embedded server until it is taken for dead."""


def up(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where the embedded server listens, on 127.0.0.1.")] = 4222,
    rules: RulesFile = None,
    macros: Macros = None,
    pull: Pull = False,
    log_level: LogLevel = Level.INFO,
) -> None:
    """Run everything here: server, router, orchestrator, worker, dashboard. Rules and macros are read again on save."""
    path, sources = rules_path(rules), macro_sources(macros)

    if (there := already_up(Path.cwd())) is not None:
        raise fail(
            f"heddle is already up in this folder, at {there[0]} (process {there[1]}); end it first, or go to another folder",
            Exit.INCOMPLETE,
        )

    async def work() -> None:
        from heddle.web import serve  # noqa: PLC0415  # `heddle --help` need not wait for a web server

        settings = load_settings()
        await ensure_model(settings, pull=pull)
        serve.check(settings.dashboard)
        async with (
            system(settings, rules=path, macros=sources, store=STORE, port=port, log_level=log_level) as running,
            connected(running.server.url, "dashboard", running.ground.observer) as client,
            serve.dashboard(client, settings.dashboard, _shelf(running, sources), operator(), any_port=True) as address,
        ):
            file = write_server_file(running.server, Path.cwd(), address)
            watcher = asyncio.create_task(_watch(running, path, sources))
            try:
                _greet(running, path, address)
                await _until_over(running)
                aside().print("stopping …")
            finally:
                file.unlink(missing_ok=True)
                watcher.cancel()
                with suppress(asyncio.CancelledError):
                    await watcher

    run(work())


def _shelf(running: System, macros: list[str]) -> Callable[[], Shelf]:
    """The macros in use, for the dashboard; looked at anew when they were read again."""
    shelf = Shelf()

    def look() -> Shelf:
        nonlocal shelf
        offers = running.orchestrator.planner.offers
        if shelf.offers is not offers:
            shelf = shelf_of(offers, ", ".join(macros))
        return shelf

    return look


def _greet(running: System, rules: Path, dashboard_address: str) -> None:
    planner = running.orchestrator.planner
    out = console()
    out.print(f"[bold]heddle is up[/] at {running.server.url} (nats-server {running.server.version}, store {escape(str(STORE))})")
    out.print(f"rules {escape(str(rules))}, digest {running.router.rules.digest}; macros {', '.join(sorted(planner.offers.macros))}")
    if planner.settings.frontier.provider is not None:
        out.print(f"novel goals and fallbacks go to {escape(planner.settings.frontier.provider)} (frontier.provider)")
    _tell_missing(running, rules)
    harmless = (macro for macro in planner.offers.newest() if macro.effects != "irreversible")
    example = next((goal for macro in harmless for goal, _ in macro.examples), "what you want")
    out.print(f"dashboard {dashboard_address}")
    out.print(
        f"\nin another terminal:\n  heddle goal {escape(shlex.quote(example))}\n  heddle status\n  heddle dead list\n\nCtrl-C stops it."
    )


async def _until_over(running: System) -> None:
    """Wait for Ctrl-C, or for the end of the embedded server, without which there is nothing to be up.

    Raises:
        ServerError: the server ended.
    """
    stopped = asyncio.create_task(until_stopped())
    away = 0
    while not stopped.done():
        await asyncio.wait({stopped}, timeout=1.0)
        away = 0 if running.ground.client.is_connected else away + 1
        if away >= _GIVE_UP:
            stopped.cancel()
            raise ServerError(f"the embedded nats-server ended; the end of {running.server.log} may say why. Start again with `heddle up`")


async def _watch(running: System, rules: Path, macros: list[str]) -> None:
    """Take changed macros into use; what is bad is refused and told, and the good ones stay; the router watches its rules itself."""
    folders = _folders(macros)
    if not folders:
        return
    async for changes in awatch(*folders):
        if any(Path(name).suffix == ".py" for _, name in changes):
            await _reload_macros(running, macros, rules)


def _folders(macros: list[str]) -> list[Path]:
    """The macro sources that are files or folders, and not modules' names."""
    return [Path(source).resolve() for source in macros if Path(source).exists()]


async def _reload_macros(running: System, macros: list[str], rules: Path) -> None:
    old = running.orchestrator.planner
    try:
        registry = load(macros)
        running.orchestrator.planner = make_planner(registry, old.model, old.settings, second=old.second, admitted=old.admitted)
    except HeddleError as error:
        running.ground.observer.see(events.MACROS_REFUSED, "the macros were refused; the good ones stay in use", problem=str(error))
        return
    running.ground.observer.see(events.MACROS_LOADED, "macros were read again", macros=sorted(registry.macros))
    _tell_missing(running, rules)
    running.worker.restart()


def _tell_missing(running: System, rules: Path) -> None:
    """Tell what is served and has no rule."""
    planner = running.orchestrator.planner
    novel = planner.settings.frontier.provider is not None
    lines = missing_rules(uncovered(running.router.rules, {*planner.offers.macros, *([NOVEL] if novel else [])}), rules)
    if novel and FRONTIER not in running.router.rules.tiers:
        lines.append(
            f"the tier {FRONTIER!r} is not declared: novel tasks would end as unknown_tier. Add to tiers in {rules}:  {FRONTIER}: {{}}"
        )
    for line in lines:
        aside().print(f"[yellow]missing:[/] {escape(line)}")
