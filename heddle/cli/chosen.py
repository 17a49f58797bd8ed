"""The options by which commands choose dead letters."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from heddle.cli.output import seconds
from heddle.control.deadletters import Wanted
from heddle.errors import Code
from heddle.messages import is_name, is_token
from heddle.subjects import NO_TOKEN

CodeOption = Annotated[str | None, typer.Option("--code", help="Only this code.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Only this worker type; - for letters without one, as goals' are.")]
TierOption = Annotated[str | None, typer.Option("--tier", help="Only this tier; - for letters without one.")]
GoalOption = Annotated[str | None, typer.Option("--goal", metavar="ID", help="Only the letters of this goal and its tasks; all are read.")]
TextOption = Annotated[str | None, typer.Option("--text", help="Only letters with these words anywhere in them; all are read.")]
NewerOption = Annotated[str | None, typer.Option("--newer", help="Only letters written within this time, such as 2h.")]
OlderOption = Annotated[str | None, typer.Option("--older", help="Only letters written longer ago than this, such as 30m.")]


def wanted(
    code: str | None, worker_type: str | None, tier: str | None, goal: str | None, text: str | None, newer: str | None, older: str | None
) -> Wanted:
    """The letters that the options choose.

    Raises:
        typer.BadParameter: an option cannot be used.
    """
    if code is not None and code not in list(Code):
        raise typer.BadParameter(f"--code {code!r} is not one of {', '.join(Code)}")
    for option, name in (("--type", worker_type), ("--tier", tier)):
        if name is not None and name != NO_TOKEN and not is_name(name):
            raise typer.BadParameter(
                f"{option} {name!r} is no name: one has lower-case letters, digits, - and _, at most 63, and is no reserved word"
            )
    if goal is not None and not is_token(goal):
        raise typer.BadParameter(f"--goal {goal!r} cannot be a goal's id")
    now = time.time()
    return Wanted(
        code=code,
        worker_type=worker_type,
        tier=tier,
        goal_id=goal,
        text=text,
        since=None if newer is None else now - seconds(newer, "--newer"),
        until=None if older is None else now - seconds(older, "--older"),
    )
