"""`heddle goals …`: list goals, show one, follow it, approve it, cancel it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Annotated, Any, get_args

import typer
from nats.aio.client import Client
from rich.markup import escape

from heddle.broker.connect import connected
from heddle.broker.parked import Parked
from heddle.cli.options import By, ListFormat, ListOutput, Output, OutputFormat, Server, Timeout, operator, server_url, unicode_text
from heddle.cli.output import Exit, aside, console, counted, fail, print_json, print_list, print_table, run, seconds
from heddle.cli.unserved import NOTICE_AFTER, say_if_unserved
from heddle.control.deadletters import Kept
from heddle.control.goals import (
    GoalEnded,
    GoalLine,
    GoalPage,
    GoalShown,
    GoalStep,
    Planned,
    TaskEnded,
    approve_goal,
    cancel_goal,
    goal_followed,
    goal_outcome_of,
    goal_shown,
    goal_state_of,
    goals_page,
)
from heddle.control.tasks import Cancelling, Reported, Waiting
from heddle.goals import GoalState, Standing, final_result
from heddle.messages import TaskResult, format_time, is_token
from heddle.telemetry.observer import Observer

app = typer.Typer(no_args_is_help=True, help="Goals: where they stand, how they ended; approve or cancel one.")

_CANCEL_PATIENCE = 5.0
"""Seconds that `cancel` waits to see a goal or task end."""


@app.command("list")
def list_goals(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    status: Annotated[str | None, typer.Option("--status", help=f"Only these: {', '.join(get_args(Standing))}.")] = None,
    server: Server = None,
    output: ListOutput = ListFormat.TEXT,
) -> None:
    """List goals: those that wait or are planned, then those that something happened to last."""
    standing = next((one for one in get_args(Standing) if one == status), None)
    if standing is None and status is not None:
        raise typer.BadParameter(f"--status {status!r} is not one of {', '.join(get_args(Standing))}")

    async def work() -> GoalPage:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await goals_page(client, standing, limit=10**9 if everything else limit)

    found = run(work(), output.plain)
    if output is not ListFormat.TEXT:
        print_list((asdict(line) | {"stored": format_time(line.stored)} for line in found.goals), output)
    elif not found.goals:
        console().print("no goals")
    else:
        rows = [
            (g.goal_id, format_time(g.stored), g.generation or "", g.standing, g.tasks, _took(g), _short(g.instruction))
            for g in found.goals
        ]
        print_table(("goal", "came", "replay", "status", "tasks", "ms", "instruction"), rows)
        more = "" if found.older is None else "there are more: --limit or --all. "
        console().print(f"[dim]{more}See one: heddle goals show ID[/]")


def _took(line: GoalLine) -> object:
    return line.total_ms if line.total_ms is not None else ""


def _short(text: str, width: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"


@app.command("show")
def show(
    goal_id: Annotated[str, typer.Argument(metavar="ID", help="As `heddle goal` printed it.", show_default=False)],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for its end.")] = False,
    generation: Annotated[
        int | None, typer.Option("--generation", min=0, help="Which generation; a replay raises it. Default: the newest.")
    ] = None,
    timeout: Timeout = "60s",
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show a goal: its record if it has ended, else its plan."""
    if not is_token(goal_id):
        raise typer.BadParameter(f"{goal_id!r} cannot be a goal's id")
    patience = seconds(timeout, "--timeout")

    async def work() -> TaskResult | GoalState | GoalShown | None:
        async with connected(server_url(server), "cli", Observer()) as client:
            known = None if generation is not None else await goal_shown(client, goal_id)
            which = generation if generation is not None else known.line.generation if known is not None else 0
            if follow:
                async with goal_followed(client, goal_id, which) as steps:
                    return await follow_goal(client, steps, goal_id, patience, output)
            if known is not None:
                return known
            return await goal_outcome_of(client, goal_id, which) or await goal_state_of(client, goal_id, which)

    match run(work(), output):
        case TaskResult() as result:
            show_goal(result, output)
        case GoalShown(state=GoalState(record=dict() as record), letters=letters):
            show_goal(final_result(record, time.time()), output, letters)
        case GoalShown(state=GoalState() as state) | (GoalState() as state):
            _show_plan(state, output)
        case GoalShown(line=line):
            _show_waiting(line, output)
        case _:
            raise fail(
                f"nothing is known of a goal {goal_id}: it is long over, or never was; see `heddle goals list`", Exit.INCOMPLETE, output
            )


def _show_waiting(line: GoalLine, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json(asdict(line) | {"stored": format_time(line.stored)})
    else:
        what = "is with the planner" if line.standing == "planning" else "waits for an orchestrator"
        console().print(f"goal {line.goal_id} {what}: {escape(_short(line.instruction, 200))}")


@app.command("cancel")
def cancel(
    goal_id: Annotated[str, typer.Argument(metavar="ID", help="Which; its newest generation.", show_default=False)],
    by: By = None,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Cancel a goal: before it is planned, or its tasks, wherever they are. What has ended stays."""
    if not is_token(goal_id):
        raise typer.BadParameter(f"{goal_id!r} cannot be a goal's id")

    async def work() -> tuple[Cancelling | None, GoalShown | None]:
        async with connected(server_url(server), "cli", Observer()) as client:
            asked = await cancel_goal(client, goal_id, by=by or operator())
            if asked is None or asked.ended is not None:
                return asked, None
            until = time.monotonic() + _CANCEL_PATIENCE
            while time.monotonic() < until:
                shown = await goal_shown(client, goal_id)
                if shown is not None and shown.line.standing in {"completed", "partial", "failed"}:
                    return asked, shown
                await asyncio.sleep(0.2)
            return asked, None

    asked, shown = run(work(), output)
    if asked is None:
        raise fail(f"nothing is known of a goal {goal_id}; see `heddle goals list`", Exit.INCOMPLETE, output)
    if asked.ended is not None:
        how = asked.ended.output.get("status") if isinstance(asked.ended.output, dict) else asked.ended.status
        raise fail(f"goal {goal_id} has ended already: {how}", Exit.INCOMPLETE, output)
    standing = shown.line.standing if shown is not None else None
    if output is OutputFormat.JSON:
        print_json({"goal_id": goal_id, "generation": asked.generation, "status": standing})
    elif standing is not None:
        console().print(f"goal {goal_id} was cancelled; it ended as [bold]{standing}[/]: heddle goals show {goal_id}")
    else:
        console().print(f"goal {goal_id} is cancelled as soon as its tasks are met: heddle goals show {goal_id} --follow")


@app.command("approve")
def approve(
    goal_id: Annotated[str, typer.Argument(metavar="ID", help="A goal that waits for it.", show_default=False)],
    by: Annotated[
        str | None,
        typer.Option("--by", callback=unicode_text, help="Who approves it; told in its record. Default: you, as this machine knows you."),
    ] = None,
    generation: Annotated[
        int | None, typer.Option("--generation", min=0, help="Which generation; a replay raises it. Default: the newest.")
    ] = None,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Let a goal go on whose plan has irreversible macros; see its plan first: heddle goals show ID."""
    if not is_token(goal_id):
        raise typer.BadParameter(f"{goal_id!r} cannot be a goal's id")

    async def work() -> Parked | None:
        async with connected(server_url(server), "cli", Observer()) as client:
            known = None if generation is not None else await goal_shown(client, goal_id)
            which = generation if generation is not None else known.line.generation if known is not None else 0
            return await approve_goal(client, goal_id, by or operator(), which)

    goal = run(work(), output)
    if goal is None:
        raise fail(f"goal {goal_id} does not wait for an approval; see how it stands: heddle goals show {goal_id}", Exit.INCOMPLETE, output)
    if output is OutputFormat.JSON:
        print_json({"goal_id": goal_id, "generation": goal.generation, "macros": list(goal.macros), "approved_by": goal.by})
    else:
        console().print(f"goal {goal_id} goes on, approved by {escape(str(goal.by))}; follow it: heddle goals show {goal_id} --follow")


async def follow_goal(client: Client, steps: AsyncIterator[GoalStep], goal_id: str, timeout: float, output: OutputFormat) -> TaskResult:
    """Follow a goal to its end, telling what happens on standard error.

    Raises:
        typer.Exit: it has not ended in time; the message says how to follow it further.
    """
    state: GoalState | None = None
    ended: set[str] = set()
    noticed = False
    async for step in steps:
        match step:
            case GoalEnded(result):
                return result
            case Planned(planned):
                state, noticed = planned, False  # what it waits for now is another thing
                _tell_plan(state, output)
            case TaskEnded(result):
                ended.add(result.task_id)
                if output is OutputFormat.TEXT:
                    aside().print(f"  {escape(result.task_id)} {escape(result.worker_type)}: {escape(result.error or result.status)}")
            case Reported(text, task_id):
                if output is OutputFormat.TEXT:
                    aside().print(f"  [dim]{escape(task_id)}: {escape(text)}[/]")
            case Waiting(waited) if waited > timeout:
                break
            case Waiting(waited) if waited > NOTICE_AFTER and not noticed:
                noticed = True
                if state is None:
                    aside().print("[yellow]no plan yet[/]: the goal waits for an orchestrator and its model (still waiting)")
                elif not state.parked:
                    await say_if_unserved(client, [task.worker_type for task in state.tasks if task.task_id not in ended])
    told = f"goal {goal_id} has not ended within {timeout:g} s; it lives on. Follow it further: heddle goals show {goal_id} --follow"
    raise fail(told, Exit.TIMED_OUT, output, goal_id=goal_id)


def _tell_plan(state: GoalState, output: OutputFormat) -> None:
    if output is OutputFormat.TEXT:
        sure = "" if state.confidence is None else f", confidence {state.confidence:.2f}"
        aside().print(f"goal {state.goal_id}, planned by [bold]{escape(state.planned_by)}[/]{sure}: {counted(len(state.tasks), 'task')}")
        for line in (state.note, *state.warnings):
            if line:
                aside().print(f"  [dim]{escape(line)}[/]")
        if state.parked and state.approval is not None:
            until = format_time(state.approval.until)
            aside().print(
                f"  [yellow]waits for an approval[/] of {escape(', '.join(state.approval.macros))} until {until}, since what it does cannot be undone"
            )
            aside().print(f"  let it go on: heddle goals approve {state.goal_id}")


def _show_plan(state: GoalState, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json(json.loads(state.model_dump_json(exclude_none=True)))
        return
    _tell_plan(state, output)
    print_table(
        ("task", "macro", "tier", "payload"), [(t.task_id, t.worker_type, t.model_tier, json.dumps(t.payload)) for t in state.tasks]
    )
    console().print(f"it has not ended; follow it: heddle goals show {state.goal_id} --follow")


def show_goal(result: TaskResult, output: OutputFormat, letters: Sequence[Kept] = ()) -> None:
    """Print a goal's record, and its dead letters that nobody has dealt with.

    Raises:
        typer.Exit: the goal did not complete.
    """
    record = result.output if isinstance(result.output, dict) else {}
    if output is OutputFormat.JSON:
        print_json(record or result.model_dump(mode="json", exclude_none=True))
    elif record.get("tasks"):
        rows = [(t["task_id"], t["worker_type"], t["tier"], t["status"], t["hops_ms"]["done"], brief(t)) for t in record["tasks"]]
        print_table(("task", "macro", "tier", "status", "ms", "output"), rows)
        amended = f", amended {counted(record['amendments'], 'time')}" if record.get("amendments") else ""
        console().print(f"goal {escape(result.task_id)}: [bold]{record['status']}[/] in {record['total_ms']} ms{amended}")
        console().print(f"[dim]whole outputs: heddle goals show {escape(result.task_id)} -o json[/]")
    if output is OutputFormat.TEXT:
        for kept in letters:
            console().print(f"dead letter {kept.letter.id}, {kept.letter.code}: heddle dead show {kept.letter.id}")
    if result.status != "completed":
        raise fail(f"goal {result.task_id}: {result.error or 'did not complete'}", Exit.INCOMPLETE)


def brief(task: dict[str, Any], width: int = 70) -> str:
    """A task's output, or the code of its error, in a few words."""
    if task["error"]:
        return str(task["error"]).partition(":")[0]
    text = json.dumps(task["output"], ensure_ascii=False)
    return text if len(text) <= width else f"{text[: width - 1]}…"
