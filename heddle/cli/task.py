"""`heddle task`: publish one task and follow it to its outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from heddle import subjects
from heddle.broker.connect import connected
from heddle.cli.options import Output, OutputFormat, Server, Timeout, read_json, server_url
from heddle.cli.output import Exit, aside, console, fail, print_json, run, seconds
from heddle.cli.unserved import NOTICE_AFTER, say_if_unserved
from heddle.control.tasks import Ended, Reported, Waiting, new_task, submit_message, task_followed, task_message_id
from heddle.messages import PRIORITIES, TaskMessage, TaskResult, is_name
from heddle.telemetry.observer import Observer


def task(
    worker_type: Annotated[str, typer.Argument(metavar="WORKER_TYPE", help="Which macro.", show_default=False)],
    payload: Annotated[str, typer.Option("--payload", "-p", help="The input as JSON; @FILE reads a file.")] = "{}",
    tier: Annotated[str | None, typer.Option("--tier", help="Where to run it, unless the rules say otherwise.")] = None,
    priority: Annotated[str, typer.Option("--priority", help="low, normal, high or critical.")] = "normal",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the task to its outcome.")] = True,
    timeout: Timeout = "60s",
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Publish one task and print its result."""
    if not is_name(worker_type) or (tier is not None and not is_name(tier)):
        raise typer.BadParameter("a worker type or tier has lower-case letters, digits, - and _, at most 63, and is no reserved word")
    if priority not in PRIORITIES:
        raise typer.BadParameter(f"--priority {priority!r} is not one of {', '.join(PRIORITIES)}")
    message = new_task(worker_type, read_payload(payload), tier=tier, priority=priority)
    result = run(_submit(message, server, output, seconds(timeout, "--timeout") if wait else None), output)
    if result is not None:
        print_result(result, output)
        if result.status != "completed":
            raise fail(result.error or "the task failed", Exit.INCOMPLETE)


def read_payload(text: str) -> dict[str, Any]:
    """The JSON object of --payload.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        parsed = read_json(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f'--payload is not JSON: {error}; write --payload \'{{"key": "value"}}\' or @FILE') from None
    if not isinstance(parsed, dict):
        raise typer.BadParameter('--payload must be a JSON object, such as \'{"key": "value"}\'')
    return parsed


async def _submit(message: TaskMessage, server: str | None, output: OutputFormat, timeout: float | None) -> TaskResult | None:
    async with connected(server_url(server), "cli", Observer()) as client, task_followed(client, message) as steps:
        await submit_message(client, message, subjects.TASKS_INCOMING, task_message_id(message))
        if timeout is None:
            print_json({"task_id": message.task_id}) if output is OutputFormat.JSON else console().print(message.task_id)
            return None
        noticed = False
        async for step in steps:
            match step:
                case Ended(result):
                    return result
                case Reported(text):
                    aside().print(f"[dim]{escape(text)}[/]")
                case Waiting(waited) if waited > timeout:
                    break
                case Waiting(waited) if waited > NOTICE_AFTER and not noticed:
                    noticed = True
                    await say_if_unserved(client, [message.worker_type])
    told = f"no outcome of task {message.task_id} within {timeout:g} s; it lives on. See where it is: heddle tasks show {message.task_id}"
    raise fail(told, Exit.TIMED_OUT, output, task_id=message.task_id)


def print_result(result: TaskResult, output: OutputFormat) -> None:
    """A TaskResult, as it travels or for people."""
    if output is OutputFormat.JSON:
        print_json(result.model_dump(mode="json", exclude_none=True))
        return
    mark = "[green]completed[/]" if result.status == "completed" else f"[red]{escape(result.status)}[/]"
    took = f" in {result.processing_time_ms:.0f} ms" if result.processing_time_ms is not None else ""
    console().print(f"{mark} {escape(result.worker_type)} {escape(result.task_id)}{took}")
    if result.output is not None:
        console().print(escape(json.dumps(result.output, ensure_ascii=False, indent=2)))
