"""`heddle goal`: publish a goal, follow it, print its results."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from heddle.broker.connect import connected
from heddle.cli.goals import follow_goal, show_goal
from heddle.cli.options import Output, OutputFormat, Server, Timeout, read_json, server_url, unicode_text
from heddle.cli.output import console, print_json, run, seconds
from heddle.control.goals import goal_followed, new_goal, submit_goal
from heddle.messages import PRIORITIES, Goal, TaskResult
from heddle.telemetry.observer import Observer


def goal(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", callback=unicode_text, help="What you want, in your own words.", show_default=False)
    ],
    context: Annotated[
        list[str] | None, typer.Option("--context", callback=unicode_text, help="key=value, for the planner; may be repeated.")
    ] = None,
    priority: Annotated[str, typer.Option("--priority", help="low, normal, high or critical.")] = "normal",
    approve: Annotated[bool, typer.Option("--approve", help="A plan with irreversible macros need not wait for an approval.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the goal to its end.")] = True,
    timeout: Timeout = "60s",
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Publish a goal, follow it, and print its results."""
    if priority not in PRIORITIES:
        raise typer.BadParameter(f"--priority {priority!r} is not one of {', '.join(PRIORITIES)}")
    message = new_goal(text, read_context(context), priority, approved=approve)
    result = run(_submit(message, server, output, seconds(timeout, "--timeout") if wait else None), output)
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
            context[key] = read_json(value)
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
        return await follow_goal(client, steps, goal_id, timeout, output)
