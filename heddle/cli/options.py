"""The options that commands share, and what they mean."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pydantic_core
import typer

from heddle.errors import NoServer
from heddle.settings import find_upwards

SERVER_FILE = ".heddle/server.json"


class OutputFormat(StrEnum):
    """How a command prints."""

    TEXT = "text"
    JSON = "json"


class ListFormat(StrEnum):
    """How a command prints that gives many things."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"

    @property
    def plain(self) -> OutputFormat:
        """How it prints an error."""
        return OutputFormat.TEXT if self is ListFormat.TEXT else OutputFormat.JSON


class Level(StrEnum):
    """How much a role logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def unicode_text(given: Any) -> Any:
    """The callback of an option or argument that travels: words that are no Unicode text fit into no message.

    Raises:
        typer.BadParameter: there are such.
    """
    for text in [given] if isinstance(given, str) else given or ():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise typer.BadParameter(f"{text!r} is no UTF-8 text") from None
    return given


def read_json(text: str) -> Any:
    """A JSON value as a message can carry it.

    Raises:
        ValueError: it is none: what Python's own reader takes besides (NaN, half a character) no other does.
    """
    value = pydantic_core.from_json(text.encode(), allow_inf_nan=False)
    json.dumps(value, allow_nan=False)  # 1e999 is JSON, and no number here
    return value


Output = Annotated[OutputFormat, typer.Option("--output", "-o", help="text for people, json for pipes.")]
ListOutput = Annotated[
    ListFormat, typer.Option("--output", "-o", help="text for people; for pipes json, one array, or jsonl, a line for each.")
]
By = Annotated[str | None, typer.Option("--by", callback=unicode_text, help="Who does it. Default: you, as this machine knows you.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Server = Annotated[
    str | None,
    typer.Option("--server", help="NATS URL; else NATS_URL, the `nats` context, or the .heddle/server.json that `heddle up` writes."),
]
Macros = Annotated[
    list[str] | None,
    typer.Option("--macros", help="Modules, files or folders with macros, with commas or by repeating. Default: workflows/."),
]
MacrosOrCatalogue = Annotated[
    list[str] | None,
    typer.Option("--macros", help="Modules, files or folders with macros, or one catalogue, macros.json. Default: workflows/."),
]
RulesFile = Annotated[Path | None, typer.Option("--rules", help="Rules file. Default: configs/router_rules.yaml.")]
MetricsPort = Annotated[int | None, typer.Option("--metrics-port", help="Serve Prometheus metrics on this port.")]
MetricsHost = Annotated[str, typer.Option("--metrics-host", help="Address that the metrics are served on.")]
LogLevel = Annotated[Level, typer.Option("--log-level", help="What to log on standard error.")]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to follow, such as 60s or 5m.")]


def operator() -> str:
    """Who types this, as this machine knows them."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for its user
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def words(given: Iterable[str] | None) -> list[str] | None:
    """A list option's words, given with commas or by repeating the flag; None if it was not given."""
    found = [word.strip() for item in given or () for word in item.split(",") if word.strip()]
    return found or None


def examples(part: str) -> Path:
    """The examples that the wheel carries."""
    return Path(__file__).resolve().parent.parent / "examples" / part


def macro_sources(given: Iterable[str] | None) -> list[str]:
    """Where macros come from: what was asked for, else workflows/ here, else the wheel's examples."""
    asked = words(given)
    if asked:
        return asked
    return [str(Path("workflows"))] if Path("workflows").is_dir() else [str(_source("workflows"))]


def rules_path(given: Path | None) -> Path:
    """Where the rules are: what was asked for, else configs/router_rules.yaml here, else the wheel's example."""
    default = Path("configs/router_rules.yaml")
    if given is not None:
        return given
    return default if default.is_file() else _source("configs") / "router_rules.yaml"


def _source(part: str) -> Path:
    """The examples of the wheel or, in an editable install, those of the checkout."""
    carried = examples(part)
    return carried if carried.exists() else Path(__file__).resolve().parents[2] / part


def server_url(given: str | None) -> str:
    """The server to use: the flag, then NATS_URL, then a `nats` context, then .heddle/server.json here or above.

    Raises:
        NoServer: none of them names one.
    """
    if url := given or os.environ.get("NATS_URL"):
        return url
    if url := _nats_context():
        return url
    file = find_upwards(SERVER_FILE)
    if file is None:
        raise NoServer("no NATS server is named. Start one with `heddle up`, or name yours with --server or NATS_URL")
    if url := _url_in(file):
        return url
    raise NoServer(f"{file} does not say where a server is. Start one with `heddle up`, or name yours with --server or NATS_URL")


def _nats_context() -> str | None:
    """The URL of the selected context of the `nats` command line, if there is one."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nats"
    try:
        name = (folder / "context.txt").read_text().strip()
    except (OSError, ValueError):
        return None
    return _url_in(folder / "context" / f"{name}.json")


def _url_in(file: Path) -> str | None:
    """The `url` in a JSON file, if there is one."""
    try:
        match json.loads(file.read_text(encoding="utf-8")):
            case {"url": str(url)} if url:
                return url
    except (OSError, ValueError):
        pass
    return None
