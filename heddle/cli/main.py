"""The `heddle` command."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from heddle.cli import dead, demo, goal, goals, init, macros, plan, rules, rules_live, run, status, task, up

app = typer.Typer(
    name="heddle",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="One local model call turns a goal into typed tasks; everything after it is deterministic, over NATS JetStream.",
    epilog="Start with [bold]heddle demo[/], then [bold]heddle up[/] in one terminal and [bold]heddle goal[/] in another.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"heddle {version('heddle-router')}")
        raise typer.Exit


@app.callback()
def _heddle(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("goal")(goal.goal)
app.command("plan")(plan.plan)
app.command("task")(task.task)
app.add_typer(goals.app, name="goals")
app.add_typer(run.app, name="run")
for live in (rules_live.reload, rules_live.push, rules_live.history, rules_live.rollback):
    rules.app.command()(live)
app.add_typer(rules.app, name="rules")
app.add_typer(macros.app, name="macros")
app.add_typer(dead.app, name="dead")
app.command("status")(status.status)
app.command("init")(init.init)


def main() -> None:
    """Entry point."""
    app()
