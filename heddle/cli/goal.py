"""`heddle goal`: publish a goal, follow it, print its results."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape

from heddle.broker.connect import connected
from heddle.cli.options import Output, OutputFormat, Server, Timeout, server_url
from heddle.cli.output import Exit, aside, console, fail, print_json, print_table, run, seconds
from heddle.cli.task import NOTICE_AFTER, say_if_unserved
from heddle.control.goals import GoalEnded, Planned, TaskEnded, goal_followed, new_goal, submit_goal
from heddle.control.tasks import Waiting
from heddle.goals import GoalState
from heddle.messages import PRIORITIES, Goal, TaskResult
from heddle.telemetry.observer import Observer


def goal(
    text: Annotated[str, typer.Argument(help="What you want, in your own words.", show_default=False)],
    context: Annotated[list[str] | None, typer.Option("--context", help="key=value, for the planner; may be repeated.")] = None,
    priority: Annotated[str, typer.Option("--priority", help="low, normal, high or critical.")] = "normal",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the goal to its end.")] = True,
    timeout: Timeout = "60s",
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Publish a goal, follow it, and print its results."""
    if priority not in PRIORITIES:
        raise typer.BadParameter(f"--priority {priority!r} is not one of {', '.join(PRIORITIES)}")
    message = new_goal(text, read_context(context), priority)
    result = run(_submit(message, server, output, seconds(timeout) if wait else None), output)
    if result is not None:
        show_goal(result, output)


def read_context(pairs: list[str] | None) -> dict[str, Any]:
    """The context of `--context key=value`; a value that is JSON is read as such.

    Raises:
        typer.BadParameter: one has no `=`.
    """
    context: dict[str, Any] = {}
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"--context {pair!r} is not key=value")
        try:
            context[key] = json.loads(value)
        except ValueError:
            context[key] = value
    return context


async def _submit(message: Goal, server: str | None, output: OutputFormat, timeout: float | None) -> TaskResult | None:
    goal_id = message.goal_id or ""
    async with connected(server_url(server), "cli", Observer()) as client, goal_followed(client, goal_id) as steps:
        await submit_goal(client, message)
        if timeout is None:
            print_json({"goal_id": goal_id}) if output is OutputFormat.JSON else console().print(goal_id)
            return None
        state: GoalState | None = None
        ended: set[str] = set()
        noticed = False
        async for step in steps:
            match step:
                case GoalEnded(result):
                    return result
                case Planned(planned):
                    state = planned
                    _tell_plan(state, output)
                case TaskEnded(result):
                    ended.add(result.task_id)
                    if output is OutputFormat.TEXT:
                        aside().print(f"  {escape(result.task_id)} {escape(result.worker_type)}: {escape(result.error or result.status)}")
                case Waiting(waited) if waited > timeout:
                    break
                case Waiting(waited) if waited > NOTICE_AFTER and not noticed:
                    noticed = True
                    if state is None:
                        aside().print("[yellow]no plan yet[/]: the goal waits for an orchestrator and its model (still waiting)")
                    else:
                        await say_if_unserved(client, [(task.worker_type, None) for task in state.tasks if task.task_id not in ended])
    told = f"goal {goal_id} has not ended within {timeout or 0:g} s; it lives on. Follow it further: heddle goals show {goal_id} --follow"
    if output is OutputFormat.JSON:
        print_json({"error": told, "goal_id": goal_id, "exit_code": int(Exit.TIMED_OUT)})
    raise fail(told, Exit.TIMED_OUT)


def _tell_plan(state: GoalState, output: OutputFormat) -> None:
    if output is OutputFormat.TEXT:
        aside().print(f"planned by [bold]{escape(state.planned_by)}[/]: {len(state.tasks)} task{'s' * (len(state.tasks) != 1)}")
        if state.note:
            aside().print(f"  [dim]{escape(state.note)}[/]")


def show_goal(result: TaskResult, output: OutputFormat) -> None:
    """A goal's record; raises typer.Exit if it did not complete."""
    record = result.output if isinstance(result.output, dict) else {}
    if output is OutputFormat.JSON:
        print_json(record or result.model_dump(mode="json", exclude_none=True))
    elif record.get("tasks"):
        print_table(
            ("task", "macro", "tier", "status", "ms", "output"),
            [
                (task["task_id"], task["worker_type"], task["tier"], task["status"], task["hops_ms"]["done"], brief(task))
                for task in record["tasks"]
            ],
        )
        console().print(f"goal {escape(result.task_id)}: [bold]{record['status']}[/] in {record['total_ms']} ms")
    if result.status != "completed":
        raise fail(result.error or "the goal did not complete", Exit.INCOMPLETE)


def brief(task: dict[str, Any], width: int = 70) -> str:
    """A task's output or error in a few words."""
    if task["error"]:
        return str(task["error"])
    text = json.dumps(task["output"], ensure_ascii=False)
    return text if len(text) <= width else f"{text[: width - 1]}…"
