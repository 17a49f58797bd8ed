"""`heddle dashboard`: the web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.markup import escape

from heddle.broker.connect import connected
from heddle.cli.options import MacrosOrCatalogue, Server, operator, server_url, words
from heddle.cli.output import console, run, until_stopped
from heddle.cli.planners import read_offers
from heddle.errors import HeddleError, SettingsError
from heddle.settings import DashboardSettings, load_settings
from heddle.telemetry.observer import Observer, logger
from heddle.web.shelf import Shelf, shelf_of

_SHORTEST = 16


def dashboard(
    server: Server = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Where it listens; beyond loopback it needs a token. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Its port; 0 is any free one. Default: 4280.")] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", help="What one has to know to get in. Others see it in `ps`; HEDDLE_DASHBOARD__TOKEN does not show."),
    ] = None,
    macros: MacrosOrCatalogue = None,
) -> None:
    """Serve the web page: what flows, goals, dead letters, rules, workers, macros."""

    async def work() -> None:
        from heddle.web import serve  # noqa: PLC0415  # `heddle --help` need not wait for a web server

        settings = _settings(host, port, token)
        serve.check(settings)
        shelf = read_shelf(words(macros))
        observer = Observer(logger("dashboard", "warning"))
        async with (
            connected(server_url(server), "dashboard", observer) as client,
            serve.dashboard(client, settings, lambda: shelf, operator()) as address,
        ):
            console().print(
                f"[bold]dashboard[/] of {escape(client.connected_url.netloc if client.connected_url else '')}: {address}\nCtrl-C stops it."
            )
            await until_stopped()

    run(work())


def _settings(host: str | None, port: int | None, token: str | None) -> DashboardSettings:
    """Those of the file and the environment, and what the flags say."""
    if token is not None and len(token) < _SHORTEST:
        raise SettingsError(f"--token has {len(token)} characters; give {_SHORTEST} or more, such as those of `openssl rand -hex 16`")
    said = {"host": host, "port": port, "token": None if token is None else SecretStr(token)}
    return load_settings().dashboard.model_copy(update={name: value for name, value in said.items() if value is not None})


def read_shelf(sources: list[str] | None) -> Shelf:
    """The macros to show: those asked for, else those of workflows/ here, else none.

    Raises:
        DefinitionError: those asked for cannot be read.
    """
    asked = sources if sources is not None else ["workflows"] if Path("workflows").is_dir() else None
    if asked is None:
        return Shelf()
    try:
        return shelf_of(read_offers(asked), ", ".join(asked))
    except HeddleError as error:
        if sources is not None:
            raise
        return Shelf(source=", ".join(asked), problem=str(error))
