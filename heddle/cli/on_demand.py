"""Commands whose modules are imported when they are asked for: half of what all of them need would take half a second."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


def on_demand(commands: Mapping[str, str]) -> type[TyperGroup]:
    """A group of commands.

    Args:
        commands: each by its name, as `module:attribute`: a function, or a Typer with commands of its own.
    """

    class Group(TyperGroup):
        """The commands, in their order."""

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # the signature is Typer's
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
            if cmd_name not in commands:
                return None
            module, _, attribute = commands[cmd_name].partition(":")
            found = getattr(import_module(module), attribute)
            if isinstance(found, typer.Typer):
                command: Any = get_group(found)
            else:
                alone = typer.Typer(add_completion=False)
                alone.command(cmd_name)(found)
                command = get_command(alone)
            command.name = cmd_name
            return command

    return Group
