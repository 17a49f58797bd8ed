"""What every role needs at its start: a connection, the streams, an observer, and the things it loads."""

from __future__ import annotations

import gc
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from heddle.broker.connect import connected
from heddle.broker.streams import Streams, make_streams
from heddle.errors import DefinitionError
from heddle.llm.model import Model
from heddle.llm.ollama import ollama_model
from heddle.macros.catalogue import Catalogue, read_catalogue
from heddle.macros.loading import load
from heddle.planner import Planner, make_planner
from heddle.planning.offer import Offers
from heddle.router.reading import parse_rules
from heddle.router.reload import read_text
from heddle.router.rules import Rules
from heddle.settings import Settings
from heddle.telemetry.metrics import metrics_server
from heddle.telemetry.observer import Observer, logger

_COLLECT_AFTER = 50_000
"""Objects made, and not freed, until the collector looks for cycles; Python's own 700 costs a busy role some percent."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a role stands on."""

    client: Client
    streams: Streams
    observer: Observer
    replica: str


@asynccontextmanager
async def ground(
    url: str, role: str, settings: Settings, *, log_level: str = "info", metrics_port: int | None = None, metrics_host: str = "127.0.0.1"
) -> AsyncIterator[Ground]:
    """Connect, make the streams, and serve the metrics if asked.

    Raises:
        NoServer, BrokerError, SettingsError: one of these did not work.
    """
    _spare_the_collector()
    observer = Observer(logger(role, log_level))
    with metrics_server(observer, metrics_port, metrics_host):
        async with connected(url, role, observer, subjects_checked=True) as client:
            yield Ground(client, await make_streams(client, settings.streams, observer), observer, replica_name())


def _spare_the_collector() -> None:
    """What was imported stays: it need not be looked through again; and messages come and go without cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def replica_name() -> str:
    """A name for this process: the host, the process id, and a few random letters, fit for a subject."""
    host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())[:40] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"


def read_rules(path: Path) -> Rules:
    """The rules in a file.

    Raises:
        RulesError: the file cannot be read, or its text cannot be used.
    """
    return parse_rules(read_text(path), str(path))


def read_offers(sources: Sequence[str]) -> Offers:
    """The macros that can be planned: those of a catalogue, without their code, if the one source is a file `x.json`; else live ones.

    Raises:
        DefinitionError: the catalogue or the macros cannot be read, or there is something beside the catalogue.
    """
    match [source for source in sources if source.endswith(".json")]:
        case []:
            return load(sources)
        case [catalogue] if len(sources) == 1:
            return read_catalogue_file(Path(catalogue))
        case catalogues:
            raise DefinitionError(f"{catalogues[0]} is a catalogue, which stands for all macros: name nothing beside it")


def read_catalogue_file(path: Path) -> Catalogue:
    """The catalogue in a file.

    Raises:
        DefinitionError: the file cannot be read, or is no catalogue.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DefinitionError(f"{path}: cannot be read: {error}; write it: heddle macros compile -O {path}") from None
    return read_catalogue(text, str(path))


@asynccontextmanager
async def planner_for(offers: Offers, settings: Settings) -> AsyncIterator[Planner]:
    """A planner with the model server of the settings.

    Raises:
        DefinitionError: a phrase of a macro cannot be used.
        SettingsError: the settings forbid the model server.
    """
    async with ollama_model(settings) as model:
        yield _planner(offers, model, settings)


def _planner(offers: Offers, model: Model, settings: Settings) -> Planner:
    return make_planner(offers, model, settings.planner.phrases, settings.planner.max_tasks)


def missing_rules(missing: Sequence[str], path: Path) -> list[str]:
    """What to tell of macros that the rules do not know."""
    return [
        f"macro {name!r} has no rule: its tasks would end as unknown_tier. Add to worker_types in {path}:  {name}: {{}}" for name in missing
    ]
