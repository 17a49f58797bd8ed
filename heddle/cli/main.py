"""The `heddle` command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from importlib.metadata import version
from io import TextIOWrapper
from types import MappingProxyType
from typing import Annotated, Final

import typer

from heddle.cli.on_demand import on_demand

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "demo": "heddle.cli.demo:demo",
        "up": "heddle.cli.up:up",
        "goal": "heddle.cli.goal:goal",
        "plan": "heddle.cli.plan:plan",
        "eval": "heddle.cli.eval:evaluate",
        "task": "heddle.cli.task:task",
        "goals": "heddle.cli.goals:app",
        "tasks": "heddle.cli.tasks:app",
        "run": "heddle.cli.run:app",
        "rules": "heddle.cli.rules:app",
        "macros": "heddle.cli.macros:app",
        "dead": "heddle.cli.dead:app",
        "gate": "heddle.cli.gate:app",
        "status": "heddle.cli.status:status",
        "dashboard": "heddle.cli.dashboard:dashboard",
        "init": "heddle.cli.init:init",
    }
)
"""Every command and where it is: a function, or a Typer with commands of its own."""


app = typer.Typer(
    name="heddle",
    cls=on_demand(COMMANDS),
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
    for stream in (sys.stdout, sys.stderr):  # what a terminal has no letters for is written as \u2026, and is no reason to fall
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of a habit of the NATS client with TLS at every disconnection


def main() -> None:
    """Entry point."""
    app()
