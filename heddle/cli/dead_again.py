"""`heddle dead replay`, `drop` and `keep`: what is done with dead letters."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from nats.aio.client import Client
from rich.markup import escape

from heddle.broker.connect import connected
from heddle.cli.chosen import CodeOption, GoalOption, NewerOption, OlderOption, TextOption, TierOption, TypeOption, wanted
from heddle.cli.options import (
    By,
    ListFormat,
    ListOutput,
    Macros,
    MacrosOrCatalogue,
    Output,
    OutputFormat,
    Server,
    Yes,
    macro_sources,
    operator,
    read_json,
    server_url,
)
from heddle.cli.output import Exit, aside, confirmed, console, counted, fail, print_json, print_line, progress_told, run
from heddle.cli.planners import read_offers
from heddle.control import replay as again
from heddle.control.deadletters import Wanted, letter
from heddle.control.fixtures import keep as keep_letter
from heddle.control.forecast import Forecast, forecast
from heddle.control.replay import Chosen, Done, Step, Undone, number_of
from heddle.macros.fixtures import shown
from heddle.macros.loading import load
from heddle.telemetry.observer import Observer
from heddle.units import parse_rate

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As `heddle dead list` shows them.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All letters there are.")]


def replay(
    ids: Ids = None,
    code: CodeOption = None,
    worker_type: TypeOption = None,
    tier: TierOption = None,
    goal: GoalOption = None,
    text: TextOption = None,
    newer: NewerOption = None,
    older: OlderOption = None,
    everything: All = False,
    rate: Annotated[str | None, typer.Option("--rate", help="Not faster than this, such as 50/s. Default: as fast as it goes.")] = None,
    patch: Annotated[
        str | None,
        typer.Option("--patch", metavar="JSON", help="Change each message by a JSON merge patch, such as '{\"expires_at\": null}'."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of each by today's rules and macros.")] = False,
    macros: MacrosOrCatalogue = None,
    yes: Yes = False,
    by: By = None,
    server: Server = None,
    output: ListOutput = ListFormat.TEXT,
) -> None:
    """Send dead letters again: the same ids, the next generation, the first attempt."""
    chosen = _chosen(ids, wanted(code, worker_type, tier, goal, text, newer, older), everything=everything)
    changes = _patch(patch)
    if dry_run:
        _foretell(chosen, changes, macros, server, output)
        return
    per_second = _rate(rate)
    _ask("replay", chosen, server, output, yes=yes)

    def steps(client: Client) -> AsyncIterator[Step]:
        told = progress_told("replayed")
        return again.replay(client, chosen, by=by or operator(), rate=per_second, patch=changes, progress=told)

    _do(steps, "replayed", server, output)


def drop(
    ids: Ids = None,
    code: CodeOption = None,
    worker_type: TypeOption = None,
    tier: TierOption = None,
    goal: GoalOption = None,
    text: TextOption = None,
    newer: NewerOption = None,
    older: OlderOption = None,
    everything: All = False,
    yes: Yes = False,
    by: By = None,
    server: Server = None,
    output: ListOutput = ListFormat.TEXT,
) -> None:
    """Remove dead letters that nobody will need again. Their outcomes stay."""
    chosen = _chosen(ids, wanted(code, worker_type, tier, goal, text, newer, older), everything=everything)
    _ask("drop", chosen, server, output, yes=yes)

    def steps(client: Client) -> AsyncIterator[Step]:
        return again.drop(client, chosen, by=by or operator(), progress=progress_told("dropped"))

    _do(steps, "dropped", server, output)


def _chosen(ids: list[str] | None, filtered: Wanted, *, everything: bool) -> Chosen:
    ways = (bool(ids), filtered != Wanted(), everything)
    if sum(ways) != 1:
        raise typer.BadParameter("name letters by their IDs, or by --code, --type and so on, or say --all; one of the three")
    return list(dict.fromkeys(ids)) if ids else filtered


def _patch(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        parsed = read_json(text)
    except ValueError as error:
        raise typer.BadParameter(f"--patch is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise typer.BadParameter("--patch must be a JSON object, such as '{\"expires_at\": null}'")
    return parsed


def _rate(text: str | None) -> float | None:
    try:
        return None if text is None else parse_rate(text)
    except ValueError as error:
        raise typer.BadParameter(f"--rate: {error}") from None


def _ask(what: str, chosen: Chosen, server: str | None, output: ListFormat, *, yes: bool) -> None:
    """Ask, if letters were not named one by one."""
    if yes or not isinstance(chosen, Wanted):
        return

    async def work() -> int:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await number_of(client, chosen)

    number = run(work(), output.plain)
    most = "up to " if chosen.needs_reading else ""
    confirmed(f"{what} {most}{number:,} dead letter{'' if number == 1 else 's'}?", yes=False)


def _do(steps: Callable[[Client], AsyncIterator[Step]], done: str, server: str | None, output: ListFormat) -> None:
    """Go through the steps, telling those that were not possible.

    Raises:
        typer.Exit: something was not possible.
    """
    good = bad = 0
    told: list[dict[str, Any]] = []

    async def work() -> None:
        nonlocal good, bad
        async with connected(server_url(server), "cli", Observer()) as client:
            async for step in steps(client):
                good, bad = good + isinstance(step, Done), bad + isinstance(step, Undone)
                if output is ListFormat.JSONL:
                    print_line(_as_json(step, done))
                elif output is ListFormat.JSON:
                    told.append(_as_json(step, done))
                elif isinstance(step, Undone):
                    aside().print(f"[yellow]not {done}:[/] {escape(step.letter_id)}: {escape(step.why)}")

    try:
        run(work(), output.plain)
    except (typer.Exit, BrokenPipeError):  # Ctrl-C, the server is gone, or whoever reads the lines has enough
        if good or bad:
            aside().print(f"stopped after {counted(good, 'dead letter')} {done}; which, says: heddle dead history")
        raise
    if output is ListFormat.JSON:
        print_json(told)
    elif output is ListFormat.TEXT:
        console().print(f"{counted(good, 'dead letter')} {done}" + (f", {bad} not" if bad else ""))
    if bad:
        raise typer.Exit(Exit.INCOMPLETE)


def _as_json(step: Step, done: str) -> dict[str, Any]:
    match step:
        case Done(told, generation):
            return {"id": told.id, done: True, "task_id": told.task_id, "generation": generation}
        case Undone(letter_id, why):
            return {"id": letter_id, done: False, "why": why}


def _foretell(chosen: Chosen, patch: dict[str, Any] | None, macros: list[str] | None, server: str | None, output: ListFormat) -> None:
    """Print what would become of each letter, a line each."""

    async def work() -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        offers = read_offers(macro_sources(macros))
        async with connected(server_url(server), "cli", Observer()) as client:
            async for one in forecast(client, chosen, now=time.time(), offers=offers, patch=patch):
                if output is ListFormat.TEXT:
                    _print_forecast(one)
                elif output is ListFormat.JSONL:
                    print_line({"id": one.letter_id, "ok": one.ok, "told": one.told})
                else:
                    told.append({"id": one.letter_id, "ok": one.ok, "told": one.told})
        return told

    told = run(work(), output.plain)
    if output is ListFormat.JSON:
        print_json(told)


def _print_forecast(one: Forecast) -> None:
    name = one.kept.letter.worker_type or one.kept.letter.kind if one.kept is not None else ""
    mark = "[green]would go[/]  " if one.ok else "[yellow]would fail[/]"
    console().print(f"{mark} {escape(one.letter_id)} {escape(name)}: {escape(one.told)}")


def keep(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `heddle dead list` shows it.", show_default=False)],
    name: Annotated[str | None, typer.Option("--name", help="Of the fixture's file, without .yaml. Default: code and letter id.")] = None,
    macros: Macros = None,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Write a dead letter down as a fixture of its macro: the input, and how it failed."""

    async def work() -> tuple[Path, list[str]] | None:
        registry = load(macro_sources(macros))
        async with connected(server_url(server), "cli", Observer()) as client:
            kept = await letter(client, letter_id)
            return None if kept is None else await keep_letter(client, kept, registry, name)

    done = run(work(), output)
    if done is None:
        raise fail(f"no dead letter has the id {letter_id}; see `heddle dead list`", Exit.INCOMPLETE, output)
    path, tools = done
    if output is OutputFormat.JSON:
        print_json({"fixture": str(path), "tools": tools})
        return
    console().print(f"wrote {escape(shown(path))}")
    if tools:
        aside().print(f"its macro uses {escape(', '.join(tools))}: write under `tools:` what they answered")
    aside().print(
        "[dim]it says that the macro fails as it did; when the macro is mended, write what it is to give, and: heddle macros check[/]"
    )
