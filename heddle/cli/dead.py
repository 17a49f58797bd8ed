"""`heddle dead …`: look at dead letters. What sends, drops and keeps them is in `dead_again`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from heddle.broker.connect import connected
from heddle.cli import dead_again
from heddle.cli.chosen import CodeOption, GoalOption, NewerOption, OlderOption, TextOption, TierOption, TypeOption, wanted
from heddle.cli.options import ListFormat, ListOutput, Output, OutputFormat, Server, server_url
from heddle.cli.output import Exit, console, fail, print_json, print_list, print_table, progress_told, run
from heddle.control.deadletters import Kept, Page, Stats, letter, page
from heddle.control.deadletters import stats as read_stats
from heddle.control.replay import Trail
from heddle.control.replay import history as read_history
from heddle.errors import CODES, Code
from heddle.messages import DeadLetter, format_time
from heddle.telemetry.observer import Observer

app = typer.Typer(no_args_is_help=True, help="Dead letters: what could not go on, why, and how to put it right.")
app.command("replay")(dead_again.replay)
app.command("drop")(dead_again.drop)
app.command("keep")(dead_again.keep)

_ALL = 10**9


@app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    code: CodeOption = None,
    worker_type: TypeOption = None,
    tier: TierOption = None,
    goal: GoalOption = None,
    text: TextOption = None,
    newer: NewerOption = None,
    older: OlderOption = None,
    server: Server = None,
    output: ListOutput = ListFormat.TEXT,
) -> None:
    """List dead letters, newest first."""
    chosen = wanted(code, worker_type, tier, goal, text, newer, older)

    async def work() -> Page:
        async with connected(server_url(server), "cli", Observer()) as client:
            told = progress_told("read") if chosen.needs_reading else None
            return await page(client, chosen, limit=_ALL if everything else limit, progress=told)

    found = run(work(), output.plain)
    if output is not ListFormat.TEXT:
        print_list((kept.letter.model_dump(mode="json") for kept in found.letters), output)
        return
    if not found.letters:
        console().print("no dead letters")
        return
    letters = [kept.letter for kept in found.letters]
    rows = [(d.id, d.at, d.code, "goal" if d.kind == "goal" else d.worker_type, d.tier, _brief(d.reason)) for d in letters]
    print_table(("id", "at", "code", "type", "tier", "reason"), rows)
    more = "" if found.older is None else "there are more: --limit or --all. "
    console().print(f"[dim]{more}See one with its remedy: heddle dead show ID[/]")


def _brief(reason: str) -> str:
    detail = reason.partition(": ")[2] or reason
    return detail if len(detail) <= 80 else f"{detail[:79]}…"


@app.command("show")
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `heddle dead list` shows it.", show_default=False)],
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show one dead letter: its reason, its original, and what to do."""

    async def work() -> Kept | None:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await letter(client, letter_id)

    kept = run(work(), output)
    if kept is None:
        told = f"no dead letter has the id {letter_id}; see `heddle dead list`, and `heddle dead history` for what was replayed or dropped"
        raise fail(told, Exit.INCOMPLETE, output)
    if output is OutputFormat.JSON:
        print_json(kept.letter.model_dump(mode="json"))
        return
    _print_letter(kept.letter)


def _print_letter(found: DeadLetter) -> None:
    out = console()
    rows = [
        ("reason", found.reason),
        ("cause", CODES[Code(found.code)].cause if found.code in list(Code) else None),
        ("remedy", found.remedy),
        (found.kind, found.task_id),
        ("of goal", found.parent_task_id),
        ("worker type", found.worker_type),
        ("tier", found.tier),
        ("attempt", found.attempt),
        ("generation", found.generation or None),
        ("at", found.at),
        ("by", found.by),
        ("rules", found.rules),
        ("trace", found.trace_id),
    ]
    for name, value in rows:
        if value is not None:
            out.print(f"[bold]{name:<12}[/] {escape(str(value))}")
    cut = f", cut to its first 4 KiB of {found.size} bytes" if found.truncated else ""
    out.print(f"\n[bold]original[/] ({found.encoding}{cut})")
    carried = found.original_task
    out.print(escape(carried if isinstance(carried, str) else json.dumps(carried, indent=2, ensure_ascii=False)))
    if found.traceback is not None:
        out.print(f"\n[bold]traceback[/]\n{escape(found.traceback)}")
    out.print(f"\n[dim]what a replay would do: heddle dead replay {found.id} --dry-run[/]")


@app.command("stats")
def stats(server: Server = None, output: Output = OutputFormat.TEXT) -> None:
    """Count dead letters by code, type, tier, age and hour; and those that went."""

    async def work() -> Stats:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await read_stats(client, time.time())

    found = run(work(), output)
    if output is OutputFormat.JSON:
        print_json(_as_json(found))
        return
    oldest = f", the oldest of {format_time(found.oldest)}" if found.oldest is not None else ""
    console().print(f"{found.total:,} dead letters, {found.size:,} bytes{oldest}")
    console().print(f"{found.removed:,} were replayed or dropped, {found.gone:,} went for age or room")
    ages = {f"up to {age}" if age != "older" else age: count for age, count in found.by_age.items()}
    tables = {"code": found.by_code, "worker type": found.by_worker_type, "tier": found.by_tier, "age": ages}
    for what, counted in tables.items():
        if found.total:
            print_table((what, "letters"), counted.items(), title=f"By {what}")
    hours = [(format_time(hour)[:16].replace("T", " "), count) for hour, count in found.per_hour if count]
    if hours:
        print_table(("hour (UTC)", "letters"), hours, title="Written in the last 24 hours")


def _as_json(found: Stats) -> dict[str, Any]:
    told = {name: dict(value) if name.startswith("by_") else value for name, value in asdict(found).items()}
    told["oldest"] = format_time(found.oldest) if found.oldest is not None else None
    told["per_hour"] = [{"hour": format_time(hour), "letters": count} for hour, count in found.per_hour]
    return told


@app.command("history")
def history(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many lines, newest first.")] = 50,
    server: Server = None,
    output: ListOutput = ListFormat.TEXT,
) -> None:
    """Show who replayed and dropped which letters, newest first."""

    async def work() -> Trail:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await read_history(client, limit=limit)

    entries = run(work(), output.plain).entries
    if output is not ListFormat.TEXT:
        print_list((entry.model_dump(mode="json") for entry in entries), output)
    elif not entries:
        console().print("nobody has replayed or dropped a letter")
    else:
        rows = [(e.at, e.by, e.action, e.letter_id, e.code, e.worker_type, e.task_id) for e in entries]
        print_table(("at", "by", "did", "letter", "code", "type", "task"), rows)
