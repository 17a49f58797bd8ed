"""`heddle dead …`: look at dead letters."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape

from heddle.broker.connect import connected
from heddle.cli.options import Output, OutputFormat, Server, server_url
from heddle.cli.output import Exit, console, fail, print_json, print_table, run
from heddle.control.deadletters import Wanted, letter, page
from heddle.errors import Code
from heddle.messages import DeadLetter
from heddle.telemetry.observer import Observer

app = typer.Typer(no_args_is_help=True, help="Look at dead letters: what could not go on, and why.")


@app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    code: Annotated[str | None, typer.Option("--code", help="Only this code.")] = None,
    worker_type: Annotated[str | None, typer.Option("--type", help="Only this worker type.")] = None,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """List dead letters, newest first."""
    if code is not None and code not in list(Code):
        raise typer.BadParameter(f"--code {code!r} is not one of {', '.join(Code)}")

    async def work() -> list[DeadLetter]:
        async with connected(server_url(server), "cli", Observer()) as client:
            wanted = Wanted(code=code, worker_type=worker_type)
            return [kept.letter for kept in (await page(client, wanted, limit=10**9 if everything else limit)).letters]

    letters = run(work(), output)
    if output is OutputFormat.JSON:
        print_json([letter.model_dump(mode="json") for letter in letters])
        return
    if not letters:
        console().print("no dead letters")
        return
    print_table(
        ("id", "at", "code", "type", "tier", "reason"), [(d.id, d.at, d.code, d.worker_type, d.tier, _brief(d.reason)) for d in letters]
    )
    console().print("[dim]see one with its remedy: heddle dead show ID[/]")


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

    async def work() -> DeadLetter | None:
        async with connected(server_url(server), "cli", Observer()) as client:
            kept = await letter(client, letter_id)
            return kept.letter if kept is not None else None

    found = run(work(), output)
    if found is None:
        raise fail(f"no dead letter has the id {letter_id}; see `heddle dead list`", Exit.INCOMPLETE, output)
    if output is OutputFormat.JSON:
        print_json(found.model_dump(mode="json"))
        return
    rows = [
        ("reason", found.reason),
        ("remedy", found.remedy),
        ("task", found.task_id),
        ("goal", found.parent_task_id),
        ("worker type", found.worker_type),
        ("tier", found.tier),
        ("attempt", found.attempt),
        ("at", found.at),
        ("by", found.by),
        ("rules", found.rules),
    ]
    for name, value in rows:
        if value is not None:
            console().print(f"[bold]{name:<12}[/] {escape(str(value))}")
    cut = f", cut to its first 4 KiB of {found.size} bytes" if found.truncated else ""
    console().print(f"\n[bold]original[/] ({found.encoding}{cut})")
    console().print(
        escape(
            found.original_task if isinstance(found.original_task, str) else json.dumps(found.original_task, indent=2, ensure_ascii=False)
        )
    )
    if found.traceback is not None:
        console().print(f"\n[bold]traceback[/]\n{escape(found.traceback)}")
