"""`heddle tasks …`: list tasks that ended, show one, cancel one."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import typer
from rich.markup import escape

from heddle.broker.connect import connected
from heddle.cli.options import By, ListFormat, ListOutput, Output, OutputFormat, Server, operator, server_url, unicode_text
from heddle.cli.output import Exit, console, fail, print_json, print_list, print_table, run
from heddle.cli.task import print_result
from heddle.control.tasks import Cancelling, TaskPage, TaskShown, cancel_task, letter_told, task_history, task_shown, tasks_page
from heddle.messages import TaskResult, is_token
from heddle.telemetry.observer import Observer

app = typer.Typer(no_args_is_help=True, help="Tasks: where one is, how it ended; cancel one.")

_CANCEL_PATIENCE = 5.0
"""Seconds that `cancel` waits to see the task end."""


@app.command("list")
def list_tasks(
    goal: Annotated[str | None, typer.Option("--goal", metavar="ID", help="Only the tasks of this goal.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All whose outcomes are kept.")] = False,
    server: Server = None,
    output: ListOutput = ListFormat.TEXT,
) -> None:
    """List tasks that ended, newest first. What waits is counted by `heddle status`."""
    if goal is not None and not is_token(goal):
        raise typer.BadParameter(f"--goal {goal!r} cannot be a goal's id")

    async def work() -> TaskPage:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await tasks_page(client, goal, limit=10**9 if everything else limit)

    found = run(work(), output.plain)
    if output is not ListFormat.TEXT:
        print_list((_as_json(generation, result) for generation, result in found.tasks), output)
    elif not found.tasks:
        console().print("no task has ended, or their outcomes are no longer kept")
    else:
        rows = [
            (
                t.task_id,
                t.worker_type,
                t.metadata.get("tier") or letter_told(t).get("tier"),
                t.completed_at,
                generation or "",
                t.status,
                (t.error or "").partition(":")[0],
            )
            for generation, t in found.tasks
        ]
        print_table(("task", "type", "tier", "at", "replay", "status", "code"), rows)
        more = "" if found.older is None else "there are more: --limit or --all. "
        console().print(f"[dim]{more}See one: heddle tasks show ID[/]")


def _as_json(generation: int, result: TaskResult) -> dict[str, Any]:
    return {"generation": generation, **result.model_dump(mode="json", exclude_none=True)}


@app.command("show")
def show(
    task_id: Annotated[str, typer.Argument(metavar="ID", callback=unicode_text, help="Of the task.", show_default=False)],
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show a task: how it ended, in each of its generations, or where it is."""

    async def work() -> TaskShown:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await task_shown(client, task_id)

    found = run(work(), output)
    history = found.history
    if output is OutputFormat.JSON:
        told = {
            "task_id": task_id,
            "generation": history.newest,
            "place": found.place,
            "worker_type": found.worker_type,
            "tier": found.tier,
            "cancelled": found.cancelled,
            "outcomes": [_as_json(generation, result) for generation, result in sorted(history.outcomes.items())],
        }
        print_json(told)
    else:
        for generation, result in sorted(history.outcomes.items()):
            if generation:
                console().print(f"[dim]replay {generation}:[/]")
            print_result(result, output)
            if result.error is not None:
                console().print(f"  {escape(result.error)}")
            if (letter_id := letter_told(result).get("id")) is not None and generation not in history.replayed:
                console().print(f"[dim]its dead letter: heddle dead show {escape(str(letter_id))}[/]")
        if found.place != "ended":
            console().print(_where(found))
    if found.place is None and not history.outcomes:
        raise typer.Exit(Exit.INCOMPLETE)


def _where(found: TaskShown) -> str:
    by = f"; {escape(found.cancelled)} cancelled it" if found.cancelled is not None else ""
    replay = f", replay {found.history.newest}," if found.history.newest else ""
    name = escape(found.task_id)
    match found.place:
        case "incoming":
            return f"task {name}{replay} waits for a router{by}"
        case "waiting":
            return f"task {name}{replay} waits on tier {found.tier} for a token or its next attempt{by}"
        case "queued":
            return f"task {name}{replay} is in the queue of {found.worker_type} on tier {found.tier}, or with a worker{by}"
        case _:
            return f"no outcome of task {name}{replay} is kept, and it was not found in any queue{by}"


@app.command("cancel")
def cancel(
    task_id: Annotated[str, typer.Argument(metavar="ID", callback=unicode_text, help="Which; its newest generation.", show_default=False)],
    by: By = None,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Cancel a task that waits, is queued, or runs."""

    async def work() -> tuple[Cancelling, TaskResult | None]:
        async with connected(server_url(server), "cli", Observer()) as client:
            asked = await cancel_task(client, task_id, by=by or operator())
            until = time.monotonic() + _CANCEL_PATIENCE
            while asked.ended is None and time.monotonic() < until:
                if (outcome := (await task_history(client, task_id)).outcomes.get(asked.generation)) is not None:
                    return asked, outcome
                await asyncio.sleep(0.2)
            return asked, None

    asked, outcome = run(work(), output)
    if asked.ended is not None:
        raise fail(f"task {task_id} has ended already: {asked.ended.error or asked.ended.status}", Exit.INCOMPLETE, output)
    if output is OutputFormat.JSON:
        print_json({"task_id": task_id, "generation": asked.generation, "outcome": outcome and outcome.error})
    elif outcome is not None:
        console().print(f"task {escape(task_id)} ended: {escape(outcome.error or outcome.status)}")
    else:
        console().print(f"task {escape(task_id)} is cancelled as soon as it is met: heddle tasks show {escape(task_id)}")
